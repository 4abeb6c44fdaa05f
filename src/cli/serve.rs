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
use crate::secret::SecretUrl;
use crate::service::news::News;
use crate::source::SourceState;
use crate::source::stream::is_stream;
use crate::telemetry::{Reader, TOLD};

/// A line on the terminal, or a message for programs.
macro_rules! say {
    ($($text:tt)*) => {
        match Reader::of_daemon() {
            Reader::People => eprintln!($($text)*),
            Reader::Programs => tracing::info!(target: TOLD, $($text)*),
        }
    };
}

/// People see paths from where they are, programs whole ones.
fn shown(path: &Path) -> String {
    match Reader::of_daemon() {
        Reader::People => text::path(path),
        Reader::Programs => path.to_string_lossy().into_owned(),
    }
}

#[derive(Args)]
pub(super) struct ServeArgs {
    /// Folders to watch and streams to read, besides those in the settings
    #[arg(value_name = "FOLDER|URI")]
    sources: Vec<PathBuf>,
    /// Name of a model (`clipseek model list`) or its folder
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Address of the web page and the HTTP API; one of this machine only, unless there is a [[token]] in the settings
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
}

impl ServeArgs {
    /// Adds what the flags say to the settings, and checks them.
    pub(super) fn apply(&self, settings: &mut Settings) -> anyhow::Result<()> {
        settings.serve.listen = self.listen.unwrap_or(settings.serve.listen);
        if let Some(model) = index::absolute_model(self.model.clone())? {
            settings.model.name = Some(model);
        }
        for argument in &self.sources {
            if let Some(uri) = argument.to_str().filter(|argument| is_stream(argument)) {
                let source = SourceSettings::of_uri(SecretUrl::new(uri), &settings.source);
                settings.source.push(source);
                continue;
            }
            let path = std::path::absolute(local(argument)?)?;
            if path.is_file() {
                bail!("{}: a file, no folder: `clipseek index` takes single files", text::path(&path));
            }
            let source = SourceSettings::of_path(path, &settings.source);
            settings.source.push(source);
        }
        Ok(settings.check()?)
    }
}

/// The flags are in the settings already.
pub(super) async fn run(app: App, global: Global, args: ServeArgs) -> anyhow::Result<End> {
    if app.settings.source.is_empty() && !app.quiet {
        say!(
            "nothing is watched: name folders or streams (`clipseek serve FOLDER URI`), or write [[source]] tables into the \
             settings"
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

/// Says what is going on, unless `quiet`.
fn tell(started: Started<'_>, quiet: bool) {
    let Started { listeners, sources, model, passed_over, mut news, link } = started;
    if quiet {
        return;
    }
    say!("listening on {} and {}", listeners.url(), shown(&listeners.path));
    if let Some(link) = link {
        say!("open this in a browser, once, within 15 minutes: {link}");
    }
    for SourceSettings { name, path, uri, .. } in sources {
        let what = path.as_deref().map(shown).or_else(|| uri.as_ref().map(ToString::to_string));
        say!("watching {} ({name}) with model {model}", what.unwrap_or_default());
    }
    if !passed_over.is_empty() {
        say!("indexed with several models ({}): set model.name to choose one", passed_over.join(", "));
    }
    tokio::spawn(async move {
        loop {
            match news.recv().await {
                Ok(News::Source { name, state: SourceState::Away, error }) => {
                    say!("{name} is away: {}", error.unwrap_or_default());
                }
                Ok(News::Source { name, state: SourceState::Watching, .. }) => say!("{name} is back"),
                Ok(News::Source { name, state: SourceState::Live, .. }) => say!("{name} is live"),
                Ok(News::Source { name, state: SourceState::Stalled, .. }) => {
                    say!("{name} is stalled: it is connected and shows nothing");
                }
                Ok(News::Source { name, state: SourceState::BackingOff, error }) => {
                    say!("{name} is away and called again: {}", error.unwrap_or_default());
                }
                Ok(News::Source { name, state: SourceState::Failed, error }) => {
                    say!("{name} cannot work: {}", error.unwrap_or_default());
                }
                Ok(News::Failed { path, reason, job: None, .. }) => {
                    say!("failed: {}: {reason}", shown(Path::new(&path)));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
}
