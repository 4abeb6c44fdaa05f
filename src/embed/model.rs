//! An opened bundle: its sessions behind their threads. Cheap to clone; the threads end with the last clone.
//!
//! Video and text have threads of their own, so that indexing never delays a search.

use std::path::Path;
use std::sync::Arc;

use super::bundle::{Bundle, Check, Outline, verify_files};
use super::runtime::EmbedSettings;
use super::text::TextTokenizer;
use super::worker::{Depth, Lane, Told, Worker};
use super::{Captioner, EmbedError, Embedding, Feature, FrameEncoder, Head, Reranker, TextEncoder, VideoEncoder};
use crate::decode::{Frame, PixelSpec, Rgb};
use crate::window::Window;

/// Encodes frames and windows to vectors.
#[derive(Clone)]
pub struct VideoModel {
    stages: Stages,
    captioner: Option<Worker<Window<Feature>, String>>,
    device: Arc<str>,
}

#[derive(Clone)]
enum Stages {
    FramesHead { frames: Worker<Frame, Feature>, head: Worker<Window<Feature>, Embedding> },
    Video(Worker<Window<Frame>, Embedding>),
}

impl VideoModel {
    /// Opens the bundle's sessions and warms them up. Blocks while the graphs are read.
    #[cfg(feature = "onnx")]
    pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
        use super::head::MeanHead;
        use super::manifest::Topology;
        use super::onnx::{OnnxFrameEncoder, OnnxHead, OnnxVideoEncoder};

        match bundle.manifest().video.topology {
            Topology::FramesHead => {
                let mut frames = OnnxFrameEncoder::open(bundle, settings)?;
                frames.warm_up(settings.batch_frames)?;
                let head: Box<dyn Head> = match bundle.manifest().graphs.head {
                    Some(_) => Box::new(OnnxHead::open(bundle, settings)?),
                    None => Box::new(MeanHead),
                };
                let device = frames.device().to_string();
                Self::of_frames(Box::new(frames), head, &device, settings.batch_frames)
            }
            Topology::Video => {
                let mut encoder = OnnxVideoEncoder::open(bundle, settings)?;
                encoder.warm_up(settings.batch_frames)?;
                let device = encoder.device().to_string();
                Self::of_windows(Box::new(encoder), &device, settings.batch_frames)
            }
        }
    }

    #[cfg(not(feature = "onnx"))]
    pub fn open(_: &Bundle, _: &EmbedSettings) -> Result<Self, EmbedError> {
        Err(without_onnx())
    }

    pub fn of_frames(
        mut encoder: Box<dyn FrameEncoder>,
        mut head: Box<dyn Head>,
        device: &str,
        batch: usize,
    ) -> Result<Self, EmbedError> {
        let frames = Worker::start("embed-frames", batch, move |frames: &[Frame]| encoder.encode(frames))?;
        let head = Worker::start("embed-head", batch, move |windows: &[Window<Feature>]| head.pool(windows))?;
        Ok(Self { stages: Stages::FramesHead { frames, head }, captioner: None, device: device.into() })
    }

    pub fn of_windows(mut encoder: Box<dyn VideoEncoder>, device: &str, batch: usize) -> Result<Self, EmbedError> {
        let worker = Worker::start("embed-video", batch, move |windows: &[Window<Frame>]| encoder.encode(windows))?;
        Ok(Self { stages: Stages::Video(worker), captioner: None, device: device.into() })
    }

    /// Adds the bundle's caption decoder, with `beams` hypotheses per window.
    #[cfg(feature = "onnx")]
    pub fn with_captions(self, bundle: &Bundle, settings: &EmbedSettings, beams: usize) -> Result<Self, EmbedError> {
        let captioner = super::captions::OnnxCaptioner::open(bundle, settings, Some(beams))?;
        self.captioned_by(Box::new(captioner), settings.batch_frames)
    }

    #[cfg(not(feature = "onnx"))]
    pub fn with_captions(self, _: &Bundle, _: &EmbedSettings, _: usize) -> Result<Self, EmbedError> {
        Err(without_onnx())
    }

    pub fn captioned_by(mut self, mut captioner: Box<dyn Captioner>, batch: usize) -> Result<Self, EmbedError> {
        let caption = move |windows: &[Window<Feature>]| captioner.caption(windows);
        self.captioner = Some(Worker::start("embed-captions", batch, caption)?);
        Ok(self)
    }

    /// The same sessions, for frames that cannot wait.
    pub fn urgent(&self) -> Self {
        let stages = match &self.stages {
            Stages::FramesHead { frames, head } => {
                Stages::FramesHead { frames: frames.in_lane(Lane::Urgent), head: head.in_lane(Lane::Urgent) }
            }
            Stages::Video(worker) => Stages::Video(worker.in_lane(Lane::Urgent)),
        };
        let captioner = self.captioner.as_ref().map(|captioner| captioner.in_lane(Lane::Urgent));
        Self { stages, captioner, device: Arc::clone(&self.device) }
    }

    /// The device of the encoder, such as `cpu` or `cuda:0`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Has somebody told of each batch from now on.
    pub fn tell(&self, told: &Told) {
        match &self.stages {
            Stages::FramesHead { frames, head } => {
                frames.tell(Arc::clone(told));
                head.tell(Arc::clone(told));
            }
            Stages::Video(windows) => windows.tell(Arc::clone(told)),
        }
        if let Some(captioner) = &self.captioner {
            captioner.tell(Arc::clone(told));
        }
    }

    /// How much waits for each session.
    pub fn depths(&self) -> Vec<Depth> {
        let mut depths = match &self.stages {
            Stages::FramesHead { frames, head } => vec![frames.depth(), head.depth()],
            Stages::Video(windows) => vec![windows.depth()],
        };
        depths.extend(self.captioner.as_ref().map(Worker::depth));
        depths
    }

    /// One feature per frame, in order. Fails unless the topology is `frames+head`.
    pub async fn features(&self, frames: Vec<Frame>) -> Result<Vec<Feature>, EmbedError> {
        match &self.stages {
            Stages::FramesHead { frames: worker, .. } => worker.run(frames).await,
            Stages::Video(_) => {
                Err(EmbedError::Input("this model takes whole windows, it has no frame features".to_owned()))
            }
        }
    }

    /// One vector per window. Fails unless the topology is `frames+head`.
    pub async fn pool(&self, windows: Vec<Window<Feature>>) -> Result<Vec<Embedding>, EmbedError> {
        match &self.stages {
            Stages::FramesHead { head, .. } => head.run(windows).await,
            Stages::Video(_) => {
                Err(EmbedError::Input("this model takes windows of frames, not of features".to_owned()))
            }
        }
    }

    /// One caption per window; `None` without a caption decoder.
    pub async fn captions(&self, windows: Vec<Window<Feature>>) -> Result<Option<Vec<String>>, EmbedError> {
        match &self.captioner {
            Some(captioner) => captioner.run(windows).await.map(Some),
            None => Ok(None),
        }
    }

    /// One vector per window of frames, with either topology.
    pub async fn encode(&self, windows: Vec<Window<Frame>>) -> Result<Vec<Embedding>, EmbedError> {
        let Stages::Video(worker) = &self.stages else {
            let spans: Vec<_> = windows.iter().map(|w| (w.start, w.end, w.items.len())).collect();
            let frames = windows.into_iter().flat_map(|w| w.items).collect();
            let mut features = self.features(frames).await?.into_iter();
            let window = |(start, end, n)| Window { start, end, items: features.by_ref().take(n).collect() };
            return self.pool(spans.into_iter().map(window).collect()).await;
        };
        worker.run(windows).await
    }
}

/// Encodes texts to vectors.
#[derive(Clone)]
pub struct TextModel {
    worker: Worker<String, Embedding>,
    tokenizer: Option<Arc<TextTokenizer>>,
    device: Arc<str>,
}

impl TextModel {
    #[cfg(feature = "onnx")]
    pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
        let tokenizer = Arc::new(TextTokenizer::open(bundle)?);
        let encoder = super::text::OnnxTextEncoder::open(bundle, Arc::clone(&tokenizer), settings)?;
        let device = encoder.device().to_string();
        let model = Self::of(Box::new(encoder), &device, settings.batch_frames)?;
        Ok(Self { tokenizer: Some(tokenizer), ..model })
    }

    #[cfg(not(feature = "onnx"))]
    pub fn open(_: &Bundle, _: &EmbedSettings) -> Result<Self, EmbedError> {
        Err(without_onnx())
    }

    pub fn of(mut encoder: Box<dyn TextEncoder>, device: &str, batch: usize) -> Result<Self, EmbedError> {
        let worker = Worker::start("embed-text", batch, move |texts: &[String]| encoder.encode(texts))?;
        Ok(Self { worker, tokenizer: None, device: device.into() })
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    /// One vector per text. An empty text gives [`EmbedError::Input`].
    pub async fn encode(&self, texts: Vec<String>) -> Result<Vec<Embedding>, EmbedError> {
        self.worker.run(texts).await
    }

    /// Whether the text is longer than the model's context.
    pub fn is_truncated(&self, text: &str) -> Result<bool, EmbedError> {
        self.tokenizer.as_ref().map_or(Ok(false), |tokenizer| tokenizer.is_truncated(text))
    }
}

/// Scores candidates by their frames.
#[derive(Clone)]
pub struct RerankModel {
    worker: Worker<Candidates, Vec<f32>>,
}

/// A text, and the frame features of the windows to compare it with.
type Candidates = (String, Vec<Vec<Arc<[f32]>>>);

impl RerankModel {
    #[cfg(feature = "onnx")]
    pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
        Self::of(Box::new(super::rerank::OnnxReranker::open(bundle, settings)?))
    }

    #[cfg(not(feature = "onnx"))]
    pub fn open(_: &Bundle, _: &EmbedSettings) -> Result<Self, EmbedError> {
        Err(without_onnx())
    }

    pub fn of(mut reranker: Box<dyn Reranker>) -> Result<Self, EmbedError> {
        let score =
            move |queries: &[Candidates]| queries.iter().map(|(text, windows)| reranker.score(text, windows)).collect();
        Ok(Self { worker: Worker::start("embed-rerank", 1, score)? })
    }

    /// One score per window, comparable for this text only.
    pub async fn score(&self, text: String, windows: Vec<Vec<Arc<[f32]>>>) -> Result<Vec<f32>, EmbedError> {
        Ok(self.worker.run(vec![(text, windows)]).await?.swap_remove(0))
    }
}

#[cfg(not(feature = "onnx"))]
fn without_onnx() -> EmbedError {
    EmbedError::Runtime("this clipseek was built without the feature \"onnx\": build it with that feature".to_owned())
}

/// Checks the bundle in a folder: its files, and whether its graphs open and run.
pub fn verify(dir: &Path, settings: &EmbedSettings) -> Vec<Check> {
    let mut checks = verify_files(dir);
    if checks.iter().all(|check| check.outcome.is_ok()) {
        let outcome = Bundle::load(dir).map_err(EmbedError::from);
        let outcomes = match &outcome {
            Ok(bundle) => {
                let mut outcomes = vec![("video", try_video(bundle, settings)), ("text", try_text(bundle, settings))];
                if bundle.manifest().rerank.is_some() {
                    outcomes.push(("rerank", try_rerank(bundle, settings)));
                }
                if bundle.manifest().captions.is_some() {
                    outcomes.push(("captions", try_captions(bundle, settings)));
                }
                outcomes
            }
            Err(_) => vec![("bundle", outcome.map(|_| String::new()))],
        };
        checks.extend(
            outcomes
                .into_iter()
                .map(|(what, outcome)| Check { what: what.to_owned(), outcome: outcome.map_err(|e| e.to_string()) }),
        );
    }
    checks
}

/// A frame of noise with the time of frame `number` of a window, for trial runs: a plain picture may give a zero
/// vector.
pub(crate) fn noise(bundle: &Outline, number: usize) -> Frame {
    let PixelSpec { width, height, .. } = bundle.pixel_spec();
    let bytes = width as usize * height as usize * 3;
    let data = (0..bytes).map(|b| ((b + number).wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let pts = bundle.manifest().video.interval() * number as u32;
    Frame { pts, until: None, pixels: Rgb { width, height, data }.into(), thumbnail: None }
}

#[cfg(feature = "onnx")]
fn try_video(bundle: &Bundle, settings: &EmbedSettings) -> Result<String, EmbedError> {
    use std::time::Duration;

    use super::head::MeanHead;
    use super::manifest::Topology;
    use super::onnx::{OnnxFrameEncoder, OnnxHead, OnnxVideoEncoder};

    let frames: Vec<Frame> = (0..bundle.manifest().video.frames).map(|number| noise(bundle, number)).collect();
    let (start, end) = (Duration::ZERO, bundle.manifest().video.interval());
    let device = match bundle.manifest().video.topology {
        Topology::FramesHead => {
            let mut encoder = OnnxFrameEncoder::open(bundle, settings)?;
            let window = Window { start, end, items: encoder.encode(&frames)? };
            match bundle.manifest().graphs.head {
                Some(_) => OnnxHead::open(bundle, settings)?.pool(&[window])?,
                None => MeanHead.pool(&[window])?,
            };
            encoder.device()
        }
        Topology::Video => {
            let mut encoder = OnnxVideoEncoder::open(bundle, settings)?;
            encoder.encode(&[Window { start, end, items: frames }])?;
            encoder.device()
        }
    };
    Ok(format!("runs on {device}, {} numbers per vector", bundle.dim()))
}

#[cfg(feature = "onnx")]
fn try_text(bundle: &Bundle, settings: &EmbedSettings) -> Result<String, EmbedError> {
    let tokenizer = Arc::new(TextTokenizer::open(bundle)?);
    let mut encoder = super::text::OnnxTextEncoder::open(bundle, tokenizer, settings)?;
    encoder.check_vocabulary(bundle)?;
    encoder.encode(&["a dog catches a frisbee".to_owned(), "rain".to_owned()])?;
    Ok(format!("runs on {}", encoder.device()))
}

/// Made-up features of one window: sine waves, different for each frame.
#[cfg(feature = "onnx")]
fn some_features(bundle: &Bundle) -> Window<Feature> {
    let manifest = bundle.manifest();
    let values = |i: usize| (0..manifest.feature_dim()).map(|d| ((i * 31 + d * 7) as f32).sin()).collect();
    let feature = |i: usize| Feature { pts: manifest.video.interval() * i as u32, values: values(i) };
    let items: Vec<Feature> = (0..manifest.video.frames).map(feature).collect();
    Window { start: items[0].pts, end: items[items.len() - 1].pts, items }
}

#[cfg(feature = "onnx")]
fn try_rerank(bundle: &Bundle, settings: &EmbedSettings) -> Result<String, EmbedError> {
    let mut reranker = super::rerank::OnnxReranker::open(bundle, settings)?;
    let window = some_features(bundle).items.into_iter().map(|feature| feature.values).collect();
    let score = reranker.score("a dog catches a frisbee", &[window])?[0];
    if !score.is_finite() {
        return Err(EmbedError::Runtime(format!("rerank graph: the score is {score}")));
    }
    Ok(format!("runs on {}", reranker.device()))
}

#[cfg(feature = "onnx")]
fn try_captions(bundle: &Bundle, settings: &EmbedSettings) -> Result<String, EmbedError> {
    let mut captioner = super::captions::OnnxCaptioner::open(bundle, settings, None)?;
    captioner.caption(&[some_features(bundle)])?;
    Ok(format!("runs on {}, {} tokens at the most", captioner.device(), captioner.max_words()))
}

#[cfg(not(feature = "onnx"))]
fn try_rerank(_: &Bundle, _: &EmbedSettings) -> Result<String, EmbedError> {
    Err(without_onnx())
}

#[cfg(not(feature = "onnx"))]
fn try_captions(_: &Bundle, _: &EmbedSettings) -> Result<String, EmbedError> {
    Err(without_onnx())
}

#[cfg(not(feature = "onnx"))]
fn try_video(_: &Bundle, _: &EmbedSettings) -> Result<String, EmbedError> {
    Err(without_onnx())
}

#[cfg(not(feature = "onnx"))]
fn try_text(_: &Bundle, _: &EmbedSettings) -> Result<String, EmbedError> {
    Err(without_onnx())
}
