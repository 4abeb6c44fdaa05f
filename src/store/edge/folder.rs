//! The folder of one collection: who may open it, whose vectors it holds, and putting it in order after a crash.
//!
//! ```text
//! <dir>/<collection>/
//!   lock         held (flock) while a process has it open
//!   unclean      there while it is open, so still there after a crash
//!   shard/       the engine's files, and collection.json: bundle and dimension
//!   shard.new/   a shard being made; renamed when complete
//!   upgrade/     state of the shard before vectors were added to it, while that lasts
//! ```

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qdrant_edge::{
    DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeOptimizersConfig, EdgeShard, EdgeSparseVectorParams,
    EdgeVectorParams, HnswIndexConfig, IntegerIndexParams, KeywordIndexParams, Modifier, MultiVectorConfig,
    PayloadFieldSchema, PayloadSchemaParams, UuidIndexParams, VectorStorageDatatype,
};

use super::{failed, guarded, repair, upgrade};
use crate::store::{CollectionSpec, SEGMENT_KB_WITH_FEATURES, StoreError, field, vector_name};

const COLLECTION_FILE: &str = "collection.json";

pub(super) struct Folder {
    path: PathBuf,
    /// Must outlive the shard.
    lock: File,
}

impl Drop for Folder {
    /// Closing the file alone would leave the lock to a child process that was just being started.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Folder {
    /// Takes the lock, makes the shard where there is none, and opens it. The specification comes back with what the
    /// collection keeps already.
    pub(super) fn open(
        dir: &Path,
        collection: &CollectionSpec,
    ) -> Result<(Self, EdgeShard, CollectionSpec), StoreError> {
        let path = dir.join(&collection.name);
        fs::create_dir_all(&path).map_err(|error| io_failed(&path, &error))?;
        let folder = Self { lock: lock(&path)?, path };
        if !folder.shard().exists() {
            folder.create(collection)?;
        }
        collection.accept(&folder.read_collection()?)?;
        upgrade::undo_unfinished(&folder)?;
        let shard = folder.load(None)?;
        let kept = shard.config().vectors.get(vector_name::FEATURES).map(|features| features.size);
        if let Some(kept) = kept {
            collection.accept_feature_dim(kept)?;
        }
        if folder.unclean().exists() {
            guarded(|| repair::remove_duplicates(&shard)).map_err(|error| folder.corrupt(&error.to_string()))?;
        }
        fs::write(folder.unclean(), "").map_err(|error| io_failed(&folder.path, &error))?;
        let collection = CollectionSpec { feature_dim: collection.feature_dim.or(kept), ..collection.clone() };
        let shard = upgrade::complete(&folder, shard, &collection)?;
        Ok((folder, shard, collection))
    }

    /// With the configuration that is there, or with another one for the same vectors.
    pub(super) fn load(&self, config: Option<EdgeConfig>) -> Result<EdgeShard, StoreError> {
        self.trim_log().map_err(|error| self.corrupt(&format!("log: {error}")))?;
        let leftovers = self.shard().join("temp_segments");
        if leftovers.exists() {
            fs::remove_dir_all(&leftovers).map_err(|error| io_failed(&leftovers, &error))?;
        }
        self.wait_for_log()?;
        guarded(|| EdgeShard::load(&self.shard(), config).map_err(failed))
            .map_err(|error| self.corrupt(&error.to_string()))
    }

    /// The engine locks its log as well and gives that lock up by closing it only, so a child process that was just
    /// being started can hold it a moment longer than we do.
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

    /// Called once the shard is closed with all on disk; the folder is free then.
    pub(super) fn closed_cleanly(&self) -> io::Result<()> {
        fs::remove_file(self.unclean())?;
        self.lock.unlock()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many full files of the engine's log lie here (32 MiB each).
    pub(super) fn full_logs(&self) -> io::Result<usize> {
        Ok(self.list_full_logs()?.len())
    }

    /// The engine never replays its log nor shortens it, and a log is larger than the vectors in it. What is needed of
    /// it is where it ends, as numbers of operations must go on from there: so all full files but the last can go.
    /// Only while the shard is closed and flushed.
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

    fn create(&self, collection: &CollectionSpec) -> Result<(), StoreError> {
        let new = self.path.join("shard.new");
        let make = || -> io::Result<()> {
            if new.exists() {
                fs::remove_dir_all(&new)?;
            }
            fs::create_dir(&new)?;
            fs::write(new.join(COLLECTION_FILE), serde_json::to_vec_pretty(collection)?)?;
            File::open(new.join(COLLECTION_FILE))?.sync_all()
        };
        make().map_err(|error| io_failed(&new, &error))?;
        guarded(|| {
            let shard = EdgeShard::new(&new, config(collection)).map_err(failed)?;
            upgrade::create_indexes(&shard)
        })?;
        fs::rename(&new, self.shard())
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|error| io_failed(&self.path, &error))
    }

    fn read_collection(&self) -> Result<CollectionSpec, StoreError> {
        let file = self.shard().join(COLLECTION_FILE);
        let text = fs::read(&file).map_err(|error| self.corrupt(&format!("{}: {error}", file.display())))?;
        serde_json::from_slice(&text).map_err(|error| self.corrupt(&format!("{}: {error}", file.display())))
    }

    pub(super) fn corrupt(&self, problem: &str) -> StoreError {
        StoreError::Corrupt {
            path: self.path.display().to_string(),
            problem: format!(
                "{problem}; put back a backup of this folder, or remove it and index again (the videos are untouched)"
            ),
        }
    }

    pub(super) fn shard(&self) -> PathBuf {
        self.path.join("shard")
    }

    fn unclean(&self) -> PathBuf {
        self.path.join("unclean")
    }
}

/// The engine locks its log too, but tells a locked folder from a broken one only in words.
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

pub(super) fn io_failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Other(format!("{}: {error}", path.display()))
}

/// Vectors, payloads, graph and payload indexes are mapped from disk: the operating system keeps in memory what is
/// used, and gives it back under pressure.
pub(super) fn config(collection: &CollectionSpec) -> EdgeConfig {
    let graph = HnswIndexConfig { m: 16, ef_construct: 100, on_disk: Some(true), ..HnswIndexConfig::default() };
    let vector = EdgeVectorParams::builder(collection.dim, Distance::Cosine).on_disk(true).build();
    let mut vectors = HashMap::from([(DEFAULT_VECTOR_NAME.to_owned(), vector)]);
    let mut optimizers = EdgeOptimizersConfig::default();
    if let Some(dim) = collection.feature_dim {
        // Other distances would bring them to unit length.
        let features = EdgeVectorParams::builder(dim, Distance::Dot)
            .multivector_config(MultiVectorConfig::default())
            .datatype(VectorStorageDatatype::Float16)
            .hnsw_config(HnswIndexConfig { m: 0, ..graph })
            .on_disk(true)
            .build();
        vectors.insert(vector_name::FEATURES.to_owned(), features);
        optimizers.max_segment_size = Some(SEGMENT_KB_WITH_FEATURES);
    }
    let caption = EdgeSparseVectorParams::builder().modifier(Modifier::Idf).on_disk(true).build();
    EdgeConfig {
        on_disk_payload: true,
        vectors,
        sparse_vectors: HashMap::from([(vector_name::CAPTION.to_owned(), caption)]),
        hnsw_config: graph,
        optimizers,
        ..EdgeConfig::default()
    }
}

pub(super) fn indexes() -> [(&'static str, PayloadFieldSchema); 6] {
    let keyword = || PayloadSchemaParams::Keyword(KeywordIndexParams { on_disk: Some(true), ..Default::default() });
    let uuid = PayloadSchemaParams::Uuid(UuidIndexParams { on_disk: Some(true), ..Default::default() });
    let integer = PayloadSchemaParams::Integer(IntegerIndexParams {
        lookup: Some(false),
        range: Some(true),
        on_disk: Some(true),
        ..Default::default()
    });
    [
        (field::MEDIA_ID, PayloadFieldSchema::FieldParams(uuid)),
        (field::LABEL, PayloadFieldSchema::FieldParams(keyword())),
        (field::TAGS, PayloadFieldSchema::FieldParams(keyword())),
        (field::WALL_MS, PayloadFieldSchema::FieldParams(integer)),
        (field::PLAN, PayloadFieldSchema::FieldParams(keyword())),
        (field::CAPTION_WORDS, PayloadFieldSchema::FieldParams(keyword())),
    ]
}
