//! Moments between two steps whose order matters: between a store's confirmation and the ledger, between a deletion and
//! its flush. A test lets the process die at the n-th of them (`CLIPSEEK_TEST_DIE_AT=n`), as `kill -9` would; without
//! that variable passing one costs a look at a static.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

static LEFT: LazyLock<Option<AtomicU64>> =
    LazyLock::new(|| std::env::var("CLIPSEEK_TEST_DIE_AT").ok()?.parse().ok().map(AtomicU64::new));

pub(crate) fn pass(name: &str) {
    if let Some(left) = LEFT.as_ref()
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        tracing::warn!(name, "dying, as a test asked for");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL);
        // The signal comes at once; nothing more may happen until it is there.
        loop {
            std::thread::park();
        }
    }
}
