//! The one entry to searching: [`Searchers`] answer a [`SearchRequest`]. They keep a [`Searcher`] warm for each
//! recently used collection.
//!
//! ```text
//! flags, JSON ─▶ request ─▶ warm (a permit, a searcher) ─▶ searcher (vector, filter) ─▶ find ─▶ store
//!                                                             place ◀── moments ◀── windows ──┘
//! ```
//!
//! A prepared search answers a first page; `kept` keeps what further pages need. `diverse` puts different moments first,
//! [`group`] tells which media they are of, `scores` how good every window of one medium is.
//!
//! [`moments`] merges windows, `rerank` scores the best ones again with a second model, [`place`] looks up the file of
//! a moment.

mod diverse;
pub mod find;
pub mod group;
mod kept;
pub mod moments;
pub mod place;
pub mod request;
pub mod rerank;
mod scores;
mod searcher;
mod warm;

pub use find::{Shelf, search};
pub use group::{Group, groups};
pub use place::{Exact, Placed};
pub use request::{Between, Mode, SearchRequest, WallTime};
pub use scores::{Score, Scores};
pub use searcher::{Answer, Searcher};
pub use warm::{Searchers, Warmth};

use std::time::Duration;

use crate::embed::{BundleError, EmbedError};
pub use crate::gate::Load;
use crate::gate::Refused;
use crate::ledger::LedgerError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The request cannot be answered; the text says what to ask instead.
    #[error("{0}")]
    Invalid(String),
    #[error("this search was too long ago to go on with: search again")]
    Expired,
    #[error("{waiting} searches are already waiting, the most that search.queue allows: try again in a moment")]
    QueueFull { waiting: usize },
    #[error(
        "the search did not start within {} s because others were running (search.queue_secs): try again in a moment",
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
    #[error("the store has no collection {0}: `clipseek verify --repair` queues its files to be indexed again")]
    NoCollection(String),
    #[error(
        "{without} of {of} candidates have no frame features in the store: index their files again, with \
         index.frame_features unset or true"
    )]
    NoFeatures { without: usize, of: usize },
    /// A bug of clipseek.
    #[error("the search was aborted: {0}")]
    Internal(String),
}

impl From<Refused> for SearchError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::QueueFull { waiting } => Self::QueueFull { waiting },
            Refused::QueuedTooLong { after } => Self::QueuedTooLong { after },
        }
    }
}
