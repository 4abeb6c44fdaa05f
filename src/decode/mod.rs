//! A video file in, sampled frames out.
//!
//! Decoding is not trusted: [`ChildDecoder`] runs it in a process per file. There (`child`, `job`) two GStreamer graphs
//! (`gst`, from the launch templates in `template`) stand on either side of the `gate`: one reads coded frames, the other
//! decodes those that the gate lets through, as `plan` decides for each group of pictures. Sampled pictures are resized
//! (`pixels`) and written to a pipe ([`wire`]).
//!
//! `tracks` chooses the track, `timeline` repairs time stamps, and `coded` knows what coded frames say of themselves. Files
//! that GStreamer's demuxers read wrongly have readers of their own: `mp4` writes another header, `ts` takes the video out of
//! transport streams and `ps` out of program streams, `flv`, `gif`, `ivf` and `mjpeg` take these apart, `obu` recognises AV1
//! without a container, `matroska` reads what is left of damaged files, and `rm` the times of RealMedia. What could not be read
//! as it should have been is told as [`Problem`]s.
//!
//! A stretch can also be written to a file, for players ([`cut`]).
//!
//! Live streams ([`live`]) go the same way in a process per stream, with a gate, a clock and a queue of their own.
//!
//! A [`Queue`] is a job for callers that must not block. The rest of the program sees only this file's types.

pub mod cut;
pub mod live;
mod parent;
mod pixels;
mod problem;
mod process;
mod queue;
pub mod wire;

// What runs in the decoding process only.
#[cfg(feature = "gst")]
pub mod child;
#[cfg(feature = "gst")]
mod coded;
#[cfg(feature = "gst")]
mod complete;
#[cfg(feature = "gst")]
mod flv;
#[cfg(feature = "gst")]
mod gate;
#[cfg(feature = "gst")]
mod gif;
#[cfg(feature = "gst")]
mod gst;
#[cfg(feature = "gst")]
mod ivf;
#[cfg(feature = "gst")]
mod job;
#[cfg(feature = "gst")]
mod matroska;
#[cfg(feature = "gst")]
mod mjpeg;
#[cfg(feature = "gst")]
mod mp4;
#[cfg(feature = "gst")]
mod obu;
#[cfg(feature = "gst")]
mod plan;
#[cfg(feature = "gst")]
mod ps;
#[cfg(feature = "gst")]
mod rm;
#[cfg_attr(not(feature = "gst"), allow(dead_code, reason = "graphs are built with it"))]
pub mod template;
#[cfg(feature = "gst")]
mod timeline;
#[cfg(feature = "gst")]
mod tracks;
#[cfg(feature = "gst")]
mod ts;
#[cfg(feature = "gst")]
mod unit;

#[cfg(feature = "gst")]
pub use gst::{Inventory, inventory};
pub use parent::{ChildDecoder, SUBCOMMAND};
pub use pixels::Told;
pub use pixels::{Matrix, Orientation, Picture, Plane, Samples, Shrinker, Siting};
pub use problem::{Problem, ProblemKind};
pub use queue::{Decoded, Queue, Queues};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The latest time that is believed, 292 years: what fits into signed 64-bit nanoseconds.
pub const LATEST: Duration = Duration::from_nanos(i64::MAX as u64);
/// Where more than this lies between two frames, the time stamps are broken: nobody holds a picture for so long.
pub const LONGEST_GAP: Duration = Duration::from_secs(24 * 3600);

/// One sampled picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Presentation time, counted as the request says ([`Zero`]).
    pub pts: Duration,
    /// Until when it is shown, where that is longer than the wanted interval, though no longer than [`LONGEST_GAP`]: a
    /// picture that is held, such as a slide.
    pub until: Option<Duration>,
    /// The picture at the size the bundle asks for, resized and cropped. Shared by the copies of a frame, since every
    /// window that holds it has one.
    pub pixels: Arc<Rgb>,
    /// The whole picture, small, for people.
    pub thumbnail: Option<Jpeg>,
}

/// Packed 8-bit RGB, row by row, no padding: `data.len() == width * height * 3`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rgb {
    pub width: u32,
    pub height: u32,
    pub data: Vec<u8>,
}

/// An encoded JPEG picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Jpeg(pub Vec<u8>);

/// Which frames of the medium are wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// One frame per interval, on the grid `k · interval` from [`Request::zero`] on; of a picture that is held over several
    /// of these times, one.
    Every(Duration),
    /// This many frames spread evenly over the whole medium: frame index `trunc(linspace(0, last, n))`.
    Uniform(usize),
    /// The frames shown at exactly these times, ascending, as a [`Survey`] lists them where they are counted from the first
    /// frame.
    At(Vec<Duration>),
}

/// Where times are counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zero {
    /// Where the medium starts, as a player shows it: a video that begins five seconds after its sound has its first frame
    /// at five seconds.
    #[default]
    Medium,
    /// The first frame shown, as a [`Survey`] counts.
    FirstFrame,
}

/// Which coded frames are decoded to get them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Key frames where they are near enough to the wanted times (within the bundle's tolerance), more where not.
    #[default]
    Auto,
    /// Key frames only, however rare they are.
    Keyframes,
    /// From each key frame to the last wanted frame behind it; exact times.
    Gop,
    /// Every frame but those that are neither wanted nor needed by another; exact times.
    All,
}

impl std::fmt::Display for Sampling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Keyframes => "keyframes",
            Self::Gop => "gop",
            Self::All => "all",
        })
    }
}

/// How pictures are brought to the size the model wants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelSpec {
    pub width: u32,
    pub height: u32,
    pub resize: Resize,
    pub interpolation: Interpolation,
    pub antialias: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Shorter side to the target (the longer truncated), then a centre crop (CLIP).
    ShortestEdge,
    /// Straight to the target size, aspect ratio not kept (CLIP-ViP).
    Stretch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interpolation {
    /// Cubic with a = −0.5, as Pillow.
    #[serde(rename = "bicubic")]
    Bicubic,
    /// Cubic with a = −0.75, as the tensor path of torchvision.
    #[serde(rename = "bicubic-a075")]
    BicubicA075,
    #[serde(rename = "bilinear")]
    Bilinear,
}

/// One decoding job.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: PathBuf,
    /// The video track to take, by its [`Track::id`]; `None`: the default one, else the largest.
    pub track: Option<u32>,
    /// False: no picture is decoded and no frame handed on; the outcome tells what would have been decoded.
    pub decode: bool,
    pub want: Want,
    /// What the times in `want` and `from`, and those of the frames, are counted from.
    pub zero: Zero,
    pub sampling: Sampling,
    /// Share of the interval by which a frame taken by [`Sampling::Auto`] may be away from its place on the grid.
    pub tolerance: f64,
    /// Frames before this time are not wanted (nothing before it is decoded if that can be helped).
    pub from: Duration,
    pub pixels: PixelSpec,
    /// Longer side of the thumbnail in pixels; `None`: no thumbnails.
    pub thumbnail_px: Option<u32>,
}

/// What the container and the first packets say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Probe {
    pub container: Option<String>,
    /// Codec in GStreamer's words, such as `video/x-h264`.
    pub codec: String,
    /// As shown: after rotation, with square pixels.
    pub width: u32,
    pub height: u32,
    #[schema(value_type = Option<Object>)]
    pub duration: Option<Duration>,
    /// When the medium starts on the clock of its container, in seconds: ffprobe's `start_time`.
    #[serde(default)]
    pub start_s: f64,
    /// The time that players call zero: that of the first track of all. It is not zero here where MP4 files begin later
    /// on their own clock.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub players_zero: Duration,
    pub frame_rate: Option<f64>,
    /// How the container wants it to be turned.
    #[schema(value_type = Told)]
    pub orientation: Orientation,
    /// When the recording began, Unix milliseconds, where the container says so.
    pub recorded_at_ms: Option<i64>,
    /// All tracks that were found.
    #[serde(default)]
    pub tracks: Vec<Track>,
    /// Of a live stream: whose clock its times are by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<TimeSource>,
}

/// Whose clock tells when the frames of a live stream were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The sender's, as RTSP has it in its sender reports.
    Sender,
    /// This machine's: when they arrived.
    #[default]
    Arrival,
}

/// One track of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Track {
    /// The container's own number for it (track_ID, TrackNumber, PID), else its index from 0.
    pub id: u32,
    pub kind: TrackKind,
    /// Its usual short name, such as `h264`; where there is none here, the container's or GStreamer's word.
    pub codec: String,
    /// Size in pixels as coded, where the container says it.
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Whether the container wants it to be shown if nobody chooses.
    pub default: bool,
    /// The program of a transport stream that it belongs to.
    pub program: Option<u16>,
    /// Whether this is the track that is read.
    pub taken: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    Video,
    /// A cover, or the pictures of chapters: never the video.
    Picture,
    Sound,
    Text,
    #[default]
    Other,
}

impl std::fmt::Display for TrackKind {
    /// As in JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// How a decoding job ended that gave at least one frame, or none without an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Coded video frames seen, and how many of them went to the decoder.
    pub packets: u64,
    pub packets_decoded: u64,
    /// Key frames seen.
    pub key_frames: u64,
    /// The sampling that was in effect; for [`Sampling::Auto`] what it came to over the whole medium.
    pub sampling: Option<Sampling>,
    /// End of the medium: end of its last frame as far as it could be read; at most [`LATEST`].
    pub end: Duration,
    /// What was not read as it should have been but did not stop the reading; empty for a sound file.
    pub problems: Vec<Problem>,
    /// Processor time of the decoding process in seconds (user + system) and its peak resident memory in bytes.
    pub cpu_secs: f64,
    pub peak_rss_bytes: u64,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecodeError {
    /// The file cannot be read at all (permissions, vanished).
    #[error("cannot read: {0}")]
    Unreadable(#[serde(with = "wire::os_error")] std::io::Error),
    #[error("not a video: {0}")]
    NotVideo(String),
    #[error("a still picture, not a video: {0}")]
    StillPicture(String),
    #[error("no video track (found: {0})")]
    NoVideoTrack(String),
    /// Nobody can decode it without a key.
    #[error("encrypted ({0}): save it without encryption first")]
    Encrypted(String),
    /// The track asked for is none of the video tracks, which are listed.
    #[error("there is no video track {asked} (video tracks: {there})")]
    NoSuchTrack { asked: u32, there: String },
    #[error("no decoder for {codec}: {remedy}")]
    NoDecoder { codec: String, remedy: String },
    /// Recognised, but no frame could be decoded.
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("the decoding process died: {0}")]
    Crashed(String),
    /// It gave no sign of life and was killed.
    #[error("the decoding process stalled: {0}")]
    Stalled(String),
    #[error("GStreamer: {0}")]
    Setup(String),
    /// A live stream is no more.
    #[error("{cause}: {detail}")]
    Live { cause: LiveCause, detail: String },
    #[error("stopped")]
    Stopped,
}

/// Why a live stream is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveCause {
    /// User and password are wrong or missing.
    Refused,
    /// Nobody answers, or the connection broke.
    Unreachable,
    /// The sender ended it.
    Ended,
    /// It goes on with another codec or size.
    Changed,
    /// The clock of this machine was set.
    ClockSet,
}

impl std::fmt::Display for LiveCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "user and password were refused",
            Self::Unreachable => "no connection",
            Self::Ended => "the stream ended",
            Self::Changed => "the stream changed",
            Self::ClockSet => "the clock of this machine was set",
        })
    }
}

/// A running decoding job: frames in presentation order, no two at one time and none later than [`LATEST`], and at most
/// one error, which is the last item.
pub trait Frames: Iterator<Item = Result<Frame, DecodeError>> + Send {
    fn probe(&self) -> &Probe;
    /// Known once the iterator has ended without an error.
    fn outcome(&self) -> Option<&Outcome>;
}

/// When each frame of a medium is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    pub probe: Probe,
    /// One per frame, ascending, from the first frame; frames said to be shown at one time count once.
    pub times: Vec<Duration>,
    /// End of the last frame.
    pub end: Duration,
}

pub trait Decoder: Send + Sync {
    /// Returns once the medium is recognised, before the first frame. When `stop` is cancelled the job ends at once, also
    /// while nobody asks for a frame.
    fn open(&self, request: &Request, stop: CancellationToken) -> Result<Box<dyn Frames>, DecodeError>;
    /// Reads the whole medium without decoding anything.
    fn survey(&self, path: &Path, stop: CancellationToken) -> Result<Survey, DecodeError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{Span, Windows};

    #[test]
    fn overlapping_windows_share_the_pixels_of_their_frames() {
        let second = Duration::from_secs(1);
        let mut windows = Windows::new(Span::Sliding { length: 4 * second, stride: second }, 9, 0);
        let mut all = Vec::new();
        for number in 0..6 {
            let pixels = Arc::new(Rgb { width: 1, height: 1, data: vec![number; 3] });
            let frame = Frame { pts: second * u32::from(number), until: None, pixels, thumbnail: None };
            all.extend(windows.push(frame.pts, frame.until, frame));
        }
        all.extend(windows.finish(6 * second));
        assert_eq!(all.len(), 3);
        for pair in all.windows(2) {
            for (earlier, later) in pair[0].items[1..].iter().zip(&pair[1].items) {
                assert!(Arc::ptr_eq(&earlier.pixels, &later.pixels), "{:?} was copied", later.pts);
            }
        }
    }
}
