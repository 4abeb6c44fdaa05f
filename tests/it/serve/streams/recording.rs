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
fn starts(daemon: &Daemon) -> Vec<u64> {
    let start = |row: &Value| {
        let hour = row["path"].as_str()?.split('/').nth(1)?.trim_end_matches('Z').to_owned();
        let hour = chrono::DateTime::parse_from_rfc3339(&format!("{hour}:00:00Z")).ok()?.timestamp_millis() as u64;
        Some(hour + (row["start_s"].as_f64()? * 1000.0).round() as u64)
    };
    daemon.windows_of("door").iter().map(|row| start(row).unwrap()).collect()
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
    let have = starts(&daemon);
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
