//! Settings of DC-NAS (arXiv:2005.14456).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What describes how a network's layers change during the short training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// Change of each layer's weights.
    Param,
    /// Change of each layer's output on a fixed probe batch.
    Output,
    /// Both, one after the other.
    Both,
}

/// How change is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeMeasure {
    /// One minus the cosine between before and after.
    Cosine,
    /// Norm of the difference over the norm before (parameters only; outputs always use the cosine).
    Relative,
}

/// Divide-and-conquer architecture search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DcNasSettings {
    /// Networks to sample (n).
    #[schemars(range(min = 4, max = 100000))]
    pub population: u32,
    /// Epochs of the short training (E_0).
    #[schemars(range(min = 1, max = 10000), extend("x-unit" = "epochs"))]
    pub early_epochs: u32,
    /// Epochs of the full training of the winners (E_F).
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub full_epochs: u32,
    /// Share of the training images used in the short training (rho).
    #[schemars(range(min = 0.001, max = 1.0))]
    pub proxy: f64,
    /// What describes a network.
    pub feature: FeatureKind,
    /// How change is measured.
    pub change: ChangeMeasure,
    /// Take the logarithm of the features before scaling. Without it k-means returns one big cluster and singletons.
    pub log: bool,
    /// Also take snapshots after every epoch of the short training.
    pub trajectory: bool,
    /// Length to which features of networks of different depth are interpolated (L*).
    #[schemars(range(min = 2, max = 256))]
    pub length: u32,
    /// Images of the probe batch for output features (b).
    #[schemars(range(min = 2, max = 4096), extend("x-unit" = "images"))]
    pub probe: u32,
    /// Number of clusters (K); 0 chooses by silhouette among `clusters-min` to `clusters-max`.
    #[schemars(range(max = 64))]
    pub clusters: u32,
    /// Fewest clusters to try.
    #[schemars(range(min = 2, max = 64))]
    pub clusters_min: u32,
    /// Most clusters to try.
    #[schemars(range(min = 2, max = 64))]
    pub clusters_max: u32,
    /// Restarts of k-means; the lowest objective is kept.
    #[schemars(range(min = 1, max = 1000))]
    pub restarts: u32,
    /// Lloyd iterations at most.
    #[schemars(range(min = 1, max = 10000))]
    pub iterations: u32,
    /// Clusters smaller than this are merged into the nearest one.
    #[schemars(range(min = 1, max = 1000))]
    pub min_cluster: u32,
    /// Winners taken from each cluster (q).
    #[schemars(range(min = 1, max = 1000))]
    pub winners: u32,
    /// Random partitions of the same sizes that make up the null distribution.
    #[schemars(range(min = 20, max = 100000))]
    pub permutations: u32,
    /// Also train every network in full, so that rank correlations and regrets can be measured. Costs n full trainings.
    pub truth: bool,
}

impl Default for DcNasSettings {
    fn default() -> Self {
        DcNasSettings {
            population: 40,
            early_epochs: 2,
            full_epochs: 100,
            proxy: 0.3,
            feature: FeatureKind::Param,
            change: ChangeMeasure::Cosine,
            log: true,
            trajectory: false,
            length: 8,
            probe: 128,
            clusters: 0,
            clusters_min: 2,
            clusters_max: 8,
            restarts: 10,
            iterations: 100,
            min_cluster: 3,
            winners: 1,
            permutations: 300,
            truth: true,
        }
    }
}
