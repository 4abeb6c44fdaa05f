//! Pictures that are held on the screen, such as slides, are found for all the time that they are shown.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use serde_json::Value;

use crate::support::{World, shared, text};

const SIDE: usize = 64;
/// When each picture comes, in milliseconds, and when the last one goes: some are shown for less than a window of the
/// shipped model, which is two seconds.
const SLIDES: [u64; 6] = [0, 60_000, 61_300, 130_000, 131_500, 200_000];
const END: u64 = 260_000;

/// Writes slides with a key frame every three pictures. A parser would lose how long each is shown.
fn make(path: &Path, mux: &str) {
    let graph = format!(
        "appsrc name=pictures format=time ! x264enc speed-preset=ultrafast key-int-max=3 bframes=0 ! {mux} \
         ! filesink location={}",
        path.display()
    );
    let pipeline = gst::parse::launch(&graph).unwrap().downcast::<gst::Pipeline>().unwrap();
    let pictures: gst_app::AppSrc = pipeline.by_name("pictures").unwrap().downcast().unwrap();
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", SIDE as i32)
        .field("height", SIDE as i32)
        .field("framerate", gst::Fraction::new(0, 1))
        .build();
    pictures.set_caps(Some(&caps));
    pipeline.set_state(gst::State::Playing).unwrap();
    for (number, time) in SLIDES.into_iter().enumerate() {
        let until = SLIDES.get(number + 1).copied().unwrap_or(END);
        let luma = (0..SIDE * SIDE).map(|place| if place % SIDE / 8 == number { 235 } else { 30 + 20 * number as u8 });
        let mut buffer =
            gst::Buffer::from_slice(luma.chain(std::iter::repeat_n(128, SIDE * SIDE / 2)).collect::<Vec<u8>>());
        let stamp = buffer.get_mut().unwrap();
        stamp.set_pts(gst::ClockTime::from_mseconds(time));
        stamp.set_duration(gst::ClockTime::from_mseconds(until - time));
        pictures.push_buffer(buffer).unwrap();
    }
    pictures.end_of_stream().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
    assert!(matches!(message.view(), gst::MessageView::Eos(_)), "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

/// Start and end of each window, in whole milliseconds.
fn spans(world: &World) -> Vec<(u64, u64)> {
    let ms = |window: &Value, key: &str| (window[key].as_f64().unwrap() * 1000.0).round() as u64;
    let mut spans: Vec<_> =
        world.exported().iter().map(|window| (ms(window, "start_s"), ms(window, "end_s"))).collect();
    spans.sort_unstable();
    spans
}

#[test]
fn a_slide_is_one_record_for_all_the_time_that_it_is_shown() {
    gst::init().unwrap();
    for (file, mux) in [("slides.mkv", "matroskamux"), ("slides.mp4", "mp4mux"), ("slides.mov", "qtmux")] {
        for sampling in ["auto", "gop", "all"] {
            let world = World::new();
            let film = world.dir.path().join(file);
            make(&film, mux);
            world.ok(&["index", "--sampling", sampling, text(&film)]);
            assert_eq!(
                spans(&world),
                [
                    (0, 60_000),
                    (59_000, 61_000),
                    // Two pictures that are shown for less than a window, or for hardly more.
                    (60_000, 62_000),
                    (61_000, 63_000),
                    (62_000, 130_000),
                    (129_000, 131_000),
                    (130_000, 132_000),
                    (131_000, 133_000),
                    (132_000, 200_000),
                    (199_000, 201_000),
                    (200_000, END),
                ],
                "{file} {sampling}"
            );
        }
    }
}

#[test]
fn with_key_frames_alone_a_slide_that_is_one_is_held() {
    gst::init().unwrap();
    let world = World::new();
    let film = world.dir.path().join("slides.mkv");
    make(&film, "matroskamux");
    world.ok(&["index", "--sampling", "keyframes", text(&film)]);
    // What comes between the key frames is not known, but it is no hold.
    assert_eq!(
        spans(&world),
        [(0, 60_000), (59_000, 61_000), (129_000, 131_500), (130_000, 132_000), (131_000, 133_000)]
    );
}

/// The slides at 61.3 s and 130 s were there before these clips begin, and go on to their ends.
#[test]
fn a_clip_of_a_held_picture_lasts_as_long_as_it_is_held() {
    gst::init().unwrap();
    let world = World::new();
    let film = world.dir.path().join("slides.mp4");
    make(&film, "mp4mux");
    world.ok(&["index", text(&film)]);
    let found = world.json(&["search", "a circle", "--json", "--limit", "1"]);
    let id = found["moments"][0]["id"].as_str().unwrap();
    for (start, end) in [("70", "90"), ("100", "140")] {
        let clip = world.dir.path().join(format!("{start}.mp4"));
        world.ok(&["clip", id, "-o", text(&clip), "--exact", "--start", start, "--end", end]);
        let probed = world.json(&["probe", "--json", text(&clip)]);
        let length = probed["files"][0]["duration_s"].as_f64().unwrap();
        let wanted: f64 = end.parse::<f64>().unwrap() - start.parse::<f64>().unwrap();
        assert!((length - wanted).abs() < 0.1, "{length} s from {start} to {end}: {probed}");
    }
}

#[test]
fn slides_of_a_real_file_are_found_for_a_minute_each() {
    let Some(film) = shared("media/reported/12-slides-held-for-a-minute.mp4") else { return };
    let world = World::new();
    world.ok(&["index", text(&film)]);
    let spans = spans(&world);
    // It is the last one for a second.
    let whole: Vec<_> = spans.iter().filter(|(start, _)| start % 10_000 == 0).copied().collect();
    let shown = [(0, 60), (60, 130), (130, 200), (200, 320), (320, 330), (330, 400)];
    assert_eq!(whole, shown.map(|(start, end)| (start * 1000, end * 1000)), "{spans:?}");
    assert_eq!(spans.last(), Some(&(399_000, 401_000)));
}
