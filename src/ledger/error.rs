//! Errors of the ledger: SQLite's errors with what to do about them.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "the ledger {path} is damaged ({problem}): move it away and run `clipseek index` again; the videos are untouched \
         and windows already in the store are taken over"
    )]
    Corrupt { path: PathBuf, problem: String },
    #[error(
        "{path} was written by a development version of clipseek before 0.1.0, which this one does not read: remove the \
         data folder, or choose another with --data, and index again (the videos are untouched)"
    )]
    Outdated { path: PathBuf },
    #[error("the ledger {path} was written by a later version of clipseek (schema {found}, this one knows {known})")]
    Later { path: PathBuf, found: i64, known: usize },
    #[error("the ledger {path}: the disk is full: make room and try again")]
    DiskFull { path: PathBuf },
    #[error(
        "the ledger {path} was moved, removed or replaced while clipseek has it open: put it back, or end this process and \
         start it again with what is there now"
    )]
    Moved { path: PathBuf },
    #[error("the ledger {path}: {problem}")]
    Sqlite { path: PathBuf, problem: String },
}

pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let path = path.to_path_buf();
    let problem = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => LedgerError::Corrupt { path, problem },
        Some(ErrorCode::DiskFull) => LedgerError::DiskFull { path },
        // A full disk can show as an I/O error when SQLite extends its shared-memory file.
        Some(ErrorCode::SystemIoFailure) if is_full(&path) => LedgerError::DiskFull { path },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            LedgerError::Sqlite { path, problem: format!("{problem} (is the folder writable?)") }
        }
        // A table is missing: another database was put in the ledger's place.
        _ if problem.contains("no such table") => LedgerError::Corrupt { path, problem },
        _ => LedgerError::Sqlite { path, problem },
    }
}

fn is_full(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    nix::sys::statvfs::statvfs(folder).is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < 1 << 20)
}
