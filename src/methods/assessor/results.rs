//! What was measured of each predictor, number of labels and repeat, and what follows from it.

use kiln_metrics::{PairedT, Summary, kendall_tau, pearson, regret};
use kiln_protocol::spec::{AssessorSettings, Predictor};
use serde::{Deserialize, Serialize};

/// One training: a predictor, a number of labels, a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub predictor: Predictor,
    /// Index into the settings' numbers of labels.
    pub labels: usize,
    pub repeat: u32,
}

/// How a predictor did on the test cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Kendall's tau-b of predicted against true.
    pub tau: Option<f64>,
    pub pearson: Option<f64>,
    /// Mean squared error against clipped accuracies, in squared percentage points.
    pub mse: Option<f64>,
    /// Regret of the best-predicted ones, in percentage points.
    pub regret: Option<f64>,
    /// Seconds of training and prediction, by the clock.
    pub seconds: f64,
    /// Why there are no figures.
    pub failure: Option<String>,
}

impl Scored {
    /// Compares predictions with the truth (percent). Regret is counted in `judged`, which may be another accuracy.
    pub fn of(predicted: &[f64], truth: &[f64], judged: &[f64], clip: f64, top: usize) -> Scored {
        let pairs: Vec<(f64, f64)> = predicted.iter().copied().zip(truth.iter().copied()).collect();
        let errors = pairs.iter().map(|(p, y)| (p - y.max(clip)).powi(2));
        Scored {
            tau: kendall_tau(&pairs),
            pearson: pearson(&pairs),
            mse: Summary::of(errors).map(|s| s.mean),
            regret: regret(judged, &best(predicted, top)),
            seconds: 0.0,
            failure: None,
        }
    }
}

/// Indices of the highest predictions, the highest first; equal ones in their order.
pub fn best(predicted: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..predicted.len()).collect();
    order.sort_by(|&a, &b| predicted[b].total_cmp(&predicted[a]));
    order.truncate(count);
    order
}

/// A figure of a training.
pub type Figure = fn(&Scored) -> Option<f64>;

/// All trainings of a run and what is known of them.
pub struct Results<'a> {
    pub settings: &'a AssessorSettings,
    pub jobs: &'a [Job],
    pub scored: &'a [Option<Scored>],
}

/// The trainings of these settings: repeat by repeat, so that a run that is stopped early has whole repeats; within one by
/// numbers of labels.
pub fn jobs(settings: &AssessorSettings) -> Vec<Job> {
    let mut out = Vec::new();
    for repeat in 0..settings.repeats {
        for labels in 0..settings.labels.len() {
            out.extend(settings.methods.iter().map(|&predictor| Job { predictor, labels, repeat }));
        }
    }
    out
}

impl Results<'_> {
    fn one(&self, predictor: Predictor, labels: usize, repeat: u32) -> Option<&Scored> {
        let job = Job { predictor, labels, repeat };
        self.jobs.iter().position(|j| *j == job).and_then(|i| self.scored.get(i)).and_then(Option::as_ref)
    }

    /// Over the repeats.
    pub fn summary(&self, predictor: Predictor, labels: usize, figure: Figure) -> Option<Summary> {
        Summary::of((0..self.settings.repeats).filter_map(|r| self.one(predictor, labels, r).and_then(figure)))
    }

    /// Differences `a - b` over the repeats that both have: both saw the same labels.
    pub fn paired(&self, a: Predictor, b: Predictor, labels: usize, figure: Figure) -> Option<Summary> {
        let one = |predictor, r| self.one(predictor, labels, r).and_then(figure);
        Summary::of((0..self.settings.repeats).filter_map(|r| Some(one(a, r)? - one(b, r)?)))
    }

    /// Whether the differences of [`Results::paired`] could be chance.
    pub fn test(&self, a: Predictor, b: Predictor, labels: usize, figure: Figure) -> Option<PairedT> {
        let one = |predictor, r| self.one(predictor, labels, r).and_then(figure);
        PairedT::of((0..self.settings.repeats).filter_map(|r| Some((one(b, r)?, one(a, r)?))))
    }

    /// Labels with which the mean tau reaches `target`, between two numbers of labels by their logarithms.
    pub fn labels_needed(&self, predictor: Predictor, target: f64) -> Needed {
        let mut before: Option<(f64, f64)> = None;
        for (i, &n) in self.settings.labels.iter().enumerate() {
            let Some(summary) = self.summary(predictor, i, |s| s.tau) else { continue };
            let (n, tau) = (f64::from(n), summary.mean);
            if tau >= target {
                return match before {
                    None => Needed::AtMost(n),
                    Some((m, lower)) => {
                        let share = (target - lower) / (tau - lower);
                        Needed::About((m.ln() + share * (n.ln() - m.ln())).exp())
                    }
                };
            }
            before = Some((n, tau));
        }
        before.map_or(Needed::Unknown, |(n, _)| Needed::MoreThan(n))
    }
}

/// Labels needed for a tau.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Needed {
    /// The fewest that were tried are enough.
    AtMost(f64),
    About(f64),
    /// The most that were tried are not.
    MoreThan(f64),
    Unknown,
}

impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Needed::AtMost(n) => write!(f, "{n:.0} or fewer"),
            Needed::About(n) => write!(f, "{n:.0}"),
            Needed::MoreThan(n) => write!(f, "more than {n:.0}"),
            Needed::Unknown => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AssessorSettings {
        AssessorSettings {
            methods: vec![Predictor::Linear, Predictor::Forest],
            labels: vec![100, 400],
            repeats: 2,
            ..AssessorSettings::default()
        }
    }

    #[test]
    fn scores_by_hand() {
        let got = Scored::of(&[90.0, 91.0, 92.0, 60.0], &[89.0, 93.0, 91.0, 10.0], &[1.0, 2.0, 5.0, 9.0], 80.0, 2);
        // One pair of six is the wrong way round.
        assert!((got.tau.unwrap() - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!(got.mse, Some((1.0 + 4.0 + 1.0 + 400.0) / 4.0));
        // The two best predicted are the third and the second; the best of all is the fourth.
        assert_eq!(got.regret, Some(4.0));
        assert_eq!(best(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
    }

    #[test]
    fn means_pairs_and_needed_labels() {
        let settings = settings();
        let jobs = jobs(&settings);
        assert_eq!(jobs.len(), 8);
        assert_eq!((jobs[3].predictor, jobs[3].labels, jobs[3].repeat), (Predictor::Forest, 1, 0));
        let scored: Vec<Option<Scored>> = [0.4, 0.5, 0.6, 0.5, 0.5, 0.5, 0.8, 0.7]
            .into_iter()
            .map(|tau| Some(Scored { tau: Some(tau), ..Scored::default() }))
            .collect();
        let results = Results { settings: &settings, jobs: &jobs, scored: &scored };
        let mean = results.summary(Predictor::Linear, 0, |s| s.tau).unwrap();
        assert!((mean.mean - 0.45).abs() < 1e-12 && mean.count == 2);
        let gain = results.paired(Predictor::Linear, Predictor::Forest, 1, |s| s.tau).unwrap();
        assert!((gain.mean - 0.1).abs() < 1e-12 && gain.std < 1e-12);
        // From 0.45 at 100 to 0.7 at 400: a fifth of the way, in logarithms, to 0.5.
        let Needed::About(n) = results.labels_needed(Predictor::Linear, 0.5) else { panic!() };
        assert!((n - 100.0 * 4.0_f64.powf(0.2)).abs() < 1e-9);
        assert_eq!(results.labels_needed(Predictor::Forest, 0.5), Needed::AtMost(100.0));
        assert_eq!(results.labels_needed(Predictor::Forest, 0.9), Needed::MoreThan(400.0));
    }
}
