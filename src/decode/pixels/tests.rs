//! Against the pixel fixtures of the reference implementations, and pictures one can check by eye.

use super::*;

const META: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/preprocess/meta.json"));
const CASES: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/preprocess/cases.bin"));

fn with_fourth_byte(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 0x55]).collect()
}

fn upright(data: &[u8], width: u32, height: u32) -> Picture<'_> {
    Picture { data, colours: Colours::Rgb, width, height, pixel_aspect: (1, 1), orientation: Orientation::default() }
}

fn spec(size: u32, resize: Resize, interpolation: Interpolation, antialias: bool) -> PixelSpec {
    PixelSpec { width: size, height: size, resize, interpolation, antialias }
}

#[test]
fn agrees_with_the_reference_implementations_within_one_step() {
    let meta: serde_json::Value = serde_json::from_str(META).unwrap();
    let mut rest = CASES;
    let mut take = |length: usize| {
        let (head, tail) = rest.split_at(length);
        rest = tail;
        head
    };
    for case in meta["cases"].as_array().unwrap() {
        let number = |key: &str| case[key].as_u64().unwrap() as u32;
        let (width, height, size) = (number("width"), number("height"), number("size"));
        let data = with_fourth_byte(take((width * height * 3) as usize));
        for array in meta["arrays"].as_array().unwrap() {
            let expected = take((size * size * 3 * 2) as usize);
            let expected: Vec<f64> = expected
                .chunks_exact(2)
                .map(|b| (f64::from(i16::from_le_bytes([b[0], b[1]])) / 64.0).clamp(0.0, 255.0))
                .collect();
            let spec = match array.as_str().unwrap() {
                "clip4clip" => spec(size, Resize::ShortestEdge, Interpolation::Bicubic, true),
                "clip_vip" => spec(size, Resize::Stretch, Interpolation::BicubicA075, false),
                other => panic!("{other}"),
            };
            let pixels = Shrinker::default().pixels(&upright(&data, width, height), &spec);
            assert_eq!((pixels.width, pixels.height), (size, size));
            let furthest =
                pixels.data.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(furthest <= 1.02, "{array} {width}x{height}: {furthest} steps away");
        }
    }
    assert!(rest.is_empty());
}

#[test]
fn sizes_are_those_of_the_reference() {
    assert_eq!(cover((1920, 1080), 224), (398, 224));
    assert_eq!(cover((1080, 1920), 224), (224, 398));
    assert_eq!(cover((640, 480), 224), (298, 224));
    assert_eq!([centre(5, 4), centre(7, 4), centre(9, 4), centre(11, 4)], [0, 2, 2, 4]);
}

/// A picture with a colour in each corner: red green / blue white.
fn corners(width: u32, height: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            data.extend_from_slice(match (x < width / 2, y < height / 2) {
                (true, true) => &[255, 0, 0, 0],
                (false, true) => &[0, 255, 0, 0],
                (true, false) => &[0, 0, 255, 0],
                (false, false) => &[255, 255, 255, 0],
            });
        }
    }
    data
}

fn corner_colours(rgb: &Rgb) -> [[u8; 3]; 4] {
    let at = |x: u32, y: u32| {
        let at = ((y * rgb.width + x) * 3) as usize;
        [rgb.data[at], rgb.data[at + 1], rgb.data[at + 2]]
    };
    let (right, bottom) = (rgb.width - 2, rgb.height - 2);
    [at(1, 1), at(right, 1), at(1, bottom), at(right, bottom)]
}

#[test]
fn pictures_are_turned_and_mirrored_as_the_tag_says() {
    let (red, green, blue, white) = ([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]);
    let data = corners(64, 32);
    for (tag, expected) in [
        ("rotate-0", [red, green, blue, white]),
        ("rotate-90", [blue, red, white, green]),
        ("rotate-180", [white, blue, green, red]),
        ("rotate-270", [green, white, red, blue]),
        ("flip-rotate-0", [green, red, white, blue]),
        ("flip-rotate-90", [white, green, blue, red]),
        ("flip-rotate-180", [blue, white, red, green]),
        ("flip-rotate-270", [red, blue, green, white]),
    ] {
        let orientation = Orientation::from_tag(tag);
        let picture = Picture { orientation, ..upright(&data, 64, 32) };
        let stretched = Shrinker::default().pixels(&picture, &spec(32, Resize::Stretch, Interpolation::Bilinear, true));
        assert_eq!(corner_colours(&stretched), expected, "{tag}");
        let thumbnail = image::load_from_memory(&Shrinker::default().thumbnail(&picture, 32).0).unwrap();
        assert_eq!((thumbnail.width(), thumbnail.height()), orientation.size((32, 16)), "{tag}");
    }
}

#[test]
fn wide_pixels_are_shown_wide() {
    let data = corners(36, 32);
    let picture = Picture { pixel_aspect: (16, 9), ..upright(&data, 36, 32) };
    let thumbnail = image::load_from_memory(&Shrinker::default().thumbnail(&picture, 200).0).unwrap();
    assert_eq!((thumbnail.width(), thumbnail.height()), (64, 32));
    assert_eq!(shown_size((720, 576), (64, 45), Orientation::from_tag("rotate-90")), (576, 1024));
}

#[test]
fn a_single_pixel_and_a_single_line_have_a_size_too() {
    let spec = spec(32, Resize::ShortestEdge, Interpolation::Bicubic, true);
    for (width, height) in [(1, 1), (1, 500), (2000, 1), (3, 7)] {
        let data = vec![200; (width * height * 4) as usize];
        let picture = upright(&data, width, height);
        let pixels = Shrinker::default().pixels(&picture, &spec);
        assert_eq!((pixels.width, pixels.height), (32, 32));
        assert!(pixels.data.iter().all(|v| *v == 200));
        assert!(image::load_from_memory(&Shrinker::default().thumbnail(&picture, 320).0).is_ok());
    }
}

#[cfg(feature = "gst")]
#[test]
fn the_second_field_is_brought_halfway_to_what_lies_between_the_first() {
    let mut data = vec![10, 10, 99, 11, 20, 20, 99, 99];
    deinterlace(&mut data, 2, false);
    assert_eq!(data, [10, 10, 18, 13, 20, 20, 20, 20]);
    let mut data = vec![99, 99, 10, 10, 99, 11, 20, 20];
    deinterlace(&mut data, 2, true);
    assert_eq!(data, [10, 10, 10, 10, 18, 13, 20, 20]);
    for bottom_first in [false, true] {
        let mut lone = vec![1, 2];
        deinterlace(&mut lone, 2, bottom_first);
        assert_eq!(lone, [1, 2]);
    }
}

#[test]
fn orientations_are_degrees_in_json_and_older_words_are_read() {
    for quarters in 0..4 {
        for mirrored in [false, true] {
            let orientation = Orientation { mirrored, quarters };
            let json = serde_json::to_value(orientation).unwrap();
            assert_eq!(json, serde_json::json!({"rotate": u16::from(quarters) * 90, "mirror": mirrored}));
            assert_eq!(serde_json::from_value::<Orientation>(json).unwrap(), orientation);
            let words = serde_json::to_value(orientation.in_words()).unwrap();
            assert_eq!(serde_json::from_value::<Orientation>(words).unwrap(), orientation);
        }
    }
}
