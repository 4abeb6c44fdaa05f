//! A live stream to its coded frames.

use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::coded::{Inspector, Said};
use super::super::live::LiveRequest;
use super::super::plan::Packet;
use super::super::timeline::{Stamp, Timeline};
use super::super::tracks::Tracks;
use super::super::{DecodeError, LiveCause, Probe, template};
use super::connect::{Found, connect_tracks};
use super::decoders::remedy;
use super::reader::{Coded, codec};
use super::{facts, lock, reported_error};
use crate::secret::{Secret, hide};

/// How long to wait for a frame before looking whether something else happened.
const GLANCE: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// Properties that take the address, by the elements that have them.
const ADDRESS: [&str; 3] = ["location", "uri", "device"];
/// The same for user and password.
const LOGIN: [(&str, &str); 2] = [("user-id", "user-pw"), ("username", "password")];
/// From the epoch of NTP to that of Unix, in seconds.
const NTP_EPOCH: i64 = 2_208_988_800;
/// Packet type of a sender report (RFC 3550).
const SENDER_REPORT: u8 = 200;

/// A coded frame with its time on the stream's own clock.
pub(in crate::decode) struct LiveFrame {
    pub(in crate::decode) packet: Packet,
    pub(in crate::decode) coded: Coded,
    /// What is to be added to get Unix time, in nanoseconds, by the sender's clock if it told.
    pub(in crate::decode) sender: Option<i64>,
}

pub(in crate::decode) enum Pulled {
    Frame(LiveFrame),
    /// None came within a short while.
    Nothing,
    Lost(DecodeError),
}

pub(in crate::decode) struct LiveReader {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    bus: gst::Bus,
    found: Arc<Mutex<Found>>,
    sender: Arc<Mutex<Option<i64>>>,
    timeline: Timeline,
    /// Description as it came, and as it goes on.
    caps: Option<(gst::Caps, gst::Caps)>,
    inspector: Inspector,
    /// What must not show in messages.
    secrets: Vec<Secret>,
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl LiveReader {
    /// Returns before the stream has answered.
    pub(in crate::decode) fn open(request: &LiveRequest) -> Result<Self, DecodeError> {
        let mut secrets = request.uri.secrets();
        secrets.extend(request.login.iter().flat_map(|login| [login.user.clone(), login.password.clone()]));
        let pipeline = launch_template(&template::fill(&request.template, &[]))?;
        if let Some(input) = pipeline.by_name("input") {
            address(&input, request);
        }
        let sink = pipeline.by_name("frames").and_then(|sink| sink.downcast::<gst_app::AppSink>().ok());
        let sink = sink.ok_or_else(|| DecodeError::Setup("the template has no appsink name=frames".to_owned()))?;
        let found: Arc<Mutex<Found>> = Arc::default();
        if let Some(tracks) = pipeline.by_name("tracks") {
            if tracks.factory().is_none_or(|made_by| made_by.name() != "parsebin") {
                return Err(DecodeError::Setup("the element called tracks is no parsebin".to_owned()));
            }
            connect_tracks(&pipeline, &tracks, &sink, &found, &Tracks::default());
        }
        let sender: Arc<Mutex<Option<i64>>> = Arc::default();
        listen_to_sender(&pipeline, &sender);
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let reader = Self {
            pipeline,
            sink,
            bus,
            found,
            sender,
            timeline: Timeline::default(),
            caps: None,
            inspector: Inspector::default(),
            secrets,
        };
        if reader.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(reader.problem().unwrap_or_else(|| lost("it cannot be begun")));
        }
        Ok(reader)
    }

    pub(in crate::decode) fn probe(&self, first: &Coded) -> Probe {
        let pad = self.sink.static_pad("sink").expect("a sink has a sink pad");
        let (mut probe, _) = facts::read(&pad, &first.caps, None, None, None);
        // The description of a camera that was never told the time.
        probe.recorded_at_ms = None;
        probe.tracks = lock(&self.found).tracks.clone();
        probe
    }

    pub(in crate::decode) fn pull(&mut self) -> Pulled {
        if let Some(sample) = self.sink.try_pull_sample(GLANCE) {
            return match self.take(&sample) {
                Ok(Some(frame)) => Pulled::Frame(frame),
                Ok(None) => Pulled::Nothing,
                Err(error) => Pulled::Lost(error),
            };
        }
        if let Some(error) = self.problem() {
            return Pulled::Lost(error);
        }
        if self.sink.is_eos() {
            let detail = "its sender closed it".to_owned();
            return Pulled::Lost(DecodeError::Live { cause: LiveCause::Ended, detail });
        }
        Pulled::Nothing
    }

    fn take(&mut self, sample: &gst::Sample) -> Result<Option<LiveFrame>, DecodeError> {
        let (Some(buffer), Some(raw)) = (sample.buffer_owned(), sample.caps_owned()) else { return Ok(None) };
        if buffer.size() == 0 {
            return Ok(None);
        }
        let caps = self.describe(raw)?;
        let delta = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let said = buffer.map_readable().map(|data| self.inspector.look(&data, delta));
        let Said { key, hidden, disposable } = said.unwrap_or_default();
        let nanos = |time: gst::ClockTime| i64::try_from(time.nseconds()).ok();
        let packet = self.timeline.place(Stamp {
            pts: buffer.pts().and_then(nanos),
            dts: buffer.dts().and_then(nanos),
            duration: buffer.duration().and_then(nanos).filter(|_| !facts::has_absurd_rate(&caps)),
            key,
            shown: !hidden,
            bytes: buffer.size(),
            in_order: true,
            disposable,
            listed: self.inspector.lists_references() && !disposable,
            closed: false,
        });
        Ok(Some(LiveFrame { packet, coded: Coded { buffer, caps }, sender: *lock(&self.sender) }))
    }

    /// An error: it goes on as something else.
    fn describe(&mut self, raw: gst::Caps) -> Result<gst::Caps, DecodeError> {
        if let Some((known, caps)) = &self.caps
            && *known == raw
        {
            return Ok(caps.clone());
        }
        if let Some((known, _)) = &self.caps
            && coding(known) != coding(&raw)
        {
            let detail = format!("from {} to {}", coding(known), coding(&raw));
            return Err(DecodeError::Live { cause: LiveCause::Changed, detail });
        }
        let caps = raw.clone();
        if let Some(structure) = caps.structure(0) {
            let record = structure.get::<gst::Buffer>("codec_data").ok();
            let record = record.and_then(|record| record.into_mapped_buffer_readable().ok());
            let inspector = Inspector::new(codec(structure), record.as_deref());
            self.inspector = inspector.goes_on_from(&self.inspector);
        }
        self.timeline.set_nominal(facts::nominal_step(&caps));
        self.caps = Some((raw, caps.clone()));
        Ok(caps)
    }

    /// What went wrong, without secrets.
    fn problem(&self) -> Option<DecodeError> {
        let error = reported_error(&self.bus, gst::ClockTime::ZERO)?;
        let text = hide(error.message(), &self.secrets);
        let missing = lock(&self.found).without_plugin.clone();
        if let Some(codec) = missing.filter(|_| !lock(&self.found).connected) {
            return Some(DecodeError::NoDecoder { codec, remedy: remedy() });
        }
        if error.matches(gst::CoreError::MissingPlugin) {
            return Some(DecodeError::Setup(text));
        }
        let refused = error.matches(gst::ResourceError::NotAuthorized);
        let cause = if refused { LiveCause::Refused } else { LiveCause::Unreachable };
        Some(DecodeError::Live { cause, detail: text })
    }
}

/// A template of the user's own may have secrets in it, so no error quotes it.
fn launch_template(graph: &str) -> Result<gst::Pipeline, DecodeError> {
    let wrong = |problem: &str| DecodeError::Setup(format!("the template of this stream cannot be used: {problem}"));
    let built = gst::parse::launch(graph).map_err(|error| match error.kind::<gst::ParseError>() {
        Some(gst::ParseError::NoSuchElement) => wrong(&format!("{error}; install the GStreamer plug-in that has it")),
        _ => wrong("a property or a link in it is wrong"),
    })?;
    built.downcast().map_err(|_| wrong("it is a single element"))
}

fn lost(detail: &str) -> DecodeError {
    DecodeError::Live { cause: LiveCause::Unreachable, detail: detail.to_owned() }
}

/// Codec and size, for comparison and for people.
fn coding(caps: &gst::Caps) -> String {
    let structure = caps.structure(0);
    let name = structure.map(|structure| structure.name().to_string()).unwrap_or_default();
    let side = |name: &str| structure.and_then(|structure| structure.get::<i32>(name).ok()).unwrap_or(0);
    format!("{name} {}x{}", side("width"), side("height"))
}

/// Tells the element that connects where to, and who asks. They are properties and no part of the launch text, so no
/// error quotes them.
fn address(input: &gst::Element, request: &LiveRequest) {
    let uri = request.uri.expose();
    if let Some(name) = ADDRESS.iter().find(|name| input.has_property(name)) {
        let value = if *name == "device" { uri.split_once("://").map_or(uri, |(_, path)| path) } else { uri };
        input.set_property(name, value);
    }
    if let Some(login) = &request.login
        && let Some((user, password)) = LOGIN.iter().find(|(user, _)| input.has_property(user))
    {
        input.set_property(user, login.user.expose());
        input.set_property(password, login.password.expose());
    }
    // Of an RTSP session only the video is asked for.
    if input.factory().is_some_and(|made_by| made_by.name() == "rtspsrc") {
        input.connect("select-stream", false, |values| {
            let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let media = caps.as_ref().and_then(|caps| caps.structure(0)?.get::<&str>("media").ok().map(str::to_owned));
            Some((media.as_deref().is_none_or(|media| media == "video")).to_value())
        });
    }
}

/// Notes what RTP's sender reports say: which wall-clock time belongs to which time stamp.
fn listen_to_sender(pipeline: &gst::Pipeline, sender: &Arc<Mutex<Option<i64>>>) {
    let sender = sender.clone();
    pipeline.connect_deep_element_added(move |_, _, element| {
        if element.factory().is_some_and(|made_by| made_by.name() == "rtpjitterbuffer") {
            let sender = sender.clone();
            element.connect("handle-sync", false, move |values| {
                let told = values.get(1).and_then(|value| value.get::<gst::Structure>().ok());
                if let Some(offset) = told.as_ref().and_then(|told| reported_offset(told)) {
                    *lock(&sender) = Some(offset);
                }
                None
            });
        }
    });
}

/// From time stamps as the jitter buffer gives them to Unix time.
fn reported_offset(told: &gst::StructureRef) -> Option<i64> {
    let number = |name: &str| told.get::<u64>(name).ok().and_then(|number| i64::try_from(number).ok());
    let rate = i64::from(told.get::<u32>("clock-rate").ok().filter(|rate| *rate > 0)?);
    let behind = number("sr-ext-rtptime")?.checked_sub(number("base-rtptime")?)?;
    let stamp = number("base-time")? + (i128::from(behind) * 1_000_000_000 / i128::from(rate)) as i64;
    let report = told.get::<gst::Buffer>("sr-buffer").ok()?;
    let report = report.map_readable().ok()?;
    let word =
        |at: usize| report.get(at..at + 4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    if report.get(1) != Some(&SENDER_REPORT) {
        return None;
    }
    let (seconds, fraction) = (i64::from(word(8)?), i64::from(word(12)?));
    let unix = (seconds - NTP_EPOCH) * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32);
    Some(unix - stamp)
}
