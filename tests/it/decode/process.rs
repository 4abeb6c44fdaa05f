//! The decoding process: it ends when it is asked to, with its parent, and in words when something is wrong with it.

use std::sync::Arc;

use clipseek::decode::{Decoded, Queue, Rgb, wire};

use super::*;

#[test]
fn a_stopped_job_ends_and_so_does_a_dropped_one() {
    let world = World::new();
    let path =
        world.make("a.mkv", &format!("{} ! x264enc ! h264parse ! matroskamux ! filesink location=OUT", source(500)));
    let stop = CancellationToken::new();
    let mut frames = decoder().open(&request(&path, Sampling::All, 0.001), stop.clone()).unwrap();
    assert!(frames.next().unwrap().is_ok());
    stop.cancel();
    let last = frames.by_ref().last();
    assert!(matches!(last, Some(Err(DecodeError::Stopped))));
    assert!(frames.next().is_none());
    assert!(matches!(decoder().open(&request(&path, Sampling::All, 1.0), stop), Err(DecodeError::Stopped)));

    let mut frames = decoder().open(&request(&path, Sampling::All, 0.001), CancellationToken::new()).unwrap();
    assert!(frames.next().unwrap().is_ok());
    drop(frames);
    assert_eq!(children_decoding(&path), 0);
}

/// Processes that have this file open for reading. What writes it here may have been inherited by children of tests
/// that run beside this one.
fn children_decoding(path: &Path) -> usize {
    let reads = |fd: &Path, info: PathBuf| {
        let flags = std::fs::read_to_string(info).unwrap_or_default();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim).unwrap_or_default();
        std::fs::read_link(fd).is_ok_and(|target| target == path) && flags.ends_with('0')
    };
    let open = |process: PathBuf| {
        let files = std::fs::read_dir(process.join("fd")).ok()?;
        files.flatten().any(|fd| reads(&fd.path(), process.join("fdinfo").join(fd.file_name()))).then_some(())
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| open(entry.path())).count()
}

/// A program that stands in for the decoding process.
fn script(world: &World, name: &str, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = world.file(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A program that says these messages and then nothing more.
fn recorded(world: &World, name: &str, messages: &[wire::Message]) -> PathBuf {
    let mut bytes = Vec::new();
    wire::greet(&mut bytes).unwrap();
    for message in messages {
        wire::write_message(&mut bytes, message).unwrap();
    }
    let said = world.file(&format!("{name}.said"));
    std::fs::write(&said, bytes).unwrap();
    script(world, name, &format!("head -c 1 >/dev/null; cat {}; exec sleep 100", said.display()))
}

fn open_with(world: &World, exe: PathBuf) -> Result<Box<dyn clipseek::decode::Frames>, DecodeError> {
    let decoder = ChildDecoder::new(exe).stall_after(Duration::from_millis(300));
    decoder.open(&request(&world.file("a.mp4"), Sampling::Auto, 1.0), CancellationToken::new())
}

#[test]
fn a_process_that_dies_or_stalls_or_babbles_is_reported() {
    let world = World::new();
    let try_with = |exe: PathBuf| open_with(&world, exe).map(|_| ()).unwrap_err();
    match try_with(script(&world, "dies", "echo out of luck >&2; exit 3")) {
        DecodeError::Crashed(text) => assert!(text.contains("out of luck") && text.contains('3'), "{text}"),
        other => panic!("{other}"),
    }
    match try_with(script(&world, "stalls", "echo almost there >&2; exec sleep 100")) {
        DecodeError::Stalled(text) => assert_eq!(text, "no sign of life for 0.3 s; almost there"),
        other => panic!("{other}"),
    }
    match try_with(script(&world, "babbles", "echo hello world; exec sleep 100")) {
        DecodeError::Crashed(text) => assert!(text.contains("greeting"), "{text}"),
        other => panic!("{other}"),
    }
    assert!(matches!(try_with(world.file("missing")), DecodeError::Setup(_)));
}

#[test]
fn what_holds_the_error_stream_open_is_not_waited_for() {
    let world = World::new();
    let started = Instant::now();
    for (name, grandchild) in [("same-group", "sleep 30"), ("other-group", "setsid sleep 3")] {
        let body = format!("{grandchild} >/dev/null & echo out of luck >&2; exit 3");
        match open_with(&world, script(&world, name, &body)).map(|_| ()) {
            Err(DecodeError::Crashed(text)) => assert!(text.contains("out of luck") && text.contains('3'), "{text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
}

#[test]
fn times_that_cannot_be_are_an_error_of_the_process() {
    let world = World::new();
    let frame = |pts| {
        let pixels = Rgb { width: 1, height: 1, data: vec![0; 3] }.into();
        wire::Message::Frame(Frame { pts, until: None, pixels, thumbnail: None })
    };
    let second = Duration::from_secs(1);
    let probe = || wire::Message::Probe(Probe::default());
    for (name, messages, problem) in [
        ("back", vec![probe(), frame(second), frame(Duration::ZERO)], "out of order"),
        ("twice", vec![probe(), frame(second), frame(second)], "out of order"),
        ("late", vec![probe(), frame(second), frame(Duration::from_nanos(u64::MAX))], "a time of 18446744073 s"),
    ] {
        let mut frames = open_with(&world, recorded(&world, name, &messages)).unwrap();
        assert_eq!(frames.next().unwrap().unwrap().pts, second);
        match frames.next() {
            Some(Err(DecodeError::Crashed(text))) => assert!(text.contains(problem), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(frames.next().is_none() && frames.outcome().is_none());
    }
}

/// The process that a script has written its number of into `file`, once it has.
async fn process_in(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn ends_within_a_second(process: &str) {
    let started = Instant::now();
    while Path::new("/proc").join(process).exists() {
        assert!(started.elapsed() < Duration::from_secs(1), "process {process} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_any_more_ends_at_once() {
    let world = World::new();
    let number = world.file("number");
    let silent = script(&world, "silent", &format!("echo $$ > {}; exec sleep 100", number.display()));
    let start = |stop: &CancellationToken| {
        let _ = std::fs::remove_file(&number);
        let request = request(&world.file("a.mp4"), Sampling::Auto, 1.0);
        Queue::start(Arc::new(ChildDecoder::new(silent.clone())), request, stop, 4)
    };
    let stop = CancellationToken::new();
    let dropped = start(&stop);
    let process = process_in(&number).await;
    drop(dropped);
    ends_within_a_second(&process).await;
    assert!(!stop.is_cancelled(), "others go on");

    let mut stopped = start(&stop);
    let process = process_in(&number).await;
    stop.cancel();
    ends_within_a_second(&process).await;
    assert!(matches!(stopped.next().await, Decoded::Failed(DecodeError::Stopped)));
}

#[tokio::test]
async fn a_queue_gives_what_the_decoder_gives() {
    let world = World::new();
    let request = request(&world.h264("a.mp4"), Sampling::Keyframes, 1.0);
    let mut queue = Queue::start(Arc::new(decoder()), request, &CancellationToken::new(), 2);
    assert!(matches!(queue.next().await, Decoded::Probe(probe) if probe.width == 160));
    let mut times = Vec::new();
    let outcome = loop {
        match queue.next().await {
            Decoded::Frame(frame) => times.push(frame.pts.as_secs()),
            Decoded::End(outcome) => break outcome,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((times, outcome.packets), (vec![0, 1, 2, 3], 100));
    assert!(queue.ready().is_none());
    assert!(matches!(queue.next().await, Decoded::Failed(DecodeError::Crashed(_))));
}

#[test]
fn the_process_ends_with_its_parent() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_clipseek"))
        .arg("decode-child")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "still running");
        std::thread::sleep(Duration::from_millis(10));
    }
}
