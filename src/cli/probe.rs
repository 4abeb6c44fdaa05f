//! `clipseek probe`: shows what is in a file and which frames would be sampled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::index::local;
use super::{End, text};
use crate::decode::{
    DecodeError, Decoder, Interpolation, Outcome, PixelSpec, Probe, Request, Resize, Sampling, Track, Want, Zero,
};
use crate::source::file_uri;

/// Interval for `--every 0`: too short for two frames.
const EVERY_FRAME: Duration = Duration::from_nanos(1);
/// Small, because only the frames' times are used.
const SMALL: PixelSpec = PixelSpec {
    width: 8,
    height: 8,
    resize: Resize::Stretch,
    interpolation: Interpolation::Bilinear,
    antialias: false,
};

#[derive(Args)]
pub(super) struct ProbeArgs {
    /// Video files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Decode, and list the time of every frame that would be sampled
    #[arg(long)]
    frames: bool,
    /// Which coded frames are decoded
    #[arg(long, value_enum)]
    sampling: Option<Sampling>,
    /// Seconds between sampled frames (0: every frame; default: the model's interval)
    #[arg(long, value_name = "SECONDS")]
    every: Option<f64>,
    /// The video track to take, by the number that this command lists
    #[arg(long, value_name = "N")]
    track: Option<u32>,
}

/// What was found in one file.
struct Found {
    path: PathBuf,
    probe: Probe,
    outcome: Option<Outcome>,
    /// With `--frames`: PTS of the decoded frames.
    times: Option<Vec<Duration>>,
    error: Option<DecodeError>,
}

pub(super) async fn run(app: &App, args: ProbeArgs) -> anyhow::Result<End> {
    let paths = args.files.iter().map(|path| local(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let ledger = app.existing_ledger().await?;
    let (_, bundle) = app.outline(None, ledger.as_ref()).await?;
    let video = &bundle.manifest().video;
    let interval = match args.every {
        Some(seconds) => every(seconds)?,
        None => video.interval(),
    };
    let decoder = Arc::new(app.decoder()?);
    let mut files = Vec::new();
    let mut failed = false;
    for path in paths {
        let request = Request {
            path,
            track: args.track,
            decode: args.frames,
            want: Want::Every(interval),
            zero: Zero::Medium,
            sampling: args.sampling.unwrap_or(app.settings.index.sampling),
            tolerance: video.interval_tolerance,
            from: Duration::ZERO,
            pixels: SMALL,
            thumbnail_px: None,
        };
        let decoder = Arc::clone(&decoder);
        let found = tokio::task::spawn_blocking(move || look(decoder.as_ref(), &request)).await?;
        failed |= found.error.is_some();
        if app.json {
            files.push(found.json());
        } else {
            found.print(interval);
        }
    }
    if app.json {
        println!("{}", json!({ "files": files }));
    }
    Ok(if failed { End::Failed } else { End::Done })
}

fn every(seconds: f64) -> anyhow::Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(interval) => Ok(interval.max(EVERY_FRAME)),
        Err(error) => bail!("--every {seconds} is not a duration: {error}"),
    }
}

fn look(decoder: &dyn Decoder, request: &Request) -> Found {
    let path = std::path::absolute(&request.path).unwrap_or_else(|_| request.path.clone());
    let mut found = Found { path, probe: Probe::default(), outcome: None, times: None, error: None };
    let mut frames = match decoder.open(request, CancellationToken::new()) {
        Ok(frames) => frames,
        Err(error) => return Found { error: Some(error), ..found },
    };
    found.probe = frames.probe().clone();
    let mut times = Vec::new();
    for frame in frames.by_ref() {
        match frame {
            Ok(frame) => times.push(frame.pts),
            Err(error) => found.error = Some(error),
        }
    }
    found.outcome = frames.outcome().cloned();
    found.times = request.decode.then_some(times);
    found
}

impl Found {
    fn json(&self) -> Value {
        let Self { path, probe, outcome, times, error } = self;
        let outcome = outcome.as_ref();
        let exact = |time: Duration| time.as_secs_f64();
        let frames: Option<Vec<f64>> = times.as_ref().map(|times| times.iter().map(|time| exact(*time)).collect());
        json!({
            "path": path.to_string_lossy(),
            "uri": file_uri(path),
            "container": probe.container,
            "tracks": probe.tracks,
            "codec": Some(&probe.codec).filter(|codec| !codec.is_empty()),
            "width": probe.width,
            "height": probe.height,
            "orientation": probe.orientation,
            "frame_rate": probe.frame_rate,
            "start_s": probe.start_s,
            "duration_s": probe.duration.or(outcome.map(|outcome| outcome.end)).map(exact),
            "frames": outcome.map(|outcome| outcome.packets),
            "key_frames": outcome.map(|outcome| outcome.key_frames),
            "key_frame_spacing_s": outcome.and_then(spacing).map(exact),
            "sampling": outcome.map(|outcome| outcome.sampling),
            "frames_s": frames,
            "problems": outcome.map_or(&[][..], |outcome| &outcome.problems),
            "error": error.as_ref().map(ToString::to_string),
        })
    }

    fn print(&self, interval: Duration) {
        let Self { path, probe, outcome, times, error } = self;
        println!("{}", text::path(path));
        let line = |what: &str, text: &str| println!("  {what:<10}  {text}");
        if let Some(container) = &probe.container {
            line("container", container);
        }
        for track in &probe.tracks {
            line("track", &self.in_words(track));
        }
        if !probe.codec.is_empty() {
            let turned = probe.orientation.in_words().map_or_else(String::new, |turn| format!(", turned by {turn}"));
            let rate = probe.frame_rate.map_or_else(String::new, |rate| format!(", {rate:.3} frames/s"));
            line("video", &format!("{}, {}×{}{turned}{rate}", probe.codec, probe.width, probe.height));
        }
        if let Some(outcome) = outcome {
            let length = text::span(probe.duration.unwrap_or(outcome.end));
            let keys = text::count(outcome.key_frames, "key frame");
            let apart =
                spacing(outcome).map_or_else(String::new, |apart| format!(", every {:.3} s", apart.as_secs_f64()));
            line("length", &format!("{length}, {}, {keys}{apart}", text::count(outcome.packets, "frame")));
            let every = match interval {
                EVERY_FRAME => "every frame".to_owned(),
                interval => format!("a frame every {} s", interval.as_secs_f64()),
            };
            let sampling = outcome.sampling.map_or_else(String::new, |sampling| sampling.to_string());
            let decoded = format!("{} of {} decoded", outcome.packets_decoded, text::count(outcome.packets, "frame"));
            line("sampling", &format!("{sampling}, {every}: {decoded}"));
            for problem in &outcome.problems {
                line("problem", &problem.to_string());
            }
        }
        for time in times.iter().flatten() {
            line("frame", &format!("{:.6}", time.as_secs_f64()));
        }
        if let Some(error) = error {
            line("failed", &error.to_string());
        }
    }

    fn in_words(&self, track: &Track) -> String {
        let mut words = track_in_words(track);
        if track.taken {
            words += "  (taken)";
        }
        words
    }
}

/// Describes a track, such as `2: video h264 640×480, program 1`.
pub(super) fn track_in_words(track: &Track) -> String {
    let mut words = format!("{}: {} {}", track.id, track.kind, track.codec);
    if let (Some(width), Some(height)) = (track.width, track.height) {
        words += &format!(" {width}×{height}");
    }
    if let Some(program) = track.program {
        words += &format!(", program {program}");
    }
    words
}

/// Average interval between key frames.
fn spacing(outcome: &Outcome) -> Option<Duration> {
    u32::try_from(outcome.key_frames).ok().and_then(|count| outcome.end.checked_div(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_lengths_of_time() {
        assert_eq!(every(0.0).unwrap(), EVERY_FRAME);
        assert_eq!(every(0.5).unwrap(), Duration::from_millis(500));
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(every(wrong).unwrap_err().to_string().contains("not a duration"));
        }
    }
}
