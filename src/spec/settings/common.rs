//! Settings that all methods share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpaceDefinition;

/// Data sets that Kiln can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DataSet {
    /// UCI handwritten digits, 8x8, as CSV (`digits.csv.gz`); ships with Kiln.
    Digits,
    /// Fashion-MNIST or any other set in IDX files; a subset ships with Kiln.
    Fashion,
    /// CIFAR-10, binary version.
    Cifar10,
    /// A folder with one sub-folder of PNG or JPEG images a class.
    Folder,
    /// A table of architectures with their accuracies, as CSV: `arch` (or `adjacency` and `ops`), `accuracy`, and if known `params` and `seconds`. One ships with Kiln for the space `nas-bench-201`.
    Cells,
}

/// The data set and its split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataSettings {
    /// The kind of data set.
    pub set: DataSet,
    /// Folder or file to read. Empty: the copy that ships with Kiln (digits, fashion, cells of `nas-bench-201`). A relative path is taken from the preset's folder.
    #[serde(default)]
    pub path: String,
    /// Training images to use; 0 takes all that validation leaves.
    #[serde(default)]
    pub train: u32,
    /// Validation images, held out of the training images; rankings use these.
    #[serde(default = "DataSettings::default_valid")]
    #[schemars(range(min = 1))]
    pub valid: u32,
    /// Test images; 0 takes all. Looked at once, at the end. Digits have no test part of their own: these are held out too.
    #[serde(default)]
    pub test: u32,
    /// Side to which images of a folder are resized, in pixels.
    #[serde(default = "DataSettings::default_side")]
    #[schemars(range(min = 4, max = 1024), extend("x-unit" = "px"))]
    pub side: u32,
    /// Random crops after padding by this many pixels; 0 for none.
    #[serde(default)]
    #[schemars(range(max = 64), extend("x-unit" = "px"))]
    pub crop_pad: u32,
    /// Mirror training images at random.
    #[serde(default)]
    pub flip: bool,
    /// Turn training images at random by up to this angle either way; 0 for none.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 180.0), extend("x-unit" = "degrees", "x-aliases" = ["rotation"]))]
    pub rotate: f64,
    /// Share of the training images whose label is replaced by another one, drawn with the run's seed: to see what a network learns by heart. Validation and test keep their labels.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0), extend("x-aliases" = ["noise", "noisy-labels"]))]
    pub label_noise: f64,
}

impl DataSettings {
    fn default_valid() -> u32 {
        500
    }
    fn default_side() -> u32 {
        32
    }
}

/// The search space that architectures come from. By default none, for methods that need none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SpaceSettings {
    /// Name of a shipped space: `digits-mlp` (space D), `conv-cells` (space C), `mobile-xs`, `mobile-m`, `fbnet`, `hournas-f`, `hournas-f-cifar`, `nas-bench-201`, `nas-bench-101`, `plain-mlp`, `resnet`, `resnet-preact`, `cnn-fc`; or a file of a space of your own, such as `my-space.toml`, relative to the preset's folder.
    pub name: String,
    /// Narrows decisions of the space to some options, such as `only = { family = ["fast"] }`.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<String>>,
    /// The space itself, if it does not ship with Kiln: what its file says, kept in the run's own settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<SpaceDefinition>,
}

impl SpaceSettings {
    /// Whether nobody named a space.
    pub fn is_none(&self) -> bool {
        *self == SpaceSettings::default()
    }
}

/// Optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OptimKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    Adamw,
}

/// Learning-rate schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The same rate throughout.
    Constant,
    /// Half a cosine from the initial rate to zero over the planned epochs.
    Cosine,
    /// The initial rate, times `drop` at each of `milestones`.
    Step,
}

/// The optimiser and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OptimSettings {
    /// The optimiser.
    pub kind: OptimKind,
    /// Initial learning rate.
    #[schemars(range(min = 1e-8, max = 100.0), extend("x-live" = true, "x-aliases" = ["learning-rate", "learning_rate"]))]
    pub lr: f64,
    /// Momentum of SGD; beta1 of AdamW.
    #[schemars(range(min = 0.0, max = 0.9999))]
    pub momentum: f64,
    /// Nesterov's form of momentum (SGD only).
    pub nesterov: bool,
    /// beta2 of AdamW.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub beta2: f64,
    /// Weight decay.
    #[schemars(range(min = 0.0, max = 10.0), extend("x-live" = true, "x-aliases" = ["wd", "l2"]))]
    pub weight_decay: f64,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Epochs after which the schedule `step` lowers the rate, rising.
    #[schemars(inner(range(min = 0.0)), extend("x-unit" = "epochs", "x-expected" = "a list of epochs, such as [60, 120, 160]"))]
    pub milestones: Vec<f64>,
    /// What the schedule `step` multiplies the rate with at each milestone.
    #[schemars(range(min = 0.0001, max = 1.0), extend("x-aliases" = ["gamma", "factor"]))]
    pub drop: f64,
    /// Epochs over which the learning rate rises linearly from zero.
    #[schemars(range(min = 0.0, max = 1000.0), extend("x-unit" = "epochs"))]
    pub warmup: f64,
    /// Images a step. The last, smaller batch of an epoch is dropped.
    #[schemars(range(min = 1, max = 65536), extend("x-unit" = "images", "x-aliases" = ["batch-size", "batch_size"]))]
    pub batch: u32,
    /// Label smoothing of the cross-entropy.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub label_smoothing: f64,
    /// Largest norm of the gradient; 0 for no clipping.
    #[schemars(range(min = 0.0, max = 1e6), extend("x-live" = true))]
    pub grad_clip: f64,
}

impl Default for OptimSettings {
    fn default() -> Self {
        OptimSettings {
            kind: OptimKind::Sgd,
            lr: 0.05,
            momentum: 0.9,
            nesterov: false,
            beta2: 0.999,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            milestones: Vec::new(),
            drop: 0.1,
            warmup: 0.0,
            batch: 128,
            label_smoothing: 0.0,
            grad_clip: 0.0,
        }
    }
}

/// Arithmetic of the forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// What the worker measures to be the fastest before it starts; bfloat16 only where it gains a tenth or more. The choice is kept with the run. Another run may choose otherwise: where results must repeat bit for bit, say which.
    Auto,
    /// 32-bit floats throughout.
    F32,
    /// bfloat16 autocast; weights and optimiser stay in 32 bits.
    Bf16,
}

/// Order of images in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BoolOrWord", into = "BoolOrWord")]
pub enum ChannelsLast {
    /// What the worker measures to be faster; see [`Precision::Auto`].
    Auto,
    /// The channels of a pixel next to each other.
    Yes,
    /// Channel by channel.
    No,
}

impl ChannelsLast {
    /// Whether it is so for certain: `auto` that nobody has settled means no.
    pub fn is_on(self) -> bool {
        self == ChannelsLast::Yes
    }
}

/// How [`ChannelsLast`] is written: `true`, `false` or `"auto"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BoolOrWord {
    Bool(bool),
    Word(Auto),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Auto {
    Auto,
}

impl From<BoolOrWord> for ChannelsLast {
    fn from(written: BoolOrWord) -> ChannelsLast {
        match written {
            BoolOrWord::Bool(true) => ChannelsLast::Yes,
            BoolOrWord::Bool(false) => ChannelsLast::No,
            BoolOrWord::Word(Auto::Auto) => ChannelsLast::Auto,
        }
    }
}

impl From<ChannelsLast> for BoolOrWord {
    fn from(order: ChannelsLast) -> BoolOrWord {
        match order {
            ChannelsLast::Yes => BoolOrWord::Bool(true),
            ChannelsLast::No => BoolOrWord::Bool(false),
            ChannelsLast::Auto => BoolOrWord::Word(Auto::Auto),
        }
    }
}

impl JsonSchema for ChannelsLast {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ChannelsLast".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "oneOf": [
            { "const": "auto", "description": "What the worker measures to be faster." },
            { "const": true, "description": "The channels of a pixel next to each other." },
            { "const": false, "description": "Channel by channel." },
        ] })
    }
}

/// What to do when the device is out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnOom {
    /// Halve the batch and train the candidate again from its start.
    Halve,
    /// Fail that candidate alone.
    Fail,
}

/// Device, precision, parallelism, checkpoints, failure policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RunSettings {
    /// `auto`, `cpu`, `cuda` or `cuda:N`. `auto` takes a GPU where there is one.
    #[schemars(
        regex(pattern = r"^(auto|cpu|cuda(:[0-9]+)?)$"),
        extend("x-expected" = "`auto`, `cpu`, `cuda` or `cuda:N`")
    )]
    pub device: String,
    /// Arithmetic.
    pub precision: Precision,
    /// Keep images in channels-last order: faster for most convolutional networks on the CPU.
    pub channels_last: ChannelsLast,
    /// Candidates trained side by side; 0 lets the worker choose (CPU: one a core).
    #[schemars(range(max = 256))]
    pub parallel: u32,
    /// Intra-op threads of each candidate. The bits of a result depend on it.
    #[schemars(range(min = 1, max = 256))]
    pub threads: u32,
    /// Seconds between checkpoints; the first ones of an attempt come earlier.
    #[schemars(range(min = 0.1, max = 86400.0), extend("x-unit" = "s"))]
    pub checkpoint_every: f64,
    /// How often a run that died is resumed from its last checkpoint.
    #[schemars(range(max = 100))]
    pub retries: u32,
    /// What to do when the device is out of memory.
    pub on_oom: OnOom,
    /// Deterministic algorithms on CUDA (slower). The CPU is always deterministic.
    pub deterministic: bool,
}

impl Default for RunSettings {
    fn default() -> Self {
        RunSettings {
            device: "auto".into(),
            precision: Precision::F32,
            channels_last: ChannelsLast::No,
            parallel: 0,
            threads: 1,
            checkpoint_every: 20.0,
            retries: 3,
            on_oom: OnOom::Halve,
            deterministic: false,
        }
    }
}
