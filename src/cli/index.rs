//! `clipseek index`: indexes files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::app::App;
use super::follow::follow;
use super::progress::{ProgressBars, size};
use super::{End, text};
use crate::api::client::Client;
use crate::config::{IndexSettings, Overrides, WindowLength};
use crate::decode::Sampling;
use crate::embed::bundle::Outline;
use crate::ingest::plan::Plan;
use crate::ingest::report::{RunNotes, RunReport};
use crate::ingest::{Observer, Priority, WorkItem, batch};
use crate::ledger::{FailureKind, Said};
use crate::secret::redacted;
use crate::service::jobs::{IndexRequest, Indexed, JobRequest, JobResult, Place};
use crate::shutdown::Shutdown;
use crate::source::path_of_uri;
use crate::source::walk::{Found, walk};

#[derive(Args, Default)]
pub(super) struct IndexArgs {
    /// Video files, and folders to look through; file:// URIs too
    #[arg(required = true, value_name = "PATH|URI")]
    pub(super) paths: Vec<PathBuf>,
    /// Name of a model (`clipseek model list`) or its folder
    #[arg(long, value_name = "NAME|DIR")]
    pub(super) model: Option<String>,
    /// Which coded frames are decoded
    #[arg(long, value_enum)]
    pub(super) sampling: Option<Sampling>,
    /// Every frame exactly at its time: the same as --sampling gop
    #[arg(long, conflicts_with = "sampling")]
    pub(super) exact: bool,
    /// Length of a window, or the whole file as one
    #[arg(long, value_name = "SECONDS|whole")]
    pub(super) window: Option<WindowLength>,
    /// From one window to the next
    #[arg(long, value_name = "SECONDS")]
    pub(super) stride: Option<f64>,
    /// Frames per window
    #[arg(long, value_name = "N")]
    pub(super) frames: Option<usize>,
    /// The video track to take, by the number that `clipseek probe` lists
    #[arg(long, value_name = "N")]
    pub(super) track: Option<u32>,
    /// A name for what is indexed, such as "garage"
    #[arg(long)]
    pub(super) label: Option<String>,
    /// More words for it (repeatable)
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
}

impl IndexArgs {
    /// What the flags ask for in place of the settings.
    fn overrides(&self) -> Overrides {
        Overrides {
            window: self.window,
            stride_secs: self.stride,
            frames: self.frames,
            sampling: self.sampling.or(self.exact.then_some(Sampling::Gop)),
        }
    }

    /// Overrides the settings with the flags.
    pub(super) fn apply(&self, app: &mut App) -> anyhow::Result<()> {
        self.overrides().apply(&mut app.parts.settings.index);
        Ok(app.settings.check()?)
    }
}

pub(super) async fn run(mut app: App, args: IndexArgs) -> anyhow::Result<End> {
    args.apply(&mut app)?;
    let paths = args.paths.iter().map(|path| local(path)).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(client) = app.daemon().await? {
        let settings = args.overrides();
        let IndexArgs { model, track, label, tags, .. } = args;
        let places = paths.iter().map(|path| std::path::absolute(path).map(Place)).collect::<Result<_, _>>()?;
        let request = IndexRequest { paths: places, model: absolute_model(model)?, track, label, tags, settings };
        return by_daemon(&app, &client, &JobRequest::Index(request)).await;
    }
    let mut found = walk(&paths);
    let said = Said { label: args.label, tags: args.tags };
    let files = std::mem::take(&mut found.files).into_iter().map(|path| (path, said.clone())).collect();
    index(&app, args.model.as_deref(), args.track, files, found, said).await
}

/// A model's folder given by a relative path is another one for the daemon, which has a working folder of its own.
pub(super) fn absolute_model(model: Option<String>) -> anyhow::Result<Option<String>> {
    let Some(model) = model else { return Ok(None) };
    if !Path::new(&model).is_dir() {
        return Ok(Some(model));
    }
    let path = std::path::absolute(&model)?;
    Ok(Some(path.to_str().map_or(model, str::to_owned)))
}

/// The same, done by the daemon.
pub(super) async fn by_daemon(app: &App, client: &Client, request: &JobRequest) -> anyhow::Result<End> {
    let Some(row) = follow(app, client, request).await? else { return Ok(End::Interrupted) };
    let Some(JobResult::Index(Indexed { report: done, notes })) = row.result else {
        app.say("nothing failed");
        return Ok(End::Nothing);
    };
    let unreadable = done.failed.iter().filter(|file| file.kind == FailureKind::Unreadable);
    for file in unreadable.filter(|file| std::fs::File::open(&file.path).is_ok()) {
        let path = Path::new(&file.path);
        app.say(format_args!("{}: you may read it, the daemon may not", text::path(path)));
    }
    report(app, &done, &notes)
}

/// Indexes files, each with its label and tags; also used by `media retry`. `found` names files that cannot be read:
/// they are recorded as failed, with label and tags from `said_of_unreadable`.
pub(super) async fn index(
    app: &App,
    model: Option<&str>,
    track: Option<u32>,
    files: Vec<(PathBuf, Said)>,
    found: Found,
    said_of_unreadable: Said,
) -> anyhow::Result<End> {
    let _lock = app.lock()?;
    let ledger = app.ledger().await?;
    let chosen = app.chosen(model, Some(&ledger)).await?;
    let plan = Arc::new(Plan { track, ..plan(&app.settings.index, &chosen.outline)? });
    for (path, reason) in &found.unreadable {
        app.say(format_args!("failed: {}: {reason}", text::path(path)));
    }
    for path in &found.loops {
        app.say(format_args!("{} leads back to a folder above it: not followed", text::path(path)));
    }
    let bytes = files.iter().map(|(path, _)| size(path)).sum();
    let observer = Arc::new(ProgressBars::new(files.len() as u64, bytes, app.quiet));
    let started = Instant::now();
    let archive = Arc::new(app.archive(ledger)?);
    let ingest = Arc::new(app.ingest(&archive, chosen, &plan, Arc::clone(&observer) as Arc<dyn Observer>)?);
    let shutdown = shutdown_on_signals();
    let item = |(path, said)| WorkItem { path, said, plan: Arc::clone(&plan), priority: Priority::Asked };
    let items = files.into_iter().map(item).collect();
    let (unreadable, stop) = (found.unreadable, shutdown.token());
    let totals = batch::index(&ingest, items, unreadable, &said_of_unreadable, app.jobs(), stop).await;
    observer.finish();
    let totals = totals?;
    let done = RunReport::new(&totals, found.skipped, started.elapsed());
    report(app, &done, &RunNotes::new(&totals, &ingest.bundle))
}

/// The path of an argument. Also takes `file://` URIs, which searches print.
pub(super) fn local(argument: &Path) -> anyhow::Result<PathBuf> {
    match argument.to_str() {
        Some(uri) if uri.starts_with("file://") => {
            path_of_uri(uri).with_context(|| format!("{}: not the URI of a file on this machine", redacted(uri)))
        }
        Some(uri) if uri.contains("://") => bail!("{}: a stream has no end: `clipseek serve` reads it", redacted(uri)),
        _ => Ok(argument.to_path_buf()),
    }
}

pub(super) fn plan(settings: &IndexSettings, bundle: &Outline) -> anyhow::Result<Plan> {
    Ok(Plan::new(settings, bundle.manifest())?)
}

/// Handles Ctrl-C and SIGTERM, and tells the user what they do.
pub(super) fn shutdown_on_signals() -> Shutdown {
    Shutdown::on_signals(|| eprintln!("\nstopping: keeping what is done (once more to stop at once)"))
}

fn report(app: &App, done: &RunReport, notes: &RunNotes) -> anyhow::Result<End> {
    if let (Some(scope), false) = (&notes.scope, notes.out_of_scope.is_empty()) {
        app.say(format_args!(
            "note: model {} knows only {scope}, and {} is unlike that: searches there will find little. For other footage \
             bring a model of your own: clipseek model import DIR --name NAME, then index with --model NAME",
            notes.model,
            match notes.out_of_scope.as_slice() {
                [one] => text::path(Path::new(one)),
                more => text::count(more.len() as u64, "file"),
            }
        ));
    }
    if app.json {
        println!("{}", serde_json::to_value(done)?);
    } else {
        print_report(app, done);
    }
    if let Some(error) = &notes.fatal {
        eprintln!("error: {error}");
        return Ok(End::Failed);
    }
    Ok(if !done.interrupted.is_empty() || done.left > 0 {
        End::Interrupted
    } else if !done.failed.is_empty() {
        End::Failed
    } else if done.indexed + done.unchanged + done.known == 0 {
        End::Nothing
    } else {
        End::Done
    })
}

fn print_report(app: &App, done: &RunReport) {
    let rate = done.footage_s / done.took_s.max(0.001);
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if done.indexed > 0 {
        println!(
            "indexed {}: {} of footage, {} in {} ({rate:.1}× real time)",
            text::count(done.indexed, "file"),
            text::span(time(done.footage_s)),
            text::count(done.windows, "window"),
            text::span(time(done.took_s))
        );
        let files = |(sampling, number): (_, &u64)| format!("{sampling} ({})", text::count(*number, "file"));
        println!("sampling: {}", done.sampling.iter().map(files).collect::<Vec<_>>().join(", "));
    }
    let others = [
        (done.unchanged, "as before"),
        (done.known, "known under another name"),
        (done.skipped, "not video, skipped"),
        (done.failed.len() as u64, "failed"),
    ];
    let others: Vec<String> = others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !others.is_empty() {
        println!("{}", others.join(", "));
    } else if done.indexed == 0 && done.interrupted.is_empty() && done.left == 0 {
        println!("nothing to index");
    }
    for file in &done.with_problems {
        let problems: Vec<String> = file.problems.iter().map(ToString::to_string).collect();
        let path = text::path(Path::new(&file.path));
        println!("with problems, indexed as far as it goes: {path}: {}", problems.join("; "));
    }
    for file in &done.failed {
        println!("failed: {}: {}", text::path(Path::new(&file.path)), file.reason);
    }
    if !done.failed.is_empty() {
        app.say("`clipseek media list --failed` shows them again, `clipseek media retry` tries them again");
    }
    for file in &done.interrupted {
        println!("interrupted: {} at {}", text::path(Path::new(&file.path)), text::clock(time(file.at_s)));
    }
    if !done.interrupted.is_empty() || done.left > 0 {
        println!("{} not begun; the same command goes on from here", text::count(done.left, "file"));
    }
}
