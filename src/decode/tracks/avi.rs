//! The tracks of AVI files.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::{Track, TrackKind};
use super::{Entry, codec_name};

/// The headers come first and are short.
const LOOKED_AT: usize = 1 << 20;

/// GStreamer's demuxer counts tracks from 1 on.
pub(super) const ADDED: u32 = 1;

pub(super) fn is_avi(file: &File) -> bool {
    let mut head = [0; 12];
    file.read_exact_at(&mut head, 0).is_ok_and(|()| head.starts_with(b"RIFF") && head.ends_with(b"AVI "))
}

pub(super) fn read(file: &File) -> Option<Vec<Entry>> {
    let mut start = vec![0; LOOKED_AT];
    let length = file.read_at(&mut start, 0).ok()?;
    entries(&start[..length])
}

fn entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let body = bytes.get(12..).filter(|_| bytes.starts_with(b"RIFF") && &bytes[8..12] == b"AVI ")?;
    let header = list(body, b"hdrl")?;
    let tracks = chunks(header).filter(|(kind, content)| kind == b"LIST" && content.starts_with(b"strl"));
    let entries: Vec<Entry> = (0..).zip(tracks).filter_map(|(id, (_, content))| entry(id, &content[4..])).collect();
    (!entries.is_empty()).then_some(entries)
}

fn entry(id: u32, content: &[u8]) -> Option<Entry> {
    let find = |wanted: &[u8; 4]| chunks(content).find(|(kind, _)| kind == wanted).map(|(_, content)| content);
    let header = find(b"strh")?;
    let format = find(b"strf").unwrap_or(&[]);
    let mut track = Track { id, ..Track::default() };
    match header.get(..4)? {
        b"vids" => {
            track.kind = TrackKind::Video;
            track.width = le32(format, 4);
            // Those that are stored from top to bottom have a negative one.
            track.height = le32(format, 8).map(|height| (height as i32).unsigned_abs());
            let word = format.get(16..20).unwrap_or_default();
            track.codec = codec_name(&String::from_utf8_lossy(word).to_lowercase());
        }
        b"auds" => {
            track.kind = TrackKind::Sound;
            let tag = format.get(..2).map_or(0, |tag| u16::from_le_bytes([tag[0], tag[1]]));
            track.codec = sound_name(tag);
        }
        b"txts" => track.kind = TrackKind::Text,
        _ => {}
    }
    Some(Entry { track, ..Entry::default() })
}

/// The codec that this number of Microsoft's stands for.
pub(super) fn sound_name(tag: u16) -> String {
    let known = match tag {
        0x0001 => "pcm",
        0x0050 => "mp2",
        0x0055 => "mp3",
        0x00ff => "aac",
        0x0160 | 0x0161 => "wma",
        0x2000 => "ac3",
        0x2001 => "dts",
        other => return format!("{other:#06x}"),
    };
    known.to_owned()
}

/// The content of the list of this kind.
fn list<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    let mut lists = chunks(bytes).filter(|(chunk, _)| chunk == b"LIST");
    lists.find_map(|(_, content)| content.strip_prefix(kind))
}

/// A chunk that is longer than what is there ends with it.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let kind = bytes.get(..4)?.try_into().ok()?;
        let length = le32(bytes, 4)? as usize;
        let rest = &bytes[8..];
        let content = &rest[..length.min(rest.len())];
        bytes = rest.get(length + length % 2..).unwrap_or_default();
        Some((kind, content))
    })
}

pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&kind[..], &(content.len() as u32).to_le_bytes(), content, &vec![0; content.len() % 2]].concat()
    }

    fn track(kind: &[u8; 4], format: &[u8]) -> Vec<u8> {
        let header = [&kind[..], &[0; 52]].concat();
        chunk(b"LIST", &[b"strl", &chunk(b"strh", &header)[..], &chunk(b"strf", format)].concat())
    }

    #[test]
    fn tracks_are_read() {
        let size = |value: i32| value.to_le_bytes();
        let picture = [&size(40)[..], &size(64), &size(-48), &[0; 4], b"XVID", &[0; 20]].concat();
        let tracks = [track(b"auds", &[0x55, 0, 1]), track(b"vids", &picture)].concat();
        let header = chunk(b"LIST", &[b"hdrl", &chunk(b"avih", &[0; 56])[..], &tracks].concat());
        let file = [b"RIFF\0\0\0\0AVI ", &header[..]].concat();
        let found = entries(&file).unwrap();
        let (sound, video) = (&found[0].track, &found[1].track);
        assert_eq!((sound.id, sound.kind, sound.codec.as_str()), (0, TrackKind::Sound, "mp3"));
        assert_eq!((video.id, video.kind, video.codec.as_str()), (1, TrackKind::Video, "mpeg4"));
        assert_eq!((video.width, video.height), (Some(64), Some(48)));
        for at in 0..file.len() {
            entries(&file[..at]);
            let mut wrong = file.clone();
            wrong[at] ^= 0xff;
            entries(&wrong);
        }
    }
}
