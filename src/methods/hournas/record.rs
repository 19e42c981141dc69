//! What is kept of a search, in plain values.

use kiln_nn::Eval;
use serde::{Deserialize, Serialize};

use super::proposal::Tally;

/// Where the search stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// In a phase of the super-network.
    #[default]
    Search,
    /// Short trainings of random networks.
    Random,
    /// Training from scratch of what was found, and of the yardstick.
    Retrain,
    /// Files.
    Close,
    Done,
}

/// Slots that are searched together in one phase of the super-network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `vital`, `non-vital` or `all`: also the name of the phase.
    pub name: &'static str,
    pub slots: Vec<usize>,
    pub epochs: u32,
}

/// What a phase took and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    pub name: String,
    /// Of search steps alone.
    pub seconds: f64,
    /// Of looking at the network of the largest logits after each epoch, which the search does not need.
    pub watching: f64,
    pub epochs: u64,
    /// Weight steps.
    pub steps: u64,
    /// Architecture steps.
    pub arch_steps: u64,
    pub sampled: u64,
    pub tries: u64,
    pub repaired: u64,
    /// Bytes on the device at the end of the phase, where that is known.
    #[serde(default)]
    pub memory: Option<u64>,
}

impl PhaseRecord {
    /// Weight and architecture steps together, a second.
    pub fn speed(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| (self.steps + self.arch_steps) as f64 / self.seconds)
    }

    pub fn add(&mut self, tally: &Tally) {
        self.sampled += tally.sampled;
        self.tries += tally.tries;
        self.repaired += tally.repaired;
    }
}

/// A network of the table: sampled, derived at an epoch's end, or random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub id: u32,
    /// By slot; `None` is skipped because it is still open.
    pub choices: Vec<Option<usize>>,
    /// On the validation images: by shared weights, or after the short training.
    pub accuracy: Option<f64>,
    pub loss: Option<f64>,
    pub status: String,
}

/// A random network after its short training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proxy {
    pub choices: Vec<Option<usize>>,
    /// On the images that the architecture learns from; none if the training failed.
    pub eval: Option<Eval>,
}

/// A network trained from scratch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    pub valid: Option<Eval>,
    /// None if the data set has no test images.
    pub test: Option<Eval>,
    pub seconds: f64,
    pub failure: Option<String>,
}

/// The plain part of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub stage: Stage,
    /// Phase of the super-network.
    pub phase: usize,
    /// Images a step, less than asked for if memory ran out.
    pub batch: u32,
    /// Choices that are made, by slot.
    pub locked: Vec<Option<usize>>,
    /// Tilt of the running epoch, one a limit.
    pub beta: Vec<f64>,
    /// Epochs of the phase that were closed.
    pub told: u64,
    /// Epochs of the phases before.
    pub epochs_before: u64,
    /// Of the running epoch, and of the one before.
    pub tally: Tally,
    pub last_tally: Tally,
    pub records: Vec<PhaseRecord>,
    pub rows: Vec<Row>,
    /// Planned epochs of the running phase.
    pub planned: u32,
    /// Random networks that are trained, in the order of their drawing; the queue follows from their number.
    pub proxies: Vec<Option<Proxy>>,
    /// Seconds of short trainings.
    pub proxy_seconds: f64,
    /// What was found.
    pub found: Option<Vec<Option<usize>>>,
    /// Accuracy of the found network by shared weights.
    pub shared: Option<Eval>,
    /// Probabilities of the choices at the end, by slot, for the map.
    pub weights: Vec<Vec<f64>>,
    /// The found network, and the yardstick.
    pub trained: [Option<Trained>; 2],
}
