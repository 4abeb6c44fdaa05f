//! What commands share: settings, and the parts opened from them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Global;
use crate::archive::Archive;
use crate::config::{self, Settings, StoreKind};
use crate::decode::ChildDecoder;
use crate::embed::bundle::{Bundle, Bundles, Outline};
use crate::embed::runtime::{EmbedSettings, GpuSettings};
use crate::ledger::Ledger;
use crate::store::{self, CollectionSpec, StoreChoice, VectorStore};
use crate::thumbs::Thumbs;

/// The bundle that comes with clipseek.
const SHIPPED: &str = "shapes";

pub(super) struct App {
    pub(super) settings: Settings,
    pub(super) config_file: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) quiet: bool,
}

impl App {
    pub(super) fn new(global: Global) -> anyhow::Result<Self> {
        let mut settings = config::load(global.config.as_deref())?;
        if let Some(data) = global.data {
            settings.data_dir = data;
        }
        settings.data_dir = std::path::absolute(&settings.data_dir)?;
        Ok(Self { settings, config_file: global.config, json: global.json, quiet: global.quiet })
    }

    /// A remark for people: not part of the result, silent with `--quiet`.
    pub(super) fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Creates the data folder.
    pub(super) fn data_dir(&self) -> anyhow::Result<&Path> {
        let dir = &self.settings.data_dir;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot create the data folder {} (choose another with --data)", dir.display()))?;
        Ok(dir)
    }

    /// Only one process writes to a data folder; the lock goes with the process.
    pub(super) fn lock(&self) -> anyhow::Result<File> {
        let path = self.data_dir()?.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot write to the data folder {}", self.settings.data_dir.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => bail!(
                "another clipseek process is writing to {}: wait for it, or give this one another --data folder",
                self.settings.data_dir.display()
            ),
            Err(std::fs::TryLockError::Error(error)) => Err(error).context(format!("cannot lock {}", path.display())),
        }
    }

    pub(super) async fn ledger(&self) -> anyhow::Result<Ledger> {
        self.data_dir()?;
        Ok(Ledger::open(&self.settings.ledger_path()).await?)
    }

    /// The ledger of a data folder that may not be there: nothing is created by looking.
    pub(super) async fn existing_ledger(&self) -> anyhow::Result<Option<Ledger>> {
        if self.settings.ledger_path().exists() { self.ledger().await.map(Some) } else { Ok(None) }
    }

    /// All that is kept; no collection is opened yet.
    pub(super) fn archive(&self, ledger: Ledger) -> anyhow::Result<Archive> {
        let settings = &self.settings.store;
        let choice = match settings.kind {
            StoreKind::Edge => StoreChoice::Edge { dir: self.settings.store_dir() },
            StoreKind::Qdrant => StoreChoice::Qdrant {
                url: settings.url.clone().context("store.url is not set")?,
                api_key: settings.api_key.clone(),
            },
        };
        let catalog = store::catalog(&choice, &settings.namespace, settings.index_params())?;
        let dir = self.settings.thumbs_dir();
        let thumbs = Thumbs::open(dir.clone()).with_context(|| format!("cannot write to {}", dir.display()))?;
        Ok(Archive::new(ledger, thumbs, catalog))
    }

    /// The archive of a data folder that may not be there.
    pub(super) async fn existing_archive(&self) -> anyhow::Result<Option<Archive>> {
        self.existing_ledger().await?.map(|ledger| self.archive(ledger)).transpose()
    }

    pub(super) fn bundles(&self) -> Bundles {
        Bundles::standard(&self.settings.data_dir)
    }

    /// The bundle asked for; else the one this data folder was indexed with; else the shipped one. Only its manifest is
    /// read.
    pub(super) async fn outline(
        &self,
        asked: Option<&str>,
        ledger: Option<&Ledger>,
    ) -> anyhow::Result<(String, Outline)> {
        let name = match asked.or(self.settings.model.name.as_deref()) {
            Some(name) => name.to_owned(),
            None => self.indexed_with(ledger).await?.unwrap_or_else(|| SHIPPED.to_owned()),
        };
        let outline = self.bundles().outline(&name)?;
        // A folder is remembered by its whole path, so that it is found from elsewhere.
        let name = if Path::new(&name).is_dir() { std::path::absolute(&name)?.display().to_string() } else { name };
        Ok((name, outline))
    }

    /// The same with every file checked.
    pub(super) async fn bundle(
        &self,
        asked: Option<&str>,
        ledger: Option<&Ledger>,
    ) -> anyhow::Result<(String, Bundle)> {
        let (name, outline) = self.outline(asked, ledger).await?;
        Ok((name, Bundle::check(outline)?))
    }

    async fn indexed_with(&self, ledger: Option<&Ledger>) -> anyhow::Result<Option<String>> {
        let Some(ledger) = ledger else { return Ok(None) };
        let mut bundles: Vec<String> = ledger.collections().await?.into_iter().map(|(_, bundle)| bundle).collect();
        bundles.sort();
        bundles.dedup();
        if bundles.len() > 1 {
            self.say(format!("indexed with several models ({}): choose one with --model", bundles.join(", ")));
            return Ok(bundles.into_iter().find(|bundle| bundle == SHIPPED));
        }
        Ok(bundles.pop())
    }

    pub(super) fn embed_settings(&self) -> EmbedSettings {
        let model = &self.settings.model;
        EmbedSettings {
            device: model.device,
            threads: model.threads.unwrap_or(0),
            batch: model.batch_frames,
            gpu: GpuSettings {
                index: model.device_index,
                memory_mib: model.gpu_memory_mib,
                workspace_mib: model.tensorrt_workspace_mib,
                io_binding: model.io_binding,
                cuda_graphs: model.cuda_graphs,
                engines: Some(self.settings.engines_dir()),
                rehearse: false,
            },
        }
    }

    /// The collection of a bundle as it is made; its owner is the archive's to say.
    pub(super) fn collection(&self, bundle: &Outline) -> CollectionSpec {
        CollectionSpec {
            name: bundle.collection(),
            dim: bundle.dim(),
            bundle: bundle.hash().to_owned(),
            owner: uuid::Uuid::nil(),
            feature_dim: bundle.manifest().frame_feature_dim(),
        }
    }

    /// The collection that holds a bundle's vectors, where anything was indexed with it.
    pub(super) async fn existing_store(
        &self,
        archive: &Archive,
        bundle: &Outline,
    ) -> anyhow::Result<Arc<dyn VectorStore>> {
        let name = bundle.collection();
        archive.existing(&name).await?.with_context(|| {
            format!("the store has no collection {name}: `clipseek verify --repair` queues what was in it again")
        })
    }

    pub(super) fn decoder(&self) -> anyhow::Result<ChildDecoder> {
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        Ok(ChildDecoder::new(exe).stall_after(Duration::from_secs_f64(self.settings.index.stall_secs)))
    }

    /// Two more than cores: a file that starts, ends, or waits for the model leaves its core to another.
    pub(super) fn jobs(&self) -> usize {
        self.settings.index.jobs.unwrap_or_else(|| cores() + 2)
    }
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
