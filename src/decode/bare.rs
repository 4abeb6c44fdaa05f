//! Files of coded frames one behind the other, without a container, of the kinds that GStreamer does not recognise (AV1) or
//! does not cut into frames by itself (JPEG). Pure but for reading the beginning of a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::coded::{is_av1_start, leb128};

/// So much of a file tells what it is.
const LOOKED_AT: u64 = 4096;
const JPEG_START: [u8; 3] = [0xff, 0xd8, 0xff];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    /// One picture, or many, which are a video.
    Jpeg,
    /// Open bitstream units, each with its size or as in annex B of the specification.
    Av1,
}

impl Bare {
    pub(super) fn recognise(path: &Path) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        File::open(path)?.take(LOOKED_AT).read_to_end(&mut head)?;
        Ok(if head.starts_with(&JPEG_START) {
            Some(Self::Jpeg)
        } else if is_av1_start(&head) || unwrapped(&head).is_some_and(|units| is_av1_start(&units)) {
            Some(Self::Av1)
        } else {
            None
        })
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Av1 => "video/x-av1",
        }
    }

    /// The elements that cut it into frames.
    pub(super) fn parser(self) -> &'static str {
        match self {
            Self::Jpeg => "jpegparse",
            Self::Av1 => "av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu",
        }
    }
}

/// The first two units of a stream as in annex B, where sizes stand before temporal units, frames and units instead of in
/// the units.
fn unwrapped(head: &[u8]) -> Option<Vec<u8>> {
    let mut rest = head;
    let (temporal_unit, frame) = (leb128(&mut rest)?, leb128(&mut rest)?);
    if frame >= temporal_unit {
        return None;
    }
    let mut units = Vec::new();
    for _ in 0..2 {
        let length = leb128(&mut rest)?;
        let (unit, behind) = rest.split_at_checked(length)?;
        let (header, payload) = unit.split_first()?;
        if header & 2 != 0 || payload.len() >= 128 {
            return None;
        }
        units.extend([header | 2, payload.len() as u8]);
        units.extend(payload);
        rest = behind;
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn recognised(bytes: &[u8]) -> Option<Bare> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Bare::recognise(file.path()).unwrap()
    }

    #[test]
    fn streams_without_a_container_are_recognised() {
        assert_eq!(recognised(&[0xff, 0xd8, 0xff, 0xe0, 0]), Some(Bare::Jpeg));
        let units = [0x12, 0, 0x0a, 3, 1, 2, 3, 0x32, 1, 0];
        assert_eq!(recognised(&units), Some(Bare::Av1));
        let annex_b = [10, 9, 1, 0x10, 4, 0x08, 1, 2, 3, 2, 0x30, 0];
        assert_eq!(recognised(&annex_b), Some(Bare::Av1));
        for other in [&b"\0\0\0\x18ftypmp42"[..], b"", &[0x12, 0], &annex_b[..4], &[0x12, 0, 0x32, 1, 0]] {
            assert_eq!(recognised(other), None, "{other:?}");
        }
    }
}
