//! Time. Code that waits or reads the time uses a [`Clock`], so that tests can control it.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// The machine's clock, or a manual one that only moves when told to. Clones share the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<watch::Sender<Manual>>>,
}

#[derive(Clone, Copy, Debug)]
struct Manual {
    passed: Duration,
    unix: Duration,
}

/// Start of the manual clock: 2026-01-01T00:00:00Z.
const MANUAL_BEGINS: Duration = Duration::from_secs(1_767_225_600);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock {
    pub fn real() -> Self {
        Self::default()
    }

    pub fn manual() -> Self {
        let (time, _) = watch::channel(Manual { passed: Duration::ZERO, unix: MANUAL_BEGINS });
        Self { manual: Some(Arc::new(time)) }
    }

    /// Monotonic time since an arbitrary moment.
    pub fn passed(&self) -> Duration {
        match &self.manual {
            Some(time) => time.borrow().passed,
            None => STARTED.elapsed(),
        }
    }

    /// Wall clock since the Unix epoch. It may be set, so it may jump in both directions.
    pub fn unix(&self) -> Duration {
        match &self.manual {
            Some(time) => time.borrow().unix,
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    pub async fn sleep(&self, length: Duration) {
        let Some(time) = &self.manual else { return tokio::time::sleep(length).await };
        let until = self.passed() + length;
        // Cannot fail: `self` holds the sender.
        let _ = time.subscribe().wait_for(|time| time.passed >= until).await;
    }

    /// `None` if the work takes longer.
    pub async fn timeout<F: Future>(&self, length: Duration, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = work => Some(output),
            () = self.sleep(length) => None,
        }
    }

    /// Advances a manual clock. Has no effect on a real clock.
    pub fn advance(&self, length: Duration) {
        self.set(|time| {
            time.passed += length;
            time.unix += length;
        });
    }

    /// Sets the wall clock of a manual clock, like an administrator or time server: no time passes.
    pub fn set_unix(&self, unix: Duration) {
        self.set(|time| time.unix = unix);
    }

    fn set(&self, change: impl FnOnce(&mut Manual)) {
        if let Some(time) = &self.manual {
            time.send_modify(change);
        }
    }
}

/// Seconds, rounded to milliseconds, for JSON.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_moves_when_it_is_told_to() {
        let clock = Clock::manual();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(3599));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.set_unix(Duration::ZERO);
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished(), "a step of the wall clock is no time that passes");
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!((clock.passed(), clock.unix()), (Duration::from_secs(3600), Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn work_has_as_long_as_it_is_given() {
        let clock = Clock::manual();
        assert_eq!(clock.timeout(Duration::from_secs(1), std::future::ready(7)).await, Some(7));
        let never = clock.timeout(Duration::from_secs(1), std::future::pending::<()>());
        tokio::pin!(never);
        tokio::select! { biased; _ = &mut never => panic!("no time has passed"), () = tokio::task::yield_now() => {} }
        clock.advance(Duration::from_secs(1));
        assert_eq!(never.await, None);
    }

    #[test]
    fn a_real_clock_goes_on() {
        let clock = Clock::real();
        let before = clock.passed();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.passed() > before && clock.unix() > MANUAL_BEGINS);
    }
}
