//! `clipseek bench FILE…`: measures the cost of each stage on a user's own files, names the limiting stage, and
//! measures a whole run.

mod encoder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::app::App;
use super::{End, index, text};
use crate::config::{Settings, StoreKind, StoreSettings};
use crate::decode::{Decoder, Frame, Sampling};
use crate::embed::Feature;
use crate::embed::bundle::Bundle;
use crate::embed::choice::Chosen;
use crate::embed::manifest::Topology;
use crate::embed::model::VideoModel;
use crate::ingest::batch::{self, Totals};
use crate::ingest::plan::Plan;
use crate::ingest::{Event, Observer, Priority, WorkItem};
use crate::ledger::Said;
use crate::parts::Parts;
use crate::source::MediaId;
use crate::source::walk::walk;
use crate::store::{Payload, Record, VectorStore};
use crate::window::{Window, Windows};

/// Frames kept from the decoder to measure the model on.
const SAMPLE_FRAMES: usize = 256;
/// Shortest measurement of a stage.
const AT_LEAST: Duration = Duration::from_secs(2);
/// Windows written to the store to measure it.
const STORED_WINDOWS: usize = 5000;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// Video files, and folders to look through
    #[arg(required_unless_present = "encoder", value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Name of a model or its folder
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Which coded frames are decoded
    #[arg(long, value_enum)]
    sampling: Option<Sampling>,
    /// Only the decoder
    #[arg(long)]
    decode_only: bool,
    /// Only the model's encoder, on frames of noise: frames per second of the device
    #[arg(long, conflicts_with_all = ["paths", "decode_only", "sampling"])]
    encoder: bool,
    /// How long the encoder is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, requires = "encoder")]
    seconds: f64,
}

/// The cost of one stage, measured alone.
#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    /// CPU seconds per second of footage.
    core_s_per_s: f64,
}

#[derive(Debug, Default, Serialize)]
struct Bench {
    cores: usize,
    model: String,
    device: String,
    footage_s: f64,
    frames: u64,
    sampling: Option<Sampling>,
    decode_peak_rss_bytes: u64,
    stages: Vec<Stage>,
    limiting: &'static str,
    /// CPU time of encoding the frames of each window again, divided by that of encoding each frame once; for models
    /// with frame features and overlapping windows.
    anew_over_once: Option<f64>,
    /// Cores ÷ sum of the stages' CPU seconds: an upper bound on the hours of video per hour on this machine.
    bound_h_per_h: f64,
    /// Hours of video per hour in a whole run.
    whole_h_per_h: Option<f64>,
    whole_over_bound: Option<f64>,
    store_bytes_per_h: Option<f64>,
    thumbnail_bytes_per_h: Option<f64>,
}

pub(super) async fn run(app: &App, args: BenchArgs) -> anyhow::Result<End> {
    if args.encoder {
        return encoder::run(app, args.model.as_deref(), args.seconds).await;
    }
    let found = walk(&args.paths);
    if found.files.is_empty() {
        app.say("nothing to measure: no video files there");
        return Ok(End::Nothing);
    }
    let (_, bundle) = app.bundle(args.model.as_deref(), app.existing_ledger().await?.as_ref()).await?;
    let mut settings = app.settings.index.clone();
    settings.sampling = args.sampling.unwrap_or(settings.sampling);
    let plan = index::plan(&settings, &bundle)?;
    let embed_settings = app.embed_settings();
    let mut model = VideoModel::open(&bundle, &embed_settings)?;
    if let Some(beams) = plan.caption_beams {
        model = model.with_captions(&bundle, &embed_settings, beams)?;
    }
    let mut bench = Bench {
        cores: crate::parts::cores(),
        model: bundle.name().to_owned(),
        device: model.device().to_owned(),
        ..Bench::default()
    };
    app.say("decoding alone …");
    let sample = decode(app, &bundle, &plan, &found.files, &mut bench)?;
    if !args.decode_only {
        app.say("the model alone …");
        let vectors = embed(&bundle, &model, &plan, &sample, &mut bench).await?;
        app.say("a whole run …");
        whole(app, bundle, model, plan, found.files, vectors, &mut bench).await?;
    }
    let slowest = bench.stages.iter().max_by(|a, b| a.core_s_per_s.total_cmp(&b.core_s_per_s));
    bench.limiting = slowest.map_or("", |stage| stage.name);
    print(app, &bench)?;
    Ok(End::Done)
}

/// Decodes the files one after the other, and keeps some of the frames.
fn decode(app: &App, bundle: &Bundle, plan: &Plan, files: &[PathBuf], bench: &mut Bench) -> anyhow::Result<Vec<Frame>> {
    let decoder = app.decoder()?;
    let (mut sample, mut cpu) = (Vec::new(), 0.0);
    for path in files {
        let thumbnail_px = app.settings.index.thumbnail_px;
        let request = plan.request(path.clone(), Duration::ZERO, bundle.manifest(), thumbnail_px);
        let mut frames = match decoder.open(&request, CancellationToken::new()) {
            Ok(frames) => frames,
            Err(error) => {
                app.say(format_args!("left out: {}: {error}", text::path(path)));
                continue;
            }
        };
        for frame in frames.by_ref() {
            let Ok(frame) = frame else { break };
            bench.frames += 1;
            if sample.len() < SAMPLE_FRAMES {
                sample.push(frame);
            }
        }
        if let Some(outcome) = frames.outcome() {
            cpu += outcome.cpu_secs;
            bench.footage_s += outcome.end.as_secs_f64();
            bench.sampling = outcome.sampling;
            bench.decode_peak_rss_bytes = bench.decode_peak_rss_bytes.max(outcome.peak_rss_bytes);
        }
    }
    if sample.is_empty() || bench.footage_s <= 0.0 {
        bail!("none of the files gave a frame");
    }
    bench.stages.push(Stage { name: "decode", core_s_per_s: cpu / bench.footage_s });
    Ok(sample)
}

/// Runs the model repeatedly on the sample; returns one vector per window of the sample.
async fn embed(
    bundle: &Bundle,
    model: &VideoModel,
    plan: &Plan,
    sample: &[Frame],
    bench: &mut Bench,
) -> anyhow::Result<Vec<crate::embed::Embedding>> {
    let per_second = bench.frames as f64 / bench.footage_s;
    let windows_per_second = plan.stride().map_or(1.0 / bench.footage_s, |stride| 1.0 / stride.as_secs_f64());
    let window = plan.frames.min(sample.len());
    match bundle.manifest().video.topology {
        Topology::FramesHead => {
            let mut features: Vec<Feature> = Vec::new();
            let cost = core_seconds(async || {
                features = model.features(sample.to_vec()).await?;
                Ok(sample.len())
            })
            .await?;
            bench.stages.push(Stage { name: "frames", core_s_per_s: cost * per_second });
            let windows = cut(&features, window, |feature| feature.pts);
            let mut vectors = Vec::new();
            let cost = core_seconds(async || {
                vectors = model.pool(windows.clone()).await?;
                Ok(windows.len())
            })
            .await?;
            bench.stages.push(Stage { name: "head", core_s_per_s: cost * windows_per_second });
            if plan.caption_beams.is_some() {
                let cost = core_seconds(async || {
                    model.captions(windows.clone()).await?;
                    Ok(windows.len())
                })
                .await?;
                bench.stages.push(Stage { name: "captions", core_s_per_s: cost * windows_per_second });
            }
            if plan.stride().is_some() {
                bench.anew_over_once = anew_over_once(model, plan, sample).await?;
            }
            Ok(vectors)
        }
        Topology::Video => {
            let windows = cut(sample, window, |frame| frame.pts);
            let mut vectors = Vec::new();
            let cost = core_seconds(async || {
                vectors = model.encode(windows.clone()).await?;
                Ok(windows.len())
            })
            .await?;
            bench.stages.push(Stage { name: "video encoder", core_s_per_s: cost * windows_per_second });
            Ok(vectors)
        }
    }
}

/// Compares two ways to encode overlapping windows: frames window by window, and each frame once.
async fn anew_over_once(model: &VideoModel, plan: &Plan, sample: &[Frame]) -> anyhow::Result<Option<f64>> {
    // The sample may span several files, each of which starts at time 0; take the longest part.
    let Some(sample) = sample.chunk_by(|a, b| a.pts < b.pts).max_by_key(|file| file.len()) else { return Ok(None) };
    let mut cutter = Windows::new(plan.span, plan.frames, 0);
    let windows: Vec<Window<Frame>> =
        sample.iter().flat_map(|frame| cutter.push(frame.pts, None, frame.clone())).collect();
    if windows.len() < 2 {
        return Ok(None);
    }
    let anew = core_seconds(async || {
        model.encode(windows.clone()).await?;
        Ok(1)
    })
    .await?;
    let once = core_seconds(async || {
        let mut cutter = Windows::new(plan.span, plan.frames, 0);
        let features = model.features(sample.to_vec()).await?;
        let windows = features.into_iter().flat_map(|feature| cutter.push(feature.pts, None, feature)).collect();
        model.pool(windows).await?;
        Ok(1)
    })
    .await?;
    Ok(Some(anew / once))
}

fn cut<T: Clone>(items: &[T], length: usize, pts: impl Fn(&T) -> Duration) -> Vec<Window<T>> {
    let whole = |part: &[T]| {
        let mut windows = Windows::new(crate::window::Span::Whole, length, 0);
        for item in part {
            windows.push(pts(item), None, item.clone());
        }
        windows.finish(pts(&part[part.len() - 1]))
    };
    items.chunks(length).flat_map(whole).collect()
}

/// CPU seconds of this process per item, without the first call. `work` returns its number of items.
async fn core_seconds(mut work: impl AsyncFnMut() -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    work().await?;
    let (started, before, mut items) = (Instant::now(), own_cpu()?, 0);
    while started.elapsed() < AT_LEAST {
        items += work().await?;
    }
    Ok((own_cpu()? - before) / items.max(1) as f64)
}

/// User and system time of this process, without its children.
fn own_cpu() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Measures the store alone, then a whole run into a temporary data folder.
async fn whole(
    app: &App,
    bundle: Bundle,
    model: VideoModel,
    plan: Plan,
    files: Vec<PathBuf>,
    vectors: Vec<crate::embed::Embedding>,
    bench: &mut Bench,
) -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let parts = |name: &str| {
        let store = StoreSettings { kind: StoreKind::Edge, url: None, api_key: None, ..app.settings.store.clone() };
        Parts { settings: Settings { data_dir: dir.path().join(name), store, ..app.settings.clone() } }
    };
    let apart = parts("alone");
    let alone = apart.archive(apart.ledger().await?)?.collection(apart.collection(&bundle)).await?;
    let feature: Arc<[f32]> = (0..bundle.manifest().feature_dim()).map(|d| (d as f32).sin()).collect();
    // Each frame is kept once, so a window keeps the frames of one stride.
    let interval = bench.footage_s / bench.frames as f64;
    let per_window = plan.stride().map_or(plan.frames as f64, |stride| stride.as_secs_f64() / interval);
    let kept = vec![feature; if plan.features { per_window.round() as usize } else { 0 }];
    let (cost, bytes_per_window) = store_alone(&alone, &apart.settings.store_dir(), &vectors, &kept).await?;
    let windows_per_second = plan.stride().map_or(1.0 / bench.footage_s, |stride| 1.0 / stride.as_secs_f64());
    bench.stages.push(Stage { name: "store", core_s_per_s: cost * windows_per_second });
    let sum: f64 = bench.stages.iter().map(|stage| stage.core_s_per_s).sum();
    bench.bound_h_per_h = bench.cores as f64 / sum;

    // The run opens its own model.
    drop(model);
    let parts = parts("whole");
    let archive = Arc::new(parts.archive(parts.ledger().await?)?);
    let chosen = Chosen { name: bundle.name().to_owned(), outline: (*bundle).clone(), passed_over: Vec::new() };
    let plan = Arc::new(plan);
    let ingest = parts.ingest(&archive, chosen, &plan, Arc::new(Silent))?;
    // Open both now, so that opening is not measured.
    ingest.store.get().await?;
    ingest.model.get().await?;
    let item = |path| WorkItem { path, said: Said::default(), plan: Arc::clone(&plan), priority: Priority::Asked };
    let items = files.into_iter().map(item).collect();
    let started = Instant::now();
    let totals: Totals = batch::run(&Arc::new(ingest), items, app.jobs(), &CancellationToken::new()).await;
    let took = started.elapsed().as_secs_f64();
    if let Some(error) = totals.fatal {
        return Err(error.into());
    }
    let footage = totals.footage.as_secs_f64();
    let rate = footage / took;
    bench.whole_h_per_h = Some(rate);
    bench.whole_over_bound = Some(rate / bench.bound_h_per_h);
    bench.store_bytes_per_h = Some(bytes_per_window * totals.windows as f64 * 3600.0 / footage);
    bench.thumbnail_bytes_per_h = Some(folder_bytes(&parts.settings.thumbs_dir()) as f64 * 3600.0 / footage);
    Ok(())
}

/// CPU seconds and bytes on disk per window in an embedded store, index included.
async fn store_alone(
    store: &Arc<dyn VectorStore>,
    dir: &Path,
    vectors: &[crate::embed::Embedding],
    features: &[Arc<[f32]>],
) -> anyhow::Result<(f64, f64)> {
    let record = |number: usize| Record {
        id: Uuid::from_u128(number as u128),
        vector: vectors[number % vectors.len()].clone(),
        payload: Payload {
            media_id: MediaId(Uuid::from_u128(number as u128 / 1000)),
            source: None,
            label: None,
            tags: Vec::new(),
            start: Duration::from_secs(number as u64),
            end: Duration::from_secs(number as u64 + 2),
            wall_ms: None,
            minute_of_day: None,
            caption: None,
            plan: "v3 w2 s1 f8 auto".to_owned(),
            complete: None,
        },
        features: features
            .iter()
            .enumerate()
            .map(|(n, values)| Feature {
                pts: Duration::from_secs(number as u64) + Duration::from_millis(n as u64),
                values: Arc::clone(values),
            })
            .collect(),
        held: false,
    };
    let fill = async |numbers: std::ops::Range<usize>| -> anyhow::Result<u64> {
        for start in numbers.clone().step_by(256) {
            let records: Vec<Record> = (start..numbers.end.min(start + 256)).map(record).collect();
            store.upsert(&records).await?;
        }
        store.flush().await?;
        store.optimize().await?;
        Ok(folder_bytes(dir))
    };
    // The first round pays the costs that do not depend on the number of windows.
    let before = fill(0..STORED_WINDOWS).await?;
    let cpu = own_cpu()?;
    let after = fill(STORED_WINDOWS..2 * STORED_WINDOWS).await?;
    let windows = STORED_WINDOWS as f64;
    Ok(((own_cpu()? - cpu) / windows, after.saturating_sub(before) as f64 / windows))
}

fn folder_bytes(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

fn print(app: &App, bench: &Bench) -> anyhow::Result<()> {
    if app.json {
        println!("{}", serde_json::to_string(bench)?);
        return Ok(());
    }
    println!(
        "{} of footage, {} frames sampled ({}), model {} on {}, {}",
        text::span(Duration::from_secs_f64(bench.footage_s)),
        bench.frames,
        bench.sampling.map_or_else(|| "-".to_owned(), |s| s.to_string()),
        bench.model,
        bench.device,
        text::count(bench.cores as u64, "core")
    );
    let rows: Vec<_> = bench
        .stages
        .iter()
        .map(|stage| {
            vec![
                stage.name.to_owned(),
                format!("{:.5}", stage.core_s_per_s),
                format!("{:.0}", bench.cores as f64 / stage.core_s_per_s),
            ]
        })
        .collect();
    print!("{}", text::table(&["stage alone", "core-s per s of footage", "hours per hour with all cores"], &rows));
    println!("limiting: {}", bench.limiting);
    if let Some(ratio) = bench.anew_over_once {
        println!(
            "overlapping windows: encoding each window's frames again takes {ratio:.1}× the processor time of encoding each frame once"
        );
    }
    if let (Some(whole), Some(share)) = (bench.whole_h_per_h, bench.whole_over_bound) {
        println!(
            "whole run: {whole:.1} hours of video per hour, {share:.2} of the bound of {:.1}",
            bench.bound_h_per_h
        );
    }
    if let (Some(store), Some(thumbs)) = (bench.store_bytes_per_h, bench.thumbnail_bytes_per_h) {
        println!(
            "on disk per hour of video: {} vectors, {} thumbnails",
            text::bytes(store as u64),
            text::bytes(thumbs as u64)
        );
    }
    println!("peak memory of a decoding process: {}", text::bytes(bench.decode_peak_rss_bytes));
    Ok(())
}
