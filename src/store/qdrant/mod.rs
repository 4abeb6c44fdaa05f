//! Vectors on a Qdrant server or cluster (1.16 or later), over gRPC.
//!
//! Every write waits until the server has applied it and logged it, so a flush has nothing left to do; the server
//! builds its graph by itself. A request that failed on the way is sent again a few times ([`retry`]): all of ours may
//! be repeated. The collection's metadata says whose vectors it holds.

mod points;
mod retry;
mod schema;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use qdrant_client::qdrant::{
    CollectionInfo, CountPointsBuilder, DeletePointsBuilder, Filter as GrpcFilter, GetPointsBuilder,
    ScrollPointsBuilder, SetPayloadPointsBuilder, UpsertPointsBuilder,
};
use qdrant_client::{Payload as GrpcPayload, Qdrant};
use uuid::Uuid;

use self::retry::Server;
use super::{
    Annotation, CollectionSpec, Features, Hit, Page, Query, Record, Selection, StoreError, VectorStore, Wanted,
    annotation_to_json, sort_hits,
};
use crate::source::MediaId;

/// Aim for requests of about a megabyte: a server refuses more than 32.
const REQUEST_BYTES: usize = 1 << 20;
/// Records whose features are asked for in one request: an answer may be large too.
const FEATURES_AT_ONCE: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct QdrantStore {
    client: Qdrant,
    server: Server,
    collection: CollectionSpec,
    /// Not in a collection of an earlier clipseek on a server that cannot add a vector to it.
    keeps_captions: bool,
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
        let mut store = Self { client, server, collection: collection.clone(), keeps_captions: false };
        let info = match store.info().await? {
            Some(info) => info,
            None => store.create().await?,
        };
        store.accept(&info)?;
        store.create_indexes(&info).await?;
        store.keep_features(&info).await?;
        store.keep_captions(&info).await?;
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

#[async_trait]
impl VectorStore for QdrantStore {
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError> {
        self.collection.check_records(records)?;
        if records.iter().any(|record| record.payload.caption.is_some()) {
            self.check_captions()?;
        }
        let values = |record: &Record| record.features.iter().map(|row| row.len()).sum::<usize>() + self.collection.dim;
        let bytes_each = 4 * records.iter().map(values).max().unwrap_or(0) + 512;
        for batch in records.chunks((REQUEST_BYTES / bytes_each).clamp(1, 1000)) {
            let points = batch.iter().map(points::point).collect::<Vec<_>>();
            let request = UpsertPointsBuilder::new(&self.collection.name, points).wait(true).build();
            self.server.call(|| self.client.upsert_points(request.clone())).await?;
        }
        Ok(())
    }

    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        if let Wanted::Vector(vector) | Wanted::Hybrid(vector, _) = &query.wanted {
            self.collection.check_vector(vector)?;
        }
        if !matches!(query.wanted, Wanted::Vector(_)) {
            self.check_captions()?;
        }
        if query.limit == 0 || query.filter.matches_nothing() {
            return Ok(Vec::new());
        }
        let Some(request) = points::search(&self.collection.name, query) else { return Ok(Vec::new()) };
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
            .with_vectors(points::only_vector())
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
            .with_vectors(points::only_vector())
            .build();
        let answer = self.server.call(|| self.client.get_points(request.clone())).await?;
        answer.result.into_iter().next().map(points::record).transpose()
    }

    async fn features(&self, ids: &[Uuid]) -> Result<Vec<Features>, StoreError> {
        if self.collection.feature_dim.is_none() {
            return Ok(vec![Vec::new(); ids.len()]);
        }
        let mut found = HashMap::new();
        for part in ids.chunks(FEATURES_AT_ONCE) {
            let points: Vec<_> = part.iter().map(|id| id.to_string().into()).collect();
            let request = GetPointsBuilder::new(&self.collection.name, points)
                .with_payload(false)
                .with_vectors(points::only_features())
                .build();
            let answer = self.server.call(|| self.client.get_points(request.clone())).await?;
            for record in answer.result {
                let (id, features) = points::features(record)?;
                found.insert(id, features);
            }
        }
        Ok(ids.iter().map(|id| found.get(id).cloned().unwrap_or_default()).collect())
    }

    async fn count(&self, media: Option<MediaId>) -> Result<u64, StoreError> {
        self.count_where(media.map(points::of_media)).await
    }

    async fn captions(&self) -> Result<u64, StoreError> {
        if self.keeps_captions { self.count_where(Some(points::with_caption())).await } else { Ok(0) }
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn optimize(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
