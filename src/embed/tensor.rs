//! Pictures to the numbers a graph takes; pure.

use super::EmbedError;
use super::manifest::Pixels;
use crate::decode::Frame;

/// Writes frames as normalised float32, colour planes one after the other (NCHW), from 8-bit RGB.
pub(super) struct Normaliser {
    width: u32,
    height: u32,
    /// For each colour, what every 8-bit value becomes: (x / 255 − mean) / std.
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

/// Which of `have` items stand for the `want` a graph takes: spread evenly, repeated where there are fewer
/// (numpy's `trunc(linspace(0, have - 1, want))`).
pub(super) fn spread(have: usize, want: usize) -> Vec<usize> {
    let last = have.saturating_sub(1);
    let step = last as f64 / want.saturating_sub(1).max(1) as f64;
    let mut picks: Vec<usize> = (0..want).map(|i| (i as f64 * step) as usize).collect();
    if want > 1 {
        picks[want - 1] = last;
    }
    picks
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
        Frame { pts: Duration::ZERO, pixels: Rgb { width, height: 1, data: data.to_vec() }, thumbnail: None }
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

    #[test]
    fn spread_is_numpy_linspace_truncated() {
        assert_eq!(spread(3, 8), [0, 0, 0, 0, 1, 1, 1, 2]);
        assert_eq!(spread(1, 3), [0, 0, 0]);
        assert_eq!(spread(8, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(spread(100, 4), [0, 33, 66, 99]);
        assert_eq!(spread(5, 1), [0]);
        let many = spread(154, 64);
        assert_eq!((many[21], many[63]), (50, 153), "not 51: the step is a rounded float64");
    }

    #[test]
    fn spread_agrees_with_the_official_loader() {
        let root =
            std::env::var("CLIPSEEK_SHARED").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").to_owned());
        let Ok(cases) = std::fs::read_to_string(format!("{root}/fixtures/parity/frame_sampling/cases.json")) else {
            println!("skipped: no parity fixtures in {root}");
            return;
        };
        let cases: serde_json::Value = serde_json::from_str(&cases).unwrap();
        let cases = cases["clip_vip"].as_array().unwrap();
        assert!(cases.len() > 3);
        for case in cases {
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let selected: Vec<usize> = serde_json::from_value(case["selected"].clone()).unwrap();
            assert_eq!(spread(number("frame_count"), number("num_frames")), selected);
        }
    }
}
