//! The second look: the best candidates judged by a model that reads the text and their frames together.

use super::moments::{self, Heights, Moment};
use super::{SearchError, Shelf};
use crate::embed::model::RerankModel;
use crate::store::Query;

/// At most `limit` moments of the windows that `query` finds, in the order of `model`, whose scores they have. Each
/// candidate needs its frame features in the store.
pub async fn rerank(
    shelf: &Shelf<'_>,
    query: Query,
    model: &RerankModel,
    text: &str,
    limit: usize,
) -> Result<Vec<Moment>, SearchError> {
    let mut hits = shelf.find(query).await?;
    let ids: Vec<_> = hits.iter().map(|hit| hit.id).collect();
    let features = shelf.store.features(&ids).await?;
    let without = features.iter().filter(|features| features.is_empty()).count();
    if without > 0 {
        return Err(SearchError::NoFeatures { without, of: hits.len() });
    }
    let scores = model.score(text.to_owned(), features).await?;
    for (hit, score) in hits.iter_mut().zip(scores) {
        hit.score = score;
    }
    Ok(moments::merge(&hits, &[Heights::above_median(&hits)], limit))
}
