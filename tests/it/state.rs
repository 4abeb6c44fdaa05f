//! What outlives a process, through the built program: runs with nothing to do, removing, checking and mending.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::support::{World, footage, text};

/// A world of three clips under the folder `videos`.
fn indexed() -> (World, PathBuf) {
    let world = World::new();
    let videos = world.dir.path().join("videos");
    std::fs::create_dir(&videos).unwrap();
    for name in ["h264.mp4", "vp8.webm", "vp9.webm"] {
        std::fs::copy(footage(name), videos.join(name)).unwrap();
    }
    world.ok(&["index", text(&videos), "--label", "garage"]);
    (world, videos)
}

fn sql(world: &World, text: &str) {
    rusqlite::Connection::open(world.data().join("ledger.sqlite")).unwrap().execute_batch(text).unwrap();
}

fn kinds(verified: &Value) -> Vec<String> {
    let differences = verified["differences"].as_array().unwrap();
    let mut kinds: Vec<String> = differences.iter().map(|d| d["kind"].as_str().unwrap().to_owned()).collect();
    kinds.dedup();
    kinds
}

/// Everything below a folder with its times, so that whatever is written shows.
fn times(dir: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(Result::unwrap);
    entries.map(|entry| (entry.path().to_path_buf(), entry.metadata().unwrap().modified().unwrap())).collect()
}

#[test]
fn a_run_with_nothing_to_do_opens_neither_store_nor_model() {
    let world = World::new();
    let videos = world.dir.path().join("videos");
    let model = world.dir.path().join("model");
    std::fs::create_dir(&videos).unwrap();
    std::fs::create_dir(&model).unwrap();
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes");
    for entry in std::fs::read_dir(&shapes).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    std::fs::copy(footage("vp9.webm"), videos.join("b.webm")).unwrap();
    world.ok(&["index", text(&videos), "--model", text(&model), "--label", "garage"]);

    // Of the model only the manifest is left, of the store nothing.
    for entry in std::fs::read_dir(&model).unwrap().map(Result::unwrap) {
        if entry.file_name() != "bundle.toml" {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let aside = world.dir.path().join("store aside");
    std::fs::rename(world.data().join("store"), &aside).unwrap();
    let before = times(&aside);
    let again = |arguments: &[&str]| {
        let arguments = [&["index", text(&videos), "--json", "--model", text(&model)], arguments].concat();
        let output = world.command(&arguments).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(again(&[])["unchanged"], 2);
    assert_eq!(again(&["--label", "garage"])["unchanged"], 2, "what is said already is not said again");
    assert!(!world.data().join("store").exists());
    // A moved file is recognised without either.
    std::fs::rename(videos.join("a.mp4"), videos.join("c.mp4")).unwrap();
    assert_eq!(again(&[])["known"], 1);
    assert!(!world.data().join("store").exists());
    assert_eq!(times(&aside), before);
    std::fs::rename(&aside, world.data().join("store")).unwrap();
    world.ok(&["verify"]);
}

#[test]
fn a_path_is_removed_for_itself_and_a_medium_with_all_its_places() {
    let (world, videos) = indexed();
    std::fs::copy(videos.join("h264.mp4"), videos.join("copy.mp4")).unwrap();
    world.ok(&["index", text(&videos)]);
    let all = world.windows();
    let removed = world.json(&["media", "remove", text(&videos.join("copy.mp4")), "--json"]);
    assert_eq!(removed, json!({"removed": 1, "windows": 0}));
    assert_eq!(world.windows(), all);
    let removed = world.json(&["media", "remove", text(&videos.join("h264.mp4")), "--json"]);
    assert!(removed["windows"].as_u64().unwrap() > 0);
    assert!(world.windows().len() < all.len());

    world.ok(&["index", text(&videos)]);
    assert_eq!(world.windows(), all);
    let listed = world.json(&["media", "list", "--json"]);
    let row =
        listed["media"].as_array().unwrap().iter().find(|row| row["path"].as_str().unwrap().ends_with("copy.mp4"));
    let id = row.unwrap()["media_id"].as_str().unwrap().to_owned();
    assert_eq!(world.json(&["media", "remove", &id, "--json"])["removed"], 2);
    world.ok(&["verify"]);
}

#[test]
fn removing_needs_no_model() {
    let (world, videos) = indexed();
    // Another model, whose bundle goes away.
    let models = world.data().join("models");
    std::fs::create_dir_all(&models).unwrap();
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes");
    assert!(Command::new("cp").arg("-r").arg(&shapes).arg(models.join("other")).status().unwrap().success());
    let manifest = models.join("other/bundle.toml");
    let text_of = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text_of.replace("name = \"shapes\"", "name = \"other\"")).unwrap();
    world.ok(&["index", text(&videos), "--model", "other"]);
    std::fs::remove_dir_all(models).unwrap();
    std::fs::remove_file(videos.join("vp8.webm")).unwrap();
    let removed = world.json(&["media", "remove", "--missing", "--json"]);
    assert_eq!(removed["removed"], 1);
    assert!(removed["windows"].as_u64().unwrap() > 0);
    world.ok(&["verify"]);
}

#[test]
fn a_failure_is_shown_for_its_model_alone() {
    let (world, videos) = indexed();
    std::fs::write(videos.join("broken.mp4"), b"no video at all").unwrap();
    assert_eq!(world.run(&["index", text(&videos)]).code, 2);
    let listed = world.json(&["media", "list", "--failed", "--json"]);
    let row = &listed["media"][0];
    assert_eq!((row["state"].as_str(), row["tries"].as_u64()), (Some("failed"), Some(1)));
    assert!(row["kind"].is_string() && row["reason"].is_string() && row["collection"].is_string(), "{row}");
    assert_eq!(row["problems"], json!([]));
    assert_eq!(world.run(&["media", "retry"]).code, 2);
    assert_eq!(world.json(&["media", "list", "--failed", "--json"])["media"][0]["tries"], 2);
    assert_eq!(world.json(&["media", "remove", "--failed", "--json"])["removed"], 1);
    world.ok(&["verify"]);
}

#[test]
fn what_a_lost_ledger_knew_is_hidden_counted_and_taken_up_without_decoding() {
    let (world, videos) = indexed();
    let all = world.windows();
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(world.data().join(name));
    }
    // A new ledger, which does not know them.
    world.ok(&["index", text(&videos.join("h264.mp4"))]);
    let verified = world.json(&["verify", "--repair", "--json"]);
    assert_eq!(verified["differences"], json!([]), "nothing is deleted");
    let kept = all.len() as u64 - world.windows().len() as u64;
    assert!(kept > 0);
    assert_eq!(verified["unknown"].as_u64(), Some(kept));
    let found = world.json(&["search", "a circle", "--json", "--limit", "50"]);
    let moments = found["moments"].as_array().unwrap();
    assert!(!moments.is_empty());
    assert!(moments.iter().all(|moment| moment["path"].as_str().unwrap().ends_with("h264.mp4")), "{found}");

    let report = world.json(&["index", text(&videos), "--json"]);
    assert_eq!((report["indexed"].as_u64(), report["known"].as_u64()), (Some(0), Some(2)), "{report}");
    assert_eq!(world.windows(), all);
    let labels: Vec<_> = world.exported().into_iter().map(|window| window["label"].clone()).collect();
    assert!(labels.iter().all(|label| label == "garage"), "{labels:?}");
    let verified = world.json(&["verify", "--json"]);
    assert_eq!((&verified["differences"], &verified["unknown"]), (&json!([]), &json!(0)));
}

#[test]
fn unknown_windows_go_when_they_are_asked_to() {
    let (world, videos) = indexed();
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(world.data().join(name));
    }
    world.ok(&["index", text(&videos.join("h264.mp4"))]);
    let left = world.windows();
    let unknown = world.json(&["verify", "--json"])["unknown"].clone();
    let removed = world.json(&["media", "remove", "--unknown", "--json"]);
    assert_eq!(removed, json!({"removed": 0, "windows": unknown}));
    assert_eq!(world.json(&["verify", "--json"])["unknown"], 0);
    assert_eq!(world.windows(), left);
}

#[test]
fn what_differs_is_named_and_mended() {
    let (world, videos) = indexed();
    let all = world.windows();
    let thumbs = world.data().join("thumbs");
    let packs = || {
        let files = walkdir::WalkDir::new(&thumbs).into_iter().map(Result::unwrap);
        files.map(|entry| entry.into_path()).filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let pack = packs().remove(0);
    // Each makes one kind of difference.
    let damages: [(&str, &dyn Fn()); 6] = [
        ("records_differ", &|| sql(&world, "UPDATE progress SET windows = windows + 1")),
        ("records_differ", &|| sql(&world, "UPDATE progress SET ids = zeroblob(16)")),
        ("pictures_short", &|| std::fs::remove_file(&pack).unwrap()),
        ("nobodys_records", &|| sql(&world, "DELETE FROM files WHERE path LIKE '%vp8.webm'")),
        ("no_records", &|| {
            sql(&world, "DELETE FROM progress WHERE media_id = (SELECT media_id FROM files ORDER BY path LIMIT 1)");
        }),
        ("unknown_plan", &|| sql(&world, "UPDATE progress SET plan = 'another'")),
    ];
    for (kind, damage) in damages {
        damage();
        let ran = world.run(&["verify", "--json"]);
        assert_eq!(ran.code, 2, "{kind}: {ran:?}");
        let verified: Value = serde_json::from_str(&ran.out).unwrap();
        assert!(kinds(&verified).iter().any(|found| found == kind), "{kind}: {verified:#}");
        assert!(verified["differences"].as_array().unwrap().iter().all(|d| d["repaired"] == false));
        let ran = world.run(&["verify", "--repair"]);
        assert_eq!(ran.code, 0, "{kind}: {ran:?}");
        world.ok(&["verify"]);
        world.ok(&["index", text(&videos)]);
        world.ok(&["verify"]);
        assert_eq!(world.windows(), all, "{kind}");
    }
}

#[test]
fn pictures_that_nobody_wants_and_interrupted_debts_are_settled() {
    let (world, videos) = indexed();
    let folder = std::fs::read_dir(world.data().join("thumbs")).unwrap().next().unwrap().unwrap().path();
    let pack = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let stray = folder.join(format!("{}.0123abcd.part", pack.file_stem().unwrap().to_str().unwrap()));
    std::fs::write(&stray, b"begun").unwrap();
    sql(&world, "UPDATE media SET label = 'garden', annotated = 0");
    let ran = world.run(&["verify", "--json"]);
    let mut found = kinds(&serde_json::from_str(&ran.out).unwrap());
    found.sort();
    assert_eq!((ran.code, found), (2, vec!["stray_pictures".to_owned(), "unsettled".to_owned()]));
    world.ok(&["verify", "--repair"]);
    assert!(!stray.exists());
    assert!(world.exported().iter().all(|window| window["label"] == "garden"));
    world.ok(&["index", text(&videos)]);
    world.ok(&["verify"]);
}

#[test]
fn of_a_file_that_is_gone_a_repair_keeps_what_there_is() {
    let (world, videos) = indexed();
    let all = world.windows();
    std::fs::remove_file(videos.join("vp8.webm")).unwrap();
    std::fs::remove_dir_all(world.data().join("thumbs")).unwrap();
    sql(&world, "UPDATE progress SET ids = zeroblob(16)");
    world.ok(&["verify", "--repair"]);
    let verified = world.json(&["verify", "--json"]);
    assert_eq!(verified["differences"], json!([]));
    assert_eq!(verified["missing"].as_array().unwrap().len(), 1);
    let kept: Vec<Value> =
        world.exported().into_iter().filter(|window| window["path"].as_str().unwrap().ends_with("vp8.webm")).collect();
    assert!(!kept.is_empty(), "nothing could make them again");
    world.ok(&["index", text(&videos)]);
    assert_eq!(world.windows(), all);
    world.ok(&["verify"]);
}

#[test]
fn a_lost_store_is_queued_again() {
    let (world, videos) = indexed();
    let all = world.windows();
    std::fs::remove_dir_all(world.data().join("store")).unwrap();
    let ran = world.run(&["verify", "--json"]);
    assert_eq!(ran.code, 2);
    assert!(kinds(&serde_json::from_str(&ran.out).unwrap()).contains(&"no_collection".to_owned()), "{}", ran.out);
    world.ok(&["verify", "--repair"]);
    let report = world.json(&["index", text(&videos), "--json"]);
    assert_eq!(report["indexed"], 3);
    assert_eq!(world.windows(), all);
    world.ok(&["verify"]);
}

#[test]
fn a_data_folder_of_before_is_refused_in_one_sentence() {
    let world = World::new();
    std::fs::create_dir_all(world.data()).unwrap();
    sql(&world, "CREATE TABLE files (path BLOB PRIMARY KEY); PRAGMA user_version = 1");
    for arguments in [&["search", "a circle"][..], &["index", text(&footage("h264.mp4"))], &["media"], &["verify"]] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("development version of clipseek before 0.1.0"), "{}", ran.err);
    }
}

#[test]
fn the_model_that_a_data_folder_was_indexed_with_is_taken_by_every_command() {
    let world = World::new();
    // A folder whose name is no text, given by a relative path.
    let here = world.dir.path().join(OsStr::from_bytes(b"\xff"));
    let model = here.join("model");
    std::fs::create_dir_all(&model).unwrap();
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes");
    for entry in std::fs::read_dir(&shapes).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let manifest = std::fs::read_to_string(model.join("bundle.toml")).unwrap();
    let renamed = manifest.replacen("name = \"shapes\"", "name = \"renamed\"", 1);
    assert_ne!(renamed, manifest);
    std::fs::write(model.join("bundle.toml"), renamed).unwrap();
    let file = footage("h264.mp4");
    let indexed = world.command(&["index", text(&file), "--model", "model"]).current_dir(&here).output().unwrap();
    assert!(indexed.status.success(), "{indexed:?}");
    assert!(!world.json(&["search", "a circle", "--json"])["moments"].as_array().unwrap().is_empty());
    assert!(!world.windows().is_empty());
    let encoder = world.json(&["bench", "--encoder", "--seconds", "0.1", "--json"]);
    assert_eq!(encoder["model"], "renamed");
    let decoder = world.json(&["bench", text(&file), "--decode-only", "--json"]);
    assert_eq!(decoder["model"], "renamed");
}
