//! What only the embedded store can get wrong: processes that die, second processes, broken folders.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clipseek::store::edge::EdgeCatalog;
use tempfile::TempDir;

use super::*;

pub(super) struct InFolder(TempDir);

impl InFolder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for InFolder {
    fn catalog(&self, namespace: &str, index: IndexParams) -> Arc<dyn Catalog> {
        Arc::new(EdgeCatalog::new(self.0.path(), namespace, index))
    }

    fn adopts(&self) -> bool {
        true
    }
}

async fn open_in(dir: &Path, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
    EdgeCatalog::new(dir, "", IndexParams::default()).open(collection).await
}

#[tokio::test]
async fn builds_its_graph_in_optimize() {
    let place = InFolder::new();
    let graphs = |path: &Path| {
        let files = walkdir::WalkDir::new(path).into_iter().map(Result::unwrap);
        files.filter(|file| file.file_name().to_string_lossy().starts_with("graph")).count()
    };
    let store = place.open(&spec("graph", 512)).await.unwrap();
    let records: Vec<Record> = (0..6000).map(|n| record(n, n / 100, 512)).collect();
    store.upsert(&records).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(graphs(place.0.path()), 0);
    store.optimize().await.unwrap();
    assert!(graphs(place.0.path()) > 0);
}

#[tokio::test]
async fn serves_searches_during_writes() {
    let place = InFolder::new();
    let store = place.open(&spec("beside", 256)).await.unwrap();
    let records: Vec<Record> = (0..12_000).map(|n| record(n, n / 100, 256)).collect();
    store.upsert(&records[..1000]).await.unwrap();
    let writer = {
        let (store, records) = (store.clone(), records.clone());
        tokio::spawn(async move {
            for part in records.chunks(1000) {
                store.upsert(part).await.unwrap();
                store.flush().await.unwrap();
            }
            store.optimize().await.unwrap();
        })
    };
    let mut searches = 0;
    while !writer.is_finished() {
        let own = &records[searches % 1000];
        let query = Query { wanted: Wanted::Vector(own.vector.clone()), limit: 1, filter: Filter::default() };
        assert_eq!(store.search(&query).await.unwrap()[0].id, own.id);
        searches += 1;
    }
    writer.await.unwrap();
    assert!(searches > 0);
    assert_eq!(store.count(None).await.unwrap(), 12_000);
}

/// The log of the engine would grow for ever: far larger than the vectors.
#[tokio::test]
async fn does_not_keep_its_log_for_ever() {
    let place = InFolder::new();
    let collection = spec("log", 1024);
    let store = place.open(&collection).await.unwrap();
    let records: Vec<Record> = (0..1000).map(|n| record(n, n / 100, 1024)).collect();
    let log = || -> u64 {
        let wal = fs::read_dir(place.0.path().join("clipseek_log/shard/wal")).unwrap();
        wal.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let mut largest = 0;
    for _ in 0..70 {
        store.upsert(&records).await.unwrap();
        store.flush().await.unwrap();
        largest = largest.max(log());
    }
    assert!(largest < 400 << 20, "{largest} bytes of log");
    drop(store);
    let store = place.open(&collection).await.unwrap();
    assert!(log() < 100 << 20, "{} bytes of log after opening", log());
    assert_eq!(store.count(None).await.unwrap(), 1000);
    assert_same(&store.get(records[5].id).await.unwrap().unwrap(), &records[5]);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_it() {
    let place = InFolder::new();
    let collection = spec("locked", 8);
    let mut child = spawn_child("hold", place.0.path());
    wait_for(&place.0.path().join("ready"), &mut child);
    let refused = place.open(&collection).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("in use by another clipseek process"), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(place.open(&collection).await.unwrap().count(None).await.unwrap(), 1);

    let _open = place.open(&collection).await.unwrap();
    let again = place.open(&collection).await.map(drop).unwrap_err();
    assert!(matches!(again, StoreError::Locked { .. }), "also within one process: {again}");
}

/// A process killed between moving a segment in place and removing those it replaces leaves both.
#[tokio::test]
async fn records_left_twice_by_a_kill_are_one_again() {
    let place = InFolder::new();
    let collection = spec("twice", 8);
    let records: Vec<Record> = (0..2500).map(|n| record(n, n / 10, 8)).collect();
    let store = place.open(&collection).await.unwrap();
    store.upsert(&records).await.unwrap();
    drop(store);
    let root = place.0.path().join("clipseek_twice");
    let segments = root.join("shard/segments");
    let segment = fs::read_dir(&segments).unwrap().next().unwrap().unwrap().path();
    let older = place.0.path().join("older");
    copy_folder(&segment, &older);

    let store = place.open(&collection).await.unwrap();
    let annotation = Annotation { label: Some("new".into()), tags: vec![] };
    store.annotate(medium(7), &annotation).await.unwrap();
    store.upsert(&[record(9000, 900, 8)]).await.unwrap();
    drop(store);
    copy_folder(&older, &segments.join(Uuid::from_u128(1).to_string()));
    fs::write(root.join("unclean"), "").unwrap();

    let store = place.open(&collection).await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), 2501);
    assert_eq!(scan_all(store.as_ref(), None, 1000).await.len(), 2501);
    let filter = Filter { label: Some("new".into()), ..Filter::default() };
    let found = store.search(&Query { wanted: Wanted::Vector(vector(1, 8)), limit: 100, filter }).await.unwrap();
    assert_eq!(found.len(), 10, "the newer of two copies stays");
    let selection = Selection::medium(medium(7));
    assert_eq!(store.delete(&selection).await.unwrap(), 10);
    assert_same(&store.get(records[5].id).await.unwrap().unwrap(), &records[5]);
}

/// Cuts and overwrites each file of a shard in turn: it opens, or says that it is broken and what to do.
#[tokio::test]
async fn a_broken_folder_is_named_with_the_remedy() {
    let collection = spec("broken", 64);
    let place = InFolder::new();
    let store = place.open(&collection).await.unwrap();
    let records: Vec<Record> = (0..300).map(|n| record(n, n / 100, 64)).collect();
    store.upsert(&records).await.unwrap();
    drop(store);
    let root = place.0.path().join("clipseek_broken");
    let files: Vec<PathBuf> = walkdir::WalkDir::new(root.join("shard"))
        .into_iter()
        .map(Result::unwrap)
        .filter(|file| file.file_type().is_file())
        .map(|file| file.into_path())
        .collect();
    let mut refused = BTreeSet::new();
    for file in &files {
        let intact = fs::read(file).unwrap();
        let half = intact[..intact.len() / 2].to_vec();
        for broken in [half, vec![0xA5; intact.len()]] {
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            let copy = tempfile::tempdir().unwrap();
            copy_folder(place.0.path(), copy.path());
            fs::write(copy.path().join(file.strip_prefix(place.0.path()).unwrap()), &broken).unwrap();
            match open_in(copy.path(), &collection).await {
                Ok(store) => drop(store),
                Err(error) => {
                    assert!(matches!(error, StoreError::Corrupt { .. }), "{name}: {error}");
                    let text = error.to_string();
                    assert!(text.contains("clipseek_broken") && text.contains("remove it and index again"), "{text}");
                    refused.insert(file.file_name().unwrap().to_string_lossy().into_owned());
                }
            }
        }
    }
    for name in ["collection.json", "segment.json", "edge_config.json"] {
        assert!(refused.contains(name), "{name} is not among {refused:?}");
    }
}

#[tokio::test]
async fn a_folder_of_a_development_version_is_refused() {
    let place = InFolder::new();
    let collection = spec("ancient", 8);
    drop(place.open(&collection).await.unwrap());
    let file = place.0.path().join("clipseek_ancient/shard/collection.json");
    fs::write(&file, r#"{ "name": "clipseek_ancient", "dim": 8, "bundle": "1a2b3c4d5e6f" }"#).unwrap();
    let catalog = place.catalog("", IndexParams::default());
    for refused in [
        catalog.open(&collection).await.map(drop).unwrap_err(),
        catalog.open_existing(&collection.name, collection.owner).await.map(drop).unwrap_err(),
        catalog.list().await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, StoreError::Outdated { .. }), "{refused}");
        assert!(refused.to_string().contains("clipseek_ancient was written by a development version"), "{refused}");
    }
    catalog.remove(&collection.name).await.unwrap();
    assert!(!place.0.path().join("clipseek_ancient").exists());
}

#[tokio::test]
async fn what_is_open_is_not_dropped() {
    let place = InFolder::new();
    let collection = spec("open", 8);
    let store = place.open(&collection).await.unwrap();
    store.upsert(&[record(1, 1, 8)]).await.unwrap();
    let catalog = place.catalog("", IndexParams::default());
    let refused = catalog.remove(&collection.name).await.unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }) && refused.will_pass(), "{refused}");
    assert_eq!(store.count(None).await.unwrap(), 1);
}

#[tokio::test]
async fn knows_how_much_no_graph_holds() {
    let place = InFolder::new();
    let collection = spec("outside", 512);
    let records: Vec<Record> = (0..6000).map(|n| record(n, n / 100, 512)).collect();
    let store = place.open(&collection).await.unwrap();
    store.upsert(&records[..1000]).await.unwrap();
    assert_eq!(store.outside_graph().await.unwrap(), 0, "too few for a graph");
    store.upsert(&records[1000..]).await.unwrap();
    assert_eq!(store.outside_graph().await.unwrap(), 6000);
    drop(store);
    let store = place.open(&collection).await.unwrap();
    assert_eq!(store.outside_graph().await.unwrap(), 6000, "after opening again");
    store.optimize().await.unwrap();
    assert_eq!(store.outside_graph().await.unwrap(), 0);
    drop(store);
    let store = place.open(&collection).await.unwrap();
    assert_eq!(store.outside_graph().await.unwrap(), 0, "after opening again");

    // An annotation writes each record anew, outside the graph.
    let annotation = Annotation { label: Some("b".into()), tags: vec![] };
    for media in 0..60 {
        store.annotate(medium(media), &annotation).await.unwrap();
    }
    assert_eq!(store.outside_graph().await.unwrap(), 6000);
    store.optimize().await.unwrap();
    assert_eq!(store.outside_graph().await.unwrap(), 0);

    // Other settings of the index ask for another graph.
    drop(store);
    let index = IndexParams { hnsw_m: 24, ..IndexParams::default() };
    let store = place.catalog("", index).open(&collection).await.unwrap();
    assert_eq!(store.outside_graph().await.unwrap(), 6000);
}

#[tokio::test]
async fn index_settings_reach_the_files() {
    let place = InFolder::new();
    let collection = spec("settings", 512);
    let files = |name: &str| {
        let files = walkdir::WalkDir::new(place.0.path()).into_iter().map(Result::unwrap);
        files.filter(|file| file.file_name().to_string_lossy().starts_with(name)).count()
    };
    let store = place.open(&collection).await.unwrap();
    store.upsert(&(0..6000).map(|n| record(n, n / 100, 512)).collect::<Vec<_>>()).await.unwrap();
    store.optimize().await.unwrap();
    assert!(files("quantized") > 0);
    drop(store);
    let changed = IndexParams { int8: false, on_disk: false, hnsw_m: 8, ..IndexParams::default() };
    for (index, quantized) in [(changed, false), (IndexParams::default(), true)] {
        let store = place.catalog("", index).open(&collection).await.unwrap();
        store.optimize().await.unwrap();
        assert_eq!(files("quantized") > 0, quantized);
        assert!(files("graph") > 0);
    }
}

const LARGE_DIM: usize = 160;

/// 200 media in 12.8 MB: the engine optimizes for seconds.
async fn large(place: &InFolder, name: &str) -> (CollectionSpec, Vec<Record>) {
    let collection = spec(name, LARGE_DIM);
    let records: Vec<Record> = (0..20_000).map(|n| record(n, n / 100, LARGE_DIM)).collect();
    let store = place.open(&collection).await.unwrap();
    for part in records.chunks(5000) {
        store.upsert(part).await.unwrap();
    }
    (collection, records)
}

#[tokio::test]
async fn writes_and_flushes_go_on_while_it_optimizes() {
    let place = InFolder::new();
    let (collection, mut records) = large(&place, "meanwhile").await;
    let store = place.open(&collection).await.unwrap();
    let optimizing = tokio::spawn({
        let store = store.clone();
        async move { store.optimize().await.unwrap() }
    });
    let (mut rounds, mut meanwhile, mut slowest) = (0, 0, Duration::ZERO);
    // Not for ever: at this pace the engine would find a segment to clean up again and again.
    while rounds < 30 || (meanwhile < 3 && !optimizing.is_finished()) {
        let media = rounds % 100;
        let new: Vec<Record> = (0..20).map(|n| record(100_000 + rounds * 20 + n, 5000, LARGE_DIM)).collect();
        let label = Some(format!("round {rounds}"));
        let start = Instant::now();
        store.upsert(&new).await.unwrap();
        store.annotate(medium(media), &Annotation { label: label.clone(), tags: vec![] }).await.unwrap();
        store.delete(&Selection::medium(medium(100 + rounds % 100))).await.unwrap();
        store.flush().await.unwrap();
        if !optimizing.is_finished() {
            slowest = slowest.max(start.elapsed());
            meanwhile += 1;
        }
        for record in &mut records[media as usize * 100..][..100] {
            record.payload.label.clone_from(&label);
        }
        let own = &new[7];
        assert_same(&store.get(own.id).await.unwrap().unwrap(), own);
        records.extend(new);
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    optimizing.await.unwrap();
    eprintln!("{meanwhile} rounds of writes and flushes while it optimized, the slowest took {slowest:?}");
    assert!(meanwhile >= 3, "{meanwhile}");
    records.retain(|record| !(100..100 + rounds.min(100)).any(|media| record.payload.media_id == medium(media)));
    for _ in 0..2 {
        assert_eq!(store.count(None).await.unwrap(), records.len() as u64);
        for record in records.iter().step_by(997).chain(&records[..50]) {
            assert_same(&store.get(record.id).await.unwrap().unwrap(), record);
        }
        store.optimize().await.unwrap();
    }
    drop(store);
    assert!(!place.0.path().join("clipseek_meanwhile/journal.jsonl").exists());
    let store = place.open(&collection).await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), records.len() as u64);
}

#[tokio::test]
async fn dropping_it_does_not_wait_for_the_optimizer() {
    let place = InFolder::new();
    let (collection, records) = large(&place, "abandoned").await;
    let store = place.open(&collection).await.unwrap();
    let optimizing = tokio::spawn({
        let store = store.clone();
        async move { store.optimize().await }
    });
    wait_until(|| place.0.path().join("clipseek_abandoned/journal.jsonl").exists()).await;
    optimizing.abort();
    let _ = optimizing.await;
    store.upsert(&[record(100_000, 5000, LARGE_DIM)]).await.unwrap();
    let start = Instant::now();
    drop(store);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    let busy = place.open(&collection).await.map(drop).unwrap_err();
    assert!(matches!(busy, StoreError::Locked { .. }), "{busy}");
    wait_until(|| !place.0.path().join("clipseek_abandoned/unclean").exists()).await;
    tokio::time::sleep(Duration::from_millis(50)).await; // and unlocked
    let store = place.open(&collection).await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), records.len() as u64 + 1);
    assert_eq!(store.outside_graph().await.unwrap(), 0);
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(120));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A child deletes, annotates, overwrites and adds while it optimizes, and confirms each step by a flush: after a kill
/// nothing that was deleted is back, and nothing that was overwritten is gone.
#[tokio::test]
async fn what_was_flushed_survives_a_kill_while_it_optimizes() {
    let place = InFolder::new();
    let (collection, records) = large(&place, "surprised").await;
    let full = tempfile::tempdir().unwrap();
    copy_folder(place.0.path(), full.path());
    let mut random = Random(u64::from(std::process::id()) << 20);
    let mut killed = 0;
    for _ in 0..6 {
        fs::remove_dir_all(place.0.path()).unwrap();
        copy_folder(full.path(), place.0.path());
        let mut child = spawn_child("optimize", place.0.path());
        let journal = place.0.path().join("clipseek_surprised/journal.jsonl");
        wait_for(&journal, &mut child);
        std::thread::sleep(Duration::from_millis(random.below(4000)));
        killed += usize::from(journal.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        // The last of 60 steps is repeated.
        let done = last_step(place.0.path()).map_or(0, |last| last + 1).min(60);

        let store = place.open(&collection).await.unwrap();
        let of = async |media: u64| scan_all(store.as_ref(), Some(&Selection::medium(medium(media))), 1000).await;
        for step in 0..done {
            assert_eq!(of(step).await.len(), 0, "step {step} of {done}: deleted");
            let annotated = of(60 + step).await;
            assert!(annotated.len() == 100 && annotated.iter().all(|r| r.payload.label.as_deref() == Some("new")));
            let overwritten = of(120 + step).await;
            assert!(overwritten.len() == 100 && overwritten.iter().all(|r| r.payload.plan == "newer"));
            assert_eq!(of(1000 + step).await.len(), 100, "step {step} of {done}: added");
        }
        let started = (done + 1).min(60);
        for untouched in started..60 {
            assert_eq!((of(untouched).await.len(), of(1000 + untouched).await.len()), (100, 0));
        }
        // A step deletes as many as it adds; one may be half done.
        assert!(store.count(None).await.unwrap().abs_diff(20_000) <= 100);
        assert_same(&store.get(records[19_900].id).await.unwrap().unwrap(), &records[19_900]);
        assert!(!journal.exists());
    }
    eprintln!("killed {killed} of 6 times while it optimized");
}

async fn step_while_optimizing(store: &dyn VectorStore, step: u64) {
    store.delete(&Selection::medium(medium(step))).await.unwrap();
    store.annotate(medium(60 + step), &Annotation { label: Some("new".into()), tags: vec![] }).await.unwrap();
    let newer = |n| {
        let old = record((120 + step) * 100 + n, 120 + step, LARGE_DIM);
        Record { payload: Payload { plan: "newer".into(), ..old.payload }, ..old }
    };
    store.upsert(&(0..100).map(newer).collect::<Vec<_>>()).await.unwrap();
    let added = (0..100).map(|n| record(200_000 + step * 100 + n, 1000 + step, LARGE_DIM));
    store.upsert(&added.collect::<Vec<_>>()).await.unwrap();
    store.flush().await.unwrap();
}

const RECORDS: u64 = 120;
const DIM: usize = 384;
const ROUNDS: u64 = 12;

/// A child works in steps, each ended by a flush and a line in a file, and is killed at some moment. All that the
/// steps before did must be there; of the step it died in, any part.
#[tokio::test]
async fn what_was_flushed_survives_a_kill() {
    let place = InFolder::new();
    let mut random = Random(std::process::id().into());
    let mut steps = 0;
    for round in 0..ROUNDS {
        let mut child = spawn_child("work", place.0.path());
        let before = last_step(place.0.path());
        while last_step(place.0.path()) == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(random.below(1200)));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "round {round}: killed, not ended");
        steps = last_step(place.0.path()).expect("at least one step was confirmed");
        check_after_kill(&place, steps).await;
    }
    eprintln!("killed {ROUNDS} times within {steps} steps");
}

async fn check_after_kill(place: &InFolder, done: u64) {
    let store = place.open(&spec("killed", DIM)).await.unwrap();
    let mut total = 0;
    for media in 0..=done + 1 {
        let found = scan_all(store.as_ref(), Some(&Selection::medium(medium(media))), 1000).await;
        total += found.len() as u64;
        let deleted = media % 3 == 0 && media + 8 <= done;
        let moving = (media % 3 == 0 && media + 8 == done + 1) || media == done + 1;
        match found.len() as u64 {
            0 => assert!(deleted || moving, "medium {media} of {done} is lost"),
            n if moving => assert!(n <= RECORDS),
            n => assert!(!deleted && n == RECORDS, "medium {media} of {done}: {n} records"),
        }
        let mut by_id: HashMap<Uuid, Record> = found.into_iter().map(|record| (record.id, record)).collect();
        for n in 0..RECORDS {
            // What the steps up to `done` made of it, and what the one after would.
            let now = expected(media, n, done);
            let next = expected(media, n, done + 1);
            if let Some(found) = by_id.remove(&now.id) {
                let as_next = found.payload == next.payload;
                assert_same(&found, if as_next { &next } else { &now });
            }
        }
        assert!(by_id.is_empty(), "records of medium {media} that nobody wrote");
    }
    assert_eq!(store.count(None).await.unwrap(), total, "nothing twice");
    let own = expected(done, 7, done);
    let query = Query { wanted: Wanted::Vector(own.vector.clone()), limit: 1, filter: Filter::default() };
    assert_eq!(store.search(&query).await.unwrap()[0].id, own.id);
}

/// Record `n` of a medium after step `step`: added in step `media`, annotated three later, half written anew six later.
fn expected(media: u64, n: u64, step: u64) -> Record {
    let mut record = record(media * RECORDS + n, media, DIM);
    if step >= media + 3 {
        record.payload.label = Some("annotated".into());
    }
    if step >= media + 6 && n.is_multiple_of(2) {
        record.payload.tags = vec!["again".into()];
    }
    record
}

async fn step(store: &dyn VectorStore, step: u64) {
    let all = |media: u64| (0..RECORDS).map(move |n| expected(media, n, step));
    store.upsert(&all(step).collect::<Vec<_>>()).await.unwrap();
    if let Some(media) = step.checked_sub(3) {
        let annotation = Annotation { label: Some("annotated".into()), tags: vec![] };
        store.annotate(medium(media), &annotation).await.unwrap();
    }
    if let Some(media) = step.checked_sub(6) {
        store.upsert(&all(media).step_by(2).collect::<Vec<_>>()).await.unwrap();
    }
    if let Some(media) = step.checked_sub(8).filter(|media| media % 3 == 0) {
        store.delete(&Selection::medium(medium(media))).await.unwrap();
    }
    if step.is_multiple_of(10) {
        store.optimize().await.unwrap();
    }
    store.flush().await.unwrap();
}

fn last_step(dir: &Path) -> Option<u64> {
    fs::read_to_string(dir.join("steps")).ok()?.lines().last()?.parse().ok()
}

/// Not a test: what a child process of the tests above does.
#[tokio::test]
async fn child() {
    let (Ok(task), Ok(dir)) = (std::env::var("CLIPSEEK_TEST_CHILD"), std::env::var("CLIPSEEK_TEST_DIR")) else {
        return;
    };
    let dir = PathBuf::from(dir);
    if task == "hold" {
        let store = open_in(&dir, &spec("locked", 8)).await.unwrap();
        store.upsert(&[record(1, 1, 8)]).await.unwrap();
        store.flush().await.unwrap();
        fs::write(dir.join("ready"), "").unwrap();
        std::future::pending().await
    }
    let name = if task == "optimize" { spec("surprised", LARGE_DIM) } else { spec("killed", DIM) };
    let store = open_in(&dir, &name).await.unwrap();
    let mut done = fs::File::options().create(true).append(true).open(dir.join("steps")).unwrap();
    let mut next = last_step(&dir).map_or(0, |last| last + 1);
    if task == "optimize" {
        let optimized = store.clone();
        tokio::spawn(async move { optimized.optimize().await.unwrap() });
        tokio::task::yield_now().await;
        while !dir.join("clipseek_surprised/journal.jsonl").exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    loop {
        if task == "optimize" {
            // Until there is nothing more to delete.
            step_while_optimizing(store.as_ref(), next.min(59)).await;
        } else {
            step(store.as_ref(), next).await;
        }
        done.write_all(format!("{next}\n").as_bytes()).unwrap();
        next += 1;
    }
}

fn spawn_child(task: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::edge::child", "--nocapture"])
        .env("CLIPSEEK_TEST_CHILD", task)
        .env("CLIPSEEK_TEST_DIR", dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for(file: &Path, child: &mut Child) {
    let start = Instant::now();
    while !file.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended");
        assert!(start.elapsed() < Duration::from_secs(60), "the child does not get ready");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Keeps holes: the engine's files are mostly empty.
fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}
