//! The rows of the tables as Rust values.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::decode::{Probe, Problem};
use crate::source::{MediaId, Stat};
use crate::store::Tally;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Begun, not finished.
    Pending,
    Indexed,
    Failed,
}

/// Why a file could not be indexed, for programs. Stored and printed in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It cannot be opened or read: it vanished, access is denied, the disk is broken.
    Unreadable,
    NotVideo,
    StillPicture,
    NoVideoTrack,
    Encrypted,
    NoDecoder,
    Damaged,
    /// It was modified while it was read.
    ChangedWhileRead,
    DecoderDied,
    DecoderStalled,
    /// GStreamer could not be set up for it.
    DecoderSetup,
    /// The model failed on its frames, or the device did.
    Model,
    /// A bug of clipseek.
    Internal,
}

impl FailureKind {
    pub const ALL: [Self; 13] = [
        Self::Unreadable,
        Self::NotVideo,
        Self::StillPicture,
        Self::NoVideoTrack,
        Self::Encrypted,
        Self::NoDecoder,
        Self::Damaged,
        Self::ChangedWhileRead,
        Self::DecoderDied,
        Self::DecoderStalled,
        Self::DecoderSetup,
        Self::Model,
        Self::Internal,
    ];

    /// Whether the same file may be indexed by another try.
    pub fn may_pass(self) -> bool {
        match self {
            Self::Unreadable
            | Self::ChangedWhileRead
            | Self::DecoderDied
            | Self::DecoderStalled
            | Self::DecoderSetup
            | Self::Model
            | Self::Internal => true,
            Self::NotVideo
            | Self::StillPicture
            | Self::NoVideoTrack
            | Self::Encrypted
            | Self::NoDecoder
            | Self::Damaged => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub kind: FailureKind,
    pub reason: String,
}

/// Label and tags that the user gave a medium.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub label: Option<String>,
    pub tags: Vec<String>,
}

impl Said {
    /// Label and tags of `self`; each is taken from `before` where it is empty.
    pub fn or(self, before: Said) -> Said {
        Said { label: self.label.or(before.label), tags: if self.tags.is_empty() { before.tags } else { self.tags } }
    }
}

/// One path in one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRow {
    pub path: PathBuf,
    pub collection: String,
    pub stat: Stat,
    pub state: FileState,
    /// The content that searches show for this path.
    pub media_id: Option<MediaId>,
    /// The content that is being indexed to replace it.
    pub next_media_id: Option<MediaId>,
    pub failure: Option<Failure>,
    /// Failures since it last succeeded.
    pub tries: u32,
    /// Label and tags of the path, kept here while no medium holds them.
    pub said: Said,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MediaRow {
    pub said: Said,
    pub probe: Option<Probe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressState {
    Writing,
    Done,
    /// Its records are to be deleted.
    Leaving,
}

/// The records of a medium in a collection under one plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub plan: String,
    pub state: ProgressState,
    /// Index of the window to continue at.
    pub resume_at: u64,
    /// Records that the store has confirmed: all of them if done, else those of windows before `resume_at`.
    pub tally: Tally,
    /// Time of the last picture in the medium's pack.
    pub last_picture: Option<Duration>,
    pub problems: Vec<Problem>,
}

impl Progress {
    /// Of records that the store has confirmed all.
    pub fn done(plan: &str, tally: Tally, last_picture: Option<Duration>, problems: Vec<Problem>) -> Self {
        Self { plan: plan.to_owned(), state: ProgressState::Done, resume_at: 0, tally, last_picture, problems }
    }
}

/// Identifies the records of one medium, collection and plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owned {
    pub media_id: MediaId,
    pub collection: String,
    pub plan: String,
}

pub(super) const FILE: &str =
    "path, collection, size, modified_ns, state, media_id, next_media_id, kind, reason, tries, label, tags";

pub(super) fn file(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    let kind: Option<String> = row.get(7)?;
    let failure = match kind {
        Some(kind) => {
            Some(Failure { kind: from_word(&kind, 7)?, reason: row.get::<_, Option<String>>(8)?.unwrap_or_default() })
        }
        None => None,
    };
    Ok(FileRow {
        path: path(row, 0)?,
        collection: row.get(1)?,
        stat: Stat { size: row.get(2)?, modified_ns: row.get(3)? },
        state: from_word(&row.get::<_, String>(4)?, 4)?,
        media_id: row.get::<_, Option<_>>(5)?.map(MediaId),
        next_media_id: row.get::<_, Option<_>>(6)?.map(MediaId),
        failure,
        tries: row.get(9)?,
        said: Said { label: row.get(10)?, tags: from_json(row, 11)? },
    })
}

pub(super) fn path(row: &Row<'_>, column: usize) -> rusqlite::Result<PathBuf> {
    Ok(PathBuf::from(OsStr::from_bytes(row.get_ref(column)?.as_blob()?)))
}

pub(super) const PROGRESS: &str = "plan, state, resume_at, windows, ids, last_picture_ns, problems";

/// Reads the columns of [`PROGRESS`], of which the first is number `first`.
pub(super) fn progress(row: &Row<'_>, first: usize) -> rusqlite::Result<Progress> {
    let ids: [u8; 16] = row.get(first + 4)?;
    Ok(Progress {
        plan: row.get(first)?,
        state: from_word(&row.get::<_, String>(first + 1)?, first + 1)?,
        resume_at: row.get(first + 2)?,
        tally: Tally { windows: row.get(first + 3)?, ids: u128::from_be_bytes(ids) },
        last_picture: row.get::<_, Option<u64>>(first + 5)?.map(Duration::from_nanos),
        problems: from_json(row, first + 6)?,
    })
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| conversion(column, error))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// The name of an enum variant, as in JSON and in the tables.
pub(super) fn to_word<T: Serialize>(value: T) -> rusqlite::Result<String> {
    Ok(to_json(&value)?.trim_matches('"').to_owned())
}

pub(super) fn from_word<T: serde::de::DeserializeOwned>(word: &str, column: usize) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::from(word)).map_err(|error| conversion(column, error))
}

fn conversion(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}
