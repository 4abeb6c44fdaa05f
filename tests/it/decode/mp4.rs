//! MP4 files as cameras, editors and ffmpeg make them: edit lists, fragments, tracks that begin late or end early.

use super::*;

#[test]
fn mp4_files_like_those_of_real_users_are_shown_at_the_right_time() {
    let Some(media) = crate::support::shared("media") else { return };
    let folder = media.join("reported");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    for (name, frames, first, last) in [
        ("03-3s-video-30s-sound.mp4", 75, 0, 2960),
        ("04-cut-by-ffmpeg-ss.mp4", 677, 0, 27_120),
        ("04-edit-6-to-9s.mp4", 75, 0, 2960),
        ("07-matrix-scale-2x.mp4", 75, 0, 2960),
        ("11-video-5s-after-sound.mp4", 250, 5000, 14_960),
    ] {
        let run = all(&folder.join(name));
        let times = run.times();
        assert_eq!((times.len(), times[0], times[times.len() - 1]), (frames, first, last), "{name}");
        assert_eq!(run.outcome.problems, [], "{name}");
        // Each sampling has its frames among them, from the first on.
        for sampling in [Sampling::Auto, Sampling::Gop] {
            let sampled = run_with(&folder.join(name), sampling);
            assert!(sampled.iter().all(|frame| run.frames.contains(frame)), "{name}, {sampling}");
            assert_eq!(sampled[0].pts.as_millis() as u64, first, "{name}, {sampling}");
        }
        // From the first picture, as data sets count.
        let survey = decoder().survey(&folder.join(name), CancellationToken::new()).unwrap();
        assert_eq!(survey.times, times.iter().map(|time| Duration::from_millis(time - first)).collect::<Vec<_>>());
    }
    let run = all(&folder.join("07-matrix-scale-2x.mp4"));
    assert_eq!(shown_as(&run), (192, 64, None));
    let run = all(&folder.join("12-slides-held-for-a-minute.mp4"));
    assert_eq!(run.times(), [0, 60_000, 130_000, 200_000, 320_000, 330_000, 400_000]);
    assert_eq!(run.outcome.end, Duration::from_secs(401));
}

fn run_with(path: &Path, sampling: Sampling) -> Vec<Frame> {
    run(&request(path, sampling, 0.5)).unwrap().frames
}

/// Shortens what an MP4 file shows to this share of its length, by its edit list.
fn cut_by_edit_list(path: &Path, to: &Path, share: f64) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(4).position(|window| window == b"elst").expect("the muxer writes an edit list");
    let count = u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    assert_eq!(bytes[at + 4], 0, "version 0");
    let last = at + 12 + (count - 1) * 12;
    let duration = u32::from_be_bytes(bytes[last..last + 4].try_into().unwrap());
    let shorter = (f64::from(duration) * share).round() as u32;
    bytes[last..last + 4].copy_from_slice(&shorter.to_be_bytes());
    std::fs::write(to, bytes).unwrap();
}

#[test]
fn a_frame_that_needs_one_behind_the_end_of_what_is_shown_is_whole() {
    let world = World::new();
    let (whole, cut) = (world.h264("whole.mp4"), world.file("cut.mp4"));
    cut_by_edit_list(&whole, &cut, 0.8);
    let (whole, cut) = (all(&whole), all(&cut));
    assert_eq!(cut.times(), whole.times()[..80]);
    // Number 79 is the first of two B-frames and needs number 81.
    for (number, (found, expected)) in cut.frames.iter().zip(&whole.frames).enumerate() {
        assert!(found == expected, "frame {number} differs");
    }
    assert_eq!(cut.outcome.problems, []);
}

/// Puts another edit list in the place of that of a file whose header stands at its end: times of the movie in
/// milliseconds, and of the media in frames of 40 ms; less than zero is a pause.
fn with_edits(path: &Path, to: &Path, edits: &[(u64, i64)], version: u8) {
    let bytes = std::fs::read(path).unwrap();
    let at = |kind: &[u8; 4]| bytes.windows(4).position(|window| window == kind).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (movie, media) = (number(at(b"mvhd") + 16), number(at(b"mdhd") + 16));
    let first = i64::from(number(at(b"elst") + 16) as i32);
    let mut list = vec![version, 0, 0, 0];
    list.extend((edits.len() as u32).to_be_bytes());
    for (millis, frames) in edits {
        let length = millis * u64::from(movie) / 1000;
        let from = if *frames < 0 { -1 } else { first + frames * i64::from(media) / 25 };
        if version == 1 {
            list.extend([length.to_be_bytes(), from.to_be_bytes()].concat());
        } else {
            list.extend([(length as u32).to_be_bytes(), (from as i32).to_be_bytes()].concat());
        }
        list.extend(0x0001_0000_u32.to_be_bytes());
    }
    let old = number(at(b"elst") - 4) as usize;
    let mut new = bytes.clone();
    new.splice(at(b"elst") + 4..at(b"elst") - 4 + old, list.iter().copied());
    for kind in [b"elst", b"edts", b"trak", b"moov"] {
        let size = number(at(kind) - 4) as usize + list.len() + 8 - old;
        new[at(kind) - 4..at(kind)].copy_from_slice(&(size as u32).to_be_bytes());
    }
    std::fs::write(to, new).unwrap();
}

#[test]
fn edit_lists_show_what_they_say_when_they_say_it() {
    let world = World::new();
    // A key frame every second, two B-frames, four seconds.
    let (path, edited) = (world.h264("a.mp4"), world.file("edited.mp4"));
    let whole = all(&path);
    let part = |from: usize, count: usize, at: u64| -> Vec<(usize, u64)> {
        (0..count).map(|number| (from + number, at + 40 * number as u64)).collect()
    };
    for (edits, expected) in [
        (&[(4000, 0)][..], part(0, 100, 0)),
        (&[(1000, 50)], part(50, 25, 0)),
        (&[(1200, 37)], part(37, 30, 0)),
        (&[(5000, -1), (2000, 0)], part(0, 50, 5000)),
        (&[(1000, 25), (1000, 75)], [part(25, 25, 0), part(75, 25, 1000)].concat()),
        (&[(1000, 75), (500, -1), (1000, 25)], [part(75, 25, 0), part(25, 25, 1500)].concat()),
        (&[(1000, 25), (1000, 25)], [part(25, 25, 0), part(25, 25, 1000)].concat()),
    ] {
        for version in [0, 1] {
            with_edits(&path, &edited, edits, version);
            for sampling in [Sampling::All, Sampling::Gop] {
                let run = run(&request(&edited, sampling, 0.001)).unwrap();
                assert_eq!(run.outcome.problems, [], "{edits:?}");
                let times: Vec<u64> = expected.iter().map(|(_, time)| *time).collect();
                assert_eq!(run.times(), times, "{edits:?}");
                for (frame, (number, time)) in run.frames.iter().zip(&expected) {
                    assert!(frame.pixels == whole.frames[*number].pixels, "{edits:?}: another picture at {time} ms");
                }
            }
        }
    }
}

#[test]
fn a_video_that_starts_late_is_counted_from_the_start_of_the_medium_or_from_its_first_picture() {
    let world = World::new();
    let (path, late) = (world.h264("a.mp4"), world.file("late.mp4"));
    with_edits(&path, &late, &[(5100, -1), (4000, 0)], 0);
    for sampling in [Sampling::Auto, Sampling::Gop, Sampling::All] {
        let medium = run(&request(&late, sampling, 1.0)).unwrap();
        // The grid is that of the medium; the first picture stands for what comes before it.
        assert_eq!(medium.times()[0], 5100, "{sampling}");
        assert!(medium.times()[1..].iter().all(|time| time.abs_diff((time + 500) / 1000 * 1000) <= 250), "{sampling}");
        assert_eq!(medium.outcome.end, Duration::from_millis(9100));
        let first = run(&Request { zero: Zero::FirstFrame, ..request(&late, sampling, 1.0) }).unwrap();
        let plain = run(&request(&path, sampling, 1.0)).unwrap();
        assert_eq!((first.frames, first.outcome.end), (plain.frames, plain.outcome.end), "{sampling}");
    }
    let uniform = |zero| Request { want: Want::Uniform(3), zero, ..request(&late, Sampling::Gop, 1.0) };
    assert_eq!(run(&uniform(Zero::FirstFrame)).unwrap().times(), [0, 1960, 3960]);
    assert_eq!(run(&uniform(Zero::Medium)).unwrap().times(), [5100, 7060, 9060]);
    let tail = Request { from: Duration::from_secs(7), ..request(&late, Sampling::Gop, 1.0) };
    assert_eq!(run(&tail).unwrap().times(), [6980, 7980, 8980]);
}

/// Cut without being coded anew, in fragments, and delayed, by the program that most people use.
#[test]
fn files_cut_by_ffmpeg_have_the_times_that_ffprobe_says() {
    let world = World::new();
    let (path, made) = (world.h264("a.mp4"), world.file("made.mp4"));
    for (before, behind) in [
        (&["-ss", "1.5"][..], &[][..]),
        (&["-ss", "2"], &["-t", "1"]),
        (&["-itsoffset", "3.5"], &[]),
        (&[], &["-use_editlist", "0"]),
        (&[], &["-movflags", "negative_cts_offsets"]),
        (&[], &["-movflags", "frag_keyframe+empty_moov"]),
        (&[], &["-movflags", "frag_keyframe+empty_moov+default_base_moof+delay_moov"]),
    ] {
        let program = |name: &str, arguments: &[&str]| {
            let output = std::process::Command::new(name).args(["-v", "error"]).args(arguments).output();
            output.inspect(|output| assert!(output.status.success(), "{name} {arguments:?}: {output:?}"))
        };
        let (path, made) = (path.to_str().unwrap(), made.to_str().unwrap());
        let arguments = [before, &["-i", path, "-c", "copy"], behind, &["-y", made]].concat();
        if let Err(error) = program("ffmpeg", &arguments) {
            eprintln!("skipped: ffmpeg: {error}");
            return;
        }
        let frames = ["-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0", made];
        let Ok(told) = program("ffprobe", &frames) else { return eprintln!("skipped: there is no ffprobe") };
        let told = String::from_utf8(told.stdout).unwrap();
        let seconds = told.lines().filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok());
        let mut expected: Vec<u64> = seconds.map(|seconds| (seconds * 1000.0).round() as u64).collect();
        assert!(expected.len() >= 25, "{arguments:?}: {told}");
        // Fragments have no presentation time zero but that of their first picture.
        if behind.iter().any(|argument| argument.contains("frag_")) {
            let first = expected[0];
            expected.iter_mut().for_each(|time| *time -= first);
        }
        let found: Vec<u64> =
            all(Path::new(made)).frames.iter().map(|frame| (frame.pts.as_secs_f64() * 1000.0).round() as u64).collect();
        assert_eq!(found, expected, "{arguments:?}");
    }
}
