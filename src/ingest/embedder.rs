//! Frames of one medium to what is kept of its windows, for both kinds of model.

use std::sync::Arc;
use std::time::Duration;

use super::IngestError;
use super::kept::{Embedded, Held, Keeping};
use super::plan::Plan;
use crate::decode::{Frame, Problem, ProblemKind};
use crate::embed::bundle::{Bundle, Outline};
use crate::embed::manifest::Topology;
use crate::embed::model::VideoModel;
use crate::embed::scope::Scope;
use crate::embed::{EmbedError, Embedding, Feature};
use crate::window::{Span, Window, Windows, thin};

/// An open model, and what it was made for.
#[derive(Clone)]
pub struct Model {
    pub video: VideoModel,
    pub scope: Option<Arc<Scope>>,
}

impl Model {
    pub fn new(video: VideoModel, bundle: &Bundle) -> Self {
        Self { video, scope: bundle.scope().cloned().map(Arc::new) }
    }
}

pub(super) struct Embedder {
    model: Model,
    windows: Cut,
    keeping: Keeping,
    /// Frames of a window that the model is shown at the most.
    most: usize,
    keeps_features: bool,
    /// Sum and number of the distances from what the model knows.
    distance: (f64, u64),
}

/// What is cut into windows: features where frames are encoded once, frames where the model wants them all.
enum Cut {
    Features(Windows<Feature>),
    Frames(Windows<Frame>),
}

impl Embedder {
    pub(super) fn new(bundle: &Outline, model: Model, plan: &Plan, resume_at: u64) -> Self {
        let windows = match bundle.manifest().video.topology {
            // With all their frames: those that the model is not shown are kept too.
            Topology::FramesHead => Cut::Features(Windows::new(plan.span, usize::MAX, resume_at)),
            Topology::Video => Cut::Frames(Windows::new(plan.span, plan.frames, resume_at)),
        };
        let (keeping, most) = (Keeping::Held(Held::default()), plan.frames);
        Self { model, windows, keeping, most, keeps_features: plan.features, distance: (0.0, 0) }
    }

    /// For a live stream: its frames do not wait for those of files, and no record waits for the next one. `first` is the
    /// number of the first window wanted.
    pub(super) fn live(bundle: &Outline, model: &Model, plan: &Plan, first: u64) -> Self {
        let model = Model { video: model.video.urgent(), scope: model.scope.clone() };
        let keeping = Keeping::FirstStride(plan.stride().unwrap_or(Duration::MAX));
        Self { keeping, ..Self::new(bundle, model, plan, first) }
    }

    pub(super) fn from(&self) -> Duration {
        match &self.windows {
            Cut::Features(windows) => windows.from(),
            Cut::Frames(windows) => windows.from(),
        }
    }

    /// Number and start of the window at which another run would go on.
    pub(super) fn resume_at(&self) -> (u64, Duration) {
        match &self.windows {
            Cut::Features(windows) => windows.resume_with(self.keeping.start()),
            Cut::Frames(windows) => windows.resume_with(self.keeping.start()),
        }
    }

    /// Takes the next frames; gives the windows that are to be stored as soon as it is known what they keep.
    #[tracing::instrument(name = "embed", skip_all, fields(frames = frames.len()))]
    pub(super) async fn push(
        &mut self,
        frames: Vec<Frame>,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<Embedded>, IngestError> {
        let (model, most, keep) = (&self.model.video, self.most, self.keeps_features);
        let (stored, coming) = match &mut self.windows {
            Cut::Features(windows) => {
                let holds: Vec<Option<Duration>> = frames.iter().map(|frame| frame.until).collect();
                let features = model.features(frames).await.map_err(|error| IngestError::refused(&error))?;
                if let Some(scope) = &self.model.scope {
                    self.distance.0 += f64::from(scope.distance(&features)) * features.len() as f64;
                    self.distance.1 += features.len() as u64;
                }
                let full = features.into_iter().zip(holds);
                let full = full.flat_map(|(feature, until)| windows.push(feature.pts, until, feature)).collect();
                (pool(model, full, most, keep, problems).await?, windows.resume_from())
            }
            Cut::Frames(windows) => {
                let full = frames.into_iter().flat_map(|frame| windows.push(frame.pts, frame.until, frame)).collect();
                (encode(model, full, problems).await?, windows.resume_from())
            }
        };
        Ok(self.keeping.next(stored, coming))
    }

    /// The windows of a live stream that end at or before `now`, where no frame comes that would complete them.
    pub(super) async fn advance(
        &mut self,
        now: Duration,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<Embedded>, IngestError> {
        let (model, most, keep) = (&self.model.video, self.most, self.keeps_features);
        let stored = match &mut self.windows {
            Cut::Features(windows) => pool(model, windows.advance(now), most, keep, problems).await?,
            Cut::Frames(windows) => encode(model, windows.advance(now), problems).await?,
        };
        Ok(self.keeping.next(stored, now))
    }

    /// The windows that are left, of a medium that ends at `end`.
    pub(super) async fn finish(
        &mut self,
        end: Duration,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<Embedded>, IngestError> {
        let (model, most, keep) = (&self.model.video, self.most, self.keeps_features);
        let stored = match &mut self.windows {
            Cut::Features(windows) => {
                let rest = std::mem::replace(windows, Windows::new(Span::Whole, 1, 0)).finish(end);
                pool(model, rest, most, keep, problems).await?
            }
            Cut::Frames(windows) => {
                let rest = std::mem::replace(windows, Windows::new(Span::Whole, 1, 0)).finish(end);
                encode(model, rest, problems).await?
            }
        };
        Ok(self.keeping.finish(stored))
    }

    pub(super) fn out_of_scope(&self) -> bool {
        let (sum, count) = self.distance;
        let scope = self.model.scope.as_ref();
        count > 0 && scope.is_some_and(|scope| sum / count as f64 > f64::from(scope.max_distance()))
    }
}

async fn pool(
    model: &VideoModel,
    windows: Vec<Window<Feature>>,
    most: usize,
    keep: bool,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Embedded>, IngestError> {
    let shown = |windows: Vec<Window<Feature>>| -> Vec<Window<Feature>> {
        windows.into_iter().map(|window| Window { items: thin(window.items, most), ..window }).collect()
    };
    let (windows, vectors) = vectors(windows, |windows| model.pool(shown(windows)), problems).await?;
    if windows.is_empty() {
        return Ok(Vec::new());
    }
    let captions = model.captions(shown(windows.clone())).await.map_err(|error| IngestError::refused(&error))?;
    let mut captions = captions.map(Vec::into_iter);
    let embedded = |(window, vector): (Window<Feature>, Embedding)| {
        // An empty caption says nothing.
        let caption = captions.as_mut().and_then(|captions| captions.next()).filter(|caption| !caption.is_empty());
        let window = if keep { window } else { Window { items: Vec::new(), ..window } };
        Embedded::new(window, vector, caption)
    };
    Ok(windows.into_iter().zip(vectors).map(embedded).collect())
}

async fn encode(
    model: &VideoModel,
    windows: Vec<Window<Frame>>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Embedded>, IngestError> {
    let (windows, vectors) = vectors(windows, |windows| model.encode(windows), problems).await?;
    let embedded = |(window, vector): (Window<Frame>, Embedding)| {
        Embedded::new(Window { start: window.start, end: window.end, items: Vec::new() }, vector, None)
    };
    Ok(windows.into_iter().zip(vectors).map(embedded).collect())
}

/// The windows with a vector each. One to which the model gives no direction (as it may for a black picture) is a problem
/// of that window: the others go on without it.
async fn vectors<T: Clone, F>(
    windows: Vec<Window<T>>,
    encode: impl Fn(Vec<Window<T>>) -> F,
    problems: &mut Vec<Problem>,
) -> Result<(Vec<Window<T>>, Vec<Embedding>), IngestError>
where
    F: Future<Output = Result<Vec<Embedding>, EmbedError>>,
{
    if windows.is_empty() {
        return Ok((windows, Vec::new()));
    }
    match encode(windows.clone()).await {
        Ok(vectors) => return Ok((windows, vectors)),
        Err(EmbedError::NoDirection { .. }) => {}
        Err(error) => return Err(IngestError::refused(&error)),
    }
    let (mut kept, mut vectors) = (Vec::new(), Vec::new());
    for window in windows {
        match encode(vec![window.clone()]).await {
            Ok(one) => {
                kept.push(window);
                vectors.extend(one);
            }
            Err(error @ EmbedError::NoDirection { .. }) => {
                let problem = Problem::new(ProblemKind::NoDirection, error.to_string());
                let problem = problem.between(window.start, window.end);
                // A run that was resumed may have been told of it before.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            Err(error) => return Err(IngestError::refused(&error)),
        }
    }
    Ok((kept, vectors))
}
