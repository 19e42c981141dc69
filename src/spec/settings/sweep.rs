//! Sweeps: settings that are varied, so that a preset becomes an experiment with an arm for each combination.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// Settings that are varied: each combination of their values becomes an arm of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SweepSettings {
    /// Combinations to draw at random; 0 tries all of them.
    #[schemars(range(max = 1000), extend("x-aliases" = ["random", "samples", "trials"]))]
    pub runs: u32,
    /// Seed of what is drawn at random.
    #[schemars(range(max = 9007199254740991_u64))]
    pub seed: u64,
    /// What is varied: settings with their values, such as `"optim.lr" = [0.01, 0.1]`. Of numbers also `"0.1..0.5/5"`, five values from 0.1 to 0.5 at equal distances, or `"log:1e-4..0.1/4"`, at equal ratios; without `/4`, any number between the ends is drawn at random, which needs `runs`. `"*"` stands for all options of a choice.
    pub over: Map<String, Json>,
}
