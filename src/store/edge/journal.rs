//! What is written while the optimizer works, so that it can be written again after a kill.
//!
//! The engine does not replay its own log, and what is otherwise true after a flush is not true during an optimization:
//! records that are deleted then are only remembered as such, and the files that held a record are removed while the
//! newer version of it may not be on disk yet. So every write of that time comes here first, and all of them are made
//! again when the shard is opened after a kill. Each may be made any number of times, as long as their order is kept.

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
            // Half a line would spoil the one after it.
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

/// The operations in their order. A line that a kill cut short is left out: nothing was confirmed of it.
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
