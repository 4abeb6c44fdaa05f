//! Mean pooling, for bundles without a head of their own (CLIP4Clip's meanP).

use super::{EmbedError, Embedding, Feature, Head};
use crate::window::Window;

/// Normalises each frame's feature, averages, and normalises the mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanHead;

impl Head for MeanHead {
    fn pool(&mut self, windows: &[Window<Feature>]) -> Result<Vec<Embedding>, EmbedError> {
        windows.iter().map(|window| mean_of_units(window.items.iter().map(|f| &*f.values))).collect()
    }
}

/// The normalised mean of the normalised vectors. Zero vectors do not count.
pub(super) fn mean_of_units<'a>(vectors: impl Iterator<Item = &'a [f32]>) -> Result<Embedding, EmbedError> {
    let mut sum: Vec<f64> = Vec::new();
    for vector in vectors {
        sum.resize(vector.len(), 0.0);
        let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            for (total, value) in sum.iter_mut().zip(vector) {
                *total += f64::from(*value) / length;
            }
        }
    }
    Embedding::new(sum.into_iter().map(|v| v as f32).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window(vectors: &[[f32; 2]]) -> Window<Feature> {
        let items = vectors.iter().map(|v| Feature { pts: Duration::ZERO, values: v[..].into() }).collect();
        Window { start: Duration::ZERO, end: Duration::ZERO, items }
    }

    #[test]
    fn each_frame_counts_alike_however_long_its_vector() {
        let pooled = MeanHead.pool(&[window(&[[9.0, 0.0], [0.0, 1.0]]), window(&[[0.0, 2.0], [0.0, 0.0]])]).unwrap();
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert_eq!(pooled[0].as_slice(), [half, half]);
        assert_eq!(pooled[1].as_slice(), [0.0, 1.0]);
    }

    #[test]
    fn a_window_without_direction_is_an_error() {
        for wrong in [window(&[]), window(&[[1.0, 0.0], [-1.0, 0.0]]), window(&[[f32::NAN, 0.0]])] {
            assert!(matches!(MeanHead.pool(&[wrong]), Err(EmbedError::NoDirection { .. })));
        }
    }
}
