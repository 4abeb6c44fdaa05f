//! A file made after its recipe, with GStreamer.

use std::path::Path;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::picture::{SIDE, picture};
use super::recipe::{Codec, Container, Place, Recipe, Sound};

/// What the sound lasts; also the rest of a second by which late videos begin.
const SOUND_BUFFER: Duration = Duration::from_nanos(1024 * 1_000_000_000 / 48_000);

impl Recipe {
    fn graph(&self, path: &Path) -> String {
        let group = self.group;
        let encoder = match self.codec {
            Codec::H264 { b_frames, pyramid, open } => format!(
                "x264enc speed-preset=veryfast key-int-max={group} bframes={b_frames} b-adapt=false b-pyramid={pyramid} \
                 option-string=scenecut=0:open-gop={} ! h264parse",
                u8::from(open)
            ),
            Codec::Hevc => format!("x265enc speed-preset=ultrafast key-int-max={group} ! h265parse"),
            Codec::Vp8 => format!("vp8enc deadline=1 keyframe-max-dist={group}"),
            Codec::Vp9 => format!("vp9enc deadline=1 cpu-used=8 keyframe-max-dist={group}"),
            Codec::Mpeg2 => "mpeg2enc ! mpegvideoparse".to_owned(),
            Codec::Mpeg4 => format!("avenc_mpeg4 bitrate=2000000 gop-size={group}"),
            Codec::Mjpeg => "jpegenc".to_owned(),
        };
        let mux = match self.container {
            Container::Mp4 => "mp4mux",
            Container::Mov => "qtmux",
            Container::Mkv => "matroskamux",
            Container::WebM => "webmmux",
            Container::Flv => "flvmux",
            Container::Ts => "mpegtsmux",
            Container::Avi => "avimux",
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
        let graph = self.graph(path);
        let made = gst::parse::launch(&graph).unwrap_or_else(|error| panic!("{error}: {graph}"));
        let pipeline = made.downcast::<gst::Pipeline>().unwrap();
        let pictures: gst_app::AppSrc = pipeline.by_name("pictures").unwrap().downcast().unwrap();
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", SIDE as i32)
            .field("height", SIDE as i32)
            .field("framerate", gst::Fraction::new(self.rate.0 as i32, self.rate.1 as i32))
            .field("interlace-mode", "progressive")
            .build();
        pictures.set_caps(Some(&caps));
        pipeline.set_state(gst::State::Playing).unwrap();
        let clock = self.clock();
        let step = Duration::from_secs(1) * self.rate.1 / self.rate.0;
        for (number, time) in clock.iter().enumerate() {
            let until = clock.get(number + 1).copied().unwrap_or(*time + step);
            let mut buffer = gst::Buffer::from_slice(picture(number as u32));
            let stamp = buffer.get_mut().unwrap();
            stamp.set_pts(gst::ClockTime::from_nseconds(time.as_nanos() as u64));
            stamp.set_duration(gst::ClockTime::from_nseconds((until - *time).as_nanos() as u64));
            pictures.push_buffer(buffer).unwrap();
        }
        pictures.end_of_stream().unwrap();
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(120), &kinds);
        pipeline.set_state(gst::State::Null).unwrap();
        let message = message.unwrap_or_else(|| panic!("{self:?} is not made in two minutes: {graph}"));
        assert!(matches!(message.view(), gst::MessageView::Eos(_)), "{self:?}: {message:?}: {graph}");
    }
}
