//! Settings of HourNAS (arXiv:2005.14446).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a HourNAS run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HournasMode {
    /// Searches a network within the limits and trains it.
    Search,
    /// Trains one network and bypasses one block after the other.
    Lesion,
    /// As `lesion`, and also trains the network anew with one block after the other weakened.
    Weaken,
}

/// In which order blocks are searched; all but the first are baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SearchOrder {
    /// The vital blocks, then the others among what is still affordable (HourNAS).
    VitalFirst,
    /// The other way round.
    NonVitalFirst,
    /// All at once, with the expected cost as a penalty on the loss instead of an affordable space.
    Joint,
    /// No super-network: random affordable networks, each trained for a short time.
    Random,
}

/// What the non-vital blocks are while the vital ones are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rest {
    /// Absent.
    Identity,
    /// The cheapest operation that is not `skip`; for deep spaces that do not learn without.
    Cheapest,
}

/// HourNAS: the vital blocks first, then the rest within the budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HournasSettings {
    /// Search a network, or study which blocks matter.
    pub mode: HournasMode,
    /// Which blocks are searched first; `joint` and `random` are baselines.
    pub order: SearchOrder,
    /// Limit of multiply-accumulates: a number such as `40M`, or a share of the yardstick's such as `90%`; empty for none.
    #[schemars(
        regex(pattern = r"^( *[0-9]+(\.[0-9]+)?(e[0-9]+)? *[%kKMG]? *)?$"),
        extend("x-expected" = "a number such as `40M`, a share such as `90%`, or nothing")
    )]
    pub macs: String,
    /// Limit of parameters, written likewise.
    #[schemars(
        regex(pattern = r"^( *[0-9]+(\.[0-9]+)?(e[0-9]+)? *[%kKMG]? *)?$"),
        extend("x-expected" = "a number such as `5.3M`, a share such as `90%`, or nothing")
    )]
    pub params: String,
    /// Limit of the latency measured by `kiln latency`, such as `1.5ms` or `90%`; empty for none.
    #[schemars(
        regex(pattern = r"^( *[0-9]+(\.[0-9]+)?(e[0-9]+)? *(%|us|ms|s) *)?$"),
        extend("x-expected" = "a time such as `1.5ms`, a share such as `90%`, or nothing")
    )]
    pub latency: String,
    /// Table that `kiln latency` wrote for this space, input and device. Needed for a limit of latency.
    pub latency_table: String,
    /// The network that shares of limits refer to: `reference`, `cheapest`, `dearest`, or an architecture of the space.
    pub yardstick: String,
    /// Epochs of the search of the vital blocks (E_V). `joint` searches for both sums of epochs together.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub vital_epochs: u32,
    /// Epochs of the search of the other blocks (E_N).
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub rest_epochs: u32,
    /// Seconds for the search, for comparisons at equal time; the epochs then follow from the speed of the machine, so that
    /// such a run cannot be repeated bit by bit. 0: by epochs, and every run ends in the same bits.
    #[schemars(range(min = 0.0, max = 1e7), extend("x-unit" = "s"))]
    pub seconds: f64,
    /// Share of each stage's epochs at its start in which only the weights learn.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub warm: f64,
    /// Share of the training images that the weights learn from; the architecture learns from the others.
    #[schemars(range(min = 0.1, max = 0.95))]
    pub split: f64,
    /// Share of a limit that the vital blocks may use (phi).
    #[schemars(range(min = 0.05, max = 1.0))]
    pub phi: f64,
    /// A sampled network must cost at least the budget less this share of it (eps).
    #[schemars(range(min = 0.001, max = 1.0))]
    pub eps: f64,
    /// Samples that may be rejected before one is repaired.
    #[schemars(range(min = 0, max = 10000))]
    pub rejections: u32,
    /// Temperature of the softmax at the start of each stage.
    #[schemars(range(min = 0.01, max = 100.0))]
    pub tau: f64,
    /// Temperature at the end of each stage; it falls exponentially.
    #[schemars(range(min = 0.01, max = 100.0))]
    pub tau_end: f64,
    /// Learning rate of the architecture's Adam.
    #[schemars(range(min = 1e-6, max = 10.0))]
    pub alpha_lr: f64,
    /// Operations compared in each architecture step: 1 runs the sampled one alone, 2 the runner-up as well. With 1,
    /// normalisation hides the vital blocks from the search.
    #[schemars(range(min = 1, max = 2))]
    pub paths: u32,
    /// What the non-vital blocks are while the vital ones are searched.
    pub rest: Rest,
    /// Weight of the expected cost, as a share of the limit, in the loss of the joint search.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub penalty: f64,
    /// Epochs of the short training of each network of the random search.
    #[schemars(range(min = 1, max = 10000), extend("x-unit" = "epochs"))]
    pub proxy_epochs: u32,
    /// Networks of the random search. With `seconds`, as many as that time allows instead.
    #[schemars(range(min = 1, max = 100000))]
    pub proxies: u32,
    /// Epochs of the training from scratch, of the found network or of the studied one.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub retrain_epochs: u32,
    /// Also train the yardstick by the same recipe, to compare the found network with it.
    pub compare: bool,
    /// The network that a study is made on: `reference` or an architecture of the space.
    pub studied: String,
    /// Estimate the statistics of batch normalisation anew for each lesion. If not, the drop is partly that of statistics that
    /// no longer fit, most of all for the first blocks.
    pub recalibrate: bool,
    /// Times that a study is made, each with other initial weights.
    #[schemars(range(min = 1, max = 100))]
    pub repeats: u32,
}

impl Default for HournasSettings {
    fn default() -> Self {
        HournasSettings {
            mode: HournasMode::Search,
            order: SearchOrder::VitalFirst,
            macs: "100%".into(),
            params: String::new(),
            latency: String::new(),
            latency_table: String::new(),
            yardstick: "reference".into(),
            vital_epochs: 20,
            rest_epochs: 40,
            seconds: 0.0,
            warm: 0.15,
            split: 0.8,
            phi: 0.7,
            eps: 0.05,
            rejections: 50,
            tau: 5.0,
            tau_end: 0.5,
            alpha_lr: 0.01,
            paths: 2,
            rest: Rest::Identity,
            penalty: 1.0,
            proxy_epochs: 2,
            proxies: 30,
            retrain_epochs: 100,
            compare: true,
            studied: "reference".into(),
            recalibrate: true,
            repeats: 3,
        }
    }
}
