//! Different moments first: Maximal Marginal Relevance (Carbonell and Goldstein, SIGIR 1998). Pure.
//!
//! Each next moment is the one with the greatest `λ · relevance − (1 − λ) · similarity`, where the similarity is that to the
//! most similar of those chosen already. Relevance is a score between the worst (0) and the best (1) of the candidates: texts
//! are far less similar to pictures than these are to each other, and scores of other kinds are no similarities at all.

use super::moments::Moment;
use crate::embed::Embedding;

/// At most `limit` of these moments in the order of choice. `vectors`: of each, where it is known.
pub(super) fn diverse(
    moments: Vec<Moment>,
    vectors: &[Option<Embedding>],
    diversity: f32,
    limit: usize,
) -> Vec<Moment> {
    let lambda = 1.0 - diversity;
    let scores = moments.iter().map(|moment| moment.score);
    let (worst, best) = scores.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), s| (low.min(s), high.max(s)));
    let spread = if best > worst { best - worst } else { 1.0 };
    let relevance: Vec<f32> = moments.iter().map(|moment| (moment.score - worst) / spread).collect();
    // To the most similar of those chosen so far.
    let mut nearest = vec![f32::NEG_INFINITY; moments.len()];
    let mut left: Vec<Option<Moment>> = moments.into_iter().map(Some).collect();
    let mut chosen = Vec::new();
    while chosen.len() < limit {
        let gain = |n: usize| {
            let similarity = if nearest[n].is_finite() { nearest[n] } else { 0.0 };
            lambda * relevance[n] - diversity * similarity
        };
        let next = (0..left.len()).filter(|n| left[*n].is_some());
        // Of equals the first: they come in the order of their scores.
        let Some(next) = next.rev().max_by(|a, b| gain(*a).total_cmp(&gain(*b))) else { break };
        chosen.extend(left[next].take());
        let Some(vector) = vectors.get(next).and_then(Option::as_ref) else { continue };
        for (n, other) in vectors.iter().enumerate().take(left.len()) {
            if let Some(other) = other {
                nearest[n] = nearest[n].max(vector.dot(other));
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::source::MediaId;
    use crate::store::Payload;

    fn moment(n: u128, score: f32) -> Moment {
        let payload = Payload {
            media_id: MediaId::default(),
            source: None,
            label: None,
            tags: Vec::new(),
            start: Duration::ZERO,
            end: Duration::ZERO,
            wall_ms: None,
            minute_of_day: None,
            caption: None,
            plan: String::new(),
            complete: None,
        };
        let (start, peak, end) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Moment { id: Uuid::from_u128(n), start, peak, end, score, payload }
    }

    fn order(diversity: f32, limit: usize) -> Vec<u128> {
        // The second is nearly the first, the third is like neither.
        let moments = vec![moment(1, 0.9), moment(2, 0.89), moment(3, 0.7), moment(4, 0.5)];
        let vector = |values: &[f32]| Some(Embedding::new(values.to_vec()).unwrap());
        let vectors = [vector(&[1.0, 0.0]), vector(&[1.0, 0.05]), vector(&[0.0, 1.0]), None];
        diverse(moments, &vectors, diversity, limit).into_iter().map(|moment| moment.id.as_u128()).collect()
    }

    #[test]
    fn what_resembles_the_chosen_comes_later() {
        assert_eq!(order(0.0, 4), [1, 2, 3, 4], "by relevance alone");
        assert_eq!(order(0.5, 3), [1, 3, 4]);
        assert_eq!(order(0.5, 9).len(), 4);
        assert!(diverse(Vec::new(), &[], 0.5, 3).is_empty());
    }
}
