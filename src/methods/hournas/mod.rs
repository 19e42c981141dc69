//! HourNAS (arXiv:2005.14446): the few *vital* blocks, which lie on every path from input to output, are searched first;
//! the others, which hold most of the volume, afterwards and only among what is still affordable.
//!
//! - [`budget`]: limits, and what everything costs
//! - [`proposal`]: the affordable sub-space: tilted sampling, bisection for the tilt, repair
//! - [`search`]: the state machine: super-network stages or random networks, training from scratch
//! - [`stages`]: the work of each stage
//! - [`recipes`]: what a candidate's own thread does at the end of its training
//! - [`study`]: which blocks matter: lesions and weakenings
//! - [`record`]: what is kept of the search; [`report`], [`views`]: what people see of it

pub mod budget;
pub mod proposal;
pub mod recipes;
pub mod record;
pub mod report;
mod search;
mod stages;
pub mod study;
#[cfg(test)]
mod tests;
pub mod views;

use kiln_protocol::spec::{HournasMode, Spec};

use crate::cx::StepCx;
use crate::error::Result;
use crate::method::Method;

pub use search::Hournas;
pub use study::Study;

/// The search or the study that the spec asks for.
pub fn create(spec: &Spec, cx: &mut StepCx) -> Result<Box<dyn Method>> {
    match spec.hournas.as_ref().map_or(HournasMode::Search, |own| own.mode) {
        HournasMode::Search => Ok(Box::new(Hournas::new(spec, cx)?)),
        HournasMode::Lesion | HournasMode::Weaken => Ok(Box::new(Study::new(spec, cx)?)),
    }
}
