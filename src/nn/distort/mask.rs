//! Which entries of an activation are kept.

use kiln_torch::Generator;
use tch::{Kind, Tensor};

use crate::error::Result;

/// Probability with which an entry that may be the centre of a `block` x `block` square becomes one, so that about the share
/// `p` of an `h` x `w` map is covered: `p h w / b^2 / ((h - b + 1) (w - b + 1))` (DropBlock, arXiv:1810.12890, equation 1).
pub fn seed_probability(p: f64, h: i64, w: i64, block: i64) -> f64 {
    let places = ((h - block + 1) * (w - block + 1)).max(1) as f64;
    p * (h * w) as f64 / (block * block) as f64 / places
}

/// A mask of an activation `[n, c, h, w]` or `[n, d]`: 1 where it is kept, 0 where it is distorted, f32, independent for
/// every channel of every image. `block` is at most the smaller side of the map.
///
/// Blocks begin at random centres, none of which is so near the border that the block would leave the map (of an even side
/// the last row and column of some blocks do; they are cut off, as the authors do). Blocks as large as the map cover it
/// whole, and the mask is `[n, c, 1, 1]`.
pub fn keep(size: &[i64], p: f64, block: i64, generator: &mut Generator) -> Result<Tensor> {
    let mut draw = Tensor::f_empty(size, (Kind::Float, generator.device()))?;
    generator.uniform_(&mut draw, 0.0, 1.0)?;
    let &[_, _, h, w] = size else { return Ok(draw.f_ge(p)?.f_to_kind(Kind::Float)?) };
    if block <= 1 {
        return Ok(draw.f_ge(p)?.f_to_kind(Kind::Float)?);
    }
    let keep = draw.f_ge(seed_probability(p, h, w, block))?;
    grown(&centred(&keep, block)?, block)
}

/// Keeps what cannot be a centre.
pub(super) fn centred(keep: &Tensor, block: i64) -> Result<Tensor> {
    let (_, _, h, w) = keep.size4()?;
    let outside = |side: i64| -> Result<Tensor> {
        let at = Tensor::f_arange(side, (Kind::Int64, keep.device()))?;
        Ok(at.f_lt(block / 2)?.f_logical_or(&at.f_ge(side - (block - 1) / 2)?)?)
    };
    let outside = outside(h)?.f_view([-1, 1])?.f_logical_or(&outside(w)?)?;
    Ok(keep.f_logical_or(&outside)?)
}

/// Grows every centre (an entry that is not kept) to a block. `keep` is `[n, c, h, w]`.
pub(super) fn grown(keep: &Tensor, block: i64) -> Result<Tensor> {
    let (_, _, h, w) = keep.size4()?;
    let keep = keep.f_to_kind(Kind::Float)?;
    if block == h && block == w {
        return Ok(keep.f_amin(&[2i64, 3][..], true)?);
    }
    let pad = block / 2;
    let grown = keep.f_neg()?.f_max_pool2d([block, block], [1, 1], [pad, pad], [1, 1], false)?.f_neg()?;
    // A kernel of an even side gives one row and one column more.
    Ok(grown.f_narrow(2, 0, h)?.f_narrow(3, 0, w)?)
}
