//! `clipseek serve`: the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use tokio::sync::broadcast::error::RecvError;

use super::app::App;
use super::index::local;
use super::{End, index};
use super::{Global, text};
use crate::config::{Settings, SourceSettings};
use crate::daemon::{self, Started};
use crate::secret::redacted;
use crate::service::news::News;
use crate::source::SourceState;

#[derive(Args)]
pub(super) struct ServeArgs {
    /// Folders to watch, besides those in the settings
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Address of the HTTP API, of this machine only
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
}

impl ServeArgs {
    /// Adds what the flags say to the settings.
    fn apply(&self, settings: &mut Settings) -> anyhow::Result<()> {
        settings.serve.listen = self.listen.unwrap_or(settings.serve.listen);
        for folder in &self.folders {
            let path = std::path::absolute(folder_of(folder)?)?;
            if path.is_file() {
                bail!("{}: a file, no folder: `clipseek index` takes single files", text::path(&path));
            }
            let source = SourceSettings::of_path(path, &settings.source);
            settings.source.push(source);
        }
        Ok(settings.check()?)
    }
}

fn folder_of(argument: &Path) -> anyhow::Result<PathBuf> {
    match argument.to_str() {
        Some(uri) if uri.contains("://") && !uri.starts_with("file://") => {
            bail!("{}: live streams are not built yet, only folders", redacted(uri))
        }
        _ => local(argument),
    }
}

pub(super) async fn run(mut app: App, global: Global, args: ServeArgs) -> anyhow::Result<End> {
    args.apply(&mut app.parts.settings)?;
    if app.settings.source.is_empty() {
        app.say(
            "no folder is watched: name some (`clipseek serve FOLDER`), or write [[source]] tables into the settings",
        );
    }
    let quiet = app.quiet;
    let reread = Box::new(move || {
        let mut settings = App::settings_of(&global)?;
        args.apply(&mut settings)?;
        Ok(settings)
    });
    let shutdown = index::shutdown_on_signals();
    let parts = app.parts;
    let told = |started: Started<'_>| tell(started, quiet);
    daemon::run(parts, reread, shutdown, told).await?;
    Ok(End::Done)
}

/// Says on standard error what is going on, unless `quiet`.
fn tell(started: Started<'_>, quiet: bool) {
    let Started { listeners, sources, model, passed_over, mut news } = started;
    if quiet {
        return;
    }
    eprintln!("listening on http://{} and {}", listeners.address, text::path(&listeners.path));
    for SourceSettings { name, path, .. } in sources {
        eprintln!("watching {} ({name}) with model {model}", text::path(path.as_deref().unwrap_or(Path::new(""))));
    }
    if !passed_over.is_empty() {
        eprintln!("indexed with several models ({}): set model.name to choose one", passed_over.join(", "));
    }
    tokio::spawn(async move {
        loop {
            match news.recv().await {
                Ok(News::Source { name, state: SourceState::Away, error }) => {
                    eprintln!("{name} is away: {}", error.unwrap_or_default());
                }
                Ok(News::Source { name, state: SourceState::Watching, .. }) => eprintln!("{name} is back"),
                Ok(News::Failed { path, reason, job: None, .. }) => {
                    eprintln!("failed: {}: {reason}", text::path(Path::new(&path)));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
}
