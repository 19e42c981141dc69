//! Counts, means, spread.

use serde::{Deserialize, Serialize};

/// Share of pairs (predicted class, true class) that agree, in 0..=1. `None` without pairs.
pub fn accuracy(answers: impl IntoIterator<Item = (i64, i64)>) -> Option<f64> {
    let (right, all) =
        answers.into_iter().fold((0_u64, 0_u64), |(right, all), (got, want)| (right + u64::from(got == want), all + 1));
    (all > 0).then(|| right as f64 / all as f64)
}

/// Count, mean, spread and range of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: usize,
    pub mean: f64,
    /// Sample standard deviation (n - 1 below the line); 0 for a single number.
    pub std: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    /// Summarises the finite ones among `values`; `None` if there are none.
    ///
    /// Welford's recurrence: one pass, and no cancellation when the spread is far smaller than the mean.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
        let (mut count, mut mean, mut squares) = (0_usize, 0.0_f64, 0.0_f64);
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for x in values.into_iter().filter(|x| x.is_finite()) {
            count += 1;
            let before = x - mean;
            mean += before / count as f64;
            squares += before * (x - mean);
            (min, max) = (min.min(x), max.max(x));
        }
        let std = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        (count > 0).then_some(Summary { count, mean, std, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::{Summary, accuracy};

    #[test]
    fn accuracy_counts_agreement() {
        assert_eq!(accuracy([(1, 1), (2, 3), (0, 0), (4, 4)]), Some(0.75));
        assert_eq!(accuracy([]), None);
    }

    #[test]
    fn summary_by_hand() {
        // Deviations from 5: -3 -1 -1 -1 0 0 2 4; their squares add up to 32; 32 / 7.
        let s = Summary::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((s.count, s.mean, s.min, s.max), (8, 5.0, 2.0, 9.0));
        assert!((s.std - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn summary_survives_large_offsets_and_skips_what_is_no_number() {
        let s = Summary::of([1e9 + 1.0, f64::NAN, 1e9 + 2.0, f64::INFINITY, 1e9 + 3.0]).unwrap();
        assert_eq!(s.count, 3);
        assert!((s.std - 1.0).abs() < 1e-6, "{}", s.std);
        assert_eq!(Summary::of([f64::NAN]), None);
        assert_eq!(Summary::of([7.0]).unwrap().std, 0.0);
    }
}
