//! MPEG-2 whose pictures are coded field by field, which no encoder at hand makes: all blocks are of one brightness, so each is
//! a difference and an end (ISO/IEC 13818-2, 6.2).

use super::bits::Bits;
use super::picture::{SIDE, luma};

const BLOCK: usize = 16;
/// Table B.12, dct_dc_size_luminance, and B.13, for chrominance.
const LUMA_SIZES: [&str; 9] = ["100", "00", "01", "101", "110", "1110", "11110", "111110", "1111110"];
const CHROMA_SIZE_0: &str = "00";
const END_OF_BLOCK: &str = "10";
/// Tables B.2 and B.3.
const INTRA_BLOCK_OF_I: &str = "1";
const INTRA_BLOCK_OF_P: &str = "00011";
const GREY: i32 = 128;

/// A field of the picture that spells this number, the `index`-th behind a key frame; the first of them with the headers of
/// a sequence.
pub(super) fn field(number: u32, index: u32, bottom: bool, rate: (u32, u32)) -> Vec<u8> {
    let is_intra = index == 0 && !bottom;
    let mut stream = Bits::behind(&[]);
    if is_intra {
        sequence(&mut stream, rate);
    }
    // Order of display, kind, no buffer delay; vectors of P pictures.
    stream.raw([0, 0, 1, 0]).bits(10, index).bits(3, if is_intra { 1 } else { 2 }).bits(16, 0xffff);
    if !is_intra {
        stream.bits(4, 0b0111);
    }
    stream.bits(1, 0);
    // Lengths of vectors, eight bits of brightness, which field it is, nothing else.
    let lengths = if is_intra { 0xffff } else { 0x11ff };
    stream.raw([0, 0, 1, 0xb5]).bits(4, 8).bits(16, lengths).bits(2, 0).bits(2, 1 + u32::from(bottom)).bits(10, 0);
    let picture = luma(number);
    for row in 0..SIDE / BLOCK / 2 {
        stream.raw([0, 0, 1, row as u8 + 1]).bits(5, 1).bits(1, 0);
        let mut before = GREY;
        for column in 0..SIDE / BLOCK {
            stream.code("1").code(if is_intra { INTRA_BLOCK_OF_I } else { INTRA_BLOCK_OF_P });
            for (down, right) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (x, y) = (column * BLOCK + right * BLOCK / 2, row * BLOCK + down * BLOCK / 2);
                let brightness = i32::from(picture[(2 * y + usize::from(bottom)) * SIDE + x]);
                difference(&mut stream, brightness - before);
                before = brightness;
            }
            for _ in 0..2 {
                stream.code(CHROMA_SIZE_0).code(END_OF_BLOCK);
            }
        }
    }
    std::mem::take(&mut stream.bytes)
}

fn difference(stream: &mut Bits, difference: i32) {
    let size = 32 - difference.unsigned_abs().leading_zeros();
    let written = if difference < 0 { difference + (1 << size) - 1 } else { difference };
    stream.code(LUMA_SIZES[size as usize]).bits(size, written as u32).code(END_OF_BLOCK);
}

fn sequence(stream: &mut Bits, rate: (u32, u32)) {
    let side = SIDE as u32;
    let rate = if rate == (25, 1) { 3 } else { 4 };
    stream.raw([0, 0, 1, 0xb3]).bits(12, side).bits(12, side).bits(4, 1).bits(4, rate);
    stream.bits(18, 10_000).bits(1, 1).bits(10, 112).bits(3, 0);
    // Main profile at main level, interlaced, 4:2:0.
    stream.raw([0, 0, 1, 0xb5]).bits(4, 1).bits(8, 0x48).bits(1, 0).bits(2, 1).bits(16, 0).bits(1, 1).bits(16, 0);
    // A closed group.
    stream.raw([0, 0, 1, 0xb8]).bits(25, 1 << 12).bits(1, 1).bits(1, 0);
}
