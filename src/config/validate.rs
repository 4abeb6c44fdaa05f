//! Rules that no single type can hold; all problems are reported together.

use super::{ConfigError, Settings, StoreKind};

impl Settings {
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let index = &self.index;
        let positive = [
            ("index.window_secs", index.window_secs),
            ("index.stride_secs", index.stride_secs),
            ("index.checkpoint_secs", Some(index.checkpoint_secs)),
            ("index.stall_secs", Some(index.stall_secs)),
            ("index.thumbnail_secs", Some(index.thumbnail_secs)),
        ];
        for (key, value) in positive {
            if value.is_some_and(|value| !value.is_finite() || value <= 0.0 || value > 1e7) {
                problems.push(format!("{key} must be a number of seconds above zero"));
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
        match (self.store.kind, &self.store.url) {
            (StoreKind::Qdrant, None) => problems.push("store.url is needed with store.kind = \"qdrant\"".to_owned()),
            (StoreKind::Edge, Some(_)) => problems.push("store.url is for store.kind = \"qdrant\"".to_owned()),
            _ => {}
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }
}
