//! One medium through every stage: decode → features → windows → vectors → store → ledger.
//!
//! Every queue between stages is bounded and archives wait: a slow model slows the decoder. The ledger moves only behind
//! a flush of the store ([`crate::archive`] has the order). Stopping keeps what is done; the next run goes on from the
//! last checkpoint. Store and model are opened when the first file needs them: a run with nothing to do opens neither.
//!
//! [`batch`] runs many work items ([`item`]) side by side, each by a [`plan`], and [`report`] is the sum of that run;
//! [`steady`] takes items for as long as the daemon runs, in the order of its [`backlog`]. [`live`] is a stream, which the
//! [`supervisor`] says when to call. `medium` is one of them on its
//! way, `embedder` its frames becoming vectors, `kept` says which record keeps which frames.

pub mod backlog;
pub mod batch;
mod embedder;
mod error;
pub mod item;
mod kept;
pub mod live;
mod medium;
pub mod plan;
pub mod report;
pub mod steady;
pub mod supervisor;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

pub use embedder::Model;
pub use error::IngestError;
pub use item::{Priority, WorkItem};

use crate::archive::Archive;
use crate::clock::Clock;
use crate::decode::{Decoder, Outcome, Probe, Problem, Queues, Sampling};
use crate::embed::Ran;
use crate::embed::bundle::Outline;
use crate::ledger::{Began, Failure, Owned};
use crate::source::{self, MediaId, Stat};
use crate::store::VectorStore;

/// The parts a medium passes through; shared by all media of a run. Clones share the open store and model.
#[derive(Clone)]
pub struct Ingest {
    pub archive: Arc<Archive>,
    pub decoder: Arc<dyn Decoder>,
    pub bundle: Arc<Outline>,
    pub store: Lazy<Arc<dyn VectorStore>>,
    pub model: Lazy<Model>,
    pub options: Options,
    /// Each medium that is read takes one; who shares them shares the machine, first come, first served.
    pub turns: Arc<Semaphore>,
    /// Frames that wait for the model, of all media that are read.
    pub frames_waiting: Queues,
    pub clock: Clock,
    pub observer: Arc<dyn Observer>,
}

/// Opened when it is first needed; an error is met again by whoever needs it next. Clones share what is open.
pub struct Lazy<T>(Arc<Opener<T>>);

struct Opener<T> {
    cell: OnceCell<T>,
    open: Box<dyn Fn() -> Opening<T> + Send + Sync>,
}

impl<T> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

type Opening<T> = Pin<Box<dyn Future<Output = Result<T, IngestError>> + Send>>;

impl<T: Clone> Lazy<T> {
    pub fn new<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, IngestError>> + Send + 'static,
    {
        Self(Arc::new(Opener { cell: OnceCell::new(), open: Box::new(move || Box::pin(open())) }))
    }

    pub async fn get(&self) -> Result<T, IngestError> {
        self.0.cell.get_or_try_init(|| (self.0.open)()).await.cloned()
    }

    /// Where it was needed.
    pub fn opened(&self) -> Option<T> {
        self.0.cell.get().cloned()
    }
}

/// How a medium is treated beyond its plan.
#[derive(Clone, Debug)]
pub struct Options {
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
    /// The first medium that needs the model waits no longer.
    ModelOpened {
        model: &'a str,
        device: &'a str,
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
        failure: &'a Failure,
    },
    /// The graph is built over so many windows, which searches would have to compare one by one.
    Optimizing {
        windows: u64,
    },
    Measured(Measured<'a>),
}

/// How the stages do, for metrics.
#[derive(Debug)]
pub enum Measured<'a> {
    /// Work had waited so long when a stage took it.
    Waited { stage: &'static str, length: Duration },
    /// A stage has done a piece of work.
    Worked { stage: &'static str, length: Duration },
    /// The model has run a batch.
    Ran(Ran),
    /// A file was read to its end.
    Decoded(&'a Outcome),
    /// Windows were written to the store.
    Stored { windows: usize },
    /// The model had no vector for so many windows.
    WithoutVector { windows: usize },
}

/// Stages in what is measured; those of the model go by the names of its lanes ([`Ran::lane`]).
pub const DECODE: &str = "decode";
pub const STORE: &str = "store";

/// What became of one file.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// As it was indexed before.
    Unchanged,
    /// Its content was indexed before, under another name or by a ledger that was lost.
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
    pub problems: Vec<Problem>,
    pub decode_cpu_secs: f64,
    /// The footage is unlike what the bundle was made for.
    pub out_of_scope: bool,
}

impl Ingest {
    /// Indexes one file, or finds that it is indexed.
    pub async fn item(&self, item: &WorkItem, stop: &CancellationToken) -> Result<Report, IngestError> {
        let path = item.path.clone();
        let stat = blocking(move || Stat::of(&path)).await.map_err(|error| IngestError::unreadable(&error))?;
        let (collection, plan) = (self.bundle.collection(), item.plan.key());
        if let Some((media, before)) = self.archive.ledger.unchanged(&item.path, stat, &collection, &plan).await? {
            let said = item.said.clone().or(before.clone());
            if said != before {
                self.archive.ledger.say(media, said).await?;
                self.archive.settle().await?;
            }
            return Ok(Report::Unchanged);
        }
        let asked = self.clock.passed();
        let turn = tokio::select! {
            biased;
            turn = self.turns.acquire() => turn,
            () = stop.cancelled() => return Ok(Report::Interrupted { at: Duration::ZERO }),
        };
        // Nobody closes the semaphore.
        let _turn = turn.ok();
        self.waited(DECODE, asked);
        let path = item.path.clone();
        let media_id =
            blocking(move || source::media_id(&path)).await.map_err(|error| IngestError::unreadable(&error))?;
        let report = self.content(item, stat, Owned { media_id, collection, plan }, stop).await;
        // What the path stood for before may be on its way out now, whether this went well or not.
        if !matches!(report, Err(IngestError::File(_))) {
            self.archive.settle().await?;
        }
        report
    }

    #[tracing::instrument(level = "warn", name = "medium", skip_all, fields(path = %item.path.display()))]
    async fn content(
        &self,
        item: &WorkItem,
        stat: Stat,
        content: Owned,
        stop: &CancellationToken,
    ) -> Result<Report, IngestError> {
        let alone = self.archive.alone(content.media_id).await;
        if self.archive.ledger.progress(content.media_id, &content.collection).await?.is_empty() {
            // Where the store refuses, the ledger has claimed nothing: what the store holds can still be taken up later.
            self.store.get().await?;
        }
        let begun = loop {
            let (said, gone) = (item.said.clone(), self.vanished(content.media_id, &item.path).await?);
            match self.archive.ledger.begin(&item.path, stat, content.clone(), said, gone).await? {
                Began::Leaving(left) => self.archive.remove_one(left, &alone).await?,
                Began::Known => return Ok(Report::Known),
                Began::Writing(begun) => {
                    if begun.is_new && self.take_up(item, stat, &content).await? {
                        return Ok(Report::Known);
                    }
                    break *begun;
                }
            }
        };
        medium::index(self, item, stat, &content, begun, stop).await
    }

    fn measured(&self, measured: Measured<'_>) {
        self.observer.event(Event::Measured(measured));
    }

    /// Tells that a stage takes what has waited for it since `asked`.
    fn waited(&self, stage: &'static str, asked: Duration) {
        let length = self.clock.passed().saturating_sub(asked);
        self.measured(Measured::Waited { stage, length });
    }

    fn worked(&self, stage: &'static str, begun: Duration) {
        let length = self.clock.passed().saturating_sub(begun);
        self.measured(Measured::Worked { stage, length });
    }

    /// Whether the store held all of it already, from a ledger that was lost.
    async fn take_up(&self, item: &WorkItem, stat: Stat, content: &Owned) -> Result<bool, IngestError> {
        let store = self.store.get().await?;
        let Some((done, of_records)) = self.archive.take_up(store.as_ref(), content).await? else { return Ok(false) };
        self.archive.ledger.say_as_records(content.clone(), of_records).await?;
        let gone = self.vanished(content.media_id, &item.path).await?;
        self.archive.ledger.finish(&item.path, stat, content.clone(), done, gone).await?;
        Ok(true)
    }

    /// Other places of a medium where it lies no more: it has moved. What other collections hold of it is theirs to say.
    async fn vanished(&self, media: MediaId, path: &Path) -> Result<Vec<PathBuf>, IngestError> {
        let collection = self.bundle.collection();
        let mut files = self.archive.ledger.files_of(media).await?;
        files.retain(|file| file.path != path && file.collection == collection);
        let gone = blocking(move || {
            files.retain(|file| std::fs::symlink_metadata(&file.path).is_err());
            Ok(files.into_iter().map(|file| file.path).collect())
        });
        gone.await.map_err(|error| IngestError::unreadable(&error))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
