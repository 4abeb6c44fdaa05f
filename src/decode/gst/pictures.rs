//! Coded frames to pictures.

use std::cell::OnceCell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::super::coded::FrameNumbers;
use super::super::gate::Released;
use super::super::pixels::{Orientation, Picture, Plane, Samples};
use super::super::{DecodeError, template, timeline};
use super::reader::Coded;
use super::{element, facts, launch, lock, reported_error};

/// Bytes of coded frames waiting for the decoder.
const QUEUE: u64 = 2 << 20;
const GLANCE: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// Between two looks at a full queue.
const PAUSE: gst::ClockTime = gst::ClockTime::from_mseconds(20);
/// Longer than any decoder holds a picture back, in time and in frames.
const MOST_DELAY: i64 = 1_000_000_000;
const MOST_FRAMES_HELD: i64 = 32;
/// Coded frames kept in case the decoder breaks on one of them.
const MOST_KEPT: usize = 256;
/// Added to all times: frames cut away by an edit list lie before zero, which GStreamer does not allow.
const SHIFT: i64 = -timeline::EARLIEST;

/// Shared between the side that feeds the decoder and the side that takes pictures.
#[derive(Debug, Default)]
struct Control {
    /// Times of pictures to hand on.
    wanted: Mutex<BTreeSet<i64>>,
    /// Times of wanted pictures that did not come, and nothing near enough in their place.
    lost: Mutex<Vec<i64>>,
    /// Times of coded frames of which no picture has come yet, and whether it is unknown which belongs to which.
    coming: Mutex<BTreeSet<i64>>,
    order_unknown: AtomicBool,
    /// So much of time is held back at most.
    delay: AtomicI64,
    /// How much later a picture may be that stands in for a lost one.
    slack: i64,
    pictures: AtomicU64,
    /// Time of the last picture of all so far.
    latest: AtomicI64,
    /// No more pictures come than there are.
    failed: AtomicBool,
}

impl Control {
    /// The time of a picture that the decoder says came out of the frame coded for `pts`.
    fn time(&self, pts: i64) -> i64 {
        let mut coming = lock(&self.coming);
        let delay = self.delay.load(Ordering::Relaxed).max(MOST_DELAY);
        if !self.order_unknown.load(Ordering::Relaxed) {
            // What is long past will not come.
            *coming = coming.split_off(&(pts - delay));
            if coming.remove(&pts) {
                return pts;
            }
            // A picture whose time goes back is given that of the one before it.
            return match coming.first().copied().filter(|first| *first < pts) {
                Some(early) => {
                    coming.remove(&early);
                    early
                }
                None => pts,
            };
        }
        // Pictures come in the order they are shown in, so the earliest time is meant.
        while let Some(first) = coming.pop_first() {
            if first >= pts - delay {
                return first;
            }
        }
        pts
    }

    /// Whether this picture was given up: files may put frames in another order than their codec does.
    fn comes_late(&self, pts: i64) -> bool {
        let mut lost = lock(&self.lost);
        let place = lost.iter().rposition(|time| *time == pts);
        place.map(|place| lost.remove(place)).is_some()
    }

    /// Whether this picture is handed on.
    fn keeps(&self, pts: i64) -> bool {
        self.pictures.fetch_add(1, Ordering::Relaxed);
        self.latest.fetch_max(pts, Ordering::Relaxed);
        let mut wanted = lock(&self.wanted);
        let mut keep = wanted.remove(&pts) || self.comes_late(pts);
        // Those before it did not come and will not.
        while let Some(lost) = wanted.first().copied().filter(|time| *time < pts) {
            wanted.pop_first();
            if pts - lost <= self.slack {
                keep = true;
            } else {
                lock(&self.lost).push(lost);
            }
        }
        keep
    }
}

/// The feeding side.
#[derive(Debug)]
pub(in crate::decode) struct Decoding {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    bus: gst::Bus,
    control: Arc<Control>,
    caps: Option<gst::Caps>,
    /// Of H.264: what its frames are numbered by, and whether one was given to the decoder.
    numbers: Option<FrameNumbers>,
    started: bool,
    /// Coded frames of which no picture has come yet.
    sent: VecDeque<Released<Coded>>,
    /// What the decoder broke on.
    broke: OnceCell<String>,
}

/// The taking side.
#[derive(Debug)]
pub(in crate::decode) struct Pictures {
    sink: gst_app::AppSink,
    control: Arc<Control>,
}

impl Drop for Decoding {
    fn drop(&mut self) {
        self.give_up();
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Decoding {
    pub(in crate::decode) fn start(decoder: &str, threads: u32, slack: i64) -> Result<(Self, Pictures), DecodeError> {
        let pipeline = launch(&template::fill(template::DECODE, &[("decoder", decoder)]))?;
        let source: gst_app::AppSrc = element(&pipeline, "packets")?;
        let sink: gst_app::AppSink = element(&pipeline, "frames")?;
        let decoder: gst::Element = element(&pipeline, "decoder")?;
        if decoder.has_property_with_type("max-threads", i32::static_type()) {
            decoder.set_property("max-threads", threads as i32);
        }
        let control = Arc::new(Control { slack, latest: AtomicI64::new(i64::MIN), ..Control::default() });
        let watched = control.clone();
        let pad = decoder.static_pad("src").ok_or_else(|| DecodeError::Setup("a decoder without output".into()))?;
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
            let Some(pts) = buffer.pts() else { return gst::PadProbeReturn::Drop };
            let pts = pts.nseconds() as i64 - SHIFT;
            let time = watched.time(pts);
            if !watched.keeps(time) {
                return gst::PadProbeReturn::Drop;
            }
            if time != pts {
                buffer.make_mut().set_pts(gst::ClockTime::from_nseconds((time + SHIFT).max(0) as u64));
            }
            gst::PadProbeReturn::Ok
        });
        let input = decoder.static_pad("sink").map(|pad| pad.downgrade());
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::EventView::Caps(event)) = info.event().map(|event| event.view()) {
                let coded = input.as_ref().and_then(|pad| pad.upgrade()?.current_caps());
                let container = coded.as_ref().and_then(|caps| facts::colorimetry(caps));
                let caps = event.caps_owned();
                let caps = facts::with_usual_colours(&caps, container.as_ref()).unwrap_or(caps);
                let caps = facts::with_usual_siting(&caps, coded.as_deref()).unwrap_or(caps);
                info.data = Some(gst::PadProbeData::Event(gst::event::Caps::new(&caps)));
            }
            gst::PadProbeReturn::Ok
        });
        let entry = decoder.static_pad("sink").ok_or_else(|| DecodeError::Setup("a decoder without input".into()))?;
        entry.add_probe(gst::PadProbeType::BUFFER, drain_at_gap);
        let bus = pipeline.bus().expect("a pipeline has a bus");
        source.set_max_bytes(0);
        if pipeline.set_state(gst::State::Playing).is_err() {
            let error = reported_error(&bus, gst::ClockTime::ZERO)
                .map_or_else(String::new, |error| error.message().to_string());
            return Err(DecodeError::Setup(format!("the decoder does not start: {error}")));
        }
        let pictures = Pictures { sink, control: control.clone() };
        Ok((
            Self {
                pipeline,
                source,
                bus,
                control,
                caps: None,
                numbers: None,
                started: false,
                sent: VecDeque::new(),
                broke: OnceCell::new(),
            },
            pictures,
        ))
    }

    pub(in crate::decode) fn want(&self, times: &[i64]) {
        lock(&self.control.wanted).extend(times);
    }

    /// How many pictures the decoder has made so far, wanted or not.
    pub(in crate::decode) fn pictures(&self) -> u64 {
        self.control.pictures.load(Ordering::Relaxed)
    }

    /// Waits while the decoder has enough to do, calling `waiting` again and again.
    pub(in crate::decode) fn push(&mut self, released: Released<Coded>, waiting: &dyn Fn(u64)) -> Result<(), String> {
        self.keep(released.clone());
        let (packet, coded) = (released.packet, released.payload);
        while self.source.current_level_bytes() >= QUEUE {
            waiting(self.pictures());
            self.check_for(PAUSE)?;
        }
        self.check()?;
        if self.caps.as_ref() != Some(&coded.caps) {
            self.source.set_caps(Some(&coded.caps));
            self.numbers = frame_numbers(&coded.caps);
            self.caps = Some(coded.caps);
        }
        self.control.order_unknown.fetch_or(!packet.in_order, Ordering::Relaxed);
        let delay = packet.duration.unwrap_or(0).saturating_mul(MOST_FRAMES_HELD);
        self.control.delay.fetch_max(delay, Ordering::Relaxed);
        lock(&self.control.coming).insert(packet.pts);
        let mut buffer = coded.buffer;
        let is_first = !std::mem::replace(&mut self.started, true);
        let starts = released.after_gap || is_first;
        let renumbered = self.numbers.as_mut().and_then(|numbers| {
            let data = buffer.map_readable().ok()?;
            numbers.renumbered(&data, starts)
        });
        if let Some(data) = renumbered {
            let (flags, duration) = (buffer.flags(), buffer.duration());
            buffer = gst::Buffer::from_slice(data);
            buffer.make_mut().set_flags(flags);
            buffer.make_mut().set_duration(duration);
        }
        let fields = buffer.make_mut();
        fields.set_pts(gst::ClockTime::from_nseconds((packet.pts + SHIFT).max(0) as u64));
        fields.set_dts(gst::ClockTime::NONE);
        if released.after_gap {
            fields.set_flags(gst::BufferFlags::DISCONT);
        } else {
            fields.unset_flags(gst::BufferFlags::DISCONT);
        }
        self.source.push_buffer(buffer).map(|_| ()).map_err(|error| error.to_string())
    }

    fn keep(&mut self, released: Released<Coded>) {
        let latest = self.control.latest.load(Ordering::Relaxed);
        self.sent.retain(|sent| sent.packet.pts > latest);
        self.sent.push_back(released);
        let too_much = |sent: &VecDeque<Released<Coded>>| {
            sent.len() > MOST_KEPT || sent.iter().map(|sent| sent.packet.bytes as u64).sum::<u64>() > 2 * QUEUE
        };
        while self.sent.len() > 1 && too_much(&self.sent) {
            self.sent.pop_front();
        }
    }

    /// Times of wanted pictures that did not come and will not.
    pub(in crate::decode) fn lost(&self) -> Vec<i64> {
        std::mem::take(&mut lock(&self.control.lost))
    }

    /// Times of wanted pictures behind the last one that came.
    pub(in crate::decode) fn still_wanted(&self) -> Vec<i64> {
        lock(&self.control.wanted).iter().copied().collect()
    }

    /// After a break: what another decoder should be given first, from the key frame behind the one that broke this one.
    pub(in crate::decode) fn unfinished(&mut self) -> VecDeque<Released<Coded>> {
        let latest = self.control.latest.load(Ordering::Relaxed);
        let mut left = std::mem::take(&mut self.sent);
        left.retain(|sent| sent.packet.pts > latest);
        left.pop_front();
        while left.front().is_some_and(|sent| !sent.packet.key) {
            left.pop_front();
        }
        left
    }

    /// Has the decoder give what it holds without waiting for the next frame, which does not need what came so far.
    pub(in crate::decode) fn drain(&self) {
        if let Some(start) =
            self.source.static_pad("src").and_then(|pad| pad.sticky_event::<gst::event::StreamStart>(0))
        {
            self.source.send_event(start);
        }
    }

    /// No more coded frames come; the decoder gives what it still holds.
    pub(in crate::decode) fn finish(&self) {
        let _ = self.source.end_of_stream();
    }

    /// Pictures that are there are still taken, and no others are waited for.
    pub(in crate::decode) fn give_up(&self) {
        self.control.failed.store(true, Ordering::Release);
    }

    /// What the decoder broke on, if it did.
    pub(in crate::decode) fn check(&self) -> Result<(), String> {
        self.check_for(gst::ClockTime::ZERO)
    }

    fn check_for(&self, wait: gst::ClockTime) -> Result<(), String> {
        if self.broke.get().is_none() {
            let Some(error) = reported_error(&self.bus, wait) else { return Ok(()) };
            let _ = self.broke.set(error.message().to_string());
            self.give_up();
        }
        Err(self.broke.get().cloned().unwrap_or_default())
    }
}

/// Has the decoder give what it still holds before it gets a frame that does not follow on the last: it would count the
/// frames in between as lost, and throw pictures away.
fn drain_at_gap(pad: &gst::Pad, info: &mut gst::PadProbeInfo) -> gst::PadProbeReturn {
    let gap = info.buffer().is_some_and(|buffer| buffer.flags().contains(gst::BufferFlags::DISCONT));
    if gap && let Some(start) = pad.sticky_event::<gst::event::StreamStart>(0) {
        pad.send_event(start);
    }
    gst::PadProbeReturn::Ok
}

impl Pictures {
    /// Waits for the next picture and hands its time and itself to `take`; `None` after the last one.
    pub(in crate::decode) fn next<R>(
        &mut self,
        orientation: Orientation,
        take: impl FnOnce(i64, &Picture) -> R,
    ) -> Option<Result<R, String>> {
        loop {
            if let Some(sample) = self.sink.try_pull_sample(GLANCE) {
                return Some(picture(&sample, orientation, take));
            }
            if self.sink.is_eos() || self.control.failed.load(Ordering::Acquire) {
                return None;
            }
        }
    }
}

fn frame_numbers(caps: &gst::CapsRef) -> Option<FrameNumbers> {
    let structure = caps.structure(0).filter(|structure| structure.name() == "video/x-h264")?;
    let record = structure.get::<gst::Buffer>("codec_data").ok();
    let record = record.and_then(|record| record.into_mapped_buffer_readable().ok());
    Some(FrameNumbers::new(record.as_deref()))
}

fn picture<R>(
    sample: &gst::Sample,
    orientation: Orientation,
    take: impl FnOnce(i64, &Picture) -> R,
) -> Result<R, String> {
    let buffer = sample.buffer().ok_or("a picture without data")?;
    let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
    let info = info.ok_or("a picture without description")?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|e| e.to_string())?;
    let flags = buffer.video_flags();
    let interlaced = match info.interlace_mode() {
        gst_video::VideoInterlaceMode::Progressive => false,
        gst_video::VideoInterlaceMode::Mixed => flags.contains(gst_video::VideoBufferFlags::INTERLACED),
        _ => true,
    };
    let bottom_first = match info.field_order() {
        gst_video::VideoFieldOrder::TopFieldFirst => false,
        gst_video::VideoFieldOrder::BottomFieldFirst => true,
        // Decoders of codecs that have fields say it of each picture.
        _ => {
            info.interlace_mode() == gst_video::VideoInterlaceMode::Mixed
                && !flags.contains(gst_video::VideoBufferFlags::TFF)
        }
    };
    let plane = |number: u32| {
        let stride = frame.plane_stride()[number as usize].unsigned_abs() as usize;
        let data = frame.plane_data(number).map_err(|error| error.to_string())?;
        let mut plane = match info.is_rgb() {
            true => Plane::new(data, stride, (info.width() * 4, info.height())),
            false => Plane::new(data, stride, (info.comp_width(number as u8), info.comp_height(number as u8))),
        };
        if interlaced {
            plane.deinterlace(bottom_first);
        }
        Ok::<_, String>(plane)
    };
    let (packed, planes);
    let samples = match info.is_rgb() {
        true => {
            packed = plane(0)?;
            Samples::Rgbx(packed.data())
        }
        false => {
            let coarser =
                |number: u8| (info.comp_width(number) < info.width(), info.comp_height(number) < info.height());
            let chroma =
                |number: u8| Ok::<_, String>(plane(number.into())?.coarser(coarser(number), facts::siting(&info)));
            planes = [plane(0)?, chroma(1)?, chroma(2)?];
            Samples::Yuv(&planes, facts::matrix(&info))
        }
    };
    let aspect = info.par();
    let pixel_aspect = (aspect.numer().max(1) as u32, aspect.denom().max(1) as u32);
    let pts = buffer.pts().map_or(0, |pts| pts.nseconds() as i64 - SHIFT);
    let (width, height) = (info.width(), info.height());
    Ok(take(pts, &Picture { samples, width, height, pixel_aspect, orientation }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 40_000_000;

    /// The times of the pictures that are handed on, in frames: all that are coded are wanted.
    fn handed_on(coded: &[i64], told: &[i64]) -> Vec<i64> {
        let control = Control::default();
        control.coming.lock().unwrap().extend(coded.iter().map(|number| number * FRAME));
        control.wanted.lock().unwrap().extend(coded.iter().map(|number| number * FRAME));
        let times = told.iter().map(|number| control.time(number * FRAME));
        times.filter(|time| control.keeps(*time)).map(|time| time / FRAME).collect()
    }

    #[test]
    fn a_picture_that_comes_behind_a_later_one_is_handed_on() {
        assert_eq!(handed_on(&[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4]), [0, 1, 2, 3, 4]);
        // GStreamer gives it the time of the one before.
        assert_eq!(handed_on(&[0, 1, 2, 3, 4], &[0, 1, 3, 3, 4]), [0, 1, 3, 2, 4]);
        assert_eq!(handed_on(&[0, 1, 2, 3, 4], &[0, 1, 3, 2, 4]), [0, 1, 3, 2, 4]);
        // This one never came.
        assert_eq!(handed_on(&[0, 1, 2, 3, 4], &[0, 1, 3, 4]), [0, 1, 3, 4]);
    }
}
