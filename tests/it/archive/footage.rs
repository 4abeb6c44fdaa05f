//! A decoder that needs no video: every byte of a file is a frame, so that whatever is done to a file has a meaning.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use clipseek::decode::{DecodeError, Decoder, Frame, Frames, Outcome, Probe, Request, Rgb, Survey, Want};
use tokio_util::sync::CancellationToken;

/// A file that begins with this byte is damaged from its middle on.
pub(crate) const DAMAGED: u8 = 255;

/// What goes wrong with the next file that is decoded, at which frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Mishap {
    #[default]
    None,
    Dies(u32),
    Panics(u32),
    /// Somebody writes to the file.
    Grows(u32),
}

#[derive(Default)]
pub(crate) struct BytesDecoder {
    pub(crate) mishap: Mishap,
    /// Frames given so far, over all files.
    frames: AtomicU32,
}

impl BytesDecoder {
    pub(crate) fn with(mishap: Mishap) -> Self {
        Self { mishap, frames: AtomicU32::new(0) }
    }
}

impl Decoder for BytesDecoder {
    fn open(&self, request: &Request, stop: CancellationToken) -> Result<Box<dyn Frames>, DecodeError> {
        let bytes = std::fs::read(&request.path).map_err(DecodeError::Unreadable)?;
        let interval = match request.want {
            Want::Every(interval) => interval,
            _ => Duration::from_millis(250),
        };
        let given = self.frames.fetch_add(bytes.len() as u32, SeqCst);
        let mut items = Vec::new();
        for (number, byte) in bytes.iter().enumerate() {
            let pts = interval * number as u32;
            let at = given + number as u32;
            match self.mishap {
                Mishap::Dies(frame) if frame == at => {
                    items.push(Item::Error("it died".into()));
                    break;
                }
                Mishap::Panics(frame) if frame == at => {
                    items.push(Item::Panic);
                    break;
                }
                Mishap::Grows(frame) if frame == at => items.push(Item::Grow(request.path.clone())),
                _ => {}
            }
            if bytes[0] == DAMAGED && number >= bytes.len() / 2 {
                items.push(Item::Error("damaged".into()));
                break;
            }
            if pts >= request.from {
                let pixels = Rgb { width: 1, height: 1, data: vec![*byte, number as u8, 7] }.into();
                items.push(Item::Frame(Frame {
                    pts,
                    until: None,
                    pixels,
                    thumbnail: Some(clipseek::decode::Jpeg(vec![*byte; 5])),
                }));
            }
        }
        let outcome = Outcome { end: interval * bytes.len() as u32, ..Outcome::default() };
        let probe = Probe { recorded_at_ms: Some(1_700_000_000_000), ..Probe::default() };
        Ok(Box::new(Given { items: items.into_iter(), probe, outcome, stop }))
    }

    fn survey(&self, _: &Path, _: CancellationToken) -> Result<Survey, DecodeError> {
        Err(DecodeError::Setup("indexing does not survey".into()))
    }
}

enum Item {
    Frame(Frame),
    Error(String),
    Grow(std::path::PathBuf),
    Panic,
}

struct Given {
    items: std::vec::IntoIter<Item>,
    probe: Probe,
    outcome: Outcome,
    stop: CancellationToken,
}

impl Iterator for Given {
    type Item = Result<Frame, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.stop.is_cancelled() {
                return Some(Err(DecodeError::Stopped));
            }
            match self.items.next()? {
                Item::Frame(frame) => return Some(Ok(frame)),
                Item::Error(text) => {
                    self.items = Vec::new().into_iter();
                    return Some(Err(DecodeError::Crashed(text)));
                }
                Item::Grow(path) => {
                    use std::io::Write;
                    let mut file = std::fs::File::options().append(true).open(path).unwrap();
                    file.write_all(&[1]).unwrap();
                }
                Item::Panic => panic!("a decoder that panics, on purpose"),
            }
        }
    }
}

impl Frames for Given {
    fn probe(&self) -> &Probe {
        &self.probe
    }

    fn outcome(&self) -> Option<&Outcome> {
        Some(&self.outcome)
    }
}
