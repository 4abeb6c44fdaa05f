//! Points between two steps whose order matters, such as between a store's confirmation and the ledger's commit. A test
//! kills the process at the n-th point (`CLIPSEEK_TEST_DIE_AT=n`), like `kill -9`. Without that variable a point costs
//! a read of a static.

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
        // Do nothing more until the signal arrives.
        loop {
            std::thread::park();
        }
    }
}
