//! The tracks of Matroska and WebM files.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::pixels::Orientation;
use super::super::{Track, TrackKind};
use super::{Entry, codec_name};

/// Longest description of the tracks that is read: codecs' headers are in it, and fonts are not.
const LONGEST: u64 = 16 << 20;
/// Elements looked at before the tracks are given up.
const MOST_ELEMENTS: usize = 200;
/// Size of an element whose end is not known yet.
const UNKNOWN: u64 = u64::MAX;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const VIDEO: u32 = 0xe0;
const PROJECTION: u32 = 0x7670;
const ENCODINGS: u32 = 0x6d80;
const ENCODING: u32 = 0x6240;
const ENCRYPTION: u32 = 0x5035;

pub(super) fn read(file: &File) -> Option<Vec<Entry>> {
    let mut at = 0;
    let mut first = true;
    for _ in 0..MOST_ELEMENTS {
        let mut head = [0; 12];
        let length = file.read_at(&mut head, at).ok()?;
        let (id, size, head_length) = element_head(&head[..length])?;
        if std::mem::take(&mut first) && id != EBML {
            return None;
        }
        let body = at + head_length as u64;
        match id {
            SEGMENT => at = body,
            // What lies behind the pictures is not looked for.
            CLUSTER => return None,
            TRACKS if size <= LONGEST => {
                let mut tracks = vec![0; size as usize];
                file.read_exact_at(&mut tracks, body).ok()?;
                let entries: Vec<Entry> = children(&tracks)
                    .filter(|(id, _)| *id == TRACK_ENTRY)
                    .filter_map(|(_, body)| entry(body))
                    .collect();
                return (!entries.is_empty()).then_some(entries);
            }
            _ if size == UNKNOWN => return None,
            _ => at = body.checked_add(size)?,
        }
    }
    None
}

fn entry(body: &[u8]) -> Option<Entry> {
    // The defaults of the format.
    let mut entry = Entry { track: Track { default: true, ..Track::default() }, ..Entry::default() };
    let mut enabled = true;
    for (id, value) in children(body) {
        match id {
            0xd7 => entry.track.id = u32::try_from(unsigned(value)).ok()?,
            0x83 => {
                entry.track.kind = match unsigned(value) {
                    1 => TrackKind::Video,
                    2 => TrackKind::Sound,
                    17 => TrackKind::Text,
                    _ => TrackKind::Other,
                }
            }
            0x88 => entry.track.default = unsigned(value) != 0,
            0xb9 => enabled = unsigned(value) != 0,
            // Texts may be filled up with zeros.
            0x86 => entry.track.codec = codec_name(String::from_utf8_lossy(value).trim_end_matches('\0')),
            ENCODINGS => {
                let mut encodings = children(value).filter(|(id, _)| *id == ENCODING);
                entry.encrypted = encodings.any(|(_, encoding)| children(encoding).any(|(id, _)| id == ENCRYPTION));
            }
            VIDEO => {
                for (id, value) in children(value) {
                    match id {
                        0xb0 => entry.track.width = u32::try_from(unsigned(value)).ok(),
                        0xba => entry.track.height = u32::try_from(unsigned(value)).ok(),
                        PROJECTION => entry.orientation = orientation(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    entry.track.default &= enabled;
    Some(entry)
}

/// A projection that only turns by quarters, or mirrors (a yaw of 180°), is a flat picture that lies on its side. The
/// roll is counter-clockwise, and of what is mirrored already, as FFmpeg has it.
fn orientation(projection: &[u8]) -> Option<Orientation> {
    let (mut yaw, mut pitch, mut roll) = (0.0, 0.0, 0.0);
    for (id, value) in children(projection) {
        match id {
            0x7673 => yaw = float(value)?,
            0x7674 => pitch = float(value)?,
            0x7675 => roll = float(value)?,
            _ => {}
        }
    }
    let mirrored = yaw.abs() == 180.0;
    if pitch != 0.0 || yaw != 0.0 && !mirrored || roll % 90.0 != 0.0 || roll.abs() > 360.0 {
        return None;
    }
    let quarters = (roll / 90.0) as i32;
    Some(Orientation { mirrored, quarters: (-quarters).rem_euclid(4) as u8 })
}

/// Id, size and length of the head of the element that begins here.
pub(in crate::decode) fn element_head(bytes: &[u8]) -> Option<(u32, u64, usize)> {
    let id_length = bytes.first()?.leading_zeros() as usize + 1;
    if id_length > 4 {
        return None;
    }
    let id = bytes.get(..id_length)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let rest = &bytes[id_length..];
    let size_length = rest.first()?.leading_zeros() as usize + 1;
    if size_length > 8 {
        return None;
    }
    let raw = rest.get(..size_length)?.iter().fold(0u64, |size, byte| size << 8 | u64::from(*byte));
    let mask = (1u64 << (7 * size_length)) - 1;
    let size = if raw & mask == mask { UNKNOWN } else { raw & mask };
    Some((id, size, id_length + size_length))
}

pub(in crate::decode) fn children(mut body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, size, head) = element_head(body)?;
        let rest = &body[head..];
        let (value, behind) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        body = behind;
        Some((id, value))
    })
}

pub(in crate::decode) fn unsigned(value: &[u8]) -> u64 {
    value.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn float(value: &[u8]) -> Option<f64> {
    match value.len() {
        0 => Some(0.0),
        4 => Some(f64::from(f32::from_be_bytes(value.try_into().ok()?))),
        8 => Some(f64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn element(id: u32, body: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        [id, (0x0800_0000_u32 << 1 | body.len() as u32).to_be_bytes().to_vec(), body.to_vec()].concat()
    }

    fn track(number: u8, kind: u8, more: &[u8]) -> Vec<u8> {
        element(TRACK_ENTRY, &[element(0xd7, &[number]), element(0x83, &[kind]), more.to_vec()].concat())
    }

    fn file(tracks: &[Vec<u8>]) -> tempfile::NamedTempFile {
        let body = [element(0xec, &[0; 9]), element(TRACKS, &tracks.concat())].concat();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[element(EBML, &[]), element(SEGMENT, &body)].concat()).unwrap();
        file
    }

    fn read_back(tracks: &[Vec<u8>]) -> Option<Vec<Entry>> {
        read(file(tracks).as_file())
    }

    #[test]
    fn numbers_kinds_sizes_and_flags_are_read() {
        let size = element(VIDEO, &[element(0xb0, &[1, 64]), element(0xba, &[240])].concat());
        let other = [element(0x88, &[0]), element(0x86, b"V_VP9\0"), size].concat();
        let tracks = read_back(&[track(3, 2, &[]), track(7, 1, &other), track(8, 1, &element(0xb9, &[0]))]).unwrap();
        assert_eq!((tracks[0].track.id, tracks[0].track.kind, tracks[0].track.default), (3, TrackKind::Sound, true));
        let video = &tracks[1].track;
        assert_eq!((video.id, video.width, video.height, video.default), (7, Some(320), Some(240), false));
        assert_eq!((video.kind, video.codec.as_str()), (TrackKind::Video, "vp9"));
        assert!(!tracks[2].track.default, "a track that is not enabled is nobody's default");
    }

    #[test]
    fn a_roll_turns_and_a_yaw_of_half_a_turn_mirrors() {
        let turned = |yaw: f32, pitch: f32, roll: f32| {
            let part = |id, value: f32| element(id, &value.to_be_bytes());
            let projection = [part(0x7673, yaw), part(0x7674, pitch), part(0x7675, roll)].concat();
            let video = element(VIDEO, &element(PROJECTION, &projection));
            read_back(&[track(1, 1, &video)]).unwrap()[0].orientation
        };
        let of = |mirrored, quarters| Some(Orientation { mirrored, quarters });
        assert_eq!(turned(0.0, 0.0, 90.0), of(false, 3));
        assert_eq!(turned(0.0, 0.0, -90.0), of(false, 1));
        assert_eq!(turned(0.0, 0.0, 180.0), of(false, 2));
        assert_eq!(turned(180.0, 0.0, 0.0), of(true, 0));
        assert_eq!(turned(180.0, 0.0, 90.0), of(true, 3), "FFmpeg transposes it");
        assert_eq!(turned(0.0, 30.0, 0.0), None);
        assert_eq!(turned(0.0, 0.0, 45.0), None);
    }

    #[test]
    fn nonsense_is_no_panic() {
        let whole = file(&[track(1, 1, &element(VIDEO, &[1, 2, 3]))]);
        let bytes = std::fs::read(whole.path()).unwrap();
        for cut in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[cut] = value;
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&damaged).unwrap();
                let _ = read(file.as_file());
                file.as_file().set_len(cut as u64).unwrap();
                let _ = read(file.as_file());
            }
        }
    }
}
