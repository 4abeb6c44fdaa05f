//! Progress on standard error: a bar on a terminal, occasional lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text;
use crate::ingest::{Event, Observer, Report};

/// Interval of progress lines when standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct ProgressBars {
    bar: ProgressBar,
    lines: bool,
    state: Mutex<State>,
}

struct State {
    started: Instant,
    said: Instant,
    files: u64,
    total_files: u64,
    /// Progress of the files being read, at most as many as there are jobs.
    flying: HashMap<PathBuf, Flight>,
    total_bytes: u64,
    done_bytes: u64,
    footage: Duration,
}

#[derive(Clone, Copy, Default)]
struct Flight {
    size: u64,
    duration: Option<Duration>,
    /// PTS at which embedding began (not 0 in a resumed file), and the latest PTS.
    from: Option<Duration>,
    reached: Duration,
}

impl ProgressBars {
    /// For so many files, of so many bytes together ([`size`]).
    pub(super) fn new(total_files: u64, total_bytes: u64, quiet: bool) -> Self {
        let watched = std::io::stderr().is_terminal() && !quiet;
        let bar = ProgressBar::with_draw_target(
            Some(total_bytes),
            if watched { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() },
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}  {eta} left") {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        let now = Instant::now();
        let state = State {
            started: now,
            said: now,
            files: 0,
            total_files,
            flying: HashMap::new(),
            total_bytes,
            done_bytes: 0,
            footage: Duration::ZERO,
        };
        Self { bar, lines: !watched && !quiet, state: Mutex::new(state) }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a line above the bar.
    fn line(&self, line: String) {
        if self.lines {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

/// Size of a file in bytes; one for those that cannot be looked at, so that every file counts.
pub(super) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len()).max(1)
}

impl State {
    fn position(&self) -> u64 {
        let flying = self.flying.values().map(|flight| {
            let share = flight.duration.map_or(0.0, |d| flight.reached.as_secs_f64() / d.as_secs_f64().max(0.001));
            (flight.size as f64 * share.min(1.0)) as u64
        });
        self.done_bytes + flying.sum::<u64>()
    }

    fn summary(&self) -> String {
        let flying = self.flying.values().map(|f| f.reached.saturating_sub(f.from.unwrap_or(f.reached)));
        let footage = self.footage + flying.sum::<Duration>();
        let rate = footage.as_secs_f64() / self.started.elapsed().as_secs_f64().max(0.001);
        format!("{}/{} files  {} of footage  {rate:.1}× real time", self.files, self.total_files, text::span(footage))
    }

    fn end(&mut self, path: &Path) -> Flight {
        self.files += 1;
        self.done_bytes += size(path);
        self.flying.remove(path).unwrap_or_default()
    }
}

impl Observer for ProgressBars {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        match event {
            Event::ModelOpened { model, device } => {
                self.line(format!("{} with model {model} on {device}", text::count(state.total_files, "file")));
            }
            Event::Probed { path, probe } => {
                tracing::info!(
                    path = %text::path(path), codec = %probe.codec, width = probe.width, height = probe.height,
                    "decoding"
                );
                let flight = Flight { size: size(path), duration: probe.duration, ..Flight::default() };
                state.flying.insert(path.to_path_buf(), flight);
            }
            Event::Advanced { path, pts, .. } => {
                if let Some(flight) = state.flying.get_mut(path) {
                    flight.from.get_or_insert(pts);
                    flight.reached = pts;
                }
            }
            Event::Ended { path, report } => {
                let flight = state.end(path);
                if let Report::Indexed(indexed) = report {
                    state.footage += indexed.duration;
                    let sampling = indexed.sampling.map_or_else(|| "-".to_owned(), |s| s.to_string());
                    tracing::info!(path = %text::path(path), windows = indexed.windows, %sampling, "indexed");
                } else {
                    state.footage += flight.reached.saturating_sub(flight.from.unwrap_or(flight.reached));
                }
            }
            Event::Failed { path, failure } => {
                state.end(path);
                self.line(format!("failed: {}: {}", text::path(path), failure.reason));
            }
            // It comes often, and shows nothing.
            Event::Measured(_) => return,
            Event::Optimizing { windows } => self.line(format!(
                "building the search index over {} (searches are right without it, but slower; Ctrl-C leaves it for later) …",
                text::count(windows, "window")
            )),
        }
        let summary = state.summary();
        if self.lines && state.said.elapsed() >= LINE_EVERY {
            state.said = Instant::now();
            let done = state.position() as f64 / state.total_bytes.max(1) as f64;
            let left = state.started.elapsed().mul_f64(((1.0 - done) / done.max(0.001)).clamp(0.0, 1e6));
            eprintln!("{:.0} %  {summary}  {} left", done * 100.0, text::span(left));
        }
        self.bar.set_position(state.position());
        self.bar.set_message(summary);
    }
}
