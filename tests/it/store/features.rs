//! Frame features: kept with a record, found by medium, plan and time, and by nothing else.

use clipseek::decode::LATEST;
use clipseek::embed::Feature;
use clipseek::store::{KeptFrame, Stretch};

use super::*;

const DIM: usize = 24;

fn keeping(name: &str) -> CollectionSpec {
    CollectionSpec { feature_dim: Some(DIM), ..spec(name, 8) }
}

fn frame(pts: Duration, values: impl Into<Arc<[f32]>>) -> Feature {
    Feature { pts, values: values.into() }
}

/// Rows of any length but one, as encoders give them, at times that no float has.
fn frames(record: &Record, count: u64) -> Vec<Feature> {
    let mut random = Random(record.id.as_u128() as u64);
    let start = record.payload.start;
    let values = |random: &mut Random| -> Vec<f32> { (0..DIM).map(|_| 12.0 * random.normal()).collect() };
    (0..count).map(|n| frame(start + Duration::from_nanos(n * 250_000_001), values(&mut random))).collect()
}

/// As `record`, with up to five frames from its start on.
fn featured(n: u64, media: u64, dim: usize) -> Record {
    let record = record(n, media, dim);
    // Some of them begin with a picture that is held.
    Record { features: frames(&record, n % 6), held: n % 6 > 3, ..record }
}

fn all_of(media: u64, plan: &str) -> Stretch {
    Stretch::new(medium(media), plan, Duration::ZERO, Duration::MAX)
}

/// All frames of these records of a medium and plan, as a store gives them.
fn expected(records: &[Record], stretch: &Stretch) -> Vec<KeptFrame> {
    let of = |record: &&Record| record.payload.media_id == stretch.media_id && record.payload.plan == stretch.plan;
    let kept = |record: &Record| {
        let id = record.id;
        let held = record.held;
        let frames = record.features.clone().into_iter().enumerate();
        frames.map(move |(n, feature)| KeptFrame { record: id, held: held && n == 0, feature })
    };
    let mut frames: Vec<_> = records.iter().filter(of).flat_map(kept).collect();
    frames.retain(|frame| (stretch.from..=stretch.to).contains(&frame.feature.pts));
    frames.sort_by_key(|frame| frame.feature.pts);
    frames
}

/// The same frames of the same records, at exactly their times; values within half a step of float16, which has 11 bits.
fn assert_frames(found: &[KeptFrame], expected: &[KeptFrame]) {
    let name = |frame: &KeptFrame| (frame.record, frame.held, frame.feature.pts);
    let names = |frames: &[KeptFrame]| frames.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.feature.values.len(), expected.feature.values.len());
        for (found, expected) in found.feature.values.iter().zip(expected.feature.values.iter()) {
            assert!((found - expected).abs() <= expected.abs() / 2048.0 + 1e-7, "{found} for {expected}");
        }
    }
}

async fn assert_stretches(store: &dyn VectorStore, records: &[Record], stretches: &[Stretch]) {
    let found = store.frames(stretches).await.unwrap();
    assert_eq!(found.len(), stretches.len());
    for (stretch, found) in stretches.iter().zip(found) {
        assert_frames(&found, &expected(records, stretch));
    }
}

pub(super) async fn keeps_frames_as_they_were(place: &dyn Place) {
    let collection = keeping("features");
    let store = place.open(&collection).await.unwrap();
    assert_eq!(store.frames(&[]).await.unwrap(), Vec::<Vec<KeptFrame>>::new());
    let mut records: Vec<Record> = (0..300).map(|n| featured(n, n / 50, 8)).collect();
    records[9].features = vec![frame(records[9].payload.start, [65504.0, -0.0, 6e-8].repeat(DIM / 3))];
    // Times that no float64 has, and the latest of all.
    let late = [(1 << 53) + 1, (1 << 60) + 3, LATEST.as_nanos() as u64].map(Duration::from_nanos);
    records[299].features = late.map(|time| frame(time, vec![0.5; DIM])).to_vec();
    for record in records.iter_mut().skip(100).step_by(2) {
        record.payload.plan = "newer".into();
    }
    store.upsert(&records).await.unwrap();
    store.flush().await.unwrap();

    let mut random = Random(4);
    let mut stretches: Vec<Stretch> =
        (0..7).flat_map(|media| ["w3s1.5", "newer", "none"].map(|plan| all_of(media, plan))).collect();
    stretches.extend((0..60).map(|_| {
        let from = Duration::from_millis(random.below(450_000));
        Stretch::new(medium(from.as_secs() / 75), "w3s1.5", from, from + Duration::from_millis(random.below(9000)))
    }));
    // Both ends are within; what is a nanosecond away is not.
    let exact = records[8].features[1].pts;
    let nanosecond = Duration::from_nanos(1);
    stretches.extend([exact - nanosecond, exact, exact + nanosecond].map(|time| {
        let plan = records[8].payload.plan.clone();
        Stretch::new(records[8].payload.media_id, plan, time, time)
    }));
    let last = records[299].payload.clone();
    stretches.extend(late.map(|time| Stretch::new(last.media_id, last.plan.clone(), time, time)));
    let with_frames = records.iter().filter(|record| !record.features.is_empty()).count() as u64;

    let check = async |store: &dyn VectorStore| {
        assert_stretches(store, &records, &stretches).await;
        assert_eq!(store.with_frames(None).await.unwrap(), with_frames);
        let newer = Selection::plan(medium(2), "newer");
        let of = |record: &&Record| record.payload.media_id == medium(2) && record.payload.plan == "newer";
        let expected = records.iter().filter(of).filter(|record| !record.features.is_empty()).count() as u64;
        assert_eq!(store.with_frames(Some(&newer)).await.unwrap(), expected);
        for key in store.keys(None, None, 1000).await.unwrap().items {
            let record = records.iter().find(|record| record.id == key.id).unwrap();
            assert_eq!((key.frames.clone(), key.mark()), (record.frame_times(), record.mark()));
        }
        let found = store.get(records[5].id).await.unwrap().unwrap();
        assert!(found.features.is_empty(), "they are large");
        assert_same(&found, &records[5]);
        let scanned = scan_all(store, None, 64).await;
        assert!(scanned.len() == 300 && scanned.iter().all(|record| record.features.is_empty()));
        let nearest = Query { wanted: Wanted::Vector(records[9].vector.clone()), limit: 1, filter: Filter::default() };
        let hit = store.search(&nearest).await.unwrap().remove(0);
        assert_eq!((hit.id, hit.payload), (records[9].id, records[9].payload.clone()), "no search shows them");
    };
    check(store.as_ref()).await;
    store.optimize().await.unwrap();
    check(store.as_ref()).await;
    drop(store);
    check(place.open(&collection).await.unwrap().as_ref()).await;
}

pub(super) async fn replaces_and_removes_frames(place: &dyn Place) {
    let store = place.open(&keeping("replaces")).await.unwrap();
    let mut records: Vec<Record> = (0..60).map(|n| featured(n, n / 20, 8)).collect();
    store.upsert(&records).await.unwrap();
    records[0].features = frames(&records[7], 3);
    records[1].features.clear();
    records[2].payload.caption = Some("a dog".into());
    store.upsert(&records[..3]).await.unwrap();
    let annotation = Annotation { label: Some("b".into()), tags: vec![] };
    store.annotate(medium(1), &annotation).await.unwrap();
    store.delete(&Selection::medium(medium(2))).await.unwrap();
    records.truncate(40);
    let stretches = [0, 1, 2].map(|media| all_of(media, "w3s1.5"));
    for _ in 0..2 {
        assert_stretches(store.as_ref(), &records, &stretches).await;
        store.optimize().await.unwrap();
    }
    assert_eq!(store.count(None).await.unwrap(), 40);
}

pub(super) async fn refuses_features_that_do_not_fit(place: &dyn Place) {
    let store = place.open(&keeping("fits")).await.unwrap();
    let good = featured(5, 1, 8);
    let mut long = featured(4, 1, 8);
    long.features[1].values = vec![0.0; DIM + 1].into();
    let refused = store.upsert(&[good.clone(), long]).await.unwrap_err();
    assert!(matches!(refused, StoreError::FeatureDimension { expected: DIM, actual: 25, .. }), "{refused}");
    for value in [f32::NAN, f32::INFINITY, 70_000.0] {
        let mut wrong = featured(4, 1, 8);
        wrong.features[1].values = vec![value; DIM].into();
        let refused = store.upsert(&[good.clone(), wrong]).await.unwrap_err().to_string();
        assert!(refused.contains("16 bits") && refused.contains("index.frame_features = false"), "{refused}");
    }
    assert_eq!(store.count(None).await.unwrap(), 0, "nothing of a refused batch is stored");
    store.upsert(std::slice::from_ref(&good)).await.unwrap();
    drop(store);
    let other = CollectionSpec { feature_dim: Some(DIM + 8), ..keeping("fits") };
    let refused = place.open(&other).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::FeatureDimension { expected: DIM, actual: 32, .. }), "{refused}");
    let store = place.open(&keeping("fits")).await.unwrap();
    assert_stretches(store.as_ref(), std::slice::from_ref(&good), &[all_of(1, "w3s1.5")]).await;

    // Of a bundle whose frames have none; and one that was made before they had a place.
    let none = place.open(&spec("keepsnone", 8)).await.unwrap();
    let refused = none.upsert(std::slice::from_ref(&good)).await.unwrap_err().to_string();
    assert!(refused.contains("keeps none"), "{refused}");
    assert_eq!(none.frames(&[all_of(1, "w3s1.5")]).await.unwrap(), [vec![]]);
    assert_eq!(none.with_frames(None).await.unwrap(), 0);
    drop(none);
    let refused = place.open(&keeping("keepsnone")).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Outdated { .. }), "{refused}");
}
