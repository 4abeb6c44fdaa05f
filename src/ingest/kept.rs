//! Which record keeps which frames.
//!
//! Windows overlap, so a frame lies in several of them, but its features are stored once. Of the windows that are stored,
//! **the last one that begins at or before a frame keeps it**. So a record keeps its frames from its start to the start
//! of the next stored window; and to its own end where no other begins before that: at the end of the medium, before a
//! gap, and before windows that the model gave no direction. The window that ends with the medium, which is moved back,
//! is one like the others. A frame that lies in no stored window, because the model gave none of its windows a direction,
//! is not kept: there is no record by which it could be found.
//!
//! A picture that was already on the screen when a window began came before it, so another record keeps it. The window's
//! own keeps it once more, as seen from its start on ([`Record::held`](crate::store::Record::held)): whoever reads the window's frames would not look
//! for one so far back.
//!
//! Live streams ([`Keeping::FirstStride`]) have windows on the grid alone, and none is moved back. So the last window that
//! begins at or before a frame is that in whose first stride it lies, which is known without the next window: no record
//! waits for it. Where the model gives that window no direction, nobody keeps the frame.
//!
//! What a record of a file keeps is known when the next window is stored, or when none that comes can begin within it. Until then
//! it is held back, and a run that is interrupted goes on at the window that was held back. So what was confirmed is
//! never written again with other frames, and a resumed run writes what an undisturbed one would have.

use std::time::Duration;

use crate::embed::{Embedding, Feature};
use crate::window::Window;

/// A window and what is kept of it.
#[derive(Clone)]
pub(super) struct Embedded {
    pub(super) window: Window<()>,
    pub(super) vector: Embedding,
    pub(super) caption: Option<String>,
    /// Those of its frames whose features its record keeps; none where the plan keeps none.
    pub(super) features: Vec<Feature>,
    /// The first of them was on the screen before the window began: its time is the window's start.
    pub(super) held: bool,
}

impl Embedded {
    /// With the features of all its frames.
    pub(super) fn new(window: Window<Feature>, vector: Embedding, caption: Option<String>) -> Self {
        let Window { start, end, items: mut features } = window;
        let held = features.first_mut().filter(|first| first.pts < start).map(|first| first.pts = start).is_some();
        Self { window: Window { start, end, items: Vec::new() }, vector, caption, features, held }
    }
}

/// How it is decided what each record keeps.
pub(super) enum Keeping {
    Held(Held),
    /// Those of its frames that lie in its first stride, of this length.
    FirstStride(Duration),
}

impl Keeping {
    /// See [`Held::next`].
    pub(super) fn next(&mut self, mut windows: Vec<Embedded>, coming: Duration) -> Vec<Embedded> {
        match self {
            Self::Held(held) => held.next(windows, coming),
            Self::FirstStride(stride) => {
                for embedded in &mut windows {
                    let end = embedded.window.start.saturating_add(*stride);
                    embedded.features.retain(|feature| feature.pts < end);
                }
                windows
            }
        }
    }

    pub(super) fn finish(&mut self, windows: Vec<Embedded>) -> Vec<Embedded> {
        self.next(windows, Duration::MAX)
    }

    pub(super) fn start(&self) -> Option<Duration> {
        match self {
            Self::Held(held) => held.start(),
            Self::FirstStride(_) => None,
        }
    }
}

/// The newest stored window.
#[derive(Default)]
pub(super) struct Held(Option<Embedded>);

impl Held {
    /// Takes the next windows that are to be stored, with all frames of each, and gives those of which it is known what
    /// they keep, with just that. No window that comes later begins before `coming`.
    fn next(&mut self, windows: Vec<Embedded>, coming: Duration) -> Vec<Embedded> {
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

    fn start(&self) -> Option<Duration> {
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
            let embedded = |window| Embedded::new(window, Embedding::new(vec![1.0]).unwrap(), None);
            windows.into_iter().filter(|window| (self.has_direction)(window.start)).map(embedded).collect()
        }

        fn push(&mut self, (time, until): Item) -> Vec<Embedded> {
            let full = self.windows.push(ms(time), until.map(ms), Feature { pts: ms(time), values: [].into() });
            let stored = self.stored(full);
            self.held.next(stored, self.windows.resume_from())
        }

        fn finish(mut self, end: u64) -> Vec<Embedded> {
            let span = Span::Whole;
            let rest = std::mem::replace(&mut self.windows, Windows::new(span, 1, 0)).finish(ms(end));
            let stored = self.stored(rest);
            self.held.next(stored, Duration::MAX)
        }
    }

    /// When an item comes, and until when it is held, in milliseconds.
    type Item = (u64, Option<u64>);
    /// Start, end and times of the frames kept, in milliseconds.
    type Kept = (u128, u128, Vec<u64>);

    fn plain(times: &[u64]) -> Vec<Item> {
        times.iter().map(|time| (*time, None)).collect()
    }

    fn kept(records: Vec<Embedded>) -> Vec<Kept> {
        let times = |features: Vec<Feature>| features.iter().map(|feature| feature.pts.as_millis() as u64).collect();
        let one = |r: Embedded| (r.window.start.as_millis(), r.window.end.as_millis(), times(r.features));
        records.into_iter().map(one).collect()
    }

    fn cut(
        span: Span,
        items: &[Item],
        end: u64,
        first: u64,
        has_direction: &dyn Fn(Duration) -> bool,
    ) -> Vec<Embedded> {
        let mut run = Run::new(span, first, has_direction);
        let from = run.windows.from();
        let mut records = Vec::new();
        for item in items.iter().filter(|(time, until)| ms(until.unwrap_or(*time).max(time + 1) - 1) >= from) {
            records.extend(run.push(*item));
        }
        records.extend(run.finish(end));
        records
    }

    fn sliding(length: u64, stride: u64) -> Span {
        Span::Sliding { length: ms(length), stride: ms(stride) }
    }

    #[test]
    fn each_frame_is_kept_by_the_last_window_that_begins_at_or_before_it() {
        let all = |_: Duration| true;
        let times: Vec<u64> = (0..=6).map(|second| second * 1000).collect();
        let cut = |span, times: &[u64], end, has_direction: &dyn Fn(Duration) -> bool| {
            kept(cut(span, &plain(times), end, 0, has_direction))
        };
        assert_eq!(
            cut(sliding(4000, 2000), &times, 7000, &all),
            [(0, 4000, vec![0, 1000]), (2000, 6000, vec![2000]), (3000, 7000, vec![3000, 4000, 5000, 6000])]
        );
        assert_eq!(cut(sliding(4000, 2000), &times[..2], 1500, &all), [(0, 1500, vec![0, 1000])]);
        assert_eq!(cut(Span::Whole, &times, 7000, &all), [(0, 7000, times.clone())]);
        // What the window without direction would have kept is kept by the one before it.
        let but_the_second = |start: Duration| start != ms(2000);
        assert_eq!(
            cut(sliding(4000, 2000), &times, 7000, &but_the_second),
            [(0, 4000, vec![0, 1000, 2000]), (3000, 7000, vec![3000, 4000, 5000, 6000])]
        );
    }

    #[test]
    fn a_last_frame_at_the_very_end_does_not_make_a_window_twice() {
        let times = [0, 1000, 2000, 3000, 4000];
        let records = cut(sliding(4000, 2000), &plain(&times), 4000, 0, &|_| true);
        assert_eq!(kept(records), [(0, 4000, times.to_vec())]);
    }

    #[test]
    fn what_is_held_over_a_start_is_kept_once_more_by_that_window() {
        let items = [(0, None), (3500, Some(60_000)), (60_000, None)];
        let records = cut(sliding(4000, 2000), &items, 61_000, 0, &|_| true);
        let held: Vec<bool> = records.iter().map(|record| record.held).collect();
        assert_eq!(held, [false, false, true]);
        assert_eq!(
            kept(records),
            [(0, 4000, vec![0]), (2000, 60_000, vec![3500]), (57_000, 61_000, vec![57_000, 60_000])]
        );
    }

    #[test]
    fn a_run_goes_on_at_the_window_that_was_held_back() {
        let but_the_third = |start: Duration| start != ms(4000);
        let mut run = Run::new(sliding(4000, 2000), 0, &but_the_third);
        let known: Vec<_> = (0..8).flat_map(|second| run.push((second * 1000, None))).collect();
        assert_eq!(kept(known), [(0, 4000, vec![0, 1000])]);
        assert_eq!(run.windows.resume_with(run.held.start()), (1, ms(2000)));
        // The window that begins at 4 s is full now, but has no direction: that at 2 s may still lose frames.
        assert!(run.push((8000, None)).is_empty());
        assert_eq!(run.windows.resume_with(run.held.start()), (1, ms(2000)));
        assert_eq!(kept(run.push((10_000, None))), [(2000, 6000, vec![2000, 3000, 4000, 5000])]);
        assert_eq!(run.windows.resume_with(run.held.start()), (3, ms(6000)));
    }

    const DAY: u64 = 24 * 3600 * 1000;

    /// Times in order, now and then with a gap, some held; length and stride of the windows; end; which windows have no
    /// direction.
    fn medium() -> impl Strategy<Value = (Vec<Item>, Span, u64, u64)> {
        let gap = prop_oneof![30 => 1u64..400, 2 => 1000..20_000u64, 1 => 1000..DAY, 1 => DAY..400 * DAY];
        let gap = (gap, 0u8..3);
        let span = prop_oneof![
            9 => (1u64..3000, 1u64..3000).prop_map(|(a, b)| sliding(a.max(b), a.min(b))),
            1 => Just(Span::Whole),
        ];
        (0u64..300, prop::collection::vec(gap, 0..150), span, prop_oneof![Just(0u64), 1u64..2000], 0u64..8).prop_map(
            |(first, gaps, span, tail, dropped)| {
                let mut items: Vec<Item> = Vec::new();
                let mut time = first;
                for (gap, kind) in gaps {
                    items.push((time, (kind == 0 && gap <= DAY).then_some(time + gap)));
                    time += gap;
                }
                let end = time + tail;
                items.push((time, (tail > 1000).then_some(end)));
                (items, span, end, dropped)
            },
        )
    }

    /// Of 0: all. Else some, more than one in a row too.
    fn directions(dropped: u64) -> impl Fn(Duration) -> bool {
        move |start: Duration| dropped == 0 || start.as_millis() / 97 % 8 >= u128::from(dropped)
    }

    proptest! {
        #[test]
        fn each_frame_of_the_stored_windows_is_kept_once_and_in_order((items, span, end, dropped) in medium()) {
            let has_direction = directions(dropped);
            // All windows with all their frames, as they come.
            let mut windows = Windows::new(span, usize::MAX, 0);
            let push = |(time, until): &Item| windows.push(ms(*time), until.map(ms), *time);
            let mut all: Vec<Window<u64>> = items.iter().flat_map(push).collect();
            all.extend(windows.finish(ms(end)));
            all.retain(|window| has_direction(window.start));
            let mut expected: BTreeMap<u128, Vec<u64>> =
                all.iter().map(|window| (window.start.as_millis(), Vec::new())).collect();
            let came = |window: &Window<u64>| {
                let start = window.start;
                window.items.clone().into_iter().filter(move |time| ms(*time) >= start)
            };
            let mut inside: Vec<u64> = all.iter().flat_map(came).collect();
            inside.sort_unstable();
            inside.dedup();
            for time in &inside {
                expected.range_mut(..=u128::from(*time)).next_back().unwrap().1.push(*time);
            }
            let mut records = cut(span, &items, end, 0, &has_direction);
            // A picture that is held is there once more, at the start of each window that it is held into.
            for record in records.iter_mut().filter(|record| record.held) {
                prop_assert_eq!(record.features.remove(0).pts, record.window.start);
            }
            let in_order: Vec<u64> = kept(records.clone()).into_iter().flat_map(|(_, _, times)| times).collect();
            prop_assert_eq!(&in_order, &inside, "each once, in order");
            if dropped == 0 {
                prop_assert_eq!(in_order, items.iter().map(|(time, _)| *time).collect::<Vec<_>>());
            }
            let found: Vec<(u128, Vec<u64>)> =
                kept(records).into_iter().map(|(start, _, times)| (start, times)).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_resumed_run_writes_what_an_undisturbed_one_would_have(
            (items, span, end, dropped) in medium(),
            stop in 0usize..150,
        ) {
            let has_direction = directions(dropped);
            let undisturbed = kept(cut(span, &items, end, 0, &has_direction));
            let mut interrupted = Run::new(span, 0, &has_direction);
            let known: Vec<_> = items.iter().take(stop).flat_map(|item| interrupted.push(*item)).collect();
            let (number, from) = interrupted.windows.resume_with(interrupted.held.start());
            // What counts as confirmed, and the rest.
            let mut records = kept(known);
            records.retain(|(start, ..)| *start < from.as_millis());
            records.extend(kept(cut(span, &items, end, number, &has_direction)));
            prop_assert_eq!(records, undisturbed);
        }
    }
}
