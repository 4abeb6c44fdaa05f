//! Captions and re-ranking with the built program, by tiny bundles of the research systems (random weights: what is said
//! means nothing, that it is said does).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::{World, footage, text};

fn bundle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/systems").join(name)
}

fn indexed(name: &str) -> World {
    let world = World::new();
    world.ok(&["index", text(&footage("tape.mp4")), "--model", text(&bundle(name)), "--window", "4", "--stride", "2"]);
    world
}

fn moments(found: &Value) -> &Vec<Value> {
    found["moments"].as_array().unwrap_or_else(|| panic!("{found}"))
}

#[test]
fn a_bundle_with_a_decoder_captions_what_it_indexes() {
    let world = indexed("clip4clip-captions");
    let found = world.json(&["search", "the ball", "--json", "--limit", "100"]);
    let captions: Vec<&str> = moments(&found).iter().map(|m| m["caption"].as_str().unwrap()).collect();
    // No word such as "the", which is not looked for.
    let word = captions.iter().flat_map(|caption| caption.split(' ')).max_by_key(|word| word.len()).unwrap();
    let said = world.json(&["search", word, "--mode", "text", "--json", "--limit", "100"]);
    assert!(!moments(&said).is_empty(), "{word} in {captions:?}");
    for moment in moments(&said).iter().chain(moments(&world.json(&["search", "x", "--caption", word, "--json"]))) {
        assert!(moment["caption"].as_str().unwrap().split(' ').any(|said| said == word), "{word}: {moment}");
    }
    let both = world.json(&["search", word, "--mode", "hybrid", "--json", "--limit", "100"]);
    // The first of one list alone has 1/61; a neighbour that both lists have may be the peak of the same moment.
    let peak = moments(&said)[0]["peak_s"].as_f64().unwrap();
    let spans = |m: &&Value| (m["start_s"].as_f64().unwrap()..=m["end_s"].as_f64().unwrap()).contains(&peak);
    let fused = moments(&both).iter().find(spans).unwrap_or_else(|| panic!("{peak}: {both}"));
    assert!(fused["score"].as_f64().unwrap() > 1.0 / 61.0 - 1e-6, "{fused}");

    // Wider or narrower captions are another plan: the file is indexed again; without any, old captions go.
    let again = |beams: &str| {
        let mut command =
            world.command(&["index", text(&footage("tape.mp4")), "--window", "4", "--stride", "2", "--json"]);
        let output = command.env("CLIPSEEK__INDEX__CAPTION_BEAMS", beams).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!((again("1")["indexed"].as_u64(), again("1")["unchanged"].as_u64()), (Some(1), Some(1)));
    let tape = footage("tape.mp4");
    let arguments = ["index", text(&tape), "--window", "4", "--stride", "2"];
    let output = world.command(&arguments).env("CLIPSEEK__INDEX__CAPTIONS", "false").output().unwrap();
    assert!(output.status.success());
    let refused = world.run(&["search", word, "--mode", "text"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("index.captions = true"), "{}", refused.err);
}

#[test]
fn the_cross_head_orders_the_candidates() {
    for name in ["clip4clip-tight", "clip4clip-two"] {
        let world = indexed(name);
        let question = ["search", "a red ball rolls to the left", "--json", "--limit", "100"];
        let first = world.json(&question);
        let second = world.json(&[&question[..], &["--rerank", "1000"]].concat());
        let scores: Vec<f64> = moments(&second).iter().map(|m| m["score"].as_f64().unwrap()).collect();
        assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]) && scores.len() > 1, "{second}");
        assert_ne!(moments(&first)[0]["score"], moments(&second)[0]["score"]);
        // A single candidate is the best of the first look.
        let only = world.json(&[&question[..], &["--rerank", "1"]].concat());
        assert_eq!(moments(&only).len(), 1);
        assert_eq!(moments(&only)[0]["id"], moments(&first)[0]["id"]);
    }
}

#[test]
fn what_a_second_look_needs_is_said() {
    let world = World::new();
    let tape = footage("tape.mp4");
    world.ok(&["index", text(&tape)]);
    let refused = world.run(&["search", "a red ball", "--rerank", "10"]);
    assert!(refused.code == 2 && refused.err.contains("does not re-rank"), "{refused:?}");

    let world = World::new();
    let model = bundle("clip4clip-tight");
    let index = ["index", text(&tape), "--model", text(&model)];
    assert!(world.command(&index).env("CLIPSEEK__INDEX__FRAME_FEATURES", "false").status().unwrap().success());
    let refused = world.run(&["search", "a red ball", "--rerank", "10"]);
    assert!(refused.code == 2 && refused.err.contains("no frame features"), "{refused:?}");
    // Now with them: the same windows, indexed again.
    world.ok(&index);
    world.ok(&["search", "a red ball", "--rerank", "10"]);

    let video = World::new();
    let model = bundle("clip-vip");
    let mut command = video.command(&["index", text(&tape), "--model", text(&model)]);
    let output = command.env("CLIPSEEK__INDEX__FRAME_FEATURES", "true").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && error.contains("takes whole windows"), "{error}");
}
