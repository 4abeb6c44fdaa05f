//! The queries of `verify`, page by page, and the changes it makes where ledger and store disagree.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::params;

use super::progress::{owned, release};
use super::rows::{self, FILE, PROGRESS};
use super::{FailureKind, FileRow, FileState, Ledger, Owned, Progress, Result};
use crate::source::MediaId;
use crate::store::Tally;

/// The records that the ledger claims are in the store for one content.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub content: Owned,
    pub progress: Progress,
    /// Whether a path shows these records, or will when they are done.
    pub is_wanted: bool,
}

/// How much the ledger knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Files by state and, where they failed, by kind of failure.
    pub files: Vec<(FileState, Option<FailureKind>, u64)>,
    /// Windows of one collection.
    pub windows: u64,
}

impl Ledger {
    /// Counts all files, and the windows of a collection.
    pub async fn counts(&self, collection: &str) -> Result<Counts> {
        let collection = collection.to_owned();
        self.read(move |db| {
            let files = db
                .prepare_cached("SELECT state, kind, count(*) FROM files GROUP BY state, kind")?
                .query_map([], |row| {
                    let kind = row.get::<_, Option<String>>(1)?.map(|kind| rows::from_word(&kind, 1)).transpose()?;
                    Ok((rows::from_word(&row.get::<_, String>(0)?, 0)?, kind, row.get(2)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let windows = db
                .prepare_cached("SELECT coalesce(sum(windows), 0) FROM progress WHERE collection = ?")?
                .query_row([collection], |row| row.get(0))?;
            Ok(Counts { files, windows })
        })
        .await
    }

    /// The next claims after `after`, in the order of collection, medium and plan.
    pub async fn claims(&self, after: Option<Owned>, limit: usize) -> Result<Vec<Claim>> {
        let (collection, media, plan) =
            after.map_or_else(Default::default, |after| (after.collection, after.media_id.0, after.plan));
        self.read(move |db| {
            db.prepare_cached(&format!(
                "SELECT media_id, collection, plan, {PROGRESS},
                     state = 'leaving'
                     OR EXISTS (SELECT 1 FROM files f WHERE f.next_media_id = p.media_id AND f.collection = p.collection)
                     OR state = 'done' AND EXISTS (
                         SELECT 1 FROM files f WHERE f.media_id = p.media_id AND f.collection = p.collection)
                 FROM progress p WHERE (collection, media_id, plan) > (?, ?, ?)
                 ORDER BY collection, media_id, plan LIMIT ?"
            ))?
            .query_map(params![collection, media, plan, limit], |row| {
                Ok(Claim { content: owned(row)?, progress: rows::progress(row, 3)?, is_wanted: row.get(10)? })
            })?
            .collect()
        })
        .await
    }

    /// Whether the ledger has any progress of this medium in this collection.
    pub async fn knows(&self, media: MediaId, collection: &str) -> Result<bool> {
        Ok(!self.progress(media, collection).await?.is_empty())
    }

    /// Files marked as indexed, or as being indexed, whose records the ledger does not claim.
    pub async fn files_without_claim(&self) -> Result<Vec<FileRow>> {
        self.read(move |db| {
            db.prepare_cached(&format!(
                "SELECT {FILE} FROM files f WHERE
                 media_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM progress p
                     WHERE p.media_id = f.media_id AND p.collection = f.collection AND p.state = 'done')
                 OR next_media_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM progress p
                     WHERE p.media_id = f.next_media_id AND p.collection = f.collection AND p.state <> 'leaving')
                 ORDER BY path, collection"
            ))?
            .query_map([], rows::file)?
            .collect()
        })
        .await
    }

    /// Call when the records of this content have been removed: queues its files to be indexed again from the
    /// beginning, unless another plan is already being written to replace it. Labels and tags are kept.
    pub async fn queue_again(&self, content: Owned) -> Result<()> {
        self.write(move |db| {
            let Owned { media_id: media, collection, plan } = &content;
            db.execute(
                "UPDATE progress SET resume_at = 0, windows = 0, ids = ?4, last_picture_ns = NULL, problems = '[]',
                 state = CASE WHEN EXISTS (SELECT 1 FROM progress WHERE media_id = ?1 AND collection = ?2
                     AND plan <> ?3 AND state = 'writing') THEN 'leaving' ELSE 'writing' END
                 WHERE media_id = ?1 AND collection = ?2 AND plan = ?3",
                params![media.0, collection, plan, 0_u128.to_be_bytes()],
            )?;
            db.execute(
                "UPDATE files SET state = 'pending', kind = NULL, reason = NULL, media_id = NULL,
                 next_media_id = coalesce(next_media_id, ?1) WHERE media_id = ?1 AND collection = ?2",
                params![media.0, collection],
            )?;
            // If all of its paths are being indexed with other contents, nobody will write this one.
            release(db, *media, collection)
        })
        .await
    }

    /// Accepts the records and pictures that were found as complete, because no file is left to index again.
    pub async fn keep_as_found(&self, content: Owned, found: Tally, last_picture: Option<Duration>) -> Result<()> {
        self.write(move |db| {
            db.execute(
                "UPDATE progress SET resume_at = 0, windows = ?, ids = ?, last_picture_ns = ?
                 WHERE media_id = ? AND collection = ? AND plan = ?",
                params![
                    found.windows,
                    found.ids.to_be_bytes(),
                    last_picture.map(|time| time.as_nanos() as u64),
                    content.media_id.0,
                    content.collection,
                    content.plan
                ],
            )
            .map(drop)
        })
        .await
    }

    /// Sets the records of this content to leaving.
    pub async fn retire_claim(&self, content: Owned) -> Result<()> {
        self.write(move |db| {
            db.execute(
                "UPDATE progress SET state = 'leaving' WHERE media_id = ? AND collection = ? AND plan = ?",
                params![content.media_id.0, content.collection, content.plan],
            )
            .map(drop)
        })
        .await
    }

    /// The next distinct paths after `after`.
    pub async fn paths(&self, after: &Path, limit: usize) -> Result<Vec<PathBuf>> {
        let after = after.to_path_buf();
        self.read(move |db| {
            db.prepare_cached("SELECT DISTINCT path FROM files WHERE path > ? ORDER BY path LIMIT ?")?
                .query_map(params![after.as_os_str().as_bytes(), limit], |row| rows::path(row, 0))?
                .collect()
        })
        .await
    }
}
