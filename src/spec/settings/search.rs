//! Settings of the general searches `random`, `evolution` and `asha`: one frame, three ways to propose.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a search's budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetUnit {
    /// Epochs of training, times the images of each. Equal on every machine; a resumed run ends with the same bits.
    EpochImages,
    /// Seconds of search on this machine. What is trained by then depends on its speed, so no two runs are equal in their bits.
    Seconds,
}

/// What is traded against accuracy in the Pareto picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CostAxis {
    /// Multiply-accumulates of one forward pass.
    Macs,
    /// Trainable numbers.
    Params,
}

/// What the searches `random`, `evolution` and `asha` share: the budget, how each candidate is trained, and what is affordable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SearchSettings {
    /// What the search may spend on training candidates, in the unit that `search.unit` names. The final training comes on top.
    #[schemars(range(min = 0.001, max = 1e15))]
    pub budget: f64,
    /// What the budget counts.
    pub unit: BudgetUnit,
    /// Epochs that a candidate is trained; with `asha` those of the last rung.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub epochs: u32,
    /// Candidates under way at a time, as the search counts: so many proposals are made before the first result is known. Part of the result; `run.parallel` says how many are really trained side by side.
    #[schemars(range(min = 1, max = 256))]
    pub workers: u32,
    /// Most parameters that a candidate may have; 0 for no limit.
    pub max_params: u64,
    /// Most multiply-accumulates that a candidate may take; 0 for no limit.
    pub max_macs: u64,
    /// Cost axis of the Pareto picture.
    pub cost: CostAxis,
    /// Epochs of the final training of the best candidate, from scratch; 0 for none (then there is no test accuracy, and no network is kept).
    #[schemars(range(max = 100000), extend("x-unit" = "epochs"))]
    pub final_epochs: u32,
    /// Let an assessor, fitted on the candidates trained so far, choose which proposals are trained (`random` and `evolution`).
    pub screen: bool,
    /// Candidates to train before the first screening.
    #[schemars(range(min = 4, max = 100000))]
    pub screen_after: u32,
    /// Proposals that are screened at a time.
    #[schemars(range(min = 2, max = 100000))]
    pub screen_pool: u32,
    /// Proposals that are trained of each screening, the ones with the highest predictions; then the assessor is fitted anew.
    #[schemars(range(min = 1, max = 10000))]
    pub screen_top: u32,
}

impl Default for SearchSettings {
    fn default() -> Self {
        SearchSettings {
            budget: 1_000_000.0,
            unit: BudgetUnit::EpochImages,
            epochs: 10,
            workers: 4,
            max_params: 0,
            max_macs: 0,
            cost: CostAxis::Macs,
            final_epochs: 30,
            screen: false,
            screen_after: 16,
            screen_pool: 64,
            screen_top: 4,
        }
    }
}

/// Who leaves the population when a new member comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// The oldest: a network stays only as long as its children do well (regularised evolution).
    Oldest,
    /// The worst.
    Worst,
}

/// Evolution with tournaments (Real et al. 2019, arXiv:1802.01548, algorithm 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EvolutionSettings {
    /// Members of the population (P). The first so many candidates are drawn at random.
    #[schemars(range(min = 2, max = 100000))]
    pub population: u32,
    /// Members of a tournament (S), drawn at random; the best of them becomes a parent.
    #[schemars(range(min = 1, max = 100000))]
    pub tournament: u32,
    /// Probability that one decision of a child is changed. A child that was trained before is changed in any case.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mutation: f64,
    /// Probability that a child takes its decisions from two parents instead of one.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub crossover: f64,
    /// Who leaves the population when a new member comes.
    pub removal: Removal,
}

impl Default for EvolutionSettings {
    fn default() -> Self {
        EvolutionSettings { population: 20, tournament: 5, mutation: 1.0, crossover: 0.0, removal: Removal::Oldest }
    }
}

/// Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934, algorithm 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AshaSettings {
    /// Reduction factor: one in eta candidates of a rung is promoted, and trained eta times as long.
    #[schemars(range(min = 2, max = 100))]
    pub eta: u32,
    /// Epochs of the first rung. The last rung has `search.epochs`.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "epochs"))]
    pub min_epochs: u32,
}

impl Default for AshaSettings {
    fn default() -> Self {
        AshaSettings { eta: 3, min_epochs: 1 }
    }
}

impl AshaSettings {
    /// Epochs of each rung: `min-epochs` times the powers of eta that do not pass `max`, the last of them set to `max`.
    /// One rung if even the first is not below `max`.
    pub fn rungs(&self, max: u32) -> Vec<u32> {
        let (max, eta) = (u64::from(max.max(1)), u64::from(self.eta.max(2)));
        let powers = std::iter::successors(Some(u64::from(self.min_epochs.max(1))), |r| r.checked_mul(eta));
        let mut rungs: Vec<u64> = powers.take_while(|r| *r <= max).collect();
        match rungs.last_mut() {
            Some(last) => *last = max,
            None => rungs.push(max),
        }
        rungs.into_iter().map(|r| u32::try_from(r).unwrap_or(u32::MAX)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::AshaSettings;

    #[test]
    fn rungs_are_powers_up_to_the_longest_training() {
        let rungs = |min_epochs, eta, max| AshaSettings { eta, min_epochs }.rungs(max);
        assert_eq!(rungs(1, 3, 27), [1, 3, 9, 27]);
        assert_eq!(rungs(1, 3, 10), [1, 3, 10]);
        assert_eq!(rungs(2, 4, 31), [2, 31]);
        assert_eq!(rungs(5, 2, 5), [5]);
        assert_eq!(rungs(9, 2, 4), [4]);
        assert_eq!(rungs(1, 100, u32::MAX), [1, 100, 10_000, 1_000_000, u32::MAX]);
    }
}
