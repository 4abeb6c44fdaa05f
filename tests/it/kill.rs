//! The built program, killed with `kill -9` and interrupted at any moment: what it left behind is put in order by the next
//! run, and in the end there is what an undisturbed run would have made.
//!
//! The moment is a number of steps (it dies at the n-th point between two steps whose order matters) or a time.
//! `CLIPSEEK_KILLS` says how many; what proptest finds is shrunk, printed and kept in `proptest-regressions`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use serde_json::Value;

use super::support::{World, footage, text};

const PATHS: usize = 3;
const OPERATIONS_PER_CASE: usize = 6;
/// Short, and of different codecs.
const CLIPS: [&str; 3] = ["h264.mp4", "vp8.webm", "vp9.webm"];
const PLANS: [&[&str]; 2] = [&[], &["--window", "1", "--stride", "0.5"]];

#[derive(Clone, Debug)]
enum Op {
    Put {
        path: usize,
        clip: usize,
    },
    Move(usize, usize),
    Delete(usize),
    Index {
        plan: usize,
        label: Option<u8>,
        moment: Moment,
    },
    /// In peace where no moment is given.
    RemovePath(usize, Option<Moment>),
    RemoveMissing(Moment),
    Repair(Moment),
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At this step, counted from the start.
    Step(u32),
    /// After this share of the time that an undisturbed run takes, in thousandths.
    Time(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let path = || 0..PATHS;
    let moment = || prop_oneof![3 => (1u32..60).prop_map(Moment::Step), 1 => (0u64..1100).prop_map(Moment::Time)];
    prop_oneof![
        4 => (path(), 0..CLIPS.len()).prop_map(|(path, clip)| Op::Put { path, clip }),
        1 => (path(), path()).prop_map(|(a, b)| Op::Move(a, b)),
        1 => path().prop_map(Op::Delete),
        8 => (0..PLANS.len(), prop::option::weighted(0.3, 0u8..2), moment())
            .prop_map(|(plan, label, moment)| Op::Index { plan, label, moment }),
        3 => (path(), prop::option::of(moment())).prop_map(|(path, moment)| Op::RemovePath(path, moment)),
        1 => moment().prop_map(Op::RemoveMissing),
        1 => moment().prop_map(Op::Repair),
    ]
}

/// Where the killed program keeps its records.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) environment: Vec<(String, String)>,
}

struct Player<'a> {
    world: World,
    settings: &'a Settings,
    kills: u32,
}

/// The shipped model in a folder of its own, which removing does not need.
const MODEL: &str = "model";

impl<'a> Player<'a> {
    fn new(settings: &'a Settings) -> Self {
        let world = World::new();
        std::fs::create_dir(world.dir.path().join("videos")).unwrap();
        let model = world.dir.path().join(MODEL);
        std::fs::create_dir(&model).unwrap();
        let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bundles/shapes");
        for entry in std::fs::read_dir(shapes).unwrap().map(Result::unwrap) {
            std::os::unix::fs::symlink(entry.path(), model.join(entry.file_name())).unwrap();
        }
        Self { world, settings, kills: 0 }
    }

    /// All paths that are known.
    fn listed(&self) -> Vec<String> {
        let output = self.command(&["media", "list", "--json"]).output().unwrap();
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        listed["media"].as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap().to_owned()).collect()
    }

    fn path(&self, number: usize) -> PathBuf {
        // The clip decides what it is; the name need not fit.
        self.world.dir.path().join("videos").join(format!("{number}.video.mp4"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.envs(self.settings.environment.iter().map(|(key, value)| (key, value)));
        command.env("CLIPSEEK__INDEX__CHECKPOINT_SECS", "0.05");
        command.env("CLIPSEEK__MODEL__NAME", self.world.dir.path().join(MODEL));
        command
    }

    /// Runs a command that may die within.
    fn killed(&mut self, arguments: &[&str], moment: Moment) {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Moment::Step(step) = moment {
            command.env("CLIPSEEK_TEST_DIE_AT", step.to_string());
        }
        let mut child = command.spawn().unwrap();
        if let Moment::Time(share) = moment {
            std::thread::sleep(undisturbed().1 * share as u32 / 1000);
            child.kill().unwrap();
        }
        child.wait().unwrap();
        self.kills += 1;
    }

    fn play(&mut self, op: &Op) -> Result<(), String> {
        let videos = self.world.dir.path().join("videos");
        match op {
            Op::Put { path, clip } => drop(std::fs::copy(footage(CLIPS[*clip]), self.path(*path)).unwrap()),
            Op::Move(from, to) => drop(std::fs::rename(self.path(*from), self.path(*to))),
            Op::Delete(path) => drop(std::fs::remove_file(self.path(*path))),
            Op::Index { plan, label, moment } => {
                let label = label.map(|label| format!("label{label}"));
                let said: Vec<&str> = label.iter().flat_map(|label| ["--label", label]).collect();
                let arguments = [&["index", text(&videos), "-q"][..], PLANS[*plan], &said].concat();
                self.killed(&arguments, *moment);
            }
            Op::RemovePath(path, moment) => {
                let before = self.listed();
                let Some(path) = before.get(*path % before.len().max(1)) else { return Ok(()) };
                let arguments = ["media", "remove", path];
                self.without_model(|player| match moment {
                    Some(moment) => player.killed(&arguments, *moment),
                    None => drop(player.command(&arguments).output().unwrap()),
                });
                let after = self.listed();
                if let Some(gone) = before.iter().find(|known| *known != path && !after.contains(known)) {
                    return Err(format!("{gone} was removed with {path}"));
                }
                if moment.is_none() && after.contains(path) {
                    return Err(format!("{path} was not removed"));
                }
            }
            Op::RemoveMissing(moment) => {
                self.without_model(|player| player.killed(&["media", "remove", "--missing"], *moment));
            }
            Op::Repair(moment) => self.killed(&["verify", "--repair"], *moment),
        }
        self.check_disturbed()
    }

    fn without_model(&mut self, act: impl FnOnce(&mut Self)) {
        let (here, away) = (self.world.dir.path().join(MODEL), self.world.dir.path().join("model away"));
        std::fs::rename(&here, &away).unwrap();
        act(self);
        std::fs::rename(&away, &here).unwrap();
    }

    /// Whatever happened: nothing differs but what the next run settles.
    fn check_disturbed(&self) -> Result<(), String> {
        let output = self.command(&["verify", "--json"]).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
        let differences = said["differences"].as_array().unwrap();
        let serious: Vec<_> = differences.iter().filter(|difference| difference["kind"] != "unsettled").collect();
        if serious.is_empty() && said["unknown"] == 0 { Ok(()) } else { Err(format!("verify: {said:#}")) }
    }

    /// A run in peace ends with what an undisturbed one makes of these files.
    fn check_in_peace(&self) -> Result<(), String> {
        let run = |arguments: &[&str]| {
            let output = self.command(arguments).output().unwrap();
            let (out, err) =
                (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
            (output.status.code(), out, err)
        };
        let videos = self.world.dir.path().join("videos");
        let (code, out, err) = run(&["index", text(&videos)]);
        if !matches!(code, Some(0 | 1)) {
            return Err(format!("index: {out}{err}"));
        }
        run(&["media", "remove", "--missing"]);
        let (code, out, err) = run(&["verify"]);
        if code != Some(0) {
            return Err(format!("verify: {out}{err}"));
        }
        let (_, out, _) = run(&["media", "export"]);
        let mut found: Vec<String> = out.lines().map(|line| id(&serde_json::from_str(line).unwrap())).collect();
        found.sort();
        let mut wanted: Vec<String> = Vec::new();
        let contents = std::fs::read_dir(&videos).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let contents: std::collections::BTreeSet<Vec<u8>> = contents.collect();
        for clip in CLIPS {
            if contents.contains(&std::fs::read(footage(clip)).unwrap()) {
                wanted.extend(undisturbed().0[clip].iter().cloned());
            }
        }
        wanted.sort();
        if found == wanted { Ok(()) } else { Err(format!("{} windows of {}", found.len(), wanted.len())) }
    }
}

fn id(window: &Value) -> String {
    window["id"].as_str().unwrap().to_owned()
}

/// The windows of each clip, and how long a run over all of them takes.
fn undisturbed() -> &'static (BTreeMap<&'static str, Vec<String>>, Duration) {
    static MADE: OnceLock<(BTreeMap<&'static str, Vec<String>>, Duration)> = OnceLock::new();
    MADE.get_or_init(|| {
        let world = World::new();
        let clips: Vec<PathBuf> = CLIPS.iter().map(|clip| footage(clip)).collect();
        let arguments: Vec<&str> = ["index"].into_iter().chain(clips.iter().map(|clip| text(clip))).collect();
        let started = std::time::Instant::now();
        world.ok(&arguments);
        let took = started.elapsed();
        let mut windows: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for window in world.exported() {
            let path = window["path"].as_str().unwrap();
            let clip = CLIPS.into_iter().find(|clip| path.ends_with(clip)).unwrap();
            windows.entry(clip).or_default().push(id(&window));
        }
        (windows, took)
    })
}

/// Kills the program so often, over as many worlds as that takes.
pub(crate) fn kill(name: &'static str, kills: usize, settings: &dyn Fn(usize) -> Settings) {
    // About five operations of seven are commands.
    let cases = (kills * 7).div_ceil(OPERATIONS_PER_CASE * 5) as u32;
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(name))),
        max_shrink_iters: 60,
        ..Config::default()
    };
    let ops = prop::collection::vec(op(), OPERATIONS_PER_CASE);
    let number = std::cell::Cell::new(0);
    let killed = std::cell::Cell::new(0);
    let result = TestRunner::new(config).run(&ops, |ops| {
        number.set(number.get() + 1);
        let settings = settings(number.get());
        let mut player = Player::new(&settings);
        for path in 0..2 {
            // One content at two places.
            player.play(&Op::Put { path, clip: 0 }).map_err(TestCaseError::fail)?;
        }
        for op in &ops {
            player.play(op).map_err(TestCaseError::fail)?;
        }
        killed.set(killed.get() + player.kills);
        player.check_in_peace().map_err(TestCaseError::fail)
    });
    println!("{} commands killed in {} worlds", killed.get(), number.get());
    if let Err(error) = result {
        panic!("{error}");
    }
}

pub(crate) fn kills(standard: usize) -> usize {
    std::env::var("CLIPSEEK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_that_the_next_run_does_not_put_in_order() {
    kill("proptest-regressions/kill.txt", kills(30), &|_| Settings::default());
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let world = World::new();
    let child = world
        .command(&["index", text(&footage("")), "--sampling", "all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(400));
        // The first may have ended it already.
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
    }
    let output = child.wait_with_output().unwrap();
    let by_signal = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(2);
    assert!(by_signal || matches!(output.status.code(), Some(0 | 130)), "{:?}", output.status);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("ERROR"), "{said}");
    world.ok(&["index", text(&footage(""))]);
    world.ok(&["verify"]);
}

#[test]
fn ctrl_c_keeps_what_is_done_and_the_next_run_goes_on() {
    let (expected, took) = of_all(&footage(""));
    let world = World::new();
    let child = world
        .command(&["index", text(&footage("")), "--json"])
        .env("CLIPSEEK__INDEX__CHECKPOINT_SECS", "0.05")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(took / 2);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    if output.status.code() == Some(130) {
        let interrupted = report["interrupted"].as_array().unwrap().len() as u64 + report["left"].as_u64().unwrap();
        assert!(interrupted > 0, "{report}");
    } else {
        // A fast machine was done before.
        assert_eq!(output.status.code(), Some(0));
    }
    world.ok(&["verify"]);
    let kept = world.windows();
    assert!(kept.iter().all(|id| expected.contains(id)));
    let report = world.json(&["index", text(&footage("")), "--json"]);
    assert_eq!(report["failed"], serde_json::json!([]));
    assert_eq!(world.windows(), expected);
    world.ok(&["verify"]);
}

fn of_all(folder: &Path) -> (Vec<String>, Duration) {
    let world = World::new();
    let started = std::time::Instant::now();
    world.ok(&["index", text(folder)]);
    (world.windows(), started.elapsed())
}
