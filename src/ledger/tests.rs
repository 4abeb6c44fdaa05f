use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::decode::{Probe, Problem, ProblemKind};
use crate::source::glob::PathGlob;
use crate::source::{MediaId, Stat};
use crate::store::Tally;

const STAT: Stat = Stat { size: 7, modified_ns: 9 };
const A: &str = "/v/a.mp4";
const B: &str = "/v/b.mp4";

fn media(number: u128) -> MediaId {
    MediaId(Uuid::from_u128(number))
}

fn content(number: u128) -> Owned {
    Owned { media_id: media(number), collection: "c".into(), plan: "p".into() }
}

fn said(label: &str) -> Said {
    Said { label: Some(label.into()), tags: vec!["x".into()] }
}

fn done(windows: u64) -> Progress {
    Progress {
        plan: "p".into(),
        state: ProgressState::Done,
        resume_at: 0,
        tally: Tally { windows, ids: 5 },
        last_picture: Some(Duration::from_secs(3)),
        problems: vec![
            Problem::new(ProblemKind::CutShort, "7 bytes are missing").between(Duration::ZERO, Duration::from_secs(1)),
        ],
    }
}

struct Book {
    dir: tempfile::TempDir,
    ledger: Ledger,
}

impl Book {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.sqlite")).await.unwrap();
        Self { dir, ledger }
    }

    async fn begin(&self, path: &str, content: Owned) -> Began {
        self.ledger.begin(Path::new(path), STAT, content, Said::default(), Vec::new()).await.unwrap()
    }

    async fn index(&self, path: &str, content: Owned) {
        self.begin(path, content.clone()).await;
        self.ledger.finish(Path::new(path), STAT, content, done(3), Vec::new()).await.unwrap();
    }

    async fn fail(&self, path: &str, said: Said) {
        let failure = Failure { kind: FailureKind::Damaged, reason: "damaged".into() };
        self.ledger.fail(Path::new(path), "c", Some(STAT), failure, said).await.unwrap();
    }

    async fn file(&self, path: &str) -> FileRow {
        self.ledger.file(Path::new(path), "c").await.unwrap().unwrap()
    }

    async fn shown(&self, content: Owned) -> bool {
        let whose = vec![(content.media_id, content.plan)];
        self.ledger.hidden(&content.collection, whose).await.unwrap().is_empty()
    }
}

#[tokio::test]
async fn what_is_written_is_read_again_after_reopening() {
    let book = Book::open().await;
    let path = Path::new(OsStr::from_bytes(b"/v/\xff.mp4"));
    let (ledger, owner) = (&book.ledger, book.ledger.owner());
    ledger.begin(path, STAT, content(1), said("garage"), Vec::new()).await.unwrap();
    ledger.probed(media(1), Probe { width: 3, ..Probe::default() }).await.unwrap();
    ledger.finish(path, STAT, content(1), done(3), Vec::new()).await.unwrap();
    let Book { dir, ledger } = book;
    drop(ledger);
    let ledger = Ledger::open(&dir.path().join("ledger.sqlite")).await.unwrap();
    let file = ledger.file(path, "c").await.unwrap().unwrap();
    assert_eq!((file.path.as_path(), file.state, file.media_id), (path, FileState::Indexed, Some(media(1))));
    let row = ledger.media(media(1)).await.unwrap().unwrap();
    assert_eq!((row.said, row.probe.map(|probe| probe.width)), (said("garage"), Some(3)));
    assert_eq!(ledger.progress(media(1), "c").await.unwrap(), [done(3)]);
    assert_eq!(ledger.owner(), owner);
}

#[tokio::test]
async fn a_replaced_content_leaves_only_once_the_new_one_is_in() {
    let book = Book::open().await;
    book.index(A, content(1)).await;
    book.begin(A, content(2)).await;
    assert_eq!(book.file(A).await.media_id, Some(media(1)));
    assert!(book.shown(content(1)).await && !book.shown(content(2)).await, "the old one until the new one is whole");
    assert_eq!(book.ledger.leaving().await.unwrap(), []);
    book.ledger.finish(Path::new(A), STAT, content(2), done(5), Vec::new()).await.unwrap();
    assert!(!book.shown(content(1)).await && book.shown(content(2)).await);
    assert_eq!(book.ledger.leaving().await.unwrap(), [content(1)]);
    book.ledger.left(content(1)).await.unwrap();
    assert_eq!(book.ledger.media(media(1)).await.unwrap(), None);
    assert_eq!(book.file(A).await.media_id, Some(media(2)));
}

#[tokio::test]
async fn another_plan_is_written_beside_the_old_one_and_a_failure_takes_only_the_new_one() {
    let book = Book::open().await;
    let other = Owned { plan: "q".into(), ..content(1) };
    book.index(A, content(1)).await;
    book.begin(A, other.clone()).await;
    assert!(book.shown(content(1)).await && !book.shown(other.clone()).await);
    book.fail(A, Said::default()).await;
    assert_eq!(book.ledger.leaving().await.unwrap(), std::slice::from_ref(&other));
    assert!(book.shown(content(1)).await);
    let file = book.file(A).await;
    assert_eq!((file.state, file.media_id, file.tries), (FileState::Failed, Some(media(1)), 1));
    assert_eq!(book.begin(A, other.clone()).await, Began::Leaving(other.clone()), "first it has to go");
    book.ledger.left(other.clone()).await.unwrap();
    book.index(A, other.clone()).await;
    assert_eq!(book.ledger.leaving().await.unwrap(), [content(1)]);
    assert!(book.shown(other).await);
}

#[tokio::test]
async fn a_medium_that_is_indexed_for_the_first_time_is_shown_while_it_grows_and_leaves_when_it_fails() {
    let book = Book::open().await;
    book.begin(A, content(1)).await;
    assert!(book.shown(content(1)).await);
    book.fail(A, Said::default()).await;
    assert!(!book.shown(content(1)).await);
    assert_eq!(book.ledger.leaving().await.unwrap(), [content(1)]);
}

#[tokio::test]
async fn a_copy_keeps_the_content_when_the_other_one_is_forgotten() {
    let book = Book::open().await;
    book.index(A, content(1)).await;
    assert_eq!(book.begin(B, content(1)).await, Began::Known);
    book.ledger.forget_files(vec![(A.into(), "c".into())]).await.unwrap();
    assert_eq!(book.ledger.leaving().await.unwrap(), []);
    assert!(book.shown(content(1)).await);
    book.ledger.forget_files(vec![(B.into(), "c".into())]).await.unwrap();
    assert_eq!(book.ledger.leaving().await.unwrap(), [content(1)]);
}

#[tokio::test]
async fn a_failure_belongs_to_its_collection() {
    let book = Book::open().await;
    book.index(A, content(1)).await;
    let other = Owned { collection: "d".into(), ..content(1) };
    book.begin(A, other).await;
    let failure = Failure { kind: FailureKind::DecoderDied, reason: "it died".into() };
    book.ledger.fail(Path::new(A), "d", Some(STAT), failure.clone(), Said::default()).await.unwrap();
    assert_eq!(book.file(A).await.failure, None);
    book.index(A, content(2)).await;
    let failed = book.ledger.file(Path::new(A), "d").await.unwrap().unwrap();
    assert_eq!(failed.failure, Some(failure));
}

#[tokio::test]
async fn what_was_said_survives_failures_and_changed_contents() {
    let book = Book::open().await;
    book.fail(A, said("garage")).await;
    book.fail(A, Said::default()).await;
    assert_eq!(book.file(A).await.tries, 2);
    let Began::Writing(begun) = book.begin(A, content(1)).await else { panic!("it is new") };
    assert_eq!(begun.row.said, said("garage"));
    // It fails in the middle, and grows before it is tried again.
    book.fail(A, Said::default()).await;
    let Began::Writing(begun) = book.begin(A, content(2)).await else { panic!("it is new") };
    assert_eq!(begun.row.said, said("garage"));
    book.ledger.finish(Path::new(A), STAT, content(2), done(1), Vec::new()).await.unwrap();
    let Began::Writing(begun) = book.begin(A, content(3)).await else { panic!("it is new") };
    assert_eq!(begun.row.said, said("garage"), "another content at the same path");
    let begun = book.ledger.begin(Path::new(A), STAT, content(3), said("garden"), Vec::new()).await.unwrap();
    let Began::Writing(begun) = begun else { panic!("it is not done") };
    assert_eq!(begun.row.said, said("garden"), "what is said now counts");
}

#[tokio::test]
async fn new_words_are_a_debt_until_the_records_have_them() {
    let book = Book::open().await;
    book.index(A, content(1)).await;
    book.ledger.say(media(1), said("garage")).await.unwrap();
    assert_eq!(book.ledger.to_annotate().await.unwrap(), [(media(1), said("garage"), vec!["c".to_owned()])]);
    book.ledger.annotated(media(1), Said::default()).await.unwrap();
    assert_eq!(book.ledger.to_annotate().await.unwrap().len(), 1, "other words than those were brought there");
    book.ledger.annotated(media(1), said("garage")).await.unwrap();
    assert_eq!(book.ledger.to_annotate().await.unwrap(), []);
}

#[tokio::test]
async fn a_damaged_file_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    std::fs::write(&path, b"this is no database, whatever it is called; it goes on for a while".repeat(40)).unwrap();
    let error = Ledger::open(&path).await.err().unwrap().to_string();
    assert!(error.contains("is damaged") && error.contains("move it away"), "{error}");
}

/// A backup that is put in its place, for example: nothing is written to a file that nobody will find again.
#[tokio::test]
async fn a_file_that_was_moved_or_replaced_is_not_written_to_until_it_is_back() {
    let book = Book::open().await;
    book.index(A, content(1)).await;
    let (path, away) = (book.dir.path().join("ledger.sqlite"), book.dir.path().join("away.sqlite"));
    std::fs::rename(&path, &away).unwrap();
    let error = book.ledger.progress(media(1), "c").await.err().unwrap().to_string();
    assert!(error.contains("was moved, removed or replaced"), "{error}");
    std::fs::copy(&away, &path).unwrap();
    assert!(matches!(book.ledger.counts("c").await, Err(LedgerError::Moved { .. })));
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(book.ledger.counts("c").await.unwrap().windows, 3);
}

#[tokio::test]
async fn ledgers_of_before_and_of_later_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE files (path BLOB PRIMARY KEY); PRAGMA user_version = 1").unwrap();
    let error = Ledger::open(&path).await.err().unwrap();
    assert!(matches!(error, LedgerError::Outdated { .. }), "{error}");
    assert!(error.to_string().contains("choose another with --data"), "{error}");

    let later = dir.path().join("later.sqlite");
    drop(Ledger::open(&later).await.unwrap());
    Connection::open(&later).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Ledger::open(&later).await.err().unwrap();
    assert!(matches!(error, LedgerError::Later { found: 99, known: 4, .. }), "{error}");
}

#[tokio::test]
async fn paths_are_found_by_patterns_in_an_index() {
    let book = Book::open().await;
    let paths = ["/v/garage/a.mp4", "/v/garage/b \"x\".mkv", "/v/yard/a.mp4", "/v/yard/ab"];
    for (number, path) in (1..).zip(paths) {
        book.index(path, content(number)).await;
    }
    let found = async |pattern: &str| {
        let glob = PathGlob::new(pattern).unwrap();
        book.ledger.media_at("c", glob).await.unwrap().into_iter().map(|id| id.0.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(found("*.mp4").await, [1, 3]);
    assert_eq!(found("garage/*").await, [1, 2]);
    assert_eq!(found("b \"x\".*").await, [2]);
    assert_eq!(found("/v/*/ab").await, [4], "without three characters in a row");
    assert_eq!(found("{a,b}*").await, [1, 2, 3, 4]);
    assert_eq!(found("cellar/*").await, [0_u128; 0]);
    assert_eq!(book.ledger.media_at("other", PathGlob::new("*").unwrap()).await.unwrap(), []);
    book.ledger.forget_files(vec![(paths[0].into(), "c".into())]).await.unwrap();
    book.index(paths[2], content(5)).await;
    assert_eq!(found("*.mp4").await, [5]);
    let kept = book.ledger.read(|db| db.query_row("SELECT count(*) FROM paths", [], |row| row.get::<_, u64>(0)));
    assert_eq!(kept.await.unwrap(), 3);
}

#[tokio::test]
async fn a_name_is_found_however_its_letters_are_encoded() {
    let (composed, decomposed) = ("/v/caf\u{e9}/\u{d55c}.mp4", "/v/cafe\u{301}/\u{1112}\u{1161}\u{11ab}.mp4");
    for (kept, typed) in [(composed, decomposed), (decomposed, composed)] {
        let book = Book::open().await;
        book.index(kept, content(1)).await;
        book.index("/v/cafe/a.mp4", content(2)).await;
        let files = book.ledger.files_at(Path::new(typed)).await.unwrap();
        assert_eq!(files.iter().map(|file| file.path.to_str()).collect::<Vec<_>>(), [Some(kept)]);
        let pattern = format!("{}*", &typed[..typed.len() - ".mp4".len()]);
        let media_at = book.ledger.media_at("c", PathGlob::new(&pattern).unwrap()).await.unwrap();
        assert_eq!(media_at, [media(1)]);
    }
}

#[tokio::test]
async fn an_earlier_ledger_gets_its_index_of_paths() {
    let book = Book::open().await;
    book.index(A, content(1)).await;
    let Book { dir, ledger } = book;
    drop(ledger);
    let path = dir.path().join("ledger.sqlite");
    let connection = Connection::open(&path).unwrap();
    let earlier = "DROP TRIGGER paths_appear; DROP TRIGGER paths_go; DROP TABLE paths; DROP TABLE path_trigrams;
        DROP TRIGGER live_goes; DROP TABLE live; DROP TABLE epochs; DROP TABLE sources; DROP TABLE paused;";
    connection.execute_batch(earlier).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let ledger = Ledger::open(&path).await.unwrap();
    assert_eq!(ledger.media_at("c", PathGlob::new("a.mp4").unwrap()).await.unwrap(), [media(1)]);
}

#[tokio::test]
async fn added_sources_are_kept_with_their_addresses() {
    use crate::config::SourceSettings;
    use crate::secret::SecretUrl;
    let book = Book::open().await;
    let uri = Some(SecretUrl::new("rtsp://door.lan/1?channel=1"));
    let source = SourceSettings { name: "door".into(), uri, tags: vec!["x".into()], ..SourceSettings::default() };
    book.ledger.add_source(source.clone()).await.unwrap();
    book.ledger.pause_source("door", true).await.unwrap();
    book.ledger.pause_source("other", true).await.unwrap();
    assert_eq!(book.ledger.added_sources().await.unwrap(), [source]);
    assert_eq!(book.ledger.paused_sources().await.unwrap().len(), 2);
    assert!(book.ledger.remove_source("door").await.unwrap());
    assert!(!book.ledger.remove_source("door").await.unwrap());
    assert_eq!(book.ledger.paused_sources().await.unwrap().into_iter().collect::<Vec<_>>(), ["other"]);
}

#[tokio::test]
async fn only_what_is_not_indexed_as_it_is_is_outdated() {
    let book = Book::open().await;
    book.index(A, content(1)).await;
    book.ledger.say(media(1), said("garage")).await.unwrap();
    let outdated = async |path: &str, stat: Stat, plan: &str, said: Said| {
        !book.ledger.outdated(vec![(path.into(), stat)], "c", plan, &said).await.unwrap().is_empty()
    };
    assert!(!outdated(A, STAT, "p", Said::default()).await);
    assert!(!outdated(A, STAT, "p", said("garage")).await);
    assert!(outdated(A, STAT, "p", said("garden")).await, "another label");
    assert!(outdated(A, STAT, "q", Said::default()).await, "another plan");
    assert!(outdated(A, Stat { size: 8, ..STAT }, "p", Said::default()).await, "it changed");
    assert!(outdated(B, STAT, "p", Said::default()).await, "unknown");
    book.begin(B, content(2)).await;
    assert!(outdated(B, STAT, "p", Said::default()).await, "begun");
    book.fail(B, Said::default()).await;
    assert!(!outdated(B, STAT, "p", Said::default()).await, "damaged, and it will be");
    assert!(outdated(B, Stat { size: 8, ..STAT }, "p", Said::default()).await, "it changed");
    let died = || Failure { kind: FailureKind::DecoderDied, reason: "died".into() };
    let path = Path::new("/v/c.mp4");
    book.ledger.fail(path, "c", Some(STAT), died(), Said::default()).await.unwrap();
    assert!(outdated("/v/c.mp4", STAT, "p", Said::default()).await, "once more");
    book.ledger.fail(path, "c", Some(STAT), died(), Said::default()).await.unwrap();
    assert!(!outdated("/v/c.mp4", STAT, "p", Said::default()).await, "and not again by itself");
}

#[tokio::test]
async fn files_below_a_folder_are_counted_and_not_those_beside_it() {
    let book = Book::open().await;
    for (number, path) in ["/v/a.mp4", "/v/sub/b.mp4", "/v.mp4", "/v0/c.mp4", "/w/d.mp4"].iter().enumerate() {
        book.index(path, content(number as u128)).await;
    }
    book.fail("/v/sub/bad.mp4", Said::default()).await;
    let count = async |folder: &str| book.ledger.count_below(Path::new(folder), "c").await.unwrap();
    assert_eq!((count("/v").await, count("/v/sub/").await, count("/v/s").await), ((3, 1), (2, 1), (0, 0)));
    assert_eq!(count("/").await, (6, 1));
}
