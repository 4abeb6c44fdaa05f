//! Beginning, ending, dying and changing its mind.

use super::*;

#[test]
fn killed_again_and_again_it_ends_up_as_if_it_had_not_been() {
    let (world, videos) = world();
    let clips = ["h264.mp4", "vp8.webm", "vp9.webm"];
    for clip in clips {
        std::fs::copy(footage(clip), videos.join(clip)).unwrap();
    }
    for step in [1, 3, 7, 12, 20, 35] {
        let mut command = command(&world, &[text(&videos)]);
        command.env("CLIPSEEK_TEST_DIE_AT", step.to_string());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    let daemon = serve(&world, &[text(&videos)]);
    for clip in clips {
        daemon.until_indexed(&videos.join(clip));
    }
    daemon.until_idle();
    world.ok(&["verify"]);
    assert_eq!(world.windows(), expected(&clips));
    daemon.signal("KILL");
    drop(daemon);
    world.ok(&["verify"]);
    assert_eq!(world.windows(), expected(&clips));
}

#[test]
fn asked_to_end_in_the_middle_it_keeps_what_is_done_and_goes_on_from_there() {
    let (world, videos) = world();
    let path = videos.join("tape.mp4");
    std::fs::copy(footage("tape.mp4"), &path).unwrap();
    let config = world.dir.path().join("clipseek.toml");
    // Every frame, so that it takes a while.
    std::fs::write(&config, "[index]\nsampling = \"all\"\nstride_frames = 1\n").unwrap();
    let arguments = [text(&videos), "--config", text(&config)];
    let daemon = begin(&world, &arguments);
    daemon.until("it has begun", || daemon.get("/livez").is_some());
    daemon
        .until("some windows are there", || daemon.listed(&path).is_some_and(|row| row["windows"].as_u64() > Some(0)));
    let unfinished = daemon.listed(&path).unwrap()["state"] == "pending";
    assert_eq!(daemon.end(), Some(0));
    let listed = world.json(&["media", "--json"]);
    if unfinished && listed["media"][0]["state"] == "pending" {
        assert!(listed["media"][0]["windows"].as_u64() > Some(0), "{listed}");
    }
    world.ok(&["verify"]);
    let daemon = serve(&world, &arguments);
    daemon.until_indexed(&path);
    daemon.until_idle();
    world.ok(&["verify"]);
    assert_eq!(daemon.end(), Some(0));
    let undisturbed = World::new();
    undisturbed.ok(&["index", text(&footage("tape.mp4")), "--config", text(&config)]);
    assert_eq!(world.windows(), undisturbed.windows());
}

#[test]
fn nothing_that_is_indexed_is_read_again() {
    let (world, videos) = world();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    daemon.until_indexed(&videos.join("a.mp4"));
    assert_eq!(daemon.end(), Some(0));
    let said = std::fs::read_to_string(world.dir.path().join("serve.log")).unwrap();
    let daemon = serve(&world, &[text(&videos)]);
    let mut events = daemon.events();
    daemon.until_idle();
    assert_eq!(daemon.source("videos")["files"], 1);
    assert!(events.come().is_empty());
    assert_eq!(daemon.said().matches(INDEXED).count(), said.matches(INDEXED).count());
    assert_eq!(daemon.source("videos")["frames"], 0);
}

/// `CLIPSEEK_SCALE_MEDIA` says how many files; the time is printed, not asserted.
#[tokio::test]
async fn a_daemon_that_knows_all_files_is_ready_soon() {
    let (world, videos) = world();
    let files = crate::scale::size("CLIPSEEK_SCALE_MEDIA", 2000);
    let mut db = crate::scale::ledger(&world).await;
    let transaction = db.transaction().unwrap();
    for number in 0..files {
        let path = videos.join(format!("{:03}/{number:07}.mp4", number % 100));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, number.to_string()).unwrap();
        let stat = clipseek::source::Stat::of(&path).unwrap();
        let media = clipseek::source::MediaId(uuid::Uuid::from_u128(number as u128));
        crate::scale::put(&transaction, &crate::scale::shapes(), &path, stat, media, clipseek::store::Tally::default());
    }
    transaction.commit().unwrap();
    drop(db);
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let daemon = serve(&world, &[text(&videos)]);
    let took = begun.elapsed();
    let row = daemon.source("videos");
    assert_eq!((row["files"].as_u64(), row["pending"].as_u64()), (Some(files as u64), Some(0)), "{row}");
    println!("a daemon that knows {files} files is ready after {took:.1?}");
    assert!(!world.data().join("store").exists(), "nothing of it was opened");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn sighup_reads_the_sources_again_and_leaves_those_alone_that_did_not_change() {
    let (world, videos) = world();
    let config = world.dir.path().join("clipseek.toml");
    let folder = |name: &str| {
        let path = videos.join(name);
        std::fs::create_dir_all(&path).unwrap();
        format!("[[source]]\nname = \"{name}\"\npath = \"{}\"\n", path.display())
    };
    std::fs::write(&config, folder("stays") + &folder("goes")).unwrap();
    let daemon = serve(&world, &["--config", text(&config)]);
    let since = daemon.source("stays")["since"].clone();
    std::fs::write(&config, folder("stays") + &folder("comes")).unwrap();
    daemon.signal("HUP");
    let names = || {
        let rows = daemon.json("/v1/sources");
        let rows = rows["sources"].as_array().unwrap().clone();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    daemon.until("the sources are new", || names() == ["comes", "stays"]);
    assert_eq!(daemon.source("stays")["since"], since);
    for (folder, clip) in [("stays", "h264.mp4"), ("goes", "vp8.webm"), ("comes", "vp9.webm")] {
        std::fs::copy(footage(clip), videos.join(folder).join(clip)).unwrap();
    }
    daemon.until_indexed(&videos.join("stays/h264.mp4"));
    daemon.until_indexed(&videos.join("comes/vp9.webm"));
    assert_eq!(daemon.listed(&videos.join("goes/vp8.webm")), None);
    // Settings that cannot be used change nothing.
    std::fs::write(&config, "[[source]]\nname = \"x\"\nuri = \"gopher://me:sesame@camera/1\"\n").unwrap();
    daemon.signal("HUP");
    daemon.until("it says why", || daemon.said().contains("name a template"));
    assert_eq!(names(), ["comes", "stays"]);
    assert!(!daemon.said().contains("sesame"), "{}", daemon.said());
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn what_is_no_folder_is_refused() {
    let (world, videos) = world();
    let file = videos.join("a.mp4");
    std::fs::write(&file, "x").unwrap();
    for (argument, expected) in [
        ("gopher://me:sesame@camera/1", "what kind of stream it is cannot be told from its uri"),
        (text(&file), "a file, no folder"),
    ] {
        let ran = world.run(&["serve", argument, "--listen", "127.0.0.1:0"]);
        assert!(ran.code == 2 && ran.err.contains(expected) && !ran.err.contains("sesame"), "{ran:?}");
    }
    let ran = world.run(&["sources"]);
    assert!(ran.code == 2 && ran.err.contains("no daemon is running"), "{ran:?}");
}
