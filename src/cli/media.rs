//! `clipseek media`: lists, shows, removes, retries and exports what is indexed.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::app::App;
use super::export::{self, ExportArgs};
use super::probe::track_in_words;
use super::{End, index, text};
use crate::decode::TrackKind;
use crate::ledger::{FileRow, FileState, Ledger, Owned, Progress, ProgressState, Said};
use crate::source::MediaId;
use crate::source::walk::Found;
use crate::thumbs;
use crate::verify::remove_unknown;

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
        MediaCommand::Remove(args) => remove(&app, &args).await,
        MediaCommand::Retry(args) => retry(&app, &args).await,
        MediaCommand::Export(args) => export::run(&app, args).await,
    }
}

/// A file with its progress, for listing.
struct Listed {
    file: FileRow,
    progress: Option<Progress>,
    state: &'static str,
}

impl Listed {
    fn new((file, progress): (FileRow, Option<Progress>)) -> Self {
        let state = match file.state {
            FileState::Pending => "pending",
            FileState::Failed => "failed",
            FileState::Indexed if std::fs::symlink_metadata(&file.path).is_err() => "missing",
            FileState::Indexed => "indexed",
        };
        Self { file, progress, state }
    }

    fn json(&self) -> serde_json::Value {
        let failure = self.file.failure.as_ref();
        json!({
            "media_id": self.file.media_id.or(self.file.next_media_id),
            "path": self.file.path.to_string_lossy(),
            "collection": self.file.collection,
            "plan": self.progress.as_ref().map(|progress| &progress.plan),
            "state": self.state,
            "windows": self.windows(),
            "kind": failure.map(|failure| failure.kind),
            "reason": failure.map(|failure| &failure.reason),
            "tries": self.file.tries,
            "problems": self.progress.as_ref().map_or(&[][..], |progress| &progress.problems),
        })
    }

    fn windows(&self) -> u64 {
        self.progress.as_ref().map_or(0, |progress| progress.tally.windows)
    }

    /// Why it failed, else its problems.
    fn remark(&self) -> String {
        match (&self.file.failure, &self.progress) {
            (Some(failure), _) if self.file.tries > 1 => {
                format!("{} ({} tries)", failure.reason, self.file.tries)
            }
            (Some(failure), _) => failure.reason.clone(),
            (None, Some(progress)) => progress.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            (None, None) => String::new(),
        }
    }
}

async fn list(app: &App, args: &ListArgs) -> anyhow::Result<End> {
    let mut rows = Vec::new();
    if let Some(ledger) = app.existing_ledger().await? {
        let listed = ledger.listing(|file| !args.failed || file.state == FileState::Failed).await?;
        rows.extend(listed.into_iter().map(Listed::new));
    }
    if app.json {
        println!("{}", json!({ "media": rows.iter().map(Listed::json).collect::<Vec<_>>() }));
    } else if rows.is_empty() {
        println!("{}", if args.failed { "nothing failed" } else { "nothing is indexed yet" });
    } else {
        print_list(&rows);
    }
    Ok(End::Done)
}

fn print_list(rows: &[Listed]) {
    // Show the collection only if there are several.
    let several = rows.iter().any(|row| row.file.collection != rows[0].file.collection);
    let mut head = vec!["state", "windows", "file", "remarks"];
    if several {
        head.insert(2, "collection");
    }
    let line = |row: &Listed| {
        let mut line = vec![row.state.to_owned(), row.windows().to_string(), text::path(&row.file.path), row.remark()];
        if several {
            line.insert(2, row.file.collection.clone());
        }
        line
    };
    print!("{}", text::table(&head, &rows.iter().map(line).collect::<Vec<_>>()));
}

async fn show(app: &App, medium: &str) -> anyhow::Result<End> {
    let archive = app.existing_archive().await?.context("nothing is indexed yet")?;
    let ledger = &archive.ledger;
    let media_id = find(ledger, medium).await?;
    let row = ledger.media(media_id).await?.unwrap_or_default();
    let files = ledger.files_of(media_id).await?;
    let mut collections = Vec::new();
    for (collection, rows) in ledger.progress_of(media_id).await? {
        for progress in rows {
            let content = Owned { media_id, collection: collection.clone(), plan: progress.plan.clone() };
            let pictures = archive.thumbs.bytes(&thumbs::Key::of(&content));
            collections.push((collection.clone(), progress, pictures));
        }
    }
    if app.json {
        let paths: Vec<_> = files.iter().map(|file| file.path.to_string_lossy()).collect();
        let collections: Vec<_> = collections
            .iter()
            .map(|(collection, p, pictures)| {
                json!({
                    "collection": collection, "plan": p.plan, "state": p.state, "windows": p.tally.windows,
                    "problems": p.problems, "thumbnail_bytes": pictures,
                })
            })
            .collect();
        println!(
            "{}",
            json!({
                "media_id": media_id, "paths": paths, "label": row.said.label, "tags": row.said.tags,
                "probe": row.probe, "collections": collections,
            })
        );
        return Ok(End::Done);
    }
    println!("medium      {media_id}");
    for listed in files.into_iter().map(|file| Listed::new((file, None))) {
        let (path, size) = (text::path(&listed.file.path), text::bytes(listed.file.stat.size));
        println!("file        {path}  ({size}, {} in {})", listed.state, listed.file.collection);
        if let Some(failure) = &listed.file.failure {
            println!("failed      {}", failure.reason);
        }
    }
    if let Some(label) = &row.said.label {
        println!("label       {label}");
    }
    if !row.said.tags.is_empty() {
        println!("tags        {}", row.said.tags.join(", "));
    }
    if let Some(probe) = &row.probe {
        let length = probe.duration.map_or_else(|| "unknown length".to_owned(), text::span);
        println!("video       {} {}×{}, {length}", probe.codec, probe.width, probe.height);
        let others = probe.tracks.iter().filter(|track| track.kind == TrackKind::Video && !track.taken);
        for track in others {
            println!("not taken   track {} (`index --track {}` takes it)", track_in_words(track), track.id);
        }
    }
    for (collection, progress, pictures) in &collections {
        let how = match progress.state {
            ProgressState::Done => "done",
            ProgressState::Writing => "in part",
            ProgressState::Leaving => "being removed",
        };
        let windows = text::count(progress.tally.windows, "window");
        println!("indexed     {collection}: {windows} ({}), {how}", progress.plan);
        for problem in &progress.problems {
            println!("problem     {problem}");
        }
        println!("thumbnails  {}", text::bytes(*pictures));
    }
    Ok(End::Done)
}

/// Finds a medium by its id or by a path.
async fn find(ledger: &Ledger, medium: &str) -> anyhow::Result<MediaId> {
    if let Ok(id) = uuid::Uuid::parse_str(medium) {
        ledger.media(MediaId(id)).await?.with_context(|| format!("{medium}: no such medium"))?;
        return Ok(MediaId(id));
    }
    let files = at(ledger, medium).await?;
    files
        .iter()
        .find_map(|file| file.media_id.or(file.next_media_id))
        .with_context(|| format!("{medium}: not indexed (`clipseek media list` shows what is)"))
}

/// The rows of a path in every collection: as typed, else with its links resolved.
async fn at(ledger: &Ledger, path: &str) -> anyhow::Result<Vec<FileRow>> {
    let path = std::path::absolute(path)?;
    let files = ledger.files_at(&path).await?;
    match path.canonicalize() {
        Ok(real) if files.is_empty() => Ok(ledger.files_at(&real).await?),
        _ => Ok(files),
    }
}

async fn remove(app: &App, args: &RemoveArgs) -> anyhow::Result<End> {
    let _lock = app.lock()?;
    let archive = app.archive(app.ledger().await?)?;
    let ledger = &archive.ledger;
    let mut files: Vec<FileRow> = Vec::new();
    for medium in &args.media {
        let found = match uuid::Uuid::parse_str(medium) {
            Ok(id) => ledger.files_of(MediaId(id)).await?,
            Err(_) => at(ledger, medium).await?,
        };
        if found.is_empty() {
            bail!("{medium}: not indexed (`clipseek media list` shows what is)");
        }
        files.extend(found);
    }
    if args.missing || args.failed {
        let wanted = |file: &FileRow| {
            args.failed && file.state == FileState::Failed
                || args.missing && std::fs::symlink_metadata(&file.path).is_err()
        };
        files.extend(ledger.listing(wanted).await?.into_iter().map(|(file, _)| file));
    }
    let mut paths: Vec<&PathBuf> = files.iter().map(|file| &file.path).collect();
    paths.sort();
    paths.dedup();
    let paths = paths.len() as u64;
    ledger.forget_files(files.into_iter().map(|file| (file.path, file.collection)).collect()).await?;
    let mut windows = archive.settle().await?;
    if args.unknown {
        windows += remove_unknown(&archive).await?;
    }
    if app.json {
        println!("{}", json!({"removed": paths, "windows": windows}));
    } else {
        println!("removed {} ({})", text::count(paths, "file"), text::count(windows, "window"));
    }
    Ok(if paths + windows == 0 { End::Nothing } else { End::Done })
}

async fn retry(app: &App, args: &RetryArgs) -> anyhow::Result<End> {
    let Some(ledger) = app.existing_ledger().await? else { return Ok(End::Nothing) };
    let collection = app.outline(args.model.as_deref(), Some(&ledger)).await?.1.collection();
    let (mut files, mut gone) = (Vec::new(), Vec::new());
    for (file, _) in ledger.listing(|file| file.state == FileState::Failed && file.collection == collection).await? {
        if std::fs::symlink_metadata(&file.path).is_ok() {
            // The ledger has its label and tags.
            files.push((file.path, Said::default()));
        } else {
            gone.push((file.path, "no such file or folder".to_owned()));
        }
    }
    drop(ledger);
    if files.is_empty() && gone.is_empty() {
        app.say("nothing failed");
        return Ok(End::Nothing);
    }
    let found = Found { unreadable: gone, ..Found::default() };
    index::index(app, args.model.as_deref(), None, files, found, Said::default()).await
}
