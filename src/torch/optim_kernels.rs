//! One optimiser step over many tensors in one call, with the arithmetic of `torch.optim`.
//!
//! The state belongs to the caller: a tensor a parameter, made by `zeros_like` of it, so that checkpoints can hold it. All
//! functions change `params` and the state in place, leave `grads` as they are, and record nothing for autograd. A
//! gradient in another memory format than its parameter is converted; state in another one is an error, since the fused
//! kernels walk raw memory.
//!
//! Which kernel: on CUDA the fused ones, one pass over memory in one launch. On the CPU the foreach ones: they have the bits
//! of torch's plain optimiser whatever the shapes and the number of threads, and are up to a tenth faster for many tiny
//! tensors. The fused kernels of the CPU round once instead of twice in the elements left over after whole vector registers,
//! so there their last bits depend on register width and threads. Choose once a run.

use crate::error::TorchError;
use crate::ffi::{self, Moments, RawAdamW, RawSgd};
use tch::Tensor;

/// Settings of stochastic gradient descent for one step; the meaning is that of `torch.optim.SGD`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last step that is kept, 0 for none; then there is no state.
    pub momentum: f64,
    /// What is taken off the gradient as it enters the momentum.
    pub dampening: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Nesterov's momentum; needs momentum, and dampening 0.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Sgd {
        Sgd { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }
}

impl Sgd {
    fn raw(&self, first_step: bool) -> Result<RawSgd, TorchError> {
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Err(TorchError::Request("Nesterov's method needs momentum above 0 and no dampening".into()));
        }
        Ok(RawSgd {
            lr: self.lr,
            momentum: self.momentum,
            dampening: self.dampening,
            weight_decay: self.weight_decay,
            nesterov: i32::from(self.nesterov),
            first_step: i32::from(first_step),
        })
    }
}

/// Settings of AdamW for one step; the meaning is that of `torch.optim.AdamW`. With `weight_decay` 0 it is Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Keeps the division finite.
    pub eps: f64,
    /// Decoupled from the gradient: every step takes `lr * weight_decay` of the weight off.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 }
    }
}

impl AdamW {
    fn raw(&self) -> RawAdamW {
        let AdamW { lr, beta1, beta2, eps, weight_decay } = *self;
        RawAdamW { lr, beta1, beta2, eps, weight_decay }
    }
}

/// What AdamW remembers; the three slices have an entry a parameter, in its order.
#[derive(Debug, Clone, Copy)]
pub struct AdamWState<'a> {
    /// Mean of gradients, shaped as the parameters.
    pub averages: &'a [Tensor],
    /// Mean of squared gradients, shaped as the parameters.
    pub squares: &'a [Tensor],
    /// Finished steps: one `f32` each, counted up by the call. On the parameters' device for the fused kernel, on the CPU
    /// for the foreach kernel.
    pub steps: &'a [Tensor],
}

impl<'a> AdamWState<'a> {
    fn raw(self) -> Moments<'a> {
        Moments { averages: self.averages, squares: self.squares, steps: self.steps }
    }
}

/// A step of stochastic gradient descent in torch's fused kernel: same bits as `torch.optim.SGD(fused=True)`.
///
/// `momentum` is empty without momentum. On the `first_step` it is overwritten instead of averaged.
///
/// # Errors
/// Lists of different lengths, gradients or state that do not fit their parameter (the message says which).
pub fn fused_sgd(
    settings: &Sgd,
    params: &[Tensor],
    grads: &[Tensor],
    momentum: &[Tensor],
    first_step: bool,
) -> Result<(), TorchError> {
    ffi::fused_sgd(&settings.raw(first_step)?, params, grads, momentum)
}

/// As [`fused_sgd`], from torch's multi-tensor operations: same bits as `torch.optim.SGD(foreach=True)`.
pub fn foreach_sgd(
    settings: &Sgd,
    params: &[Tensor],
    grads: &[Tensor],
    momentum: &[Tensor],
    first_step: bool,
) -> Result<(), TorchError> {
    ffi::foreach_sgd(&settings.raw(first_step)?, params, grads, momentum)
}

/// A step of AdamW in torch's fused kernel: same bits as `torch.optim.AdamW(fused=True)`.
///
/// # Errors
/// Lists of different lengths, gradients or state that do not fit their parameter (the message says which).
pub fn fused_adamw(settings: &AdamW, params: &[Tensor], grads: &[Tensor], state: AdamWState) -> Result<(), TorchError> {
    ffi::fused_adamw(&settings.raw(), params, grads, state.raw())
}

/// As [`fused_adamw`], from torch's multi-tensor operations: same bits as `torch.optim.AdamW(foreach=True)`.
pub fn foreach_adamw(
    settings: &AdamW,
    params: &[Tensor],
    grads: &[Tensor],
    state: AdamWState,
) -> Result<(), TorchError> {
    ffi::foreach_adamw(&settings.raw(), params, grads, state.raw())
}

/// Scales gradients in place so that their common 2-norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_` does.
///
/// Gives the norm before, as a tensor of no dimensions on the device: nothing waits for it. Empty gradients: zero.
pub fn clip_grad_norm(grads: &[Tensor], max_norm: f64) -> Result<Tensor, TorchError> {
    ffi::clip_grad_norm(grads, max_norm)
}

#[cfg(test)]
mod tests;
