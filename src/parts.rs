//! Builds the program's parts from the settings: ledger, store, models, decoder, searchers and ingest. Nothing is
//! opened before it is needed, and reading creates no files.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::Semaphore;

use crate::archive::Archive;
use crate::clock::Clock;
use crate::config::{Settings, SourceSettings, StoreKind};
use crate::decode::{ChildDecoder, Queues};
use crate::embed::EmbedError;
use crate::embed::bundle::{Bundle, Bundles, Outline};
use crate::embed::choice::Chosen;
use crate::embed::model::VideoModel;
use crate::embed::runtime::EmbedSettings;
use crate::embed::worker::Told;
use crate::footage::Footage;
use crate::ingest::plan::Plan;
use crate::ingest::{Event, Ingest, Lazy, Measured, Model, Observer, Options};
use crate::ledger::Ledger;
use crate::play::Player;
use crate::search::{Searchers, Warmth};
use crate::source::names::FolderNames;
use crate::store::{self, CollectionSpec, StoreChoice};
use crate::thumbs::Thumbs;

pub struct Parts {
    pub settings: Settings,
}

impl Parts {
    /// Creates the data folder and returns its path.
    pub fn data_dir(&self) -> anyhow::Result<&Path> {
        let dir = &self.settings.data_dir;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot create the data folder {} (choose another with --data)", dir.display()))?;
        Ok(dir)
    }

    /// Locks the data folder for writing, until the file is dropped or the process ends. Fails if another process holds
    /// it.
    pub fn lock(&self) -> anyhow::Result<File> {
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

    pub async fn ledger(&self) -> anyhow::Result<Ledger> {
        self.data_dir()?;
        Ok(Ledger::open(&self.settings.ledger_path()).await?)
    }

    /// The ledger, if the data folder has one.
    pub async fn existing_ledger(&self) -> anyhow::Result<Option<Ledger>> {
        if self.settings.ledger_path().exists() { self.ledger().await.map(Some) } else { Ok(None) }
    }

    /// The archive; opens no collection yet.
    pub fn archive(&self, ledger: Ledger) -> anyhow::Result<Archive> {
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
        Ok(Archive::new(ledger, thumbs, Footage::new(self.settings.footage_dir()), catalog))
    }

    /// The archive, if the data folder has a ledger.
    pub async fn existing_archive(&self) -> anyhow::Result<Option<Archive>> {
        self.existing_ledger().await?.map(|ledger| self.archive(ledger)).transpose()
    }

    pub fn bundles(&self) -> Bundles {
        Bundles::standard(&self.settings.data_dir)
    }

    /// Chooses the bundle named by the argument or in the settings; else the one that this data folder was indexed
    /// with; else the shipped one.
    pub async fn choose(&self, asked: Option<&str>, ledger: Option<&Ledger>) -> anyhow::Result<Chosen> {
        let indexed_with = match ledger {
            Some(ledger) => ledger.collections().await?.into_iter().map(|(_, bundle)| bundle).collect(),
            None => Vec::new(),
        };
        Ok(self.bundles().choose(asked.or(self.settings.model.name.as_deref()), indexed_with)?)
    }

    pub fn embed_settings(&self) -> EmbedSettings {
        EmbedSettings { engines: Some(self.settings.engines_dir()), ..self.settings.model.clone() }
    }

    /// The collection spec of a bundle. The archive sets the owner.
    pub fn collection(&self, bundle: &Outline) -> CollectionSpec {
        CollectionSpec {
            name: bundle.collection(),
            dim: bundle.dim(),
            bundle: bundle.hash().to_owned(),
            owner: uuid::Uuid::nil(),
            feature_dim: bundle.manifest().frame_feature_dim(),
        }
    }

    pub fn decoder(&self) -> anyhow::Result<ChildDecoder> {
        if cfg!(not(feature = "gst")) {
            bail!("this clipseek was built without the feature \"gst\" and cannot decode: build it with that feature");
        }
        let exe = std::env::current_exe().context("cannot find this program's own file")?;
        Ok(ChildDecoder::new(exe).stall_after(Duration::from_secs_f64(self.settings.index.stall_secs)))
    }

    /// Number of media decoded side by side: two more than cores, because a decoder that starts, ends or waits for the
    /// model leaves its core idle.
    pub fn jobs(&self) -> usize {
        self.settings.index.jobs.unwrap_or_else(|| cores() + 2)
    }

    /// Opens nothing yet.
    pub fn searchers(&self, archive: Arc<Archive>) -> Arc<Searchers> {
        let settings = &self.settings.search;
        let at_least_one = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        let warmth = Warmth {
            collections: at_least_one(settings.warm_models),
            concurrent: settings.concurrent.unwrap_or_else(cores),
            queue: settings.queue,
            queue_wait: Duration::from_secs_f64(settings.queue_secs),
            text_vectors: at_least_one(settings.text_vectors),
        };
        let preferred = self.settings.model.name.clone();
        let searchers =
            Searchers::new(archive, self.bundles(), preferred, self.embed_settings(), warmth, Clock::real());
        searchers.folders.set(self.settings.source.iter().filter_map(SourceSettings::folder));
        searchers
    }

    /// `folders`: the watched ones.
    pub fn player(&self, archive: Arc<Archive>, folders: FolderNames) -> anyhow::Result<Player> {
        let (decoder, dir) = (self.decoder()?, self.settings.playback_dir());
        Ok(Player::new(archive, decoder, dir, folders, &self.settings.play, Clock::real()))
    }

    /// Store and model are opened when the first medium needs them.
    pub fn ingest(
        &self,
        archive: &Arc<Archive>,
        bundle: Chosen,
        plan: &Arc<Plan>,
        observer: Arc<dyn Observer>,
    ) -> anyhow::Result<Ingest> {
        let settings = &self.settings.index;
        let options = Options {
            thumbnail_px: settings.thumbnail_px,
            thumbnail_spacing: Duration::from_secs_f64(settings.thumbnail_secs),
            checkpoint_every: Duration::from_secs_f64(settings.checkpoint_secs),
        };
        let Chosen { name, outline, .. } = bundle;
        let (spec, held) = (self.collection(&outline), Arc::clone(archive));
        let store = Lazy::new(move || {
            let (archive, spec, name) = (Arc::clone(&held), spec.clone(), name.clone());
            async move {
                // The ledger must know the collection before it can hold records.
                archive.ledger.add_collection(&spec.name, &name).await?;
                Ok(archive.collection(spec).await?)
            }
        });
        let outline = Arc::new(outline);
        let (bundle, embed, plan, told) =
            (Arc::clone(&outline), self.embed_settings(), Arc::clone(plan), Arc::clone(&observer));
        let model = Lazy::new(move || {
            let (bundle, embed, plan, told) =
                (Arc::clone(&bundle), embed.clone(), Arc::clone(&plan), Arc::clone(&told));
            async move {
                let name = bundle.name().to_owned();
                let opened = tokio::task::spawn_blocking(move || open_model(&bundle, &embed, &plan));
                let model = opened.await.map_err(|error| EmbedError::Runtime(error.to_string()))??;
                told.event(Event::ModelOpened { model: &name, device: model.video.device() });
                model.video.tell(&(Arc::new(move |ran| told.event(Event::Measured(Measured::Ran(ran)))) as Told));
                Ok(model)
            }
        });
        Ok(Ingest {
            archive: Arc::clone(archive),
            decoder: Arc::new(self.decoder()?),
            bundle: outline,
            store,
            model,
            options,
            turns: Arc::new(Semaphore::new(self.jobs())),
            frames_waiting: Queues::default(),
            clock: Clock::real(),
            observer,
        })
    }
}

fn open_model(outline: &Outline, settings: &EmbedSettings, plan: &Plan) -> Result<Model, EmbedError> {
    let bundle = Bundle::check(outline.clone())?;
    let mut video = VideoModel::open(&bundle, settings)?;
    if let Some(beams) = plan.caption_beams {
        video = video.with_captions(&bundle, settings, beams)?;
    }
    Ok(Model::new(video, &bundle))
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
