//! Settings of the method `disout` (arXiv:2002.11022).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Training of one architecture with the regulariser of the table `[regulariser]`, watched closely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DisoutSettings {
    /// The architecture, as the space writes it, or `reference`, or `random`.
    pub arch: String,
    /// Epochs to train.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs", "x-live" = true))]
    pub epochs: u32,
    /// Training images on which accuracy is measured after each epoch, once clean and once distorted; 0 for all of them. At the end all of them are, clean.
    #[schemars(range(max = 10000000), extend("x-unit" = "images"))]
    pub look: u32,
    /// Seconds between two looks at a channel before and after its distortion.
    #[schemars(range(min = 0.5, max = 86400.0), extend("x-unit" = "s"))]
    pub every: f64,
}

impl Default for DisoutSettings {
    fn default() -> Self {
        DisoutSettings { arch: "reference".into(), epochs: 30, look: 1000, every: 3.0 }
    }
}
