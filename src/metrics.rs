//! Every metric of the daemon: its name, labels, help, and the method that counts it. `/metrics` answers with them.
//!
//! The rest of the program calls methods such as [`Metrics::frames_dropped`] and knows no names. What exists as state
//! anyhow (queues, sources, sizes) is not counted a second time: [`crate::service`] looks at it when it is asked, as
//! [`Seen`], and [`seen`] holds its names. [`Metrics::table`] lists all of them for the documentation.
//!
//! Labels have few values: sources, stages and kinds, never paths. A metric of a source begins to exist at 0 with the
//! source, so that its first event is seen as an increase, and goes with it.

mod making;
pub mod seen;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounterVec, Registry, TextEncoder};
use serde::Serialize;

use making::Making;
pub use seen::Seen;
use seen::SeenGauges;

use crate::ledger::FailureKind;
use crate::verify::{Difference, DifferenceKind};

/// The source of files that a person asked for. No source can have this name, because of the brackets.
pub const ASKED: &str = "(job)";
/// The kinds of jobs, as in `/v1/jobs`.
const JOBS: [&str; 3] = ["index", "retry", "verify"];

/// Of stages and searches: from what a cached answer takes to what a long file or a full disk takes.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
const FILLS: [f64; 8] = [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0];

pub struct Metrics {
    registry: Registry,
    rows: Vec<Row>,
    frames_decoded: IntCounterVec,
    frames_sampled: IntCounterVec,
    frames_dropped: IntCounterVec,
    reconnects: IntCounterVec,
    decode_cpu: CounterVec,
    footage: CounterVec,
    windows_stored: IntCounterVec,
    windows_failed: IntCounterVec,
    file_outcomes: IntCounterVec,
    file_failures: IntCounterVec,
    waiting: HistogramVec,
    working: HistogramVec,
    batch_items: IntCounterVec,
    batch_fill: HistogramVec,
    search: Histogram,
    searches: IntCounterVec,
    jobs: IntCounterVec,
    verify_differences: GaugeVec,
    verify_time: Gauge,
    /// Locked while they are set and read, so that two scrapes at the same time do not mix.
    seen: Mutex<SeenGauges>,
}

/// What `/metrics` can say about one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchOutcome {
    Found,
    Nothing,
    /// The request cannot be answered as it is.
    Invalid,
    Failed,
    /// Rejected, because too many searches waited.
    QueueFull,
    /// Rejected after waiting.
    QueuedTooLong,
}

impl SearchOutcome {
    const ALL: [Self; 6] =
        [Self::Found, Self::Nothing, Self::Invalid, Self::Failed, Self::QueueFull, Self::QueuedTooLong];
}

impl Default for Metrics {
    fn default() -> Self {
        let mut make = Making::default();
        let metrics = Self {
            frames_decoded: make.counters(
                "clipseek_frames_decoded_total",
                &["source"],
                "Coded frames that were decoded; of files when they were read to their end.",
            ),
            frames_sampled: make.counters(
                "clipseek_frames_sampled_total",
                &["source"],
                "Frames that were sampled and embedded.",
            ),
            frames_dropped: make.counters(
                "clipseek_frames_dropped_total",
                &["source"],
                "Sampled frames of live sources that were dropped because indexing was too slow. Folders wait instead.",
            ),
            reconnects: make.counters(
                "clipseek_source_reconnects_total",
                &["source"],
                "Times that a source came back: a stream connected again, a folder that was away is there again.",
            ),
            decode_cpu: make.float_counters(
                "clipseek_decode_cpu_seconds_total",
                &["source"],
                "Processor time of decoding processes, of files that were read to their end.",
            ),
            footage: make.float_counters(
                "clipseek_footage_seconds_total",
                &["source"],
                "Length of the footage that was indexed.",
            ),
            windows_stored: make.counters(
                "clipseek_windows_stored_total",
                &["source"],
                "Windows that were written to the store; those of a file that is begun again count again.",
            ),
            windows_failed: make.counters(
                "clipseek_windows_failed_total",
                &["source"],
                "Windows for which the model had no vector.",
            ),
            file_outcomes: make.counters(
                "clipseek_file_outcomes_total",
                &["source", "outcome"],
                "Files by what became of them: indexed, unchanged, known (same content under another name), interrupted, \
                 failed.",
            ),
            file_failures: make.counters(
                "clipseek_file_failures_total",
                &["kind"],
                "Failed files by the kind of failure.",
            ),
            waiting: make.histograms(
                "clipseek_stage_waiting_seconds",
                &["stage"],
                "How long work waited for a stage: a file for its turn to be decoded, frames and windows for the model, \
                 windows to be written to the store.",
                &SECONDS,
            ),
            working: make.histograms(
                "clipseek_stage_working_seconds",
                &["stage"],
                "How long a stage worked: decode until it gave the next frames, embed for a batch, store for a write or \
                 a flush.",
                &SECONDS,
            ),
            batch_items: make.counters(
                "clipseek_batch_items_total",
                &["lane"],
                "Frames or windows that the model was given.",
            ),
            batch_fill: make.histograms(
                "clipseek_batch_fill_ratio",
                &["lane"],
                "Share of the largest batch that a batch of the model filled.",
                &FILLS,
            ),
            search: make.histogram(
                "clipseek_search_seconds",
                "Time from the request to the answer of searches that were answered, waiting included.",
                &SECONDS,
            ),
            searches: make.counters(
                "clipseek_searches_total",
                &["outcome"],
                "Searches by outcome: found, nothing, invalid, failed; rejected: queue_full, queued_too_long.",
            ),
            jobs: make.counters(
                "clipseek_jobs_total",
                &["kind", "state"],
                "Jobs that are over, by kind (index, retry, verify) and state (done, failed, cancelled).",
            ),
            verify_differences: make.gauges(
                "clipseek_verify_differences",
                &["kind"],
                "Differences between ledger, store and pictures that the last verify of this process found and did not \
                 repair. Absent before the first one.",
            ),
            verify_time: make.gauge(
                "clipseek_verify_timestamp_seconds",
                "When the last verify of this process ended (Unix time); 0: there was none.",
            ),
            seen: Mutex::new(SeenGauges::new(&mut make)),
            registry: make.registry.clone(),
            rows: make.finish(),
        };
        metrics.begin();
        metrics
    }
}

impl Metrics {
    /// Begins to count at 0, so that what happens for the first time is an increase.
    fn begin(&self) {
        self.source_begins(ASKED);
        for kind in FailureKind::ALL {
            self.file_failures.with_label_values(&[word(&kind)]);
        }
        for outcome in SearchOutcome::ALL {
            self.searches.with_label_values(&[word(&outcome)]);
        }
        for kind in JOBS {
            for state in ["done", "failed", "cancelled"] {
                self.jobs.with_label_values(&[kind, state]);
            }
        }
    }

    /// Begins to count for a source, at 0.
    pub fn source_begins(&self, source: &str) {
        for counter in self.of_source() {
            counter.with_label_values(&[source]);
        }
        for counter in [&self.decode_cpu, &self.footage] {
            counter.with_label_values(&[source]);
        }
        for outcome in ["indexed", "failed"] {
            self.file_outcomes.with_label_values(&[source, outcome]);
        }
    }

    /// Forgets a source that is no more.
    pub fn source_ends(&self, source: &str) {
        // Each is an error where there was nothing to remove.
        for counter in self.of_source() {
            let _ = counter.remove_label_values(&[source]);
        }
        for counter in [&self.decode_cpu, &self.footage] {
            let _ = counter.remove_label_values(&[source]);
        }
        for outcome in ["indexed", "unchanged", "known", "interrupted", "failed"] {
            let _ = self.file_outcomes.remove_label_values(&[source, outcome]);
        }
    }

    fn of_source(&self) -> [&IntCounterVec; 6] {
        [
            &self.frames_decoded,
            &self.frames_sampled,
            &self.frames_dropped,
            &self.reconnects,
            &self.windows_stored,
            &self.windows_failed,
        ]
    }

    pub fn frames_decoded(&self, source: &str, frames: u64) {
        self.frames_decoded.with_label_values(&[source]).inc_by(frames);
    }

    pub fn decode_cpu(&self, source: &str, secs: f64) {
        self.decode_cpu.with_label_values(&[source]).inc_by(secs);
    }

    pub fn frames_sampled(&self, source: &str, frames: u64) {
        self.frames_sampled.with_label_values(&[source]).inc_by(frames);
    }

    pub fn frames_dropped(&self, source: &str, frames: u64) {
        self.frames_dropped.with_label_values(&[source]).inc_by(frames);
    }

    pub fn reconnected(&self, source: &str) {
        self.reconnects.with_label_values(&[source]).inc();
    }

    pub fn footage_indexed(&self, source: &str, length: Duration) {
        self.footage.with_label_values(&[source]).inc_by(length.as_secs_f64());
    }

    pub fn windows_stored(&self, source: &str, windows: u64) {
        self.windows_stored.with_label_values(&[source]).inc_by(windows);
    }

    pub fn windows_failed(&self, source: &str, windows: u64) {
        self.windows_failed.with_label_values(&[source]).inc_by(windows);
    }

    pub fn file_ended(&self, source: &str, outcome: &str) {
        self.file_outcomes.with_label_values(&[source, outcome]).inc();
    }

    pub fn file_failed(&self, source: &str, kind: FailureKind) {
        self.file_ended(source, "failed");
        self.file_failures.with_label_values(&[word(&kind)]).inc();
    }

    pub fn waited(&self, stage: &str, length: Duration) {
        self.waiting.with_label_values(&[stage]).observe(length.as_secs_f64());
    }

    pub fn worked(&self, stage: &str, length: Duration) {
        self.working.with_label_values(&[stage]).observe(length.as_secs_f64());
    }

    /// A batch of so many of the `most` items that a lane of the model takes at once.
    pub fn batch(&self, lane: &str, items: usize, most: usize) {
        self.batch_items.with_label_values(&[lane]).inc_by(items as u64);
        self.batch_fill.with_label_values(&[lane]).observe(items as f64 / most.max(1) as f64);
    }

    pub fn searched(&self, outcome: SearchOutcome, took: Duration) {
        self.searches.with_label_values(&[word(&outcome)]).inc();
        if matches!(outcome, SearchOutcome::Found | SearchOutcome::Nothing) {
            self.search.observe(took.as_secs_f64());
        }
    }

    pub fn job_ended(&self, kind: &str, state: &impl Serialize) {
        self.jobs.with_label_values(&[kind, word(state).as_str()]).inc();
    }

    /// What a verify found; what it repaired is no difference any more.
    pub fn verified(&self, differences: &[Difference], unix: Duration) {
        for kind in DifferenceKind::ALL {
            let of_it = differences.iter().filter(|difference| difference.kind == kind && !difference.repaired);
            self.verify_differences.with_label_values(&[word(&kind)]).set(of_it.count() as f64);
        }
        self.verify_time.set(unix.as_secs_f64());
    }

    /// All of it in Prometheus' text format.
    pub fn text(&self, seen: &Seen) -> Result<String, String> {
        let gauges = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.set(seen);
        let families = self.registry.gather();
        drop(gauges);
        TextEncoder::new().encode_to_string(&families).map_err(|error| error.to_string())
    }

    /// Every metric there can be, by name.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// [`Self::rows`] in Markdown.
    pub fn table(&self) -> String {
        let mut table = String::from("| metric | kind | labels | what it is |\n|---|---|---|---|\n");
        for Row { name, kind, labels, help } in &self.rows {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            table += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "));
        }
        table
    }
}

/// A value of a small set as it is written in JSON.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("a name of a small set, not {other:?}"),
    }
}
