//! Streams of every shape through the gate.

use proptest::prelude::*;

use super::*;
use crate::decode::plan::Targets;
use crate::decode::timeline::{EARLIEST, LATEST};

const MS: i64 = 1_000_000;

/// How a made-up stream is coded.
#[derive(Clone, Debug)]
struct Stream {
    /// Frames per group.
    groups: Vec<usize>,
    /// Frames between two anchors.
    bframes: usize,
    /// Key frames followed by leading frames.
    open: bool,
    /// Milliseconds between frames, repeated.
    steps: Vec<i64>,
    start: i64,
}

impl Stream {
    /// In coded order.
    fn packets(&self) -> Vec<Packet> {
        let total: usize = self.groups.iter().sum();
        let mut shown = vec![self.start * MS];
        for i in 1..total {
            shown.push(shown[i - 1] + self.steps[i % self.steps.len()] * MS);
        }
        let packet = |i: usize, key: bool| Packet {
            pts: shown[i],
            duration: None,
            key,
            shown: true,
            bytes: 100,
            in_order: true,
            disposable: false,
            listed: false,
            closed: false,
        };
        let mut coded = Vec::new();
        let mut first = 0;
        for (number, group) in self.groups.iter().enumerate() {
            let last = number + 1 == self.groups.len();
            // In an open stream the frames before the next key frame are coded behind it.
            let leading = if self.open && !last { self.bframes.min(group - 1) } else { 0 };
            if number == 0 {
                coded.push(packet(0, true));
            }
            let mut at = first + 1;
            let end = first + group - leading;
            while at < end {
                let anchor = (at + self.bframes).min(end - 1);
                coded.push(packet(anchor, false));
                coded.extend((at..anchor).map(|i| packet(i, false)));
                at = anchor + 1;
            }
            first += group;
            if !last {
                coded.push(packet(first, true));
                coded.extend((end..first).map(|i| packet(i, false)));
            }
        }
        coded
    }
}

fn streams() -> impl Strategy<Value = Stream> {
    (
        prop::collection::vec(1usize..40, 1..12),
        0usize..4,
        any::<bool>(),
        prop_oneof![Just(vec![40i64]), prop::collection::vec(10i64..400, 1..5)],
        0i64..5000,
    )
        .prop_map(|(groups, bframes, open, steps, start)| Stream { groups, bframes, open, steps, start })
}

struct Run {
    wanted: Vec<i64>,
    decoded: Vec<Packet>,
    outcome: Outcome,
}

fn run(packets: &[Packet], sampling: Sampling, interval: i64, from: i64) -> Run {
    let rule = Rule { targets: Targets::Grid { interval, from }, sampling, tolerance: interval / 4 };
    let mut gate = Gate::new(rule);
    let mut run = Run { wanted: Vec::new(), decoded: Vec::new(), outcome: Outcome::default() };
    let mut take = |release: Option<Release<()>>| {
        if let Some(release) = release {
            run.wanted.extend(release.wanted);
            let anew = |released: &Released<()>| !released.after_gap || released.packet.key;
            assert!(release.packets.iter().all(anew), "the decoder would lose what the frame needs");
            run.decoded.extend(release.packets.into_iter().map(|released| released.packet));
        }
    };
    for packet in packets {
        take(gate.push(*packet, ()));
    }
    take(gate.finish(None, false));
    gate.report(&mut run.outcome);
    run
}

const SAMPLINGS: [Sampling; 4] = [Sampling::Auto, Sampling::Keyframes, Sampling::Gop, Sampling::All];

proptest! {
    #[test]
    fn a_job_from_the_middle_gives_the_tail_of_the_whole(
        stream in streams(), interval in 20i64..3000, share in 0.0f64..1.0, which in 0usize..4,
    ) {
        let packets = stream.packets();
        let length = packets.iter().map(|p| p.pts).max().unwrap() - stream.start * MS;
        let from = (length as f64 * share) as i64;
        let whole = run(&packets, SAMPLINGS[which], interval * MS, 0);
        let part = run(&packets, SAMPLINGS[which], interval * MS, from);
        prop_assert!(whole.wanted.ends_with(&part.wanted), "{:?} {:?}", whole.wanted, part.wanted);
        let missing = &whole.wanted[..whole.wanted.len() - part.wanted.len()];
        if let Some(last) = missing.last() && SAMPLINGS[which] != Sampling::Keyframes {
            // What is left out belongs to targets before `from`, give or take the tolerance and a step.
            prop_assert!(last - stream.start * MS <= from + interval * MS / 4 + 400 * MS);
        }
    }

    #[test]
    fn exact_samplings_agree_and_decode_what_they_hand_on(stream in streams(), interval in 20i64..3000) {
        let packets = stream.packets();
        let all = run(&packets, Sampling::All, interval * MS, 0);
        let gop = run(&packets, Sampling::Gop, interval * MS, 0);
        prop_assert_eq!(&all.wanted, &gop.wanted);
        prop_assert_eq!(all.decoded.len(), packets.len());
        prop_assert!(all.wanted.windows(2).all(|pair| pair[0] < pair[1]));
        for sampling in SAMPLINGS {
            let run = run(&packets, sampling, interval * MS, 0);
            for pts in &run.wanted {
                prop_assert!(run.decoded.iter().any(|packet| packet.pts == *pts));
            }
        }
    }

    #[test]
    fn what_a_decoded_frame_needs_is_decoded(stream in streams(), interval in 20i64..3000, auto: bool) {
        let packets = stream.packets();
        let sampling = if auto { Sampling::Auto } else { Sampling::Gop };
        let run = run(&packets, sampling, interval * MS, 0);
        let decoded = |packet: &Packet| run.decoded.contains(packet);
        let keys: Vec<usize> = (0..packets.len()).filter(|i| packets[*i].key).collect();
        for (number, key) in keys.iter().enumerate() {
            let end = keys.get(number + 1).copied().unwrap_or(packets.len());
            let (leading, trailing): (Vec<_>, Vec<_>) =
                packets[*key + 1..end].iter().partition(|p| p.pts < packets[*key].pts);
            // Trailing frames need all trailing ones before and the key frame.
            let kept = trailing.iter().take_while(|packet| decoded(packet)).count();
            prop_assert!(!trailing[kept..].iter().any(&decoded));
            prop_assert!(kept == 0 || decoded(&packets[*key]));
            // Leading frames need the whole group before as well.
            if leading.iter().any(&decoded) {
                let before = keys[number - 1]..=*key;
                prop_assert!(packets[before].iter().filter(|p| p.pts >= packets[keys[number - 1]].pts).all(decoded));
            }
        }
    }

    #[test]
    fn steady_video_is_sampled_without_drift(frames in 2usize..2000, key_every in 1usize..300, interval in 40i64..4000) {
        let groups = (0..frames).step_by(key_every).map(|at| key_every.min(frames - at)).collect();
        let stream = Stream { groups, bframes: 2, open: false, steps: vec![40], start: 80 };
        let run = run(&stream.packets(), Sampling::Gop, interval * MS, 0);
        let last = (frames as i64 - 1) * 40;
        for (k, pts) in run.wanted.iter().enumerate() {
            prop_assert!((pts / MS - 80 - k as i64 * interval).abs() <= 20, "{k}: {pts}");
        }
        prop_assert_eq!(run.wanted.len() as i64, (last + 20) / interval + 1);
    }

    #[test]
    fn auto_stays_within_the_tolerance_and_serves_every_target(stream in streams(), interval in 500i64..3000) {
        let packets = stream.packets();
        let (auto, exact) = (
            run(&packets, Sampling::Auto, interval * MS, 0),
            run(&packets, Sampling::All, interval * MS, 0),
        );
        for (k, pts) in exact.wanted.iter().enumerate() {
            let target = k as i64 * interval * MS + stream.start * MS;
            let served = auto.wanted.iter().any(|p| p == pts || (p - target).abs() <= interval * MS / 4);
            prop_assert!(served || stream.steps.iter().any(|s| *s > 40), "{k} {pts}");
        }
        prop_assert!(auto.decoded.len() <= exact.decoded.len());
    }

    #[test]
    fn key_frames_alone_are_taken_once_per_place(stream in streams(), interval in 20i64..3000) {
        let packets = stream.packets();
        let run = run(&packets, Sampling::Keyframes, interval * MS, 0);
        prop_assert!(run.decoded.iter().all(|packet| packet.key));
        prop_assert_eq!(run.decoded.len(), run.wanted.len());
        prop_assert_eq!(run.wanted.first().copied(), Some(stream.start * MS));
        let length = packets.iter().map(|p| p.pts).max().unwrap() - stream.start * MS + 400 * MS;
        prop_assert!(run.wanted.len() as i64 <= length / (interval * MS) + 1);
    }
}

#[test]
fn a_group_too_long_to_hold_is_let_through_and_still_sampled_exactly() {
    let stream = Stream { groups: vec![5000, 700], bframes: 2, open: false, steps: vec![40], start: 0 };
    let packets = stream.packets();
    for sampling in [Sampling::Gop, Sampling::Auto, Sampling::All] {
        let run = run(&packets, sampling, 1000 * MS, 0);
        let expected: Vec<i64> = (0..228).map(|k| k * 1000 * MS).collect();
        assert_eq!(run.wanted, expected, "{sampling:?}");
    }
    assert_eq!(run(&packets, Sampling::Keyframes, 1000 * MS, 0).wanted, [0, 200_000 * MS]);
    assert_eq!(run(&packets, Sampling::Gop, 1000 * MS, 210_000 * MS).wanted.len(), 18);
}

#[test]
fn frames_before_the_first_key_frame_are_left_out_and_unmarked_streams_are_not() {
    let stream = Stream { groups: vec![30, 30], bframes: 0, open: false, steps: vec![40], start: 0 };
    let packets = stream.packets();
    let cut = run(&packets[10..], Sampling::All, 40 * MS, 0);
    assert_eq!((cut.wanted.len(), cut.decoded.len(), cut.outcome.packets), (30, 30, 50));
    let unmarked: Vec<Packet> = packets.iter().map(|packet| Packet { key: false, ..*packet }).collect();
    assert_eq!(run(&unmarked, Sampling::Auto, 40 * MS, 0).wanted.len(), 60);
}

#[test]
fn frames_cut_away_by_an_edit_list_are_decoded_but_not_handed_on() {
    let stream = Stream { groups: vec![30], bframes: 0, open: false, steps: vec![40], start: 0 };
    let mut packets = stream.packets();
    for packet in &mut packets[..18] {
        packet.shown = false;
    }
    let run = run(&packets, Sampling::Gop, 400 * MS, 0);
    assert_eq!(run.wanted, [18 * 40 * MS, 28 * 40 * MS]);
    assert_eq!(run.decoded.len(), 29);
    assert_eq!(run.outcome.end.as_millis(), 12 * 40);
}

#[test]
fn of_key_frames_that_are_not_shown_the_first_frame_behind_is_handed_on() {
    let stream = Stream { groups: vec![30, 1000, 30], bframes: 2, open: true, steps: vec![40], start: 0 };
    for cut in [1, 18, 40, 700, 900, 1028] {
        let mut packets = stream.packets();
        packets.iter_mut().for_each(|packet| packet.shown = packet.pts >= cut * 40 * MS);
        let run = run(&packets, Sampling::Keyframes, 40 * MS, 0);
        // With B-frames, the first in coded order is shown a little later.
        let first = run.wanted[0] / MS / 40 - cut;
        assert!((0..4).contains(&first), "{cut}: {first}");
        let keys = [0, 30, 1030].into_iter().filter(|key| *key >= cut).count();
        // Those that lead the next key frame stand in for none.
        assert_eq!(run.wanted.len(), keys + usize::from(cut != 1028), "{cut}");
        assert!(run.wanted.iter().all(|pts| run.decoded.iter().any(|packet| packet.pts == *pts)), "{cut}");
    }
}

const DAY: i64 = 24 * 3600 * 1000;

#[test]
fn leaps_of_the_time_stamps_are_told() {
    let packets = |times: &[i64]| -> Vec<Packet> {
        let packet = |ms: &i64| Packet {
            pts: ms * MS,
            duration: Some(40 * MS),
            key: true,
            shown: true,
            bytes: 100,
            in_order: true,
            disposable: false,
            listed: false,
            closed: false,
        };
        times.iter().map(packet).collect()
    };
    let gaps = |times: &[i64]| -> Vec<(f64, f64)> {
        let outcome = run(&packets(times), Sampling::Auto, 1000 * MS, 0).outcome;
        assert!(outcome.problems.iter().all(|problem| problem.kind == ProblemKind::TimeGap));
        outcome.problems.iter().map(|problem| (problem.start_s.unwrap(), problem.end_s.unwrap())).collect()
    };
    assert_eq!(gaps(&[0, 40, DAY + 40]), [], "a day is not more than a day");
    assert_eq!(gaps(&[5000, 5040, DAY + 5041, 2 * DAY + 5042]), [(0.04, 86_400.041), (86_400.041, 172_800.042)]);
    let many: Vec<i64> = (0..100).map(|number| number * 2 * DAY).collect();
    let told = gaps(&many);
    assert_eq!((told.len(), told[MOST_GAPS - 1]), (MOST_GAPS, (19.0 * 172_800.0, 99.0 * 172_800.0)));
    // The lone frames on both sides of a leap are not said to last for all of it.
    let steps = run(&packets(&[0, 158 * 365 * DAY]), Sampling::Auto, 1000 * MS, 0);
    assert_eq!((steps.wanted.len(), steps.outcome.end.as_millis()), (2, 158 * 365 * DAY as u128 + 40));
}

proptest! {
    #[test]
    fn times_at_the_ends_of_what_is_believed_are_sums_like_any_other(
        frames in prop::collection::vec((0usize..6, 0i64..1000, any::<bool>(), any::<bool>()), 1..60),
        interval in prop_oneof![Just(1i64), 1..i64::MAX],
        from in prop_oneof![Just(0i64), 0..i64::MAX],
        which in 0usize..4,
    ) {
        let ends = [EARLIEST, 0, 1_000_000_000, LATEST / 2, LATEST - 1000, LATEST - 40 * MS];
        let packet = |(end, more, key, lasts): &(usize, i64, bool, bool)| Packet {
            pts: (ends[*end] + more).min(LATEST),
            duration: lasts.then_some(LONGEST_GAP.as_nanos() as i64),
            key: *key,
            shown: true,
            bytes: 100,
            in_order: true,
            disposable: false,
            listed: false,
            closed: false,
        };
        let packets: Vec<Packet> = frames.iter().map(packet).collect();
        let run = run(&packets, SAMPLINGS[which], interval, from);
        prop_assert!(run.wanted.iter().all(|pts| packets.iter().any(|packet| packet.pts == *pts)));
        prop_assert!(run.outcome.end <= crate::decode::LATEST);
    }
}

#[test]
fn the_outcome_says_what_auto_came_to() {
    let said = |groups: Vec<usize>, interval: i64| {
        let packets = Stream { groups, bframes: 0, open: false, steps: vec![40], start: 0 }.packets();
        run(&packets, Sampling::Auto, interval * MS, 0).outcome
    };
    assert_eq!(said(vec![50; 5], 2000).sampling, Some(Sampling::Keyframes));
    assert_eq!(said(vec![50; 5], 1000).sampling, Some(Sampling::Gop));
    assert_eq!(said(vec![250], 200).sampling, Some(Sampling::All));
    assert_eq!(said(vec![50; 5], 2000).packets_decoded, 5);
    assert_eq!(said(vec![50; 5], 2000).end.as_millis(), 10_000);
}
