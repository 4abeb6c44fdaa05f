//! How many records of a medium are stored, and which of them searches may show.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::rows::{self, PROGRESS, to_json};
use super::{Ledger, Owned, Progress, ProgressState, Result};
use crate::decode::Problem;
use crate::source::MediaId;
use crate::store::Tally;

impl Ledger {
    /// The progress of every plan of a medium in one collection.
    pub async fn progress(&self, media: MediaId, collection: &str) -> Result<Vec<Progress>> {
        let collection = collection.to_owned();
        self.read(move |db| read_progress(db, media, &collection)).await
    }

    /// The progress of every plan of a medium, by collection.
    pub async fn progress_of(&self, media: MediaId) -> Result<BTreeMap<String, Vec<Progress>>> {
        self.read(move |db| {
            let mut all: BTreeMap<String, Vec<Progress>> = BTreeMap::new();
            let mut statement = db.prepare_cached(&format!(
                "SELECT collection, {PROGRESS} FROM progress WHERE media_id = ? ORDER BY collection, plan"
            ))?;
            let mut found = statement.query([media.0])?;
            while let Some(row) = found.next()? {
                all.entry(row.get(0)?).or_default().push(rows::progress(row, 1)?);
            }
            Ok(all)
        })
        .await
    }

    /// Call when the store has confirmed the records that `tally` counts, of windows before `resume_at`.
    pub async fn checkpoint(&self, content: Owned, resume_at: u64, tally: Tally, problems: Vec<Problem>) -> Result<()> {
        self.write(move |db| {
            db.execute(
                "UPDATE progress SET resume_at = ?, windows = ?, ids = ?, problems = ?
                 WHERE media_id = ? AND collection = ? AND plan = ? AND state = 'writing'",
                params![
                    resume_at,
                    tally.windows,
                    tally.ids.to_be_bytes(),
                    to_json(&problems)?,
                    content.media_id.0,
                    content.collection,
                    content.plan
                ],
            )
            .map(drop)
        })
        .await
    }

    /// Sets records of these plans, which the ledger did not know, to leaving.
    pub async fn retire_unknown(&self, content: Owned, plans: Vec<String>) -> Result<()> {
        self.write(move |db| {
            for plan in plans {
                db.execute(
                    "INSERT OR IGNORE INTO progress (media_id, collection, plan, state, ids) VALUES (?, ?, ?, 'leaving', ?)",
                    params![content.media_id.0, content.collection, plan, 0_u128.to_be_bytes()],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Contents whose records are to be deleted from the store.
    pub async fn leaving(&self) -> Result<Vec<Owned>> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT media_id, collection, plan FROM progress WHERE state = 'leaving' ORDER BY collection, media_id",
            )?
            .query_map([], owned)?
            .collect()
        })
        .await
    }

    /// Whether these records are still to be deleted; their content may have been begun again meanwhile.
    pub async fn is_leaving(&self, content: &Owned) -> Result<bool> {
        let Owned { media_id, collection, plan } = content.clone();
        self.read(move |db| {
            let mut rows = read_progress(db, media_id, &collection)?.into_iter();
            Ok(rows.any(|row| row.plan == plan && row.state == ProgressState::Leaving))
        })
        .await
    }

    /// Call when the records have been deleted. A medium without plans and paths is forgotten.
    pub async fn left(&self, content: Owned) -> Result<()> {
        self.write(move |db| {
            let Owned { media_id: media, collection, plan } = &content;
            db.execute(
                "DELETE FROM progress WHERE media_id = ? AND collection = ? AND plan = ? AND state = 'leaving'",
                params![media.0, collection, plan],
            )?;
            db.execute(
                "DELETE FROM media WHERE media_id = ?1
                 AND NOT EXISTS (SELECT 1 FROM progress WHERE media_id = ?1)
                 AND NOT EXISTS (SELECT 1 FROM files WHERE media_id = ?1)
                 AND NOT EXISTS (SELECT 1 FROM files WHERE next_media_id = ?1)",
                [media.0],
            )
            .map(drop)
        })
        .await
    }

    /// The media and plans among `records` that no search may show: media that the ledger does not know, a plan that is
    /// being written beside a finished one, a content that is to replace another one, and records to be deleted. A
    /// medium that is indexed for the first time is shown while it grows.
    pub async fn hidden(&self, collection: &str, records: Vec<(MediaId, String)>) -> Result<Vec<(MediaId, String)>> {
        let collection = collection.to_owned();
        self.read(move |db| {
            let mut shown = db.prepare_cached(
                "SELECT 1 FROM progress p WHERE media_id = ?1 AND collection = ?2 AND plan = ?3 AND (
                     state = 'done' AND (
                         EXISTS (SELECT 1 FROM files WHERE media_id = ?1 AND collection = ?2)
                         OR EXISTS (SELECT 1 FROM files WHERE next_media_id = ?1 AND collection = ?2))
                     OR state = 'writing'
                         AND NOT EXISTS (SELECT 1 FROM progress WHERE media_id = ?1 AND collection = ?2
                             AND state = 'done')
                         AND EXISTS (SELECT 1 FROM files WHERE next_media_id = ?1 AND collection = ?2
                             AND media_id IS NULL))",
            )?;
            let mut hidden = Vec::new();
            for (media, plan) in records {
                if !shown.exists(params![media.0, collection, plan])? {
                    hidden.push((media, plan));
                }
            }
            Ok(hidden)
        })
        .await
    }
}

pub(super) fn owned(row: &rusqlite::Row<'_>) -> rusqlite::Result<Owned> {
    Ok(Owned { media_id: MediaId(row.get(0)?), collection: row.get(1)?, plan: row.get(2)? })
}

pub(super) fn read_progress(db: &Connection, media: MediaId, collection: &str) -> rusqlite::Result<Vec<Progress>> {
    db.prepare_cached(&format!("SELECT {PROGRESS} FROM progress WHERE media_id = ? AND collection = ? ORDER BY plan"))?
        .query_map(params![media.0, collection], |row| rows::progress(row, 0))?
        .collect()
}

/// Begins a plan. A plan that was begun before and not finished is set to leaving: only the last requested one counts.
pub(super) fn insert_writing(db: &Connection, content: &Owned) -> rusqlite::Result<Progress> {
    let Owned { media_id, collection, plan } = content;
    retire(db, *media_id, collection, &Retire::Writing)?;
    db.execute(
        "INSERT INTO progress (media_id, collection, plan, state, ids) VALUES (?, ?, ?, 'writing', ?)",
        params![media_id.0, collection, plan, 0_u128.to_be_bytes()],
    )?;
    Ok(Progress {
        plan: plan.clone(),
        state: ProgressState::Writing,
        resume_at: 0,
        tally: Tally::default(),
        last_picture: None,
        problems: Vec::new(),
    })
}

/// Call when a path no longer shows this content: sets to leaving what no other path shows or is being indexed with.
pub(super) fn release(db: &Connection, media: MediaId, collection: &str) -> rusqlite::Result<()> {
    let any = |column: &str| -> rusqlite::Result<bool> {
        db.prepare_cached(&format!("SELECT 1 FROM files WHERE {column} = ? AND collection = ? LIMIT 1"))?
            .exists(params![media.0, collection])
    };
    match (any("media_id")?, any("next_media_id")?) {
        (_, true) => Ok(()),
        (true, false) => retire(db, media, collection, &Retire::Writing),
        (false, false) => retire(db, media, collection, &Retire::All),
    }
}

/// The plans of a content to set to leaving.
pub(super) enum Retire<'a> {
    All,
    Writing,
    Except(&'a str),
}

pub(super) fn retire(db: &Connection, media: MediaId, collection: &str, which: &Retire<'_>) -> rusqlite::Result<()> {
    let (state, except) = match which {
        Retire::All => (None, None),
        Retire::Writing => (Some("writing"), None),
        Retire::Except(plan) => (None, Some(*plan)),
    };
    db.prepare_cached(
        "UPDATE progress SET state = 'leaving' WHERE media_id = ?1 AND collection = ?2 AND state <> 'leaving'
         AND (?3 IS NULL OR state = ?3) AND plan IS NOT ?4",
    )?
    .execute(params![media.0, collection, state, except])
    .map(drop)
}
