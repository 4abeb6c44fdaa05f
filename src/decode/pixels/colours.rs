//! From luma and chroma to red, green and blue. Pure.
//!
//! GStreamer's own way from luma and chroma to red, green and blue is fast and rounds down three times: its pictures are darker
//! by one or two steps of 255 than the standards ask for. FFmpeg lies in between.

/// How luma and the chroma of blue and red become red, green and blue (ITU-R BT.601, BT.709, BT.2020).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix {
    /// Shares of red and blue in the luma.
    pub red: f32,
    pub blue: f32,
    /// All values are used, not 16 to 235 (luma) and 16 to 240 (chroma).
    pub is_full: bool,
}

impl Matrix {
    /// Red, green and blue of luma and of the chroma of blue and red.
    pub(super) fn rgb(self, [luma, of_blue, of_red]: [f32; 3]) -> [u8; 3] {
        let Self { red, blue, is_full } = self;
        let (luma, of_blue, of_red) = match is_full {
            true => (luma, of_blue - 128.0, of_red - 128.0),
            false => {
                let chroma = 255.0 / 224.0;
                ((luma - 16.0) * 255.0 / 219.0, (of_blue - 128.0) * chroma, (of_red - 128.0) * chroma)
            }
        };
        let r = luma + 2.0 * (1.0 - red) * of_red;
        let b = luma + 2.0 * (1.0 - blue) * of_blue;
        [r, (luma - red * r - blue * b) / (1.0 - red - blue), b].map(byte)
    }
}

pub(super) fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_black_and_red_of_the_standards() {
        let bt601 = Matrix { red: 0.299, blue: 0.114, is_full: false };
        let bt709 = Matrix { red: 0.2126, blue: 0.0722, is_full: false };
        let full = Matrix { red: 0.299, blue: 0.114, is_full: true };
        for (matrix, yuv, expected) in [
            (bt601, [235, 128, 128], [255, 255, 255]),
            (bt601, [16, 128, 128], [0, 0, 0]),
            (bt601, [126, 128, 128], [128, 128, 128]),
            (bt601, [81, 90, 240], [254, 0, 0]),
            (bt709, [63, 102, 240], [255, 1, 0]),
            (full, [76, 85, 255], [254, 0, 0]),
            (full, [200, 128, 128], [200, 200, 200]),
        ] {
            assert_eq!(matrix.rgb(yuv.map(|value: u8| f32::from(value))), expected, "{matrix:?} {yuv:?}");
        }
    }
}
