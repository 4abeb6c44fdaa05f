//! What is printed when nobody reads it, or when it cannot be written; and errors, said once.

use std::fs::File;
use std::io::pipe;
use std::process::Stdio;

use super::support::{World, footage, text};

/// A pipe whose reader has left.
fn nobody() -> Stdio {
    pipe().unwrap().1.into()
}

fn indexed() -> World {
    let world = World::new();
    world.ok(&["index", text(&footage("h264.mp4"))]);
    world
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = indexed();
    for arguments in [
        &["media", "list"][..],
        &["media", "list", "--json"],
        &["media", "show", text(&footage("h264.mp4"))],
        &["media", "export", "--vectors"],
        &["search", "a circle"],
        &["verify"],
        &["model", "list"],
        &["model", "info", "shapes"],
        &["config", "show"],
        &["doctor"],
        &["index", text(&footage("h264.mp4"))],
        &["--help"],
    ] {
        let ran = world.command(arguments).stdout(nobody()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.code() == Some(0) && !said.contains("panicked"), "{arguments:?}: {:?} {said}", ran.status);
    }
}

#[test]
fn a_reader_that_leaves_changes_no_other_exit_code() {
    let world = indexed();
    let empty = World::new();
    let code = |world: &World, arguments: &[&str]| world.command(arguments).stdout(nobody()).status().unwrap().code();
    assert_eq!(code(&empty, &["search", "a circle"]), Some(1), "nothing is indexed there");
    assert_eq!(code(&world, &["index", "nowhere.mp4"]), Some(2));
}

#[test]
fn a_run_goes_on_though_nobody_reads_what_it_says() {
    let world = World::new();
    let mut index = world.command(&["index", text(&footage("h264.mp4")), "nowhere.mp4"]);
    index.env("CLIPSEEK_LOG", "debug").stdout(nobody()).stderr(nobody());
    assert_eq!(index.status().unwrap().code(), Some(2), "a file failed");
    assert!(!world.windows().is_empty(), "the other is indexed");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let world = indexed();
    for arguments in [&["media", "list"][..], &["media", "export"], &["config", "show"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran = world.command(arguments).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("error: cannot write the output: No space left"), "{arguments:?}: {said}");
    }
}

#[test]
fn an_error_names_its_cause_once() {
    let world = World::new();
    std::fs::create_dir(world.dir.path().join("empty")).unwrap();
    let ran = world.run(&["model", "import", "empty", "--name", "x"]);
    assert_eq!((ran.code, ran.err.matches("no vision_model.onnx").count()), (2, 1), "{}", ran.err);
    assert_eq!(ran.err.matches("bundle x").count(), 1, "{}", ran.err);
}

#[test]
fn a_filter_of_diagnostics_that_cannot_be_read_is_said_and_not_followed() {
    let world = World::new();
    let ran = world.command(&["config", "check"]).env("CLIPSEEK_LOG", "clipseek=loud").output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.starts_with("CLIPSEEK_LOG is not followed: \"clipseek=loud\": "), "{said}");
    let ran = world.command(&["config", "check"]).env("CLIPSEEK_LOG", "clipseek=debug").output().unwrap();
    assert_eq!(String::from_utf8(ran.stderr).unwrap(), "");
}
