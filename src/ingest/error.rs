//! Why a file was not indexed: its own fault, or something that would stop every file.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::decode::DecodeError;
use crate::embed::{BundleError, EmbedError};
use crate::ledger::{Failure, FailureKind, LedgerError};
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The file's own fault: it is noted and the others go on.
    #[error("{}", .0.reason)]
    File(Failure),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The model cannot be opened at all.
    #[error(transparent)]
    Model(#[from] EmbedError),
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
    /// One file after the other met the same: it is not the files' fault.
    #[error("{count} files in a row failed in the model, so the rest was not begun: {reason}")]
    ModelGivesUp { count: u32, reason: String },
}

impl From<DecodeError> for IngestError {
    fn from(error: DecodeError) -> Self {
        let kind = match &error {
            DecodeError::Unreadable(_) => FailureKind::Unreadable,
            DecodeError::NotVideo(_) => FailureKind::NotVideo,
            DecodeError::StillPicture(_) => FailureKind::StillPicture,
            DecodeError::Encrypted(_) => FailureKind::Encrypted,
            DecodeError::NoVideoTrack(_) | DecodeError::NoSuchTrack { .. } => FailureKind::NoVideoTrack,
            DecodeError::NoDecoder { .. } => FailureKind::NoDecoder,
            DecodeError::Damaged(_) => FailureKind::Damaged,
            DecodeError::Crashed(_) => FailureKind::DecoderDied,
            DecodeError::Stalled(_) => FailureKind::DecoderStalled,
            DecodeError::Setup(_) => FailureKind::DecoderSetup,
            // Streams are never a file's failure.
            DecodeError::Live { .. } | DecodeError::Stopped => FailureKind::Internal,
        };
        Self::file(kind, error.to_string())
    }
}

impl From<ArchiveError> for IngestError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => Self::Store(error),
            ArchiveError::Ledger(error) => Self::Ledger(error),
            ArchiveError::Disk { path, error } => Self::Disk { path, error },
        }
    }
}

impl From<BundleError> for IngestError {
    fn from(error: BundleError) -> Self {
        Self::Model(error.into())
    }
}

impl IngestError {
    pub(super) fn file(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self::File(Failure { kind, reason: reason.into() })
    }

    /// A model that is open refused what this file gave it.
    pub(super) fn refused(error: &EmbedError) -> Self {
        Self::file(FailureKind::Model, error.to_string())
    }

    pub(super) fn unreadable(error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "no such file".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Self::file(FailureKind::Unreadable, format!("cannot read: {reason}"))
    }
}
