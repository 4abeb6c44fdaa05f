use std::io::Write;

use super::*;
use crate::decode::Track;

const PID: u16 = 0x101;
const SOUND: u16 = 0x102;
const FRAME: i64 = SCALE / 25;

/// The packets of one unit. `dts`: none where it is that of presentation.
fn unit(pid: u16, counter: &mut u8, pts: i64, dts: Option<i64>, data: &[u8]) -> Vec<u8> {
    let stamp = |mark: u8, time: i64| {
        let time = time.rem_euclid(WRAP);
        [
            mark << 4 | (time >> 29) as u8 & 0x0e | 1,
            (time >> 22) as u8,
            (time >> 14) as u8 | 1,
            (time >> 7) as u8,
            (time << 1) as u8 | 1,
        ]
    };
    let mut unit = vec![0, 0, 1, 0xe0, 0, 0, 0x80];
    match dts {
        Some(dts) => unit.extend([&[0xc0, 10][..], &stamp(3, pts), &stamp(1, dts)].concat()),
        None => unit.extend([&[0x80, 5][..], &stamp(2, pts)].concat()),
    }
    unit.extend_from_slice(data);
    let mut packets = Vec::new();
    for (number, part) in unit.chunks(150).enumerate() {
        let start = if number == 0 { 0x40 } else { 0 };
        let stuffing = PACKET - 4 - 1 - part.len();
        packets.extend([SYNC, start | (pid >> 8) as u8, pid as u8, 0x30 | *counter, stuffing as u8]);
        packets.extend(vec![0xff; stuffing]);
        packets.extend(part);
        *counter = (*counter + 1) % 16;
    }
    packets
}

/// Video whose frames are decoded at these times, in units of 90 000 a second.
fn video(decoded: &[i64]) -> Vec<u8> {
    let mut counter = 0;
    let one = |dts: &i64| unit(PID, &mut counter, dts + FRAME, Some(*dts), &[7; 400]);
    decoded.iter().flat_map(one).collect()
}

fn tracks() -> Tracks {
    let track = |pid: u16, kind, codec: &str, taken| Track {
        id: pid.into(),
        kind,
        codec: codec.to_owned(),
        taken,
        program: Some(1),
        ..Track::default()
    };
    let all = vec![track(SOUND, TrackKind::Sound, "aac", false), track(PID, TrackKind::Video, "h264", true)];
    Tracks { all, wanted: Some(PID.into()), ..Tracks::default() }
}

fn stream(bytes: &[u8]) -> (tempfile::NamedTempFile, Stream) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let stream = Stream::find(file.path(), &tracks()).unwrap().unwrap();
    (file, stream)
}

fn units(stream: &Stream) -> Vec<Unit> {
    let mut units = stream.open().unwrap();
    std::iter::from_fn(|| units.next().unwrap()).collect()
}

/// When each frame is shown, in frames from the start of the medium.
fn shown(bytes: &[u8]) -> Vec<i64> {
    let (_file, stream) = stream(bytes);
    let frame = nanos(FRAME);
    units(&stream).iter().map(|unit| (unit.pts.unwrap() - stream.zero + frame / 2).div_euclid(frame)).collect()
}

fn frames(numbers: &[i64]) -> Vec<i64> {
    numbers.iter().map(|number| number * FRAME).collect()
}

#[test]
fn units_are_put_together_and_a_packet_sent_twice_counts_once() {
    let mut counter = 0;
    let mut bytes = unit(PID, &mut counter, 9 * FRAME, Some(8 * FRAME), &[1; 500]);
    bytes.extend_from_within(PACKET..2 * PACKET);
    bytes.splice(2 * PACKET..2 * PACKET, bytes[PACKET..2 * PACKET].to_vec());
    let whole = unit(PID, &mut counter, 10 * FRAME, None, &[2; 10]);
    let (_file, stream) = stream(&[&bytes[..bytes.len() - PACKET], &whole].concat());
    let found = units(&stream);
    let sizes: Vec<usize> = found.iter().map(|unit| unit.data.len()).collect();
    assert_eq!(sizes, [500, 10]);
    assert!(found[0].data.iter().all(|byte| *byte == 1));
    assert_eq!(found[0].pts.unwrap() - found[0].dts.unwrap(), nanos(FRAME));
    assert_eq!(found[1].dts, None);
}

#[test]
fn pauses_are_kept_and_leaps_are_closed() {
    assert_eq!(shown(&video(&frames(&[50, 51, 176, 177]))), [0, 1, 126, 127]);
    assert_eq!(shown(&video(&frames(&[50, 51, 500, 501]))), [0, 1, 2, 3]);
    assert_eq!(shown(&video(&frames(&[5000, 5001, 50, 51]))), [0, 1, 2, 3]);
}

#[test]
fn a_clock_that_begins_anew_goes_on() {
    let times: Vec<i64> = (-3..3).map(|number| number * FRAME).collect();
    assert_eq!(shown(&video(&times)), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn frames_shown_in_another_order_keep_their_times() {
    let mut counter = 0;
    // Four frames back, with presentation times alone.
    let one = |pts: &i64| unit(PID, &mut counter, pts * FRAME, None, &[7; 20]);
    let bytes: Vec<u8> = [10, 14, 11, 12, 13, 18].iter().flat_map(one).collect();
    assert_eq!(shown(&bytes), [0, 4, 1, 2, 3, 8]);
}

#[test]
fn a_medium_starts_with_its_sound() {
    let mut counter = 0;
    let sound = unit(SOUND, &mut counter, 45 * FRAME, None, &[7; 20]);
    let bytes = [video(&frames(&[49, 50, 51])), sound].concat();
    assert_eq!(shown(&bytes), [5, 6, 7]);
    let (_file, stream) = stream(&bytes);
    assert_eq!(stream.duration, Some(Duration::from_millis(7 * 40)));
}

#[test]
fn bytes_that_are_no_packet_are_passed_over() {
    let mut bytes = video(&frames(&[50, 51, 52]));
    bytes.splice(4 * PACKET..4 * PACKET, [SYNC, 1, 2]);
    assert_eq!(shown(&bytes).len(), 3);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&damaged).unwrap();
        if let Some(stream) = Stream::find(file.path(), &tracks()).unwrap() {
            units(&stream);
        }
    }
}

#[test]
fn units_before_the_first_with_a_time_are_shown_before_it() {
    let units = |times: &[Option<i64>]| {
        let unit = |pts: &Option<i64>| Unit { pts: pts.map(|frames| frames * 40), ..Unit::default() };
        times.iter().map(unit).collect::<VecDeque<_>>()
    };
    let given = |times: &[Option<i64>]| {
        let mut first = units(times);
        give_times(&mut first);
        first.iter().map(|unit| unit.pts.map(|pts| pts / 40)).collect::<Vec<_>>()
    };
    // I P B P B, of which the first has no time, and the first B picture is shown right behind it.
    assert_eq!(given(&[None, Some(12), Some(11), Some(14), Some(13)])[0], Some(10));
    assert_eq!(given(&[None, None, Some(12), None, Some(13)]), [Some(10), Some(11), Some(12), None, Some(13)]);
    assert_eq!(given(&[None, None]), [None, None]);
    assert!(lacks_times(&units(&[])) && !lacks_times(&units(&[Some(0)])));
    assert!(lacks_times(&units(&[None, Some(1), Some(2), Some(3)])));
    assert!(!lacks_times(&units(&[None; MOST_FIRST])));
}
