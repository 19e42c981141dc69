//! Networks, and their training.
//!
//! - [`network`]: a network built from a [`kiln_arch::Plan`], its passes, its named tensors
//! - [`gan`]: adversarial networks: pairs, losses, their training
//! - [`init`]: seeded initial weights
//! - [`distort`]: regularisers that distort activations in training: dropout, DropBlock, Disout
//! - [`optim`]: SGD and AdamW whose state are named tensors
//! - [`schedule`]: the learning rate at a step
//! - [`lesion`]: how well a network does without one of its blocks
//! - [`loss`]: cross-entropy, evaluation of a split, recalibration of batch normalisation
//! - [`trainer`]: one candidate in training: steps, epochs, saved states that continue bit for bit
//! - [`supernet`]: all choices of a chain over shared weights, and the search of one of them
//! - [`quantised`]: networks of few bits: estimators, projections, squeezes
//! - [`pool`]: many candidates side by side, with the bits they would have had in turn
//! - [`probe`]: which arithmetic and order of memory is fastest here
//! - [`latency`]: what the blocks of a chain take on a device
//! - [`error`]: what can go wrong, as sentences
//!
//! Two rules run through the crate. Random numbers come from generators of our own, each keyed by what it is for
//! ([`kiln_arch::spec::seed::derive`]), so no result depends on what else ran before it. And nothing in a training step
//! waits for the device: losses are added up there and read a few times a second.

#![forbid(unsafe_code)]

pub mod distort;
pub mod error;
pub mod gan;
pub mod init;
pub mod latency;
pub mod lesion;
pub mod loss;
pub mod network;
pub mod optim;
pub mod pool;
pub mod probe;
pub mod quantised;
pub mod schedule;
pub mod supernet;
pub mod trainer;

#[cfg(test)]
mod testing;

pub use distort::{Channel, Look};
pub use error::{Result, TrainError};
pub use gan::{GanConfig, GanEnd, GanReading, GanTrainer};
/// libtorch as Kiln uses it, for the crates above that save tensors and start the process.
pub use kiln_torch as torch;
pub use lesion::evaluate_without;
pub use loss::{Eval, cross_entropy, evaluate, evaluate_by, recalibrate_bn};
pub use network::{Layout, Mode, Network};
pub use optim::Optimizer;
pub use pool::{Pool, Stop};
pub use schedule::LrSchedule;
pub use supernet::{Pick, SearchTrainer, Supernet};
pub use trainer::{Divergence, End, Epoch, Ran, Reading, Saved, Trainer, TrainerConfig, TrainerState, Until, Validate};
