//! Ledger, store and pictures under everything that people and machines do to them, compared with a plain model.
//!
//! Each operation is a process of its own over the same folders; some are disturbed by a fault. What proptest finds is
//! shrunk, printed and kept in `proptest-regressions`. `CLIPSEEK_MODEL_OPERATIONS` says how many operations are run.

mod faults;
mod footage;
mod live;
mod model;
mod seen;
mod steady;
mod world;

use std::sync::Arc;

use clipseek::ledger::Said;
use clipseek::store::Catalog;
use clipseek::verify::remove_unknown;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use faults::{FaultyCatalog, StoreFault};
use footage::{DAMAGED, Mishap};
use model::Model;
use world::{BUNDLES, PLANS, Run, World};

const PATHS: usize = 5;
/// At the most; half of it on average.
const OPERATIONS_PER_CASE: usize = 30;

#[derive(Clone, Debug)]
enum Op {
    Write { path: usize, bytes: Vec<u8> },
    Append(usize, u8),
    Truncate(usize),
    Touch(usize),
    Move(usize, usize),
    Copy(usize, usize),
    HardLink(usize, usize),
    SymLink(usize, usize),
    Delete(usize),
    Index { bundle: usize, plan: usize, label: Option<u8>, jobs: usize, fault: Fault },
    Retry { bundle: usize, plan: usize },
    RemovePath(usize),
    RemoveContent(usize),
    RemoveMissing,
    RemoveUnknown,
    LoseLedger,
}

#[derive(Clone, Debug)]
enum Fault {
    None,
    Store(u32, StoreFault),
    /// The process dies at a call of the store; some of what was not flushed is on disk all the same.
    Killed(u32, u64),
    Ledger(&'static str, &'static str),
    Pictures,
    Dies(u32),
    DecoderPanics(u32),
    Grows(u32),
    Panics(u32),
    Interrupted(u32),
}

impl Fault {
    /// Every file is tried, whatever becomes of it.
    fn fails_files_alone(&self) -> bool {
        matches!(self, Self::Dies(_) | Self::DecoderPanics(_) | Self::Grows(_) | Self::Panics(_))
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Few contents, so that the same one comes up again elsewhere.
    (0u8..4, 1usize..40, prop::bool::weighted(0.1)).prop_map(|(seed, length, damaged)| {
        let mut bytes: Vec<u8> = (0..length).map(|n| seed.wrapping_mul(31).wrapping_add(n as u8) % 200).collect();
        if damaged {
            bytes[0] = DAMAGED;
        }
        bytes
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let tables = prop::sample::select(vec![
        ("files", "INSERT"),
        ("files", "UPDATE"),
        ("files", "DELETE"),
        ("progress", "INSERT"),
        ("progress", "UPDATE"),
        ("progress", "DELETE"),
        ("media", "INSERT"),
        ("media", "UPDATE"),
    ]);
    prop_oneof![
        6 => Just(Fault::None),
        1 => (0u32..20).prop_map(|at| Fault::Store(at, StoreFault::Away)),
        1 => (0u32..20).prop_map(|at| Fault::Store(at, StoreFault::Full)),
        3 => (0u32..30, any::<u64>()).prop_map(|(at, kept)| Fault::Killed(at, kept)),
        2 => tables.prop_map(|(table, what)| Fault::Ledger(table, what)),
        1 => Just(Fault::Pictures),
        2 => (0u32..20).prop_map(Fault::Dies),
        1 => (0u32..60).prop_map(Fault::DecoderPanics),
        2 => (0u32..20).prop_map(Fault::Grows),
        1 => (0u32..12).prop_map(Fault::Panics),
        2 => (0u32..12).prop_map(Fault::Interrupted),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let path = || 0..PATHS;
    prop_oneof![
        4 => (path(), bytes()).prop_map(|(path, bytes)| Op::Write { path, bytes }),
        1 => (path(), 0u8..200).prop_map(|(path, byte)| Op::Append(path, byte)),
        1 => path().prop_map(Op::Truncate),
        1 => path().prop_map(Op::Touch),
        2 => (path(), path()).prop_map(|(a, b)| Op::Move(a, b)),
        2 => (path(), path()).prop_map(|(a, b)| Op::Copy(a, b)),
        1 => (path(), path()).prop_map(|(a, b)| Op::HardLink(a, b)),
        1 => (path(), path()).prop_map(|(a, b)| Op::SymLink(a, b)),
        2 => path().prop_map(Op::Delete),
        10 => (0..BUNDLES, 0..PLANS, prop::option::weighted(0.5, 0u8..3), 1usize..4, fault())
            .prop_map(|(bundle, plan, label, jobs, fault)| Op::Index { bundle, plan, label, jobs, fault }),
        1 => (0..BUNDLES, 0..PLANS).prop_map(|(bundle, plan)| Op::Retry { bundle, plan }),
        1 => path().prop_map(Op::RemovePath),
        1 => path().prop_map(Op::RemoveContent),
        1 => Just(Op::RemoveMissing),
        1 => Just(Op::RemoveUnknown),
        1 => Just(Op::LoseLedger),
    ]
}

/// Where collections lie, and what becomes of them when the process dies.
enum Place {
    Doubled(FaultyCatalog),
    #[cfg(feature = "edge")]
    Folder(std::path::PathBuf),
}

impl Place {
    fn catalog(&self) -> Arc<dyn Catalog> {
        match self {
            Self::Doubled(catalog) => Arc::new(catalog.clone()),
            #[cfg(feature = "edge")]
            Self::Folder(dir) => {
                Arc::new(clipseek::store::edge::EdgeCatalog::new(dir, "", clipseek::store::IndexParams::default()))
            }
        }
    }
}

struct Player {
    world: World,
    place: Place,
    model: Model,
}

impl Player {
    async fn play(&mut self, op: &Op) {
        let world = &self.world;
        let path = |number: &usize| world.path(*number);
        let mut said = None;
        match op {
            Op::Write { path: to, bytes } => world.write(&path(to), bytes),
            Op::Append(to, byte) if path(to).exists() => {
                let bytes = [std::fs::read(path(to)).unwrap(), vec![*byte]].concat();
                world.write(&path(to), &bytes);
            }
            Op::Truncate(to) if path(to).exists() => {
                let bytes = std::fs::read(path(to)).unwrap();
                world.write(&path(to), &bytes[..bytes.len().div_ceil(2)]);
            }
            Op::Touch(to) if path(to).exists() => world.touch(&path(to)),
            Op::Move(from, to) if path(from).exists() => std::fs::rename(path(from), path(to)).unwrap(),
            Op::Copy(from, to) if path(from).exists() && from != to => {
                let bytes = std::fs::read(path(from)).unwrap();
                world.write(&path(to), &bytes);
            }
            Op::HardLink(from, to) if path(from).exists() && from != to => {
                let _ = std::fs::remove_file(path(to));
                // The link itself, where it is one: what it leads to may go away.
                std::fs::hard_link(path(from), path(to)).unwrap();
            }
            Op::SymLink(from, to) if path(from).exists() && from != to && !path(from).is_symlink() => {
                let _ = std::fs::remove_file(path(to));
                std::os::unix::fs::symlink(path(from), path(to)).unwrap();
            }
            Op::Delete(at) => drop(std::fs::remove_file(path(at))),
            Op::Index { bundle, plan, label, jobs, fault } => {
                let label = label.map(|label| Said { label: Some(format!("label {label}")), tags: Vec::new() });
                said.clone_from(&label);
                let run = Run {
                    bundle: *bundle,
                    plan: *plan,
                    said: label.unwrap_or_default(),
                    jobs: *jobs,
                    ..Run::default()
                };
                self.index(&run, fault).await;
            }
            Op::Retry { bundle, plan } => {
                let files: Vec<_> = self.model.failed(*bundle).into_iter().filter(|path| path.exists()).collect();
                let run = Run { bundle: *bundle, plan: *plan, jobs: 2, ..Run::default() };
                self.world.index(self.place.catalog(), files.clone(), &run).await.unwrap();
                self.model.indexed(&self.world, &run, &files);
            }
            Op::RemovePath(number) => {
                let paths = self.model.paths();
                let Some(gone) = paths.get(*number % paths.len().max(1)).cloned() else { return };
                let archive = world.archive(self.place.catalog()).await;
                let files = archive.ledger.files_at(&gone).await.unwrap();
                archive.ledger.forget_files(files.into_iter().map(|f| (f.path, f.collection)).collect()).await.unwrap();
                archive.settle().await.unwrap();
                self.model.removed(|path, _| path == gone);
            }
            Op::RemoveContent(number) => {
                let contents = self.model.contents();
                let Some(gone) = contents.get(*number % contents.len().max(1)).copied() else { return };
                let archive = world.archive(self.place.catalog()).await;
                let files = archive.ledger.files_of(gone).await.unwrap();
                archive.ledger.forget_files(files.into_iter().map(|f| (f.path, f.collection)).collect()).await.unwrap();
                archive.settle().await.unwrap();
                self.model.removed(|_, content| content == Some(gone));
            }
            Op::RemoveMissing => {
                let gone: Vec<_> =
                    self.model.paths().into_iter().filter(|path| std::fs::symlink_metadata(path).is_err()).collect();
                let archive = world.archive(self.place.catalog()).await;
                for path in &gone {
                    let files = archive.ledger.files_at(path).await.unwrap();
                    let files = files.into_iter().map(|f| (f.path, f.collection)).collect();
                    archive.ledger.forget_files(files).await.unwrap();
                }
                archive.settle().await.unwrap();
                self.model.removed(|path, _| gone.iter().any(|gone| gone == path));
            }
            Op::RemoveUnknown => {
                let archive = world.archive(self.place.catalog()).await;
                remove_unknown(&archive).await.unwrap();
                drop(archive);
                let (_, summary) = world.verify(self.place.catalog(), None).await;
                assert_eq!(summary.unknown, 0);
            }
            Op::LoseLedger => {
                for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
                    let _ = std::fs::remove_file(world.dir.path().join(name));
                }
                self.model.forgot_everything();
            }
            _ => return,
        }
        // A link whose end is gone cannot be read, and is no file to be indexed here.
        for file in self.world.files() {
            if !file.exists() {
                std::fs::remove_file(file).unwrap();
            }
        }
        self.model.check(&self.world, &self.place.catalog(), said.as_ref()).await;
    }

    /// Disturbed once, then again in peace: what the first left behind must not matter.
    async fn index(&mut self, run: &Run, fault: &Fault) {
        for path in self.world.files() {
            if !path.exists() {
                std::fs::remove_file(&path).unwrap();
            }
        }
        if !matches!(fault, Fault::None) {
            self.disturbed(run, fault).await;
            self.model.check_disturbed(&self.world, &self.place.catalog()).await;
        }
        // What was said of a file that failed is not said again.
        let said = if fault.fails_files_alone() { Said::default() } else { run.said.clone() };
        let run = &Run { said, ..run.clone() };
        let files = self.world.files();
        let totals = self.world.index(self.place.catalog(), files.clone(), run).await.unwrap();
        assert!(totals.fatal.is_none() && totals.left == 0, "{totals:?}");
        self.model.indexed(&self.world, run, &files);
        self.again(run).await;
    }

    /// A run with nothing to do changes nothing.
    async fn again(&self, run: &Run) {
        #[cfg_attr(not(feature = "edge"), allow(irrefutable_let_patterns, reason = "the only place"))]
        let Place::Doubled(doubled) = &self.place else { return };
        doubled.disarm();
        let sound: Vec<_> =
            self.world.files().into_iter().filter(|path| std::fs::read(path).unwrap()[0] != DAMAGED).collect();
        let totals = self.world.index(self.place.catalog(), sound.clone(), run).await.unwrap();
        assert_eq!((totals.unchanged, doubled.calls()), (sound.len() as u64, 0), "{totals:?}");
    }

    async fn disturbed(&mut self, run: &Run, fault: &Fault) {
        let mut run = run.clone();
        let (world, catalog, files) = (&self.world, self.place.catalog(), self.world.files());
        match fault {
            Fault::None => {}
            Fault::Dies(at) => run.mishap = Mishap::Dies(*at),
            Fault::DecoderPanics(at) => run.mishap = Mishap::Panics(*at),
            Fault::Grows(at) => run.mishap = Mishap::Grows(*at),
            Fault::Panics(at) => run.panic_at = Some(*at),
            Fault::Interrupted(at) => run.stop_at = Some(*at),
            Fault::Store(..) | Fault::Killed(..) | Fault::Ledger(..) | Fault::Pictures => {}
        }
        match (fault, &mut self.place) {
            (Fault::Store(at, fault), Place::Doubled(doubled)) => {
                doubled.arm(*at, *fault);
                let _ = world.index(catalog, files, &run).await;
                doubled.disarm();
            }
            (Fault::Killed(at, kept), Place::Doubled(doubled)) => {
                doubled.arm(*at, StoreFault::Dead);
                let _ = world.index(catalog, files, &run).await;
                doubled.disarm();
                *doubled = doubled.die(*kept).await;
            }
            (Fault::Ledger(table, what), _) => {
                // Made on a second connection, as another process would; the first sees it with its next statement.
                drop(world.archive(Arc::clone(&catalog)).await);
                let db = rusqlite::Connection::open(world.ledger_path()).unwrap();
                db.execute_batch(&format!(
                    "CREATE TRIGGER fault BEFORE {what} ON {table} BEGIN SELECT RAISE(FAIL, 'on purpose'); END"
                ))
                .unwrap();
                let _ = world.index(catalog, files, &run).await;
                db.execute_batch("DROP TRIGGER fault").unwrap();
            }
            (Fault::Pictures, _) => {
                let folder = world.dir.path().join("thumbs").join(world.spec(run.bundle).name);
                let aside = world.dir.path().join("aside");
                let moved = std::fs::rename(&folder, &aside).is_ok();
                std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
                std::fs::write(&folder, "in the way").unwrap();
                let _ = world.index(catalog, files, &run).await;
                std::fs::remove_file(&folder).unwrap();
                if moved {
                    std::fs::rename(&aside, &folder).unwrap();
                }
            }
            _ => drop(world.index(catalog, files, &run).await),
        }
    }
}

fn operations(standard: usize) -> usize {
    std::env::var("CLIPSEEK_MODEL_OPERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

fn play(name: &'static str, operations: usize, place: impl Fn(&World) -> Place) {
    let config = Config {
        cases: (2 * operations).div_ceil(OPERATIONS_PER_CASE) as u32,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(name))),
        max_shrink_iters: 500,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ops = prop::collection::vec(op(), 1..=OPERATIONS_PER_CASE);
    let result = TestRunner::new(config).run(&ops, |ops| {
        let world = World::new();
        let mut player = Player { place: place(&world), world, model: Model::default() };
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                for op in &ops {
                    player.play(op).await;
                }
            });
        }));
        played.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|s| s.to_string()));
            TestCaseError::fail(text.unwrap_or_default())
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn whatever_happens_ledger_store_and_pictures_agree() {
    play("proptest-regressions/archive.txt", operations(300), |_| Place::Doubled(FaultyCatalog::default()));
}

#[cfg(feature = "edge")]
#[test]
fn the_same_in_the_embedded_store() {
    play("proptest-regressions/archive-embedded.txt", operations(300) / 5, |world| {
        Place::Folder(world.dir.path().join("store"))
    });
}
