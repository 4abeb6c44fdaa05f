//! The second look: the best candidates judged by a model that reads the text and their frames together.

use std::sync::Arc;

use super::SearchError;
use crate::embed::model::RerankModel;
use crate::store::{Hit, VectorStore};

/// The candidates with new scores, best first. Each needs its frame features in the store.
pub(super) async fn rerank(
    store: &Arc<dyn VectorStore>,
    model: &RerankModel,
    text: &str,
    mut hits: Vec<Hit>,
) -> Result<Vec<Hit>, SearchError> {
    let ids: Vec<_> = hits.iter().map(|hit| hit.id).collect();
    let features = store.features(&ids).await?;
    let without = features.iter().filter(|features| features.is_empty()).count();
    if without > 0 {
        return Err(SearchError::NoFeatures { without, of: hits.len() });
    }
    let scores = model.score(text.to_owned(), features).await?;
    for (hit, score) in hits.iter_mut().zip(scores) {
        hit.score = score;
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    Ok(hits)
}
