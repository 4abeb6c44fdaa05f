//! In a build that leaves features out, a command that needs one says which.

use super::support::{World, footage, text};

#[test]
fn a_command_says_which_feature_it_needs() {
    let world = World::new();
    let film = footage("h264.mp4");
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    if cfg!(not(feature = "gst")) {
        commands.push(("gst", vec!["bench", "--decode-only", text(&film)]));
    }
    if cfg!(not(feature = "onnx")) {
        commands.push(("onnx", vec!["bench", "--encoder"]));
        commands.push(("onnx", vec!["model", "verify", "shapes"]));
        commands.push(("onnx", vec!["model", "import", "folder", "--name", "x"]));
        commands.push(("onnx", vec!["model", "pull"]));
    }
    if cfg!(not(feature = "eval")) {
        commands.push(("eval", vec!["eval", "--set", "jsonl", "--annotations", "a.jsonl"]));
    }
    for (feature, command) in commands {
        let ran = world.run(&command);
        let said = format!("built without the feature \"{feature}\"");
        assert!(ran.code == 2 && (ran.out + &ran.err).contains(&said), "{command:?}");
    }
}
