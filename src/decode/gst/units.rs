//! Feeds the units of a stream to a graph.

use std::sync::Mutex;

use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::DecodeError;
use super::super::flv::Flv;
use super::super::gif::Gif;
use super::super::ivf::Ivf;
use super::super::matroska::Remains;
use super::super::mjpeg::Jpegs;
use super::super::ps::Program;
use super::super::ts::Stream;
use super::super::unit::Unit;
use super::lock;

/// Gives the units of a transport stream one by one as the graph asks for them.
pub(super) fn serve(source: &gst_app::AppSrc, stream: &Stream) -> Result<(), DecodeError> {
    let mut units = stream.open().map_err(DecodeError::Unreadable)?;
    give(source, caps(stream.caps)?, move || units.next());
    Ok(())
}

/// The same for those of a program stream.
pub(super) fn serve_program(source: &gst_app::AppSrc, program: &Program) -> Result<(), DecodeError> {
    let mut units = program.open().map_err(DecodeError::Unreadable)?;
    give(source, caps(program.caps)?, move || units.next());
    Ok(())
}

/// The same for the video of an FLV file.
pub(super) fn serve_flv(source: &gst_app::AppSrc, flv: &Flv) -> Result<(), DecodeError> {
    let caps = described(flv.codec.in_container(), flv.private.as_ref())?;
    let mut frames = flv.frames();
    give(source, caps, move || frames.next());
    Ok(())
}

/// The same for the pictures of a GIF.
pub(super) fn serve_gif(source: &gst_app::AppSrc, gif: &Gif) -> Result<(), DecodeError> {
    let mut pictures = gif.open().map_err(DecodeError::Unreadable)?;
    let (width, height) = gif.size();
    let caps = caps(&format!("{},parsed=true,width={width},height={height}", gif_media_type()))?;
    give(source, caps, move || pictures.next());
    Ok(())
}

/// The same for the frames of an IVF file.
pub(super) fn serve_ivf(source: &gst_app::AppSrc, ivf: &Ivf) -> Result<(), DecodeError> {
    let mut frames = ivf.open().map_err(DecodeError::Unreadable)?;
    give(source, caps(&ivf.caps())?, move || frames.next());
    Ok(())
}

/// The same for JPEG pictures without a container.
pub(super) fn serve_jpegs(source: &gst_app::AppSrc, jpegs: &Jpegs) -> Result<(), DecodeError> {
    let mut pictures = jpegs.open().map_err(DecodeError::Unreadable)?;
    let caps = match jpegs.size {
        (0, 0) => caps("image/jpeg,parsed=true")?,
        (width, height) => caps(&format!("image/jpeg,parsed=true,width={width},height={height}"))?,
    };
    give(source, caps, move || pictures.next());
    Ok(())
}

/// What libav's decoder calls the pictures of a GIF: `image/gif`, or a name of its own where GStreamer has none for it.
fn gif_media_type() -> String {
    let decoder = gst::ElementFactory::find("avdec_gif");
    let templates = decoder.iter().flat_map(|decoder| decoder.static_pad_templates());
    let sink = templates.into_iter().find(|template| template.direction() == gst::PadDirection::Sink);
    let caps = sink.map(|sink| sink.caps());
    let name = caps.as_ref().and_then(|caps| caps.structure(0)).map(|structure| structure.name().to_string());
    name.unwrap_or_else(|| "image/gif".to_owned())
}

/// The same for what is left of a Matroska file.
pub(super) fn serve_remains(source: &gst_app::AppSrc, remains: &Remains) -> Result<(), DecodeError> {
    let caps = described(remains.codec.in_container(), remains.private.as_ref())?;
    let mut blocks = remains.blocks();
    give(source, caps, move || blocks.next());
    Ok(())
}

/// With the description that the codec wants.
fn described(text: &str, private: Option<&Vec<u8>>) -> Result<gst::Caps, DecodeError> {
    let mut caps = caps(text)?;
    if let (Some(private), Some(structure)) = (private, caps.make_mut().structure_mut(0)) {
        structure.set("codec_data", gst::Buffer::from_slice(private.clone()));
    }
    Ok(caps)
}

fn caps(text: &str) -> Result<gst::Caps, DecodeError> {
    text.parse::<gst::Caps>().map_err(|error| DecodeError::Setup(error.to_string()))
}

fn give(
    source: &gst_app::AppSrc,
    caps: gst::Caps,
    next: impl FnMut() -> std::io::Result<Option<Unit>> + Send + 'static,
) {
    source.set_caps(Some(&caps));
    let next = Mutex::new(next);
    let give = move |source: &gst_app::AppSrc, _: u32| match (*lock(&next))() {
        Ok(Some(unit)) => {
            let mut buffer = gst::Buffer::from_slice(unit.data);
            let fields = buffer.get_mut().expect("a new buffer has one owner");
            let time = |nanos: Option<i64>| nanos.and_then(|nanos| u64::try_from(nanos).ok());
            fields.set_pts(time(unit.pts).map(gst::ClockTime::from_nseconds));
            fields.set_dts(time(unit.dts).map(gst::ClockTime::from_nseconds));
            fields.set_duration(time(unit.duration).map(gst::ClockTime::from_nseconds));
            if unit.delta {
                fields.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            let _ = source.push_buffer(buffer);
        }
        Ok(None) => {
            let _ = source.end_of_stream();
        }
        // What was read up to an error counts, and the error is told with it.
        Err(error) => {
            gst::element_error!(source, gst::ResourceError::Read, ("{error}"));
            let _ = source.end_of_stream();
        }
    };
    source.set_callbacks(gst_app::AppSrcCallbacks::builder().need_data(give).build());
}
