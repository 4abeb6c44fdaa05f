//! Moments: pictures, previews, what players get, clips; and that nothing else is handed out.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;

impl Daemon<'_> {
    fn fetch(&self, target: &str, headers: &str) -> Fetched {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        fetched(&mut stream, "GET", target, &format!("Host: localhost\r\n{headers}"), b"")
    }

    /// The best moment in this file.
    fn best(&self, file: &str) -> Value {
        let found = self.json(&format!("/v1/search?text=an+orange+heart&limit=1&path={file}"));
        found["moments"][0].clone()
    }
}

/// The query that says which span a moment covers.
fn span(moment: &Value) -> String {
    format!("start_s={}&end_s={}", moment["start_s"], moment["end_s"])
}

/// What `probe` says of these bytes.
fn probed(world: &World, bytes: &[u8]) -> Value {
    let file = world.dir.path().join("fetched.mp4");
    std::fs::write(&file, bytes).unwrap();
    let probed = world.json(&["probe", "--frames", "--every", "0", "--json", text(&file)]);
    probed["files"][0].clone()
}

fn tracks(probe: &Value, kind: &str) -> Vec<String> {
    let tracks = probe["tracks"].as_array().unwrap_or_else(|| panic!("{probe}"));
    let of_kind = tracks.iter().filter(|track| track["kind"] == kind);
    of_kind.map(|track| track["codec"].as_str().unwrap().to_owned()).collect()
}

fn times(probe: &Value) -> Vec<f64> {
    probe["frames_s"]
        .as_array()
        .unwrap_or_else(|| panic!("{probe}"))
        .iter()
        .map(|time| time.as_f64().unwrap())
        .collect()
}

#[test]
fn a_moment_is_shown_in_every_way() {
    let (world, videos) = world();
    for name in ["h264.mp4", "tape.mp4", "h264-bframes.mkv", "mpeg2.ts", "turned.mp4", "animated.gif"] {
        std::fs::copy(footage(name), videos.join(name)).unwrap();
    }
    world.ok(&["index", text(&videos)]);
    let daemon = serve(&world, &[text(&videos)]);
    for (file, how) in [
        ("h264.mp4", "file"),
        ("turned.mp4", "file"),
        ("tape.mp4", "file"),
        ("h264-bframes.mkv", "remuxed"),
        ("mpeg2.ts", "transcoded"),
        ("animated.gif", "transcoded"),
    ] {
        let moment = daemon.best(file);
        let (id, media) = (moment["id"].as_str().unwrap(), moment["media_id"].as_str().unwrap());
        let (start, end) = (moment["start_s"].as_f64().unwrap(), moment["end_s"].as_f64().unwrap());
        let shown = daemon.json(&format!("/v1/moments/{id}?{}", span(&moment)));
        for key in ["id", "media_id", "path", "uri", "start_s", "end_s", "source"] {
            assert_eq!(shown[key], moment[key], "{file}: {key}");
        }
        assert_eq!(shown["source"], "videos");

        let picture = daemon.fetch(&format!("/v1/moments/{id}/thumbnail"), "");
        assert!(picture.status == 200 && picture.body.starts_with(&[0xff, 0xd8]), "{file}: {picture:?}");
        let tag = picture.header("etag").unwrap();
        let again = daemon.fetch(&format!("/v1/moments/{id}/thumbnail"), &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0));

        let preview = daemon.fetch(&format!("/v1/moments/{id}/preview?{}", span(&moment)), "");
        assert_eq!(preview.status, 200, "{file}: {preview:?}");
        let probe = probed(&world, &preview.body);
        assert_eq!((tracks(&probe, "video"), tracks(&probe, "sound")), (vec!["h264".to_owned()], vec![]), "{file}");
        assert!(probe["width"].as_u64() <= Some(320) && times(&probe).last() < Some(&8.0), "{file}: {probe}");

        let playback = daemon.json(&format!("/v1/moments/{id}/playback?{}", span(&moment)));
        assert_eq!(playback["how"], how, "{file}: {playback}");
        let (begins, seek) = (playback["begins_s"].as_f64().unwrap(), playback["seek_s"].as_f64().unwrap());
        assert!((begins + seek - start).abs() < 0.001 && seek >= 0.0, "{file}: {playback}, {moment}");
        let video = playback["video"].as_str().unwrap();
        let all = daemon.fetch(video, "");
        assert_eq!((all.status, all.header("content-type").as_deref()), (200, Some("video/mp4")), "{file}: {all:?}");
        let part = daemon.fetch(video, "Range: bytes=4-7\r\n");
        assert_eq!((part.status, part.body.as_slice()), (206, &b"ftyp"[..]), "{file}: {part:?}");
        if how == "file" {
            assert_eq!(video, format!("/v1/media/{media}/file"));
            assert_eq!(all.body, std::fs::read(videos.join(file)).unwrap());
            // More effort, if the browser cannot do with it.
            let more = daemon.json(&format!("/v1/moments/{id}/playback?how=transcoded&{}", span(&moment)));
            assert_eq!(more["how"], "transcoded");
            let probe = probed(&world, &daemon.fetch(more["video"].as_str().unwrap(), "").body);
            assert_eq!(probe["orientation"], json!({"rotate": 0, "mirror": false}), "{file}: {probe}");
        }
        // It shows the moment.
        let probe = probed(&world, &all.body);
        let last = begins + times(&probe).last().unwrap();
        assert!(last >= end - 0.6, "{file}: it ends at {last}, the moment at {end}: {playback}");
        assert!(playback["ends_s"].as_f64().is_none_or(|ends| ends + 0.1 >= last), "{file}: {playback}, {last}");

        for exact in [false, true] {
            let clip = daemon.fetch(&format!("/v1/moments/{id}/clip?exact={exact}&{}", span(&moment)), "");
            assert_eq!(clip.status, 200, "{file}: {clip:?}");
            let (stem, _) = file.rsplit_once('.').unwrap();
            let name = clip.header("content-disposition").unwrap();
            assert!(name.starts_with(&format!("attachment; filename=\"{stem} 00h0")), "{name}");
            let probe = probed(&world, &clip.body);
            let times = times(&probe);
            assert!(times[0] < 0.05 && *times.last().unwrap() > (end - start) - 0.6, "{file}, {exact}: {times:?}");
            if exact {
                assert!(*times.last().unwrap() < end - start, "{file}: {times:?}, {moment}");
            }
            let expected = world.json(&["probe", "--json", text(&videos.join(file))]);
            assert_eq!(probe["width"], expected["files"][0]["width"], "{file}, {exact}");
        }
    }
    // What was cut is found again in place of being cut again.
    let cached = std::fs::read_dir(world.data().join("playback")).unwrap().count();
    let moment = daemon.best("mpeg2.ts");
    daemon.json(&format!("/v1/moments/{}/playback?{}", moment["id"].as_str().unwrap(), span(&moment)));
    assert_eq!(std::fs::read_dir(world.data().join("playback")).unwrap().count(), cached);
    world.ok(&["verify"]);
}

#[test]
fn a_clip_shows_what_was_searched_for() {
    let world = World::new();
    world.ok(&["index", text(&footage("tape.mp4"))]);
    let out = world.dir.path().join("clips");
    let found =
        world.json(&["search", "a red circle moves to the right", "--save", "1", "--out", text(&out), "--json"]);
    let clip = found["moments"][0]["clip"].as_str().unwrap();
    assert!(clip.contains("clips/tape 00h00m0") && clip.ends_with("s.mp4"), "{clip}");
    assert!(found["moments"].as_array().unwrap().iter().skip(1).all(|moment| moment.get("clip").is_none()), "{found}");
    let exact = world.dir.path().join("exact.mp4");
    let moment = &found["moments"][0];
    let (start, end) = (moment["start_s"].to_string(), moment["end_s"].to_string());
    let id = moment["id"].as_str().unwrap();
    world.ok(&["clip", id, "-o", text(&exact), "--exact", "--start", &start, "--end", &end]);
    let length = moment["end_s"].as_f64().unwrap() - moment["start_s"].as_f64().unwrap();
    let probed = world.json(&["probe", "--json", text(&exact)]);
    let duration = probed["files"][0]["duration_s"].as_f64().unwrap();
    assert!((duration - length).abs() < 0.2, "{duration} in place of {length}");
    // Indexed by itself, it is found by the same words, for nearly all of its time.
    let other = World::new();
    other.ok(&["index", text(&exact)]);
    let again = other.json(&["search", "a red circle moves to the right", "--json", "--limit", "1"]);
    let score = |found: &Value| found["moments"][0]["score"].as_f64().unwrap();
    assert!(score(&again) > 0.8 * score(&found), "{again}, {found}");

    let ran = world.run(&["clip", "00000000-0000-0000-0000-000000000000", "-o", text(&exact)]);
    assert!(ran.code == 2 && ran.err.contains("no such moment"), "{ran:?}");
    let ran = world.run(&["clip", id, "-o", "/nowhere/at/all/a.mp4"]);
    assert!(ran.code == 2 && ran.err.contains("cannot write to /nowhere/at/all"), "{ran:?}");
    let ran = world.run(&["clip", id, "-o", text(&exact), "--exact", "--end", "99999"]);
    assert!(ran.code == 2 && ran.err.contains("may be 600 s long"), "{ran:?}");
}

#[test]
fn a_daemon_cuts_for_the_command_line() {
    let (world, videos) = world();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    world.ok(&["index", text(&videos)]);
    let _daemon = serve(&world, &[text(&videos)]);
    let out = world.dir.path().join("clips");
    let ran = world.ok(&["search", "an orange heart", "--limit", "1", "--save", "1", "--out", text(&out)]);
    assert_eq!(ran.out.matches("saved: ").count(), 1, "{ran:?}");
    let mut names: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() == 1 && names.iter().all(|name| name.starts_with("a 00h00m")), "{names:?}");
}

#[test]
fn only_what_is_indexed_is_handed_out() {
    let (world, videos) = world();
    let (file, secret) = (videos.join("a.mp4"), world.dir.path().join("secret.mp4"));
    std::fs::copy(footage("h264.mp4"), &file).unwrap();
    world.ok(&["index", text(&videos)]);
    let daemon = serve(&world, &[]);
    let moment = daemon.best("a.mp4");
    let (id, media) = (moment["id"].as_str().unwrap(), moment["media_id"].as_str().unwrap());
    let whole = format!("/v1/media/{media}/file");
    assert_eq!(daemon.fetch(&whole, "").status, 200);
    for target in [
        "/v1/media/00000000-0000-0000-0000-000000000000/file",
        "/v1/media/..%2f..%2f..%2fetc%2fpasswd/file",
        "/v1/media/%2fetc%2fpasswd/file",
        "/v1/media/../../../etc/passwd",
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/moments/00000000-0000-0000-0000-000000000000/thumbnail",
        "/v1/moments/x/preview",
    ] {
        let refused = daemon.fetch(target, "");
        assert!([400, 404].contains(&refused.status), "{target}: {refused:?}");
        assert_eq!(refused.header("content-type").as_deref(), Some("application/problem+json"), "{target}");
    }
    for wrong in ["start_s=-1", "start_s=5&end_s=5", "end_s=1e300", "how=magic", "start=5", "start_s=NaN"] {
        let refused = daemon.fetch(&format!("/v1/moments/{id}/playback?{wrong}"), "");
        assert_eq!(refused.status, 400, "{wrong}: {refused:?}");
    }
    // As large and as old, but elsewhere.
    std::fs::copy(&file, &secret).unwrap();
    let mut bytes = std::fs::read(&secret).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&secret, bytes).unwrap();
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::fs::File::options().write(true).open(&secret).unwrap().set_modified(time).unwrap();
    std::fs::remove_file(&file).unwrap();
    symlink(&secret, &file).unwrap();
    for target in [whole.clone(), format!("/v1/moments/{id}/playback"), format!("/v1/moments/{id}/clip")] {
        let refused = daemon.fetch(&target, "");
        let said = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(refused.status == 404 && said.contains("leads elsewhere"), "{target}: {refused:?}");
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, b"something else").unwrap();
    let refused = daemon.fetch(&whole, "");
    assert!(refused.status == 404 && String::from_utf8_lossy(&refused.body).contains("changed since"), "{refused:?}");
    std::fs::remove_file(&file).unwrap();
    let refused = daemon.fetch(&whole, "");
    assert!(refused.status == 404 && String::from_utf8_lossy(&refused.body).contains("no longer there"), "{refused:?}");
}

#[test]
fn every_window_has_a_score() {
    let (world, videos) = world();
    std::fs::copy(footage("tape.mp4"), videos.join("a.mp4")).unwrap();
    world.ok(&["index", text(&videos)]);
    let daemon = serve(&world, &[text(&videos)]);
    let row = daemon.listed(&videos.join("a.mp4")).unwrap();
    let media = row["media_id"].as_str().unwrap();
    let request = json!({"text": "a red circle moves to the right"}).to_string();
    let (status, answer) = daemon.ask("POST", &format!("/v1/media/{media}/scores"), &request).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    let scores = answer["scores"].as_array().unwrap();
    assert_eq!(scores.len() as u64, row["windows"].as_u64().unwrap());
    let best = scores.iter().max_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap()));
    let best = best.unwrap();
    let moment = daemon.json("/v1/search?text=a+red+circle+moves+to+the+right&limit=1")["moments"][0].clone();
    assert!((best["score"].as_f64().unwrap() - moment["score"].as_f64().unwrap()).abs() < 1e-4, "{best}, {moment}");
    assert!(answer["duration_s"].as_f64() > Some(40.0), "{answer}");
    let (status, _) = daemon.ask("POST", &format!("/v1/media/{}/scores", uuid::Uuid::nil()), &request).unwrap();
    assert_eq!(status, 400);
    // A cursor asks for nothing.
    let (status, answer) = daemon.ask("POST", &format!("/v1/media/{media}/scores"), r#"{"cursor": ""}"#).unwrap();
    assert!(status == 400 && answer.contains("say what to look for"), "{answer}");
}
