//! Caches vectors between runs: one file per key, which is either complete or absent.
//!
//! A file holds a magic number, the length of the head (u32), the head (JSON), the vectors (f32) and the SHA-256 of all
//! that, little-endian. It is written beside its final path and then renamed. A damaged file counts as missing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Vectors;
use crate::source::{self, MediaId, Stat};

const MARK: &[u8; 8] = b"clipevl1";
const HASH: usize = 32;
const CONTENTS: &str = "contents.json";

/// Vectors and the data that belongs to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T> {
    pub about: T,
    pub vectors: Vectors,
}

#[derive(Serialize, Deserialize)]
struct Head<T> {
    key: String,
    dim: usize,
    about: T,
}

/// The folder of all entries.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    contents: Mutex<Contents>,
}

/// The content id of each video file when it was last read, so that unchanged files are not read again.
#[derive(Debug, Default)]
struct Contents {
    known: BTreeMap<PathBuf, Known>,
    changed: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Known {
    size: u64,
    modified_ns: i64,
    media: MediaId,
}

impl Cache {
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let known = std::fs::read(dir.join(CONTENTS)).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let contents = Contents { known: known.unwrap_or_default(), changed: false };
        Ok(Self { dir, contents: Mutex::new(contents) })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of this key; `None` if it is missing or damaged. The key must name everything that the vectors depend
    /// on.
    pub fn get<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Option<Entry<T>> {
        let bytes = std::fs::read(self.place(key)).ok()?;
        let (body, hash) = bytes.split_last_chunk::<HASH>()?;
        if *hash != *Sha256::digest(body) {
            return None;
        }
        let (length, rest) = body.strip_prefix(MARK)?.split_first_chunk::<4>()?;
        let (head, values) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let head: Head<T> = serde_json::from_slice(head).ok()?;
        let (values, odd) = values.as_chunks::<4>();
        if head.key != key || !odd.is_empty() {
            return None;
        }
        let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        Some(Entry { about: head.about, vectors: Vectors::of(head.dim, values)? })
    }

    pub fn put<T: Serialize>(&self, key: &str, entry: &Entry<T>) -> io::Result<()> {
        let head = Head { key: key.to_owned(), dim: entry.vectors.dim(), about: &entry.about };
        let head = serde_json::to_vec(&head)?;
        let mut bytes = Vec::with_capacity(MARK.len() + 4 + head.len() + 4 * entry.vectors.as_slice().len() + HASH);
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&head);
        for value in entry.vectors.as_slice() {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        write(&self.place(key), &bytes)
    }

    /// Id of a file's content. The file is read only if it is new or has changed.
    pub fn media_id(&self, path: &Path) -> io::Result<MediaId> {
        let Stat { size, modified_ns } = Stat::of(path)?;
        let known = self.contents().known.get(path).copied();
        if let Some(known) = known.filter(|known| (known.size, known.modified_ns) == (size, modified_ns)) {
            return Ok(known.media);
        }
        let media = source::media_id(path)?;
        let mut contents = self.contents();
        contents.known.insert(path.to_owned(), Known { size, modified_ns, media });
        contents.changed = true;
        Ok(media)
    }

    /// Saves the known content ids. If they are lost, the next run reads the files again.
    pub fn save(&self) -> io::Result<()> {
        let mut contents = self.contents();
        if contents.changed {
            write(&self.dir.join(CONTENTS), &serde_json::to_vec(&contents.known)?)?;
            contents.changed = false;
        }
        Ok(())
    }

    fn contents(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: &str) -> PathBuf {
        let name: String = Sha256::digest(key).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        // Spread over subfolders, because a folder with thousands of files is slow to list.
        self.dir.join(&name[..2]).join(&name[2..])
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry<Vec<u32>> {
        Entry {
            about: vec![0, 0, 1],
            vectors: Vectors::of(3, vec![1.0, -0.5, f32::MIN_POSITIVE, 0.1, 2.0, 3.0]).unwrap(),
        }
    }

    #[test]
    fn what_was_put_is_got() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("eval")).unwrap();
        assert_eq!(cache.get::<Vec<u32>>("a"), None);
        cache.put("a", &entry()).unwrap();
        assert_eq!(cache.get("a"), Some(entry()));
        assert_eq!(cache.get::<Vec<u32>>("b"), None);
        let empty = Entry { about: Vec::<u32>::new(), vectors: Vectors::new(2) };
        cache.put("a", &empty).unwrap();
        assert_eq!(cache.get("a"), Some(empty));
    }

    #[test]
    fn what_is_damaged_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned()).unwrap();
        cache.put("a", &entry()).unwrap();
        let place = cache.place("a");
        let whole = std::fs::read(&place).unwrap();
        for length in [0, 5, whole.len() - 1] {
            std::fs::write(&place, &whole[..length]).unwrap();
            assert_eq!(cache.get::<Vec<u32>>("a"), None, "cut to {length}");
        }
        let mut wrong = whole.clone();
        wrong[whole.len() / 2] ^= 1;
        std::fs::write(&place, wrong).unwrap();
        assert_eq!(cache.get::<Vec<u32>>("a"), None, "one bit");
        std::fs::write(&place, whole).unwrap();
        assert_eq!(cache.get("a"), Some(entry()));
    }

    #[test]
    fn contents_are_known_until_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("video");
        std::fs::write(&video, "one").unwrap();
        let open = || Cache::open(dir.path().join("eval")).unwrap();
        let cache = open();
        let first = cache.media_id(&video).unwrap();
        assert_eq!(first, source::media_id(&video).unwrap());
        cache.save().unwrap();
        assert_eq!(open().contents().known.len(), 1);
        assert_eq!(open().media_id(&video).unwrap(), first);
        std::fs::write(&video, "another").unwrap();
        assert_ne!(open().media_id(&video).unwrap(), first);
        std::fs::write(dir.path().join("eval").join(CONTENTS), "nonsense").unwrap();
        assert_ne!(open().media_id(&video).unwrap(), first);
    }
}
