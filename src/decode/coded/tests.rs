//! Frames of each codec, written by hand.

use proptest::prelude::*;

use super::*;

const CODES: Layout = Layout::StartCodes;

fn coded(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 1][..], unit].concat()).collect()
}

fn look(codec: Codec, frame: &[u8]) -> Said {
    Inspector::new(Some(codec), None).look(frame, true)
}

fn is_disposable(codec: Codec, frame: &[u8]) -> bool {
    look(codec, frame).disposable
}

#[test]
fn h264_frames_that_are_no_reference() {
    let disposable = |units: &[&[u8]]| is_disposable(Codec::H264, &coded(units));
    assert!(disposable(&[&[0x09, 0x30], &[0x01, 0x9a], &[0x01, 0x9b]]));
    assert!(!disposable(&[&[0x01, 0x9a], &[0x41, 0x9b]]), "one slice is referred to");
    assert!(!disposable(&[&[0x65, 0x88]]));
    assert!(!disposable(&[&[0x09, 0x30]]), "nothing is known of it");
}

#[test]
fn h265_frames_that_are_no_reference() {
    let mut record = [0; 23];
    record[21] = 0b0000_1111;
    let disposable = |units: &[&[u8]]| {
        let mut inspector = Inspector::new(Some(Codec::H265), None);
        inspector.look(&coded(&[&[0x40, 0x01, 0x0c, 0x01]]), false);
        inspector.look(&coded(units), true).disposable
    };
    assert!(disposable(&[&[0x46, 0x01], &[0x00, 0x01, 0xe0]]), "TRAIL_N");
    assert!(disposable(&[&[0x10, 0x01, 0xe0]]), "RASL_N");
    assert!(!disposable(&[&[0x02, 0x01, 0xe0]]), "TRAIL_R");
    assert!(!disposable(&[&[0x26, 0x01, 0xe0]]), "IDR");
    assert!(!disposable(&[&[0x00, 0x02, 0xe0]]), "a higher layer");
    assert!(!is_disposable(Codec::H265, &coded(&[&[0x00, 0x01, 0xe0]])), "the layers are not known");
    let set = coded(&[&[0x40, 0x01, 0x0c, 0x03, 0xff]]);
    assert_eq!(h265_sub_layers(None, CODES, &set), Some(2));
    assert_eq!(h265_sub_layers(None, CODES, &coded(&[&[0x40, 0x01, 0x0c, 0x01]])), Some(1));
    assert_eq!(h265_sub_layers(None, CODES, &coded(&[&[0x02, 0x01]])), None);
    assert_eq!(h265_sub_layers(Some(&record), CODES, &[]), Some(1));
}

#[test]
fn only_intra_pictures_of_mpeg2_are_key_frames() {
    let key = |kind: u8| {
        let frame = [0, 0, 1, 0, 0, kind << 3, 0, 0, 0, 1, 1];
        Inspector::new(Some(Codec::Mpeg2), None).look(&frame, false).key
    };
    assert_eq!([1, 2, 3].map(key), [true, false, false]);
}

#[test]
fn b_pictures_of_mpeg() {
    let mpeg2 = |byte: u8| is_disposable(Codec::Mpeg2, &[0, 0, 1, 0, 0, byte, 0, 0, 0, 1, 1]);
    assert!(mpeg2(3 << 3) && !mpeg2(1 << 3) && !mpeg2(2 << 3));
    let fields = |second: u8| [0, 0, 1, 0, 0, 3 << 3, 0, 0, 0, 1, 0, 0, second << 3, 0, 0];
    assert!(is_disposable(Codec::Mpeg2, &fields(3)) && !is_disposable(Codec::Mpeg2, &fields(2)), "two fields");
    let mpeg4 = |bytes: &[u8]| is_disposable(Codec::Mpeg4, bytes);
    assert!(mpeg4(&[0, 0, 1, 0xb6, 0x80]) && !mpeg4(&[0, 0, 1, 0xb6, 0x40]));
    assert!(!mpeg4(&[0, 0, 1, 0xb6, 0x40, 0, 0, 1, 0xb6, 0x80]), "a P and a B frame packed together");
}

#[test]
fn closed_groups_are_told() {
    let inspector = |codec| Inspector::new(Some(codec), None);
    let mpeg2 = |byte: u8| inspector(Codec::Mpeg2).is_closed(&[0, 0, 1, 0xb8, 0, 8, 0, byte, 0, 0, 1, 0, 0, 8]);
    assert!(mpeg2(0x40) && !mpeg2(0x20));
    let h264 = |unit: u8| inspector(Codec::H264).is_closed(&coded(&[&[0x09, 0x10], &[unit, 0x88]]));
    assert!(h264(0x65) && !h264(0x41));
    let h265 = |kind: u8| inspector(Codec::H265).is_closed(&coded(&[&[kind << 1, 1, 0x80]]));
    assert!(h265(19) && !h265(20) && !h265(21));
    assert!(!inspector(Codec::Vp9).is_closed(&[0x82, 0]));
}

#[test]
fn vp9_frames_that_refresh_nothing_and_such_that_are_not_shown() {
    // Marker 10, profile 00, not existing, not a key frame, shown, not resilient; reset 00; flags.
    let frame = |flags: u8| [0b1000_0110, flags >> 2, flags << 6, 0, 1];
    assert!(is_disposable(Codec::Vp9, &frame(0)));
    assert!(!is_disposable(Codec::Vp9, &frame(4)));
    assert!(!is_disposable(Codec::Vp9, &[0b1000_0010, 0, 0]), "a key frame");
    assert!(!is_disposable(Codec::Vp9, &[0b1000_0110, 0, 0, 0xc0]), "a superframe");
    let hidden = Said { key: false, hidden: true, disposable: false };
    assert_eq!(look(Codec::Vp9, &[0b1000_0100, 0, 0, 0, 1]), hidden);
    assert_eq!(look(Codec::Vp9, &[0b1000_1000]), Said::default(), "an earlier frame is shown");
    let key = |first: u8| Inspector::new(Some(Codec::Vp9), None).look(&[first, 0, 0], true).key;
    assert!(key(0b1000_0010) && key(0b1011_0000), "whatever the container says");
    assert!(!key(0b1000_0110) && !key(0b1000_1000) && !key(0b1011_0010));
}

#[test]
fn vp8_frames_say_what_they_are_whatever_the_container_says() {
    let mut inspector = Inspector::new(Some(Codec::Vp8), None);
    for delta in [false, true] {
        assert!(inspector.look(&[0b0001_0000, 0, 0], delta).key && !inspector.look(&[0b0001_0001, 0, 0], delta).key);
    }
    assert!(look(Codec::Vp8, &[0b0000_0001, 0, 0]).hidden);
    assert!(!look(Codec::Vp8, &[0b0001_0001, 0, 0]).hidden);
    assert!(!look(Codec::Vp8, &[]).hidden);
}

/// Of baseline profile, with four bits for the number of a frame, and a picture that counts so many frames to recover.
fn recovery_point(count: u8, number: u8) -> Vec<u8> {
    let sets: [&[u8]; 2] = [&[0x67, 66, 0, 10, 0b1101_1010, 0b0111_0000], &[0x68, 0b1100_0000]];
    coded(&[sets[0], sets[1], &[0x06, 6, 1, count, 0x80], &numbered(number)])
}

/// The slice of a reference frame: first block, kind, parameter set, and its number.
fn numbered(number: u8) -> [u8; 3] {
    [0x41, 0b1110_0000 | number << 1, 0]
}

#[test]
fn pictures_behind_a_gradual_start_are_shown_once_they_are_whole() {
    let said = |key, hidden| Said { key, hidden, disposable: false };
    let mut inspector = Inspector::new(Some(Codec::H264), None);
    // 00100: three frames more. Numbers start anew behind 15.
    assert_eq!(inspector.look(&recovery_point(0b0010_0100, 14), false), said(true, true));
    for (number, hidden) in [(15, true), (0, true), (1, false), (2, false)] {
        assert_eq!(inspector.look(&coded(&[&numbered(number)]), true), said(false, hidden), "{number}");
    }
    assert_eq!(inspector.look(&recovery_point(0b0010_0100, 3), false), said(false, false), "one of many");
    assert_eq!(inspector.look(&recovery_point(0b1000_0000, 4), false), said(true, false), "a clean one");
}

#[test]
fn frames_behind_a_start_that_is_no_idr_picture_are_numbered_from_zero() {
    let sets = coded(&[&[0x67, 66, 0, 10, 0b1101_1010, 0b0111_0000], &[0x68, 0b1100_0000]]);
    let mut numbers = FrameNumbers::new(None);
    let number = |frame: &[u8]| frame[frame.len() - 2] >> 1 & 15;
    let first = numbers.renumbered(&[sets, coded(&[&numbered(14)])].concat(), true).unwrap();
    assert_eq!(number(&first), 0);
    for (told, expected) in [(15, 1), (0, 2), (3, 5)] {
        assert_eq!(number(&numbers.renumbered(&coded(&[&numbered(told)]), false).unwrap()), expected, "{told}");
    }
    assert_eq!(numbers.renumbered(&coded(&[&[0x65, 0b1110_0000, 0]]), false), None, "an IDR picture");
    assert_eq!(numbers.renumbered(&coded(&[&numbered(1)]), false), None, "what follows on it");
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
        record in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        delta: bool,
    ) {
        let codecs = [
            Codec::H264, Codec::H265, Codec::Mpeg2, Codec::Mpeg4, Codec::Vp8, Codec::Vp9, Codec::Av1,
        ];
        for codec in codecs {
            let mut inspector = Inspector::new(Some(codec), record.as_deref());
            let mut finder = inspector.field_finder();
            let mut numbers = FrameNumbers::new(record.as_deref());
            for frame in &frames {
                numbers.renumbered(frame, !delta);
                inspector.look(frame, delta);
                finder.as_mut().map(|finder| finder.field(frame));
            }
        }
    }
}
