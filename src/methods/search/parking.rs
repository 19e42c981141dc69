//! Trained states that wait for a promotion. A big search has many, so they are kept on disk: `parked/<candidate>-<rung>.safetensors`
//! in the run folder, written once each. They stay until the search is over, since a run that goes back to an older
//! checkpoint may need a state that had been left behind.

use std::path::{Path, PathBuf};

use kiln_nn::{Saved, TrainerState};
use kiln_protocol::spool::{is_disk_full, replace};
use serde_json::json;

use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::error::{MethodError, Result};
use crate::export;

/// The folder, and what is still on its way there.
pub struct Parking {
    folder: PathBuf,
    /// Candidate, rung that it has finished, state.
    waiting: Vec<(usize, usize, Saved)>,
}

impl Parking {
    pub fn new(run: &Path) -> Parking {
        Parking { folder: run.join("parked"), waiting: Vec::new() }
    }

    fn path(&self, candidate: usize, rung: usize) -> PathBuf {
        self.folder.join(format!("{candidate}-{rung}.safetensors"))
    }

    /// Takes a state over. It counts at once; [`Parking::write`] brings it to the disk.
    pub fn put(&mut self, candidate: usize, rung: usize, saved: Saved) {
        self.waiting.push((candidate, rung, saved));
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// [`MethodError::NoRoom`] if the disk is full; nothing is lost, and a later call tries again.
    pub fn write(&mut self) -> Result<()> {
        while let Some((candidate, rung, saved)) = self.waiting.last() {
            let path = self.path(*candidate, *rung);
            let bytes = export::file(&saved.tensors, &json!(saved.state))?;
            std::fs::create_dir_all(&self.folder).and_then(|()| replace(&path, &bytes)).map_err(|error| {
                let message = format!("cannot write {}: {error}", path.display());
                if is_disk_full(&error) { MethodError::NoRoom(message) } else { MethodError::Failed(message) }
            })?;
            self.waiting.pop();
        }
        Ok(())
    }

    /// The state of a candidate at the end of a rung.
    ///
    /// # Errors
    /// A sentence that names the file, if it is gone or damaged.
    pub fn take(&self, candidate: usize, rung: usize) -> Result<Saved> {
        let path = self.path(candidate, rung);
        let fail = |why: &dyn std::fmt::Display| {
            MethodError::failed(format!(
                "candidate {candidate} cannot go on from {}: {why}; remove the run and start it again",
                path.display()
            ))
        };
        let bytes = std::fs::read(&path).map_err(|error| fail(&error))?;
        let (state, tensors): (TrainerState, _) = export::parse(&bytes).map_err(|error| fail(&error))?;
        Ok(Saved { state, tensors })
    }

    /// Forgets everything: the search is over.
    pub fn clear(&mut self) {
        self.waiting.clear();
        // What cannot be removed only takes room.
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// Keeps what has not come to the disk yet.
    pub fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        let keys: Vec<(usize, usize)> = self.waiting.iter().map(|(candidate, rung, _)| (*candidate, *rung)).collect();
        checkpoint.value("unparked", &keys)?;
        for (candidate, rung, saved) in &self.waiting {
            let prefix = format!("unparked-{candidate}-{rung}");
            checkpoint.value(&format!("{prefix}.trainer"), &saved.state)?;
            for (name, tensor) in &saved.tensors {
                checkpoint.tensor(format!("{prefix}.{name}"), tensor)?;
            }
        }
        Ok(())
    }

    pub fn load(&mut self, checkpoint: &CheckpointReader) -> Result<()> {
        let keys: Vec<(usize, usize)> = checkpoint.value("unparked")?;
        for (candidate, rung) in keys {
            let saved = checkpoint.trainer(&format!("unparked-{candidate}-{rung}"))?;
            self.put(candidate, rung, saved);
        }
        Ok(())
    }
}
