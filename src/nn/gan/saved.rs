//! The state of a pair in training as plain values and named tensors, complete enough to continue bit for bit in another
//! process.

use kiln_torch::NoGrad;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::trainer::{FIGURES, GanTrainer};
use crate::error::{Result, TrainError};
use crate::network::copied;

const VERSION: u32 = 1;

/// The plain values of a saved training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GanState {
    /// Of this layout of values and names.
    pub version: u32,
    /// Identity: the run's seed.
    pub seed: u64,
    /// Identity: training images.
    pub images: i64,
    /// Finished iterations.
    pub step: u64,
    /// Iterations at the last reading.
    pub read: u64,
    pub diverged: Option<u64>,
}

/// A saved training: `generator.*`, `critic.*`, `average.*`, `generator-optim.*`, `critic-optim.*`, the states of the
/// generators of noise, the sums since the last reading, and the learning rate. The tensors are copies.
pub struct SavedGan {
    pub state: GanState,
    pub tensors: Vec<(String, Tensor)>,
}

impl GanTrainer {
    /// The whole state, copied: the trainer may go on while it is written.
    pub fn save(&self) -> Result<SavedGan> {
        let _frozen = NoGrad::new();
        let mut tensors = Vec::new();
        for (name, tensor) in self.living() {
            tensors.push((name, copied(&tensor)?));
        }
        tensors.push(("sums".into(), copied(&self.sums)?));
        tensors.push(("noise".into(), self.noise.state()?));
        tensors.push(("mix".into(), self.mix.state()?));
        tensors.push(("lr".into(), Tensor::f_from_slice(&[self.critic_optim.lr()])?));
        let state = GanState {
            version: VERSION,
            seed: self.config.seed,
            images: self.images(),
            step: self.step,
            read: self.read,
            diverged: self.diverged,
        };
        Ok(SavedGan { state, tensors })
    }

    /// Takes over a saved state of the same training, which then continues exactly as the saved one would have.
    ///
    /// # Errors
    /// [`TrainError::Saved`] if the state is of other networks, images, another seed or version.
    pub fn load(&mut self, saved: &SavedGan) -> Result<()> {
        let state = &saved.state;
        let (own, theirs) = ((VERSION, self.config.seed, self.images()), (state.version, state.seed, state.images));
        if own != theirs {
            return Err(TrainError::Saved(format!(
                "the saved training (version, seed, images) = {theirs:?} is not this one, which is {own:?}"
            )));
        }
        let find = |name: &str| {
            let found = saved.tensors.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor);
            found.ok_or_else(|| TrainError::Saved(format!("the saved training has no tensor `{name}`")))
        };
        let within = |prefix: &str| -> Vec<(String, Tensor)> {
            let strip = |(name, t): &(String, Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), t.shallow_clone()));
            saved.tensors.iter().filter_map(strip).collect()
        };
        let sums = find("sums")?.f_to_device(self.sums.device())?.f_to_kind(Kind::Double)?;
        if sums.size() != [FIGURES as i64] {
            return Err(TrainError::Saved("the saved tensor `sums` has another length".into()));
        }
        let lr = find("lr")?.f_double_value(&[0])?;
        let cpu = |name: &str| -> Result<Tensor> { Ok(find(name)?.f_to_device(Device::Cpu)?) };
        let (noise, mix) = (cpu("noise")?, cpu("mix")?);
        self.generator.load(&within("generator."))?;
        self.critic.load(&within("critic."))?;
        if let Some(average) = &mut self.average {
            average.load(&within("average."))?;
        }
        self.generator_optim.load(&within("generator-optim."))?;
        self.critic_optim.load(&within("critic-optim."))?;
        self.noise.set_state(&noise)?;
        self.mix.set_state(&mix)?;
        self.sums = copied(&sums)?;
        self.set_lr(lr);
        (self.step, self.read, self.diverged) = (state.step, state.read, state.diverged);
        self.order = None;
        self.readings.clear();
        Ok(())
    }

    /// Everything that an iteration changes, by name.
    fn living(&self) -> Vec<(String, Tensor)> {
        let parts = [
            ("generator", self.generator.named_tensors()),
            ("critic", self.critic.named_tensors()),
            ("average", self.average.as_ref().map(|net| net.named_tensors()).unwrap_or_default()),
            ("generator-optim", self.generator_optim.named_tensors()),
            ("critic-optim", self.critic_optim.named_tensors()),
        ];
        let named = |(part, tensors): (&'static str, Vec<(String, Tensor)>)| {
            tensors.into_iter().map(move |(name, tensor)| (format!("{part}.{name}"), tensor))
        };
        parts.into_iter().flat_map(named).collect()
    }
}
