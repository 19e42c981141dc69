//! A network built from a plan, its passes, and its tensors by name.

use std::collections::{HashMap, HashSet};

use kiln_arch::spec::Precision;
use kiln_arch::{Act, Block, Layer, Plan, Shape};
use kiln_torch::{Autocast, Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use crate::error::{Result, TrainError};
use crate::init;

const NORM_EPS: f64 = 1e-5;
const NORM_MOMENTUM: f64 = 0.1;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, and the running ones follow them.
    Train,
    /// Running statistics.
    Eval,
}

/// Order of an image's numbers in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Channel by channel.
    #[default]
    Plain,
    /// Pixel by pixel: faster for dense convolutions, slower for depthwise ones on the CPU.
    ChannelsLast,
}

/// Where batch normalisation takes its statistics from.
#[derive(Clone, Copy)]
enum Stats {
    Running,
    /// Of the batch; the running ones move towards them by this share.
    Batch(f64),
    /// Of the batch; the running ones stay.
    BatchOnly,
}

/// One operation; numbers are places in `Network::tensors`.
enum Op {
    Conv { weight: usize, bias: Option<usize>, stride: i64, padding: i64, groups: i64 },
    BatchNorm { weight: usize, bias: usize, mean: usize, var: usize },
    PlainLayerNorm { length: i64 },
    Act { act: Act, in_place: bool },
    SqueezeExcite { reduce: usize, expand: usize },
    MaxPool,
    GlobalAvgPool,
    Flatten,
    Linear { weight: usize, bias: Option<usize> },
}

struct Stage {
    slot: Option<usize>,
    ops: Vec<Op>,
    shortcut: bool,
    /// The last operation does not need its own output for its gradient, so the shortcut may be added into it.
    add_in_place: bool,
    after: Option<Act>,
}

struct Named {
    name: String,
    tensor: Tensor,
    trainable: bool,
    /// The searched slot whose weights these are.
    slot: Option<usize>,
}

/// A network on one device. Images go in as `[n, c, h, w]`, logits come out as `[n, classes]` in 32 bits.
pub struct Network {
    plan: Plan,
    device: Device,
    layout: Layout,
    precision: Precision,
    stages: Vec<Stage>,
    tensors: Vec<Named>,
    /// The trainable ones of `tensors` again (same storage), so that a step need not collect them.
    trainable: Vec<Tensor>,
}

impl Network {
    /// Builds `plan` with initial weights from `seed` (see [`init`]), in plain layout and 32-bit arithmetic.
    ///
    /// # Errors
    /// [`TrainError::Plan`] if shapes do not fit together or two blocks share a name.
    pub fn build(plan: &Plan, seed: u64, device: Device) -> Result<Network> {
        let generator = Generator::new(seed, Device::Cpu)?;
        let mut builder = Builder { generator, device, tensors: Vec::new() };
        let mut stages = Vec::with_capacity(plan.blocks.len());
        let mut names = HashSet::new();
        let mut shape = plan.input;
        for block in &plan.blocks {
            if !names.insert(block.name.as_str()) {
                return Err(TrainError::Plan(format!("two blocks of the plan are called `{}`", block.name)));
            }
            if block.input != shape {
                return Err(TrainError::Plan(format!(
                    "block `{}` expects {:?} but is given {shape:?}",
                    block.name, block.input
                )));
            }
            stages.push(builder.stage(block)?);
            shape = block.output;
        }
        if shape != Shape::Flat(plan.classes) {
            return Err(TrainError::Plan(format!("the plan ends in {shape:?}, not in {} logits", plan.classes)));
        }
        let mut network = Network {
            plan: plan.clone(),
            device,
            layout: Layout::Plain,
            precision: Precision::F32,
            stages,
            tensors: builder.tensors,
            trainable: Vec::new(),
        };
        network.collect_trainable();
        Ok(network)
    }

    /// The same network with its images and kernels in another order and with other arithmetic.
    ///
    /// Converts the weights once; build optimisers afterwards, they hold on to the weights' storage.
    pub fn configured(mut self, layout: Layout, precision: Precision) -> Result<Network> {
        let _frozen = NoGrad::new();
        for named in self.tensors.iter_mut().filter(|t| t.tensor.dim() == 4) {
            let tensor = match layout {
                Layout::ChannelsLast => kiln_torch::channels_last(&named.tensor)?,
                Layout::Plain => kiln_torch::contiguous(&named.tensor)?,
            };
            named.tensor = tensor.f_detach()?.f_set_requires_grad(named.trainable)?;
        }
        self.layout = layout;
        self.precision = precision;
        self.collect_trainable();
        Ok(self)
    }

    fn collect_trainable(&mut self) {
        self.trainable = self.tensors.iter().filter(|t| t.trainable).map(|t| t.tensor.shallow_clone()).collect();
    }

    /// What it was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where its tensors are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Order of images and kernels in memory.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Arithmetic of its passes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Logits `[n, classes]` of images `[n, c, h, w]`.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        let stats = match mode {
            Mode::Train => Stats::Batch(NORM_MOMENTUM),
            Mode::Eval => Stats::Running,
        };
        self.pass(images, stats, None)
    }

    /// Logits, and the output of every searched slot that the plan fills, averaged over height and width to `[n, C]`.
    ///
    /// Normalises by the batch's own statistics, leaves the running ones alone, records no gradients. Outputs are in
    /// 32 bits and in the order of the plan.
    pub fn forward_probe(&self, images: &Tensor) -> Result<(Tensor, Vec<(usize, Tensor)>)> {
        let _frozen = NoGrad::new();
        let mut seen = Vec::with_capacity(self.plan.slots);
        let logits = self.pass(images, Stats::BatchOnly, Some(&mut seen))?;
        Ok((logits, seen))
    }

    /// A pass by batch statistics towards which the running ones move by `share`.
    pub(crate) fn forward_recalibrating(&self, images: &Tensor, share: f64) -> Result<Tensor> {
        self.pass(images, Stats::Batch(share), None)
    }

    fn pass(&self, images: &Tensor, stats: Stats, mut seen: Option<&mut Vec<(usize, Tensor)>>) -> Result<Tensor> {
        let mut x = match (self.plan.input, self.layout) {
            (Shape::Flat(_), _) => images.f_flatten(1, -1)?,
            (Shape::Image(..), Layout::ChannelsLast) => kiln_torch::channels_last(images)?,
            (Shape::Image(..), Layout::Plain) => images.shallow_clone(),
        };
        {
            let _cast = match self.precision {
                Precision::Bf16 => Some(Autocast::new(self.device, Kind::BFloat16)?),
                Precision::F32 => None,
            };
            for stage in &self.stages {
                x = self.stage(stage, x, stats)?;
                if let (Some(slot), Some(seen)) = (stage.slot, seen.as_deref_mut()) {
                    let pooled = if x.dim() == 4 {
                        x.f_mean_dim(&[2i64, 3][..], false, Kind::Float)?
                    } else {
                        x.f_to_kind(Kind::Float)?
                    };
                    seen.push((slot, pooled));
                }
            }
        }
        Ok(if x.kind() == Kind::Float { x } else { x.f_to_kind(Kind::Float)? })
    }

    fn stage(&self, stage: &Stage, input: Tensor, stats: Stats) -> Result<Tensor> {
        let kept = stage.shortcut.then(|| input.shallow_clone());
        let mut x = input;
        for op in &stage.ops {
            x = self.op(op, x, stats)?;
        }
        if let Some(kept) = kept {
            x = if stage.add_in_place { x.f_add_(&kept)? } else { x.f_add(&kept)? };
        }
        match stage.after {
            Some(act) => activate(act, x, false),
            None => Ok(x),
        }
    }

    fn op(&self, op: &Op, x: Tensor, stats: Stats) -> Result<Tensor> {
        let at = |i: usize| &self.tensors[i].tensor;
        Ok(match *op {
            Op::Conv { weight, bias, stride, padding, groups } => {
                x.f_conv2d(at(weight), bias.map(at), [stride, stride], [padding, padding], [1, 1], groups)?
            }
            Op::BatchNorm { weight, bias, mean, var } => {
                let (weight, bias, mean, var) = (Some(at(weight)), Some(at(bias)), Some(at(mean)), Some(at(var)));
                match stats {
                    Stats::Running => x.f_batch_norm(weight, bias, mean, var, false, NORM_MOMENTUM, NORM_EPS, true)?,
                    Stats::Batch(share) => x.f_batch_norm(weight, bias, mean, var, true, share, NORM_EPS, true)?,
                    Stats::BatchOnly => {
                        x.f_batch_norm(weight, bias, None, None, true, NORM_MOMENTUM, NORM_EPS, true)?
                    }
                }
            }
            Op::PlainLayerNorm { length } => x.f_layer_norm([length], None::<&Tensor>, None, NORM_EPS, true)?,
            Op::Act { act, in_place } => activate(act, x, in_place)?,
            Op::SqueezeExcite { reduce, expand } => {
                let none = None::<&Tensor>;
                let mut gate =
                    x.f_mean_dim(&[2i64, 3][..], true, None)?.f_conv2d(at(reduce), none, [1, 1], [0, 0], [1, 1], 1)?;
                let mut gate = gate.f_relu_()?.f_conv2d(at(expand), none, [1, 1], [0, 0], [1, 1], 1)?;
                x.f_mul(&gate.f_sigmoid_()?)?
            }
            Op::MaxPool => x.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?,
            Op::GlobalAvgPool => x.f_mean_dim(&[2i64, 3][..], false, None)?,
            Op::Flatten => x.f_flatten(1, -1)?,
            Op::Linear { weight, bias } => x.f_linear(at(weight), bias.map(at))?,
        })
    }

    /// Every parameter and running statistic by name, in the order of the plan: `<block>.<layer>.<what>`.
    ///
    /// The tensors share the network's storage: copy them if they are to outlive the next step.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        self.tensors.iter().map(|t| (t.name.clone(), t.tensor.detach())).collect()
    }

    /// The trainable tensors, always in the same order.
    pub fn trainable(&self) -> &[Tensor] {
        &self.trainable
    }

    /// Names of [`Network::trainable`], in its order.
    pub fn trainable_names(&self) -> Vec<&str> {
        self.tensors.iter().filter(|t| t.trainable).map(|t| t.name.as_str()).collect()
    }

    /// Numbers that training changes; equals the cost model's count.
    pub fn parameters(&self) -> u64 {
        self.trainable.iter().map(|t| t.numel() as u64).sum()
    }

    /// Copies of the convolution and linear weights of searched slots, with their slot, in the order of the plan.
    /// Biases, gains, stem, head and classifier are left out. A slot of several convolutions appears several times.
    pub fn slot_weights(&self) -> Result<Vec<(usize, Tensor)>> {
        let mut weights = Vec::new();
        for named in &self.tensors {
            if let Some(slot) = named.slot {
                weights.push((slot, copied(&named.tensor.f_detach()?)?));
            }
        }
        Ok(weights)
    }

    /// Overwrites every tensor by the one of the same name.
    ///
    /// # Errors
    /// [`TrainError::Saved`] if one is missing or has another shape; nothing is changed then.
    pub fn load(&mut self, saved: &[(String, Tensor)]) -> Result<()> {
        let by_name: HashMap<&str, &Tensor> = saved.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let own: Vec<(&str, Tensor)> =
            self.tensors.iter().map(|t| (t.name.as_str(), t.tensor.shallow_clone())).collect();
        overwrite(own, &by_name)
    }
}

/// A copy of its own storage, in the same layout.
pub(crate) fn copied(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

/// Copies saved tensors over own ones of the same name, all or none.
pub(crate) fn overwrite(own: Vec<(&str, Tensor)>, saved: &HashMap<&str, &Tensor>) -> Result<()> {
    let mut pairs = Vec::with_capacity(own.len());
    for (name, tensor) in own {
        let Some(source) = saved.get(name) else {
            return Err(TrainError::Saved(format!("the saved state has no tensor `{name}`")));
        };
        if source.size() != tensor.size() {
            return Err(TrainError::Saved(format!(
                "the saved tensor `{name}` has shape {:?}, the network's has {:?}",
                source.size(),
                tensor.size()
            )));
        }
        pairs.push((tensor, *source));
    }
    let _frozen = NoGrad::new();
    for (mut tensor, source) in pairs {
        tensor.f_copy_(source)?;
    }
    Ok(())
}

fn activate(act: Act, mut x: Tensor, in_place: bool) -> Result<Tensor> {
    Ok(match (act, in_place) {
        (Act::Relu, true) => x.f_relu_()?,
        (Act::Relu, false) => x.f_relu()?,
        (Act::Tanh, true) => x.f_tanh_()?,
        (Act::Tanh, false) => x.f_tanh()?,
        (Act::Sigmoid, true) => x.f_sigmoid_()?,
        (Act::Sigmoid, false) => x.f_sigmoid()?,
        (Act::Gelu, _) => x.f_gelu("none")?,
        (Act::HardSwish, _) => x.f_hardswish()?,
    })
}

/// Lowers blocks to operations and makes their tensors.
struct Builder {
    generator: Generator,
    device: Device,
    tensors: Vec<Named>,
}

impl Builder {
    fn stage(&mut self, block: &Block) -> Result<Stage> {
        let mut ops = Vec::with_capacity(block.layers.len());
        let mut shape = block.input;
        for (i, &layer) in block.layers.iter().enumerate() {
            let after = layer
                .output(shape)
                .map_err(|why| TrainError::Plan(format!("layer {i} of block `{}` does not fit: {why}", block.name)))?;
            let name = format!("{}.{i}", block.name);
            let next = next_act(&block.layers[i + 1..], block);
            let in_place = i > 0 && forgets_its_output(block.layers[i - 1]);
            ops.push(self.op(layer, shape, &name, block.slot, next, in_place)?);
            shape = after;
        }
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
            ops,
            shortcut: block.shortcut,
            add_in_place: block.layers.last().is_some_and(|&layer| forgets_its_output(layer)),
            after: block.after,
        })
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
                }
            }
            Layer::BatchNorm { channels } => Op::BatchNorm {
                weight: self.constant(format!("{name}.weight"), channels, 1.0, true)?,
                bias: self.constant(format!("{name}.bias"), channels, 0.0, true)?,
                mean: self.constant(format!("{name}.running_mean"), channels, 0.0, false)?,
                var: self.constant(format!("{name}.running_var"), channels, 1.0, false)?,
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

/// The gradient of these layers needs their input, not their output, so what comes next may overwrite it.
fn forgets_its_output(layer: Layer) -> bool {
    matches!(layer, Layer::Conv { .. } | Layer::BatchNorm { .. } | Layer::Linear { .. } | Layer::PlainLayerNorm)
}

/// The activation that a layer's output goes into: behind normalisations only, else the block's last one.
fn next_act(rest: &[Layer], block: &Block) -> Option<Act> {
    for layer in rest {
        match layer {
            Layer::Act(act) => return Some(*act),
            Layer::BatchNorm { .. } | Layer::PlainLayerNorm | Layer::MaxPool => {}
            _ => return None,
        }
    }
    block.after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cnn, conv, linear, mlp, norm, plan, same_bits};
    use kiln_arch::space::{NAMES, Space};

    fn images(shape: &[i64]) -> Tensor {
        let mut x = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        Generator::new(11, Device::Cpu).unwrap().normal_(&mut x, 0.0, 1.0).unwrap();
        x
    }

    fn built(plan: &Plan) -> Network {
        Network::build(plan, 1, Device::Cpu).unwrap()
    }

    /// A plan whose only interesting layer is `layer`; it ends in three logits.
    fn around(layer: Layer, input: Shape) -> Plan {
        let mut layers = vec![layer];
        let output = layer.output(input).unwrap();
        if let Shape::Image(..) = output {
            layers.push(Layer::Flatten);
        }
        layers.push(linear(output.numel() as u32, 3));
        plan(input, 3, vec![("only", Some(0), layers, false)])
    }

    #[test]
    fn every_layer_gives_the_shape_of_the_plan() {
        let image = Shape::Image(6, 8, 8);
        let mut cases = vec![
            (conv(6, 4, 3, 1, 1), image),
            (conv(6, 12, 5, 2, 3), image),
            (conv(6, 6, 3, 1, 6), image),
            (Layer::Conv { input: 6, out: 4, kernel: 1, stride: 1, groups: 1, bias: true }, image),
            (norm(6), image),
            (Layer::PlainLayerNorm, Shape::Flat(6)),
            (Layer::SqueezeExcite { channels: 6, reduced: 2 }, image),
            (Layer::MaxPool, Shape::Image(6, 9, 8)),
            (Layer::GlobalAvgPool, image),
            (Layer::Flatten, image),
            (linear(6, 5), Shape::Flat(6)),
            (Layer::Linear { input: 6, out: 5, bias: false }, Shape::Flat(6)),
        ];
        cases.extend([Act::Relu, Act::Gelu, Act::Tanh, Act::Sigmoid, Act::HardSwish].map(|a| (Layer::Act(a), image)));
        for (layer, input) in cases {
            let network = built(&around(layer, input));
            let x = match input {
                Shape::Flat(n) => images(&[5, i64::from(n)]),
                Shape::Image(c, h, w) => images(&[5, i64::from(c), i64::from(h), i64::from(w)]),
            };
            // The whole block's shapes were checked against the plan while building; here libtorch agrees.
            for mode in [Mode::Train, Mode::Eval] {
                let logits = network.forward(&x, mode).unwrap();
                assert_eq!(logits.size(), [5, 3], "{layer:?}");
                logits.sum(Kind::Float).backward();
            }
            assert!(network.trainable().iter().all(|p| p.grad().defined()), "{layer:?}");
        }
    }

    #[test]
    fn parameters_equal_a_hand_count() {
        let stem = 8 * 9 + 16;
        let cell0 = 8 * 8 * 9 + 16;
        let cell1 = 8 * 9 + 16 + 2 * 8 * 4 + 16 * 8 + 32;
        assert_eq!(built(&cnn()).parameters(), stem + cell0 + cell1 + 64 * 4 + 4);
        assert_eq!(built(&mlp()).parameters(), 64 * 16 + 16 + 2 * (16 * 16 + 16) + 16 * 4 + 4);
    }

    #[test]
    fn parameters_equal_the_cost_model_in_every_shipped_space() {
        for name in NAMES {
            let space = Space::named(name).unwrap();
            let plan = space.plan(&space.reference(), Shape::Image(3, 32, 32), 10).unwrap();
            assert_eq!(built(&plan).parameters(), plan.cost().params, "{name}");
        }
    }

    #[test]
    fn a_shortcut_adds_the_input() {
        for last in [vec![], vec![Layer::Act(Act::Relu)], vec![norm(4)]] {
            let layers = [vec![conv(4, 4, 3, 1, 1)], last.clone()].concat();
            let with = |shortcut| {
                let body = ("body", Some(0), layers.clone(), shortcut);
                built(&plan(Shape::Image(4, 5, 5), 100, vec![body, ("flat", None, vec![Layer::Flatten], false)]))
            };
            let x = images(&[3, 4, 5, 5]).set_requires_grad(true);
            let (plain, sum) =
                (with(false).forward(&x, Mode::Train).unwrap(), with(true).forward(&x, Mode::Train).unwrap());
            assert!((&sum - (plain + x.flatten(1, -1))).abs().max().double_value(&[]) < 1e-6, "{last:?}");
            sum.sum(Kind::Float).backward();
            assert!(x.grad().defined());
        }
    }

    #[test]
    fn the_probe_leaves_no_trace() {
        let network = built(&cnn());
        let before: Vec<_> = network.named_tensors().into_iter().map(|(n, t)| (n, t.copy())).collect();
        let x = images(&[6, 1, 8, 8]);
        let (logits, slots) = network.forward_probe(&x).unwrap();
        for ((name, own), (_, old)) in network.named_tensors().iter().zip(&before) {
            assert!(same_bits(own, old), "{name}");
        }
        assert!(!logits.requires_grad());
        assert_eq!(slots.iter().map(|(s, t)| (*s, t.size())).collect::<Vec<_>>(), [(0, vec![6, 8]), (1, vec![6, 16])]);
        // The same logits as a training pass, which does move the running statistics.
        assert!(same_bits(&logits, &network.forward(&x, Mode::Train).unwrap().detach()));
        assert!(!same_bits(&network.named_tensors()[3].1, &before[3].1), "{}", before[3].0);
    }

    #[test]
    fn layouts_agree_and_reach_one_channel_kernels() {
        let x = images(&[6, 1, 8, 8]);
        let plain = built(&cnn()).forward(&x, Mode::Train).unwrap();
        let network = built(&cnn()).configured(Layout::ChannelsLast, Precision::F32).unwrap();
        let last = network.forward(&x, Mode::Train).unwrap();
        assert!((plain - last).abs().max().double_value(&[]) < 1e-4);
        for (name, tensor) in network.named_tensors() {
            if let [_, c, h, w] = tensor.size()[..] {
                assert_eq!(tensor.stride(), [c * h * w, 1, w * c, c], "{name}");
            }
        }
    }

    #[test]
    fn bf16_is_near_and_logits_stay_in_32_bits() {
        let x = images(&[6, 1, 8, 8]);
        let exact = built(&cnn()).forward(&x, Mode::Train).unwrap();
        let network = built(&cnn()).configured(Layout::ChannelsLast, Precision::Bf16).unwrap();
        let rough = network.forward(&x, Mode::Train).unwrap();
        assert_eq!(rough.kind(), Kind::Float);
        let gap = (exact - &rough).abs().max().double_value(&[]);
        assert!(gap > 0.0 && gap < 0.2, "{gap}");
        rough.sum(Kind::Float).backward();
        assert!(network.trainable().iter().all(|p| p.grad().kind() == Kind::Float));
    }

    #[test]
    fn slot_weights_are_copies_of_searched_weights_only() {
        let network = built(&cnn());
        let weights = network.slot_weights().unwrap();
        let shapes: Vec<_> = weights.iter().map(|(slot, w)| (*slot, w.size())).collect();
        let want = [
            (0, vec![8, 8, 3, 3]),
            (1, vec![8, 1, 3, 3]),
            (1, vec![4, 8, 1, 1]),
            (1, vec![8, 4, 1, 1]),
            (1, vec![16, 8, 1, 1]),
        ];
        assert_eq!(shapes, want);
        let before = weights[0].1.copy();
        let _frozen = NoGrad::new();
        for p in network.trainable() {
            let _ = p.shallow_clone().zero_();
        }
        assert!(same_bits(&weights[0].1, &before));
    }

    #[test]
    fn equal_seeds_build_equal_networks() {
        let build = |seed| Network::build(&cnn(), seed, Device::Cpu).unwrap().named_tensors();
        let (a, b, c) = (build(1), build(1), build(2));
        assert!(a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same_bits(&a.1, &b.1)));
        assert!(a.iter().zip(&c).any(|(a, c)| !same_bits(&a.1, &c.1)));
    }

    #[test]
    fn loading_is_all_or_nothing() {
        let (mut a, b) = (built(&cnn()), Network::build(&cnn(), 2, Device::Cpu).unwrap());
        let mut saved = b.named_tensors();
        let last = saved.len() - 1;
        saved[last].1 = Tensor::zeros([7], (Kind::Float, Device::Cpu));
        let before = a.named_tensors()[0].1.copy();
        let error = a.load(&saved).unwrap_err().to_string();
        assert!(error.contains("`head.2.bias` has shape [7]"), "{error}");
        assert!(same_bits(&a.named_tensors()[0].1, &before));
        a.load(&b.named_tensors()).unwrap();
        assert!(a.named_tensors().iter().zip(b.named_tensors()).all(|(a, b)| same_bits(&a.1, &b.1)));
        let error = a.load(&saved[1..]).unwrap_err().to_string();
        assert!(error.contains("no tensor `stem.0.weight`"), "{error}");
    }

    #[test]
    fn plans_that_do_not_fit_are_refused() {
        let complain = |change: &dyn Fn(&mut Plan)| {
            let mut plan = cnn();
            change(&mut plan);
            match Network::build(&plan, 1, Device::Cpu) {
                Ok(_) => panic!("accepted"),
                Err(e) => e.to_string(),
            }
        };
        assert!(complain(&|p| p.blocks[1].name = "stem".into()).contains("two blocks"));
        assert!(complain(&|p| p.classes = 5).contains("not in 5 logits"));
        assert!(complain(&|p| p.blocks[1].layers[0] = conv(7, 8, 3, 1, 1)).contains("layer 0 of block `cell.0`"));
        assert!(complain(&|p| p.blocks[2].shortcut = true).contains("shortcut"));
        assert!(complain(&|p| p.blocks[0].output = Shape::Flat(1)).contains("promises"));
        assert!(complain(&|p| p.input = Shape::Flat(64)).contains("expects"));
    }
}
