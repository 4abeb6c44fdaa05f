//! Records in, nearest records out. One trait, three implementations that pass one suite (`tests/it/store.rs`):
//! [`edge`] (embedded Qdrant, a folder), [`qdrant`] (a server over gRPC), [`memory`] (exact; the reference for the others).
//!
//! A [`Catalog`] holds the collections of one store. A collection ([`CollectionSpec`]) holds the vectors of one bundle
//! and belongs to one ledger; other bundles and ledgers are refused. Beside its vector a record may have a caption,
//! which is searched by its words ([`bm25`]), and the features of some of its frames, which are only stored and
//! returned.
//!
//! # Frame features
//!
//! Windows overlap, but each frame is kept once, by one of the records whose windows contain it (`ingest::kept` chooses
//! the record). The frames of a window, or of any stretch of time, may therefore be spread over several records, and
//! [`VectorStore::frames`] asks for them by medium, plan and time. A record keeps a float16 matrix with a row per frame
//! (a multi-vector without a graph). Its payload holds the frames' times in whole nanoseconds, so that they come back
//! exactly. The times are indexed, so that a stretch is found without reading other records. They are not part of
//! [`Payload`]: neither a search nor an export shows them.

mod bm25;
mod catalog;
#[cfg(feature = "edge")]
pub mod edge;
mod error;
pub mod memory;
#[cfg(feature = "qdrant")]
pub mod qdrant;
mod record;

use std::path::PathBuf;
use std::sync::Arc;
#[cfg(any(feature = "edge", feature = "qdrant"))]
use std::time::Duration;

use async_trait::async_trait;
use half::f16;
use uuid::Uuid;

pub use catalog::{Catalog, CollectionSpec, Found, IndexParams, MemoryCatalog};
pub use error::StoreError;
pub use record::{
    Annotation, DayTime, Features, Filter, Hit, KeptFrame, Key, OfSource, Page, Payload, Query, RRF_K, Record,
    Selection, Stretch, Tally, Wanted,
};

use crate::embed::Feature;
use crate::secret::{Secret, SecretUrl};
use crate::source::MediaId;

/// Where the vectors are kept.
#[derive(Clone)]
pub enum StoreChoice {
    /// In this process, a folder per collection under `dir`.
    Edge { dir: PathBuf },
    /// On a server or cluster, over gRPC (usually port 6334).
    Qdrant { url: SecretUrl, api_key: Option<Secret> },
}

/// The catalog of this store; `namespace` is put before each collection name. Nothing is opened or connected yet. Fails
/// if the store is not built in or its address is invalid.
#[cfg_attr(not(any(feature = "edge", feature = "qdrant")), allow(unused_variables, reason = "no store is built in"))]
pub fn catalog(choice: &StoreChoice, namespace: &str, index: IndexParams) -> Result<Arc<dyn Catalog>, StoreError> {
    match choice {
        #[cfg(feature = "edge")]
        StoreChoice::Edge { dir } => Ok(Arc::new(edge::EdgeCatalog::new(dir, namespace, index))),
        #[cfg(feature = "qdrant")]
        StoreChoice::Qdrant { url, api_key } => {
            Ok(Arc::new(qdrant::QdrantCatalog::new(url, api_key.as_ref(), namespace, index)?))
        }
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

/// The records of one collection.
#[async_trait]
pub trait VectorStore: Send + Sync {
    /// Adds records or overwrites those with the same id. Durable only after the next [`flush`](Self::flush).
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError>;
    /// The best records first; ties in the order of ids.
    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError>;
    /// Returns how many records were deleted.
    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError>;
    /// Replaces label and tags in all records of a medium.
    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError>;
    /// One page of records with their vectors but without frame features, in the order of ids, with ids greater than
    /// `after`.
    async fn scan(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError>;
    /// The same without reading any vector.
    async fn keys(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Key>, StoreError>;
    /// The record with this id, with its vector but without frame features.
    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError>;
    /// The kept frames of each stretch, in the order of time: one list per stretch.
    async fn frames(&self, stretches: &[Stretch]) -> Result<Vec<Vec<KeptFrame>>, StoreError>;
    /// Number of records that have features of at least one frame; all records or those of a selection.
    async fn with_frames(&self, selection: Option<&Selection>) -> Result<u64, StoreError>;
    /// Number of records, all or those of a selection.
    async fn count(&self, selection: Option<&Selection>) -> Result<u64, StoreError>;
    /// Number of records whose captions have words.
    async fn captions(&self) -> Result<u64, StoreError>;
    /// Returns when all earlier writes survive a `kill -9`.
    async fn flush(&self) -> Result<(), StoreError>;
    /// Number of records that are searched one by one because no graph holds them, not counting those in segments too
    /// small for a graph. 0 for a store that maintains its graph by itself.
    async fn outside_graph(&self) -> Result<u64, StoreError>;
    /// Builds the graph that makes search fast (HNSW). Reads, writes and flushes go on meanwhile. It cannot be stopped,
    /// but dropping the future or ending the process loses no records.
    async fn optimize(&self) -> Result<(), StoreError>;
}

/// Whether this text has words that captions can be searched by; stop words and punctuation do not count.
pub fn has_words(text: &str) -> bool {
    !bm25::words(text).is_empty()
}

/// Best first; ties in the order of ids, because the engines leave their order open.
fn sort_hits(hits: &mut [Hit]) {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
}

/// The payload fields that records are filtered by.
#[cfg(any(feature = "edge", feature = "qdrant"))]
mod field {
    pub(super) const MEDIA_ID: &str = "media_id";
    pub(super) const SOURCE: &str = "source";
    pub(super) const LABEL: &str = "label";
    pub(super) const TAGS: &str = "tags";
    pub(super) const WALL_MS: &str = "wall_ms";
    pub(super) const MINUTE_OF_DAY: &str = "minute_of_day";
    /// Compared within one medium only, so it has no index of its own.
    pub(super) const START_S: &str = "start_s";
    pub(super) const PLAN: &str = "plan";
    /// The distinct words of the caption, from our own tokenizer. The engine's full-text index splits words differently
    /// by language and build, and a filter must let through what the search finds.
    pub(super) const CAPTION_WORDS: &str = "caption_words";
    /// Times of the frames whose features the record keeps, in the order of the rows.
    pub(super) const FRAMES_NS: &str = "frames_ns";
    /// There and true where the first of them is held (`Record::held`).
    pub(super) const HELD: &str = "held";
}

/// The vectors of a record beside the unnamed one that it is searched by.
#[cfg(any(feature = "edge", feature = "qdrant"))]
mod vector_name {
    /// A row per frame, float16, without a graph.
    pub(super) const FEATURES: &str = "features";
    /// Sparse: the caption's words.
    pub(super) const CAPTION: &str = "caption";
}

/// The engines limit the size of a segment by its largest vectors, and each segment has a graph of its own. Frame
/// features are large (6 KB for 6 frames of 512 values), so the default limit would give many small graphs.
#[cfg(any(feature = "edge", feature = "qdrant"))]
const SEGMENT_KB_WITH_FEATURES: usize = 4 << 20;
/// Where a filter leaves less of a segment, its vectors are looked at one by one: exact, and for 12 500 of 512 values as fast
/// as the graph.
#[cfg(any(feature = "edge", feature = "qdrant"))]
const FULL_SCAN_KB: usize = 25_000;

/// Candidates taken from the search among 8-bit copies for each wanted record; the full vectors rescore them.
#[cfg(any(feature = "edge", feature = "qdrant"))]
const OVERSAMPLING: f64 = 2.0;

/// Rounded to float16, so that every store returns the same values.
fn rounded(features: &[Feature]) -> Vec<Vec<f32>> {
    let round = |value: &f32| f16::from_f32(*value).to_f32();
    features.iter().map(|feature| feature.values.iter().map(round).collect()).collect()
}

/// The payload of a record, with the fields that are derived for filters.
#[cfg(any(feature = "edge", feature = "qdrant"))]
fn payload_to_json(record: &Record) -> serde_json::Map<String, serde_json::Value> {
    let mut map = match serde_json::to_value(&record.payload) {
        Ok(serde_json::Value::Object(map)) => map,
        other => unreachable!("a payload is an object of plain fields, not {other:?}"),
    };
    if let Some(caption) = &record.payload.caption {
        map.insert(field::CAPTION_WORDS.to_owned(), bm25::distinct_words(caption).into_iter().collect());
    }
    if !record.features.is_empty() {
        // Fits: no time is later than `decode::LATEST`.
        let nanos = |feature: &Feature| i64::try_from(feature.pts.as_nanos()).unwrap_or(i64::MAX);
        map.insert(field::FRAMES_NS.to_owned(), record.features.iter().map(nanos).collect());
    }
    if record.held {
        map.insert(field::HELD.to_owned(), true.into());
    }
    map
}

/// The frames of one stored record that lie in a stretch, from its payload and its feature rows.
#[cfg(any(feature = "edge", feature = "qdrant"))]
fn kept_frames(
    record: Uuid,
    map: serde_json::Map<String, serde_json::Value>,
    rows: Features,
    stretch: &Stretch,
) -> Result<Vec<KeptFrame>, StoreError> {
    let Times { frames_ns, held } = fields_from_json(map)?;
    if frames_ns.len() != rows.len() {
        return Err(StoreError::Other(format!(
            "record {record} has features of {} frames and times of {}: `clipseek verify --repair` has its file indexed \
             again",
            rows.len(),
            frames_ns.len()
        )));
    }
    let frames = frames_ns.into_iter().map(Duration::from_nanos).zip(rows).enumerate();
    let frames = frames.filter(|(_, (time, _))| stretch.holds(*time));
    let frame = |(n, (pts, values))| KeptFrame { record, held: held && n == 0, feature: Feature { pts, values } };
    Ok(frames.map(frame).collect())
}

#[cfg(any(feature = "edge", feature = "qdrant"))]
#[derive(serde::Deserialize)]
struct Times {
    #[serde(default)]
    frames_ns: Vec<u64>,
    #[serde(default)]
    held: bool,
}

fn sort_frames(frames: &mut [KeptFrame]) {
    frames.sort_by_key(|frame| frame.feature.pts);
}

#[cfg(any(feature = "edge", feature = "qdrant"))]
fn fields_from_json<T: serde::de::DeserializeOwned>(
    map: serde_json::Map<String, serde_json::Value>,
) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::Object(map))
        .map_err(|error| StoreError::Other(format!("a stored record cannot be read: {error}")))
}

/// The payload fields that a [`Key`] is read from.
#[cfg(any(feature = "edge", feature = "qdrant"))]
const KEY_FIELDS: [&str; 4] = [field::MEDIA_ID, field::PLAN, "complete", field::FRAMES_NS];

#[cfg(any(feature = "edge", feature = "qdrant"))]
fn key_from_json(id: Uuid, map: serde_json::Map<String, serde_json::Value>) -> Result<Key, StoreError> {
    #[derive(serde::Deserialize)]
    struct Fields {
        media_id: MediaId,
        plan: String,
        complete: Option<Tally>,
        #[serde(default)]
        frames_ns: Vec<u64>,
    }
    let Fields { media_id, plan, complete, frames_ns } = fields_from_json(map)?;
    let frames = frames_ns.into_iter().map(Duration::from_nanos).collect();
    Ok(Key { id, media_id, plan, complete, frames })
}

#[cfg(any(feature = "edge", feature = "qdrant"))]
fn annotation_to_json(annotation: &Annotation) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::json!({ "label": annotation.label, "tags": annotation.tags }) {
        serde_json::Value::Object(map) => map,
        other => unreachable!("an annotation is an object, not {other:?}"),
    }
}
