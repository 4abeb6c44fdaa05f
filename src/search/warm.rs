//! Keeps recently used searchers open; the least recently used one is closed to make room.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::OnceCell;

use super::gate::{Gate, Load};
use super::searcher::blocking;
use super::{Answer, SearchError, SearchRequest, Searcher};
use crate::archive::Archive;
use crate::clock::Clock;
use crate::embed::bundle::{Bundle, Bundles, Outline};
use crate::embed::choice::Chosen;
use crate::embed::runtime::EmbedSettings;

/// Sizes of the caches and limits on concurrent searches.
#[derive(Clone, Copy, Debug)]
pub struct Warmth {
    /// Searchers kept open, one per collection.
    pub collections: NonZeroUsize,
    /// Searches that run at once.
    pub concurrent: usize,
    /// Searches that may wait for a running one to end; further ones are refused.
    pub queue: usize,
    /// How long a search may wait.
    pub queue_wait: Duration,
    /// Text vectors cached by each searcher.
    pub text_vectors: NonZeroUsize,
}

/// Answers requests to any collection of an archive.
pub struct Searchers {
    archive: Arc<Archive>,
    bundles: Bundles,
    /// The model named in the settings.
    preferred: Option<String>,
    settings: EmbedSettings,
    warmth: Warmth,
    gate: Gate,
    /// By collection. The cell is empty while its searcher is being opened.
    warm: Mutex<LruCache<String, Arc<OnceCell<Arc<Searcher>>>>>,
}

impl Searchers {
    pub fn new(
        archive: Arc<Archive>,
        bundles: Bundles,
        preferred: Option<String>,
        settings: EmbedSettings,
        warmth: Warmth,
        clock: Clock,
    ) -> Arc<Self> {
        let gate = Gate::new(warmth.concurrent, warmth.queue, warmth.queue_wait, clock);
        let warm = Mutex::new(LruCache::new(warmth.collections));
        Arc::new(Self { archive, bundles, preferred, settings, warmth, gate, warm })
    }

    pub fn load(&self) -> Load {
        self.gate.load()
    }

    pub async fn answer(self: &Arc<Self>, request: SearchRequest) -> Result<Answer, SearchError> {
        request.check()?;
        let permit = self.gate.enter().await?;
        // The engine's search cannot be cancelled, so it keeps its permit until it ends, even if the caller is gone.
        let searchers = Arc::clone(self);
        let answering = tokio::spawn(async move {
            let answer = searchers.ask(&request).await;
            drop(permit);
            answer
        });
        answering.await.map_err(|error| SearchError::Internal(error.to_string()))?
    }

    async fn ask(&self, request: &SearchRequest) -> Result<Answer, SearchError> {
        let known = self.archive.ledger.collections().await?;
        let (collections, bundles): (Vec<String>, Vec<String>) = known.into_iter().unzip();
        let asked = request.model.as_deref().or(self.preferred.as_deref());
        let Chosen { name, outline, passed_over } = self.bundles.choose(asked, bundles)?;
        let mut remarks = Vec::new();
        if !passed_over.is_empty() {
            let several = passed_over.join(", ");
            remarks.push(format!("indexed with several models ({several}): choose one with --model"));
        }
        if !collections.contains(&outline.collection()) {
            remarks.push(format!("nothing is indexed with model {name} yet: clipseek index PATH --model {name}"));
            return Ok(Answer { moments: Vec::new(), remarks });
        }
        let mut answer = self.searcher(outline).await?.answer(request).await?;
        remarks.append(&mut answer.remarks);
        Ok(Answer { remarks, ..answer })
    }

    async fn searcher(&self, outline: Outline) -> Result<Arc<Searcher>, SearchError> {
        let collection = outline.collection();
        let (cell, closed) = {
            let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
            match warm.get(&collection) {
                Some(cell) => (Arc::clone(cell), None),
                None => {
                    let cell: Arc<OnceCell<Arc<Searcher>>> = Arc::default();
                    (Arc::clone(&cell), warm.push(collection, cell))
                }
            }
        };
        if let Some((_, closed)) = closed {
            drop(closed);
            self.archive.close_unused().await;
        }
        Ok(Arc::clone(cell.get_or_try_init(|| self.open(outline)).await?))
    }

    async fn open(&self, outline: Outline) -> Result<Arc<Searcher>, SearchError> {
        let collection = outline.collection();
        let bundle = blocking(move || Ok(Bundle::check(outline)?)).await?;
        let store = self.archive.existing(&collection).await?;
        let store = store.ok_or(SearchError::NoCollection(collection))?;
        let (archive, settings) = (Arc::clone(&self.archive), self.settings.clone());
        Ok(Arc::new(Searcher::new(archive, bundle, store, settings, self.warmth.text_vectors)))
    }
}
