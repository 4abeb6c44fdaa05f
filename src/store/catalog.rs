//! The collections of one store: which there are, whose they are, and opening, taking over and dropping them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use half::f16;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::memory::MemoryStore;
use super::{Record, StoreError, VectorStore};
use crate::embed::Embedding;

/// A collection and whose vectors it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionSpec {
    /// Letters, digits, `_`, `-` and `.`: it names a folder and, behind the namespace, a collection on a server.
    pub name: String,
    pub dim: usize,
    /// Content hash of the bundle.
    pub bundle: String,
    /// Id of the ledger that knows the media in it.
    pub owner: Uuid,
    /// Length of a frame's feature; `None`: the bundle's frames have none. A collection has room for them from the start,
    /// whether they are kept or not.
    pub feature_dim: Option<usize>,
}

/// How vectors are held and searched. Changed settings reach an existing collection when it is opened; its graph follows
/// when it is next optimized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexParams {
    /// Search a copy of the vectors rounded to 8 bits, and judge what that finds by the vectors themselves.
    pub int8: bool,
    /// Map vectors from disk instead of holding them in memory.
    pub on_disk: bool,
    /// Edges per node of the graph (HNSW's m).
    pub hnsw_m: usize,
    /// Neighbours looked at while the graph is built (HNSW's ef_construct).
    pub hnsw_ef_construct: usize,
    /// Neighbours looked at while it is searched (HNSW's ef).
    pub hnsw_ef: usize,
}

impl Default for IndexParams {
    fn default() -> Self {
        Self { int8: false, on_disk: true, hnsw_m: 16, hnsw_ef_construct: 100, hnsw_ef: 128 }
    }
}

/// A collection of clipseek's that is there. Its records may be of any plan and medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub bundle: String,
    pub owner: Uuid,
}

#[async_trait]
pub trait Catalog: Send + Sync {
    /// Whether all that is in it belongs to whoever opens it, as in a store that lies in its data folder. Of a server only
    /// what the owner's id says.
    fn takes_any_owner(&self) -> bool;
    /// What there is in this namespace, in the order of names; collections that are not clipseek's are left out.
    async fn list(&self) -> Result<Vec<Found>, StoreError>;
    /// Opens the collection, making it where it is missing. Refuses one of another model or another owner; an embedded
    /// one always belongs to the data folder that it lies in, and takes its new owner.
    async fn open(&self, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError>;
    /// Opens what is there without knowing its model; `None`: there is no such collection. Owners as for `open`.
    async fn open_existing(&self, name: &str, owner: Uuid) -> Result<Option<Arc<dyn VectorStore>>, StoreError>;
    /// Gives a collection to another owner.
    async fn adopt(&self, name: &str, owner: Uuid) -> Result<(), StoreError>;
    /// Removes a collection with all that is in it; none there is no error.
    async fn remove(&self, name: &str) -> Result<(), StoreError>;
}

/// Of what is written beside a collection's vectors; raised when an older clipseek's can no longer be read.
#[cfg(any(feature = "edge", feature = "qdrant"))]
pub(super) const FORMAT: u64 = 1;

#[cfg(any(feature = "edge", feature = "qdrant"))]
pub(super) fn check_format(found: Option<u64>, place: String) -> Result<(), StoreError> {
    match found {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => Err(StoreError::Other(format!("{place} was written by a newer clipseek"))),
        _ => Err(StoreError::Outdated { place }),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(StoreError::Other(format!(
            "collection name {name:?}: only letters, digits, '_', '-' and '.' are allowed, and no '.' first"
        )));
    }
    Ok(())
}

impl CollectionSpec {
    /// Whether this bundle and owner may use what is there.
    pub(super) fn accept(&self, found: &CollectionSpec) -> Result<(), StoreError> {
        let collection = || self.name.clone();
        if found.bundle != self.bundle {
            return Err(StoreError::OtherModel { collection: collection(), found: found.bundle.clone() });
        }
        if found.dim != self.dim {
            return Err(StoreError::Dimension { collection: collection(), expected: found.dim, actual: self.dim });
        }
        match (found.feature_dim, self.feature_dim) {
            (expected, actual) if expected == actual => {}
            // The same bundle without room for what its frames give.
            (None, _) => return Err(StoreError::Outdated { place: format!("collection {}", self.name) }),
            (Some(expected), actual) => {
                let actual = actual.unwrap_or(0);
                return Err(StoreError::FeatureDimension { collection: collection(), expected, actual });
            }
        }
        self.accept_owner(found.owner)
    }

    pub(super) fn accept_owner(&self, owner: Uuid) -> Result<(), StoreError> {
        if owner != self.owner {
            return Err(StoreError::OtherOwner { collection: self.name.clone(), owner });
        }
        Ok(())
    }

    pub(super) fn check_records(&self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            self.check_vector(&record.vector)?;
            self.check_features(record)?;
        }
        Ok(())
    }

    fn check_features(&self, record: &Record) -> Result<(), StoreError> {
        let id = record.id;
        if record.features.is_empty() {
            return Ok(());
        }
        let Some(expected) = self.feature_dim else {
            return Err(StoreError::Other(format!("record {id} has frame features, its collection keeps none")));
        };
        for feature in &record.features {
            if feature.values.len() != expected {
                let (collection, actual) = (self.name.clone(), feature.values.len());
                return Err(StoreError::FeatureDimension { collection, expected, actual });
            }
            if let Some(value) = feature.values.iter().find(|value| !f16::from_f32(**value).is_finite()) {
                return Err(StoreError::Other(format!(
                    "record {id}: frame feature {value} is no number of 16 bits: index without frame features \
                     (index.frame_features = false)"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn check_vector(&self, vector: &Embedding) -> Result<(), StoreError> {
        let actual = vector.as_slice().len();
        if actual != self.dim {
            return Err(StoreError::Dimension { collection: self.name.clone(), expected: self.dim, actual });
        }
        Ok(())
    }
}

/// Collections in memory: gone with the process.
#[derive(Clone, Default)]
pub struct MemoryCatalog {
    collections: Arc<Mutex<BTreeMap<String, MemoryStore>>>,
}

impl MemoryCatalog {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, MemoryStore>) -> T) -> T {
        work(&mut self.collections.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    fn takes_any_owner(&self) -> bool {
        false
    }

    async fn list(&self) -> Result<Vec<Found>, StoreError> {
        let found = |store: &MemoryStore| {
            let CollectionSpec { name, bundle, owner, .. } = store.collection().clone();
            Found { name, bundle, owner }
        };
        Ok(self.with(|collections| collections.values().map(found).collect()))
    }

    async fn open(&self, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
        check_name(&collection.name)?;
        self.with(|collections| {
            let store = match collections.get(&collection.name) {
                Some(store) => store.reopen(collection)?,
                None => MemoryStore::new(collection),
            };
            collections.insert(collection.name.clone(), store.clone());
            Ok(Arc::new(store) as Arc<dyn VectorStore>)
        })
    }

    async fn open_existing(&self, name: &str, owner: Uuid) -> Result<Option<Arc<dyn VectorStore>>, StoreError> {
        let Some(found) = self.with(|collections| collections.get(name).cloned()) else { return Ok(None) };
        let spec = CollectionSpec { owner, ..found.collection().clone() };
        spec.accept(found.collection())?;
        Ok(Some(Arc::new(found)))
    }

    async fn adopt(&self, name: &str, owner: Uuid) -> Result<(), StoreError> {
        self.with(|collections| {
            if let Some(store) = collections.get_mut(name) {
                store.adopt(owner);
            }
        });
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.with(|collections| collections.remove(name));
        Ok(())
    }
}
