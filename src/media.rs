//! What is indexed, as values that the command line prints and the HTTP API answers: listing, showing, removing,
//! exporting. Paths in them are readable (lossy where a name is no UTF-8).

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::archive::{Archive, ArchiveError};
use crate::clock::seconds;
use crate::decode::{Probe, Problem};
use crate::ledger::{FailureKind, FileRow, FileState, Ledger, LedgerError, Owned, Progress, ProgressState, Said};
use crate::source::stream::is_live;
use crate::source::{MediaId, file_uri, path_of_uri};
use crate::store::{Selection, StoreError, VectorStore};
use crate::thumbs;
use crate::verify::remove_unknown;

/// Rows read from the ledger at once.
pub const PAGE: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("{0}: not indexed (`clipseek media list` shows what is)")]
    NotIndexed(String),
    #[error("{0}: no such medium")]
    NoSuchMedium(String),
    #[error("nothing is indexed in {0}")]
    NoCollection(String),
    #[error("the source {0:?} says what is said of this medium: change its label and tags in the settings")]
    SaidBySource(String),
    #[error("{0}: {1}")]
    NotAgain(MediaId, &'static str),
    #[error("{0:?} is no place to go on from")]
    NoPlace(String),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A path in a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Listed {
    pub media_id: Option<MediaId>,
    pub path: String,
    pub collection: String,
    pub plan: Option<String>,
    pub state: ListedState,
    pub windows: u64,
    pub kind: Option<FailureKind>,
    pub reason: Option<String>,
    pub tries: u32,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListedState {
    Pending,
    Indexed,
    Failed,
    /// Indexed, and no longer there.
    Missing,
}

impl ListedState {
    fn of(file: &FileRow) -> Self {
        match file.state {
            FileState::Pending => Self::Pending,
            FileState::Failed => Self::Failed,
            FileState::Indexed if is_missing(&file.path) => Self::Missing,
            FileState::Indexed => Self::Indexed,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Indexed => "indexed",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }
}

impl Listed {
    fn new(file: FileRow, progress: Option<Progress>) -> Self {
        let state = ListedState::of(&file);
        let (kind, reason) = file.failure.map(|failure| (failure.kind, failure.reason)).unzip();
        let windows = progress.as_ref().map_or(0, |progress| progress.tally.windows);
        let (plan, problems) = progress.map(|progress| (progress.plan, progress.problems)).unzip();
        Self {
            media_id: file.media_id.or(file.next_media_id),
            path: readable(&file.path),
            collection: file.collection,
            plan,
            state,
            windows,
            kind,
            reason,
            tries: file.tries,
            problems: problems.unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ListedPage {
    pub media: Vec<Listed>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<String>,
}

/// A page of the listing, in the order of paths, with at most `limit` rows read. With `failed` it has only those that
/// failed, and may have none at all although there are more pages.
pub async fn list(ledger: &Ledger, after: Option<&str>, limit: usize, failed: bool) -> Result<ListedPage, MediaError> {
    let after = after.map(place).transpose()?;
    let rows = ledger.page(after, limit).await?;
    let last = rows.last().filter(|_| rows.len() == limit);
    let next = last.map(|(file, _)| format!("{}?{}", position(&file.path), file.collection));
    let wanted = rows.into_iter().filter(|(file, _)| !failed || file.state == FileState::Failed);
    Ok(ListedPage { media: wanted.map(|(file, progress)| Listed::new(file, progress)).collect(), next })
}

/// Marks the paths of live hours, which are no paths of files, in [`ListedPage::next`].
const LIVE: &str = "live:";

fn position(path: &Path) -> String {
    if is_live(path) { format!("{LIVE}{}", readable(path)) } else { file_uri(path) }
}

/// A path and a collection, as [`ListedPage::next`] has them. Neither URIs of paths nor names of sources have a question mark.
fn place(text: &str) -> Result<(PathBuf, String), MediaError> {
    let path = |text: &str| text.strip_prefix(LIVE).map(PathBuf::from).or_else(|| path_of_uri(text));
    let parts = text.split_once('?').and_then(|(at, collection)| Some((path(at)?, collection.to_owned())));
    parts.ok_or_else(|| MediaError::NoPlace(text.to_owned()))
}

/// All that is known of a medium.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Medium)]
pub struct Shown {
    pub media_id: MediaId,
    pub paths: Vec<String>,
    pub files: Vec<ShownFile>,
    pub label: Option<String>,
    pub tags: Vec<String>,
    pub probe: Option<Probe>,
    pub collections: Vec<ShownIn>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShownFile {
    pub path: String,
    pub collection: String,
    pub size: u64,
    pub state: ListedState,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShownIn {
    pub collection: String,
    pub plan: String,
    pub state: ProgressState,
    pub windows: u64,
    pub problems: Vec<Problem>,
    pub thumbnail_bytes: u64,
}

/// `medium` is an id or an absolute path.
pub async fn show(archive: &Archive, medium: &str) -> Result<Shown, MediaError> {
    let ledger = &archive.ledger;
    let media_id = find(ledger, medium).await?;
    let row = ledger.media(media_id).await?.unwrap_or_default();
    let files = ledger.files_of(media_id).await?;
    let mut collections = Vec::new();
    for (collection, rows) in ledger.progress_of(media_id).await? {
        for progress in rows {
            let content = Owned { media_id, collection: collection.clone(), plan: progress.plan.clone() };
            collections.push(ShownIn {
                collection: collection.clone(),
                plan: progress.plan,
                state: progress.state,
                windows: progress.tally.windows,
                problems: progress.problems,
                thumbnail_bytes: archive.thumbs.bytes(&thumbs::Key::of(&content)),
            });
        }
    }
    let file = |file: &FileRow| ShownFile {
        path: readable(&file.path),
        collection: file.collection.clone(),
        size: file.stat.size,
        state: ListedState::of(file),
        reason: file.failure.as_ref().map(|failure| failure.reason.clone()),
    };
    Ok(Shown {
        media_id,
        paths: files.iter().map(|file| readable(&file.path)).collect(),
        files: files.iter().map(file).collect(),
        label: row.said.label,
        tags: row.said.tags,
        probe: row.probe,
        collections,
    })
}

/// Finds a medium by its id or by a path.
async fn find(ledger: &Ledger, medium: &str) -> Result<MediaId, MediaError> {
    if let Ok(id) = Uuid::parse_str(medium) {
        let known = ledger.media(MediaId(id)).await?;
        return known.map(|_| MediaId(id)).ok_or_else(|| MediaError::NoSuchMedium(medium.to_owned()));
    }
    let files = at(ledger, Path::new(medium)).await?;
    let medium_of = |file: &FileRow| file.media_id.or(file.next_media_id);
    files.iter().find_map(medium_of).ok_or_else(|| MediaError::NotIndexed(medium.to_owned()))
}

/// The rows of an absolute path in every collection: as given, else with its links resolved.
async fn at(ledger: &Ledger, path: &Path) -> Result<Vec<FileRow>, LedgerError> {
    let files = ledger.files_at(path).await?;
    match path.canonicalize() {
        Ok(real) if files.is_empty() => ledger.files_at(&real).await,
        _ => Ok(files),
    }
}

/// What is to be said of a medium; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaidChange {
    /// Null: none.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Option<String>>,
    pub tags: Option<Vec<String>>,
}

/// Tells null from absent.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Nobody else may change media meanwhile.
pub async fn annotate(archive: &Archive, media: MediaId, change: &SaidChange) -> Result<Shown, MediaError> {
    let ledger = &archive.ledger;
    let row = ledger.media(media).await?.ok_or_else(|| MediaError::NoSuchMedium(media.to_string()))?;
    let SaidChange { label, tags } = change.clone();
    let said = Said { label: label.unwrap_or(row.said.label), tags: tags.unwrap_or(row.said.tags) };
    ledger.say(media, said).await?;
    archive.settle().await?;
    show(archive, &media.to_string()).await
}

/// Forgets the records of a medium in this collection, so that its files are indexed again from the beginning; gives those
/// files. Nobody else may write meanwhile.
pub async fn queue_again(archive: &Archive, media: MediaId, collection: &str) -> Result<Vec<PathBuf>, MediaError> {
    let ledger = &archive.ledger;
    if ledger.live(media).await?.is_some() {
        return Err(MediaError::NotAgain(media, "a stream cannot be seen a second time"));
    }
    let files = ledger.files_of(media).await?;
    let mut paths: Vec<PathBuf> = files.into_iter().map(|file| file.path).filter(|path| path.exists()).collect();
    paths.dedup();
    if paths.is_empty() {
        return Err(MediaError::NotAgain(media, "no file of it is there any more"));
    }
    for progress in ledger.progress(media, collection).await? {
        if progress.state != ProgressState::Done {
            continue;
        }
        let content = Owned { media_id: media, collection: collection.to_owned(), plan: progress.plan };
        // The ledger first: records that it does not count are written over, such that it counts would be missing.
        ledger.queue_again(content.clone()).await?;
        if let Some(store) = archive.existing(collection).await? {
            store.delete(&Selection::plan(media, &content.plan)).await?;
            store.flush().await?;
        }
        archive.remove_pictures(&content)?;
    }
    Ok(paths)
}

/// What is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RemoveRequest {
    /// Absolute paths to forget, or ids to forget with all of their paths.
    pub media: Vec<String>,
    /// Every file that is no longer there.
    pub missing: bool,
    /// Every file that could not be indexed.
    pub failed: bool,
    /// Every record whose medium the ledger does not know.
    pub unknown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Removed {
    /// Number of paths.
    pub removed: u64,
    pub windows: u64,
}

/// Nobody else may write to the archive meanwhile.
pub async fn remove(archive: &Archive, request: &RemoveRequest) -> Result<Removed, MediaError> {
    let ledger = &archive.ledger;
    let mut files: Vec<FileRow> = Vec::new();
    for medium in &request.media {
        let found = match Uuid::parse_str(medium) {
            Ok(id) => ledger.files_of(MediaId(id)).await?,
            Err(_) => at(ledger, Path::new(medium)).await?,
        };
        if found.is_empty() {
            return Err(MediaError::NotIndexed(medium.clone()));
        }
        files.extend(found);
    }
    if request.missing || request.failed {
        let wanted = |file: &FileRow| {
            request.failed && file.state == FileState::Failed || request.missing && is_missing(&file.path)
        };
        files.extend(ledger.listing(wanted).await?.into_iter().map(|(file, _)| file));
    }
    let mut paths: Vec<&PathBuf> = files.iter().map(|file| &file.path).collect();
    paths.sort();
    paths.dedup();
    let removed = paths.len() as u64;
    ledger.forget_files(files.into_iter().map(|file| (file.path, file.collection)).collect()).await?;
    let mut windows = archive.settle().await?;
    if request.unknown {
        windows += remove_unknown(archive).await?;
    }
    Ok(Removed { removed, windows })
}

/// Whether a file should be there and is not.
fn is_missing(path: &Path) -> bool {
    !is_live(path) && std::fs::symlink_metadata(path).is_err()
}

/// The files of a collection that failed: those that are there, and those that are not.
pub async fn failed(ledger: &Ledger, collection: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>), LedgerError> {
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for (file, _) in ledger.listing(|file| file.state == FileState::Failed && file.collection == collection).await? {
        let is_there = std::fs::symlink_metadata(&file.path).is_ok();
        if is_there { &mut there } else { &mut gone }.push(file.path);
    }
    Ok((there, gone))
}

/// Reads the records of a collection, a page at a time, as lines of JSON.
pub struct Export {
    archive: Arc<Archive>,
    collection: String,
    store: Arc<dyn VectorStore>,
    vectors: bool,
    after: Option<Uuid>,
    is_done: bool,
}

impl Export {
    pub async fn begin(archive: Arc<Archive>, collection: String, vectors: bool) -> Result<Self, MediaError> {
        let store = archive.existing(&collection).await?;
        let store = store.ok_or_else(|| MediaError::NoCollection(collection.clone()))?;
        Ok(Self { archive, collection, store, vectors, after: None, is_done: false })
    }

    /// The next lines; `None`: there are no more.
    pub async fn next(&mut self) -> Result<Option<String>, MediaError> {
        if self.is_done {
            return Ok(None);
        }
        let ledger = &self.archive.ledger;
        let (page, mut lines) = (self.store.scan(None, self.after, PAGE).await?, String::new());
        let mut whose: Vec<_> = page.items.iter().map(|r| (r.payload.media_id, r.payload.plan.clone())).collect();
        whose.sort();
        whose.dedup();
        let hidden = ledger.hidden(&self.collection, whose).await?;
        for record in &page.items {
            let payload = &record.payload;
            if hidden.iter().any(|(media, plan)| *media == payload.media_id && *plan == payload.plan) {
                continue;
            }
            let files = ledger.files_of(payload.media_id).await?;
            let path = files.iter().find(|file| file.path.exists()).or(files.first());
            let mut line = json!({
                "id": record.id,
                "media_id": payload.media_id,
                "path": path.map(|file| readable(&file.path)),
                "start_s": seconds(payload.start),
                "end_s": seconds(payload.end),
                "label": payload.label,
                "tags": payload.tags,
                "caption": payload.caption,
            });
            if self.vectors {
                line["vector"] = json!(record.vector.as_slice());
            }
            // Writing to a text cannot fail.
            let _ = writeln!(lines, "{line}");
        }
        self.after = page.next;
        self.is_done = self.after.is_none();
        Ok(Some(lines))
    }
}

/// A path as a person gave it, made absolute; ids stay as they are.
pub fn absolute_or_id(medium: &str) -> std::io::Result<String> {
    if Uuid::parse_str(medium).is_ok() {
        return Ok(medium.to_owned());
    }
    Ok(readable(&std::path::absolute(medium)?))
}

fn readable(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_listing_is_exact() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/v/a?b\xff.mp4"));
        let text = format!("{}?{}", file_uri(path), "shapes-1");
        assert_eq!(place(&text).unwrap(), (path.to_path_buf(), "shapes-1".to_owned()));
        let live = Path::new("localhost/2026-11-27T16Z/1795795392123");
        let text = format!("{}?shapes-1", position(live));
        assert_eq!(place(&text).unwrap(), (live.to_path_buf(), "shapes-1".to_owned()));
        assert!(place("elsewhere").is_err());
    }
}
