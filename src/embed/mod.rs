//! Model bundles and their ONNX Runtime sessions: they turn frames, windows and texts into unit vectors, captions and
//! scores.
//!
//! A model is data: [`bundle`] reads and checks it, `import` makes one from an ONNX export. The traits below are the
//! parts of a model; `onnx`, [`text`], `captions` and `rerank` implement them with sessions of [`runtime`], on a GPU
//! through the buffers of `binding`. [`worker`] gives each session a thread behind a bounded queue. [`model`] is what
//! the rest of the program uses. [`hashed`] is a test double.

#[cfg(feature = "onnx")]
mod binding;
pub mod bundle;
#[cfg(feature = "onnx")]
pub mod captions;
pub mod choice;
mod digest;
#[cfg(feature = "onnx")]
mod element;
pub mod hashed;
pub mod head;
#[cfg(feature = "onnx")]
pub mod import;
pub mod model;
#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "onnx")]
mod preprocessing;
#[cfg(feature = "onnx")]
mod rerank;
pub mod runtime;
pub mod scope;
#[cfg(feature = "onnx")]
mod tensor;
pub mod text;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

pub use bundle::manifest;
pub use worker::Ran;

use crate::decode::Frame;
use crate::window::Window;

/// The image encoder's output for one frame, not normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    pub pts: Duration,
    pub values: Arc<[f32]>,
}

/// A vector of unit length.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Vec<f32>);

impl Embedding {
    /// Scales to unit length. A vector without direction (zero, NaN, infinite) is an error.
    pub fn new(mut values: Vec<f32>) -> Result<Self, EmbedError> {
        let length = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length < 1e-12 {
            return Err(EmbedError::NoDirection { length });
        }
        for value in &mut values {
            *value = (f64::from(*value) / length) as f32;
        }
        Ok(Self(values))
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    pub fn dot(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("the model gave a vector of length {length}, which has no direction")]
    NoDirection { length: f64 },
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("device {asked}: {problem}")]
    Device { asked: String, problem: String },
    #[error("ONNX Runtime: {0}")]
    Runtime(String),
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// This input cannot be encoded; others can.
    #[error("{0}")]
    Input(String),
    #[error("the model's thread has ended")]
    Closed,
}

/// A bundle that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("bundle {bundle}: {problem}")]
pub struct BundleError {
    pub bundle: String,
    pub problem: String,
}

/// Encodes frames to features, one per frame, in the same order.
pub trait FrameEncoder: Send {
    fn encode(&mut self, frames: &[Frame]) -> Result<Vec<Feature>, EmbedError>;
}

/// Pools the features of each window to its vector.
pub trait Head: Send {
    fn pool(&mut self, windows: &[Window<Feature>]) -> Result<Vec<Embedding>, EmbedError>;
}

/// Encodes the frames of each window to its vector, for models without per-frame features.
pub trait VideoEncoder: Send {
    fn encode(&mut self, windows: &[Window<Frame>]) -> Result<Vec<Embedding>, EmbedError>;
}

/// Writes a caption for each window from its features.
pub trait Captioner: Send {
    fn caption(&mut self, windows: &[Window<Feature>]) -> Result<Vec<String>, EmbedError>;
}

/// Windows per batch of a [`Reranker`]. The batch size affects the last digits of scores.
pub const RERANK_BATCH: usize = 64;

/// Scores how well a text fits the frame features of each window. Scores are comparable for one text only.
pub trait Reranker: Send {
    fn score(&mut self, text: &str, windows: &[Vec<Arc<[f32]>>]) -> Result<Vec<f32>, EmbedError>;
}

/// Encodes texts to vectors, one per text.
pub trait TextEncoder: Send {
    fn encode(&mut self, texts: &[String]) -> Result<Vec<Embedding>, EmbedError>;
}
