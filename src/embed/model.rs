//! A bundle ready to use: its sessions behind their threads. Cheap to clone; the threads end with the last clone.
//!
//! Video and text are apart: indexing never delays a search.

use std::path::Path;
use std::sync::Arc;

use super::bundle::{Bundle, Check, verify_files};
use super::runtime::EmbedSettings;
use super::text::TextTokenizer;
use super::worker::{Stats, Worker};
use super::{EmbedError, Embedding, Feature, FrameEncoder, Head, TextEncoder, VideoEncoder};
use crate::decode::Frame;
use crate::window::Window;

/// Frames and windows to vectors.
#[derive(Clone)]
pub struct VideoModel {
    stages: Stages,
    device: Arc<str>,
}

#[derive(Clone)]
enum Stages {
    FramesHead { frames: Worker<Frame, Feature>, head: Worker<Window<Feature>, Embedding> },
    Video(Worker<Window<Frame>, Embedding>),
}

impl VideoModel {
    /// Opens the bundle's sessions; takes as long as reading the graphs.
    #[cfg(feature = "onnx")]
    pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
        use super::head::MeanHead;
        use super::manifest::Topology;
        use super::onnx::{OnnxFrameEncoder, OnnxHead, OnnxVideoEncoder};

        match bundle.manifest().video.topology {
            Topology::FramesHead => {
                let mut frames = OnnxFrameEncoder::open(bundle, settings)?;
                frames.warm_up(settings.batch)?;
                let head: Box<dyn Head> = match bundle.manifest().graphs.head {
                    Some(_) => Box::new(OnnxHead::open(bundle, settings)?),
                    None => Box::new(MeanHead),
                };
                let device = frames.device().to_string();
                Self::of_frames(Box::new(frames), head, &device, settings.batch)
            }
            Topology::Video => {
                let mut encoder = OnnxVideoEncoder::open(bundle, settings)?;
                encoder.warm_up(settings.batch)?;
                let device = encoder.device().to_string();
                Self::of_windows(Box::new(encoder), &device, settings.batch)
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
        Ok(Self { stages: Stages::FramesHead { frames, head }, device: device.into() })
    }

    pub fn of_windows(mut encoder: Box<dyn VideoEncoder>, device: &str, batch: usize) -> Result<Self, EmbedError> {
        let worker = Worker::start("embed-video", batch, move |windows: &[Window<Frame>]| encoder.encode(windows))?;
        Ok(Self { stages: Stages::Video(worker), device: device.into() })
    }

    /// What the encoder runs on: `cpu`, `cuda:0`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// One feature per frame, in their order. Only with topology `frames+head`.
    pub async fn features(&self, frames: Vec<Frame>) -> Result<Vec<Feature>, EmbedError> {
        match &self.stages {
            Stages::FramesHead { frames: worker, .. } => worker.run(frames).await,
            Stages::Video(_) => {
                Err(EmbedError::Input("this model takes whole windows, it has no frame features".to_owned()))
            }
        }
    }

    /// One vector per window. Only with topology `frames+head`.
    pub async fn pool(&self, windows: Vec<Window<Feature>>) -> Result<Vec<Embedding>, EmbedError> {
        match &self.stages {
            Stages::FramesHead { head, .. } => head.run(windows).await,
            Stages::Video(_) => {
                Err(EmbedError::Input("this model takes windows of frames, not of features".to_owned()))
            }
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

    /// Work of the image encoder: frames with topology `frames+head`, windows with `video`.
    pub fn stats(&self) -> Stats {
        match &self.stages {
            Stages::FramesHead { frames, .. } => frames.stats(),
            Stages::Video(worker) => worker.stats(),
        }
    }
}

/// Captions to vectors.
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
        let model = Self::of(Box::new(encoder), &device, settings.batch)?;
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

    /// One vector per text. An empty text is [`EmbedError::Input`].
    pub async fn encode(&self, texts: Vec<String>) -> Result<Vec<Embedding>, EmbedError> {
        self.worker.run(texts).await
    }

    /// Whether the model sees only the beginning of this text.
    pub fn is_truncated(&self, text: &str) -> Result<bool, EmbedError> {
        self.tokenizer.as_ref().map_or(Ok(false), |tokenizer| tokenizer.is_truncated(text))
    }

    pub fn stats(&self) -> Stats {
        self.worker.stats()
    }
}

#[cfg(not(feature = "onnx"))]
fn without_onnx() -> EmbedError {
    EmbedError::Runtime("this clipseek is built without the feature `onnx`".to_owned())
}

/// Everything that can be said about the bundle in a folder: its files, and whether its graphs open and run.
pub fn verify(dir: &Path, settings: &EmbedSettings) -> Vec<Check> {
    let mut checks = verify_files(dir);
    if checks.iter().all(|check| check.outcome.is_ok()) {
        let outcome = Bundle::load(dir).map_err(EmbedError::from);
        let outcomes = match &outcome {
            Ok(bundle) => vec![("video", try_video(bundle, settings)), ("text", try_text(bundle, settings))],
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

#[cfg(feature = "onnx")]
fn try_video(bundle: &Bundle, settings: &EmbedSettings) -> Result<String, EmbedError> {
    use std::time::Duration;

    use super::head::MeanHead;
    use super::manifest::Topology;
    use super::onnx::{OnnxFrameEncoder, OnnxHead, OnnxVideoEncoder};
    use crate::decode::Rgb;

    // Noise, since a plain picture may be nothing to a model.
    let spec = bundle.pixel_spec();
    let bytes = spec.width as usize * spec.height as usize * 3;
    let frame = |i: usize| Frame {
        pts: bundle.manifest().video.interval() * i as u32,
        pixels: Rgb {
            width: spec.width,
            height: spec.height,
            data: (0..bytes).map(|b| ((b + i).wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        },
        thumbnail: None,
    };
    let frames: Vec<Frame> = (0..bundle.manifest().video.frames).map(frame).collect();
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
    encoder.encode(&["a dog catches a frisbee".to_owned(), "rain".to_owned()])?;
    Ok(format!("runs on {}", encoder.device()))
}

#[cfg(not(feature = "onnx"))]
fn try_video(_: &Bundle, _: &EmbedSettings) -> Result<String, EmbedError> {
    Err(without_onnx())
}

#[cfg(not(feature = "onnx"))]
fn try_text(_: &Bundle, _: &EmbedSettings) -> Result<String, EmbedError> {
    Err(without_onnx())
}
