//! Decoded pictures to the size the model wants, and to thumbnails. Pure.
//!
//! The resampler is that of Pillow (a convolution over 8 bits, horizontal first), which the reference implementations
//! use; where a bundle asks for no antialiasing, the plain interpolation of PyTorch ([`interpolate`]). Turning, mirroring
//! and the way from luma and chroma to red, green and blue ([`colours`]) commute with both, so they are done last, on the
//! small picture; until then luma and chroma are resized each by itself ([`planes`]), chroma from where it lies.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x4};
use fast_image_resize::{Filter, FilterType, ImageView, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use serde::{Deserialize, Serialize};

mod colours;
mod interpolate;
mod planes;

pub use colours::Matrix;
pub use planes::{Plane, Siting};

use super::{Interpolation, Jpeg, PixelSpec, Resize, Rgb};

const JPEG_QUALITY: u8 = 80;

/// A decoded picture as it was coded.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub samples: Samples<'a>,
    pub width: u32,
    pub height: u32,
    /// Width of a pixel by its height.
    pub pixel_aspect: (u32, u32),
    pub orientation: Orientation,
}

#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// Four bytes per pixel: red, green, blue, and one that is not used.
    Rgbx(&'a [u8]),
    /// Luma, and the chroma of blue and red.
    Yuv(&'a [Plane<'a>; 3], Matrix),
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
            true => self.shrink(picture, &region, How::TwoPasses(filter(spec.interpolation))),
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
        let rgb = orient(self.shrink(picture, &region, How::Sampled), picture.orientation);
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .encode(&rgb.data, rgb.width, rgb.height, ExtendedColorType::Rgb8)
            .expect("a vector takes what is written and the size is that of the data");
        Jpeg(jpeg)
    }

    fn shrink(&mut self, picture: &Picture, region: &Region, how: How) -> Rgb {
        let data = match picture.samples {
            Samples::Rgbx(data) => {
                let image = TypedImageRef::<U8x4>::from_buffer(picture.width, picture.height, data);
                let image = image.expect("the picture has the size of its data");
                let small = self.shrunk(&image, region.crop, region.size, how);
                small.pixels().iter().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).collect()
            }
            Samples::Yuv(planes, matrix) => {
                let small = planes.each_ref().map(|plane| {
                    let image = TypedImageRef::<U8>::from_buffer(plane.width, plane.height, &plane.data);
                    let image = image.expect("the plane has the size of its data");
                    self.shrunk(&image, plane.crop(region.crop), region.size, how)
                });
                let [luma, blue, red] = small.each_ref().map(|plane| plane.pixels());
                let pixels = luma.iter().zip(blue).zip(red);
                pixels.flat_map(|((y, u), v)| matrix.rgb([y.0, u.0, v.0].map(f32::from))).collect()
            }
        };
        Rgb { width: region.size.0, height: region.size.1, data }
    }

    fn shrunk<P: PixelTrait>(
        &mut self,
        from: &impl ImageView<Pixel = P>,
        crop: Crop,
        size: (u32, u32),
        how: How,
    ) -> TypedImage<'static, P> {
        match how {
            How::Sampled => self.resize(from, size, ResizeAlg::SuperSampling(FilterType::Bilinear, 2), crop),
            How::TwoPasses(filter) => {
                let (left, top, width, height) = crop;
                // Rows that the vertical pass looks at; its support reaches beyond the rectangle.
                let reach = 3.0 * (height / f64::from(size.1)).max(1.0);
                let first = (top - reach).floor().max(0.0);
                let last = (top + height + reach).ceil().min(f64::from(from.height()));
                let rows = (size.0, (last - first) as u32);
                let across =
                    self.resize(from, rows, ResizeAlg::Convolution(filter), (left, first, width, last - first));
                let down = (0.0, top - first, f64::from(size.0), height);
                self.resize(&across, size, ResizeAlg::Convolution(filter), down)
            }
        }
    }

    fn resize<P: PixelTrait>(
        &mut self,
        from: &impl ImageView<Pixel = P>,
        size: (u32, u32),
        algorithm: ResizeAlg,
        (left, top, width, height): Crop,
    ) -> TypedImage<'static, P> {
        let mut small = TypedImage::new(size.0, size.1);
        let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false).crop(left, top, width, height);
        // Typed: the other entry would have every type of pixel compiled into this crate, a third of its code.
        self.resizer.resize_typed(from, &mut small, &options).expect("the rectangle lies in the picture");
        small
    }
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// Horizontally, then vertically, each to 8 bits: the order shows where a filter overshoots.
    TwoPasses(FilterType),
    /// Each pixel from a few, not from all below it: for people that is good enough, and several times cheaper.
    Sampled,
}

/// Left, top, width, height.
type Crop = (f64, f64, f64, f64);

/// A part of the picture and the size it is brought to, as coded.
#[derive(Clone, Copy, Debug)]
struct Region {
    crop: Crop,
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
