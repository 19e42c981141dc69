//! Pairs of adversarial networks, laid out without torch: what a pair is made of, what it costs, and which images it can
//! make. `nn` builds it, so that the two agree.
//!
//! - [`piece`]: the layers, with their shapes and costs
//! - [`pairs`]: the pairs that settings name
//! - [`classifier`]: the network whose last hidden layer measures how far generated images are from real ones

pub mod classifier;
pub mod pairs;
pub mod piece;

pub use classifier::classifier;
pub use pairs::{GanPlan, Init};
pub use piece::Piece;
