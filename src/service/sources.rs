//! The sources that are watched: what each is, how it is doing, and how what it finds reaches the indexer.
//!
//! A source is a folder today. A live stream will be another kind beside it, with states of its own.
//!
//! What must hold: a file that a folder tells of is compared with the ledger, and pushed to the indexer if it is not
//! indexed as it is. If there is no room, or the ledger could not answer, the folder is looked through again later. So in
//! the end nothing is left out, and nothing that is indexed is read again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::news::{FrameCount, News, NewsRoom, Reporter};
use crate::clock::{Clock, seconds};
use crate::config::{IndexSettings, SourceSettings, WatchSettings};
use crate::embed::bundle::Outline;
use crate::ingest::backlog::ROOM;
use crate::ingest::plan::Plan;
use crate::ingest::steady::{Feed, Steady};
use crate::ingest::{Ingest, Priority};
use crate::ledger::{Ledger, LedgerError, Said};
use crate::metrics::Metrics;
use crate::source::SourceState;
use crate::source::folder::Folder;
use crate::source::glob::PathGlob;
use crate::source::watch::{Seen, Watch, watch};

/// How long to wait before something is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Pages of files that wait to be compared with the ledger; the folder waits for room.
const QUEUE: usize = 4;

/// What every source is indexed with.
pub struct Common {
    pub index: IndexSettings,
    pub watch: WatchSettings,
    /// Its observer is replaced for each source.
    pub ingest: Ingest,
    pub bundle: Arc<Outline>,
    pub steady: Arc<Steady>,
    pub news: NewsRoom,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
}

pub struct Sources {
    common: Common,
    running: Mutex<BTreeMap<String, Running>>,
}

/// What makes a source the one it is: if any of it changes, it is another one.
#[derive(Clone, Debug, PartialEq)]
struct Identity {
    settings: SourceSettings,
    root: PathBuf,
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
    /// It has been looked through once, or is away.
    is_ready: bool,
}

/// A row of `clipseek sources`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRow {
    pub name: String,
    pub kind: SourceKind,
    pub state: SourceState,
    /// RFC 3339.
    pub since: String,
    pub last_frame_age_s: Option<f64>,
    pub frames: u64,
    pub dropped: u64,
    pub error: Option<String>,
    /// The folder, readable.
    pub path: String,
    /// Files that wait or are being indexed, files known, and how many of those failed.
    pub pending: u64,
    pub files: u64,
    pub failed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Folder,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

impl Sources {
    pub fn new(common: Common) -> Self {
        Self { common, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes these the sources that run. Those that did not change are not touched. The settings have been checked.
    pub async fn apply(&self, wanted: &[SourceSettings]) -> Result<Changes, SourcesError> {
        let identities = identities(wanted);
        // Before anything is stopped: if one of them is impossible, everything stays as it is.
        let plans = wanted.iter().map(|source| self.plan(source)).collect::<Result<Vec<_>, _>>()?;
        let (mut changes, mut ended) = (Changes::default(), Vec::new());
        {
            let mut running = self.running();
            let stale = |name: &String, it: &mut Running| {
                !identities.iter().any(|wanted| wanted.settings.name == *name && *wanted == it.identity)
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
        for (identity, plan) in identities.into_iter().zip(plans) {
            let name = identity.settings.name.clone();
            if self.running().contains_key(&name) {
                continue;
            }
            let source = self.begin(identity, plan).await?;
            if !changes.changed.contains(&name) {
                changes.added.push(name.clone());
            }
            self.running().insert(name, source);
        }
        Ok(changes)
    }

    fn plan(&self, source: &SourceSettings) -> Result<Arc<Plan>, SourcesError> {
        let mut index = self.common.index.clone();
        index.sampling = source.sampling.unwrap_or(index.sampling);
        Ok(Arc::new(Plan::new(&index, self.common.bundle.manifest())?))
    }

    async fn begin(&self, identity: Identity, plan: Arc<Plan>) -> Result<Running, SourcesError> {
        let Common { watch: settings, ingest, steady, news, metrics, clock, .. } = &self.common;
        let source = &identity.settings;
        let globs = |patterns: &[String]| patterns.iter().filter_map(|pattern| PathGlob::new(pattern).ok()).collect();
        let (files, _) = ingest.archive.ledger.count_below(&identity.root, &ingest.bundle.collection()).await?;
        let plan_of_watch = Watch {
            folder: Folder {
                root: identity.root.clone(),
                others: identity.others.clone(),
                include: globs(&source.include),
                exclude: globs(&source.exclude),
            },
            quiet: Duration::from_secs_f64(settings.settle_secs),
            closed: Duration::from_secs_f64(settings.closed_secs),
            poll: settings.poll,
            poll_every: Duration::from_secs_f64(settings.poll_secs),
            has_files: files > 0,
            clock: clock.clone(),
        };
        let frames: Arc<FrameCount> = Arc::default();
        metrics.source_begins(&source.name);
        let reporter =
            Reporter::of_source(news.clone(), Arc::clone(metrics), &source.name, Arc::clone(&frames), clock.clone());
        let feed = Arc::new(Feed {
            source: source.name.clone(),
            ingest: Arc::new(Ingest { observer: Arc::new(reporter), ..ingest.clone() }),
            plan,
            said: Said { label: source.label.clone(), tags: source.tags.clone() },
        });
        let status = Status { state: SourceState::Watching, since: clock.unix(), error: None, is_ready: false };
        let (status, stop) = (Arc::new(Mutex::new(status)), CancellationToken::new());
        let again: Arc<Notify> = Arc::default();
        let feeder = Feeder {
            feed,
            steady: Arc::clone(steady),
            news: news.clone(),
            metrics: Arc::clone(metrics),
            clock: clock.clone(),
            status: Arc::clone(&status),
            again: Arc::clone(&again),
        };
        let task = tokio::spawn(feeder.run(plan_of_watch, stop.clone()));
        Ok(Running { identity, status, frames, again, stop, task })
    }

    /// Whether every source has been looked through once, or is away; else the names of the others.
    pub fn not_ready(&self) -> Vec<String> {
        let running = self.running();
        let waits = running.iter().filter(|(_, source)| !lock(&source.status).is_ready);
        waits.map(|(name, _)| name.clone()).collect()
    }

    pub async fn rows(&self) -> Result<Vec<SourceRow>, LedgerError> {
        let Common { ingest, steady, clock, .. } = &self.common;
        let trouble = steady.trouble();
        let mut rows: Vec<(SourceRow, PathBuf)> = Vec::new();
        for (name, source) in self.running().iter() {
            let status = lock(&source.status).clone();
            let age = source.frames.last().map(|last| seconds(clock.passed().saturating_sub(last)));
            let row = SourceRow {
                name: name.clone(),
                kind: SourceKind::Folder,
                state: status.state,
                since: rfc3339(status.since),
                last_frame_age_s: age,
                frames: source.frames.frames(),
                dropped: 0,
                error: status.error.or_else(|| trouble.clone()),
                path: source.identity.root.to_string_lossy().into_owned(),
                pending: steady.pending(name) as u64,
                files: 0,
                failed: 0,
            };
            rows.push((row, source.identity.root.clone()));
        }
        let mut counted = Vec::with_capacity(rows.len());
        for (row, root) in rows {
            let (files, failed) = count(&ingest.archive.ledger, &root, &ingest.bundle).await?;
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

/// Of folders in one another, the inner one has what is in it.
fn identities(wanted: &[SourceSettings]) -> Vec<Identity> {
    let roots: Vec<PathBuf> =
        wanted.iter().map(|source| root(source.path.as_deref().unwrap_or(Path::new("")))).collect();
    let identity = |(settings, root): (&SourceSettings, &PathBuf)| Identity {
        settings: settings.clone(),
        root: root.clone(),
        others: roots.iter().filter(|other| *other != root && other.starts_with(root)).cloned().collect(),
    };
    wanted.iter().zip(&roots).map(identity).collect()
}

/// With links resolved as far as it is there, because the paths of files are.
fn root(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => root(parent).join(name),
        _ => path.to_path_buf(),
    }
}

/// Carries what a folder tells of to the indexer.
struct Feeder {
    feed: Arc<Feed>,
    steady: Arc<Steady>,
    news: NewsRoom,
    metrics: Arc<Metrics>,
    clock: Clock,
    status: Arc<Mutex<Status>>,
    again: Arc<Notify>,
}

impl Feeder {
    async fn run(self, plan: Watch, stop: CancellationToken) {
        let (out, mut seen) = mpsc::channel(QUEUE);
        let watching = watch(plan, out, Arc::clone(&self.again), stop.clone());
        let feeding = async {
            let mut is_short_of_room = false;
            loop {
                tokio::select! {
                    next = seen.recv() => match next {
                        Some(seen) => is_short_of_room |= !self.take(seen).await,
                        None => return,
                    },
                    () = self.clock.sleep(AGAIN), if is_short_of_room => {
                        if self.steady.pending(&self.feed.source) < ROOM / 2 {
                            is_short_of_room = false;
                            self.again.notify_one();
                        }
                    }
                }
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(watching, feeding) } => {}
            () = stop.cancelled() => {}
        }
    }

    /// False: there was not enough room.
    async fn take(&self, seen: Seen) -> bool {
        match seen {
            Seen::State { state, error } => {
                self.becomes(state, error);
                true
            }
            Seen::Scanned => {
                lock(&self.status).is_ready = true;
                true
            }
            Seen::Files { files, fresh } => {
                let (ledger, feed) = (&self.feed.ingest.archive.ledger, &self.feed);
                let (collection, plan) = (feed.ingest.bundle.collection(), feed.plan.key());
                let outdated = loop {
                    match ledger.outdated(files.clone(), &collection, &plan, &feed.said).await {
                        Ok(outdated) => break outdated,
                        Err(error) => {
                            tracing::warn!(source = feed.source, %error, "cannot compare its files with the ledger");
                            self.clock.sleep(AGAIN).await;
                        }
                    }
                };
                let priority = if fresh { Priority::Fresh } else { Priority::Backlog };
                outdated.is_empty() || self.steady.push(feed, priority, outdated)
            }
        }
    }

    fn becomes(&self, state: SourceState, error: Option<String>) {
        let mut status = lock(&self.status);
        status.is_ready |= state == SourceState::Away;
        let is_new = (status.state, &status.error) != (state, &error);
        if (status.state, state) == (SourceState::Away, SourceState::Watching) {
            self.metrics.reconnected(&self.feed.source);
        }
        if is_new {
            (status.state, status.error, status.since) = (state, error.clone(), self.clock.unix());
        }
        drop(status);
        if is_new {
            self.news.tell(News::Source { name: self.feed.source.clone(), state, error });
        }
    }
}

fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn rfc3339(unix: Duration) -> String {
    let time = i64::try_from(unix.as_millis()).ok().and_then(DateTime::from_timestamp_millis);
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_folders_in_one_another_the_inner_one_has_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("a")).unwrap();
        std::os::unix::fs::symlink(top.join("a"), top.join("link")).unwrap();
        let source = |name: &str, path: PathBuf| SourceSettings {
            name: name.into(),
            path: Some(path),
            ..SourceSettings::default()
        };
        let all = identities(&[
            source("outer", top.join("link")),
            source("inner", top.join("a/not/there/yet")),
            source("beside", top.join("ab")),
        ]);
        assert_eq!(all[0].root, top.join("a"));
        assert_eq!(all[0].others, [top.join("a/not/there/yet")]);
        assert!(all[1].others.is_empty() && all[2].others.is_empty());
    }
}
