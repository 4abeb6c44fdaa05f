//! Converts our records, filters and queries to the engine's types, and back.

use std::collections::HashMap;
use std::sync::Arc;

use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, CountRequest, DEFAULT_VECTOR_NAME, EdgeShard, FieldCondition, Filter as EdgeFilter, Fusion,
    HasVectorCondition, JsonPath, Match, NamedQuery, Payload as EdgePayload, PointId, PointStructPersisted, Prefetch,
    QuantizationSearchParams, QueryEnum, QueryRequest, Range, Record as EdgeRecord, ScoredPoint, ScoringQuery,
    ScrollRequest, SearchParams, SearchRequest, SparseVector, VectorInternal, VectorPersisted, VectorStructInternal,
    VectorStructPersisted, WithPayloadInterface, WithVector,
};
use uuid::Uuid;

use super::failed;
use crate::embed::Embedding;
use crate::source::MediaId;
use crate::store::{
    Features, Filter, Hit, IndexParams, KEY_FIELDS, KeptFrame, Key, OVERSAMPLING, OfSource, Payload, Query, RRF_K,
    Record, Selection, StoreError, Stretch, Wanted, bm25, field, fields_from_json, kept_frames, key_from_json,
    payload_to_json, rounded, sort_frames, vector_name,
};

/// Records read per page when their frames are wanted.
const RECORDS_AT_ONCE: usize = 256;

pub(super) fn key(name: &str) -> JsonPath {
    name.parse().expect("a plain field name is a path")
}

pub(super) fn point(record: &Record) -> PointStructPersisted {
    PointStructPersisted {
        id: PointId::Uuid(record.id),
        vector: vectors(record),
        payload: Some(EdgePayload(payload_to_json(record))),
    }
}

fn vectors(record: &Record) -> VectorStructPersisted {
    let vector = record.vector.as_slice().to_vec();
    let caption = record.payload.caption.as_deref().map(bm25::caption).unwrap_or_default();
    if caption.is_empty() && record.features.is_empty() {
        return VectorStructPersisted::Single(vector);
    }
    let mut named = HashMap::from([(DEFAULT_VECTOR_NAME.to_owned(), VectorPersisted::Dense(vector))]);
    if !caption.is_empty() {
        named.insert(vector_name::CAPTION.to_owned(), VectorPersisted::Sparse(sparse(caption)));
    }
    if !record.features.is_empty() {
        named.insert(vector_name::FEATURES.to_owned(), VectorPersisted::MultiDense(rounded(&record.features)));
    }
    VectorStructPersisted::Named(named)
}

fn sparse(weights: bm25::Sparse) -> SparseVector {
    let (indices, values) = weights.into_iter().unzip();
    SparseVector { indices, values }
}

/// Reads only the vector that is searched; the others are large.
pub(super) fn only_vector() -> WithVector {
    WithVector::Selector(vec![DEFAULT_VECTOR_NAME.to_owned()])
}

/// A row per frame.
fn features(found: Option<VectorStructInternal>) -> Features {
    match found {
        Some(VectorStructInternal::Named(mut named)) => match named.remove(vector_name::FEATURES) {
            Some(VectorInternal::MultiDense(rows)) => rows.flattened_vectors.chunks(rows.dim).map(Arc::from).collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The kept frames of a stretch, in the order of time.
pub(super) fn frames(engine: &EdgeShard, stretch: &Stretch) -> Result<Vec<KeptFrame>, StoreError> {
    let (mut frames, mut from) = (Vec::new(), None);
    loop {
        let request = ScrollRequest {
            offset: from,
            limit: Some(RECORDS_AT_ONCE),
            filter: Some(of_stretch(stretch)),
            with_payload: Some(WithPayloadInterface::Fields(vec![key(field::FRAMES_NS), key(field::HELD)])),
            with_vector: WithVector::Selector(vec![vector_name::FEATURES.to_owned()]),
            order_by: None,
        };
        let (found, more) = engine.scroll(request).map_err(failed)?;
        for record in found {
            let id = uuid(&record.id)?;
            frames.extend(kept_frames(id, fields(id, record.payload)?.0, features(record.vector), stretch)?);
        }
        from = more;
        if from.is_none() {
            sort_frames(&mut frames);
            return Ok(frames);
        }
    }
}

pub(super) fn record(found: EdgeRecord) -> Result<Record, StoreError> {
    let id = uuid(&found.id)?;
    let vector = match found.vector {
        Some(VectorStructInternal::Single(vector)) => Some(vector),
        Some(VectorStructInternal::Named(mut named)) => match named.remove(DEFAULT_VECTOR_NAME) {
            Some(VectorInternal::Dense(vector)) => Some(vector),
            _ => None,
        },
        _ => None,
    };
    let vector = vector.ok_or_else(|| StoreError::Other(format!("record {id} has no vector: index its file again")))?;
    let vector = Embedding::new(vector).map_err(|error| StoreError::Other(format!("record {id}: {error}")))?;
    Ok(Record { id, vector, payload: payload(id, found.payload)?, features: Vec::new(), held: false })
}

pub(super) fn hit(found: ScoredPoint) -> Result<Hit, StoreError> {
    let id = uuid(&found.id)?;
    Ok(Hit { id, score: found.score, payload: payload(id, found.payload)? })
}

pub(super) fn key_of(found: EdgeRecord) -> Result<Key, StoreError> {
    let id = uuid(&found.id)?;
    key_from_json(id, fields(id, found.payload)?.0)
}

fn payload(id: Uuid, payload: Option<EdgePayload>) -> Result<Payload, StoreError> {
    fields_from_json(fields(id, payload)?.0)
}

fn fields(id: Uuid, payload: Option<EdgePayload>) -> Result<EdgePayload, StoreError> {
    payload.ok_or_else(|| StoreError::Other(format!("record {id} has no payload")))
}

/// A point read with all of its vectors, as a point to write again.
pub(super) fn copy(found: EdgeRecord) -> Option<PointStructPersisted> {
    let vector = VectorStructPersisted::from(found.vector?);
    Some(PointStructPersisted { id: found.id, vector, payload: found.payload })
}

fn uuid(id: &PointId) -> Result<Uuid, StoreError> {
    match id {
        PointId::Uuid(id) => Ok(*id),
        PointId::NumId(id) => Err(StoreError::Other(format!("record {id} was not written by clipseek"))),
    }
}

/// The engine's two kinds of query.
pub(super) enum Asked {
    One(SearchRequest),
    /// Can express every query, but is a seventh slower for a single list.
    Fused(QueryRequest),
}

/// `None`: the query has no words, so nothing can be found.
pub(super) fn search(query: &Query, index: &IndexParams) -> Option<Asked> {
    let lists = match &query.wanted {
        Wanted::Vector(vector) => [Some(nearest(vector)), None],
        Wanted::Text(text) => [by_caption(text), None],
        Wanted::Hybrid(vector, text) => [Some(nearest(vector)), by_caption(text)],
    };
    let filter = filter(&query.filter);
    let params = params(index);
    let mut lists = lists.into_iter().flatten().map(|list| SearchRequest {
        query: QueryEnum::Nearest(list),
        filter: filter.clone(),
        params: Some(params),
        limit: query.limit,
        offset: 0,
        with_payload: Some(WithPayloadInterface::Bool(true)),
        with_vector: None,
        score_threshold: None,
    });
    match query.wanted {
        Wanted::Hybrid(..) => Some(Asked::Fused(fused(lists, query.limit))),
        _ => lists.next().map(Asked::One),
    }
}

/// Sets `ef` explicitly: the engine's default is derived from the limit, and small limits then miss results.
fn params(index: &IndexParams) -> SearchParams {
    let rescored = QuantizationSearchParams { ignore: false, rescore: Some(true), oversampling: Some(OVERSAMPLING) };
    let quantization = index.int8.then_some(rescored);
    SearchParams { hnsw_ef: Some(index.hnsw_ef), quantization, ..SearchParams::default() }
}

fn nearest(vector: &Embedding) -> NamedQuery<VectorInternal> {
    NamedQuery { query: vector.as_slice().to_vec().into(), using: None }
}

fn by_caption(text: &str) -> Option<NamedQuery<VectorInternal>> {
    let words = bm25::query(text);
    let using = Some(vector_name::CAPTION.to_owned());
    (!words.is_empty()).then(|| NamedQuery { query: VectorInternal::Sparse(sparse(words)), using })
}

fn fused(lists: impl Iterator<Item = SearchRequest>, limit: usize) -> QueryRequest {
    let prefetch = |list: SearchRequest| Prefetch {
        prefetches: Vec::new(),
        query: Some(ScoringQuery::Vector(list.query)),
        limit: list.limit,
        params: list.params,
        filter: list.filter,
        score_threshold: None,
    };
    QueryRequest {
        prefetches: lists.map(prefetch).collect(),
        // The engine counts ranks from 0, our formula from 1.
        query: Some(ScoringQuery::Fusion(Fusion::Rrf { k: RRF_K + 1, weights: None })),
        filter: None,
        score_threshold: None,
        limit,
        offset: 0,
        params: None,
        with_vector: WithVector::Bool(false),
        with_payload: WithPayloadInterface::Bool(true),
    }
}

/// Which parts of a record are read.
pub(super) enum Reading {
    Records,
    Keys,
}

/// `from` itself is included.
pub(super) fn scroll(from: Option<Uuid>, limit: usize, filter: Option<EdgeFilter>, reading: Reading) -> ScrollRequest {
    let (payload, vector) = match reading {
        Reading::Records => (WithPayloadInterface::Bool(true), only_vector()),
        Reading::Keys => (WithPayloadInterface::Fields(KEY_FIELDS.map(key).to_vec()), WithVector::Bool(false)),
    };
    ScrollRequest {
        offset: from.map(PointId::Uuid),
        limit: Some(limit),
        filter,
        with_payload: Some(payload),
        with_vector: vector,
        order_by: None,
    }
}

pub(super) fn count(engine: &EdgeShard, filter: Option<EdgeFilter>) -> Result<u64, StoreError> {
    Ok(engine.count(CountRequest { filter, exact: true }).map_err(failed)? as u64)
}

pub(super) fn of_media(media_id: MediaId) -> EdgeFilter {
    EdgeFilter::new_must(is(field::MEDIA_ID, media_id.to_string()))
}

pub(super) fn with_caption() -> EdgeFilter {
    let has_vector = vector_name::CAPTION.to_owned();
    EdgeFilter::new_must(Condition::HasVector(HasVectorCondition { has_vector }))
}

pub(super) fn with_frames(selection: Option<&Selection>) -> EdgeFilter {
    let mut filter = selection.map(self::selection).unwrap_or_default();
    let has_vector = vector_name::FEATURES.to_owned();
    filter.must.get_or_insert_default().push(Condition::HasVector(HasVectorCondition { has_vector }));
    filter
}

fn of_stretch(stretch: &Stretch) -> EdgeFilter {
    let mut filter = selection(&Selection::plan(stretch.media_id, stretch.plan.clone()));
    let (from, to) = stretch.bounds_ns();
    let range = Range { gte: Some(OrderedFloat(from)), lte: Some(OrderedFloat(to)), gt: None, lt: None };
    let range = Condition::Field(FieldCondition::new_range(key(field::FRAMES_NS), range));
    filter.must.get_or_insert_default().push(range);
    filter
}

pub(super) fn selection(selection: &Selection) -> EdgeFilter {
    let Selection { media_id, plan, from, to } = selection;
    let mut filter = of_media(*media_id);
    let must = filter.must.get_or_insert_default();
    must.extend(plan.iter().map(|plan| is(field::PLAN, plan.clone())));
    must.extend(range(field::START_S, from.map(|time| time.as_secs_f64()), to.map(|time| time.as_secs_f64())));
    filter
}

fn filter(filter: &Filter) -> Option<EdgeFilter> {
    let Filter { media, hidden, source, label, tags, after_ms, before_ms, between, caption } = filter;
    let mut must = Vec::new();
    let among = |media: &[MediaId]| {
        let ids: Vec<String> = media.iter().map(MediaId::to_string).collect();
        Condition::Field(FieldCondition::new_match(key(field::MEDIA_ID), Match::from(ids)))
    };
    must.extend(media.iter().map(|media| among(media)));
    must.extend(source.iter().map(|source| match source {
        OfSource::Named(name) => is(field::SOURCE, name.clone()),
        OfSource::Media(media) => among(media),
    }));
    // Not a filter within the filter: the engine would look each record's minute up that the index has found.
    let stretch = |(from, to): (u16, u16)| range(field::MINUTE_OF_DAY, Some(from.into()), Some(to.into()));
    let should: Vec<Condition> = between.iter().flat_map(|between| between.stretches()).filter_map(stretch).collect();
    must.extend(label.iter().map(|label| is(field::LABEL, label.clone())));
    must.extend(tags.iter().map(|tag| is(field::TAGS, tag.clone())));
    // Milliseconds of many thousand years are exact in float64.
    must.extend(range(field::WALL_MS, after_ms.map(|ms| ms as f64), before_ms.map(|ms| ms as f64)));
    let words = caption.iter().flat_map(|caption| bm25::distinct_words(caption));
    must.extend(words.map(|word| is(field::CAPTION_WORDS, word)));
    let must_not: Vec<Condition> = hidden
        .iter()
        .map(|(media, plan)| Condition::Filter(self::selection(&Selection::plan(*media, plan.clone()))))
        .collect();
    let some = |conditions: Vec<Condition>| (!conditions.is_empty()).then_some(conditions);
    let filter =
        EdgeFilter { must: some(must), should: some(should), must_not: some(must_not), ..EdgeFilter::default() };
    (filter != EdgeFilter::default()).then_some(filter)
}

/// `from <= field < to`; `None`: no bounds.
fn range(name: &str, from: Option<f64>, to: Option<f64>) -> Option<Condition> {
    let range = Range { gte: from.map(OrderedFloat), lt: to.map(OrderedFloat), gt: None, lte: None };
    (from.is_some() || to.is_some()).then(|| Condition::Field(FieldCondition::new_range(key(name), range)))
}

fn is(name: &str, value: String) -> Condition {
    Condition::Field(FieldCondition::new_match(key(name), Match::from(value)))
}
