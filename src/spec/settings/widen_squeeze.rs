//! Settings of widening and squeezing quantised networks (arXiv:2002.00555).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Families of networks that are quantised. First convolution (or layer), shortcuts that change the shape and the
/// classifier stay in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QuantFamily {
    /// Fully connected layers: one of 32 bits, quantised ones, the classifier.
    Mlp,
    /// 3x3 convolutions without shortcuts; the map is halved wherever the full-precision width grows.
    Conv,
    /// Bi-Real blocks: one shortcut a quantised 3x3 convolution, two convolutions a block, one stage a width.
    Resnet,
}

/// What stands before the first block of a network for images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QuantStem {
    /// One 3x3 convolution.
    Small,
    /// A 7x7 convolution of stride 2 and 3x3 max pooling of stride 2, as networks for ImageNet have.
    Imagenet,
}

/// How a gradient passes the sign function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignGradient {
    /// 1 where the input is between -1 and 1, else 0.
    Clipped,
    /// 2 - 2|x| between -1 and 1, else 0 (Bi-Real Net).
    Quadratic,
}

/// What stands around a map of binary features. Zero would be a third value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BinaryPadding {
    /// -1 (bit 0).
    MinusOne,
    /// +1 (bit 1).
    PlusOne,
}

/// How full-precision features are projected to quantised ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Projection {
    /// Both have the same cosines between the images of a batch; widths need not agree.
    Relational,
    /// Learned semi-orthogonal matrices, one a layer.
    Explicit,
    /// No projection: the loss has no such term.
    None,
}

/// What the budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QuantBudget {
    /// Bit operations of the quantised layers.
    Bops,
    /// Operations: multiply-accumulates of 32 bits plus a 64th of the bit operations.
    Ops,
    /// Bits of all weights.
    Bits,
}

/// Which channels leave first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// Those of the smallest importance in proportion to the mean of their layer.
    Layer,
    /// The same share of every layer, those of the smallest importance first.
    Uniform,
    /// Those of the smallest importance in the whole network. A layer may become a bottleneck; kept as an ablation.
    Global,
}

/// Widening and squeezing (arXiv:2002.00555). A reconstruction: the losses, schedules and defaults beyond the two stages
/// themselves are inferred from the paper's abstract and common practice with binary networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WidenSqueezeSettings {
    /// Family of the network.
    pub network: QuantFamily,
    /// Channels of the full-precision network: of every layer (`mlp`, `conv`) or stage (`resnet`).
    #[schemars(inner(range(min = 1, max = 8192)), extend("x-expected" = "a list of whole numbers from 1 to 8192, such as [16, 32, 64]"))]
    pub widths: Vec<u32>,
    /// Blocks of two convolutions a stage of `resnet`: 1 and three stages make ResNet-8, 2 make ResNet-14; 2 and four stages ResNet-18.
    #[schemars(range(min = 1, max = 32))]
    pub blocks: u32,
    /// What stands before the first block.
    pub stem: QuantStem,
    /// Bits of a quantised weight: 1, 2 or 4.
    #[schemars(range(min = 1, max = 4), extend("x-unit" = "bits"))]
    pub weight_bits: u8,
    /// Bits of a quantised feature: 1, 2 or 4.
    #[schemars(range(min = 1, max = 4), extend("x-unit" = "bits"))]
    pub activation_bits: u8,
    /// How gradients pass the sign of a feature (weights always have `clipped`).
    pub gradient: SignGradient,
    /// What stands around maps of binary features. Features of more bits have 0.
    pub padding: BinaryPadding,
    /// Widening factors (k), rising; each is trained. The last one is squeezed. The plain quantised network (k = 1) is always trained as a baseline, without the projection.
    #[schemars(inner(range(min = 1.0, max = 16.0)), extend("x-expected" = "a list of numbers from 1 to 16, such as [2.0, 4.0]"))]
    pub factors: Vec<f64>,
    /// The squeezed network may cost what the network widened by this factor costs.
    #[schemars(range(min = 0.1, max = 16.0))]
    pub squeeze_to: f64,
    /// What that cost counts; the penalty on a channel's importance is in proportion to what the channel costs.
    pub budget: QuantBudget,
    /// How the features of the teacher lead those of the quantised network.
    pub projection: Projection,
    /// Weight of the projection in the loss.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub beta: f64,
    /// Weight of the divergence between the teacher's and the network's predictions; 0 for none.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub mu: f64,
    /// Temperature of that divergence.
    #[schemars(range(min = 0.1, max = 100.0))]
    pub temperature: f64,
    /// Epochs of the full-precision teacher. Its optimiser is that of the table `optim`; all others take Adam.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub teacher_epochs: u32,
    /// Epochs of the plain and of each widened network, with a learning rate that falls to zero.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub widen_epochs: u32,
    /// Epochs of each squeeze.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub squeeze_epochs: u32,
    /// Epochs of fine-tuning after each squeeze.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub tune_epochs: u32,
    /// Squeezes, each followed by fine-tuning; the budget of each lies between the last one's and the final one.
    #[schemars(range(min = 1, max = 10))]
    pub rounds: u32,
    /// Learning rate of the plain and the widened networks.
    #[schemars(range(min = 1e-8, max = 10.0))]
    pub lr: f64,
    /// Learning rate during squeezes, constant.
    #[schemars(range(min = 1e-8, max = 10.0))]
    pub squeeze_lr: f64,
    /// Learning rate of fine-tuning, falling to zero.
    #[schemars(range(min = 1e-8, max = 10.0))]
    pub tune_lr: f64,
    /// Learning rate of the importances during squeezes.
    #[schemars(range(min = 1e-8, max = 10.0))]
    pub importance_lr: f64,
    /// Strength of the cost-weighted L1 penalty on the importances; 0 turns it up and down by itself, so that the share of importances under 0.05 rises to a half along a line.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub lambda: f64,
    /// Which channels leave first.
    pub allocation: Allocation,
    /// Share of its channels that every layer keeps in a squeeze at least.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor_share: f64,
    /// Channels that every layer keeps at least (or all, if it has fewer).
    #[schemars(range(min = 1, max = 8192))]
    pub floor_channels: u32,
    /// Also fine-tune a random choice of channels of the same widths, and measure the choice of the least important ones.
    pub controls: bool,
    /// Also train the network widened by `squeeze-to` from scratch for as many epochs as the squeezed one has seen in all.
    pub scratch: bool,
    /// Compare the features themselves: accuracy of a linear classifier on them, and how well distances are kept.
    pub probe: bool,
}

impl Default for WidenSqueezeSettings {
    fn default() -> Self {
        WidenSqueezeSettings {
            network: QuantFamily::Resnet,
            widths: vec![16, 32, 64],
            blocks: 1,
            stem: QuantStem::Small,
            weight_bits: 1,
            activation_bits: 1,
            gradient: SignGradient::Quadratic,
            padding: BinaryPadding::MinusOne,
            factors: vec![2.0, 4.0],
            squeeze_to: 2.0,
            budget: QuantBudget::Bops,
            projection: Projection::Relational,
            beta: 1.0,
            mu: 0.0,
            temperature: 4.0,
            teacher_epochs: 30,
            widen_epochs: 30,
            squeeze_epochs: 10,
            tune_epochs: 15,
            rounds: 1,
            lr: 1e-3,
            squeeze_lr: 5e-4,
            tune_lr: 5e-4,
            importance_lr: 1e-2,
            lambda: 0.0,
            allocation: Allocation::Layer,
            floor_share: 0.25,
            floor_channels: 8,
            controls: true,
            scratch: true,
            probe: false,
        }
    }
}

impl WidenSqueezeSettings {
    /// Epochs that the squeezed network has seen in all.
    pub fn total_epochs(&self) -> u32 {
        let round = self.squeeze_epochs.saturating_add(self.tune_epochs);
        self.widen_epochs.saturating_add(self.rounds.saturating_mul(round))
    }

    /// The factor that is squeezed.
    pub fn widest(&self) -> f64 {
        self.factors.last().copied().unwrap_or(1.0)
    }
}
