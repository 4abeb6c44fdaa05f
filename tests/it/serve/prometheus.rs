//! `/metrics`, and a real Prometheus that scrapes it: every query of the dashboards and rules returns data.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};

use super::*;
use crate::dashboards::{OTHERS, boards, folder, program, queries};

/// The value of a series in Prometheus' text format.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

impl Daemon<'_> {
    fn metrics(&self) -> String {
        let (status, body) = self.get("/metrics").unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(super) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        value(&text, series).unwrap_or_else(|| panic!("{series} is not in:\n{text}"))
    }

    /// `host:port` of the API.
    pub(super) fn address(&self) -> String {
        let said = self.said();
        let address = said.split("listening on http://").nth(1).and_then(|rest| rest.split(' ').next());
        address.unwrap_or_else(|| panic!("no address in: {said}")).to_owned()
    }

    /// Has a job done.
    pub(super) fn job(&self, request: &str) {
        let (status, body) = self.ask("POST", "/v1/jobs", request).unwrap();
        assert_eq!(status, 202, "{body}");
        let id = serde_json::from_str::<Value>(&body).unwrap()["id"].as_u64().unwrap();
        self.until("the job is done", || self.json(&format!("/v1/jobs/{id}"))["state"] == "done");
    }
}

#[test]
fn metrics_count_what_happens() {
    let (world, videos) = world();
    let daemon = serve(&world, &[text(&videos)]);
    let begun = daemon.metrics();
    for series in [
        "clipseek_frames_sampled_total{source=\"videos\"}",
        "clipseek_frames_dropped_total{source=\"videos\"}",
        "clipseek_source_reconnects_total{source=\"videos\"}",
        "clipseek_file_failures_total{kind=\"damaged\"}",
        "clipseek_searches_total{outcome=\"queue_full\"}",
        "clipseek_source_state{source=\"videos\",state=\"away\"}",
        "clipseek_known_files{state=\"indexed\"}",
    ] {
        assert_eq!(value(&begun, series), Some(0.0), "{series} begins at 0:\n{begun}");
    }
    assert!(begun.contains("device=\"not_opened\""), "{begun}");
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let row = daemon.until_indexed(&videos.join("a.mp4"));
    std::fs::write(videos.join("bad.mp4"), vec![7; 5000]).unwrap();
    daemon.until("the bad file is noted", || {
        daemon.listed(&videos.join("bad.mp4")).is_some_and(|row| row["state"] == "failed")
    });
    daemon.until_idle();
    daemon.get("/v1/search?text=a+red+circle&limit=1").unwrap();
    daemon.get("/v1/search?text=").unwrap();
    daemon.job(r#"{"kind": "verify"}"#);
    let text = daemon.metrics();
    let windows = row["windows"].as_f64().unwrap();
    for (series, expected) in [
        ("clipseek_windows_stored_total{source=\"videos\"}", windows),
        ("clipseek_windows{where=\"ledger\"}", windows),
        ("clipseek_windows{where=\"store\"}", windows),
        ("clipseek_file_outcomes_total{outcome=\"indexed\",source=\"videos\"}", 1.0),
        ("clipseek_file_outcomes_total{outcome=\"failed\",source=\"videos\"}", 1.0),
        ("clipseek_source_files{source=\"videos\"}", 2.0),
        ("clipseek_source_failed_files{source=\"videos\"}", 1.0),
        ("clipseek_source_pending_files{source=\"videos\"}", 0.0),
        ("clipseek_source_state{source=\"videos\",state=\"watching\"}", 1.0),
        ("clipseek_searches_total{outcome=\"found\"}", 1.0),
        ("clipseek_searches_total{outcome=\"invalid\"}", 1.0),
        ("clipseek_search_seconds_count", 1.0),
        ("clipseek_jobs_total{kind=\"verify\",state=\"done\"}", 1.0),
        ("clipseek_verify_differences{kind=\"records_lost\"}", 0.0),
        ("clipseek_part_up{part=\"store\"}", 1.0),
        ("clipseek_part_up{part=\"ledger\"}", 1.0),
        ("clipseek_indexing_held", 0.0),
        ("clipseek_queue_items{queue=\"decoder\"}", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in:\n{text}");
    }
    let frames = daemon.source("videos")["frames"].as_f64();
    assert_eq!(value(&text, "clipseek_frames_sampled_total{source=\"videos\"}"), frames);
    assert_eq!(value(&text, "clipseek_batch_items_total{lane=\"embed-frames\"}"), frames);
    for series in [
        "clipseek_frames_decoded_total{source=\"videos\"}",
        "clipseek_decode_cpu_seconds_total{source=\"videos\"}",
        "clipseek_footage_seconds_total{source=\"videos\"}",
        "clipseek_stage_working_seconds_count{stage=\"decode\"}",
        "clipseek_stage_working_seconds_count{stage=\"embed-frames\"}",
        "clipseek_stage_working_seconds_count{stage=\"store\"}",
        "clipseek_stage_waiting_seconds_count{stage=\"store\"}",
        "clipseek_data_bytes{part=\"store\"}",
        "clipseek_data_bytes{part=\"ledger\"}",
        "clipseek_disk_free_bytes",
        "clipseek_verify_timestamp_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(value(&text, series).is_some_and(|value| value > 0.0), "{series} in:\n{text}");
    }
    assert!(!text.contains(self::text(&videos)), "paths are no labels: {text}");
    let Some(mut promtool) = program("promtool") else { return };
    let mut checked = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    checked.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = checked.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_source_that_comes_back_has_reconnected_and_one_that_is_gone_has_no_metrics() {
    let (world, videos) = world();
    std::fs::copy(footage("h264.mp4"), videos.join("a.mp4")).unwrap();
    let settings = world.dir.path().join("clipseek.toml");
    let table = format!("[[source]]\nname = \"films\"\npath = {:?}\n", text(&videos));
    std::fs::write(&settings, &table).unwrap();
    let daemon = serve(&world, &["--config", text(&settings)]);
    daemon.until_idle();
    let aside = videos.with_extension("aside");
    std::fs::rename(&videos, &aside).unwrap();
    daemon.until_state("films", "away");
    assert_eq!(daemon.metric("clipseek_source_state{source=\"films\",state=\"away\"}"), 1.0);
    std::fs::rename(&aside, &videos).unwrap();
    daemon.until_state("films", "watching");
    assert_eq!(daemon.metric("clipseek_source_reconnects_total{source=\"films\"}"), 1.0);
    std::fs::write(&settings, "").unwrap();
    daemon.signal("HUP");
    daemon.until("it is gone", || !daemon.metrics().contains("source=\"films\""));
}

/// A Prometheus that scrapes the daemon twice a second, with our rules.
pub(super) struct Prometheus {
    child: Child,
    address: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    pub(super) fn start(dir: &Path, daemon: &str, rules: &Path) -> Option<Self> {
        let mut command = program("prometheus")?;
        let config = format!(
            "global: {{ scrape_interval: 500ms, evaluation_interval: 1s }}\n\
             rule_files: [{:?}]\n\
             scrape_configs:\n- job_name: clipseek\n  static_configs: [{{ targets: [{daemon:?}] }}]\n",
            rules
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        // It cannot be asked which port it took: one that was just free.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let log = std::fs::File::create(dir.join("prometheus.log")).unwrap();
        let child = command
            .arg(format!("--config.file={}", text(&dir.join("prometheus.yml"))))
            .arg(format!("--storage.tsdb.path={}", text(&dir.join("prometheus"))))
            .arg(format!("--web.listen-address={address}"))
            .stderr(log)
            .spawn()
            .unwrap();
        Some(Self { child, address })
    }

    pub(super) fn json(&self, target: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let (_, body) = answer(&mut stream, "GET", target, &self.address, "")?;
        serde_json::from_str(unchunked(&body).as_str()).ok()
    }

    /// Whether a query gives a number.
    pub(super) fn has(&self, query: &str) -> bool {
        let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let Some(answer) = self.json(&format!("/api/v1/query?query={encoded}")) else { return false };
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        result.iter().any(|series| series["value"][1] != "NaN")
    }

    /// Name, query, and the error of its last evaluation.
    fn rules(&self) -> Vec<(String, String, String)> {
        let Some(answer) = self.json("/api/v1/rules") else { return Vec::new() };
        let groups = answer["data"]["groups"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.map(|rule| (text(&rule["name"]), text(&rule["query"]), text(&rule["lastError"]))).collect()
    }
}

/// The body of an answer that may have come in chunks.
fn unchunked(body: &str) -> String {
    let is_length = |line: &str| !line.is_empty() && line.chars().all(|c| c.is_ascii_hexdigit());
    if body.starts_with(['{', '[']) {
        return body.to_owned();
    }
    body.split("\r\n").filter(|line| !is_length(line)).collect()
}

/// What an alert compares, without what it is compared with: this has data also while all is well.
fn compared(query: &str) -> Vec<String> {
    let without_limit = |clause: &str| {
        let parts: Vec<&str> = clause.rsplitn(3, ' ').collect();
        match parts[..] {
            [limit, "==" | "<" | ">", rest] if limit.parse::<f64>().is_ok() => rest.to_owned(),
            _ => clause.to_owned(),
        }
    };
    query.split(" and ").map(str::trim).map(without_limit).collect()
}

/// With values for what Grafana puts in.
fn filled_in(query: &str) -> String {
    [("$instance", ".+"), ("$source", ".+"), ("$__rate_interval", "1m"), ("$__range", "5m")]
        .iter()
        .fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value))
}

#[test]
fn every_query_of_dashboards_and_rules_returns_data_from_a_running_daemon() {
    let (world, videos) = world();
    let daemon = serve(&world, &[text(&videos)]);
    let rules = folder().join("prometheus/clipseek.rules.yaml");
    let Some(prometheus) = Prometheus::start(world.dir.path(), &daemon.address(), &rules) else { return };
    daemon.until("Prometheus has scraped it", || prometheus.has("up{job=\"clipseek\"} == 1"));
    for (number, clip) in ["h264.mp4", "tape.mp4"].iter().enumerate() {
        let path = videos.join(format!("{number}.mp4"));
        std::fs::copy(footage(clip), &path).unwrap();
        daemon.until_indexed(&path);
        daemon.get("/v1/search?text=a+red+circle&limit=1").unwrap();
        // The second one is seen as an increase over what the first one began.
        daemon.until("it was scraped", || prometheus.has(&format!("clipseek_search_seconds_count > {number}")));
    }
    daemon.job(&format!("{{\"kind\": \"index\", \"paths\": [{:?}]}}", text(&footage("h264.mp4"))));
    daemon.job(r#"{"kind": "verify"}"#);
    for (file, board) in boards() {
        for (panel, query) in queries(&board) {
            if OTHERS.iter().any(|(name, _)| query.contains(name)) {
                continue;
            }
            let query = filled_in(&query);
            daemon.until(&format!("{file}, {panel}: {query}"), || prometheus.has(&query));
        }
    }
    daemon.until("the rules have been evaluated", || prometheus.rules().len() > 20);
    for (name, query, error) in prometheus.rules() {
        assert_eq!(error, "", "{name}");
        for clause in compared(&query) {
            daemon.until(&format!("rule {name}: {clause}"), || prometheus.has(&clause));
        }
    }
    // Nothing is wrong, so no alert fires.
    let firing = prometheus.json("/api/v1/alerts").unwrap();
    let firing = firing["data"]["alerts"].as_array().unwrap().clone();
    assert!(firing.iter().all(|alert| alert["state"] != "firing"), "{firing:?}");
}
