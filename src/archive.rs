//! Everything that clipseek stores: the ledger, the records in their collections, the pictures, the recordings. Changes to more than
//! one of them are made here, in an order that keeps them consistent if the process dies at any time:
//!
//! - Records are written when the ledger already has a row for them, which is set to done after the store has
//!   confirmed.
//! - Records are deleted in three steps: the ledger sets them to leaving, the store deletes and confirms, the ledger
//!   forgets them.
//! - A new label is written to the ledger first, marked as not yet annotated, and then to the records.
//!
//! [`Archive::settle`] completes what was interrupted between two steps.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::footage::Footage;
use crate::ledger::{Ledger, LedgerError, Owned, Progress, Said};
use crate::points;
use crate::source::MediaId;
use crate::store::{Annotation, Catalog, CollectionSpec, Selection, StoreError, Tally, VectorStore};
use crate::thumbs::{self, Thumbs};

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
}

pub struct Archive {
    pub ledger: Ledger,
    pub thumbs: Thumbs,
    pub footage: Footage,
    catalog: Arc<dyn Catalog>,
    open: tokio::sync::Mutex<HashMap<String, Arc<dyn VectorStore>>>,
    /// Locks of the media whose records are being written or removed.
    busy: Mutex<HashMap<MediaId, Weak<tokio::sync::Mutex<()>>>>,
}

/// Held while the records of a medium are written or removed.
pub struct Alone {
    _turn: OwnedMutexGuard<()>,
}

impl Archive {
    /// Does not open collections yet.
    pub fn new(ledger: Ledger, thumbs: Thumbs, footage: Footage, catalog: Arc<dyn Catalog>) -> Self {
        Self { ledger, thumbs, footage, catalog, open: tokio::sync::Mutex::default(), busy: Mutex::default() }
    }

    pub fn catalog(&self) -> &dyn Catalog {
        self.catalog.as_ref()
    }

    /// Opens the collection of a bundle, creating it if it is missing. Its owner is this archive's ledger; the owner in
    /// `spec` is ignored.
    pub async fn collection(&self, spec: CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(&spec.name) {
            return Ok(Arc::clone(store));
        }
        let spec = CollectionSpec { owner: self.ledger.owner(), ..spec };
        let store = self.catalog.open(&spec).await?;
        open.insert(spec.name, Arc::clone(&store));
        Ok(store)
    }

    /// Opens a collection by its name alone, because removing and checking need no bundle. `None`: there is no such
    /// collection.
    pub async fn existing(&self, name: &str) -> Result<Option<Arc<dyn VectorStore>>, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(name) {
            return Ok(Some(Arc::clone(store)));
        }
        let store = self.catalog.open_existing(name, self.ledger.owner()).await?;
        if let Some(store) = &store {
            open.insert(name.to_owned(), Arc::clone(store));
        }
        Ok(store)
    }

    /// Closes the collections that nobody else holds.
    pub async fn close_unused(&self) {
        let mut open = self.open.lock().await;
        let unused: Vec<_> = open.extract_if(|_, store| Arc::strong_count(store) == 1).collect();
        // Close under the lock, so that nobody opens one again before it is closed.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(unused)).await {
            tracing::warn!(%error, "a collection was not closed cleanly");
        }
    }

    /// Locks a medium: waits until nobody else writes or removes its records.
    pub async fn alone(&self, media: MediaId) -> Alone {
        Alone { _turn: self.turn(media).lock_owned().await }
    }

    /// `None` if the medium is locked. What is left to do is settled later, at the latest at the end of the run.
    fn try_alone(&self, media: MediaId) -> Option<Alone> {
        self.turn(media).try_lock_owned().ok().map(|turn| Alone { _turn: turn })
    }

    fn turn(&self, media: MediaId) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = busy.get(&media).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        busy.insert(media, Arc::downgrade(&turn));
        turn
    }

    /// Deletes the records that the ledger calls leaving, and updates labels and tags of records that lack them.
    /// Returns the number of deleted records. Opens only collections with something to do.
    pub async fn settle(&self) -> Result<u64, ArchiveError> {
        let mut leaving: BTreeMap<String, Vec<Owned>> = BTreeMap::new();
        for content in self.ledger.leaving().await? {
            leaving.entry(content.collection.clone()).or_default().push(content);
        }
        let mut gone = 0;
        for contents in leaving.into_values() {
            gone += self.remove(contents).await?;
        }
        self.annotate().await?;
        Ok(gone)
    }

    /// Deletes contents of one collection; returns the number of deleted records.
    async fn remove(&self, contents: Vec<Owned>) -> Result<u64, ArchiveError> {
        let Some(first) = contents.first() else { return Ok(0) };
        let store = self.existing(&first.collection).await?;
        let (mut turns, mut removed, mut gone) = (Vec::new(), Vec::new(), 0);
        for content in contents {
            let Some(turn) = self.try_alone(content.media_id) else { continue };
            if !self.ledger.is_leaving(&content).await? {
                continue;
            }
            if let Some(store) = &store {
                gone += store.delete(&Selection::plan(content.media_id, &content.plan)).await?;
                points::pass("after records were deleted");
            }
            turns.push(turn);
            removed.push(content);
        }
        if let (Some(store), true) = (&store, gone > 0) {
            store.flush().await?;
        }
        points::pass("after the store confirmed a deletion");
        for content in removed {
            self.forget(content).await?;
        }
        Ok(gone)
    }

    /// Deletes one content whose medium the caller has locked.
    pub async fn remove_one(&self, content: Owned, _alone: &Alone) -> Result<(), ArchiveError> {
        if let Some(store) = self.existing(&content.collection).await?
            && store.delete(&Selection::plan(content.media_id, &content.plan)).await? > 0
        {
            store.flush().await?;
        }
        self.forget(content).await
    }

    /// Call when the records are deleted: removes the pictures, then the ledger's row, and with the last row of an hour of
    /// a live stream what was recorded of it.
    async fn forget(&self, content: Owned) -> Result<(), ArchiveError> {
        self.remove_pictures(&content)?;
        points::pass("after pictures were removed");
        let media = content.media_id;
        let live = self.ledger.live(media).await?;
        self.ledger.left(content).await?;
        if let Some((hour, _)) = live
            && self.ledger.media(media).await?.is_none()
        {
            let dir = self.footage.dir().to_path_buf();
            self.footage.remove(&hour).map_err(|error| ArchiveError::Disk { path: dir, error })?;
        }
        Ok(())
    }

    pub fn remove_pictures(&self, content: &Owned) -> Result<(), ArchiveError> {
        self.thumbs.remove(&thumbs::Key::of(content)).map_err(|error| self.disk(error))
    }

    async fn annotate(&self) -> Result<(), ArchiveError> {
        for (media, said, collections) in self.ledger.to_annotate().await? {
            let Some(_turn) = self.try_alone(media) else { continue };
            let annotation = Annotation { label: said.label.clone(), tags: said.tags.clone() };
            for collection in collections {
                if let Some(store) = self.existing(&collection).await? {
                    store.annotate(media, &annotation).await?;
                    store.flush().await?;
                    points::pass("after records were annotated");
                }
            }
            self.ledger.annotated(media, said).await?;
        }
        Ok(())
    }

    /// Takes over records that the ledger does not know, such as those of a lost ledger. Returns their progress, label
    /// and tags if all records of this content under this plan are in the store. Sets records of other plans to
    /// leaving.
    pub async fn take_up(
        &self,
        store: &dyn VectorStore,
        content: &Owned,
    ) -> Result<Option<(Progress, Said)>, ArchiveError> {
        let mut plans: BTreeMap<String, (Tally, Option<Tally>)> = BTreeMap::new();
        let of_medium = Selection::medium(content.media_id);
        let (mut after, mut any) = (None, None);
        loop {
            let page = store.keys(Some(&of_medium), after, PAGE).await?;
            for key in page.items {
                let mark = key.mark();
                any = Some(key.id).filter(|_| key.plan == content.plan).or(any);
                let (found, complete) = plans.entry(key.plan).or_default();
                found.add(mark);
                *complete = complete.or(key.complete);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let wanted = plans.remove(&content.plan);
        if !plans.is_empty() {
            self.ledger.retire_unknown(content.clone(), plans.into_keys().collect()).await?;
        }
        let (Some((tally, Some(complete))), Some(any)) = (wanted, any) else { return Ok(None) };
        let Some(record) = store.get(any).await?.filter(|_| tally == complete) else { return Ok(None) };
        let last_picture = self.thumbs.last(&thumbs::Key::of(content)).map_err(|error| self.disk(error))?;
        let progress = Progress::done(&content.plan, tally, last_picture, Vec::new());
        Ok(Some((progress, Said { label: record.payload.label, tags: record.payload.tags })))
    }

    fn disk(&self, error: io::Error) -> ArchiveError {
        ArchiveError::Disk { path: self.thumbs.dir().to_path_buf(), error }
    }
}

/// Records read at once.
const PAGE: usize = 10_000;
