//! Re-ranking: a cross head reads a text together with the frames of a window (CLIP4Clip's tight similarity, section 3.3 of
//! arXiv 2104.08860). It gives no vectors, so it judges candidates that the vectors have found, over the frame features that
//! the store keeps.

use serde::{Deserialize, Serialize};

use super::manifest::FileEntry;

/// Windows that go through the cross head at once.
pub const BATCH: usize = 64;

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

#[cfg(feature = "onnx")]
pub use self::session::OnnxReranker;

#[cfg(feature = "onnx")]
mod session {
    use std::sync::Arc;

    use ort::value::TensorElementType::{Float32, Int64};

    use crate::embed::bundle::Bundle;
    use crate::embed::manifest::GraphEntry;
    use crate::embed::onnx::{Dim, FilledWindows, Graph, Port, tensor};
    use crate::embed::rerank::{BATCH, RerankEntry};
    use crate::embed::runtime::{Device, EmbedSettings};
    use crate::embed::text::TextTokenizer;
    use crate::embed::{EmbedError, Reranker};

    pub struct OnnxReranker {
        tokenizer: TextTokenizer,
        graph: Graph,
        entry: RerankEntry,
        feature_dim: usize,
    }

    impl OnnxReranker {
        pub fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
            let manifest = bundle.manifest();
            let Some(entry) = manifest.rerank.clone() else {
                return Err(bundle.error("has no [rerank]: it cannot compare a text with frames").into());
            };
            let feature_dim = manifest.feature_dim();
            let (batch, frames) = (Dim::Free("batch"), Dim::Free("frames"));
            let inputs = [
                Port { name: &entry.text, element: Int64, dims: &[Dim::Is(1), Dim::Free("length")] },
                Port { name: &entry.frames, element: Float32, dims: &[batch, frames, Dim::Is(feature_dim)] },
                Port { name: &entry.mask, element: Float32, dims: &[batch, frames] },
            ];
            let graph_entry = GraphEntry {
                file: entry.file.clone(),
                sha256: entry.sha256.clone(),
                input: entry.frames.clone(),
                mask: Some(entry.mask.clone()),
                output: entry.output.clone(),
                weights: entry.weights.clone(),
            };
            let graph = Graph::open(bundle, "rerank", &graph_entry, &inputs, 1, settings)?;
            Ok(Self { tokenizer: TextTokenizer::open(bundle)?, graph, entry, feature_dim })
        }

        pub fn device(&self) -> Device {
            self.graph.device()
        }
    }

    impl Reranker for OnnxReranker {
        fn score(&mut self, text: &str, windows: &[Vec<Arc<[f32]>>]) -> Result<Vec<f32>, EmbedError> {
            let ids = self.tokenizer.ids(text)?;
            let mut scores = Vec::with_capacity(windows.len());
            for windows in windows.chunks(BATCH) {
                let features = windows.iter().map(|window| window.iter().map(|feature| &**feature));
                let filled = FilledWindows::new(features, self.feature_dim, None)?;
                let inputs = vec![
                    (self.entry.text.as_str(), tensor([1, ids.len() as i64], &ids)?),
                    (&self.entry.frames, filled.values()?),
                    (&self.entry.mask, filled.mask()?),
                ];
                scores.extend(self.graph.run(inputs, windows.len())?.into_iter().flatten());
            }
            Ok(scores)
        }
    }
}
