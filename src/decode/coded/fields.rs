//! Pictures coded as two fields, one behind the other: camcorders and broadcasters write them. Parsers hand each field on by
//! itself; a frame is both. Pure.

use super::h264::{Layout, ParameterSets};
use super::mpeg2;

/// One field of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) struct Field {
    pub(super) bottom: bool,
    /// Both fields of a frame have the same: frame_num (H.264), temporal_reference (MPEG-2).
    pub(super) number: u32,
}

impl Field {
    /// Whether this field, the next one in coded order, belongs to the same frame as the one before.
    pub(in crate::decode) fn completes(&self, before: Field) -> bool {
        self.bottom != before.bottom && self.number == before.number
    }
}

/// Finds the fields of a stream.
#[derive(Clone, Debug)]
pub(in crate::decode) enum FieldFinder {
    H264(Layout, ParameterSets),
    Mpeg2,
}

impl FieldFinder {
    /// `None` where a coded picture is a whole frame, or where nothing can be said of it.
    pub(in crate::decode) fn field(&mut self, picture: &[u8]) -> Option<Field> {
        match self {
            Self::H264(layout, sets) => {
                sets.note_all(*layout, picture);
                sets.field(*layout, picture)
            }
            Self::Mpeg2 => mpeg2::field(picture),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fields_of_opposite_parity_and_one_number_are_a_frame() {
        let field = |bottom, number| Field { bottom, number };
        assert!(field(true, 3).completes(field(false, 3)) && field(false, 3).completes(field(true, 3)));
        assert!(!field(true, 3).completes(field(true, 3)));
        assert!(!field(true, 4).completes(field(false, 3)));
    }

    #[test]
    fn fields_of_mpeg2_are_found() {
        let mut finder = FieldFinder::Mpeg2;
        let picture = |structure: u8| [0, 0, 1, 0, 0x01, 0x08, 0, 0, 1, 0xb5, 0x8f, 0xff, 0xf0 | structure, 0, 0];
        assert_eq!(finder.field(&picture(1)), Some(Field { bottom: false, number: 4 }));
        assert_eq!(finder.field(&picture(2)), Some(Field { bottom: true, number: 4 }));
        assert_eq!(finder.field(&picture(3)), None);
        assert_eq!(finder.field(&[picture(1), picture(2)].concat()), None, "both in one");
        assert_eq!(finder.field(&picture(1)[..8]), None);
    }

    /// Baseline up to the flag for frames only: sequence 0 with four bits of frame_num, picture 0.
    #[test]
    fn fields_of_h264_are_found() {
        // Profile, constraints, level; 1 (id), 1 (bits of frame_num), 011 (order 2), 010 (references), 0 (gaps),
        // 1 (width), 1 (height), 0 (fields).
        let sequence = [0x67, 77, 0, 10, 0b1101_1010, 0b0110_0000];
        let picture_set = [0x68, 0b1100_0000];
        let unit = |bytes: &[u8]| [&[0, 0, 1], bytes].concat();
        let sets = [unit(&sequence), unit(&picture_set)].concat();
        // 1 (first block), 1 (kind), 1 (picture 0), 0101 (frame_num 5), 1 (a field), 1 (bottom).
        let bottom = unit(&[0x41, 0b1110_1011, 0b1000_0000]);
        let top = unit(&[0x41, 0b1110_1011, 0b0000_0000]);
        let frame = unit(&[0x41, 0b1110_1010, 0]);
        let mut finder = FieldFinder::H264(Layout::StartCodes, ParameterSets::default());
        assert_eq!(finder.field(&top), None, "nothing is known of it yet");
        assert_eq!(finder.field(&[sets.clone(), top.clone()].concat()), Some(Field { bottom: false, number: 5 }));
        assert_eq!(finder.field(&bottom), Some(Field { bottom: true, number: 5 }));
        assert_eq!(finder.field(&frame), None);
        assert_eq!(finder.field(&[top.clone(), bottom].concat()), None, "both in one");
        // The same sets from a decoder configuration record.
        let mut record = vec![1, 77, 0, 10, 0xff, 0xe1, 0, sequence.len() as u8];
        record.extend(sequence);
        record.extend([1, 0, picture_set.len() as u8]);
        record.extend(picture_set);
        let sets = ParameterSets::from_codec_data(&record);
        assert_eq!(sets.frames_only(), Some(false));
        assert_eq!(sets.field(Layout::StartCodes, &top), Some(Field { bottom: false, number: 5 }));
        let slice = sets.first_slice(Layout::StartCodes, &top).unwrap();
        assert_eq!((slice.reference, slice.frame_num, slice.frame_num_bits), (true, 5, 4));
    }
}
