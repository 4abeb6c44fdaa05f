//! Mends headers of MP4 and MOV files in memory.
//!
//! GStreamer gives a file up for one bad track, or for a movie header that is missing or has no time scale, where the
//! video itself is sound, and stops short where a track says that it lasts no time. What is mended here is the `moov` box: it is rebuilt from the video tracks that are complete,
//! behind a movie header that makes sense. The file itself is not touched; [`Mended`] reads as if it had been.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Limits against headers made to hurt.
const MOST_BOXES: usize = 100_000;
const LONGEST_MOOV: u64 = 256 << 20;
const TIME_SCALE: u32 = 1000;

/// A file with some of its bytes replaced, and some appended.
#[derive(Debug)]
pub(super) struct Mended {
    file: File,
    file_length: u64,
    /// Place and bytes, not overlapping.
    patches: Vec<(u64, Vec<u8>)>,
    length: u64,
}

impl Mended {
    /// `None`: not such a file, or nothing to be done about it.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let file_length = file.metadata()?.len();
        let Some(top) = top_level(&file, file_length)? else { return Ok(None) };
        let Some(moov) = top.iter().find(|b| &b.kind == b"moov" && b.length <= LONGEST_MOOV) else { return Ok(None) };
        let mut old = vec![0; moov.length as usize];
        file.read_exact_at(&mut old, moov.at)?;
        let Some(mut new) = rebuild(&old[moov.header as usize..]) else { return Ok(None) };
        let fragmented = top.iter().any(|b| &b.kind == b"moof");
        let mut patches = Vec::new();
        let room = old.len().checked_sub(new.len());
        if room.is_some_and(|room| room == 0 || room >= 8) {
            if let Some(room) = room.filter(|room| *room > 0) {
                new.extend(boxed(b"free", &vec![0; room - 8]));
            }
            patches.push((moov.at, new));
        } else if !fragmented {
            // Sample positions are counted from the start of the file, so the header may as well stand at its end.
            patches.push((moov.at + 4, b"free".to_vec()));
            patches.push((file_length, new));
        } else {
            return Ok(None);
        }
        let length = patches.iter().map(|(at, bytes)| at + bytes.len() as u64).fold(file_length, u64::max);
        Ok(Some(Self { file, file_length, patches, length }))
    }

    /// Whether the video claims to last no time although it has frames. Fragmented files do so rightly: their frames are
    /// described elsewhere.
    pub(super) fn lacks_duration(path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        let top = top_level(&file, file.metadata()?.len())?.unwrap_or_default();
        let Some(moov) = top.iter().find(|b| &b.kind == b"moov" && b.length <= LONGEST_MOOV) else { return Ok(false) };
        let mut body = vec![0; (moov.length - moov.header) as usize];
        file.read_exact_at(&mut body, moov.at + moov.header)?;
        let silent = |track: &[u8]| {
            let media = child(track, &[b"mdia"])?;
            Some(is_video(media) && duration_of(child(media, &[b"mdhd"])?)? == 0 && counted(media)? > 0)
        };
        let tracks = children(&body).into_iter().filter(|(kind, ..)| kind == b"trak");
        Ok(tracks.map(|(_, _, start, end)| &body[start..end]).any(|track| silent(track) == Some(true)))
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Up to `length` bytes from this place; none at the end.
    pub(super) fn read_at(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = (length as u64).min(self.length.saturating_sub(at)) as usize;
        let mut bytes = vec![0; length];
        let in_file = (length as u64).min(self.file_length.saturating_sub(at)) as usize;
        self.file.read_exact_at(&mut bytes[..in_file], at)?;
        for (place, patch) in &self.patches {
            let (start, end) = (at.max(*place), (at + length as u64).min(place + patch.len() as u64));
            if start < end {
                let source = &patch[(start - place) as usize..(end - place) as usize];
                bytes[(start - at) as usize..(end - at) as usize].copy_from_slice(source);
            }
        }
        Ok(bytes)
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    kind: [u8; 4],
    at: u64,
    header: u64,
    length: u64,
}

/// The boxes of the file, or `None` if it does not look like one of this kind.
fn top_level(file: &File, length: u64) -> io::Result<Option<Vec<Place>>> {
    let mut boxes = Vec::new();
    let mut at = 0;
    while at + 8 <= length && boxes.len() < MOST_BOXES {
        let mut head = [0; 16];
        let got = (length - at).min(16) as usize;
        file.read_exact_at(&mut head[..got], at)?;
        let Some((kind, header, size)) = box_head(&head[..got], length - at) else { break };
        if boxes.is_empty() && ![b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"].contains(&&kind) {
            return Ok(None);
        }
        boxes.push(Place { kind, at, header, length: size.min(length - at) });
        at += size;
    }
    Ok((!boxes.is_empty()).then_some(boxes))
}

/// Kind, length of the header and of the whole box.
fn box_head(bytes: &[u8], rest: u64) -> Option<([u8; 4], u64, u64)> {
    let kind: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    let (header, size) = match u64::from(be32(bytes, 0)?) {
        0 => (8, rest),
        1 => (16, u64::from(be32(bytes, 8)?) << 32 | u64::from(be32(bytes, 12)?)),
        size => (8, size),
    };
    (size >= header).then_some((kind, header, size))
}

/// The boxes within a box: kind, where they start, where their content starts, where they end.
fn children(body: &[u8]) -> Vec<([u8; 4], usize, usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((kind, header, size)) = body.get(at..).and_then(|rest| box_head(rest, rest.len() as u64)) {
        let end = at.saturating_add(size as usize);
        if end > body.len() || found.len() >= MOST_BOXES {
            break;
        }
        found.push((kind, at, at + header as usize, end));
        at = end;
    }
    found
}

fn child<'a>(body: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(body, |body, kind| {
        children(body).into_iter().find(|(found, ..)| found == *kind).map(|(_, _, start, end)| &body[start..end])
    })
}

/// The content of a `moov` to a whole one with only what is needed and sound; `None` if no video is left.
fn rebuild(moov: &[u8]) -> Option<Vec<u8>> {
    let header = child(moov, &[b"mvhd"]).filter(|header| header.len() >= 100);
    let mut body = boxed(b"mvhd", &movie_header(header, longest(moov)));
    let mut tracks = 0;
    for (kind, at, start, end) in children(moov) {
        match &kind {
            b"trak" => {
                if let Some(track) = video_track(&moov[start..end], header.is_some()) {
                    body.extend(boxed(b"trak", &track));
                    tracks += 1;
                }
            }
            b"mvex" => body.extend(&moov[at..end]),
            _ => {}
        }
    }
    (tracks > 0).then(|| boxed(b"moov", &body))
}

/// Duration of the longest track in our time scale.
fn longest(moov: &[u8]) -> u32 {
    let tracks = children(moov).into_iter().filter(|(kind, ..)| kind == b"trak");
    let durations = tracks.filter_map(|(_, _, start, end)| {
        let media = child(&moov[start..end], &[b"mdia"])?;
        let header = child(media, &[b"mdhd"])?;
        let scale = if header.first() == Some(&1) { 20 } else { 12 };
        let duration = duration_of(header).filter(|duration| *duration > 0).or_else(|| counted(media))?;
        Some(u64::from(duration) * u64::from(TIME_SCALE) / u64::from(be32(header, scale)?).max(1))
    });
    u32::try_from(durations.max().unwrap_or(0)).unwrap_or(u32::MAX - TIME_SCALE)
}

/// The old one if it makes sense, else one for a movie of this duration.
fn movie_header(old: Option<&[u8]>, duration: u32) -> Vec<u8> {
    let Some(old) = old else {
        let mut new = vec![0; 100];
        new[12..16].copy_from_slice(&TIME_SCALE.to_be_bytes());
        // Room for frames that are shown later than they are decoded.
        new[16..20].copy_from_slice(&(duration.saturating_add(TIME_SCALE)).to_be_bytes());
        new[20..24].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
        new[24..26].copy_from_slice(&0x0100_u16.to_be_bytes());
        for (at, value) in [(36, 0x0001_0000_u32), (52, 0x0001_0000), (68, 0x4000_0000), (96, 0xffff_ffff)] {
            new[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        return new;
    };
    let mut new = old.to_vec();
    with_time_scale(&mut new);
    new
}

/// `mvhd` and `mdhd` begin alike: version, then two times (of 8 bytes in version 1), then the time scale.
fn with_time_scale(header: &mut [u8]) {
    let at = if header.first() == Some(&1) { 20 } else { 12 };
    if let Some(scale) = header.get_mut(at..at + 4).filter(|scale| *scale == [0; 4]) {
        scale.copy_from_slice(&TIME_SCALE.to_be_bytes());
    }
}

/// Where a `mdhd` has its duration, or the lower half of it in version 1.
fn duration_place(header: &[u8]) -> usize {
    if header.first() == Some(&1) { 28 } else { 16 }
}

fn duration_of(header: &[u8]) -> Option<u32> {
    be32(header, duration_place(header))
}

/// The sum of the durations of a track's frames.
fn counted(media: &[u8]) -> Option<u32> {
    let runs = child(media, &[b"minf", b"stbl", b"stts"])?.get(8..)?;
    let length = |run: &[u8]| Some(u64::from(be32(run, 0)?) * u64::from(be32(run, 4)?));
    let sum = runs.chunks_exact(8).filter_map(length).fold(0, u64::saturating_add);
    u32::try_from(sum).ok()
}

fn is_video(media: &[u8]) -> bool {
    child(media, &[b"hdlr"]).and_then(|handler| handler.get(8..12)) == Some(b"vide")
        || child(media, &[b"minf", b"vmhd"]).is_some()
}

/// The content of a track if it is video and has all that is needed to read it.
fn video_track(track: &[u8], keep_edits: bool) -> Option<Vec<u8>> {
    let media = child(track, &[b"mdia"])?;
    child(track, &[b"tkhd"])?;
    child(media, &[b"mdhd"]).filter(|header| header.len() >= 20)?;
    let table = child(media, &[b"minf", b"stbl"])?;
    let described = child(table, &[b"stsd"]).is_some_and(|description| description.len() > 16);
    if !is_video(media) || !described {
        return None;
    }
    let mut new = Vec::new();
    for (kind, at, start, end) in children(track) {
        match &kind {
            b"tkhd" => new.extend(&track[at..end]),
            b"edts" if keep_edits => new.extend(&track[at..end]),
            b"mdia" => new.extend(boxed(b"mdia", &media_box(&track[start..end], !keep_edits))),
            _ => {}
        }
    }
    Some(new)
}

/// `stretch`: without edits frames are shown later than they are decoded, so the track ends later than it says.
fn media_box(media: &[u8], stretch: bool) -> Vec<u8> {
    let mut new = Vec::new();
    for (kind, at, start, end) in children(media) {
        if &kind == b"mdhd" {
            let mut header = media[start..end].to_vec();
            with_time_scale(&mut header);
            let place = duration_place(&header);
            if let (Some(0), Some(frames)) = (be32(&header, place), counted(media)) {
                header[place..place + 4].copy_from_slice(&frames.to_be_bytes());
            }
            if let (true, Some(0), Some(scale), Some(duration)) =
                (stretch, header.first(), be32(&header, 12), be32(&header, 16))
            {
                header[16..20].copy_from_slice(&duration.saturating_add(scale).to_be_bytes());
            }
            new.extend(boxed(&kind, &header));
        } else {
            new.extend(&media[at..end]);
        }
    }
    new
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 8);
    bytes.extend(((content.len() + 8) as u32).to_be_bytes());
    bytes.extend(kind);
    bytes.extend(content);
    bytes
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn track(handler: &[u8; 4], described: bool, time_scale: u32) -> Vec<u8> {
        let mut header = vec![0; 24];
        header[12..16].copy_from_slice(&time_scale.to_be_bytes());
        let mut hdlr = vec![0; 20];
        hdlr[8..12].copy_from_slice(handler);
        let table = if described { boxed(b"stsd", &[7; 40]) } else { boxed(b"free", &[7; 40]) };
        let minf = boxed(b"minf", &boxed(b"stbl", &table));
        let media = [boxed(b"mdhd", &header), boxed(b"hdlr", &hdlr), minf].concat();
        boxed(b"trak", &[boxed(b"tkhd", &[0; 84]), boxed(b"edts", &[1; 8]), boxed(b"mdia", &media)].concat())
    }

    fn file(moov: &[u8], tail: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&boxed(b"ftyp", b"isom")).unwrap();
        file.write_all(&boxed(b"moov", moov)).unwrap();
        file.write_all(tail).unwrap();
        file
    }

    #[test]
    fn a_bad_sound_track_is_left_out_and_nothing_moves() {
        let moov = [boxed(b"mvhd", &[1; 100]), track(b"vide", true, 90_000), track(b"soun", false, 1)].concat();
        let tail = boxed(b"mdat", &[9; 50]);
        let file = file(&moov, &tail);
        let mended = Mended::open(file.path()).unwrap().unwrap();
        let bytes = mended.read_at(0, usize::MAX).unwrap();
        assert_eq!(bytes.len() as u64, file.path().metadata().unwrap().len());
        assert!(bytes.ends_with(&tail));
        let moov = child(&bytes, &[b"moov"]).unwrap();
        let kinds: Vec<_> = children(moov).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [*b"mvhd", *b"trak"]);
        assert!(child(moov, &[b"trak", b"edts"]).is_some());
        assert_eq!(mended.read_at(12, 3).unwrap(), bytes[12..15]);
        assert!(mended.read_at(bytes.len() as u64, 10).unwrap().is_empty());
    }

    #[test]
    fn a_missing_movie_header_is_made_and_time_scales_are_never_zero() {
        let file = file(&track(b"vide", true, 0), &boxed(b"mdat", &[9; 50]));
        let mended = Mended::open(file.path()).unwrap().unwrap();
        let bytes = mended.read_at(0, usize::MAX).unwrap();
        let new = bytes.windows(4).rposition(|kind| kind == b"moov").unwrap();
        let moov = &bytes[new + 4..];
        for path in [&[b"mvhd"][..], &[b"trak", b"mdia", b"mdhd"]] {
            assert_eq!(be32(child(moov, path).unwrap(), 12), Some(TIME_SCALE));
        }
        assert!(child(moov, &[b"trak", b"edts"]).is_none());
        assert!(child(&bytes, &[b"free"]).is_some(), "the old header is out of the way");
    }

    #[test]
    fn other_files_and_files_without_video_are_left_alone() {
        let file = file(&track(b"soun", true, 1), b"");
        assert!(Mended::open(file.path()).unwrap().is_none());
        let mut text = tempfile::NamedTempFile::new().unwrap();
        text.write_all(b"a shopping list, long enough to be read").unwrap();
        assert!(Mended::open(text.path()).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn damaged_headers_are_no_panic(at in 0usize..500, value: u8, cut in 0usize..600) {
            let moov = [boxed(b"mvhd", &[1; 100]), track(b"vide", true, 0), track(b"soun", false, 1)].concat();
            let mut bytes = [boxed(b"ftyp", b"isom"), boxed(b"moov", &moov), boxed(b"mdat", &[9; 50])].concat();
            bytes.truncate(cut.max(1));
            let index = at % bytes.len();
            bytes[index] = value;
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            if let Ok(Some(mended)) = Mended::open(file.path()) {
                prop_assert!(mended.read_at(0, usize::MAX).is_ok());
            }
        }
    }
}
