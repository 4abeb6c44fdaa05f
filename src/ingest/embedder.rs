//! Frames of one medium to what is kept of its windows, for both kinds of model.

use std::sync::Arc;
use std::time::Duration;

use crate::config::plan::Plan;
use crate::decode::Frame;
use crate::embed::{
    EmbedError, Embedding, Feature, bundle::Bundle, manifest::Topology, model::VideoModel, scope::Scope,
};
use crate::window::{Window, Windows};

/// A window and what is kept of it.
pub(super) struct Embedded {
    pub(super) window: Window<()>,
    pub(super) vector: Embedding,
    pub(super) caption: Option<String>,
    /// Empty where the plan keeps none.
    pub(super) features: Vec<Arc<[f32]>>,
}

pub(super) struct Embedder {
    model: VideoModel,
    windows: Cut,
    keeps_features: bool,
    scope: Option<Scope>,
    /// Sum and number of the distances from what the model knows.
    distance: (f64, u64),
}

/// What is cut into windows: features where frames are encoded once, frames where the model wants them all.
enum Cut {
    Features(Windows<Feature>),
    Frames(Windows<Frame>),
}

impl Embedder {
    pub(super) fn new(bundle: &Bundle, model: VideoModel, plan: &Plan, resume_at: u32) -> Self {
        let windows = match bundle.manifest().video.topology {
            Topology::FramesHead => Cut::Features(Windows::new(plan.span, plan.frames, resume_at)),
            Topology::Video => Cut::Frames(Windows::new(plan.span, plan.frames, resume_at)),
        };
        let keeps_features = plan.features;
        Self { model, windows, keeps_features, scope: bundle.scope().cloned(), distance: (0.0, 0) }
    }

    pub(super) fn from(&self) -> Duration {
        match &self.windows {
            Cut::Features(windows) => windows.from(),
            Cut::Frames(windows) => windows.from(),
        }
    }

    pub(super) fn resume_at(&self) -> u32 {
        match &self.windows {
            Cut::Features(windows) => windows.resume_at(),
            Cut::Frames(windows) => windows.resume_at(),
        }
    }

    pub(super) async fn push(&mut self, frames: Vec<Frame>) -> Result<Vec<Embedded>, EmbedError> {
        match &mut self.windows {
            Cut::Features(windows) => {
                let features = self.model.features(frames).await?;
                if let Some(scope) = &self.scope {
                    self.distance.0 += f64::from(scope.distance(&features)) * features.len() as f64;
                    self.distance.1 += features.len() as u64;
                }
                let full = features.into_iter().flat_map(|feature| windows.push(feature.pts, feature)).collect();
                pool(&self.model, full, self.keeps_features).await
            }
            Cut::Frames(windows) => {
                let full = frames.into_iter().flat_map(|frame| windows.push(frame.pts, frame)).collect();
                encode(&self.model, full).await
            }
        }
    }

    /// The windows that are left, of a medium that ends at `end`.
    pub(super) async fn finish(&mut self, end: Duration) -> Result<Vec<Embedded>, EmbedError> {
        match &mut self.windows {
            Cut::Features(windows) => {
                let rest = std::mem::replace(windows, Windows::new(crate::window::Span::Whole, 1, 0)).finish(end);
                pool(&self.model, rest, self.keeps_features).await
            }
            Cut::Frames(windows) => {
                let rest = std::mem::replace(windows, Windows::new(crate::window::Span::Whole, 1, 0)).finish(end);
                encode(&self.model, rest).await
            }
        }
    }

    pub(super) fn out_of_scope(&self) -> bool {
        let (sum, count) = self.distance;
        count > 0 && self.scope.as_ref().is_some_and(|scope| sum / count as f64 > f64::from(scope.max_distance()))
    }
}

async fn pool(model: &VideoModel, windows: Vec<Window<Feature>>, keep: bool) -> Result<Vec<Embedded>, EmbedError> {
    if windows.is_empty() {
        return Ok(Vec::new());
    }
    let (vectors, captions) = tokio::try_join!(model.pool(windows.clone()), model.captions(windows.clone()))?;
    let mut captions = captions.map(Vec::into_iter);
    let embedded = |(Window { start, end, items }, vector): (Window<Feature>, Embedding)| Embedded {
        window: Window { start, end, items: Vec::new() },
        vector,
        // An empty caption says nothing.
        caption: captions.as_mut().and_then(|captions| captions.next()).filter(|caption| !caption.is_empty()),
        features: if keep { items.into_iter().map(|feature| feature.values).collect() } else { Vec::new() },
    };
    Ok(windows.into_iter().zip(vectors).map(embedded).collect())
}

async fn encode(model: &VideoModel, windows: Vec<Window<Frame>>) -> Result<Vec<Embedded>, EmbedError> {
    if windows.is_empty() {
        return Ok(Vec::new());
    }
    let spans: Vec<_> = windows.iter().map(|w| Window { start: w.start, end: w.end, items: Vec::new() }).collect();
    let vectors = model.encode(windows).await?;
    let embedded =
        |(window, vector): (Window<()>, Embedding)| Embedded { window, vector, caption: None, features: Vec::new() };
    Ok(spans.into_iter().zip(vectors).map(embedded).collect())
}
