//! The folder of one collection: locking it, checking its owner, and recovering it after a crash.
//!
//! ```text
//! <dir>/<namespace><collection>/
//!   lock           held (flock) while a process has it open
//!   unclean        exists while the collection is open, so it remains after a crash
//!   journal.jsonl  the writes made while the optimizer works
//!   unindexed      how many records were written since the graph was built
//!   shard/         the engine's files, and collection.json: their bundle and owner
//!   shard.new/     a shard being made; renamed when complete
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qdrant_edge::{EdgeConfig, EdgeShard};
use uuid::Uuid;

use super::stored::Stored;
use super::{check_free_space, corrupt, failed, guarded, io_failed, journal, repair, schema};
use crate::store::{CollectionSpec, IndexParams, StoreError};

pub(super) struct Folder {
    path: PathBuf,
    /// Must outlive the shard.
    lock: File,
}

/// A collection that was opened.
pub(super) struct Opened {
    pub(super) folder: Folder,
    pub(super) shard: EdgeShard,
    /// The shard is opened with it now, and whenever it is opened again.
    pub(super) config: EdgeConfig,
    pub(super) collection: CollectionSpec,
    /// Records that were written since the graph was built.
    pub(super) unindexed: u64,
}

impl Drop for Folder {
    /// A child process that is being started may have inherited the open file, so closing it would not release the
    /// lock.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Folder {
    pub(super) fn lock(path: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&path).map_err(|error| io_failed(&path, &error))?;
        Ok(Self { lock: lock(&path)?, path })
    }

    /// Opens the shard, creating it if it is missing.
    pub(super) fn open(
        self,
        namespace: &str,
        wanted: &CollectionSpec,
        index: &IndexParams,
    ) -> Result<Opened, StoreError> {
        if !self.shard().exists() {
            // The engine writes through memory maps: on a full disk it is killed instead of getting an error.
            check_free_space(&self.path)?;
            drop(self.make(namespace, wanted, index)?);
            self.rename(&self.new_shard(), &self.shard())?;
        }
        let collection = self.accept(wanted)?;
        let (shard, config, changed) = self.load_configured(&collection, index)?;
        if self.unclean().exists() {
            guarded(|| repair::remove_duplicates(&shard)).map_err(|error| self.corrupt(&error.to_string()))?;
            self.replay(&shard)?;
        }
        fs::write(self.unclean(), "").map_err(|error| io_failed(&self.path, &error))?;
        let unindexed = if changed { shard.info().points_count as u64 } else { self.unindexed() };
        Ok(Opened { folder: self, shard, config, collection, unindexed })
    }

    /// Checks that the stored collection is the wanted one and gives it the wanted owner.
    fn accept(&self, wanted: &CollectionSpec) -> Result<CollectionSpec, StoreError> {
        let stored = self.stored()?;
        let found = stored.spec(&wanted.name);
        wanted.accept(&CollectionSpec { owner: wanted.owner, ..found.clone() })?;
        if found.owner != wanted.owner {
            self.set_owner(stored, wanted.owner)?;
        }
        Ok(CollectionSpec { owner: wanted.owner, ..found })
    }

    pub(super) fn adopt(&self, owner: Uuid) -> Result<(), StoreError> {
        let stored = self.stored()?;
        if stored.owner == owner { Ok(()) } else { self.set_owner(stored, owner) }
    }

    fn set_owner(&self, stored: Stored, owner: Uuid) -> Result<(), StoreError> {
        tracing::info!(path = %self.path.display(), before = %stored.owner, now = %owner, "collection taken over");
        stored.of(owner).write(&self.shard()).map_err(|error| io_failed(&self.path, &error))
    }

    /// Removes the collection. A crash in between leaves a folder without a shard, which does not count as a
    /// collection.
    pub(super) fn remove(self) -> Result<(), StoreError> {
        let remove = || -> io::Result<()> {
            remove_folder(&self.new_shard())?;
            if self.shard().exists() {
                fs::rename(self.shard(), self.new_shard())?;
            }
            fs::remove_dir_all(&self.path)
        };
        remove().map_err(|error| io_failed(&self.path, &error))
    }

    fn load_configured(
        &self,
        collection: &CollectionSpec,
        index: &IndexParams,
    ) -> Result<(EdgeShard, EdgeConfig, bool), StoreError> {
        let config = schema::config(collection, index);
        let before = match EdgeConfig::load(&self.shard()) {
            Some(Ok(before)) => before,
            Some(Err(error)) => return Err(self.corrupt(&error.to_string())),
            None => return Err(self.corrupt("its configuration is missing")),
        };
        let changed = before != config;
        Ok((self.load(&config)?, config, changed))
    }

    pub(super) fn load(&self, config: &EdgeConfig) -> Result<EdgeShard, StoreError> {
        self.trim_log().map_err(|error| self.corrupt(&format!("log: {error}")))?;
        let leftovers = self.shard().join("temp_segments");
        remove_folder(&leftovers).map_err(|error| io_failed(&leftovers, &error))?;
        self.wait_for_log()?;
        guarded(|| EdgeShard::load(&self.shard(), Some(config.clone())).map_err(failed))
            .map_err(|error| self.corrupt(&error.to_string()))
    }

    /// The engine also locks its log, and releases that lock only by closing the file. A child process that is being
    /// started may therefore hold it a moment longer than we do.
    fn wait_for_log(&self) -> Result<(), StoreError> {
        let log = self.shard().join("wal");
        let file = File::open(&log).map_err(|error| self.corrupt(&format!("{}: {error}", log.display())))?;
        for _ in 0..500 {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
                Ok(()) | Err(TryLockError::Error(_)) => {
                    let _ = file.unlock();
                    return Ok(());
                }
            }
        }
        Err(StoreError::Locked { path: log.display().to_string() })
    }

    fn replay(&self, shard: &EdgeShard) -> Result<(), StoreError> {
        let path = self.journal();
        let broken = |error: io::Error| self.corrupt(&format!("{}: {error}", path.display()));
        if !path.exists() {
            return Ok(());
        }
        let mut writes = 0;
        for operation in journal::read(&path).map_err(broken)? {
            let operation = operation.map_err(broken)?;
            guarded(|| shard.update(operation).map_err(failed)).map_err(|error| self.corrupt(&error.to_string()))?;
            writes += 1;
        }
        guarded(|| {
            shard.flush();
            Ok(())
        })?;
        tracing::info!(writes, "replayed the writes of an interrupted optimization");
        fs::remove_file(&path).map_err(|error| io_failed(&path, &error))
    }

    /// Call when the shard is closed and everything is on disk. Unlocks the folder.
    pub(super) fn closed_cleanly(&self) -> io::Result<()> {
        match fs::remove_file(self.journal()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::remove_file(self.unclean())?,
        }
        self.lock.unlock()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many full files of the engine's log lie here (32 MiB each).
    pub(super) fn full_logs(&self) -> io::Result<usize> {
        Ok(self.list_full_logs()?.len())
    }

    /// Deletes all full log files but the last. The engine neither replays nor shortens its log, which is larger than
    /// the vectors in it; it only needs the end of the log to continue the operation numbers. Call only while the shard
    /// is closed and flushed.
    fn trim_log(&self) -> io::Result<()> {
        let mut logs = self.list_full_logs()?;
        logs.sort_unstable();
        logs.pop();
        for (_, path) in logs {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    fn list_full_logs(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut logs = Vec::new();
        for entry in fs::read_dir(self.shard().join("wal"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(first) = name.strip_prefix("closed-").and_then(|first| first.parse().ok()) {
                logs.push((first, path));
            }
        }
        Ok(logs)
    }

    /// Makes an empty shard, to be renamed into its place.
    fn make(&self, namespace: &str, spec: &CollectionSpec, index: &IndexParams) -> Result<EdgeShard, StoreError> {
        let stored = Stored::new(namespace, spec);
        let new = self.new_shard();
        let make = || -> io::Result<()> {
            remove_folder(&new)?;
            fs::create_dir(&new)?;
            stored.write(&new)
        };
        make().map_err(|error| io_failed(&new, &error))?;
        guarded(|| {
            let shard = EdgeShard::new(&new, schema::config(spec, index)).map_err(failed)?;
            schema::create_indexes(&shard)?;
            Ok(shard)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        fs::rename(from, to)
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| io_failed(&self.path, &error))
    }

    fn stored(&self) -> Result<Stored, StoreError> {
        Stored::read(&self.path)?.ok_or_else(|| self.corrupt("its shard is missing"))
    }

    fn unindexed(&self) -> u64 {
        // A count lost in a crash only affects speed.
        fs::read_to_string(self.unindexed_file()).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub(super) fn save_unindexed(&self, records: u64) -> Result<(), StoreError> {
        fs::write(self.unindexed_file(), records.to_string()).map_err(|error| io_failed(&self.path, &error))
    }

    fn corrupt(&self, problem: &str) -> StoreError {
        corrupt(&self.path, problem)
    }

    pub(super) fn shard(&self) -> PathBuf {
        self.path.join("shard")
    }

    fn new_shard(&self) -> PathBuf {
        self.path.join("shard.new")
    }

    fn unclean(&self) -> PathBuf {
        self.path.join("unclean")
    }

    fn unindexed_file(&self) -> PathBuf {
        self.path.join("unindexed")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }
}

/// A lock of our own, because the engine reports a locked log and a broken one by the same kind of error.
fn lock(path: &Path) -> Result<File, StoreError> {
    let file = path.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(|error| io_failed(&file, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(io_failed(&file, &error)),
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
