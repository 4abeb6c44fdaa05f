//! What all commands share: the program's parts and the global flags.

use std::path::PathBuf;

use super::Global;
use crate::config;
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
    pub(super) fn new(global: Global) -> anyhow::Result<Self> {
        let mut settings = config::load(global.config.as_deref())?;
        if let Some(data) = global.data {
            settings.data_dir = data;
        }
        settings.data_dir = std::path::absolute(&settings.data_dir)?;
        let parts = Parts { settings };
        Ok(Self { parts, config_file: global.config, json: global.json, quiet: global.quiet })
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
