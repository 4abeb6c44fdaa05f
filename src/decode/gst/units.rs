//! Feeds the units of a stream to a graph.

use std::io;
use std::sync::Mutex;

use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::DecodeError;
use super::super::unit::Unit;
use super::lock;

/// Gives the units one by one as the graph asks for them. `next`: the next one, none at the end.
pub(super) fn serve(
    source: &gst_app::AppSrc,
    caps: &str,
    next: impl FnMut() -> io::Result<Option<Unit>> + Send + 'static,
) -> Result<(), DecodeError> {
    let next = Mutex::new(next);
    let caps = caps.parse::<gst::Caps>().map_err(|error| DecodeError::Setup(error.to_string()))?;
    source.set_caps(Some(&caps));
    let give = move |source: &gst_app::AppSrc, _: u32| match (lock(&next))() {
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
        // What was read up to an error counts.
        Ok(None) | Err(_) => drop(source.end_of_stream()),
    };
    source.set_callbacks(gst_app::AppSrcCallbacks::builder().need_data(give).build());
    Ok(())
}
