//! Finds windows by vector, by words of captions, or by both, under filters, and merges them to moments.

use std::collections::HashSet;

use super::SearchError;
use super::moments::{self, Moment, ScoredList};
use crate::ledger::Ledger;
use crate::store::{Filter, Hit, Query, VectorStore, Wanted};

/// Candidates fetched per wanted moment in the first try. Windows of one moment crowd others out, so while too few
/// moments are found, more candidates are fetched, up to a limit.
const CANDIDATES_PER_MOMENT: usize = 20;
const MIN_CANDIDATES: usize = 200;
const MAX_CANDIDATES: usize = 20_000;
const MORE_CANDIDATES: usize = 4;
/// Media that a query excludes by name.
const MOST_EXCLUDED: usize = 100;

/// A collection, and the ledger that knows which of its records may be shown.
pub struct Shelf<'a> {
    pub store: &'a dyn VectorStore,
    pub ledger: &'a Ledger,
    pub collection: &'a str,
}

impl Shelf<'_> {
    /// The best records that may be shown. Hidden ones (of media that are being replaced, or that a lost ledger knew) are
    /// usually few, so they are found among the hits and excluded by name in the next query. A query that names many takes
    /// minutes: where there are many, more records are fetched instead, up to a limit.
    pub async fn find(&self, mut query: Query) -> Result<Vec<Hit>, SearchError> {
        let wanted = query.limit;
        loop {
            let mut hits = self.store.search(&query).await?;
            let is_all = hits.len() < query.limit || query.limit >= MAX_CANDIDATES;
            let mut whose: Vec<_> = hits.iter().map(|hit| (hit.payload.media_id, hit.payload.plan.clone())).collect();
            whose.sort();
            whose.dedup();
            let hidden = self.ledger.hidden(self.collection, whose).await?;
            if query.filter.hidden.len() + hidden.len() <= MOST_EXCLUDED && !hidden.is_empty() {
                query.filter.hidden.extend(hidden);
                continue;
            }
            let hidden: HashSet<_> = hidden.into_iter().collect();
            hits.retain(|hit| !hidden.contains(&(hit.payload.media_id, hit.payload.plan.clone())));
            if hidden.is_empty() || is_all || hits.len() >= wanted {
                hits.truncate(wanted);
                return Ok(hits);
            }
            query.limit = (query.limit * MORE_CANDIDATES).min(MAX_CANDIDATES);
        }
    }
}

/// At most `limit` moments, best first; their scores are those of [`Wanted`].
pub async fn search(
    shelf: &Shelf<'_>,
    wanted: &Wanted,
    filter: Filter,
    limit: usize,
) -> Result<Vec<Moment>, SearchError> {
    let mut moments = Vec::new();
    for candidates in candidate_counts(limit) {
        let find = async |wanted: Wanted| shelf.find(Query { wanted, limit: candidates, filter: filter.clone() }).await;
        let hits: Vec<Hit> = find(wanted.clone()).await?;
        moments = match wanted {
            Wanted::Vector(_) => moments::merge(&hits, &[ScoredList::with_median_floor(&hits)], limit),
            Wanted::Text(_) => moments::merge(&hits, &[ScoredList::with_zero_floor(&hits)], limit),
            Wanted::Hybrid(vector, text) => {
                let near = find(Wanted::Vector(vector.clone())).await?;
                let said = find(Wanted::Text(text.clone())).await?;
                moments::merge(
                    &hits,
                    &[ScoredList::with_median_floor(&near), ScoredList::with_zero_floor(&said)],
                    limit,
                )
            }
        };
        let exhausted = hits.len() < candidates;
        if moments.len() >= limit || exhausted {
            break;
        }
    }
    Ok(moments)
}

/// How many candidates to fetch for this many moments, one number per try.
fn candidate_counts(moments: usize) -> impl Iterator<Item = usize> {
    let first = moments.saturating_mul(CANDIDATES_PER_MOMENT).clamp(MIN_CANDIDATES, MAX_CANDIDATES);
    let more = |count: &usize| (count * MORE_CANDIDATES).min(MAX_CANDIDATES);
    std::iter::successors(Some(first), move |count| (*count < MAX_CANDIDATES).then(|| more(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_grow_up_to_their_limit_and_not_beyond() {
        let counts = |moments| candidate_counts(moments).collect::<Vec<_>>();
        assert_eq!(counts(1), [200, 800, 3200, 12_800, 20_000]);
        assert_eq!(counts(300), [6000, 20_000]);
        assert_eq!(counts(1000), [20_000]);
        assert_eq!(counts(usize::MAX), [20_000]);
    }
}
