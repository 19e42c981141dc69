//! Proposals chosen by an assessor that is fitted on the candidates trained so far (loop of arXiv:2005.06821, section 3.4:
//! train some, fit, screen many, train the most promising ones, and again).

use std::collections::HashSet;

use kiln_arch::{Arch, Cost};
use serde::{Deserialize, Serialize};

use super::propose::{Grounds, Proposal, Strategy};
use super::record::Ledger;
use crate::assessor::Screen;
use crate::error::Result;

/// A proposal that waits for its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    pub arch: Arch,
    pub cost: Cost,
    pub parents: Vec<usize>,
    /// Accuracy that the assessor expects.
    pub predicted: f64,
}

/// How proposals are screened.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Judged candidates before the first screening.
    pub after: usize,
    /// Proposals screened at a time.
    pub pool: usize,
    /// Of these, how many are trained.
    pub top: usize,
}

/// Candidates with an accuracy: what an assessor is fitted on.
fn judged(ledger: &Ledger) -> Vec<(Arch, f64)> {
    ledger.candidates.iter().filter_map(|c| Some((c.arch.clone(), c.accuracy()?))).collect()
}

/// Fits, proposes many, and gives the most promising ones, the best first (of equals the one proposed first). Nothing while
/// too few candidates are judged, or when nothing new can be proposed. Depends on the ledger and the seed alone, so nothing
/// of it needs to be saved but the answer.
///
/// Takes as long as the fit: a second or so, during which nothing else is done.
pub fn screen(
    screen: &mut Screen,
    strategy: &Strategy,
    ledger: &Ledger,
    grounds: &Grounds,
    rules: Rules,
) -> Result<Vec<Chosen>> {
    let trained = judged(ledger);
    if trained.len() < rules.after.max(2) {
        return Ok(Vec::new());
    }
    let mut known: HashSet<Arch> = ledger.candidates.iter().map(|c| c.arch.clone()).collect();
    let mut pool = Vec::with_capacity(rules.pool);
    for draw in 1..=rules.pool as u64 {
        let proposal = strategy.fresh(ledger, grounds, draw, &|arch| !known.contains(arch));
        let Some(Proposal::New { arch, cost, parents }) = proposal else { break };
        known.insert(arch.clone());
        pool.push(Chosen { arch, cost, parents, predicted: 0.0 });
    }
    if pool.is_empty() {
        return Ok(pool);
    }
    screen.fit(&trained, &|| false)?;
    let archs: Vec<Arch> = pool.iter().map(|chosen| chosen.arch.clone()).collect();
    for (chosen, predicted) in pool.iter_mut().zip(screen.rank(&archs)?) {
        chosen.predicted = predicted;
    }
    pool.sort_by(|a, b| b.predicted.total_cmp(&a.predicted));
    pool.truncate(rules.top);
    Ok(pool)
}
