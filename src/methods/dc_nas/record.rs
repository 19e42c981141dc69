//! What DC-NAS knows of its networks: plain numbers, all of which a checkpoint holds.

use kiln_arch::Arch;
use serde::{Deserialize, Serialize};

/// One sampled network and what is known of it so far. Its id is its place in the population.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    pub arch: Arch,
    /// Speed family, or empty where the space has none.
    pub family: String,
    pub params: u64,
    pub macs: u64,
    /// After the short training.
    pub early: Option<Early>,
    /// After the full training.
    pub full: Option<Full>,
}

/// What the short training gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Early {
    /// Validation accuracy after E_0 epochs; `None` if the network diverged or could not be trained.
    pub accuracy: Option<f64>,
    /// Layer changes, brought to equal length, before scaling; `None` puts the network into the failed cluster.
    pub features: Option<Vec<f64>>,
    /// Why there are no features or no accuracy, as a sentence.
    pub failure: Option<String>,
    /// Seconds of training, of this network alone.
    pub seconds: f64,
}

/// What the full training gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Full {
    /// Validation accuracy after E_F epochs, or of the last good state of a network that diverged; `None` if it could not
    /// be trained at all.
    pub accuracy: Option<f64>,
    pub failure: Option<String>,
    pub seconds: f64,
}

impl Sampled {
    pub fn early_accuracy(&self) -> Option<f64> {
        self.early.as_ref().and_then(|early| early.accuracy)
    }

    pub fn full_accuracy(&self) -> Option<f64> {
        self.full.as_ref().and_then(|full| full.accuracy)
    }

    pub fn features(&self) -> Option<&Vec<f64>> {
        self.early.as_ref().and_then(|early| early.features.as_ref())
    }
}

/// The clusters that were settled on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clustering {
    /// By network; `None` for failed ones. Clusters are sorted by falling mean early accuracy.
    pub labels: Vec<Option<usize>>,
    pub k: usize,
    /// J of the partition.
    pub objective: f64,
    pub silhouette: Option<f64>,
    /// What each number of clusters gave.
    pub tried: Vec<Tried>,
}

/// The best restart for one number of clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    pub k: usize,
    /// J at the end of its best restart.
    pub objective: f64,
    /// Clusters left after small ones were merged.
    pub merged: usize,
    /// Of the merged partition; `None` if only one cluster was left.
    pub silhouette: Option<f64>,
}

/// Networks by falling early accuracy (equal ones by id); those without one are left out.
pub fn ranking(population: &[Sampled]) -> Vec<usize> {
    let mut ranked: Vec<(f64, usize)> =
        population.iter().enumerate().filter_map(|(id, s)| s.early_accuracy().map(|accuracy| (accuracy, id))).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().map(|(_, id)| id).collect()
}

/// The best `q` of each cluster by early accuracy, cluster by cluster.
pub fn cluster_winners(population: &[Sampled], clustering: &Clustering, q: usize) -> Vec<Vec<usize>> {
    let mut winners = vec![Vec::new(); clustering.k];
    for id in ranking(population) {
        if let Some(Some(label)) = clustering.labels.get(id)
            && winners[*label].len() < q
        {
            winners[*label].push(id);
        }
    }
    winners
}

/// The network with the best validation accuracy among `picks` (equal ones: the earlier better one, then the lower id).
pub fn best_of(population: &[Sampled], picks: &[usize]) -> Option<usize> {
    let key = |id: usize| (population[id].full_accuracy(), population[id].early_accuracy());
    picks.iter().copied().filter(|&id| population[id].full_accuracy().is_some()).reduce(|best, id| {
        let (a, b) = (key(best), key(id));
        let better = b.0.partial_cmp(&a.0).map(|o| o.then(b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal)));
        match better {
            Some(std::cmp::Ordering::Greater) => id,
            Some(std::cmp::Ordering::Equal) if id < best => id,
            _ => best,
        }
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sampled(early: Option<f64>, full: Option<f64>, family: &str) -> Sampled {
        Sampled {
            arch: Arch { space: "digits-mlp".into(), genes: vec![family.into(), "1".into(), "8".into()] },
            family: family.into(),
            params: 100,
            macs: 90,
            early: Some(Early { accuracy: early, features: Some(vec![0.1]), failure: None, seconds: 0.5 }),
            full: full.map(|accuracy| Full { accuracy: Some(accuracy), failure: None, seconds: 2.0 }),
        }
    }

    #[test]
    fn winners_are_ranked_inside_their_own_cluster() {
        let accuracies = [Some(0.9), Some(0.8), None, Some(0.3), Some(0.4), Some(0.4)];
        let population: Vec<Sampled> = accuracies.iter().map(|&a| sampled(a, None, "fast")).collect();
        let clustering = Clustering {
            labels: vec![Some(0), Some(0), None, Some(1), Some(1), Some(1)],
            k: 2,
            ..Clustering::default()
        };
        assert_eq!(ranking(&population), [0, 1, 4, 5, 3]);
        assert_eq!(cluster_winners(&population, &clustering, 1), [vec![0], vec![4]]);
        assert_eq!(cluster_winners(&population, &clustering, 2), [vec![0, 1], vec![4, 5]]);
    }

    #[test]
    fn the_merge_takes_the_best_final_accuracy_and_breaks_ties_the_same_way_always() {
        let population = [
            sampled(Some(0.5), Some(0.90), "fast"),
            sampled(Some(0.4), Some(0.95), "fast"),
            sampled(Some(0.6), Some(0.95), "fast"),
            sampled(Some(0.6), Some(0.95), "fast"),
            sampled(Some(0.9), None, "fast"),
        ];
        assert_eq!(best_of(&population, &[0, 1]), Some(1));
        assert_eq!(best_of(&population, &[3, 2, 1, 0]), Some(2));
        assert_eq!(best_of(&population, &[4]), None);
    }
}
