//! What comes out of a file is what went in, at its time.
//!
//! Files are drawn by number from what containers, codecs and programs do: orders of frames, rates, gaps, sound before or
//! beside the video, late starts, two tracks. Every picture spells its number in black and white blocks, so a picture that is
//! lost, doubled, damaged or at another one's time is told. The same number is the same file everywhere.
//! `CLIPSEEK_AWKWARD_FILES` says how many are made, `CLIPSEEK_AWKWARD_KEEP` names a folder where those are kept that are
//! not what went in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clipseek::decode::{ChildDecoder, Decoder, Frame, Interpolation, PixelSpec, Request, Resize, Sampling, Want, Zero};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio_util::sync::CancellationToken;

use crate::support::EXE;

const FILES: usize = 60;
const THREADS: usize = 4;
/// Sides of a picture and of a block in it, in pixels.
const SIDE: usize = 64;
const BLOCK: usize = 16;
/// Time stamps of the coarsest containers are whole milliseconds.
const NEAR: Duration = Duration::from_millis(1);
/// What the sound lasts; also the rest of a second by which late videos begin.
const SOUND_BUFFER: Duration = Duration::from_nanos(1024 * 1_000_000_000 / 48_000);

/// How a file is made.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Recipe {
    container: Container,
    codec: Codec,
    /// Frames per second.
    rate: (u32, u32),
    /// From one key frame to the next.
    group: u32,
    frames: u32,
    sound: Sound,
    /// The video begins this much later than the clock.
    late: Duration,
    /// Behind this frame the next one comes so much later.
    gap: Option<(u32, Duration)>,
    /// A second, smaller video track behind the one that counts: of several default tracks the first is taken.
    second: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Container {
    Mp4,
    Mov,
    Mkv,
    WebM,
    Flv,
    Ts,
    Avi,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Codec {
    /// With so many B-frames; `pyramid`: some of them are referred to; `open`: open groups.
    H264 {
        b_frames: u32,
        pyramid: bool,
        open: bool,
    },
    Hevc,
    Vp8,
    Vp9,
    Mpeg2,
    Mpeg4,
    Mjpeg,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sound {
    None,
    /// Its track is the first or the last, and it ends with the video.
    Beside(Place),
    /// It goes on for long after the video.
    Longer,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Before,
    Behind,
}

/// Numbers that look random and are always the same (splitmix64).
struct Draw(u64);

impl Draw {
    fn number(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.number(choices.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.number(times) == 0
    }
}

impl Recipe {
    fn numbered(number: usize) -> Self {
        use Container::{Avi, Flv, Mkv, Mov, Mp4, Ts, WebM};
        let mut draw = Draw(number as u64);
        let container = [Mp4, Mkv, Ts, Flv, Mov, WebM, Avi][number % 7];
        let h264 = Codec::H264 { b_frames: draw.of(&[0, 2, 3]), pyramid: draw.once_in(2), open: draw.once_in(3) };
        let plain = Codec::H264 { b_frames: 0, pyramid: false, open: false };
        let codec = match container {
            Mp4 => draw.of(&[h264, h264, h264, Codec::Hevc]),
            Mov => draw.of(&[h264, h264, Codec::Mjpeg]),
            Mkv => draw.of(&[h264, h264, Codec::Hevc, Codec::Vp9, Codec::Mpeg4]),
            Ts => draw.of(&[h264, h264, Codec::Hevc, Codec::Mpeg2]),
            WebM => draw.of(&[Codec::Vp8, Codec::Vp9]),
            Flv => draw.of(&[h264, plain]),
            Avi => draw.of(&[Codec::Mpeg4, Codec::Mjpeg, plain]),
        };
        let steady = container == Avi || matches!(codec, Codec::Mpeg2 | Codec::Mpeg4);
        let frames = draw.of(&[1, 7, 40, 75]);
        let sound = match container {
            Avi => Sound::None,
            _ => draw.of(&[Sound::None, Sound::Beside(Place::Before), Sound::Beside(Place::Behind), Sound::Longer]),
        };
        let late = if steady || !draw.once_in(3) { Duration::ZERO } else { draw.of(&[500, 1300]).millis() };
        let gap = (!steady && frames > 7 && draw.once_in(3))
            .then(|| (draw.number(frames as usize - 1) as u32, draw.of(&[400, 5000]).millis()));
        let several = matches!(container, Mp4 | Mov | Mkv);
        let second = several && draw.once_in(4);
        let rate = match codec {
            Codec::Mpeg2 => draw.of(&[(25, 1), (30_000, 1001)]),
            _ => draw.of(&[(25, 1), (30_000, 1001), (10, 1), (60, 1)]),
        };
        let group = draw.of(&[5, 25, 250]);
        Self { container, codec, rate, group, frames, sound, late, gap, second }
    }

    /// Time of each picture on the file's clock.
    fn clock(&self) -> Vec<Duration> {
        let time = |number: u32| {
            let nanos = u64::from(number) * 1_000_000_000 * u64::from(self.rate.1) / u64::from(self.rate.0);
            let gap = self.gap.filter(|(behind, _)| number > *behind).map_or(Duration::ZERO, |(_, length)| length);
            self.late + Duration::from_nanos(nanos) + gap
        };
        (0..self.frames).map(time).collect()
    }

    /// Time of each picture as players show it: from where the medium starts, which is where its first track does.
    fn times(&self) -> Vec<Duration> {
        let is_alone = self.sound == Sound::None && !self.second;
        let start = if is_alone { self.late } else { Duration::ZERO };
        self.clock().iter().map(|time| *time - start).collect()
    }

    fn ending(&self) -> &'static str {
        match self.container {
            Container::Mp4 => "mp4",
            Container::Mov => "mov",
            Container::Mkv => "mkv",
            Container::WebM => "webm",
            Container::Flv => "flv",
            Container::Ts => "ts",
            Container::Avi => "avi",
        }
    }

    fn graph(&self, path: &Path) -> String {
        let group = self.group;
        let encoder = match self.codec {
            Codec::H264 { b_frames, pyramid, open } => format!(
                "x264enc speed-preset=veryfast key-int-max={group} bframes={b_frames} b-adapt=false b-pyramid={pyramid} \
                 option-string=scenecut=0:open-gop={} ! h264parse",
                u8::from(open)
            ),
            Codec::Hevc => format!("x265enc speed-preset=ultrafast key-int-max={group} ! h265parse"),
            Codec::Vp8 => format!("vp8enc deadline=1 keyframe-max-dist={group}"),
            Codec::Vp9 => format!("vp9enc deadline=1 cpu-used=8 keyframe-max-dist={group}"),
            Codec::Mpeg2 => "mpeg2enc ! mpegvideoparse".to_owned(),
            Codec::Mpeg4 => format!("avenc_mpeg4 bitrate=2000000 gop-size={group}"),
            Codec::Mjpeg => "jpegenc".to_owned(),
        };
        let mux = match self.container {
            Container::Mp4 => "mp4mux",
            Container::Mov => "qtmux",
            Container::Mkv => "matroskamux",
            Container::WebM => "webmmux",
            Container::Flv => "flvmux",
            Container::Ts => "mpegtsmux",
            Container::Avi => "avimux",
        };
        let video = format!("appsrc name=pictures format=time ! {encoder} ! queue max-size-time=0 ! mux.");
        let end = self.clock().last().copied().unwrap_or_default() + Duration::from_millis(40);
        let sound = |length: Duration| {
            let buffers = (length.as_nanos() / SOUND_BUFFER.as_nanos()).max(1);
            let encoder = if self.container == Container::WebM { "opusenc" } else { "avenc_aac ! aacparse" };
            format!(
                "audiotestsrc num-buffers={buffers} samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=1 ! {encoder} \
                 ! queue max-size-time=0 ! mux."
            )
        };
        let second = "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=32,height=32,framerate=25/1 \
                      ! x264enc ! h264parse ! queue max-size-time=0 ! mux.";
        let mut branches = match self.sound {
            Sound::None => vec![video],
            Sound::Beside(Place::Before) => vec![sound(end), video],
            Sound::Beside(Place::Behind) => vec![video, sound(end)],
            Sound::Longer => vec![sound(end + Duration::from_secs(20)), video],
        };
        if self.second {
            branches.push(second.to_owned());
        }
        format!("{mux} name=mux ! filesink location={} {}", path.display(), branches.join(" "))
    }

    fn make(&self, path: &Path) {
        let graph = self.graph(path);
        let made = gst::parse::launch(&graph).unwrap_or_else(|error| panic!("{error}: {graph}"));
        let pipeline = made.downcast::<gst::Pipeline>().unwrap();
        let pictures: gst_app::AppSrc = pipeline.by_name("pictures").unwrap().downcast().unwrap();
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", SIDE as i32)
            .field("height", SIDE as i32)
            .field("framerate", gst::Fraction::new(self.rate.0 as i32, self.rate.1 as i32))
            .field("interlace-mode", "progressive")
            .build();
        pictures.set_caps(Some(&caps));
        pipeline.set_state(gst::State::Playing).unwrap();
        let clock = self.clock();
        let step = Duration::from_secs(1) * self.rate.1 / self.rate.0;
        for (number, time) in clock.iter().enumerate() {
            let until = clock.get(number + 1).copied().unwrap_or(*time + step);
            let mut buffer = gst::Buffer::from_slice(picture(number as u32));
            let stamp = buffer.get_mut().unwrap();
            stamp.set_pts(gst::ClockTime::from_nseconds(time.as_nanos() as u64));
            stamp.set_duration(gst::ClockTime::from_nseconds((until - *time).as_nanos() as u64));
            pictures.push_buffer(buffer).unwrap();
        }
        pictures.end_of_stream().unwrap();
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(120), &kinds);
        pipeline.set_state(gst::State::Null).unwrap();
        let message = message.unwrap_or_else(|| panic!("{self:?} is not made in two minutes: {graph}"));
        assert!(matches!(message.view(), gst::MessageView::Eos(_)), "{self:?}: {message:?}: {graph}");
    }
}

trait Millis {
    fn millis(self) -> Duration;
}

impl Millis for u64 {
    fn millis(self) -> Duration {
        Duration::from_millis(self)
    }
}

/// The blocks of a picture, row by row: eight bits of its number, and the same inverted, so that a mixture of two pictures
/// is none.
fn blocks(number: u32) -> [bool; 16] {
    std::array::from_fn(|place| (number >> (place % 8) & 1 == 1) != (place >= 8))
}

/// I420.
fn picture(number: u32) -> Vec<u8> {
    let blocks = blocks(number);
    let luma = |place: usize| {
        let (x, y) = (place % SIDE, place / SIDE);
        if blocks[y / BLOCK * 4 + x / BLOCK] { 235 } else { 16 }
    };
    (0..SIDE * SIDE).map(luma).chain(std::iter::repeat_n(128, SIDE * SIDE / 2)).collect()
}

/// The number that a picture spells.
fn spelled(frame: &Frame) -> Option<u32> {
    let rgb = &frame.pixels;
    let side = rgb.width as usize;
    let is_white = |place: usize| {
        let (x, y) = ((place % 4 * 2 + 1) * side / 8, (place / 4 * 2 + 1) * side / 8);
        rgb.data[(y * side + x) * 3] > 127
    };
    let number = (0..8).map(|bit| u32::from(is_white(bit)) << bit).sum();
    (0..16).all(|place| is_white(place) == blocks(number)[place]).then_some(number)
}

fn request(path: &Path, sampling: Sampling, interval: Duration) -> Request {
    let side = SIDE as u32 / 2;
    Request {
        path: path.to_path_buf(),
        track: None,
        decode: true,
        want: Want::Every(interval),
        zero: Zero::Medium,
        sampling,
        tolerance: 0.0,
        from: Duration::ZERO,
        pixels: PixelSpec {
            width: side,
            height: side,
            resize: Resize::Stretch,
            interpolation: Interpolation::Bilinear,
            antialias: true,
        },
        thumbnail_px: None,
    }
}

/// Number and time of each frame that comes out.
fn given(path: &Path, sampling: Sampling, interval: Duration) -> Result<Vec<(Option<u32>, Duration)>, String> {
    let decoder = ChildDecoder::new(PathBuf::from(EXE));
    let request = request(path, sampling, interval);
    let frames = decoder.open(&request, CancellationToken::new()).map_err(|error| error.to_string())?;
    let frames = frames.map(|frame| frame.map(|frame| (spelled(&frame), frame.pts)));
    frames.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// What is wrong with a file, in words that are the same for the same fault.
fn fault(recipe: &Recipe, path: &Path) -> Option<String> {
    let expected = recipe.times();
    let every = Duration::from_nanos(1);
    for sampling in [Sampling::All, Sampling::Gop, Sampling::Auto, Sampling::Keyframes] {
        let frames = match given(path, sampling, every) {
            Ok(frames) => frames,
            Err(error) => return Some(format!("{sampling}: {error}")),
        };
        if let Some(fault) = fault_of(&frames, &expected, sampling == Sampling::Keyframes) {
            return Some(format!("{sampling}: {fault}"));
        }
    }
    // Fewer frames are the same pictures at the same times, whatever is decoded to get them.
    let few = Duration::from_millis(330);
    match (given(path, Sampling::All, few), given(path, Sampling::Gop, few)) {
        (Ok(all), Ok(gop)) if all == gop => fault_of(&all, &expected, true).map(|fault| format!("few: {fault}")),
        (all, gop) => Some(format!("few: all and gop differ: {all:?} and {gop:?}")),
    }
}

/// `some`: not every frame has to be there.
fn fault_of(frames: &[(Option<u32>, Duration)], expected: &[Duration], some: bool) -> Option<String> {
    let damaged = frames.iter().filter(|(number, _)| number.is_none()).count();
    if damaged > 0 {
        return Some(format!("{damaged} of {} pictures are damaged", frames.len()));
    }
    let numbers: Vec<usize> = frames.iter().filter_map(|(number, _)| number.map(|number| number as usize)).collect();
    if numbers.is_empty() || !some && numbers.len() != expected.len() {
        return Some(format!("{} of {} frames", numbers.len(), expected.len()));
    }
    if !numbers.is_sorted_by(|a, b| a < b) || numbers.last().is_some_and(|last| *last >= expected.len()) {
        return Some("pictures in another order".to_owned());
    }
    let shift = |(number, time): (&usize, &Duration)| time.as_secs_f64() - expected[*number].as_secs_f64();
    let times: Vec<Duration> = frames.iter().map(|(_, time)| *time).collect();
    let shifts: Vec<f64> = numbers.iter().zip(&times).map(shift).collect();
    let near = |shift: &f64, to: f64| (shift - to).abs() <= NEAR.as_secs_f64();
    if shifts.iter().all(|shift| near(shift, 0.0)) {
        return None;
    }
    match shifts.iter().all(|shift| near(shift, shifts[0])) {
        true => Some("all times are shifted".to_owned()),
        false => Some("some times are wrong".to_owned()),
    }
}

/// Faults that are known, each with its reason; what is repaired is taken off the list.
fn known(recipe: &Recipe, fault: &str) -> Option<&'static str> {
    let Recipe { container, codec, late, gap, .. } = *recipe;
    let is_mp4 = matches!(container, Container::Mp4 | Container::Mov);
    if !is_mp4 && !late.is_zero() && fault.ends_with("all times are shifted") {
        return Some("times count from the first picture, not from where the medium starts");
    }
    if container == Container::Ts && gap.is_some() && fault.ends_with("some times are wrong") {
        return Some("a gap of seconds in a transport stream is taken for a leap of its clock");
    }
    if container == Container::Flv && matches!(codec, Codec::H264 { pyramid: true, .. }) && fault.contains("74 of 75") {
        return Some("a frame near the start of FLV with a pyramid of B-frames is lost; why is not known yet");
    }
    if codec == Codec::Vp8 && gap.is_some() && fault.starts_with("keyframes: ") {
        return Some("key frames of VP8 behind a gap give pictures of other frames");
    }
    None
}

#[test]
fn what_comes_out_is_what_went_in_at_its_time() {
    gst::init().unwrap();
    let files = std::env::var("CLIPSEEK_AWKWARD_FILES").map_or(FILES, |number| number.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= files {
                        break;
                    }
                    let recipe = Recipe::numbered(number);
                    let path = dir.path().join(format!("{number}.{}", recipe.ending()));
                    recipe.make(&path);
                    if let Some(fault) = fault(&recipe, &path) {
                        if let Some(keep) = std::env::var_os("CLIPSEEK_AWKWARD_KEEP").map(PathBuf::from) {
                            std::fs::copy(&path, keep.join(path.file_name().unwrap())).unwrap();
                        }
                        faults.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (recipe, fault));
                    }
                    let _ = std::fs::remove_file(&path);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    let (known_ones, new): (Vec<_>, Vec<_>) =
        faults.iter().partition(|(_, (recipe, fault))| known(recipe, fault).is_some());
    for (number, (recipe, fault)) in known_ones {
        println!("{number}: {fault} (known: {}): {recipe:?}", known(recipe, fault).unwrap());
    }
    for (number, (recipe, fault)) in &new {
        println!("{number}: {fault}: {recipe:?}");
    }
    assert!(new.is_empty(), "{} of {files} files are not what went in", new.len());
}

#[test]
fn a_picture_spells_its_number() {
    for number in 0..256 {
        let luma = picture(number);
        let data = luma[..SIDE * SIDE].iter().flat_map(|value| [*value; 3]).collect();
        let rgb = clipseek::decode::Rgb { width: SIDE as u32, height: SIDE as u32, data };
        let frame = Frame { pts: Duration::ZERO, until: None, pixels: rgb.into(), thumbnail: None };
        assert_eq!(spelled(&frame), Some(number));
    }
}
