//! The parent's side of a live stream.

use tokio_util::sync::CancellationToken;

use super::super::parent::{ChildDecoder, ChildFrames};
use super::super::wire::{self, Message, Task};
use super::super::{DecodeError, Probe};
use super::{Connector, Heard, LiveFrames, LiveRequest};

impl Connector for ChildDecoder {
    fn connect(&self, request: &LiveRequest, stop: CancellationToken) -> Result<Box<dyn LiveFrames>, DecodeError> {
        let child = self.start(&Task::Live(Box::new(request.clone())), stop)?;
        Ok(Box::new(Live { probe: Some(child.probe.clone()), child, is_over: false }))
    }
}

struct Live {
    child: ChildFrames,
    /// Not handed on yet.
    probe: Option<Probe>,
    is_over: bool,
}

impl Iterator for Live {
    type Item = Heard;

    fn next(&mut self) -> Option<Heard> {
        if let Some(probe) = self.probe.take() {
            return Some(Heard::Probe(probe));
        }
        while !self.is_over {
            let error = match self.child.read() {
                Ok(Message::Alive) => continue,
                Ok(Message::Decoded(frames)) => {
                    return Some(Heard::Decoded { frames, cpu: self.child.cpu().unwrap_or_default() });
                }
                Ok(Message::Probe(probe)) => return Some(Heard::Probe(probe)),
                Ok(Message::Recording(trouble)) => return Some(Heard::Recording(trouble)),
                Ok(Message::Dropped(count)) => return Some(Heard::Dropped(count)),
                Ok(Message::Frame(frame)) if self.child.latest.is_none_or(|latest| frame.pts > latest) => {
                    self.child.latest = Some(frame.pts);
                    return Some(Heard::Frame(frame));
                }
                Ok(Message::Frame(_)) => self.child.died(&wire::invalid("frames out of order".into())),
                Ok(Message::End(Err(error))) | Err(error) => error,
                Ok(Message::End(Ok(_)) | Message::Times { .. } | Message::Cut(_)) => {
                    self.child.died(&wire::invalid("a message that no stream has".into()))
                }
            };
            self.is_over = true;
            return Some(Heard::Lost(error));
        }
        None
    }
}
