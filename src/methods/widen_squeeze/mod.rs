//! Widening and squeezing (arXiv:2002.00555): quantised features are poorer than full-precision ones of the same width, so a
//! network is widened before it is quantised, led by the features of its full-precision teacher; then the redundant ones of
//! the quantised features are taken out again.
//!
//! **A reconstruction.** The two stages are the paper's; its losses, schedules and settings were not to be had. What is
//! inferred is said to be so where it stands: projections (`kiln_nn::quantised::guide`), the penalty and the ranking of
//! channels ([`prune`]), optimisers and epochs (the settings).
//!
//! One run trains everything that is compared, since all of it shares a teacher: see [`parts`].
//!
//! - [`parts`]: the trainings of a run and what each waits for
//! - [`prune`]: which channels stay
//! - [`study`]: the state machine; [`work`]: what is done on a training's own thread
//! - [`packed`]: the squeezed network as bits, held against its emulation
//! - [`report`], [`views`]: what people see

pub mod packed;
pub mod parts;
pub mod prune;
pub mod report;
mod study;
#[cfg(test)]
mod tests;
pub mod views;
mod work;

pub use study::WidenSqueeze;
