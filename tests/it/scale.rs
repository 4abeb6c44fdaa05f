//! Large ledgers and stores, written by a generator: what a run with nothing to do and a check cost.
//!
//! `CLIPSEEK_SCALE_MEDIA` and `CLIPSEEK_SCALE_RECORDS` say how large; `make soak` asks for 100 000 and a million. Times are
//! printed, not asserted.
#![cfg(feature = "edge")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clipseek::config::Settings;
use clipseek::embed::bundle::Outline;
use clipseek::embed::{Embedding, Feature};
use clipseek::ledger::Ledger;
use clipseek::parts::Parts;
use clipseek::search::SearchRequest;
use clipseek::source::{MediaId, Stat};
use clipseek::store::{
    CollectionSpec, IndexParams, Payload, Record, StoreChoice, Stretch, Tally, VectorStore, catalog,
};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::support::{World, text};

/// The plan of a run without flags with the shipped model.
pub(crate) const PLAN: &str = "v3 w2 s1 f8 auto features";
/// Frames a second with it.
const RATE: u64 = 4;
const FILES: usize = 1000;

pub(crate) fn size(name: &str, standard: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

pub(crate) fn shapes() -> Outline {
    Outline::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes")).unwrap()
}

pub(crate) async fn ledger(world: &World) -> Connection {
    std::fs::create_dir_all(world.data()).unwrap();
    let path = world.data().join("ledger.sqlite");
    let ledger = Ledger::open(&path).await.unwrap();
    ledger.add_collection(&shapes().collection(), "shapes").await.unwrap();
    drop(ledger);
    Connection::open(path).unwrap()
}

/// A finished medium as `index` leaves it.
pub(crate) fn put(db: &Connection, bundle: &Outline, path: &Path, stat: Stat, media: MediaId, tally: Tally) {
    let collection = bundle.collection();
    db.prepare_cached("INSERT INTO media (media_id, tags) VALUES (?, '[]')").unwrap().execute([media.0]).unwrap();
    db.prepare_cached(
        "INSERT INTO progress (media_id, collection, plan, state, windows, ids) VALUES (?, ?, ?, 'done', ?, ?)",
    )
    .unwrap()
    .execute(params![media.0, collection, PLAN, tally.windows, tally.ids.to_be_bytes()])
    .unwrap();
    db.prepare_cached(
        "INSERT INTO files (path, collection, size, modified_ns, state, media_id) VALUES (?, ?, ?, ?, 'indexed', ?)",
    )
    .unwrap()
    .execute(params![text(path).as_bytes(), collection, stat.size, stat.modified_ns, media.0])
    .unwrap();
}

fn elsewhere(db: &mut Connection, media: usize) {
    let transaction = db.transaction().unwrap();
    for number in 0..media {
        let path = PathBuf::from(format!("/archive/{:03}/{number:07}.mp4", number % 1000));
        let stat = Stat { size: 1_000_000, modified_ns: 1 };
        put(
            &transaction,
            &shapes(),
            &path,
            stat,
            MediaId(Uuid::from_u128(1 << 100 | number as u128)),
            Tally::default(),
        );
    }
    transaction.commit().unwrap();
}

/// Waits for a process and watches its memory.
fn watched(mut child: Child) -> (Duration, u64) {
    let (started, mut peak) = (Instant::now(), 0);
    loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id()))
            // What the process itself holds: the pages of mapped files are the system's to give and take.
            && let Some(line) = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))
        {
            peak = peak.max(line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0));
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return (started.elapsed(), peak >> 10);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_run_with_nothing_to_do_costs_a_look_at_each_file() {
    let world = World::new();
    let videos = world.dir.path().join("videos");
    std::fs::create_dir(&videos).unwrap();
    let mut db = ledger(&world).await;
    let transaction = db.transaction().unwrap();
    for number in 0..FILES {
        let path = videos.join(format!("{number:04}.mp4"));
        std::fs::write(&path, number.to_string()).unwrap();
        put(
            &transaction,
            &shapes(),
            &path,
            Stat::of(&path).unwrap(),
            MediaId(Uuid::from_u128(number as u128)),
            Tally::default(),
        );
    }
    transaction.commit().unwrap();
    let run = |what: &str| {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let started = Instant::now();
            let report = world.json(&["index", text(&videos), "--json"]);
            best = best.min(started.elapsed());
            assert_eq!(report["unchanged"], FILES, "{report}");
        }
        println!("{what}: {:.3} ms a file, {best:?} in all", best.as_secs_f64() * 1000.0 / FILES as f64);
    };
    run("1000 unchanged files, nothing else known");
    let media = size("CLIPSEEK_SCALE_MEDIA", 2000);
    elsewhere(&mut db, media);
    run(&format!("1000 unchanged files, {media} media known"));
    drop(db);

    let trace = world.dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", text(&trace), super::support::EXE, "--data"]).arg(world.data());
    match strace.args(["index", text(&videos), "-q"]).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => {
            let trace = std::fs::read_to_string(trace).unwrap();
            let count = |call: &str| trace.lines().filter(|line| line.contains(&format!(" {call}("))).count();
            println!("of which {} openat, {} fsync, {} fdatasync", count("openat"), count("fsync"), count("fdatasync"));
            for name in ["onnxruntime", "tokenizer.json", ".onnx", "/store/"] {
                assert!(!trace.contains(name), "{name} was opened");
            }
            assert_eq!(count("fsync") + count("fdatasync"), 0);
        }
        _ => println!("strace: NOT RUN (it is not installed)"),
    }
    assert!(!world.data().join("store").exists());
    let started = Instant::now();
    world.ok(&["media", "remove", text(&videos.join("0000.mp4"))]);
    println!("removing one of them: {:?}", started.elapsed());
}

const WINDOWS_PER_MEDIUM: usize = 10;

/// A ledger and an embedded store that hold so many windows.
async fn filled(world: &World, records: usize) {
    let bundle = shapes();
    let mut db = ledger(world).await;
    let owner: Uuid = db.query_row("SELECT owner FROM ledger", [], |row| row.get(0)).unwrap();
    let spec = CollectionSpec {
        name: bundle.collection(),
        dim: bundle.dim(),
        bundle: bundle.hash().to_owned(),
        owner,
        feature_dim: bundle.manifest().frame_feature_dim(),
    };
    let choice = StoreChoice::Edge { dir: world.data().join("store") };
    let store = catalog(&choice, "", IndexParams::default()).unwrap().open(&spec).await.unwrap();
    let transaction = db.transaction().unwrap();
    for first in (0..records / WINDOWS_PER_MEDIUM).step_by(1000) {
        let mut batch = Vec::new();
        for number in first..(first + 1000).min(records / WINDOWS_PER_MEDIUM) {
            let media_id = MediaId(Uuid::from_u128(number as u128 + 1));
            let mut tally = Tally::default();
            for window in 0..WINDOWS_PER_MEDIUM as u64 {
                let record = record(&bundle, media_id, window);
                tally.add(record.mark());
                batch.push(record);
            }
            let path = PathBuf::from(format!("/archive/{number:07}.mp4"));
            put(&transaction, &shapes(), &path, Stat { size: 1, modified_ns: 1 }, media_id, tally);
        }
        store.upsert(&batch).await.unwrap();
    }
    transaction.commit().unwrap();
    store.flush().await.unwrap();
}

#[tokio::test]
async fn a_check_reads_each_record_once_in_bounded_memory() {
    let records = size("CLIPSEEK_SCALE_RECORDS", 20_000);
    let world = World::new();
    filled(&world, records).await;
    let child = world.command(&["verify", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let (took, peak) = watched_with_output(child);
    let media = records / WINDOWS_PER_MEDIUM;
    println!("verify: {records} records of {media} media in {took:.1?}, {peak} MiB at the most");
}

/// As after the loss of a ledger: nearly all that the store has is unknown. A query that excludes so many by name takes minutes.
#[tokio::test]
async fn among_many_unknown_windows_the_known_ones_are_found() {
    let world = World::new();
    filled(&world, 20_000).await;
    let db = Connection::open(world.data().join("ledger.sqlite")).unwrap();
    let known = MediaId(Uuid::from_u128(1234));
    db.execute("DELETE FROM files WHERE media_id <> ?", [known.0]).unwrap();
    db.execute("DELETE FROM progress WHERE media_id <> ?", [known.0]).unwrap();
    drop(db);
    let found = world.json(&["search", "a red circle", "--json"]);
    let moments = found["moments"].as_array().unwrap();
    assert!(!moments.is_empty() && moments.iter().all(|moment| moment["media_id"] == known.0.to_string()), "{found}");
}

/// What an answer takes once everything is open, beside a process of its own for each question.
#[tokio::test(flavor = "multi_thread")]
async fn a_warm_searcher_beside_a_new_process() {
    const QUESTIONS: u32 = 20;
    let records = size("CLIPSEEK_SCALE_RECORDS", 20_000).min(100_000);
    let world = World::new();
    filled(&world, records).await;
    let bundle = shapes();
    let parts = Parts { settings: Settings { data_dir: world.data(), ..Settings::default() } };
    let archive = Arc::new(parts.existing_archive().await.unwrap().unwrap());
    archive.existing(&bundle.collection()).await.unwrap().unwrap().optimize().await.unwrap();
    archive.close_unused().await;
    let process = |flags: &[&str]| {
        let started = Instant::now();
        for number in 0..3 {
            world.ok(&[&["search", &format!("question {number}")], flags].concat());
        }
        started.elapsed() / 3
    };
    let (in_processes, with_path) = (process(&[]), process(&["--path", "0001234.*"]));
    let searchers = parts.searchers(archive);
    let ask = async |text: String, path: Option<&str>| {
        let request = SearchRequest { text: Some(text), path: path.map(str::to_owned), ..SearchRequest::default() };
        assert!(!searchers.answer(request).await.unwrap().moments.is_empty());
    };
    ask("to begin with".to_owned(), None).await;
    let warm = async |same: bool, path: Option<&str>| {
        let started = Instant::now();
        for number in 0..QUESTIONS {
            ask(if same { "to begin with".to_owned() } else { format!("question {number}") }, path).await;
        }
        started.elapsed() / QUESTIONS
    };
    println!(
        "search among {records} windows of {} media: a process each {in_processes:.1?} (with --path {with_path:.1?}), \
         warm {:.2?}, the same text again {:.2?}, with a path {:.2?}",
        records / WINDOWS_PER_MEDIUM,
        warm(false, None).await,
        warm(true, None).await,
        warm(true, Some("0001234.*")).await,
    );
}

fn values(seed: u64, dim: usize) -> impl Iterator<Item = f32> {
    (0..dim as u64).map(move |n| ((seed * 7919 + n * 104_729) % 1009) as f32 - 504.0)
}

/// The frames from the start of this window on, whose features are kept.
fn frames(window: u64, count: u64, dim: usize) -> Vec<Feature> {
    let frame = |n| Feature {
        pts: Duration::from_secs(window) + Duration::from_secs(n) / RATE as u32,
        values: values(window * RATE + n, dim).collect(),
    };
    (0..count).map(frame).collect()
}

fn record(bundle: &Outline, media_id: MediaId, window: u64) -> Record {
    let vector = values(media_id.0.as_u128() as u64 * 31 + window, bundle.dim()).collect();
    let payload = Payload {
        media_id,
        source: None,
        label: None,
        tags: Vec::new(),
        start: Duration::from_secs(window),
        end: Duration::from_secs(window + 2),
        wall_ms: None,
        minute_of_day: None,
        caption: None,
        plan: PLAN.to_owned(),
        complete: None,
    };
    let features = frames(window, RATE, bundle.manifest().feature_dim());
    Record::new(bundle.hash(), Embedding::new(vector).unwrap(), payload, features, false)
}

fn folder_bytes(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Media of an hour each, with so many frames kept by each window, in a folder of their own.
async fn hours(dir: &Path, records: usize, kept: u64, dim: usize) -> std::sync::Arc<dyn VectorStore> {
    let bundle = shapes();
    let spec = CollectionSpec {
        name: "hours".to_owned(),
        dim: bundle.dim(),
        bundle: bundle.hash().to_owned(),
        owner: Uuid::nil(),
        feature_dim: Some(dim),
    };
    let choice = StoreChoice::Edge { dir: dir.to_owned() };
    let store = catalog(&choice, "", IndexParams::default()).unwrap().open(&spec).await.unwrap();
    let all: Vec<usize> = (0..records).collect();
    for some in all.chunks(1000) {
        let record = |number: &usize| {
            let (media, window) = (*number / 3600, *number as u64 % 3600);
            let record = record(&bundle, MediaId(Uuid::from_u128(media as u128)), window);
            Record { features: frames(window, kept, dim), ..record }
        };
        store.upsert(&some.iter().map(record).collect::<Vec<_>>()).await.unwrap();
    }
    store.flush().await.unwrap();
    store.optimize().await.unwrap();
    store
}

#[tokio::test]
async fn frames_of_moments_are_found_without_a_look_at_all_records() {
    const MOMENTS: usize = 100;
    let records = size("CLIPSEEK_SCALE_WINDOWS", 5000);
    let dir = tempfile::tempdir().unwrap();
    let dim = shapes().manifest().feature_dim();
    let store = hours(dir.path(), records, RATE, dim).await;
    let stretch = |number: usize| {
        let number = number * 7919 % records;
        let (media, from) =
            (MediaId(Uuid::from_u128(number as u128 / 3600)), Duration::from_secs(number as u64 % 3600));
        Stretch::new(media, PLAN, from, from + Duration::from_millis(1999))
    };
    let stretches: Vec<Stretch> = (0..MOMENTS).map(stretch).collect();
    for what in ["at first", "again"] {
        let started = Instant::now();
        let found = store.frames(&stretches).await.unwrap();
        println!("frames of {MOMENTS} moments among {records} windows, {what}: {:.1?}", started.elapsed());
        for (stretch, found) in stretches.iter().zip(found) {
            let times: Vec<Duration> = found.into_iter().map(|frame| frame.feature.pts).collect();
            let all: Vec<Duration> =
                (0..2 * RATE as u32).map(|n| stretch.from + Duration::from_secs(n.into()) / RATE as u32).collect();
            // Behind the last window of a medium there are none.
            assert!(times == all || times == all[..RATE as usize], "{times:?} of {stretch:?}");
        }
    }
}

/// `CLIPSEEK_SCALE_DISK=1`, as it writes a gigabyte.
#[tokio::test]
async fn disk_per_hour_of_footage() {
    if size("CLIPSEEK_SCALE_DISK", 0) == 0 {
        return;
    }
    const WINDOWS: usize = 4 * 3600;
    for dim in [shapes().manifest().feature_dim(), 512] {
        for (kept, what) in [(0, "without frames"), (RATE, "each frame once"), (2 * RATE, "all frames of each window")]
        {
            let dir = tempfile::tempdir().unwrap();
            let store = hours(dir.path(), WINDOWS, kept, dim).await;
            drop(store);
            let log = folder_bytes(&dir.path().join("hours/shard/wal"));
            let bytes = folder_bytes(dir.path()) - log;
            println!(
                "{what}, {RATE} a second of {dim}: {:.2} MB an hour",
                bytes as f64 / 1e6 / (WINDOWS / 3600) as f64
            );
        }
    }
}

/// The list of missing files is long: it has to be read while it is written.
fn watched_with_output(mut child: Child) -> (Duration, u64) {
    let mut out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        text
    });
    let figures = watched(child);
    let verified: serde_json::Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
    assert_eq!((&verified["differences"], &verified["unknown"]), (&serde_json::json!([]), &serde_json::json!(0)));
    figures
}
