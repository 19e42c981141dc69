//! Distances, silhouette, similarity and projection of feature rows.

use ndarray::{Array1, Array2, Axis};

use super::kmeans::distance2;

/// Euclidean distances between all pairs of rows.
pub fn distances(z: &Array2<f64>) -> Array2<f64> {
    let n = z.nrows();
    let mut d = Array2::zeros((n, n));
    for i in 0..n {
        for j in i + 1..n {
            let value = distance2(z.row(i), z.row(j)).sqrt();
            d[[i, j]] = value;
            d[[j, i]] = value;
        }
    }
    d
}

/// Mean silhouette of a partition in `[-1, 1]`: `(b - a) / max(a, b)` with `a` the mean distance to the own cluster and
/// `b` to the nearest other one; 0 for the only member of a cluster. `None` with fewer than two clusters.
pub fn silhouette(distances: &Array2<f64>, labels: &[usize], k: usize) -> Option<f64> {
    let sizes = super::kmeans::sizes(labels, k);
    if sizes.iter().filter(|&&size| size > 0).count() < 2 {
        return None;
    }
    let total: f64 = (0..labels.len())
        .map(|i| {
            let mut sums = vec![0.0; k];
            for (j, &label) in labels.iter().enumerate() {
                sums[label] += distances[[i, j]];
            }
            let own = labels[i];
            if sizes[own] < 2 {
                return 0.0;
            }
            let a = sums[own] / (sizes[own] - 1) as f64;
            let b = (0..k)
                .filter(|&other| other != own && sizes[other] > 0)
                .map(|other| sums[other] / sizes[other] as f64)
                .fold(f64::INFINITY, f64::min);
            let larger = a.max(b);
            if larger > 0.0 { (b - a) / larger } else { 0.0 }
        })
        .sum();
    Some(total / labels.len() as f64)
}

/// `S_ij = exp(-d_ij^2 / (2 m^2))` with `m` the median of the distances between different rows.
pub fn similarity(distances: &Array2<f64>) -> Array2<f64> {
    let n = distances.nrows();
    let mut pairs: Vec<f64> = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|at| distances[at]).collect();
    pairs.sort_by(f64::total_cmp);
    let median = match pairs.len() {
        0 => 0.0,
        len if len % 2 == 1 => pairs[len / 2],
        len => (pairs[len / 2 - 1] + pairs[len / 2]) / 2.0,
    };
    let scale = 2.0 * median * median;
    distances.mapv(|d| if scale > 0.0 { (-d * d / scale).exp() } else { 1.0 })
}

/// The plane of the first two principal components.
#[derive(Clone, Debug)]
pub struct Plane {
    mean: Array1<f64>,
    /// `[2, columns]`, orthonormal rows.
    axes: Array2<f64>,
    /// Shares of the variance along the two axes.
    pub explained: [f64; 2],
}

impl Plane {
    /// Fits the plane to the rows of `z`. The sign of each axis is fixed (its largest weight is positive), so that the
    /// picture does not flip between runs. Missing axes (fewer than two columns) are zero.
    pub fn fit(z: &Array2<f64>) -> Plane {
        let columns = z.ncols();
        let mean = z.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(columns));
        let centred = z - &mean;
        let covariance = centred.t().dot(&centred) / z.nrows().max(1) as f64;
        let (values, vectors) = eigen_symmetric(covariance);
        let mut order: Vec<usize> = (0..columns).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
        let total: f64 = values.iter().sum();
        let mut axes = Array2::zeros((2, columns));
        let mut explained = [0.0; 2];
        for (axis, &which) in order.iter().take(2).enumerate() {
            let vector = vectors.column(which);
            let largest = vector.iter().fold(0.0_f64, |best, v| if v.abs() > best.abs() + 1e-12 { *v } else { best });
            axes.row_mut(axis).assign(&vector.mapv(|v| v * if largest < 0.0 { -1.0 } else { 1.0 }));
            explained[axis] = if total > 0.0 { values[which] / total } else { 0.0 };
        }
        Plane { mean, axes, explained }
    }

    /// Coordinates of a row.
    pub fn project(&self, row: ndarray::ArrayView1<f64>) -> [f64; 2] {
        let centred = &row - &self.mean;
        [self.axes.row(0).dot(&centred), self.axes.row(1).dot(&centred)]
    }
}

/// Eigenvalues and eigenvectors (as columns) of a symmetric matrix by Jacobi rotations: short, and exact to rounding for
/// the few dozen columns that features have.
fn eigen_symmetric(mut a: Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let n = a.nrows();
    let mut v = Array2::eye(n);
    let scale: f64 = a.iter().map(|x| x * x).sum();
    for _sweep in 0..100 {
        let off: f64 = (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))).map(|at| a[at] * a[at]).sum();
        if off <= scale * 1e-30 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[[p, q]] == 0.0 {
                    continue;
                }
                let theta = (a[[q, q]] - a[[p, p]]) / (2.0 * a[[p, q]]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for i in 0..n {
                    let (x, y) = (a[[i, p]], a[[i, q]]);
                    a[[i, p]] = c * x - s * y;
                    a[[i, q]] = s * x + c * y;
                }
                for i in 0..n {
                    let (x, y) = (a[[p, i]], a[[q, i]]);
                    a[[p, i]] = c * x - s * y;
                    a[[q, i]] = s * x + c * y;
                }
                for i in 0..n {
                    let (x, y) = (v[[i, p]], v[[i, q]]);
                    v[[i, p]] = c * x - s * y;
                    v[[i, q]] = s * x + c * y;
                }
            }
        }
    }
    (a.diag().to_vec(), v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn silhouette_agrees_with_hand_counting() {
        // Rows 0, 1 | 4, 6. a: 1, 1, 2, 2. b: 5, 4, 3.5, 5.5.
        let d = distances(&array![[0.0], [1.0], [4.0], [6.0]]);
        let want = (4.0 / 5.0 + 3.0 / 4.0 + 1.5 / 3.5 + 3.5 / 5.5) / 4.0;
        let got = silhouette(&d, &[0, 0, 1, 1], 2).unwrap();
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn silhouette_needs_two_clusters_and_gives_a_lone_member_nothing() {
        let d = distances(&array![[0.0], [1.0], [4.0]]);
        assert_eq!(silhouette(&d, &[0, 0, 0], 1), None);
        let got = silhouette(&d, &[0, 0, 1], 2).unwrap();
        assert!((got - (3.0 / 4.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn similarity_is_one_on_the_diagonal_and_falls_to_a_known_value_at_the_median() {
        let s = similarity(&distances(&array![[0.0], [1.0], [3.0]]));
        // Distances 1, 2, 3: the median is 2.
        assert_eq!(s[[1, 1]], 1.0);
        assert!((s[[1, 2]] - (-0.5_f64).exp()).abs() < 1e-12);
        assert!((s[[0, 1]] - (-1.0_f64 / 8.0).exp()).abs() < 1e-12);
        assert!(similarity(&distances(&array![[1.0], [1.0]])).iter().all(|&v| v == 1.0));
    }

    #[test]
    fn the_plane_finds_the_direction_of_largest_spread() {
        // Points on the line (3, 4) t with a little spread across it.
        let z = array![[3.0, 4.0], [-3.0, -4.0], [6.0, 8.0], [-6.0, -8.0], [0.4, -0.3], [-0.4, 0.3]];
        let plane = Plane::fit(&z);
        let [x, y] = plane.project(z.row(2));
        assert!((x - 10.0).abs() < 1e-9 && y.abs() < 1e-9, "{x} {y}");
        let [x, y] = plane.project(z.row(4));
        assert!(x.abs() < 1e-9 && (y.abs() - 0.5).abs() < 1e-9);
        assert!((plane.explained[0] + plane.explained[1] - 1.0).abs() < 1e-12);
        assert!((plane.explained[0] - 250.0 / 250.5).abs() < 1e-9);
    }

    #[test]
    fn projection_keeps_distances_of_planar_points_in_many_dimensions() {
        let mut z = Array2::zeros((5, 9));
        for (i, (a, b)) in [(1.0, 0.0), (0.5, 2.0), (-1.0, 1.0), (0.0, -3.0), (2.0, 2.0)].into_iter().enumerate() {
            for c in 0..9 {
                z[[i, c]] = a * (c as f64).sin() + b * (c as f64).cos();
            }
        }
        let plane = Plane::fit(&z);
        let at: Vec<[f64; 2]> = z.rows().into_iter().map(|r| plane.project(r)).collect();
        let d = distances(&z);
        for i in 0..5 {
            for j in 0..5 {
                let flat = ((at[i][0] - at[j][0]).powi(2) + (at[i][1] - at[j][1]).powi(2)).sqrt();
                assert!((flat - d[[i, j]]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn one_column_or_one_row_is_enough() {
        let plane = Plane::fit(&array![[1.0], [3.0]]);
        assert_eq!(plane.project(array![3.0].view()), [1.0, 0.0]);
        assert_eq!(Plane::fit(&array![[1.0, 2.0]]).project(array![1.0, 2.0].view()), [0.0, 0.0]);
    }
}
