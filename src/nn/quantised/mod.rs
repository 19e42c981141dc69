//! Networks of few bits in training: full-precision latent weights, quantised on the way forward, with gradients that pass
//! straight through.
//!
//! - [`quant`]: sign, levels, scales, and their gradients
//! - [`guide`]: how a teacher's features lead quantised ones: relational and explicit projection, divergence of predictions
//! - [`network`]: a network of a [`kiln_arch::quantised::Blueprint`], its passes, its tensors, channels taken out
//! - [`trainer`]: one training: plain, led by a teacher, or a squeeze with importances
//! - [`measure`]: what is looked at in a trained network: layer by layer, as features, as distributions
//! - [`pack`]: a trained network as the numbers of a packed file

pub mod guide;
pub mod measure;
pub mod network;
pub mod pack;
pub mod quant;
#[cfg(test)]
mod tests;
pub mod trainer;

pub use measure::LayerFigures;
pub use network::{Pass, QuantNetwork, Seen};
pub use trainer::{Guide, QuantConfig, QuantEpoch, QuantTrainer, Squeeze, Teacher};
