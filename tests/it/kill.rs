//! `kill -9` and Ctrl-C at any moment: the next run ends with the same windows as an undisturbed one.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::{World, footage, text};

/// A generator good enough to choose moments, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn undisturbed() -> (Vec<String>, Duration) {
    let world = World::new();
    let started = std::time::Instant::now();
    world.ok(&["index", text(&footage(""))]);
    (world.windows(), started.elapsed())
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_is_there_twice() {
    let (expected, took) = undisturbed();
    let mut dice = Dice(7);
    for round in 0..3 {
        let world = World::new();
        for _ in 0..6 {
            let mut child = world
                .command(&["index", text(&footage("")), "-q"])
                .env("CLIPSEEK__INDEX__CHECKPOINT_SECS", "0.05")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(dice.below(took.as_millis() as u64 + 1)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        world.ok(&["index", text(&footage(""))]);
        assert_eq!(world.windows(), expected, "round {round}");
    }
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
}

#[test]
fn ctrl_c_keeps_what_is_done_and_the_next_run_goes_on() {
    let (expected, took) = undisturbed();
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
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    if output.status.code() == Some(130) {
        let interrupted = report["interrupted"].as_array().unwrap().len() as u64 + report["left"].as_u64().unwrap();
        assert!(interrupted > 0, "{report}");
    } else {
        // A fast machine was done before.
        assert_eq!(output.status.code(), Some(0));
    }
    let kept = world.windows();
    assert!(kept.iter().all(|id| expected.contains(id)));
    let report = world.json(&["index", text(&footage("")), "--json"]);
    assert_eq!(report["failed"], serde_json::json!([]));
    assert_eq!(world.windows(), expected);
}
