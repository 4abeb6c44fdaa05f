//! What systemd is told where it started the daemon (`Type=notify`): that it is ready, reads its settings again, ends, and
//! is alive. Elsewhere nobody listens, and nothing happens.

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;

pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd is not told that the settings are read again"),
    }
}

pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("work comes to a checkpoint")]);
}

/// Says that the daemon is alive, as often as systemd wants it, for as long as its ledger answers: that takes both the
/// threads of this program and the disk. An error is an answer, because starting anew would not help against it.
pub async fn keep_alive(ledger: &Ledger, stop: CancellationToken) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    // Halfway, as systemd recommends.
    let every = within / 2;
    loop {
        let answers = tokio::select! {
            () = stop.cancelled() => return,
            answer = tokio::time::timeout(within, ledger.collections()) => answer.is_ok(),
        };
        if answers {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the ledger does not answer: systemd is not told that all is well");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told how the daemon is doing");
    }
}
