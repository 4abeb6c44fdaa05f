//! The tracks of ASF (WMV) files.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::{Track, TrackKind};
use super::avi::{le32, sound_name};
use super::{Entry, codec_name};

/// The header comes first and is short, unless pictures are in it.
const LONGEST: u64 = 16 << 20;
const HEADER: [u8; 16] = *b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
const STREAM: [u8; 16] = *b"\x91\x07\xdc\xb7\xb7\xa9\xcf\x11\x8e\xe6\x00\xc0\x0c\x20\x53\x65";
const VIDEO: [u8; 16] = *b"\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b";
const SOUND: [u8; 16] = *b"\x40\x9e\x69\xf8\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b";
/// Of every object: what it is, and its length.
const HEAD: usize = 24;

pub(super) fn read(file: &File) -> Option<Vec<Entry>> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0).ok()?;
    let length = length(&head).filter(|length| head.starts_with(&HEADER) && *length <= LONGEST)?;
    let mut header = vec![0; length.min(file.metadata().ok()?.len()) as usize];
    file.read_exact_at(&mut header, 0).ok()?;
    entries(&header)
}

fn entries(header: &[u8]) -> Option<Vec<Entry>> {
    // The number of objects and two reserved bytes.
    let mut rest = header.get(HEAD + 6..)?;
    let mut entries = Vec::new();
    while let Some(length) = length(rest).and_then(|length| usize::try_from(length).ok()) {
        let Some(object) = rest.get(..length).filter(|object| object.len() >= HEAD) else { break };
        if object.starts_with(&STREAM) {
            entries.extend(entry(&object[HEAD..]));
        }
        rest = &rest[length..];
    }
    (!entries.is_empty()).then_some(entries)
}

fn entry(stream: &[u8]) -> Option<Entry> {
    let mut track = Track { id: u32::from(stream.get(48)? & 0x7f), ..Track::default() };
    let format = stream.get(54..)?;
    match *stream.first_chunk::<16>()? {
        VIDEO => {
            track.kind = TrackKind::Video;
            (track.width, track.height) = (le32(format, 0), le32(format, 4));
            let word = format.get(27..31).unwrap_or_default();
            track.codec = codec_name(&String::from_utf8_lossy(word).to_lowercase());
        }
        SOUND => {
            track.kind = TrackKind::Sound;
            track.codec = sound_name(format.get(..2).map_or(0, |tag| u16::from_le_bytes([tag[0], tag[1]])));
        }
        _ => {}
    }
    Some(Entry { track, ..Entry::default() })
}

fn length(object: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(object.get(16..HEAD)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &[u8; 16], content: &[u8]) -> Vec<u8> {
        [&kind[..], &((HEAD + content.len()) as u64).to_le_bytes(), content].concat()
    }

    #[test]
    fn tracks_are_read() {
        let stream = |kind: [u8; 16], number: u8, format: &[u8]| {
            object(&STREAM, &[&kind[..], &[0; 32], &[number, 0], &[0; 4], format].concat())
        };
        let size = |value: u32| value.to_le_bytes();
        let picture = [&size(640)[..], &size(480), &[0; 3], &[0; 16], b"WMV3", &[0; 20]].concat();
        let objects = [stream(SOUND, 1, &[0x61, 1]), object(&[7; 16], &[0; 9]), stream(VIDEO, 2, &picture)].concat();
        let header = object(&HEADER, &[&[0; 6][..], &objects].concat());
        let found = entries(&header).unwrap();
        let (sound, video) = (&found[0].track, &found[1].track);
        assert_eq!((sound.id, sound.kind, sound.codec.as_str()), (1, TrackKind::Sound, "wma"));
        assert_eq!((video.id, video.kind, video.codec.as_str()), (2, TrackKind::Video, "wmv3"));
        assert_eq!((video.width, video.height), (Some(640), Some(480)));
        for at in 0..header.len() {
            entries(&header[..at]);
            let mut wrong = header.clone();
            wrong[at] ^= 0xff;
            entries(&wrong);
        }
    }
}
