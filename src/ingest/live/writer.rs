//! Windows of a live stream to records in the store, an hour a medium, and the ledger behind them.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::super::kept::Embedded;
use super::super::medium::{disk, minute_of_day};
use super::super::{Ingest, IngestError, STORE};
use super::{Pauses, Stream};
use crate::archive::Archive;
use crate::decode::{Jpeg, Probe, Problem};
use crate::embed::Feature;
use crate::ledger::{Began, Epoch, OpenHour, Owned, Progress, ProgressState, Said};
use crate::source::Stat;
use crate::source::stream::LiveHour;
use crate::store::{Payload, Record, Selection, Tally, VectorStore};
use crate::thumbs;

/// Windows that wait for a store that is away; more are dropped, the oldest first.
const MOST_WAITING: usize = 512;
/// Pictures that wait for their windows.
const MOST_PICTURES: usize = 512;
/// Keys read at once.
const PAGE: usize = 10_000;
/// Problems kept of an hour: a stream that is damaged all the time would fill the ledger.
const MOST_PROBLEMS: usize = 100;

pub(super) struct Writer {
    ingest: Arc<Ingest>,
    pauses: Arc<Pauses>,
    source: String,
    shown: String,
    said: Said,
    plan: String,
    stride: Duration,
    epoch: u64,
    probe: Option<Probe>,
    /// Not stored yet, each with the hour that it belongs to.
    waiting: VecDeque<(LiveHour, Embedded)>,
    /// Since when the oldest of them waits, on the clock that is never set.
    waiting_since: Duration,
    /// Not in a pack yet, with their times.
    pictures: VecDeque<(Duration, Jpeg)>,
    open: Option<Open>,
    stored: u64,
    dropped: u64,
    /// When the last checkpoint was, on the clock that is never set.
    saved: Duration,
}

/// The hour that is being written.
struct Open {
    hour: LiveHour,
    path: PathBuf,
    content: Owned,
    pictures: thumbs::Writer,
    /// What is stored of it, by the ids of the records.
    stored: HashSet<Uuid>,
    tally: Tally,
    problems: Vec<Problem>,
    said: Said,
    /// See [`Pauses`].
    pause: u64,
}

impl Writer {
    pub(super) fn new(stream: &Stream) -> Self {
        let (source, shown, plan) = (stream.source.clone(), stream.shown.clone(), stream.plan.key());
        let stride = stream.plan.stride().unwrap_or_default();
        Self { said: stream.said.clone(), stride, ..Self::idle(&stream.ingest, &stream.pauses, source, shown, plan) }
    }

    /// For an hour of a stream that is read no more.
    pub(super) fn of_left(ingest: &Arc<Ingest>, pauses: &Arc<Pauses>, old: &OpenHour, shown: String) -> Self {
        let (source, plan) = (old.hour.source.clone(), old.content.plan.clone());
        Self { epoch: old.hour.epoch, ..Self::idle(ingest, pauses, source, shown, plan) }
    }

    fn idle(ingest: &Arc<Ingest>, pauses: &Arc<Pauses>, source: String, shown: String, plan: String) -> Self {
        Self {
            ingest: Arc::clone(ingest),
            pauses: Arc::clone(pauses),
            source,
            shown,
            said: Said::default(),
            plan,
            stride: Duration::ZERO,
            epoch: 0,
            probe: None,
            waiting: VecDeque::new(),
            waiting_since: Duration::ZERO,
            pictures: VecDeque::new(),
            open: None,
            stored: 0,
            dropped: 0,
            saved: ingest.clock.passed(),
        }
    }

    fn archive(&self) -> &Archive {
        &self.ingest.archive
    }

    pub(super) fn goes_on_in(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    pub(super) fn probed(&mut self, probe: Probe) {
        self.probe = Some(probe);
    }

    pub(super) fn picture(&mut self, time: Duration, picture: Jpeg) {
        if self.pictures.len() == MOST_PICTURES {
            self.pictures.pop_front();
        }
        self.pictures.push_back((time, picture));
    }

    pub(super) fn push(&mut self, windows: Vec<Embedded>) {
        if self.waiting.is_empty() {
            self.waiting_since = self.ingest.clock.passed();
        }
        for window in windows {
            let hour = LiveHour::at(&self.source, self.epoch, window.window.start);
            self.waiting.push_back((hour, window));
            if self.waiting.len() > MOST_WAITING {
                self.waiting.pop_front();
                self.dropped += 1;
            }
        }
    }

    /// Windows stored since the last call.
    pub(super) fn take_stored(&mut self) -> u64 {
        std::mem::take(&mut self.stored)
    }

    /// Windows dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Stores all that waits. What is not stored when this fails goes on waiting.
    pub(super) async fn write(&mut self) -> Result<(), IngestError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let pauses = Arc::clone(&self.pauses);
        let turn = pauses.turn().await;
        let (pause, store) = (*turn, self.ingest.store.get().await?);
        self.ingest.waited(STORE, self.waiting_since);
        while let Some((hour, _)) = self.waiting.front() {
            let hour = hour.clone();
            self.at(&hour, pause, store.as_ref()).await?;
            let count = self.waiting.iter().take_while(|(other, _)| *other == hour).count();
            let records: Vec<Record> =
                self.waiting.iter().take(count).filter_map(|(_, window)| self.record(window)).collect();
            let Some(open) = &mut self.open else { break };
            // What is stored is not written again: a run that died between two steps may make it once more, of less footage.
            let new: Vec<Record> = records.into_iter().filter(|record| !open.stored.contains(&record.id)).collect();
            if !new.is_empty() {
                let alone = self.ingest.archive.alone(open.content.media_id).await;
                let begun = self.ingest.clock.passed();
                store.upsert(&new).await?;
                self.ingest.worked(STORE, begun);
                drop(alone);
                self.stored += new.len() as u64;
                for record in &new {
                    open.stored.insert(record.id);
                    open.tally.add(record.mark());
                }
            }
            let until = self.waiting.get(count - 1).map(|(_, window)| window.window.start + self.stride);
            self.add_pictures(until.unwrap_or_default())?;
            self.waiting.drain(..count);
        }
        Ok(())
    }

    /// Of the open hour, up to this time.
    fn add_pictures(&mut self, until: Duration) -> Result<(), IngestError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while let Some((time, _)) = self.pictures.front().filter(|(time, _)| *time < until) {
            let time = time.checked_sub(open.hour.begins());
            let Some((_, picture)) = self.pictures.pop_front() else { break };
            if let Some(time) = time {
                open.pictures.add(time, false, &picture).map_err(|error| disk(&self.ingest, error))?;
            }
        }
        Ok(())
    }

    /// `None` before its hour is open.
    fn record(&self, embedded: &Embedded) -> Option<Record> {
        let open = self.open.as_ref()?;
        let zero = open.hour.begins();
        let Embedded { window, vector, caption, features, held } = embedded.clone();
        let wall_ms = i64::try_from(window.start.as_millis()).ok();
        let payload = Payload {
            media_id: open.content.media_id,
            source: Some(self.source.clone()),
            label: open.said.label.clone(),
            tags: open.said.tags.clone(),
            start: window.start.saturating_sub(zero),
            end: window.end.saturating_sub(zero),
            wall_ms,
            minute_of_day: wall_ms.and_then(minute_of_day),
            caption,
            plan: open.content.plan.clone(),
            complete: None,
        };
        let since = |feature: Feature| Feature { pts: feature.pts.saturating_sub(zero), ..feature };
        let features = features.into_iter().map(since).collect();
        Some(Record::new(self.ingest.bundle.hash(), vector, payload, features, held))
    }

    /// Sees to it that this hour is the open one.
    async fn at(&mut self, hour: &LiveHour, pause: u64, store: &dyn VectorStore) -> Result<(), IngestError> {
        // Behind a pause it may have been removed.
        if self.open.as_ref().is_some_and(|open| open.hour == *hour && open.pause == pause) {
            return Ok(());
        }
        match self.open.take() {
            Some(open) if open.hour == *hour => {}
            Some(open) => self.finish(open, pause, store).await?,
            None => {}
        }
        let content =
            Owned { media_id: hour.media_id(), collection: self.ingest.bundle.collection(), plan: self.plan.clone() };
        self.open = Some(self.open_hour(hour, content, pause, store).await?);
        // An hour that goes on may have got another label.
        self.archive().settle().await?;
        Ok(())
    }

    async fn open_hour(
        &self,
        hour: &LiveHour,
        content: Owned,
        pause: u64,
        store: &dyn VectorStore,
    ) -> Result<Open, IngestError> {
        let ledger = &self.archive().ledger;
        let path = hour.path();
        ledger.put_live(hour, &self.shown).await?;
        let alone = self.archive().alone(content.media_id).await;
        let begun = loop {
            match ledger.begin(&path, stat(hour), content.clone(), self.said.clone(), Vec::new()).await? {
                Began::Leaving(left) => self.archive().remove_one(left, &alone).await?,
                // It was finished, and goes on.
                Began::Known => ledger.queue_again(content.clone()).await?,
                Began::Writing(begun) => break begun,
            }
        };
        if let Some(probe) = &self.probe {
            ledger.probed(content.media_id, probe.clone()).await?;
        }
        // The ledger may be behind the store, where a run died.
        let (mut stored, mut tally) = (HashSet::new(), Tally::default());
        if !begun.is_new {
            let (of_plan, mut after) = (Selection::plan(content.media_id, &content.plan), None);
            loop {
                let page = store.keys(Some(&of_plan), after, PAGE).await?;
                for key in page.items {
                    tally.add(key.mark());
                    stored.insert(key.id);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        // Whatever pictures there are of it already, more are added behind them.
        let spacing = self.ingest.options.thumbnail_spacing;
        let pictures = self.archive().thumbs.writer(&thumbs::Key::of(&content), Duration::MAX, spacing);
        let pictures = pictures.map_err(|error| disk(&self.ingest, error))?;
        let (problems, said) = (begun.progress.problems, begun.row.said);
        Ok(Open { hour: hour.clone(), path, content, pictures, stored, tally, problems, said, pause })
    }

    async fn finish(&self, open: Open, pause: u64, store: &dyn VectorStore) -> Result<(), IngestError> {
        let Open { hour, path, content, pictures, tally, problems, .. } = open;
        let ledger = &self.archive().ledger;
        let rows = ledger.progress(content.media_id, &content.collection).await?;
        let is_there = rows.iter().any(|row| row.plan == content.plan && row.state == ProgressState::Writing);
        if open.pause != pause && !is_there {
            // Somebody removed it.
            return Ok(());
        }
        let _alone = self.archive().alone(content.media_id).await;
        let last_picture = pictures.finish().map_err(|error| disk(&self.ingest, error))?;
        store.flush().await?;
        let done = Progress::done(&content.plan, tally, last_picture, problems);
        Ok(ledger.finish(&path, stat(&hour), content, done, Vec::new()).await?)
    }

    /// Hours that an earlier run left open.
    pub(super) async fn open_hours(&self) -> Result<Vec<OpenHour>, IngestError> {
        Ok(self.archive().ledger.open_hours(Some(&self.source), &self.ingest.bundle.collection()).await?)
    }

    /// The hours of the epoch that goes on from the last that is known: where a run died before the first window of an hour
    /// was stored, there may be footage of it and nothing else.
    pub(super) async fn latest_hours(&self) -> Result<Vec<OpenHour>, IngestError> {
        let (ledger, collection) = (&self.archive().ledger, self.ingest.bundle.collection());
        let Some(Epoch { epoch, .. }) = ledger.epoch(&self.source, &collection).await? else { return Ok(Vec::new()) };
        let at = |time: Duration| LiveHour::at(&self.source, epoch, time);
        let first = ledger.last_hour(&self.source, epoch).await?;
        let first = first.unwrap_or_else(|| at(Duration::from_millis(epoch)).hour);
        let open = |hour: u64| {
            let hour = LiveHour { hour, ..at(Duration::ZERO) };
            let content = Owned { media_id: hour.media_id(), collection: collection.clone(), plan: self.plan.clone() };
            OpenHour { path: hour.path(), hour, content }
        };
        Ok((first..=at(self.ingest.clock.unix()).hour).map(open).collect())
    }

    /// Finishes an hour that an earlier run left open, unless it may still go on.
    pub(super) async fn finish_if_over(&mut self, old: OpenHour) -> Result<(), IngestError> {
        let (ledger, collection) = (&self.archive().ledger, self.ingest.bundle.collection());
        let epoch = ledger.epoch(&self.source, &collection).await?.map(|epoch| epoch.epoch);
        let now = LiveHour::at(&self.source, 0, self.ingest.clock.unix()).hour;
        if old.hour.hour >= now && Some(old.hour.epoch) == epoch {
            return Ok(());
        }
        let pauses = Arc::clone(&self.pauses);
        let turn = pauses.turn().await;
        let (pause, store) = (*turn, self.ingest.store.get().await?);
        let open = match self.open.take() {
            Some(open) if open.hour == old.hour && open.pause == pause => open,
            _ => self.open_hour(&old.hour, old.content, pause, store.as_ref()).await?,
        };
        self.finish(open, pause, store.as_ref()).await
    }

    pub(super) fn is_due(&self, passed: Duration) -> bool {
        passed.saturating_sub(self.saved) >= self.ingest.options.checkpoint_every
    }

    /// Stores what waits and makes all of it durable: pictures and store first, the ledger behind them.
    pub(super) async fn checkpoint(&mut self, epoch: Option<Epoch>, problems: Vec<Problem>) -> Result<(), IngestError> {
        self.saved = self.ingest.clock.passed();
        self.write().await?;
        let pauses = Arc::clone(&self.pauses);
        let turn = pauses.turn().await;
        let pause = *turn;
        let (ledger, collection) = (&self.ingest.archive.ledger, self.ingest.bundle.collection());
        if let Some(open) = self.open.as_mut().filter(|open| open.pause == pause) {
            let new: Vec<Problem> = problems.into_iter().map(|problem| since(problem, open.hour.begins())).collect();
            open.problems.extend(new);
            open.problems.truncate(MOST_PROBLEMS);
            open.pictures.flush().map_err(|error| disk(&self.ingest, error))?;
            self.ingest.store.get().await?.flush().await?;
            ledger.checkpoint(open.content.clone(), 0, open.tally, open.problems.clone()).await?;
            if let Some(probe) = &self.probe {
                ledger.probed(open.content.media_id, probe.clone()).await?;
            }
        }
        if let Some(epoch) = epoch {
            ledger.put_epoch(&self.source, &collection, epoch).await?;
        }
        Ok(())
    }
}

/// No file has it: an hour never changes behind the ledger's back.
fn stat(hour: &LiveHour) -> Stat {
    Stat { size: 0, modified_ns: i64::try_from(hour.begins().as_nanos()).unwrap_or(i64::MAX) }
}

/// Counted from the start of its hour.
fn since(problem: Problem, zero: Duration) -> Problem {
    let count = |time: Option<f64>| time.map(|time| (time - zero.as_secs_f64()).max(0.0));
    Problem { start_s: count(problem.start_s), end_s: count(problem.end_s), ..problem }
}
