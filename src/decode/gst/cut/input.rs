//! Coded frames and sound of a file, from a time on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::super::coded::Inspector;
use super::super::super::pixels::Orientation;
use super::super::super::tracks::Tracks;
use super::super::super::{DecodeError, TrackKind, template};
use super::super::connect::{Found, container_id, is_called, kind_of, watch_parser};
use super::super::reader::{Reader, codec};
use super::super::{element, launch, libav, lock, reported_error};
use super::{Input, Kind, Unit, nanos};

const GLANCE: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// So many glances without anything, and an error, and it is over.
const GRACE: u32 = 15;
/// So many glances without anything, and it is over.
const PATIENCE: u32 = 1000;
/// To find the tracks.
const OPENING: Duration = Duration::from_secs(15);
/// No track more comes after so long.
const SETTLED: Duration = Duration::from_millis(60);
/// Frames read ahead until the sound begins.
const MOST_AHEAD: usize = 250;
/// Coded frames that wait in a sink. What is taken out of one makes room for the other, so neither can be held up for ever.
const WAITING: u32 = 200;
/// What lies less far from the beginning is found by reading.
const NEAR: i64 = 5_000_000_000;

pub(super) enum Reading {
    /// By a demuxer of GStreamer.
    Tracks(Box<Demuxed>),
    /// Without sound, from the beginning.
    Frames { reader: Box<Reader>, begins: i64, zero: i64 },
}

pub(super) struct Demuxed {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    video: gst_app::AppSink,
    sound: Option<gst_app::AppSink>,
    begins: i64,
    zero: i64,
    orientation: Option<Orientation>,
    ahead: VecDeque<Unit>,
    has_problem: bool,
    /// Of the video.
    caps: Option<gst::Caps>,
    inspector: Inspector,
    /// Latest times of video and sound.
    latest: (i64, i64),
    /// What the sound begins with.
    sound_caps: Option<gst::Caps>,
}

impl Drop for Demuxed {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// The sinks of the tracks that were found so far.
#[derive(Default)]
struct Sinks {
    video: Option<gst_app::AppSink>,
    sound: Option<gst_app::AppSink>,
    /// When the last one was found.
    found: Option<Instant>,
}

impl Sinks {
    /// The tracks of a file come all at once, and nobody says which is the last.
    fn are_all(&self) -> bool {
        self.found.is_some_and(|found| found.elapsed() > SETTLED)
    }
}

impl Reading {
    pub(super) fn open(input: Input, start: i64) -> Result<Self, DecodeError> {
        let begins = nanos(input.begins);
        if let Some(own) = &input.own {
            let reader = Reader::open(own, &input.tracks)?;
            let zero = reader.zero().unwrap_or(0);
            return Ok(Self::Frames { reader: Box::new(reader), begins, zero });
        }
        let mut demuxed = Demuxed::open(&input)?;
        if start - begins > NEAR {
            demuxed.seek(start - begins);
        }
        Ok(Self::Tracks(Box::new(demuxed)))
    }

    pub(super) fn has_sound(&self) -> bool {
        matches!(self, Self::Tracks(demuxed) if demuxed.sound_caps.is_some())
    }

    /// Description of the sound, if there is any.
    pub(super) fn sound(&self) -> Option<gst::Caps> {
        match self {
            Self::Tracks(demuxed) => demuxed.sound_caps.clone(),
            Self::Frames { .. } => None,
        }
    }

    pub(super) fn orientation(&self) -> Orientation {
        match self {
            Self::Tracks(demuxed) => demuxed.orientation(),
            Self::Frames { reader, .. } => reader.orientation(),
        }
    }

    /// `None`: the end, be it of the file or of what can be read of it.
    pub(super) fn next(&mut self) -> Result<Option<Unit>, DecodeError> {
        match self {
            Self::Tracks(demuxed) => Ok(demuxed.next()),
            Self::Frames { reader, begins, zero } => {
                let Some((packet, coded)) = reader.next()? else { return Ok(None) };
                let mut buffer = coded.buffer;
                let length = packet.duration.and_then(|length| u64::try_from(length).ok());
                buffer.make_mut().set_duration(length.map(gst::ClockTime::from_nseconds));
                let time = packet.pts - *zero + *begins;
                let (key, in_order) = (packet.key, packet.in_order);
                Ok(Some(Unit { kind: Kind::Video, time, key, in_order, buffer, caps: coded.caps }))
            }
        }
    }
}

impl Demuxed {
    fn open(input: &Input) -> Result<Self, DecodeError> {
        let pipeline = launch(&template::fill(template::CUT_READ, &[]))?;
        element::<gst::Element>(&pipeline, "input")?.set_property("location", &input.path);
        let sinks: Arc<Mutex<Sinks>> = Arc::default();
        connect(&pipeline, &element(&pipeline, "tracks")?, &sinks, &input.tracks);
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let failed = |bus: &gst::Bus| {
            let error = reported_error(bus, gst::ClockTime::ZERO);
            let text = error.map_or("no video track was found".to_owned(), |error| error.message().to_owned());
            DecodeError::Damaged(text)
        };
        if pipeline.set_state(gst::State::Playing).is_err() {
            let error = failed(&bus);
            let _ = pipeline.set_state(gst::State::Null);
            return Err(error);
        }
        let (opened, mut problem) = (Instant::now(), None);
        let (video, sound) = loop {
            let found = lock(&sinks);
            if let (Some(video), true) = (&found.video, found.are_all() || problem.is_some()) {
                break (video.clone(), found.sound.clone());
            }
            drop(found);
            if problem.is_some() || opened.elapsed() > OPENING {
                let _ = pipeline.set_state(gst::State::Null);
                let text = problem.map(|error: gst::glib::Error| error.message().to_owned());
                return Err(DecodeError::Damaged(text.unwrap_or("no video track was found".to_owned())));
            }
            problem = reported_error(&bus, GLANCE);
        };
        let has_problem = problem.is_some();
        let mut demuxed = Self {
            pipeline,
            bus,
            video,
            sound,
            begins: nanos(input.begins),
            zero: input.zero.unwrap_or(0),
            orientation: input.tracks.orientation,
            ahead: VecDeque::new(),
            has_problem,
            caps: None,
            inspector: Inspector::default(),
            latest: (i64::MIN, i64::MIN),
            sound_caps: None,
        };
        demuxed.find_start(input.zero);
        Ok(demuxed)
    }

    /// Reads ahead until all tracks have begun.
    fn find_start(&mut self, zero: Option<i64>) {
        let mut ahead = VecDeque::new();
        let begun = |ahead: &VecDeque<Unit>, kind| ahead.iter().any(|unit: &Unit| unit.kind == kind);
        while !(begun(&ahead, Kind::Video) && (self.sound.is_none() || begun(&ahead, Kind::Sound)))
            && ahead.len() < MOST_AHEAD
            && let Some(unit) = self.next()
        {
            ahead.push_back(unit);
        }
        let first = |kind| ahead.iter().find(|unit| unit.kind == kind).map(|unit| unit.time - self.begins);
        let start = first(Kind::Video).into_iter().chain(first(Kind::Sound)).min();
        self.zero = zero.or(start).unwrap_or(0);
        for unit in &mut ahead {
            unit.time -= self.zero;
        }
        let sound = ahead.iter().find(|unit| !unit.is_video());
        self.sound_caps = sound.map(|unit| unit.caps.clone());
        self.ahead = ahead;
    }

    /// Goes to the key frame before this time. Where that is not possible, everything is read.
    fn seek(&mut self, time: i64) {
        let place = super::clock_time(time + self.zero);
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        if self.pipeline.seek_simple(flags, place).is_ok() {
            self.ahead.clear();
            self.latest = (i64::MIN, i64::MIN);
        }
    }

    fn orientation(&self) -> Orientation {
        let mut told = None;
        if let Some(pad) = self.video.static_pad("sink") {
            pad.sticky_events_foreach(|event| {
                if let gst::EventView::Tag(event) = event.view()
                    && let Some(tag) = event.tag().get::<gst::tags::ImageOrientation>()
                {
                    told = Some(Orientation::from_tag(tag.get()));
                }
                std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
            });
        }
        self.orientation.or(told).unwrap_or_default()
    }

    fn next(&mut self) -> Option<Unit> {
        if let Some(unit) = self.ahead.pop_front() {
            return Some(unit);
        }
        let mut quiet = 0;
        loop {
            // What lies behind comes first, so that sound and pictures come together.
            let is_behind = self.sound.is_some() && self.latest.1 < self.latest.0;
            let first = if is_behind { Kind::Sound } else { Kind::Video };
            for kind in [first, first.other()] {
                if let Some(unit) = self.pull(kind, gst::ClockTime::ZERO) {
                    return Some(unit);
                }
            }
            if let Some(unit) = self.pull(first, GLANCE) {
                return Some(unit);
            }
            quiet += 1;
            self.has_problem |= reported_error(&self.bus, gst::ClockTime::ZERO).is_some();
            let has_ended = self.video.is_eos() && self.sound.as_ref().is_none_or(|sound| sound.is_eos());
            if has_ended || self.has_problem && quiet > GRACE || quiet > PATIENCE {
                return None;
            }
        }
    }

    /// The next unit of a track that has a time.
    fn pull(&mut self, kind: Kind, wait: gst::ClockTime) -> Option<Unit> {
        let sink = match kind {
            Kind::Video => Some(&self.video),
            Kind::Sound => self.sound.as_ref(),
        };
        let sink = sink?.clone();
        loop {
            let sample = sink.try_pull_sample(wait)?;
            if let Some(unit) = self.unit(kind, &sample) {
                let latest = if unit.is_video() { &mut self.latest.0 } else { &mut self.latest.1 };
                *latest = unit.time.max(*latest);
                return Some(unit);
            }
        }
    }

    fn unit(&mut self, kind: Kind, sample: &gst::Sample) -> Option<Unit> {
        let (buffer, caps) = (sample.buffer_owned()?, sample.caps_owned()?);
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let stamp = buffer.pts().or(buffer.dts())?.nseconds() as i64;
        let of = |time: Option<gst::ClockTime>| time.map_or(0, |time| time.nseconds() as i64);
        // Parsers are told of the start as the offset.
        let shown = stamp - of(segment.start()) - of(segment.offset()) + of(segment.time());
        let delta = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let key = kind == Kind::Video && self.is_key(&caps, &buffer, delta);
        let in_order = buffer.pts().is_some();
        let is_empty = buffer.size() == 0;
        let time = shown - self.zero + self.begins;
        (!is_empty).then_some(Unit { kind, time, key, in_order, buffer, caps })
    }
}

impl Demuxed {
    /// By what the frame says of itself: containers are not always right.
    fn is_key(&mut self, caps: &gst::Caps, buffer: &gst::Buffer, delta: bool) -> bool {
        if self.caps.as_ref() != Some(caps) {
            let structure = caps.structure(0);
            let record = structure.and_then(|fields| fields.get::<gst::Buffer>("codec_data").ok());
            let record = record.and_then(|record| record.into_mapped_buffer_readable().ok());
            self.inspector = Inspector::new(structure.and_then(codec), record.as_deref());
            self.caps = Some(caps.clone());
        }
        buffer.map_readable().is_ok_and(|data| self.inspector.look(&data, delta).key)
    }
}

/// Gives the first wanted video track and the first sound a sink each, and throws away the rest.
fn connect(pipeline: &gst::Pipeline, tracks: &gst::Element, sinks: &Arc<Mutex<Sinks>>, wanted: &Tracks) {
    let (found, graph, choice) = (Arc::clone(sinks), pipeline.downgrade(), wanted.clone());
    tracks.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let (Some(structure), Some(graph)) = (caps.structure(0), graph.upgrade()) else { return };
        let mut found = lock(&found);
        found.found = Some(Instant::now());
        let place = match kind_of(structure.name()) {
            TrackKind::Video if container_id(pad).is_none_or(|id| choice.is_wanted(id)) => Some(&mut found.video),
            TrackKind::Sound => Some(&mut found.sound),
            _ => None,
        };
        let sink: gst::Element = match place {
            Some(place @ None) => {
                let sink = gst_app::AppSink::builder().sync(false).max_buffers(WAITING).build();
                // One thread brings both tracks: a sink that waited for the other one to begin would wait for ever.
                sink.set_property("async", false);
                *place = Some(sink.clone());
                sink.upcast()
            }
            _ => match gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build() {
                Ok(sink) => sink,
                Err(_) => return,
            },
        };
        drop(found);
        if graph.add(&sink).is_ok()
            && sink.sync_state_with_parent().is_ok()
            && let Some(target) = sink.static_pad("sink")
        {
            let _ = pad.link(&target);
        }
    });
    if let Some(bin) = tracks.dynamic_cast_ref::<gst::Bin>() {
        let program = wanted.program();
        let learned: Arc<Mutex<Found>> = Arc::default();
        bin.connect_deep_element_added(move |_, _, element| {
            if let Some(program) = program.filter(|_| is_called(element, "tsdemux")) {
                element.set_property("program-number", i32::from(program));
            }
            if element.factory().is_some_and(|made_by| libav::is_demuxer(&made_by.name())) {
                libav::watch(element, || {});
            }
            watch_parser(element, &learned);
        });
    }
}
