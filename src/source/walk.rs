//! The files below the paths a person names.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// What was found, in the order of names.
#[derive(Debug, Default)]
pub struct Found {
    /// Absolute paths of files to try.
    pub files: Vec<PathBuf>,
    /// Files inside folders that are not media; not even tried.
    pub skipped: u64,
    /// What could not be looked at, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Links that lead back to a folder above them; what they lead to is walked once all the same.
    pub loops: Vec<PathBuf>,
}

const VIDEO: &[&str] = &[
    "3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "h264", "h265", "hevc", "ivf", "m1v", "m2t", "m2ts",
    "m2v", "m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "ogm", "ogv", "qt", "rm",
    "rmvb", "ts", "vob", "webm", "wmv", "y4m",
];

/// Looks at each path: a file is taken whatever its name, a folder is walked and only files that look like video are
/// taken from it (by name, or by their first bytes where the name says nothing). Links are followed, loops reported.
pub fn walk(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        match std::path::absolute(path) {
            Ok(absolute) => walk_one(&absolute, &mut found),
            Err(error) => found.unreadable.push((path.clone(), error.to_string())),
        }
    }
    found.files.sort();
    found.files.dedup();
    found
}

fn walk_one(root: &Path, found: &mut Found) {
    let entries = WalkDir::new(root)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.'));
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                match error.loop_ancestor() {
                    Some(_) => found.loops.push(path),
                    None => found.unreadable.push((path, io_reason(&error))),
                }
                continue;
            }
        };
        if entry.file_type().is_dir() {
            continue;
        }
        let path = clean(entry.path());
        if entry.depth() == 0 || entry.file_type().is_file() && looks_like_video(&path) {
            found.files.push(path);
        } else {
            found.skipped += 1;
        }
    }
}

fn io_reason(error: &walkdir::Error) -> String {
    match error.io_error().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::NotFound) => "no such file or folder".to_owned(),
        Some(std::io::ErrorKind::PermissionDenied) => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// `std::path::absolute` keeps `..`; resolving the folder gives one path per file.
fn clean(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

fn looks_like_video(path: &Path) -> bool {
    match path.extension() {
        Some(extension) => VIDEO.contains(&extension.to_string_lossy().to_lowercase().as_str()),
        None => starts_like_video(path),
    }
}

/// Files without an extension: the containers' own marks.
fn starts_like_video(path: &Path) -> bool {
    let mut head = [0; 12];
    if File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_err() {
        return false;
    }
    let matroska = head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]);
    let mp4 = &head[4..8] == b"ftyp";
    let avi = head.starts_with(b"RIFF") && &head[8..12] == b"AVI ";
    let mpeg_ps = head.starts_with(&[0, 0, 1, 0xba]);
    matroska || mp4 || avi || mpeg_ps || head.starts_with(b"FLV\x01")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_are_filtered_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["b.MP4", "a.mkv", "notes.txt", ".hidden.mp4", "odd"] {
            std::fs::write(root.join(name), b"....ftypisom").unwrap();
        }
        let found = walk(std::slice::from_ref(&root));
        assert_eq!(found.files, [root.join("a.mkv"), root.join("b.MP4"), root.join("odd")]);
        assert_eq!(found.skipped, 1);
        assert_eq!(walk(&[root.join("notes.txt")]).files, [root.join("notes.txt")]);
    }

    #[test]
    fn loops_and_missing_paths_are_reported_and_stop_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("sub")).unwrap();
        symlink(&root, root.join("sub/back")).unwrap();
        std::fs::write(root.join("sub/v.mp4"), b"").unwrap();
        let found = walk(&[root.join("missing.mp4"), root.clone()]);
        assert_eq!(found.files, [root.join("sub/v.mp4")]);
        assert_eq!(found.unreadable, [(root.join("missing.mp4"), "no such file or folder".to_owned())]);
        assert_eq!(found.loops, [root.join("sub/back")]);
    }
}
