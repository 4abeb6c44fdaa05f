//! The research systems through the whole of the program's own path: bundle, sessions, store. Judged by what their
//! modules give for the same frames and words (`models/tests/make_bundles.py`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clipseek::embed::bundle::Bundle;
use clipseek::embed::captions::OnnxCaptioner;
use clipseek::embed::model::{RerankModel, TextModel, VideoModel, verify};
use clipseek::embed::{Captioner, Feature};
use clipseek::source::MediaId;
use clipseek::store::{Catalog, CollectionSpec, Filter, MemoryCatalog, Payload, Query, Record, Wanted};
use clipseek::window::Window;
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

/// What the modules give.
struct Expected {
    /// Numbers of the frames of each window.
    windows: Vec<Vec<usize>>,
    texts: Vec<String>,
    values: Value,
}

impl Expected {
    fn read() -> Self {
        let values: Value =
            serde_json::from_str(&std::fs::read_to_string(dir().join("expected.json")).unwrap()).unwrap();
        let windows = serde_json::from_value(values["windows"].clone()).unwrap();
        let texts = serde_json::from_value(values["texts"].clone()).unwrap();
        Self { windows, texts, values }
    }
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/systems")
}

fn bundle(name: &str) -> Bundle {
    Bundle::load(&dir().join(name)).unwrap()
}

/// The windows' frame features.
async fn features(model: &VideoModel, bundle: &Bundle, windows: &[Vec<usize>]) -> Vec<Window<Feature>> {
    let side = bundle.manifest().pixels.width;
    let mut made = Vec::new();
    for picks in windows {
        made.push(window(model.features(picks.iter().map(|k| frame(*k, side)).collect()).await.unwrap()));
    }
    made
}

#[tokio::test]
async fn each_system_gives_the_similarities_of_its_module() {
    let Expected { windows, texts, values: expected } = Expected::read();
    for name in ["clip4clip", "clip2video", "clip-vip", "clip4clip-tight", "clip4clip-two", "clip4clip-captions"] {
        let bundle = bundle(name);
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
            owner: Uuid::nil(),
            feature_dim: None,
        };
        let store = MemoryCatalog::default().open(&spec).await.unwrap();
        let record = |(number, vector): (usize, &clipseek::embed::Embedding)| Record {
            id: Uuid::from_u128(number as u128),
            vector: vector.clone(),
            payload: Payload {
                media_id: MediaId(Uuid::nil()),
                source: None,
                label: None,
                tags: Vec::new(),
                start: Duration::ZERO,
                end: Duration::ZERO,
                wall_ms: None,
                minute_of_day: None,
                caption: None,
                plan: String::new(),
                complete: None,
            },
            features: Vec::new(),
            held: false,
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

#[tokio::test]
async fn the_cross_head_gives_the_scores_of_its_module() {
    let Expected { windows, texts, values: expected } = Expected::read();
    for name in ["clip4clip-tight", "clip4clip-two"] {
        let bundle = bundle(name);
        let video = VideoModel::open(&bundle, &settings()).unwrap();
        let model = RerankModel::open(&bundle, &settings()).unwrap();
        let features = features(&video, &bundle, &windows).await;
        let features: Vec<_> =
            features.into_iter().map(|w| w.items.into_iter().map(|f| f.values).collect::<Vec<_>>()).collect();
        let mut worst = 0.0f32;
        for (text, expected) in texts.iter().zip(rows(&expected[name]["rerank"])) {
            let scores = model.score(text.clone(), features.clone()).await.unwrap();
            worst = worst.max(assert_near(&format!("{name}: {text}"), &scores, &expected));
        }
        println!("{name}, cross head: worst error {worst:.4} of what is allowed");
        let empty = model.score(" ".into(), features).await.unwrap_err().to_string();
        assert!(empty.contains("empty"), "{empty}");
    }
}

#[tokio::test]
async fn captions_are_those_of_the_module_greedy_and_by_beams() {
    let Expected { windows, values: expected, .. } = Expected::read();
    let bundle = bundle("clip4clip-captions");
    let video = VideoModel::open(&bundle, &settings()).unwrap();
    // Windows of three to five frames in one batch, and as many captions that end at different words.
    let features = features(&video, &bundle, &windows).await;
    let mut worst = 0.0f32;
    for (kind, beams) in [("greedy", Some(1)), ("beam5", None)] {
        let mut captioner = OnnxCaptioner::open(&bundle, &settings(), beams).unwrap();
        let found = captioner.tokens(&features).unwrap();
        let texts = captioner.caption(&features).unwrap();
        for (i, ((ids, score), text)) in found.into_iter().zip(texts).enumerate() {
            let expected = &expected["clip4clip-captions"]["captions"][i][kind];
            let mut wanted: Vec<u32> = serde_json::from_value(expected["ids"].clone()).unwrap();
            wanted.pop_if(|id| *id == 3);
            assert_eq!(ids, wanted, "window {i}, {kind}");
            assert_eq!(text, expected["text"].as_str().unwrap());
            worst = worst.max(assert_near("score", &[score], &[expected["score"].as_f64().unwrap() as f32]));
        }
    }
    println!("clip4clip-captions, scores of captions: worst error {worst:.4} of what is allowed");
    let mut captioner = OnnxCaptioner::open(&bundle, &settings(), None).unwrap();
    assert!(captioner.caption(&[]).unwrap().is_empty());
    assert!(captioner.caption(&[window(Vec::new())]).unwrap_err().to_string().contains("no frames"));
}

#[test]
fn verify_tries_every_graph() {
    for (name, what) in [("clip4clip-two", "rerank"), ("clip4clip-captions", "captions")] {
        let checks = verify(&dir().join(name), &settings());
        assert!(checks.iter().all(|check| check.outcome.is_ok()), "{checks:?}");
        assert!(checks.iter().any(|check| check.what == what), "{checks:?}");
    }
    // A graph in the place of another is said to be one.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir().join("clip4clip-captions")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let manifest = copy.path().join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let swapped = text.replace("caption_step.onnx", "x").replace("caption_memory.onnx", "caption_step.onnx");
    std::fs::write(&manifest, swapped.replace("\"x\"", "\"caption_memory.onnx\"")).unwrap();
    let failed = verify(copy.path(), &settings()).into_iter().filter(|check| check.outcome.is_err()).count();
    assert_eq!(failed, 2, "the digests tell");
}
