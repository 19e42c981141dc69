//! The search of a super-network: weight steps on one part of the training images, architecture steps on the other, in
//! turn (first order; HourNAS, arXiv:2005.14446; FBNet, arXiv:1812.03443).
//!
//! Which networks are drawn is the caller's business ([`Sampler`]). Since the choice decides what is executed, it is made on
//! the host, from logits that are read a round of some steps at a time: no step waits for the device.

use std::time::Instant;

use kiln_arch::spec::seed::derive;
use kiln_arch::spec::{OptimSettings, Precision};
use kiln_arch::{Chain, Shape};
use kiln_data::{Augment, DataSet, Split};
use kiln_torch::optim_kernels::{self, AdamW, AdamWState};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use super::{Pick, Supernet};
use crate::error::{Result, TrainError};
use crate::loss::{Eval, cross_entropy, evaluate_by};
use crate::network::Layout;
use crate::optim::Optimizer;
use crate::schedule::LrSchedule;

/// Steps of a round: how old the logits may be that a network is drawn from. Adam moves a logit by at most its rate of
/// 0.01 a step, so by then they are off by a tenth at most, where the noise has a standard deviation of 1.3.
const ROUND: u64 = 8;

/// Batches that batch normalisation is recalibrated with before a network is evaluated.
const RECALIBRATE: i64 = 20;

/// Decays of the moments of `alpha`'s Adam: a short memory of gradients, as TF-NAS has it (arXiv:2008.05314).
const ALPHA_BETAS: (f64, f64) = (0.5, 0.999);

/// What stays the same in all phases of a search.
#[derive(Clone, Debug)]
pub struct SearchConfig {
    /// Optimiser of the weights, batch, label smoothing, clipping.
    pub optim: OptimSettings,
    pub precision: Precision,
    pub channels_last: bool,
    /// Intra-op threads; the bits of the result depend on it.
    pub threads: u32,
    /// Seed of the run.
    pub seed: u64,
    /// Random crops and flips of the weights' images.
    pub augment: Option<Augment>,
    /// Share of the training images that the weights learn from; `alpha` learns from the others.
    pub split: f64,
    /// Learning rate of `alpha`'s Adam.
    pub alpha_lr: f64,
    /// Run the runner-up of every slot as well in architecture steps (see [`super`]).
    pub two_paths: bool,
}

/// One phase: a schedule of its own over the same weights and logits.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// Number of the phase: a key of its random streams.
    pub key: u64,
    pub epochs: u32,
    /// Epochs at its start in which only the weights learn.
    pub warm: f64,
    /// Temperature of the softmax at the start and at the end, exponential in between.
    pub tau: [f64; 2],
    /// By slot and choice: added to the architecture's loss is the mean of these under `softmax(alpha)`.
    pub penalty: Option<Vec<Vec<f64>>>,
}

/// A network that was drawn.
#[derive(Clone, Debug)]
pub struct Draw {
    pub path: Vec<Pick>,
    /// By slot and choice, added to `alpha` before the softmax: Gumbel noise, and a tilt by cost.
    pub noise: Vec<Vec<f32>>,
}

/// Draws networks.
pub trait Sampler {
    /// A network for logits `alpha`. `number` is different for each draw of a phase; equal numbers must give equal draws,
    /// so that a resumed search goes on as it would have.
    fn draw(&mut self, alpha: &[Vec<f32>], number: u64) -> Draw;
}

/// Why [`SearchTrainer::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// An epoch ended; it is the last of the history. The next call begins the next one.
    Epoch,
    /// The deadline came.
    Reached,
    /// `tick` asked to stop.
    Stopped,
    /// The phase is over.
    Done,
}

/// A finished epoch of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchEpoch {
    /// Epochs of the phase done, this one included.
    pub epoch: u64,
    /// Mean loss of the weight steps.
    pub train_loss: f64,
    /// Mean cross-entropy of the architecture steps; none while only the weights learn.
    pub arch_loss: Option<f64>,
}

/// A look at the losses, at the start of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Epochs of the phase done, with their fraction.
    pub epochs: f64,
    /// Mean loss of the weight steps since the look before.
    pub train_loss: f64,
    /// Mean cross-entropy of the architecture steps since then.
    pub arch_loss: Option<f64>,
    pub tau: f64,
}

pub(super) struct Round {
    /// Step at which it begins.
    pub start: u64,
    /// By step.
    pub weights: Vec<Vec<Pick>>,
    /// By step; empty where no architecture step is made.
    pub arch: Vec<Vec<Pick>>,
    /// By step and slot: the runner-up.
    pub rivals: Vec<Vec<usize>>,
    /// f32 `[steps, slots, width]`, of the architecture's draws.
    pub noise: Tensor,
    /// i64 `[steps, slots, 2]`: choice and rival, of the architecture's draws.
    pub index: Tensor,
}

pub(super) struct Adam {
    pub average: Tensor,
    pub square: Tensor,
    pub steps: Tensor,
}

/// A super-network in search.
pub struct SearchTrainer {
    pub(super) net: Supernet,
    pub(super) config: SearchConfig,
    data: DataSet,
    /// Numbers of the training images that the weights learn from, and of those that `alpha` learns from.
    parts: [Tensor; 2],
    pub(super) batch: i64,
    pub(super) optimizer: Optimizer,
    pub(super) adam: Adam,
    pub(super) phase: Phase,
    /// [`Phase::penalty`] as f32 `[slots, width]`.
    penalty: Option<Tensor>,
    /// Finished weight steps of the phase.
    pub(super) step: u64,
    /// Finished architecture steps of the phase.
    pub(super) arch_step: u64,
    /// Orders of the two parts, with their pass.
    orders: [Option<(u64, Tensor)>; 2],
    pub(super) augment: Option<(u64, Generator)>,
    pub(super) round: Option<Round>,
    /// Sums of both losses over the running epoch, f64 `[2]` on the device.
    pub(super) sums: Tensor,
    /// Steps and sums at the last look.
    pub(super) seen: (u64, u64, [f64; 2]),
    /// Architecture steps before the running epoch.
    pub(super) arch_before: u64,
    pub(super) history: Vec<SearchEpoch>,
    marks: Vec<Mark>,
}

impl SearchTrainer {
    /// A search at its start, without a phase: call [`SearchTrainer::begin`].
    ///
    /// # Errors
    /// [`TrainError::Data`] if a part of the training images would be empty.
    pub fn new(chain: &Chain, config: SearchConfig, data: DataSet) -> Result<SearchTrainer> {
        kiln_torch::set_threads(config.threads.try_into().unwrap_or(i32::MAX));
        let device = data.train.images.device();
        let images = data.train.len();
        let parts = split(config.seed, images, config.split, device)?;
        let [c, h, w] = data.shape.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let classes = u32::try_from(data.classes.len()).unwrap_or(u32::MAX);
        let seed = derive(config.seed, "supernet", 0, 0);
        let layout = if config.channels_last { Layout::ChannelsLast } else { Layout::Plain };
        let net =
            Supernet::new(chain, Shape::Image(c, h, w), classes, seed, device)?.configured(layout, config.precision)?;
        let optimizer = Optimizer::new(&config.optim, net.library())?;
        let adam = Adam {
            average: net.alpha().f_zeros_like()?.f_detach()?,
            square: net.alpha().f_zeros_like()?.f_detach()?,
            steps: Tensor::f_zeros([1], (Kind::Float, device))?,
        };
        Ok(SearchTrainer {
            batch: i64::from(config.optim.batch.max(1)).min(parts[0].size1()?),
            net,
            config,
            data,
            parts,
            optimizer,
            adam,
            phase: Phase::default(),
            penalty: None,
            step: 0,
            arch_step: 0,
            orders: [None, None],
            augment: None,
            round: None,
            sums: Tensor::f_zeros([2], (Kind::Double, device))?,
            seen: (0, 0, [0.0; 2]),
            arch_before: 0,
            history: Vec::new(),
            marks: Vec::new(),
        })
    }

    /// Begins a phase: weights and logits stay, schedule, temperature and `alpha`'s moments start anew.
    pub fn begin(&mut self, phase: Phase) -> Result<()> {
        self.set_phase(phase)?;
        self.step = 0;
        self.arch_step = 0;
        self.arch_before = 0;
        self.orders = [None, None];
        self.augment = None;
        self.round = None;
        self.seen = (0, 0, [0.0; 2]);
        self.history.clear();
        self.marks.clear();
        let _frozen = NoGrad::new();
        self.sums = self.sums.f_zero_()?;
        for moment in [&mut self.adam.average, &mut self.adam.square, &mut self.adam.steps] {
            *moment = moment.f_zero_()?;
        }
        Ok(())
    }

    pub(super) fn set_phase(&mut self, phase: Phase) -> Result<()> {
        let width = self.net.width();
        self.penalty = match &phase.penalty {
            None => None,
            Some(rows) => {
                let cell = |row: &Vec<f64>, o| row.get(o).copied().unwrap_or(0.0) as f32;
                let flat: Vec<f32> = rows.iter().flat_map(|row| (0..width).map(move |o| cell(row, o))).collect();
                let size = [rows.len() as i64, width as i64];
                Some(Tensor::f_from_slice(&flat)?.f_view(size)?.f_to_device(self.net.alpha().device())?)
            }
        };
        self.phase = phase;
        Ok(())
    }

    /// Searches until the epoch or the phase ends, the deadline comes, or `tick`, asked before every step, says to stop.
    ///
    /// # Errors
    /// [`TrainError::OutOfMemory`] names the batch. [`TrainError::Search`] if a loss or a logit is no longer a number.
    pub fn run(
        &mut self,
        deadline: Option<Instant>,
        sampler: &mut dyn Sampler,
        tick: &dyn Fn() -> bool,
    ) -> Result<Turn> {
        kiln_torch::set_threads(self.config.threads.try_into().unwrap_or(i32::MAX));
        loop {
            if self.step.is_multiple_of(self.steps_per_epoch())
                && self.step / self.steps_per_epoch() > self.history.len() as u64
            {
                self.close_epoch()?;
                return Ok(Turn::Epoch);
            }
            if self.step >= self.total_steps() {
                return Ok(Turn::Done);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                return Ok(Turn::Reached);
            }
            if tick() {
                return Ok(Turn::Stopped);
            }
            self.search_step(sampler).map_err(|e| e.with_batch(self.batch))?;
        }
    }

    fn search_step(&mut self, sampler: &mut dyn Sampler) -> Result<()> {
        let round = match self.round.take() {
            Some(round) if self.step < round.start + round.weights.len() as u64 => round,
            _ => self.draw_round(sampler)?,
        };
        let at = (self.step - round.start) as usize;
        self.weight_step(&round.weights[at])?;
        if !round.arch[at].is_empty() {
            let noise = round.noise.f_get(at as i64)?;
            let index = round.index.f_get(at as i64)?;
            self.arch_step(&round.arch[at], &round.rivals[at], &noise, &index)?;
        }
        self.step += 1;
        self.round = Some(round);
        Ok(())
    }

    /// Reads logits and losses, and draws the networks of the next steps.
    fn draw_round(&mut self, sampler: &mut dyn Sampler) -> Result<Round> {
        let logits = self.look()?;
        let per_epoch = self.steps_per_epoch();
        let steps = ROUND.min(per_epoch - self.step % per_epoch);
        let (slots, width) = (self.net.slots(), self.net.width());
        let mut noise = vec![0.0_f32; steps as usize * slots * width];
        let mut index = vec![0_i64; steps as usize * slots * 2];
        let mut round = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..steps {
            let step = self.step + i;
            round.0.push(sampler.draw(&logits, 2 * step).path);
            let (mut path, mut rivals) = (Vec::new(), Vec::new());
            if step >= self.warm_steps() {
                let draw = sampler.draw(&logits, 2 * step + 1);
                for (slot, row) in draw.noise.iter().enumerate().take(slots) {
                    let start = (i as usize * slots + slot) * width;
                    for (cell, value) in noise[start..start + width].iter_mut().zip(row) {
                        *cell = *value;
                    }
                }
                rivals = runners_up(&logits, &draw);
                for (slot, (pick, rival)) in draw.path.iter().zip(&rivals).enumerate().take(slots) {
                    let place = (i as usize * slots + slot) * 2;
                    index[place] = pick.choice().unwrap_or(0) as i64;
                    index[place + 1] = *rival as i64;
                }
                path = draw.path;
            }
            round.1.push(path);
            round.2.push(rivals);
        }
        let device = self.net.alpha().device();
        let (steps, slots, width) = (steps as i64, slots as i64, width as i64);
        Ok(Round {
            start: self.step,
            weights: round.0,
            arch: round.1,
            rivals: round.2,
            noise: Tensor::f_from_slice(&noise)?.f_view([steps, slots, width])?.f_to_device(device)?,
            index: Tensor::f_from_slice(&index)?.f_view([steps, slots, 2])?.f_to_device(device)?,
        })
    }

    fn weight_step(&mut self, path: &[Pick]) -> Result<()> {
        let per_epoch = self.steps_per_epoch();
        let (epoch, within) = (self.step / per_epoch, (self.step % per_epoch) as i64);
        let batch = self.batch;
        let index = self.order(0, epoch)?.f_narrow(0, within * batch, batch)?;
        let (images, labels) = match self.config.augment {
            None => kiln_data::batch(&self.data, &self.data.train, &index, None)?,
            Some(augment) => {
                let held = match self.augment.take() {
                    Some(held) if held.0 == epoch => held,
                    _ => {
                        let key = derive(self.config.seed, "search-augment", self.phase.key, epoch);
                        (epoch, Generator::new(key, self.net.alpha().device())?)
                    }
                };
                let generator = &mut self.augment.insert(held).1;
                kiln_data::batch(&self.data, &self.data.train, &index, Some((&augment, generator)))?
            }
        };
        let logits = self.net.forward(&images, path)?;
        let loss = cross_entropy(&logits, &labels, self.config.optim.label_smoothing)?;
        loss.f_backward()?;
        self.optimizer.step(self.schedule().factor(self.step))?;
        self.add_loss(0, &loss)
    }

    fn arch_step(&mut self, path: &[Pick], rivals: &[usize], noise: &Tensor, index: &Tensor) -> Result<()> {
        let batch = self.arch_batch();
        let per_pass = (self.parts[1].size1()? / batch).max(1).unsigned_abs();
        let (pass, within) = (self.arch_step / per_pass, (self.arch_step % per_pass) as i64);
        let images = self.order(1, pass)?.f_narrow(0, within * batch, batch)?;
        let (images, labels) = kiln_data::batch(&self.data, &self.data.train, &images, None)?;
        let logits =
            self.net.forward_gated(&images, path, self.config.two_paths.then_some(rivals), noise, index, self.tau())?;
        let loss = cross_entropy(&logits, &labels, 0.0)?;
        let sampled = path.iter().any(|pick| matches!(pick, Pick::Sampled(_)));
        let whole = match &self.penalty {
            Some(weights) => loss.f_add(&self.net.expected(weights)?)?,
            None => loss.shallow_clone(),
        };
        if sampled || self.penalty.is_some() {
            // Of the logits alone: the weights' gradients are neither computed nor touched.
            let alpha = self.net.alpha();
            let grads = Tensor::f_run_backward(&[&whole], &[alpha], false, false)?;
            let how = AdamW {
                lr: self.config.alpha_lr,
                beta1: ALPHA_BETAS.0,
                beta2: ALPHA_BETAS.1,
                eps: 1e-8,
                weight_decay: 0.0,
            };
            let Adam { average, square, steps } = &self.adam;
            let [average, square, steps] = [average, square, steps].map(Tensor::shallow_clone);
            let state = AdamWState { averages: &[average], squares: &[square], steps: &[steps] };
            optim_kernels::fused_adamw(&how, &[alpha.shallow_clone()], &grads, state)?;
        }
        self.arch_step += 1;
        self.add_loss(1, &loss)
    }

    fn add_loss(&mut self, which: i64, loss: &Tensor) -> Result<()> {
        let _frozen = NoGrad::new();
        let mut sum = self.sums.f_get(which)?;
        let _sum = sum.f_add_(&loss.f_detach()?)?;
        Ok(())
    }

    /// The order of a pass through a part, drawn once a pass on the CPU, so that a GPU sees the same batches.
    fn order(&mut self, part: usize, pass: u64) -> Result<&Tensor> {
        let held = match self.orders[part].take() {
            Some(held) if held.0 == pass => held,
            _ => {
                let purpose = ["search-weights", "search-arch"][part];
                let key = derive(self.config.seed, purpose, self.phase.key, pass);
                let images = &self.parts[part];
                let places = Generator::new(key, Device::Cpu)?.randperm(images.size1()?)?;
                (pass, images.f_index_select(0, &places.f_to_device(images.device())?)?)
            }
        };
        Ok(&self.orders[part].insert(held).1)
    }

    /// Reads logits and losses in one go; the losses since the last look become a mark.
    fn look(&mut self) -> Result<Vec<Vec<f32>>> {
        let _frozen = NoGrad::new();
        let alpha = self.net.alpha().f_detach()?.f_reshape([-1])?.f_to_kind(Kind::Double)?;
        let read = Vec::<f64>::try_from(Tensor::f_cat(&[&self.sums, &alpha], 0)?)?;
        let (sums, alpha) = read.split_at(2);
        if read.iter().any(|v| !v.is_finite()) {
            return Err(TrainError::Search(format!(
                "{} is no longer a number after step {} of the search; try a lower learning rate, warm-up or gradient \
                 clipping",
                if sums.iter().all(|v| v.is_finite()) {
                    "an architecture weight"
                } else {
                    "the loss of the super-network"
                },
                self.step
            )));
        }
        let (step, arch_step, before) = self.seen;
        if self.step > step {
            let mean = |i: usize, n: u64| (sums[i] - before[i]) / n as f64;
            self.marks.push(Mark {
                epochs: self.position(),
                train_loss: mean(0, self.step - step),
                arch_loss: (self.arch_step > arch_step).then(|| mean(1, self.arch_step - arch_step)),
                tau: self.tau(),
            });
        }
        self.seen = (self.step, self.arch_step, [sums[0], sums[1]]);
        let width = self.net.width();
        let rows = self.net.choices().into_iter().zip(alpha.chunks(width));
        Ok(rows.map(|(n, row)| row[..n].iter().map(|&v| v as f32).collect()).collect())
    }

    fn close_epoch(&mut self) -> Result<()> {
        self.look()?;
        let (_, _, [train, arch]) = self.seen;
        let arch_steps = self.arch_step - self.arch_before;
        self.history.push(SearchEpoch {
            epoch: self.step / self.steps_per_epoch(),
            train_loss: train / self.steps_per_epoch() as f64,
            arch_loss: (arch_steps > 0).then(|| arch / arch_steps as f64),
        });
        self.sums = self.sums.f_zero_()?;
        self.seen = (self.step, self.arch_step, [0.0; 2]);
        self.arch_before = self.arch_step;
        self.round = None;
        Ok(())
    }

    /// Loss and accuracy of one path on a split, its batch normalisation recalibrated on some batches of the weights'
    /// images first. `None` if `tick` stopped it.
    pub fn evaluate(&self, path: &[Pick], split: &Split, tick: &dyn Fn() -> bool) -> Result<Option<Eval>> {
        kiln_torch::set_threads(self.config.threads.try_into().unwrap_or(i32::MAX));
        let images = &self.parts[0];
        for i in 0..RECALIBRATE.min(images.size1()? / self.batch) {
            if tick() {
                return Ok(None);
            }
            let index = images.f_narrow(0, i * self.batch, self.batch)?;
            let (x, _) = kiln_data::batch(&self.data, &self.data.train, &index, None)?;
            // Moving by 1/1, 1/2, 1/3, ... makes the running value the mean of all batches so far and forgets the old one.
            self.net.recalibrate(&x, path, 1.0 / (i as f64 + 1.0))?;
        }
        evaluate_by(&|x| self.net.forward_frozen(x, path), &self.data, split, tick)
    }

    fn schedule(&self) -> LrSchedule {
        LrSchedule::of(&self.config.optim, self.steps_per_epoch() as f64, self.total_steps() as f64)
    }

    /// Temperature of the next architecture step.
    pub fn tau(&self) -> f64 {
        let [start, end] = self.phase.tau;
        let (warm, total) = (self.warm_steps(), self.total_steps());
        let share = self.step.saturating_sub(warm) as f64 / total.saturating_sub(warm).max(1) as f64;
        start * (end / start).powf(share.min(1.0))
    }

    fn arch_batch(&self) -> i64 {
        self.batch.min(self.parts[1].size()[0])
    }

    fn warm_steps(&self) -> u64 {
        (self.phase.warm * self.steps_per_epoch() as f64).round() as u64
    }

    /// The super-network as it stands.
    pub fn net(&self) -> &Supernet {
        &self.net
    }

    /// Images of the two parts: weights, architecture.
    pub fn images(&self) -> [i64; 2] {
        [self.parts[0].size()[0], self.parts[1].size()[0]]
    }

    /// Images a step.
    pub fn batch(&self) -> i64 {
        self.batch
    }

    /// Finished weight steps of the phase.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Finished architecture steps of the phase.
    pub fn arch_steps(&self) -> u64 {
        self.arch_step
    }

    /// Weight steps of an epoch; the last, smaller batch is dropped.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.parts[0].size()[0] / self.batch).max(1).unsigned_abs()
    }

    /// Weight steps of the phase.
    pub fn total_steps(&self) -> u64 {
        u64::from(self.phase.epochs) * self.steps_per_epoch()
    }

    /// Epochs of the phase done, with their fraction.
    pub fn position(&self) -> f64 {
        self.step as f64 / self.steps_per_epoch() as f64
    }

    /// Finished epochs of the phase.
    pub fn history(&self) -> &[SearchEpoch] {
        &self.history
    }

    /// Takes the looks at the losses since the last call.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    /// Changes the planned epochs of the phase; the schedules follow from the next step on.
    pub fn set_epochs(&mut self, epochs: u32) {
        let begun = self.step.div_ceil(self.steps_per_epoch());
        self.phase.epochs = epochs.max(begun.try_into().unwrap_or(u32::MAX));
    }

    /// The weights' optimiser, for its live knobs.
    pub fn optimizer(&mut self) -> &mut Optimizer {
        &mut self.optimizer
    }
}

/// Numbers of the training images that weights learn from, and of the others: a random `share` of `images`, keyed by the
/// run's seed, as i64 on `device`.
///
/// # Errors
/// [`TrainError::Data`] if a part would be empty.
pub fn split(seed: u64, images: i64, share: f64, device: Device) -> Result<[Tensor; 2]> {
    let first = ((images as f64 * share).round() as i64).clamp(0, images);
    if first == 0 || first == images {
        return Err(TrainError::Data(format!(
            "a split of {share} of {images} training images leaves nothing for the weights or nothing for the \
             architecture; both need images"
        )));
    }
    let order = Generator::new(derive(seed, "search-split", 0, 0), Device::Cpu)?.randperm(images)?;
    let part = |start, len| order.f_narrow(0, start, len)?.f_contiguous()?.f_to_device(device);
    Ok([part(0, first)?, part(first, images - first)?])
}

/// By slot, the choice of the largest logit but the drawn one; where there is no other, the drawn one.
fn runners_up(alpha: &[Vec<f32>], draw: &Draw) -> Vec<usize> {
    let slots = alpha.iter().zip(&draw.noise).zip(&draw.path);
    slots
        .map(|((alpha, noise), pick)| {
            let drawn = pick.choice().unwrap_or(0);
            let others = (0..alpha.len().min(noise.len())).filter(|&o| o != drawn);
            others.max_by(|&a, &b| (alpha[a] + noise[a]).total_cmp(&(alpha[b] + noise[b]))).unwrap_or(drawn)
        })
        .collect()
}
