//! Gives every coded frame a time: as the container says where it says so, counted on where it does not, and continued
//! where a recording was appended to another and the clock starts anew. Pure.

use super::LONGEST_GAP;
use super::plan::Packet;

/// Taken where nothing tells how long a frame lasts.
const USUAL_STEP: i64 = 40_000_000;
/// Times outside of these no recording has: they count as not told. Both leave room for sums of a few times, and for
/// frames before zero that an edit list has cut away.
pub(super) const EARLIEST: i64 = -1_000 * 3600 * 1_000_000_000;
pub(super) const LATEST: i64 = 250 * 365 * 24 * 3600 * 1_000_000_000;
/// A key frame so far before what was already seen starts a new clock. Less is a matter of frame order.
const BACKWARD_JUMP: i64 = 1_000_000_000;
/// Times that differ by less are the same, rounded in different ways.
const ROUNDING: i64 = 1_000;

/// A coded frame as the container hands it over; times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
    pub(super) duration: Option<i64>,
    pub(super) key: bool,
    pub(super) shown: bool,
    pub(super) bytes: usize,
    /// False where the decoder will not tell which picture came of which frame.
    pub(super) in_order: bool,
    /// No other frame refers to it.
    pub(super) disposable: bool,
    /// As [`Packet::listed`].
    pub(super) listed: bool,
    /// As [`Packet::closed`].
    pub(super) closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Added to what the container says.
    shift: i64,
    latest: Option<i64>,
    /// By how much the first frame is shown later than it is decoded.
    lead: Option<i64>,
    /// A frame without presentation time was seen: from there on decoding times count.
    counting: bool,
    /// Frame duration according to the stream's description.
    nominal: Option<i64>,
}

impl Timeline {
    pub(super) fn set_nominal(&mut self, step: Option<i64>) {
        self.nominal = step.filter(|step| *step > 0 && *step <= LONGEST_GAP.as_nanos() as i64);
    }

    pub(super) fn place(&mut self, stamp: Stamp) -> Packet {
        let told = |time: Option<i64>| time.filter(|time| (EARLIEST..=LATEST).contains(time));
        let stamp = Stamp { pts: told(stamp.pts), dts: told(stamp.dts), ..stamp };
        let step = stamp.duration.filter(|d| *d > 0 && *d <= LONGEST_GAP.as_nanos() as i64).or(self.nominal);
        let next = self.latest.map_or(0, |latest| latest + step.unwrap_or(USUAL_STEP));
        if let (None, Some(pts), Some(dts)) = (self.lead, stamp.pts, stamp.dts) {
            self.lead = Some(pts - dts);
        }
        self.counting |= stamp.pts.is_none();
        // Decoding times grow; where two are alike, frames were packed together.
        let decoded = stamp.dts.map(|dts| dts.saturating_add(self.lead.unwrap_or(0)));
        let later = |time: i64, than: i64| time.saturating_add(self.shift) > than.saturating_add(ROUNDING);
        let grown = decoded.filter(|time| self.latest.is_none_or(|latest| later(*time, latest)));
        let in_order = stamp.in_order && !self.counting;
        let pts = match if self.counting { grown } else { stamp.pts } {
            Some(pts) => {
                let behind = self.latest.map_or(0, |latest| latest.saturating_sub(pts.saturating_add(self.shift)));
                if stamp.key && behind > BACKWARD_JUMP {
                    self.shift = next - pts;
                }
                pts.saturating_add(self.shift)
            }
            None => next,
        };
        let pts = pts.clamp(EARLIEST, LATEST);
        self.latest = Some(self.latest.map_or(pts, |latest| latest.max(pts)));
        Packet {
            pts,
            duration: step,
            key: stamp.key,
            shown: stamp.shown,
            bytes: stamp.bytes,
            in_order,
            disposable: stamp.disposable,
            listed: stamp.listed,
            closed: stamp.closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(pts: Option<i64>, key: bool) -> Stamp {
        Stamp {
            pts,
            dts: None,
            duration: None,
            key,
            shown: true,
            bytes: 0,
            in_order: true,
            disposable: false,
            listed: false,
            closed: false,
        }
    }

    #[test]
    fn frames_without_times_are_counted() {
        let mut timeline = Timeline::default();
        timeline.set_nominal(Some(100));
        let times: Vec<i64> = (0..4).map(|i| timeline.place(stamp(None, i == 0)).pts).collect();
        assert_eq!(times, [0, 100, 200, 300]);
    }

    #[test]
    fn decoding_times_serve_where_there_is_nothing_better() {
        let mut timeline = Timeline::default();
        const MS: i64 = 1_000_000;
        timeline.set_nominal(Some(40 * MS));
        let dts = [0, 40 * MS, 80 * MS, 80 * MS + 1, 160 * MS];
        let packets = dts.map(|dts| timeline.place(Stamp { dts: Some(dts), ..stamp(None, dts == 0) }));
        assert_eq!(packets.map(|packet| packet.pts / MS), [0, 40, 80, 120, 160]);
        assert!(packets.iter().all(|packet| !packet.in_order));
    }

    #[test]
    fn once_a_presentation_time_is_missing_decoding_times_count() {
        // As in program streams: I P B B P B B, shown 40 later than decoded, the second P without a time.
        let mut timeline = Timeline::default();
        const MS: i64 = 1_000_000;
        timeline.set_nominal(Some(40 * MS));
        let stamps = [
            (Some(40), 0),
            (Some(160), 40),
            (Some(80), 80),
            (Some(120), 120),
            (None, 160),
            (Some(200), 200),
            (Some(240), 240),
        ];
        let times = stamps.map(|(pts, dts)| {
            let stamp = stamp(pts.map(|pts| pts * MS), dts == 0);
            timeline.place(Stamp { dts: Some(dts * MS), ..stamp }).pts / MS
        });
        assert_eq!(times, [40, 160, 80, 120, 200, 240, 280]);
    }

    #[test]
    fn times_that_no_recording_has_are_counted_on() {
        let mut timeline = Timeline::default();
        timeline.set_nominal(Some(40));
        for (pts, expected) in [(Some(0), 0), (Some(i64::MAX), 40), (Some(i64::MIN), 80), (None, 120)] {
            assert_eq!(timeline.place(stamp(pts, false)).pts, expected);
        }
    }

    proptest! {
        #[test]
        fn no_time_is_out_of_bounds(
            stamps in prop::collection::vec((any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>(), any::<bool>()), 0..40)
        ) {
            let mut timeline = Timeline::default();
            for (pts, dts, duration, key) in stamps {
                let packet = timeline.place(Stamp { dts, duration, ..stamp(pts, key) });
                prop_assert!((EARLIEST..=LATEST).contains(&packet.pts));
                prop_assert!(packet.duration.is_none_or(|duration| duration > 0 && duration <= LONGEST_GAP.as_nanos() as i64));
            }
        }
    }

    #[test]
    fn shuffled_frames_keep_their_times_and_a_new_clock_goes_on() {
        let mut timeline = Timeline::default();
        timeline.set_nominal(Some(40));
        let second = 1_000_000_000;
        for (pts, key, expected) in [
            (0, true, 0),
            (3 * second, false, 3 * second),
            (second, false, second),
            (0, true, 3 * second + 40),
            (second, false, 4 * second + 40),
        ] {
            assert_eq!(timeline.place(stamp(Some(pts), key)).pts, expected);
        }
    }
}
