//! A watched folder: carries what it tells of to the indexer.
//!
//! What must hold: a file that a folder tells of is compared with the ledger, and pushed to the indexer if it is not
//! indexed as it is. If there is no room, or the ledger could not answer, the folder is looked through again later. So in
//! the end nothing is left out, and nothing that is indexed is read again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Common, Identity, Running, SourcesError, Status, becomes, lock};
use crate::clock::Clock;
use crate::config::SourceSettings;
use crate::ingest::backlog::ROOM;
use crate::ingest::plan::Plan;
use crate::ingest::steady::{Feed, Steady};
use crate::ingest::{Ingest, Priority};
use crate::ledger::Said;
use crate::metrics::Metrics;
use crate::service::news::{FrameCount, NewsRoom, Reporter};
use crate::source::SourceState;
use crate::source::folder::Folder;
use crate::source::glob::PathGlob;
use crate::source::names::real;
use crate::source::watch::{Seen, Watch, watch};

/// How long to wait before something is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Pages of files that wait to be compared with the ledger; the folder waits for room.
const QUEUE: usize = 4;

pub(super) async fn begin(
    common: &Common,
    identity: Identity,
    root: PathBuf,
    plan: Arc<Plan>,
) -> Result<Running, SourcesError> {
    let Common { watch: settings, ingest, steady, news, metrics, clock, .. } = common;
    let source = &identity.settings;
    let globs = |patterns: &[String]| patterns.iter().filter_map(|pattern| PathGlob::new(pattern).ok()).collect();
    let (files, _) = ingest.archive.ledger.count_below(&root, &ingest.bundle.collection()).await?;
    let plan_of_watch = Watch {
        folder: Folder {
            root,
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
    let reporter =
        Reporter::of_source(news.clone(), Arc::clone(metrics), &source.name, Arc::clone(&frames), clock.clone());
    let feed = Arc::new(Feed {
        source: source.name.clone(),
        ingest: Arc::new(Ingest { observer: Arc::new(reporter), ..ingest.clone() }),
        plan,
        said: Said { label: source.label.clone(), tags: source.tags.clone() },
    });
    let (status, stop) = (Status::new(SourceState::Watching, false, clock), CancellationToken::new());
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

/// Of folders in one another, the inner one has what is in it.
pub(super) fn identities(wanted: &[SourceSettings]) -> Vec<Identity> {
    let roots: Vec<Option<PathBuf>> = wanted.iter().map(|source| source.path.as_deref().map(real)).collect();
    let inside = |root: &PathBuf| -> Vec<PathBuf> {
        roots.iter().flatten().filter(|other| *other != root && other.starts_with(root)).cloned().collect()
    };
    let identity = |(settings, root): (&SourceSettings, &Option<PathBuf>)| Identity {
        settings: settings.clone(),
        root: root.clone(),
        others: root.as_ref().map(inside).unwrap_or_default(),
    };
    wanted.iter().zip(&roots).map(identity).collect()
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
        if (lock(&self.status).state, state) == (SourceState::Away, SourceState::Watching) {
            self.metrics.reconnected(&self.feed.source);
        }
        becomes(&self.status, state, error, (&self.feed.source, &self.news, &self.clock));
    }
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
        assert_eq!(all[0].root, Some(top.join("a")));
        assert_eq!(all[0].others, [top.join("a/not/there/yet")]);
        assert!(all[1].others.is_empty() && all[2].others.is_empty());
    }
}
