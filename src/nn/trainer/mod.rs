//! One candidate in training.
//!
//! - this file: the trainer and its loop
//! - `config`: what it is told, and what it tells
//! - `lane`: its intra-op threads, and its own queue on a card
//! - `saved`: its state as plain values and named tensors

mod config;
mod lane;
mod saved;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::time::{Duration, Instant};

use kiln_arch::spec::seed::derive;
use kiln_arch::{Plan, Shape};
use kiln_data::{DataSet, Split};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

pub use config::{Divergence, End, Epoch, Ran, Reading, TrainerConfig, Until, Validate};
pub use saved::{Saved, TrainerState};

use self::lane::{Lane, LaneGuard};
use crate::distort::Look;
use crate::error::{Result, TrainError};
use crate::loss::{self, Eval, cross_entropy};
use crate::network::{Layout, Network, copied};
use crate::optim::Optimizer;
use crate::schedule::LrSchedule;

/// Time between two looks at the loss. Each look waits for the device.
const READ_EVERY: Duration = Duration::from_millis(250);

/// A network, its optimiser, its data and its place in the training.
///
/// It stops only between steps. What it computes depends on the plan, the data and the configuration alone: not on how
/// often it was stopped, saved and loaded, nor on what trains beside it.
pub struct Trainer {
    plan: Plan,
    lane: Lane,
    config: TrainerConfig,
    data: DataSet,
    /// Numbers of the training images to use; all of them if `None`.
    subset: Option<Tensor>,
    /// How many those are.
    images: i64,
    /// Images a step.
    batch: i64,
    network: Network,
    optimizer: Optimizer,
    /// Finished steps.
    step: u64,
    order: Option<Order>,
    augment: Option<AugmentStream>,
    /// Sum of the losses of the running epoch's finished steps, on the device, in 64 bits.
    loss_sum: Tensor,
    /// What the last look at the loss saw: the step, and the sum.
    seen: (u64, f64),
    history: Vec<Epoch>,
    readings: Vec<Reading>,
    good: Good,
    diverged: Option<Divergence>,
}

/// The order of one epoch.
struct Order {
    epoch: u64,
    index: Tensor,
}

/// The random crops and flips of one epoch.
struct AugmentStream {
    epoch: u64,
    generator: Generator,
}

/// The state at the start of the running epoch: where a diverged training goes back to.
struct Good {
    step: u64,
    tensors: Vec<Tensor>,
}

impl Trainer {
    /// A trainer at its start. `subset` are numbers of training images (`i64 [n]`); `data` may share its tensors with
    /// other trainers, nothing writes to them.
    ///
    /// # Errors
    /// [`TrainError::Data`] if the images do not have the plan's shape or classes, or there are none.
    pub fn new(plan: &Plan, config: TrainerConfig, data: DataSet, subset: Option<Tensor>) -> Result<Trainer> {
        check(plan, &data)?;
        let device = data.train.images.device();
        let subset = subset.map(|s| s.f_to_kind(Kind::Int64).and_then(|s| s.f_to_device(device))).transpose()?;
        let images = match &subset {
            Some(subset) => subset.size1()?,
            None => data.train.labels.size1()?,
        };
        if images == 0 {
            return Err(TrainError::Data("there are no training images".into()));
        }
        let lane = Lane::new(device)?;
        let _lane = lane.enter(config.threads)?;
        let (network, optimizer) = build(plan, &config, device)?;
        let mut trainer = Trainer {
            plan: plan.clone(),
            lane,
            batch: i64::from(config.optim.batch.max(1)).min(images),
            config,
            data,
            subset,
            images,
            network,
            optimizer,
            step: 0,
            order: None,
            augment: None,
            loss_sum: Tensor::f_zeros([], (Kind::Double, device))?,
            seen: (0, 0.0),
            history: Vec::new(),
            readings: Vec::new(),
            good: Good { step: 0, tensors: Vec::new() },
            diverged: None,
        };
        trainer.keep_good()?;
        Ok(trainer)
    }

    /// Starts again from the first step with `batch` images a step, after the device ran out of memory.
    /// Initial weights and order of images are those of the first attempt.
    pub fn restart_with_batch(&mut self, batch: u32) -> Result<()> {
        let _lane = self.enter()?;
        let device = self.network.device();
        // What the failed step and its epoch held goes first; weights are small beside it.
        self.good.tensors.clear();
        self.optimizer.zero_grad()?;
        kiln_torch::empty_cache()?;
        let (network, optimizer) = build(&self.plan, &self.config, device)?;
        self.network = network;
        self.optimizer = optimizer;
        self.batch = i64::from(batch.max(1)).min(self.images);
        self.step = 0;
        self.order = None;
        self.augment = None;
        self.loss_sum = Tensor::f_zeros([], (Kind::Double, device))?;
        self.seen = (0, 0.0);
        self.history.clear();
        self.readings.clear();
        self.diverged = None;
        self.keep_good()
    }

    /// Trains until `until`, the planned end, or `tick` answers `true`, whichever comes first. `tick` is asked before
    /// every step (and every batch of an evaluation), so it should be cheap.
    ///
    /// # Errors
    /// [`TrainError::OutOfMemory`] names the batch; the trainer may be restarted with a smaller one.
    /// [`TrainError::Diverged`] if the loss or a weight is no longer a number: the trainer stands at the start of that
    /// epoch again, and every further call answers the same.
    pub fn run(&mut self, until: Until, tick: &dyn Fn() -> bool) -> Result<Ran> {
        if let Some(divergence) = &self.diverged {
            return Err(TrainError::Diverged(divergence.clone()));
        }
        let _lane = self.enter()?;
        let start = self.step;
        let mut look = Instant::now() + READ_EVERY;
        let end = loop {
            if self.epoch_is_open() && !self.close_epoch(tick)? {
                break End::Stopped;
            }
            if self.step >= self.total_steps() {
                break End::Finished;
            }
            let now = Instant::now();
            let reached = match until {
                Until::Steps(n) => self.step - start >= n,
                Until::Epochs(n) => self.step >= n.saturating_mul(self.steps_per_epoch()),
                Until::Deadline(at) => now >= at,
            };
            if reached {
                break End::Reached;
            }
            if tick() {
                break End::Stopped;
            }
            if now >= look {
                look = now + READ_EVERY;
                self.look()?;
            }
            self.train_step().map_err(|e| e.with_batch(self.batch))?;
        };
        Ok(Ran { steps: self.step - start, end })
    }

    fn enter(&self) -> Result<LaneGuard> {
        self.lane.enter(self.config.threads)
    }

    fn train_step(&mut self) -> Result<()> {
        let per_epoch = self.steps_per_epoch();
        let (epoch, within) = (self.step / per_epoch, (self.step % per_epoch) as i64);
        if within == 0 && self.good.step != self.step {
            self.keep_good()?;
        }
        let batch = self.batch;
        let index = self.order(epoch)?.f_narrow(0, within * batch, batch)?;
        let (images, labels) = match &self.config.augment {
            None => kiln_data::batch(&self.data, &self.data.train, &index, None)?,
            Some(augment) => {
                let key = (self.config.seed, self.config.candidate);
                let stream = augment_stream(&mut self.augment, key, epoch, self.network.device())?;
                kiln_data::batch(&self.data, &self.data.train, &index, Some((augment, &mut stream.generator)))?
            }
        };
        let logits = self.network.forward_distorted(&images, self.distortion(), self.distortion_key("distort"))?;
        let loss = cross_entropy(&logits, &labels, self.config.optim.label_smoothing)?;
        loss.f_backward()?;
        self.optimizer.step(self.schedule().factor(self.step))?;
        self.loss_sum = self.loss_sum.f_add_(&loss.f_detach()?)?;
        self.step += 1;
        Ok(())
    }

    /// The order of `epoch`, drawn once an epoch. Keyed, so a resumed training draws the same one again.
    fn order(&mut self, epoch: u64) -> Result<&Tensor> {
        let index = match self.order.take() {
            Some(order) if order.epoch == epoch => order.index,
            _ => {
                let key = derive(self.config.seed, "shuffle", self.config.order, epoch);
                // Drawn on the CPU, so that a GPU sees the same batches.
                let places =
                    Generator::new(key, Device::Cpu)?.randperm(self.images)?.f_to_device(self.network.device())?;
                match &self.subset {
                    Some(subset) => subset.f_index_select(0, &places)?,
                    None => places,
                }
            }
        };
        Ok(&self.order.insert(Order { epoch, index }).index)
    }

    /// Are all steps of an epoch done that is not yet in the history?
    fn epoch_is_open(&self) -> bool {
        self.step / self.steps_per_epoch() > self.history.len() as u64
            && self.step.is_multiple_of(self.steps_per_epoch())
    }

    /// Enters a finished epoch into the history. `false` if `tick` stopped its evaluation; it is then done anew.
    fn close_epoch(&mut self, tick: &dyn Fn() -> bool) -> Result<bool> {
        let sum = self.look()?;
        let last = self.step >= self.total_steps();
        self.check_weights()?;
        let valid = match self.config.validate {
            Validate::EachEpoch => true,
            Validate::AtEnd => last,
            Validate::Never => false,
        };
        let valid = if valid && !self.data.valid.is_empty() {
            match loss::evaluate(&self.network, &self.data, &self.data.valid, tick)? {
                Some(eval) => Some(eval),
                None => return Ok(false),
            }
        } else {
            None
        };
        let epoch = self.step / self.steps_per_epoch();
        let steps = self.steps_per_epoch() as f64;
        let clipped = self.optimizer.cuts().map(|cuts| cuts.f_double_value(&[])).transpose()?.map(|cuts| cuts / steps);
        self.history.push(Epoch { epoch, loss: sum / steps, clipped, valid });
        self.optimizer.set_cuts(None);
        self.loss_sum = self.loss_sum.f_zero_()?;
        self.seen = (self.step, 0.0);
        Ok(true)
    }

    /// Reads the sum of losses, notes a reading, and notices divergence.
    fn look(&mut self) -> Result<f64> {
        let sum = self.loss_sum.f_double_value(&[])?;
        if !sum.is_finite() {
            return Err(self.roll_back()?);
        }
        let (step, before) = self.seen;
        if self.step > step {
            let loss = (sum - before) / (self.step - step) as f64;
            let lr = self.optimizer.lr() * self.schedule().factor(self.step - 1);
            self.readings.push(Reading { epochs: self.position(), loss, lr });
            self.seen = (self.step, sum);
        }
        Ok(sum)
    }

    /// The last step of an epoch may break the weights without showing in any loss.
    fn check_weights(&mut self) -> Result<()> {
        let _frozen = NoGrad::new();
        let mut total = Tensor::f_zeros([], (Kind::Double, self.network.device()))?;
        for tensor in self.network.trainable() {
            total = total.f_add_(&tensor.f_sum(Kind::Double)?)?;
        }
        if total.f_double_value(&[])?.is_finite() { Ok(()) } else { Err(self.roll_back()?) }
    }

    /// Goes back to the start of the epoch and gives the error that says so.
    fn roll_back(&mut self) -> Result<TrainError> {
        let divergence = Divergence {
            epoch: self.step.saturating_sub(1) / self.steps_per_epoch() + 1,
            noticed: self.step,
            good: self.good.step,
        };
        let _frozen = NoGrad::new();
        for (mut own, kept) in self.living().into_iter().zip(&self.good.tensors) {
            own.f_copy_(kept)?;
        }
        self.step = self.good.step;
        self.order = None;
        self.augment = None;
        self.optimizer.set_cuts(None);
        self.loss_sum = self.loss_sum.f_zero_()?;
        self.seen = (self.step, 0.0);
        self.diverged = Some(divergence.clone());
        Ok(TrainError::Diverged(divergence))
    }

    /// Keeps a copy of the present state as the last good one.
    fn keep_good(&mut self) -> Result<()> {
        let _frozen = NoGrad::new();
        let living = self.living();
        if self.good.tensors.len() == living.len() {
            for (kept, own) in self.good.tensors.iter_mut().zip(&living) {
                kept.f_copy_(own)?;
            }
        } else {
            self.good.tensors = living.iter().map(copied).collect::<Result<_>>()?;
        }
        self.good.step = self.step;
        Ok(())
    }

    /// Everything that a step changes, always in the same order.
    fn living(&self) -> Vec<Tensor> {
        let network = self.network.named_tensors();
        network.into_iter().chain(self.optimizer.named_tensors()).map(|(_, tensor)| tensor).collect()
    }

    fn schedule(&self) -> LrSchedule {
        LrSchedule::of(&self.config.optim, self.steps_per_epoch() as f64, self.total_steps() as f64)
    }

    /// Loss and accuracy on a split of any size. `None` if `tick` stopped it.
    pub fn evaluate(&self, split: &Split, tick: &dyn Fn() -> bool) -> Result<Option<Eval>> {
        let _lane = self.enter()?;
        loss::evaluate(&self.network, &self.data, split, tick)
    }

    /// Logits, and the outputs of the searched slots, for the training images of these numbers, without augmentation:
    /// see [`Network::forward_probe`].
    pub fn probe(&self, index: &Tensor) -> Result<(Tensor, Vec<(usize, Tensor)>)> {
        let _lane = self.enter()?;
        let (images, _) = kiln_data::batch(&self.data, &self.data.train, index, None)?;
        self.network.forward_probe(&images)
    }

    /// Recomputes the running statistics of batch normalisation from `batches` random batches of the training images.
    pub fn recalibrate(&mut self, batches: usize) -> Result<()> {
        let _lane = self.enter()?;
        let key = derive(self.config.seed, "recalibrate", self.config.candidate, 0);
        let device = self.network.device();
        let places = Generator::new(key, Device::Cpu)?.randperm(self.images)?.f_to_device(device)?;
        let index = match &self.subset {
            Some(subset) => subset.f_index_select(0, &places)?,
            None => places,
        };
        let whole = (self.images / self.batch) as usize;
        let batches = (0..batches.min(whole))
            .map(|i| Ok(index.f_narrow(0, i as i64 * self.batch, self.batch)?))
            .collect::<Result<Vec<_>>>()?;
        loss::recalibrate_bn(&self.network, &self.data, &self.data.train, &batches)
    }

    /// The probability with which the regulariser distorts in the next step.
    pub fn distortion(&self) -> f64 {
        self.config.regulariser.probability(self.step, self.total_steps())
    }

    /// Key of the random numbers that the next step distorts with. They depend on no step before it.
    fn distortion_key(&self, purpose: &str) -> u64 {
        derive(self.config.seed, purpose, self.config.candidate, self.step)
    }

    /// Figures and pictures of one distorted pass over the first batch of the training images, without augmentation, at the
    /// present probability (see [`Network::look`]). Changes nothing.
    pub fn inspect(&self) -> Result<Vec<Look>> {
        let _lane = self.enter()?;
        let batch = self.training_part(self.batch)?;
        let (images, _) = kiln_data::range(&self.data, &batch, 0, self.batch)?;
        Ok(self.network.look(&images, self.distortion(), self.distortion_key("look"))?.1)
    }

    /// The first `images` of the training images.
    pub fn training_part(&self, images: i64) -> Result<Split> {
        let images = images.clamp(1, self.images);
        let train = &self.data.train;
        Ok(match &self.subset {
            None => {
                Split { images: train.images.f_narrow(0, 0, images)?, labels: train.labels.f_narrow(0, 0, images)? }
            }
            Some(subset) => {
                let rows = subset.f_narrow(0, 0, images)?;
                Split { images: train.images.f_index_select(0, &rows)?, labels: train.labels.f_index_select(0, &rows)? }
            }
        })
    }

    /// Loss and accuracy on a split with the activations distorted as in training, by statistics of the batches, at the
    /// present probability. `None` if `tick` stopped it.
    pub fn evaluate_distorted(&self, split: &Split, tick: &dyn Fn() -> bool) -> Result<Option<Eval>> {
        let _lane = self.enter()?;
        let (p, key, batch) = (self.distortion(), self.distortion_key("evaluate"), Cell::new(0));
        let logits = |images: &Tensor| {
            batch.set(batch.get() + 1);
            self.network.distorted(images, p, derive(key, "batch", batch.get(), 0))
        };
        loss::evaluate_by(&logits, &self.data, split, tick)
    }

    /// The network as it stands.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The data that it trains on.
    pub fn data(&self) -> &DataSet {
        &self.data
    }

    /// What it was told.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// Images a step.
    pub fn batch(&self) -> u32 {
        self.batch.try_into().unwrap_or(u32::MAX)
    }

    /// Finished steps.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Steps of an epoch; the last, smaller batch is dropped.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.images / self.batch).max(1).unsigned_abs()
    }

    /// Steps of the whole training.
    pub fn total_steps(&self) -> u64 {
        u64::from(self.config.epochs) * self.steps_per_epoch()
    }

    /// Epochs done, with their fraction.
    pub fn position(&self) -> f64 {
        self.step as f64 / self.steps_per_epoch() as f64
    }

    /// Is the planned training done, its last evaluation included?
    pub fn finished(&self) -> bool {
        self.step >= self.total_steps() && !self.epoch_is_open()
    }

    /// Is there nothing left to do: is it finished, or did it diverge?
    pub fn ended(&self) -> bool {
        self.finished() || self.diverged.is_some()
    }

    /// Why and where the training came to nothing; the network then stands at the last good state.
    pub fn diverged(&self) -> Option<&Divergence> {
        self.diverged.as_ref()
    }

    /// Finished epochs.
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// Takes the looks at the training loss since the last call. When they were taken depends on the clock.
    pub fn take_readings(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.readings)
    }

    /// Sets the initial learning rate from the next step on.
    pub fn set_lr(&mut self, lr: f64) {
        self.optimizer.set_lr(lr);
    }

    /// Sets the weight decay from the next step on.
    pub fn set_weight_decay(&mut self, weight_decay: f64) {
        self.optimizer.set_weight_decay(weight_decay);
    }

    /// Sets the largest norm of the gradient from the next step on; 0 for no clipping.
    pub fn set_grad_clip(&mut self, clip: f64) {
        self.optimizer.set_grad_clip(clip);
    }

    /// Sets the probability that the regulariser reaches at the end of its ramp, from the next step on. A network that was built
    /// without a regulariser stays without.
    pub fn set_distortion(&mut self, p: f64) {
        self.config.regulariser.p = p;
    }

    /// Sets the planned epochs, at least those already begun. The schedule follows from the next step on.
    pub fn set_epochs(&mut self, epochs: u32) {
        let begun = self.step.div_ceil(self.steps_per_epoch());
        self.config.epochs = epochs.max(begun.try_into().unwrap_or(u32::MAX));
    }
}

fn build(plan: &Plan, config: &TrainerConfig, device: Device) -> Result<(Network, Optimizer)> {
    let layout = if config.channels_last { Layout::ChannelsLast } else { Layout::Plain };
    let seed = derive(config.seed, "init", config.candidate, 0);
    let network =
        Network::build_regularised(plan, &config.regulariser, seed, device)?.configured(layout, config.precision)?;
    let optimizer = Optimizer::new(&config.optim, &network)?;
    Ok((network, optimizer))
}

/// The stream of `epoch`: the one at hand if it is of that epoch, else a new one.
fn augment_stream(
    held: &mut Option<AugmentStream>,
    (seed, candidate): (u64, u64),
    epoch: u64,
    device: Device,
) -> Result<&mut AugmentStream> {
    let stream = match held.take() {
        Some(stream) if stream.epoch == epoch => stream,
        _ => AugmentStream { epoch, generator: Generator::new(derive(seed, "augment", candidate, epoch), device)? },
    };
    Ok(held.insert(stream))
}

fn check(plan: &Plan, data: &DataSet) -> Result<()> {
    let [c, h, w] = data.shape;
    let fits = match plan.input {
        Shape::Flat(n) => i64::from(n) == c * h * w,
        Shape::Image(pc, ph, pw) => [i64::from(pc), i64::from(ph), i64::from(pw)] == data.shape,
    };
    if !fits {
        return Err(TrainError::Data(format!(
            "the network takes {} but the images have {c} channels of {h}x{w}",
            plan.input
        )));
    }
    if data.classes.len() != plan.classes as usize {
        return Err(TrainError::Data(format!(
            "the network tells {} classes apart but the data has {}",
            plan.classes,
            data.classes.len()
        )));
    }
    Ok(())
}
