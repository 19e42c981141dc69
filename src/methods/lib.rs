//! The methods that Kiln runs, as state machines that the worker drives step by step.
//!
//! - [`Method`]: what each of them is; [`create`] makes the one a spec names
//! - [`cx`]: the context of a step: series, views, log, progress, knobs, safe points
//! - [`checkpoint`]: a method's state as plain values and named tensors
//! - [`data`]: the data set of a spec
//! - [`fleet`]: many candidates trained side by side, with the policies for memory and divergence
//! - [`train`]: plain training of one architecture, the baseline of all else
//! - [`dc_nas`]: divide-and-conquer architecture search (arXiv:2005.14456)
//! - [`hournas`]: the vital blocks first, then the rest within a budget (arXiv:2005.14446)
//! - [`disout`]: one training with distorted feature maps, watched closely (arXiv:2002.11022)
//! - [`pugan`]: adversarial networks with positive-unlabelled discriminators (arXiv:2002.01136)
//! - [`search`]: random search, regularised evolution, asynchronous successive halving; [`pareto`]: accuracy against cost
//! - [`assessor`]: a semi-supervised assessor of neural architectures (arXiv:2005.06821)
//! - [`widen_squeeze`]: wide binary networks led by a full-precision one, then squeezed (arXiv:2002.00555)
//! - [`export`]: finished networks as safetensors; [`text`]: numbers as people read them
//! - [`arithmetic`]: precision and order of memory where a preset leaves them open
//! - [`latency`]: measured times of the blocks of a space
//! - [`runtime`]: libtorch as the worker starts it
//! - [`error`]: why a step ends early

#![forbid(unsafe_code)]

pub mod arithmetic;
pub mod assessor;
pub mod checkpoint;
pub mod cx;
pub mod data;
pub mod dc_nas;
pub mod disout;
pub mod error;
pub mod export;
pub mod fleet;
pub mod hournas;
pub mod latency;
pub mod pareto;
pub mod pugan;
pub mod runtime;
pub mod search;
pub mod text;
pub mod train;
pub mod widen_squeeze;

mod method;
#[cfg(test)]
mod testing;

pub use checkpoint::{CheckpointReader, CheckpointWriter};
pub use cx::StepCx;
pub use error::{MethodError, Result};
pub use method::{Flow, Method, create};
