//! An opened engine shard: one thread writes to it, others read, and the optimizer works beside them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use qdrant_edge::{
    EdgeConfig, EdgeShard, Filter, PayloadOps, PointInsertOperations, PointOperations, PointStructPersisted,
    SetPayloadOp, UpdateOperation,
};

use super::folder::{Folder, Opened};
use super::journal::Journal;
use super::{check_free_space, closed, failed, guarded, io_failed, points};
use crate::store::StoreError;

/// Number of full log files of the engine (32 MiB each) beyond which the shard is closed and opened again to shorten
/// the log.
const FULL_LOGS: usize = 8;

pub(super) struct Shard {
    engine: RwLock<Engine>,
    folder: Folder,
    config: EdgeConfig,
    optimizer: Mutex<Optimizer>,
    /// Present from the start of an optimization until all writes made during it are on disk.
    journal: Mutex<Option<Journal>>,
    /// Records written since the graph was built; a record written twice counts twice.
    unindexed: AtomicU64,
}

enum Engine {
    Open(Box<EdgeShard>),
    /// Opening the shard again failed; the next access tries again.
    Away,
    Closed,
}

#[derive(Clone, Copy, PartialEq)]
enum Optimizer {
    Idle,
    /// The engine must not be flushed (it would panic), closed or opened again.
    Working,
    /// The store was dropped during the optimization: the shard is closed when the optimizer ends.
    Abandoned,
}

impl Shard {
    pub(super) fn new(opened: Opened) -> Self {
        let Opened { folder, shard, config, collection: _, unindexed } = opened;
        Self {
            engine: RwLock::new(Engine::Open(Box::new(shard))),
            folder,
            config,
            optimizer: Mutex::new(Optimizer::Idle),
            journal: Mutex::new(None),
            unindexed: AtomicU64::new(unindexed),
        }
    }

    pub(super) fn with<T>(&self, job: impl FnOnce(&EdgeShard) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        if matches!(*engine, Engine::Away) {
            drop(engine);
            self.open_again()?;
            engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        }
        match &*engine {
            Engine::Open(shard) => guarded(|| job(shard)).map_err(|error| self.disk_full(error)),
            Engine::Away | Engine::Closed => Err(closed()),
        }
    }

    fn open_again(&self) -> Result<(), StoreError> {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*engine, Engine::Away) {
            *engine = Engine::Open(Box::new(self.folder.load(&self.config)?));
        }
        Ok(())
    }

    /// The engine reports a full disk only in the text of an error.
    fn disk_full(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Other(problem) if problem.contains("No space left") || problem.contains("Not enough space") => {
                StoreError::DiskFull { place: self.path().display().to_string(), problem }
            }
            other => other,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    // Called by the writing thread only, until the next heading.

    pub(super) fn upsert(&self, batches: Vec<Vec<PointStructPersisted>>) -> Result<(), StoreError> {
        check_free_space(self.path())?;
        for batch in batches {
            let records = batch.len() as u64;
            let points = PointInsertOperations::PointsList(batch);
            self.update(UpdateOperation::PointOperation(PointOperations::UpsertPoints(points)))?;
            self.unindexed.fetch_add(records, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        let gone = self.count(Some(filter.clone()))?;
        if gone > 0 {
            self.update(UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter)))?;
        }
        Ok(gone)
    }

    /// The engine copies each changed record, with its vectors, out of the graph.
    pub(super) fn set_payload(&self, set: SetPayloadOp) -> Result<(), StoreError> {
        check_free_space(self.path())?;
        let records = self.count(set.filter.clone())?;
        self.update(UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set)))?;
        self.unindexed.fetch_add(records, Ordering::Relaxed);
        Ok(())
    }

    fn update(&self, operation: UpdateOperation) -> Result<(), StoreError> {
        if let Some(journal) = self.journal().as_mut() {
            journal.append(&operation).map_err(|error| io_failed(self.path(), &error))?;
        }
        self.with(|engine| engine.update(operation).map_err(failed))
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.folder.save_unindexed(self.unindexed())?;
        let io = |error| io_failed(self.path(), &error);
        if *self.optimizer() != Optimizer::Idle {
            // The journal has all writes since the flush that preceded the optimization.
            return self.journal().as_ref().map_or(Ok(()), Journal::sync).map_err(io);
        }
        self.with(|engine| {
            engine.flush();
            Ok(())
        })?;
        let mut journal = self.journal();
        if let Some(written) = journal.as_ref() {
            written.remove().map_err(io)?;
            *journal = None;
        }
        let full = self.folder.full_logs().map_err(io)?;
        if full > FULL_LOGS { self.shorten_log() } else { Ok(()) }
    }

    /// Closes and opens the shard: the engine keeps its whole log mapped until it is closed.
    fn shorten_log(&self) -> Result<(), StoreError> {
        drop(std::mem::replace(&mut *self.engine.write().unwrap_or_else(PoisonError::into_inner), Engine::Away));
        self.open_again()
    }

    /// Call before [`optimize`](Self::optimize): everything written so far is then on disk, and everything written from
    /// now on also goes into the journal.
    pub(super) fn start_optimizer(&self) -> Result<(), StoreError> {
        self.flush()?;
        let journal = Journal::create(self.folder.journal()).map_err(|error| io_failed(self.path(), &error))?;
        *self.journal() = Some(journal);
        *self.optimizer() = Optimizer::Working;
        Ok(())
    }

    /// The last call of the writing thread.
    pub(super) fn end_writing(&self) {
        let mut optimizer = self.optimizer();
        if *optimizer == Optimizer::Idle {
            self.close();
        } else {
            *optimizer = Optimizer::Abandoned;
        }
    }

    // Called by any thread.

    /// Blocks until the engine finds nothing left to optimize.
    pub(super) fn optimize(&self) -> Result<(), StoreError> {
        let before = self.unindexed();
        let done = self.with(|engine| engine.optimize().map_err(failed));
        if done.is_ok() {
            self.unindexed.fetch_sub(before, Ordering::Relaxed);
        }
        self.end_optimizer();
        done.map(drop)
    }

    pub(super) fn end_optimizer(&self) {
        let mut optimizer = self.optimizer();
        if std::mem::replace(&mut *optimizer, Optimizer::Idle) == Optimizer::Abandoned {
            self.close();
        }
    }

    fn count(&self, filter: Option<Filter>) -> Result<u64, StoreError> {
        self.with(|engine| points::count(engine, filter))
    }

    pub(super) fn unindexed(&self) -> u64 {
        self.unindexed.load(Ordering::Relaxed)
    }

    fn close(&self) {
        let closed = guarded(|| {
            let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
            drop(std::mem::replace(&mut *engine, Engine::Closed));
            self.folder.save_unindexed(self.unindexed())?;
            self.folder.closed_cleanly().map_err(|error| io_failed(self.path(), &error))
        });
        if let Err(error) = closed {
            tracing::warn!(path = %self.path().display(), %error, "store not closed cleanly");
        }
    }

    fn optimizer(&self) -> MutexGuard<'_, Optimizer> {
        self.optimizer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;
    use crate::store::{CollectionSpec, IndexParams};

    #[test]
    fn a_shard_that_could_not_be_opened_again_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (name, bundle) = ("a".to_owned(), "b".to_owned());
        let spec = CollectionSpec { name, dim: 4, bundle, owner: Uuid::nil(), feature_dim: None };
        let folder = Folder::lock(dir.path().join("a")).unwrap();
        let shard = Shard::new(folder.open("", &spec, &IndexParams::default()).unwrap());
        assert_eq!(shard.count(None).unwrap(), 0);

        let broken = shard.folder.shard().join("segments").join(Uuid::from_u128(1).to_string());
        fs::create_dir(&broken).unwrap();
        fs::write(broken.join("version.info"), "0.0.0").unwrap();
        for _ in 0..2 {
            let error = shard.shorten_log().unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            assert!(matches!(shard.count(None), Err(StoreError::Corrupt { .. })));
        }
        fs::remove_dir_all(broken).unwrap();
        assert_eq!(shard.count(None).unwrap(), 0, "as if nothing had been");
        shard.flush().unwrap();
        shard.close();
        assert!(matches!(shard.count(None), Err(StoreError::Other(_))));
    }
}
