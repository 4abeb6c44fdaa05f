//! Files of many kinds through the real decoding process. The files are made here, with GStreamer.

mod mp4;
mod process;

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clipseek::decode::{
    ChildDecoder, DecodeError, Decoder, Frame, Interpolation, Outcome, PixelSpec, Probe, Problem, ProblemKind, Request,
    Resize, Sampling, Want, Zero,
};
use clipseek::window::{Span, Windows};
use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

fn decoder() -> ChildDecoder {
    ChildDecoder::new(PathBuf::from(env!("CARGO_BIN_EXE_clipseek")))
}

/// Runs a launch line with `OUT` replaced by the file to be made.
fn make(graph: &str, path: &Path) {
    make_with(graph, path, |_| {});
}

/// The same, with a hand laid on the graph before it runs.
fn make_with(graph: &str, path: &Path, prepare: impl FnOnce(&gst::Bin)) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(&graph.replace("OUT", path.to_str().unwrap())).unwrap();
    prepare(pipeline.downcast_ref::<gst::Bin>().unwrap());
    pipeline.set_state(gst::State::Playing).unwrap();
    let message = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error])
        .expect("the file is made within a minute");
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(matches!(message.view(), gst::MessageView::Eos(_)), "{graph}: {message:?}");
}

/// A moving picture: 25 frames a second, a colour in each corner would be too little to tell frames apart.
fn source(frames: u32) -> String {
    format!(
        "videotestsrc pattern=ball num-buffers={frames} ! video/x-raw,format=I420,width=160,height=120,framerate=25/1"
    )
}

fn request(path: &Path, sampling: Sampling, interval: f64) -> Request {
    Request {
        path: path.to_path_buf(),
        track: None,
        decode: true,
        want: Want::Every(Duration::from_secs_f64(interval)),
        zero: Zero::Medium,
        sampling,
        tolerance: 0.25,
        from: Duration::ZERO,
        pixels: PixelSpec {
            width: 64,
            height: 64,
            resize: Resize::ShortestEdge,
            interpolation: Interpolation::Bicubic,
            antialias: true,
        },
        thumbnail_px: Some(80),
    }
}

struct Run {
    frames: Vec<Frame>,
    probe: Probe,
    outcome: Outcome,
}

impl Run {
    fn times(&self) -> Vec<u64> {
        self.frames.iter().map(|frame| frame.pts.as_millis() as u64).collect()
    }

    fn problem(&self, kind: ProblemKind) -> &Problem {
        let found: Vec<_> = self.outcome.problems.iter().filter(|problem| problem.kind == kind).collect();
        assert_eq!(found.len(), 1, "one {kind} in {:?}", self.outcome.problems);
        found[0]
    }
}

fn run(request: &Request) -> Result<Run, DecodeError> {
    let mut frames = decoder().open(request, CancellationToken::new())?;
    let got = frames.by_ref().collect::<Result<Vec<_>, _>>()?;
    for frame in &got {
        let (width, height) = (frame.pixels.width, frame.pixels.height);
        assert_eq!((width, height), (request.pixels.width, request.pixels.height));
        assert_eq!(frame.pixels.data.len(), (width * height * 3) as usize);
        assert_eq!(frame.thumbnail.is_some(), request.thumbnail_px.is_some());
    }
    assert!(got.windows(2).all(|pair| pair[0].pts < pair[1].pts));
    // Pictures are compared across intervals, and with the interval differs which of them are held.
    let got = got.into_iter().map(|frame| Frame { until: None, ..frame }).collect();
    Ok(Run { frames: got, probe: frames.probe().clone(), outcome: frames.outcome().unwrap().clone() })
}

fn all(path: &Path) -> Run {
    run(&request(path, Sampling::All, 0.001)).unwrap()
}

struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn make(&self, name: &str, graph: &str) -> PathBuf {
        let path = self.file(name);
        make(graph, &path);
        path
    }

    /// 100 frames of H.264, a key frame every second, two B-frames.
    fn h264(&self, name: &str) -> PathBuf {
        let encoder = "x264enc key-int-max=25 bframes=2 b-adapt=false option-string=scenecut=0 speed-preset=veryfast";
        self.make(name, &format!("{} ! {encoder} ! h264parse ! mp4mux ! filesink location=OUT", source(100)))
    }
}

#[test]
fn every_container_and_codec_gives_every_frame() {
    let world = World::new();
    let x264 = "x264enc key-int-max=25 bframes=2 speed-preset=veryfast ! h264parse";
    let claims_lengths =
        "capssetter caps=video/x-h264,stream-format=avc,alignment=au,codec_data=(buffer)0164000bffe00000";
    for (name, rest) in [
        ("a.mp4", format!("{x264} ! mp4mux")),
        ("a.mov", format!("{x264} ! qtmux")),
        ("a.mkv", format!("{x264} ! matroskamux")),
        ("a.flv", "x264enc key-int-max=25 bframes=0 ! h264parse ! flvmux".into()),
        ("a.ts", format!("{x264} ! mpegtsmux")),
        ("hevc.mkv", "x265enc key-int-max=25 speed-preset=ultrafast ! h265parse ! matroskamux".into()),
        ("vp8.webm", "vp8enc deadline=1 keyframe-max-dist=25 ! webmmux".into()),
        ("vp9.webm", "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25 ! webmmux".into()),
        ("vp8.ivf", "vp8enc deadline=1 keyframe-max-dist=25 ! avmux_ivf".into()),
        ("vp9.ivf", "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25 ! vp9parse ! avmux_ivf".into()),
        ("mpeg2.ts", "mpeg2enc ! mpegvideoparse ! mpegtsmux".into()),
        ("mpeg4.avi", "avenc_mpeg4 gop-size=25 ! avimux".into()),
        ("mjpeg.avi", "jpegenc ! avimux".into()),
        ("bare.mjpeg", "jpegenc".into()),
        // Units with start codes, as some write them into MP4.
        (
            "start-codes.mp4",
            format!("{x264} ! video/x-h264,stream-format=byte-stream,alignment=au ! {claims_lengths} ! mp4mux"),
        ),
        ("prores.mov", "videoconvert ! avenc_prores_ks ! qtmux".into()),
        ("raw.avi", "avimux".into()),
    ] {
        let path = world.make(name, &format!("{} ! {rest} ! filesink location=OUT", source(50)));
        let run = all(&path);
        // Transport streams do not say how long the last frame lasts, and some parsers leave it out.
        assert!(
            run.frames.len() == 50 || name.ends_with(".ts") && run.frames.len() == 49,
            "{name}: {}",
            run.frames.len()
        );
        assert_eq!((run.probe.width, run.probe.height), (160, 120), "{name}");
        assert_eq!(run.frames[0].pts, Duration::ZERO, "{name}");
        assert_eq!(run.outcome.problems, [], "{name}");
        let end = run.outcome.end.as_millis();
        assert!((1920..=2080).contains(&end), "{name} ends at {end} ms");
    }
}

#[test]
fn gop_gives_the_pictures_that_all_gives_and_decodes_less() {
    let world = World::new();
    let open = "x264enc key-int-max=25 bframes=2 b-adapt=false option-string=open-gop=1:scenecut=0";
    let open_gop =
        world.make("open.mkv", &format!("{} ! {open} ! h264parse ! matroskamux ! filesink location=OUT", source(100)));
    let hevc = "x265enc key-int-max=25 speed-preset=veryfast option-string=open-gop=1:bframes=3 ! h265parse";
    let hevc = world.make("hevc.mkv", &format!("{} ! {hevc} ! matroskamux ! filesink location=OUT", source(100)));
    let pyramid = "x264enc key-int-max=25 bframes=3 b-adapt=false b-pyramid=true option-string=open-gop=1:scenecut=0";
    let pyramid = world
        .make("pyramid.mkv", &format!("{} ! {pyramid} ! h264parse ! matroskamux ! filesink location=OUT", source(100)));
    for path in [world.h264("closed.mp4"), open_gop, pyramid, hevc] {
        let every = run(&request(&path, Sampling::All, 0.001)).unwrap();
        assert_eq!((every.frames.len(), every.outcome.packets_decoded), (100, 100));
        for interval in [0.37, 1.3] {
            let whole = run(&request(&path, Sampling::All, interval)).unwrap();
            let part = run(&request(&path, Sampling::Gop, interval)).unwrap();
            assert_eq!(whole.times(), part.times(), "{path:?}");
            assert_eq!(whole.frames, part.frames, "{path:?}");
            assert!(part.outcome.packets_decoded < whole.outcome.packets_decoded, "{path:?}");
            assert_eq!((part.outcome.packets, whole.outcome.packets), (100, 100));
            // Frames that no other needs are left out, and all others come out bit for bit.
            assert!(whole.outcome.packets_decoded < 100, "{path:?}");
            assert!(whole.frames.iter().all(|frame| every.frames.contains(frame)), "{path:?}");
        }
    }
}

/// As a recorder does that joins a broadcast: frames that lead the first key frame cannot be shown, but those behind it count
/// the references among them.
#[test]
fn a_stream_that_begins_in_its_middle_has_the_pictures_of_the_whole() {
    let world = World::new();
    let encoder = "x264enc key-int-max=25 bframes=3 b-adapt=false b-pyramid=true aud=true \
                   option-string=open-gop=1:scenecut=0:ref=4 ! video/x-h264,stream-format=byte-stream";
    let path = world.make("whole.h264", &format!("{} ! {encoder} ! filesink location=OUT", source(100)));
    let whole = all(&path);
    assert_eq!(whole.frames.len(), 100);
    let bytes = std::fs::read(&path).unwrap();
    let places = |mark: &[u8]| {
        let marks = bytes.windows(mark.len()).enumerate().filter(|(_, found)| *found == mark);
        marks.map(|(place, _)| place).collect::<Vec<_>>()
    };
    let (delimiters, sequences) = (places(&[0, 0, 0, 1, 9]), places(&[0, 0, 1, 0x67]));
    for sequence in &sequences[1..] {
        let start = delimiters.iter().rfind(|place| *place < sequence).unwrap();
        let cut = world.file("cut.h264");
        std::fs::write(&cut, &bytes[*start..]).unwrap();
        let tail = all(&cut);
        assert_eq!(tail.outcome.problems, []);
        let left = 100 - tail.frames.len();
        assert!(left % 25 <= 1, "{left} frames are left out");
        for (number, (tail, whole)) in tail.frames.iter().zip(&whole.frames[left..]).enumerate() {
            assert_eq!(tail.pixels, whole.pixels, "picture {number} of {}", 100 - left);
        }
    }
}

/// Whichever field comes first: the lines of the other one are brought to what lies between those of the first.
#[test]
fn pictures_of_two_fields_have_no_teeth() {
    let world = World::new();
    for (field, order, second) in [("top", "tff", 1), ("bottom", "bff", 0)] {
        let path = world.file(&format!("{field}.ts"));
        let output = path.display().to_string();
        let filter = format!("tinterlace=interleave_{field},setfield={order}");
        let source = "testsrc2=rate=50:size=160x120:duration=0.8";
        let input = ["-v", "error", "-f", "lavfi", "-i", source, "-vf", &filter, "-flags", "+ilme+ildct"];
        let encoder = ["-c:v", "mpeg2video", "-qscale:v", "2", "-bf", "0", &output];
        match std::process::Command::new("ffmpeg").args(input).args(encoder).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(error) => return eprintln!("skipped: ffmpeg: {error}"),
        }
        let asked = request(&path, Sampling::All, 0.001);
        let pixels = PixelSpec { width: 160, height: 120, resize: Resize::Stretch, ..asked.pixels };
        let run = run(&Request { pixels, ..asked }).unwrap();
        assert!(run.frames.len() >= 19, "{field}: {}", run.frames.len());
        let teeth = |first: usize| {
            let mut differences = Vec::new();
            for frame in &run.frames {
                let lines: Vec<&[u8]> = frame.pixels.data.chunks(160 * 3).collect();
                for line in (first..119).step_by(2).filter(|line| *line > 0) {
                    let around = lines[line - 1].iter().zip(lines[line + 1]);
                    let between = around.map(|(a, b)| (f64::from(*a) + f64::from(*b)) / 2.0);
                    differences.extend(
                        lines[line].iter().zip(between).map(|(own, between)| (f64::from(*own) - between).abs()),
                    );
                }
            }
            differences.iter().sum::<f64>() / differences.len() as f64
        };
        // As they are stored, both are at ten.
        let (own, other) = (teeth(second), teeth(1 - second));
        assert!(own < 4.0 && own < other, "{field}: {own} and {other}");
    }
}

#[test]
fn key_frames_serve_where_they_are_near_and_more_is_decoded_where_not() {
    let world = World::new();
    let path = world.h264("a.mp4");
    let near = run(&request(&path, Sampling::Auto, 1.0)).unwrap();
    assert_eq!(near.times(), [0, 1000, 2000, 3000]);
    assert_eq!((near.outcome.sampling, near.outcome.packets_decoded), (Some(Sampling::Keyframes), 4));
    let far = run(&request(&path, Sampling::Auto, 0.4)).unwrap();
    assert_eq!(far.times(), [0, 400, 800, 1200, 1600, 2000, 2400, 2800, 3200, 3600]);
    assert_ne!(far.outcome.sampling, Some(Sampling::Keyframes));
    let keys = run(&request(&path, Sampling::Keyframes, 0.4)).unwrap();
    assert_eq!(keys.times(), [0, 1000, 2000, 3000]);
}

#[test]
fn a_job_from_the_middle_gives_the_tail_of_the_whole() {
    let world = World::new();
    let path = world.h264("a.mp4");
    for sampling in [Sampling::Auto, Sampling::Keyframes, Sampling::Gop, Sampling::All] {
        let whole = run(&request(&path, sampling, 0.3)).unwrap();
        let later = Request { from: Duration::from_millis(2100), ..request(&path, sampling, 0.3) };
        let tail = run(&later).unwrap();
        assert!(!tail.frames.is_empty() && tail.frames.len() < whole.frames.len(), "{sampling:?}");
        assert_eq!(tail.frames, whole.frames[whole.frames.len() - tail.frames.len()..], "{sampling:?}");
        assert!(tail.outcome.packets_decoded < whole.outcome.packets_decoded, "{sampling:?}");
    }
}

#[test]
fn uniform_takes_first_and_last() {
    let world = World::new();
    let path = world.h264("a.mp4");
    let uniform = |count, sampling| Request { want: Want::Uniform(count), ..request(&path, sampling, 1.0) };
    assert_eq!(run(&uniform(4, Sampling::Gop)).unwrap().times(), [0, 1320, 2640, 3960]);
    assert_eq!(run(&uniform(1, Sampling::Auto)).unwrap().times(), [0]);
    assert_eq!(run(&uniform(200, Sampling::All)).unwrap().frames.len(), 100);
}

#[test]
fn pictures_stand_upright_and_wide() {
    let world = World::new();
    let halves =
        "videotestsrc num-buffers=5 pattern=gradient ! video/x-raw,format=I420,width=160,height=80,framerate=25/1";
    let path = world.make("turned.mp4", &format!("{halves} ! x264enc ! h264parse ! mp4mux ! filesink location=OUT"));
    turn_clockwise(&path);
    let turned = all(&path);
    assert_eq!((turned.probe.width, turned.probe.height), (80, 160));
    assert_eq!(turned.probe.orientation.in_words().as_deref(), Some("90"));
    // The gradient runs from top to bottom; turned clockwise the top is at the right.
    let pixels = &turned.frames[0].pixels;
    let brightness = |x: usize| u32::from(pixels.data[(32 * 64 + x) * 3]);
    assert!(brightness(2).abs_diff(brightness(61)) > 100);
    let thumbnail = image::load_from_memory(&turned.frames[0].thumbnail.as_ref().unwrap().0).unwrap();
    assert_eq!((thumbnail.width(), thumbnail.height()), (40, 80));

    let wide = "videotestsrc num-buffers=5 ! video/x-raw,format=I420,width=90,height=80,framerate=25/1,\
                pixel-aspect-ratio=16/9 ! x264enc ! h264parse ! matroskamux ! filesink location=OUT";
    let wide = all(&world.make("wide.mkv", wide));
    assert_eq!((wide.probe.width, wide.probe.height), (160, 80));
}

/// Writes a quarter turn into the track header.
fn turn_clockwise(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let matrix = bytes.windows(4).position(|kind| kind == b"tkhd").unwrap() + 4 + 40;
    for (index, value) in [0, 0x0001_0000, 0, -0x0001_0000, 0, 0, 80 << 16, 0, 0x4000_0000_i32].iter().enumerate() {
        bytes[matrix + index * 4..matrix + index * 4 + 4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn odd_sizes_ten_bits_and_interlaced_pictures_are_read() {
    let world = World::new();
    for (name, caps, encoder) in [
        ("odd.mkv", "format=Y444,width=161,height=121", "x264enc"),
        ("pixel.mkv", "format=Y444,width=1,height=1", "x264enc"),
        ("ten.mkv", "format=I420_10LE,width=160,height=120", "x264enc"),
        ("lines.mkv", "format=I420,width=160,height=120,interlace-mode=interleaved", "x264enc interlaced=true"),
    ] {
        let graph = format!(
            "videotestsrc num-buffers=10 ! video/x-raw,{caps},framerate=25/1 ! {encoder} ! h264parse ! matroskamux \
             ! filesink location=OUT"
        );
        assert_eq!(all(&world.make(name, &graph)).frames.len(), 10, "{name}");
    }
}

#[test]
fn eight_k_pictures_are_read() {
    let world = World::new();
    let graph = "videotestsrc num-buffers=3 ! video/x-raw,format=I420,width=7680,height=4320,framerate=25/1 ! jpegenc \
                 ! matroskamux ! filesink location=OUT";
    let run = all(&world.make("8k.mkv", graph));
    assert_eq!((run.probe.width, run.probe.height, run.frames.len()), (7680, 4320, 3));
    assert!(run.outcome.peak_rss_bytes < 1 << 30, "{} bytes", run.outcome.peak_rss_bytes);
}

#[test]
fn a_duration_of_zero_is_not_believed() {
    let world = World::new();
    let path = world.h264("a.mp4");
    let mut bytes = std::fs::read(&path).unwrap();
    // Version 0 headers: the duration of its media, of the track, of the movie.
    for (kind, offset) in [(b"mdhd", 16), (b"tkhd", 20), (b"mvhd", 16)] {
        let field = bytes.windows(4).position(|found| found == kind).unwrap() + 4 + offset;
        bytes[field..field + 4].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let run = all(&path);
        assert_eq!(run.frames.len(), 100, "{}", kind.escape_ascii());
        assert_eq!(run.outcome.end, Duration::from_secs(4), "{}", kind.escape_ascii());
    }

    let single = world.make("b.mp4", &format!("{} ! x264enc ! h264parse ! mp4mux ! filesink location=OUT", source(1)));
    assert_eq!(all(&single).frames.len(), 1);
}

#[test]
fn uneven_frames_keep_their_own_times() {
    let world = World::new();
    let graph = format!(
        "{} ! identity drop-probability=0.5 ! x264enc key-int-max=10 ! h264parse ! matroskamux ! filesink location=OUT",
        source(100)
    );
    let path = world.make("a.mkv", &graph);
    let every = all(&path);
    let steps: Vec<u64> = every.times().windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().any(|step| *step > 60), "{steps:?}");
    let sampled = run(&request(&path, Sampling::Gop, 0.5)).unwrap();
    assert!(sampled.times().iter().all(|time| every.times().contains(time)));
}

#[test]
fn what_is_no_video_is_said_to_be_none() {
    let world = World::new();
    let text = world.file("a.mp4");
    std::fs::write(&text, "a shopping list\nmilk\nbread\n".repeat(40)).unwrap();
    assert!(matches!(run(&request(&text, Sampling::Auto, 1.0)), Err(DecodeError::NotVideo(_))));
    let empty = world.file("empty.mkv");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(run(&request(&empty, Sampling::Auto, 1.0)), Err(DecodeError::NotVideo(_))));
    let picture = world.make("a.png", "videotestsrc num-buffers=1 ! pngenc ! filesink location=OUT");
    assert!(matches!(run(&request(&picture, Sampling::Auto, 1.0)), Err(DecodeError::StillPicture(_))));
    let sound = world.make("a.mp4", "audiotestsrc num-buffers=50 ! avenc_aac ! mp4mux ! filesink location=OUT");
    match run(&request(&sound, Sampling::Auto, 1.0)).map(|run| run.frames.len()) {
        Err(DecodeError::NoVideoTrack(found)) => assert!(found.contains("audio/mpeg"), "{found}"),
        other => panic!("{other:?}"),
    }
    let nowhere = run(&request(&world.file("nowhere.mp4"), Sampling::Auto, 1.0));
    assert!(matches!(nowhere, Err(DecodeError::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound));
    assert!(matches!(run(&request(world.0.path(), Sampling::Auto, 1.0)), Err(DecodeError::NotVideo(_))));
}

#[test]
fn damaged_files_give_what_is_good_and_say_so() {
    let world = World::new();
    let encoder = "x264enc key-int-max=25 ! h264parse ! mp4mux faststart=true";
    let path = world.make("a.mp4", &format!("{} ! {encoder} ! filesink location=OUT", source(100)));
    let bytes = std::fs::read(&path).unwrap();

    let cut = world.file("cut.mp4");
    std::fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let half = all(&cut);
    assert!((20..100).contains(&half.frames.len()), "{}", half.frames.len());
    let problem = half.problem(ProblemKind::CutShort);
    assert!(problem.detail.contains("bytes are missing"), "{problem}");
    let (start, end) = (problem.start_s.unwrap(), problem.end_s.unwrap());
    assert!(start == half.outcome.end.as_secs_f64() && (end - 4.0).abs() < 0.1, "{problem}");
    assert!(half.outcome.problems.iter().all(|problem| problem.kind != ProblemKind::EndsEarly), "the same cause twice");

    std::fs::write(&cut, &bytes[..200]).unwrap();
    assert!(matches!(run(&request(&cut, Sampling::All, 1.0)), Err(DecodeError::Damaged(_))));

    // Without a movie header the tracks are still there.
    let header = bytes.windows(4).position(|kind| kind == b"mvhd").unwrap();
    let mut mended = bytes.clone();
    mended[header + 1] = 1;
    std::fs::write(&cut, &mended).unwrap();
    let run = all(&cut);
    assert_eq!(run.frames.len(), 100);
    run.problem(ProblemKind::HeaderRepaired);

    let mut noisy = bytes.clone();
    let start = bytes.len() / 2;
    for at in (start..bytes.len()).step_by(97) {
        noisy[at] ^= 0x5a;
    }
    std::fs::write(&cut, &noisy).unwrap();
    assert!(all(&cut).frames.len() > 20);
}

/// Some decoders leave a bad frame out, AV1's breaks on it.
#[test]
fn behind_a_bad_frame_decoding_goes_on_with_the_next_key_frame() {
    let world = World::new();
    for (name, encoder) in [
        ("av1.mp4", "av1enc cpu-used=8 usage-profile=realtime keyframe-max-dist=25 ! av1parse"),
        ("vp9.mp4", "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25 ! vp9parse"),
        ("h264.mp4", "x264enc key-int-max=25 bframes=0 ! h264parse"),
    ] {
        let path = world.make(name, &format!("{} ! {encoder} ! mp4mux ! filesink location=OUT", source(100)));
        let mut bytes = std::fs::read(&path).unwrap();
        // The second quarter: frames of the first and second group of pictures.
        let (start, end) = (bytes.len() / 4, bytes.len() / 3);
        for at in (start..end).step_by(50) {
            bytes[at] ^= 0xa5;
        }
        std::fs::write(&path, &bytes).unwrap();
        let run = all(&path);
        let late = run.times().iter().filter(|time| **time >= 3000).count();
        assert!(late >= 24, "{name}: {late} of the last 25 frames, {:?}", run.outcome.problems);
        if run.frames.len() < 100 {
            // What was damaged lies in the first two groups, and the third begins anew.
            let problem = run.problem(ProblemKind::FramesMissing);
            assert!(problem.start_s.is_none_or(|start| start < 2.0), "{name}: {problem}");
            assert!(problem.end_s.is_none_or(|end| end <= 3.0), "{name}: {problem}");
        }
    }
}

#[test]
fn names_that_are_no_text_are_read() {
    let world = World::new();
    let path = world.h264("a.mp4");
    let odd = world.file("x").with_file_name(std::ffi::OsString::from_vec(b"caf\xe9 \xff.mp4".to_vec()));
    std::fs::rename(path, &odd).unwrap();
    assert_eq!(run(&request(&odd, Sampling::Keyframes, 1.0)).unwrap().frames.len(), 4);
}

#[test]
fn a_gif_is_read_up_to_where_it_stops_being_one() {
    let world = World::new();
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/footage/animated.gif")).unwrap();
    let as_made = world.file("a.gif");
    std::fs::write(&as_made, &whole).unwrap();
    let expected = all(&as_made);
    assert!(expected.frames.len() > 5);
    for (name, rest) in [("no-trailer.gif", &[][..]), ("rubbish.gif", &[b'z'; 20_000])] {
        let path = world.file(name);
        std::fs::write(&path, [&whole[..whole.len() - 1], rest].concat()).unwrap();
        let found = all(&path);
        assert_eq!(found.times(), expected.times(), "{name}");
    }
}

/// Frames a good player shows of each odd file.
#[test]
fn odd_files_from_the_wild_are_read_as_players_read_them() {
    let shared = std::env::var_os("CLIPSEEK_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let folder = shared.join("media/robustness");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    for (name, frames) in [
        ("decord_corrupted.mp4", 49..=50),
        ("decord_rot90.mov", 3..=3),
        ("decord_unordered.mov", 4..=4),
        ("exoplayer_desks.3gp", 71..=71),
        ("media3_hlg10.mp4", 9..=9),
        ("media3_invalid_nalu.mp4", 29..=30),
        ("media3_missing_stsd.mp4", 30..=30),
        ("media3_rotate_and_reflect.mp4", 30..=30),
        ("moviepy_no_duration.webm", 74..=74),
        // Only its sound lies outside of the file.
        ("mp4parse_chunk_out_of_range.mp4", 17..=17),
        ("mp4parse_no_timescale.mp4", 160..=181),
        ("torchcodec_av1_testpattern.mkv", 125..=125),
        ("torchcodec_h264_10bit.mp4", 30..=30),
    ] {
        let run = all(&folder.join(name));
        assert!(frames.contains(&run.frames.len()), "{name}: {} frames, not {frames:?}", run.frames.len());
    }
    let error = run(&request(&folder.join("media3_audio_only.mp4"), Sampling::All, 1.0)).map(|run| run.frames.len());
    assert!(matches!(error, Err(DecodeError::NoVideoTrack(_))), "{error:?}");
}

/// How the video of a file is told to be shown.
fn shown_as(run: &Run) -> (u32, u32, Option<String>) {
    (run.probe.width, run.probe.height, run.probe.orientation.in_words())
}

#[test]
fn frames_asked_for_by_their_times_are_those_frames() {
    let world = World::new();
    let path = world.h264("a.mp4");
    let survey = decoder().survey(&path, CancellationToken::new()).unwrap();
    let all = all(&path);
    assert_eq!(survey.times, all.frames.iter().map(|frame| frame.pts).collect::<Vec<_>>());
    assert_eq!((survey.end, survey.probe), (Duration::from_secs(4), all.probe));
    let picks = [0, 1, 24, 25, 26, 63, 99];
    let times = picks.map(|pick| survey.times[pick]).to_vec();
    let found = run(&Request { want: Want::At(times), ..request(&path, Sampling::Gop, 1.0) }).unwrap();
    assert_eq!(found.frames, picks.map(|pick| all.frames[pick].clone()));
    assert!(found.outcome.packets_decoded < 100, "{:?}", found.outcome);
    let none = run(&Request { want: Want::At(vec![]), ..request(&path, Sampling::Gop, 1.0) }).unwrap();
    assert!(none.frames.is_empty());

    for (bad, what) in [(world.file("nowhere.mp4"), "cannot read"), (world.file("text.mp4"), "not a video")] {
        std::fs::write(world.file("text.mp4"), "no video").unwrap();
        let error = decoder().survey(&bad, CancellationToken::new()).unwrap_err().to_string();
        assert!(error.starts_with(what), "{error}");
    }
    let stopped = CancellationToken::new();
    stopped.cancel();
    assert!(matches!(decoder().survey(&path, stopped), Err(DecodeError::Stopped)));
}

const YEAR: u64 = 365 * 24 * 3600;

/// 50 frames, two seconds, one of which says that it is shown 158 years later.
fn with_a_leap(world: &World, name: &str, leaping: u32, rest: &str) -> PathBuf {
    let path = world.file(name);
    let graph = format!("{} ! {rest} ! identity name=leap ! matroskamux ! filesink location=OUT", source(50));
    make_with(&graph, &path, |graph| {
        let pad = graph.by_name("leap").unwrap().static_pad("src").unwrap();
        let count = std::sync::atomic::AtomicU32::new(0);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let Some(buffer) = info.buffer_mut().filter(|_| number == leaping) {
                let late = gst::ClockTime::from_seconds(158 * YEAR);
                buffer.make_mut().set_pts(late);
                buffer.make_mut().set_dts(late);
            }
            gst::PadProbeReturn::Ok
        });
    });
    path
}

#[test]
fn a_frame_of_another_century_is_a_problem_and_costs_no_time() {
    let world = World::new();
    let h264 = "x264enc key-int-max=25 bframes=0 option-string=scenecut=0 ! h264parse";
    for (name, leaping, codec) in [
        ("last.mkv", 49, "jpegenc"),
        ("middle.mkv", 20, "jpegenc"),
        ("last-h264.mkv", 49, h264),
        ("key-h264.mkv", 25, h264),
    ] {
        let path = with_a_leap(&world, name, leaping, codec);
        for sampling in [Sampling::Auto, Sampling::Keyframes, Sampling::Gop, Sampling::All] {
            let started = Instant::now();
            let run = run(&request(&path, sampling, 0.25)).unwrap();
            let gap = run.problem(ProblemKind::TimeGap);
            assert!((0.7..2.0).contains(&gap.start_s.unwrap()), "{name}: {gap}");
            // Some encoders let the clock begin at a thousand hours.
            assert!(gap.end_s.unwrap() > (157 * YEAR) as f64, "{name}: {gap}");
            assert!(run.outcome.end > Duration::from_secs(157 * YEAR), "{name}");
            let span = Span::Sliding { length: Duration::from_secs(2), stride: Duration::from_millis(1) };
            let mut windows = Windows::new(span, 8, 0);
            let mut count = 0;
            for frame in &run.frames {
                count += windows.push(frame.pts, frame.until, ()).len();
            }
            count += windows.finish(run.outcome.end).len();
            assert!(count < 8001, "{name}: {count} windows");
            assert!(started.elapsed() < Duration::from_secs(10), "{name}, {sampling}: {:?}", started.elapsed());
        }
        decoder().survey(&path, CancellationToken::new()).unwrap();
    }
}
