//! A trainer's state as plain values and named tensors, complete enough to continue bit for bit in another process.

use std::collections::HashMap;

use kiln_torch::{Generator, NoGrad};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{AugmentStream, Divergence, Epoch, Good, Trainer};
use crate::error::{Result, TrainError};
use crate::loss::Eval;
use crate::network::copied;

const VERSION: u32 = 1;

/// The plain values of a saved trainer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Of this layout of values and names.
    pub version: u32,
    /// Identity: the run's seed.
    pub seed: u64,
    /// Identity: the candidate.
    pub candidate: u64,
    /// Identity: the order of batches.
    pub order: u64,
    /// Identity: training images.
    pub images: i64,
    /// Images a step; smaller than asked for after a restart.
    pub batch: i64,
    /// Planned epochs.
    pub epochs: u32,
    /// Finished steps.
    pub step: u64,
    /// Step of the last good state.
    pub good: u64,
    /// Epoch whose augmentation stream is among the tensors.
    pub augment: Option<u64>,
    /// Set if the training came to nothing.
    pub diverged: Option<Divergence>,
}

/// A saved trainer: `network.*`, `optimizer.*`, in mid-epoch also `good.*`, and `loss_sum`,
/// `history` with `clipped`, `cuts`, `knobs`, `augment`.
/// The tensors are copies in plain layout.
pub struct Saved {
    /// Plain values.
    pub state: TrainerState,
    /// Tensors by name.
    pub tensors: Vec<(String, Tensor)>,
}

/// Columns of the tensor `history`. Losses may be no numbers, which JSON cannot say, hence a tensor.
const HISTORY: i64 = 4;

impl Trainer {
    /// The whole state, copied: the trainer may go on while it is written.
    pub fn save(&self) -> Result<Saved> {
        let _lane = self.enter()?;
        let _frozen = NoGrad::new();
        let mut tensors = Vec::new();
        let mut keep = |name: String, tensor: &Tensor| -> Result<()> {
            let plain = kiln_torch::contiguous(tensor)?;
            // `contiguous` hands a tensor that already is over as it is.
            let copy = if plain.data_ptr() == tensor.data_ptr() { copied(&plain)? } else { plain };
            tensors.push((name, copy));
            Ok(())
        };
        let names = self.living_names();
        for (name, tensor) in names.iter().zip(&self.living()) {
            keep(name.clone(), tensor)?;
        }
        if self.good.step != self.step {
            for (name, tensor) in names.iter().zip(&self.good.tensors) {
                keep(format!("good.{name}"), tensor)?;
            }
        }
        keep("loss_sum".into(), &self.loss_sum)?;
        if let Some(cuts) = self.optimizer.cuts() {
            keep("cuts".into(), cuts)?;
        }
        let knobs = [self.optimizer.lr(), self.optimizer.weight_decay(), self.optimizer.grad_clip()];
        keep("knobs".into(), &Tensor::f_from_slice(&knobs)?)?;
        if !self.history.is_empty() {
            let rows: Vec<f64> = self.history.iter().flat_map(row).collect();
            keep("history".into(), &Tensor::f_from_slice(&rows)?.f_view([-1, HISTORY])?)?;
            let clipped: Vec<f64> = self.history.iter().map(|epoch| epoch.clipped.unwrap_or(f64::NAN)).collect();
            keep("clipped".into(), &Tensor::f_from_slice(&clipped)?)?;
        }
        if let Some(stream) = &self.augment {
            keep("augment".into(), &stream.generator.state()?)?;
        }
        Ok(Saved {
            state: TrainerState {
                version: VERSION,
                seed: self.config.seed,
                candidate: self.config.candidate,
                order: self.config.order,
                images: self.images,
                batch: self.batch,
                epochs: self.config.epochs,
                step: self.step,
                good: self.good.step,
                augment: self.augment.as_ref().map(|s| s.epoch),
                diverged: self.diverged.clone(),
            },
            tensors,
        })
    }

    /// Takes over a saved state of the same candidate; the trainer then continues exactly as the saved one would have.
    ///
    /// # Errors
    /// [`TrainError::Saved`] if the state is of another candidate, network, data or version.
    pub fn load(&mut self, saved: &Saved) -> Result<()> {
        let _lane = self.enter()?;
        let state = &saved.state;
        if state.version != VERSION {
            return Err(TrainError::Saved(format!(
                "the saved training has version {}, this program reads version {VERSION}",
                state.version
            )));
        }
        let own = (self.config.seed, self.config.candidate, self.config.order, self.images);
        let theirs = (state.seed, state.candidate, state.order, state.images);
        if own != theirs {
            return Err(TrainError::Saved(format!(
                "the saved training (seed, candidate, order, images) = {theirs:?} is not this one, which is {own:?}"
            )));
        }
        let by_name: HashMap<&str, &Tensor> = saved.tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let get = |name: &str| {
            by_name
                .get(name)
                .copied()
                .ok_or_else(|| TrainError::Saved(format!("the saved training has no tensor `{name}`")))
        };
        let knobs: Vec<f64> = values(get("knobs")?)?;
        let &[lr, weight_decay, clip] = knobs.as_slice() else {
            return Err(TrainError::Saved("the saved tensor `knobs` should hold three numbers".into()));
        };
        let mut history = match by_name.get("history") {
            Some(table) => epochs(&values(&table.f_reshape([-1])?)?),
            None => Vec::new(),
        };
        // States of before Kiln counted have none.
        if let Some(clipped) = by_name.get("clipped") {
            for (epoch, share) in history.iter_mut().zip(values(clipped)?) {
                epoch.clipped = Some(share).filter(|share| share.is_finite());
            }
        }
        let names = self.living_names();
        let pairs = |prefix: &str| names.iter().map(|n| get(&format!("{prefix}{n}"))).collect::<Result<Vec<_>>>();
        let present = pairs("")?;
        let good = if state.good == state.step { pairs("")? } else { pairs("good.")? };
        let living = self.living();
        for ((name, own), saved) in
            names.iter().zip(&living).zip(present.iter()).chain(names.iter().zip(&living).zip(&good))
        {
            if own.size() != saved.size() {
                return Err(TrainError::Saved(format!(
                    "the saved tensor `{name}` has shape {:?}, this network's has {:?}",
                    saved.size(),
                    own.size()
                )));
            }
        }
        let augment = match state.augment {
            Some(epoch) => {
                let mut generator = Generator::new(0, self.network.device())?;
                generator.set_state(&get("augment")?.f_to_device(Device::Cpu)?)?;
                Some(AugmentStream { epoch, generator })
            }
            None => None,
        };
        let sum = |saved: &Tensor| -> Result<Tensor> {
            copied(&saved.f_to_device(self.network.device())?.f_to_kind(Kind::Double)?)
        };
        let loss_sum = sum(get("loss_sum")?)?;
        let cuts = by_name.get("cuts").map(|saved| sum(saved)).transpose()?;

        let _frozen = NoGrad::new();
        for (mut own, saved) in living.into_iter().zip(present) {
            own.f_copy_(saved)?;
        }
        for (kept, saved) in self.good.tensors.iter_mut().zip(good) {
            kept.f_copy_(saved)?;
        }
        self.good = Good { step: state.good, tensors: std::mem::take(&mut self.good.tensors) };
        self.optimizer.set_lr(lr);
        self.optimizer.set_weight_decay(weight_decay);
        self.optimizer.set_grad_clip(clip);
        self.loss_sum = loss_sum;
        self.optimizer.set_cuts(cuts);
        self.history = history;
        self.augment = augment;
        self.order = None;
        self.batch = state.batch;
        self.config.epochs = state.epochs;
        self.step = state.step;
        self.seen = (self.step, self.loss_sum.f_double_value(&[])?);
        self.readings.clear();
        self.diverged = state.diverged.clone();
        Ok(())
    }

    /// Names of [`Trainer::living`], in its order.
    pub(super) fn living_names(&self) -> Vec<String> {
        let network = self.network.named_tensors().into_iter().map(|(name, _)| format!("network.{name}"));
        network.chain(self.optimizer.named_tensors().into_iter().map(|(name, _)| format!("optimizer.{name}"))).collect()
    }
}

fn row(epoch: &Epoch) -> [f64; HISTORY as usize] {
    let eval = epoch.valid.unwrap_or(Eval { loss: 0.0, accuracy: 0.0 });
    [epoch.loss, f64::from(u8::from(epoch.valid.is_some())), eval.loss, eval.accuracy]
}

fn epochs(rows: &[f64]) -> Vec<Epoch> {
    rows.chunks_exact(HISTORY as usize)
        .enumerate()
        .map(|(i, row)| Epoch {
            epoch: i as u64 + 1,
            loss: row[0],
            clipped: None,
            valid: (row[1] != 0.0).then_some(Eval { loss: row[2], accuracy: row[3] }),
        })
        .collect()
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_contiguous()?;
    let mut out = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut out, tensor.numel())?;
    Ok(out)
}
