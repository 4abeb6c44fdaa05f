//! What an H.264 access unit says of itself: whether decoding can start with it, and of which picture it is a part.
//!
//! GStreamer's parser calls every intra picture and every recovery point a key frame, but frames behind a plain intra
//! picture may still refer to frames before it (encoders put such pictures at scene cuts), and a recovery point may come
//! long before the first picture that is whole (periodic intra refresh). Pure.

use std::collections::BTreeMap;

use super::bits::Bits;
use super::fields::Field;
use super::records::{avc_length_size, avc_sets, hevc_length_size};

/// How the units of a stream are laid out: each behind its length in so many bytes, or behind start codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Layout {
    Lengths(usize),
    StartCodes,
}

impl Layout {
    /// From the decoder configuration record (`avcC`) of `stream-format=avc`.
    pub(in crate::decode) fn from_codec_data(record: &[u8]) -> Self {
        Self::Lengths(avc_length_size(record))
    }

    /// From that of H.265 (`hvcC`).
    pub(in crate::decode) fn from_h265_codec_data(record: &[u8]) -> Self {
        Self::Lengths(hevc_length_size(record))
    }
}

const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SEQUENCE_PARAMETER_SET: u8 = 7;
const PICTURE_PARAMETER_SET: u8 = 8;
const SEI_RECOVERY_POINT: usize = 6;

/// What comes out of a decoder that starts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Start {
    /// Whole pictures, this one included.
    Clean,
    /// Damaged pictures, until so many reference frames have followed.
    Gradual(u32),
    /// Nothing is promised.
    Unmarked,
}

pub(in crate::decode) fn start(layout: Layout, access_unit: &[u8]) -> Start {
    let start = |unit: &[u8]| match unit.first()? & 0x1f {
        IDR_SLICE => Some(Start::Clean),
        SEI => {
            recovery_frames(&unit[1..]).map(|frames| if frames == 0 { Start::Clean } else { Start::Gradual(frames) })
        }
        _ => None,
    };
    let starts = || units(layout, access_unit).filter_map(start);
    match starts().any(|start| start == Start::Clean) {
        true => Start::Clean,
        false => starts().next().unwrap_or(Start::Unmarked),
    }
}

pub(super) fn has_idr(layout: Layout, access_unit: &[u8]) -> bool {
    units(layout, access_unit).any(|unit| unit.first().is_some_and(|head| head & 0x1f == IDR_SLICE))
}

/// Whether a unit with this head is a slice, or the first part of one that is split in three.
fn is_slice(head: u8) -> bool {
    [1, 2, IDR_SLICE].contains(&(head & 0x1f))
}

/// 7.4.3: whether the first slice is of a B picture.
pub(super) fn is_bidirectional(layout: Layout, access_unit: &[u8]) -> bool {
    const B: u32 = 1;
    let kind = |unit: &[u8]| {
        let (_, rest) = unit.split_first().filter(|(head, _)| is_slice(**head))?;
        let mut bits = Bits::of(without_emulation_prevention(rest));
        let (_first_block, kind) = (bits.golomb()?, bits.golomb()?);
        Some(kind % 5)
    };
    units(layout, access_unit).find_map(kind) == Some(B)
}

/// The units of a frame, without their lengths or start codes; what is cut short ends with the frame.
pub(in crate::decode) fn units(layout: Layout, access_unit: &[u8]) -> impl Iterator<Item = &[u8]> {
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

/// The count of a recovery point (D.2.8) in a SEI unit, whose messages are walked: type, size, and so many bytes. What ends
/// the unit (a byte 0x80, perhaps zeros) reads as messages of other types.
fn recovery_frames(unit: &[u8]) -> Option<u32> {
    let mut bytes = without_emulation_prevention(unit);
    loop {
        let (kind, size) = (sei_number(&mut bytes)?, sei_number(&mut bytes)?);
        if kind == SEI_RECOVERY_POINT {
            return Bits::of(bytes.take(size)).golomb();
        }
        if size > 0 {
            bytes.nth(size - 1)?;
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

/// The parameter sets of a stream, as far as the heads of its slices cannot be read without them.
#[derive(Clone, Debug, Default)]
pub(in crate::decode) struct ParameterSets {
    sequences: BTreeMap<u32, Sequence>,
    /// The sequence's of each picture's.
    pictures: BTreeMap<u32, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sequence {
    separate_planes: bool,
    frame_num_bits: u32,
    frames_only: bool,
}

/// Which picture a slice belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// Others refer to it.
    pub(super) reference: bool,
    /// The bits it is written in are told because it starts anew behind its largest value.
    pub(super) frame_num: u32,
    pub(super) frame_num_bits: u32,
    /// Where it begins, in bits behind the head of the unit.
    frame_num_at: usize,
    /// One field, the bottom one or not; `None`: a frame.
    bottom: Option<bool>,
}

impl ParameterSets {
    /// Those of a decoder configuration record (`avcC`).
    pub(in crate::decode) fn from_codec_data(record: &[u8]) -> Self {
        let mut sets = Self::default();
        avc_sets(record).into_iter().for_each(|set| sets.note(set));
        sets
    }

    /// Learns what the units of a frame say of those to come.
    pub(in crate::decode) fn note_all(&mut self, layout: Layout, access_unit: &[u8]) {
        units(layout, access_unit).for_each(|unit| self.note(unit));
    }

    fn note(&mut self, unit: &[u8]) {
        let Some((head, rest)) = unit.split_first() else { return };
        match head & 0x1f {
            SEQUENCE_PARAMETER_SET => {
                if let Some((id, sequence)) = sequence(rest) {
                    self.sequences.insert(id, sequence);
                }
            }
            PICTURE_PARAMETER_SET => {
                let mut bits = Bits::of(without_emulation_prevention(rest));
                if let (Some(id), Some(sequence)) = (bits.golomb(), bits.golomb()) {
                    self.pictures.insert(id, sequence);
                }
            }
            _ => {}
        }
    }

    /// Whether all pictures are coded as frames; `None` where no sequence is known.
    pub(in crate::decode) fn frames_only(&self) -> Option<bool> {
        (!self.sequences.is_empty()).then(|| self.sequences.values().all(|sequence| sequence.frames_only))
    }

    /// The field that an access unit is; `None` where it is a frame, or both fields of one.
    pub(in crate::decode) fn field(&self, layout: Layout, access_unit: &[u8]) -> Option<Field> {
        let mut slices = units(layout, access_unit).filter_map(|unit| self.slice(unit));
        let first = slices.next()?;
        let bottom = first.bottom?;
        slices.all(|slice| slice.bottom == first.bottom).then_some(Field { bottom, number: first.frame_num })
    }

    /// The first slice of a picture.
    pub(super) fn first_slice(&self, layout: Layout, access_unit: &[u8]) -> Option<Slice> {
        units(layout, access_unit).find_map(|unit| self.slice(unit))
    }

    /// 7.3.3: the head of a slice up to bottom_field_flag.
    fn slice(&self, unit: &[u8]) -> Option<Slice> {
        let (head, rest) = unit.split_first()?;
        if !is_slice(*head) {
            return None;
        }
        let mut bits = Bits::of(without_emulation_prevention(rest));
        let (_first_block, _kind) = (bits.golomb()?, bits.golomb()?);
        let sequence = self.sequences.get(self.pictures.get(&bits.golomb()?)?)?;
        if sequence.separate_planes {
            bits.skip(2)?;
        }
        let frame_num_at = bits.position();
        let frame_num = bits.number(sequence.frame_num_bits)?;
        let bottom = if !sequence.frames_only && bits.flag()? { Some(bits.flag()?) } else { None };
        Some(Slice {
            reference: head >> 5 & 3 != 0,
            frame_num,
            frame_num_bits: sequence.frame_num_bits,
            frame_num_at,
            bottom,
        })
    }
}

/// Numbers frames anew where a decoder starts with one that is no IDR picture: it would make up the frames whose numbers seem
/// to be missing before it, and the one that wraps libav's decoder fails at those. Frames refer to others by differences of
/// numbers (8.2.4), so all can be moved alike.
#[derive(Clone, Debug)]
pub(in crate::decode) struct FrameNumbers {
    layout: Layout,
    sets: ParameterSets,
    /// Taken off every number since the start.
    moved_by: u32,
}

impl FrameNumbers {
    /// `record`: the decoder configuration record (`avcC`).
    pub(in crate::decode) fn new(record: Option<&[u8]>) -> Self {
        Self {
            layout: record.map_or(Layout::StartCodes, Layout::from_codec_data),
            sets: record.map(ParameterSets::from_codec_data).unwrap_or_default(),
            moved_by: 0,
        }
    }

    /// The frame with its new number; `None` where it keeps its own. `starts`: nothing before it was given to the decoder.
    pub(in crate::decode) fn renumbered(&mut self, frame: &[u8], starts: bool) -> Option<Vec<u8>> {
        self.sets.note_all(self.layout, frame);
        if starts {
            self.moved_by = self.sets.first_slice(self.layout, frame).map_or(0, |slice| slice.frame_num);
        }
        if self.moved_by == 0 || has_idr(self.layout, frame) {
            self.moved_by = 0;
            return None;
        }
        let mut renumbered = Vec::with_capacity(frame.len() + 16);
        for unit in units(self.layout, frame) {
            let moved = self.moved(unit);
            let unit = moved.as_deref().unwrap_or(unit);
            match self.layout {
                Layout::Lengths(size) => renumbered.extend(&(unit.len() as u64).to_be_bytes()[8 - size..]),
                Layout::StartCodes => renumbered.extend([0, 0, 0, 1]),
            }
            renumbered.extend(unit);
        }
        Some(renumbered)
    }

    fn moved(&self, unit: &[u8]) -> Option<Vec<u8>> {
        let slice = self.sets.slice(unit)?;
        let numbers = 1 << slice.frame_num_bits;
        let number = (slice.frame_num + numbers - self.moved_by % numbers) % numbers;
        let (head, rest) = unit.split_first()?;
        let mut plain: Vec<u8> = without_emulation_prevention(rest).collect();
        for place in 0..slice.frame_num_bits as usize {
            let at = slice.frame_num_at + place;
            let bit = (number >> (slice.frame_num_bits as usize - 1 - place) & 1) as u8;
            let (byte, shift) = (plain.get_mut(at / 8)?, 7 - at % 8);
            *byte = *byte & !(1 << shift) | bit << shift;
        }
        let (mut escaped, mut zeros) = (vec![*head], 0);
        for byte in plain {
            if zeros == 2 && byte <= 3 {
                escaped.push(3);
                zeros = 0;
            }
            escaped.push(byte);
            zeros = if byte == 0 { zeros + 1 } else { 0 };
        }
        Some(escaped)
    }
}

/// 7.3.2.1.1: id and content of a sequence parameter set, up to frame_mbs_only_flag.
fn sequence(set: &[u8]) -> Option<(u32, Sequence)> {
    const PROFILES_WITH_CHROMA: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
    let mut bits = Bits::of(without_emulation_prevention(set));
    let profile = bits.number(8)?;
    bits.skip(16)?;
    let id = bits.golomb()?;
    let mut separate_planes = false;
    if PROFILES_WITH_CHROMA.contains(&profile) {
        let chroma = bits.golomb()?;
        separate_planes = chroma == 3 && bits.flag()?;
        let (_luma_depth, _chroma_depth, _bypass) = (bits.golomb()?, bits.golomb()?, bits.flag()?);
        if bits.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    let frame_num_bits = bits.golomb()?.checked_add(4).filter(|bits| *bits <= 16)?;
    match bits.golomb()? {
        0 => drop(bits.golomb()?),
        1 => {
            bits.skip(1)?;
            let _offsets = (bits.signed_golomb()?, bits.signed_golomb()?);
            for _ in 0..bits.golomb()?.min(255) {
                bits.signed_golomb()?;
            }
        }
        _ => {}
    }
    let (_references, _gaps, _width, _height) = (bits.golomb()?, bits.flag()?, bits.golomb()?, bits.golomb()?);
    Some((id, Sequence { separate_planes, frame_num_bits, frames_only: bits.flag()? }))
}

/// 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<impl Iterator<Item = u8>>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed_golomb()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_clean_start(layout: Layout, access_unit: &[u8]) -> bool {
        start(layout, access_unit) == Start::Clean
    }

    #[test]
    fn only_idr_pictures_and_recovery_points_without_a_count_are_clean() {
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
        let gradual = |count: u8| [0, 0, 1, SEI, 6, 1, count, 0x80, 0, 0, 1, 0x41, 0x88];
        // In exponential Golomb codes: 1 is no frame, 00100 three.
        assert_eq!(start(Layout::StartCodes, &gradual(0b1100_0000)), Start::Clean);
        assert_eq!(start(Layout::StartCodes, &gradual(0b0010_0100)), Start::Gradual(3));
        assert_eq!(start(lengths, &intra), Start::Unmarked);
        let both = [&gradual(0b0010_0100)[..], &[0, 0, 1, 0x65, 0x88]].concat();
        assert_eq!(start(Layout::StartCodes, &both), Start::Clean, "an IDR picture needs no recovery");
        assert!(is_clean_start(Layout::StartCodes, &[0, 0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x65, 0x88]));
        assert!(!is_clean_start(Layout::StartCodes, &[0, 0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x41, 0x88]));
    }

    #[test]
    fn b_pictures_are_told_by_their_first_slice() {
        let slice = |bits: u8| is_bidirectional(Layout::StartCodes, &[0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, bits]);
        // 1 (first block), and 1 (P), 010 (B), 011 (I), 00110 (P), 00111 (B).
        let kinds = [0b1100_0000, 0b1010_0000, 0b1011_0000, 0b1001_1000, 0b1001_1100];
        assert_eq!(kinds.map(slice), [false, true, false, false, true]);
        assert!(!is_bidirectional(Layout::StartCodes, &[0, 0, 1, 9, 0b1010_0000]));
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
                start(layout, &bytes);
                let mut sets = ParameterSets::from_codec_data(&record);
                sets.note_all(layout, &bytes);
                sets.field(layout, &bytes);
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
