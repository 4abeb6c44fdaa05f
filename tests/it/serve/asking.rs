//! Searching over HTTP: pages, groups, sources, times of the day; and changing what is indexed.

use serde_json::json;

use super::*;

#[test]
fn an_answer_goes_on_page_by_page() {
    let (world, videos) = world();
    std::fs::copy(footage("tape.mp4"), videos.join("a.mp4")).unwrap();
    std::fs::copy(footage("h264.mp4"), videos.join("b.mp4")).unwrap();
    world.ok(&["index", text(&videos)]);
    let daemon = serve(&world, &[text(&videos)]);
    let (mut pages, mut page) = (Vec::new(), daemon.json("/v1/search?text=a+red+circle&limit=3"));
    loop {
        pages.push(page["moments"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str().map(str::to_owned) else { break };
        page = daemon.json(&format!("/v1/search?cursor={next}&limit=3"));
        assert_eq!(page, daemon.json(&format!("/v1/search?cursor={next}&limit=3")), "the same page again");
        assert!(pages.len() < 100);
    }
    let all: Vec<Value> = pages.concat();
    assert!(pages.len() > 2 && pages[..pages.len() - 1].iter().all(|page| page.len() == 3), "{}", pages.len());
    let mut ids: Vec<&str> = all.iter().map(|moment| moment["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "no moment comes twice");
    let (status, said) = daemon.get("/v1/search?cursor=00000000000000000000000000000007.3").unwrap();
    assert!(status == 410 && said.contains("search again"), "{said}");
    let (status, said) = daemon.get("/v1/search?cursor=x&text=a").unwrap();
    assert!(status == 400 && said.contains("only limit"), "{said}");

    let grouped = daemon.json("/v1/search?text=a+red+circle&limit=200&group=true");
    let groups = grouped["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    let best = groups[0]["moments"][0].as_u64().unwrap() as usize;
    assert_eq!(groups[0]["media_id"], grouped["moments"][best]["media_id"]);
    let counted: usize = groups.iter().map(|group| group["moments"].as_array().unwrap().len()).sum();
    assert_eq!(counted, grouped["moments"].as_array().unwrap().len());
    let printed = world.ok(&["search", "a red circle", "--group"]).out;
    assert_eq!(
        printed.lines().filter(|line| line.ends_with("videos/a.mp4") && !line.starts_with(' ')).count(),
        1,
        "{printed}"
    );
    let diverse = daemon.json("/v1/search?text=a+red+circle&limit=5&diversity=0.7");
    let plain = daemon.json("/v1/search?text=a+red+circle&limit=5");
    assert_eq!(diverse["moments"][0]["id"], plain["moments"][0]["id"]);
    assert_ne!(diverse["moments"], plain["moments"]);
    let both = daemon.json("/v1/search?texts=a+red+circle&texts=a+scarlet+disc&limit=1");
    assert_eq!(both["moments"].as_array().unwrap().len(), 1);
}

#[test]
fn a_source_and_a_time_of_the_day_narrow() {
    let (world, videos) = world();
    let inner = videos.join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    std::fs::copy(footage("vp9.webm"), inner.join("b.webm")).unwrap();
    world.ok(&["index", text(&videos)]);
    let daemon = serve(&world, &[text(&videos), text(&inner)]);
    let files = |source: &str| {
        let found = daemon.json(&format!("/v1/search?text=an+orange+heart&source={source}&limit=100"));
        let mut names: Vec<String> = found["moments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|moment| {
                format!("{} {}", moment["source"], moment["path"].as_str().unwrap().rsplit('/').next().unwrap())
            })
            .collect();
        names.dedup();
        names
    };
    assert_eq!(files("videos"), ["\"videos\" a.mp4"]);
    assert_eq!(files("inner"), ["\"inner\" b.webm"]);
    assert_eq!(files("nobody"), Vec::<String>::new());
    assert_eq!(world.run(&["search", "an orange heart", "--source", "nobody"]).code, 1);
    assert_eq!(daemon.json("/v1/search?text=x&between=22:00-06:00"), json!({"moments": []}), "nothing knows its time");
    let (status, said) = daemon.get("/v1/search?text=x&between=night").unwrap();
    assert!(status == 400 && said.contains("22:00-06:00"), "{said}");
    let ran = world.run(&["search", "x", "--between", "25:00-26:00"]);
    assert!(ran.code == 2 && ran.err.contains("22:00-06:00"), "{ran:?}");
}

#[test]
fn media_are_labelled_indexed_again_and_removed() {
    let (world, videos) = world();
    let file = videos.join("a.mp4");
    std::fs::copy(footage("h264.mp4"), &file).unwrap();
    world.ok(&["index", text(&file)]);
    let daemon = serve(&world, &[]);
    let media = daemon.listed(&file).unwrap()["media_id"].as_str().unwrap().to_owned();
    let target = format!("/v1/media/{media}");
    let (status, shown) = daemon.ask("PATCH", &target, r#"{"label": "garage", "tags": ["night"]}"#).unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((status, &shown["label"], &shown["tags"]), (200, &json!("garage"), &json!(["night"])));
    let found = daemon.json("/v1/search?text=an+orange+heart&label=garage&tags=night&limit=1");
    assert_eq!(found["moments"][0]["label"], "garage");
    let (status, shown) = daemon.ask("PATCH", &target, r#"{"label": null}"#).unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((status, &shown["label"], &shown["tags"]), (200, &Value::Null, &json!(["night"])), "tags stay");
    assert_eq!(daemon.ask("PATCH", &target, r#"{"name": "x"}"#).unwrap().0, 422);
    assert_eq!(daemon.ask("PATCH", &format!("/v1/media/{}", uuid::Uuid::nil()), "{}").unwrap().0, 404);

    let before = world.windows();
    let (status, job) = daemon.ask("POST", &format!("{target}/reindex"), "").unwrap();
    let job: Value = serde_json::from_str(&job).unwrap();
    assert_eq!((status, &job["kind"]), (202, &json!("reindex")), "{job}");
    let state = || daemon.json(&format!("/v1/jobs/{}", job["id"]));
    daemon.until("it is indexed again", || state()["state"] == "done");
    assert_eq!(state()["result"]["index"]["report"]["indexed"], 1, "{}", state());
    assert_eq!(world.windows(), before);
    assert_eq!(daemon.json(&target)["tags"], json!(["night"]));

    let (status, removed) = daemon.ask("DELETE", &target, "").unwrap();
    let removed: Value = serde_json::from_str(&removed).unwrap();
    assert_eq!((status, &removed["removed"]), (200, &json!(1)));
    assert!(file.exists() && daemon.json("/v1/search?text=an+orange+heart")["moments"] == json!([]));
    assert_eq!(daemon.ask("DELETE", &target, "").unwrap().0, 404);
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}

#[test]
fn sources_are_added_paused_and_removed() {
    let (world, videos) = world();
    let (other, config) = (world.dir.path().join("other"), world.dir.path().join("clipseek.toml"));
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    std::fs::copy(footage("vp9.webm"), other.join("b.webm")).unwrap();
    let settings = |rest: &str| {
        format!(
            "[serve]\nadd_folders = [{:?}]\nadd_schemes = [\"rtsp\"]\nadd_hosts = [\"*.lan\"]\n{rest}",
            text(world.dir.path())
        )
    };
    std::fs::write(&config, settings(&format!("[[source]]\nname = \"main\"\npath = {:?}\n", text(&videos)))).unwrap();
    let daemon = serve(&world, &["--config", text(&config)]);
    let add = |body: Value| daemon.ask("POST", "/v1/sources", &body.to_string()).unwrap();
    let (status, row) = add(json!({"name": "more", "path": text(&other)}));
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!((status, &row["name"], &row["added"]), (201, &json!("more"), &json!(true)), "{row}");
    daemon.until_indexed(&other.join("b.webm"));
    for (body, expected, said) in [
        (json!({"name": "more", "path": text(&other)}), 409, "already"),
        (json!({"name": "main", "path": text(&other)}), 409, "already"),
        (json!({"name": "twin", "path": text(&other)}), 422, "that of source"),
        (json!({"name": "etc", "path": "/etc"}), 403, "serve.add_folders"),
        (json!({"name": "up", "path": format!("{}/../..", text(&other))}), 403, "serve.add_folders"),
        (json!({"name": "c", "uri": "rtsp://me:sesame@door.lan/1"}), 422, "password_env"),
        (json!({"name": "c", "uri": "rtsp://evil.example/1"}), 403, "serve.add_hosts"),
        (json!({"name": "c", "uri": "udp://door.lan:5000"}), 403, "serve.add_schemes"),
        (json!({"name": "a/b", "path": text(&other)}), 422, "letters and digits"),
        (json!({"name": "c"}), 422, "path or uri is needed"),
        (json!({"nme": "c"}), 422, "unknown field"),
    ] {
        let (status, answer) = add(body.clone());
        assert!(status == expected && answer.contains(said) && !answer.contains("sesame"), "{body}: {status} {answer}");
    }
    let ask = |method: &str, target: &str| daemon.ask(method, target, "").unwrap().0;
    for name in ["main", "more"] {
        assert_eq!(ask("POST", &format!("/v1/sources/{name}/pause")), 200);
        assert_eq!(daemon.source(name)["state"], "paused");
    }
    std::fs::copy(footage("h264-bframes.mkv"), other.join("c.mkv")).unwrap();
    assert_eq!(ask("POST", "/v1/sources/nobody/pause"), 404);
    assert_eq!(ask("DELETE", "/v1/sources/nobody"), 404);
    assert_eq!(ask("DELETE", "/v1/sources/main"), 409);
    assert_eq!(daemon.end(), Some(0));

    // It stays so over a restart.
    let daemon = serve(&world, &["--config", text(&config)]);
    assert_eq!(
        (&daemon.source("main")["state"], &daemon.source("more")["state"]),
        (&json!("paused"), &json!("paused"))
    );
    assert!(daemon.listed(&other.join("c.mkv")).is_none());
    assert_eq!(daemon.ask("POST", "/v1/sources/more/resume", "").unwrap().0, 200);
    daemon.until_indexed(&other.join("c.mkv"));
    assert_eq!(daemon.source("more")["state"], "watching");
    // The settings win where both name a source.
    std::fs::write(&config, settings(&format!("[[source]]\nname = \"more\"\npath = {:?}\n", text(&videos)))).unwrap();
    daemon.signal("HUP");
    let path = || {
        let rows = daemon.json("/v1/sources");
        let row = rows["sources"].as_array().unwrap().iter().find(|row| row["name"] == "more").cloned();
        row.map_or(Value::Null, |row| row["path"].clone())
    };
    daemon.until("the settings count", || path() == text(&videos));
    assert_eq!(daemon.source("more")["added"], false);
    std::fs::write(&config, settings("")).unwrap();
    daemon.signal("HUP");
    daemon.until("the added one is back", || path() == text(&other));
    assert_eq!(daemon.ask("DELETE", "/v1/sources/more", "").unwrap().0, 204);
    assert_eq!(daemon.json("/v1/sources"), json!({"sources": []}));
    assert!(daemon.listed(&other.join("b.webm")).is_some(), "what it brought stays");
    assert_eq!(daemon.end(), Some(0));
    world.ok(&["verify"]);
}

#[test]
fn it_says_what_it_is() {
    let (world, _) = world();
    let daemon = serve(&world, &[]);
    assert_eq!(daemon.json("/v1/version")["version"], env!("CARGO_PKG_VERSION"));
    let models = daemon.json("/v1/models");
    let shapes = models["models"].as_array().unwrap().iter().find(|model| model["name"] == "shapes").unwrap();
    assert_eq!((&shapes["selected"], shapes["dim"].as_u64() > Some(0)), (&json!(true), true), "{models}");
    let may = json!({"role": "admin", "needs_token": false, "can_add_folders": false, "can_add_streams": false});
    assert_eq!(daemon.json("/v1/session"), may);
}
