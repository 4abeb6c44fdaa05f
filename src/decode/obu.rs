//! Recognises AV1 without a container, which GStreamer does not: open bitstream units, each with its size, or as in annex B
//! of the specification.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::coded::{is_av1_start, leb128};

/// So much of a file tells what it is.
const LOOKED_AT: u64 = 4096;

pub(super) fn is_bare_av1(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(LOOKED_AT).read_to_end(&mut head)?;
    Ok(is_av1_start(&head) || unwrapped(&head).is_some_and(|units| is_av1_start(&units)))
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

    fn recognised(bytes: &[u8]) -> bool {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        is_bare_av1(file.path()).unwrap()
    }

    #[test]
    fn units_with_and_without_a_wrapping_are_recognised() {
        let units = [0x12, 0, 0x0a, 3, 1, 2, 3, 0x32, 1, 0];
        let annex_b = [10, 9, 1, 0x10, 4, 0x08, 1, 2, 3, 2, 0x30, 0];
        assert!(recognised(&units) && recognised(&annex_b));
        for other in [&b"\0\0\0\x18ftypmp42"[..], b"", &[0x12, 0], &annex_b[..4], &[0x12, 0, 0x32, 1, 0]] {
            assert!(!recognised(other), "{other:?}");
        }
    }
}
