//! SGD and AdamW on libtorch's fused kernels, with their state as named tensors.
//!
//! Fused rather than foreach on every device: on the CPU with one intra-op thread a step of a small network takes it a
//! third to a seventh of the time, and none took longer.
//!
//! The formulas and the order of operations are PyTorch's: weight decay reaches every trainable tensor, gains and
//! biases included; SGD adds it to the gradient, AdamW shrinks the weights by it.

use std::collections::HashMap;

use kiln_arch::spec::{OptimKind, OptimSettings};
use kiln_torch::optim_kernels::{self, AdamW, AdamWState, Sgd};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::network::{Network, overwrite};

const ADAM_EPS: f64 = 1e-8;

/// An optimiser for trainable tensors, such as those of one network.
pub struct Optimizer {
    kind: OptimKind,
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
    /// Step counts of AdamW, one a parameter, as the kernel wants them.
    counts: Vec<Tensor>,
    /// Steps whose gradient was cut, f64 `[]` on the device; none while nothing limits it.
    cuts: Option<Tensor>,
}

impl Optimizer {
    /// A fresh optimiser for `network`, which must not change its layout afterwards.
    pub fn new(settings: &OptimSettings, network: &Network) -> Result<Optimizer> {
        let names = network.trainable_names().into_iter().map(String::from);
        let named = names.zip(network.trainable().iter().map(Tensor::shallow_clone)).collect();
        Optimizer::over(settings, named, network.device())
    }

    /// A fresh optimiser for these parameters, which share their storage with it, all on one device.
    pub fn over(settings: &OptimSettings, named: Vec<(String, Tensor)>, device: Device) -> Result<Optimizer> {
        let (names, params): (Vec<String>, Vec<Tensor>) = named.into_iter().unzip();
        let zeros = || -> Result<Vec<Tensor>> { params.iter().map(|p| Ok(p.f_zeros_like()?.f_detach()?)).collect() };
        let adam = settings.kind == OptimKind::Adamw;
        let counts = if adam {
            params.iter().map(|_| Ok(Tensor::f_zeros([1], (Kind::Float, device))?)).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        Ok(Optimizer {
            kind: settings.kind,
            lr: settings.lr,
            weight_decay: settings.weight_decay,
            momentum: settings.momentum,
            nesterov: settings.nesterov && settings.momentum > 0.0,
            beta2: settings.beta2,
            clip: settings.grad_clip,
            names,
            first: if adam || settings.momentum > 0.0 { zeros()? } else { Vec::new() },
            second: if adam { zeros()? } else { Vec::new() },
            counts,
            cuts: None,
            params,
        })
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

    /// Steps since [`Optimizer::set_cuts`] whose gradient was longer than [`Optimizer::grad_clip`]: f64 `[]` on the device.
    /// `None` if no step had a limit.
    pub fn cuts(&self) -> Option<&Tensor> {
        self.cuts.as_ref()
    }

    /// Goes on counting cut gradients from here.
    pub fn set_cuts(&mut self, cuts: Option<Tensor>) {
        self.cuts = cuts;
    }

    /// One step with the gradients that the parameters hold, at `factor` times the initial rate; then drops the gradients.
    /// Parameters without one (blocks of a super-network that were not sampled) stay as they are, their state too.
    pub fn step(&mut self, factor: f64) -> Result<()> {
        let mut grads = Vec::with_capacity(self.params.len());
        let mut held = Vec::with_capacity(self.params.len());
        for (i, param) in self.params.iter().enumerate() {
            let grad = param.f_grad()?;
            if grad.defined() {
                grads.push(grad);
                held.push(i);
            }
        }
        if self.clip > 0.0 {
            // Counted on the device: to read the norm here would be to wait for it.
            let cut = kiln_torch::clip_grad_norm(&grads, self.clip)?.f_gt(self.clip)?.f_to_kind(Kind::Double)?;
            self.cuts = Some(match self.cuts.take() {
                Some(mut cuts) => cuts.f_add_(&cut)?,
                None => cut,
            });
        }
        let lr = self.lr * factor;
        let all = held.len() == self.params.len();
        let of = |tensors: &[Tensor]| -> Vec<Tensor> {
            held.iter().filter_map(|&i| tensors.get(i).map(Tensor::shallow_clone)).collect()
        };
        let some = (!all).then(|| [&self.params, &self.first, &self.second, &self.counts].map(|t| of(t)));
        let [params, first, second, counts] = match &some {
            Some(some) => some.each_ref().map(Vec::as_slice),
            None => [&self.params, &self.first, &self.second, &self.counts].map(|t| t.as_slice()),
        };
        match self.kind {
            OptimKind::Sgd => {
                // A buffer of zeros makes the first step what PyTorch does: the buffer becomes the gradient.
                let how = Sgd {
                    lr,
                    momentum: self.momentum,
                    dampening: 0.0,
                    weight_decay: self.weight_decay,
                    nesterov: self.nesterov,
                };
                optim_kernels::fused_sgd(&how, params, &grads, first, false)?;
            }
            OptimKind::Adamw => {
                let how = AdamW {
                    lr,
                    beta1: self.momentum,
                    beta2: self.beta2,
                    eps: ADAM_EPS,
                    weight_decay: self.weight_decay,
                };
                let state = AdamWState { averages: first, squares: second, steps: counts };
                optim_kernels::fused_adamw(&how, params, &grads, state)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{linear, plan};
    use kiln_arch::Shape;

    const GRADS: [[f32; 2]; 3] = [[0.5, -1.0], [0.25, 2.0], [-1.5, 0.125]];

    /// Weights of a one-output layer without bias, after three steps with the gradients above.
    fn three_steps(settings: &OptimSettings, factors: [f64; 3]) -> Vec<f64> {
        let layer = kiln_arch::Layer::Linear { input: 2, out: 1, bias: false };
        let network =
            Network::build(&plan(Shape::Flat(2), 1, vec![("out", None, vec![layer], false)]), 1, Device::Cpu).unwrap();
        let weight = &network.trainable()[0];
        {
            let _frozen = kiln_torch::NoGrad::new();
            weight.shallow_clone().copy_(&Tensor::from_slice(&[1.0_f32, -2.0]).view([1, 2]));
        }
        let mut optimizer = Optimizer::new(settings, &network).unwrap();
        for (grad, factor) in GRADS.iter().zip(factors) {
            kiln_torch::set_grad(weight, Some(&Tensor::from_slice(grad).view([1, 2]))).unwrap();
            optimizer.step(factor).unwrap();
            assert!(!weight.grad().defined(), "gradients are dropped");
        }
        Vec::<f64>::try_from(weight.detach().view([-1]).to_kind(Kind::Double)).unwrap()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?} is not {want:?}");
    }

    #[test]
    fn sgd_by_hand() {
        for nesterov in [false, true] {
            let settings =
                OptimSettings { lr: 0.1, momentum: 0.9, nesterov, weight_decay: 0.01, ..OptimSettings::default() };
            let factors = [1.0, 0.5, 0.25];
            let (mut w, mut v) = ([1.0, -2.0], [0.0, 0.0]);
            for (grad, factor) in GRADS.iter().zip(factors) {
                for i in 0..2 {
                    let g = f64::from(grad[i]) + 0.01 * w[i];
                    v[i] = 0.9 * v[i] + g;
                    w[i] -= 0.1 * factor * if nesterov { g + 0.9 * v[i] } else { v[i] };
                }
            }
            close(&three_steps(&settings, factors), &w);
        }
    }

    #[test]
    fn adamw_by_hand() {
        let settings = OptimSettings {
            kind: OptimKind::Adamw,
            lr: 0.1,
            momentum: 0.9,
            beta2: 0.99,
            weight_decay: 0.05,
            ..OptimSettings::default()
        };
        let (mut w, mut m, mut s) = ([1.0_f64, -2.0], [0.0, 0.0], [0.0, 0.0]);
        for (step, grad) in GRADS.iter().enumerate() {
            let t = step as i32 + 1;
            for i in 0..2 {
                let g = f64::from(grad[i]);
                w[i] *= 1.0 - 0.1 * 0.05;
                m[i] = 0.9 * m[i] + 0.1 * g;
                s[i] = 0.99 * s[i] + 0.01 * g * g;
                w[i] -= 0.1 * (m[i] / (1.0 - 0.9_f64.powi(t))) / ((s[i] / (1.0 - 0.99_f64.powi(t))).sqrt() + ADAM_EPS);
            }
        }
        close(&three_steps(&settings, [1.0; 3]), &w);
    }

    #[test]
    fn clipping_shortens_long_gradients_only() {
        let settings = |grad_clip| OptimSettings { lr: 1.0, momentum: 0.0, grad_clip, ..OptimSettings::default() };
        let (mut clipped, mut plain) = ([1.0, -2.0], [1.0, -2.0]);
        for grad in GRADS {
            let g = grad.map(f64::from);
            let norm = (g[0] * g[0] + g[1] * g[1]).sqrt();
            for i in 0..2 {
                clipped[i] -= g[i] * (1.5 / norm).min(1.0);
                plain[i] -= g[i];
            }
        }
        close(&three_steps(&settings(1.5), [1.0; 3]), &clipped);
        close(&three_steps(&settings(100.0), [1.0; 3]), &plain);
        close(&three_steps(&settings(0.0), [1.0; 3]), &plain);
    }

    #[test]
    fn state_is_named_after_parameters() {
        let network =
            Network::build(&plan(Shape::Flat(2), 1, vec![("out", None, vec![linear(2, 1)], false)]), 1, Device::Cpu)
                .unwrap();
        let names = |kind, momentum| -> Vec<String> {
            let settings = OptimSettings { kind, momentum, ..OptimSettings::default() };
            Optimizer::new(&settings, &network).unwrap().named_tensors().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(OptimKind::Sgd, 0.9), ["out.0.weight.momentum", "out.0.bias.momentum"]);
        assert!(names(OptimKind::Sgd, 0.0).is_empty());
        assert_eq!(
            names(OptimKind::Adamw, 0.9)[2..5],
            ["out.0.weight.exp_avg_sq", "out.0.bias.exp_avg_sq", "out.0.weight.step"]
        );
    }
}
