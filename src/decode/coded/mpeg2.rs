//! Pictures of MPEG-1 and MPEG-2 video (ISO/IEC 13818-2). Pure.

use super::fields::Field;

const PICTURE: u8 = 0x00;
const GROUP: u8 = 0xb8;
const EXTENSION: u8 = 0xb5;
/// extension_start_code_identifier of the picture coding extension.
const PICTURE_CODING: u8 = 8;
const B_PICTURE: u8 = 3;

/// What follows on each start code of this kind.
pub(super) fn behind_codes(frame: &[u8], kind: u8) -> impl Iterator<Item = &[u8]> {
    let starts = frame.windows(4).enumerate().filter(move |(_, code)| *code == [0, 0, 1, kind]);
    starts.map(|(at, _)| &frame[at + 4..])
}

/// 6.2.3: picture_coding_type stands behind ten bits of temporal_reference. No other picture refers to a B picture.
pub(super) fn is_disposable(frame: &[u8]) -> bool {
    super::all(behind_codes(frame, PICTURE).map(|head| head.get(1).is_some_and(|byte| byte >> 3 & 7 == B_PICTURE)))
}

/// Whether the first picture is a P or a B picture.
pub(super) fn needs_others(frame: &[u8]) -> bool {
    const P_PICTURE: u8 = 2;
    let kind = behind_codes(frame, PICTURE).next().and_then(|head| head.get(1)).map(|byte| byte >> 3 & 7);
    kind.is_some_and(|kind| [P_PICTURE, B_PICTURE].contains(&kind))
}

/// 6.2.2.6: closed_gop stands behind 25 bits of time_code.
pub(super) fn begins_closed_group(frame: &[u8]) -> bool {
    behind_codes(frame, GROUP).next().and_then(|head| head.get(3)).is_some_and(|byte| byte & 0x40 != 0)
}

/// 6.2.3.1: picture_structure is 1 for a top field, 2 for a bottom field, 3 for a frame.
pub(super) fn field(frame: &[u8]) -> Option<Field> {
    let mut pictures = behind_codes(frame, PICTURE);
    let head = pictures.next()?;
    let coding = |head: &&[u8]| head.first().is_some_and(|byte| byte >> 4 == PICTURE_CODING);
    let bottom = match behind_codes(head, EXTENSION).find(coding)?.get(2)? & 3 {
        1 => false,
        2 => true,
        _ => return None,
    };
    let number = u32::from(*head.first()?) << 2 | u32::from(head.get(1)? >> 6);
    pictures.next().is_none().then_some(Field { bottom, number })
}
