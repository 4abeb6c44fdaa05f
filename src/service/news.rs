//! What happens, told to whoever listens: the terminal of `serve`, clients of `/v1/events`.
//!
//! Listeners are served from one ring. One that is too slow loses the oldest news and is told how many.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::{Clock, seconds};
use crate::decode::{Probe, Sampling};
use crate::ingest::{Event, Measured, Observer, Report};
use crate::ledger::FailureKind;
use crate::metrics::{ASKED, Metrics};
use crate::source::SourceState;

/// News that a slow listener can be behind.
const RING: usize = 4096;
/// Least time between two reports of how far a file is.
const ADVANCE_EVERY: Duration = Duration::from_millis(200);

/// `job` is absent for what the sources bring. Paths are readable (lossy where a name is no UTF-8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum News {
    Source {
        name: String,
        state: SourceState,
        error: Option<String>,
    },
    Job {
        job: u64,
        state: JobState,
    },
    /// A job looked for files and is about to begin.
    Found {
        job: u64,
        files: u64,
        bytes: u64,
        unreadable: Vec<Unreadable>,
        loops: Vec<String>,
    },
    Model {
        job: Option<u64>,
        model: String,
        device: String,
    },
    Begun {
        job: Option<u64>,
        path: String,
        probe: Probe,
    },
    /// The file is indexed up to this time.
    Advanced {
        job: Option<u64>,
        path: String,
        at_s: f64,
    },
    Ended {
        job: Option<u64>,
        path: String,
        outcome: Outcome,
    },
    Failed {
        job: Option<u64>,
        path: String,
        kind: FailureKind,
        reason: String,
    },
    Optimizing {
        job: Option<u64>,
        windows: u64,
    },
    /// Something has left the index, because somebody removed it or its time was over.
    Removed {},
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Unreadable {
    pub path: String,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Done,
    /// It ended with an error.
    Failed,
    Cancelled,
}

impl JobState {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Indexed { windows: u64, duration_s: f64, sampling: Option<Sampling> },
    Unchanged,
    Known,
    Interrupted,
}

impl Outcome {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Indexed { .. } => "indexed",
            Self::Unchanged => "unchanged",
            Self::Known => "known",
            Self::Interrupted => "interrupted",
        }
    }
}

#[derive(Clone)]
pub struct NewsRoom(broadcast::Sender<News>);

impl Default for NewsRoom {
    fn default() -> Self {
        Self(broadcast::channel(RING).0)
    }
}

impl NewsRoom {
    pub fn tell(&self, news: News) {
        // Fails when nobody listens.
        let _ = self.0.send(news);
    }

    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}

/// Frames of a source, counted while they are embedded.
#[derive(Debug, Default)]
pub struct FrameCount {
    frames: AtomicU64,
    last: Mutex<Option<Duration>>,
}

impl FrameCount {
    pub(super) fn add(&self, frames: usize, now: Duration) {
        self.frames.fetch_add(frames as u64, Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// When the last frame was embedded, on the clock that never goes back.
    pub fn last(&self) -> Option<Duration> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes news of what happens while files are indexed, for a job or a source.
pub struct Reporter {
    news: NewsRoom,
    metrics: Arc<Metrics>,
    /// Whose metrics it counts.
    source: String,
    job: Option<u64>,
    frames: Option<Arc<FrameCount>>,
    clock: Clock,
    /// When it was last reported how far a file is.
    told: Mutex<HashMap<PathBuf, Duration>>,
}

impl Reporter {
    pub fn of_job(news: NewsRoom, metrics: Arc<Metrics>, job: u64, clock: Clock) -> Self {
        let source = ASKED.to_owned();
        Self { news, metrics, source, job: Some(job), frames: None, clock, told: Mutex::default() }
    }

    /// For what no single source or job brings: the model that all of them share.
    pub fn of_model(news: NewsRoom, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self { news, metrics, source: ASKED.to_owned(), job: None, frames: None, clock, told: Mutex::default() }
    }

    pub fn of_source(
        news: NewsRoom,
        metrics: Arc<Metrics>,
        source: &str,
        frames: Arc<FrameCount>,
        clock: Clock,
    ) -> Self {
        let source = source.to_owned();
        Self { news, metrics, source, job: None, frames: Some(frames), clock, told: Mutex::default() }
    }

    fn count(&self, measured: &Measured<'_>) {
        let (metrics, source) = (&self.metrics, self.source.as_str());
        match measured {
            Measured::Waited { stage, length } => metrics.waited(stage, *length),
            Measured::Worked { stage, length } => metrics.worked(stage, *length),
            Measured::Ran(ran) => {
                metrics.waited(ran.lane, ran.waited);
                metrics.worked(ran.lane, ran.worked);
                metrics.batch(ran.lane, ran.items, ran.most);
            }
            Measured::Decoded(outcome) => {
                metrics.frames_decoded(source, outcome.packets_decoded);
                metrics.decode_cpu(source, outcome.cpu_secs);
            }
            Measured::Stored { windows } => metrics.windows_stored(source, *windows as u64),
            Measured::WithoutVector { windows } => metrics.windows_failed(source, *windows as u64),
        }
    }

    fn is_worth_telling(&self, path: &Path) -> bool {
        let now = self.clock.passed();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(path) {
            Some(before) if now.saturating_sub(*before) < ADVANCE_EVERY => false,
            Some(before) => {
                *before = now;
                true
            }
            None => {
                told.insert(path.to_path_buf(), now);
                true
            }
        }
    }

    fn forget(&self, path: &Path) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

impl Observer for Reporter {
    fn event(&self, event: Event<'_>) {
        let job = self.job;
        let news = match event {
            Event::ModelOpened { model, device } => {
                News::Model { job, model: model.to_owned(), device: device.to_owned() }
            }
            Event::Probed { path, probe } => News::Begun { job, path: readable(path), probe: probe.clone() },
            Event::Advanced { path, pts, frames } => {
                self.metrics.frames_sampled(&self.source, frames as u64);
                if let Some(count) = &self.frames {
                    count.add(frames, self.clock.passed());
                }
                if !self.is_worth_telling(path) {
                    return;
                }
                News::Advanced { job, path: readable(path), at_s: seconds(pts) }
            }
            Event::Ended { path, report } => {
                self.forget(path);
                let outcome = match report {
                    Report::Unchanged => Outcome::Unchanged,
                    Report::Known => Outcome::Known,
                    Report::Interrupted { .. } => Outcome::Interrupted,
                    Report::Indexed(indexed) => {
                        let (windows, sampling) = (indexed.windows, indexed.sampling);
                        tracing::info!(path = %path.display(), windows, "indexed");
                        self.metrics.footage_indexed(&self.source, indexed.duration);
                        Outcome::Indexed { windows, duration_s: seconds(indexed.duration), sampling }
                    }
                };
                self.metrics.file_ended(&self.source, outcome.name());
                News::Ended { job, path: readable(path), outcome }
            }
            Event::Failed { path, failure } => {
                self.forget(path);
                self.metrics.file_failed(&self.source, failure.kind);
                News::Failed { job, path: readable(path), kind: failure.kind, reason: failure.reason.clone() }
            }
            Event::Optimizing { windows } => News::Optimizing { job, windows },
            Event::Measured(measured) => return self.count(&measured),
        };
        self.news.tell(news);
    }
}

pub(super) fn readable(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
