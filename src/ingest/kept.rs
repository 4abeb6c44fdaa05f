//! Which record keeps which frames.
//!
//! Windows overlap, so a frame lies in several of them, but its features are stored once. Of the windows that are stored,
//! **the last one that begins at or before a frame keeps it**. So a record keeps its frames from its start to the start
//! of the next stored window; and to its own end where no other begins before that: at the end of the medium, before a
//! gap, and before windows that the model gave no direction. The window that ends with the medium, which is moved back,
//! is one like the others. A frame that lies in no stored window, because the model gave none of its windows a direction,
//! is not kept: there is no record by which it could be found.
//!
//! What a record keeps is known when the next window is stored, or when none that comes can begin within it. Until then
//! it is held back, and a run that is interrupted goes on at the window that was held back. So what was confirmed is
//! never written again with other frames, and a resumed run writes what an undisturbed one would have.

use std::time::Duration;

use crate::embed::{Embedding, Feature};
use crate::window::Window;

/// A window and what is kept of it.
pub(super) struct Embedded {
    pub(super) window: Window<()>,
    pub(super) vector: Embedding,
    pub(super) caption: Option<String>,
    /// Those of its frames whose features its record keeps; none where the plan keeps none.
    pub(super) features: Vec<Feature>,
}

/// The newest stored window.
#[derive(Default)]
pub(super) struct Held(Option<Embedded>);

impl Held {
    /// Takes the next windows that are to be stored, with all frames of each, and gives those of which it is known what
    /// they keep, with just that. No window that comes later begins before `coming`.
    pub(super) fn next(&mut self, windows: Vec<Embedded>, coming: Duration) -> Vec<Embedded> {
        let mut known = Vec::new();
        for next in windows {
            let start = next.window.start;
            // One with the same start has the same end, but for a frame right there: it takes the place of the first.
            if let Some(mut held) = self.0.replace(next).filter(|held| held.window.start < start) {
                held.features.retain(|feature| feature.pts < start);
                known.push(held);
            }
        }
        known.extend(self.0.take_if(|held| held.window.end <= coming));
        known
    }

    /// Where the medium ends behind these.
    pub(super) fn finish(&mut self, windows: Vec<Embedded>) -> Vec<Embedded> {
        self.next(windows, Duration::MAX)
    }

    pub(super) fn start(&self) -> Option<Duration> {
        self.0.as_ref().map(|held| held.window.start)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::window::{Span, Windows};

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// A run over one medium, by a model that gives some windows no direction.
    struct Run<'a> {
        windows: Windows<Feature>,
        held: Held,
        has_direction: &'a dyn Fn(Duration) -> bool,
    }

    impl<'a> Run<'a> {
        fn new(span: Span, first: u64, has_direction: &'a dyn Fn(Duration) -> bool) -> Self {
            Self { windows: Windows::new(span, usize::MAX, first), held: Held::default(), has_direction }
        }

        fn stored(&self, windows: Vec<Window<Feature>>) -> Vec<Embedded> {
            let embedded = |Window { start, end, items }| Embedded {
                window: Window { start, end, items: Vec::new() },
                vector: Embedding::new(vec![1.0]).unwrap(),
                caption: None,
                features: items,
            };
            windows.into_iter().filter(|window| (self.has_direction)(window.start)).map(embedded).collect()
        }

        fn push(&mut self, time: u64) -> Vec<Embedded> {
            let full = self.windows.push(ms(time), Feature { pts: ms(time), values: [].into() });
            let stored = self.stored(full);
            self.held.next(stored, self.windows.resume_from())
        }

        fn finish(mut self, end: u64) -> Vec<Embedded> {
            let span = Span::Whole;
            let rest = std::mem::replace(&mut self.windows, Windows::new(span, 1, 0)).finish(ms(end));
            let stored = self.stored(rest);
            self.held.finish(stored)
        }
    }

    /// Start, end and times of the frames kept, in milliseconds.
    type Kept = (u128, u128, Vec<u64>);

    fn kept(records: Vec<Embedded>) -> Vec<Kept> {
        let times = |features: Vec<Feature>| features.iter().map(|feature| feature.pts.as_millis() as u64).collect();
        let one = |r: Embedded| (r.window.start.as_millis(), r.window.end.as_millis(), times(r.features));
        records.into_iter().map(one).collect()
    }

    fn cut(span: Span, times: &[u64], end: u64, first: u64, has_direction: &dyn Fn(Duration) -> bool) -> Vec<Kept> {
        let mut run = Run::new(span, first, has_direction);
        let from = run.windows.from();
        let mut records = Vec::new();
        for time in times.iter().filter(|time| ms(**time) >= from) {
            records.extend(run.push(*time));
        }
        records.extend(run.finish(end));
        kept(records)
    }

    fn sliding(length: u64, stride: u64) -> Span {
        Span::Sliding { length: ms(length), stride: ms(stride) }
    }

    #[test]
    fn each_frame_is_kept_by_the_last_window_that_begins_at_or_before_it() {
        let all = |_: Duration| true;
        let times: Vec<u64> = (0..=6).map(|second| second * 1000).collect();
        assert_eq!(
            cut(sliding(4000, 2000), &times, 7000, 0, &all),
            [(0, 4000, vec![0, 1000]), (2000, 6000, vec![2000]), (3000, 7000, vec![3000, 4000, 5000, 6000])]
        );
        assert_eq!(cut(sliding(4000, 2000), &times[..2], 1500, 0, &all), [(0, 1500, vec![0, 1000])]);
        assert_eq!(cut(Span::Whole, &times, 7000, 0, &all), [(0, 7000, times.clone())]);
        // What the window without direction would have kept is kept by the one before it.
        let but_the_second = |start: Duration| start != ms(2000);
        assert_eq!(
            cut(sliding(4000, 2000), &times, 7000, 0, &but_the_second),
            [(0, 4000, vec![0, 1000, 2000]), (3000, 7000, vec![3000, 4000, 5000, 6000])]
        );
    }

    #[test]
    fn a_last_frame_at_the_very_end_does_not_make_a_window_twice() {
        let times = [0, 1000, 2000, 3000, 4000];
        assert_eq!(cut(sliding(4000, 2000), &times, 4000, 0, &|_| true), [(0, 4000, times.to_vec())]);
    }

    #[test]
    fn a_run_goes_on_at_the_window_that_was_held_back() {
        let but_the_third = |start: Duration| start != ms(4000);
        let mut run = Run::new(sliding(4000, 2000), 0, &but_the_third);
        let known: Vec<_> = (0..8).flat_map(|second| run.push(second * 1000)).collect();
        assert_eq!(kept(known), [(0, 4000, vec![0, 1000])]);
        assert_eq!(run.windows.resume_with(run.held.start()), (1, ms(2000)));
        // The window that begins at 4 s is full now, but has no direction: that at 2 s may still lose frames.
        assert!(run.push(8000).is_empty());
        assert_eq!(run.windows.resume_with(run.held.start()), (1, ms(2000)));
        assert_eq!(kept(run.push(10_000)), [(2000, 6000, vec![2000, 3000, 4000, 5000])]);
        assert_eq!(run.windows.resume_with(run.held.start()), (3, ms(6000)));
    }

    const DAY: u64 = 24 * 3600 * 1000;

    /// Times in order, now and then with a gap; length and stride of the windows; end; which windows have no direction.
    fn medium() -> impl Strategy<Value = (Vec<u64>, Span, u64, u64)> {
        let gap = prop_oneof![30 => 1u64..400, 1 => 1000..DAY, 1 => DAY..400 * DAY];
        let span = prop_oneof![
            9 => (1u64..3000, 1u64..3000).prop_map(|(a, b)| sliding(a.max(b), a.min(b))),
            1 => Just(Span::Whole),
        ];
        (0u64..300, prop::collection::vec(gap, 0..150), span, prop_oneof![Just(0u64), 1u64..2000], 0u64..8).prop_map(
            |(first, gaps, span, tail, dropped)| {
                let mut times = vec![first];
                times.extend(gaps.iter().scan(first, |now, gap| {
                    *now += gap;
                    Some(*now)
                }));
                let end = times[times.len() - 1] + tail;
                (times, span, end, dropped)
            },
        )
    }

    /// Of 0: all. Else some, more than one in a row too.
    fn directions(dropped: u64) -> impl Fn(Duration) -> bool {
        move |start: Duration| dropped == 0 || start.as_millis() / 97 % 8 >= u128::from(dropped)
    }

    proptest! {
        #[test]
        fn each_frame_of_the_stored_windows_is_kept_once_and_in_order((times, span, end, dropped) in medium()) {
            let has_direction = directions(dropped);
            // All windows with all their frames, as they come.
            let mut windows = Windows::new(span, usize::MAX, 0);
            let mut all: Vec<Window<u64>> = times.iter().flat_map(|time| windows.push(ms(*time), *time)).collect();
            all.extend(windows.finish(ms(end)));
            all.retain(|window| has_direction(window.start));
            let mut expected: BTreeMap<u128, Vec<u64>> =
                all.iter().map(|window| (window.start.as_millis(), Vec::new())).collect();
            let mut inside: Vec<u64> = all.iter().flat_map(|window| window.items.clone()).collect();
            inside.sort_unstable();
            inside.dedup();
            for time in &inside {
                expected.range_mut(..=u128::from(*time)).next_back().unwrap().1.push(*time);
            }
            let records = cut(span, &times, end, 0, &has_direction);
            let in_order: Vec<u64> = records.iter().flat_map(|(_, _, times)| times.clone()).collect();
            prop_assert_eq!(&in_order, &inside, "each once, in order");
            if dropped == 0 {
                prop_assert_eq!(in_order, times);
            }
            let found: Vec<(u128, Vec<u64>)> = records.into_iter().map(|(start, _, times)| (start, times)).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_resumed_run_writes_what_an_undisturbed_one_would_have(
            (times, span, end, dropped) in medium(),
            stop in 0usize..150,
        ) {
            let has_direction = directions(dropped);
            let undisturbed = cut(span, &times, end, 0, &has_direction);
            let mut interrupted = Run::new(span, 0, &has_direction);
            let known: Vec<_> = times.iter().take(stop).flat_map(|time| interrupted.push(*time)).collect();
            let (number, from) = interrupted.windows.resume_with(interrupted.held.start());
            // What counts as confirmed, and the rest.
            let mut records = kept(known);
            records.retain(|(start, ..)| *start < from.as_millis());
            records.extend(cut(span, &times, end, number, &has_direction));
            prop_assert_eq!(records, undisturbed);
        }
    }
}
