//! Work that somebody asked for and that may take long: indexing, trying failed files again, verifying.
//!
//! What must hold:
//!
//! - Jobs run one after the other, in the order in which they were asked for. The sources go on meanwhile, except during
//!   a `verify`, which needs everything to hold still.
//! - The queue is bounded: a job that finds no room is refused.
//! - A job does not depend on who asked for it: if the client leaves, it goes on. Jobs do not outlive the daemon; what an
//!   index job has done stays done, and asking again goes on from there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::news::{JobState, News, NewsRoom};
use super::sources::rfc3339;
use crate::clock::Clock;
use crate::config::Overrides;
use crate::ingest::report::{RunNotes, RunReport};
use crate::source::{MediaId, file_uri, path_of_uri};
use crate::verify::Difference;

/// Jobs that may wait.
const QUEUE: usize = 100;
/// Jobs that are over and still remembered.
const REMEMBERED: usize = 100;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum JobRequest {
    #[schema(title = "IndexJob")]
    Index(IndexRequest),
    /// Index the failed files again.
    #[schema(title = "RetryJob")]
    Retry { model: Option<String> },
    /// Forget the windows of a medium and index its files again.
    #[schema(title = "ReindexJob")]
    Reindex {
        media: MediaId,
        #[serde(default)]
        model: Option<String>,
    },
    #[schema(title = "VerifyJob")]
    Verify {
        #[serde(default)]
        repair: bool,
        /// Take over collections of other data folders.
        #[serde(default)]
        yes: bool,
    },
}

impl JobRequest {
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Index(IndexRequest { model, .. }) | Self::Retry { model } | Self::Reindex { model, .. } => {
                model.as_deref()
            }
            Self::Verify { .. } => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Index(_) => "index",
            Self::Retry { .. } => "retry",
            Self::Reindex { .. } => "reindex",
            Self::Verify { .. } => "verify",
        }
    }
}

/// What `clipseek index` was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexRequest {
    /// Absolute paths of files and folders, or their `file://` URIs.
    #[schema(value_type = Vec<String>)]
    pub paths: Vec<Place>,
    pub model: Option<String>,
    /// The video track to take.
    pub track: Option<u32>,
    pub label: Option<String>,
    pub tags: Vec<String>,
    /// In place of the daemon's settings.
    pub settings: Overrides,
}

/// An absolute path; as a URI in JSON, because a path need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place(pub PathBuf);

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = path_of_uri(&text).unwrap_or_else(|| PathBuf::from(&text));
        if path.is_absolute() { Ok(Self(path)) } else { Err(format!("{text:?}: not an absolute path")) }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        file_uri(&place.0)
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    Index(Indexed),
    Verify(Verified),
    /// There was nothing to do.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Indexed {
    pub report: RunReport,
    pub notes: RunNotes,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Verified {
    pub differences: Vec<Difference>,
    pub missing: Vec<String>,
    pub unknown: u64,
    /// Records that were compared.
    pub records: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobRow {
    pub id: u64,
    pub kind: String,
    pub state: JobState,
    /// When it was asked for, RFC 3339.
    pub asked: String,
    pub error: Option<String>,
    /// Once it is over.
    pub result: Option<JobResult>,
}

pub struct Jobs {
    state: Mutex<State>,
    changed: Notify,
    news: NewsRoom,
    clock: Clock,
}

#[derive(Default)]
struct State {
    last: u64,
    jobs: BTreeMap<u64, Job>,
}

struct Job {
    request: JobRequest,
    state: JobState,
    asked: Duration,
    stop: CancellationToken,
    end: Option<Result<JobResult, String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("{QUEUE} jobs are waiting already: try again when some of them are over")]
    NoRoom,
    #[error("{0}: no such job, or it has been over for long")]
    NoSuchJob(u64),
    #[error("job {id} ({kind}) is running: wait for it to end, or end it with DELETE /v1/jobs/{id}")]
    Busy { id: u64, kind: &'static str },
}

impl Jobs {
    pub fn new(news: NewsRoom, clock: Clock) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), news, clock }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ask(&self, request: JobRequest) -> Result<u64, JobError> {
        let id = {
            let mut state = self.state();
            if state.waiting() >= QUEUE {
                return Err(JobError::NoRoom);
            }
            state.last += 1;
            let id = state.last;
            let (asked, stop) = (self.clock.unix(), CancellationToken::new());
            state.jobs.insert(id, Job { request, state: JobState::Queued, asked, stop, end: None });
            id
        };
        self.news.tell(News::Job { job: id, state: JobState::Queued });
        self.changed.notify_one();
        Ok(id)
    }

    /// The next job, once there is one; it counts as running.
    pub async fn next(&self) -> (u64, JobRequest, CancellationToken) {
        loop {
            let next = {
                let mut state = self.state();
                let waiting = state.jobs.iter_mut().find(|(_, job)| job.state == JobState::Queued);
                waiting.map(|(id, job)| {
                    job.state = JobState::Running;
                    (*id, job.request.clone(), job.stop.clone())
                })
            };
            match next {
                Some(next) => {
                    self.news.tell(News::Job { job: next.0, state: JobState::Running });
                    return next;
                }
                None => self.changed.notified().await,
            }
        }
    }

    pub fn ended(&self, id: u64, end: Result<JobResult, String>) {
        let state = {
            let mut state = self.state();
            let Some(job) = state.jobs.get_mut(&id) else { return };
            job.state = match &end {
                _ if job.stop.is_cancelled() => JobState::Cancelled,
                Ok(_) => JobState::Done,
                Err(_) => JobState::Failed,
            };
            job.end = Some(end);
            let new = job.state;
            let over: Vec<u64> = state.jobs.iter().filter(|(_, job)| job.state.is_over()).map(|(id, _)| *id).collect();
            for old in over.iter().rev().skip(REMEMBERED) {
                state.jobs.remove(old);
            }
            new
        };
        self.news.tell(News::Job { job: id, state });
    }

    /// Ends a job: one that waits at once, one that runs as soon as it can.
    pub fn cancel(&self, id: u64) -> Result<(), JobError> {
        let waited = {
            let mut state = self.state();
            let job = state.jobs.get_mut(&id).ok_or(JobError::NoSuchJob(id))?;
            job.stop.cancel();
            let waited = job.state == JobState::Queued;
            if waited {
                job.state = JobState::Cancelled;
            }
            waited
        };
        if waited {
            self.news.tell(News::Job { job: id, state: JobState::Cancelled });
        }
        Ok(())
    }

    pub fn cancel_all(&self) {
        let ids: Vec<u64> = self.state().jobs.keys().copied().collect();
        for id in ids {
            // It is there: jobs are only removed when another one has ended.
            let _ = self.cancel(id);
        }
    }

    /// The job that runs, if any does.
    pub fn running(&self) -> Option<(u64, &'static str)> {
        let state = self.state();
        state.jobs.iter().find(|(_, job)| job.state == JobState::Running).map(|(id, job)| (*id, job.request.kind()))
    }

    /// How many wait, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        (self.state().waiting(), QUEUE)
    }

    pub fn row(&self, id: u64) -> Result<JobRow, JobError> {
        self.state().jobs.get(&id).map(|job| job.row(id, true)).ok_or(JobError::NoSuchJob(id))
    }

    /// All of them, the oldest first, without results.
    pub fn rows(&self) -> Vec<JobRow> {
        self.state().jobs.iter().map(|(id, job)| job.row(*id, false)).collect()
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.jobs.values().filter(|job| job.state == JobState::Queued).count()
    }
}

impl Job {
    fn row(&self, id: u64, with_result: bool) -> JobRow {
        let (result, error) = match &self.end {
            Some(Ok(result)) => (Some(result.clone()).filter(|_| with_result), None),
            Some(Err(error)) => (None, Some(error.clone())),
            None => (None, None),
        };
        let kind = self.request.kind().to_owned();
        JobRow { id, kind, state: self.state, asked: rfc3339(self.asked), error, result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> Jobs {
        Jobs::new(NewsRoom::default(), Clock::manual())
    }

    fn verify() -> JobRequest {
        JobRequest::Verify { repair: false, yes: false }
    }

    #[tokio::test]
    async fn jobs_come_in_the_order_of_asking_and_a_cancelled_one_does_not() {
        let jobs = jobs();
        for _ in 0..3 {
            jobs.ask(verify()).unwrap();
        }
        jobs.cancel(2).unwrap();
        assert_eq!(jobs.next().await.0, 1);
        assert_eq!(jobs.running(), Some((1, "verify")));
        jobs.ended(1, Ok(JobResult::Nothing));
        assert_eq!(jobs.next().await.0, 3);
        jobs.ended(3, Err("broken".into()));
        let states: Vec<JobState> = jobs.rows().into_iter().map(|row| row.state).collect();
        assert_eq!(states, [JobState::Done, JobState::Cancelled, JobState::Failed]);
        assert_eq!(jobs.row(1).unwrap().result, Some(JobResult::Nothing));
        assert!(jobs.row(4).is_err());
    }

    #[tokio::test]
    async fn the_queue_and_the_memory_are_bounded() {
        let jobs = jobs();
        for _ in 0..QUEUE {
            jobs.ask(verify()).unwrap();
        }
        assert!(matches!(jobs.ask(verify()), Err(JobError::NoRoom)));
        for _ in 0..REMEMBERED + 50 {
            let (id, ..) = jobs.next().await;
            jobs.ended(id, Ok(JobResult::Nothing));
            jobs.ask(verify()).unwrap();
        }
        assert!(jobs.rows().len() <= QUEUE + REMEMBERED);
    }

    #[test]
    fn a_request_travels_as_json_whatever_the_names_are() {
        use std::os::unix::ffi::OsStrExt;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"/v/\xff ?.mp4"));
        let settings = Overrides { stride_secs: Some(0.5), ..Overrides::default() };
        let request = IndexRequest { paths: vec![Place(path)], settings, ..IndexRequest::default() };
        let request = JobRequest::Index(request);
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<JobRequest>(&json).unwrap(), request);
        let error = serde_json::from_str::<JobRequest>(r#"{"kind": "index", "paths": ["a.mp4"]}"#).unwrap_err();
        assert!(error.to_string().contains("not an absolute path"), "{error}");
        let error = serde_json::from_str::<JobRequest>(r#"{"kind": "index", "path": ["/a.mp4"]}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `path`"), "{error}");
        let plain = serde_json::from_str::<JobRequest>(r#"{"kind": "verify"}"#).unwrap();
        assert_eq!(plain, verify());
    }
}
