//! `[search]`: sizes of the caches for searches, and limits on concurrent searches.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchSettings {
    /// Models kept open, each with its collection; the least recently used one is closed to make room.
    pub warm_models: usize,
    /// Searches that run at once; unset: one per core.
    pub concurrent: Option<usize>,
    /// Searches that may wait for a running one to end; further ones are refused.
    pub queue: usize,
    /// Seconds that a search may wait before it is refused.
    pub queue_secs: f64,
    /// Text vectors cached per model; a repeated text then needs no model.
    pub text_vectors: usize,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self { warm_models: 2, concurrent: None, queue: 64, queue_secs: 10.0, text_vectors: 1000 }
    }
}

impl SearchSettings {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let ranges = [
            ("search.warm_models", self.warm_models, 1..=64),
            ("search.concurrent", self.concurrent.unwrap_or(1), 1..=1024),
            ("search.queue", self.queue, 0..=100_000),
            ("search.text_vectors", self.text_vectors, 1..=1_000_000),
        ];
        for (key, value, range) in ranges {
            if !range.contains(&value) {
                problems.push(format!("{key} must lie between {} and {}", range.start(), range.end()));
            }
        }
        if !(0.0..=3600.0).contains(&self.queue_secs) {
            problems.push("search.queue_secs must lie between 0 and 3600".to_owned());
        }
    }
}
