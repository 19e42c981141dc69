//! Divide-and-conquer architecture search (DC-NAS, arXiv:2005.14456): networks are described by how their layers change in
//! a short training, grouped by k-means, ranked only inside their group, and the groups' winners are trained in full.
//!
//! - [`search`]: the state machine: short training, clusters, full training, judgement
//! - [`recipes`]: what a candidate's own thread does at the end of its training
//! - [`features`], [`scale`]: from weights and outputs to rows of numbers
//! - [`kmeans`], [`clustering`], [`geometry`]: the groups, one iteration at a time
//! - [`record`]: what is known of each network
//! - [`findings`], [`report`]: the comparisons and what they say
//! - [`views`], [`files`]: what people see, and what is left in `artifacts/`

pub mod clustering;
pub mod features;
pub mod files;
pub mod findings;
pub mod geometry;
pub mod kmeans;
pub mod recipes;
pub mod record;
pub mod report;
pub mod scale;
mod search;
mod stages;
#[cfg(test)]
mod tests;
pub mod views;

pub use search::DcNas;
