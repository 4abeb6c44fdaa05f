//! Which coded frames of a live stream are decoded and which pictures are wanted, decided as they come. Pure.
//!
//! For a file the whole group of pictures is looked at before anything is decided ([`super::super::gate`]). A live frame
//! must not wait for the next key frame, so here each is decided on by what was seen so far: of each interval of the
//! wall clock the first frame that comes is wanted. What no later frame needs is left out where it is not wanted.

use std::collections::{BTreeSet, VecDeque};

use super::super::Sampling;
use super::super::gate::Released;
use super::super::plan::Packet;

/// So many distances from key frame to key frame tell how often they come.
const DISTANCES: usize = 4;
/// Intervals remembered as served: more than any codec shuffles frames by.
const REMEMBERED: usize = 256;

/// A coded frame that goes to the decoder.
#[derive(Debug)]
pub(super) struct Chosen<T> {
    pub(super) released: Released<T>,
    /// Its picture is handed on.
    pub(super) wanted: bool,
    /// Nothing that needs it follows, so the decoder need not wait for more.
    pub(super) lone: bool,
}

#[derive(Debug)]
pub(super) struct LiveGate {
    interval: i64,
    sampling: Sampling,
    /// [`Sampling::Auto`] takes key frames alone where they are at most so far apart.
    reach: i64,
    previous_key: Option<i64>,
    distances: VecDeque<i64>,
    /// Whether the group under way is decoded for its key frame alone.
    by_keys: bool,
    served: BTreeSet<i64>,
    /// A frame was left out since the last one that was let through.
    gap: bool,
}

impl LiveGate {
    pub(super) fn new(interval: i64, sampling: Sampling, tolerance: f64) -> Self {
        let interval = interval.max(1);
        Self {
            interval,
            sampling,
            reach: (2.0 * tolerance.max(0.0) * interval as f64) as i64,
            previous_key: None,
            distances: VecDeque::new(),
            by_keys: false,
            served: BTreeSet::new(),
            gap: false,
        }
    }

    /// Times of packets are those of the wall clock.
    pub(super) fn push<T>(&mut self, packet: Packet, payload: T) -> Option<Chosen<T>> {
        if packet.key {
            self.meet_key(packet.pts);
        } else if self.previous_key.is_none() {
            // What came before the first key frame cannot be decoded.
            return None;
        }
        let wanted = packet.shown && (packet.key || !self.by_keys) && self.serves(packet.pts);
        let is_left_out = if self.by_keys { !wanted } else { packet.disposable && packet.in_order && !wanted };
        if is_left_out {
            // What nothing needs leaves no gap.
            self.gap |= !packet.disposable;
            return None;
        }
        let after_gap = packet.key && std::mem::take(&mut self.gap);
        Some(Chosen { released: Released { packet, payload, after_gap }, wanted, lone: self.by_keys })
    }

    fn meet_key(&mut self, pts: i64) {
        if let Some(previous) = self.previous_key.replace(pts) {
            self.distances.push_back(pts - previous);
            if self.distances.len() > DISTANCES {
                self.distances.pop_front();
            }
        }
        self.by_keys = match self.sampling {
            Sampling::Keyframes => true,
            Sampling::Gop | Sampling::All => false,
            Sampling::Auto => {
                !self.distances.is_empty() && self.distances.iter().all(|distance| *distance <= self.reach)
            }
        };
    }

    /// Whether nothing was taken of this frame's interval yet.
    fn serves(&mut self, pts: i64) -> bool {
        let is_new = self.served.insert(pts.div_euclid(self.interval));
        if self.served.len() > REMEMBERED {
            self.served.pop_first();
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: i64, key: bool) -> Packet {
        Packet::plain(pts, key)
    }

    /// Times of what is decoded, with a mark where it is wanted.
    fn run(gate: &mut LiveGate, packets: impl IntoIterator<Item = Packet>) -> Vec<(i64, bool)> {
        let pushed = packets.into_iter().filter_map(|packet| gate.push(packet, ()));
        pushed.map(|chosen| (chosen.released.packet.pts, chosen.wanted)).collect()
    }

    #[test]
    fn key_frames_are_taken_as_they_come() {
        let mut gate = LiveGate::new(10, Sampling::Keyframes, 0.0);
        let packets = (3..30).map(|pts| packet(pts, pts % 7 == 0));
        assert_eq!(run(&mut gate, packets), [(7, true), (14, true), (21, true)]);
        let chosen = gate.push(packet(35, true), ()).unwrap();
        assert!(chosen.released.after_gap && chosen.lone);
        assert!(gate.push(packet(36, true), ()).is_none(), "one an interval is enough");
    }

    #[test]
    fn else_each_interval_gives_the_first_frame_that_comes() {
        let mut gate = LiveGate::new(10, Sampling::Gop, 0.0);
        let shuffled = [0, 12, 4, 8, 24, 16, 20].map(|pts| packet(pts, pts == 0));
        let wanted: Vec<i64> =
            run(&mut gate, shuffled).into_iter().filter(|(_, wanted)| *wanted).map(|(t, _)| t).collect();
        assert_eq!(wanted, [0, 12, 24]);
        // What nothing needs is left out, and leaves no gap.
        let disposable = Packet { disposable: true, ..packet(26, false) };
        assert!(gate.push(disposable, ()).is_none());
        let chosen = gate.push(packet(30, true), ()).unwrap();
        assert!(!chosen.released.after_gap && !chosen.lone && chosen.wanted);
    }

    #[test]
    fn auto_takes_key_frames_where_they_come_often_enough() {
        let mut gate = LiveGate::new(10, Sampling::Auto, 0.5);
        let often = run(&mut gate, (0..40).map(|pts| packet(pts, pts % 10 == 0)));
        assert_eq!(
            often.iter().filter(|(pts, _)| *pts >= 10).copied().collect::<Vec<_>>(),
            [(10, true), (20, true), (30, true)]
        );
        // Now they come too rarely: all are decoded from the next key frame on.
        let rare = run(&mut gate, (40..90).map(|pts| packet(pts, pts % 25 == 0)));
        assert_eq!(rare.iter().map(|(pts, _)| *pts).collect::<Vec<_>>(), (50..90).collect::<Vec<_>>());
    }

    #[test]
    fn hidden_frames_serve_nothing() {
        let mut gate = LiveGate::new(10, Sampling::All, 0.0);
        let hidden = Packet { shown: false, ..packet(0, true) };
        assert_eq!(run(&mut gate, [hidden, packet(1, false)]), [(0, false), (1, true)]);
    }
}
