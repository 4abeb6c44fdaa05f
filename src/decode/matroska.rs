//! The video of Matroska and WebM files that are so damaged that GStreamer's demuxer gives nothing of them: clusters are
//! looked for wherever they are, and what is in them is read up to the next damage. Sizes are not believed.
//!
//! Of whole files, the times of the frames of a track: GStreamer 1.22's demuxer loses those of ProRes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::coded::Codec;
use super::tracks::ebml::{children, element_head, unsigned};
use super::unit::Unit;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const CLUSTER_TIME: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;
/// What is passed over: tables, tags, attachments, padding, and what else is said of clusters and blocks.
const OTHERS: [u32; 14] = [
    EBML,
    TRACKS,
    0x114d_9b74,
    INFO,
    0x1c53_bb6b,
    0x1254_c367,
    0x1043_a770,
    0x1941_a469,
    0xec,
    0xbf,
    0xab,
    0xa7,
    0x9b,
    0xfb,
];
/// Elements that are not known here are passed over up to this length, if there is something known behind them.
const LONGEST_UNKNOWN: u64 = 64 << 10;
/// Where the tracks are described, if it can be found.
const LOOKED_AT: usize = 4 << 20;
const LARGEST_BLOCK: u64 = 16 << 20;
/// The head of a block, and the first byte of its frame.
const BLOCK_HEAD: u64 = 16;
const INFO: u32 = 0x1549_a966;
/// How many nanoseconds blocks count in.
const TIME_SCALE: u32 = 0x002a_d7b1;
/// Bytes looked through at a time for the next cluster.
const STRETCH: usize = 64 << 10;
/// Blocks count in milliseconds unless the file says otherwise, which a damaged one is not asked.
const MILLISECOND: i64 = 1_000_000;

/// What is known of the video.
#[derive(Clone, Debug)]
pub(super) struct Remains {
    file: Arc<File>,
    length: u64,
    track: u64,
    pub(super) codec: Codec,
    /// The description that the codec wants.
    pub(super) private: Option<Vec<u8>>,
    /// What is shown up to this time, in nanoseconds, was read already; the rest begins with a key frame.
    read_to: Option<i64>,
}

impl Remains {
    /// `None`: no such file, or its video is not known here.
    pub(super) fn find(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = vec![0; LOOKED_AT.min(length as usize)];
        file.read_exact_at(&mut start, 0)?;
        // The same bytes stand in the table of what is where.
        let places = start.windows(4).enumerate().filter(|(_, bytes)| *bytes == TRACKS.to_be_bytes());
        let found = places.filter_map(|(place, _)| tracks(&start[place..])).next();
        let file = Arc::new(file);
        Ok(found.map(|(track, codec, private)| Self { file, length, track, codec, private, read_to: None }))
    }

    /// Whether they are those of the track with this number.
    pub(super) fn is_of(&self, track: u32) -> bool {
        self.track == u64::from(track)
    }

    /// What is behind this time, in nanoseconds.
    pub(super) fn behind(self, time: i64) -> Self {
        Self { read_to: Some(time), ..self }
    }

    pub(super) fn blocks(&self) -> Blocks {
        Blocks { remains: self.clone(), at: 0, time: 0, scale: MILLISECOND, heads_only: false, behind: self.read_to }
    }
}

/// When the frames of this track are shown, in nanoseconds and in the order of the file.
pub(super) fn times(path: &Path, track: u32) -> io::Result<Vec<i64>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut start = vec![0; LOOKED_AT.min(length as usize)];
    file.read_exact_at(&mut start, 0)?;
    // The same bytes stand in the table of what is where.
    let places = start.windows(4).enumerate().filter(|(_, bytes)| *bytes == INFO.to_be_bytes());
    let scale = places.filter_map(|(place, _)| time_scale(&start[place..])).next().unwrap_or(MILLISECOND);
    let (file, track) = (Arc::new(file), track.into());
    let remains = Remains { file, length, track, codec: Codec::Vp9, private: None, read_to: None };
    let mut blocks = Blocks { scale, heads_only: true, ..remains.blocks() };
    let mut times = Vec::new();
    while let Some(unit) = blocks.next()? {
        times.extend(unit.pts);
    }
    Ok(times)
}

/// From the element that begins here.
fn time_scale(bytes: &[u8]) -> Option<i64> {
    let (_, size, head) = element_head(bytes)?;
    let body = bytes.get(head..)?.get(..usize::try_from(size).ok()?)?;
    let scale = children(body).find(|(id, _)| *id == TIME_SCALE).map(|(_, value)| unsigned(value));
    scale.and_then(|scale| i64::try_from(scale).ok()).filter(|scale| *scale > 0)
}

/// The first video that the element which begins here describes.
fn tracks(bytes: &[u8]) -> Option<(u64, Codec, Option<Vec<u8>>)> {
    let (_, size, head) = element_head(bytes)?;
    let body = bytes.get(head..)?;
    let body = &body[..body.len().min(usize::try_from(size).unwrap_or(usize::MAX))];
    children(body).filter(|(id, _)| *id == TRACK_ENTRY).find_map(|(_, entry)| video(entry))
}

fn video(entry: &[u8]) -> Option<(u64, Codec, Option<Vec<u8>>)> {
    let value = |wanted: u32| children(entry).find(|(id, _)| *id == wanted).map(|(_, value)| value);
    let codec = match value(0x86)? {
        b"V_MPEG4/ISO/AVC" => Codec::H264,
        b"V_MPEGH/ISO/HEVC" => Codec::H265,
        b"V_MPEG4/ISO/ASP" | b"V_MPEG4/ISO/SP" => Codec::Mpeg4,
        b"V_MPEG2" => Codec::Mpeg2,
        b"V_VP8" => Codec::Vp8,
        b"V_VP9" => Codec::Vp9,
        b"V_AV1" => Codec::Av1,
        _ => return None,
    };
    Some((unsigned(value(0xd7)?), codec, value(0x63a2).map(<[u8]>::to_vec)))
}

/// The blocks of the video, one after the other.
#[derive(Debug)]
pub(super) struct Blocks {
    remains: Remains,
    at: u64,
    /// Of the cluster.
    time: i64,
    /// How many nanoseconds times count in.
    scale: i64,
    /// Frames are not read.
    heads_only: bool,
    /// What was read already, until the key frame behind it was found.
    behind: Option<i64>,
}

impl Blocks {
    /// `None`: the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        loop {
            let head = self.read(self.at, 12)?;
            if head.is_empty() {
                return Ok(None);
            }
            let Some((id, size, length)) = element_head(&head) else {
                self.skip_to_cluster()?;
                continue;
            };
            let body = self.at + length as u64;
            let end = body.checked_add(size).filter(|end| *end <= self.remains.length);
            match (id, end) {
                (SEGMENT | CLUSTER | BLOCK_GROUP, _) => self.at = body,
                (CLUSTER_TIME, Some(end)) if size <= 8 && self.goes_on(end)? => {
                    self.time = i64::try_from(unsigned(&self.read(body, size)?)).unwrap_or(0);
                    self.at = end;
                }
                (SIMPLE_BLOCK | BLOCK, Some(end)) if size <= LARGEST_BLOCK || self.heads_only => {
                    let is_head = self.heads_only || self.behind.is_some();
                    let block = self.read(body, if is_head { size.min(BLOCK_HEAD) } else { size })?;
                    match self.goes_on(end)? {
                        true => self.at = end,
                        false => self.skip_to_cluster()?,
                    }
                    let Some(unit) = self.unit(&block) else { continue };
                    // Only simple blocks say whether they are key frames.
                    if self.is_new(&unit, id == BLOCK || is_key(&block)) {
                        let is_whole = self.heads_only || !is_head;
                        return Ok(if is_whole { Some(unit) } else { self.unit(&self.read(body, size)?) });
                    }
                }
                (id, Some(end)) if OTHERS.contains(&id) && self.goes_on(end)? => self.at = end,
                (_, Some(end)) if size <= LONGEST_UNKNOWN && self.is_known_at(end)? => self.at = end,
                _ => self.skip_to_cluster()?,
            }
        }
    }

    fn is_new(&mut self, unit: &Unit, key: bool) -> bool {
        if self.behind.is_some_and(|read| key && unit.pts.is_some_and(|pts| pts > read)) {
            self.behind = None;
        }
        self.behind.is_none()
    }

    /// Whether there is something known at this place or behind a short element that is not known, or the end.
    fn goes_on(&self, at: u64) -> io::Result<bool> {
        let head = self.read(at, 12)?;
        let behind = element_head(&head).filter(|(_, size, _)| *size <= LONGEST_UNKNOWN);
        let behind = behind.map(|(_, size, length)| at + length as u64 + size);
        let is_known_behind = || behind.is_some_and(|behind| self.is_known_at(behind).unwrap_or(false));
        Ok(head.is_empty() || self.is_known_at(at)? || is_known_behind())
    }

    fn is_known_at(&self, at: u64) -> io::Result<bool> {
        let head = self.read(at, 12)?;
        let known = [SEGMENT, CLUSTER, BLOCK_GROUP, CLUSTER_TIME, SIMPLE_BLOCK, BLOCK];
        let is_known = |id: u32| known.contains(&id) || OTHERS.contains(&id);
        Ok(element_head(&head).is_some_and(|(id, ..)| is_known(id)))
    }

    /// `None`: of another track, or several frames in one.
    fn unit(&self, block: &[u8]) -> Option<Unit> {
        const LACING: u8 = 6;
        let first = *block.first()?;
        let width = first.leading_zeros() as usize + 1;
        if width > 8 {
            return None;
        }
        let number = block.get(..width)?.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let track = number & ((1 << (7 * width)) - 1);
        let [high, low, flags] = *block.get(width..width + 3)?.first_chunk::<3>()?;
        let data = block.get(width + 3..)?;
        if track != self.remains.track || flags & LACING != 0 || data.is_empty() {
            return None;
        }
        let time = self.time.saturating_add(i64::from(i16::from_be_bytes([high, low])));
        // Those of VP8 say by themselves that they need others, but no parser reads it.
        let delta = self.remains.codec == Codec::Vp8 && data[0] & 1 == 1;
        Some(Unit { data: data.to_vec(), pts: Some(time.max(0).saturating_mul(self.scale)), delta, ..Unit::default() })
    }

    /// What there is of so many bytes.
    fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length.min(self.remains.length.saturating_sub(at)) as usize];
        self.remains.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn skip_to_cluster(&mut self) -> io::Result<()> {
        self.at += 1;
        loop {
            let bytes = self.read(self.at, STRETCH as u64)?;
            if let Some(place) = find(&bytes, CLUSTER) {
                self.at += place as u64;
                return Ok(());
            }
            if bytes.len() < STRETCH {
                self.at = self.remains.length;
                return Ok(());
            }
            // It may lie across the border.
            self.at += bytes.len() as u64 - 3;
        }
    }
}

/// Of a simple block: the flags stand behind the number of the track and the time.
fn is_key(block: &[u8]) -> bool {
    let flags = block.first().and_then(|first| block.get(first.leading_zeros() as usize + 3));
    flags.is_some_and(|flags| flags & 0x80 != 0)
}

fn find(bytes: &[u8], id: u32) -> Option<usize> {
    bytes.windows(4).position(|window| window == id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn element(id: u32, body: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        [&id[..], &(0x1000_0000 | body.len() as u32).to_be_bytes(), body].concat()
    }

    fn cluster(time: u8, blocks: &[u8]) -> Vec<u8> {
        let block = |offset: &u8| element(SIMPLE_BLOCK, &[&[0x81, 0, *offset, 0x80][..], &[*offset; 30]].concat());
        let all: Vec<u8> = blocks.iter().flat_map(block).collect();
        element(CLUSTER, &[element(CLUSTER_TIME, &[time]), all].concat())
    }

    fn whole() -> Vec<u8> {
        let entry = [element(0xd7, &[1]), element(0x83, &[1]), element(0x86, b"V_VP8")].concat();
        let tracks = element(TRACKS, &element(TRACK_ENTRY, &entry));
        let table = element(0x114d_9b74, &[&[0x53, 0xab, 0x84][..], &TRACKS.to_be_bytes()].concat());
        let body = [table, tracks, cluster(10, &[0, 40, 80]), cluster(130, &[0, 40])].concat();
        [element(EBML, b"webm"), element(SEGMENT, &body)].concat()
    }

    fn times(bytes: &[u8]) -> Option<Vec<i64>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut blocks = Remains::find(file.path()).unwrap()?.blocks();
        let mut times = Vec::new();
        while let Some(unit) = blocks.next().unwrap() {
            times.push(unit.pts.unwrap() / MILLISECOND);
        }
        Some(times)
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_the_rest_begins_with_a_key_frame() {
        let block = |offset: u8, flags: u8| element(SIMPLE_BLOCK, &[&[0x81, 0, offset, flags][..], &[7; 30]].concat());
        let strange = element(0x4001, &[0; 300]);
        let entry = [element(0xd7, &[1]), element(0x83, &[1]), element(0x86, b"V_VP8")].concat();
        let tracks = element(TRACKS, &element(TRACK_ENTRY, &entry));
        let blocks = [block(10, 0x80), block(20, 0), strange, block(30, 0), block(40, 0x80), block(50, 0)].concat();
        let cluster = element(CLUSTER, &[element(CLUSTER_TIME, &[0]), blocks].concat());
        let bytes = [element(EBML, b"webm"), element(SEGMENT, &[tracks, cluster].concat())].concat();
        assert_eq!(times(&bytes).unwrap(), [10, 20, 30, 40, 50]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let remains = Remains::find(file.path()).unwrap().unwrap().behind(20 * MILLISECOND);
        let mut blocks = remains.blocks();
        assert_eq!(blocks.next().unwrap().unwrap().pts, Some(40 * MILLISECOND));
        assert_eq!(blocks.next().unwrap().unwrap().pts, Some(50 * MILLISECOND));
    }

    #[test]
    fn times_of_one_track_are_read_in_the_scale_of_the_file() {
        let block =
            |track: u8, offset: u8| element(SIMPLE_BLOCK, &[&[0x80 | track, 0, offset, 0x80][..], &[7; 30]].concat());
        let blocks = [block(1, 0), block(2, 1), block(1, 42)].concat();
        let group = element(BLOCK_GROUP, &element(BLOCK, &[&[0x81, 0, 83, 0][..], &[7; 30]].concat()));
        let cluster = element(CLUSTER, &[element(CLUSTER_TIME, &[100]), blocks, group].concat());
        let info = element(INFO, &element(TIME_SCALE, &500_000_u32.to_be_bytes()));
        for (info, scale) in [(info, 500_000), (Vec::new(), MILLISECOND)] {
            let bytes = [element(EBML, b"matroska"), element(SEGMENT, &[info, cluster.clone()].concat())].concat();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            assert_eq!(super::times(file.path(), 1).unwrap(), [100, 142, 183].map(|time| time * scale));
        }
    }

    #[test]
    fn blocks_are_found_behind_any_damage() {
        let whole = whole();
        let all = [10, 50, 90, 130, 170];
        assert_eq!(times(&whole).unwrap(), all);
        let second = whole.len() - cluster(130, &[0, 40]).len();
        let first = second - cluster(10, &[0, 40, 80]).len();
        let described = first - 40..first;
        // Where the track is described, another track may be meant.
        for at in (0..second).filter(|at| !described.contains(at)) {
            for value in [0, 0xff, whole[at] ^ 4] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let Some(found) = times(&damaged) else { continue };
                assert!(found.ends_with(&all[3..]), "{at}: {found:?}");
            }
        }
        for length in 0..whole.len() {
            times(&whole[..length]);
        }
        assert_eq!(times(&whole[whole.len() / 2..]), None);
        // Behind the head and the time of the first cluster.
        let cut = first + 14;
        assert_eq!(times(&[&whole[..cut], &whole[cut + 20..]].concat()).unwrap(), all[3..]);
    }
}
