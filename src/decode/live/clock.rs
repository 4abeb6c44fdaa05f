//! Puts the frames of a stream on the wall clock. Pure.
//!
//! A stream has a clock of its own, which begins anywhere, runs a little too fast or too slow, and may leap. What is known
//! is when each frame arrived here, and for RTSP what the sender says of its own clock. So a frame's time is its time
//! stamp plus an offset that follows the sender's word, or else the earliest arrivals: the network delays frames, it never
//! hurries them. The offset follows slowly, so that times do not jitter; and at once where the time stamps leap.

use std::collections::VecDeque;

use super::super::TimeSource;

const SECOND: i64 = 1_000_000_000;
/// How long an early arrival counts.
const MEMORY: i64 = 30 * SECOND;
/// A clock that differs from this machine's by more is wrong, as that of a camera that was never set.
const BELIEVABLE: i64 = 60 * SECOND;
/// Time stamps that leap by so much against the time that passed belong to another clock.
const LEAP: i64 = 10 * SECOND;
/// The offset changes by at most this share of the time that passes.
const SLEW: i64 = 50;

/// All times in nanoseconds; arrivals and results since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    offset: Option<i64>,
    /// Arrival and offset of the frames that were early, ascending in both.
    early: VecDeque<(i64, i64)>,
    /// Time stamp and arrival of the last frame.
    last: Option<(i64, i64)>,
    source: TimeSource,
}

impl WallClock {
    /// When the frame with this time stamp was taken. `sender`: the offset by the sender's own clock, if it told.
    pub(super) fn place(&mut self, pts: i64, arrival: i64, sender: Option<i64>) -> i64 {
        let own = arrival.saturating_sub(pts);
        let leapt = self.last.is_some_and(|(last_pts, last_arrival)| {
            let (by_stamps, by_clock) = (pts - last_pts, arrival - last_arrival);
            by_stamps.abs() > LEAP && (by_stamps - by_clock).abs() > LEAP
        });
        if leapt {
            self.early.clear();
            self.offset = None;
        }
        while self.early.back().is_some_and(|(_, offset)| *offset >= own) {
            self.early.pop_back();
        }
        self.early.push_back((arrival, own));
        while self.early.front().is_some_and(|(at, _)| *at < arrival - MEMORY) {
            self.early.pop_front();
        }
        let earliest = self.early.front().map_or(own, |(_, offset)| *offset);
        let believed = sender.filter(|sender| (sender - own).abs() <= BELIEVABLE);
        self.source = if believed.is_some() { TimeSource::Sender } else { TimeSource::Arrival };
        let target = believed.unwrap_or(earliest);
        let passed = self.last.map_or(0, |(_, last)| (arrival - last).max(0));
        let offset = match self.offset {
            Some(offset) if (target - offset).abs() <= LEAP => {
                let most = passed / SLEW;
                offset + (target - offset).clamp(-most, most)
            }
            _ => target,
        };
        self.offset = Some(offset);
        self.last = Some((pts, arrival));
        pts.saturating_add(offset)
    }

    /// Whose clock the last time is by.
    pub(super) fn source(&self) -> TimeSource {
        self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_795_200 * SECOND;
    const MS: i64 = 1_000_000;

    #[test]
    fn jitter_of_the_network_does_not_show() {
        let mut clock = WallClock::default();
        let mut before = None;
        for n in 0..3000_i64 {
            let pts = 7 * SECOND + n * 40 * MS;
            let delay = [0, 5, 80, 3, 1, 40][n as usize % 6] * MS;
            let time = clock.place(pts, NOW + n * 40 * MS + delay, None);
            let step = before.map_or(40 * MS, |before| time - before);
            assert!((step - 40 * MS).abs() <= 2 * MS, "{n}: {step}");
            before = Some(time);
        }
        assert!((before.unwrap() - (NOW + 2999 * 40 * MS)).abs() < 5 * MS);
        assert_eq!(clock.source(), TimeSource::Arrival);
    }

    #[test]
    fn a_day_long_stream_whose_clock_runs_fast_does_not_drift() {
        let mut clock = WallClock::default();
        // 100 parts in a million, one frame a second, for a day.
        for n in 0..86_400_i64 {
            let arrival = NOW + n * SECOND;
            let time = clock.place(n * SECOND + n * 100_000, arrival, None);
            assert!((time - arrival).abs() < 10 * MS, "{n}: {}", time - arrival);
        }
    }

    #[test]
    fn leaping_stamps_and_pauses() {
        let mut clock = WallClock::default();
        assert_eq!(clock.place(0, NOW, None), NOW);
        assert_eq!(clock.place(40 * MS, NOW + 40 * MS, None), NOW + 40 * MS);
        // The stream's clock leaps: time goes on.
        let arrival = NOW + 80 * MS;
        assert_eq!(clock.place(3600 * SECOND, arrival, None), arrival);
        assert_eq!(clock.place(5 * SECOND, arrival + 40 * MS, None), arrival + 40 * MS);
        // The network holds frames up and brings them all at once: they keep their times.
        let late = arrival + 15 * SECOND;
        assert!((clock.place(5 * SECOND + 40 * MS, late, None) - (arrival + 80 * MS)).abs() < SECOND);
    }

    #[test]
    fn the_sender_is_believed_where_its_clock_can_be_right() {
        let mut clock = WallClock::default();
        // It tells after a while that frames are half a second old when they arrive.
        assert_eq!(clock.place(0, NOW, None), NOW);
        let mut time = 0;
        for n in 1..2000_i64 {
            time = clock.place(n * 40 * MS, NOW + n * 40 * MS, Some(NOW - 500 * MS));
        }
        assert_eq!((time, clock.source()), (NOW + 1999 * 40 * MS - 500 * MS, TimeSource::Sender));
        let mut clock = WallClock::default();
        assert_eq!(clock.place(0, NOW, Some(0)), NOW, "a camera that believes it is 1970");
        assert_eq!(clock.source(), TimeSource::Arrival);
    }
}
