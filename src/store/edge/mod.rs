//! Vectors in a folder, in this process: the engine of a Qdrant server as a library (`qdrant-edge`).
//!
//! One thread owns everything that writes: upserts, deletes, flushes and optimizations come to it through a bounded
//! queue. Reads run beside it on the blocking pool, so a search does not wait for an import. That split is also what
//! the engine demands: its `flush()` panics where another write is under way.
//!
//! - What a [`flush`](EdgeStore::flush) confirmed is there after a `kill -9`; later writes may be there or not, each
//!   record whole (the engine does not replay its log).
//! - The graph (HNSW) is built by [`optimize`](EdgeStore::optimize) only; records added since are searched one by one.
//! - A folder is open in one process at a time.
//!
//! Measured with 512 dimensions and short payloads: 2.5 KB on disk per record with graph and indexes, plus up to
//! 300 MB of the engine's log; all of it is mapped from disk, so that the process itself holds about 0.15 GB per
//! million records and the page cache what is searched. On one busy core 17 000 records a second go in, and a flush
//! takes 80 to 200 ms whether it confirms one record or thousands: flush per medium, not per window. A caption of nine
//! words adds 0.4 KB to a record; frame features add 2 bytes a value (12 frames of 512: 12.3 KB), the same again and a
//! half to the log.

mod folder;
mod points;
mod repair;
mod upgrade;

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use qdrant_edge::{
    CountRequest, EdgeShard, Payload as EdgePayload, PayloadOps, PointId, PointInsertOperations, PointOperations,
    SetPayloadOp, UpdateOperation, WithPayloadInterface,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

use self::folder::Folder;
use super::{
    Annotation, CollectionSpec, Features, Hit, Page, Query, Record, Selection, StoreError, VectorStore, Wanted,
    annotation_to_json, sort_hits,
};
use crate::source::MediaId;

/// Writes waiting for the thread; more wait with their callers.
const QUEUE: usize = 16;
/// Values and records per operation of the engine, which is one entry of its log: at least one record.
const BATCH_VALUES: usize = 1 << 20;
const BATCH: usize = 500;
/// Files of the engine's log (32 MiB each) after which they are worth closing and opening the shard.
const FULL_LOGS: usize = 8;
/// The engine maps files that grow as they are written, and a full disk then ends the process: refuse before.
const MIN_FREE_BYTES: u64 = 256 << 20;

type Job = Box<dyn FnOnce(&Shard) + Send>;

pub struct EdgeStore {
    collection: CollectionSpec,
    shard: Arc<Shard>,
    readers: Arc<Semaphore>,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Shard {
    /// `None` once closed. Written to only by the thread, when it closes the engine.
    engine: RwLock<Option<EdgeShard>>,
    folder: Folder,
}

impl EdgeStore {
    /// Opens (or makes) the folder of this collection in `dir`. Blocks: seconds for millions of records.
    pub fn open(dir: &Path, collection: &CollectionSpec) -> Result<Self, StoreError> {
        // The engine maps its files: where the disk is full it is killed, not told. What is there can be searched still.
        if !dir.join(&collection.name).exists() {
            check_free_space(dir, MIN_FREE_BYTES)?;
        }
        let (folder, engine, collection) = Folder::open(dir, collection)?;
        let shard = Arc::new(Shard { engine: RwLock::new(Some(engine)), folder });
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let owner = shard.clone();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&owner);
                }
                owner.close();
            })
            .map_err(|error| StoreError::Other(format!("no thread for the store: {error}")))?;
        Ok(Self {
            collection,
            shard,
            readers: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from) * 2)),
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs on the thread that writes.
    async fn write<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Shard) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |shard| {
            // Nobody listens where the caller was cancelled; the write stands all the same.
            let _ = answer.send(guarded(|| job(shard)));
        });
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Runs beside it.
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
}

impl Drop for EdgeStore {
    /// Waits until all is on disk and the folder is free again.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shard {
    fn with<T>(&self, job: impl FnOnce(&EdgeShard) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_ref().ok_or_else(closed)?;
        guarded(|| job(engine))
    }

    fn update(&self, operation: UpdateOperation) -> Result<(), StoreError> {
        self.with(|engine| engine.update(operation).map_err(failed))
    }

    fn upsert(&self, batches: Vec<Vec<qdrant_edge::PointStructPersisted>>) -> Result<(), StoreError> {
        check_free_space(self.folder.path(), MIN_FREE_BYTES)?;
        for batch in batches {
            let points = PointInsertOperations::PointsList(batch);
            self.update(UpdateOperation::PointOperation(PointOperations::UpsertPoints(points)))?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.with(|engine| {
            engine.flush();
            Ok(())
        })?;
        let full = self.folder.full_logs().map_err(|error| folder::io_failed(self.folder.path(), &error))?;
        if full > FULL_LOGS { self.shorten_log() } else { Ok(()) }
    }

    /// The engine keeps its whole log, mapped, until it is closed.
    fn shorten_log(&self) -> Result<(), StoreError> {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        drop(engine.take());
        *engine = Some(self.folder.load(None)?);
        Ok(())
    }

    fn close(&self) {
        let closed = guarded(|| {
            drop(self.engine.write().unwrap_or_else(PoisonError::into_inner).take());
            self.folder.closed_cleanly().map_err(|error| folder::io_failed(self.folder.path(), &error))
        });
        if let Err(error) = closed {
            tracing::warn!(path = %self.folder.path().display(), %error, "store not closed in order");
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
        let Some(request) = points::search(query) else { return Ok(Vec::new()) };
        self.read(|engine| {
            let found = match request {
                points::Request::One(request) => engine.search(request),
                points::Request::Fused(request) => engine.query(request),
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
        self.write(|shard| {
            let count = CountRequest { filter: Some(filter.clone()), exact: true };
            let gone = shard.with(|engine| engine.count(count).map_err(failed))?;
            shard.update(UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter)))?;
            Ok(gone as u64)
        })
        .await
    }

    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError> {
        let set = SetPayloadOp {
            payload: EdgePayload(annotation_to_json(annotation)),
            points: None,
            filter: Some(points::of_media(media_id)),
            key: None,
        };
        self.write(|shard| {
            check_free_space(shard.folder.path(), MIN_FREE_BYTES)?;
            shard.update(UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set)))
        })
        .await
    }

    async fn scan(&self, media: Option<MediaId>, after: Option<Uuid>, limit: usize) -> Result<Page, StoreError> {
        let from = match after.map(|after| after.as_u128().checked_add(1)) {
            Some(None) => return Ok(Page::default()),
            Some(Some(next)) => Some(Uuid::from_u128(next)),
            None => None,
        };
        let request = points::scroll(from, limit.max(1), media.map(points::of_media));
        self.read(|engine| {
            let (found, more) = engine.scroll(request).map_err(failed)?;
            let records = found.into_iter().map(points::record).collect::<Result<Vec<_>, _>>()?;
            let next = more.and(records.last().map(|record| record.id));
            Ok(Page { records, next })
        })
        .await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        self.read(move |engine| {
            let (payload, vector) = (WithPayloadInterface::Bool(true), points::only_vector());
            let found = engine.retrieve(&[PointId::Uuid(id)], Some(payload), Some(vector)).map_err(failed)?;
            found.into_iter().next().map(points::record).transpose()
        })
        .await
    }

    async fn features(&self, ids: &[Uuid]) -> Result<Vec<Features>, StoreError> {
        if self.collection.feature_dim.is_none() {
            return Ok(vec![Vec::new(); ids.len()]);
        }
        let points: Vec<PointId> = ids.iter().copied().map(PointId::Uuid).collect();
        let (payload, vector) = (WithPayloadInterface::Bool(false), points::only_features());
        let found = self
            .read(move |engine| {
                let found = engine.retrieve(&points, Some(payload), Some(vector)).map_err(failed)?;
                found.into_iter().map(|record| Ok((points::uuid(&record.id)?, points::features(record)))).collect()
            })
            .await
            .map(|found: HashMap<Uuid, Features>| found)?;
        Ok(ids.iter().map(|id| found.get(id).cloned().unwrap_or_default()).collect())
    }

    async fn count(&self, media: Option<MediaId>) -> Result<u64, StoreError> {
        self.read(move |engine| {
            let count =
                engine.count(CountRequest { filter: media.map(points::of_media), exact: true }).map_err(failed)?;
            Ok(count as u64)
        })
        .await
    }

    async fn captions(&self) -> Result<u64, StoreError> {
        self.read(|engine| {
            let count = engine.count(CountRequest { filter: Some(points::with_caption()), exact: true });
            Ok(count.map_err(failed)? as u64)
        })
        .await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.write(Shard::flush).await
    }

    /// Searches go on meanwhile, writes wait. Cannot be stopped short; a process killed within loses nothing.
    async fn optimize(&self) -> Result<(), StoreError> {
        self.write(|shard| {
            shard.with(|engine| engine.optimize().map_err(failed))?;
            shard.flush()
        })
        .await
    }
}

/// As many as may go to one operation.
fn batches(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let values =
        |record: &Record| record.vector.as_slice().len() + record.features.iter().map(|r| r.len()).sum::<usize>();
    let most = records.iter().map(values).max().unwrap_or(1).max(1);
    records.chunks((BATCH_VALUES / most).clamp(1, BATCH))
}

/// The engine panics where others return errors.
fn guarded<T>(job: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        Err(StoreError::Other(format!("the embedded engine gave up: {}", panic_text(panic.as_ref()))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a reason")
}

fn failed(error: qdrant_edge::OperationError) -> StoreError {
    StoreError::Other(error.to_string())
}

fn closed() -> StoreError {
    StoreError::Other("the store is closed (an earlier message says why)".to_owned())
}

fn check_free_space(path: &Path, needed: u64) -> Result<(), StoreError> {
    // The folder may not be there yet, and not every file system answers.
    let Some(stat) = path.ancestors().find_map(|place| nix::sys::statvfs::statvfs(place).ok()) else {
        return Ok(());
    };
    let free = stat.blocks_available() * stat.fragment_size();
    if free < needed {
        return Err(StoreError::Other(format!(
            "{}: {} MB free on this disk, at least {} are needed to write: make room and try again",
            path.display(),
            free >> 20,
            needed >> 20
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_reason() {
        let error = guarded::<()>(|| panic!("WAL flushed: {}", "no space")).unwrap_err();
        assert_eq!(error.to_string(), "store: the embedded engine gave up: WAL flushed: no space");
    }

    #[test]
    fn a_full_disk_is_refused_before_the_engine_meets_it() {
        let here = std::env::temp_dir();
        check_free_space(&here, 0).unwrap();
        let error = check_free_space(&here, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("MB free on this disk") && error.contains("make room"), "{error}");
    }
}
