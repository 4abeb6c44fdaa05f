//! A file made after its recipe, with GStreamer.

use std::path::Path;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::picture::{SIDE, picture};
use super::recipe::{Codec, Container, Place, Recipe, Sound};
use super::{gif, h264_fields, mpeg2_fields};

/// What the sound lasts; also the rest of a second by which late videos begin.
const SOUND_BUFFER: Duration = Duration::from_nanos(1024 * 1_000_000_000 / 48_000);

impl Recipe {
    fn graph(&self, path: &Path) -> String {
        let group = self.group;
        let x264 = format!("x264enc speed-preset=veryfast key-int-max={group}");
        // A raw stream is as a container is not: with start codes, and of whole frames.
        let raw = self.container == Container::Raw;
        let start_codes =
            |kind: &str| if raw { format!(" ! video/x-{kind},stream-format=byte-stream") } else { String::new() };
        let encoder = match self.codec {
            Codec::H264 { b_frames, pyramid, open } => format!(
                "{x264} bframes={b_frames} b-adapt=false b-pyramid={pyramid} option-string=scenecut=0:open-gop={} \
                 ! h264parse{}",
                u8::from(open),
                start_codes("h264")
            ),
            Codec::H264Interlaced => format!("{x264} interlaced=true ! h264parse{}", start_codes("h264")),
            Codec::H264Refreshed => format!("{x264} bframes=0 intra-refresh=true ! h264parse{}", start_codes("h264")),
            Codec::H264Fields { .. } => "video/x-h264".to_owned(),
            Codec::Mpeg2Fields { .. } => "video/mpeg".to_owned(),
            Codec::Hevc => {
                format!("x265enc speed-preset=ultrafast key-int-max={group} ! h265parse{}", start_codes("h265"))
            }
            Codec::Vp8 { hidden } => {
                let lag = if hidden { 16 } else { 0 };
                format!("vp8enc deadline=1 keyframe-max-dist={group} auto-alt-ref={hidden} lag-in-frames={lag}")
            }
            Codec::Vp9 { hidden } => {
                format!("vp9enc deadline=1 cpu-used=8 keyframe-max-dist={group} auto-alt-ref={hidden} lag-in-frames=25")
            }
            Codec::Av1 => format!("av1enc cpu-used=10 keyframe-max-dist={group} lag-in-frames=19 ! av1parse"),
            Codec::Mpeg2 => "mpeg2enc ! mpegvideoparse".to_owned(),
            Codec::Mpeg4 => format!("avenc_mpeg4 bitrate=2000000 gop-size={group}"),
            Codec::Mjpeg => "jpegenc".to_owned(),
            Codec::Uncompressed => "y4menc".to_owned(),
            Codec::Gif => unreachable!("GIF is written without a graph"),
        };
        let mux = match self.container {
            Container::Mp4 => "mp4mux",
            Container::Mov => "qtmux",
            Container::Mkv => "matroskamux",
            Container::WebM => "webmmux",
            Container::Flv => "flvmux",
            Container::Ts => "mpegtsmux",
            Container::Avi => "avimux",
            Container::Ivf => "avmux_ivf",
            Container::Raw | Container::Gif => "identity",
        };
        let video = format!("appsrc name=pictures format=time ! {encoder} ! queue max-size-time=0 ! mux.");
        let end = self.clock().last().copied().unwrap_or_default() + Duration::from_millis(40);
        let sound = |length: Duration| {
            let buffers = (length.as_nanos() / SOUND_BUFFER.as_nanos()).max(1);
            let encoder = if self.container == Container::WebM { "opusenc" } else { "avenc_aac ! aacparse" };
            format!(
                "audiotestsrc num-buffers={buffers} samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=1 ! {encoder} \
                 ! queue max-size-time=0 ! mux."
            )
        };
        let second = "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=32,height=32,framerate=25/1 \
                      ! x264enc ! h264parse ! queue max-size-time=0 ! mux.";
        let mut branches = match self.sound {
            Sound::None => vec![video],
            Sound::Beside(Place::Before) => vec![sound(end), video],
            Sound::Beside(Place::Behind) => vec![video, sound(end)],
            Sound::Longer => vec![sound(end + Duration::from_secs(20)), video],
        };
        if self.second {
            branches.push(second.to_owned());
        }
        format!("{mux} name=mux ! filesink location={} {}", path.display(), branches.join(" "))
    }

    pub(super) fn make(&self, path: &Path) {
        if self.codec == Codec::Gif {
            std::fs::write(path, gif::file(self.frames, self.rate)).unwrap();
            return;
        }
        let graph = self.graph(path);
        let made = gst::parse::launch(&graph).unwrap_or_else(|error| panic!("{error}: {graph}"));
        let pipeline = made.downcast::<gst::Pipeline>().unwrap();
        let pictures: gst_app::AppSrc = pipeline.by_name("pictures").unwrap().downcast().unwrap();
        pictures.set_caps(Some(&self.caps()));
        pipeline.set_state(gst::State::Playing).unwrap();
        let clock = self.clock();
        let step = Duration::from_secs(1) * self.rate.1 / self.rate.0;
        for (number, time) in clock.iter().enumerate() {
            let until = clock.get(number + 1).copied().unwrap_or(*time + step);
            let packets = self.packets(number as u32);
            let length = (until - *time) / packets.len() as u32;
            for (place, packet) in packets.into_iter().enumerate() {
                let mut buffer = gst::Buffer::from_slice(packet);
                let stamp = buffer.get_mut().unwrap();
                let time = *time + length * place as u32;
                stamp.set_pts(gst::ClockTime::from_nseconds(time.as_nanos() as u64));
                stamp.set_duration(gst::ClockTime::from_nseconds(length.as_nanos() as u64));
                if !(number as u32).is_multiple_of(self.group) || place > 0 {
                    stamp.set_flags(gst::BufferFlags::DELTA_UNIT);
                }
                pictures.push_buffer(buffer).unwrap();
            }
        }
        pictures.end_of_stream().unwrap();
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(120), &kinds);
        pipeline.set_state(gst::State::Null).unwrap();
        let message = message.unwrap_or_else(|| panic!("{self:?} is not made in two minutes: {graph}"));
        assert!(matches!(message.view(), gst::MessageView::Eos(_)), "{self:?}: {message:?}: {graph}");
    }

    /// What goes into the graph.
    fn caps(&self) -> gst::Caps {
        let name = match self.codec {
            Codec::H264Fields { .. } => "video/x-h264",
            Codec::Mpeg2Fields { .. } => "video/mpeg",
            _ => "video/x-raw",
        };
        let size = SIDE as i32;
        let rate = gst::Fraction::new(self.rate.0 as i32, self.rate.1 as i32);
        let caps = gst::Caps::builder(name).field("width", size).field("height", size).field("framerate", rate);
        match self.codec {
            Codec::H264Fields { .. } => {
                let format = if self.has_start_codes() { "byte-stream" } else { "avc" };
                let record =
                    (!self.has_start_codes()).then(|| gst::Buffer::from_slice(h264_fields::record(self.told_rate)));
                let caps = caps.field("stream-format", format).field("alignment", "au").field("parsed", true);
                caps.field_if_some("codec_data", record).build()
            }
            Codec::Mpeg2Fields { .. } => {
                caps.field("mpegversion", 2).field("systemstream", false).field("parsed", true).build()
            }
            _ => caps.field("format", "I420").field("interlace-mode", "progressive").build(),
        }
    }

    fn has_start_codes(&self) -> bool {
        matches!(self.container, Container::Ts | Container::Raw)
    }

    /// A picture, or the packets that it is coded in.
    fn packets(&self, number: u32) -> Vec<Vec<u8>> {
        let index = number % self.group;
        let (fields, together) = match self.codec {
            Codec::H264Fields { together } => {
                let field = |bottom| h264_fields::packet(number, index, bottom, self.told_rate, self.has_start_codes());
                ([field(false), field(true)], together)
            }
            Codec::Mpeg2Fields { together } => {
                ([false, true].map(|bottom| mpeg2_fields::field(number, index, bottom, self.rate)), together)
            }
            _ => return vec![picture(number)],
        };
        if together { vec![fields.concat()] } else { fields.to_vec() }
    }
}
