//! Frames of AV1 (AV1 bitstream and decoding process specification, version 1.0.0 with errata 1). Pure.

use super::bits::Bits;

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
/// seq_force_screen_content_tools and seq_force_integer_mv: each frame says it itself.
const SELECT: u32 = 2;
const KEY_FRAME: u32 = 0;
const INTRA_ONLY_FRAME: u32 = 2;
const SWITCH_FRAME: u32 = 3;

/// What of a sequence header is needed to read the heads of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    reduced_still_picture: bool,
    /// Bits of frame_presentation_time, where frames have one.
    presentation_time_bits: u32,
    decoder_model: bool,
    frame_id_bits: u32,
    screen_content_tools: u32,
    integer_motion: u32,
    order_hint_bits: u32,
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    shown: bool,
    /// No later frame can refer to it.
    refreshes_nothing: bool,
}

/// Looks for a sequence header, among the units of a temporal unit or of `configOBUs` (`av1C` without its first four bytes).
pub(super) fn sequence_in(temporal_unit: &[u8]) -> Option<Sequence> {
    units(temporal_unit).find(|(kind, _)| *kind == SEQUENCE_HEADER).and_then(|(_, payload)| sequence(payload))
}

/// Whether a stream of units begins here: with a delimiter, and then the header of a sequence.
pub(in crate::decode) fn is_start(stream: &[u8]) -> bool {
    let kinds: Vec<u8> = units(stream).take(2).map(|(kind, _)| kind).collect();
    stream.starts_with(&[TEMPORAL_DELIMITER << 3 | 2, 0]) && kinds == [TEMPORAL_DELIMITER, SEQUENCE_HEADER]
}

/// Whether a temporal unit begins with a key frame.
pub(in crate::decode) fn begins_with_key(temporal_unit: &[u8]) -> bool {
    let mut heads = units(temporal_unit).filter(|(kind, _)| [FRAME_HEADER, FRAME].contains(kind));
    // 5.9.2: show_existing_frame, then two bits of frame_type. The shorter head of a still picture is as good.
    let is_key =
        |payload: &[u8]| payload.first().is_some_and(|byte| byte >> 7 == 0 && u32::from(byte >> 5 & 3) == KEY_FRAME);
    let is_still = sequence_in(temporal_unit).is_some_and(|sequence| sequence.reduced_still_picture);
    heads.next().is_some_and(|(_, payload)| is_still || is_key(payload))
}

/// Whether all frames of a temporal unit can be left out: they are shown, and no later one refers to them.
pub(super) fn is_disposable(sequence: &Sequence, temporal_unit: &[u8]) -> bool {
    super::all(frames(sequence, temporal_unit).map(|frame| frame.is_some_and(|frame| frame.refreshes_nothing)))
}

/// Whether none of its frames is shown.
pub(super) fn is_hidden(sequence: &Sequence, temporal_unit: &[u8]) -> bool {
    super::all(frames(sequence, temporal_unit).map(|frame| frame.is_some_and(|frame| !frame.shown)))
}

fn frames<'a>(sequence: &'a Sequence, temporal_unit: &'a [u8]) -> impl Iterator<Item = Option<Frame>> + 'a {
    let heads = units(temporal_unit).filter(|(kind, _)| [FRAME_HEADER, FRAME].contains(kind));
    heads.map(|(_, payload)| frame(sequence, payload))
}

/// 5.3: type and payload of each open bitstream unit; what is cut short ends with the data.
fn units(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (head, mut tail) = rest.split_first()?;
        if head & 4 != 0 {
            tail = tail.get(1..)?;
        }
        let size = if head & 2 != 0 { leb128(&mut tail)? } else { tail.len() };
        let (payload, behind) = tail.split_at(size.min(tail.len()));
        rest = behind;
        Some((head >> 3 & 15, payload))
    })
}

/// 4.10.5.
pub(in crate::decode) fn leb128(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for place in 0..8 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// 5.5.1, up to order_hint_bits_minus_1.
fn sequence(payload: &[u8]) -> Option<Sequence> {
    let mut bits = Bits::of(payload.iter().copied());
    bits.skip(4)?;
    let reduced_still_picture = bits.flag()?;
    let (mut presentation_time_bits, mut decoder_model) = (0, false);
    if reduced_still_picture {
        bits.skip(5)?;
    } else {
        let (mut equal_picture_interval, mut delay_bits) = (false, 0);
        if bits.flag()? {
            bits.skip(64)?;
            equal_picture_interval = bits.flag()?;
            if equal_picture_interval {
                bits.golomb()?;
            }
            decoder_model = bits.flag()?;
            if decoder_model {
                delay_bits = bits.number(5)? + 1;
                bits.skip(37)?;
                presentation_time_bits = bits.number(5)? + 1;
            }
        }
        if equal_picture_interval {
            presentation_time_bits = 0;
        }
        let display_delay = bits.flag()?;
        for _ in 0..=bits.number(5)? {
            bits.skip(12)?;
            if bits.number(5)? > 7 {
                bits.skip(1)?;
            }
            if decoder_model && bits.flag()? {
                bits.skip(2 * delay_bits + 1)?;
            }
            if display_delay && bits.flag()? {
                bits.skip(4)?;
            }
        }
    }
    let (width_bits, height_bits) = (bits.number(4)? + 1, bits.number(4)? + 1);
    bits.skip(width_bits + height_bits)?;
    let mut frame_id_bits = 0;
    if !reduced_still_picture && bits.flag()? {
        let (delta, additional) = (bits.number(4)? + 2, bits.number(3)? + 1);
        frame_id_bits = delta + additional;
    }
    bits.skip(3)?;
    let (mut screen_content_tools, mut integer_motion, mut order_hint_bits) = (SELECT, SELECT, 0);
    if !reduced_still_picture {
        bits.skip(4)?;
        let order_hint = bits.flag()?;
        if order_hint {
            bits.skip(2)?;
        }
        if !bits.flag()? {
            screen_content_tools = bits.number(1)?;
        }
        if screen_content_tools > 0 && !bits.flag()? {
            integer_motion = bits.number(1)?;
        }
        if order_hint {
            order_hint_bits = bits.number(3)? + 1;
        }
    }
    Some(Sequence {
        reduced_still_picture,
        presentation_time_bits,
        decoder_model,
        frame_id_bits,
        screen_content_tools,
        integer_motion,
        order_hint_bits,
    })
}

/// 5.9.2, up to refresh_frame_flags.
fn frame(sequence: &Sequence, payload: &[u8]) -> Option<Frame> {
    let mut bits = Bits::of(payload.iter().copied());
    let needed = |shown| Some(Frame { shown, refreshes_nothing: false });
    // A still picture, or one that was decoded before and is shown now.
    if sequence.reduced_still_picture || bits.flag()? {
        return needed(true);
    }
    let (kind, shown) = (bits.number(2)?, bits.flag()?);
    if !shown || kind == KEY_FRAME || kind == SWITCH_FRAME {
        return needed(shown);
    }
    bits.skip(sequence.presentation_time_bits)?;
    let (error_resilient, _disable_cdf_update) = (bits.flag()?, bits.flag()?);
    let screen_content = match sequence.screen_content_tools {
        SELECT => bits.flag()?,
        said => said == 1,
    };
    if screen_content && sequence.integer_motion == SELECT {
        bits.skip(1)?;
    }
    bits.skip(sequence.frame_id_bits)?;
    let _frame_size_override = bits.flag()?;
    bits.skip(sequence.order_hint_bits)?;
    if kind != INTRA_ONLY_FRAME && !error_resilient {
        bits.skip(3)?;
    }
    // Times at which buffers become free may follow, one for each operating point; nobody writes them into files.
    if sequence.decoder_model && bits.flag()? {
        return needed(true);
    }
    Some(Frame { shown, refreshes_nothing: bits.number(8)? == 0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bits to bytes, filled up with zeros.
    fn packed(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
        bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at))).collect()
    }

    fn unit(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind << 3 | 2, payload.len() as u8][..], payload].concat()
    }

    /// Profile 0, no timing, one operating point, 64×64, no frame ids, with order hints of seven bits.
    fn header() -> Vec<u8> {
        let bits = "000 0 0 0 0 00000 000000000000 00000 0101 0101 111111 111111 0 000 0000 1 00 1 1 110";
        unit(SEQUENCE_HEADER, &packed(bits))
    }

    fn shown(kind: &str, flags: &str) -> Vec<u8> {
        // Not existing, kind, shown, not resilient, cdf update, no screen content, no other size, order hint, primary.
        unit(FRAME, &packed(&format!("0 {kind} 1 0 0 0 0 0000001 000 {flags}")))
    }

    #[test]
    fn the_header_of_a_sequence_is_read() {
        let sequence = sequence_in(&[unit(2, &[]), header()].concat()).unwrap();
        assert_eq!(
            sequence,
            Sequence {
                reduced_still_picture: false,
                presentation_time_bits: 0,
                decoder_model: false,
                frame_id_bits: 0,
                screen_content_tools: SELECT,
                integer_motion: SELECT,
                order_hint_bits: 7,
            }
        );
        assert_eq!(sequence_in(&unit(2, &[])), None);
        assert_eq!(sequence_in(&header()[..6]), None);
    }

    #[test]
    fn frames_that_refresh_nothing_can_be_left_out() {
        let sequence = sequence_in(&header()).unwrap();
        let disposable = |units: &[Vec<u8>]| is_disposable(&sequence, &units.concat());
        assert!(disposable(&[unit(2, &[]), shown("01", "00000000")]));
        assert!(!disposable(&[shown("01", "00010000")]));
        assert!(!disposable(&[shown("00", "00000000")]), "a key frame refreshes all");
        let hidden = unit(FRAME, &packed("0 01 0 1 0 0 0 0 0000010 000 00000100"));
        assert!(!disposable(&[hidden.clone(), shown("01", "00000000")]), "it brings a hidden frame along");
        assert!(!disposable(&[unit(FRAME_HEADER, &packed("1 000"))]), "it shows a frame that was hidden");
        assert!(!disposable(&[unit(2, &[])]), "nothing is known of it");
        assert!(is_hidden(&sequence, &hidden));
        assert!(!is_hidden(&sequence, &[hidden, shown("01", "00000000")].concat()));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(data in prop::collection::vec(any::<u8>(), 0..60)) {
            let sequence = sequence_in(&data).or(sequence_in(&header())).unwrap();
            is_disposable(&sequence, &data);
            is_hidden(&sequence, &data);
        }
    }
}
