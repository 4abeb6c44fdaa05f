//! The tracks of MP4 and MOV files.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::mp4::boxes::{be32, child, children, head};
use super::super::{Track, TrackKind};
use super::{Entry, be16, codec_name};

/// Longest header that is read.
const LONGEST: u64 = 256 << 20;
const MOST_BOXES: usize = 10_000;
/// Bytes of a video's sample description before the boxes in it.
const VISUAL_ENTRY: usize = 86;
/// `tkhd`: the track is to be shown.
const ENABLED: u8 = 1;

pub(super) fn read(file: &File) -> Option<Vec<Entry>> {
    let length = file.metadata().ok()?.len();
    let mut at = 0;
    for number in 0..MOST_BOXES {
        let mut bytes = [0; 16];
        let read = file.read_at(&mut bytes, at).ok()?;
        let (kind, head_length, size) = head(&bytes[..read], length.checked_sub(at)?)?;
        if number == 0 && ![b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot"].contains(&&kind) {
            return None;
        }
        if &kind == b"moov" && size <= LONGEST {
            let mut moov = vec![0; (size - head_length) as usize];
            file.read_exact_at(&mut moov, at + head_length).ok()?;
            return Some(of_header(&moov)).filter(|entries| !entries.is_empty());
        }
        at = at.saturating_add(size);
    }
    None
}

fn of_header(moov: &[u8]) -> Vec<Entry> {
    let tracks: Vec<&[u8]> =
        children(moov).into_iter().filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).collect();
    // Tracks that only hold the pictures of another one's chapters.
    let chapters: Vec<u32> =
        tracks.iter().filter_map(|track| child(track, &[b"tref", b"chap"])).flat_map(ids).collect();
    let mut entries: Vec<Entry> = tracks.iter().filter_map(|track| entry(track, &chapters)).collect();
    let is_video = |entry: &Entry| entry.track.kind == TrackKind::Video;
    // A lone JPEG or PNG beside a video is its cover.
    let moving: Vec<bool> = tracks.iter().map(|track| !is_lone_picture(track)).collect();
    if moving.len() == entries.len() && entries.iter().zip(&moving).any(|(entry, moving)| *moving && is_video(entry)) {
        for (entry, moving) in entries.iter_mut().zip(moving) {
            if !moving && is_video(entry) {
                entry.track.kind = TrackKind::Picture;
            }
        }
    }
    entries
}

fn entry(track: &[u8], chapters: &[u32]) -> Option<Entry> {
    let header = child(track, &[b"tkhd"])?;
    let id = be32(header, if header.first() == Some(&1) { 20 } else { 12 })?;
    let handler = child(track, &[b"mdia", b"hdlr"])?.get(8..12)?;
    let description = child(track, &[b"mdia", b"minf", b"stbl", b"stsd"]).and_then(|list| list.get(8..));
    let codec = description.and_then(|first| first.get(4..8)).unwrap_or_default();
    // The description of an encrypted track says within what it is else.
    let encrypted = codec == b"encv";
    let within = || description?.get(VISUAL_ENTRY..).and_then(|boxes| child(boxes, &[b"sinf", b"frma"]));
    let codec = String::from_utf8_lossy(if encrypted { within().unwrap_or(codec) } else { codec });
    let kind = match handler {
        b"vide" if chapters.contains(&id) => TrackKind::Picture,
        b"vide" => TrackKind::Video,
        b"pict" | b"auxv" => TrackKind::Picture,
        b"soun" => TrackKind::Sound,
        b"text" | b"sbtl" | b"subt" | b"clcp" => TrackKind::Text,
        _ => TrackKind::Other,
    };
    let size = |at| Some(u32::from(be16(description.filter(|_| handler == b"vide")?, at)?)).filter(|size| *size > 0);
    let track = Track {
        id,
        kind,
        codec: codec_name(&codec),
        width: size(32),
        height: size(34),
        default: header.get(3)? & ENABLED != 0,
        ..Track::default()
    };
    Some(Entry { track, encrypted, ..Entry::default() })
}

fn is_lone_picture(track: &[u8]) -> bool {
    let table = child(track, &[b"mdia", b"minf", b"stbl"]).unwrap_or_default();
    let codec = child(table, &[b"stsd"]).and_then(|list| list.get(12..16)).unwrap_or_default();
    let samples = child(table, &[b"stsz"]).and_then(|sizes| be32(sizes, 8));
    [b"jpeg", b"png ", b"mjpa"].iter().any(|picture| *picture == codec) && samples == Some(1)
}

fn ids(list: &[u8]) -> impl Iterator<Item = u32> {
    list.chunks_exact(4).filter_map(|id| be32(id, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    }

    fn track(id: u8, flags: u8, handler: &[u8; 4], codec: &[u8; 4], samples: u8, more: &[u8]) -> Vec<u8> {
        let header = boxed(b"tkhd", &[&[0, 0, 0, flags][..], &[0; 8], &[0, 0, 0, id], &[0; 68]].concat());
        let handler = boxed(b"hdlr", &[&[0; 8][..], handler, &[0; 12]].concat());
        let description = [&[0; 8][..], &[0, 0, 0, 36], codec, &[0; 24], &[1, 64, 0, 240]].concat();
        let sizes = boxed(b"stsz", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, samples]);
        let table = boxed(b"stbl", &[boxed(b"stsd", &description), sizes].concat());
        let media = boxed(b"mdia", &[handler, boxed(b"minf", &table)].concat());
        boxed(b"trak", &[header, media, more.to_vec()].concat())
    }

    #[test]
    fn ids_kinds_sizes_and_flags_are_read() {
        let entries =
            of_header(&[track(1, 1, b"soun", b"mp4a", 9, &[]), track(2, 0, b"vide", b"avc1", 9, &[])].concat());
        let (sound, video) = (&entries[0].track, &entries[1].track);
        assert_eq!((sound.id, sound.kind, sound.default, sound.width), (1, TrackKind::Sound, true, None));
        assert_eq!((video.id, video.kind, video.default), (2, TrackKind::Video, false));
        assert_eq!((video.width, video.height, video.codec.as_str()), (Some(320), Some(240), "h264"));
    }

    #[test]
    fn an_encrypted_track_is_told() {
        let entries = of_header(&track(1, 1, b"vide", b"encv", 9, &[]));
        assert!(entries[0].encrypted && entries[0].track.codec == "encv");
    }

    #[test]
    fn covers_and_chapter_pictures_are_no_video() {
        let chapters = boxed(b"tref", &boxed(b"chap", &[0, 0, 0, 3]));
        let tracks = [
            track(1, 1, b"vide", b"avc1", 9, &chapters),
            track(2, 1, b"vide", b"jpeg", 1, &[]),
            track(3, 1, b"vide", b"jpeg", 5, &[]),
        ];
        let kinds: Vec<TrackKind> = of_header(&tracks.concat()).iter().map(|entry| entry.track.kind).collect();
        assert_eq!(kinds, [TrackKind::Video, TrackKind::Picture, TrackKind::Picture]);
        // Alone it is a video of one picture.
        assert_eq!(of_header(&tracks[1])[0].track.kind, TrackKind::Video);
    }

    #[test]
    fn nonsense_is_no_panic() {
        let whole = track(1, 1, b"vide", b"avc1", 9, &boxed(b"tref", &boxed(b"chap", &[0, 0, 0, 3])));
        for at in 0..whole.len() {
            for value in [0, 1, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                of_header(&damaged);
                of_header(&damaged[..at]);
            }
        }
    }
}
