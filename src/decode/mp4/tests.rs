//! Files made box by box.

use std::io::Write;

use proptest::prelude::*;

use super::boxes::{be32, be64};
use super::samples::sizes;
use super::*;

/// 12 frames of 10 bytes, a second each, the first and the seventh of them key frames.
fn tables() -> Vec<u8> {
    let sizes = [&[0; 4][..], &10_u32.to_be_bytes(), &12_u32.to_be_bytes()].concat();
    [
        full_table(b"stts", vec![[12, 100]]),
        full_table(b"stsc", vec![[1, 5, 1], [3, 2, 1]]),
        boxed(b"stsz", &sizes),
        full_table(b"stco", vec![[2200], [2700], [3000]]),
        full_table(b"stss", vec![[1], [7]]),
    ]
    .concat()
}

fn track(handler: &[u8; 4], described: bool, time_scale: u32, edits: &[[u32; 3]]) -> Vec<u8> {
    let mut header = vec![0; 24];
    header[12..16].copy_from_slice(&time_scale.to_be_bytes());
    let mut hdlr = vec![0; 20];
    hdlr[8..12].copy_from_slice(handler);
    let mut entry = vec![0; 78];
    entry[24..28].copy_from_slice(&[0, 96, 0, 64]);
    let description = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(b"avc1", &entry)].concat();
    let description = if described { boxed(b"stsd", &description) } else { boxed(b"free", &description) };
    let minf = boxed(b"minf", &boxed(b"stbl", &[description, tables()].concat()));
    let media = [boxed(b"mdhd", &header), boxed(b"hdlr", &hdlr), minf].concat();
    let mut tkhd = vec![0; 84];
    (tkhd[3], tkhd[15]) = (1, 1);
    let edts = boxed(b"edts", &full_table(b"elst", edits.to_vec()));
    boxed(b"trak", &[boxed(b"tkhd", &tkhd), edts, boxed(b"mdia", &media)].concat())
}

fn mvhd(time_scale: u32) -> Vec<u8> {
    let mut header = vec![0; 100];
    header[12..16].copy_from_slice(&time_scale.to_be_bytes());
    header[16..20].copy_from_slice(&(12 * time_scale).to_be_bytes());
    boxed(b"mvhd", &header)
}

/// 4000 bytes, of which each says which hundred it is in.
fn file(moov: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = [boxed(b"ftyp", b"isom"), boxed(b"moov", moov)].concat();
    bytes.extend((4000 - bytes.len() as u32).to_be_bytes());
    bytes.extend(b"mdat");
    while bytes.len() < 4000 {
        bytes.push((bytes.len() / 100) as u8);
    }
    file.write_all(&bytes).unwrap();
    file
}

fn open(file: &tempfile::NamedTempFile) -> Option<Mended> {
    Mended::open(file.path(), None).unwrap()
}

/// The first byte of each frame that the new header points to, and whether it calls it a key frame.
fn frames(mended: &Mended) -> Vec<(u8, bool)> {
    let table = child(&mended.header, &[b"moov", b"trak", b"mdia", b"minf", b"stbl"]).unwrap();
    let keys: Vec<u32> = child(table, &[b"stss"])
        .map_or_else(Vec::new, |keys| boxes::rows(keys, 4).map(|row| be32(row, 0).unwrap()).collect());
    let offsets: Vec<u64> = match child(table, &[b"co64"]) {
        Some(wide) => boxes::rows(wide, 8).map(|row| be64(row, 0).unwrap()).collect(),
        None => boxes::rows(child(table, &[b"stco"]).unwrap(), 4).map(|row| be32(row, 0).unwrap().into()).collect(),
    };
    let rows = |kind, width: usize, column: usize| {
        let rows = boxes::rows(child(table, &[kind]).unwrap(), width);
        rows.map(|row| be32(row, 4 * column).unwrap()).collect::<Vec<_>>()
    };
    let (firsts, counts) = (rows(b"stsc", 12, 0), rows(b"stsc", 12, 1));
    let per_chunk = |chunk: usize| counts[firsts.partition_point(|first| *first as usize <= chunk + 1) - 1] as usize;
    let mut sizes = sizes(table).unwrap().into_iter().map(u64::from);
    let mut places = Vec::new();
    for (chunk, mut at) in offsets.into_iter().enumerate() {
        for size in sizes.by_ref().take(per_chunk(chunk)) {
            places.push(at);
            at += size;
        }
    }
    (1..).zip(places).map(|(number, at)| (mended.read_at(at, 1).unwrap()[0], keys.contains(&number))).collect()
}

const ONE: u32 = 0x0001_0000;

#[test]
fn the_new_header_points_to_the_frames_and_the_file_stands_behind_it() {
    let file = file(&[mvhd(1000), track(b"soun", true, 100, &[]), track(b"vide", true, 100, &[])].concat());
    let mended = open(&file).unwrap();
    let bytes = mended.read_at(0, usize::MAX).unwrap();
    assert_eq!(bytes.len() as u64, mended.len());
    assert!(bytes.ends_with(&std::fs::read(file.path()).unwrap()));
    for (at, length) in [(12, 3), (mended.len() - 4001, 3), (mended.len() - 4000, 9), (mended.len() - 1, 5)] {
        let end = (at as usize + length).min(bytes.len());
        assert_eq!(mended.read_at(at, length).unwrap(), bytes[at as usize..end]);
    }
    assert!(mended.read_at(mended.len(), 10).unwrap().is_empty());
    let chunks = [22, 22, 22, 22, 22, 27, 27, 27, 27, 27, 30, 30];
    let expected: Vec<(u8, bool)> = (0..).zip(chunks).map(|(number, byte)| (byte, number % 6 == 0)).collect();
    assert_eq!(frames(&mended), expected);
    let moov = child(&bytes, &[b"moov"]).unwrap();
    let kinds: Vec<_> = children(moov).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [*b"mvhd", *b"trak"]);
    assert_eq!((mended.film().duration, mended.film().end), (12_000_000_000, 12_000_000_000));
    assert_eq!(mended.film().problems, []);
}

#[test]
fn a_file_of_more_than_four_gigabytes_has_wide_offsets() {
    let file = file(&[mvhd(1000), track(b"vide", true, 100, &[])].concat());
    let short = frames(&open(&file).unwrap());
    file.as_file().set_len(5 << 30).unwrap();
    let mended = open(&file).unwrap();
    let table = child(&mended.header, &[b"moov", b"trak", b"mdia", b"minf", b"stbl"]).unwrap();
    assert!(child(table, &[b"co64"]).is_some() && child(table, &[b"stco"]).is_none());
    assert_eq!(frames(&mended), short);
}

#[test]
fn frames_are_told_apart_by_the_times_of_the_new_header() {
    let mended = open(&file(&[mvhd(1000), track(b"vide", true, 0, &[])].concat())).unwrap();
    let film = mended.film();
    assert_eq!(film.frames.len(), 12);
    for number in 0..12 {
        let start = number as u64 * film.step * 1_000_000_000 / u64::from(TIME_SCALE);
        for off in [0, 1, 900] {
            assert_eq!((film.number(start + off), film.number(start.saturating_sub(off))), (number, number));
        }
    }
    assert_eq!(film.number(u64::MAX), 11);
}

#[test]
fn an_edit_list_gives_the_frames_in_its_order() {
    let edits = [[1000, u32::MAX, ONE], [2000, 700, ONE], [2000, 200, ONE]];
    let mended = open(&file(&[mvhd(1000), track(b"vide", true, 100, &edits)].concat())).unwrap();
    let film = mended.film();
    let shown: Vec<_> = film.frames.iter().filter(|frame| frame.shown()).map(|frame| frame.pts).collect();
    let second = 1_000_000_000;
    assert_eq!(shown, [second, 2 * second, 3 * second, 4 * second]);
    assert_eq!(
        frames(&mended).iter().map(|(_, key)| *key).collect::<Vec<_>>(),
        [true, false, false, true, false, false, false]
    );
    assert_eq!(film.end, 5 * second);

    let fast = track(b"vide", true, 100, &[[2000, 200, 2 * ONE]]);
    let mended = open(&file(&[mvhd(1000), fast].concat())).unwrap();
    assert_eq!(mended.film().problems[0].kind, ProblemKind::EditList);
    assert_eq!(mended.film().end, 2 * second);
}

#[test]
fn the_wanted_track_is_taken_else_the_enabled_else_the_largest() {
    let numbered = |id: u8, enabled: u8, width: u8| {
        let mut track = track(b"vide", true, 100, &[]);
        let tkhd = track.windows(4).position(|kind| kind == b"tkhd").unwrap() + 4;
        (track[tkhd + 3], track[tkhd + 15]) = (enabled, id);
        let size = track.windows(4).position(|kind| kind == b"avc1").unwrap() + 4 + 24;
        track[size + 1] = width;
        track
    };
    let taken = |tracks: &[Vec<u8>], wanted| {
        let file = file(&[mvhd(1000), tracks.concat()].concat());
        let bytes = Mended::open(file.path(), wanted).unwrap().unwrap().read_at(0, usize::MAX).unwrap();
        Header(child(&bytes, &[b"moov", b"trak", b"tkhd"]).unwrap()).track_id().unwrap()
    };
    let tracks = [numbered(3, 0, 90), numbered(4, 1, 20), numbered(5, 1, 40)];
    assert_eq!(taken(&tracks, None), 4);
    assert_eq!(taken(&tracks, Some(3)), 3);
    assert_eq!(taken(&tracks, Some(9)), 4);
    let hidden = [numbered(3, 0, 20), numbered(4, 0, 90)];
    assert_eq!(taken(&hidden, None), 4);
    assert_eq!(taken(&[numbered(7, 0, 40), numbered(8, 0, 40)], None), 7);
}

#[test]
fn a_header_that_is_damaged_is_repaired_and_said_to_be() {
    let vide = |time_scale| track(b"vide", true, time_scale, &[[2000, 200, ONE]]);
    for moov in [
        vide(100),
        [mvhd(0), vide(100)].concat(),
        [mvhd(1000), vide(0)].concat(),
        [mvhd(1000), vide(100), track(b"soun", false, 1, &[])].concat(),
    ] {
        let mended = open(&file(&moov)).unwrap();
        assert_eq!(mended.film().problems[0].kind, ProblemKind::HeaderRepaired);
        assert!(mended.film().frames.len() >= 2);
    }
}

#[test]
fn other_files_and_files_without_video_are_left_alone() {
    assert!(open(&file(&track(b"soun", true, 1, &[]))).is_none());
    assert!(open(&file(&[mvhd(1000), track(b"vide", false, 100, &[])].concat())).is_none());
    let mut text = tempfile::NamedTempFile::new().unwrap();
    text.write_all(b"a shopping list, long enough to be read").unwrap();
    assert!(open(&text).is_none());
}

#[test]
fn frames_behind_the_end_of_the_file_are_left_out_and_still_promised() {
    let file = file(&[mvhd(1000), track(b"vide", true, 100, &[])].concat());
    file.as_file().set_len(2900).unwrap();
    let mended = open(&file).unwrap();
    assert_eq!((mended.film().frames.len(), mended.film().end), (10, 12_000_000_000));
}

#[test]
fn of_a_frame_that_the_end_of_the_file_cuts_what_is_there_is_given() {
    let file = file(&[mvhd(1000), track(b"vide", true, 100, &[])].concat());
    file.as_file().set_len(3014).unwrap();
    assert_eq!(open(&file).unwrap().film().frames.len(), 11, "units behind their lengths");
    file.as_file().write_all_at(&[0, 0, 0, 1], 2200).unwrap();
    let mended = open(&file).unwrap();
    assert_eq!(mended.film().frames.len(), 12);
    let table = child(&mended.header, &[b"moov", b"trak", b"mdia", b"minf", b"stbl"]).unwrap();
    assert_eq!(sizes(table).unwrap()[10..], [10, 4]);
}

#[test]
fn where_fragments_overlap_the_frames_of_the_earlier_one_are_shown() {
    let times = |second: u32| {
        let mut bytes = fragmented(&[]);
        let old = 100_300_u32.to_be_bytes();
        let at = bytes.windows(4).position(|bytes| bytes == old).unwrap();
        bytes[at..at + 4].copy_from_slice(&second.to_be_bytes());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let mended = open(&file).unwrap();
        assert_eq!(mended.film().frames.len(), 6);
        mended.film().frames.iter().map(|frame| frame.shown().then_some(frame.pts / 10_000_000)).collect::<Vec<_>>()
    };
    // Three frames from 0 s to 2 s, and three from 1.5 s on: the first of these is only decoded.
    assert_eq!(times(100_150), [Some(0), Some(100), Some(200), None, Some(250), Some(350)]);
    // As early as the first fragment: another recording.
    assert_eq!(times(100_000), [0, 100, 200, 300, 400, 500].map(Some));
}

/// A movie without frames and two fragments of it, which begin at 1000 s.
fn fragmented(edits: &[[u32; 3]]) -> Vec<u8> {
    let full =
        |kind, fields: &[u32]| boxed(kind, &fields.iter().flat_map(|field| field.to_be_bytes()).collect::<Vec<u8>>());
    let mut track = track(b"vide", true, 100, edits);
    let at = track.windows(4).position(|kind| kind == b"stsz").unwrap();
    track[at + 12..at + 16].fill(0);
    let defaults = boxed(b"mvex", &full(b"trex", &[0, 1, 1, 100, 10, 0x0001_0000]));
    let mut bytes = [boxed(b"ftyp", b"isom"), boxed(b"moov", &[mvhd(1000), track, defaults].concat())].concat();
    for number in 0..2_u32 {
        let run = full(b"trun", &[0x205, 3, 92, 0x0200_0000, 11, 12, 13]);
        let start = full(b"tfdt", &[0, 100_000 + number * 300]);
        let traf = boxed(b"traf", &[full(b"tfhd", &[0x2_0000, 1]), start, run].concat());
        bytes.extend(boxed(b"moof", &traf));
        bytes.extend(boxed(b"mdat", &[number as u8 + 1; 64]));
    }
    bytes
}

#[test]
fn fragments_become_one_table_that_starts_with_the_first_of_them() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&fragmented(&[])).unwrap();
    let mended = open(&file).unwrap();
    let film = mended.film();
    let times: Vec<i64> = film.frames.iter().map(|frame| frame.pts / 1_000_000_000).collect();
    assert_eq!(times, [0, 1, 2, 3, 4, 5]);
    let expected = [(1, true), (1, false), (1, false), (2, true), (2, false), (2, false)];
    assert_eq!(frames(&mended), expected);

    // An edit says which part of the first fragment is left out; nobody knew how long it becomes. Where there is no other
    // track, the rest begins at zero.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&fragmented(&[[500, u32::MAX, ONE], [0, 100, ONE]])).unwrap();
    let film = open(&file).unwrap().film;
    let shown: Vec<i64> = film.frames.iter().filter(|frame| frame.shown()).map(|frame| frame.pts / 1_000_000).collect();
    assert_eq!(shown, [0, 1000, 2000, 3000, 4000]);
}

#[test]
fn matrices_turn_and_mirror_as_players_do() {
    let unit = |a: i32, b: i32, c: i32, d: i32| [a, b, c, d].map(f64::from);
    for (matrix, mirrored, quarters) in [
        (unit(1, 0, 0, 1), false, 0),
        (unit(0, 1, -1, 0), false, 1),
        (unit(-1, 0, 0, -1), false, 2),
        (unit(0, -1, 1, 0), false, 3),
        (unit(-1, 0, 0, 1), true, 0),
        (unit(0, -1, -1, 0), true, 1),
        (unit(1, 0, 0, -1), true, 2),
        (unit(0, 1, 1, 0), true, 3),
        (unit(300, 1, -2, 200), false, 0),
        (unit(0, 0, 0, 0), false, 0),
        (unit(7, 7, -7, 7), false, 0),
    ] {
        assert_eq!(orientation(matrix), Orientation { mirrored, quarters }, "{matrix:?}");
    }
}

#[test]
fn the_matrices_of_track_and_movie_are_one_after_the_other() {
    let with = |own: [i32; 4], whole: [i32; 4]| {
        let mut track = track(b"vide", true, 100, &[]);
        let mut movie = mvhd(1000);
        let tkhd = track.windows(4).position(|kind| kind == b"tkhd").unwrap() + 4;
        for (index, number) in [0, 1, 3, 4].into_iter().zip(own) {
            track[tkhd + 40 + index * 4..][..4].copy_from_slice(&(number * 65_536).to_be_bytes());
        }
        track[tkhd + 76..tkhd + 84].copy_from_slice(&[0, 96, 0, 0, 0, 64, 0, 0]);
        for (index, number) in [0, 1, 3, 4].into_iter().zip(whole) {
            movie[8 + 36 + index * 4..][..4].copy_from_slice(&(number * 65_536).to_be_bytes());
        }
        let mended = open(&file(&[movie, track].concat())).unwrap();
        let bytes = mended.read_at(0, usize::MAX).unwrap();
        let size = Header(child(&bytes, &[b"moov", b"trak", b"tkhd"]).unwrap()).size().unwrap();
        (mended.film().orientation, (size.0 >> 16, size.1 >> 16))
    };
    let turned = |mirrored, quarters| Orientation { mirrored, quarters };
    assert_eq!(with([0, 1, -1, 0], [0; 4]), (turned(false, 1), (96, 64)));
    assert_eq!(with([0, 1, -1, 0], [0, 1, -1, 0]).0, turned(false, 2));
    // Turned, then mirrored.
    assert_eq!(with([0, 1, -1, 0], [-1, 0, 0, 1]).0, turned(true, 3));
    assert_eq!(with([2, 0, 0, 2], [0; 4]), (turned(false, 0), (96, 64)));
    assert_eq!(with([2, 0, 0, 1], [0; 4]), (turned(false, 0), (192, 64)));
}

proptest! {
    #[test]
    fn damaged_files_are_no_panic(
        changes in prop::collection::vec((0usize..2000, prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()]), 0..6),
        cut in 0usize..4000,
        in_fragments: bool,
    ) {
        let mut bytes = if in_fragments {
            fragmented(&[[500, u32::MAX, ONE], [0, 100, ONE]])
        } else {
            let edits = [[1000, u32::MAX, ONE], [2000, 700, ONE], [2000, 200, ONE]];
            let moov = [mvhd(1000), track(b"vide", true, 100, &edits), track(b"soun", false, 1, &[])].concat();
            std::fs::read(file(&moov).path()).unwrap()
        };
        bytes.truncate(cut.max(1));
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        if let Ok(Some(mended)) = Mended::open(file.path(), None) {
            prop_assert!(mended.read_at(0, 1 << 20).is_ok());
            prop_assert!(!mended.film().frames.is_empty() && mended.film().step > 0);
        }
    }
}

#[test]
fn players_count_from_the_first_of_all_tracks() {
    let late = [[3000, u32::MAX, ONE], [12_000, 0, ONE]];
    let sooner = [[1000, u32::MAX, ONE], [12_000, 0, ONE]];
    let start = |tracks: &[Vec<u8>]| {
        let moov = [vec![mvhd(1000)], tracks.to_vec()].concat().concat();
        open(&file(&moov)).unwrap().film().start / 1_000_000
    };
    let video = track(b"vide", true, 100, &late);
    assert_eq!(start(std::slice::from_ref(&video)), 3000);
    assert_eq!(start(&[video.clone(), track(b"soun", true, 100, &sooner)]), 1000);
    assert_eq!(start(&[video, track(b"soun", true, 100, &[])]), 0);
}

#[test]
fn no_frame_is_shown_before_it_is_decoded() {
    let sample =
        |dts, cts| Sample { offset: 0, size: 1, description: 1, key: true, dts, cts, duration: 1, covered: false };
    let shown = |times: &[(i64, i64)]| {
        let mut samples: Vec<Sample> = times.iter().map(|(dts, cts)| sample(*dts, *cts)).collect();
        show_no_earlier_than_decoded(&mut samples);
        samples.iter().map(|sample| sample.cts).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[(0, 0), (10, 30), (20, 10)]), [10, 40, 20]);
    assert_eq!(shown(&[(0, 5), (10, 10)]), [5, 10]);
    assert_eq!(shown(&[(0, 0), (1 << 40, 0)]), [0, 0]);
}

#[test]
fn colours_with_all_values_are_told() {
    let described = |colours: &[u8]| {
        let mut moov = [mvhd(1000), track(b"vide", true, 100, &[])].concat();
        let entry = boxed(b"avc1", &[&[0; 78][..], &boxed(b"colr", colours)].concat());
        let stsd = boxed(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], &entry].concat());
        let old = moov.windows(4).position(|bytes| bytes == b"stsd").unwrap() - 4;
        let length = be32(&moov, old).unwrap() as usize;
        moov.splice(old..old + length, stsd.clone());
        for kind in [b"trak", b"mdia", b"minf", b"stbl"] {
            let at = moov.windows(4).position(|bytes| bytes == kind).unwrap() - 4;
            let size = be32(&moov, at).unwrap() + (stsd.len() - length) as u32;
            moov[at..at + 4].copy_from_slice(&size.to_be_bytes());
        }
        open(&file(&moov)).unwrap().film().full_range
    };
    assert!(described(b"nclx\0\x01\0\x01\0\x01\x80"));
    assert!(!described(b"nclx\0\x01\0\x01\0\x01\0"));
    assert!(!described(b"nclc\0\x01\0\x01\0\x01"));
}
