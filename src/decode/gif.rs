//! GIF files with an end. libav's reader looks for one beyond the file where it is cut short or damaged, and for ever. So
//! what can be read of a file is followed here block by block, and an end is put behind it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const EXTENSION: u8 = 0x21;
const PICTURE: u8 = 0x2c;
const END: u8 = 0x3b;

/// A file up to where it makes sense, and what completes it.
#[derive(Debug)]
pub(super) struct Gif {
    file: File,
    kept: u64,
    tail: Vec<u8>,
}

impl Gif {
    /// `None`: no such file.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut blocks = Blocks { input: BufReader::new(&file), at: 0 };
        let mut head = [0; 13];
        if blocks.read(&mut head).is_err() || !(head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a")) {
            return Ok(None);
        }
        let (mut kept, mut tail) = (blocks.at, vec![END]);
        if blocks.skip(colours(head[10])).is_ok() {
            kept = blocks.at;
            loop {
                match blocks.block() {
                    Ok(true) => kept = blocks.at,
                    Ok(false) => break,
                    Err(missing) => {
                        // The last picture as far as it is there.
                        if let Some(missing) = missing {
                            kept = file.metadata()?.len();
                            tail = [vec![0; missing], vec![0, END]].concat();
                        }
                        break;
                    }
                }
            }
        }
        Ok(Some(Self { file, kept, tail }))
    }

    pub(super) fn len(&self) -> u64 {
        self.kept + self.tail.len() as u64
    }

    /// Up to `length` bytes from this place; none at the end.
    pub(super) fn read_at(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = (length as u64).min(self.len().saturating_sub(at)) as usize;
        let mut bytes = vec![0; length];
        let own = length.min(usize::try_from(self.kept.saturating_sub(at)).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut bytes[..own], at)?;
        let from = at.saturating_sub(self.kept) as usize;
        let (_, rest) = bytes.split_at_mut(own);
        rest.copy_from_slice(&self.tail[from..from + rest.len()]);
        Ok(bytes)
    }
}

/// Bytes of a table of colours, told by the flags before it.
fn colours(flags: u8) -> usize {
    if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 }
}

struct Blocks<R> {
    input: R,
    at: u64,
}

impl<R: Read> Blocks<R> {
    /// Whether there was a block. An error says how many bytes are missing of a picture's last part, if that was cut.
    fn block(&mut self) -> Result<bool, Option<usize>> {
        let mut kind = [0];
        self.read(&mut kind).map_err(|_| None)?;
        match kind[0] {
            EXTENSION => {
                self.skip(1).map_err(|_| None)?;
                self.parts().map_err(|_| None)?;
            }
            PICTURE => {
                let mut head = [0; 9];
                self.read(&mut head).map_err(|_| None)?;
                self.skip(colours(head[8]) + 1).map_err(|_| None)?;
                self.parts().map_err(Some)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Up to the empty part. An error says how many bytes are missing of the last.
    fn parts(&mut self) -> Result<(), usize> {
        loop {
            let mut length = [0];
            self.read(&mut length).map_err(|_| 0_usize)?;
            if length[0] == 0 {
                return Ok(());
            }
            self.skip(length[0].into())?;
        }
    }

    fn read(&mut self, to: &mut [u8]) -> Result<(), ()> {
        self.at += to.len() as u64;
        self.input.read_exact(to).map_err(|_| ())
    }

    /// An error says how many bytes there are too few.
    fn skip(&mut self, length: usize) -> Result<(), usize> {
        self.at += length as u64;
        let skipped = io::copy(&mut self.input.by_ref().take(length as u64), &mut io::sink());
        match length - skipped.unwrap_or(0) as usize {
            0 => Ok(()),
            missing => Err(missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A header with a table of two colours, an extension, and two pictures of 300 bytes.
    fn whole() -> Vec<u8> {
        let picture = [&[PICTURE, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 255][..], &[7; 255], &[45], &[7; 45], &[0]].concat();
        let head = [b"GIF89a\x01\0\x01\0\x80\0\0", &[9; 6][..], &[EXTENSION, 0xf9, 2, 5, 5, 0]].concat();
        [&head[..], &picture, &picture, &[END]].concat()
    }

    fn read(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let gif = Gif::open(file.path()).unwrap()?;
        let all = gif.read_at(0, usize::MAX).unwrap();
        assert_eq!(all.len() as u64, gif.len());
        for at in 0..all.len() {
            assert_eq!(gif.read_at(at as u64, 3).unwrap(), all[at..(at + 3).min(all.len())]);
        }
        Some(all)
    }

    #[test]
    fn every_cut_file_gets_an_end() {
        let whole = whole();
        assert_eq!(read(&whole).unwrap(), whole);
        for length in 13..whole.len() {
            let mended = read(&whole[..length]).unwrap();
            assert_eq!(read(&mended).unwrap(), mended, "{length}");
            assert_eq!(mended.last(), Some(&END));
        }
        // Half of the second picture stays.
        let cut = whole.len() - 30;
        let mended = read(&whole[..cut]).unwrap();
        assert!(mended.starts_with(&whole[..cut]) && mended.len() == whole.len());
        assert!(read(b"GIF89").is_none() && read(&[7; 99]).is_none());
    }

    #[test]
    fn damage_ends_the_file() {
        let mut damaged = whole();
        let second = damaged.len() - 1 - 314;
        assert_eq!(damaged[second], PICTURE);
        damaged[second] = 0x99;
        assert_eq!(read(&damaged).unwrap(), [&damaged[..second], &[END]].concat());
    }
}
