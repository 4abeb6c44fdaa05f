//! H.264 whose pictures are coded field by field, which no encoder at hand makes: every block is written as it is (I_PCM), so
//! that a slice is little more than its head (ITU-T H.264, 7.3).

use super::bits::Bits;
use super::picture::{SIDE, luma};

const BLOCK: usize = 16;
/// Blocks across a picture, and down a field.
const ACROSS: usize = SIDE / BLOCK;
const DOWN: usize = SIDE / BLOCK / 2;
const FRAME_NUM_BITS: u32 = 8;

/// With the last bit of a unit, and with a 3 wherever its bytes might look like a start code.
fn finished(unit: &mut Bits) -> Vec<u8> {
    unit.bits(1, 1);
    let (mut escaped, mut zeros) = (Vec::new(), 0);
    for byte in &unit.bytes {
        if zeros == 2 && *byte <= 3 {
            escaped.push(3);
            zeros = 0;
        }
        escaped.push(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
    }
    escaped
}

/// Main profile, level 1, and as many fields a second as twice the rate.
fn sequence(rate: (u32, u32)) -> Vec<u8> {
    let mut unit = Bits::behind(&[0x67]);
    unit.bits(8, 77).bits(8, 0).bits(8, 10).golomb(0).golomb(FRAME_NUM_BITS - 4);
    // Shown as coded; one reference frame; no gaps; size in blocks and in pairs of blocks; fields, without adaptive frames.
    unit.golomb(2).golomb(1).bits(1, 0).golomb(ACROSS as u32 - 1).golomb(DOWN as u32 - 1).bits(2, 0);
    // Direct prediction, no cropping; of the description of use only the timing is there.
    unit.bits(1, 1).bits(1, 0).bits(1, 1).bits(4, 0).bits(1, 1).bits(32, rate.1).bits(32, 2 * rate.0).bits(1, 1);
    finished(unit.bits(4, 0))
}

fn picture_set() -> Vec<u8> {
    let mut unit = Bits::behind(&[0x68]);
    // CAVLC, no other order of fields, one slice group, one reference, no weights, usual quantisers.
    unit.golomb(0).golomb(0).bits(2, 0).golomb(0).golomb(0).golomb(0).bits(3, 0).golomb(0).golomb(0).golomb(0);
    finished(unit.bits(3, 0b100))
}

/// A field of the picture that spells this number, the `index`-th behind a key frame. Every other picture is referred to by
/// none.
fn field(number: u32, index: u32, bottom: bool) -> Vec<u8> {
    let (is_idr, reference) = (index == 0 && !bottom, index.is_multiple_of(2));
    let mut unit = Bits::behind(&[if is_idr { 0x65 } else { u8::from(reference) << 6 | 1 }]);
    let frame_num = index.div_ceil(2) % (1 << FRAME_NUM_BITS);
    unit.golomb(0).golomb(if is_idr { 7 } else { 5 }).golomb(0).bits(FRAME_NUM_BITS, frame_num);
    unit.bits(1, 1).bits(1, u32::from(bottom));
    match is_idr {
        true => unit.golomb(number % 2),
        // The usual number of references, in the usual order.
        false => unit.bits(2, 0),
    };
    match (is_idr, reference) {
        (true, _) => unit.bits(2, 0),
        (false, true) => unit.bits(1, 0),
        (false, false) => &mut unit,
    };
    // No change of the quantiser, no deblocking.
    unit.golomb(0).golomb(1);
    let picture = luma(number);
    for block in 0..ACROSS * DOWN {
        match is_idr {
            true => unit.golomb(25),
            false => unit.golomb(0).golomb(30),
        };
        let (x, y) = (block % ACROSS * BLOCK, block / ACROSS * BLOCK);
        let row = |line: usize| (2 * (y + line) + usize::from(bottom)) * SIDE + x;
        let pixels = (0..BLOCK).flat_map(|line| picture[row(line)..][..BLOCK].iter().copied());
        unit.raw(pixels.chain(std::iter::repeat_n(128, BLOCK * BLOCK / 2)));
    }
    finished(&mut unit)
}

/// An access unit of one field; a key frame brings the parameter sets along where there are start codes.
pub(super) fn packet(number: u32, index: u32, bottom: bool, rate: (u32, u32), start_codes: bool) -> Vec<u8> {
    let mut units = vec![field(number, index, bottom)];
    if start_codes {
        if index == 0 && !bottom {
            units.splice(0..0, [sequence(rate), picture_set()]);
        }
        units.insert(0, vec![0x09, 0xf0]);
    }
    let head = |unit: &[u8]| if start_codes { [0, 0, 0, 1] } else { (unit.len() as u32).to_be_bytes() };
    units.iter().flat_map(|unit| [&head(unit)[..], unit].concat()).collect()
}

/// The decoder configuration record (ISO/IEC 14496-15, 5.3.3.1).
pub(super) fn record(rate: (u32, u32)) -> Vec<u8> {
    let (sequence, picture) = (sequence(rate), picture_set());
    let sized = |set: &[u8]| [&(set.len() as u16).to_be_bytes(), set].concat();
    [&[1, 77, 0, 10, 0xff, 0xe1][..], &sized(&sequence), &[1], &sized(&picture)].concat()
}
