//! One training of a network: plain, led by a teacher, or a squeeze with importances.
//!
//! Like [`crate::Trainer`] it stops only between steps, and what it computes depends on its configuration and data alone.
//! Every random draw is keyed by epoch or step, so that a saved training needs no generators.

use std::time::Instant;

use kiln_arch::quantised::Blueprint;
use kiln_arch::spec::seed::derive;
use kiln_arch::spec::{OptimKind, OptimSettings, Projection, Schedule, SignGradient};
use kiln_data::{Augment, DataSet, Split};
use kiln_torch::{Generator, NoGrad};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::guide;
use super::measure::{self, LayerFigures};
use super::network::{Pass, QuantNetwork};
use crate::error::{Result, TrainError};
use crate::loss::{Eval, cross_entropy, evaluate_by};
use crate::network::overwrite;
use crate::optim::Optimizer;
use crate::schedule::LrSchedule;

/// Importances below this count as none in figures.
pub const FAINT: f64 = 0.05;

/// Share of all importances that should be faint at the end, if the penalty is turned by itself.
const FAINT_AT_END: f64 = 0.5;

/// How much a look turns the penalty, and looks an epoch: each waits for the device.
const TURN: f64 = 1.05;
const LOOKS: u64 = 16;

/// What a step takes from an importance at most: the mean of their squares is 1.
const MOST: f64 = 0.1;

/// A teacher, and how it leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guide {
    pub projection: Projection,
    /// Weight of the projection.
    pub beta: f64,
    /// Weight of the divergence of predictions, and its temperature.
    pub mu: f64,
    pub temperature: f64,
}

impl Guide {
    /// Whether the teacher's word counts at all.
    pub fn is_silent(&self) -> bool {
        (self.beta == 0.0 || self.projection == Projection::None) && self.mu == 0.0
    }
}

/// A squeeze: importances behind every group, with a penalty.
#[derive(Clone, Debug, PartialEq)]
pub struct Squeeze {
    pub lr: f64,
    /// Strength of the penalty; 0 turns it by itself.
    pub lambda: f64,
    /// What one channel of each group costs, as a share of the whole network's cost.
    pub kappa: Vec<f64>,
}

/// Everything about one training but the network and the data.
#[derive(Clone, Debug)]
pub struct QuantConfig {
    /// Optimiser of all trainable numbers; latent weights get no weight decay.
    pub optim: OptimSettings,
    /// How gradients pass the sign of a feature.
    pub gradient: SignGradient,
    /// Intra-op threads.
    pub threads: u32,
    /// Seed of the run.
    pub seed: u64,
    /// Key of initial weights and augmentation.
    pub part: u64,
    pub epochs: u32,
    pub augment: Option<Augment>,
    pub guide: Option<Guide>,
    pub squeeze: Option<Squeeze>,
}

/// Adam as the quantised networks are trained by it, on top of what a preset says for all.
pub fn adam(base: &OptimSettings, lr: f64, schedule: Schedule) -> OptimSettings {
    OptimSettings { kind: OptimKind::Adamw, lr, momentum: 0.9, nesterov: false, beta2: 0.999, schedule, ..base.clone() }
}

/// What leads: a trained network in 32 bits.
pub struct Teacher(pub QuantNetwork);

/// A finished epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantEpoch {
    /// Epochs done, this one included.
    pub epoch: u32,
    /// Mean loss over its steps, terms of the teacher included.
    pub loss: f64,
    pub valid: Eval,
    /// The projection's term by feature, without its weight, at the last step; empty without a teacher.
    pub projection: Vec<f64>,
    /// Share of latent weights whose sign the last step changed, by unit; empty in 32 bits.
    pub flips: Vec<f64>,
    /// Share of importances that are faint, and their mean, by group; empty outside of squeezes.
    pub importances: Vec<[f64; 2]>,
    /// Strength of the penalty; 0 outside of squeezes.
    pub lambda: f64,
}

/// The plain part of a saved training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantState {
    pub step: u64,
    pub batch: i64,
    pub lambda: f64,
    pub history: Vec<QuantEpoch>,
    /// What the last step of an epoch left that is not closed yet: projection and flips.
    pub last: [Vec<f64>; 2],
}

/// A training under way.
pub struct QuantTrainer {
    config: QuantConfig,
    data: DataSet,
    network: QuantNetwork,
    teacher: Option<QuantNetwork>,
    /// Matrices of the explicit projection, one a feature.
    projections: Vec<Tensor>,
    /// One `[channels]` a group, in a squeeze.
    importances: Vec<Tensor>,
    /// Sums of the importances over the steps: which of the vanished ones vanished last.
    areas: Vec<Tensor>,
    latents: Option<Optimizer>,
    others: Optimizer,
    squeezer: Option<Optimizer>,
    batch: i64,
    step: u64,
    lambda: f64,
    order: Option<(u64, Tensor)>,
    loss_sum: Tensor,
    history: Vec<QuantEpoch>,
    /// Of the epoch's last step.
    last: Last,
}

#[derive(Default)]
struct Last {
    projection: Vec<f64>,
    flips: Vec<f64>,
}

impl QuantTrainer {
    /// A training at its start: of new weights, or of `start` (which may also hold the `guide.N` of an explicit projection).
    ///
    /// # Errors
    /// Data of another shape, tensors that do not fit.
    pub fn new(
        blueprint: &Blueprint,
        config: QuantConfig,
        data: DataSet,
        start: Option<&[(String, Tensor)]>,
        teacher: Option<Teacher>,
    ) -> Result<QuantTrainer> {
        let device = data.train.images.device();
        kiln_torch::set_threads(config.threads.try_into().unwrap_or(i32::MAX));
        if blueprint.input.map(i64::from) != data.shape || blueprint.classes as usize != data.classes.len() {
            return Err(TrainError::Data(format!(
                "the network takes images of {:?} in {} classes, but the data have {:?} in {}",
                blueprint.input,
                blueprint.classes,
                data.shape,
                data.classes.len()
            )));
        }
        let images = data.train.len();
        if images == 0 {
            return Err(TrainError::Data("there are no training images".into()));
        }
        let mut network =
            QuantNetwork::new(blueprint, config.gradient, derive(config.seed, "init", config.part, 0), device)?;
        if let Some(start) = start {
            network.load(start)?;
        }
        let guide = config.guide.filter(|guide| !guide.is_silent());
        let teacher = teacher.filter(|_| guide.is_some()).map(|teacher| teacher.0);
        let mut projections = Vec::new();
        if let (Some(teacher), Some(Guide { projection: Projection::Explicit, .. })) = (&teacher, guide) {
            for (i, group) in blueprint.feature_groups().into_iter().enumerate() {
                let held = start.and_then(|s| s.iter().find(|(name, _)| *name == format!("guide.{i}")));
                let (c, d) = (i64::from(teacher.blueprint().widths[group]), i64::from(blueprint.widths[group]));
                let matrix = match held {
                    Some((_, matrix)) => matrix.f_detach_copy()?,
                    None => guide::projection(c, d, derive(config.seed, "projection", config.part, i as u64))?,
                };
                projections.push(matrix.f_to_device(device)?.f_detach()?.f_set_requires_grad(true)?);
            }
        }
        let (mut importances, mut areas) = (Vec::new(), Vec::new());
        if config.squeeze.is_some() {
            for &width in &blueprint.widths {
                let ones = Tensor::f_ones([i64::from(width)], (Kind::Float, device))?;
                areas.push(ones.f_zeros_like()?);
                importances.push(ones.f_set_requires_grad(true)?);
            }
        }
        let latent = network.trainable(true);
        let plain = OptimSettings { weight_decay: 0.0, ..config.optim.clone() };
        let latents = match latent.is_empty() {
            true => None,
            false => Some(Optimizer::over(&plain, latent, device)?),
        };
        let guides = projections.iter().enumerate().map(|(i, p)| (format!("guide.{i}"), p.shallow_clone()));
        let others =
            Optimizer::over(&config.optim, network.trainable(false).into_iter().chain(guides).collect(), device)?;
        let squeezer = match &config.squeeze {
            None => None,
            Some(squeeze) => {
                let how = OptimSettings { grad_clip: 0.0, ..adam(&plain, squeeze.lr, Schedule::Constant) };
                let named = importances.iter().enumerate().map(|(g, s)| (format!("importance.{g}"), s.shallow_clone()));
                Some(Optimizer::over(&how, named.collect(), device)?)
            }
        };
        let lambda = match &config.squeeze {
            None => 0.0,
            // What takes one from each in all, to begin with.
            Some(s) if s.lambda == 0.0 => {
                let channels: f64 = blueprint.widths.iter().map(|w| f64::from(*w)).sum();
                let costs = s.kappa.iter().zip(&blueprint.widths).map(|(kappa, w)| kappa * f64::from(*w));
                let mean = (costs.sum::<f64>() / channels).max(f64::MIN_POSITIVE);
                let steps = (images / i64::from(config.optim.batch.max(1))).max(1) as f64 * f64::from(config.epochs);
                1.0 / (steps * s.lr * mean)
            }
            Some(s) => s.lambda,
        };
        Ok(QuantTrainer {
            batch: i64::from(config.optim.batch.max(1)).min(images),
            network,
            teacher,
            projections,
            importances,
            areas,
            latents,
            others,
            squeezer,
            step: 0,
            lambda,
            order: None,
            loss_sum: Tensor::f_zeros([], (Kind::Double, device))?,
            history: Vec::new(),
            last: Last::default(),
            config,
            data,
        })
    }

    /// Trains until the deadline, the end, or until `stop` says so.
    ///
    /// # Errors
    /// [`TrainError::OutOfMemory`], naming the batch; [`TrainError::Diverged`] if the loss is no number any more: the training
    /// is over then.
    pub fn run(&mut self, deadline: Instant, stop: &dyn Fn() -> bool) -> Result<()> {
        kiln_torch::set_threads(self.config.threads.try_into().unwrap_or(i32::MAX));
        while !self.finished() && !stop() {
            if self.epoch_is_open() {
                if !self.close_epoch(stop)? {
                    return Ok(());
                }
                continue;
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
            self.train_step().map_err(|e| e.with_batch(self.batch))?;
        }
        Ok(())
    }

    fn train_step(&mut self) -> Result<()> {
        let per_epoch = self.steps_per_epoch();
        let (epoch, within) = (self.step / per_epoch, (self.step % per_epoch) as i64);
        let last = self.step % per_epoch + 1 == per_epoch;
        let batch = self.batch;
        let index = self.order(epoch)?.f_narrow(0, within * batch, batch)?;
        let mut draws = None;
        if let Some(augment) = &self.config.augment {
            let key = derive(self.config.seed, "augment", self.config.part, self.step);
            draws = Some((augment, Generator::new(key, self.network.device())?));
        }
        let augment = draws.as_mut().map(|(augment, generator)| (&**augment, generator));
        let (images, labels) = kiln_data::batch(&self.data, &self.data.train, &index, augment)?;
        let importances = (!self.importances.is_empty()).then_some(self.importances.as_slice());
        let seen = self.network.forward(&images, Pass::Train, importances)?;
        let mut loss = cross_entropy(&seen.logits, &labels, self.config.optim.label_smoothing)?;
        if let (Some(teacher), Some(guide)) = (&self.teacher, self.config.guide) {
            let taught = {
                let _frozen = NoGrad::new();
                teacher.forward(&images, Pass::Eval, None)?
            };
            let terms = self.projected(&taught.features, &seen.features, guide.projection)?;
            if let Some(sum) = total(&terms)? {
                loss = loss.f_add(&sum.f_mul_scalar(guide.beta)?)?;
            }
            if guide.mu > 0.0 {
                let apart = guide::divergence(&taught.logits, &seen.logits, guide.temperature)?;
                loss = loss.f_add(&apart.f_mul_scalar(guide.mu)?)?;
            }
            if last {
                // What is no number ends the training a moment later; a saved state could not hold it.
                let value = |t: &Tensor| Ok(Some(t.f_double_value(&[])?).filter(|v| v.is_finite()).unwrap_or_default());
                self.last.projection = terms.iter().map(value).collect::<Result<_>>()?;
            }
        }
        loss.f_backward()?;
        let signs = if last { measure::latent_signs(&self.network)? } else { Vec::new() };
        let factor = self.schedule().factor(self.step);
        if let Some(latents) = &mut self.latents {
            latents.step(factor)?;
            self.network.clamp_latents()?;
        }
        self.others.step(factor)?;
        for matrix in &mut self.projections {
            guide::orthonormalise(matrix)?;
        }
        self.shrink()?;
        if last {
            self.last.flips = measure::flips(&self.network, &signs)?;
        }
        self.loss_sum = self.loss_sum.f_add_(&loss.f_detach()?)?;
        self.step += 1;
        Ok(())
    }

    /// The projection's terms, one a feature.
    fn projected(&self, teacher: &[Tensor], student: &[Tensor], projection: Projection) -> Result<Vec<Tensor>> {
        let pairs = teacher.iter().zip(student);
        match projection {
            Projection::None => Ok(Vec::new()),
            Projection::Relational => pairs.map(|(f, b)| guide::relational(f, b)).collect(),
            Projection::Explicit => pairs.zip(&self.projections).map(|((f, b), p)| guide::explicit(p, f, b)).collect(),
        }
    }

    /// A step of the importances: Adam by the gradient of the loss, the proximal step of the penalty, and back to a mean
    /// square of 1 in each group. Without the last, all of a group shrink together and tell nothing: what reads them is
    /// normalised, so the loss does not see their common scale.
    fn shrink(&mut self) -> Result<()> {
        let (Some(squeeze), Some(squeezer)) = (&self.config.squeeze, &mut self.squeezer) else { return Ok(()) };
        squeezer.step(1.0)?;
        for (s, kappa) in self.importances.iter_mut().zip(&squeeze.kappa) {
            guide::shrink(s, (squeeze.lr * self.lambda * kappa).min(MOST))?;
            guide::rescale(s)?;
        }
        let _frozen = NoGrad::new();
        for (area, s) in self.areas.iter_mut().zip(&self.importances) {
            let _ = area.f_add_(s)?;
        }
        let every = (self.steps_per_epoch() / LOOKS).max(1);
        if squeeze.lambda == 0.0 && (self.step + 1).is_multiple_of(every) {
            let [faint, _] = measure::faint(&Tensor::f_cat(&self.importances, 0)?)?;
            let done = (self.step + 1) as f64 / self.total_steps().max(1) as f64;
            self.lambda = if faint < FAINT_AT_END * done { self.lambda * TURN } else { self.lambda / TURN };
        }
        Ok(())
    }

    fn order(&mut self, epoch: u64) -> Result<&Tensor> {
        let index = match self.order.take() {
            Some((of, index)) if of == epoch => index,
            _ => {
                // The same for all parts of a run.
                let key = derive(self.config.seed, "shuffle", 0, epoch);
                let places = Generator::new(key, Device::Cpu)?.randperm(self.data.train.len())?;
                places.f_to_device(self.network.device())?
            }
        };
        Ok(&self.order.insert((epoch, index)).1)
    }

    fn epoch_is_open(&self) -> bool {
        self.step / self.steps_per_epoch() > self.history.len() as u64
            && self.step.is_multiple_of(self.steps_per_epoch())
    }

    fn close_epoch(&mut self, stop: &dyn Fn() -> bool) -> Result<bool> {
        let loss = self.loss_sum.f_double_value(&[])? / self.steps_per_epoch() as f64;
        if !loss.is_finite() || !self.weights_are_finite()? {
            let good = self.history.len() as u64 * self.steps_per_epoch();
            let epoch = self.history.len() as u64 + 1;
            return Err(TrainError::Diverged(crate::trainer::Divergence { epoch, noticed: self.step, good }));
        }
        let Some(valid) = self.evaluate(&self.data.valid, Pass::Eval, stop)? else { return Ok(false) };
        let importances = self.importances.iter().map(measure::faint).collect::<Result<_>>()?;
        let last = std::mem::take(&mut self.last);
        self.history.push(QuantEpoch {
            epoch: self.history.len() as u32 + 1,
            loss,
            valid,
            projection: last.projection,
            flips: last.flips,
            importances,
            lambda: self.lambda,
        });
        self.loss_sum = self.loss_sum.f_zero_()?;
        Ok(true)
    }

    fn weights_are_finite(&self) -> Result<bool> {
        let _frozen = NoGrad::new();
        let mut sum = Tensor::f_zeros([], (Kind::Double, self.network.device()))?;
        for (_, tensor) in self.network.named_tensors() {
            sum = sum.f_add_(&tensor.f_sum(Kind::Double)?)?;
        }
        Ok(sum.f_double_value(&[])?.is_finite())
    }

    /// Loss and accuracy on a split. `None` if `stop` said so.
    pub fn evaluate(&self, split: &Split, pass: Pass, stop: &dyn Fn() -> bool) -> Result<Option<Eval>> {
        let importances = (!self.importances.is_empty()).then_some(self.importances.as_slice());
        evaluate_by(&|x| Ok(self.network.forward(x, pass, importances)?.logits), &self.data, split, stop)
    }

    /// What a look at the layers shows, on some validation images.
    pub fn figures(&self) -> Result<Vec<LayerFigures>> {
        let importances = (!self.importances.is_empty()).then_some(self.importances.as_slice());
        measure::layers(&self.network, &self.data, importances)
    }

    /// The importances by group, and their sums over the steps. Empty outside of squeezes.
    pub fn importances(&self) -> Result<Vec<Vec<[f64; 2]>>> {
        let pairs = self.importances.iter().zip(&self.areas);
        pairs
            .map(|(s, area)| {
                let (s, area) = (measure::numbers(s)?, measure::numbers(area)?);
                Ok(s.into_iter().zip(area).map(|(s, area)| [s, area]).collect())
            })
            .collect()
    }

    pub fn network(&self) -> &QuantNetwork {
        &self.network
    }

    pub fn data(&self) -> &DataSet {
        &self.data
    }

    /// Copies of the network's tensors, and of the matrices of an explicit projection (`guide.N`).
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let guides = self.projections.iter().enumerate().map(|(i, p)| (format!("guide.{i}"), p.detach()));
        let all = self.network.named_tensors().into_iter().chain(guides);
        all.map(|(name, tensor)| Ok((name, tensor.f_detach_copy()?))).collect()
    }

    pub fn history(&self) -> &[QuantEpoch] {
        &self.history
    }

    /// Epochs done, with their fraction.
    pub fn position(&self) -> f64 {
        self.step as f64 / self.steps_per_epoch() as f64
    }

    pub fn steps_per_epoch(&self) -> u64 {
        (self.data.train.len() / self.batch).max(1).unsigned_abs()
    }

    fn total_steps(&self) -> u64 {
        u64::from(self.config.epochs) * self.steps_per_epoch()
    }

    /// Learning rate of the next step.
    pub fn lr(&self) -> f64 {
        self.others.lr() * self.schedule().factor(self.step)
    }

    /// Images a step.
    pub fn batch(&self) -> i64 {
        self.batch
    }

    fn schedule(&self) -> LrSchedule {
        LrSchedule::of(&self.config.optim, self.steps_per_epoch() as f64, self.total_steps() as f64)
    }

    /// Is everything done, the last evaluation included?
    pub fn finished(&self) -> bool {
        self.step >= self.total_steps() && !self.epoch_is_open()
    }

    /// Plain values and copies of all tensors, complete enough to go on bit for bit.
    pub fn save(&self) -> Result<(QuantState, Vec<(String, Tensor)>)> {
        let tensors =
            self.living().into_iter().map(|(name, t)| Ok((name, t.f_detach_copy()?))).collect::<Result<_>>()?;
        let state = QuantState {
            step: self.step,
            batch: self.batch,
            lambda: self.lambda,
            history: self.history.clone(),
            last: [self.last.projection.clone(), self.last.flips.clone()],
        };
        Ok((state, tensors))
    }

    /// Takes over what [`QuantTrainer::save`] gave for the same training.
    ///
    /// # Errors
    /// [`TrainError::Saved`] if it is of another.
    pub fn load(&mut self, state: QuantState, tensors: &[(String, Tensor)]) -> Result<()> {
        let living = self.living();
        let saved = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        overwrite(living.iter().map(|(name, t)| (name.as_str(), t.shallow_clone())).collect(), &saved)?;
        self.step = state.step;
        self.batch = state.batch;
        self.lambda = state.lambda;
        self.history = state.history;
        let [projection, flips] = state.last;
        self.last = Last { projection, flips };
        self.order = None;
        Ok(())
    }

    /// Everything that a step changes.
    fn living(&self) -> Vec<(String, Tensor)> {
        let mut all: Vec<(String, Tensor)> =
            self.network.named_tensors().into_iter().map(|(name, t)| (format!("network.{name}"), t)).collect();
        for (what, optimizer) in
            [("latents", self.latents.as_ref()), ("others", Some(&self.others)), ("squeezer", self.squeezer.as_ref())]
        {
            let state = optimizer.map(Optimizer::named_tensors).unwrap_or_default();
            all.extend(state.into_iter().map(|(name, t)| (format!("{what}.{name}"), t)));
        }
        for (what, list) in [("guide", &self.projections), ("importance", &self.importances), ("area", &self.areas)] {
            all.extend(list.iter().enumerate().map(|(i, t)| (format!("{what}.{i}"), t.detach())));
        }
        all.push(("loss_sum".into(), self.loss_sum.shallow_clone()));
        all
    }
}

fn total(terms: &[Tensor]) -> Result<Option<Tensor>> {
    let Some((first, rest)) = terms.split_first() else { return Ok(None) };
    let mut sum = first.shallow_clone();
    for term in rest {
        sum = sum.f_add(term)?;
    }
    Ok(Some(sum))
}
