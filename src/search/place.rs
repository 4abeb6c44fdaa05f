//! The current file, time and label of a moment, in the form shown to programs and people.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::moments::Moment;
use crate::archive::Archive;
use crate::clock::seconds;
use crate::footage::Footage;
use crate::ledger::{LedgerError, Owned};
use crate::source::glob::PathGlob;
use crate::source::names::FolderNames;
use crate::source::stream::LiveHour;
use crate::source::{MediaId, file_uri, path_of_uri};
use crate::store::Payload;
use crate::thumbs;

/// A moment in the form of the JSON output. Times ending in `_s` are seconds from the start of the medium.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Placed {
    pub id: Uuid,
    pub media_id: MediaId,
    /// The file that shows it, for display: lossy if the name is not UTF-8. Of a live stream the recording; null where there
    /// is none.
    pub path: Option<String>,
    /// Where the moment begins in the recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_s: Option<f64>,
    /// Of that file; of a live stream its address without what is secret.
    pub uri: String,
    pub label: Option<String>,
    pub start_s: f64,
    pub end_s: f64,
    pub peak_s: f64,
    pub score: f32,
    /// Absent until there are models with a calibration.
    pub confidence: Option<f32>,
    /// Caption of the best window.
    pub caption: Option<String>,
    /// Name of the source; null for media that lie in no watched folder.
    pub source: Option<String>,
    /// Wall clock at the start (RFC 3339), if known.
    pub time: Option<String>,
    /// Key of its pictures.
    #[serde(skip)]
    pub pictures: thumbs::Key,
    /// The file itself, exactly.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// What players call zero, on the clock of the moment.
    #[serde(skip)]
    pub players_zero: Duration,
    #[serde(skip)]
    pub start: Duration,
    #[serde(skip)]
    pub peak: Duration,
    #[serde(skip)]
    pub end: Duration,
    /// End of the best window.
    #[serde(skip)]
    pub window_end: Duration,
}

/// What the JSON of a moment leaves out, for a client on the same machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exact {
    pictures: thumbs::Key,
    players_zero: Duration,
    start: Duration,
    peak: Duration,
    end: Duration,
    window_end: Duration,
}

impl Placed {
    /// With the name of the watched folder that it lies in.
    pub fn of_folder(mut self, folders: &FolderNames) -> Self {
        if self.source.is_none() {
            self.source = self.file.as_deref().and_then(|file| folders.of(file));
        }
        self
    }

    pub fn exact(&self) -> Exact {
        let Self { pictures, players_zero, start, peak, end, window_end, .. } = self.clone();
        Exact { pictures, players_zero, start, peak, end, window_end }
    }

    /// Completes a moment that was read from JSON.
    pub fn with(self, exact: Exact) -> Self {
        let Exact { pictures, players_zero, start, peak, end, window_end } = exact;
        let file = path_of_uri(&self.uri).or_else(|| self.path.as_ref().map(PathBuf::from));
        Self { pictures, file, players_zero, start, peak, end, window_end, ..self }
    }
}

/// Places a moment in one of its medium's files, preferring a file that matches `glob` and still exists.
pub async fn place(
    archive: &Archive,
    collection: &str,
    moment: Moment,
    glob: Option<&PathGlob>,
) -> Result<Placed, LedgerError> {
    let ledger = &archive.ledger;
    let Payload { media_id, label, caption, source, start, end: window_end, wall_ms, plan, .. } = moment.payload;
    let files = ledger.files_of(media_id).await?;
    let probe = ledger.media(media_id).await?.and_then(|row| row.probe).unwrap_or_default();
    let wanted = |path: &Path| glob.is_none_or(|glob| glob.matches(path));
    let best = files.iter().map(|file| &file.path).max_by_key(|path| (wanted(path), path.exists(), Reverse(*path)));
    let file = best.cloned().unwrap_or_default();
    let live = ledger.live(media_id).await?;
    let recording = live.as_ref().and_then(|(hour, _)| recorded(&archive.footage, hour, moment.start, moment.end));
    let (file, offset) = match (&live, recording) {
        (None, _) => (Some(file), None),
        (Some(_), recording) => recording.unzip(),
    };
    // The payload's wall clock is that of the best window, which may start later than the moment.
    let ahead_ms = i64::try_from(start.saturating_sub(moment.start).as_millis()).unwrap_or(i64::MAX);
    let time = wall_ms.and_then(|wall| DateTime::from_timestamp_millis(wall.saturating_sub(ahead_ms)));
    Ok(Placed {
        id: moment.id,
        media_id,
        path: file.as_ref().map(|file| file.to_string_lossy().into_owned()),
        offset_s: offset.map(seconds),
        uri: live.map(|(_, uri)| uri).or(file.as_deref().map(file_uri)).unwrap_or_default(),
        label,
        start_s: seconds(moment.start),
        end_s: seconds(moment.end),
        peak_s: seconds(moment.peak),
        score: moment.score,
        confidence: None,
        caption,
        source,
        time: time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)),
        pictures: thumbs::Key::of(&Owned { media_id, collection: collection.to_owned(), plan }),
        file,
        players_zero: probe.players_zero,
        start: moment.start,
        peak: moment.peak,
        end: moment.end,
        window_end,
    })
}

/// The segment of a recording that shows this start of a moment, and where in it.
fn recorded(footage: &Footage, hour: &LiveHour, start: Duration, end: Duration) -> Option<(PathBuf, Duration)> {
    let found = footage.at(hour, hour.begins() + start, hour.begins() + end);
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, path = %footage.dir().display(), "recordings cannot be read");
        None
    })
}
