//! Interpolation without antialiasing, as PyTorch does it: four (or two) neighbours per axis, edges repeated, no rounding
//! in between. Pure.

use super::super::{Interpolation, Rgb};
use super::colours::byte;
use super::{Crop, Picture, Region, Samples};

/// The neighbours of one target pixel along one axis.
type Taps = [(usize, f32); 4];

pub(super) fn interpolate(picture: &Picture, region: &Region, interpolation: Interpolation) -> Rgb {
    let whole = (picture.width, picture.height);
    let planes = match picture.samples {
        Samples::Rgbx(data) => {
            [0, 1, 2].map(|colour| plane(&data[colour..], 4, whole, region.crop, region.size, interpolation))
        }
        Samples::Yuv(planes, _) => planes
            .each_ref()
            .map(|of| plane(&of.data, 1, (of.width, of.height), of.crop(region.crop), region.size, interpolation)),
    };
    let [first, second, third] = &planes;
    let pixels = first.iter().zip(second).zip(third).map(|((a, b), c)| [*a, *b, *c]);
    let data = match picture.samples {
        Samples::Rgbx(_) => pixels.flat_map(|rgb| rgb.map(byte)).collect(),
        Samples::Yuv(_, matrix) => pixels.flat_map(|yuv| matrix.rgb(yuv)).collect(),
    };
    Rgb { width: region.size.0, height: region.size.1, data }
}

/// Of bytes that lie `step` apart.
fn plane(
    data: &[u8],
    step: usize,
    (width, height): (u32, u32),
    (left, top, crop_width, crop_height): Crop,
    size: (u32, u32),
    interpolation: Interpolation,
) -> Vec<f32> {
    let columns: Vec<Taps> = taps(left, crop_width, size.0, width, interpolation);
    let rows: Vec<Taps> = taps(top, crop_height, size.1, height, interpolation);
    let value = |row: &Taps, column: &Taps| {
        let mut sum = 0.0_f32;
        for (y, down) in row {
            let line = y * width as usize;
            for (x, across) in column {
                sum += down * across * f32::from(data[(line + x) * step]);
            }
        }
        sum
    };
    let value = &value;
    rows.iter().flat_map(|row| columns.iter().map(move |column| value(row, column))).collect()
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
