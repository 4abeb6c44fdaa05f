//! The hours of live streams, and the epochs that go on.

use std::path::PathBuf;

use rusqlite::{OptionalExtension, params};

use super::rows;
use super::{Ledger, Owned, Result};
use crate::source::MediaId;
use crate::source::stream::LiveHour;

/// The epoch of a source, and what it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// When it began, Unix milliseconds.
    pub epoch: u64,
    pub plan: String,
    pub codec: String,
    /// Time of its last frame, Unix milliseconds.
    pub last_ms: u64,
}

/// An hour that was begun and not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHour {
    pub hour: LiveHour,
    pub path: PathBuf,
    pub content: Owned,
}

impl Ledger {
    pub async fn epoch(&self, source: &str, collection: &str) -> Result<Option<Epoch>> {
        let (source, collection) = (source.to_owned(), collection.to_owned());
        self.read(move |db| {
            db.prepare_cached("SELECT epoch, plan, codec, last_ms FROM epochs WHERE source = ? AND collection = ?")?
                .query_row([source, collection], |row| {
                    Ok(Epoch { epoch: row.get(0)?, plan: row.get(1)?, codec: row.get(2)?, last_ms: row.get(3)? })
                })
                .optional()
        })
        .await
    }

    /// Makes this the epoch that goes on.
    pub async fn put_epoch(&self, source: &str, collection: &str, epoch: Epoch) -> Result<()> {
        let (source, collection) = (source.to_owned(), collection.to_owned());
        self.write(move |db| {
            let Epoch { epoch, plan, codec, last_ms } = epoch;
            db.execute(
                "INSERT OR REPLACE INTO epochs (source, collection, epoch, plan, codec, last_ms)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![source, collection, epoch, plan, codec, last_ms],
            )
            .map(drop)
        })
        .await
    }

    /// Call before the medium of this hour is begun.
    pub async fn put_live(&self, hour: &LiveHour, uri: &str) -> Result<()> {
        let (hour, uri) = (hour.clone(), uri.to_owned());
        self.write(move |db| {
            db.execute(
                "INSERT OR REPLACE INTO live (media_id, source, epoch, hour, uri) VALUES (?, ?, ?, ?, ?)",
                params![hour.media_id().0, hour.source, hour.epoch, hour.hour, uri],
            )
            .map(drop)
        })
        .await
    }

    /// The last hour of this epoch that is known.
    pub async fn last_hour(&self, source: &str, epoch: u64) -> Result<Option<u64>> {
        let source = source.to_owned();
        self.read(move |db| {
            db.prepare_cached("SELECT max(hour) FROM live WHERE source = ? AND epoch = ?")?
                .query_row(params![source, epoch], |row| row.get(0))
        })
        .await
    }

    /// What hour of which stream a medium is, and the stream's address; `None`: it is a file.
    pub async fn live(&self, media: MediaId) -> Result<Option<(LiveHour, String)>> {
        self.read(move |db| {
            db.prepare_cached("SELECT source, epoch, hour, uri FROM live WHERE media_id = ?")?
                .query_row([media.0], |row| {
                    Ok((LiveHour { source: row.get(0)?, epoch: row.get(1)?, hour: row.get(2)? }, row.get(3)?))
                })
                .optional()
        })
        .await
    }

    /// The hours of this source (`None`: of all) that are still being written, or were when a run died.
    pub async fn open_hours(&self, source: Option<&str>, collection: &str) -> Result<Vec<OpenHour>> {
        let (source, collection) = (source.map(str::to_owned), collection.to_owned());
        self.read(move |db| {
            db.prepare_cached(
                "SELECT l.source, l.epoch, l.hour, f.path, p.media_id, p.plan FROM live l
                 JOIN files f ON f.next_media_id = l.media_id
                 JOIN progress p ON p.media_id = l.media_id AND p.collection = f.collection AND p.state = 'writing'
                 WHERE (?1 IS NULL OR l.source = ?1) AND f.collection = ?2 ORDER BY l.hour, l.epoch",
            )?
            .query_map((&source, &collection), |row| {
                Ok(OpenHour {
                    hour: LiveHour { source: row.get(0)?, epoch: row.get(1)?, hour: row.get(2)? },
                    path: rows::path(row, 3)?,
                    content: Owned {
                        media_id: MediaId(row.get(4)?),
                        collection: collection.clone(),
                        plan: row.get(5)?,
                    },
                })
            })?
            .collect()
        })
        .await
    }

    /// The streams that are known, each with the epoch that goes on.
    pub async fn streams(&self) -> Result<Vec<(String, u64)>> {
        self.read(|db| {
            db.prepare_cached("SELECT DISTINCT source, epoch FROM epochs")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .await
    }

    /// Every hour of every stream, with its path and collection.
    pub async fn live_hours(&self) -> Result<Vec<(LiveHour, PathBuf, String)>> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT l.source, l.epoch, l.hour, f.path, f.collection FROM live l
                 JOIN files f ON l.media_id = coalesce(f.media_id, f.next_media_id) ORDER BY l.hour",
            )?
            .query_map([], |row| {
                let hour = LiveHour { source: row.get(0)?, epoch: row.get(1)?, hour: row.get(2)? };
                Ok((hour, rows::path(row, 3)?, row.get(4)?))
            })?
            .collect()
        })
        .await
    }
}
