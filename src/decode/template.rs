//! Launch templates: GStreamer graphs as text, part of the executable so that it runs from any folder. Users may add to
//! those for live streams, or override them, in a folder of their own.

use std::path::Path;

/// Reads a file up to its coded frames.
pub(super) const READ_FILE: &str = include_str!("../../pipelines/read-file.launch");
/// The same for a file with a header of our own.
pub(super) const READ_MENDED: &str = include_str!("../../pipelines/read-mended.launch");
/// The same for one stream that comes in units of its own, with their times.
pub(super) const READ_UNITS: &str = include_str!("../../pipelines/read-units.launch");
/// Frames that the program gives by itself.
pub(super) const READ_FRAMES: &str = include_str!("../../pipelines/read-frames.launch");
/// A file of AV1 without a container.
pub(super) const READ_OBU: &str = include_str!("../../pipelines/read-obu.launch");
/// Coded frames to pictures.
pub(super) const DECODE: &str = include_str!("../../pipelines/decode.launch");

/// A file to its coded frames and sound, these into a file, and frames encoded anew.
pub(super) const CUT_READ: &str = include_str!("../../pipelines/cut-read.launch");
pub(super) const CUT_WRITE: &str = include_str!("../../pipelines/cut-write.launch");
pub(super) const CUT_ENCODE: &str = include_str!("../../pipelines/cut-encode.launch");

/// Coded frames to a segment of a recording.
pub(super) const RECORD: &str = include_str!("../../pipelines/record.launch");

/// Live streams up to their coded frames, by name. The program sets the address of `input`, and connects the video track of
/// those that `tracks` finds, if there is such an element.
const STREAMS: [(&str, &str); 7] = [
    ("hls", include_str!("../../pipelines/stream-hls.launch")),
    ("rtmp", include_str!("../../pipelines/stream-rtmp.launch")),
    ("rtsp", include_str!("../../pipelines/stream-rtsp.launch")),
    ("rtsp-udp", include_str!("../../pipelines/stream-rtsp-udp.launch")),
    ("srt", include_str!("../../pipelines/stream-srt.launch")),
    ("udp", include_str!("../../pipelines/stream-udp.launch")),
    ("v4l2", include_str!("../../pipelines/stream-v4l2.launch")),
];

/// The template of this name for live streams: from the user's folder, where it has one (`stream-NAME.launch`), else one of
/// those that are part of the program.
pub fn stream(name: &str, folder: Option<&Path>) -> Result<String, String> {
    if let Some(folder) = folder {
        let path = folder.join(format!("stream-{name}.launch"));
        match std::fs::read_to_string(&path) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    let known = STREAMS.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    known.ok_or_else(|| {
        let names = STREAMS.map(|(name, _)| name).join(", ");
        let place = folder.map(|folder| format!(", and {} has no stream-{name}.launch", folder.display()));
        format!("there is no template {name:?} for streams (there are {names}{})", place.unwrap_or_default())
    })
}

/// The graph in a template: without its comments, `{name}` replaced by the value given for it.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let lines = template.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let graph = lines.collect::<Vec<_>>().join(" ");
    values.iter().fold(graph, |graph, (name, value)| graph.replace(&format!("{{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_placeholders_are_filled() {
        let template = "# a {decoder}\nappsrc !\n  {decoder} name=decoder\n\n! appsink name=frames\n";
        assert_eq!(
            fill(template, &[("decoder", "avdec_h264")]),
            "appsrc ! avdec_h264 name=decoder ! appsink name=frames"
        );
    }

    #[test]
    fn every_template_ends_in_the_sink_the_code_reads() {
        let streams = STREAMS.iter().map(|(_, text)| *text);
        for template in [READ_FILE, READ_MENDED, READ_UNITS, READ_FRAMES, READ_OBU, DECODE].into_iter().chain(streams) {
            let graph = fill(template, &[("decoder", "identity")]);
            assert!(graph.rsplit('!').next().unwrap().contains("appsink name=frames"), "{graph}");
            assert!(!graph.contains('{'), "{graph}");
        }
    }

    #[test]
    fn a_folder_of_the_user_overrides_and_adds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stream-rtsp.launch"), "mine").unwrap();
        std::fs::write(dir.path().join("stream-ndi.launch"), "ndi").unwrap();
        let stream = |name| stream(name, Some(dir.path()));
        assert_eq!((stream("rtsp"), stream("ndi")), (Ok("mine".to_owned()), Ok("ndi".to_owned())));
        assert!(stream("srt").unwrap().contains("srtsrc"));
        let error = stream("nothing").unwrap_err();
        assert!(error.contains("stream-nothing.launch") && error.contains("rtsp, "), "{error}");
    }
}
