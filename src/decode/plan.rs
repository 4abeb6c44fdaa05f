//! Which coded frames are worth decoding. Pure.
//!
//! Coded video comes in groups: a key frame, which needs nothing else, and the frames behind it, which need it. Shown
//! order and coded order differ: frames shown just before a key frame may be coded behind it ("leading"). So the unit
//! decided on is a *territory*: all frames shown from one key frame up to the next, that is a group without its own
//! leading frames but with those of the next group.
//!
//! A decision depends on the times of the coded frames alone, never on what was decoded before. Hence a job that starts
//! in the middle gives exactly the frames that a job from the start gives there.
//!
//! Times are nanoseconds from where the job counts from (see [`super::Zero`]). Ranges `(after, upto]` are half open.

use super::{LONGEST_GAP, Sampling};
use crate::linspace;

/// What a coded frame tells before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) pts: i64,
    pub(super) duration: Option<i64>,
    pub(super) key: bool,
    /// False for frames that are only decoded because others need them (cut away by an edit list).
    pub(super) shown: bool,
    pub(super) bytes: usize,
    /// False where the container tells the coded order only: the frame shown at `pts` may be one coded a little later.
    pub(super) in_order: bool,
    /// No other frame refers to it ([`super::coded`]).
    pub(super) disposable: bool,
    /// Frames behind it tell those that they refer to by their places in a list that it stands in, too, whether they refer to
    /// it or not: H.264's reference frames.
    pub(super) listed: bool,
    /// Of a key frame: frames that lead it need none before it either.
    pub(super) closed: bool,
}

#[cfg(test)]
impl Packet {
    /// For tests: one that is shown, and that others may refer to.
    pub(super) fn plain(pts: i64, key: bool) -> Self {
        Self {
            pts,
            duration: None,
            key,
            shown: true,
            bytes: 1,
            in_order: true,
            disposable: false,
            listed: false,
            closed: false,
        }
    }
}

/// The times at which a picture is wanted.
#[derive(Clone, Debug)]
pub(super) enum Targets {
    /// Multiples of the interval, none before `from`.
    Grid { interval: i64, from: i64 },
    /// These times, ascending, each that of a frame.
    Times(Vec<i64>),
}

impl Targets {
    fn any(&self, after: i64, upto: i64) -> bool {
        if after >= upto {
            return false;
        }
        match self {
            Self::Grid { interval, from } => {
                let next = after.max(from - 1).max(-1).div_euclid(*interval) + 1;
                next.saturating_mul(*interval) <= upto
            }
            Self::Times(times) => times.get(times.partition_point(|t| *t <= after)).is_some_and(|t| *t <= upto),
        }
    }

    /// Distance between neighbours, on average.
    pub(super) fn spacing(&self) -> i64 {
        match self {
            Self::Grid { interval, .. } => *interval,
            Self::Times(times) => match times.as_slice() {
                [first, .., last] => (last - first) / (times.len() as i64 - 1),
                _ => 0,
            },
        }
    }
}

/// What is wanted of a medium and how exactly.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) targets: Targets,
    pub(super) sampling: Sampling,
    /// How far from a target the key frame may be that serves it; used by [`Sampling::Auto`].
    pub(super) tolerance: i64,
}

impl Rule {
    /// How far key frames reach in this sampling; `None`: they are frames like any other.
    fn reach(&self) -> Option<i64> {
        match self.sampling {
            Sampling::Auto => Some(self.tolerance),
            Sampling::Keyframes => Some(i64::MAX / 4),
            Sampling::Gop | Sampling::All => None,
        }
    }
}

/// The frames to decide on and what is known of their neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Territory<'a> {
    /// One group in coded order. The first is its key frame, unless `continued`.
    pub(super) packets: &'a [Packet],
    /// So many behind the key frame were decided on with the territory before, and so many of these are decoded.
    pub(super) own_leading: usize,
    pub(super) own_leading_kept: usize,
    /// Times that were wanted of the territory before.
    pub(super) wanted_before: &'a [i64],
    /// The leading frames of the next group.
    pub(super) leading: &'a [Packet],
    /// The group was too long to be held: its first part has been decided on, or its last part is not known yet.
    pub(super) continued: bool,
    pub(super) open_ended: bool,
    /// Targets up to here lie in earlier territories. Key frames reach back behind that, but not to where a group too
    /// long to be held was served exactly.
    pub(super) served_to: i64,
    pub(super) exact_to: i64,
    /// Shown times of the key frames before and behind.
    pub(super) previous_key: Option<i64>,
    pub(super) next_key: Option<i64>,
    /// When the first picture behind all of these is shown, or the medium ends, where that is known.
    pub(super) next_shown: Option<i64>,
    /// Usual distance of frames in the territory before.
    pub(super) previous_step: i64,
    /// Something was wanted before: [`Sampling::All`] has begun.
    pub(super) begun: bool,
    /// No frame of this group was shown in the parts of it that were decided on.
    pub(super) unseen: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    /// For each of the packets.
    pub(super) decode: Vec<bool>,
    /// So many of the leading frames of the next group are decoded.
    pub(super) leading_kept: usize,
    /// Times of the frames to hand on, ascending.
    pub(super) wanted: Vec<i64>,
    /// Of those that are held for longer than the wanted interval: their times, and until when they are shown.
    pub(super) holds: Vec<(i64, i64)>,
    pub(super) served_to: i64,
    pub(super) step: i64,
}

pub(super) fn decide(rule: &Rule, territory: &Territory) -> Decision {
    let own = territory.packets.iter().enumerate().filter(|(i, _)| *i == 0 || *i > territory.own_leading);
    let mut shown: Vec<i64> =
        own.map(|(_, packet)| packet).chain(territory.leading).filter(|p| p.shown).map(|p| p.pts).collect();
    shown.sort_unstable();
    shown.dedup();
    // A frame serves the targets from half a step behind its predecessor to half a step behind itself; one that is held
    // serves all until the next one comes.
    let step = usual_step(territory, &shown);
    let half = match rule.targets {
        Targets::Grid { interval, .. } => step.min(interval) / 2,
        Targets::Times(_) => 0,
    };
    let next = |pts: i64| shown.get(shown.partition_point(|time| *time <= pts)).copied().or(territory.next_shown);
    let until = |pts: i64| held_until(rule, pts, next(pts));
    let serves_to = |pts: i64| until(pts).map_or(pts.saturating_add(half), |next| next - half - 1);
    let mut wanted = Vec::new();
    let mut served_to = territory.served_to;
    let stand_in = || first_shown_of(territory).filter(|_| rule.sampling == Sampling::Keyframes);
    if let Some(reach) = rule.reach()
        && let Some(key) = shown_key(territory).or_else(stand_in)
    {
        let last = serves_to(shown.last().copied().unwrap_or(key));
        if key_is_wanted(rule, territory, key, reach, last, until(key).is_some().then(|| serves_to(key))) {
            wanted.push(key);
        }
    }
    for pts in &shown {
        let upto = serves_to(*pts).max(served_to);
        let unserved = match rule.reach() {
            None => rule.targets.any(served_to, upto),
            Some(_) if rule.sampling == Sampling::Keyframes => false,
            Some(reach) => any_beyond_keys(rule, territory, reach, served_to, upto),
        };
        if unserved && wanted.last() != Some(pts) {
            wanted.push(*pts);
        }
        served_to = upto;
    }
    let (decode, leading_kept) = needed(rule, territory, &wanted);
    let holds = wanted.iter().filter_map(|pts| Some((*pts, until(*pts)?))).collect();
    Decision { decode, leading_kept, wanted, holds, served_to, step }
}

/// Until when a picture is shown that is held, `next` being when the next one comes.
fn held_until(rule: &Rule, pts: i64, next: Option<i64>) -> Option<i64> {
    let Targets::Grid { interval, .. } = rule.targets else { return None };
    next.filter(|next| next - pts > interval && next - pts <= LONGEST_GAP.as_nanos() as i64)
}

/// Of a lone frame the neighbours tell.
fn usual_step(territory: &Territory, shown: &[i64]) -> i64 {
    match (shown, territory.next_key) {
        ([lone], Some(next)) => believable(next - lone),
        ([_], None) => territory.previous_step,
        _ => step(shown),
    }
}

/// Behind a leap of the time stamps no frame is shown for all that time.
fn believable(step: i64) -> i64 {
    if step > LONGEST_GAP.as_nanos() as i64 { 0 } else { step }
}

fn shown_key(territory: &Territory) -> Option<i64> {
    let first = territory.packets.first()?;
    (!territory.continued && first.shown).then_some(first.pts)
}

/// Where the key frame is not shown, because an edit list cuts it away or its picture is not whole, this frame stands in for
/// it: the first of its group, in coded order, that is shown.
fn first_shown_of(territory: &Territory) -> Option<i64> {
    let own = territory.packets.iter().skip(if territory.continued { 0 } else { 1 + territory.own_leading });
    own.filter(|_| territory.unseen).find(|packet| packet.shown).map(|packet| packet.pts)
}

/// Whether a target lies nearer to this key frame than to its neighbours, and near enough; or, where it is held, in the
/// time that it serves.
fn key_is_wanted(rule: &Rule, territory: &Territory, key: i64, reach: i64, last: i64, held: Option<i64>) -> bool {
    let nearer_than_previous = territory.previous_key.map_or(i64::MIN, |previous| middle(previous, key));
    let after = nearer_than_previous.max(key.saturating_sub(reach).saturating_sub(1)).max(territory.exact_to);
    let upto = territory.next_key.map_or(key.max(last), |next| middle(key, next)).min(key.saturating_add(reach));
    rule.targets.any(after, upto.max(held.unwrap_or(upto)))
}

fn middle(a: i64, b: i64) -> i64 {
    a + (b - a).div_euclid(2)
}

/// Whether a target in the range is out of reach of the key frames around.
fn any_beyond_keys(rule: &Rule, territory: &Territory, reach: i64, mut after: i64, upto: i64) -> bool {
    let keys = [territory.previous_key, shown_key(territory).or(territory.previous_key), territory.next_key];
    for key in keys.into_iter().flatten() {
        if rule.targets.any(after, key.saturating_sub(reach).saturating_sub(1).min(upto)) {
            return true;
        }
        after = after.max(key.saturating_add(reach));
    }
    rule.targets.any(after, upto)
}

/// The frames that must be decoded to get the wanted ones.
fn needed(rule: &Rule, territory: &Territory, wanted: &[i64]) -> (Vec<bool>, usize) {
    let is_wanted = |packet: &Packet| packet.shown && wanted.binary_search(&packet.pts).is_ok();
    let exact = rule.sampling != Sampling::Keyframes;
    let exact_frames = wanted.iter().any(|pts| !territory.packets.iter().any(|p| p.key && p.pts == *pts));
    let order_unknown = exact_frames && territory.packets.iter().any(|packet| !packet.in_order);
    let everything = match rule.sampling {
        Sampling::All => territory.begun || !wanted.is_empty() || territory.open_ended,
        Sampling::Gop | Sampling::Auto => territory.open_ended || order_unknown,
        // What is shown of a long group may still come.
        Sampling::Keyframes => territory.open_ended && territory.unseen && !territory.packets.iter().any(|p| p.shown),
    };
    let leading_kept = match territory.leading.iter().rposition(is_wanted) {
        _ if everything && rule.sampling == Sampling::All => territory.leading.len(),
        Some(last) if exact => last + 1,
        _ => 0,
    };
    let own = |index: usize| index == 0 || index > territory.own_leading;
    let upto = if everything || leading_kept > 0 {
        territory.packets.len()
    } else {
        let last = (0..territory.packets.len()).rev().find(|i| own(*i) && is_wanted(&territory.packets[*i]));
        last.map_or(0, |last| last + 1)
    };
    // A frame that nobody wants and no other frame needs.
    let idle = |index: usize| {
        let packet = &territory.packets[index];
        let wanted = if own(index) { wanted } else { territory.wanted_before };
        packet.disposable && packet.in_order && !(packet.shown && wanted.binary_search(&packet.pts).is_ok())
    };
    let goes_on = upto > 1 + territory.own_leading;
    let kept = |index: usize| match index {
        0 => upto > 0 || territory.own_leading_kept > 0,
        i if i <= territory.own_leading => {
            i <= territory.own_leading_kept && !idle(i) || goes_on && territory.packets[i].listed
        }
        i => i < upto && !idle(i),
    };
    ((0..territory.packets.len()).map(kept).collect(), leading_kept)
}

/// The usual distance of neighbours: the median.
fn step(ascending: &[i64]) -> i64 {
    let mut steps: Vec<i64> = ascending.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if steps.is_empty() {
        return 0;
    }
    let middle = steps.len() / 2;
    believable(*steps.select_nth_unstable(middle).1)
}

/// Times of all shown frames, from the first of them; each time once.
pub(super) fn shown(packets: &[Packet]) -> Vec<i64> {
    let shown = shown_at(packets);
    let base = shown.first().copied().unwrap_or(0);
    shown.iter().map(|time| time - base).collect()
}

/// Time of the first shown frame.
pub(super) fn first_shown(packets: &[Packet]) -> Option<i64> {
    shown_at(packets).first().copied()
}

fn shown_at(packets: &[Packet]) -> Vec<i64> {
    let start = packets.iter().position(|p| p.key).unwrap_or(0);
    let Some(first) = packets.get(start) else { return Vec::new() };
    let leads = |packet: &&Packet| packet.pts < first.pts && !first.closed;
    let leading = packets[start + 1..].iter().take_while(leads).count();
    let rest = &packets[start + 1 + leading..];
    let mut shown: Vec<i64> = std::iter::once(first).chain(rest).filter(|p| p.shown).map(|p| p.pts).collect();
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// End of the last shown frame, from the first of them; where no frame says how long it lasts, it lasts as long as they
/// usually do.
pub(super) fn end(packets: &[Packet], shown: &[i64]) -> i64 {
    let Some(last) = shown.last() else { return 0 };
    let latest = packets.iter().filter(|p| p.shown).max_by_key(|p| p.pts);
    last + latest.and_then(|p| p.duration).filter(|d| *d > 0).unwrap_or_else(|| step(shown))
}

/// Times of `count` frames spread evenly over all shown frames, first and last included; a frame that would be taken
/// twice is taken once.
pub(super) fn uniform(packets: &[Packet], count: usize) -> Vec<i64> {
    let shown = shown(packets);
    if shown.is_empty() {
        return shown;
    }
    let mut times: Vec<i64> = linspace::indices(shown.len(), count).into_iter().map(|index| shown[index]).collect();
    times.dedup();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: i64, key: bool) -> Packet {
        Packet::plain(pts, key)
    }

    fn group<'a>(packets: &'a [Packet], leading: &'a [Packet], next_key: Option<i64>) -> Territory<'a> {
        Territory {
            packets,
            own_leading: 0,
            own_leading_kept: 0,
            wanted_before: &[],
            leading,
            continued: false,
            open_ended: false,
            served_to: i64::MIN / 2,
            exact_to: i64::MIN / 2,
            previous_key: None,
            next_key,
            next_shown: next_key,
            previous_step: 0,
            begun: false,
            unseen: true,
        }
    }

    fn rule(sampling: Sampling, interval: i64, tolerance: i64) -> Rule {
        Rule { targets: Targets::Grid { interval, from: 0 }, sampling, tolerance }
    }

    #[test]
    fn a_group_is_decoded_up_to_its_last_wanted_frame_in_coded_order() {
        // Shown 0 10 20 30 40 50, coded I P B B P B.
        let packets = [packet(0, true), packet(30, false), packet(10, false), packet(20, false), packet(50, false)];
        let decision = decide(&rule(Sampling::Gop, 20, 0), &group(&packets, &[], Some(60)));
        assert_eq!(decision.wanted, [0, 20, 50]);
        assert_eq!(decision.decode, [true; 5]);
        let decision = decide(&rule(Sampling::Gop, 1000, 0), &group(&packets, &[], Some(60)));
        assert_eq!((decision.wanted, decision.decode), (vec![0], vec![true, false, false, false, false]));
    }

    #[test]
    fn a_wanted_leading_frame_needs_the_whole_group_before_it() {
        let packets = [packet(0, true), packet(10, false), packet(20, false)];
        let leading = [packet(30, false), packet(40, false), packet(50, false)];
        let decision = decide(&rule(Sampling::Gop, 40, 0), &group(&packets, &leading, Some(60)));
        assert_eq!(decision.wanted, [0, 40]);
        assert_eq!((decision.decode, decision.leading_kept), (vec![true; 3], 2));
    }

    #[test]
    fn frames_that_nobody_wants_and_no_frame_needs_are_left_out() {
        // Shown 0 10 20 30, coded I P b b.
        let b = |pts| Packet { disposable: true, ..packet(pts, false) };
        let packets = [packet(0, true), packet(30, false), b(10), b(20)];
        for sampling in [Sampling::Gop, Sampling::All] {
            let decision = decide(&rule(sampling, 20, 0), &group(&packets, &[], Some(40)));
            assert_eq!((decision.wanted, decision.decode), (vec![0, 20], vec![true, true, false, true]));
        }
        // Those that lead the key frame were decided on with the territory before.
        let led = [packet(30, true), b(10), b(20), packet(40, false)];
        let before = group(&led, &[], Some(50));
        let territory =
            Territory { own_leading: 2, own_leading_kept: 2, wanted_before: &[20], served_to: 25, ..before };
        let decision = decide(&rule(Sampling::Gop, 20, 0), &territory);
        assert_eq!((decision.wanted, decision.decode), (vec![40], vec![true, false, true, true]));
    }

    #[test]
    fn leading_frames_that_take_a_place_in_lists_are_decoded_where_the_group_goes_on() {
        // Coded I B b b P: the three in the middle are shown before the key frame.
        let (reference, b) = (|pts| Packet { listed: true, ..packet(pts, false) }, |pts| packet(pts, false));
        let packets = [packet(30, true), reference(15), b(10), b(20), reference(50)];
        let territory = Territory { own_leading: 3, ..group(&packets, &[], Some(60)) };
        let decision = decide(&rule(Sampling::All, 10, 0), &territory);
        assert_eq!((decision.wanted, decision.decode), (vec![30, 50], vec![true, true, false, false, true]));
        let lone = decide(&rule(Sampling::Gop, 1000, 0), &Territory { served_to: -10, ..territory });
        assert_eq!(lone.decode, [true, false, false, false, false], "nothing behind them is decoded");
    }

    #[test]
    fn the_first_frame_that_is_shown_stands_in_for_a_key_frame_that_is_not() {
        let hidden = |pts, key| Packet { shown: false, ..packet(pts, key) };
        let packets = [hidden(0, true), hidden(10, false), packet(20, false), packet(30, false)];
        let decision = decide(&rule(Sampling::Keyframes, 10, 0), &group(&packets, &[], Some(40)));
        assert_eq!((decision.wanted, decision.decode), (vec![20], vec![true, true, true, false]));
        // Of a group too long to be held nothing is shown yet, and then something is.
        let first = Territory { open_ended: true, ..group(&packets[..2], &[], None) };
        let decision = decide(&rule(Sampling::Keyframes, 10, 0), &first);
        assert_eq!((decision.wanted, decision.decode), (vec![], vec![true, true]));
        let second = Territory { continued: true, ..group(&packets[2..], &[], Some(40)) };
        let decision = decide(&rule(Sampling::Keyframes, 10, 0), &second);
        assert_eq!((decision.wanted, decision.decode), (vec![20], vec![true, false]));
        let third = Territory { unseen: false, ..second };
        assert_eq!(decide(&rule(Sampling::Keyframes, 10, 0), &third).wanted, [] as [i64; 0]);
    }

    #[test]
    fn a_near_key_frame_serves_and_a_far_one_does_not() {
        let packets: Vec<Packet> = (0..10).map(|i| packet(i * 10 + 5, i == 0)).collect();
        let near = decide(&rule(Sampling::Auto, 100, 10), &group(&packets, &[], Some(105)));
        assert_eq!(near.wanted, [5]);
        assert_eq!(near.decode.iter().filter(|d| **d).count(), 1);
        let far = decide(&rule(Sampling::Auto, 50, 10), &group(&packets, &[], Some(105)));
        assert_eq!(far.wanted, [5, 45]);
        assert_eq!(far.decode.iter().filter(|d| **d).count(), 5);
    }

    #[test]
    fn a_picture_that_is_held_serves_all_the_time_that_it_is_shown() {
        // A burst, a picture that stays, and the next group far behind: as a screen recorder writes it.
        let packets = [packet(0, true), packet(3, false), packet(6, false), packet(9, false)];
        for sampling in [Sampling::Auto, Sampling::Gop, Sampling::All] {
            let decision = decide(&rule(sampling, 10, 2), &group(&packets, &[], Some(95)));
            assert_eq!((&decision.wanted[..], &decision.holds[..]), (&[0, 9][..], &[(9, 95)][..]), "{sampling:?}");
            assert!(decision.served_to < 95, "the next picture is wanted for its own time");
            // A run that starts in the middle of the hold takes it too.
            let late = Rule { targets: Targets::Grid { interval: 10, from: 50 }, ..rule(sampling, 10, 2) };
            assert_eq!(decide(&late, &group(&packets, &[], Some(95))).holds, [(9, 95)], "{sampling:?}");
        }
        let lone = decide(&rule(Sampling::Keyframes, 10, 2), &group(&packets[..1], &[], Some(95)));
        assert_eq!(lone.holds, [(0, 95)]);
        let late = Rule { targets: Targets::Grid { interval: 10, from: 60 }, ..rule(Sampling::Keyframes, 10, 2) };
        assert_eq!(decide(&late, &group(&packets[..1], &[], Some(95))).holds, [(0, 95)]);
        // Pictures that come as often as they are wanted are not held, nor is one before a leap of the clock.
        let regular = [packet(0, true), packet(10, false), packet(20, false)];
        assert!(decide(&rule(Sampling::All, 10, 2), &group(&regular, &[], Some(30))).holds.is_empty());
        let leap = LONGEST_GAP.as_nanos() as i64 + 10;
        assert!(decide(&rule(Sampling::All, 10, 2), &group(&packets, &[], Some(leap))).holds.is_empty());
    }

    #[test]
    fn uniform_takes_each_frame_once_and_only_shown_ones() {
        let mut packets: Vec<Packet> = (0..5).map(|i| packet(i * 10, i == 0)).collect();
        packets[0].shown = false;
        assert_eq!(uniform(&packets, 12), [0, 10, 20, 30]);
        assert_eq!(uniform(&packets, 2), [0, 30]);
        assert!(uniform(&[], 3).is_empty());
    }

    #[test]
    fn every_shown_frame_is_listed_once_from_the_first() {
        // A frame before the first key frame cannot be decoded; one that leads the key frame neither.
        let packets = [packet(3, false), packet(10, true), packet(7, false), packet(30, false), packet(20, false)];
        assert_eq!(shown(&packets), [0, 10, 20]);
        assert_eq!(end(&packets, &[0, 10, 20]), 30);
        let lasting = [Packet { duration: Some(4), ..packet(10, true) }];
        assert_eq!((shown(&lasting), end(&lasting, &[0])), (vec![0], 4));
        assert_eq!((shown(&[]), end(&[], &[])), (vec![], 0));
    }
}
