//! What an edit list makes of a track: which coded frames are decoded, which of them are shown, and when. Pure.
//!
//! As ffmpeg does it: a part of the media is shown from the first frame that begins within it, at the start of the part;
//! what comes before it, from the key frame on, is decoded only. Where a picture is held so long that this would lose
//! time, the part begins with the picture that is on the screen when it starts, as players do.

use super::super::timeline::{EARLIEST, LATEST};

/// Frames of one file at the most, those counted twice that are shown twice.
pub(super) const MOST_FRAMES: usize = 4_000_000;
/// So long is the rest of a picture that begins before a part of the media, in seconds, if it is shown at its start.
const HELD_SECS: i64 = 1;

/// A coded frame of the track, in the time scale of its media.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) offset: u64,
    pub(super) size: u32,
    /// Which of the descriptions of the codec is meant, from 1 on.
    pub(super) description: u32,
    pub(super) key: bool,
    /// When it is decoded and shown, before any edit.
    pub(super) dts: i64,
    pub(super) cts: i64,
    pub(super) duration: u32,
    /// What came before it reaches beyond its time.
    pub(super) covered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edit {
    /// In the time scale of the movie; 0: to the end of the media.
    pub(super) duration: u64,
    /// In the time scale of the media; `None`: nothing is shown.
    pub(super) media_time: Option<i64>,
}

/// Units a second; neither is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    pub(super) movie: u32,
    pub(super) media: u32,
}

/// A coded frame to be decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placed {
    /// Its number in the track.
    pub(super) sample: u32,
    /// When it is shown, in nanoseconds from the start of the movie. Frames that are not shown have times of their own,
    /// just before or just behind those that are, in the order in which they would be shown.
    pub(super) pts: i64,
    pub(super) duration: i64,
    pub(super) shown: bool,
}

/// The frames in the order in which they are decoded, and whether all edits could be followed.
pub(super) fn place(samples: &[Sample], edits: &[Edit], scales: Scales) -> (Vec<Placed>, bool) {
    let nanos = |units: i128| to_nanos(units, scales.media);
    if edits.is_empty() {
        let all = samples.iter().enumerate();
        let placed = all.map(|(sample, frame)| Placed {
            sample: sample as u32,
            pts: nanos(frame.cts.into()),
            duration: nanos(frame.duration.into()),
            shown: true,
        });
        return (placed.collect(), true);
    }
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|index| samples[*index].cts);
    let mut placed: Vec<Placed> = Vec::new();
    let (mut start, mut first_lead, mut latest) = (0_i128, None, None);
    for edit in edits {
        let length = rescale(edit.duration, scales);
        let begin = start;
        start += length;
        let Some(from) = edit.media_time.map(i128::from) else { continue };
        let upto = if edit.duration == 0 { i128::MAX } else { from + length };
        let Some(part) = Part::find(samples, &order, from, upto, scales) else { continue };
        if placed.len() + (part.last + 1 - part.key) > MOST_FRAMES {
            return (placed, false);
        }
        // What is added to the media's time to get the movie's.
        let shift = if part.held {
            begin - from
        } else {
            let lead = part.earliest - i128::from(samples[part.first].dts);
            let later = lead - *first_lead.get_or_insert(lead);
            begin + later.max(0) - part.earliest
        };
        let time = |cts: i128| nanos((cts.max(part.from) + shift).max(begin));
        latest = Some(part.place(samples, &mut placed, latest, time));
        if edit.duration == 0 {
            break;
        }
    }
    (placed, true)
}

/// Hides the frames whose time is covered by what came before them, and gives them times of their own, just before the next
/// frame that is shown.
pub(super) fn hide_covered(samples: &[Sample], placed: &mut [Placed]) {
    let is_covered = |frame: &Placed| samples[frame.sample as usize].covered;
    let mut next = placed.iter().map(|frame| frame.pts.saturating_add(frame.duration)).max().unwrap_or(0);
    for frame in placed.iter_mut().rev() {
        if is_covered(frame) {
            next = next.saturating_sub(1);
            *frame = Placed { pts: next, duration: 1, shown: false, ..*frame };
        } else {
            next = frame.pts;
        }
    }
}

/// What one edit shows.
struct Part {
    /// Media time from which on and up to which pictures are shown.
    from: i128,
    upto: i128,
    /// The first picture begins before `from`.
    held: bool,
    /// Media time at which the first picture begins.
    earliest: i128,
    /// The key frame to start with, and the first and the last frame shown, in coded order.
    key: usize,
    first: usize,
    last: usize,
}

impl Part {
    /// `None`: it shows nothing.
    fn find(samples: &[Sample], order: &[usize], from: i128, upto: i128, scales: Scales) -> Option<Self> {
        let cts = |place: usize| order.get(place).map(|index| i128::from(samples[*index].cts));
        let low = order.partition_point(|index| i128::from(samples[*index].cts) < from);
        let high = order.partition_point(|index| i128::from(samples[*index].cts) < upto);
        // Until when the picture before is on the screen.
        let until = low.checked_sub(1).map(|before| {
            cts(low).unwrap_or_else(|| {
                let last = &samples[order[before]];
                i128::from(last.cts) + i128::from(last.duration)
            })
        });
        let rest = until.map_or(0, |until| until.min(upto) - from);
        let held = rest > i128::from(HELD_SECS) * i128::from(scales.media) || low >= high && rest > 0;
        let low = if held { low - 1 } else { low };
        let shown = order.get(low..high.max(low + usize::from(held)))?;
        let (first, last) = (*shown.iter().min()?, *shown.iter().max()?);
        let earliest = cts(low)?;
        let starts = |index: &usize| samples[*index].key && i128::from(samples[*index].cts) <= earliest;
        let key = (0..=first).rev().find(starts).unwrap_or(0);
        Some(Self { from: if held { from } else { earliest }, upto, held, earliest, key, first, last })
    }

    /// `latest`: the latest time there is so far, and given back, that with this part. `time`: of the movie, for a time of
    /// the media.
    fn place(
        &self,
        samples: &[Sample],
        placed: &mut Vec<Placed>,
        latest: Option<i64>,
        time: impl Fn(i128) -> i64,
    ) -> i64 {
        let frames = &samples[self.key..=self.last];
        let mut order: Vec<usize> = (0..frames.len()).collect();
        order.sort_by_key(|index| frames[*index].cts);
        let cts = |index: usize| i128::from(frames[index].cts);
        let before = order.partition_point(|index| cts(*index) < self.earliest);
        let shown = order.partition_point(|index| cts(*index) < self.upto).max(before + 1);
        let first = time(self.earliest);
        // Nothing may come at a time that was there before.
        let late = latest.map_or(0, |latest| (latest + before as i64 + 1 - first).max(0));
        let start = placed.len();
        let one = |sample: usize| Placed { sample: (self.key + sample) as u32, pts: 0, duration: 1, shown: false };
        placed.extend((0..frames.len()).map(one));
        let (mut last, mut latest) = (first, first);
        for (rank, index) in order.into_iter().enumerate() {
            let frame = &mut placed[start + index];
            let rank = rank as i64;
            if rank < before as i64 {
                frame.pts = first + late - (before as i64 - rank);
            } else if rank < shown as i64 {
                last = time(cts(index));
                let end = time((cts(index) + i128::from(frames[index].duration)).min(self.upto));
                *frame = Placed { pts: last + late, duration: (end - last).max(0), shown: true, ..*frame };
            } else {
                frame.pts = last + late + 1 + rank - shown as i64;
            }
            latest = latest.max(frame.pts);
        }
        latest
    }
}

/// From the movie's time scale to the media's, rounded.
fn rescale(units: u64, scales: Scales) -> i128 {
    let (movie, media) = (i128::from(scales.movie), i128::from(scales.media));
    (i128::from(units) * media + movie / 2) / movie
}

pub(super) fn to_nanos(units: i128, scale: u32) -> i64 {
    let scale = i128::from(scale);
    let nanos = units.saturating_mul(1_000_000_000).saturating_add(scale / 2).div_euclid(scale);
    nanos.clamp(EARLIEST.into(), LATEST.into()) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCALES: Scales = Scales { movie: 1000, media: 25_000 };
    const FRAME: i64 = 1000;
    const MS: i64 = 1_000_000;

    /// Frames of 40 ms, a key frame every so many, shown in the order of their numbers and coded with this many frames
    /// between two that others refer to.
    fn samples(count: usize, key_every: usize, between: usize) -> Vec<Sample> {
        let mut shown = Vec::new();
        for group in (0..count).collect::<Vec<_>>().chunks(key_every) {
            shown.push(group[0]);
            for part in group[1..].chunks(between + 1) {
                shown.push(part[part.len() - 1]);
                shown.extend(&part[..part.len() - 1]);
            }
        }
        let sample = |(coded, shown): (usize, usize)| Sample {
            offset: 0,
            size: 1,
            description: 1,
            key: shown % key_every == 0,
            dts: coded as i64 * FRAME,
            cts: (shown + usize::from(between > 0)) as i64 * FRAME,
            duration: FRAME as u32,
            covered: false,
        };
        shown.into_iter().enumerate().map(sample).collect()
    }

    /// Media time in frames, length in frames.
    fn edit(from: i64, frames: u64) -> Edit {
        Edit { duration: frames * 40, media_time: (from >= 0).then_some(from * FRAME) }
    }

    /// Number of the picture and time in milliseconds.
    fn shown(samples: &[Sample], edits: &[Edit]) -> Vec<(i64, i64)> {
        let (mut placed, _) = place(samples, edits, SCALES);
        placed.retain(|frame| frame.shown);
        placed.sort_by_key(|frame| frame.pts);
        placed.iter().map(|frame| (samples[frame.sample as usize].cts / FRAME, frame.pts / MS)).collect()
    }

    #[test]
    fn without_edits_times_are_those_of_the_media() {
        let samples = samples(5, 5, 1);
        assert_eq!(shown(&samples, &[]), [(1, 40), (2, 80), (3, 120), (4, 160), (5, 200)]);
    }

    #[test]
    fn a_cut_starts_at_zero_and_what_its_frames_need_is_decoded_but_not_shown() {
        let samples = samples(20, 10, 0);
        let (placed, followed) = place(&samples, &[edit(13, 3)], SCALES);
        assert!(followed);
        assert_eq!(placed.iter().map(|frame| frame.sample).collect::<Vec<_>>(), [10, 11, 12, 13, 14, 15]);
        assert_eq!(placed.iter().map(|frame| frame.pts).collect::<Vec<_>>(), [-3, -2, -1, 0, 40 * MS, 80 * MS]);
        assert_eq!(placed.iter().filter(|frame| !frame.shown).count(), 3);
        assert!(placed[3..].iter().all(|frame| frame.duration == 40 * MS));
    }

    #[test]
    fn frames_behind_the_end_that_others_need_are_not_shown() {
        // Coded 0 3 1 2, and the part ends before 3.
        let samples = samples(7, 10, 2);
        let (placed, _) = place(&samples, &[edit(1, 3)], SCALES);
        let found: Vec<_> = placed.iter().map(|frame| (frame.sample, frame.shown, frame.pts)).collect();
        assert_eq!(found, [(0, true, 0), (1, false, 80 * MS + 1), (2, true, 40 * MS), (3, true, 80 * MS)]);
    }

    #[test]
    fn pauses_delay_what_comes_behind_them() {
        let samples = samples(10, 5, 0);
        assert_eq!(shown(&samples, &[edit(-1, 125), edit(0, 2)]), [(0, 5000), (1, 5040)]);
        assert_eq!(shown(&samples, &[edit(5, 1), edit(-1, 25), edit(0, 1)]), [(5, 0), (0, 1040)]);
    }

    #[test]
    fn media_may_be_shown_again_and_in_another_order() {
        let samples = samples(10, 5, 0);
        let edits = [edit(6, 2), edit(1, 2), edit(6, 1)];
        assert_eq!(shown(&samples, &edits), [(6, 0), (7, 40), (1, 80), (2, 120), (6, 160)]);
        // To the end, and nothing behind it.
        let rest = Edit { duration: 0, ..edit(8, 0) };
        assert_eq!(shown(&samples, &[rest, edit(0, 2)]), [(8, 0), (9, 40)]);
    }

    #[test]
    fn a_held_picture_is_there_from_the_start_and_a_short_rest_is_not() {
        let slides: Vec<Sample> = (0..4)
            .map(|number| Sample {
                dts: number * 250_000,
                cts: number * 250_000,
                duration: 250_000,
                ..samples(1, 1, 0)[0]
            })
            .collect();
        // Ten seconds each; 12.5 s to 32.5 s are shown.
        let edits = [Edit { duration: 20_000, media_time: Some(312_500) }];
        let times: Vec<i64> = shown(&slides, &edits).into_iter().map(|(_, time)| time).collect();
        assert_eq!(times, [0, 7_500, 17_500]);
        let (placed, _) = place(&slides, &edits, SCALES);
        assert_eq!(placed[0].sample, 1);
        assert_eq!(placed[2].duration, 2_500 * MS, "not beyond the end of the edit");
        // Within one picture there is nothing but this.
        assert_eq!(shown(&slides, &[Edit { duration: 500, media_time: Some(260_000) }]), [(250, 0)]);
        assert_eq!(shown(&slides, &[Edit { duration: 500, media_time: Some(1_000_000) }]), []);
        // Frames of 40 ms: as ffmpeg does it, from the first that begins within the edit.
        let unaligned = Edit { duration: 80, media_time: Some(5 * FRAME + 300) };
        assert_eq!(shown(&samples(10, 5, 0), &[unaligned]), [(6, 0), (7, 40)]);
    }

    #[test]
    fn a_list_that_shows_everything_again_and_again_is_followed_up_to_a_limit() {
        let samples = samples(1000, 1000, 0);
        let (placed, followed) = place(&samples, &vec![edit(0, 1000); 100_000], SCALES);
        assert!(!followed && placed.len() == MOST_FRAMES);
    }

    fn lists() -> impl Strategy<Value = Vec<Edit>> {
        let one = prop_oneof![
            8 => (0i64..120_000, 0u64..2000).prop_map(|(from, length)| Edit { duration: length + 1, media_time: Some(from) }),
            1 => (1u64..3000).prop_map(|duration| Edit { duration, media_time: None }),
        ];
        prop::collection::vec(one, 1..8)
    }

    proptest! {
        /// Edit by edit, with every frame looked at.
        #[test]
        fn what_is_shown_and_when_follows_a_plain_model(edits in lists(), key_every in 1usize..30, between in 0usize..4) {
            let samples = samples(100, key_every, between);
            let (placed, followed) = place(&samples, &edits, SCALES);
            prop_assert!(followed);
            let mut rest = placed.as_slice();
            let mut begin = 0;
            let mut latest = i64::MIN;
            for (number, edit) in edits.iter().enumerate() {
                let length = edit.duration as i64 * 25;
                if let Some(from) = edit.media_time {
                    let inside = |cts: i64| cts >= from && cts < from + length;
                    let mut expected: Vec<i64> = samples.iter().map(|s| s.cts).filter(|cts| inside(*cts)).collect();
                    if expected.is_empty() {
                        expected.extend(samples.iter().map(|s| s.cts).filter(|cts| *cts < from && cts + FRAME > from));
                    }
                    expected.sort_unstable();
                    if let Some(first) = expected.first().copied() {
                        let coded: Vec<usize> =
                            (0..samples.len()).filter(|index| expected.contains(&samples[*index].cts)).collect();
                        let key = (0..=coded[0]).rev().find(|i| samples[*i].key && samples[*i].cts <= first).unwrap();
                        let run;
                        (run, rest) = rest.split_at(coded[coded.len() - 1] + 1 - key);
                        prop_assert!(run.iter().zip(key..).all(|(frame, index)| frame.sample as usize == index));
                        prop_assert!(samples[run[0].sample as usize].key);
                        let mut order: Vec<_> = run.iter().collect();
                        order.sort_by_key(|frame| samples[frame.sample as usize].cts);
                        prop_assert!(order.windows(2).all(|pair| pair[0].pts < pair[1].pts));
                        prop_assert!(order[0].pts > latest, "times overlap");
                        latest = order[order.len() - 1].pts;
                        order.retain(|frame| frame.shown);
                        let found: Vec<i64> = order.iter().map(|frame| samples[frame.sample as usize].cts).collect();
                        prop_assert_eq!(&found, &expected);
                        let start = begin * 40_000;
                        let late = order[0].pts - start;
                        // A few frames at the most, where edits begin amid reordered frames.
                        prop_assert!((0..=(between as i64 * 2 + 2) * 40 * MS).contains(&late), "{late}");
                        prop_assert!(late < 1000 || number > 0 && between > 0, "{late}");
                        for (frame, cts) in order.iter().zip(&expected) {
                            let since = frame.pts - order[0].pts;
                            prop_assert!((since - (cts - first) * 40_000).abs() <= 1, "{frame:?}");
                        }
                    }
                }
                begin += length;
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_edit_list_is_a_panic(
            edits in prop::collection::vec((any::<u64>(), any::<Option<i64>>()), 0..20),
            times in prop::collection::vec((any::<i64>(), any::<i64>(), any::<u32>(), any::<bool>()), 0..30),
            movie in 1u32.., media in 1u32..,
        ) {
            let half = |time: i64| time / 2;
            let samples: Vec<Sample> = times.into_iter().map(|(dts, cts, duration, key)| Sample {
                offset: 0, size: 1, description: 1, key, dts: half(dts), cts: half(cts), duration, covered: false,
            }).collect();
            let edits: Vec<Edit> =
                edits.into_iter().map(|(duration, media_time)| Edit { duration, media_time }).collect();
            let (placed, _) = place(&samples, &edits, Scales { movie, media });
            prop_assert!(placed.iter().all(|frame| frame.duration >= 0 || frame.duration >= EARLIEST));
        }
    }
}
