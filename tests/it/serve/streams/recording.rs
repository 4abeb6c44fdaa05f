//! What a camera showed is kept, played, found again after a crash, and leaves with its windows.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use clipseek::footage::{Footage, Segment};

use super::*;

const SETTINGS: &str = "record = true\n[recording]\nsegment_secs = 2.0\nmin_free_gib = 0.0\n";

fn segments(footage: &Footage) -> Vec<Segment> {
    let hours = footage.hours().unwrap();
    hours.iter().flat_map(|(hour, _)| footage.segments(hour).unwrap()).collect()
}

/// When the windows begin of a stream that are in the index (Unix milliseconds).
fn starts(daemon: &Daemon, name: &str) -> Vec<u64> {
    let start = |row: &Value| {
        let hour = row["path"].as_str()?.split('/').nth(1)?.trim_end_matches('Z').to_owned();
        let hour = chrono::DateTime::parse_from_rfc3339(&format!("{hour}:00:00Z")).ok()?.timestamp_millis() as u64;
        Some(hour + (row["start_s"].as_f64()? * 1000.0).round() as u64)
    };
    daemon.windows_of(name).iter().map(|row| start(row).unwrap()).collect()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn a_recording_plays_survives_a_kill_and_leaves_with_its_windows() {
    let Some(camera) = Camera::begin("h264.mp4", None) else { return };
    let world = World::new();
    let sources = source("door", &camera.uri()) + SETTINGS;
    let daemon = watching(&world, &sources);
    daemon.until_state("door", "live");
    daemon.until_windows("door", 5);
    let found = world.json(&["search", "an orange heart", "--json"]);
    let moment = &found["moments"][0];
    let path = world.dir.path().join(moment["path"].as_str().unwrap_or_else(|| panic!("{moment}")));
    let offset = moment["offset_s"].as_f64().unwrap();
    assert!(path.exists() && (0.0..4.5).contains(&offset), "{moment}");
    assert_eq!(moment["uri"], camera.uri());
    let probed = world.json(&["probe", "--json", text(&path)]);
    assert_eq!(
        (&probed["files"][0]["width"], &probed["files"][0]["tracks"][0]["codec"]),
        (&256.into(), &"h264".into())
    );

    // A player gets the segments in one piece.
    let (id, span) =
        (moment["id"].as_str().unwrap(), format!("start_s={}&end_s={}", moment["start_s"], moment["end_s"]));
    let playback = daemon.json(&format!("/v1/moments/{id}/playback?{span}"));
    let at = playback["begins_s"].as_f64().unwrap() + playback["seek_s"].as_f64().unwrap();
    assert!(playback["how"] == "remuxed" && at + 2.5 > moment["start_s"].as_f64().unwrap(), "{playback}, {moment}");
    assert!(playback["ends_s"].as_f64() > moment["start_s"].as_f64(), "{playback}, {moment}");
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let clip = fetched(&mut stream, "GET", &format!("/v1/moments/{id}/clip?{span}"), "Host: localhost\r\n", b"");
    let name = clip.header("content-disposition").unwrap();
    assert!(clip.status == 200 && name.contains("filename=\"door 20") && clip.body[4..8] == *b"ftyp", "{name}");
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let picture = fetched(&mut stream, "GET", &format!("/v1/moments/{id}/thumbnail"), "Host: localhost\r\n", b"");
    assert!([200, 404].contains(&picture.status), "it may not be on the disk yet: {}", picture.status);

    // Killed in the middle: what was recorded and not embedded yet is embedded by the next start.
    std::thread::sleep(Duration::from_millis(1700));
    let killed = now();
    drop(daemon);
    let daemon = watching(&world, &sources);
    daemon.until_state("door", "live");
    let windows = daemon.windows_of("door").len();
    daemon.until_windows("door", windows + 2);
    let have = starts(&daemon, "door");
    let once: BTreeSet<u64> = have.iter().copied().collect();
    assert_eq!(once.len(), have.len(), "a window is there twice: {have:?}");
    let footage = Footage::new(world.data().join("footage"));
    let recorded: Vec<Segment> = segments(&footage).into_iter().filter(|segment| segment.start < killed).collect();
    let (from, to) = (recorded[0].start.as_millis() as u64, recorded[recorded.len() - 1].end.as_millis() as u64);
    let killed_ms = killed.as_millis() as u64;
    assert!(killed_ms + 500 > to && to + 2000 > killed_ms, "recorded up to {to}, killed at {killed_ms}");
    // Windows of two seconds, one a second.
    let covered: Vec<u64> =
        (from.div_ceil(1000)..).map(|second| second * 1000).take_while(|start| start + 2000 <= to).collect();
    assert!(covered.len() > 3, "{recorded:?}");
    let missing: Vec<&u64> = covered.iter().filter(|start| !once.contains(start)).collect();
    assert!(missing.is_empty(), "{missing:?} of {covered:?} are missing; there are {once:?}");
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);

    // Removed: nothing is left of it.
    let listed = world.json(&["media", "list", "--json"]);
    for row in listed["media"].as_array().unwrap() {
        world.ok(&["media", "remove", row["media_id"].as_str().unwrap()]);
    }
    assert!(segments(&footage).is_empty(), "{:?}", segments(&footage));
    assert_eq!(world.windows(), Vec::<String>::new());
    world.ok(&["verify"]);
}

/// Killed so often (`CLIPSEEK_STREAM_KILLS`, `make soak`) at any time, with a folder and two recorded cameras: the files are
/// as if it had not been, every window that the recordings cover is there once, and what is missing is when it was dead.
#[test]
fn killed_at_any_time_it_has_what_its_recordings_cover() {
    let cameras = [Camera::begin("h264.mp4", None), Camera::begin("turned.mp4", None)];
    let [Some(door), Some(yard)] = &cameras else { return };
    let kills = std::env::var("CLIPSEEK_STREAM_KILLS").ok().and_then(|number| number.parse().ok()).unwrap_or(2_u64);
    let world = World::new();
    let videos = world.dir.path().join("videos");
    std::fs::create_dir(&videos).unwrap();
    let clips = ["h264.mp4", "vp8.webm", "vp9.webm"];
    let folder = format!("[[source]]\nname = \"videos\"\npath = \"{}\"\n", text(&videos));
    let recorded = |name: &str, camera: &Camera| source(name, &camera.uri()) + "record = true\n";
    let recording = "[recording]\nsegment_secs = 2.0\nmin_free_gib = 0.0\n";
    let settings = recording.to_owned() + &folder + &recorded("door", door) + &recorded("yard", yard);

    // Times at which it was certainly not alive: from a kill to when the cameras are live again.
    let mut dead = Vec::new();
    let mut killed = None;
    for round in 0..=kills {
        if let Some(clip) = clips.get(usize::try_from(round).unwrap()) {
            std::fs::copy(footage(clip), videos.join(clip)).unwrap();
        }
        let daemon = watching(&world, &settings);
        daemon.until_state("door", "live");
        daemon.until_state("yard", "live");
        dead.extend(killed.map(|killed| (killed, now())));
        if round < kills {
            // Anywhere between two windows, segments and checkpoints.
            std::thread::sleep(Duration::from_millis(700 + round * 1009 % 4800));
            killed = Some(now());
        }
    }
    for clip in clips {
        std::fs::copy(footage(clip), videos.join(clip)).unwrap();
    }
    let daemon = watching(&world, &settings);
    for clip in clips {
        daemon.until_indexed(&videos.join(clip));
    }
    // The first lives may be shorter than a window: the last one covers three, whatever of its first and last ones is recorded.
    let alive = now().as_millis() as u64;
    for name in ["door", "yard"] {
        let new = || starts(&daemon, name).into_iter().filter(|start| *start > alive).count();
        daemon.until(&format!("{name} has windows"), || new() >= 6);
    }
    let last = now();
    let until = (last + Duration::from_secs(4)).as_millis() as u64;
    for name in ["door", "yard"] {
        daemon.until(&format!("{name} goes on"), || starts(&daemon, name).iter().any(|start| *start > until));
    }
    let have = ["door", "yard"].map(|name| (name, starts(&daemon, name)));
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
    let is_of_file = |row: &Value| row["path"].as_str().is_some_and(|path| path.starts_with(text(&videos)));
    let of_files = world.exported().into_iter().filter(is_of_file).map(|row| row["id"].as_str().unwrap().to_owned());
    assert_eq!(of_files.collect::<Vec<_>>(), expected(&clips));

    let footage = Footage::new(world.data().join("footage"));
    for (name, have) in have {
        let hours = footage.hours().unwrap().into_iter().filter(|(hour, _)| hour.source == name);
        let segments: Vec<Segment> = hours.flat_map(|(hour, _)| footage.segments(&hour).unwrap()).collect();
        let once: BTreeSet<u64> = have.iter().copied().collect();
        assert_eq!(once.len(), have.len(), "{name}: a window is there twice: {have:?}");
        let mut covered = 0;
        for (from, to) in stretches(&segments, last) {
            let windows = (from.div_ceil(1000)..).map(|second| second * 1000).take_while(|start| start + 2000 <= to);
            let windows: Vec<u64> = windows.collect();
            let missing: Vec<&u64> = windows.iter().filter(|start| !once.contains(start)).collect();
            assert!(missing.is_empty(), "{name}: {missing:?} of {windows:?} are missing: {segments:?}");
            covered += windows.len();
        }
        assert!(covered >= 3, "{name}: {covered} windows are covered");
        // Where nothing was recorded for longer than a segment lasts, it was dead.
        for pair in stretches(&segments, last).windows(2) {
            let (end, begin) = (pair[0].1, pair[1].0);
            let was_dead = |(from, to): &(Duration, Duration)| {
                (from.as_millis() as u64) < begin && end < (to.as_millis() as u64) + 2500
            };
            assert!(
                begin < end + 2500 || dead.iter().any(was_dead),
                "{name}: nothing from {end} to {begin}, though alive"
            );
        }
        println!("{name}: {kills} kills, {covered} windows covered by recordings, each there once");
    }
}

/// What the recordings cover without a gap, in Unix milliseconds, up to a time. Less than a second between two segments is
/// the time of a frame, and that until the file was written.
fn stretches(segments: &[Segment], upto: Duration) -> Vec<(u64, u64)> {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for segment in segments.iter().filter(|segment| segment.start < upto) {
        let (start, end) = (segment.start.as_millis() as u64, segment.end.min(upto).as_millis() as u64);
        match stretches.last_mut().filter(|last| start <= last.1 + 1000) {
            Some(last) => last.1 = last.1.max(end),
            None => stretches.push((start, end)),
        }
    }
    stretches
}
