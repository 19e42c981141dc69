//! What a candidate's own thread does when its training is over: evaluation, and the features of the short training.

use std::sync::Mutex;

use kiln_nn::pool::Stop;
use kiln_nn::{TrainError, Trainer};
use kiln_protocol::spec::DcNasSettings;
use tch::Tensor;

use super::features::Features;
use super::record::{Early, Full};
use crate::fleet::{Failure, Note, Recipe, Task};
use crate::train::copies;

/// A tensor that several threads read: libtorch tensors may move between threads but not be shared, so each thread takes
/// a handle of its own.
pub struct Shared(Mutex<Tensor>);

impl Shared {
    pub fn new(tensor: Tensor) -> Shared {
        Shared(Mutex::new(tensor))
    }

    pub fn handle(&self) -> Tensor {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).shallow_clone()
    }
}

/// Steps 1 and 2 of the card: accuracy and features of a short training.
pub struct Short {
    pub settings: DcNasSettings,
    /// See [`Features::slots`].
    pub slots: Option<usize>,
    /// See [`Features::probe`].
    pub probe: Option<Shared>,
}

impl Short {
    /// The row between the start of this training and now. The start is built again from its seed, which costs less than
    /// keeping it (and saving it in every checkpoint), and has the same bits.
    fn row(&self, task: &Task, trainer: &Trainer) -> Result<Result<Vec<f64>, String>, TrainError> {
        let subset = task.subset.as_ref().map(Tensor::shallow_clone);
        let fresh = Trainer::new(&task.plan, task.config.clone(), trainer.data().share(), subset)?;
        let probe = self.probe.as_ref().map(Shared::handle);
        let features = Features { settings: &self.settings, slots: self.slots, probe: probe.as_ref() };
        features.row(&fresh, trainer)
    }
}

impl Recipe for Short {
    type Product = Early;

    fn watches_epochs(&self) -> bool {
        self.settings.trajectory
    }

    /// Trajectory features: a snapshot after every epoch. An epoch without features leaves an empty one.
    fn after_epoch(&self, task: &Task, trainer: &Trainer, note: &mut Note) -> Result<(), TrainError> {
        note.snapshots.push(self.row(task, trainer)?.unwrap_or_default());
        Ok(())
    }

    fn finish(
        &self,
        task: &Task,
        trainer: Option<&Trainer>,
        note: &Note,
        failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<Early>, TrainError> {
        let (Some(trainer), None) = (trainer, failure) else {
            let why = failure.map_or("it could not be trained", Failure::sentence);
            return Ok(Some(Early {
                accuracy: None,
                features: None,
                failure: Some(why.to_owned()),
                seconds: note.seconds,
            }));
        };
        let Some(eval) = trainer.evaluate(&trainer.data().valid, &|| stop.asked())? else { return Ok(None) };
        let row = if self.settings.trajectory {
            match note.snapshots.iter().any(Vec::is_empty) {
                true => Err("a layer vanished or held no numbers after one of the epochs".to_owned()),
                false => Ok(note.snapshots.concat()),
            }
        } else {
            self.row(task, trainer)?
        };
        let (features, failure) = match row {
            Ok(row) => (Some(row), None),
            Err(why) => (None, Some(why)),
        };
        Ok(Some(Early { accuracy: Some(eval.accuracy), features, failure, seconds: note.seconds }))
    }
}

/// What a full training leaves.
pub struct Trained {
    pub full: Full,
    /// The network's tensors, where they are kept.
    pub tensors: Vec<(String, Tensor)>,
}

/// Step 8 of the card, and the truth: accuracy after the full training, or of the last good state.
pub struct Whole {
    /// Ids of the cluster winners: one of them is the result, so their weights are handed back.
    pub winners: Vec<usize>,
}

impl Recipe for Whole {
    type Product = Trained;

    fn finish(
        &self,
        _task: &Task,
        trainer: Option<&Trainer>,
        note: &Note,
        failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<Trained>, TrainError> {
        let why = failure.map(|f| f.sentence().to_owned());
        let Some(trainer) = trainer else {
            return Ok(Some(Trained {
                full: Full { accuracy: None, failure: why, seconds: note.seconds },
                tensors: Vec::new(),
            }));
        };
        // The trainer evaluated the last epoch itself, unless it never came to that.
        let known = match failure {
            None => trainer.history().last().and_then(|epoch| epoch.valid),
            Some(_) => None,
        };
        let eval = match known {
            Some(eval) => eval,
            None => match trainer.evaluate(&trainer.data().valid, &|| stop.asked())? {
                Some(eval) => eval,
                None => return Ok(None),
            },
        };
        let full = Full { accuracy: Some(eval.accuracy), failure: why, seconds: note.seconds };
        let tensors = if self.winners.contains(&note.id) { copies(trainer.network())? } else { Vec::new() };
        Ok(Some(Trained { full, tensors }))
    }
}
