//! Keeps recently used searchers open; the least recently used one is closed to make room.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::OnceCell;
use tracing::Instrument;

use super::group::groups;
use super::kept::{Cursor, Kept, List, joined};
use super::request::MOST_MOMENTS;
use super::searcher::blocking;
use super::{Answer, Placed, Scores, SearchError, SearchRequest, Searcher};
use crate::archive::Archive;
use crate::clock::Clock;
use crate::embed::bundle::{Bundle, Bundles, Outline};
use crate::embed::choice::Chosen;
use crate::embed::runtime::EmbedSettings;
use crate::gate::{Gate, Load};
use crate::source::MediaId;
use crate::source::names::FolderNames;

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
    kept: Kept,
    /// The watched folders.
    pub folders: FolderNames,
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
        let gate = Gate::new(warmth.concurrent, warmth.queue, warmth.queue_wait, clock.clone());
        let warm = Mutex::new(LruCache::new(warmth.collections));
        let (kept, folders) = (Kept::new(clock), FolderNames::default());
        Arc::new(Self { archive, bundles, preferred, settings, warmth, gate, kept, folders, warm })
    }

    pub fn load(&self) -> Load {
        self.gate.load()
    }

    pub async fn answer(self: &Arc<Self>, request: SearchRequest) -> Result<Answer, SearchError> {
        request.check()?;
        let searchers = Arc::clone(self);
        self.in_turn(async move { searchers.ask(&request).await }).await
    }

    /// How well every window of a medium answers a request.
    pub async fn scores(self: &Arc<Self>, request: SearchRequest, media: MediaId) -> Result<Scores, SearchError> {
        request.check()?;
        if request.cursor.is_some() {
            return Err(SearchError::Invalid(
                "a cursor goes on with a list of moments: say what to look for".to_owned(),
            ));
        }
        let searchers = Arc::clone(self);
        self.in_turn(async move {
            match searchers.chosen(&request, &mut Vec::new()).await? {
                Some(searcher) => searcher.scores(&request, media).await,
                None => Err(SearchError::Invalid("nothing is indexed with this model yet".to_owned())),
            }
        })
        .await
    }

    /// The engine's search cannot be cancelled, so it keeps its permit until it ends, even if the caller is gone.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SearchError>> + Send + 'static,
    ) -> Result<T, SearchError> {
        let permit = self.gate.enter().await?;
        let working = async move {
            let answer = work.await;
            drop(permit);
            answer
        };
        let working = tokio::spawn(working.in_current_span());
        working.await.map_err(|error| SearchError::Internal(error.to_string()))?
    }

    #[tracing::instrument(name = "search", skip_all)]
    async fn ask(&self, request: &SearchRequest) -> Result<Answer, SearchError> {
        if let Some(cursor) = &request.cursor {
            return self.go_on(cursor, request.limit.into()).await;
        }
        let mut remarks = Vec::new();
        let Some(searcher) = self.chosen(request, &mut remarks).await? else {
            return Ok(Answer { remarks, ..Answer::default() });
        };
        let limit = usize::from(request.limit);
        let prepared = searcher.prepare(request, &mut remarks).await?;
        // One more tells whether there is a next page.
        let mut moments = searcher.find(&prepared, limit + 1).await?;
        let has_more = moments.len() > limit && limit < usize::from(MOST_MOMENTS);
        moments.truncate(limit);
        let groups = request.group.then(|| groups(&moments));
        let next = has_more.then(|| {
            let outline = searcher.outline();
            self.kept.keep(List { outline, prepared, first: moments.clone(), all: OnceCell::new() }).to_string()
        });
        Ok(Answer { moments, remarks, next, groups })
    }

    /// A further page of an answer.
    async fn go_on(&self, cursor: &str, limit: usize) -> Result<Answer, SearchError> {
        let Cursor { list: id, from } = cursor.parse()?;
        let list = self.kept.get(id)?;
        let make = async || {
            let searcher = self.searcher(list.outline.clone()).await?;
            let found = searcher.find(&list.prepared, MOST_MOMENTS.into()).await?;
            let mut all = joined(&list.first, found);
            all.truncate(MOST_MOMENTS.into());
            Ok::<_, SearchError>(all)
        };
        let all = list.all.get_or_try_init(make).await?;
        let moments: Vec<Placed> = all.iter().skip(from).take(limit).cloned().collect();
        let end = from + moments.len();
        let next = (end < all.len()).then(|| Cursor { list: id, from: end }.to_string());
        let groups = list.prepared.group.then(|| groups(&moments));
        Ok(Answer { moments, remarks: Vec::new(), next, groups })
    }

    /// The searcher of the model that the request names or that there is; `None`: nothing is indexed with it.
    async fn chosen(
        &self,
        request: &SearchRequest,
        remarks: &mut Vec<String>,
    ) -> Result<Option<Arc<Searcher>>, SearchError> {
        let known = self.archive.ledger.collections().await?;
        let (collections, bundles): (Vec<String>, Vec<String>) = known.into_iter().unzip();
        let asked = request.model.as_deref().or(self.preferred.as_deref());
        let chosen = self.bundles.choose(asked, bundles).map_err(|error| match &request.model {
            Some(_) => SearchError::Invalid(error.to_string()),
            None => error.into(),
        });
        let Chosen { name, outline, passed_over } = chosen?;
        if !passed_over.is_empty() {
            let several = passed_over.join(", ");
            remarks.push(format!("indexed with several models ({several}): choose one with --model"));
        }
        if !collections.contains(&outline.collection()) {
            remarks.push(format!("nothing is indexed with model {name} yet: clipseek index PATH --model {name}"));
            return Ok(None);
        }
        self.searcher(outline).await.map(Some)
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
        Ok(Arc::new(Searcher::new(archive, bundle, store, settings, self.warmth.text_vectors, self.folders.clone())))
    }
}
