//! Caption to moments: prompt templates → text encoder → nearest windows under filters → [`moments`].

pub mod moments;

use std::sync::Arc;

use crate::embed::{EmbedError, Embedding};
use crate::store::{Filter, Hit, Query, StoreError, VectorStore, Wanted};
use moments::Moment;

/// Candidates fetched per moment asked for, at first; windows of one moment crowd each other out, so more are fetched
/// while that brings fewer moments than were asked for.
const CANDIDATES_PER_MOMENT: usize = 20;
const MIN_CANDIDATES: usize = 200;
const MAX_CANDIDATES: usize = 20_000;

/// How much of the unwanted direction is taken out of a query.
const NOT_WEIGHT: f32 = 0.5;

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to look for: the wanted vector, less the unwanted ones.
pub fn combine(wanted: &Embedding, unwanted: &[Embedding]) -> Result<Embedding, EmbedError> {
    let mut vector = wanted.as_slice().to_vec();
    for other in unwanted {
        for (value, other) in vector.iter_mut().zip(other.as_slice()) {
            *value -= NOT_WEIGHT * other;
        }
    }
    Embedding::new(vector)
}

/// At most `limit` moments nearest to the vector, best first.
pub async fn search(
    store: &Arc<dyn VectorStore>,
    vector: Embedding,
    filter: Filter,
    limit: usize,
) -> Result<Vec<Moment>, SearchError> {
    let mut candidates = (limit * CANDIDATES_PER_MOMENT).max(MIN_CANDIDATES);
    loop {
        let query = Query { wanted: Wanted::Vector(vector.clone()), limit: candidates, filter: filter.clone() };
        let hits: Vec<Hit> = store.search(&query).await?;
        let exhausted = hits.len() < candidates;
        let moments = moments::merge(hits, limit);
        if moments.len() >= limit || exhausted || candidates >= MAX_CANDIDATES {
            return Ok(moments);
        }
        candidates *= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_is_pushed_away() {
        let wanted = Embedding::new(vec![1.0, 1.0]).unwrap();
        let unwanted = Embedding::new(vec![0.0, 1.0]).unwrap();
        let query = combine(&wanted, std::slice::from_ref(&unwanted)).unwrap();
        assert!(query.dot(&unwanted) < wanted.dot(&unwanted));
        assert_eq!(combine(&wanted, &[]).unwrap(), wanted);
    }
}
