//! The HTTP API, on the socket and on its address.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;

#[test]
fn it_answers_what_the_commands_print() {
    let (world, videos) = world();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_indexed(&videos.join("a.mp4"));
    daemon.until_idle();
    let printed = world.json(&["search", "an orange heart", "--json", "--limit", "2", "--not", "a circle"]);
    let asked = daemon.json("/v1/search?text=an+orange+heart&limit=2&not=a%20circle");
    assert_eq!(asked["moments"], printed["moments"]);
    let body = json!({"text": "an orange heart", "limit": 2, "not": ["a circle"]}).to_string();
    let (status, answer) = daemon.ask("POST", "/v1/search", &body).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["moments"]), (200, &printed["moments"]));
    assert_eq!(daemon.json("/v1/search?text=x&label=nobody"), json!({"moments": []}));
    assert_eq!(daemon.json("/v1/media")["media"], world.json(&["media", "--json"])["media"]);
    let timeless = |mut rows: Value| {
        rows["sources"][0]["last_frame_age_s"].take();
        rows
    };
    assert_eq!(timeless(daemon.json("/v1/sources")), timeless(world.json(&["sources", "--json"])));
    let row = daemon.source("videos");
    let mut keys: Vec<&String> = row.as_object().unwrap().keys().collect();
    keys.sort();
    let promised = ["dropped", "error", "frames", "kind", "last_frame_age_s", "name", "since", "state"];
    assert!(promised.iter().all(|key| keys.iter().any(|found| found == key)), "{keys:?}");
    assert_eq!((&row["kind"], &row["state"], &row["error"]), (&json!("folder"), &json!("watching"), &Value::Null));
    assert!(row["frames"].as_u64() > Some(0) && row["last_frame_age_s"].as_f64() >= Some(0.0), "{row}");
    assert!(world.ok(&["sources"]).out.contains("watching"));
}

#[test]
fn errors_are_problems_in_json() {
    let (world, _) = world();
    let daemon = serve(&world, &[]);
    for (method, target, body, status, detail) in [
        ("GET", "/v1/nothing", "", 404, "nothing at this address"),
        ("DELETE", "/v1/search", "", 405, "does not take this method"),
        ("GET", "/v1/search", "", 400, "nothing to look for"),
        ("GET", "/v1/search?txt=a", "", 400, "unknown field `txt`"),
        ("POST", "/v1/search", "{\"limit\": 0, \"text\": \"a\"}", 400, "between 1 and 1000"),
        ("POST", "/v1/search", "{", 400, ""),
        ("GET", "/v1/media/x", "", 404, "x: not indexed"),
        ("GET", "/v1/media?limit=0", "", 400, "limit"),
        ("POST", "/v1/media/remove", "{\"all\": true}", 422, "unknown field `all`"),
        ("POST", "/v1/jobs", "{\"kind\": \"dance\"}", 422, "dance"),
        ("POST", "/v1/jobs", "{\"kind\": \"index\", \"paths\": [\"a\"]}", 422, "not an absolute path"),
        ("GET", "/v1/jobs/7", "", 404, "7: no such job"),
        ("GET", "/v1/jobs/x", "", 400, ""),
    ] {
        let (found, answer) = daemon.ask(method, target, body).unwrap();
        assert_eq!(found, status, "{method} {target}: {answer}");
        let problem: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{method} {target}: {answer}"));
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{method} {target}: {problem}");
    }
    assert_eq!(daemon.get("/livez").unwrap().0, 200);
}

#[test]
fn the_address_answers_this_machine_only() {
    let (world, _) = world();
    let daemon = serve(&world, &[]);
    let said = daemon.said();
    let address = said.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let ask = |host: &str| answer(&mut TcpStream::connect(&address).unwrap(), "GET", "/livez", host, "").unwrap().0;
    assert_eq!((ask(&address), ask("localhost"), ask("evil.example")), (200, 200, 403));
    let other = World::new();
    let ran = other.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(ran.code == 2 && ran.err.contains("this machine only"), "{ran:?}");
    // Flags stand above the environment, also where that alone would be refused.
    let mut command = other.command(&["serve", "--listen", &address]);
    let output = command.env("CLIPSEEK__SERVE__LISTEN", "0.0.0.0:7700").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("choose another address"), "{output:?}");
    let ran = other.run(&["serve", "--listen", &address]);
    assert!(ran.code == 2 && ran.err.contains("choose another address"), "{ran:?}");
}

#[test]
fn the_socket_is_its_owners_alone_and_one_that_was_left_is_replaced() {
    let (world, _) = world();
    let daemon = serve(&world, &[]);
    let mode = || std::fs::metadata(world.data().join("clipseek.sock")).unwrap().permissions().mode();
    assert_eq!(mode() & 0o777, 0o600);
    daemon.signal("KILL");
    daemon.until("it is dead", || daemon.get("/livez").is_none());
    assert!(world.data().join("clipseek.sock").exists());
    drop(daemon);
    // Without a daemon behind it the commands do their work themselves.
    world.ok(&["index", text(&footage("h264.mp4"))]);
    world.ok(&["media"]);
    let daemon = serve(&world, &[]);
    assert_eq!(mode() & 0o777, 0o600);
    assert_eq!(daemon.get("/livez").unwrap().0, 200);
    let second = world.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(second.code == 2 && second.err.contains("a daemon is already running for"), "{second:?}");
    assert_eq!(daemon.get("/livez").unwrap().0, 200, "the first is not disturbed");
}

#[test]
fn where_the_path_is_too_long_the_socket_is_elsewhere() {
    let world = World::new();
    let data = world.dir.path().join("x".repeat(100));
    let run = world.dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::EXE);
        command.arg("--data").arg(&data).args(arguments).env("XDG_RUNTIME_DIR", &run).stdin(Stdio::null());
        command
    };
    let mut child = command(&["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let code = loop {
        let output = command(&["sources"]).output().unwrap();
        if output.status.code() != Some(2) || begun.elapsed() > PATIENCE {
            break output.status.code();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let sockets = std::fs::read_dir(&run).unwrap().count();
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!((code, sockets), (Some(1), 1), "it watches nothing");
    let mut without = command(&["serve", "--listen", "127.0.0.1:0"]);
    let output = without.env_remove("XDG_RUNTIME_DIR").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("too long for a socket"), "{said}");
}
