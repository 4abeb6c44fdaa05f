//! A file to its coded frames.

mod open;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::coded::{Codec, Field, FieldFinder, Inspector, Said};
use super::super::flv::Flv;
use super::super::gif::Gif;
use super::super::ivf::Ivf;
use super::super::matroska::{self, Remains};
use super::super::mjpeg::Jpegs;
use super::super::mp4::{Mended, Moment};
use super::super::pixels::Orientation;
use super::super::plan::Packet;
use super::super::ps::Program;
use super::super::rm;
use super::super::timeline::{Stamp, Timeline};
use super::super::tracks::Tracks;
use super::super::ts::Stream;
use super::super::{DecodeError, Probe, Problem, ProblemKind, Track, TrackKind, template};
use super::connect::{Found, connect_tracks, place};
use super::decoders::remedy;
use super::mended::serve;
use super::{element, facts, launch, lock, prores, rare, reported_error, units};

/// How long to wait for a frame before looking whether something else happened.
const GLANCE: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// So many glances without a frame, and a stream that had an error is over.
const GRACE: u32 = 15;
/// The same where the stream, or another one before it is there, has come to its end.
const LAST_CHANCE: u32 = 150;
/// So many glances without finding any track, and there is none.
const PATIENCE: u32 = 1500;
/// Containers whose clocks begin at zero and whose headers tell how long they are.
const HEADER_TELLS: [&str; 3] = ["video/x-matroska", "video/webm", "video/x-flv"];
/// Codecs whose times the demuxers of these containers lose.
const PRORES: &str = "video/x-prores";
const MATROSKA: &str = "video/x-matroska";
const WEBM: &str = "video/webm";
const REAL_VIDEO: &str = "video/x-pn-realvideo";
const REAL_MEDIA: &str = "application/vnd.rn-realmedia";
/// A container with one clock that all of its tracks begin at, which its demuxer puts off until no frame is shown before
/// it is decoded.
const BEGINS_TOGETHER: &str = "application/mxf";
/// A container that tells when frames are decoded, and not when they are shown.
const TELLS_DECODING: &str = "video/x-msvideo";
/// How many frames are read ahead there to find out whether any is shown before one that is decoded earlier.
const REORDERED_WITHIN: usize = 32;
/// By how much a promised duration may be off.
const ROUGHLY: Duration = Duration::from_secs(2);

/// Size of an MPEG-4 frame that says "not coded". Files with packed B-frames are full of them.
const MPEG4_NOT_CODED: usize = 8;

/// Codecs that may show frames in another order than that of decoding, and those of which it is not known.
const REORDERING: [&str; 11] = [
    "video/x-h264",
    "video/x-h265",
    "video/x-av1",
    "video/mpeg",
    "video/x-divx",
    "video/x-xvid",
    "video/x-wmv",
    "video/x-h263",
    "video/x-indeo",
    "video/x-pn-realvideo",
    "unknown/unknown",
];

/// How long sound may take to come, once the pictures have ended.
const SOUND_WITHIN: Duration = Duration::from_secs(1);

/// Mark of a packet of Theora that is no frame.
const THEORA_HEADER: u8 = 0x80;

/// Mark of a photo with other pictures behind it: a preview, another eye's view, a map of brightness.
const MULTI_PICTURE: &[u8] = b"MPF\0";
const LONGEST_JPEG_HEAD: usize = 64 << 10;

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub(in crate::decode) enum Source {
    File(PathBuf),
    Mended(Arc<Mended>),
    Remains(Remains),
    Stream(Stream),
    Program(Program),
    Flv(Flv),
    Gif(Gif),
    Ivf(Ivf),
    Jpegs(Jpegs),
    Obu(PathBuf),
}

/// One coded frame.
#[derive(Clone, Debug)]
pub(in crate::decode) struct Coded {
    pub(super) buffer: gst::Buffer,
    pub(in crate::decode) caps: gst::Caps,
}

/// A coded frame as it came out of the graph.
#[derive(Debug)]
struct Whole {
    sample: gst::Sample,
    /// It came in two halves, of which this is made.
    two_fields: bool,
    /// When it is shown, where only its neighbours tell it.
    shown: Option<gst::ClockTime>,
}

impl Whole {
    fn of(sample: gst::Sample) -> Self {
        Self { sample, two_fields: false, shown: None }
    }
}

#[derive(Debug)]
pub(in crate::decode) struct Reader {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    bus: gst::Bus,
    found: Arc<Mutex<Found>>,
    tracks: Tracks,
    timeline: Timeline,
    /// Description as it came, and as it goes on.
    caps: Option<(gst::Caps, gst::Caps)>,
    inspector: Inspector,
    /// Where pictures may be coded as two fields.
    finder: Option<FieldFinder>,
    /// Of MPEG-1 and MPEG-2 in a container, not all of whose pictures have times (program streams).
    untimed: bool,
    /// No more pictures come.
    over: bool,
    /// The last picture that others refer to was shown as soon as it was decoded.
    without_delay: bool,
    /// A field that waits for the other one of its frame.
    half: Option<(gst::Sample, Field)>,
    /// Whole frames, not taken yet.
    whole: VecDeque<Whole>,
    /// Frames so small say no more than "as before" and give no picture.
    least_size: Option<usize>,
    /// The decoder of this codec (GIF) gives all pictures the same time.
    shuffles: bool,
    /// The container (ASF, some MP4) has times of decoding, and frames (of VC-1 and its like) are shown in another order.
    decoding_times: bool,
    /// The codec may show frames in another order than that of decoding. (Of the others, AVI has the times of decoding alone.)
    reorders: bool,
    /// AVI has a frame that is shown before one that is decoded earlier. There each frame is shown when the next is decoded,
    /// as FFmpeg has it.
    shown_with_next: bool,
    /// Headers of the codec (Theora) come like frames.
    has_headers: bool,
    /// Read already, not yet asked for.
    ahead: VecDeque<(Packet, Coded)>,
    /// When the medium starts, and what is added to that to get the time in the container.
    zero: Option<i64>,
    origin: i64,
    probe: Probe,
    orientation: Orientation,
    /// What is read behind damage of the container that the demuxer stopped at.
    rest: Option<Box<Reader>>,
    /// The latest time so far.
    reach: i64,
    /// When the medium begins, where its header was read for that.
    begins: Option<i64>,
    /// Times of the next frames, where the demuxer loses them.
    times: Option<VecDeque<i64>>,
    /// The clock in the pictures of RealVideo.
    real_clock: Option<rm::Clock>,
    /// The file that the graph reads as it is.
    path: Option<PathBuf>,
    /// Where a header of our own tells the frames apart, and which of them comes next.
    mended: Option<Arc<Mended>>,
    /// How long it is, where it was not the graph that read it.
    duration: Option<Duration>,
    next_number: usize,
    /// What is wrong with the container.
    problems: Vec<Problem>,
    /// The first error reported.
    problem: Option<gst::glib::Error>,
    /// The error says that the file is no medium.
    hopeless: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Reader {
    pub(in crate::decode) fn probe(&self) -> &Probe {
        &self.probe
    }

    pub(in crate::decode) fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// When the medium starts, where that is known: its first frame may be later.
    pub(in crate::decode) fn zero(&self) -> Option<i64> {
        self.zero
    }

    /// Where the video should end.
    pub(in crate::decode) fn promised(&self) -> Option<Duration> {
        match &self.mended {
            Some(mended) => Some(Duration::from_nanos(u64::try_from(mended.film().end).unwrap_or(0))),
            None => self.probe.duration,
        }
    }

    /// Whether the file went on for as long as it promised, as its sound tells; `None`: nothing tells.
    pub(in crate::decode) fn keeps_promise(&self) -> Option<bool> {
        let Some(promised) = self.promised().filter(|_| self.mended.is_none()) else {
            return self.mended.as_ref().map(|_| true);
        };
        let reach = Duration::from(lock(&self.found).others_reach?);
        let header_tells = self.probe.container.as_deref().is_some_and(|kind| HEADER_TELLS.contains(&kind));
        header_tells.then_some(reach + ROUGHLY >= promised)
    }

    /// What the header of the file asks for and does not get.
    pub(in crate::decode) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Description of the codec of the first frame.
    pub(in crate::decode) fn codec(&self) -> Option<&gst::CapsRef> {
        self.ahead.front().map(|(_, coded)| coded.caps.as_ref())
    }

    /// What made the reading end early.
    pub(in crate::decode) fn problem(&self) -> Option<&str> {
        self.problem.as_ref().map(|error| error.message())
    }

    /// `None`: the end, be it of the file or of what can be read of it.
    pub(in crate::decode) fn next(&mut self) -> Result<Option<(Packet, Coded)>, DecodeError> {
        let next = match self.ahead.pop_front() {
            Some(next) => Some(next),
            None => self.pull()?,
        };
        let Some((mut packet, coded)) = next else { return Ok(None) };
        if self.shown_with_next {
            if self.ahead.is_empty() {
                let following = self.pull()?;
                self.ahead.extend(following);
            }
            let end = packet.pts.saturating_add(packet.duration.unwrap_or(0));
            packet.pts = self.ahead.front().map_or(end, |(following, _)| following.pts);
        }
        Ok(Some((packet, coded)))
    }

    fn pull(&mut self) -> Result<Option<(Packet, Coded)>, DecodeError> {
        if self.rest.is_none() {
            if let Some(next) = self.pull_from_graph()? {
                self.reach = self.reach.max(next.0.pts);
                return Ok(Some(next));
            }
            self.rest = self.find_rest();
        }
        match &mut self.rest {
            Some(rest) => rest.next(),
            None => Ok(None),
        }
    }

    /// Where a Matroska file is damaged amid its clusters the demuxer ends as if there were no more of them.
    fn find_rest(&mut self) -> Option<Box<Reader>> {
        let promised = self.probe.duration.and_then(|promised| i64::try_from(promised.as_nanos()).ok())?;
        let is_matroska = lock(&self.found).container.as_deref().is_some_and(|kind| [MATROSKA, WEBM].contains(&kind));
        if !is_matroska || self.reach + ROUGHLY.as_nanos() as i64 > promised || self.times.is_some() {
            return None;
        }
        let remains = Remains::find(self.path.as_ref()?).ok().flatten()?;
        let is_taken = self.tracks.wanted.is_none_or(|wanted| remains.is_of(wanted));
        let remains = remains.behind(self.reach);
        remains.blocks().next().ok().flatten()?;
        let rest = is_taken.then(|| Reader::open(&Source::Remains(remains), &Tracks::default()).ok()).flatten()?;
        let detail = "the container is damaged, and what lies behind the damage was read as far as it could be";
        self.problems.push(Problem::new(ProblemKind::HeaderRepaired, detail));
        Some(Box::new(rest))
    }

    fn pull_from_graph(&mut self) -> Result<Option<(Packet, Coded)>, DecodeError> {
        let mut quiet = 0;
        loop {
            while let Some(whole) = self.next_whole() {
                if let Some(coded) = self.take(&whole) {
                    return Ok(Some(coded));
                }
            }
            if let Some(sample) = self.sink.try_pull_sample(GLANCE) {
                quiet = 0;
                self.pair(sample);
                continue;
            }
            quiet += 1;
            self.note_problem();
            if self.sink.is_eos() || self.is_over(quiet) {
                let last = self.half.take().map(|(sample, _)| Whole::of(sample));
                self.whole.extend(last);
                self.over = true;
                while let Some(last) = self.next_whole() {
                    if let Some(coded) = self.take(&last) {
                        return Ok(Some(coded));
                    }
                }
                return Ok(None);
            }
        }
    }

    /// `None`: others have to be read before. Of MPEG-1 and MPEG-2, B pictures are shown when they are decoded, and those that
    /// others refer to when the next of these is decoded.
    fn next_whole(&mut self) -> Option<Whole> {
        if !self.untimed {
            return self.whole.pop_front();
        }
        let times = |whole: &Whole| whole.sample.buffer().map_or((None, None), |buffer| (buffer.pts(), buffer.dts()));
        let is_reference = |whole: &Whole| {
            let frame = whole.sample.buffer().and_then(|buffer| buffer.map_readable().ok());
            frame.is_none_or(|frame| !self.inspector.is_bidirectional(&frame))
        };
        let first = self.whole.front()?;
        let shown = match (times(first), is_reference(first)) {
            ((Some(pts), Some(dts)), true) => {
                self.without_delay = pts == dts;
                None
            }
            ((Some(_), _), _) => None,
            ((None, dts), true) if !self.without_delay => {
                let next = match self.whole.iter().skip(1).find(|whole| is_reference(whole)) {
                    Some(next) => times(next).1,
                    None if self.over => self.whole.back().and_then(end_of_decoding),
                    None => return None,
                };
                next.filter(|next| dts.is_some_and(|dts| *next > dts))
            }
            ((None, dts), _) => dts,
        };
        self.whole.pop_front().map(|whole| Whole { shown, ..whole })
    }

    /// Two fields become the frame that they are halves of.
    fn pair(&mut self, sample: gst::Sample) {
        let field = self.field(&sample);
        match (self.half.take(), field) {
            (Some((first, half)), Some(field)) if field.completes(half) => self.whole.extend(joined(&first, &sample)),
            (half, field) => {
                self.whole.extend(half.map(|(sample, _)| Whole::of(sample)));
                match field {
                    Some(field) => self.half = Some((sample, field)),
                    None => self.whole.push_back(Whole::of(sample)),
                }
            }
        }
    }

    fn field(&mut self, sample: &gst::Sample) -> Option<Field> {
        let (raw_caps, buffer) = (sample.caps_owned()?, sample.buffer()?);
        self.describe(raw_caps);
        self.finder.as_mut()?.field(&buffer.map_readable().ok()?)
    }

    /// Whether no more frames will come although the sink was not told. Errors do not always end the stream: one bad
    /// track is one, and the others go on.
    fn is_over(&self, quiet: u32) -> bool {
        let found = lock(&self.found);
        // What has come to its end may still have a last frame to give, and a busy machine may take its time over it.
        let ended = found.ended || !found.connected && found.others_ended;
        (self.hopeless && !found.connected)
            || (self.problem.is_some() && quiet > GRACE)
            || (ended && quiet > LAST_CHANCE)
            || (!found.connected && quiet > PATIENCE)
    }

    fn note_problem(&mut self) {
        if let Some(error) = reported_error(&self.bus, gst::ClockTime::ZERO) {
            let unknown = [gst::StreamError::TypeNotFound, gst::StreamError::WrongType];
            self.hopeless |= error.kind::<gst::StreamError>().is_some_and(|kind| unknown.contains(&kind));
            self.problem.get_or_insert(error);
        }
    }

    fn take(&mut self, whole: &Whole) -> Option<(Packet, Coded)> {
        let Whole { sample, two_fields, shown: between } = whole;
        let mut buffer = sample.buffer_owned()?;
        let raw_caps = sample.caps_owned()?;
        let delta = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if buffer.size() == 0 {
            return None;
        }
        let caps = self.describe(raw_caps);
        if caps.structure(0).is_some_and(|structure| structure.name() == PRORES) {
            buffer = prores::with_one_head(&buffer).unwrap_or(buffer);
        }
        if self.least_size.is_some_and(|least| delta && buffer.size() <= least) {
            return None;
        }
        if self.has_headers
            && buffer.map_readable().is_ok_and(|data| data.first().is_some_and(|first| first & THEORA_HEADER != 0))
        {
            return None;
        }
        let said = buffer.map_readable().map(|data| self.inspector.look(&data, delta));
        let Said { key, hidden, disposable } = said.unwrap_or_default();
        let needs_others = |clock: &rm::Clock| buffer.map_readable().is_ok_and(|picture| clock.needs_others(&picture));
        let key = key && !self.real_clock.as_ref().is_some_and(needs_others);
        let listed = self.inspector.lists_references() && !disposable;
        let closed = key && buffer.map_readable().is_ok_and(|data| self.inspector.is_closed(&data));
        if let Some(mended) = &self.mended {
            let film = mended.film();
            let number = buffer.pts().map_or(self.next_number, |pts| film.number(pts.nseconds()));
            self.next_number = number + 1 + usize::from(*two_fields);
            let second = film.frame(number + 1).filter(|_| *two_fields).map_or(0, Moment::duration);
            let packet = film.frame(number).map(|frame| Packet {
                pts: frame.pts,
                duration: Some(frame.duration() + second).filter(|duration| *duration > 0),
                key,
                shown: frame.shown() && !hidden,
                bytes: buffer.size(),
                in_order: !self.shuffles && !self.decoding_times,
                disposable,
                listed,
                closed,
            })?;
            return Some((packet, Coded { buffer, caps }));
        }
        let segment = sample.segment().filter(|_| lock(&self.found).cut);
        let segment = segment.and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
        let (mut pts, shown) = place(buffer.pts().or(*between), segment);
        let (mut dts, _) = place(buffer.dts(), segment);
        let mut duration = buffer.duration().and_then(|duration| i64::try_from(duration.nseconds()).ok());
        // What the parser made of a rate that nobody can mean; where there is a container, it has times of its own.
        if facts::has_absurd_rate(&caps) {
            duration = None;
        }
        if lock(&self.found).bare && facts::nominal_step(&caps).is_none() {
            (pts, dts) = (None, None);
        }
        if !self.reorders {
            pts = pts.or(dts);
        }
        if let Some(times) = &mut self.times {
            pts = times.pop_front().or(pts);
        }
        if let (Some(clock), Some(told), Ok(picture)) = (&mut self.real_clock, pts, buffer.map_readable()) {
            pts = Some(clock.place(&picture, told));
        }
        if self.decoding_times {
            (pts, dts) = (None, pts.or(dts));
        }
        let packet = self.timeline.place(Stamp {
            pts,
            dts,
            duration,
            key,
            shown: shown && !hidden,
            bytes: buffer.size(),
            in_order: !self.shuffles && self.real_clock.is_none(),
            disposable,
            listed,
            closed,
        });
        Some((packet, Coded { buffer, caps }))
    }

    fn describe(&mut self, raw: gst::Caps) -> gst::Caps {
        if let Some((known, caps)) = &self.caps
            && *known == raw
        {
            return caps.clone();
        }
        // Some demuxers say no more than the container's code.
        let mut caps = rare::renamed(&raw).unwrap_or_else(|| raw.clone());
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            // The transparency of WebM is a stream of its own, which is not wanted, and decoders refuse its mark.
            structure.remove_field("codec-alpha");
            if self.mended.as_ref().is_some_and(|mended| mended.film().full_range) {
                facts::set_full_range(structure);
            }
            if structure.name() == "video/x-vp9" {
                // Hidden frames come together with the one that is shown, or by themselves; not all decoders take them so.
                structure.set("alignment", "super-frame");
            }
            let is_mpeg4 = structure.name() == "video/mpeg" && structure.get::<i32>("mpegversion") == Ok(4);
            self.shuffles = structure.name().contains("gif");
            self.reorders = REORDERING.contains(&structure.name().as_str());
            self.has_headers = structure.name() == "video/x-theora";
            let may_be_shuffled = structure.name() == "video/x-wmv" && structure.get::<i32>("wmvversion") == Ok(3);
            let has_decoding_times = match &self.mended {
                Some(mended) => mended.film().decoding_times,
                None => lock(&self.found).container.as_deref() == Some("video/x-ms-asf"),
            };
            self.decoding_times = may_be_shuffled && has_decoding_times;
            if self.times.is_none() {
                (self.begins, self.times) = self.lost_times(structure.name());
            }
            if structure.name() == REAL_VIDEO && self.times.is_some() && self.real_clock.is_none() {
                self.real_clock = structure.get::<i32>("rmversion").ok().and_then(rm::Clock::new);
            }
            self.least_size = is_mpeg4.then_some(MPEG4_NOT_CODED);
            let record = structure.get::<gst::Buffer>("codec_data").ok();
            let record = record.and_then(|record| record.into_mapped_buffer_readable().ok());
            let inspector = Inspector::new(codec(structure), record.as_deref());
            self.finder = inspector.field_finder();
            let is_mpeg2 = codec(structure) == Some(Codec::Mpeg2);
            self.untimed = is_mpeg2 && self.mended.is_none() && !lock(&self.found).bare;
            self.inspector = inspector.goes_on_from(&self.inspector);
        }
        self.timeline.set_nominal(facts::nominal_step(&caps));
        self.caps = Some((raw, caps.clone()));
        caps
    }

    /// When the medium begins, if the container says so, and the times that its demuxer loses, if it does.
    fn lost_times(&self, codec: &str) -> (Option<i64>, Option<VecDeque<i64>>) {
        let Some(path) = &self.path else { return (None, None) };
        let container = lock(&self.found).container.clone();
        match (codec, container.as_deref(), self.tracks.wanted) {
            (PRORES, Some(MATROSKA), Some(track)) => (None, matroska::times(path, track).ok().map(VecDeque::from)),
            (REAL_VIDEO, Some(REAL_MEDIA), _) => match rm::times(path) {
                Ok((begins, times)) => (begins, Some(times.into())),
                Err(_) => (None, None),
            },
            _ => (None, None),
        }
    }

    fn learn(&mut self) {
        let Some((_, first)) = self.ahead.front() else { return };
        let container = lock(&self.found).container.clone();
        let film = self.mended.as_ref().map(|mended| mended.film());
        let duration = match film {
            Some(film) => u64::try_from(film.duration).ok().map(gst::ClockTime::from_nseconds),
            None => match self.duration {
                Some(duration) => gst::ClockTime::try_from(duration).ok(),
                None => self.pipeline.query_duration::<gst::ClockTime>(),
            },
        };
        let pad = self.sink.static_pad("sink").expect("a sink has a sink pad");
        let known = film.map(|film| film.orientation).or(self.tracks.orientation);
        (self.probe, self.orientation) = facts::read(&pad, &first.caps, container.as_deref(), duration, known);
        let start = film.map_or(0, |film| film.start);
        self.probe.players_zero = Duration::from_nanos(u64::try_from(start).unwrap_or(0));
        self.probe.start_s = (self.zero.unwrap_or(0) + self.origin + start) as f64 / 1e9;
        // What the header lists goes before what the graph has told of so far.
        let told = || lock(&self.found).tracks.clone();
        self.probe.tracks = if self.tracks.all.is_empty() { told() } else { self.tracks.all.clone() };
    }

    /// Why there is no coded frame.
    fn failure(&mut self) -> DecodeError {
        self.note_problem();
        let found = lock(&self.found);
        let text = || self.problem().unwrap_or("there is no coded frame in it").to_string();
        let kind = found.container.as_deref().unwrap_or("");
        if let Some(codec) = found.without_plugin.clone().filter(|_| !found.connected) {
            return DecodeError::NoDecoder { remedy: remedy(), codec };
        }
        if kind.starts_with("text/") {
            return DecodeError::NotVideo(kind.to_string());
        }
        if kind.starts_with("image/") && kind != "image/gif" {
            return DecodeError::StillPicture(kind.to_string());
        }
        let needs_key = |error: &gst::glib::Error| {
            error.matches(gst::StreamError::Decrypt) || error.matches(gst::StreamError::DecryptNokey)
        };
        if self.problem.as_ref().is_some_and(needs_key) || found.tracks.iter().any(|track| is_locked(&track.codec)) {
            return DecodeError::Encrypted(text());
        }
        if !found.connected && !found.tracks.is_empty() {
            return self.no_track(&found.tracks);
        }
        if kind.starts_with("audio/") {
            return DecodeError::NoVideoTrack(kind.to_string());
        }
        let no_plugin = self.problem.as_ref().is_some_and(|error| {
            error.matches(gst::StreamError::CodecNotFound) || error.matches(gst::CoreError::MissingPlugin)
        });
        if kind.is_empty() || no_plugin && !kind.starts_with("video/") {
            let kind = if kind.is_empty() { text() } else { kind.to_string() };
            return DecodeError::NotVideo(kind);
        }
        DecodeError::Damaged(text())
    }

    /// None of the tracks was connected.
    fn no_track(&self, tracks: &[Track]) -> DecodeError {
        let videos = tracks.iter().filter(|track| track.kind == TrackKind::Video);
        let videos: Vec<String> = videos.map(|track| track.id.to_string()).collect();
        match self.tracks.wanted {
            // Numbers are those of the graph only where the header was not understood.
            Some(asked) if !videos.is_empty() && self.tracks.all.is_empty() => {
                DecodeError::NoSuchTrack { asked, there: videos.join(", ") }
            }
            _ => {
                let found: Vec<String> = tracks.iter().map(|track| format!("{} {}", track.kind, track.codec)).collect();
                DecodeError::NoVideoTrack(found.join(", "))
            }
        }
    }
}

fn end_of_decoding(whole: &Whole) -> Option<gst::ClockTime> {
    let buffer = whole.sample.buffer()?;
    buffer.dts()?.checked_add(buffer.duration()?)
}

/// Whether GStreamer's word for a stream says that it needs a key.
fn is_locked(word: &str) -> bool {
    ["application/x-cenc", "application/x-cbcs", "application/x-webm-enc"].contains(&word)
}

/// A frame out of its two fields, shown from the time of the first for as long as both last.
fn joined(first: &gst::Sample, second: &gst::Sample) -> Option<Whole> {
    let (mut frame, second) = (first.buffer_owned()?, second.buffer_owned()?);
    let duration = frame.duration().zip(second.duration()).map(|(first, second)| first.saturating_add(second));
    frame.append(second);
    frame.make_mut().set_duration(duration);
    let segment = first.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let caps = first.caps_owned();
    let sample = gst::Sample::builder().buffer(&frame).caps_if_some(caps.as_ref()).segment_if_some(segment).build();
    Some(Whole { two_fields: true, ..Whole::of(sample) })
}

pub(super) fn codec(structure: &gst::StructureRef) -> Option<Codec> {
    Some(match structure.name().as_str() {
        "video/x-h264" => Codec::H264,
        "video/x-h265" => Codec::H265,
        "video/mpeg" if structure.get::<i32>("mpegversion") == Ok(4) => Codec::Mpeg4,
        "video/mpeg" => Codec::Mpeg2,
        "video/x-vp8" => Codec::Vp8,
        "video/x-vp9" => Codec::Vp9,
        "video/x-av1" => Codec::Av1,
        _ => return None,
    })
}
