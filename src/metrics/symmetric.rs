//! Symmetric matrices: eigenvalues, and the square root of positive semi-definite ones.

/// Sweeps after which an eigen-decomposition is given up; ten are usual for hundreds of rows.
const SWEEPS: usize = 60;

/// A symmetric matrix taken apart: `a = v diag(values) v^T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigen {
    /// In no particular order.
    pub values: Vec<f64>,
    /// Row by row; column `i` belongs to the `i`-th value, and columns are orthonormal.
    pub vectors: Vec<f64>,
}

/// Eigenvalues and eigenvectors of the symmetric matrix `a` (`n` rows of `n`), by Jacobi's rotations, which give small
/// eigenvalues with the same care as large ones. Only what is symmetric in `a` counts: `(a + a^T) / 2`.
///
/// `None` if `a` is not `n * n` numbers, or some of them are not finite.
pub fn eigen(a: &[f64], n: usize) -> Option<Eigen> {
    if n == 0 || a.len() != n * n || a.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let mut m: Vec<f64> = (0..n * n).map(|at| 0.5 * (a[at] + a[at % n * n + at / n])).collect();
    // Its rows are the eigenvectors, so that a rotation walks through memory in order.
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    let size = m.iter().map(|x| x * x).sum::<f64>();
    for _ in 0..SWEEPS {
        let off: f64 = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|(i, j)| m[i * n + j].powi(2)).sum();
        if off <= size * f64::EPSILON * f64::EPSILON * 1e-4 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut m, &mut v, n, (p, q));
            }
        }
    }
    let values = (0..n).map(|i| m[i * n + i]).collect();
    let vectors = (0..n * n).map(|at| v[at % n * n + at / n]).collect();
    Some(Eigen { values, vectors })
}

/// Makes `m[p, q]` zero. `m` is whole, not one triangle: rows are contiguous then.
fn rotate(m: &mut [f64], v: &mut [f64], n: usize, (p, q): (usize, usize)) {
    let apq = m[p * n + q];
    if apq == 0.0 {
        return;
    }
    let theta = (m[q * n + q] - m[p * n + p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    // Columns, then rows: m <- j^T m j.
    for k in 0..n {
        let (kp, kq) = (m[k * n + p], m[k * n + q]);
        m[k * n + p] = c * kp - s * kq;
        m[k * n + q] = s * kp + c * kq;
    }
    turn(m, n, (p, q), (c, s));
    m[p * n + q] = 0.0;
    m[q * n + p] = 0.0;
    turn(v, n, (p, q), (c, s));
}

/// Rotates two rows.
fn turn(m: &mut [f64], n: usize, (p, q): (usize, usize), (c, s): (f64, f64)) {
    let (above, below) = m.split_at_mut(q * n);
    for (x, y) in above[p * n..p * n + n].iter_mut().zip(&mut below[..n]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

/// The square root of a symmetric positive semi-definite matrix (`n` rows of `n`). Eigenvalues below zero, which rounding
/// leaves, count as zero. `None` as in [`eigen`].
pub fn sqrt_psd(a: &[f64], n: usize) -> Option<Vec<f64>> {
    let Eigen { values, vectors } = eigen(a, n)?;
    let roots: Vec<f64> = values.iter().map(|x| x.max(0.0).sqrt()).collect();
    let mut scaled = vectors.clone();
    scaled.chunks_exact_mut(n).for_each(|row| row.iter_mut().zip(&roots).for_each(|(x, r)| *x *= r));
    // Rows against rows: v diag(r) v^T.
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for j in i..n {
            let x = dot(&scaled[i * n..i * n + n], &vectors[j * n..j * n + n]);
            (out[i * n + j], out[j * n + i]) = (x, x);
        }
    }
    Some(out)
}

/// The product of two matrices of `n` rows of `n`, the second of which is symmetric.
pub(crate) fn times_symmetric(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    a.chunks_exact(n).flat_map(|row| b.chunks_exact(n).map(move |column| dot(row, column))).collect()
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SplitMix64;
    use crate::rng::tests::unit;

    /// A random positive semi-definite matrix of this rank, with eigenvalues over some powers of ten.
    fn random(n: usize, rank: usize, seed: u64) -> Vec<f64> {
        let mut rng = SplitMix64::new(seed);
        let factors: Vec<f64> =
            (0..n * rank).map(|i| (unit(&mut rng) - 0.5) * 10_f64.powi((i % rank) as i32 % 5 - 2)).collect();
        let entry = |i: usize, j: usize| (0..rank).map(|k| factors[i * rank + k] * factors[j * rank + k]).sum();
        (0..n * n).map(|at| entry(at / n, at % n)).collect()
    }

    fn close(a: &[f64], b: &[f64], limit: f64) {
        let size = b.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let gap = a.iter().zip(b).fold(0.0_f64, |m, (x, y)| m.max((x - y).abs()));
        assert!(gap <= limit * size, "{gap} of {size}");
    }

    #[test]
    fn two_by_two_by_hand() {
        // Eigenvalues 3 and 1.
        let e = eigen(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
        let mut values = e.values.clone();
        values.sort_by(f64::total_cmp);
        close(&values, &[1.0, 3.0], 1e-15);
        let (a, b) = ((3_f64.sqrt() + 1.0) / 2.0, (3_f64.sqrt() - 1.0) / 2.0);
        close(&sqrt_psd(&[2.0, 1.0, 1.0, 2.0], 2).unwrap(), &[a, b, b, a], 1e-15);
        close(&sqrt_psd(&[4.0, 0.0, 0.0, 9.0], 2).unwrap(), &[2.0, 0.0, 0.0, 3.0], 1e-15);
    }

    #[test]
    fn eigenvectors_are_orthonormal_and_rebuild_the_matrix() {
        for (n, rank) in [(1, 1), (5, 5), (24, 24), (24, 3)] {
            let a = random(n, rank, n as u64);
            let Eigen { values, vectors } = eigen(&a, n).unwrap();
            let column = |i: usize| (0..n).map(|k| vectors[k * n + i]).collect::<Vec<f64>>();
            for i in 0..n {
                for j in 0..n {
                    let want = if i == j { 1.0 } else { 0.0 };
                    assert!((dot(&column(i), &column(j)) - want).abs() < 1e-13);
                }
            }
            let entry = |i: usize, j: usize| (0..n).map(|k| vectors[i * n + k] * values[k] * vectors[j * n + k]).sum();
            let built: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
            close(&built, &a, 1e-13);
        }
    }

    #[test]
    fn the_root_squared_is_the_matrix() {
        for (n, rank) in [(3, 3), (32, 32), (32, 8)] {
            let a = random(n, rank, 7);
            let root = sqrt_psd(&a, n).unwrap();
            close(&times_symmetric(&root, &root, n), &a, 1e-12);
            assert!(eigen(&root, n).unwrap().values.iter().all(|x| *x > -1e-9), "the root is the positive one");
        }
    }

    #[test]
    fn what_is_no_matrix_has_no_root() {
        assert_eq!(sqrt_psd(&[1.0, 2.0], 2), None);
        assert_eq!(sqrt_psd(&[f64::NAN], 1), None);
        assert_eq!(eigen(&[], 0), None);
        assert_eq!(sqrt_psd(&[-1e-18], 1), Some(vec![0.0]));
    }
}
