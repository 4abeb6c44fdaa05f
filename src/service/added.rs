//! Sources that are added, paused and removed while the daemon runs. They are kept in the ledger; where the settings name a
//! source, theirs counts.

use std::collections::BTreeSet;

use super::Service;
use super::sources::{Changes, SourceRow, SourcesError, Wanted};
use crate::config::{ConfigError, Refusal, Settings, SourceSettings};
use crate::ledger::LedgerError;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{0}: there is no source of this name")]
    NoSuchSource(String),
    #[error("there is a source {0:?} already: choose another name")]
    Taken(String),
    #[error("the source {0:?} is in the settings of the daemon: remove it there, and have them read again (SIGHUP)")]
    Configured(String),
    #[error("{0}")]
    Secret(String),
    #[error("{0}")]
    NotAllowed(String),
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<Refusal> for SourceError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Secret(text) => Self::Secret(text),
            Refusal::NotAllowed(text) => Self::NotAllowed(text),
        }
    }
}

impl Service {
    /// Makes these the sources of the settings; those that were added besides stay.
    pub async fn watch(&self, configured: &[SourceSettings]) -> Result<Changes, SourcesError> {
        let mut current = self.configured.lock().await;
        let changes = self.apply(configured).await?;
        *current = configured.to_vec();
        self.has_begun.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(changes)
    }

    pub async fn add_source(&self, source: SourceSettings) -> Result<SourceRow, SourceError> {
        let current = self.configured.lock().await;
        let serve = &self.parts.settings.serve;
        serve.admits(&source)?;
        let mut all = self.all_sources(&current).await?;
        if all.iter().any(|other| other.name == source.name) {
            return Err(SourceError::Taken(source.name));
        }
        all.push(source.clone());
        Settings { source: all, ..self.parts.settings.clone() }.check()?;
        let name = source.name.clone();
        self.archive.ledger.add_source(source).await?;
        if let Err(error) = self.apply(&current).await {
            self.archive.ledger.remove_source(&name).await?;
            return Err(error.into());
        }
        self.source(&name).await
    }

    /// What it has brought stays.
    pub async fn remove_source(&self, name: &str) -> Result<(), SourceError> {
        let current = self.configured.lock().await;
        if current.iter().any(|source| source.name == name) {
            return Err(SourceError::Configured(name.to_owned()));
        }
        if !self.archive.ledger.remove_source(name).await? {
            return Err(SourceError::NoSuchSource(name.to_owned()));
        }
        self.apply(&current).await?;
        Ok(())
    }

    /// Pauses it, or goes on with it. It stays so over a restart.
    pub async fn pause_source(&self, name: &str, paused: bool) -> Result<SourceRow, SourceError> {
        let current = self.configured.lock().await;
        if !self.all_sources(&current).await?.iter().any(|source| source.name == name) {
            return Err(SourceError::NoSuchSource(name.to_owned()));
        }
        self.archive.ledger.pause_source(name, paused).await?;
        self.apply(&current).await?;
        self.source(name).await
    }

    async fn source(&self, name: &str) -> Result<SourceRow, SourceError> {
        let rows = self.sources.rows().await?;
        rows.into_iter().find(|row| row.name == name).ok_or_else(|| SourceError::NoSuchSource(name.to_owned()))
    }

    async fn all_sources(&self, configured: &[SourceSettings]) -> Result<Vec<SourceSettings>, LedgerError> {
        let mut all = configured.to_vec();
        for source in self.archive.ledger.added_sources().await? {
            if all.iter().any(|other| other.name == source.name) {
                continue;
            }
            all.push(source);
            // The settings may have changed since it was added.
            if let Err(error) = (Settings { source: all.clone(), ..self.parts.settings.clone() }).check() {
                let source = all.pop().map(|source| source.name);
                tracing::warn!(source, %error, "a source that was added cannot be used, so it rests");
            }
        }
        Ok(all)
    }

    async fn apply(&self, configured: &[SourceSettings]) -> Result<Changes, SourcesError> {
        let all = self.all_sources(configured).await?;
        let paused = self.archive.ledger.paused_sources().await?;
        let added: BTreeSet<String> =
            all[configured.len().min(all.len())..].iter().map(|source| source.name.clone()).collect();
        let changes = self.sources.apply(Wanted { all: &all, paused: &paused, added: &added }).await?;
        self.searchers.folders.set(all.iter().filter_map(SourceSettings::folder));
        Ok(changes)
    }
}
