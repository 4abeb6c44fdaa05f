//! What a running daemon does, for whoever asks it: the HTTP API, and `crate::daemon`, which starts and ends it.
//!
//! [`sources`] are watched and feed the indexer ([`crate::ingest::steady`]); [`jobs`] are asked for; [`news`] tells what
//! happens, and `observe` how everything is. All of them share one archive, one model for each bundle, and the number of files that are read side by side.

pub mod added;
pub mod jobs;
pub mod news;
mod observe;
mod processes;
mod retention;
pub mod sources;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::clock::Clock;
use crate::config::{BacklogOrder, SourceSettings};
use crate::embed::choice::Chosen;
use crate::ingest::backlog::Order;
use crate::ingest::live::{self, Pauses};
use crate::ingest::plan::Plan;
use crate::ingest::report::{RunNotes, RunReport};
use crate::ingest::steady::Steady;
use crate::ingest::{Event, Ingest, Observer, Priority, WorkItem, batch};
use crate::ledger::Said;
use crate::media::{self, MediaError, RemoveRequest, Removed, SaidChange, Shown};
use crate::metrics::{Metrics, SearchOutcome};
use crate::parts::Parts;
use crate::play::Player;
use crate::search::{Answer, SearchError, SearchRequest, Searchers};
use crate::source::MediaId;
use crate::source::walk::{Found, walk};
use crate::verify::{Difference, Repair, verify};
use jobs::{IndexRequest, Indexed, JobError, JobRequest, JobResult, Jobs, Place, Verified};
use news::{News, NewsRoom, Reporter, Unreadable};
use sources::{Common, Sources};

/// A decoding process of a stream that says nothing for so long hangs, whether frames come or not.
const HUNG: Duration = Duration::from_secs(30);
/// Between two looks for hours that streams left open which are read no more.
const LEFT_EVERY: Duration = Duration::from_secs(60);

pub struct Service {
    pub parts: Parts,
    pub archive: Arc<Archive>,
    pub searchers: Arc<Searchers>,
    pub player: Player,
    pub sources: Sources,
    pub jobs: Jobs,
    pub news: NewsRoom,
    pub metrics: Arc<Metrics>,
    /// What was last seen of what takes long to look at.
    slow: observe::Slow,
    steady: Arc<Steady>,
    pauses: Arc<Pauses>,
    /// With the model that the sources are indexed with.
    ingest: Ingest,
    clock: Clock,
    /// Held by a job while it runs, and by whoever removes media: one of them at a time.
    writer: Mutex<()>,
    stop: CancellationToken,
    closing: CancellationToken,
    has_begun: AtomicBool,
    /// The sources of the settings; held while any source changes.
    configured: Mutex<Vec<SourceSettings>>,
    /// Where browsers find it.
    pub url: OnceLock<String>,
}

impl Service {
    /// `chosen` is the bundle that the sources are indexed with. Watches nothing yet.
    pub fn new(parts: Parts, archive: Arc<Archive>, chosen: Chosen, stop: CancellationToken) -> Result<Self, String> {
        let (clock, news, metrics) = (Clock::real(), NewsRoom::default(), Arc::<Metrics>::default());
        let settings = &parts.settings;
        let order = match settings.watch.backlog {
            BacklogOrder::NewestFirst => Order::NewestFirst,
            BacklogOrder::OldestFirst => Order::OldestFirst,
        };
        let (steady, pauses) = (Steady::new(order, clock.clone()), Arc::<Pauses>::default());
        let bundle = Arc::new(chosen.outline.clone());
        let plan = Arc::new(Plan::new(&settings.index, bundle.manifest()).map_err(|error| error.to_string())?);
        let reporter = Arc::new(Reporter::of_model(news.clone(), Arc::clone(&metrics), clock.clone()));
        let ingest = parts.ingest(&archive, chosen, &plan, reporter).map_err(|error| format!("{error:#}"))?;
        let ingest = Ingest { turns: Arc::new(Semaphore::new(parts.jobs())), ..ingest };
        let common = Common {
            index: settings.index.clone(),
            watch: settings.watch.clone(),
            live: settings.live.clone(),
            recording: settings.recording.clone(),
            connector: Arc::new(parts.decoder().map_err(|error| format!("{error:#}"))?.stall_after(HUNG)),
            pauses: Arc::clone(&pauses),
            ingest: ingest.clone(),
            bundle,
            steady: Arc::clone(&steady),
            news: news.clone(),
            metrics: Arc::clone(&metrics),
            clock: clock.clone(),
        };
        let searchers = parts.searchers(Arc::clone(&archive));
        let player = parts.player(Arc::clone(&archive), searchers.folders.clone());
        let player = player.map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            searchers,
            player,
            sources: Sources::new(common),
            jobs: Jobs::new(news.clone(), clock.clone()),
            parts,
            archive,
            news,
            metrics,
            slow: observe::Slow::default(),
            steady,
            pauses,
            ingest,
            clock,
            writer: Mutex::default(),
            stop,
            closing: CancellationToken::new(),
            has_begun: AtomicBool::new(false),
            configured: Mutex::default(),
            url: OnceLock::new(),
        })
    }

    /// Cancelled when the daemon is asked to end.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when all work has ended: nothing will happen any more of which listeners could be told.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Whether the sources have been begun.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Relaxed)
    }

    /// Indexes what the sources find and does the jobs, until it is asked to stop and all of it has come to a checkpoint.
    pub async fn work(&self) {
        let indexing = self.steady.run(self.parts.jobs(), self.stop.clone());
        let jobs = async {
            loop {
                let (id, request, stop) = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => break,
                    next = self.jobs.next() => next,
                };
                let ended = self.job(id, request, &stop);
                let ending = async {
                    self.stop.cancelled().await;
                    self.jobs.cancel_all();
                    std::future::pending().await
                };
                let end = tokio::select! { end = ended => end, end = ending => end };
                self.jobs.ended(id, end);
                if let Ok(row) = self.jobs.row(id) {
                    self.metrics.job_ended(&row.kind, &row.state);
                }
            }
        };
        let recording = self.parts.settings.recording.clone();
        let (archive, pauses, clock) = (Arc::clone(&self.archive), Arc::clone(&self.pauses), self.clock.clone());
        let retention = retention::run(archive, recording, pauses, self.news.clone(), clock, &self.stop);
        tokio::join!(indexing, jobs, retention, self.finish_left_hours());
    }

    /// Of streams that left the settings, their hours end without them.
    async fn finish_left_hours(&self) {
        let ingest = Arc::new(self.ingest.clone());
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.clock.sleep(LEFT_EVERY) => {}
            }
            let is_read = |source: &str| self.sources.settings(source).is_some();
            if let Err(error) = live::finish_left(&ingest, &self.pauses, is_read).await {
                tracing::warn!(%error, "hours of streams that left the settings stay open for now");
            }
        }
    }

    #[tracing::instrument(level = "warn", skip(self, request, stop))]
    async fn job(&self, id: u64, request: JobRequest, stop: &CancellationToken) -> Result<JobResult, String> {
        let _alone = self.writer.lock().await;
        match request {
            JobRequest::Index(request) => self.index(id, request, stop).await,
            JobRequest::Reindex { media, model } => self.reindex(id, media, model, stop).await,
            JobRequest::Retry { model } => self.retry(id, model, stop).await,
            JobRequest::Verify { repair, yes } => self.verify(repair, yes, stop).await,
        }
    }

    async fn index(&self, id: u64, request: IndexRequest, stop: &CancellationToken) -> Result<JobResult, String> {
        let paths: Vec<PathBuf> = request.paths.iter().map(|Place(path)| path.clone()).collect();
        let found = tokio::task::spawn_blocking(move || walk(&paths)).await.map_err(|error| error.to_string())?;
        let said = Said { label: request.label.clone(), tags: request.tags.clone() };
        self.run(id, &request, found, said, stop).await
    }

    async fn retry(&self, id: u64, model: Option<String>, stop: &CancellationToken) -> Result<JobResult, String> {
        let ledger = &self.archive.ledger;
        let chosen = self.parts.choose(model.as_deref(), Some(ledger)).await.map_err(|error| format!("{error:#}"))?;
        let collection = chosen.outline.collection();
        let (files, gone) = media::failed(ledger, &collection).await.map_err(|error| error.to_string())?;
        if files.is_empty() && gone.is_empty() {
            return Ok(JobResult::Nothing);
        }
        let unreadable = gone.into_iter().map(|path| (path, "no such file or folder".to_owned())).collect();
        let found = Found { files, unreadable, ..Found::default() };
        let request = IndexRequest { model, ..IndexRequest::default() };
        // The ledger has their labels and tags.
        self.run(id, &request, found, Said::default(), stop).await
    }

    /// Forgets the records of a medium and indexes its files again.
    async fn reindex(
        &self,
        id: u64,
        media: MediaId,
        model: Option<String>,
        stop: &CancellationToken,
    ) -> Result<JobResult, String> {
        let ledger = &self.archive.ledger;
        let chosen = self.parts.choose(model.as_deref(), Some(ledger)).await.map_err(|error| format!("{error:#}"))?;
        let (collection, words) = (chosen.outline.collection(), |error: MediaError| error.to_string());
        let files = {
            let (_still, _streams) = (self.steady.pause().await, self.pauses.pause().await);
            media::queue_again(&self.archive, media, &collection).await.map_err(words)?
        };
        let request = IndexRequest { model, ..IndexRequest::default() };
        // The ledger has their labels and tags.
        self.run(id, &request, Found { files, ..Found::default() }, Said::default(), stop).await
    }

    async fn run(
        &self,
        id: u64,
        request: &IndexRequest,
        found: Found,
        said: Said,
        stop: &CancellationToken,
    ) -> Result<JobResult, String> {
        let started = Instant::now();
        let mut settings = self.parts.settings.clone();
        request.settings.apply(&mut settings.index);
        settings.check().map_err(|error| error.to_string())?;
        let (model, ledger) = (request.model.as_deref(), &self.archive.ledger);
        let chosen = self.parts.choose(model, Some(ledger)).await.map_err(|error| format!("{error:#}"))?;
        let plan = Plan::new(&settings.index, chosen.outline.manifest()).map_err(|error| error.to_string())?;
        let plan = Arc::new(Plan { track: request.track, ..plan });
        let readable = |path: &PathBuf| path.to_string_lossy().into_owned();
        let bytes = found.files.iter().map(|path| std::fs::metadata(path).map_or(0, |m| m.len()).max(1)).sum();
        let unreadable =
            |(path, reason): &(PathBuf, String)| Unreadable { path: readable(path), reason: reason.clone() };
        self.news.tell(News::Found {
            job: id,
            files: found.files.len() as u64,
            bytes,
            unreadable: found.unreadable.iter().map(unreadable).collect(),
            loops: found.loops.iter().map(readable).collect(),
        });
        let reporter = Arc::new(Reporter::of_job(self.news.clone(), Arc::clone(&self.metrics), id, self.clock.clone()));
        let ingest = Arc::new(self.ingest(chosen, &plan, reporter)?);
        let item = |path| WorkItem { path, said: said.clone(), plan: Arc::clone(&plan), priority: Priority::Asked };
        let items = found.files.into_iter().map(item).collect();
        let jobs = self.parts.jobs();
        let totals = batch::index(&ingest, items, found.unreadable, &said, jobs, stop).await;
        let totals = totals.map_err(|error| error.to_string())?;
        let report = RunReport::new(&totals, found.skipped, started.elapsed());
        Ok(JobResult::Index(Indexed { report, notes: RunNotes::new(&totals, &ingest.bundle) }))
    }

    /// Shares what the sources have open, if it is the same model.
    fn ingest(&self, chosen: Chosen, plan: &Arc<Plan>, observer: Arc<dyn Observer>) -> Result<Ingest, String> {
        let own = Plan::new(&self.parts.settings.index, self.ingest.bundle.manifest());
        let is_same = chosen.outline.collection() == self.ingest.bundle.collection()
            && own.is_ok_and(|own| own.caption_beams == plan.caption_beams);
        if !is_same {
            let other =
                self.parts.ingest(&self.archive, chosen, plan, observer).map_err(|error| format!("{error:#}"))?;
            return Ok(Ingest { turns: Arc::clone(&self.ingest.turns), ..other });
        }
        if let Some(model) = self.ingest.model.opened() {
            observer.event(Event::ModelOpened { model: self.ingest.bundle.name(), device: model.video.device() });
        }
        Ok(Ingest { observer, ..self.ingest.clone() })
    }

    async fn verify(&self, repair: bool, yes: bool, stop: &CancellationToken) -> Result<JobResult, String> {
        struct Consent(bool);
        impl Repair for Consent {
            fn takes_over(&self, _: &str) -> bool {
                self.0
            }
        }
        let _still = tokio::select! {
            still = self.steady.pause() => still,
            () = stop.cancelled() => return Err("cancelled before it began".to_owned()),
        };
        let _streams = tokio::select! {
            still = self.pauses.pause() => still,
            () = stop.cancelled() => return Err("cancelled before it began".to_owned()),
        };
        let consent = Consent(yes);
        let repair: Option<&dyn Repair> = if repair { Some(&consent) } else { None };
        let mut differences = Vec::new();
        let mut report = |difference: Difference| differences.push(difference);
        let summary = tokio::select! {
            summary = verify(&self.archive, repair, &mut report) => summary.map_err(|error| error.to_string())?,
            // Like a kill: whatever is between two steps is settled at the next start.
            () = stop.cancelled() => return Err("cancelled".to_owned()),
        };
        self.metrics.verified(&differences, self.clock.unix());
        let missing = summary.missing.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let verified = Verified { differences, missing, unknown: summary.unknown, records: summary.records };
        if repair.is_some() {
            // What was queued again is found by looking through the folders again.
            self.sources.look_again();
        }
        Ok(JobResult::Verify(verified))
    }

    pub async fn search(&self, request: SearchRequest) -> Result<Answer, SearchError> {
        let begun = self.clock.passed();
        let answer = self.searchers.answer(request).await;
        let outcome = match &answer {
            Ok(answer) if answer.moments.is_empty() => SearchOutcome::Nothing,
            Ok(_) => SearchOutcome::Found,
            Err(SearchError::QueueFull { .. }) => SearchOutcome::QueueFull,
            Err(SearchError::QueuedTooLong { .. }) => SearchOutcome::QueuedTooLong,
            Err(
                SearchError::Invalid(_)
                | SearchError::Expired
                | SearchError::NoFeatures { .. }
                | SearchError::NoCollection(_),
            ) => SearchOutcome::Invalid,
            Err(_) => SearchOutcome::Failed,
        };
        self.metrics.searched(outcome, self.clock.passed().saturating_sub(begun));
        answer
    }

    /// Changes what is said of a medium.
    pub async fn annotate(&self, media: MediaId, change: &SaidChange) -> Result<Shown, RemoveError> {
        let _alone = self.alone().await?;
        self.refuse_what_a_source_says(media, change).await?;
        Ok(media::annotate(&self.archive, media, change).await?)
    }

    /// What a folder's settings say of its files would be said again at the next look through it.
    async fn refuse_what_a_source_says(&self, media: MediaId, change: &SaidChange) -> Result<(), MediaError> {
        let files = self.archive.ledger.files_of(media).await?;
        for name in files.iter().filter_map(|file| self.searchers.folders.of(&file.path)) {
            let Some(settings) = self.sources.settings(&name) else { continue };
            let is_changed = change.label.is_some() && settings.label.is_some()
                || change.tags.is_some() && !settings.tags.is_empty();
            if is_changed {
                return Err(MediaError::SaidBySource(name));
            }
        }
        Ok(())
    }

    pub async fn remove(&self, request: &RemoveRequest) -> Result<Removed, RemoveError> {
        let _alone = self.alone().await?;
        let (_still, _streams) = (self.steady.pause().await, self.pauses.pause().await);
        let removed = media::remove(&self.archive, request).await?;
        self.news.tell(News::Removed {});
        Ok(removed)
    }

    /// Fails while a job runs, since that may take long.
    async fn alone(&self) -> Result<MutexGuard<'_, ()>, RemoveError> {
        match (self.writer.try_lock(), self.jobs.running()) {
            (Ok(alone), _) => Ok(alone),
            (Err(_), Some((id, kind))) => Err(JobError::Busy { id, kind }.into()),
            // Somebody else changes media: that does not take long.
            (Err(_), None) => Ok(self.writer.lock().await),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    Busy(#[from] JobError),
    #[error(transparent)]
    Media(#[from] MediaError),
}
