//! Searching by captions with the built program.

use std::path::Path;
use std::process::Command;

use clipseek::embed::bundle::Bundle;
use clipseek::store::{CollectionSpec, IndexParams, StoreChoice};
use serde_json::Value;

use super::support::{World, footage, text};

/// The tape as a model that writes captions would have indexed it: each scene's caption on the windows within it.
async fn captioned() -> (World, Vec<Value>) {
    let world = World::new();
    world.ok(&["index", text(&footage("tape.mp4"))]);
    let timeline: Value = serde_json::from_str(&std::fs::read_to_string(footage("timeline.json")).unwrap()).unwrap();
    let scenes = timeline["tape.mp4"].as_array().unwrap().clone();
    let bundle = Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes")).unwrap();
    let spec = CollectionSpec {
        name: bundle.collection(),
        dim: bundle.dim(),
        bundle: bundle.hash().to_owned(),
        owner: uuid::Uuid::nil(), // an embedded collection takes any owner
        feature_dim: bundle.manifest().frame_feature_dim(),
    };
    let choice = StoreChoice::Edge { dir: world.data().join("store") };
    let store = clipseek::store::catalog(&choice, "", IndexParams::default()).unwrap().open(&spec).await.unwrap();
    let mut records = store.scan(None, None, 10_000).await.unwrap().items;
    for record in &mut records {
        let middle = ((record.payload.start + record.payload.end) / 2).as_secs_f64();
        let scene = scenes.iter().find(|scene| (seconds(scene, "start_s")..seconds(scene, "end_s")).contains(&middle));
        record.payload.caption = scene.map(|scene| scene["caption"].as_str().unwrap().to_owned());
    }
    store.upsert(&records).await.unwrap();
    store.flush().await.unwrap();
    (world, scenes)
}

fn seconds(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap()
}

/// Without the library that runs models.
fn without_model(world: &World, arguments: &[&str]) -> std::process::Output {
    let mut command: Command = world.command(arguments);
    command.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").output().unwrap()
}

#[tokio::test]
async fn words_of_captions_find_their_scenes() {
    let (world, scenes) = captioned().await;
    for mode in ["text", "hybrid"] {
        for scene in &scenes {
            let caption = scene["caption"].as_str().unwrap();
            let found = world.json(&["search", caption, "--mode", mode, "--json", "--limit", "3"]);
            let moments = found["moments"].as_array().unwrap();
            let best = &moments[0];
            // The same may happen twice on the tape.
            assert_eq!(best["caption"], scene["caption"], "{mode}: {found}");
            let within = |scene: &Value| {
                scene["caption"] == best["caption"]
                    && (seconds(scene, "start_s")..=seconds(scene, "end_s")).contains(&seconds(best, "peak_s"))
            };
            assert!(scenes.iter().any(within), "{mode}: {caption}: {best}");
            assert!(best["score"].as_f64().unwrap() > 0.0);
            let tape = seconds(scenes.last().unwrap(), "end_s");
            assert!(seconds(best, "end_s") - seconds(best, "start_s") < tape / 2.0, "{mode}: {best}");
        }
    }
}

#[tokio::test]
async fn captions_are_shown_and_narrow() {
    let (world, scenes) = captioned().await;
    let caption = scenes[0]["caption"].as_str().unwrap();
    let answer = without_model(&world, &["search", caption, "--mode", "text"]);
    let shown = String::from_utf8(answer.stdout).unwrap();
    assert!(answer.status.success() && shown.contains(&format!("   {caption}\n")), "no model is opened: {shown}");

    let colour = caption.split(' ').find(|word| ["red", "blue", "green", "yellow"].contains(word)).unwrap();
    let found = world.json(&["search", "something moves", "--caption", &colour.to_uppercase(), "--json"]);
    let moments = found["moments"].as_array().unwrap();
    assert!(!moments.is_empty());
    for moment in moments {
        assert!(moment["caption"].as_str().unwrap().contains(colour), "{moment}");
    }
    assert!(world.exported().iter().any(|window| window["caption"] == scenes[0]["caption"]));
    assert_eq!(world.run(&["search", "x", "--caption", "elephant"]).code, 1);
    assert_eq!(world.run(&["search", "elephant", "--mode", "text"]).code, 1);
    assert_eq!(world.json(&["search", "elephant", "--mode", "text", "--json"])["moments"], serde_json::json!([]));
}

#[test]
fn what_captions_cannot_answer_is_said() {
    let world = World::new();
    world.ok(&["index", text(&footage("h264.mp4"))]);
    let found = world.json(&["search", "a circle", "--json"]);
    let best = &found["moments"][0];
    assert_eq!(best.get("caption"), Some(&Value::Null), "{best}");
    assert!(world.exported().iter().all(|window| window["caption"].is_null()));
    let like = best["id"].as_str().unwrap();
    for (arguments, said) in [
        (&["a circle", "--mode", "text"][..], "writes no captions"),
        (&["a circle", "--mode", "hybrid"], "writes no captions"),
        (&["a circle", "--caption", "red"], "writes no captions"),
        (&["a circle", "--caption", "the"], "no word to look for"),
        (&["the", "--mode", "text"], "no word to look for"),
        (&["a circle", "--mode", "text", "--not", "a square"], "use mode vector or hybrid"),
        (&["--like", like, "--mode", "text"], "give it a text"),
        (&["--image", "x.jpg", "--mode", "hybrid"], "give it a text"),
        (&["a circle", "--mode", "both"], "possible values: vector, text, hybrid"),
    ] {
        let ran = world.run(&[&["search"], arguments].concat());
        assert!(ran.code == 2 && ran.err.contains(said), "{arguments:?}: {ran:?}");
    }
}
