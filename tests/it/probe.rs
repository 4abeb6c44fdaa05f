//! What `clipseek probe` tells, and which track of a file is taken. Files are made here, with GStreamer.

use std::path::{Path, PathBuf};

use gstreamer as gst;
use gstreamer::prelude::*;
use serde_json::{Value, json};

use super::support::{World, footage, shared, text};

fn make(world: &World, name: &str, graph: &str) -> PathBuf {
    gst::init().unwrap();
    let path = world.dir.path().join(name);
    let graph = format!("{graph} mux. ! filesink location={}", path.display());
    let pipeline = gst::parse::launch(&graph).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(matches!(message.view(), gst::MessageView::Eos(_)), "{graph}: {message:?}");
    path
}

/// A branch of video of this size and number of frames, 25 a second.
fn video(side: u32, frames: u32, pad: &str) -> String {
    format!(
        "videotestsrc num-buffers={frames} ! video/x-raw,format=I420,width={side},height={side},framerate=25/1 \
         ! x264enc key-int-max=10 bframes=0 option-string=scenecut=0 ! h264parse ! queue ! mux.{pad}"
    )
}

fn sound(pad: &str) -> String {
    format!("audiotestsrc num-buffers=40 ! audio/x-raw,rate=48000 ! avenc_aac ! aacparse ! queue ! mux.{pad}")
}

fn probed(world: &World, path: &Path, more: &[&str]) -> Value {
    let ran = world.json(&[&["probe", "--json", text(path)], more].concat());
    ran["files"][0].clone()
}

#[test]
fn a_file_is_described_and_a_bad_one_stops_nothing() {
    let world = World::new();
    let good = make(&world, "good.mkv", &format!("matroskamux name=mux {}", video(64, 25, "")));
    let bad = world.dir.path().join("bad.mp4");
    std::fs::write(&bad, "no video").unwrap();
    let ran = world.run(&["probe", "--json", "--frames", "--every", "0.2", text(&bad), text(&good)]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(found["files"][0]["error"].as_str().unwrap().contains("not a video"), "{found}");
    let file = &found["files"][1];
    assert_eq!((&file["path"], &file["error"]), (&json!(text(&good)), &Value::Null));
    assert_eq!((&file["width"], &file["height"], &file["frames"]), (&json!(64), &json!(64), &json!(25)));
    assert_eq!(file["orientation"], json!({"rotate": 0, "mirror": false}));
    assert_eq!(file["key_frames"], json!(3));
    assert!((file["key_frame_spacing_s"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-6, "{file}");
    let track = &file["tracks"][0];
    assert_eq!((&track["id"], &track["kind"], &track["codec"]), (&json!(1), &json!("video"), &json!("h264")));
    assert_eq!(track["taken"], json!(true));
    let times: Vec<f64> = file["frames_s"].as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
    assert_eq!(times, [0.0, 0.2, 0.4, 0.6, 0.8]);
    assert_eq!(probed(&world, &good, &["--frames", "--every", "0"])["frames_s"].as_array().unwrap().len(), 25);
    let keys = probed(&world, &good, &["--frames", "--every", "0", "--sampling", "keyframes"]);
    assert_eq!((&keys["frames_s"], &keys["sampling"]), (&json!([0.0, 0.4, 0.8]), &json!("keyframes")));
    let unread = probed(&world, &good, &[]);
    assert_eq!((&unread["frames_s"], &unread["frames"]), (&Value::Null, &json!(25)));

    let people = world.ok(&["probe", "--frames", text(&good)]);
    for part in ["1: video h264 64×64  (taken)", "25 frames, 3 key frames", "frame       0.000000"] {
        assert!(people.out.contains(part), "{}", people.out);
    }
    assert_eq!(world.run(&["probe", "--every", "-1", text(&good)]).code, 2);
}

#[test]
fn the_first_of_two_default_tracks_is_taken_and_any_can_be_asked_for() {
    let world = World::new();
    for (name, mux) in [("two.mkv", "matroskamux"), ("two.mp4", "mp4mux")] {
        let branches = [sound(""), video(96, 30, ""), video(32, 20, "")].join(" ");
        let path = make(&world, name, &format!("{mux} name=mux {branches}"));
        let found = probed(&world, &path, &["--frames", "--every", "0"]);
        let tracks = found["tracks"].as_array().unwrap();
        let videos: Vec<_> = tracks.iter().filter(|track| track["kind"] == "video").collect();
        assert_eq!((tracks.len(), videos.len()), (3, 2), "{found}");
        let (small, large) = match videos[0]["width"] == json!(32) {
            true => (videos[0], videos[1]),
            false => (videos[1], videos[0]),
        };
        assert_eq!((&small["taken"], &large["taken"]), (&json!(false), &json!(true)), "{found}");
        assert_eq!((&found["width"], found["frames_s"].as_array().unwrap().len()), (&json!(96), 30), "{found}");
        let asked = small["id"].to_string();
        let other = probed(&world, &path, &["--frames", "--every", "0", "--track", &asked]);
        assert_eq!((&other["width"], other["frames_s"].as_array().unwrap().len()), (&json!(32), 20), "{other}");
        let ran = world.run(&["probe", "--track", "99", text(&path)]);
        assert!(ran.code == 2 && ran.out.contains("there is no video track 99"), "{ran:?}");

        // As it is indexed: the other track is named, and asking for it makes another plan.
        world.ok(&["index", text(&path)]);
        let shown = world.ok(&["media", "show", text(&path)]).out;
        assert!(shown.contains(&format!("`index --track {asked}` takes it")), "{shown}");
        let again = world.ok(&["index", "--track", &asked, text(&path)]).out;
        assert!(again.contains("indexed 1 file"), "{again}");
        assert!(world.ok(&["media", "show", text(&path)]).out.contains(&format!("track{asked}")));
    }
}

#[test]
fn sound_that_comes_first_keeps_no_container_from_its_video() {
    let world = World::new();
    for (name, mux) in [("a.flv", "flvmux"), ("a.ts", "mpegtsmux"), ("a.mkv", "matroskamux"), ("a.mp4", "mp4mux")] {
        let path = make(&world, name, &format!("{mux} name=mux {} {}", sound(""), video(64, 20, "")));
        let found = probed(&world, &path, &["--frames", "--every", "0"]);
        assert_eq!(found["frames_s"].as_array().map(Vec::len), Some(20), "{found}");
    }
}

#[test]
fn the_first_program_with_video_is_taken() {
    let world = World::new();
    let (radio, television) = (sound("sink_256"), video(64, 20, "sink_300"));
    let mux = "mpegtsmux name=mux prog-map=program_map,sink_256=1,sink_300=2";
    let path = make(&world, "programs.ts", &format!("{mux} {radio} {television}"));
    let found = probed(&world, &path, &["--frames", "--every", "0"]);
    assert_eq!(found["frames_s"].as_array().map(Vec::len), Some(20), "{found}");
    let taken: Vec<_> = found["tracks"].as_array().unwrap().iter().filter(|track| track["taken"] == true).collect();
    assert_eq!((taken.len(), &taken[0]["id"], &taken[0]["program"]), (1, &json!(300), &json!(2)), "{found}");
}

#[test]
fn one_jpeg_is_a_still_picture_and_several_are_a_video() {
    let world = World::new();
    let pictures = |name: &str, number: u32| {
        make(&world, name, &format!("videotestsrc num-buffers={number} ! jpegenc ! identity name=mux"))
    };
    let found = probed(&world, &pictures("two.mjpeg", 2), &["--frames", "--every", "0"]);
    assert_eq!((&found["frames_s"], &found["container"]), (&json!([0.0, 0.04]), &json!("image/jpeg")), "{found}");
    let found = probed(&world, &pictures("one.mjpeg", 1), &[]);
    assert!(found["error"].as_str().unwrap().contains("still picture"), "{found}");
    // A photo with another picture behind it says so in its head.
    let several = std::fs::read(world.dir.path().join("two.mjpeg")).unwrap();
    let photo = world.dir.path().join("photo.jpg");
    std::fs::write(&photo, [&several[..2], b"\xff\xe2\x00\x08MPF\0\0\0", &several[2..]].concat()).unwrap();
    let found = probed(&world, &photo, &[]);
    assert!(found["error"].as_str().unwrap().contains("still picture"), "{found}");
}

#[test]
fn program_text_named_like_video_is_skipped_and_named() {
    let world = World::new();
    let dir = world.dir.path().join("code");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(footage("h264.mp4"), dir.join("a.mp4")).unwrap();
    std::fs::write(dir.join("app.ts"), "export const answer = 42;\n").unwrap();
    std::fs::write(dir.join("vite.config.mts"), "export default {};\n").unwrap();
    let ran = world.ok(&["index", "-v", text(&dir)]);
    assert!(ran.out.contains("2 not video, skipped"), "{}", ran.out);
    assert!(ran.err.contains("app.ts") && ran.err.contains("it holds text"), "{}", ran.err);
}

/// Files that people reported, where they are at hand.
#[test]
fn reported_files_give_all_their_frames_with_every_sampling() {
    let Some(dir) = shared("media/reported") else { return };
    let world = World::new();
    for (name, frames, key_frames) in [
        ("01-field-coded.ts", 25, 1),
        ("05-intra-refresh.mp4", 250, 1),
        ("13-open-gop.mp4", 250, 10),
        ("14-raw.mjpeg", 25, 25),
    ] {
        for sampling in ["all", "gop", "auto", "keyframes"] {
            let expected = if sampling == "keyframes" { key_frames } else { frames };
            let found = probed(&world, &dir.join(name), &["--frames", "--every", "0", "--sampling", sampling]);
            assert_eq!(found["frames_s"].as_array().map(Vec::len), Some(expected), "{sampling}: {found}");
            assert_eq!(found["problems"], json!([]), "{sampling}: {found}");
        }
    }
}

/// Files that people reported, where they are at hand.
#[test]
fn reported_files_give_the_track_that_players_show() {
    let Some(dir) = shared("media/reported") else { return };
    let world = World::new();
    for (name, track, size) in [
        ("02-sound-first.flv", 1, (96, 64)),
        ("08-roll-90.mkv", 1, (64, 96)),
        ("09-second-track-is-default.mkv", 2, (96, 64)),
        ("10-radio-first.ts", 257, (96, 64)),
    ] {
        let found = probed(&world, &dir.join(name), &["--frames", "--every", "0"]);
        assert_eq!(found["frames_s"].as_array().map(Vec::len), Some(75), "{found}");
        assert_eq!((&found["width"], &found["height"]), (&json!(size.0), &json!(size.1)), "{found}");
        let taken = found["tracks"].as_array().unwrap().iter().find(|track| track["taken"] == true).unwrap();
        assert_eq!(taken["id"], json!(track), "{found}");
    }
}
