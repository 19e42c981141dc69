//! Settings of the semi-supervised assessor (arXiv:2005.06821) and of what it is compared with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Predictors of an architecture's accuracy. The networks are named by what they are trained with and by how they read
/// an architecture: `flat` a vector of zeros and ones, `conv` the matrix of edges beside the operations as an image,
/// `cell` the cell's graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Predictor {
    /// Linear regression on the flat code, with a little ridge.
    Linear,
    /// Random forest on the flat code (stands for E2EPP).
    Forest,
    /// Supervised graph network over the cell in the settings of Neural Predictor (arXiv:1912.00848).
    NeuralPredictor,
    /// Flat encoder, supervised.
    MlpFlat,
    /// Flat encoder, supervised, and an auto-encoder on all cells.
    AeFlat,
    /// Flat encoder and relation graph, labelled cells alone.
    GcnFlat,
    /// Flat encoder, auto-encoder and relation graph over labelled and unlabelled cells.
    AssessorFlat,
    /// Convolutional encoder, supervised.
    MlpConv,
    /// Convolutional encoder, supervised, and an auto-encoder on all cells.
    AeConv,
    /// Convolutional encoder and relation graph, labelled cells alone.
    GcnConv,
    /// Convolutional encoder, auto-encoder and relation graph: the assessor of the paper.
    AssessorConv,
    /// Graph network over the cell as encoder, supervised.
    MlpCell,
    /// Graph network over the cell as encoder, supervised, and an auto-encoder on all cells.
    AeCell,
    /// Graph network over the cell as encoder, and relation graph over labelled cells alone.
    GcnCell,
    /// Graph network over the cell as encoder, auto-encoder and relation graph.
    AssessorCell,
}

impl Predictor {
    pub const ALL: [Predictor; 15] = [
        Predictor::Linear,
        Predictor::Forest,
        Predictor::NeuralPredictor,
        Predictor::MlpFlat,
        Predictor::AeFlat,
        Predictor::GcnFlat,
        Predictor::AssessorFlat,
        Predictor::MlpConv,
        Predictor::AeConv,
        Predictor::GcnConv,
        Predictor::AssessorConv,
        Predictor::MlpCell,
        Predictor::AeCell,
        Predictor::GcnCell,
        Predictor::AssessorCell,
    ];

    /// The name as presets write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Predictor::Linear => "linear",
            Predictor::Forest => "forest",
            Predictor::NeuralPredictor => "neural-predictor",
            Predictor::MlpFlat => "mlp-flat",
            Predictor::AeFlat => "ae-flat",
            Predictor::GcnFlat => "gcn-flat",
            Predictor::AssessorFlat => "assessor-flat",
            Predictor::MlpConv => "mlp-conv",
            Predictor::AeConv => "ae-conv",
            Predictor::GcnConv => "gcn-conv",
            Predictor::AssessorConv => "assessor-conv",
            Predictor::MlpCell => "mlp-cell",
            Predictor::AeCell => "ae-cell",
            Predictor::GcnCell => "gcn-cell",
            Predictor::AssessorCell => "assessor-cell",
        }
    }

    /// Whether it is a network, trained step by step.
    pub fn is_network(self) -> bool {
        !matches!(self, Predictor::Linear | Predictor::Forest)
    }

    /// Whether it needs the graph of a cell, which only the spaces `nas-bench-101` and `nas-bench-201` have.
    pub fn needs_cells(self) -> bool {
        use Predictor::{AeCell, AssessorCell, GcnCell, MlpCell, NeuralPredictor};
        matches!(self, NeuralPredictor | MlpCell | AeCell | GcnCell | AssessorCell)
    }
}

impl std::fmt::Display for Predictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Unit of a table's accuracies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccuracyUnit {
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Fraction,
}

/// The semi-supervised assessor: how well do predictors rank architectures that they have not seen, given so many labels?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AssessorSettings {
    /// What is compared. The last network among them is kept as the run's assessor, for `kiln predict`.
    pub methods: Vec<Predictor>,
    /// Numbers of labelled architectures (N_l), rising.
    pub labels: Vec<u32>,
    /// Repeats, each with other labelled architectures, initial weights and batches. All methods see the same ones.
    #[schemars(range(min = 1, max = 1000))]
    pub repeats: u32,
    /// Architectures that every predictor is tested on; the same in all repeats.
    #[schemars(range(min = 10, max = 1000000), extend("x-unit" = "cells"))]
    pub test: u32,
    /// Architectures whose accuracy nobody sees, for the auto-encoder and the relation graph (N_u). The rest of the table is the pool of labels.
    #[schemars(range(max = 10000000), extend("x-unit" = "cells"))]
    pub unlabelled: u32,
    /// Column of the table that is predicted.
    pub label: String,
    /// Column of the accuracies that regret is counted in; empty: the one that is predicted.
    pub test_label: String,
    /// Unit of both columns.
    pub unit: AccuracyUnit,
    /// Accuracies below this count as this in training and in the squared error, for failed trainings would dominate it.
    #[schemars(range(min = 0.0, max = 100.0), extend("x-unit" = "%"))]
    pub clip: f64,
    /// Architectures picked for regret: the best accuracy of all test cells minus that of the best of so many best-predicted ones.
    #[schemars(range(min = 1, max = 10000))]
    pub top: u32,
    /// Kendall tau for which the necessary number of labels is told.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tau_target: f64,
    /// Steps of training of the networks that end in -flat.
    #[schemars(range(min = 1, max = 10000000), extend("x-unit" = "steps"))]
    pub steps: u32,
    /// Steps of training of the networks that end in -conv or -cell: those cost five to ten times as much a step.
    #[schemars(range(min = 1, max = 10000000), extend("x-unit" = "steps"))]
    pub steps_deep: u32,
    /// Labelled architectures in a step, if there are as many (B_l).
    #[schemars(range(min = 1, max = 65536))]
    pub batch_labelled: u32,
    /// Unlabelled architectures in a step (B_u).
    #[schemars(range(max = 65536))]
    pub batch_unlabelled: u32,
    /// Initial learning rate of AdamW; half a cosine brings it to zero.
    #[schemars(range(min = 1e-8, max = 10.0))]
    pub lr: f64,
    /// Weight decay of AdamW.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Weight of the reconstruction in the loss (lambda); the prediction has the rest.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// Length of the embedding (d).
    #[schemars(range(min = 2, max = 4096))]
    pub embedding: u32,
    /// Width of the hidden layers of head and flat encoder.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden: u32,
    /// Width of the graph layers of the `cell` encoder.
    #[schemars(range(min = 1, max = 4096))]
    pub cell_width: u32,
    /// Mean degree of the relation graph, self-loop included, that its scale is solved for (g*).
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub degree: f64,
    /// Scale of the relation graph (sigma); 0 solves it for the mean degree.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub sigma: f64,
    /// Steps between two solutions for sigma.
    #[schemars(range(min = 1, max = 1000000), extend("x-unit" = "steps"))]
    pub sigma_every: u32,
    /// Similarities below this are no edge (tau_g).
    #[schemars(range(min = 0.0, max = 0.999))]
    pub threshold: f64,
    /// Labelled architectures at most in a graph of prediction.
    #[schemars(range(min = 1, max = 100000))]
    pub anchors: u32,
    /// Queried architectures in a graph of prediction. The prediction depends on it.
    #[schemars(range(min = 1, max = 100000))]
    pub chunk: u32,
    /// Trees of the random forest.
    #[schemars(range(min = 1, max = 100000))]
    pub trees: u32,
    /// Epochs of `neural-predictor` (batch 10, Adam with rate 1e-4 and weight decay 1e-3, three layers of 144).
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub predictor_epochs: u32,
}

impl Default for AssessorSettings {
    fn default() -> Self {
        AssessorSettings {
            methods: vec![
                Predictor::Linear,
                Predictor::Forest,
                Predictor::MlpFlat,
                Predictor::AeFlat,
                Predictor::GcnFlat,
                Predictor::AssessorFlat,
            ],
            labels: vec![50, 100, 200, 400, 1000],
            repeats: 5,
            test: 3000,
            unlabelled: 8000,
            label: "accuracy".into(),
            test_label: String::new(),
            unit: AccuracyUnit::Percent,
            clip: 80.0,
            top: 10,
            tau_target: 0.6,
            steps: 2000,
            steps_deep: 600,
            batch_labelled: 256,
            batch_unlabelled: 256,
            lr: 1e-3,
            weight_decay: 1e-2,
            lambda: 0.5,
            embedding: 32,
            hidden: 128,
            cell_width: 96,
            degree: 2.0,
            sigma: 0.0,
            sigma_every: 50,
            threshold: 1e-5,
            anchors: 1000,
            chunk: 500,
            trees: 200,
            predictor_epochs: 300,
        }
    }
}
