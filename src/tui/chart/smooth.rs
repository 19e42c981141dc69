//! Lines drawn calmer than their points.

use std::collections::VecDeque;

/// How a line is smoothed: by how much of the x axis, as it is drawn, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Smoothing {
    #[default]
    Off,
    /// Exponential mean of what came before, whose memory is that long: follows a trend, is drawn off by spikes.
    Mean(f64),
    /// Median of all points within that far to both sides: spikes vanish, steps stay steps.
    Median(f64),
}

impl Smoothing {
    /// The points smoothed; `place` says where an x lies on the axis. `None` if they are drawn as they are. What is not finite
    /// stays a gap and takes no part; what has no place on the axis is left out.
    pub fn of(self, points: &[[f64; 2]], place: impl Fn(f64) -> Option<f64>) -> Option<Vec<[f64; 2]>> {
        let placed = || points.iter().filter_map(|p| Some((place(p[0])?, *p)));
        match self {
            Smoothing::Mean(memory) if memory > 0.0 && memory.is_finite() => Some(mean(placed(), memory)),
            Smoothing::Median(reach) if reach > 0.0 && reach.is_finite() => {
                Some(median(&placed().collect::<Vec<_>>(), reach))
            }
            _ => None,
        }
    }
}

/// A debiased exponential mean.
fn mean(points: impl Iterator<Item = (f64, [f64; 2])>, memory: f64) -> Vec<[f64; 2]> {
    let (mut sum, mut weight) = (0.0_f64, 0.0_f64);
    let mut before: Option<f64> = None;
    let step = |(place, [x, y]): (f64, [f64; 2])| {
        if !y.is_finite() {
            return [x, y];
        }
        let decay = before.map_or(0.0, |b| (-(place - b).max(0.0) / memory).exp());
        before = Some(place);
        sum = sum * decay + y;
        weight = weight * decay + 1.0;
        [x, sum / weight]
    };
    points.map(step).collect()
}

/// A running median; the window slides, and its values are kept in order.
fn median(points: &[(f64, [f64; 2])], reach: f64) -> Vec<[f64; 2]> {
    let mut sorted: Vec<f64> = Vec::new();
    let mut within: VecDeque<(f64, f64)> = VecDeque::new();
    let mut ahead = 0;
    let step = |(place, [x, y]): &(f64, [f64; 2])| {
        while let Some((next, [_, value])) = points.get(ahead).filter(|p| p.0 <= place + reach) {
            ahead += 1;
            if value.is_finite() {
                sorted.insert(sorted.partition_point(|v| v < value), *value);
                within.push_back((*next, *value));
            }
        }
        while let Some((_, gone)) = within.front().copied().filter(|(at, _)| *at < place - reach) {
            within.pop_front();
            sorted.remove(sorted.partition_point(|v| *v < gone));
        }
        let n = sorted.len();
        let middle = match n % 2 {
            _ if !y.is_finite() || n == 0 => *y,
            1 => sorted[n / 2],
            _ => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        };
        [*x, middle]
    };
    points.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(x: f64) -> Option<f64> {
        Some(x / 200.0)
    }

    #[test]
    fn a_mean_starts_unbiased_and_skips_gaps() {
        let points = [[0.0, 4.0], [1.0, f64::NAN], [2.0, 4.0], [3.0, 4.0]];
        let smooth = Smoothing::Mean(0.025).of(&points, linear).unwrap();
        assert!(smooth[1][1].is_nan());
        for i in [0, 2, 3] {
            assert!((smooth[i][1] - 4.0).abs() < 1e-12);
        }
        let steps: Vec<[f64; 2]> = (0..200).map(|i| [f64::from(i), f64::from(i % 2)]).collect();
        let smooth = Smoothing::Mean(0.1).of(&steps, linear).unwrap();
        assert!(smooth[150..].iter().all(|p| (p[1] - 0.5).abs() < 0.03));
    }

    #[test]
    fn a_median_equals_brute_force_and_forgets_spikes() {
        let y = |i: u32| match i {
            7 | 90 => 1e6,
            50 => f64::NAN,
            _ => f64::from(i * 37 % 11) + f64::from(i) / 100.0,
        };
        let points: Vec<[f64; 2]> = (0..200).map(|i| [f64::from(i), y(i)]).collect();
        for reach in [0.0041, 0.0213, 0.103, 2.1] {
            let smooth = Smoothing::Median(reach).of(&points, linear).unwrap();
            for (i, p) in points.iter().enumerate() {
                let near = |q: &&[f64; 2]| (q[0] - p[0]).abs() / 200.0 <= reach + 1e-12 && q[1].is_finite();
                let mut window: Vec<f64> = points.iter().filter(near).map(|q| q[1]).collect();
                window.sort_by(f64::total_cmp);
                let n = window.len();
                if p[1].is_nan() {
                    assert!(smooth[i][1].is_nan());
                    continue;
                }
                let expected = (window[(n - 1) / 2] + window[n / 2]) / 2.0;
                assert_eq!(smooth[i][1], expected, "{reach} {i}");
            }
        }
        let smooth = Smoothing::Median(0.02).of(&points, linear).unwrap();
        assert!(smooth.iter().all(|p| p[1].is_nan() || p[1] < 20.0), "no spike is left");
    }

    #[test]
    fn nothing_is_smoothed_by_nothing_and_what_has_no_place_is_left_out() {
        let points = [[0.0, 1.0], [1.0, 2.0], [10.0, 4.0]];
        for off in [Smoothing::Off, Smoothing::Mean(0.0), Smoothing::Median(f64::NAN)] {
            assert_eq!(off.of(&points, linear), None);
        }
        let log = |x: f64| (x > 0.0).then(|| x.ln());
        assert_eq!(Smoothing::Median(0.1).of(&points, log).unwrap(), [[1.0, 2.0], [10.0, 4.0]]);
    }
}
