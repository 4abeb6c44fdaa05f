//! Downloads one file of a hub into the cache: `DIR/PATH.part` while it arrives, `DIR/PATH` once its digest matches.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{StatusCode, header};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{Digest, Hub, HubError, RemoteFile, Repository};

/// Tries in a row without a new byte before giving up. The wait doubles after each.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(500);

impl Hub {
    /// Fetches the file into `dir` unless it is there, and returns its path. `arrived` is called with the number of
    /// bytes that are on disk.
    pub async fn fetch(
        &self,
        repository: &Repository,
        file: &RemoteFile,
        dir: &Path,
        arrived: &(dyn Fn(u64) + Sync),
    ) -> Result<PathBuf, HubError> {
        let target = dir.join(&file.path);
        let mut part = target.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let disk = |error| HubError::Disk { path: part.clone(), error };
        if target.is_file() && matches(&target, file).await.map_err(disk)?.is_ok() {
            arrived(file.bytes);
            return Ok(target);
        }
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(disk)?;
        }
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&part);
        let mut writer = open.map_err(disk)?;
        match writer.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HubError::Busy { path: part }),
            Err(TryLockError::Error(error)) => return Err(disk(error)),
        }
        let (mut tries, mut wait) = (0, FIRST_WAIT);
        loop {
            let before = writer.metadata().map_err(disk)?.len();
            match self.receive(repository, file, &mut writer, &part, arrived).await {
                Ok(()) => break,
                Err(error @ HubError::Unreachable { .. }) => {
                    let got_on = writer.metadata().map_err(disk)?.len() > before;
                    (tries, wait) = if got_on { (0, FIRST_WAIT) } else { (tries + 1, wait * 2) };
                    if tries == TRIES {
                        return Err(error);
                    }
                    tracing::debug!(file = file.path, %error, "trying again");
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
        writer.sync_all().map_err(disk)?;
        if let Err(found) = matches(&part, file).await.map_err(disk)? {
            let _ = std::fs::remove_file(&part);
            let (Digest::Sha256(expected) | Digest::GitBlob(expected)) = file.digest.clone();
            return Err(HubError::Digest { file: file.path.clone(), expected, found });
        }
        std::fs::rename(&part, &target).map_err(disk)?;
        Ok(target)
    }

    /// Requests the missing bytes and appends them.
    async fn receive(
        &self,
        repository: &Repository,
        file: &RemoteFile,
        writer: &mut File,
        part: &Path,
        arrived: &(dyn Fn(u64) + Sync),
    ) -> Result<(), HubError> {
        let disk = |error| HubError::Disk { path: part.to_path_buf(), error };
        let mut here = writer.seek(SeekFrom::End(0)).map_err(disk)?;
        if here > file.bytes {
            here = 0;
        }
        if here < file.bytes {
            let mut request = self.get(&format!("{}/resolve/{}/{}", repository.repo, repository.commit, file.path));
            if here > 0 {
                request = request.header(header::RANGE, format!("bytes={here}-"));
            }
            let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
            let mut answer = self.accept(&repository.repo, answer)?;
            if answer.status() != StatusCode::PARTIAL_CONTENT {
                // The server sends the whole file even if only a range was requested.
                here = 0;
            }
            writer.set_len(here).and_then(|()| writer.seek(SeekFrom::Start(here))).map_err(disk)?;
            arrived(here);
            while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
                writer.write_all(&chunk).map_err(disk)?;
                here += chunk.len() as u64;
                arrived(here);
            }
        }
        if here != file.bytes {
            let problem = format!("{} ended after {here} of {} bytes", file.path, file.bytes);
            return Err(HubError::Unreachable { endpoint: self.shown(), problem });
        }
        writer.set_len(here).map_err(disk)
    }
}

/// Compares the digest of the file on disk with the announced one; returns the actual digest if they differ.
async fn matches(path: &Path, file: &RemoteFile) -> io::Result<Result<(), String>> {
    let (path, digest, bytes) = (path.to_path_buf(), file.digest.clone(), file.bytes);
    let work = tokio::task::spawn_blocking(move || {
        let (found, expected) = match digest {
            Digest::Sha256(expected) => (hash(Sha256::new(), &path)?, expected),
            Digest::GitBlob(expected) => (hash(Sha1::new().chain_update(format!("blob {bytes}\0")), &path)?, expected),
        };
        Ok(if found == expected { Ok(()) } else { Err(found) })
    });
    work.await.map_err(io::Error::other)?
}

fn hash(mut hasher: impl sha2::Digest, path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hasher.update(&block[..n]),
        }
    }
}
