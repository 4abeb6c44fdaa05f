//! The sum of a run, for people and programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::batch::Totals;
use crate::clock::seconds;
use crate::decode::{Problem, Sampling};
use crate::embed::bundle::Outline;
use crate::ledger::{Failure, FailureKind};

/// What `index --json` prints. Paths are readable: lossy where a name is no UTF-8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunReport {
    pub indexed: u64,
    pub unchanged: u64,
    pub known: u64,
    pub skipped: u64,
    pub windows: u64,
    pub footage_s: f64,
    pub took_s: f64,
    pub decode_cpu_s: f64,
    #[schema(value_type = BTreeMap<String, u64>)]
    pub sampling: BTreeMap<Sampling, u64>,
    pub failed: Vec<FailedFile>,
    pub with_problems: Vec<FileWithProblems>,
    pub interrupted: Vec<InterruptedFile>,
    pub left: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FailedFile {
    pub path: String,
    pub kind: FailureKind,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FileWithProblems {
    pub path: String,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InterruptedFile {
    pub path: String,
    pub at_s: f64,
}

/// What people are told besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunNotes {
    pub model: String,
    /// What the model knows, where that is not everything.
    pub scope: Option<String>,
    /// Files that are unlike that.
    pub out_of_scope: Vec<String>,
    /// What ended the run before its time.
    pub fatal: Option<String>,
}

impl RunReport {
    pub fn new(totals: &Totals, skipped: u64, took: Duration) -> Self {
        let failed = |(path, Failure { kind, reason }): &(PathBuf, Failure)| FailedFile {
            path: readable(path),
            kind: *kind,
            reason: reason.clone(),
        };
        let with_problems = |(path, problems): &(PathBuf, Vec<Problem>)| FileWithProblems {
            path: readable(path),
            problems: problems.clone(),
        };
        let interrupted =
            |(path, at): &(PathBuf, Duration)| InterruptedFile { path: readable(path), at_s: seconds(*at) };
        Self {
            indexed: totals.indexed,
            unchanged: totals.unchanged,
            known: totals.known,
            skipped,
            windows: totals.windows,
            footage_s: seconds(totals.footage),
            took_s: seconds(took),
            decode_cpu_s: totals.decode_cpu_secs,
            sampling: totals.sampling.clone(),
            failed: totals.failed.iter().map(failed).collect(),
            with_problems: totals.with_problems.iter().map(with_problems).collect(),
            interrupted: totals.interrupted.iter().map(interrupted).collect(),
            left: totals.left,
        }
    }
}

impl RunNotes {
    pub fn new(totals: &Totals, bundle: &Outline) -> Self {
        Self {
            model: bundle.name().to_owned(),
            scope: bundle.manifest().scope.as_ref().map(|scope| scope.summary.clone()),
            out_of_scope: totals.out_of_scope.iter().map(|path| readable(path)).collect(),
            fatal: totals.fatal.as_ref().map(ToString::to_string),
        }
    }
}

fn readable(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
