//! A test double of a model: equal inputs give equal vectors, which have no other meaning.

use sha2::{Digest, Sha256};

use super::head::MeanHead;
use super::model::{TextModel, VideoModel};
use super::{EmbedError, Embedding, Feature, FrameEncoder, Head, TextEncoder, VideoEncoder};
use crate::decode::Frame;
use crate::window::Window;

/// Implements every encoder.
#[derive(Clone, Copy, Debug)]
pub struct Hashed {
    pub dim: usize,
}

impl Hashed {
    /// A frames+head model without ONNX Runtime.
    pub fn video_model(self, batch: usize) -> Result<VideoModel, EmbedError> {
        VideoModel::of_frames(Box::new(self), Box::new(MeanHead), "hashed", batch)
    }

    pub fn text_model(self) -> Result<TextModel, EmbedError> {
        TextModel::of(Box::new(self), "hashed", 8)
    }

    fn vector(self, input: &[u8]) -> Vec<f32> {
        let digest = Sha256::digest(input);
        let blocks =
            (0u64..).flat_map(|block| Sha256::new().chain_update(digest).chain_update(block.to_le_bytes()).finalize());
        blocks.take(self.dim).map(|byte| f32::from(byte) / 127.5 - 1.0).collect()
    }
}

impl FrameEncoder for Hashed {
    fn encode(&mut self, frames: &[Frame]) -> Result<Vec<Feature>, EmbedError> {
        let feature = |f: &Frame| Feature { pts: f.pts, values: self.vector(&f.pixels.data).into() };
        Ok(frames.iter().map(feature).collect())
    }
}

impl Head for Hashed {
    fn pool(&mut self, windows: &[Window<Feature>]) -> Result<Vec<Embedding>, EmbedError> {
        MeanHead.pool(windows)
    }
}

impl VideoEncoder for Hashed {
    fn encode(&mut self, windows: &[Window<Frame>]) -> Result<Vec<Embedding>, EmbedError> {
        let all = |w: &Window<Frame>| w.items.iter().flat_map(|f| f.pixels.data.iter().copied()).collect::<Vec<u8>>();
        windows.iter().map(|w| Embedding::new(self.vector(&all(w)))).collect()
    }
}

impl TextEncoder for Hashed {
    fn encode(&mut self, texts: &[String]) -> Result<Vec<Embedding>, EmbedError> {
        texts.iter().map(|text| Embedding::new(self.vector(text.as_bytes()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decode::Rgb;

    fn frame(second: u64, value: u8) -> Frame {
        let pixels = Rgb { width: 1, height: 1, data: vec![value; 3] }.into();
        Frame { pts: Duration::from_secs(second), until: None, pixels, thumbnail: None }
    }

    #[tokio::test]
    async fn same_input_same_vector() {
        let model = Hashed { dim: 48 }.video_model(2).unwrap();
        let features = model.features(vec![frame(0, 1), frame(1, 2), frame(2, 1)]).await.unwrap();
        assert_eq!(features[0].values, features[2].values);
        assert_ne!(features[0].values, features[1].values);
        assert_eq!((features[2].pts, features[2].values.len()), (Duration::from_secs(2), 48));
        let window = Window { start: Duration::ZERO, end: Duration::from_secs(3), items: features };
        let pooled = model.pool(vec![window.clone(), window]).await.unwrap();
        assert_eq!(pooled[0], pooled[1]);

        let text = Hashed { dim: 48 }.text_model().unwrap();
        let vectors = text.encode(vec!["a".into(), "b".into(), "a".into()]).await.unwrap();
        assert_eq!(vectors[0], vectors[2]);
        assert!(vectors[0].dot(&vectors[1]) < 0.9);
    }
}
