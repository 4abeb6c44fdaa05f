//! A live stream in, sampled frames out, with their times on the wall clock (Unix time).
//!
//! In the decoding process (`job`) the connection is read at the pace of the camera, whatever happens behind it: coded
//! frames are put on the wall clock (`clock`), those worth decoding are chosen as they come (`gate`), and wait for the decoder
//! in a `ring`, where the oldest make room. The address and the login travel over the pipe, never on a command line, and
//! what GStreamer says of them is hidden before it is told. A recording is made there too, before the gate.
//!
//! [`LiveQueue`] is a running stream for callers that must not block. A gap is a gap: no frame says that it is held.

#[cfg(feature = "gst")]
mod clock;
#[cfg(feature = "gst")]
mod gate;
#[cfg(feature = "gst")]
pub(super) mod job;
mod parent;
#[cfg(feature = "gst")]
mod ring;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{DecodeError, Frame, PixelSpec, Probe, Sampling};
use crate::secret::SecretUrl;
use crate::source::stream::Login;

/// A stream to be read, and what is wanted of it.
#[derive(Clone, Debug)]
pub struct LiveRequest {
    /// Without a login.
    pub uri: SecretUrl,
    pub login: Option<Login>,
    /// Text of the launch template that reads it up to its coded frames.
    pub template: String,
    /// One frame per interval of the wall clock.
    pub interval: Duration,
    pub sampling: Sampling,
    /// Share of the interval by which frames may be away from their place where [`Sampling::Auto`] is to take key frames.
    pub tolerance: f64,
    pub pixels: PixelSpec,
    /// Longer side of the thumbnail in pixels; `None`: no thumbnails.
    pub thumbnail_px: Option<u32>,
    /// `None`: it is not recorded.
    pub recording: Option<Recording>,
}

/// Where a stream is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Folder of all recordings ([`crate::footage`]).
    pub dir: PathBuf,
    pub source: String,
    pub epoch: u64,
    /// Length of a segment, up to the next key frame.
    pub segment: Duration,
    /// Nothing is recorded where fewer bytes are free.
    pub least_free: u64,
}

/// What a stream gives.
#[derive(Debug)]
pub enum Heard {
    /// What it is: first of all, and again when it is known whose clock its times are by.
    Probe(Probe),
    Frame(Frame),
    /// Why it is not recorded, or not all of it; `None`: it is again.
    Recording(Option<String>),
    /// So many wanted frames were dropped since it was connected, because what is behind was too slow.
    Dropped(u64),
    /// So many coded frames were given to the decoder since it was connected, and decoding took so much processor time.
    Decoded {
        frames: u64,
        cpu: Duration,
    },
    /// It is no more. The last item.
    Lost(DecodeError),
}

/// A connected stream: frames in the order of their time. It ends with an error, the last item.
pub trait LiveFrames: Iterator<Item = Heard> + Send {}

impl<T: Iterator<Item = Heard> + Send> LiveFrames for T {}

/// Reads live streams.
pub trait Connector: Send + Sync {
    /// Returns once the stream is recognised. When `stop` is cancelled it ends at once.
    fn connect(&self, request: &LiveRequest, stop: CancellationToken) -> Result<Box<dyn LiveFrames>, DecodeError>;
}

/// Frames between a stream and whoever takes them; more wait in the decoding process, which drops the oldest.
const FRAMES: usize = 32;

/// A running stream on a thread of its own. Dropping it ends the stream.
pub struct LiveQueue {
    items: mpsc::Receiver<Heard>,
    _stop: DropGuard,
}

impl LiveQueue {
    pub fn start(
        connector: Arc<dyn Connector>,
        request: LiveRequest,
        stop: &CancellationToken,
    ) -> Result<Self, DecodeError> {
        let (sender, items) = mpsc::channel(FRAMES);
        let stop = stop.child_token();
        let guard = stop.clone().drop_guard();
        let work = move || read(&*connector, &request, stop, &sender);
        // Of its own: a stream may go on for months, and the threads of the runtime are for short work.
        let thread = std::thread::Builder::new().name("stream".into()).spawn(work);
        thread.map_err(|error| DecodeError::Setup(format!("cannot start a thread: {error}")))?;
        Ok(Self { items, _stop: guard })
    }

    pub async fn next(&mut self) -> Heard {
        let ended = || Heard::Lost(DecodeError::Crashed("its thread in this process ended".to_owned()));
        self.items.recv().await.unwrap_or_else(ended)
    }

    /// The next thing, if it is there already.
    pub fn ready(&mut self) -> Option<Heard> {
        self.items.try_recv().ok()
    }
}

fn read(connector: &dyn Connector, request: &LiveRequest, stop: CancellationToken, to: &mpsc::Sender<Heard>) {
    match connector.connect(request, stop) {
        // Where it cannot be sent, nobody wants it any more.
        Ok(mut frames) => while frames.next().is_some_and(|heard| to.blocking_send(heard).is_ok()) {},
        Err(error) => drop(to.blocking_send(Heard::Lost(error))),
    }
}
