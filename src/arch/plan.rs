//! A plan: the layers of one network in order, with shapes. The cost model counts it, `nn` builds it, so the two agree.

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::space::ArchError;

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

    /// Channels of an image, length of a vector.
    pub fn channels(self) -> u32 {
        match self {
            Shape::Flat(n) => n,
            Shape::Image(c, _, _) => c,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Flat(n) => write!(f, "a vector of {n}"),
            Shape::Image(c, h, w) => write!(f, "{c} channels of {h}x{w}"),
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
    /// 3x3 max pooling, stride 1, padded so that the side stays.
    MaxPool3,
    /// 2x2 average pooling, stride 2.
    AvgPool,
    /// 3x3 average pooling, stride 1, padded so that the side stays; the padding is not counted.
    AvgPool3,
    /// The first channels alone.
    Truncate {
        channels: u32,
    },
    /// Channels of `groups` groups dealt out in turn, so that a grouped convolution sees all groups before it.
    ChannelShuffle {
        groups: u32,
    },
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

impl Layer {
    /// Shape after this layer.
    ///
    /// # Errors
    /// When the layer does not fit its input; the sentence names both.
    pub fn output(&self, input: Shape) -> Result<Shape, ArchError> {
        let misfit = || ArchError(format!("{self:?} cannot take {input}"));
        match (*self, input) {
            (Layer::Conv { input: ci, out, kernel, stride, groups, .. }, Shape::Image(c, h, w)) => {
                let fits = c == ci && stride > 0 && groups > 0 && ci % groups == 0 && out % groups == 0 && kernel > 0;
                let side = |n: u32| (n + 2 * (kernel / 2)).checked_sub(kernel).map(|m| m / stride + 1);
                match (fits, side(h), side(w)) {
                    (true, Some(h), Some(w)) => Ok(Shape::Image(out, h, w)),
                    _ => Err(misfit()),
                }
            }
            (Layer::BatchNorm { channels } | Layer::SqueezeExcite { channels, .. }, Shape::Image(c, ..))
                if c == channels =>
            {
                Ok(input)
            }
            (Layer::PlainLayerNorm, Shape::Flat(_)) | (Layer::Act(_), _) => Ok(input),
            (Layer::MaxPool3 | Layer::AvgPool3, Shape::Image(..)) => Ok(input),
            (Layer::Truncate { channels }, Shape::Image(c, h, w)) if (1..=c).contains(&channels) => {
                Ok(Shape::Image(channels, h, w))
            }
            (Layer::ChannelShuffle { groups }, Shape::Image(c, ..)) if groups > 0 && c % groups == 0 => Ok(input),
            (Layer::MaxPool | Layer::AvgPool, Shape::Image(c, h, w)) if h >= 2 && w >= 2 => {
                Ok(Shape::Image(c, h / 2, w / 2))
            }
            (Layer::GlobalAvgPool, Shape::Image(c, ..)) => Ok(Shape::Flat(c)),
            (Layer::Flatten, Shape::Image(..)) => Ok(Shape::Flat(u32::try_from(input.numel()).map_err(|_| misfit())?)),
            (Layer::Linear { input: n, out, .. }, Shape::Flat(m)) if n == m => Ok(Shape::Flat(out)),
            _ => Err(misfit()),
        }
    }
}

/// Layers that belong together: what a space decides on at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Such as `stem`, `stage2.1`, `head`.
    pub name: String,
    /// Index of the searched slot that this block fills; `None` for stem, head and classifier.
    pub slot: Option<usize>,
    /// What the input goes through first, if it is a graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
    /// What it goes through then, one after the other.
    pub layers: Vec<Layer>,
    /// Add the block's input to its output; both have the same shape.
    pub shortcut: bool,
    /// Applied after the shortcut's addition, where a space wants it there.
    pub after: Option<Act>,
    pub input: Shape,
    pub output: Shape,
}

impl Block {
    /// A block on an input of this shape. `shortcut` asks for one; it is drawn only where input and output agree.
    ///
    /// # Errors
    /// When a layer does not fit; the sentence names block and layer.
    pub(crate) fn new(
        name: String,
        slot: Option<usize>,
        shortcut: bool,
        input: Shape,
        layers: Vec<Layer>,
    ) -> Result<Block, ArchError> {
        let output = layers
            .iter()
            .try_fold(input, |shape, layer| layer.output(shape).map_err(|e| ArchError(format!("block {name}: {e}"))))?;
        let shortcut = shortcut && input == output;
        Ok(Block { name, slot, graph: None, layers, shortcut, after: None, input, output })
    }

    /// A block that is a graph, and layers behind it.
    ///
    /// # Errors
    /// When something does not fit; the sentence names block and layer.
    pub(crate) fn graph(
        name: String,
        slot: Option<usize>,
        input: Shape,
        graph: Graph,
        layers: Vec<Layer>,
    ) -> Result<Block, ArchError> {
        let inner = graph.output(input).map_err(|e| ArchError(format!("block {name}: {e}")))?;
        let block = Block::new(name, slot, false, inner, layers)?;
        Ok(Block { graph: Some(graph), input, ..block })
    }

    /// Every layer with the shape that it takes, those of the graph first. Up to the first one that does not fit; blocks of
    /// a space always fit.
    pub fn all_layers(&self) -> Vec<(Layer, Shape)> {
        let mut all = Vec::new();
        let mut shape = self.input;
        if let Some(graph) = &self.graph {
            let (Ok(layers), Ok(output)) = (graph.layers(shape), graph.output(shape)) else { return all };
            (all, shape) = (layers, output);
        }
        for layer in &self.layers {
            all.push((*layer, shape));
            let Ok(next) = layer.output(shape) else { break };
            shape = next;
        }
        all
    }
}

/// A whole network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub input: Shape,
    pub classes: u32,
    /// Searched slots, whether or not a block fills them (a skip leaves its slot empty).
    pub slots: usize,
    /// In order. The last one ends in `classes` logits.
    pub blocks: Vec<Block>,
}

/// Puts a plan together block by block and checks every shape on the way.
pub(crate) struct Builder {
    plan: Plan,
    shape: Shape,
}

impl Builder {
    pub(crate) fn new(input: Shape, classes: u32, slots: usize) -> Builder {
        Builder { plan: Plan { input, classes, slots, blocks: Vec::new() }, shape: input }
    }

    /// Shape after the blocks so far.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Appends a block. `shortcut` asks for one; it is drawn only where input and output agree.
    pub(crate) fn block(
        &mut self,
        name: String,
        slot: Option<usize>,
        shortcut: bool,
        layers: Vec<Layer>,
    ) -> Result<(), ArchError> {
        self.push(Block::new(name, slot, shortcut, self.shape, layers)?);
        Ok(())
    }

    /// Appends a block that was made on [`Builder::shape`].
    pub(crate) fn push(&mut self, block: Block) {
        self.shape = block.output;
        self.plan.blocks.push(block);
    }

    pub(crate) fn finish(self) -> Plan {
        self.plan
    }
}
