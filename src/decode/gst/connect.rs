//! Which of the tracks that a demuxer finds goes on, and what is learned on the way.

use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::tracks::{Tracks, codec_name};
use super::super::{Track, TrackKind};
use super::start::{Sounds, time_at};
use super::{libav, lock, rare};

/// How far before the start of what is shown a frame may lie and still count as its first (rounding of time scales).
const START_ROUNDING: i128 = 1_000_000;

/// Added to the end of what is shown, see [`watch_parser`]: later than any true time.
const BEYOND: gst::ClockTime = gst::ClockTime::from_nseconds(1 << 61);

/// What has been learned while the container was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) container: Option<String>,
    /// There is no container: coded frames lie in the file one behind the other.
    pub(super) bare: bool,
    /// As the graph tells of them, one by one.
    pub(super) tracks: Vec<Track>,
    pub(super) sounds: Sounds,
    /// Its units have start codes, whatever the demuxer says.
    pub(super) byte_stream: bool,
    /// Its demuxer cuts by means of segments, as that of MP4 follows edit lists.
    pub(super) cut: bool,
    pub(super) without_plugin: Option<String>,
    pub(super) connected: bool,
    /// A track that nobody wants came to its end.
    pub(super) others_ended: bool,
    /// End of what has been read of these tracks so far, on the container's clock.
    pub(super) others_reach: Option<gst::ClockTime>,
    /// The end of the video arrived at its parser.
    pub(super) ended: bool,
}

impl Found {
    /// Of a file of this kind that has one track and needs no demuxer.
    pub(super) fn single(media_type: &str) -> Self {
        let track = Track { kind: TrackKind::Video, codec: codec_name(media_type), taken: true, ..Track::default() };
        Self { container: Some(media_type.to_owned()), tracks: vec![track], connected: true, ..Self::default() }
    }
}

/// Connects the wanted video track to the sink and notes what else there is. The other tracks lead nowhere, but they are
/// connected too: some demuxers give up at the first packet that nobody takes, before the video has begun.
pub(super) fn connect_tracks(
    pipeline: &gst::Pipeline,
    tracks: &gst::Element,
    sink: &gst_app::AppSink,
    found: &Arc<Mutex<Found>>,
    wanted: &Tracks,
) {
    let target = sink.static_pad("sink").expect("a sink has a sink pad");
    let (learned, choice, graph) = (found.clone(), wanted.clone(), pipeline.downgrade());
    tracks.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(name) = caps.structure(0).map(|s| s.name().to_string()) else { return };
        let mut found = lock(&learned);
        let still = found.container.as_deref().is_some_and(|kind| kind.starts_with("image/") && kind != "image/gif");
        let kind = kind_of(&name);
        let index = found.tracks.len() as u32;
        let is_wanted = match (choice.wanted, choice.all.is_empty()) {
            (None, _) => true,
            (Some(wanted), true) => wanted == index,
            // A demuxer that keeps the numbers to itself has been given a single track.
            (Some(_), false) => container_id(pad).is_none_or(|id| choice.is_wanted(id)),
        };
        let taken = kind == TrackKind::Video && !still && is_wanted && !target.is_linked() && pad.link(&target).is_ok();
        found.connected |= taken;
        if kind == TrackKind::Sound {
            found.sounds.expect(index as usize);
        }
        found.tracks.push(Track { id: index, kind, codec: codec_name(&name), taken, ..Track::default() });
        drop(found);
        if let (false, Some(graph)) = (taken, graph.upgrade()) {
            swallow(&graph, pad, &learned, kind, index as usize);
        }
    });
    let learned = found.clone();
    tracks.connect("unknown-type", false, move |values| {
        let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
        if let Some(structure) = caps.as_ref().and_then(|caps| caps.structure(0))
            && (structure.name().starts_with("video/") || structure.name().starts_with("image/"))
        {
            lock(&learned).without_plugin.get_or_insert_with(|| structure.name().to_string());
        }
        None
    });
    // Only video needs a parser, if there is one for it; whatever else there is must not hold it up.
    tracks.connect("autoplug-continue", false, move |values| {
        let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
        let name = caps.as_ref().and_then(|caps| caps.structure(0)).map(|s| s.name().to_string()).unwrap_or_default();
        // GStreamer's parser of VP9 changes the times of frames that follow on a hidden one at the same time. It is needed
        // only where nothing else tells how large the pictures are.
        let has_size = caps.as_ref().and_then(|caps| caps.structure(0)).is_some_and(|s| s.has_field("width"));
        let is_coded = name == "video/x-vp9" && has_size || caps.as_ref().is_some_and(|caps| rare::is_known(caps));
        let sound_or_text = ["audio/", "text/", "subpicture/", "closedcaption/", "application/x-ssa"];
        let ends = is_coded || sound_or_text.iter().any(|kind| name.starts_with(kind)) && !is_tagged_container(&name);
        Some((!ends).to_value())
    });
    let learned = found.clone();
    if let Some(bin) = tracks.dynamic_cast_ref::<gst::Bin>() {
        bin.children().iter().for_each(|element| watch_type(element, found));
        let program = wanted.program();
        bin.connect_deep_element_added(move |_, _, element| {
            if let Some(program) = program.filter(|_| is_called(element, "tsdemux")) {
                element.set_property("program-number", i32::from(program));
            }
            lock(&learned).cut |= is_called(element, "qtdemux");
            if is_called(element, "mpeg4videoparse") {
                // Without it nothing comes of a stream whose first description is damaged; its decoder may do without.
                element.set_property("drop", false);
            }
            if element.factory().is_some_and(|made_by| libav::is_demuxer(&made_by.name())) {
                let learned = learned.clone();
                libav::watch(element, move || lock(&learned).others_ended = true);
            }
            watch_type(element, &learned);
            watch_parser(element, &learned);
        });
    }
}

/// Sound in a container of its own: there may be video within (Ogg).
fn is_tagged_container(name: &str) -> bool {
    name == "audio/ogg"
}

pub(super) fn is_called(element: &gst::Element, factory: &str) -> bool {
    element.factory().is_some_and(|made_by| made_by.name() == factory)
}

pub(super) fn kind_of(caps_name: &str) -> TrackKind {
    if ["application/x-ssa", "application/x-ass"].contains(&caps_name) {
        return TrackKind::Text;
    }
    match caps_name.split('/').next().unwrap_or_default() {
        "video" | "image" => TrackKind::Video,
        "audio" => TrackKind::Sound,
        "text" | "subpicture" | "closedcaption" => TrackKind::Text,
        _ => TrackKind::Other,
    }
}

/// The container's number for the track of this pad. Demuxers put it behind the last slash of the stream's id: in decimal
/// those of MP4 and Matroska (there a colon and another number follow), in eight hexadecimal digits that of transport
/// streams.
pub(super) fn container_id(pad: &gst::Pad) -> Option<u32> {
    let id = pad.stream_id()?;
    let number = id.rsplit('/').next()?.split(':').next()?;
    if number.len() == 8 { u32::from_str_radix(number, 16).ok() } else { number.parse().ok() }
}

/// Connects a track that nobody wants to a sink that throws it away, and notes when it begins.
fn swallow(graph: &gst::Pipeline, pad: &gst::Pad, found: &Arc<Mutex<Found>>, kind: TrackKind, index: usize) {
    let sink = gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build();
    let Ok(sink) = sink else { return };
    if graph.add(&sink).is_ok()
        && let Some(target) = sink.static_pad("sink")
        && sink.sync_state_with_parent().is_ok()
    {
        let learned = found.clone();
        target.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER, move |_, info| {
            let mut found = lock(&learned);
            found.others_ended |= info.event().is_some_and(|event| event.type_() == gst::EventType::Eos);
            if let Some((buffer, pts)) = info.buffer().and_then(|buffer| Some((buffer, buffer.pts()?))) {
                found.others_reach = found.others_reach.max(Some(pts + buffer.duration().unwrap_or_default()));
            }
            gst::PadProbeReturn::Ok
        });
        let learned = found.clone();
        target.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let mut found = lock(&learned);
            let Some(time) = info.buffer().and_then(|buffer| time_at(pad, buffer, found.cut)) else {
                return gst::PadProbeReturn::Ok;
            };
            match kind {
                TrackKind::Sound | TrackKind::Video => found.sounds.begin(index, time),
                TrackKind::Text => found.sounds.begin_text(time),
                TrackKind::Picture | TrackKind::Other => {}
            }
            gst::PadProbeReturn::Remove
        });
        let _ = pad.link(&target);
    }
}

/// The element that recognises the file says what it is.
fn watch_type(element: &gst::Element, found: &Arc<Mutex<Found>>) {
    if !is_called(element, "typefind") {
        return;
    }
    let found = found.clone();
    element.connect("have-type", false, move |values| {
        let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
        if let Some(structure) = caps.as_ref().and_then(|caps| caps.structure(0)) {
            let mut found = lock(&found);
            if found.container.is_none() {
                found.container = Some(structure.name().to_string());
                found.bare = is_bare(structure);
            }
        }
        None
    });
}

/// Whether this kind of file is a stream of coded video and nothing else.
fn is_bare(structure: &gst::StructureRef) -> bool {
    let is_mpeg_system = || structure.get::<bool>("systemstream") == Ok(true);
    match structure.name().as_str() {
        "video/x-h264" | "video/x-h265" => true,
        "video/mpeg" => !is_mpeg_system(),
        _ => false,
    }
}

/// Parsers throw away what lies before the part to be shown, even the key frame that it needs. So they are told that all
/// is to be shown, in a way that leaves the clock as it was: the segment starts at zero, and the true start becomes its
/// offset. What lies behind that part may be needed too, by the last frames shown, and sinks would throw it away: so the
/// end is put off. [`place`] tells all of it apart.
pub(super) fn watch_parser(element: &gst::Element, found: &Arc<Mutex<Found>>) {
    let is_parser = |factory: gst::ElementFactory| factory.has_type(gst::ElementFactoryType::PARSER);
    let Some(pad) = element.static_pad("sink").filter(|_| element.factory().is_some_and(is_parser)) else { return };
    let found = found.clone();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(event) = info.event() else { return gst::PadProbeReturn::Ok };
        match event.view() {
            gst::EventView::Eos(_) => lock(&found).ended = true,
            gst::EventView::Caps(caps) if lock(&found).byte_stream => {
                let mut caps = caps.caps_owned();
                if let Some(structure) = caps.make_mut().structure_mut(0) {
                    structure.set("stream-format", "byte-stream");
                    structure.remove_field("codec_data");
                }
                let event = gst::event::Caps::builder(&caps).seqnum(event.seqnum()).build();
                info.data = Some(gst::PadProbeData::Event(event));
            }
            gst::EventView::Segment(segment) => {
                if let Some(times) = segment.segment().downcast_ref::<gst::ClockTime>() {
                    let mut whole = times.clone();
                    whole.set_start(gst::ClockTime::ZERO);
                    whole.set_offset(times.start().unwrap_or_default());
                    whole.set_stop(times.stop().map(|stop| stop.saturating_add(BEYOND)));
                    let event = gst::event::Segment::builder(&whole).seqnum(event.seqnum()).build();
                    info.data = Some(gst::PadProbeData::Event(event));
                }
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Time on the clock of a demuxer that cuts by means of segments (else without one: times are those of the container), and
/// whether it lies in what is to be shown.
pub(super) fn place(
    time: Option<gst::ClockTime>,
    segment: Option<&gst::FormattedSegment<gst::ClockTime>>,
) -> (Option<i64>, bool) {
    let nanos = |time: gst::ClockTime| i128::from(time.nseconds());
    let (Some(time), Some(segment)) = (time, segment) else {
        return (time.and_then(|time| i64::try_from(nanos(time)).ok()), true);
    };
    let start = nanos(segment.start().unwrap_or_default()) + nanos(segment.offset().unwrap_or_default());
    let stop = segment.stop().map(|stop| stop.checked_sub(BEYOND).unwrap_or(stop));
    let shown = nanos(time) + START_ROUNDING >= start && stop.is_none_or(|stop| time < stop);
    let base = nanos(segment.base().unwrap_or_default());
    (i64::try_from(nanos(time) - start + base).ok(), shown)
}
