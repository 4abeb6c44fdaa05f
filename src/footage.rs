//! Recordings of live streams: where their segments lie, which of them shows a moment, how large they are.
//!
//! A segment is a file that the decoding process writes (`decode::gst::record`), named by the wall clock at its first frame,
//! in a folder for each hour of an epoch: `garage/2026-11-27T16Z/1795795392123/2026-11-27T16-03-12.123Z.mkv`. It ends
//! where the next one begins, or when it was last written to. So nothing has to be noted elsewhere, and a crash loses
//! nothing but what was not written yet.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, NaiveDateTime};
use nix::sys::statvfs::statvfs;

use crate::source::stream::LiveHour;

/// Form of a segment's name.
const NAME: &str = "%Y-%m-%dT%H-%M-%S%.3fZ";
const EXTENSION: &str = "mkv";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub path: PathBuf,
    /// Unix time.
    pub start: Duration,
    pub end: Duration,
    pub bytes: u64,
}

/// The folder of all recordings.
#[derive(Clone, Debug)]
pub struct Footage {
    dir: PathBuf,
}

impl Footage {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn folder(&self, hour: &LiveHour) -> PathBuf {
        self.dir.join(hour.path())
    }

    /// Where the segment belongs that begins at this time.
    pub fn segment(&self, source: &str, epoch: u64, start: Duration) -> PathBuf {
        self.folder(&LiveHour::at(source, epoch, start)).join(name_of(start))
    }

    /// The segments that begin in this hour, in order.
    pub fn segments(&self, hour: &LiveHour) -> io::Result<Vec<Segment>> {
        let entries = match std::fs::read_dir(self.folder(hour)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut segments = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(start) = entry.file_name().to_str().and_then(start_of) else { continue };
            let metadata = entry.metadata()?;
            let end = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            segments.push(Segment { path: entry.path(), start, end: end.max(start), bytes: metadata.len() });
        }
        segments.sort_by_key(|segment| segment.start);
        let starts: Vec<Duration> = segments.iter().skip(1).map(|segment| segment.start).collect();
        for (segment, next) in segments.iter_mut().zip(starts) {
            segment.end = segment.end.min(next);
        }
        Ok(segments)
    }

    /// The segments that show something of this hour: one may have begun in the hour before.
    pub fn of_hour(&self, hour: &LiveHour) -> io::Result<Vec<Segment>> {
        let before = LiveHour { hour: hour.hour.saturating_sub(1), ..hour.clone() };
        let mut segments = self.segments(&before)?;
        segments.retain(|segment| segment.end > hour.begins());
        segments.extend(self.segments(hour)?);
        Ok(segments)
    }

    /// The segment that shows this time (Unix), and where in it; else the first one that begins before `end`: a window may
    /// begin before the recording does.
    pub fn at(&self, hour: &LiveHour, time: Duration, end: Duration) -> io::Result<Option<(PathBuf, Duration)>> {
        let segments = self.of_hour(hour)?;
        let shows = segments.iter().rfind(|segment| segment.start <= time && time < segment.end);
        let begins = || segments.iter().find(|segment| time < segment.start && segment.start < end);
        Ok(shows.or_else(begins).map(|segment| (segment.path.clone(), time.saturating_sub(segment.start))))
    }

    /// Every hour of which there is footage, with its size in bytes.
    pub fn hours(&self) -> io::Result<Vec<(LiveHour, u64)>> {
        let mut hours = Vec::new();
        for source in folders(&self.dir)? {
            for hour in folders(&source)? {
                for epoch in folders(&hour)? {
                    let names = [&source, &hour, &epoch].map(|path| path.file_name().and_then(|name| name.to_str()));
                    let [Some(name), Some(time), Some(epoch)] = names else { continue };
                    let (Some(hour), Ok(epoch)) = (LiveHour::hour_of(time), epoch.parse()) else { continue };
                    let hour = LiveHour { source: name.to_owned(), epoch, hour };
                    let bytes = self.segments(&hour)?.iter().map(|segment| segment.bytes).sum();
                    hours.push((hour, bytes));
                }
            }
        }
        Ok(hours)
    }

    /// Removes the footage of an hour, and the folders that are empty then.
    pub fn remove(&self, hour: &LiveHour) -> io::Result<()> {
        let folder = self.folder(hour);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        // Fails where there is something else in it.
        for above in folder.ancestors().skip(1).take(2) {
            let _ = std::fs::remove_dir(above);
        }
        Ok(())
    }
}

/// Bytes free on the disk of this folder.
pub fn free(dir: &Path) -> io::Result<u64> {
    let disk = statvfs(dir)?;
    Ok(disk.blocks_available() * disk.fragment_size())
}

fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// To the millisecond.
fn name_of(start: Duration) -> String {
    let time = i64::try_from(start.as_millis()).ok().and_then(DateTime::from_timestamp_millis);
    let time = time.map(|time| time.format(NAME).to_string()).unwrap_or_default();
    format!("{time}.{EXTENSION}")
}

fn start_of(name: &str) -> Option<Duration> {
    let time = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let time = NaiveDateTime::parse_from_str(time, NAME).ok()?.and_utc();
    u64::try_from(time.timestamp_millis()).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_that_shows_a_time_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let footage = Footage::new(dir.path().to_path_buf());
        let begins = Duration::from_secs(1_795_795_200);
        let hour = LiveHour::at("garage", 7, begins);
        let ms = Duration::from_millis;
        for start in [begins - ms(20_000), begins + ms(40_123), begins + ms(100_000)] {
            let path = footage.segment("garage", 7, start);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = std::fs::File::create(path).unwrap();
            file.set_modified(UNIX_EPOCH + start + ms(60_500)).unwrap();
        }
        let name = |time: Duration| {
            let found = footage.at(&hour, time, time + ms(2000)).unwrap();
            found.map(|(path, offset)| (path.file_name().unwrap().to_str().unwrap().to_owned(), offset.as_millis()))
        };
        assert_eq!(name(begins), Some(("2026-11-27T15-59-40.000Z.mkv".to_owned(), 20_000)));
        assert_eq!(name(begins + ms(50_000)), Some(("2026-11-27T16-00-40.123Z.mkv".to_owned(), 9877)));
        assert_eq!(name(begins + ms(100_100)), Some(("2026-11-27T16-01-40.000Z.mkv".to_owned(), 100)));
        assert_eq!(name(begins + ms(200_000)), None);
        assert_eq!(name(begins - ms(30_000)), None, "that is another hour's");
        footage.remove(&LiveHour { hour: hour.hour - 1, ..hour.clone() }).unwrap();
        assert_eq!(name(begins + ms(39_000)), Some(("2026-11-27T16-00-40.123Z.mkv".to_owned(), 0)));
        assert_eq!(footage.hours().unwrap(), [(hour.clone(), 0)]);
        footage.remove(&hour).unwrap();
        assert!(footage.hours().unwrap().is_empty() && dir.path().read_dir().unwrap().next().is_none());
    }
}
