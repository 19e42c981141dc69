//! Scaffold: signatures that others may rely on.
use crate::plan::{Plan, Shape};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One decision of a space, such as `width`, with its options as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub name: String,
    pub options: Vec<String>,
    /// Populations hold every combination of such decisions' options in equal numbers (speed families).
    pub stratify: bool,
}

/// A genotype: one option a decision, in the space's order. Written `fast-3-64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arch {
    pub space: String,
    pub genes: Vec<String>,
}

/// What can be wrong with a space or an architecture, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArchError(pub String);

/// A search space.
#[derive(Clone, Debug)]
pub struct Space {
    pub name: String,
    pub decisions: Vec<Decision>,
}

impl Space {
    /// A shipped space by name.
    pub fn named(name: &str) -> Result<Space, ArchError> {
        Err(ArchError(name.into()))
    }
    /// The space narrowed to some options of some decisions.
    pub fn only(self, only: &BTreeMap<String, Vec<String>>) -> Result<Space, ArchError> {
        let _ = only;
        Ok(self)
    }
    /// A random member, uniform over each decision.
    pub fn sample(&self, rng: &mut impl Rng) -> Arch {
        let _ = rng;
        Arch { space: self.name.clone(), genes: vec![] }
    }
    /// `n` members, every combination of stratified options in equal numbers, without repeats where the space is large enough.
    pub fn population(&self, n: usize, rng: &mut impl Rng) -> Vec<Arch> {
        (0..n).map(|_| self.sample(rng)).collect()
    }
    /// The space's reference member.
    pub fn reference(&self) -> Arch {
        Arch { space: self.name.clone(), genes: vec![] }
    }
    /// Reads `fast-3-64`.
    pub fn parse(&self, text: &str) -> Result<Arch, ArchError> {
        Err(ArchError(text.into()))
    }
    /// Lowers a genotype to layers.
    pub fn plan(&self, arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
        let _ = (arch, input, classes);
        Err(ArchError("".into()))
    }
    /// One `(height 0..1, class letter)` a slot, for drawing.
    pub fn glyph(&self, arch: &Arch) -> Vec<(f32, char)> {
        let _ = arch;
        vec![]
    }
    /// The speed family of a member: its stratified genes joined, or empty.
    pub fn family(&self, arch: &Arch) -> String {
        let _ = arch;
        String::new()
    }
}
