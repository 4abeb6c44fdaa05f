//! Vectors on a Qdrant server or cluster (1.16 or later), over gRPC.
//!
//! Every write waits until the server has applied it and logged it, so a flush has nothing left to do; the server
//! builds its graph by itself. A request that failed on the way is sent again a few times ([`retry`]): all of ours may
//! be repeated. The collection's metadata says whose vectors it holds.

mod points;
mod retry;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use qdrant_client::qdrant::{
    CollectionInfo, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeletePointsBuilder, Distance, FieldType, Filter as GrpcFilter, GetPointsBuilder, HnswConfigDiffBuilder,
    IntegerIndexParamsBuilder, KeywordIndexParamsBuilder, ScrollPointsBuilder, SetPayloadPointsBuilder,
    UpsertPointsBuilder, UuidIndexParamsBuilder, Value, VectorParamsBuilder, payload_index_params::IndexParams,
    value::Kind, vectors_config::Config,
};
use qdrant_client::{Payload as GrpcPayload, Qdrant};
use uuid::Uuid;

use self::retry::Server;
use super::{
    Annotation, CollectionSpec, Hit, Page, Query, Record, Selection, StoreError, VectorStore, annotation_to_json,
    field, sort_hits,
};
use crate::source::MediaId;

/// Bundle hash in the metadata of a collection.
const BUNDLE: &str = "clipseek_bundle";
/// Aim for requests of about a megabyte: a server refuses more than 32.
const REQUEST_BYTES: usize = 1 << 20;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct QdrantStore {
    client: Qdrant,
    server: Server,
    collection: CollectionSpec,
}

impl QdrantStore {
    /// Connects, makes the collection and its payload indexes where they are missing, and refuses another bundle's.
    pub async fn open(url: &str, api_key: Option<&str>, collection: &CollectionSpec) -> Result<Self, StoreError> {
        let server = Server::new(url, api_key);
        let client = Qdrant::from_url(url)
            .api_key(api_key)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .skip_compatibility_check() // it prints
            .build()
            .map_err(|error| server.describe(error))?;
        let store = Self { client, server, collection: collection.clone() };
        let info = match store.info().await? {
            Some(info) => info,
            None => store.create().await?,
        };
        store.accept(&info)?;
        store.create_indexes(&info).await?;
        Ok(store)
    }

    /// `None`: there is no such collection.
    async fn info(&self) -> Result<Option<CollectionInfo>, StoreError> {
        let name = &self.collection.name;
        let ask = || async {
            match self.client.collection_info(name).await {
                Err(error) if retry::is_not_found(&error) => Ok(None),
                answer => answer.map(|answer| answer.result),
            }
        };
        self.server.connect(ask).await
    }

    async fn create(&self) -> Result<CollectionInfo, StoreError> {
        let CollectionSpec { name, dim, bundle, .. } = &self.collection;
        let vectors = VectorParamsBuilder::new(*dim as u64, Distance::Cosine).on_disk(true);
        let metadata = HashMap::from([(BUNDLE.to_owned(), serde_json::Value::from(bundle.clone()))]);
        let request = CreateCollectionBuilder::new(name)
            .vectors_config(vectors)
            .hnsw_config(HnswConfigDiffBuilder::default().m(16).ef_construct(100))
            .on_disk_payload(true)
            .metadata(metadata)
            .build();
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

    fn accept(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        let bundle = bundle_of(info).unwrap_or_else(|| "not made by clipseek".to_owned());
        let params = info.config.as_ref().and_then(|config| config.params.as_ref());
        let vectors = params.and_then(|params| params.vectors_config.as_ref());
        let dim = match vectors.and_then(|vectors| vectors.config.as_ref()) {
            Some(Config::Params(params)) => params.size as usize,
            _ => 0,
        };
        self.collection.accept(&CollectionSpec { name: self.collection.name.clone(), dim, bundle, feature_dim: None })
    }

    async fn create_indexes(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        let keyword = || IndexParams::from(KeywordIndexParamsBuilder::default().on_disk(true));
        let indexes = [
            (field::MEDIA_ID, FieldType::Uuid, UuidIndexParamsBuilder::default().on_disk(true).into()),
            (field::LABEL, FieldType::Keyword, keyword()),
            (field::TAGS, FieldType::Keyword, keyword()),
            (field::WALL_MS, FieldType::Integer, IntegerIndexParamsBuilder::new(false, true).on_disk(true).into()),
            (field::PLAN, FieldType::Keyword, keyword()),
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

    async fn count_where(&self, filter: Option<GrpcFilter>) -> Result<u64, StoreError> {
        let mut request = CountPointsBuilder::new(&self.collection.name).exact(true).build();
        request.filter = filter;
        let answer = self.server.call(|| self.client.count(request.clone())).await?;
        Ok(answer.result.map_or(0, |result| result.count))
    }

    fn other(&self, problem: &str) -> StoreError {
        StoreError::Other(format!("Qdrant at {} {problem}", self.server.url()))
    }
}

fn bundle_of(info: &CollectionInfo) -> Option<String> {
    match info.config.as_ref()?.metadata.get(BUNDLE) {
        Some(Value { kind: Some(Kind::StringValue(bundle)) }) => Some(bundle.clone()),
        _ => None,
    }
}

#[async_trait]
impl VectorStore for QdrantStore {
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            self.collection.check_vector(&record.vector)?;
        }
        let bytes_each = 4 * self.collection.dim + 512;
        for batch in records.chunks((REQUEST_BYTES / bytes_each).clamp(1, 1000)) {
            let points = batch.iter().map(points::point).collect::<Vec<_>>();
            let request = UpsertPointsBuilder::new(&self.collection.name, points).wait(true).build();
            self.server.call(|| self.client.upsert_points(request.clone())).await?;
        }
        Ok(())
    }

    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        let super::Wanted::Vector(vector) = &query.wanted else { todo!() };
        self.collection.check_vector(vector)?;
        if query.limit == 0 || query.filter.media.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let request = points::search(&self.collection.name, query);
        let answer = self.server.call(|| self.client.query(request.clone())).await?;
        let mut hits = answer.result.into_iter().map(points::hit).collect::<Result<Vec<_>, _>>()?;
        sort_hits(&mut hits);
        Ok(hits)
    }

    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError> {
        let filter = points::selection(selection);
        let gone = self.count_where(Some(filter.clone())).await?;
        let request = DeletePointsBuilder::new(&self.collection.name).points(filter).wait(true).build();
        self.server.call(|| self.client.delete_points(request.clone())).await?;
        Ok(gone)
    }

    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError> {
        let payload = GrpcPayload::from(annotation_to_json(annotation));
        let request = SetPayloadPointsBuilder::new(&self.collection.name, payload)
            .points_selector(points::of_media(media_id))
            .wait(true)
            .build();
        self.server.call(|| self.client.set_payload(request.clone())).await.map(drop)
    }

    async fn scan(&self, media: Option<MediaId>, after: Option<Uuid>, limit: usize) -> Result<Page, StoreError> {
        let mut request = ScrollPointsBuilder::new(&self.collection.name)
            .limit(u32::try_from(limit.max(1)).unwrap_or(u32::MAX))
            .with_payload(true)
            .with_vectors(true)
            .build();
        request.filter = media.map(points::of_media);
        request.offset = match after.map(|after| after.as_u128().checked_add(1)) {
            Some(None) => return Ok(Page::default()),
            Some(Some(next)) => Some(Uuid::from_u128(next).to_string().into()),
            None => None,
        };
        let answer = self.server.call(|| self.client.scroll(request.clone())).await?;
        let records = answer.result.into_iter().map(points::record).collect::<Result<Vec<_>, _>>()?;
        let next = answer.next_page_offset.and(records.last().map(|record| record.id));
        Ok(Page { records, next })
    }

    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        let request = GetPointsBuilder::new(&self.collection.name, vec![id.to_string().into()])
            .with_payload(true)
            .with_vectors(true)
            .build();
        let answer = self.server.call(|| self.client.get_points(request.clone())).await?;
        answer.result.into_iter().next().map(points::record).transpose()
    }

    async fn features(&self, ids: &[Uuid]) -> Result<Vec<Vec<std::sync::Arc<[f32]>>>, StoreError> {
        todo!()
    }

    async fn count(&self, media: Option<MediaId>) -> Result<u64, StoreError> {
        self.count_where(media.map(points::of_media)).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn optimize(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
