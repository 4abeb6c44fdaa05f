//! What exists as state, and is looked at when `/metrics` is asked for.

use std::time::Duration;

use prometheus::{Counter, Gauge, GaugeVec};

use super::making::Making;

/// The states of sources, as in `/v1/sources`: of folders and of live streams.
const STATES: [&str; 8] = ["watching", "away", "connecting", "live", "stalled", "backing_off", "failed", "paused"];

/// The state of a daemon at one moment. What is unknown is absent: then its metric is, too.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub model: ModelSeen,
    pub sources: Vec<SourceSeen>,
    pub queues: Vec<QueueSeen>,
    pub files_running: u64,
    pub searches_running: u64,
    pub jobs_running: u64,
    /// Whether indexing pauses because of an error that every file would meet.
    pub is_held: bool,
    /// Parts by name, and whether they answer.
    pub parts: Vec<(&'static str, bool)>,
    /// Files by their state in the ledger.
    pub files: Vec<(String, u64)>,
    pub dead_letters: Vec<(String, u64)>,
    pub ledger_windows: Option<u64>,
    pub store_windows: Option<u64>,
    pub outside_graph: Option<u64>,
    /// What lies in the data folder, by part.
    pub data_bytes: Vec<(&'static str, u64)>,
    pub disk: Option<DiskSeen>,
    pub process: ProcessSeen,
    pub decoders: DecodersSeen,
}

#[derive(Clone, Debug, Default)]
pub struct ModelSeen {
    pub name: String,
    pub collection: String,
    /// `None`: it has not been needed yet.
    pub device: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SourceSeen {
    pub name: String,
    pub state: String,
    pub last_frame_age: Option<Duration>,
    pub pending: u64,
    pub files: u64,
    pub failed: u64,
}

#[derive(Clone, Debug)]
pub struct QueueSeen {
    pub name: &'static str,
    pub items: u64,
    pub limit: u64,
}

/// The file system of the data folder.
#[derive(Clone, Copy, Debug)]
pub struct DiskSeen {
    pub free: u64,
    pub size: u64,
}

/// This process, in the terms of every Prometheus client.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessSeen {
    pub cpu: Duration,
    pub open_files: u64,
    pub most_open_files: u64,
    pub virtual_memory: u64,
    pub resident_memory: u64,
    /// Unix time.
    pub started: Duration,
    pub threads: u64,
}

/// The decoding processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodersSeen {
    pub processes: u64,
    pub memory: u64,
}

/// Filled anew for each scrape.
pub(super) struct SeenGauges {
    build: GaugeVec,
    model: GaugeVec,
    source_state: GaugeVec,
    source_age: GaugeVec,
    source_pending: GaugeVec,
    source_files: GaugeVec,
    source_failed: GaugeVec,
    queue_items: GaugeVec,
    queue_limit: GaugeVec,
    files_running: Gauge,
    searches_running: Gauge,
    jobs_running: Gauge,
    held: Gauge,
    part_up: GaugeVec,
    files: GaugeVec,
    dead_letters: GaugeVec,
    windows: GaugeVec,
    outside_graph: GaugeVec,
    data_bytes: GaugeVec,
    disk_free: GaugeVec,
    disk_size: GaugeVec,
    process_cpu: Counter,
    process_open_files: Gauge,
    process_most_open_files: Gauge,
    process_virtual_memory: Gauge,
    process_resident_memory: Gauge,
    process_started: Gauge,
    process_threads: Gauge,
    decoders: Gauge,
    decoder_memory: Gauge,
}

impl SeenGauges {
    pub(super) fn new(make: &mut Making) -> Self {
        Self {
            build: make.gauges("clipseek_build_info", &["version"], "1; the version of the program is a label."),
            model: make.gauges(
                "clipseek_model_info",
                &["model", "device", "collection"],
                "1; the model that sources are indexed with, its collection, and the device that was chosen for it \
                 (not_opened: nothing was indexed yet).",
            ),
            source_state: make.gauges(
                "clipseek_source_state",
                &["source", "state"],
                "1 for the state that a source is in, 0 for the others. Folders: watching, away. Streams: connecting, \
                 live, stalled, backing_off, failed, paused.",
            ),
            source_age: make.gauges(
                "clipseek_source_last_frame_age_seconds",
                &["source"],
                "Time since a frame of the source was embedded. Absent before the first one.",
            ),
            source_pending: make.gauges(
                "clipseek_source_pending_files",
                &["source"],
                "Files that wait or are being indexed.",
            ),
            source_files: make.gauges("clipseek_source_files", &["source"], "Files that the ledger knows."),
            source_failed: make.gauges("clipseek_source_failed_files", &["source"], "Files among them that failed."),
            queue_items: make.gauges(
                "clipseek_queue_items",
                &["queue"],
                "What waits in a queue: files (backlog), decoded frames (decoder), calls (lanes of the model), searches, \
                 jobs.",
            ),
            queue_limit: make.gauges(
                "clipseek_queue_limit",
                &["queue"],
                "How much may wait in a queue. Then files are found again later, decoders and calls wait, searches and \
                 jobs are refused.",
            ),
            files_running: make.gauge("clipseek_files_running", "Files of sources that are being indexed."),
            searches_running: make.gauge("clipseek_searches_running", "Searches that are being answered."),
            jobs_running: make.gauge("clipseek_jobs_running", "Jobs that are being done."),
            held: make.gauge(
                "clipseek_indexing_held",
                "1 while indexing pauses because of an error that every file would meet: the store is away, the disk is \
                 full, the model cannot be opened.",
            ),
            part_up: make.gauges("clipseek_part_up", &["part"], "Whether ledger and store answer."),
            files: make.gauges(
                "clipseek_known_files",
                &["state"],
                "Files in the ledger by state, a file counting once for each collection.",
            ),
            dead_letters: make.gauges(
                "clipseek_dead_letters",
                &["kind"],
                "Files that failed and are not read again until they change or somebody asks for it, by kind of failure.",
            ),
            windows: make.gauges(
                "clipseek_windows",
                &["where"],
                "Windows in the collection of the model: as the ledger counts them, and as the store does. While files \
                 are being indexed the store is ahead.",
            ),
            outside_graph: make.gauges(
                "clipseek_store_windows_outside_graph",
                &[],
                "Windows that a search compares one by one, because the graph does not hold them yet.",
            ),
            data_bytes: make.gauges(
                "clipseek_data_bytes",
                &["part"],
                "Disk space that is taken by parts of the data folder.",
            ),
            disk_free: make.gauges(
                "clipseek_disk_free_bytes",
                &[],
                "Space that is left on the file system of the data folder.",
            ),
            disk_size: make.gauges("clipseek_disk_size_bytes", &[], "Size of the file system of the data folder."),
            process_cpu: make.counter(
                "process_cpu_seconds_total",
                "User and system processor time of the daemon, without its decoding processes.",
            ),
            process_open_files: make.gauge("process_open_fds", "Open file descriptors."),
            process_most_open_files: make.gauge("process_max_fds", "Most file descriptors that may be open."),
            process_virtual_memory: make.gauge("process_virtual_memory_bytes", "Virtual memory, mapped files included."),
            process_resident_memory: make.gauge("process_resident_memory_bytes", "Resident memory."),
            process_started: make.gauge("process_start_time_seconds", "When the process was started (Unix time)."),
            process_threads: make.gauge("process_threads", "Threads of the daemon."),
            decoders: make.gauge("clipseek_decoder_processes", "Decoding processes that run."),
            decoder_memory: make.gauge("clipseek_decoder_memory_bytes", "Resident memory of the decoding processes."),
        }
    }

    pub(super) fn set(&self, seen: &Seen) {
        for gauges in self.vectors() {
            gauges.reset();
        }
        let put = |gauges: &GaugeVec, labels: &[&str], value: f64| gauges.with_label_values(labels).set(value);
        put(&self.build, &[env!("CARGO_PKG_VERSION")], 1.0);
        let ModelSeen { name, collection, device } = &seen.model;
        put(&self.model, &[name, device.as_deref().unwrap_or("not_opened"), collection], 1.0);
        for source in &seen.sources {
            let name = source.name.as_str();
            for state in STATES {
                put(&self.source_state, &[name, state], f64::from(u8::from(state == source.state)));
            }
            if let Some(age) = source.last_frame_age {
                put(&self.source_age, &[name], age.as_secs_f64());
            }
            put(&self.source_pending, &[name], source.pending as f64);
            put(&self.source_files, &[name], source.files as f64);
            put(&self.source_failed, &[name], source.failed as f64);
        }
        for queue in &seen.queues {
            put(&self.queue_items, &[queue.name], queue.items as f64);
            put(&self.queue_limit, &[queue.name], queue.limit as f64);
        }
        self.files_running.set(seen.files_running as f64);
        self.searches_running.set(seen.searches_running as f64);
        self.jobs_running.set(seen.jobs_running as f64);
        self.held.set(f64::from(u8::from(seen.is_held)));
        for (part, is_up) in &seen.parts {
            put(&self.part_up, &[part], f64::from(u8::from(*is_up)));
        }
        for (gauges, counts) in [(&self.files, &seen.files), (&self.dead_letters, &seen.dead_letters)] {
            for (name, count) in counts {
                put(gauges, &[name], *count as f64);
            }
        }
        for (place, windows) in [("ledger", seen.ledger_windows), ("store", seen.store_windows)] {
            if let Some(windows) = windows {
                put(&self.windows, &[place], windows as f64);
            }
        }
        for (part, bytes) in &seen.data_bytes {
            put(&self.data_bytes, &[part], *bytes as f64);
        }
        if let Some(windows) = seen.outside_graph {
            put(&self.outside_graph, &[], windows as f64);
        }
        if let Some(disk) = seen.disk {
            put(&self.disk_free, &[], disk.free as f64);
            put(&self.disk_size, &[], disk.size as f64);
        }
        let process = &seen.process;
        // The system's own count, which only grows.
        self.process_cpu.inc_by((process.cpu.as_secs_f64() - self.process_cpu.get()).max(0.0));
        self.process_open_files.set(process.open_files as f64);
        self.process_most_open_files.set(process.most_open_files as f64);
        self.process_virtual_memory.set(process.virtual_memory as f64);
        self.process_resident_memory.set(process.resident_memory as f64);
        self.process_started.set(process.started.as_secs_f64());
        self.process_threads.set(process.threads as f64);
        self.decoders.set(seen.decoders.processes as f64);
        self.decoder_memory.set(seen.decoders.memory as f64);
    }

    fn vectors(&self) -> [&GaugeVec; 17] {
        [
            &self.build,
            &self.model,
            &self.source_state,
            &self.source_age,
            &self.source_pending,
            &self.source_files,
            &self.source_failed,
            &self.queue_items,
            &self.queue_limit,
            &self.part_up,
            &self.files,
            &self.dead_letters,
            &self.windows,
            &self.outside_graph,
            &self.data_bytes,
            &self.disk_free,
            &self.disk_size,
        ]
    }
}
