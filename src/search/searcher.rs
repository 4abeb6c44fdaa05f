//! Searches one collection. The sessions of its bundle are opened when they are first needed.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use lru::LruCache;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::diverse::diverse;
use super::find::{Shelf, search};
use super::group::Group;
use super::moments::Moment;
use super::place::{Placed, place};
use super::request::MOST_MOMENTS;
use super::rerank::rerank;
use super::scores::{Scores, scores};
use super::{Mode, SearchError, SearchRequest};
use crate::archive::Archive;
use crate::decode::{Frame, Orientation, Picture, Samples, Shrinker};
use crate::embed::bundle::manifest::Topology;
use crate::embed::bundle::{Bundle, Outline};
use crate::embed::model::{RerankModel, TextModel, VideoModel};
use crate::embed::runtime::EmbedSettings;
use crate::embed::{EmbedError, Embedding};
use crate::source::MediaId;
use crate::source::glob::PathGlob;
use crate::source::names::FolderNames;
use crate::store::{Filter, OfSource, Query, VectorStore, Wanted};
use crate::window::Window;

/// Weight of each unwanted vector that is subtracted from a query.
const NOT_WEIGHT: f32 = 0.5;

/// Candidates for each moment, where they should differ from each other.
const DIVERSE_FROM: usize = 5;
const LEAST_DIVERSE_FROM: usize = 50;
/// Vectors that are read side by side.
const VECTORS_AT_ONCE: usize = 16;

/// The answer to a request, with remarks on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Answer {
    pub moments: Vec<Placed>,
    /// For people: why there are no moments, or which part of the request was not followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The cursor by which the next page is asked for, if there are more moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Where they were asked for: the media that the moments are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Group>>,
}

/// A request with all that had to be looked up for it.
#[derive(Clone)]
pub(super) struct Prepared {
    wanted: Wanted,
    filter: Filter,
    glob: Option<PathGlob>,
    /// How many of the best windows are judged again, and by which text.
    rerank: Option<(usize, String)>,
    diversity: f32,
    pub(super) group: bool,
}

pub struct Searcher {
    archive: Arc<Archive>,
    bundle: Bundle,
    collection: String,
    store: Arc<dyn VectorStore>,
    sessions: Sessions,
    /// Vectors of recently used texts.
    texts: Mutex<LruCache<String, Embedding>>,
    folders: FolderNames,
}

/// Each session is opened when it is first needed, and kept.
struct Sessions {
    settings: EmbedSettings,
    text: OnceCell<TextModel>,
    video: OnceCell<VideoModel>,
    rerank: OnceCell<RerankModel>,
}

impl Searcher {
    /// `texts` is the number of text vectors to cache.
    pub fn new(
        archive: Arc<Archive>,
        bundle: Bundle,
        store: Arc<dyn VectorStore>,
        settings: EmbedSettings,
        texts: NonZeroUsize,
        folders: FolderNames,
    ) -> Self {
        let (text, video, rerank) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self {
            archive,
            collection: bundle.collection(),
            bundle,
            store,
            sessions: Sessions { settings, text, video, rerank },
            texts: Mutex::new(LruCache::new(texts)),
            folders,
        }
    }

    pub(super) fn outline(&self) -> Outline {
        Outline::clone(&self.bundle)
    }

    #[tracing::instrument(skip_all)]
    pub(super) async fn prepare(
        &self,
        request: &SearchRequest,
        remarks: &mut Vec<String>,
    ) -> Result<Prepared, SearchError> {
        request.check()?;
        self.check(request).await?;
        let glob = request.path.as_deref().map(glob).transpose()?;
        let rerank = request.rerank.map(usize::from).zip(request.text.clone());
        let filter = self.filter(request, glob.clone()).await?;
        let wanted = self.wanted(request, remarks).await?;
        Ok(Prepared { wanted, filter, glob, rerank, diversity: request.diversity, group: request.group })
    }

    /// At most `limit` moments.
    #[tracing::instrument(skip_all)]
    pub(super) async fn find(&self, prepared: &Prepared, limit: usize) -> Result<Vec<Placed>, SearchError> {
        let Prepared { wanted, filter, glob, rerank: again, diversity, .. } = prepared;
        let (wanted, filter) = (wanted.clone(), filter.clone());
        let shelf = Shelf { store: self.store.as_ref(), ledger: &self.archive.ledger, collection: &self.collection };
        let is_diverse = *diversity > 0.0;
        let most =
            if is_diverse { (limit * DIVERSE_FROM).clamp(LEAST_DIVERSE_FROM, MOST_MOMENTS.into()) } else { limit };
        let mut found: Vec<Moment> = match again {
            Some((candidates, text)) => {
                let model = self.sessions.rerank(&self.bundle).await?;
                let query = Query { wanted, limit: *candidates, filter };
                rerank(&shelf, query, &model, text, most).await?
            }
            None => search(&shelf, &wanted, filter, most).await?,
        };
        if is_diverse {
            let vectors = self.vectors_of(&found).await?;
            found = diverse(found, &vectors, *diversity, limit);
        }
        let mut moments = Vec::with_capacity(found.len());
        for moment in found {
            let placed = place(&self.archive, &self.collection, moment, glob.as_ref()).await?;
            moments.push(placed.of_folder(&self.folders));
        }
        Ok(moments)
    }

    async fn vectors_of(&self, moments: &[Moment]) -> Result<Vec<Option<Embedding>>, SearchError> {
        let ids: Vec<Uuid> = moments.iter().map(|moment| moment.id).collect();
        let vector = async |id| Ok(self.store.get(id).await?.map(|record| record.vector));
        stream::iter(ids).map(vector).buffered(VECTORS_AT_ONCE).try_collect().await
    }

    /// How well every window of this medium answers a checked request; its filters do not matter.
    pub async fn scores(&self, request: &SearchRequest, media: MediaId) -> Result<Scores, SearchError> {
        self.check(request).await?;
        // Fused ranks say nothing of how good a window is.
        let mode = if request.mode == Mode::Hybrid { Mode::Vector } else { request.mode };
        let request = SearchRequest { mode, ..request.clone() };
        let wanted = self.wanted(&request, &mut Vec::new()).await?;
        let shelf = Shelf { store: self.store.as_ref(), ledger: &self.archive.ledger, collection: &self.collection };
        let probe = self.archive.ledger.media(media).await?.and_then(|row| row.probe);
        scores(&shelf, wanted, media, probe.and_then(|probe| probe.duration)).await
    }

    /// Checks that this bundle and its collection can answer the request.
    async fn check(&self, request: &SearchRequest) -> Result<(), SearchError> {
        let (name, manifest) = (self.bundle.name(), self.bundle.manifest());
        if request.min_confidence > 0.0 {
            let problem = format!("the model {name} has no calibration, so its scores cannot be read as confidence");
            return Err(SearchError::Invalid(format!("min_confidence: {problem}")));
        }
        if request.rerank.is_some() && manifest.rerank.is_none() {
            let problem =
                format!("the model {name} does not re-rank: that needs one which does (CLIP4Clip's tightTransf)");
            return Err(SearchError::Invalid(problem));
        }
        let asks_captions = request.mode != Mode::Vector || request.caption.is_some();
        if asks_captions && self.store.captions().await? == 0 {
            return Err(SearchError::Invalid(match manifest.captions {
                Some(_) => "no window has a caption: index again with index.captions = true".to_owned(),
                None => format!("the model {name} writes no captions, so there are no words to search"),
            }));
        }
        Ok(())
    }

    async fn filter(&self, request: &SearchRequest, glob: Option<PathGlob>) -> Result<Filter, SearchError> {
        let media = match glob {
            Some(glob) => Some(self.archive.ledger.media_at(&self.collection, glob).await?),
            None => None,
        };
        let source = match &request.source {
            Some(name) => Some(match self.folders.folder(name) {
                Some((root, others)) => {
                    OfSource::Media(self.archive.ledger.media_below(&root, others, &self.collection).await?)
                }
                None => OfSource::Named(name.clone()),
            }),
            None => None,
        };
        Ok(Filter {
            media,
            hidden: Vec::new(),
            source,
            label: request.label.clone(),
            tags: request.tags.clone(),
            after_ms: request.after.map(|time| time.0),
            before_ms: request.before.map(|time| time.0),
            between: request.between.map(|between| between.0),
            caption: request.caption.clone(),
        })
    }

    /// What to compare records with. Searching words of captions needs no model.
    async fn wanted(&self, request: &SearchRequest, remarks: &mut Vec<String>) -> Result<Wanted, SearchError> {
        let text = request.text.clone().unwrap_or_default();
        Ok(match request.mode {
            Mode::Vector => Wanted::Vector(self.vector(request, remarks).await?),
            Mode::Text => Wanted::Text(text),
            Mode::Hybrid => Wanted::Hybrid(self.vector(request, remarks).await?, text),
        })
    }

    /// The query vector, less the unwanted ones.
    async fn vector(&self, request: &SearchRequest, remarks: &mut Vec<String>) -> Result<Embedding, SearchError> {
        let wanted = if let Some(id) = request.like {
            let record = self.store.get(id).await?;
            let none = || SearchError::Invalid(format!("{id}: no such moment in {}", self.collection));
            record.ok_or_else(none)?.vector
        } else if let Some(picture) = &request.picture {
            self.of_picture(picture).await?
        } else if let Some(text) = &request.text {
            self.of_text(text, remarks).await?
        } else {
            let mut vectors = Vec::with_capacity(request.texts.len());
            for text in &request.texts {
                vectors.push(self.of_text(text, remarks).await?);
            }
            average(&vectors)?
        };
        let mut unwanted = Vec::with_capacity(request.not.len());
        for text in &request.not {
            unwanted.push(self.of_text(text, remarks).await?);
        }
        Ok(combine(&wanted, &unwanted)?)
    }

    #[tracing::instrument(name = "encode", skip_all)]
    async fn of_text(&self, text: &str, remarks: &mut Vec<String>) -> Result<Embedding, SearchError> {
        let model = self.sessions.text(&self.bundle).await?;
        if model.is_truncated(text)? {
            let beginning: String = text.chars().take(40).collect();
            remarks.push(format!("the model reads only the beginning of \"{beginning}…\""));
        }
        let known = || self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vector) = known().get(text) {
            return Ok(vector.clone());
        }
        let vector = model.encode(vec![text.to_owned()]).await?.swap_remove(0);
        known().put(text.to_owned(), vector.clone());
        Ok(vector)
    }

    /// Encodes a picture as a window of identical frames.
    async fn of_picture(&self, bytes: &[u8]) -> Result<Embedding, SearchError> {
        let (bytes, spec) = (bytes.to_vec(), self.bundle.pixel_spec());
        let pixels = blocking(move || {
            let rgba = image::load_from_memory(&bytes).map(image::DynamicImage::into_rgba8).map_err(|_| {
                SearchError::Invalid("the picture is no JPEG, PNG or WebP, or it is damaged".to_owned())
            })?;
            let picture = Picture {
                samples: Samples::Rgbx(rgba.as_raw()),
                width: rgba.width(),
                height: rgba.height(),
                pixel_aspect: (1, 1),
                orientation: Orientation::default(),
            };
            Ok(Shrinker::default().pixels(&picture, &spec))
        })
        .await?;
        let frame = Frame { pts: Duration::ZERO, until: None, pixels: pixels.into(), thumbnail: None };
        let model = self.sessions.video(&self.bundle).await?;
        let video = &self.bundle.manifest().video;
        let frames = vec![frame; video.frames];
        let (start, end) = (Duration::ZERO, Duration::ZERO);
        let mut vectors = match video.topology {
            Topology::FramesHead => {
                let items = model.features(frames).await?;
                model.pool(vec![Window { start, end, items }]).await?
            }
            Topology::Video => model.encode(vec![Window { start, end, items: frames }]).await?,
        };
        Ok(vectors.swap_remove(0))
    }
}

impl Sessions {
    async fn text(&self, bundle: &Bundle) -> Result<TextModel, SearchError> {
        self.session(&self.text, bundle, TextModel::open).await
    }

    async fn video(&self, bundle: &Bundle) -> Result<VideoModel, SearchError> {
        self.session(&self.video, bundle, VideoModel::open).await
    }

    async fn rerank(&self, bundle: &Bundle) -> Result<RerankModel, SearchError> {
        self.session(&self.rerank, bundle, RerankModel::open).await
    }

    async fn session<T: Clone + Send + 'static>(
        &self,
        cell: &OnceCell<T>,
        bundle: &Bundle,
        open: fn(&Bundle, &EmbedSettings) -> Result<T, EmbedError>,
    ) -> Result<T, SearchError> {
        let opened = cell.get_or_try_init(|| {
            let (bundle, settings) = (bundle.clone(), self.settings.clone());
            blocking(move || Ok(open(&bundle, &settings)?))
        });
        Ok(opened.await?.clone())
    }
}

/// Runs work on the blocking pool, because reading graphs and decoding pictures would block an async worker.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SearchError> + Send + 'static,
) -> Result<T, SearchError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SearchError::Internal(error.to_string()))?
}

fn glob(pattern: &str) -> Result<PathGlob, SearchError> {
    PathGlob::new(pattern).map_err(|error| SearchError::Invalid(format!("path: {error}")))
}

/// Of several texts, as of the prompts of an ensemble.
fn average(vectors: &[Embedding]) -> Result<Embedding, EmbedError> {
    let mut sum = vec![0.0; vectors.first().map_or(0, |vector| vector.as_slice().len())];
    for vector in vectors {
        for (value, other) in sum.iter_mut().zip(vector.as_slice()) {
            *value += other;
        }
    }
    Embedding::new(sum)
}

/// The wanted vector minus [`NOT_WEIGHT`] times each unwanted one.
fn combine(wanted: &Embedding, unwanted: &[Embedding]) -> Result<Embedding, EmbedError> {
    let mut vector = wanted.as_slice().to_vec();
    for other in unwanted {
        for (value, other) in vector.iter_mut().zip(other.as_slice()) {
            *value -= NOT_WEIGHT * other;
        }
    }
    Embedding::new(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_texts_are_averaged() {
        let vector = |values: &[f32]| Embedding::new(values.to_vec()).unwrap();
        let both = average(&[vector(&[1.0, 0.0]), vector(&[0.0, 1.0])]).unwrap();
        assert_eq!(both, vector(&[1.0, 1.0]));
    }

    #[test]
    fn what_is_not_wanted_is_pushed_away() {
        let wanted = Embedding::new(vec![1.0, 1.0]).unwrap();
        let unwanted = Embedding::new(vec![0.0, 1.0]).unwrap();
        let query = combine(&wanted, std::slice::from_ref(&unwanted)).unwrap();
        assert!(query.dot(&unwanted) < wanted.dot(&unwanted));
        assert_eq!(combine(&wanted, &[]).unwrap(), wanted);
    }
}
