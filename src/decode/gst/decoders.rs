//! Which installed elements decode a codec.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::super::DecodeError;

/// Decoders for it, best first. Raw video needs none.
pub(in crate::decode) fn decoders_for(caps: &gst::CapsRef) -> Result<Vec<String>, DecodeError> {
    let codec = caps.structure(0).map_or("unknown", |s| s.name().as_str()).to_string();
    if codec == "video/x-raw" {
        return Ok(vec!["identity".into()]);
    }
    let kinds =
        gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO | gst::ElementFactoryType::MEDIA_IMAGE;
    let factories = gst::ElementFactory::factories_with_type(kinds, gst::Rank::MARGINAL);
    let caps = caps.to_owned();
    let fits = |factory: &gst::ElementFactory| factory.can_sink_any_caps(&caps) && !is_for_transparency(factory);
    let mut fitting: Vec<_> = factories.into_iter().filter(fits).collect();
    fitting.sort_by_key(|factory| std::cmp::Reverse(factory.rank()));
    if fitting.is_empty() {
        return Err(DecodeError::NoDecoder { remedy: remedy(&codec), codec });
    }
    Ok(fitting.iter().map(|factory| factory.name().to_string()).collect())
}

/// Two decoders in one, the other for a stream of transparency that is not wanted: no alternative to the one alone.
fn is_for_transparency(factory: &gst::ElementFactory) -> bool {
    factory.name().ends_with("alphadecodebin")
}

pub(super) fn remedy(codec: &str) -> String {
    let package = match codec {
        "video/x-av1" | "video/x-vp8" | "video/x-vp9" | "image/jpeg" | "video/x-raw" => {
            "gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad"
        }
        _ => "gstreamer1.0-libav",
    };
    format!("install a GStreamer plug-in that decodes it (on Debian and Ubuntu: {package})")
}

/// What is installed: GStreamer's version, and for each usual codec the element that decodes it.
#[derive(Debug)]
pub struct Inventory {
    pub version: String,
    pub decoders: Vec<(&'static str, Option<String>)>,
}

const USUAL: &[(&str, &str)] = &[
    ("H.264", "video/x-h264"),
    ("HEVC", "video/x-h265"),
    ("VP8", "video/x-vp8"),
    ("VP9", "video/x-vp9"),
    ("AV1", "video/x-av1"),
    ("MPEG-2", "video/mpeg,mpegversion=2,systemstream=false"),
    ("MPEG-4", "video/mpeg,mpegversion=4,systemstream=false"),
    ("ProRes", "video/x-prores"),
    ("MJPEG", "image/jpeg"),
];

pub fn inventory() -> Result<Inventory, DecodeError> {
    gst::init().map_err(|error| DecodeError::Setup(error.to_string()))?;
    let decoder = |caps: &str| {
        let caps: gst::Caps = caps.parse().ok()?;
        decoders_for(&caps).ok()?.into_iter().next()
    };
    let decoders = USUAL.iter().map(|(name, caps)| (*name, decoder(caps))).collect();
    Ok(Inventory { version: gst::version_string().to_string(), decoders })
}
