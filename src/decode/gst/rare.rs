//! Codecs for which GStreamer's demuxers have no name although libav decodes them: screen recorders and editors.

use gstreamer as gst;

/// The container's code, the decoder, and how that wants the stream to be called, where it is picky. (Others have decoders
/// in name only: they take streams called "unknown", which GStreamer's base class refuses.)
const KNOWN: [(&str, &str, Option<&str>); 3] = [
    ("AVdh", "avdec_dnxhd", None),
    ("LAGS", "avdec_lagarith", None),
    ("SMV2", "avdec_h264", Some("video/x-h264,stream-format=byte-stream,alignment=au")),
];

/// Of a [`renamed`] description, the decoder: libav's have one name for all streams that GStreamer has none for.
const DECODER: &str = "decoder";

/// Whether demuxers call a stream by the container's code alone that is known here.
pub(super) fn is_known(caps: &gst::CapsRef) -> bool {
    caps.structure(0).and_then(known).is_some()
}

/// The decoder of a [`renamed`] description.
pub(super) fn decoder(caps: &gst::CapsRef) -> Option<String> {
    caps.structure(0)?.get(DECODER).ok()
}

/// The description as its decoder takes it; `None` where it is fine as it is.
pub(super) fn renamed(caps: &gst::CapsRef) -> Option<gst::Caps> {
    let raw = caps.structure(0)?;
    let (decoder, name) = known(raw)?;
    let mut renamed = match name {
        Some(name) => name.parse().ok()?,
        None => {
            let templates = gst::ElementFactory::find(decoder)?.static_pad_templates();
            let sink = templates.iter().find(|template| template.direction() == gst::PadDirection::Sink)?;
            gst::Caps::new_empty_simple(sink.caps().structure(0)?.name())
        }
    };
    let structure = renamed.make_mut().structure_mut(0)?;
    for field in ["width", "height", "framerate", "pixel-aspect-ratio", "codec_data"] {
        // Headers with start codes come in the stream as well.
        let is_wanted = name.is_none() || field != "codec_data";
        if let Some(value) = raw.value(field).ok().filter(|_| is_wanted) {
            structure.set_value(field, value.clone());
        }
    }
    structure.set(DECODER, decoder);
    Some(renamed)
}

fn known(structure: &gst::StructureRef) -> Option<(&'static str, Option<&'static str>)> {
    let code = code(structure)?;
    let (_, decoder, name) = KNOWN.into_iter().find(|(known, ..)| known.eq_ignore_ascii_case(&code))?;
    Some((decoder, name))
}

fn code(structure: &gst::StructureRef) -> Option<String> {
    match structure.name().as_str() {
        "video/x-avi-unknown" | "video/x-asf-unknown" => {
            let code = structure.get::<i32>("fourcc").ok()?.to_le_bytes();
            Some(String::from_utf8_lossy(&code).into_owned())
        }
        name => name.strip_prefix("video/x-gst-fourcc-").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_what_decoders_call_them() {
        gst::init().unwrap();
        let avi = gst::Caps::builder("video/x-avi-unknown").field("fourcc", i32::from_le_bytes(*b"LAGS"));
        let avi = avi.field("width", 64).field("height", 48).build();
        assert!(is_known(&avi));
        if gst::ElementFactory::find("avdec_lagarith").is_some() {
            let renamed = renamed(&avi).unwrap();
            assert_eq!(decoder(&renamed).as_deref(), Some("avdec_lagarith"));
            assert_eq!(renamed.structure(0).unwrap().name(), "video/x-lagarith");
        }
        let caps = |text: &str| text.parse::<gst::Caps>().unwrap();
        assert!(is_known(&caps("video/x-gst-fourcc-AVdh")));
        for other in ["video/x-h264", "video/x-gst-fourcc-vvc1", "video/x-avi-unknown"] {
            assert!(!is_known(&caps(other)) && renamed(&caps(other)).is_none(), "{other}");
        }
    }
}
