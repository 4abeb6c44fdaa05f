//! Which content each path shows: paths are begun, finished, failed or forgotten, and contents that no path shows any
//! more are set to leaving.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::progress::{Retire, insert_writing, read_progress, release, retire};
use super::rows::{self, FILE, from_json, to_json, to_word};
use super::{Failure, FileRow, FileState, Ledger, MediaRow, Owned, Progress, ProgressState, Result, Said};
use crate::decode::Probe;
use crate::source::{MediaId, Stat};

/// How often a file that failed is tried again by itself, as long as it does not change.
const TRIES: u32 = 2;

/// What to do for the content at a path.
#[derive(Debug, PartialEq)]
pub enum Began {
    /// All of its records are already in the store; the path shows it now.
    Known,
    /// It must be written, starting at the window where an earlier run stopped.
    Writing(Box<Writing>),
    /// Records of the same plan are being deleted: begin again when they are gone.
    Leaving(Owned),
}

#[derive(Debug, PartialEq)]
pub struct Writing {
    pub progress: Progress,
    pub row: MediaRow,
    /// Whether the ledger knew no records of it in this collection.
    pub is_new: bool,
}

impl Ledger {
    pub async fn file(&self, path: &Path, collection: &str) -> Result<Option<FileRow>> {
        let (path, collection) = (path.to_path_buf(), collection.to_owned());
        self.read(move |db| read_file(db, &path, &collection)).await
    }

    /// Number of paths, each counted once per collection.
    pub async fn count_files(&self) -> Result<u64> {
        self.read(|db| db.query_row("SELECT count(*) FROM files", [], |row| row.get(0))).await
    }

    /// Every path of this content, or from which it is being indexed, sorted by path.
    pub async fn files_of(&self, media: MediaId) -> Result<Vec<FileRow>> {
        self.read(move |db| {
            db.prepare_cached(&format!(
                "SELECT {FILE} FROM files WHERE media_id = ?1
                 UNION SELECT {FILE} FROM files WHERE next_media_id = ?1 ORDER BY path, collection"
            ))?
            .query_map([media.0], rows::file)?
            .collect()
        })
        .await
    }

    /// The rows that `wanted` chooses, in the order of paths, each with its progress: the finished one if there is one,
    /// else the one being written.
    pub async fn listing(&self, wanted: impl Fn(&FileRow) -> bool) -> Result<Vec<(FileRow, Option<Progress>)>> {
        // Read in pages: other readers get their turn, and only what is wanted is held in memory.
        const PAGE: usize = 1000;
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(rows) };
            after = Some((last.path.clone(), last.collection.clone()));
            rows.extend(page.into_iter().filter(|(file, _)| wanted(file)));
        }
    }

    /// The next rows after this one.
    pub async fn page(
        &self,
        after: Option<(PathBuf, String)>,
        limit: usize,
    ) -> Result<Vec<(FileRow, Option<Progress>)>> {
        let (path, collection) = after.unwrap_or_default();
        self.read(move |db| {
            let files: Vec<FileRow> = db
                .prepare_cached(&format!(
                    "SELECT {FILE} FROM files WHERE (path, collection) > (?, ?) ORDER BY path, collection LIMIT ?"
                ))?
                .query_map(params![path.as_os_str().as_bytes(), collection, limit], rows::file)?
                .collect::<rusqlite::Result<_>>()?;
            let shown = |file: &FileRow| -> rusqlite::Result<Option<Progress>> {
                let Some(media) = file.media_id.or(file.next_media_id) else { return Ok(None) };
                let mut rows = read_progress(db, media, &file.collection)?;
                rows.retain(|progress| progress.state != ProgressState::Leaving);
                rows.sort_by_key(|progress| progress.state != ProgressState::Done);
                Ok(rows.into_iter().next())
            };
            let row = |file: FileRow| -> rusqlite::Result<_> {
                let progress = shown(&file)?;
                Ok((file, progress))
            };
            files.into_iter().map(row).collect()
        })
        .await
    }

    /// The medium of this path and what was said of it, if neither file nor plan changed since it was indexed.
    pub async fn unchanged(
        &self,
        path: &Path,
        stat: Stat,
        collection: &str,
        plan: &str,
    ) -> Result<Option<(MediaId, Said)>> {
        let (path, collection, plan) = (path.to_path_buf(), collection.to_owned(), plan.to_owned());
        self.read(move |db| {
            db.prepare_cached(
                "SELECT f.media_id, m.label, m.tags FROM files f JOIN media m USING (media_id)
                 JOIN progress p ON p.media_id = f.media_id AND p.collection = f.collection
                 WHERE f.path = ? AND f.collection = ? AND f.state = 'indexed' AND f.size = ? AND f.modified_ns = ?
                 AND p.plan = ? AND p.state = 'done'",
            )?
            .query_row(params![path.as_os_str().as_bytes(), collection, stat.size, stat.modified_ns, plan], |row| {
                Ok((MediaId(row.get(0)?), Said { label: row.get(1)?, tags: from_json(row, 2)? }))
            })
            .optional()
        })
        .await
    }

    /// Those of these files that are not indexed as they are now, under this plan and with what is said of them. A file
    /// that failed as it is now is not among them, unless another try may end differently.
    pub async fn outdated(
        &self,
        files: Vec<(PathBuf, Stat)>,
        collection: &str,
        plan: &str,
        said: &Said,
    ) -> Result<Vec<(PathBuf, Stat)>> {
        let (collection, plan, said) = (collection.to_owned(), plan.to_owned(), said.clone());
        self.read(move |db| {
            let mut outdated = Vec::new();
            for (path, stat) in files {
                let is_settled = match read_file(db, &path, &collection)? {
                    Some(file) if file.stat != stat => false,
                    Some(FileRow { failure: Some(failure), tries, .. }) => tries >= TRIES || !failure.kind.may_pass(),
                    Some(FileRow { state: FileState::Indexed, media_id: Some(media), .. }) => {
                        let of_content = read_media(db, media)?.unwrap_or_default().said;
                        said.clone().or(of_content.clone()) == of_content
                            && read_progress(db, media, &collection)?
                                .iter()
                                .any(|row| row.plan == plan && row.state == ProgressState::Done)
                    }
                    _ => false,
                };
                if !is_settled {
                    outdated.push((path, stat));
                }
            }
            Ok(outdated)
        })
        .await
    }

    /// Number of files below a folder, and how many of them failed.
    pub async fn count_below(&self, folder: &Path, collection: &str) -> Result<(u64, u64)> {
        let ((first, after), collection) = (below(folder), collection.to_owned());
        self.read(move |db| {
            db.prepare_cached(
                "SELECT count(*), count(*) FILTER (WHERE state = 'failed') FROM files
                 WHERE path >= ? AND path < ? AND collection = ?",
            )?
            .query_row(params![first, after, collection], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// The media that searches in this collection show for files below a folder, without those below `others`.
    pub async fn media_below(&self, folder: &Path, others: Vec<PathBuf>, collection: &str) -> Result<Vec<MediaId>> {
        let ((first, after), collection) = (below(folder), collection.to_owned());
        self.read(move |db| {
            let mut rows = db.prepare_cached(
                "SELECT path, coalesce(media_id, next_media_id) FROM files
                 WHERE path >= ? AND path < ? AND collection = ?",
            )?;
            let mut rows = rows.query(params![first, after, collection])?;
            let mut media = BTreeSet::new();
            while let Some(row) = rows.next()? {
                let (path, shown) = (rows::path(row, 0)?, row.get::<_, Option<_>>(1)?.map(MediaId));
                if !others.iter().any(|other| path.starts_with(other)) {
                    media.extend(shown);
                }
            }
            Ok(media.into_iter().collect())
        })
        .await
    }

    /// Records that a content was found at a path. `said` is what the user says of it now; where that is empty, label
    /// and tags are kept from the content, the path, or the content that the path showed before. `gone` are paths in
    /// this collection from which the content has vanished; if its records are complete, they are forgotten.
    pub async fn begin(
        &self,
        path: &Path,
        stat: Stat,
        content: Owned,
        said: Said,
        gone: Vec<PathBuf>,
    ) -> Result<Began> {
        let path = path.to_path_buf();
        self.write(move |db| {
            let Owned { media_id: media, collection, plan } = &content;
            let known = read_progress(db, *media, collection)?;
            let is_new = known.is_empty();
            let progress = known.into_iter().find(|row| row.plan == *plan);
            if progress.as_ref().is_some_and(|progress| progress.state == ProgressState::Leaving) {
                return Ok(Began::Leaving(content));
            }
            let before = read_file(db, &path, collection)?;
            let row = describe(db, *media, before.as_ref(), said)?;
            match progress {
                Some(progress) if progress.state == ProgressState::Done => {
                    put_indexed(db, &path, stat, *media, collection)?;
                    release_replaced(db, before.as_ref(), *media)?;
                    forget(db, &gone, collection)?;
                    // Nobody wants another plan any more under which this path was being indexed.
                    release(db, *media, collection)?;
                    Ok(Began::Known)
                }
                progress => {
                    let progress = match progress {
                        Some(progress) => progress,
                        None => insert_writing(db, &content)?,
                    };
                    db.execute(
                        "INSERT INTO files (path, collection, size, modified_ns, state, next_media_id)
                         VALUES (?1, ?2, ?3, ?4, 'pending', ?5)
                         ON CONFLICT (path, collection) DO UPDATE SET state = 'pending', kind = NULL, reason = NULL,
                         next_media_id = ?5, label = NULL, tags = '[]'",
                        params![path.as_os_str().as_bytes(), collection, stat.size, stat.modified_ns, media.0],
                    )?;
                    let replaced = before.and_then(|file| file.next_media_id).filter(|next| next != media);
                    if let Some(next) = replaced {
                        release(db, next, collection)?;
                    }
                    Ok(Began::Writing(Box::new(Writing { progress, row, is_new })))
                }
            }
        })
        .await
    }

    /// Call when all records of a medium are in the store: the path shows it now, its other plans are set to leaving,
    /// and the paths in `gone` are forgotten.
    pub async fn finish(
        &self,
        path: &Path,
        stat: Stat,
        content: Owned,
        done: Progress,
        gone: Vec<PathBuf>,
    ) -> Result<()> {
        let path = path.to_path_buf();
        self.write(move |db| {
            let Owned { media_id: media, collection, plan } = &content;
            retire(db, *media, collection, &Retire::Except(plan))?;
            db.execute(
                "UPDATE progress SET state = 'done', resume_at = 0, windows = ?4, ids = ?5, last_picture_ns = ?6,
                 problems = ?7 WHERE media_id = ?1 AND collection = ?2 AND plan = ?3",
                params![
                    media.0,
                    collection,
                    plan,
                    done.tally.windows,
                    done.tally.ids.to_be_bytes(),
                    done.last_picture.map(|time| time.as_nanos() as u64),
                    to_json(&done.problems)?
                ],
            )?;
            let before = read_file(db, &path, collection)?;
            put_indexed(db, &path, stat, *media, collection)?;
            forget(db, &gone, collection)?;
            release_replaced(db, before.as_ref(), *media)
        })
        .await
    }

    /// Records that a path could not be indexed. The content it showed so far stays; what was written of its new
    /// content is set to leaving.
    pub async fn fail(
        &self,
        path: &Path,
        collection: &str,
        stat: Option<Stat>,
        failure: Failure,
        said: Said,
    ) -> Result<()> {
        let (path, collection) = (path.to_path_buf(), collection.to_owned());
        let stat = stat.unwrap_or(Stat { size: 0, modified_ns: 0 });
        self.write(move |db| {
            let before = read_file(db, &path, &collection)?;
            let next = before.as_ref().and_then(|file| file.next_media_id);
            let of_next = next.map(|next| read_media(db, next)).transpose()?.flatten().unwrap_or_default().said;
            let said = said.or(before.map(|file| file.said).unwrap_or_default()).or(of_next);
            db.execute(
                "INSERT INTO files (path, collection, size, modified_ns, state, kind, reason, tries, label, tags)
                 VALUES (?1, ?2, ?3, ?4, 'failed', ?5, ?6, 1, ?7, ?8)
                 ON CONFLICT (path, collection) DO UPDATE SET size = ?3, modified_ns = ?4, state = 'failed', kind = ?5,
                 reason = ?6, tries = tries + 1, label = ?7, tags = ?8, next_media_id = NULL",
                params![
                    path.as_os_str().as_bytes(),
                    collection,
                    stat.size,
                    stat.modified_ns,
                    to_word(failure.kind)?,
                    failure.reason,
                    said.label,
                    to_json(&said.tags)?
                ],
            )?;
            match next {
                Some(next) => release(db, next, &collection),
                None => Ok(()),
            }
        })
        .await
    }

    /// Forgets these rows. The records of a content that loses its last path are set to leaving.
    pub async fn forget_files(&self, files: Vec<(PathBuf, String)>) -> Result<()> {
        self.write(move |db| {
            for (path, collection) in files {
                forget(db, &[path], &collection)?;
            }
            Ok(())
        })
        .await
    }

    pub async fn media(&self, media: MediaId) -> Result<Option<MediaRow>> {
        self.read(move |db| read_media(db, media)).await
    }

    /// Saves what the container's header says.
    pub async fn probed(&self, media: MediaId, probe: Probe) -> Result<()> {
        self.write(move |db| {
            let probe = to_json(&probe)?;
            db.execute("UPDATE media SET probe = ? WHERE media_id = ?", params![probe, media.0]).map(drop)
        })
        .await
    }

    /// Changes label and tags of a known medium. Its records get them later ([`Ledger::to_annotate`]).
    pub async fn say(&self, media: MediaId, said: Said) -> Result<()> {
        self.write(move |db| put_said(db, media, &said, false)).await
    }

    /// Takes over label and tags from records that a lost ledger left in the store (`of_records`), where this ledger
    /// has none.
    pub async fn say_as_records(&self, content: Owned, of_records: Said) -> Result<()> {
        self.write(move |db| {
            let Owned { media_id: media, collection, .. } = content;
            let known = read_media(db, media)?.unwrap_or_default().said;
            let said = known.clone().or(of_records.clone());
            let others: bool = db.query_row(
                "SELECT EXISTS (SELECT 1 FROM progress WHERE media_id = ? AND collection <> ?)",
                params![media.0, collection],
                |row| row.get(0),
            )?;
            // Records in other collections say what this ledger knew.
            put_said(db, media, &said, said == of_records && (said == known || !others))
        })
        .await
    }

    /// Media whose records do not have their current label and tags yet, with the collections that hold them.
    pub async fn to_annotate(&self) -> Result<Vec<(MediaId, Said, Vec<String>)>> {
        self.read(|db| {
            let media: Vec<(MediaId, Said)> = db
                .prepare_cached("SELECT media_id, label, tags FROM media WHERE annotated = 0")?
                .query_map([], |row| {
                    Ok((MediaId(row.get(0)?), Said { label: row.get(1)?, tags: from_json(row, 2)? }))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let collections = |media: MediaId| -> rusqlite::Result<Vec<String>> {
                db.prepare_cached(
                    "SELECT DISTINCT collection FROM progress WHERE media_id = ? AND state <> 'leaving' ORDER BY collection",
                )?
                .query_map([media.0], |row| row.get(0))?
                .collect()
            };
            media.into_iter().map(|(id, said)| Ok((id, said, collections(id)?))).collect()
        })
        .await
    }

    /// Call when the records of a medium have this label and these tags.
    pub async fn annotated(&self, media: MediaId, said: Said) -> Result<()> {
        self.write(move |db| {
            db.execute(
                "UPDATE media SET annotated = 1 WHERE media_id = ? AND label IS ? AND tags = ?",
                params![media.0, said.label, to_json(&said.tags)?],
            )
            .map(drop)
        })
        .await
    }

    /// Remembers which bundle a collection belongs to.
    pub async fn add_collection(&self, name: &str, bundle: &str) -> Result<()> {
        let (name, bundle) = (name.to_owned(), bundle.to_owned());
        self.write(move |db| {
            db.execute(
                "INSERT INTO collections VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET bundle = ?2",
                [name, bundle],
            )
            .map(drop)
        })
        .await
    }

    /// Names of all collections ever used here, each with its bundle.
    pub async fn collections(&self) -> Result<Vec<(String, String)>> {
        self.read(|db| {
            db.prepare_cached("SELECT name, bundle FROM collections ORDER BY name")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .await
    }
}

/// The first path below a folder, and what comes behind the last, in the order of bytes.
fn below(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut first = folder.as_os_str().as_bytes().to_vec();
    while first.last() == Some(&b'/') {
        first.pop();
    }
    // The byte behind '/' begins what comes after everything below the folder.
    let after = [first.as_slice(), b"0"].concat();
    first.push(b'/');
    (first, after)
}

pub(super) fn read_file(db: &Connection, path: &Path, collection: &str) -> rusqlite::Result<Option<FileRow>> {
    db.prepare_cached(&format!("SELECT {FILE} FROM files WHERE path = ? AND collection = ?"))?
        .query_row(params![path.as_os_str().as_bytes(), collection], rows::file)
        .optional()
}

fn forget(db: &Connection, paths: &[PathBuf], collection: &str) -> rusqlite::Result<()> {
    for path in paths {
        let Some(file) = read_file(db, path, collection)? else { continue };
        db.execute(
            "DELETE FROM files WHERE path = ? AND collection = ?",
            params![path.as_os_str().as_bytes(), collection],
        )?;
        for media in file.media_id.into_iter().chain(file.next_media_id) {
            release(db, media, collection)?;
        }
    }
    Ok(())
}

fn read_media(db: &Connection, media: MediaId) -> rusqlite::Result<Option<MediaRow>> {
    db.prepare_cached("SELECT label, tags, probe FROM media WHERE media_id = ?")?
        .query_row([media.0], |row| {
            let probe: Option<String> = row.get(2)?;
            // A probe that another version wrote is made anew when its file is indexed again.
            let probe = probe.and_then(|probe| serde_json::from_str(&probe).ok());
            Ok(MediaRow { said: Said { label: row.get(0)?, tags: from_json(row, 1)? }, probe })
        })
        .optional()
}

/// Finds or inserts the row of a content, and updates its label and tags.
fn describe(db: &Connection, media: MediaId, file: Option<&FileRow>, said: Said) -> rusqlite::Result<MediaRow> {
    let known = read_media(db, media)?;
    let of_path = file.map(|file| file.said.clone()).unwrap_or_default();
    let of_content = match (&known, file.and_then(|file| file.media_id.or(file.next_media_id))) {
        (Some(row), _) => row.said.clone(),
        (None, Some(before)) => read_media(db, before)?.unwrap_or_default().said,
        (None, None) => Said::default(),
    };
    let said = said.or(of_path).or(of_content);
    match known {
        Some(row) => {
            if row.said != said {
                put_said(db, media, &said, false)?;
            }
            Ok(MediaRow { said, ..row })
        }
        None => {
            db.execute(
                "INSERT INTO media (media_id, label, tags) VALUES (?, ?, ?)",
                params![media.0, said.label, to_json(&said.tags)?],
            )?;
            Ok(MediaRow { said, probe: None })
        }
    }
}

fn put_said(db: &Connection, media: MediaId, said: &Said, records_say_so: bool) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE media SET label = ?, tags = ?, annotated = min(annotated, ?) WHERE media_id = ?",
        params![said.label, to_json(&said.tags)?, records_say_so, media.0],
    )
    .map(drop)
}

fn put_indexed(db: &Connection, path: &Path, stat: Stat, media: MediaId, collection: &str) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO files (path, collection, size, modified_ns, state, media_id)
         VALUES (?, ?, ?, ?, 'indexed', ?)",
        params![path.as_os_str().as_bytes(), collection, stat.size, stat.modified_ns, media.0],
    )
    .map(drop)
}

/// Releases the contents that a path showed, or was being indexed with, before `media`.
fn release_replaced(db: &Connection, before: Option<&FileRow>, media: MediaId) -> rusqlite::Result<()> {
    let Some(file) = before else { return Ok(()) };
    for replaced in file.media_id.into_iter().chain(file.next_media_id).filter(|replaced| *replaced != media) {
        release(db, replaced, &file.collection)?;
    }
    Ok(())
}
