//! Turns pictures into the values that a graph takes. Pure.

use super::EmbedError;
use super::manifest::Pixels;
use crate::decode::Frame;

/// Normalises 8-bit RGB frames to float32, one colour plane after the other (CHW).
pub(super) struct Normaliser {
    width: u32,
    height: u32,
    /// For each colour, the normalised value of each 8-bit value x: (x / 255 − mean) / std.
    tables: [[f32; 256]; 3],
}

impl Normaliser {
    pub(super) fn new(pixels: &Pixels) -> Self {
        let table = |c: usize| std::array::from_fn(|x| ((x as f64 / 255.0 - pixels.mean[c]) / pixels.std[c]) as f32);
        Self { width: pixels.width, height: pixels.height, tables: [table(0), table(1), table(2)] }
    }

    /// Values per frame.
    pub(super) fn len(&self) -> usize {
        3 * self.width as usize * self.height as usize
    }

    pub(super) fn shape(&self) -> [i64; 3] {
        [3, i64::from(self.height), i64::from(self.width)]
    }

    pub(super) fn append(&self, frame: &Frame, out: &mut Vec<f32>) -> Result<(), EmbedError> {
        let rgb = &frame.pixels;
        if (rgb.width, rgb.height) != (self.width, self.height) || rgb.data.len() != self.len() {
            return Err(EmbedError::Input(format!(
                "a frame is {}×{} with {} bytes, the model takes {}×{} RGB",
                rgb.width,
                rgb.height,
                rgb.data.len(),
                self.width,
                self.height
            )));
        }
        for (colour, table) in self.tables.iter().enumerate() {
            out.extend(rgb.data.chunks_exact(3).map(|pixel| table[usize::from(pixel[colour])]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decode::{Interpolation, Resize, Rgb};

    fn pixels() -> Pixels {
        Pixels {
            width: 2,
            height: 1,
            resize: Resize::Stretch,
            interpolation: Interpolation::Bilinear,
            antialias: true,
            mean: [0.0, 0.5, 1.0],
            std: [1.0, 0.5, 0.25],
        }
    }

    fn frame(width: u32, data: &[u8]) -> Frame {
        Frame {
            pts: Duration::ZERO,
            until: None,
            pixels: Rgb { width, height: 1, data: data.to_vec() }.into(),
            thumbnail: None,
        }
    }

    #[test]
    fn planes_one_after_the_other() {
        let mut out = Vec::new();
        Normaliser::new(&pixels()).append(&frame(2, &[0, 0, 0, 255, 255, 255]), &mut out).unwrap();
        assert_eq!(out, [0.0, 1.0, -1.0, 1.0, -4.0, 0.0]);
    }

    #[test]
    fn another_size_is_refused() {
        let error = Normaliser::new(&pixels()).append(&frame(1, &[0, 0, 0]), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "a frame is 1×1 with 3 bytes, the model takes 2×1 RGB");
    }
}
