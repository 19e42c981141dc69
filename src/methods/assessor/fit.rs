//! Training a predictor (card, steps 5 and 6), in pieces of any length: every step's batch comes from a stream of its
//! own, so a training that was saved and taken up again ends with the same bits.

use std::time::Instant;

use kiln_arch::spec::Schedule;
use kiln_arch::spec::seed::derive;
use kiln_nn::LrSchedule;
use kiln_nn::torch::optim_kernels::{AdamW, AdamWState, fused_adamw};
use kiln_nn::torch::{Generator, NoGrad, TorchError};
use kiln_protocol::spec::{AssessorSettings, Predictor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::code::{Coder, Codes};
use super::model::{Encoder, Network, Shape};
use super::predictor::{Assessor, Scale};
use super::relation::{Statistics, distances, normalised, similarity, solve_sigma, statistics};
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::error::{MethodError, Result};

/// Steps between two readings: each waits for the device.
const READ_EVERY: u32 = 20;

/// Neural Predictor (arXiv:1912.00848) as its public implementation sets it.
mod neural_predictor {
    pub const WIDTH: i64 = 144;
    pub const HIDDEN: i64 = 128;
    pub const BATCH: usize = 10;
    pub const LR: f64 = 1e-4;
    /// Added to the gradient, as Adam has it.
    pub const L2: f64 = 1e-3;
}

/// What a network is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    pub encoder: Encoder,
    /// Auto-encoder.
    pub decoder: bool,
    /// Relation graph.
    pub graph: bool,
    /// Unlabelled architectures.
    pub unlabelled: bool,
    /// Neural Predictor.
    pub plain: bool,
}

impl Recipe {
    /// The recipe of a network; `None` for predictors of other kinds.
    pub fn of(predictor: Predictor) -> Option<Recipe> {
        use Predictor::{
            AeCell, AeConv, AeFlat, AssessorCell, AssessorConv, AssessorFlat, Forest, GcnCell, GcnConv, GcnFlat,
            Linear, MlpCell, MlpConv, MlpFlat, NeuralPredictor,
        };
        let encoder = match predictor {
            Linear | Forest => return None,
            MlpFlat | AeFlat | GcnFlat | AssessorFlat => Encoder::Flat,
            MlpConv | AeConv | GcnConv | AssessorConv => Encoder::Conv,
            NeuralPredictor | MlpCell | AeCell | GcnCell | AssessorCell => Encoder::Cell,
        };
        let assessor = matches!(predictor, AssessorFlat | AssessorConv | AssessorCell);
        let ae = matches!(predictor, AeFlat | AeConv | AeCell);
        let gcn = matches!(predictor, GcnFlat | GcnConv | GcnCell);
        Some(Recipe {
            encoder,
            decoder: assessor || ae,
            graph: assessor || gcn,
            unlabelled: assessor || ae,
            plain: predictor == NeuralPredictor,
        })
    }

    /// The network that it trains.
    pub fn shape(&self, settings: &AssessorSettings) -> Shape {
        let (hidden, width) = match self.plain {
            true => (neural_predictor::HIDDEN, neural_predictor::WIDTH),
            false => (i64::from(settings.hidden), i64::from(settings.cell_width)),
        };
        let Recipe { encoder, decoder, plain, .. } = *self;
        Shape { encoder, decoder, embedding: i64::from(settings.embedding), hidden, width, plain }
    }
}

/// What a training is given.
pub struct Task<'a> {
    pub coder: &'a Coder,
    pub recipe: Recipe,
    pub settings: &'a AssessorSettings,
    /// Labelled architectures and their accuracies in percent.
    pub labelled: Codes,
    pub accuracies: &'a [f64],
    /// Architectures without labels; may be empty.
    pub unlabelled: Codes,
    /// Key of initial weights, batches and dropout.
    pub seed: u64,
}

/// Figures of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Finished steps.
    pub step: u32,
    pub loss: f64,
    /// L_P, on standardised labels.
    pub prediction: f64,
    /// L_R, and the share of architectures in the batch that were reconstructed without a wrong bit.
    pub reconstruction: Option<(f64, f64)>,
    /// Sigma, mean degree, share of isolated nodes, share of edges between labelled and unlabelled nodes.
    pub graph: Option<[f64; 4]>,
}

/// A predictor in training.
pub struct Fit {
    pub assessor: Assessor,
    labelled: Codes,
    /// f32 `[N_l]`, standardised.
    targets: Tensor,
    unlabelled: Codes,
    settings: AssessorSettings,
    seed: u64,
    step: u32,
    steps: u32,
    averages: Vec<Tensor>,
    squares: Vec<Tensor>,
    counts: Vec<Tensor>,
    /// Readings that nobody has taken yet.
    pub readings: Vec<Reading>,
}

impl Fit {
    /// A training at its beginning.
    ///
    /// # Errors
    /// No labels, labels that are all equal, a cell encoder for a space without cells.
    pub fn new(task: Task) -> Result<Fit> {
        let Task { coder, recipe, settings, labelled, accuracies, unlabelled, seed } = task;
        let n = accuracies.len();
        if n < 2 || labelled.len() != n as i64 {
            return Err(MethodError::failed(format!("an assessor needs at least 2 labelled architectures, not {n}")));
        }
        let device = labelled.flat.device();
        let scale = Scale::of(accuracies, settings.clip);
        let targets: Vec<f32> = accuracies.iter().map(|&y| scale.standard(y) as f32).collect();
        let cells = recipe.encoder == Encoder::Cell;
        let labelled = labelled.share(cells);
        // Of more labels than a graph of prediction takes, it takes the first: they are in random order already.
        let anchors = labelled.range(0, (settings.anchors as i64).min(n as i64)).map_err(MethodError::failed)?;
        let mut network = Network::new(recipe.shape(settings), coder, derive(seed, "init", 0, 0), device)?;
        network.settle(&labelled).map_err(MethodError::failed)?;
        let zeros = |t: &Tensor| t.f_zeros_like().and_then(|z| z.f_detach());
        let moments =
            || network.weights().iter().map(zeros).collect::<Result<Vec<_>, _>>().map_err(MethodError::failed);
        let (averages, squares) = (moments()?, moments()?);
        let count = |_: &Tensor| Tensor::f_zeros([1], (Kind::Float, device)).map_err(MethodError::failed);
        let counts = network.weights().iter().map(count).collect::<Result<Vec<_>>>()?;
        let steps = match (recipe.plain, recipe.encoder) {
            (true, _) => settings.predictor_epochs.saturating_mul((n / neural_predictor::BATCH).max(1) as u32),
            (false, Encoder::Flat) => settings.steps,
            (false, Encoder::Conv | Encoder::Cell) => settings.steps_deep,
        };
        let assessor = Assessor {
            coder: coder.clone(),
            recipe,
            network,
            scale,
            sigma: settings.sigma,
            threshold: settings.threshold,
            chunk: i64::from(settings.chunk),
            anchors,
        };
        let targets =
            Tensor::f_from_slice(&targets).and_then(|t| t.f_to_device(device)).map_err(MethodError::failed)?;
        Ok(Fit {
            assessor,
            labelled,
            targets,
            unlabelled: unlabelled.share(cells),
            settings: settings.clone(),
            seed,
            step: 0,
            steps,
            averages,
            squares,
            counts,
            readings: Vec::new(),
        })
    }

    /// Finished steps, and all of them.
    pub fn progress(&self) -> (u32, u32) {
        (self.step, self.steps)
    }

    pub fn done(&self) -> bool {
        self.step >= self.steps
    }

    /// Trains until the deadline, or until `stop` says so after a step.
    ///
    /// # Errors
    /// A loss that is no number any more, or whatever libtorch reports.
    pub fn run(&mut self, deadline: Option<Instant>, stop: &dyn Fn() -> bool) -> kiln_nn::Result<()> {
        while !self.done() && !stop() && deadline.is_none_or(|at| Instant::now() < at) {
            self.advance()?;
        }
        Ok(())
    }

    fn advance(&mut self) -> kiln_nn::Result<()> {
        let recipe = self.assessor.recipe;
        let read = (self.step + 1).is_multiple_of(READ_EVERY) || self.step + 1 == self.steps;
        let mut drop = match recipe.plain {
            true => Some(Generator::new(self.key("dropout"), self.device())?),
            false => None,
        };
        let batch = self.batch()?;
        let embedding = self.assessor.network.encode(&batch.codes, drop.as_mut())?;
        let mut told = None;
        let graph = match recipe.graph {
            false => None,
            true => {
                let apart = distances(&embedding)?;
                if self.settings.sigma <= 0.0 && self.step.is_multiple_of(self.settings.sigma_every) {
                    let _frozen = NoGrad::new();
                    self.assessor.sigma = solve_sigma(&apart, self.settings.degree, self.settings.threshold)?;
                }
                let close = similarity(&apart, self.assessor.sigma, self.settings.threshold)?;
                if read {
                    told = Some(statistics(&close, batch.labelled)?);
                }
                Some(normalised(&close)?)
            }
        };
        let network = &self.assessor.network;
        let predicted = network.predict(&embedding, graph.as_ref(), drop.as_mut())?.f_narrow(0, 0, batch.labelled)?;
        let prediction = predicted.f_sub(&batch.targets)?.f_square()?.f_mean(Kind::Float)?;
        let (loss, reconstruction) = match recipe.decoder {
            false => (prediction.shallow_clone(), None),
            true => {
                let back = network.decode(&embedding, &batch.codes)?;
                let wanted = network.target(&batch.codes);
                let error = back.f_sub(wanted)?.f_square()?.f_mean(Kind::Float)?;
                let lambda = self.settings.lambda;
                (prediction.f_mul_scalar(1.0 - lambda)?.f_add(&error.f_mul_scalar(lambda)?)?, Some((error, back)))
            }
        };
        if read {
            let reconstruction = match &reconstruction {
                None => None,
                Some((error, back)) => Some((error.f_double_value(&[])?, exact(back, network.target(&batch.codes))?)),
            };
            let value = loss.f_double_value(&[])?;
            if !value.is_finite() {
                return Err(kiln_nn::TrainError::Data(format!(
                    "the loss is no number any more after {} steps. Try a lower learning rate (assessor.lr)",
                    self.step
                )));
            }
            let sigma = self.assessor.sigma;
            self.readings.push(Reading {
                step: self.step + 1,
                loss: value,
                prediction: prediction.f_double_value(&[])?,
                reconstruction,
                graph: told.map(|Statistics { mean_degree, isolated, mixed }| [sigma, mean_degree, isolated, mixed]),
            });
        }
        loss.f_backward()?;
        self.optimise()?;
        self.step += 1;
        Ok(())
    }

    fn optimise(&mut self) -> Result<(), TorchError> {
        let _frozen = NoGrad::new();
        let plain = self.assessor.recipe.plain;
        let weights = self.assessor.network.weights();
        let mut grads = weights.iter().map(|w| Ok(w.f_grad()?)).collect::<Result<Vec<Tensor>, TorchError>>()?;
        let per_epoch = (self.targets.size1()? / neural_predictor::BATCH as i64).max(1) as u32;
        // Neural Predictor's rate falls once an epoch.
        let (lr, weight_decay, done, total) = match plain {
            true => (neural_predictor::LR, 0.0, self.step / per_epoch, self.settings.predictor_epochs),
            false => (self.settings.lr, self.settings.weight_decay, self.step, self.steps),
        };
        if plain {
            for (grad, weight) in grads.iter_mut().zip(weights) {
                let _ = grad.f_add_(&weight.f_mul_scalar(neural_predictor::L2)?)?;
            }
        }
        let schedule = LrSchedule {
            kind: Schedule::Cosine,
            warmup: 0.0,
            total: f64::from(total),
            milestones: Vec::new(),
            drop: 1.0,
        };
        let how = AdamW { lr: lr * schedule.factor(u64::from(done)), weight_decay, ..AdamW::default() };
        let state = AdamWState { averages: &self.averages, squares: &self.squares, steps: &self.counts };
        fused_adamw(&how, weights, &grads, state)?;
        kiln_nn::torch::clear_grads(weights)
    }

    /// The labelled and then the unlabelled architectures of the step at hand.
    fn batch(&self) -> Result<Batch, TorchError> {
        let n = self.targets.size1()? as usize;
        let recipe = self.assessor.recipe;
        let wanted = if recipe.plain { neural_predictor::BATCH } else { self.settings.batch_labelled as usize };
        let (mut codes, targets) = if n <= wanted {
            (self.labelled.share(true), self.targets.shallow_clone())
        } else {
            let index = match recipe.plain {
                false => draw(self.key("labelled"), n, wanted),
                true => {
                    // Whole epochs in a new order each; the last, smaller batch is dropped.
                    let per_epoch = n / wanted;
                    let (epoch, at) = (self.step as usize / per_epoch, self.step as usize % per_epoch);
                    let mut order: Vec<i64> = (0..n as i64).collect();
                    order.shuffle(&mut ChaCha8Rng::seed_from_u64(derive(self.seed, "epoch", epoch as u64, 0)));
                    order[at * wanted..(at + 1) * wanted].to_vec()
                }
            };
            let index = Tensor::f_from_slice(&index)?.f_to_device(self.device())?;
            (self.labelled.select(&index)?, self.targets.f_index_select(0, &index)?)
        };
        let labelled = codes.len();
        let others = self.unlabelled.len() as usize;
        let wanted = (self.settings.batch_unlabelled as usize).min(others);
        if recipe.unlabelled && wanted > 0 {
            let index =
                Tensor::f_from_slice(&draw(self.key("unlabelled"), others, wanted))?.f_to_device(self.device())?;
            codes = codes.with(&self.unlabelled.select(&index)?)?;
        }
        Ok(Batch { codes, targets, labelled })
    }

    fn key(&self, purpose: &str) -> u64 {
        derive(self.seed, purpose, u64::from(self.step), 0)
    }

    fn device(&self) -> Device {
        self.targets.device()
    }

    /// Keeps the training under names that begin with `prefix`.
    pub fn save(&self, prefix: &str, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value(&format!("{prefix}.fit"), &(self.step, self.assessor.sigma, &self.readings))?;
        for (i, (name, weight)) in self.assessor.network.named().enumerate() {
            checkpoint.tensor(format!("{prefix}.weights.{name}"), weight)?;
            for (what, list) in [("averages", &self.averages), ("squares", &self.squares), ("counts", &self.counts)] {
                if let Some(tensor) = list.get(i) {
                    checkpoint.tensor(format!("{prefix}.{what}.{name}"), tensor)?;
                }
            }
        }
        Ok(())
    }

    /// Takes up what [`Fit::save`] kept; the training must have been made with the same task.
    pub fn load(&mut self, prefix: &str, checkpoint: &CheckpointReader) -> Result<()> {
        (self.step, self.assessor.sigma, self.readings) = checkpoint.value(&format!("{prefix}.fit"))?;
        self.assessor.network.load(&checkpoint.tensors(&format!("{prefix}.weights"))?)?;
        let names: Vec<String> = self.assessor.network.named().map(|(name, _)| name.to_owned()).collect();
        let lists = [("averages", &mut self.averages), ("squares", &mut self.squares), ("counts", &mut self.counts)];
        for (what, list) in lists {
            let saved = checkpoint.tensors(&format!("{prefix}.{what}"))?;
            for (name, tensor) in names.iter().zip(list) {
                let found = saved.iter().find(|(n, t)| n == name && t.size() == tensor.size());
                let found = found.ok_or_else(|| {
                    MethodError::failed(format!("the checkpoint lacks `{prefix}.{what}.{name}`: another Kiln wrote it"))
                })?;
                tensor.f_copy_(&found.1).map_err(MethodError::failed)?;
            }
        }
        Ok(())
    }
}

struct Batch {
    codes: Codes,
    targets: Tensor,
    labelled: i64,
}

/// `count` of `0..n` without repeats.
fn draw(key: u64, n: usize, count: usize) -> Vec<i64> {
    let mut rng = ChaCha8Rng::seed_from_u64(key);
    rand::seq::index::sample(&mut rng, n, count).into_iter().map(|i| i as i64).collect()
}

/// Share of rows without a wrong bit.
fn exact(back: &Tensor, wanted: &Tensor) -> Result<f64, TorchError> {
    let wrong = back.f_detach()?.f_gt(0.5)?.f_ne_tensor(&wanted.f_gt(0.5)?)?.f_flatten(1, -1)?;
    let right = wrong.f_any_dim(1, false)?.f_logical_not()?.f_to_kind(Kind::Float)?;
    Ok(right.f_mean(Kind::Double)?.f_double_value(&[])?)
}
