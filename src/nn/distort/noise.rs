//! How large the noise of Disout is in each channel.

use kiln_torch::Generator;
use tch::{Kind, Tensor};

use super::Reading;
use crate::error::Result;

/// Coefficient of maps that no convolution reads, as the authors have it.
const WITHOUT_NEXT: f64 = 0.01;

/// What the authors multiply the coefficient with where the next kernel is 1x1, so that no signs are averaged.
const POINTWISE: f64 = 0.1;

/// The coefficient `c` of each of `channels` channels, f32 `[channels]`: the (signed) largest weight with which the next layer
/// reads the channel at each place of its kernel, with a random sign each, averaged over the kernel.
///
/// `next` are weights `[out, in / groups, k, k]` or `[out, in]`, out of any graph. In groups, the largest is over the outputs
/// of the channel's own group; where every group is one channel, the largest magnitude is taken. A channel that the layer
/// does not read has 0. Without a next layer all have 0.01.
pub fn coefficient(
    next: Option<(&Tensor, &Reading)>,
    map: bool,
    channels: i64,
    generator: &mut Generator,
) -> Result<Tensor> {
    let Some((weight, reading)) = next else {
        return Ok(Tensor::f_full([channels], WITHOUT_NEXT, (Kind::Float, generator.device()))?);
    };
    let largest = largest(weight, reading)?;
    let mut signs = Tensor::f_empty_like(&largest)?;
    generator.bernoulli_(&mut signs, 0.5)?;
    let signed = largest.f_mul(&signs.f_mul_scalar_(2.0)?.f_sub_scalar_(1.0)?)?;
    let c = signed.f_flatten(1, -1)?.f_mean_dim(&[1i64][..], false, Kind::Float)?;
    let pointwise = map && weight.size().iter().skip(2).product::<i64>() == 1;
    Ok(if pointwise { c.f_mul_scalar(POINTWISE)? } else { c })
}

/// The largest weight with which the next layer reads each channel of the site: `[c, k, k]`, or `[c, 1]` of a vector.
pub(super) fn largest(weight: &Tensor, reading: &Reading) -> Result<Tensor> {
    let size = weight.size();
    let (out, each, kernel) = (size[0], size[1], &size[2..]);
    let groups = reading.groups;
    let weight = if groups > 1 && each == 1 { weight.f_abs()? } else { weight.shallow_clone() };
    let grouped: Vec<i64> = [groups, out / groups, each].iter().chain(kernel).copied().collect();
    let mut whole: Vec<i64> = [groups * each].iter().chain(kernel).copied().collect();
    if kernel.is_empty() {
        whole.push(1);
    }
    // Weights with channels innermost in memory cannot be viewed as groups.
    let largest = weight.f_reshape(grouped.as_slice())?.f_amax(&[1i64][..], false)?.f_reshape(whole.as_slice())?;
    picked(&largest, reading.inputs.as_ref(), 0)
}

/// The slices of `t` along `dim` with these numbers; one past the last is zeros. All of them without numbers.
pub(super) fn picked(t: &Tensor, numbers: Option<&Tensor>, dim: i64) -> Result<Tensor> {
    let Some(numbers) = numbers else { return Ok(t.shallow_clone()) };
    let none = t.f_narrow(dim, 0, 1)?.f_zeros_like()?;
    Ok(Tensor::f_cat(&[t, &none], dim)?.f_index_select(dim, numbers)?)
}

/// The direction in which the complexity falls (variant `erc`, the card's section D): the row `K[k*, :]` of the next weights,
/// f32 `[c]`, and `v sigma_i` for each image, f32 `[n, 1]`, with signs `sigma`, `t_k = sum_i sigma_i (K f_i)[k]`,
/// `k* = argmax |t_k|` and `v = sign t_k*`. Kernels and maps enter by their means.
pub(super) fn descent(
    x: &Tensor,
    next: Option<(&Tensor, &Reading)>,
    generator: &mut Generator,
) -> Result<(Tensor, Tensor)> {
    let x = x.f_to_kind(Kind::Float)?;
    let features = if x.dim() == 4 { x.f_mean_dim(&[2i64, 3][..], false, Kind::Float)? } else { x };
    let (n, channels) = features.size2()?;
    let rows = match next {
        Some((weight, reading)) => dense(weight, reading)?,
        None => Tensor::f_full([1, channels], WITHOUT_NEXT, (Kind::Float, features.device()))?,
    };
    let mut signs = Tensor::f_empty([n, 1], (Kind::Float, features.device()))?;
    generator.bernoulli_(&mut signs, 0.5)?;
    let signs = signs.f_mul_scalar_(2.0)?.f_sub_scalar_(1.0)?;
    let sum = signs.f_mul(&features)?.f_sum_dim_intlist(&[0i64][..], true, Kind::Float)?;
    let t = rows.f_mul(&sum)?.f_sum_dim_intlist(&[1i64][..], false, Kind::Float)?;
    let place = t.f_abs()?.f_argmax(0, true)?;
    let row = rows.f_index_select(0, &place)?.f_view([-1])?;
    let v = t.f_index_select(0, &place)?.f_sign()?;
    Ok((row, signs.f_mul(&v)?))
}

/// Weights of the next layer between each output and each channel of the site, averaged over the kernel: f32 `[out, c]`.
fn dense(weight: &Tensor, reading: &Reading) -> Result<Tensor> {
    let (out, each) = (weight.size()[0], weight.size()[1]);
    let groups = reading.groups;
    let mean = weight.f_reshape([out, each, -1])?.f_mean_dim(&[2i64][..], false, Kind::Float)?;
    let mean = match groups {
        1 => mean,
        _ => {
            let own = Tensor::f_eye(groups, (Kind::Float, weight.device()))?.f_view([groups, 1, groups, 1])?;
            mean.f_reshape([groups, out / groups, 1, each])?.f_mul(&own)?.f_reshape([out, groups * each])?
        }
    };
    picked(&mean, reading.inputs.as_ref(), 1)
}
