//! What settings and bundle come to: which frames are taken of a file and how they are cut.

use std::time::Duration;

use super::{ConfigError, IndexSettings};
use crate::decode::{Sampling, Want};
use crate::window::Span;

/// The numbers of a bundle's manifest that a plan is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BundleVideo {
    pub frames: usize,
    pub max_frames: Option<usize>,
    pub interval: Duration,
    pub tolerance: f64,
    pub stride_frames: usize,
}

/// How every file of a run is sampled and cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub span: Span,
    /// Frames per window at the most.
    pub frames: usize,
    pub want: Want,
    pub sampling: Sampling,
    pub tolerance: f64,
}

impl Plan {
    pub fn new(settings: &IndexSettings, bundle: BundleVideo) -> Result<Self, ConfigError> {
        let frames = settings.frames.unwrap_or(bundle.frames);
        if let Some(most) = bundle.max_frames.filter(|most| frames > *most) {
            return Err(ConfigError::Invalid(vec![format!(
                "{frames} frames per window were asked for, this model takes at most {most}"
            )]));
        }
        let (span, want, tolerance) = if settings.window_whole {
            // Few frames of a long file: exact ones cost little, and near ones could be many seconds away.
            (Span::Whole, Want::Uniform(frames), 0.0)
        } else {
            let length = match settings.window_secs {
                Some(secs) => Duration::from_secs_f64(secs),
                None => bundle.interval * frames as u32,
            };
            let interval = length / frames as u32;
            let stride = match (settings.stride_secs, settings.stride_frames) {
                (Some(secs), _) => Duration::from_secs_f64(secs),
                (None, Some(count)) => interval * count as u32,
                (None, None) => length.mul_f64(bundle.stride_frames as f64 / bundle.frames as f64),
            };
            if stride > length {
                return Err(ConfigError::Invalid(vec![format!(
                    "the stride ({} s) is longer than the window ({} s): footage between windows would be lost",
                    stride.as_secs_f64(),
                    length.as_secs_f64()
                )]));
            }
            (Span::Sliding { length, stride }, Want::Every(interval), bundle.tolerance)
        };
        Ok(Self { span, frames, want, sampling: settings.sampling, tolerance })
    }

    /// Names the plan in records and ledger; another key means the file has to be indexed again.
    pub fn key(&self) -> String {
        let sampling = self.sampling;
        match self.span {
            Span::Whole => format!("whole f{} {sampling}", self.frames),
            Span::Sliding { length, stride } => {
                format!("w{} s{} f{} {sampling}", length.as_secs_f64(), stride.as_secs_f64(), self.frames)
            }
        }
    }

    /// Time from one window to the next; none where the file is one window.
    pub fn stride(&self) -> Option<Duration> {
        match self.span {
            Span::Whole => None,
            Span::Sliding { stride, .. } => Some(stride),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: BundleVideo = BundleVideo {
        frames: 8,
        max_frames: Some(32),
        interval: Duration::from_millis(250),
        tolerance: 0.2,
        stride_frames: 4,
    };

    fn key(settings: IndexSettings) -> String {
        Plan::new(&settings, BUNDLE).unwrap().key()
    }

    #[test]
    fn the_bundle_decides_what_nobody_says() {
        let default = IndexSettings::default();
        assert_eq!(key(default.clone()), "w2 s1 f8 auto");
        assert_eq!(key(IndexSettings { frames: Some(16), ..default.clone() }), "w4 s2 f16 auto");
        assert_eq!(key(IndexSettings { window_secs: Some(8.0), ..default.clone() }), "w8 s4 f8 auto");
        assert_eq!(key(IndexSettings { stride_frames: Some(8), ..default.clone() }), "w2 s2 f8 auto");
        assert_eq!(key(IndexSettings { window_whole: true, ..default }), "whole f8 auto");
    }

    #[test]
    fn frames_spread_over_a_whole_file_are_exact() {
        let tolerance = |settings| Plan::new(&settings, BUNDLE).unwrap().tolerance;
        assert_eq!(tolerance(IndexSettings::default()), BUNDLE.tolerance);
        assert_eq!(tolerance(IndexSettings { window_whole: true, ..IndexSettings::default() }), 0.0);
    }

    #[test]
    fn more_frames_than_the_model_takes_are_refused() {
        let plan = |frames| Plan::new(&IndexSettings { frames: Some(frames), ..IndexSettings::default() }, BUNDLE);
        assert!(plan(32).is_ok());
        let error = plan(33).unwrap_err().to_string();
        assert!(error.contains("33 frames") && error.contains("at most 32"), "{error}");
    }

    #[test]
    fn a_stride_longer_than_the_window_is_refused() {
        let settings = IndexSettings { stride_secs: Some(3.0), ..IndexSettings::default() };
        let error = Plan::new(&settings, BUNDLE).unwrap_err().to_string();
        assert!(error.contains("longer than the window"), "{error}");
    }
}
