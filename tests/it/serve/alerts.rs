//! Each alert is made to fire by what it is there for, and ends when that ends: a real Prometheus, the project's rules with
//! shorter times, a daemon that bad things happen to. `CLIPSEEK_ALERTS=1` (`make soak`), as it takes minutes.
//!
//! Not here: what `ClipseekStoreDown` says of a server that stopped (there is no server here; the embedded store is made
//! unreadable instead).

use std::path::Path;
use std::time::Duration;

use super::prometheus::Prometheus;
use super::streams::camera::Camera;
use super::streams::source;
use super::*;
use crate::dashboards::folder;
use crate::support::{EXE, Mounted};

/// Times of the rules, and what stands for them here.
const SHORTER: &[(&str, &str)] = &[
    ("[5m]", "[15s]"),
    ("[10m]", "[15s]"),
    ("[30m]", "[15s]"),
    ("[30m:1m]", "[15s:1s]"),
    ("[1h]", "[15s]"),
    ("[2h]", "[15s]"),
    ("[6h]", "[15s]"),
    ("24 * 3600", "60"),
];
/// Data folder: so small that it can be filled.
const SIZE: usize = 600 << 20;

struct Watch<'a> {
    prometheus: &'a Prometheus,
    daemon: &'a Daemon<'a>,
}

impl Watch<'_> {
    fn is_firing(&self, alert: &str) -> bool {
        let Some(answer) = self.prometheus.json("/api/v1/alerts") else { return false };
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.iter().any(|found| found["labels"]["alertname"] == alert && found["state"] == "firing")
    }

    fn fires(&self, alert: &str, mut meanwhile: impl FnMut()) {
        self.daemon.until(&format!("{alert} fires"), || {
            meanwhile();
            self.is_firing(alert)
        });
        println!("{alert} fires");
    }

    fn ends(&self, alert: &str) {
        self.daemon.until(&format!("{alert} ends"), || !self.is_firing(alert));
        println!("{alert} ended");
    }
}

fn shorter_rules(dir: &Path) -> PathBuf {
    let mut rules = std::fs::read_to_string(folder().join("prometheus/clipseek.rules.yaml")).unwrap();
    for (long, short) in SHORTER {
        rules = rules.replace(long, short);
    }
    let lines = rules.lines().map(|line| match line.trim_start() {
        waits if waits.starts_with("for: ") => "        for: 1s",
        _ => line,
    });
    let path = dir.join("clipseek.rules.yaml");
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    path
}

#[test]
fn each_alert_fires_for_its_cause_and_ends_with_it() {
    if std::env::var_os("CLIPSEEK_ALERTS").is_none() {
        return;
    }
    let Some(camera) = Camera::begin("h264.mp4", None) else { return };
    let (world, videos) = world();
    let Some(_mounted) = Mounted::tmpfs(&world.data(), &format!("size={SIZE}")) else { return };
    let model = world.data().join("models/mine");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes");
    std::fs::create_dir_all(model.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-r").args([&shipped, &model]).status().unwrap().success());
    let settings = world.dir.path().join("clipseek.toml");
    let tables = format!(
        "[model]\nname = {:?}\n[search]\nconcurrent = 1\nqueue = 1\n[live]\nstall_secs = 2.0\nbackoff_secs = 0.2\n\
         max_backoff_secs = 1.0\n[[source]]\nname = \"videos\"\npath = {:?}\n[[source]]\nname = \"door\"\nuri = {:?}\n",
        text(&model),
        text(&videos),
        camera.uri()
    );
    std::fs::write(&settings, tables).unwrap();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let (graph, aside) = (model.join("text.onnx"), model.join("aside"));
    std::fs::rename(&graph, &aside).unwrap();
    let daemon = serve(&world, &["--config", text(&settings)]);
    let (address, rules) = (daemon.address(), shorter_rules(world.dir.path()));
    let Some(prometheus) = Prometheus::start(world.dir.path(), &address, &rules) else { return };
    let watch = Watch { prometheus: &prometheus, daemon: &daemon };
    daemon.until("Prometheus has scraped it", || prometheus.has("up{job=\"clipseek\"} == 1"));

    // The daemon was started without the text graph, which the first search opens.
    watch.fires("ClipseekSearchesFail", || drop(daemon.get("/v1/search?text=a+circle")));
    std::fs::rename(&aside, &graph).unwrap();
    watch.ends("ClipseekSearchesFail");
    daemon.until_indexed(&videos.join("a.mp4"));

    // One at a time, and one may wait.
    let asked = |number: usize| {
        let socket = daemon.socket();
        move || {
            let Ok(mut stream) = UnixStream::connect(socket) else { return };
            drop(answer(&mut stream, "GET", &format!("/v1/search?text=a+circle+{number}&limit=1000"), "localhost", ""));
        }
    };
    let mut number = 0;
    watch.fires("ClipseekSearchesRejected", || {
        let asking: Vec<_> = (0..16).map(|of| std::thread::spawn(asked(number + of))).collect();
        number += 16;
        asking.into_iter().for_each(|asking| asking.join().unwrap());
    });
    watch.ends("ClipseekSearchesRejected");
    watch.fires("ClipseekSearchSlow", || {
        number += 1;
        let asking = std::thread::spawn(asked(number));
        std::thread::sleep(Duration::from_millis(2));
        daemon.signal("STOP");
        std::thread::sleep(Duration::from_millis(1500));
        daemon.signal("CONT");
        asking.join().unwrap();
    });
    watch.ends("ClipseekSearchSlow");

    camera.signal("STOP");
    watch.fires("ClipseekSourceStalled", || ());
    camera.signal("CONT");
    watch.ends("ClipseekSourceStalled");

    let away = videos.with_extension("away");
    std::fs::rename(&videos, &away).unwrap();
    watch.fires("ClipseekSourceAway", || ());
    std::fs::rename(&away, &videos).unwrap();
    watch.ends("ClipseekSourceAway");

    for number in 0..25 {
        std::fs::write(videos.join(format!("bad-{number}.mp4")), vec![number; 5000]).unwrap();
    }
    watch.fires("ClipseekDeadLetters", || ());
    watch.fires("ClipseekManyFilesFail", || ());
    watch.ends("ClipseekDeadLetters");
    watch.ends("ClipseekManyFilesFail");

    let limit = |files: &str| {
        let prlimit = Command::new("prlimit").args(["--pid", &daemon.child.id().to_string(), files]).status();
        assert!(prlimit.unwrap().success());
    };
    let open = daemon.metric("process_open_fds");
    limit(&format!("--nofile={}:", open as u64 + 3));
    watch.fires("ClipseekOpenFiles", || ());
    limit("--nofile=1024:");
    watch.ends("ClipseekOpenFiles");

    // A picture that is lost is a difference.
    let thumbs = world.data().join("thumbs");
    let pack = walkdir::WalkDir::new(&thumbs).into_iter().flatten().find(|entry| entry.file_type().is_file()).unwrap();
    std::fs::remove_file(pack.path()).unwrap();
    daemon.job(r#"{"kind": "verify"}"#);
    watch.fires("ClipseekLedgerAndStoreDisagree", || ());
    daemon.job(r#"{"kind": "verify", "repair": true}"#);
    watch.ends("ClipseekLedgerAndStoreDisagree");

    let store = world.data().join("store");
    let hidden = world.data().join("hidden");
    std::fs::rename(&store, &hidden).unwrap();
    std::fs::write(&store, "no folder").unwrap();
    watch.fires("ClipseekStoreDown", || ());
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&hidden, &store).unwrap();
    watch.ends("ClipseekStoreDown");

    let (ledger, moved) = (world.data().join("ledger.sqlite"), world.data().join("moved.sqlite"));
    std::fs::rename(&ledger, &moved).unwrap();
    watch.fires("ClipseekLedgerDown", || ());
    std::fs::rename(&moved, &ledger).unwrap();
    watch.ends("ClipseekLedgerDown");

    // The disk fills while more and more files come.
    let filler = world.data().join("filler");
    let mut filled = std::fs::File::create(&filler).unwrap();
    let free = |share: f64| daemon.metric("clipseek_disk_free_bytes") < share * SIZE as f64;
    while !free(0.28) {
        filled.write_all(&[1; 1 << 20]).unwrap();
    }
    watch.fires("ClipseekDiskFilling", || {
        if !free(0.05) {
            let _ = filled.write_all(&[1; 1 << 20]);
        }
    });
    while filled.write_all(&[1; 1 << 16]).is_ok() {}
    watch.fires("ClipseekDiskFull", || ());
    let mut files = 0;
    let mut another = || {
        files += 1;
        // Each is another medium.
        let mut bytes = std::fs::read(footage("h264.mp4")).unwrap();
        bytes.extend_from_slice(&[0, 0, 0, 12, b'f', b'r', b'e', b'e', files, 0, 0, 0]);
        std::fs::write(videos.join(format!("more-{files}.mp4")), bytes).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    };
    watch.fires("ClipseekIndexingHeld", &mut another);
    watch.fires("ClipseekFallingBehind", &mut another);
    watch.fires("ClipseekIndexingStuck", || ());
    drop((filled, std::fs::remove_file(&filler)));
    for alert in [
        "ClipseekDiskFull",
        "ClipseekDiskFilling",
        "ClipseekIndexingHeld",
        "ClipseekFallingBehind",
        "ClipseekIndexingStuck",
    ] {
        watch.ends(alert);
    }
    daemon.until_idle();

    // Killed, and back with a ledger that counts more than there is.
    daemon.signal("KILL");
    watch.fires("ClipseekDown", || ());
    let ledger = rusqlite::Connection::open(world.data().join("ledger.sqlite")).unwrap();
    ledger.execute("UPDATE progress SET windows = windows + 5 WHERE state = 'done'", []).unwrap();
    drop(ledger);
    let mut again = Command::new(EXE);
    let child = again.args(["--data", text(&world.data()), "--config", text(&settings), "serve", "--listen", &address]);
    let log = std::fs::File::options().append(true).open(&daemon.log).unwrap();
    let mut child = child.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    watch.ends("ClipseekDown");
    watch.fires("ClipseekStoreLostWindows", || ());
    daemon.job(r#"{"kind": "verify", "repair": true, "yes": true}"#);
    watch.ends("ClipseekStoreLostWindows");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// More than the machine can decode: every frame of many cameras in 4K, until somebody settles for key frames.
#[test]
fn too_many_cameras_drop_frames_until_less_is_asked_for() {
    if std::env::var_os("CLIPSEEK_ALERTS").is_none() {
        return;
    }
    let world = World::new();
    let clip = world.dir.path().join("4k.mp4");
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=3840x2160:rate=60", "-t", "4"];
    let coded = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "20M", "-g", "60", "-pix_fmt", "yuv420p"];
    match Command::new("ffmpeg").args(["-v", "error"]).args(picture).args(coded).arg(&clip).status() {
        Ok(ended) => assert!(ended.success()),
        Err(error) => return println!("NOT RUN: ffmpeg: {error}"),
    }
    let Some(camera) = Camera::begin(text(&clip), None) else { return };
    let cores = std::thread::available_parallelism().unwrap().get();
    let settings = world.dir.path().join("clipseek.toml");
    let write = |sampling: &str| {
        let table = |number| source(&format!("door-{number}"), &camera.uri()) + &format!("sampling = \"{sampling}\"\n");
        let sources: String = (0..4 * cores).map(table).collect();
        std::fs::write(&settings, format!("[live]\nstall_secs = 60.0\n{sources}")).unwrap();
    };
    write("all");
    let daemon = serve(&world, &["--config", text(&settings)]);
    let (address, rules) = (daemon.address(), shorter_rules(world.dir.path()));
    let Some(prometheus) = Prometheus::start(world.dir.path(), &address, &rules) else { return };
    let watch = Watch { prometheus: &prometheus, daemon: &daemon };
    watch.fires("ClipseekFramesDropped", || ());
    write("keyframes");
    daemon.signal("HUP");
    watch.ends("ClipseekFramesDropped");
}
