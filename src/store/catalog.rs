//! The collections of one store: listing, opening, taking over and removing them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use half::f16;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::memory::MemoryStore;
use super::{Record, StoreError, VectorStore};
use crate::embed::Embedding;

/// A collection, and the bundle and ledger that its vectors belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionSpec {
    /// Letters, digits, `_`, `-` and `.`: it names a folder and, behind the namespace, a collection on a server.
    pub name: String,
    pub dim: usize,
    /// Content hash of the bundle.
    pub bundle: String,
    /// Id of the ledger that tracks the media in this collection.
    pub owner: Uuid,
    /// Values per frame feature; `None`: the bundle has no frame features. The collection reserves room for features
    /// whether or not they are kept.
    pub feature_dim: Option<usize>,
}

/// How vectors are stored and searched. Changed settings apply to an existing collection when it is opened; its graph
/// follows at the next optimization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexParams {
    /// Search copies of the vectors rounded to 8 bits, then rescore the candidates with the full vectors.
    pub int8: bool,
    /// Map vectors from disk instead of holding them in memory.
    pub on_disk: bool,
    /// Edges per node of the graph (HNSW's m).
    pub hnsw_m: usize,
    /// Candidate neighbours considered for each node while the graph is built (HNSW's ef_construct).
    pub hnsw_ef_construct: usize,
    /// Candidate neighbours considered in each search (HNSW's ef).
    pub hnsw_ef: usize,
}

impl Default for IndexParams {
    fn default() -> Self {
        Self { int8: true, on_disk: true, hnsw_m: 32, hnsw_ef_construct: 200, hnsw_ef: 192 }
    }
}

/// An existing collection that clipseek made. Its records may be of any plan and medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub bundle: String,
    pub owner: Uuid,
}

#[async_trait]
pub trait Catalog: Send + Sync {
    /// Whether opening a collection hands it to the opener, as in a store inside a data folder. On a server a
    /// collection belongs only to the owner in its metadata.
    fn takes_any_owner(&self) -> bool;
    /// The collections in this namespace, sorted by name; collections that clipseek did not make are left out.
    async fn list(&self) -> Result<Vec<Found>, StoreError>;
    /// Opens the collection, creating it if it is missing. A collection of another model is refused. A collection of
    /// another owner is refused on a server; an embedded one belongs to the data folder it lies in, so the new owner
    /// takes it over.
    async fn open(&self, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError>;
    /// Opens a collection without knowing its model; `None`: there is no such collection. Owners as for `open`.
    async fn open_existing(&self, name: &str, owner: Uuid) -> Result<Option<Arc<dyn VectorStore>>, StoreError>;
    /// Gives a collection to another owner. A missing collection is not an error.
    async fn adopt(&self, name: &str, owner: Uuid) -> Result<(), StoreError>;
    /// Removes a collection and its records. A missing collection is not an error.
    async fn remove(&self, name: &str) -> Result<(), StoreError>;
}

/// Version of the metadata stored with each collection. Raise it when older metadata can no longer be read.
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
    /// Checks that this bundle and owner may use the existing collection `found`.
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
            // The same bundle, but made before collections reserved room for frame features.
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
                    "record {id}: frame feature {value} does not fit 16 bits: index without frame features \
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

/// Collections in memory, lost when the process ends.
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
