//! The settings of a run. A preset is the TOML form of [`Spec`]; a run's frozen `spec.toml` is the same with every
//! default written out.

mod assessor;
mod common;
mod dc_nas;
mod disout;
mod experiment;
mod hournas;
mod pugan;
mod regulariser;
mod search;
mod space;
mod sweep;
mod train;
mod widen_squeeze;

pub use assessor::*;
pub use common::*;
pub use dc_nas::*;
pub use disout::*;
pub use experiment::*;
pub use hournas::*;
pub use pugan::*;
pub use regulariser::*;
pub use search::*;
pub use space::*;
pub use sweep::*;
pub use train::*;
pub use widen_squeeze::*;

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
    /// HourNAS: vital blocks first (arXiv:2005.14446).
    Hournas,
    /// Random search.
    Random,
    /// Regularised evolution (arXiv:1802.01548).
    Evolution,
    /// Asynchronous successive halving (arXiv:1810.05934).
    Asha,
    /// Training with distorted feature maps, and its baselines (arXiv:2002.11022).
    Disout,
    /// Predictors of accuracy compared on a table of architectures: the semi-supervised assessor (arXiv:2005.06821) and its rivals.
    Assessor,
    /// PUGAN: adversarial networks whose discriminator takes generated images as unlabelled (arXiv:2002.01136).
    Pugan,
    /// Wide binary networks led by a full-precision one, then squeezed (arXiv:2002.00555).
    WidenSqueeze,
}

impl MethodName {
    pub const ALL: &'static [MethodName] = &[
        MethodName::Train,
        MethodName::DcNas,
        MethodName::Hournas,
        MethodName::Random,
        MethodName::Evolution,
        MethodName::Asha,
        MethodName::Disout,
        MethodName::Assessor,
        MethodName::Pugan,
        MethodName::WidenSqueeze,
    ];

    /// The methods that share the table `search`.
    pub const SEARCHES: &'static [MethodName] = &[MethodName::Random, MethodName::Evolution, MethodName::Asha];

    /// The methods whose networks come from no search space: their presets have no table `space`.
    pub const SPACELESS: &'static [MethodName] = &[MethodName::Pugan, MethodName::WidenSqueeze];

    /// Whether its networks come from a search space.
    pub fn has_space(self) -> bool {
        !MethodName::SPACELESS.contains(&self)
    }

    /// The methods whose presets may have this table; none for a table that all may have.
    pub fn owners(table: &str) -> Vec<MethodName> {
        match table {
            "search" => MethodName::SEARCHES.to_vec(),
            "space" => MethodName::ALL.iter().copied().filter(|m| m.has_space()).collect(),
            table => MethodName::ALL.iter().copied().filter(|m| m.as_str() == table).collect(),
        }
    }

    /// Settings that can be changed while a run of it goes on; the planned epochs, where they can, come last.
    pub fn live(self) -> &'static [&'static str] {
        match self {
            MethodName::Train => LIVE_TRAIN,
            MethodName::Disout => LIVE_DISOUT,
            MethodName::Hournas => &["optim.lr", "optim.weight-decay", "optim.grad-clip"],
            MethodName::Pugan => &["optim.lr"],
            MethodName::DcNas
            | MethodName::Random
            | MethodName::Evolution
            | MethodName::Asha
            | MethodName::Assessor
            | MethodName::WidenSqueeze => &[],
        }
    }

    /// The name as presets, commands and files use it; also the name of the method's own table in a preset.
    pub fn as_str(self) -> &'static str {
        match self {
            MethodName::Train => "train",
            MethodName::DcNas => "dc-nas",
            MethodName::Hournas => "hournas",
            MethodName::Random => "random",
            MethodName::Evolution => "evolution",
            MethodName::Asha => "asha",
            MethodName::Disout => "disout",
            MethodName::Assessor => "assessor",
            MethodName::Pugan => "pugan",
            MethodName::WidenSqueeze => "widen-squeeze",
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
    /// Runs the preset once with each of these seeds instead, as jobs of one experiment, and shows means and deviations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(max = 9007199254740991_u64)), extend("x-expected" = "a list of whole numbers, such as [1, 2, 3]"))]
    pub seeds: Vec<u64>,
    /// The data set and its split.
    pub data: DataSettings,
    /// The search space that architectures come from. Methods whose own table describes their networks have none.
    #[serde(default, skip_serializing_if = "SpaceSettings::is_none")]
    pub space: SpaceSettings,
    /// The optimiser and its schedule, for every network of the run.
    #[serde(default)]
    pub optim: OptimSettings,
    /// What is done to activations during training, in every network that is trained from its start.
    #[serde(default)]
    #[schemars(extend("x-aliases" = ["regularizer", "dropout", "regularisation"]))]
    pub regulariser: RegulariserSettings,
    /// Device, precision, parallelism, checkpoints, failure policies.
    #[serde(default)]
    pub run: RunSettings,
    /// Settings of the method `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainSettings>,
    /// Settings of the method `dc-nas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dc_nas: Option<DcNasSettings>,
    /// Settings of the method `hournas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hournas: Option<HournasSettings>,
    /// What the searches `random`, `evolution` and `asha` share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchSettings>,
    /// Settings of the method `evolution`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evolution: Option<EvolutionSettings>,
    /// Settings of the method `asha`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asha: Option<AshaSettings>,
    /// Settings of the method `disout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disout: Option<DisoutSettings>,
    /// Settings of the method `assessor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessor: Option<AssessorSettings>,
    /// Settings of the method `pugan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pugan: Option<PuganSettings>,
    /// Settings of the method `widen-squeeze`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widen_squeeze: Option<WidenSqueezeSettings>,
    /// Variants to compare, each with a `name` and what it `set`s, such as `[[arms]]` with `name = "fast"` and `set = { "optim.lr" = 0.1 }`. Every arm is run with every seed; the first is what the others are compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<Arm>,
    /// Settings that are varied: each combination of their values becomes an arm, so that a preset that was read has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepSettings>,
}

const LIVE_TRAIN: &[&str] = &["regulariser.p", "optim.lr", "optim.weight-decay", "optim.grad-clip", "train.epochs"];
const LIVE_DISOUT: &[&str] = &["regulariser.p", "optim.lr", "optim.weight-decay", "optim.grad-clip", "disout.epochs"];

fn one() -> u64 {
    1
}

impl Spec {
    /// Settings that can be changed while this run goes on: those of its method that it makes use of.
    pub fn live(&self) -> &'static [&'static str] {
        match self.method.live() {
            // Networks that were built without a regulariser have no place for one.
            ["regulariser.p", rest @ ..] if !self.regulariser.is_on() => rest,
            all => all,
        }
    }

    /// Writes the tables of the methods that are run out if they were left to their defaults, so that a frozen spec hides
    /// nothing.
    pub fn fill_defaults(&mut self) {
        self.fill(self.method);
        for method in self.arms.iter().filter_map(Arm::method).collect::<Vec<_>>() {
            self.fill(method);
        }
    }

    fn fill(&mut self, method: MethodName) {
        match method {
            MethodName::Train => drop(self.train.get_or_insert_default()),
            MethodName::DcNas => drop(self.dc_nas.get_or_insert_default()),
            MethodName::Hournas => drop(self.hournas.get_or_insert_default()),
            MethodName::Random => {}
            MethodName::Assessor => drop(self.assessor.get_or_insert_default()),
            MethodName::Pugan => drop(self.pugan.get_or_insert_default()),
            MethodName::Disout => drop(self.disout.get_or_insert_default()),
            MethodName::WidenSqueeze => drop(self.widen_squeeze.get_or_insert_default()),
            MethodName::Evolution => drop(self.evolution.get_or_insert_default()),
            MethodName::Asha => drop(self.asha.get_or_insert_default()),
        }
        if MethodName::SEARCHES.contains(&method) {
            self.search.get_or_insert_default();
        }
    }
}
