//! When hours of live streams leave: their windows, pictures and segments together ([`crate::archive`]).
//!
//! What must hold: hours that may still be written do not leave; of what is too old, all leaves; where recordings are too
//! large, or too little of the disk is free, the oldest recorded hours leave until that is so no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::archive::{Archive, ArchiveError};
use crate::clock::Clock;
use crate::config::RecordingSettings;
use crate::footage;
use crate::ingest::live::Pauses;
use crate::service::news::{News, NewsRoom};
use crate::source::stream::LiveHour;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) async fn run(
    archive: Arc<Archive>,
    settings: RecordingSettings,
    pauses: Arc<Pauses>,
    news: NewsRoom,
    clock: Clock,
    stop: &CancellationToken,
) {
    loop {
        // Nobody who checks the index finds it half gone.
        let turn = pauses.turn().await;
        match sweep(&archive, &settings, clock.unix()).await {
            Ok(0) => {}
            Ok(_) => news.tell(News::Removed {}),
            Err(error) => tracing::warn!(%error, "footage that is to leave stays for now"),
        }
        drop(turn);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock.sleep(EVERY) => {}
        }
    }
}

/// Returns how many hours have left.
async fn sweep(archive: &Archive, settings: &RecordingSettings, now: Duration) -> Result<usize, ArchiveError> {
    let dir = archive.footage.dir().to_path_buf();
    let disk = |error: std::io::Error| ArchiveError::Disk { path: dir.clone(), error };
    let all = archive.footage.clone();
    let recorded = tokio::task::spawn_blocking(move || all.hours()).await;
    let recorded = recorded.map_err(|error| disk(std::io::Error::other(error)))?.map_err(disk)?;
    let rows = archive.ledger.live_hours().await?;
    let mut hours: BTreeMap<(u64, String, u64), u64> = BTreeMap::new();
    for hour in rows.iter().map(|row| &row.0) {
        hours.insert((hour.hour, hour.source.clone(), hour.epoch), 0);
    }
    for (hour, bytes) in recorded {
        hours.insert((hour.hour, hour.source, hour.epoch), bytes);
    }
    // Without a recording there is no folder yet, and nothing that could fill the disk.
    let free = footage::free(archive.footage.dir()).unwrap_or(u64::MAX);
    let hours: Vec<(LiveHour, u64)> =
        hours.into_iter().map(|((hour, source, epoch), bytes)| (LiveHour { source, epoch, hour }, bytes)).collect();
    let expired = expired(&hours, now, settings, free);
    for hour in &expired {
        tracing::info!(path = %hour.path().display(), "an hour of a stream leaves");
        let of_hour = rows.iter().filter(|row| row.0 == *hour);
        let files = of_hour.map(|(_, path, collection)| (path.clone(), collection.clone())).collect();
        archive.ledger.forget_files(files).await?;
        archive.settle().await?;
        // Of an hour that the ledger does not know, there is nothing but the footage.
        archive.footage.remove(hour).map_err(disk)?;
    }
    Ok(expired.len())
}

/// Those of these hours, in the order of time and with the size of their footage, that leave now.
fn expired(hours: &[(LiveHour, u64)], now: Duration, settings: &RecordingSettings, free: u64) -> Vec<LiveHour> {
    let total: u64 = hours.iter().map(|(_, bytes)| bytes).sum();
    let too_large = settings.most().map_or(0, |most| total.saturating_sub(most));
    let mut excess = too_large.max(settings.least_free().saturating_sub(free));
    let mut leaving = Vec::new();
    for (hour, bytes) in hours {
        let end = hour.begins() + HOUR;
        // A window of this hour may still be under way.
        if end + HOUR > now {
            continue;
        }
        let is_old = settings.keep().is_some_and(|keep| end + keep < now);
        if is_old || excess > 0 && *bytes > 0 {
            excess = excess.saturating_sub(*bytes);
            leaving.push(hour.clone());
        }
    }
    leaving
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 500_000;

    fn hours(sizes: &[u64]) -> Vec<(LiveHour, u64)> {
        let first = NOW - sizes.len() as u64 + 1;
        let hour = |n: usize| LiveHour { source: "door".to_owned(), epoch: 1, hour: first + n as u64 };
        sizes.iter().enumerate().map(|(n, bytes)| (hour(n), *bytes)).collect()
    }

    /// How many hours ago those were that leave.
    fn leave(sizes: &[u64], settings: &RecordingSettings, free: u64) -> Vec<u64> {
        let now = HOUR * u32::try_from(NOW).unwrap() + Duration::from_secs(60);
        expired(&hours(sizes), now, settings, free).into_iter().map(|hour| NOW - hour.hour).collect()
    }

    #[test]
    fn what_is_too_old_too_large_or_in_the_way_leaves_the_oldest_first() {
        const GIB: u64 = 1 << 30;
        let settings = RecordingSettings { min_free_gib: 0.0, ..RecordingSettings::default() };
        let all = [GIB, 0, GIB, GIB, GIB, GIB];
        assert!(leave(&all, &settings, 0).is_empty());
        let old = RecordingSettings { keep_days: Some(3.0 / 24.0), ..settings.clone() };
        assert_eq!(leave(&all, &old, 0), [5, 4]);
        let large = RecordingSettings { max_gib: Some(3.5), ..settings.clone() };
        assert_eq!(leave(&all, &large, 0), [5, 3], "an hour that was not recorded makes no room");
        let full = RecordingSettings { min_free_gib: 2.0, ..settings };
        assert!(leave(&all, &full, 2 * GIB).is_empty());
        assert_eq!(leave(&all, &full, GIB + 1), [5]);
        assert_eq!(leave(&all, &full, 0), [5, 3], "hours that may still be written stay");
    }
}
