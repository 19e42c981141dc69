//! Regularisers that distort activations in training: dropout, spatial dropout, DropBlock (arXiv:1810.12890) and Disout
//! (arXiv:2002.11022). Identity in every other pass.
//!
//! A mask selects entries of an activation `x` (`[n, c, h, w]` or `[n, d]`); what is kept is divided by the share kept, as
//! the authors' code of Disout does it for all of these:
//!
//! `y = (x keep + noise (1 - keep)) / mean(keep)`
//!
//! The noise is zero but for Disout, where it is `alpha c std(x) z` with normal `z` and a coefficient `c` of each channel from
//! the weights of the layer that reads it. Gradients flow through the kept entries alone; masks, noise, spread and next
//! weights are no part of the graph.
//!
//! Random numbers come from one stream for masks and one for noise in each pass, so that regularisers with blocks of one
//! size see the same masks whatever they put there.
//!
//! - this file: the operator
//! - `mask`: which entries are kept
//! - `noise`: the coefficient of each channel, and the step down the gradient of the complexity
//! - `look`: figures and pictures of one pass

mod look;
mod mask;
mod noise;
#[cfg(test)]
mod tests;

use kiln_arch::spec::seed::derive;
use kiln_arch::spec::{DisoutVariant, RegulariserKind, RegulariserSettings};
use kiln_arch::{Reader, Shape, Site};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

pub use look::{Channel, Look};
pub use mask::{keep, seed_probability};
pub use noise::coefficient;

use crate::error::Result;

/// A place of a network where activations are distorted.
pub(crate) struct Place {
    pub site: Site,
    /// Place of the reading layer's weights among the network's tensors, and how it reads.
    pub next: Option<(usize, Reading)>,
}

/// How a layer reads the channels of a site.
#[derive(Debug)]
pub struct Reading {
    /// Groups of its inputs.
    pub groups: i64,
    /// For each channel of the site, the input of the layer that it is; one past the last where it is none. Nothing where
    /// they are the same in the same order. i64 `[c]`.
    pub inputs: Option<Tensor>,
    /// For each input of the layer, the channel of the site; one past the last where it is none. i64 `[inputs]`.
    pub channels: Option<Tensor>,
}

impl Reading {
    pub(crate) fn new(reader: &Reader, channels: u32, device: Device) -> Result<Reading> {
        let groups = i64::from(reader.groups);
        let Some(origins) = &reader.channels else { return Ok(Reading { groups, inputs: None, channels: None }) };
        let none = origins.len() as i64;
        let input_of = |channel| origins.iter().position(|origin| *origin == Some(channel)).map_or(none, |i| i as i64);
        let inputs: Vec<i64> = (0..channels).map(input_of).collect();
        let sources: Vec<i64> = origins.iter().map(|origin| i64::from(origin.unwrap_or(channels))).collect();
        let tensor = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(device);
        Ok(Reading { groups, inputs: Some(tensor(&inputs)?), channels: Some(tensor(&sources)?) })
    }
}

/// The random streams of one pass, and how strongly it distorts.
pub struct Distortion<'a> {
    settings: &'a RegulariserSettings,
    /// Probability of this pass.
    p: f64,
    masks: Generator,
    noise: Generator,
    /// What is measured on the way, if anybody looks.
    pub(crate) looks: Option<look::Looks>,
}

impl<'a> Distortion<'a> {
    /// A pass with the probability `p`. Its random numbers depend on `key` alone.
    pub fn new(settings: &'a RegulariserSettings, p: f64, key: u64, device: Device) -> Result<Distortion<'a>> {
        let stream = |purpose| Generator::new(derive(key, purpose, 0, 0), device);
        Ok(Distortion { settings, p, masks: stream("masks")?, noise: stream("noise")?, looks: None })
    }

    /// The same, measured.
    pub(crate) fn watched(mut self, key: u64, device: Device) -> Result<Distortion<'a>> {
        self.looks = Some(look::Looks::new(Generator::new(derive(key, "signs", 0, 0), device)?));
        Ok(self)
    }

    /// The distorted activation, of the shape and kind of `x`. `weight` are those of the layer that reads it.
    ///
    /// # Errors
    /// What libtorch says of shapes that do not fit.
    pub fn of(&mut self, x: Tensor, site: &Site, next: Option<(&Tensor, &Reading)>) -> Result<Tensor> {
        if self.p <= 0.0 && self.looks.is_none() {
            return Ok(x);
        }
        let block = match (self.settings.kind.has_blocks(), site.shape) {
            (true, Shape::Image(..)) => i64::from(self.settings.block),
            _ => 1,
        };
        let whole = self.settings.kind == RegulariserKind::SpatialDropout && x.dim() == 4;
        let (keep, change, coefficients) = {
            let _frozen = NoGrad::new();
            let keep = match whole {
                true => {
                    let (n, c, ..) = x.size4()?;
                    mask::keep(&[n, c, 1, 1], self.p, 1, &mut self.masks)?
                }
                false => mask::keep(&x.size(), self.p, block, &mut self.masks)?,
            };
            let weight = next.map(|(weight, reading)| (weight.detach(), reading));
            let weight = weight.as_ref().map(|(weight, reading)| (weight, *reading));
            let (change, coefficients) = self.change(&x, weight)?;
            (keep, change, coefficients)
        };
        let y = match self.adds() {
            true => added(&x, &keep, change.as_ref())?,
            false => replaced(&x, &keep, change.as_ref())?,
        };
        if let Some(looks) = &mut self.looks {
            let _frozen = NoGrad::new();
            let size = match site.shape {
                Shape::Image(_, h, _) if whole => i64::from(h),
                _ => block,
            };
            looks.take(site, size, self.p, (&x, &keep, &y), (change.as_ref(), coefficients.as_ref()), next)?;
        }
        Ok(y)
    }

    /// Whether selected entries stay and something is added to them.
    fn adds(&self) -> bool {
        self.settings.kind == RegulariserKind::Disout && self.settings.variant == DisoutVariant::Erc
    }

    /// What selected entries become (or what is added to them), and the coefficient of each channel; nothing for zeros.
    fn change(&mut self, x: &Tensor, next: Option<(&Tensor, &Reading)>) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let settings = self.settings;
        let channels = x.size().get(1).copied().unwrap_or(1);
        let strength = |c: &Tensor| -> Result<Tensor> {
            let c = c.f_mul_scalar(settings.alpha)?;
            Ok(if settings.clamp { c.f_clamp(-1.0, 1.0)? } else { c })
        };
        match settings.kind {
            RegulariserKind::None
            | RegulariserKind::Dropout
            | RegulariserKind::SpatialDropout
            | RegulariserKind::Dropblock => Ok((None, None)),
            RegulariserKind::Disout if self.adds() => {
                let (rows, signs) = noise::descent(x, next, &mut self.noise)?;
                let change = signs.f_mul(&strength(&rows)?)?.f_neg()?;
                let shape: Vec<i64> = change.size().into_iter().chain([1, 1]).take(x.dim()).collect();
                Ok((Some(change.f_view(shape.as_slice())?), Some(rows)))
            }
            RegulariserKind::Disout | RegulariserKind::Isotropic => {
                let mut c = noise::coefficient(next, x.dim() == 4, channels, &mut self.noise)?;
                if settings.kind == RegulariserKind::Isotropic {
                    // The power of Disout's noise, spread evenly.
                    c = c.f_square()?.f_mean(Kind::Float)?.f_sqrt()?.f_expand([channels], false)?;
                }
                let mut z = Tensor::f_empty(x.size(), (Kind::Float, x.device()))?;
                self.noise.normal_(&mut z, 0.0, 1.0)?;
                let spread = x.f_to_kind(Kind::Float)?.f_std(true)?;
                let shape: &[i64] = if x.dim() == 4 { &[1, -1, 1, 1] } else { &[1, -1] };
                let scale = strength(&c)?.f_mul(&spread)?.f_view(shape)?;
                Ok((Some(z.f_mul_(&scale)?), Some(c)))
            }
        }
    }
}

/// `(x keep + change (1 - keep)) / mean(keep)`: the selected entries are replaced. Without a change they become zero.
///
/// Where nothing at all is kept, nothing is divided.
pub fn replaced(x: &Tensor, keep: &Tensor, change: Option<&Tensor>) -> Result<Tensor> {
    let share = keep.f_mean(Kind::Float)?;
    let share = share.f_add(&share.f_eq(0.0)?.f_to_kind(Kind::Float)?)?;
    let kind = x.kind();
    let mut y = x.f_mul(&keep.f_to_kind(kind)?)?;
    if let Some(change) = change {
        let change = change.f_mul(&keep.f_neg()?.f_add_scalar(1.0)?)?.f_to_kind(kind)?;
        y = y.f_add_(&change)?;
    }
    Ok(y.f_div_(&share)?)
}

/// `x + change (1 - keep)`: the selected entries stay, and the change is added to them.
pub fn added(x: &Tensor, keep: &Tensor, change: Option<&Tensor>) -> Result<Tensor> {
    let Some(change) = change else { return Ok(x.shallow_clone()) };
    let change = change.f_mul(&keep.f_neg()?.f_add_scalar(1.0)?)?;
    Ok(x.f_add(&change.f_to_kind(x.kind())?)?)
}
