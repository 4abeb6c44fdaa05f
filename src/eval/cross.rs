//! Every caption with every video through a cross head (CLIP4Clip's tightTransf), as its paper measures it. No search can
//! do that over many videos: there it judges candidates only.

use std::ops::Range;

use tokio::runtime::Handle;

use super::EvalError;
use super::score::Scorer;
use crate::embed::model::RerankModel;
use crate::embed::rerank::BATCH;
use crate::store::Features;

/// Works outside of the runtime's threads, which the model answers to.
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

    /// A caption with a thousand videos takes seconds.
    fn captions_at_once(&self) -> usize {
        1
    }

    fn score(&mut self, captions: Range<usize>, videos: Range<usize>, into: &mut [f32]) -> Result<(), EvalError> {
        // Whole batches, whatever part of them is asked for: what is computed together has a say in the last digits.
        let from = videos.start / BATCH * BATCH;
        let to = videos.end.next_multiple_of(BATCH).min(self.videos.len());
        for (row, caption) in into.chunks_mut(videos.len()).zip(&self.captions[captions]) {
            let scored = self.model.score(caption.clone(), self.videos[from..to].to_vec());
            let scores = self.runtime.block_on(scored)?;
            row.copy_from_slice(&scores[videos.start - from..][..videos.len()]);
        }
        Ok(())
    }
}
