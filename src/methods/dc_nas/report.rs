//! The outcome: figures for machines, tables for people, and a sentence that says whether the claim held.

use std::collections::BTreeMap;

use kiln_metrics::ConcordanceBin;
use kiln_protocol::run::{Figure, Outcome, Table};

use super::findings::{Choice, Costs, Findings, SIGNIFICANCE, TAU_GAIN, Truth};
use super::record::{Clustering, Sampled};
use super::views::cluster_name;
use crate::text::{maybe, thousands};

/// Everything that the outcome is made of.
pub struct Report<'a> {
    pub population: &'a [Sampled],
    pub clustering: &'a Clustering,
    /// By cluster.
    pub winners: &'a [Vec<usize>],
    pub found: &'a Findings,
    pub costs: Costs,
    /// Epoch-images that were really spent, baselines and truth included.
    pub spent: f64,
    /// Of the merged winner; `None` if the data set has no test images.
    pub test_accuracy: Option<f64>,
    /// Seconds of short training, clustering, full training and judgement.
    pub seconds: [f64; 4],
    /// Regrets and accuracies are in units of one image out of this many.
    pub valid_images: f64,
}

/// What runs are compared by: the claim first (how much better is the ranking inside clusters than inside random parts of the
/// same sizes), then what the search is for.
fn headline() -> Vec<Figure> {
    let mut figures = vec![
        Figure::new("tau_gain", true),
        Figure::new("tau_within", true),
        Figure { name: "permutation_mean".into(), ..Figure::default() },
        Figure { name: "permutation_p".into(), ..Figure::default() },
        Figure::new("tau_global", true),
    ];
    figures.extend(["regret_clusters", "regret_global_topk", "regret_early"].map(|name| Figure::new(name, false)));
    figures.extend(["accuracy_clusters", "test_accuracy"].map(|name| Figure::new(name, true)));
    figures
}

impl Report<'_> {
    pub fn outcome(&self) -> Outcome {
        let mut tables = vec![self.merged(), self.choices()];
        if let Some(truth) = &self.found.truth {
            tables.push(self.ranking(truth));
            if !truth.pairs.is_empty() {
                tables.push(pairs(&truth.pairs));
            }
        }
        tables.extend([self.clusters(), self.cost()]);
        Outcome { verdict: self.verdict(), figures: self.figures(), tables, headline: headline(), flaws: Vec::new() }
    }

    fn failed(&self) -> usize {
        self.clustering.labels.iter().filter(|label| label.is_none()).count()
    }

    fn figures(&self) -> BTreeMap<String, Option<f64>> {
        let truth = self.found.truth.as_ref();
        let null = truth.and_then(|t| t.null);
        let best = self.found.clusters.best.map(|id| &self.population[id]);
        let figures = [
            ("tau_global", truth.and_then(|t| t.tau_global)),
            ("tau_within", truth.and_then(|t| t.within.weighted)),
            ("tau_oracle", truth.and_then(|t| t.oracle)),
            ("tau_gain", truth.and_then(|t| Some(t.within.weighted? - t.null?.mean))),
            ("permutation_mean", null.map(|n| n.mean)),
            ("permutation_std", null.map(|n| n.std)),
            ("permutation_p", null.map(|n| n.p)),
            ("regret_early", self.found.early.regret),
            ("regret_global_topk", self.found.global_topk.regret),
            ("regret_clusters", self.found.clusters.regret),
            ("accuracy_early", self.found.early.accuracy),
            ("accuracy_global_topk", self.found.global_topk.accuracy),
            ("accuracy_clusters", self.found.clusters.accuracy),
            ("test_accuracy", self.test_accuracy),
            ("cost_short", Some(self.costs.short)),
            ("cost_early", Some(self.costs.early)),
            ("cost_global_topk", Some(self.costs.global_topk)),
            ("cost_clusters", Some(self.costs.clusters)),
            ("cost_exhaustive", Some(self.costs.exhaustive)),
            ("cost_spent", Some(self.spent)),
            ("clusters", Some(self.clustering.k as f64)),
            ("failed", Some(self.failed() as f64)),
            ("kmeans_objective", Some(self.clustering.objective)),
            ("silhouette", self.clustering.silhouette),
            ("params", best.map(|s| s.params as f64)),
            ("macs", best.map(|s| s.macs as f64)),
            ("seconds", Some(self.seconds.iter().sum())),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), value.filter(|v| v.is_finite()))).collect()
    }

    /// The claim: when learning speeds differ, the early ranking is better inside clusters than over all, and the merged
    /// winner has no more regret than the global top-Kq at the same cost.
    fn verdict(&self) -> String {
        let k = self.clustering.k;
        let picks = self.found.clusters.picks.len();
        let Some(truth) = &self.found.truth else {
            return format!(
                "{} Whether the ranking is better inside clusters was not measured (`truth` is off).",
                self.accuracies(picks)
            );
        };
        let (Some(within), Some(null)) = (truth.within.weighted, truth.null) else {
            return format!(
                "The claim could not be tested: no cluster has four ranked networks whose accuracies differ. {}",
                self.regrets(picks)
            );
        };
        let gain = within - null.mean;
        let ranking = gain >= TAU_GAIN && null.p < SIGNIFICANCE;
        // One image more or less is no difference.
        let merge = match (self.found.clusters.regret, self.found.global_topk.regret) {
            (Some(clusters), Some(global)) => clusters <= global + 0.5 / self.valid_images.max(1.0),
            _ => false,
        };
        let head = match (ranking, merge) {
            (true, true) => "The claim held",
            (true, false) => "The claim held in part: the ranking gained, the merged winner did not",
            (false, true) => "The claim held in part: the merged winner is no worse, but the ranking did not gain",
            (false, false) => "The claim did not hold",
        };
        let clusters = if k == 1 { "1 cluster".to_owned() } else { format!("{k} clusters") };
        format!(
            "{head}: inside {clusters} Kendall's tau is {within:.3}, in random partitions of the same sizes {:.3} +- {:.3} \
             (p = {:.3}), over all {}; {}",
            null.mean,
            null.std,
            null.p,
            maybe(truth.tau_global, 3),
            self.regrets(picks)
        )
    }

    fn regrets(&self, picks: usize) -> String {
        format!(
            "the merged winner's regret is {}, that of the global top-{picks} at equal cost {}, that of plain early \
             stopping {}.",
            maybe(self.found.clusters.regret, 4),
            maybe(self.found.global_topk.regret, 4),
            maybe(self.found.early.regret, 4)
        )
    }

    fn accuracies(&self, picks: usize) -> String {
        format!(
            "The merged winner reached a validation accuracy of {}, the best of the global top-{picks} at equal cost {}, \
             plain early stopping {}.",
            maybe(self.found.clusters.accuracy, 4),
            maybe(self.found.global_topk.accuracy, 4),
            maybe(self.found.early.accuracy, 4)
        )
    }

    fn merged(&self) -> Table {
        let mut rows = Vec::new();
        if let Some(id) = self.found.clusters.best {
            let s = &self.population[id];
            let cluster = self.clustering.labels.get(id).copied().flatten();
            rows.extend([
                vec!["network".to_owned(), format!("{id} {}", s.arch)],
                vec!["cluster".to_owned(), cluster.map_or("-".into(), |k| k.to_string())],
                vec!["parameters".to_owned(), thousands(s.params as f64)],
                vec!["MACs".to_owned(), thousands(s.macs as f64)],
                vec!["early accuracy".to_owned(), maybe(s.early_accuracy(), 4)],
                vec!["validation accuracy".to_owned(), maybe(s.full_accuracy(), 4)],
                vec!["test accuracy".to_owned(), maybe(self.test_accuracy, 4)],
            ]);
        }
        Table { title: "Merged winner".into(), columns: vec!["figure".into(), "value".into()], rows }
    }

    fn choices(&self) -> Table {
        let row = |name: String, choice: &Choice, cost: f64| {
            let best = choice.best.map_or("-".into(), |id| format!("{id} {}", self.population[id].arch));
            let accuracy = maybe(choice.accuracy, 4);
            vec![name, choice.picks.len().to_string(), thousands(cost), best, accuracy, maybe(choice.regret, 4)]
        };
        let picks = self.found.clusters.picks.len();
        Table {
            title: "Choices at their cost".into(),
            columns: ["choice", "trained", "epoch-images", "best of them", "accuracy", "regret"]
                .map(String::from)
                .into(),
            rows: vec![
                row("cluster winners (DC-NAS)".into(), &self.found.clusters, self.costs.clusters),
                row(format!("global top-{picks} (equal cost)"), &self.found.global_topk, self.costs.global_topk),
                row("plain early stopping".into(), &self.found.early, self.costs.early),
            ],
        }
    }

    fn ranking(&self, truth: &Truth) -> Table {
        let mut rows = vec![
            vec![
                "all networks".to_owned(),
                self.population.len().to_string(),
                maybe(truth.tau_global, 3),
                String::new(),
            ],
            vec![
                "inside clusters (weighted)".to_owned(),
                String::new(),
                maybe(truth.within.weighted, 3),
                "clusters of 4 and more".to_owned(),
            ],
        ];
        rows.extend(truth.within.clusters.iter().map(|c| {
            vec![format!("  {}", cluster_name(c.cluster)), c.size.to_string(), maybe(c.tau, 3), String::new()]
        }));
        if let Some(null) = &truth.null {
            rows.push(vec![
                "random partitions".to_owned(),
                String::new(),
                format!("{:.3} +- {:.3}", null.mean, null.std),
                format!("p = {:.3}, {} draws", null.p, null.draws),
            ]);
        }
        if truth.oracle.is_some() {
            rows.push(vec![
                "true families (upper bound)".to_owned(),
                String::new(),
                maybe(truth.oracle, 3),
                String::new(),
            ]);
        }
        Table {
            title: "Early against final ranking".into(),
            columns: ["ranking", "networks", "Kendall tau", "note"].map(String::from).into(),
            rows,
        }
    }

    fn clusters(&self) -> Table {
        let mean = |k: Option<usize>, of: fn(&Sampled) -> Option<f64>| {
            let members = self.population.iter().zip(&self.clustering.labels).filter(|(_, label)| **label == k);
            kiln_metrics::Summary::of(members.filter_map(|(s, _)| of(s))).map(|summary| summary.mean)
        };
        let row = |k: Option<usize>| {
            let size = self.clustering.labels.iter().filter(|label| **label == k).count();
            let winners = k.and_then(|k| self.winners.get(k)).map_or(&[][..], Vec::as_slice);
            let names: Vec<String> = winners.iter().map(|&id| format!("{id} {}", self.population[id].arch)).collect();
            vec![
                k.map_or("failed".into(), |k| k.to_string()),
                size.to_string(),
                maybe(mean(k, Sampled::early_accuracy), 4),
                maybe(mean(k, Sampled::full_accuracy), 4),
                names.join(", "),
            ]
        };
        let mut rows: Vec<Vec<String>> = (0..self.clustering.k).map(|k| row(Some(k))).collect();
        rows.extend((self.failed() > 0).then(|| row(None)));
        Table {
            title: "Clusters".into(),
            columns: ["cluster", "networks", "mean early", "mean final", "winners"].map(String::from).into(),
            rows,
        }
    }

    fn cost(&self) -> Table {
        let row = |name: &str, cost: f64| vec![name.to_owned(), thousands(cost)];
        let time = |name: &str, seconds: f64| vec![name.to_owned(), format!("{seconds:.1} s")];
        Table {
            title: "Cost".into(),
            columns: vec!["what".into(), "epoch-images".into()],
            rows: vec![
                row("short training of all", self.costs.short),
                row("DC-NAS", self.costs.clusters),
                row("global top-Kq", self.costs.global_topk),
                row("plain early stopping", self.costs.early),
                row("exhaustive", self.costs.exhaustive),
                row("spent by this run, comparisons included", self.spent),
                time("short training", self.seconds[0]),
                time("clustering", self.seconds[1]),
                time("full training", self.seconds[2]),
                time("judgement", self.seconds[3]),
            ],
        }
    }
}

/// Are pairs of one cluster more often in the right order than pairs of two clusters that lie equally far apart?
fn pairs(bins: &[ConcordanceBin]) -> Table {
    let side = |c: &kiln_metrics::Concordance| format!("{} of {}", maybe(c.share(), 3), c.pairs());
    Table {
        title: "Pairs in the right order, by difference of final accuracy".into(),
        columns: ["difference", "same cluster", "two clusters"].map(String::from).into(),
        rows: bins
            .iter()
            .map(|bin| {
                let range = match bin.high {
                    Some(high) => format!("{:.4} to {high:.4}", bin.low),
                    None => format!("{:.4} and more", bin.low),
                };
                vec![range, side(&bin.same), side(&bin.cross)]
            })
            .collect(),
    }
}
