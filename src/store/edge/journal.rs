//! A log of the writes made while the optimizer works, so that they can be replayed after a kill.
//!
//! The engine does not replay its own log, and during an optimization a flush does not make writes durable: deletions
//! are kept only in memory, and the files that held a record are removed before the newer version of it is on disk. So
//! every write during an optimization is appended here first, and all of them are replayed when the shard is opened
//! after a kill. Replaying is idempotent as long as the order is kept.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use qdrant_edge::UpdateOperation;

pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Journal {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: File::create(&path)?, path, length: 0 })
    }

    pub(super) fn append(&mut self, operation: &UpdateOperation) -> io::Result<()> {
        let mut line = serde_json::to_vec(operation)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // A partial line would corrupt the next one.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// The operations in order. A line that a kill cut short is left out: it was never confirmed.
pub(super) fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<UpdateOperation>>> {
    let mut lines = io::BufReader::new(File::open(path)?);
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        match io::BufRead::read_until(&mut lines, b'\n', &mut line) {
            Ok(_) => line.ends_with(b"\n").then(|| serde_json::from_slice(&line).map_err(io::Error::from)),
            Err(error) => Some(Err(error)),
        }
    }))
}
