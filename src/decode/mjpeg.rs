//! JPEG pictures one behind the other in a file, without a container. A picture goes from its start to the start of the next,
//! as FFmpeg has it: so one that is damaged costs no other. A single one is a still picture.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::unit::Unit;

const START: [u8; 3] = [0xff, 0xd8, 0xff];
/// Larger than any picture: what is left of it is not looked at.
const LARGEST_UNIT: usize = 256 << 20;
/// Pictures that are looked at for one that tells its size: the first may be damaged.
const LOOKED_AT: usize = 16;
/// No segment of a picture is that long: the length is damaged.
const LONGEST_SEGMENT: usize = 0xf000;

#[derive(Clone, Debug)]
pub(super) struct Jpegs {
    path: PathBuf,
    /// Width and height; zero where no picture tells.
    pub(super) size: (u16, u16),
}

impl Jpegs {
    pub(super) fn find(path: &Path) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        File::open(path)?.take(START.len() as u64).read_to_end(&mut head)?;
        if head != START {
            return Ok(None);
        }
        let mut jpegs = Self { path: path.to_path_buf(), size: (0, 0) };
        let mut pictures = jpegs.open()?;
        for _ in 0..LOOKED_AT {
            let Some(picture) = pictures.next()? else { break };
            if let Some(size) = size(&picture.data) {
                jpegs.size = size;
                break;
            }
        }
        Ok(Some(jpegs))
    }

    pub(super) fn open(&self) -> io::Result<Pictures<BufReader<File>>> {
        Ok(Pictures::of(BufReader::new(File::open(&self.path)?)))
    }
}

/// The pictures, one after the other, without times.
#[derive(Debug)]
pub(super) struct Pictures<R> {
    input: R,
    /// The first bytes of the next picture.
    begun: Vec<u8>,
}

impl<R: BufRead> Pictures<R> {
    fn of(input: R) -> Self {
        Self { input, begun: Vec::new() }
    }

    /// `None`: the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        let mut data = std::mem::take(&mut self.begun);
        // The last four bytes, and how many of those that follow belong to a segment.
        let mut last = data.iter().fold(0_u32, |last, byte| last << 8 | u32::from(*byte));
        let mut skipped = 0_usize;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() || data.len() > LARGEST_UNIT {
                let unit = Unit { data, pts: None, dts: None, duration: None, delta: false };
                return Ok((!unit.data.is_empty()).then_some(unit));
            }
            let mut used = 0;
            let mut ended = false;
            while used < buffer.len() && !ended {
                if skipped > 0 {
                    let part = skipped.min(buffer.len() - used);
                    used += part;
                    skipped -= part;
                    continue;
                }
                last = last << 8 | u32::from(buffer[used]);
                used += 1;
                let marker = last >> 16;
                let is_start = marker == 0xffd8 && last >> 8 & 0xff == 0xff && last & 0xff >= 0xc0;
                if is_start && data.len() + used > 4 {
                    ended = true;
                } else if (0xffc0..=0xfffe).contains(&marker) && !(0xffd0..=0xffd9).contains(&marker) {
                    // Its length counts itself, and two bytes of what it counts are read.
                    let length = (last & 0xffff) as usize;
                    skipped = if length < LONGEST_SEGMENT { length.saturating_sub(2) } else { 0 };
                    last = 0;
                }
            }
            data.extend(&buffer[..used]);
            self.input.consume(used);
            if ended {
                self.begun = data.split_off(data.len() - 4);
                let unit = Unit { data, pts: None, dts: None, duration: None, delta: false };
                return Ok(Some(unit));
            }
        }
    }
}

/// Width and height, as the header of a picture's frame tells them.
fn size(picture: &[u8]) -> Option<(u16, u16)> {
    let mut at = 2;
    loop {
        let [0xff, kind, high, low] = *picture.get(at..at + 4)? else { return None };
        let is_frame = (0xc0..=0xcf).contains(&kind) && ![0xc4, 0xc8, 0xcc].contains(&kind);
        if is_frame {
            let side = |at: usize| Some(u16::from_be_bytes([*picture.get(at)?, *picture.get(at + 1)?]));
            return Some((side(at + 7)?, side(at + 5)?)).filter(|(width, height)| *width > 0 && *height > 0);
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with a thumbnail in a segment, and this many bytes of coded data.
    fn picture(width: u8, data: usize) -> Vec<u8> {
        let thumbnail = [0xff, 0xd8, 0xff, 0xdb, 0, 0, 0xff, 0xd9];
        let mut bytes = [&START[..2], &[0xff, 0xe1, 0, 10], &thumbnail].concat();
        bytes.extend([0xff, 0xc0, 0, 11, 8, 0, 48, 0, width, 1, 1, 0x11, 0]);
        bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
        bytes.extend(std::iter::repeat_n(7, data));
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    fn cut(bytes: &[u8], buffered: usize) -> Vec<Vec<u8>> {
        let mut pictures = Pictures::of(BufReader::with_capacity(buffered, bytes));
        std::iter::from_fn(|| pictures.next().unwrap().map(|unit| unit.data)).collect()
    }

    #[test]
    fn pictures_are_told_apart_and_thumbnails_within_are_none() {
        let all = [picture(64, 5), picture(64, 900), picture(64, 0)];
        for buffered in [1, 3, 64, 8192] {
            assert_eq!(cut(&all.concat(), buffered), all, "{buffered}");
        }
        assert_eq!(size(&all[0]), Some((64, 48)));
    }

    #[test]
    fn a_damaged_picture_costs_no_other() {
        let all = [picture(64, 50), picture(64, 50), picture(64, 50)];
        let cut_off = [&all[0][..], &all[1][..60], &all[2]].concat();
        assert_eq!(cut(&cut_off, 64), [&all[0][..], &all[1][..60], &all[2]]);
        let mut long = all.concat();
        // The length of a segment.
        (long[4], long[5]) = (0xff, 0xff);
        assert_eq!(cut(&long, 64).last(), Some(&all[2]));
        assert!(cut(&[], 64).is_empty());
    }
}
