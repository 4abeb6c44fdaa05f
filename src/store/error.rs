//! Errors of the stores. Each variant calls for a different reaction of the caller.

use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("collection {collection} holds {expected}-dimensional vectors, the model makes {actual}")]
    Dimension { collection: String, expected: usize, actual: usize },
    #[error("collection {collection} keeps frame features of {expected} values, the model makes {actual}")]
    FeatureDimension { collection: String, expected: usize, actual: usize },
    #[error("collection {collection} belongs to another model ({found})")]
    OtherModel { collection: String, found: String },
    /// The owner is another data folder, or a ledger that was lost.
    #[error(
        "collection {collection} belongs to another data folder ({owner}): set store.namespace to keep apart from it, or, \
         if it is this folder's own and its ledger was lost, take it over with `clipseek verify --repair --yes`"
    )]
    OtherOwner { collection: String, owner: Uuid },
    /// Written in a format that is no longer read.
    #[error(
        "{place} was written by a development version before 0.1.0, which this one does not read: remove it and index again \
         (the videos are untouched)"
    )]
    Outdated { place: String },
    /// Another process has it open.
    #[error("{path} is in use by another clipseek process: wait for it, or give this one another --data folder")]
    Locked { path: String },
    #[error("{path} cannot be opened: {problem}")]
    Corrupt { path: String, problem: String },
    #[error("{place}: the disk is full ({problem}): make room and try again")]
    DiskFull { place: String, problem: String },
    #[error("cannot reach Qdrant at {url}: {problem}")]
    Unreachable { url: String, problem: String },
    /// The server answers, but cannot handle the request now.
    #[error("Qdrant at {url} is busy: {problem}")]
    Busy { url: String, problem: String },
    #[error("Qdrant at {url} refuses the API key: {problem}")]
    Refused { url: String, problem: String },
    #[error("store: {0}")]
    Other(String),
}

impl StoreError {
    /// Whether the same request may succeed later without any change, because the store is unreachable, busy or locked.
    pub fn will_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::Locked { .. })
    }
}
