//! The demuxers of libav (NUT and rarer containers) as GStreamer wraps them: they are not told that the file has come to
//! its end and ask for the rest of it for ever, and of H.264 and H.265 with start codes they say that it has none.

use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::lock;

/// Asked for so many times in a row, a place has nothing to give. While the file is opened there are some, too, that end.
const MOST_TRIES: u32 = 20_000;

/// Where a demuxer reads, how many times in a row it did so there, and whether it was stopped.
#[derive(Debug, Default)]
struct Position {
    at: u64,
    tries: u32,
}

pub(super) fn is_demuxer(factory: &str) -> bool {
    factory.starts_with("avdemux_")
}

/// Has this demuxer end where its file does. `ended`: called when it ends without having found any track.
pub(super) fn watch(demuxer: &gst::Element, ended: impl Fn() + Send + Sync + 'static) {
    let Some(input) = demuxer.static_pad("sink") else { return };
    let position = Arc::new(Mutex::new(Position::default()));
    let owner = demuxer.downgrade();
    input.add_probe(gst::PadProbeType::PULL | gst::PadProbeType::BLOCK, move |_, info| {
        let mut position = lock(&position);
        position.tries = if info.offset == position.at { position.tries + 1 } else { 0 };
        position.at = info.offset;
        if position.tries < MOST_TRIES {
            return gst::PadProbeReturn::Pass;
        }
        drop(position);
        let outputs = owner.upgrade().map(|demuxer| demuxer.src_pads()).unwrap_or_default();
        if outputs.is_empty() {
            ended();
        }
        for output in outputs {
            output.push_event(gst::event::Eos::new());
        }
        // It waits here until the graph is taken down.
        gst::PadProbeReturn::Ok
    });
    demuxer.connect_pad_added(|_, output| {
        let parameter_sets = Mutex::new(None);
        let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
        output.add_probe(kinds, move |_, info| {
            if let Some(gst::EventView::Caps(event)) = info.event().map(|event| event.view()) {
                if let Some((caps, sets)) = with_start_codes(event.caps()) {
                    *lock(&parameter_sets) = sets;
                    info.data = Some(gst::PadProbeData::Event(gst::event::Caps::new(&caps)));
                }
            } else if let Some(frame) = info.buffer_mut()
                && let Some(sets) = lock(&parameter_sets).take()
            {
                put_before(sets, frame);
            }
            gst::PadProbeReturn::Ok
        });
    });
}

/// The description of H.264 or H.265 whose parameter sets have start codes, as a parser takes it, and these sets, which it
/// wants to find in the stream.
fn with_start_codes(caps: &gst::CapsRef) -> Option<(gst::Caps, Option<gst::Buffer>)> {
    let structure = caps.structure(0)?;
    if !["video/x-h264", "video/x-h265"].contains(&structure.name().as_str()) {
        return None;
    }
    let sets = structure.get::<gst::Buffer>("codec_data").ok();
    // Configuration records begin with their version, 1.
    if sets.as_ref().and_then(|sets| sets.map_readable().ok()).is_some_and(|record| record.first() == Some(&1)) {
        return None;
    }
    let mut caps = caps.to_owned();
    let structure = caps.make_mut().structure_mut(0)?;
    structure.remove_fields(["codec_data", "alignment"]);
    structure.set("stream-format", "byte-stream");
    Some((caps, sets))
}

fn put_before(mut sets: gst::Buffer, frame: &mut gst::Buffer) {
    let (pts, duration, flags) = (frame.pts(), frame.duration(), frame.flags());
    sets.append(frame.clone());
    let fields = sets.make_mut();
    fields.set_pts(pts);
    fields.set_duration(duration);
    fields.set_flags(flags);
    *frame = sets;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_start_codes_is_said_to_have_them() {
        gst::init().unwrap();
        let described = |record: &'static [u8]| {
            let caps = gst::Caps::builder("video/x-h264").field("stream-format", "avc").field("alignment", "au");
            with_start_codes(&caps.field("codec_data", gst::Buffer::from_slice(record)).build())
        };
        assert!(described(&[1, 100, 0, 31, 0xff]).is_none());
        let (caps, sets) = described(&[0, 0, 0, 1, 0x67]).unwrap();
        assert_eq!(caps, gst::Caps::builder("video/x-h264").field("stream-format", "byte-stream").build());
        assert!(with_start_codes(&gst::Caps::new_empty_simple("image/gif")).is_none());
        let mut frame = gst::Buffer::from_slice([0u8, 0, 1, 0x65]);
        frame.make_mut().set_pts(gst::ClockTime::SECOND);
        put_before(sets.unwrap(), &mut frame);
        assert_eq!(frame.map_readable().unwrap().as_slice(), [0, 0, 0, 1, 0x67, 0, 0, 1, 0x65]);
        assert_eq!(frame.pts(), Some(gst::ClockTime::SECOND));
    }
}
