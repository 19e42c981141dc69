//! Estimators: what a value becomes on the way forward, and what its gradient is on the way back.
//!
//! All have the form `value + (surrogate - stopgrad(surrogate))`: forward exactly the quantised value (the bracket is a zero
//! without rounding), backward the surrogate's gradient.

use kiln_arch::quantised::Bits;
use kiln_arch::spec::SignGradient;
use tch::{Kind, Tensor};

use crate::error::Result;

/// Half the range of evenly spaced levels, in mean absolute values, that loses least of normally distributed weights (J.
/// Max, 1960: steps of 1.596, 0.9957 and 0.3352 standard deviations for 2, 4 and 16 levels). One bit has the mean itself.
const RANGE: [(u8, f64); 3] = [(1, 1.0), (2, 1.872), (4, 3.151)];

/// -1 or +1; zero counts as +1, unlike in libtorch.
pub fn sign(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_ge(0.0)?.f_to_kind(x.kind())?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?)
}

/// `value` forward, the gradient of `surrogate` backward.
fn straight_through(value: &Tensor, surrogate: &Tensor) -> Result<Tensor> {
    Ok(value.f_detach()?.f_add(&surrogate.f_sub(&surrogate.f_detach()?)?)?)
}

/// What stands for the sign on the way back: `clip(x, -1, 1)`, or `c (2 - |c|)` of that, whose slope is `2 - 2|x|` between -1
/// and 1 (Bi-Real Net's piecewise polynomial).
pub fn surrogate(x: &Tensor, gradient: SignGradient) -> Result<Tensor> {
    let clipped = x.f_clamp(-1.0, 1.0)?;
    Ok(match gradient {
        SignGradient::Clipped => clipped,
        SignGradient::Quadratic => clipped.f_mul(&clipped.f_abs()?.f_neg()?.f_add_scalar(2.0)?)?,
    })
}

/// Quantised features of `x`: signs of one bit; of more bits `round((2^B - 1) clip(x, 0, 1)) / (2^B - 1)`, whose gradient is 1
/// between 0 and 1 and 0 elsewhere.
pub fn features(x: &Tensor, bits: Bits, gradient: SignGradient) -> Result<Tensor> {
    if bits.activations == 1 {
        return straight_through(&sign(x)?, &surrogate(x, gradient)?);
    }
    let clipped = x.f_clamp(0.0, 1.0)?;
    let top = f64::from(bits.activation_top());
    straight_through(&clipped.f_mul_scalar(top)?.f_round()?.f_div_scalar(top)?, &clipped)
}

/// The whole numbers that stand for features of `x`: -1 and 1, or 0 to `2^B - 1`.
pub fn feature_levels(x: &Tensor, bits: Bits) -> Result<Tensor> {
    if bits.activations == 1 {
        return sign(x);
    }
    Ok(x.f_clamp(0.0, 1.0)?.f_mul_scalar(f64::from(bits.activation_top()))?.f_round()?)
}

/// What the largest level of each output channel stands for: the mean of the absolute weights times the range of the bits,
/// as `[out]`, without gradient.
fn reach(latent: &Tensor, bits: Bits) -> Result<Tensor> {
    let range = RANGE.iter().find(|(b, _)| *b == bits.weights).map_or(1.0, |(_, range)| *range);
    Ok(latent.f_detach()?.f_abs()?.f_flatten(1, -1)?.f_mean_dim(1, false, Kind::Float)?.f_mul_scalar(range)?)
}

fn per_channel(scale: &Tensor, like: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; like.dim()];
    shape[0] = -1;
    Ok(scale.f_view(shape.as_slice())?)
}

/// The odd whole numbers that stand for latent weights `[out, ...]`: signs of one bit, else the nearest of the evenly spaced
/// levels within the reach of the channel.
pub fn weight_levels(latent: &Tensor, bits: Bits) -> Result<Tensor> {
    if bits.weights == 1 {
        return sign(latent);
    }
    let top = f64::from(bits.weight_top());
    let reach = per_channel(&reach(latent, bits)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?, latent)?;
    // From -1..1 to 0..top, to the nearest, and to the odd numbers.
    let share = latent.f_detach()?.f_div(&reach)?.f_clamp(-1.0, 1.0)?;
    let step = share.f_add_scalar(1.0)?.f_mul_scalar(top / 2.0)?.f_round()?;
    Ok(step.f_mul_scalar(2.0)?.f_sub_scalar(top)?)
}

/// What 1 among the sums of a layer's whole numbers stands for, by output channel: the weights' scale, and the features' own
/// range. For binary layers `mean |W|`.
pub fn alpha(latent: &Tensor, bits: Bits) -> Result<Tensor> {
    let top = f64::from(bits.weight_top()) * f64::from(bits.activation_top());
    Ok(reach(latent, bits)?.f_div_scalar(top)?)
}

/// Quantised weights of latent ones `[out, ...]`: each channel's scale times its levels; the gradient is that of
/// `clip(W, -1, 1)`. The scale has none.
pub fn weights(latent: &Tensor, bits: Bits) -> Result<Tensor> {
    let scale = per_channel(&reach(latent, bits)?.f_div_scalar(f64::from(bits.weight_top()))?, latent)?;
    let value = weight_levels(latent, bits)?.f_mul(&scale)?;
    straight_through(&value, &latent.f_clamp(-1.0, 1.0)?)
}
