//! Which files show a medium, and whether they are still what was indexed.
//!
//! What must hold: a path comes from the ledger and from nowhere else. A file counts only if its size and time are those that
//! the ledger has, if no folder of its path has become a link to elsewhere since, and, where its name is a link itself, if
//! what it leads to is the medium by its content.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{PlayError, Span, blocking};
use crate::archive::Archive;
use crate::decode::cut::Piece;
use crate::ledger::{FileRow, FileState};
use crate::source::stream::LiveHour;
use crate::source::{MediaId, Stat, media_id};

/// A file of a medium, open.
#[derive(Debug)]
pub struct MediaFile {
    pub path: PathBuf,
    /// Whatever becomes of the path.
    pub file: File,
    pub(super) stat: Stat,
}

/// What a span is cut out of.
#[derive(Debug)]
pub(super) struct Footing {
    pub(super) pieces: Vec<Piece>,
    /// What the medium's zero is on the clock of the pieces.
    pub(super) zero: Duration,
    /// Of each piece.
    pub(super) stats: Vec<Stat>,
}

pub(super) async fn footing(archive: &Archive, media: MediaId, span: Span) -> Result<Footing, PlayError> {
    if let Some((hour, _)) = archive.ledger.live(media).await? {
        let footage = archive.footage.clone();
        let dir = footage.dir().to_path_buf();
        return blocking(move || recorded(&footage, &hour, span))
            .await
            .map_err(|error| PlayError::Disk { path: dir, error })?
            .ok_or_else(|| {
                let remedy = "was the stream recorded (record = true in its [[source]] table), and is it still kept?";
                PlayError::NoFootage(format!("there is no recording of this moment: {remedy}"))
            });
    }
    let MediaFile { path, stat, .. } = file(archive, media).await?;
    let pieces = vec![Piece { path, begins: Duration::ZERO }];
    Ok(Footing { pieces, zero: Duration::ZERO, stats: vec![stat] })
}

/// The segments that show this span of an hour, on the clock of the world.
fn recorded(footage: &crate::footage::Footage, hour: &LiveHour, span: Span) -> io::Result<Option<Footing>> {
    let zero = hour.begins();
    let (start, end) = (zero + span.start, zero + span.end);
    let (mut pieces, mut stats) = (Vec::new(), Vec::new());
    for segment in footage.of_hour(hour)? {
        if segment.start < end && segment.end > start {
            stats.push(Stat::of(&segment.path)?);
            pieces.push(Piece { path: segment.path, begins: segment.start });
        }
    }
    Ok((!pieces.is_empty()).then_some(Footing { pieces, zero, stats }))
}

/// A file of this medium that is what it was when it was indexed.
pub(super) async fn file(archive: &Archive, media: MediaId) -> Result<MediaFile, PlayError> {
    let rows = archive.ledger.files_of(media).await?;
    blocking(move || {
        let mut problem = None;
        // A path may be there once for each collection.
        for row in rows.iter().filter(|row| row.state == FileState::Indexed && row.media_id == Some(media)) {
            match opened(row, media) {
                Ok(file) => return Ok(file),
                Err(refusal) => problem = problem.or(Some((row.path.clone(), refusal))),
            }
        }
        Err(PlayError::NoFootage(match problem {
            Some((path, refusal)) => format!("{}: {refusal}", path.display()),
            None => "no file shows it any more: search again".to_owned(),
        }))
    })
    .await
}

fn opened(row: &FileRow, media: MediaId) -> Result<MediaFile, String> {
    let path = &row.path;
    let readable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "it is no longer there (is its drive away?)".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    let elsewhere = "its path leads elsewhere since it was indexed: index it again".to_owned();
    let folder = path.parent().ok_or_else(|| elsewhere.clone())?;
    if !path.is_absolute() || folder.canonicalize().map_err(readable)? != folder {
        return Err(elsewhere);
    }
    let file = File::open(path).map_err(readable)?;
    let metadata = file.metadata().map_err(readable)?;
    let stat = Stat::of_metadata(&metadata);
    if !metadata.is_file() || stat != row.stat {
        return Err("it changed since it was indexed: index it again".to_owned());
    }
    if is_link(path).map_err(readable)? && media_id(path).map_err(readable)? != media {
        return Err(elsewhere);
    }
    Ok(MediaFile { path: path.clone(), file, stat })
}

fn is_link(path: &Path) -> io::Result<bool> {
    Ok(std::fs::symlink_metadata(path)?.is_symlink())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::ledger::Said;

    fn row(path: &Path) -> (FileRow, MediaId) {
        let media = media_id(path).unwrap();
        let row = FileRow {
            path: path.to_path_buf(),
            collection: String::new(),
            stat: Stat::of(path).unwrap(),
            state: FileState::Indexed,
            media_id: Some(media),
            next_media_id: None,
            failure: None,
            tries: 0,
            said: Said::default(),
        };
        (row, media)
    }

    #[test]
    fn only_what_was_indexed_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (folder, secret) = (root.join("videos"), root.join("secret"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(&secret).unwrap();
        let (video, other) = (folder.join("a.mp4"), secret.join("a.mp4"));
        std::fs::write(&video, b"video").unwrap();
        let (indexed, media) = row(&video);
        assert_eq!(opened(&indexed, media).unwrap().path, video);
        // As large and as old, elsewhere.
        std::fs::write(&other, b"other").unwrap();
        let time = std::fs::metadata(&video).unwrap().modified().unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        std::fs::remove_file(&video).unwrap();
        symlink(&other, &video).unwrap();
        assert!(opened(&indexed, media).unwrap_err().contains("leads elsewhere"), "the file became a link");
        std::fs::remove_dir_all(&folder).unwrap();
        symlink(&secret, &folder).unwrap();
        assert!(opened(&indexed, media).unwrap_err().contains("leads elsewhere"), "a folder became a link");
        std::fs::remove_file(&folder).unwrap();
        assert!(opened(&indexed, media).unwrap_err().contains("no longer there"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&video, b"changed").unwrap();
        assert!(opened(&indexed, media).unwrap_err().contains("changed since"));
    }

    #[test]
    fn a_link_that_was_indexed_may_lead_where_it_led() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (real, link) = (root.join("real.mp4"), root.join("link.mp4"));
        std::fs::write(&real, b"video").unwrap();
        symlink(&real, &link).unwrap();
        let (indexed, media) = row(&link);
        assert!(opened(&indexed, media).is_ok());
    }
}
