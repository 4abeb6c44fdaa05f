//! The tables of `bundle.toml`, each a struct. [`super::manifest`] checks that they are consistent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decode::{Interpolation, Resize};

/// `[scope]` of a manifest: present for a model that was made for one kind of footage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeEntry {
    pub summary: String,
    /// JSON file, see [`crate::embed::scope`].
    pub stats: String,
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Video {
    pub topology: Topology,
    /// Frames per window.
    pub frames: usize,
    /// Most frames of a window that the head can take; absent: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_frames: Option<usize>,
    /// Values per frame feature, if not equal to `dim` (CLIP2Video joins two vectors into one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_dim: Option<usize>,
    /// Seconds between frames.
    pub interval_s: f64,
    /// Fraction of the interval by which a frame's time may deviate.
    pub interval_tolerance: f64,
    /// Frames from one window's start to the next.
    pub stride_frames: usize,
}

impl Video {
    pub fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.interval_s)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topology {
    /// Each frame is encoded by itself; a small head pools the features of a window to its vector.
    #[serde(rename = "frames+head")]
    FramesHead,
    /// One graph encodes all frames of a window together.
    #[serde(rename = "video")]
    Video,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub resize: Resize,
    pub interpolation: Interpolation,
    pub antialias: bool,
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Most token ids of one text, start and end included.
    pub context_length: usize,
    pub padding: Padding,
    pub pad_id: u32,
    /// The query is put at `{}` of each template; the resulting vectors are averaged.
    pub templates: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// To the longest text of the batch.
    Longest,
    /// Always to `context_length`.
    MaxLength,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Similarity {
    pub kind: SimilarityKind,
    pub logit_scale: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimilarityKind {
    Cosine,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graphs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<GraphEntry>,
    /// Absent with `frames+head`: features are averaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<GraphEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<GraphEntry>,
    pub text: GraphEntry,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphEntry {
    pub file: String,
    pub sha256: String,
    pub input: String,
    /// Required for heads, optional for text graphs, absent for image graphs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    pub output: String,
    /// Weights outside of the graph's file, under the name that the graph refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<FileEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub file: String,
    pub sha256: String,
}

/// `[rerank]` of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerankEntry {
    pub file: String,
    pub sha256: String,
    /// int64 `[1, L]`: one text, not padded.
    pub text: String,
    /// float32 `[N, T, feature_dim]`, not normalised, zeros where the mask is 0.
    pub frames: String,
    /// float32 `[N, T]`
    pub mask: String,
    /// float32 `[N, 1]`: unbounded, comparable for one text only.
    pub output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<FileEntry>,
}

/// `[captions]` of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionsEntry {
    pub start_id: u32,
    pub end_id: u32,
    pub pad_id: u32,
    /// Most tokens of a caption, the end token included.
    pub max_words: usize,
    /// Hypotheses per window unless the settings say otherwise; 1 is greedy.
    pub beams: usize,
    /// Turns token ids into text.
    pub tokenizer: FileEntry,
    pub memory: MemoryEntry,
    pub step: StepEntry,
}

/// `[captions.memory]`: run once per window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryEntry {
    pub file: String,
    pub sha256: String,
    /// float32 `[N, T, feature_dim]`
    pub frames: String,
    /// float32 `[N, T]`
    pub mask: String,
    /// float32 `[N, layers, 2, heads, T, head_dim]`: keys and values.
    pub output: String,
}

/// `[captions.step]`: run once per token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepEntry {
    pub file: String,
    pub sha256: String,
    /// int64 `[N, 1]`: the previous token.
    pub ids: String,
    /// float32 `[N, layers, 2, heads, P, head_dim]`: keys and values of the P tokens before it.
    pub past: String,
    pub memory: String,
    pub mask: String,
    /// float32 `[N, vocabulary]`: log-probabilities of the next token.
    pub output: String,
    /// float32 `[N, layers, 2, heads, P + 1, head_dim]`
    pub present: String,
}
