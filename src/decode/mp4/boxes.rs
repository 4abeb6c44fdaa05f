//! The boxes that MP4 and MOV files are made of: reading them without believing them, and writing them.

/// A limit against files made to hurt.
const MOST_CHILDREN: usize = 100_000;

/// Kind, length of the header and of the whole box. `rest` is what there is from its start on.
pub(in crate::decode) fn head(bytes: &[u8], rest: u64) -> Option<([u8; 4], u64, u64)> {
    let kind: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    let (header, size) = match u64::from(be32(bytes, 0)?) {
        0 => (8, rest),
        1 => (16, be64(bytes, 8)?),
        size => (8, size),
    };
    (size >= header).then_some((kind, header, size))
}

/// Kind and content of the boxes within a box. One that claims to be longer than the box it lies in ends with that box, as
/// FFmpeg takes it.
pub(in crate::decode) fn children(body: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    let mut rest = body;
    while let Some((kind, header, size)) = head(rest, rest.len() as u64) {
        let (one, behind) = rest.split_at(usize::try_from(size).unwrap_or(usize::MAX).min(rest.len()));
        if found.len() >= MOST_CHILDREN {
            break;
        }
        found.push((kind, &one[header as usize..]));
        rest = behind;
    }
    found
}

/// The content of the first box at the end of this path.
pub(in crate::decode) fn child<'a>(body: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(body, |body, kind| {
        children(body).into_iter().find(|(found, _)| found == *kind).map(|(_, content)| content)
    })
}

pub(super) fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 8);
    bytes.extend(((content.len() + 8) as u32).to_be_bytes());
    bytes.extend(kind);
    bytes.extend(content);
    bytes
}

pub(in crate::decode) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A table of rows of `width` bytes behind version, flags and a count; no more rows than there are bytes for.
pub(super) fn rows(table: &[u8], width: usize) -> impl Iterator<Item = &[u8]> {
    let count = be32(table, 4).unwrap_or(0) as usize;
    table.get(8..).unwrap_or(&[]).chunks_exact(width).take(count)
}

/// What the headers of movie, track and media have in common: they begin with version, flags and two times, and all
/// times are twice as long in version 1.
pub(super) struct Header<'a>(pub(super) &'a [u8]);

impl Header<'_> {
    fn wide(&self) -> bool {
        self.0.first() == Some(&1)
    }

    /// Seconds since 1904.
    pub(super) fn created(&self) -> u64 {
        if self.wide() { be64(self.0, 4) } else { be32(self.0, 4).map(u64::from) }.unwrap_or(0)
    }

    /// Of movie and media: units a second.
    pub(super) fn time_scale(&self) -> Option<u32> {
        be32(self.0, if self.wide() { 20 } else { 12 })
    }

    /// Of movie and media, in units of the time scale.
    pub(super) fn duration(&self) -> Option<u64> {
        if self.wide() { be64(self.0, 24) } else { be32(self.0, 16).map(u64::from) }
    }

    /// Of a track.
    pub(super) fn track_id(&self) -> Option<u32> {
        be32(self.0, if self.wide() { 20 } else { 12 })
    }

    /// The first four of the nine numbers of the display matrix that matter: a, b, c, d.
    pub(super) fn matrix(&self, is_track: bool) -> Option<[i32; 4]> {
        let at = if is_track { 40 } else { 36 } + if self.wide() { 12 } else { 0 };
        let number = |index: usize| be32(self.0, at + index * 4).map(|number| number as i32);
        Some([number(0)?, number(1)?, number(3)?, number(4)?])
    }

    /// Of a track: width and height in 65536ths of a pixel.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let at = if self.wide() { 88 } else { 76 };
        Some((be32(self.0, at)?, be32(self.0, at + 4)?))
    }
}
