//! Re-ranking: a cross head reads a text together with the frames of a window (CLIP4Clip's tight similarity, section
//! 3.3 of arXiv 2104.08860). It makes no vectors to search by, so it scores candidates that a vector search found, by
//! the frame features in the store.

use std::sync::Arc;

use ort::value::TensorElementType::{Float32, Int64};

use super::bundle::Bundle;
use super::manifest::{GraphEntry, RerankEntry};
use super::onnx::{Dim, FilledWindows, Graph, Port, tensor};
use super::runtime::{Device, EmbedSettings};
use super::text::TextTokenizer;
use super::{EmbedError, RERANK_BATCH, Reranker};

pub(super) struct OnnxReranker {
    tokenizer: TextTokenizer,
    graph: Graph,
    entry: RerankEntry,
    feature_dim: usize,
}

impl OnnxReranker {
    pub(super) fn open(bundle: &Bundle, settings: &EmbedSettings) -> Result<Self, EmbedError> {
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

    pub(super) fn device(&self) -> Device {
        self.graph.device()
    }
}

impl Reranker for OnnxReranker {
    fn score(&mut self, text: &str, windows: &[Vec<Arc<[f32]>>]) -> Result<Vec<f32>, EmbedError> {
        let ids = self.tokenizer.ids(text)?;
        let mut scores = Vec::with_capacity(windows.len());
        for windows in windows.chunks(RERANK_BATCH) {
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
