//! A stretch of a medium as a file that players and browsers take: as it is, or encoded anew. Cutting reads what nobody can
//! trust, so it runs in the decoding process (`gst::cut`); this is what it is asked for, and the parent's side of it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::DecodeError;
#[cfg(feature = "gst")]
use super::Probe;
use super::parent::{ChildDecoder, describe};
use super::wire::{self, Message, Task};

/// What is to be cut out, and how. Times are those of the medium, as windows have them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutRequest {
    /// The files that show the medium, in the order of time: one, or the segments of a recording.
    pub pieces: Vec<Piece>,
    pub start: Duration,
    pub end: Duration,
    /// Coded frames are taken as they are, where the file that is written can hold them; they begin with the key frame before
    /// `start`. `None`: they are encoded anew, from exactly `start` on.
    pub copy: Option<Copied>,
    /// How they are encoded, where they are not taken as they are.
    pub encoding: Encoding,
    /// An MP4 file, which must not be there yet.
    #[serde(with = "as_bytes")]
    pub output: PathBuf,
}

/// A file, and when it begins in the medium.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    #[serde(with = "as_bytes")]
    pub path: PathBuf,
    pub begins: Duration,
}

/// Which coded frames are taken as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Copied {
    /// All that an MP4 file can hold.
    All,
    /// Those that every browser decodes.
    ForBrowsers,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// Wider pictures are made smaller.
    pub most_width: Option<u32>,
    /// Frames per second, at the most.
    pub most_frames: Option<u32>,
    pub sound: bool,
    /// Better pictures for more time.
    pub careful: bool,
    /// The rest of a longer stretch is left out.
    pub longest: Duration,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// Where the file begins and ends in the medium.
    pub begins: Duration,
    pub ends: Duration,
    /// Whether it was encoded anew.
    pub encoded: bool,
}

impl ChildDecoder {
    /// Returns when the file is written. What an error leaves of it is the caller's to remove.
    pub fn cut(&self, request: &CutRequest, stop: CancellationToken) -> Result<Cut, DecodeError> {
        let mut child = self.start(&Task::Cut(request.clone()), stop)?;
        let mut cut = None;
        loop {
            match child.read()? {
                Message::Cut(written) => cut = Some(written),
                Message::Alive | Message::Probe(_) => {}
                Message::End(Ok(_)) => {
                    return cut.ok_or_else(|| DecodeError::Crashed("it ended without a file".to_owned()));
                }
                Message::End(Err(error)) => return Err(error),
                other => {
                    let problem = format!("it sent {} in place of a file", describe(&other));
                    return Err(child.died(&wire::invalid(problem)));
                }
            }
        }
    }
}

#[cfg(feature = "gst")]
impl Message {
    /// Says that a task has begun which has no medium to describe.
    pub(super) fn begun() -> Self {
        Self::Probe(Probe::default())
    }
}

/// Paths need not be UTF-8.
mod as_bytes {
    use std::path::Path;

    use serde::{Deserializer, Serializer};

    use super::{Deserialize, OsStrExt, OsString, OsStringExt, PathBuf, Serialize};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(PathBuf::from(OsString::from_vec(Vec::deserialize(deserializer)?)))
    }
}
