//! Real footage and broken files, where they are at hand (they do not belong to the project).

use std::collections::HashMap;

use serde_json::Value;

use super::support::{World, shared, text};

fn lines(file: &std::path::Path) -> Vec<Value> {
    std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

#[test]
fn real_captions_find_real_videos() {
    let (Some(media), Some(bundle)) = (shared("media"), shared("bundles/photos-mini")) else { return };
    let world = World::new();
    world.ok(&["model", "import", text(&bundle), "--name", "photos"]);
    let report = world.json(&[
        "index",
        text(&media.join("clips")),
        "--model",
        "photos",
        "--window",
        "whole",
        "--frames",
        "8",
        "--json",
    ]);
    assert_eq!(report["failed"], serde_json::json!([]));
    let (mut first, mut fifth, mut all) = (0, 0, 0);
    for clip in lines(&media.join("captions.jsonl")) {
        for caption in clip["captions"].as_array().unwrap() {
            let found = world.json(&["search", caption.as_str().unwrap(), "--json", "--limit", "5"]);
            let files: Vec<&str> =
                found["moments"].as_array().unwrap().iter().map(|m| name(m["path"].as_str().unwrap())).collect();
            let right = name(clip["file"].as_str().unwrap());
            first += usize::from(files.first() == Some(&right));
            fifth += usize::from(files.contains(&right));
            all += 1;
        }
    }
    println!("{first} of {all} captions find their video first, {fifth} among five (plain Python: 20 and 28 of 30)");
    assert!(first >= 19 && fifth >= 27, "{first} and {fifth} of {all}");
}

#[test]
fn scenes_are_found_at_their_time() {
    let (Some(media), Some(bundle)) = (shared("media"), shared("bundles/photos-mini")) else { return };
    let world = World::new();
    world.ok(&["model", "import", text(&bundle), "--name", "photos"]);
    world.ok(&["index", text(&media.join("clips")), "--model", "photos"]);
    let (mut right, mut all) = (0, 0);
    for clip in lines(&media.join("captions.jsonl")) {
        let glob = format!("**/{}", name(clip["file"].as_str().unwrap()));
        for scene in clip["scenes"].as_array().unwrap() {
            let Some(caption) = scene["caption"].as_str() else { continue };
            let found = world.json(&["search", caption, "--json", "--limit", "1", "--path", &glob]);
            let moment = &found["moments"][0];
            let (from, to) = (moment["start_s"].as_f64().unwrap(), moment["end_s"].as_f64().unwrap());
            all += 1;
            right += usize::from(from < scene["end_s"].as_f64().unwrap() && to > scene["start_s"].as_f64().unwrap());
        }
    }
    println!("{right} of {all} scenes found at their time");
    assert!(right * 10 >= all * 6, "{right} of {all}");
}

#[test]
fn broken_files_give_what_a_good_player_shows() {
    let Some(media) = shared("media") else { return };
    let world = World::new();
    let report = world.json(&["index", text(&media.join("robustness")), "--json"]);
    let failed: HashMap<&str, &str> = report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (name(entry["path"].as_str().unwrap()), entry["reason"].as_str().unwrap()))
        .collect();
    for file in lines(&media.join("robustness.jsonl")) {
        let file_name = name(file["file"].as_str().unwrap());
        if file["frames_decoded"].as_u64().is_some() {
            assert!(!failed.contains_key(file_name), "{file_name}: {:?}", failed.get(file_name));
        }
    }
    assert!(failed["media3_audio_only.mp4"].contains("no video track"), "{failed:?}");
}
