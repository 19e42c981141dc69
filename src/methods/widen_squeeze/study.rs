//! The state machine: trainings side by side, each as soon as what it waits for is done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kiln_arch::Shape;
use kiln_arch::quantised::{self, Bits, Blueprint};
use kiln_data::{Augment, DataSet};
use kiln_nn::quantised::trainer::{QuantState, adam};
use kiln_nn::quantised::{QuantConfig, QuantEpoch, QuantNetwork, QuantTrainer, Squeeze, Teacher};
use kiln_nn::{Pool, TrainError};
use kiln_protocol::Level;
use kiln_protocol::run::{Best, Outcome, Progress};
use kiln_protocol::spec::{OnOom, Schedule, Spec, WidenSqueezeSettings};
use serde::{Deserialize, Serialize};

use super::packed::{self, Check};
use super::parts::{self, Kind, Part};
use super::work::{self, Job, Left, Product, Tensors};
use super::{prune, report, views};
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::error::{MethodError, Result};
use crate::method::{Flow, Method};

/// Work between two looks at the world.
const SLICE: Duration = Duration::from_millis(400);

/// Time between two states of the live pictures: every one of them goes to disk.
const SHOW_EVERY: Duration = Duration::from_secs(2);

/// A training that is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Why there is no network, if there is none.
    pub failure: Option<String>,
    pub product: Product,
    /// Channels of each group of the network that it left.
    pub widths: Vec<u32>,
    pub epochs: u32,
    pub seconds: f64,
    /// The last epoch.
    pub last: Option<QuantEpoch>,
}

/// Features by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    pub name: String,
    pub width: u32,
    /// Validation accuracy of a linear classifier on the last features.
    pub accuracy: f64,
    /// Correlation of distances with those in the teacher's features.
    pub distances: Option<f64>,
}

/// The plain part of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub done: Vec<Option<Done>>,
    pub seconds: f64,
    pub probes: Option<Vec<Probed>>,
    pub packed: Option<Check>,
    pub written: bool,
}

/// A training under way.
struct Active {
    part: usize,
    trainer: QuantTrainer,
    seconds: f64,
    /// Epochs that were told.
    told: usize,
}

/// The method `widen-squeeze`.
pub struct WidenSqueeze {
    spec: Spec,
    pub(super) settings: WidenSqueezeSettings,
    pub(super) parts: Vec<Part>,
    data: DataSet,
    input: [u32; 3],
    classes: u32,
    pool: Pool,
    active: Vec<Active>,
    pub(super) state: State,
    /// Networks that trainings have left, by the part that goes on with them or is judged by them.
    networks: BTreeMap<usize, Tensors>,
    /// What the last squeeze left of a random choice of channels.
    random: Option<Tensors>,
    shown: Option<Instant>,
}

impl WidenSqueeze {
    /// # Errors
    /// Data that cannot be read, images too small for the network, a budget that the floors exceed.
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<WidenSqueeze> {
        let settings = spec.widen_squeeze.clone().unwrap_or_default();
        let data = cx.data()?;
        let (shape, classes) = crate::data::shape_and_classes(&data)?;
        let Shape::Image(channels, height, width) = shape else {
            return Err(MethodError::failed("widen-squeeze trains on images"));
        };
        let input = [channels, height, width];
        quantised::check(&settings, input, classes)
            .map_err(|(key, said)| MethodError::failed(format!("{key}: {said}")))?;
        let parts = parts::parts(&settings);
        Ok(WidenSqueeze {
            pool: Pool::new(spec.run.parallel, spec.run.threads, cx.device()),
            state: State { done: vec![None; parts.len()], ..State::default() },
            spec: spec.clone(),
            settings,
            parts,
            data,
            input,
            classes,
            active: Vec::new(),
            networks: BTreeMap::new(),
            random: None,
            shown: None,
        })
    }

    /// The network that a factor makes, in 32 bits or quantised.
    pub(super) fn widened(&self, factor: f64, quantised: bool) -> Result<Blueprint> {
        let bits = quantised.then(|| Bits::of(&self.settings));
        Blueprint::new(&self.settings, self.input, self.classes, factor, bits).map_err(MethodError::failed)
    }

    /// The network of a part: of one that is done, what it left; else what it begins with.
    pub(super) fn blueprint(&self, part: usize) -> Result<Blueprint> {
        let widest = self.settings.widest();
        let left = self.state.done[part].as_ref().filter(|d| d.failure.is_none()).map(|d| d.widths.clone());
        let base = match self.parts[part].kind {
            Kind::Full => self.widened(1.0, false)?,
            Kind::Plain => self.widened(1.0, true)?,
            Kind::Widened(factor) => self.widened(factor, true)?,
            Kind::Scratch => self.widened(self.settings.squeeze_to, true)?,
            Kind::Squeeze(_) | Kind::Tune(_) | Kind::Random => self.widened(widest, true)?,
        };
        let begins = || {
            let before = self.parts[part].after.first().and_then(|&a| self.state.done[a].as_ref());
            match self.parts[part].kind {
                Kind::Squeeze(_) | Kind::Tune(_) | Kind::Random => before.map(|d| d.widths.clone()),
                _ => None,
            }
        };
        Ok(match left.or_else(begins).filter(|w| !w.is_empty()) {
            Some(widths) => base.with_widths(&widths),
            None => base,
        })
    }

    /// What a squeeze's network may cost.
    fn budget(&self, round: u32) -> Result<f64> {
        let cost = |factor| self.widened(factor, true).map(|b| b.cost().of(self.settings.budget));
        let (widest, last) = (cost(self.settings.widest())?, cost(self.settings.squeeze_to)?);
        Ok(prune::budget(widest, last, round, self.settings.rounds))
    }

    fn config(&self, part: usize, blueprint: &Blueprint) -> QuantConfig {
        let (own, optim) = (&self.settings, &self.spec.optim);
        let Part { kind, epochs, .. } = self.parts[part];
        let data = &self.spec.data;
        let augment = Augment { crop_pad: i64::from(data.crop_pad), flip: data.flip, rotate: data.rotate };
        let optim = match kind {
            Kind::Full => optim.clone(),
            Kind::Plain | Kind::Widened(_) | Kind::Scratch => adam(optim, own.lr, Schedule::Cosine),
            // A warm-up belongs to new weights.
            Kind::Squeeze(_) => {
                kiln_protocol::spec::OptimSettings { warmup: 0.0, ..adam(optim, own.squeeze_lr, Schedule::Constant) }
            }
            Kind::Tune(_) | Kind::Random => {
                kiln_protocol::spec::OptimSettings { warmup: 0.0, ..adam(optim, own.tune_lr, Schedule::Cosine) }
            }
        };
        QuantConfig {
            optim,
            gradient: own.gradient,
            threads: self.spec.run.threads.max(1),
            seed: self.spec.seed,
            part: part as u64,
            epochs,
            augment: (!augment.is_none()).then_some(augment),
            guide: (!matches!(kind, Kind::Full | Kind::Plain)).then(|| parts::guide(own)),
            squeeze: matches!(kind, Kind::Squeeze(_)).then(|| Squeeze {
                lr: own.importance_lr,
                lambda: own.lambda,
                kappa: prune::kappa(blueprint, own.budget),
            }),
        }
    }

    fn begin(&self, part: usize, batch: Option<u32>) -> Result<QuantTrainer> {
        let blueprint = self.blueprint(part)?;
        let mut config = self.config(part, &blueprint);
        config.optim.batch = batch.unwrap_or(config.optim.batch);
        let kind = self.parts[part].kind;
        let before = self.parts[part].after.first().and_then(|a| self.networks.get(a));
        let start = match kind {
            Kind::Squeeze(_) | Kind::Tune(_) => before,
            Kind::Random => self.random.as_ref(),
            _ => None,
        };
        let teacher = match (&config.guide, self.networks.get(&0)) {
            (Some(guide), Some(tensors)) if !guide.is_silent() => Some(Teacher(self.network(0, tensors)?)),
            _ => None,
        };
        QuantTrainer::new(&blueprint, config, self.data.share(), start.map(Vec::as_slice), teacher)
            .map_err(MethodError::failed)
    }

    /// A network that a part has left.
    fn network(&self, part: usize, tensors: &Tensors) -> Result<QuantNetwork> {
        let blueprint = self.blueprint(part)?;
        let built = || -> kiln_nn::Result<QuantNetwork> {
            let mut network = QuantNetwork::new(&blueprint, self.settings.gradient, 0, self.data.device())?;
            network.load(tensors)?;
            Ok(network)
        };
        built().map_err(MethodError::failed)
    }

    /// Takes up trainings until as many are under way as run side by side. One that waits for a failed one fails with it.
    fn fill(&mut self, cx: &mut StepCx) -> Result<()> {
        for part in 0..self.parts.len() {
            if self.state.done[part].is_some() || self.active.iter().any(|a| a.part == part) {
                continue;
            }
            let after = &self.parts[part].after;
            let failed = after.iter().find(|&&a| self.state.done[a].as_ref().is_some_and(|d| d.failure.is_some()));
            if let Some(&failed) = failed {
                let why = format!("not trained, since {} has no network to go on from", self.parts[failed].name);
                cx.log(Level::Warn, format!("{}: {why}", self.parts[part].name));
                self.state.done[part] = Some(Done { failure: Some(why), ..Done::default() });
                continue;
            }
            let ready = after.iter().all(|&a| self.state.done[a].is_some());
            if ready && self.active.len() < self.pool.parallel() {
                let trainer = self.begin(part, None)?;
                self.active.push(Active { part, trainer, seconds: 0.0, told: 0 });
            }
        }
        Ok(())
    }

    /// A slice of work on all trainings under way.
    fn work(&mut self, cx: &mut StepCx) -> Result<()> {
        self.fill(cx)?;
        let began = Instant::now();
        let deadline = began + SLICE;
        let rounds = self.settings.rounds;
        let budgets = (0..rounds).map(|round| self.budget(round)).collect::<Result<Vec<f64>>>()?;
        let (own, parts, seed) = (&self.settings, &self.parts, self.spec.seed);
        let job = |part: usize| {
            let kind = parts[part].kind;
            let round = if let Kind::Squeeze(round) = kind { round } else { 0 };
            Job {
                kind,
                own,
                seed,
                budget: budgets.get(round as usize).copied().unwrap_or_default(),
                result: parts[part].is_result(parts),
                last_round: round + 1 == rounds,
            }
        };
        let items: Vec<(&mut Active, Job)> =
            self.active.iter_mut().map(|a| (job(a.part), a)).map(|(j, a)| (a, j)).collect();
        let results = self.pool.map(items, &mut || cx.tick().is_err(), |(active, job), stop| {
            let began = Instant::now();
            let left = work::advance(&mut active.trainer, &job, deadline, stop);
            active.seconds += began.elapsed().as_secs_f64();
            left
        });
        self.state.seconds += began.elapsed().as_secs_f64();
        let mut ended: Vec<(usize, Result<Left, String>)> = Vec::new();
        for (i, result) in results.into_iter().enumerate() {
            self.tell(i, cx);
            match result {
                Ok(None) => {}
                Ok(Some(left)) => ended.push((i, Ok(left))),
                Err(TrainError::OutOfMemory { batch, message }) => self.shrink(i, batch, &message, &mut ended, cx)?,
                Err(error @ TrainError::Diverged(_)) => ended.push((i, Err(format!("diverged: {error}")))),
                Err(error) => ended.push((i, Err(error.to_string()))),
            }
        }
        self.show(cx)?;
        for (i, outcome) in ended.into_iter().rev() {
            let active = self.active.remove(i);
            self.end(active, outcome, cx);
        }
        self.figures(cx)
    }

    fn shrink(
        &mut self,
        i: usize,
        batch: i64,
        message: &str,
        ended: &mut Vec<(usize, Result<Left, String>)>,
        cx: &mut StepCx,
    ) -> Result<()> {
        let part = self.active[i].part;
        let smaller = u32::try_from(batch / 2).unwrap_or(0);
        if self.spec.run.on_oom != OnOom::Halve || smaller == 0 {
            ended.push((i, Err(format!("out of memory with batches of {batch} images: {message}"))));
            return Ok(());
        }
        let name = &self.parts[part].name;
        let said = format!("{name} ran out of memory with batches of {batch} images and starts again with {smaller}");
        cx.log(Level::Warn, said);
        self.active[i].trainer = self.begin(part, Some(smaller))?;
        self.active[i].told = 0;
        Ok(())
    }

    fn end(&mut self, active: Active, outcome: Result<Left, String>, cx: &mut StepCx) {
        let name = self.parts[active.part].name.clone();
        let (epochs, last) = (active.trainer.history().len() as u32, active.trainer.history().last().cloned());
        let mut done = Done { epochs, seconds: active.seconds, last, ..Done::default() };
        match outcome {
            Err(why) => {
                cx.log(Level::Warn, format!("{name}: {why}"));
                done.failure = Some(why);
            }
            Ok(Left { product, network: (blueprint, tensors), random }) => {
                done.widths = blueprint.widths;
                if let (Kind::Tune(round), Some(valid)) = (self.parts[active.part].kind, product.valid)
                    && round + 1 == self.settings.rounds
                {
                    cx.best(Best {
                        name: "squeezed/valid-accuracy".into(),
                        value: valid.accuracy,
                        higher_is_better: true,
                    });
                }
                if let Some(squeezed) = &product.squeezed {
                    let counts = squeezed.groups.iter().map(|g| g.counts.clone()).collect();
                    let names = active.trainer.network().blueprint().group_names();
                    cx.view("importances", views::importances(&self.parts[active.part].title, &names, counts));
                }
                done.product = product;
                self.networks.insert(active.part, tensors);
                if let Some((_, tensors)) = random {
                    self.random = Some(tensors);
                }
            }
        }
        self.state.done[active.part] = Some(done);
    }

    /// The series of a training's new epochs.
    fn tell(&mut self, i: usize, cx: &mut StepCx) {
        let active = &mut self.active[i];
        let name = &self.parts[active.part].name;
        for epoch in active.trainer.history().iter().skip(active.told) {
            let x = f64::from(epoch.epoch);
            let mut tell = |what: &str, y: f64| cx.scalar(&format!("{name}/{what}"), x, y);
            tell("loss", epoch.loss);
            tell("valid-accuracy", epoch.valid.accuracy);
            tell("valid-loss", epoch.valid.loss);
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            if !epoch.projection.is_empty() {
                tell("projection", mean(&epoch.projection));
            }
            if !epoch.flips.is_empty() {
                tell("sign-flips", mean(&epoch.flips));
            }
            if !epoch.importances.is_empty() {
                tell("faint", mean(&epoch.importances.iter().map(|i| i[0]).collect::<Vec<_>>()));
                tell("mean-importance", mean(&epoch.importances.iter().map(|i| i[1]).collect::<Vec<_>>()));
                tell("lambda", epoch.lambda);
            }
        }
        active.told = active.trainer.history().len();
    }

    /// The pictures of the trainings under way, now and then: of a squeeze, else of the first quantised one.
    fn show(&mut self, cx: &mut StepCx) -> Result<()> {
        if self.shown.is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return Ok(());
        }
        let squeeze = |a: &&Active| matches!(self.parts[a.part].kind, Kind::Squeeze(_));
        let quantised = |a: &&Active| a.trainer.network().blueprint().bits.is_some() && !a.trainer.history().is_empty();
        let Some(active) =
            self.active.iter().filter(quantised).find(squeeze).or_else(|| self.active.iter().find(quantised))
        else {
            return Ok(());
        };
        let part = &self.parts[active.part];
        let widest = self.widened(self.settings.widest(), true)?;
        let figures = active.trainer.figures().map_err(MethodError::failed)?;
        let network = active.trainer.network();
        let title = format!("{}, epoch {} of {}", part.title, active.trainer.history().len(), part.epochs);
        let last = active.trainer.history().last();
        cx.view("layers", views::layers(&title, network.blueprint(), &widest, &figures, last));
        cx.view("weights", views::weights(&title, network).map_err(MethodError::failed)?);
        let importances = active.trainer.importances().map_err(MethodError::failed)?;
        if !importances.is_empty() {
            let counts = importances.iter().map(|group| views::importance_counts(group)).collect();
            cx.view("importances", views::importances(&title, &network.blueprint().group_names(), counts));
        }
        self.shown = Some(Instant::now());
        Ok(())
    }

    /// Accuracy against cost, the budget, and how far the run is.
    fn figures(&self, cx: &mut StepCx) -> Result<()> {
        let results = report::Results::of(self)?;
        for (name, view) in views::pareto(&results) {
            cx.view(name, view);
        }
        if let Some(view) = views::budget(self, &results)? {
            cx.view("budget", view);
        }
        let epochs = |part: &Part| f64::from(part.epochs);
        let total: f64 = self.parts.iter().map(epochs).sum();
        let done: f64 =
            (self.parts.iter().zip(&self.state.done)).filter(|(_, d)| d.is_some()).map(|(p, _)| epochs(p)).sum();
        let under_way: f64 = self.active.iter().map(|a| a.trainer.position()).sum();
        let names: Vec<&str> = self.active.iter().map(|a| self.parts[a.part].name.as_str()).collect();
        let note = if names.is_empty() { "done".to_owned() } else { names.join(", ") };
        cx.set_x(done + under_way);
        cx.progress(Progress { done: (done + under_way).min(total), total, unit: "epochs".into(), note });
        Ok(())
    }

    /// The part whose network is the run's result.
    fn squeezed(&self) -> Option<usize> {
        self.parts.iter().rposition(|p| matches!(p.kind, Kind::Tune(_)))
    }

    /// What the features are worth by themselves.
    fn probe(&self, cx: &mut StepCx) -> Result<Vec<Probed>> {
        let mut out = Vec::new();
        let wanted = |kind: Kind| matches!(kind, Kind::Full | Kind::Plain | Kind::Widened(_) | Kind::Tune(_));
        let mut taught: Option<Vec<f64>> = None;
        for (part, Part { name, kind, .. }) in self.parts.iter().enumerate() {
            let Some(tensors) = self.networks.get(&part).filter(|_| wanted(*kind)) else { continue };
            let network = self.network(part, tensors)?;
            let accuracy =
                kiln_nn::quantised::measure::linear_accuracy(&network, &self.data).map_err(MethodError::failed)?;
            let apart = kiln_nn::quantised::measure::distances(&network, &self.data).map_err(MethodError::failed)?;
            let distances = taught.as_ref().and_then(|theirs: &Vec<f64>| {
                let pairs: Vec<(f64, f64)> = theirs.iter().copied().zip(apart.iter().copied()).collect();
                kiln_metrics::pearson(&pairs)
            });
            let blueprint = network.blueprint();
            out.push(Probed {
                name: name.clone(),
                width: blueprint.widths[blueprint.last_group()],
                accuracy,
                distances,
            });
            if *kind == Kind::Full {
                taught = Some(apart);
            }
            if matches!(kind, Kind::Full | Kind::Widened(_)) {
                let plane = kiln_nn::quantised::measure::plane(&network, &self.data).map_err(MethodError::failed)?;
                cx.view(&format!("features-{name}"), views::plane(name, &plane, &self.data.classes));
            }
        }
        Ok(out)
    }

    /// Files for other programs, and the last pictures.
    fn close(&mut self, cx: &mut StepCx) -> Result<()> {
        if self.settings.probe && self.state.probes.is_none() {
            self.state.probes = Some(self.probe(cx)?);
        }
        if let Some((part, tensors)) = self.squeezed().and_then(|p| Some((p, self.networks.get(&p)?))) {
            let network = self.network(part, tensors)?;
            let file = packed::file(&network, &self.data).map_err(MethodError::failed)?;
            let check = packed::check(&network, &file, &self.data).map_err(MethodError::failed)?;
            let path = cx.write_artifact(packed::FILE, &file)?;
            cx.log(Level::Info, format!("the squeezed network is packed in {}", path.display()));
            let about =
                serde_json::json!({ "form": "latent", "network": network.blueprint(), "data": self.data.digest });
            let latent = crate::export::file(tensors, &about)?;
            cx.write_artifact("squeezed.safetensors", &latent)?;
            self.state.packed = Some(check);
            let widest = self.widened(self.settings.widest(), true)?;
            let done = self.state.done[part].as_ref();
            let figures = done.map(|d| d.product.layers.clone()).unwrap_or_default();
            // What is known of the importances is the squeeze's.
            let squeeze = self.parts[part].after.first().and_then(|&a| self.state.done[a].as_ref()?.last.as_ref());
            let importances = squeeze.map(|epoch| epoch.importances.clone()).unwrap_or_default();
            let last = done.and_then(|d| d.last.clone()).map(|epoch| QuantEpoch { importances, ..epoch });
            let title = &self.parts[part].title;
            cx.view("layers", views::layers(title, network.blueprint(), &widest, &figures, last.as_ref()));
            cx.view("weights", views::weights(title, &network).map_err(MethodError::failed)?);
        }
        if let Some(probes) = &self.state.probes {
            cx.view("probe", views::probes(probes));
        }
        self.figures(cx)?;
        self.state.written = true;
        Ok(())
    }
}

impl Method for WidenSqueeze {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        if self.state.done.iter().all(Option::is_some) {
            if self.state.written {
                return Ok(Flow::Done);
            }
            self.close(cx)?;
            return Ok(Flow::More);
        }
        self.work(cx)?;
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("widen-squeeze", &self.state)?;
        let active: Vec<(usize, f64)> = self.active.iter().map(|a| (a.part, a.seconds)).collect();
        checkpoint.value("active", &active)?;
        for Active { part, trainer, .. } in &self.active {
            let (state, tensors) = trainer.save().map_err(MethodError::failed)?;
            checkpoint.value(&format!("training{part}"), &state)?;
            for (name, tensor) in tensors {
                checkpoint.tensor(format!("training{part}.{name}"), &tensor)?;
            }
        }
        for (part, tensors) in &self.networks {
            for (name, tensor) in tensors {
                checkpoint.tensor(format!("network{part}.{name}"), tensor)?;
            }
        }
        for (name, tensor) in self.random.iter().flatten() {
            checkpoint.tensor(format!("random.{name}"), tensor)?;
        }
        Ok(())
    }

    fn load(&mut self, checkpoint: &CheckpointReader, cx: &mut StepCx) -> Result<()> {
        self.state = checkpoint.value("widen-squeeze")?;
        if self.state.done.len() != self.parts.len() {
            return Err(MethodError::failed("the checkpoint is of other settings: it has another number of trainings"));
        }
        self.networks.clear();
        for (part, done) in self.state.done.iter().enumerate() {
            if done.as_ref().is_some_and(|d| d.failure.is_none()) {
                self.networks.insert(part, checkpoint.tensors(&format!("network{part}"))?);
            }
        }
        self.random = Some(checkpoint.tensors("random")?).filter(|t| !t.is_empty());
        let active: Vec<(usize, f64)> = checkpoint.value("active")?;
        self.active.clear();
        for (part, seconds) in active {
            let state: QuantState = checkpoint.value(&format!("training{part}"))?;
            let batch = u32::try_from(state.batch).ok();
            let mut trainer = self.begin(part, batch)?;
            let tensors = checkpoint.tensors(&format!("training{part}"))?;
            trainer.load(state, &tensors).map_err(MethodError::failed)?;
            let told = trainer.history().len();
            self.active.push(Active { part, trainer, seconds, told });
        }
        self.figures(cx)
    }

    fn outcome(&self) -> Outcome {
        report::outcome(self)
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        let series =
            ["loss", "valid-accuracy", "valid-loss", "projection", "sign-flips", "faint", "mean-importance", "lambda"];
        let of = |part: &Part| series.map(|what| (format!("{}/{what}", part.name), f64::from(part.epochs)));
        self.parts.iter().flat_map(of).collect()
    }

    fn score(&self) -> Option<f64> {
        None
    }
}
