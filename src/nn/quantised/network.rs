//! A network of a blueprint: its tensors, its passes, channels taken out.

use std::collections::HashMap;

use kiln_arch::Act;
use kiln_arch::quantised::{Bits, Blueprint, Shortcut, Unit};
use kiln_arch::spec::SignGradient;
use kiln_arch::spec::seed::derive;
use kiln_torch::layers::Norm;
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use super::quant;
use crate::error::{Result, TrainError};
use crate::init;
use crate::network::overwrite;

const NORM_EPS: f64 = 1e-5;
const NORM_MOMENTUM: f64 = 0.1;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pass {
    /// Batch statistics, towards which the running ones move by the usual share.
    Train,
    /// The same, by another share.
    Recalibrate(f64),
    /// Running statistics.
    Eval,
    /// As inference on packed bits computes: whole numbers in quantised layers, sums of the others in 64 bits, normalisation
    /// folded. Records no gradients; importances are left out.
    Exact,
}

/// What a pass has seen.
pub struct Seen {
    /// `[n, classes]`
    pub logits: Tensor,
    /// What the features are made of, before ReLU or quantisation: behind the first layer and behind every unit.
    pub before: Vec<Tensor>,
    /// The features of a quantised network, importances included; of a full-precision one the same as `before`.
    pub features: Vec<Tensor>,
}

struct Named {
    name: String,
    tensor: Tensor,
    trainable: bool,
    /// Latent weights of a quantised layer.
    latent: bool,
}

/// A network on one device. Images go in as `[n, c, h, w]`, logits come out as `[n, classes]`.
pub struct QuantNetwork {
    blueprint: Blueprint,
    gradient: SignGradient,
    device: Device,
    tensors: Vec<Named>,
    index: HashMap<String, usize>,
}

impl QuantNetwork {
    /// A network with initial weights. Every tensor is drawn from a stream named after it.
    pub fn new(blueprint: &Blueprint, gradient: SignGradient, seed: u64, device: Device) -> Result<QuantNetwork> {
        let mut network =
            QuantNetwork { blueprint: blueprint.clone(), gradient, device, tensors: Vec::new(), index: HashMap::new() };
        let width = |group: usize| i64::from(blueprint.widths[group]);
        let [channels, height, breadth] = blueprint.input.map(i64::from);
        let quantised = blueprint.bits.is_some();
        let relu = Some(Act::Relu);
        let shape = match i64::from(blueprint.first.kernel) {
            0 => vec![width(0), channels * height * breadth],
            k => vec![width(0), channels, k, k],
        };
        network.weight("first.weight", &shape, relu, false, seed)?;
        network.norm("first", width(0))?;
        for unit in &blueprint.units {
            let (from, to, k) = (width(unit.from), width(unit.to), i64::from(unit.kernel));
            let flat = blueprint.first.kernel == 0;
            let shape = if flat { vec![to, from] } else { vec![to, from, k, k] };
            network.weight(&format!("{}.weight", unit.name), &shape, relu, quantised, seed)?;
            network.norm(&unit.name, to)?;
            if unit.shortcut == Shortcut::Downsample {
                let name = format!("{}.shortcut", unit.name);
                network.weight(&format!("{name}.weight"), &[to, from, 1, 1], None, false, seed)?;
                network.norm(&name, to)?;
            }
        }
        let classes = i64::from(blueprint.classes);
        network.weight("classifier.weight", &[classes, width(blueprint.last_group())], None, false, seed)?;
        network.constant("classifier.bias", classes, 0.0, true)?;
        Ok(network)
    }

    fn weight(&mut self, name: &str, shape: &[i64], next: Option<Act>, latent: bool, seed: u64) -> Result<()> {
        let mut generator = Generator::new(derive(seed, name, 0, 0), Device::Cpu)?;
        let mut tensor = init::weights(shape, 1, next, &mut generator)?;
        if latent {
            let _ = tensor.f_clamp_(-1.0, 1.0)?;
        }
        self.push(name.to_owned(), tensor, true, latent)
    }

    fn constant(&mut self, name: &str, length: i64, value: f64, trainable: bool) -> Result<()> {
        let tensor = Tensor::f_full([length], value, (Kind::Float, Device::Cpu))?;
        self.push(name.to_owned(), tensor, trainable, false)
    }

    fn norm(&mut self, name: &str, channels: i64) -> Result<()> {
        self.constant(&format!("{name}.norm.weight"), channels, 1.0, true)?;
        self.constant(&format!("{name}.norm.bias"), channels, 0.0, true)?;
        self.constant(&format!("{name}.norm.running_mean"), channels, 0.0, false)?;
        self.constant(&format!("{name}.norm.running_var"), channels, 1.0, false)
    }

    fn push(&mut self, name: String, tensor: Tensor, trainable: bool, latent: bool) -> Result<()> {
        let tensor = tensor.f_to_device(self.device)?.f_set_requires_grad(trainable)?;
        self.index.insert(name.clone(), self.tensors.len());
        self.tensors.push(Named { name, tensor, trainable, latent });
        Ok(())
    }

    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// The same network over the same storage, for another thread that only reads.
    pub fn share(&self) -> QuantNetwork {
        let tensors = self.tensors.iter();
        QuantNetwork {
            blueprint: self.blueprint.clone(),
            gradient: self.gradient,
            device: self.device,
            tensors: tensors.map(|t| Named { name: t.name.clone(), tensor: t.tensor.shallow_clone(), ..*t }).collect(),
            index: self.index.clone(),
        }
    }

    /// A tensor by its name, sharing the network's storage.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        let found = self.index.get(name).and_then(|&i| self.tensors.get(i));
        found.map(|t| &t.tensor).ok_or_else(|| TrainError::Plan(format!("the network has no tensor `{name}`")))
    }

    /// Every tensor by name, sharing storage.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        self.tensors.iter().map(|t| (t.name.clone(), t.tensor.detach())).collect()
    }

    /// Trainable tensors: the latent ones if `latent`, else all others.
    pub fn trainable(&self, latent: bool) -> Vec<(String, Tensor)> {
        let wanted = self.tensors.iter().filter(|t| t.trainable && t.latent == latent);
        wanted.map(|t| (t.name.clone(), t.tensor.shallow_clone())).collect()
    }

    /// Overwrites every tensor by the one of the same name.
    ///
    /// # Errors
    /// [`TrainError::Saved`] if one is missing or has another shape; nothing is changed then.
    pub fn load(&mut self, saved: &[(String, Tensor)]) -> Result<()> {
        let by_name: HashMap<&str, &Tensor> = saved.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        overwrite(self.tensors.iter().map(|t| (t.name.as_str(), t.tensor.shallow_clone())).collect(), &by_name)
    }

    /// Brings latent weights back to -1..1: beyond, their gradient is zero and they would never return.
    pub fn clamp_latents(&self) -> Result<()> {
        let _frozen = NoGrad::new();
        for named in self.tensors.iter().filter(|t| t.latent) {
            let _ = named.tensor.shallow_clone().f_clamp_(-1.0, 1.0)?;
        }
        Ok(())
    }

    /// A pass. `importances` are one `[channels]` a group, applied behind quantisation (and to streams where the classifier or
    /// a shortcut of another shape reads them).
    pub fn forward(&self, images: &Tensor, pass: Pass, importances: Option<&[Tensor]>) -> Result<Seen> {
        let _frozen = (pass == Pass::Exact).then(NoGrad::new);
        let importances = importances.filter(|_| pass != Pass::Exact);
        let first = &self.blueprint.first;
        let weight = self.tensor("first.weight")?;
        let mut x = match first.kernel {
            0 => dense(&images.f_flatten(1, -1)?, weight, None, pass)?,
            k => convolved(images, weight, (i64::from(first.stride), i64::from(k / 2)), pass)?,
        };
        x = self.normalised(&x, "first", pass)?;
        if first.pool {
            x = x.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        }
        let mut seen = Seen { logits: Tensor::new(), before: vec![x.shallow_clone()], features: Vec::new() };
        for unit in &self.blueprint.units {
            let features = self.features(&x, pass)?;
            let mut y = self.unit(unit, &features, pass, importances)?;
            y = self.normalised(&y, &unit.name, pass)?;
            y = match unit.shortcut {
                Shortcut::None => y,
                Shortcut::Identity => y.f_add(&x)?,
                Shortcut::Downsample => y.f_add(&self.downsampled(unit, &x, pass, importances)?)?,
            };
            seen.features.push(scaled(&features, importances, unit.from)?);
            x = y;
            seen.before.push(x.shallow_clone());
        }
        let last = self.blueprint.last_group();
        let features = scaled(&self.features(&x, pass)?, importances, last)?;
        // Behind shortcuts the classifier reads the stream, which has no activation of its own.
        let plain = self.blueprint.units.iter().all(|u| u.shortcut == Shortcut::None);
        let read = match (plain, self.blueprint.bits) {
            (true, Some(bits)) if pass == Pass::Exact => levels_to_values(&features, bits)?,
            (true, _) => features.shallow_clone(),
            (false, _) => scaled(&x, importances, last)?,
        };
        seen.features.push(features);
        if self.blueprint.bits.is_none() {
            seen.features = seen.before.iter().map(Tensor::shallow_clone).collect();
        }
        let pooled = match (read.dim(), pass) {
            (4, Pass::Exact) => {
                let wide = read.f_to_kind(Kind::Double)?;
                wide.f_mean_dim([2i64, 3].as_slice(), false, Kind::Double)?.f_to_kind(Kind::Float)?
            }
            (4, _) => read.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?,
            _ => read,
        };
        let bias = self.tensor("classifier.bias")?;
        seen.logits = dense(&pooled, self.tensor("classifier.weight")?, Some(bias), pass)?;
        Ok(seen)
    }

    /// What the next layer reads of a stream, before importances: quantised values (whole numbers in an exact pass), or ReLU.
    fn features(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        match self.blueprint.bits {
            None => Ok(x.f_relu()?),
            Some(bits) if pass == Pass::Exact => quant::feature_levels(x, bits),
            Some(bits) => quant::features(x, bits, self.gradient),
        }
    }

    /// The convolution of a unit, without its normalisation.
    fn unit(&self, unit: &Unit, features: &Tensor, pass: Pass, importances: Option<&[Tensor]>) -> Result<Tensor> {
        let latent = self.tensor(&format!("{}.weight", unit.name))?;
        let none = None::<&Tensor>;
        let stride = i64::from(unit.stride);
        let around = i64::from(unit.kernel / 2);
        let Some(bits) = self.blueprint.bits else {
            return Ok(match latent.dim() {
                2 => features.f_linear(latent, none)?,
                _ => features.f_conv2d(latent, none, [stride, stride], [around, around], [1, 1], 1)?,
            });
        };
        let exact = pass == Pass::Exact;
        let weight = if exact { quant::weight_levels(latent, bits)? } else { quant::weights(latent, bits)? };
        let product = if latent.dim() == 2 {
            scaled(features, importances, unit.from)?.f_linear(&weight, none)?
        } else {
            // Of one bit, padding is a sign like all else; of more bits it is 0 in either form. What stands around a channel
            // has its importance, or a channel of none would leave a frame behind.
            let padded = features.f_pad([around; 4], "constant", bits.padding())?;
            scaled(&padded, importances, unit.from)?.f_conv2d(&weight, none, [stride, stride], [0, 0], [1, 1], 1)?
        };
        if !exact {
            return Ok(product);
        }
        // Whole numbers, whatever way of convolution libtorch takes.
        let mut shape = vec![1; product.dim()];
        shape[1] = -1;
        Ok(product.f_round()?.f_mul(&quant::alpha(latent, bits)?.f_view(shape.as_slice())?)?)
    }

    fn downsampled(&self, unit: &Unit, x: &Tensor, pass: Pass, importances: Option<&[Tensor]>) -> Result<Tensor> {
        let name = format!("{}.shortcut", unit.name);
        let x = scaled(x, importances, unit.from)?;
        let pool = |x: &Tensor| x.f_avg_pool2d([2, 2], [2, 2], [0, 0], true, false, None::<i64>);
        let pooled = match pass {
            Pass::Exact => pool(&x.f_to_kind(Kind::Double)?)?.f_to_kind(Kind::Float)?,
            _ => pool(&x)?,
        };
        let y = convolved(&pooled, self.tensor(&format!("{name}.weight"))?, (1, 0), pass)?;
        self.normalised(&y, &name, pass)
    }

    fn normalised(&self, x: &Tensor, name: &str, pass: Pass) -> Result<Tensor> {
        let get = |what: &str| self.tensor(&format!("{name}.norm.{what}"));
        let share = match pass {
            Pass::Train => NORM_MOMENTUM,
            Pass::Recalibrate(share) => share,
            Pass::Eval | Pass::Exact => {
                let (scale, shift) = self.folded(name)?;
                let mut shape = vec![1; x.dim()];
                shape[1] = -1;
                return Ok(x.f_mul(&scale.f_view(shape.as_slice())?)?.f_add(&shift.f_view(shape.as_slice())?)?);
            }
        };
        let how = Norm { momentum: Some(share), eps: NORM_EPS, relu: false, rows: false };
        Ok(how.of(x, (get("weight")?, get("bias")?), Some((get("running_mean")?, get("running_var")?)))?)
    }

    /// Normalisation by running statistics as one gain and one shift a channel.
    pub fn folded(&self, name: &str) -> Result<(Tensor, Tensor)> {
        let get = |what: &str| self.tensor(&format!("{name}.norm.{what}"));
        let scale = get("weight")?.f_div(&get("running_var")?.f_add_scalar(NORM_EPS)?.f_sqrt()?)?;
        let shift = get("bias")?.f_sub(&get("running_mean")?.f_mul(&scale)?)?;
        Ok((scale, shift))
    }

    /// The network that is left if each group keeps these channels, physically smaller: incoming filters, normalisation and
    /// outgoing slices. Tensors are copies; matrices of projections (`guide.N`) among `others` lose the same columns.
    ///
    /// # Errors
    /// Channels that do not exist.
    pub fn slice(&self, keep: &[Vec<i64>], others: &[(String, Tensor)]) -> Result<(Blueprint, Vec<(String, Tensor)>)> {
        let _frozen = NoGrad::new();
        let widths: Vec<u32> = keep.iter().map(|channels| channels.len() as u32).collect();
        let index = keep
            .iter()
            .map(|channels| Ok(Tensor::f_from_slice(channels)?.f_to_device(self.device)?))
            .collect::<Result<Vec<Tensor>>>()?;
        // Groups that the dimensions of a tensor belong to.
        let mut dims: HashMap<String, [Option<usize>; 2]> = HashMap::new();
        let mut layer = |name: &str, to: usize, from: Option<usize>| {
            dims.insert(format!("{name}.weight"), [Some(to), from]);
            for what in ["weight", "bias", "running_mean", "running_var"] {
                dims.insert(format!("{name}.norm.{what}"), [Some(to), None]);
            }
        };
        layer("first", 0, None);
        for unit in &self.blueprint.units {
            layer(&unit.name, unit.to, Some(unit.from));
            layer(&format!("{}.shortcut", unit.name), unit.to, Some(unit.from));
        }
        dims.insert("classifier.weight".into(), [None, Some(self.blueprint.last_group())]);
        for (i, group) in self.blueprint.feature_groups().into_iter().enumerate() {
            dims.insert(format!("guide.{i}"), [None, Some(group)]);
        }
        let mut out = Vec::with_capacity(self.tensors.len() + others.len());
        for (name, tensor) in
            self.named_tensors().into_iter().chain(others.iter().map(|(n, t)| (n.clone(), t.detach())))
        {
            let mut tensor = tensor.f_detach_copy()?;
            for (dim, group) in dims.get(&name).copied().unwrap_or_default().into_iter().enumerate() {
                if let Some(index) = group.and_then(|g| index.get(g)) {
                    tensor = tensor.f_index_select(dim as i64, index)?;
                }
            }
            out.push((name, tensor));
        }
        Ok((self.blueprint.with_widths(&widths), out))
    }
}

/// Times one number a channel.
fn scaled(x: &Tensor, importances: Option<&[Tensor]>, group: usize) -> Result<Tensor> {
    let Some(s) = importances.and_then(|all| all.get(group)) else { return Ok(x.shallow_clone()) };
    let mut shape = vec![1; x.dim()];
    shape[1] = -1;
    Ok(x.f_mul(&s.f_view(shape.as_slice())?)?)
}

/// Whole numbers as the values that they stand for.
fn levels_to_values(levels: &Tensor, bits: Bits) -> Result<Tensor> {
    if bits.activations == 1 {
        return Ok(levels.shallow_clone());
    }
    Ok(levels.f_div_scalar(f64::from(bits.activation_top()))?)
}

/// A layer in 32 bits; summed in 64 in an exact pass.
fn dense(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, pass: Pass) -> Result<Tensor> {
    if pass != Pass::Exact {
        return Ok(x.f_linear(weight, bias)?);
    }
    let wide = |t: &Tensor| t.f_to_kind(Kind::Double);
    let bias = bias.map(wide).transpose()?;
    Ok(wide(x)?.f_linear(&wide(weight)?, bias.as_ref())?.f_to_kind(Kind::Float)?)
}

/// The same for a convolution, with zeros around.
fn convolved(x: &Tensor, weight: &Tensor, (stride, around): (i64, i64), pass: Pass) -> Result<Tensor> {
    let none = None::<&Tensor>;
    let (stride, around) = ([stride, stride], [around, around]);
    if pass != Pass::Exact {
        return Ok(x.f_conv2d(weight, none, stride, around, [1, 1], 1)?);
    }
    let wide = |t: &Tensor| t.f_to_kind(Kind::Double);
    Ok(wide(x)?.f_conv2d(&wide(weight)?, none, stride, around, [1, 1], 1)?.f_to_kind(Kind::Float)?)
}
