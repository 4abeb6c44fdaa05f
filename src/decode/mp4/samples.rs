//! The coded frames of a track, from the tables of a movie and from fragments.

use super::boxes::{Header, be32, be64, child, children, rows};
use super::edits::{Edit, MOST_FRAMES, Sample};

/// A track with all that is needed to read it.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pub(super) id: u32,
    pub(super) enabled: bool,
    pub(super) header: Option<&'a [u8]>,
    pub(super) media: &'a [u8],
    pub(super) descriptions: &'a [u8],
    /// Units a second of its media; zero where it does not tell.
    pub(super) time_scale: u32,
    pub(super) edits: Vec<Edit>,
    /// An edit asks for another speed.
    pub(super) other_rate: bool,
    pub(super) samples: Vec<Sample>,
}

impl<'a> Track<'a> {
    /// `None`: no video, or not complete.
    pub(super) fn read(track: &'a [u8]) -> Option<Self> {
        let media = child(track, &[b"mdia"])?;
        let media_header = child(media, &[b"mdhd"])?;
        if !is_video(media) {
            return None;
        }
        let table = child(media, &[b"minf", b"stbl"])?;
        let descriptions = child(table, &[b"stsd"]).filter(|description| description.len() > 16)?;
        let header = child(track, &[b"tkhd"]);
        let (edits, other_rate) = edits(child(track, &[b"edts", b"elst"]).unwrap_or(&[]));
        Some(Self {
            id: header.and_then(|header| Header(header).track_id()).unwrap_or(1).max(1),
            enabled: header.and_then(|header| header.get(3)).is_none_or(|flags| flags & 1 == 1),
            header,
            media,
            descriptions,
            time_scale: Header(media_header).time_scale()?,
            edits,
            other_rate,
            samples: samples(table).unwrap_or_default(),
        })
    }

    /// The content of the first description of the codec, and what it is called.
    pub(super) fn codec(&self) -> Option<([u8; 4], &'a [u8])> {
        children(self.descriptions.get(8..)?).into_iter().next()
    }

    /// Whether it is H.264 or HEVC, whose frames consist of units.
    pub(super) fn has_units(&self) -> bool {
        self.codec().is_some_and(|(kind, _)| [b"avc1", b"avc3", b"hvc1", b"hev1"].contains(&&kind))
    }

    /// Width and height as coded.
    pub(super) fn coded_size(&self) -> Option<(u32, u32)> {
        let both = be32(self.codec()?.1, 24)?;
        Some((both >> 16, both & 0xffff))
    }

    /// Whether the description of the colours says that they use all values.
    pub(super) fn has_full_range(&self) -> bool {
        /// Before the boxes in the description of a codec.
        const FIELDS: usize = 78;
        let boxes = self.codec().and_then(|(_, content)| content.get(FIELDS..));
        let colours = boxes.and_then(|boxes| child(boxes, &[b"colr"]));
        colours
            .is_some_and(|colours| colours.starts_with(b"nclx") && colours.get(10).is_some_and(|byte| byte >> 7 == 1))
    }
}

pub(super) fn is_video(media: &[u8]) -> bool {
    child(media, &[b"hdlr"]).and_then(|handler| handler.get(8..12)) == Some(b"vide")
        || child(media, &[b"minf", b"vmhd"]).is_some()
}

/// And whether one asks for another speed than the usual.
pub(super) fn edits(list: &[u8]) -> (Vec<Edit>, bool) {
    let wide = list.first() == Some(&1);
    let (width, rate_at) = if wide { (20, 16) } else { (12, 8) };
    let (mut edits, mut other_rate) = (Vec::new(), false);
    for row in rows(list, width) {
        let (duration, media_time) = if wide {
            (be64(row, 0).unwrap_or(0), be64(row, 8).unwrap_or(0) as i64)
        } else {
            (u64::from(be32(row, 0).unwrap_or(0)), i64::from(be32(row, 4).unwrap_or(0) as i32))
        };
        let media_time = (media_time != -1).then_some(media_time);
        other_rate |= media_time.is_some() && be32(row, rate_at) != Some(0x0001_0000);
        edits.push(Edit { duration, media_time });
    }
    (edits, other_rate)
}

/// `None`: a table is missing or ends too early.
fn samples(table: &[u8]) -> Option<Vec<Sample>> {
    let sizes = sizes(table)?;
    let wide = child(table, &[b"co64"]);
    let chunks: Vec<u64> = match wide {
        Some(wide) => rows(wide, 8).filter_map(|row| be64(row, 0)).collect(),
        None => rows(child(table, &[b"stco"])?, 4).filter_map(|row| be32(row, 0)).map(u64::from).collect(),
    };
    let mut durations = Run::new(child(table, &[b"stts"])?);
    let mut offsets = Run::new(child(table, &[b"ctts"]).unwrap_or(&[]));
    let keys = child(table, &[b"stss"]).map(|whole| {
        let partial = child(table, &[b"stps"]).unwrap_or(&[]);
        let mut keys: Vec<u32> = rows(whole, 4).chain(rows(partial, 4)).filter_map(|row| be32(row, 0)).collect();
        keys.sort_unstable();
        keys
    });
    let mut samples = Vec::with_capacity(sizes.len());
    let layout: Vec<[u32; 3]> = rows(child(table, &[b"stsc"])?, 12)
        .filter_map(|row| Some([be32(row, 0)?, be32(row, 4)?, be32(row, 8)?]))
        .collect();
    let mut sizes = sizes.into_iter();
    let (mut dts, mut number) = (0_i64, 0_u32);
    let mut run = 0;
    'chunks: for (chunk, start) in chunks.iter().enumerate() {
        while layout.get(run + 1).is_some_and(|next| next[0] as usize <= chunk + 1) {
            run += 1;
        }
        let Some([_, count, description]) = layout.get(run) else { break };
        let mut offset = *start;
        for _ in 0..*count {
            let Some(size) = sizes.next() else { break 'chunks };
            number += 1;
            let duration = durations.next().unwrap_or(0);
            let cts = dts.saturating_add(i64::from(offsets.next().unwrap_or(0) as i32));
            let key = keys.as_ref().is_none_or(|keys| keys.binary_search(&number).is_ok());
            let description = *description;
            samples.push(Sample { offset, size, description, key, dts, cts, duration, covered: false });
            offset = offset.saturating_add(size.into());
            dts = dts.saturating_add(duration.into());
        }
    }
    Some(samples)
}

pub(super) fn sizes(table: &[u8]) -> Option<Vec<u32>> {
    if let Some(plain) = child(table, &[b"stsz"]) {
        let (all, count) = (be32(plain, 4)?, be32(plain, 8)? as usize);
        return if all > 0 {
            Some(vec![all; count.min(MOST_FRAMES)])
        } else {
            Some(plain.get(12..)?.chunks_exact(4).take(count.min(MOST_FRAMES)).filter_map(|row| be32(row, 0)).collect())
        };
    }
    let compact = child(table, &[b"stz2"])?;
    let (bits, count) = (*compact.get(7)?, be32(compact, 8)? as usize);
    let bytes = compact.get(12..)?.iter().copied().map(u32::from);
    let sizes: Vec<u32> = match bits {
        4 => bytes.flat_map(|byte| [byte >> 4, byte & 15]).take(count).collect(),
        8 => bytes.take(count).collect(),
        _ => compact
            .get(12..)?
            .chunks_exact(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .take(count)
            .collect(),
    };
    Some(sizes)
}

/// A value for each frame, told as runs of the same.
struct Run<'a> {
    rows: std::slice::ChunksExact<'a, u8>,
    left: u32,
    value: u32,
}

impl<'a> Run<'a> {
    fn new(table: &'a [u8]) -> Self {
        let rows = table.get(8..).unwrap_or(&[]).chunks_exact(8);
        Self { rows, left: 0, value: 0 }
    }
}

impl Iterator for Run<'_> {
    type Item = u32;

    /// Behind the end of the table there is nothing.
    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            let row = self.rows.next()?;
            (self.left, self.value) = (be32(row, 0)?, be32(row, 4)?);
        }
        self.left -= 1;
        Some(self.value)
    }
}

/// What a movie says of the frames in fragments of one track, where they do not say it themselves.
#[derive(Clone, Copy, Debug, Default)]
struct Defaults {
    description: u32,
    duration: u32,
    size: u32,
    flags: u32,
}

/// Collects the frames of one track from fragments.
#[derive(Debug)]
pub(super) struct Fragments {
    track: u32,
    defaults: Defaults,
    /// Where the next frame would be decoded.
    next: i64,
    /// Added to what fragments say, where a recording was appended to another.
    shift: i64,
    /// When the first frame of the last fragment with a time is decoded.
    begun: Option<i64>,
    /// Up to which decoding time earlier fragments have frames, where they overlap.
    covered: Option<i64>,
    /// The first decoding time told for each track.
    pub(super) starts: Vec<(u32, u64)>,
    pub(super) samples: Vec<Sample>,
}

const NOT_KEY: u32 = 0x0001_0000;
/// More tracks than anybody watches.
const MOST_TRACKS: usize = 64;

impl Fragments {
    /// Behind the frames that the movie itself has.
    pub(super) fn behind(moov: &[u8], track: u32, samples: Vec<Sample>) -> Self {
        let extends = child(moov, &[b"mvex"]).map(children).unwrap_or_default();
        let defaults = extends.into_iter().find_map(|(kind, content)| {
            (&kind == b"trex" && be32(content, 4) == Some(track)).then_some(Defaults {
                description: be32(content, 8)?,
                duration: be32(content, 12)?,
                size: be32(content, 16)?,
                flags: be32(content, 20)?,
            })
        });
        let next = samples.last().map_or(0, |last| last.dts.saturating_add(last.duration.into()));
        let defaults = defaults.unwrap_or_default();
        Self { track, defaults, next, shift: 0, begun: None, covered: None, starts: Vec::new(), samples }
    }

    /// The content of a fragment's header that stands at this place of the file.
    pub(super) fn add(&mut self, moof: &[u8], at: u64) {
        let mut end_of_data = at;
        for (kind, content) in children(moof) {
            if &kind == b"traf" {
                self.add_track(content, at, &mut end_of_data);
            }
        }
    }

    fn add_track(&mut self, traf: &[u8], moof: u64, end_of_data: &mut u64) -> Option<()> {
        let header = child(traf, &[b"tfhd"])?;
        let (flags, id) = (be32(header, 0)? & 0x00ff_ffff, be32(header, 4)?);
        let mut fields = Fields { bytes: header, at: 8 };
        let base = match fields.wide(flags & 1 != 0) {
            Some(base) => base,
            None if flags & 0x2_0000 != 0 => moof,
            None => *end_of_data,
        };
        let mut defaults = self.defaults;
        for (flag, value) in [
            (0x02, &mut defaults.description),
            (0x08, &mut defaults.duration),
            (0x10, &mut defaults.size),
            (0x20, &mut defaults.flags),
        ] {
            *value = fields.short(flags & flag != 0).unwrap_or(*value);
        }
        let start = child(traf, &[b"tfdt"]).and_then(|time| match time.first() {
            Some(1) => be64(time, 4),
            _ => be32(time, 4).map(u64::from),
        });
        if self.starts.len() < MOST_TRACKS && self.starts.iter().all(|(known, _)| *known != id) {
            self.starts.push((id, start.unwrap_or(0)));
        }
        let own = id == self.track;
        if let Some(start) = start.filter(|_| own) {
            let start = i64::try_from(start).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
            let now = start.saturating_add(self.shift);
            self.covered = self.samples.last().map(|last| last.dts).filter(|last| now < *last);
            if self.covered.is_some() && self.begun.is_none_or(|begun| now <= begun) {
                // The clock began anew.
                self.shift = self.next.saturating_sub(start);
                self.covered = None;
            }
            self.next = start.saturating_add(self.shift);
            self.begun = Some(self.next);
        }
        let mut offset = base;
        for (kind, run) in children(traf) {
            if &kind == b"trun" {
                self.add_run(run, base, &mut offset, defaults, own);
            }
        }
        *end_of_data = offset;
        Some(())
    }

    /// `own`: of the track that is collected; of others only the length of their data matters.
    fn add_run(&mut self, run: &[u8], base: u64, offset: &mut u64, defaults: Defaults, own: bool) -> Option<()> {
        let (flags, count) = (be32(run, 0)? & 0x00ff_ffff, be32(run, 4)?);
        let mut fields = Fields { bytes: run, at: 8 };
        if let Some(place) = fields.short(flags & 1 != 0) {
            *offset = base.saturating_add_signed(i64::from(place as i32));
        }
        let mut first_flags = fields.short(flags & 4 != 0);
        if !own && flags & 0xf00 == 0 {
            *offset = offset.saturating_add(u64::from(count) * u64::from(defaults.size));
            return None;
        }
        for _ in 0..count {
            if self.samples.len() >= MOST_FRAMES || fields.at > run.len() {
                break;
            }
            let duration = fields.short(flags & 0x100 != 0).unwrap_or(defaults.duration);
            let size = fields.short(flags & 0x200 != 0).unwrap_or(defaults.size);
            let told = fields.short(flags & 0x400 != 0);
            let frame_flags = first_flags.take().or(told).unwrap_or(defaults.flags);
            let later = fields.short(flags & 0x800 != 0).unwrap_or(0) as i32;
            if own {
                self.samples.push(Sample {
                    offset: *offset,
                    size,
                    description: defaults.description.max(1),
                    key: frame_flags & NOT_KEY == 0,
                    dts: self.next,
                    cts: self.next.saturating_add(later.into()),
                    duration,
                    covered: self.covered.is_some_and(|covered| self.next <= covered),
                });
                self.next = self.next.saturating_add(duration.into());
            }
            *offset = offset.saturating_add(size.into());
        }
        Some(())
    }
}

/// Fields that are there or not, one behind the other.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn short(&mut self, there: bool) -> Option<u32> {
        let value = be32(self.bytes, self.at).filter(|_| there);
        self.at += if there { 4 } else { 0 };
        value
    }

    fn wide(&mut self, there: bool) -> Option<u64> {
        let value = be64(self.bytes, self.at).filter(|_| there);
        self.at += if there { 8 } else { 0 };
        value
    }
}
