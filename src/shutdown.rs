//! Ending in good order. Asked once, what runs keeps what it has done and ends; asked twice, the process ends at once.

use tokio_util::sync::CancellationToken;

/// Whether the process is asked to end. Clones are asked together.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    asked: CancellationToken,
}

impl Shutdown {
    /// Asked by the first Ctrl-C or SIGTERM, and then `told` is called. The second ends the process as a signal does that
    /// nobody handles (nothing confirmed is lost): an orderly exit would tear the model's native code down while it runs.
    pub fn on_signals(told: impl FnOnce() + Send + 'static) -> Self {
        let shutdown = Self::default();
        let asked = shutdown.clone();
        tokio::spawn(async move {
            signal().await;
            told();
            asked.ask();
            signal().await;
            let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
        });
        shutdown
    }

    pub fn ask(&self) {
        self.asked.cancel();
    }

    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Returns when it is asked.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// What work that can be cancelled listens to.
    pub fn token(&self) -> &CancellationToken {
        &self.asked
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
