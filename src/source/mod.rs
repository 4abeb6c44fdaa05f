//! Video files: finding them below a path, the identity of their content, their URIs, and patterns over their paths.
//!
//! [`walk`] looks through paths once; [`watch`] goes on looking at a folder ([`folder`] says which of its files count) and
//! tells of files that are complete ([`settle`]). [`stream`] knows the addresses of live streams and the names of their media.

pub mod folder;
pub mod glob;
pub mod names;
pub mod settle;
pub mod stream;
pub mod walk;
pub mod watch;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Identity of a medium, derived from its content: independent of its path, and the same in every data folder.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct MediaId(pub Uuid);

impl std::fmt::Display for MediaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a source is doing that is watched for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// The folder is there, and changes in it are noticed.
    Watching,
    /// The folder is not there, such as on a drive that is not mounted.
    Away,
    /// The stream was called and has not shown a frame yet.
    Connecting,
    /// Its frames come.
    Live,
    /// It is connected, and no frame has come for too long.
    Stalled,
    /// It could not be reached or has ended; it is called again after a while.
    BackingOff,
    /// It cannot work with these settings or this installation, so it is not called again before they change.
    Failed,
    /// Somebody paused it, or nothing is stored at the moment because somebody checks or removes media.
    Paused,
}

/// Namespace of media ids (UUIDv5).
const MEDIA: Uuid = Uuid::from_u128(0x9f0f_3c1e_6a52_5a0b_8d0e_2f7c_11aa_64d1);

/// Up to this size in bytes a file's identity covers every byte; of larger files it covers [`SAMPLES`] blocks of
/// [`SAMPLE_BYTES`] bytes spread evenly, and the size.
const HASHED_WHOLE: u64 = 64 << 20;
const SAMPLES: u64 = 64;
const SAMPLE_BYTES: u64 = 256 << 10;

/// Size in bytes and modification time: tells cheaply whether a file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub size: u64,
    pub modified_ns: i64,
}

impl Stat {
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::of_metadata(&std::fs::metadata(path)?))
    }

    pub fn of_metadata(metadata: &std::fs::Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        }
    }
}

/// Reads a file and returns the identity of its content.
pub fn media_id(path: &Path) -> io::Result<MediaId> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hash = Sha256::new();
    hash.update(size.to_le_bytes());
    let mut block = vec![0; SAMPLE_BYTES as usize];
    if size <= HASHED_WHOLE {
        loop {
            match file.read(&mut block)? {
                0 => break,
                n => hash.update(&block[..n]),
            }
        }
    } else {
        for i in 0..SAMPLES {
            file.seek(SeekFrom::Start((size - SAMPLE_BYTES) * i / (SAMPLES - 1)))?;
            file.read_exact(&mut block)?;
            hash.update(&block);
        }
    }
    Ok(MediaId(Uuid::new_v5(&MEDIA, &hash.finalize())))
}

/// Characters to encode: all but unreserved ones and the path separator.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The `file://` URI of an absolute path, exact even if the path is not UTF-8.
pub fn file_uri(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), PATH))
}

/// The path of a `file://` URI; `None` if it names another machine, or is not a `file://` URI of an absolute path.
pub fn path_of_uri(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("file://")?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let bytes = percent_decode_str(path).collect::<Vec<u8>>();
    bytes.starts_with(b"/").then(|| PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Write;

    use super::*;

    #[test]
    fn identity_is_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, b"same").unwrap();
        std::fs::write(&b, b"same").unwrap();
        assert_eq!(media_id(&a).unwrap(), media_id(&b).unwrap());
        std::fs::write(&b, b"Same").unwrap();
        assert_ne!(media_id(&a).unwrap(), media_id(&b).unwrap());
    }

    #[test]
    fn large_files_are_told_apart_by_size_and_samples() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        let mut file = File::create(&path).unwrap();
        file.set_len(HASHED_WHOLE + 1000).unwrap();
        let empty = media_id(&path).unwrap();
        file.seek(SeekFrom::End(-1)).unwrap();
        file.write_all(b"x").unwrap();
        assert_ne!(empty, media_id(&path).unwrap(), "the last byte is covered");
        file.set_len(HASHED_WHOLE + 2000).unwrap();
        assert_ne!(empty, media_id(&path).unwrap());
    }

    #[test]
    fn uris_are_exact() {
        assert_eq!(file_uri(Path::new("/v/a b'\n.mp4")), "file:///v/a%20b%27%0A.mp4");
        assert_eq!(file_uri(Path::new(OsStr::from_bytes(b"/v/\xff.mp4"))), "file:///v/%FF.mp4");
        for path in [&b"/v/a b'\n.mp4"[..], b"/v/\xff.mp4"] {
            let path = Path::new(OsStr::from_bytes(path));
            assert_eq!(path_of_uri(&file_uri(path)).as_deref(), Some(path));
        }
        assert_eq!(path_of_uri("file://localhost/v/a.mp4"), Some("/v/a.mp4".into()));
        assert_eq!(path_of_uri("file://elsewhere/v/a.mp4"), None);
    }
}
