//! The values that stores take and return: records, selections, queries and hits.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::bm25;
use crate::embed::{Embedding, Feature};
use crate::source::MediaId;

/// Features of a window's frames: a row per frame, in the order of time, not normalised.
pub type Features = Vec<Arc<[f32]>>;

/// One window in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: Uuid,
    pub vector: Embedding,
    pub payload: Payload,
    /// Features of the frames that this record keeps, in the order of time. Each frame is kept by one of the records
    /// whose windows contain it, so these may be only some of the window's frames, or none. The store rounds them to
    /// float16 and, because they are large, returns them only by [`VectorStore::frames`](super::VectorStore::frames).
    pub features: Vec<Feature>,
    /// The first of these was on the screen already when the window began. It is kept by this record for its own window
    /// alone, at the time of its start; at its true time another record keeps it.
    pub held: bool,
}

impl Record {
    /// The id is derived from content, window, plan and bundle: it is the same in every data folder, and a replay
    /// overwrites.
    pub fn new(bundle: &str, vector: Embedding, payload: Payload, features: Vec<Feature>, held: bool) -> Self {
        let (start, end) = (payload.start.as_nanos(), payload.end.as_nanos());
        let name = format!("{start}/{end}/{}/{bundle}", payload.plan);
        Self { id: Uuid::new_v5(&payload.media_id.0, name.as_bytes()), vector, payload, features, held }
    }

    /// Times of the kept frames.
    pub fn frame_times(&self) -> Vec<Duration> {
        self.features.iter().map(|feature| feature.pts).collect()
    }

    /// The number that a [`Tally`] adds up for this record.
    pub fn mark(&self) -> u128 {
        mark(self.id, &self.frame_times())
    }
}

/// A digest of the record's id and of the times of its kept frames; without frames just the id.
fn mark(id: Uuid, frames: &[Duration]) -> u128 {
    if frames.is_empty() {
        return id.as_u128();
    }
    let times: Vec<u8> = frames.iter().flat_map(|time| time.as_nanos().to_le_bytes()).collect();
    Uuid::new_v5(&id, &times).as_u128()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    pub media_id: MediaId,
    /// Name of the configured source that the medium came from; `None` for what was indexed by hand.
    pub source: Option<String>,
    pub label: Option<String>,
    pub tags: Vec<String>,
    /// From the start of the medium; stored in seconds.
    #[serde(rename = "start_s", with = "seconds")]
    pub start: Duration,
    #[serde(rename = "end_s", with = "seconds")]
    pub end: Duration,
    /// Wall clock at `start`, Unix milliseconds, where it is known.
    pub wall_ms: Option<i64>,
    /// Minute of the day at `start` in the zone of the source, 0 to 1439, where the wall clock is known.
    pub minute_of_day: Option<u16>,
    /// Caption that the bundle's decoder wrote for the window. A record without a caption, or with a caption without
    /// words, is not found by text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// How the medium was sampled and cut (`Plan::key`).
    pub plan: String,
    /// Set in the last written record of a finished medium: the tally of all records of this medium and plan. A ledger
    /// that was lost and begun anew learns from it that no record is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<Tally>,
}

/// The number of records, and an order-independent digest of them and their kept frames: the wrapping sum of their
/// marks ([`Record::mark`]). Add each record once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub windows: u64,
    #[serde(with = "hexadecimal")]
    pub ids: u128,
}

impl Tally {
    pub fn add(&mut self, mark: u128) {
        self.windows += 1;
        self.ids = self.ids.wrapping_add(mark);
    }
}

impl Extend<u128> for Tally {
    fn extend<T: IntoIterator<Item = u128>>(&mut self, marks: T) {
        marks.into_iter().for_each(|mark| self.add(mark));
    }
}

/// What a person may change about a medium without embedding it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    pub label: Option<String>,
    pub tags: Vec<String>,
}

/// Selects records of one medium.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    pub media_id: MediaId,
    /// `None`: any plan.
    pub plan: Option<String>,
    /// Only windows that start at or after this time.
    pub from: Option<Duration>,
    /// Only windows that start before this time.
    pub to: Option<Duration>,
}

impl Selection {
    pub fn medium(media_id: MediaId) -> Self {
        Self { media_id, plan: None, from: None, to: None }
    }

    pub fn plan(media_id: MediaId, plan: impl Into<String>) -> Self {
        Self { plan: Some(plan.into()), ..Self::medium(media_id) }
    }

    pub(super) fn holds(&self, payload: &Payload) -> bool {
        payload.media_id == self.media_id
            && self.plan.as_ref().is_none_or(|plan| payload.plan == *plan)
            && self.from.is_none_or(|from| payload.start >= from)
            && self.to.is_none_or(|to| payload.start < to)
    }
}

/// A record's identity and owner, without its vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub id: Uuid,
    pub media_id: MediaId,
    pub plan: String,
    /// See [`Payload::complete`].
    pub complete: Option<Tally>,
    /// Times of the frames whose features the record keeps, in order.
    pub frames: Vec<Duration>,
}

impl Key {
    /// The number that a [`Tally`] adds up for this record; see [`Record::mark`].
    pub fn mark(&self) -> u128 {
        mark(self.id, &self.frames)
    }
}

/// A stretch of one medium whose frames are wanted: `from <= time <= to`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    pub media_id: MediaId,
    pub plan: String,
    pub from: Duration,
    pub to: Duration,
}

impl Stretch {
    pub fn new(media_id: MediaId, plan: impl Into<String>, from: Duration, to: Duration) -> Self {
        Self { media_id, plan: plan.into(), from, to }
    }

    pub(super) fn holds(&self, time: Duration) -> bool {
        (self.from..=self.to).contains(&time)
    }

    /// Bounds in nanoseconds for engines that compare in float64, widened because float64 cannot hold every nanosecond.
    #[cfg(any(feature = "edge", feature = "qdrant"))]
    pub(super) fn bounds_ns(&self) -> (f64, f64) {
        ((self.from.as_nanos() as f64).next_down(), (self.to.as_nanos() as f64).next_up())
    }
}

/// A frame's feature, as the store returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptFrame {
    /// The record that keeps it.
    pub record: Uuid,
    /// Kept for that record's window alone, see [`Record::held`].
    pub held: bool,
    /// Its time is exact, its values are rounded to float16.
    pub feature: Feature,
}

/// A page of a scan in the order of ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass as `after` to get the next page; `None` at the end.
    pub next: Option<Uuid>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

/// Conditions applied inside the index. `None` and empty lists do not narrow, except as said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// `Some(vec![])` matches nothing.
    pub media: Option<Vec<MediaId>>,
    /// Records of these media and plans do not match: they are being written, or about to be deleted.
    pub hidden: Vec<(MediaId, String)>,
    /// Name of a source, as the payload has it, or one of these media, which are those of that source otherwise.
    pub source: Option<OfSource>,
    pub label: Option<String>,
    /// Records must have all of these tags.
    pub tags: Vec<String>,
    /// Wall clock, Unix milliseconds: `after <= wall_ms < before`; records without wall clock do not match.
    pub after_ms: Option<i64>,
    pub before_ms: Option<i64>,
    /// Time of day; records without wall clock do not match.
    pub between: Option<DayTime>,
    /// The caption must have all of these words, in any order, case and inflection. Text without words (`"the"`, `"!"`)
    /// matches nothing.
    pub caption: Option<String>,
}

/// The records of one source.
#[derive(Clone, Debug, PartialEq)]
pub enum OfSource {
    /// Those whose payload names it.
    Named(String),
    /// Those of the media that lie in its folder; an empty list matches nothing.
    Media(Vec<MediaId>),
}

/// Minutes of the day, `from <= minute < to`; over midnight where `to` is not later than `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayTime {
    pub from: u16,
    pub to: u16,
}

impl DayTime {
    pub fn holds(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }

    /// One or two stretches of a day, `from <= minute < to`.
    #[cfg(any(feature = "edge", feature = "qdrant"))]
    pub(super) fn stretches(self) -> Vec<(u16, u16)> {
        if self.from < self.to { vec![(self.from, self.to)] } else { vec![(self.from, 1440), (0, self.to)] }
    }
}

impl Filter {
    /// Whether nothing can match. Engines would take these filters for "no condition".
    pub(super) fn matches_nothing(&self) -> bool {
        self.media.as_ref().is_some_and(Vec::is_empty)
            || matches!(&self.source, Some(OfSource::Media(media)) if media.is_empty())
            || self.caption.as_ref().is_some_and(|caption| bm25::distinct_words(caption).is_empty())
    }
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
    /// Records whose captions have at least one of the words, by BM25. Word counts are those of the collection, or of
    /// each shard on a server with several shards.
    Text(String),
    /// The best [`Query::limit`] of both lists, fused by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009):
    /// the sum over the lists of 1 / ([`RRF_K`] + rank), ranks from 1.
    Hybrid(Embedding, String),
}

/// The constant of the reciprocal rank fusion paper.
pub const RRF_K: usize = 60;

/// Best first; ties in the order of ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: Uuid,
    /// Cosine similarity, BM25 or fused rank, as [`Wanted`] says.
    pub score: f32,
    pub payload: Payload,
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

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_tells_records_from_records_with_other_frames() {
        let id = Uuid::from_u128(7);
        let times = |times: &[u64]| times.iter().copied().map(Duration::from_nanos).collect::<Vec<_>>();
        assert_eq!(mark(id, &[]), 7);
        let marks =
            [times(&[]), times(&[0]), times(&[1]), times(&[0, 1]), times(&[1, 0])].map(|times| mark(id, &times));
        for (n, one) in marks.iter().enumerate() {
            assert!(!marks[..n].contains(one), "{n}");
        }
    }

    #[test]
    fn the_bounds_of_a_stretch_take_in_both_ends() {
        for nanos in [0, 1, 1 << 53, (1 << 53) + 1, i64::MAX as u64] {
            let time = Duration::from_nanos(nanos);
            let (from, to) = Stretch::new(MediaId(Uuid::nil()), "", time, time).bounds_ns();
            // Like an engine that compares whole numbers.
            assert!(from as i64 <= nanos as i64 && to as i64 >= nanos as i64, "{nanos}");
        }
    }
}
