//! Live streams over the real ledger, archive and ingest, from a camera that shows what the test says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clipseek::archive::Archive;
use clipseek::clock::Clock;
use clipseek::decode::live::{Connector, Heard, LiveFrames, LiveRequest};
use clipseek::decode::{DecodeError, Frame, Jpeg, LiveCause, Probe, Rgb, Sampling};
use clipseek::ingest::Ingest;
use clipseek::ingest::live::{LiveObserver, Pauses, Stream, finish_left, run};
use clipseek::ingest::supervisor::Patience;
use clipseek::ledger::{FileState, Said};
use clipseek::secret::SecretUrl;
use clipseek::source::SourceState;
use clipseek::source::stream::LiveHour;
use clipseek::store::{Catalog, Record};
use tokio_util::sync::CancellationToken;

use super::faults::{FaultyCatalog, StoreFault};
use super::world::{Run, World, frames};

/// 2026-01-01T01:00:00Z, an hour behind the beginning of manual clocks.
const HOUR: Duration = Duration::from_secs(1_767_229_200);
/// Between two frames, as the bundle wants them; four are a window, and every second begins one.
const STEP: Duration = Duration::from_millis(250);
const WINDOW: Duration = Duration::from_secs(1);
const STRIDE: Duration = Duration::from_millis(500);

/// What one connection shows: from when to when, and in which codec. Then it breaks off, or stays open.
#[derive(Clone)]
struct Show {
    from: Duration,
    to: Duration,
    codec: &'static str,
    stays: bool,
}

fn show(from_secs: i64, to_secs: i64) -> Show {
    let at = |secs: i64| Duration::from_secs_f64(HOUR.as_secs_f64() + secs as f64);
    Show { from: at(from_secs), to: at(to_secs), codec: "video/x-h264", stays: false }
}

#[derive(Default)]
struct Shows(Mutex<VecDeque<Show>>);

impl Connector for Shows {
    fn connect(&self, _: &LiveRequest, stop: CancellationToken) -> Result<Box<dyn LiveFrames>, DecodeError> {
        let next = self.0.lock().unwrap().pop_front();
        let lost = |detail: &str| DecodeError::Live { cause: LiveCause::Unreachable, detail: detail.to_owned() };
        let Show { from, to, codec, stays } = next.ok_or_else(|| lost("nobody is there"))?;
        let frame = move |number: u32| {
            let pixels = Rgb { width: 1, height: 1, data: vec![number as u8, (number / 200) as u8, 7] }.into();
            let thumbnail = Some(Jpeg(vec![number as u8; 5]));
            Heard::Frame(Frame { pts: from + STEP * number, until: None, pixels, thumbnail })
        };
        let count = ((to - from).as_millis() / STEP.as_millis()) as u32;
        let probe = Probe { codec: codec.to_owned(), ..Probe::default() };
        let mut items = std::iter::once(Heard::Probe(probe)).chain((0..count).map(frame));
        let mut is_over = false;
        Ok(Box::new(std::iter::from_fn(move || {
            if let Some(item) = items.next() {
                return Some(item);
            }
            while stays && !stop.is_cancelled() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let error = if stays { DecodeError::Stopped } else { lost("it broke off") };
            (!std::mem::replace(&mut is_over, true)).then_some(Heard::Lost(error))
        })))
    }
}

#[derive(Default)]
struct Seen {
    states: Mutex<Vec<SourceState>>,
    windows_stored: AtomicU64,
    windows_dropped: AtomicU64,
}

impl LiveObserver for Seen {
    fn state(&self, state: SourceState, _: Option<&str>) {
        self.states.lock().unwrap().push(state);
    }

    fn frames(&self, _: usize, _: Duration) {}

    fn frames_dropped(&self, _: u64) {}

    fn decoded(&self, _: u64, _: Duration) {}

    fn windows_stored(&self, count: u64) {
        self.windows_stored.fetch_add(count, SeqCst);
    }

    fn windows_dropped(&self, count: u64) {
        self.windows_dropped.fetch_add(count, SeqCst);
    }
}

struct Scene {
    world: World,
    catalog: FaultyCatalog,
    clock: Clock,
}

impl Scene {
    /// The wall clock shows this many seconds behind the hour.
    fn new(secs: i64) -> Self {
        let clock = Clock::manual();
        clock.set_unix(Duration::from_secs_f64(HOUR.as_secs_f64() + secs as f64));
        Self { world: World::new(), catalog: FaultyCatalog::default(), clock }
    }

    /// A daemon that watches a camera with these shows until `done` says so.
    async fn watch(&self, shows: Vec<Show>, plan: usize, done: impl AsyncFn(&Archive) -> bool) -> Arc<Seen> {
        let archive = Arc::new(self.world.archive(Arc::new(self.catalog.clone())).await);
        let ingest = self.world.ingest(&archive, &Run::default());
        let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
        let ingest = Arc::new(Ingest { clock: self.clock.clone(), ..ingest });
        let pixels = ingest.bundle.manifest().pixel_spec();
        let request = move |_| {
            Ok(LiveRequest {
                uri: SecretUrl::new("rtsp://camera/1"),
                login: None,
                template: String::new(),
                interval: STEP,
                sampling: Sampling::Auto,
                tolerance: 0.0,
                pixels,
                thumbnail_px: None,
                recording: None,
            })
        };
        let second = Duration::from_secs(1);
        let stream = Stream {
            source: "door".to_owned(),
            shown: "rtsp://camera/1".to_owned(),
            request: Box::new(request),
            connector: Arc::new(Shows(Mutex::new(shows.into()))),
            ingest,
            plan: self.world.plan(0, plan),
            said: Said { label: Some("the door".to_owned()), tags: Vec::new() },
            patience: Patience {
                connect: 20 * second,
                stall: 10 * second,
                least_backoff: second,
                most_backoff: 2 * second,
            },
            pauses: Arc::default(),
            observer: Arc::clone(&seen) as Arc<dyn LiveObserver>,
        };
        let running = tokio::spawn(run(stream, stop.clone()));
        let begun = std::time::Instant::now();
        while !done(&archive).await {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", seen.states.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        running.await.unwrap();
        seen
    }

    /// All records, by the path of their hour.
    async fn records(&self) -> BTreeMap<String, Vec<Record>> {
        let archive = self.world.archive(Arc::new(self.catalog.clone())).await;
        let store = archive.existing(&self.world.spec(0).name).await.unwrap().unwrap();
        let mut all: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in store.scan(None, None, 100_000).await.unwrap().items {
            let (hour, uri) = archive.ledger.live(record.payload.media_id).await.unwrap().unwrap();
            assert_eq!((hour.media_id(), uri.as_str()), (record.payload.media_id, "rtsp://camera/1"));
            all.entry(hour.path().display().to_string()).or_default().push(record);
        }
        for records in all.values_mut() {
            records.sort_by_key(|record| record.payload.start);
        }
        all
    }

    async fn is_sound(&self) {
        let (differences, summary) = self.world.verify(Arc::new(self.catalog.clone()) as Arc<dyn Catalog>, None).await;
        assert!(differences.is_empty() && summary.missing.is_empty(), "{differences:?} {summary:?}");
    }
}

async fn count(archive: &Archive, spec: &str) -> u64 {
    match archive.existing(spec).await.unwrap() {
        Some(store) => store.count(None).await.unwrap(),
        None => 0,
    }
}

/// Starts in milliseconds of Unix time.
fn starts(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.payload.wall_ms.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_belong_to_the_hour_in_which_they_begin_and_each_hour_is_a_medium() {
    let scene = Scene::new(10);
    let spec = scene.world.spec(0).name.clone();
    let show = Show { stays: true, ..show(-5, 5) };
    // Windows that end at -4 to 4.5 s, and those that begin before the first frame.
    let seen = scene.watch(vec![show], 0, async |archive| count(archive, &spec).await >= 19).await;
    assert_eq!(*seen.states.lock().unwrap(), [SourceState::Connecting, SourceState::Live]);
    let records = scene.records().await;
    let hours: Vec<&str> = records.keys().map(|path| path.split('/').nth(1).unwrap()).collect();
    assert_eq!(hours, ["2026-01-01T00Z", "2026-01-01T01Z"]);
    let all: Vec<i64> = records.values().flat_map(|records| starts(records)).collect();
    let first = HOUR.as_millis() as i64 - 5500;
    assert_eq!(
        all,
        (0..all.len() as i64).map(|number| first + 500 * number).collect::<Vec<_>>(),
        "the grid, each once"
    );
    for record in records.values().flatten() {
        let payload = &record.payload;
        assert!(payload.start < Duration::from_secs(3600) && payload.end - payload.start == WINDOW, "{payload:?}");
        assert_eq!((payload.source.as_deref(), payload.label.as_deref()), (Some("door"), Some("the door")));
    }
    // Each frame that lies in the first stride of a window is kept once.
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let store = archive.existing(&spec).await.unwrap().unwrap();
    for records in records.values() {
        let kept = frames(store.as_ref(), records[0].payload.media_id, &records[0].payload.plan).await;
        let from = records.iter().map(|record| record.payload.start).min().unwrap();
        let to = records.iter().map(|record| record.payload.start).max().unwrap() + STRIDE;
        let times: Vec<Duration> = kept.iter().map(|frame| frame.feature.pts).collect();
        assert!(times.is_sorted_by(|a, b| *a + STEP == *b), "{times:?}");
        assert!(times.iter().all(|time| (from..to).contains(time)), "{times:?}");
    }
    let states = async |archive: &Archive| -> Vec<FileState> {
        let rows = archive.ledger.listing(|_| true).await.unwrap();
        rows.into_iter().map(|(file, _)| file.state).collect()
    };
    assert_eq!(states(&archive).await, [FileState::Indexed, FileState::Pending]);
    drop((archive, store));
    scene.is_sound().await;
    // The next start, two hours later, finishes what is over.
    scene.clock.set_unix(HOUR + Duration::from_secs(7200));
    let is_finished = async |archive: &Archive| states(archive).await == [FileState::Indexed, FileState::Indexed];
    scene.watch(Vec::new(), 0, is_finished).await;
    scene.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hours_of_a_stream_that_left_the_settings_end_without_it() {
    let scene = Scene::new(10);
    let spec = scene.world.spec(0).name.clone();
    let show = Show { stays: true, ..show(10, 15) };
    scene.watch(vec![show], 0, async |archive| count(archive, &spec).await >= 5).await;
    let archive = Arc::new(scene.world.archive(Arc::new(scene.catalog.clone())).await);
    let ingest = Arc::new(Ingest { clock: scene.clock.clone(), ..scene.world.ingest(&archive, &Run::default()) });
    let finished = async |is_read: bool| {
        finish_left(&ingest, &Arc::default(), |_| is_read).await.unwrap();
        let rows = archive.ledger.listing(|_| true).await.unwrap();
        rows[0].0.state == FileState::Indexed
    };
    assert!(!finished(false).await, "it is not over");
    scene.clock.set_unix(HOUR + Duration::from_secs(7200));
    assert!(!finished(true).await, "that is the stream's own work");
    assert!(finished(false).await);
    drop((archive, ingest));
    let records = scene.records().await;
    assert!(records.values().flatten().all(|record| record.payload.label.as_deref() == Some("the door")));
    scene.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_goes_on_unless_clock_codec_or_plan_changed() {
    let scene = Scene::new(100);
    let spec = scene.world.spec(0).name.clone();
    let epochs = async || -> usize { scene.records().await.len() };
    let watch = async |show: Show, plan: usize| {
        let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
        let before = count(&archive, &spec).await;
        drop(archive);
        // Where its codec is another one it is called again at once.
        let again = Show { stays: true, ..show.clone() };
        let shows = if show.codec == "video/x-h265" { vec![again.clone(), again] } else { vec![again] };
        scene.watch(shows, plan, async |archive| count(archive, &spec).await >= before + 3).await;
        scene.is_sound().await;
    };
    watch(show(100, 105), 0).await;
    assert_eq!(epochs().await, 1);
    let once = starts(&scene.records().await.into_values().next().unwrap());
    // Restarted: it goes on, and what is stored is not written again.
    scene.clock.advance(Duration::from_secs(10));
    watch(show(103, 115), 0).await;
    assert_eq!(epochs().await, 1);
    let both = starts(&scene.records().await.into_values().next().unwrap());
    assert!(both.len() > once.len() && both.is_sorted_by(|a, b| a < b), "{once:?} {both:?}");
    // Set back by a minute, another codec, another plan: other footage of the same times.
    scene.clock.set_unix(HOUR + Duration::from_secs(50));
    watch(show(100, 105), 0).await;
    assert_eq!(epochs().await, 2);
    scene.clock.advance(Duration::from_secs(60));
    watch(Show { codec: "video/x-h265", ..show(110, 115) }, 0).await;
    assert_eq!(epochs().await, 3);
    watch(show(120, 125), 1).await;
    assert_eq!(epochs().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_wait_for_a_store_that_is_away_and_the_oldest_are_dropped_and_counted() {
    let scene = Scene::new(1000);
    let spec = scene.world.spec(0).name.clone();
    scene.catalog.arm(0, StoreFault::Dead);
    let (catalog, seen_dropped) = (scene.catalog.clone(), Arc::new(AtomicU64::new(0)));
    // 600 seconds are 1200 windows, of which 512 can wait.
    let shows = vec![show(100, 700), Show { stays: true, ..show(700, 703) }];
    let clock = scene.clock.clone();
    let told = Arc::clone(&seen_dropped);
    let begun = std::time::Instant::now();
    let seen = scene
        .watch(shows, 0, async |archive| {
            // It is called again when the clock goes on; the store is back after a while.
            clock.advance(Duration::from_millis(50));
            if begun.elapsed() > Duration::from_secs(2) {
                catalog.disarm();
            }
            told.store(count(archive, &spec).await, SeqCst);
            told.load(SeqCst) >= 512
        })
        .await;
    let dropped = seen.windows_dropped.load(SeqCst);
    let records = scene.records().await;
    let stored: usize = records.values().map(Vec::len).sum();
    assert!(dropped > 500 && stored >= 512, "{dropped} dropped, {stored} stored");
    assert_eq!(seen.windows_stored.load(SeqCst), stored as u64);
    scene.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_is_removed_while_it_is_written_is_begun_anew() {
    let scene = Scene::new(200);
    let spec = scene.world.spec(0).name.clone();
    let archive = Arc::new(scene.world.archive(Arc::new(scene.catalog.clone())).await);
    let ingest = scene.world.ingest(&archive, &Run::default());
    assert_eq!(ingest.bundle.collection(), spec);
    scene.watch(vec![Show { stays: true, ..show(200, 205) }], 0, async |archive| count(archive, &spec).await > 5).await;
    let rows = archive.ledger.listing(|_| true).await.unwrap();
    let pauses: Arc<Pauses> = Arc::default();
    let pause = pauses.pause().await;
    archive
        .ledger
        .forget_files(rows.into_iter().map(|(file, _)| (file.path, file.collection)).collect())
        .await
        .unwrap();
    archive.settle().await.unwrap();
    drop(pause);
    assert_eq!(count(&archive, &spec).await, 0);
    let hour = LiveHour::at("door", 0, HOUR + Duration::from_secs(200));
    assert!(archive.ledger.live(hour.media_id()).await.unwrap().is_none());
    scene.clock.advance(Duration::from_secs(10));
    scene.watch(vec![Show { stays: true, ..show(210, 215) }], 0, async |archive| count(archive, &spec).await > 5).await;
    scene.is_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_of_an_hour_in_which_nothing_was_stored_is_embedded_too() {
    let scene = Scene::new(-20);
    let spec = scene.world.spec(0).name.clone();
    scene.watch(vec![Show { stays: true, ..show(-20, -5) }], 0, async |archive| count(archive, &spec).await > 10).await;
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let before = count(&archive, &spec).await;
    // It died behind the hour, with a recording that goes on there.
    let collection = scene.world.ingest(&Arc::new(archive), &Run::default()).bundle.collection();
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let epoch = archive.ledger.epoch("door", &collection).await.unwrap().unwrap().epoch;
    let (begin, frames) = (HOUR - Duration::from_secs(3), 40);
    let path = archive.footage.segment("door", epoch, begin);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, (0..frames).map(|number| number as u8 + 1).collect::<Vec<_>>()).unwrap();
    let end = std::time::UNIX_EPOCH + begin + STEP * frames;
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(end).unwrap();
    scene.clock.set_unix(HOUR + Duration::from_secs(30));
    drop(archive);
    // From three seconds before the hour to seven behind it.
    scene.watch(Vec::new(), 0, async |archive| count(archive, &spec).await >= before + 21).await;
    let records = scene.records().await;
    let hours: Vec<(&str, usize)> =
        records.iter().map(|(path, records)| (path.split('/').nth(1).unwrap(), records.len())).collect();
    assert_eq!(hours[1], ("2026-01-01T01Z", 14), "{hours:?}");
    let next = records.values().nth(1).unwrap();
    assert_eq!(starts(next)[0], HOUR.as_millis() as i64);
    scene.is_sound().await;
}
