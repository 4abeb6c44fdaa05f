//! Interpolation without antialiasing, as PyTorch does it: four (or two) neighbours per axis, edges repeated, no rounding
//! in between. Pure.

use super::super::{Interpolation, Rgb};
use super::{Picture, Region};

/// The neighbours of one target pixel along one axis.
type Taps = [(usize, f32); 4];

pub(super) fn interpolate(picture: &Picture, region: &Region, interpolation: Interpolation) -> Rgb {
    let (left, top, crop_width, crop_height) = region.crop;
    let (width, height) = region.size;
    let columns: Vec<Taps> = taps(left, crop_width, width, picture.width, interpolation);
    let rows: Vec<Taps> = taps(top, crop_height, height, picture.height, interpolation);
    let line = picture.width as usize * 4;
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for row in &rows {
        for column in &columns {
            let mut sum = [0.0_f32; 3];
            for (y, down) in row {
                let line = &picture.data[y * line..(y + 1) * line];
                for (x, across) in column {
                    let weight = down * across;
                    for (sum, value) in sum.iter_mut().zip(picture.colours.of(&line[x * 4..x * 4 + 4])) {
                        *sum += weight * f32::from(value);
                    }
                }
            }
            data.extend(picture.colours.rgb(sum));
        }
    }
    Rgb { width, height, data }
}

fn taps(start: f64, length: f64, count: u32, available: u32, interpolation: Interpolation) -> Vec<Taps> {
    let scale = length / f64::from(count);
    let last = i64::from(available) - 1;
    let weight = |distance: f64| match interpolation {
        Interpolation::Bicubic => cubic(-0.5, distance),
        Interpolation::BicubicA075 => cubic(-0.75, distance),
        Interpolation::Bilinear => (1.0 - distance.abs()).max(0.0),
    };
    let place = |index: u32| {
        let centre = start + (f64::from(index) + 0.5) * scale - 0.5;
        let first = centre.floor() as i64 - 1;
        [0, 1, 2, 3].map(|tap| {
            let at = first + tap;
            (at.clamp(0, last) as usize, weight(centre - at as f64) as f32)
        })
    };
    (0..count).map(place).collect()
}

/// The cubic kernel with this parameter.
pub(super) fn cubic(a: f64, x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}
