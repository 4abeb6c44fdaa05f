//! What an edit list makes of a track: which coded frames are decoded, which of them are shown, and when. Pure.
//!
//! As ffmpeg does it: a part of the media is shown from the first frame that begins within it, at the start of the part;
//! what comes before it, from the key frame on, is decoded only. Where a picture is held so long that this would lose
//! time, the part begins with the picture that is on the screen when it starts, as players do.

use super::super::timeline::{EARLIEST, LATEST};

/// Frames of one file at the most, those counted twice that are shown twice.
pub(super) const MOST_FRAMES: usize = 4_000_000;
/// So long is the rest of a picture that begins before a part of the media, in seconds, if it is shown at its start.
const HELD_SECS: i64 = 1;

/// A coded frame of the track, in the time scale of its media.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) offset: u64,
    pub(super) size: u32,
    /// Which of the descriptions of the codec is meant, from 1 on.
    pub(super) description: u32,
    pub(super) key: bool,
    /// When it is decoded and shown, before any edit.
    pub(super) dts: i64,
    pub(super) cts: i64,
    pub(super) duration: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edit {
    /// In the time scale of the movie; 0: to the end of the media.
    pub(super) duration: u64,
    /// In the time scale of the media; `None`: nothing is shown.
    pub(super) media_time: Option<i64>,
}

/// Units a second; neither is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    pub(super) movie: u32,
    pub(super) media: u32,
}

/// A coded frame to be decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::decode) struct Placed {
    /// Its number in the track.
    pub(in crate::decode) sample: usize,
    /// When it is shown, in nanoseconds from the start of the movie. Frames that are not shown have times of their own,
    /// just before or just behind those that are, in the order in which they would be shown.
    pub(in crate::decode) pts: i64,
    pub(in crate::decode) duration: i64,
    pub(in crate::decode) shown: bool,
}

/// The frames in the order in which they are decoded, and whether all edits could be followed.
pub(super) fn place(samples: &[Sample], edits: &[Edit], scales: Scales) -> (Vec<Placed>, bool) {
    let nanos = |units: i128| to_nanos(units, scales.media);
    if edits.is_empty() {
        let all = samples.iter().enumerate();
        let placed = all.map(|(sample, frame)| Placed {
            sample,
            pts: nanos(frame.cts.into()),
            duration: nanos(frame.duration.into()),
            shown: true,
        });
        return (placed.collect(), true);
    }
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|index| samples[*index].cts);
    let mut placed: Vec<Placed> = Vec::new();
    let (mut start, mut first_lead) = (0_i128, None);
    for edit in edits {
        let length = rescale(edit.duration, scales);
        let begin = start;
        start += length;
        let Some(from) = edit.media_time.map(i128::from) else { continue };
        let upto = if edit.duration == 0 { i128::MAX } else { from + length };
        let Some(part) = Part::find(samples, &order, from, upto, scales) else { continue };
        if placed.len() + (part.last + 1 - part.key) > MOST_FRAMES {
            return (placed, false);
        }
        // What is added to the media's time to get the movie's.
        let shift = if part.held {
            begin - from
        } else {
            let lead = part.earliest - i128::from(samples[part.first].dts);
            let later = lead - *first_lead.get_or_insert(lead);
            begin + later.max(0) - part.earliest
        };
        part.place(samples, &mut placed, |cts| nanos((cts.max(part.from) + shift).max(begin)));
        if edit.duration == 0 {
            break;
        }
    }
    (placed, true)
}

/// What one edit shows.
struct Part {
    /// Media time from which on and up to which pictures are shown.
    from: i128,
    upto: i128,
    /// The first picture begins before `from`.
    held: bool,
    /// Media time at which the first picture begins.
    earliest: i128,
    /// The key frame to start with, and the first and the last frame shown, in coded order.
    key: usize,
    first: usize,
    last: usize,
}

impl Part {
    /// `None`: it shows nothing.
    fn find(samples: &[Sample], order: &[usize], from: i128, upto: i128, scales: Scales) -> Option<Self> {
        let cts = |place: usize| order.get(place).map(|index| i128::from(samples[*index].cts));
        let low = order.partition_point(|index| i128::from(samples[*index].cts) < from);
        let high = order.partition_point(|index| i128::from(samples[*index].cts) < upto);
        // Until when the picture before is on the screen.
        let until = low.checked_sub(1).map(|before| {
            cts(low).unwrap_or_else(|| {
                let last = &samples[order[before]];
                i128::from(last.cts) + i128::from(last.duration)
            })
        });
        let rest = until.map_or(0, |until| until.min(upto) - from);
        let held = rest > i128::from(HELD_SECS) * i128::from(scales.media) || low >= high && rest > 0;
        let low = if held { low - 1 } else { low };
        let shown = order.get(low..high.max(low + usize::from(held)))?;
        let (first, last) = (*shown.iter().min()?, *shown.iter().max()?);
        let earliest = cts(low)?;
        let starts = |index: &usize| samples[*index].key && i128::from(samples[*index].cts) <= earliest;
        let key = (0..=first).rev().find(starts).unwrap_or(0);
        Some(Self { from: if held { from } else { earliest }, upto, held, earliest, key, first, last })
    }

    /// `time`: of the movie, for a time of the media.
    fn place(&self, samples: &[Sample], placed: &mut Vec<Placed>, time: impl Fn(i128) -> i64) {
        let frames = &samples[self.key..=self.last];
        let mut order: Vec<usize> = (0..frames.len()).collect();
        order.sort_by_key(|index| frames[*index].cts);
        let cts = |index: usize| i128::from(frames[index].cts);
        let before = order.partition_point(|index| cts(*index) < self.earliest);
        let shown = order.partition_point(|index| cts(*index) < self.upto).max(before + 1);
        // Nothing may come at a time that was there before.
        let latest = placed.iter().map(|frame| frame.pts).max();
        let first = time(self.earliest);
        let late = latest.map_or(0, |latest| (latest + before as i64 + 1 - first).max(0));
        let start = placed.len();
        let one = |sample: usize| Placed { sample: self.key + sample, pts: 0, duration: 1, shown: false };
        placed.extend((0..frames.len()).map(one));
        let mut last = first;
        for (rank, index) in order.into_iter().enumerate() {
            let frame = &mut placed[start + index];
            let rank = rank as i64;
            if rank < before as i64 {
                frame.pts = first + late - (before as i64 - rank);
            } else if rank < shown as i64 {
                last = time(cts(index));
                let end = time((cts(index) + i128::from(frames[index].duration)).min(self.upto));
                *frame = Placed { pts: last + late, duration: (end - last).max(0), shown: true, ..*frame };
            } else {
                frame.pts = last + late + 1 + rank - shown as i64;
            }
        }
    }
}

/// From the movie's time scale to the media's, rounded.
fn rescale(units: u64, scales: Scales) -> i128 {
    let (movie, media) = (i128::from(scales.movie), i128::from(scales.media));
    (i128::from(units) * media + movie / 2) / movie
}

pub(super) fn to_nanos(units: i128, scale: u32) -> i64 {
    let scale = i128::from(scale);
    let nanos = units.saturating_mul(1_000_000_000).saturating_add(scale / 2).div_euclid(scale);
    nanos.clamp(EARLIEST.into(), LATEST.into()) as i64
}
