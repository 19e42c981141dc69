//! Rank correlation.

use std::cmp::Ordering;

/// Kendall's tau-b of pairs (x, y): 1 for the same order, -1 for the reverse, with the correction for ties.
///
/// `tau = (P - Q) / sqrt((P + Q + T_x) (P + Q + T_y))`: P and Q count concordant and discordant pairs, T_x and T_y those
/// tied in one variable only. The counts are exact integers (Knight's algorithm, O(n log n)); the result agrees with
/// `scipy.stats.kendalltau`. `None` with fewer than two points, if all x or all y are equal, or if a value is NaN.
/// Infinities are ordered like numbers.
pub fn kendall_tau(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 2 || points.iter().any(|(x, y)| x.is_nan() || y.is_nan()) {
        return None;
    }
    let mut points = points.to_vec();
    points.sort_unstable_by(|a, b| order(a.0, b.0).then(order(a.1, b.1)));
    let tied_x = tied_pairs(points.chunk_by(|a, b| a.0 == b.0));
    let tied_both = tied_pairs(points.chunk_by(|a, b| a == b));

    // In this order, a pair is discordant exactly if its y are the wrong way round; ties in x are sorted by y already.
    let mut ys: Vec<f64> = points.iter().map(|p| p.1).collect();
    let mut spare = ys.clone();
    let discordant = sort_counting_inversions(&mut ys, &mut spare);
    let tied_y = tied_pairs(ys.chunk_by(|a, b| a == b));

    let all = pairs(points.len());
    if tied_x == all || tied_y == all {
        return None;
    }
    let surplus = (all + tied_both) as f64 - (tied_x + tied_y + 2 * discordant) as f64;
    let tau = surplus / ((all - tied_x) as f64).sqrt() / ((all - tied_y) as f64).sqrt();
    Some(tau.clamp(-1.0, 1.0))
}

/// Pearson's correlation of pairs (x, y): 1 on a rising line. `None` with fewer than two points, without spread, or with a
/// value that is not finite.
pub fn pearson(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    if points.len() < 2 || points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| of(p.0 - mx, p.1 - my)).sum::<f64>();
    let below = (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
    (below > 0.0).then(|| (sum(&|x, y| x * y) / below).clamp(-1.0, 1.0))
}

/// Order of two numbers that are not NaN; 0 and -0 are equal.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

fn pairs(n: usize) -> u64 {
    let n = n as u64;
    n * n.saturating_sub(1) / 2
}

fn tied_pairs<'a, T: 'a>(groups: impl Iterator<Item = &'a [T]>) -> u64 {
    groups.map(|group| pairs(group.len())).sum()
}

/// Merge sort that returns how many pairs stood in the wrong order. `spare` is as long as `values`.
fn sort_counting_inversions(values: &mut [f64], spare: &mut [f64]) -> u64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let middle = n / 2;
    let (spare_left, spare_right) = spare.split_at_mut(middle);
    let mut inversions = sort_counting_inversions(&mut values[..middle], spare_left)
        + sort_counting_inversions(&mut values[middle..], spare_right);
    let (mut left, mut right) = (0, middle);
    for slot in spare.iter_mut() {
        if right == n || (left < middle && values[left] <= values[right]) {
            *slot = values[left];
            left += 1;
        } else {
            *slot = values[right];
            right += 1;
            inversions += (middle - left) as u64;
        }
    }
    values.copy_from_slice(spare);
    inversions
}

#[cfg(test)]
mod tests {
    use super::{kendall_tau, pearson};
    use crate::SplitMix64;

    fn tau(x: &[f64], y: &[f64]) -> Option<f64> {
        kendall_tau(&x.iter().copied().zip(y.iter().copied()).collect::<Vec<_>>())
    }

    fn close(got: Option<f64>, want: f64) {
        assert!(got.is_some_and(|got| (got - want).abs() < 1e-12), "{got:?} is not {want}");
    }

    /// The definition, pair by pair.
    fn by_definition(points: &[(f64, f64)]) -> Option<f64> {
        let (mut p, mut q, mut tx, mut ty) = (0.0, 0.0, 0.0, 0.0);
        for (i, a) in points.iter().enumerate() {
            for b in &points[..i] {
                let (dx, dy) = (a.0 - b.0, a.1 - b.1);
                match (dx == 0.0, dy == 0.0) {
                    (true, true) => {}
                    (true, false) => tx += 1.0,
                    (false, true) => ty += 1.0,
                    (false, false) if dx * dy > 0.0 => p += 1.0,
                    _ => q += 1.0,
                }
            }
        }
        let below: f64 = (p + q + tx) * (p + q + ty);
        (below > 0.0).then(|| (p - q) / below.sqrt())
    }

    #[test]
    fn perfect_orders() {
        close(tau(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 40.0]), 1.0);
        close(tau(&[1.0, 2.0, 3.0, 4.0], &[4.0, 3.0, 2.0, 1.0]), -1.0);
    }

    #[test]
    fn by_hand_without_ties() {
        // Of the ten pairs, (3,4) alone is the wrong way round: (9 - 1) / 10.
        close(tau(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.0, 2.0, 4.0, 3.0, 5.0]), 0.8);
    }

    #[test]
    fn by_hand_with_ties() {
        // x: 1 1 2 3, y: 1 2 2 3. Pairs: (0,1) tied in x; (1,2) tied in y; the other four concordant.
        // (4 - 0) / sqrt((4 + 1) (4 + 1)) = 0.8.
        close(tau(&[1.0, 1.0, 2.0, 3.0], &[1.0, 2.0, 2.0, 3.0]), 0.8);
        // scipy.stats.kendalltau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) = -0.47140452079103173 (its manual's example):
        // P = 2, Q = 6, two pairs tied in x of which one is tied in y too.
        close(tau(&[12.0, 2.0, 1.0, 12.0, 2.0], &[1.0, 4.0, 7.0, 1.0, 0.0]), -0.471_404_520_791_031_73);
        // Two more of scipy's answers, on drawn whole numbers; tests/reference compares many.
        let x = [3.0, 2.0, 2.0, 3.0, 2.0, 3.0, 3.0, 0.0, 0.0, 1.0, 1.0, 3.0];
        let y = [5.0, 0.0, 2.0, 4.0, 0.0, 4.0, 0.0, 2.0, 4.0, 1.0, 2.0, 1.0];
        close(tau(&x, &y), 0.018_712_029_714_127_99);
        let x = [2.0, 0.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0];
        let y = [4.0, 2.0, 1.0, 4.0, 0.0, 4.0, 3.0, 0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 4.0, 2.0];
        close(tau(&x, &y), -0.139_400_749_587_726_02);
    }

    #[test]
    fn correlation_by_hand() {
        // Deviations -1 0 1 and -1 -1 2, doubled: 3 / sqrt(2 * 6).
        close(pearson(&[(1.0, 1.0), (2.0, 1.0), (3.0, 4.0)]), 3.0 / 12.0_f64.sqrt());
        close(pearson(&[(1.0, 5.0), (2.0, 3.0), (3.0, 1.0)]), -1.0);
        assert_eq!(pearson(&[(1.0, 1.0)]), None);
        assert_eq!(pearson(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(pearson(&[(1.0, f64::NAN), (1.0, 2.0)]), None);
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(tau(&[], &[]), None);
        assert_eq!(tau(&[1.0], &[1.0]), None);
        assert_eq!(tau(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(tau(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]), None);
        assert_eq!(tau(&[1.0, f64::NAN, 3.0], &[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn zeros_of_both_signs_tie_and_infinities_order() {
        close(tau(&[0.0, -0.0, 1.0, 2.0], &[1.0, 2.0, 3.0, 4.0]), 5.0 / 30.0_f64.sqrt());
        close(tau(&[f64::NEG_INFINITY, 0.0, f64::INFINITY], &[1.0, 2.0, 3.0]), 1.0);
    }

    #[test]
    fn agrees_with_the_definition_on_random_tied_data() {
        let mut rng = SplitMix64::new(11);
        for n in 2..60 {
            let levels = 1 + rng.below(12);
            let points: Vec<(f64, f64)> =
                (0..n).map(|_| (rng.below(levels) as f64 / 7.0, rng.below(levels) as f64 / 3.0)).collect();
            match (kendall_tau(&points), by_definition(&points)) {
                (Some(got), Some(want)) => assert!((got - want).abs() < 1e-12, "{got} is not {want} for {points:?}"),
                (got, want) => assert_eq!(got, want, "{points:?}"),
            }
        }
    }
}
