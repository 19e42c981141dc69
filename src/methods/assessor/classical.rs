//! Predictors that are no networks, on the flat code: a random forest and linear regression.

use ndarray::{Array1, Array2, Axis};
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;
use tch::{Kind, Tensor};

use super::predictor::Scale;
use crate::error::{MethodError, Result};

/// Weight of the squared coefficients against the sum of squared errors. One-hot codes are collinear, so that without it
/// the coefficients are not determined.
const RIDGE: f64 = 1.0;

/// Flat codes as rows of numbers.
pub fn rows(flat: &Tensor) -> Result<Array2<f64>> {
    let read = || -> Result<(usize, usize, Vec<f64>), tch::TchError> {
        let (n, f) = flat.size2()?;
        let flat = flat.f_to_kind(Kind::Double)?.f_contiguous()?.f_view([-1])?;
        Ok((n as usize, f as usize, Vec::try_from(&flat)?))
    };
    let (n, f, values) = read().map_err(MethodError::failed)?;
    Array2::from_shape_vec((n, f), values).map_err(MethodError::failed)
}

/// Fits a forest on labelled rows, predicts others. Every tree sees a bootstrap sample and, at every split, all columns, as
/// is usual for regression. Equal seeds give equal numbers.
pub fn forest(
    x: &Array2<f64>,
    y: &[f64],
    queries: &Array2<f64>,
    trees: u32,
    seed: u64,
    scale: Scale,
) -> Result<Vec<f64>> {
    let fail =
        |error: &dyn std::fmt::Display| MethodError::failed(format!("the random forest cannot be fitted: {error}"));
    let matrix = |x: &Array2<f64>| {
        let rows: Vec<Vec<f64>> = x.axis_iter(Axis(0)).map(|row| row.to_vec()).collect();
        DenseMatrix::from_2d_vec(&rows).map_err(|e| fail(&e))
    };
    let targets: Vec<f64> = y.iter().map(|&y| scale.standard(y)).collect();
    let settings =
        RandomForestRegressorParameters::default().with_n_trees(trees as usize).with_m(x.ncols()).with_seed(seed);
    let fitted = RandomForestRegressor::fit(&matrix(x)?, &targets, settings).map_err(|e| fail(&e))?;
    let predicted: Vec<f64> = fitted.predict(&matrix(queries)?).map_err(|e| fail(&e))?;
    Ok(predicted.into_iter().map(|z| scale.undo(z)).collect())
}

/// Fits a linear function with a little ridge, predicts others.
pub fn linear(x: &Array2<f64>, y: &[f64], queries: &Array2<f64>, scale: Scale) -> Result<Vec<f64>> {
    let targets: Array1<f64> = y.iter().map(|&y| scale.standard(y)).collect();
    let mean = x.mean_axis(Axis(0)).ok_or_else(|| MethodError::failed("linear regression needs a labelled row"))?;
    let centred = x - &mean;
    let middle = targets.mean().unwrap_or(0.0);
    let mut normal = centred.t().dot(&centred);
    normal.diag_mut().mapv_inplace(|v| v + RIDGE);
    let coefficients = solve(normal, centred.t().dot(&(&targets - middle)));
    let predicted = (queries - &mean).dot(&coefficients);
    Ok(predicted.into_iter().map(|z| scale.undo(z + middle)).collect())
}

/// Solves `a x = b` for a positive definite `a` by Cholesky's decomposition, in place.
fn solve(mut a: Array2<f64>, mut b: Array1<f64>) -> Array1<f64> {
    let n = b.len();
    for j in 0..n {
        let below: f64 = (0..j).map(|k| a[[j, k]] * a[[j, k]]).sum();
        a[[j, j]] = (a[[j, j]] - below).sqrt();
        for i in (j + 1)..n {
            let below: f64 = (0..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
            a[[i, j]] = (a[[i, j]] - below) / a[[j, j]];
        }
    }
    for i in 0..n {
        let known: f64 = (0..i).map(|k| a[[i, k]] * b[k]).sum();
        b[i] = (b[i] - known) / a[[i, i]];
    }
    for i in (0..n).rev() {
        let known: f64 = ((i + 1)..n).map(|k| a[[k, i]] * b[k]).sum();
        b[i] = (b[i] - known) / a[[i, i]];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    const PLAIN: Scale = Scale { mean: 0.0, std: 1.0, clip: f64::NEG_INFINITY };

    #[test]
    fn equations_are_solved() {
        let a = array![[4.0, 2.0, 0.5], [2.0, 5.0, 1.0], [0.5, 1.0, 3.0]];
        let x = array![1.0, -2.0, 3.0];
        let got = solve(a.clone(), a.dot(&x));
        assert!(got.iter().zip(&x).all(|(g, w)| (g - w).abs() < 1e-12), "{got}");
    }

    #[test]
    fn a_line_is_found_and_ridge_pulls_it_to_the_mean() {
        let x = Array2::from_shape_fn((200, 2), |(i, j)| ((i >> j) & 1) as f64);
        let y: Vec<f64> = x.rows().into_iter().map(|r| 1.0 + 2.0 * r[0] - r[1]).collect();
        let got = linear(&x, &y, &array![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], PLAIN).unwrap();
        for (got, want) in got.iter().zip([1.0, 3.0, 2.0]) {
            assert!((got - want).abs() < 0.1, "{got} is not {want}");
        }
        assert!(got[1] < 3.0);
    }

    #[test]
    fn a_forest_learns_what_no_line_can_and_its_seed_decides() {
        // Exclusive or of the first two bits.
        let x = Array2::from_shape_fn((128, 4), |(i, j)| ((i >> j) & 1) as f64);
        let y: Vec<f64> = x.rows().into_iter().map(|r| if r[0] == r[1] { 90.0 } else { 80.0 }).collect();
        let scale = Scale::of(&y, 0.0);
        let fit = |seed| forest(&x, &y, &x, 30, seed, scale).unwrap();
        let got = fit(1);
        assert!(got.iter().zip(&y).all(|(g, w)| (g - w).abs() < 2.0), "{got:?}");
        // Where the labels have noise, bootstrap samples matter, and so does the seed that they are drawn with.
        let y: Vec<f64> = y.iter().enumerate().map(|(i, y)| y + (i * 37 % 11) as f64 / 10.0).collect();
        let fit = |seed| forest(&x, &y, &x, 30, seed, scale).unwrap();
        assert_eq!(fit(1), fit(1));
        assert_ne!(fit(1), fit(2));
    }
}
