//! A network built from a plan, its passes, and its tensors by name.

mod build;
mod script;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{HashMap, HashSet};

use kiln_arch::spec::{Precision, RegulariserSettings};
use kiln_arch::{Act, Join, Plan, Shape, sites};
use kiln_torch::layers::{Conv, Norm};
use kiln_torch::{Autocast, NoGrad};
use tch::{Device, Kind, Tensor};

use self::build::Builder;
#[cfg(test)]
pub(crate) use self::walk::bypass;
pub(crate) use self::walk::{Against, Gate, Leg};
use crate::distort::{Distortion, Look, Place, Reading};
use crate::error::{Result, TrainError};

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

/// What a pass does beside computing.
struct Pass<'a, 'b> {
    stats: Stats,
    /// What distorts activations on the way; nothing in most passes.
    distortion: Option<&'a mut Distortion<'b>>,
}

impl From<Stats> for Pass<'_, '_> {
    fn from(stats: Stats) -> Self {
        Pass { stats, distortion: None }
    }
}

/// One operation; numbers are places in `Network::tensors`.
enum Op {
    /// `relu`: the activation behind it is done with it. The same for `BatchNorm`.
    Conv {
        weight: usize,
        bias: Option<usize>,
        stride: i64,
        padding: i64,
        groups: i64,
        relu: bool,
    },
    BatchNorm {
        weight: usize,
        bias: usize,
        mean: usize,
        var: usize,
        relu: bool,
    },
    PlainLayerNorm {
        length: i64,
    },
    Act {
        act: Act,
        in_place: bool,
    },
    SqueezeExcite {
        reduce: usize,
        expand: usize,
    },
    MaxPool,
    MaxPool3,
    AvgPool,
    AvgPool3,
    Truncate {
        channels: i64,
    },
    ChannelShuffle {
        groups: i64,
    },
    GlobalAvgPool,
    Flatten,
    Linear {
        weight: usize,
        bias: Option<usize>,
    },
    /// A number in `Network::places`.
    Distort {
        place: usize,
    },
}

/// A node of a graph: earlier values through operations, joined, and operations behind that.
struct NodeOps {
    join: Join,
    inputs: Vec<(usize, Vec<Op>)>,
    ops: Vec<Op>,
}

struct Stage {
    slot: Option<usize>,
    /// What the input goes through before `ops`; without nodes, nothing.
    graph: Vec<NodeOps>,
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
    /// Where activations are distorted, and how.
    places: Vec<Place>,
    regulariser: RegulariserSettings,
    tensors: Vec<Named>,
    /// The trainable ones of `tensors` again (same storage), so that a step need not collect them.
    trainable: Vec<Tensor>,
}

impl Network {
    /// Builds `plan` with initial weights from `seed` (see [`crate::init`]), in plain layout and 32-bit arithmetic.
    ///
    /// # Errors
    /// [`TrainError::Plan`] if shapes do not fit together or two blocks share a name.
    pub fn build(plan: &Plan, seed: u64, device: Device) -> Result<Network> {
        Network::build_regularised(plan, &RegulariserSettings::default(), seed, device)
    }

    /// The same with a regulariser, which [`Network::forward_distorted`] applies and no other pass. Weights are those of
    /// [`Network::build`].
    ///
    /// # Errors
    /// As [`Network::build`]; also a network that has no place for the regulariser, or a map that is smaller than its blocks.
    pub fn build_regularised(
        plan: &Plan,
        regulariser: &RegulariserSettings,
        seed: u64,
        device: Device,
    ) -> Result<Network> {
        let sites = sites::find(plan, regulariser).map_err(|(key, e)| TrainError::Plan(format!("{key} {e}")))?;
        let mut builder = Builder::new(seed, device)?;
        builder.sites = sites.iter().enumerate().map(|(i, site)| (site.name.clone(), i)).collect();
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
        let places = sites.into_iter().map(|site| place(site, &builder.tensors, device)).collect::<Result<_>>()?;
        let mut network = Network {
            plan: plan.clone(),
            device,
            layout: Layout::Plain,
            precision: Precision::F32,
            stages,
            places,
            regulariser: regulariser.clone(),
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
        self.pass(images, &mut stats.into(), None)
    }

    /// Logits in training, as [`Network::forward`] gives them, with activations distorted with the probability `p`. All
    /// random numbers depend on `key` alone.
    pub fn forward_distorted(&self, images: &Tensor, p: f64, key: u64) -> Result<Tensor> {
        if self.places.is_empty() {
            return self.forward(images, Mode::Train);
        }
        let mut distortion = Distortion::new(&self.regulariser, p, key, self.device)?;
        let mut pass = Pass { stats: Stats::Batch(NORM_MOMENTUM), distortion: Some(&mut distortion) };
        self.pass(images, &mut pass, None)
    }

    /// As [`Network::forward_distorted`], but leaves running statistics alone and records no gradients; with what it looked
    /// like at every place.
    pub fn look(&self, images: &Tensor, p: f64, key: u64) -> Result<(Tensor, Vec<Look>)> {
        let _frozen = NoGrad::new();
        let mut distortion = Distortion::new(&self.regulariser, p, key, self.device)?.watched(key, self.device)?;
        let logits =
            self.pass(images, &mut Pass { stats: Stats::BatchOnly, distortion: Some(&mut distortion) }, None)?;
        Ok((logits, distortion.looks.map(|looks| looks.seen).unwrap_or_default()))
    }

    /// Logits of [`Network::look`] alone, without its cost.
    pub fn distorted(&self, images: &Tensor, p: f64, key: u64) -> Result<Tensor> {
        let _frozen = NoGrad::new();
        let mut distortion = Distortion::new(&self.regulariser, p, key, self.device)?;
        self.pass(images, &mut Pass { stats: Stats::BatchOnly, distortion: Some(&mut distortion) }, None)
    }

    /// Whether activations can be distorted.
    pub fn is_regularised(&self) -> bool {
        !self.places.is_empty()
    }

    /// Logits, and the output of every searched slot that the plan fills, averaged over height and width to `[n, C]`.
    ///
    /// Normalises by the batch's own statistics, leaves the running ones alone, records no gradients. Outputs are in
    /// 32 bits and in the order of the plan.
    pub fn forward_probe(&self, images: &Tensor) -> Result<(Tensor, Vec<(usize, Tensor)>)> {
        let _frozen = NoGrad::new();
        let mut seen = Vec::with_capacity(self.plan.slots);
        let logits = self.pass(images, &mut Stats::BatchOnly.into(), Some(&mut seen))?;
        Ok((logits, seen))
    }

    /// A pass by batch statistics towards which the running ones move by `share`.
    pub(crate) fn forward_recalibrating(&self, images: &Tensor, share: f64) -> Result<Tensor> {
        self.pass(images, &mut Stats::Batch(share).into(), None)
    }

    fn pass(&self, images: &Tensor, pass: &mut Pass, mut seen: Option<&mut Vec<(usize, Tensor)>>) -> Result<Tensor> {
        self.within(images, |mut x| {
            for stage in &self.stages {
                x = self.stage(stage, x, pass)?;
                if let (Some(slot), Some(seen)) = (stage.slot, seen.as_deref_mut()) {
                    let pooled = if x.dim() == 4 {
                        x.f_mean_dim(&[2i64, 3][..], false, Kind::Float)?
                    } else {
                        x.f_to_kind(Kind::Float)?
                    };
                    seen.push((slot, pooled));
                }
            }
            Ok(x)
        })
    }

    /// Brings images into the network's layout and its arithmetic over `body`, and the result back to 32 bits.
    fn within(&self, images: &Tensor, body: impl FnOnce(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let x = match (self.plan.input, self.layout) {
            (Shape::Flat(_), _) => images.f_flatten(1, -1)?,
            (Shape::Image(..), Layout::ChannelsLast) => kiln_torch::channels_last(images)?,
            (Shape::Image(..), Layout::Plain) => images.shallow_clone(),
        };
        let x = {
            let _cast = match self.precision {
                Precision::Bf16 => Some(Autocast::new(self.device, Kind::BFloat16)?),
                // What nobody has settled is 32 bits.
                Precision::F32 | Precision::Auto => None,
            };
            body(x)?
        };
        Ok(if x.kind() == Kind::Float { x } else { x.f_to_kind(Kind::Float)? })
    }

    fn stage(&self, stage: &Stage, input: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let kept = stage.shortcut.then(|| input.shallow_clone());
        let mut x = if stage.graph.is_empty() { input } else { self.graph(&stage.graph, input, pass)? };
        for op in &stage.ops {
            x = self.op(op, x, pass)?;
        }
        if let Some(kept) = kept {
            x = if stage.add_in_place { x.f_add_(&kept)? } else { x.f_add(&kept)? };
        }
        match stage.after {
            Some(act) => activate(act, x, false),
            None => Ok(x),
        }
    }

    /// The last value of a graph.
    fn graph(&self, nodes: &[NodeOps], input: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut values = vec![input];
        for node in nodes {
            let mut terms = Vec::with_capacity(node.inputs.len());
            for (from, ops) in &node.inputs {
                let mut x = values[*from].shallow_clone();
                for op in ops {
                    x = self.op(op, x, pass)?;
                }
                terms.push(x);
            }
            let mut x = match (node.join, terms.as_slice()) {
                (_, []) => values[0].f_zeros_like()?,
                (_, [only]) => only.shallow_clone(),
                (Join::Concat, all) => Tensor::f_cat(all, 1)?,
                (Join::Sum, [first, rest @ ..]) => {
                    let mut sum = first.shallow_clone();
                    for term in rest {
                        sum = sum.f_add(term)?;
                    }
                    sum
                }
            };
            for op in &node.ops {
                x = self.op(op, x, pass)?;
            }
            values.push(x);
        }
        // The builder refuses graphs without nodes, so the last value is a node's.
        Ok(values.swap_remove(values.len() - 1))
    }

    fn op(&self, op: &Op, x: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let at = |i: usize| &self.tensors[i].tensor;
        let rows = self.layout == Layout::ChannelsLast;
        Ok(match *op {
            Op::Conv { weight, bias, stride, padding, groups, relu } => {
                Conv { stride, padding, groups, relu, rows }.of(&x, at(weight), bias.map(at))?
            }
            Op::BatchNorm { weight, bias, mean, var, relu } => {
                let (momentum, running) = match pass.stats {
                    Stats::Running => (None, Some((at(mean), at(var)))),
                    Stats::Batch(share) => (Some(share), Some((at(mean), at(var)))),
                    Stats::BatchOnly => (Some(NORM_MOMENTUM), None),
                };
                Norm { momentum, eps: NORM_EPS, relu, rows }.of(&x, (at(weight), at(bias)), running)?
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
            Op::MaxPool3 => x.f_max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false)?,
            Op::AvgPool => x.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, false, None::<i64>)?,
            Op::AvgPool3 => x.f_avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None::<i64>)?,
            Op::Truncate { channels } => x.f_narrow(1, 0, channels)?,
            Op::ChannelShuffle { groups } => {
                let (n, c, h, w) = x.size4()?;
                x.f_view([n, groups, c / groups, h, w])?.f_transpose(1, 2)?.f_reshape([n, c, h, w])?
            }
            Op::GlobalAvgPool => x.f_mean_dim(&[2i64, 3][..], false, None)?,
            Op::Flatten => x.f_flatten(1, -1)?,
            Op::Linear { weight, bias } => x.f_linear(at(weight), bias.map(at))?,
            Op::Distort { place } => match &mut pass.distortion {
                Some(distortion) => {
                    let Place { site, next } = &self.places[place];
                    distortion.of(x, site, next.as_ref().map(|(weight, reading)| (at(*weight), reading)))?
                }
                None => x,
            },
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

    /// Running means and variances of batch normalisation, sharing the network's storage.
    pub(crate) fn running_statistics(&self) -> Vec<Tensor> {
        let fixed =
            self.tensors.iter().filter(|t| t.name.ends_with(".running_mean") || t.name.ends_with(".running_var"));
        fixed.map(|t| t.tensor.detach()).collect()
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

/// A place with the weights of the layer that reads it.
fn place(site: kiln_arch::Site, tensors: &[Named], device: Device) -> Result<Place> {
    let next = match &site.next {
        Some(reader) => {
            let weight = format!("{}.weight", reader.name);
            let weight = tensors.iter().position(|t| t.name == weight).ok_or_else(|| {
                TrainError::Plan(format!("layer `{}`, which reads `{}`, has no weights", reader.name, site.name))
            })?;
            Some((weight, Reading::new(reader, site.shape.channels(), device)?))
        }
        None => None,
    };
    Ok(Place { site, next })
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
