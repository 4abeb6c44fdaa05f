//! Which frames one vector stands for. Pure: no clock, no I/O; time comes only from the frames, so a replay gives the
//! same windows.
//!
//! Windows lie at `k · stride`, each `length` long. The last one is moved back so that it ends with the medium and is
//! as long as the others; a medium shorter than one window is one window. Items (frame features) are shared by all
//! windows that hold them. Of a window with more items than the model takes it is shown some, evenly spread ([`thin`]).
//!
//! No window spans a gap of more than [`LONGEST_GAP`]: there the time stamps are broken, which the decoder tells as a
//! problem of the medium. The grid goes on behind it, and nothing here takes longer because of it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decode::LONGEST_GAP;
use crate::linspace;

/// What the model is shown of a window: `most` of its items, spread evenly over them, or all where there are no more.
/// Whoever shows a model the same window later has to thin it in the same way.
pub fn thin<T: Clone>(items: Vec<T>, most: usize) -> Vec<T> {
    if items.len() <= most {
        return items;
    }
    linspace::indices(items.len(), most).into_iter().map(|i| items[i].clone()).collect()
}

/// The span one vector stands for, with what lies in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window<T> {
    pub start: Duration,
    pub end: Duration,
    pub items: Vec<T>,
}

/// Where windows lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// The whole medium is one window.
    Whole,
    /// `stride <= length`, or frames between windows would be lost.
    Sliding { length: Duration, stride: Duration },
}

/// Cuts items, pushed in the order of their time, into windows.
pub struct Windows<T> {
    span: Span,
    /// At most this many items in a window; more are thinned evenly.
    max_items: usize,
    /// Number of the first window wanted.
    first: u64,
    /// Number of the next window on the grid.
    next: u64,
    /// End of the last full window given out.
    covered: Duration,
    /// Where the window of [`Span::Whole`] starts: zero, or behind the last gap.
    start: Duration,
    items: VecDeque<(Duration, T)>,
}

impl<T: Clone> Windows<T> {
    /// `first` is the number of the first window wanted: 0, or where an interrupted run goes on. Items before
    /// [`Windows::from`] need not be pushed.
    pub fn new(span: Span, max_items: usize, first: u64) -> Self {
        if let Span::Sliding { length, stride } = span {
            assert!(!stride.is_zero() && stride <= length, "stride must lie between zero and the window's length");
            assert!(length <= LONGEST_GAP, "a longer window would span gaps");
        }
        let mut windows = Self {
            span,
            max_items: max_items.max(1),
            first,
            next: first,
            covered: Duration::ZERO,
            start: Duration::ZERO,
            items: VecDeque::new(),
        };
        windows.covered = windows.from();
        windows
    }

    /// Time from which items are needed.
    pub fn from(&self) -> Duration {
        self.start_of(self.next)
    }

    fn start_of(&self, number: u64) -> Duration {
        match self.span {
            Span::Whole => Duration::ZERO,
            Span::Sliding { stride, .. } => start_of(number, stride),
        }
    }

    /// Number of the last full window that can be given out again without items before its start: where to resume.
    /// Never before the first window wanted: those before it have been counted.
    pub fn resume_at(&self) -> u64 {
        self.next.saturating_sub(1).max(self.first)
    }

    /// Start of the window at which a run resumes. No window that is still to come begins before this, the last one of
    /// the medium included.
    pub fn resume_from(&self) -> Duration {
        self.start_of(self.resume_at())
    }

    /// Number and start of the window at which a run resumes that has to give the one again that begins at `held`.
    pub fn resume_with(&self, held: Option<Duration>) -> (u64, Duration) {
        let number = match (held, self.span) {
            (None, _) => self.resume_at(),
            (Some(_), Span::Whole) => 0,
            (Some(start), Span::Sliding { stride, .. }) => {
                u64::try_from(start.as_nanos() / stride.as_nanos()).unwrap_or(u64::MAX)
            }
        };
        (number, self.start_of(number))
    }

    /// Takes the next item and gives the windows that it completes. Items must come in the order of their time.
    pub fn push(&mut self, pts: Duration, item: T) -> Vec<Window<T>> {
        let complete = match self.span {
            Span::Whole => self.whole_before_gap(pts).into_iter().collect(),
            Span::Sliding { length, stride } => self.full_windows(pts, length, stride),
        };
        self.items.push_back((pts, item));
        complete
    }

    /// Gives the windows that are left, of a medium that ends at `end`.
    pub fn finish(mut self, end: Duration) -> Vec<Window<T>> {
        let Some(last) = self.items.back().map(|(pts, _)| *pts) else { return Vec::new() };
        // Nor is a gap spanned behind the last item.
        let end = if end.saturating_sub(last) > LONGEST_GAP { last } else { end.max(last) };
        let (mut windows, start, uncovered) = match self.span {
            Span::Whole => (Vec::new(), self.start, true),
            Span::Sliding { length, stride } => {
                let windows = self.full_windows(end, length, stride);
                (windows, end.saturating_sub(length), last >= self.covered)
            }
        };
        if uncovered {
            // The last item may lie exactly at the end, so the end is inclusive here.
            windows.extend(self.window(start, end, |pts| pts >= start));
        }
        windows
    }

    /// The window of all items so far, where the next one lies beyond a gap.
    fn whole_before_gap(&mut self, next: Duration) -> Option<Window<T>> {
        let last = self.items.back().map(|(pts, _)| *pts)?;
        if next.saturating_sub(last) <= LONGEST_GAP {
            return None;
        }
        let window = self.window(self.start, last, |_| true);
        self.items.clear();
        self.start = next;
        window
    }

    /// Full windows that end at or before `now`; forgets the items that no later window can hold.
    fn full_windows(&mut self, now: Duration, length: Duration, stride: Duration) -> Vec<Window<T>> {
        let mut full = Vec::new();
        while let Some(window) = self.next_full(now, length, stride) {
            self.covered = window.end;
            full.push(window);
        }
        // The last window may be moved back, but never before this.
        let oldest = start_of(self.next, stride).min(now.saturating_sub(length));
        while self.items.front().is_some_and(|(pts, _)| *pts < oldest) {
            self.items.pop_front();
        }
        full
    }

    /// The next full window that ends at or before `now`. Windows without items are jumped over, however many there are.
    fn next_full(&mut self, now: Duration, length: Duration, stride: Duration) -> Option<Window<T>> {
        let start = start_of(self.next, stride);
        let held = self.items.iter().map(|(pts, _)| *pts).find(|pts| *pts >= start);
        self.next = self.next.max(first_that_ends_behind(held.unwrap_or(now).min(now), length, stride));
        let start = start_of(self.next, stride);
        let end = start.saturating_add(length);
        if end > now {
            return None;
        }
        self.next += 1;
        self.window(start, end, |pts| pts >= start && pts < end)
    }

    /// None where the medium has no frame in that span.
    fn window(&self, start: Duration, end: Duration, holds: impl Fn(Duration) -> bool) -> Option<Window<T>> {
        let items: Vec<&T> = self.items.iter().filter(|(pts, _)| holds(*pts)).map(|(_, item)| item).collect();
        if items.is_empty() {
            return None;
        }
        let items = thin(items, self.max_items).into_iter().cloned().collect();
        Some(Window { start, end, items })
    }
}

fn start_of(number: u64, stride: Duration) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let nanos = stride.as_nanos().saturating_mul(u128::from(number));
    Duration::new(u64::try_from(nanos / SECOND).unwrap_or(u64::MAX), (nanos % SECOND) as u32)
}

/// Number of the first window on the grid that ends behind `time`.
fn first_that_ends_behind(time: Duration, length: Duration, stride: Duration) -> u64 {
    let number = time.checked_sub(length).map_or(0, |start| start.as_nanos() / stride.as_nanos() + 1);
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::LATEST;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn cut(span: Span, times: &[u64], end: u64, first: u64) -> Vec<Window<u64>> {
        let mut windows = Windows::new(span, usize::MAX, first);
        let from = windows.from();
        let mut all = Vec::new();
        for time in times.iter().filter(|time| ms(**time) >= from) {
            all.extend(windows.push(ms(*time), *time));
        }
        all.extend(windows.finish(ms(end)));
        all
    }

    fn sliding(length: u64, stride: u64) -> Span {
        Span::Sliding { length: ms(length), stride: ms(stride) }
    }

    #[test]
    fn windows_share_items_and_the_tail_is_moved_back() {
        let windows = cut(sliding(4000, 2000), &[0, 1000, 2000, 3000, 4000, 5000, 6000], 7000, 0);
        let spans: Vec<_> = windows.iter().map(|w| (w.start.as_millis(), w.end.as_millis(), w.items.clone())).collect();
        assert_eq!(
            spans,
            [
                (0, 4000, vec![0, 1000, 2000, 3000]),
                (2000, 6000, vec![2000, 3000, 4000, 5000]),
                (3000, 7000, vec![3000, 4000, 5000, 6000]),
            ]
        );
    }

    #[test]
    fn a_short_medium_is_one_window() {
        let windows = cut(sliding(4000, 2000), &[0, 1000], 1500, 0);
        assert_eq!(windows, [Window { start: ms(0), end: ms(1500), items: vec![0, 1000] }]);
    }

    #[test]
    fn the_whole_medium_is_one_window_thinned_evenly() {
        let mut windows = Windows::new(Span::Whole, 3, 0);
        for time in 0..5 {
            assert!(windows.push(ms(time), time).is_empty());
        }
        assert_eq!(windows.finish(ms(5)), [Window { start: ms(0), end: ms(5), items: vec![0, 2, 4] }]);
    }

    #[test]
    fn few_items_are_shown_as_they_are() {
        assert_eq!(thin(vec![1, 2, 3], 3), [1, 2, 3]);
        assert_eq!(thin(vec![1, 2, 3, 4, 5], 3), [1, 3, 5]);
        assert_eq!(thin(vec![1, 2, 3, 4], 1), [1]);
    }

    #[test]
    fn a_run_that_gives_nothing_resumes_where_it_began() {
        let mut windows = Windows::<u64>::new(sliding(4000, 2000), 9, 3);
        assert_eq!((windows.resume_at(), windows.resume_from()), (3, ms(6000)));
        windows.push(ms(6000), 0);
        assert_eq!(windows.resume_at(), 3);
        assert_eq!(windows.push(ms(10_000), 0).len(), 1);
        assert_eq!(windows.resume_at(), 3, "the window that was given last");
    }

    #[test]
    fn nothing_in_nothing_out() {
        assert!(cut(sliding(4000, 2000), &[], 9000, 0).is_empty());
    }

    const DAY: u64 = 24 * 3600 * 1000;
    const YEAR: u64 = 365 * DAY;

    #[test]
    fn a_frame_of_another_century_costs_no_more_than_any_other() {
        // Every step of the grid gives a window, and only so many windows can hold an item.
        let times = [0, 1000, 158 * YEAR, 158 * YEAR + 1000, 292 * YEAR];
        let windows = cut(sliding(2000, 1), &times, 292 * YEAR + 5, 0);
        assert!(windows.len() <= times.len() * 2001, "{}", windows.len());
        assert!(windows.iter().all(|window| window.items.iter().all(|time| window.items[0] + 2000 > *time)));
        assert_eq!(windows.last().map(|window| window.items.clone()), Some(vec![292 * YEAR]));
    }

    #[test]
    fn a_medium_that_claims_to_end_much_later_ends_with_its_last_frame() {
        for span in [sliding(4000, 2000), Span::Whole] {
            let windows = cut(span, &[0, 1000, 5000], 292 * YEAR, 0);
            assert_eq!(windows.last().map(|window| window.end), Some(ms(5000)), "{span:?}");
        }
    }

    #[test]
    fn the_whole_medium_is_cut_at_a_gap() {
        let windows = cut(Span::Whole, &[0, 2000, DAY + 2001, DAY + 3000, 2 * DAY + 3000], 2 * DAY + 4000, 0);
        let spans: Vec<_> = windows.into_iter().map(|w| (w.start, w.end, w.items)).collect();
        assert_eq!(
            spans,
            [
                (ms(0), ms(2000), vec![0, 2000]),
                (ms(DAY + 2001), ms(2 * DAY + 4000), vec![DAY + 2001, DAY + 3000, 2 * DAY + 3000])
            ]
        );
    }

    #[test]
    fn no_number_is_too_large() {
        let nanosecond = Duration::from_nanos(1);
        for span in [sliding(2000, 1), Span::Sliding { length: nanosecond, stride: nanosecond }, Span::Whole] {
            for first in [0, 1 << 32, u64::MAX] {
                let mut windows = Windows::new(span, 8, first);
                assert!(windows.push(Duration::ZERO, 0).len() < 2001);
                assert!(windows.push(LATEST, 1).len() < 2001);
                assert!(windows.resume_at() >= first.saturating_sub(1));
                assert!(windows.finish(LATEST).len() < 2001);
            }
        }
        assert_eq!(start_of(u64::MAX, Duration::from_secs(1 << 40)).as_secs(), u64::MAX);
    }

    /// Times in order, with gaps of up to years, a span with stride <= length, and an end.
    fn medium() -> impl Strategy<Value = (Vec<u64>, u64, u64, u64)> {
        let gap = prop_oneof![30 => 0u64..400, 1 => 1000..DAY, 1 => DAY..30 * YEAR];
        (prop::collection::vec(gap, 1..200), 1u64..3000, 1u64..3000, 0u64..2000).prop_map(|(gaps, a, b, tail)| {
            let times: Vec<u64> = gaps
                .iter()
                .scan(0, |now, gap| {
                    *now += gap;
                    Some(*now)
                })
                .collect();
            let end = times.last().copied().unwrap_or(0) + tail;
            (times, a.max(b), a.min(b), end)
        })
    }

    proptest! {
        #[test]
        fn no_item_is_lost_and_every_window_holds_just_its_span((times, length, stride, end) in medium()) {
            let windows = cut(sliding(length, stride), &times, end, 0);
            for time in &times {
                prop_assert!(windows.iter().any(|w| w.items.contains(time)), "{time} is in no window");
            }
            for window in &windows {
                prop_assert!(window.end - window.start <= ms(length));
                prop_assert!(!window.items.is_empty());
                prop_assert!(window.items.windows(2).all(|pair| pair[1] - pair[0] <= DAY), "it spans a gap");
                let inside: Vec<u64> = times.iter().copied()
                    .filter(|t| ms(*t) >= window.start && (ms(*t) < window.end || window.end == ms(end) && ms(*t) == ms(end)))
                    .collect();
                prop_assert_eq!(&inside, &window.items);
            }
            prop_assert!(windows.windows(2).all(|pair| pair[0].start <= pair[1].start));
            if end >= length {
                prop_assert!(windows.iter().all(|w| w.end - w.start == ms(length)), "a full medium has only full windows");
            }
        }

        #[test]
        fn resuming_gives_the_rest_of_an_undisturbed_run((times, length, stride, end) in medium(), stop in 0usize..200) {
            let all = cut(sliding(length, stride), &times, end, 0);
            let mut interrupted = Windows::new(sliding(length, stride), usize::MAX, 0);
            let mut before = Vec::new();
            for time in times.iter().take(stop) {
                before.extend(interrupted.push(ms(*time), *time));
            }
            let rest = cut(sliding(length, stride), &times, end, interrupted.resume_at());
            let mut spans: Vec<_> = before.iter().chain(&rest).map(|w| (w.start, w.end, w.items.clone())).collect();
            spans.sort();
            spans.dedup();
            let mut expected: Vec<_> = all.iter().map(|w| (w.start, w.end, w.items.clone())).collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(spans, expected);
        }
    }
}
