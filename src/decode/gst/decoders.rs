//! Which installed elements decode a codec.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::super::DecodeError;
use super::rare;

/// GStreamer's own decoder of JPEG makes 4:2:0 of every picture, and takes the chroma of 4:4:4 from the wrong lines.
const SECOND_BEST: &str = "jpegdec";

/// Decoders for it, best first. Raw video needs none.
pub(in crate::decode) fn decoders_for(caps: &gst::CapsRef) -> Result<Vec<String>, DecodeError> {
    let codec = caps.structure(0).map_or("unknown", |s| s.name().as_str()).to_string();
    if codec == "video/x-raw" {
        return Ok(vec!["identity".into()]);
    }
    if let Some(decoder) = rare::decoder(caps).filter(|decoder| gst::ElementFactory::find(decoder).is_some()) {
        return Ok(vec![decoder]);
    }
    let kinds =
        gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO | gst::ElementFactoryType::MEDIA_IMAGE;
    let factories = gst::ElementFactory::factories_with_type(kinds, gst::Rank::MARGINAL);
    let caps = caps.to_owned();
    let fits = |factory: &gst::ElementFactory| factory.can_sink_any_caps(&caps) && !is_for_transparency(factory);
    let mut fitting: Vec<_> = factories.into_iter().filter(fits).collect();
    // Libav's refuses pictures that no parser has seen, as cameras send them.
    let is_parsed = caps.structure(0).is_some_and(|structure| structure.get("parsed") == Ok(true));
    let comes_last = |factory: &gst::ElementFactory| is_parsed && factory.name() == SECOND_BEST;
    fitting.sort_by_key(|factory| (comes_last(factory), std::cmp::Reverse(factory.rank())));
    if fitting.is_empty() {
        return Err(DecodeError::NoDecoder { remedy: remedy(), codec });
    }
    Ok(fitting.iter().map(|factory| factory.name().to_string()).collect())
}

/// Two decoders in one, the other for a stream of transparency that is not wanted: no alternative to the one alone.
fn is_for_transparency(factory: &gst::ElementFactory) -> bool {
    factory.name().ends_with("alphadecodebin")
}

/// Packages with decoders of video, and an element by which it is told that each is installed.
const PACKAGES: [(&str, &str); 3] = [
    ("gstreamer1.0-libav", "avdec_h264"),
    ("gstreamer1.0-plugins-good", "jpegdec"),
    ("gstreamer1.0-plugins-bad", "av1dec"),
];

/// What to do where nothing installed decodes a codec.
pub(super) fn remedy() -> String {
    let missing = PACKAGES.iter().filter(|(_, element)| gst::ElementFactory::find(element).is_none());
    let missing: Vec<&str> = missing.map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return "no usual GStreamer plug-in does; convert it first, for example `ffmpeg -i FILE -c:v libx264 OUT.mkv`"
            .to_owned();
    }
    format!("install a GStreamer plug-in that does (on Debian and Ubuntu: {})", missing.join(", "))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_in_jpeg_keep_the_chroma_they_have() {
        gst::init().unwrap();
        let first = |caps: &str| decoders_for(&caps.parse::<gst::Caps>().unwrap()).unwrap().swap_remove(0);
        if gst::ElementFactory::find("avdec_mjpeg").is_some() && gst::ElementFactory::find(SECOND_BEST).is_some() {
            assert_ne!(first("image/jpeg,parsed=true"), SECOND_BEST);
            assert_ne!(first("image/jpeg"), "avdec_mjpeg");
        }
    }
}
