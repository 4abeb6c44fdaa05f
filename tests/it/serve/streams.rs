//! Live streams from real servers, killed, frozen and brought back.

pub(super) mod camera;
mod figures;
mod kinds;
mod network;
mod recording;

use super::*;
use camera::Camera;

/// A user, a password and a place for it that nobody else has.
const USER: &str = "warden";
const PASSWORD: &str = "Opensesame7";

/// A daemon with short times that watches this camera, by its settings.
fn watching<'a>(world: &'a World, sources: &str) -> Daemon<'a> {
    let config = world.dir.path().join("clipseek.toml");
    let live = "[live]\nconnect_secs = 8.0\nstall_secs = 3.0\nbackoff_secs = 0.2\nmax_backoff_secs = 1.0\n";
    std::fs::write(&config, format!("{live}{sources}")).unwrap();
    serve(world, &["--config", text(&config)])
}

pub(super) fn source(name: &str, uri: &str) -> String {
    format!("[[source]]\nname = \"{name}\"\nuri = \"{uri}\"\n")
}

impl Daemon<'_> {
    /// Windows that a search finds of this source.
    fn windows_of(&self, name: &str) -> Vec<Value> {
        // There is nothing to export before the first window.
        let exported = self.world.run(&["media", "export"]).out;
        let lines = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let is_of = |row: &Value| row["path"].as_str().is_some_and(|path| path.starts_with(&format!("{name}/")));
        lines.filter(is_of).collect()
    }

    fn until_windows(&self, name: &str, more_than: usize) {
        self.until(&format!("{name} has more than {more_than} windows"), || self.windows_of(name).len() > more_than);
    }
}

#[test]
fn what_a_camera_shows_can_be_searched() {
    let Some(camera) = Camera::begin("h264.mp4", Some((USER, PASSWORD))) else { return };
    let world = World::new();
    let begun = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let uri = camera.uri_with(USER, PASSWORD);
    let table = source("door", &uri) + "label = \"the door\"\ntags = [\"outside\"]\n";
    let daemon = watching(&world, &table);
    daemon.until_state("door", "live");
    daemon.until_windows("door", 2);
    let found = world.json(&["search", "an orange heart", "--json", "--label", "the door", "--tag", "outside"]);
    let moment = &found["moments"][0];
    assert_eq!((&moment["source"], &moment["path"]), (&Value::from("door"), &Value::Null), "{moment}");
    assert_eq!(moment["uri"], camera.uri().replace("rtsp://", "rtsp://***@"));
    let time = chrono::DateTime::parse_from_rfc3339(moment["time"].as_str().unwrap()).unwrap();
    let since = time.timestamp_millis() as f64 / 1000.0 - begun;
    assert!((-4.0..60.0).contains(&since), "{moment} was shown at {begun}");
    let row = daemon.source("door");
    assert_eq!((row["kind"].as_str(), row["error"].as_str()), (Some("stream"), None), "{row}");
    assert!(row["frames"].as_u64() > Some(0) && row["last_frame_age_s"].as_f64() < Some(2.0), "{row}");

    // Told every few seconds.
    daemon.until("decoded frames are counted", || {
        daemon.metric("clipseek_frames_decoded_total{source=\"door\"}") > 0.0
            && daemon.metric("clipseek_decode_cpu_seconds_total{source=\"door\"}") > 0.0
    });

    // No window is written twice, on the grid of the wall clock, and a restart goes on in the epoch.
    let before = daemon.windows_of("door");
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
    let daemon = watching(&world, &table);
    daemon.until_windows("door", before.len() + 1);
    let after = daemon.windows_of("door");
    let keys = |rows: &[Value]| -> Vec<(String, String)> {
        let mut keys: Vec<_> = rows.iter().map(|row| (row["path"].to_string(), row["start_s"].to_string())).collect();
        keys.sort();
        keys
    };
    let (before, after) = (keys(&before), keys(&after));
    assert!(before.iter().all(|key| after.contains(key)), "{before:?} {after:?}");
    let mut once = after.clone();
    once.dedup();
    assert_eq!(once, after);
    let epochs: std::collections::BTreeSet<&str> =
        after.iter().filter_map(|(path, _)| path.rsplit('/').next()).collect();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
    drop(daemon);
    world.ok(&["verify"]);
}

#[test]
fn a_camera_that_is_lost_is_called_again() {
    let Some(mut camera) = Camera::begin("h264.mp4", None) else { return };
    let world = World::new();
    let daemon = watching(&world, &source("door", &camera.uri()));
    daemon.until_state("door", "live");
    daemon.until_windows("door", 0);

    // Killed and back.
    camera.kill();
    daemon.until_state("door", "backing_off");
    assert!(daemon.source("door")["error"].as_str().is_some_and(|error| !error.is_empty()));
    camera.back("h264.mp4");
    daemon.until_state("door", "live");
    let windows = daemon.windows_of("door").len();
    daemon.until_windows("door", windows);

    // Frozen: it is connected and shows nothing. It goes on when the camera does.
    camera.signal("STOP");
    daemon.until_state("door", "stalled");
    camera.signal("CONT");
    daemon.until_state("door", "live");

    // Back with another size.
    camera.kill();
    camera.back("turned.mp4");
    daemon.until_state("door", "live");
    let windows = daemon.windows_of("door").len();
    daemon.until_windows("door", windows);
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}

#[test]
fn a_password_shows_nowhere() {
    let Some(camera) = Camera::begin("h264.mp4", Some((USER, PASSWORD))) else { return };
    let world = World::new();
    let password = world.dir.path().join("password");
    std::fs::write(&password, "wrong").unwrap();
    let file = format!("user = \"{USER}\"\npassword_file = \"{}\"\n", text(&password));
    let sources = source("own", &camera.uri_with(USER, PASSWORD))
        + &source("false", &camera.uri_with(USER, &format!("{PASSWORD}x")))
        + &source("file", &camera.uri())
        + &file;
    let daemon = watching(&world, &sources);
    daemon.until_state("own", "live");
    for name in ["false", "file"] {
        daemon.until_state(name, "backing_off");
        let error = daemon.source(name)["error"].as_str().unwrap().to_owned();
        assert!(error.contains("refused"), "{name}: {error}");
    }
    // The file is read again for each connection.
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    daemon.until_state("file", "live");
    daemon.until_windows("file", 0);
    let mut seen = Vec::new();
    for child in children(daemon.child.id()) {
        seen.push(std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default());
        seen.push(std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap_or_default());
        seen.push(std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default());
    }
    assert!(seen.iter().any(|line| line.contains("decode-child")), "no decoding process was found");
    seen.push(std::fs::read_to_string(format!("/proc/{}/cmdline", daemon.child.id())).unwrap());
    for target in ["/v1/sources", "/v1/media", "/v1/media/export", "/v1/jobs", "/v1/search?text=a%20heart"] {
        seen.push(daemon.get(target).unwrap().1);
    }
    seen.push(world.ok(&["sources"]).out);
    seen.push(world.ok(&["search", "a heart"]).out);
    seen.push(daemon.said());
    assert_eq!(daemon.end(), Some(0));
    for text in seen {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    for entry in walkdir::WalkDir::new(world.data()).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let is_there = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
            assert!(!is_there, "{} has the password", entry.path().display());
        }
    }
}

/// Processes that this one started.
fn children(of: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    numbers.filter(|pid| parent(pid) == Some(of)).collect()
}

#[test]
fn reloading_touches_only_what_changed() {
    let Some(camera) = Camera::begin("h264.mp4", None) else { return };
    let world = World::new();
    let (one, two) = (source("one", &camera.uri()), source("two", &camera.uri()));
    let daemon = watching(&world, &(one.clone() + &two));
    daemon.until_state("one", "live");
    daemon.until_state("two", "live");
    let (since, processes) = (daemon.source("one")["since"].clone(), children(daemon.child.id()));
    let mut events = daemon.events();
    let config = world.dir.path().join("clipseek.toml");
    let old = std::fs::read_to_string(&config).unwrap();
    let changed =
        old.replace(&two, &(two.clone() + "label = \"new\"\n")) + &source("bad", "gopher://me:Opensesame7@there");
    std::fs::write(&config, &changed).unwrap();
    daemon.signal("HUP");
    daemon.until("the settings are refused", || daemon.said().contains("cannot be used"));
    assert!(!daemon.said().contains("Opensesame7"));
    std::fs::write(&config, changed.split("[[source]]\nname = \"bad\"").next().unwrap()).unwrap();
    daemon.signal("HUP");
    daemon.until("the settings are taken", || daemon.said().contains("changed: two"));
    daemon.until("the new label is stored", || {
        world.json(&["search", "a heart", "--json"])["moments"]
            .as_array()
            .unwrap()
            .iter()
            .any(|moment| moment["label"] == "new")
    });
    assert_eq!(daemon.source("one")["since"], since);
    let told: Vec<Value> = events.come().into_iter().filter(|news| news["name"] == "one").collect();
    assert!(told.is_empty(), "{told:?}");
    let still = children(daemon.child.id()).into_iter().filter(|child| processes.contains(child)).count();
    assert_eq!(still, 1, "one process goes on, the other is new");
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}

#[test]
fn a_template_that_cannot_work_is_said_and_not_tried_again() {
    let world = World::new();
    let templates = world.dir.path().join("templates");
    std::fs::create_dir(&templates).unwrap();
    let bars = "videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=10/1 ! jpegenc ! appsink name=frames sync=false\n";
    std::fs::write(templates.join("stream-bars.launch"), bars).unwrap();
    std::fs::write(templates.join("stream-none.launch"), "nosuchelement ! appsink name=frames\n").unwrap();
    let sources = format!("templates = \"{}\"\n", text(&templates))
        + &source("bars", "test://here")
        + "template = \"bars\"\n"
        + &source("none", "test://there")
        + "template = \"none\"\n";
    let daemon = watching(&world, &sources);
    daemon.until_state("bars", "live");
    daemon.until_windows("bars", 0);
    daemon.until_state("none", "failed");
    let error = daemon.source("none")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("nosuchelement"), "{error}");
    // Streams wait while somebody checks the index, and lose nothing of it.
    assert_eq!(world.run(&["verify"]).code, 0);
    let windows = daemon.windows_of("bars").len();
    daemon.until_windows("bars", windows);
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}
