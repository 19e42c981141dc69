//! Checkpoints: when they are due, what they hold besides the method's state, what becomes of them when the disk is full.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_methods::{CheckpointReader, CheckpointWriter, Method};
use kiln_protocol::Body;
use kiln_protocol::checkpoint::{self, CheckpointError, RawTensor, Written};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Until the first checkpoint; the pauses after it double until they are as long as the settings say.
const FIRST: Duration = Duration::from_secs(1);

/// Where checkpoints are written: the run folder, or in tests a disk that fills.
pub trait Shelf: Send {
    fn write(&mut self, step: u64, state: &Value, tensors: &[RawTensor]) -> Result<Written, CheckpointError>;
    fn mark_best(&mut self, step: u64) -> Result<(), CheckpointError>;
}

/// The run's `checkpoints` folder.
pub struct Folder(pub PathBuf);

impl Shelf for Folder {
    fn write(&mut self, step: u64, state: &Value, tensors: &[RawTensor]) -> Result<Written, CheckpointError> {
        checkpoint::write(&self.0, step, state, tensors)
    }

    fn mark_best(&mut self, step: u64) -> Result<(), CheckpointError> {
        checkpoint::mark_best(&self.0, step)
    }
}

/// What the worker itself keeps in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    method: String,
    steps: u64,
    /// Best score that a checkpoint was marked for.
    best: Option<f64>,
}

/// What a resumed run starts from.
pub struct Found {
    pub step: u64,
    pub reader: CheckpointReader,
}

/// Why a checkpoint was not written.
#[derive(Debug)]
pub enum Trouble {
    /// No room, as a sentence; trying again later may help.
    Full(String),
    /// A sentence; trying again will not help.
    Failed(String),
}

/// Writes checkpoints of one run.
pub struct Keeper {
    shelf: Box<dyn Shelf>,
    every: Duration,
    /// Until the next checkpoint is due.
    pause: Duration,
    looked: Instant,
    kept: Kept,
    /// Step of the newest checkpoint.
    saved: Option<u64>,
}

impl Keeper {
    pub fn new(shelf: Box<dyn Shelf>, every: Duration, method: &str) -> Keeper {
        let kept = Kept { method: method.to_owned(), ..Kept::default() };
        // The first seconds are kept too: what is killed again and again still gets somewhere.
        Keeper { shelf, every, pause: every.min(FIRST), looked: Instant::now(), kept, saved: None }
    }

    /// The newest whole checkpoint in `folder`, and sentences about damaged ones that were passed over.
    ///
    /// # Errors
    /// A sentence: the folder cannot be read, a newer Kiln wrote it, or it belongs to another method.
    pub fn find(&mut self, folder: &Path) -> Result<(Option<Found>, Vec<String>), String> {
        let latest = checkpoint::latest(folder).map_err(|error| error.to_string())?;
        let Some(found) = latest.checkpoint else { return Ok((None, latest.skipped)) };
        let part = |name: &str| found.state.get(name).cloned().unwrap_or(Value::Null);
        let kept: Kept = serde_json::from_value(part("worker")).map_err(|error| {
            format!("the checkpoint {} was not written by a worker of this Kiln: {error}", found.path.display())
        })?;
        if kept.method != self.kept.method {
            return Err(format!(
                "the checkpoint {} is of the method `{}`, but the run's spec.toml asks for `{}`",
                found.path.display(),
                kept.method,
                self.kept.method
            ));
        }
        self.kept = kept;
        self.saved = Some(found.step);
        let reader = CheckpointReader::new(part("method"), found.tensors);
        Ok((Some(Found { step: found.step, reader }), latest.skipped))
    }

    /// The method has done another step.
    pub fn stepped(&mut self) {
        self.kept.steps += 1;
    }

    /// Step of the newest checkpoint, 0 if there is none.
    pub fn saved(&self) -> u64 {
        self.saved.unwrap_or(0)
    }

    /// Whether it is time for a checkpoint.
    pub fn due(&self) -> bool {
        self.looked.elapsed() >= self.pause && !self.current()
    }

    /// Whether the newest checkpoint holds all that was done.
    pub fn current(&self) -> bool {
        self.saved == Some(self.kept.steps)
    }

    /// Writes a checkpoint, unless the newest one holds everything already. Gives the event to be sent.
    pub fn write(&mut self, method: &dyn Method) -> Result<Option<Body>, Trouble> {
        self.looked = Instant::now();
        self.pause = self.every.min(2 * self.pause);
        if self.current() {
            return Ok(None);
        }
        let mut writer = CheckpointWriter::new();
        method.save(&mut writer).map_err(|error| Trouble::Failed(error.to_string()))?;
        let (values, tensors) = writer.into_parts();
        let score = method.score().filter(|score| score.is_finite());
        let better = score.filter(|score| self.kept.best.is_none_or(|best| *score > best));
        let kept = Kept { best: better.or(self.kept.best), ..self.kept.clone() };
        let state = json!({ "worker": kept, "method": values });
        let trouble = |error: CheckpointError| match error {
            error if error.is_disk_full() => {
                Trouble::Full(format!("the disk is full ({error}); the run goes on when there is room"))
            }
            error => Trouble::Failed(error.to_string()),
        };
        let written = self.shelf.write(self.kept.steps, &state, &tensors).map_err(trouble)?;
        if better.is_some() {
            self.shelf.mark_best(written.step).map_err(trouble)?;
        }
        self.kept = kept;
        self.saved = Some(written.step);
        Ok(Some(Body::Checkpoint { step: written.step, bytes: written.bytes, seconds: written.seconds }))
    }
}
