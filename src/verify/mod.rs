//! Checks and repairs the invariants between ledger, store and pictures.
//!
//! | invariant | reported as | repair |
//! |---|---|---|
//! | a collection that the ledger uses belongs to the ledger | `other_owner` | takes it over |
//! | a collection that the ledger uses exists | `no_collection` | queues its media again |
//! | every record belongs to a medium, collection and plan that the ledger knows | `unknown_plan` | deletes the records of that plan |
//! | a finished medium has all of its records and no others, each with the times of its kept frames | `records_differ` | deletes them and queues the medium again¹ |
//! | the store has all records of an unfinished medium that the ledger calls confirmed | `records_lost` | deletes them and queues the medium again¹ |
//! | a record with times of kept frames has their features | `frames_lost` | deletes the medium's records and queues it again² |
//! | all records belong to a path or an interrupted run | `nobodys_records` | deletes them |
//! | no deletion and no change of label and tags is unfinished | `unsettled` | finishes it |
//! | the ledger claims records for every indexed path | `no_records` | forgets the path, so that it is indexed again |
//! | the pictures of a finished medium are complete | `pictures_short` | queues the medium again¹ |
//! | pictures belong to records that exist or are being written | `stray_pictures` | deletes them |
//! | recordings of streams that the ledger knows belong to hours that it knows | `stray_footage` | deletes them |
//!
//! ¹ If no file of the medium is left, nothing could be indexed again: what was found is kept, and the ledger accepts
//! it as complete. ² If no file is left: rewrites the records without frames, so that they are still found, but cannot
//! be re-ranked.
//!
//! Records of media that the ledger does not know at all are not a difference: a lost ledger leaves them, and they are
//! taken over when their file is indexed again. They are counted ([`Summary::unknown`]), hidden from searches, and
//! removed only by `media remove --unknown`. A path that has vanished is not a difference either. The hours of live streams
//! are media like files, except that no file lies at their paths, so what is lost of them cannot be indexed again.
//!
//! Records are read once, in the order of ids and without vectors. Memory use grows with the number of media (about a
//! hundred bytes each), not of records. The store is asked for the number of records with features in the whole
//! collection, and for each medium only if that number is wrong. The tally counts the times of kept frames with their
//! records, so it also shows that each frame is kept exactly once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ArchiveError};
use crate::ledger::{Claim, LedgerError, Owned, Progress, ProgressState};
use crate::source::MediaId;
use crate::source::stream::is_live;
use crate::store::{Record, Selection, StoreError, Tally, VectorStore};
use crate::thumbs::{self, Found};

/// Rows or records read at once.
const PAGE: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    OtherOwner,
    NoCollection,
    UnknownPlan,
    RecordsDiffer,
    RecordsLost,
    FramesLost,
    NobodysRecords,
    Unsettled,
    NoRecords,
    PicturesShort,
    StrayPictures,
    StrayFootage,
}

impl DifferenceKind {
    pub const ALL: [Self; 11] = [
        Self::OtherOwner,
        Self::NoCollection,
        Self::UnknownPlan,
        Self::RecordsDiffer,
        Self::RecordsLost,
        Self::FramesLost,
        Self::NobodysRecords,
        Self::Unsettled,
        Self::NoRecords,
        Self::PicturesShort,
        Self::StrayPictures,
    ];
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub media_id: Option<MediaId>,
    #[serde(serialize_with = "lossy")]
    #[schema(value_type = Option<String>)]
    pub path: Option<PathBuf>,
    pub collection: Option<String>,
    pub detail: String,
    pub repaired: bool,
}

fn lossy<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(to)
}

/// The totals of a run, and findings that are not differences.
#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    pub differences: u64,
    pub repaired: u64,
    /// Paths of the ledger that do not exist.
    pub missing: Vec<PathBuf>,
    /// Records of media that the ledger does not know.
    pub unknown: u64,
    pub records: u64,
}

/// Asks before a repair takes over something that may belong to somebody else.
pub trait Repair: Send + Sync {
    /// Whether to take over this collection of another data folder or of a lost ledger.
    fn takes_over(&self, collection: &str) -> bool;
}

/// Compares everything and reports each difference; with `repair`, also repairs it. Nobody else may write to the
/// archive meanwhile.
pub async fn verify(
    archive: &Archive,
    repair: Option<&dyn Repair>,
    report: &mut (dyn FnMut(Difference) + Send + Sync),
) -> Result<Summary, ArchiveError> {
    let mut run = Run { archive, repair, report, summary: Summary::default() };
    run.unsettled().await?;
    for collection in run.collections().await? {
        run.collection(&collection).await?;
    }
    run.files_without_claim().await?;
    run.stray_pictures().await?;
    run.stray_footage().await?;
    if repair.is_some() {
        archive.settle().await?;
    }
    run.missing().await?;
    Ok(run.summary)
}

/// Deletes the records of media that the ledger does not know; returns their number.
pub async fn remove_unknown(archive: &Archive) -> Result<u64, ArchiveError> {
    let mut removed = 0;
    for found in archive.catalog().list().await? {
        if found.owner != archive.ledger.owner() && !archive.catalog().takes_any_owner() {
            continue;
        }
        let Some(store) = archive.existing(&found.name).await? else { continue };
        let tallies = tally(store.as_ref()).await?;
        let mut gone = 0;
        for (media_id, plan) in tallies.counts.keys() {
            if !archive.ledger.knows(*media_id, &found.name).await? {
                let plan = tallies.plans[*plan as usize].clone();
                let content = Owned { media_id: *media_id, collection: found.name.clone(), plan };
                gone += store.delete(&Selection::plan(*media_id, &content.plan)).await?;
                archive.remove_pictures(&content)?;
            }
        }
        if gone > 0 {
            store.flush().await?;
        }
        removed += gone;
    }
    Ok(removed)
}

struct Run<'a> {
    archive: &'a Archive,
    repair: Option<&'a dyn Repair>,
    report: &'a mut (dyn FnMut(Difference) + Send + Sync),
    summary: Summary,
}

/// Records by medium and plan. Plans are few, so each text is stored once and referred to by its index.
struct Tallies {
    plans: Vec<String>,
    counts: HashMap<(MediaId, u32), Counted>,
}

#[derive(Default)]
struct Counted {
    tally: Tally,
    /// Number of records with times of kept frames.
    with_frames: u64,
}

impl Tallies {
    fn take(&mut self, content: &Owned) -> Counted {
        let plan = self.plans.iter().position(|plan| *plan == content.plan);
        plan.and_then(|plan| self.counts.remove(&(content.media_id, plan as u32))).unwrap_or_default()
    }
}

async fn tally(store: &dyn VectorStore) -> Result<Tallies, StoreError> {
    let mut tallies = Tallies { plans: Vec::new(), counts: HashMap::new() };
    let mut after = None;
    loop {
        let page = store.keys(None, after, PAGE).await?;
        for key in page.items {
            let mark = key.mark();
            let plan = match tallies.plans.iter().position(|plan| *plan == key.plan) {
                Some(plan) => plan,
                None => {
                    tallies.plans.push(key.plan);
                    tallies.plans.len() - 1
                }
            };
            let counted = tallies.counts.entry((key.media_id, plan as u32)).or_default();
            counted.tally.add(mark);
            counted.with_frames += u64::from(!key.frames.is_empty());
        }
        after = page.next;
        if after.is_none() {
            return Ok(tallies);
        }
    }
}

/// Rewrites these records without frames.
async fn without_frames(store: &dyn VectorStore, selection: &Selection) -> Result<Tally, StoreError> {
    let (mut tally, mut after) = (Tally::default(), None);
    loop {
        let page = store.scan(Some(selection), after, PAGE).await?;
        store.upsert(&page.items).await?;
        tally.extend(page.items.iter().map(Record::mark));
        after = page.next;
        if after.is_none() {
            store.flush().await?;
            return Ok(tally);
        }
    }
}

impl Run<'_> {
    async fn differs(
        &mut self,
        kind: DifferenceKind,
        content: Option<&Owned>,
        collection: &str,
        detail: String,
    ) -> Result<(), LedgerError> {
        let path = match content {
            Some(content) => {
                let files = self.archive.ledger.files_of(content.media_id).await?;
                files.into_iter().map(|file| file.path).next()
            }
            None => None,
        };
        self.tell(Difference {
            kind,
            media_id: content.map(|content| content.media_id),
            path,
            collection: Some(collection.to_owned()),
            detail,
            repaired: self.repair.is_some(),
        });
        Ok(())
    }

    fn tell(&mut self, difference: Difference) {
        self.summary.differences += 1;
        self.summary.repaired += u64::from(difference.repaired);
        (self.report)(difference);
    }

    /// Reports what was interrupted between two steps. It is repaired first, so that it is not reported as another
    /// difference.
    async fn unsettled(&mut self) -> Result<(), ArchiveError> {
        for content in self.archive.ledger.leaving().await? {
            let detail = format!("records of plan {:?} are still to be deleted", content.plan);
            self.differs(DifferenceKind::Unsettled, Some(&content), &content.collection, detail).await?;
        }
        for (media_id, _, collections) in self.archive.ledger.to_annotate().await? {
            for collection in collections {
                let content = Owned { media_id, collection: collection.clone(), plan: String::new() };
                let detail = "its records do not have its label and tags yet".to_owned();
                self.differs(DifferenceKind::Unsettled, Some(&content), &collection, detail).await?;
            }
        }
        if self.repair.is_some() {
            self.archive.settle().await?;
        }
        Ok(())
    }

    /// The collections that the ledger uses or owns. A ledger that uses none may be new after a loss, so then any
    /// collection may be its own.
    async fn collections(&mut self) -> Result<Vec<String>, ArchiveError> {
        let owner = self.archive.ledger.owner();
        let used: Vec<String> = self.archive.ledger.collections().await?.into_iter().map(|(name, _)| name).collect();
        let mut names = used.clone();
        for found in self.archive.catalog().list().await? {
            if found.owner == owner || self.archive.catalog().takes_any_owner() {
                names.push(found.name);
            } else if used.is_empty() || used.contains(&found.name) {
                names.retain(|name| *name != found.name);
                let taken = match self.repair {
                    Some(repair) if repair.takes_over(&found.name) => {
                        self.archive.catalog().adopt(&found.name, owner).await?;
                        names.push(found.name.clone());
                        true
                    }
                    _ => false,
                };
                let detail = format!("it belongs to {}, another data folder or a ledger that was lost", found.owner);
                self.tell(Difference {
                    kind: DifferenceKind::OtherOwner,
                    media_id: None,
                    path: None,
                    collection: Some(found.name),
                    detail,
                    repaired: taken,
                });
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn collection(&mut self, name: &str) -> Result<(), ArchiveError> {
        let store = self.archive.existing(name).await?;
        let mut tallies = match &store {
            Some(store) => tally(store.as_ref()).await?,
            None => Tallies { plans: Vec::new(), counts: HashMap::new() },
        };
        self.summary.records += tallies.counts.values().map(|counted| counted.tally.windows).sum::<u64>();
        let with_frames = tallies.counts.values().map(|counted| counted.with_frames).sum::<u64>();
        let lost_frames = match &store {
            Some(store) => store.with_frames(None).await? != with_frames,
            None => false,
        };
        let mut after =
            Owned { media_id: MediaId(uuid::Uuid::nil()), collection: name.to_owned(), plan: String::new() };
        let mut is_said = store.is_some();
        let holds = |claim: &Claim| claim.progress.tally.windows > 0;
        loop {
            let claims = self.archive.ledger.claims(Some(after.clone()), PAGE).await?;
            let count = claims.len();
            for claim in claims {
                if claim.content.collection != name {
                    return self.unclaimed(name, store.as_deref(), tallies).await;
                }
                // A run that died before creating the collection has claims, but no confirmed records.
                if holds(&claim) && !std::mem::replace(&mut is_said, true) {
                    let detail = "the store has no such collection".to_owned();
                    self.differs(DifferenceKind::NoCollection, None, name, detail).await?;
                }
                let found = tallies.take(&claim.content);
                after = claim.content.clone();
                self.claim(store.as_deref(), claim, found, lost_frames).await?;
            }
            if count < PAGE {
                return self.unclaimed(name, store.as_deref(), tallies).await;
            }
        }
    }

    /// Checks one claim against the records found. `lost_frames`: some medium of the collection lacks features.
    async fn claim(
        &mut self,
        store: Option<&dyn VectorStore>,
        claim: Claim,
        found: Counted,
        lost_frames: bool,
    ) -> Result<(), ArchiveError> {
        let Claim { content, progress, is_wanted } = claim;
        let Counted { tally: found, with_frames } = found;
        let collection = content.collection.clone();
        if !is_wanted {
            let detail = format!("{} records of plan {:?} belong to no path", found.windows, content.plan);
            self.differs(DifferenceKind::NobodysRecords, Some(&content), &collection, detail).await?;
            if self.repair.is_some() {
                self.archive.ledger.retire_claim(content).await?;
            }
            return Ok(());
        }
        let of_plan = Selection::plan(content.media_id, &content.plan);
        let featured = match store.filter(|_| lost_frames) {
            Some(store) => store.with_frames(Some(&of_plan)).await?,
            None => with_frames,
        };
        let (kind, detail) = match progress.state {
            ProgressState::Leaving => return Ok(()),
            ProgressState::Done if found != progress.tally => {
                let (has, wants) = (found.windows, progress.tally.windows);
                let others = if has == wants { ", some of them different or with other frames" } else { "" };
                (DifferenceKind::RecordsDiffer, format!("the store has {has} records of {wants}{others}"))
            }
            ProgressState::Writing if found.windows < progress.tally.windows => {
                let (has, wants) = (found.windows, progress.tally.windows);
                (DifferenceKind::RecordsLost, format!("the store has {has} records of at least {wants}"))
            }
            _ if featured != with_frames => (
                DifferenceKind::FramesLost,
                format!("{featured} of {with_frames} records have the features of their frames"),
            ),
            ProgressState::Writing => return Ok(()),
            ProgressState::Done => match self.pictures(&content, progress.last_picture) {
                Some(detail) => (DifferenceKind::PicturesShort, detail),
                None => return Ok(()),
            },
        };
        self.differs(kind, Some(&content), &collection, detail).await?;
        if self.repair.is_none() {
            return Ok(());
        }
        if !self.is_anywhere(&content).await? {
            let found = match store.filter(|_| kind == DifferenceKind::FramesLost) {
                Some(store) => without_frames(store, &of_plan).await?,
                None => found,
            };
            let last_picture = self.archive.thumbs.last(&thumbs::Key::of(&content)).unwrap_or(None);
            return Ok(self.archive.ledger.keep_as_found(content, found, last_picture).await?);
        }
        if let Some(store) = store
            && kind != DifferenceKind::PicturesShort
            && store.delete(&of_plan).await? > 0
        {
            store.flush().await?;
        }
        Ok(self.archive.ledger.queue_again(content).await?)
    }

    /// Whether a file is left to index again.
    async fn is_anywhere(&self, content: &Owned) -> Result<bool, LedgerError> {
        let files = self.archive.ledger.files_of(content.media_id).await?;
        let here =
            tokio::task::spawn_blocking(move || files.iter().any(|file| !is_live(&file.path) && file.path.exists()));
        // If this cannot be found out, nothing is deleted.
        Ok(here.await.unwrap_or(false))
    }

    /// What is wrong with the pictures of a finished medium, if anything.
    fn pictures(&self, content: &Owned, last: Option<std::time::Duration>) -> Option<String> {
        let wanted = last?;
        match self.archive.thumbs.last(&thumbs::Key::of(content)) {
            Ok(Some(found)) if found >= wanted => None,
            Ok(Some(found)) => {
                Some(format!("pictures end at {:.1} s of {:.1} s", found.as_secs_f64(), wanted.as_secs_f64()))
            }
            Ok(None) => Some("its pictures are not there".to_owned()),
            Err(error) => Some(format!("its pictures cannot be read: {error}")),
        }
    }

    /// Reports records without a claim of the ledger.
    async fn unclaimed(
        &mut self,
        name: &str,
        store: Option<&dyn VectorStore>,
        tallies: Tallies,
    ) -> Result<(), ArchiveError> {
        let Tallies { plans, counts } = tallies;
        let mut removed = 0;
        for ((media_id, plan), Counted { tally, .. }) in counts {
            if !self.archive.ledger.knows(media_id, name).await? {
                self.summary.unknown += tally.windows;
                continue;
            }
            let content = Owned { media_id, collection: name.to_owned(), plan: plans[plan as usize].clone() };
            let detail =
                format!("{} records of plan {:?}, which the ledger does not know", tally.windows, content.plan);
            self.differs(DifferenceKind::UnknownPlan, Some(&content), name, detail).await?;
            if let (Some(store), true) = (store, self.repair.is_some()) {
                removed += store.delete(&Selection::plan(media_id, &content.plan)).await?;
            }
        }
        if let (Some(store), true) = (store, removed > 0) {
            store.flush().await?;
        }
        Ok(())
    }

    async fn files_without_claim(&mut self) -> Result<(), ArchiveError> {
        let files = self.archive.ledger.files_without_claim().await?;
        for file in files {
            self.tell(Difference {
                kind: DifferenceKind::NoRecords,
                media_id: file.media_id.or(file.next_media_id),
                path: Some(file.path.clone()),
                collection: Some(file.collection.clone()),
                detail: "the ledger has no records for this path's content".to_owned(),
                repaired: self.repair.is_some(),
            });
            if self.repair.is_some() {
                self.archive.ledger.forget_files(vec![(file.path, file.collection)]).await?;
            }
        }
        Ok(())
    }

    async fn stray_pictures(&mut self) -> Result<(), ArchiveError> {
        let thumbs = &self.archive.thumbs;
        let disk = |error| ArchiveError::Disk { path: thumbs.dir().to_path_buf(), error };
        for found in thumbs.list().map_err(disk)? {
            let found = found.map_err(disk)?;
            if self.is_wanted(&found).await? {
                continue;
            }
            self.tell(Difference {
                kind: DifferenceKind::StrayPictures,
                media_id: Some(found.key.media),
                path: None,
                collection: Some(found.key.collection.clone()),
                detail: format!("{} belongs to no records", found.path.display()),
                repaired: self.repair.is_some(),
            });
            if self.repair.is_some() {
                thumbs.remove_found(&found).map_err(disk)?;
            }
        }
        Ok(())
    }

    /// Recordings of streams that the ledger never heard of may be those of a lost ledger.
    async fn stray_footage(&mut self) -> Result<(), ArchiveError> {
        let footage = &self.archive.footage;
        let disk = |error| ArchiveError::Disk { path: footage.dir().to_path_buf(), error };
        let known = self.archive.ledger.streams().await?;
        for (hour, bytes) in footage.hours().map_err(disk)? {
            let is_stray = known.iter().any(|(source, epoch)| *source == hour.source && *epoch != hour.epoch)
                && !known.contains(&(hour.source.clone(), hour.epoch))
                && self.archive.ledger.live(hour.media_id()).await?.is_none();
            if !is_stray {
                continue;
            }
            self.tell(Difference {
                kind: DifferenceKind::StrayFootage,
                media_id: Some(hour.media_id()),
                path: Some(hour.path()),
                collection: None,
                detail: format!("{bytes} bytes of footage belong to no hour that is indexed"),
                repaired: self.repair.is_some(),
            });
            if self.repair.is_some() {
                footage.remove(&hour).map_err(disk)?;
            }
        }
        Ok(())
    }

    /// Whether a pack belongs to records. Packs of media that the ledger does not know are kept like their records.
    async fn is_wanted(&self, found: &Found) -> Result<bool, LedgerError> {
        let rows = self.archive.ledger.progress(found.key.media, &found.key.collection).await?;
        let claims = |row: &Progress| row.plan == found.key.plan && (row.state != ProgressState::Done || !found.part);
        Ok(rows.is_empty() || rows.iter().any(claims))
    }

    async fn missing(&mut self) -> Result<(), ArchiveError> {
        let mut after = PathBuf::new();
        loop {
            let paths = self.archive.ledger.paths(&after, PAGE).await?;
            let Some(last) = paths.last() else { return Ok(()) };
            after.clone_from(last);
            let gone = tokio::task::spawn_blocking(move || {
                let is_gone = |path: &PathBuf| !is_live(path) && std::fs::symlink_metadata(path as &Path).is_err();
                paths.into_iter().filter(is_gone).collect::<Vec<_>>()
            });
            self.summary.missing.extend(gone.await.unwrap_or_default());
        }
    }
}
