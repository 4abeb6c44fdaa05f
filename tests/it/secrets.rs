//! Keys, tokens and passwords stay where they belong.

use std::process::Stdio;

use super::support::{World, footage, text};

const SECRET: &str = "sesame-0417";

/// Everything a command prints.
fn said(mut command: std::process::Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn no_command_shows_the_key_or_the_password_of_the_store() {
    let world = World::new();
    world.ok(&["index", text(&footage("h264.mp4"))]);
    for url in [
        format!("http://me:{SECRET}@127.0.0.1:9"),
        format!("http://127.0.0.1:9/?token={SECRET}"),
        format!("me:{SECRET}@x y"),
    ] {
        for arguments in [
            &["config", "show"][..],
            &["config", "show", "--json"],
            &["config", "check"],
            &["doctor"],
            &["verify"],
            &["search", "a circle"],
            &["index", text(&footage("vp9.webm")), "-vv"],
        ] {
            let mut command = world.command(arguments);
            command.env("CLIPSEEK__STORE__KIND", "qdrant").env("CLIPSEEK__STORE__API_KEY", format!("key-{SECRET}"));
            command.env("CLIPSEEK__STORE__URL", &url);
            let said = said(command);
            assert!(!said.contains(SECRET), "{arguments:?}: {said}");
        }
    }
    let mut show = world.command(&["config", "show"]);
    show.env("CLIPSEEK__STORE__URL", format!("http://me:{SECRET}@127.0.0.1:9")).env("CLIPSEEK__STORE__API_KEY", "007");
    let said = said(show);
    assert!(said.contains("url = \"http://***@127.0.0.1:9\"") && said.contains("api_key = \"(hidden)\""), "{said}");
}

#[test]
fn a_stream_is_refused_without_showing_its_password() {
    let world = World::new();
    for (uri, shown) in [
        (format!("rtsp://admin:{SECRET}@cam.local/1"), "rtsp://***@cam.local/1"),
        (format!("http://cam.local/x?token={SECRET}"), "http://cam.local/x?token=***"),
        (
            format!("srt://cam.local:9000?mode=caller&passphrase={SECRET}"),
            "srt://cam.local:9000?mode=***&passphrase=***",
        ),
        (format!("file://me:{SECRET}@cam.local/a.mp4"), "file://***@cam.local/a.mp4"),
    ] {
        let ran = world.run(&["index", &uri]);
        assert!(ran.code == 2 && ran.err.contains(&format!("error: {shown}: ")), "{}", ran.err);
        assert!(!ran.err.contains(SECRET) && !ran.out.contains(SECRET), "{}", ran.err);
    }
}

/// The environment of one decoding process of `parent`, if one is running its program now.
fn environment_of_a_child(parent: u32) -> Option<Vec<String>> {
    let children = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything: state, parent, …
        let parent_of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        parent_of == Some(parent.to_string().as_str())
    });
    children
        .filter_map(|entry| {
            // First the arguments: until it runs its own program a child has its parent's environment.
            let arguments = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let environment = String::from_utf8_lossy(&environment).into_owned();
            let runs = arguments.split('\0').any(|argument| argument == "decode-child") && !environment.is_empty();
            runs.then(|| environment.split_terminator('\0').map(str::to_owned).collect())
        })
        .next()
}

#[test]
fn decoding_processes_inherit_no_secret() {
    let world = World::new();
    let mut index = world.command(&["index", text(footage("h264.mp4").parent().unwrap())]);
    index.stdout(Stdio::null()).stderr(Stdio::null());
    for name in ["CLIPSEEK__STORE__API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "ANYTHING"]
    {
        index.env(name, SECRET);
    }
    let mut index = index.env("GST_DEBUG_NO_COLOR", "1").spawn().unwrap();
    let mut found = None;
    while found.is_none() && index.try_wait().unwrap().is_none() {
        found = environment_of_a_child(index.id());
    }
    assert!(index.wait().unwrap().success());
    let found = found.expect("no decoding process was seen");
    assert!(found.iter().any(|variable| variable == "GST_DEBUG_NO_COLOR=1"), "{found:?}");
    assert!(found.iter().any(|variable| variable.starts_with("PATH=")), "{found:?}");
    assert!(found.iter().all(|variable| !variable.contains(SECRET)), "{found:?}");
}
