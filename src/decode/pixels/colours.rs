//! What the bytes of a pixel mean. Pure.
//!
//! GStreamer's own way from luma and chroma to red, green and blue is fast and rounds down three times: its pictures are darker
//! by one or two steps of 255 than the standards ask for. FFmpeg lies in between.

/// The bytes of a pixel, and how they become red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colours {
    /// Red, green, blue, and one that is not used.
    Rgb,
    /// One that is not used, luma, and the chroma of blue and red (ITU-R BT.601, BT.709, BT.2020).
    Yuv {
        /// Shares of red and blue in the luma.
        red: f32,
        blue: f32,
        /// All values are used, not 16 to 235 (luma) and 16 to 240 (chroma).
        is_full: bool,
    },
}

impl Colours {
    /// The three bytes of a pixel that are used.
    pub(super) fn of(self, pixel: &[u8]) -> [u8; 3] {
        match self {
            Self::Rgb => [pixel[0], pixel[1], pixel[2]],
            Self::Yuv { .. } => [pixel[1], pixel[2], pixel[3]],
        }
    }

    /// Red, green and blue of these three values.
    pub(super) fn rgb(self, values: [f32; 3]) -> [u8; 3] {
        let rgb = match self {
            Self::Rgb => values,
            Self::Yuv { red, blue, is_full } => {
                let [luma, of_blue, of_red] = values;
                let (luma, of_blue, of_red) = match is_full {
                    true => (luma, of_blue - 128.0, of_red - 128.0),
                    false => {
                        let chroma = 255.0 / 224.0;
                        ((luma - 16.0) * 255.0 / 219.0, (of_blue - 128.0) * chroma, (of_red - 128.0) * chroma)
                    }
                };
                let r = luma + 2.0 * (1.0 - red) * of_red;
                let b = luma + 2.0 * (1.0 - blue) * of_blue;
                [r, (luma - red * r - blue * b) / (1.0 - red - blue), b]
            }
        };
        rgb.map(|value| value.round().clamp(0.0, 255.0) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_black_and_red_of_the_standards() {
        let bt601 = Colours::Yuv { red: 0.299, blue: 0.114, is_full: false };
        let bt709 = Colours::Yuv { red: 0.2126, blue: 0.0722, is_full: false };
        let full = Colours::Yuv { red: 0.299, blue: 0.114, is_full: true };
        for (colours, pixel, expected) in [
            (bt601, [0, 235, 128, 128], [255, 255, 255]),
            (bt601, [0, 16, 128, 128], [0, 0, 0]),
            (bt601, [0, 126, 128, 128], [128, 128, 128]),
            (bt601, [0, 81, 90, 240], [254, 0, 0]),
            (bt709, [0, 63, 102, 240], [255, 1, 0]),
            (full, [0, 76, 85, 255], [254, 0, 0]),
            (full, [0, 200, 128, 128], [200, 200, 200]),
            (Colours::Rgb, [1, 2, 3, 99], [1, 2, 3]),
        ] {
            assert_eq!(colours.rgb(colours.of(&pixel).map(f32::from)), expected, "{colours:?} {pixel:?}");
        }
    }
}
