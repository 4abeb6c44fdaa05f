//! Streams of every kind that a sender is at hand for: SRT and MPEG-TS over UDP and RTMP (through nginx) from ffmpeg, HLS from
//! an HTTP server.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::*;

/// Programs that are ended with the test.
struct Senders(Vec<Child>);

impl Drop for Senders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Senders {
    /// False: this machine has no such program.
    fn begin(&mut self, program: &str, arguments: &[&str]) -> bool {
        let quiet = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        quiet.map(|child| self.0.push(child)).is_ok()
    }

    fn send(&mut self, format: &[&str]) -> bool {
        let clip = footage("h264.mp4");
        let input = ["-nostdin", "-re", "-stream_loop", "-1", "-i", text(&clip), "-c", "copy"];
        self.begin("ffmpeg", &[&input[..], format].concat())
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_kind_of_stream_can_be_searched() {
    let world = World::new();
    let (mut senders, mut sources) = (Senders(Vec::new()), Vec::new());
    let (srt, udp, http, rtmp) = (free_port(), free_port(), free_port(), free_port());
    if senders.send(&["-f", "mpegts", &format!("srt://127.0.0.1:{srt}?mode=listener")]) {
        sources.push(("srt", format!("srt://127.0.0.1:{srt}")));
        senders.send(&["-f", "mpegts", &format!("udp://127.0.0.1:{udp}?pkt_size=1316")]);
        sources.push(("udp", format!("udp://127.0.0.1:{udp}")));
        let folder = world.dir.path().join("hls");
        std::fs::create_dir(&folder).unwrap();
        let list = folder.join("live.m3u8");
        senders.send(&["-f", "hls", "-hls_time", "1", "-hls_flags", "delete_segments", text(&list)]);
        if senders.begin(
            "python3",
            &["-m", "http.server", &http.to_string(), "--bind", "127.0.0.1", "--directory", text(&folder)],
        ) {
            sources.push(("hls", format!("http://127.0.0.1:{http}/live.m3u8")));
        }
    } else {
        println!("NOT RUN: SRT, UDP, HLS, RTMP (no ffmpeg)");
    }
    let module = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
    if !sources.is_empty() && Path::new(module).exists() {
        let at = text(world.dir.path());
        let settings = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/nginx.log; load_module {module}; events {{}}\n\
             rtmp {{ server {{ listen 127.0.0.1:{rtmp}; application live {{ live on; }} }} }}\n"
        );
        let file = world.dir.path().join("nginx.conf");
        std::fs::write(&file, settings).unwrap();
        senders.begin("nginx", &["-e", &format!("{at}/nginx.log"), "-c", text(&file)]);
        let is_up = || std::net::TcpStream::connect(("127.0.0.1", rtmp)).is_ok();
        for _ in 0..100 {
            if is_up() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        senders.send(&["-f", "flv", &format!("rtmp://127.0.0.1:{rtmp}/live/key")]);
        sources.push(("rtmp", format!("rtmp://127.0.0.1:{rtmp}/live/key")));
    } else {
        println!("NOT RUN: RTMP (no nginx with its RTMP module)");
    }
    // The same camera, with its video in UDP packets.
    let camera = Camera::begin("h264.mp4", None);
    sources.extend(camera.as_ref().map(|camera| ("rtsp-udp", camera.uri().replace("rtsp://", "rtspu://"))));
    println!("NOT RUN: a webcam (no device); its template is parsed by a test of its own");
    let tables: String = sources.iter().map(|(name, uri)| source(name, uri)).collect();
    let daemon = watching(&world, &tables);
    for (name, _) in &sources {
        daemon.until_state(name, "live");
        daemon.until_windows(name, 2);
    }
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}

/// What one shows cannot be tried where there is none; that there is none is said.
#[test]
fn a_webcam_that_is_not_there_is_said_and_called_again() {
    let world = World::new();
    let daemon = watching(&world, &source("desk", "v4l2:///dev/video-of-nobody"));
    daemon.until_state("desk", "backing_off");
    let row = daemon.source("desk");
    assert!(row["error"].as_str().is_some_and(|error| error.contains("/dev/video-of-nobody")), "{row}");
}
