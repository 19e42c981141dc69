//! Adversarial networks: a generator that makes images of noise against a discriminator, the *critic*, that tells them
//! from real ones.
//!
//! - [`net`]: one of the two, built from a [`kiln_arch::GanPlan`]: passes, spectral normalisation, named tensors
//! - [`loss`]: what either learns by: standard, least squares, hinge and Wasserstein losses, each with or without the
//!   positive-unlabelled risk; relativistic forms; the gradient penalty
//! - [`trainer`]: both in turn, step by step; [`saved`]: its state, complete enough to continue bit for bit
//!
//! Everything is done with libtorch's own differentiable operations: the gradient penalty needs gradients of gradients,
//! which the kernels of [`kiln_torch::layers`] do not have.

pub mod loss;
pub mod net;
pub mod saved;
#[cfg(test)]
mod tests;
pub mod trainer;

pub use loss::{Criterion, Risk, gradient_penalty};
pub use net::{Net, Pass};
pub use saved::{GanState, SavedGan};
pub use trainer::{GanConfig, GanEnd, GanReading, GanTrainer};
