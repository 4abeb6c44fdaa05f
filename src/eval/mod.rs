//! Measures retrieval on captioned videos: how often a caption finds its video first, and the other way round.
//!
//! [`annotations`] reads the files of the public data sets, [`videos`] finds the footage, and [`clips`] encodes each
//! video with the frames that [`sampling`] chooses. [`score`] ranks all captions against all videos block by block, by
//! their vectors or by a cross head ([`cross`]), [`metrics`] computes the figures that papers report, and [`published`]
//! holds the published ones. [`run`] combines them. Slow results are cached ([`cache`]), so that an interrupted run
//! resumes, and another head on the same frames takes seconds.

pub mod annotations;
pub mod cache;
pub mod clips;
pub mod cross;
pub mod metrics;
pub mod published;
pub mod run;
pub mod sampling;
pub mod score;
pub mod videos;

use std::io;
use std::path::PathBuf;

use ndarray::Array2;

use crate::embed::EmbedError;

/// Errors that end an evaluation. A video that cannot be used does not end it.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Annotations(#[from] annotations::AnnotationError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The request is inconsistent or names something missing.
    #[error("{0}")]
    Asked(String),
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
    #[error("the model gave the score {0}, which cannot be ranked")]
    Score(f32),
    #[error("stopped")]
    Stopped,
}

/// Vectors of equal length, in one buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    dim: usize,
    values: Vec<f32>,
}

impl Vectors {
    pub fn new(dim: usize) -> Self {
        Self { dim: dim.max(1), values: Vec::new() }
    }

    /// `None` if `dim` is 0 or `values` are not whole vectors.
    pub fn of(dim: usize, values: Vec<f32>) -> Option<Self> {
        (dim > 0 && values.len().is_multiple_of(dim)).then_some(Self { dim, values })
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn push(&mut self, vector: &[f32]) {
        assert_eq!(vector.len(), self.dim, "vectors of one length");
        self.values.extend_from_slice(vector);
    }

    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim)
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    pub fn into_array(self) -> Array2<f32> {
        let shape = (self.values.len() / self.dim, self.dim);
        Array2::from_shape_vec(shape, self.values).expect("whole vectors")
    }
}
