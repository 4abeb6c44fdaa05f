//! Commands that speak to the daemon say what they say without one.

use super::*;
use crate::support::Ran;

/// Three clips and one file that is none, with labels.
fn filled() -> (World, PathBuf) {
    let (world, videos) = world();
    for clip in ["h264.mp4", "vp9.webm"] {
        std::fs::copy(footage(clip), videos.join(clip)).unwrap();
    }
    std::fs::write(videos.join("broken.mp4"), "no video at all").unwrap();
    std::fs::write(videos.join("notes.txt"), "no video either").unwrap();
    assert_eq!(world.run(&["index", "videos", "--label", "garage", "--tag", "x"]).code, 2);
    (world, videos)
}

/// Times of day and durations differ from run to run.
fn without_times(ran: &Ran) -> (i32, String, String) {
    let plain = |text: &str| {
        let lines = text.lines().map(|line| match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(mut object)) => {
                object.remove("took_s");
                object.remove("decode_cpu_s");
                Value::Object(object).to_string()
            }
            _ => line.split(" in ").next().unwrap_or_default().to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    (ran.code, plain(&ran.out), plain(&ran.err))
}

#[test]
fn output_and_exit_codes_are_those_of_the_commands_themselves() {
    let (world, videos) = filled();
    let picture = world.dir.path().join("picture.jpg");
    world.ok(&["search", "an orange heart", "--thumbnails", "pictures", "--limit", "1"]);
    std::fs::copy(world.dir.path().join("pictures/001.jpg"), &picture).unwrap();
    let id = world.windows()[0].clone();
    let (a, media_id) = ("videos/h264.mp4", world.json(&["media", "list", "--json"])["media"][1]["media_id"].clone());
    let commands: Vec<Vec<&str>> = vec![
        vec!["search", "an orange heart"],
        vec!["search", "an orange heart", "--json"],
        vec![
            "search",
            "an orange heart",
            "--limit",
            "1",
            "--label",
            "garage",
            "--tag",
            "x",
            "--path",
            "*.mp4",
            "--not",
            "a circle",
        ],
        vec!["search", "an orange heart", "--label", "nobody"],
        vec!["search", "an orange heart", "--after", "2020-01-01", "--json"],
        vec!["search", "an orange heart", "--thumbnails", "others", "--json"],
        vec!["search", "--image", "picture.jpg", "--json", "--label", "garage"],
        vec!["search", "--like", &id],
        vec!["search", "a heart", "--mode", "text"],
        vec!["search", "a heart", "--min-confidence", "0.5"],
        vec!["search", "a heart", "--model", "nosuchmodel"],
        vec!["search", " "],
        vec!["media"],
        vec!["media", "list", "--json"],
        vec!["media", "list", "--failed"],
        vec!["media", "show", a],
        vec!["media", "show", a, "--json"],
        vec!["media", "show", media_id.as_str().unwrap()],
        vec!["media", "show", "videos/nothing.mp4"],
        vec!["media", "show", "00000000-0000-0000-0000-000000000000"],
        vec!["media", "export"],
        vec!["media", "export", "--vectors"],
        vec!["media", "export", "--model", "nosuchmodel"],
        vec!["media", "remove", "videos/nothing.mp4"],
        vec!["media", "remove", "--missing"],
        vec!["media", "remove", "--unknown", "--json"],
        vec!["verify"],
        vec!["verify", "--json"],
        vec!["verify", "--repair"],
        vec!["index", "videos/h264.mp4", "videos/vp9.webm"],
        vec!["index", "videos/h264.mp4", "--json"],
        vec!["index", "videos/notes.txt"],
        vec!["media", "remove", "videos/notes.txt"],
        vec!["index", "videos/missing.mp4", "-q"],
        vec!["media", "remove", "videos/missing.mp4"],
        vec!["index", "videos/h264.mp4", "--stride", "1000"],
        vec!["index", "videos/h264.mp4", "--model", "nosuchmodel"],
    ];
    let alone: Vec<_> = commands.iter().map(|command| without_times(&world.run(command))).collect();
    // It watches nothing, so that it changes nothing.
    let daemon = serve(&world, &[]);
    for (command, alone) in commands.iter().zip(alone) {
        let asked = without_times(&world.run(command));
        assert_eq!(asked, alone, "{command:?}");
    }
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(
        std::fs::read(world.dir.path().join("others/001.jpg")).unwrap(),
        std::fs::read(world.dir.path().join("pictures/001.jpg")).unwrap()
    );
    assert!(videos.join("h264.mp4").exists());
}

#[test]
fn what_changes_the_index_does_so_through_the_daemon() {
    let (world, videos) = filled();
    let daemon = serve(&world, &[]);
    // Another plan, other label: indexed beside, then switched.
    let report =
        world.json(&["index", "videos/vp9.webm", "--window", "1", "--stride", "0.5", "--label", "garden", "--json"]);
    assert_eq!(report["indexed"], 1, "{report}");
    let plan = daemon.listed(&videos.join("vp9.webm")).unwrap()["plan"].clone();
    assert!(plan.as_str().unwrap().contains("w1 s0.5"), "{plan}");
    // A failed file is tried again.
    let ran = world.run(&["media", "retry"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(daemon.listed(&videos.join("broken.mp4")).unwrap()["tries"], 2);
    std::fs::copy(footage("vp8.webm"), videos.join("broken.mp4")).unwrap();
    assert_eq!(world.ok(&["media", "retry"]).code, 0);
    let ran = world.run(&["media", "retry"]);
    assert_eq!((ran.code, ran.err.trim()), (1, "nothing failed"));
    assert_eq!(world.json(&["media", "remove", "videos/h264.mp4", "--json"])["removed"], 1);
    // A model of its own, given by a relative path.
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes");
    let model = world.dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(shapes).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let manifest = model.join("bundle.toml");
    let renamed = std::fs::read_to_string(&manifest).unwrap().replacen("name = \"shapes\"", "name = \"other\"", 1);
    std::fs::write(&manifest, renamed).unwrap();
    assert_eq!(world.json(&["index", "videos", "--model", "model", "--json"])["indexed"], 3);
    assert_eq!(world.ok(&["search", "a circle", "--model", "model", "--json"]).code, 0);
    // What was damaged is repaired.
    remove_pictures(&world);
    assert_eq!(world.run(&["verify"]).code, 2);
    assert_eq!(world.run(&["verify", "--repair"]).code, 0);
    assert_eq!(world.json(&["doctor", "--json"])["ok"], true);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(world.run(&["index", "videos", "--model", "shapes"]).code, 0);
    world.ok(&["index", "videos", "--model", "model"]);
    world.ok(&["verify"]);
}

fn remove_pictures(world: &World) {
    let packs = walkdir::WalkDir::new(world.data().join("thumbs")).into_iter().map(Result::unwrap);
    for pack in packs.filter(|entry| entry.file_type().is_file()) {
        std::fs::remove_file(pack.path()).unwrap();
    }
}

#[test]
fn repaired_files_of_watched_folders_are_indexed_again() {
    let (world, videos) = world();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_indexed(&videos.join("a.mp4"));
    let before = world.windows();
    remove_pictures(&world);
    assert_eq!(world.run(&["verify", "--repair"]).code, 0);
    daemon.until_indexed(&videos.join("a.mp4"));
    daemon.until_idle();
    world.ok(&["verify"]);
    assert_eq!(world.windows(), before);
}

#[test]
fn searching_while_indexing_and_leaving_a_job_to_itself() {
    let (world, _) = world();
    let daemon = serve(&world, &[]);
    world.ok(&["index", text(&footage("h264.mp4"))]);
    let mut client = world
        .command(&["index", text(&footage("")), "--sampling", "all", "--stride", "0.05"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    daemon.until("the job runs", || {
        daemon.json("/v1/jobs")["jobs"].as_array().unwrap().iter().any(|job| job["state"] == "running")
    });
    world.ok(&["search", "an orange heart", "--json"]);
    assert_eq!(world.run(&["media", "remove", "--missing"]).code, 2, "a job is at it");
    assert!(std::process::Command::new("kill").args(["-INT", &client.id().to_string()]).status().unwrap().success());
    let status = client.wait().unwrap();
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("goes on with it by itself"), "{said}");
    daemon.until("the job is done", || daemon.json("/v1/jobs/2")["state"] == "done");
    assert!(daemon.json("/v1/jobs/2")["result"]["index"]["report"]["indexed"].as_u64() > Some(1));
    world.ok(&["verify"]);
}

#[test]
fn a_file_that_the_daemon_may_not_read_is_said_so() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can run the daemon as somebody else");
        return;
    }
    let (world, videos) = world();
    std::fs::set_permissions(world.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(world.data()).unwrap();
    chown(world.data(), Some(NOBODY), Some(NOBODY)).unwrap();
    let path = videos.join("a.mp4");
    std::fs::copy(footage("h264.mp4"), &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
    let log = world.dir.path().join("serve.log");
    command.uid(NOBODY).gid(NOBODY).stderr(std::fs::File::create(&log).unwrap());
    let daemon = Daemon { world: &world, child: command.spawn().unwrap(), log };
    daemon.until("it answers", || daemon.get("/livez").is_some());
    let ran = world.run(&["index", text(&path)]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("permission denied") && ran.err.contains("the daemon may not"), "{ran:?}");
}
