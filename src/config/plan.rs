//! What settings and bundle come to: which frames are taken of a file and how they are cut.

use std::time::Duration;

use super::{ConfigError, IndexSettings};
use crate::decode::{LONGEST_GAP, Sampling, Want};
use crate::window::Span;

/// Raised whenever the same file would give other times or windows than before: what was indexed until then counts as
/// another plan and is indexed again.
const VERSION: u32 = 1;

/// Least time from frame to frame and from window to window. Time stamps of most containers are no finer, and a shorter
/// step could be rounded to none at all.
pub const LEAST_STEP: Duration = Duration::from_millis(1);

/// The numbers of a bundle's manifest that a plan is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BundleVideo {
    pub frames: usize,
    pub max_frames: Option<usize>,
    pub interval: Duration,
    pub tolerance: f64,
    pub stride_frames: usize,
    /// Frames are encoded one by one.
    pub per_frame: bool,
    /// Compares texts with frame features.
    pub reranks: bool,
    /// Writes captions, with this many beams.
    pub caption_beams: Option<usize>,
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
    /// Keep the frame features of each window.
    pub features: bool,
    /// Write captions, with this many beams.
    pub caption_beams: Option<usize>,
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
                Some(secs) => seconds("window", secs)?,
                None => bundle.interval * frames as u32,
            };
            let interval = length / frames as u32;
            let stride = match (settings.stride_secs, settings.stride_frames) {
                (Some(secs), _) => seconds("stride", secs)?,
                (None, Some(count)) => interval * count as u32,
                (None, None) => length.mul_f64(bundle.stride_frames as f64 / bundle.frames as f64),
            };
            if length > LONGEST_GAP {
                return Err(ConfigError::Invalid(vec![format!(
                    "the window ({} s) is longer than a day",
                    length.as_secs_f64()
                )]));
            }
            if interval < LEAST_STEP {
                return Err(ConfigError::Invalid(vec![format!(
                    "a window of {} s with {frames} frames has a frame every {} s, the least is {} s: make the window \
                     longer or take fewer frames",
                    length.as_secs_f64(),
                    interval.as_secs_f64(),
                    LEAST_STEP.as_secs_f64()
                )]));
            }
            if stride < LEAST_STEP {
                return Err(ConfigError::Invalid(vec![format!(
                    "the stride ({} s) is shorter than the least, {} s",
                    stride.as_secs_f64(),
                    LEAST_STEP.as_secs_f64()
                )]));
            }
            if stride > length {
                return Err(ConfigError::Invalid(vec![format!(
                    "the stride ({} s) is longer than the window ({} s): footage between windows would be lost",
                    stride.as_secs_f64(),
                    length.as_secs_f64()
                )]));
            }
            (Span::Sliding { length, stride }, Want::Every(interval), bundle.tolerance)
        };
        let features = settings.frame_features.unwrap_or(bundle.reranks);
        if features && !bundle.per_frame {
            let problem = "index.frame_features: this model takes whole windows, its frames have no features";
            return Err(ConfigError::Invalid(vec![problem.to_owned()]));
        }
        let beams = bundle.caption_beams.map(|beams| settings.caption_beams.unwrap_or(beams));
        let caption_beams = beams.filter(|_| settings.captions);
        Ok(Self { span, frames, want, sampling: settings.sampling, tolerance, features, caption_beams })
    }

    /// Names the plan in records and ledger; another key means the file has to be indexed again.
    pub fn key(&self) -> String {
        let sampling = self.sampling;
        let mut key = match self.span {
            Span::Whole => format!("v{VERSION} whole f{} {sampling}", self.frames),
            Span::Sliding { length, stride } => {
                format!("v{VERSION} w{} s{} f{} {sampling}", length.as_secs_f64(), stride.as_secs_f64(), self.frames)
            }
        };
        if self.features {
            key.push_str(" features");
        }
        if let Some(beams) = self.caption_beams {
            key.push_str(&format!(" captions{beams}"));
        }
        key
    }

    /// Time from one window to the next; none where the file is one window.
    pub fn stride(&self) -> Option<Duration> {
        match self.span {
            Span::Whole => None,
            Span::Sliding { stride, .. } => Some(stride),
        }
    }
}

/// Also for settings that nobody has checked.
fn seconds(what: &str, secs: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(secs)
        .map_err(|error| ConfigError::Invalid(vec![format!("the {what} ({secs} s) is no length of time: {error}")]))
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
        per_frame: true,
        reranks: false,
        caption_beams: None,
    };

    fn key(settings: IndexSettings) -> String {
        Plan::new(&settings, BUNDLE).unwrap().key()
    }

    #[test]
    fn the_bundle_decides_what_nobody_says() {
        let default = IndexSettings::default();
        assert_eq!(key(default.clone()), "v1 w2 s1 f8 auto");
        assert_eq!(key(IndexSettings { frames: Some(16), ..default.clone() }), "v1 w4 s2 f16 auto");
        assert_eq!(key(IndexSettings { window_secs: Some(8.0), ..default.clone() }), "v1 w8 s4 f8 auto");
        assert_eq!(key(IndexSettings { stride_frames: Some(8), ..default.clone() }), "v1 w2 s2 f8 auto");
        assert_eq!(key(IndexSettings { window_whole: true, ..default }), "v1 whole f8 auto");
    }

    #[test]
    fn features_and_captions_are_part_of_the_plan() {
        let key = |settings, bundle| Plan::new(&settings, bundle).map(|plan| plan.key());
        let default = IndexSettings::default();
        let able = BundleVideo { reranks: true, caption_beams: Some(5), ..BUNDLE };
        assert_eq!(key(default.clone(), able).unwrap(), "v1 w2 s1 f8 auto features captions5");
        let less = IndexSettings { captions: false, frame_features: Some(false), ..default.clone() };
        assert_eq!(key(less, able).unwrap(), "v1 w2 s1 f8 auto");
        let greedy = IndexSettings { caption_beams: Some(1), ..default.clone() };
        assert_eq!(key(greedy.clone(), able).unwrap(), "v1 w2 s1 f8 auto features captions1");
        assert_eq!(key(greedy, BUNDLE).unwrap(), "v1 w2 s1 f8 auto", "a model without a decoder writes no captions");
        let wanted = IndexSettings { frame_features: Some(true), ..default };
        assert_eq!(key(wanted.clone(), BUNDLE).unwrap(), "v1 w2 s1 f8 auto features");
        let error = key(wanted, BundleVideo { per_frame: false, ..BUNDLE }).unwrap_err().to_string();
        assert!(error.contains("whole windows"), "{error}");
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
    fn a_window_longer_than_a_day_is_refused() {
        let settings = |secs| IndexSettings { window_secs: Some(secs), ..IndexSettings::default() };
        assert!(Plan::new(&settings(86_400.0), BUNDLE).is_ok());
        let error = Plan::new(&settings(86_401.0), BUNDLE).unwrap_err().to_string();
        assert!(error.contains("longer than a day"), "{error}");
    }

    #[test]
    fn steps_that_would_be_rounded_to_nothing_are_refused() {
        let plan = |settings: IndexSettings, bundle| Plan::new(&settings, bundle).map_err(|error| error.to_string());
        let default = IndexSettings::default();
        let window = |secs| IndexSettings { window_secs: Some(secs), ..IndexSettings::default() };
        let stride = |secs| IndexSettings { stride_secs: Some(secs), ..IndexSettings::default() };
        assert!(plan(window(0.008), BUNDLE).is_ok());
        assert!(plan(stride(0.001), BUNDLE).is_ok());
        for secs in [0.0079, 1e-12, 0.0] {
            let error = plan(window(secs), BUNDLE).unwrap_err();
            assert!(error.contains("8 frames") && error.contains("0.001 s: make the window longer"), "{error}");
        }
        for secs in [0.0009, 1e-12, 0.0] {
            let error = plan(stride(secs), BUNDLE).unwrap_err();
            assert!(error.contains("shorter than the least, 0.001 s"), "{error}");
        }
        for secs in [f64::NAN, -1.0, f64::INFINITY, 1e300] {
            assert!(plan(window(secs), BUNDLE).unwrap_err().contains("is no length of time"));
            assert!(plan(stride(secs), BUNDLE).unwrap_err().contains("is no length of time"));
        }
        let fast = BundleVideo { interval: Duration::from_nanos(1), ..BUNDLE };
        assert!(plan(default, fast).unwrap_err().contains("8 frames"));
    }

    #[test]
    fn a_stride_longer_than_the_window_is_refused() {
        let settings = IndexSettings { stride_secs: Some(3.0), ..IndexSettings::default() };
        let error = Plan::new(&settings, BUNDLE).unwrap_err().to_string();
        assert!(error.contains("longer than the window"), "{error}");
    }
}
