//! The run as a state machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kiln_arch::{GanPlan, Shape};
use kiln_data::DataSet;
use kiln_metrics::{Features, evenness, kernel_distance, precision_recall};
use kiln_nn::gan::SavedGan;
use kiln_nn::{GanConfig, GanEnd, GanTrainer, Pool, TrainError};
use kiln_protocol::Level;
use kiln_protocol::run::{Best, Outcome, Progress};
use kiln_protocol::spec::{OnOom, PuganSettings, Spec};
use serde_json::json;
use tch::{Device, Tensor};

use super::record::{Finals, Measured, Record};
use super::report::Findings;
use super::ruler::{self, Made, Recipe, Ruler};
use super::sheet::{SAMPLES, Sheet};
use super::views;
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::data::shape_and_classes;
use crate::error::{MethodError, Result};
use crate::fleet::{Fleet, Task};
use crate::method::{Flow, Method};
use crate::text::{maybe, thousands};
use crate::train::Finish;

/// Work between two looks at the world.
const SLICE: Duration = Duration::from_millis(400);

/// Images of either kind whose logits are shown.
const SCORED: i64 = 512;

/// Vectors of either kind that figures over all pairs are taken from, at most.
const PAIRED: usize = 2000;

/// Nearest neighbours that span a manifold, as those who proposed precision and recall advise.
const NEIGHBOURS: usize = 3;

/// The generator's file in `artifacts/`.
pub const FILE: &str = "generator.safetensors";

/// The method `pugan`.
pub struct Pugan {
    settings: PuganSettings,
    plan: GanPlan,
    data: DataSet,
    recipe: Recipe,
    pool: Pool,
    /// The classifier while it trains.
    fleet: Fleet,
    /// The trained classifier.
    made: Option<(Made, Vec<(String, Tensor)>)>,
    ruler: Option<Ruler>,
    trainer: GanTrainer,
    record: Record,
}

impl Pugan {
    /// # Errors
    /// Data that cannot be read, and images that the networks cannot make.
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<Pugan> {
        let settings = spec.pugan.clone().unwrap_or_default();
        let device = cx.device();
        let data = ruler::data(spec, &settings, device)?;
        let plan = GanPlan::of(&settings, shape_and_classes(&data)?.0)
            .map_err(|(key, why)| MethodError::failed(format!("{key} {why}")))?;
        let recipe = Recipe::of(spec, &settings, &data)?;
        let pool = Pool::new(1, spec.run.threads, device);
        let mut fleet = Fleet::new(pool);
        let task = Task {
            plan: recipe.plan.clone(),
            config: recipe.config.clone(),
            subset: None,
            epochs: settings.feature_epochs,
            halve: spec.run.on_oom == OnOom::Halve,
        };
        fleet.add(0, task, data.share());
        let config = GanConfig { settings: settings.clone(), optim: spec.optim.clone(), seed: spec.seed };
        let trainer = GanTrainer::new(&plan, config, data.train.images.shallow_clone()).map_err(MethodError::failed)?;
        Ok(Pugan {
            settings,
            plan,
            data,
            recipe,
            pool,
            fleet,
            made: None,
            ruler: None,
            trainer,
            record: Record::default(),
        })
    }

    fn iterations(&self) -> u64 {
        u64::from(self.settings.iterations)
    }

    fn target(&self) -> Option<f64> {
        let at = self.trainer.step().saturating_sub(1);
        self.settings.target_logit(self.settings.prior_at(at))
    }

    /// Takes the classifier that is kept, or trains one for a slice.
    fn classifier(&mut self, cx: &mut StepCx) -> Result<()> {
        if self.fleet.in_training().is_empty()
            && let Some((made, tensors)) = self.recipe.kept(cx.folder())
        {
            let file = self.recipe.file(cx.folder());
            cx.log(
                Level::Info,
                format!(
                    "features come from the classifier in {} (accuracy {})",
                    file.display(),
                    maybe(made.accuracy, 4)
                ),
            );
            self.made = Some((made, tensors));
            return Ok(());
        }
        let sliced = self.fleet.slice(&Finish, SLICE, cx);
        let unsaid = sliced.finished.iter().map(|f| f.news.as_slice());
        for epoch in sliced.news.iter().map(|n| n.epochs.as_slice()).chain(unsaid).flatten() {
            cx.scalar("features/loss", epoch.epoch as f64, epoch.loss);
            if let Some(valid) = epoch.valid {
                cx.scalar("features/accuracy", epoch.epoch as f64, valid.accuracy);
            }
        }
        for finished in sliced.finished {
            let product = finished.outcome.map_err(|failure| {
                MethodError::failed(format!(
                    "the classifier for the features cannot be trained: {}",
                    failure.sentence()
                ))
            })?;
            if let Some(why) = product.failure {
                return Err(MethodError::failed(format!("the classifier for the features cannot be trained: {why}")));
            }
            let made = Made { of: self.recipe.of.clone(), accuracy: product.valid.map(|v| v.accuracy) };
            cx.log(
                Level::Info,
                format!(
                    "the classifier for the features tells {} of the held-out images right",
                    maybe(made.accuracy, 4)
                ),
            );
            if let Err(error) = self.recipe.keep(cx.folder(), &made, &product.tensors) {
                cx.log(Level::Warn, format!("the classifier is not kept for other runs: {error}"));
            }
            self.made = Some((made, product.tensors));
        }
        let done = self.fleet.epochs_done();
        cx.progress(Progress {
            done: 0.0,
            total: self.iterations() as f64,
            unit: "iterations".into(),
            note: format!("classifier for the features, epoch {done:.0} of {}", self.settings.feature_epochs),
        });
        Ok(())
    }

    /// The ruler, made at the first call.
    fn ruler(&mut self, cx: &mut StepCx) -> Result<&Ruler> {
        if self.ruler.is_none() {
            let (made, tensors) = self.made.as_ref().ok_or_else(|| MethodError::failed("there is no classifier"))?;
            let made = (made.clone(), tensors.as_slice());
            let ruler = Ruler::new(&self.recipe, &self.data, made, &mut || cx.tick().is_err())?;
            let ruler = ruler.ok_or(MethodError::Interrupted)?;
            cx.log(
                Level::Info,
                format!(
                    "Fréchet distance between two halves of the real images: {} ({} features); none below it means much",
                    maybe(ruler.floor, 3),
                    ruler.dim
                ),
            );
            let wanted = 20 * ruler.dim as u64;
            let least = u64::from(self.settings.samples).min(self.data.train.len().unsigned_abs());
            if least < wanted {
                cx.log(
                    Level::Warn,
                    format!(
                        "covariances of {} features come from {least} images; distances are too large by the error of that. Wanted are \
                         {wanted} and more (pugan.samples, data.train), or fewer pugan.features",
                        ruler.dim
                    ),
                );
            }
            self.ruler = Some(ruler);
        }
        self.ruler.as_ref().ok_or_else(|| MethodError::failed("there is no ruler"))
    }

    /// The next iteration at which something is to be seen.
    fn next_stop(&self) -> u64 {
        let step = self.trainer.step();
        let after = |every: u32| (step / u64::from(every) + 1) * u64::from(every);
        after(self.settings.evaluate_every).min(after(self.settings.sample_every)).min(self.iterations())
    }

    /// Whether something that comes every so often, and at the end, is due and was not done at this iteration.
    fn due(&self, every: u32, last: u64) -> bool {
        let step = self.trainer.step();
        let now = step > 0 && (step.is_multiple_of(u64::from(every)) || step >= self.iterations());
        now && last < step && self.trainer.diverged().is_none()
    }

    fn train(&mut self, cx: &mut StepCx) -> Result<()> {
        let until = self.next_stop();
        let began = Instant::now();
        let deadline = began + SLICE;
        let items = vec![&mut self.trainer];
        let done = self.pool.map(items, &mut || cx.tick().is_err(), |trainer, stop| {
            trainer.run(until, Some(deadline), &|| stop.asked())
        });
        self.record.seconds += began.elapsed().as_secs_f64();
        let end = match done.into_iter().next() {
            Some(Ok(end)) => end,
            Some(Err(TrainError::OutOfMemory { message, .. })) => {
                return Err(MethodError::failed(format!(
                    "the device has no room for a step: {message}. Try a smaller optim.batch or pugan.width"
                )));
            }
            Some(Err(error)) => return Err(MethodError::failed(error)),
            None => return Err(MethodError::failed("the training left no result")),
        };
        self.tell(cx);
        if end == GanEnd::Diverged {
            let at = thousands(self.trainer.step() as f64);
            cx.log(Level::Warn, format!("diverged: a loss or gradient is no longer a number at iteration {at}"));
        }
        Ok(())
    }

    /// Hands readings on, and rings when the critic is dead.
    fn tell(&mut self, cx: &mut StepCx) {
        for reading in self.trainer.take_readings() {
            let target = self.settings.target_logit(reading.prior.unwrap_or(self.settings.prior));
            views::reading(cx, &reading, self.settings.pu, target);
            if self.record.note(&reading) {
                cx.log(
                    Level::Warn,
                    format!(
                        "the discriminator is dead: more than 95 % of the last 500 steps were clipped (iteration {}). It learns from \
                         real images alone, and the generator from nothing. Remedies: a smaller optim.lr, a lower pugan.prior, \
                         pugan.warmup = 500, or pugan.nnpu = true",
                        thousands(reading.step as f64)
                    ),
                );
            }
        }
    }

    /// A sheet of samples from the same noise as ever, and the scores of both kinds of image.
    fn show(&mut self, cx: &mut StepCx) -> Result<()> {
        let step = self.trainer.step();
        let title = format!("samples at iteration {}", thousands(step as f64));
        let noise = self.trainer.noise_for("grid", SAMPLES).map_err(MethodError::failed)?;
        let images = self.trainer.samples(&noise).map_err(MethodError::failed)?;
        let sheet = Sheet::of(&images)?;
        cx.write_artifact(&format!("samples/{step:08}.png"), &sheet.png()?)?;
        cx.view("samples", kiln_protocol::View::Images(sheet.view(title, self.settings.label())));

        let count = SCORED.min(self.trainer.images());
        let noise = self.trainer.noise_for("scores", count).map_err(MethodError::failed)?;
        let fake = self.trainer.samples(&noise).map_err(MethodError::failed)?;
        let real = self.data.train.images.f_narrow(0, 0, count).map_err(MethodError::failed)?;
        let logits = |images: &Tensor| -> Result<Vec<f64>> {
            let logits = self.trainer.logits(images).map_err(MethodError::failed)?;
            let logits = logits.f_to_kind(tch::Kind::Double).and_then(|l| l.f_to_device(Device::Cpu));
            Vec::try_from(logits.map_err(MethodError::failed)?).map_err(MethodError::failed)
        };
        let title = format!("scores at iteration {}", thousands(step as f64));
        if let Some(view) = views::scores(title, &logits(&real)?, &logits(&fake)?, self.target()) {
            cx.view("scores", view);
        }
        self.record.shown = step;
        Ok(())
    }

    /// Features of as many generated images as a measurement takes.
    fn seen(&self, cx: &mut StepCx) -> Result<(Vec<f64>, Vec<u64>)> {
        let ruler = self.ruler.as_ref().ok_or_else(|| MethodError::failed("there is no ruler"))?;
        let noise = self.trainer.noise_for("measure", i64::from(self.settings.samples)).map_err(MethodError::failed)?;
        let mut features = Vec::new();
        let mut classes = vec![0; self.data.classes.len()];
        for part in noise.f_split(500, 0).map_err(MethodError::failed)? {
            let images = self.trainer.samples(&part).map_err(MethodError::failed)?;
            let seen = ruler.see(&images, &mut || cx.tick().is_err())?.ok_or(MethodError::Interrupted)?;
            features.extend(seen.features);
            classes.iter_mut().zip(seen.classes).for_each(|(sum, n)| *sum += n);
        }
        Ok((features, classes))
    }

    fn measure(&mut self, cx: &mut StepCx) -> Result<()> {
        let step = self.trainer.step();
        self.ruler(cx)?;
        let (features, classes) = self.seen(cx)?;
        let ruler = self.ruler.as_ref().ok_or_else(|| MethodError::failed("there is no ruler"))?;
        let seen = ruler::Seen { features, classes };
        let distance = ruler.distance(&seen);
        let measured = Measured { step, distance, evenness: evenness(&seen.classes) };
        let x = step as f64;
        if let Some(distance) = distance {
            cx.scalar("frechet/distance", x, distance);
            if self.record.measured.iter().all(|m| m.distance.is_none_or(|d| distance < d)) {
                cx.best(Best { name: "frechet/distance".into(), value: distance, higher_is_better: false });
            }
        }
        if let Some(floor) = ruler.floor {
            cx.scalar("floor/distance", x, floor);
        }
        if let Some(evenness) = measured.evenness {
            cx.scalar("classes/entropy", x, evenness);
        }
        let title = format!("classes at iteration {}", thousands(x));
        let both = [ruler.evenness(), measured.evenness];
        cx.view("classes", views::classes(title, &self.data.classes, &ruler.real.classes, &seen.classes, both));
        self.record.measured.push(measured);
        Ok(())
    }

    /// The figures that look at all pairs of images.
    fn finals(&mut self, cx: &mut StepCx) -> Result<()> {
        if self.trainer.diverged().is_some() {
            self.record.finals = Some(Finals::default());
            return Ok(());
        }
        self.ruler(cx)?;
        let (features, _) = self.seen(cx)?;
        let ruler = self.ruler.as_ref().ok_or_else(|| MethodError::failed("there is no ruler"))?;
        let set = |data| Features::new(data, ruler.dim).map(|set| set.first(PAIRED));
        self.record.finals = Some(match (set(&ruler.real.features), set(&features)) {
            (Some(real), Some(made)) => {
                let both = precision_recall(real, made, NEIGHBOURS);
                let kernel = kernel_distance(real, made);
                Finals { kernel, precision: both.map(|b| b.0), recall: both.map(|b| b.1) }
            }
            _ => Finals::default(),
        });
        Ok(())
    }

    /// The generator as a file for other programs.
    fn write(&mut self, cx: &mut StepCx) -> Result<()> {
        if self.trainer.diverged().is_none() {
            let Shape::Image(channels, height, width) = self.plan.image else {
                return Err(MethodError::failed("the pair makes no images"));
            };
            let about = json!({
                "kind": "generator",
                "net": self.settings.net,
                "width": self.settings.width,
                "latent": self.plan.latent,
                "image": [channels, height, width],
                "pixels": "tanh, from -1 (0) to 1 (255)",
                "loss": self.settings.label(),
                "average": self.settings.ema > 0.0,
                "iterations": self.trainer.step(),
                "data": self.data.digest,
                "kiln": env!("CARGO_PKG_VERSION"),
            });
            let bytes = crate::export::file(&self.trainer.sampler().named_tensors(), &about)?;
            let path = cx.write_artifact(FILE, &bytes)?;
            cx.log(Level::Info, format!("the generator is in {}", path.display()));
        }
        self.record.written = true;
        Ok(())
    }

    fn progress(&self, cx: &mut StepCx) {
        let (done, total) = (self.trainer.step() as f64, self.iterations() as f64);
        // A diverged training has nothing left to do.
        let done = if self.trainer.diverged().is_some() { total } else { done };
        cx.set_x(self.trainer.step() as f64);
        let note = match self.record.last().and_then(|m| m.distance) {
            Some(distance) => format!("{}, Fréchet distance {}", self.settings.label(), maybe(Some(distance), 2)),
            None => self.settings.label(),
        };
        cx.progress(Progress { done, total, unit: "iterations".into(), note });
    }
}

impl Method for Pugan {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        if self.made.is_none() {
            self.classifier(cx)?;
            return Ok(Flow::More);
        }
        self.ruler(cx)?;
        if let Some(lr) = cx.knob("optim.lr") {
            self.trainer.set_lr(lr);
        }
        let measured = self.record.last().map_or(0, |m| m.step);
        if self.due(self.settings.evaluate_every, measured) {
            self.measure(cx)?;
        } else if self.due(self.settings.sample_every, self.record.shown) {
            self.show(cx)?;
        } else if self.trainer.step() < self.iterations() && self.trainer.diverged().is_none() {
            self.train(cx)?;
        } else if self.record.finals.is_none() {
            self.finals(cx)?;
        } else if !self.record.written {
            self.write(cx)?;
        } else {
            return Ok(Flow::Done);
        }
        self.progress(cx);
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("pugan", &self.record)?;
        checkpoint.value("classifier", &self.made.as_ref().map(|(made, _)| made))?;
        for (name, tensor) in self.made.iter().flat_map(|(_, tensors)| tensors) {
            checkpoint.tensor(format!("classifier.{name}"), tensor)?;
        }
        if self.made.is_none() {
            self.fleet.save(checkpoint)?;
        }
        let saved = self.trainer.save().map_err(MethodError::failed)?;
        checkpoint.value("pair", &saved.state)?;
        for (name, tensor) in &saved.tensors {
            checkpoint.tensor(format!("pair.{name}"), tensor)?;
        }
        Ok(())
    }

    fn load(&mut self, checkpoint: &CheckpointReader, _cx: &mut StepCx) -> Result<()> {
        self.record = checkpoint.value("pugan")?;
        let made: Option<Made> = checkpoint.value("classifier")?;
        match made {
            Some(made) => self.made = Some((made, checkpoint.tensors("classifier")?)),
            None => self.fleet.load(checkpoint)?,
        }
        let saved = SavedGan { state: checkpoint.value("pair")?, tensors: checkpoint.tensors("pair")? };
        self.trainer.load(&saved).map_err(MethodError::failed)
    }

    fn outcome(&self) -> Outcome {
        Findings {
            settings: &self.settings,
            plan: &self.plan,
            record: &self.record,
            ruler: self.ruler.as_ref(),
            step: self.trainer.step(),
            diverged: self.trainer.diverged(),
        }
        .outcome()
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        let epochs = f64::from(self.settings.feature_epochs);
        BTreeMap::from([
            ("*".to_owned(), self.iterations() as f64),
            ("features/loss".to_owned(), epochs),
            ("features/accuracy".to_owned(), epochs),
        ])
    }

    fn units(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("*".to_owned(), "iterations".to_owned()),
            ("features/loss".to_owned(), "epochs".to_owned()),
            ("features/accuracy".to_owned(), "epochs".to_owned()),
        ])
    }

    fn knobs(&self) -> &'static [&'static str] {
        kiln_protocol::spec::MethodName::Pugan.live()
    }

    fn score(&self) -> Option<f64> {
        self.record.last().and_then(|m| m.distance).map(|distance| -distance)
    }
}
