//! The engine's configuration of a collection: its vectors, their graph, and the indexed payload fields.

use std::collections::HashMap;

use qdrant_edge::{
    CreateIndex, DEFAULT_VECTOR_NAME, Distance, EdgeConfig, EdgeOptimizersConfig, EdgeShard, EdgeSparseVectorParams,
    EdgeVectorParams, FieldIndexOperations, HnswIndexConfig, IntegerIndexParams, KeywordIndexParams, Modifier,
    MultiVectorConfig, PayloadFieldSchema, PayloadSchemaParams, QuantizationConfig, ScalarQuantizationConfig,
    ScalarType, UpdateOperation, UuidIndexParams, VectorStorageDatatype,
};

use super::{failed, points};
use crate::store::{
    CollectionSpec, FULL_SCAN_KB, IndexParams, SEGMENT_KB_WITH_FEATURES, StoreError, field, vector_name,
};

/// Payloads and payload indexes are mapped from disk, and so are vectors and graph unless
/// [`on_disk`](IndexParams::on_disk) is off: the operating system keeps the used parts in memory and evicts them under
/// pressure.
pub(super) fn config(collection: &CollectionSpec, index: &IndexParams) -> EdgeConfig {
    let IndexParams { int8, on_disk, hnsw_m, hnsw_ef_construct, hnsw_ef: _ } = *index;
    let graph = HnswIndexConfig {
        m: hnsw_m,
        ef_construct: hnsw_ef_construct,
        full_scan_threshold: FULL_SCAN_KB,
        on_disk: Some(on_disk),
        ..HnswIndexConfig::default()
    };
    let mut vector = EdgeVectorParams::builder(collection.dim, Distance::Cosine).on_disk(on_disk).build();
    vector.quantization_config = int8.then(|| {
        QuantizationConfig::from(ScalarQuantizationConfig {
            r#type: ScalarType::Int8,
            quantile: None,
            always_ram: Some(!on_disk),
        })
    });
    let mut vectors = HashMap::from([(DEFAULT_VECTOR_NAME.to_owned(), vector)]);
    // A search goes through the segments one after the other, each with a graph of its own, so there are no more of them on
    // a machine with more cores. One alone would be built anew for every few records that come.
    let mut optimizers = EdgeOptimizersConfig { default_segment_number: Some(2), ..EdgeOptimizersConfig::default() };
    if let Some(dim) = collection.feature_dim {
        // Cosine distance would normalise them to unit length.
        let features = EdgeVectorParams::builder(dim, Distance::Dot)
            .multivector_config(MultiVectorConfig::default())
            .datatype(VectorStorageDatatype::Float16)
            .hnsw_config(HnswIndexConfig { m: 0, ..graph })
            .on_disk(true)
            .build();
        vectors.insert(vector_name::FEATURES.to_owned(), features);
        optimizers.max_segment_size = Some(SEGMENT_KB_WITH_FEATURES);
    }
    let caption = EdgeSparseVectorParams::builder().modifier(Modifier::Idf).on_disk(true).build();
    EdgeConfig {
        on_disk_payload: true,
        vectors,
        sparse_vectors: HashMap::from([(vector_name::CAPTION.to_owned(), caption)]),
        hnsw_config: graph,
        optimizers,
        ..EdgeConfig::default()
    }
}

pub(super) fn create_indexes(shard: &EdgeShard) -> Result<(), StoreError> {
    let keyword = || PayloadSchemaParams::Keyword(KeywordIndexParams { on_disk: Some(true), ..Default::default() });
    let range = || {
        PayloadSchemaParams::Integer(IntegerIndexParams {
            lookup: Some(false),
            range: Some(true),
            on_disk: Some(true),
            ..Default::default()
        })
    };
    let uuid = PayloadSchemaParams::Uuid(UuidIndexParams { on_disk: Some(true), ..Default::default() });
    let indexes = [
        (field::MEDIA_ID, uuid),
        (field::SOURCE, keyword()),
        (field::LABEL, keyword()),
        (field::TAGS, keyword()),
        (field::WALL_MS, range()),
        (field::MINUTE_OF_DAY, range()),
        (field::PLAN, keyword()),
        (field::CAPTION_WORDS, keyword()),
        (field::FRAMES_NS, range()),
    ];
    for (name, params) in indexes {
        let field_schema = Some(PayloadFieldSchema::FieldParams(params));
        let index = CreateIndex { field_name: points::key(name), field_schema };
        shard.update(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(index))).map_err(failed)?;
    }
    Ok(())
}
