//! Sources that were added while a daemon ran, and those that are paused.

use std::collections::BTreeSet;

use rusqlite::params;

use super::rows::{from_json, to_json};
use super::{Ledger, Result};
use crate::config::SourceSettings;

impl Ledger {
    /// In the order of their names.
    pub async fn added_sources(&self) -> Result<Vec<SourceSettings>> {
        self.read(|db| {
            db.prepare_cached("SELECT settings FROM sources ORDER BY name")?
                .query_map([], |row| from_json(row, 0))?
                .collect()
        })
        .await
    }

    /// Nothing in it may be secret.
    pub async fn add_source(&self, source: SourceSettings) -> Result<()> {
        self.write(move |db| {
            let sql = "INSERT OR REPLACE INTO sources (name, settings) VALUES (?, ?)";
            let mut settings = serde_json::to_value(&source).unwrap_or_default();
            if let Some(uri) = &source.uri {
                // Printed, the values of its query would be hidden.
                settings["uri"] = uri.expose().into();
            }
            db.execute(sql, params![source.name, to_json(&settings)?]).map(drop)
        })
        .await
    }

    /// False: there was none of this name. It is no longer paused either.
    pub async fn remove_source(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |db| {
            db.execute("DELETE FROM paused WHERE name = ?", [&name])?;
            Ok(db.execute("DELETE FROM sources WHERE name = ?", [&name])? > 0)
        })
        .await
    }

    pub async fn paused_sources(&self) -> Result<BTreeSet<String>> {
        self.read(|db| db.prepare_cached("SELECT name FROM paused")?.query_map([], |row| row.get(0))?.collect()).await
    }

    pub async fn pause_source(&self, name: &str, paused: bool) -> Result<()> {
        let name = name.to_owned();
        let sql = if paused { "INSERT OR IGNORE INTO paused VALUES (?)" } else { "DELETE FROM paused WHERE name = ?" };
        self.write(move |db| db.execute(sql, [name]).map(drop)).await
    }
}
