//! Adds to a shard made by an earlier clipseek, or without frame features, what is kept in it now. Quick, whatever its
//! size: the records that are there have none of it.
//!
//! The engine refuses a shard whose segments differ in their vectors, which is what a process killed within would
//! leave. So the files that say which vectors there are get copied first; where the copies are still there on opening,
//! they are put back. Nothing else is written in between.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use qdrant_edge::{
    CreateIndex, CreateVectorName, DenseVectorConfig, EdgeConfig, EdgeShard, FieldIndexOperations, SparseVectorConfig,
    UpdateOperation, VectorNameConfig, VectorNameOperations,
};

use super::folder::{Folder, config, indexes, io_failed};
use super::{failed, guarded, points};
use crate::store::{CollectionSpec, StoreError, vector_name};

const CONFIG_FILE: &str = "edge_config.json";
const SEGMENT_FILE: &str = "segment.json";

/// The shard with all that `collection` wants; `load` opens it again, with the configuration given.
pub(super) fn complete(
    folder: &Folder,
    shard: EdgeShard,
    collection: &CollectionSpec,
) -> Result<EdgeShard, StoreError> {
    if is_complete(&shard, collection) {
        return Ok(shard);
    }
    let wanted = config(collection);
    save(folder).map_err(|error| io_failed(folder.path(), &error))?;
    guarded(|| {
        add(&shard, &wanted)?;
        drop(shard); // on disk then
        Ok(())
    })?;
    // Where vectors lie and whether they get a graph is told on opening only.
    let shard = folder.load(Some(wanted))?;
    fs::remove_dir_all(saved(folder)).map_err(|error| io_failed(folder.path(), &error))?;
    Ok(shard)
}

fn is_complete(shard: &EdgeShard, collection: &CollectionSpec) -> bool {
    let (found, wanted) = (shard.config(), config(collection));
    let schema = shard.info().payload_schema;
    wanted.vectors.keys().all(|name| found.vectors.contains_key(name))
        && wanted.sparse_vectors.keys().all(|name| found.sparse_vectors.contains_key(name))
        && indexes().iter().all(|(name, _)| schema.contains_key(&points::key(name)))
}

/// All of it may be done again.
fn add(shard: &EdgeShard, wanted: &EdgeConfig) -> Result<(), StoreError> {
    create_indexes(shard)?;
    let has = |name: &String| shard.config().vectors.contains_key(name);
    for (name, params) in wanted.vectors.iter().filter(|(name, _)| !has(name)) {
        let dense = DenseVectorConfig {
            size: params.size,
            distance: params.distance,
            multivector_config: params.multivector_config,
            datatype: params.datatype,
        };
        create_vector(shard, name, VectorNameConfig::dense(dense))?;
    }
    let has = |name: &String| shard.config().sparse_vectors.contains_key(name);
    for (name, params) in wanted.sparse_vectors.iter().filter(|(name, _)| !has(name)) {
        let sparse = SparseVectorConfig { modifier: params.modifier, datatype: params.datatype };
        create_vector(shard, name, VectorNameConfig::sparse(sparse))?;
    }
    Ok(())
}

pub(super) fn create_indexes(shard: &EdgeShard) -> Result<(), StoreError> {
    for (name, schema) in indexes() {
        let index = CreateIndex { field_name: points::key(name), field_schema: Some(schema) };
        shard.update(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(index))).map_err(failed)?;
    }
    Ok(())
}

fn create_vector(shard: &EdgeShard, name: &str, config: VectorNameConfig) -> Result<(), StoreError> {
    let create = CreateVectorName { vector_name: name.to_owned(), config };
    shard.update(UpdateOperation::VectorNameOperation(VectorNameOperations::CreateVectorName(create))).map_err(failed)
}

fn saved(folder: &Folder) -> PathBuf {
    folder.path().join("upgrade")
}

fn save(folder: &Folder) -> io::Result<()> {
    let new = folder.path().join("upgrade.new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    for file in state_files(&folder.shard())? {
        copy(&folder.shard().join(&file), &new.join(&file))?;
    }
    File::open(&new)?.sync_all()?;
    fs::rename(&new, saved(folder))?;
    File::open(folder.path())?.sync_all()
}

/// Before the shard is opened.
pub(super) fn undo_unfinished(folder: &Folder) -> Result<(), StoreError> {
    if !saved(folder).exists() {
        return Ok(());
    }
    undo(folder).map_err(|error| folder.corrupt(&format!("{}: {error}", saved(folder).display())))
}

fn undo(folder: &Folder) -> io::Result<()> {
    let (from, to) = (saved(folder), folder.shard());
    let before: EdgeConfig = serde_json::from_slice(&fs::read(from.join(CONFIG_FILE))?)?;
    let mut added = Vec::new();
    if !before.vectors.contains_key(vector_name::FEATURES) {
        added.push(vector_name::FEATURES);
    }
    if !before.sparse_vectors.contains_key(vector_name::CAPTION) {
        added.push(vector_name::CAPTION);
    }
    for file in state_files(&from)? {
        let segment = to.join(&file);
        for part in added.iter().flat_map(|name| [format!("vector_storage-{name}"), format!("vector_index-{name}")]) {
            match fs::remove_dir_all(segment.with_file_name(part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let new = segment.with_extension("new");
        copy(&from.join(&file), &new)?;
        fs::rename(new, segment)?;
    }
    fs::remove_dir_all(from)
}

/// Relative to the shard.
fn state_files(shard: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from(CONFIG_FILE)];
    for entry in fs::read_dir(shard.join("segments"))? {
        let file = Path::new("segments").join(entry?.file_name()).join(SEGMENT_FILE);
        if shard.join(&file).exists() {
            files.push(file);
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}
