//! The durable record of what is indexed, how far and with which bundle: one SQLite file.
//!
//! It moves only after the store has confirmed (`VectorStore::flush`), so after a crash it never claims more than is
//! there; what it does not know is done again and overwrites itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::Serialize;
use uuid::Uuid;

use crate::decode::Probe;
use crate::source::{MediaId, Stat};

const SCHEMA_VERSION: i64 = 1;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "the ledger {path} is damaged ({problem}): move it away and run `clipseek index` again; the videos are untouched \
         and windows already in the store are recognised"
    )]
    Corrupt { path: PathBuf, problem: String },
    #[error(
        "the ledger {path} was written by another version of clipseek (schema {found}, this one knows {SCHEMA_VERSION})"
    )]
    Version { path: PathBuf, found: i64 },
    #[error("the ledger {path}: {problem}")]
    Sqlite { path: PathBuf, problem: String },
}

pub type Result<T, E = LedgerError> = std::result::Result<T, E>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Begun, not finished.
    Pending,
    Indexed,
    Failed,
}

/// One path and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRow {
    pub path: PathBuf,
    pub stat: Stat,
    pub state: FileState,
    pub reason: Option<String>,
    pub media_id: Option<MediaId>,
}

/// How far one medium is in one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub plan: String,
    pub done: bool,
    /// Number of the window at which to go on.
    pub resume_at: u32,
    /// Windows that the store has confirmed.
    pub windows: u64,
    pub damage: Option<String>,
}

/// What a person said of a medium, and what its file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MediaRow {
    pub label: Option<String>,
    pub tags: Vec<String>,
    pub probe: Option<Probe>,
}

pub struct Ledger {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Ledger {
    pub fn open(path: &Path) -> Result<Self> {
        let open = || -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            // A write-ahead log: readers are not stopped, and what was committed survives `kill -9`.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                connection.execute_batch(&format!(
                    "BEGIN; {} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;",
                    include_str!("schema.sql")
                ))?;
            }
            connection.query_row("SELECT count(*) FROM files", [], |row| row.get::<_, i64>(0))?;
            Ok((connection, version))
        };
        let (connection, version) = open().map_err(|error| explain(path, &error))?;
        if version > SCHEMA_VERSION {
            return Err(LedgerError::Version { path: path.to_path_buf(), found: version });
        }
        Ok(Self { path: path.to_path_buf(), connection: Mutex::new(connection) })
    }

    pub fn file(&self, path: &Path) -> Result<Option<FileRow>> {
        self.run(|db| {
            db.query_row(
                &format!("SELECT {FILE_COLUMNS} FROM files WHERE path = ?"),
                [path.as_os_str().as_bytes()],
                file_row,
            )
            .optional()
        })
    }

    /// All known paths in order of name.
    pub fn files(&self) -> Result<Vec<FileRow>> {
        self.run(|db| {
            db.prepare(&format!("SELECT {FILE_COLUMNS} FROM files ORDER BY path"))?.query_map([], file_row)?.collect()
        })
    }

    pub fn files_of(&self, media: MediaId) -> Result<Vec<FileRow>> {
        self.run(|db| {
            db.prepare(&format!("SELECT {FILE_COLUMNS} FROM files WHERE media_id = ? ORDER BY path"))?
                .query_map([media.to_string()], file_row)?
                .collect()
        })
    }

    pub fn media(&self, media: MediaId) -> Result<Option<MediaRow>> {
        self.run(|db| {
            db.query_row("SELECT label, tags, probe FROM media WHERE media_id = ?", [media.to_string()], |row| {
                Ok(MediaRow { label: row.get(0)?, tags: json(row, 1)?.unwrap_or_default(), probe: json(row, 2)? })
            })
            .optional()
        })
    }

    pub fn progress(&self, media: MediaId, collection: &str) -> Result<Option<Progress>> {
        let all = self.progress_of(media)?;
        Ok(all.into_iter().find(|(name, _)| name == collection).map(|(_, progress)| progress))
    }

    /// Progress of a medium in each collection.
    pub fn progress_of(&self, media: MediaId) -> Result<Vec<(String, Progress)>> {
        self.run(|db| {
            db.prepare(
                "SELECT collection, plan, done, resume_at, windows, damage FROM progress WHERE media_id = ? ORDER BY collection",
            )?
            .query_map([media.to_string()], |row| {
                let progress = Progress {
                    plan: row.get(1)?,
                    done: row.get(2)?,
                    resume_at: row.get(3)?,
                    windows: row.get(4)?,
                    damage: row.get(5)?,
                };
                Ok((row.get(0)?, progress))
            })?
            .collect()
        })
    }

    /// Remembers which bundle a collection belongs to.
    pub fn add_collection(&self, name: &str, bundle: &str) -> Result<()> {
        self.run(|db| db.execute("INSERT OR REPLACE INTO collections VALUES (?, ?)", [name, bundle]).map(drop))
    }

    /// Collection and bundle names of everything ever indexed here.
    pub fn collections(&self) -> Result<Vec<(String, String)>> {
        self.run(|db| {
            db.prepare("SELECT name, bundle FROM collections ORDER BY name")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// The content found at a path is about to be indexed. What the path stood for until now stays as it is.
    pub fn begin(&self, path: &Path, stat: Stat, media: MediaId, row: &MediaRow) -> Result<()> {
        self.transaction(|db| {
            db.execute(
                "INSERT INTO files (path, size, modified_ns, state, next_media_id) VALUES (?1, ?2, ?3, 'pending', ?4)
                 ON CONFLICT (path) DO UPDATE SET state = 'pending', reason = NULL, next_media_id = ?4",
                params![path.as_os_str().as_bytes(), stat.size, stat.modified_ns, media.to_string()],
            )?;
            put_media(db, media, row)
        })
    }

    /// Part of a medium is in the store.
    pub fn checkpoint(&self, media: MediaId, collection: &str, progress: &Progress) -> Result<()> {
        self.run(|db| put_progress(db, media, collection, progress))
    }

    /// A medium is wholly in the store, and the path now stands for it.
    pub fn finish(&self, path: &Path, stat: Stat, media: MediaId, collection: &str, progress: &Progress) -> Result<()> {
        self.transaction(|db| {
            put_progress(db, media, collection, progress)?;
            put_file(db, path, stat, FileState::Indexed, None, Some(media))
        })
    }

    /// A known medium lies at this path (moved or copied here, or touched).
    pub fn locate(&self, path: &Path, stat: Stat, media: MediaId) -> Result<()> {
        self.run(|db| put_file(db, path, stat, FileState::Indexed, None, Some(media)))
    }

    /// The path could not be indexed. What it stood for until now stays in the store.
    pub fn fail(&self, path: &Path, stat: Option<Stat>, reason: &str) -> Result<()> {
        let before = self.file(path)?.and_then(|row| row.media_id);
        let stat = stat.unwrap_or(Stat { size: 0, modified_ns: 0 });
        self.run(|db| put_file(db, path, stat, FileState::Failed, Some(reason), before))
    }

    pub fn forget_file(&self, path: &Path) -> Result<()> {
        self.run(|db| db.execute("DELETE FROM files WHERE path = ?", [path.as_os_str().as_bytes()]).map(drop))
    }

    pub fn annotate(&self, media: MediaId, row: &MediaRow) -> Result<()> {
        self.run(|db| put_media(db, media, row))
    }

    /// Contents that no path stands for any more, with the collections that may still hold their windows.
    pub fn orphans(&self) -> Result<Vec<(MediaId, Vec<String>)>> {
        self.run(|db| {
            let orphans: Vec<MediaId> = db
                .prepare(
                    "SELECT media_id FROM media WHERE media_id NOT IN (SELECT media_id FROM files WHERE media_id NOT NULL)
                     AND media_id NOT IN (SELECT next_media_id FROM files WHERE next_media_id NOT NULL)",
                )?
                .query_map([], |row| media_id(row, 0))?
                .collect::<rusqlite::Result<_>>()?;
            orphans.into_iter().map(|media| Ok((media, collections_of(db, media)?))).collect()
        })
    }

    /// The windows of a medium have left a collection; with its last collection an orphan is forgotten altogether.
    pub fn forget_progress(&self, media: MediaId, collection: &str) -> Result<()> {
        self.run(|db| {
            db.execute(
                "DELETE FROM progress WHERE media_id = ? AND collection = ?",
                params![media.to_string(), collection],
            )
            .map(drop)
        })
    }

    pub fn forget_media(&self, media: MediaId) -> Result<()> {
        self.transaction(|db| {
            for table in ["media", "progress"] {
                db.execute(&format!("DELETE FROM {table} WHERE media_id = ?"), [media.to_string()])?;
            }
            db.execute("DELETE FROM files WHERE media_id = ?", [media.to_string()]).map(drop)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic between two statements leaves no half-done transaction behind: it is rolled back when dropped.
        self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.lock()).map_err(|error| explain(&self.path, &error))
    }

    fn transaction<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut guard = self.lock();
        let run = || {
            let transaction = guard.transaction()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error: rusqlite::Error| explain(&self.path, &error))
    }
}

const FILE_COLUMNS: &str = "path, size, modified_ns, state, reason, media_id";

fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    let state: String = row.get(3)?;
    Ok(FileRow {
        path: PathBuf::from(OsStr::from_bytes(row.get_ref(0)?.as_blob()?)),
        stat: Stat { size: row.get(1)?, modified_ns: row.get(2)? },
        state: match state.as_str() {
            "indexed" => FileState::Indexed,
            "failed" => FileState::Failed,
            _ => FileState::Pending,
        },
        reason: row.get(4)?,
        media_id: match row.get_ref(5)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(media_id(row, 5)?),
        },
    })
}

fn media_id(row: &Row<'_>, column: usize) -> rusqlite::Result<MediaId> {
    let text: String = row.get(column)?;
    Uuid::parse_str(&text).map(MediaId).map_err(|error| conversion(column, error))
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| conversion(column, error))).transpose()
}

fn conversion(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn put_media(db: &Connection, media: MediaId, row: &MediaRow) -> rusqlite::Result<()> {
    let json =
        |value: serde_json::Result<String>| value.map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)));
    let tags = json(serde_json::to_string(&row.tags))?;
    let probe = row.probe.as_ref().map(|probe| json(serde_json::to_string(probe))).transpose()?;
    db.execute(
        "INSERT INTO media (media_id, label, tags, probe) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (media_id) DO UPDATE SET label = ?2, tags = ?3, probe = coalesce(?4, probe)",
        params![media.to_string(), row.label, tags, probe],
    )
    .map(drop)
}

fn put_progress(db: &Connection, media: MediaId, collection: &str, progress: &Progress) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            media.to_string(),
            collection,
            progress.plan,
            progress.done,
            progress.resume_at,
            progress.windows,
            progress.damage
        ],
    )
    .map(drop)
}

fn put_file(
    db: &Connection,
    path: &Path,
    stat: Stat,
    state: FileState,
    reason: Option<&str>,
    media: Option<MediaId>,
) -> rusqlite::Result<()> {
    let state = match state {
        FileState::Pending => "pending",
        FileState::Indexed => "indexed",
        FileState::Failed => "failed",
    };
    db.execute(
        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, NULL)",
        params![
            path.as_os_str().as_bytes(),
            stat.size,
            stat.modified_ns,
            state,
            reason,
            media.map(|media| media.to_string())
        ],
    )
    .map(drop)
}

fn collections_of(db: &Connection, media: MediaId) -> rusqlite::Result<Vec<String>> {
    db.prepare("SELECT collection FROM progress WHERE media_id = ? ORDER BY collection")?
        .query_map([media.to_string()], |row| row.get(0))?
        .collect()
}

const FULL: &str = "the disk is full: make room and try again";

fn is_full(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    nix::sys::statvfs::statvfs(folder).is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < 1 << 20)
}

fn explain(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let path = path.to_path_buf();
    let problem = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => LedgerError::Corrupt { path, problem },
        Some(ErrorCode::DiskFull) => LedgerError::Sqlite { path, problem: FULL.to_owned() },
        // Files that share memory meet the full disk elsewhere.
        Some(ErrorCode::SystemIoFailure) if is_full(&path) => LedgerError::Sqlite { path, problem: FULL.to_owned() },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            LedgerError::Sqlite { path, problem: format!("{problem} (is the folder writable?)") }
        }
        // A table that is not there: something else was put in its place.
        _ if problem.contains("no such table") => LedgerError::Corrupt { path, problem },
        _ => LedgerError::Sqlite { path, problem },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: Stat = Stat { size: 7, modified_ns: 9 };

    fn media(number: u128) -> MediaId {
        MediaId(Uuid::from_u128(number))
    }

    fn open() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.sqlite")).unwrap();
        (dir, ledger)
    }

    fn done(windows: u64) -> Progress {
        Progress { plan: "p".into(), done: true, resume_at: 0, windows, damage: None }
    }

    #[test]
    fn what_is_written_is_read_again_after_reopening() {
        let (dir, ledger) = open();
        let path = Path::new(OsStr::from_bytes(b"/v/\xff.mp4"));
        let row = MediaRow { label: Some("garage".into()), tags: vec!["a".into()], probe: Some(Probe::default()) };
        ledger.begin(path, STAT, media(1), &row).unwrap();
        ledger.finish(path, STAT, media(1), "c", &done(3)).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&dir.path().join("ledger.sqlite")).unwrap();
        let file = ledger.file(path).unwrap().unwrap();
        assert_eq!((file.path.as_path(), file.state, file.media_id), (path, FileState::Indexed, Some(media(1))));
        assert_eq!(ledger.media(media(1)).unwrap().unwrap(), row);
        assert_eq!(ledger.progress(media(1), "c").unwrap(), Some(done(3)));
    }

    #[test]
    fn a_replaced_content_is_an_orphan_only_once_the_new_one_is_in() {
        let (_dir, ledger) = open();
        let path = Path::new("/v/a.mp4");
        ledger.begin(path, STAT, media(1), &MediaRow::default()).unwrap();
        ledger.finish(path, STAT, media(1), "c", &done(3)).unwrap();
        ledger.begin(path, STAT, media(2), &MediaRow::default()).unwrap();
        assert_eq!(ledger.file(path).unwrap().unwrap().media_id, Some(media(1)), "still searchable");
        assert!(ledger.orphans().unwrap().is_empty());
        ledger.finish(path, STAT, media(2), "c", &done(5)).unwrap();
        assert_eq!(ledger.orphans().unwrap(), [(media(1), vec!["c".to_owned()])]);
        ledger.forget_progress(media(1), "c").unwrap();
        ledger.forget_media(media(1)).unwrap();
        assert!(ledger.orphans().unwrap().is_empty());
        assert_eq!(ledger.file(path).unwrap().unwrap().media_id, Some(media(2)));
    }

    #[test]
    fn a_failure_keeps_what_was_there() {
        let (_dir, ledger) = open();
        let path = Path::new("/v/a.mp4");
        ledger.begin(path, STAT, media(1), &MediaRow::default()).unwrap();
        ledger.finish(path, STAT, media(1), "c", &done(3)).unwrap();
        ledger.fail(path, Some(STAT), "damaged").unwrap();
        let row = ledger.file(path).unwrap().unwrap();
        assert_eq!(
            (row.state, row.reason.as_deref(), row.media_id),
            (FileState::Failed, Some("damaged"), Some(media(1)))
        );
        assert!(ledger.orphans().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite");
        std::fs::write(&path, b"this is no database, whatever it is called; it goes on for a while".repeat(40))
            .unwrap();
        let error = Ledger::open(&path).err().unwrap().to_string();
        assert!(error.contains("is damaged") && error.contains("move it away"), "{error}");
    }
}
