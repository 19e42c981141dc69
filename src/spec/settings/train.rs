//! Settings of the method `train`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Plain training of one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainSettings {
    /// The architecture, as the space writes it (such as `fast-3-64`), or `reference`, or `random`.
    pub arch: String,
    /// Epochs to train.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs", "x-live" = true))]
    pub epochs: u32,
}

impl Default for TrainSettings {
    fn default() -> Self {
        TrainSettings { arch: "reference".into(), epochs: 30 }
    }
}
