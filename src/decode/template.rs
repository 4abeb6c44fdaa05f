//! Launch templates: GStreamer graphs as text, part of the executable so that it runs from any folder. Pure.

/// Reads a file up to its coded frames.
pub(super) const READ_FILE: &str = include_str!("../../pipelines/read-file.launch");
/// The same for a file with a header of our own.
pub(super) const READ_MENDED: &str = include_str!("../../pipelines/read-mended.launch");
/// The same for one stream that comes in units of its own, with their times.
pub(super) const READ_UNITS: &str = include_str!("../../pipelines/read-units.launch");
/// Frames that the program gives by itself.
pub(super) const READ_FRAMES: &str = include_str!("../../pipelines/read-frames.launch");
/// A file without a container.
pub(super) const READ_BARE: &str = include_str!("../../pipelines/read-bare.launch");
/// Coded frames to pictures.
pub(super) const DECODE: &str = include_str!("../../pipelines/decode.launch");

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
        for template in [READ_FILE, READ_MENDED, READ_UNITS, READ_FRAMES, READ_BARE, DECODE] {
            let graph = fill(template, &[("decoder", "identity"), ("caps", "image/jpeg"), ("parser", "jpegparse")]);
            assert!(graph.rsplit('!').next().unwrap().contains("appsink name=frames"), "{graph}");
            assert!(!graph.contains('{'), "{graph}");
        }
    }
}
