//! Graceful shutdown. After the first signal running work keeps what it has done and ends; the second ends the process
//! at once.

use tokio_util::sync::CancellationToken;

/// Whether the process has been asked to end. Clones share this state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    asked: CancellationToken,
}

impl Shutdown {
    /// The first Ctrl-C or SIGTERM calls `told` and asks for the shutdown. The second ends the process like an
    /// unhandled signal, which loses nothing that was confirmed: a regular exit would destroy the model's native code
    /// while it runs.
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

    /// Waits until the shutdown is asked for.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// The token for work that can be cancelled.
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
