//! The daemon: the built program, started, fed, asked, killed and ended.

mod access;
mod alerts;
mod asking;
mod commands;
mod folders;
mod http;
mod life;
mod many;
mod moments;
mod prometheus;
mod streams;
mod systemd;
mod traces;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{World, footage, text};

/// The longest that anything here may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
/// In the log of a daemon, whenever a file was indexed.
const INDEXED: &str = "\"message\":\"indexed\"";

/// A daemon that is ended with the test.
struct Daemon<'a> {
    world: &'a World,
    child: Child,
    /// What it says.
    log: PathBuf,
}

/// Starts a daemon over these arguments, with short times, and waits until it has looked through everything.
fn serve<'a>(world: &'a World, arguments: &[&str]) -> Daemon<'a> {
    let daemon = begin(world, arguments);
    daemon.until("it is ready", || daemon.get("/readyz").is_some_and(|(status, _)| status == 200));
    daemon
}

/// The same without waiting.
fn begin<'a>(world: &'a World, arguments: &[&str]) -> Daemon<'a> {
    let log = world.dir.path().join("serve.log");
    let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
    let child = command(world, arguments).stdout(Stdio::null()).stderr(file).spawn().unwrap();
    Daemon { world, child, log }
}

/// With short times.
fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(&[&["serve", "-v", "--listen", "127.0.0.1:0"][..], arguments].concat());
    let short = [("SETTLE", "0.6"), ("CLOSED", "0.2"), ("POLL", "0.3")];
    command.envs(short.map(|(key, value)| (format!("CLIPSEEK__WATCH__{key}_SECS"), value)));
    command.env("CLIPSEEK__INDEX__CHECKPOINT_SECS", "0.05");
    command
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("the daemon said:\n{}", self.said());
        }
    }
}

impl Daemon<'_> {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.world.data().join("clipseek.sock")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Ends it as an administrator would; gives its exit code.
    fn end(mut self) -> Option<i32> {
        self.signal("TERM");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end: {}", self.said());
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Status and body of an answer on the socket; `None`: nobody answers.
    fn get(&self, target: &str) -> Option<(u16, String)> {
        self.ask("GET", target, "")
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        answer(&mut stream, method, target, "localhost", body)
    }

    fn json(&self, target: &str) -> Value {
        let (status, body) = self.get(target).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The row of a file in `media list`.
    fn listed(&self, path: &Path) -> Option<Value> {
        let listed = self.json("/v1/media");
        listed["media"].as_array().unwrap().iter().find(|row| row["path"] == text(path)).cloned()
    }

    fn until_indexed(&self, path: &Path) -> Value {
        let is_indexed = || self.listed(path).is_some_and(|row| row["state"] == "indexed");
        self.until(&format!("{} is indexed", path.display()), is_indexed);
        self.listed(path).unwrap()
    }

    /// Until nothing waits and nothing is under way.
    fn until_idle(&self) {
        let idle = || {
            let rows = self.json("/v1/sources");
            rows["sources"].as_array().unwrap().iter().all(|row| row["pending"] == 0)
        };
        self.until("nothing is pending", idle);
    }

    fn source(&self, name: &str) -> Value {
        let rows = self.json("/v1/sources");
        let row = rows["sources"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
        row.unwrap_or_else(|| panic!("{name} is not in {rows}"))
    }

    fn until_state(&self, name: &str, state: &str) {
        self.until(&format!("{name} is {state}"), || self.source(name)["state"] == state);
    }

    /// News from now on.
    fn events(&self) -> Events {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        Events { reader, rest: Vec::new() }
    }
}

struct Events {
    reader: BufReader<UnixStream>,
    rest: Vec<u8>,
}

impl Events {
    /// What has come by now.
    fn come(&mut self) -> Vec<Value> {
        let mut block = [0; 4096];
        while let Ok(length @ 1..) = self.reader.read(&mut block) {
            self.rest.extend_from_slice(&block[..length]);
        }
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }

    /// How often this happened to a file.
    fn count(&mut self, event: &str, path: &Path) -> usize {
        self.come().iter().filter(|news| news["event"] == event && news["path"] == text(path)).count()
    }
}

/// An answer as it came.
#[derive(Debug)]
struct Fetched {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Fetched {
    fn header(&self, name: &str) -> Option<String> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `head`: lines of the header, with their ends.
fn fetched<S: Read + Write>(stream: &mut S, method: &str, target: &str, head: &str, body: &[u8]) -> Fetched {
    let length = body.len();
    let request = format!("{method} {target} HTTP/1.1\r\n{head}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    // Whoever refuses a body does not read it to its end.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{method} {target}: no answer: {}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Fetched { status, head, body: answer[end + 4..].to_vec() }
}

fn answer<S: Read + Write>(
    stream: &mut S,
    method: &str,
    target: &str,
    host: &str,
    body: &str,
) -> Option<(u16, String)> {
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A world with an empty folder `videos`.
fn world() -> (World, PathBuf) {
    let world = World::new();
    let videos = world.dir.path().canonicalize().unwrap().join("videos");
    std::fs::create_dir(&videos).unwrap();
    (world, videos)
}

/// Ids of the windows of these clips, as an undisturbed `index` makes them.
fn expected(clips: &[&str]) -> Vec<String> {
    let world = World::new();
    let clips: Vec<PathBuf> = clips.iter().map(|clip| footage(clip)).collect();
    let arguments: Vec<&str> = ["index"].into_iter().chain(clips.iter().map(|clip| text(clip))).collect();
    world.ok(&arguments);
    world.windows()
}
