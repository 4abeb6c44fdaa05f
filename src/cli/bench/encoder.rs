//! `clipseek bench --encoder`: measures how many frames a second the model's encoder takes on its device, with the
//! current settings.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use super::super::End;
use super::super::app::App;
use super::own_cpu;
use crate::decode::Frame;
use crate::embed::bundle::Bundle;
use crate::embed::manifest::Topology;
use crate::embed::model::{VideoModel, noise};
use crate::window::Window;

/// Concurrent calls, so that the model never waits for input.
const CALLS: usize = 3;

#[derive(Debug, Serialize)]
struct Rate {
    model: String,
    device: String,
    batch_frames: usize,
    cuda_graphs: bool,
    /// Seconds to open the model and run it once, including building missing engines.
    open_s: f64,
    frames: u64,
    seconds: f64,
    frames_per_s: f64,
    /// CPU seconds per second: preparing pixels, and what the device leaves to the processor.
    cores: f64,
}

pub(super) async fn run(app: &App, model: Option<&str>, seconds: f64) -> anyhow::Result<End> {
    ensure!(seconds.is_finite() && (0.1..=3600.0).contains(&seconds), "--seconds must lie between 0.1 and 3600");
    let (_, bundle) = app.bundle(model, app.existing_ledger().await?.as_ref()).await?;
    let settings = app.embed_settings();
    let opening = Instant::now();
    let model = VideoModel::open(&bundle, &settings)?;
    let open_s = opening.elapsed().as_secs_f64();
    let items = batch(&bundle, settings.batch_frames);
    // The first runs allocate what a batch needs on the model's thread.
    for _ in 0..2 {
        encode(&model, &items).await?;
    }
    let (started, cpu) = (Instant::now(), own_cpu()?);
    let deadline = started + Duration::from_secs_f64(seconds);
    let caller = async || -> anyhow::Result<u64> {
        let mut frames = 0;
        while Instant::now() < deadline {
            frames += encode(&model, &items).await?;
        }
        Ok(frames)
    };
    let counts: [u64; CALLS] = tokio::try_join!(caller(), caller(), caller())?.into();
    let (frames, taken) = (counts.iter().sum(), started.elapsed().as_secs_f64());
    let rate = Rate {
        model: bundle.name().to_owned(),
        device: model.device().to_owned(),
        batch_frames: settings.batch_frames,
        cuda_graphs: settings.cuda_graphs,
        open_s,
        frames,
        seconds: taken,
        frames_per_s: frames as f64 / taken,
        cores: (own_cpu()? - cpu) / taken,
    };
    if app.json {
        println!("{}", serde_json::to_string(&rate)?);
    } else {
        println!(
            "{} on {}: {:.1} frames per second in batches of {}, with {:.2} cores of the processor ({:.1} s to open)",
            rate.model, rate.device, rate.frames_per_s, rate.batch_frames, rate.cores, rate.open_s
        );
    }
    Ok(End::Done)
}

/// One batch: frames, or windows if the model takes whole windows.
enum Items {
    Frames(Vec<Frame>),
    Windows(Vec<Window<Frame>>),
}

fn batch(bundle: &Bundle, size: usize) -> Items {
    let video = &bundle.manifest().video;
    match video.topology {
        Topology::FramesHead => Items::Frames((0..size).map(|number| noise(bundle, number)).collect()),
        Topology::Video => {
            let items: Vec<Frame> = (0..video.frames).map(|number| noise(bundle, number)).collect();
            Items::Windows(
                (0..size)
                    .map(|_| Window { start: Duration::ZERO, end: video.interval(), items: items.clone() })
                    .collect(),
            )
        }
    }
}

/// Encodes one batch and returns its number of frames.
async fn encode(model: &VideoModel, items: &Items) -> anyhow::Result<u64> {
    Ok(match items {
        Items::Frames(frames) => model.features(frames.clone()).await?.len() as u64,
        Items::Windows(windows) => {
            model.encode(windows.clone()).await?;
            windows.iter().map(|window| window.items.len() as u64).sum()
        }
    })
}
