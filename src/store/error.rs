//! What can go wrong, in sentences.

use std::path::PathBuf;

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the store {path} is in use by the engine with pid {pid} on {host}: use that one, or end it with `kiln engine stop`"
    )]
    InUse { path: PathBuf, pid: u32, host: String },
    #[error(
        "the store {path} is of version {found}, this Kiln reads up to version {ours}: use the newer Kiln that wrote it, or `kiln engine rebuild` to make a new store from the run folders"
    )]
    Newer { path: PathBuf, found: u32, ours: u32 },
    #[error("the store {path} cannot be opened: {why}")]
    Open { path: PathBuf, why: String },
    #[error("the store could not be read or written: {0}; nothing is lost, the run folders hold everything")]
    Database(sled::Error),
    #[error("the store is damaged ({0}); `kiln engine rebuild` makes a new one from the run folders")]
    Damaged(String),
    #[error("the store has no run `{0}`")]
    NoRun(String),
    #[error("the run `{run}` has no series `{name}`")]
    NoSeries { run: String, name: String },
    #[error("the store already has a run `{0}`")]
    Exists(String),
}

impl StoreError {
    /// Whether it is for want of room, so that trying again later may help.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StoreError::Database(sled::Error::Io(e)) if kiln_protocol::spool::is_disk_full(e))
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { .. } => StoreError::Damaged(error.to_string()),
            other => StoreError::Database(other),
        }
    }
}
