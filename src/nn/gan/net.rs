//! One network of a pair.

use std::collections::HashMap;

use kiln_arch::gan::{Init, Piece};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::network::overwrite;

const NORM_EPS: f64 = 1e-5;
const NORM_MOMENTUM: f64 = 0.1;

/// Standard deviation of convolutions and of gains of batch normalisation at the start (DCGAN).
const SPREAD: f64 = 0.02;

/// Steps of power iteration before the first pass, so that the first singular values are near the true ones.
const FIRST_ITERATIONS: usize = 15;

/// Keeps the division by a norm finite.
const TINY: f64 = 1e-12;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The network learns: batch statistics, which the running ones follow; a step of power iteration.
    Train,
    /// The network learns, but keeps its statistics and singular vectors: the pass of a penalty.
    Again,
    /// Only what is in front of the network learns: batch statistics; weights are constants, nothing changes.
    Through,
    /// Running statistics.
    Eval,
}

/// One operation; numbers are places in `Net::tensors`.
enum Op {
    Linear {
        weight: Weight,
        bias: usize,
    },
    Conv {
        weight: Weight,
        bias: Option<usize>,
        stride: i64,
        padding: i64,
    },
    Deconv {
        weight: Weight,
        bias: Option<usize>,
        stride: i64,
        padding: i64,
    },
    BatchNorm {
        weight: usize,
        bias: usize,
        mean: usize,
        var: usize,
    },
    Relu,
    /// One number, as libtorch's function of this name wants it.
    LeakyRelu {
        slope: Tensor,
    },
    Tanh,
    Unflatten {
        shape: [i64; 3],
    },
    Flatten,
    Upsample,
    AvgPool,
    SumPool,
    Residual {
        main: Vec<Op>,
        skip: Vec<Op>,
    },
}

/// A weight, and the places of its left and right singular vectors if it is divided by its largest singular value.
struct Weight {
    at: usize,
    singular: Option<(usize, usize)>,
}

struct Named {
    name: String,
    tensor: Tensor,
    trainable: bool,
}

/// A generator or a discriminator on one device, in plain layout and 32 bits.
pub struct Net {
    ops: Vec<Op>,
    tensors: Vec<Named>,
    device: Device,
}

impl Net {
    /// Builds a chain of layers with initial weights from `seed`, drawn on the CPU so that they are the same on every
    /// device.
    pub fn build(pieces: &[Piece], init: Init, spectral: bool, seed: u64, device: Device) -> Result<Net> {
        let generator = Generator::new(seed, Device::Cpu)?;
        let mut builder = Builder { generator, init, spectral, device, tensors: Vec::new() };
        let ops = builder.chain(pieces, "")?;
        let net = Net { ops, tensors: builder.tensors, device };
        for _ in 0..FIRST_ITERATIONS {
            net.iterate(&net.ops)?;
        }
        Ok(net)
    }

    /// Where its tensors are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What the chain makes of `input`.
    pub fn forward(&self, input: &Tensor, pass: Pass) -> Result<Tensor> {
        self.chain(&self.ops, input.shallow_clone(), pass)
    }

    /// All tensors by name, running statistics and singular vectors included; shared with the network.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        self.tensors.iter().map(|t| (t.name.clone(), t.tensor.shallow_clone())).collect()
    }

    /// The trainable ones.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let trainable = self.tensors.iter().filter(|t| t.trainable);
        trainable.map(|t| (t.name.clone(), t.tensor.shallow_clone())).collect()
    }

    /// Overwrites every tensor by the one of the same name.
    ///
    /// # Errors
    /// [`crate::TrainError::Saved`] if one is missing or has another shape; nothing is changed then.
    pub fn load(&mut self, saved: &[(String, Tensor)]) -> Result<()> {
        let by_name: HashMap<&str, &Tensor> = saved.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        overwrite(self.tensors.iter().map(|t| (t.name.as_str(), t.tensor.shallow_clone())).collect(), &by_name)
    }

    /// Moves every parameter towards that of a network of the same layers: `own = decay * own + (1 - decay) * other`.
    /// Running statistics are taken over as they are.
    pub fn follow(&mut self, other: &Net, decay: f64) -> Result<()> {
        let _frozen = NoGrad::new();
        for (own, other) in self.tensors.iter_mut().zip(&other.tensors) {
            if own.trainable {
                let _moved = own.tensor.f_lerp_(&other.tensor, 1.0 - decay)?;
            } else {
                own.tensor.f_copy_(&other.tensor)?;
            }
        }
        Ok(())
    }

    fn chain(&self, ops: &[Op], mut x: Tensor, pass: Pass) -> Result<Tensor> {
        for op in ops {
            x = self.op(op, x, pass)?;
        }
        Ok(x)
    }

    fn op(&self, op: &Op, x: Tensor, pass: Pass) -> Result<Tensor> {
        let at = |i: usize| self.at(i, pass);
        Ok(match op {
            Op::Linear { weight, bias } => x.f_linear(&self.weight(weight, pass)?, Some(&at(*bias)?))?,
            Op::Conv { weight, bias, stride, padding } => {
                let bias = bias.map(at).transpose()?;
                let weight = self.weight(weight, pass)?;
                x.f_conv2d(&weight, bias.as_ref(), [*stride; 2], [*padding; 2], [1, 1], 1)?
            }
            Op::Deconv { weight, bias, stride, padding } => {
                let bias = bias.map(at).transpose()?;
                let weight = self.weight(weight, pass)?;
                x.f_conv_transpose2d(&weight, bias.as_ref(), [*stride; 2], [*padding; 2], [0, 0], 1, [1, 1])?
            }
            Op::BatchNorm { weight, bias, mean, var } => {
                let (weight, bias) = (at(*weight)?, at(*bias)?);
                let running = |i: &usize| matches!(pass, Pass::Train | Pass::Eval).then(|| &self.tensors[*i].tensor);
                let training = pass != Pass::Eval;
                x.f_batch_norm(
                    Some(&weight),
                    Some(&bias),
                    running(mean),
                    running(var),
                    training,
                    NORM_MOMENTUM,
                    NORM_EPS,
                    true,
                )?
            }
            Op::Relu => x.f_relu()?,
            // The binding of libtorch's `leaky_relu` knows a slope of 0.01 alone.
            Op::LeakyRelu { slope } => x.f_prelu(slope)?,
            Op::Tanh => x.f_tanh()?,
            Op::Unflatten { shape: [c, h, w] } => x.f_reshape([-1, *c, *h, *w])?,
            Op::Flatten => x.f_flatten(1, -1)?,
            Op::Upsample => {
                let (_, _, h, w) = x.size4()?;
                x.f_upsample_nearest2d([2 * h, 2 * w], None, None)?
            }
            Op::AvgPool => x.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None::<i64>)?,
            Op::SumPool => x.f_sum_dim_intlist(&[2i64, 3][..], false, None)?,
            Op::Residual { main, skip } => {
                let beside = self.chain(skip, x.shallow_clone(), pass)?;
                self.chain(main, x, pass)?.f_add(&beside)?
            }
        })
    }

    /// A tensor as the pass sees it.
    fn at(&self, i: usize, pass: Pass) -> Result<Tensor> {
        let tensor = &self.tensors[i].tensor;
        Ok(if pass == Pass::Through { tensor.f_detach()? } else { tensor.shallow_clone() })
    }

    fn weight(&self, weight: &Weight, pass: Pass) -> Result<Tensor> {
        let tensor = self.at(weight.at, pass)?;
        let Some((u, v)) = weight.singular else { return Ok(tensor) };
        if pass == Pass::Train {
            self.iterate_one(weight.at, (u, v))?;
        }
        // Later iterations overwrite the vectors in place, while this pass still waits for its gradient: so copies.
        let (u, v) = (self.tensors[u].tensor.f_detach_copy()?, self.tensors[v].tensor.f_detach_copy()?);
        let sigma = u.f_dot(&tensor.f_flatten(1, -1)?.f_mv(&v)?)?;
        Ok(tensor.f_div(&sigma)?)
    }

    /// A step of power iteration for every weight that is normalised.
    fn iterate(&self, ops: &[Op]) -> Result<()> {
        for op in ops {
            match op {
                Op::Linear { weight, .. } | Op::Conv { weight, .. } | Op::Deconv { weight, .. } => {
                    if let Some(pair) = weight.singular {
                        self.iterate_one(weight.at, pair)?;
                    }
                }
                Op::Residual { main, skip } => {
                    self.iterate(main)?;
                    self.iterate(skip)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn iterate_one(&self, weight: usize, (u, v): (usize, usize)) -> Result<()> {
        let _frozen = NoGrad::new();
        let matrix = self.tensors[weight].tensor.f_flatten(1, -1)?;
        let (mut u, mut v) = (self.tensors[u].tensor.shallow_clone(), self.tensors[v].tensor.shallow_clone());
        v.f_copy_(&unit(&matrix.f_transpose(0, 1)?.f_mv(&u)?)?)?;
        u.f_copy_(&unit(&matrix.f_mv(&v)?)?)?;
        Ok(())
    }
}

fn unit(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_div(&x.f_norm()?.f_clamp_min(TINY)?)?)
}

struct Builder {
    generator: Generator,
    init: Init,
    spectral: bool,
    device: Device,
    tensors: Vec<Named>,
}

impl Builder {
    fn chain(&mut self, pieces: &[Piece], prefix: &str) -> Result<Vec<Op>> {
        pieces.iter().enumerate().map(|(i, piece)| self.op(piece, &format!("{prefix}{i}"))).collect()
    }

    fn op(&mut self, piece: &Piece, name: &str) -> Result<Op> {
        let n = |x: u32| i64::from(x);
        Ok(match piece {
            Piece::Linear { input, out } => {
                let weight = self.weight(name, &[n(*out), n(*input)], (n(*input), n(*out)), true)?;
                let bias = match self.init {
                    Init::Dcgan => self.uniform([n(*out)].as_slice(), 1.0 / f64::from(*input).sqrt())?,
                    Init::Glorot => self.constant(*out, 0.0)?,
                };
                Op::Linear { weight, bias: self.push(format!("{name}.bias"), bias, true)? }
            }
            Piece::Conv { input, out, kernel, stride, padding, bias } => {
                let (area, k) = (n(kernel * kernel), n(*kernel));
                let fans = (n(*input) * area, n(*out) * area);
                let weight = self.weight(name, &[n(*out), n(*input), k, k], fans, false)?;
                let bias = self.bias(name, *out, *bias)?;
                Op::Conv { weight, bias, stride: n(*stride), padding: n(*padding) }
            }
            Piece::Deconv { input, out, kernel, stride, padding, bias } => {
                let (area, k) = (n(kernel * kernel), n(*kernel));
                let fans = (n(*input) * area, n(*out) * area);
                let weight = self.weight(name, &[n(*input), n(*out), k, k], fans, false)?;
                let bias = self.bias(name, *out, *bias)?;
                Op::Deconv { weight, bias, stride: n(*stride), padding: n(*padding) }
            }
            Piece::BatchNorm { channels } => {
                let gain = match self.init {
                    Init::Dcgan => self.normal(&[n(*channels)], 1.0, SPREAD)?,
                    Init::Glorot => self.constant(*channels, 1.0)?,
                };
                let (zeros, ones) = (self.constant(*channels, 0.0)?, self.constant(*channels, 1.0)?);
                Op::BatchNorm {
                    weight: self.push(format!("{name}.weight"), gain, true)?,
                    bias: self.push(format!("{name}.bias"), zeros.f_detach_copy()?, true)?,
                    mean: self.push(format!("{name}.running_mean"), zeros, false)?,
                    var: self.push(format!("{name}.running_var"), ones, false)?,
                }
            }
            Piece::Relu => Op::Relu,
            Piece::LeakyRelu { slope } => {
                let slope = Tensor::f_full([1], *slope, (Kind::Float, self.device))?;
                Op::LeakyRelu { slope }
            }
            Piece::Tanh => Op::Tanh,
            Piece::Unflatten { channels, height, width } => {
                Op::Unflatten { shape: [n(*channels), n(*height), n(*width)] }
            }
            Piece::Flatten => Op::Flatten,
            Piece::Upsample => Op::Upsample,
            Piece::AvgPool => Op::AvgPool,
            Piece::SumPool => Op::SumPool,
            Piece::Residual { main, skip } => Op::Residual {
                main: self.chain(main, &format!("{name}.main."))?,
                skip: self.chain(skip, &format!("{name}.skip."))?,
            },
        })
    }

    fn weight(&mut self, name: &str, shape: &[i64], fans: (i64, i64), linear: bool) -> Result<Weight> {
        let (fan_in, fan_out) = (fans.0 as f64, fans.1 as f64);
        let tensor = match (self.init, linear) {
            (Init::Dcgan, true) => self.uniform(shape, 1.0 / fan_in.sqrt())?,
            (Init::Dcgan, false) => self.normal(shape, 0.0, SPREAD)?,
            // Uniform up to `b` has the variance `b^2 / 3`.
            (Init::Glorot, _) => self.uniform(shape, (6.0 / (fan_in + fan_out)).sqrt())?,
        };
        let rows = shape.first().copied().unwrap_or(1);
        let columns = shape.iter().skip(1).product::<i64>();
        let at = self.push(format!("{name}.weight"), tensor, true)?;
        let singular = if self.spectral {
            let (u, v) = (self.normal(&[rows], 0.0, 1.0)?, self.normal(&[columns], 0.0, 1.0)?);
            let u = self.push(format!("{name}.left"), unit(&u)?, false)?;
            Some((u, self.push(format!("{name}.right"), unit(&v)?, false)?))
        } else {
            None
        };
        Ok(Weight { at, singular })
    }

    fn bias(&mut self, name: &str, out: u32, wanted: bool) -> Result<Option<usize>> {
        if !wanted {
            return Ok(None);
        }
        let zeros = self.constant(out, 0.0)?;
        self.push(format!("{name}.bias"), zeros, true).map(Some)
    }

    fn normal(&mut self, shape: &[i64], mean: f64, std: f64) -> Result<Tensor> {
        let mut tensor = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
        self.generator.normal_(&mut tensor, mean, std)?;
        Ok(tensor)
    }

    fn uniform(&mut self, shape: &[i64], bound: f64) -> Result<Tensor> {
        let mut tensor = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
        self.generator.uniform_(&mut tensor, -bound, bound)?;
        Ok(tensor)
    }

    fn constant(&self, length: u32, value: f64) -> Result<Tensor> {
        Ok(Tensor::f_full([i64::from(length)], value, (Kind::Float, Device::Cpu))?)
    }

    fn push(&mut self, name: String, tensor: Tensor, trainable: bool) -> Result<usize> {
        let tensor = tensor.f_to_device(self.device)?.f_set_requires_grad(trainable)?;
        self.tensors.push(Named { name, tensor, trainable });
        Ok(self.tensors.len() - 1)
    }
}
