//! Many media side by side: what ends a file, what ends the run, and the sum of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Event, Ingest, IngestError, Report};
use crate::decode::Sampling;

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
    pub failed: Vec<(PathBuf, String)>,
    pub damaged: Vec<(PathBuf, String)>,
    pub out_of_scope: Vec<PathBuf>,
    /// Files stopped in the middle, and where they go on.
    pub interrupted: Vec<(PathBuf, Duration)>,
    /// Files not begun.
    pub left: u64,
    /// What ended the run before its time.
    pub fatal: Option<IngestError>,
}

/// Indexes files, `jobs` at a time. A bad file is noted and the rest goes on; an error that every file would meet ends
/// the run. When `stop` is cancelled nothing new begins and files in flight are checkpointed.
pub async fn run(ingest: &Arc<Ingest>, files: Vec<PathBuf>, jobs: usize, stop: &CancellationToken) -> Totals {
    let mut totals = Totals::default();
    let mut queue = files.into_iter();
    let mut running = JoinSet::new();
    // Ends with the run that was asked to stop, and by itself on an error that every file would meet.
    let halt = stop.child_token();
    loop {
        while running.len() < jobs && !halt.is_cancelled() {
            let Some(path) = queue.next() else { break };
            let (ingest, stop) = (Arc::clone(ingest), halt.clone());
            running.spawn(async move {
                let work = tokio::spawn({
                    let (ingest, path, stop) = (Arc::clone(&ingest), path.clone(), stop.clone());
                    async move { ingest.file(&path, &stop).await }
                });
                let result =
                    work.await.unwrap_or_else(|panic| Err(IngestError::Medium(format!("internal error: {panic}"))));
                (path, result)
            });
        }
        let Some(ended) = running.join_next().await else { break };
        let Ok((path, result)) = ended else { continue };
        match result {
            Ok(report) => {
                ingest.observer.event(Event::Ended { path: &path, report: &report });
                totals.add(path, report);
            }
            Err(error) if error.stops_the_run() => {
                totals.fatal.get_or_insert(error);
                halt.cancel();
                totals.left += 1;
            }
            Err(error) => {
                let reason = error.to_string();
                ingest.observer.event(Event::Failed { path: &path, reason: &reason });
                if let Err(error) = ingest.ledger.fail(&path, crate::source::Stat::of(&path).ok(), &reason) {
                    totals.fatal.get_or_insert(error.into());
                }
                totals.failed.push((path, reason));
            }
        }
    }
    totals.left += queue.count() as u64;
    totals.failed.sort();
    totals
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
                if !indexed.damage.is_empty() {
                    self.damaged.push((path.clone(), indexed.damage.join("; ")));
                }
                if indexed.out_of_scope {
                    self.out_of_scope.push(path);
                }
            }
        }
    }
}
