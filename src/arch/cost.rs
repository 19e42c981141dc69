//! Parameters and multiply-accumulates. Convolutions, squeeze-and-excite and linear layers count; batch normalisation has
//! two parameters a channel and no MACs; activations and pooling are free. Integers throughout: budgets compare exactly.

use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::plan::{Block, Layer, Plan, Shape};
use crate::space::ArchError;

/// Cost of a layer, block or network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cost {
    /// Trainable numbers.
    pub params: u64,
    /// Multiply-accumulates for one sample, forward.
    pub macs: u64,
}

impl Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost { params: self.params + other.params, macs: self.macs + other.macs }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Add::add)
    }
}

impl Layer {
    /// Cost for one sample of shape `input`.
    ///
    /// # Errors
    /// As [`Layer::output`].
    pub fn cost(&self, input: Shape) -> Result<Cost, ArchError> {
        let output = self.output(input)?;
        let n = u64::from;
        Ok(match *self {
            Layer::Conv { input, out, kernel, groups, bias, .. } => {
                let weights = n(out) * n(input / groups) * n(kernel) * n(kernel);
                let positions = output.numel() / n(out);
                Cost { params: weights + if bias { n(out) } else { 0 }, macs: weights * positions }
            }
            Layer::Linear { input, out, bias } => {
                let weights = n(input) * n(out);
                Cost { params: weights + if bias { n(out) } else { 0 }, macs: weights }
            }
            Layer::SqueezeExcite { channels, reduced } => {
                let weights = 2 * n(channels) * n(reduced);
                Cost { params: weights, macs: weights }
            }
            Layer::BatchNorm { channels } => Cost { params: 2 * n(channels), macs: 0 },
            Layer::PlainLayerNorm
            | Layer::Act(_)
            | Layer::MaxPool
            | Layer::MaxPool3
            | Layer::AvgPool
            | Layer::AvgPool3
            | Layer::Truncate { .. }
            | Layer::ChannelShuffle { .. }
            | Layer::GlobalAvgPool
            | Layer::Flatten => Cost::default(),
        })
    }
}

impl Block {
    /// Cost for one sample. A block whose layers do not fit costs nothing up to the misfit; plans of a space always fit.
    pub fn cost(&self) -> Cost {
        self.all_layers().into_iter().filter_map(|(layer, shape)| layer.cost(shape).ok()).sum()
    }
}

impl Plan {
    /// Cost of the whole network for one sample.
    pub fn cost(&self) -> Cost {
        self.blocks.iter().map(Block::cost).sum()
    }

    /// Numbers that a forward pass in training keeps for the backward pass, one sample: every layer's output.
    pub fn activations(&self) -> u64 {
        let layers = self.blocks.iter().flat_map(Block::all_layers);
        layers.filter_map(|(layer, shape)| layer.output(shape).ok()).map(Shape::numel).sum()
    }
}
