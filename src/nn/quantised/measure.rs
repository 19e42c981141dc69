//! What is looked at in a network: its layers on some images, its weights, its features.

use kiln_data::{DataSet, Split};
use kiln_torch::NoGrad;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::network::{Pass, QuantNetwork};
use super::trainer::FAINT;
use crate::error::Result;

/// Images that layers are looked at with.
const LOOKED_AT: i64 = 256;

/// Images that linear classifiers are fitted on at most, and images of which distances are compared.
const PROBED: i64 = 4000;
const COMPARED: i64 = 200;

/// A channel of which so few images and places differ from the rest says nothing.
const CONSTANT: f64 = 0.01;

/// Ridge of the linear classifiers, on standardised features.
const RIDGE: f64 = 1.0;

/// One layer's features on some images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerFigures {
    /// Share of values beyond -1..1, through whose sign no gradient passes.
    pub dead: f64,
    /// Share of channels whose sign is (nearly) always the same.
    pub constant: f64,
}

/// Numbers of a tensor on the CPU.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor =
        tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_flatten(0, -1)?.f_contiguous()?;
    let mut out = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut out, tensor.numel())?;
    Ok(out)
}

/// Share of faint importances, and their mean.
pub(super) fn faint(importances: &Tensor) -> Result<[f64; 2]> {
    let _frozen = NoGrad::new();
    let share = importances.f_lt(FAINT)?.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?;
    Ok([share.f_double_value(&[])?, importances.f_mean(Kind::Double)?.f_double_value(&[])?])
}

/// Which latent weights are at or above zero, by unit. Empty in 32 bits.
pub(super) fn latent_signs(network: &QuantNetwork) -> Result<Vec<Tensor>> {
    let _frozen = NoGrad::new();
    network.trainable(true).iter().map(|(_, latent)| Ok(latent.f_ge(0.0)?)).collect()
}

/// Share of signs that differ from those of before, by unit.
pub(super) fn flips(network: &QuantNetwork, before: &[Tensor]) -> Result<Vec<f64>> {
    let now = latent_signs(network)?;
    let pairs = now.iter().zip(before);
    let share = |(a, b): (&Tensor, &Tensor)| {
        Ok(a.f_ne_tensor(b)?.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.f_double_value(&[])?)
    };
    pairs.map(share).collect()
}

/// Looks at every layer on the first validation images: one entry a feature (see [`kiln_arch::quantised::Blueprint::feature_names`]).
pub(super) fn layers(
    network: &QuantNetwork,
    data: &DataSet,
    importances: Option<&[Tensor]>,
) -> Result<Vec<LayerFigures>> {
    let _frozen = NoGrad::new();
    let (x, _) = kiln_data::range(data, &data.valid, 0, LOOKED_AT)?;
    let seen = network.forward(&x, Pass::Eval, importances)?;
    seen.before
        .iter()
        .map(|a| {
            let dead = a.f_abs()?.f_gt(1.0)?.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.f_double_value(&[])?;
            let up = a.f_ge(0.0)?.f_to_kind(Kind::Double)?.f_transpose(0, 1)?.f_flatten(1, -1)?;
            let up = numbers(&up.f_mean_dim(1, false, Kind::Double)?)?;
            let constant = up.iter().filter(|share| !(CONSTANT..=1.0 - CONSTANT).contains(*share)).count();
            Ok(LayerFigures { dead, constant: constant as f64 / up.len().max(1) as f64 })
        })
        .collect()
}

/// Counts of the latent weights of each unit in so many bins from -1 to 1.
pub fn weight_counts(network: &QuantNetwork, bins: usize) -> Result<Vec<Vec<f64>>> {
    let units = network.trainable(true);
    units.iter().map(|(_, latent)| Ok(counts(&numbers(latent)?, -1.0, 1.0, bins))).collect()
}

/// How many values lie in each of so many bins; what lies outside counts to the outermost.
pub fn counts(values: &[f64], low: f64, high: f64, bins: usize) -> Vec<f64> {
    let mut out = vec![0.0; bins.max(1)];
    for v in values {
        let at = ((v - low) / (high - low) * bins as f64).floor().clamp(0.0, bins.max(1) as f64 - 1.0);
        out[at as usize] += 1.0;
    }
    out
}

/// The last features of a network before the classifier, `[n, ...]`, of the first images of a split.
fn last_features(network: &QuantNetwork, data: &DataSet, split: &Split, count: i64) -> Result<(Tensor, Tensor)> {
    let _frozen = NoGrad::new();
    let (mut features, mut labels, mut start) = (Vec::new(), Vec::new(), 0);
    let count = count.min(split.len());
    while start < count {
        let (x, y) = kiln_data::range(data, split, start, LOOKED_AT.min(count - start))?;
        let seen = network.forward(&x, Pass::Eval, None)?;
        features.extend(seen.features.last().map(Tensor::shallow_clone));
        labels.push(y);
        start += LOOKED_AT;
    }
    Ok((Tensor::f_cat(&features, 0)?, Tensor::f_cat(&labels, 0)?))
}

/// Validation accuracy of a linear classifier on the frozen last features (averaged over the map), fitted on training images
/// by least squares with a little ridge.
///
/// # Errors
/// What libtorch reports.
pub fn linear_accuracy(network: &QuantNetwork, data: &DataSet) -> Result<f64> {
    let _frozen = NoGrad::new();
    let pooled = |t: &Tensor| -> Result<Tensor> {
        let t = if t.dim() == 4 { t.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)? } else { t.shallow_clone() };
        Ok(t.f_to_kind(Kind::Double)?)
    };
    let (fit, labels) = last_features(network, data, &data.train, PROBED)?;
    let (held, truth) = last_features(network, data, &data.valid, PROBED)?;
    let (fit, held) = (pooled(&fit)?, pooled(&held)?);
    let mean = fit.f_mean_dim([0i64].as_slice(), true, Kind::Double)?;
    let spread = fit.f_std_dim([0i64].as_slice(), true, true)?.f_clamp_min(1e-6)?;
    let plain = |t: &Tensor| -> Result<Tensor> {
        let t = t.f_sub(&mean)?.f_div(&spread)?;
        let ones = Tensor::f_ones([t.size2()?.0, 1], (Kind::Double, t.device()))?;
        Ok(Tensor::f_cat(&[t, ones], 1)?)
    };
    let (x, held) = (plain(&fit)?, plain(&held)?);
    let wanted = labels.f_one_hot(data.classes.len() as i64)?.f_to_kind(Kind::Double)?;
    let (_, columns) = x.size2()?;
    let ridge = Tensor::f_eye(columns, (Kind::Double, x.device()))?.f_mul_scalar(RIDGE)?;
    let (left, right) = (x.f_tr()?.f_matmul(&x)?.f_add(&ridge)?, x.f_tr()?.f_matmul(&wanted)?);
    let weights = Tensor::f_linalg_solve(&left, &right, true)?;
    let hits = held.f_matmul(&weights)?.f_argmax(1, false)?.f_eq_tensor(&truth)?;
    Ok(hits.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.f_double_value(&[])?)
}

/// Distances between the last features of all pairs of the first validation images: Hamming's between binary features (the
/// share that differs times their number), else Euclid's.
///
/// # Errors
/// What libtorch reports.
pub fn distances(network: &QuantNetwork, data: &DataSet) -> Result<Vec<f64>> {
    let _frozen = NoGrad::new();
    let (features, _) = last_features(network, data, &data.valid, COMPARED)?;
    let mut apart = numbers(&features.f_flatten(1, -1)?.f_to_kind(Kind::Double)?.f_pdist(2.0)?)?;
    if network.blueprint().bits.is_some_and(|bits| bits.activations == 1) {
        // Between vectors of -1 and 1, the square of the distance is four times Hamming's.
        apart.iter_mut().for_each(|v| *v = *v * *v / 4.0);
    }
    Ok(apart)
}

/// The last features of the first validation images in the plane in which they vary most, with their classes.
///
/// # Errors
/// What libtorch reports.
pub fn plane(network: &QuantNetwork, data: &DataSet) -> Result<Vec<([f64; 2], i64)>> {
    let _frozen = NoGrad::new();
    let (features, labels) = last_features(network, data, &data.valid, COMPARED)?;
    let rows = features.f_flatten(1, -1)?.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
    let rows = rows.f_sub(&rows.f_mean_dim([0i64].as_slice(), true, Kind::Double)?)?;
    // Of the products of rows: features may be far more than images.
    let (values, vectors) = rows.f_matmul(&rows.f_tr()?)?.f_linalg_eigh("L")?;
    let n = rows.size()[0];
    let mut axes = Vec::new();
    for i in 1..=n.min(2) {
        let length = values.f_double_value(&[n - i])?.max(0.0).sqrt();
        axes.push(numbers(&vectors.f_select(1, n - i)?.f_mul_scalar(length)?)?);
    }
    let labels = numbers(&labels)?;
    let at = |axis: usize, i: usize| axes.get(axis).and_then(|a| a.get(i)).copied().unwrap_or_default();
    Ok(labels.iter().enumerate().map(|(i, label)| ([at(0, i), at(1, i)], *label as i64)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        assert_eq!(counts(&[-1.0, -0.6, 0.0, 0.99, 1.0, 7.0], -1.0, 1.0, 4), [2.0, 0.0, 1.0, 3.0]);
    }
}
