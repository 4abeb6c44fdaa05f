//! Further pages of an answer: a list of at most [`MOST_MOMENTS`] that is kept for some minutes.
//!
//! A cursor names a list and a place in it, so the same cursor gives the same page again. The list is made when its second page
//! is asked for: most answers are read no further than their first.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::SearchError;
use super::place::Placed;
use super::searcher::Prepared;
use crate::clock::Clock;
use crate::embed::bundle::Outline;

/// How long a list is kept after it was last used, and how many lists.
const KEPT_FOR: Duration = Duration::from_secs(600);
const MOST_LISTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// What a list is made of.
pub(super) struct List {
    pub(super) outline: Outline,
    pub(super) prepared: Prepared,
    pub(super) first: Vec<Placed>,
    /// All of it, once it is made.
    pub(super) all: OnceCell<Vec<Placed>>,
}

pub(super) struct Kept {
    lists: Mutex<LruCache<Uuid, (Duration, Arc<List>)>>,
    clock: Clock,
}

/// A list, and where in it a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) list: Uuid,
    pub(super) from: usize,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.list.simple(), self.from)
    }
}

impl std::str::FromStr for Cursor {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Self, SearchError> {
        let parts = text.split_once('.').and_then(|(list, from)| Some((list.parse().ok()?, from.parse().ok()?)));
        let (list, from) = parts.ok_or_else(|| SearchError::Invalid(format!("{text:?}: no cursor of an answer")))?;
        Ok(Self { list, from })
    }
}

impl Kept {
    pub(super) fn new(clock: Clock) -> Self {
        Self { lists: Mutex::new(LruCache::new(MOST_LISTS)), clock }
    }

    /// Keeps a list; gives the cursor of its second page.
    pub(super) fn keep(&self, list: List) -> Cursor {
        let cursor = Cursor { list: Uuid::new_v4(), from: list.first.len() };
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.push(cursor.list, (self.clock.passed(), Arc::new(list)));
        cursor
    }

    pub(super) fn get(&self, list: Uuid) -> Result<Arc<List>, SearchError> {
        let now = self.clock.passed();
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        match lists.get_mut(&list) {
            Some((used, list)) if now.saturating_sub(*used) <= KEPT_FOR => {
                *used = now;
                Ok(Arc::clone(list))
            }
            _ => {
                lists.pop(&list);
                Err(SearchError::Expired)
            }
        }
    }
}

/// All of a list: its first page as it was shown, and behind it what else was found.
pub(super) fn joined(first: &[Placed], found: Vec<Placed>) -> Vec<Placed> {
    let is_shown = |moment: &Placed| {
        first.iter().any(|shown| {
            shown.media_id == moment.media_id && shown.start < moment.end && moment.start < shown.end
                || shown.id == moment.id
        })
    };
    let mut all = first.to_vec();
    all.extend(found.into_iter().filter(|moment| !is_shown(moment)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_text() {
        let cursor = Cursor { list: Uuid::from_u128(7), from: 20 };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for wrong in ["", "x.1", "00000000000000000000000000000007", "00000000000000000000000000000007.-1"] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
