//! What the descriptions of a stream (caps, tags, events) say of the medium.

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::super::pixels::{Orientation, shown_size};
use super::super::{LATEST, Probe};

/// WebM files written on the fly say less than this.
const NO_DURATION: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// Orientation and probe of the track that arrives at this pad. `turned`: the orientation that was read from the header of
/// the file, for demuxers that say nothing of it.
pub(super) fn read(
    pad: &gst::Pad,
    caps: &gst::CapsRef,
    container: Option<&str>,
    duration: Option<gst::ClockTime>,
    turned: Option<Orientation>,
) -> (Probe, Orientation) {
    let mut orientation = turned.unwrap_or_default();
    let mut recorded_at_ms = None;
    let mut container_name = None;
    pad.sticky_events_foreach(|event| {
        if let gst::EventView::Tag(event) = event.view() {
            let tags = event.tag();
            if let Some(tag) = tags.get::<gst::tags::ImageOrientation>() {
                orientation = Orientation::from_tag(tag.get());
            }
            if let Some(tag) = tags.get::<gst::tags::ContainerFormat>() {
                container_name = Some(tag.get().to_string());
            }
            if let Some(tag) = tags.get::<gst::tags::DateTime>() {
                recorded_at_ms = unix_ms(&tag.get());
            }
        }
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
    let structure = caps.structure(0);
    let number = |name: &str| structure.and_then(|s| s.get::<i32>(name).ok()).map_or(0, |v| v.max(0) as u32);
    let fraction = |name: &str| structure.and_then(|s| s.get::<gst::Fraction>(name).ok());
    let pixel_aspect =
        fraction("pixel-aspect-ratio").map_or((1, 1), |f| (f.numer().max(1) as u32, f.denom().max(1) as u32));
    let (width, height) = match (number("width"), number("height")) {
        (0, _) | (_, 0) => (0, 0),
        coded => shown_size(coded, pixel_aspect, orientation),
    };
    let frame_rate = fraction("framerate").filter(|f| f.numer() > 0 && f.denom() > 0);
    let probe = Probe {
        container: container_name.or_else(|| container.map(str::to_string)),
        codec: structure.map(|s| s.name().to_string()).unwrap_or_default(),
        width,
        height,
        duration: duration
            .filter(|d| *d >= NO_DURATION)
            .map(|d| Duration::from_nanos(d.nseconds()))
            .filter(|d| *d <= LATEST),
        start_s: 0.0,
        players_zero: Duration::ZERO,
        frame_rate: frame_rate.map(|f| f64::from(f.numer()) / f64::from(f.denom())),
        orientation,
        recorded_at_ms,
        tracks: Vec::new(),
    };
    (probe, orientation)
}

/// Time per frame in nanoseconds, where the description tells.
pub(super) fn nominal_step(caps: &gst::CapsRef) -> Option<i64> {
    let rate = caps.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
    (rate.numer() > 0).then(|| i64::from(rate.denom()) * 1_000_000_000 / i64::from(rate.numer()))
}

/// Containers that were never told the time say 1904 or 1970.
fn unix_ms(time: &gst::DateTime) -> Option<i64> {
    const A_DAY: i64 = 86_400;
    let seconds = time.to_g_date_time().ok()?.to_unix();
    (seconds > A_DAY).then_some(seconds * 1000)
}
