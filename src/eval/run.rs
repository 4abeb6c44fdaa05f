//! Runs an evaluation: encodes videos and captions, then ranks them.
//!
//! A few videos are encoded side by side, and only their vectors stay in memory. Videos and captions that cannot be
//! used are left out of both directions and named in the [`EvalReport`].

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::annotations::{Annotations, Item, Set};
use super::cache::{Cache, Entry};
use super::clips::{Clip, ClipError, Clips, Encoded};
use super::cross::Cross;
use super::metrics::{Median, Scores, scores};
use super::sampling::{FrameRule, FrameSampling};
use super::score::{Dot, Dsl, Ranking, Scorer, rank};
use super::videos::Videos;
use super::{EvalError, Vectors};
use crate::embed::bundle::Bundle;
use crate::embed::manifest::Topology;
use crate::embed::model::{RerankModel, TextModel};
use crate::side_by_side::SideBySide;
use crate::store::Features;

/// Captions that are encoded and cached together.
const CAPTIONS: usize = 256;
/// Number of videos after which the known content ids are saved.
const SAVE_EVERY: usize = 500;

/// The parts of an evaluation.
pub struct Eval {
    pub clips: Arc<Clips>,
    pub bundle: Arc<Bundle>,
    pub text: TextModel,
    /// Scores every pair instead of the vectors; `clips` must then keep features.
    pub rerank: Option<RerankModel>,
    pub cache: Option<Arc<Cache>>,
    /// Videos decoded side by side.
    pub jobs: usize,
    /// Also rank text to video with all queries together, see [`Dsl`].
    pub dsl: bool,
    pub observer: Arc<dyn EvalObserver>,
}

/// Receives events during an evaluation.
pub trait EvalObserver: Send + Sync {
    fn event(&self, event: EvalEvent<'_>);
}

#[derive(Debug)]
pub enum EvalEvent<'a> {
    Videos { done: usize, total: usize },
    Failed { path: &'a Path, reason: &'a str },
    Captions { done: usize, total: usize },
    Ranked { done: usize, total: usize },
}

/// The result. The figures cover `videos` and `captions`, which are the usable ones of the listed.
#[derive(Clone, Debug, Default)]
pub struct EvalReport {
    pub listed_videos: usize,
    pub listed_captions: usize,
    /// Name of each video and number of its captions, in the order of the captions.
    pub videos: Vec<(String, usize)>,
    pub captions: Vec<String>,
    /// Listed videos without a file.
    pub missing: Vec<String>,
    pub failed: Vec<(PathBuf, String)>,
    pub damaged: Vec<(PathBuf, String)>,
    /// Listed videos without a caption.
    pub without_caption: Vec<String>,
    /// For each empty caption, the name of its video. Empty captions are left out.
    pub blank: Vec<String>,
    /// Captions longer than the model's context. They count all the same, as in the papers.
    pub truncated: Vec<String>,
    /// Number of videos with fewer distinct frames than were asked for.
    pub short: usize,
    /// Number of videos that came from the cache.
    pub kept: usize,
    pub ranking: Ranking,
    /// `None` if no video could be used.
    pub text_to_video: Option<Scores>,
    pub video_to_text: Option<Scores>,
    pub dsl: Option<Scores>,
}

impl EvalReport {
    /// Whether the figures cover everything that was listed.
    pub fn is_complete(&self) -> bool {
        self.videos.len() == self.listed_videos && self.captions.len() == self.listed_captions
    }
}

/// The frames that the authors of a system used in this set. `frames`: how many per video; `None`: as many as the
/// authors.
pub fn sampling(set: Set, rule: FrameRule, frames: Option<usize>, bundle: &Bundle) -> Result<FrameSampling, EvalError> {
    let video = &bundle.manifest().video;
    let theirs = match (rule, set) {
        (FrameRule::Clip4Clip, Set::Didemo | Set::Activitynet) => 64,
        (FrameRule::ClipVip, Set::Activitynet) => 32,
        (FrameRule::Uniform, _) => video.frames,
        _ => 12,
    };
    let most = match video.topology {
        Topology::FramesHead => video.max_frames.unwrap_or(usize::MAX),
        Topology::Video => video.frames,
    };
    let exact = video.topology == Topology::Video;
    let count = match frames {
        Some(0) => return Err(EvalError::Asked("at least one frame per video is needed".to_owned())),
        Some(asked) if asked > most || exact && asked != most => {
            let limit = if exact { "exactly" } else { "at most" };
            return Err(EvalError::Asked(format!("{asked} frames were asked for, this model takes {limit} {most}")));
        }
        Some(asked) => asked,
        None if exact => most,
        None => theirs.min(most),
    };
    let msrvtt = matches!(set, Set::Msrvtt1ka | Set::MsrvttFull);
    let mut sampling = FrameSampling::new(rule, count);
    if msrvtt && rule == FrameRule::Clip2Video {
        sampling.divisor = 2;
    }
    if set == Set::Vatex && rule == FrameRule::Clip2Video {
        sampling.least = 6;
    }
    if msrvtt && rule == FrameRule::ClipVip {
        // Its authors re-encoded these videos at this rate.
        sampling.fps = Some(6.0);
    }
    Ok(sampling)
}

impl Eval {
    /// Returns [`EvalError::Stopped`] if stopped; finished work stays in the cache.
    pub async fn run(
        &self,
        annotations: Annotations,
        set: Set,
        rule: FrameRule,
        videos: &Videos,
        stop: &CancellationToken,
    ) -> Result<EvalReport, EvalError> {
        let many = annotations.many_captions;
        let mut report = EvalReport {
            listed_videos: annotations.items.len() + annotations.without_caption.len(),
            listed_captions: annotations.items.iter().map(|item| item.captions.len()).sum(),
            without_caption: annotations.without_caption,
            ..EvalReport::default()
        };
        // Only CLIP4Clip's official loader uses the part of the video that a set names.
        let spans = set == Set::Jsonl || rule == FrameRule::Clip4Clip;
        let mut found: Vec<(Item, Clip)> = Vec::new();
        for item in annotations.items {
            match videos.find(&item.names) {
                Some(path) => {
                    let span = item.span.filter(|_| spans);
                    found.push((item, Clip { path, span }));
                }
                None => report.missing.extend(item.names.into_iter().next()),
            }
        }
        let encoded = self.videos(found.iter().map(|(_, clip)| clip), stop).await;
        if let Some(cache) = &self.cache {
            cache.save().map_err(|error| EvalError::Disk { path: cache.dir().to_owned(), error })?;
        }
        let encoded = encoded?;
        let mut columns = Columns { vectors: Vectors::new(self.bundle.dim()), features: Vec::new() };
        let mut seen = HashSet::new();
        for (item, clip) in found {
            let key = key_of(&clip);
            let first = seen.insert(key.clone());
            match &encoded[&key] {
                Ok(one) => self.use_item(item, clip, one, first, &mut columns, &mut report),
                Err(reason) if first => report.failed.push((clip.path, reason.clone())),
                Err(_) => {}
            }
        }
        if report.captions.is_empty() {
            return Ok(report);
        }
        let rows = self.captions(&report.captions, stop).await?;
        report.truncated = self.truncated(report.captions.clone()).await?;
        self.rank(rows, columns, many, &mut report, stop.clone()).await?;
        Ok(report)
    }

    fn use_item(
        &self,
        item: Item,
        clip: Clip,
        encoded: &Encoded,
        first: bool,
        columns: &mut Columns,
        report: &mut EvalReport,
    ) {
        let name = item.names.into_iter().next().unwrap_or_default();
        let listed = item.captions.len();
        let captions: Vec<String> = item.captions.into_iter().filter(|c| !c.trim().is_empty()).collect();
        report.blank.extend(std::iter::repeat_n(name.clone(), listed - captions.len()));
        if captions.is_empty() {
            return;
        }
        columns.vectors.push(encoded.vector.as_slice());
        columns.features.push(encoded.features.clone());
        report.videos.push((name, captions.len()));
        report.captions.extend(captions);
        if first {
            report.kept += usize::from(encoded.kept);
            report.short += usize::from(encoded.frames < self.clips.frames());
            if !encoded.damage.is_empty() {
                report.damaged.push((clip.path, encoded.damage.join("; ")));
            }
        }
    }

    /// Encodes every distinct clip once.
    async fn videos(
        &self,
        clips: impl Iterator<Item = &Clip>,
        stop: &CancellationToken,
    ) -> Result<HashMap<Key, Result<Encoded, String>>, EvalError> {
        let mut clips: Vec<Clip> = clips.cloned().collect();
        let mut encoded = HashMap::new();
        clips.retain(|clip| encoded.insert(key_of(clip), Err("not begun".to_owned())).is_none());
        let total = clips.len();
        let halt = stop.child_token();
        let mut work = SideBySide::new(clips, self.jobs, |clip: &Clip| {
            let (parts, clip, halt) = (Arc::clone(&self.clips), clip.clone(), halt.clone());
            async move { parts.encode(&clip, &halt).await }
        });
        let mut done = 0;
        let mut fatal = None;
        while let Some((clip, ended)) = work.next(&halt).await {
            let result = ended.unwrap_or_else(|panic| Err(ClipError::Clip(format!("internal error: {panic}"))));
            done += 1;
            let result = match result {
                Ok(one) => Ok(one),
                Err(ClipError::Clip(reason)) => {
                    self.observer.event(EvalEvent::Failed { path: &clip.path, reason: &reason });
                    Err(reason)
                }
                Err(ClipError::Fatal(error)) => {
                    // Keep the first error: later ones follow from stopping.
                    fatal.get_or_insert(error);
                    halt.cancel();
                    continue;
                }
            };
            encoded.insert(key_of(&clip), result);
            self.observer.event(EvalEvent::Videos { done, total });
            if let Some(cache) = self.cache.as_ref().filter(|_| done % SAVE_EVERY == 0) {
                cache.save().map_err(|error| EvalError::Disk { path: cache.dir().to_owned(), error })?;
            }
        }
        match fatal {
            Some(error) => Err(error),
            None if stop.is_cancelled() => Err(EvalError::Stopped),
            None => Ok(encoded),
        }
    }

    async fn captions(&self, captions: &[String], stop: &CancellationToken) -> Result<Vectors, EvalError> {
        let manifest = self.bundle.manifest();
        let model = json!({
            "text": manifest.graphs.text,
            "tokenizer": manifest.tokenizer,
            "settings": manifest.text,
            "device": self.text.device(),
        });
        let mut rows = Vectors::new(self.bundle.dim());
        for (number, block) in captions.chunks(CAPTIONS).enumerate() {
            if stop.is_cancelled() {
                return Err(EvalError::Stopped);
            }
            let key = json!([model, block]).to_string();
            let kept = self.cache.as_ref().and_then(|cache| cache.get::<()>(&key));
            let entry = match kept.filter(|entry| entry.vectors.rows().len() == block.len()) {
                Some(entry) => entry,
                None => {
                    let mut vectors = Vectors::new(self.bundle.dim());
                    for vector in self.text.encode(block.to_vec()).await? {
                        vectors.push(vector.as_slice());
                    }
                    let entry = Entry { about: (), vectors };
                    if let Some(cache) = &self.cache {
                        let disk = |error| EvalError::Disk { path: cache.dir().to_owned(), error };
                        cache.put(&key, &entry).map_err(disk)?;
                    }
                    entry
                }
            };
            entry.vectors.rows().for_each(|row| rows.push(row));
            let done = captions.len().min((number + 1) * CAPTIONS);
            self.observer.event(EvalEvent::Captions { done, total: captions.len() });
        }
        Ok(rows)
    }

    async fn truncated(&self, captions: Vec<String>) -> Result<Vec<String>, EvalError> {
        let text = self.text.clone();
        blocking(move || {
            let mut truncated = Vec::new();
            for caption in captions {
                if text.is_truncated(&caption)? {
                    truncated.push(caption);
                }
            }
            Ok(truncated)
        })
        .await
    }

    async fn rank(
        &self,
        rows: Vectors,
        columns: Columns,
        many: bool,
        report: &mut EvalReport,
        stop: CancellationToken,
    ) -> Result<(), EvalError> {
        let groups: Vec<usize> = report.videos.iter().map(|(_, captions)| *captions).collect();
        let (rerank, captions, runtime) = (self.rerank.clone(), report.captions.clone(), Handle::current());
        let (total, dsl, observer) = (report.captions.len(), self.dsl, Arc::clone(&self.observer));
        let (ranking, dsl) = blocking(move || {
            let mut watch = |done| {
                observer.event(EvalEvent::Ranked { done, total });
                if stop.is_cancelled() { Err(EvalError::Stopped) } else { Ok(()) }
            };
            let mut scorer: Box<dyn Scorer> = match rerank {
                Some(model) => Box::new(Cross::new(model, captions, columns.features, runtime)),
                None => Box::new(Dot::new(rows, columns.vectors)),
            };
            let ranking = rank(&mut *scorer, &groups, &mut watch)?;
            let dsl = if dsl { Some(rank(&mut Dsl::new(scorer)?, &groups, &mut watch)?) } else { None };
            Ok((ranking, dsl))
        })
        .await?;
        let median = if many { Median::Lower } else { Median::Mean };
        report.text_to_video = scores(&ranking.captions, median);
        report.video_to_text = scores(&ranking.videos, Median::Mean);
        report.dsl = dsl.and_then(|ranking| scores(&ranking.captions, median));
        report.ranking = ranking;
        Ok(())
    }
}

/// The videos' vectors and features, for the scorers.
struct Columns {
    vectors: Vectors,
    features: Vec<Features>,
}

type Key = (PathBuf, Option<(u64, u64)>);

fn key_of(clip: &Clip) -> Key {
    (clip.path.clone(), clip.span.map(|span| (span.start_s.to_bits(), span.end_s.to_bits())))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EvalError> + Send + 'static,
) -> Result<T, EvalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
