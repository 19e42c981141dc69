//! What is done on a training's own thread: its steps, and what follows from a finished one.

use std::time::Instant;

use kiln_arch::quantised::Blueprint;
use kiln_data::DataSet;
use kiln_nn::pool::Stop;
use kiln_nn::quantised::{LayerFigures, Pass, QuantEpoch, QuantNetwork, QuantTrainer};
use kiln_nn::torch::{Generator, NoGrad};
use kiln_nn::{Eval, TrainError};
use kiln_protocol::spec::WidenSqueezeSettings;
use kiln_protocol::spec::seed::derive;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::parts::Kind;
use super::prune::{self, Keep};
use super::views;
use crate::train::finite;

/// Batches that normalisation is estimated anew from after channels were taken out.
const RECALIBRATION: i64 = 50;

/// Random choices of channels that are measured: a single one may be lucky.
const DRAWS: u64 = 5;

/// Tensors by name.
pub type Tensors = Vec<(String, Tensor)>;

/// A group of channels in a squeeze.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub before: u32,
    pub after: u32,
    /// Share of importances under 0.05, and their mean.
    pub faint: f64,
    pub mean: f64,
    /// Counts of the importances from 0 to 2.
    pub counts: Vec<f64>,
}

/// What came of a squeeze.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Squeezed {
    pub groups: Vec<Group>,
    /// Validation accuracy before fine-tuning of the most important channels, of random ones (mean of several choices) and of
    /// the least important ones (the latter two in the last round).
    pub most: f64,
    pub random: Option<f64>,
    pub least: Option<f64>,
    /// Strength of the penalty at the end.
    pub lambda: f64,
}

/// What a finished training leaves besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    pub valid: Option<Eval>,
    /// `None` for states on the way, and if the data set has no test images.
    pub test: Option<Eval>,
    pub layers: Vec<LayerFigures>,
    pub squeezed: Option<Squeezed>,
}

/// Tensors that a finished training leaves: its own, and of a last squeeze those of the random choice.
pub struct Left {
    pub product: Product,
    pub network: (Blueprint, Tensors),
    pub random: Option<(Blueprint, Tensors)>,
}

/// What a thread needs to know of its training.
pub struct Job<'a> {
    pub kind: Kind,
    pub own: &'a WidenSqueezeSettings,
    pub seed: u64,
    /// What the squeeze's network may cost.
    pub budget: f64,
    /// Whether its test accuracy counts.
    pub result: bool,
    pub last_round: bool,
}

/// Trains until the deadline; when done, finishes. `None` while there is more to do, or if somebody waits.
///
/// # Errors
/// Divergence, want of memory, whatever libtorch reports.
pub fn advance(
    trainer: &mut QuantTrainer,
    job: &Job,
    deadline: Instant,
    stop: &Stop,
) -> Result<Option<Left>, TrainError> {
    trainer.run(deadline, &|| stop.asked())?;
    if !trainer.finished() || stop.asked() {
        return Ok(None);
    }
    let stop = || stop.asked();
    match job.kind {
        Kind::Squeeze(round) => squeeze(trainer, job, round, &stop),
        _ => finish(trainer, job, &stop),
    }
}

fn finish(trainer: &QuantTrainer, job: &Job, stop: &dyn Fn() -> bool) -> Result<Option<Left>, TrainError> {
    let (data, network) = (trainer.data(), trainer.network());
    // Quantised networks are judged as they would run on packed bits.
    let pass = if network.blueprint().bits.is_some() { Pass::Exact } else { Pass::Eval };
    let Some(valid) = trainer.evaluate(&data.valid, pass, stop)? else { return Ok(None) };
    // The only time that test images are looked at.
    let test = match job.result && !data.test.is_empty() {
        false => None,
        true => match trainer.evaluate(&data.test, pass, stop)? {
            Some(eval) => Some(eval),
            None => return Ok(None),
        },
    };
    let product =
        Product { valid: finite(valid), test: test.and_then(finite), layers: trainer.figures()?, squeezed: None };
    Ok(Some(Left { product, network: (network.blueprint().clone(), trainer.tensors()?), random: None }))
}

/// Takes channels out, and measures what is left before anything is trained again.
fn squeeze(trainer: &QuantTrainer, job: &Job, round: u32, stop: &dyn Fn() -> bool) -> Result<Option<Left>, TrainError> {
    let (network, data) = (trainer.network(), trainer.data());
    let importances = trainer.importances()?;
    let blueprint = network.blueprint();
    let widths = prune::widths(blueprint, &importances, job.own, job.budget).map_err(TrainError::Plan)?;
    let tensors = trainer.tensors()?;
    let others: Tensors = tensors.into_iter().filter(|(name, _)| name.starts_with("guide.")).collect();
    let cut = |keep: &Keep| -> Result<Option<(Blueprint, Tensors, f64)>, TrainError> {
        let (blueprint, tensors) = network.slice(keep, &others)?;
        let mut smaller = QuantNetwork::new(&blueprint, job.own.gradient, 0, network.device())?;
        smaller.load(&tensors)?;
        recalibrate(&smaller, data, trainer.batch(), derive(job.seed, "recalibrate", u64::from(round), 0))?;
        let logits = |x: &Tensor| Ok(smaller.forward(x, Pass::Exact, None)?.logits);
        let Some(eval) = kiln_nn::evaluate_by(&logits, data, &data.valid, stop)? else { return Ok(None) };
        let guides = tensors.into_iter().filter(|(name, _)| name.starts_with("guide."));
        let own = smaller.named_tensors().into_iter().chain(guides);
        let own = own.map(|(name, t)| Ok((name, t.f_detach_copy()?))).collect::<Result<Tensors, TrainError>>()?;
        Ok(Some((blueprint, own, eval.accuracy)))
    };
    let Some((smaller, kept, most)) = cut(&prune::best(&importances, &widths, true))? else { return Ok(None) };
    let (mut random, mut chance, mut least) = (None, None, None);
    if job.last_round && job.own.controls {
        let mut sum = 0.0;
        for draw in 0..DRAWS {
            let keep = prune::random(&blueprint.widths, &widths, derive(job.seed, "random-channels", draw, 0));
            let Some(drawn) = cut(&keep)? else { return Ok(None) };
            sum += drawn.2;
            // The first goes on to be trained.
            random = random.or(Some(drawn));
        }
        chance = Some(sum / DRAWS as f64);
        least = match cut(&prune::best(&importances, &widths, false))? {
            Some((.., accuracy)) => Some(accuracy),
            None => return Ok(None),
        };
    }
    let ended: Option<&QuantEpoch> = trainer.history().last();
    let groups = importances.iter().enumerate().map(|(g, group)| {
        let [faint, mean] = ended.and_then(|e| e.importances.get(g)).copied().unwrap_or_default();
        Group { before: blueprint.widths[g], after: widths[g], faint, mean, counts: views::importance_counts(group) }
    });
    let squeezed =
        Squeezed { groups: groups.collect(), most, random: chance, least, lambda: ended.map_or(0.0, |e| e.lambda) };
    let valid = ended.map(|e| e.valid);
    let product = Product { valid, test: None, layers: trainer.figures()?, squeezed: Some(squeezed) };
    let random = random.map(|(blueprint, tensors, _)| (blueprint, tensors));
    Ok(Some(Left { product, network: (smaller, kept), random }))
}

/// Replaces the running statistics by the mean over some random batches: what was taken out has left constants behind.
fn recalibrate(network: &QuantNetwork, data: &DataSet, batch: i64, key: u64) -> Result<(), TrainError> {
    let _frozen = NoGrad::new();
    let images = data.train.len();
    let order = Generator::new(key, Device::Cpu)?.randperm(images)?.f_to_device(network.device())?;
    let batch = batch.clamp(1, images);
    for i in 0..(images / batch).min(RECALIBRATION) {
        let index = order.f_narrow(0, i * batch, batch)?;
        let (x, _) = kiln_data::batch(data, &data.train, &index, None)?;
        // Moving by 1/1, 1/2, 1/3, ... makes the running value the mean of all batches so far and forgets the old one.
        let _seen = network.forward(&x, Pass::Recalibrate(1.0 / (i as f64 + 1.0)), None)?;
    }
    Ok(())
}
