//! Retrieval measured by the built program: the sample footage, every official form of annotations, broken videos,
//! interruption. On real footage where it is at hand.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clipseek::decode::{self, ChildDecoder, Decoder, Interpolation, PixelSpec, Request, Resize, Want};
use clipseek::eval::sampling::{FrameRule, FrameSampling, clip2video, clip4clip, frame_rate};
use clipseek::linspace;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{EXE, Ran, World, footage, shared, text};

fn annotations(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/annotations").join(set)
}

/// The clips of the footage with their captions, as a person would write them down.
fn clips() -> Vec<(String, String)> {
    let timeline: Value = serde_json::from_str(&std::fs::read_to_string(footage("timeline.json")).unwrap()).unwrap();
    let word = |clip: &Value, key: &str| clip[key].as_str().unwrap().to_owned();
    timeline["clips"].as_array().unwrap().iter().map(|clip| (word(clip, "file"), word(clip, "caption"))).collect()
}

fn lines(world: &World, name: &str, pairs: &[(String, String)]) -> PathBuf {
    let mut text = String::new();
    for (video, caption) in pairs {
        writeln!(text, "{}", json!({"video": video, "caption": caption})).unwrap();
    }
    let path = world.dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn eval(world: &World, set: &str, annotations: &Path, more: &[&str]) -> Ran {
    world.run(&[&["eval", "--json", "--set", set, "--annotations", text(annotations)], more].concat())
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {report}"))
}

#[test]
fn the_shipped_model_finds_its_footage_and_what_was_done_is_kept() {
    let world = World::new();
    let own = lines(&world, "own.jsonl", &clips());
    let ranks = |name: &str| world.dir.path().join(name);
    let (first, second) = (ranks("first"), ranks("second"));
    let footage = footage("");
    let ran = eval(&world, "jsonl", &own, &["--videos", text(&footage), "--ranks", text(&first)]);
    let cold = report(&ran);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((number(&cold, "/videos"), number(&cold, "/captions")), (12.0, 12.0));
    assert!(number(&cold, "/text_to_video/r1") >= 90.0 && number(&cold, "/video_to_text/r1") >= 90.0, "{cold}");
    assert_eq!(number(&cold, "/videos_not_decoded_again"), 0.0);
    assert_eq!(cold["sampling"]["rule"], "uniform");

    let ran = eval(&world, "jsonl", &own, &["--videos", text(&footage), "--ranks", text(&second)]);
    let warm = report(&ran);
    assert_eq!(number(&warm, "/videos_not_decoded_again"), 12.0);
    assert_eq!(warm["text_to_video"], cold["text_to_video"]);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&first), read(&second));
    let line: Value = serde_json::from_str(read(&first).lines().next().unwrap()).unwrap();
    assert_eq!((line["video"].as_str(), line["rank"].as_u64()), (Some("h264.mp4"), Some(1)), "{line}");

    // Another head on the same frames: mean pooling in place of the transformer.
    let other = world.dir.path().join("mean");
    std::fs::create_dir(&other).unwrap();
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes");
    for entry in std::fs::read_dir(shapes).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
    let manifest = read(&other.join("bundle.toml"));
    let (start, end) = (manifest.find("[graphs.head]").unwrap(), manifest.find("[graphs.text]").unwrap());
    std::fs::write(other.join("bundle.toml"), format!("{}{}", &manifest[..start], &manifest[end..])).unwrap();
    let mean = report(&eval(&world, "jsonl", &own, &["--videos", text(&footage), "--model", text(&other)]));
    assert_eq!(number(&mean, "/videos_not_decoded_again"), 12.0, "the frames are the same");
    assert_ne!(mean["bundle"], cold["bundle"], "the head is not");

    let none = report(&eval(&world, "jsonl", &own, &["--videos", text(&footage), "--no-cache", "--frames", "4"]));
    assert_eq!((number(&none, "/videos_not_decoded_again"), number(&none, "/sampling/frames")), (0.0, 4.0));
}

#[test]
fn a_cross_head_judges_every_pair() {
    let world = World::new();
    let (own, footage) = (lines(&world, "own.jsonl", &clips()), footage(""));
    let tight = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/systems/clip4clip-tight");
    let run = |model: &str, name: &str, more: &[&str]| {
        let path = world.dir.path().join(name);
        let arguments = ["--videos", text(&footage), "--model", model, "--ranks", text(&path)];
        let ran = eval(&world, "jsonl", &own, &[&arguments[..], more].concat());
        (ran, std::fs::read_to_string(path).unwrap_or_default())
    };
    let (ran, vectors) = run(text(&tight), "vectors", &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (ran, cross) = run(text(&tight), "cross", &["--rerank"]);
    let found = report(&ran);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(number(&found, "/videos_not_decoded_again"), 12.0, "on the same frames");
    assert_ne!(cross, vectors);
    assert!(number(&found, "/text_to_video/mean_rank") > 1.0, "random weights: {found}");
    assert_eq!(run(text(&tight), "again", &["--rerank"]).1, cross);

    let (refused, _) = run("shapes", "none", &["--rerank"]);
    assert!(refused.code == 2 && refused.err.contains("has no [rerank]"), "{refused:?}");
}

#[test]
fn every_official_form_of_annotations_is_evaluated() {
    let world = World::new();
    let videos = footage("");
    for (set, videos_used, captions, complete, rule, published) in [
        ("msrvtt-1ka", 4, 4, true, "clip4clip", Some(44.5)),
        ("msrvtt-full", 3, 6, false, "clip4clip", None),
        ("msvd", 3, 6, false, "clip4clip", Some(45.2)),
        ("lsmdc", 4, 4, true, "clip4clip", Some(22.6)),
        ("didemo", 3, 3, true, "clip4clip", Some(42.8)),
        ("activitynet", 3, 3, true, "clip4clip", Some(40.5)),
        ("vatex", 3, 6, false, "clip4clip", None),
    ] {
        let more = ["--videos", text(&videos), "--published", "clip4clip-seqtransf"];
        let ran = eval(&world, set, &annotations(set), &more);
        let found = report(&ran);
        assert_eq!(ran.code, if complete { 0 } else { 2 }, "{set}: {ran:?}");
        assert_eq!(
            (number(&found, "/videos"), number(&found, "/captions")),
            (f64::from(videos_used), f64::from(captions))
        );
        assert_eq!(found["sampling"]["rule"], rule, "{set}");
        assert_eq!(found.pointer("/published/text_to_video/r1/value").and_then(Value::as_f64), published, "{set}");
        assert!(number(&found, "/text_to_video/r5") == 100.0, "{set}: three or four videos");
        if !complete {
            assert_eq!(found["without_caption"], json!(["nothing-said"]), "{set}");
        }
    }
}

#[test]
fn a_system_tells_its_own_sampling_and_row() {
    let world = World::new();
    let videos = footage("");
    let systems = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/systems");
    for (system, rule, frames, fps, published) in [
        ("clip4clip", "clip4clip", 12, Value::Null, Some("clip4clip-seqTransf")),
        ("clip2video", "clip2video", 5, json!(5.0), Some("clip2video")),
        ("clip-vip", "clip-vip", 4, json!(6.0), None),
    ] {
        let model = systems.join(system);
        let ran = eval(
            &world,
            "msrvtt-1ka",
            &annotations("msrvtt-1ka"),
            &["--videos", text(&videos), "--model", text(&model)],
        );
        let found = report(&ran);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(found["sampling"]["rule"], rule);
        assert_eq!((number(&found, "/sampling/frames"), &found["sampling"]["fps"]), (f64::from(frames), &fps));
        assert_eq!(found.pointer("/published/name").and_then(Value::as_str), published, "{system}");
        assert_eq!(number(&found, "/videos"), 4.0);
        let again = report(&eval(
            &world,
            "msrvtt-1ka",
            &annotations("msrvtt-1ka"),
            &["--videos", text(&videos), "--model", text(&model)],
        ));
        assert_eq!(number(&again, "/videos_not_decoded_again"), 4.0);
        assert_eq!(again["video_to_text"], found["video_to_text"]);
    }
    let vip = systems.join("clip-vip");
    let more = ["--videos", text(&videos), "--model", text(&vip), "--published", "clip-vip-b16-dsl"];
    let dsl = report(&eval(&world, "msrvtt-1ka", &annotations("msrvtt-1ka"), &more));
    assert_eq!(number(&dsl, "/published/text_to_video/r1/value"), 57.7);
    assert_eq!(number(&dsl, "/text_to_video_dsl/queries"), 4.0);
    let asked = eval(&world, "msrvtt-1ka", &annotations("msrvtt-1ka"), &[&more[..], &["--frames", "12"]].concat());
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("12 frames were asked for, this model takes exactly 4"), "{}", asked.err);
}

#[test]
fn what_cannot_be_used_is_named_and_the_rest_is_measured() {
    let world = World::new();
    let videos = world.dir.path().join("videos");
    std::fs::create_dir(&videos).unwrap();
    for name in ["h264.mp4", "vp8.webm", "vp9.webm"] {
        std::fs::copy(footage(name), videos.join(name)).unwrap();
    }
    let whole = std::fs::read(footage("mpeg4.avi")).unwrap();
    std::fs::write(videos.join("mpeg4.avi"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(videos.join("hevc.mp4"), "no video at all").unwrap();
    let mut pairs = clips();
    pairs.retain(|(name, _)| !["animated.gif", "flash.flv"].contains(&name.as_str()));
    pairs.push(("h264.mp4".to_owned(), " ".to_owned()));
    let long = "a white star moves down and ".repeat(40);
    pairs.push(("vp8.webm".to_owned(), long.clone()));
    let own = lines(&world, "own.jsonl", &pairs);
    let ran = eval(&world, "jsonl", &own, &["--videos", text(&videos)]);
    let found = report(&ran);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!((number(&found, "/videos"), number(&found, "/listed_videos")), (4.0, 10.0));
    assert_eq!((number(&found, "/captions"), number(&found, "/listed_captions")), (5.0, 12.0));
    assert_eq!(found["missing"].as_array().unwrap().len(), 5, "{found}");
    assert!(found["failed"][0]["path"].as_str().unwrap().ends_with("hevc.mp4"), "{found}");
    assert!(found["damaged"][0]["path"].as_str().unwrap().ends_with("mpeg4.avi"), "{found}");
    assert_eq!((&found["truncated"], &found["empty_captions"]), (&json!([long]), &json!(["h264.mp4"])));

    let said = world.run(&["eval", "--set", "jsonl", "--annotations", text(&own), "--videos", text(&videos)]);
    assert_eq!(said.code, 2);
    for part in [
        "over 4 of 10 videos (5 missing, 1 failed) and 5 of 12 captions",
        "failed:",
        "damaged,",
        "missing: ",
        "1 caption longer",
    ] {
        assert!(said.out.contains(part), "{part} in {}", said.out);
    }

    let none = lines(&world, "none.jsonl", &[("nowhere.mp4".to_owned(), "nothing".to_owned())]);
    let ran = world.run(&["eval", "--set", "jsonl", "--annotations", text(&none), "--videos", text(&videos)]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("missing: nowhere.mp4") && ran.out.contains("nothing to evaluate"), "{}", ran.out);
    let ran = eval(&world, "jsonl", &own, &["--videos", "/nowhere/at/all"]);
    assert!(ran.code == 2 && ran.err.contains("no such folder of videos"), "{ran:?}");
}

#[test]
fn ctrl_c_loses_nothing() {
    let quiet = World::new();
    let pairs = clips();
    let undisturbed = lines(&quiet, "own.jsonl", &pairs);
    let videos = footage("");
    let started = Instant::now();
    let expected = report(&eval(&quiet, "jsonl", &undisturbed, &["--videos", text(&videos)]));
    let took = started.elapsed();

    let world = World::new();
    let own = lines(&world, "own.jsonl", &pairs);
    let arguments = ["eval", "--json", "--set", "jsonl", "--annotations", text(&own), "--videos", text(&videos)];
    let child = world.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(took.mul_f64(0.6).max(Duration::from_millis(100)));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    // A fast machine was done before.
    assert!(matches!(output.status.code(), Some(0 | 130)), "{output:?}");
    let resumed = report(&eval(&world, "jsonl", &own, &["--videos", text(&videos)]));
    println!("{} of 12 videos were done when it was interrupted", resumed["videos_not_decoded_again"]);
    for direction in ["text_to_video", "video_to_text"] {
        assert_eq!(resumed[direction], expected[direction]);
    }
}

#[test]
fn parts_of_a_video_are_clips_of_their_own() {
    let world = World::new();
    let timeline: Value = serde_json::from_str(&std::fs::read_to_string(footage("timeline.json")).unwrap()).unwrap();
    let mut text_lines = String::new();
    let scenes = &timeline["tape.mp4"].as_array().unwrap()[..8];
    for scene in scenes {
        let (start, end) = (&scene["start_s"], &scene["end_s"]);
        let line = json!({"video": "tape.mp4", "caption": scene["caption"], "start_s": start, "end_s": end});
        writeln!(text_lines, "{line}").unwrap();
    }
    let own = world.dir.path().join("scenes.jsonl");
    std::fs::write(&own, text_lines).unwrap();
    let videos = footage("");
    let found = report(&eval(&world, "jsonl", &own, &["--videos", text(&videos)]));
    assert_eq!(number(&found, "/videos"), 8.0);
    assert!(number(&found, "/text_to_video/r1") >= 75.0, "{found}");
}

#[test]
fn sampling_agrees_with_all_goldens_where_they_are_at_hand() {
    let Some(path) = shared("fixtures/parity/frame_sampling/cases.json") else { return };
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let count = |case: &Value, key: &str| case[key].as_u64().unwrap() as usize;
    let cases = |kind: &str| golden[kind].as_array().unwrap().clone();
    let check = |case: &Value, key: &str, found: Vec<usize>| {
        assert_eq!(found, serde_json::from_value::<Vec<usize>>(case[key].clone()).unwrap(), "{case}");
    };
    for case in cases("linspace_rounding") {
        check(&case, "indices", linspace::indices(count(&case, "last") + 1, count(&case, "num")));
    }
    let mut published = 0;
    for case in cases("clip4clip") {
        if count(&case, "feature_framerate") == 1 && case["slice_framepos"] == "uniform" {
            published += 1;
            let seconds = case.get("start_sec").map(|_| (count(&case, "start_sec"), count(&case, "end_sec")));
            let rate = case["fps"].as_f64().unwrap();
            let found = clip4clip(count(&case, "frame_count"), rate, count(&case, "max_frames"), seconds);
            check(&case, "selected", found.unwrap());
        }
    }
    for case in cases("clip2video") {
        let found = clip2video(count(&case, "files"), count(&case, "feature_framerate"), count(&case, "max_frames"));
        check(&case, "selected", found);
    }
    for case in cases("clip_vip") {
        check(&case, "selected", linspace::indices(count(&case, "frame_count"), count(&case, "num_frames")));
    }
    assert!(published > 10);
}

fn pixels() -> PixelSpec {
    PixelSpec {
        width: 32,
        height: 32,
        resize: Resize::ShortestEdge,
        interpolation: Interpolation::Bilinear,
        antialias: false,
    }
}

fn request(path: &Path, want: Want, sampling: decode::Sampling) -> Request {
    Request {
        path: path.to_owned(),
        track: None,
        decode: true,
        want,
        zero: decode::Zero::FirstFrame,
        sampling,
        tolerance: 0.0,
        from: Duration::ZERO,
        pixels: pixels(),
        thumbnail_px: None,
    }
}

fn frames(request: &Request) -> Vec<decode::Frame> {
    let decoder = ChildDecoder::new(PathBuf::from(EXE));
    let frames = decoder.open(request, CancellationToken::new()).unwrap().collect::<Result<Vec<_>, _>>();
    let frames = frames.unwrap_or_else(|error| panic!("{}: {error}", request.path.display()));
    // Which of them are held depends on the interval.
    frames.into_iter().map(|frame| decode::Frame { until: None, ..frame }).collect()
}

/// Frames asked for by their times are those that decoding everything gives there.
fn assert_exact(path: &Path) -> decode::Survey {
    let decoder = ChildDecoder::new(PathBuf::from(EXE));
    let survey = decoder.survey(path, CancellationToken::new()).unwrap();
    let all = frames(&request(path, Want::Every(Duration::from_nanos(1)), decode::Sampling::All));
    let times: Vec<Duration> = all.iter().map(|frame| frame.pts).collect();
    assert_eq!(survey.times, times, "{}", path.display());
    assert!(survey.end >= *survey.times.last().unwrap());
    let rate = frame_rate(&survey.times, survey.probe.frame_rate);
    for rule in [FrameRule::Clip4Clip, FrameRule::Clip2Video, FrameRule::ClipVip, FrameRule::Uniform] {
        let picks = FrameSampling::new(rule, 7).pick(&survey.times, survey.end, rate, None).unwrap();
        let picks: BTreeSet<usize> = picks.into_iter().collect();
        let times = picks.iter().map(|pick| survey.times[*pick]).collect();
        let found = frames(&request(path, Want::At(times), decode::Sampling::Gop));
        let expected: Vec<_> = picks.iter().map(|pick| all[*pick].clone()).collect();
        assert!(found == expected, "{}: {rule} gives other frames", path.display());
    }
    survey
}

#[test]
fn exactly_the_chosen_frames_are_decoded() {
    for (name, _) in clips() {
        assert_exact(&footage(&name));
    }
}

/// Of real files with no more, every frame is decoded to compare.
const FEW_FRAMES: usize = 320;

#[test]
fn real_footage_is_surveyed_and_evaluated() {
    let Some(media) = shared("media") else { return };
    let world = World::new();
    let mut pairs = Vec::new();
    for line in std::fs::read_to_string(media.join("captions.jsonl")).unwrap().lines() {
        let clip: Value = serde_json::from_str(line).unwrap();
        let file = clip["file"].as_str().unwrap();
        let counted = clip["frames_decoded"].as_u64().unwrap() as usize;
        let survey = if counted <= FEW_FRAMES {
            assert_exact(&media.join(file))
        } else {
            let decoder = ChildDecoder::new(PathBuf::from(EXE));
            decoder.survey(&media.join(file), CancellationToken::new()).unwrap()
        };
        assert!(survey.times.len().abs_diff(counted) <= 1, "{file}: {} frames, not {counted}", survey.times.len());
        let rate = frame_rate(&survey.times, survey.probe.frame_rate);
        println!("{file}: {} frames, {rate} a second ({})", survey.times.len(), clip["fps"]);
        for caption in clip["captions"].as_array().unwrap() {
            pairs.push((file.to_owned(), caption.as_str().unwrap().to_owned()));
        }
    }
    let own = lines(&world, "own.jsonl", &pairs);
    let ran = eval(&world, "jsonl", &own, &["--videos", text(&media), "--sampling", "clip4clip", "--frames", "12"]);
    let found = report(&ran);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((number(&found, "/videos"), number(&found, "/captions")), (15.0, 30.0));
    println!("{}", found["text_to_video"]);

    // Broken and odd files: each is used, or named with a reason.
    let list = std::fs::read_to_string(media.join("robustness.jsonl")).unwrap();
    let file = |line: &str| serde_json::from_str::<Value>(line).unwrap()["file"].as_str().unwrap().to_owned();
    let pairs: Vec<_> = list.lines().map(|line| (file(line), format!("what {} shows", file(line)))).collect();
    let ran = eval(&world, "jsonl", &lines(&world, "odd.jsonl", &pairs), &["--videos", text(&media)]);
    let found = report(&ran);
    assert_eq!(ran.code, 2, "{ran:?}");
    let failed = found["failed"].as_array().unwrap();
    assert_eq!(number(&found, "/videos") as usize + failed.len(), pairs.len(), "{found}");
    assert!(failed.iter().any(|one| one["reason"].as_str().unwrap().contains("no video track")), "{found}");
}
