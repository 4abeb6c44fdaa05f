//! The real ledger, archive, ingest and pictures over a folder of small files, each operation as a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use clipseek::archive::{Archive, ArchiveError};
use clipseek::clock::Clock;
use clipseek::config::IndexSettings;
use clipseek::decode::{Queues, Sampling};
use clipseek::embed::bundle::Outline;
use clipseek::embed::hashed::Hashed;
use clipseek::footage::Footage;
use clipseek::ingest::batch::{self, Totals};
use clipseek::ingest::plan::Plan;
use clipseek::ingest::{Event, Ingest, Lazy, Model, Observer, Options, Priority, WorkItem};
use clipseek::ledger::{Ledger, Said};
use clipseek::source::{self, MediaId};
use clipseek::store::{Catalog, CollectionSpec, KeptFrame, Key, MemoryCatalog, Stretch, Tally, VectorStore};
use clipseek::thumbs::Thumbs;
use clipseek::verify::{Difference, Repair, Summary, verify};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::footage::{BytesDecoder, Mishap};

pub(crate) const BUNDLES: usize = 2;
pub(crate) const PLANS: usize = 2;

/// How one run of `index` goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) bundle: usize,
    pub(crate) plan: usize,
    pub(crate) said: Said,
    pub(crate) jobs: usize,
    pub(crate) mishap: Mishap,
    /// Stops, or panics, at this event.
    pub(crate) stop_at: Option<u32>,
    pub(crate) panic_at: Option<u32>,
}

/// What there is of a content under one plan: its records, and its frames in the order of time.
pub(crate) type Content = (Tally, Vec<KeptFrame>);

/// By bundle, plan and content.
type Expected = BTreeMap<(usize, usize, Vec<u8>), Content>;

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) bundles: Vec<Arc<Outline>>,
    /// What an undisturbed run makes of a content.
    expected: Mutex<Expected>,
    ticks: AtomicU32,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("videos")).unwrap();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes/bundle.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let bundle = |number: usize| {
            let folder = dir.path().join(format!("bundle{number}"));
            std::fs::create_dir_all(&folder).unwrap();
            let text = manifest
                .replace("dim = 192", "dim = 16")
                .replace("frames = 8", "frames = 4")
                .replace("stride_frames = 4", "stride_frames = 2")
                .replace("interval_s = 0.25", &format!("interval_s = {}", 0.25 * (number + 1) as f64));
            std::fs::write(folder.join("bundle.toml"), text).unwrap();
            Arc::new(Outline::read(&folder).unwrap())
        };
        let bundles = (0..BUNDLES).map(bundle).collect();
        Self { dir, bundles, expected: Mutex::default(), ticks: AtomicU32::new(1) }
    }

    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.dir.path().join("videos").join(format!("{number}.mp4"))
    }

    /// Files as they are, in the order of names.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(self.dir.path().join("videos")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// Clocks are too coarse for a test: each change has a second of its own.
    pub(crate) fn touch(&self, path: &Path) {
        let tick = self.ticks.fetch_add(1, SeqCst);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(tick));
        std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) {
        // A new file: hard links are not written through.
        let _ = std::fs::remove_file(path);
        std::fs::write(path, bytes).unwrap();
        self.touch(path);
    }

    pub(crate) fn plan(&self, bundle: usize, plan: usize) -> Arc<Plan> {
        // The same windows: only the plan's name tells their records apart.
        let sampling = [Sampling::Auto, Sampling::Gop][plan];
        let settings = IndexSettings { frames: Some(4), stride_frames: Some(2), sampling, ..IndexSettings::default() };
        Arc::new(Plan::new(&settings, self.bundles[bundle].manifest()).unwrap())
    }

    pub(crate) fn spec(&self, bundle: usize) -> CollectionSpec {
        let bundle = &self.bundles[bundle];
        CollectionSpec {
            name: bundle.collection(),
            dim: bundle.dim(),
            bundle: bundle.hash().to_owned(),
            owner: uuid::Uuid::nil(),
            feature_dim: bundle.manifest().frame_feature_dim(),
        }
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    pub(crate) async fn archive(&self, catalog: Arc<dyn Catalog>) -> Archive {
        let ledger = Ledger::open(&self.ledger_path()).await.unwrap();
        Archive::new(
            ledger,
            Thumbs::open(self.dir.path().join("thumbs")).unwrap(),
            Footage::new(self.dir.path().join("footage")),
            catalog,
        )
    }

    /// What `clipseek index` does with these files.
    pub(crate) async fn index(
        &self,
        catalog: Arc<dyn Catalog>,
        files: Vec<PathBuf>,
        run: &Run,
    ) -> Result<Totals, ArchiveError> {
        let archive = Arc::new(self.archive(catalog).await);
        let ingest = self.ingest(&archive, run);
        let stop = CancellationToken::new();
        let ingest = Ingest {
            observer: Arc::new(Disturber {
                stop: stop.clone(),
                stop_at: run.stop_at,
                panic_at: run.panic_at,
                events: AtomicU32::new(0),
            }),
            ..ingest
        };
        archive.settle().await?;
        let plan = self.plan(run.bundle, run.plan);
        let item = |path| WorkItem { path, said: run.said.clone(), plan: Arc::clone(&plan), priority: Priority::Asked };
        let items = files.into_iter().map(item).collect();
        Ok(batch::run(&Arc::new(ingest), items, run.jobs.max(1), &stop).await)
    }

    pub(crate) fn ingest(&self, archive: &Arc<Archive>, run: &Run) -> Ingest {
        let bundle = Arc::clone(&self.bundles[run.bundle]);
        let dim = bundle.dim();
        let (spec, held) = (self.spec(run.bundle), Arc::clone(archive));
        let store = Lazy::new(move || {
            let (archive, spec) = (Arc::clone(&held), spec.clone());
            async move {
                archive.ledger.add_collection(&spec.name, "a bundle").await?;
                Ok(archive.collection(spec).await?)
            }
        });
        let model = Lazy::new(move || {
            std::future::ready(Ok(Model { video: Hashed { dim }.video_model(4).unwrap(), scope: None }))
        });
        Ingest {
            archive: Arc::clone(archive),
            decoder: Arc::new(BytesDecoder::with(run.mishap)),
            bundle,
            store,
            model,
            options: Options {
                thumbnail_px: 16,
                thumbnail_spacing: Duration::from_secs(1),
                checkpoint_every: Duration::ZERO,
            },
            turns: Arc::new(Semaphore::new(run.jobs.max(1))),
            frames_waiting: Queues::default(),
            clock: Clock::real(),
            observer: Arc::new(Disturber::default()),
        }
    }

    /// What an undisturbed run makes of this content.
    pub(crate) async fn expected(&self, bundle: usize, plan: usize, bytes: &[u8]) -> Content {
        let key = (bundle, plan, bytes.to_vec());
        if let Some(content) = self.expected.lock().unwrap().get(&key) {
            return content.clone();
        }
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("x.mp4");
        std::fs::write(&path, bytes).unwrap();
        let catalog = MemoryCatalog::default();
        let ledger = Ledger::open(&room.path().join("ledger.sqlite")).await.unwrap();
        let thumbs = Thumbs::open(room.path().join("thumbs")).unwrap();
        let archive =
            Arc::new(Archive::new(ledger, thumbs, Footage::new(room.path().join("footage")), Arc::new(catalog)));
        let ingest = self.ingest(&archive, &Run { bundle, plan, ..Run::default() });
        let (id, of_plan) = (content(&path), self.plan(bundle, plan));
        let item = WorkItem { path, said: Said::default(), plan: Arc::clone(&of_plan), priority: Priority::Asked };
        let totals = batch::run(&Arc::new(ingest), vec![item], 1, &CancellationToken::new()).await;
        assert_eq!((totals.indexed, totals.failed.len()), (1, 0), "{totals:?}");
        let mut tally = Tally::default();
        let store = archive.existing(&self.spec(bundle).name).await.unwrap().unwrap();
        let keys = store.keys(None, None, 100_000).await.unwrap().items;
        tally.extend(keys.iter().map(Key::mark));
        assert!(tally.windows > 0);
        // Every byte is a frame, and each is there once.
        let interval = self.bundles[bundle].manifest().video.interval();
        let all: Vec<Duration> = (0..bytes.len() as u32).map(|number| interval * number).collect();
        let mut kept: Vec<Duration> = keys.into_iter().flat_map(|key| key.frames).collect();
        kept.sort();
        assert_eq!(kept, all);
        let frames = frames(store.as_ref(), id, &of_plan.key()).await;
        assert_eq!(frames.iter().map(|frame| frame.feature.pts).collect::<Vec<_>>(), all);
        self.expected.lock().unwrap().insert(key, (tally, frames.clone()));
        (tally, frames)
    }

    /// Differences between ledger, store and pictures.
    pub(crate) async fn verify(
        &self,
        catalog: Arc<dyn Catalog>,
        repair: Option<&dyn Repair>,
    ) -> (Vec<Difference>, Summary) {
        let archive = self.archive(catalog).await;
        let mut differences = Vec::new();
        let summary = verify(&archive, repair, &mut |difference| differences.push(difference)).await.unwrap();
        (differences, summary)
    }
}

/// All that are kept of a content.
pub(crate) async fn frames(store: &dyn VectorStore, media: MediaId, plan: &str) -> Vec<KeptFrame> {
    let all = Stretch::new(media, plan, Duration::ZERO, Duration::MAX);
    store.frames(&[all]).await.unwrap().remove(0)
}

/// Content and plan of what searches show in a collection, with all its records.
pub(crate) async fn visible(archive: &Archive, collection: &str) -> BTreeMap<(MediaId, String), Tally> {
    let mut shown: BTreeMap<(MediaId, String), Tally> = BTreeMap::new();
    let Some(store) = archive.existing(collection).await.unwrap() else { return shown };
    for key in store.keys(None, None, 1_000_000).await.unwrap().items {
        let mark = key.mark();
        shown.entry((key.media_id, key.plan)).or_default().add(mark);
    }
    let all: Vec<_> = shown.keys().cloned().collect();
    let hidden: BTreeSet<_> = archive.ledger.hidden(collection, all).await.unwrap().into_iter().collect();
    shown.retain(|key, _| !hidden.contains(key));
    shown
}

pub(crate) fn content(path: &Path) -> MediaId {
    source::media_id(path).unwrap()
}

/// Somebody presses Ctrl-C, or a fault of clipseek's own shows, in the middle of the work.
#[derive(Default)]
struct Disturber {
    stop: CancellationToken,
    stop_at: Option<u32>,
    panic_at: Option<u32>,
    events: AtomicU32,
}

impl Observer for Disturber {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Measured(_)) {
            return;
        }
        let number = self.events.fetch_add(1, SeqCst);
        if self.stop_at == Some(number) {
            self.stop.cancel();
        }
        // Panics belong to a file: those of the run itself would be the test's.
        if self.panic_at == Some(number) && matches!(event, Event::Advanced { .. } | Event::Probed { .. }) {
            panic!("an observer that panics, on purpose");
        }
    }
}
