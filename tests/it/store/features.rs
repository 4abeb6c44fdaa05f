//! Frame features: kept with a record, given back by id, and by nothing else.

use super::*;

const DIM: usize = 24;

fn keeping(name: &str) -> CollectionSpec {
    CollectionSpec { feature_dim: Some(DIM), ..spec(name, 8) }
}

/// Of any length but one, as encoders give them.
pub(super) fn rows(seed: u64, frames: usize) -> Vec<Arc<[f32]>> {
    let mut random = Random(seed);
    (0..frames).map(|_| (0..DIM).map(|_| 12.0 * random.normal()).collect()).collect()
}

fn featured(n: u64, media: u64, frames: usize) -> Record {
    Record { features: rows(n, frames), ..record(n, media, 8) }
}

async fn of(store: &dyn VectorStore, record: &Record) -> Vec<Arc<[f32]>> {
    store.features(&[record.id]).await.unwrap().remove(0)
}

/// Within half a step of float16, which has 11 bits.
fn assert_features(found: &[Arc<[f32]>], expected: &[Arc<[f32]>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected.iter()) {
            assert!((found - expected).abs() <= expected.abs() / 2048.0 + 1e-7, "{found} for {expected}");
        }
    }
}

pub(super) async fn keeps_features_as_they_were(place: &dyn Place) {
    let collection = keeping("features");
    let store = place.open(&collection).await.unwrap();
    assert_eq!(store.features(&[]).await.unwrap(), Vec::<Vec<Arc<[f32]>>>::new());
    let mut records: Vec<Record> = (0..300).map(|n| featured(n, n / 50, 1 + n as usize % 12)).collect();
    records[8].features.clear();
    records[9].features = vec![[65504.0, -0.0, 6e-8].repeat(DIM / 3).into()];
    store.upsert(&records).await.unwrap();
    store.flush().await.unwrap();

    let nobody = Uuid::from_u128(5);
    let asked: Vec<Uuid> = records.iter().rev().map(|record| record.id).chain([nobody, records[3].id]).collect();
    let check = async |store: &dyn VectorStore| {
        let found = store.features(&asked).await.unwrap();
        assert_eq!(found.len(), records.len() + 2);
        for (found, record) in found.iter().zip(records.iter().rev()) {
            assert_features(found, &record.features);
        }
        assert_eq!(found[records.len()], Vec::<Arc<[f32]>>::new(), "of a record that is not there");
        assert_features(&found[records.len() + 1], &records[3].features);
        let found = store.get(records[0].id).await.unwrap().unwrap();
        assert!(found.features.is_empty(), "they are large");
        assert_same(&found, &records[0]);
        let scanned = scan_all(store, None, 64).await;
        assert!(scanned.len() == 300 && scanned.iter().all(|record| record.features.is_empty()));
        let nearest = Query { wanted: Wanted::Vector(records[9].vector.clone()), limit: 1, filter: Filter::default() };
        assert_eq!(store.search(&nearest).await.unwrap()[0].id, records[9].id);
    };
    check(store.as_ref()).await;
    store.optimize().await.unwrap();
    check(store.as_ref()).await;
    drop(store);
    check(place.open(&collection).await.unwrap().as_ref()).await;
    let without = CollectionSpec { feature_dim: None, ..collection };
    check(place.open(&without).await.unwrap().as_ref()).await;
}

pub(super) async fn replaces_and_removes_features(place: &dyn Place) {
    let store = place.open(&keeping("replaces")).await.unwrap();
    let mut records: Vec<Record> = (0..60).map(|n| featured(n, n / 20, 6)).collect();
    store.upsert(&records).await.unwrap();
    records[0].features = rows(1000, 3);
    records[1].features.clear();
    records[2].payload.caption = Some("a dog".into());
    store.upsert(&records[..3]).await.unwrap();
    let annotation = Annotation { label: Some("b".into()), tags: vec![] };
    store.annotate(medium(1), &annotation).await.unwrap();
    let selection = Selection::medium(medium(2));
    store.delete(&selection).await.unwrap();
    for _ in 0..2 {
        for record in &records[..40] {
            assert_features(&of(store.as_ref(), record).await, &record.features);
        }
        assert!(of(store.as_ref(), &records[50]).await.is_empty());
        store.optimize().await.unwrap();
    }
    assert_eq!(store.count(None).await.unwrap(), 40);
}

pub(super) async fn refuses_features_that_do_not_fit(place: &dyn Place) {
    let store = place.open(&keeping("fits")).await.unwrap();
    let good = featured(1, 1, 2);
    let mut long = featured(2, 1, 2);
    long.features[1] = vec![0.0; DIM + 1].into();
    let refused = store.upsert(&[good.clone(), long]).await.unwrap_err();
    assert!(matches!(refused, StoreError::FeatureDimension { expected: DIM, actual: 25, .. }), "{refused}");
    for value in [f32::NAN, f32::INFINITY, 70_000.0] {
        let mut wrong = featured(2, 1, 2);
        wrong.features[1] = vec![value; DIM].into();
        let refused = store.upsert(&[good.clone(), wrong]).await.unwrap_err().to_string();
        assert!(refused.contains("16 bits"), "{refused}");
    }
    assert_eq!(store.count(None).await.unwrap(), 0, "nothing of a refused batch is stored");
    store.upsert(std::slice::from_ref(&good)).await.unwrap();
    drop(store);
    let other = CollectionSpec { feature_dim: Some(DIM + 8), ..keeping("fits") };
    let refused = place.open(&other).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::FeatureDimension { expected: DIM, actual: 32, .. }), "{refused}");
    let store = place.open(&keeping("fits")).await.unwrap();
    assert_features(&of(store.as_ref(), &good).await, &good.features);

    let none = place.open(&spec("keepsnone", 8)).await.unwrap();
    let refused = none.upsert(std::slice::from_ref(&good)).await.unwrap_err().to_string();
    assert!(refused.contains("keeps none"), "{refused}");
    assert_eq!(none.features(&[good.id]).await.unwrap(), [Vec::<Arc<[f32]>>::new()]);
}

/// Enough for the engines to have built a graph, which they do not add to.
pub(super) async fn adds_features_to_a_collection_without(place: &dyn Place) {
    const DIM: usize = 512;
    let without = spec("older", DIM);
    let with = CollectionSpec { feature_dim: Some(super::features::DIM), ..without.clone() };
    let mut records: Vec<Record> = (0..6000).map(|n| record(n, n / 100, DIM)).collect();
    let store = place.open(&without).await.unwrap();
    store.upsert(&records).await.unwrap();
    store.flush().await.unwrap();
    store.optimize().await.unwrap();
    drop(store);

    let store = place.open(&with).await.unwrap();
    assert!(of(store.as_ref(), &records[5]).await.is_empty());
    for n in (0..600).chain(6000..6100) {
        let mut new = Record { features: rows(n, 4), ..record(n, n / 100, DIM) };
        new.payload.caption = Some(format!("number{n}"));
        if n < 6000 {
            records[n as usize] = new;
        } else {
            records.push(new);
        }
    }
    store.upsert(&records[..600]).await.unwrap();
    store.upsert(&records[6000..]).await.unwrap();
    store.flush().await.unwrap();
    check_older(store.as_ref(), &records).await;
    drop(store);
    let store = place.open(&with).await.unwrap();
    check_older(store.as_ref(), &records).await;
    store.optimize().await.unwrap();
    check_older(store.as_ref(), &records).await;
    drop(store);
    check_older(place.open(&without).await.unwrap().as_ref(), &records).await;
}

/// Of 6100 records, the first 600 and the last 100 have features and captions.
pub(super) async fn check_older(store: &dyn VectorStore, records: &[Record]) {
    assert_eq!(store.count(None).await.unwrap(), 6100);
    assert_eq!(store.captions().await.unwrap(), 700);
    for n in [0, 5, 599, 600, 3000, 5999, 6000, 6099] {
        let record = &records[n];
        assert_same(&store.get(record.id).await.unwrap().unwrap(), record);
        assert_features(&of(store, record).await, &record.features);
        let nearest = Query { wanted: Wanted::Vector(record.vector.clone()), limit: 1, filter: Filter::default() };
        assert_eq!(store.search(&nearest).await.unwrap()[0].id, record.id);
    }
    let query = Query { wanted: Wanted::Text("number77".into()), limit: 5, filter: Filter::default() };
    let found = store.search(&query).await.unwrap();
    assert_eq!(found.iter().map(|hit| hit.id).collect::<Vec<_>>(), [records[77].id]);
}
