//! The video of MP4 and MOV files, with a header written anew in memory.
//!
//! GStreamer 1.22 ends too early, or leaves a track out, where durations in the header do not fit together, follows edit
//! lists in ways that lose frames, and gives a file up for one bad track. So it is given another header: one track with
//! one table of frames, in the order in which they are to be decoded, without edits. The times it counts in are only
//! there to tell the frames apart; [`Film`] has the true ones, which `edits` works out. `samples` reads the tables of the
//! old header and of fragments. The file itself is not touched, and stands behind the new header as it is.
//!
//! Nothing in the file is believed: there are limits to all that is allocated.

pub(super) mod boxes;
mod edits;
mod samples;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::pixels::Orientation;
use super::{Problem, ProblemKind};
use boxes::{Header, boxed, child, children, head};
use edits::{Edit, Placed, Sample, Scales, hide_covered, place, to_nanos};
use samples::{Fragments, Track};

/// Limits against headers made to hurt.
const MOST_BOXES: usize = 1_000_000;
const LONGEST_MOOV: u64 = 256 << 20;
const LONGEST_MOOF: u64 = 16 << 20;
/// Where a file does not tell.
const USUAL_SCALE: u32 = 1000;
/// Units a second of the new header, long enough to tell frames apart in nanoseconds.
const TIME_SCALE: u32 = 90_000;
/// The longest that one frame lasts in the new header: its times have to fit into 64 bits.
const LONGEST_FRAME: u64 = 600 * TIME_SCALE as u64;
/// The share by which an axis of the display matrix may lean and still count as straight.
const LEANING: f64 = 0.05;
/// From this difference on, a matrix that scales width and height differently is meant to.
const UNEVEN: f64 = 0.01;

/// A file behind a header of our own.
#[derive(Debug)]
pub(super) struct Mended {
    file: File,
    file_length: u64,
    header: Vec<u8>,
    film: Film,
}

/// What is known of the video that [`Mended`] gives.
#[derive(Debug)]
pub(super) struct Film {
    frames: Vec<Moment>,
    /// How long each of them lasts by the new header, in units of [`TIME_SCALE`].
    step: u64,
    pub(super) orientation: Orientation,
    /// Its colours use all values. GStreamer reads the rest of what is said of them, but not this.
    pub(super) full_range: bool,
    /// Its units begin with start codes, as in a stream without a container, and not with their lengths as MP4 wants it.
    pub(super) byte_stream: bool,
    /// No time differs from that of decoding. A codec may show its frames in another order nevertheless.
    pub(super) decoding_times: bool,
    /// When its first track begins, be it sound or pictures, in nanoseconds: from there players count.
    pub(super) start: i64,
    /// How long the file says that it is, in nanoseconds; never shorter than its video.
    pub(super) duration: i64,
    /// The end of the video as the header has it, whether the file goes on so far or not.
    pub(super) end: i64,
    pub(super) problems: Vec<Problem>,
}

/// When a frame is shown. Small, because a long film has many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    /// In nanoseconds from the start of the movie, as in [`Placed`].
    pub(super) pts: i64,
    /// In nanoseconds. Negative: it is decoded because others need it, and not shown.
    lasts: i64,
}

impl Moment {
    fn of(placed: &Placed) -> Self {
        Self { pts: placed.pts, lasts: if placed.shown { placed.duration.max(0) } else { -1 } }
    }

    pub(super) fn shown(&self) -> bool {
        self.lasts >= 0
    }

    /// How long it is shown.
    pub(super) fn duration(&self) -> i64 {
        self.lasts.max(0)
    }
}

impl Film {
    /// Number of the frame that the new header puts at this time.
    pub(super) fn number(&self, nanos: u64) -> usize {
        // Times may be off by the rounding of the new time scale.
        const ROUNDING: u64 = 1_000;
        let units = u128::from(nanos.saturating_add(ROUNDING)) * u128::from(TIME_SCALE) / 1_000_000_000;
        let number = usize::try_from(units / u128::from(self.step)).unwrap_or(usize::MAX);
        number.min(self.frames.len().saturating_sub(1))
    }

    pub(super) fn frame(&self, number: usize) -> Option<&Moment> {
        self.frames.get(number)
    }
}

impl Mended {
    /// `wanted`: the id of the video track to take. `None`: not such a file, or one that cannot be understood.
    pub(super) fn open(path: &Path, wanted: Option<u32>) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let file_length = file.metadata()?.len();
        let Some(top) = top_level(&file, file_length)? else { return Ok(None) };
        let Some(moov) = top.iter().find(|b| &b.kind == b"moov" && b.length <= LONGEST_MOOV) else { return Ok(None) };
        let moov = content(&file, moov)?;
        let Some(mut track) = choose(&moov, wanted) else { return Ok(None) };
        let mut fragments = Fragments::behind(&moov, track.id, std::mem::take(&mut track.samples));
        let of_movie = fragments.samples.len();
        for fragment in top.iter().filter(|b| &b.kind == b"moof" && b.length <= LONGEST_MOOF) {
            fragments.add(&content(&file, fragment)?, fragment.at);
        }
        let kind = match top.iter().find(|b| &b.kind == b"ftyp" && b.length < 1024) {
            Some(kind) => content(&file, kind)?,
            None => b"qt  \0\0\0\0qt  ".to_vec(),
        };
        let first = fragments.samples.first().map(|sample| sample.offset);
        let byte_stream = track.has_units() && first.is_some_and(|at| is_start_code(&file, at));
        if byte_stream || !track.has_units() {
            cut_last(&mut fragments.samples, file_length);
        }
        let written = write(&moov, &track, fragments, of_movie == 0, &kind, file_length);
        Ok(written.map(|(header, film)| Self { file, file_length, header, film: Film { byte_stream, ..film } }))
    }

    pub(super) fn film(&self) -> &Film {
        &self.film
    }

    pub(super) fn len(&self) -> u64 {
        self.header.len() as u64 + self.file_length
    }

    /// Up to `length` bytes from this place; none at the end.
    pub(super) fn read_at(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = (length as u64).min(self.len().saturating_sub(at)) as usize;
        let mut bytes = vec![0; length];
        let before = usize::try_from(at).ok().and_then(|at| self.header.get(at..)).unwrap_or(&[]);
        let (own, rest) = bytes.split_at_mut(length.min(before.len()));
        own.copy_from_slice(&before[..own.len()]);
        self.file.read_exact_at(rest, at.saturating_sub(self.header.len() as u64))?;
        Ok(bytes)
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    kind: [u8; 4],
    at: u64,
    header: u64,
    length: u64,
}

/// Whether a unit of H.264 or HEVC begins here that has a start code: no unit is as short as a length of one would say.
fn is_start_code(file: &File, at: u64) -> bool {
    let mut start = [0; 4];
    file.read_exact_at(&mut start, at).is_ok() && start == [0, 0, 0, 1]
}

/// The boxes of the file, or `None` if it does not look like one of this kind.
fn top_level(file: &File, length: u64) -> io::Result<Option<Vec<Place>>> {
    let mut boxes = Vec::new();
    let mut at = 0;
    while at + 8 <= length && boxes.len() < MOST_BOXES {
        let mut bytes = [0; 16];
        let got = (length - at).min(16) as usize;
        file.read_exact_at(&mut bytes[..got], at)?;
        let Some((kind, header, size)) = head(&bytes[..got], length - at) else { break };
        if boxes.is_empty() && ![b"ftyp", b"styp", b"moov", b"mdat", b"free", b"wide", b"skip"].contains(&&kind) {
            return Ok(None);
        }
        boxes.push(Place { kind, at, header, length: size.min(length - at) });
        at = at.saturating_add(size);
    }
    Ok((!boxes.is_empty()).then_some(boxes))
}

fn content(file: &File, place: &Place) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; place.length.saturating_sub(place.header) as usize];
    file.read_exact_at(&mut bytes, place.at + place.header)?;
    Ok(bytes)
}

/// The video track with this id, else the first that is enabled, else the largest; one of several pictures goes before a lone one,
/// which may be a cover.
fn choose(moov: &[u8], wanted: Option<u32>) -> Option<Track<'_>> {
    let fragmented = child(moov, &[b"mvex"]).is_some();
    let tracks = children(moov).into_iter().filter(|(kind, _)| kind == b"trak");
    let readable = tracks.filter_map(|(_, track)| Track::read(track)).filter(|track| {
        // What is encrypted is left to those who can say so.
        fragmented || !track.samples.is_empty() && track.codec().is_some_and(|(kind, _)| &kind != b"encv")
    });
    let rank = |track: &Track| {
        let (width, height) = track.coded_size().unwrap_or((0, 0));
        // Of several that are enabled the first is meant, however large the others are.
        let area = if track.enabled { 0 } else { width * height };
        (Some(track.id) == wanted, fragmented || track.samples.len() > 1, track.enabled, area)
    };
    // Of equals the first.
    readable.reduce(|best, next| if rank(&next) > rank(&best) { next } else { best })
}

/// The whole new header, up to where the content of the file begins, and what it stands for; `None` where no frame lies
/// in the file.
fn write(
    moov: &[u8],
    track: &Track,
    fragments: Fragments,
    only_fragments: bool,
    kind: &[u8],
    file_length: u64,
) -> Option<(Vec<u8>, Film)> {
    let movie = child(moov, &[b"mvhd"]).filter(|header| header.len() >= 100).map(Header);
    let movie_scale = movie.as_ref().and_then(Header::time_scale).filter(|scale| *scale > 0);
    let media_scale = Some(track.time_scale).filter(|scale| *scale > 0);
    let scales = Scales { movie: movie_scale.unwrap_or(USUAL_SCALE), media: media_scale.unwrap_or(USUAL_SCALE) };
    let mut samples = fragments.samples;
    let mut edits = track.edits.clone();
    let mut others_start = None;
    if only_fragments {
        without_end(&mut edits);
        let start = first_fragment(moov, &fragments.starts, scales.media, None).unwrap_or(0);
        let others = first_fragment(moov, &fragments.starts, scales.media, Some(track.id));
        others_start = others.map(|other| other.saturating_sub(start));
        for sample in &mut samples {
            sample.dts = sample.dts.saturating_sub(start);
            sample.cts = sample.cts.saturating_sub(start);
        }
    }
    if movie_scale.is_none() {
        // Nobody can say how long an edit lasts.
        edits.clear();
    }
    let mut problems = Vec::new();
    let whole = |(_, track): &([u8; 4], &[u8])| child(track, &[b"mdia", b"minf", b"stbl", b"stsd"]).is_some();
    let sound = children(moov).iter().filter(|(kind, _)| kind == b"trak").all(whole);
    if movie_scale.is_none() || media_scale.is_none() || !sound {
        let detail = "the header of the file is damaged and was read with repairs";
        problems.push(Problem::new(ProblemKind::HeaderRepaired, detail));
    }
    let mut unfollowed = |detail: &str| problems.push(Problem::new(ProblemKind::EditList, detail));
    if track.other_rate {
        unfollowed("the edit list asks for another speed, and is shown at the usual one");
    }
    samples.retain(|sample| sample.size > 0);
    let decoding_times = samples.iter().all(|sample| sample.cts == sample.dts);
    // An edit list is made for the times as they stand, and FFmpeg takes them so in a movie without fragments.
    if edits.is_empty() && only_fragments {
        show_no_earlier_than_decoded(&mut samples);
    }
    let (mut placed, followed) = place(&samples, &edits, scales);
    if !followed {
        unfollowed("the edit list shows more pictures than are believed, and is followed up to there");
    }
    hide_covered(&samples, &mut placed);
    let earliest = placed.iter().filter(|frame| frame.shown).map(|frame| frame.pts).min()?;
    let begins = match only_fragments {
        // A part of a longer recording begins with the first of its tracks.
        true => others_start.map_or(earliest, |other| earliest.min(to_nanos(other.into(), scales.media))),
        // A clock that begins before zero begins with its first picture.
        false => earliest.min(0),
    };
    placed.iter_mut().for_each(|frame| frame.pts = frame.pts.saturating_sub(begins));
    let earliest = earliest.saturating_sub(begins);
    let sounds = children(moov).into_iter().filter(|(kind, _)| kind == b"trak");
    let sounds = sounds.filter_map(|(_, track)| sound_start(track)).map(|units| to_nanos(units.into(), scales.movie));
    let start = sounds.fold(earliest.max(0), i64::min);
    let end = |frame: &Placed| frame.pts.saturating_add(frame.duration);
    let end = placed.iter().filter(|frame| frame.shown).map(end).max()?;
    placed.retain(|frame| {
        let sample = &samples[frame.sample as usize];
        sample.offset.checked_add(sample.size.into()).is_some_and(|end| end <= file_length)
    });
    if placed.is_empty() {
        return None;
    }
    let told = movie.as_ref().and_then(Header::duration).filter(|units| *units < u64::from(u32::MAX));
    let told = told.map_or(0, |units| to_nanos(units.into(), scales.movie));
    let (orientation, stretch) = display(movie.as_ref(), track);

    let sample = |frame: &Placed| &samples[frame.sample as usize];
    let count = placed.len() as u64;
    // As long as they are on average, so that their rate is right.
    let lasts: u64 = placed.iter().map(|frame| u64::from(sample(frame).duration)).sum();
    let step = u128::from(lasts) * u128::from(TIME_SCALE) / u128::from(count) / u128::from(scales.media);
    let step = u64::try_from(step).unwrap_or(LONGEST_FRAME).clamp(1, LONGEST_FRAME);
    let total = count * step;

    let created = movie.as_ref().map_or(0, Header::created);
    // Only long files need wide offsets; the new header takes less than what is kept free for it.
    const LONGEST_HEADER: u64 = 2 * LONGEST_MOOV;
    let (name, width) = if file_length + LONGEST_HEADER > u64::from(u32::MAX) { (b"co64", 8) } else { (b"stco", 4) };
    let chunks = chunks(placed.iter().map(sample));
    let table = |first: u64| {
        let mut offsets = Vec::with_capacity(chunks.len() * width);
        for chunk in &chunks {
            offsets.extend(&(chunk.offset + first).to_be_bytes()[8 - width..]);
        }
        offsets
    };
    let keys: Vec<[u32; 1]> =
        (1..).zip(&placed).filter(|(_, frame)| sample(frame).key).map(|(number, _)| [number]).collect();
    let mut stbl = boxed(b"stsd", track.descriptions);
    stbl.extend(full_table(b"stts", vec![[count as u32, step as u32]]));
    stbl.extend(full_table(b"stsc", layout(&chunks)));
    if keys.len() < placed.len() {
        stbl.extend(full_table(b"stss", keys));
    }
    stbl.extend(sample_sizes(placed.iter().map(|frame| sample(frame).size)));
    let with_offsets = |first: u64| {
        let count = (chunks.len() as u32).to_be_bytes();
        let offsets = boxed(name, &[&[0; 4][..], &count, &table(first)].concat());
        let media = media_box(track.media, total, &[&stbl[..], &offsets].concat());
        let track = [boxed(b"tkhd", &track_header(track, total, stretch)), media].concat();
        let mut body = boxed(b"mvhd", &movie_header(created, total));
        body.extend(boxed(b"trak", &track));
        for (kind, content) in children(moov) {
            // Here stands when the recording was made.
            if [b"udta", b"meta"].contains(&&kind) {
                body.extend(boxed(&kind, content));
            }
        }
        [boxed(b"ftyp", kind), boxed(b"moov", &body)].concat()
    };
    const DATA_HEADER: u64 = 16;
    let first = with_offsets(0).len() as u64 + DATA_HEADER;
    let mut header = with_offsets(first);
    header.extend(1_u32.to_be_bytes());
    header.extend(b"mdat");
    header.extend((DATA_HEADER + file_length).to_be_bytes());
    Some((
        header,
        Film {
            frames: placed.iter().map(Moment::of).collect(),
            step,
            orientation,
            full_range: track.has_full_range(),
            byte_stream: false,
            decoding_times,
            start,
            duration: told.max(end),
            end,
            problems,
        },
    ))
}

/// Of a frame that the end of the file cuts, what is there is decoded. (Where units stand behind their lengths, decoders refuse
/// one that is shorter than its length says.)
fn cut_last(samples: &mut [Sample], file_length: u64) {
    for sample in samples {
        if let Some(there) = file_length.checked_sub(sample.offset).filter(|there| *there > 0) {
            sample.size = sample.size.min(u32::try_from(there).unwrap_or(u32::MAX));
        }
    }
}

/// Some files say that frames are shown before they are decoded; then all are later by as much, as FFmpeg has it.
fn show_no_earlier_than_decoded(samples: &mut [Sample]) {
    /// More than this is no order of frames, but nonsense.
    const MOST: i64 = 1 << 28;
    let early = samples.iter().map(|sample| sample.dts.saturating_sub(sample.cts)).max();
    if let Some(early) = early.filter(|early| (1..MOST).contains(early)) {
        samples.iter_mut().for_each(|sample| sample.cts = sample.cts.saturating_add(early));
    }
}

/// Fragments are written before it is known how long the movie becomes: a lone edit says where it starts, not its end.
fn without_end(edits: &mut [Edit]) {
    let mut parts = edits.iter_mut().filter(|edit| edit.media_time.is_some());
    if let (Some(only), None) = (parts.next(), parts.next()) {
        only.duration = 0;
    }
}

/// The time of the first fragment of all tracks but one, in this time scale: a recording may be a part of a longer one.
fn first_fragment(moov: &[u8], starts: &[(u32, u64)], scale: u32, but: Option<u32>) -> Option<i64> {
    let tracks = children(moov).into_iter().filter(|(kind, _)| kind == b"trak");
    let first = tracks.filter_map(|(_, track)| {
        let id = Header(child(track, &[b"tkhd"])?).track_id().filter(|id| Some(*id) != but)?;
        let own = Header(child(track, &[b"mdia", b"mdhd"])?).time_scale().filter(|scale| *scale > 0)?;
        let (_, start) = starts.iter().find(|(known, _)| *known == id)?;
        Some(u128::from(*start) * u128::from(scale) / u128::from(own))
    });
    first.min().map(|start| i64::try_from(start).unwrap_or(i64::MAX / 4))
}

/// For how long nothing is heard before this track begins, in the time scale of the movie; `None`: it is no sound.
fn sound_start(track: &[u8]) -> Option<u64> {
    if child(track, &[b"mdia", b"hdlr"])?.get(8..12)? != b"soun" {
        return None;
    }
    let (edits, _) = samples::edits(child(track, &[b"edts", b"elst"]).unwrap_or(&[]));
    let empty = edits.iter().take_while(|edit| edit.media_time.is_none());
    Some(empty.fold(0_u64, |length, edit| length.saturating_add(edit.duration)))
}

/// How the picture is turned, and by how much its width is stretched more than its height, as ffmpeg does it.
fn display(movie: Option<&Header>, track: &Track) -> (Orientation, Option<f64>) {
    let header = track.header.map(Header);
    let Some(own) = header.as_ref().and_then(|header| header.matrix(true)) else { return Default::default() };
    const UPRIGHT: [i32; 4] = [1 << 16, 0, 0, 1 << 16];
    let whole = movie.and_then(|movie| movie.matrix(false)).filter(|whole| *whole != [0; 4]).unwrap_or(UPRIGHT);
    let [a, b, c, d] = own.map(f64::from);
    let [e, f, g, h] = whole.map(|number| f64::from(number) / 65_536.0);
    let matrix = [a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h];
    let has_size = header.as_ref().and_then(Header::size).is_some_and(|(width, height)| width > 0 && height > 0);
    let (wide, high) = (matrix[0].hypot(matrix[2]), matrix[1].hypot(matrix[3]));
    let stretch = Some(wide / high).filter(|ratio| has_size && ratio.is_finite() && (ratio - 1.0).abs() > UNEVEN);
    (orientation(matrix), stretch.filter(|ratio| (0.01..100.0).contains(ratio)))
}

/// Of the place (x, y) in the coded picture the matrix makes (a·x + c·y, b·x + d·y); `y` grows downward.
fn orientation([a, b, c, d]: [f64; 4]) -> Orientation {
    let straight = |main: f64, side: f64| main != 0.0 && side.abs() <= LEANING * main.abs();
    let (mirrored, quarters) = if straight(a, b) && straight(d, c) {
        match (a > 0.0, d > 0.0) {
            (true, true) => (false, 0),
            (false, false) => (false, 2),
            (false, true) => (true, 0),
            (true, false) => (true, 2),
        }
    } else if straight(b, a) && straight(c, d) {
        match (b > 0.0, c > 0.0) {
            (true, false) => (false, 1),
            (false, true) => (false, 3),
            (false, false) => (true, 1),
            (true, true) => (true, 3),
        }
    } else {
        (false, 0)
    };
    Orientation { mirrored, quarters }
}

/// Frames that lie one behind the other in the file and have the same description of the codec.
struct Chunk {
    offset: u64,
    frames: u32,
    description: u32,
}

fn chunks<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut end = 0;
    for &Sample { offset, size, description, .. } in samples {
        match chunks.last_mut().filter(|chunk| offset == end && chunk.description == description) {
            Some(chunk) => chunk.frames += 1,
            None => chunks.push(Chunk { offset, frames: 1, description }),
        }
        end = offset + u64::from(size);
    }
    chunks
}

/// Where the number of frames in a chunk changes, or their description.
fn layout(chunks: &[Chunk]) -> Vec<[u32; 3]> {
    let mut rows: Vec<[u32; 3]> = Vec::new();
    for (number, chunk) in (1..).zip(chunks) {
        if rows
            .last()
            .is_none_or(|[_, frames, description]| (*frames, *description) != (chunk.frames, chunk.description))
        {
            rows.push([number, chunk.frames, chunk.description]);
        }
    }
    rows
}

/// Version, flags, number of rows, and the rows.
fn full_table<const N: usize>(kind: &[u8; 4], rows: Vec<[u32; N]>) -> Vec<u8> {
    let mut content = vec![0; 4];
    content.extend((rows.len() as u32).to_be_bytes());
    content.extend(rows.iter().flatten().flat_map(|value| value.to_be_bytes()));
    boxed(kind, &content)
}

fn sample_sizes(sizes: impl ExactSizeIterator<Item = u32>) -> Vec<u8> {
    let mut content = vec![0; 8];
    content.extend((sizes.len() as u32).to_be_bytes());
    content.extend(sizes.flat_map(u32::to_be_bytes));
    boxed(b"stsz", &content)
}

/// Version 1, which has room for long durations. The movie lasts twice as long as its track: GStreamer ends at a key frame
/// behind its end, and leaves out a track that is much shorter.
fn movie_header(created: u64, duration: u64) -> Vec<u8> {
    let mut new = vec![0; 112];
    new[0] = 1;
    new[4..12].copy_from_slice(&created.to_be_bytes());
    new[20..24].copy_from_slice(&TIME_SCALE.to_be_bytes());
    new[24..32].copy_from_slice(&(2 * duration).to_be_bytes());
    for (at, value) in [(32, 0x0001_0000_u32), (36, 0x0100_0000), (108, 2)] {
        new[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    upright(&mut new[48..84]);
    new
}

/// The old number, and the old size or the one that gives the picture its shape.
fn track_header(track: &Track, duration: u64, stretch: Option<f64>) -> Vec<u8> {
    let mut new = vec![0; 96];
    (new[0], new[3]) = (1, 7);
    new[20..24].copy_from_slice(&track.id.to_be_bytes());
    new[28..36].copy_from_slice(&duration.to_be_bytes());
    upright(&mut new[52..88]);
    let old = track.header.and_then(|header| Header(header).size()).unwrap_or((0, 0));
    let (width, height) = match (stretch, track.coded_size()) {
        (Some(ratio), Some((width, height))) => {
            ((f64::from(width) * ratio).round().min(65_535.0) as u32 * 65_536, height.min(65_535) << 16)
        }
        _ => old,
    };
    new[88..92].copy_from_slice(&width.to_be_bytes());
    new[92..96].copy_from_slice(&height.to_be_bytes());
    new
}

fn upright(matrix: &mut [u8]) {
    for (at, value) in [(0, 0x0001_0000_u32), (16, 0x0001_0000), (32, 0x4000_0000)] {
        matrix[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

/// The old media with another table, and without what else stands in it.
fn media_box(media: &[u8], duration: u64, table: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 36];
    header[0] = 1;
    header[20..24].copy_from_slice(&TIME_SCALE.to_be_bytes());
    header[24..32].copy_from_slice(&duration.to_be_bytes());
    header[32..34].copy_from_slice(&0x55c4_u16.to_be_bytes());
    let mut handler = vec![0; 25];
    handler[8..12].copy_from_slice(b"vide");
    let mut info = Vec::new();
    for (kind, content) in children(child(media, &[b"minf"]).unwrap_or(&[])) {
        if &kind != b"stbl" {
            info.extend(boxed(&kind, content));
        }
    }
    info.extend(boxed(b"stbl", table));
    let boxes = [boxed(b"mdhd", &header), boxed(b"hdlr", &handler), boxed(b"minf", &info)];
    boxed(b"mdia", &boxes.concat())
}

#[cfg(test)]
mod tests;
