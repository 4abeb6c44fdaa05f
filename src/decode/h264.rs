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
    /// From the decoder configuration record (`avcC`) of `stream-format=avc`.
    pub(super) fn from_codec_data(record: &[u8]) -> Self {
        Self::Lengths(record.get(4).map_or(4, |byte| usize::from(byte & 3) + 1))
    }

    /// From that of H.265 (`hvcC`).
    pub(super) fn from_h265_codec_data(record: &[u8]) -> Self {
        Self::Lengths(record.get(21).map_or(4, |byte| usize::from(byte & 3) + 1))
    }
}

const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SEI_RECOVERY_POINT: usize = 6;

pub(super) fn is_clean_start(layout: Layout, access_unit: &[u8]) -> bool {
    let clean = |unit: &[u8]| match unit.first().map(|byte| byte & 0x1f) {
        Some(IDR_SLICE) => true,
        Some(SEI) => has_recovery_point(&unit[1..]),
        _ => false,
    };
    units(layout, access_unit).any(clean)
}

/// The units of a frame, without their lengths or start codes; what is cut short ends with the frame.
pub(super) fn units(layout: Layout, access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next_code = |text: &[u8]| text.windows(3).position(|code| code == [0, 0, 1]);
    let mut rest = match layout {
        Layout::Lengths(_) => Some(access_unit),
        Layout::StartCodes => next_code(access_unit).map(|code| &access_unit[code + 3..]),
    };
    std::iter::from_fn(move || match layout {
        Layout::Lengths(size) => {
            let (length, tail) = rest?.split_at_checked(size)?;
            let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let (unit, tail) = tail.split_at(length.min(tail.len()));
            rest = Some(tail);
            Some(unit)
        }
        Layout::StartCodes => {
            let unit = rest?;
            match next_code(unit) {
                Some(code) => {
                    rest = Some(&unit[code + 3..]);
                    Some(&unit[..code])
                }
                None => {
                    rest = None;
                    Some(unit)
                }
            }
        }
    })
}

/// Walks the messages of a SEI unit: type, size, and so many bytes. What ends the unit (a byte 0x80, perhaps zeros) reads
/// as messages of other types.
fn has_recovery_point(unit: &[u8]) -> bool {
    let mut bytes = without_emulation_prevention(unit);
    loop {
        let (Some(kind), Some(size)) = (sei_number(&mut bytes), sei_number(&mut bytes)) else { return false };
        if kind == SEI_RECOVERY_POINT {
            return true;
        }
        if size > 0 && bytes.nth(size - 1).is_none() {
            return false;
        }
    }
}

/// A run of 255s and a last byte, added up.
fn sei_number(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut number = 0;
    loop {
        let byte = bytes.next()?;
        number += usize::from(byte);
        if byte != 255 {
            return Some(number);
        }
    }
}

/// The bytes that a unit carries. Where two zeros might be the beginning of a start code, writers put a 3 behind them,
/// which does not count, neither for sizes nor for values.
fn without_emulation_prevention(unit: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    unit.iter().copied().filter(move |byte| {
        let inserted = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        !inserted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn emulation_prevention_bytes_do_not_count() {
        let inside =
            |sei: &[u8]| is_clean_start(Layout::StartCodes, &[&[0, 0, 1, SEI], sei, &[0, 0, 1, 0x41]].concat());
        // A message of four bytes 0, 0, 1, 9, written with a 3 in between, and then the recovery point.
        assert!(inside(&[5, 4, 0, 0, 3, 1, 9, 6, 1, 0xc4, 0x80]));
        // The recovery point's type within a message that is a byte longer than it looks.
        assert!(!inside(&[5, 5, 0, 0, 3, 1, 9, 6, 1, 0xc4, 0x80]));
        // Zeros again and again.
        assert!(inside(&[5, 6, 0, 0, 3, 0, 0, 3, 0, 0, 3, 6, 1, 0xc4, 0x80]));
        // The size of the first message is escaped itself: type 0, size 0, then type 3 with a size of 0.
        assert!(inside(&[0, 0, 3, 3, 0, 6, 1, 0xc4, 0x80]));
        let bytes = |unit: &[u8]| without_emulation_prevention(unit).collect::<Vec<_>>();
        assert_eq!(bytes(&[0, 0, 3, 0, 0, 3, 3, 0, 3, 0, 0, 0, 3]), [0, 0, 0, 0, 3, 0, 3, 0, 0, 0]);
        assert_eq!(bytes(&[0, 0, 3]), [0, 0]);
    }

    #[test]
    fn a_message_ends_with_its_unit() {
        // Of nine announced bytes the unit holds two; those behind belong to another unit.
        let cut = [0, 0, 1, SEI, 5, 9, 1, 2, 0, 0, 1, 0x41, 1, 2, 3, 4, 6, 1, 0xc4];
        assert!(!is_clean_start(Layout::StartCodes, &cut));
    }

    /// One message per two bytes: recursion overflowed the stack here.
    #[test]
    fn millions_of_messages_are_walked() {
        for filler in [&[1, 0][..], &[255, 0, 0], &[255], &[0, 0, 3]] {
            let messages = filler.repeat((8 << 20) / filler.len());
            for layout in [Layout::StartCodes, Layout::Lengths(4)] {
                let head =
                    if layout == Layout::StartCodes { [0, 0, 0, 1] } else { (messages.len() as u32 + 1).to_be_bytes() };
                assert!(!is_clean_start(layout, &[&head, &[SEI][..], &messages].concat()), "{filler:?}");
            }
        }
    }

    proptest! {
        /// Of bytes that mean much to the parser.
        #[test]
        fn whatever_comes_it_ends_without_a_panic(
            bytes in prop::collection::vec(prop_oneof![
                Just(0u8), Just(1), Just(3), Just(5), Just(6), Just(0x41), Just(0x65), Just(255), any::<u8>(),
            ], 0..300),
            record in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            for layout in [Layout::StartCodes, Layout::from_codec_data(&record)] {
                is_clean_start(layout, &bytes);
            }
        }

        /// A recovery point is found behind any messages, as a writer escapes them.
        #[test]
        fn a_recovery_point_is_found_behind_any_messages(
            messages in prop::collection::vec((7u8..255, prop::collection::vec(0u8..4, 0..40)), 0..8),
        ) {
            let mut plain = Vec::new();
            for (kind, payload) in &messages {
                plain.extend([*kind, payload.len() as u8]);
                plain.extend(payload);
            }
            let escaped = |plain: &[u8]| {
                let (mut unit, mut zeros) = (vec![SEI], 0);
                for byte in plain {
                    if zeros == 2 && *byte <= 3 {
                        unit.push(3);
                        zeros = 0;
                    }
                    unit.push(*byte);
                    zeros = if *byte == 0 { zeros + 1 } else { 0 };
                }
                unit
            };
            for (ending, expected) in [(&[0x80][..], false), (&[6, 1, 0xc4, 0x80], true)] {
                let unit = escaped(&[&plain, ending].concat());
                let coded = [&[0, 0, 1], &unit[..], &[0, 0, 1, 0x41, 0x88]].concat();
                prop_assert_eq!(is_clean_start(Layout::StartCodes, &coded), expected, "{:?}", coded);
            }
        }
    }

    #[test]
    fn cut_off_units_are_no_panic() {
        assert!(!is_clean_start(Layout::Lengths(4), &[0, 0, 9, 9, 1]));
        assert!(!is_clean_start(Layout::Lengths(4), &[0, 0]));
        assert!(!is_clean_start(Layout::StartCodes, &[0, 0, 1]));
        assert!(!is_clean_start(Layout::Lengths(1), &[3, 6, 255, 255]));
    }
}
