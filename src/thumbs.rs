//! The pictures shown with moments: one pack per medium, collection and plan, written while the medium is indexed.
//!
//! A pack consists of a head, records and a foot. The head is a magic number and the plan. A record is a time (u64
//! nanoseconds), a length (u32) and a JPEG; records are sorted by time. The foot has an entry of time, offset (u64) and
//! length per picture, their number (u64) and another magic number. All numbers are little-endian. With the foot a
//! picture is found by a few short reads, however long the medium.
//!
//! A pack is written under a temporary name and renamed when complete. An interrupted one is truncated to where
//! indexing resumes. The plan is part of both names, so that writing another plan never touches a pack that is still
//! shown.

use std::fs::{DirEntry, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::decode::Jpeg;
use crate::ledger::Owned;
use crate::source::MediaId;

const HEAD_MARK: &[u8; 8] = b"clipthm2";
const FOOT_MARK: &[u8; 8] = b"clipthme";
/// Length of the magic number and of the plan's length.
const HEAD: usize = 8 + 2;
const RECORD_HEAD: usize = 8 + 4;
const ENTRY: usize = 8 + 8 + 4;
/// Length of the number of entries and of the magic number.
const TAIL: usize = 8 + 8;

/// Identifies a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub media: MediaId,
    pub collection: String,
    /// `Plan::key`.
    pub plan: String,
}

impl Key {
    pub fn of(content: &Owned) -> Self {
        let Owned { media_id, collection, plan } = content.clone();
        Self { media: media_id, collection, plan }
    }

    /// File name without extension, with a digest of the plan, which is not a valid file name.
    fn stem(&self) -> String {
        let plan = Sha256::digest(&self.plan);
        let short: String = plan[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}.{short}", self.media)
    }
}

/// A pack found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// The plan is empty if the head of the pack cannot be read.
    pub key: Key,
    /// It is being written, or was left by an interrupted run.
    pub part: bool,
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

    /// Starts a pack, or continues an interrupted one at `from`. Keeps at most one picture per `spacing`.
    pub fn writer(&self, key: &Key, from: Duration, spacing: Duration) -> io::Result<Writer> {
        let (part, complete) = (self.part(key), self.pack(key));
        std::fs::create_dir_all(self.collection(key))?;
        if !from.is_zero() && !part.exists() && complete.exists() {
            // The run died after completing the pack and before the ledger noted it, so the pack has everything before
            // `from`.
            std::fs::rename(&complete, &part)?;
        }
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&part)?;
        let head = head(&key.plan)?;
        let mut entries = if from.is_zero() { Vec::new() } else { records(&file, &head)? };
        entries.truncate(entries.partition_point(|entry| entry.pts < from));
        match entries.last() {
            Some(last) => file.set_len(last.at + u64::from(last.len))?,
            None => {
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(&head)?;
            }
        }
        let at = file.seek(SeekFrom::End(0))?;
        Ok(Writer { file: BufWriter::new(file), part, complete, spacing, entries, at })
    }

    /// The picture nearest to a time; of two equally near, the earlier. A picture from `before` on is taken only if there is
    /// none earlier: there the window ends that is to be illustrated, and the picture held in it may have come long ago.
    pub fn nearest(&self, key: &Key, pts: Duration, before: Duration) -> io::Result<Option<Jpeg>> {
        let Some(pack) = Pack::open(&self.pack(key))? else { return self.nearest_so_far(key, pts, before) };
        let (mut low, mut high) = (0, pack.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if pack.entry(middle)?.pts < pts { low = middle + 1 } else { high = middle }
        }
        let mut nearest = None;
        for number in low.saturating_sub(1)..pack.count.min(low + 1) {
            let entry = pack.entry(number)?;
            if nearest.is_some() && entry.pts >= before {
                break;
            }
            let distance = entry.pts.abs_diff(pts);
            if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
                nearest = Some((distance, entry));
            }
        }
        nearest.map(|(_, entry)| pack.picture(&entry)).transpose()
    }

    /// The same of a pack that is still being written, such as that of the current hour of a stream.
    fn nearest_so_far(&self, key: &Key, pts: Duration, before: Duration) -> io::Result<Option<Jpeg>> {
        let file = match File::open(self.part(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let entries = records(&file, &head(&key.plan)?)?;
        let early = entries.partition_point(|entry| entry.pts < before).max(1).min(entries.len());
        let nearest = entries[..early].iter().min_by_key(|entry| entry.pts.abs_diff(pts));
        let picture = |entry: &Entry| {
            let mut jpeg = vec![0; entry.len as usize];
            file.read_exact_at(&mut jpeg, entry.at)?;
            Ok(Jpeg(jpeg))
        };
        nearest.map(picture).transpose()
    }

    /// Time of the last picture of a complete pack.
    pub fn last(&self, key: &Key) -> io::Result<Option<Duration>> {
        let Some(pack) = Pack::open(&self.pack(key))? else { return Ok(None) };
        pack.count.checked_sub(1).map(|last| pack.entry(last).map(|entry| entry.pts)).transpose()
    }

    /// Size of a complete pack in bytes; 0 without one.
    pub fn bytes(&self, key: &Key) -> u64 {
        std::fs::metadata(self.pack(key)).map_or(0, |metadata| metadata.len())
    }

    /// Removes the pack, complete or not.
    pub fn remove(&self, key: &Key) -> io::Result<()> {
        remove(&self.part(key))?;
        remove(&self.pack(key))
    }

    /// Removes a pack that [`list`](Self::list) found.
    pub fn remove_found(&self, found: &Found) -> io::Result<()> {
        remove(&found.path)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All packs, complete or not, one by one.
    pub fn list(&self) -> io::Result<impl Iterator<Item = io::Result<Found>> + use<>> {
        let collections = std::fs::read_dir(&self.dir)?.filter_map(|collection| match collection {
            Ok(entry) if entry.path().is_dir() => Some(std::fs::read_dir(entry.path())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        let packs = collections.flat_map(|collection| {
            let (entries, error) = match collection {
                Ok(entries) => (Some(entries), None),
                Err(error) => (None, Some(Err(error))),
            };
            entries.into_iter().flatten().chain(error)
        });
        Ok(packs.filter_map(|entry| entry.map(|entry| found(&entry)).transpose()))
    }

    fn collection(&self, key: &Key) -> PathBuf {
        self.dir.join(&key.collection)
    }

    fn pack(&self, key: &Key) -> PathBuf {
        self.collection(key).join(format!("{}.thumbs", key.stem()))
    }

    fn part(&self, key: &Key) -> PathBuf {
        self.collection(key).join(format!("{}.part", key.stem()))
    }
}

/// A pack being written.
pub struct Writer {
    file: BufWriter<File>,
    part: PathBuf,
    complete: PathBuf,
    spacing: Duration,
    entries: Vec<Entry>,
    /// Offset of the next record.
    at: u64,
}

impl Writer {
    /// Adds a picture, unless it is closer to the previous one than the spacing and is not held on the screen.
    pub fn add(&mut self, pts: Duration, held: bool, jpeg: &Jpeg) -> io::Result<()> {
        let too_near = |last: &Entry| pts <= last.pts || !held && pts < last.pts.saturating_add(self.spacing);
        if self.entries.last().is_some_and(too_near) {
            return Ok(());
        }
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let len = u32::try_from(jpeg.0.len()).map_err(invalid)?;
        self.file.write_all(&u64::try_from(pts.as_nanos()).map_err(invalid)?.to_le_bytes())?;
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(&jpeg.0)?;
        let at = self.at + RECORD_HEAD as u64;
        self.at = at + u64::from(len);
        self.entries.push(Entry { pts, at, len });
        Ok(())
    }

    /// Writes everything to the file; call before a checkpoint in the ledger. Survives the end of this process, but not
    /// a power failure: missing pictures are not worth waiting for the disk.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Completes the pack; returns the time of the last picture. The pack is synced before it gets its final name, and
    /// the name before this returns, because nothing would write it again.
    pub fn finish(mut self) -> io::Result<Option<Duration>> {
        for entry in &self.entries {
            self.file.write_all(&(entry.pts.as_nanos() as u64).to_le_bytes())?;
            self.file.write_all(&entry.at.to_le_bytes())?;
            self.file.write_all(&entry.len.to_le_bytes())?;
        }
        self.file.write_all(&(self.entries.len() as u64).to_le_bytes())?;
        self.file.write_all(FOOT_MARK)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        std::fs::rename(&self.part, &self.complete)?;
        let folder = self.complete.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(self.entries.last().map(|last| last.pts))
    }
}

/// Position of a picture in its pack.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    pts: Duration,
    at: u64,
    len: u32,
}

/// A complete pack. Offsets and lengths are checked against its size before use.
struct Pack {
    file: File,
    count: u64,
    /// Offset of the foot.
    foot: u64,
}

impl Pack {
    /// `None` if the file does not exist.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let size = file.metadata()?.len();
        let tail_at = size.checked_sub(TAIL as u64).ok_or_else(broken)?;
        let mut tail = [0; TAIL];
        file.read_exact_at(&mut tail, tail_at)?;
        if &tail[8..] != FOOT_MARK {
            return Err(broken());
        }
        let count = number(&tail[..8]);
        let foot = count.checked_mul(ENTRY as u64).and_then(|length| tail_at.checked_sub(length));
        Ok(Some(Self { file, count, foot: foot.ok_or_else(broken)? }))
    }

    fn entry(&self, number_of: u64) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY];
        self.file.read_exact_at(&mut bytes, self.foot + number_of * ENTRY as u64)?;
        let (pts, at, len) = (number(&bytes[..8]), number(&bytes[8..16]), number(&bytes[16..]) as u32);
        let within = at.checked_add(u64::from(len)).is_some_and(|end| end <= self.foot);
        if within { Ok(Entry { pts: Duration::from_nanos(pts), at, len }) } else { Err(broken()) }
    }

    fn picture(&self, entry: &Entry) -> io::Result<Jpeg> {
        let mut jpeg = vec![0; entry.len as usize];
        self.file.read_exact_at(&mut jpeg, entry.at)?;
        Ok(Jpeg(jpeg))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the pack of pictures is damaged")
}

/// Reads up to eight bytes as a little-endian number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn head(plan: &str) -> io::Result<Vec<u8>> {
    let length = u16::try_from(plan.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok([HEAD_MARK, &length.to_le_bytes()[..], plan.as_bytes()].concat())
}

/// The complete records of a pack with this head, sorted by time. Stops at a record that a crash cut off, and at a
/// foot.
fn records(file: &File, head: &[u8]) -> io::Result<Vec<Entry>> {
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    reader.rewind()?;
    let mut found = vec![0; head.len()];
    let mut entries: Vec<Entry> = Vec::new();
    if reader.read_exact(&mut found).is_err() || found != head {
        return Ok(entries);
    }
    let mut at = head.len() as u64;
    let mut record = [0; RECORD_HEAD];
    while reader.read_exact(&mut record).is_ok() {
        let (pts, len) = (Duration::from_nanos(number(&record[..8])), number(&record[8..]) as u32);
        at += RECORD_HEAD as u64;
        if at + u64::from(len) > size || entries.last().is_some_and(|last| pts <= last.pts) {
            break;
        }
        entries.push(Entry { pts, at, len });
        at += u64::from(len);
        reader.seek_relative(i64::from(len))?;
    }
    Ok(entries)
}

/// Reads the plan from the head of a pack.
fn plan_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut head = [0; HEAD];
    file.read_exact(&mut head).ok().filter(|()| &head[..8] == HEAD_MARK)?;
    let mut plan = vec![0; number(&head[8..]) as usize];
    file.read_exact(&mut plan).ok()?;
    String::from_utf8(plan).ok()
}

/// `None` if the file is not a pack.
fn found(entry: &DirEntry) -> Option<Found> {
    let path = entry.path();
    let name = entry.file_name().into_string().ok()?;
    let (stem, part) = match name.strip_suffix(".thumbs") {
        Some(stem) => (stem, false),
        None => (name.strip_suffix(".part")?, true),
    };
    let media = MediaId(Uuid::try_parse(stem.split_once('.')?.0).ok()?);
    let collection = path.parent()?.file_name()?.to_str()?.to_owned();
    let plan = plan_of(&path).unwrap_or_default();
    Some(Found { path, key: Key { media, collection, plan }, part })
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(media: u128, collection: &str, plan: &str) -> Key {
        Key { media: MediaId(Uuid::from_u128(media)), collection: collection.to_owned(), plan: plan.to_owned() }
    }

    fn secs(value: u64) -> Duration {
        Duration::from_secs(value)
    }

    fn jpeg(value: u64) -> Jpeg {
        Jpeg(value.to_string().repeat(9).into_bytes())
    }

    fn world() -> (tempfile::TempDir, Thumbs) {
        let dir = tempfile::tempdir().unwrap();
        let thumbs = Thumbs::open(dir.path().join("thumbs")).unwrap();
        (dir, thumbs)
    }

    fn add(writer: &mut Writer, times: impl IntoIterator<Item = u64>) {
        for time in times {
            writer.add(secs(time), false, &jpeg(time)).unwrap();
        }
    }

    fn write(thumbs: &Thumbs, key: &Key, times: impl IntoIterator<Item = u64>) {
        let mut writer = thumbs.writer(key, secs(0), secs(1)).unwrap();
        add(&mut writer, times);
        writer.finish().unwrap();
    }

    fn listed(thumbs: &Thumbs) -> Vec<(Key, bool)> {
        let mut found: Vec<_> = thumbs.list().unwrap().map(|found| found.unwrap()).map(|f| (f.key, f.part)).collect();
        found.sort_by_key(|(key, part)| (key.media.0, key.collection.clone(), key.plan.clone(), *part));
        found
    }

    #[test]
    fn the_nearest_picture_is_found_and_close_ones_are_not_kept() {
        let (_dir, thumbs) = world();
        let key = key(7, "a", "p");
        let mut writer = thumbs.writer(&key, secs(0), secs(2)).unwrap();
        add(&mut writer, 0..10);
        assert_eq!(thumbs.nearest(&key, secs(0), Duration::MAX).unwrap(), None, "not there before it is complete");
        assert_eq!(thumbs.last(&key).unwrap(), None);
        writer.finish().unwrap();
        assert_eq!(thumbs.nearest(&key, secs(5), Duration::MAX).unwrap(), Some(jpeg(4)));
        assert_eq!(thumbs.nearest(&key, secs(0), Duration::MAX).unwrap(), Some(jpeg(0)));
        assert_eq!(thumbs.nearest(&key, secs(99), Duration::MAX).unwrap(), Some(jpeg(8)));
        assert_eq!(thumbs.last(&key).unwrap(), Some(secs(8)));
        thumbs.remove(&key).unwrap();
        assert_eq!(thumbs.nearest(&key, secs(5), Duration::MAX).unwrap(), None);
        assert_eq!(thumbs.bytes(&key), 0);
    }

    #[test]
    fn of_a_window_that_shows_what_is_held_the_held_picture_is_found() {
        let (_dir, thumbs) = world();
        let key = key(7, "a", "p");
        let mut writer = thumbs.writer(&key, secs(0), secs(2)).unwrap();
        for (time, held) in [(0, false), (1, true), (60, false)] {
            writer.add(secs(time), held, &jpeg(time)).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(thumbs.nearest(&key, secs(50), secs(60)).unwrap(), Some(jpeg(1)));
        assert_eq!(thumbs.nearest(&key, secs(59), secs(61)).unwrap(), Some(jpeg(60)));
        assert_eq!(thumbs.nearest(&key, secs(0), secs(0)).unwrap(), Some(jpeg(0)));
    }

    #[test]
    fn a_pack_without_pictures_is_one() {
        let (_dir, thumbs) = world();
        let key = key(7, "a", "p");
        write(&thumbs, &key, []);
        assert_eq!(thumbs.nearest(&key, secs(5), Duration::MAX).unwrap(), None);
        assert_eq!(thumbs.last(&key).unwrap(), None);
        assert!(thumbs.bytes(&key) > 0);
    }

    #[test]
    fn two_models_and_two_plans_do_not_interrupt_each_other() {
        let (_dir, thumbs) = world();
        let keys = [key(7, "a", "p"), key(7, "a", "q"), key(7, "b", "p")];
        let mut writers: Vec<Writer> = keys.iter().map(|key| thumbs.writer(key, secs(0), secs(1)).unwrap()).collect();
        for (number, writer) in (0..).zip(&mut writers) {
            add(writer, number * 100..number * 100 + 5);
            writer.flush().unwrap();
        }
        assert_eq!(listed(&thumbs), [(keys[0].clone(), true), (keys[1].clone(), true), (keys[2].clone(), true)]);
        drop(writers);
        // Each continues its own pack.
        for (number, key) in (0..).zip(&keys) {
            let mut writer = thumbs.writer(key, secs(number * 100 + 5), secs(1)).unwrap();
            add(&mut writer, [number * 100 + 9]);
            writer.finish().unwrap();
            assert_eq!(thumbs.nearest(key, secs(0), Duration::MAX).unwrap(), Some(jpeg(number * 100)));
            assert_eq!(thumbs.last(key).unwrap(), Some(secs(number * 100 + 9)));
        }
        thumbs.remove(&keys[0]).unwrap();
        assert_eq!(listed(&thumbs), [(keys[1].clone(), false), (keys[2].clone(), false)]);
    }

    #[test]
    fn what_is_on_the_disk_is_listed_and_removed() {
        let (dir, thumbs) = world();
        let (done, left) = (key(7, "a", "p"), key(8, "a", "plan of another kind"));
        write(&thumbs, &done, 0..3);
        add(&mut thumbs.writer(&left, secs(0), secs(1)).unwrap(), 0..3);
        for name in ["a/notes.txt", "a/x.thumbs", "stray.thumbs"] {
            std::fs::write(dir.path().join("thumbs").join(name), "no pack").unwrap();
        }
        let garbage = key(9, "a", "");
        std::fs::write(thumbs.pack(&garbage), "no pack").unwrap();
        assert_eq!(listed(&thumbs), [(done.clone(), false), (left.clone(), true), (garbage.clone(), false)]);
        thumbs.remove(&left).unwrap();
        thumbs.remove(&left).unwrap();
        let stray = thumbs.list().unwrap().map(Result::unwrap).find(|found| found.key == garbage).unwrap();
        thumbs.remove_found(&stray).unwrap();
        assert_eq!(listed(&thumbs), [(done, false)]);
    }

    #[test]
    fn a_picture_of_a_day_is_found_with_a_few_reads() {
        let (_dir, thumbs) = world();
        let key = key(7, "a", "p");
        write(&thumbs, &key, 0..43_200);
        let reads = || {
            let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
            let number =
                |name: &str| io.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse::<u64>();
            (number("rchar:").unwrap(), number("syscr:").unwrap())
        };
        let before = reads();
        assert_eq!(thumbs.nearest(&key, secs(31_415), Duration::MAX).unwrap(), Some(jpeg(31_415)));
        let after = reads();
        // Reading /proc itself also counts.
        assert!(after.0 - before.0 < 4096 && after.1 - before.1 < 40, "{before:?} {after:?}");
    }

    proptest! {
        /// Kills the writer at any time after a checkpoint, cuts the file at any byte, and resumes where the ledger
        /// says.
        #[test]
        fn a_resumed_pack_is_that_of_an_undisturbed_run(
            gaps in prop::collection::vec(1u64..4, 1..30),
            spacing in 1u64..5,
            checkpoint in 0usize..30,
            killed in 0usize..30,
            cut in 0.0f64..1.0,
            back in 0u64..10,
            finishing: bool,
        ) {
            let times: Vec<u64> = gaps.iter().scan(0, |now, gap| { *now += gap; Some(*now) }).collect();
            let (_dir, thumbs) = world();
            let (whole, resumed) = (key(1, "a", "p"), key(2, "a", "p"));
            let mut writer = thumbs.writer(&whole, secs(0), secs(spacing)).unwrap();
            add(&mut writer, times.iter().copied());
            writer.finish().unwrap();

            let checkpoint = checkpoint.min(times.len());
            let mut writer = thumbs.writer(&resumed, secs(0), secs(spacing)).unwrap();
            add(&mut writer, times[..checkpoint].iter().copied());
            writer.flush().unwrap();
            let part = thumbs.part(&resumed);
            let safe = std::fs::metadata(&part).unwrap().len();
            add(&mut writer, times[checkpoint..killed.clamp(checkpoint, times.len())].iter().copied());
            if finishing {
                // Killed between writing the foot and renaming.
                writer.finish().unwrap();
                if cut < 0.9 {
                    std::fs::rename(thumbs.pack(&resumed), &part).unwrap();
                }
            } else {
                drop(writer);
            }
            // Killed after renaming and before the ledger noted it: nothing is cut.
            let cut = if part.exists() { cut } else { 1.0 };
            let there = if part.exists() { part } else { thumbs.pack(&resumed) };
            let size = std::fs::metadata(&there).unwrap().len();
            let left = safe + ((size - safe) as f64 * cut) as u64;
            File::options().write(true).open(&there).unwrap().set_len(left).unwrap();

            let from = times[..checkpoint].last().map_or(0, |last| (last + 1).saturating_sub(back));
            let mut writer = thumbs.writer(&resumed, secs(from), secs(spacing)).unwrap();
            add(&mut writer, times.iter().copied().filter(|time| *time >= from));
            writer.finish().unwrap();
            prop_assert_eq!(std::fs::read(thumbs.pack(&resumed)).unwrap(), std::fs::read(thumbs.pack(&whole)).unwrap());
        }

        #[test]
        fn a_damaged_pack_is_an_error_or_none_never_a_panic(
            count in 0u64..20, cut in 0.0f64..1.0, flips in prop::collection::vec((0.0f64..1.0, any::<u8>()), 0..6), at in 0u64..30
        ) {
            let (_dir, thumbs) = world();
            let key = key(7, "a", "p");
            write(&thumbs, &key, 0..count);
            let path = thumbs.pack(&key);
            let mut bytes = std::fs::read(&path).unwrap();
            // Damage mostly the foot, which has most of the numbers that are used.
            for (place, value) in flips {
                let place = bytes.len() - 1 - ((bytes.len() as f64 * place * place) as usize).min(bytes.len() - 1);
                bytes[place] = value;
            }
            std::fs::write(&path, &bytes).unwrap();
            let try_all = || {
                let _ = (thumbs.nearest(&key, secs(at), Duration::MAX), thumbs.last(&key));
                assert_eq!(thumbs.list().unwrap().count(), 1);
            };
            try_all();
            bytes.truncate((bytes.len() as f64 * cut) as usize);
            std::fs::write(&path, &bytes).unwrap();
            try_all();
            std::fs::rename(&path, thumbs.part(&key)).unwrap();
            let mut writer = thumbs.writer(&key, secs(at), secs(1)).unwrap();
            add(&mut writer, at..at + 3);
            writer.finish().unwrap();
            prop_assert!(thumbs.last(&key).unwrap().is_some());
        }
    }
}
