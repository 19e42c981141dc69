//! What a choice cost, and which choices are worth looking at.

/// How much the best of `picks` (indices into `truth`) falls short of the best of all: 0 is perfect.
///
/// `truth` holds the final figure of each candidate, larger is better. Candidates without a finite figure count
/// neither as best nor as pick. `None` if no finite figure is left among the picks.
pub fn regret(truth: &[f64], picks: &[usize]) -> Option<f64> {
    let best = |values: &mut dyn Iterator<Item = f64>| values.filter(|v| v.is_finite()).reduce(f64::max);
    let all = best(&mut truth.iter().copied())?;
    let picked = best(&mut picks.iter().filter_map(|&i| truth.get(i).copied()))?;
    Some(all - picked)
}

/// Indices of the points (cost, value) that no other point beats: none is at most as costly and at least as good
/// while being better in one of the two. Ordered by cost; equal points are all kept; points with a NaN never.
pub fn pareto_front(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).filter(|&i| !points[i].0.is_nan() && !points[i].1.is_nan()).collect();
    order.sort_by(|&a, &b| points[a].0.total_cmp(&points[b].0).then(points[b].1.total_cmp(&points[a].1)));
    let mut front: Vec<usize> = Vec::new();
    for i in order {
        // By this order the last point kept costs no more, so only a better value, or the very same point, may follow.
        let keep = front.last().is_none_or(|&last| points[i].1 > points[last].1 || points[i] == points[last]);
        if keep {
            front.push(i);
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::{pareto_front, regret};
    use crate::SplitMix64;

    #[test]
    fn regret_is_measured_from_the_best_pick() {
        let truth = [0.90, 0.95, 0.80, f64::NAN];
        assert_eq!(regret(&truth, &[1]), Some(0.0));
        assert!((regret(&truth, &[2, 0]).unwrap() - 0.05).abs() < 1e-12);
        assert!((regret(&truth, &[3, 2]).unwrap() - 0.15).abs() < 1e-12);
    }

    #[test]
    fn regret_without_a_usable_pick_is_none() {
        assert_eq!(regret(&[0.9, f64::NAN], &[]), None);
        assert_eq!(regret(&[0.9, f64::NAN], &[1, 7]), None);
        assert_eq!(regret(&[], &[0]), None);
    }

    #[test]
    fn front_by_hand() {
        //            kept         dominated    kept         same cost    kept         NaN
        let points = [(1.0, 0.50), (2.0, 0.40), (3.0, 0.70), (3.0, 0.60), (9.0, 0.71), (0.0, f64::NAN)];
        assert_eq!(pareto_front(&points), [0, 2, 4]);
        assert_eq!(pareto_front(&[(1.0, 1.0), (1.0, 1.0), (0.5, 0.2)]), [2, 0, 1]);
        assert_eq!(pareto_front(&[(2.0, 1.0), (1.0, 1.0)]), [1]);
        assert!(pareto_front(&[]).is_empty());
    }

    #[test]
    fn front_agrees_with_the_definition() {
        let mut rng = SplitMix64::new(3);
        for _ in 0..200 {
            let points: Vec<(f64, f64)> =
                (0..rng.below(12)).map(|_| (rng.below(6) as f64, rng.below(6) as f64)).collect();
            let beats = |a: (f64, f64), b: (f64, f64)| a.0 <= b.0 && a.1 >= b.1 && (a.0 < b.0 || a.1 > b.1);
            let want: Vec<usize> =
                (0..points.len()).filter(|&i| !points.iter().any(|&p| beats(p, points[i]))).collect();
            let mut got = pareto_front(&points);
            got.sort_unstable();
            assert_eq!(got, want, "{points:?}");
        }
    }
}
