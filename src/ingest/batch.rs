//! Many media side by side: what ends a file, what ends the run, and the sum of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Event, Ingest, IngestError, Report, WorkItem};
use crate::decode::{Problem, Sampling};
use crate::ledger::{Failure, FailureKind, Said};
use crate::side_by_side::SideBySide;
use crate::source::Stat;

/// When the model has refused so many files in a row, the fault is taken to be the model's and the run ends.
pub(super) const MODEL_FAILURES_IN_A_ROW: u32 = 5;

/// Number of windows outside of the graph from which it is built at the end of a run.
pub(super) const WORTH_A_GRAPH: u64 = 5000;

/// The sum of a run.
#[derive(Debug, Default)]
pub struct Totals {
    pub indexed: u64,
    pub unchanged: u64,
    /// Content known under another name.
    pub known: u64,
    pub windows: u64,
    /// Length of the footage indexed in this run.
    pub footage: Duration,
    pub decode_cpu_secs: f64,
    /// How many of the indexed files were sampled in which way.
    pub sampling: BTreeMap<Sampling, u64>,
    pub failed: Vec<(PathBuf, Failure)>,
    pub with_problems: Vec<(PathBuf, Vec<Problem>)>,
    pub out_of_scope: Vec<PathBuf>,
    /// Files stopped in the middle, and where they go on.
    pub interrupted: Vec<(PathBuf, Duration)>,
    /// Files not begun.
    pub left: u64,
    /// What ended the run before its time.
    pub fatal: Option<IngestError>,
}

/// A whole run over what was found, files and what cannot be read: [`run`], and then the search index is built where that
/// is worth it.
pub async fn index(
    ingest: &Arc<Ingest>,
    items: Vec<WorkItem>,
    unreadable: Vec<(PathBuf, String)>,
    said_of_unreadable: &Said,
    jobs: usize,
    stop: &CancellationToken,
) -> Result<Totals, IngestError> {
    ingest.archive.settle().await?;
    let mut totals = run(ingest, items, jobs, stop).await;
    for (path, reason) in unreadable {
        let failure = Failure { kind: FailureKind::Unreadable, reason };
        let (collection, said) = (ingest.bundle.collection(), said_of_unreadable.clone());
        ingest.archive.ledger.fail(&path, &collection, None, failure.clone(), said).await?;
        totals.failed.push((path, failure));
    }
    if totals.fatal.is_none() {
        optimize(ingest, stop).await?;
    }
    Ok(totals)
}

/// Builds the graph if enough windows outside of it slow searches down. It can be interrupted: nothing is lost, and the
/// next run builds it.
pub(super) async fn optimize(ingest: &Ingest, stop: &CancellationToken) -> Result<(), IngestError> {
    let Some(store) = ingest.store.opened() else { return Ok(()) };
    let outside = store.outside_graph().await?;
    if outside < WORTH_A_GRAPH || stop.is_cancelled() {
        return Ok(());
    }
    ingest.observer.event(Event::Optimizing { windows: outside });
    tokio::select! {
        done = store.optimize() => Ok(done?),
        () = stop.cancelled() => Ok(()),
    }
}

/// Indexes files, `jobs` at a time, the most urgent first. A bad file is noted and the rest goes on; an error that every
/// file would meet ends the run. When `stop` is cancelled nothing new begins and files in flight are checkpointed.
pub async fn run(ingest: &Arc<Ingest>, mut items: Vec<WorkItem>, jobs: usize, stop: &CancellationToken) -> Totals {
    // Stable: within one priority the order is that of the caller.
    items.sort_by_key(|item| std::cmp::Reverse(item.priority));
    let mut totals = Totals::default();
    // Ends with the run that was asked to stop, and by itself on an error that every file would meet.
    let halt = stop.child_token();
    let mut media = SideBySide::new(items, jobs, |item: &WorkItem| {
        let (ingest, item, stop) = (Arc::clone(ingest), item.clone(), halt.clone());
        async move { ingest.item(&item, &stop).await }
    });
    let mut model_failures = 0;
    while let Some((item, ended)) = media.next(&halt).await {
        // A panic ends the file that it happened in, not the run.
        let result = ended
            .unwrap_or_else(|panic| Err(IngestError::file(FailureKind::Internal, format!("internal error: {panic}"))));
        let error = match result {
            Ok(report) => {
                ingest.observer.event(Event::Ended { path: &item.path, report: &report });
                model_failures = if matches!(report, Report::Indexed(_)) { 0 } else { model_failures };
                totals.add(item.path, report);
                continue;
            }
            Err(IngestError::File(failure)) => {
                ingest.observer.event(Event::Failed { path: &item.path, failure: &failure });
                model_failures = if failure.kind == FailureKind::Model { model_failures + 1 } else { 0 };
                let gives_up = IngestError::ModelGivesUp { count: model_failures, reason: failure.reason.clone() };
                let noted = note(ingest, &item, failure.clone()).await;
                totals.failed.push((item.path, failure));
                match noted {
                    Err(error) => error,
                    Ok(()) if model_failures >= MODEL_FAILURES_IN_A_ROW => gives_up,
                    Ok(()) => continue,
                }
            }
            Err(error) => {
                totals.left += 1;
                error
            }
        };
        totals.fatal.get_or_insert(error);
        halt.cancel();
    }
    // Records of a medium that another task was at have been left: they are deleted now.
    if totals.fatal.is_none()
        && let Err(error) = ingest.archive.settle().await
    {
        totals.fatal = Some(error.into());
    }
    totals.left += media.left() as u64;
    totals.failed.sort_by(|a, b| a.0.cmp(&b.0));
    totals.with_problems.sort_by(|a, b| a.0.cmp(&b.0));
    totals
}

/// Remembers why a file failed, and lets go of what was written of it.
pub(super) async fn note(ingest: &Ingest, item: &WorkItem, failure: Failure) -> Result<(), IngestError> {
    let path = item.path.clone();
    let stat = super::blocking(move || Stat::of(&path)).await.ok();
    let collection = ingest.bundle.collection();
    ingest.archive.ledger.fail(&item.path, &collection, stat, failure, item.said.clone()).await?;
    ingest.archive.settle().await?;
    Ok(())
}

impl Totals {
    fn add(&mut self, path: PathBuf, report: Report) {
        match report {
            Report::Unchanged => self.unchanged += 1,
            Report::Known => self.known += 1,
            Report::Interrupted { at } => self.interrupted.push((path, at)),
            Report::Indexed(indexed) => {
                self.indexed += 1;
                self.windows += indexed.windows;
                self.footage += indexed.duration;
                self.decode_cpu_secs += indexed.decode_cpu_secs;
                if let Some(sampling) = indexed.sampling {
                    *self.sampling.entry(sampling).or_default() += 1;
                }
                if !indexed.problems.is_empty() {
                    self.with_problems.push((path.clone(), indexed.problems));
                }
                if indexed.out_of_scope {
                    self.out_of_scope.push(path);
                }
            }
        }
    }
}
