//! Indexes what sources find, for as long as the daemon runs.
//!
//! What must hold:
//!
//! - A path is read by one task at a time. If it changes meanwhile, it is read again afterwards.
//! - A bad file is noted and the rest goes on. An error that every file would meet (the store is away, the disk is full,
//!   the model cannot be opened) is nobody's fault: the file waits again, and everything pauses for a while that grows from
//!   one such error to the next.
//! - While somebody holds a [`Pause`], nothing is read, written or removed here. What was under way has come to a
//!   checkpoint and goes on afterwards.
//! - When it is asked to stop, nothing new begins, and what is under way comes to a checkpoint.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Order, ROOM};
use super::plan::Plan;
use super::{Event, Ingest, IngestError, Priority, Report, WorkItem, batch};
use crate::clock::Clock;
use crate::ledger::{FailureKind, Said};
use crate::source::Stat;

/// How long everything pauses after an error that every file would meet.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(60);

/// How the files of one source are indexed.
pub struct Feed {
    pub source: String,
    pub ingest: Arc<Ingest>,
    pub plan: Arc<Plan>,
    pub said: Said,
}

pub struct Steady {
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
    /// Number of files under way.
    running: watch::Sender<usize>,
}

struct State {
    backlog: Backlog<Work>,
    running: HashMap<PathBuf, Running>,
    pauses: usize,
    /// Why nothing is begun now, and until when.
    trouble: Option<(String, Duration)>,
    backoff: ExponentialBackoff,
    model_failures: u32,
}

#[derive(Clone)]
struct Work {
    feed: Arc<Feed>,
    priority: Priority,
    path: PathBuf,
    stat: Stat,
}

struct Running {
    source: String,
    halt: CancellationToken,
    /// It changed meanwhile.
    again: Option<Work>,
    /// Its source was taken away.
    dropped: bool,
}

/// Nothing is indexed while it is held.
pub struct Pause(Arc<Steady>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.state().pauses -= 1;
        self.0.changed.notify_one();
    }
}

impl Steady {
    pub fn new(order: Order, clock: Clock) -> Arc<Self> {
        let state = State {
            backlog: Backlog::new(order, ROOM),
            running: HashMap::new(),
            pauses: 0,
            trouble: None,
            backoff: backoff(),
            model_failures: 0,
        };
        Arc::new(Self { clock, state: Mutex::new(state), changed: Notify::new(), running: watch::channel(0).0 })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes files to be indexed. False: not all of them found room; the source has to find the others again when there is
    /// more.
    pub fn push(&self, feed: &Arc<Feed>, priority: Priority, files: Vec<(PathBuf, Stat)>) -> bool {
        let mut state = self.state();
        let mut room = true;
        for (path, stat) in files {
            room &= state.push(Work { feed: Arc::clone(feed), priority, path, stat });
        }
        drop(state);
        self.changed.notify_one();
        room
    }

    /// Number of files of a source that wait or are under way.
    pub fn pending(&self, source: &str) -> usize {
        let state = self.state();
        state.backlog.waiting(source) + state.running.values().filter(|running| running.source == source).count()
    }

    /// Number of files that wait.
    pub fn waiting(&self) -> usize {
        self.state().backlog.len()
    }

    /// Number of files that are under way.
    pub fn under_way(&self) -> usize {
        self.state().running.len()
    }

    /// What holds everything up, if anything does.
    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.as_ref().map(|(reason, _)| reason.clone())
    }

    /// Drops the work of a source that is no more. What is under way comes to a checkpoint.
    pub fn forget(&self, source: &str) {
        let mut state = self.state();
        state.backlog.forget(source);
        for running in state.running.values_mut().filter(|running| running.source == source) {
            (running.again, running.dropped) = (None, true);
            running.halt.cancel();
        }
    }

    /// Returns when nothing is under way any more, and begins nothing until the pause is dropped.
    pub async fn pause(self: &Arc<Self>) -> Pause {
        let pause = {
            let mut state = self.state();
            state.pauses += 1;
            state.halt();
            Pause(Arc::clone(self))
        };
        // Cannot fail: `self` holds the sender.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
        pause
    }

    /// Works until `stop` is cancelled and what was under way has ended; at most `at_once` files side by side.
    pub async fn run(&self, at_once: usize, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        // The last feed that something was done for; `None` when all is settled.
        let mut unsettled: Option<Arc<Feed>> = None;
        let mut optimizer = JoinSet::new();
        loop {
            if stop.is_cancelled() {
                self.state().halt();
            }
            while tasks.len() < at_once.max(1) && !stop.is_cancelled() {
                let Some((work, halt)) = self.begin() else { break };
                tasks.spawn(async move {
                    let result = index(&work, &halt).await;
                    (work, result)
                });
            }
            if tasks.is_empty() {
                if stop.is_cancelled() {
                    return;
                }
                if let Some(feed) = unsettled.clone().filter(|_| self.begin_settling()) {
                    if self.settle(&feed).await {
                        unsettled = None;
                        if optimizer.is_empty() {
                            let stop = stop.clone();
                            optimizer.spawn(async move { batch::optimize(&feed.ingest, &stop).await });
                        }
                    }
                    continue;
                }
            }
            tokio::select! {
                Some(ended) = tasks.join_next() => {
                    // The task itself catches panics.
                    if let Ok((work, result)) = ended {
                        unsettled = Some(Arc::clone(&work.feed));
                        self.ended(work, result, &stop).await;
                    }
                }
                Some(Ok(Err(error))) = optimizer.join_next() => tracing::warn!(%error, "the search index was not built"),
                () = self.changed.notified() => {}
                () = self.held(), if !stop.is_cancelled() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    /// Returns when work may be begun again that an error holds up; never, if none does.
    async fn held(&self) {
        let (now, until) = (self.clock.passed(), self.state().trouble.as_ref().map(|(_, until)| *until));
        match until.filter(|until| *until > now) {
            Some(until) => self.clock.sleep(until - now).await,
            None => std::future::pending().await,
        }
    }

    /// Whether nothing waits, so that there is time to settle. It counts as being under way.
    fn begin_settling(&self) -> bool {
        let now = self.clock.passed();
        let state = self.state();
        let is_idle = state.backlog.is_empty() && state.pauses == 0 && !state.is_held(now);
        if is_idle {
            self.running.send_modify(|running| *running += 1);
        }
        is_idle
    }

    fn begin(&self) -> Option<(Work, CancellationToken)> {
        let now = self.clock.passed();
        let mut state = self.state();
        if state.pauses > 0 || state.is_held(now) {
            return None;
        }
        let work = state.backlog.pop()?;
        let halt = CancellationToken::new();
        let running = Running { source: work.feed.source.clone(), halt: halt.clone(), again: None, dropped: false };
        state.running.insert(work.path.clone(), running);
        // Under the lock, as in `pause`: nobody sees it begun and not counted.
        self.running.send_modify(|running| *running += 1);
        Some((work, halt))
    }

    async fn ended(&self, work: Work, result: Result<Report, IngestError>, stop: &CancellationToken) {
        let observer = Arc::clone(&work.feed.ingest.observer);
        // Whether it waits again although it did not change.
        let is_unfinished = match result {
            Ok(report @ Report::Interrupted { .. }) => {
                observer.event(Event::Ended { path: &work.path, report: &report });
                true
            }
            Ok(report) => {
                observer.event(Event::Ended { path: &work.path, report: &report });
                if report != Report::Unchanged {
                    self.goes_well();
                }
                false
            }
            // Either is to be expected of a folder in use, and not worth a failure.
            Err(IngestError::File(_)) if self.changed_meanwhile(&work) => false,
            Err(IngestError::File(_)) if std::fs::symlink_metadata(&work.path).is_err() => {
                tracing::debug!(path = %work.path.display(), "gone before it was indexed");
                false
            }
            Err(IngestError::File(failure)) => {
                observer.event(Event::Failed { path: &work.path, failure: &failure });
                let model_failures = self.counts_model_failure(failure.kind);
                let gives_up = IngestError::ModelGivesUp { count: model_failures, reason: failure.reason.clone() };
                match batch::note(&work.feed.ingest, &work.item(), failure).await {
                    Err(error) => self.hold(&error),
                    Ok(()) if model_failures >= batch::MODEL_FAILURES_IN_A_ROW => self.hold(&gives_up),
                    Ok(()) => {}
                }
                false
            }
            Err(error) => {
                self.hold(&error);
                true
            }
        };
        {
            let mut state = self.state();
            // Only now, when everything is noted: until then it counts as pending.
            let ended = state.running.remove(&work.path);
            let (again, dropped) = ended.map_or((None, false), |running| (running.again, running.dropped));
            let next = again.or_else(|| (is_unfinished && !dropped).then_some(work));
            if let Some(next) = next.filter(|_| !stop.is_cancelled()) {
                // If there is no room, its source is looked through again when there is: what is not indexed is then found.
                state.push(next);
            }
        }
        self.running.send_modify(|running| *running -= 1);
    }

    fn changed_meanwhile(&self, work: &Work) -> bool {
        self.state().running.get(&work.path).is_some_and(|running| running.again.is_some())
    }

    fn goes_well(&self) {
        let mut state = self.state();
        (state.model_failures, state.backoff) = (0, backoff());
        if state.trouble.take().is_some() {
            tracing::warn!("indexing goes on");
        }
    }

    fn counts_model_failure(&self, kind: FailureKind) -> u32 {
        let mut state = self.state();
        state.model_failures = if kind == FailureKind::Model { state.model_failures + 1 } else { 0 };
        state.model_failures
    }

    /// Pauses after an error that every file would meet.
    fn hold(&self, error: &IngestError) {
        self.hold_for(&error.to_string());
    }

    fn hold_for(&self, reason: &str) {
        let now = self.clock.passed();
        let mut state = self.state();
        if state.is_held(now) {
            // Another file met it at the same time.
            return;
        }
        let length = state.backoff.next().unwrap_or(MOST_PAUSE).min(MOST_PAUSE);
        if state.trouble.as_ref().is_none_or(|(before, _)| before != reason) {
            tracing::warn!("indexing pauses: {reason}");
        }
        state.trouble = Some((reason.to_owned(), now + length));
    }

    /// Completes what was left because another task was at it. False: it could not.
    async fn settle(&self, feed: &Feed) -> bool {
        let settled = feed.ingest.archive.settle().await;
        match &settled {
            Ok(_) => self.goes_well(),
            Err(error) => self.hold_for(&error.to_string()),
        }
        self.running.send_modify(|running| *running -= 1);
        settled.is_ok()
    }
}

impl State {
    fn is_held(&self, now: Duration) -> bool {
        self.trouble.as_ref().is_some_and(|(_, until)| *until > now)
    }

    fn push(&mut self, work: Work) -> bool {
        if let Some(running) = self.running.get_mut(&work.path) {
            running.again = Some(work);
            return true;
        }
        let (source, modified) = (work.feed.source.clone(), work.stat.modified_ns);
        self.backlog.push(&source, work.priority, work.path.clone(), modified, work)
    }

    fn halt(&self) {
        for running in self.running.values() {
            running.halt.cancel();
        }
    }
}

impl Work {
    fn item(&self) -> WorkItem {
        let Feed { plan, said, .. } = self.feed.as_ref();
        WorkItem { path: self.path.clone(), said: said.clone(), plan: Arc::clone(plan), priority: self.priority }
    }
}

/// A panic ends the file that it happened in, not the daemon.
async fn index(work: &Work, halt: &CancellationToken) -> Result<Report, IngestError> {
    let (ingest, item, halt) = (Arc::clone(&work.feed.ingest), work.item(), halt.clone());
    let task = tokio::spawn(async move { ingest.item(&item, &halt).await });
    task.await.unwrap_or_else(|panic| Err(IngestError::file(FailureKind::Internal, format!("internal error: {panic}"))))
}

fn backoff() -> ExponentialBackoff {
    let builder = ExponentialBuilder::default().with_min_delay(LEAST_PAUSE).with_max_delay(MOST_PAUSE);
    builder.with_jitter().without_max_times().build()
}
