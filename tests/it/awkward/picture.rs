//! Pictures that spell their number in black and white blocks.

use std::time::Duration;

use clipseek::decode::{Frame, Rgb};

/// Sides of a picture and of a block in it, in pixels.
pub(super) const SIDE: usize = 64;
const BLOCK: usize = 16;

/// The blocks of a picture, row by row: eight bits of its number, and the same inverted, so that a mixture of two pictures
/// is none.
fn blocks(number: u32) -> [bool; 16] {
    std::array::from_fn(|place| (number >> (place % 8) & 1 == 1) != (place >= 8))
}

pub(super) fn luma(number: u32) -> Vec<u8> {
    let blocks = blocks(number);
    let luma = |place: usize| {
        let (x, y) = (place % SIDE, place / SIDE);
        if blocks[y / BLOCK * 4 + x / BLOCK] { 235 } else { 16 }
    };
    (0..SIDE * SIDE).map(luma).collect()
}

/// I420.
pub(super) fn picture(number: u32) -> Vec<u8> {
    luma(number).into_iter().chain(std::iter::repeat_n(128, SIDE * SIDE / 2)).collect()
}

/// The number that a picture spells.
pub(super) fn spelled(frame: &Frame) -> Option<u32> {
    let rgb = &frame.pixels;
    let side = rgb.width as usize;
    let is_white = |place: usize| {
        let (x, y) = ((place % 4 * 2 + 1) * side / 8, (place / 4 * 2 + 1) * side / 8);
        rgb.data[(y * side + x) * 3] > 127
    };
    let number = (0..8).map(|bit| u32::from(is_white(bit)) << bit).sum();
    (0..16).all(|place| is_white(place) == blocks(number)[place]).then_some(number)
}

#[test]
fn a_picture_spells_its_number() {
    for number in 0..256 {
        let luma = picture(number);
        let data = luma[..SIDE * SIDE].iter().flat_map(|value| [*value; 3]).collect();
        let rgb = Rgb { width: SIDE as u32, height: SIDE as u32, data };
        let frame = Frame { pts: Duration::ZERO, until: None, pixels: rgb.into(), thumbnail: None };
        assert_eq!(spelled(&frame), Some(number));
    }
}
