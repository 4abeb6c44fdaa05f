//! The indexer of the daemon: what it does with what sources find.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clipseek::archive::Archive;
use clipseek::clock::Clock;
use clipseek::ingest::backlog::Order;
use clipseek::ingest::steady::{Feed, Steady};
use clipseek::ingest::{Lazy, Priority};
use clipseek::ledger::{FileState, Said};
use clipseek::source::Stat;
use clipseek::store::StoreError;
use tokio_util::sync::CancellationToken;

use super::faults::{FaultyCatalog, StoreFault};
use super::footage::{DAMAGED, Mishap};
use super::world::{Run, World};

/// An indexer at work over a world.
struct Scene {
    world: World,
    catalog: FaultyCatalog,
    archive: Arc<Archive>,
    steady: Arc<Steady>,
    feed: Arc<Feed>,
    clock: Clock,
    stop: CancellationToken,
    working: tokio::task::JoinHandle<()>,
}

impl Scene {
    async fn new(run: &Run) -> Self {
        let (world, catalog) = (World::new(), FaultyCatalog::default());
        let archive = Arc::new(world.archive(Arc::new(catalog.clone())).await);
        let (clock, stop) = (Clock::manual(), CancellationToken::new());
        let steady = Steady::new(Order::OldestFirst, clock.clone());
        let feed = Arc::new(Feed {
            source: "s".into(),
            ingest: Arc::new(world.ingest(&archive, run)),
            plan: world.plan(0, 0),
            said: Said::default(),
        });
        let working = tokio::spawn({
            let (steady, stop) = (Arc::clone(&steady), stop.clone());
            async move { steady.run(2, stop).await }
        });
        Self { world, catalog, archive, steady, feed, clock, stop, working }
    }

    fn write(&self, number: usize, bytes: &[u8]) -> PathBuf {
        let path = self.world.path(number);
        self.world.write(&path, bytes);
        path
    }

    fn push(&self, path: &Path) {
        assert!(self.steady.push(&self.feed, Priority::Fresh, vec![(path.to_path_buf(), Stat::of(path).unwrap())]));
    }

    async fn state(&self, path: &Path) -> Option<FileState> {
        let row = self.archive.ledger.file(path, &self.feed.ingest.bundle.collection()).await.unwrap();
        row.map(|row| row.state)
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        for _ in 0..2000 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to this: {what}");
    }

    async fn until_idle(&self) {
        self.until("nothing is pending", async || self.steady.pending("s") == 0).await;
    }

    /// Ends it; the archive is as it should be.
    async fn end(self) {
        self.stop.cancel();
        self.working.await.unwrap();
        let (world, catalog) = (self.world, self.catalog);
        drop((self.archive, self.feed, self.steady));
        let (differences, summary) = world.verify(Arc::new(catalog), None).await;
        assert!(differences.is_empty() && summary.unknown == 0, "{differences:#?}");
    }
}

#[tokio::test]
async fn files_are_indexed_and_bad_ones_noted() {
    let scene = Scene::new(&Run::default()).await;
    let (good, bad, gone) = (scene.write(0, &[1; 20]), scene.write(1, &[DAMAGED]), scene.write(2, &[2; 20]));
    let pause = scene.steady.pause().await;
    for path in [&good, &bad, &gone] {
        scene.push(path);
    }
    std::fs::remove_file(&gone).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((scene.state(&good).await, scene.steady.pending("s")), (None, 3), "nothing begins in a pause");
    drop(pause);
    scene.until_idle().await;
    let states = (scene.state(&good).await, scene.state(&bad).await, scene.state(&gone).await);
    assert_eq!(states.0, Some(FileState::Indexed));
    assert!(matches!(states.1, Some(FileState::Failed | FileState::Indexed)));
    assert_eq!(states.2, None, "a file that vanished is no failure");
    scene.end().await;
}

#[tokio::test]
async fn a_panic_ends_its_file_and_nothing_else() {
    let scene = Scene::new(&Run { mishap: Mishap::Panics(5), ..Run::default() }).await;
    let (first, second) = (scene.write(0, &[1; 20]), scene.write(1, &[2; 20]));
    scene.push(&first);
    scene.until_idle().await;
    assert_eq!(scene.state(&first).await, Some(FileState::Failed));
    scene.push(&second);
    scene.until_idle().await;
    assert_eq!(scene.state(&second).await, Some(FileState::Indexed));
    scene.end().await;
}

#[tokio::test]
async fn a_file_that_changed_while_it_was_read_is_read_again_and_is_no_failure() {
    let scene = Scene::new(&Run { mishap: Mishap::Grows(5), ..Run::default() }).await;
    let path = scene.write(0, &[1; 20]);
    scene.push(&path);
    // The watch tells of the change, at the latest when the file has been quiet for a while.
    scene.until("it was read", async || Stat::of(&path).unwrap().size > 20).await;
    scene.push(&path);
    scene.until_idle().await;
    assert_eq!(scene.state(&path).await, Some(FileState::Indexed));
    scene.end().await;
}

#[tokio::test]
async fn when_the_store_is_away_everything_waits_and_goes_on_by_itself() {
    let scene = Scene::new(&Run::default()).await;
    scene.catalog.arm(0, StoreFault::Away);
    let path = scene.write(0, &[1; 20]);
    scene.push(&path);
    scene.until("it says so", async || scene.steady.trouble().is_some()).await;
    assert_eq!(scene.steady.pending("s"), 1);
    assert_ne!(scene.state(&path).await, Some(FileState::Failed), "it is not the file's fault");
    // Not before its time, which is at most a minute.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(scene.steady.trouble().is_some());
    scene.clock.advance(Duration::from_secs(61));
    scene.until_idle().await;
    assert_eq!((scene.state(&path).await, scene.steady.trouble()), (Some(FileState::Indexed), None));
    scene.end().await;
}

#[tokio::test]
async fn work_of_a_source_that_is_taken_away_is_dropped() {
    let scene = Scene::new(&Run::default()).await;
    let path = scene.write(0, &[1; 20]);
    let pause = scene.steady.pause().await;
    scene.push(&path);
    scene.steady.forget("s");
    drop(pause);
    scene.until_idle().await;
    assert_eq!(scene.state(&path).await, None);
    scene.end().await;
}

#[tokio::test]
async fn a_pause_waits_for_what_is_under_way_and_asking_to_end_too() {
    let scene = Scene::new(&Run::default()).await;
    // The store opens when it is told to.
    let (open, opened) = tokio::sync::watch::channel(false);
    let inner = scene.feed.ingest.store.clone();
    let store = Lazy::new(move || {
        let (mut opened, inner) = (opened.clone(), inner.clone());
        async move {
            opened.wait_for(|open| *open).await.map_err(|_| StoreError::Other("never opened".into()))?;
            inner.get().await
        }
    });
    let ingest = clipseek::ingest::Ingest { store, ..scene.feed.ingest.as_ref().clone() };
    let feed = Arc::new(Feed {
        source: "s".into(),
        ingest: Arc::new(ingest),
        plan: Arc::clone(&scene.feed.plan),
        said: Said::default(),
    });
    let path = scene.write(0, &[1; 20]);
    scene.steady.push(&feed, Priority::Backlog, vec![(path.clone(), Stat::of(&path).unwrap())]);
    scene.until("it is under way", async || scene.steady.pending("s") == 1).await;
    let pausing = tokio::spawn({
        let steady = Arc::clone(&scene.steady);
        async move { drop(steady.pause().await) }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    // A pause before the file was begun is over by now; one that waits for it ends when it comes to a checkpoint.
    open.send_replace(true);
    pausing.await.unwrap();
    scene.until_idle().await;
    assert_eq!(scene.state(&path).await, Some(FileState::Indexed));
    scene.end().await;
}
