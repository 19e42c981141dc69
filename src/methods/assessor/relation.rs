//! The relation graph (card, step 3): architectures whose embeddings point in nearly the same direction are neighbours.
//!
//! `d_ij = || e_i/|e_i| - e_j/|e_j| ||^2`, `S_ij = exp(-d_ij / (2 sigma^2))` where that exceeds the threshold, else 0,
//! `S_ii = 1`, `A^ = D^-1/2 S D^-1/2`. The mean degree is the mean of the sums over S, self-loops included.

use kiln_nn::torch::TorchError;
use tch::{Kind, Tensor};

/// Where sigma is looked for.
const SIGMA: (f64, f64) = (1e-4, 10.0);

/// Halvings of the interval (of the logarithm of sigma): its width ends at 1e-6.
const HALVINGS: usize = 24;

/// Squared distances between directions, in `0..=4`: f32 `[n, n]` of embeddings `[n, d]`. Gradients flow.
pub fn distances(embedding: &Tensor) -> Result<Tensor, TorchError> {
    // Not the norm itself: its gradient at zero is none.
    let squares = embedding.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?;
    let directions = embedding.f_mul(&squares.f_add_scalar(1e-12)?.f_rsqrt()?)?;
    let cosines = directions.f_matmul(&directions.f_tr()?)?;
    // Rounding leaves small negatives where directions agree.
    Ok(cosines.f_mul_scalar(-2.0)?.f_add_scalar(2.0)?.f_clamp_min(0.0)?)
}

/// S: f32 `[n, n]`, symmetric, ones on the diagonal.
pub fn similarity(distances: &Tensor, sigma: f64, threshold: f64) -> Result<Tensor, TorchError> {
    let raw = distances.f_mul_scalar(-1.0 / (2.0 * sigma * sigma))?.f_exp()?;
    let n = distances.size().first().copied().unwrap_or(0);
    let eye = Tensor::f_eye(n, (Kind::Float, distances.device()))?;
    let edges = raw.f_detach()?.f_gt(threshold)?.f_to_kind(Kind::Float)?;
    let others = edges.f_mul(&eye.f_neg()?.f_add_scalar(1.0)?)?;
    Ok(raw.f_mul(&others)?.f_add(&eye)?)
}

/// A^ of S: symmetric, of spectral radius 1.
pub fn normalised(similarity: &Tensor) -> Result<Tensor, TorchError> {
    let root = degrees(similarity)?.f_clamp_min(1e-12)?.f_rsqrt()?;
    Ok(similarity.f_mul(&root.f_unsqueeze(0)?)?.f_mul(&root.f_unsqueeze(1)?)?)
}

/// Sum over each row of S: f32 `[n]`, at least 1.
pub fn degrees(similarity: &Tensor) -> Result<Tensor, TorchError> {
    Ok(similarity.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?)
}

/// Sigma for which the mean degree is `target`, by bisection. The degree rises with sigma; where it cannot reach the
/// target (all embeddings agree, or there are fewer nodes) the nearest end of the interval is the answer.
pub fn solve_sigma(distances: &Tensor, target: f64, threshold: f64) -> Result<f64, TorchError> {
    let distances = distances.f_detach()?;
    let n = distances.size().first().copied().unwrap_or(0).max(1) as f64;
    let degree = |sigma: f64| -> Result<f64, TorchError> {
        let raw = distances.f_mul_scalar(-1.0 / (2.0 * sigma * sigma))?.f_exp()?;
        let kept = raw.f_threshold(threshold, 0.0)?;
        // The diagonal is one by definition, not by rounding.
        let trace = kept.f_trace()?.f_double_value(&[])?;
        Ok((kept.f_sum(Kind::Double)?.f_double_value(&[])? - trace) / n + 1.0)
    };
    let (mut low, mut high) = (SIGMA.0.ln(), SIGMA.1.ln());
    for _ in 0..HALVINGS {
        let middle = low.midpoint(high);
        if degree(middle.exp())? < target { low = middle } else { high = middle }
    }
    Ok(low.midpoint(high).exp())
}

/// What is told of a graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    pub mean_degree: f64,
    /// Share of nodes without neighbours.
    pub isolated: f64,
    /// Share of the edges between a labelled node (the first ones) and an unlabelled one; 0 without edges.
    pub mixed: f64,
}

/// Statistics of S, whose first `labelled` nodes have labels.
pub fn statistics(similarity: &Tensor, labelled: i64) -> Result<Statistics, TorchError> {
    let n = similarity.size().first().copied().unwrap_or(0);
    let degrees = degrees(&similarity.f_detach()?)?;
    let edges = similarity.f_detach()?.f_gt(0.0)?.f_to_kind(Kind::Float)?;
    let all = edges.f_sum(Kind::Double)?.f_double_value(&[])? - n as f64;
    let across = edges.f_narrow(0, 0, labelled)?.f_narrow(1, labelled, n - labelled)?;
    let across = 2.0 * across.f_sum(Kind::Double)?.f_double_value(&[])?;
    let alone = degrees.f_le(1.0)?.f_sum(Kind::Double)?.f_double_value(&[])?;
    Ok(Statistics {
        mean_degree: degrees.f_mean(Kind::Double)?.f_double_value(&[])?,
        isolated: alone / n.max(1) as f64,
        mixed: if all > 0.0 { across / all } else { 0.0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_nn::torch::Generator;
    use tch::Device;

    fn embedding(n: i64, d: i64, seed: u64) -> Tensor {
        let mut e = Tensor::zeros([n, d], (Kind::Float, Device::Cpu));
        Generator::new(seed, Device::Cpu).unwrap().normal_(&mut e, 0.0, 1.0).unwrap();
        e
    }

    #[test]
    fn by_hand() {
        // Directions (1, 0), (1, 0), (0, 1): distances 0 and 2.
        let e = Tensor::from_slice(&[2.0_f32, 0.0, 0.5, 0.0, 0.0, 7.0]).view([3, 2]);
        let d = distances(&e).unwrap();
        let want = Tensor::from_slice(&[0.0_f32, 0.0, 2.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0]).view([3, 3]);
        assert!((&d - want).abs().max().double_value(&[]) < 1e-5);
        let s = similarity(&d, 1.0, 1e-5).unwrap();
        assert!((s.double_value(&[0, 2]) - (-1.0_f64).exp()).abs() < 1e-6);
        assert_eq!(similarity(&d, 1.0, 0.5).unwrap().double_value(&[0, 2]), 0.0);
        let a = normalised(&similarity(&d, 1e-2, 1e-5).unwrap()).unwrap();
        // The first two are joined, the third is alone.
        assert!((a.double_value(&[0, 1]) - 0.5).abs() < 1e-5 && (a.double_value(&[2, 2]) - 1.0).abs() < 1e-6);
        let told = statistics(&similarity(&d, 1e-2, 1e-5).unwrap(), 1).unwrap();
        assert!((told.mean_degree - 5.0 / 3.0).abs() < 1e-5, "{told:?}");
        assert_eq!((told.isolated, told.mixed), (1.0 / 3.0, 1.0));
    }

    #[test]
    fn the_graph_is_symmetric_with_spectral_radius_one() {
        for (seed, sigma) in [(1, 0.1), (2, 0.5), (3, 5.0)] {
            let d = distances(&embedding(60, 8, seed)).unwrap();
            let a = normalised(&similarity(&d, sigma, 1e-5).unwrap()).unwrap().to_kind(Kind::Double);
            assert!((&a - a.tr()).abs().max().double_value(&[]) < 1e-7);
            let (values, _) = a.linalg_eigh("L");
            let radius = values.abs().max().double_value(&[]);
            assert!((1.0 - 1e-5..=1.0 + 1e-5).contains(&radius), "{radius}");
        }
    }

    #[test]
    fn sigma_meets_the_mean_degree() {
        let d = distances(&embedding(200, 16, 4)).unwrap();
        for target in [1.5, 2.0, 10.0, 100.0] {
            let sigma = solve_sigma(&d, target, 1e-5).unwrap();
            let got = statistics(&similarity(&d, sigma, 1e-5).unwrap(), 100).unwrap().mean_degree;
            assert!((got - target).abs() < 1e-3 * target, "{got} is not {target}");
        }
        // Equal embeddings but for rounding: no sigma of any use; two nodes can have no degree of three.
        let equal = distances(&Tensor::ones([5, 3], (Kind::Float, Device::Cpu))).unwrap();
        assert!(solve_sigma(&equal, 2.0, 1e-5).unwrap() < 1e-2);
        assert!(solve_sigma(&distances(&embedding(2, 3, 1)).unwrap(), 3.0, 1e-5).unwrap() > 9.9);
    }

    #[test]
    fn gradients_reach_the_embedding_and_are_finite_even_for_equal_ones() {
        let e = Tensor::cat(&[embedding(4, 3, 5), Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))], 0);
        let e = e.set_requires_grad(true);
        let a = normalised(&similarity(&distances(&e).unwrap(), 0.5, 1e-5).unwrap()).unwrap();
        a.square().sum(Kind::Float).backward();
        let g = e.grad();
        assert!(bool::try_from(g.isfinite().all()).unwrap());
        assert!(g.abs().max().double_value(&[]) > 0.0);
    }
}
