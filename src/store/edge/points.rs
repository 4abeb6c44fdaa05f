//! Our records, filters and questions in the engine's types, and back.

use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, FieldCondition, Filter as EdgeFilter, JsonPath, Match, NamedQuery, Payload as EdgePayload, PointId,
    PointStructPersisted, QueryEnum, Range, Record as EdgeRecord, ScoredPoint, ScrollRequest, SearchParams,
    SearchRequest, VectorStructInternal, VectorStructPersisted, WithPayloadInterface, WithVector,
};
use uuid::Uuid;

use crate::embed::Embedding;
use crate::source::MediaId;
use crate::store::{
    Filter, Hit, Payload, Query, Record, Selection, StoreError, field, payload_from_json, payload_to_json,
};

/// How widely the graph is walked: the defaults of the engine would follow the limit, and small limits lose answers.
const SEARCH_EF: usize = 128;

pub(super) fn key(name: &str) -> JsonPath {
    name.parse().expect("a plain field name is a path")
}

pub(super) fn point(record: &Record) -> PointStructPersisted {
    PointStructPersisted {
        id: PointId::Uuid(record.id),
        vector: VectorStructPersisted::Single(record.vector.as_slice().to_vec()),
        payload: Some(EdgePayload(payload_to_json(&record.payload))),
    }
}

pub(super) fn record(found: EdgeRecord) -> Result<Record, StoreError> {
    let id = uuid(&found.id)?;
    let Some(VectorStructInternal::Single(vector)) = found.vector else {
        return Err(StoreError::Other(format!("record {id} has no vector: index its file again")));
    };
    let vector = Embedding::new(vector).map_err(|error| StoreError::Other(format!("record {id}: {error}")))?;
    Ok(Record { id, vector, payload: payload(id, found.payload)?, features: Vec::new() })
}

pub(super) fn hit(found: ScoredPoint) -> Result<Hit, StoreError> {
    let id = uuid(&found.id)?;
    Ok(Hit { id, score: found.score, payload: payload(id, found.payload)? })
}

fn payload(id: Uuid, payload: Option<EdgePayload>) -> Result<Payload, StoreError> {
    let payload = payload.ok_or_else(|| StoreError::Other(format!("record {id} has no payload")))?;
    payload_from_json(payload.0)
}

pub(super) fn uuid(id: &PointId) -> Result<Uuid, StoreError> {
    match id {
        PointId::Uuid(id) => Ok(*id),
        PointId::NumId(id) => Err(StoreError::Other(format!("record {id} was not written by clipseek"))),
    }
}

pub(super) fn search(query: &Query) -> SearchRequest {
    SearchRequest {
        query: QueryEnum::Nearest(NamedQuery { query: wanted(query).as_slice().to_vec().into(), using: None }),
        filter: filter(&query.filter),
        params: Some(SearchParams { hnsw_ef: Some(SEARCH_EF), ..SearchParams::default() }),
        limit: query.limit,
        offset: 0,
        with_payload: Some(WithPayloadInterface::Bool(true)),
        with_vector: None,
        score_threshold: None,
    }
}

/// `from` itself is included.
pub(super) fn scroll(from: Option<Uuid>, limit: usize, filter: Option<EdgeFilter>) -> ScrollRequest {
    ScrollRequest {
        offset: from.map(PointId::Uuid),
        limit: Some(limit),
        filter,
        with_payload: Some(WithPayloadInterface::Bool(true)),
        with_vector: WithVector::Bool(true),
        order_by: None,
    }
}

pub(super) fn of_media(media_id: MediaId) -> EdgeFilter {
    EdgeFilter::new_must(is(field::MEDIA_ID, media_id.to_string()))
}

pub(super) fn selection(selection: &Selection) -> EdgeFilter {
    let mut filter = of_media(selection.media_id);
    filter.must_not = selection.except_plan.as_ref().map(|plan| vec![is(field::PLAN, plan.clone())]);
    filter
}

fn filter(filter: &Filter) -> Option<EdgeFilter> {
    let Filter { media, label, tags, after_ms, before_ms, .. } = filter;
    let mut must = Vec::new();
    if let Some(media) = media {
        let ids: Vec<String> = media.iter().map(MediaId::to_string).collect();
        must.push(Condition::Field(FieldCondition::new_match(key(field::MEDIA_ID), Match::from(ids))));
    }
    must.extend(label.iter().map(|label| is(field::LABEL, label.clone())));
    must.extend(tags.iter().map(|tag| is(field::TAGS, tag.clone())));
    if after_ms.is_some() || before_ms.is_some() {
        // Milliseconds of many thousand years fit a double exactly.
        let bound = |ms: &Option<i64>| ms.map(|ms| OrderedFloat(ms as f64));
        let range = Range { gte: bound(after_ms), lt: bound(before_ms), gt: None, lte: None };
        must.push(Condition::Field(FieldCondition::new_range(key(field::WALL_MS), range)));
    }
    (!must.is_empty()).then(|| EdgeFilter { must: Some(must), ..EdgeFilter::default() })
}

fn is(name: &str, value: String) -> Condition {
    Condition::Field(FieldCondition::new_match(key(name), Match::from(value)))
}

fn wanted(query: &Query) -> &Embedding {
    match &query.wanted {
        crate::store::Wanted::Vector(vector) => vector,
        _ => todo!(),
    }
}
