//! Records in, nearest records out. One trait, three implementations that pass one suite (`tests/it/store.rs`):
//! [`edge`] (embedded Qdrant, a folder), [`qdrant`] (a server over gRPC), [`memory`] (exact; the judge).
//!
//! A store is opened for one collection, and a collection holds the vectors of one bundle.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::embed::Embedding;
use crate::source::MediaId;

/// One window in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: Uuid,
    pub vector: Embedding,
    pub payload: Payload,
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
}

#[derive(Clone, Debug)]
pub struct Query {
    pub vector: Embedding,
    pub limit: usize,
    pub filter: Filter,
}

/// Best first; ties in the order of ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: Uuid,
    /// Cosine similarity.
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
    /// Records in all, or of one medium.
    async fn count(&self, media: Option<MediaId>) -> Result<u64, StoreError>;
    /// Returns when everything above survives a `kill -9`.
    async fn flush(&self) -> Result<(), StoreError>;
    /// Builds what makes search fast (HNSW); called in pauses of ingestion.
    async fn optimize(&self) -> Result<(), StoreError>;
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
