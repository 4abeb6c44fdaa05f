//! Questions asked in this process, as a service asks them: the same answers as the command line gives, by searchers that
//! are kept warm, closed for others and not asked by more than may.
#![cfg(feature = "edge")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clipseek::config::Settings;
use clipseek::parts::Parts;
use clipseek::search::{Mode, SearchError, SearchRequest, Searchers};

use super::support::{World, footage, text};

fn tight() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/systems/clip4clip-tight")
}

async fn searchers(world: &World, change: impl FnOnce(&mut Settings)) -> Arc<Searchers> {
    let mut settings = Settings { data_dir: world.data(), ..Settings::default() };
    change(&mut settings);
    let parts = Parts { settings };
    let archive = parts.existing_archive().await.unwrap().unwrap();
    parts.searchers(Arc::new(archive))
}

fn question(words: &str) -> SearchRequest {
    SearchRequest { text: Some(words.to_owned()), ..SearchRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_has_one_answer_however_it_is_asked() {
    let world = World::new();
    world.ok(&["index", text(&footage("tape.mp4")), text(&footage("turned.mp4")), "--label", "yard"]);
    let like = world.windows()[3].clone();
    let asked: [(&[&str], SearchRequest); 4] = [
        (&["a red ball"], question("a red ball")),
        (
            &["a red ball", "--path", "*.mp4", "--limit", "3", "--label", "yard"],
            SearchRequest {
                path: Some("*.mp4".to_owned()),
                limit: 3,
                label: Some("yard".to_owned()),
                ..question("a red ball")
            },
        ),
        (
            &["a red ball", "--not", "a blue square"],
            SearchRequest { not: vec!["a blue square".to_owned()], ..question("a red ball") },
        ),
        (&["--like", &like], SearchRequest { like: Some(like.parse().unwrap()), ..SearchRequest::default() }),
    ];
    // Before the store is open in this process, which has it for itself.
    let printed = asked.clone().map(|(flags, _)| world.json(&[&["search", "--json"], flags].concat()));
    let searchers = searchers(&world, |_| {}).await;
    // Twice, since the second time everything is warm.
    for _ in 0..2 {
        for ((flags, request), printed) in asked.clone().into_iter().zip(&printed) {
            let answer = searchers.answer(request).await.unwrap();
            assert!(!answer.moments.is_empty());
            // Through text as well: a number may be read a little off.
            let text = serde_json::json!({ "moments": answer.moments }).to_string();
            assert_eq!(*printed, serde_json::from_str::<serde_json::Value>(&text).unwrap(), "{flags:?}");
        }
    }
    let refused = searchers.answer(SearchRequest { mode: Mode::Text, ..question("ball") }).await;
    assert!(matches!(refused, Err(SearchError::Invalid(why)) if why.contains("writes no captions")));
}

/// Whether this process holds files of a collection open, or parts of them in its memory.
fn is_open(world: &World, collection: &str) -> bool {
    let folder = world.data().join("store").join(collection);
    let held = std::fs::read_to_string("/proc/self/maps").unwrap();
    let open =
        std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    held.contains(text(&folder)) || open.into_iter().any(|file| file.starts_with(&folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_recently_used_collection_is_closed_for_another() {
    let world = World::new();
    let (tape, model) = (footage("tape.mp4"), tight());
    world.ok(&["index", text(&tape), "--model", "shapes"]);
    world.ok(&["index", text(&tape), "--model", text(&model)]);
    let searchers = searchers(&world, |settings| settings.search.warm_models = 1).await;
    let ask = async |model: &str| {
        let request = SearchRequest { model: Some(model.to_owned()), ..question("a red ball") };
        searchers.answer(request).await.unwrap().moments
    };
    let collection = |name: &str| {
        let folders = std::fs::read_dir(world.data().join("store")).unwrap().flatten();
        let mut names = folders.map(|folder| folder.file_name().into_string().unwrap());
        names.find(|folder| folder.starts_with(&format!("clipseek_{name}"))).unwrap()
    };
    let (shapes, other) = (collection("shapes"), collection("clip4clip-tight"));
    let first = ask("shapes").await;
    assert!(is_open(&world, &shapes) && !is_open(&world, &other));
    assert!(!ask(text(&model)).await.is_empty());
    assert!(is_open(&world, &other) && !is_open(&world, &shapes));
    let again: Vec<_> = ask("shapes").await.into_iter().map(|moment| moment.id).collect();
    assert_eq!(again, first.into_iter().map(|moment| moment.id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_more_ask_than_may_and_who_goes_away_keeps_the_place_until_the_search_ends() {
    let world = World::new();
    world.ok(&["index", text(&footage("tape.mp4"))]);
    let one_at_a_time = |settings: &mut Settings| (settings.search.concurrent, settings.search.queue) = (Some(1), 0);
    let searchers = searchers(&world, one_at_a_time).await;
    let (first, second) = tokio::join!(searchers.answer(question("a ball")), searchers.answer(question("a ball")));
    assert!(first.is_ok() && matches!(second, Err(SearchError::QueueFull { waiting: 0 })), "{second:?}");
    {
        let gone = searchers.answer(question("a square"));
        tokio::pin!(gone);
        tokio::select! { biased; _ = &mut gone => panic!("answered at once"), () = std::future::ready(()) => {} }
    }
    let refused = searchers.answer(question("a ball")).await;
    assert!(matches!(refused, Err(SearchError::QueueFull { .. })), "{refused:?}");
    while searchers.answer(question("a ball")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
