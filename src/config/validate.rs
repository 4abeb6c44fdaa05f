//! Rules across settings; all problems are reported together.

use super::{ConfigError, Settings, StoreKind, StoreSettings};
use crate::embed::runtime::{DeviceChoice, EmbedSettings};

/// See [`crate::ingest::plan::LEAST_STEP`].
const LEAST_SECS: f64 = 0.001;
/// Four months: longer than anybody waits, and far below the limit of [`std::time::Duration`].
const MOST_SECS: f64 = 1e7;

impl Settings {
    /// Fails with every problem of the settings.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let index = &self.index;
        let seconds = [
            ("index.window_secs", index.window_secs),
            ("index.stride_secs", index.stride_secs),
            ("index.checkpoint_secs", Some(index.checkpoint_secs)),
            ("index.stall_secs", Some(index.stall_secs)),
            ("index.thumbnail_secs", Some(index.thumbnail_secs)),
        ];
        for (key, value) in seconds {
            // A comparison with NaN is false, so NaN lies in no range.
            if let Some(value) = value.filter(|value| !(LEAST_SECS..=MOST_SECS).contains(value)) {
                problems.push(format!("{key} is {value}, it must lie between {LEAST_SECS} and {MOST_SECS} seconds"));
            }
        }
        let at_least_one = [
            ("index.frames", index.frames),
            ("index.stride_frames", index.stride_frames),
            ("index.caption_beams", index.caption_beams),
            ("index.jobs", index.jobs),
            ("model.threads", self.model.threads),
            ("model.batch_frames", Some(self.model.batch_frames)),
        ];
        for (key, value) in at_least_one {
            if value.is_some_and(|value| value == 0 || value > 1024) {
                problems.push(format!("{key} must lie between 1 and 1024"));
            }
        }
        gpu(&self.model, &mut problems);
        if !(16..=4096).contains(&index.thumbnail_px) {
            problems.push("index.thumbnail_px must lie between 16 and 4096".to_owned());
        }
        if index.window_whole
            && (index.window_secs.is_some() || index.stride_secs.is_some() || index.stride_frames.is_some())
        {
            problems.push("index.window_whole excludes index.window_secs and both strides".to_owned());
        }
        if index.stride_secs.is_some() && index.stride_frames.is_some() {
            problems.push("index.stride_secs and index.stride_frames exclude each other".to_owned());
        }
        store(&self.store, &mut problems);
        self.search.check(&mut problems);
        self.play.check(&mut problems);
        self.recording.check(&mut problems);
        self.telemetry.check(&mut problems);
        super::access::check(&self.token, &mut problems);
        self.serve.check(!self.token.is_empty(), &mut problems);
        problems.extend(super::serve::check(&self.serve, &self.watch, &self.live, &self.source));
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }
}

fn store(store: &StoreSettings, problems: &mut Vec<String>) {
    match (store.kind, &store.url) {
        (StoreKind::Qdrant, None) => problems.push("store.url is needed with store.kind = \"qdrant\"".to_owned()),
        (StoreKind::Edge, Some(_)) => problems.push("store.url is for store.kind = \"qdrant\"".to_owned()),
        _ => {}
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !store.namespace.chars().all(allowed) || store.namespace.starts_with('.') || store.namespace.len() > 64 {
        problems
            .push("store.namespace may have up to 64 letters, digits, '_', '-' and '.', and no '.' first".to_owned());
    }
    let ranges = [
        ("store.hnsw_m", store.hnsw_m, 2..=256),
        ("store.hnsw_ef_construct", store.hnsw_ef_construct, 4..=4096),
        ("store.hnsw_ef", store.hnsw_ef, 1..=65_536),
    ];
    for (key, value, range) in ranges {
        if !range.contains(&value) {
            problems.push(format!("{key} must lie between {} and {}", range.start(), range.end()));
        }
    }
}

/// Reports GPU settings without effect: whoever set them believes that they have one.
fn gpu(model: &EmbedSettings, problems: &mut Vec<String>) {
    let sizes = [
        ("model.gpu_memory_mib", model.gpu_memory_mib),
        ("model.tensorrt_workspace_mib", model.tensorrt_workspace_mib),
    ];
    for (key, value) in sizes {
        if value.is_some_and(|mib| !(64..=1 << 20).contains(&mib)) {
            problems.push(format!("{key} must lie between 64 and 1048576"));
        }
    }
    if model.device_index > 255 {
        problems.push("model.device_index must lie between 0 and 255".to_owned());
    }
    let cpu = model.device == DeviceChoice::Cpu;
    let idle = [
        ("device_index", cpu && model.device_index != 0, "the processor has none"),
        ("gpu_memory_mib", cpu && model.gpu_memory_mib.is_some(), "it is for GPUs"),
        ("cuda_graphs", cpu && model.cuda_graphs, "it is for GPUs"),
        (
            "tensorrt_workspace_mib",
            model.device != DeviceChoice::Tensorrt && model.tensorrt_workspace_mib.is_some(),
            "it is for model.device = \"tensorrt\"",
        ),
    ];
    for (key, is_idle, why) in idle {
        if is_idle {
            problems.push(format!("model.{key} has no effect with model.device = \"{}\": {why}", model.device));
        }
    }
}
