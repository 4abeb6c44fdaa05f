//! A stretch of one or several files into a file: `input` reads coded frames and sound, `output` writes them, as they are or
//! encoded anew. Between them stands what is read before it is known where the file begins: all from the last key frame
//! before the start.

mod input;
mod output;

use std::path::PathBuf;
use std::time::Duration;

use gstreamer as gst;

use super::super::DecodeError;
use super::super::cut::{Cut, CutRequest};
use super::super::tracks::Tracks;
use super::reader::Source;
use input::Reading;
use output::Output;

/// Bytes that may lie between two key frames.
const LONGEST_GROUP: usize = 256 << 20;
/// Frames may come so much later than others that are shown after them.
const SHUFFLED: i64 = 500_000_000;
/// Sound that comes so much later than its pictures is not waited for.
const LATE_SOUND: i64 = 2_000_000_000;

/// A file to read.
pub(in crate::decode) struct Input {
    pub(in crate::decode) path: PathBuf,
    /// When it begins in the medium.
    pub(in crate::decode) begins: Duration,
    pub(in crate::decode) tracks: Tracks,
    /// How it is read, where that is not by a demuxer of GStreamer: without sound.
    pub(in crate::decode) own: Option<Source>,
    /// Where its clock begins; `None`: with the first of its tracks.
    pub(in crate::decode) zero: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Video,
    Sound,
}

impl Kind {
    fn other(self) -> Self {
        match self {
            Self::Video => Self::Sound,
            Self::Sound => Self::Video,
        }
    }
}

/// A coded frame, or a piece of coded sound.
struct Unit {
    kind: Kind,
    /// In nanoseconds, in the medium.
    time: i64,
    key: bool,
    /// Its time is when it is shown; else frames may have the times of each other.
    in_order: bool,
    buffer: gst::Buffer,
    caps: gst::Caps,
}

impl Unit {
    fn end(&self) -> i64 {
        self.time + self.buffer.duration().map_or(0, |duration| duration.nseconds() as i64)
    }

    fn is_video(&self) -> bool {
        self.kind == Kind::Video
    }
}

/// What was read since the last key frame that is not behind the start.
#[derive(Default)]
struct Group {
    units: Vec<Unit>,
    bytes: usize,
}

impl Group {
    /// Whether the beginning is known now.
    fn add(&mut self, unit: Unit, start: i64) -> Result<bool, DecodeError> {
        let has_begun = self.units.iter().any(Unit::is_video);
        if unit.is_video() && unit.key && (unit.time <= start || !has_begun) {
            self.units.retain(|earlier| !earlier.is_video() && earlier.end() > unit.time);
            self.bytes = self.units.iter().map(|unit| unit.buffer.size()).sum();
        } else if unit.is_video() && !has_begun {
            // It cannot be decoded.
            return Ok(false);
        }
        self.bytes += unit.buffer.size();
        if self.bytes > LONGEST_GROUP {
            return Err(DecodeError::Damaged("there is no key frame near the start".to_owned()));
        }
        let is_behind = unit.is_video() && unit.time > start;
        self.units.push(unit);
        Ok(is_behind)
    }
}

pub(in crate::decode) fn run(
    request: &CutRequest,
    inputs: Vec<Input>,
    threads: u32,
    progress: &dyn Fn(u64),
) -> Result<Cut, DecodeError> {
    let (start, end) = (nanos(request.start), nanos(request.end));
    let (mut group, mut output, mut count) = (Group::default(), None::<Output>, 0);
    let (mut video, mut sound) = (i64::MIN, i64::MIN);
    for input in inputs {
        let mut reading = Reading::open(input, start)?;
        let is_over = |video: i64, sound: i64, has_sound: bool| {
            let waits = has_sound && sound < end && video < end + LATE_SOUND;
            video >= end + SHUFFLED && !waits
        };
        while !is_over(video, sound, reading.has_sound())
            && let Some(unit) = reading.next()?
        {
            count += 1;
            progress(count);
            let latest = if unit.is_video() { &mut video } else { &mut sound };
            *latest = unit.time.max(*latest);
            if let Some(output) = &mut output {
                output.push(unit, progress)?;
            } else if group.add(unit, start)? {
                output = Some(begun(request, &mut group, &reading, threads, progress)?);
            }
        }
        if output.is_none() && group.units.iter().any(Unit::is_video) {
            output = Some(begun(request, &mut group, &reading, threads, progress)?);
        }
    }
    let output = output.ok_or_else(|| DecodeError::Damaged("it shows nothing at this time".to_owned()))?;
    output.finish(progress)
}

fn begun(
    request: &CutRequest,
    group: &mut Group,
    reading: &Reading,
    threads: u32,
    progress: &dyn Fn(u64),
) -> Result<Output, DecodeError> {
    let units = std::mem::take(&mut group.units);
    let mut output = Output::begin(request, &units, reading, threads)?;
    for unit in units {
        output.push(unit, progress)?;
    }
    Ok(output)
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// Of a time on GStreamer's clock.
fn clock_time(nanos: i64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(nanos).unwrap_or(0))
}
