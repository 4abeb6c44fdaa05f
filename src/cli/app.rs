//! What all commands share: the program's parts and the global flags.

use std::path::PathBuf;

use super::Global;
use crate::api::client::Client;
use crate::config::{self, Settings};
use crate::embed::bundle::{Bundle, Outline};
use crate::embed::choice::Chosen;
use crate::ledger::Ledger;
use crate::parts::Parts;

pub(super) struct App {
    pub(super) parts: Parts,
    pub(super) config_file: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) quiet: bool,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl App {
    pub(super) fn new(global: &Global) -> anyhow::Result<Self> {
        let parts = Parts { settings: Self::settings_of(global)? };
        Ok(Self { parts, config_file: global.config.clone(), json: global.json, quiet: global.quiet })
    }

    /// The settings without the flags of the command itself.
    pub(super) fn settings_of(global: &Global) -> anyhow::Result<Settings> {
        let mut settings = config::load(global.config.as_deref())?;
        if let Some(data) = &global.data {
            settings.data_dir.clone_from(data);
        }
        settings.data_dir = std::path::absolute(&settings.data_dir)?;
        Ok(settings)
    }

    /// The daemon that owns the data folder, if one is running: the command then asks it instead of doing the work itself.
    pub(super) async fn daemon(&self) -> anyhow::Result<Option<Client>> {
        Ok(Client::find(&self.settings.data_dir).await?)
    }

    /// Prints a remark for people to standard error, unless `--quiet`. It is not part of the result.
    pub(super) fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Chooses the bundle, reading only its manifest. Says so if several models were indexed with.
    pub(super) async fn chosen(&self, asked: Option<&str>, ledger: Option<&Ledger>) -> anyhow::Result<Chosen> {
        let chosen = self.parts.choose(asked, ledger).await?;
        if !chosen.passed_over.is_empty() {
            let several = chosen.passed_over.join(", ");
            self.say(format_args!("indexed with several models ({several}): choose one with --model"));
        }
        Ok(chosen)
    }

    pub(super) async fn outline(
        &self,
        asked: Option<&str>,
        ledger: Option<&Ledger>,
    ) -> anyhow::Result<(String, Outline)> {
        let Chosen { name, outline, .. } = self.chosen(asked, ledger).await?;
        Ok((name, outline))
    }

    /// Like [`outline`](Self::outline), with every file checked.
    pub(super) async fn bundle(
        &self,
        asked: Option<&str>,
        ledger: Option<&Ledger>,
    ) -> anyhow::Result<(String, Bundle)> {
        let (name, outline) = self.outline(asked, ledger).await?;
        Ok((name, Bundle::check(outline)?))
    }
}
