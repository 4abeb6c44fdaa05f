//! Creating, checking and configuring a collection on the server.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    CollectionInfo, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, Datatype, Disabled, Distance,
    FieldType, HnswConfigDiff, HnswConfigDiffBuilder, IntegerIndexParamsBuilder, KeywordIndexParamsBuilder, Modifier,
    MultiVectorComparator, MultiVectorConfigBuilder, OptimizersConfigDiffBuilder, QuantizationType, ScalarQuantization,
    ScalarQuantizationBuilder, SparseIndexConfigBuilder, SparseVectorParamsBuilder, SparseVectorsConfigBuilder,
    UpdateCollectionBuilder, UuidIndexParamsBuilder, VectorParams, VectorParamsBuilder, VectorParamsDiff,
    VectorParamsDiffBuilder, VectorParamsDiffMap, VectorsConfigBuilder,
    payload_index_params::IndexParams as FieldParams, quantization_config_diff, vectors_config::Config,
    vectors_config_diff,
};
use uuid::Uuid;

use super::{QdrantStore, retry};
use crate::store::catalog::{FORMAT, check_format};
use crate::store::{
    CollectionSpec, FULL_SCAN_KB, Found, IndexParams, SEGMENT_KB_WITH_FEATURES, StoreError, field, vector_name,
};

/// The name under which the server knows the unnamed vector.
pub(super) const UNNAMED: &str = "";

/// The keys of a collection's metadata.
mod key {
    pub(super) const BUNDLE: &str = "clipseek_bundle";
    pub(super) const OWNER: &str = "clipseek_owner";
    pub(super) const NAMESPACE: &str = "clipseek_namespace";
    pub(super) const FORMAT: &str = "clipseek_format";
}

/// Metadata and dimensions of a collection that clipseek made.
pub(super) struct Stored {
    pub(super) namespace: String,
    bundle: String,
    owner: Uuid,
    dim: usize,
    feature_dim: Option<usize>,
}

impl Stored {
    /// `None`: somebody else made it.
    pub(super) fn read(place: String, info: &CollectionInfo) -> Result<Option<Self>, StoreError> {
        let Some(bundle) = text(info, key::BUNDLE) else { return Ok(None) };
        let format = info.config.as_ref().and_then(|config| config.metadata.get(key::FORMAT)?.as_integer());
        check_format(format.and_then(|format| u64::try_from(format).ok()), place.clone())?;
        let namespace = text(info, key::NAMESPACE);
        let owner = text(info, key::OWNER).and_then(|owner| Uuid::parse_str(&owner).ok());
        let (Some(namespace), Some(owner)) = (namespace, owner) else { return Err(StoreError::Outdated { place }) };
        let dim = |name| vector_params(info, name).map(|params| params.size as usize);
        let feature_dim = dim(vector_name::FEATURES);
        Ok(Some(Self { namespace, bundle, owner, dim: dim(UNNAMED).unwrap_or(0), feature_dim }))
    }

    pub(super) fn spec(self, name: &str) -> CollectionSpec {
        let Self { namespace: _, bundle, owner, dim, feature_dim } = self;
        CollectionSpec { name: name.to_owned(), dim, bundle, owner, feature_dim }
    }

    pub(super) fn found(self, name: &str) -> Found {
        Found { name: name.to_owned(), bundle: self.bundle, owner: self.owner }
    }
}

/// Whether any version of clipseek made the collection.
pub(super) fn is_ours(info: &CollectionInfo) -> bool {
    text(info, key::BUNDLE).is_some()
}

/// The metadata to change for a new owner; the server keeps the rest.
pub(super) fn owned_by(owner: Uuid) -> HashMap<String, serde_json::Value> {
    HashMap::from([(key::OWNER.to_owned(), owner.to_string().into())])
}

fn text(info: &CollectionInfo, key: &str) -> Option<String> {
    Some(info.config.as_ref()?.metadata.get(key)?.as_str()?.clone())
}

impl QdrantStore {
    pub(super) async fn create(&self, namespace: &str) -> Result<CollectionInfo, StoreError> {
        let CollectionSpec { dim, bundle, owner, feature_dim, .. } = &self.collection;
        let mut vectors = VectorsConfigBuilder::default();
        let mut vector = VectorParamsBuilder::new(*dim as u64, Distance::Cosine).on_disk(self.index.on_disk);
        if self.index.int8 {
            vector = vector.quantization_config(int8(&self.index));
        }
        vectors.add_vector_params(vector);
        if let Some(dim) = feature_dim {
            // Cosine distance would normalise them to unit length.
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
        let metadata: HashMap<String, serde_json::Value> = HashMap::from([
            (key::BUNDLE.to_owned(), bundle.clone().into()),
            (key::OWNER.to_owned(), owner.to_string().into()),
            (key::NAMESPACE.to_owned(), namespace.into()),
            (key::FORMAT.to_owned(), FORMAT.into()),
        ]);
        let mut request = CreateCollectionBuilder::new(&self.name)
            .vectors_config(vectors)
            .sparse_vectors_config(sparse)
            .hnsw_config(graph(&self.index))
            .on_disk_payload(true)
            .metadata(metadata);
        if feature_dim.is_some() {
            request = request.optimizers_config(large_segments());
        }
        let request = request.build();
        let create = || async {
            match self.client.create_collection(request.clone()).await {
                // Another process created it first, or our first try had reached the server after all.
                Err(error) if retry::is_there_already(&error) => Ok(()),
                answer => answer.map(drop),
            }
        };
        self.server.call(create).await?;
        let info = self.info().await?.ok_or_else(|| self.other("made the collection and does not know it"))?;
        if !is_ours(&info) {
            return Err(self.other("keeps no metadata for collections: Qdrant 1.16 or later is needed"));
        }
        Ok(info)
    }

    pub(super) fn accept(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        let Some(stored) = Stored::read(self.place(), info)? else {
            let (collection, found) = (self.collection.name.clone(), "not made by clipseek".to_owned());
            return Err(StoreError::OtherModel { collection, found });
        };
        self.collection.accept(&stored.spec(&self.collection.name))
    }

    /// The server rebuilds the affected indexes by itself.
    pub(super) async fn apply_index_params(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        if index_params(info, self.index.hnsw_ef) == Some(self.index) {
            return Ok(());
        }
        let quantization = match self.index.int8 {
            true => quantization_config_diff::Quantization::Scalar(int8(&self.index)),
            false => quantization_config_diff::Quantization::Disabled(Disabled {}),
        };
        let vector = VectorParamsDiffBuilder::default().on_disk(self.index.on_disk).quantization_config(quantization);
        let request = UpdateCollectionBuilder::new(&self.name)
            .vectors_config(changed(UNNAMED, vector.build()))
            .hnsw_config(graph(&self.index))
            .build();
        self.server.call(|| self.client.update_collection(request.clone())).await.map(drop)
    }

    pub(super) async fn create_indexes(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        let keyword = || FieldParams::from(KeywordIndexParamsBuilder::default().on_disk(true));
        let range = || FieldParams::from(IntegerIndexParamsBuilder::new(false, true).on_disk(true));
        let indexes = [
            (field::MEDIA_ID, FieldType::Uuid, UuidIndexParamsBuilder::default().on_disk(true).into()),
            (field::SOURCE, FieldType::Keyword, keyword()),
            (field::LABEL, FieldType::Keyword, keyword()),
            (field::TAGS, FieldType::Keyword, keyword()),
            (field::WALL_MS, FieldType::Integer, range()),
            (field::MINUTE_OF_DAY, FieldType::Integer, range()),
            (field::PLAN, FieldType::Keyword, keyword()),
            (field::CAPTION_WORDS, FieldType::Keyword, keyword()),
            (field::FRAMES_NS, FieldType::Integer, range()),
        ];
        for (name, kind, params) in indexes {
            if info.payload_schema.contains_key(name) {
                continue;
            }
            let request = CreateFieldIndexCollectionBuilder::new(&self.name, name, kind)
                .field_index_params(params)
                .wait(true)
                .build();
            self.server.call(|| self.client.create_field_index(request.clone())).await?;
        }
        Ok(())
    }
}

fn int8(index: &IndexParams) -> ScalarQuantization {
    ScalarQuantizationBuilder::default().r#type(QuantizationType::Int8.into()).always_ram(!index.on_disk).build()
}

fn graph(index: &IndexParams) -> HnswConfigDiffBuilder {
    HnswConfigDiffBuilder::default()
        .m(index.hnsw_m as u64)
        .ef_construct(index.hnsw_ef_construct as u64)
        .full_scan_threshold(FULL_SCAN_KB as u64)
}

/// The settings stored on the server. `hnsw_ef` is not stored; it goes with each search.
fn index_params(info: &CollectionInfo, hnsw_ef: usize) -> Option<IndexParams> {
    let graph = info.config.as_ref()?.hnsw_config.as_ref()?;
    let vector = vector_params(info, UNNAMED)?;
    #[allow(deprecated, reason = "what takes its place is known to servers from 1.19 on only")]
    let on_disk = vector.on_disk.unwrap_or(false);
    Some(IndexParams {
        int8: vector.quantization_config.is_some(),
        on_disk,
        hnsw_m: graph.m? as usize,
        hnsw_ef_construct: graph.ef_construct? as usize,
        hnsw_ef,
    })
}

fn changed(name: &str, params: VectorParamsDiff) -> vectors_config_diff::Config {
    vectors_config_diff::Config::ParamsMap(VectorParamsDiffMap { map: HashMap::from([(name.to_owned(), params)]) })
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

/// The parameters of a vector by its name; [`UNNAMED`] for the unnamed one.
fn vector_params<'a>(info: &'a CollectionInfo, name: &str) -> Option<&'a VectorParams> {
    let vectors = info.config.as_ref()?.params.as_ref()?.vectors_config.as_ref()?;
    match vectors.config.as_ref()? {
        Config::Params(params) => (name == UNNAMED).then_some(params),
        Config::ParamsMap(params) => params.map.get(name),
    }
}
