//! Fréchet distance between two sets of feature vectors, each taken as a normal distribution (Dowson and Landau 1982; as a
//! measure of generated images: Heusel et al., arXiv:1706.08500).

use crate::features::Features;
use crate::symmetric::{dot, eigen, sqrt_psd, times_symmetric};

/// Mean and covariance of a set of feature vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    pub mean: Vec<f64>,
    /// Row by row, with `n - 1` below the line.
    pub covariance: Vec<f64>,
}

impl Gaussian {
    /// Of at least two vectors; `None` for fewer, or where a number is not finite.
    pub fn of(features: Features) -> Option<Gaussian> {
        let (n, d) = (features.len(), features.dim());
        if n < 2 || !features.is_finite() {
            return None;
        }
        let mut mean = vec![0.0; d];
        for row in features.rows() {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut covariance = vec![0.0; d * d];
        let mut centred = vec![0.0; d];
        for row in features.rows() {
            centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (x, m))| *c = x - m);
            for (i, line) in covariance.chunks_exact_mut(d).enumerate() {
                let x = centred[i];
                line.iter_mut().zip(&centred).for_each(|(c, y)| *c += x * y);
            }
        }
        covariance.iter_mut().for_each(|c| *c /= (n - 1) as f64);
        Some(Gaussian { mean, covariance })
    }

    /// Numbers a vector.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    fn trace(&self) -> f64 {
        self.covariance.iter().step_by(self.dim() + 1).sum()
    }
}

/// Real features that many sets are compared with: the root of their covariance is taken once.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    gaussian: Gaussian,
    root: Vec<f64>,
}

impl Reference {
    /// `None` where the covariance has no root: see [`sqrt_psd`].
    pub fn new(gaussian: Gaussian) -> Option<Reference> {
        let root = sqrt_psd(&gaussian.covariance, gaussian.dim())?;
        Some(Reference { gaussian, root })
    }

    /// `|m_r - m_g|^2 + tr(S_r + S_g - 2 (S_r^{1/2} S_g S_r^{1/2})^{1/2})`; eigenvalues below zero, which rounding leaves,
    /// count as zero. `None` if the other has another number of features.
    pub fn distance(&self, other: &Gaussian) -> Option<f64> {
        let (own, n) = (&self.gaussian, self.gaussian.dim());
        if other.dim() != n {
            return None;
        }
        let between: Vec<f64> = own.mean.iter().zip(&other.mean).map(|(a, b)| a - b).collect();
        let inner = times_symmetric(&times_symmetric(&self.root, &other.covariance, n), &self.root, n);
        let overlap: f64 = eigen(&inner, n)?.values.iter().map(|x| x.max(0.0).sqrt()).sum();
        Some((dot(&between, &between) + own.trace() + other.trace() - 2.0 * overlap).max(0.0))
    }
}

/// Fréchet distance between two sets of features: see [`Reference::distance`].
pub fn frechet_distance(a: Features, b: Features) -> Option<f64> {
    Reference::new(Gaussian::of(a)?)?.distance(&Gaussian::of(b)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SplitMix64;
    use crate::rng::tests::unit;

    fn gaussian(mean: &[f64], covariance: &[f64]) -> Gaussian {
        Gaussian { mean: mean.to_vec(), covariance: covariance.to_vec() }
    }

    fn distance(a: &Gaussian, b: &Gaussian) -> f64 {
        Reference::new(a.clone()).unwrap().distance(b).unwrap()
    }

    #[test]
    fn one_dimension_has_a_closed_form() {
        for (m1, s1, m2, s2) in [(0.0, 1.0, 3.0, 2.0), (-1.5, 0.25, 0.5, 4.0), (2.0, 0.0, 2.0, 1.0)] {
            let d = distance(&gaussian(&[m1], &[s1 * s1]), &gaussian(&[m2], &[s2 * s2]));
            let want: f64 = (m1 - m2) * (m1 - m2) + (s1 - s2) * (s1 - s2);
            assert!((d - want).abs() < 1e-12, "{d} is not {want}");
        }
    }

    #[test]
    fn covariances_that_commute_have_a_closed_form() {
        // Turned by the same angle, with eigenvalues (4, 1) and (9, 16): (2-3)^2 + (1-4)^2 = 10.
        let (c, s) = (0.6_f64, 0.8_f64);
        let turned = |a: f64, b: f64| [c * c * a + s * s * b, c * s * (a - b), c * s * (a - b), s * s * a + c * c * b];
        let d = distance(&gaussian(&[1.0, 0.0], &turned(4.0, 1.0)), &gaussian(&[0.0, 2.0], &turned(9.0, 16.0)));
        assert!((d - (1.0 + 4.0 + 10.0)).abs() < 1e-12, "{d}");
    }

    #[test]
    fn general_covariances_by_hand() {
        // S_r = diag(1, 4), S_g = [[2, 1], [1, 2]]: the root of the product has the eigenvalues of S_r S_g, whose trace is 10
        // and determinant 12, so tr = sqrt(10 + 2 sqrt(12)).
        let a = gaussian(&[0.0, 0.0], &[1.0, 0.0, 0.0, 4.0]);
        let b = gaussian(&[0.0, 0.0], &[2.0, 1.0, 1.0, 2.0]);
        let want = 9.0 - 2.0 * (10.0 + 2.0 * 12_f64.sqrt()).sqrt();
        assert!((distance(&a, &b) - want).abs() < 1e-12);
        assert!((distance(&b, &a) - want).abs() < 1e-12, "it is symmetric");
        assert!(distance(&a, &a).abs() < 1e-12);
        assert_eq!(Reference::new(a).unwrap().distance(&gaussian(&[0.0], &[1.0])), None);
    }

    #[test]
    fn moments_by_hand_and_samples_come_near_their_distribution() {
        let g = Gaussian::of(Features::new(&[1.0, 2.0, 3.0, 6.0, 5.0, 1.0], 2).unwrap()).unwrap();
        assert_eq!(g, gaussian(&[3.0, 3.0], &[4.0, -1.0, -1.0, 7.0]));
        assert_eq!(Gaussian::of(Features::new(&[1.0, 2.0], 2).unwrap()), None);
        assert_eq!(Gaussian::of(Features::new(&[1.0, f64::NAN], 1).unwrap()), None);
        // Sums of twelve uniform numbers: nearly normal with variance 1; the second set is moved by 2 in each of 3 numbers.
        let mut rng = SplitMix64::new(3);
        let mut normal =
            |n: usize| (0..n).map(|_| (0..12).map(|_| unit(&mut rng)).sum::<f64>() - 6.0).collect::<Vec<f64>>();
        let (a, b) = (normal(9000), normal(9000).into_iter().map(|x| x + 2.0).collect::<Vec<f64>>());
        let d = frechet_distance(Features::new(&a, 3).unwrap(), Features::new(&b, 3).unwrap()).unwrap();
        assert!((d - 12.0).abs() < 0.6, "{d}");
    }
}
