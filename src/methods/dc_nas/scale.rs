//! From raw layer changes to the space that k-means works in: equal length, logarithm, unit columns. All in f64.

use ndarray::Array2;

/// Added before the logarithm, so that an unchanged layer (and a skip, which is 0 by definition) stays finite.
const LOG_FLOOR: f64 = 1e-6;

/// Added to a column's standard deviation, so that a constant column becomes zeros.
const STD_FLOOR: f64 = 1e-9;

/// Linear interpolation of the points `(l / (L - 1), values[l])` onto `length` equally spaced places of `[0, 1]`.
/// One value is repeated; no values give zeros (a network without searched layers changes nothing).
pub fn interpolate(values: &[f64], length: usize) -> Vec<f64> {
    let last = values.len().saturating_sub(1);
    (0..length)
        .map(|i| {
            let at = if length > 1 { i as f64 / (length - 1) as f64 * last as f64 } else { 0.0 };
            let low = (at.floor() as usize).min(last);
            let high = (low + 1).min(last);
            let share = at - low as f64;
            match (values.get(low), values.get(high)) {
                (Some(a), Some(b)) => a + (b - a) * share,
                _ => 0.0,
            }
        })
        .collect()
}

/// Values by slot of a fixed-slot space; a slot that no layer fills (a skip) is 0. Slots beyond `slots` are left out.
pub fn by_slot(values: &[(usize, f64)], slots: usize) -> Vec<f64> {
    let mut row = vec![0.0; slots];
    for &(slot, value) in values {
        if let Some(place) = row.get_mut(slot) {
            *place = value;
        }
    }
    row
}

/// `z = log(v + 1e-6)` if `log`, then each column to mean 0 and standard deviation 1 (over the population, not the
/// sample). Rows are networks and must be equally long; `None` (a failed network) takes no part and gets no row.
///
/// Returns the matrix and, for each of its rows, the index of the network.
pub fn standardise(rows: &[Option<Vec<f64>>], log: bool) -> (Array2<f64>, Vec<usize>) {
    let members: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].is_some()).collect();
    let columns = members.first().and_then(|&i| rows[i].as_ref()).map_or(0, Vec::len);
    let mut z = Array2::zeros((members.len(), columns));
    for (mut row, &i) in z.rows_mut().into_iter().zip(&members) {
        for (place, &v) in row.iter_mut().zip(rows[i].iter().flatten()) {
            *place = if log { (v + LOG_FLOOR).ln() } else { v };
        }
    }
    let n = members.len() as f64;
    for mut column in z.columns_mut() {
        let mean = column.sum() / n;
        let variance = column.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let std = variance.sqrt() + STD_FLOOR;
        column.mapv_inplace(|v| (v - mean) / std);
    }
    (z, members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_agrees_with_hand_counting() {
        assert_eq!(interpolate(&[1.0, 3.0], 3), [1.0, 2.0, 3.0]);
        // Places 0, 2/3, 4/3, 2 of the three values.
        let four = interpolate(&[0.0, 3.0, 9.0], 4);
        for (got, want) in four.iter().zip([0.0, 2.0, 5.0, 9.0]) {
            assert!((got - want).abs() < 1e-12, "{four:?}");
        }
        assert_eq!(interpolate(&[5.0], 4), [5.0; 4]);
        assert_eq!(interpolate(&[], 2), [0.0; 2]);
    }

    #[test]
    fn interpolation_keeps_both_ends_exactly() {
        let values = [0.1, 0.7, 0.2, 0.9, 0.4];
        for length in 2..20 {
            let out = interpolate(&values, length);
            assert_eq!((out[0], out[length - 1]), (0.1, 0.4));
        }
    }

    #[test]
    fn a_skip_slot_is_zero() {
        assert_eq!(by_slot(&[(0, 0.5), (2, 0.25)], 4), [0.5, 0.0, 0.25, 0.0]);
    }

    #[test]
    fn columns_get_mean_zero_and_deviation_one_and_failed_networks_no_row() {
        let rows = [Some(vec![1e-5, 7.0]), None, Some(vec![1e-3, 7.0]), Some(vec![1e-1, 7.0])];
        let (z, members) = standardise(&rows, true);
        assert_eq!(members, [0, 2, 3]);
        assert!(z.iter().all(|v| v.is_finite()));
        let first = z.column(0);
        assert!(first.sum().abs() < 1e-9);
        assert!((first.iter().map(|v| v * v).sum::<f64>() / 3.0 - 1.0).abs() < 1e-6);
        assert!(z.column(1).iter().all(|v| v.abs() < 1e-6), "a constant column says nothing");
        // Equal ratios are nearly equal steps once the logarithm is taken, but not without it.
        assert!((first[1] - first[0] - (first[2] - first[1])).abs() < 0.1);
        let (plain, _) = standardise(&rows, false);
        assert!(plain[[1, 0]] - plain[[0, 0]] < 0.1 * (plain[[2, 0]] - plain[[1, 0]]));
    }
}
