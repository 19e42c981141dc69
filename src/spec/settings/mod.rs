//! The settings of a run. A preset is the TOML form of [`Spec`]; a run's frozen `spec.toml` is the same with every
//! default written out.

mod common;
mod dc_nas;
mod train;

pub use common::*;
pub use dc_nas::*;
pub use train::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The methods that Kiln runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// Plain training of one architecture: the baseline of all else.
    Train,
    /// Divide-and-conquer architecture search (arXiv:2005.14456).
    DcNas,
}

impl MethodName {
    pub const ALL: &'static [MethodName] = &[MethodName::Train, MethodName::DcNas];

    /// The name as presets, commands and files use it; also the name of the method's own table in a preset.
    pub fn as_str(self) -> &'static str {
        match self {
            MethodName::Train => "train",
            MethodName::DcNas => "dc-nas",
        }
    }
}

impl std::fmt::Display for MethodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Everything that was asked of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spec {
    /// The method to run.
    pub method: MethodName,
    /// One line for lists: what this preset does.
    #[serde(default)]
    pub title: String,
    /// What to expect of it: data, time, machine.
    #[serde(default)]
    pub description: String,
    /// Seed of every random stream of the run. Equal seeds on the CPU give equal bits. Below 2^53, so that every JSON reader keeps it exact.
    #[serde(default = "one")]
    #[schemars(range(max = 9007199254740991_u64))]
    pub seed: u64,
    /// The data set and its split.
    pub data: DataSettings,
    /// The search space that architectures come from.
    pub space: SpaceSettings,
    /// The optimiser and its schedule, for every network of the run.
    #[serde(default)]
    pub optim: OptimSettings,
    /// Device, precision, parallelism, checkpoints, failure policies.
    #[serde(default)]
    pub run: RunSettings,
    /// Settings of the method `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainSettings>,
    /// Settings of the method `dc-nas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dc_nas: Option<DcNasSettings>,
}

fn one() -> u64 {
    1
}

impl Spec {
    /// Writes the method's own table out if it was left to its defaults, so that a frozen spec hides nothing.
    pub fn fill_defaults(&mut self) {
        match self.method {
            MethodName::Train => drop(self.train.get_or_insert_default()),
            MethodName::DcNas => drop(self.dc_nas.get_or_insert_default()),
        }
    }
}
