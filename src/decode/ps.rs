//! The video of a program stream (DVDs, old camcorders), taken out of it with the times that players show.
//!
//! GStreamer 1.22's demuxer loses the last frame, and gives no sound where there is little of it, so that nobody knows when
//! the medium starts. So the packets of the video are put together here, and their time stamps are continued as those of
//! transport streams are. What is in them is still GStreamer's to read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ts::{BUFFER, Clock, Header, LARGEST_UNIT, LOOKED_AT, WRAP, fill, nanos, time_at, unwrapped};
use super::unit::Unit;
use super::{Track, TrackKind};

/// The least of the codes that begin what a program stream is made of; those of video are smaller.
const LEAST_CODE: u8 = 0xb9;
const END: u8 = 0xb9;
const PACK: u8 = 0xba;
const SYSTEM_HEADER: u8 = 0xbb;
const MAP: u8 = 0xbc;
/// Sound of DVDs and their subtitles, by a number in the first byte.
const PRIVATE: u8 = 0xbd;
const SUBTITLES: std::ops::RangeInclusive<u8> = 0x20..=0x3f;
const SOUND: std::ops::RangeInclusive<u8> = 0xc0..=0xdf;
const VIDEO: std::ops::RangeInclusive<u8> = 0xe0..=0xef;
/// A file that is one has so many parts behind each other within this length.
const PARTS: usize = 4;
const BEGINNING: usize = 64 << 10;
/// The codec is known once so much of the video was seen.
const ENOUGH: usize = 256 << 10;

/// Where the video of a program stream is, and when.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// The code of its packets.
    video: u8,
    /// As GStreamer describes it.
    pub(super) caps: &'static str,
    /// As those of a transport stream.
    pub(super) zero: i64,
    pub(super) origin: i64,
    pub(super) duration: Option<Duration>,
    pub(super) tracks: Vec<Track>,
}

/// The video's units, one after the other.
#[derive(Debug)]
pub(super) struct Units {
    packets: Packets,
    video: u8,
    /// What was last put together, until the next that has a time.
    unit: Option<Unit>,
    clock: Clock,
}

impl Program {
    /// `None`: no program stream, or none whose video is known here.
    pub(super) fn find(path: &Path) -> io::Result<Option<Self>> {
        let mut beginning = vec![0; BEGINNING];
        let length = fill(&mut File::open(path)?, &mut beginning)?;
        if !is_program_stream(&beginning[..length]) {
            return Ok(None);
        }
        let Some((video, start)) = beginning_of_video(path)? else { return Ok(None) };
        let Some(caps) = caps(&start) else { return Ok(None) };
        let firsts = first_times(path, video)?;
        let Some(first) = firsts.get(&(video, 0)).map(|first| first + WRAP) else { return Ok(None) };
        let start = firsts.values().map(|time| unwrapped(*time, first)).min().unwrap_or(first);
        let last = last_time(path, video)?.map(|last| unwrapped(last, first)).filter(|last| *last > start);
        let duration = last.map(|last| Duration::from_nanos(nanos(last - start).unsigned_abs()));
        let (zero, origin) = (nanos(start), -nanos(WRAP));
        let tracks = (0..).zip(firsts.keys()).map(|(id, part)| track(id, *part, video, caps)).collect();
        Ok(Some(Self { path: path.to_path_buf(), video, caps, zero, origin, duration, tracks }))
    }

    pub(super) fn open(&self) -> io::Result<Units> {
        let packets = Packets::open(&self.path, 0)?;
        Ok(Units { packets, video: self.video, unit: None, clock: Clock::default() })
    }
}

impl Units {
    /// `None`: the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        loop {
            let Some((code, body)) = self.packets.next()? else { return Ok(self.unit.take()) };
            if code != self.video {
                continue;
            }
            let Some(header) = header(&body) else { continue };
            let data = &body[header.length..];
            match &mut self.unit {
                Some(unit) if header.pts.is_none() && unit.data.len() < LARGEST_UNIT => {
                    unit.data.extend_from_slice(data);
                }
                unit => {
                    let (pts, dts) = self.clock.place(Some(&header));
                    if let Some(whole) = unit.replace(Unit { data: data.to_vec(), pts, dts, ..Unit::default() }) {
                        return Ok(Some(whole));
                    }
                }
            }
        }
    }
}

/// Whether parts of a program stream lie here one behind the other.
fn is_program_stream(bytes: &[u8]) -> bool {
    let is_code = |bytes: &[u8]| bytes.starts_with(&[0, 0, 1]) && bytes.get(3).is_some_and(|code| *code >= LEAST_CODE);
    let Some(mut at) = bytes.windows(4).position(is_code) else { return false };
    let mut has_pack = false;
    for _ in 0..PARTS {
        let Some(part) = bytes.get(at..).filter(|part| is_code(part)) else { return false };
        let length = match part[3] {
            PACK => match part.get(4).map(|byte| byte >> 6) {
                Some(1) => part.get(13).map(|byte| 14 + usize::from(byte & 7)),
                _ => Some(12),
            },
            END => Some(4),
            _ => part.get(4..6).map(|length| 6 + usize::from(u16::from_be_bytes([length[0], length[1]]))),
        };
        has_pack |= part[3] == PACK;
        let Some(length) = length else { return false };
        at += length;
    }
    has_pack
}

/// The code of the first video, and what it begins with.
fn beginning_of_video(path: &Path) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut packets = Packets::open(path, 0)?;
    let (mut video, mut start) = (None, Vec::new());
    while packets.read < LOOKED_AT && start.len() < ENOUGH {
        let Some((code, body)) = packets.next()? else { break };
        if VIDEO.contains(&code)
            && code == *video.get_or_insert(code)
            && let Some(header) = header(&body)
        {
            start.extend_from_slice(&body[header.length..]);
        }
    }
    Ok(video.map(|video| (video, start)))
}

fn track(id: u32, (code, number): (u8, u8), video: u8, caps: &str) -> Track {
    let taken = code == video;
    let kind = if taken { TrackKind::Video } else { TrackKind::Sound };
    let codec = match number {
        _ if taken && caps.contains("h264") => "h264",
        _ if taken && caps.contains("mpegversion=1") => "mpeg1",
        _ if taken => "mpeg2",
        0x80..=0x87 => "ac3",
        0x88..=0x8f => "dts",
        0xa0..=0xaf => "pcm",
        _ => "mp2",
    };
    Track { id, kind, codec: codec.to_owned(), taken, ..Track::default() }
}

fn caps(video: &[u8]) -> Option<&'static str> {
    const SEQUENCE: u8 = 0xb3;
    const EXTENSION: u8 = 0xb5;
    let codes = || video.windows(4).filter(|bytes| bytes.starts_with(&[0, 0, 1])).map(|bytes| bytes[3]);
    if codes().any(|code| code == SEQUENCE) {
        return Some(match codes().any(|code| code == EXTENSION) {
            true => "video/mpeg,mpegversion=2,systemstream=false",
            false => "video/mpeg,mpegversion=1,systemstream=false",
        });
    }
    // A sequence parameter set.
    let is_h264 = codes().any(|code| code & 0x1f == 7 && code < 0x80);
    is_h264.then_some("video/x-h264,stream-format=byte-stream")
}

/// The first time of the video and of everything with sound.
fn first_times(path: &Path, video: u8) -> io::Result<BTreeMap<(u8, u8), i64>> {
    let mut packets = Packets::open(path, 0)?;
    let mut times = BTreeMap::new();
    while packets.read < LOOKED_AT
        && let Some((code, body)) = packets.next()?
    {
        let Some(header) = header(&body) else { continue };
        let number = match (code, body.get(header.length)) {
            (PRIVATE, Some(number)) if !SUBTITLES.contains(number) => *number,
            (PRIVATE, _) => continue,
            (code, _) if code == video || SOUND.contains(&code) => 0,
            _ => continue,
        };
        if let Some(time) = header.pts {
            times.entry((code, number)).or_insert(time);
        }
    }
    Ok(times)
}

fn last_time(path: &Path, video: u8) -> io::Result<Option<i64>> {
    let length = std::fs::metadata(path)?.len();
    let mut packets = Packets::open(path, length.saturating_sub(LOOKED_AT))?;
    let mut last = None;
    while let Some((code, body)) = packets.next()? {
        if code == video {
            last = header(&body).and_then(|header| header.pts).or(last);
        }
    }
    Ok(last)
}

/// What the body of a packet begins with; `None`: nothing that can be read.
fn header(body: &[u8]) -> Option<Header> {
    if body.first()? >> 6 == 2 {
        return Header::behind_length(body);
    }
    // ISO/IEC 11172-1: filling, the size of a buffer, and times.
    let filling = body.iter().take_while(|byte| **byte == 0xff).count();
    let buffer = if body.get(filling)? >> 6 == 1 { 2 } else { 0 };
    let at = filling + buffer;
    let kind = body.get(at)? >> 4;
    let (length, has_pts, has_dts) = match kind {
        2 => (5, true, false),
        3 => (10, true, true),
        _ => (1, false, false),
    };
    let length = (at + length).min(body.len());
    let pts = time_at(body, at).filter(|_| has_pts);
    Some(Header { length, pts, dts: time_at(body, at + 5).filter(|_| has_dts) })
}

/// The packets of a file.
#[derive(Debug)]
struct Packets {
    input: BufReader<File>,
    /// Bytes read so far.
    read: u64,
}

impl Packets {
    /// From the first packet at or behind this place.
    fn open(path: &Path, from: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Self { input: BufReader::with_capacity(BUFFER, file), read: 0 })
    }

    /// The code of the next packet and its body; `None`: the end.
    fn next(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            let Some(code) = self.next_code()? else { return Ok(None) };
            if code < LEAST_CODE || [END, PACK].contains(&code) {
                continue;
            }
            let mut length = [0; 2];
            self.take(&mut length)?;
            let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
            let there = self.take(&mut body)?;
            body.truncate(there);
            if ![SYSTEM_HEADER, MAP].contains(&code) {
                return Ok(Some((code, body)));
            }
        }
    }

    /// What stands behind the next 0, 0, 1.
    fn next_code(&mut self) -> io::Result<Option<u8>> {
        let mut zeros = 0;
        let mut byte = [0];
        while self.take(&mut byte)? == 1 {
            match byte[0] {
                0 => zeros += 1,
                1 if zeros >= 2 => return Ok((self.take(&mut byte)? == 1).then_some(byte[0])),
                _ => zeros = 0,
            }
        }
        Ok(None)
    }

    fn take(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let there = fill(&mut self.input, to)?;
        self.read += there as u64;
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const PACK_HEADER: [u8; 12] = [0, 0, 1, PACK, 0x21, 0, 1, 0, 1, 0x80, 0, 1];

    fn stamp(mark: u8, time: u64) -> [u8; 5] {
        let low = |bits: u64| (bits << 1 | 1) as u8;
        [
            mark << 4 | (time >> 30 << 1 | 1) as u8,
            (time >> 22) as u8,
            low(time >> 15 & 0x7f),
            (time >> 7) as u8,
            low(time & 0x7f),
        ]
    }

    fn packet(code: u8, body: &[u8]) -> Vec<u8> {
        [&[0, 0, 1, code], &(body.len() as u16).to_be_bytes()[..], body].concat()
    }

    /// As MPEG-2 has it.
    fn timed(code: u8, pts: u64, data: &[u8]) -> Vec<u8> {
        packet(code, &[&[0x80, 0x80, 5][..], &stamp(2, pts), data].concat())
    }

    /// As MPEG-1 has it, with filling and the size of a buffer.
    fn timed_old(code: u8, pts: u64, dts: u64, data: &[u8]) -> Vec<u8> {
        packet(code, &[&[0xff, 0xff, 0x60, 0x20][..], &stamp(3, pts), &stamp(1, dts), data].concat())
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn stream() -> Vec<u8> {
        [
            // The end of something before it.
            &[9; 20][..],
            &PACK_HEADER,
            &packet(SYSTEM_HEADER, &[0; 6]),
            &timed_old(0xe0, 93_600, 90_000, &[0, 0, 1, 0xb3, 1]),
            &packet(0xe0, &[0x0f, 2]),
            &PACK_HEADER,
            &timed(PRIVATE, 9_000, &[0x20, 7]),
            &timed(PRIVATE, 89_700, &[0x80, 7]),
            &timed(0xe1, 1, &[8]),
            &timed(0xe0, 97_200, &[3]),
        ]
        .concat()
    }

    #[test]
    fn packets_become_units_and_the_first_sound_begins_the_medium() {
        let file = file(&stream());
        let program = Program::find(file.path()).unwrap().unwrap();
        assert_eq!(program.caps, "video/mpeg,mpegversion=1,systemstream=false");
        assert_eq!(program.zero, nanos(WRAP + 89_700));
        assert_eq!(program.duration, Some(Duration::from_nanos(nanos(97_200 - 89_700) as u64)));
        let tracks: Vec<_> = program.tracks.iter().map(|track| (track.codec.as_str(), track.taken)).collect();
        assert_eq!(tracks, [("ac3", false), ("mpeg1", true)]);
        let mut units = program.open().unwrap();
        let time = |units| Some(nanos(WRAP + units));
        let first = Unit { data: vec![0, 0, 1, 0xb3, 1, 2], pts: time(93_600), dts: time(90_000), ..Unit::default() };
        assert_eq!(units.next().unwrap(), Some(first));
        assert_eq!(units.next().unwrap(), Some(Unit { data: vec![3], pts: time(97_200), ..Unit::default() }));
        assert_eq!(units.next().unwrap(), None);
    }

    #[test]
    fn codecs_are_recognised() {
        assert_eq!(caps(&[0, 0, 1, 0xb3, 0, 0, 1, 0xb5]), Some("video/mpeg,mpegversion=2,systemstream=false"));
        assert_eq!(caps(&[0, 0, 0, 1, 9, 0, 0, 1, 0x67]), Some("video/x-h264,stream-format=byte-stream"));
        assert_eq!(caps(&[0, 0, 1, 0xb0, 0, 0, 1, 0xb6]), None);
    }

    #[test]
    fn other_files_are_none() {
        for bytes in [&b"a shopping list"[..], &[0, 0, 1, 0xb3, 0, 0, 1, 0xba], &[], &PACK_HEADER] {
            assert!(Program::find(file(bytes).path()).unwrap().is_none());
        }
    }

    proptest! {
        #[test]
        fn damaged_files_are_no_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            length in 0usize..200,
        ) {
            let mut bytes = stream();
            bytes.truncate(length);
            for (at, value) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            let file = file(&bytes);
            if let Some(program) = Program::find(file.path()).unwrap() {
                let mut units = program.open().unwrap();
                while units.next().unwrap().is_some() {}
            }
        }
    }
}
