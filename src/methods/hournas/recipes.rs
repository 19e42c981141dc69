//! What is done with a candidate's trainer when its training is over, on the candidate's own thread.

use kiln_data::Split;
use kiln_nn::pool::Stop;
use kiln_nn::{Eval, TrainError, Trainer, evaluate, evaluate_without};
use std::sync::Mutex;

use kiln_nn::torch::Generator;
use kiln_protocol::spec::seed::derive;
use tch::{Device, Tensor};

use crate::fleet::{Failure, Note, Recipe, Task};
use crate::train::finite;

/// Batches that the statistics of a lesioned network are estimated on.
const RECALIBRATE: i64 = 20;

/// A short training of a random network, judged on the images that a super-network's architecture would learn from.
pub struct Short {
    judges: Mutex<Split>,
}

impl Short {
    pub fn new(judges: Split) -> Short {
        Short { judges: Mutex::new(judges) }
    }
}

impl Recipe for Short {
    type Product = Option<Eval>;

    fn finish(
        &self,
        _task: &Task,
        trainer: Option<&Trainer>,
        _note: &Note,
        _failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<Option<Eval>>, TrainError> {
        let Some(trainer) = trainer else { return Ok(Some(None)) };
        // A tensor may move to another thread but not be shared; a clone shares the images, not the handle.
        let judges = {
            let held = self.judges.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Split { images: held.images.shallow_clone(), labels: held.labels.shallow_clone() }
        };
        let eval = trainer.evaluate(&judges, &|| stop.asked())?;
        Ok(eval.map(finite))
    }
}

/// A network whose blocks are bypassed one by one.
pub struct Lesions {
    pub slots: usize,
    /// Candidates below this number get lesions; the others, which were weakened, only their accuracy.
    pub studied: usize,
    /// Estimate the statistics of normalisation anew for each lesion.
    pub recalibrate: bool,
}

/// Accuracies on the validation images.
pub struct LesionProduct {
    /// `None` if it could not be trained.
    pub whole: Option<f64>,
    /// By slot, with its block bypassed.
    pub without: Vec<f64>,
    pub failure: Option<String>,
}

impl Recipe for Lesions {
    type Product = LesionProduct;

    fn finish(
        &self,
        _task: &Task,
        trainer: Option<&Trainer>,
        note: &Note,
        failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<LesionProduct>, TrainError> {
        let failure = failure.map(|f| f.sentence().to_owned());
        let Some(trainer) = trainer else {
            return Ok(Some(LesionProduct { whole: None, without: Vec::new(), failure }));
        };
        let (network, data) = (trainer.network(), trainer.data());
        let tick = || stop.asked();
        let Some(whole) = evaluate(network, data, &data.valid, &tick)? else { return Ok(None) };
        let mut without = Vec::new();
        if note.id < self.studied {
            let batches = if self.recalibrate { batches(trainer)? } else { Vec::new() };
            for slot in 0..self.slots {
                let eval = evaluate_without(network, slot, data, &data.valid, &batches, &tick)?;
                let Some(eval) = eval else { return Ok(None) };
                without.push(eval.accuracy);
            }
        }
        Ok(Some(LesionProduct { whole: Some(whole.accuracy), without, failure }))
    }
}

/// Some batches of training images, the same for every lesion of a candidate.
fn batches(trainer: &Trainer) -> Result<Vec<Tensor>, TrainError> {
    let (config, images) = (trainer.config(), &trainer.data().train);
    let (batch, device) = (i64::from(trainer.batch()), images.labels.device());
    let order =
        Generator::new(derive(config.seed, "lesion", config.candidate, 0), Device::Cpu)?.randperm(images.len())?;
    let order = order.f_to_device(device)?;
    (0..RECALIBRATE.min(images.len() / batch)).map(|i| Ok(order.f_narrow(0, i * batch, batch)?)).collect()
}
