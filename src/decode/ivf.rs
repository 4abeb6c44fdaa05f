//! IVF, the plain container of libvpx and libaom: a header, then each frame behind its length and its time. Its frames go to
//! the decoder as they are: GStreamer 1.22's parser of AV1 gives up sequence headers that describe several layers.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::coded::av1_begins_with_key;
use super::unit::Unit;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 12;
/// Larger than any frame: the length is damaged.
const LARGEST_FRAME: u32 = 256 << 20;

#[derive(Clone, Debug)]
pub(super) struct Ivf {
    path: PathBuf,
    /// How GStreamer calls the codec.
    caps: &'static str,
    size: (u16, u16),
    header: u64,
    /// Units a second, and how many of them a step of the clock has.
    rate: u32,
    scale: u32,
}

impl Ivf {
    /// `None`: no such file, or one of a codec that is not known here.
    pub(super) fn find(path: &Path) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        File::open(path)?.take(HEADER as u64).read_to_end(&mut head)?;
        Ok(Self::told(path, &head))
    }

    fn told(path: &Path, head: &[u8]) -> Option<Self> {
        let head = head.first_chunk::<HEADER>().filter(|head| head.starts_with(b"DKIF"))?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let caps = match &head[8..12] {
            b"VP80" => "video/x-vp8",
            b"VP90" => "video/x-vp9",
            b"AV01" => "video/x-av1,stream-format=obu-stream,alignment=tu",
            _ => return None,
        };
        let header = u64::from(u16::from_le_bytes([head[6], head[7]])).max(HEADER as u64);
        let (rate, scale) = (number(16), number(20));
        let known = rate > 0 && scale > 0;
        let (rate, scale) = if known { (rate, scale) } else { (25, 1) };
        let size = (u16::from_le_bytes([head[12], head[13]]), u16::from_le_bytes([head[14], head[15]]));
        Some(Self { path: path.to_path_buf(), caps, size, header, rate, scale })
    }

    /// As GStreamer describes it.
    pub(super) fn caps(&self) -> String {
        format!("{},width={},height={}", self.caps, self.size.0, self.size.1)
    }

    pub(super) fn media_type(&self) -> &'static str {
        self.caps.split(',').next().unwrap_or_default()
    }

    pub(super) fn open(&self) -> io::Result<Frames<BufReader<File>>> {
        let mut input = BufReader::new(File::open(&self.path)?);
        io::copy(&mut (&mut input).take(self.header), &mut io::sink())?;
        Ok(Frames { input, is_av1: self.media_type() == "video/x-av1", rate: self.rate, scale: self.scale })
    }
}

/// The frames, one after the other.
#[derive(Debug)]
pub(super) struct Frames<R> {
    input: R,
    is_av1: bool,
    rate: u32,
    scale: u32,
}

impl<R: Read> Frames<R> {
    /// `None`: the end. A frame that is cut off is given as far as it goes; frames without any data, which some encoders write for
    /// those that they drop, are left out.
    pub(super) fn next(&mut self) -> io::Result<Option<Unit>> {
        let mut data = Vec::new();
        let mut time = [0; 8];
        while data.is_empty() {
            let mut head = Vec::new();
            (&mut self.input).take(FRAME_HEADER as u64).read_to_end(&mut head)?;
            let Some([a, b, c, d, of_frame @ ..]) = head.first_chunk::<FRAME_HEADER>() else { return Ok(None) };
            time = *of_frame;
            let length = u32::from_le_bytes([*a, *b, *c, *d]);
            if length > LARGEST_FRAME {
                let problem = format!("a frame of {length} bytes: from there on the file is damaged");
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            if (&mut self.input).take(length.into()).read_to_end(&mut data)? == 0 && length > 0 {
                return Ok(None);
            }
        }
        let nanos =
            u128::from(u64::from_le_bytes(time)) * u128::from(self.scale) * 1_000_000_000 / u128::from(self.rate);
        let pts = i64::try_from(nanos).ok();
        // Of the other codecs this is told later.
        let delta = self.is_av1 && !av1_begins_with_key(&data);
        Ok(Some(Unit { data, pts, delta, ..Unit::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(codec: &[u8; 4], frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = [&b"DKIF\0\0\x20\0"[..], codec, &[64, 0, 48, 0], &[25, 0, 0, 0, 2, 0, 0, 0], &[0; 8]].concat();
        for (time, data) in frames {
            bytes.extend((data.len() as u32).to_le_bytes());
            bytes.extend(time.to_le_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    fn frames(bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
        let ivf = Ivf::told(Path::new(""), bytes).unwrap();
        let mut frames = Frames { input: &bytes[HEADER..], is_av1: true, rate: ivf.rate, scale: ivf.scale };
        let until_error = std::iter::from_fn(|| frames.next().ok().flatten());
        until_error.map(|unit| (unit.pts.unwrap_or(-1), unit.data)).collect()
    }

    #[test]
    fn key_frames_of_av1_are_told() {
        // A delimiter, and a frame: shown, of this kind.
        let unit = |kind: u8| [0x12, 0, 0x32, 2, kind << 5 | 0x10, 0];
        let bytes = file(b"AV01", &[(0, &unit(0)), (1, &unit(1)), (2, &[0x12, 0])]);
        let mut frames = Frames { input: &bytes[HEADER..], is_av1: true, rate: 25, scale: 1 };
        let deltas = std::iter::from_fn(|| frames.next().unwrap()).map(|unit| unit.delta).collect::<Vec<_>>();
        assert_eq!(deltas, [false, true, true]);
        let ivf = Ivf::told(Path::new(""), &bytes).unwrap();
        assert_eq!(ivf.caps(), "video/x-av1,stream-format=obu-stream,alignment=tu,width=64,height=48");
        assert_eq!(ivf.media_type(), "video/x-av1");
    }

    #[test]
    fn frames_have_the_times_of_the_file() {
        let bytes = file(b"AV01", &[(0, &[1, 2, 3]), (3, &[4]), (4, &[5, 6])]);
        let expected = [(0, vec![1, 2, 3]), (240_000_000, vec![4]), (320_000_000, vec![5, 6])];
        assert_eq!(frames(&bytes), expected);
        let with_empty = file(b"AV01", &[(0, &[1, 2, 3]), (1, &[]), (3, &[4]), (4, &[5, 6])]);
        assert_eq!(frames(&with_empty), expected);
        assert_eq!(frames(&bytes[..bytes.len() - 1])[2], (320_000_000, vec![5]), "the last one is cut off");
        assert_eq!(frames(&bytes[..bytes.len() - 2]).len(), 2);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] = 0xff;
            if Ivf::told(Path::new(""), &wrong).is_some() {
                frames(&wrong);
            }
            assert_eq!(Ivf::told(Path::new(""), &bytes[..at]).is_some(), at >= HEADER);
        }
        assert!(Ivf::told(Path::new(""), &file(b"MJPG", &[])).is_none());
    }
}
