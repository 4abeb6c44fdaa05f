//! What the commands print, word for word.

use super::support::{World, footage, text};

#[test]
fn help() {
    let world = World::new();
    insta::assert_snapshot!(world.ok(&["--help"]).out);
}

#[test]
fn help_of_commands() {
    let world = World::new();
    insta::assert_snapshot!("index", world.ok(&["index", "-h"]).out);
    insta::assert_snapshot!("search", world.ok(&["search", "-h"]).out);
    insta::assert_snapshot!("serve", world.ok(&["serve", "-h"]).out);
    insta::assert_snapshot!("eval", world.ok(&["eval", "-h"]).out);
}

#[test]
fn an_empty_data_folder() {
    let world = World::new();
    let said = |arguments: &[&str]| {
        let ran = world.run(arguments);
        format!(
            "$ clipseek {}\n{}{}exit {}\n",
            arguments.join(" "),
            ran.out,
            ran.err.replace(text(world.dir.path()), "…"),
            ran.code
        )
    };
    let all = [
        said(&["media"]),
        said(&["media", "list", "--failed"]),
        said(&["media", "retry"]),
        said(&["search", "a dog"]),
        said(&["media", "show", "a.mp4"]),
        said(&["media", "remove", "--missing"]),
        said(&["config", "check"]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_run_with_good_and_bad_files() {
    let world = World::new();
    let dir = world.dir.path().join("videos");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(footage("h264.mp4"), dir.join("good.mp4")).unwrap();
    std::fs::write(dir.join("notes.txt"), "not media").unwrap();
    std::fs::write(dir.join("letter.mp4"), "dear aunt, ".repeat(1000)).unwrap();
    let first = world.run(&["index", "videos", "--label", "garage"]);
    assert_eq!(first.code, 2);
    assert!(first.out.starts_with("indexed 1 file: "), "{}", first.out);
    let again = world.run(&["index", "videos"]);
    let media = world.ok(&["media"]);
    insta::assert_snapshot!(format!("{}\n{}", again.out, media.out));
}

#[test]
fn json_has_the_promised_fields() {
    let world = World::new();
    world.ok(&["index", text(&footage("h264.mp4")), "--label", "garage", "--tag", "a"]);
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    let found = world.json(&["search", "a circle", "--json", "--limit", "1"]);
    assert_eq!(keys(&found), "moments");
    assert_eq!(
        keys(&found["moments"][0]),
        "caption confidence end_s id label media_id path peak_s score source start_s time uri"
    );
    assert_eq!(found["moments"][0]["label"], "garage");
    assert!(found["moments"][0]["confidence"].is_null());
    let listed = world.json(&["media", "list", "--json"]);
    assert_eq!(keys(&listed["media"][0]), "collection kind media_id path plan problems reason state tries windows");
    let verified = world.json(&["verify", "--json"]);
    assert_eq!(keys(&verified), "differences missing unknown");
    assert_eq!(keys(&world.exported()[0]), "caption end_s id label media_id path start_s tags");
    let with_vectors = world.ok(&["media", "export", "--vectors"]);
    let line: serde_json::Value = serde_json::from_str(with_vectors.out.lines().next().unwrap()).unwrap();
    let models = world.json(&["model", "list", "--json"]);
    let shapes = models["models"].as_array().unwrap().iter().find(|model| model["name"] == "shapes").unwrap().clone();
    assert_eq!(keys(&shapes), "dim frames licence name source");
    assert_eq!(line["vector"].as_array().unwrap().len() as u64, shapes["dim"].as_u64().unwrap());
}

#[test]
fn the_shipped_model_says_so_once_when_it_meets_other_footage() {
    let Some(media) = super::support::shared("media/clips") else { return };
    let world = World::new();
    let ran = world.ok(&["index", text(&media.join("dog_in_snow.mp4")), text(&media.join("yoga_terrace.mp4"))]);
    assert_eq!(ran.err.matches("knows only").count(), 1, "{}", ran.err);
    assert!(ran.err.contains("clipseek model import"), "{}", ran.err);
    let ran = world.ok(&["index", text(&footage("tape.mp4"))]);
    assert!(!ran.err.contains("knows only"), "{}", ran.err);
}

#[test]
fn doctor_finds_everything_in_place() {
    let world = World::new();
    let report = world.json(&["doctor", "--json"]);
    assert_eq!(report["ok"], true, "{report}");
}

#[test]
fn a_check_and_a_repair() {
    let world = World::new();
    std::fs::create_dir(world.dir.path().join("videos")).unwrap();
    std::fs::copy(footage("h264.mp4"), world.dir.path().join("videos/a.mp4")).unwrap();
    std::fs::copy(footage("vp9.webm"), world.dir.path().join("videos/b.webm")).unwrap();
    world.ok(&["index", "videos"]);
    let mut said = String::new();
    let mut say = |arguments: &[&str]| {
        let ran = world.run(arguments);
        said += &format!("$ clipseek {}\n{}{}exit {}\n\n", arguments.join(" "), ran.out, ran.err, ran.code);
    };
    say(&["verify"]);
    let packs = walkdir::WalkDir::new(world.data().join("thumbs")).into_iter().map(Result::unwrap);
    for pack in packs.filter(|entry| entry.file_type().is_file()) {
        std::fs::remove_file(pack.path()).unwrap();
    }
    std::fs::remove_file(world.dir.path().join("videos/b.webm")).unwrap();
    say(&["verify"]);
    say(&["verify", "--repair"]);
    world.ok(&["index", "videos"]);
    say(&["verify"]);
    insta::assert_snapshot!(said);
}

#[test]
fn manual_pages_and_completions_know_every_command() {
    let world = World::new();
    let into = world.dir.path().join("generated");
    world.ok(&["generate", text(&into)]);
    let help = world.ok(&["--help"]).out;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"search") && commands.len() > 10, "{commands:?}");
    let read = |path: &str| std::fs::read_to_string(into.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (bash, zsh, fish) =
        (read("completions/clipseek.bash"), read("completions/_clipseek"), read("completions/clipseek.fish"));
    for command in commands.into_iter().filter(|command| *command != "help") {
        assert!(read(&format!("man/clipseek-{command}.1")).contains(".TH"), "{command}");
        for completions in [&bash, &zsh, &fish] {
            assert!(completions.contains(command), "{command}");
        }
    }
}
