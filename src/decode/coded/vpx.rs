//! Frames of VP8 (RFC 6386) and VP9. Pure.

use super::bits::Bits;

/// RFC 6386, 9.1.
pub(super) fn vp8_is_key(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| byte & 1 == 0)
}

/// RFC 6386, 9.1: whether the frame is only there for others to refer to. It has a packet of its own, with a time of its own.
pub(super) fn vp8_is_hidden(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| byte >> 4 & 1 == 0)
}

/// VP9 bitstream specification, 6.2: of several frames in one, the first counts.
pub(super) fn vp9_is_key(frame: &[u8]) -> bool {
    let is_key = |bits: &mut Bits<_>| {
        let (_marker, profile) = (bits.number(2)?, bits.number(2)?);
        if profile == 3 {
            bits.skip(1)?;
        }
        let (shows_existing, is_delta) = (bits.flag()?, bits.flag()?);
        Some(!shows_existing && !is_delta)
    };
    is_key(&mut Bits::of(frame.iter().copied())) == Some(true)
}

/// What the head of a VP9 frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vp9 {
    pub(super) hidden: bool,
    /// It is a frame to be shown that no later frame can refer to.
    pub(super) refreshes_nothing: bool,
}

/// VP9 bitstream specification, 6.2: the fields up to refresh_frame_flags. `None`: not such a frame, or several in one.
pub(super) fn vp9(frame: &[u8]) -> Option<Vp9> {
    // A superframe, which ends with an index of its frames, holds hidden ones that others need and one that is shown.
    if frame.last()? & 0xe0 == 0xc0 {
        return None;
    }
    let mut bits = Bits::of(frame.iter().copied());
    if bits.number(2)? != 2 {
        return None;
    }
    let profile = bits.number(1)? | bits.number(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    let needed = Vp9 { hidden: false, refreshes_nothing: false };
    if bits.flag()? {
        // show_existing_frame.
        return Some(needed);
    }
    let (non_key, show_frame, error_resilient) = (bits.flag()?, bits.flag()?, bits.flag()?);
    if !show_frame {
        return Some(Vp9 { hidden: true, ..needed });
    }
    if !non_key {
        return Some(needed);
    }
    if !error_resilient {
        bits.skip(2)?;
    }
    Some(Vp9 { refreshes_nothing: bits.number(8)? == 0, ..needed })
}
