//! What critic and generator learn by, on logits: no sigmoid is ever taken before a logarithm.
//!
//! With `f1` the loss of calling an image real and `f2` of calling it generated, the plain risk of the critic is
//! `E_real[f1] + E_fake[f2]`. The positive-unlabelled risk (PUGAN, arXiv:2002.01136) takes generated images as a mixture, a
//! share pi of it as good as real ones:
//!
//! ```text
//! a = mean f1(s_real)    b = mean f2(s_real)    c = mean f2(s_fake)
//! neg = c - pi b                   L = pi a + max(0, neg)
//! ```
//!
//! `neg` estimates `(1 - pi)` times the risk of the bad ones, which cannot be below zero, though its estimate on a batch can.
//! The maximum is taken of the batch's mean: where it cuts, no gradient flows through `b` and `c`.

use kiln_arch::spec::{GanLoss, PuganSettings};
use tch::{Kind, Tensor};

use crate::error::Result;

/// Keeps the gradient of a norm finite where the norm is zero.
const TINY: f64 = 1e-12;

/// The losses that settings ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criterion {
    loss: GanLoss,
    nnpu: bool,
    relativistic: bool,
    /// What least squares want of generated images.
    fake_label: f64,
}

/// The critic's loss on one batch and what it is made of, as scalars of the graph on the device.
pub struct Risk {
    /// What to descend.
    pub loss: Tensor,
    /// `mean f1(s_real)`.
    pub a: Tensor,
    /// `mean f2(s_real)`; 0 without the positive-unlabelled risk, which alone needs it.
    pub b: Tensor,
    /// `mean f2(s_fake)`.
    pub c: Tensor,
    /// `c - pi b`, before the maximum.
    pub neg: Tensor,
}

impl Criterion {
    /// The losses of these settings.
    pub fn of(settings: &PuganSettings) -> Criterion {
        let signed = settings.pu || settings.signed_labels || settings.relativistic;
        Criterion {
            loss: settings.loss,
            nnpu: settings.nnpu,
            relativistic: settings.relativistic,
            fake_label: if signed { -1.0 } else { 0.0 },
        }
    }

    /// Whether the generator's loss looks at logits of real images.
    pub fn is_relativistic(&self) -> bool {
        self.relativistic
    }

    /// Loss of calling images with these logits real, one by one.
    pub fn f1(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(match self.loss {
            GanLoss::Standard => logits.f_neg()?.f_softplus()?,
            GanLoss::LeastSquares => logits.f_sub_scalar(1.0)?.f_square()?,
            GanLoss::Hinge => logits.f_neg()?.f_add_scalar(1.0)?.f_relu()?,
            GanLoss::Wasserstein => logits.f_neg()?,
        })
    }

    /// Loss of calling images with these logits generated, one by one.
    pub fn f2(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(match self.loss {
            GanLoss::Standard => logits.f_softplus()?,
            GanLoss::LeastSquares => logits.f_sub_scalar(self.fake_label)?.f_square()?,
            GanLoss::Hinge => logits.f_add_scalar(1.0)?.f_relu()?,
            GanLoss::Wasserstein => logits.shallow_clone(),
        })
    }

    /// The critic's loss on logits `[n]` of real images and of generated ones: by the positive-unlabelled risk with this
    /// prior, or by the plain one.
    pub fn critic(&self, real: &Tensor, fake: &Tensor, prior: Option<f64>) -> Result<Risk> {
        if self.relativistic {
            // Halved, as those who proposed it do.
            let a = self.f1(&real.f_sub(&mean(fake)?)?)?;
            let c = self.f2(&fake.f_sub(&mean(real)?)?)?;
            let (a, c) = (mean(&a)?.f_mul_scalar(0.5)?, mean(&c)?.f_mul_scalar(0.5)?);
            return Ok(Risk { loss: a.f_add(&c)?, b: zero(&a)?, neg: c.shallow_clone(), a, c });
        }
        let (a, c) = (mean(&self.f1(real)?)?, mean(&self.f2(fake)?)?);
        let Some(prior) = prior else {
            return Ok(Risk { loss: a.f_add(&c)?, b: zero(&a)?, neg: c.shallow_clone(), a, c });
        };
        let b = mean(&self.f2(real)?)?;
        let neg = c.f_sub(&b.f_mul_scalar(prior)?)?;
        let positive = a.f_mul_scalar(prior)?;
        let loss = match self.nnpu {
            false => positive.f_add(&neg.f_relu()?)?,
            // Where the estimate is impossible, undo what made it so, and leave all else (Kiryo et al., algorithm 1).
            true => positive.f_add(&neg)?.f_where_self(&neg.f_ge(0.0)?, &neg.f_neg()?)?,
        };
        Ok(Risk { loss, a, b, c, neg })
    }

    /// The generator's loss on logits of its images. `real` are logits of real ones, which relativistic losses need.
    pub fn generator(&self, fake: &Tensor, real: Option<&Tensor>) -> Result<Tensor> {
        if let Some(real) = real.filter(|_| self.relativistic) {
            let up = mean(&self.f1(&fake.f_sub(&mean(real)?)?)?)?;
            let down = mean(&self.f2(&real.f_sub(&mean(fake)?)?)?)?;
            return Ok(up.f_add(&down)?.f_mul_scalar(0.5)?);
        }
        match self.loss {
            GanLoss::Standard | GanLoss::LeastSquares => mean(&self.f1(fake)?),
            GanLoss::Hinge | GanLoss::Wasserstein => Ok(mean(fake)?.f_neg()?),
        }
    }
}

/// `mean (|grad critic(x)| - 1)^2` at points `x` between real and generated images (WGAN-GP, arXiv:1704.00028). `mix` holds
/// each pair's share of the real one, `[n, 1, 1, 1]`. Its gradient with respect to the critic's weights is one of gradients.
pub fn gradient_penalty(
    critic: impl Fn(&Tensor) -> Result<Tensor>,
    real: &Tensor,
    fake: &Tensor,
    mix: &Tensor,
) -> Result<Tensor> {
    let between = fake.f_add(&real.f_sub(fake)?.f_mul(mix)?)?.f_detach()?.f_set_requires_grad(true)?;
    let logits = critic(&between)?.f_sum(None::<Kind>)?;
    let grads = Tensor::f_run_backward(&[&logits], &[&between], true, true)?;
    let grad = grads.first().map_or_else(|| between.f_zeros_like(), |g| Ok(g.shallow_clone()))?;
    let squares = grad.f_flatten(1, -1)?.f_square()?.f_sum_dim_intlist(&[1i64][..], false, None)?;
    let off = squares.f_add_scalar(TINY)?.f_sqrt()?.f_sub_scalar(1.0)?;
    mean(&off.f_square()?)
}

fn mean(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_mean(None::<Kind>)?)
}

fn zero(like: &Tensor) -> Result<Tensor> {
    Ok(like.f_detach()?.f_zeros_like()?)
}
