//! What is wanted to moments: nearest windows, windows whose captions have the words, or both, under filters → [`moments`].

pub mod moments;

use std::sync::Arc;

use crate::embed::{EmbedError, Embedding};
use crate::store::{Filter, Hit, Query, StoreError, VectorStore, Wanted};
use moments::{Heights, Moment};

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

/// At most `limit` moments that answer best, best first; their scores are those of [`Wanted`].
pub async fn search(
    store: &Arc<dyn VectorStore>,
    wanted: &Wanted,
    filter: Filter,
    limit: usize,
) -> Result<Vec<Moment>, SearchError> {
    let mut candidates = (limit * CANDIDATES_PER_MOMENT).max(MIN_CANDIDATES);
    loop {
        let find =
            async |wanted: Wanted| store.search(&Query { wanted, limit: candidates, filter: filter.clone() }).await;
        let hits: Vec<Hit> = find(wanted.clone()).await?;
        let moments = match wanted {
            Wanted::Vector(_) => moments::merge(&hits, &[Heights::above_median(&hits)], limit),
            Wanted::Text(_) => moments::merge(&hits, &[Heights::above_zero(&hits)], limit),
            Wanted::Hybrid(vector, text) => {
                let near = find(Wanted::Vector(vector.clone())).await?;
                let said = find(Wanted::Text(text.clone())).await?;
                moments::merge(&hits, &[Heights::only_above_median(&near), Heights::above_zero(&said)], limit)
            }
        };
        let exhausted = hits.len() < candidates;
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
