//! Step 6 of the card, one Lloyd iteration at a time: for each number of clusters ten restarts, the best of them judged by
//! its silhouette; then the winning run once more, slowly, for people to watch.

use kiln_protocol::spec::DcNasSettings;
use kiln_protocol::spec::seed::derive;
use ndarray::Array2;

use super::geometry::{distances, silhouette};
use super::kmeans::{Lloyd, Partition};
use super::record::Tried;

/// The search for clusters, between two iterations.
pub struct Search {
    z: Array2<f64>,
    distances: Array2<f64>,
    seed: u64,
    restarts: u64,
    iterations: usize,
    min_cluster: usize,
    /// Numbers of clusters that wait, the next one last.
    waiting: Vec<usize>,
    now: Option<Attempts>,
    done: Vec<Judged>,
}

/// The restarts for one number of clusters.
struct Attempts {
    k: usize,
    restart: u64,
    run: Vec<Lloyd>,
    best: Vec<Lloyd>,
}

/// The best run for one number of clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub tried: Tried,
    /// Its iterations, the last one converged or at the limit.
    pub run: Vec<Lloyd>,
    /// After small clusters were merged.
    pub partition: Partition,
}

/// What one call of [`Search::step`] did.
pub enum Stepped<'a> {
    Iterated { k: usize, restart: u64, state: &'a Lloyd },
    Judged(&'a Judged),
    Done,
}

impl Search {
    /// Searches clusters of the rows of `z` (at least one).
    pub fn new(z: Array2<f64>, settings: &DcNasSettings, seed: u64) -> Search {
        let most = z.nrows();
        let mut waiting: Vec<usize> = match settings.clusters as usize {
            0 => (settings.clusters_min as usize..=settings.clusters_max as usize).filter(|k| *k < most).collect(),
            k => vec![k.min(most)],
        };
        if waiting.is_empty() {
            waiting.push(most.min(1));
        }
        waiting.reverse();
        Search {
            distances: distances(&z),
            z,
            seed,
            restarts: u64::from(settings.restarts),
            iterations: settings.iterations as usize,
            min_cluster: settings.min_cluster as usize,
            waiting,
            now: None,
            done: Vec::new(),
        }
    }

    pub fn z(&self) -> &Array2<f64> {
        &self.z
    }

    pub fn distances(&self) -> &Array2<f64> {
        &self.distances
    }

    /// One Lloyd iteration, or the judgement of a number of clusters.
    pub fn step(&mut self) -> Result<Stepped<'_>, String> {
        let mut now = match self.now.take() {
            Some(now) => now,
            None => match self.waiting.pop() {
                Some(k) => Attempts { k, restart: 0, run: Vec::new(), best: Vec::new() },
                None => return Ok(Stepped::Done),
            },
        };
        if now.run.last().is_some_and(|state| state.converged || state.iteration >= self.iterations) {
            let run = std::mem::take(&mut now.run);
            let objective = |run: &[Lloyd]| run.last().map_or(f64::INFINITY, |state| state.objective);
            if objective(&run) < objective(&now.best) {
                now.best = run;
            }
            now.restart += 1;
        }
        if now.restart >= self.restarts {
            let judged = judge(&self.z, &self.distances, now.k, now.best, self.min_cluster);
            self.done.push(judged);
            return Ok(self.done.last().map_or(Stepped::Done, Stepped::Judged));
        }
        let state = match now.run.last() {
            None => Lloyd::start(&self.z, now.k, derive(self.seed, "kmeans", now.k as u64, now.restart))?,
            Some(last) => {
                let mut next = last.clone();
                next.step(&self.z)?;
                next
            }
        };
        let now = self.now.insert(now);
        now.run.push(state);
        let (k, restart) = (now.k, now.restart);
        Ok(now.run.last().map_or(Stepped::Done, |state| Stepped::Iterated { k, restart, state }))
    }

    /// Everything that was tried, and which of it has the highest silhouette (of equal ones the fewest clusters).
    pub fn chosen(&self) -> Option<&Judged> {
        let value = |judged: &Judged| judged.tried.silhouette.unwrap_or(f64::NEG_INFINITY);
        self.done.iter().reduce(|best, judged| if value(judged) > value(best) { judged } else { best })
    }

    pub fn tried(&self) -> Vec<Tried> {
        self.done.iter().map(|judged| judged.tried.clone()).collect()
    }
}

fn judge(z: &Array2<f64>, distances: &Array2<f64>, k: usize, run: Vec<Lloyd>, min_cluster: usize) -> Judged {
    let labels = run.last().map(|state| state.labels.clone()).unwrap_or_default();
    let partition = Partition::new(z, &labels).merge_small(z, min_cluster);
    let tried = Tried {
        k,
        objective: run.last().map_or(0.0, |state| state.objective),
        merged: partition.k(),
        silhouette: silhouette(distances, &partition.labels, partition.k()),
    };
    Judged { tried, run, partition }
}

/// J of a partition: the sum of squared distances to its centroids.
pub fn objective(z: &Array2<f64>, partition: &Partition) -> f64 {
    z.rows()
        .into_iter()
        .zip(&partition.labels)
        .map(|(row, &label)| super::kmeans::distance2(row, partition.centroids.row(label)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `groups` tight groups of `each` rows on a line, far apart.
    fn groups(groups: usize, each: usize) -> Array2<f64> {
        Array2::from_shape_fn((groups * each, 2), |(i, c)| {
            let (group, place) = (i / each, i % each);
            if c == 0 { 10.0 * group as f64 + 0.1 * place as f64 } else { 0.05 * ((i * 7) % 5) as f64 }
        })
    }

    fn run(z: Array2<f64>, settings: &DcNasSettings, seed: u64) -> Search {
        let mut search = Search::new(z, settings, seed);
        let mut last = f64::INFINITY;
        let mut key = None;
        loop {
            match search.step().unwrap() {
                Stepped::Iterated { k, restart, state } => {
                    if key != Some((k, restart)) {
                        key = Some((k, restart));
                        last = f64::INFINITY;
                    }
                    assert!(state.objective <= last * (1.0 + 1e-12));
                    last = state.objective;
                }
                Stepped::Judged(judged) => assert_eq!(judged.partition.labels.len(), search_rows(judged)),
                Stepped::Done => return search,
            }
        }
    }

    fn search_rows(judged: &Judged) -> usize {
        judged.run.last().unwrap().labels.len()
    }

    #[test]
    fn the_silhouette_finds_the_true_number_of_groups() {
        for count in 2..=5 {
            let search = run(groups(count, 6), &DcNasSettings::default(), 1);
            let chosen = search.chosen().unwrap();
            assert_eq!(chosen.tried.merged, count);
            assert!(chosen.tried.silhouette.unwrap() > 0.9);
            assert_eq!(search.tried().len(), 7, "2 to 8");
        }
    }

    #[test]
    fn a_fixed_number_is_not_second_guessed() {
        let settings = DcNasSettings { clusters: 2, ..DcNasSettings::default() };
        assert_eq!(run(groups(4, 6), &settings, 1).chosen().unwrap().tried.k, 2);
    }

    #[test]
    fn the_same_seed_gives_the_same_clusters() {
        let settings = DcNasSettings { clusters: 3, ..DcNasSettings::default() };
        let of = |seed| run(groups(4, 6), &settings, seed).chosen().unwrap().clone();
        assert_eq!(of(5), of(5));
    }

    #[test]
    fn very_few_networks_still_get_a_partition() {
        for n in 1..5 {
            let search = run(groups(1, n), &DcNasSettings::default(), 1);
            assert_eq!(search.chosen().unwrap().partition.k(), 1, "fewer than three members a cluster are merged");
        }
    }
}
