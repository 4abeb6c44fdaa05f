//! Keeps the coded frames of a live stream as they are, in short segments.
//!
//! The thread that reads the connection calls this and must not wait: frames queue up in front of the file, and where the
//! disk is too slow for them, all up to the next key frame are left out, which is said.

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::live::Recording;
use super::super::plan::Packet;
use super::super::template;
use super::reader::Coded;
use super::{element, launch};
use crate::footage::{self, Footage};
use crate::source::stream::LiveHour;

/// Bytes that may wait for the disk.
const QUEUE: u64 = 32 << 20;

/// Parsers by the codec's name; without one it cannot be kept.
const PARSERS: [(&str, &str); 8] = [
    ("video/x-h264", "h264parse"),
    ("video/x-h265", "h265parse"),
    ("video/x-av1", "av1parse"),
    ("video/x-vp8", "identity"),
    ("video/x-vp9", "vp9parse"),
    ("video/mpeg,mpegversion=2", "mpegvideoparse"),
    ("video/mpeg,mpegversion=4", "mpeg4videoparse"),
    ("image/jpeg", "identity"),
];

pub(in crate::decode) struct Recorder {
    recording: Recording,
    footage: Footage,
    current: Option<Segment>,
    /// Segments that are being completed.
    closing: Vec<Segment>,
    trouble: Option<String>,
}

struct Segment {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    bus: gst::Bus,
    caps: gst::Caps,
    /// Time of its first frame, to the millisecond as its name has it, in nanoseconds.
    start: i64,
}

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Recorder {
    pub(in crate::decode) fn new(recording: Recording) -> Self {
        let footage = Footage::new(recording.dir.clone());
        Self { recording, footage, current: None, closing: Vec::new(), trouble: None }
    }

    /// Why frames are not kept at the moment.
    pub(in crate::decode) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Takes the next frame, whose time is that of the wall clock.
    pub(in crate::decode) fn push(&mut self, packet: &Packet, coded: &Coded) {
        self.closing.retain(|segment| !segment.is_over());
        if packet.key && self.current.as_ref().is_none_or(|segment| self.is_due(segment, packet, coded)) {
            self.close();
            match self.open(packet, coded) {
                Ok(segment) => (self.current, self.trouble) = (Some(segment), None),
                Err(problem) => self.trouble = Some(format!("it is not recorded: {problem}")),
            }
        }
        let Some(segment) = &self.current else { return };
        if let Some(problem) = segment.problem() {
            self.trouble = Some(format!("it is not recorded: {problem}"));
            self.current = None;
            return;
        }
        if segment.source.current_level_bytes() > QUEUE {
            self.trouble = Some("parts of it are not recorded: the disk is too slow".to_owned());
            self.close();
            return;
        }
        // Shown before the key frame that the segment begins with, and not whole without the one before.
        let Ok(time) = u64::try_from(packet.pts - segment.start) else { return };
        let mut buffer = coded.buffer.clone();
        let fields = buffer.make_mut();
        fields.set_pts(gst::ClockTime::from_nseconds(time));
        fields.set_dts(gst::ClockTime::NONE);
        // Fails only if the segment is over, which is noticed at the next frame.
        let _ = segment.source.push_buffer(buffer);
    }

    fn is_due(&self, segment: &Segment, packet: &Packet, coded: &Coded) -> bool {
        let hour = |nanos: i64| LiveHour::at("", 0, time_of(nanos)).hour;
        time_of(packet.pts - segment.start) >= self.recording.segment
            || hour(packet.pts) != hour(segment.start)
            || coded.caps != segment.caps
    }

    fn close(&mut self) {
        if let Some(segment) = self.current.take() {
            let _ = segment.source.end_of_stream();
            self.closing.push(segment);
        }
    }

    fn open(&self, packet: &Packet, coded: &Coded) -> Result<Segment, String> {
        let Recording { source, epoch, least_free, .. } = &self.recording;
        let parser = parser_of(&coded.caps).ok_or_else(|| format!("no recording can hold {}", coded.caps))?;
        let start = Duration::from_millis(u64::try_from(packet.pts / 1_000_000).unwrap_or(0));
        let path = self.footage.segment(source, *epoch, start);
        let folder = path.parent().unwrap_or(self.footage.dir());
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let free = footage::free(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if free < *least_free {
            return Err(format!("less than {:.1} GiB are free", *least_free as f64 / f64::from(1 << 30)));
        }
        if path.exists() {
            // The clock was set back: what it shows stays.
            return Err(format!("{} is there already", path.display()));
        }
        let words = |error: super::DecodeError| error.to_string();
        let pipeline = launch(&template::fill(template::RECORD, &[("parser", parser)])).map_err(words)?;
        let source: gst_app::AppSrc = element(&pipeline, "packets").map_err(words)?;
        element::<gst::Element>(&pipeline, "file").map_err(words)?.set_property("location", &path);
        source.set_caps(Some(&coded.caps));
        source.set_max_bytes(0);
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let start = i64::try_from(start.as_nanos()).unwrap_or(i64::MAX);
        let segment = Segment { pipeline, source, bus, caps: coded.caps.clone(), start };
        if segment.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(segment.problem().unwrap_or_else(|| "the segment cannot be begun".to_owned()));
        }
        Ok(segment)
    }
}

impl Segment {
    fn problem(&self) -> Option<String> {
        let message = self.bus.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(error.error().message().to_owned()),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        self.bus.pop_filtered(&[gst::MessageType::Eos, gst::MessageType::Error]).is_some()
    }
}

fn parser_of(caps: &gst::CapsRef) -> Option<&'static str> {
    let fits = |kind: &str| kind.parse::<gst::Caps>().is_ok_and(|kind| kind.can_intersect(caps));
    PARSERS.iter().find(|(kind, _)| fits(kind)).map(|(_, parser)| *parser)
}

fn time_of(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
