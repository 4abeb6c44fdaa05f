//! How well every window of a medium answers a request, for a line along its time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SearchError, Shelf};
use crate::clock::seconds;
use crate::source::MediaId;
use crate::store::{Filter, Hit, Query, Selection, Wanted};

/// More windows are looked at no further: two weeks of a window each second.
const MOST_WINDOWS: u64 = 1 << 20;
/// More points are not told: no screen is so wide.
const MOST_POINTS: usize = 2000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Scores {
    pub duration_s: f64,
    /// In the order of time. Of a long medium each stands for several windows, by the best of them.
    pub scores: Vec<Score>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Score {
    pub start_s: f64,
    pub end_s: f64,
    pub score: f32,
}

/// `duration`: of the medium, where it is known.
pub(super) async fn scores(
    shelf: &Shelf<'_>,
    wanted: Wanted,
    media: MediaId,
    duration: Option<Duration>,
) -> Result<Scores, SearchError> {
    let count = shelf.store.count(Some(&Selection::medium(media))).await?.min(MOST_WINDOWS);
    if count == 0 {
        return Err(SearchError::Invalid(format!("{media}: nothing of it is indexed with this model")));
    }
    let filter = Filter { media: Some(vec![media]), ..Filter::default() };
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let mut hits = shelf.find(Query { wanted, limit, filter }).await?;
    hits.sort_by_key(|hit| (hit.payload.start, hit.payload.end));
    let last = hits.iter().map(|hit| hit.payload.end).max().unwrap_or_default();
    Ok(Scores { duration_s: seconds(duration.unwrap_or(last)), scores: thinned(&hits, MOST_POINTS) })
}

/// At most so many points, each the best of the windows it stands for.
fn thinned(hits: &[Hit], most: usize) -> Vec<Score> {
    let each = hits.len().div_ceil(most).max(1);
    let point = |hits: &[Hit]| {
        let start = hits.first().map_or(Duration::ZERO, |hit| hit.payload.start);
        let end = hits.iter().map(|hit| hit.payload.end).max().unwrap_or(start);
        let score = hits.iter().map(|hit| hit.score).fold(f32::NEG_INFINITY, f32::max);
        Score { start_s: seconds(start), end_s: seconds(end), score }
    };
    hits.chunks(each).map(point).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::Payload;

    #[test]
    fn a_long_medium_is_thinned_and_keeps_its_best() {
        let hit = |n: u64| {
            let payload = Payload {
                media_id: MediaId::default(),
                source: None,
                label: None,
                tags: Vec::new(),
                start: Duration::from_secs(n),
                end: Duration::from_secs(n + 2),
                wall_ms: None,
                minute_of_day: None,
                caption: None,
                plan: String::new(),
                complete: None,
            };
            Hit { id: Uuid::nil(), score: if n == 7 { 0.9 } else { 0.1 }, payload }
        };
        let hits: Vec<Hit> = (0..10).map(hit).collect();
        assert_eq!(thinned(&hits, 10).len(), 10);
        let few = thinned(&hits, 4);
        assert_eq!(few.len(), 4);
        assert_eq!((few[2].start_s, few[2].end_s, few[2].score), (6.0, 10.0, 0.9));
        assert!(thinned(&[], 4).is_empty());
    }
}
