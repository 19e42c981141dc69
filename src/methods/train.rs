//! Plain training of one architecture: the baseline of all else.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_arch::{Arch, Cost, Plan, Space};
use kiln_data::DataSet;
use kiln_nn::pool::Stop;
use kiln_nn::{Epoch, Eval, Look, Network, Pool, Reading, TrainError, Trainer, TrainerConfig};
use kiln_protocol::Level;
use kiln_protocol::run::{Best, DIVERGED, Figure, Outcome, Progress, Table};
use kiln_protocol::spec::seed::derive;
use kiln_protocol::spec::{OnOom, Spec, TrainSettings};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::data::shape_and_classes;
use crate::error::{MethodError, Result};
use crate::fleet::{Failure, Fleet, Note, Recipe, Task};
use crate::method::{Flow, Method};
use crate::text::{maybe, thousands};

/// Work between two looks at the world: short enough for a live curve.
const SLICE: Duration = Duration::from_millis(400);

/// The method `train`, and with another recipe the training of one architecture in other methods.
pub struct Train<R: Recipe<Product = Product> = Finish> {
    spec: Spec,
    settings: TrainSettings,
    arch: Arch,
    plan: Plan,
    data: DataSet,
    recipe: R,
    /// Keys of the live knobs; the last one sets the epochs.
    knobs: &'static [&'static str],
    fleet: Fleet,
    state: State,
    /// The trained network's tensors, once done.
    network: Vec<(String, Tensor)>,
    /// See [`Product::looks`].
    looks: Vec<Look>,
}

/// The plain part of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    epochs: Vec<Row>,
    best: Option<f64>,
    end: Option<End>,
    written: bool,
    /// What the recipe left after each epoch, once done.
    #[serde(default)]
    snapshots: Vec<Vec<f64>>,
}

/// What is kept of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    epoch: u64,
    /// `None` where it is no number.
    loss: Option<f64>,
    valid_loss: Option<f64>,
    valid_accuracy: Option<f64>,
}

/// What was found at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct End {
    failure: Option<String>,
    valid: Option<Eval>,
    /// `None` if the data set has no test images.
    test: Option<Eval>,
    /// On the training images without augmentation, where the recipe looks.
    #[serde(default)]
    train: Option<Eval>,
    seconds: f64,
}

/// What the candidate's thread hands back.
#[derive(Default)]
pub struct Product {
    pub failure: Option<String>,
    pub valid: Option<Eval>,
    /// `None` if the data set has no test images.
    pub test: Option<Eval>,
    /// On the training images without augmentation, where the recipe looks.
    pub train: Option<Eval>,
    /// The trained network's, on the CPU.
    pub tensors: Vec<(String, Tensor)>,
    /// What the operators of a regulariser did at the end, where somebody looks.
    pub looks: Vec<Look>,
}

impl Product {
    /// Nothing came of it.
    pub fn failed(why: &str) -> Product {
        Product { failure: Some(why.to_owned()), ..Product::default() }
    }
}

/// A whole training, judged on the validation images and, once, on the test images.
pub struct Finish;

impl Recipe for Finish {
    type Product = Product;

    fn finish(
        &self,
        _task: &Task,
        trainer: Option<&Trainer>,
        _note: &Note,
        failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<Product>, TrainError> {
        let failure = failure.map(|f| f.sentence().to_owned());
        let Some(trainer) = trainer else {
            return Ok(Some(Product { failure, ..Product::default() }));
        };
        let tick = || stop.asked();
        let Some(valid) = trainer.evaluate(&trainer.data().valid, &tick)? else { return Ok(None) };
        // The only time that test images are looked at.
        let test = match trainer.data().test.is_empty() {
            true => None,
            false => match trainer.evaluate(&trainer.data().test, &tick)? {
                Some(eval) => Some(eval),
                None => return Ok(None),
            },
        };
        Ok(Some(Product {
            failure,
            valid: finite(valid),
            test: test.and_then(finite),
            train: None,
            tensors: copies(trainer.network())?,
            looks: Vec::new(),
        }))
    }
}

/// Copies of a network's tensors on the CPU: the trainer and its storage go.
pub(crate) fn copies(network: &Network) -> Result<Vec<(String, Tensor)>, TrainError> {
    network
        .named_tensors()
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.f_detach_copy()?.f_to_device(tch::Device::Cpu)?)))
        .collect()
}

/// An evaluation whose figures are numbers.
pub(crate) fn finite(eval: Eval) -> Option<Eval> {
    (eval.loss.is_finite() && eval.accuracy.is_finite()).then_some(eval)
}

/// The spec's space, narrowed as it says.
pub(crate) fn space(spec: &Spec) -> Result<Space> {
    Space::of(&spec.space).map_err(|(_, e)| MethodError::failed(e))
}

impl Train {
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<Train> {
        Train::with(spec, spec.train.clone().unwrap_or_default(), Finish, spec.live(), cx)
    }
}

impl<R: Recipe<Product = Product>> Train<R> {
    /// The training that `settings` describe, with a recipe that may look at the network between epochs. `knobs` are the
    /// keys of the live knobs, that of the epochs last.
    pub fn with(
        spec: &Spec,
        settings: TrainSettings,
        recipe: R,
        knobs: &'static [&'static str],
        cx: &mut StepCx,
    ) -> Result<Train<R>> {
        let space = space(spec)?;
        let arch = match settings.arch.as_str() {
            "reference" => space.reference(),
            "random" => space.sample(&mut ChaCha8Rng::seed_from_u64(derive(spec.seed, "sample", 0, 0))),
            text => space.parse(text).map_err(MethodError::failed)?,
        };
        let data = cx.data()?;
        let (input, classes) = shape_and_classes(&data)?;
        let plan = space.plan(&arch, input, classes).map_err(MethodError::failed)?;
        let mut fleet = Fleet::new(Pool::new(1, spec.run.threads, cx.device()));
        let task = Task {
            plan: plan.clone(),
            config: TrainerConfig::of(spec, 0, settings.epochs),
            subset: None,
            epochs: settings.epochs,
            halve: spec.run.on_oom == OnOom::Halve,
        };
        fleet.add(0, task, data.share());
        let state = State::default();
        Ok(Train {
            spec: spec.clone(),
            settings,
            arch,
            plan,
            data,
            recipe,
            knobs,
            fleet,
            state,
            network: Vec::new(),
            looks: Vec::new(),
        })
    }

    /// What the recipe left after each epoch so far.
    pub fn snapshots(&self) -> &[Vec<f64>] {
        match self.fleet.note(0) {
            Some(note) if self.state.end.is_none() => &note.snapshots,
            _ => &self.state.snapshots,
        }
    }

    /// What the training images said at the end, where the recipe asked them.
    pub fn train_eval(&self) -> Option<Eval> {
        self.state.end.as_ref().and_then(|end| end.train)
    }

    /// Validation accuracy after an epoch, counted from 1.
    pub fn valid_accuracy(&self, epoch: u64) -> Option<f64> {
        self.state.epochs.iter().find(|row| row.epoch == epoch).and_then(|row| row.valid_accuracy)
    }

    /// What the operators of a regulariser did at the end of a training that has just ended.
    pub fn last_looks(&mut self) -> Vec<Look> {
        std::mem::take(&mut self.looks)
    }

    /// The trainer, while it trains.
    pub fn trainer(&mut self) -> Option<&mut Trainer> {
        self.fleet.trainers().next()
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn turn_knobs(&mut self, cx: &StepCx) {
        if let Some(epochs) = self.knobs.last().and_then(|key| cx.knob(key)).filter(|e| e.is_finite() && *e >= 1.0) {
            self.settings.epochs = epochs.round().min(f64::from(u32::MAX)) as u32;
        }
        self.fleet.set_epochs(self.settings.epochs);
        for trainer in self.fleet.trainers() {
            if let Some(lr) = cx.knob("optim.lr") {
                trainer.set_lr(lr);
            }
            if let Some(decay) = cx.knob("optim.weight-decay") {
                trainer.set_weight_decay(decay);
            }
            if let Some(clip) = cx.knob("optim.grad-clip") {
                trainer.set_grad_clip(clip);
            }
            if let Some(p) = cx.knob("regulariser.p").filter(|p| (0.0..1.0).contains(p)) {
                trainer.set_distortion(p);
            }
        }
    }

    fn report(&mut self, epochs: &[Epoch], readings: &[Reading], cx: &mut StepCx) {
        for reading in readings {
            cx.scalar("train/lr", reading.epochs, reading.lr);
        }
        for epoch in epochs {
            let x = epoch.epoch as f64;
            cx.set_x(x);
            cx.scalar("train/loss", x, epoch.loss);
            if let Some(clipped) = epoch.clipped {
                cx.scalar("train/clipped", x, clipped);
            }
            let row = Row {
                epoch: epoch.epoch,
                loss: Some(epoch.loss).filter(|v| v.is_finite()),
                valid_loss: epoch.valid.map(|v| v.loss).filter(|v| v.is_finite()),
                valid_accuracy: epoch.valid.map(|v| v.accuracy),
            };
            // A candidate that started again with a smaller batch tells its epochs again.
            self.state.epochs.retain(|known| known.epoch < row.epoch);
            self.state.epochs.push(row);
            if let Some(eval) = epoch.valid {
                cx.scalar("valid/loss", x, eval.loss);
                cx.scalar("valid/accuracy", x, eval.accuracy);
                if self.state.best.is_none_or(|best| eval.accuracy > best) {
                    self.state.best = Some(eval.accuracy);
                    cx.best(Best { name: "valid/accuracy".into(), value: eval.accuracy, higher_is_better: true });
                }
            }
        }
    }

    fn write_artifacts(&mut self, cx: &mut StepCx) -> Result<()> {
        if !self.network.is_empty() {
            let bytes = crate::export::network(&self.arch, &self.plan, &self.data, &self.network)?;
            let path = cx.write_artifact("network.safetensors", &bytes)?;
            cx.log(Level::Info, format!("the trained network is in {}", path.display()));
        }
        self.state.written = true;
        Ok(())
    }

    fn progress(&self, cx: &mut StepCx) {
        let total = f64::from(self.settings.epochs);
        let done = if self.state.end.is_some() { total } else { self.fleet.epochs_done() };
        cx.progress(Progress { done, total, unit: "epochs".into(), note: format!("training {}", self.arch) });
    }
}

impl<R: Recipe<Product = Product>> Method for Train<R> {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        if self.state.end.is_some() {
            if !self.state.written {
                self.write_artifacts(cx)?;
            }
            return Ok(Flow::Done);
        }
        self.turn_knobs(cx);
        let sliced = self.fleet.slice(&self.recipe, SLICE, cx);
        for news in sliced.news {
            self.report(&news.epochs, &news.readings, cx);
        }
        for finished in sliced.finished {
            self.report(&finished.news, &[], cx);
            let product = finished.outcome.unwrap_or_else(|failure| Product::failed(failure.sentence()));
            if product.valid.is_none() && product.tensors.is_empty() {
                let why = product.failure.unwrap_or_else(|| "it could not be evaluated".into());
                return Err(MethodError::failed(format!("the network {} could not be trained: {why}", self.arch)));
            }
            if let Some(why) = &product.failure {
                cx.log(Level::Warn, format!("training ended early: {why}"));
            }
            let Product { failure, valid, test, train, .. } = product;
            self.state.end = Some(End { failure, valid, test, train, seconds: finished.note.seconds });
            self.state.snapshots = finished.note.snapshots;
            self.network = product.tensors;
            self.looks = product.looks;
        }
        self.progress(cx);
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("train", &self.state)?;
        for (name, tensor) in &self.network {
            checkpoint.tensor(format!("network.{name}"), tensor)?;
        }
        self.fleet.save(checkpoint)
    }

    fn load(&mut self, checkpoint: &CheckpointReader, _cx: &mut StepCx) -> Result<()> {
        self.state = checkpoint.value("train")?;
        self.network = checkpoint.tensors("network")?;
        if self.state.end.is_none() {
            self.fleet.load(checkpoint)?;
        }
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        let cost: Cost = self.plan.cost();
        let end = self.state.end.as_ref();
        let (valid, test) = (end.and_then(|e| e.valid), end.and_then(|e| e.test));
        let epochs = self.state.epochs.last().map_or(0, |row| row.epoch);
        let seconds = end.map_or(0.0, |e| e.seconds);
        let peak = self.state.epochs.iter().filter_map(|row| Some((row.valid_accuracy?, row.epoch)));
        let peak = peak.reduce(|best, row| if row.0 > best.0 { row } else { best });
        let percent = |v: f64| format!("{:.2} %", v * 100.0);
        let mut verdict = match (valid, test) {
            (Some(valid), Some(test)) => format!(
                "{} reached {} validation accuracy and {} test accuracy after {epochs} epochs.",
                self.arch,
                percent(valid.accuracy),
                percent(test.accuracy)
            ),
            (Some(valid), None) => {
                format!("{} reached {} validation accuracy after {epochs} epochs.", self.arch, percent(valid.accuracy))
            }
            (None, _) => format!("{} has no finite loss after {epochs} epochs.", self.arch),
        };
        if let Some(why) = end.and_then(|e| e.failure.as_ref()) {
            verdict = format!("Training ended early: {why}. {verdict}");
        }
        let figures = [
            ("valid_accuracy", valid.map(|e| e.accuracy)),
            ("valid_loss", valid.map(|e| e.loss)),
            ("test_accuracy", test.map(|e| e.accuracy)),
            ("test_loss", test.map(|e| e.loss)),
            ("best_valid_accuracy", peak.map(|p| p.0)),
            ("best_epoch", peak.map(|p| p.1 as f64)),
            ("train_loss", self.state.epochs.last().and_then(|row| row.loss)),
            ("epochs", Some(epochs as f64)),
            ("params", Some(cost.params as f64)),
            ("macs", Some(cost.macs as f64)),
            ("seconds", Some(seconds)),
            // Its figures are then those of the last good state.
            ("diverged", end.map(|e| f64::from(u8::from(e.failure.is_some())))),
        ];

        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let regulariser = self.spec.regulariser.in_words();
        let table = Table {
            title: "Training".into(),
            columns: vec!["figure".into(), "value".into()],
            rows: vec![
                row("regulariser", regulariser),
                row("architecture", self.arch.to_string()),
                row("space", self.spec.space.name.clone()),
                row("parameters", thousands(cost.params as f64)),
                row("MACs", thousands(cost.macs as f64)),
                row("epochs", epochs.to_string()),
                row("validation accuracy", maybe(valid.map(|e| e.accuracy), 4)),
                row("validation loss", maybe(valid.map(|e| e.loss), 4)),
                row("best validation accuracy", peak.map_or("-".into(), |p| format!("{:.4} (epoch {})", p.0, p.1))),
                row("test accuracy", maybe(test.map(|e| e.accuracy), 4)),
                row("seconds", format!("{seconds:.1}")),
            ],
        };
        Outcome {
            verdict,
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            tables: vec![table],
            headline: vec![
                Figure::new("test_accuracy", true),
                Figure::new("valid_accuracy", true),
                Figure::new("valid_loss", false),
                Figure { name: "seconds".into(), unit: "s".into(), higher_is_better: Some(false) },
            ],
            flaws: end.and_then(|e| e.failure.as_ref()).map(|_| DIVERGED.to_owned()).into_iter().collect(),
        }
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([("*".to_owned(), f64::from(self.settings.epochs))])
    }

    fn knobs(&self) -> &'static [&'static str] {
        self.knobs
    }

    fn score(&self) -> Option<f64> {
        self.state.epochs.last().and_then(|row| row.valid_accuracy)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::World;
    use kiln_protocol::{Body, Outcome};

    const PRESET: &str = "method = \"train\"\nseed = 5\n[data]\ntrain = 200\nvalid = 100\ntest = 100\n[space]\n\
        name = \"digits-mlp\"\n[optim]\nlr = 0.02\nmomentum = 0.9\nbatch = 32\nschedule = \"cosine\"\n[train]\nepochs = 40\n";

    fn figure(outcome: &Outcome, name: &str) -> f64 {
        outcome.figures[name].unwrap_or_else(|| panic!("{name} is not defined"))
    }

    #[test]
    fn a_network_learns_and_tells_every_epoch_once() {
        let world = World::new(PRESET);
        let outcome = world.run();
        assert!(figure(&outcome, "valid_accuracy") > 0.6, "{outcome:?}");
        assert!(figure(&outcome, "test_accuracy") > 0.5);
        for name in ["train/loss", "valid/loss", "valid/accuracy"] {
            let xs: Vec<f64> = world.series(name).iter().map(|p| p[0]).collect();
            assert_eq!(xs, (1..=40).map(f64::from).collect::<Vec<_>>(), "{name}");
        }
        let loss = world.series("train/loss");
        assert!(loss[39][1] < 0.5 * loss[0][1]);
        let events = world.events.lock().unwrap();
        let best = events.iter().rev().find_map(|b| if let Body::Best(best) = b { Some(best.value) } else { None });
        assert_eq!(best, outcome.figures["best_valid_accuracy"]);
        let whole = world.artifact("network.safetensors");
        let header = String::from_utf8_lossy(&whole[8..600]).into_owned();
        assert!(header.contains("digits-mlp") && header.contains("genes"), "{header}");
    }

    #[test]
    fn killed_at_random_moments_it_ends_with_the_same_bits() {
        World::killed_ends_the_same(PRESET, 3, &["network.safetensors"]);
    }

    #[test]
    fn how_many_gradients_were_cut_is_told_where_there_is_a_limit() {
        let told = |limit: &str| {
            let world = World::new(&PRESET.replace("[train]\nepochs = 40", &format!("{limit}[train]\nepochs = 2")));
            world.run();
            world.series("train/clipped")
        };
        assert_eq!(told("grad-clip = 1e-6\n"), [[1.0, 1.0], [2.0, 1.0]]);
        assert!(told("").is_empty());
    }

    #[test]
    fn knobs_turn_while_it_trains() {
        let world = World::new(PRESET);
        let mut cx = world.cx();
        let mut method = crate::create(&world.spec, &mut cx).unwrap();
        cx.set_knob("train.epochs", 3.0);
        cx.set_knob("optim.lr", 0.001);
        while method.step(&mut cx).unwrap() == crate::Flow::More {}
        cx.flush();
        assert_eq!(figure(&method.outcome(), "epochs"), 3.0);
        assert!(method.knobs().contains(&"train.epochs"));
        assert!(!method.knobs().contains(&"regulariser.p"), "there is none");
    }

    #[test]
    fn a_diverged_training_completes_with_its_last_good_state_and_says_so() {
        let mut world = World::new(PRESET);
        world.spec.optim.lr = 1e38;
        let outcome = world.run();
        assert!(outcome.verdict.contains("ended early"), "{}", outcome.verdict);
        assert!(figure(&outcome, "valid_accuracy").is_finite());
        assert_eq!(figure(&outcome, "diverged"), 1.0);
    }

    #[test]
    fn an_unknown_architecture_is_refused_with_the_options() {
        let world = World::new(&format!("{PRESET}arch = \"fast-9-64\"\n"));
        let mut cx = world.cx();
        let error = crate::create(&world.spec, &mut cx).err().unwrap().to_string();
        assert!(error.contains('9') && error.contains("digits-mlp"), "{error}");
    }
}
