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

/// Whose pictures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub media_id: MediaId,
    pub collection: String,
    pub plan: String,
}

impl Key {
    pub fn of(content: &crate::ledger::Owned) -> Self {
        Self { media_id: content.media_id, collection: content.collection.clone(), plan: content.plan.clone() }
    }
}

pub struct Entry(PathBuf);

impl Entry {
    pub fn media(&self) -> Option<MediaId> {
        let name = self.0.file_name()?.to_str()?;
        uuid::Uuid::parse_str(name.split('.').next()?).ok().map(MediaId)
    }
    pub fn collection(&self) -> Option<&str> {
        self.0.parent()?.file_name()?.to_str()
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
    pub fn is_part(&self) -> bool {
        self.0.extension().is_some_and(|e| e == "part")
    }
    pub fn is_of_plan(&self, plan: &str) -> bool {
        self.0.to_string_lossy().contains(&short(plan))
    }
}

fn short(plan: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::nil(), plan.as_bytes()).simple().to_string()[..8].to_owned()
}

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

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a pack, or goes on with an interrupted one at `from`. Keeps at most one picture per `spacing`.
    pub fn writer(&self, key: &Key, from: Duration, spacing: Duration) -> io::Result<Writer> {
        let part = self.part(key);
        std::fs::create_dir_all(self.dir.join(&key.collection))?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&part)?;
        let keep = if from.is_zero() { None } else { records(&file)?.take_while(|r| r.pts < from).last() };
        let last = keep.as_ref().map(|record| record.pts);
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
        Ok(Writer { file: BufWriter::new(file), part, complete: self.pack(key), spacing, next, last })
    }

    /// The picture nearest to a time.
    pub fn nearest(&self, key: &Key, pts: Duration) -> io::Result<Option<Jpeg>> {
        let mut file = match File::open(self.pack(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let Some(record) = records(&file)?.min_by_key(|record| record.pts.abs_diff(pts)) else { return Ok(None) };
        let mut jpeg = vec![0; record.len as usize];
        file.seek(SeekFrom::Start(record.at))?;
        file.read_exact(&mut jpeg)?;
        Ok(Some(Jpeg(jpeg)))
    }

    pub fn last(&self, key: &Key) -> io::Result<Option<Duration>> {
        let file = match File::open(self.pack(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        Ok(records(&file)?.last().map(|record| record.pts))
    }

    pub fn list(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
        let mut all = Vec::new();
        for dir in std::fs::read_dir(&self.dir)? {
            for file in std::fs::read_dir(dir?.path())? {
                all.push(Ok(Entry(file?.path())));
            }
        }
        Ok(all.into_iter())
    }

    pub fn remove_entry(&self, entry: &Entry) -> io::Result<()> {
        std::fs::remove_file(&entry.0)
    }

    pub fn remove(&self, key: &Key) -> io::Result<()> {
        match std::fs::remove_file(self.pack(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn remove_part(&self, key: &Key) -> io::Result<()> {
        match std::fs::remove_file(self.part(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Size of a medium's pack in bytes; 0 without one.
    pub fn bytes(&self, key: &Key) -> u64 {
        std::fs::metadata(self.pack(key)).map_or(0, |metadata| metadata.len())
    }

    fn pack(&self, key: &Key) -> PathBuf {
        self.dir.join(&key.collection).join(format!("{}.thumbs", key.media_id))
    }

    fn part(&self, key: &Key) -> PathBuf {
        self.dir.join(&key.collection).join(format!("{}.{}.part", key.media_id, short(&key.plan)))
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
    last: Option<Duration>,
}

impl Writer {
    pub fn add(&mut self, pts: Duration, jpeg: &Jpeg) -> io::Result<()> {
        if pts < self.next {
            return Ok(());
        }
        self.next = pts + self.spacing;
        self.last = Some(pts);
        self.file.write_all(&(pts.as_nanos() as u64).to_le_bytes())?;
        self.file.write_all(&(jpeg.0.len() as u32).to_le_bytes())?;
        self.file.write_all(&jpeg.0)
    }

    /// Everything so far is in the file; called before the ledger moves.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    pub fn finish(mut self) -> io::Result<Option<Duration>> {
        self.file.flush()?;
        std::fs::rename(&self.part, &self.complete)?;
        Ok(self.last)
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

