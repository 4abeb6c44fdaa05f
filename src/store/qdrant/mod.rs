//! Vectors on a Qdrant server or cluster (1.16 or later), over gRPC.
//!
//! Every write waits until the server has applied and logged it, so a flush has nothing to do. The server builds its
//! graph by itself. Requests that fail on the way are sent again a few times ([`retry`]); all of our requests are
//! idempotent. The collection's metadata names its bundle and owner; opening a collection never changes it.

mod points;
mod retry;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use qdrant_client::qdrant::{
    CollectionInfo, CountPointsBuilder, DeletePointsBuilder, Filter as GrpcFilter, GetPointsBuilder,
    PayloadIncludeSelector, ScrollPointsBuilder, ScrollResponse, SetPayloadPointsBuilder, UpdateCollectionBuilder,
    UpsertPointsBuilder,
};
use qdrant_client::{Payload as GrpcPayload, Qdrant};
use uuid::Uuid;

use self::retry::Server;
use self::schema::Stored;
use super::catalog::check_name;
use super::{
    Annotation, Catalog, CollectionSpec, Found, Hit, IndexParams, KEY_FIELDS, KeptFrame, Key, Page, Query, Record,
    Selection, StoreError, Stretch, VectorStore, Wanted, annotation_to_json, field, sort_frames, sort_hits,
};
use crate::secret::{Secret, SecretUrl};
use crate::source::MediaId;

/// Target size of a request; a server refuses more than 32 MB.
const REQUEST_BYTES: usize = 1 << 20;
/// Records whose frames are asked for in one request, because answers may be large too.
const WITH_FRAMES_AT_ONCE: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The collections on one server whose names begin with the namespace.
pub struct QdrantCatalog {
    client: Qdrant,
    server: Server,
    namespace: String,
    index: IndexParams,
}

impl QdrantCatalog {
    /// Connects at the first request.
    pub fn new(
        url: &SecretUrl,
        api_key: Option<&Secret>,
        namespace: &str,
        index: IndexParams,
    ) -> Result<Self, StoreError> {
        let server = Server::new(url, api_key);
        let client = Qdrant::from_url(url.expose())
            .api_key(api_key.map(Secret::expose))
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .skip_compatibility_check() // it prints
            .build()
            .map_err(|error| server.describe(&error))?;
        Ok(Self { client, server, namespace: namespace.to_owned(), index })
    }

    /// Makes no request.
    fn store(&self, collection: CollectionSpec) -> Result<QdrantStore, StoreError> {
        check_name(&collection.name)?;
        let name = format!("{}{}", self.namespace, collection.name);
        Ok(QdrantStore {
            client: self.client.clone(),
            server: self.server.clone(),
            name,
            collection,
            index: self.index,
        })
    }

    /// A handle to a collection that may not exist and whose bundle is not known.
    fn unknown(&self, name: &str) -> Result<QdrantStore, StoreError> {
        let (name, bundle) = (name.to_owned(), String::new());
        self.store(CollectionSpec { name, dim: 0, bundle, owner: Uuid::nil(), feature_dim: None })
    }
}

#[async_trait]
impl Catalog for QdrantCatalog {
    fn takes_any_owner(&self) -> bool {
        false
    }

    async fn list(&self) -> Result<Vec<Found>, StoreError> {
        let all = self.server.connect(|| self.client.list_collections()).await?;
        let mut found = Vec::new();
        for full_name in all.collections.into_iter().map(|collection| collection.name) {
            let Some(store) = full_name.strip_prefix(&self.namespace).and_then(|name| self.unknown(name).ok()) else {
                continue;
            };
            // Leaves out collections that vanished meanwhile, that others made, or that an older version made.
            let Some(info) = store.info().await? else { continue };
            let Ok(Some(stored)) = Stored::read(store.place(), &info) else { continue };
            if stored.namespace == self.namespace {
                found.push(stored.found(&store.collection.name));
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn open(&self, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
        let store = self.store(collection.clone())?;
        let info = match store.info().await? {
            Some(info) => info,
            None => store.create(&self.namespace).await?,
        };
        store.prepare(&info).await?;
        Ok(Arc::new(store))
    }

    async fn open_existing(&self, name: &str, owner: Uuid) -> Result<Option<Arc<dyn VectorStore>>, StoreError> {
        let mut store = self.unknown(name)?;
        let Some(info) = store.info().await? else { return Ok(None) };
        let Some(stored) = Stored::read(store.place(), &info)? else { return Err(store.not_ours()) };
        store.collection = CollectionSpec { owner, ..stored.spec(name) };
        store.prepare(&info).await?;
        Ok(Some(Arc::new(store)))
    }

    async fn adopt(&self, name: &str, owner: Uuid) -> Result<(), StoreError> {
        let store = self.unknown(name)?;
        let Some(info) = store.info().await? else { return Ok(()) };
        if Stored::read(store.place(), &info)?.is_none() {
            return Err(store.not_ours());
        }
        let request = UpdateCollectionBuilder::new(&store.name).metadata(schema::owned_by(owner)).build();
        self.server.call(|| self.client.update_collection(request.clone())).await.map(drop)
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let store = self.unknown(name)?;
        let Some(info) = store.info().await? else { return Ok(()) };
        if !schema::is_ours(&info) {
            return Err(store.not_ours());
        }
        self.server.call(|| self.client.delete_collection(&store.name)).await.map(drop)
    }
}

struct QdrantStore {
    client: Qdrant,
    server: Server,
    /// Name on the server, with the namespace.
    name: String,
    collection: CollectionSpec,
    index: IndexParams,
}

impl QdrantStore {
    /// Refuses a collection of another bundle or owner; applies the configured indexes and settings.
    async fn prepare(&self, info: &CollectionInfo) -> Result<(), StoreError> {
        self.accept(info)?;
        self.create_indexes(info).await?;
        self.apply_index_params(info).await
    }

    /// `None`: there is no such collection.
    async fn info(&self) -> Result<Option<CollectionInfo>, StoreError> {
        let ask = || async {
            match self.client.collection_info(&self.name).await {
                Err(error) if retry::is_not_found(&error) => Ok(None),
                answer => answer.map(|answer| answer.result),
            }
        };
        self.server.connect(ask).await
    }

    async fn count_where(&self, filter: Option<GrpcFilter>) -> Result<u64, StoreError> {
        let mut request = CountPointsBuilder::new(&self.name).exact(true).build();
        request.filter = filter;
        let answer = self.server.call(|| self.client.count(request.clone())).await?;
        Ok(answer.result.map_or(0, |result| result.count))
    }

    /// A page of points with ids greater than `after`; empty past the last id.
    async fn scroll(
        &self,
        request: ScrollPointsBuilder,
        filter: Option<GrpcFilter>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<ScrollResponse, StoreError> {
        let mut request = request.limit(u32::try_from(limit.max(1)).unwrap_or(u32::MAX)).build();
        request.filter = filter;
        request.offset = match after.map(|after| after.as_u128().checked_add(1)) {
            Some(None) => return Ok(ScrollResponse::default()),
            Some(Some(next)) => Some(Uuid::from_u128(next).to_string().into()),
            None => None,
        };
        self.server.call(|| self.client.scroll(request.clone())).await
    }

    /// The kept frames of a stretch, in the order of time.
    async fn frames_of(&self, stretch: &Stretch) -> Result<Vec<KeptFrame>, StoreError> {
        let (mut frames, mut after) = (Vec::new(), None);
        loop {
            let request = ScrollPointsBuilder::new(&self.name)
                .with_payload(PayloadIncludeSelector::new(vec![field::FRAMES_NS.to_owned(), field::HELD.to_owned()]))
                .with_vectors(points::only_features());
            let filter = Some(points::of_stretch(stretch));
            let answer = self.scroll(request, filter, after, WITH_FRAMES_AT_ONCE).await?;
            let last = answer.result.last().map(|found| points::uuid(found.id.clone())).transpose()?;
            for found in answer.result {
                frames.extend(points::frames(found, stretch)?);
            }
            after = answer.next_page_offset.and(last);
            if after.is_none() {
                sort_frames(&mut frames);
                return Ok(frames);
            }
        }
    }

    fn place(&self) -> String {
        format!("collection {} of Qdrant at {}", self.name, self.server.url())
    }

    fn not_ours(&self) -> StoreError {
        StoreError::Other(format!("{} was not made by clipseek", self.place()))
    }

    fn other(&self, problem: &str) -> StoreError {
        StoreError::Other(format!("Qdrant at {} {problem}", self.server.url()))
    }
}

#[async_trait]
impl VectorStore for QdrantStore {
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError> {
        self.collection.check_records(records)?;
        let dim = self.collection.dim;
        let values = |record: &Record| record.features.iter().map(|frame| frame.values.len()).sum::<usize>() + dim;
        let bytes_each = 4 * records.iter().map(values).max().unwrap_or(0) + 512;
        for batch in records.chunks((REQUEST_BYTES / bytes_each).clamp(1, 1000)) {
            let points = batch.iter().map(points::point).collect::<Vec<_>>();
            let request = UpsertPointsBuilder::new(&self.name, points).wait(true).build();
            self.server.call(|| self.client.upsert_points(request.clone())).await?;
        }
        Ok(())
    }

    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        if let Wanted::Vector(vector) | Wanted::Hybrid(vector, _) = &query.wanted {
            self.collection.check_vector(vector)?;
        }
        if query.limit == 0 || query.filter.matches_nothing() {
            return Ok(Vec::new());
        }
        let Some(request) = points::search(&self.name, query, &self.index) else { return Ok(Vec::new()) };
        let answer = self.server.call(|| self.client.query(request.clone())).await?;
        let mut hits = answer.result.into_iter().map(points::hit).collect::<Result<Vec<_>, _>>()?;
        sort_hits(&mut hits);
        Ok(hits)
    }

    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError> {
        let filter = points::selection(selection);
        let gone = self.count_where(Some(filter.clone())).await?;
        let request = DeletePointsBuilder::new(&self.name).points(filter).wait(true).build();
        self.server.call(|| self.client.delete_points(request.clone())).await?;
        Ok(gone)
    }

    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError> {
        let payload = GrpcPayload::from(annotation_to_json(annotation));
        let request = SetPayloadPointsBuilder::new(&self.name, payload)
            .points_selector(points::of_media(media_id))
            .wait(true)
            .build();
        self.server.call(|| self.client.set_payload(request.clone())).await.map(drop)
    }

    async fn scan(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        let request = ScrollPointsBuilder::new(&self.name).with_payload(true).with_vectors(points::only_vector());
        let answer = self.scroll(request, selection.map(points::selection), after, limit).await?;
        let items = answer.result.into_iter().map(points::record).collect::<Result<Vec<_>, _>>()?;
        let next = answer.next_page_offset.and(items.last().map(|record| record.id));
        Ok(Page { items, next })
    }

    async fn keys(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Key>, StoreError> {
        let request = ScrollPointsBuilder::new(&self.name)
            .with_payload(PayloadIncludeSelector::new(KEY_FIELDS.map(str::to_owned).to_vec()))
            .with_vectors(false);
        let answer = self.scroll(request, selection.map(points::selection), after, limit).await?;
        let items = answer.result.into_iter().map(points::key_of).collect::<Result<Vec<_>, _>>()?;
        let next = answer.next_page_offset.and(items.last().map(|key| key.id));
        Ok(Page { items, next })
    }

    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        let request = GetPointsBuilder::new(&self.name, vec![id.to_string().into()])
            .with_payload(true)
            .with_vectors(points::only_vector())
            .build();
        let answer = self.server.call(|| self.client.get_points(request.clone())).await?;
        answer.result.into_iter().next().map(points::record).transpose()
    }

    async fn frames(&self, stretches: &[Stretch]) -> Result<Vec<Vec<KeptFrame>>, StoreError> {
        if self.collection.feature_dim.is_none() {
            return Ok(vec![Vec::new(); stretches.len()]);
        }
        let mut all = Vec::new();
        for stretch in stretches {
            all.push(self.frames_of(stretch).await?);
        }
        Ok(all)
    }

    async fn with_frames(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        if self.collection.feature_dim.is_none() {
            return Ok(0);
        }
        self.count_where(Some(points::with_frames(selection))).await
    }

    async fn count(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        self.count_where(selection.map(points::selection)).await
    }

    async fn captions(&self) -> Result<u64, StoreError> {
        self.count_where(Some(points::with_caption())).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn outside_graph(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn optimize(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
