//! Our records, filters and questions in the types of the gRPC interface, and back.

use std::collections::HashMap;

use qdrant_client::Payload as GrpcPayload;
use qdrant_client::qdrant::{
    Condition, Filter as GrpcFilter, PointId, PointStruct, QueryPoints, QueryPointsBuilder, Range, RetrievedPoint,
    ScoredPoint, SearchParamsBuilder, Value, point_id::PointIdOptions, vector_output::Vector,
};
use uuid::Uuid;

use crate::embed::Embedding;
use crate::source::MediaId;
use crate::store::{
    Filter, Hit, Payload, Query, Record, Selection, StoreError, field, payload_from_json, payload_to_json,
};

/// How widely the graph is walked.
const SEARCH_EF: u64 = 128;

pub(super) fn point(record: &Record) -> PointStruct {
    let payload = GrpcPayload::from(payload_to_json(&record.payload));
    PointStruct::new(record.id.to_string(), record.vector.as_slice().to_vec(), payload)
}

pub(super) fn record(found: RetrievedPoint) -> Result<Record, StoreError> {
    let id = uuid(found.id)?;
    let Some(Vector::Dense(vector)) = found.vectors.and_then(|vectors| vectors.get_vector()) else {
        return Err(StoreError::Other(format!("record {id} has no vector: index its file again")));
    };
    let vector = Embedding::new(vector.data).map_err(|error| StoreError::Other(format!("record {id}: {error}")))?;
    Ok(Record { id, vector, payload: payload(found.payload)?, features: Vec::new() })
}

pub(super) fn hit(found: ScoredPoint) -> Result<Hit, StoreError> {
    Ok(Hit { id: uuid(found.id)?, score: found.score, payload: payload(found.payload)? })
}

fn payload(fields: HashMap<String, Value>) -> Result<Payload, StoreError> {
    payload_from_json(GrpcPayload::from(fields).into())
}

fn uuid(id: Option<PointId>) -> Result<Uuid, StoreError> {
    let id = match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Uuid(id)) => id,
        Some(PointIdOptions::Num(id)) => id.to_string(),
        None => String::new(),
    };
    Uuid::parse_str(&id).map_err(|_| StoreError::Other(format!("record {id:?} was not written by clipseek")))
}

pub(super) fn search(collection: &str, query: &Query) -> QueryPoints {
    let mut request = QueryPointsBuilder::new(collection)
        .query(wanted(query).as_slice().to_vec())
        .limit(query.limit as u64)
        .params(SearchParamsBuilder::default().hnsw_ef(SEARCH_EF))
        .with_payload(true)
        .build();
    request.filter = filter(&query.filter);
    request
}

pub(super) fn of_media(media_id: MediaId) -> GrpcFilter {
    GrpcFilter::must([Condition::matches(field::MEDIA_ID, media_id.to_string())])
}

pub(super) fn selection(selection: &Selection) -> GrpcFilter {
    let mut filter = of_media(selection.media_id);
    filter.must_not = selection.except_plan.iter().map(|plan| Condition::matches(field::PLAN, plan.clone())).collect();
    filter
}

fn filter(filter: &Filter) -> Option<GrpcFilter> {
    let Filter { media, label, tags, after_ms, before_ms, .. } = filter;
    let mut must = Vec::new();
    if let Some(media) = media {
        let ids: Vec<String> = media.iter().map(MediaId::to_string).collect();
        must.push(Condition::matches(field::MEDIA_ID, ids));
    }
    must.extend(label.iter().map(|label| Condition::matches(field::LABEL, label.clone())));
    must.extend(tags.iter().map(|tag| Condition::matches(field::TAGS, tag.clone())));
    if after_ms.is_some() || before_ms.is_some() {
        // Milliseconds of many thousand years fit a double exactly.
        let bound = |ms: &Option<i64>| ms.map(|ms| ms as f64);
        let range = Range { gte: bound(after_ms), lt: bound(before_ms), ..Range::default() };
        must.push(Condition::range(field::WALL_MS, range));
    }
    (!must.is_empty()).then(|| GrpcFilter::must(must))
}

fn wanted(query: &Query) -> &Embedding {
    match &query.wanted {
        crate::store::Wanted::Vector(vector) => vector,
        _ => todo!(),
    }
}
