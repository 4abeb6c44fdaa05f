//! What only the embedded store can get wrong: processes that die, second processes, broken folders.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clipseek::store::edge::EdgeStore;
use tempfile::TempDir;

use super::*;

pub(super) struct InFolder(TempDir);

impl InFolder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Place for InFolder {
    async fn open(&self, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
        let choice = clipseek::store::StoreChoice::Edge { dir: self.0.path().to_owned() };
        clipseek::store::open(&choice, collection).await
    }
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
    let annotation = Annotation { uri: "file:///new.mp4".into(), label: Some("new".into()), tags: vec![] };
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
    let selection = Selection { media_id: medium(7), except_plan: None };
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
            match EdgeStore::open(copy.path(), &collection) {
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

/// As clipseek made them before it kept captions and frame features.
fn older_folder(dir: &Path, collection: &CollectionSpec, records: &[Record]) {
    use qdrant_edge::{
        Distance, EdgeConfig, EdgeShard, EdgeVectorParams, Payload, PointId, PointInsertOperations, PointOperations,
        PointStructPersisted, UpdateOperation, VectorStructPersisted,
    };
    let shard = dir.join(&collection.name).join("shard");
    fs::create_dir_all(&shard).unwrap();
    let CollectionSpec { name, dim, bundle, .. } = collection;
    let told = serde_json::json!({ "name": name, "dim": dim, "bundle": bundle });
    fs::write(shard.join("collection.json"), told.to_string()).unwrap();
    let vectors = EdgeVectorParams::builder(*dim, Distance::Cosine).on_disk(true).build();
    let config = EdgeConfig { vectors: HashMap::from([(String::new(), vectors)]), ..EdgeConfig::default() };
    let engine = EdgeShard::new(&shard, config).unwrap();
    let point = |record: &Record| {
        let serde_json::Value::Object(payload) = serde_json::to_value(&record.payload).unwrap() else { panic!() };
        PointStructPersisted {
            id: PointId::Uuid(record.id),
            vector: VectorStructPersisted::Single(record.vector.as_slice().to_vec()),
            payload: Some(Payload(payload)),
        }
    };
    let points = PointInsertOperations::PointsList(records.iter().map(point).collect());
    engine.update(UpdateOperation::PointOperation(PointOperations::UpsertPoints(points))).unwrap();
    engine.optimize().unwrap();
}

/// Killed while vectors are added to some segments and not to others: the engine alone would not open it again.
#[tokio::test]
async fn an_older_folder_is_completed_whenever_that_was_cut_short() {
    let place = InFolder::new();
    let collection = spec("ancient", 512);
    let mut records: Vec<Record> = (0..6100).map(|n| record(n, n / 100, 512)).collect();
    older_folder(place.0.path(), &collection, &records[..6000]);
    let root = place.0.path().join("clipseek_ancient");
    let files = walkdir::WalkDir::new(root.join("shard")).into_iter().map(|file| file.unwrap().into_path());
    let before: Vec<(PathBuf, Vec<u8>)> = files
        .filter(|file| file.ends_with("segment.json") || file.ends_with("edge_config.json"))
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect();
    assert!(before.len() >= 3, "a segment with a graph, one to write to, and the configuration");

    let keeping = CollectionSpec { feature_dim: Some(24), ..collection.clone() };
    for wanted in [&collection, &keeping] {
        // Without features first: what is added then must stay when the others are.
        for unfinished in 0..before.len() {
            drop(place.open(wanted).await.unwrap());
            for (n, (file, old)) in before.iter().enumerate() {
                let saved = root.join("upgrade").join(file.strip_prefix(root.join("shard")).unwrap());
                fs::create_dir_all(saved.parent().unwrap()).unwrap();
                fs::write(saved, old).unwrap();
                if n >= unfinished {
                    fs::write(file, old).unwrap();
                }
            }
        }
        let store = place.open(wanted).await.unwrap();
        assert_eq!((store.count(None).await.unwrap(), root.join("upgrade").exists()), (6000, false));
        assert_same(&store.get(records[5].id).await.unwrap().unwrap(), &records[5]);
        let own = Query { wanted: Wanted::Vector(records[9].vector.clone()), limit: 1, filter: Filter::default() };
        assert_eq!(store.search(&own).await.unwrap()[0].id, records[9].id);
        assert_eq!(store.captions().await.unwrap(), 0);
        let words = Query { wanted: Wanted::Text("dog".into()), limit: 5, filter: Filter::default() };
        assert_eq!(store.search(&words).await.unwrap(), []);
    }

    let store = place.open(&keeping).await.unwrap();
    for n in (0..600).chain(6000..6100) {
        records[n].features = rows(n as u64, 4);
        records[n].payload.caption = Some(format!("number{n}"));
    }
    store.upsert(&records[..600]).await.unwrap();
    store.upsert(&records[6000..]).await.unwrap();
    check_older(store.as_ref(), &records).await;
    drop(store);
    let store = place.open(&collection).await.unwrap();
    check_older(store.as_ref(), &records).await;
    store.optimize().await.unwrap();
    check_older(store.as_ref(), &records).await;
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
        let found = scan_all(store.as_ref(), Some(medium(media)), 1000).await;
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
        let uri = expected(media, 0, step).payload.uri;
        let annotation = Annotation { uri, label: Some("annotated".into()), tags: vec![] };
        store.annotate(medium(media), &annotation).await.unwrap();
    }
    if let Some(media) = step.checked_sub(6) {
        store.upsert(&all(media).step_by(2).collect::<Vec<_>>()).await.unwrap();
    }
    if let Some(media) = step.checked_sub(8).filter(|media| media % 3 == 0) {
        store.delete(&Selection { media_id: medium(media), except_plan: None }).await.unwrap();
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
        let store = EdgeStore::open(&dir, &spec("locked", 8)).unwrap();
        store.upsert(&[record(1, 1, 8)]).await.unwrap();
        store.flush().await.unwrap();
        fs::write(dir.join("ready"), "").unwrap();
        std::future::pending().await
    }
    let store = EdgeStore::open(&dir, &spec("killed", DIM)).unwrap();
    let mut done = fs::File::options().create(true).append(true).open(dir.join("steps")).unwrap();
    let mut next = last_step(&dir).map_or(0, |last| last + 1);
    loop {
        step(&store, next).await;
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
