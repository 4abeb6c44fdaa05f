//! Finds files by path: exactly, by a pattern, or by a name that is the same in another Unicode normalization.
//!
//! Patterns are looked up by their trigrams (an FTS5 index with the trigram tokenizer), so that only paths that have
//! all of them are read and compared.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, is_nfc_quick, is_nfd_quick};

use super::rows::{self, FILE};
use super::{FileRow, Ledger, Result};
use crate::source::MediaId;
use crate::source::glob::{PathGlob, composed};

/// Most trigrams in one lookup; more would hardly narrow further.
const MOST_TRIGRAMS: usize = 24;

impl Ledger {
    /// The rows of this path in every collection; if there is none, those of paths that are equal after normalization
    /// ([`composed`]).
    pub async fn files_at(&self, path: &Path) -> Result<Vec<FileRow>> {
        let path = path.to_path_buf();
        self.read(move |db| {
            let exact = at(db, &path)?;
            if !exact.is_empty() {
                return Ok(exact);
            }
            let wanted = composed(&path);
            let mut alike = Vec::new();
            let names = wanted.iter().filter_map(|name| name.to_str());
            candidates(db, &trigrams(names), |found| {
                if composed(&found) == wanted {
                    alike.push(found);
                }
                Ok(())
            })?;
            let rows = alike.iter().map(|found| at(db, found)).collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(rows.into_iter().flatten().collect())
        })
        .await
    }

    /// The media that searches in this collection show for matching paths.
    pub async fn media_at(&self, collection: &str, glob: PathGlob) -> Result<Vec<MediaId>> {
        let collection = collection.to_owned();
        self.read(move |db| {
            let mut shown = db.prepare_cached(
                "SELECT coalesce(media_id, next_media_id) FROM files WHERE path = ? AND collection = ?",
            )?;
            let mut media = BTreeSet::new();
            let literals = glob.literals();
            candidates(db, &trigrams(literals.iter().map(String::as_str)), |path| {
                if glob.matches(&path) {
                    for found in shown
                        .query_map(params![path.as_os_str().as_bytes(), collection], |row| row.get::<_, Option<_>>(0))?
                    {
                        media.extend(found?.map(MediaId));
                    }
                }
                Ok(())
            })?;
            Ok(media.into_iter().collect())
        })
        .await
    }
}

fn at(db: &Connection, path: &Path) -> rusqlite::Result<Vec<FileRow>> {
    db.prepare_cached(&format!("SELECT {FILE} FROM files WHERE path = ? ORDER BY collection"))?
        .query_map([path.as_os_str().as_bytes()], rows::file)?
        .collect()
}

/// Calls `each` with every path that has all of these trigrams, or with every path if none is given.
fn candidates(
    db: &Connection,
    trigrams: &BTreeSet<String>,
    mut each: impl FnMut(PathBuf) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let quoted: Vec<String> = trigrams.iter().map(|group| format!("\"{}\"", group.replace('"', "\"\""))).collect();
    let (sql, wanted) = if quoted.is_empty() {
        ("SELECT path FROM paths", None)
    } else {
        let sql = "SELECT p.path FROM path_trigrams t JOIN paths p ON p.id = t.rowid WHERE path_trigrams MATCH ?";
        (sql, Some(quoted.join(" AND ")))
    };
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(wanted))?;
    while let Some(row) = rows.next()? {
        each(rows::path(row, 0)?)?;
    }
    Ok(())
}

/// The trigrams of these texts, without characters that Unicode normalization may change: the index holds paths as they
/// are on disk.
fn trigrams<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut trigrams = BTreeSet::new();
    for text in texts {
        let characters: Vec<char> = text.chars().collect();
        let groups = characters.windows(3).filter(|group| group.iter().all(|character| has_one_form(*character)));
        trigrams.extend(groups.map(|group| group.iter().collect::<String>()));
    }
    // Evenly spread: the trigrams of a common parent folder narrow least.
    let step = trigrams.len().div_ceil(MOST_TRIGRAMS).max(1);
    trigrams.into_iter().step_by(step).collect()
}

/// No path has the character 0, and a query of the index would end there.
fn has_one_form(character: char) -> bool {
    character != '\0'
        && canonical_combining_class(character) == 0
        && is_nfd_quick(std::iter::once(character)) == IsNormalized::Yes
        && is_nfc_quick(std::iter::once(character)) == IsNormalized::Yes
}
