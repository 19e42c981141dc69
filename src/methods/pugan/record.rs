//! What is kept of a run: measurements, and what the critic did.

use kiln_metrics::Summary;
use kiln_nn::GanReading;
use serde::{Deserialize, Serialize};

/// Iterations over which the clip fraction must stand above [`DEAD`] to be told.
pub const WATCHED: u64 = 500;

/// Clip fraction above which the critic learns from real images alone.
pub const DEAD: f64 = 0.95;

/// One measurement of generated images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Finished iterations.
    pub step: u64,
    /// Fréchet distance to the real images; `None` where the features were no numbers.
    pub distance: Option<f64>,
    /// Entropy of the classes of the images as the classifier sees them, as a share of that of equal shares.
    pub evenness: Option<f64>,
}

/// What is measured once, at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finals {
    pub kernel: Option<f64>,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
}

/// The plain part of a run's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub measured: Vec<Measured>,
    /// Iterations at the last sheet of samples.
    pub shown: u64,
    /// Iterations with the positive-unlabelled risk that readings told of, and how many of these were clipped.
    pub judged: u64,
    pub clipped: f64,
    /// Iterations and clip fractions of the latest readings, up to [`WATCHED`] iterations.
    pub recent: Vec<(u64, f64)>,
    /// Whether the clip fraction was last above [`DEAD`], and how often it came there.
    pub dead: bool,
    pub alarms: u32,
    pub finals: Option<Finals>,
    /// Seconds at work on the pair, without the classifier.
    pub seconds: f64,
    pub written: bool,
}

impl Record {
    /// Notes how often the risk was clipped. `true` where the critic has just been found dead.
    pub fn note(&mut self, reading: &GanReading) -> bool {
        // Only where the risk has a part that can be clipped.
        if reading.prior.is_none() || !reading.clipped.is_finite() {
            return false;
        }
        self.judged += reading.over;
        self.clipped += reading.clipped * reading.over as f64;
        self.recent.push((reading.over, reading.clipped));
        while self.recent.len() > 1 && self.recent.iter().skip(1).map(|(over, _)| over).sum::<u64>() >= WATCHED {
            self.recent.remove(0);
        }
        let over: u64 = self.recent.iter().map(|(over, _)| over).sum();
        let clipped: f64 = self.recent.iter().map(|(over, share)| *over as f64 * share).sum();
        let dead = over >= WATCHED && clipped > DEAD * over as f64;
        let found = dead && !self.dead;
        self.dead = dead;
        self.alarms += u32::from(found);
        found
    }

    /// Share of the critic's steps that were clipped, over the whole training; `None` where none could be.
    pub fn clip_fraction(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.clipped / self.judged as f64)
    }

    /// The last measurement.
    pub fn last(&self) -> Option<&Measured> {
        self.measured.last()
    }

    /// Best, worst and mean distance over the measurements after `burn_in` iterations.
    pub fn distances(&self, burn_in: f64) -> Option<Summary> {
        Summary::of(self.measured.iter().filter(|m| m.step as f64 >= burn_in).filter_map(|m| m.distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(over: u64, clipped: f64, prior: Option<f64>) -> GanReading {
        GanReading {
            step: 0,
            over,
            prior,
            critic: 0.0,
            a: 0.0,
            b: 0.0,
            c: 0.0,
            neg: 0.0,
            clipped,
            logits: [0.0; 2],
            scores: [0.0; 2],
            penalty: 0.0,
            generator: 0.0,
            critic_norm: 0.0,
            generator_norm: 0.0,
            lr: 0.0,
        }
    }

    #[test]
    fn a_dead_critic_is_told_once_until_it_comes_back() {
        let mut record = Record::default();
        let mut told = Vec::new();
        for share in [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0, 1.0] {
            told.push(record.note(&reading(100, share, Some(0.3))));
        }
        let at: Vec<usize> = told.iter().enumerate().filter_map(|(i, told)| told.then_some(i)).collect();
        assert_eq!(at, [4, 11], "after 500 iterations, and after 500 behind the better hundred");
        assert_eq!((record.alarms, record.dead), (2, true));
        assert!((record.clip_fraction().unwrap() - 11.2 / 12.0).abs() < 1e-12);
        assert!(record.recent.len() <= 6);
    }

    #[test]
    fn plain_risks_are_never_clipped() {
        let mut record = Record::default();
        assert!(!record.note(&reading(1000, 1.0, None)));
        assert_eq!(record.clip_fraction(), None);
    }

    #[test]
    fn distances_count_after_the_burn_in() {
        let measured = |step, distance| Measured { step, distance, evenness: None };
        let record = Record {
            measured: vec![
                measured(100, Some(50.0)),
                measured(200, Some(4.0)),
                measured(300, None),
                measured(400, Some(2.0)),
            ],
            ..Record::default()
        };
        let s = record.distances(150.0).unwrap();
        assert_eq!((s.min, s.max, s.mean, s.count), (2.0, 4.0, 3.0, 2));
        assert_eq!(record.distances(1000.0), None);
    }
}
