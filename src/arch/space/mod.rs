//! Search spaces. A space is a list of decisions with named options and a way to lower a choice to layers; sampling,
//! mutation, crossover, parsing and narrowing know decisions, so they serve every space. Spaces come from TOML files
//! ([`kiln_spec::SpaceDefinition`]), the shipped ones too.

mod edges;
mod mlp;
mod shipped;
mod stages;
mod vertices;

use std::collections::{BTreeMap, HashSet};

use kiln_spec::{CellEdgeSettings, CellVertexSettings, SpaceDefinition, SpaceKind, SpaceSettings};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::cell::{Cell101, Cell201};
use crate::chain::Chain;
use crate::cost::Cost;
use crate::plan::{Plan, Shape};

pub use shipped::{NAMES, text};

/// Gene of a block beyond the depth that its stage has.
pub const ABSENT: &str = "none";

/// Starts of the search for the cheapest and the dearest member where decisions depend on one another.
const STARTS: usize = 24;

/// One decision of a space, such as `width`, with its options as text (letters and digits only).
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
#[derive(Clone, Debug, PartialEq)]
enum Lowering {
    Mlp(mlp::Rules),
    Stages(Box<stages::Rules>),
    Edges(CellEdgeSettings),
    Vertices(CellVertexSettings),
}

/// A search space.
#[derive(Clone, Debug, PartialEq)]
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
        shipped::find(name).unwrap_or_else(|| {
            Err(ArchError(format!("there is no search space `{name}`{}", nearest(name, NAMES.iter().copied()))))
        })
    }

    /// The space that settings mean: shipped or of the user's own, narrowed as they say.
    ///
    /// # Errors
    /// The key that the mistake is about (`space.name` or `space.only`), and a sentence.
    pub fn of(settings: &SpaceSettings) -> Result<Space, (&'static str, ArchError)> {
        let own = settings.definition.as_ref().filter(|own| own.name == settings.name);
        let space = own.map_or_else(|| Space::named(&settings.name), Space::define);
        space.map_err(|e| ("space.name", e))?.only(&settings.only).map_err(|e| ("space.only", e))
    }

    /// A space from its definition, which [`SpaceDefinition::from_toml`] or the reading of a preset has checked.
    ///
    /// # Errors
    /// A definition that does not hold together; another space of the name of a shipped one; a reference that is no member.
    pub fn define(definition: &SpaceDefinition) -> Result<Space, ArchError> {
        let space = Space::lowered(definition)?;
        match Space::named(&space.name) {
            Ok(shipped) if shipped != space => Err(ArchError(format!(
                "`{}` is the name of a space that ships with Kiln, and this one differs from it; give it a name of its own",
                space.name
            ))),
            _ => Ok(space),
        }
    }

    /// A space from its definition, whatever its name.
    fn lowered(definition: &SpaceDefinition) -> Result<Space, ArchError> {
        let (decisions, lowering) = match definition.kind {
            SpaceKind::Chain => {
                let (decisions, rules) = stages::define(definition)?;
                (decisions, Lowering::Stages(Box::new(rules)))
            }
            SpaceKind::Mlp => {
                let (decisions, rules) = mlp::define(definition)?;
                (decisions, Lowering::Mlp(rules))
            }
            SpaceKind::CellEdges => {
                let (decisions, own) = edges::define(definition)?;
                (decisions, Lowering::Edges(own))
            }
            SpaceKind::CellVertices => {
                let (decisions, own) = vertices::define(definition)?;
                (decisions, Lowering::Vertices(own))
            }
        };
        let name = &definition.name;
        if decisions.iter().all(|d| d.options.len() < 2) {
            return Err(ArchError(format!(
                "space `{name}` leaves nothing to choose; offer more than one option somewhere"
            )));
        }
        let first = decisions.iter().map(|d| d.options[0].clone()).collect();
        let title = definition.title.clone();
        let mut space = Space { name: name.clone(), title, decisions, reference: first, lowering };
        space.refer(&definition.reference)?;
        Ok(space)
    }

    /// Sets the typical member: an architecture in full, or one operation for every decision that offers it.
    fn refer(&mut self, reference: &str) -> Result<(), ArchError> {
        if let Lowering::Stages(rules) = &self.lowering {
            let first = self.reference.clone();
            stages::settle(rules, &mut self.reference, |i| first[i].clone());
        }
        if reference.is_empty() {
            return self.validate(&self.reference());
        }
        let mut genes = self.reference.clone();
        let mut found = false;
        for (gene, decision) in genes.iter_mut().zip(&self.decisions) {
            if gene != ABSENT && decision.options.iter().any(|o| o == reference) {
                reference.clone_into(gene);
                found = true;
            }
        }
        if let Lowering::Stages(rules) = &self.lowering {
            // A word that is a depth leaves or asks for blocks.
            let first: Vec<String> = self.decisions.iter().map(|d| d.options[0].clone()).collect();
            stages::settle(rules, &mut genes, |i| first[i].clone());
        }
        self.reference = if found {
            genes
        } else {
            let parsed = self.parse(reference);
            parsed.map_err(|e| ArchError(format!("the reference of space `{}` is no member: {e}", self.name)))?.genes
        };
        Ok(())
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
        self.settle_reference()?;
        Ok(self)
    }

    /// Makes the reference a member again after its genes were narrowed one by one.
    fn settle_reference(&mut self) -> Result<(), ArchError> {
        match &self.lowering {
            Lowering::Stages(rules) => {
                let first: Vec<String> = self.decisions.iter().map(|d| d.options[0].clone()).collect();
                stages::settle(rules, &mut self.reference, |i| first[i].clone());
            }
            Lowering::Vertices(_) if self.validate(&self.reference()).is_err() => {
                self.reference = self.sample(&mut ChaCha8Rng::seed_from_u64(0)).genes;
                let none = |_| ArchError(format!("space `{}` is narrowed so far that no member was found", self.name));
                self.validate(&self.reference()).map_err(none)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Number of members. Of cells with operations on vertices: distinct cells where their number is known, else an upper
    /// bound (see [`Space::size_is_bound`]).
    pub fn size(&self) -> f64 {
        match &self.lowering {
            Lowering::Stages(rules) => rules.size(&self.decisions),
            Lowering::Vertices(own) => vertices::size(own, &self.decisions).0,
            _ => self.decisions.iter().map(|d| d.options.len() as f64).product(),
        }
    }

    /// Channels of the images that the space's networks take.
    ///
    /// # Errors
    /// Inputs that are no images.
    fn channels(&self, input: Shape) -> Result<u32, ArchError> {
        match input {
            Shape::Image(channels, ..) => Ok(channels),
            other => Err(ArchError(format!("space `{}` needs images, not {other}", self.name))),
        }
    }

    /// Whether [`Space::size`] counts combinations of which some are no members, or the same network.
    pub fn size_is_bound(&self) -> bool {
        matches!(&self.lowering, Lowering::Vertices(own) if vertices::size(own, &self.decisions).1)
    }

    /// Slots that every member has, if that is the same number for all (then slot `i` means the same place in each).
    pub fn fixed_slots(&self) -> Option<usize> {
        match &self.lowering {
            Lowering::Mlp(_) => None,
            Lowering::Stages(rules) => Some(rules.slots()),
            Lowering::Edges(own) => Some((own.stacks * own.cells) as usize),
            Lowering::Vertices(own) => Some((own.stacks * own.cells) as usize),
        }
    }

    /// A random member, uniform over the options of each decision (of cells with operations on vertices: over those
    /// combinations that are members).
    pub fn sample(&self, rng: &mut impl Rng) -> Arch {
        let mut draw = || {
            let genes = self.decisions.iter().map(|d| d.options[rng.gen_range(0..d.options.len())].clone());
            self.with(genes.collect())
        };
        match &self.lowering {
            Lowering::Vertices(own) => vertices::until_member(own, &self.reference(), draw),
            Lowering::Stages(rules) => {
                let mut arch = draw();
                stages::settle(rules, &mut arch.genes, |i| self.decisions[i].options[0].clone());
                arch
            }
            _ => draw(),
        }
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

    /// Another member that differs in one decision, and in the blocks that come or go with it. In cells with operations on
    /// vertices it differs in one edge or one operation.
    pub fn mutate(&self, arch: &Arch, rng: &mut impl Rng) -> Arch {
        if let Lowering::Vertices(own) = &self.lowering {
            return vertices::mutate(own, self, arch, rng);
        }
        let absent = self.absent(&arch.genes);
        let may = |i: &usize| self.decisions[*i].options.len() > 1 && !absent.get(*i).copied().unwrap_or(false);
        let free: Vec<usize> = (0..self.decisions.len()).filter(may).collect();
        let mut child = arch.clone();
        if let Some(&i) = free.choose(rng) {
            let others: Vec<&String> = self.decisions[i].options.iter().filter(|o| **o != child.genes[i]).collect();
            if let Some(&gene) = others.choose(rng) {
                child.genes[i].clone_from(gene);
            }
        }
        if let Lowering::Stages(rules) = &self.lowering {
            stages::settle(rules, &mut child.genes, |i| stages::any_option(&self.decisions[i], rng));
        }
        child
    }

    /// A member that takes each decision from one of its parents, at random.
    pub fn crossover(&self, a: &Arch, b: &Arch, rng: &mut impl Rng) -> Arch {
        let mut draw = || {
            let genes = a.genes.iter().zip(&b.genes).map(|(x, y)| if rng.r#gen() { x.clone() } else { y.clone() });
            self.with(genes.collect())
        };
        let mut child = match &self.lowering {
            Lowering::Vertices(own) => return vertices::until_member(own, a, draw),
            _ => draw(),
        };
        if let Lowering::Stages(rules) = &self.lowering {
            // A block that the child has again stands in one of the parents at least.
            stages::settle(rules, &mut child.genes, |i| {
                let parents = [a, b].into_iter().filter_map(|p| p.genes.get(i)).find(|gene| *gene != ABSENT);
                parents.cloned().unwrap_or_else(|| stages::any_option(&self.decisions[i], rng))
            });
        }
        child
    }

    /// A typical member.
    pub fn reference(&self) -> Arch {
        self.with(self.reference.clone())
    }

    /// The member with the fewest (or most) MACs, found by descending decision by decision; exact where no decision changes
    /// the order of another's options, as in all shipped spaces but the cells of NAS-Bench-101. There it is the best of
    /// descents from many starts.
    ///
    /// # Errors
    /// When the input does not fit the space.
    pub fn extreme(&self, input: Shape, classes: u32, dearest: bool) -> Result<Arch, ArchError> {
        let key = |arch: &Arch| -> Result<(u64, u64), ArchError> {
            let Cost { params, macs } = self.plan(arch, input, classes)?.cost();
            Ok(if dearest { (u64::MAX - macs, u64::MAX - params) } else { (macs, params) })
        };
        let mut starts = vec![self.reference()];
        if matches!(self.lowering, Lowering::Vertices(_)) {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            starts.extend((0..STARTS).map(|_| self.sample(&mut rng)));
        }
        let mut best: Option<((u64, u64), Arch)> = None;
        for start in starts {
            let mut here = (key(&start)?, start);
            loop {
                let before = here.0;
                for i in 0..self.decisions.len() {
                    for arch in self.variants(&here.1, i) {
                        let cost = key(&arch)?;
                        if cost < here.0 {
                            here = (cost, arch);
                        }
                    }
                }
                if here.0 == before {
                    break;
                }
            }
            if best.as_ref().is_none_or(|best| here.0 < best.0) {
                best = Some(here);
            }
        }
        Ok(best.map_or_else(|| self.reference(), |best| best.1))
    }

    /// The members that differ from `arch` in decision number `i` alone, `arch` itself among them; blocks that come with
    /// another depth are those of the reference, or the first of their options.
    pub fn variants(&self, arch: &Arch, i: usize) -> Vec<Arch> {
        let Some(decision) =
            self.decisions.get(i).filter(|_| !self.absent(&arch.genes).get(i).copied().unwrap_or(false))
        else {
            return Vec::new();
        };
        let variant = |option: &String| {
            let mut arch = arch.clone();
            arch.genes[i].clone_from(option);
            if let Lowering::Stages(rules) = &self.lowering {
                stages::settle(rules, &mut arch.genes, |j| match &self.reference[j] {
                    gene if gene != ABSENT => gene.clone(),
                    _ => self.decisions[j].options[0].clone(),
                });
            }
            arch
        };
        let variants = decision.options.iter().map(variant);
        match &self.lowering {
            Lowering::Vertices(own) => variants.filter(|arch| vertices::member(own, arch).is_ok()).collect(),
            _ => variants.collect(),
        }
    }

    /// Decisions that these genes leave without a meaning.
    fn absent(&self, genes: &[String]) -> Vec<bool> {
        match &self.lowering {
            Lowering::Stages(rules) => rules.absent(genes),
            _ => Vec::new(),
        }
    }

    /// Reads an architecture as [`Arch`] writes it, such as `fast-3-64`. Cells can be given in their benchmark's notation
    /// too: `|nor_conv_3x3~0|+|…`, or matrix and operations with a colon between, `0110…:input|conv3x3-bn-relu|…`.
    ///
    /// # Errors
    /// The wrong number of genes, or a gene that its decision does not offer; the sentence names the options.
    pub fn parse(&self, text: &str) -> Result<Arch, ArchError> {
        let text = text.trim();
        let genes: Vec<String> = match (&self.lowering, text.split_once(':')) {
            (Lowering::Edges(_), _) if text.starts_with('|') => Cell201::from_text(text)?.genes(),
            (Lowering::Vertices(own), Some((matrix, ops))) => {
                Cell101::from_table(matrix, ops)?.genes(own.vertices as usize)?
            }
            _ => text.split('-').map(str::to_owned).collect(),
        };
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
        let absent = self.absent(&arch.genes);
        for (i, (gene, decision)) in arch.genes.iter().zip(&self.decisions).enumerate() {
            if absent.get(i).copied().unwrap_or(false) {
                if gene != ABSENT {
                    return Err(ArchError(format!(
                        "`{gene}` in `{arch}` stands for `{}`, which lies beyond the depth that its stage has; write `{ABSENT}` there",
                        decision.name
                    )));
                }
            } else if !decision.options.contains(gene) {
                return Err(ArchError(format!(
                    "`{gene}` in `{arch}` is no option of `{}` in space `{}`; its options are {}",
                    decision.name,
                    self.name,
                    in_words(&decision.options)
                )));
            }
        }
        match &self.lowering {
            Lowering::Vertices(own) => vertices::member(own, arch).map(drop),
            _ => Ok(()),
        }
    }

    /// Lowers a genotype to layers.
    ///
    /// # Errors
    /// A genotype of another space, or an input that does not fit (a vector for a convolutional space, an image too small).
    pub fn plan(&self, arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
        self.validate(arch)?;
        match &self.lowering {
            Lowering::Mlp(rules) => rules.plan(arch, input, classes),
            Lowering::Stages(rules) => rules.plan(self, arch, input, classes),
            Lowering::Edges(own) => edges::plan(own, self, arch, input, classes),
            Lowering::Vertices(own) => vertices::plan(own, self, arch, input, classes),
        }
    }

    /// The blocks in network order with every choice, if the space is a chain: one decision a block, all options of a
    /// decision with the same shapes. `None` for spaces of another kind.
    ///
    /// # Errors
    /// When the input does not fit the space.
    pub fn chain(&self, input: Shape, classes: u32) -> Result<Option<Chain>, ArchError> {
        match &self.lowering {
            Lowering::Stages(rules) => rules.chain(self, input, classes),
            _ => Ok(None),
        }
    }

    /// Bars for drawing: height from 0 (skip) to 1, and a letter for the kind of layer. One a slot; of cells one a decision.
    pub fn glyph(&self, arch: &Arch) -> Vec<(f32, char)> {
        match &self.lowering {
            Lowering::Mlp(rules) => rules.glyph(arch),
            Lowering::Stages(rules) => rules.glyph(arch),
            Lowering::Edges(_) => edges::glyph(arch),
            Lowering::Vertices(_) => vertices::glyph(arch),
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

/// Options as a sentence takes them: all, or the first few where they are many.
fn in_words(options: &[String]) -> String {
    const FEW: usize = 12;
    let shown = options.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    if options.len() > FEW { format!("{shown} and {} more", options.len() - FEW) } else { shown }
}

/// Reads a gene that validation has already found among its options.
fn number(gene: &str) -> Result<u32, ArchError> {
    gene.parse().map_err(|_| ArchError(format!("`{gene}` is not a number")))
}

#[cfg(test)]
mod tests;
