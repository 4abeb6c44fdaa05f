//! What waits between the connection and the decoder. The connection is never held up: where the decoder, or whoever takes
//! its pictures, is too slow, the oldest groups of pictures make room, and are counted. Pure but for waiting.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::gate::Chosen;

const MOST_BYTES: usize = 32 << 20;
/// Footage that waits, in nanoseconds: what is older than that is late for everybody.
const MOST_TIME: i64 = 10_000_000_000;

pub(super) struct Ring<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<Chosen<T>>,
    bytes: usize,
    /// Wanted pictures that were dropped.
    dropped: u64,
    /// Frames were dropped up to the end: the next one that can be decoded is a key frame.
    needs_key: bool,
    closed: bool,
}

impl<T> Ring<T> {
    pub(super) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, dropped: 0, needs_key: false, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, mut chosen: Chosen<T>) {
        let mut state = self.state();
        if state.needs_key && !chosen.released.packet.key {
            state.dropped += u64::from(chosen.wanted);
            return;
        }
        chosen.released.after_gap |= std::mem::take(&mut state.needs_key);
        state.bytes += chosen.released.packet.bytes;
        state.waiting.push_back(chosen);
        while state.is_full() {
            state.drop_group();
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The oldest frame that waits, once there is one; `None`: none came in this time. An error: it is closed and empty.
    pub(super) fn pop(&self, wait: Duration) -> Result<Option<Chosen<T>>, Closed> {
        let idle = |state: &mut State<T>| state.waiting.is_empty() && !state.closed;
        let waited = self.changed.wait_timeout_while(self.state(), wait, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match state.waiting.pop_front() {
            Some(chosen) => {
                state.bytes -= chosen.released.packet.bytes;
                Ok(Some(chosen))
            }
            None if state.closed => Err(Closed),
            None => Ok(None),
        }
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn dropped(&self) -> u64 {
        self.state().dropped
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Closed;

impl<T> State<T> {
    fn is_full(&self) -> bool {
        let time = |chosen: Option<&Chosen<T>>| chosen.map_or(0, |chosen| chosen.released.packet.pts);
        let span = time(self.waiting.back()) - time(self.waiting.front());
        self.waiting.len() > 1 && (self.bytes > MOST_BYTES || span > MOST_TIME)
    }

    /// Up to the next key frame.
    fn drop_group(&mut self) {
        let behind = self.waiting.iter().skip(1).take_while(|chosen| !chosen.released.packet.key).count();
        for chosen in self.waiting.drain(..1 + behind) {
            self.bytes -= chosen.released.packet.bytes;
            self.dropped += u64::from(chosen.wanted);
        }
        match self.waiting.front_mut() {
            Some(key) => key.released.after_gap = true,
            None => self.needs_key = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::gate::Released;
    use super::super::super::plan::Packet;
    use super::*;

    fn chosen(second: i64, key: bool) -> Chosen<()> {
        let pts = second * 1_000_000_000;
        let packet = Packet::plain(pts, key);
        Chosen { released: Released { packet, payload: (), after_gap: false }, wanted: true, lone: false }
    }

    fn take(ring: &Ring<()>) -> Vec<(i64, bool)> {
        let mut all = Vec::new();
        while let Ok(Some(chosen)) = ring.pop(Duration::ZERO) {
            all.push((chosen.released.packet.pts / 1_000_000_000, chosen.released.after_gap));
        }
        all
    }

    #[test]
    fn the_oldest_groups_make_room_and_are_counted() {
        let ring = Ring::new();
        for second in 0..12 {
            ring.push(chosen(second, second % 4 == 0));
        }
        assert_eq!(ring.dropped(), 4);
        let left = take(&ring);
        assert_eq!(left[0], (4, true), "a decoder can start with what is first now");
        assert_eq!(left.len(), 8);
    }

    #[test]
    fn of_one_long_group_nothing_is_left_until_the_next_key_frame() {
        let ring = Ring::new();
        for second in 0..13 {
            ring.push(chosen(second, second == 0));
        }
        assert_eq!((ring.dropped(), take(&ring)), (13, Vec::new()));
        ring.push(chosen(13, false));
        ring.push(chosen(14, true));
        assert_eq!((ring.dropped(), take(&ring)), (14, vec![(14, true)]));
        ring.close();
        assert_eq!(ring.pop(Duration::ZERO).err(), Some(Closed));
    }
}
