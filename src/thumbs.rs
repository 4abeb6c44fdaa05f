//! The pictures shown beside moments: one pack file per medium, written while it is indexed.
//!
//! A pack is a mark and then records of time (u64 nanoseconds), length (u32) and JPEG, little-endian, in order of time.
//! It is written beside its final name and renamed when complete; an interrupted one is cut back to where indexing
//! resumes, so a crash costs at most pictures that are made again.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::decode::Jpeg;
use crate::source::MediaId;

const MARK: &[u8; 8] = b"clipthm1";
const RECORD_HEAD: u64 = 12;

/// The folder of all packs.
#[derive(Clone, Debug)]
pub struct Thumbs {
    dir: PathBuf,
}

impl Thumbs {
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Starts a pack, or goes on with an interrupted one at `from`. Keeps at most one picture per `spacing`.
    pub fn writer(&self, media: MediaId, from: Duration, spacing: Duration) -> io::Result<Writer> {
        let part = self.part(media);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&part)?;
        let keep = if from.is_zero() { None } else { records(&file)?.take_while(|r| r.pts < from).last() };
        let next = match &keep {
            Some(record) => {
                file.set_len(record.at + record.len)?;
                record.pts + spacing
            }
            None => {
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(MARK)?;
                Duration::ZERO
            }
        };
        file.seek(SeekFrom::End(0))?;
        Ok(Writer { file: BufWriter::new(file), part, complete: self.pack(media), spacing, next })
    }

    /// The picture nearest to a time.
    pub fn nearest(&self, media: MediaId, pts: Duration) -> io::Result<Option<Jpeg>> {
        let mut file = match File::open(self.pack(media)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let Some(record) = records(&file)?.min_by_key(|record| record.pts.abs_diff(pts)) else { return Ok(None) };
        let mut jpeg = vec![0; record.len as usize];
        file.seek(SeekFrom::Start(record.at))?;
        file.read_exact(&mut jpeg)?;
        Ok(Some(Jpeg(jpeg)))
    }

    pub fn remove(&self, media: MediaId) -> io::Result<()> {
        for path in [self.pack(media), self.part(media)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Size of a medium's pack in bytes; 0 without one.
    pub fn bytes(&self, media: MediaId) -> u64 {
        std::fs::metadata(self.pack(media)).map_or(0, |metadata| metadata.len())
    }

    fn pack(&self, media: MediaId) -> PathBuf {
        self.dir.join(format!("{media}.thumbs"))
    }

    fn part(&self, media: MediaId) -> PathBuf {
        self.dir.join(format!("{media}.part"))
    }
}

/// A pack being written.
pub struct Writer {
    file: BufWriter<File>,
    part: PathBuf,
    complete: PathBuf,
    spacing: Duration,
    /// Pictures before this time are too near to the last one.
    next: Duration,
}

impl Writer {
    pub fn add(&mut self, pts: Duration, jpeg: &Jpeg) -> io::Result<()> {
        if pts < self.next {
            return Ok(());
        }
        self.next = pts + self.spacing;
        self.file.write_all(&(pts.as_nanos() as u64).to_le_bytes())?;
        self.file.write_all(&(jpeg.0.len() as u32).to_le_bytes())?;
        self.file.write_all(&jpeg.0)
    }

    /// Everything so far is in the file; called before the ledger moves.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        std::fs::rename(&self.part, &self.complete)
    }
}

struct Record {
    pts: Duration,
    at: u64,
    len: u64,
}

/// The whole records of a pack; one cut off by a crash ends it.
fn records(file: &File) -> io::Result<impl Iterator<Item = Record> + use<>> {
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file.try_clone()?);
    reader.rewind()?;
    let mut mark = [0; MARK.len()];
    let sound = reader.read_exact(&mut mark).is_ok() && &mark == MARK;
    let mut at = MARK.len() as u64;
    Ok(std::iter::from_fn(move || {
        let mut head = [0; RECORD_HEAD as usize];
        if !sound || reader.read_exact(&mut head).is_err() {
            return None;
        }
        let (pts, len) = head.split_at(8);
        let pts = Duration::from_nanos(u64::from_le_bytes(pts.try_into().ok()?));
        let len = u64::from(u32::from_le_bytes(len.try_into().ok()?));
        let record = Record { pts, at: at + RECORD_HEAD, len };
        at = record.at + len;
        reader.seek_relative(len as i64).ok()?;
        (at <= size).then_some(record)
    }))
}

/// Writes a picture to a file of its own.
pub fn save(jpeg: &Jpeg, path: &Path) -> io::Result<()> {
    std::fs::write(path, &jpeg.0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MEDIA: MediaId = MediaId(Uuid::from_u128(7));

    fn secs(value: u64) -> Duration {
        Duration::from_secs(value)
    }

    fn jpeg(value: u64) -> Jpeg {
        Jpeg(value.to_string().repeat(9).into_bytes())
    }

    #[test]
    fn the_nearest_picture_is_found_and_close_ones_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let thumbs = Thumbs::open(dir.path().to_path_buf()).unwrap();
        let mut writer = thumbs.writer(MEDIA, secs(0), secs(2)).unwrap();
        for second in 0..10 {
            writer.add(secs(second), &jpeg(second)).unwrap();
        }
        assert_eq!(thumbs.nearest(MEDIA, secs(0)).unwrap(), None, "not there before it is complete");
        writer.finish().unwrap();
        assert_eq!(thumbs.nearest(MEDIA, secs(5)).unwrap(), Some(jpeg(4)));
        assert_eq!(thumbs.nearest(MEDIA, secs(99)).unwrap(), Some(jpeg(8)));
        thumbs.remove(MEDIA).unwrap();
        assert_eq!(thumbs.nearest(MEDIA, secs(5)).unwrap(), None);
    }

    #[test]
    fn a_pack_cut_off_by_a_crash_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let thumbs = Thumbs::open(dir.path().to_path_buf()).unwrap();
        let mut writer = thumbs.writer(MEDIA, secs(0), secs(1)).unwrap();
        for second in 0..6 {
            writer.add(secs(second), &jpeg(second)).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        let part = thumbs.part(MEDIA);
        let size = std::fs::metadata(&part).unwrap().len();
        File::options().write(true).open(&part).unwrap().set_len(size - 3).unwrap();

        let mut writer = thumbs.writer(MEDIA, secs(4), secs(1)).unwrap();
        for second in 4..8 {
            writer.add(secs(second), &jpeg(second + 100)).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(thumbs.nearest(MEDIA, secs(3)).unwrap(), Some(jpeg(3)));
        assert_eq!(thumbs.nearest(MEDIA, secs(4)).unwrap(), Some(jpeg(104)));
        assert_eq!(thumbs.nearest(MEDIA, secs(7)).unwrap(), Some(jpeg(107)));
    }
}
