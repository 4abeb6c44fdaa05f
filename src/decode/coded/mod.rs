//! What coded frames say of themselves before they are decoded: whether decoding can start with one, whether it gives a
//! picture of its own, and whether no other frame refers to it. One of the last kind need not be decoded where its picture is
//! not wanted, and all others come out the same bit for bit. Pure.
//!
//! What is not certain counts as needed: layers of frames (HEVC's temporal sub-layers), unless there is just one; frames
//! packed together with others.

mod av1;
mod bits;
mod fields;
mod h264;
mod mpeg2;
mod records;
mod vpx;

pub(super) use av1::{begins_with_key as av1_begins_with_key, is_start as is_av1_start, leb128};
pub(super) use fields::{Field, FieldFinder};
pub(super) use h264::FrameNumbers;
use h264::{Layout, ParameterSets, Start, units};
pub(super) use records::{avc_length_size, avc_sets, hevc_length_size, hevc_sets};

/// The codecs of which something is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
    /// MPEG-1 and MPEG-2 video.
    Mpeg2,
    /// MPEG-4 part 2.
    Mpeg4,
    Vp8,
    Vp9,
    Av1,
}

impl Codec {
    /// How GStreamer describes its frames as containers hold them, one at a time beside a configuration record.
    pub(super) fn in_container(self) -> &'static str {
        match self {
            Self::H264 => "video/x-h264,stream-format=avc,alignment=au",
            Self::H265 => "video/x-h265,stream-format=hvc1,alignment=au",
            Self::Mpeg2 => "video/mpeg,mpegversion=2,systemstream=false",
            Self::Mpeg4 => "video/mpeg,mpegversion=4,systemstream=false",
            Self::Vp8 => "video/x-vp8",
            Self::Vp9 => "video/x-vp9",
            Self::Av1 => "video/x-av1,stream-format=obu-stream,alignment=tu",
        }
    }
}

/// What is known of one coded frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Decoding can start with it.
    pub(super) key: bool,
    /// There is no picture of it to show: it is only there for others to refer to, or it is not whole yet behind a gradual
    /// start.
    pub(super) hidden: bool,
    /// No other frame refers to it.
    pub(super) disposable: bool,
}

/// Looks at the frames of one stream, in coded order.
#[derive(Clone, Debug, Default)]
pub(super) struct Inspector {
    syntax: Syntax,
    /// A frame was seen with which H.264 can start.
    start_seen: bool,
    recovery: Option<Recovery>,
}

/// How the frames of a stream are read.
#[derive(Clone, Debug, Default)]
enum Syntax {
    #[default]
    Unknown,
    H264(Layout, ParameterSets),
    /// Whether all frames are of one temporal layer, once that is known.
    H265(Layout, Option<bool>),
    Mpeg2,
    Mpeg4,
    Vp8,
    Vp9,
    Av1(Option<av1::Sequence>),
}

/// Pictures that become whole little by little (periodic intra refresh).
#[derive(Clone, Copy, Debug)]
struct Recovery {
    /// Number of the frame at which it began, and how many more it takes.
    from: u32,
    frames: u32,
}

impl Inspector {
    /// `record`: what the container has of the codec (`avcC`, `hvcC`, `av1C`).
    pub(super) fn new(codec: Option<Codec>, record: Option<&[u8]>) -> Self {
        let syntax = match codec {
            None => Syntax::Unknown,
            Some(Codec::H264) => Syntax::H264(
                record.map_or(Layout::StartCodes, Layout::from_codec_data),
                record.map(ParameterSets::from_codec_data).unwrap_or_default(),
            ),
            Some(Codec::H265) => {
                let layout = record.map_or(Layout::StartCodes, Layout::from_h265_codec_data);
                let layers = record.and_then(|record| h265_sub_layers(Some(record), layout, &[]));
                Syntax::H265(layout, layers.map(|layers| layers == 1))
            }
            Some(Codec::Mpeg2) => Syntax::Mpeg2,
            Some(Codec::Mpeg4) => Syntax::Mpeg4,
            Some(Codec::Vp8) => Syntax::Vp8,
            Some(Codec::Vp9) => Syntax::Vp9,
            Some(Codec::Av1) => Syntax::Av1(record.and_then(|record| record.get(4..)).and_then(av1::sequence_in)),
        };
        Self { syntax, start_seen: false, recovery: None }
    }

    /// The same stream goes on with another description.
    pub(super) fn goes_on_from(self, before: &Self) -> Self {
        Self { start_seen: before.start_seen, recovery: before.recovery, ..self }
    }

    /// A finder of single fields, for streams that may have such.
    pub(super) fn field_finder(&self) -> Option<FieldFinder> {
        match &self.syntax {
            Syntax::H264(layout, sets) if sets.frames_only() != Some(true) => {
                Some(FieldFinder::H264(*layout, sets.clone()))
            }
            Syntax::Mpeg2 => Some(FieldFinder::Mpeg2),
            _ => None,
        }
    }

    /// Whether frames tell those that they refer to by places in a list of all that can be referred to.
    pub(super) fn lists_references(&self) -> bool {
        matches!(self.syntax, Syntax::H264(..))
    }

    /// Whether frames that are shown before this key frame, and coded behind it, need none before it.
    pub(super) fn is_closed(&self, key_frame: &[u8]) -> bool {
        match &self.syntax {
            Syntax::H264(layout, _) => h264::has_idr(*layout, key_frame),
            // Table 7-1: IDR_W_RADL.
            Syntax::H265(layout, _) => {
                units(*layout, key_frame).any(|unit| unit.first().is_some_and(|head| head >> 1 & 0x3f == 19))
            }
            Syntax::Mpeg2 => mpeg2::begins_closed_group(key_frame),
            _ => false,
        }
    }

    /// Whether this is a B picture, which is shown before one that is decoded before it.
    pub(super) fn is_bidirectional(&self, frame: &[u8]) -> bool {
        match &self.syntax {
            Syntax::H264(layout, _) => h264::is_bidirectional(*layout, frame),
            Syntax::Mpeg2 => mpeg2::is_disposable(frame),
            Syntax::Mpeg4 => is_bidirectional_mpeg4(frame),
            _ => false,
        }
    }

    /// `delta`: the container or the parser says that it is no key frame.
    pub(super) fn look(&mut self, frame: &[u8], delta: bool) -> Said {
        // These go through no parser, and not every container tells key frames.
        let delta = match self.syntax {
            Syntax::Vp8 => !vpx::vp8_is_key(frame),
            Syntax::Vp9 => !vpx::vp9_is_key(frame),
            // The parser calls the last picture of a stream a key frame, whatever it is.
            Syntax::Mpeg2 => delta || mpeg2::needs_others(frame),
            _ => delta,
        };
        let key = !delta && self.can_start_with(frame);
        let recovering = self.is_recovering(frame, key);
        let said = Said { key, hidden: recovering, disposable: false };
        if !delta {
            self.note_headers(frame);
            return said;
        }
        let (hidden, disposable) = match &self.syntax {
            // 7.4.1: a slice (types 1 to 5) with nal_ref_idc 0 is no part of a reference picture.
            Syntax::H264(layout, _) => (
                false,
                all(units(*layout, frame).filter_map(|unit| {
                    let head = *unit.first()?;
                    (1..=5).contains(&(head & 0x1f)).then_some(head >> 5 & 3 == 0)
                })),
            ),
            // Table 7-1: of the types below 16 the even ones are sub-layer non-reference pictures.
            Syntax::H265(layout, Some(true)) => (
                false,
                all(units(*layout, frame).filter_map(|unit| {
                    let kind = unit.first()? >> 1 & 0x3f;
                    let lowest_layer = unit.get(1)? & 7 == 1;
                    (kind < 32).then_some(kind < 16 && kind % 2 == 0 && lowest_layer)
                })),
            ),
            Syntax::Mpeg2 => (false, mpeg2::is_disposable(frame)),
            Syntax::Mpeg4 => (false, is_bidirectional_mpeg4(frame)),
            Syntax::Vp8 => (vpx::vp8_is_hidden(frame), false),
            Syntax::Vp9 => match vpx::vp9(frame) {
                Some(vpx::Vp9 { hidden, refreshes_nothing }) => (hidden, refreshes_nothing),
                None => (false, false),
            },
            Syntax::Av1(Some(sequence)) => (av1::is_hidden(sequence, frame), av1::is_disposable(sequence, frame)),
            Syntax::H265(..) | Syntax::Av1(None) | Syntax::Unknown => (false, false),
        };
        Said { hidden: hidden || recovering, disposable, ..said }
    }

    /// Whether decoding can start with a frame that is not said to need others.
    fn can_start_with(&mut self, frame: &[u8]) -> bool {
        let Syntax::H264(layout, sets) = &mut self.syntax else { return true };
        let seen = self.start_seen;
        match h264::start(*layout, frame) {
            Start::Clean => {
                self.start_seen = true;
                self.recovery = None;
                true
            }
            // Behind a clean start these are frames like any other.
            Start::Gradual(frames) if !seen => {
                self.start_seen = true;
                sets.note_all(*layout, frame);
                let slice = sets.first_slice(*layout, frame);
                self.recovery = slice.map(|slice| Recovery { from: slice.frame_num, frames });
                true
            }
            // Some encoders never mark a start; then every intra picture has to do.
            Start::Gradual(_) | Start::Unmarked => !seen,
        }
    }

    fn is_recovering(&mut self, frame: &[u8], key: bool) -> bool {
        let (Some(recovery), Syntax::H264(layout, sets)) = (self.recovery, &self.syntax) else { return false };
        if let Some(slice) = sets.first_slice(*layout, frame).filter(|slice| slice.reference && !key) {
            let numbers = 1 << slice.frame_num_bits;
            let passed = (slice.frame_num + numbers - recovery.from % numbers) % numbers;
            self.recovery = Some(recovery).filter(|recovery| passed < recovery.frames);
        }
        self.recovery.is_some()
    }

    /// Key frames may bring what the container does not tell.
    fn note_headers(&mut self, frame: &[u8]) {
        match &mut self.syntax {
            Syntax::H265(layout, one_layer) if one_layer.is_none() => {
                *one_layer = h265_sub_layers(None, *layout, frame).map(|layers| layers == 1);
            }
            Syntax::Av1(sequence) => *sequence = av1::sequence_in(frame).or(*sequence),
            _ => {}
        }
    }
}

/// ISO/IEC 14496-2, 6.2.5: vop_coding_type; 2 is a B-VOP.
fn is_bidirectional_mpeg4(frame: &[u8]) -> bool {
    let is_b = |head: &[u8]| head.first().is_some_and(|byte| byte >> 6 == 2);
    all(mpeg2::behind_codes(frame, 0xb6).map(is_b))
}

/// Whether there is any part, and all parts say so.
fn all(mut parts: impl Iterator<Item = bool>) -> bool {
    parts.next() == Some(true) && parts.all(|part| part)
}

/// Number of temporal sub-layers that an H.265 stream may have: from the decoder configuration record (`hvcC`), else from
/// the video parameter set in a frame.
fn h265_sub_layers(record: Option<&[u8]>, layout: Layout, frame: &[u8]) -> Option<u8> {
    if let Some(record) = record {
        return Some(record.get(21)? >> 3 & 7);
    }
    const VIDEO_PARAMETER_SET: u8 = 32;
    let set =
        units(layout, frame).find(|unit| unit.first().is_some_and(|head| head >> 1 & 0x3f == VIDEO_PARAMETER_SET))?;
    // Behind the header of two bytes: 4 + 2 + 6 bits, and then vps_max_sub_layers_minus1.
    Some((set.get(3)? >> 1 & 7) + 1)
}

#[cfg(test)]
mod tests;
