//! The pictures of a GIF and their times (GIF89a). libav's demuxer, as GStreamer wraps it, asks small files for more and more
//! instead of giving their pictures. Each is shown once: how often the file wants to be shown again does not count.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::unit::Unit;

const HEADER: usize = 13;
const EXTENSION: u8 = 0x21;
const GRAPHIC_CONTROL: u8 = 0xf9;
const IMAGE: u8 = 0x2c;
/// Delays are told in hundredths of a second.
const HUNDREDTH: i64 = 10_000_000;
/// What browsers and FFmpeg make of a delay of zero.
const USUAL_DELAY: i64 = 10;
/// Larger than any picture: what is left is not looked at.
const LARGEST_UNIT: usize = 256 << 20;

#[derive(Clone, Debug)]
pub(super) struct Gif {
    path: PathBuf,
    size: (u16, u16),
    /// All pictures together, once.
    pub(super) duration: Duration,
}

/// The pictures, one after the other. The first is told with the header of the file, as decoders want it.
#[derive(Debug)]
pub(super) struct Pictures<R> {
    input: R,
    time: i64,
    delay: i64,
    is_first: bool,
}

impl Gif {
    pub(super) fn find(path: &Path) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        File::open(path)?.take(HEADER as u64).read_to_end(&mut head)?;
        let is_gif = head.len() == HEADER && (head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a"));
        let side = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        if !is_gif {
            return Ok(None);
        }
        let mut gif = Self { path: path.to_path_buf(), size: (side(6), side(8)), duration: Duration::ZERO };
        let mut pictures = gif.open()?;
        while pictures.next()?.is_some() {}
        gif.duration = Duration::from_nanos(pictures.time.unsigned_abs());
        Ok(Some(gif))
    }

    /// Width and height.
    pub(super) fn size(&self) -> (u16, u16) {
        self.size
    }

    pub(super) fn open(&self) -> io::Result<Pictures<BufReader<File>>> {
        Ok(Pictures::of(BufReader::new(File::open(&self.path)?)))
    }
}

impl<R: Read> Pictures<R> {
    fn of(input: R) -> Self {
        Self { input, time: 0, delay: USUAL_DELAY, is_first: true }
    }

    /// `None`: the end. A picture that is cut off is given as far as it goes.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        let mut data = Vec::new();
        let found = match self.read_image(&mut data) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => data.contains(&IMAGE),
            found => found?,
        };
        if !found {
            return Ok(None);
        }
        let duration = self.delay * HUNDREDTH;
        let unit = Unit { data, pts: Some(self.time), dts: None, duration: Some(duration), delta: !self.is_first };
        self.time += duration;
        self.delay = USUAL_DELAY;
        self.is_first = false;
        Ok(Some(unit))
    }

    /// Reads up to the end of the next image; false where there is none.
    fn read_image(&mut self, data: &mut Vec<u8>) -> io::Result<bool> {
        if self.is_first {
            let header = self.take(data, HEADER)?;
            let packed = data[header + 10];
            self.take_colours(data, packed)?;
        }
        loop {
            let block = self.take(data, 1)?;
            match data[block] {
                EXTENSION => {
                    let kind = self.take(data, 1)?;
                    let blocks = data.len();
                    self.take_blocks(data)?;
                    if data[kind] == GRAPHIC_CONTROL
                        && let Some([_, _, low, high]) = data.get(blocks..blocks + 4)
                    {
                        self.delay = i64::from(u16::from_le_bytes([*low, *high]));
                        self.delay = if self.delay == 0 { USUAL_DELAY } else { self.delay };
                    }
                }
                IMAGE => {
                    let descriptor = self.take(data, 9)?;
                    let packed = data[descriptor + 8];
                    self.take_colours(data, packed)?;
                    // The size of the first codes, and then the codes.
                    self.take(data, 1)?;
                    self.take_blocks(data)?;
                    return Ok(true);
                }
                // The trailer, or something that is no GIF.
                _ => return Ok(false),
            }
        }
    }

    /// Reads so many bytes; where they begin in `data`.
    fn take(&mut self, data: &mut Vec<u8>, count: usize) -> io::Result<usize> {
        let at = data.len();
        if at > LARGEST_UNIT {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = self.input.by_ref().take(count as u64).read_to_end(data)?;
        if read < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(at) }
    }

    fn take_colours(&mut self, data: &mut Vec<u8>, packed: u8) -> io::Result<()> {
        let count = if packed & 0x80 != 0 { 3 << ((packed & 7) + 1) } else { 0 };
        self.take(data, count).map(drop)
    }

    /// Blocks behind their sizes, up to an empty one.
    fn take_blocks(&mut self, data: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let size = self.take(data, 1)?;
            match data[size] {
                0 => return Ok(()),
                size => self.take(data, usize::from(size))?,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"GIF89a\x04\x00\x04\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff";
    const LOOP: &[u8] = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00";

    fn image(delay: u8) -> Vec<u8> {
        let control = [0x21, 0xf9, 4, 0, delay, 0, 0, 0];
        [&control[..], &[0x2c, 0, 0, 0, 0, 4, 0, 4, 0, 0, 2, 3, 0x44, 0x2c, 5, 0]].concat()
    }

    fn read(file: &[u8]) -> Vec<Unit> {
        let mut pictures = Pictures::of(file);
        std::iter::from_fn(|| pictures.next().unwrap()).collect()
    }

    #[test]
    fn each_picture_is_given_once_for_its_delay() {
        let file = [HEAD, LOOP, &image(4), &image(0), &image(7), b"\x3b"].concat();
        let units = read(&file);
        let times: Vec<i64> = units.iter().map(|unit| unit.pts.unwrap() / HUNDREDTH).collect();
        assert_eq!(times, [0, 4, 14]);
        assert_eq!(units.iter().map(|unit| unit.delta).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(units[2].duration, Some(7 * HUNDREDTH));
        assert_eq!(units.into_iter().flat_map(|unit| unit.data).collect::<Vec<_>>(), file[..file.len() - 1]);
    }

    #[test]
    fn what_is_cut_off_gives_what_is_there() {
        let whole = [HEAD, &image(4), &image(4), b"\x3b"].concat();
        for (cut, expected) in [(1, 2), (4, 2), (17, 1), (20, 1), (26, 1), (whole.len() - HEAD.len(), 0)] {
            assert_eq!(read(&whole[..whole.len() - cut]).len(), expected, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic_and_reading_ends(rest in prop::collection::vec(any::<u8>(), 0..400)) {
            read(&[HEAD, &rest].concat());
            read(&rest);
        }
    }
}
