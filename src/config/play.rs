//! `[play]`: footage that is cut out for players.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlaySettings {
    /// Size of the folder in which it is kept.
    pub cache_gib: f64,
    /// How many are cut at once; unset: one per two cores.
    pub concurrent: Option<usize>,
    /// How many may wait; further ones are refused.
    pub queue: usize,
    /// Seconds that one may wait, and take.
    pub limit_secs: f64,
}

impl Default for PlaySettings {
    fn default() -> Self {
        Self { cache_gib: 2.0, concurrent: None, queue: 32, limit_secs: 60.0 }
    }
}

impl PlaySettings {
    pub fn most_bytes(&self) -> u64 {
        (self.cache_gib * (1_u64 << 30) as f64) as u64
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if !(0.01..=1e6).contains(&self.cache_gib) {
            problems.push(format!("play.cache_gib is {}, it must lie between 0.01 and 1000000", self.cache_gib));
        }
        if !(1.0..=3600.0).contains(&self.limit_secs) {
            problems.push(format!("play.limit_secs is {}, it must lie between 1 and 3600 seconds", self.limit_secs));
        }
        if !(1..=64).contains(&self.concurrent.unwrap_or(1)) {
            problems.push("play.concurrent must lie between 1 and 64".to_owned());
        }
        if self.queue > 10_000 {
            problems.push("play.queue must lie between 0 and 10000".to_owned());
        }
    }
}
