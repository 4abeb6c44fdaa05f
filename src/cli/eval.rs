//! `clipseek eval`: measures how well a model finds videos by their captions, and shows published figures beside.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::app::App;
use super::{End, index, text};
use crate::embed::bundle::Bundle;
use crate::embed::model::{RerankModel, TextModel, VideoModel};
use crate::eval::EvalError;
use crate::eval::annotations::{self, Set};
use crate::eval::cache::Cache;
use crate::eval::clips::Clips;
use crate::eval::metrics::Scores;
use crate::eval::published::{self, Figure, Figures, Row, Sure};
use crate::eval::run::{Eval, EvalEvent, EvalObserver, EvalReport, sampling};
use crate::eval::sampling::{FrameRule, FrameSampling};
use crate::eval::videos::Videos;

/// Entries shown of a long list; JSON has all.
const SHOWN: usize = 5;
/// Interval of progress lines when standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Data set; its files are the official ones
    #[arg(long, value_enum)]
    set: Set,
    /// Folder of the set's files, or the file that lists the split
    #[arg(long, value_name = "FILE|DIR")]
    annotations: PathBuf,
    /// Folder of the videos, however deep; default: where the annotations lie
    #[arg(long, value_name = "DIR")]
    videos: Option<PathBuf>,
    /// Part of the set: test, val, train …; default: what papers report
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Name of a model or its folder
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Which frames of a video are taken; default: as the system of --published or of the bundle's summary, else uniform
    #[arg(long, value_enum)]
    sampling: Option<FrameRule>,
    /// Frames per video at the most (CLIP-ViP: exactly); default: as the system's authors, else the bundle's
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Choose frames as if the videos had been encoded anew at this rate, as some authors did
    #[arg(long, value_name = "RATE")]
    fps: Option<f64>,
    /// Published figures to show beside the measured ones; default: by the bundle's summary
    #[arg(long, value_name = "SYSTEM", ignore_case = true, value_parser = PossibleValuesParser::new(published::names()))]
    published: Option<String>,
    /// Score every pair by the model's cross head in the place of its vectors, as tightTransf is measured
    #[arg(long, conflicts_with = "dsl")]
    rerank: bool,
    /// CLIP-ViP's DSL too: it needs all queries at once, so no search can have it
    #[arg(long)]
    dsl: bool,
    /// Write a JSON line per caption: its video, its rank, and what it finds first
    #[arg(long, value_name = "FILE")]
    ranks: Option<PathBuf>,
    /// Neither use nor keep what earlier runs computed (in eval/ of the data folder)
    #[arg(long)]
    no_cache: bool,
}

/// What is evaluated, for the report.
struct Subject<'a> {
    set: Set,
    split: String,
    bundle: &'a Bundle,
    device: String,
    sampling: FrameSampling,
    published: Option<&'static Row>,
}

pub(super) async fn run(app: &App, args: EvalArgs) -> anyhow::Result<End> {
    let annotations = annotations::load(args.set, args.split.as_deref(), &args.annotations)?;
    let videos = Videos::below(&folder(&args)?)?;
    for (path, reason) in &videos.unreadable {
        app.say(format_args!("cannot look into {}: {reason}", text::path(path)));
    }
    let ledger = app.existing_ledger().await?;
    let (_, bundle) = app.bundle(args.model.as_deref(), ledger.as_ref()).await?;
    let bundle = Arc::new(bundle);
    let summary = &bundle.manifest().summary;
    let named = args.published.as_deref();
    let rule = args.sampling.or_else(|| published::rule_of(named.unwrap_or(summary))).unwrap_or(FrameRule::Uniform);
    let mut sampling = sampling(args.set, rule, args.frames, &bundle)?;
    if let Some(fps) = args.fps {
        if !(fps > 0.0 && fps <= 1000.0) {
            bail!("--fps is {fps}: it must be above 0 and at most 1000");
        }
        sampling.fps = Some(fps);
    }
    let split = annotations.split.clone();
    let published = published_row(app, args.set, &split, named, summary);
    let (cache, settings) = (cache(app, args.no_cache)?, app.embed_settings());
    let video = VideoModel::open(&bundle, &settings)?;
    let device = video.device().to_owned();
    let subject = Subject { set: args.set, split, bundle: &bundle, device, sampling, published };
    app.say(format_args!(
        "{}: {}, model {} on {}, frames chosen by {} ({} a video){}",
        subject.set.name(),
        text::count(annotations.items.len() as u64, "video"),
        bundle.name(),
        subject.device,
        sampling.rule,
        sampling.frames,
        sampling.fps.map(|fps| format!(" at {fps} a second")).unwrap_or_default(),
    ));
    let observer = Arc::new(StageBar::new(app.quiet));
    let clips = Clips::new(Arc::new(app.decoder()?), Arc::clone(&bundle), video, sampling, cache.clone());
    let (clips, rerank) =
        if args.rerank { (clips.with_features(), Some(RerankModel::open(&bundle, &settings)?)) } else { (clips, None) };
    let eval = Eval {
        clips: Arc::new(clips),
        bundle: Arc::clone(&bundle),
        text: TextModel::open(&bundle, &settings)?,
        rerank,
        cache,
        jobs: app.jobs(),
        dsl: args.dsl || published.is_some_and(|row| row.dsl),
        observer: Arc::clone(&observer) as Arc<dyn EvalObserver>,
    };
    let result = eval.run(annotations, args.set, rule, &videos, index::shutdown_on_signals().token()).await;
    observer.bar.finish_and_clear();
    let report = match result {
        Ok(report) => report,
        Err(EvalError::Stopped) => {
            app.say(if args.no_cache { "stopped" } else { "stopped: the same command goes on from here" });
            return Ok(End::Interrupted);
        }
        Err(error @ EvalError::Disk { .. }) => {
            return Err(error).context("cannot write the cache (--no-cache does without it)");
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(path) = &args.ranks {
        write_ranks(path, &report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if app.json {
        println!("{}", json_report(&subject, &report));
    } else {
        print_report(&subject, &report);
    }
    Ok(match report.text_to_video {
        None => End::Nothing,
        Some(_) if report.is_complete() => End::Done,
        Some(_) => End::Failed,
    })
}

fn folder(args: &EvalArgs) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &args.videos {
        return Ok(dir.clone());
    }
    let path = std::path::absolute(&args.annotations)?;
    if path.is_dir() { Ok(path) } else { Ok(path.parent().map(Path::to_owned).unwrap_or_default()) }
}

fn cache(app: &App, without: bool) -> anyhow::Result<Option<Arc<Cache>>> {
    if without {
        return Ok(None);
    }
    let dir = app.data_dir()?.join("eval");
    let cache = Cache::open(dir.clone()).with_context(|| format!("cannot write to {}", dir.display()))?;
    Ok(Some(Arc::new(cache)))
}

/// The published row that was asked for, or that of the bundle. If there is none, says which rows there are.
fn published_row(app: &App, set: Set, split: &str, asked: Option<&str>, summary: &str) -> Option<&'static Row> {
    let name = asked.or_else(|| published::name_of(summary));
    let row = name.and_then(|name| published::row(set, split, name));
    let names: Vec<&str> = published::rows(set, split).map(|row| row.name.as_str()).collect();
    if let (None, Some(name)) = (row, asked) {
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        app.say(format_args!("nothing was published of {name} for {} ({split}); there is: {there}", set.name()));
    } else if row.is_none() && !names.is_empty() {
        app.say(format_args!("published figures to compare with: --published {}", names.join("|")));
    }
    row
}

fn write_ranks(path: &Path, report: &EvalReport) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    let owners = report.videos.iter().enumerate().flat_map(|(video, (_, count))| std::iter::repeat_n(video, *count));
    let ranks = report.ranking.captions.iter().zip(&report.ranking.first);
    for ((caption, owner), (rank, first)) in report.captions.iter().zip(owners).zip(ranks) {
        let line = json!({
            "video": report.videos[owner].0,
            "caption": caption,
            "rank": rank.better + 1,
            "tied": rank.tied,
            "first": report.videos[*first].0,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn print_report(subject: &Subject<'_>, report: &EvalReport) {
    for (what, names) in [
        ("missing", &report.missing),
        ("without caption", &report.without_caption),
        ("empty caption of", &report.blank),
    ] {
        some(what, names.iter().cloned());
    }
    some("failed", report.failed.iter().map(|(path, reason)| format!("{}: {reason}", text::path(path))));
    some(
        "damaged, used as far as it goes",
        report.damaged.iter().map(|(path, d)| format!("{}: {d}", text::path(path))),
    );
    let count = |count: usize, thing| text::count(count as u64, thing);
    let (Some(to_video), Some(to_text)) = (&report.text_to_video, &report.video_to_text) else {
        println!("nothing to evaluate: none of {} could be used", count(report.listed_videos, "video"));
        return;
    };
    if !report.truncated.is_empty() {
        let (long, most) = (report.truncated.len(), subject.bundle.manifest().text.context_length);
        println!("{} longer than the model's {most} tokens: only the beginning counts", count(long, "caption"));
    }
    if report.short > 0 {
        println!("{} with fewer than {} frames", count(report.short, "video"), subject.sampling.frames);
    }
    let of = |used: usize, listed: usize, thing| {
        if used == listed { count(used, thing) } else { format!("{used} of {}", count(listed, thing)) }
    };
    let left = [(report.missing.len(), "missing"), (report.failed.len(), "failed")];
    let left: Vec<String> = left.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let left = if left.is_empty() { String::new() } else { format!(" ({})", left.join(", ")) };
    println!(
        "over {}{left} and {}\n",
        of(report.videos.len(), report.listed_videos, "video"),
        of(report.captions.len(), report.listed_captions, "caption")
    );
    print!("{}", text::table(&["", "", "R@1", "R@5", "R@10", "R@50", "MdR", "MnR"], &table(subject, report)));
    for (scores, thing, other) in [(to_video, "caption", "video"), (to_text, "video", "caption")] {
        if scores.tied > 0 {
            println!(
                "{} tied with another {other}, counted as ranked before it (R@1 if ranked after it: {:.1})",
                count(scores.tied, thing),
                scores.r1_ties_lost
            );
        }
    }
    if let Some(row) = subject.published {
        println!("\npublished: {}", row.title);
        if let Some(note) = &row.note {
            println!("  {note}");
        }
        println!(
            "  * found in other texts that quote the paper   ? from memory of the paper: check before relying on it"
        );
        if !report.is_complete() {
            println!("  the published figures cover the whole set, the measured ones do not");
        }
    }
    if report.dsl.is_some() || subject.published.is_some_and(|row| row.dsl) {
        println!("DSL needs all queries at once, so a search cannot use it");
    }
}

fn some(what: &str, mut items: impl ExactSizeIterator<Item = String>) {
    let count = items.len();
    for item in items.by_ref().take(SHOWN) {
        println!("{what}: {item}");
    }
    if count > SHOWN {
        println!("{what}: {} more (--json names all)", count - SHOWN);
    }
}

fn table(subject: &Subject<'_>, report: &EvalReport) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut add = |direction: &str, what: &str, cells: [String; 6]| {
        rows.push([direction.to_owned(), what.to_owned()].into_iter().chain(cells).collect());
    };
    let published = |row: &Row, figures: &Figures| {
        let what = if row.dsl { "published, DSL" } else { "published" };
        (figures != &Figures::default()).then(|| (what, figures.all().map(published_cell)))
    };
    if let Some(scores) = &report.text_to_video {
        add("text → video", "measured", cells(scores));
    }
    if let Some(scores) = &report.dsl {
        add("", "measured, DSL", cells(scores));
    }
    if let Some((what, cells)) = subject.published.and_then(|row| published(row, &row.text_to_video)) {
        add("", what, cells);
    }
    if let Some(scores) = &report.video_to_text {
        add("video → text", "measured", cells(scores));
    }
    if let Some((what, cells)) = subject.published.and_then(|row| published(row, &row.video_to_text)) {
        add("", what, cells);
    }
    rows
}

fn cells(scores: &Scores) -> [String; 6] {
    let Scores { r1, r5, r10, r50, median_rank, mean_rank, .. } = scores;
    [r1, r5, r10, r50, median_rank, mean_rank].map(|value| format!("{value:.1}"))
}

fn published_cell(figure: Option<Figure>) -> String {
    match figure {
        None => "–".to_owned(),
        Some((value, Sure::Stated)) => format!("{value:.1}"),
        Some((value, Sure::Quoted)) => format!("{value:.1}*"),
        Some((value, Sure::Unchecked)) => format!("{value:.1}?"),
    }
}

fn json_report(subject: &Subject<'_>, report: &EvalReport) -> Value {
    let list = |entries: &[(PathBuf, String)]| -> Vec<Value> {
        entries.iter().map(|(path, reason)| json!({"path": path.to_string_lossy(), "reason": reason})).collect()
    };
    let figures = |figures: &Figures| -> Value {
        let names = ["r1", "r5", "r10", "r50", "median_rank", "mean_rank"];
        let known = names.into_iter().zip(figures.all()).filter_map(|(name, figure)| Some((name, figure?)));
        known.map(|(name, (value, sure))| (name.to_owned(), json!({"value": value, "sure": sure}))).collect()
    };
    let published = subject.published.map(|row| {
        json!({
            "name": row.name,
            "title": row.title,
            "note": row.note,
            "dsl": row.dsl,
            "text_to_video": figures(&row.text_to_video),
            "video_to_text": figures(&row.video_to_text),
        })
    });
    json!({
        "set": subject.set,
        "split": subject.split,
        "model": subject.bundle.name(),
        "bundle": subject.bundle.hash(),
        "device": subject.device,
        "sampling": subject.sampling,
        "videos": report.videos.len(),
        "captions": report.captions.len(),
        "listed_videos": report.listed_videos,
        "listed_captions": report.listed_captions,
        "text_to_video": report.text_to_video,
        "video_to_text": report.video_to_text,
        "text_to_video_dsl": report.dsl,
        "published": published,
        "missing": report.missing,
        "failed": list(&report.failed),
        "damaged": list(&report.damaged),
        "without_caption": report.without_caption,
        "empty_captions": report.blank,
        "truncated": report.truncated,
        "videos_with_fewer_frames": report.short,
        "videos_not_decoded_again": report.kept,
    })
}

/// Shows a progress bar on a terminal, and occasional lines elsewhere.
struct StageBar {
    bar: ProgressBar,
    lines: bool,
    quiet: bool,
    /// The current stage: its name, when it began, how much was done by then, and when the last line was printed.
    stage: Mutex<(&'static str, Instant, usize, Instant)>,
}

impl StageBar {
    fn new(quiet: bool) -> Self {
        let watched = std::io::stderr().is_terminal() && !quiet;
        let target = if watched { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {pos}/{len} {msg}  {eta} left") {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        let now = Instant::now();
        Self { bar, lines: !watched && !quiet, quiet, stage: Mutex::new(("", now, 0, now)) }
    }

    fn advance(&self, name: &'static str, done: usize, total: usize) {
        let mut stage = self.stage.lock().unwrap_or_else(|e| e.into_inner());
        if stage.0 != name {
            *stage = (name, Instant::now(), done, Instant::now());
            self.bar.reset();
            self.bar.set_length(total as u64);
            self.bar.set_message(name);
        }
        self.bar.set_position(done as u64);
        let (_, since, begun, said) = &mut *stage;
        if self.lines && said.elapsed() >= LINE_EVERY && done < total {
            *said = Instant::now();
            let left = since.elapsed().mul_f64((total - done) as f64 / (done - *begun).max(1) as f64);
            eprintln!("{done}/{total} {name}, {} left", text::span(left));
        }
    }
}

impl EvalObserver for StageBar {
    fn event(&self, event: EvalEvent<'_>) {
        match event {
            EvalEvent::Videos { done, total } => self.advance("videos", done, total),
            EvalEvent::Captions { done, total } => self.advance("captions", done, total),
            EvalEvent::Ranked { done, total } => self.advance("captions ranked", done, total),
            EvalEvent::Failed { path, reason } if !self.quiet => {
                self.bar.suspend(|| eprintln!("failed: {}: {reason}", text::path(path)));
            }
            EvalEvent::Failed { .. } => {}
        }
    }
}
