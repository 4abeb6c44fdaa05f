//! How long it takes until what a camera shows can be searched: after it comes back, and while it goes on. Once in the usual
//! tests; `CLIPSEEK_STREAM_RETURNS` says how often (`make soak`).

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

/// Length of the shipped model's windows, and the largest backoff of the default settings, in seconds.
const WINDOW: f64 = 2.0;
const BACKOFF: f64 = 30.0;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn rounds() -> usize {
    std::env::var("CLIPSEEK_STREAM_RETURNS").ok().and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// When the windows begin that are in the index (Unix seconds). Chunks of the answer are whole lines.
fn starts(daemon: &Daemon, name: &str) -> Vec<f64> {
    let answer = daemon.get("/v1/media/export").map(|(_, body)| body).unwrap_or_default();
    let rows = answer.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let start = |row: Value| {
        let (source, rest) = row["path"].as_str()?.split_once('/')?;
        let hour = rest.split('/').next()?.trim_end_matches('Z');
        let hour = chrono::DateTime::parse_from_rfc3339(&format!("{hour}:00:00Z")).ok()?.timestamp() as f64;
        (source == name).then_some(hour + row["start_s"].as_f64()?)
    };
    rows.filter_map(start).collect()
}

fn say(what: &str, seconds: &mut [f64], bound: f64) {
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize];
    println!("{what}: {} times, median {:.1} s, p95 {:.1} s, bound {bound:.1} s", seconds.len(), at(0.5), at(0.95));
    assert!(at(0.95) <= bound, "{what}: {seconds:?}");
}

/// A server that can be killed and brought back.
trait Server {
    fn kill(&mut self);
    fn back(&mut self);
}

impl Server for Camera {
    fn kill(&mut self) {
        Camera::kill(self);
    }

    fn back(&mut self) {
        Camera::back(self, "h264.mp4");
    }
}

/// A sender that listens, one connection after the other, as encoders do: ffmpeg ends with its first.
struct Srt(Option<Child>, u16);

impl Server for Srt {
    fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let killed = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
            assert!(killed.unwrap().success());
            child.wait().unwrap();
        }
    }

    fn back(&mut self) {
        let clip = footage("h264.mp4");
        let send = "while sleep 0.1; do ffmpeg -nostdin -re -stream_loop -1 -i \"$0\" -c copy -f mpegts \"$1\"; done";
        let to = format!("srt://127.0.0.1:{}?mode=listener", self.1);
        let mut sender = Command::new("sh");
        sender.args(["-c", send, text(&clip), &to]).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.0 = sender.spawn().ok();
    }
}

impl Drop for Srt {
    fn drop(&mut self) {
        self.kill();
    }
}

/// With default settings.
fn daemon<'a>(world: &'a World, uri: &str) -> Daemon<'a> {
    let config = world.dir.path().join("clipseek.toml");
    std::fs::write(&config, source("door", uri)).unwrap();
    serve(world, &["--config", text(&config)])
}

fn returns(what: &str, daemon: &Daemon, server: &mut dyn Server) {
    daemon.until_state("door", "live");
    let mut times = Vec::new();
    for round in 0..rounds() {
        daemon.until("there are windows", || !starts(daemon, "door").is_empty());
        server.kill();
        // Away for different lengths, so that it comes back anywhere between two calls.
        std::thread::sleep(Duration::from_millis(1000 + 3700 * (round as u64 % 7)));
        server.back();
        let back = now();
        daemon.until("a window after the return", || {
            starts(daemon, "door").iter().any(|start| *start >= back - WINDOW + 0.5)
        });
        times.push(now() - back);
    }
    say(&format!("{what}: return to first searchable window"), &mut times, BACKOFF + WINDOW + 2.0);
}

#[test]
fn a_camera_that_comes_back_can_soon_be_searched() {
    let Some(mut camera) = Camera::begin("h264.mp4", None) else { return };
    let world = World::new();
    let daemon = daemon(&world, &camera.uri());
    returns("RTSP", &daemon, &mut camera);
}

#[test]
fn an_srt_sender_that_comes_back_can_soon_be_searched() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut srt = Srt(None, port);
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        println!("NOT RUN: SRT (no ffmpeg)");
        return;
    }
    srt.back();
    let world = World::new();
    let daemon = daemon(&world, &format!("srt://127.0.0.1:{port}"));
    returns("SRT", &daemon, &mut srt);
}

#[test]
fn a_window_can_be_searched_soon_after_it_is_full() {
    let Some(camera) = Camera::begin("h264.mp4", None) else { return };
    let world = World::new();
    let daemon = daemon(&world, &camera.uri());
    daemon.until("there are windows", || starts(&daemon, "door").len() > 3);
    let (mut known, mut late) = (starts(&daemon, "door"), Vec::new());
    while late.len() < 10 * rounds() {
        let all = starts(&daemon, "door");
        let at = now();
        late.extend(all.iter().filter(|start| !known.contains(start)).map(|start| at - start - WINDOW));
        known = all;
        std::thread::sleep(Duration::from_millis(100));
    }
    say("from a frame's arrival to its window being searchable, beyond the window's length", &mut late, 2.0);
}

#[test]
fn a_frozen_camera_is_called_stalled_in_time() {
    let Some(camera) = Camera::begin("h264.mp4", None) else { return };
    let world = World::new();
    let daemon = daemon(&world, &camera.uri());
    let mut times = Vec::new();
    for _ in 0..rounds() {
        daemon.until_state("door", "live");
        camera.signal("STOP");
        let frozen = now();
        daemon.until_state("door", "stalled");
        times.push(now() - frozen);
        camera.signal("CONT");
    }
    // Ten seconds by default.
    say("a frozen server is called stalled", &mut times, 10.0);
}
