//! k-means that can be watched: k-means++ and Lloyd's iterations by linfa, one iteration a call, restarts and what
//! becomes of empty and tiny clusters by us.

use linfa::DatasetBase;
use linfa::traits::FitWith;
use linfa_clustering::{IncrKMeansError, KMeans, KMeansInit};
use linfa_nn::distance::L2Dist;
use ndarray::{Array1, Array2, ArrayView1, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Squared Euclidean distance.
pub fn distance2(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// One restart of k-means, between two iterations.
#[derive(Clone, Debug, PartialEq)]
pub struct Lloyd {
    /// `[k, columns]`
    pub centroids: Array2<f64>,
    /// Nearest centroid of each row.
    pub labels: Vec<usize>,
    /// J: the sum of squared distances to the nearest centroid.
    pub objective: f64,
    /// Iterations done.
    pub iteration: usize,
    /// No row changed its cluster in the last iteration.
    pub converged: bool,
}

impl Lloyd {
    /// k-means++ seeding of `k` centroids (`1 <= k <= rows`) and the first iteration.
    pub fn start(z: &Array2<f64>, k: usize, seed: u64) -> Result<Lloyd, String> {
        let centroids = iterate(z, k, KMeansInit::KMeansPlusPlus, seed)?;
        Ok(Lloyd::settle(z, centroids, &[], 1))
    }

    /// One more iteration: every centroid to the mean of its members, every row to its nearest centroid.
    pub fn step(&mut self, z: &Array2<f64>) -> Result<(), String> {
        let k = self.centroids.nrows();
        let centroids = iterate(z, k, KMeansInit::Precomputed(self.centroids.clone()), 0)?;
        *self = Lloyd::settle(z, centroids, &self.labels, self.iteration + 1);
        Ok(())
    }

    /// Assigns rows to centroids and gives each empty cluster the row that lies farthest from its own centroid. Neither
    /// can raise the objective: an empty cluster's centroid adds nothing to it wherever it is.
    fn settle(z: &Array2<f64>, mut centroids: Array2<f64>, before: &[usize], iteration: usize) -> Lloyd {
        let (mut labels, mut distances) = assign(z, &centroids);
        for _ in 0..centroids.nrows() {
            let sizes = sizes(&labels, centroids.nrows());
            let Some(empty) = sizes.iter().position(|&size| size == 0) else { break };
            let farthest = (0..labels.len()).max_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(b.cmp(&a)));
            let Some(row) = farthest.filter(|&row| distances[row] > 0.0) else { break };
            centroids.row_mut(empty).assign(&z.row(row));
            (labels, distances) = assign(z, &centroids);
        }
        Lloyd { converged: labels == before, objective: distances.iter().sum(), labels, centroids, iteration }
    }
}

/// Assignment and mean update, once, by linfa. Its incremental fit from nothing is exactly Lloyd's iteration (a running
/// mean that starts empty); its batch fit is not, since it counts the old centroid as one more member.
fn iterate(z: &Array2<f64>, k: usize, init: KMeansInit<f64>, seed: u64) -> Result<Array2<f64>, String> {
    type Stepped = Result<KMeans<f64, L2Dist>, IncrKMeansError<KMeans<f64, L2Dist>>>;
    let params = KMeans::params_with(k, ChaCha8Rng::seed_from_u64(seed), L2Dist).init_method(init).n_runs(1);
    let stepped: Stepped = params.fit_with(None, &DatasetBase::from(z.view()));
    match stepped {
        Ok(model) | Err(IncrKMeansError::NotConverged(model)) => Ok(model.centroids().clone()),
        Err(error) => Err(format!("k-means with {k} clusters on {} networks: {error}", z.nrows())),
    }
}

/// Nearest centroid of each row (the first of equally near ones) and the squared distance to it.
fn assign(z: &Array2<f64>, centroids: &Array2<f64>) -> (Vec<usize>, Vec<f64>) {
    z.rows()
        .into_iter()
        .map(|row| {
            let mut best = (0, f64::INFINITY);
            for (k, centroid) in centroids.rows().into_iter().enumerate() {
                let d = distance2(row, centroid);
                if d < best.1 {
                    best = (k, d);
                }
            }
            best
        })
        .unzip()
}

/// Members of each cluster.
pub fn sizes(labels: &[usize], k: usize) -> Vec<usize> {
    let mut sizes = vec![0; k];
    for &label in labels {
        sizes[label] += 1;
    }
    sizes
}

/// A finished partition: labels count from 0 without gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partition {
    pub labels: Vec<usize>,
    /// Means of the members, `[k, columns]`.
    pub centroids: Array2<f64>,
}

impl Partition {
    /// Centroids are the members' means; labels that nobody has are closed up.
    pub fn new(z: &Array2<f64>, labels: &[usize]) -> Partition {
        let mut used: Vec<usize> = labels.to_vec();
        used.sort_unstable();
        used.dedup();
        let labels: Vec<usize> = labels.iter().filter_map(|label| used.binary_search(label).ok()).collect();
        let mut centroids = Array2::zeros((used.len(), z.ncols()));
        for k in 0..used.len() {
            let rows: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == k).collect();
            let mean = z.select(Axis(0), &rows).mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(z.ncols()));
            centroids.row_mut(k).assign(&mean);
        }
        Partition { labels, centroids }
    }

    pub fn k(&self) -> usize {
        self.centroids.nrows()
    }

    pub fn sizes(&self) -> Vec<usize> {
        sizes(&self.labels, self.k())
    }

    /// Clusters with fewer than `min` members join the one with the nearest centroid, smallest first, until none is left
    /// or all are one.
    pub fn merge_small(self, z: &Array2<f64>, min: usize) -> Partition {
        let mut now = self;
        loop {
            let sizes = now.sizes();
            let smallest = (0..now.k()).filter(|&k| sizes[k] < min).min_by_key(|&k| (sizes[k], k));
            let Some(small) = smallest.filter(|_| now.k() > 1) else { return now };
            let to_small = |k: &usize| distance2(now.centroids.row(*k), now.centroids.row(small));
            let nearest = (0..now.k()).filter(|&k| k != small).min_by(|a, b| to_small(a).total_cmp(&to_small(b)));
            let Some(nearest) = nearest else { return now };
            let labels: Vec<usize> = now.labels.iter().map(|&l| if l == small { nearest } else { l }).collect();
            now = Partition::new(z, &labels);
        }
    }

    /// Renames clusters so that the mean of `score` over the members falls with the label; equal means go by the first
    /// member. The names then do not depend on the order in which k-means found the clusters.
    pub fn sorted_by(self, z: &Array2<f64>, score: &[f64]) -> Partition {
        let sizes = self.sizes();
        let mut totals = vec![0.0; self.k()];
        for (&label, s) in self.labels.iter().zip(score) {
            totals[label] += s;
        }
        let first = |k: usize| self.labels.iter().position(|&l| l == k);
        let mean = |k: usize| totals[k] / sizes[k] as f64;
        let mut order: Vec<usize> = (0..self.k()).collect();
        order.sort_by(|&a, &b| mean(b).total_cmp(&mean(a)).then(first(a).cmp(&first(b))));
        let mut renamed = vec![0; self.k()];
        for (new, &old) in order.iter().enumerate() {
            renamed[old] = new;
        }
        let labels: Vec<usize> = self.labels.iter().map(|&l| renamed[l]).collect();
        Partition::new(z, &labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use rand::Rng;

    fn cloud(n: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_fn((n, columns), |(i, _)| rng.gen_range(-1.0..1.0) + (i % 3) as f64)
    }

    fn run(z: &Array2<f64>, k: usize, seed: u64) -> Vec<Lloyd> {
        let mut states = vec![Lloyd::start(z, k, seed).unwrap()];
        while !states.last().unwrap().converged && states.len() < 100 {
            let mut next = states.last().unwrap().clone();
            next.step(z).unwrap();
            states.push(next);
        }
        states
    }

    #[test]
    fn the_objective_never_rises_and_centroids_end_as_means() {
        for seed in 0..20 {
            let z = cloud(40, 8, seed);
            for k in 1..=6 {
                let states = run(&z, k, seed);
                for pair in states.windows(2) {
                    assert!(pair[1].objective <= pair[0].objective * (1.0 + 1e-12), "k {k}, seed {seed}");
                }
                let end = states.last().unwrap();
                assert!(end.converged);
                let means = Partition::new(&z, &end.labels).centroids;
                assert!((&means - &end.centroids).iter().all(|d| d.abs() < 1e-9));
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_clusters() {
        let z = cloud(30, 5, 9);
        assert_eq!(run(&z, 4, 3), run(&z, 4, 3));
        assert_ne!(run(&z, 4, 3)[0].centroids, run(&z, 4, 4)[0].centroids);
    }

    #[test]
    fn one_iteration_agrees_with_hand_counting() {
        let z = array![[0.0], [2.0], [10.0], [14.0]];
        let centroids = array![[0.0], [10.0]];
        let next = iterate(&z, 2, KMeansInit::Precomputed(centroids), 0).unwrap();
        assert_eq!(next, array![[1.0], [12.0]]);
    }

    #[test]
    fn an_empty_cluster_takes_the_farthest_row() {
        let z = array![[0.0], [1.0], [2.0], [9.0]];
        // The third centroid is nobody's nearest.
        let state = Lloyd::settle(&z, array![[1.0], [2.5], [100.0]], &[], 1);
        assert_eq!(state.centroids.row(2), array![9.0]);
        assert_eq!(state.labels, [0, 0, 1, 2]);
        assert_eq!(state.objective, 1.0 + 0.0 + 0.25);
    }

    #[test]
    fn fewer_distinct_rows_than_clusters_end_without_a_panic() {
        let z = array![[1.0], [1.0], [1.0], [2.0]];
        let states = run(&z, 3, 1);
        assert_eq!(states.last().unwrap().objective, 0.0);
        assert_eq!(Partition::new(&z, &states.last().unwrap().labels).k(), 2);
    }

    #[test]
    fn small_clusters_join_the_nearest() {
        let z = array![[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [6.5]];
        let merged = Partition::new(&z, &[0, 0, 0, 1, 1, 1, 2]).merge_small(&z, 3);
        assert_eq!(merged.labels, [0, 0, 0, 1, 1, 1, 1]);
        assert!((merged.centroids[[1, 0]] - (5.0 + 5.1 + 5.2 + 6.5) / 4.0).abs() < 1e-12);
        let one = Partition::new(&z, &[0, 1, 2, 3, 4, 5, 6]).merge_small(&z, 8);
        assert_eq!(one.k(), 1, "when no cluster can be large enough, all become one");
    }

    #[test]
    fn names_follow_the_score_not_the_order_of_discovery() {
        let z = array![[0.0], [5.0], [0.1], [5.1]];
        let score = [0.2, 0.9, 0.3, 0.8];
        let a = Partition::new(&z, &[0, 1, 0, 1]).sorted_by(&z, &score);
        let b = Partition::new(&z, &[1, 0, 1, 0]).sorted_by(&z, &score);
        assert_eq!(a, b);
        assert_eq!(a.labels, [1, 0, 1, 0]);
    }
}
