//! Gives every coded frame a time: as the container says where it says so, counted on where it does not, and continued
//! where a recording was appended to another and the clock starts anew. Pure.

use super::plan::Packet;

/// Taken where nothing tells how long a frame lasts.
const USUAL_STEP: i64 = 40_000_000;
/// A key frame so far before what was already seen starts a new clock. Less is a matter of frame order.
const BACKWARD_JUMP: i64 = 1_000_000_000;

/// A coded frame as the container hands it over; times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub pts: Option<i64>,
    pub dts: Option<i64>,
    pub duration: Option<i64>,
    pub key: bool,
    pub shown: bool,
    pub bytes: usize,
}

#[derive(Debug, Default)]
pub struct Timeline {
    /// Added to what the container says.
    shift: i64,
    latest: Option<i64>,
    /// Frame duration according to the stream's description.
    nominal: Option<i64>,
}

impl Timeline {
    pub fn set_nominal(&mut self, step: Option<i64>) {
        self.nominal = step.filter(|step| *step > 0);
    }

    pub fn place(&mut self, stamp: Stamp) -> Packet {
        let step = stamp.duration.filter(|d| *d > 0).or(self.nominal);
        let next = self.latest.map_or(0, |latest| latest + step.unwrap_or(USUAL_STEP));
        let pts = match stamp.pts.or(stamp.dts) {
            Some(pts) => {
                let behind = self.latest.map_or(0, |latest| latest - (pts + self.shift));
                if stamp.key && behind > BACKWARD_JUMP {
                    self.shift = next - pts;
                }
                pts + self.shift
            }
            None => next,
        };
        self.latest = Some(self.latest.map_or(pts, |latest| latest.max(pts)));
        Packet { pts, duration: step, key: stamp.key, shown: stamp.shown, bytes: stamp.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(pts: Option<i64>, key: bool) -> Stamp {
        Stamp { pts, dts: None, duration: None, key, shown: true, bytes: 0 }
    }

    #[test]
    fn frames_without_times_are_counted() {
        let mut timeline = Timeline::default();
        timeline.set_nominal(Some(100));
        let times: Vec<i64> = (0..4).map(|i| timeline.place(stamp(None, i == 0)).pts).collect();
        assert_eq!(times, [0, 100, 200, 300]);
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
