//! One suite for every vector store, then what only the embedded one or only a server can get wrong.
#![allow(clippy::print_stderr)] // says what was not run

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clipseek::embed::Embedding;
use clipseek::source::MediaId;
use clipseek::store::memory::MemoryStore;
use clipseek::store::{
    Annotation, Catalog, CollectionSpec, DayTime, Filter, Found, Hit, IndexParams, Key, MemoryCatalog, OfSource,
    Payload, Query, Record, Selection, StoreError, Tally, VectorStore, Wanted,
};
use uuid::Uuid;

mod captions;
mod catalog;
#[cfg(feature = "edge")]
mod edge;
mod features;
#[cfg(feature = "qdrant")]
mod qdrant;

use captions::*;
use catalog::*;
use features::*;

/// Somewhere collections are kept.
#[async_trait]
trait Place: Send + Sync {
    fn catalog(&self, namespace: &str, index: IndexParams) -> Arc<dyn Catalog>;

    /// Whether a collection takes the owner who opens it.
    fn adopts(&self) -> bool {
        false
    }

    async fn open(&self, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
        self.catalog("", IndexParams::default()).open(collection).await
    }
}

/// A catalogue per namespace.
#[derive(Default)]
struct InMemory(Mutex<HashMap<String, MemoryCatalog>>);

impl Place for InMemory {
    fn catalog(&self, namespace: &str, _: IndexParams) -> Arc<dyn Catalog> {
        Arc::new(self.0.lock().unwrap().entry(namespace.to_owned()).or_default().clone())
    }
}

macro_rules! suite {
    ($($check:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $check() { super::$check(&super::InMemory::default()).await })*
        }

        #[cfg(feature = "edge")]
        mod in_folder {
            use super::edge::InFolder;
            $(#[tokio::test] async fn $check() { super::$check(&InFolder::new()).await })*
        }

        #[cfg(feature = "qdrant")]
        async fn whole_suite(place: &dyn Place) {
            $(
                eprintln!("store suite on a Qdrant server: {}", stringify!($check));
                $check(place).await;
            )*
        }
    };
}

suite! {
    adds_overwrites_and_gets,
    orders_like_the_judge,
    breaks_ties_by_id,
    each_filter_alone,
    filters_together_like_the_judge,
    thousands_of_media_in_a_filter,
    deletes_and_counts,
    annotates_one_medium,
    scans_every_record_once_in_order,
    keeps_everything_over_reopening,
    refuses_another_model,
    finds_the_nearest_after_optimize,
    lists_and_drops_what_is_in_its_namespace,
    knows_whose_a_collection_is,
    opens_what_is_there_without_its_model,
    selects_by_plan_and_time,
    tells_whose_records_there_are,
    hides_media_under_a_plan,
    takes_other_index_settings,
    filters_by_words_of_the_caption,
    orders_captions_like_the_judge,
    forgets_captions_that_are_gone,
    finds_no_caption_where_there_are_no_words,
    fuses_both_lists_like_the_judge,
    brings_up_what_either_list_has,
    searches_ten_thousand_captions,
    keeps_frames_as_they_were,
    replaces_and_removes_frames,
    refuses_features_that_do_not_fit,
}

async fn adds_overwrites_and_gets(place: &dyn Place) {
    let store = place.open(&spec("adds", 8)).await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), 0);
    assert_eq!(store.get(Uuid::from_u128(7)).await.unwrap(), None);
    assert_eq!(store.search(&query(1, 8, 3)).await.unwrap(), []);
    store.optimize().await.unwrap();

    let mut records: Vec<Record> = (0..10).map(|n| record(n, 1, 8)).collect();
    records[3].payload.tags = vec!["Straße".into(), "夜".into()];
    records[3].payload.label = Some("Garage Ω".into());
    store.upsert(&records).await.unwrap();
    store.upsert(&[]).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), 10);
    for record in &records {
        assert_same(&store.get(record.id).await.unwrap().unwrap(), record);
    }

    let mut newer = records[3].clone();
    newer.vector = vector(99, 8);
    newer.payload.label = None;
    newer.payload.end = Duration::from_millis(123_456);
    store.upsert(std::slice::from_ref(&newer)).await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), 10);
    assert_same(&store.get(newer.id).await.unwrap().unwrap(), &newer);
    let query = Query { wanted: Wanted::Vector(newer.vector.clone()), limit: 1, filter: Filter::default() };
    assert_eq!(store.search(&query).await.unwrap()[0].payload, newer.payload);
}

async fn orders_like_the_judge(place: &dyn Place) {
    let collection = spec("orders", 32);
    let (store, judge) = (place.open(&collection).await.unwrap(), MemoryStore::new(&collection));
    let records: Vec<Record> = (0..1500).map(|n| record(n, n / 100, 32)).collect();
    fill(&[store.as_ref(), &judge], &records).await;
    for seed in 0..20 {
        let query = query(10_000 + seed, 32, 25);
        let found = store.search(&query).await.unwrap();
        assert_eq!(found.len(), 25);
        assert_agrees(&found, &query, &judge).await;
    }
    assert_eq!(store.search(&query(1, 32, 5000)).await.unwrap().len(), 1500);
    assert_eq!(store.search(&query(1, 32, 0)).await.unwrap(), []);
}

async fn breaks_ties_by_id(place: &dyn Place) {
    let store = place.open(&spec("ties", 4)).await.unwrap();
    let mut records: Vec<Record> = (0..6).rev().map(|n| record(n, 1, 4)).collect();
    for record in &mut records {
        record.vector = vector(5, 4);
    }
    store.upsert(&records).await.unwrap();
    let ids: Vec<Uuid> = store.search(&query(5, 4, 6)).await.unwrap().iter().map(|hit| hit.id).collect();
    let expected: BTreeSet<Uuid> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids, expected.into_iter().collect::<Vec<_>>());
}

async fn each_filter_alone(place: &dyn Place) {
    let store = place.open(&spec("filters", 8)).await.unwrap();
    let mut records: Vec<Record> = (0..6).map(|n| record(n, n / 2, 8)).collect();
    records[0].payload.label = Some("Garage".into());
    records[1].payload.label = Some("garage".into());
    records[2].payload.label = Some("Küche 🐈".into());
    records[3].payload.tags = vec!["été".into(), "night".into()];
    records[4].payload.tags = vec!["night".into()];
    for (record, wall) in records.iter_mut().zip([None, Some(1000), Some(2000), Some(3000), None, Some(-5)]) {
        record.payload.wall_ms = wall;
    }
    for (record, minute) in records.iter_mut().zip([None, Some(0), Some(60), Some(1319), None, Some(1439)]) {
        record.payload.minute_of_day = minute;
    }
    for (record, source) in records.iter_mut().zip([None, Some("garage"), Some("door"), None, Some("door"), None]) {
        record.payload.source = source.map(str::to_owned);
    }
    store.upsert(&records).await.unwrap();

    let all = Filter::default();
    let media = |media: &[u64]| Filter { media: Some(media.iter().map(|n| medium(*n)).collect()), ..all.clone() };
    let label = |label: &str| Filter { label: Some(label.into()), ..all.clone() };
    let tags = |tags: &[&str]| Filter { tags: tags.iter().map(|tag| tag.to_string()).collect(), ..all.clone() };
    let wall = |after_ms, before_ms| Filter { after_ms, before_ms, ..all.clone() };
    let between = |from, to| Filter { between: Some(DayTime { from, to }), ..all.clone() };
    let source = |source| Filter { source: Some(source), ..all.clone() };
    for (filter, expected) in [
        (all.clone(), &[0u64, 1, 2, 3, 4, 5][..]),
        (media(&[0]), &[0, 1]),
        (media(&[2, 0, 77]), &[0, 1, 4, 5]),
        (media(&[77]), &[]),
        (media(&[]), &[]),
        (label("Garage"), &[0]),
        (label("garage"), &[1]),
        (label("Küche 🐈"), &[2]),
        (label("Küche"), &[]),
        (tags(&["night"]), &[3, 4]),
        (tags(&["night", "été"]), &[3]),
        (tags(&["ete"]), &[]),
        (wall(Some(2000), None), &[2, 3]),
        (wall(None, Some(2000)), &[1, 5]),
        (wall(Some(1000), Some(3000)), &[1, 2]),
        (wall(Some(3001), None), &[]),
        (wall(Some(i64::MIN), None), &[1, 2, 3, 5]),
        (between(60, 1320), &[2, 3]),
        (between(1320, 60), &[1, 5]),
        (between(0, 1440), &[1, 2, 3, 5]),
        (between(1320, 1440), &[5]),
        (source(OfSource::Named("door".into())), &[2, 4]),
        (source(OfSource::Named("doo".into())), &[]),
        (source(OfSource::Media(vec![medium(1), medium(77)])), &[2, 3]),
        (source(OfSource::Media(vec![])), &[]),
        (Filter { media: Some(vec![medium(2)]), ..source(OfSource::Named("door".into())) }, &[4]),
    ] {
        let found = store
            .search(&Query { wanted: Wanted::Vector(vector(1, 8)), limit: 10, filter: filter.clone() })
            .await
            .unwrap();
        let found: BTreeSet<Uuid> = found.iter().map(|hit| hit.id).collect();
        let expected: BTreeSet<Uuid> = expected.iter().map(|n| records[*n as usize].id).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

async fn filters_together_like_the_judge(place: &dyn Place) {
    let collection = spec("combined", 16);
    let (store, judge) = (place.open(&collection).await.unwrap(), MemoryStore::new(&collection));
    let mut random = Random(4);
    let records: Vec<Record> = (0..600).map(|n| varied(n, &mut random)).collect();
    fill(&[store.as_ref(), &judge], &records).await;
    let mut answered = 0;
    for seed in 0..80 {
        let pick = |random: &mut Random| random.below(2) == 0;
        let filter = Filter {
            media: pick(&mut random).then(|| (0..random.below(8)).map(|_| medium(random.below(20))).collect()),
            hidden: (0..random.below(3)).map(|_| (medium(random.below(20)), "w3s1.5".to_owned())).collect(),
            label: pick(&mut random).then(|| LABELS[random.below(3) as usize].to_owned()),
            tags: (0..random.below(3)).map(|_| TAGS[random.below(4) as usize].to_owned()).collect(),
            after_ms: pick(&mut random).then(|| random.below(1000) as i64),
            before_ms: pick(&mut random).then(|| random.below(1000) as i64),
            source: None,
            between: None,
            caption: None,
        };
        let query = Query { wanted: Wanted::Vector(vector(seed, 16)), limit: 12, filter };
        let found = store.search(&query).await.unwrap();
        answered += usize::from(!found.is_empty());
        assert_agrees(&found, &query, &judge).await;
    }
    assert!(answered > 20, "the filters must leave something to compare, {answered} did");
}

async fn thousands_of_media_in_a_filter(place: &dyn Place) {
    let store = place.open(&spec("many", 8)).await.unwrap();
    let records: Vec<Record> = (0..400).map(|n| record(n, n, 8)).collect();
    store.upsert(&records).await.unwrap();
    let media = (390..6000).map(medium).collect();
    let filter = Filter { media: Some(media), ..Filter::default() };
    let found = store.search(&Query { wanted: Wanted::Vector(vector(3, 8)), limit: 100, filter }).await.unwrap();
    let found: BTreeSet<Uuid> = found.iter().map(|hit| hit.id).collect();
    assert_eq!(found, records[390..].iter().map(|record| record.id).collect());
}

async fn deletes_and_counts(place: &dyn Place) {
    let store = place.open(&spec("deletes", 8)).await.unwrap();
    let mut records: Vec<Record> = (0..30).map(|n| record(n, n / 10, 8)).collect();
    for record in &mut records[4..10] {
        record.payload.plan = "newer".into();
    }
    store.upsert(&records).await.unwrap();
    let delete = async |selection: Selection| store.delete(&selection).await.unwrap();
    assert_eq!(delete(Selection::plan(medium(0), "w3s1.5")).await, 4);
    assert_eq!(delete(Selection::plan(medium(0), "w3s1.5")).await, 0);
    assert_eq!(store.count(None).await.unwrap(), 26);
    assert_eq!(store.get(records[3].id).await.unwrap(), None);
    assert_same(&store.get(records[4].id).await.unwrap().unwrap(), &records[4]);
    assert_eq!(delete(Selection::medium(medium(1))).await, 10);
    assert_eq!(delete(Selection::medium(medium(55))).await, 0);
    assert_eq!(store.count(None).await.unwrap(), 16);
    let left: BTreeSet<Uuid> = store.search(&query(2, 8, 50)).await.unwrap().iter().map(|hit| hit.id).collect();
    assert_eq!(left, records[4..10].iter().chain(&records[20..]).map(|record| record.id).collect());

    // What was removed can come back under the same id.
    store.upsert(&records[..1]).await.unwrap();
    assert_same(&store.get(records[0].id).await.unwrap().unwrap(), &records[0]);
}

async fn annotates_one_medium(place: &dyn Place) {
    let store = place.open(&spec("annotates", 8)).await.unwrap();
    let mut records: Vec<Record> = (0..20).map(|n| record(n, n / 10, 8)).collect();
    records[0].payload.label = Some("before".into());
    store.upsert(&records).await.unwrap();
    let annotation = Annotation { label: Some("Hof".into()), tags: vec!["été".into(), "x".into()] };
    store.annotate(medium(0), &annotation).await.unwrap();
    let filter = Filter { label: Some("Hof".into()), tags: vec!["x".into(), "été".into()], ..Filter::default() };
    let found = store.search(&Query { wanted: Wanted::Vector(vector(1, 8)), limit: 50, filter }).await.unwrap();
    assert_eq!(found.len(), 10);
    for record in &mut records[..10] {
        record.payload.label = annotation.label.clone();
        record.payload.tags = annotation.tags.clone();
    }
    for record in &records {
        assert_same(&store.get(record.id).await.unwrap().unwrap(), record);
    }
    let plain = Annotation { label: None, tags: vec![] };
    store.annotate(medium(0), &plain).await.unwrap();
    let payload = store.get(records[0].id).await.unwrap().unwrap().payload;
    assert_eq!((payload.label, payload.tags), (None, vec![]));
    store.annotate(medium(404), &plain).await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), 20);
}

async fn scans_every_record_once_in_order(place: &dyn Place) {
    let store = place.open(&spec("scans", 8)).await.unwrap();
    assert_eq!(store.scan(None, None, 10).await.unwrap(), Default::default());
    let records: Vec<Record> = (0..103).map(|n| record(n, n / 50, 8)).collect();
    store.upsert(&records).await.unwrap();
    let by_id: BTreeMap<Uuid, &Record> = records.iter().map(|record| (record.id, record)).collect();
    for (media, limit) in [(None, 10), (None, 103), (None, 1000), (Some(medium(1)), 7), (Some(medium(9)), 5)] {
        let expected = by_id.values().filter(|record| media.is_none_or(|media| record.payload.media_id == media));
        let found = scan_all(store.as_ref(), media.map(Selection::medium).as_ref(), limit).await;
        assert_eq!(found.len(), expected.clone().count(), "{media:?} by {limit}");
        for (found, expected) in found.iter().zip(expected) {
            assert_same(found, expected);
        }
    }
    let last = *by_id.keys().next_back().unwrap();
    assert_eq!(store.scan(None, Some(last), 10).await.unwrap(), Default::default());
    assert_eq!(store.scan(None, Some(Uuid::max()), 10).await.unwrap(), Default::default());
}

async fn keeps_everything_over_reopening(place: &dyn Place) {
    let collection = spec("reopens", 8);
    let mut records: Vec<Record> = (0..50).map(|n| record(n, n / 10, 8)).collect();
    for _ in 0..3 {
        let store = place.open(&collection).await.unwrap();
        store.upsert(&records).await.unwrap();
        store.flush().await.unwrap();
        drop(store);
        let store = place.open(&collection).await.unwrap();
        assert_eq!(store.count(None).await.unwrap(), 50);
        for record in &records {
            assert_same(&store.get(record.id).await.unwrap().unwrap(), record);
        }
        for record in &mut records {
            record.payload.plan.push('+'); // an update after reopening must not be taken for an old one
        }
    }
}

async fn refuses_another_model(place: &dyn Place) {
    let collection = spec("refuses", 8);
    let store = place.open(&collection).await.unwrap();
    store.upsert(&[record(1, 1, 8)]).await.unwrap();
    for outcome in [
        store.upsert(&[record(2, 1, 8), record(3, 1, 9)]).await.unwrap_err(),
        store.search(&query(1, 9, 3)).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(outcome, StoreError::Dimension { expected: 8, actual: 9, .. }), "{outcome}");
    }
    assert_eq!(store.count(None).await.unwrap(), 1, "nothing of a refused batch is stored");
    drop(store);
    let foreign = CollectionSpec { bundle: "another".into(), ..collection.clone() };
    let refused = place.open(&foreign).await.map(drop).unwrap_err();
    assert!(matches!(&refused, StoreError::OtherModel { found, .. } if *found == collection.bundle), "{refused}");
    let wider = CollectionSpec { dim: 16, ..collection.clone() };
    let refused = place.open(&wider).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Dimension { expected: 8, actual: 16, .. }), "{refused}");
    assert_eq!(place.open(&collection).await.unwrap().count(None).await.unwrap(), 1);
}

/// Enough for the engines to build and use their graph.
async fn finds_the_nearest_after_optimize(place: &dyn Place) {
    const DIM: usize = 192;
    let collection = spec("recall", DIM);
    let (store, judge) = (place.open(&collection).await.unwrap(), MemoryStore::new(&collection));
    let space = Space::new(DIM);
    let mut records: Vec<Record> = (0..20_000).map(|n| record(n, n / 100, 1)).collect();
    for (n, record) in records.iter_mut().enumerate() {
        record.vector = space.vector(n as u64);
    }
    for part in records.chunks(2000) {
        fill(&[store.as_ref(), &judge], part).await;
    }
    store.optimize().await.unwrap();
    assert_eq!((store.count(None).await.unwrap(), store.outside_graph().await.unwrap()), (20_000, 0));

    let few = Filter { media: Some((0..5).map(medium).collect()), ..Filter::default() };
    let half = Filter { media: Some((0..100).map(medium).collect()), ..Filter::default() };
    for filter in [Filter::default(), half, few] {
        let mut right = 0;
        for seed in 0..50 {
            let query =
                Query { wanted: Wanted::Vector(space.vector(1_000_000 + seed)), limit: 10, filter: filter.clone() };
            let ids = |hits: Vec<Hit>| hits.iter().map(|hit| hit.id).collect::<BTreeSet<_>>();
            let found = ids(store.search(&query).await.unwrap());
            right += found.intersection(&ids(judge.search(&query).await.unwrap())).count();
        }
        let of = filter.media.as_ref().map_or(200, Vec::len);
        assert!(right >= 495, "recall@10 among {of} media: {} of 500", right);
    }

    // Updates and deletions of what is in the graph, and the graph again.
    assert_eq!(store.delete(&Selection::medium(medium(3))).await.unwrap(), 100);
    let label = Annotation { label: Some("b".into()), tags: vec![] };
    store.annotate(medium(4), &label).await.unwrap();
    store.optimize().await.unwrap();
    assert_eq!(store.count(None).await.unwrap(), 19_900);
    let filter = Filter { label: Some("b".into()), ..Filter::default() };
    let query = Query { wanted: Wanted::Vector(records[450].vector.clone()), limit: 200, filter };
    let found = store.search(&query).await.unwrap();
    assert_eq!((found.len(), found[0].id), (100, records[450].id));
}

async fn fill(stores: &[&dyn VectorStore], records: &[Record]) {
    for store in stores {
        store.upsert(records).await.unwrap();
        store.flush().await.unwrap();
    }
}

async fn scan_all(store: &dyn VectorStore, selection: Option<&Selection>, limit: usize) -> Vec<Record> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(selection, after, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Same scores as the exact answer, best first, each score that of its record.
async fn assert_agrees(found: &[Hit], query: &Query, judge: &MemoryStore) {
    let everything = judge.search(&Query { limit: usize::MAX, ..query.clone() }).await.unwrap();
    assert_eq!(found.len(), everything.len().min(query.limit), "{:?}", query.filter);
    let by_id: HashMap<Uuid, &Hit> = everything.iter().map(|hit| (hit.id, hit)).collect();
    for (hit, expected) in found.iter().zip(&everything) {
        let own = by_id[&hit.id];
        assert!((hit.score - expected.score).abs() < 1e-5, "{} for {}", hit.score, expected.score);
        assert!((hit.score - own.score).abs() < 1e-5, "{} is {}", hit.score, own.score);
        assert_eq!(hit.payload, own.payload);
    }
    assert!(found.is_sorted_by(|a, b| a.score > b.score || (a.score == b.score && a.id < b.id)));
}

/// Vectors may be off by rounding: stores bring them to unit length again.
fn assert_same(found: &Record, expected: &Record) {
    assert_eq!((found.id, &found.payload), (expected.id, &expected.payload));
    let (found, expected) = (found.vector.as_slice(), expected.vector.as_slice());
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

const LABELS: [&str; 3] = ["Garage", "Küche 🐈", "a b"];
const TAGS: [&str; 4] = ["night", "été", "夜", "x/y"];

fn spec(name: &str, dim: usize) -> CollectionSpec {
    let (name, bundle) = (format!("clipseek_{name}"), "1a2b3c4d5e6f".to_owned());
    CollectionSpec { name, dim, bundle, owner: owner(1), feature_dim: None }
}

fn owner(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn medium(n: u64) -> MediaId {
    MediaId(Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("medium {n}").as_bytes()))
}

fn record(n: u64, media: u64, dim: usize) -> Record {
    Record {
        id: Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("record {n}").as_bytes()),
        vector: vector(n, dim),
        payload: Payload {
            media_id: medium(media),
            source: None,
            label: None,
            tags: vec![],
            start: Duration::from_millis(1500 * n),
            end: Duration::from_millis(1500 * n + 3000),
            wall_ms: None,
            minute_of_day: None,
            caption: None,
            plan: "w3s1.5".into(),
            complete: None,
        },
        features: Vec::new(),
        held: false,
    }
}

fn varied(n: u64, random: &mut Random) -> Record {
    let mut record = record(n, random.below(20), 16);
    record.payload.label = LABELS.get(random.below(4) as usize).map(|label| label.to_string());
    record.payload.tags = TAGS.iter().filter(|_| random.below(2) == 0).map(|tag| tag.to_string()).collect();
    record.payload.wall_ms = (random.below(4) > 0).then(|| random.below(1000) as i64);
    record.payload.minute_of_day = record.payload.wall_ms.map(|_| random.below(1440) as u16);
    record.payload.source = (random.below(2) == 0).then(|| "Tor 3".to_owned());
    record.payload.plan = if random.below(2) == 0 { "w3s1.5" } else { "w2s1" }.to_owned();
    record
}

fn query(seed: u64, dim: usize, limit: usize) -> Query {
    Query { wanted: Wanted::Vector(vector(seed, dim)), limit, filter: Filter::default() }
}

fn vector(seed: u64, dim: usize) -> Embedding {
    let mut random = Random(seed);
    Embedding::new((0..dim).map(|_| random.normal()).collect()).unwrap()
}

/// Vectors as models make them: many dimensions, few of them free.
struct Space {
    axes: Vec<Embedding>,
}

impl Space {
    fn new(dim: usize) -> Self {
        Self { axes: (0..12).map(|n| vector(77_000 + n, dim)).collect() }
    }

    fn vector(&self, seed: u64) -> Embedding {
        let mut random = Random(seed);
        let mut sum = vec![0.0; self.axes[0].as_slice().len()];
        for axis in &self.axes {
            let weight = random.normal();
            sum.iter_mut().zip(axis.as_slice()).for_each(|(sum, value)| *sum += weight * value);
        }
        Embedding::new(sum.into_iter().map(|value| value + 0.01 * random.normal()).collect()).unwrap()
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Near enough to normally distributed.
    fn normal(&mut self) -> f32 {
        (0..4).map(|_| (self.next() >> 40) as f32 / (1u32 << 24) as f32 - 0.5).sum()
    }
}
