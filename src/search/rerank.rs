//! Re-ranking: a model that reads the text and the frames together scores the best candidates again.

use super::moments::{self, Moment, ScoredList};
use super::{SearchError, Shelf};
use crate::embed::model::RerankModel;
use crate::ingest::plan::Plan;
use crate::store::{Features, Hit, KeptFrame, Query, StoreError, Stretch, VectorStore};
use crate::window::thin;

/// At most `limit` moments of the windows that `query` finds, scored and ordered by `model`. Fails if the store has no
/// frames of a candidate. The newest window of a medium that is not fully indexed yet is scored by the frames stored so
/// far.
pub async fn rerank(
    shelf: &Shelf<'_>,
    query: Query,
    model: &RerankModel,
    text: &str,
    limit: usize,
) -> Result<Vec<Moment>, SearchError> {
    let mut hits = shelf.find(query).await?;
    let features = frames_of(shelf.store, &hits).await?;
    let without = features.iter().filter(|features| features.is_empty()).count();
    if without > 0 {
        return Err(SearchError::NoFeatures { without, of: hits.len() });
    }
    let scores = model.score(text.to_owned(), features).await?;
    for (hit, score) in hits.iter_mut().zip(scores) {
        hit.score = score;
    }
    Ok(moments::merge(&hits, &[ScoredList::with_median_floor(&hits)], limit))
}

/// For each window, the frame features that the model was given when it was indexed.
async fn frames_of(store: &dyn VectorStore, hits: &[Hit]) -> Result<Vec<Features>, StoreError> {
    let stretch = |hit: &Hit| {
        let payload = &hit.payload;
        Stretch::new(payload.media_id, payload.plan.clone(), payload.start, payload.end)
    };
    let stretches: Vec<Stretch> = hits.iter().map(stretch).collect();
    let found = store.frames(&stretches).await?;
    Ok(hits.iter().zip(found).map(|(hit, frames)| shown(hit, frames)).collect())
}

/// Selects the frames that the model was given, from those between a window's start and end. A frame exactly at the end
/// belongs to the window only if the window's record keeps it, as for the last window of a medium; so does a held one.
fn shown(hit: &Hit, frames: Vec<KeptFrame>) -> Features {
    let may_be = |frame: &KeptFrame| frame.feature.pts < hit.payload.end && !frame.held;
    let in_window = |frame: &KeptFrame| may_be(frame) || frame.record == hit.id;
    let rows = frames.into_iter().filter(in_window).map(|frame| frame.feature.values).collect();
    thin(rows, Plan::frames_of(&hit.payload.plan).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::embed::{Embedding, Feature};
    use crate::source::MediaId;
    use crate::store::memory::MemoryStore;
    use crate::store::{CollectionSpec, Payload, Record};
    use crate::window::{Span, Window, Windows};

    const PLAN: &str = "v3 w2 s0.7 f4 auto features";
    /// Frames per window in that plan.
    const MOST: usize = 4;

    /// Indexes frames at these times, some of them held until the next; returns the windows with the frames that the model was given.
    async fn indexed(store: &MemoryStore, span: Span, times: &[u64], held: bool, end: u64) -> Vec<(Hit, Vec<f32>)> {
        let ms = Duration::from_millis;
        let mut windows = Windows::new(span, MOST, 0);
        let until = |n: usize| times.get(n + 1).map(|next| ms(*next)).filter(|_| held && n.is_multiple_of(3));
        let mut shown: Vec<Window<u64>> =
            times.iter().enumerate().flat_map(|(n, time)| windows.push(ms(*time), until(n), *time)).collect();
        shown.extend(windows.finish(ms(end)));
        // Of two windows with the same start, the second also has a frame exactly at the end.
        shown.reverse();
        shown.dedup_by_key(|window| window.start);
        shown.reverse();
        // Exact in float16.
        let value = |time: &u64| times.iter().position(|other| other == time).unwrap() as f32;
        let payload = |window: &Window<u64>| Payload {
            media_id: MediaId(Uuid::from_u128(1)),
            source: None,
            label: None,
            tags: Vec::new(),
            start: window.start,
            end: window.end,
            wall_ms: None,
            minute_of_day: None,
            caption: None,
            plan: PLAN.to_owned(),
            complete: None,
        };
        let vector = || Embedding::new(vec![1.0]).unwrap();
        let mut records: Vec<Record> =
            shown.iter().map(|window| Record::new("bundle", vector(), payload(window), Vec::new(), false)).collect();
        for time in times {
            let keeps = |record: &&mut Record| record.payload.start <= ms(*time);
            let record = records.iter_mut().rfind(keeps).unwrap();
            record.features.push(Feature { pts: ms(*time), values: Arc::from([value(time)]) });
        }
        for (record, window) in records.iter_mut().zip(&shown) {
            if let Some(first) = window.items.first().filter(|first| ms(**first) < window.start) {
                record.features.insert(0, Feature { pts: window.start, values: Arc::from([value(first)]) });
                record.held = true;
            }
        }
        store.upsert(&records).await.unwrap();
        let hit = |record: &Record| Hit { id: record.id, score: 0.0, payload: record.payload.clone() };
        let values = |window: &Window<u64>| window.items.iter().map(value).collect();
        records.iter().map(hit).zip(shown.iter().map(values)).collect()
    }

    #[tokio::test]
    async fn a_window_is_judged_by_the_frames_that_the_model_was_shown() {
        let (length, stride) = (Duration::from_millis(2000), Duration::from_millis(700));
        let regular: Vec<u64> = (0..40).map(|n| n * 250).collect();
        let uneven: Vec<u64> =
            (0..40).map(|n| n * n * 7 % 9000).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        for times in [&regular, &uneven] {
            let last = times[times.len() - 1];
            for span in [Span::Sliding { length, stride }, Span::Sliding { length, stride: length }, Span::Whole] {
                // A last frame exactly at the end is in the last window, and in no other that ends there.
                for (end, held) in [last, last + 1, last + 250].into_iter().flat_map(|end| [(end, false), (end, true)])
                {
                    let store = MemoryStore::new(&CollectionSpec {
                        name: "a".into(),
                        dim: 1,
                        bundle: "bundle".into(),
                        owner: Uuid::nil(),
                        feature_dim: Some(1),
                    });
                    let (hits, expected): (Vec<Hit>, Vec<Vec<f32>>) =
                        indexed(&store, span, times, held, end).await.into_iter().unzip();
                    let found = frames_of(&store, &hits).await.unwrap();
                    let found: Vec<Vec<f32>> =
                        found.iter().map(|rows| rows.iter().map(|row| row[0]).collect()).collect();
                    assert_eq!(found, expected, "{span:?} {end} {held}");
                }
            }
        }
    }
}
