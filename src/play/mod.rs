//! Shows moments: their pictures, short previews, files for players, clips.
//!
//! A moment is named by the record of its best window ([`find`](Player::find)); the span that it covers may be wider and is
//! said with it. [`input`] finds the files that show it, and refuses those that are no longer what was indexed. What a browser
//! plays as it is ([`browser`]) is handed out as it is. Everything else is cut out of the files in a process of its own
//! ([`crate::decode::cut`]): as it is where that will do, else encoded anew, for this span alone. What was cut is kept in a
//! [`cache`] of limited size. How many are cut at once, how many wait, and how long each may take, is limited.
//!
//! What must hold: no client names a file. Whoever leaves takes the work along that nobody else waits for.

mod browser;
mod cache;
mod input;
pub mod names;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::archive::Archive;
use crate::clock::{Clock, seconds};
use crate::config::PlaySettings;
use crate::decode::cut::{Copied, Cut, CutRequest, Encoding};
use crate::decode::{ChildDecoder, DecodeError, Jpeg, LATEST};
use crate::gate::{Gate, Refused};
use crate::ledger::{LedgerError, Owned};
use crate::search::Placed;
use crate::search::moments::Moment;
use crate::search::place::place;
use crate::source::MediaId;
use crate::source::names::FolderNames;
use crate::store::{Payload, StoreError};
use crate::thumbs;
use cache::{Cache, Key};
use input::Footing;
pub use input::MediaFile;

/// What a player gets around the span, where it is taken as it is, and where it has to be encoded.
const BEFORE: Duration = Duration::from_secs(5);
const BEHIND: Duration = Duration::from_secs(30);
const BEFORE_ENCODED: Duration = Duration::from_secs(2);
const BEHIND_ENCODED: Duration = Duration::from_secs(8);
/// The longest that is cut out for a player, as it is and encoded. There is more of a longer moment elsewhere.
const LONGEST: Duration = Duration::from_secs(600);
const LONGEST_ENCODED: Duration = Duration::from_secs(120);
const LONGEST_PREVIEW: Duration = Duration::from_secs(8);
/// Longest clips, as they are and encoded.
const LONGEST_CLIP: Duration = Duration::from_secs(3600);
const LONGEST_EXACT_CLIP: Duration = Duration::from_secs(600);

const FOR_PLAYERS: Encoding =
    Encoding { most_width: Some(1280), most_frames: Some(30), sound: true, careful: false, longest: LONGEST_ENCODED };
const FOR_PREVIEWS: Encoding =
    Encoding { most_width: Some(320), most_frames: Some(12), sound: false, careful: false, longest: LONGEST_PREVIEW };
const FOR_CLIPS: Encoding =
    Encoding { most_width: None, most_frames: None, sound: true, careful: true, longest: LONGEST_EXACT_CLIP };

#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error("{0}: no such moment (it may have been indexed anew since: search again)")]
    NoSuchMoment(Uuid),
    #[error("{0}: no such medium (`clipseek media list` shows what there is)")]
    NoSuchMedium(Uuid),
    /// Nothing shows it any more, or not yet.
    #[error("{0}")]
    NoFootage(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{waiting} others are already waiting for footage, the most that play.queue allows: try again in a moment")]
    QueueFull { waiting: usize },
    #[error("others are being shown footage, and it did not begin within {} s: try again in a moment", .after.as_secs_f64())]
    QueuedTooLong { after: Duration },
    #[error("it took longer than {} s (play.limit_secs): ask for a shorter span", .after.as_secs_f64())]
    TookTooLong { after: Duration },
    #[error("this footage cannot be played")]
    Unplayable(#[source] DecodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: std::io::Error },
}

impl From<Refused> for PlayError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::QueueFull { waiting } => Self::QueueFull { waiting },
            Refused::QueuedTooLong { after } => Self::QueuedTooLong { after },
        }
    }
}

/// From when to when, in the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: Duration,
    pub end: Duration,
}

/// A window by its record.
#[derive(Clone, Debug)]
pub struct Found {
    pub id: Uuid,
    pub collection: String,
    pub payload: Payload,
}

impl Found {
    /// The span asked for; where nothing is said, that of the window.
    pub fn span(&self, start_s: Option<f64>, end_s: Option<f64>) -> Result<Span, PlayError> {
        let time = |name: &str, value: Option<f64>, usual: Duration| match value {
            None => Ok(usual),
            Some(value) => Duration::try_from_secs_f64(value)
                .ok()
                .filter(|time| *time <= LATEST)
                .ok_or_else(|| PlayError::Invalid(format!("{name} is {value}, it must be a time in seconds"))),
        };
        let start = time("start_s", start_s, self.payload.start)?;
        // The windows of still pictures may have no length.
        let usual_end = self.payload.end.max(start + Duration::from_secs(1));
        let span = Span { start, end: time("end_s", end_s, usual_end)? };
        if span.end <= span.start {
            return Err(PlayError::Invalid("end_s must be later than start_s".to_owned()));
        }
        Ok(span)
    }
}

/// A moment, for whoever looks at it alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShownMoment {
    pub id: Uuid,
    pub media_id: MediaId,
    pub path: Option<String>,
    pub uri: String,
    pub label: Option<String>,
    pub tags: Vec<String>,
    pub source: Option<String>,
    pub start_s: f64,
    pub end_s: f64,
    pub time: Option<String>,
    pub caption: Option<String>,
}

/// How a player gets to see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The medium's own file.
    #[default]
    File,
    /// A stretch of it in another container.
    Remuxed,
    /// A stretch of it, encoded anew.
    Transcoded,
}

/// A stretch for a player, and where in it the span is.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    pub how: How,
    /// The name of the stretch in the cache; `None`: it is the file.
    pub made: Option<String>,
    /// What the player's zero is in the medium, where the span begins for it, and where the stretch ends in the medium.
    pub begins: Duration,
    pub seek: Duration,
    pub ends: Option<Duration>,
}

pub struct Player {
    archive: Arc<Archive>,
    decoder: ChildDecoder,
    folders: FolderNames,
    cache: Cache,
    gate: Gate,
    limit: Duration,
    clock: Clock,
}

impl Player {
    /// `dir`: where what was cut is kept.
    pub fn new(
        archive: Arc<Archive>,
        decoder: ChildDecoder,
        dir: PathBuf,
        folders: FolderNames,
        settings: &PlaySettings,
        clock: Clock,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrent = settings.concurrent.unwrap_or(cores.div_ceil(2));
        let limit = Duration::from_secs_f64(settings.limit_secs);
        Self {
            archive,
            decoder,
            folders,
            cache: Cache::new(dir, settings.most_bytes()),
            gate: Gate::new(concurrent, settings.queue, limit, clock.clone()),
            limit,
            clock,
        }
    }

    /// The window with this id, if it may be shown.
    pub async fn find(&self, id: Uuid) -> Result<Found, PlayError> {
        for (collection, _) in self.archive.ledger.collections().await? {
            let Some(store) = self.archive.existing(&collection).await? else { continue };
            let Some(record) = store.get(id).await? else { continue };
            let payload = record.payload;
            let whose = vec![(payload.media_id, payload.plan.clone())];
            if self.archive.ledger.hidden(&collection, whose).await?.is_empty() {
                return Ok(Found { id, collection, payload });
            }
        }
        Err(PlayError::NoSuchMoment(id))
    }

    pub async fn show(&self, found: &Found, span: Span) -> Result<ShownMoment, PlayError> {
        let tags = found.payload.tags.clone();
        let Placed { id, media_id, path, uri, label, source, time, caption, .. } = self.placed(found, span).await?;
        let (start_s, end_s) = (seconds(span.start), seconds(span.end));
        Ok(ShownMoment { id, media_id, path, uri, label, tags, source, start_s, end_s, time, caption })
    }

    async fn placed(&self, found: &Found, span: Span) -> Result<Placed, PlayError> {
        let moment = Moment {
            id: found.id,
            start: span.start,
            peak: found.payload.start,
            end: span.end,
            score: 0.0,
            payload: found.payload.clone(),
        };
        let placed = place(&self.archive, &found.collection, moment, None).await?;
        Ok(placed.of_folder(&self.folders))
    }

    /// The picture nearest to this time; without one, to the middle of the window.
    pub async fn thumbnail(&self, found: &Found, at: Option<Duration>) -> Result<Option<Jpeg>, PlayError> {
        let Payload { media_id, start, end, plan, .. } = found.payload.clone();
        let key = thumbs::Key::of(&Owned { media_id, collection: found.collection.clone(), plan });
        let (at, before) = match at {
            Some(at) => (at, LATEST),
            None => (start + end.saturating_sub(start) / 2, end),
        };
        let thumbs = self.archive.thumbs.clone();
        let dir = thumbs.dir().to_path_buf();
        let nearest = blocking(move || thumbs.nearest(&key, at, before)).await;
        nearest.map_err(|error| PlayError::Disk { path: dir, error })
    }

    /// A short, small file without sound.
    pub async fn preview(&self, found: &Found, span: Span) -> Result<PathBuf, PlayError> {
        let end = span.end.min(span.start + LONGEST_PREVIEW);
        let made = self.made(found, Span { end, ..span }, None, FOR_PREVIEWS).await?;
        Ok(made.path)
    }

    /// How a player shows this span with the least effort, but not with less than this. What has to be cut is cut now, so that
    /// whoever asks learns why it cannot be shown.
    pub async fn playback(&self, found: &Found, span: Span, least: How) -> Result<Playback, PlayError> {
        let media = found.payload.media_id;
        if least == How::File && self.archive.ledger.live(media).await?.is_none() {
            let probe = self.archive.ledger.media(media).await?.and_then(|row| row.probe).unwrap_or_default();
            let file = input::file(&self.archive, media).await?;
            if browser::plays(&probe, &file.path).is_some() {
                let (begins, ends) = (probe.players_zero, probe.duration);
                let seek = span.start.saturating_sub(begins);
                return Ok(Playback { how: How::File, made: None, begins, seek, ends });
            }
        }
        let made = self.stretch(found, span, least).await?;
        let Cut { begins, ends, encoded } = made.cut;
        let how = if encoded { How::Transcoded } else { How::Remuxed };
        let seek = span.start.saturating_sub(begins);
        Ok(Playback { how, made: Some(made.name), begins, seek, ends: Some(ends) })
    }

    /// A stretch that [`playback`](Self::playback) made, if it is still there; else it is made again.
    pub async fn video(&self, found: &Found, span: Span, least: How, name: Option<&str>) -> Result<PathBuf, PlayError> {
        if let Some(path) = name.and_then(|name| self.cache.named(name)) {
            return Ok(path);
        }
        Ok(self.stretch(found, span, least).await?.path)
    }

    async fn stretch(&self, found: &Found, span: Span, least: How) -> Result<cache::Made, PlayError> {
        let (copy, before, behind, longest) = match least {
            How::File | How::Remuxed => (Some(Copied::ForBrowsers), BEFORE, BEHIND, LONGEST),
            How::Transcoded => (None, BEFORE_ENCODED, BEHIND_ENCODED, LONGEST_ENCODED),
        };
        let start = span.start.saturating_sub(before);
        let end = (span.end + behind).min(start + longest);
        self.made(found, Span { start, end }, copy, FOR_PLAYERS).await
    }

    /// A file to keep, and its name.
    pub async fn clip(&self, found: &Found, span: Span, exact: bool) -> Result<(PathBuf, String), PlayError> {
        let copy = copied(span, exact)?;
        let made = self.made(found, span, copy, FOR_CLIPS).await?;
        // A copy begins with the key frame before, and may end later: its name says when.
        let shown = Span { start: made.cut.begins, end: made.cut.ends };
        Ok((made.path, names::clip(&self.placed(found, shown).await?, shown)))
    }

    /// The name that a clip gets.
    pub async fn clip_name(&self, found: &Found, span: Span) -> Result<String, PlayError> {
        Ok(names::clip(&self.placed(found, span).await?, span))
    }

    /// Writes a clip to this path, where nothing may lie yet.
    pub async fn write_clip(&self, found: &Found, span: Span, exact: bool, output: &Path) -> Result<Cut, PlayError> {
        let copy = copied(span, exact)?;
        let footing = input::footing(&self.archive, found.payload.media_id, span).await?;
        self.cut(footing, span, copy, FOR_CLIPS, output.to_path_buf()).await
    }

    /// The medium's own file, and what it is to a browser.
    pub async fn file(&self, media: MediaId) -> Result<(MediaFile, &'static str), PlayError> {
        let Some(row) = self.archive.ledger.media(media).await? else {
            return Err(PlayError::NoSuchMedium(media.0));
        };
        let file = input::file(&self.archive, media).await?;
        let kind = browser::kind(&row.probe.unwrap_or_default(), &file.path);
        Ok((file, kind))
    }

    async fn made(
        &self,
        found: &Found,
        span: Span,
        copy: Option<Copied>,
        encoding: Encoding,
    ) -> Result<cache::Made, PlayError> {
        let footing = input::footing(&self.archive, found.payload.media_id, span).await?;
        let key = Key::new(&footing, span, copy, encoding);
        // Whoever asks for the same waits for it.
        let _turn = self.cache.turn(&key).await;
        if let Some(made) = self.cache.get(&key) {
            return Ok(made);
        }
        let part = self.cache.part(&key)?;
        let cut = self.cut(footing, span, copy, encoding, part.path().to_path_buf()).await?;
        self.cache.keep(&key, part, cut)
    }

    /// Cuts a span out of the files that show it.
    async fn cut(
        &self,
        footing: Footing,
        span: Span,
        copy: Option<Copied>,
        encoding: Encoding,
        output: PathBuf,
    ) -> Result<Cut, PlayError> {
        let permit = self.gate.enter().await?;
        let Footing { pieces, zero, .. } = footing;
        let (start, end) = (span.start + zero, span.end + zero);
        let request = CutRequest { pieces, start, end, copy, encoding, output };
        let (decoder, stop) = (self.decoder.clone(), CancellationToken::new());
        // Whoever leaves ends the process.
        let _stop = stop.clone().drop_guard();
        let cutting = blocking(move || {
            let cut = decoder.cut(&request, stop);
            drop(permit);
            cut
        });
        let cut = self.clock.timeout(self.limit, cutting).await;
        let cut = cut.ok_or(PlayError::TookTooLong { after: self.limit })?.map_err(PlayError::Unplayable)?;
        Ok(Cut { begins: cut.begins.saturating_sub(zero), ends: cut.ends.saturating_sub(zero), ..cut })
    }
}

/// Checks that a clip is not too long.
fn copied(span: Span, exact: bool) -> Result<Option<Copied>, PlayError> {
    let (longest, copy, advice) = if exact {
        (LONGEST_EXACT_CLIP, None, "ask for a shorter one, or for one that is not exact")
    } else {
        (LONGEST_CLIP, Some(Copied::All), "ask for a shorter one")
    };
    if span.end - span.start > longest {
        let problem = format!("a clip like this may be {} s long: {advice}", longest.as_secs());
        return Err(PlayError::Invalid(problem));
    }
    Ok(copy)
}

/// Runs what waits for the disk or another process.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // It only fails where the work panicked, or the program ends.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
