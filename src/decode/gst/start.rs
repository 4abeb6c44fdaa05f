//! When a medium starts: where the first of its tracks does, be it sound or pictures.
//!
//! Demuxers tell of a track's first time with its first packet, so that of the sound may come after some pictures. FFmpeg
//! looks at the first five megabytes for it, and players count from what it finds.

use std::collections::BTreeMap;

use gstreamer as gst;
use gstreamer::prelude::*;

/// How many pictures are read ahead to find out when the sound begins, and how many bytes of them.
const MOST_AHEAD: usize = 250;
const MOST_BYTES: usize = 5 << 20;
/// So many are read ahead in any case, since some demuxers find tracks as they come.
const LEAST_AHEAD: usize = 8;

/// The tracks with sound, by the numbers of their pads.
#[derive(Debug, Default)]
pub(super) struct Sounds {
    /// Time of the first packet of each; none: not yet there.
    first: BTreeMap<usize, Option<i64>>,
    /// That of the first packet of any track with text.
    text: Option<i64>,
}

/// Texts begin a medium if they come less than this before its sound and pictures, as FFmpeg has it.
const EARLY_TEXT: i64 = 1_000_000_000;

impl Sounds {
    pub(super) fn expect(&mut self, pad: usize) {
        self.first.entry(pad).or_default();
    }

    pub(super) fn begin(&mut self, pad: usize, time: i64) {
        self.first.entry(pad).or_default().get_or_insert(time);
    }

    pub(super) fn begin_text(&mut self, time: i64) {
        self.text = Some(self.text.map_or(time, |known| known.min(time)));
    }

    /// Whether more pictures have to be read until the start is known.
    pub(super) fn are_missing(&self, pictures: usize, bytes: usize) -> bool {
        pictures < LEAST_AHEAD || self.is_any_unheard() && pictures < MOST_AHEAD && bytes < MOST_BYTES
    }

    /// Whether a track with sound has given nothing yet.
    pub(super) fn is_any_unheard(&self) -> bool {
        self.first.values().any(Option::is_none)
    }

    /// `video`: when the pictures start.
    pub(super) fn start(&self, video: i64) -> i64 {
        let start = self.first.values().flatten().copied().fold(video, i64::min);
        self.text.filter(|text| start - text < EARLY_TEXT).map_or(start, |text| text.min(start))
    }
}

/// The time of a buffer at this pad, on the clock that [`super::connect::place`] counts on. `cut`: by segments.
pub(super) fn time_at(pad: &gst::Pad, buffer: &gst::BufferRef, cut: bool) -> Option<i64> {
    let event = pad.sticky_event::<gst::event::Segment>(0).filter(|_| cut);
    let segment = event.as_ref().and_then(|event| event.segment().downcast_ref::<gst::ClockTime>());
    super::connect::place(buffer.pts().or(buffer.dts()), segment).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_starts_with_the_first_of_its_tracks() {
        let mut sounds = Sounds::default();
        assert!(sounds.are_missing(0, 0) && !sounds.are_missing(LEAST_AHEAD, 0));
        assert_eq!(sounds.start(5), 5);
        sounds.expect(1);
        assert!(sounds.are_missing(LEAST_AHEAD, 0));
        assert!(!sounds.are_missing(MOST_AHEAD, 0) && !sounds.are_missing(LEAST_AHEAD, MOST_BYTES));
        sounds.begin(1, -7);
        sounds.begin(1, -9);
        assert!(!sounds.are_missing(LEAST_AHEAD, 0));
        assert_eq!((sounds.start(5), sounds.start(-8)), (-7, -8));
        sounds.begin_text(-EARLY_TEXT - 7);
        assert_eq!(sounds.start(5), -7);
        sounds.text = None;
        sounds.begin_text(-9);
        sounds.begin_text(3);
        assert_eq!(sounds.start(5), -9);
    }
}
