//! What is wrong is named with its remedy, everything else is indexed, nothing is lost.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Mounted, World, footage, text};

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Reasons by file name, of the failed files.
fn failures(world: &World, folder: &Path) -> Vec<(String, String)> {
    let report = world.json(&["index", text(folder), "--json"]);
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (name(entry["path"].as_str().unwrap()), entry["reason"].as_str().unwrap().to_owned()))
        .collect()
}

fn videos(world: &World) -> PathBuf {
    let dir = world.dir.path().join("videos");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn bad_files_fail_with_their_reason_and_good_ones_are_indexed() {
    let world = World::new();
    let dir = videos(&world);
    let mp4 = std::fs::read(footage("h264.mp4")).unwrap();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("empty.mp4", Vec::new(), "not a video"),
        ("text.mp4", b"this is a letter to my aunt\n".repeat(100), "not a video"),
        ("noise.mkv", (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect(), "not a video"),
        ("header.mp4", mp4[..60].to_vec(), ""),
        ("sound.mkv", wav(), "no video track"),
        ("zeros.mp4", vec![0; 10_000], "not a video"),
    ];
    for (name, bytes, _) in &cases {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    std::fs::copy(footage("h264.mp4"), dir.join("good.mp4")).unwrap();
    std::fs::write(dir.join("notes.txt"), "not media").unwrap();
    let failed = failures(&world, &dir);
    for (name, _, reason) in &cases {
        let found = failed.iter().find(|(failed, _)| failed == name);
        let (_, found) = found.unwrap_or_else(|| panic!("{name} did not fail: {failed:?}"));
        assert!(found.contains(reason), "{name}: {found}");
    }
    assert_eq!(failed.len(), cases.len(), "{failed:?}");
    assert!(!world.windows().is_empty(), "the good one is in");

    let ran = world.run(&["index", text(&dir)]);
    assert_eq!(ran.code, 2);
    assert!(ran.out.contains("1 as before") && ran.out.contains("1 not video, skipped"), "{}", ran.out);
    assert!(ran.out.contains("failed: videos/text.mp4: not a video"), "{}", ran.out);
    let listed = world.json(&["media", "list", "--failed", "--json"]);
    assert_eq!(listed["media"].as_array().unwrap().len(), cases.len());
    // Once mended, the failed ones are taken up.
    std::fs::copy(footage("vp9.webm"), dir.join("text.mp4")).unwrap();
    assert_eq!(world.run(&["media", "retry"]).code, 2, "the others still fail");
    let listed = world.json(&["media", "list", "--failed", "--json"]);
    assert_eq!(listed["media"].as_array().unwrap().len(), cases.len() - 1);
}

/// A second of silence.
fn wav() -> Vec<u8> {
    let data = vec![0u8; 16_000];
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend([1, 0, 1, 0]);
    file.extend(8000u32.to_le_bytes());
    file.extend(16_000u32.to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

#[test]
fn damaged_files_are_indexed_as_far_as_they_go() {
    let world = World::new();
    let dir = videos(&world);
    let mkv = std::fs::read(footage("h264-bframes.mkv")).unwrap();
    std::fs::write(dir.join("cut.mkv"), &mkv[..mkv.len() * 2 / 3]).unwrap();
    let mut ts = std::fs::read(footage("mpeg2.ts")).unwrap();
    let middle = ts.len() / 2;
    for (i, byte) in ts[middle..middle + 3000].iter_mut().enumerate() {
        *byte = (i * 37) as u8;
    }
    std::fs::write(dir.join("corrupt.ts"), ts).unwrap();
    assert_eq!(failures(&world, &dir), []);
    let listed = world.json(&["media", "list", "--json"]);
    for medium in listed["media"].as_array().unwrap() {
        assert!(medium["windows"].as_u64().unwrap() > 0, "{medium}");
        assert_eq!(medium["state"], "indexed");
    }
}

#[test]
fn any_file_name_is_indexed_found_and_exported() {
    let world = World::new();
    let dir = videos(&world);
    let clips = ["h264.mp4", "vp8.webm", "vp9.webm", "mpeg4.avi", "mpeg2.ts"];
    let names: [&[u8]; 5] =
        [b"two words.mp4", b"it's \"quoted\".webm", b"line\nbreak.webm", b"\xff\xfe.avi", "日本.ts".as_bytes()];
    for (clip, name) in clips.iter().zip(names) {
        std::fs::copy(footage(clip), dir.join(OsStr::from_bytes(name))).unwrap();
    }
    let report = world.json(&["index", text(&dir), "--json"]);
    assert_eq!(report["indexed"].as_u64(), Some(5), "{report}");
    let found = world.json(&["search", "something", "--json", "--limit", "50"]);
    let uris: Vec<&str> = found["moments"].as_array().unwrap().iter().map(|m| m["uri"].as_str().unwrap()).collect();
    for end in [
        "/two%20words.mp4",
        "/it%27s%20%22quoted%22.webm",
        "/line%0Abreak.webm",
        "/%FF%FE.avi",
        "/%E6%97%A5%E6%9C%AC.ts",
    ] {
        assert!(uris.iter().any(|uri| uri.ends_with(end)), "{end} is not in {uris:?}");
    }
    assert_eq!(world.json(&["index", text(&dir), "--json"])["unchanged"].as_u64(), Some(5));
    // What a search prints leads back to the file.
    for uri in uris {
        assert_eq!(world.json(&["index", uri, "--json"])["unchanged"].as_u64(), Some(1), "{uri}");
    }
}

#[test]
fn missing_paths_and_loops() {
    let world = World::new();
    let dir = videos(&world);
    std::fs::copy(footage("h264.mp4"), dir.join("a.mp4")).unwrap();
    symlink(&dir, dir.join("loop")).unwrap();
    symlink("nowhere.mp4", dir.join("dangling.mp4")).unwrap();
    let ran = world.run(&["index", text(&dir), "no/such/folder"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("failed: no/such/folder: no such file or folder"), "{}", ran.out);
    assert!(ran.out.contains("dangling.mp4"), "{}", ran.out);
    assert!(ran.err.contains("videos/loop leads back"), "{}", ran.err);
    assert_eq!(world.json(&["index", text(&dir.join("a.mp4")), "--json"])["unchanged"].as_u64(), Some(1));

    let empty = world.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let ran = world.run(&["index", text(&empty)]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "nothing to index\n"));
}

#[test]
fn unreadable_files_fail_alone() {
    if root() {
        println!("skipped: root may read everything");
        return;
    }
    let world = World::new();
    let dir = videos(&world);
    std::fs::copy(footage("h264.mp4"), dir.join("a.mp4")).unwrap();
    std::fs::copy(footage("vp9.webm"), dir.join("b.webm")).unwrap();
    std::fs::set_permissions(dir.join("b.webm"), PermissionsExt::from_mode(0o000)).unwrap();
    assert_eq!(failures(&world, &dir), [("b.webm".to_owned(), "cannot read: permission denied".to_owned())]);
}

#[test]
fn queries() {
    let world = World::new();
    let empty = world.run(&["search", "  "]);
    assert_eq!(empty.code, 2);
    assert!(empty.err.contains("the query is empty"), "{}", empty.err);
    let nothing = world.run(&["search", "a circle", "--json"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (1, "{\"moments\":[]}\n"));
    assert!(nothing.err.contains("nothing is indexed"), "{}", nothing.err);
    assert!(!world.data().exists(), "looking creates nothing");

    world.ok(&["index", text(&footage("h264.mp4"))]);
    let long = world.ok(&["search", &"a red circle moves ".repeat(100)]);
    assert!(long.err.contains("reads only the beginning"), "{}", long.err);
    let confident = world.run(&["search", "a circle", "--min-confidence", "0.5"]);
    assert_eq!(confident.code, 2);
    assert!(confident.err.contains("no calibration"), "{}", confident.err);
    let unknown = world.run(&["search", "a circle", "--model", "nothere"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("no such model") && unknown.err.contains("shapes"), "{}", unknown.err);
}

#[test]
fn settings() {
    let world = World::new();
    let file = world.dir.path().join("c.toml");
    std::fs::write(&file, "[index]\nwindow_sec = 3\n").unwrap();
    let ran = world.run(&["config", "check", "--config", text(&file)]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("window_sec"), "{}", ran.err);
    std::fs::write(&file, "[index]\nwindow_secs = 3\n").unwrap();
    world.ok(&["config", "check", "--config", text(&file)]);
    let stride = world.run(&["index", text(&footage("h264.mp4")), "--window", "2", "--stride", "3"]);
    assert_eq!(stride.code, 2);
    assert!(stride.err.contains("longer than the window"), "{}", stride.err);
    let frames = world.run(&["index", text(&footage("h264.mp4")), "--frames", "33"]);
    assert_eq!(frames.code, 2);
    assert!(frames.err.contains("this model takes at most 32"), "{}", frames.err);
    let stream = world.run(&["index", "rtsp://camera/1"]);
    assert_eq!(stream.code, 2);
    for command in [&["media", "retry"][..], &["media", "list"], &["bench", text(&footage("h264.mp4"))]] {
        let ran = world.command(command).env("CLIPSEEK__INDEX__STALL_SECS", "-1").output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.code() == Some(2) && said.contains("index.stall_secs is -1, it must lie"), "{said}");
    }
    for (flag, value) in [("--window", "1e-12"), ("--window", "nan"), ("--stride", "1e-9"), ("--window", "0.002")] {
        let ran = world.run(&["index", text(&footage("h264.mp4")), flag, value]);
        assert_eq!(ran.code, 2, "{flag} {value}");
        assert!(ran.err.contains("0.001") && !ran.err.contains("panicked"), "{}", ran.err);
    }
    assert!(stream.err.contains("rtsp://camera/1: a stream has no end"), "{}", stream.err);
}

#[test]
fn a_damaged_ledger_is_named_and_moving_it_away_mends_all() {
    let world = World::new();
    let file = footage("h264.mp4");
    world.ok(&["index", text(&file)]);
    let before = world.windows();
    let ledger = world.data().join("ledger.sqlite");
    for side in ["ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = std::fs::remove_file(world.data().join(side));
    }
    std::fs::write(&ledger, b"no database".repeat(1000)).unwrap();
    let ran = world.run(&["index", text(&file)]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("is damaged") && ran.err.contains("move it away"), "{}", ran.err);
    std::fs::remove_file(&ledger).unwrap();
    world.ok(&["index", text(&file)]);
    assert_eq!(world.windows(), before);
}

#[test]
fn a_damaged_store_is_named() {
    let world = World::new();
    world.ok(&["index", text(&footage("h264.mp4"))]);
    let mut spoiled = 0;
    for entry in walkdir::WalkDir::new(world.data().join("store")).into_iter().flatten() {
        if entry.file_name().to_string_lossy().ends_with(".json") {
            std::fs::write(entry.path(), b"{").unwrap();
            spoiled += 1;
        }
    }
    assert!(spoiled > 0);
    let ran = world.run(&["search", "a circle"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("store") && ran.err.contains("cannot be opened"), "{}", ran.err);
}

#[test]
fn folders_that_cannot_be_written() {
    let output = Command::new(super::support::EXE)
        .args(["--data", "/proc/clipseek", "index", text(&footage("h264.mp4"))])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot create the data folder /proc/clipseek"), "{said}");

    let world = World::new();
    let Some(mounted) = Mounted::tmpfs(&world.data(), "size=600m") else { return };
    world.ok(&["index", text(&footage("h264.mp4"))]);
    mounted.read_only();
    for arguments in [&["index", text(&footage("vp9.webm"))][..], &["search", "a circle"]] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
        let said = ran.err.contains("ead-only") || ran.err.contains("is the folder writable?");
        assert!(ran.err.contains(text(&world.data())) && said, "{}", ran.err);
    }
}

#[test]
fn a_full_disk_ends_the_run_and_what_was_there_stays() {
    let world = World::new();
    let Some(_mounted) = Mounted::tmpfs(&world.data(), "size=600m") else { return };
    world.ok(&["index", text(&footage("h264.mp4"))]);
    let before = world.windows();
    for left in [200 << 20, 0] {
        let ballast = world.data().join("ballast");
        fill(&ballast, left);
        let ran = world.run(&["index", text(&footage(""))]);
        assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
        assert!(
            ran.err.contains("free on this disk") || ran.err.contains("disk is full") || ran.err.contains("No space"),
            "{}",
            ran.err
        );
        std::fs::remove_file(ballast).unwrap();
        assert!(before.iter().all(|id| world.windows().contains(id)));
    }
    // With room again the run goes on.
    let report = world.json(&["index", text(&footage("")), "--json"]);
    assert_eq!((report["failed"].clone(), report["unchanged"].as_u64()), (serde_json::json!([]), Some(1)));
}

/// Writes until only so many bytes are left on the disk.
fn fill(ballast: &Path, left: u64) {
    let disk = nix::sys::statvfs::statvfs(ballast.parent().unwrap()).unwrap();
    let free = disk.blocks_available() * disk.fragment_size();
    let file = std::fs::File::create(ballast).unwrap();
    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, free.saturating_sub(left) as i64).unwrap();
}

#[test]
fn one_process_at_a_time_writes() {
    let world = World::new();
    world.ok(&["index", text(&footage("h264.mp4"))]);
    let lock = std::fs::File::options().write(true).open(world.data().join("lock")).unwrap();
    lock.lock().unwrap();
    let ran = world.run(&["index", text(&footage("vp9.webm"))]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("another clipseek process is writing"), "{}", ran.err);
    drop(lock);
    world.ok(&["index", text(&footage("vp9.webm"))]);
}
