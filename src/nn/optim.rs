//! SGD and AdamW on libtorch's multi-tensor kernels, with their state as named tensors.
//!
//! The formulas and the order of operations are PyTorch's: weight decay reaches every trainable tensor, gains and
//! biases included; SGD adds it to the gradient, AdamW shrinks the weights by it.

use std::collections::HashMap;

use kiln_arch::spec::{OptimKind, OptimSettings};
use kiln_torch::optim_kernels::{self, AdamW, Sgd};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::network::{Network, overwrite};

const ADAM_EPS: f64 = 1e-8;

/// Which of libtorch's two kernels does the step. Both compute the same formula; their roundings differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// All of it in one pass over each tensor.
    Fused,
    /// One list operation after another.
    Foreach,
}

/// An optimiser for the trainable tensors of one network.
pub struct Optimizer {
    kind: OptimKind,
    kernel: Kernel,
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
    beta2: f64,
    clip: f64,
    params: Vec<Tensor>,
    names: Vec<String>,
    /// Momentum of SGD, first moments of AdamW.
    first: Vec<Tensor>,
    /// Second moments of AdamW.
    second: Vec<Tensor>,
    /// Step counts of AdamW, one a parameter, as the kernels want them.
    counts: Vec<Tensor>,
}

impl Optimizer {
    /// A fresh optimiser for `network`, which must not change its layout afterwards.
    pub fn new(settings: &OptimSettings, network: &Network) -> Result<Optimizer> {
        let params: Vec<Tensor> = network.trainable().iter().map(Tensor::shallow_clone).collect();
        let zeros = || -> Result<Vec<Tensor>> { params.iter().map(|p| Ok(p.f_zeros_like()?.f_detach()?)).collect() };
        let adam = settings.kind == OptimKind::Adamw;
        let device = network.device();
        let counts = if adam {
            params.iter().map(|_| Ok(Tensor::f_zeros([1], (Kind::Float, device))?)).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        Ok(Optimizer {
            kind: settings.kind,
            kernel: Optimizer::kernel(device),
            lr: settings.lr,
            weight_decay: settings.weight_decay,
            momentum: settings.momentum,
            nesterov: settings.nesterov && settings.momentum > 0.0,
            beta2: settings.beta2,
            clip: settings.grad_clip,
            names: network.trainable_names().into_iter().map(String::from).collect(),
            first: if adam || settings.momentum > 0.0 { zeros()? } else { Vec::new() },
            second: if adam { zeros()? } else { Vec::new() },
            counts,
            params,
        })
    }

    fn kernel(device: Device) -> Kernel {
        match device {
            Device::Cpu => Kernel::Foreach,
            _ => Kernel::Fused,
        }
    }

    /// Initial learning rate, before the schedule's factor.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// Sets the initial learning rate; counts from the next step.
    pub fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    /// Weight decay.
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    /// Sets the weight decay; counts from the next step.
    pub fn set_weight_decay(&mut self, weight_decay: f64) {
        self.weight_decay = weight_decay;
    }

    /// Largest norm of the gradient; 0 for no clipping.
    pub fn grad_clip(&self) -> f64 {
        self.clip
    }

    /// Sets the largest norm of the gradient; 0 for no clipping.
    pub fn set_grad_clip(&mut self, clip: f64) {
        self.clip = clip;
    }

    /// One step with the gradients that the parameters hold, at `factor` times the initial rate; then drops the gradients.
    pub fn step(&mut self, factor: f64) -> Result<()> {
        let grads = self.params.iter().map(|p| Ok(p.f_grad()?)).collect::<Result<Vec<_>>>()?;
        if self.clip > 0.0 {
            kiln_torch::clip_grad_norm(&grads, self.clip)?;
        }
        let lr = self.lr * factor;
        match self.kind {
            OptimKind::Sgd => {
                // A buffer of zeros makes the first step what PyTorch does: the buffer becomes the gradient.
                let how = Sgd {
                    lr,
                    momentum: self.momentum,
                    dampening: 0.0,
                    weight_decay: self.weight_decay,
                    nesterov: self.nesterov,
                    first_step: false,
                };
                match self.kernel {
                    Kernel::Fused => optim_kernels::fused_sgd(&how, &self.params, &grads, &self.first)?,
                    Kernel::Foreach => optim_kernels::foreach_sgd(&how, &self.params, &grads, &self.first)?,
                }
            }
            OptimKind::Adamw => {
                let how = AdamW { lr, beta1: self.momentum, beta2: self.beta2, eps: ADAM_EPS, weight_decay: self.weight_decay };
                let (first, second, counts) = (&self.first, &self.second, &self.counts);
                match self.kernel {
                    Kernel::Fused => optim_kernels::fused_adamw(&how, &self.params, &grads, first, second, counts)?,
                    Kernel::Foreach => optim_kernels::foreach_adamw(&how, &self.params, &grads, first, second, counts)?,
                }
            }
        }
        self.zero_grad()
    }

    /// Drops the gradients. Autograd then hands the next ones over without adding to old ones.
    pub fn zero_grad(&self) -> Result<()> {
        Ok(kiln_torch::clear_grads(&self.params)?)
    }

    /// The state by name: `<parameter>.momentum`, or `.exp_avg`, `.exp_avg_sq` and `.step`. Shares the optimiser's storage.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let (first, second, count) = match self.kind {
            OptimKind::Sgd => ("momentum", "", ""),
            OptimKind::Adamw => ("exp_avg", "exp_avg_sq", "step"),
        };
        [(first, &self.first), (second, &self.second), (count, &self.counts)]
            .into_iter()
            .flat_map(|(what, tensors)| {
                self.names.iter().zip(tensors).map(move |(name, t)| (format!("{name}.{what}"), t.shallow_clone()))
            })
            .collect()
    }

    /// Overwrites the state by the tensors of the same names.
    ///
    /// # Errors
    /// [`crate::TrainError::Saved`] if one is missing or has another shape; nothing is changed then.
    pub fn load(&mut self, saved: &[(String, Tensor)]) -> Result<()> {
        let by_name: HashMap<&str, &Tensor> = saved.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let own = self.named_tensors();
        overwrite(own.iter().map(|(name, t)| (name.as_str(), t.shallow_clone())).collect(), &by_name)
    }
}
