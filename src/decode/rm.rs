//! When the pictures of a RealMedia file are shown: GStreamer 1.22's demuxer loses the times of those that lie in one packet
//! with others, and those of B pictures stand in the pictures themselves.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const MAGIC: &[u8] = b".RMF";
/// Of the part that describes a stream: before what is said of the codec, and that of a video.
const STREAM_NUMBER_AT: usize = 0;
const START_AT: usize = 18;
const VIDEO: &[u8] = b"VIDO";
/// Kind, length and version of each part of the file, and what the part with the packets has behind them.
const PART_HEAD: usize = 10;
const DATA_HEAD: usize = 8;
/// Version, length, stream, time, and two bytes more.
const PACKET_HEAD: usize = 12;
const LONGEST_DESCRIPTION: usize = 1 << 20;
const MILLISECOND: i64 = 1_000_000;

/// When the first of all streams begins, and the times of the first video in the order of the file. All in nanoseconds.
pub(super) fn times(path: &Path) -> io::Result<(Option<i64>, Vec<i64>)> {
    let mut input = BufReader::new(File::open(path)?);
    let mut head = [0; PART_HEAD];
    let (mut begins, mut video, mut first) = (None, None, true);
    loop {
        if input.read_exact(&mut head).is_err() || std::mem::take(&mut first) && !head.starts_with(MAGIC) {
            return Ok((begins, Vec::new()));
        }
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some(body) = length.checked_sub(PART_HEAD) else { return Ok((begins, Vec::new())) };
        match (&head[..4], video) {
            (b"DATA", Some(video)) => {
                input.seek_relative(DATA_HEAD as i64)?;
                return Ok((begins, packets(&mut input, video)?));
            }
            (b"MDPR", _) if body <= LONGEST_DESCRIPTION => {
                let mut description = vec![0; body];
                input.read_exact(&mut description)?;
                let start = number(&description, START_AT).zip(number(&description, START_AT + 2));
                let start = start.map(|(high, low)| (i64::from(high) << 16 | i64::from(low)) * MILLISECOND);
                begins = begins.into_iter().chain(start).min();
                if video.is_none() && description.windows(VIDEO.len()).any(|bytes| bytes == VIDEO) {
                    video = number(&description, STREAM_NUMBER_AT);
                }
            }
            _ => input.seek_relative(body as i64)?,
        }
    }
}

fn packets(input: &mut impl Read, video: u16) -> io::Result<Vec<i64>> {
    let mut pictures = Pictures::default();
    let mut head = [0; PACKET_HEAD];
    while input.read_exact(&mut head).is_ok() {
        let [version, length, stream] = [0, 2, 4].map(|at| u16::from_be_bytes([head[at], head[at + 1]]));
        let Some(length) = usize::from(length).checked_sub(PACKET_HEAD).filter(|_| version <= 1) else { break };
        let mut body = vec![0; length];
        if input.read_exact(&mut body).is_err() {
            break;
        }
        if stream == video {
            let time = u32::from_be_bytes([head[6], head[7], head[8], head[9]]);
            // The second version has a byte more.
            let body = body.get(usize::from(version)..).unwrap_or(&[]);
            pictures.add(body, i64::from(time));
        }
    }
    Ok(pictures.times)
}

/// Pictures are put together as FFmpeg does it.
#[derive(Debug, Default)]
struct Pictures {
    times: Vec<i64>,
    /// Of the picture that is not complete: its number, and how many bytes of it are still to come.
    open: Option<(u8, usize)>,
}

impl Pictures {
    /// `None`: the packet is not read to its end.
    fn add(&mut self, packet: &[u8], time: i64) -> Option<()> {
        let mut rest = packet;
        while let Some((kind, behind)) = rest.split_first() {
            rest = behind;
            let kind = kind >> 6;
            let mut sequence = 0;
            if kind != 3 {
                sequence = take(&mut rest)?;
            }
            let (mut size, mut place, mut picture) = (0, 0, 0);
            if kind != 1 {
                (size, place) = (length(&mut rest)?, length(&mut rest)?);
                picture = take(&mut rest)?;
            }
            match kind {
                // The whole picture.
                1 => {
                    self.times.push(time * MILLISECOND);
                    return Some(());
                }
                // A picture among others.
                3 => {
                    self.times.push(place as i64 * MILLISECOND);
                    rest = rest.get(size..)?;
                }
                _ => {
                    if sequence & 0x7f == 1 || self.open.is_none_or(|(open, _)| open != picture) {
                        self.open = Some((picture, size));
                    }
                    let there = if kind == 2 { place.min(rest.len()) } else { rest.len() };
                    rest = &rest[there..];
                    let missing = self.open.map_or(0, |(_, missing)| missing.saturating_sub(there));
                    self.open = Some((picture, missing));
                    if kind == 2 || missing == 0 {
                        self.times.push(time * MILLISECOND);
                        self.open = None;
                    }
                }
            }
        }
        Some(())
    }
}

/// When pictures of RealVideo 3 and 4 are shown. Their own clocks count milliseconds and begin anew after 2^13.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// How far the kind of a picture and its time are shifted in the four bytes that it begins with.
    kind: u32,
    time: u32,
    /// Of the last picture that others refer to: when it is shown, and what its clock says.
    reference: Option<(i64, u32)>,
}

impl Clock {
    /// `version`: of RealVideo. `None`: its pictures do not tell.
    pub(super) fn new(version: i32) -> Option<Self> {
        let (kind, time) = match version {
            3 => (27, 7),
            4 => (29, 6),
            _ => return None,
        };
        Some(Self { kind, time, reference: None })
    }

    /// Whether the picture needs others before it. Containers call all pictures of a packet key frames if the first is one.
    pub(super) fn needs_others(&self, picture: &[u8]) -> bool {
        const P: u32 = 2;
        head(picture).is_some_and(|head| head >> self.kind & 3 >= P)
    }

    /// `told`: by the container.
    pub(super) fn place(&mut self, picture: &[u8], told: i64) -> i64 {
        const B: u32 = 3;
        const LAST: u32 = 0x1fff;
        let Some(head) = head(picture) else { return told };
        let own = head >> self.time & LAST;
        match self.reference {
            Some((shown, clock)) if head >> self.kind & 3 == B => {
                shown - i64::from(clock.wrapping_sub(own) & LAST) * MILLISECOND
            }
            _ => {
                self.reference = Some((told, own));
                told
            }
        }
    }
}

/// What a picture begins with, behind a table of its slices: how many there are behind the first, and eight bytes of each.
fn head(picture: &[u8]) -> Option<u32> {
    let start = 9 + 8 * usize::from(*picture.first()?);
    Some(u32::from_be_bytes(picture.get(start..start + 4)?.try_into().ok()?))
}

fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (first, behind) = bytes.split_first()?;
    *bytes = behind;
    Some(*first)
}

/// In two bytes with a mark, or in four.
fn length(bytes: &mut &[u8]) -> Option<usize> {
    const SHORT: u16 = 0x4000;
    let first = number(bytes, 0)? & 0x7fff;
    if first >= SHORT {
        *bytes = &bytes[2..];
        return Some(usize::from(first - SHORT));
    }
    let second = number(bytes, 2)?;
    *bytes = &bytes[4..];
    Some(usize::from(first) << 16 | usize::from(second))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn part(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&kind[..], &(body.len() as u32 + 10).to_be_bytes(), &[0; 2], body].concat()
    }

    fn packet(stream: u16, time: u32, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u16 + 12;
        [&[0, 0], &length.to_be_bytes()[..], &stream.to_be_bytes(), &time.to_be_bytes(), &[0, 2], body].concat()
    }

    fn file() -> Vec<u8> {
        let short = |value: u16| (value | 0x4000).to_be_bytes();
        let among_others =
            |time: u16, data: &[u8]| [&[0xc0][..], &short(data.len() as u16), &short(time), &[1], data].concat();
        // A picture of 9 bytes: 4 and 5, the second with a long number.
        let begin = [&[0x00, 0x01][..], &short(9), &short(0), &[3], &[7; 4]].concat();
        let end = [&[0x80, 0x02][..], &[0, 0, 0, 9], &short(5), &[3], &[7; 5]].concat();
        let packets = [
            packet(1, 0, &[&[0x40, 0x01][..], &[7; 20]].concat()),
            packet(0, 5, &[0xc0; 30]),
            packet(1, 80, &[among_others(81, &[7; 3]), among_others(120, &[7; 9])].concat()),
            packet(1, 160, &begin),
            packet(1, 161, &[end, among_others(200, &[7; 3])].concat()),
        ];
        let data = part(b"DATA", &[&[0; 8][..], &packets.concat()].concat());
        let sound = part(b"MDPR", &[0; 40]);
        let video = part(b"MDPR", &[&[0, 1][..], &[0; 40], b"VIDORV20"].concat());
        [part(MAGIC.try_into().unwrap(), &[0; 8]), sound, video, data, b"INDX".to_vec()].concat()
    }

    fn read(bytes: &[u8]) -> (Option<i64>, Vec<i64>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        times(file.path()).unwrap_or_default()
    }

    #[test]
    fn every_picture_has_its_time() {
        let times = [0, 81, 120, 161, 200].map(|time| time * MILLISECOND);
        assert_eq!(read(&file()), (Some(0), times.to_vec()));
        assert_eq!(read(b"a shopping list"), (None, Vec::new()));
    }

    #[test]
    fn b_pictures_are_shown_before_the_one_that_they_follow() {
        // Two slices, and behind their table kind and time.
        let picture = |kind: u32, time: u32| [&[1; 17][..], &(kind << 27 | time << 7).to_be_bytes()].concat();
        let mut clock = Clock::new(3).unwrap();
        let shown = [(0, 8190, 1), (2, 100, 134), (3, 8190 + 33, 135), (3, 66, 136), (2, 233, 266)];
        let shown = shown.map(|(kind, own, told)| clock.place(&picture(kind, own & 0x1fff), told * MILLISECOND));
        assert_eq!(shown.map(|time| time / MILLISECOND), [1, 134, 134 - 69, 134 - 34, 266]);
        assert_eq!(clock.place(&[], 5), 5);
        assert_eq!([0, 1, 2, 3].map(|kind| clock.needs_others(&picture(kind, 5))), [false, false, true, true]);
        assert!(Clock::new(2).is_none());
    }

    proptest! {
        #[test]
        fn damaged_files_are_no_panic(at in 0usize..400, value: u8, length in 0usize..400) {
            let mut bytes = file();
            bytes.truncate(length);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            read(&bytes);
        }
    }
}
