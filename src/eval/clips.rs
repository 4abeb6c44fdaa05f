//! Turns one video, or a part of one, into its vector: survey, choice of frames, decoder, model. Results are cached.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Entry};
use super::sampling::{ClipSpan, FrameSampling, frame_rate};
use super::{EvalError, Vectors};
use crate::decode::{self, DecodeError, Decoder, Frame, Request, Want};
use crate::embed::bundle::Bundle;
use crate::embed::manifest::Topology;
use crate::embed::model::VideoModel;
use crate::embed::{EmbedError, Embedding, Feature};
use crate::store::Features;
use crate::window::Window;

/// A video, or a part of one, that captions are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub path: PathBuf,
    pub span: Option<ClipSpan>,
}

/// A clip's vector and how it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    pub vector: Embedding,
    /// Features of the window's frames, in order; empty unless they are asked for.
    pub features: Features,
    /// Number of distinct frames in the window.
    pub frames: usize,
    pub damage: Vec<String>,
    /// Whether it came from the cache, without decoding.
    pub kept: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// An error of this clip only.
    #[error("{0}")]
    Clip(String),
    #[error(transparent)]
    Fatal(#[from] EvalError),
}

impl From<DecodeError> for ClipError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Stopped => Self::Fatal(EvalError::Stopped),
            error => Self::Clip(error.to_string()),
        }
    }
}

impl From<EmbedError> for ClipError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::NoDirection { .. } => Self::Clip(error.to_string()),
            error => Self::Fatal(error.into()),
        }
    }
}

/// Cached beside the vectors of a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    /// For each place of the window, the index of its frame.
    places: Vec<usize>,
    times: Vec<Duration>,
    /// Number of distinct frames; a model that takes whole windows gives only one vector.
    frames: usize,
    damage: Vec<String>,
}

/// Turns clips into vectors: decoder, model and choice of frames.
pub struct Clips {
    decoder: Arc<dyn Decoder>,
    bundle: Arc<Bundle>,
    model: VideoModel,
    sampling: FrameSampling,
    cache: Option<Arc<Cache>>,
    keeps_features: bool,
    /// Everything except the clip that cached vectors depend on.
    key: String,
}

impl Clips {
    pub fn new(
        decoder: Arc<dyn Decoder>,
        bundle: Arc<Bundle>,
        model: VideoModel,
        sampling: FrameSampling,
        cache: Option<Arc<Cache>>,
    ) -> Self {
        let manifest = bundle.manifest();
        // Without the head, because another head can use the same features. With the version, because two versions may
        // decode or resize differently.
        let key = json!({
            "clipseek": env!("CARGO_PKG_VERSION"),
            "frame": manifest.graphs.frame,
            "video": manifest.graphs.video,
            "frames": manifest.graphs.video.as_ref().map(|_| manifest.video.frames),
            "pixels": manifest.pixels,
            "device": model.device(),
            "sampling": sampling,
        });
        Self { decoder, model, sampling, cache, keeps_features: false, key: key.to_string(), bundle }
    }

    /// Keeps each clip's frame features in memory, for models that have them.
    pub fn with_features(self) -> Self {
        Self { keeps_features: true, ..self }
    }

    /// Frames asked for per clip.
    pub fn frames(&self) -> usize {
        self.sampling.frames
    }

    pub async fn encode(&self, clip: &Clip, stop: &CancellationToken) -> Result<Encoded, ClipError> {
        let (entry, kept) = self.vectors(clip, stop).await?;
        let About { places, times, frames, damage } = entry.about;
        let mut features = Features::new();
        let vector = match self.bundle.manifest().video.topology {
            Topology::FramesHead => {
                let rows: Vec<Arc<[f32]>> = entry.vectors.rows().map(Arc::from).collect();
                let feature = |place: &usize| Feature { pts: times[*place], values: Arc::clone(&rows[*place]) };
                let items: Vec<Feature> = places.iter().map(feature).collect();
                if self.keeps_features {
                    features = items.iter().map(|feature| Arc::clone(&feature.values)).collect();
                }
                self.model.pool(vec![window(items, |feature| feature.pts)]).await?.pop()
            }
            Topology::Video => entry.vectors.rows().next().map(|row| Embedding::new(row.to_vec())).transpose()?,
        };
        let vector = vector.ok_or_else(|| ClipError::Clip("the model gave no vector".to_owned()))?;
        Ok(Encoded { vector, features, frames, damage, kept })
    }

    /// The clip's frame features, or its vector if the model takes whole windows; and whether they came from the cache.
    async fn vectors(&self, clip: &Clip, stop: &CancellationToken) -> Result<(Entry<About>, bool), ClipError> {
        let key = match &self.cache {
            None => None,
            Some(cache) => {
                let (cache, path) = (Arc::clone(cache), clip.path.clone());
                let media = blocking(move || cache.media_id(&path)).await?;
                let media = media.map_err(|error| ClipError::from(DecodeError::Unreadable(error)))?;
                Some(json!([self.key, media, clip.span]).to_string())
            }
        };
        if let (Some(cache), Some(key)) = (&self.cache, &key) {
            let (cache, key) = (Arc::clone(cache), key.clone());
            if let Some(entry) = blocking(move || cache.get(&key)).await? {
                return Ok((entry, true));
            }
        }
        let entry = self.work(clip, stop).await?;
        if let (Some(cache), Some(key)) = (&self.cache, key) {
            cache.put(&key, &entry).map_err(|error| EvalError::Disk { path: cache.dir().to_owned(), error })?;
        }
        Ok((entry, false))
    }

    async fn work(&self, clip: &Clip, stop: &CancellationToken) -> Result<Entry<About>, ClipError> {
        let (decoder, sampling, pixels) = (Arc::clone(&self.decoder), self.sampling, self.bundle.pixel_spec());
        let (Clip { path, span }, stop) = (clip.clone(), stop.clone());
        let chosen = blocking(move || choose(&*decoder, &path, span, &sampling, pixels, stop)).await??;
        let Chosen { frames, places, damage } = chosen;
        let count = frames.len();
        let times: Vec<Duration> = frames.iter().map(|frame| frame.pts).collect();
        let vectors = match self.bundle.manifest().video.topology {
            Topology::FramesHead => {
                let mut vectors = Vectors::new(self.bundle.manifest().feature_dim());
                for feature in self.model.features(frames).await? {
                    vectors.push(&feature.values);
                }
                vectors
            }
            Topology::Video => {
                let items = places.iter().map(|place| frames[*place].clone()).collect();
                let mut vectors = Vectors::new(self.bundle.dim());
                for vector in self.model.encode(vec![window(items, |frame: &Frame| frame.pts)]).await? {
                    vectors.push(vector.as_slice());
                }
                vectors
            }
        };
        Ok(Entry { about: About { places, times, frames: count, damage }, vectors })
    }
}

fn window<T>(items: Vec<T>, pts: impl Fn(&T) -> Duration) -> Window<T> {
    let at = |item: Option<&T>| item.map_or(Duration::ZERO, &pts);
    Window { start: at(items.first()), end: at(items.last()), items }
}

/// The distinct frames that a sampling takes of a clip, and the index of the frame at each place.
struct Chosen {
    frames: Vec<Frame>,
    places: Vec<usize>,
    damage: Vec<String>,
}

fn choose(
    decoder: &dyn Decoder,
    path: &Path,
    span: Option<ClipSpan>,
    sampling: &FrameSampling,
    pixels: decode::PixelSpec,
    stop: CancellationToken,
) -> Result<Chosen, ClipError> {
    let survey = decoder.survey(path, stop.clone())?;
    let rate = frame_rate(&survey.times, survey.probe.frame_rate);
    let picks = sampling.pick(&survey.times, survey.end, rate, span).map_err(ClipError::Clip)?;
    let wanted: Vec<Duration> = picks.iter().map(|pick| survey.times[*pick]).collect();
    let mut times = wanted.clone();
    times.dedup();
    let request = Request {
        path: path.to_owned(),
        track: None,
        decode: true,
        want: Want::At(times),
        zero: decode::Zero::FirstFrame,
        sampling: decode::Sampling::Gop,
        tolerance: 0.0,
        from: Duration::ZERO,
        pixels,
        thumbnail_px: None,
    };
    let mut decoding = decoder.open(&request, stop)?;
    let frames = decoding.by_ref().collect::<Result<Vec<Frame>, _>>()?;
    let damage = decoding
        .outcome()
        .map(|outcome| outcome.problems.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    let Some(last) = frames.len().checked_sub(1) else {
        return Err(ClipError::Clip("damaged: none of the wanted frames could be decoded".to_owned()));
    };
    // A frame that could not be decoded is replaced by the next decoded one, else by the last.
    let places = wanted.iter().map(|time| frames.partition_point(|frame| frame.pts < *time).min(last)).collect();
    Ok(Chosen { frames, places, damage })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ClipError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|panic| ClipError::Clip(format!("internal error: {panic}")))
}
