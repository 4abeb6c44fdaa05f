//! Decoded pictures to the size the model wants, and to thumbnails. Pure.
//!
//! The resampler is that of Pillow (a convolution over 8 bits, horizontal first), which the reference implementations
//! use; where a bundle asks for no antialiasing, the plain interpolation of PyTorch ([`interpolate`]). Turning, mirroring
//! and the way from luma and chroma to red, green and blue ([`colours`]) commute with both, so they are done last, on the
//! small picture.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x4;
use fast_image_resize::{Filter, FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use serde::{Deserialize, Serialize};

mod colours;
mod interpolate;

pub use colours::Colours;

use super::{Interpolation, Jpeg, PixelSpec, Resize, Rgb};

const JPEG_QUALITY: u8 = 80;

/// A decoded picture as it was coded: four bytes per pixel.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub data: &'a [u8],
    pub colours: Colours,
    pub width: u32,
    pub height: u32,
    /// Width of a pixel by its height.
    pub pixel_aspect: (u32, u32),
    pub orientation: Orientation,
}

/// How a picture is to be shown: mirrored left to right, then turned clockwise by so many quarters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Told", from = "Read")]
pub struct Orientation {
    pub mirrored: bool,
    pub quarters: u8,
}

/// As in JSON.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Told {
    /// Degrees clockwise.
    rotate: u16,
    mirror: bool,
}

/// Ledgers of earlier versions hold it in words.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Told(Told),
    Words(Option<String>),
}

impl From<Orientation> for Told {
    fn from(orientation: Orientation) -> Self {
        Self { rotate: u16::from(orientation.quarters % 4) * 90, mirror: orientation.mirrored }
    }
}

impl From<Read> for Orientation {
    fn from(read: Read) -> Self {
        match read {
            Read::Told(Told { rotate, mirror }) => Self { mirrored: mirror, quarters: (rotate / 90 % 4) as u8 },
            Read::Words(words) => {
                let words = words.unwrap_or_default();
                let turn = words.split(' ').next().unwrap_or_default();
                Self { mirrored: words.ends_with("mirrored"), ..Self::from_tag(&format!("rotate-{turn}")) }
            }
        }
    }
}

impl Orientation {
    /// From the words of GStreamer's `image-orientation` tag; unknown ones are upright.
    pub fn from_tag(tag: &str) -> Self {
        let (mirrored, turn) = match tag.strip_prefix("flip-rotate-") {
            Some(turn) => (true, turn),
            None => (false, tag.strip_prefix("rotate-").unwrap_or("0")),
        };
        let quarters = match turn {
            "90" => 1,
            "180" => 2,
            "270" => 3,
            _ => 0,
        };
        Self { mirrored, quarters }
    }

    /// In the words of GStreamer's `image-orientation` tag.
    pub fn tag(self) -> String {
        let flip = if self.mirrored { "flip-" } else { "" };
        format!("{flip}rotate-{}", u32::from(self.quarters % 4) * 90)
    }

    /// For people: `90`, `270 mirrored`; `None` if upright.
    pub fn in_words(self) -> Option<String> {
        let turn = u32::from(self.quarters) * 90;
        match (turn, self.mirrored) {
            (0, false) => None,
            (turn, false) => Some(turn.to_string()),
            (turn, true) => Some(format!("{turn} mirrored")),
        }
    }

    pub fn lies_on_its_side(self) -> bool {
        self.quarters % 2 == 1
    }

    /// Width and height as shown, or back.
    pub fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.lies_on_its_side() { (height, width) } else { (width, height) }
    }

    /// The place in a coded picture of `width` × `height` that is shown at (x, y).
    fn coded_place(self, (x, y): (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
        let (turned_x, turned_y) = match self.quarters {
            0 => (x, y),
            1 => (y, height - 1 - x),
            2 => (width - 1 - x, height - 1 - y),
            _ => (width - 1 - y, x),
        };
        (if self.mirrored { width - 1 - turned_x } else { turned_x }, turned_y)
    }
}

/// Width and height as shown with square pixels.
pub(super) fn shown_size(coded: (u32, u32), pixel_aspect: (u32, u32), orientation: Orientation) -> (u32, u32) {
    let (n, d) = (u64::from(pixel_aspect.0.max(1)), u64::from(pixel_aspect.1.max(1)));
    let width = ((u64::from(coded.0) * n + d / 2) / d).clamp(1, u64::from(u32::MAX)) as u32;
    orientation.size((width, coded.1))
}

/// Brings the lines of the second field halfway to what lies between those of the first, and no further from them than
/// these are apart: what rests keeps its detail, and what moves has no teeth. On sampled frames, which have no neighbours
/// in time, nothing simple is nearer to what yadif makes of all. `bottom_first`: the first field has the odd lines.
#[cfg(feature = "gst")]
pub(super) fn deinterlace(data: &mut [u8], line: usize, bottom_first: bool) {
    let lines = data.len() / line.max(1);
    for second in (usize::from(!bottom_first)..lines).step_by(2) {
        let (above, rest) = data.split_at_mut(second * line);
        let (target, below) = rest.split_at_mut(line);
        let above = above.len().checked_sub(line).map(|start| &above[start..]);
        let below = below.get(..line);
        let (Some(above), Some(below)) = (above.or(below), below.or(above)) else { return };
        for ((target, above), below) in target.iter_mut().zip(above).zip(below) {
            let own = (*target).clamp(*above.min(below), *above.max(below));
            let between = (u16::from(*above) + u16::from(*below)).div_ceil(2);
            *target = (u16::from(own) + between).div_ceil(2) as u8;
        }
    }
}

/// Keeps the resampler's buffers between pictures.
#[derive(Debug, Default)]
pub struct Shrinker {
    resizer: Resizer,
}

impl Shrinker {
    pub fn pixels(&mut self, picture: &Picture, spec: &PixelSpec) -> Rgb {
        let shown = shown_size((picture.width, picture.height), picture.pixel_aspect, picture.orientation);
        let (full, (left, top)) = match spec.resize {
            Resize::Stretch => ((spec.width, spec.height), (0, 0)),
            Resize::ShortestEdge => {
                let full = cover(shown, spec.width.max(spec.height));
                (full, (centre(full.0, spec.width), centre(full.1, spec.height)))
            }
        };
        let size = (spec.width.min(full.0), spec.height.min(full.1));
        let region = Region::new(picture, full, (left, top), size);
        let coded = match spec.antialias {
            true => self.convolve(picture, &region, filter(spec.interpolation)),
            false => interpolate::interpolate(picture, &region, spec.interpolation),
        };
        orient(coded, picture.orientation)
    }

    pub fn thumbnail(&mut self, picture: &Picture, longer_side: u32) -> Jpeg {
        let shown = shown_size((picture.width, picture.height), picture.pixel_aspect, picture.orientation);
        let longer = shown.0.max(shown.1);
        let scaled = |side: u32| {
            let side = u64::from(side) * u64::from(longer_side.min(longer)) + u64::from(longer / 2);
            (side / u64::from(longer)).max(1) as u32
        };
        let size = (scaled(shown.0), scaled(shown.1));
        let region = Region::new(picture, size, (0, 0), size);
        // Each pixel from a few, not from all below it: for people that is good enough, and several times cheaper.
        let algorithm = ResizeAlg::SuperSampling(FilterType::Bilinear, 2);
        let small = self.resize(&source(picture), region.size, algorithm, region.crop);
        let rgb = orient(packed(&small, picture.colours), picture.orientation);
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .encode(&rgb.data, rgb.width, rgb.height, ExtendedColorType::Rgb8)
            .expect("a vector takes what is written and the size is that of the data");
        Jpeg(jpeg)
    }

    /// Horizontally, then vertically, each to 8 bits: the order shows where a filter overshoots.
    fn convolve(&mut self, picture: &Picture, region: &Region, filter: FilterType) -> Rgb {
        let (left, top, width, height) = region.crop;
        // Rows that the vertical pass looks at; its support reaches beyond the rectangle.
        let reach = 3.0 * (height / f64::from(region.size.1)).max(1.0);
        let first = (top - reach).floor().max(0.0);
        let last = (top + height + reach).ceil().min(f64::from(picture.height));
        let across = self.resize(
            &source(picture),
            (region.size.0, (last - first) as u32),
            ResizeAlg::Convolution(filter),
            (left, first, width, last - first),
        );
        let down = (0.0, top - first, f64::from(region.size.0), height);
        packed(&self.resize(&across, region.size, ResizeAlg::Convolution(filter), down), picture.colours)
    }

    fn resize(
        &mut self,
        from: &impl ImageView<Pixel = U8x4>,
        size: (u32, u32),
        algorithm: ResizeAlg,
        (left, top, width, height): (f64, f64, f64, f64),
    ) -> TypedImage<'static, U8x4> {
        let mut small = TypedImage::new(size.0, size.1);
        let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false).crop(left, top, width, height);
        // Typed: the other entry would have every type of pixel compiled into this crate, a third of its code.
        self.resizer.resize_typed(from, &mut small, &options).expect("the rectangle lies in the picture");
        small
    }
}

/// A part of the picture and the size it is brought to, as coded.
#[derive(Clone, Copy, Debug)]
struct Region {
    /// Left, top, width, height in the picture.
    crop: (f64, f64, f64, f64),
    size: (u32, u32),
}

impl Region {
    /// The rectangle at `corner` of `size` out of the picture resized to `full`, all as shown.
    fn new(picture: &Picture, full: (u32, u32), corner: (u32, u32), size: (u32, u32)) -> Self {
        let orientation = picture.orientation;
        let full = orientation.size(full);
        let opposite = (corner.0 + size.0 - 1, corner.1 + size.1 - 1);
        let (a, b) = (orientation.coded_place(corner, full), orientation.coded_place(opposite, full));
        let (left, top) = (a.0.min(b.0), a.1.min(b.1));
        let size = orientation.size(size);
        let along = |start: u32, length: u32, full: u32, coded: u32| {
            let scale = f64::from(coded) / f64::from(full);
            let start = f64::from(start) * scale;
            (start, (f64::from(length) * scale).min(f64::from(coded) - start))
        };
        let (left, width) = along(left, size.0, full.0, picture.width);
        let (top, height) = along(top, size.1, full.1, picture.height);
        Self { crop: (left, top, width, height), size }
    }
}

fn source<'a>(picture: &Picture<'a>) -> TypedImageRef<'a, U8x4> {
    let length = picture.width as usize * picture.height as usize * 4;
    TypedImageRef::from_buffer(picture.width, picture.height, &picture.data[..length])
        .expect("the slice has the length of the picture")
}

fn packed(image: &TypedImage<U8x4>, colours: Colours) -> Rgb {
    let mut data = Vec::with_capacity(image.width() as usize * image.height() as usize * 3);
    for pixel in image.pixels() {
        data.extend(colours.rgb(colours.of(&pixel.0).map(f32::from)));
    }
    Rgb { width: image.width(), height: image.height(), data }
}

fn filter(interpolation: Interpolation) -> FilterType {
    match interpolation {
        Interpolation::Bicubic => FilterType::CatmullRom,
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::BicubicA075 => {
            let filter = Filter::new("bicubic-a075", |x| interpolate::cubic(-0.75, x), 2.0);
            FilterType::Custom(filter.expect("the support is positive"))
        }
    }
}

/// The size whose shorter side is `short`; the longer is truncated.
fn cover((width, height): (u32, u32), short: u32) -> (u32, u32) {
    let longer = |long: u32, other: u32| {
        let side = u64::from(short) * u64::from(long) / u64::from(other.max(1));
        // A picture of one line, say, would become absurdly long.
        side.min(u64::from(short) * 256) as u32
    };
    if width <= height { (short, longer(height, width)) } else { (longer(width, height), short) }
}

/// Offset of a centre crop: half the difference, halves to the even number.
fn centre(full: u32, part: u32) -> u32 {
    let difference = full.saturating_sub(part);
    let half = difference / 2;
    if difference % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

fn orient(coded: Rgb, orientation: Orientation) -> Rgb {
    if orientation == Orientation::default() {
        return coded;
    }
    let size = (coded.width, coded.height);
    let (width, height) = orientation.size(size);
    let mut data = Vec::with_capacity(coded.data.len());
    for y in 0..height {
        for x in 0..width {
            let (from_x, from_y) = orientation.coded_place((x, y), size);
            let at = (from_y as usize * coded.width as usize + from_x as usize) * 3;
            data.extend_from_slice(&coded.data[at..at + 3]);
        }
    }
    Rgb { width, height, data }
}

#[cfg(test)]
mod tests;
