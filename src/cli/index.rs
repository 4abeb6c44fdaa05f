//! `clipseek index`: indexes files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::app::App;
use super::progress::ProgressBars;
use super::{End, text};
use crate::config::IndexSettings;
use crate::decode::Sampling;
use crate::embed::bundle::Outline;
use crate::ingest::batch::{self, Totals};
use crate::ingest::plan::Plan;
use crate::ingest::{Observer, Priority, WorkItem};
use crate::ledger::{Failure, FailureKind, Said};
use crate::secret::redacted;
use crate::shutdown::Shutdown;
use crate::source::path_of_uri;
use crate::source::walk::{Found, walk};
use crate::store::VectorStore;

/// Number of windows outside of the graph from which it is built at the end of a run.
const WORTH_A_GRAPH: u64 = 5000;

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

/// `--window`
#[derive(Clone, Copy, Debug)]
pub(super) enum WindowLength {
    Whole,
    Secs(f64),
}

impl std::str::FromStr for WindowLength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(seconds) => Ok(Self::Secs(seconds)),
            Err(_) if text == "whole" => Ok(Self::Whole),
            Err(_) => Err("a number of seconds, or \"whole\"".to_owned()),
        }
    }
}

impl IndexArgs {
    /// Overrides the settings with the flags.
    pub(super) fn apply(&self, app: &mut App) -> anyhow::Result<()> {
        let index = &mut app.parts.settings.index;
        match self.window {
            Some(WindowLength::Whole) => {
                index.window_whole = true;
                (index.window_secs, index.stride_secs, index.stride_frames) = (None, None, None);
            }
            Some(WindowLength::Secs(seconds)) => {
                index.window_whole = false;
                index.window_secs = Some(seconds);
            }
            None => {}
        }
        if let Some(stride) = self.stride {
            (index.stride_secs, index.stride_frames) = (Some(stride), None);
        }
        index.frames = self.frames.or(index.frames);
        index.sampling = self.sampling.unwrap_or(index.sampling);
        if self.exact {
            index.sampling = Sampling::Gop;
        }
        Ok(app.settings.check()?)
    }
}

pub(super) async fn run(mut app: App, args: IndexArgs) -> anyhow::Result<End> {
    args.apply(&mut app)?;
    let paths = args.paths.iter().map(|path| local(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut found = walk(&paths);
    let said = Said { label: args.label, tags: args.tags };
    let files = std::mem::take(&mut found.files).into_iter().map(|path| (path, said.clone())).collect();
    index(&app, args.model.as_deref(), args.track, files, found, said).await
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
    let observer = Arc::new(ProgressBars::new(files.iter().map(|(path, _)| path), app.quiet));
    let started = Instant::now();
    let archive = Arc::new(app.archive(ledger)?);
    let ingest = Arc::new(app.ingest(&archive, chosen, &plan, Arc::clone(&observer) as Arc<dyn Observer>)?);
    let bundle = Arc::clone(&ingest.bundle);
    let shutdown = shutdown_on_signals();
    archive.settle().await?;
    let item = |(path, said)| WorkItem { path, said, plan: Arc::clone(&plan), priority: Priority::Asked };
    let items = files.into_iter().map(item).collect();
    let mut totals = batch::run(&ingest, items, app.jobs(), shutdown.token()).await;
    observer.finish();
    for (path, reason) in found.unreadable {
        let failure = Failure { kind: FailureKind::Unreadable, reason };
        let (collection, said) = (bundle.collection(), said_of_unreadable.clone());
        archive.ledger.fail(&path, &collection, None, failure.clone(), said).await?;
        totals.failed.push((path, failure));
    }
    if let (Some(store), None) = (ingest.store.opened(), &totals.fatal) {
        optimize(app, store.as_ref(), &shutdown).await?;
    }
    report(app, &bundle, &totals, found.skipped, started.elapsed())
}

/// Builds the graph if enough windows outside of it slow searches down. It can be interrupted: nothing is lost, and the
/// next run builds it.
async fn optimize(app: &App, store: &dyn VectorStore, shutdown: &Shutdown) -> anyhow::Result<()> {
    let outside = store.outside_graph().await?;
    if outside < WORTH_A_GRAPH || shutdown.is_asked() {
        return Ok(());
    }
    app.say(format_args!(
        "building the search index over {} (searches are right without it, but slower; Ctrl-C leaves it for later) …",
        text::count(outside, "window")
    ));
    tokio::select! {
        done = store.optimize() => done?,
        () = shutdown.asked() => {}
    }
    Ok(())
}

/// The path of an argument. Also takes `file://` URIs, which searches print.
pub(super) fn local(argument: &Path) -> anyhow::Result<PathBuf> {
    match argument.to_str() {
        Some(uri) if uri.starts_with("file://") => {
            path_of_uri(uri).with_context(|| format!("{}: not the URI of a file on this machine", redacted(uri)))
        }
        Some(uri) if uri.contains("://") => bail!("{}: streams cannot be indexed yet, only files", redacted(uri)),
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

fn report(app: &App, bundle: &Outline, totals: &Totals, skipped: u64, took: Duration) -> anyhow::Result<End> {
    if let (Some(scope), false) = (&bundle.manifest().scope, totals.out_of_scope.is_empty()) {
        app.say(format_args!(
            "note: model {} knows only {}, and {} is unlike that: searches there will find little. For other footage \
             bring a model of your own: clipseek model import DIR --name NAME, then index with --model NAME",
            bundle.name(),
            scope.summary,
            match totals.out_of_scope.as_slice() {
                [one] => text::path(one),
                more => text::count(more.len() as u64, "file"),
            }
        ));
    }
    if app.json {
        println!("{}", json_report(totals, skipped, took));
    } else {
        print_report(app, totals, skipped, took);
    }
    if let Some(error) = &totals.fatal {
        eprintln!("error: {error}");
        return Ok(End::Failed);
    }
    Ok(if !totals.interrupted.is_empty() || totals.left > 0 {
        End::Interrupted
    } else if !totals.failed.is_empty() {
        End::Failed
    } else if totals.indexed + totals.unchanged + totals.known == 0 {
        End::Nothing
    } else {
        End::Done
    })
}

fn print_report(app: &App, totals: &Totals, skipped: u64, took: Duration) {
    let rate = totals.footage.as_secs_f64() / took.as_secs_f64().max(0.001);
    if totals.indexed > 0 {
        println!(
            "indexed {}: {} of footage, {} in {} ({rate:.1}× real time)",
            text::count(totals.indexed, "file"),
            text::span(totals.footage),
            text::count(totals.windows, "window"),
            text::span(took)
        );
        let files = |(sampling, number): (_, &u64)| format!("{sampling} ({})", text::count(*number, "file"));
        println!("sampling: {}", totals.sampling.iter().map(files).collect::<Vec<_>>().join(", "));
    }
    let others = [
        (totals.unchanged, "as before"),
        (totals.known, "known under another name"),
        (skipped, "not video, skipped"),
        (totals.failed.len() as u64, "failed"),
    ];
    let others: Vec<String> = others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !others.is_empty() {
        println!("{}", others.join(", "));
    } else if totals.indexed == 0 && totals.interrupted.is_empty() && totals.left == 0 {
        println!("nothing to index");
    }
    for (path, problems) in &totals.with_problems {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        println!("with problems, indexed as far as it goes: {}: {}", text::path(path), problems.join("; "));
    }
    for (path, failure) in &totals.failed {
        println!("failed: {}: {}", text::path(path), failure.reason);
    }
    if !totals.failed.is_empty() {
        app.say("`clipseek media list --failed` shows them again, `clipseek media retry` tries them again");
    }
    for (path, at) in &totals.interrupted {
        println!("interrupted: {} at {}", text::path(path), text::clock(*at));
    }
    if !totals.interrupted.is_empty() || totals.left > 0 {
        println!("{} not begun; the same command goes on from here", text::count(totals.left, "file"));
    }
}

fn json_report(totals: &Totals, skipped: u64, took: Duration) -> serde_json::Value {
    let failed: Vec<_> = totals
        .failed
        .iter()
        .map(|(path, Failure { kind, reason })| json!({"path": path.to_string_lossy(), "kind": kind, "reason": reason}))
        .collect();
    let with_problems: Vec<_> = totals
        .with_problems
        .iter()
        .map(|(path, problems)| json!({"path": path.to_string_lossy(), "problems": problems}))
        .collect();
    let interrupted: Vec<_> = totals
        .interrupted
        .iter()
        .map(|(path, at)| json!({"path": path.to_string_lossy(), "at_s": text::seconds(*at)}))
        .collect();
    json!({
        "indexed": totals.indexed,
        "unchanged": totals.unchanged,
        "known": totals.known,
        "skipped": skipped,
        "windows": totals.windows,
        "footage_s": text::seconds(totals.footage),
        "took_s": text::seconds(took),
        "decode_cpu_s": totals.decode_cpu_secs,
        "sampling": totals.sampling,
        "failed": failed,
        "with_problems": with_problems,
        "interrupted": interrupted,
        "left": totals.left,
    })
}
