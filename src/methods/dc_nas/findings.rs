//! Did ranking inside clusters help? Rank correlations, their null distribution, regrets and costs, all from plain numbers.

use kiln_metrics::{
    ConcordanceBin, Member, Null, WithinTau, concordance, difference_edges, kendall_tau, regret, within_tau,
};

use super::record::{Clustering, Sampled, best_of};

/// How much better than random partitions a ranking inside clusters has to be before we call it better (the card's own
/// expectation for populations of two speeds).
pub const TAU_GAIN: f64 = 0.05;

/// Chance of a random partition doing as well above which we do not call a gain real.
pub const SIGNIFICANCE: f64 = 0.05;

/// Bins of the difference in final accuracy for the comparison of pairs.
const PAIR_BINS: usize = 3;

/// Costs in epoch-images by the card's formulas, whatever else was trained to check them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// `n E_0 rho |D|`: what all ways but the exhaustive one begin with.
    pub short: f64,
    /// DC-NAS: the short trainings and `Kq` full ones.
    pub clusters: f64,
    /// The fair baseline has the same cost.
    pub global_topk: f64,
    /// Plain early stopping: the short trainings and one full one.
    pub early: f64,
    /// `n E_F |D|`
    pub exhaustive: f64,
}

impl Costs {
    /// `proxy` and `train` are images; `picks` is `Kq`.
    pub fn new(n: usize, picks: usize, early_epochs: f64, full_epochs: f64, proxy: f64, train: f64) -> Costs {
        let short = n as f64 * early_epochs * proxy;
        let full = full_epochs * train;
        let clusters = short + picks as f64 * full;
        Costs { short, clusters, global_topk: clusters, early: short + full, exhaustive: n as f64 * full }
    }
}

/// One way of choosing networks for the full training.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub picks: Vec<usize>,
    /// The pick with the best final validation accuracy.
    pub best: Option<usize>,
    pub accuracy: Option<f64>,
    /// Best final accuracy of the whole population minus that of the pick; `None` unless all were trained in full.
    pub regret: Option<f64>,
}

/// Everything that the comparisons give.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    pub clusters: Choice,
    pub global_topk: Choice,
    pub early: Choice,
    /// The rest needs the truth: full trainings of all networks.
    pub truth: Option<Truth>,
}

/// What full trainings of all networks tell of the ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    pub tau_global: Option<f64>,
    pub within: WithinTau,
    pub null: Option<Null>,
    /// Inside the true speed families: an upper bound for clusters. `None` where the space has no families.
    pub oracle: Option<f64>,
    pub pairs: Vec<ConcordanceBin>,
}

/// Networks with a cluster and both accuracies.
pub fn members(population: &[Sampled], clustering: &Clustering) -> Vec<Member> {
    population
        .iter()
        .zip(&clustering.labels)
        .filter_map(|(s, label)| {
            Some(Member { early: s.early_accuracy()?, last: s.full_accuracy()?, cluster: (*label)? })
        })
        .collect()
}

/// Compares the three choices; `draws` are the taus of random partitions, empty when the truth is not known.
pub fn findings(
    population: &[Sampled],
    clustering: &Clustering,
    winners: &[usize],
    ranked: &[usize],
    truth: bool,
    draws: &[Option<f64>],
) -> Findings {
    let finals: Vec<f64> = population.iter().map(|s| s.full_accuracy().unwrap_or(f64::NAN)).collect();
    let choice = |picks: &[usize]| {
        let best = best_of(population, picks);
        Choice {
            picks: picks.to_vec(),
            best,
            accuracy: best.and_then(|id| population[id].full_accuracy()),
            regret: truth.then(|| regret(&finals, picks)).flatten(),
        }
    };
    Findings {
        clusters: choice(winners),
        global_topk: choice(&ranked[..winners.len().min(ranked.len())]),
        early: choice(&ranked[..ranked.len().min(1)]),
        truth: truth.then(|| known(population, clustering, draws)),
    }
}

fn known(population: &[Sampled], clustering: &Clustering, draws: &[Option<f64>]) -> Truth {
    let all: Vec<(f64, f64)> =
        population.iter().filter_map(|s| Some((s.early_accuracy()?, s.full_accuracy()?))).collect();
    let members = members(population, clustering);
    let within = within_tau(&members);
    let null = within.weighted.and_then(|observed| Null::of(observed, draws.iter().copied()));
    let edges = difference_edges(&members, PAIR_BINS);
    Truth {
        tau_global: kendall_tau(&all),
        null,
        oracle: oracle(population),
        pairs: concordance(&members, &edges),
        within,
    }
}

/// The weighted tau inside the true families.
fn oracle(population: &[Sampled]) -> Option<f64> {
    let mut families: Vec<&str> = population.iter().map(|s| s.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    if families.len() < 2 {
        return None;
    }
    let members: Vec<Member> = population
        .iter()
        .filter_map(|s| {
            let cluster = families.binary_search(&s.family.as_str()).ok()?;
            Some(Member { early: s.early_accuracy()?, last: s.full_accuracy()?, cluster })
        })
        .collect();
    within_tau(&members).weighted
}

/// Slope and intercept of the least-squares line; `None` with fewer than two different x.
pub fn trend(points: &[[f64; 2]]) -> Option<[f64; 2]> {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p[0] / n, y + p[1] / n));
    let (sxx, sxy) =
        points.iter().fold((0.0, 0.0), |(xx, xy), p| (xx + (p[0] - mx).powi(2), xy + (p[0] - mx) * (p[1] - my)));
    (sxx > 0.0).then(|| [sxy / sxx, my - sxy / sxx * mx])
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sampled;
    use super::*;
    use kiln_metrics::Permutations;

    /// Two speeds: clusters rank well, the global order is misled.
    fn two_speeds() -> (Vec<Sampled>, Clustering) {
        let mut population = vec![];
        for i in 0..5 {
            population.push(sampled(Some(0.80 + 0.01 * i as f64), Some(0.90 + 0.005 * i as f64), "fast"));
            population.push(sampled(Some(0.40 + 0.01 * i as f64), Some(0.92 + 0.005 * i as f64), "slow"));
        }
        let labels = (0..10).map(|i| Some(i % 2)).collect();
        (population, Clustering { labels, k: 2, ..Clustering::default() })
    }

    #[test]
    fn costs_agree_with_hand_counting() {
        let costs = Costs::new(40, 3, 2.0, 100.0, 60.0, 600.0);
        assert_eq!(costs.short, 4_800.0);
        assert_eq!(costs.clusters, 4_800.0 + 180_000.0);
        assert_eq!(costs.global_topk, costs.clusters);
        assert_eq!(costs.early, 64_800.0);
        assert_eq!(costs.exhaustive, 2_400_000.0);
    }

    #[test]
    fn two_speeds_are_where_clusters_help() {
        let (population, clustering) = two_speeds();
        let ranked = super::super::record::ranking(&population);
        let draws: Vec<Option<f64>> = Permutations::new(&members(&population, &clustering), 3).take(300).collect();
        let found = findings(&population, &clustering, &[8, 9], &ranked, true, &draws);
        let truth = found.truth.unwrap();
        let perfect = |tau: Option<f64>| (tau.unwrap() - 1.0).abs() < 1e-12;
        assert!(perfect(truth.within.weighted) && perfect(truth.oracle));
        assert!(truth.tau_global.unwrap() < 0.2);
        assert!(truth.null.unwrap().p < 0.05);
        // Best of all is 0.94 (network 9, a slow one); the global order picks fast ones, up to 0.92.
        assert!(found.clusters.regret.unwrap().abs() < 1e-12);
        assert!((found.global_topk.regret.unwrap() - 0.02).abs() < 1e-12);
        assert_eq!(found.global_topk.picks, [8, 6]);
        assert_eq!(found.early.picks, [8]);
        assert!((found.early.regret.unwrap() - 0.02).abs() < 1e-12);
    }

    #[test]
    fn without_the_truth_there_is_no_regret_but_a_comparison() {
        let (population, clustering) = two_speeds();
        let ranked = super::super::record::ranking(&population);
        let found = findings(&population, &clustering, &[8, 9], &ranked, false, &[]);
        assert_eq!(found.truth, None);
        assert_eq!(found.clusters.regret, None);
        assert!((found.clusters.accuracy.unwrap() - 0.94).abs() < 1e-12);
        assert!((found.global_topk.accuracy.unwrap() - 0.92).abs() < 1e-12);
    }

    #[test]
    fn the_trend_is_the_least_squares_line() {
        let [slope, intercept] = trend(&[[0.0, 1.0], [1.0, 3.0], [2.0, 5.0]]).unwrap();
        assert!((slope - 2.0).abs() < 1e-12 && (intercept - 1.0).abs() < 1e-12);
        assert_eq!(trend(&[[1.0, 1.0], [1.0, 2.0]]), None);
    }
}
