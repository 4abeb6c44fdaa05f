//! A store that fails when it is told to, and that forgets what was not flushed when its process "dies".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use clipseek::source::MediaId;
use clipseek::store::{
    Annotation, Catalog, CollectionSpec, Found, Hit, KeptFrame, Key, MemoryCatalog, Page, Query, Record, Selection,
    StoreError, Stretch, VectorStore,
};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum StoreFault {
    Away,
    Full,
    /// Everything fails from then on.
    Dead,
}

/// Counts the calls that change or confirm something.
#[derive(Default)]
struct Calls {
    left: Option<u32>,
    fault: Option<StoreFault>,
    dead: bool,
    all: u32,
}

impl Calls {
    fn next(&mut self) -> Result<(), StoreError> {
        self.all += 1;
        let away = || StoreError::Unreachable { url: "nowhere".into(), problem: "on purpose".into() };
        if self.dead {
            return Err(away());
        }
        let Some(left) = self.left.as_mut() else { return Ok(()) };
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        self.left = None;
        match self.fault.take() {
            None => Ok(()),
            Some(StoreFault::Away) => Err(away()),
            Some(StoreFault::Full) => Err(StoreError::DiskFull { place: "store".into(), problem: "on purpose".into() }),
            Some(StoreFault::Dead) => {
                self.dead = true;
                Err(away())
            }
        }
    }
}

/// What was written since the last flush.
#[derive(Clone)]
enum Write {
    Upsert(Vec<Record>),
    Delete(Selection),
    Annotate(MediaId, Annotation),
}

async fn apply(store: &dyn VectorStore, write: &Write) {
    match write {
        Write::Upsert(records) => store.upsert(records).await.unwrap(),
        Write::Delete(selection) => drop(store.delete(selection).await.unwrap()),
        Write::Annotate(media, annotation) => store.annotate(*media, annotation).await.unwrap(),
    }
}

/// The records as they are, and as they would be after a `kill -9`.
#[derive(Default)]
struct Disk {
    now: MemoryCatalog,
    flushed: MemoryCatalog,
    writes: Mutex<BTreeMap<String, Vec<Write>>>,
    specs: Mutex<BTreeMap<String, CollectionSpec>>,
    calls: Mutex<Calls>,
    /// A medium whose records have lost the features of their frames, until they are written again.
    without_frames: Mutex<Option<MediaId>>,
}

/// Everything in a collection, with the frames.
async fn copy(store: &dyn VectorStore) -> Vec<Record> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(None, after, 1000).await.unwrap();
        records.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut stretches: Vec<Stretch> = Vec::new();
    for Record { payload, .. } in &records {
        let all = Stretch::new(payload.media_id, payload.plan.clone(), Duration::ZERO, Duration::MAX);
        if !stretches.contains(&all) {
            stretches.push(all);
        }
    }
    for KeptFrame { record, held, feature } in store.frames(&stretches).await.unwrap().into_iter().flatten() {
        let record = records.iter_mut().find(|other| other.id == record).unwrap();
        record.held |= held;
        record.features.push(feature);
    }
    records
}

#[derive(Clone, Default)]
pub(crate) struct FaultyCatalog(Arc<Disk>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl FaultyCatalog {
    /// The call after so many fails.
    pub(crate) fn arm(&self, after: u32, fault: StoreFault) {
        *lock(&self.0.calls) = Calls { left: Some(after), fault: Some(fault), ..Calls::default() };
    }

    /// How many calls changed or confirmed something since the last time that a fault was armed or disarmed.
    pub(crate) fn calls(&self) -> u32 {
        lock(&self.0.calls).all
    }

    pub(crate) fn disarm(&self) {
        *lock(&self.0.calls) = Calls::default();
    }

    /// The records of this medium lose the features of their frames, as a damaged segment might.
    pub(crate) fn lose_frames(&self, media: MediaId) {
        *lock(&self.0.without_frames) = Some(media);
    }

    /// The process dies: of what was not flushed, the writes whose bit is set in `kept` happen to be on disk.
    pub(crate) async fn die(&self, kept: u64) -> Self {
        let writes = std::mem::take(&mut *lock(&self.0.writes));
        let specs = lock(&self.0.specs).clone();
        let next = FaultyCatalog(Arc::new(Disk { specs: Mutex::new(specs.clone()), ..Disk::default() }));
        for (name, spec) in specs {
            let flushed = self.0.flushed.open(&spec).await.unwrap();
            for (number, write) in writes.get(&name).into_iter().flatten().enumerate() {
                if kept >> (number % 64) & 1 == 1 {
                    apply(flushed.as_ref(), write).await;
                }
            }
            let all = copy(flushed.as_ref()).await;
            next.0.now.open(&spec).await.unwrap().upsert(&all).await.unwrap();
            next.0.flushed.open(&spec).await.unwrap().upsert(&all).await.unwrap();
        }
        next
    }

    async fn wrap(&self, name: &str, owner: Uuid) -> Result<Option<Arc<dyn VectorStore>>, StoreError> {
        let (now, flushed) =
            (self.0.now.open_existing(name, owner).await?, self.0.flushed.open_existing(name, owner).await?);
        let (Some(now), Some(flushed)) = (now, flushed) else { return Ok(None) };
        Ok(Some(Arc::new(FaultyStore { name: name.to_owned(), disk: Arc::clone(&self.0), now, flushed })))
    }
}

#[async_trait]
impl Catalog for FaultyCatalog {
    /// As an embedded one.
    fn takes_any_owner(&self) -> bool {
        true
    }

    async fn list(&self) -> Result<Vec<Found>, StoreError> {
        self.0.now.list().await
    }

    async fn open(&self, spec: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
        self.adopt(&spec.name, spec.owner).await?;
        self.0.now.open(spec).await?;
        self.0.flushed.open(spec).await?;
        lock(&self.0.specs).insert(spec.name.clone(), spec.clone());
        Ok(self.wrap(&spec.name, spec.owner).await?.unwrap())
    }

    async fn open_existing(&self, name: &str, owner: Uuid) -> Result<Option<Arc<dyn VectorStore>>, StoreError> {
        self.adopt(name, owner).await?;
        self.wrap(name, owner).await
    }

    async fn adopt(&self, name: &str, owner: Uuid) -> Result<(), StoreError> {
        if let Some(spec) = lock(&self.0.specs).get_mut(name) {
            spec.owner = owner;
        }
        self.0.now.adopt(name, owner).await?;
        self.0.flushed.adopt(name, owner).await
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        lock(&self.0.specs).remove(name);
        self.0.now.remove(name).await?;
        self.0.flushed.remove(name).await
    }
}

struct FaultyStore {
    name: String,
    disk: Arc<Disk>,
    now: Arc<dyn VectorStore>,
    flushed: Arc<dyn VectorStore>,
}

impl FaultyStore {
    fn call(&self) -> Result<(), StoreError> {
        lock(&self.disk.calls).next()
    }

    async fn write(&self, write: Write) {
        lock(&self.disk.writes).entry(self.name.clone()).or_default().push(write);
    }
}

#[async_trait]
impl VectorStore for FaultyStore {
    async fn upsert(&self, records: &[Record]) -> Result<(), StoreError> {
        self.call()?;
        self.write(Write::Upsert(records.to_vec())).await;
        lock(&self.disk.without_frames).take_if(|lost| records.iter().any(|record| record.payload.media_id == *lost));
        self.now.upsert(records).await
    }

    async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        self.now.search(query).await
    }

    async fn delete(&self, selection: &Selection) -> Result<u64, StoreError> {
        self.call()?;
        self.write(Write::Delete(selection.clone())).await;
        self.now.delete(selection).await
    }

    async fn annotate(&self, media: MediaId, annotation: &Annotation) -> Result<(), StoreError> {
        self.call()?;
        self.write(Write::Annotate(media, annotation.clone())).await;
        self.now.annotate(media, annotation).await
    }

    async fn scan(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Record>, StoreError> {
        self.now.scan(selection, after, limit).await
    }

    async fn keys(
        &self,
        selection: Option<&Selection>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Key>, StoreError> {
        self.now.keys(selection, after, limit).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        self.now.get(id).await
    }

    async fn frames(&self, stretches: &[Stretch]) -> Result<Vec<Vec<KeptFrame>>, StoreError> {
        self.now.frames(stretches).await
    }

    async fn with_frames(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        let lost = *lock(&self.disk.without_frames);
        let without = match (lost, selection) {
            (None, _) => 0,
            (Some(lost), Some(selection)) if selection.media_id != lost => 0,
            (Some(lost), None) => self.now.with_frames(Some(&Selection::medium(lost))).await?,
            (Some(_), Some(selection)) => self.now.with_frames(Some(selection)).await?,
        };
        Ok(self.now.with_frames(selection).await? - without)
    }

    async fn count(&self, selection: Option<&Selection>) -> Result<u64, StoreError> {
        self.now.count(selection).await
    }

    async fn captions(&self) -> Result<u64, StoreError> {
        self.now.captions().await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.call()?;
        let writes = lock(&self.disk.writes).remove(&self.name).unwrap_or_default();
        for write in &writes {
            apply(self.flushed.as_ref(), write).await;
        }
        Ok(())
    }

    async fn outside_graph(&self) -> Result<u64, StoreError> {
        self.now.outside_graph().await
    }

    async fn optimize(&self) -> Result<(), StoreError> {
        self.now.optimize().await
    }
}
