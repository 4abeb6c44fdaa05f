//! Embeds again what a recording holds and the store lacks, because a run died or could not store it. The hour keeps its
//! epoch, and windows that are stored are not touched.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::embedder::Embedder;
use super::super::kept::Embedded;
use super::super::plan::Plan;
use super::super::{Ingest, IngestError};
use super::writer::Writer;
use super::{BATCH, first_window};
use crate::decode::{Decoded, Frame, Problem, Queue, Request};
use crate::footage::Segment;
use crate::ledger::Owned;
use crate::source::stream::LiveHour;
use crate::store::{Selection, VectorStore};
use crate::window::Span;

/// Frames that wait for the model.
const FRAMES: usize = 32;
/// Records read at once.
const PAGE: usize = 1000;

/// Embeds what is missing of an hour, and leaves it to the writer. Returns the number of windows.
pub(super) async fn embed_again(
    ingest: &Ingest,
    plan: &Plan,
    hour: &LiveHour,
    content: &Owned,
    writer: &mut Writer,
    stop: &CancellationToken,
) -> Result<usize, IngestError> {
    let segments = segments_around(ingest, hour)?;
    if segments.is_empty() || content.plan != plan.key() {
        return Ok(0);
    }
    let store = ingest.store.get().await?;
    let missing = missing(plan.span, hour, &segments, &stored(store.as_ref(), hour, content).await?);
    let (Some(first), Some(last), Span::Sliding { length, stride }) = (missing.first(), missing.last(), plan.span)
    else {
        return Ok(0);
    };
    let (from, to) = (*first, *last + length);
    let number = u64::try_from(from.as_nanos() / stride.as_nanos()).unwrap_or(u64::MAX);
    let model = ingest.model.get().await?;
    let mut embedder = Embedder::live(&ingest.bundle, &model, plan, number);
    let mut problems: Vec<Problem> = Vec::new();
    let mut count = 0;
    let mut keep = |windows: Vec<Embedded>, writer: &mut Writer| {
        let new: Vec<_> = windows.into_iter().filter(|window| missing.contains(&window.window.start)).collect();
        count += new.len();
        writer.push(new);
    };
    let mut latest = Duration::ZERO;
    for segment in segments.iter().filter(|segment| segment.end > from && segment.start < to) {
        // Files and recordings that are read share the machine.
        let _turn = ingest.turns.acquire().await.ok();
        let request = request(ingest, plan, segment, from);
        let mut decoded = Queue::start(ingest.decoder.clone(), request, stop, FRAMES);
        let (mut frames, mut is_over) = (Vec::new(), false);
        while !is_over {
            match decoded.next().await {
                Decoded::Frame(frame) if segment.start + frame.pts >= to => is_over = true,
                Decoded::Frame(frame) => frames.push(Frame { pts: segment.start + frame.pts, until: None, ..frame }),
                Decoded::Probe(_) => {}
                Decoded::End(_) => is_over = true,
                // The next start does what is left.
                Decoded::Failed(_) if stop.is_cancelled() => return Ok(0),
                Decoded::Failed(error) => {
                    // What could be read of it counts.
                    tracing::warn!(path = %segment.path.display(), %error, "a recording could not be read to its end");
                    is_over = true;
                }
            }
            if frames.len() < BATCH && !is_over {
                continue;
            }
            let mut next: Vec<Frame> = std::mem::take(&mut frames);
            next.retain(|frame| frame.pts > latest);
            for frame in &mut next {
                latest = frame.pts;
                if let Some(picture) = frame.thumbnail.take() {
                    writer.picture(frame.pts, picture);
                }
            }
            keep(embedder.push(next, &mut problems).await?, writer);
        }
    }
    keep(embedder.advance(to, &mut problems).await?, writer);
    writer.write().await?;
    Ok(count)
}

/// Nothing is decoded before `from` that is not needed.
fn request(ingest: &Ingest, plan: &Plan, segment: &Segment, from: Duration) -> Request {
    let from = from.saturating_sub(segment.start);
    plan.request(segment.path.clone(), from, ingest.bundle.manifest(), ingest.options.thumbnail_px)
}

/// A window belongs to the hour in which it begins, and may reach into the next.
fn segments_around(ingest: &Ingest, hour: &LiveHour) -> Result<Vec<Segment>, IngestError> {
    let footage = &ingest.archive.footage;
    let next = LiveHour { hour: hour.hour + 1, ..hour.clone() };
    let all = footage.of_hour(hour).and_then(|segments| Ok([segments, footage.segments(&next)?].concat()));
    all.map_err(|error| IngestError::Disk { path: footage.dir().to_path_buf(), error })
}

/// When the windows of this hour begin that are stored (Unix).
async fn stored(store: &dyn VectorStore, hour: &LiveHour, content: &Owned) -> Result<BTreeSet<Duration>, IngestError> {
    let (of_plan, mut after, mut starts) = (Selection::plan(content.media_id, &content.plan), None, BTreeSet::new());
    loop {
        let page = store.scan(Some(&of_plan), after, PAGE).await?;
        starts.extend(page.items.iter().map(|record| rounded(hour.begins() + record.payload.start)));
        after = page.next;
        if after.is_none() {
            return Ok(starts);
        }
    }
}

/// Times of records are stored as seconds in floating point.
fn rounded(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from((time.as_nanos() + 500) / 1000).unwrap_or(u64::MAX))
}

/// When the windows of this hour begin that hold footage and are not stored. Some of them are not full, as where a connection
/// was lost: all that was recorded can be searched.
fn missing(span: Span, hour: &LiveHour, segments: &[Segment], stored: &BTreeSet<Duration>) -> BTreeSet<Duration> {
    let Span::Sliding { stride, .. } = span else { return BTreeSet::new() };
    let of_hour = hour.begins()..hour.begins() + Duration::from_secs(3600);
    let mut missing = BTreeSet::new();
    for segment in segments {
        let numbers = u128::from(first_window(span, segment.start))..;
        let starts =
            numbers.map(|number| Duration::from_nanos(u64::try_from(number * stride.as_nanos()).unwrap_or(u64::MAX)));
        let held = starts.take_while(|start| *start < segment.end.min(of_hour.end));
        missing.extend(held.filter(|start| of_hour.contains(start) && !stored.contains(&rounded(*start))));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_footage_shows_and_the_store_lacks_is_missing() {
        let secs = Duration::from_secs;
        let hour = LiveHour::at("door", 1, secs(7200));
        let span = Span::Sliding { length: secs(4), stride: secs(2) };
        let segment = |start: u64, end: u64| Segment { path: "a".into(), start: secs(start), end: secs(end), bytes: 0 };
        // Two that follow on one another, begun in the hour before, and one behind a gap.
        let segments = [segment(7195, 7203), segment(7203, 7209), segment(7220, 7227)];
        let stored = [7202].map(secs).into();
        let starts: Vec<u64> =
            missing(span, &hour, &segments, &stored).into_iter().map(|time| time.as_secs()).collect();
        assert_eq!(starts, [7200, 7204, 7206, 7208, 7218, 7220, 7222, 7224, 7226]);
        // The last window of an hour reaches into the next.
        let segments = [segment(10_790, 10_803)];
        let starts: Vec<u64> =
            missing(span, &hour, &segments, &BTreeSet::new()).into_iter().map(|time| time.as_secs()).collect();
        assert_eq!(starts, [10_788, 10_790, 10_792, 10_794, 10_796, 10_798]);
    }
}
