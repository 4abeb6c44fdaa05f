//! The sources that are watched: what each is, how it is doing, and how what it finds reaches the indexer.
//!
//! A source is a folder (`folders`) or a live stream (`streams`).
//!
//! What must hold: a source that did not change is not touched when the settings are read again, and nothing is stopped for
//! settings that cannot be used.

mod folders;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::news::{FrameCount, News, NewsRoom};
use crate::clock::{Clock, seconds};
use crate::config::{IndexSettings, LiveSettings, RecordingSettings, SourceSettings, WatchSettings};
use crate::decode::live::Connector;
use crate::embed::bundle::Outline;
use crate::ingest::Ingest;
use crate::ingest::live::Pauses;
use crate::ingest::plan::Plan;
use crate::ingest::steady::Steady;
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::source::SourceState;
use folders::identities;

/// What every source is indexed with.
pub struct Common {
    pub index: IndexSettings,
    pub watch: WatchSettings,
    pub live: LiveSettings,
    pub recording: RecordingSettings,
    /// Its observer is replaced for each source.
    pub ingest: Ingest,
    pub bundle: Arc<Outline>,
    pub steady: Arc<Steady>,
    pub connector: Arc<dyn Connector>,
    pub pauses: Arc<Pauses>,
    pub news: NewsRoom,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
}

pub struct Sources {
    common: Common,
    running: Mutex<BTreeMap<String, Running>>,
    /// Those that somebody paused.
    resting: Mutex<BTreeMap<String, Resting>>,
    /// Names of those that were added while the daemon ran.
    added: Mutex<BTreeSet<String>>,
}

/// Which sources there are.
pub struct Wanted<'a> {
    pub all: &'a [SourceSettings],
    /// Names of those among them that are paused, and of those that were added while the daemon ran.
    pub paused: &'a BTreeSet<String>,
    pub added: &'a BTreeSet<String>,
}

struct Resting {
    identity: Identity,
    /// Unix time.
    since: Duration,
}

/// What makes a source the one it is: if any of it changes, it is another one.
#[derive(Clone, Debug, PartialEq)]
struct Identity {
    settings: SourceSettings,
    /// The folder; `None`: a stream.
    root: Option<PathBuf>,
    /// Folders in it that belong to other sources.
    others: Vec<PathBuf>,
}

struct Running {
    identity: Identity,
    status: Arc<Mutex<Status>>,
    frames: Arc<FrameCount>,
    again: Arc<Notify>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Status {
    state: SourceState,
    /// Unix time.
    since: Duration,
    error: Option<String>,
    /// It has been looked through once, or is away. A stream is ready as it is.
    is_ready: bool,
    /// Of a stream.
    frames_dropped: u64,
    windows_dropped: u64,
}

impl Status {
    fn new(state: SourceState, is_ready: bool, clock: &Clock) -> Arc<Mutex<Self>> {
        let since = clock.unix();
        Arc::new(Mutex::new(Self { state, since, error: None, is_ready, frames_dropped: 0, windows_dropped: 0 }))
    }
}

/// Notes how a source is doing, and tells if that is new.
fn becomes(
    status: &Mutex<Status>,
    state: SourceState,
    error: Option<String>,
    (name, news, clock): (&str, &NewsRoom, &Clock),
) {
    let mut status = lock(status);
    status.is_ready |= state == SourceState::Away;
    let is_new = (status.state, &status.error) != (state, &error);
    if is_new {
        if status.state != state {
            status.since = clock.unix();
        }
        (status.state, status.error) = (state, error.clone());
    }
    drop(status);
    if is_new {
        news.tell(News::Source { name: name.to_owned(), state, error });
    }
}

/// A row of `clipseek sources`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SourceRow {
    pub name: String,
    pub kind: SourceKind,
    pub state: SourceState,
    /// RFC 3339.
    pub since: String,
    pub last_frame_age_s: Option<f64>,
    pub frames: u64,
    /// Of a stream: frames that were dropped because what takes them was too slow, and windows that could not be stored.
    pub dropped: u64,
    pub dropped_windows: u64,
    pub error: Option<String>,
    /// The folder, readable.
    pub path: Option<String>,
    /// The stream's address without what is secret.
    pub uri: Option<String>,
    /// Files that wait or are being indexed, files known, and how many of those failed.
    pub pending: u64,
    pub files: u64,
    pub failed: u64,
    /// It was added while the daemon ran, so it can be removed so, too.
    #[serde(default)]
    pub added: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Folder,
    Stream,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

impl Sources {
    pub fn new(common: Common) -> Self {
        Self { common, running: Mutex::default(), resting: Mutex::default(), added: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes these the sources that run. Those that did not change are not touched. The settings have been checked.
    pub async fn apply(&self, wanted: Wanted<'_>) -> Result<Changes, SourcesError> {
        let Wanted { all, paused, added } = wanted;
        let identities = identities(all);
        // Before anything is stopped: if one of them is impossible, everything stays as it is.
        let plans = all.iter().map(|source| self.plan(source)).collect::<Result<Vec<_>, _>>()?;
        let (mut changes, mut ended) = (Changes::default(), Vec::new());
        {
            let mut running = self.running();
            let stale = |name: &String, it: &mut Running| {
                paused.contains(name)
                    || !identities.iter().any(|wanted| wanted.settings.name == *name && *wanted == it.identity)
            };
            ended.extend(running.extract_if(.., stale));
        }
        for (name, source) in ended {
            source.stop.cancel();
            // A panic has been reported by its hook.
            let _ = source.task.await;
            self.common.steady.forget(&name);
            self.common.metrics.source_ends(&name);
            let stays = identities.iter().any(|wanted| wanted.settings.name == name);
            if stays { &mut changes.changed } else { &mut changes.removed }.push(name);
        }
        added.clone_into(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
        self.rest(identities.iter().filter(|identity| paused.contains(&identity.settings.name)));
        for (identity, plan) in identities.into_iter().zip(plans) {
            let name = identity.settings.name.clone();
            if paused.contains(&name) {
                continue;
            }
            if self.running().contains_key(&name) {
                continue;
            }
            self.common.metrics.source_begins(&name);
            let source = match identity.root.clone() {
                Some(root) => folders::begin(&self.common, identity, root, plan).await?,
                None => streams::begin(&self.common, identity, plan),
            };
            if !changes.changed.contains(&name) {
                changes.added.push(name.clone());
            }
            self.running().insert(name, source);
        }
        Ok(changes)
    }

    /// Makes these the ones that rest.
    fn rest<'a>(&self, identities: impl Iterator<Item = &'a Identity>) {
        let now = self.common.clock.unix();
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *resting);
        for identity in identities {
            let name = identity.settings.name.clone();
            let since = before.get(&name).map_or(now, |before| before.since);
            resting.insert(name, Resting { identity: identity.clone(), since });
        }
    }

    /// Of a source that is not paused.
    pub fn settings(&self, name: &str) -> Option<SourceSettings> {
        self.running().get(name).map(|source| source.identity.settings.clone())
    }

    fn plan(&self, source: &SourceSettings) -> Result<Arc<Plan>, SourcesError> {
        let mut index = self.common.index.clone();
        index.sampling = source.sampling.unwrap_or(index.sampling);
        if source.uri.is_some() && index.window_whole {
            let problem = format!(
                "source {:?}: a stream has no end, so it cannot be one window (index.window_whole)",
                source.name
            );
            return Err(crate::config::ConfigError::Invalid(vec![problem]).into());
        }
        Ok(Arc::new(Plan::new(&index, self.common.bundle.manifest())?))
    }

    /// Whether every source has been looked through once, or is away; else the names of the others.
    pub fn not_ready(&self) -> Vec<String> {
        let running = self.running();
        let waits = running.iter().filter(|(_, source)| !lock(&source.status).is_ready);
        waits.map(|(name, _)| name.clone()).collect()
    }

    pub async fn rows(&self) -> Result<Vec<SourceRow>, LedgerError> {
        let Common { ingest, steady, clock, pauses, .. } = &self.common;
        let trouble = steady.trouble();
        let mut rows: Vec<(SourceRow, Option<PathBuf>)> = Vec::new();
        let added = self.added.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, source) in self.running().iter() {
            let status = lock(&source.status).clone();
            let age = source.frames.last().map(|last| seconds(clock.passed().saturating_sub(last)));
            let (root, uri) = (source.identity.root.clone(), source.identity.settings.uri.as_ref());
            let is_paused = root.is_none() && pauses.is_paused();
            let row = SourceRow {
                name: name.clone(),
                kind: if root.is_some() { SourceKind::Folder } else { SourceKind::Stream },
                state: if is_paused { SourceState::Paused } else { status.state },
                since: rfc3339(status.since),
                last_frame_age_s: age,
                frames: source.frames.frames(),
                dropped: status.frames_dropped,
                dropped_windows: status.windows_dropped,
                error: status.error.or_else(|| trouble.clone().filter(|_| root.is_some())),
                path: root.as_ref().map(|root| root.to_string_lossy().into_owned()),
                uri: uri.map(ToString::to_string),
                pending: steady.pending(name) as u64,
                files: 0,
                failed: 0,
                added: added.contains(name),
            };
            rows.push((row, root));
        }
        for (name, Resting { identity, since }) in self.resting.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let (root, uri) = (identity.root.clone(), identity.settings.uri.as_ref());
            let row = SourceRow {
                name: name.clone(),
                kind: if root.is_some() { SourceKind::Folder } else { SourceKind::Stream },
                state: SourceState::Paused,
                since: rfc3339(*since),
                last_frame_age_s: None,
                frames: 0,
                dropped: 0,
                dropped_windows: 0,
                error: None,
                path: root.as_ref().map(|root| root.to_string_lossy().into_owned()),
                uri: uri.map(ToString::to_string),
                pending: 0,
                files: 0,
                failed: 0,
                added: added.contains(name),
            };
            rows.push((row, root));
        }
        rows.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut counted = Vec::with_capacity(rows.len());
        for (row, root) in rows {
            let (files, failed) = match root {
                Some(root) => count(&ingest.archive.ledger, &root, &ingest.bundle).await?,
                None => (0, 0),
            };
            counted.push(SourceRow { files, failed, ..row });
        }
        Ok(counted)
    }

    /// Looks through all folders again.
    pub fn look_again(&self) {
        for source in self.running().values() {
            source.again.notify_one();
        }
    }

    /// Ends watching. Work that was found stays with the indexer.
    pub async fn stop(&self) {
        let all = std::mem::take(&mut *self.running());
        for source in all.values() {
            source.stop.cancel();
        }
        for source in all.into_values() {
            let _ = source.task.await;
        }
    }
}

async fn count(ledger: &Ledger, root: &Path, bundle: &Outline) -> Result<(u64, u64), LedgerError> {
    ledger.count_below(root, &bundle.collection()).await
}

#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error(transparent)]
    Settings(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn rfc3339(unix: Duration) -> String {
    let time = i64::try_from(unix.as_millis()).ok().and_then(DateTime::from_timestamp_millis);
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
}
