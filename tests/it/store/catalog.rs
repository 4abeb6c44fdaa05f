//! Which collections there are and whose, and which of their records are meant.

use clipseek::embed::Feature;
use clipseek::store::{KeptFrame, Stretch};

use super::*;

pub(super) async fn lists_and_drops_what_is_in_its_namespace(place: &dyn Place) {
    let of = |namespace: &str| place.catalog(namespace, IndexParams::default());
    let (outer, inner) = (of("a."), of("a.b."));
    assert_eq!(outer.list().await.unwrap(), []);
    let first = spec("first", 8);
    let second = CollectionSpec { bundle: "another".into(), owner: owner(2), ..spec("second", 16) };
    for collection in [&second, &first] {
        outer.open(collection).await.unwrap();
    }
    inner.open(&first).await.unwrap().upsert(&[record(1, 1, 8)]).await.unwrap();
    let found = |collection: &CollectionSpec| {
        let CollectionSpec { name, bundle, owner, .. } = collection.clone();
        Found { name, bundle, owner }
    };
    assert_eq!(outer.list().await.unwrap(), [found(&first), found(&second)]);
    assert_eq!(inner.list().await.unwrap(), [found(&first)]);

    outer.remove(&first.name).await.unwrap();
    outer.remove(&first.name).await.unwrap();
    outer.remove("clipseek_never").await.unwrap();
    assert_eq!(outer.list().await.unwrap(), [found(&second)]);
    assert!(outer.open_existing(&first.name, first.owner).await.unwrap().is_none());
    assert_eq!(inner.open(&first).await.unwrap().count(None).await.unwrap(), 1, "another's stays");
    assert_eq!(outer.open(&first).await.unwrap().count(None).await.unwrap(), 0);
    for name in ["", "..", "a/b", ".a"] {
        let named = CollectionSpec { name: name.into(), ..first.clone() };
        assert!(outer.open(&named).await.is_err(), "{name:?}");
        assert!(outer.remove(name).await.is_err(), "{name:?}");
    }
}

pub(super) async fn knows_whose_a_collection_is(place: &dyn Place) {
    let catalog = place.catalog("owners.", IndexParams::default());
    let collection = spec("owned", 8);
    let theirs = CollectionSpec { owner: owner(2), ..collection.clone() };
    catalog.open(&collection).await.unwrap().upsert(&[record(1, 1, 8)]).await.unwrap();
    if !place.adopts() {
        for refused in [
            catalog.open(&theirs).await.map(drop).unwrap_err(),
            catalog.open_existing(&theirs.name, theirs.owner).await.map(drop).unwrap_err(),
        ] {
            assert!(
                matches!(&refused, StoreError::OtherOwner { owner, .. } if *owner == collection.owner),
                "{refused}"
            );
            assert!(!refused.will_pass() && refused.to_string().contains("store.namespace"), "{refused}");
        }
        catalog.adopt(&theirs.name, theirs.owner).await.unwrap();
        assert!(matches!(catalog.open(&collection).await, Err(StoreError::OtherOwner { .. })));
    }
    assert_eq!(catalog.open(&theirs).await.unwrap().count(None).await.unwrap(), 1);
    let owners = async || catalog.list().await.unwrap().into_iter().map(|found| found.owner).collect::<Vec<_>>();
    assert_eq!(owners().await, [theirs.owner]);
    catalog.adopt(&theirs.name, owner(3)).await.unwrap();
    catalog.adopt("clipseek_never", owner(3)).await.unwrap();
    assert_eq!(owners().await, [owner(3)]);
    let opened = catalog.open_existing(&theirs.name, owner(3)).await.unwrap().unwrap();
    assert_eq!(opened.count(None).await.unwrap(), 1);
}

pub(super) async fn opens_what_is_there_without_its_model(place: &dyn Place) {
    let catalog = place.catalog("", IndexParams::default());
    let collection = CollectionSpec { feature_dim: Some(4), ..spec("unknown", 8) };
    assert!(catalog.open_existing(&collection.name, collection.owner).await.unwrap().is_none());
    let mut records: Vec<Record> = (0..30).map(|n| record(n, n / 10, 8)).collect();
    records[3].features = vec![Feature { pts: Duration::from_nanos(5), values: vec![0.5; 4].into() }];
    catalog.open(&collection).await.unwrap().upsert(&records).await.unwrap();
    let store = catalog.open_existing(&collection.name, collection.owner).await.unwrap().unwrap();
    assert_eq!(store.delete(&Selection::medium(medium(1))).await.unwrap(), 10);
    assert_eq!(scan_all(store.as_ref(), None, 7).await.len(), 20);
    let kept = KeptFrame { record: records[3].id, held: false, feature: records[3].features[0].clone() };
    let stretch = Stretch::new(medium(0), records[3].payload.plan.clone(), Duration::ZERO, Duration::MAX);
    assert_eq!(store.frames(&[stretch]).await.unwrap(), [[kept]]);
    let refused = store.search(&query(1, 9, 3)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Dimension { expected: 8, actual: 9, .. }), "{refused}");
}

pub(super) async fn selects_by_plan_and_time(place: &dyn Place) {
    let collection = spec("selects", 8);
    let (store, judge) = (place.open(&collection).await.unwrap(), MemoryStore::new(&collection));
    let mut records: Vec<Record> = (0..120).map(|n| record(n, n / 40, 8)).collect();
    for record in records.iter_mut().step_by(3) {
        record.payload.plan = "newer".into();
    }
    fill(&[store.as_ref(), &judge], &records).await;
    let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
    let times = [(None, None), (seconds(75.0), None), (None, seconds(90.0)), (seconds(63.0), seconds(64.6))];
    let plans = [None, Some("newer".to_owned()), Some("none".to_owned())];
    let mut counts = BTreeSet::new();
    for (plan, (from, to)) in plans.iter().flat_map(|plan| times.map(|times| (plan, times))) {
        let selection = Selection { media_id: medium(1), plan: plan.clone(), from, to };
        let expected = scan_all(&judge, Some(&selection), 100).await;
        let found = scan_all(store.as_ref(), Some(&selection), 7).await;
        let ids = |records: &[Record]| records.iter().map(|record| record.id).collect::<Vec<_>>();
        assert_eq!(ids(&found), ids(&expected), "{selection:?}");
        assert_eq!(store.count(Some(&selection)).await.unwrap(), expected.len() as u64);
        counts.insert(expected.len());
    }
    assert!(counts.len() > 5, "{counts:?}");

    let selection = Selection { from: seconds(75.0), ..Selection::plan(medium(1), "newer") };
    let gone = judge.delete(&selection).await.unwrap();
    assert!(gone > 5);
    assert_eq!(store.delete(&selection).await.unwrap(), gone);
    assert_eq!(store.delete(&selection).await.unwrap(), 0);
    assert_eq!(scan_all(store.as_ref(), None, 1000).await.len(), scan_all(&judge, None, 1000).await.len());
}

pub(super) async fn tells_whose_records_there_are(place: &dyn Place) {
    let store = place.open(&spec("keys", 8)).await.unwrap();
    let mut records: Vec<Record> = (0..103).map(|n| record(n, n / 50, 8)).collect();
    for record in records.iter_mut().step_by(2) {
        record.payload.plan = "newer".into();
    }
    let mut tally = Tally::default();
    tally.extend(records.iter().map(Record::mark));
    assert!(tally.ids > u128::from(u64::MAX), "a sum of long ids");
    records[7].payload.complete = Some(tally);
    records[7].payload.source = Some("gate".into());
    store.upsert(&records).await.unwrap();
    let mut expected: Vec<Key> = records
        .iter()
        .map(|Record { id, payload, .. }| {
            let Payload { media_id, plan, complete, .. } = payload.clone();
            Key { id: *id, media_id, plan, complete, frames: Vec::new() }
        })
        .collect();
    expected.sort_by_key(|key| key.id);
    let newer = Selection::plan(medium(1), "newer");
    for (selection, limit) in [(None, 10), (None, 1000), (Some(&newer), 3)] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.keys(selection, after, limit).await.unwrap();
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let selected = |key: &&Key| selection.is_none() || (key.media_id == medium(1) && key.plan == "newer");
        assert_eq!(found, expected.iter().filter(selected).cloned().collect::<Vec<_>>());
    }
    assert_same(&store.get(records[7].id).await.unwrap().unwrap(), &records[7]);

    // An annotation leaves it as it is.
    let annotation = Annotation { label: Some("b".into()), tags: vec![] };
    store.annotate(records[7].payload.media_id, &annotation).await.unwrap();
    assert_eq!(store.get(records[7].id).await.unwrap().unwrap().payload.complete, Some(tally));
}

pub(super) async fn hides_media_under_a_plan(place: &dyn Place) {
    let store = place.open(&spec("hides", 8)).await.unwrap();
    let mut records: Vec<Record> = (0..30).map(|n| record(n, n / 10, 8)).collect();
    for record in &mut records[5..15] {
        record.payload.plan = "newer".into();
    }
    store.upsert(&records).await.unwrap();
    let found = async |filter: Filter| -> Vec<u64> {
        let hits = store.search(&Query { wanted: Wanted::Vector(vector(1, 8)), limit: 100, filter }).await.unwrap();
        let found: BTreeSet<Uuid> = hits.iter().map(|hit| hit.id).collect();
        (0..30).filter(|n| found.contains(&records[*n as usize].id)).collect()
    };
    let hidden = vec![(medium(0), "newer".to_owned()), (medium(1), "w3s1.5".to_owned()), (medium(9), "newer".into())];
    let filter = Filter { hidden, ..Filter::default() };
    assert_eq!(found(filter.clone()).await, (0..5).chain(10..15).chain(20..30).collect::<Vec<_>>());
    let filter = Filter { media: Some(vec![medium(0), medium(1)]), ..filter };
    assert_eq!(found(filter).await, (0..5).chain(10..15).collect::<Vec<_>>());
}

/// Enough for the engines to build and use their graph.
pub(super) async fn takes_other_index_settings(place: &dyn Place) {
    const DIM: usize = 384;
    let collection = spec("settings", DIM);
    let judge = MemoryStore::new(&collection);
    let space = Space::new(DIM);
    let mut records: Vec<Record> = (0..8000).map(|n| record(n, n / 100, 1)).collect();
    for (n, record) in records.iter_mut().enumerate() {
        record.vector = space.vector(n as u64);
    }
    judge.upsert(&records).await.unwrap();
    let small = IndexParams { int8: false, on_disk: false, hnsw_m: 12, hnsw_ef_construct: 64, hnsw_ef: 200 };
    for (round, index) in [IndexParams::default(), small, IndexParams::default()].into_iter().enumerate() {
        let store = place.catalog("", index).open(&collection).await.unwrap();
        if round == 0 {
            for part in records.chunks(2000) {
                store.upsert(part).await.unwrap();
            }
        }
        store.optimize().await.unwrap();
        let mut right = 0;
        for seed in 0..50 {
            let wanted = Wanted::Vector(space.vector(1_000_000 + seed));
            let query = Query { wanted, limit: 10, filter: Filter::default() };
            let ids = |hits: Vec<Hit>| hits.iter().map(|hit| hit.id).collect::<BTreeSet<_>>();
            let found = store.search(&query).await.unwrap();
            let expected = judge.search(&query).await.unwrap();
            assert!((found[0].score - expected[0].score).abs() < 1e-3, "judged by the vectors themselves");
            right += ids(found).intersection(&ids(expected)).count();
        }
        assert!(right >= 490, "recall@10 with {index:?}: {right} of 500");
    }
}
