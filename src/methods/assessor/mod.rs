//! A semi-supervised assessor of neural architectures (arXiv:2005.06821): an auto-encoder describes architectures, a relation
//! graph joins similar ones, labelled and unlabelled together, and a graph network on it predicts accuracies; all of it is
//! trained end to end.
//!
//! - [`predictor`]: a fitted [`Assessor`]: fit, predict, save, load
//! - [`query`]: a finished run asked about other architectures
//! - [`screen`]: the same as a help for searches that train networks
//! - [`table`]: tables of architectures, told apart and split
//! - [`code`]: architectures as vectors, images and graphs
//! - [`model`], [`relation`], [`fit`]: networks, the relation graph, training
//! - [`classical`]: random forest and linear regression
//! - [`study`]: the comparison of them all as a resumable method; [`results`], [`report`]: what it finds
//! - [`views`], [`artifacts`]: what people see, and what is left in `artifacts/`

pub mod artifacts;
pub mod classical;
pub mod code;
pub mod fit;
pub mod model;
pub mod predictor;
pub mod query;
pub mod relation;
pub mod report;
pub mod results;
pub mod screen;
pub mod study;
pub mod table;
#[cfg(test)]
mod tests;
pub mod views;

pub use predictor::Assessor;
pub use screen::Screen;
pub use study::Study;
