//! Is a cheap early ranking better inside clusters than over all, and by more than chance?
//!
//! Clusters that go along with quality have a narrower range of it, which lowers a rank correlation inside them even
//! when nothing is worse. So the figure inside clusters is compared with random partitions of the same sizes
//! ([`Permutations`], [`Null`]), and pairs of the same cluster with pairs across clusters whose final figures lie
//! equally far apart ([`concordance`]).

use serde::{Deserialize, Serialize};

use crate::{SplitMix64, Summary, kendall_tau};

/// Smaller clusters are left out: three points have only six orders, so their tau says next to nothing.
const SMALLEST: usize = 4;

/// Nothing closer than this counts as a difference between two taus: sums run in another order for each partition.
const ROUNDING: f64 = 1e-12;

/// One candidate: what the cheap proxy says of it, what turned out to be true, and the cluster it was put into.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub early: f64,
    /// The final figure; larger is better.
    pub last: f64,
    pub cluster: usize,
}

/// Rank correlation inside one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterTau {
    pub cluster: usize,
    pub size: usize,
    /// `None` for fewer than two members or if all are tied.
    pub tau: Option<f64>,
}

/// Rank correlation inside clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WithinTau {
    /// Mean of the clusters' taus, weighted by their sizes, over clusters of at least four members whose tau is
    /// defined; `None` if there is none.
    pub weighted: Option<f64>,
    /// Every cluster with a member, by number.
    pub clusters: Vec<ClusterTau>,
}

/// Kendall's tau-b of early against final figures inside each cluster, and the weighted mean
/// `sum n_k tau_k / sum n_k` over clusters with `n_k >= 4`.
pub fn within_tau(members: &[Member]) -> WithinTau {
    let clusters: Vec<ClusterTau> = grouped(members)
        .into_iter()
        .map(|(cluster, points)| ClusterTau { cluster, size: points.len(), tau: kendall_tau(&points) })
        .collect();
    let (sum, weight) = clusters.iter().filter(|c| c.size >= SMALLEST).fold((0.0, 0), |(sum, weight), c| {
        c.tau.map_or((sum, weight), |tau| (sum + c.size as f64 * tau, weight + c.size))
    });
    WithinTau { weighted: (weight > 0).then(|| sum / weight as f64), clusters }
}

/// The points (early, last) of each cluster, by cluster number, in the order given.
fn grouped(members: &[Member]) -> std::collections::BTreeMap<usize, Vec<(f64, f64)>> {
    let mut groups = std::collections::BTreeMap::<usize, Vec<(f64, f64)>>::new();
    for m in members {
        groups.entry(m.cluster).or_default().push((m.early, m.last));
    }
    groups
}

/// Draws random partitions with the cluster sizes of the given one: each item is the weighted tau of one draw.
///
/// An endless iterator, so that a caller with thousands of draws can pause between them. Equal seeds, equal draws.
/// An item is `None` where no cluster of that draw has a defined tau.
#[derive(Clone, Debug)]
pub struct Permutations {
    members: Vec<Member>,
    rng: SplitMix64,
}

impl Permutations {
    pub fn new(members: &[Member], seed: u64) -> Self {
        Permutations { members: members.to_vec(), rng: SplitMix64::new(seed) }
    }
}

impl Iterator for Permutations {
    type Item = Option<f64>;

    fn next(&mut self) -> Option<Option<f64>> {
        let mut labels: Vec<usize> = self.members.iter().map(|m| m.cluster).collect();
        self.rng.shuffle(&mut labels);
        for (member, cluster) in self.members.iter_mut().zip(labels) {
            member.cluster = cluster;
        }
        Some(within_tau(&self.members).weighted)
    }
}

/// What random partitions reach, and how the real one compares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Null {
    pub mean: f64,
    /// Sample standard deviation of the draws.
    pub std: f64,
    /// Chance of a random partition being at least as good: `(1 + draws as good) / (1 + draws)`. One-sided, and never 0:
    /// the real partition counts as one of those possible.
    pub p: f64,
    /// Draws with a defined tau.
    pub draws: usize,
}

impl Null {
    /// Compares `observed` with draws of [`Permutations`]; undefined draws are left out. `None` if none is defined.
    pub fn of(observed: f64, draws: impl IntoIterator<Item = Option<f64>>) -> Option<Null> {
        let defined: Vec<f64> = draws.into_iter().flatten().collect();
        let summary = Summary::of(defined.iter().copied())?;
        let as_good = defined.iter().filter(|&&tau| tau >= observed - ROUNDING).count();
        Some(Null {
            mean: summary.mean,
            std: summary.std,
            p: (1 + as_good) as f64 / (1 + defined.len()) as f64,
            draws: defined.len(),
        })
    }
}

/// [`Null`] of the partition in `members` against `draws` random ones. `None` where its own tau is not defined.
pub fn permutation_null(members: &[Member], draws: usize, seed: u64) -> Option<Null> {
    let observed = within_tau(members).weighted?;
    Null::of(observed, Permutations::new(members, seed).take(draws))
}

/// How many pairs the early figures put in the order of the final ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concordance {
    pub concordant: u64,
    pub discordant: u64,
    /// Pairs with equal early figures.
    pub tied: u64,
}

impl Concordance {
    pub fn pairs(&self) -> u64 {
        self.concordant + self.discordant + self.tied
    }

    /// Share of pairs in the right order, a tie counting half: 0.5 is guessing. `None` without pairs.
    pub fn share(&self) -> Option<f64> {
        let pairs = self.pairs();
        (pairs > 0).then(|| (self.concordant as f64 + 0.5 * self.tied as f64) / pairs as f64)
    }

    fn add(&mut self, early_difference: f64) {
        if early_difference > 0.0 {
            self.concordant += 1;
        } else if early_difference < 0.0 {
            self.discordant += 1;
        } else {
            self.tied += 1;
        }
    }
}

/// Pairs whose final figures lie `low..high` apart (`high` `None`: and more).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConcordanceBin {
    pub low: f64,
    pub high: Option<f64>,
    /// Pairs inside one cluster.
    pub same: Concordance,
    /// Pairs of two clusters.
    pub cross: Concordance,
}

/// Concordance of pairs inside one cluster and across clusters, by how far apart the final figures lie.
///
/// Bin i takes differences from `edges[i]` up to, not including, `edges[i + 1]`; the last one all from its edge on.
/// `edges` rise; differences below the first edge are left out, and so are pairs with equal final figures (they have no
/// true order) or without finite figures. Visits all n (n - 1) / 2 pairs.
pub fn concordance(members: &[Member], edges: &[f64]) -> Vec<ConcordanceBin> {
    let mut bins: Vec<ConcordanceBin> = edges
        .iter()
        .enumerate()
        .map(|(i, &low)| ConcordanceBin {
            low,
            high: edges.get(i + 1).copied(),
            same: Concordance::default(),
            cross: Concordance::default(),
        })
        .collect();
    for (better, worse) in ordered_pairs(members) {
        let difference = better.last - worse.last;
        let Some(bin) = edges.partition_point(|&edge| edge <= difference).checked_sub(1) else { continue };
        if let Some(bin) = bins.get_mut(bin) {
            let side = if better.cluster == worse.cluster { &mut bin.same } else { &mut bin.cross };
            side.add(better.early - worse.early);
        }
    }
    bins
}

/// Edges that spread the pairs of `members` evenly over at most `bins` bins; the first is 0. Fewer where many pairs
/// are equally far apart.
pub fn difference_edges(members: &[Member], bins: usize) -> Vec<f64> {
    let mut differences: Vec<f64> = ordered_pairs(members).map(|(better, worse)| better.last - worse.last).collect();
    differences.sort_unstable_by(f64::total_cmp);
    let mut edges = vec![0.0];
    for i in 1..bins {
        if let Some(&edge) = differences.get(differences.len() * i / bins)
            && edges.last().is_some_and(|&last| edge > last)
        {
            edges.push(edge);
        }
    }
    edges
}

/// Pairs with finite, different final figures, the better one first.
fn ordered_pairs(members: &[Member]) -> impl Iterator<Item = (Member, Member)> + '_ {
    members.iter().enumerate().flat_map(move |(i, &a)| {
        members[..i].iter().filter_map(move |&b| {
            let finite = [a.early, a.last, b.early, b.last].iter().all(|v| v.is_finite());
            (finite && a.last != b.last).then_some(if a.last > b.last { (a, b) } else { (b, a) })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(rows: &[(f64, f64, usize)]) -> Vec<Member> {
        rows.iter().map(|&(early, last, cluster)| Member { early, last, cluster }).collect()
    }

    /// Two families: the slow one is far behind early on and level at the end. Inside each the order is nearly right.
    fn two_speeds() -> Vec<Member> {
        members(&[
            (0.80, 0.91, 0),
            (0.81, 0.92, 0),
            (0.82, 0.93, 0),
            (0.83, 0.95, 0),
            (0.84, 0.94, 0),
            (0.40, 0.915, 1),
            (0.41, 0.925, 1),
            (0.42, 0.935, 1),
            (0.43, 0.945, 1),
            (0.10, 0.900, 2),
            (0.09, 0.990, 2),
        ])
    }

    #[test]
    fn weighted_tau_by_hand() {
        // Cluster 0: nine of ten pairs concordant, one discordant: 0.8. Cluster 1: 1. Cluster 2 has two members: left out.
        let got = within_tau(&two_speeds());
        let want = (5.0 * 0.8 + 4.0 * 1.0) / 9.0;
        assert!((got.weighted.unwrap() - want).abs() < 1e-12);
        assert_eq!(got.clusters.iter().map(|c| (c.cluster, c.size)).collect::<Vec<_>>(), [(0, 5), (1, 4), (2, 2)]);
        assert_eq!(got.clusters[2].tau, Some(-1.0));
    }

    #[test]
    fn a_cluster_of_equals_carries_no_weight() {
        let mut all = two_speeds();
        all.extend(members(&[(0.5, 0.1, 3), (0.5, 0.2, 3), (0.5, 0.3, 3), (0.5, 0.4, 3)]));
        assert_eq!(within_tau(&all).weighted, within_tau(&two_speeds()).weighted);
        assert_eq!(within_tau(&all[11..]).weighted, None);
        assert_eq!(within_tau(&[]).weighted, None);
    }

    #[test]
    fn permutations_keep_the_sizes_and_the_points() {
        let all = two_speeds();
        let mut draws = Permutations::new(&all, 1);
        for _ in 0..20 {
            draws.next();
            let mut sizes: Vec<usize> = grouped(&draws.members).values().map(Vec::len).collect();
            sizes.sort_unstable();
            assert_eq!(sizes, [2, 4, 5]);
            assert!(draws.members.iter().zip(&all).all(|(a, b)| (a.early, a.last) == (b.early, b.last)));
        }
    }

    #[test]
    fn null_is_deterministic_and_sees_two_speeds() {
        let all = two_speeds();
        let a = permutation_null(&all, 500, 7).unwrap();
        assert_eq!(Some(a), permutation_null(&all, 500, 7));
        assert_ne!(Some(a), permutation_null(&all, 500, 8));
        assert_eq!(a.draws, 500);
        assert!(a.p < 0.05 && within_tau(&all).weighted.unwrap() > a.mean + a.std, "{a:?}");
    }

    #[test]
    fn the_null_of_one_cluster_is_itself() {
        // Every partition into one cluster is the same, so nothing is ever worse: p = 1.
        let one: Vec<Member> = two_speeds().into_iter().map(|m| Member { cluster: 0, ..m }).collect();
        let null = permutation_null(&one, 99, 1).unwrap();
        assert_eq!((null.p, null.draws), (1.0, 99));
        assert!(null.std < 1e-12 && (null.mean - within_tau(&one).weighted.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn p_by_hand() {
        // Three of four defined draws reach 0.5: (1 + 3) / (1 + 4).
        let null = Null::of(0.5, [Some(0.5), None, Some(0.9), Some(0.1), Some(0.6)]).unwrap();
        assert_eq!((null.p, null.draws), (0.8, 4));
        assert!((null.mean - 0.525).abs() < 1e-12);
        // Better than all 19 draws: p = 1 / 20, not 0.
        assert_eq!(Null::of(1.0, std::iter::repeat_n(Some(0.0), 19)).unwrap().p, 0.05);
        assert_eq!(Null::of(1.0, [None]), None);
    }

    #[test]
    fn concordance_by_hand() {
        // Final differences (quarters, so exact): a-b 0.25, a-c 0.5, a-d 1, b-c 0.25, b-d 0.75, c-d 0.5.
        let all = members(&[(4.0, 1.0, 0), (5.0, 0.75, 0), (5.0, 0.5, 1), (1.0, 0.0, 1)]);
        let bins = concordance(&all, &[0.0, 0.5]);
        assert_eq!((bins[0].low, bins[0].high, bins[1].high), (0.0, Some(0.5), None));
        let one = |concordant, discordant, tied| Concordance { concordant, discordant, tied };
        assert_eq!(bins[0].same, one(0, 1, 0)); // a-b
        assert_eq!(bins[0].cross, one(0, 0, 1)); // b-c
        assert_eq!(bins[1].same, one(1, 0, 0)); // c-d
        assert_eq!(bins[1].cross, one(2, 1, 0)); // a-d, b-d; a-c wrong
        assert_eq!(bins[0].cross.share(), Some(0.5));
        assert_eq!(bins[1].cross.share(), Some(2.0 / 3.0));
        assert_eq!(Concordance::default().share(), None);
    }

    #[test]
    fn pairs_without_an_order_are_left_out() {
        let all = members(&[(1.0, 0.5, 0), (2.0, 0.5, 0), (3.0, f64::NAN, 0), (f64::NAN, 0.9, 0)]);
        let bins = concordance(&all, &[0.0]);
        assert_eq!((bins[0].same.pairs(), bins[0].cross.pairs()), (0, 0));
        assert!(concordance(&all, &[]).is_empty());
    }

    #[test]
    fn edges_spread_the_pairs() {
        let all: Vec<Member> =
            (0..20).map(|i| Member { early: 0.0, last: f64::from(i * i), cluster: i as usize % 2 }).collect();
        let edges = difference_edges(&all, 4);
        assert_eq!((edges.len(), edges[0]), (4, 0.0));
        let counts: Vec<u64> = concordance(&all, &edges).iter().map(|b| b.same.pairs() + b.cross.pairs()).collect();
        assert_eq!(counts.iter().sum::<u64>(), 190);
        assert!(counts.iter().all(|n| (40..56).contains(n)), "{counts:?}");
        assert_eq!(difference_edges(&[], 4), [0.0]);
        assert_eq!(difference_edges(&members(&[(0.0, 1.0, 0), (0.0, 2.0, 0), (0.0, 3.0, 0)]), 9), [0.0, 1.0, 2.0]);
    }
}
