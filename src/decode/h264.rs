//! Whether an H.264 access unit is a place where decoding can start.
//!
//! GStreamer's parser calls every intra picture a key frame, but frames behind a plain one may still refer to frames
//! before it (encoders put such pictures at scene cuts). Only an IDR picture or a recovery point is a clean start. Pure.

/// How the units of a stream are laid out: each behind its length in so many bytes, or behind start codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Lengths(usize),
    StartCodes,
}

impl Layout {
    /// From the decoder configuration record of `stream-format=avc`.
    pub(super) fn from_codec_data(record: &[u8]) -> Self {
        Self::Lengths(record.get(4).map_or(4, |byte| usize::from(byte & 3) + 1))
    }
}

const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SEI_RECOVERY_POINT: u8 = 6;

pub(super) fn is_clean_start(layout: Layout, access_unit: &[u8]) -> bool {
    let clean = |unit: &[u8]| match unit.first().map(|byte| byte & 0x1f) {
        Some(IDR_SLICE) => true,
        Some(SEI) => has_recovery_point(&unit[1..]),
        _ => false,
    };
    match layout {
        Layout::Lengths(size) => {
            let mut rest = access_unit;
            while let Some((length, tail)) = rest.split_at_checked(size) {
                let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                let (unit, tail) = tail.split_at(length.min(tail.len()));
                if clean(unit) {
                    return true;
                }
                rest = tail;
            }
            false
        }
        Layout::StartCodes => {
            let mut at = 0;
            while let Some(found) = access_unit[at..].windows(3).position(|code| code == [0, 0, 1]) {
                at += found + 3;
                if clean(&access_unit[at..]) {
                    return true;
                }
            }
            false
        }
    }
}

/// Walks the messages of a SEI unit: type and size, each a run of 255s and a last byte.
fn has_recovery_point(mut rest: &[u8]) -> bool {
    let mut number = || -> Option<usize> {
        let run = rest.iter().take_while(|byte| **byte == 255).count();
        let last = *rest.get(run)?;
        rest = &rest[run + 1..];
        Some(run * 255 + usize::from(last))
    };
    // Only the first messages matter: the recovery point stands before long user data.
    let Some(kind) = number() else { return false };
    let Some(size) = number() else { return false };
    if kind == usize::from(SEI_RECOVERY_POINT) {
        return true;
    }
    rest.get(size..).is_some_and(|tail| tail.len() > 2 && has_recovery_point(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_idr_pictures_and_recovery_points_are_clean() {
        let lengths = Layout::from_codec_data(&[1, 100, 0, 31, 0xff]);
        assert_eq!(lengths, Layout::Lengths(4));
        let intra = [0, 0, 0, 2, 0x41, 0x88];
        let idr = [0, 0, 0, 2, 0x67, 0x01, 0, 0, 0, 2, 0x65, 0x88];
        let recovery = [0, 0, 0, 4, 0x06, 0x06, 0x01, 0xc4, 0, 0, 0, 2, 0x41, 0x88];
        let behind_timing = [0, 0, 0, 7, 0x06, 0x01, 0x01, 0x00, 0x06, 0x01, 0xc4, 0, 0, 0, 2, 0x41, 0x88];
        assert!(!is_clean_start(lengths, &intra));
        assert!(is_clean_start(lengths, &idr));
        assert!(is_clean_start(lengths, &recovery));
        assert!(is_clean_start(lengths, &behind_timing));
        assert!(is_clean_start(Layout::StartCodes, &[0, 0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x65, 0x88]));
        assert!(!is_clean_start(Layout::StartCodes, &[0, 0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x41, 0x88]));
    }

    #[test]
    fn cut_off_units_are_no_panic() {
        assert!(!is_clean_start(Layout::Lengths(4), &[0, 0, 9, 9, 1]));
        assert!(!is_clean_start(Layout::Lengths(4), &[0, 0]));
        assert!(!is_clean_start(Layout::StartCodes, &[0, 0, 1]));
        assert!(!is_clean_start(Layout::Lengths(1), &[3, 6, 255, 255]));
    }
}
