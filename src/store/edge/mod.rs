//! Vectors in a folder, in this process: the engine of a Qdrant server as a library (`qdrant-edge`).
//!
//! One thread writes: upserts, deletes and flushes reach it through a bounded queue. Reads run beside it on the
//! blocking pool, so a search does not wait for an import. The optimizer has a thread of its own ([`shard`]).
//!
//! - What a [`flush`](VectorStore::flush) confirmed survives a `kill -9`. Later writes may be lost, but never part of a
//!   record. The engine does not replay its log, so a log of our own covers optimizations ([`journal`]).
//! - The graph (HNSW) is built by [`optimize`](VectorStore::optimize) only; records added since are searched one by one.
//!   An annotation rewrites its records and so takes them out of the graph.
//! - A store that is dropped during an optimization keeps its folder locked until the optimization ends; a process that
//!   exits does not wait for it. The engine goes on until it finds nothing to do, so writes that touch most records
//!   keep it busy.
//! - A folder is open in one process at a time. It belongs to the data folder that it lies in: a new owner takes it
//!   over.
//!
//! Measured with 512 dimensions and short payloads: 4 KB on disk per record with graph and indexes, plus up to 300 MB
//! of the engine's log. All of it is mapped from disk: the process itself uses about 0.15 GB per million records, and
//! the page cache holds what is searched. On one busy core 17 000 records are written per second. A flush takes 80 to
//! 200 ms for one record or thousands, so flush per medium, not per window. A caption of nine words adds 0.4 KB to a
//! record. Frame features add 2 bytes per value (1 KB for each frame of 512 values), and three bytes per value to the
//! log.

mod catalog;
mod folder;
mod journal;
mod points;
mod repair;
mod schema;
mod shard;
mod stored;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use qdrant_edge::{EdgeShard, Payload as EdgePayload, PointId, SetPayloadOp, WithPayloadInterface};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use uuid::Uuid;

pub use self::catalog::EdgeCatalog;
use self::folder::Opened;
use self::shard::Shard;
use super::{
    Annotation, CollectionSpec, Hit, IndexParams, KeptFrame, Key, Page, Query, Record, Selection, StoreError, Stretch,
    VectorStore, Wanted, annotation_to_json, sort_hits,
};
use crate::source::MediaId;

/// Writes that may wait for the thread; further callers wait for a free place.
const QUEUE: usize = 16;
/// Most values in one operation of the engine, which is one entry of its log. An operation has at least one record.
const BATCH_VALUES: usize = 1 << 20;
/// Most records in one operation.
const BATCH: usize = 500;
/// Writes are refused below this. The engine writes through growing memory maps, so a full disk would kill the process.
const MIN_FREE_BYTES: u64 = 256 << 20;
/// The engine builds no graph for smaller segments (its `indexing_threshold`).
const GRAPH_FROM_BYTES: u64 = 10_000 << 10;

type Job = Box<dyn FnOnce(&Arc<Shard>) + Send>;

struct EdgeStore {
    collection: CollectionSpec,
    index: IndexParams,
    shard: Arc<Shard>,
    readers: Arc<Semaphore>,
    /// Held while the optimizer works.
    optimizer: Arc<Mutex<()>>,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl EdgeStore {
    fn new(opened: Opened, index: IndexParams) -> Result<Self, StoreError> {
        let (collection, shard) = (opened.collection.clone(), Arc::new(Shard::new(opened)));
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let writer = shard.clone();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&writer);
            }
            writer.end_writing();
        });
        let readers = std::thread::available_parallelism().map_or(2, usize::from) * 2;
        Ok(Self {
            collection,
            index,
            shard,
            readers: Arc::new(Semaphore::new(readers)),
            optimizer: Arc::default(),
            jobs: Some(jobs),
            thread: Some(thread.map_err(|error| no_thread(&error))?),
        })
    }

    /// Runs a job on the writing thread.
    async fn write<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Shard>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |shard| {
            // Fails if the caller was cancelled; the write counts all the same.
            let _ = answer.send(guarded(|| job(shard)));
        });
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Runs a job on the blocking pool, beside the writing thread.
    async fn read<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&EdgeShard) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = self.readers.clone().acquire_owned().await.map_err(|_| closed())?;
        let shard = self.shard.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            shard.with(job)
        });
        done.await.map_err(|_| closed())?
    }

    /// One page of records with ids greater than `after`.
    async fn scroll<T, F>(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
        reading: points::Reading,
        item: F,
    ) -> Result<Page<T>, StoreError>
    where
        T: Send + 'static,
        F: Fn(qdrant_edge::Record) -> Result<(Uuid, T), StoreError> + Send + 'static,
    {
        let from = match after.map(|after| after.as_u128().checked_add(1)) {
            Some(None) => return Ok(Page::default()),
            Some(Some(next)) => Some(Uuid::from_u128(next)),
            None => None,
        };
        let request = points::scroll(from, limit.max(1), selection.map(points::selection), reading);
        self.read(move |engine| {
            let (found, more) = engine.scroll(request).map_err(failed)?;
            let found = found.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
            let next = more.and(found.last().map(|(id, _)| *id));
            Ok(Page { items: found.into_iter().map(|(_, item)| item).collect(), next })
        })
        .await
    }
}

impl Drop for EdgeStore {
    /// Waits until everything is on disk and the folder is unlocked, but not for the optimizer.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl VectorStore for EdgeStore {
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError> {
        self.collection.check_records(records)?;
        let batches: Vec<Vec<_>> = batches(records).map(|batch| batch.iter().map(points::point).collect()).collect();
        self.write(|shard| shard.upsert(batches)).await
    }

    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        if let Wanted::Vector(vector) | Wanted::Hybrid(vector, _) = &query.wanted {
            self.collection.check_vector(vector)?;
        }
        if query.limit == 0 || query.filter.matches_nothing() {
            return Ok(Vec::new());
        }
        let Some(request) = points::search(query, &self.index) else { return Ok(Vec::new()) };
        self.read(|engine| {
            let found = match request {
                points::Asked::One(request) => engine.search(request),
                points::Asked::Fused(request) => engine.query(request),
            };
            let found = found.map_err(failed)?;
            let mut hits = found.into_iter().map(points::hit).collect::<Result<Vec<_>, _>>()?;
            sort_hits(&mut hits);
            Ok(hits)
        })
        .await
    }

    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError> {
        let filter = points::selection(selection);
        self.write(|shard| shard.delete(filter)).await
    }

    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError> {
        let set = SetPayloadOp {
            payload: EdgePayload(annotation_to_json(annotation)),
            points: None,
            filter: Some(points::of_media(media_id)),
            key: None,
        };
        self.write(|shard| shard.set_payload(set)).await
    }

    async fn scan(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        let item = |found| points::record(found).map(|record| (record.id, record));
        self.scroll(selection, after, limit, points::Reading::Records, item).await
    }

    async fn keys(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Key>, StoreError> {
        let item = |found| points::key_of(found).map(|key| (key.id, key));
        self.scroll(selection, after, limit, points::Reading::Keys, item).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        self.read(move |engine| {
            let (payload, vector) = (WithPayloadInterface::Bool(true), points::only_vector());
            let found = engine.retrieve(&[PointId::Uuid(id)], Some(payload), Some(vector)).map_err(failed)?;
            found.into_iter().next().map(points::record).transpose()
        })
        .await
    }

    async fn frames(&self, stretches: &[Stretch]) -> Result<Vec<Vec<KeptFrame>>, StoreError> {
        if self.collection.feature_dim.is_none() {
            return Ok(vec![Vec::new(); stretches.len()]);
        }
        let stretches = stretches.to_vec();
        self.read(move |engine| stretches.iter().map(|stretch| points::frames(engine, stretch)).collect()).await
    }

    async fn with_frames(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        if self.collection.feature_dim.is_none() {
            return Ok(0);
        }
        let filter = points::with_frames(selection);
        self.read(|engine| points::count(engine, Some(filter))).await
    }

    async fn count(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        let filter = selection.map(points::selection);
        self.read(|engine| points::count(engine, filter)).await
    }

    async fn captions(&self) -> Result<u64, StoreError> {
        self.read(|engine| points::count(engine, Some(points::with_caption()))).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.write(|shard| shard.flush()).await
    }

    /// The engine's own count cannot be used: it includes deleted and overwritten records. So records written since the
    /// graph was built are counted, as if all of them were in one segment.
    async fn outside_graph(&self) -> Result<u64, StoreError> {
        let records = self.shard.unindexed();
        let bytes = records * (self.collection.dim * size_of::<f32>()) as u64;
        Ok(if bytes < GRAPH_FROM_BYTES { 0 } else { records })
    }

    async fn optimize(&self) -> Result<(), StoreError> {
        let turn = self.optimizer.clone().lock_owned().await;
        let (done, ended) = oneshot::channel();
        self.write(|shard| {
            shard.start_optimizer()?;
            let optimized = shard.clone();
            let thread = std::thread::Builder::new().name("optimizer".to_owned()).spawn(move || {
                let _ = done.send(optimized.optimize());
                drop(turn);
            });
            thread.map(drop).map_err(|error| {
                shard.end_optimizer();
                no_thread(&error)
            })
        })
        .await?;
        ended.await.map_err(|_| closed())??;
        self.flush().await
    }
}

/// Splits records into as many as fit one operation.
fn batches(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let values = |record: &Record| {
        record.vector.as_slice().len() + record.features.iter().map(|feature| feature.values.len()).sum::<usize>()
    };
    let most = records.iter().map(values).max().unwrap_or(1).max(1);
    records.chunks((BATCH_VALUES / most).clamp(1, BATCH))
}

/// Turns a panic into an error: the engine panics in cases where other libraries return errors.
fn guarded<T>(job: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        Err(StoreError::Other(format!("the embedded engine panicked: {}", panic_text(panic.as_ref()))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a reason")
}

fn failed(error: qdrant_edge::OperationError) -> StoreError {
    StoreError::Other(error.to_string())
}

fn corrupt(folder: &Path, problem: &str) -> StoreError {
    StoreError::Corrupt {
        path: folder.display().to_string(),
        problem: format!(
            "{problem}; put back a backup of this folder, or remove it and index again (the videos are untouched)"
        ),
    }
}

fn io_failed(path: &Path, error: &io::Error) -> StoreError {
    let (place, problem) = (path.display().to_string(), error.to_string());
    if error.kind() == io::ErrorKind::StorageFull {
        return StoreError::DiskFull { place, problem };
    }
    StoreError::Other(format!("{place}: {problem}"))
}

fn closed() -> StoreError {
    StoreError::Other("the store is closed (an earlier message says why)".to_owned())
}

fn no_thread(error: &io::Error) -> StoreError {
    StoreError::Other(format!("cannot start a thread for the store: {error}"))
}

fn check_free_space(path: &Path) -> Result<(), StoreError> {
    // Not every file system reports its free space.
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return Ok(()) };
    check_free(path, stat.blocks_available() * stat.fragment_size())
}

fn check_free(path: &Path, free: u64) -> Result<(), StoreError> {
    if free < MIN_FREE_BYTES {
        let problem = format!("{} MB free, at least {} are needed to write", free >> 20, MIN_FREE_BYTES >> 20);
        return Err(StoreError::DiskFull { place: path.display().to_string(), problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_reason() {
        let error = guarded::<()>(|| panic!("WAL flushed: {}", "no space")).unwrap_err();
        assert_eq!(error.to_string(), "store: the embedded engine panicked: WAL flushed: no space");
    }

    #[test]
    fn a_full_disk_is_refused_before_the_engine_meets_it() {
        let place = Path::new("/films");
        check_free(place, MIN_FREE_BYTES).unwrap();
        let error = check_free(place, MIN_FREE_BYTES - 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/films: the disk is full (255 MB free, at least 256 are needed to write): make room and try again"
        );
        assert!(!error.will_pass());
    }
}
