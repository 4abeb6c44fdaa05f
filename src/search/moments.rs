//! Merges windows to moments. Pure.
//!
//! The best window not yet taken is a peak. It grows to both sides over windows of the same medium that overlap or
//! touch the span so far and score at least half way between the peak and a floor (full width at half maximum). Other
//! windows that overlap a moment are suppressed, so each moment is returned once.
//!
//! Scores are compared within each list that contains the peak ([`ScoredList`]). Cosine similarities have no natural
//! zero, so their floor is the median of the candidates. The floor of BM25 is 0, the score of a caption without any of
//! the words. Fused scores only order the peaks: they are made of ranks, which do not tell how much better one window
//! is than its neighbour.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::time::Duration;

use uuid::Uuid;

use crate::source::MediaId;
use crate::store::{Hit, Payload};

/// Neighbouring windows that match a query, merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Record id of the peak window.
    pub id: Uuid,
    pub start: Duration,
    /// Middle of the best window.
    pub peak: Duration,
    pub end: Duration,
    /// Score of the best window, from the list of candidates.
    pub score: f32,
    /// Payload of the best window.
    pub payload: Payload,
}

/// A list of windows with comparable scores, and the floor below which a score means nothing.
pub struct ScoredList<'a> {
    hits: &'a [Hit],
    floor: f32,
}

impl<'a> ScoredList<'a> {
    pub fn with_median_floor(hits: &'a [Hit]) -> Self {
        let mut scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        Self { hits, floor: scores.get(scores.len() / 2).copied().unwrap_or(0.0) }
    }

    pub fn with_zero_floor(hits: &'a [Hit]) -> Self {
        Self { hits, floor: 0.0 }
    }
}

/// At most `limit` moments, best first, from candidates in any order. Takes O(n log n) for n windows if each overlaps
/// only a few others, as the windows of one plan do.
pub fn merge(candidates: &[Hit], lists: &[ScoredList<'_>], limit: usize) -> Vec<Moment> {
    let mut hits: Vec<&Hit> = candidates.iter().collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    let score_of: Vec<HashMap<Uuid, f32>> = lists.iter().map(scores_by_id).collect();
    let windows = windows_by_medium(lists);
    let mut taken: HashMap<MediaId, Taken> = HashMap::new();
    let mut moments: Vec<Moment> = Vec::new();
    for peak in hits {
        if moments.len() == limit {
            break;
        }
        let taken = taken.entry(peak.payload.media_id).or_default();
        if taken.overlaps(&peak.payload) {
            continue;
        }
        let floors = least_scores(lists, &score_of, peak.id);
        let bounds = taken.around(peak.payload.start);
        let windows = windows.get(&peak.payload.media_id).map_or(&[][..], Vec::as_slice);
        let (start, end) = grow(&peak.payload, windows, &floors, bounds);
        taken.0.insert((start, end));
        moments.push(Moment {
            id: peak.id,
            start,
            peak: peak.payload.start + peak.payload.end.saturating_sub(peak.payload.start) / 2,
            end,
            score: peak.score,
            payload: peak.payload.clone(),
        });
    }
    moments
}

fn scores_by_id(list: &ScoredList<'_>) -> HashMap<Uuid, f32> {
    list.hits.iter().map(|hit| (hit.id, hit.score)).collect()
}

/// A window of one of the lists.
struct Listed {
    start: Duration,
    end: Duration,
    list: usize,
    score: f32,
    /// The latest end among this window and those that start before it.
    latest_end: Duration,
}

/// The windows of all lists by medium, sorted by start.
fn windows_by_medium(lists: &[ScoredList<'_>]) -> HashMap<MediaId, Vec<Listed>> {
    let mut media: HashMap<MediaId, Vec<Listed>> = HashMap::new();
    for (list, scored) in lists.iter().enumerate() {
        for hit in scored.hits {
            let Payload { media_id, start, end, .. } = hit.payload;
            let listed = Listed { start, end, list, score: hit.score, latest_end: end };
            media.entry(media_id).or_default().push(listed);
        }
    }
    for windows in media.values_mut() {
        windows.sort_by_key(|window| window.start);
        let mut latest_end = Duration::ZERO;
        for window in windows {
            latest_end = latest_end.max(window.end);
            window.latest_end = latest_end;
        }
    }
    media
}

/// For each list, the lowest score with which a window joins this peak; `None`: the list does not count.
fn least_scores(lists: &[ScoredList<'_>], score_of: &[HashMap<Uuid, f32>], peak: Uuid) -> Vec<Option<f32>> {
    let lists = || lists.iter().zip(score_of).map(|(list, of)| (list.floor, of.get(&peak).copied()));
    // If the peak is above the floor of some lists, the other lists do not count.
    let stands_out = |(floor, score): (f32, Option<f32>)| score.is_some_and(|score| score > floor);
    let by_any = lists().any(stands_out);
    let lists = lists().map(|list| if !by_any || stands_out(list) { list } else { (list.0, None) });
    lists.map(|(floor, score)| score.map(|score| floor + (score - floor) / 2.0)).collect()
}

/// The span of the peak and of all windows that join it, cut at the neighbouring moments.
fn grow(
    peak: &Payload,
    windows: &[Listed],
    floors: &[Option<f32>],
    (earliest, latest): (Option<Duration>, Option<Duration>),
) -> (Duration, Duration) {
    let (mut start, mut end) = (peak.start, peak.end);
    let good = |window: &&Listed| floors[window.list].is_some_and(|floor| window.score >= floor);
    let behind = windows.partition_point(|window| window.start < peak.start);
    for window in windows[..behind].iter().rev() {
        // Windows further back no longer reach the span, or can only extend it beyond its bounds.
        let bounded = earliest.is_some_and(|earliest| start <= earliest);
        if window.latest_end < start || bounded && window.latest_end <= end {
            break;
        }
        if window.end >= start && good(&window) {
            start = start.min(window.start);
            end = end.max(window.end);
        }
    }
    for window in &windows[behind..] {
        if window.start > end || latest.is_some_and(|latest| end >= latest) {
            break;
        }
        if window.end >= start && good(&window) {
            end = end.max(window.end);
        }
    }
    (earliest.map_or(start, |earliest| start.max(earliest)), latest.map_or(end, |latest| end.min(latest)))
}

/// Spans of the moments of one medium. They do not overlap, so sorting by start also sorts by end.
#[derive(Default)]
struct Taken(BTreeSet<(Duration, Duration)>);

impl Taken {
    fn overlaps(&self, window: &Payload) -> bool {
        let before = self.0.range(..(window.end, Duration::ZERO)).next_back();
        before.is_some_and(|(_, end)| window.start < *end)
    }

    /// End of the last moment before `start` and start of the first one after it, for a window that overlaps none.
    fn around(&self, start: Duration) -> (Option<Duration>, Option<Duration>) {
        let before = self.0.range(..=(start, start)).next_back().map(|(_, end)| *end);
        let behind = self.0.range((Bound::Excluded((start, start)), Bound::Unbounded)).next().map(|(start, _)| *start);
        (before, behind)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn hit(media: u128, start: u64, score: f32) -> Hit {
        let payload = Payload {
            media_id: MediaId(Uuid::from_u128(media)),
            source: None,
            label: None,
            tags: Vec::new(),
            start: Duration::from_secs(start),
            end: Duration::from_secs(start + 2),
            wall_ms: None,
            minute_of_day: None,
            caption: None,
            plan: String::new(),
            complete: None,
        };
        Hit { id: Uuid::from_u128(media * 1000 + u128::from(start)), score, payload }
    }

    fn by_cosine(hits: &[Hit], limit: usize) -> Vec<Moment> {
        merge(hits, &[ScoredList::with_median_floor(hits)], limit)
    }

    fn spans(moments: &[Moment]) -> Vec<(u64, u64)> {
        moments.iter().map(|m| (m.start.as_secs(), m.end.as_secs())).collect()
    }

    #[test]
    fn neighbours_above_half_the_peak_are_one_moment() {
        let scores = [0.1, 0.1, 0.7, 0.9, 0.8, 0.1, 0.1, 0.1, 0.6, 0.1];
        let hits: Vec<Hit> = scores.iter().zip(0..).map(|(score, start)| hit(1, start, *score)).collect();
        let moments = by_cosine(&hits, 2);
        assert_eq!(spans(&moments), [(2, 6), (8, 10)]);
        assert_eq!(moments[0].peak, Duration::from_secs(4));
    }

    #[test]
    fn media_are_not_mixed_and_the_limit_holds() {
        let hits = vec![hit(1, 0, 0.9), hit(2, 1, 0.8), hit(3, 0, 0.1), hit(3, 9, 0.05)];
        assert_eq!(spans(&by_cosine(&hits, 10)).len(), 4);
        assert_eq!(spans(&by_cosine(&hits, 1)), [(0, 2)]);
    }

    #[test]
    fn equal_scores_are_one_moment_per_stretch() {
        let hits = vec![hit(1, 0, 0.5), hit(1, 1, 0.5), hit(1, 7, 0.5)];
        assert_eq!(spans(&by_cosine(&hits, 10)), [(0, 3), (7, 9)]);
    }

    #[test]
    fn nothing_in_nothing_out() {
        assert!(by_cosine(&[], 5).is_empty());
    }

    #[test]
    fn captions_grow_over_all_that_say_half_as_much() {
        // Nearly all score high: above their median only the two best would be left.
        let scores = [1.9, 4.1, 4.0, 4.2, 4.1, 4.0, 1.9];
        let hits: Vec<Hit> = scores.iter().zip(0..).map(|(score, start)| hit(1, start, *score)).collect();
        let moments = merge(&hits, &[ScoredList::with_zero_floor(&hits)], 5);
        assert_eq!(spans(&moments), [(1, 7)], "the others overlap it");
    }

    /// The fused list has every window of a short film, all with similar scores.
    #[test]
    fn fused_moments_are_as_long_as_the_list_that_found_them_says() {
        let near: Vec<Hit> = [0.1, 0.1, 0.1, 0.1, 0.8, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
            .iter()
            .zip(0..)
            .map(|(score, start)| hit(1, start, *score))
            .collect();
        let said = vec![hit(1, 9, 3.0), hit(1, 10, 2.9), hit(1, 11, 1.0)];
        let rank = |hits: &[Hit], id: Uuid| {
            let mut hits: Vec<&Hit> = hits.iter().collect();
            hits.sort_by(|a, b| b.score.total_cmp(&a.score));
            hits.iter().position(|hit| hit.id == id).map_or(0.0, |rank| 1.0 / (61 + rank) as f32)
        };
        let fused: Vec<Hit> =
            near.iter().map(|hit| Hit { score: rank(&near, hit.id) + rank(&said, hit.id), ..hit.clone() }).collect();
        let moments = merge(&fused, &[ScoredList::with_median_floor(&near), ScoredList::with_zero_floor(&said)], 2);
        assert_eq!(spans(&moments), [(9, 12), (4, 7)]);
    }

    /// A plain and slow implementation that [`merge`] must agree with.
    mod defined {
        use super::super::*;

        pub(super) fn merge(candidates: &[Hit], lists: &[ScoredList<'_>], limit: usize) -> Vec<Moment> {
            let mut hits: Vec<&Hit> = candidates.iter().collect();
            hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
            let mut moments: Vec<Moment> = Vec::new();
            for peak in hits {
                if moments.len() == limit {
                    break;
                }
                let media = peak.payload.media_id;
                if moments.iter().any(|moment| moment.payload.media_id == media && overlaps(moment, &peak.payload)) {
                    continue;
                }
                let taken: Vec<(Duration, Duration)> =
                    moments.iter().filter(|m| m.payload.media_id == media).map(|m| (m.start, m.end)).collect();
                let stands_out = |list: &ScoredList<'_>| of(list, peak).is_some_and(|score| score > list.floor);
                let by_any = lists.iter().any(stands_out);
                let lists = lists.iter().filter(|list| !by_any || stands_out(list));
                let around: Vec<_> = lists.flat_map(|list| around(list, peak)).collect();
                let (start, end) = grow(peak, &around, &taken);
                moments.push(Moment {
                    id: peak.id,
                    start,
                    peak: peak.payload.start + (peak.payload.end - peak.payload.start) / 2,
                    end,
                    score: peak.score,
                    payload: peak.payload.clone(),
                });
            }
            moments
        }

        fn of(list: &ScoredList<'_>, peak: &Hit) -> Option<f32> {
            list.hits.iter().find(|hit| hit.id == peak.id).map(|hit| hit.score)
        }

        /// Spans of the peak's medium that score at least half as high as the peak; empty if the list does not contain
        /// it.
        fn around(list: &ScoredList<'_>, peak: &Hit) -> Vec<(Duration, Duration)> {
            let Some(score) = of(list, peak) else { return Vec::new() };
            let (media, half) = (peak.payload.media_id, list.floor + (score - list.floor) / 2.0);
            let good = list.hits.iter().filter(|hit| hit.payload.media_id == media && hit.score >= half);
            good.map(|hit| (hit.payload.start, hit.payload.end)).collect()
        }

        fn grow(peak: &Hit, windows: &[(Duration, Duration)], taken: &[(Duration, Duration)]) -> (Duration, Duration) {
            let (mut start, mut end) = (peak.payload.start, peak.payload.end);
            loop {
                let before = (start, end);
                for (from, to) in windows {
                    if *from <= end && *to >= start {
                        start = start.min(*from);
                        end = end.max(*to);
                    }
                }
                if (start, end) == before {
                    break;
                }
            }
            for (from, to) in taken {
                if *to <= peak.payload.start {
                    start = start.max(*to);
                } else {
                    end = end.min(*from);
                }
            }
            (start, end)
        }

        fn overlaps(moment: &Moment, window: &Payload) -> bool {
            window.start < moment.end && moment.start < window.end
        }
    }

    /// Windows of a few media and many lengths, in two lists that share some of them. Few distinct scores, so that
    /// there are ties.
    fn lists() -> impl Strategy<Value = (Vec<Hit>, Vec<Hit>)> {
        let window = (0u128..2, 0u64..40, 0u64..9, 0i32..12, prop::option::of(0i32..12), any::<bool>());
        prop::collection::vec(window, 0..60).prop_map(|windows| {
            let (mut near, mut said) = (Vec::new(), Vec::new());
            for (number, (media, start, length, score, words, listed)) in (0..).zip(windows) {
                let mut hit = hit(media, start, score as f32 / 7.0);
                hit.id = Uuid::from_u128(number);
                hit.payload.end = Duration::from_secs(start + length);
                said.extend(words.map(|score| Hit { score: score as f32, ..hit.clone() }));
                if listed {
                    near.push(hit);
                }
            }
            (near, said)
        })
    }

    /// The plain implementation takes minutes for this.
    #[test]
    fn many_moments_of_one_medium_are_merged_in_no_time() {
        // No two neighbours belong together, so each is a moment of its own between those that are there already.
        let hits: Vec<Hit> = (0..20_000)
            .map(|number| {
                let mut hit = hit(1, number * 2, if number % 2 == 0 { 0.9 + number as f32 * 1e-6 } else { 0.1 });
                hit.payload.end += Duration::from_millis(500);
                hit
            })
            .collect();
        assert_eq!(by_cosine(&hits, usize::MAX).len(), 10_000);
    }

    proptest! {
        #[test]
        fn moments_are_those_of_the_definition((near, said) in lists(), limit in 0usize..30) {
            let fused: Vec<Hit> = near.iter().chain(&said).map(|hit| (hit.id, hit)).collect::<BTreeMap<_, _>>()
                .into_values().cloned().collect();
            for (candidates, lists) in [
                (&near, vec![ScoredList::with_median_floor(&near)]),
                (&said, vec![ScoredList::with_zero_floor(&said)]),
                (&fused, vec![ScoredList::with_median_floor(&near), ScoredList::with_zero_floor(&said)]),
            ] {
                prop_assert_eq!(merge(candidates, &lists, limit), defined::merge(candidates, &lists, limit));
            }
        }

        #[test]
        fn moments_do_not_overlap_and_come_best_first(
            windows in prop::collection::btree_map((0u128..3, 0u64..60), -1.0f32..1.0, 0..80), limit in 0usize..20
        ) {
            let hits: Vec<Hit> = windows.iter().map(|((media, start), score)| hit(*media, *start, *score)).collect();
            let moments = by_cosine(&hits, limit);
            prop_assert!(moments.len() <= limit);
            prop_assert!(moments.windows(2).all(|pair| pair[0].score >= pair[1].score));
            for (i, a) in moments.iter().enumerate() {
                prop_assert!(a.start <= a.peak && a.peak <= a.end);
                prop_assert!(hits.iter().any(|hit| hit.id == a.id && hit.score == a.score));
                for b in &moments[..i] {
                    prop_assert!(a.payload.media_id != b.payload.media_id || a.end <= b.start || b.end <= a.start);
                }
            }
            if limit > 0 && !hits.is_empty() {
                let best = hits.iter().map(|hit| hit.score).fold(f32::MIN, f32::max);
                prop_assert_eq!(moments[0].score, best);
            }
        }
    }
}
