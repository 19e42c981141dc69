//! From the blocks of a plan to operations and their tensors.

use std::collections::HashMap;

use kiln_arch::{Act, ArchError, Block, Graph, Layer, Shape};
use kiln_torch::Generator;
use tch::{Device, Kind, Tensor};

use super::{Named, NodeOps, Op, Stage};
use crate::error::{Result, TrainError};
use crate::init;

/// Lowers blocks to operations and makes their tensors.
pub(super) struct Builder {
    pub(super) generator: Generator,
    pub(super) device: Device,
    /// Whether gain and shift of batch normalisation are trained; if not, they stay 1 and 0.
    pub(super) affine: bool,
    /// Number of each place where activations are distorted, by the layer before it.
    pub(super) sites: HashMap<String, usize>,
    pub(super) tensors: Vec<Named>,
}

impl Builder {
    pub(super) fn new(seed: u64, device: Device) -> Result<Builder> {
        let generator = Generator::new(seed, Device::Cpu)?;
        Ok(Builder { generator, device, affine: true, sites: HashMap::new(), tensors: Vec::new() })
    }

    pub(super) fn stage(&mut self, block: &Block) -> Result<Stage> {
        let mut shape = block.input;
        let mut graph = Vec::new();
        if let Some(inside) = &block.graph {
            graph = self.graph(inside, block)?;
            let output = inside.output(shape);
            shape = output.map_err(|why| TrainError::Plan(format!("the graph of block `{}`: {why}", block.name)))?;
        }
        let (ops, shape) = self.ops(&block.layers, shape, &block.name, block, block.after)?;
        if shape != block.output {
            return Err(TrainError::Plan(format!(
                "block `{}` promises {:?} but its layers give {shape:?}",
                block.name, block.output
            )));
        }
        if block.shortcut && block.input != block.output {
            return Err(TrainError::Plan(format!(
                "block `{}` has a shortcut, but its input {:?} and output {:?} differ",
                block.name, block.input, block.output
            )));
        }
        Ok(Stage {
            slot: block.slot,
            graph,
            ops,
            shortcut: block.shortcut,
            add_in_place: block.layers.last().is_some_and(|&layer| forgets_its_output(layer)),
            after: block.after,
        })
    }

    /// The nodes of a graph. Tensors are called after their place: `<block>.node2.in0.1.weight` is in the second layer on
    /// the first input of the third node, `<block>.node2.1.weight` in the second layer behind the join.
    fn graph(&mut self, graph: &Graph, block: &Block) -> Result<Vec<NodeOps>> {
        let wrong = |why: ArchError| TrainError::Plan(format!("the graph of block `{}`: {why}", block.name));
        let shapes = graph.shapes(block.input).map_err(wrong)?;
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for (n, node) in graph.nodes.iter().enumerate() {
            let name = format!("{}.node{n}", block.name);
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for (k, input) in node.inputs.iter().enumerate() {
                let next = next_act(&node.layers, None);
                let (ops, _) = self.ops(&input.layers, shapes[input.from], &format!("{name}.in{k}"), block, next)?;
                inputs.push((input.from, ops));
            }
            let joined = node.joined(n, &shapes[..=n]).map_err(wrong)?;
            let (ops, _) = self.ops(&node.layers, joined, &name, block, None)?;
            nodes.push(NodeOps { join: node.join, inputs, ops });
        }
        Ok(nodes)
    }

    /// Layers one after the other, and the shape behind them. `next` is the activation that comes after the last.
    fn ops(
        &mut self,
        layers: &[Layer],
        input: Shape,
        name: &str,
        block: &Block,
        next: Option<Act>,
    ) -> Result<(Vec<Op>, Shape)> {
        let mut ops = Vec::with_capacity(layers.len());
        let mut shape = input;
        for (i, &layer) in layers.iter().enumerate() {
            let after = layer
                .output(shape)
                .map_err(|why| TrainError::Plan(format!("layer {i} of block `{name}` does not fit: {why}")))?;
            let next = next_act(&layers[i + 1..], next);
            let in_place = i > 0 && forgets_its_output(layers[i - 1]);
            let name = format!("{name}.{i}");
            if layer != Layer::Act(Act::Relu) || !ops.last_mut().is_some_and(takes_relu) {
                ops.push(self.op(layer, shape, &name, block.slot, next, in_place)?);
            }
            ops.extend(self.sites.get(&name).map(|&place| Op::Distort { place }));
            shape = after;
        }
        Ok((ops, shape))
    }

    fn op(
        &mut self,
        layer: Layer,
        input: Shape,
        name: &str,
        slot: Option<usize>,
        next: Option<Act>,
        in_place: bool,
    ) -> Result<Op> {
        Ok(match layer {
            Layer::Conv { input, out, kernel, stride, groups, bias } => {
                let shape = [i64::from(out), i64::from(input / groups), i64::from(kernel), i64::from(kernel)];
                let weight = self.weights(format!("{name}.weight"), &shape, i64::from(groups), next, slot)?;
                let bias = if bias { Some(self.constant(format!("{name}.bias"), out, 0.0, true)?) } else { None };
                Op::Conv {
                    weight,
                    bias,
                    stride: i64::from(stride),
                    padding: i64::from(kernel / 2),
                    groups: i64::from(groups),
                    relu: false,
                }
            }
            Layer::BatchNorm { channels } => Op::BatchNorm {
                weight: self.constant(format!("{name}.weight"), channels, 1.0, self.affine)?,
                bias: self.constant(format!("{name}.bias"), channels, 0.0, self.affine)?,
                mean: self.constant(format!("{name}.running_mean"), channels, 0.0, false)?,
                var: self.constant(format!("{name}.running_var"), channels, 1.0, false)?,
                relu: false,
            },
            Layer::PlainLayerNorm => Op::PlainLayerNorm { length: input.numel() as i64 },
            Layer::Act(act) => Op::Act { act, in_place },
            Layer::SqueezeExcite { channels, reduced } => {
                let (channels, reduced) = (i64::from(channels), i64::from(reduced));
                Op::SqueezeExcite {
                    reduce: self.weights(
                        format!("{name}.reduce.weight"),
                        &[reduced, channels, 1, 1],
                        1,
                        Some(Act::Relu),
                        slot,
                    )?,
                    expand: self.weights(
                        format!("{name}.expand.weight"),
                        &[channels, reduced, 1, 1],
                        1,
                        Some(Act::Sigmoid),
                        slot,
                    )?,
                }
            }
            Layer::MaxPool => Op::MaxPool,
            Layer::MaxPool3 => Op::MaxPool3,
            Layer::AvgPool => Op::AvgPool,
            Layer::AvgPool3 => Op::AvgPool3,
            Layer::Truncate { channels } => Op::Truncate { channels: i64::from(channels) },
            Layer::ChannelShuffle { groups } => Op::ChannelShuffle { groups: i64::from(groups) },
            Layer::GlobalAvgPool => Op::GlobalAvgPool,
            Layer::Flatten => Op::Flatten,
            Layer::Linear { input, out, bias } => {
                let weight =
                    self.weights(format!("{name}.weight"), &[i64::from(out), i64::from(input)], 1, next, slot)?;
                let bias = if bias { Some(self.constant(format!("{name}.bias"), out, 0.0, true)?) } else { None };
                Op::Linear { weight, bias }
            }
        })
    }

    fn weights(
        &mut self,
        name: String,
        shape: &[i64],
        groups: i64,
        next: Option<Act>,
        slot: Option<usize>,
    ) -> Result<usize> {
        let tensor = init::weights(shape, groups, next, &mut self.generator)?;
        self.push(name, tensor, true, slot)
    }

    fn constant(&mut self, name: String, length: u32, value: f64, trainable: bool) -> Result<usize> {
        let tensor = Tensor::f_full([i64::from(length)], value, (Kind::Float, Device::Cpu))?;
        self.push(name, tensor, trainable, None)
    }

    fn push(&mut self, name: String, tensor: Tensor, trainable: bool, slot: Option<usize>) -> Result<usize> {
        let tensor = tensor.f_to_device(self.device)?.f_set_requires_grad(trainable)?;
        self.tensors.push(Named { name, tensor, trainable, slot });
        Ok(self.tensors.len() - 1)
    }
}

/// Lets an operation that can do so apply the ReLU behind it.
fn takes_relu(op: &mut Op) -> bool {
    match op {
        Op::Conv { relu, .. } | Op::BatchNorm { relu, .. } => {
            *relu = true;
            true
        }
        _ => false,
    }
}

/// The gradient of these layers needs their input, not their output, so what comes next may overwrite it.
fn forgets_its_output(layer: Layer) -> bool {
    matches!(layer, Layer::Conv { .. } | Layer::BatchNorm { .. } | Layer::Linear { .. } | Layer::PlainLayerNorm)
}

/// The activation that a layer's output goes into: behind normalisations only, else what comes after the last layer.
fn next_act(rest: &[Layer], last: Option<Act>) -> Option<Act> {
    for layer in rest {
        match layer {
            Layer::Act(act) => return Some(*act),
            Layer::BatchNorm { .. } | Layer::PlainLayerNorm | Layer::MaxPool => {}
            _ => return None,
        }
    }
    last
}
