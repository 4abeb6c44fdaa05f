//! Starts the daemon, keeps it going, and ends it.
//!
//! Begins: the lock of the data folder, what an earlier run left between two steps, the API, the sources. Ends, when asked
//! to: intake (sources and waiting work), then what is under way comes to a checkpoint, then the API, then the store. What
//! does not come to an end in time is left behind: the next start goes on from its last checkpoint, as after a kill.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;

use crate::api::access::Access;
use crate::api::client::Client;
use crate::api::server::Listeners;
use crate::api::{self, socket};
use crate::clock::Clock;
use crate::config::{Role, Settings, SourceSettings};
use crate::embed::choice::Chosen;
use crate::parts::Parts;
use crate::service::Service;
use crate::service::news::News;
use crate::service::sources::Changes;
use crate::shutdown::Shutdown;
use crate::systemd;

/// What whoever started it may tell people.
pub struct Started<'a> {
    pub listeners: &'a Listeners,
    pub sources: &'a [SourceSettings],
    pub model: &'a str,
    /// Models that were indexed with too.
    pub passed_over: Vec<String>,
    pub news: broadcast::Receiver<News>,
    /// By which a browser gets in once, where a token is needed.
    pub link: Option<String>,
}

/// How the daemon is told of changed settings: read again, flags of the command line included.
pub type Reread = Box<dyn Fn() -> anyhow::Result<Settings> + Send + Sync>;

/// Runs until it is asked to end. `reread` is called on SIGHUP.
pub async fn run(
    parts: Parts,
    reread: Reread,
    shutdown: Shutdown,
    started: impl FnOnce(Started<'_>),
) -> anyhow::Result<()> {
    // First of all, so that a signal that comes too early does not end it.
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;
    let data_dir = parts.data_dir()?.to_path_buf();
    if Client::find(&data_dir).await.is_ok_and(|client| client.is_some()) {
        bail!("a daemon is already running for {}: `clipseek sources` shows what it does", data_dir.display());
    }
    let lock = parts.lock()?;
    let ledger = parts.ledger().await?;
    let chosen = parts.choose(None, Some(&ledger)).await?;
    let Chosen { name, passed_over, .. } = &chosen;
    let (model, passed_over) = (name.clone(), passed_over.clone());
    let archive = Arc::new(parts.archive(ledger)?);
    let mut settings = parts.settings.clone();
    let drain = Duration::from_secs_f64(settings.serve.drain_secs);
    let place = socket::path(&data_dir).map_err(|problem| anyhow!(problem))?;
    let listeners = Listeners::bind(place, &settings.serve).await.map_err(|problem| anyhow!(problem))?;
    archive.settle().await.context("cannot complete what an earlier run left")?;
    let service = Service::new(parts, archive, chosen, shutdown.token().clone()).map_err(|problem| anyhow!(problem))?;
    let service = Arc::new(service);
    let (sources, news) = (settings.source.clone(), service.news.listen());
    let access = Access::new(&settings, Clock::real());
    let url = listeners.url();
    let link = access.is_guarded().then(|| url.clone() + &access.link(Role::Admin));
    if !settings.serve.listen.ip().is_loopback() && settings.serve.tls_cert.is_none() {
        tracing::warn!("the address is not encrypted (serve.tls_cert): tokens and footage can be read on the way");
    }
    let _ = service.url.set(url);
    started(Started { listeners: &listeners, sources: &sources, model: &model, passed_over, news, link });
    let (own, guarded) = (api::router(Arc::clone(&service), &access), api::guarded(Arc::clone(&service), &access));
    let serving = tokio::spawn(listeners.serve(own, guarded, service.closing().clone()));
    let mut working = tokio::spawn({
        let service = Arc::clone(&service);
        async move { service.work().await }
    });
    service.watch(&sources).await?;
    systemd::ready(&status(&settings));
    let alive = tokio::spawn({
        let service = Arc::clone(&service);
        async move { systemd::keep_alive(&service.archive.ledger, service.closing().clone()).await }
    });
    loop {
        tokio::select! {
            biased;
            () = shutdown.asked() => break,
            _ = hangup.recv() => {
                systemd::reloading();
                reload(&service, &reread, &mut settings).await;
                systemd::ready(&status(&settings));
            }
            ended = &mut working => {
                // It only ends when it is asked to.
                ended.context("the indexer died")?;
                bail!("the indexer ended by itself");
            }
        }
    }
    systemd::stopping();
    let drained = tokio::time::timeout(drain, async {
        service.sources.stop().await;
        working.await.context("the indexer died")?;
        service.closing().cancel();
        serving.await.context("the API died")?.context("the API failed")
    });
    match drained.await {
        Ok(ended) => ended?,
        Err(_) => {
            service.closing().cancel();
            let _ = std::fs::remove_file(socket::path(&data_dir).map_err(|problem| anyhow!(problem))?);
            tracing::warn!(
                "not everything came to a checkpoint within {} s: the next start goes on from the last one",
                drain.as_secs_f64()
            );
        }
    }
    // It holds the service, too.
    alive.await.context("the watchdog died")?;
    drop(service);
    drop(lock);
    Ok(())
}

fn status(settings: &Settings) -> String {
    match settings.source.len() {
        1 => "1 source".to_owned(),
        count => format!("{count} sources"),
    }
}

/// Sources that changed are begun anew, others are not touched. Where the new settings cannot be used, the old ones stay.
async fn reload(service: &Service, reread: &Reread, settings: &mut Settings) {
    let new = match reread() {
        Ok(new) => new,
        Err(error) => {
            return tracing::error!("the settings were read again and cannot be used, so nothing changes: {error:#}");
        }
    };
    match service.watch(&new.source).await {
        Ok(changes) => tell(&changes),
        Err(error) => return tracing::error!("the sources were read again and cannot be used: {error}"),
    }
    let same_sources = Settings { source: settings.source.clone(), ..new.clone() };
    if same_sources != *settings {
        tracing::warn!("settings other than the sources changed too: they take effect at the next start");
    }
    // Said once for each change, not at every signal.
    *settings = new;
}

fn tell(Changes { added, removed, changed }: &Changes) {
    let all = [("added", added), ("removed", removed), ("changed", changed)];
    let said: Vec<String> = all
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect();
    let said = if said.is_empty() { "no source changed".to_owned() } else { said.join("; ") };
    tracing::warn!("the settings were read again; {said}");
}
