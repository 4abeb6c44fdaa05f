//! Files in, moments out: the sample footage through the built program and the shipped bundle.

use serde_json::Value;

use super::support::{World, footage, text};

fn timeline() -> Value {
    serde_json::from_str(&std::fs::read_to_string(footage("timeline.json")).unwrap()).unwrap()
}

#[test]
fn captions_find_their_scenes_on_the_tape() {
    let world = World::new();
    world.ok(&["index", text(&footage("tape.mp4"))]);
    let timeline = timeline();
    let scenes = timeline["tape.mp4"].as_array().unwrap();
    let mut right = 0;
    for scene in scenes {
        let found = world.json(&["search", scene["caption"].as_str().unwrap(), "--json", "--limit", "1"]);
        let moment = &found["moments"][0];
        let peak = moment["peak_s"].as_f64().unwrap();
        assert!(moment["start_s"].as_f64().unwrap() <= peak && peak <= moment["end_s"].as_f64().unwrap());
        let (start, end) = (scene["start_s"].as_f64().unwrap(), scene["end_s"].as_f64().unwrap());
        if (start..=end).contains(&peak) {
            right += 1;
        } else {
            println!("{}: {start} to {end}, found at {peak}", scene["caption"]);
        }
    }
    println!("{right} of {} captions found their scene first", scenes.len());
    assert!(right * 100 >= scenes.len() * 80, "{right} of {}", scenes.len());
}

#[test]
fn every_codec_of_the_footage_is_indexed_and_found() {
    let world = World::new();
    let report = world.json(&["index", text(&footage("")), "--json"]);
    assert_eq!(report["failed"], serde_json::json!([]), "{report}");
    assert_eq!(report["with_problems"], serde_json::json!([]), "{report}");
    let clips = timeline()["clips"].as_array().unwrap().clone();
    assert_eq!(report["indexed"].as_u64().unwrap(), clips.len() as u64 + 1, "the clips and the tape");
    let mut right = 0;
    for clip in &clips {
        let found = world.json(&["search", clip["caption"].as_str().unwrap(), "--json", "--limit", "1"]);
        let path = found["moments"][0]["path"].as_str().unwrap().to_owned();
        if path.ends_with(clip["file"].as_str().unwrap()) {
            right += 1;
        } else {
            println!("{}: found {path}", clip["caption"]);
        }
    }
    assert!(right * 100 >= clips.len() * 80, "{right} of {}", clips.len());

    // Again: nothing is done twice, nothing is lost.
    let before = world.windows();
    let report = world.json(&["index", text(&footage("")), "--json"]);
    assert_eq!((report["indexed"].as_u64(), report["unchanged"].as_u64()), (Some(0), Some(clips.len() as u64 + 1)));
    assert_eq!(world.windows(), before);
}

#[test]
fn a_moved_file_is_recognised_a_changed_one_is_indexed_anew_a_vanished_one_is_removed() {
    let world = World::new();
    let videos = world.dir.path().join("videos");
    std::fs::create_dir(&videos).unwrap();
    let place = |name: &str| videos.join(name);
    std::fs::copy(footage("h264.mp4"), place("a.mp4")).unwrap();
    world.ok(&["index", text(&videos)]);
    let first = world.windows();
    assert!(!first.is_empty());

    std::fs::rename(place("a.mp4"), place("b.mp4")).unwrap();
    let report = world.json(&["index", text(&videos), "--json"]);
    assert_eq!((report["indexed"].as_u64(), report["known"].as_u64()), (Some(0), Some(1)));
    assert_eq!(world.windows(), first);
    let listed = world.json(&["media", "list", "--json"]);
    assert_eq!(listed["media"].as_array().unwrap().len(), 1);
    assert!(listed["media"][0]["path"].as_str().unwrap().ends_with("b.mp4"));

    std::fs::copy(footage("vp9.webm"), place("b.mp4")).unwrap();
    let report = world.json(&["index", text(&videos), "--json"]);
    assert_eq!(report["indexed"].as_u64(), Some(1));
    let second = world.windows();
    assert!(second.iter().all(|id| !first.contains(id)), "the old windows have left");
    assert!(!second.is_empty());

    std::fs::remove_file(place("b.mp4")).unwrap();
    world.ok(&["media", "remove", "--missing"]);
    assert!(world.windows().is_empty());
    assert_eq!(world.run(&["search", "anything"]).code, 1);
}

#[test]
fn another_plan_replaces_the_windows() {
    let world = World::new();
    let file = footage("h264.mp4");
    world.ok(&["index", text(&file)]);
    let first = world.windows();
    world.ok(&["index", text(&file), "--window", "whole", "--frames", "8"]);
    let second = world.exported();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0]["start_s"].as_f64(), Some(0.0));
    world.ok(&["index", text(&file)]);
    assert_eq!(world.windows(), first);
}

#[test]
fn labels_tags_and_paths_narrow_a_search() {
    let world = World::new();
    world.ok(&["index", text(&footage("h264.mp4")), "--label", "garage", "--tag", "night", "--tag", "été"]);
    world.ok(&["index", text(&footage("vp9.webm")), "--label", "garden"]);
    let files = |arguments: &[&str]| -> Vec<String> {
        let found = world.json(&[&["search", "a circle moves", "--json"], arguments].concat());
        let mut files: Vec<String> = found["moments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|moment| moment["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect();
        files.sort();
        files.dedup();
        files
    };
    assert_eq!(files(&[]), ["h264.mp4", "vp9.webm"]);
    assert_eq!(files(&["--label", "garage"]), ["h264.mp4"]);
    assert_eq!(files(&["--tag", "night", "--tag", "été"]), ["h264.mp4"]);
    assert_eq!(files(&["--path", "**/*.webm"]), ["vp9.webm"]);
    assert!(files(&["--label", "garage", "--path", "**/*.webm"]).is_empty());
    assert!(files(&["--after", "2200-01-01"]).is_empty());
    // Said again with other words, nothing is embedded again.
    let report = world.json(&["index", text(&footage("vp9.webm")), "--label", "meadow", "--json"]);
    assert_eq!(report["indexed"].as_u64(), Some(0));
    assert_eq!(files(&["--label", "meadow"]), ["vp9.webm"]);
    assert!(files(&["--label", "garden"]).is_empty());
}

#[test]
fn moments_lead_to_more_moments_and_have_pictures() {
    let world = World::new();
    world.ok(&["index", text(&footage("tape.mp4"))]);
    let pictures = world.dir.path().join("pictures");
    let found = world.json(&["search", "a circle", "--json", "--limit", "3", "--thumbnails", text(&pictures)]);
    let best = &found["moments"][0];
    let picture = image::open(best["thumbnail"].as_str().unwrap()).unwrap();
    assert_eq!(picture.width().max(picture.height()), 320.min(picture.width().max(picture.height())));
    let like = world.json(&["search", "--like", best["id"].as_str().unwrap(), "--json", "--limit", "1"]);
    assert_eq!(like["moments"][0]["id"], best["id"], "a moment is most like itself");
    let by_picture = world.json(&["search", "--image", best["thumbnail"].as_str().unwrap(), "--json", "--limit", "1"]);
    assert!(by_picture["moments"][0]["score"].as_f64().unwrap() > 0.0);
    let not = world.json(&["search", "a circle", "--not", "a circle moves to the left", "--json", "--limit", "3"]);
    assert_ne!(not["moments"], found["moments"]);
}

#[test]
fn ids_are_the_same_in_every_data_folder() {
    let (one, other) = (World::new(), World::new());
    one.ok(&["index", text(&footage("vp8.webm"))]);
    let copy = other.dir.path().join("another name.webm");
    std::fs::copy(footage("vp8.webm"), &copy).unwrap();
    other.ok(&["index", text(&copy)]);
    assert_eq!(one.windows(), other.windows());
}
