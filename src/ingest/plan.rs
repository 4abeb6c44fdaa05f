//! What settings and bundle come to: which frames are taken of a file and how they are cut.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ConfigError, IndexSettings};
use crate::decode::{LONGEST_GAP, Request, Sampling, Want, Zero};
use crate::embed::manifest::Manifest;
use crate::window::Span;

/// Raised whenever the same file would give other times or windows than before: what was indexed until then counts as
/// another plan and is indexed again.
const VERSION: u32 = 3;

/// Least time from frame to frame and from window to window. Time stamps of most containers are no finer, and a shorter
/// step could be rounded to none at all.
pub const LEAST_STEP: Duration = Duration::from_millis(1);

/// How every file of a run is sampled and cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub span: Span,
    /// Frames per window at the most.
    pub frames: usize,
    pub want: Want,
    pub sampling: Sampling,
    pub tolerance: f64,
    /// Keep the features of the frames.
    pub features: bool,
    /// Write captions, with this many beams.
    pub caption_beams: Option<usize>,
    /// The video track, where one was asked for.
    pub track: Option<u32>,
}

impl Plan {
    pub fn new(settings: &IndexSettings, manifest: &Manifest) -> Result<Self, ConfigError> {
        let video = &manifest.video;
        let frames = settings.frames.unwrap_or(video.frames);
        if let Some(most) = video.max_frames.filter(|most| frames > *most) {
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
                None => video.interval() * frames as u32,
            };
            let interval = length / frames as u32;
            let stride = match (settings.stride_secs, settings.stride_frames) {
                (Some(secs), _) => seconds("stride", secs)?,
                (None, Some(count)) => interval * count as u32,
                (None, None) => length.mul_f64(video.stride_frames as f64 / video.frames as f64),
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
            (Span::Sliding { length, stride }, Want::Every(interval), video.interval_tolerance)
        };
        let per_frame = manifest.frame_feature_dim().is_some();
        let features = settings.frame_features.unwrap_or(per_frame);
        if features && !per_frame {
            let problem = "index.frame_features: this model takes whole windows, its frames have no features";
            return Err(ConfigError::Invalid(vec![problem.to_owned()]));
        }
        let beams = manifest.captions.as_ref().map(|captions| settings.caption_beams.unwrap_or(captions.beams));
        let caption_beams = beams.filter(|_| settings.captions);
        Ok(Self { span, frames, want, sampling: settings.sampling, tolerance, features, caption_beams, track: None })
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
        if let Some(track) = self.track {
            key.push_str(&format!(" track{track}"));
        }
        key
    }

    /// [`Plan::frames`] of the plan that has this key; `None`: no plan has.
    pub fn frames_of(key: &str) -> Option<usize> {
        key.split(' ').find_map(|word| word.strip_prefix('f')?.parse().ok())
    }

    /// What the decoder is asked for of one file, from the time `from` on.
    pub fn request(&self, path: PathBuf, from: Duration, manifest: &Manifest, thumbnail_px: u32) -> Request {
        Request {
            path,
            track: self.track,
            decode: true,
            want: self.want.clone(),
            zero: Zero::Medium,
            sampling: self.sampling,
            tolerance: self.tolerance,
            from,
            pixels: manifest.pixel_spec(),
            thumbnail_px: Some(thumbnail_px),
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

/// Also for settings that nobody has checked.
fn seconds(what: &str, secs: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(secs)
        .map_err(|error| ConfigError::Invalid(vec![format!("the {what} ({secs} s) is no length of time: {error}")]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::manifest::Topology;

    /// 8 frames a window at 4 a second, every second window, frames one by one.
    fn manifest() -> Manifest {
        Manifest::parse(include_str!("../../models/bundles/shapes/bundle.toml")).unwrap()
    }

    fn with(change: impl Fn(&mut Manifest)) -> Manifest {
        let mut manifest = manifest();
        change(&mut manifest);
        manifest
    }

    fn key(settings: IndexSettings) -> String {
        Plan::new(&settings, &manifest()).unwrap().key()
    }

    #[test]
    fn the_bundle_decides_what_nobody_says() {
        let default = IndexSettings::default();
        assert_eq!(key(default.clone()), "v3 w2 s1 f8 auto features");
        assert_eq!(key(IndexSettings { frames: Some(16), ..default.clone() }), "v3 w4 s2 f16 auto features");
        assert_eq!(key(IndexSettings { window_secs: Some(8.0), ..default.clone() }), "v3 w8 s4 f8 auto features");
        assert_eq!(key(IndexSettings { stride_frames: Some(8), ..default.clone() }), "v3 w2 s2 f8 auto features");
        assert_eq!(key(IndexSettings { window_whole: true, ..default }), "v3 whole f8 auto features");
    }

    #[test]
    fn features_are_kept_where_frames_have_them_unless_somebody_says_no() {
        let key = |settings, manifest| Plan::new(&settings, &manifest).map(|plan| plan.key());
        let default = IndexSettings::default();
        let without = IndexSettings { frame_features: Some(false), ..default.clone() };
        assert_eq!(key(without.clone(), manifest()).unwrap(), "v3 w2 s1 f8 auto");
        let whole = || with(|manifest| manifest.video.topology = Topology::Video);
        assert_eq!(key(default.clone(), whole()).unwrap(), "v3 w2 s1 f8 auto");
        assert_eq!(key(without, whole()).unwrap(), "v3 w2 s1 f8 auto");
        let wanted = IndexSettings { frame_features: Some(true), ..default };
        assert_eq!(key(wanted.clone(), manifest()).unwrap(), "v3 w2 s1 f8 auto features");
        let error = key(wanted, whole()).unwrap_err().to_string();
        assert!(error.contains("whole windows"), "{error}");
    }

    #[test]
    fn captions_are_part_of_the_plan() {
        let captions = include_str!("../../tests/fixtures/systems/clip4clip-captions/bundle.toml");
        let captions = Manifest::parse(captions).unwrap();
        let key = |settings| Plan::new(&settings, &captions).unwrap().key();
        let beams = captions.captions.as_ref().unwrap().beams;
        let default = IndexSettings::default();
        assert!(key(default.clone()).ends_with(&format!(" features captions{beams}")));
        assert!(key(IndexSettings { caption_beams: Some(1), ..default.clone() }).ends_with(" captions1"));
        assert!(key(IndexSettings { captions: false, ..default.clone() }).ends_with(" features"));
        let greedy = IndexSettings { caption_beams: Some(1), ..default };
        let key = Plan::new(&greedy, &manifest()).unwrap().key();
        assert!(!key.contains("captions"), "a model without a decoder writes no captions");
    }

    #[test]
    fn a_track_that_was_asked_for_is_part_of_the_plan() {
        let plan = Plan::new(&IndexSettings::default(), &manifest()).unwrap();
        let other = Plan { track: Some(3), ..plan.clone() };
        assert_eq!(other.key(), plan.key() + " track3");
        assert_eq!(other.request("a".into(), Duration::ZERO, &manifest(), 1).track, Some(3));
    }

    #[test]
    fn a_key_tells_how_many_frames_a_window_has() {
        for settings in [
            IndexSettings::default(),
            IndexSettings { frames: Some(16), frame_features: Some(false), ..IndexSettings::default() },
            IndexSettings { window_whole: true, ..IndexSettings::default() },
        ] {
            let plan = Plan::new(&settings, &manifest()).unwrap();
            assert_eq!(Plan::frames_of(&plan.key()), Some(plan.frames));
        }
        assert_eq!(Plan::frames_of("v3 features"), None);
    }

    #[test]
    fn frames_spread_over_a_whole_file_are_exact() {
        let tolerance = |settings| Plan::new(&settings, &manifest()).unwrap().tolerance;
        assert_eq!(tolerance(IndexSettings::default()), manifest().video.interval_tolerance);
        assert_eq!(tolerance(IndexSettings { window_whole: true, ..IndexSettings::default() }), 0.0);
    }

    #[test]
    fn more_frames_than_the_model_takes_are_refused() {
        let limited = with(|manifest| manifest.video.max_frames = Some(32));
        let plan = |frames| Plan::new(&IndexSettings { frames: Some(frames), ..IndexSettings::default() }, &limited);
        assert!(plan(32).is_ok());
        let error = plan(33).unwrap_err().to_string();
        assert!(error.contains("33 frames") && error.contains("at most 32"), "{error}");
    }

    #[test]
    fn a_window_longer_than_a_day_is_refused() {
        let settings = |secs| IndexSettings { window_secs: Some(secs), ..IndexSettings::default() };
        assert!(Plan::new(&settings(86_400.0), &manifest()).is_ok());
        let error = Plan::new(&settings(86_401.0), &manifest()).unwrap_err().to_string();
        assert!(error.contains("longer than a day"), "{error}");
    }

    #[test]
    fn steps_that_would_be_rounded_to_nothing_are_refused() {
        let plan = |settings: IndexSettings| Plan::new(&settings, &manifest()).map_err(|error| error.to_string());
        let window = |secs| IndexSettings { window_secs: Some(secs), ..IndexSettings::default() };
        let stride = |secs| IndexSettings { stride_secs: Some(secs), ..IndexSettings::default() };
        assert!(plan(window(0.008)).is_ok());
        assert!(plan(stride(0.001)).is_ok());
        for secs in [0.0079, 1e-12, 0.0] {
            let error = plan(window(secs)).unwrap_err();
            assert!(error.contains("8 frames") && error.contains("0.001 s: make the window longer"), "{error}");
        }
        for secs in [0.0009, 1e-12, 0.0] {
            let error = plan(stride(secs)).unwrap_err();
            assert!(error.contains("shorter than the least, 0.001 s"), "{error}");
        }
        for secs in [f64::NAN, -1.0, f64::INFINITY, 1e300] {
            assert!(plan(window(secs)).unwrap_err().contains("is no length of time"));
            assert!(plan(stride(secs)).unwrap_err().contains("is no length of time"));
        }
        let fast = with(|manifest| manifest.video.interval_s = 1e-9);
        let error = Plan::new(&IndexSettings::default(), &fast).unwrap_err().to_string();
        assert!(error.contains("8 frames"), "{error}");
    }

    #[test]
    fn a_stride_longer_than_the_window_is_refused() {
        let settings = IndexSettings { stride_secs: Some(3.0), ..IndexSettings::default() };
        let error = Plan::new(&settings, &manifest()).unwrap_err().to_string();
        assert!(error.contains("longer than the window"), "{error}");
    }
}
