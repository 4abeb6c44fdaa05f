//! What was cut, kept in a folder of limited size. What was used longest ago leaves first.
//!
//! All that is known of a file is in its name, so nothing is noted elsewhere, and the folder may be emptied at any time:
//! `KEY.BEGINS.ENDS.e.mp4`, times in nanoseconds, `e` for encoded and `c` for copied.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::input::Footing;
use super::{PlayError, Span};
use crate::decode::cut::{Copied, Cut, Encoding};

/// Part of each key: what is cut otherwise than before has another name.
const VERSION: u32 = 1;
/// What lies unfinished for so long was left by a process that died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Names what is cut out of which files, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn new(footing: &Footing, span: Span, copy: Option<Copied>, encoding: Encoding) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{VERSION} {span:?} {copy:?} {encoding:?} {:?}", footing.zero));
        for (piece, stat) in footing.pieces.iter().zip(&footing.stats) {
            hash.update(format!("{piece:?} {stat:?}"));
        }
        Self(hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A file of the cache.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// [`Cache::named`] finds it by this.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) cut: Cut,
}

struct Entry {
    path: PathBuf,
    cut: Cut,
    bytes: u64,
    used: SystemTime,
}

/// A file that is being written; it goes with this.
pub(super) struct Part(PathBuf);

impl Part {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let mut beside = self.0.clone().into_os_string();
        beside.push(".moov");
        let _ = std::fs::remove_file(PathBuf::from(beside));
    }
}

pub(super) struct Cache {
    dir: PathBuf,
    most_bytes: u64,
    /// Read from the folder when first needed.
    entries: Mutex<Option<HashMap<String, Entry>>>,
    turns: Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>,
}

impl Cache {
    pub(super) fn new(dir: PathBuf, most_bytes: u64) -> Self {
        Self { dir, most_bytes, entries: Mutex::default(), turns: Mutex::default() }
    }

    /// Held by whoever makes this.
    pub(super) async fn turn(&self, key: &Key) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            match turns.get(key).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    let turn: Arc<tokio::sync::Mutex<()>> = Arc::default();
                    turns.insert(key.clone(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }

    pub(super) fn get(&self, key: &Key) -> Option<Made> {
        let mut entries = self.entries();
        let entry = entries.as_mut()?.get_mut(&key.0)?;
        if !entry.path.exists() {
            entries.as_mut()?.remove(&key.0);
            return None;
        }
        entry.used = SystemTime::now();
        Some(Made { name: key.0.clone(), path: entry.path.clone(), cut: entry.cut })
    }

    pub(super) fn named(&self, name: &str) -> Option<PathBuf> {
        self.get(&Key(name.to_owned())).map(|made| made.path)
    }

    /// A place to write to.
    pub(super) fn part(&self, key: &Key) -> Result<Part, PlayError> {
        let disk = |error| PlayError::Disk { path: self.dir.clone(), error };
        std::fs::create_dir_all(&self.dir).map_err(disk)?;
        // Another process may make the same.
        let part = Part(self.dir.join(format!("{}.{}.part", key.0, std::process::id())));
        let _ = std::fs::remove_file(part.path());
        Ok(part)
    }

    /// Takes in what was written.
    pub(super) fn keep(&self, key: &Key, part: Part, cut: Cut) -> Result<Made, PlayError> {
        let path = self.dir.join(name(key, cut));
        let disk = |error| PlayError::Disk { path: path.clone(), error };
        let bytes = std::fs::metadata(part.path()).map_err(disk)?.len();
        std::fs::rename(part.path(), &path).map_err(disk)?;
        let mut entries = self.entries();
        let all = entries.get_or_insert_default();
        all.insert(key.0.clone(), Entry { path: path.clone(), cut, bytes, used: SystemTime::now() });
        let mut total: u64 = all.values().map(|entry| entry.bytes).sum();
        while total > self.most_bytes {
            // The newest stays even where it is too large alone: somebody waits for it.
            let oldest = all.iter().filter(|(other, _)| **other != key.0).min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            if let Some(entry) = all.remove(&oldest) {
                total -= entry.bytes;
                let _ = std::fs::remove_file(entry.path);
            }
        }
        Ok(Made { name: key.0.clone(), path, cut })
    }

    fn entries(&self) -> MutexGuard<'_, Option<HashMap<String, Entry>>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.is_none() {
            *entries = Some(found(&self.dir));
        }
        entries
    }
}

fn name(key: &Key, cut: Cut) -> String {
    let how = if cut.encoded { 'e' } else { 'c' };
    format!("{}.{}.{}.{how}.mp4", key.0, cut.begins.as_nanos(), cut.ends.as_nanos())
}

fn read(name: &str) -> Option<(String, Cut)> {
    let mut parts = name.strip_suffix(".mp4")?.split('.');
    let key = parts.next()?.to_owned();
    let mut time = || parts.next()?.parse().ok().map(Duration::from_nanos);
    let (begins, ends) = (time()?, time()?);
    let encoded = match parts.next()? {
        "e" => true,
        "c" => false,
        _ => return None,
    };
    Some((key, Cut { begins, ends, encoded }))
}

/// What an earlier process left.
fn found(dir: &Path) -> HashMap<String, Entry> {
    let mut entries = HashMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let (Some(name), Ok(metadata)) = (name.to_str(), entry.metadata()) else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if let Some((key, cut)) = read(name) {
            entries.insert(key, Entry { path, cut, bytes: metadata.len(), used });
        } else if name.contains(".part") && used.elapsed().is_ok_and(|age| age > ABANDONED) {
            let _ = std::fs::remove_file(path);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut { begins: Duration::from_millis(1500), ends: Duration::from_secs(9), encoded: true };

    fn put(cache: &Cache, name: &str, bytes: usize) -> Made {
        let key = Key(name.to_owned());
        let part = cache.part(&key).unwrap();
        std::fs::write(part.path(), vec![0; bytes]).unwrap();
        cache.keep(&key, part, CUT).unwrap()
    }

    #[test]
    fn what_was_used_longest_ago_leaves_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("cache"), 250);
        put(&cache, "a", 100);
        put(&cache, "b", 100);
        assert!(cache.named("a").is_some(), "used again");
        put(&cache, "c", 100);
        let there = |cache: &Cache| ["a", "b", "c", "d"].map(|name| cache.named(name).is_some());
        assert_eq!(there(&cache), [true, false, true, false]);
        // The next process finds it all again.
        let next = Cache::new(dir.path().join("cache"), 250);
        assert_eq!(there(&next), [true, false, true, false]);
        assert_eq!(next.get(&Key("a".into())).unwrap().cut, CUT);
        // One that is too large alone is there until the next one comes.
        put(&next, "d", 1000);
        assert_eq!(there(&next), [false, false, false, true]);
        assert_eq!(std::fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_path_buf(), 250);
        let part = cache.part(&Key("a".into())).unwrap();
        std::fs::write(part.path(), b"half").unwrap();
        drop(part);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
