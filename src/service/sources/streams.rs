//! A live stream: what it is asked for, and how it is doing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Common, Identity, Running, Status, becomes, lock};
use crate::clock::Clock;
use crate::decode::Want;
use crate::decode::live::{LiveRequest, Recording};
use crate::ingest::live::{LiveObserver, Stream, run};
use crate::ingest::plan::Plan;
use crate::ingest::supervisor::Ending;
use crate::ledger::Said;
use crate::metrics::Metrics;
use crate::service::news::{FrameCount, NewsRoom};
use crate::source::SourceState;

pub(super) fn begin(common: &Common, identity: Identity, plan: Arc<Plan>) -> Running {
    let Common { live, ingest, connector, pauses, news, metrics, clock, .. } = common;
    let source = &identity.settings;
    let frames: Arc<FrameCount> = Arc::default();
    let (status, stop) = (Status::new(SourceState::Connecting, true, clock), CancellationToken::new());
    let observer = Observer {
        name: source.name.clone(),
        status: Arc::clone(&status),
        frames: Arc::clone(&frames),
        news: news.clone(),
        metrics: Arc::clone(metrics),
        clock: clock.clone(),
    };
    let (settings, templates) = (source.clone(), live.clone());
    let (pixels, thumbnail_px) = (ingest.bundle.manifest().pixel_spec(), ingest.options.thumbnail_px);
    let of_plan = Arc::clone(&plan);
    let footage = ingest.archive.footage.dir().to_path_buf();
    let recording = source.record.then(|| Recording {
        dir: footage,
        source: source.name.clone(),
        epoch: 0,
        segment: Duration::from_secs_f64(common.recording.segment_secs),
        least_free: common.recording.least_free(),
    });
    let request = move |epoch| {
        // The folder of templates may have changed since the settings were checked.
        let template = settings.template(&templates).map_err(|problem| (Ending::Hopeless, problem))?;
        let (uri, login) = settings.address().map_err(|problem| (Ending::Refused, problem))?;
        let Want::Every(interval) = of_plan.want else {
            return Err((Ending::Hopeless, "a stream has no end to spread frames over".to_owned()));
        };
        Ok(LiveRequest {
            uri,
            login,
            template,
            interval,
            sampling: of_plan.sampling,
            tolerance: of_plan.tolerance,
            pixels,
            thumbnail_px: Some(thumbnail_px),
            recording: recording.clone().map(|recording| Recording { epoch, ..recording }),
        })
    };
    let stream = Stream {
        source: source.name.clone(),
        shown: source.uri.as_ref().map(ToString::to_string).unwrap_or_default(),
        request: Box::new(request),
        connector: Arc::clone(connector),
        ingest: Arc::new(ingest.clone()),
        plan,
        said: Said { label: source.label.clone(), tags: source.tags.clone() },
        patience: live.patience(),
        pauses: Arc::clone(pauses),
        observer: Arc::new(observer),
    };
    let task = tokio::spawn(run(stream, stop.clone()));
    Running { identity, status, frames, again: Arc::default(), stop, task }
}

struct Observer {
    name: String,
    status: Arc<Mutex<Status>>,
    frames: Arc<FrameCount>,
    news: NewsRoom,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl LiveObserver for Observer {
    fn state(&self, state: SourceState, error: Option<&str>) {
        if (lock(&self.status).state, state) == (SourceState::BackingOff, SourceState::Connecting) {
            self.metrics.reconnected(&self.name);
        }
        becomes(&self.status, state, error.map(str::to_owned), (&self.name, &self.news, &self.clock));
    }

    fn frames(&self, count: usize, footage: Duration) {
        self.frames.add(count, self.clock.passed());
        self.metrics.footage_indexed(&self.name, footage);
        self.metrics.frames_sampled(&self.name, count as u64);
    }

    fn frames_dropped(&self, count: u64) {
        lock(&self.status).frames_dropped += count;
        self.metrics.frames_dropped(&self.name, count);
    }

    fn decoded(&self, frames: u64, cpu: Duration) {
        self.metrics.frames_decoded(&self.name, frames);
        self.metrics.decode_cpu(&self.name, cpu.as_secs_f64());
    }

    fn windows_stored(&self, count: u64) {
        self.metrics.windows_stored(&self.name, count);
    }

    fn windows_dropped(&self, count: u64) {
        lock(&self.status).windows_dropped += count;
        self.metrics.windows_failed(&self.name, count);
    }
}
