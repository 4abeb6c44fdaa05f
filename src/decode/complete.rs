//! Whether a file ends before its container says it does. Pure but for reading a few headers.
//!
//! Readers take the end of the file for the end of the recording and say nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Limit against files of tiny boxes.
const MOST_BOXES: usize = 100_000;
const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const MATROSKA_SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];

/// How many bytes are missing at the end; `None` if none, or if this container does not tell.
pub(super) fn missing_bytes(path: &Path) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = [0; 64];
    let got = file.read_at(&mut head, 0)?;
    let head = &head[..got];
    let told = match head {
        [b'R', b'I', b'F', b'F', ..] => riff_end(head),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => boxes_end(&file, length)?,
        head if head.starts_with(&EBML) => matroska_end(&file, head)?,
        _ => None,
    };
    Ok(told.and_then(|end| end.checked_sub(length)).filter(|missing| *missing > 0))
}

/// Files beyond 4 GiB go on in further chunks, so this only ever tells too little.
fn riff_end(head: &[u8]) -> Option<u64> {
    let size = u32::from_le_bytes(head.get(4..8)?.try_into().ok()?);
    (size != u32::MAX).then(|| u64::from(size) + 8)
}

fn boxes_end(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut at = 0;
    for _ in 0..MOST_BOXES {
        let mut head = [0; 16];
        let got = file.read_at(&mut head, at)?;
        if got < 8 {
            break;
        }
        let size = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            0 => return Ok(None),
            1 if got == 16 => head[8..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            size => u64::from(size),
        };
        if size < 8 {
            break;
        }
        at = at.saturating_add(size);
        if at >= length {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn matroska_end(file: &File, head: &[u8]) -> io::Result<Option<u64>> {
    let Some((size, width)) = number(&head[4..]) else { return Ok(None) };
    let at = 4 + width as u64 + size;
    let mut segment = [0; 12];
    let got = file.read_at(&mut segment, at)?;
    let segment = &segment[..got];
    if !segment.starts_with(&MATROSKA_SEGMENT) {
        return Ok(None);
    }
    Ok(number(&segment[4..]).map(|(size, width)| at.saturating_add(4 + width as u64).saturating_add(size)))
}

/// A number of the container and how many bytes it takes; `None` where it says "unknown".
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let width = first.leading_zeros() as usize + 1;
    let rest = bytes.get(1..width)?;
    let value = rest.iter().fold(u64::from(first) & (0xff >> width), |sum, byte| sum << 8 | u64::from(*byte));
    (value != (1 << (7 * width)) - 1).then_some((value, width))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn missing(bytes: &[u8]) -> Option<u64> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        missing_bytes(file.path()).unwrap()
    }

    #[test]
    fn containers_tell_where_they_end() {
        let mp4 = [&[0, 0, 0, 12][..], b"ftypisom", &[0, 0, 0, 20], b"mdat", &[0; 12]].concat();
        let avi = [b"RIFF", &[8, 0, 0, 0][..], b"AVI LIST"].concat();
        let webm = [&EBML[..], &[0x82, 1, 2], &MATROSKA_SEGMENT, &[0x40, 10], &[0; 10]].concat();
        for whole in [mp4, avi, webm] {
            assert_eq!(missing(&whole), None);
            assert_eq!(missing(&whole[..whole.len() - 5]), Some(5));
        }
    }

    #[test]
    fn containers_that_do_not_tell_are_whole() {
        let live = [&EBML[..], &[0x82, 1, 2], &MATROSKA_SEGMENT, &[0x01, 255, 255, 255, 255, 255, 255, 255], &[0; 9]];
        assert_eq!(missing(&live.concat()), None);
        assert_eq!(missing(&[0, 0, 0, 8, b'f', b't', b'y', b'p', 0, 0, 0, 0, b'm', b'd', b'a', b't']), None);
        assert_eq!(missing(b"short"), None);
        assert_eq!(missing(b""), None);
    }
}
