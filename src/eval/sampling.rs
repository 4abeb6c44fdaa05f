//! Chooses the frames that the research systems use in their evaluations: from the times of all frames to the indices
//! of the chosen ones. Pure.
//!
//! The rules are those of the public code (CLIP4Clip, arXiv 2104.08860; CLIP2Video, arXiv 2106.11097; CLIP-ViP, arXiv
//! 2209.06430). Two things are approximated:
//!
//! - Where the authors first re-encoded the videos at a lower frame rate, the same frames are chosen ([`at_rate`],
//!   `ffmpeg`'s rule) but not compressed again, so pixels are slightly better than theirs. CLIP4Clip's optional
//!   re-encoding at 3 frames a second is done only on request.
//! - The authors counted frames with OpenCV, which counts decoded frames; here the container's frames are counted. In
//!   files with unusual packing the counts differ by one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::linspace;

/// Rate at which CLIP2Video's frames were extracted, in frames a second.
const CLIP2VIDEO_FPS: f64 = 5.0;

/// How frames are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameRule {
    /// CLIP4Clip: the first frame of every second; spread evenly if there are too many
    #[serde(rename = "clip4clip")]
    Clip4Clip,
    /// CLIP2Video: 5 frames a second, thinned evenly
    #[serde(rename = "clip2video")]
    Clip2Video,
    /// CLIP-ViP: always the same number, spread evenly over all frames, repeated if there are fewer
    ClipVip,
    /// Spread evenly over all frames, none twice: as `index --window whole`
    Uniform,
}

impl std::fmt::Display for FrameRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Clip4Clip => "clip4clip",
            Self::Clip2Video => "clip2video",
            Self::ClipVip => "clip-vip",
            Self::Uniform => "uniform",
        })
    }
}

/// A rule with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameSampling {
    pub rule: FrameRule,
    /// Most frames per video; with [`FrameRule::ClipVip`] exactly this many.
    pub frames: usize,
    /// [`FrameRule::Clip2Video`] takes one of this many extracted frames.
    pub divisor: usize,
    /// Choose frames as if the video had been re-encoded at this rate, in frames a second.
    pub fps: Option<f64>,
    /// Videos with fewer frames (at that rate) are left out.
    pub least: usize,
}

/// A part of a video in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipSpan {
    pub start_s: f64,
    pub end_s: f64,
}

impl FrameSampling {
    /// The rule with its authors' parameters.
    pub fn new(rule: FrameRule, frames: usize) -> Self {
        let fps = (rule == FrameRule::Clip2Video).then_some(CLIP2VIDEO_FPS);
        Self { rule, frames, divisor: 1, fps, least: 1 }
    }

    /// Indices of the chosen frames, in order; with [`FrameRule::ClipVip`] possibly repeated. `times`: PTS of each
    /// frame, from the start; `end`: end of the last frame; `rate`: from [`frame_rate`]. Fails if the part has no frame
    /// or the video is too short for the rule.
    pub fn pick(
        &self,
        times: &[Duration],
        end: Duration,
        rate: f64,
        span: Option<ClipSpan>,
    ) -> Result<Vec<usize>, String> {
        let mut frames: Vec<usize> = match self.fps {
            Some(fps) => at_rate(times, end, fps),
            None => (0..times.len()).collect(),
        };
        if self.rule != FrameRule::Clip4Clip
            && let Some(ClipSpan { start_s, end_s }) = span
        {
            frames.retain(|frame| (start_s..=end_s).contains(&times[*frame].as_secs_f64()));
        }
        if frames.is_empty() {
            return Err("there is no frame in this part of the video".to_owned());
        }
        let picks = match self.rule {
            FrameRule::Clip4Clip => {
                let whole = span.map(|span| (span.start_s.max(0.0) as usize, span.end_s.ceil().max(0.0) as usize));
                clip4clip(frames.len(), self.fps.unwrap_or(rate), self.frames, whole)?
            }
            FrameRule::Clip2Video => clip2video(frames.len(), self.divisor, self.frames),
            FrameRule::ClipVip => linspace::indices(frames.len(), self.frames),
            FrameRule::Uniform => linspace::indices(frames.len(), self.frames.min(frames.len())),
        };
        if picks.is_empty() || frames.len() < self.least {
            return Err(format!("too short for the sampling {} ({} frames)", self.rule, frames.len()));
        }
        Ok(picks.into_iter().map(|pick| frames[pick]).collect())
    }
}

/// The first frame of every second, thinned evenly to at most `most`. The rate is rounded down to a whole number first,
/// so at 29.97 frames a second the picks drift off whole seconds. `seconds`: first and last, both included. Fails if
/// the rate is below 1.
pub fn clip4clip(frames: usize, rate: f64, most: usize, seconds: Option<(usize, usize)>) -> Result<Vec<usize>, String> {
    let rate = rate as usize;
    if rate == 0 {
        return Err("less than one frame a second: the sampling clip4clip is not defined".to_owned());
    }
    let duration = frames.div_ceil(rate);
    let (first, last) = seconds.map_or((0, duration), |(start, end)| (start, end.min(duration)));
    let decoded: Vec<usize> = (first..=last).map(|second| second * rate).filter(|frame| *frame < frames).collect();
    Ok(thin(decoded, most))
}

/// One of every `divisor` extracted frames, spread evenly over all `files`, then thinned evenly to at most `most`.
/// Empty if there are fewer than `divisor`.
pub fn clip2video(files: usize, divisor: usize, most: usize) -> Vec<usize> {
    thin(linspace::indices(files, files / divisor.max(1)), most)
}

fn thin(picked: Vec<usize>, most: usize) -> Vec<usize> {
    if picked.len() <= most {
        return picked;
    }
    linspace::indices(picked.len(), most).into_iter().map(|i| picked[i]).collect()
}

/// For each frame of the video re-encoded at `fps`, the index of its source frame, as `ffmpeg -vf fps=…` chooses it:
/// the last one whose time, rounded to the new rate, has come.
pub fn at_rate(times: &[Duration], end: Duration, fps: f64) -> Vec<usize> {
    let tick = |time: &Duration| (time.as_nanos() as f64 * fps / 1e9).round() as usize;
    let first = times.first().map_or(0, tick);
    let mut frames = Vec::new();
    for (frame, time) in times.iter().enumerate() {
        let until = times.get(frame + 1).map_or_else(|| tick(&end), tick);
        frames.resize(frames.len() + until.saturating_sub(first + frames.len()), frame);
        debug_assert!(*time <= end || frame + 1 == times.len());
    }
    if frames.is_empty() && !times.is_empty() {
        // Shorter than half a frame at the new rate: ffmpeg would drop it, but an empty result is of no use.
        frames.push(0);
    }
    frames
}

/// Frames a second: the container's rate if the frames' times agree with it, else the average. Containers round times
/// to milliseconds, and a rate of 29.9999 must not be rounded down to 29.
pub fn frame_rate(times: &[Duration], described: Option<f64>) -> f64 {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return 0.0 };
    let span = (*last - *first).as_secs_f64();
    if span <= 0.0 {
        return described.unwrap_or(1.0);
    }
    let average = (times.len() - 1) as f64 / span;
    let rounding = 1e-4 + 1e-3 / span;
    let near = |rate: &f64| ((rate - average) / average).abs() <= rounding;
    described.filter(near).or(Some(average.round()).filter(near)).unwrap_or(average)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn cases(kind: &str) -> Vec<Value> {
        let text = include_str!("../../models/tests/fixtures/frame_sampling/cases.json");
        serde_json::from_str::<Value>(text).unwrap()[kind].as_array().unwrap().clone()
    }

    fn number(case: &Value, key: &str) -> usize {
        case[key].as_u64().unwrap() as usize
    }

    fn list(case: &Value, key: &str) -> Vec<usize> {
        serde_json::from_value(case[key].clone()).unwrap()
    }

    #[test]
    fn clip4clip_is_that_of_the_official_loader() {
        let mut evenly = 0;
        for case in cases("clip4clip").iter().filter(|case| number(case, "feature_framerate") == 1) {
            let seconds = case.get("start_sec").map(|_| (number(case, "start_sec"), number(case, "end_sec")));
            let (frames, rate) = (number(case, "frame_count"), case["fps"].as_f64().unwrap());
            let (most, expected) = (number(case, "max_frames"), list(case, "selected"));
            let decoded = clip4clip(frames, rate, usize::MAX, seconds).unwrap();
            assert_eq!(decoded.len(), number(case, "decoded"), "{case}");
            match case["slice_framepos"].as_str().unwrap() {
                "head" => assert_eq!(decoded[..most.min(decoded.len())], expected, "{case}"),
                "tail" => assert_eq!(decoded[decoded.len().saturating_sub(most)..], expected, "{case}"),
                _ => {
                    evenly += 1;
                    assert_eq!(clip4clip(frames, rate, most, seconds).unwrap(), expected, "{case}");
                }
            }
        }
        assert!(evenly >= 5, "only {evenly} cases of the published setting");
        assert!(clip4clip(10, 0.5, 12, None).unwrap_err().contains("less than one frame"));
    }

    #[test]
    fn clip2video_is_that_of_the_official_loader() {
        for case in cases("clip2video") {
            let found =
                clip2video(number(&case, "files"), number(&case, "feature_framerate"), number(&case, "max_frames"));
            assert_eq!(found, list(&case, "selected"), "{case}");
        }
    }

    #[test]
    fn clip_vip_is_that_of_the_official_loader() {
        for case in cases("clip_vip") {
            let times: Vec<Duration> = (0..number(&case, "frame_count")).map(|i| ms(40 * i as u64)).collect();
            let found =
                FrameSampling::new(FrameRule::ClipVip, number(&case, "num_frames")).pick(&times, ms(0), 25.0, None);
            assert_eq!(found.unwrap(), list(&case, "selected"), "{case}");
        }
    }

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// `count` frames at `rate`, and their end.
    fn frames(count: u32, rate: f64) -> (Vec<Duration>, Duration) {
        let at = |i: u32| Duration::from_nanos((f64::from(i) * 1e9 / rate).round() as u64);
        ((0..count).map(at).collect(), at(count))
    }

    #[test]
    fn a_lower_rate_takes_the_frames_that_ffmpeg_takes() {
        // From `ffmpeg -f lavfi -i testsrc=rate=R -frames:v N -vf fps=5`, identifying frames by their pictures.
        for (count, rate, expected) in [
            (26, 25.0, &[2, 7, 12, 17, 22][..]),
            (13, 10.0, &[0, 2, 4, 6, 8, 10, 12]),
            (4, 3.0, &[0, 0, 1, 2, 2, 3, 3]),
        ] {
            let (times, end) = frames(count, rate);
            assert_eq!(at_rate(&times, end, 5.0), expected, "{count} at {rate}");
        }
        let (times, end) = frames(1, 30.0);
        assert_eq!(at_rate(&times, end, 5.0), [0], "never nothing");
        assert!(at_rate(&[], ms(0), 5.0).is_empty());
    }

    #[test]
    fn rates_survive_rounded_times() {
        for rate in [30.0, 29.97, 25.0, 23.976, 24.0, 59.94, 12.5] {
            let (times, _) = frames(300, rate);
            let rounded: Vec<Duration> = times.iter().map(|t| ms((t.as_secs_f64() * 1000.0).round() as u64)).collect();
            for times in [&times, &rounded] {
                for described in [None, Some(rate)] {
                    let found = frame_rate(times, described);
                    assert_eq!(found.floor(), rate.floor(), "{rate} became {found}");
                }
            }
        }
        let (times, _) = frames(1189, 29.833);
        assert_eq!(frame_rate(&times, Some(30.0)).floor(), 29.0, "the description is wrong");
        assert_eq!(frame_rate(&times[..1], Some(30.0)), 30.0);
    }

    #[test]
    fn a_part_of_a_video() {
        let (times, end) = frames(100, 10.0);
        let span = Some(ClipSpan { start_s: 2.0, end_s: 4.0 });
        let pick = |rule| FrameSampling::new(rule, 3).pick(&times, end, 10.0, span).unwrap();
        assert_eq!(pick(FrameRule::Uniform), [20, 30, 40]);
        assert_eq!(pick(FrameRule::Clip4Clip), [20, 30, 40]);
        assert_eq!(pick(FrameRule::ClipVip), [20, 30, 40]);
        let beyond = Some(ClipSpan { start_s: 20.0, end_s: 30.0 });
        assert!(FrameSampling::new(FrameRule::Uniform, 3).pick(&times, end, 10.0, beyond).is_err());
        assert!(FrameSampling::new(FrameRule::Clip4Clip, 3).pick(&times, end, 10.0, beyond).is_err());
        let short = FrameSampling { divisor: 2, ..FrameSampling::new(FrameRule::Clip2Video, 12) };
        assert!(short.pick(&times[..2], ms(200), 10.0, None).unwrap_err().contains("too short"));
        let five = FrameSampling { least: 6, ..FrameSampling::new(FrameRule::Clip2Video, 12) };
        assert!(five.pick(&times[..10], ms(1000), 10.0, None).is_err(), "five frames at 5 a second");
        assert!(five.pick(&times[..12], ms(1200), 10.0, None).is_ok());
    }
}
