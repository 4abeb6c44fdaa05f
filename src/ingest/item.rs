//! What is to be indexed, and how.

use std::path::PathBuf;
use std::sync::Arc;

use super::plan::Plan;
use crate::ledger::Said;

/// One file to be indexed. Whoever finds it (a run of `index`, a watched folder) says how.
#[derive(Clone, Debug)]
pub struct WorkItem {
    pub path: PathBuf,
    /// What is said of it now; empty where nothing new is said.
    pub said: Said,
    pub plan: Arc<Plan>,
    pub priority: Priority,
}

/// What is begun first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// What was there already when it was found.
    Backlog,
    /// What appeared or changed while its folder was watched.
    Fresh,
    /// What a person asked for just now.
    #[default]
    Asked,
}
