//! Measures how far footage is from what a model was made for.
//!
//! A model with a narrow scope comes with the mean and standard deviation of the frame features of its own kind of
//! footage. The distance of a frame is the mean over the dimensions of ((feature − mean) / deviation)², which is about
//! 1 for such footage.

use serde::Deserialize;

use super::Feature;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    mean: Vec<f32>,
    std: Vec<f32>,
    max_distance: f32,
}

impl Scope {
    pub(super) fn parse(json: &str, dim: usize) -> Result<Self, String> {
        let scope: Self = serde_json::from_str(json).map_err(|e| e.to_string())?;
        if scope.mean.len() != dim || scope.std.len() != dim {
            let (mean, std) = (scope.mean.len(), scope.std.len());
            return Err(format!("mean has {mean} values and std {std}, dim is {dim}"));
        }
        if !scope.mean.iter().all(|m| m.is_finite()) || !scope.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err("mean must be finite and std above 0".to_owned());
        }
        if !(scope.max_distance.is_finite() && scope.max_distance > 0.0) {
            return Err(format!("max_distance is {}, it must be above 0", scope.max_distance));
        }
        Ok(scope)
    }

    /// Mean distance of the frames; 0 without frames.
    pub fn distance(&self, features: &[Feature]) -> f32 {
        if features.is_empty() {
            return 0.0;
        }
        let sum: f64 = features.iter().map(|f| self.distance_of(&f.values)).sum();
        (sum / features.len() as f64) as f32
    }

    /// Footage with a larger mean distance is outside the model's scope.
    pub fn max_distance(&self) -> f32 {
        self.max_distance
    }

    fn distance_of(&self, values: &[f32]) -> f64 {
        let squares = values.iter().zip(&self.mean).zip(&self.std).map(|((v, m), s)| f64::from((v - m) / s).powi(2));
        squares.sum::<f64>() / self.mean.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn feature(values: &[f32]) -> Feature {
        Feature { pts: Duration::ZERO, values: values.into() }
    }

    #[test]
    fn distance_is_the_mean_squared_deviation() {
        let scope = Scope::parse(r#"{"mean": [1, 2], "std": [1, 0.5], "max_distance": 2.5}"#, 2).unwrap();
        assert_eq!(scope.distance(&[feature(&[1.0, 2.0])]), 0.0);
        assert_eq!(scope.distance(&[feature(&[2.0, 3.0])]), 2.5);
        assert_eq!(scope.distance(&[feature(&[1.0, 2.0]), feature(&[2.0, 3.0])]), 1.25);
        assert_eq!(scope.distance(&[]), 0.0);
        assert_eq!(scope.max_distance(), 2.5);
    }

    #[test]
    fn refuses_wrong_sizes_and_zero_deviation() {
        let error = Scope::parse(r#"{"mean": [1], "std": [1], "max_distance": 1}"#, 2).unwrap_err();
        assert_eq!(error, "mean has 1 values and std 1, dim is 2");
        assert!(Scope::parse(r#"{"mean": [1], "std": [0], "max_distance": 1}"#, 1).is_err());
        assert!(Scope::parse(r#"{"mean": [1], "std": [1], "max_distance": 1, "x": 1}"#, 1).is_err());
    }
}
