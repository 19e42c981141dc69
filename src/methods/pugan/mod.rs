//! PUGAN (arXiv:2002.01136) and the adversarial networks that it is compared with: generated images are unlabelled rather
//! than negative, a share pi of them as good as real ones, and the discriminator descends the positive-unlabelled risk.
//!
//! - [`run`]: the state machine: the classifier, the training with its measurements, the files at the end
//! - [`ruler`]: the classifier whose features distances are taken in, trained once and kept; real features and the floor
//! - [`record`]: what is kept of the run
//! - [`report`], [`views`]: what people see of it; [`sheet`]: samples as PNG
//!
//! The networks, their losses and their training are in [`kiln_nn::gan`], the figures in [`kiln_metrics`].

pub mod record;
pub mod report;
pub mod ruler;
pub(crate) mod run;
pub mod sheet;
#[cfg(test)]
mod tests;
pub mod views;

pub use run::Pugan;
