//! The programs of MPEG transport streams.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::super::{Track, TrackKind};
use super::{Entry, be16};

/// The tables come several times a second, so they are near the beginning.
const LOOKED_AT: u64 = 4 << 20;
pub(in crate::decode) const SYNC: u8 = 0x47;
pub(in crate::decode) const PACKET: usize = 188;
/// The stream type of cues for advertisements (ANSI/SCTE 35), where the program says that it has such, and their name here.
const CUES: u8 = 0x86;
pub(in crate::decode) const SCTE_35: &str = "scte_35";
/// Bytes before the first packet that are passed over, and packets that have to follow where there are such bytes.
const MOST_BEFORE: usize = 64 << 10;
const FOLLOWING: usize = 10;

/// Whether most packets of this stream are scrambled: what is in the clear between them is of no use.
fn is_scrambled<'a>(packets: impl Iterator<Item = &'a [u8]>, pid: u32) -> bool {
    let (scrambled, clear): (Vec<&[u8]>, Vec<&[u8]>) =
        packets.filter(|packet| u32::from(pid_of(packet)) == pid).partition(|packet| packet[3] & 0xc0 != 0);
    scrambled.len() > clear.len()
}

/// How packets lie in a file: they are 188 bytes long, with a time before each (AVCHD) or a checksum behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::decode) struct Layout {
    /// Where the first packet begins.
    pub(in crate::decode) first: u64,
    /// How far it is from one to the next.
    pub(in crate::decode) stride: usize,
}

impl Layout {
    /// `None`: no transport stream.
    pub(in crate::decode) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut start = vec![0; MOST_BEFORE + (FOLLOWING + 1) * 204];
        let read = file.read_at(&mut start, 0)?;
        Ok(Self::told(&start[..read]))
    }

    fn told(bytes: &[u8]) -> Option<Self> {
        let fits = |first: usize, stride: usize, count: usize| {
            (0..count).all(|number| bytes.get(first + number * stride) == Some(&SYNC))
        };
        let layout = |first: usize, stride: usize| Self { first: first as u64, stride };
        let usual = [(0, PACKET), (4, 192), (0, 204)].into_iter().find(|(first, stride)| fits(*first, *stride, 3));
        usual.map(|(first, stride)| layout(first, stride)).or_else(|| {
            let places = (0..bytes.len().min(MOST_BEFORE)).filter(|place| bytes[*place] == SYNC);
            let mut all = places.flat_map(|place| [PACKET, 192, 204].map(|stride| (place, stride)));
            all.find(|(place, stride)| fits(*place, *stride, FOLLOWING)).map(|(place, stride)| layout(place, stride))
        })
    }
}

pub(super) fn read(file: &File) -> Option<Vec<Entry>> {
    let layout = Layout::of(file).ok()??;
    let mut bytes = vec![0; file.metadata().ok()?.len().min(LOOKED_AT) as usize];
    let read = file.read_at(&mut bytes, 0).ok()?;
    let packets = || {
        let all = bytes[layout.first as usize..read].chunks(layout.stride);
        all.filter_map(|packet| packet.get(..PACKET).filter(|packet| packet[0] == SYNC))
    };
    let mut entries = entries(packets());
    if entries.is_empty() {
        entries = without_tables(packets());
    }
    for entry in &mut entries {
        entry.encrypted = is_scrambled(packets(), entry.track.id);
    }
    Some(entries).filter(|entries| !entries.is_empty())
}

/// The streams of a file whose tables are missing or damaged: told by what is in them. None without video.
fn without_tables<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for packet in packets.filter(|packet| starts_unit(packet)) {
        let id = u32::from(pid_of(packet));
        let Some(unit) = payload(packet).filter(|unit| unit.starts_with(&[0, 0, 1])) else { continue };
        if entries.iter().any(|entry| entry.track.id == id) {
            continue;
        }
        if let Some((kind, codec)) = content(unit) {
            let track = Track { id, kind, codec: codec.to_owned(), default: true, ..Track::default() };
            entries.push(Entry { track, ..Entry::default() });
        }
    }
    if entries.iter().any(|entry| entry.track.kind == TrackKind::Video) { entries } else { Vec::new() }
}

/// What the first packet of a unit tells of its stream.
fn content(unit: &[u8]) -> Option<(TrackKind, &'static str)> {
    let behind_header = || unit.get(9 + usize::from(*unit.get(8)?)..);
    match unit.get(3)? {
        0xe0..=0xef => {
            let codes = unit[4..].windows(4).filter(|bytes| bytes.starts_with(&[0, 0, 1])).map(|bytes| bytes[3]);
            let codec = codes.into_iter().find_map(|code| match code {
                0xb3 => Some("mpeg2"),
                0xb0 => Some("mpeg4"),
                0x40 | 0x46 => Some("hevc"),
                0x09 | 0x67 | 0x27 | 0x47 => Some("h264"),
                _ => None,
            });
            Some((TrackKind::Video, codec?))
        }
        0xc0..=0xdf => match behind_header()?.first_chunk()? {
            // ISO/IEC 13818-7 and 11172-3: twelve ones, then the layer, which is 0 in AAC.
            [0xff, second] if second & 0xf6 == 0xf0 => Some((TrackKind::Sound, "aac")),
            [0xff, second] if second & 0xe0 == 0xe0 => Some((TrackKind::Sound, "mp2")),
            _ => None,
        },
        // Private: Dolby's sound begins with a mark, and tells its version in the sixth byte; subtitles of DVB (ETSI EN
        // 300 743) with 0x20 and 0.
        0xbd => match behind_header()? {
            [0x0b, 0x77, _, _, _, version, ..] => {
                Some((TrackKind::Sound, if version >> 3 > 10 { "eac3" } else { "ac3" }))
            }
            [0x20, 0, ..] => Some((TrackKind::Text, "dvb_subtitle")),
            _ => None,
        },
        _ => None,
    }
}

pub(in crate::decode) fn pid_of(packet: &[u8]) -> u16 {
    be16(packet, 1).unwrap_or(0) & 0x1fff
}

/// The time of the sender's clock that a packet tells, in units of a 90 000th second.
pub(in crate::decode) fn clock_of(packet: &[u8]) -> Option<i64> {
    const HAS_CLOCK: u8 = 0x10;
    let has_field = packet[3] & 0x20 != 0 && packet[4] >= 7;
    let bytes = packet.get(6..11).filter(|_| has_field && packet[5] & HAS_CLOCK != 0)?;
    let high = bytes[..4].iter().fold(0, |time, byte| time << 8 | i64::from(*byte));
    Some(high << 1 | i64::from(bytes[4] >> 7))
}

/// Whether this packet begins a new unit of its stream.
pub(in crate::decode) fn starts_unit(packet: &[u8]) -> bool {
    packet[1] & 0x40 != 0
}

/// In the order of the programs' table, and within it of each program's.
fn entries<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<Entry> {
    let mut programs: Option<Vec<(u16, u16)>> = None;
    let mut sections: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    let mut maps: BTreeMap<u16, Vec<Entry>> = BTreeMap::new();
    for packet in packets {
        let pid = pid_of(packet);
        let is_wanted = match &programs {
            None => pid == 0,
            Some(programs) => programs.iter().any(|(_, map)| *map == pid),
        };
        let Some(payload) = payload(packet).filter(|_| is_wanted) else { continue };
        let section = sections.entry(pid).or_default();
        if starts_unit(packet) {
            let pointer = usize::from(payload.first().copied().unwrap_or(0));
            *section = payload.get(1 + pointer..).unwrap_or_default().to_vec();
        } else {
            section.extend_from_slice(payload);
        }
        let Some(whole) = complete(section) else { continue };
        match (&programs, whole[0]) {
            (None, 0) => programs = Some(associations(whole)),
            (Some(_), 2) => {
                let program = be16(whole, 3).unwrap_or(0);
                maps.entry(program).or_insert_with(|| streams(whole, program));
            }
            _ => {}
        }
        if programs.as_ref().is_some_and(|all| all.iter().all(|(program, _)| maps.contains_key(program))) {
            break;
        }
    }
    let order = programs.unwrap_or_default();
    order.iter().filter_map(|(program, _)| maps.remove(program)).flatten().collect()
}

/// What a packet carries; `None` if that is nothing, or scrambled.
pub(in crate::decode) fn payload(packet: &[u8]) -> Option<&[u8]> {
    let start = match (packet[3] >> 6, packet[3] >> 4 & 3) {
        (0, 1) => 4,
        (0, 3) => 5 + usize::from(packet[4]),
        _ => return None,
    };
    packet.get(start..)
}

/// The section without its checksum, once all of it is there.
fn complete(section: &[u8]) -> Option<&[u8]> {
    let length = usize::from(be16(section, 1)? & 0xfff) + 3;
    (length >= 12).then(|| section.get(..length - 4)).flatten()
}

/// Programs and the PIDs of their maps.
fn associations(section: &[u8]) -> Vec<(u16, u16)> {
    let pairs = section.get(8..).unwrap_or_default().chunks_exact(4);
    let pairs = pairs.filter_map(|pair| Some((be16(pair, 0)?, be16(pair, 2)? & 0x1fff)));
    // Program 0 is the network's own table.
    pairs.filter(|(program, _)| *program != 0).collect()
}

fn streams(section: &[u8], program: u16) -> Vec<Entry> {
    let skipped = usize::from(be16(section, 10).unwrap_or(0) & 0xfff);
    let has_cues = registered(section.get(12..12 + skipped).unwrap_or_default(), b"CUEI");
    let mut rest = section.get(12 + skipped..).unwrap_or_default();
    let mut entries = Vec::new();
    while let (Some(&stream_type), Some(pid), Some(length)) = (rest.first(), be16(rest, 1), be16(rest, 3)) {
        let length = usize::from(length & 0xfff);
        let (kind, codec) = match stream_type {
            CUES if has_cues => (TrackKind::Other, SCTE_35.to_owned()),
            _ => meaning(stream_type, rest.get(5..5 + length).unwrap_or_default()),
        };
        let track = Track {
            id: u32::from(pid & 0x1fff),
            kind,
            codec,
            default: true,
            program: Some(program),
            ..Track::default()
        };
        entries.push(Entry { track, ..Entry::default() });
        rest = rest.get(5 + length..).unwrap_or_default();
    }
    entries
}

fn meaning(stream_type: u8, descriptors: &[u8]) -> (TrackKind, String) {
    use TrackKind::{Other, Sound, Text, Video};
    let (kind, codec) = match stream_type {
        0x01 => (Video, "mpeg1"),
        0x02 => (Video, "mpeg2"),
        0x10 => (Video, "mpeg4"),
        0x1b => (Video, "h264"),
        0x21 => (Video, "jpeg2000"),
        0x24 => (Video, "hevc"),
        0x33 => (Video, "vvc"),
        0xea => (Video, "vc1"),
        0x03 | 0x04 => (Sound, "mp2"),
        0x0f | 0x11 => (Sound, "aac"),
        0x80 => (Sound, "pcm"),
        0x81 => (Sound, "ac3"),
        0x82 | 0x85 | 0x86 => (Sound, "dts"),
        0x87 => (Sound, "eac3"),
        0x90 => (Text, "pgs"),
        // Private: the descriptors tell (DVB).
        0x06 if has(descriptors, 0x6a) => (Sound, "ac3"),
        0x06 if has(descriptors, 0x7a) => (Sound, "eac3"),
        0x06 if has(descriptors, 0x56) => (Text, "teletext"),
        0x06 if has(descriptors, 0x59) => (Text, "dvb_subtitle"),
        0x06 if registered(descriptors, b"HEVC") => (Video, "hevc"),
        0x06 if registered(descriptors, b"AV01") => (Video, "av1"),
        0x06 if registered(descriptors, b"Opus") => (Sound, "opus"),
        other => return (Other, format!("stream type {other:#04x}")),
    };
    (kind, codec.to_owned())
}

fn each(mut descriptors: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, length) = (*descriptors.first()?, usize::from(*descriptors.get(1)?));
        let body = descriptors.get(2..2 + length)?;
        descriptors = &descriptors[2 + length..];
        Some((tag, body))
    })
}

fn has(descriptors: &[u8], wanted: u8) -> bool {
    each(descriptors).any(|(tag, _)| tag == wanted)
}

/// Whether a registration descriptor says this.
fn registered(descriptors: &[u8], format: &[u8]) -> bool {
    each(descriptors).any(|(tag, body)| tag == 5 && body.starts_with(format))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pid: u16, section: &[u8]) -> Vec<u8> {
        let mut packet = vec![SYNC, 0x40 | (pid >> 8) as u8, pid as u8, 0x10, 0];
        packet.extend_from_slice(section);
        packet.resize(PACKET, 0xff);
        packet
    }

    fn section(table: u8, number: u16, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u16 + 9;
        let [high, low] = number.to_be_bytes();
        [&[table, 0xb0 | (length >> 8) as u8, length as u8, high, low, 0xc1, 0, 0], body, &[0; 4]].concat()
    }

    fn two_programs() -> Vec<Vec<u8>> {
        let programs = section(0, 9, &[0, 0, 0xe0, 16, 0, 1, 0xe1, 0, 0, 2, 0xe2, 0]);
        let radio = section(2, 1, &[0xe1, 1, 0xf0, 0, 0x0f, 0xe1, 1, 0xf0, 0]);
        let television = section(2, 2, &[0xe2, 1, 0xf0, 0, 0x06, 0xe2, 2, 0xf0, 2, 0x6a, 0, 0x1b, 0xe2, 1, 0xf0, 0]);
        vec![packet(0x200, &television), packet(0, &programs), packet(0x100, &radio), packet(0x200, &television)]
    }

    #[test]
    fn programs_and_their_streams_are_read() {
        let packets = two_programs();
        let found: Vec<_> = entries(packets.iter().map(Vec::as_slice))
            .into_iter()
            .map(|Entry { track, .. }| (track.program, track.id, track.kind, track.codec))
            .collect();
        let of = |program, id, kind, codec: &str| (Some(program), id, kind, codec.to_owned());
        assert_eq!(
            found,
            [
                of(1, 0x101, TrackKind::Sound, "aac"),
                of(2, 0x202, TrackKind::Sound, "ac3"),
                of(2, 0x201, TrackKind::Video, "h264"),
            ]
        );
    }

    #[test]
    fn a_scrambled_stream_is_told() {
        let mut packets = two_programs();
        packets[0][3] |= 0x80;
        packets[3][3] |= 0xc0;
        let told = |pid| is_scrambled(packets.iter().map(Vec::as_slice), pid);
        assert!(told(0x200) && !told(0x100) && !told(0x201));
    }

    #[test]
    fn streams_without_tables_are_told_by_their_content() {
        let unit = |pid: u16, stream: u8, data: &[u8]| {
            let mut packet = vec![SYNC, 0x40 | (pid >> 8) as u8, pid as u8, 0x10];
            packet.extend([0, 0, 1, stream, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1]);
            packet.extend_from_slice(data);
            packet.resize(PACKET, 0);
            packet
        };
        let video = unit(0x140, 0xe0, &[0, 0, 1, 9, 0x10]);
        let others = [
            unit(0x14a, 0xbd, &[0x0b, 0x77, 0, 0, 0, 16 << 3]),
            unit(0x14b, 0xbd, &[0x0b, 0x77, 0, 0, 0, 8 << 3]),
            unit(0x14c, 0xbd, &[0x20, 0, 0x0f]),
            unit(0x14d, 0xc0, &[0xff, 0xfd]),
            unit(0x14e, 0xc0, &[0xff, 0xf1]),
            unit(0x14f, 0xbd, &[1, 2, 3]),
        ];
        let told = |packets: &[Vec<u8>]| {
            let entries = without_tables(packets.iter().map(Vec::as_slice));
            entries.into_iter().map(|entry| (entry.track.id, entry.track.codec)).collect::<Vec<_>>()
        };
        let expected =
            [(0x140, "h264"), (0x14a, "eac3"), (0x14b, "ac3"), (0x14c, "dvb_subtitle"), (0x14d, "mp2"), (0x14e, "aac")];
        let expected = expected.map(|(id, codec)| (id, codec.to_owned()));
        assert_eq!(told(&[vec![video], others.to_vec()].concat()), expected);
        assert!(told(&others).is_empty(), "without video the demuxer has better words");
    }

    #[test]
    fn cues_are_told_from_sound_by_the_program() {
        let program = |descriptors: &[u8]| {
            let head = [&[0xe1, 1, 0xf0, descriptors.len() as u8], descriptors].concat();
            streams(&section(2, 1, &[&head[..], &[0x86, 0xe2, 0x58, 0xf0, 0]].concat())[..], 1).remove(0).track.codec
        };
        assert_eq!(program(b"\x05\x04CUEI"), SCTE_35);
        assert_eq!(program(&[]), "dts");
        let mut with_clock = packet(0x100, &[]);
        with_clock[3..12].copy_from_slice(&[0x30, 7, 0x10, 0, 0, 0x7b, 0x0c, 0x80, 0]);
        assert_eq!(clock_of(&with_clock), Some(63_001));
        with_clock[5] = 0;
        assert_eq!(clock_of(&with_clock), None);
    }

    #[test]
    fn packets_of_all_sizes_are_recognised() {
        for (before, behind) in [(0, 0), (4, 0), (0, 16)] {
            let pad = |packet: Vec<u8>| [vec![0; before], packet, vec![0; behind]].concat();
            let bytes: Vec<u8> = two_programs().into_iter().flat_map(pad).collect();
            let layout = Layout { first: before as u64, stride: PACKET + before + behind };
            assert_eq!(Layout::told(&bytes), Some(layout));
            let cut = [&bytes[50..], &bytes, &bytes].concat();
            let first = layout.first + layout.stride as u64 - 50;
            assert_eq!(Layout::told(&cut), Some(Layout { first, ..layout }));
        }
        assert_eq!(Layout::told(b"GGGGG"), None);
    }

    #[test]
    fn nonsense_is_no_panic() {
        for at in 0..PACKET {
            for value in [0, 1, 0x7f, 0xff] {
                let mut packets = two_programs();
                packets.iter_mut().for_each(|packet| packet[at] = value);
                entries(packets.iter().map(Vec::as_slice));
            }
        }
    }
}
