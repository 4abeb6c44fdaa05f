//! One live stream through every stage, for as long as the daemon runs: connected again whenever it is lost
//! ([`super::supervisor`]), cut into windows on the grid of the wall clock, and stored as soon as a window is full.
//!
//! What must hold:
//!
//! - A window lies at `k · stride` of Unix time, so a connection that was lost, or a daemon that was restarted, makes the same
//!   windows again. A window is never moved back to a gap, and no frame counts as held: what was not seen is not there.
//! - Footage never overwrites other footage: an epoch ends where the clock was set by more than a window, or where codec or
//!   plan changed, and what is stored of an epoch is not written again.
//! - Nothing that is slow behind the decoding process holds it up: there the oldest frames are dropped and counted. Windows
//!   wait for a store that is away up to a limit, then the oldest are dropped and counted.
//! - What a recording holds and the store lacks is embedded at the next start (`again`).
//! - The ledger moves only behind the store, as for files ([`crate::archive`]).

mod again;
mod pauses;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use pauses::Pauses;
use writer::Writer;

use super::embedder::Embedder;
use super::plan::Plan;
use super::supervisor::{Ending, Patience, Supervisor, Verdict};
use super::{Ingest, IngestError};
use crate::decode::live::{Connector, Heard, LiveQueue, LiveRequest};
use crate::decode::{DecodeError, Frame, LiveCause, Problem};
use crate::ledger::{Epoch, OpenHour, Said};
use crate::source::SourceState;
use crate::window::Span;

/// Between two looks at the time.
const TICK: Duration = Duration::from_millis(250);
/// A frame may come so much later than the one before it without being left out of its window.
const GRACE: Duration = Duration::from_secs(1);
/// Frames that the model gets at once.
const BATCH: usize = 32;

/// A stream, and what is done with it.
pub struct Stream {
    pub source: String,
    /// Its address without what is secret.
    pub shown: String,
    /// What to ask the decoding process for in an epoch, made anew for each connection because passwords may change; or why the stream
    /// cannot be called.
    pub request: Box<Asking>,
    pub connector: Arc<dyn Connector>,
    pub ingest: Arc<Ingest>,
    pub plan: Arc<Plan>,
    pub said: Said,
    pub patience: Patience,
    pub pauses: Arc<Pauses>,
    pub observer: Arc<dyn LiveObserver>,
}

/// What to ask for in this epoch; or why that cannot be said, and what follows from it.
pub type Asking = dyn Fn(u64) -> Result<LiveRequest, (Ending, String)> + Send + Sync;

/// Told how a stream is doing.
pub trait LiveObserver: Send + Sync {
    fn state(&self, state: SourceState, error: Option<&str>);
    /// So many frames were embedded, which go on from the last one for so long (zero behind a gap).
    fn frames(&self, count: usize, footage: Duration);
    /// So many more frames were dropped because what takes them was too slow.
    fn frames_dropped(&self, count: u64);
    /// So many more coded frames were decoded, which took so much more processor time.
    fn decoded(&self, frames: u64, cpu: Duration);
    /// So many more windows were stored.
    fn windows_stored(&self, count: u64);
    /// So many more windows were dropped because they could not be stored.
    fn windows_dropped(&self, count: u64);
}

/// Goes on until it is asked to stop; then all that is done is in the store.
pub async fn run(stream: Stream, stop: CancellationToken) {
    let mut running = Running {
        supervisor: Supervisor::new(stream.patience),
        writer: Writer::new(&stream),
        embedder: None,
        epoch: None,
        last: None,
        told: None,
        trouble: None,
        recording: None,
        problems: Vec::new(),
        stream,
    };
    running.finish_old_hours(&stop).await;
    loop {
        running.supervisor.called(running.passed());
        running.tell(None);
        let Some((ending, reason)) = running.connection(&stop).await else { break };
        tracing::info!(source = running.stream.source, %reason, "the connection ended");
        let wait = running.supervisor.ended(running.passed(), ending);
        running.tell(Some(&reason));
        if !running.wait(wait, &stop).await {
            break;
        }
    }
    running.close().await;
}

/// Finishes the hours that are over of streams that are read no more, because they left the settings. What is missing of
/// them stays missing.
pub async fn finish_left(
    ingest: &Arc<Ingest>,
    pauses: &Arc<Pauses>,
    is_read: impl Fn(&str) -> bool,
) -> Result<(), IngestError> {
    let ledger = &ingest.archive.ledger;
    for old in ledger.open_hours(None, &ingest.bundle.collection()).await? {
        if is_read(&old.hour.source) {
            continue;
        }
        let shown = ledger.live(old.content.media_id).await?.map(|(_, shown)| shown).unwrap_or_default();
        Writer::of_left(ingest, pauses, &old, shown).finish_if_over(old).await?;
    }
    Ok(())
}

struct Running {
    stream: Stream,
    supervisor: Supervisor,
    writer: Writer,
    /// Once a frame came.
    embedder: Option<Embedder>,
    epoch: Option<Current>,
    /// Time of the last frame, and when it came on the clock that is never set.
    last: Option<(Duration, Duration)>,
    told: Option<(SourceState, Option<String>)>,
    /// Why nothing can be stored, and why nothing is recorded, while that is so.
    trouble: Option<String>,
    recording: Option<String>,
    problems: Vec<Problem>,
}

/// The epoch under way.
struct Current {
    known: Epoch,
    /// How far the wall clock was ahead of the clock that is never set, at the last frame; in seconds.
    ahead: f64,
}

impl Running {
    fn passed(&self) -> Duration {
        self.stream.ingest.clock.passed()
    }

    fn ahead(&self) -> f64 {
        self.stream.ingest.clock.unix().as_secs_f64() - self.passed().as_secs_f64()
    }

    fn length(&self) -> Duration {
        match self.stream.plan.span {
            Span::Sliding { length, .. } => length,
            Span::Whole => Duration::ZERO,
        }
    }

    fn tell(&mut self, error: Option<&str>) {
        let now = (
            self.supervisor.state(),
            error.or(self.trouble.as_deref()).or(self.recording.as_deref()).map(str::to_owned),
        );
        if self.told.as_ref() != Some(&now) {
            self.stream.observer.state(now.0, now.1.as_deref());
            self.told = Some(now);
        }
    }

    /// From calling the stream until it is lost; `None`: it was asked to stop.
    async fn connection(&mut self, stop: &CancellationToken) -> Option<(Ending, String)> {
        let epoch = match self.expected().await {
            Ok(epoch) => epoch,
            Err(error) => return Some((Ending::Lost, error.to_string())),
        };
        let request = match (self.stream.request)(epoch) {
            Ok(request) => request,
            Err(problem) => return Some(problem),
        };
        let mut queue = match LiveQueue::start(Arc::clone(&self.stream.connector), request, stop) {
            Ok(queue) => queue,
            Err(error) => return Some((ending(&error), error.to_string())),
        };
        let (mut codec, mut is_new, mut dropped) = (String::new(), true, 0);
        let (mut decoded, mut worked) = (0, Duration::ZERO);
        loop {
            let mut frames = Vec::new();
            let mut next = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                heard = queue.next() => Some(heard),
                () = self.stream.ingest.clock.sleep(TICK) => None,
            };
            // What waits here is no silence of the camera, however long it waits.
            let is_silent = next.is_none();
            // All that is waiting, so that the model gets it at once.
            while let Some(Heard::Frame(frame)) = next {
                frames.push(frame);
                next = if frames.len() < BATCH { queue.ready() } else { None };
            }
            if let Some(first) = frames.first() {
                self.supervisor.frame(self.passed());
                self.tell(None);
                if std::mem::take(&mut is_new) {
                    match self.begin(&codec, first.pts).await {
                        Ok(true) => {}
                        Ok(false) => return Some((Ending::Changed, format!("another codec: {codec}"))),
                        Err(error) => return Some((Ending::Lost, error.to_string())),
                    }
                }
                if let Err(error) = self.frames(frames).await {
                    return Some((Ending::Lost, error.to_string()));
                }
            }
            match next {
                Some(Heard::Probe(probe)) => {
                    codec.clone_from(&probe.codec);
                    self.writer.probed(probe);
                }
                Some(Heard::Recording(trouble)) => {
                    if let Some(trouble) = &trouble {
                        tracing::warn!(source = self.stream.source, "{trouble}");
                    }
                    self.recording = trouble;
                }
                Some(Heard::Dropped(count)) => {
                    self.stream.observer.frames_dropped(count.saturating_sub(dropped));
                    dropped = count;
                }
                Some(Heard::Decoded { frames, cpu }) => {
                    self.stream.observer.decoded(frames.saturating_sub(decoded), cpu.saturating_sub(worked));
                    (decoded, worked) = (frames, cpu.max(worked));
                }
                Some(Heard::Lost(DecodeError::Stopped)) if stop.is_cancelled() => return None,
                Some(Heard::Lost(error)) => return Some((ending(&error), error.to_string())),
                Some(Heard::Frame(_)) | None => {}
            }
            if let Err(error) = self.tick().await {
                return Some((Ending::Lost, error.to_string()));
            }
            let verdict = if is_silent { self.supervisor.look(self.passed()) } else { Verdict::Fine };
            self.tell(None);
            if verdict == Verdict::GiveUp {
                return Some((Ending::Lost, "no frame came for too long".to_owned()));
            }
        }
    }

    /// The epoch that a connection made now belongs to, as far as that can be known before its first frame.
    async fn expected(&mut self) -> Result<u64, IngestError> {
        let ingest = Arc::clone(&self.stream.ingest);
        let (now, ahead, length) = (ingest.clock.unix(), self.ahead(), self.length());
        let was_set = self.epoch.as_ref().is_some_and(|current| (ahead - current.ahead).abs() > length.as_secs_f64());
        let known = match &self.epoch {
            Some(current) => Some(current.known.clone()),
            None => ingest.archive.ledger.epoch(&self.stream.source, &ingest.bundle.collection()).await?,
        };
        let plan = self.stream.plan.key();
        let goes_on = known.clone().filter(|known| {
            let is_behind = now + length >= Duration::from_millis(known.last_ms);
            !was_set && is_behind && known.plan == plan
        });
        let known = match goes_on {
            Some(known) => known,
            None => self.another(known.map(|known| known.epoch)).await?,
        };
        let epoch = known.epoch;
        self.writer.goes_on_in(epoch);
        self.epoch = Some(Current { known, ahead });
        Ok(epoch)
    }

    /// Begins another epoch; its codec is not known yet.
    async fn another(&mut self, before: Option<u64>) -> Result<Epoch, IngestError> {
        // What is left of the one before.
        self.drain().await?;
        (self.embedder, self.last) = (None, None);
        let now = u64::try_from(self.stream.ingest.clock.unix().as_millis()).unwrap_or(u64::MAX);
        let epoch = if before == Some(now) { now + 1 } else { now };
        tracing::info!(source = self.stream.source, epoch, "a new epoch begins");
        Ok(Epoch { epoch, plan: self.stream.plan.key(), codec: String::new(), last_ms: now })
    }

    /// Meets the first frame of a connection. False: its codec is another, so another epoch begins, and what is recorded has to
    /// go there from the first frame on.
    async fn begin(&mut self, codec: &str, first: Duration) -> Result<bool, IngestError> {
        let ingest = Arc::clone(&self.stream.ingest);
        let Some(current) = &mut self.epoch else { return Ok(true) };
        if current.known.codec.is_empty() {
            codec.clone_into(&mut current.known.codec);
            let known = current.known.clone();
            ingest.archive.ledger.put_epoch(&self.stream.source, &ingest.bundle.collection(), known).await?;
        } else if current.known.codec != codec {
            let (before, ahead) = (current.known.epoch, current.ahead);
            let known = self.another(Some(before)).await?;
            self.epoch = Some(Current { known, ahead });
            return Ok(false);
        }
        if self.embedder.is_none() {
            let plan = &self.stream.plan;
            let model = ingest.model.get().await?;
            self.embedder = Some(Embedder::live(&ingest.bundle, &model, plan, first_window(plan.span, first)));
        }
        Ok(true)
    }

    async fn frames(&mut self, mut frames: Vec<Frame>) -> Result<(), IngestError> {
        let (passed, ahead) = (self.passed(), self.ahead());
        // Behind a connection that was lost a frame may come that is no later than the last one.
        frames.retain(|frame| self.last.is_none_or(|(last, _)| frame.pts > last));
        let Some(newest) = frames.last().map(|frame| frame.pts) else { return Ok(()) };
        let (Some(embedder), Some(epoch)) = (&mut self.embedder, &mut self.epoch) else { return Ok(()) };
        for frame in &mut frames {
            if let Some(thumbnail) = frame.thumbnail.take() {
                self.writer.picture(frame.pts, thumbnail);
            }
        }
        let count = frames.len();
        let windows = embedder.push(frames, &mut self.problems).await?;
        let since_last = self.last.map_or(Duration::ZERO, |(last, _)| newest.saturating_sub(last));
        let is_gap = since_last > self.stream.patience.stall;
        self.last = Some((newest, passed));
        (epoch.known.last_ms, epoch.ahead) = (newest.as_millis() as u64, ahead);
        self.writer.push(windows);
        self.stream.observer.frames(count, if is_gap { Duration::ZERO } else { since_last });
        self.write().await;
        Ok(())
    }

    /// What time alone brings: windows that no more frame completes, checkpoints, another try to store what waits.
    async fn tick(&mut self) -> Result<(), IngestError> {
        let passed = self.passed();
        if let (Some((newest, came)), Some(embedder)) = (self.last, &mut self.embedder) {
            let now = (newest + passed.saturating_sub(came)).saturating_sub(GRACE);
            let windows = embedder.advance(now, &mut self.problems).await?;
            if !windows.is_empty() {
                self.writer.push(windows);
                self.write().await;
            }
        }
        if self.writer.is_due(passed) {
            self.checkpoint().await;
        }
        Ok(())
    }

    /// Stores what waits. What cannot be stored goes on waiting, up to a limit.
    async fn write(&mut self) {
        let written = self.writer.write().await;
        self.noted(written);
    }

    async fn checkpoint(&mut self) {
        let epoch = self.epoch.as_ref().map(|current| current.known.clone());
        let problems = std::mem::take(&mut self.problems);
        let saved = self.writer.checkpoint(epoch, problems).await;
        self.noted(saved);
    }

    fn noted(&mut self, result: Result<(), IngestError>) {
        let stored = self.writer.take_stored();
        if stored > 0 {
            self.stream.observer.windows_stored(stored);
        }
        let dropped = self.writer.take_dropped();
        if dropped > 0 {
            tracing::warn!(
                source = self.stream.source,
                windows = dropped,
                "windows that could not be stored were dropped"
            );
            self.stream.observer.windows_dropped(dropped);
        }
        let trouble = result.err().map(|error| error.to_string());
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.trouble.as_ref() != Some(trouble)) {
            tracing::warn!(source = self.stream.source, "its windows wait, because they cannot be stored: {trouble}");
        }
        if trouble.is_none() && self.trouble.is_some() {
            tracing::warn!(source = self.stream.source, "its windows are stored again");
        }
        self.trouble = trouble;
    }

    /// All windows that hold a frame.
    async fn drain(&mut self) -> Result<(), IngestError> {
        let length = self.length();
        if let (Some((newest, _)), Some(embedder)) = (self.last, &mut self.embedder) {
            let windows = embedder.advance(newest + length + length, &mut self.problems).await?;
            self.writer.push(windows);
            self.write().await;
        }
        Ok(())
    }

    /// False: it was asked to stop. `None`: for ever.
    async fn wait(&mut self, length: Option<Duration>, stop: &CancellationToken) -> bool {
        let until = length.map(|length| self.passed() + length);
        loop {
            let left = until.map(|until| until.saturating_sub(self.passed()));
            if left == Some(Duration::ZERO) {
                return true;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = self.stream.ingest.clock.sleep(left.unwrap_or(TICK).min(TICK)) => {}
            }
            if let Err(error) = self.tick().await {
                tracing::warn!(source = self.stream.source, "its last windows were not embedded: {error}");
                self.embedder = None;
            }
        }
    }

    /// What an earlier run left: hours that are over are finished, and of all what is missing is taken from recordings.
    async fn finish_old_hours(&mut self, stop: &CancellationToken) {
        let finished = async {
            for old in self.writer.open_hours().await? {
                self.embed_again(&old, stop).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
                self.writer.finish_if_over(old).await?;
            }
            for old in self.writer.latest_hours().await? {
                let again = self.embed_again(&old, stop).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
                if again > 0 {
                    self.writer.finish_if_over(old).await?;
                }
            }
            Ok::<_, IngestError>(())
        };
        if let Err(error) = finished.await {
            tracing::warn!(source = self.stream.source, "its earlier hours wait for the next start: {error}");
        }
    }

    /// What is missing of an hour, as far as its recording has it. Returns the number of windows.
    async fn embed_again(&mut self, old: &OpenHour, stop: &CancellationToken) -> Result<usize, IngestError> {
        let Stream { ingest, plan, .. } = &self.stream;
        self.writer.goes_on_in(old.hour.epoch);
        let again = again::embed_again(ingest, plan, &old.hour, &old.content, &mut self.writer, stop).await?;
        if again > 0 {
            let path = old.path.display();
            tracing::info!(source = self.stream.source, windows = again, %path, "embedded from its recording");
        }
        Ok(again)
    }

    /// Windows under way are left to the next start, which makes them again: they are not full.
    async fn close(&mut self) {
        self.write().await;
        self.checkpoint().await;
        if let Some(trouble) = &self.trouble {
            tracing::warn!(source = self.stream.source, "it ends with windows that could not be stored: {trouble}");
        }
    }
}

fn ending(error: &DecodeError) -> Ending {
    match error {
        DecodeError::Live { cause: LiveCause::Changed | LiveCause::ClockSet, .. } => Ending::Changed,
        DecodeError::Live { cause: LiveCause::Refused, .. } => Ending::Refused,
        DecodeError::Setup(_) | DecodeError::NoDecoder { .. } => Ending::Hopeless,
        _ => Ending::Lost,
    }
}

/// Number of the first window on the grid that holds a frame of this time.
fn first_window(span: Span, time: Duration) -> u64 {
    let Span::Sliding { length, stride } = span else { return 0 };
    let number = time.checked_sub(length).map_or(0, |start| start.as_nanos() / stride.as_nanos() + 1);
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_window_is_the_first_that_holds_the_frame() {
        let second = Duration::from_secs(1);
        let span = Span::Sliding { length: 4 * second, stride: 2 * second };
        for (time, number) in [(0, 0), (3, 0), (4, 1), (5, 1), (6, 2)] {
            assert_eq!(first_window(span, time * second), number, "{time}");
        }
    }
}
