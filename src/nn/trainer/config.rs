//! What a trainer is told, and what it tells.

use std::time::Instant;

use kiln_arch::spec::{OptimSettings, Precision, RegulariserSettings, Spec};
use kiln_data::Augment;
use serde::{Deserialize, Serialize};

use crate::loss::Eval;

/// When the validation split is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validate {
    /// After every epoch.
    #[default]
    EachEpoch,
    /// After the last epoch.
    AtEnd,
    /// Not by the trainer.
    Never,
}

/// Everything about one candidate's training but the plan and the data.
#[derive(Clone, Debug)]
pub struct TrainerConfig {
    /// Optimiser, schedule, batch, smoothing, clipping.
    pub optim: OptimSettings,
    /// Arithmetic of the passes.
    pub precision: Precision,
    /// Images and kernels pixel by pixel.
    pub channels_last: bool,
    /// Intra-op threads; the bits of the result depend on it.
    pub threads: u32,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the candidate: the key of its initial weights and its augmentation.
    pub candidate: u64,
    /// Number of the order of batches. Candidates of equal order see the same batches one after the other.
    pub order: u64,
    /// Planned epochs.
    pub epochs: u32,
    /// What is done to activations in training.
    pub regulariser: RegulariserSettings,
    /// Random crops and flips.
    pub augment: Option<Augment>,
    /// When to evaluate on the validation split.
    pub validate: Validate,
}

impl TrainerConfig {
    /// The configuration that a run's settings ask for. All candidates see the batches in the same order.
    pub fn of(spec: &Spec, candidate: u64, epochs: u32) -> TrainerConfig {
        let augment =
            Augment { crop_pad: i64::from(spec.data.crop_pad), flip: spec.data.flip, rotate: spec.data.rotate };
        TrainerConfig {
            optim: spec.optim.clone(),
            precision: spec.run.precision,
            channels_last: spec.run.channels_last.is_on(),
            threads: spec.run.threads.max(1),
            seed: spec.seed,
            candidate,
            order: 0,
            epochs,
            regulariser: spec.regulariser.clone(),
            augment: (!augment.is_none()).then_some(augment),
            validate: Validate::EachEpoch,
        }
    }
}

/// Where a call of [`crate::Trainer::run`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this many steps of this call.
    Steps(u64),
    /// When this many epochs are done, counted from the start of the training.
    Epochs(u64),
    /// At this time, to within a step.
    Deadline(Instant),
}

/// Why a call of [`crate::Trainer::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The planned training is done.
    Finished,
    /// What `until` said.
    Reached,
    /// `tick` asked to stop.
    Stopped,
}

/// What a call of [`crate::Trainer::run`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Steps done in this call.
    pub steps: u64,
    /// Why it returned.
    pub end: End,
}

/// A finished epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Epochs done, this one included.
    pub epoch: u64,
    /// Mean training loss over its steps.
    pub loss: f64,
    /// Share of its steps whose gradient was cut to the longest allowed; `None` without a limit.
    pub clipped: Option<f64>,
    /// On the validation split, where asked for.
    pub valid: Option<Eval>,
}

/// One look at the training loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Epochs done, with their fraction.
    pub epochs: f64,
    /// Mean training loss since the look before.
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f64,
}

/// A training whose loss or weights are no longer numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// The epoch in which it happened, from 1.
    pub epoch: u64,
    /// Steps done when it was noticed; depends on when the loss was looked at.
    pub noticed: u64,
    /// Steps of the last good state, at which the network stands now.
    pub good: u64,
}
