//! `clipseek clip`, and the clips of `clipseek search --save`: moments as files to keep.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::app::App;
use super::{End, text};
use crate::api::client::Client;
use crate::play::Player;
use crate::source::names::FolderNames;

#[derive(Args)]
pub(super) struct ClipArgs {
    /// Id of a moment, as `search --json` has it
    id: Uuid,
    /// The MP4 file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Begin and end exactly: encodes the footage anew. Without it the footage is taken as it is, from the key frame before on
    #[arg(long)]
    exact: bool,
    /// Begin here, in seconds of the medium, in place of the start of the moment's best window
    #[arg(long, value_name = "SECONDS")]
    start: Option<f64>,
    /// End here
    #[arg(long, value_name = "SECONDS")]
    end: Option<f64>,
}

/// What is to be cut out.
pub(super) struct Wanted {
    pub(super) id: Uuid,
    pub(super) start_s: Option<f64>,
    pub(super) end_s: Option<f64>,
    pub(super) exact: bool,
}

/// Whoever cuts clips.
pub(super) enum Cutter {
    Daemon(Client),
    Own(Box<Player>),
}

impl Cutter {
    pub(super) async fn open(app: &App) -> anyhow::Result<Self> {
        if let Some(client) = app.daemon().await? {
            return Ok(Self::Daemon(client));
        }
        let Some(archive) = app.existing_archive().await? else {
            bail!("nothing is indexed in {} yet: clipseek index PATH", app.settings.data_dir.display());
        };
        Ok(Self::Own(Box::new(app.player(Arc::new(archive), FolderNames::default())?)))
    }

    /// Replaces a file that is there, once the clip is complete.
    pub(super) async fn write(&self, wanted: &Wanted, output: &Path) -> anyhow::Result<()> {
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = tempfile::Builder::new().prefix(".clipseek-").tempdir_in(folder);
        let beside = beside.with_context(|| format!("cannot write to {}", folder.display()))?;
        let part = beside.path().join("clip.mp4");
        let Wanted { id, start_s, end_s, exact } = *wanted;
        match self {
            Self::Daemon(client) => client.clip(id, (start_s, end_s), exact, &part).await?,
            Self::Own(player) => {
                let found = player.find(id).await?;
                let span = found.span(start_s, end_s)?;
                player.write_clip(&found, span, exact, &part).await.map(drop)?;
            }
        }
        std::fs::rename(&part, output).with_context(|| format!("cannot write {}", output.display()))
    }
}

pub(super) async fn run(app: &App, args: ClipArgs) -> anyhow::Result<End> {
    let ClipArgs { id, output, exact, start, end } = args;
    if let Some(other) = output.extension().filter(|extension| !extension.eq_ignore_ascii_case("mp4")) {
        let better = output.with_extension("mp4");
        bail!("clips are MP4 files, not {}: -o {}", other.to_string_lossy(), text::path(&better));
    }
    let wanted = Wanted { id, start_s: start, end_s: end, exact };
    Cutter::open(app).await?.write(&wanted, &output).await?;
    if app.json {
        println!("{}", json!({ "path": output.to_string_lossy() }));
    } else {
        println!("{}", text::path(&output));
    }
    Ok(End::Done)
}
