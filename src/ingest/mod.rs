//! One medium through every stage: decode → features → windows → vectors → store → ledger.
//!
//! Every queue between stages is bounded and archives wait: a slow model slows the decoder. The ledger moves only behind
//! a flush of the store. Stopping keeps what is done; the next run goes on from the last checkpoint.

mod embedder;
pub mod run;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::plan::Plan;
use crate::decode::{DecodeError, Decoder, Frame, Outcome, Probe, Request, Sampling};
use crate::embed::{EmbedError, bundle::Bundle, model::VideoModel};
use crate::ledger::{Ledger, LedgerError, MediaRow, Progress};
use crate::source::{self, MediaId, Stat};
use crate::store::{Annotation, Payload, Record, Selection, StoreError, VectorStore};
use crate::thumbs::Thumbs;
use crate::window::Window;
use embedder::{Embedded, Embedder};

/// Frames between the decoder and the model, per medium; more wait in the decoder.
const FRAMES_IN_FLIGHT: usize = 32;
/// Records handed to the store at once.
const RECORDS_PER_UPSERT: usize = 128;

/// The parts a medium passes through; shared by all media of a run.
pub struct Ingest {
    pub decoder: Arc<dyn Decoder>,
    pub bundle: Arc<Bundle>,
    pub model: VideoModel,
    pub store: Arc<dyn VectorStore>,
    pub ledger: Arc<Ledger>,
    pub thumbs: Thumbs,
    pub plan: Plan,
    pub options: Options,
    pub observer: Arc<dyn Observer>,
    /// Contents being indexed right now: a copy of one waits instead of doing it again.
    busy: Mutex<HashMap<MediaId, Arc<tokio::sync::Mutex<()>>>>,
}

/// What a person asked for beyond the plan.
#[derive(Clone, Debug)]
pub struct Options {
    pub label: Option<String>,
    pub tags: Vec<String>,
    pub thumbnail_px: u32,
    pub thumbnail_spacing: Duration,
    pub checkpoint_every: Duration,
}

/// Told what happens, while it happens.
pub trait Observer: Send + Sync {
    fn event(&self, event: Event<'_>);
}

#[derive(Debug)]
pub enum Event<'a> {
    Started {
        path: &'a Path,
    },
    Probed {
        path: &'a Path,
        probe: &'a Probe,
    },
    /// `pts` is how far the medium is embedded.
    Advanced {
        path: &'a Path,
        pts: Duration,
        frames: usize,
    },
    Ended {
        path: &'a Path,
        report: &'a Report,
    },
    Failed {
        path: &'a Path,
        reason: &'a str,
    },
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// As it was indexed before.
    Unchanged,
    /// Its content was indexed before, under another name.
    Known,
    Indexed(Indexed),
    /// Stopped on request; the next run goes on from here.
    Interrupted {
        at: Duration,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    pub windows: u64,
    pub duration: Duration,
    pub sampling: Option<Sampling>,
    pub damage: Vec<String>,
    pub decode_cpu_secs: f64,
    /// The footage is unlike what the bundle was made for.
    pub out_of_scope: bool,
}

/// Why one file was not indexed: its own fault, or something that would stop every file.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("{0}")]
    Medium(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
}

impl From<DecodeError> for IngestError {
    fn from(error: DecodeError) -> Self {
        Self::Medium(error.to_string())
    }
}

impl IngestError {
    /// Whether the next file would meet the same.
    fn stops_the_run(&self) -> bool {
        !matches!(self, Self::Medium(_) | Self::Embed(EmbedError::NoDirection { .. }))
    }
}

/// What the decoding thread sends.
enum Decoded {
    Probe(Probe),
    Frame(Frame),
    End(Outcome),
    Failed(DecodeError),
}

impl Ingest {
    #[allow(clippy::too_many_arguments, reason = "the parts of a run, each once")]
    pub fn new(
        decoder: Arc<dyn Decoder>,
        bundle: Arc<Bundle>,
        model: VideoModel,
        store: Arc<dyn VectorStore>,
        ledger: Arc<Ledger>,
        thumbs: Thumbs,
        plan: Plan,
        options: Options,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { decoder, bundle, model, store, ledger, thumbs, plan, options, observer, busy: Mutex::default() }
    }

    /// Indexes one file, or finds that it is indexed.
    pub async fn file(&self, path: &Path, stop: &CancellationToken) -> Result<Report, IngestError> {
        let stat = Stat::of(path).map_err(unreadable)?;
        let collection = self.bundle.collection();
        if let Some(media) = self.unchanged(path, stat, &collection)? {
            self.annotate(media, path).await?;
            return Ok(Report::Unchanged);
        }
        let owned = path.to_path_buf();
        let media = blocking(move || source::media_id(&owned)).await.map_err(unreadable)?;
        let lock = Arc::clone(self.busy.lock().unwrap_or_else(|e| e.into_inner()).entry(media).or_default());
        let _alone = lock.lock().await;
        let report = self.content(path, stat, media, &collection, stop).await;
        self.busy.lock().unwrap_or_else(|e| e.into_inner()).remove(&media);
        report
    }

    async fn content(
        &self,
        path: &Path,
        stat: Stat,
        media: MediaId,
        collection: &str,
        stop: &CancellationToken,
    ) -> Result<Report, IngestError> {
        let progress = self.ledger.progress(media, collection)?.filter(|progress| progress.plan == self.plan.key());
        match progress {
            Some(progress) if progress.done => {
                self.ledger.locate(path, stat, media)?;
                self.forget_vanished(media, path)?;
                self.annotate(media, path).await?;
                self.sweep(collection).await?;
                Ok(Report::Known)
            }
            progress => {
                let resume_at = progress.map_or(0, |progress| progress.resume_at);
                self.ledger.begin(path, stat, media, &self.described(media)?)?;
                self.index(path, stat, media, resume_at, stop).await
            }
        }
    }

    /// The medium this path stands for, where neither file nor plan have changed since it was indexed.
    fn unchanged(&self, path: &Path, stat: Stat, collection: &str) -> Result<Option<MediaId>, IngestError> {
        let Some(row) = self.ledger.file(path)? else { return Ok(None) };
        let Some(media) = row.media_id.filter(|_| row.stat == stat && row.reason.is_none()) else { return Ok(None) };
        let progress = self.ledger.progress(media, collection)?;
        Ok(progress.filter(|progress| progress.done && progress.plan == self.plan.key()).map(|_| media))
    }

    async fn index(
        &self,
        path: &Path,
        stat: Stat,
        media: MediaId,
        resume_at: u32,
        stop: &CancellationToken,
    ) -> Result<Report, IngestError> {
        self.observer.event(Event::Started { path });
        let mut job = Job::new(self, path, media, resume_at)?;
        let request = Request {
            path: path.to_path_buf(),
            want: self.plan.want.clone(),
            sampling: self.plan.sampling,
            tolerance: self.plan.tolerance,
            from: job.from,
            pixels: self.bundle.pixel_spec(),
            thumbnail_px: Some(self.options.thumbnail_px),
        };
        let mut decoded = decode(Arc::clone(&self.decoder), request, stop.clone());
        let outcome = loop {
            match decoded.recv().await {
                Some(Decoded::Probe(probe)) => {
                    self.observer.event(Event::Probed { path, probe: &probe });
                    job.probed(probe)?;
                }
                Some(Decoded::Frame(frame)) => {
                    let mut frames = vec![frame];
                    let mut end = None;
                    while frames.len() < FRAMES_IN_FLIGHT {
                        match decoded.try_recv() {
                            Ok(Decoded::Frame(frame)) => frames.push(frame),
                            Ok(other) => {
                                end = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    job.frames(frames).await?;
                    match end {
                        Some(Decoded::End(outcome)) => break outcome,
                        Some(Decoded::Failed(error)) => return job.stopped(error, stop).await,
                        _ => {}
                    }
                }
                Some(Decoded::End(outcome)) => break outcome,
                Some(Decoded::Failed(error)) => return job.stopped(error, stop).await,
                None => return job.stopped(DecodeError::Crashed("its thread ended".to_owned()), stop).await,
            }
        };
        if Stat::of(path).ok() != Some(stat) {
            return Err(IngestError::Medium(
                "changed while it was read; index it again when it is complete".to_owned(),
            ));
        }
        let indexed = job.finish(&outcome).await?;
        let progress = Progress {
            plan: self.plan.key(),
            done: true,
            resume_at: 0,
            windows: indexed.windows,
            damage: (!indexed.damage.is_empty()).then(|| indexed.damage.join("; ")),
        };
        let collection = self.bundle.collection();
        self.ledger.finish(path, stat, media, &collection, &progress)?;
        self.forget_vanished(media, path)?;
        self.sweep(&collection).await?;
        Ok(Report::Indexed(indexed))
    }

    /// What is said of a medium: this run's label and tags where given, else what was said before.
    fn described(&self, media: MediaId) -> Result<MediaRow, IngestError> {
        let mut row = self.ledger.media(media)?.unwrap_or_default();
        if self.options.label.is_some() {
            row.label.clone_from(&self.options.label);
        }
        if !self.options.tags.is_empty() {
            row.tags.clone_from(&self.options.tags);
        }
        Ok(row)
    }

    /// Brings label, tags and place of an indexed medium up to date, in ledger and store.
    async fn annotate(&self, media: MediaId, path: &Path) -> Result<(), IngestError> {
        let before = self.ledger.media(media)?.unwrap_or_default();
        let row = self.described(media)?;
        let moved = self.ledger.files_of(media)?.iter().all(|file| file.path == path || !file.path.exists());
        if row == before && !moved {
            return Ok(());
        }
        let annotation = Annotation { uri: source::file_uri(path), label: row.label.clone(), tags: row.tags.clone() };
        self.store.annotate(media, &annotation).await?;
        self.store.flush().await?;
        self.ledger.annotate(media, &row)?;
        Ok(())
    }

    /// A medium that has moved leaves its old places.
    fn forget_vanished(&self, media: MediaId, path: &Path) -> Result<(), IngestError> {
        for file in self.ledger.files_of(media)? {
            if file.path != path && !file.path.exists() {
                self.ledger.forget_file(&file.path)?;
            }
        }
        Ok(())
    }

    /// Removes the windows of contents that no path stands for any more.
    pub async fn sweep(&self, collection: &str) -> Result<(), IngestError> {
        for (media, collections) in self.ledger.orphans()? {
            if collections.iter().any(|name| name == collection) {
                self.store.delete(&Selection { media_id: media, except_plan: None }).await?;
                self.store.flush().await?;
                self.ledger.forget_progress(media, collection)?;
            }
            if collections.iter().all(|name| name == collection) {
                let disk = |error| IngestError::Disk { path: "thumbnails".into(), error };
                self.thumbs.remove(media).map_err(disk)?;
                self.ledger.forget_media(media)?;
            }
        }
        Ok(())
    }
}

/// One medium on its way.
struct Job<'a> {
    ingest: &'a Ingest,
    path: &'a Path,
    media: MediaId,
    from: Duration,
    row: MediaRow,
    embedder: Embedder,
    thumbs: crate::thumbs::Writer,
    pending: Vec<Record>,
    windows: u64,
    frames: u64,
    reached: Duration,
    saved: Instant,
}

impl<'a> Job<'a> {
    fn new(ingest: &'a Ingest, path: &'a Path, media: MediaId, resume_at: u32) -> Result<Self, IngestError> {
        let embedder = Embedder::new(&ingest.bundle, ingest.model.clone(), &ingest.plan, resume_at);
        let from = embedder.from();
        let spacing = ingest
            .plan
            .stride()
            .map_or(ingest.options.thumbnail_spacing, |stride| stride.max(ingest.options.thumbnail_spacing));
        let thumbs = ingest
            .thumbs
            .writer(media, from, spacing)
            .map_err(|error| IngestError::Disk { path: "thumbnails".into(), error })?;
        let row = ingest.described(media)?;
        let windows =
            ingest.ledger.progress(media, &ingest.bundle.collection())?.map_or(0, |progress| progress.windows);
        Ok(Self {
            ingest,
            path,
            media,
            from,
            row,
            embedder,
            thumbs,
            pending: Vec::new(),
            windows: if resume_at == 0 { 0 } else { windows },
            frames: 0,
            reached: from,
            saved: Instant::now(),
        })
    }

    fn probed(&mut self, probe: Probe) -> Result<(), IngestError> {
        self.row.probe = Some(probe);
        Ok(self.ingest.ledger.annotate(self.media, &self.row)?)
    }

    async fn frames(&mut self, mut frames: Vec<Frame>) -> Result<(), IngestError> {
        for frame in &mut frames {
            if let Some(thumbnail) = frame.thumbnail.take() {
                self.thumbs.add(frame.pts, &thumbnail).map_err(|error| self.disk(error))?;
            }
        }
        let Some(last) = frames.last().map(|frame| frame.pts) else { return Ok(()) };
        let count = frames.len();
        self.frames += count as u64;
        let embedded = self.embedder.push(frames).await?;
        self.keep(embedded).await?;
        self.reached = last;
        self.ingest.observer.event(Event::Advanced { path: self.path, pts: last, frames: count });
        if self.saved.elapsed() >= self.ingest.options.checkpoint_every {
            self.checkpoint().await?;
        }
        Ok(())
    }

    async fn keep(&mut self, embedded: Vec<Embedded>) -> Result<(), IngestError> {
        for embedded in embedded {
            self.pending.push(self.record(embedded));
        }
        if self.pending.len() >= RECORDS_PER_UPSERT { self.upsert().await } else { Ok(()) }
    }

    fn record(&self, Embedded { window, vector, caption, features }: Embedded) -> Record {
        let recorded = self.row.probe.as_ref().and_then(|probe| probe.recorded_at_ms);
        let payload = Payload {
            media_id: self.media,
            uri: source::file_uri(self.path),
            label: self.row.label.clone(),
            tags: self.row.tags.clone(),
            start: window.start,
            end: window.end,
            wall_ms: recorded.map(|at| at + window.start.as_millis() as i64),
            caption,
            plan: self.ingest.plan.key(),
        };
        Record { id: record_id(self.media, &window, self.ingest.bundle.hash()), vector, payload, features }
    }

    async fn upsert(&mut self) -> Result<(), IngestError> {
        if !self.pending.is_empty() {
            self.ingest.store.upsert(&self.pending).await?;
            self.windows += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    /// Makes what is done durable: pictures and store first, the ledger behind them.
    async fn checkpoint(&mut self) -> Result<(), IngestError> {
        self.thumbs.flush().map_err(|error| self.disk(error))?;
        self.upsert().await?;
        self.ingest.store.flush().await?;
        let progress = Progress {
            plan: self.ingest.plan.key(),
            done: false,
            resume_at: self.embedder.resume_at(),
            windows: self.windows,
            damage: None,
        };
        self.ingest.ledger.checkpoint(self.media, &self.ingest.bundle.collection(), &progress)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// The decoder has ended early: on request (then what is done is kept), or by the medium's fault.
    async fn stopped(mut self, error: DecodeError, stop: &CancellationToken) -> Result<Report, IngestError> {
        if !stop.is_cancelled() {
            return Err(error.into());
        }
        self.checkpoint().await?;
        Ok(Report::Interrupted { at: self.reached })
    }

    async fn finish(mut self, outcome: &Outcome) -> Result<Indexed, IngestError> {
        if self.frames == 0 && self.from.is_zero() {
            return Err(IngestError::Medium("damaged: no frame could be decoded".to_owned()));
        }
        let embedded = self.embedder.finish(outcome.end).await?;
        self.keep(embedded).await?;
        self.upsert().await?;
        let Self { ingest, media, thumbs, embedder, .. } = self;
        thumbs.finish().map_err(|error| IngestError::Disk { path: "thumbnails".into(), error })?;
        ingest.store.flush().await?;
        let stale = Selection { media_id: media, except_plan: Some(ingest.plan.key()) };
        if ingest.store.delete(&stale).await? > 0 {
            ingest.store.flush().await?;
        }
        // Counted in the store's own words: a resumed file gives some windows twice.
        let windows = ingest.store.count(Some(media)).await?;
        Ok(Indexed {
            windows,
            duration: outcome.end,
            sampling: outcome.sampling,
            damage: outcome.damage.clone(),
            decode_cpu_secs: outcome.cpu_secs,
            out_of_scope: embedder.out_of_scope(),
        })
    }

    fn disk(&self, error: io::Error) -> IngestError {
        IngestError::Disk { path: self.path.to_path_buf(), error }
    }
}

/// The same for the same content, window and bundle, in every data folder: a replay overwrites.
pub fn record_id(media: MediaId, window: &Window<()>, bundle: &str) -> Uuid {
    let name = format!("{}/{}/{bundle}", window.start.as_nanos(), window.end.as_nanos());
    Uuid::new_v5(&media.0, name.as_bytes())
}

/// Runs the decoder on a thread of its own behind a bounded queue.
fn decode(decoder: Arc<dyn Decoder>, request: Request, stop: CancellationToken) -> mpsc::Receiver<Decoded> {
    let (sender, receiver) = mpsc::channel(FRAMES_IN_FLIGHT);
    tokio::task::spawn_blocking(move || {
        let send = |item| sender.blocking_send(item).is_ok();
        let mut frames = match decoder.open(&request, stop) {
            Ok(frames) => frames,
            Err(error) => {
                send(Decoded::Failed(error));
                return;
            }
        };
        if !send(Decoded::Probe(frames.probe().clone())) {
            return;
        }
        for frame in frames.by_ref() {
            let item = match frame {
                Ok(frame) => Decoded::Frame(frame),
                Err(error) => Decoded::Failed(error),
            };
            if !send(item) {
                return;
            }
        }
        if let Some(outcome) = frames.outcome() {
            send(Decoded::End(outcome.clone()));
        }
    });
    receiver
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn unreadable(error: io::Error) -> IngestError {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    IngestError::Medium(format!("cannot read: {reason}"))
}
