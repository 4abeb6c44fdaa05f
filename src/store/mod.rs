//! Records in, nearest records out. One trait, three implementations that pass one suite (`tests/it/store.rs`):
//! [`edge`] (embedded Qdrant, a folder), [`qdrant`] (a server over gRPC), [`memory`] (exact; the judge).
//!
//! A store is opened for one collection ([`CollectionSpec`]), and a collection holds the vectors of one bundle: [`open`]
//! refuses any other. Beside its vector a record may have a caption, which is found by its words ([`bm25`]), and the
//! features of its frames, which are only kept and given back.

mod bm25;
#[cfg(feature = "edge")]
pub mod edge;
pub mod memory;
#[cfg(feature = "qdrant")]
pub mod qdrant;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use half::f16;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::embed::Embedding;
use crate::source::MediaId;

/// A collection and whose vectors it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionSpec {
    /// Letters, digits, `_`, `-` and `.`: it names a folder and a collection on a server.
    pub name: String,
    pub dim: usize,
    /// Content hash of the bundle.
    pub bundle: String,
    /// Length of the frame features kept with each record; absent: none are added. Given for a collection that was
    /// made without, they are kept from then on.
    #[serde(skip)] // the engines know it
    pub feature_dim: Option<usize>,
}

impl CollectionSpec {
    fn check_name(&self) -> Result<(), StoreError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(allowed) {
            return Err(StoreError::Other(format!(
                "collection name {:?}: only letters, digits, '_', '-' and '.' are allowed, and no '.' first",
                self.name
            )));
        }
        Ok(())
    }

    /// Whether this bundle may use what is there; `found.feature_dim` is not looked at.
    fn accept(&self, found: &CollectionSpec) -> Result<(), StoreError> {
        if found.bundle != self.bundle {
            return Err(StoreError::Foreign { collection: self.name.clone(), found: found.bundle.clone() });
        }
        self.accept_dim(found.dim)
    }

    fn accept_dim(&self, found: usize) -> Result<(), StoreError> {
        if found != self.dim {
            return Err(StoreError::Dimension { collection: self.name.clone(), expected: found, actual: self.dim });
        }
        Ok(())
    }

    fn accept_feature_dim(&self, found: usize) -> Result<(), StoreError> {
        match self.feature_dim {
            Some(actual) if actual != found => {
                Err(StoreError::FeatureDimension { collection: self.name.clone(), expected: found, actual })
            }
            _ => Ok(()),
        }
    }

    fn check_records(&self, records: &[Record]) -> Result<(), StoreError> {
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
        for row in &record.features {
            if row.len() != expected {
                let (collection, actual) = (self.name.clone(), row.len());
                return Err(StoreError::FeatureDimension { collection, expected, actual });
            }
            if let Some(value) = row.iter().find(|value| !f16::from_f32(**value).is_finite()) {
                return Err(StoreError::Other(format!("record {id}: frame feature {value} is no number of 16 bits")));
            }
        }
        Ok(())
    }

    fn check_vector(&self, vector: &Embedding) -> Result<(), StoreError> {
        let actual = vector.as_slice().len();
        if actual != self.dim {
            return Err(StoreError::Dimension { collection: self.name.clone(), expected: self.dim, actual });
        }
        Ok(())
    }
}

/// Where the vectors are kept.
#[derive(Clone)]
pub enum StoreChoice {
    /// In this process, a folder per collection under `dir`.
    Edge { dir: PathBuf },
    /// On a server or cluster, over gRPC (usually port 6334).
    Qdrant { url: String, api_key: Option<String> },
    /// Nowhere: gone with the process.
    Memory,
}

/// Opens the collection, making it where it is missing.
pub async fn open(choice: &StoreChoice, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
    collection.check_name()?;
    match choice {
        #[cfg(feature = "edge")]
        StoreChoice::Edge { dir } => {
            let (dir, collection) = (dir.clone(), collection.clone());
            let opened = tokio::task::spawn_blocking(move || edge::EdgeStore::open(&dir, &collection)).await;
            Ok(Arc::new(opened.map_err(|error| StoreError::Other(error.to_string()))??))
        }
        #[cfg(feature = "qdrant")]
        StoreChoice::Qdrant { url, api_key } => {
            Ok(Arc::new(qdrant::QdrantStore::open(url, api_key.as_deref(), collection).await?))
        }
        StoreChoice::Memory => Ok(Arc::new(memory::MemoryStore::new(collection))),
        #[cfg(not(feature = "edge"))]
        StoreChoice::Edge { .. } => Err(not_built("edge")),
        #[cfg(not(feature = "qdrant"))]
        StoreChoice::Qdrant { .. } => Err(not_built("qdrant")),
    }
}

#[cfg(not(all(feature = "edge", feature = "qdrant")))]
fn not_built(feature: &str) -> StoreError {
    StoreError::Other(format!("this clipseek was built without the feature {feature:?}: build it with that feature"))
}

/// A row per frame, in time order, not normalised.
pub type Features = Vec<Arc<[f32]>>;

/// One window in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: Uuid,
    pub vector: Embedding,
    pub payload: Payload,
    /// Of the window's frames; empty where the collection keeps none. Rounded to float16 by the store, which gives them
    /// back by [`VectorStore::features`] only: they are large.
    pub features: Features,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    pub media_id: MediaId,
    /// Percent-encoded URI of the medium.
    pub uri: String,
    pub label: Option<String>,
    pub tags: Vec<String>,
    /// From the start of the medium; stored in seconds.
    #[serde(rename = "start_s", with = "seconds")]
    pub start: Duration,
    #[serde(rename = "end_s", with = "seconds")]
    pub end: Duration,
    /// Wall clock at `start`, Unix milliseconds, where it is known.
    pub wall_ms: Option<i64>,
    /// What the bundle's decoder says of the window; `None` and a caption without words are found by no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// How the medium was cut and sampled (see `ingest::plan_key`); records of an older plan are removed once the new
    /// ones are in.
    pub plan: String,
}

/// Narrowing applied inside the index. Empty fields do not narrow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// `Some(vec![])` matches nothing.
    pub media: Option<Vec<MediaId>>,
    pub label: Option<String>,
    /// All of these must be there.
    pub tags: Vec<String>,
    /// Wall clock, Unix milliseconds: `after <= wall_ms < before`; records without wall clock do not match.
    pub after_ms: Option<i64>,
    pub before_ms: Option<i64>,
    /// All of these words must be in the caption, in any order, case and inflection; without words (`"the"`, `"!"`)
    /// nothing matches.
    pub caption: Option<String>,
}

impl Filter {
    /// What engines would take for "no narrowing".
    fn matches_nothing(&self) -> bool {
        self.media.as_ref().is_some_and(Vec::is_empty)
            || self.caption.as_ref().is_some_and(|caption| bm25::distinct_words(caption).is_empty())
    }
}

/// Whether there is anything in this text that a caption could be found by: stop words and signs are not.
pub fn has_words(text: &str) -> bool {
    !bm25::words(text).is_empty()
}

#[derive(Clone, Debug)]
pub struct Query {
    pub wanted: Wanted,
    pub limit: usize,
    pub filter: Filter,
}

/// What records are compared with.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Every record, by cosine similarity.
    Vector(Embedding),
    /// Those records whose captions have at least one of the words, by BM25. The counts behind it are those of the
    /// collection, or on a server with several shards those of each shard.
    Text(String),
    /// The best [`Query::limit`] of both lists, fused by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009):
    /// the sum over the lists of 1 / ([`RRF_K`] + rank), ranks from 1.
    Hybrid(Embedding, String),
}

/// The constant of the paper.
pub const RRF_K: usize = 60;

/// Best first; ties in the order of ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: Uuid,
    /// As [`Wanted`] says.
    pub score: f32,
    pub payload: Payload,
}

/// Which records of one medium are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    pub media_id: MediaId,
    /// Only records whose plan is another than this one.
    pub except_plan: Option<String>,
}

/// What a person may change about a medium without embedding it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    pub uri: String,
    pub label: Option<String>,
    pub tags: Vec<String>,
}

/// A page of a scan in the order of ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end.
    pub next: Option<Uuid>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("collection {collection} holds {expected}-dimensional vectors, the model makes {actual}")]
    Dimension { collection: String, expected: usize, actual: usize },
    #[error("collection {collection} keeps frame features of {expected} values, the model makes {actual}")]
    FeatureDimension { collection: String, expected: usize, actual: usize },
    #[error("collection {collection} belongs to another model ({found})")]
    Foreign { collection: String, found: String },
    /// Another process has it open.
    #[error("{path} is in use by another clipseek process: wait for it, or give this one another --data folder")]
    Locked { path: String },
    #[error("{path} cannot be opened: {problem}")]
    Corrupt { path: String, problem: String },
    #[error("cannot reach Qdrant at {url}: {problem}")]
    Unreachable { url: String, problem: String },
    #[error("store: {0}")]
    Other(String),
}

#[async_trait]
pub trait VectorStore: Send + Sync {
    /// Adds or overwrites by id. Confirmed only by the next [`flush`](Self::flush).
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError>;
    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError>;
    /// Returns how many records went.
    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError>;
    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError>;
    /// One page of records with vectors, ids greater than `after`, narrowed by `media` where given.
    async fn scan(&self, media: Option<MediaId>, after: Option<Uuid>, limit: usize) -> Result<Page, StoreError>;
    /// The record with this id, with its vector.
    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError>;
    /// The frame features of these records, in their order; empty where none are kept or there is no such record.
    async fn features(&self, ids: &[Uuid]) -> Result<Vec<Features>, StoreError>;
    /// Records in all, or of one medium.
    async fn count(&self, media: Option<MediaId>) -> Result<u64, StoreError>;
    /// Records whose captions have words.
    async fn captions(&self) -> Result<u64, StoreError>;
    /// Returns when everything above survives a `kill -9`.
    async fn flush(&self) -> Result<(), StoreError>;
    /// Builds what makes search fast (HNSW); called in pauses of ingestion.
    async fn optimize(&self) -> Result<(), StoreError>;
}

/// Best first; ties in the order of ids, which the engines leave open.
fn sort_hits(hits: &mut [Hit]) {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
}

/// The fields of a payload by which records are found.
#[cfg(any(feature = "edge", feature = "qdrant"))]
mod field {
    pub(super) const MEDIA_ID: &str = "media_id";
    pub(super) const LABEL: &str = "label";
    pub(super) const TAGS: &str = "tags";
    pub(super) const WALL_MS: &str = "wall_ms";
    pub(super) const PLAN: &str = "plan";
    /// The distinct words of the caption. Words of our own, not the engine's full-text index: its cutting differs by
    /// language and by how the server was built, and a filter must let through what the search finds.
    pub(super) const CAPTION_WORDS: &str = "caption_words";
}

/// The vectors of a record beside the unnamed one that it is searched by.
#[cfg(any(feature = "edge", feature = "qdrant"))]
mod vector_name {
    /// A row per frame, float16, without a graph.
    pub(super) const FEATURES: &str = "features";
    /// Sparse: the caption's words.
    pub(super) const CAPTION: &str = "caption";
}

/// A segment of the engines grows to a size that is measured by its largest vectors and each segment has a graph of its
/// own to be searched, so with frame features (12 KB for 12 frames of 512) the usual limit would give many small graphs.
#[cfg(any(feature = "edge", feature = "qdrant"))]
const SEGMENT_KB_WITH_FEATURES: usize = 4 << 20;

/// As they are stored, so that every store gives back the same.
fn rounded(features: &[Arc<[f32]>]) -> Vec<Vec<f32>> {
    let round = |value: &f32| f16::from_f32(*value).to_f32();
    features.iter().map(|row| row.iter().map(round).collect()).collect()
}

#[cfg(any(feature = "edge", feature = "qdrant"))]
fn payload_to_json(payload: &Payload) -> serde_json::Map<String, serde_json::Value> {
    let mut map = match serde_json::to_value(payload) {
        Ok(serde_json::Value::Object(map)) => map,
        other => unreachable!("a payload is an object of plain fields, not {other:?}"),
    };
    if let Some(caption) = &payload.caption {
        map.insert(field::CAPTION_WORDS.to_owned(), bm25::distinct_words(caption).into_iter().collect());
    }
    map
}

#[cfg(any(feature = "edge", feature = "qdrant"))]
fn payload_from_json(map: serde_json::Map<String, serde_json::Value>) -> Result<Payload, StoreError> {
    serde_json::from_value(serde_json::Value::Object(map))
        .map_err(|error| StoreError::Other(format!("a stored record cannot be read: {error}")))
}

#[cfg(any(feature = "edge", feature = "qdrant"))]
fn annotation_to_json(annotation: &Annotation) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::json!({ "uri": annotation.uri, "label": annotation.label, "tags": annotation.tags }) {
        serde_json::Value::Object(map) => map,
        other => unreachable!("an annotation is an object, not {other:?}"),
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}
