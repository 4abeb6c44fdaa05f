//! How a file is made, drawn by number: the same number is the same file everywhere.

use std::time::Duration;

/// How a file is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recipe {
    pub(super) container: Container,
    pub(super) codec: Codec,
    /// Frames per second.
    pub(super) rate: (u32, u32),
    /// What the coded video says of it.
    pub(super) told_rate: (u32, u32),
    /// From one key frame to the next.
    pub(super) group: u32,
    pub(super) frames: u32,
    pub(super) sound: Sound,
    /// The video begins this much later than the clock.
    pub(super) late: Duration,
    /// Behind this frame the next one comes so much later.
    pub(super) gap: Option<(u32, Duration)>,
    /// A second, smaller video track behind the one that counts: of several default tracks the first is taken.
    pub(super) second: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Container {
    Mp4,
    Mov,
    Mkv,
    WebM,
    Flv,
    Ts,
    Avi,
    Ivf,
    Gif,
    /// None: the coded frames one behind the other.
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Codec {
    /// With so many B-frames; `pyramid`: some of them are referred to; `open`: open groups.
    H264 {
        b_frames: u32,
        pyramid: bool,
        open: bool,
    },
    /// Frames whose blocks are of fields or not (MBAFF).
    H264Interlaced,
    /// Pictures are refreshed little by little, and only the first frame is a key frame.
    H264Refreshed,
    /// Each picture is two fields; `together`: they come in one packet.
    H264Fields {
        together: bool,
    },
    Hevc,
    /// `hidden`: some frames are not shown but referred to.
    Vp8 {
        hidden: bool,
    },
    Vp9 {
        hidden: bool,
    },
    Av1,
    Mpeg2,
    Mpeg2Fields {
        together: bool,
    },
    Mpeg4,
    Mjpeg,
    Gif,
    Uncompressed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sound {
    None,
    /// Its track is the first or the last, and it ends with the video.
    Beside(Place),
    /// It goes on for long after the video.
    Longer,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Before,
    Behind,
}

/// Numbers that look random and are always the same (splitmix64).
pub(super) struct Draw(u64);

impl Draw {
    fn number(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.number(choices.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.number(times) == 0
    }
}

impl Recipe {
    pub(super) fn numbered(number: usize) -> Self {
        use Container::{Avi, Flv, Gif, Ivf, Mkv, Mov, Mp4, Raw, Ts, WebM};
        let mut draw = Draw(number as u64);
        let container = [Mp4, Mkv, Ts, Flv, Mov, WebM, Raw, Avi, Ivf, Gif][number % 10];
        let h264 = Codec::H264 { b_frames: draw.of(&[0, 2, 3]), pyramid: draw.once_in(2), open: draw.once_in(3) };
        let plain = Codec::H264 { b_frames: 0, pyramid: false, open: false };
        let (interlaced, refreshed) = (Codec::H264Interlaced, Codec::H264Refreshed);
        let fields = Codec::H264Fields { together: draw.once_in(2) };
        let mpeg2_fields = Codec::Mpeg2Fields { together: draw.once_in(2) };
        let (vp8, vp9) = (Codec::Vp8 { hidden: draw.once_in(2) }, Codec::Vp9 { hidden: draw.once_in(2) });
        let codec = match container {
            Mp4 => draw.of(&[h264, h264, h264, Codec::Hevc, fields, interlaced, refreshed, Codec::Av1]),
            Mov => draw.of(&[h264, h264, Codec::Mjpeg, fields]),
            Mkv => draw.of(&[h264, h264, Codec::Hevc, vp9, Codec::Mpeg4, fields, mpeg2_fields, interlaced, Codec::Av1]),
            Ts => draw.of(&[h264, h264, Codec::Hevc, Codec::Mpeg2, fields, mpeg2_fields, interlaced, refreshed]),
            WebM => draw.of(&[vp8, vp9, vp9, Codec::Av1]),
            Flv => draw.of(&[h264, plain]),
            Avi => draw.of(&[Codec::Mpeg4, Codec::Mjpeg, plain]),
            Ivf => draw.of(&[vp8, vp9]),
            Gif => Codec::Gif,
            Raw => draw.of(&[
                h264,
                fields,
                interlaced,
                refreshed,
                Codec::Hevc,
                Codec::Mpeg2,
                mpeg2_fields,
                Codec::Mjpeg,
                Codec::Av1,
                Codec::Uncompressed,
            ]),
        };
        let steady = matches!(container, Avi | Ivf | Gif | Raw)
            || matches!(codec, Codec::Mpeg2 | Codec::Mpeg2Fields { .. } | Codec::Mpeg4);
        // One JPEG by itself is a still picture.
        let least = if (container, codec) == (Raw, Codec::Mjpeg) { 2 } else { 1 };
        let frames = draw.of(&[least, 7, 40, 75]);
        let sound = match container {
            Avi | Ivf | Gif | Raw => Sound::None,
            _ => draw.of(&[Sound::None, Sound::Beside(Place::Before), Sound::Beside(Place::Behind), Sound::Longer]),
        };
        let late = if steady || !draw.once_in(3) { Duration::ZERO } else { draw.of(&[500, 1300]).millis() };
        let gap = (!steady && frames > 7 && draw.once_in(3))
            .then(|| (draw.number(frames as usize - 1) as u32, draw.of(&[400, 5000]).millis()));
        let several = matches!(container, Mp4 | Mov | Mkv);
        let second = several && draw.once_in(4);
        let rate = match codec {
            Codec::Mpeg2 | Codec::Mpeg2Fields { .. } => draw.of(&[(25, 1), (30_000, 1001)]),
            // Nothing tells the rate.
            Codec::Mjpeg | Codec::Av1 if container == Raw => (25, 1),
            // Counted in hundredths of a second.
            Codec::Gif => draw.of(&[(25, 1), (10, 1), (2, 1)]),
            _ => draw.of(&[(25, 1), (30_000, 1001), (10, 1), (60, 1)]),
        };
        let absurd = [(90_000, 1), (1_000_000_000, 1), (1, 1000)];
        let told_rate = match codec {
            Codec::H264Fields { .. } if draw.once_in(3) => draw.of(&absurd),
            _ => rate,
        };
        // Where nothing else tells the rate, an absurd one is as good as none.
        let rate = if container == Raw && absurd.contains(&told_rate) { (25, 1) } else { rate };
        let group = draw.of(&[5, 25, 250]);
        Self { container, codec, rate, told_rate, group, frames, sound, late, gap, second }
    }

    /// Time of each picture on the file's clock.
    pub(super) fn clock(&self) -> Vec<Duration> {
        let time = |number: u32| {
            let nanos = u64::from(number) * 1_000_000_000 * u64::from(self.rate.1) / u64::from(self.rate.0);
            let gap = self.gap.filter(|(behind, _)| number > *behind).map_or(Duration::ZERO, |(_, length)| length);
            self.late + Duration::from_nanos(nanos) + gap
        };
        (0..self.frames).map(time).collect()
    }

    /// Time of each picture as players show it: from where the medium starts, which is where its first track does.
    pub(super) fn times(&self) -> Vec<Duration> {
        let is_alone = self.sound == Sound::None && !self.second;
        let start = if is_alone { self.late } else { Duration::ZERO };
        self.clock().iter().map(|time| *time - start).collect()
    }

    pub(super) fn ending(&self) -> &'static str {
        match self.container {
            Container::Mp4 => "mp4",
            Container::Mov => "mov",
            Container::Mkv => "mkv",
            Container::WebM => "webm",
            Container::Flv => "flv",
            Container::Ts => "ts",
            Container::Avi => "avi",
            Container::Ivf => "ivf",
            Container::Gif => "gif",
            Container::Raw => match self.codec {
                Codec::Hevc => "265",
                Codec::Mpeg2 | Codec::Mpeg2Fields { .. } => "m2v",
                Codec::Mjpeg => "mjpeg",
                Codec::Av1 => "obu",
                Codec::Uncompressed => "y4m",
                _ => "264",
            },
        }
    }
}

pub(super) trait Millis {
    fn millis(self) -> Duration;
}

impl Millis for u64 {
    fn millis(self) -> Duration {
        Duration::from_millis(self)
    }
}
