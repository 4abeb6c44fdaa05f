//! Converts our records, filters and queries to the types of the gRPC interface, and back.

use std::collections::HashMap;
use std::sync::Arc;

use qdrant_client::Payload as GrpcPayload;
use qdrant_client::qdrant::{
    Condition, Filter as GrpcFilter, PointId, PointStruct, PrefetchQueryBuilder, QuantizationSearchParamsBuilder,
    Query as GrpcQuery, QueryPoints, QueryPointsBuilder, Range, RetrievedPoint, RrfBuilder, ScoredPoint, SearchParams,
    SearchParamsBuilder, Value, Vector as GrpcVector, VectorInput, Vectors, VectorsSelector, point_id::PointIdOptions,
    vector_output::Vector,
};
use uuid::Uuid;

use crate::embed::Embedding;
use crate::source::MediaId;
use crate::store::{
    Filter, Hit, IndexParams, KeptFrame, Key, OVERSAMPLING, OfSource, Payload, Query, RRF_K, Record, Selection,
    StoreError, Stretch, Wanted, bm25, field, fields_from_json, kept_frames, key_from_json, payload_to_json, rounded,
    vector_name,
};

use super::schema::UNNAMED;

pub(super) fn point(record: &Record) -> PointStruct {
    let payload = GrpcPayload::from(payload_to_json(record));
    PointStruct::new(record.id.to_string(), vectors(record), payload)
}

fn vectors(record: &Record) -> Vectors {
    let vector = record.vector.as_slice().to_vec();
    let caption = record.payload.caption.as_deref().map(bm25::caption).unwrap_or_default();
    let mut named = HashMap::from([(UNNAMED.to_owned(), GrpcVector::new_dense(vector))]);
    if !caption.is_empty() {
        let (words, weights): (Vec<_>, Vec<_>) = caption.into_iter().unzip();
        named.insert(vector_name::CAPTION.to_owned(), GrpcVector::new_sparse(words, weights));
    }
    if !record.features.is_empty() {
        named.insert(vector_name::FEATURES.to_owned(), GrpcVector::new_multi(rounded(&record.features)));
    }
    Vectors::from(named)
}

/// Reads only the vector that is searched; the others are large.
pub(super) fn only_vector() -> VectorsSelector {
    VectorsSelector { names: vec![UNNAMED.to_owned()] }
}

pub(super) fn only_features() -> VectorsSelector {
    VectorsSelector { names: vec![vector_name::FEATURES.to_owned()] }
}

/// The kept frames of a record that lie in the stretch.
pub(super) fn frames(found: RetrievedPoint, stretch: &Stretch) -> Result<Vec<KeptFrame>, StoreError> {
    let rows = match found.vectors.and_then(|vectors| vectors.get_vector_by_name(vector_name::FEATURES)) {
        Some(Vector::MultiDense(rows)) => rows.vectors.into_iter().map(|row| Arc::from(row.data)).collect(),
        _ => Vec::new(),
    };
    kept_frames(uuid(found.id)?, GrpcPayload::from(found.payload).into(), rows, stretch)
}

pub(super) fn record(found: RetrievedPoint) -> Result<Record, StoreError> {
    let id = uuid(found.id)?;
    let Some(Vector::Dense(vector)) = found.vectors.and_then(|vectors| vectors.get_vector_by_name(UNNAMED)) else {
        return Err(StoreError::Other(format!("record {id} has no vector: index its file again")));
    };
    let vector = Embedding::new(vector.data).map_err(|error| StoreError::Other(format!("record {id}: {error}")))?;
    Ok(Record { id, vector, payload: payload(found.payload)?, features: Vec::new(), held: false })
}

pub(super) fn hit(found: ScoredPoint) -> Result<Hit, StoreError> {
    Ok(Hit { id: uuid(found.id)?, score: found.score, payload: payload(found.payload)? })
}

pub(super) fn key_of(found: RetrievedPoint) -> Result<Key, StoreError> {
    key_from_json(uuid(found.id)?, GrpcPayload::from(found.payload).into())
}

fn payload(fields: HashMap<String, Value>) -> Result<Payload, StoreError> {
    fields_from_json(GrpcPayload::from(fields).into())
}

pub(super) fn uuid(id: Option<PointId>) -> Result<Uuid, StoreError> {
    let id = match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Uuid(id)) => id,
        Some(PointIdOptions::Num(id)) => id.to_string(),
        None => String::new(),
    };
    Uuid::parse_str(&id).map_err(|_| StoreError::Other(format!("record {id:?} was not written by clipseek")))
}

/// `None`: the query has no words, so nothing can be found.
pub(super) fn search(collection: &str, query: &Query, index: &IndexParams) -> Option<QueryPoints> {
    let params = params(index);
    let filter = filter(&query.filter);
    let builder = QueryPointsBuilder::new(collection).limit(query.limit as u64).with_payload(true);
    let mut request = match &query.wanted {
        Wanted::Vector(vector) => builder.query(nearest(vector)).params(params).build(),
        Wanted::Text(text) => builder.query(by_caption(text)?).using(vector_name::CAPTION).build(),
        Wanted::Hybrid(vector, text) => {
            let list = || PrefetchQueryBuilder::default().limit(query.limit as u64);
            let by_vector = list().query(nearest(vector)).params(params);
            let by_caption = by_caption(text).map(|query| list().query(query).using(vector_name::CAPTION));
            let lists = [Some(by_vector), by_caption].into_iter().flatten().map(|list| {
                let mut list = list.build();
                list.filter.clone_from(&filter);
                list
            });
            // The server counts ranks from 0, our formula from 1.
            let fused = GrpcQuery::new_rrf(RrfBuilder::with_k(RRF_K as u32 + 1));
            return Some(builder.prefetch(lists.collect::<Vec<_>>()).query(fused).build());
        }
    };
    request.filter = filter;
    Some(request)
}

fn nearest(vector: &Embedding) -> GrpcQuery {
    GrpcQuery::new_nearest(vector.as_slice().to_vec())
}

fn by_caption(text: &str) -> Option<GrpcQuery> {
    let (words, weights): (Vec<_>, Vec<_>) = bm25::query(text).into_iter().unzip();
    (!words.is_empty()).then(|| GrpcQuery::new_nearest(VectorInput::new_sparse(words, weights)))
}

fn params(index: &IndexParams) -> SearchParams {
    let params = SearchParamsBuilder::default().hnsw_ef(index.hnsw_ef as u64);
    if !index.int8 {
        return params.build();
    }
    let quantization = QuantizationSearchParamsBuilder::default().rescore(true).oversampling(OVERSAMPLING);
    params.quantization(quantization).build()
}

pub(super) fn of_media(media_id: MediaId) -> GrpcFilter {
    GrpcFilter::must([Condition::matches(field::MEDIA_ID, media_id.to_string())])
}

pub(super) fn with_caption() -> GrpcFilter {
    GrpcFilter::must([Condition::has_vector(vector_name::CAPTION)])
}

pub(super) fn with_frames(selection: Option<&Selection>) -> GrpcFilter {
    let mut filter = selection.map(self::selection).unwrap_or_default();
    filter.must.push(Condition::has_vector(vector_name::FEATURES));
    filter
}

pub(super) fn of_stretch(stretch: &Stretch) -> GrpcFilter {
    let mut filter = selection(&Selection::plan(stretch.media_id, stretch.plan.clone()));
    let (from, to) = stretch.bounds_ns();
    filter.must.push(Condition::range(field::FRAMES_NS, Range { gte: Some(from), lte: Some(to), ..Range::default() }));
    filter
}

pub(super) fn selection(selection: &Selection) -> GrpcFilter {
    let Selection { media_id, plan, from, to } = selection;
    let mut filter = of_media(*media_id);
    filter.must.extend(plan.iter().map(|plan| Condition::matches(field::PLAN, plan.clone())));
    filter.must.extend(range(field::START_S, from.map(|time| time.as_secs_f64()), to.map(|time| time.as_secs_f64())));
    filter
}

fn filter(filter: &Filter) -> Option<GrpcFilter> {
    let Filter { media, hidden, source, label, tags, after_ms, before_ms, between, caption } = filter;
    let mut narrowed = GrpcFilter::default();
    let must = &mut narrowed.must;
    let among = |media: &[MediaId]| {
        Condition::matches(field::MEDIA_ID, media.iter().map(MediaId::to_string).collect::<Vec<String>>())
    };
    must.extend(media.iter().map(|media| among(media)));
    must.extend(source.iter().map(|source| match source {
        OfSource::Named(name) => Condition::matches(field::SOURCE, name.clone()),
        OfSource::Media(media) => among(media),
    }));
    must.extend(label.iter().map(|label| Condition::matches(field::LABEL, label.clone())));
    must.extend(tags.iter().map(|tag| Condition::matches(field::TAGS, tag.clone())));
    // Milliseconds of many thousand years are exact in float64.
    must.extend(range(field::WALL_MS, after_ms.map(|ms| ms as f64), before_ms.map(|ms| ms as f64)));
    let words = caption.iter().flat_map(|caption| bm25::distinct_words(caption));
    must.extend(words.map(|word| Condition::matches(field::CAPTION_WORDS, word)));
    let hidden = hidden.iter().map(|(media, plan)| selection(&Selection::plan(*media, plan.clone())).into());
    narrowed.must_not.extend(hidden);
    // Not a filter within the filter: the engine would look each record's minute up that the index has found.
    let stretch = |(from, to): (u16, u16)| range(field::MINUTE_OF_DAY, Some(from.into()), Some(to.into()));
    narrowed.should.extend(between.iter().flat_map(|between| between.stretches()).filter_map(stretch));
    (narrowed != GrpcFilter::default()).then_some(narrowed)
}

/// `from <= field < to`; `None`: no bounds.
fn range(name: &str, from: Option<f64>, to: Option<f64>) -> Option<Condition> {
    let range = Range { gte: from, lt: to, ..Range::default() };
    (from.is_some() || to.is_some()).then(|| Condition::range(name, range))
}
