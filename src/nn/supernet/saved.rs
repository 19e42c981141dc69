//! A search's state as plain values and named tensors, complete enough to continue bit for bit in another process.

use std::collections::HashMap;

use kiln_torch::{Generator, NoGrad};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::trainer::{Phase, Round, SearchEpoch, SearchTrainer};
use super::{Pick, Supernet};
use crate::error::{Result, TrainError};
use crate::network::{copied, overwrite};

const VERSION: u32 = 1;

/// The plain values of a saved search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchState {
    pub version: u32,
    /// Identity: the run's seed.
    pub seed: u64,
    /// Identity: choices of every slot.
    pub choices: Vec<usize>,
    /// Identity: images a step.
    pub batch: i64,
    pub epochs: u32,
    pub step: u64,
    pub arch_step: u64,
    pub arch_before: u64,
    /// Steps at the last look.
    pub seen: (u64, u64),
    /// Epoch whose augmentation stream is among the tensors.
    pub augment: Option<u64>,
    /// Start and draws of the running round; its noise is among the tensors.
    pub round: Option<SavedRound>,
}

/// The draws of a round: see [`SearchState::round`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRound {
    pub start: u64,
    pub weights: Vec<Vec<Pick>>,
    pub arch: Vec<Vec<Pick>>,
    pub rivals: Vec<Vec<usize>>,
}

/// A saved search: `weights.*`, `optimizer.*`, `alpha.*`, `losses`, `knobs`, and in mid-epoch `round.*` and `augment`.
/// The tensors are copies in plain layout.
pub struct SavedSearch {
    pub state: SearchState,
    pub tensors: Vec<(String, Tensor)>,
}

/// Columns of the tensor `history`.
const HISTORY: i64 = 3;

impl SearchTrainer {
    /// The whole state but the phase, which the caller knows; copied.
    pub fn save(&self) -> Result<SavedSearch> {
        let _frozen = NoGrad::new();
        let mut tensors = Vec::new();
        let mut keep = |name: String, tensor: &Tensor| -> Result<()> {
            let plain = kiln_torch::contiguous(&tensor.f_detach()?)?;
            tensors.push((name, if plain.data_ptr() == tensor.data_ptr() { copied(&plain)? } else { plain }));
            Ok(())
        };
        for (name, tensor) in self.own() {
            keep(name, &tensor)?;
        }
        keep("losses".into(), &self.sums)?;
        keep("losses.seen".into(), &Tensor::f_from_slice(&self.seen.2)?)?;
        let knobs = [self.optimizer.lr(), self.optimizer.weight_decay(), self.optimizer.grad_clip()];
        keep("knobs".into(), &Tensor::f_from_slice(&knobs)?)?;
        if !self.history.is_empty() {
            let rows = self
                .history
                .iter()
                .flat_map(|e| [e.train_loss, f64::from(u8::from(e.arch_loss.is_some())), e.arch_loss.unwrap_or(0.0)]);
            keep("history".into(), &Tensor::f_from_slice(&rows.collect::<Vec<f64>>())?)?;
        }
        if let Some(round) = &self.round {
            keep("round.noise".into(), &round.noise)?;
            keep("round.index".into(), &round.index)?;
        }
        if let Some((_, generator)) = &self.augment {
            keep("augment".into(), &generator.state()?)?;
        }
        let state = SearchState {
            version: VERSION,
            seed: self.config.seed,
            choices: self.net.choices(),
            batch: self.batch,
            epochs: self.phase.epochs,
            step: self.step,
            arch_step: self.arch_step,
            arch_before: self.arch_before,
            seen: (self.seen.0, self.seen.1),
            augment: self.augment.as_ref().map(|(epoch, _)| *epoch),
            round: self.round.as_ref().map(|r| SavedRound {
                start: r.start,
                weights: r.weights.clone(),
                arch: r.arch.clone(),
                rivals: r.rivals.clone(),
            }),
        };
        Ok(SavedSearch { state, tensors })
    }

    /// Takes over a saved state of the same search, in the middle of `phase`; the search then continues exactly as the saved
    /// one would have.
    ///
    /// # Errors
    /// [`TrainError::Saved`] if the state is of another search or version.
    pub fn load(&mut self, saved: &SavedSearch, phase: Phase) -> Result<()> {
        let state = &saved.state;
        if state.version != VERSION {
            return Err(TrainError::Saved(format!(
                "the saved search has version {}, this program reads version {VERSION}",
                state.version
            )));
        }
        if (state.seed, &state.choices, state.batch) != (self.config.seed, &self.net.choices(), self.batch) {
            return Err(TrainError::Saved(format!(
                "the saved search has seed {}, {} slots and batches of {}; this one has seed {}, {} slots and batches of {}",
                state.seed,
                state.choices.len(),
                state.batch,
                self.config.seed,
                self.net.slots(),
                self.batch
            )));
        }
        let by_name: HashMap<&str, &Tensor> = saved.tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let get = |name: &str| {
            by_name
                .get(name)
                .copied()
                .ok_or_else(|| TrainError::Saved(format!("the saved search has no tensor `{name}`")))
        };
        let device = self.net.alpha().device();
        let round = match &state.round {
            None => None,
            Some(round) => Some(Round {
                start: round.start,
                weights: round.weights.clone(),
                arch: round.arch.clone(),
                rivals: round.rivals.clone(),
                noise: get("round.noise")?.f_to_device(device)?,
                index: get("round.index")?.f_to_device(device)?,
            }),
        };
        let augment = match state.augment {
            None => None,
            Some(epoch) => {
                let mut generator = Generator::new(0, device)?;
                generator.set_state(&get("augment")?.f_to_device(Device::Cpu)?)?;
                Some((epoch, generator))
            }
        };
        let seen = numbers(get("losses.seen")?)?;
        let knobs = numbers(get("knobs")?)?;
        let (&[train, arch], &[lr, decay, clip]) = (seen.as_slice(), knobs.as_slice()) else {
            return Err(TrainError::Saved("the saved tensors `losses.seen` and `knobs` have the wrong length".into()));
        };
        let history = match by_name.get("history") {
            Some(table) => numbers(table)?,
            None => Vec::new(),
        };
        let losses = copied(&get("losses")?.f_to_device(device)?.f_to_kind(Kind::Double)?)?;

        self.begin(phase)?;
        let own = self.own();
        overwrite(own.iter().map(|(name, t)| (name.as_str(), t.shallow_clone())).collect(), &by_name)?;
        self.sums = losses;
        self.optimizer.set_lr(lr);
        self.optimizer.set_weight_decay(decay);
        self.optimizer.set_grad_clip(clip);
        self.phase.epochs = state.epochs;
        self.step = state.step;
        self.arch_step = state.arch_step;
        self.arch_before = state.arch_before;
        self.seen = (state.seen.0, state.seen.1, [train, arch]);
        self.history = history
            .chunks_exact(HISTORY as usize)
            .enumerate()
            .map(|(i, row)| SearchEpoch {
                epoch: i as u64 + 1,
                train_loss: row[0],
                arch_loss: (row[1] != 0.0).then_some(row[2]),
            })
            .collect();
        self.round = round;
        self.augment = augment;
        Ok(())
    }

    /// Everything that steps change and that outlives an epoch, by name, sharing its storage.
    fn own(&self) -> Vec<(String, Tensor)> {
        let Supernet { library, .. } = &self.net;
        let weights = library.named_tensors().into_iter().map(|(name, t)| (format!("weights.{name}"), t));
        let state = self.optimizer.named_tensors().into_iter().map(|(name, t)| (format!("optimizer.{name}"), t));
        let alpha = [
            ("alpha.logits", self.net.alpha().detach()),
            ("alpha.exp_avg", self.adam.average.shallow_clone()),
            ("alpha.exp_avg_sq", self.adam.square.shallow_clone()),
            ("alpha.step", self.adam.steps.shallow_clone()),
        ];
        weights.chain(state).chain(alpha.map(|(name, t)| (name.to_owned(), t))).collect()
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::<f64>::try_from(tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_reshape([-1])?)?)
}
