//! What happens in a watched folder reaches the index.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn a_file_dropped_into_a_watched_folder_can_be_searched() {
    let (world, videos) = world();
    let daemon = serve(&world, &[text(&videos)]);
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    daemon.until("the file is found", || world.run(&["search", "an orange heart", "--json"]).code == 0);
    let found = world.json(&["search", "an orange heart", "--json"]);
    assert_eq!(found["moments"][0]["path"], text(&videos.join("a.mp4")));
    daemon.until_indexed(&videos.join("a.mp4"));
    assert_eq!(daemon.end(), Some(0));
    assert!(!world.data().join("clipseek.sock").exists());
    world.ok(&["verify"]);
    assert_eq!(world.windows(), expected(&["h264.mp4"]));
}

#[test]
fn a_file_that_is_written_in_pieces_is_taken_once_when_it_is_complete() {
    let (world, videos) = world();
    let bytes = std::fs::read(footage("h264.mp4")).unwrap();
    for poll in ["auto", "always"] {
        let path = videos.join(format!("{poll}.mp4"));
        // Another content each time, so that it is not known.
        let bytes = [&bytes[..], poll.as_bytes()].concat();
        let config = world.dir.path().join("clipseek.toml");
        std::fs::write(&config, format!("[watch]\npoll = \"{poll}\"\n")).unwrap();
        let daemon = serve(&world, &[text(&videos), "--config", text(&config)]);
        let mut events = daemon.events();
        for piece in bytes.chunks(bytes.len() / 8 + 1) {
            // Opened and closed anew for each piece, which makes it look complete for a moment.
            let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
            file.write_all(piece).unwrap();
            drop(file);
            std::thread::sleep(Duration::from_millis(120));
        }
        let row = daemon.until_indexed(&path);
        assert_eq!((row["tries"].as_u64(), &row["problems"]), (Some(0), &serde_json::json!([])), "{poll}: {row}");
        assert_eq!((events.count("begun", &path), events.count("failed", &path)), (1, 0), "{poll}");
        assert_eq!(daemon.end(), Some(0));
    }
}

#[test]
fn moved_replaced_and_deleted_files_are_treated_as_by_index() {
    let (world, videos) = world();
    let (a, b) = (videos.join("a.mp4"), videos.join("sub/b.mp4"));
    std::fs::copy(footage("h264.mp4"), &a).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_indexed(&a);
    let first = world.windows();
    let mut events = daemon.events();

    // Moved into a new folder, and the folder moved: the records stay, nothing is decoded.
    std::fs::create_dir(videos.join("sub")).unwrap();
    std::fs::rename(&a, &b).unwrap();
    daemon.until_indexed(&b);
    assert!(daemon.listed(&a).is_none(), "the old path is forgotten");
    std::fs::rename(videos.join("sub"), videos.join("folder")).unwrap();
    let b = videos.join("folder/b.mp4");
    daemon.until_indexed(&b);
    assert_eq!(events.come().iter().filter(|news| news["event"] == "begun").count(), 0);
    assert_eq!(world.windows(), first);

    // Replaced by another content.
    std::fs::copy(footage("vp9.webm"), &b).unwrap();
    let second = expected(&["vp9.webm"]);
    daemon.until("the new content is shown", || world.windows() == second);

    // Deleted: still searchable, until it is removed.
    std::fs::remove_file(&b).unwrap();
    daemon.until("it is missing", || daemon.listed(&b).is_some_and(|row| row["state"] == "missing"));
    assert_eq!(world.run(&["search", "a circle"]).code, 0);
    assert_eq!(world.json(&["media", "remove", "--missing", "--json"])["removed"], 1);
    assert!(world.windows().is_empty());
    world.ok(&["verify"]);
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}

#[test]
fn a_file_that_vanishes_before_it_is_indexed_leaves_nothing() {
    let (world, videos) = world();
    let daemon = serve(&world, &[text(&videos)]);
    std::fs::write(videos.join("short.mp4"), b"gone before anybody looks").unwrap();
    std::fs::remove_file(videos.join("short.mp4")).unwrap();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    daemon.until_indexed(&videos.join("a.mp4"));
    daemon.until_idle();
    assert_eq!(daemon.listed(&videos.join("short.mp4")), None);
}

#[test]
fn a_root_that_is_away_loses_nothing_and_goes_on_when_it_is_back() {
    let (world, videos) = world();
    let elsewhere = world.dir.path().join("elsewhere");
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_indexed(&videos.join("a.mp4"));
    let before = world.windows();
    // Like a drive that is taken off: gone, or an empty mount point.
    std::fs::rename(&videos, &elsewhere).unwrap();
    daemon.until_state("videos", "away");
    assert_eq!(daemon.source("videos")["error"], "no such folder");
    std::fs::create_dir(&videos).unwrap();
    daemon.until("it is seen to be empty", || {
        daemon.source("videos")["error"].as_str().is_some_and(|error| error.contains("not mounted"))
    });
    assert_eq!(world.windows(), before);
    assert_eq!(world.ok(&["search", "an orange heart", "--json"]).code, 0);
    // Something came while it was away.
    std::fs::copy(footage("vp9.webm"), elsewhere.join("b.webm")).unwrap();
    std::fs::remove_dir(&videos).unwrap();
    std::fs::rename(&elsewhere, &videos).unwrap();
    daemon.until_state("videos", "watching");
    daemon.until_indexed(&videos.join("b.webm"));
    assert_eq!(daemon.listed(&videos.join("a.mp4")).unwrap()["state"], "indexed");
    // Changes are noticed as before.
    std::fs::copy(footage("vp8.webm"), videos.join("c.webm")).unwrap();
    daemon.until_indexed(&videos.join("c.webm"));
    assert_eq!(daemon.end(), Some(0));
    // Away at the start.
    std::fs::rename(&videos, &elsewhere).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_state("videos", "away");
    std::fs::rename(&elsewhere, &videos).unwrap();
    daemon.until_state("videos", "watching");
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}

#[test]
fn sources_have_labels_patterns_and_their_own_part_of_the_tree() {
    let (world, videos) = world();
    std::fs::create_dir_all(videos.join("inner")).unwrap();
    std::fs::create_dir_all(videos.join("trash")).unwrap();
    for (from, to) in [("h264.mp4", "a.mp4"), ("vp9.webm", "inner/b.webm"), ("vp8.webm", "trash/c.webm")] {
        std::fs::copy(footage(from), videos.join(to)).unwrap();
    }
    let config = world.dir.path().join("clipseek.toml");
    let (outer, inner) = (text(&videos).to_owned(), format!("{}/inner", text(&videos)));
    let sources = format!(
        "[[source]]\nname = \"outer\"\npath = \"{outer}\"\nlabel = \"house\"\nexclude = [\"trash/**\"]\n\
         [[source]]\nname = \"inner\"\npath = \"{inner}\"\nlabel = \"garage\"\ntags = [\"x\"]\n"
    );
    std::fs::write(&config, sources).unwrap();
    let daemon = serve(&world, &["--config", text(&config)]);
    daemon.until_indexed(&videos.join("a.mp4"));
    daemon.until_indexed(&videos.join("inner/b.webm"));
    daemon.until_idle();
    assert_eq!(daemon.listed(&videos.join("trash/c.webm")), None);
    let labels: std::collections::BTreeSet<(String, String)> = world
        .exported()
        .into_iter()
        .map(|window| (window["path"].as_str().unwrap().to_owned(), window["label"].as_str().unwrap().to_owned()))
        .collect();
    let all = [("a.mp4", "house"), ("inner/b.webm", "garage")];
    assert_eq!(labels, all.map(|(name, label)| (text(&videos.join(name)).to_owned(), label.to_owned())).into());
    assert_eq!(daemon.end(), Some(0));
    // A label that changed while nobody watched.
    let changed = std::fs::read_to_string(&config).unwrap().replace("house", "garden");
    std::fs::write(&config, changed).unwrap();
    let daemon = serve(&world, &["--config", text(&config)]);
    daemon.until("the records have it", || world.exported().iter().any(|window| window["label"] == "garden"));
    assert!(!daemon.said().contains("ERROR"), "{}", daemon.said());
}

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn the_backlog_comes_newest_or_oldest_first() {
    for (order, expected) in [("newest_first", ["c", "b", "a"]), ("oldest_first", ["a", "b", "c"])] {
        let (world, videos) = world();
        for (number, (name, clip)) in (1..).zip([("b", "h264.mp4"), ("a", "vp8.webm"), ("c", "vp9.webm")]) {
            let path = videos.join(format!("{name}.mp4"));
            std::fs::copy(footage(clip), &path).unwrap();
            set_time(&path, [2, 1, 3][number - 1]);
        }
        let config = world.dir.path().join("clipseek.toml");
        std::fs::write(&config, format!("[watch]\nbacklog = \"{order}\"\n[index]\njobs = 1\n")).unwrap();
        let daemon = serve(&world, &[text(&videos), "--config", text(&config)]);
        daemon.until("all are indexed", || daemon.said().matches(INDEXED).count() == 3);
        let names: Vec<String> = daemon
            .said()
            .lines()
            .filter(|line| line.contains(INDEXED))
            .map(|line| line.split(".mp4").next().unwrap().chars().last().unwrap().to_string())
            .collect();
        assert_eq!(names, expected, "{order}");
    }
}

#[test]
fn a_bad_file_is_noted_once_and_tried_again_when_it_changes() {
    let (world, videos) = world();
    let path = videos.join("a.mp4");
    std::fs::write(&path, "no video at all").unwrap();
    set_time(&path, 0);
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until("it failed", || daemon.listed(&path).is_some_and(|row| row["state"] == "failed"));
    assert_eq!(daemon.end(), Some(0));
    // As it did not change, another start does not read it again.
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_idle();
    assert_eq!(daemon.listed(&path).unwrap()["tries"], 1);
    assert_eq!(
        (daemon.source("videos")["failed"].as_u64(), daemon.source("videos")["files"].as_u64()),
        (Some(1), Some(1))
    );
    std::fs::copy(footage("h264.mp4"), &path).unwrap();
    daemon.until_indexed(&path);
}
