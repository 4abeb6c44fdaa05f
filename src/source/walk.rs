//! Finds the video files below given paths.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// The result of a walk; files are sorted.
#[derive(Debug, Default)]
pub struct Found {
    /// Absolute paths of files to try.
    pub files: Vec<PathBuf>,
    /// Number of files that do not look like video and are not tried.
    pub skipped: u64,
    /// Paths that could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Links to a folder above them. They are not followed.
    pub loops: Vec<PathBuf>,
}

/// Extensions of video files.
const VIDEO: &[&str] = &[
    "264", "265", "3g2", "3gp", "3gpp", "asf", "avc", "avi", "dav", "divx", "dv", "f4v", "flv", "gif", "h264", "h265",
    "hevc", "insv", "ivf", "lrv", "m1v", "m2t", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mkv", "mod", "mov", "mp4",
    "mpe", "mpeg", "mpg", "mts", "mxf", "nut", "obu", "ogm", "ogv", "qt", "rm", "rmvb", "tod", "trp", "tp", "ts",
    "vob", "vro", "webm", "wmv", "wtv", "y4m",
];
/// Extensions that other files have too, such as TypeScript programs and Go modules: these are not video if they hold
/// text.
const AMBIGUOUS: &[&str] =
    &["264", "265", "avc", "dav", "m2t", "mod", "mts", "obu", "qt", "rm", "tod", "tp", "trp", "ts"];
/// Bytes read to tell whether a file is text.
const LOOKED_AT: usize = 4096;

/// Walks each path. A file given directly is taken whatever its name, except text with a video extension. From folders,
/// only files that look like video by name and content are taken. Skipped files are logged with the reason. Links are
/// followed, loops are reported.
pub fn walk(paths: &[PathBuf]) -> Found {
    walk_some(paths, &|_| true)
}

/// The same, without what `keep` refuses of what lies below these paths, folders or files.
pub fn walk_some(paths: &[PathBuf], keep: &dyn Fn(&Path) -> bool) -> Found {
    let mut found = Found::default();
    for path in paths {
        match std::path::absolute(path) {
            Ok(absolute) => walk_one(&absolute, keep, &mut found),
            Err(error) => found.unreadable.push((path.clone(), error.to_string())),
        }
    }
    found.files.sort();
    found.files.dedup();
    found
}

fn walk_one(root: &Path, keep: &dyn Fn(&Path) -> bool, found: &mut Found) {
    let entries = WalkDir::new(root)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name()) && keep(entry.path()));
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
        let looks = if entry.depth() == 0 {
            not_text(&path)
        } else if entry.file_type().is_file() {
            looks_like_video(&path)
        } else {
            Err("no regular file")
        };
        match looks {
            Ok(()) => found.files.push(path),
            Err(reason) => {
                tracing::info!(path = %path.display(), reason, "skipped");
                found.skipped += 1;
            }
        }
    }
}

pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn io_reason(error: &walkdir::Error) -> String {
    match error.io_error().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::NotFound) => "no such file or folder".to_owned(),
        Some(std::io::ErrorKind::PermissionDenied) => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Resolves the folder, because `std::path::absolute` keeps `..`: this gives one path per file.
pub(super) fn clean(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

/// `Err` gives the reason why it does not.
pub(super) fn looks_like_video(path: &Path) -> Result<(), &'static str> {
    match ending(path) {
        Some(ending) if VIDEO.contains(&ending.as_str()) => not_text(path),
        Some(_) => Err("the name is none of a video"),
        None if starts_like_video(&head(path)) => Ok(()),
        None => Err("without an ending, and it does not begin like a video"),
    }
}

fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}

/// Fails if the file is text. Reads only files whose extension may be one of text files.
fn not_text(path: &Path) -> Result<(), &'static str> {
    let is_ambiguous = ending(path).is_some_and(|ending| AMBIGUOUS.contains(&ending.as_str()));
    if is_ambiguous && is_text(&head(path)) { Err("named like a video, but it holds text") } else { Ok(()) }
}

/// The first bytes of a file; empty if it cannot be read, which is reported when it is indexed.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(LOOKED_AT as u64).read_to_end(&mut head);
    }
    head
}

/// Whether these bytes are UTF-8 or UTF-16 text. A character may be cut off at the end.
fn is_text(bytes: &[u8]) -> bool {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !['\t', '\n', '\r', '\x0c'].contains(&c))
}

/// Whether the head has the magic number of a container, for files without an extension.
fn starts_like_video(head: &[u8]) -> bool {
    let marks: [(usize, &[u8]); 15] = [
        (0, &[0x1a, 0x45, 0xdf, 0xa3]), // Matroska
        (4, b"ftyp"),
        (4, b"moov"),
        (8, b"AVI "),
        (0, &[0, 0, 1, 0xba]), // MPEG program stream
        (0, &[0, 0, 1, 0xb3]), // MPEG video
        (0, b"FLV\x01"),
        (0, b"OggS"),
        (0, &[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11]), // ASF
        (0, b".RMF"),
        (0, b"DKIF"), // IVF
        (0, b"YUV4MPEG2 "),
        (0, b"nut/multimedia container"),
        (0, &[0x06, 0x0e, 0x2b, 0x34, 0x02, 0x05]), // MXF
        (0, b"GIF8"),
    ];
    marks.iter().any(|(at, mark)| head.get(*at..).is_some_and(|rest| rest.starts_with(mark)))
        || is_transport_stream(head)
}

/// Whether it is an MPEG transport stream: packets of 188 bytes, possibly preceded by a 4-byte time stamp or followed
/// by a 16-byte checksum.
fn is_transport_stream(head: &[u8]) -> bool {
    let fits = |(first, stride): (usize, usize)| (0..4).all(|n| head.get(first + n * stride) == Some(&0x47));
    [(0, 188), (4, 192), (0, 204)].into_iter().any(fits)
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
    fn text_that_is_named_like_video_is_skipped_and_video_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let packets = |before: usize| [vec![9; before], vec![0x47], vec![0xff; 187]].concat().repeat(5);
        let files: [(&str, &[u8]); 9] = [
            ("a.ts", b"export const x: number = 1;\n"),
            ("b.mts", "// caf\u{e9}\nexport default {}\n".as_bytes()),
            ("go.mod", b"module example\n\ngo 1.22\n"),
            ("c.ts", &packets(0)),
            ("d.mts", &packets(4)),
            ("capture", &packets(0)),
            ("damaged.ts", &[0; 300]),
            ("empty.ts", b""),
            ("e.264", &[0, 0, 0, 1, 0x67]),
        ];
        for (name, content) in files {
            std::fs::write(root.join(name), content).unwrap();
        }
        let found = walk(std::slice::from_ref(&root));
        let names = ["c.ts", "capture", "d.mts", "damaged.ts", "e.264", "empty.ts"];
        assert_eq!(found.files, names.map(|name| root.join(name)));
        assert_eq!(found.skipped, 3);
        // Also if it is given directly.
        let named = walk(&[root.join("a.ts")]);
        assert_eq!((named.files.len(), named.skipped), (0, 1));
    }

    #[test]
    fn a_character_cut_at_the_end_of_what_is_looked_at_is_text() {
        let mut text = "x".repeat(LOOKED_AT - 1).into_bytes();
        text.extend_from_slice("\u{e9}".as_bytes());
        assert!(is_text(&text[..LOOKED_AT]));
        assert!(!is_text(b"a\0b") && !is_text(b"\xff\x00") && !is_text(b""));
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
