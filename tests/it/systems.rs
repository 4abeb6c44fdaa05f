//! The research systems through the whole of the program's own path: bundle, sessions, store. Judged by what their
//! modules give for the same frames and words (`models/tests/make_bundles.py`).

use std::path::Path;
use std::time::Duration;

use clipseek::embed::bundle::Bundle;
use clipseek::embed::model::{TextModel, VideoModel};
use clipseek::source::MediaId;
use clipseek::store::{CollectionSpec, Filter, Payload, Query, Record, StoreChoice, Wanted};
use serde_json::Value;
use uuid::Uuid;

use super::embed::{frame, rows, settings, window};

/// Of a vector's largest number, as for the modules themselves.
const TOLERANCE: f32 = 2e-4;

fn assert_near(what: &str, found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let error = found.iter().zip(expected).fold(0.0f32, |most, (f, e)| most.max((f - e).abs())) / largest;
    assert!(error < TOLERANCE, "{what} is off by {error}");
    error / TOLERANCE
}

#[tokio::test]
async fn each_system_gives_the_similarities_of_its_module() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/systems");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("expected.json")).unwrap()).unwrap();
    let windows: Vec<Vec<usize>> = serde_json::from_value(expected["windows"].clone()).unwrap();
    let texts: Vec<String> = serde_json::from_value(expected["texts"].clone()).unwrap();
    for name in ["clip4clip", "clip2video", "clip-vip"] {
        let bundle = Bundle::load(&dir.join(name)).unwrap();
        let (video, text) =
            (VideoModel::open(&bundle, &settings()).unwrap(), TextModel::open(&bundle, &settings()).unwrap());
        let side = bundle.manifest().pixels.width;
        let clips = windows.iter().map(|w| window(w.iter().map(|k| frame(*k, side)).collect())).collect();
        let clips = video.encode(clips).await.unwrap();
        let captions = text.encode(texts.clone()).await.unwrap();
        let mut worst = 0.0f32;
        for (kind, found) in [("windows", &clips), ("texts", &captions)] {
            for (found, expected) in found.iter().zip(rows(&expected[name][kind])) {
                worst = worst.max(assert_near(&format!("{name} {kind}"), found.as_slice(), &expected));
            }
        }

        let spec = CollectionSpec {
            name: bundle.collection(),
            dim: bundle.dim(),
            bundle: bundle.hash().to_owned(),
            feature_dim: None,
        };
        let store = clipseek::store::open(&StoreChoice::Memory, &spec).await.unwrap();
        let record = |(number, vector): (usize, &clipseek::embed::Embedding)| Record {
            id: Uuid::from_u128(number as u128),
            vector: vector.clone(),
            payload: Payload {
                media_id: MediaId(Uuid::nil()),
                uri: String::new(),
                label: None,
                tags: Vec::new(),
                start: Duration::ZERO,
                end: Duration::ZERO,
                wall_ms: None,
                caption: None,
                plan: String::new(),
            },
            features: Vec::new(),
        };
        store.upsert(&clips.iter().enumerate().map(record).collect::<Vec<_>>()).await.unwrap();
        for (caption, expected) in captions.into_iter().zip(rows(&expected[name]["similarities"])) {
            let query = Query { wanted: Wanted::Vector(caption), limit: windows.len(), filter: Filter::default() };
            let mut hits = store.search(&query).await.unwrap();
            assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
            hits.sort_by_key(|hit| hit.id);
            let scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
            worst = worst.max(assert_near(&format!("{name} similarities"), &scores, &expected));
        }
        println!("{name}: worst error {worst:.4} of what is allowed");
    }
}
