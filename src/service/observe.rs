//! Looks at the state of the daemon for `/metrics`.
//!
//! A scrape must be answered also when something hangs: what does not answer in time is shown as down, and its figures are
//! absent. What takes long to look at (counts in ledger and store, sizes on disk) is looked at for a small share of the
//! time only, and shown as it was in between.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use walkdir::WalkDir;

use super::sources::SourceRow;
use super::{Service, processes};
use crate::clock::Clock;
use crate::decode::Queues;
use crate::embed::bundle::Outline;
use crate::ingest::backlog::ROOM;
use crate::ledger::{Counts, FailureKind, FileState};
use crate::metrics::seen::{DiskSeen, ModelSeen, QueueSeen, Seen, SourceSeen};
use crate::metrics::word;
use crate::store::VectorStore;

/// How long ledger and store have to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// What took a second is looked at again after so many seconds.
const SELDOM: u32 = 50;

/// Parts of the data folder by the names of files and folders in it. Others are together.
const PARTS: [(&str, &str); 9] = [
    ("ledger.sqlite", "ledger"),
    ("ledger.sqlite-wal", "ledger"),
    ("ledger.sqlite-shm", "ledger"),
    ("store", "store"),
    ("thumbs", "pictures"),
    ("footage", "recordings"),
    ("models", "models"),
    ("engines", "engines"),
    ("eval", "eval"),
];
const OTHERS: &str = "other";

/// What was last looked at of what takes long.
#[derive(Default)]
pub(super) struct Slow(tokio::sync::Mutex<Option<Look>>);

struct Look {
    at: Duration,
    took: Duration,
    figures: Figures,
}

#[derive(Clone, Default)]
struct Figures {
    ledger: Option<Counts>,
    store: Option<u64>,
    outside_graph: Option<u64>,
    data: Vec<(&'static str, u64)>,
}

impl Service {
    /// What `/metrics` answers.
    pub async fn metrics_text(&self) -> Result<String, String> {
        self.metrics.text(&self.seen().await)
    }

    async fn seen(&self) -> Seen {
        let rows = in_time(&self.clock, "ledger", self.sources.rows()).await;
        let store = in_time(&self.clock, "store", self.archive.catalog().list()).await;
        let parts = vec![("ledger", rows.is_some()), ("store", store.is_some())];
        let Figures { ledger, store, outside_graph, data } = self.figures(store.is_some()).await;
        let ledger_windows = ledger.as_ref().map(|counts| counts.windows);
        let (files, dead_letters) = ledger.as_ref().map(by_name).unwrap_or_default();
        let rows = rows.unwrap_or_default();
        Seen {
            model: self.model_seen(),
            queues: self.queues(&rows),
            sources: rows.into_iter().map(source_seen).collect(),
            files_running: self.steady.under_way() as u64,
            searches_running: self.searchers.load().running as u64,
            jobs_running: u64::from(self.jobs.running().is_some()),
            is_held: self.steady.trouble().is_some(),
            parts,
            files,
            dead_letters,
            ledger_windows,
            store_windows: store,
            outside_graph,
            data_bytes: data,
            disk: disk(&self.parts.settings.data_dir),
            process: processes::own(),
            decoders: processes::decoders(),
        }
    }

    fn model_seen(&self) -> ModelSeen {
        let bundle: &Outline = &self.ingest.bundle;
        let device = self.ingest.model.opened().map(|model| model.video.device().to_owned());
        ModelSeen { name: bundle.name().to_owned(), collection: bundle.collection(), device }
    }

    fn queues(&self, rows: &[SourceRow]) -> Vec<QueueSeen> {
        let queue = |name, items: usize, limit: usize| QueueSeen { name, items: items as u64, limit: limit as u64 };
        let frames: &Queues = &self.ingest.frames_waiting;
        let (frames, most_frames) = frames.depth();
        let search = self.searchers.load();
        let (jobs, most_jobs) = self.jobs.waiting();
        let mut queues = vec![
            queue("backlog", self.steady.waiting(), ROOM * rows.len()),
            queue("decoder", frames, most_frames),
            queue("searches", search.waiting, search.most_waiting),
            queue("jobs", jobs, most_jobs),
        ];
        if let Some(model) = self.ingest.model.opened() {
            queues.extend(model.video.depths().iter().map(|depth| queue(depth.lane, depth.waiting, depth.most)));
        }
        queues
    }

    async fn figures(&self, is_store_up: bool) -> Figures {
        let mut slow = self.slow.0.lock().await;
        let now = self.clock.passed();
        if let Some(look) = slow.as_ref().filter(|look| now.saturating_sub(look.at) < look.took * SELDOM) {
            return look.figures.clone();
        }
        let collection = self.ingest.bundle.collection();
        let ledger = in_time(&self.clock, "ledger", self.archive.ledger.counts(&collection)).await;
        let opened = self.ingest.store.opened().filter(|_| is_store_up);
        let (store, outside_graph) = match opened {
            Some(store) => count(&self.clock, store.as_ref()).await,
            None => (None, None),
        };
        let dir = self.parts.settings.data_dir.clone();
        let data = tokio::task::spawn_blocking(move || sizes(&dir)).await.unwrap_or_default();
        let figures = Figures { ledger, store, outside_graph, data };
        let at = self.clock.passed();
        *slow = Some(Look { at, took: at.saturating_sub(now), figures: figures.clone() });
        figures
    }
}

/// `None`, and a warning: it fails or does not answer.
async fn in_time<T, E: std::fmt::Display>(
    clock: &Clock,
    part: &str,
    asked: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    match clock.timeout(PATIENCE, asked).await {
        Some(Ok(answer)) => Some(answer),
        Some(Err(error)) => {
            tracing::warn!(part, %error, "its figures are missing in the metrics");
            None
        }
        None => {
            tracing::warn!(part, "no answer within {} s: its figures are missing in the metrics", PATIENCE.as_secs());
            None
        }
    }
}

async fn count(clock: &Clock, store: &dyn VectorStore) -> (Option<u64>, Option<u64>) {
    (in_time(clock, "store", store.count(None)).await, in_time(clock, "store", store.outside_graph()).await)
}

/// Numbers of files by the name of what they have in common.
type ByName = Vec<(String, u64)>;

/// By state, and failed ones by kind; also those that no file has, so that alerts see them begin.
fn by_name(counts: &Counts) -> (ByName, ByName) {
    let of_state = |state| {
        let of_it = counts.files.iter().filter(|(its, ..)| *its == state);
        (word(&state), of_it.map(|(.., count)| count).sum())
    };
    let of_kind = |kind: &FailureKind| {
        let of_it = counts.files.iter().filter(|(_, its, _)| its.as_ref() == Some(kind));
        (word(kind), of_it.map(|(.., count)| count).sum())
    };
    let states = [FileState::Pending, FileState::Indexed, FileState::Failed];
    (states.into_iter().map(of_state).collect(), FailureKind::ALL.iter().map(of_kind).collect())
}

fn source_seen(row: SourceRow) -> SourceSeen {
    let last_frame_age = row.last_frame_age_s.and_then(|age| Duration::try_from_secs_f64(age).ok());
    let SourceRow { name, state, pending, files, failed, .. } = row;
    SourceSeen { name, state: word(&state), last_frame_age, pending, files, failed }
}

/// As the file system counts: the store's files are larger than what they take.
fn sizes(data_dir: &Path) -> Vec<(&'static str, u64)> {
    let mut sizes: Vec<(&'static str, u64)> = Vec::new();
    for (_, part) in PARTS.iter().chain(&[("", OTHERS)]) {
        if !sizes.iter().any(|(name, _)| name == part) {
            sizes.push((part, 0));
        }
    }
    // What vanishes meanwhile takes no space.
    for entry in WalkDir::new(data_dir).min_depth(1).into_iter().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let top = entry.path().strip_prefix(data_dir).ok().and_then(|path| path.components().next());
        let top = top.map(|top| PathBuf::from(top.as_os_str())).unwrap_or_default();
        let part = PARTS.iter().find(|(name, _)| top.as_os_str() == *name).map_or(OTHERS, |(_, part)| *part);
        if let Some((_, bytes)) = sizes.iter_mut().find(|(name, _)| *name == part) {
            *bytes += metadata.blocks() * 512;
        }
    }
    sizes
}

fn disk(data_dir: &Path) -> Option<DiskSeen> {
    let of = nix::sys::statvfs::statvfs(data_dir)
        .inspect_err(|error| tracing::warn!(%error, "the free space of the data folder is unknown"))
        .ok()?;
    // Free for everybody, not only for root.
    Some(DiskSeen { free: of.blocks_available() * of.fragment_size(), size: of.blocks() * of.fragment_size() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_by_part_and_as_the_disk_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| std::fs::write(dir.path().join(name), vec![1; bytes]).unwrap();
        std::fs::create_dir_all(dir.path().join("store/a")).unwrap();
        write("ledger.sqlite", 100_000);
        write("ledger.sqlite-wal", 50_000);
        write("store/a/vectors", 300_000);
        write("notes.txt", 10_000);
        let sparse = std::fs::File::create(dir.path().join("store/a/mapped")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let sizes: std::collections::HashMap<_, _> = sizes(dir.path()).into_iter().collect();
        assert!((150_000..200_000).contains(&sizes["ledger"]), "{sizes:?}");
        assert!((300_000..400_000).contains(&sizes["store"]), "{sizes:?}");
        assert!(sizes["other"] >= 10_000 && sizes["pictures"] == 0, "{sizes:?}");
    }

    #[test]
    fn the_disk_has_a_size() {
        let seen = disk(Path::new("/tmp")).unwrap();
        assert!(seen.size >= seen.free && seen.size > 0);
    }
}
