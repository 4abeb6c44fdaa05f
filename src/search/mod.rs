//! The one way to ask: a [`SearchRequest`] is answered by the [`Searchers`], which keep a [`Searcher`] warm for each
//! collection asked lately.
//!
//! ```text
//! flags, JSON ─▶ request ─▶ warm (a place, a searcher) ─▶ searcher (vector, filter) ─▶ find ─▶ store
//!                                                             place ◀── moments ◀── windows ──┘
//! ```
//!
//! [`moments`] merges windows, `rerank` gives the best of them a second look, [`place`] says where a moment lies now.

pub mod find;
mod gate;
pub mod moments;
pub mod place;
pub mod request;
pub mod rerank;
mod searcher;
mod warm;

pub use find::{Shelf, search};
pub use place::Placed;
pub use request::{Mode, SearchRequest, WallTime};
pub use searcher::{Answer, Searcher};
pub use warm::{Searchers, Warmth};

use std::time::Duration;

use crate::embed::{BundleError, EmbedError};
use crate::ledger::LedgerError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// What is asked has no answer as it is; the text says what to ask instead.
    #[error("{0}")]
    Invalid(String),
    #[error("{waiting} searches are waiting already, which is as many as may (search.queue): ask again in a moment")]
    QueueFull { waiting: usize },
    #[error(
        "no search ended within {} s, and this one could not begin (search.queue_secs): ask again in a moment",
        .after.as_secs_f64()
    )]
    QueuedTooLong { after: Duration },
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the store has no collection {0}: `clipseek verify --repair` queues what was in it again")]
    NoCollection(String),
    #[error(
        "{without} of {of} candidates have no frame features in the store: index their files again, with \
         index.frame_features unset or true"
    )]
    NoFeatures { without: usize, of: usize },
    /// A fault of clipseek's own.
    #[error("the search did not end: {0}")]
    Internal(String),
}
