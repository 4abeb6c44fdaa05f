//! Scores every caption with every video through a cross head (CLIP4Clip's tightTransf), as its paper does. That is too
//! slow for a search over many videos, which scores only candidates this way.

use std::ops::Range;

use tokio::runtime::Handle;

use super::EvalError;
use super::score::Scorer;
use crate::embed::RERANK_BATCH;
use crate::embed::model::RerankModel;
use crate::store::Features;

/// Its calls block until the model answers, so it must run on a thread outside of the tokio runtime.
pub struct Cross {
    model: RerankModel,
    captions: Vec<String>,
    videos: Vec<Features>,
    runtime: Handle,
}

impl Cross {
    pub fn new(model: RerankModel, captions: Vec<String>, videos: Vec<Features>, runtime: Handle) -> Self {
        Self { model, captions, videos, runtime }
    }
}

impl Scorer for Cross {
    fn captions(&self) -> usize {
        self.captions.len()
    }

    fn videos(&self) -> usize {
        self.videos.len()
    }

    /// One, because scoring a caption against a thousand videos takes seconds.
    fn captions_at_once(&self) -> usize {
        1
    }

    fn score(&mut self, captions: Range<usize>, videos: Range<usize>, into: &mut [f32]) -> Result<(), EvalError> {
        // Compute whole batches even for a part of one: the last digits of a score depend on the other videos in its
        // batch.
        let from = videos.start / RERANK_BATCH * RERANK_BATCH;
        let to = videos.end.next_multiple_of(RERANK_BATCH).min(self.videos.len());
        for (row, caption) in into.chunks_mut(videos.len()).zip(&self.captions[captions]) {
            let scored = self.model.score(caption.clone(), self.videos[from..to].to_vec());
            let scores = self.runtime.block_on(scored)?;
            row.copy_from_slice(&scores[videos.start - from..][..videos.len()]);
        }
        Ok(())
    }
}
