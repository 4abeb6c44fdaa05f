//! Coded frames and sound into a file, as they are or encoded anew.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::super::cut::{Copied, Cut, CutRequest};
use super::super::super::pixels::{Orientation, shown_size};
use super::super::super::{DecodeError, template};
use super::super::{decoders_for, element, launch, lock, reported_error};
use super::input::Reading;
use super::{Kind, Unit, clock_time, nanos};

/// Bytes that may wait to be written.
const WAITING: u64 = 48 << 20;
const GLANCE: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// Sound that stays behind its pictures by so much has ended: who writes the file would wait for it for ever.
const ENDED_SOUND: i64 = 10_000_000_000;
/// Units of a second in the file.
const VIDEO_TIMESCALE: u32 = 90_000;
/// A frame that nobody says the length of.
const USUAL_LENGTH: i64 = 40_000_000;

/// A medium may begin so much before its zero, by rounding.
const EARLY: i64 = 100_000_000;

/// H.264 that browsers decode: not that with finer colours or more bits.
const PROFILES: [&str; 6] =
    ["constrained-baseline", "baseline", "main", "high", "constrained-high", "progressive-high"];

/// Sound of any other kind is encoded anew.
const AS_AAC: &str = "decodebin ! audioconvert ! audioresample ! audio/x-raw,channels=[1,2] ! avenc_aac ! aacparse";

pub(super) struct Output {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    video: Track,
    sound: Option<Track>,
    encoded: bool,
    /// Where the file begins and ends in the medium.
    begins: i64,
    end: i64,
    /// Time of the key frame that the decoder begins with.
    key: i64,
    /// There are pictures behind the end, so the last one before it is shown until then.
    goes_on: Arc<AtomicBool>,
    /// End of the last picture.
    ends: Arc<AtomicI64>,
    /// Times of coded frames of which no picture has come, where it is unknown which belongs to which.
    coming: Arc<Mutex<BTreeSet<i64>>>,
    /// What was written, to tell that work goes on.
    written: Arc<AtomicU64>,
}

struct Track {
    source: gst_app::AppSrc,
    caps: Option<gst::Caps>,
    latest: i64,
    is_over: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Output {
    /// `units`: what the file begins with, from a key frame on.
    pub(super) fn begin(
        request: &CutRequest,
        units: &[Unit],
        reading: &Reading,
        threads: u32,
    ) -> Result<Self, DecodeError> {
        let orientation = reading.orientation();
        let nothing = || DecodeError::Damaged("there is no picture at this time".to_owned());
        let first = units.iter().find(|unit| unit.is_video()).ok_or_else(nothing)?;
        let (key, start) = (first.time, nanos(request.start));
        // Frames before the beginning of the medium are there to be decoded, not to be shown.
        // And GStreamer 1.22 writes no MP4 file that says how its pictures are to be turned.
        let can_copy = key >= -EARLY && orientation == Orientation::default();
        let copied = request.copy.filter(|_| can_copy).and_then(|which| parser(&first.caps, which));
        let encoding = request.encoding;
        let end = match copied {
            Some(_) => nanos(request.end),
            None => nanos(request.end).min(start.saturating_add(nanos(encoding.longest))),
        };
        let begins = if copied.is_some() { key } else { start.max(key) };
        let video = match copied {
            Some(parser) => parser.to_owned(),
            None => {
                let decoders = decoders_for(&first.caps)?;
                let decoder = decoders.first().ok_or_else(nothing)?;
                template::fill(template::CUT_ENCODE, &[("decoder", decoder)])
            }
        };
        let sound = reading.sound().filter(|_| encoding.sound || copied.is_some());
        let sound = sound.map_or_else(String::new, |caps| {
            format!("appsrc name=sound format=time ! {} ! mux.", sound_parser(&caps).unwrap_or(AS_AAC))
        });
        let graph = template::fill(template::CUT_WRITE, &[("video", &video), ("sound", &sound)]);
        let pipeline = launch(&graph)?;
        element::<gst::Element>(&pipeline, "output")?.set_property("location", &request.output);
        let mut beside = request.output.clone().into_os_string();
        beside.push(".moov");
        let mux: gst::Element = element(&pipeline, "mux")?;
        mux.set_property("faststart-file", std::path::PathBuf::from(beside));
        let track = |name: &str| -> Result<Track, DecodeError> {
            let source: gst_app::AppSrc = element(&pipeline, name)?;
            source.set_max_bytes(0);
            Ok(Track { source, caps: None, latest: i64::MIN, is_over: false })
        };
        let (video, sound) = (track("video")?, if sound.is_empty() { None } else { Some(track("sound")?) });
        let (ends, written) = (Arc::new(AtomicI64::new(begins)), Arc::<AtomicU64>::default());
        let coming = Arc::default();
        for pad in mux.sink_pads() {
            // Where no frame rate is known it would count nanoseconds, of which 32 bits hold four seconds.
            if pad.name().starts_with("video") && pad.has_property_with_type("trak-timescale", u32::static_type()) {
                pad.set_property("trak-timescale", VIDEO_TIMESCALE);
            }
            let written = Arc::clone(&written);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                written.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let output = Self {
            pipeline,
            bus,
            video,
            sound,
            encoded: copied.is_none(),
            begins,
            end,
            key,
            ends,
            coming,
            goes_on: Arc::default(),
            written,
        };
        if output.encoded {
            output.set_encoding(request, first, orientation, threads, first_shown(units, start))?;
        }
        if output.pipeline.set_state(gst::State::Playing).is_err() {
            let error = reported_error(&output.bus, GLANCE);
            let text = error.map_or_else(String::new, |error| format!(": {}", error.message()));
            return Err(DecodeError::Setup(format!("the file cannot be written{text}")));
        }
        Ok(output)
    }

    /// Sets what the graph of the encoder leaves open. `first_shown`: the frame that the file begins with.
    fn set_encoding(
        &self,
        request: &CutRequest,
        first: &Unit,
        orientation: Orientation,
        threads: u32,
        first_shown: i64,
    ) -> Result<(), DecodeError> {
        let (encoding, pipeline) = (request.encoding, &self.pipeline);
        let decoder: gst::Element = element(pipeline, "decoder")?;
        if decoder.has_property_with_type("max-threads", i32::static_type()) {
            decoder.set_property("max-threads", threads as i32);
        }
        element::<gst::Element>(pipeline, "turn")?.set_property_from_str("video-direction", direction(orientation));
        if let Some(rate) = encoding.most_frames {
            element::<gst::Element>(pipeline, "rate")?.set_property("max-rate", rate as i32);
        }
        let size = size(&first.caps, orientation, encoding.most_width);
        element::<gst::Element>(pipeline, "size")?.set_property("caps", size);
        let encoder: gst::Element = element(pipeline, "encoder")?;
        let (speed, quantizer) = if encoding.careful { ("veryfast", 20_u32) } else { ("ultrafast", 25) };
        encoder.set_property_from_str("speed-preset", speed);
        encoder.set_property("quantizer", quantizer);
        encoder.set_property("threads", threads);
        let pad = decoder.static_pad("src").ok_or_else(|| DecodeError::Setup("a decoder without output".into()))?;
        let (key, begins, end) = (self.key, self.begins, self.end);
        let (ends, coming, goes_on) = (Arc::clone(&self.ends), Arc::clone(&self.coming), Arc::clone(&self.goes_on));
        let latest = AtomicI64::new(i64::MIN);
        // The last picture, held back until it is known how long it is shown: decoders tell how long a frame lasts usually.
        let held = Mutex::new(None::<Held>);
        let probed = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(probed, move |pad, info| {
            let is_end = info.event().is_some_and(|event| event.type_() == gst::EventType::Eos);
            let last = if is_end { lock(&held).take() } else { None };
            if let Some(mut last) = last {
                let until = if goes_on.load(Ordering::Relaxed) { end } else { (last.shown + last.length).min(end) };
                ends.fetch_max(until, Ordering::Relaxed);
                // This pad takes nothing more, as its end has been announced.
                let next = pad.peer();
                let hand_on = |picture| next.as_ref().map(|next| next.chain(picture));
                // Parsers shorten the last frame, so one that is held long is there again at its end.
                let again = until - USUAL_LENGTH;
                if again - last.shown > USUAL_LENGTH {
                    let _ = hand_on(last.clone().lasting(again));
                    last.shown = again;
                    last.buffer.make_mut().set_pts(clock_time(again - begins));
                }
                let _ = hand_on(last.lasting(until));
            }
            let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
            let Some(pts) = buffer.pts() else { return gst::PadProbeReturn::Drop };
            // Pictures come in the order in which they are shown.
            let earliest = lock(&coming).pop_first();
            let time = earliest.unwrap_or(pts.nseconds() as i64 + key);
            if latest.fetch_max(time, Ordering::Relaxed) >= time || time < first_shown || time >= end {
                return gst::PadProbeReturn::Drop;
            }
            let length = buffer.duration().map_or(0, |length| length.nseconds() as i64);
            let length = if length > 0 { length } else { USUAL_LENGTH };
            // A picture that was there already when the stretch begins is shown from its beginning on.
            let shown = time.max(begins);
            buffer.make_mut().set_pts(clock_time(shown - begins));
            match lock(&held).replace(Held { buffer: buffer.clone(), shown, length }) {
                Some(before) if before.shown < shown => {
                    ends.fetch_max(shown, Ordering::Relaxed);
                    *buffer = before.lasting(shown);
                    gst::PadProbeReturn::Ok
                }
                _ => gst::PadProbeReturn::Drop,
            }
        });
        Ok(())
    }

    pub(super) fn push(&mut self, unit: Unit, progress: &dyn Fn(u64)) -> Result<(), DecodeError> {
        self.wait(progress)?;
        // A copy ends where it does not leave out frames that others need.
        let is_out = match unit.kind {
            Kind::Video => false,
            Kind::Sound => unit.time < self.begins || unit.time >= self.end,
        };
        let zero = if unit.is_video() && self.encoded { self.key } else { self.begins };
        if unit.is_video() && !self.encoded && unit.time < self.end {
            let length = (unit.end() - unit.time).max(1);
            self.ends.fetch_max(unit.time + length, Ordering::Relaxed);
        }
        let Some(track) = (match unit.kind {
            Kind::Video => Some(&mut self.video),
            Kind::Sound => self.sound.as_mut(),
        }) else {
            return Ok(());
        };
        track.latest = unit.time.max(track.latest);
        if unit.is_video() && unit.time >= self.end {
            self.goes_on.store(true, Ordering::Relaxed);
        }
        if is_out || track.is_over || unit.time < zero {
            return Ok(());
        }
        if track.caps.as_ref() != Some(&unit.caps) {
            track.source.set_caps(Some(&unit.caps));
            track.caps = Some(unit.caps);
        }
        if unit.kind == Kind::Video && !unit.in_order && self.encoded {
            lock(&self.coming).insert(unit.time);
        }
        let mut buffer = unit.buffer;
        let fields = buffer.make_mut();
        fields.set_pts(clock_time(unit.time - zero));
        fields.set_dts(gst::ClockTime::NONE);
        // Fails only if the graph is over, which is noticed at the next unit.
        let _ = track.source.push_buffer(buffer);
        let video = self.video.latest;
        if let Some(sound) = self.sound.as_mut().filter(|sound| !sound.is_over)
            && video.saturating_sub(sound.latest.max(self.begins)) > ENDED_SOUND
        {
            sound.is_over = true;
            let _ = sound.source.end_of_stream();
        }
        Ok(())
    }

    /// While enough waits to be written.
    fn wait(&self, progress: &dyn Fn(u64)) -> Result<(), DecodeError> {
        let waiting = || {
            let sound = self.sound.as_ref().map_or(0, |sound| sound.source.current_level_bytes());
            self.video.source.current_level_bytes() + sound
        };
        self.check(gst::ClockTime::ZERO)?;
        while waiting() > WAITING {
            progress(self.written.load(Ordering::Relaxed));
            self.check(GLANCE)?;
        }
        Ok(())
    }

    fn check(&self, wait: gst::ClockTime) -> Result<(), DecodeError> {
        match reported_error(&self.bus, wait) {
            Some(error) => Err(DecodeError::Damaged(format!("the file cannot be written: {}", error.message()))),
            None => Ok(()),
        }
    }

    pub(super) fn finish(self, progress: &dyn Fn(u64)) -> Result<Cut, DecodeError> {
        for track in [Some(&self.video), self.sound.as_ref()].into_iter().flatten() {
            let _ = track.source.end_of_stream();
        }
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        loop {
            progress(u64::MAX / 2 + self.written.load(Ordering::Relaxed));
            let Some(message) = self.bus.timed_pop_filtered(5 * GLANCE, &kinds) else { continue };
            match message.view() {
                gst::MessageView::Error(error) => {
                    let text = error.error().message().to_owned();
                    return Err(DecodeError::Damaged(format!("the file cannot be written: {text}")));
                }
                _ => break,
            }
        }
        let time = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        let ends = self.ends.load(Ordering::Relaxed);
        if ends <= self.begins {
            return Err(DecodeError::Damaged("there is no picture at this time".to_owned()));
        }
        Ok(Cut { begins: time(self.begins), ends: time(ends), encoded: self.encoded })
    }
}

/// A picture whose successor has not come yet.
#[derive(Clone)]
struct Held {
    buffer: gst::Buffer,
    shown: i64,
    length: i64,
}

impl Held {
    /// It must have a length, or `videorate` makes the whole process abort.
    fn lasting(mut self, until: i64) -> gst::Buffer {
        self.buffer.make_mut().set_duration(clock_time((until - self.shown).max(1)));
        self.buffer
    }
}

/// Time of the frame that is on the screen at the start.
fn first_shown(units: &[Unit], start: i64) -> i64 {
    let times = units.iter().filter(|unit| unit.is_video()).map(|unit| unit.time);
    times.filter(|time| *time <= start).max().unwrap_or(i64::MIN)
}

/// What brings coded frames of this kind into an MP4 file; `None`: they have to be encoded anew.
fn parser(caps: &gst::CapsRef, which: Copied) -> Option<&'static str> {
    let structure = caps.structure(0)?;
    let text = |field: &str| structure.get::<String>(field).ok();
    let for_browsers = which == Copied::ForBrowsers;
    match structure.name().as_str() {
        "video/x-h264" if for_browsers => {
            let is_usual = text("profile").is_some_and(|profile| PROFILES.contains(&profile.as_str()));
            is_usual.then_some("h264parse ! h264timestamper")
        }
        "video/x-h264" => Some("h264parse ! h264timestamper"),
        "video/x-vp9" => Some("vp9parse").filter(|_| text("profile").is_none_or(|profile| profile == "0")),
        "video/x-av1" => Some("av1parse").filter(|_| text("profile").is_none_or(|profile| profile == "main")),
        "video/x-h265" if !for_browsers => Some("h265parse ! h265timestamper"),
        _ => None,
    }
}

fn sound_parser(caps: &gst::CapsRef) -> Option<&'static str> {
    let structure = caps.structure(0)?;
    let number = |field: &str| structure.get::<i32>(field).ok();
    match structure.name().as_str() {
        "audio/mpeg" if matches!(number("mpegversion"), Some(2 | 4)) => {
            let format = structure.get::<String>("stream-format").ok();
            Some("aacparse").filter(|_| format.is_none_or(|format| format == "raw" || format == "adts"))
        }
        "audio/mpeg" if number("layer") == Some(3) => Some("identity"),
        "audio/x-opus" => Some("identity"),
        _ => None,
    }
}

/// GStreamer's word for how pictures are to be turned.
fn direction(orientation: Orientation) -> &'static str {
    match orientation.tag().as_str() {
        "rotate-90" => "90r",
        "rotate-180" => "180",
        "rotate-270" => "90l",
        "flip-rotate-0" => "horiz",
        "flip-rotate-90" => "ur-ll",
        "flip-rotate-180" => "vert",
        "flip-rotate-270" => "ul-lr",
        _ => "identity",
    }
}

/// Pictures as H.264 has them usually, with square pixels, and no wider than this.
fn size(caps: &gst::CapsRef, orientation: Orientation, most_width: Option<u32>) -> gst::Caps {
    let all = gst::Caps::builder("video/x-raw").field("format", "I420");
    let number = |field: &str| caps.structure(0)?.get::<i32>(field).ok().and_then(|number| u32::try_from(number).ok());
    let (Some(width @ 1..), Some(height @ 1..)) = (number("width"), number("height")) else { return all.build() };
    let aspect = caps.structure(0).and_then(|fields| fields.get::<gst::Fraction>("pixel-aspect-ratio").ok());
    let aspect = aspect.map_or((1, 1), |f| (f.numer().max(1) as u32, f.denom().max(1) as u32));
    let (width, height) = shown_size((width, height), aspect, orientation);
    let (width, height) = fitting((width, height), most_width);
    let all = all.field("width", width as i32).field("height", height as i32);
    all.field("pixel-aspect-ratio", gst::Fraction::new(1, 1)).build()
}

/// Even numbers, since colours are kept for each two pixels.
fn fitting((width, height): (u32, u32), most_width: Option<u32>) -> (u32, u32) {
    let even = |pixels: u64| (pixels.div_ceil(2) * 2).clamp(2, 16_384) as u32;
    let (width, height) = (u64::from(width), u64::from(height));
    match most_width.map(u64::from).filter(|most| *most < width) {
        Some(most) => (even(most), even((height * most).div_ceil(width))),
        None => (even(width), even(height)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_even_and_keep_their_shape() {
        assert_eq!(fitting((1920, 1080), Some(320)), (320, 180));
        assert_eq!(fitting((321, 97), None), (322, 98));
        assert_eq!(fitting((100, 50), Some(320)), (100, 50));
        assert_eq!(fitting((1080, 1920), Some(320)), (320, 570));
        assert_eq!(fitting((1, 1), Some(320)), (2, 2));
    }

    #[test]
    fn what_browsers_decode_is_taken_as_it_is() {
        gst::init().unwrap();
        let taken = |caps: &str, which| parser(&caps.parse::<gst::Caps>().unwrap(), which).is_some();
        for (caps, all, browsers) in [
            ("video/x-h264,profile=(string)main", true, true),
            ("video/x-h264,profile=(string)high-4:2:2", true, false),
            ("video/x-h265,profile=(string)main", true, false),
            ("video/x-vp9,profile=(string)0", true, true),
            ("video/x-vp8", false, false),
            ("video/mpeg,mpegversion=2", false, false),
        ] {
            assert_eq!((taken(caps, Copied::All), taken(caps, Copied::ForBrowsers)), (all, browsers), "{caps}");
        }
    }
}
