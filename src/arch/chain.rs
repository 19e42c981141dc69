//! A chain of blocks with choices: what a single-path super-network is built from, and what a budget is spent on.
//!
//! A block is *vital* if it lies on every path from input to output. In a chain whose blocks may have shortcuts these are
//! exactly the blocks without one: stride above 1, or other channels out than in (HourNAS, arXiv:2005.14446).

use crate::cost::Cost;
use crate::plan::{Block, Plan, Shape};
use crate::space::{Arch, ArchError};

/// The blocks of a space in network order, for one input and number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Before the searched slots.
    pub stem: Vec<Block>,
    /// One a decision of the space, in its order.
    pub slots: Vec<Slot>,
    /// After the searched slots; ends in the logits.
    pub head: Vec<Block>,
}

/// One searched place with its candidate operations. All of them have the same shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The decision's name, such as `stage2.1`.
    pub name: String,
    pub input: Shape,
    pub output: Shape,
    pub stride: u32,
    pub choices: Vec<Choice>,
}

/// One candidate operation of a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The option's name, such as `k3e6` or `skip`.
    pub gene: String,
    /// `None`: the identity.
    pub block: Option<Block>,
    pub cost: Cost,
}

impl Slot {
    /// Whether no path from input to output goes round this block.
    pub fn vital(&self) -> bool {
        self.input != self.output || self.stride != 1
    }

    /// Index of the choice of this name.
    pub fn index(&self, gene: &str) -> Option<usize> {
        self.choices.iter().position(|choice| choice.gene == gene)
    }
}

impl Chain {
    /// Cost of stem and head, which no choice changes.
    pub fn fixed_cost(&self) -> Cost {
        self.stem.iter().chain(&self.head).map(Block::cost).sum()
    }

    /// Cost of the network with these choices, one a slot. Indices out of range cost nothing.
    pub fn cost(&self, choices: &[usize]) -> Cost {
        let chosen = self.slots.iter().zip(choices).filter_map(|(slot, &i)| slot.choices.get(i));
        self.fixed_cost() + chosen.map(|choice| choice.cost).sum()
    }

    /// The network of a genotype, without the blocks that it skips.
    ///
    /// # Errors
    /// A gene that its slot does not offer.
    pub fn plan(&self, arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
        let mut blocks = self.stem.clone();
        for (slot, gene) in self.slots.iter().zip(&arch.genes) {
            let choice = slot.choices.iter().find(|choice| choice.gene == *gene);
            let choice = choice.ok_or_else(|| ArchError(format!("`{gene}` is no option of `{}`", slot.name)))?;
            blocks.extend(choice.block.clone());
        }
        blocks.extend(self.head.iter().cloned());
        Ok(Plan { input, classes, slots: self.slots.len(), blocks })
    }

    /// Which slots are vital, in order.
    pub fn vital(&self) -> Vec<bool> {
        self.slots.iter().map(Slot::vital).collect()
    }
}
