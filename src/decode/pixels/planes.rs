//! Luma and chroma, each as a plane of bytes of its own. Pure.

use std::borrow::Cow;

use super::Crop;

/// One of luma and chroma of a picture: a byte for each of its places.
#[derive(Clone, Debug)]
pub struct Plane<'a> {
    pub(super) data: Cow<'a, [u8]>,
    pub(super) width: u32,
    pub(super) height: u32,
    /// How many of its places there are for each of luma, and where the corner of the picture lies in it.
    scale: (f64, f64),
    corner: (f64, f64),
}

/// Where the coarser places of chroma lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Siting {
    /// On a place of luma, the first one of those that it is for; else between them.
    pub across: bool,
    pub down: bool,
}

impl<'a> Plane<'a> {
    /// As fine as luma. `stride`: bytes from one line to the next.
    pub fn new(data: &'a [u8], stride: usize, (width, height): (u32, u32)) -> Self {
        let (line, lines) = (width as usize, height as usize);
        let data = match data.get(..line * lines).filter(|_| stride == line) {
            Some(whole) => Cow::Borrowed(whole),
            None => {
                let rows = data.chunks(stride.max(1)).take(lines);
                let mut copy: Vec<u8> = rows.flat_map(|row| &row[..line.min(row.len())]).copied().collect();
                copy.resize(line * lines, 0);
                Cow::Owned(copy)
            }
        };
        Self { data, width, height, scale: (1.0, 1.0), corner: (0.0, 0.0) }
    }

    /// Line by line.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Brings the lines of the second field halfway to what lies between those of the first, and no further from them than
    /// these are apart: what rests keeps its detail, and what moves has no teeth. On sampled frames, which have no neighbours
    /// in time, nothing simple is nearer to what yadif makes of all. `bottom_first`: the first field has the odd lines.
    pub fn deinterlace(&mut self, bottom_first: bool) {
        deinterlace(self.data.to_mut(), self.width as usize, bottom_first);
    }

    /// The same plane as chroma of a picture that has luma twice as fine, across and down where that is said.
    pub fn coarser(self, (across, down): (bool, bool), siting: Siting) -> Self {
        if !across && !down {
            return self;
        }
        // Its last line and column once more: what lies on the first place of luma ends half a place before the picture does.
        let (line, lines) = (self.width as usize, self.height as usize);
        let mut data = Vec::with_capacity((line + 1) * (lines + 1));
        for row in self.data.chunks(line.max(1)).chain(self.data.chunks(line.max(1)).last()) {
            data.extend_from_slice(row);
            data.extend(row.last());
        }
        let scale = |is_coarser: bool| if is_coarser { 0.5 } else { 1.0 };
        let corner = |is_coarser: bool, on_luma: bool| if is_coarser && on_luma { 0.25 } else { 0.0 };
        Self {
            data: Cow::Owned(data),
            width: self.width + 1,
            height: self.height + 1,
            scale: (scale(across), scale(down)),
            corner: (corner(across, siting.across), corner(down, siting.down)),
        }
    }

    /// Where a rectangle of the picture lies in it.
    pub(super) fn crop(&self, (left, top, width, height): Crop) -> Crop {
        let ((across, down), (x, y)) = (self.scale, self.corner);
        (left * across + x, top * down + y, width * across, height * down)
    }
}

fn deinterlace(data: &mut [u8], line: usize, bottom_first: bool) {
    let lines = data.len() / line.max(1);
    for second in (usize::from(!bottom_first)..lines).step_by(2) {
        let (above, rest) = data.split_at_mut(second * line);
        let (target, below) = rest.split_at_mut(line);
        let above = above.len().checked_sub(line).map(|start| &above[start..]);
        let below = below.get(..line);
        let (Some(above), Some(below)) = (above.or(below), below.or(above)) else { return };
        for ((target, above), below) in target.iter_mut().zip(above).zip(below) {
            let own = (*target).clamp(*above.min(below), *above.max(below));
            let between = (u16::from(*above) + u16::from(*below)).div_ceil(2);
            *target = (u16::from(own) + between).div_ceil(2) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_field_is_brought_halfway_to_what_lies_between_the_first() {
        let mut data = vec![10, 10, 99, 11, 20, 20, 99, 99];
        deinterlace(&mut data, 2, false);
        assert_eq!(data, [10, 10, 18, 13, 20, 20, 20, 20]);
        let mut data = vec![99, 99, 10, 10, 99, 11, 20, 20];
        deinterlace(&mut data, 2, true);
        assert_eq!(data, [10, 10, 10, 10, 18, 13, 20, 20]);
        for bottom_first in [false, true] {
            let mut lone = vec![1, 2];
            deinterlace(&mut lone, 2, bottom_first);
            assert_eq!(lone, [1, 2]);
        }
    }

    #[test]
    fn lines_that_lie_apart_or_are_missing_are_brought_together() {
        assert_eq!(&*Plane::new(&[1, 2, 3, 4], 2, (2, 2)).data, [1, 2, 3, 4]);
        assert_eq!(&*Plane::new(&[1, 2, 0, 3, 4, 0], 3, (2, 2)).data, [1, 2, 3, 4]);
        assert_eq!(&*Plane::new(&[1, 2, 0, 3], 3, (2, 2)).data, [1, 2, 3, 0]);
    }

    #[test]
    fn chroma_is_taken_from_where_it_lies() {
        let plane = || Plane::new(&[1, 2, 3, 4], 2, (2, 2));
        let between = plane().coarser((true, true), Siting { across: false, down: false });
        assert_eq!((&*between.data, between.width, between.height), (&[1, 2, 2, 3, 4, 4, 3, 4, 4][..], 3, 3));
        assert_eq!(between.crop((0.0, 0.0, 4.0, 4.0)), (0.0, 0.0, 2.0, 2.0));
        let usual = plane().coarser((true, true), Siting { across: true, down: false });
        assert_eq!(usual.crop((0.0, 2.0, 4.0, 2.0)), (0.25, 1.0, 2.0, 1.0));
        let only_across = plane().coarser((true, false), Siting { across: true, down: true });
        assert_eq!(only_across.crop((0.0, 1.0, 4.0, 1.0)), (0.25, 1.0, 2.0, 1.0));
    }
}
