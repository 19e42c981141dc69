//! What to train next. A proposal is a pure function of what is known and of a key: nothing of it needs to be saved.

use kiln_arch::limits::Affordable;
use kiln_arch::{Arch, Cost};
use kiln_protocol::spec::seed::derive;
use kiln_protocol::spec::{AshaSettings, EvolutionSettings};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::record::Ledger;
use super::{asha, evolution, random};

/// How a search proposes.
#[derive(Clone, Debug)]
pub enum Strategy {
    Random,
    Evolution(EvolutionSettings),
    Asha(AshaSettings),
}

/// What to train next.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// A network that was not trained before.
    New { arch: Arch, cost: Cost, parents: Vec<usize> },
    /// A rung more for a candidate.
    Promote { candidate: usize, rung: usize },
}

/// What proposals are made from, beside the ledger.
pub struct Grounds<'a> {
    pub seed: u64,
    pub affordable: &'a Affordable,
    /// Epoch-images of each rung alone.
    pub work: &'a [u64],
    /// Epoch-images that may still be committed; `u64::MAX` where the budget counts something else.
    pub left: u64,
}

impl Grounds<'_> {
    /// The numbers for the proposal of candidate `id`; `draw` tells several of them apart.
    pub fn rng(&self, id: usize, draw: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(derive(self.seed, "propose", id as u64, draw))
    }
}

impl Strategy {
    /// Epochs after which a candidate is judged: one rung for random search and evolution.
    pub fn rungs(&self, epochs: u32) -> Vec<u32> {
        match self {
            Strategy::Random | Strategy::Evolution(_) => vec![epochs],
            Strategy::Asha(settings) => settings.rungs(epochs),
        }
    }

    /// What to train next; `None` if nothing more fits the budget, or no new affordable network is left.
    pub fn propose(&self, ledger: &Ledger, grounds: &Grounds) -> Option<Proposal> {
        if let Strategy::Asha(settings) = self
            && let Some((candidate, rung)) = asha::promotable(ledger, settings.eta, grounds.work, grounds.left)
        {
            return Some(Proposal::Promote { candidate, rung });
        }
        if grounds.work.first().is_none_or(|work| *work > grounds.left) {
            return None;
        }
        let seen = ledger.seen();
        self.fresh(ledger, grounds, 0, &|arch| !seen.contains(arch))
    }

    /// A network that `fresh` accepts. `draw` tells several for the same place apart.
    pub fn fresh(
        &self,
        ledger: &Ledger,
        grounds: &Grounds,
        draw: u64,
        fresh: &dyn Fn(&Arch) -> bool,
    ) -> Option<Proposal> {
        let mut rng = grounds.rng(ledger.candidates.len(), draw);
        match self {
            Strategy::Random | Strategy::Asha(_) => random::draw(grounds.affordable, &mut rng, fresh),
            Strategy::Evolution(settings) => evolution::child(ledger, settings, grounds.affordable, &mut rng, fresh),
        }
    }
}
