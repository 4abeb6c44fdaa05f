//! The collection on the server: made, checked, and completed where an earlier clipseek made it.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    CollectionInfo, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, CreateVectorNameRequestBuilder,
    Datatype, DenseVectorCreationConfigBuilder, Distance, FieldType, HnswConfigDiff, HnswConfigDiffBuilder,
    IntegerIndexParamsBuilder, KeywordIndexParamsBuilder, Modifier, MultiVectorComparator, MultiVectorConfigBuilder,
    OptimizersConfigDiffBuilder, SparseIndexConfigBuilder, SparseVectorCreationConfigBuilder,
    SparseVectorParamsBuilder, SparseVectorsConfigBuilder, UpdateCollectionBuilder, UuidIndexParamsBuilder, Value,
    VectorParams, VectorParamsBuilder, VectorParamsDiffBuilder, VectorParamsDiffMap, VectorsConfigBuilder,
    create_vector_name_request::VectorConfig, payload_index_params::IndexParams, value::Kind, vectors_config::Config,
    vectors_config_diff,
};

use super::{QdrantStore, retry};
use crate::store::{CollectionSpec, SEGMENT_KB_WITH_FEATURES, StoreError, field, vector_name};

/// Bundle hash in the metadata of a collection.
const BUNDLE: &str = "clipseek_bundle";
/// The name of the vector that has none.
pub(super) const UNNAMED: &str = "";

impl QdrantStore {
    pub(super) async fn create(&self) -> Result<CollectionInfo, StoreError> {
        let CollectionSpec { name, dim, bundle, feature_dim } = &self.collection;
        let mut vectors = VectorsConfigBuilder::default();
        vectors.add_vector_params(VectorParamsBuilder::new(*dim as u64, Distance::Cosine).on_disk(true));
        if let Some(dim) = feature_dim {
            // Other distances would bring them to unit length.
            let features = VectorParamsBuilder::new(*dim as u64, Distance::Dot)
                .multivector_config(max_sim())
                .datatype(Datatype::Float16)
                .hnsw_config(no_graph())
                .on_disk(true);
            vectors.add_named_vector_params(vector_name::FEATURES, features);
        }
        let mut sparse = SparseVectorsConfigBuilder::default();
        let index = SparseIndexConfigBuilder::default().on_disk(true);
        sparse.add_named_vector_params(
            vector_name::CAPTION,
            SparseVectorParamsBuilder::default().modifier(Modifier::Idf).index(index),
        );
        let metadata = HashMap::from([(BUNDLE.to_owned(), serde_json::Value::from(bundle.clone()))]);
        let mut request = CreateCollectionBuilder::new(name)
            .vectors_config(vectors)
            .sparse_vectors_config(sparse)
            .hnsw_config(HnswConfigDiffBuilder::default().m(16).ef_construct(100))
            .on_disk_payload(true)
            .metadata(metadata);
        if feature_dim.is_some() {
            request = request.optimizers_config(large_segments());
        }
        let request = request.build();
        let create = || async {
            match self.client.create_collection(request.clone()).await {
                // Another worker was faster, or our first try arrived after all.
                Err(error) if retry::is_there_already(&error) => Ok(()),
                answer => answer.map(drop),
            }
        };
        self.server.call(create).await?;
        let info = self.info().await?.ok_or_else(|| self.other("made the collection and does not know it"))?;
        if bundle_of(&info).is_none() {
            return Err(self.other("keeps no metadata for collections: Qdrant 1.16 or later is needed"));
        }
        Ok(info)
    }

    pub(super) fn accept(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        let bundle = bundle_of(info).unwrap_or_else(|| "not made by clipseek".to_owned());
        let dim = vector_params(info, UNNAMED).map_or(0, |params| params.size as usize);
        self.collection.accept(&CollectionSpec { name: self.collection.name.clone(), dim, bundle, feature_dim: None })
    }

    pub(super) async fn create_indexes(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        let keyword = || IndexParams::from(KeywordIndexParamsBuilder::default().on_disk(true));
        let indexes = [
            (field::MEDIA_ID, FieldType::Uuid, UuidIndexParamsBuilder::default().on_disk(true).into()),
            (field::LABEL, FieldType::Keyword, keyword()),
            (field::TAGS, FieldType::Keyword, keyword()),
            (field::WALL_MS, FieldType::Integer, IntegerIndexParamsBuilder::new(false, true).on_disk(true).into()),
            (field::PLAN, FieldType::Keyword, keyword()),
            (field::CAPTION_WORDS, FieldType::Keyword, keyword()),
        ];
        for (name, kind, params) in indexes {
            if info.payload_schema.contains_key(name) {
                continue;
            }
            let request = CreateFieldIndexCollectionBuilder::new(&self.collection.name, name, kind)
                .field_index_params(params)
                .wait(true)
                .build();
            self.server.call(|| self.client.create_field_index(request.clone())).await?;
        }
        Ok(())
    }

    /// Where frame features are wanted: adds their vector to a collection that was made without.
    pub(super) async fn keep_features(&mut self, info: &CollectionInfo) -> Result<(), StoreError> {
        if let Some(found) = vector_params(info, vector_name::FEATURES) {
            let found = found.size as usize;
            self.collection.accept_feature_dim(found)?;
            self.collection.feature_dim = Some(found);
            return Ok(());
        }
        let Some(dim) = self.collection.feature_dim else { return Ok(()) };
        let features = DenseVectorCreationConfigBuilder::new(dim as u64, Distance::Dot)
            .multivector_config(max_sim())
            .datatype(Datatype::Float16);
        if !self.add_vector(vector_name::FEATURES, features.into()).await? {
            return Err(self.other(&format!(
                "cannot add frame features to the collection {}: Qdrant 1.18 or later is needed for that, or remove the \
                 collection and index again",
                self.collection.name
            )));
        }
        // What cannot be said while adding it.
        let features = VectorParamsDiffBuilder::default().on_disk(true).hnsw_config(no_graph()).build();
        let map = HashMap::from([(vector_name::FEATURES.to_owned(), features)]);
        let request = UpdateCollectionBuilder::new(&self.collection.name)
            .vectors_config(vectors_config_diff::Config::ParamsMap(VectorParamsDiffMap { map }))
            .optimizers_config(large_segments())
            .build();
        self.server.call(|| self.client.update_collection(request.clone())).await.map(drop)
    }

    pub(super) async fn keep_captions(&mut self, info: &CollectionInfo) -> Result<(), StoreError> {
        let params = info.config.as_ref().and_then(|config| config.params.as_ref());
        let sparse = params.and_then(|params| params.sparse_vectors_config.as_ref());
        self.keeps_captions = sparse.is_some_and(|sparse| sparse.map.contains_key(vector_name::CAPTION));
        if !self.keeps_captions {
            let caption = SparseVectorCreationConfigBuilder::default().modifier(Modifier::Idf);
            self.keeps_captions = self.add_vector(vector_name::CAPTION, caption.into()).await?;
        }
        Ok(())
    }

    pub(super) fn check_captions(&self) -> Result<(), StoreError> {
        if self.keeps_captions {
            return Ok(());
        }
        Err(self.other(&format!(
            "cannot add captions to the collection {}: Qdrant 1.18 or later is needed for that, or remove the collection \
             and index again",
            self.collection.name
        )))
    }

    /// Returns whether the server can do that.
    async fn add_vector(&self, name: &str, config: VectorConfig) -> Result<bool, StoreError> {
        let request = CreateVectorNameRequestBuilder::new(&self.collection.name, name, config).wait(true).build();
        let add = || async {
            match self.client.create_vector_name(request.clone()).await {
                Err(error) if retry::is_unimplemented(&error) => Ok(false),
                answer => answer.map(|_| true),
            }
        };
        self.server.call(add).await
    }
}

fn max_sim() -> MultiVectorConfigBuilder {
    MultiVectorConfigBuilder::new(MultiVectorComparator::MaxSim)
}

fn no_graph() -> HnswConfigDiff {
    HnswConfigDiffBuilder::default().m(0).build()
}

fn large_segments() -> OptimizersConfigDiffBuilder {
    OptimizersConfigDiffBuilder::default().max_segment_size(SEGMENT_KB_WITH_FEATURES as u64)
}

/// Of a vector by its name; [`UNNAMED`]: of the one without.
fn vector_params<'a>(info: &'a CollectionInfo, name: &str) -> Option<&'a VectorParams> {
    let vectors = info.config.as_ref()?.params.as_ref()?.vectors_config.as_ref()?;
    match vectors.config.as_ref()? {
        Config::Params(params) => (name == UNNAMED).then_some(params),
        Config::ParamsMap(params) => params.map.get(name),
    }
}

fn bundle_of(info: &CollectionInfo) -> Option<String> {
    match info.config.as_ref()?.metadata.get(BUNDLE) {
        Some(Value { kind: Some(Kind::StringValue(bundle)) }) => Some(bundle.clone()),
        _ => None,
    }
}
