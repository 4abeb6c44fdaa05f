//! `clipseek media`: what is indexed, and what is to be done about it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::app::App;
use super::export::{self, ExportArgs};
use super::{End, index, text};
use crate::ledger::{FileRow, FileState, Ledger};
use crate::source::MediaId;
use crate::source::walk::Found;
use crate::store::Selection;

#[derive(Args)]
pub(super) struct MediaArgs {
    #[command(subcommand)]
    command: Option<MediaCommand>,
}

#[derive(Subcommand)]
enum MediaCommand {
    /// Every file and its state
    List(ListArgs),
    /// All that is known of one medium
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
    /// Media ids, or paths of files
    #[arg(required_unless_present_any = ["missing", "failed"])]
    media: Vec<String>,
    /// Every file that is no longer there
    #[arg(long)]
    missing: bool,
    /// Every file that could not be indexed
    #[arg(long)]
    failed: bool,
}

#[derive(Args)]
struct RetryArgs {
    /// Name of a model or its folder
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
}

pub(super) async fn run(app: App, args: MediaArgs) -> anyhow::Result<End> {
    app.settings.check()?;
    match args.command.unwrap_or(MediaCommand::List(ListArgs::default())) {
        MediaCommand::List(args) => list(&app, &args),
        MediaCommand::Show { medium } => show(&app, &medium),
        MediaCommand::Remove(args) => remove(&app, &args).await,
        MediaCommand::Retry(args) => retry(&app, &args).await,
        MediaCommand::Export(args) => export::run(&app, args).await,
    }
}

fn state(file: &FileRow) -> &'static str {
    match file.state {
        FileState::Pending => "pending",
        FileState::Indexed => "indexed",
        FileState::Failed => "failed",
    }
}

fn list(app: &App, args: &ListArgs) -> anyhow::Result<End> {
    let ledger = app.existing_ledger()?;
    let mut rows = Vec::new();
    if let Some(ledger) = &ledger {
        for file in ledger.files()?.into_iter().filter(|file| !args.failed || file.state == FileState::Failed) {
            let progress = file.media_id.map(|media| ledger.progress_of(media)).transpose()?.unwrap_or_default();
            let windows: u64 = progress.iter().map(|(_, progress)| progress.windows).sum();
            let damage = progress.into_iter().find_map(|(_, progress)| progress.damage);
            let reason = file.reason.clone().or(damage.map(|damage| format!("damaged: {damage}")));
            rows.push((file, windows, reason));
        }
    }
    if app.json {
        let media: Vec<_> = rows
            .iter()
            .map(|(file, windows, reason)| {
                json!({
                    "media_id": file.media_id,
                    "path": file.path.to_string_lossy(),
                    "state": state(file),
                    "windows": windows,
                    "reason": reason,
                })
            })
            .collect();
        println!("{}", json!({ "media": media }));
    } else if rows.is_empty() {
        println!("{}", if args.failed { "nothing failed" } else { "nothing is indexed yet" });
    } else {
        let lines: Vec<_> = rows
            .iter()
            .map(|(file, windows, reason)| {
                vec![
                    state(file).to_owned(),
                    windows.to_string(),
                    text::path(&file.path),
                    reason.clone().unwrap_or_default(),
                ]
            })
            .collect();
        print!("{}", text::table(&["state", "windows", "file", "reason"], &lines));
    }
    Ok(End::Done)
}

fn show(app: &App, medium: &str) -> anyhow::Result<End> {
    let ledger = app.existing_ledger()?.context("nothing is indexed yet")?;
    let media = find(&ledger, medium)?;
    let row = ledger.media(media)?.unwrap_or_default();
    let files = ledger.files_of(media)?;
    let progress = ledger.progress_of(media)?;
    let thumbnails = app.thumbs()?.bytes(media);
    let paths: Vec<_> = files.iter().map(|file| file.path.to_string_lossy().into_owned()).collect();
    let collections: Vec<_> = progress
        .iter()
        .map(|(collection, p)| {
            json!({"collection": collection, "plan": p.plan, "done": p.done, "windows": p.windows, "damage": p.damage})
        })
        .collect();
    let value = json!({
        "media_id": media, "paths": paths, "label": row.label, "tags": row.tags, "probe": row.probe,
        "collections": collections, "thumbnail_bytes": thumbnails,
    });
    if app.json {
        println!("{value}");
        return Ok(End::Done);
    }
    println!("medium      {media}");
    for file in &files {
        println!("file        {}  ({}, {})", text::path(&file.path), text::bytes(file.stat.size), state(file));
    }
    if let Some(label) = &row.label {
        println!("label       {label}");
    }
    if !row.tags.is_empty() {
        println!("tags        {}", row.tags.join(", "));
    }
    if let Some(probe) = &row.probe {
        let length = probe.duration.map_or_else(|| "unknown length".to_owned(), text::span);
        println!("video       {} {}×{}, {length}", probe.codec, probe.width, probe.height);
    }
    for (collection, progress) in &progress {
        let how = if progress.done { "done" } else { "in part" };
        println!("indexed     {collection}: {} ({}), {how}", text::count(progress.windows, "window"), progress.plan);
        if let Some(damage) = &progress.damage {
            println!("damaged     {damage}");
        }
    }
    println!("thumbnails  {}", text::bytes(thumbnails));
    Ok(End::Done)
}

/// A medium by its id or by a path.
fn find(ledger: &Ledger, medium: &str) -> anyhow::Result<MediaId> {
    if let Ok(id) = uuid::Uuid::parse_str(medium) {
        let media = MediaId(id);
        ledger.media(media)?.with_context(|| format!("{medium}: no such medium"))?;
        return Ok(media);
    }
    let path = std::path::absolute(medium)?;
    let known = ledger.file(&path)?.or(ledger.file(&path.canonicalize().unwrap_or_default())?);
    known
        .and_then(|file| file.media_id)
        .with_context(|| format!("{medium}: not indexed (`clipseek media list` shows what is)"))
}

async fn remove(app: &App, args: &RemoveArgs) -> anyhow::Result<End> {
    let _lock = app.lock()?;
    let ledger = app.ledger()?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for medium in &args.media {
        match find(&ledger, medium) {
            Ok(media) => paths.extend(ledger.files_of(media)?.into_iter().map(|file| file.path)),
            // A failed file has no medium, but may be forgotten.
            Err(error) => match ledger.file(&std::path::absolute(medium)?)? {
                Some(file) => paths.push(file.path),
                None => return Err(error),
            },
        }
    }
    let gone = |path: &Path| !path.exists();
    for file in ledger.files()? {
        if args.missing && gone(&file.path) || args.failed && file.state == FileState::Failed {
            paths.push(file.path);
        }
    }
    paths.sort();
    paths.dedup();
    for path in &paths {
        ledger.forget_file(path)?;
    }
    let mut windows = 0;
    for (media, collections) in ledger.orphans()? {
        for collection in collections {
            windows += remove_from(app, &ledger, &collection, media).await?;
            ledger.forget_progress(media, &collection)?;
        }
        app.thumbs()?.remove(media)?;
        ledger.forget_media(media)?;
    }
    if app.json {
        println!("{}", json!({"removed": paths.len(), "windows": windows}));
    } else {
        println!("removed {} ({})", text::count(paths.len() as u64, "file"), text::count(windows, "window"));
    }
    Ok(if paths.is_empty() { End::Nothing } else { End::Done })
}

async fn remove_from(app: &App, ledger: &Ledger, collection: &str, media: MediaId) -> anyhow::Result<u64> {
    let known = ledger.collections()?.into_iter().find(|(name, _)| name == collection);
    let Some((_, name)) = known else { bail!("collection {collection} is unknown to the ledger") };
    let bundle = app.bundles().open(&name)?;
    if bundle.collection() != collection {
        bail!(
            "collection {collection} was made with another version of model {name}; bring that back to remove from it"
        );
    }
    let store = app.store(&bundle).await?;
    let removed = store.delete(&Selection { media_id: media, except_plan: None }).await?;
    store.flush().await?;
    Ok(removed)
}

async fn retry(app: &App, args: &RetryArgs) -> anyhow::Result<End> {
    let Some(ledger) = app.existing_ledger()? else { return Ok(End::Nothing) };
    let files: Vec<_> =
        ledger.files()?.into_iter().filter(|file| file.state == FileState::Failed).map(|file| file.path).collect();
    drop(ledger);
    if files.is_empty() {
        app.say("nothing failed");
        return Ok(End::Nothing);
    }
    let (files, missing): (Vec<_>, Vec<_>) = files.into_iter().partition(|path: &PathBuf| path.exists());
    let unreadable = missing.into_iter().map(|path| (path, "no such file or folder".to_owned())).collect();
    index::files(app, args.model.as_deref(), None, Vec::new(), Found { files, unreadable, ..Found::default() }).await
}
