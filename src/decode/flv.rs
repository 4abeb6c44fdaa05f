//! The video of FLV files (Adobe Flash Video File Format Specification 10.1, annex E; Enhanced RTMP, version 1), taken out with
//! its times.
//!
//! GStreamer 1.22's demuxer closes pauses of more than two seconds, gives up at the first damage, and does not know the codecs of
//! Enhanced RTMP. So the tags of the video are read here; what is in them is still GStreamer's to read. Parameter sets that change
//! are put before the frame that they are for, so a recording whose picture changes its size goes on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::coded::{Codec, avc_length_size, avc_sets, hevc_length_size, hevc_sets};
use super::tracks::codec_name;
use super::unit::Unit;
use super::{Track, TrackKind};

const HEADER: u64 = 9;
/// Before the payload of a tag, and its length once more behind it.
const TAG: u64 = 11;
const TRAILER: u64 = 4;
const SOUND: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;
const MILLISECOND: i64 = 1_000_000;
/// How much of the file is looked through for the first time of sound and video, as FFmpeg does.
const LOOKED_AT: u64 = 5 << 20;
/// Bytes looked through at a time for the next tag behind a damage.
const STRETCH: usize = 64 << 10;

/// Where the video of a file is, and when.
#[derive(Clone, Debug)]
pub(super) struct Flv {
    tags: Tags,
    pub(super) codec: Codec,
    /// When the medium starts, in nanoseconds: the first time of its sound or video.
    pub(super) zero: i64,
    /// How long the file says that it is.
    pub(super) promised: Option<Duration>,
    /// The time of its last tag.
    pub(super) last: Option<Duration>,
    /// The description that the codec wants.
    pub(super) private: Option<Vec<u8>>,
    /// In the order in which they begin, which numbers them.
    pub(super) tracks: Vec<Track>,
}

/// Its frames, one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    tags: Tags,
    codec: Codec,
    /// The last description.
    private: Option<Vec<u8>>,
    /// Its parameter sets, where it is another than before, until the next frame.
    sets: Vec<u8>,
}

impl Flv {
    /// `None`: no such file, or none whose video is known here.
    pub(super) fn find(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut head = [0; HEADER as usize];
        if length < HEADER || file.read_exact_at(&mut head, 0).is_err() || !head.starts_with(b"FLV") {
            return Ok(None);
        }
        let start = u64::from(u32::from_be_bytes([head[5], head[6], head[7], head[8]])).max(HEADER) + TRAILER;
        let tags = Tags { file: Arc::new(file), length, at: start };
        let (mut codec, mut first_sound, mut first_picture, mut promised) = (None, None, None, None);
        let mut private = None;
        let mut tracks: Vec<Track> = Vec::new();
        let mut ahead = tags.clone();
        while (first_sound.is_none() || first_picture.is_none())
            && ahead.at < LOOKED_AT
            && let Some(tag) = ahead.next()?
        {
            match tag.kind {
                SOUND => {
                    if first_sound.is_none() {
                        let codec = ahead.payload(&tag)?.first().map_or("unknown", |head| sound_name(head >> 4));
                        add(&mut tracks, TrackKind::Sound, codec);
                    }
                    first_sound = first_sound.or(Some(tag.time));
                }
                VIDEO => match Part::read(&ahead.payload(&tag)?) {
                    Some(Part { codec: Some(found), is_frame, offset, data }) => {
                        if codec.is_none() {
                            add(
                                &mut tracks,
                                TrackKind::Video,
                                &codec_name(found.in_container().split(',').next().unwrap_or_default()),
                            );
                        }
                        codec = codec.or(Some(found));
                        private = private.or((!is_frame).then(|| data.to_vec()));
                        first_picture = first_picture.or(is_frame.then_some(tag.time + offset));
                    }
                    Some(_) => return Ok(None),
                    None => {}
                },
                _ => promised = promised.or(duration(&ahead.payload(&tag)?)),
            }
        }
        let (Some(codec), Some(picture)) = (codec, first_picture) else { return Ok(None) };
        let zero = first_sound.map_or(picture, |sound| picture.min(sound)) * MILLISECOND;
        let last = tags.last()?.map(|tag| Duration::from_millis(u64::try_from(tag.time).unwrap_or(0)));
        Ok(Some(Self { tags, codec, zero, promised, last, private, tracks }))
    }

    pub(super) fn frames(&self) -> Frames {
        Frames { tags: self.tags.clone(), codec: self.codec, private: self.private.clone(), sets: Vec::new() }
    }
}

impl Frames {
    /// `None`: the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        while let Some(tag) = self.tags.next()? {
            if tag.kind != VIDEO {
                continue;
            }
            let payload = self.tags.payload(&tag)?;
            let Some(part) = Part::read(&payload).filter(|part| part.codec == Some(self.codec)) else { continue };
            if !part.is_frame {
                self.learn(part.data);
                continue;
            }
            let data = [&std::mem::take(&mut self.sets)[..], part.data].concat();
            if data.is_empty() {
                continue;
            }
            // No decoding time: many writers give the first frames one and the same, and then GStreamer's parsers count on by
            // themselves and change the presentation times.
            let pts = Some(((tag.time + part.offset) * MILLISECOND).max(0));
            return Ok(Some(Unit { data, pts, ..Unit::default() }));
        }
        Ok(None)
    }

    /// Takes the parameter sets out of a decoder configuration record that is another one than before.
    fn learn(&mut self, record: &[u8]) {
        if self.private.as_deref() == Some(record) {
            return;
        }
        let (length_size, sets) = match self.codec {
            Codec::H264 => (avc_length_size(record), avc_sets(record)),
            Codec::H265 => (hevc_length_size(record), hevc_sets(record)),
            // Key frames of others have what they need.
            _ => return,
        };
        self.sets.clear();
        for set in sets {
            self.sets.extend(&(set.len() as u64).to_be_bytes()[8 - length_size..]);
            self.sets.extend(set);
        }
        self.private = Some(record.to_vec());
    }
}

/// What a tag of the video carries.
struct Part<'a> {
    /// `None`: one that is not known here.
    codec: Option<Codec>,
    /// A frame, or else the description that its decoder needs.
    is_frame: bool,
    /// How much later than it is decoded it is shown, in milliseconds.
    offset: i64,
    data: &'a [u8],
}

impl<'a> Part<'a> {
    /// `None`: nothing that is to be decoded.
    fn read(payload: &'a [u8]) -> Option<Self> {
        const COMMAND: u8 = 5;
        let (head, rest) = payload.split_first()?;
        if head >> 4 & 7 == COMMAND {
            return None;
        }
        let enhanced = head & 0x80 != 0;
        let (codec, packet, rest) = if enhanced {
            let (word, rest) = rest.split_first_chunk::<4>()?;
            let codec = match word {
                b"avc1" => Some(Codec::H264),
                b"hvc1" => Some(Codec::H265),
                b"av01" => Some(Codec::Av1),
                b"vp09" => Some(Codec::Vp9),
                _ => None,
            };
            (codec, head & 15, rest)
        } else {
            let codec = match head & 15 {
                7 => Codec::H264,
                // Not in the specification, but written by many in China.
                12 => Codec::H265,
                _ => return Some(Self { codec: None, is_frame: true, offset: 0, data: rest }),
            };
            let (packet, rest) = rest.split_first()?;
            (Some(codec), *packet, rest)
        };
        // A frame that is shown when it is decoded may leave the offset out; descriptions have room for one.
        let is_reordered = matches!(codec, Some(Codec::H264 | Codec::H265));
        let has_offset = !enhanced || packet == 1 && is_reordered;
        let (offset, data) = if has_offset {
            let (bytes, data) = rest.split_first_chunk::<3>()?;
            (i64::from(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0]) >> 8), data)
        } else {
            (0, rest)
        };
        match packet {
            0 => Some(Self { codec, is_frame: false, offset: 0, data }),
            1 | 3 => Some(Self { codec, is_frame: true, offset, data }),
            _ => None,
        }
    }
}

fn add(tracks: &mut Vec<Track>, kind: TrackKind, codec: &str) {
    let (id, taken) = (tracks.len() as u32, kind == TrackKind::Video);
    tracks.push(Track { id, kind, codec: codec.to_owned(), taken, ..Track::default() });
}

fn sound_name(format: u8) -> &'static str {
    match format {
        0 | 3 => "pcm",
        1 => "adpcm",
        2 | 14 => "mp3",
        4..=6 => "nellymoser",
        7 | 8 => "g711",
        10 => "aac",
        11 => "speex",
        _ => "unknown",
    }
}

/// Of the script data at the beginning: the number behind the word `duration`, in seconds.
fn duration(script: &[u8]) -> Option<Duration> {
    /// Before a number.
    const NUMBER: u8 = 0;
    let word = b"duration";
    let at = script.windows(word.len()).position(|text| text == word)? + word.len();
    let (kind, number) = script.get(at..)?.split_first()?;
    let seconds = f64::from_be_bytes(*number.first_chunk::<8>()?);
    Duration::try_from_secs_f64(seconds).ok().filter(|length| *kind == NUMBER && !length.is_zero())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag {
    kind: u8,
    /// When it is decoded, in milliseconds.
    time: i64,
    payload: u64,
    length: usize,
}

/// The tags of a file from a place on.
#[derive(Clone, Debug)]
struct Tags {
    file: Arc<File>,
    length: u64,
    at: u64,
}

impl Tags {
    /// `None`: the end. What is damaged is passed over.
    fn next(&mut self) -> io::Result<Option<Tag>> {
        let mut head = [0; TAG as usize];
        while self.at + TAG <= self.length {
            self.file.read_exact_at(&mut head, self.at)?;
            if let Some(tag) = tag(&head, self.at)
                && let Some(next) = self.behind(&tag)?
            {
                self.at = next;
                let left = self.length - tag.payload;
                // The last one may be cut off.
                return Ok(Some(Tag { length: tag.length.min(usize::try_from(left).unwrap_or(usize::MAX)), ..tag }));
            }
            match self.search(self.at + 1)? {
                Some(next) => self.at = next,
                None => break,
            }
        }
        Ok(None)
    }

    /// Where the next tag begins. `None`: its length cannot be believed, for it is not told again behind it, and nothing that
    /// looks like a tag is there.
    fn behind(&self, tag: &Tag) -> io::Result<Option<u64>> {
        let end = tag.payload + tag.length as u64;
        if self.is_told_again(tag)? {
            return Ok(Some(end + TRAILER));
        }
        if end + TRAILER + TAG > self.length {
            // The last one, cut off, unless others follow within it.
            let other = self.search(tag.payload)?;
            return Ok(other.is_none().then_some(end + TRAILER));
        }
        let mut head = [0; TAG as usize];
        self.file.read_exact_at(&mut head, end + TRAILER)?;
        Ok(self::tag(&head, end + TRAILER).map(|_| end + TRAILER))
    }

    fn is_told_again(&self, tag: &Tag) -> io::Result<bool> {
        let end = tag.payload + tag.length as u64;
        if end + TRAILER > self.length {
            return Ok(false);
        }
        let mut told = [0; TRAILER as usize];
        self.file.read_exact_at(&mut told, end)?;
        Ok(u64::from(u32::from_be_bytes(told)) == tag.length as u64 + TAG)
    }

    /// The first place from there on where a tag begins whose length is told again behind it.
    fn search(&self, from: u64) -> io::Result<Option<u64>> {
        let (mut start, mut bytes) = (from, vec![0; STRETCH]);
        while start + TAG <= self.length {
            let read = self.file.read_at(&mut bytes, start)?;
            let looked_at = read.saturating_sub(TAG as usize - 1);
            for place in 0..looked_at {
                let head = bytes[place..].first_chunk().expect("so many bytes are left");
                if let Some(tag) = tag(head, start + place as u64)
                    && tag.length > 0
                    && self.is_told_again(&tag)?
                {
                    return Ok(Some(start + place as u64));
                }
            }
            if looked_at == 0 {
                break;
            }
            start += looked_at as u64;
        }
        Ok(None)
    }

    /// The last tag, of which the last bytes tell how long it is; `None` where they do not.
    fn last(&self) -> io::Result<Option<Tag>> {
        let mut told = [0; TRAILER as usize];
        let Some(end) = self.length.checked_sub(TRAILER) else { return Ok(None) };
        self.file.read_exact_at(&mut told, end)?;
        let length = u64::from(u32::from_be_bytes(told));
        let Some(start) = end.checked_sub(length).filter(|_| length > TAG) else { return Ok(None) };
        let mut head = [0; TAG as usize];
        self.file.read_exact_at(&mut head, start)?;
        Ok(tag(&head, start).filter(|tag| tag.length as u64 + TAG == length))
    }

    fn payload(&self, tag: &Tag) -> io::Result<Vec<u8>> {
        let mut payload = vec![0; tag.length];
        self.file.read_exact_at(&mut payload, tag.payload)?;
        Ok(payload)
    }
}

/// `None`: nothing that a tag begins with.
fn tag(head: &[u8; TAG as usize], at: u64) -> Option<Tag> {
    let kind = head[0];
    let (length, time) = (&head[1..4], [head[7], head[4], head[5], head[6]]);
    let is_tag = [SOUND, VIDEO, SCRIPT].contains(&kind) && head[8..] == [0; 3];
    is_tag.then(|| Tag {
        kind,
        time: i32::from_be_bytes(time).into(),
        payload: at + TAG,
        length: length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn tag_of(kind: u8, time: u32, payload: &[u8]) -> Vec<u8> {
        let (length, time) = ((payload.len() as u32).to_be_bytes(), time.to_be_bytes());
        let head = [&[kind][..], &length[1..], &time[1..], &time[..1], &[0; 3]].concat();
        [&head[..], payload, &(payload.len() as u32 + 11).to_be_bytes()].concat()
    }

    fn frame(time: u32, later: i32, unit: &[u8]) -> Vec<u8> {
        let head = [&[0x27, 1][..], &later.to_be_bytes()[1..], &(unit.len() as u32).to_be_bytes()];
        tag_of(VIDEO, time, &[&head.concat()[..], unit].concat())
    }

    const RECORD: [u8; 14] = [1, 100, 0, 31, 0xff, 0xe1, 0, 2, 0x67, 7, 1, 0, 1, 0x68];

    fn described(record: &[u8]) -> Vec<u8> {
        tag_of(VIDEO, 0, &[&[0x17, 0, 0, 0, 0][..], record].concat())
    }

    fn description() -> Vec<u8> {
        described(&RECORD)
    }

    fn header() -> Vec<u8> {
        let script =
            [&b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x08duration\x00"[..], &9.5_f64.to_be_bytes()].concat();
        [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &tag_of(SCRIPT, 0, &script)].concat()
    }

    fn found(file: &[u8]) -> Option<(Flv, Vec<Unit>)> {
        let mut kept = tempfile::NamedTempFile::new().unwrap();
        kept.write_all(file).unwrap();
        let flv = Flv::find(kept.path()).unwrap()?;
        let mut frames = flv.frames();
        let units = std::iter::from_fn(|| frames.next().unwrap()).collect();
        Some((flv, units))
    }

    fn times(units: &[Unit]) -> Vec<i64> {
        units.iter().map(|unit| unit.pts.unwrap() / MILLISECOND).collect()
    }

    #[test]
    fn frames_keep_their_times_whatever_pause_is_between_them() {
        let sound = |time| tag_of(SOUND, time, &[0xaf, 1, 9]);
        let parts =
            [header(), sound(20), description(), frame(40, 40, &[0x65]), frame(80, -5, &[1, 2]), frame(9_000, 0, &[3])];
        let (flv, units) = found(&parts.concat()).unwrap();
        assert_eq!((flv.zero, flv.promised), (20 * MILLISECOND, Some(Duration::from_millis(9500))));
        assert_eq!(flv.last, Some(Duration::from_secs(9)));
        let tracks: Vec<_> = flv.tracks.iter().map(|track| (track.id, track.codec.as_str(), track.taken)).collect();
        assert_eq!(tracks, [(0, "aac", false), (1, "h264", true)]);
        assert_eq!(times(&units), [80, 75, 9_000]);
        assert_eq!((flv.private, &units[0].data[..]), (Some(RECORD.to_vec()), &[0, 0, 0, 1, 0x65][..]));
        assert_eq!(units[1].data, [0, 0, 0, 2, 1, 2]);
    }

    #[test]
    fn parameter_sets_that_change_stand_before_the_next_frame() {
        let mut other = RECORD;
        other[9] = 9;
        let frames = [frame(0, 0, &[1]), description(), frame(40, 0, &[2]), described(&other), frame(80, 0, &[3])];
        let (_, units) = found(&[header(), description(), frames.concat()].concat()).unwrap();
        assert_eq!(units[1].data, [0, 0, 0, 1, 2]);
        assert_eq!(units[2].data, [0, 0, 0, 2, 0x67, 9, 0, 0, 0, 1, 0x68, 0, 0, 0, 1, 3]);
    }

    #[test]
    fn what_is_damaged_is_passed_over() {
        let mut damaged = frame(40, 0, &[7; 40]);
        damaged[1] = 9;
        let parts = [
            header(),
            description(),
            frame(0, 0, &[1]),
            damaged,
            frame(80, 0, &[2]),
            vec![9; 100_000],
            frame(120, 0, &[3]),
        ];
        let (_, units) = found(&parts.concat()).unwrap();
        assert_eq!(times(&units), [0, 80, 120]);
        let whole = [header(), description(), frame(0, 0, &[1]), frame(40, 0, &[7; 40])].concat();
        let (_, units) = found(&whole[..whole.len() - 14]).unwrap();
        assert_eq!(units[1].data.len(), 4 + 30);
    }

    #[test]
    fn newer_codecs_are_named_by_four_letters() {
        let part = |head: u8, word: &[u8; 4], rest: &[u8]| tag_of(VIDEO, 40, &[&[head][..], word, rest].concat());
        for (word, first, with_offset) in
            [(b"hvc1", "video/x-h265", true), (b"av01", "video/x-av1", false), (b"vp09", "video/x-vp9", false)]
        {
            let offset: &[u8] = if with_offset { &[0, 0, 10, 0, 0, 0, 1] } else { &[] };
            let file = [header(), part(0x90, word, &[0; 23]), part(0x91, word, &[offset, &[5]].concat())].concat();
            let (flv, units) = found(&file).unwrap();
            assert!(flv.codec.in_container().starts_with(first));
            assert_eq!(times(&units), [if with_offset { 50 } else { 40 }]);
            assert_eq!(units[0].data.last(), Some(&5));
        }
        assert!(found(&[header(), tag_of(VIDEO, 0, &[0x22, 1, 2, 3])].concat()).is_none(), "an older codec");
        assert!(found(b"FLV").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_are_a_panic_and_reading_ends(
            at in 13usize..200, bytes in prop::collection::vec(any::<u8>(), 0..40), cut in 0usize..60,
        ) {
            let mut file = [header(), description(), frame(0, 0, &[1]), frame(40, 0, &[2; 20]), frame(80, 0, &[3])].concat();
            for (place, byte) in file.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
            file.truncate(file.len() - cut);
            found(&file);
        }
    }
}
