//! Which frames one vector stands for. Pure: no clock, no I/O; time comes only from the frames, so a replay gives the
//! same windows.
//!
//! Windows lie at `k · stride`, each `length` long. The last one is moved back so that it ends with the medium and is
//! as long as the others; a medium shorter than one window is one window. Items (frame features) are shared by all
//! windows that hold them. Of a window with more items than the model takes it is shown some, evenly spread ([`thin`]).
//!
//! A picture that is held on the screen lies in every window in which it is seen, also in those that begin after it came.
//! Windows that show nothing but one held picture are one: from the start of the first of them to the end of the hold.
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
    /// Number of the last full window given out.
    given: Option<u64>,
    /// End of the last full window given out.
    covered: Duration,
    /// Where the window of [`Span::Whole`] starts: zero, or behind the last gap.
    start: Duration,
    items: VecDeque<Item<T>>,
}

struct Item<T> {
    pts: Duration,
    /// Until when it is held; its own time where it is not.
    until: Duration,
    item: T,
}

impl<T> Item<T> {
    /// Whether it is seen at this time or comes later.
    fn reaches(&self, time: Duration) -> bool {
        self.pts >= time || self.until > time
    }
}

impl<T: Clone> Windows<T> {
    /// `first` is the number of the first window wanted: 0, or where an interrupted run goes on. Of the items before
    /// [`Windows::from`] only the one that is held beyond it needs to be pushed.
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
            given: None,
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

    /// Number of the last full window given out, which a run that resumes there gives again. Never before the first window
    /// wanted: those before it have been counted.
    pub fn resume_at(&self) -> u64 {
        self.given.unwrap_or(self.first)
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

    /// Takes the next item, which is held until `until` where that is told, and gives the windows that it completes. Items
    /// must come in the order of their time, and none before the one before it is held no more.
    pub fn push(&mut self, pts: Duration, until: Option<Duration>, item: T) -> Vec<Window<T>> {
        let mut complete = match self.span {
            Span::Whole => self.whole_before_gap(pts).into_iter().collect(),
            Span::Sliding { length, stride } => self.full_windows(pts, length, stride),
        };
        let until = until.unwrap_or(pts).max(pts);
        self.items.push_back(Item { pts, until, item });
        if let Span::Sliding { length, stride } = self.span
            && until > pts
        {
            complete.extend(self.full_windows(until, length, stride));
        }
        complete
    }

    /// Gives the windows that end at or before `now`, where no item comes that would complete them: for live streams, which
    /// may fall silent. Items of these windows that come later than that are left out of them.
    pub fn advance(&mut self, now: Duration) -> Vec<Window<T>> {
        match self.span {
            Span::Whole => Vec::new(),
            Span::Sliding { length, stride } => self.full_windows(now, length, stride),
        }
    }

    /// Gives the windows that are left, of a medium that ends at `end`.
    pub fn finish(mut self, end: Duration) -> Vec<Window<T>> {
        let Some((last, until)) = self.items.back().map(|item| (item.pts, item.until)) else { return Vec::new() };
        // Nor is a gap spanned behind the last item.
        let end = if end.saturating_sub(until) > LONGEST_GAP { until } else { end.max(until) };
        let (mut windows, start, uncovered) = match self.span {
            Span::Whole => (Vec::new(), self.start, true),
            Span::Sliding { length, stride } => {
                let windows = self.full_windows(end, length, stride);
                (windows, end.saturating_sub(length), last >= self.covered || until > self.covered)
            }
        };
        if uncovered {
            // The last item may lie exactly at the end, so the end is inclusive here.
            windows.extend(self.window(start, end, |item| item.reaches(start)));
        }
        windows
    }

    /// The window of all items so far, where the next one lies beyond a gap.
    fn whole_before_gap(&mut self, next: Duration) -> Option<Window<T>> {
        let last = self.items.back().map(|item| item.pts)?;
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
        while self.items.front().is_some_and(|item| !item.reaches(oldest)) {
            self.items.pop_front();
        }
        full
    }

    /// The next full window that ends at or before `now`. Windows without items are jumped over, however many there are.
    fn next_full(&mut self, now: Duration, length: Duration, stride: Duration) -> Option<Window<T>> {
        let start = start_of(self.next, stride);
        let seen = self.items.iter().find(|item| item.reaches(start)).map(|item| item.pts.max(start));
        self.next = self.next.max(first_that_ends_behind(seen.unwrap_or(now).min(now), length, stride));
        let start = start_of(self.next, stride);
        let end = start.saturating_add(length);
        if end > now {
            return None;
        }
        let window = self.window(start, end, |item| item.reaches(start) && item.pts < end)?;
        self.given = Some(self.next);
        self.next += 1;
        match self.lone(start, end) {
            Some(until) => {
                self.next = self.next.max(first_that_ends_behind(until, length, stride));
                Some(Window { end: until, ..window })
            }
            None => Some(window),
        }
    }

    /// Until when the picture is held that alone is seen in this span, to its end.
    fn lone(&self, start: Duration, end: Duration) -> Option<Duration> {
        let mut seen = self.items.iter().filter(|item| item.reaches(start) && item.pts < end);
        let only = seen.next().filter(|item| item.until >= end)?;
        seen.next().is_none().then_some(only.until)
    }

    /// None where the medium has no frame in that span.
    fn window(&self, start: Duration, end: Duration, holds: impl Fn(&Item<T>) -> bool) -> Option<Window<T>> {
        let items: Vec<&T> = self.items.iter().filter(|item| holds(item)).map(|item| &item.item).collect();
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
        let items: Vec<_> = times.iter().map(|time| (*time, None)).collect();
        cut_held(span, &items, end, first)
    }

    /// Of items that are held until the time beside them.
    fn cut_held(span: Span, items: &[(u64, Option<u64>)], end: u64, first: u64) -> Vec<Window<u64>> {
        let mut windows = Windows::new(span, usize::MAX, first);
        let from = windows.from();
        let mut all = Vec::new();
        for (time, until) in
            items.iter().filter(|(time, until)| ms(*time) >= from || until.is_some_and(|until| ms(until) > from))
        {
            all.extend(windows.push(ms(*time), until.map(ms), *time));
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
            assert!(windows.push(ms(time), None, time).is_empty());
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
        windows.push(ms(6000), None, 0);
        assert_eq!(windows.resume_at(), 3);
        assert_eq!(windows.push(ms(10_000), None, 0).len(), 1);
        assert_eq!(windows.resume_at(), 3, "the window that was given last");
    }

    #[test]
    fn a_silent_stream_gives_what_is_full_and_goes_on_behind_the_gap() {
        let mut windows = Windows::new(sliding(4000, 2000), 9, 0);
        for time in [0, 1000, 2000] {
            assert!(windows.push(ms(time), None, time).is_empty());
        }
        assert!(windows.advance(ms(3999)).is_empty());
        let all: Vec<_> = windows.advance(ms(60_000)).into_iter().map(|window| (window.start, window.items)).collect();
        assert_eq!(all, [(ms(0), vec![0, 1000, 2000]), (ms(2000), vec![2000])]);
        assert!(windows.push(ms(61_000), None, 61_000).is_empty());
        let starts: Vec<_> = windows.push(ms(64_000), None, 64_000).into_iter().map(|window| window.start).collect();
        assert_eq!(starts, [ms(58_000), ms(60_000)]);
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
                assert!(windows.push(Duration::ZERO, None, 0).len() < 2001);
                assert!(windows.push(LATEST, None, 1).len() < 2001);
                assert!(windows.resume_at() >= first.saturating_sub(1));
                assert!(windows.finish(LATEST).len() < 2001);
            }
        }
        assert_eq!(start_of(u64::MAX, Duration::from_secs(1 << 40)).as_secs(), u64::MAX);
    }

    type Shown = (u64, u64, Vec<u64>);

    fn shown(windows: Vec<Window<u64>>) -> Vec<Shown> {
        windows.into_iter().map(|w| (w.start.as_millis() as u64, w.end.as_millis() as u64, w.items)).collect()
    }

    #[test]
    fn what_is_held_is_seen_in_every_window_and_alone_it_is_one() {
        let slides = [(0, Some(60_000)), (60_000, Some(61_500)), (61_500, Some(90_000))];
        assert_eq!(
            shown(cut_held(sliding(4000, 2000), &slides, 90_000, 0)),
            [
                (0, 60_000, vec![0]),
                (58_000, 62_000, vec![0, 60_000, 61_500]),
                (60_000, 64_000, vec![60_000, 61_500]),
                (62_000, 90_000, vec![61_500]),
            ]
        );
        // Held for less than a window, over its start.
        assert_eq!(
            shown(cut_held(sliding(4000, 4000), &[(0, None), (3900, Some(7500)), (7500, None)], 8000, 0)),
            [(0, 4000, vec![0, 3900]), (4000, 8000, vec![3900, 7500])]
        );
        assert_eq!(
            shown(cut_held(sliding(4000, 4000), &[(0, None), (3900, Some(7500))], 7500, 0)),
            [(0, 4000, vec![0, 3900]), (3500, 7500, vec![3900])]
        );
        // One that begins with the picture before anything was shown, and one picture for the whole medium.
        assert_eq!(shown(cut_held(sliding(4000, 2000), &[(1000, Some(9000))], 9000, 0)), [(0, 9000, vec![1000])]);
        assert_eq!(shown(cut_held(sliding(4000, 2000), &[(0, Some(3000))], 3000, 0)), [(0, 3000, vec![0])]);
    }

    /// Times in order, with gaps of up to years, and until when each is held, a span with stride <= length, and an end.
    fn medium() -> impl Strategy<Value = (Vec<(u64, Option<u64>)>, u64, u64, u64)> {
        let gap = prop_oneof![30 => 1u64..400, 2 => 1000..20_000u64, 1 => 1000..DAY, 1 => DAY..30 * YEAR];
        (prop::collection::vec((gap, 0u8..3), 1..200), 1u64..3000, 1u64..3000, 1u64..2000).prop_map(
            |(gaps, a, b, tail)| {
                let times: Vec<u64> = gaps
                    .iter()
                    .scan(0, |now, (gap, _)| {
                        *now += gap;
                        Some(*now)
                    })
                    .collect();
                let end = times[times.len() - 1] + tail;
                let until = |n: usize| times.get(n + 1).copied().unwrap_or(end);
                let is_held = |n: usize| gaps[n].1 == 0 && (1..=DAY).contains(&(until(n) - times[n]));
                let items = (0..times.len()).map(|n| (times[n], is_held(n).then(|| until(n)))).collect();
                (items, a.max(b), a.min(b), end)
            },
        )
    }

    /// Whether it is seen between the two times; the end counts where it is the medium's.
    fn is_seen(item: (u64, Option<u64>), start: u64, end: u64, last: bool) -> bool {
        let (time, until) = item;
        (time < end || last && time == end) && (time >= start || until.is_some_and(|until| until > start))
    }

    proptest! {
        #[test]
        fn no_item_is_lost_and_every_window_holds_what_is_seen_in_it((items, length, stride, end) in medium()) {
            let windows = shown(cut_held(sliding(length, stride), &items, end, 0));
            for (time, until) in &items {
                prop_assert!(windows.iter().any(|(_, _, seen)| seen.contains(time)), "{time} is in no window");
                // All the time that a picture is held, some window has it.
                let mut reached = *time;
                for (start, end, _) in windows.iter().filter(|(_, _, seen)| seen.contains(time)) {
                    prop_assert!(*start <= reached, "{time} is not found from {reached} to {start}");
                    reached = reached.max(*end);
                }
                prop_assert!(until.is_none_or(|until| reached >= until), "{time} is found until {reached}");
            }
            for (start, upto, seen) in &windows {
                let lone = items.iter().find(|(time, _)| seen[..] == [*time]).and_then(|(_, until)| *until);
                prop_assert!(upto - start <= length || lone == Some(*upto));
                prop_assert!(seen.windows(2).all(|pair| pair[1] - pair[0] <= DAY), "it spans a gap");
                let inside: Vec<u64> = items.iter().copied()
                    .filter(|item| is_seen(*item, *start, *upto, *upto == end)).map(|(time, _)| time).collect();
                prop_assert_eq!(&inside, seen);
            }
            prop_assert!(windows.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            if end >= length {
                prop_assert!(windows.iter().all(|(start, end, _)| end - start >= length), "a full medium has only full windows");
            }
        }

        #[test]
        fn resuming_gives_the_rest_of_an_undisturbed_run((items, length, stride, end) in medium(), stop in 0usize..200) {
            let all = shown(cut_held(sliding(length, stride), &items, end, 0));
            let mut interrupted = Windows::new(sliding(length, stride), usize::MAX, 0);
            let mut before = Vec::new();
            for (time, until) in items.iter().take(stop) {
                before.extend(interrupted.push(ms(*time), until.map(ms), *time));
            }
            let rest = cut_held(sliding(length, stride), &items, end, interrupted.resume_at());
            let mut found: Vec<Shown> = shown(before).into_iter().chain(shown(rest)).collect();
            found.sort();
            found.dedup();
            let mut expected = all;
            expected.sort();
            expected.dedup();
            prop_assert_eq!(found, expected);
        }
    }
}
