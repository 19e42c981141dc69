//! A plan: the layers of one network in order, with shapes. The cost model counts it, `nn` builds it, so the two agree.

use serde::{Deserialize, Serialize};

/// Shape of one sample between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// A vector of this length.
    Flat(u32),
    /// Channels, height, width.
    Image(u32, u32, u32),
}

impl Shape {
    /// Numbers in one sample.
    pub fn numel(self) -> u64 {
        match self {
            Shape::Flat(n) => u64::from(n),
            Shape::Image(c, h, w) => u64::from(c) * u64::from(h) * u64::from(w),
        }
    }
}

/// Element-wise non-linearities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    Relu,
    Gelu,
    Tanh,
    Sigmoid,
    /// x * relu6(x + 3) / 6
    HardSwish,
}

/// One layer. Convolutions are square, padded by `kernel / 2`, weights `[out, input / groups, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    Conv {
        input: u32,
        out: u32,
        kernel: u32,
        stride: u32,
        groups: u32,
        bias: bool,
    },
    /// Batch normalisation over channels, eps 1e-5, momentum 0.1, with affine parameters.
    BatchNorm {
        channels: u32,
    },
    /// Layer normalisation of a vector without parameters, eps 1e-5.
    PlainLayerNorm,
    Act(Act),
    /// Squeeze-and-excite: global average, 1x1 conv to `reduced`, ReLU, 1x1 conv back, sigmoid, scale. No biases.
    SqueezeExcite {
        channels: u32,
        reduced: u32,
    },
    /// 2x2 max pooling, stride 2.
    MaxPool,
    /// Mean over height and width; an image becomes a vector.
    GlobalAvgPool,
    /// An image becomes a vector, row by row within channels.
    Flatten,
    /// Weights `[out, input]`.
    Linear {
        input: u32,
        out: u32,
        bias: bool,
    },
}

/// Layers that belong together: what a space decides on at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Such as `stem`, `stage2.1`, `head`.
    pub name: String,
    /// Index of the searched slot that this block fills; `None` for stem, head and classifier.
    pub slot: Option<usize>,
    pub layers: Vec<Layer>,
    /// Add the block's input to its output; both have the same shape.
    pub shortcut: bool,
    /// Applied after the shortcut's addition, where a space wants it there.
    pub after: Option<Act>,
    pub input: Shape,
    pub output: Shape,
}

/// A whole network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub input: Shape,
    pub classes: u32,
    /// Searched slots of the space, whether or not a block fills them (a skip leaves its slot empty).
    pub slots: usize,
    /// In order. The last one ends in `classes` logits.
    pub blocks: Vec<Block>,
}
