//! Holds coded frames until it is clear which of their group are worth decoding.
//!
//! A territory (see [`super::plan`]) is complete when the first frame behind the leading ones of the next group arrives.
//! What is held is limited: of a group that grows too long, the first part is let through to the decoder and the rest
//! is decided on part by part. Pure: what the frames carry (`T`) is not looked at.

use std::time::Duration;

use super::plan::{Decision, Packet, Rule, Territory, decide};
use super::{LONGEST_GAP, Outcome, Problem, ProblemKind, Sampling};

const MOST_PACKETS: usize = 600;
const MOST_BYTES: usize = 32 << 20;
/// Frames kept back when a long group is cut, so that shown order is settled for those before the cut.
const LOOKAHEAD: usize = 32;
/// More leading frames than any codec allows: the clock went backward instead.
const MOST_LEADING: usize = 64;
/// Share of frames decoded from which on a job is said to have decoded everything.
const NEARLY_ALL: f64 = 0.9;
/// Before every time, with room for arithmetic.
const NEVER: i64 = i64::MIN / 4;
/// The last picture may be held for so many times as long as the others were.
const USUAL_HOLDS: i64 = 2;
/// So many leaps of the time stamps are told one by one; of more, the last is told to reach up to the end of all.
const MOST_GAPS: usize = 20;

/// What goes on to the decoder.
#[derive(Debug)]
pub(super) struct Release<T> {
    /// In coded order.
    pub(super) packets: Vec<Released<T>>,
    /// Times of the frames to hand on, as the packets have them.
    pub(super) wanted: Vec<i64>,
    /// Of those that are held: their times, and until when they are shown.
    pub(super) holds: Vec<(i64, i64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Released<T> {
    pub(super) packet: Packet,
    pub(super) payload: T,
    /// A key frame that the decoder can start anew with, since frames before it were left out. Behind a key frame there
    /// are gaps too, where leading frames were left out, but what follows on them still needs the key frame.
    pub(super) after_gap: bool,
}

#[derive(Debug)]
pub(super) struct Gate<T> {
    rule: Rule,
    held: Vec<(Packet, Option<T>)>,
    bytes: usize,
    /// Whether `held` begins with a key frame or behind a cut.
    in_group: bool,
    continued: bool,
    /// Where in `held` the next group begins.
    next_key: Option<usize>,
    own_leading: usize,
    own_leading_kept: usize,
    /// Times wanted of the territory before, as decided.
    wanted_before: Vec<i64>,
    /// All decisions are relative to this; where it is not given, to the first shown frame.
    zero: Option<i64>,
    /// Time of the first shown frame.
    first: Option<i64>,
    previous_key: Option<i64>,
    served_to: i64,
    exact_to: i64,
    step: i64,
    begun: bool,
    /// Time of the key frame of the group that frames come of, and whether nothing of it is shown yet.
    group_key: i64,
    awaits_shown: bool,
    /// No frame was shown in the parts of the held group that were decided on.
    unseen: bool,
    gap: bool,
    end: Option<i64>,
    /// No more frames come.
    over: bool,
    /// Time of the latest shown frame so far.
    latest: Option<i64>,
    /// The longest time from one picture to the next, leaps left out.
    longest: i64,
    /// From the latest frame before to the first behind, see [`LONGEST_GAP`].
    gaps: Vec<(i64, i64)>,
    packets: u64,
    key_frames: u64,
    decoded: u64,
    deltas_decoded: u64,
    /// Frames that no other needs, and that were not wanted.
    left_out: u64,
}

impl<T> Gate<T> {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            held: Vec::new(),
            bytes: 0,
            in_group: false,
            continued: false,
            next_key: None,
            own_leading: 0,
            own_leading_kept: 0,
            wanted_before: Vec::new(),
            zero: None,
            first: None,
            previous_key: None,
            served_to: NEVER,
            exact_to: NEVER,
            step: 0,
            begun: false,
            group_key: NEVER,
            awaits_shown: false,
            unseen: true,
            gap: false,
            end: None,
            over: false,
            latest: None,
            longest: 0,
            gaps: Vec::new(),
            packets: 0,
            key_frames: 0,
            decoded: 0,
            deltas_decoded: 0,
            left_out: 0,
        }
    }

    /// Counts times from this one, if it is given, instead of from the first shown frame.
    pub(super) fn counting_from(self, zero: Option<i64>) -> Self {
        Self { zero, ..self }
    }

    /// Where times are counted from, known from the first release on.
    pub(super) fn base(&self) -> Option<i64> {
        self.zero.or(self.first)
    }

    pub(super) fn push(&mut self, packet: Packet, payload: T) -> Option<Release<T>> {
        self.packets += 1;
        self.key_frames += u64::from(packet.key);
        if packet.shown {
            let end = packet.pts + packet.duration.unwrap_or(0);
            self.end = Some(self.end.map_or(end, |known| known.max(end)));
            self.note_gap(packet.pts);
        }
        if packet.key && !self.in_group {
            // What came before the first key frame cannot be decoded.
            self.held.clear();
            self.bytes = 0;
            self.in_group = true;
        }
        let mut release = None;
        if let Some(next) = self.next_key {
            let leading = self.held.len() - next - 1;
            if packet.key || packet.pts > self.held[next].0.pts || leading >= MOST_LEADING {
                release = self.close(next, false);
            }
        }
        if packet.key && (self.continued || !self.held.is_empty()) {
            self.next_key = Some(self.held.len());
        }
        self.bytes += packet.bytes;
        let useless = self.is_useless(&packet);
        self.held.push((packet, (!useless).then_some(payload)));
        if self.next_key.is_none() && (self.held.len() >= MOST_PACKETS || self.bytes >= MOST_BYTES) {
            let more = self.relieve();
            release = merge(release, more);
        }
        release
    }

    /// Of key frames alone, the others are only needed up to the one that stands in for a key frame that is not shown.
    fn is_useless(&mut self, packet: &Packet) -> bool {
        if packet.key {
            (self.group_key, self.awaits_shown) = (packet.pts, !packet.shown);
            return false;
        }
        let is_led_by_key = packet.pts >= self.group_key;
        let useful = !self.in_group || self.awaits_shown && is_led_by_key;
        self.awaits_shown &= !(packet.shown && is_led_by_key);
        self.rule.sampling == Sampling::Keyframes && !useful
    }

    /// No more frames come. The last picture is shown until the medium ends, at `promised` on the packets' clock. If this
    /// promise of the container is not certain, it is believed only if pictures have been held for about as long before.
    pub(super) fn finish(&mut self, promised: Option<i64>, is_certain: bool) -> Option<Release<T>> {
        self.start_without_key();
        self.over = true;
        if let (Some(end), Some(latest)) = (promised, self.latest) {
            let most = if is_certain { LONGEST_GAP.as_nanos() as i64 } else { USUAL_HOLDS * self.longest };
            if end.saturating_sub(latest) <= most {
                self.end = self.end.max(Some(end));
            }
        }
        let mut release = None;
        if let Some(next) = self.next_key {
            release = self.close(next, false);
        }
        let rest = self.close(self.held.len(), false);
        merge(release, rest)
    }

    fn note_gap(&mut self, pts: i64) {
        let latest = *self.latest.get_or_insert(pts);
        self.latest = Some(latest.max(pts));
        if pts - latest <= LONGEST_GAP.as_nanos() as i64 {
            self.longest = self.longest.max(pts - latest);
            return;
        }
        if self.gaps.len() < MOST_GAPS {
            self.gaps.push((latest, pts));
        } else if let Some(last) = self.gaps.last_mut() {
            last.1 = pts;
        }
    }

    /// Fills in what the gate knows of how the job went.
    pub(super) fn report(&self, outcome: &mut Outcome) {
        outcome.packets = self.packets;
        outcome.key_frames = self.key_frames;
        outcome.packets_decoded = self.decoded;
        let base = self.base().unwrap_or(0);
        let from_base = |time: i64| Duration::from_nanos(u64::try_from(time - base).unwrap_or(0));
        outcome.end = self.end.map_or(Duration::ZERO, from_base);
        let gap = |(start, end): &(i64, i64)| {
            let detail = "more than a day without a picture: the time stamps leap";
            Problem::new(ProblemKind::TimeGap, detail).between(from_base(*start), from_base(*end))
        };
        // What lies before the first frame that can be shown is no part of the medium.
        let is_part = |(_, end): &&(i64, i64)| self.first.is_some_and(|first| *end > first);
        outcome.problems.extend(self.gaps.iter().filter(is_part).map(gap));
        outcome.sampling = Some(match self.rule.sampling {
            Sampling::Auto if self.deltas_decoded == 0 => Sampling::Keyframes,
            Sampling::Auto if (self.decoded + self.left_out) as f64 > NEARLY_ALL * self.packets as f64 => Sampling::All,
            Sampling::Auto => Sampling::Gop,
            asked => asked,
        });
    }

    /// A stream whose frames are not marked starts with its first frame.
    fn start_without_key(&mut self) {
        if !self.in_group
            && let Some((first, _)) = self.held.first_mut()
        {
            first.key = true;
            self.in_group = true;
        }
    }

    /// Makes room while a group is still going on.
    fn relieve(&mut self) -> Option<Release<T>> {
        self.start_without_key();
        if self.rule.sampling == Sampling::Keyframes && (self.held[0].0.shown || !self.unseen) {
            // Only the key frame and the end of the group matter.
            let last = self.held.iter().map(|(packet, _)| packet.pts).max();
            let mut index = 0;
            self.held.retain(|(packet, _)| {
                index += 1;
                index == 1 || Some(packet.pts) == last
            });
            self.bytes = self.held.iter().map(|(packet, _)| packet.bytes).sum();
            return None;
        }
        self.close(self.cut(), true)
    }

    /// The last place, some frames back, where all frames before are shown before all frames behind.
    fn cut(&self) -> usize {
        let length = self.held.len();
        let latest = length - LOOKAHEAD.min(length / 4);
        let mut earliest_behind = vec![i64::MAX; length + 1];
        for (index, (packet, _)) in self.held.iter().enumerate().rev() {
            earliest_behind[index] = earliest_behind[index + 1].min(packet.pts);
        }
        let (mut latest_before, mut cut) = (i64::MIN, latest);
        for (index, (packet, _)) in self.held.iter().enumerate().take(latest + 1).skip(1) {
            latest_before = latest_before.max(self.held[index - 1].0.pts);
            if latest_before < earliest_behind[index].min(packet.pts) {
                cut = index;
            }
        }
        cut
    }

    /// Decides on the first `count` held frames, which are a group or a part of one, and takes them out.
    fn close(&mut self, count: usize, open_ended: bool) -> Option<Release<T>> {
        if count == 0 {
            return None;
        }
        if self.first.is_none() && !self.continued && self.own_leading == 0 && !self.held[0].0.closed {
            // Nothing was shown before, so frames shown before the first key frame cannot be decoded if they need others.
            let key = self.held[0].0.pts;
            self.own_leading = self.held[1..count].iter().take_while(|(packet, _)| packet.pts < key).count();
        }
        let own_leading = self.own_leading.min(count - 1);
        if self.first.is_none() {
            let own = self.held[..count].iter().enumerate().filter(|(i, _)| *i == 0 || *i > own_leading);
            self.first = own.map(|(_, (packet, _))| packet).filter(|p| p.shown).map(|p| p.pts).min();
        }
        let base = self.base().unwrap_or(0);
        let relative = |(packet, _): &(Packet, Option<T>)| Packet { pts: packet.pts - base, ..*packet };
        let packets: Vec<Packet> = self.held[..count].iter().map(relative).collect();
        let behind: Vec<Packet> = self.held[count..].iter().map(relative).collect();
        let (next_key, leading) = match behind.split_first() {
            Some((key, leading)) if !open_ended => (key.shown.then_some(key.pts), leading),
            _ => (None, &[][..]),
        };
        let next_shown = match next_key {
            None if behind.is_empty() => self.end.filter(|_| self.over).map(|end| end - base),
            None => behind.iter().filter(|packet| packet.shown).map(|packet| packet.pts).min(),
            key => key,
        };
        let decision = decide(
            &self.rule,
            &Territory {
                packets: &packets,
                own_leading,
                own_leading_kept: self.own_leading_kept,
                wanted_before: &self.wanted_before,
                leading,
                continued: self.continued,
                open_ended,
                served_to: self.served_to,
                exact_to: self.exact_to,
                previous_key: self.previous_key,
                next_key,
                next_shown,
                previous_step: self.step,
                begun: self.begun,
                unseen: self.unseen,
            },
        );
        self.advance(&packets, leading.len(), open_ended, &decision);
        let mut packets = Vec::new();
        for ((packet, payload), decode) in self.held.drain(..count).zip(decision.decode) {
            match payload {
                Some(payload) if decode => {
                    let after_gap = packet.key && std::mem::take(&mut self.gap);
                    packets.push(Released { packet, payload, after_gap });
                }
                _ if packet.disposable => self.left_out += 1,
                _ => self.gap = true,
            }
        }
        self.bytes = self.held.iter().map(|(packet, _)| packet.bytes).sum();
        self.decoded += packets.len() as u64;
        self.deltas_decoded += packets.iter().filter(|released| !released.packet.key).count() as u64;
        let wanted = decision.wanted.iter().map(|pts| pts + base).collect();
        let holds = decision.holds.iter().map(|(pts, until)| (pts + base, until + base)).collect();
        self.wanted_before = decision.wanted;
        Some(Release { packets, wanted, holds })
    }

    fn advance(&mut self, packets: &[Packet], leading: usize, open_ended: bool, decision: &Decision) {
        if !self.continued && packets[0].shown {
            self.previous_key = Some(packets[0].pts);
        }
        if let (None, Some(end), Some(base)) = (packets[packets.len() - 1].duration, self.end, self.base()) {
            // The last frame lasts as long as the others do.
            let last = packets.iter().filter(|p| p.shown).map(|p| p.pts).max();
            self.end = Some(last.map_or(end, |last| end.max(last + base + decision.step)));
        }
        self.served_to = decision.served_to;
        self.step = decision.step;
        if open_ended {
            self.exact_to = decision.served_to;
        }
        self.begun |= !decision.wanted.is_empty();
        self.unseen = !open_ended || self.unseen && !packets.iter().any(|packet| packet.shown);
        self.continued = open_ended;
        self.next_key = None;
        self.own_leading = leading;
        self.own_leading_kept = decision.leading_kept;
        if open_ended {
            (self.own_leading, self.own_leading_kept) = (0, 0);
        }
    }
}

fn merge<T>(first: Option<Release<T>>, second: Option<Release<T>>) -> Option<Release<T>> {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.packets.extend(second.packets);
            first.wanted.extend(second.wanted);
            first.holds.extend(second.holds);
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

#[cfg(test)]
mod tests;
