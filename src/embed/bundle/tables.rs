//! The tables of `bundle.toml`, each a struct. [`super::manifest`] checks that they are consistent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decode::{Interpolation, Resize};

/// Present for a model that knows only part of the world.
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
    /// Length of a frame's feature where it is not that of the vectors (CLIP2Video joins two vectors into one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_dim: Option<usize>,
    pub interval_s: f64,
    /// Share of the interval by which a frame may be away from its place.
    pub interval_tolerance: f64,
    pub stride_frames: usize,
}

impl Video {
    pub fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.interval_s)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topology {
    /// Each frame is encoded by itself; a small head makes the window's vector of the frames' features.
    #[serde(rename = "frames+head")]
    FramesHead,
    /// One graph takes all frames of a window.
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
    /// Each is filled with the query at `{}`; the vectors are averaged.
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
    /// Absent with `frames+head`: mean pooling.
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
    /// Heads must have one, text graphs may, image graphs have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    pub output: String,
    /// Weights that the graph keeps outside of its file, under the name that it knows.
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
    /// Tokens of a caption at the most, its end included.
    pub max_words: usize,
    /// Hypotheses kept per window unless the settings say otherwise; 1 is greedy.
    pub beams: usize,
    /// Token ids to text.
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

/// `[captions.step]`: run once per word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepEntry {
    pub file: String,
    pub sha256: String,
    /// int64 `[N, 1]`: the last token.
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
