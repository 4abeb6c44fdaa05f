//! GIFs that are shown again and again, which is what no encoder of GStreamer makes. Their pictures are not compressed: of the
//! codes only those are used that stand for a colour (GIF89a, appendix F).

use super::picture::{SIDE, luma};

const COLOURS: usize = 128;
const CODE_BITS: u32 = 8;
const CLEAR: u32 = COLOURS as u32;
const END: u32 = CLEAR + 1;
/// Before so many codes the decoder's table would ask for longer ones.
const BEFORE_CLEAR: usize = 120;

pub(super) fn file(frames: u32, rate: (u32, u32)) -> Vec<u8> {
    let side = (SIDE as u16).to_le_bytes();
    let mut file = b"GIF89a".to_vec();
    // A table of 2⁷ colours: shades of grey.
    file.extend([side[0], side[1], side[0], side[1], 0xf6, 0, 0]);
    file.extend((0..COLOURS).flat_map(|shade| [shade as u8 * 2; 3]));
    file.extend(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00");
    let hundredths = (100 * rate.1 / rate.0) as u16;
    for number in 0..frames {
        let [low, high] = hundredths.to_le_bytes();
        file.extend([0x21, 0xf9, 4, 0, low, high, 0, 0]);
        file.extend([0x2c, 0, 0, 0, 0, side[0], side[1], side[0], side[1], 0, CODE_BITS as u8 - 1]);
        for block in codes(number).chunks(255) {
            file.push(block.len() as u8);
            file.extend(block);
        }
        file.push(0);
    }
    file.push(0x3b);
    file
}

/// Of eight bits each, the first bit last.
fn codes(number: u32) -> Vec<u8> {
    let mut codes = Vec::new();
    for pixels in luma(number).chunks(BEFORE_CLEAR) {
        codes.push(CLEAR as u8);
        codes.extend(pixels.iter().map(|value| value / 2));
    }
    codes.push(END as u8);
    codes
}
