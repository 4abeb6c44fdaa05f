//! One medium on its way: from the decoder's frames to records in the store, and the ledger behind them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local, Timelike};
use tokio_util::sync::CancellationToken;

use super::embedder::Embedder;
use super::kept::Embedded;
use super::{DECODE, Event, Indexed, Ingest, IngestError, Measured, Report, STORE, WorkItem, blocking};
use crate::decode::{Decoded, Frame, Outcome, Probe, Problem, Queue};
use crate::ledger::{FailureKind, MediaRow, Owned, Progress, Writing};
use crate::points;
use crate::source::Stat;
use crate::store::{Payload, Record, Tally, VectorStore};
use crate::thumbs;

/// Frames between the decoder and the model, per medium; more wait in the decoder.
const FRAMES_IN_FLIGHT: usize = 32;
/// Records handed to the store at once.
const RECORDS_PER_UPSERT: usize = 128;

/// Decodes, embeds and stores what the ledger says is missing of a content that lies at the item's path.
pub(super) async fn index(
    ingest: &Ingest,
    item: &WorkItem,
    stat: Stat,
    content: &Owned,
    begun: Writing,
    stop: &CancellationToken,
) -> Result<Report, IngestError> {
    let mut medium = Medium::open(ingest, item, stat, content, begun).await?;
    let (from, thumbnail_px) = (medium.embedder.from(), ingest.options.thumbnail_px);
    let request = item.plan.request(item.path.clone(), from, ingest.bundle.manifest(), thumbnail_px);
    let mut decoded = Queue::start(Arc::clone(&ingest.decoder), request, stop, FRAMES_IN_FLIGHT);
    ingest.frames_waiting.add(&decoded);
    loop {
        let mut frames = Vec::new();
        let begun = ingest.clock.passed();
        let mut next = Some(decoded.next().await);
        ingest.worked(DECODE, begun);
        // All that is waiting, so that the model gets it at once.
        while let Some(Decoded::Frame(frame)) = next {
            frames.push(frame);
            next = if frames.len() < FRAMES_IN_FLIGHT { decoded.ready() } else { None };
        }
        medium.frames(frames).await?;
        match next {
            None | Some(Decoded::Frame(_)) => {}
            Some(Decoded::Probe(probe)) => medium.probed(probe).await?,
            Some(Decoded::End(outcome)) => {
                ingest.measured(Measured::Decoded(&outcome));
                return medium.finish(&outcome).await.map(Report::Indexed);
            }
            // What is done is kept where this was asked for; else it is the medium's fault.
            Some(Decoded::Failed(_)) if stop.is_cancelled() => {
                medium.checkpoint().await?;
                return Ok(Report::Interrupted { at: medium.reached });
            }
            Some(Decoded::Failed(error)) => return Err(error.into()),
        }
    }
}

struct Medium<'a> {
    ingest: &'a Ingest,
    item: &'a WorkItem,
    stat: Stat,
    content: &'a Owned,
    row: MediaRow,
    store: Arc<dyn VectorStore>,
    embedder: Embedder,
    pictures: thumbs::Writer,
    pending: Vec<Record>,
    /// When the clock of the run showed it, the oldest of them began to wait.
    pending_since: Duration,
    /// The last record that was handed to the store: if nothing comes behind it, it is written again as the last one.
    last: Option<Record>,
    tally: RunningTally,
    problems: Vec<Problem>,
    frames: u64,
    reached: Duration,
    /// When the clock of the run showed it.
    saved: Duration,
}

impl<'a> Medium<'a> {
    async fn open(
        ingest: &'a Ingest,
        item: &'a WorkItem,
        stat: Stat,
        content: &'a Owned,
        begun: Writing,
    ) -> Result<Self, IngestError> {
        let Writing { progress, row, is_new: _ } = begun;
        let (store, model) = (ingest.store.get().await?, ingest.model.get().await?);
        let embedder = Embedder::new(&ingest.bundle, model, &item.plan, progress.resume_at);
        let spacing = ingest.options.thumbnail_spacing;
        let spacing = item.plan.stride().map_or(spacing, |stride| stride.max(spacing));
        let key = thumbs::Key::of(content);
        let pictures =
            ingest.archive.thumbs.writer(&key, embedder.from(), spacing).map_err(|error| disk(ingest, error))?;
        Ok(Self {
            ingest,
            item,
            stat,
            content,
            row,
            store,
            reached: embedder.from(),
            embedder,
            pictures,
            pending: Vec::new(),
            pending_since: ingest.clock.passed(),
            last: None,
            tally: RunningTally { settled: progress.tally, recent: VecDeque::new() },
            problems: progress.problems,
            frames: 0,
            saved: ingest.clock.passed(),
        })
    }

    async fn probed(&mut self, probe: Probe) -> Result<(), IngestError> {
        self.ingest.observer.event(Event::Probed { path: &self.item.path, probe: &probe });
        self.ingest.archive.ledger.probed(self.content.media_id, probe.clone()).await?;
        self.row.probe = Some(probe);
        Ok(())
    }

    async fn frames(&mut self, mut frames: Vec<Frame>) -> Result<(), IngestError> {
        let Some(last) = frames.last().map(|frame| frame.pts) else { return Ok(()) };
        for frame in &mut frames {
            if let Some(thumbnail) = frame.thumbnail.take() {
                self.pictures
                    .add(frame.pts, frame.until.is_some(), &thumbnail)
                    .map_err(|error| disk(self.ingest, error))?;
            }
        }
        let count = frames.len();
        self.frames += count as u64;
        let problems = self.problems.len();
        let embedded = self.embedder.push(frames, &mut self.problems).await?;
        self.lacks_vectors(problems);
        self.keep(embedded);
        if self.pending.len() >= RECORDS_PER_UPSERT {
            self.upsert().await?;
        }
        self.reached = last;
        self.ingest.observer.event(Event::Advanced { path: &self.item.path, pts: last, frames: count });
        if self.ingest.clock.passed().saturating_sub(self.saved) >= self.ingest.options.checkpoint_every {
            self.checkpoint().await?;
        }
        Ok(())
    }

    /// The embedder's only problems are windows without a vector.
    fn lacks_vectors(&self, problems_before: usize) {
        let windows = self.problems.len() - problems_before;
        if windows > 0 {
            self.ingest.measured(Measured::WithoutVector { windows });
        }
    }

    fn keep(&mut self, embedded: Vec<Embedded>) {
        if self.pending.is_empty() {
            self.pending_since = self.ingest.clock.passed();
        }
        for embedded in embedded {
            let record = self.record(embedded);
            self.tally.add(record.payload.start, record.mark());
            self.pending.push(record);
        }
    }

    fn record(&self, Embedded { window, vector, caption, features, held }: Embedded) -> Record {
        let recorded = self.row.probe.as_ref().and_then(|probe| probe.recorded_at_ms);
        let wall_ms = recorded.map(|at| at.saturating_add(i64::try_from(window.start.as_millis()).unwrap_or(i64::MAX)));
        let payload = Payload {
            media_id: self.content.media_id,
            source: None,
            label: self.row.said.label.clone(),
            tags: self.row.said.tags.clone(),
            start: window.start,
            end: window.end,
            wall_ms,
            minute_of_day: wall_ms.and_then(minute_of_day),
            caption,
            plan: self.content.plan.clone(),
            complete: None,
        };
        Record::new(self.ingest.bundle.hash(), vector, payload, features, held)
    }

    #[tracing::instrument(name = "store", skip_all, fields(windows = self.pending.len()))]
    async fn upsert(&mut self) -> Result<(), IngestError> {
        if !self.pending.is_empty() {
            self.ingest.waited(STORE, self.pending_since);
            let begun = self.ingest.clock.passed();
            self.store.upsert(&self.pending).await?;
            self.ingest.worked(STORE, begun);
            self.ingest.measured(Measured::Stored { windows: self.pending.len() });
            points::pass("after records were written");
            self.last = self.pending.pop();
            self.pending.clear();
        }
        Ok(())
    }

    /// Makes what is done durable: pictures and store first, the ledger behind them.
    async fn checkpoint(&mut self) -> Result<(), IngestError> {
        self.pictures.flush().map_err(|error| disk(self.ingest, error))?;
        self.upsert().await?;
        let begun = self.ingest.clock.passed();
        self.store.flush().await?;
        self.ingest.worked(STORE, begun);
        points::pass("after the store confirmed a part");
        let (resume_at, from) = self.embedder.resume_at();
        let tally = self.tally.before(from);
        let ledger = &self.ingest.archive.ledger;
        ledger.checkpoint(self.content.clone(), resume_at, tally, self.problems.clone()).await?;
        self.saved = self.ingest.clock.passed();
        Ok(())
    }

    async fn finish(mut self, outcome: &Outcome) -> Result<Indexed, IngestError> {
        let path = self.item.path.clone();
        if blocking(move || Stat::of(&path)).await.ok() != Some(self.stat) {
            let reason = "changed while it was read; index it again when it is complete";
            return Err(IngestError::file(FailureKind::ChangedWhileRead, reason));
        }
        if self.frames == 0 && self.embedder.from().is_zero() {
            return Err(IngestError::file(FailureKind::Damaged, "damaged: no frame could be decoded"));
        }
        let problems = self.problems.len();
        let embedded = self.embedder.finish(outcome.end, &mut self.problems).await?;
        self.lacks_vectors(problems);
        self.keep(embedded);
        let tally = self.tally.before(Duration::MAX);
        if self.pending.is_empty() {
            self.pending.extend(self.last.take());
        }
        if let Some(last) = self.pending.last_mut() {
            last.payload.complete = Some(tally);
        }
        self.upsert().await?;
        let Self { ingest, item, content, pictures, store, embedder, mut problems, .. } = self;
        let last_picture = pictures.finish().map_err(|error| disk(ingest, error))?;
        points::pass("after the pictures took their place");
        let begun = ingest.clock.passed();
        store.flush().await?;
        ingest.worked(STORE, begun);
        points::pass("after the store confirmed a medium");
        problems.extend(outcome.problems.iter().cloned());
        let done = Progress::done(&content.plan, tally, last_picture, problems.clone());
        let gone = ingest.vanished(content.media_id, &item.path).await?;
        ingest.archive.ledger.finish(&item.path, self.stat, content.clone(), done, gone).await?;
        Ok(Indexed {
            windows: tally.windows,
            duration: outcome.end,
            sampling: outcome.sampling,
            problems,
            decode_cpu_secs: outcome.cpu_secs,
            out_of_scope: embedder.out_of_scope(),
        })
    }
}

/// Counts records although a resumed run may give the last ones again, such as all of those whose medium is cut only where
/// it has gaps: those before the window where it would resume are settled.
struct RunningTally {
    settled: Tally,
    recent: VecDeque<(Duration, u128)>,
}

impl RunningTally {
    fn add(&mut self, start: Duration, mark: u128) {
        self.recent.push_back((start, mark));
    }

    /// Of all windows that start before this time.
    fn before(&mut self, time: Duration) -> Tally {
        while self.recent.front().is_some_and(|(start, _)| *start < time) {
            self.settled.extend(self.recent.pop_front().map(|(_, mark)| mark));
        }
        self.settled
    }
}

/// Pictures that cannot be written.
pub(super) fn disk(ingest: &Ingest, error: std::io::Error) -> IngestError {
    IngestError::Disk { path: ingest.archive.thumbs.dir().to_path_buf(), error }
}

/// In the zone of this machine: a container's time has none of its own.
pub(super) fn minute_of_day(wall_ms: i64) -> Option<u16> {
    let time = DateTime::from_timestamp_millis(wall_ms)?.with_timezone(&Local);
    u16::try_from(time.num_seconds_from_midnight() / 60).ok()
}
