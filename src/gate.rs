//! Limits how much of something runs at once, how much may wait, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;

/// There was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    QueueFull { waiting: usize },
    QueuedTooLong { after: Duration },
}

/// How many run and wait, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
    pub most_waiting: usize,
}

pub(crate) struct Gate {
    running: Arc<Semaphore>,
    waiting: Semaphore,
    most_running: usize,
    most_waiting: usize,
    patience: Duration,
    clock: Clock,
}

impl Gate {
    pub(crate) fn new(most_running: usize, most_waiting: usize, patience: Duration, clock: Clock) -> Self {
        let (running, waiting) = (Arc::new(Semaphore::new(most_running)), Semaphore::new(most_waiting));
        Self { running, waiting, most_running, most_waiting, patience, clock }
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            running: self.most_running - self.running.available_permits(),
            waiting: self.most_waiting - self.waiting.available_permits(),
            most_waiting: self.most_waiting,
        }
    }

    /// Returns when the work may begin. Hold the permit until it ends. Fails if the queue is full, or after waiting too
    /// long.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, Refused> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Refused::QueueFull { waiting: self.most_waiting })?;
        match self.clock.timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await {
            Some(Ok(permit)) => Ok(permit),
            // It is never closed.
            Some(Err(_)) | None => Err(Refused::QueuedTooLong { after: self.patience }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn work_waits_its_turn() {
        let gate = Gate::new(1, 1, PATIENCE, Clock::manual());
        let first = gate.enter().await.unwrap();
        let second = gate.enter();
        tokio::pin!(second);
        assert!(still_waits(&mut second).await);
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn not_more_wait_than_may() {
        let gate = Gate::new(1, 1, PATIENCE, Clock::manual());
        let _first = gate.enter().await.unwrap();
        let second = gate.enter();
        tokio::pin!(second);
        assert!(still_waits(&mut second).await);
        assert!(matches!(gate.enter().await, Err(Refused::QueueFull { waiting: 1 })));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let clock = Clock::manual();
        let gate = Gate::new(1, 1, PATIENCE, clock.clone());
        let _first = gate.enter().await.unwrap();
        let second = gate.enter();
        tokio::pin!(second);
        assert!(still_waits(&mut second).await);
        clock.advance(PATIENCE - Duration::from_millis(1));
        assert!(still_waits(&mut second).await);
        clock.advance(Duration::from_millis(1));
        assert!(matches!(second.await, Err(Refused::QueuedTooLong { after: PATIENCE })));
        // Its place in the queue is free again.
        let third = gate.enter();
        tokio::pin!(third);
        assert!(still_waits(&mut third).await);
    }

    /// Whether the future is still pending after all other tasks have run.
    async fn still_waits<F: Future>(future: &mut std::pin::Pin<&mut F>) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = tokio::task::yield_now() => true,
        }
    }
}
