//! Search spaces. A space is a list of decisions with named options and a way to lower a choice to layers; sampling,
//! mutation, crossover, parsing and narrowing know decisions only, so they serve every space.

mod cells;
mod mlp;
mod mobile;
mod shipped;

use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::cost::Cost;
use crate::plan::{Plan, Shape};

pub use mobile::{Stage, Stages};
pub use shipped::NAMES;

/// One decision of a space, such as `width`, with its options as text (letters and digits only).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub name: String,
    pub options: Vec<String>,
    /// Populations hold every combination of such decisions' options in equal numbers (speed families).
    pub stratify: bool,
}

impl Decision {
    fn new(name: impl Into<String>, options: &[&str]) -> Decision {
        Decision { name: name.into(), options: options.iter().map(|o| (*o).to_string()).collect(), stratify: false }
    }

    fn stratified(self) -> Decision {
        Decision { stratify: true, ..self }
    }
}

/// A genotype: one option a decision, in the space's order. Written `fast-3-64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arch {
    /// Name of the space.
    pub space: String,
    pub genes: Vec<String>,
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.genes.join("-"))
    }
}

/// What can be wrong with a space or an architecture, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArchError(pub String);

/// How genes become layers.
#[derive(Clone, Debug)]
enum Lowering {
    Mlp,
    Cells,
    Stages(Stages),
}

/// A search space.
#[derive(Clone, Debug)]
pub struct Space {
    /// Name, as presets write it.
    pub name: String,
    /// One line for people.
    pub title: String,
    pub decisions: Vec<Decision>,
    /// The genes of a typical member.
    reference: Vec<String>,
    lowering: Lowering,
}

impl Space {
    /// A shipped space by name (see [`NAMES`]).
    ///
    /// # Errors
    /// An unknown name, with the nearest one.
    pub fn named(name: &str) -> Result<Space, ArchError> {
        shipped::find(name).ok_or_else(|| {
            ArchError(format!("there is no search space `{name}`{}", nearest(name, NAMES.iter().copied())))
        })
    }

    /// The space narrowed to some options of some decisions.
    ///
    /// # Errors
    /// An unknown decision or option, with the nearest valid name; a decision left without options.
    pub fn only(mut self, only: &BTreeMap<String, Vec<String>>) -> Result<Space, ArchError> {
        for (name, keep) in only {
            let Some(index) = self.decisions.iter().position(|d| d.name == *name) else {
                let names = self.decisions.iter().map(|d| d.name.as_str());
                return Err(ArchError(format!(
                    "space `{}` has no decision `{name}`{}",
                    self.name,
                    nearest(name, names)
                )));
            };
            let decision = &mut self.decisions[index];
            if let Some(wrong) = keep.iter().find(|k| !decision.options.contains(k)) {
                return Err(ArchError(format!(
                    "decision `{name}` of space `{}` has no option `{wrong}`; its options are {}",
                    self.name,
                    decision.options.join(", ")
                )));
            }
            if keep.is_empty() {
                return Err(ArchError(format!("decision `{name}` of space `{}` is left without options", self.name)));
            }
            decision.options.retain(|o| keep.contains(o));
            if !decision.options.contains(&self.reference[index]) {
                self.reference[index] = decision.options[0].clone();
            }
        }
        Ok(self)
    }

    /// Number of genotypes.
    pub fn size(&self) -> f64 {
        self.decisions.iter().map(|d| d.options.len() as f64).product()
    }

    /// Slots that every member has, if that is the same number for all (then slot `i` means the same place in each).
    pub fn fixed_slots(&self) -> Option<usize> {
        match &self.lowering {
            Lowering::Mlp => None,
            Lowering::Cells => Some(cells::SLOTS),
            Lowering::Stages(stages) => Some(stages.slots()),
        }
    }

    /// A random member, uniform over the options of each decision.
    pub fn sample(&self, rng: &mut impl Rng) -> Arch {
        let genes = self.decisions.iter().map(|d| d.options[rng.gen_range(0..d.options.len())].clone());
        self.with(genes.collect())
    }

    /// `n` members, every combination of the stratified options in turn, each equally often (to within one); without
    /// repeats as long as a family has members that were not drawn.
    pub fn population(&self, n: usize, rng: &mut impl Rng) -> Vec<Arch> {
        let mut families: Vec<Vec<(usize, usize)>> = vec![vec![]];
        for (index, decision) in self.decisions.iter().enumerate().filter(|(_, d)| d.stratify) {
            families = families
                .iter()
                .flat_map(|f| (0..decision.options.len()).map(|o| [f.as_slice(), &[(index, o)]].concat()))
                .collect();
        }
        // Which families get the odd ones must not depend on the order of options.
        families.shuffle(rng);
        let mut seen = HashSet::new();
        (0..n)
            .map(|i| {
                let family = &families[i % families.len()];
                let mut draw = || {
                    let mut arch = self.sample(rng);
                    for &(decision, option) in family {
                        arch.genes[decision].clone_from(&self.decisions[decision].options[option]);
                    }
                    arch
                };
                // Enough tries to find the last member of a family of some hundred; then a repeat is taken.
                let mut arch = draw();
                for _ in 0..2000 {
                    if seen.insert(arch.clone()) {
                        break;
                    }
                    arch = draw();
                }
                arch
            })
            .collect()
    }

    /// Another member that differs in one decision.
    pub fn mutate(&self, arch: &Arch, rng: &mut impl Rng) -> Arch {
        let free: Vec<usize> = (0..self.decisions.len()).filter(|&i| self.decisions[i].options.len() > 1).collect();
        let mut child = arch.clone();
        if let Some(&i) = free.choose(rng) {
            let others: Vec<&String> = self.decisions[i].options.iter().filter(|o| **o != child.genes[i]).collect();
            if let Some(&gene) = others.choose(rng) {
                child.genes[i].clone_from(gene);
            }
        }
        child
    }

    /// A member that takes each decision from one of its parents, at random.
    pub fn crossover(&self, a: &Arch, b: &Arch, rng: &mut impl Rng) -> Arch {
        let genes = a.genes.iter().zip(&b.genes).map(|(x, y)| if rng.r#gen() { x.clone() } else { y.clone() });
        self.with(genes.collect())
    }

    /// A typical member.
    pub fn reference(&self) -> Arch {
        self.with(self.reference.clone())
    }

    /// The member with the fewest (or most) MACs, found by descending decision by decision; exact where no decision changes
    /// the order of another's options, as in all shipped spaces.
    ///
    /// # Errors
    /// When the input does not fit the space.
    pub fn extreme(&self, input: Shape, classes: u32, dearest: bool) -> Result<Arch, ArchError> {
        let key = |arch: &Arch| -> Result<(u64, u64), ArchError> {
            let Cost { params, macs } = self.plan(arch, input, classes)?.cost();
            Ok(if dearest { (u64::MAX - macs, u64::MAX - params) } else { (macs, params) })
        };
        let mut best = (key(&self.reference())?, self.reference());
        loop {
            let before = best.0;
            for (i, decision) in self.decisions.iter().enumerate() {
                for option in &decision.options {
                    let mut arch = best.1.clone();
                    arch.genes[i].clone_from(option);
                    let cost = key(&arch)?;
                    if cost < best.0 {
                        best = (cost, arch);
                    }
                }
            }
            if best.0 == before {
                return Ok(best.1);
            }
        }
    }

    /// Reads an architecture as [`Arch`] writes it, such as `fast-3-64`.
    ///
    /// # Errors
    /// The wrong number of genes, or a gene that its decision does not offer; the sentence names the options.
    pub fn parse(&self, text: &str) -> Result<Arch, ArchError> {
        let genes: Vec<String> = text.trim().split('-').map(str::to_owned).collect();
        let arch = self.with(genes);
        self.validate(&arch)?;
        Ok(arch)
    }

    /// Checks that `arch` is a member.
    ///
    /// # Errors
    /// As [`Space::parse`].
    pub fn validate(&self, arch: &Arch) -> Result<(), ArchError> {
        if arch.space != self.name {
            return Err(ArchError(format!("`{arch}` belongs to space `{}`, not to `{}`", arch.space, self.name)));
        }
        if arch.genes.len() != self.decisions.len() {
            let names: Vec<&str> = self.decisions.iter().map(|d| d.name.as_str()).collect();
            return Err(ArchError(format!(
                "`{arch}` has {} parts; an architecture of space `{}` has {}: {} (such as `{}`)",
                arch.genes.len(),
                self.name,
                names.len(),
                names.join("-"),
                self.reference()
            )));
        }
        for (gene, decision) in arch.genes.iter().zip(&self.decisions) {
            if !decision.options.contains(gene) {
                return Err(ArchError(format!(
                    "`{gene}` in `{arch}` is no option of `{}` in space `{}`; its options are {}",
                    decision.name,
                    self.name,
                    decision.options.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Lowers a genotype to layers.
    ///
    /// # Errors
    /// A genotype of another space, or an input that does not fit (a vector for a convolutional space, an image too small).
    pub fn plan(&self, arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
        self.validate(arch)?;
        match &self.lowering {
            Lowering::Mlp => mlp::plan(arch, input, classes),
            Lowering::Cells => cells::plan(arch, input, classes),
            Lowering::Stages(stages) => stages.chain(self, input, classes)?.plan(arch, input, classes),
        }
    }

    /// The blocks in network order with every choice, if the space is a chain: one decision a block, all options of a
    /// decision with the same shapes. `None` for spaces of another kind.
    ///
    /// # Errors
    /// When the input does not fit the space.
    pub fn chain(&self, input: Shape, classes: u32) -> Result<Option<Chain>, ArchError> {
        match &self.lowering {
            Lowering::Stages(stages) => stages.chain(self, input, classes).map(Some),
            Lowering::Mlp | Lowering::Cells => Ok(None),
        }
    }

    /// One bar a slot for drawing: height from 0 (skip) to 1, and a letter for the kind of layer.
    pub fn glyph(&self, arch: &Arch) -> Vec<(f32, char)> {
        match &self.lowering {
            Lowering::Mlp => mlp::glyph(arch),
            Lowering::Cells => cells::glyph(arch),
            Lowering::Stages(_) => mobile::glyph(arch),
        }
    }

    /// The speed family of a member: its stratified genes joined; empty where the space has none.
    pub fn family(&self, arch: &Arch) -> String {
        let genes = self.decisions.iter().zip(&arch.genes).filter(|(d, _)| d.stratify).map(|(_, g)| g.as_str());
        genes.collect::<Vec<_>>().join("-")
    }

    fn with(&self, genes: Vec<String>) -> Arch {
        Arch { space: self.name.clone(), genes }
    }
}

/// `; did you mean ...?`, or the list of all names where none is near.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    match kiln_spec::problem::nearest(name, names.clone()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; there are {}", names.collect::<Vec<_>>().join(", ")),
    }
}

/// Reads a gene that validation has already found among its options.
fn number(gene: &str) -> Result<u32, ArchError> {
    gene.parse().map_err(|_| ArchError(format!("`{gene}` is not a number")))
}

#[cfg(test)]
mod tests;
