//! `collection.json`: the bundle and owner of a folder's vectors. It is read without opening the shard.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::corrupt;
use crate::store::catalog::{FORMAT, check_format};
use crate::store::{CollectionSpec, Found, StoreError};

const COLLECTION_FILE: &str = "collection.json";

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    format: u64,
    pub(super) namespace: String,
    bundle: String,
    dim: usize,
    pub(super) owner: Uuid,
    feature_dim: Option<usize>,
}

impl Stored {
    pub(super) fn new(namespace: &str, collection: &CollectionSpec) -> Self {
        let CollectionSpec { name: _, dim, bundle, owner, feature_dim } = collection.clone();
        Self { format: FORMAT, namespace: namespace.to_owned(), bundle, dim, owner, feature_dim }
    }

    /// Reads the metadata of the collection in this folder; `None`: there is no collection.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let shard = folder.join("shard");
        if !shard.exists() {
            return Ok(None);
        }
        let file = shard.join(COLLECTION_FILE);
        let broken = |error: &dyn std::fmt::Display| corrupt(folder, &format!("{}: {error}", file.display()));
        let text = fs::read(&file).map_err(|error| broken(&error))?;
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
        check_format(value["format"].as_u64(), folder.display().to_string())?;
        serde_json::from_value(value).map(Some).map_err(|error| broken(&error))
    }

    pub(super) fn of(self, owner: Uuid) -> Self {
        Self { owner, ..self }
    }

    pub(super) fn write(&self, shard: &Path) -> io::Result<()> {
        let (file, new) = (shard.join(COLLECTION_FILE), shard.join("collection.json.new"));
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        File::open(&new)?.sync_all()?;
        fs::rename(new, file)?;
        File::open(shard)?.sync_all()
    }

    pub(super) fn spec(&self, name: &str) -> CollectionSpec {
        let Self { bundle, dim, owner, feature_dim, .. } = self;
        CollectionSpec {
            name: name.to_owned(),
            dim: *dim,
            bundle: bundle.clone(),
            owner: *owner,
            feature_dim: *feature_dim,
        }
    }

    pub(super) fn found(self, name: &str) -> Found {
        Found { name: name.to_owned(), bundle: self.bundle, owner: self.owner }
    }
}
