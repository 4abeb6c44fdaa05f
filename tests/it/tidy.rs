//! Keeps the code map true: each foreign library stays in its module.

use std::path::{Path, PathBuf};

/// A word, and the only places that may say it.
const BOUNDARIES: &[(&str, &[&str])] = &[
    ("gstreamer", &["decode/", "cli/doctor.rs"]),
    (" ort::", &["embed/"]),
    ("tokenizers::", &["embed/"]),
    ("qdrant_edge::", &["store/"]),
    ("qdrant_client::", &["store/"]),
    ("rusqlite::", &["ledger/"]),
    ("reqwest::", &["hub/"]),
    ("ndarray::", &["eval/"]),
    (" csv::", &["eval/"]),
    ("serde_pickle::", &["eval/"]),
    ("clap", &["cli/", "main.rs"]),
    ("indicatif::", &["cli/"]),
    ("use config::", &["config/"]),
    ("anyhow::", &["cli/", "daemon.rs", "parts.rs"]),
    ("axum::", &["api/"]),
    (" hyper::", &["api/"]),
    ("prometheus::", &["metrics"]),
    ("sd_notify::", &["systemd.rs"]),
    (" notify::", &["source/watch.rs"]),
    ("notify_debouncer_full", &["source/watch.rs"]),
    ("println!", &["cli/"]),
    ("secrecy::", &["secret.rs"]),
    ("opentelemetry", &["telemetry.rs"]),
];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        for (number, line) in (1..).zip(std::fs::read_to_string(&file).unwrap().lines()) {
            if line.trim_start().starts_with("#[cfg(test)]") {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            for (word, homes) in BOUNDARIES {
                if code.contains(word) && !homes.iter().any(|home| name.starts_with(home)) {
                    wrong.push(format!("src/{name}:{number}: {word} belongs to {homes:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An error that names its source in its own words has it printed twice: the chain of causes names it again.
#[test]
fn errors_leave_their_causes_to_the_chain() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for variant in text.split("#[error(").skip(1) {
            let (message, rest) = variant.split_once(")]\n").unwrap();
            let fields = rest.split("#[").nth(1).unwrap_or_default();
            if !(fields.starts_with("from]") || fields.starts_with("source]")) {
                continue;
            }
            seen += 1;
            if message != "transparent" && ["{0", ".0", "{source", "{error"].iter().any(|name| message.contains(name)) {
                wrong.push(format!("{}: #[error({message})] repeats its source", file.display()));
            }
        }
    }
    assert!(seen > 5, "the search finds nothing any more");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_code_map_is_there() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for module in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|name| name.trim_end_matches(';')) {
        assert!(
            module == "telemetry" || lib.contains(&format!("//! - [`{module}`]")),
            "{module} is not in the code map"
        );
    }
}

/// The comparison with PyAV speaks with the decoding process as the program does.
#[test]
fn the_sweep_greets_the_decoding_process_as_it_wants_to_be_greeted() {
    let greeting = |path: &str, before: &str| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        text.split_once(before).unwrap().1.split_once('"').unwrap().0.to_owned()
    };
    assert_eq!(greeting("src/decode/wire.rs", "= *b\""), greeting("tests/peers/sweep.py", "GREETING = b\""));
}
