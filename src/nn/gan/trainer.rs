//! A pair in training: the critic and the generator in turn.

use std::time::Instant;

use kiln_arch::GanPlan;
use kiln_arch::spec::seed::derive;
use kiln_arch::spec::{GanLoss, OptimSettings, PuganSettings};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use super::loss::{Criterion, Risk, gradient_penalty};
use super::net::{Net, Pass};
use crate::error::{Result, TrainError};
use crate::optim::Optimizer;
use crate::schedule::LrSchedule;

/// A limit that no gradient reaches: clipping to it only measures.
const NO_LIMIT: f64 = 1e30;

/// Figures of a step that are added up on the device between two readings, in this order.
pub(super) const FIGURES: usize = 12;

/// Everything about a training but the networks and the images.
#[derive(Clone, Debug)]
pub struct GanConfig {
    pub settings: PuganSettings,
    /// Adam's: `momentum` is its first beta.
    pub optim: OptimSettings,
    pub seed: u64,
}

/// Means over the iterations since the reading before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GanReading {
    /// Finished iterations.
    pub step: u64,
    /// Iterations that it is the mean of.
    pub over: u64,
    /// Of the last of them; `None` where the plain risk was used.
    pub prior: Option<f64>,
    /// The critic's loss, without the gradient penalty.
    pub critic: f64,
    /// See [`Risk`].
    pub a: f64,
    pub b: f64,
    pub c: f64,
    pub neg: f64,
    /// Share of the critic's steps with `neg` below zero.
    pub clipped: f64,
    /// Mean logits of real and of generated images, and the mean of their sigmoids.
    pub logits: [f64; 2],
    pub scores: [f64; 2],
    /// The gradient penalty, times its weight.
    pub penalty: f64,
    pub generator: f64,
    /// Norms of the last step's gradients.
    pub critic_norm: f64,
    pub generator_norm: f64,
    pub lr: f64,
}

impl GanReading {
    fn is_finite(&self) -> bool {
        [self.critic, self.generator, self.penalty, self.critic_norm, self.generator_norm].iter().all(|x| x.is_finite())
    }
}

/// Why a call of [`GanTrainer::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GanEnd {
    /// The iteration asked for is done.
    Reached,
    /// Time is up, or `tick` said so.
    Stopped,
    /// A loss or a gradient is no longer a number.
    Diverged,
}

/// Both networks, their optimisers, the images and the place in the training.
///
/// It stops only between iterations. What it computes depends on the plan, the images and the configuration alone: not on
/// how often it was stopped, saved and loaded. Noise, order of images and initial weights depend on the seed alone, so that
/// losses are compared on equal terms.
pub struct GanTrainer {
    pub(super) plan: GanPlan,
    pub(super) config: GanConfig,
    pub(super) criterion: Criterion,
    /// Real and generated images pass through the critic one after the other, not side by side.
    apart: bool,
    /// Real images, u8 `[n, c, h, w]`.
    pub(super) real: Tensor,
    pub(super) generator: Net,
    pub(super) critic: Net,
    /// The moving average of the generator, if asked for.
    pub(super) average: Option<Net>,
    pub(super) generator_optim: Optimizer,
    pub(super) critic_optim: Optimizer,
    /// Finished iterations.
    pub(super) step: u64,
    /// Noise, and the places between images for the gradient penalty.
    pub(super) noise: Generator,
    pub(super) mix: Generator,
    pub(super) order: Option<(u64, Tensor)>,
    /// Sums of the figures since the last reading, in 64 bits on the device.
    pub(super) sums: Tensor,
    /// Iterations at the last reading.
    pub(super) read: u64,
    pub(super) readings: Vec<GanReading>,
    pub(super) diverged: Option<u64>,
}

impl GanTrainer {
    /// A training at its start. `real` are images u8 `[n, c, h, w]` of the plan's shape, on the device to train on.
    ///
    /// # Errors
    /// [`TrainError::Data`] if there are fewer images than a batch has.
    pub fn new(plan: &GanPlan, config: GanConfig, real: Tensor) -> Result<GanTrainer> {
        let device = real.device();
        let (images, batch) = (real.size().first().copied().unwrap_or(0), i64::from(config.optim.batch));
        if images < batch {
            return Err(TrainError::Data(format!(
                "there are {images} training images, fewer than the {batch} of a batch; set optim.batch to {images} or less"
            )));
        }
        let build = |pieces, spectral, key| {
            Net::build(pieces, plan.init, spectral, derive(config.seed, "init", key, 0), device)
        };
        let generator = build(&plan.generator, false, 0)?;
        let critic = build(&plan.discriminator, plan.spectral, 1)?;
        // Equal to the generator at the start, since it is built from the same seed.
        let average = if config.settings.ema > 0.0 { Some(build(&plan.generator, false, 0)?) } else { None };
        Ok(GanTrainer {
            plan: plan.clone(),
            criterion: Criterion::of(&config.settings),
            apart: plan.judges_batches(),
            generator_optim: Optimizer::over(&config.optim, generator.named_parameters(), device)?,
            critic_optim: Optimizer::over(&config.optim, critic.named_parameters(), device)?,
            noise: Generator::new(derive(config.seed, "noise", 0, 0), device)?,
            mix: Generator::new(derive(config.seed, "mix", 0, 0), device)?,
            config,
            real,
            generator,
            critic,
            average,
            step: 0,
            order: None,
            sums: Tensor::f_zeros([FIGURES as i64], (Kind::Double, device))?,
            read: 0,
            readings: Vec::new(),
            diverged: None,
        })
    }

    /// Trains until `until` iterations are done, the deadline, or `tick` answers `true`; it is asked before every iteration.
    pub fn run(&mut self, until: u64, deadline: Option<Instant>, tick: &dyn Fn() -> bool) -> Result<GanEnd> {
        loop {
            if self.diverged.is_some() {
                return Ok(GanEnd::Diverged);
            }
            if self.step >= until {
                return Ok(GanEnd::Reached);
            }
            if tick() || deadline.is_some_and(|at| Instant::now() >= at) {
                return Ok(GanEnd::Stopped);
            }
            self.iterate()?;
        }
    }

    /// The critic's steps, then one of the generator.
    fn iterate(&mut self) -> Result<()> {
        let own = &self.config.settings;
        let done = self.step + 1;
        let telling = done.is_multiple_of(u64::from(own.report_every)) || done == u64::from(own.iterations);
        let prior = (own.pu && self.step >= u64::from(own.warmup)).then(|| own.prior_at(self.step));
        let factor = self.schedule().factor(self.step);
        let steps = u64::from(own.critic_steps);
        let (mut real, mut critic_norm) = (None, None);
        for k in 0..steps {
            let images = self.batch(self.step * steps + k)?;
            let (loss, figures) = self.judge(&images, prior)?;
            loss.f_backward()?;
            if telling && k + 1 == steps {
                critic_norm = Some(norm(&self.critic.named_parameters())?);
            }
            self.critic_optim.step(factor)?;
            self.sums = self.sums.f_add_(&figures)?;
            real = Some(images);
        }
        let noise = self.draw()?;
        let fake = self.generator.forward(&noise, Pass::Train)?;
        let logits = flat(&self.critic.forward(&fake, Pass::Through)?)?;
        let beside = match real.filter(|_| self.criterion.is_relativistic()) {
            Some(images) => Some(flat(&self.critic.forward(&images, Pass::Through)?)?),
            None => None,
        };
        let loss = self.criterion.generator(&logits, beside.as_ref())?;
        loss.f_backward()?;
        let generator_norm = if telling { Some(norm(&self.generator.named_parameters())?) } else { None };
        self.generator_optim.step(factor)?;
        let mut place = self.sums.f_narrow(0, FIGURES as i64 - 1, 1)?;
        let _added = place.f_add_(&loss.f_detach()?)?;
        if let Some(average) = &mut self.average {
            // Short averages first: long ones would drag the initial weights along.
            let decay = self.config.settings.ema.min((1 + self.step) as f64 / (10 + self.step) as f64);
            average.follow(&self.generator, decay)?;
        }
        self.step = done;
        if let (Some(critic_norm), Some(generator_norm)) = (critic_norm, generator_norm) {
            self.tell(prior, factor, [critic_norm, generator_norm])?;
        }
        Ok(())
    }

    /// The critic's loss on real images and as many generated ones, with the penalty, and the figures to add up.
    fn judge(&mut self, real: &Tensor, prior: Option<f64>) -> Result<(Tensor, Tensor)> {
        let noise = self.draw()?;
        let fake = {
            let _frozen = NoGrad::new();
            self.generator.forward(&noise, Pass::Train)?
        };
        let (on_real, on_fake) = if self.apart {
            // In one batch, normalisation would mix the statistics of both.
            (flat(&self.critic.forward(real, Pass::Train)?)?, flat(&self.critic.forward(&fake, Pass::Train)?)?)
        } else {
            let both = flat(&self.critic.forward(&Tensor::f_cat(&[real, &fake], 0)?, Pass::Train)?)?;
            let half = both.size1()? / 2;
            (both.f_narrow(0, 0, half)?, both.f_narrow(0, half, half)?)
        };
        let Risk { loss, a, b, c, neg } = self.criterion.critic(&on_real, &on_fake, prior)?;
        let weight = self.config.settings.penalty;
        let penalty = if self.config.settings.loss == GanLoss::Wasserstein && weight > 0.0 {
            let mut mix = Tensor::f_zeros([real.size4()?.0, 1, 1, 1], (Kind::Float, real.device()))?;
            self.mix.uniform_(&mut mix, 0.0, 1.0)?;
            let critic = |x: &Tensor| self.critic.forward(x, Pass::Again);
            Some(gradient_penalty(critic, real, &fake, &mix)?.f_mul_scalar(weight)?)
        } else {
            None
        };
        let whole = match &penalty {
            Some(penalty) => loss.f_add(penalty)?,
            None => loss.shallow_clone(),
        };
        let figures = {
            let _frozen = NoGrad::new();
            let mean = |x: Tensor| x.f_mean(None::<Kind>);
            let none = loss.f_zeros_like()?;
            Tensor::f_stack(
                &[
                    &loss,
                    &a,
                    &b,
                    &c,
                    &neg,
                    &neg.f_lt(0.0)?.f_to_kind(Kind::Float)?,
                    &mean(on_real.shallow_clone())?,
                    &mean(on_fake.shallow_clone())?,
                    &mean(on_real.f_sigmoid()?)?,
                    &mean(on_fake.f_sigmoid()?)?,
                    penalty.as_ref().unwrap_or(&none),
                    // The generator's, which comes later.
                    &none,
                ],
                0,
            )?
        };
        Ok((whole, figures))
    }

    /// A batch of noise for training.
    fn draw(&mut self) -> Result<Tensor> {
        let shape = [i64::from(self.config.optim.batch), i64::from(self.plan.latent)];
        let mut noise = Tensor::f_empty(shape, (Kind::Float, self.real.device()))?;
        self.noise.normal_(&mut noise, 0.0, 1.0)?;
        Ok(noise)
    }

    /// The `n`-th batch of real images, from -1 to 1: every epoch in another order, its last, smaller batch dropped.
    fn batch(&mut self, n: u64) -> Result<Tensor> {
        let (images, batch) = (self.images(), i64::from(self.config.optim.batch));
        let per_epoch = (images / batch).max(1).unsigned_abs();
        let (epoch, within) = (n / per_epoch, (n % per_epoch) as i64);
        let order = match self.order.take() {
            Some((of, order)) if of == epoch => order,
            _ => {
                // Drawn on the CPU, so that a GPU sees the same batches.
                let key = derive(self.config.seed, "shuffle", 0, epoch);
                Generator::new(key, Device::Cpu)?.randperm(images)?.f_to_device(self.real.device())?
            }
        };
        let index = order.f_narrow(0, within * batch, batch)?;
        let picked = scaled(&self.real.f_index_select(0, &index)?)?;
        self.order = Some((epoch, order));
        Ok(picked)
    }

    fn tell(&mut self, prior: Option<f64>, factor: f64, norms: [Tensor; 2]) -> Result<()> {
        let sums: Vec<f64> = Vec::try_from(self.sums.f_to_device(Device::Cpu)?)?;
        let over = self.step - self.read;
        let judged = (over * u64::from(self.config.settings.critic_steps)) as f64;
        let figure = |i: usize| sums.get(i).map_or(f64::NAN, |s| s / judged);
        let [critic_norm, generator_norm] = norms;
        let reading = GanReading {
            step: self.step,
            over,
            prior,
            critic: figure(0),
            a: figure(1),
            b: figure(2),
            c: figure(3),
            neg: figure(4),
            clipped: figure(5),
            logits: [figure(6), figure(7)],
            scores: [figure(8), figure(9)],
            penalty: figure(10),
            generator: sums.get(FIGURES - 1).map_or(f64::NAN, |s| s / over as f64),
            critic_norm: critic_norm.f_double_value(&[])?,
            generator_norm: generator_norm.f_double_value(&[])?,
            lr: self.critic_optim.lr() * factor,
        };
        self.sums = self.sums.f_zero_()?;
        self.read = self.step;
        if !reading.is_finite() {
            self.diverged = Some(self.step);
        }
        self.readings.push(reading);
        Ok(())
    }

    /// Epochs of the schedule are those of the images that the critic sees.
    fn schedule(&self) -> LrSchedule {
        let own = &self.config.settings;
        let per_epoch = self.images() as f64 / f64::from(self.config.optim.batch) / f64::from(own.critic_steps);
        LrSchedule::of(&self.config.optim, per_epoch, f64::from(own.iterations))
    }

    /// Noise for samples, `[n, latent]`: equal for equal seeds and purposes, whatever the device and the losses.
    pub fn noise_for(&self, purpose: &str, n: i64) -> Result<Tensor> {
        let mut noise = Tensor::f_zeros([n, i64::from(self.plan.latent)], (Kind::Float, Device::Cpu))?;
        Generator::new(derive(self.config.seed, purpose, 0, 0), Device::Cpu)?.normal_(&mut noise, 0.0, 1.0)?;
        Ok(noise.f_to_device(self.real.device())?)
    }

    /// Images of noise, u8 `[n, c, h, w]`, as files hold them: by the moving average of the generator, where there is one,
    /// and by running statistics, so that an image does not depend on those beside it.
    pub fn samples(&self, noise: &Tensor) -> Result<Tensor> {
        let _frozen = NoGrad::new();
        let images = self.sampler().forward(noise, Pass::Eval)?;
        Ok(images.f_add_scalar(1.0)?.f_mul_scalar(127.5)?.f_round()?.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Uint8)?)
    }

    /// The critic's logits `[n]` of images u8 `[n, c, h, w]`, by the statistics of these images.
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let _frozen = NoGrad::new();
        flat(&self.critic.forward(&scaled(images)?, Pass::Through)?)
    }

    /// The generator that samples are made with.
    pub fn sampler(&self) -> &Net {
        self.average.as_ref().unwrap_or(&self.generator)
    }

    /// The critic.
    pub fn critic(&self) -> &Net {
        &self.critic
    }

    /// Real images that there are.
    pub fn images(&self) -> i64 {
        self.real.size().first().copied().unwrap_or(0)
    }

    /// Finished iterations.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The iteration at which a loss was found to be no number.
    pub fn diverged(&self) -> Option<u64> {
        self.diverged
    }

    /// Takes the readings since the last call.
    pub fn take_readings(&mut self) -> Vec<GanReading> {
        std::mem::take(&mut self.readings)
    }

    /// Sets the learning rate of both from the next iteration on.
    pub fn set_lr(&mut self, lr: f64) {
        self.critic_optim.set_lr(lr);
        self.generator_optim.set_lr(lr);
    }
}

/// Bytes as the critic sees them: 0 becomes -1, 255 becomes 1.
fn scaled(images: &Tensor) -> Result<Tensor> {
    Ok(images.f_to_kind(Kind::Float)?.f_mul_scalar_(1.0 / 127.5)?.f_sub_scalar_(1.0)?)
}

/// Logits `[n, 1]` as `[n]`.
fn flat(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.f_flatten(0, -1)?)
}

/// The common norm of these parameters' gradients, on the device.
fn norm(parameters: &[(String, Tensor)]) -> Result<Tensor> {
    let tensors: Vec<Tensor> = parameters.iter().map(|(_, t)| t.shallow_clone()).collect();
    let grads: Vec<Tensor> = kiln_torch::grads(&tensors).into_iter().flatten().collect();
    Ok(kiln_torch::clip_grad_norm(&grads, NO_LIMIT)?)
}
