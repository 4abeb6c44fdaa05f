//! Exact search over records in memory: the double for tests, and the judge of the other stores.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Annotation, CollectionSpec, Filter, Hit, Page, Payload, Query, Record, Selection, StoreError, VectorStore,
    sort_hits,
};
use crate::source::MediaId;

type Records = BTreeMap<Uuid, Record>;

pub struct MemoryStore {
    collection: CollectionSpec,
    records: Arc<RwLock<Records>>,
}

impl MemoryStore {
    pub fn new(collection: &CollectionSpec) -> Self {
        Self { collection: collection.clone(), records: Arc::default() }
    }

    /// Opens the same records again, as a folder or a server would be.
    pub fn reopen(&self, collection: &CollectionSpec) -> Result<Self, StoreError> {
        collection.accept(&self.collection)?;
        Ok(Self { collection: collection.clone(), records: self.records.clone() })
    }

    fn read(&self) -> RwLockReadGuard<'_, Records> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Records> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl VectorStore for MemoryStore {
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            self.collection.check_vector(&record.vector)?;
        }
        self.write().extend(records.iter().map(|record| (record.id, record.clone())));
        Ok(())
    }

    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        let super::Wanted::Vector(vector) = &query.wanted else { todo!() };
        self.collection.check_vector(vector)?;
        let mut hits: Vec<Hit> = self
            .read()
            .values()
            .filter(|record| matches(&query.filter, &record.payload))
            .map(|record| Hit { id: record.id, score: record.vector.dot(vector), payload: record.payload.clone() })
            .collect();
        sort_hits(&mut hits);
        hits.truncate(query.limit);
        Ok(hits)
    }

    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError> {
        let mut records = self.write();
        let before = records.len();
        records.retain(|_, record| !selected(selection, &record.payload));
        Ok((before - records.len()) as u64)
    }

    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError> {
        for record in self.write().values_mut().filter(|record| record.payload.media_id == media_id) {
            record.payload.uri.clone_from(&annotation.uri);
            record.payload.label.clone_from(&annotation.label);
            record.payload.tags.clone_from(&annotation.tags);
        }
        Ok(())
    }

    async fn scan(&self, media: Option<MediaId>, after: Option<Uuid>, limit: usize) -> Result<Page, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = self.read();
        let mut rest = records
            .range((from, Bound::Unbounded))
            .map(|(_, record)| record)
            .filter(|record| media.is_none_or(|media| record.payload.media_id == media));
        let page: Vec<Record> = rest.by_ref().take(limit.max(1)).cloned().collect();
        let next = rest.next().and(page.last().map(|record| record.id));
        Ok(Page { records: page, next })
    }

    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        Ok(self.read().get(&id).cloned())
    }

    async fn features(&self, ids: &[Uuid]) -> Result<Vec<Vec<std::sync::Arc<[f32]>>>, StoreError> {
        todo!()
    }

    async fn count(&self, media: Option<MediaId>) -> Result<u64, StoreError> {
        let held = |record: &&Record| media.is_none_or(|media| record.payload.media_id == media);
        Ok(self.read().values().filter(held).count() as u64)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn optimize(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn matches(filter: &Filter, payload: &Payload) -> bool {
    let Filter { media, label, tags, after_ms, before_ms, .. } = filter;
    media.as_ref().is_none_or(|media| media.contains(&payload.media_id))
        && label.as_ref().is_none_or(|label| payload.label.as_ref() == Some(label))
        && tags.iter().all(|tag| payload.tags.contains(tag))
        && after_ms.is_none_or(|after| payload.wall_ms.is_some_and(|wall| wall >= after))
        && before_ms.is_none_or(|before| payload.wall_ms.is_some_and(|wall| wall < before))
}

fn selected(selection: &Selection, payload: &Payload) -> bool {
    payload.media_id == selection.media_id && selection.except_plan.as_ref().is_none_or(|plan| payload.plan != *plan)
}
