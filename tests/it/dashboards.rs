//! Dashboards, rules, runbook and the list of metrics agree with the metrics that there are. What needs a daemon and a
//! Prometheus is in `serve/prometheus.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clipseek::metrics::{Metrics, Row};
use serde_json::Value;

/// Metrics of other programs that panels show.
pub(crate) const OTHERS: &[(&str, &str)] = &[
    ("DCGM_FI_DEV_GPU_UTIL", "from NVIDIA's dcgm-exporter; needs a GPU"),
    ("DCGM_FI_DEV_FB_USED", "from NVIDIA's dcgm-exporter; needs a GPU"),
];

/// Metrics that no dashboard and no rule shows, with the reason.
const NOT_SHOWN: &[(&str, &str)] = &[];

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).unwrap()
}

pub(crate) fn boards() -> Vec<(String, Value)> {
    let mut boards = Vec::new();
    for entry in std::fs::read_dir(folder().join("grafana")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        boards.push((path.file_name().unwrap().to_str().unwrap().to_owned(), serde_json::from_str(&text).unwrap()));
    }
    boards.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(boards.len() >= 5, "the search finds nothing any more");
    boards
}

/// Every query of a dashboard, with the panel or variable that it is of.
pub(crate) fn queries(board: &Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
            queries.push((panel["title"].as_str().unwrap().to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let series = query.strip_prefix("label_values(").unwrap().rsplit_once(',').unwrap().0;
            queries.push((format!("variable {}", variable["name"]), series.to_owned()));
        }
    }
    queries
}

fn words(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let uncommented = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    uncommented.flat_map(|line| line.split(|c| !is_part(c))).map(str::to_owned).collect()
}

/// Names of metrics in queries: ours, the process's, and those of the rules and of other programs.
fn names(text: &str) -> BTreeSet<String> {
    let mut words = words(text);
    words.retain(|word| {
        word.starts_with("clipseek_")
            || word.starts_with("process_")
            || word.contains(":clipseek_")
            || word.starts_with("DCGM_")
    });
    words
}

/// The metric that a series belongs to: histograms have several.
fn metric<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    rows.iter()
        .find(|row| row.name == name && row.kind != "histogram" || row.name == of_histogram && row.kind == "histogram")
}

#[test]
fn every_metric_that_is_shown_exists_and_every_one_that_exists_is_shown() {
    let metrics = Metrics::default();
    let rows = metrics.rows();
    let rules = read("prometheus/clipseek.rules.yaml");
    let recorded: BTreeSet<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(str::to_owned).collect();
    let mut shown = names(&rules);
    for (file, board) in boards() {
        for (panel, query) in queries(&board) {
            for name in names(&query) {
                let is_known = metric(rows, &name).is_some()
                    || recorded.contains(&name)
                    || OTHERS.iter().any(|(other, _)| *other == name);
                assert!(is_known, "{file}, {panel}: there is no metric {name}");
                shown.insert(name);
            }
        }
    }
    for name in names(&rules) {
        assert!(metric(rows, &name).is_some() || recorded.contains(&name), "the rules: there is no metric {name}");
    }
    for row in rows {
        let is_shown = shown.iter().any(|name| metric(rows, name) == Some(row));
        let has_reason = NOT_SHOWN.iter().any(|(name, _)| *name == row.name);
        assert!(is_shown != has_reason, "{}: on no dashboard and in no rule, and no reason is given", row.name);
    }
}

#[test]
fn labels_that_queries_select_by_exist() {
    let metrics = Metrics::default();
    let rules = read("prometheus/clipseek.rules.yaml");
    let mut all: Vec<String> = boards().iter().flat_map(|(_, board)| queries(board)).map(|(_, query)| query).collect();
    all.push(rules);
    let mut seen = 0;
    for query in &all {
        for (before, rest) in query.match_indices('{').map(|(at, _)| query.split_at(at)) {
            let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).next().unwrap();
            let Some(row) = metric(metrics.rows(), name) else { continue };
            let selector = &rest[1..rest.find('}').unwrap()];
            for label in selector.split(',').map(|matcher| matcher.trim().split(['=', '!']).next().unwrap()) {
                let is_of_scrape = ["instance", "job"].contains(&label);
                assert!(is_of_scrape || row.labels.iter().any(|own| own == label), "{name} has no label {label}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "the search finds nothing any more");
}

#[test]
fn the_table_of_all_metrics_is_up_to_date() {
    let expected = format!(
        "# Metrics\n\nWhat `/metrics` of the daemon answers with. This table is made from `src/metrics.rs`; a test compares \
         it, and writes it anew\nwhere `CLIPSEEK_WRITE_DOCS=1` is set.\n\n{}",
        Metrics::default().table()
    );
    let path = folder().join("metrics.md");
    if std::env::var_os("CLIPSEEK_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == expected, "{} is not up to date", path.display());
}

#[test]
fn names_follow_the_conventions() {
    for Row { name, kind, help, .. } in Metrics::default().rows() {
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
        assert!(
            help.ends_with('.') && help.chars().next().unwrap().is_ascii_uppercase() || help.starts_with("1"),
            "{help}"
        );
        if *kind == "histogram" {
            assert!(name.ends_with("_seconds") || name.ends_with("_ratio"), "{name} has no unit");
        }
    }
}

#[test]
fn every_alert_has_its_section_and_its_test() {
    let (rules, runbook, tests) =
        (read("prometheus/clipseek.rules.yaml"), read("README.md"), read("prometheus/clipseek.test.yaml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(alerts.len() >= 15, "the search finds nothing any more");
    for alert in &alerts {
        assert!(sections.contains(alert), "{alert} has no section in the runbook");
        assert!(rules.contains(&format!("runbook: dashboards/README.md#{}\n", alert.to_lowercase())), "{alert}");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test in which it fires");
        let section = runbook.split(&format!("## {alert}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        assert!(
            section.contains("- Look") && section.to_lowercase().contains("do:"),
            "{alert}: what to look at and to do"
        );
    }
    for section in sections {
        assert!(alerts.contains(&section), "the runbook has a section for {section}, which is no alert");
    }
}

#[test]
fn dashboards_can_be_told_apart_and_choose_their_data_source() {
    let mut uids = BTreeSet::new();
    for (file, board) in boards() {
        assert!(uids.insert(board["uid"].as_str().unwrap().to_owned()), "{file}: its uid is taken");
        let variables = board["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["type"], "datasource", "{file}");
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            if panel["type"] != "row" {
                assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{file}: {title}");
            }
            for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
            }
        }
    }
}

/// A program that may not be there; then the test has not been run, and says so.
pub(crate) fn program(name: &str) -> Option<Command> {
    let there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        println!("NOT RUN: {name} is not installed (on Debian: apt-get install prometheus)");
        return None;
    }
    Some(Command::new(name))
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    for arguments in [["check", "rules", "clipseek.rules.yaml"], ["test", "rules", "clipseek.test.yaml"]] {
        let Some(mut promtool) = program("promtool") else { return };
        let ran = promtool.args(arguments).current_dir(folder().join("prometheus")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
    }
}
