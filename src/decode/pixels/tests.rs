//! Against the pixel fixtures of the reference implementations, and pictures one can check by eye.

use super::*;

const META: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/preprocess/meta.json"));
const CASES: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/preprocess/cases.bin"));

fn with_fourth_byte(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 0x55]).collect()
}

fn upright(data: &[u8], width: u32, height: u32) -> Picture<'_> {
    let samples = Samples::Rgbx(data);
    Picture { samples, width, height, pixel_aspect: (1, 1), orientation: Orientation::default() }
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

/// Grey to the left and red to the right, in 4:2:0, resized to its own size: the edge lies where chroma has it.
#[test]
fn chroma_is_resized_from_where_it_lies() {
    let edge = |across: bool, antialias: bool| {
        let luma = [126; 8 * 8];
        let row = [[128; 4], [128, 128, 228, 228]];
        let chroma = row.map(|row| row.repeat(4));
        let siting = Siting { across, down: false };
        let coarse = |data| Plane::new(data, 4, (4, 4)).coarser((true, true), siting);
        let planes = [Plane::new(&luma, 8, (8, 8)), coarse(&chroma[0]), coarse(&chroma[1])];
        let matrix = Matrix { red: 0.299, blue: 0.114, is_full: false };
        let samples = Samples::Yuv(&planes, matrix);
        let picture = Picture { samples, ..upright(&[], 8, 8) };
        let spec = spec(8, Resize::Stretch, Interpolation::Bilinear, antialias);
        let pixels = Shrinker::default().pixels(&picture, &spec);
        let line = &pixels.data[3 * 8 * 4..3 * 8 * 5];
        line.chunks(3).map(|rgb| rgb[0]).collect::<Vec<_>>()
    };
    let (grey, red) = (128, 255);
    for antialias in [true, false] {
        // On the luma of pixels 2 and 4: the one between them is half of each.
        let on = edge(true, antialias);
        assert_eq!((on[2], on[4]), (grey, red), "{on:?}");
        assert!((205..=209).contains(&on[3]), "{on:?}");
        // Between the luma of 2 and 3, and of 4 and 5.
        let between = edge(false, antialias);
        assert_eq!((between[2], between[5]), (grey, red), "{between:?}");
        assert!(between[3] > grey && between[3] < between[4], "{between:?}");
    }
}
