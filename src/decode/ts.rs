//! The video of a transport stream, taken out of it with the times that players show.
//!
//! GStreamer 1.22's demuxer places pictures by the programs' reference clocks: it takes pauses of a few seconds for leaps,
//! and gives nothing where a program has no such clock. So the packets of the one stream that is wanted are put together
//! here, and its time stamps are continued as FFmpeg's tools do it. What is in them is still GStreamer's to read.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tracks::Tracks;
use super::tracks::ts::{Layout, PACKET, SCTE_35, SYNC, clock_of, payload, pid_of, starts_unit};
use super::unit::Unit;
use super::{Track, TrackKind};

/// Time stamps count 90 000 a second and begin anew after 2^33.
const SCALE: i64 = 90_000;
pub(super) const WRAP: i64 = 1 << 33;
/// Decoding times that go ahead or back by more than this have leapt.
const LEAP_AHEAD: i64 = 10 * SCALE;
const LEAP_BACK: i64 = SCALE / 10;
/// The same where there are presentation times alone: these go back wherever frames are shown in another order than that
/// of decoding.
const LEAP_BACK_SHOWN: i64 = SCALE;
/// From one frame to the next behind a leap, unless it was something else before.
const USUAL_STEP: i64 = SCALE / 25;
const LONGEST_STEP: i64 = SCALE;
/// Texts and data begin a medium if they come less than this before its sound and pictures, as FFmpeg has it.
const EARLY_TEXT: i64 = SCALE;
/// Where the first units have no times, so many that have are read before these are worked out, and not more in all.
const TIMED_FIRST: usize = 4;
const MOST_FIRST: usize = 32;
/// How much of the file is looked through for the first time of each stream, and for the last of the video.
pub(super) const LOOKED_AT: u64 = 5 << 20;
/// Larger than any frame: the rest comes by itself.
pub(super) const LARGEST_UNIT: usize = 16 << 20;
pub(super) const BUFFER: usize = 256 << 10;

/// Where the video of a transport stream is, and when.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    path: PathBuf,
    layout: Layout,
    pid: u16,
    /// As GStreamer describes it.
    pub(super) caps: &'static str,
    /// When the medium starts, in nanoseconds on the clock of the [`Unit`]s: the first time of any of its streams.
    pub(super) zero: i64,
    /// What is added to times on that clock to get those of the file.
    pub(super) origin: i64,
    /// From there to the last picture, where the clock goes on so far.
    pub(super) duration: Option<Duration>,
}

/// The stream's units, one after the other.
#[derive(Debug)]
pub(super) struct Units {
    packets: Packets,
    pid: u16,
    /// The last packet of the stream.
    packet: Vec<u8>,
    /// What was last put together, until the next begins.
    unit: Option<Unit>,
    clock: Clock,
    /// The first ones, once they have been read.
    first: Option<VecDeque<Unit>>,
}

impl Stream {
    /// `None`: no transport stream, or none whose video is known here.
    pub(super) fn find(path: &Path, tracks: &Tracks) -> io::Result<Option<Self>> {
        let Some(track) = tracks.all.iter().find(|track| track.taken) else { return Ok(None) };
        let (Some(caps), Ok(pid)) = (caps(&track.codec), u16::try_from(track.id)) else { return Ok(None) };
        let Some(layout) = Layout::of(&File::open(path)?)? else { return Ok(None) };
        let firsts = first_times(path, layout, tracks)?;
        let Some(first) = firsts.get(&pid).map(|first| first + WRAP) else { return Ok(None) };
        let times_of = |is_meant: &dyn Fn(&Track) -> bool| {
            let streams = tracks.all.iter().filter(|track| is_meant(track));
            let times = streams.filter_map(|track| firsts.get(&u16::try_from(track.id).ok()?));
            times.map(|time| unwrapped(*time, first)).min()
        };
        let start = times_of(&|track| [TrackKind::Video, TrackKind::Sound].contains(&track.kind)).unwrap_or(first);
        let text = times_of(&|track| track.kind == TrackKind::Text || track.codec == SCTE_35);
        let start = text.filter(|text| start - text < EARLY_TEXT).unwrap_or(start).min(start);
        let last = last_time(path, layout, pid)?.map(|last| unwrapped(last, first));
        let duration = last.filter(|last| *last > start);
        let duration = duration.map(|last| Duration::from_nanos(nanos(last - start).unsigned_abs()));
        Ok(Some(Self {
            path: path.to_path_buf(),
            layout,
            pid,
            caps,
            zero: nanos(start),
            origin: -nanos(WRAP),
            duration,
        }))
    }

    pub(super) fn open(&self) -> io::Result<Units> {
        let packets = Packets::open(&self.path, self.layout, 0)?;
        let (packet, clock) = (Vec::new(), Clock::default());
        Ok(Units { packets, pid: self.pid, packet, unit: None, clock, first: None })
    }
}

impl Units {
    /// `None`: the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        if self.first.is_none() {
            let mut first = VecDeque::new();
            while lacks_times(&first)
                && let Some(unit) = self.read()?
            {
                first.push_back(unit);
            }
            give_times(&mut first);
            self.first = Some(first);
        }
        match self.first.as_mut().and_then(VecDeque::pop_front) {
            Some(unit) => Ok(Some(unit)),
            None => self.read(),
        }
    }

    fn read(&mut self) -> io::Result<Option<Unit>> {
        loop {
            let Some(packet) = self.packets.next()? else { return Ok(self.unit.take()) };
            // A packet may be sent twice.
            if pid_of(packet) != self.pid || packet == self.packet {
                continue;
            }
            self.packet.clear();
            self.packet.extend_from_slice(packet);
            let Some(part) = payload(packet) else { continue };
            let begun = if starts_unit(packet) {
                let header = Header::read(part);
                let (pts, dts) = self.clock.place(header.as_ref());
                let data = header.map_or(part, |header| &part[header.length..]).to_vec();
                Some(Unit { data, pts, dts, ..Unit::default() })
            } else {
                match &mut self.unit {
                    Some(unit) if unit.data.len() < LARGEST_UNIT => {
                        unit.data.extend_from_slice(part);
                        None
                    }
                    Some(_) => Some(Unit { data: part.to_vec(), ..Unit::default() }),
                    // What comes before the first start cannot be read.
                    None => None,
                }
            };
            if let Some(unit) = begun
                && let Some(whole) = self.unit.replace(unit)
            {
                return Ok(Some(whole));
            }
        }
    }
}

/// Whether more of the first units have to be read to know their times.
fn lacks_times(first: &VecDeque<Unit>) -> bool {
    let timed = first.iter().filter(|unit| unit.pts.is_some()).count();
    let needed = if first.front().is_some_and(|unit| unit.pts.is_none()) { TIMED_FIRST } else { 1 };
    timed < needed && first.len() < MOST_FIRST
}

/// Units before the first that has a time are shown before the earliest of those, one step from each to the next.
fn give_times(first: &mut VecDeque<Unit>) {
    let mut times: Vec<i64> = first.iter().filter_map(|unit| unit.pts).collect();
    times.sort_unstable();
    let Some(earliest) = times.first() else { return };
    let steps = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0);
    let step = steps.min().unwrap_or(nanos(USUAL_STEP));
    let untimed = first.iter().take_while(|unit| unit.pts.is_none()).count();
    for (before, unit) in (1..).zip(first.iter_mut().take(untimed).rev()) {
        unit.pts = Some((earliest - before * step).max(0));
    }
}

/// Continues time stamps.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Decoding time of the unit before, as the file has it and as it was given.
    latest: Option<(i64, i64)>,
    step: Option<i64>,
}

impl Clock {
    pub(super) fn place(&mut self, header: Option<&Header>) -> (Option<i64>, Option<i64>) {
        let Some(pts) = header.and_then(|header| header.pts) else { return (None, None) };
        let told = header.and_then(|header| header.dts);
        let (file, given) = self.latest.unwrap_or_else(|| {
            let first = told.unwrap_or(pts) + WRAP;
            (first, first)
        });
        let dts = unwrapped(told.unwrap_or(pts), file);
        let back = if told.is_some() { LEAP_BACK } else { LEAP_BACK_SHOWN };
        let step = self.step.unwrap_or(USUAL_STEP);
        let mut now = given + dts - file;
        if self.latest.is_some() {
            if now > given + step + LEAP_AHEAD || now < given - back {
                now = given + step;
            } else if (1..=LONGEST_STEP).contains(&(now - given)) {
                self.step = Some(now - given);
            }
        }
        self.latest = Some((dts, now));
        let shown = now + unwrapped(pts, dts) - dts;
        let time = |units: i64| Some(nanos(units.max(0)));
        (time(shown), told.and_then(|_| time(now)))
    }
}

/// What a unit begins with.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        /// Start code and length of the unit.
        const START: usize = 6;
        let header = Self::behind_length(bytes.strip_prefix(&[0, 0, 1])?.get(START - 3..)?)?;
        Some(Self { length: header.length + START, ..header })
    }

    /// The same from behind the length of the unit on.
    pub(super) fn behind_length(bytes: &[u8]) -> Option<Self> {
        const FIXED: usize = 3;
        if bytes.first()? >> 6 != 2 {
            return None;
        }
        let flags = bytes.get(1)? >> 6;
        let length = (FIXED + usize::from(*bytes.get(2)?)).min(bytes.len());
        let pts = if flags & 2 != 0 { time_at(bytes, FIXED) } else { None };
        let dts = if flags == 3 { time_at(bytes, FIXED + 5) } else { None };
        Some(Self { length, pts, dts })
    }
}

/// The time stamp that stands here, in 33 of 40 bits.
pub(super) fn time_at(bytes: &[u8], at: usize) -> Option<i64> {
    let b: &[u8; 5] = bytes.get(at..at + 5)?.try_into().ok()?;
    let high = i64::from(b[0] >> 1 & 7);
    let middle = i64::from(b[1]) << 7 | i64::from(b[2] >> 1);
    let low = i64::from(b[3]) << 7 | i64::from(b[4] >> 1);
    Some(high << 30 | middle << 15 | low)
}

/// The first time of each stream. Cues for advertisements have none of their own: they count for the time at which they are
/// sent, as their program's clock has it.
fn first_times(path: &Path, layout: Layout, tracks: &Tracks) -> io::Result<BTreeMap<u16, i64>> {
    let mut packets = Packets::open(path, layout, 0)?;
    let mut times = BTreeMap::new();
    let wanted: Vec<u16> = tracks.all.iter().filter_map(|track| u16::try_from(track.id).ok()).collect();
    let program = |pid: u16| tracks.all.iter().find(|track| track.id == u32::from(pid)).map(|track| track.program);
    let cues: Vec<u32> = tracks.all.iter().filter(|track| track.codec == SCTE_35).map(|track| track.id).collect();
    let mut clocks = BTreeMap::new();
    while packets.read < LOOKED_AT
        && times.len() < wanted.len()
        && let Some(packet) = packets.next()?
    {
        let pid = pid_of(packet);
        if !wanted.contains(&pid) {
            continue;
        }
        if let Some(clock) = clock_of(packet) {
            clocks.insert(program(pid), clock);
        }
        let is_cue = cues.contains(&u32::from(pid)) && starts_unit(packet);
        let time = if is_cue { clocks.get(&program(pid)).copied() } else { time_of(packet) };
        if let Some(time) = time {
            times.entry(pid).or_insert(time);
        }
    }
    Ok(times)
}

fn last_time(path: &Path, layout: Layout, pid: u16) -> io::Result<Option<i64>> {
    let length = std::fs::metadata(path)?.len();
    let mut packets = Packets::open(path, layout, length.saturating_sub(LOOKED_AT))?;
    let mut last = None;
    while let Some(packet) = packets.next()? {
        if pid_of(packet) == pid {
            last = time_of(packet).or(last);
        }
    }
    Ok(last)
}

/// The time of the unit that this packet begins.
fn time_of(packet: &[u8]) -> Option<i64> {
    let part = payload(packet).filter(|_| starts_unit(packet))?;
    Header::read(part)?.pts
}

/// Of all times that a stamp may mean, the one nearest to another time.
pub(super) fn unwrapped(stamp: i64, near: i64) -> i64 {
    near + (stamp - near + WRAP / 2).rem_euclid(WRAP) - WRAP / 2
}

pub(super) fn nanos(units: i64) -> i64 {
    (units * 100_000 + 4).div_euclid(9)
}

fn caps(codec: &str) -> Option<&'static str> {
    Some(match codec {
        "h264" => "video/x-h264,stream-format=byte-stream",
        "hevc" => "video/x-h265,stream-format=byte-stream",
        "mpeg1" => "video/mpeg,mpegversion=1,systemstream=false",
        "mpeg2" => "video/mpeg,mpegversion=2,systemstream=false",
        "mpeg4" => "video/mpeg,mpegversion=4,systemstream=false",
        "vc1" => "video/x-wmv,wmvversion=3,format=WVC1",
        _ => return None,
    })
}

/// The packets of a file.
#[derive(Debug)]
struct Packets {
    input: BufReader<File>,
    packet: Vec<u8>,
    /// Bytes read so far.
    read: u64,
}

impl Packets {
    /// From the first packet at or behind this place.
    fn open(path: &Path, layout: Layout, from: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let skipped = from.saturating_sub(layout.first) / layout.stride as u64 * layout.stride as u64;
        file.seek(SeekFrom::Start(layout.first + skipped))?;
        Ok(Self { input: BufReader::with_capacity(BUFFER, file), packet: vec![0; layout.stride], read: 0 })
    }

    /// `None`: the end.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut got = 0;
        loop {
            let more = fill(&mut self.input, &mut self.packet[got..])?;
            self.read += more as u64;
            got += more;
            if got < PACKET {
                return Ok(None);
            }
            if self.packet[0] == SYNC {
                return Ok(Some(&self.packet[..PACKET]));
            }
            // Bytes are missing, or too many: from the next that may begin a packet.
            let lost = self.packet[1..got].iter().position(|byte| *byte == SYNC).map_or(got, |place| place + 1);
            self.packet.copy_within(lost..got, 0);
            got -= lost;
        }
    }
}

/// As much as there is.
pub(super) fn fill(input: &mut impl Read, mut to: &mut [u8]) -> io::Result<usize> {
    let wanted = to.len();
    while !to.is_empty() {
        match input.read(to) {
            Ok(0) => break,
            Ok(read) => to = &mut to[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - to.len())
}

#[cfg(test)]
mod tests;
