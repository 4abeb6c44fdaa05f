//! `clipseek media`: lists, shows, removes, retries and exports what is indexed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::app::App;
use super::export::{self, ExportArgs};
use super::probe::track_in_words;
use super::{End, index, text};
use crate::decode::TrackKind;
use crate::ledger::{ProgressState, Said};
use crate::media::{self, Listed, PAGE, RemoveRequest, Shown, absolute_or_id};
use crate::service::jobs::JobRequest;
use crate::source::walk::Found;

#[derive(Args)]
pub(super) struct MediaArgs {
    #[command(subcommand)]
    command: Option<MediaCommand>,
}

#[derive(Subcommand)]
enum MediaCommand {
    /// List every file and its state
    List(ListArgs),
    /// Show all that is known of one medium
    Show {
        /// Media id, or the path of a file
        medium: String,
    },
    /// Take media out of the index (files are not touched)
    Remove(RemoveArgs),
    /// Index the failed files again
    Retry(RetryArgs),
    /// Print a JSON line per window
    Export(ExportArgs),
}

#[derive(Args, Default)]
struct ListArgs {
    /// Only files that could not be indexed
    #[arg(long)]
    failed: bool,
}

#[derive(Args)]
struct RemoveArgs {
    /// Paths to forget, or media ids to forget with all of their paths
    #[arg(required_unless_present_any = ["missing", "failed", "unknown"])]
    media: Vec<String>,
    /// Every file that is no longer there
    #[arg(long)]
    missing: bool,
    /// Every file that could not be indexed
    #[arg(long)]
    failed: bool,
    /// Every window in the store whose medium the ledger does not know (after a ledger was lost)
    #[arg(long)]
    unknown: bool,
}

#[derive(Args)]
struct RetryArgs {
    /// Name of a model or its folder
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
}

pub(super) async fn run(app: App, args: MediaArgs) -> anyhow::Result<End> {
    match args.command.unwrap_or(MediaCommand::List(ListArgs::default())) {
        MediaCommand::List(args) => list(&app, &args).await,
        MediaCommand::Show { medium } => show(&app, &medium).await,
        MediaCommand::Remove(args) => remove(&app, args).await,
        MediaCommand::Retry(args) => retry(&app, args).await,
        MediaCommand::Export(args) => export::run(&app, args).await,
    }
}

async fn list(app: &App, args: &ListArgs) -> anyhow::Result<End> {
    let daemon = app.daemon().await?;
    let ledger = if daemon.is_some() { None } else { app.existing_ledger().await? };
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = match (&daemon, &ledger) {
            (Some(client), _) => client.media(after.as_deref(), args.failed).await?,
            (None, Some(ledger)) => media::list(ledger, after.as_deref(), PAGE, args.failed).await?,
            (None, None) => break,
        };
        rows.extend(page.media);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if app.json {
        println!("{}", json!({ "media": rows }));
    } else if rows.is_empty() {
        println!("{}", if args.failed { "nothing failed" } else { "nothing is indexed yet" });
    } else {
        print_list(&rows);
    }
    Ok(End::Done)
}

fn print_list(rows: &[Listed]) {
    // Show the collection only if there are several.
    let several = rows.iter().any(|row| row.collection != rows[0].collection);
    let mut head = vec!["state", "windows", "file", "remarks"];
    if several {
        head.insert(2, "collection");
    }
    let line = |row: &Listed| {
        let path = text::path(Path::new(&row.path));
        let mut line = vec![row.state.word().to_owned(), row.windows.to_string(), path, remark(row)];
        if several {
            line.insert(2, row.collection.clone());
        }
        line
    };
    print!("{}", text::table(&head, &rows.iter().map(line).collect::<Vec<_>>()));
}

/// Why it failed, else its problems.
fn remark(row: &Listed) -> String {
    match &row.reason {
        Some(reason) if row.tries > 1 => format!("{reason} ({} tries)", row.tries),
        Some(reason) => reason.clone(),
        None => row.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

async fn show(app: &App, medium: &str) -> anyhow::Result<End> {
    let medium = absolute_or_id(medium)?;
    let shown = match app.daemon().await? {
        Some(client) => client.medium(&medium).await?,
        None => {
            let archive = app.existing_archive().await?.context("nothing is indexed yet")?;
            media::show(&archive, &medium).await?
        }
    };
    if app.json {
        println!("{}", serde_json::to_value(&shown)?);
    } else {
        print_shown(&shown);
    }
    Ok(End::Done)
}

fn print_shown(shown: &Shown) {
    println!("medium      {}", shown.media_id);
    for file in &shown.files {
        let (path, size) = (text::path(Path::new(&file.path)), text::bytes(file.size));
        println!("file        {path}  ({size}, {} in {})", file.state.word(), file.collection);
        if let Some(reason) = &file.reason {
            println!("failed      {reason}");
        }
    }
    if let Some(label) = &shown.label {
        println!("label       {label}");
    }
    if !shown.tags.is_empty() {
        println!("tags        {}", shown.tags.join(", "));
    }
    if let Some(probe) = &shown.probe {
        let length = probe.duration.map_or_else(|| "unknown length".to_owned(), text::span);
        println!("video       {} {}×{}, {length}", probe.codec, probe.width, probe.height);
        let others = probe.tracks.iter().filter(|track| track.kind == TrackKind::Video && !track.taken);
        for track in others {
            println!("not taken   track {} (`index --track {}` takes it)", track_in_words(track), track.id);
        }
    }
    for held in &shown.collections {
        let how = match held.state {
            ProgressState::Done => "done",
            ProgressState::Writing => "in part",
            ProgressState::Leaving => "being removed",
        };
        let windows = text::count(held.windows, "window");
        println!("indexed     {}: {windows} ({}), {how}", held.collection, held.plan);
        for problem in &held.problems {
            println!("problem     {problem}");
        }
        println!("thumbnails  {}", text::bytes(held.thumbnail_bytes));
    }
}

async fn remove(app: &App, args: RemoveArgs) -> anyhow::Result<End> {
    let RemoveArgs { media, missing, failed, unknown } = args;
    let media = media.iter().map(|medium| absolute_or_id(medium)).collect::<Result<_, _>>()?;
    let request = RemoveRequest { media, missing, failed, unknown };
    let removed = match app.daemon().await? {
        Some(client) => client.remove(&request).await?,
        None => {
            let _lock = app.lock()?;
            let archive = app.archive(app.ledger().await?)?;
            media::remove(&archive, &request).await?
        }
    };
    if app.json {
        println!("{}", json!({"removed": removed.removed, "windows": removed.windows}));
    } else {
        let windows = text::count(removed.windows, "window");
        println!("removed {} ({windows})", text::count(removed.removed, "file"));
    }
    Ok(if removed.removed + removed.windows == 0 { End::Nothing } else { End::Done })
}

async fn retry(app: &App, args: RetryArgs) -> anyhow::Result<End> {
    if let Some(client) = app.daemon().await? {
        let model = index::absolute_model(args.model)?;
        return index::by_daemon(app, &client, &JobRequest::Retry { model }).await;
    }
    let Some(ledger) = app.existing_ledger().await? else { return Ok(End::Nothing) };
    let collection = app.outline(args.model.as_deref(), Some(&ledger)).await?.1.collection();
    let (files, gone) = media::failed(&ledger, &collection).await?;
    drop(ledger);
    if files.is_empty() && gone.is_empty() {
        app.say("nothing failed");
        return Ok(End::Nothing);
    }
    // The ledger has their labels and tags.
    let files = files.into_iter().map(|path| (path, Said::default())).collect();
    let unreadable = gone.into_iter().map(|path: PathBuf| (path, "no such file or folder".to_owned())).collect();
    let found = Found { unreadable, ..Found::default() };
    index::index(app, args.model.as_deref(), None, files, found, Said::default()).await
}
