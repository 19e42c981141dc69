//! What one distorted pass looked like.

use kiln_arch::Site;
use kiln_torch::Generator;
use tch::{Kind, Tensor};

use super::Reading;
use super::noise::picked;
use crate::error::Result;

/// Vectors of random signs over which the complexity is averaged.
pub const SIGNS: i64 = 16;

/// Images and units of a vector that are shown.
const SHOWN: [i64; 2] = [16, 48];

/// Figures of one site in one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The layer behind which it is.
    pub site: String,
    /// Probability of the pass.
    pub p: f64,
    /// Share of entries that were kept.
    pub kept: f64,
    /// Side of the blocks in pixels.
    pub block: i64,
    /// Mean magnitude of the noise, as a share of the activations' standard deviation; nothing where entries become zero.
    pub noise: Option<f64>,
    /// Mean magnitude, least and greatest of the coefficients of the channels.
    pub coefficient: Option<[f64; 3]>,
    /// Proxy of the empirical Rademacher complexity, `1/n max_k |sum_i sigma_i (K f_i)[k]|` averaged over [`SIGNS`] draws of
    /// signs: of the activations as they came, and distorted. Nothing where no layer reads them.
    pub complexity: Option<[f64; 2]>,
    /// One channel of one image; of a vector, some units of some images.
    pub channel: Channel,
}

/// A picture of a distortion: rows from the top, numbers from the left.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Number of the channel; nothing of a vector.
    pub number: Option<i64>,
    /// Numbers a row.
    pub width: i64,
    /// Before.
    pub before: Vec<f32>,
    /// 1 where it was kept.
    pub keep: Vec<f32>,
    /// After.
    pub after: Vec<f32>,
}

/// Collects them.
pub(crate) struct Looks {
    signs: Generator,
    pub(crate) seen: Vec<Look>,
}

impl Looks {
    pub(super) fn new(signs: Generator) -> Looks {
        Looks { signs, seen: Vec::new() }
    }

    /// Looks at one site: `x` became `y`, where `keep` is 0 by `change`.
    pub(super) fn take(
        &mut self,
        site: &Site,
        block: i64,
        p: f64,
        (x, keep, y): (&Tensor, &Tensor, &Tensor),
        (change, coefficients): (Option<&Tensor>, Option<&Tensor>),
        next: Option<(&Tensor, &Reading)>,
    ) -> Result<()> {
        let float = |t: &Tensor| t.f_to_kind(Kind::Float);
        let (x, y) = (float(x)?, float(y)?);
        let value = |t: Tensor| t.f_double_value(&[]);
        let spread = value(x.f_std(true)?)?.max(f64::MIN_POSITIVE);
        let noise = change.map(|change| value(change.f_abs()?.f_mean(Kind::Float)?)).transpose()?.map(|n| n / spread);
        let coefficient = match coefficients {
            Some(c) => Some([value(c.f_abs()?.f_mean(Kind::Float)?)?, value(c.f_min()?)?, value(c.f_max()?)?]),
            None => None,
        };
        let complexity = match next {
            Some((weight, reading)) => {
                let n = x.size()[0];
                let mut signs = Tensor::f_empty([SIGNS, n], (Kind::Float, x.device()))?;
                self.signs.bernoulli_(&mut signs, 0.5)?;
                let signs = signs.f_mul_scalar_(2.0)?.f_sub_scalar_(1.0)?;
                Some([complexity(&x, weight, reading, &signs)?, complexity(&y, weight, reading, &signs)?])
            }
            None => None,
        };
        self.seen.push(Look {
            site: site.name.clone(),
            p,
            kept: value(keep.f_mean(Kind::Float)?)?,
            block,
            noise,
            coefficient,
            complexity,
            channel: channel(&x, keep, &y)?,
        });
        Ok(())
    }
}

/// `1/n max_k |sum_i sigma_i (K f_i)[k]|`, averaged over the rows of `signs` `[draws, n]`. `k` runs over the outputs of the
/// layer of weights `K`, of a convolution at every place.
pub(super) fn complexity(features: &Tensor, weight: &Tensor, reading: &Reading, signs: &Tensor) -> Result<f64> {
    let weight = weight.detach().f_to_kind(Kind::Float)?;
    let features = picked(features, reading.channels.as_ref(), 1)?;
    let outputs = match weight.size().as_slice() {
        [_, _, k, _] => {
            let pad = k / 2;
            features.f_conv2d(&weight, None::<&Tensor>, [1, 1], [pad, pad], [1, 1], reading.groups)?
        }
        _ => features.f_linear(&weight, None::<&Tensor>)?,
    };
    let n = outputs.size()[0];
    let sums = signs.f_matmul(&outputs.f_to_kind(Kind::Float)?.f_reshape([n, -1])?)?;
    let largest = sums.f_abs()?.f_amax(&[1i64][..], false)?;
    Ok(largest.f_mean(Kind::Double)?.f_double_value(&[])? / n as f64)
}

/// The channel of the first image of which least was kept, or the first units of the first images.
fn channel(x: &Tensor, keep: &Tensor, y: &Tensor) -> Result<Channel> {
    let keep = keep.f_expand_as(x)?;
    let numbers = |t: &Tensor| -> Result<Vec<f32>> { Ok(Vec::<f32>::try_from(t.f_reshape([-1])?)?) };
    if x.dim() == 4 {
        let least = keep.f_select(0, 0)?.f_mean_dim(&[1i64, 2][..], false, Kind::Float)?.f_argmin(0, false)?;
        let number = least.f_int64_value(&[])?;
        let one = |t: &Tensor| -> Result<Vec<f32>> { numbers(&t.f_select(0, 0)?.f_select(0, number)?) };
        let width = x.size()[3];
        Ok(Channel { number: Some(number), width, before: one(x)?, keep: one(&keep)?, after: one(y)? })
    } else {
        let (n, d) = x.size2()?;
        let (rows, width) = (n.min(SHOWN[0]), d.min(SHOWN[1]));
        let some = |t: &Tensor| -> Result<Vec<f32>> { numbers(&t.f_narrow(0, 0, rows)?.f_narrow(1, 0, width)?) };
        Ok(Channel { number: None, width, before: some(x)?, keep: some(&keep)?, after: some(y)? })
    }
}
