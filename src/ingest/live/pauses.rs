//! Keeps live streams from writing while somebody checks or removes media. They go on meanwhile: their windows wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard};

#[derive(Default)]
pub struct Pauses {
    /// How many pauses there were: behind each, what a stream knows of its media may be outdated.
    count: Arc<RwLock<u64>>,
    now: AtomicUsize,
}

/// Nothing of live streams is written while it is held.
pub struct LivePause {
    pauses: Arc<Pauses>,
    _count: OwnedRwLockWriteGuard<u64>,
}

impl Drop for LivePause {
    fn drop(&mut self) {
        self.pauses.now.fetch_sub(1, Relaxed);
    }
}

impl Pauses {
    /// Returns when nothing is being written.
    pub async fn pause(self: &Arc<Self>) -> LivePause {
        let mut count = Arc::clone(&self.count).write_owned().await;
        *count += 1;
        self.now.fetch_add(1, Relaxed);
        LivePause { pauses: Arc::clone(self), _count: count }
    }

    pub fn is_paused(&self) -> bool {
        self.now.load(Relaxed) > 0
    }

    /// To be held while something is written.
    pub async fn turn(&self) -> RwLockReadGuard<'_, u64> {
        self.count.read().await
    }
}
