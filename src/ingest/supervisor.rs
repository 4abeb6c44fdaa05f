//! When a stream is called, when it counts as live, and when it is called again. Pure: whoever runs it says what time it
//! is and what happened, and does what it is told.
//!
//! ```text
//! connecting ──frame──▶ live ──no frame for `stall`──▶ stalled ──frame──▶ live
//!     │                  │                                │ no frame for as long again
//!     └── nobody answers ┴──── the connection ends ───────┴──▶ backing off ──after a while──▶ connecting
//!                                                          └──▶ failed, where trying again cannot help
//! ```
//!
//! It is called again for ever: a camera may be away for weeks. The waits grow up to a limit, with some chance in them, so
//! that cameras behind one switch are not all called at once.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use uuid::Uuid;

use crate::source::SourceState;

/// What is waited for, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// For the first frame of a connection.
    pub connect: Duration,
    /// For the next frame, before the stream counts as stalled; for as long again before the connection is given up.
    pub stall: Duration,
    /// The first wait before it is called again, and the longest.
    pub least_backoff: Duration,
    pub most_backoff: Duration,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on as something else: it can be called at once.
    Changed,
    Lost,
    /// Calling often does not help, and some cameras lock out who asks with a wrong password.
    Refused,
    /// The settings or the installation have to change first.
    Hopeless,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// The connection is not worth keeping.
    GiveUp,
}

pub struct Supervisor {
    patience: Patience,
    backoff: ExponentialBackoff,
    state: SourceState,
    /// When it was called.
    called: Duration,
    /// When the first and the last frame of this connection came.
    frames: Option<(Duration, Duration)>,
}

/// The last frame of a camera that froze came through buffers and the decoder so much later than the camera froze, and the clock is
/// looked at now and then. So much earlier is it called stalled, that no more than the configured age has passed.
const ON_THE_WAY: Duration = Duration::from_secs(1);
/// A connection that held for so long was a good one: the waits begin anew.
const GOOD: Duration = Duration::from_secs(10);

impl Supervisor {
    pub fn new(patience: Patience) -> Self {
        let state = SourceState::Connecting;
        Self { patience, backoff: backoff(&patience), state, called: Duration::ZERO, frames: None }
    }

    pub fn state(&self) -> SourceState {
        self.state
    }

    /// It is being called.
    pub fn called(&mut self, now: Duration) {
        (self.state, self.called, self.frames) = (SourceState::Connecting, now, None);
    }

    pub fn frame(&mut self, now: Duration) {
        self.state = SourceState::Live;
        self.frames = Some((self.frames.map_or(now, |(first, _)| first), now));
    }

    /// Looks at the time; to be called often while there is a connection.
    pub fn look(&mut self, now: Duration) -> Verdict {
        let Patience { connect, stall, .. } = self.patience;
        let (silence, limit) = match self.frames {
            None => (now.saturating_sub(self.called), connect),
            Some((_, last)) => (now.saturating_sub(last), 2 * stall),
        };
        if self.frames.is_some() && silence >= stall - ON_THE_WAY.min(stall / 4) {
            self.state = SourceState::Stalled;
        }
        if silence >= limit { Verdict::GiveUp } else { Verdict::Fine }
    }

    /// The connection ended: how long to wait before it is called again; `None`: it is not.
    pub fn ended(&mut self, now: Duration, ending: Ending) -> Option<Duration> {
        if self.frames.is_some_and(|(first, _)| now.saturating_sub(first) >= GOOD) {
            self.backoff = backoff(&self.patience);
        }
        self.state = SourceState::BackingOff;
        let most = self.patience.most_backoff;
        match ending {
            // Unless it changes all the time.
            Ending::Changed if self.frames.is_some() => Some(Duration::ZERO),
            Ending::Changed | Ending::Lost => Some(self.backoff.next().unwrap_or(most).min(most)),
            Ending::Refused => Some(most),
            Ending::Hopeless => {
                self.state = SourceState::Failed;
                None
            }
        }
    }
}

fn backoff(patience: &Patience) -> ExponentialBackoff {
    let builder = ExponentialBuilder::default().with_min_delay(patience.least_backoff);
    // Without a seed of its own every stream would wait just as long as the others.
    let seed = Uuid::new_v4().as_u64_pair().0;
    builder.with_max_delay(patience.most_backoff).with_jitter().with_jitter_seed(seed).without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn supervisor() -> (Clock, Supervisor) {
        let patience =
            Patience { connect: 20 * SECOND, stall: 10 * SECOND, least_backoff: SECOND, most_backoff: 30 * SECOND };
        let (clock, mut supervisor) = (Clock::manual(), Supervisor::new(patience));
        supervisor.called(clock.passed());
        (clock, supervisor)
    }

    #[test]
    fn a_silent_stream_is_stalled_and_then_given_up() {
        let (clock, mut supervisor) = supervisor();
        supervisor.frame(clock.passed());
        assert_eq!((supervisor.look(clock.passed()), supervisor.state()), (Verdict::Fine, SourceState::Live));
        clock.advance(8 * SECOND);
        assert_eq!((supervisor.look(clock.passed()), supervisor.state()), (Verdict::Fine, SourceState::Live));
        clock.advance(SECOND);
        assert_eq!((supervisor.look(clock.passed()), supervisor.state()), (Verdict::Fine, SourceState::Stalled));
        supervisor.frame(clock.passed());
        assert_eq!(supervisor.state(), SourceState::Live);
        clock.advance(20 * SECOND);
        assert_eq!(supervisor.look(clock.passed()), Verdict::GiveUp);
    }

    #[test]
    fn nobody_waits_for_the_first_frame_for_ever() {
        let (clock, mut supervisor) = supervisor();
        clock.advance(19 * SECOND);
        assert_eq!((supervisor.look(clock.passed()), supervisor.state()), (Verdict::Fine, SourceState::Connecting));
        clock.advance(SECOND);
        assert_eq!(supervisor.look(clock.passed()), Verdict::GiveUp);
    }

    #[test]
    fn it_is_called_for_ever_at_growing_distances_with_some_chance_in_them() {
        let (clock, mut supervisor) = supervisor();
        let waits: Vec<Duration> = (0..1000).map(|_| supervisor.ended(clock.passed(), Ending::Lost).unwrap()).collect();
        assert!(waits[0] >= SECOND && waits[0] <= 2 * SECOND, "{:?}", waits[0]);
        assert!(waits[1] >= 2 * SECOND && waits[1] <= 4 * SECOND, "{:?}", waits[1]);
        assert!(waits.iter().all(|wait| *wait <= 30 * SECOND) && waits[999] == 30 * SECOND);
        let others: Vec<Duration> = {
            let (clock, mut supervisor) = self::supervisor();
            (0..4).map(|_| supervisor.ended(clock.passed(), Ending::Lost).unwrap()).collect()
        };
        assert_ne!(waits[..4], others);
        assert_eq!(supervisor.state(), SourceState::BackingOff);
    }

    #[test]
    fn a_good_connection_makes_the_waits_short_again() {
        let (clock, mut supervisor) = supervisor();
        for _ in 0..10 {
            supervisor.ended(clock.passed(), Ending::Lost);
        }
        supervisor.called(clock.passed());
        supervisor.frame(clock.passed());
        clock.advance(SECOND);
        assert_eq!(supervisor.ended(clock.passed(), Ending::Lost), Some(30 * SECOND), "it did not hold");
        supervisor.called(clock.passed());
        supervisor.frame(clock.passed());
        clock.advance(11 * SECOND);
        assert!(supervisor.ended(clock.passed(), Ending::Lost).unwrap() <= 2 * SECOND);
    }

    #[test]
    fn what_ended_it_decides_how_soon_it_is_called_again() {
        let (clock, mut supervisor) = supervisor();
        assert_eq!(supervisor.ended(clock.passed(), Ending::Refused), Some(30 * SECOND));
        supervisor.called(clock.passed());
        assert!(supervisor.ended(clock.passed(), Ending::Changed).unwrap() >= SECOND, "it showed nothing");
        supervisor.called(clock.passed());
        supervisor.frame(clock.passed());
        assert_eq!(supervisor.ended(clock.passed(), Ending::Changed), Some(Duration::ZERO));
        assert_eq!(supervisor.ended(clock.passed(), Ending::Hopeless), None);
        assert_eq!(supervisor.state(), SourceState::Failed);
    }
}
