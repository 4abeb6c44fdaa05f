//! Whether a coded frame is one that no other frame refers to. Where its picture is not wanted it need not be decoded, and
//! all others come out the same bit for bit. Pure.
//!
//! What is not certain counts as needed: field-coded video, where one picture is coded in two parts; layers of frames
//! (HEVC's temporal sub-layers), unless there is just one; frames packed together with others.

use super::h264::{Layout, units};

/// How the frames of a stream are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// ITU-T H.264, progressive.
    H264(Layout),
    /// ITU-T H.265.
    H265(Layout),
    /// MPEG-1 and MPEG-2 video.
    Mpeg2,
    /// MPEG-4 part 2.
    Mpeg4,
    Vp9,
}

pub(super) fn is_disposable(syntax: Syntax, frame: &[u8]) -> bool {
    match syntax {
        // 7.4.1: a slice (types 1 to 5) with nal_ref_idc 0 is no part of a reference picture.
        Syntax::H264(layout) => all(units(layout, frame).filter_map(|unit| {
            let head = *unit.first()?;
            (1..=5).contains(&(head & 0x1f)).then_some(head >> 5 & 3 == 0)
        })),
        // Table 7-1: of the types below 16 the even ones are sub-layer non-reference pictures.
        Syntax::H265(layout) => all(units(layout, frame).filter_map(|unit| {
            let kind = unit.first()? >> 1 & 0x3f;
            let lowest_layer = unit.get(1)? & 7 == 1;
            (kind < 32).then_some(kind < 16 && kind % 2 == 0 && lowest_layer)
        })),
        // 6.2.3: picture_coding_type behind ten bits of temporal_reference; 3 is a B picture. 6.2.3.1, the picture coding
        // extension (8): picture_structure 3 is a whole frame.
        Syntax::Mpeg2 => {
            let mut extensions =
                behind_codes(frame, 0xb5).filter(|head| head.first().is_some_and(|byte| byte >> 4 == 8));
            all(behind_codes(frame, 0x00).map(|head| head.get(1).is_some_and(|byte| byte >> 3 & 7 == 3)))
                && extensions.all(|head| head.get(2).is_some_and(|byte| byte & 3 == 3))
        }
        // 6.2.5: vop_coding_type; 2 is a B-VOP.
        Syntax::Mpeg4 => all(behind_codes(frame, 0xb6).map(|head| head.first().is_some_and(|byte| byte >> 6 == 2))),
        Syntax::Vp9 => vp9_refreshes_nothing(frame).unwrap_or(false),
    }
}

/// Whether there is any part, and all parts say so.
fn all(mut parts: impl Iterator<Item = bool>) -> bool {
    parts.next() == Some(true) && parts.all(|part| part)
}

/// What follows on each start code of this kind.
fn behind_codes(frame: &[u8], kind: u8) -> impl Iterator<Item = &[u8]> {
    let starts = frame.windows(4).enumerate().filter(move |(_, code)| *code == [0, 0, 1, kind]);
    starts.map(|(at, _)| &frame[at + 4..])
}

/// VP9 bitstream specification, 6.2: the fields up to refresh_frame_flags.
fn vp9_refreshes_nothing(frame: &[u8]) -> Option<bool> {
    // A superframe, which ends with an index of its frames, holds hidden ones that others need.
    if frame.last()? & 0xe0 == 0xc0 {
        return None;
    }
    let mut at = 0;
    let mut bits = |count: usize| -> Option<u32> {
        (0..count).try_fold(0, |value, _| {
            let bit = frame.get(at / 8)? >> (7 - at % 8) & 1;
            at += 1;
            Some(value << 1 | u32::from(bit))
        })
    };
    if bits(2)? != 2 {
        return None;
    }
    let profile = bits(1)? | bits(1)? << 1;
    if profile == 3 {
        bits(1)?;
    }
    let (show_existing_frame, non_key) = (bits(1)? == 1, bits(1)? == 1);
    let (show_frame, error_resilient) = (bits(1)? == 1, bits(1)? == 1);
    if show_existing_frame || !non_key || !show_frame {
        return None;
    }
    if !error_resilient {
        bits(2)?;
    }
    Some(bits(8)? == 0)
}

/// Number of temporal sub-layers that an H.265 stream may have: from the decoder configuration record (`hvcC`), else from
/// the video parameter set in a frame.
pub(super) fn h265_sub_layers(record: Option<&[u8]>, layout: Layout, frame: &[u8]) -> Option<u8> {
    if let Some(record) = record {
        return Some(record.get(21)? >> 3 & 7);
    }
    const VIDEO_PARAMETER_SET: u8 = 32;
    let set =
        units(layout, frame).find(|unit| unit.first().is_some_and(|head| head >> 1 & 0x3f == VIDEO_PARAMETER_SET))?;
    // Behind the header of two bytes: 4 + 2 + 6 bits, and then vps_max_sub_layers_minus1.
    Some((set.get(3)? >> 1 & 7) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODES: Layout = Layout::StartCodes;

    fn coded(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, 0, 1][..], unit].concat()).collect()
    }

    #[test]
    fn h264_frames_that_are_no_reference() {
        let disposable = |units: &[&[u8]]| is_disposable(Syntax::H264(CODES), &coded(units));
        assert!(disposable(&[&[0x09, 0x30], &[0x01, 0x9a], &[0x01, 0x9b]]));
        assert!(!disposable(&[&[0x01, 0x9a], &[0x41, 0x9b]]), "one slice is referred to");
        assert!(!disposable(&[&[0x65, 0x88]]));
        assert!(!disposable(&[&[0x09, 0x30]]), "nothing is known of it");
    }

    #[test]
    fn h265_frames_that_are_no_reference() {
        let disposable = |units: &[&[u8]]| is_disposable(Syntax::H265(CODES), &coded(units));
        assert!(disposable(&[&[0x46, 0x01], &[0x00, 0x01, 0xe0]]), "TRAIL_N");
        assert!(disposable(&[&[0x10, 0x01, 0xe0]]), "RASL_N");
        assert!(!disposable(&[&[0x02, 0x01, 0xe0]]), "TRAIL_R");
        assert!(!disposable(&[&[0x26, 0x01, 0xe0]]), "IDR");
        assert!(!disposable(&[&[0x00, 0x02, 0xe0]]), "a higher layer");
        let set = coded(&[&[0x40, 0x01, 0x0c, 0x03, 0xff]]);
        assert_eq!(h265_sub_layers(None, CODES, &set), Some(2));
        assert_eq!(h265_sub_layers(None, CODES, &coded(&[&[0x40, 0x01, 0x0c, 0x01]])), Some(1));
        assert_eq!(h265_sub_layers(None, CODES, &coded(&[&[0x02, 0x01]])), None);
        let mut record = [0; 23];
        record[21] = 0b0000_1111;
        assert_eq!(h265_sub_layers(Some(&record), CODES, &[]), Some(1));
    }

    #[test]
    fn b_pictures_of_mpeg() {
        let mpeg2 = |byte: u8| is_disposable(Syntax::Mpeg2, &[0, 0, 1, 0, 0, byte, 0, 0, 0, 1, 1]);
        assert!(mpeg2(3 << 3) && !mpeg2(1 << 3) && !mpeg2(2 << 3));
        let field = [0, 0, 1, 0, 0, 3 << 3, 0, 0, 1, 0xb5, 0x8f, 0xff, 0xf1];
        assert!(!is_disposable(Syntax::Mpeg2, &field), "one field of a frame");
        let mpeg4 = |bytes: &[u8]| is_disposable(Syntax::Mpeg4, bytes);
        assert!(mpeg4(&[0, 0, 1, 0xb6, 0x80]) && !mpeg4(&[0, 0, 1, 0xb6, 0x40]));
        assert!(!mpeg4(&[0, 0, 1, 0xb6, 0x40, 0, 0, 1, 0xb6, 0x80]), "a P and a B frame packed together");
    }

    #[test]
    fn vp9_frames_that_refresh_nothing() {
        // Marker 10, profile 00, not existing, not a key frame, shown, not resilient; reset 00; flags.
        let frame = |flags: u8| [0b1000_0110, flags >> 2, flags << 6, 0, 1];
        assert!(is_disposable(Syntax::Vp9, &frame(0)));
        assert!(!is_disposable(Syntax::Vp9, &frame(4)));
        assert!(!is_disposable(Syntax::Vp9, &[0b1000_0010, 0, 0]), "a key frame");
        assert!(!is_disposable(Syntax::Vp9, &[0b1000_0110, 0, 0, 0xc0]), "a superframe");
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(frame in prop::collection::vec(any::<u8>(), 0..60)) {
            for syntax in [
                Syntax::H264(CODES), Syntax::H264(Layout::Lengths(4)), Syntax::H265(CODES), Syntax::H265(Layout::Lengths(2)),
                Syntax::Mpeg2, Syntax::Mpeg4, Syntax::Vp9,
            ] {
                is_disposable(syntax, &frame);
            }
            h265_sub_layers(None, CODES, &frame);
            h265_sub_layers(Some(&frame), CODES, &[]);
        }
    }
}
