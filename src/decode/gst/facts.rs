//! What the descriptions of a stream (caps, tags, events) say of the medium.

use std::str::FromStr;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video::{VideoChromaSite, VideoColorMatrix, VideoColorRange, VideoColorimetry, VideoInfo};

use super::super::pixels::{Matrix, Orientation, Siting, shown_size};
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
    let frame_rate = fraction("framerate").filter(|rate| step(*rate).is_some_and(is_believable));
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
        clock: None,
    };
    (probe, orientation)
}

/// The colours of this stream use all values.
pub(super) fn set_full_range(structure: &mut gst::StructureRef) {
    let colours = structure.get::<&str>("colorimetry").ok().and_then(|told| VideoColorimetry::from_str(told).ok());
    if let Some(told) = colours {
        let range = VideoColorRange::Range0_255;
        let full = VideoColorimetry::new(range, told.matrix(), told.transfer(), told.primaries());
        structure.set("colorimetry", full.to_string());
    }
}

/// The same description with the colours that FFmpeg takes, and all who use its libraries, where a stream is silent about
/// them: those that the container tells, else those of standard definition, however large the picture. `None`: it is not
/// silent.
pub(super) fn with_usual_colours(caps: &gst::CapsRef, container: Option<&VideoColorimetry>) -> Option<gst::Caps> {
    let info = VideoInfo::from_caps(caps).ok().filter(|info| info.is_yuv() || info.is_gray())?;
    let told = colorimetry(caps);
    if told.as_ref().is_some_and(|told| told.matrix() != VideoColorMatrix::Unknown) {
        return None;
    }
    let told = told.unwrap_or_else(|| info.colorimetry());
    let known = |range: &VideoColorRange| *range != VideoColorRange::Unknown;
    let range = Some(told.range()).filter(known).or(container.map(VideoColorimetry::range).filter(known));
    let range = range.unwrap_or(VideoColorRange::Range16_235);
    let matrix = container.map(VideoColorimetry::matrix).filter(|matrix| *matrix != VideoColorMatrix::Unknown);
    let matrix = matrix.unwrap_or(VideoColorMatrix::Bt601);
    let usual = VideoColorimetry::new(range, matrix, told.transfer(), told.primaries());
    let mut caps = caps.to_owned();
    caps.make_mut().structure_mut(0)?.set("colorimetry", usual.to_string());
    Some(caps)
}

/// What a description says of colours.
pub(super) fn colorimetry(caps: &gst::CapsRef) -> Option<VideoColorimetry> {
    let told = caps.structure(0)?.get::<&str>("colorimetry").ok()?;
    VideoColorimetry::from_str(told).ok()
}

/// The same description with where chroma lies, as FFmpeg takes it where a decoder does not say: on the first luma of a line
/// in MPEG-2, MPEG-4, H.264, HEVC and VC-1, else in the middle of its luma. `None`: it says.
pub(super) fn with_usual_siting(caps: &gst::CapsRef, coded: Option<&gst::CapsRef>) -> Option<gst::Caps> {
    VideoInfo::from_caps(caps)
        .ok()
        .filter(|info| info.is_yuv() && info.format_info().w_sub().iter().any(|shift| *shift > 0))?;
    if caps.structure(0)?.has_field("chroma-site") {
        return None;
    }
    let coded = coded.and_then(|caps| caps.structure(0));
    let is_on_luma = coded.is_some_and(|coded| match coded.name().as_str() {
        "video/mpeg" => coded.get("mpegversion") != Ok(1),
        name => ["video/x-h264", "video/x-h265", "video/x-wmv"].contains(&name),
    });
    let mut caps = caps.to_owned();
    caps.make_mut().structure_mut(0)?.set("chroma-site", if is_on_luma { "mpeg2" } else { "jpeg" });
    Some(caps)
}

/// Where the chroma of this picture lies.
pub(super) fn siting(info: &VideoInfo) -> Siting {
    let site = info.chroma_site();
    Siting { across: site.contains(VideoChromaSite::H_COSITED), down: site.contains(VideoChromaSite::V_COSITED) }
}

/// How its luma and chroma become red, green and blue.
pub(super) fn matrix(info: &VideoInfo) -> Matrix {
    let told = info.colorimetry();
    // FFmpeg takes those of BT.601 where it does not know them.
    let (red, blue) = told.matrix().kr_kb().unwrap_or((0.299, 0.114));
    Matrix { red: red as f32, blue: blue as f32, is_full: told.range() == VideoColorRange::Range0_255 }
}

/// Time per frame in nanoseconds, where the description tells: of rates that somebody can mean. Encoders that nobody told
/// a rate write one of a frame in a thousand seconds, or of the ticks of their clock.
pub(super) fn nominal_step(caps: &gst::CapsRef) -> Option<i64> {
    described_step(caps).filter(|step| is_believable(*step))
}

/// Whether the description has a rate that nobody can mean. Then parsers count with it.
pub(super) fn has_absurd_rate(caps: &gst::CapsRef) -> bool {
    described_step(caps).is_some_and(|step| !is_believable(step))
}

fn described_step(caps: &gst::CapsRef) -> Option<i64> {
    step(caps.structure(0)?.get::<gst::Fraction>("framerate").ok()?)
}

fn step(rate: gst::Fraction) -> Option<i64> {
    (rate.numer() > 0).then(|| i64::from(rate.denom()) * 1_000_000_000 / i64::from(rate.numer()))
}

/// Less than a thousand frames a second, as FFmpeg has it, and at least one a minute.
fn is_believable(step: i64) -> bool {
    step > 1_000_000 && step <= 60_000_000_000
}

/// Containers that were never told the time say 1904 or 1970.
fn unix_ms(time: &gst::DateTime) -> Option<i64> {
    const A_DAY: i64 = 86_400;
    let seconds = time.to_g_date_time().ok()?.to_unix();
    (seconds > A_DAY).then_some(seconds * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_streams_have_the_colours_of_standard_definition() {
        gst::init().unwrap();
        let container: gst::Caps = "video/x-cineform,colorimetry=(string)bt709".parse().unwrap();
        let container = colorimetry(&container);
        let beside = |text: &str, container: Option<&VideoColorimetry>| {
            let caps: gst::Caps = text.parse().unwrap();
            let usual = with_usual_colours(&caps, container)?;
            let told = usual.structure(0).unwrap().get::<String>("colorimetry").unwrap();
            VideoColorimetry::from_str(&told).ok().map(|told| (told.range(), told.matrix()))
        };
        let colours = |text: &str| beside(text, None);
        let large = "video/x-raw,format=I420,width=1920,height=1080,framerate=25/1";
        assert_eq!(colours(large), Some((VideoColorRange::Range16_235, VideoColorMatrix::Bt601)));
        let full = (VideoColorRange::Range0_255, VideoColorMatrix::Bt601);
        assert_eq!(colours(&format!("{large},colorimetry=(string)1:0:0:0")), Some(full));
        let grey = "video/x-raw,format=GRAY8,width=4,height=4,framerate=25/1,colorimetry=(string)1:0:0:0";
        assert_eq!(colours(grey), Some(full));
        assert_eq!(colours(&format!("{large},colorimetry=(string)bt709")), None);
        let told = Some((VideoColorRange::Range16_235, VideoColorMatrix::Bt709));
        assert_eq!(beside(large, container.as_ref()), told, "the container says it");
        let decoder = format!("{large},colorimetry=(string)1:4:0:0");
        assert_eq!(beside(&decoder, container.as_ref()), None, "the stream goes before the container");
        assert_eq!(colours("video/x-raw,format=RGBx,width=4,height=4,framerate=25/1"), None);
    }

    #[test]
    fn silent_decoders_have_chroma_where_their_codec_has_it() {
        gst::init().unwrap();
        // GStreamer reads where chroma lies only where colours are told, too, as they always are behind a decoder.
        let raw = |more: &str| {
            let text = format!("video/x-raw,format=I420,width=8,height=8,framerate=25/1,colorimetry=bt601{more}");
            text.parse::<gst::Caps>().unwrap()
        };
        let site = |more: &str, coded: &str| {
            let caps = with_usual_siting(&raw(more), Some(&coded.parse::<gst::Caps>().unwrap()))?;
            Some(siting(&VideoInfo::from_caps(&caps).unwrap()))
        };
        let on_luma = Siting { across: true, down: false };
        assert_eq!(site("", "video/x-h264"), Some(on_luma));
        assert_eq!(site("", "video/mpeg,mpegversion=2"), Some(on_luma));
        let between = Siting { across: false, down: false };
        assert_eq!(site("", "video/mpeg,mpegversion=1"), Some(between));
        assert_eq!(site("", "image/jpeg"), Some(between));
        assert_eq!(site("", "video/x-av1"), Some(between));
        assert_eq!(site(",chroma-site=dv", "image/jpeg"), None);
        let told = VideoInfo::from_caps(&raw(",chroma-site=dv")).unwrap();
        assert_eq!(siting(&told), Siting { across: true, down: true });
    }

    #[test]
    fn the_range_of_colours_is_corrected() {
        gst::init().unwrap();
        let mut caps: gst::Caps = "video/x-h264,colorimetry=(string)bt709".parse().unwrap();
        set_full_range(caps.make_mut().structure_mut(0).unwrap());
        assert_eq!(caps.structure(0).unwrap().get::<&str>("colorimetry").unwrap(), "1:3:5:1");
    }

    #[test]
    fn rates_that_nobody_can_mean_are_not_believed() {
        gst::init().unwrap();
        let caps = |numer, denom| {
            gst::Caps::builder("video/x-h264").field("framerate", gst::Fraction::new(numer, denom)).build()
        };
        for (rate, expected) in [
            ((25, 1), Some(40_000_000)),
            ((30_000, 1001), Some(33_366_666)),
            ((999, 1), Some(1_001_001)),
            ((1, 60), Some(60_000_000_000)),
            ((1000, 1), None),
            ((90_000, 1), None),
            ((1_000_000_000, 1), None),
            ((1, 1000), None),
            ((0, 1), None),
        ] {
            let caps = caps(rate.0, rate.1);
            assert_eq!(nominal_step(&caps), expected, "{rate:?}");
            assert_eq!(has_absurd_rate(&caps), expected.is_none() && rate.0 > 0, "{rate:?}");
        }
        assert_eq!(nominal_step(&gst::Caps::new_empty_simple("video/x-h264")), None);
    }
}
