//! How a teacher's features lead those of a quantised network. The terms are this project's reconstruction: that features
//! are projected is the paper's (arXiv:2002.00555), how is not known.

use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// Images of a batch that are compared at most: the relation costs their square.
pub const PAIRS: i64 = 256;

/// Rounds of Newton and Schulz after a step: a step moves a matrix little, so few bring it back.
const ROUNDS: usize = 3;

/// Added to squares of lengths: features that are the same for all images have none, and the gradient of a root at 0 is no
/// number.
const TINY: f64 = 1e-12;

/// Cosines between the images of a batch `[n, ...]`, as `[n, n]`: flattened, centred over the batch, each of length 1.
pub fn relations(features: &Tensor) -> Result<Tensor> {
    let rows = features.f_flatten(1, -1)?;
    let rows = rows.f_sub(&rows.f_mean_dim([0i64].as_slice(), true, Kind::Float)?)?;
    let square = rows.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?;
    let rows = rows.f_div(&square.f_add_scalar(TINY)?.f_sqrt()?)?;
    Ok(rows.f_matmul(&rows.f_tr()?)?)
}

/// `|| S(F) - S(B) ||^2 / n^2` with the cosines `S`: widths need not agree.
pub fn relational(teacher: &Tensor, student: &Tensor) -> Result<Tensor> {
    let n = teacher.size().first().copied().unwrap_or(0).min(PAIRS);
    let of = |t: &Tensor| relations(&t.f_narrow(0, 0, n)?);
    let apart = of(teacher)?.f_sub(&of(student)?)?;
    Ok(apart.f_square()?.f_sum(Kind::Float)?.f_div_scalar((n * n) as f64)?)
}

/// `mean (P^T F - B)^2` over images, places and channels; `P` is `[c, d]`, features are `[n, c]` or `[n, c, h, w]`.
pub fn explicit(projection: &Tensor, teacher: &Tensor, student: &Tensor) -> Result<Tensor> {
    let last = |t: &Tensor| -> Result<Tensor> {
        let t = if t.dim() == 4 { t.f_permute([0, 2, 3, 1])? } else { t.shallow_clone() };
        let channels = t.size().last().copied().unwrap_or(1);
        Ok(t.f_reshape([-1, channels])?)
    };
    let projected = last(teacher)?.f_matmul(projection)?;
    Ok(projected.f_sub(&last(student)?)?.f_square()?.f_mean(Kind::Float)?)
}

/// `T^2 KL(teacher || student)` of predictions softened by the temperature `T`, mean over the batch, in nats.
pub fn divergence(teacher: &Tensor, student: &Tensor, temperature: f64) -> Result<Tensor> {
    let soft = |logits: &Tensor| logits.f_div_scalar(temperature)?.f_log_softmax(1, Kind::Float);
    let (teacher, student) = (soft(teacher)?, soft(student)?);
    let each =
        teacher.f_exp()?.f_mul(&teacher.f_sub(&student)?)?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
    Ok(each.f_mean(Kind::Float)?.f_mul_scalar(temperature * temperature)?)
}

/// A random matrix `[c, d]` whose rows (or columns, if those are fewer) are orthonormal.
pub fn projection(c: i64, d: i64, seed: u64) -> Result<Tensor> {
    let mut matrix = Tensor::f_zeros([c, d], (Kind::Float, Device::Cpu))?;
    Generator::new(seed, Device::Cpu)?.normal_(&mut matrix, 0.0, 1.0)?;
    // The iteration wants singular values below the root of 3; the norm bounds them.
    let norm = matrix.f_norm()?.f_double_value(&[])?.max(f64::MIN_POSITIVE);
    let mut matrix = matrix.f_div_scalar(norm)?;
    for _ in 0..40 {
        orthonormalise(&mut matrix)?;
    }
    Ok(matrix)
}

/// Brings a matrix that has left its place by a step back to orthonormal rows (or columns): `P <- 1.5 P - 0.5 P P^T P`, which
/// takes every singular value to 1 (Newton and Schulz).
pub fn orthonormalise(matrix: &mut Tensor) -> Result<()> {
    let _frozen = NoGrad::new();
    for _ in 0..ROUNDS {
        let again = matrix.f_matmul(&matrix.f_tr()?.f_matmul(matrix)?)?;
        let next = matrix.f_mul_scalar(1.5)?.f_sub(&again.f_mul_scalar(0.5)?)?;
        matrix.f_copy_(&next)?;
    }
    Ok(())
}

/// The proximal step of an L1 penalty on numbers that are not negative: `s <- max(0, s - amount)`.
pub fn shrink(importances: &mut Tensor, amount: f64) -> Result<()> {
    let _frozen = NoGrad::new();
    let _ = importances.f_sub_scalar_(amount)?.f_clamp_min_(0.0)?;
    Ok(())
}

/// Brings numbers back to a mean square of 1; numbers that are all zero become 1 again.
pub fn rescale(importances: &mut Tensor) -> Result<()> {
    let _frozen = NoGrad::new();
    let mean = importances.f_square()?.f_mean(Kind::Float)?;
    let gone = mean.f_le(TINY)?.f_to_kind(Kind::Float)?;
    let scale = mean.f_add(&gone)?.f_sqrt()?;
    let _ = importances.f_div_(&scale)?.f_add_(&gone)?;
    Ok(())
}
