//! Exact search over records in memory: the test double, and the reference for the other stores.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Annotation, CollectionSpec, Filter, Hit, KeptFrame, Key, OfSource, Page, Payload, Query, RRF_K, Record, Selection,
    StoreError, Stretch, VectorStore, Wanted, bm25, rounded, sort_frames, sort_hits,
};
use crate::embed::{Embedding, Feature};
use crate::source::MediaId;

type Records = BTreeMap<Uuid, Record>;

#[derive(Clone)]
pub struct MemoryStore {
    collection: CollectionSpec,
    records: Arc<RwLock<Records>>,
}

impl MemoryStore {
    pub fn new(collection: &CollectionSpec) -> Self {
        Self { collection: collection.clone(), records: Arc::default() }
    }

    /// Opens the same records again, like reopening a folder or connecting again to a server.
    pub fn reopen(&self, collection: &CollectionSpec) -> Result<Self, StoreError> {
        collection.accept(&self.collection)?;
        Ok(Self { collection: collection.clone(), records: self.records.clone() })
    }

    pub(super) fn collection(&self) -> &CollectionSpec {
        &self.collection
    }

    pub(super) fn adopt(&mut self, owner: Uuid) {
        self.collection.owner = owner;
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
        self.collection.check_records(records)?;
        let stored = |record: &Record| {
            let rows = rounded(&record.features).into_iter().map(Arc::from);
            let features = record.frame_times().into_iter().zip(rows).map(|(pts, values)| Feature { pts, values });
            (record.id, Record { features: features.collect(), ..record.clone() })
        };
        self.write().extend(records.iter().map(stored));
        Ok(())
    }

    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        let best = |mut hits: Vec<Hit>| {
            sort_hits(&mut hits);
            hits.truncate(query.limit);
            hits
        };
        let records = self.read();
        Ok(match &query.wanted {
            Wanted::Vector(vector) => {
                self.collection.check_vector(vector)?;
                best(nearest(&records, vector, &query.filter))
            }
            Wanted::Text(text) => best(by_caption(&records, text, &query.filter)),
            Wanted::Hybrid(vector, text) => {
                self.collection.check_vector(vector)?;
                let lists = [nearest(&records, vector, &query.filter), by_caption(&records, text, &query.filter)];
                best(fuse(lists.map(best)))
            }
        })
    }

    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError> {
        let mut records = self.write();
        let before = records.len();
        records.retain(|_, record| !selection.holds(&record.payload));
        Ok((before - records.len()) as u64)
    }

    async fn annotate(&self, media_id: MediaId, annotation: &Annotation) -> Result<(), StoreError> {
        for record in self.write().values_mut().filter(|record| record.payload.media_id == media_id) {
            record.payload.label.clone_from(&annotation.label);
            record.payload.tags.clone_from(&annotation.tags);
        }
        Ok(())
    }

    async fn scan(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        Ok(page(&self.read(), selection, after, limit, without_features, |record| record.id))
    }

    async fn keys(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Key>, StoreError> {
        let key = |record: &Record| {
            let Payload { media_id, ref plan, complete, .. } = record.payload;
            Key { id: record.id, media_id, plan: plan.clone(), complete, frames: record.frame_times() }
        };
        Ok(page(&self.read(), selection, after, limit, key, |key| key.id))
    }

    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        Ok(self.read().get(&id).map(without_features))
    }

    async fn frames(&self, stretches: &[Stretch]) -> Result<Vec<Vec<KeptFrame>>, StoreError> {
        let records = self.read();
        let frames = |stretch: &Stretch| {
            let of = Selection::plan(stretch.media_id, stretch.plan.clone());
            let kept = |record: &Record| {
                let id = record.id;
                let held = record.held;
                let frames = record.features.clone().into_iter().enumerate();
                frames.map(move |(n, feature)| KeptFrame { record: id, held: held && n == 0, feature })
            };
            let of_plan = records.values().filter(|record| of.holds(&record.payload)).flat_map(kept);
            let mut frames: Vec<KeptFrame> = of_plan.filter(|frame| stretch.holds(frame.feature.pts)).collect();
            sort_frames(&mut frames);
            frames
        };
        Ok(stretches.iter().map(frames).collect())
    }

    async fn with_frames(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        let held = |record: &&Record| selection.is_none_or(|selection| selection.holds(&record.payload));
        Ok(self.read().values().filter(held).filter(|record| !record.features.is_empty()).count() as u64)
    }

    async fn count(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        let held = |record: &&Record| selection.is_none_or(|selection| selection.holds(&record.payload));
        Ok(self.read().values().filter(held).count() as u64)
    }

    async fn captions(&self) -> Result<u64, StoreError> {
        Ok(self.read().values().filter(|record| !caption(&record.payload).is_empty()).count() as u64)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Every search is exact.
    async fn outside_graph(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn optimize(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn page<T>(
    records: &Records,
    selection: Option<&Selection>,
    after: Option<Uuid>,
    limit: usize,
    item: impl Fn(&Record) -> T,
    id: impl Fn(&T) -> Uuid,
) -> Page<T> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = records
        .range((from, Bound::Unbounded))
        .map(|(_, record)| record)
        .filter(|record| selection.is_none_or(|selection| selection.holds(&record.payload)));
    let items: Vec<T> = rest.by_ref().take(limit.max(1)).map(item).collect();
    let next = rest.next().and(items.last().map(id));
    Page { items, next }
}

fn hit(record: &Record, score: f32) -> Hit {
    Hit { id: record.id, score, payload: record.payload.clone() }
}

fn nearest(records: &Records, vector: &Embedding, filter: &Filter) -> Vec<Hit> {
    let matching = records.values().filter(|record| matches(filter, &record.payload));
    matching.map(|record| hit(record, record.vector.dot(vector))).collect()
}

fn by_caption(records: &Records, text: &str, filter: &Filter) -> Vec<Hit> {
    let captions: Vec<(&Record, bm25::Sparse)> = records
        .values()
        .map(|record| (record, caption(&record.payload)))
        .filter(|(_, caption)| !caption.is_empty())
        .collect();
    let mut query = bm25::query(text);
    for (word, weight) in &mut query {
        let with = captions.iter().filter(|(_, caption)| caption.contains_key(word)).count();
        *weight *= bm25::idf(captions.len(), with);
    }
    captions
        .iter()
        .filter(|(record, caption)| {
            matches(filter, &record.payload) && query.keys().any(|word| caption.contains_key(word))
        })
        .map(|(record, caption)| {
            hit(record, query.iter().map(|(word, weight)| weight * caption.get(word).unwrap_or(&0.0)).sum())
        })
        .collect()
}

fn fuse(lists: [Vec<Hit>; 2]) -> Vec<Hit> {
    let mut fused: HashMap<Uuid, Hit> = HashMap::new();
    for list in lists {
        for (rank, found) in (1..).zip(list) {
            let entry = fused.entry(found.id).or_insert(Hit { score: 0.0, ..found });
            entry.score += 1.0 / (RRF_K + rank) as f32;
        }
    }
    fused.into_values().collect()
}

fn caption(payload: &Payload) -> bm25::Sparse {
    payload.caption.as_deref().map(bm25::caption).unwrap_or_default()
}

fn without_features(record: &Record) -> Record {
    Record { features: Vec::new(), held: false, ..record.clone() }
}

fn matches(filter: &Filter, payload: &Payload) -> bool {
    let Filter { media, hidden, source, label, tags, after_ms, before_ms, between, caption } = filter;
    !filter.matches_nothing()
        && media.as_ref().is_none_or(|media| media.contains(&payload.media_id))
        && !hidden.iter().any(|(media, plan)| *media == payload.media_id && *plan == payload.plan)
        && match source {
            None => true,
            Some(OfSource::Named(name)) => payload.source.as_ref() == Some(name),
            Some(OfSource::Media(media)) => media.contains(&payload.media_id),
        }
        && between.is_none_or(|between| payload.minute_of_day.is_some_and(|minute| between.holds(minute)))
        && label.as_ref().is_none_or(|label| payload.label.as_ref() == Some(label))
        && tags.iter().all(|tag| payload.tags.contains(tag))
        && after_ms.is_none_or(|after| payload.wall_ms.is_some_and(|wall| wall >= after))
        && before_ms.is_none_or(|before| payload.wall_ms.is_some_and(|wall| wall < before))
        && caption.as_ref().is_none_or(|wanted| {
            payload
                .caption
                .as_ref()
                .is_some_and(|caption| bm25::distinct_words(wanted).is_subset(&bm25::distinct_words(caption)))
        })
}
