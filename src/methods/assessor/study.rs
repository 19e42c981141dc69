//! The comparison as a state machine: every predictor with every number of labels, in several repeats, some side by side.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_arch::spec::seed::derive;
use kiln_arch::{Arch, Space};
use kiln_nn::{Pool, TrainError};
use kiln_protocol::Level;
use kiln_protocol::run::{Best, Outcome, Progress};
use kiln_protocol::spec::{AssessorSettings, Predictor, Spec};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::classical;
use super::code::{Coder, Codes};
use super::fit::{Fit, Reading, Recipe, Task};
use super::predictor::{ABOUT, About, Assessor, FILE, Scale, files};
use super::results::{Job, Results, Scored, jobs};
use super::table::{self, Entry, Split};
use super::{artifacts, report, views};
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::error::{MethodError, Result};
use crate::method::{Flow, Method};
use crate::text::thousands;

/// Work between two looks at the world.
const SLICE: Duration = Duration::from_millis(400);

/// Test cells in the live pictures; they are the same ones throughout.
const SHOWN: usize = 300;

/// Steps between two states of the live pictures, and the time at least: every one of them goes to disk.
const SHOW_STEPS: u32 = 100;
const SHOW_EVERY: Duration = Duration::from_secs(3);

/// The plain part of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// By training.
    scored: Vec<Option<Scored>>,
    /// Seconds at work, over all attempts.
    seconds: f64,
    written: bool,
}

/// A training under way.
struct Active {
    job: usize,
    /// `None` for predictors that are no networks: those are fitted in one go.
    fit: Option<Fit>,
    seconds: f64,
    /// Step at which pictures were last made of it.
    shown: u32,
}

/// The network that the run keeps.
struct Kept {
    about: About,
    tensors: Vec<(String, Tensor)>,
}

/// The method `assessor`.
pub struct Study {
    spec: Spec,
    settings: AssessorSettings,
    space: Space,
    coder: Coder,
    entries: Vec<Entry>,
    split: Split,
    /// Of all entries.
    codes: Codes,
    test: Codes,
    /// Accuracies of the test cells: predicted ones, and those that regret is counted in.
    truth: Vec<f64>,
    judged: Vec<f64>,
    jobs: Vec<Job>,
    pool: Pool,
    active: Vec<Active>,
    state: State,
    kept: Option<Kept>,
    shown_at: Option<Instant>,
}

impl Study {
    /// # Errors
    /// A table that cannot be read or is too small, predictors that the space has no use for.
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<Study> {
        let settings = spec.assessor.clone().unwrap_or_default();
        let space = table::space(&spec.space)?;
        let coder = Coder::of(&space);
        if let Some(predictor) = settings.methods.iter().find(|p| p.needs_cells() && coder.labels().is_none()) {
            return Err(MethodError::failed(format!(
                "`{predictor}` reads the graph of a cell, which the space `{}` does not have. Take it out of assessor.methods, or \
                 choose the space `nas-bench-101` or `nas-bench-201`",
                space.name
            )));
        }
        let entries = table::read(Path::new(&spec.data.path), &space, &settings, true)?;
        let split = table::split(&entries, &settings, spec.seed)?;
        check_clip(&entries, &split, &settings)?;
        let archs: Vec<Arch> = entries.iter().map(|e| e.arch.clone()).collect();
        let codes = coder.codes(&archs, cx.device())?;
        let test = select(&codes, &split.test)?;
        let accuracy = |i: &usize| entries[*i].accuracy.unwrap_or_default();
        let truth: Vec<f64> = split.test.iter().map(accuracy).collect();
        let judged = split.test.iter().map(|i| entries[*i].test.unwrap_or_else(|| accuracy(i))).collect();
        let jobs = jobs(&settings);
        cx.log(
            Level::Info,
            format!(
                "{} architectures of {}: {} for tests, {} unlabelled, {} to draw labels from",
                thousands(entries.len() as f64),
                space.name,
                thousands(split.test.len() as f64),
                thousands(split.unlabelled.len() as f64),
                thousands(split.pool.len() as f64)
            ),
        );
        Ok(Study {
            pool: Pool::new(spec.run.parallel, spec.run.threads, cx.device()),
            spec: spec.clone(),
            space,
            coder,
            split,
            codes,
            test,
            truth,
            judged,
            active: Vec::new(),
            state: State { scored: vec![None; jobs.len()], ..State::default() },
            jobs,
            entries,
            settings,
            kept: None,
            shown_at: None,
        })
    }

    fn results(&self) -> Results<'_> {
        Results { settings: &self.settings, jobs: &self.jobs, scored: &self.state.scored }
    }

    /// Labelled architectures of a training, in the order in which they were drawn.
    fn labelled(&self, job: &Job) -> Vec<usize> {
        let mut drawn = table::drawn(&self.split, self.spec.seed, job.repeat);
        drawn.truncate(self.settings.labels.get(job.labels).copied().unwrap_or(0) as usize);
        drawn
    }

    /// The training whose network the run keeps: the last network of the list, with the most labels, in the first repeat.
    fn keeper(&self) -> Option<usize> {
        let predictor = self.settings.methods.iter().rev().find(|p| p.is_network())?;
        let labels = self.settings.labels.len().checked_sub(1)?;
        self.jobs.iter().position(|j| *j == Job { predictor: *predictor, labels, repeat: 0 })
    }

    fn begin(&self, job: usize) -> Result<Active> {
        let at = self.jobs[job];
        let fit = match Recipe::of(at.predictor) {
            None => None,
            Some(recipe) => {
                let labelled = self.labelled(&at);
                let accuracies: Vec<f64> =
                    labelled.iter().map(|&i| self.entries[i].accuracy.unwrap_or_default()).collect();
                Some(Fit::new(Task {
                    coder: &self.coder,
                    recipe,
                    settings: &self.settings,
                    labelled: select(&self.codes, &labelled)?,
                    accuracies: &accuracies,
                    unlabelled: select(&self.codes, &self.split.unlabelled)?,
                    // The same for all predictors: they start from the same weights as far as they have the same layers.
                    seed: derive(
                        self.spec.seed,
                        "assessor",
                        u64::from(at.repeat),
                        u64::from(self.settings.labels[at.labels]),
                    ),
                })?)
            }
        };
        Ok(Active { job, fit, seconds: 0.0, shown: 0 })
    }

    /// Takes up trainings until as many are under way as run side by side.
    fn fill(&mut self) -> Result<()> {
        while self.active.len() < self.pool.parallel() {
            let taken = |job: usize| self.active.iter().any(|a| a.job == job);
            let next = (0..self.jobs.len()).find(|&j| self.state.scored[j].is_none() && !taken(j));
            let Some(job) = next else { break };
            self.active.push(self.begin(job)?);
        }
        Ok(())
    }

    /// What a classical predictor is fitted on.
    fn plain(&self, job: usize) -> Result<Plain> {
        let at = self.jobs[job];
        let labelled = self.labelled(&at);
        let accuracies: Vec<f64> = labelled.iter().map(|&i| self.entries[i].accuracy.unwrap_or_default()).collect();
        Ok(Plain {
            predictor: at.predictor,
            x: classical::rows(&select(&self.codes, &labelled)?.flat)?,
            queries: classical::rows(&self.test.flat)?,
            scale: Scale::of(&accuracies, self.settings.clip),
            accuracies,
            trees: self.settings.trees,
            seed: derive(self.spec.seed, "forest", u64::from(at.repeat), at.labels as u64),
        })
    }

    /// A slice of work on all trainings under way.
    fn work(&mut self, cx: &mut StepCx) -> Result<()> {
        self.fill()?;
        let began = Instant::now();
        let deadline = began + SLICE;
        let plain: Vec<Option<Plain>> = self
            .active
            .iter()
            .map(|a| if a.fit.is_none() { self.plain(a.job).map(Some) } else { Ok(None) })
            .collect::<Result<_>>()?;
        let test = &self.test;
        let items =
            self.active.iter_mut().zip(plain).map(|(active, plain)| (active, plain, test.share(true))).collect();
        let done = self.pool.map(items, &mut || cx.tick().is_err(), |(active, plain, test), stop| {
            let began = Instant::now();
            let predicted = match (&mut active.fit, plain) {
                (Some(fit), _) => {
                    fit.run(Some(deadline), &|| stop.asked())?;
                    // A few tenths of a second; not begun if somebody waits.
                    if fit.done() && !stop.asked() { Some(fit.assessor.predict_codes(&test)?) } else { None }
                }
                (None, Some(plain)) if !stop.asked() => {
                    Some(plain.predict().map_err(|e| TrainError::Data(e.to_string()))?)
                }
                (None, _) => None,
            };
            active.seconds += began.elapsed().as_secs_f64();
            Ok(predicted)
        });
        self.state.seconds += began.elapsed().as_secs_f64();
        let mut ended = Vec::new();
        for (i, outcome) in done.into_iter().enumerate() {
            match outcome {
                Ok(None) => {}
                Ok(Some(predicted)) => {
                    let Some(active) = self.active.get(i) else { continue };
                    let (clip, top) = (self.settings.clip, self.settings.top as usize);
                    let scored = Scored::of(&predicted, &self.truth, &self.judged, clip, top);
                    let scored = Scored { seconds: active.seconds, ..scored };
                    self.tell(cx, active, &predicted, &scored)?;
                    ended.push((i, scored));
                }
                Err(error) => {
                    let Some(active) = self.active.get(i) else { continue };
                    let failure = Some(error.to_string());
                    cx.log(Level::Warn, format!("{}: {error}", self.name(active.job)));
                    ended.push((i, Scored { failure, seconds: active.seconds, ..Scored::default() }));
                }
            }
        }
        self.readings(cx);
        self.live(cx)?;
        for (i, scored) in ended.into_iter().rev() {
            let active = self.active.remove(i);
            self.keep(&active, &scored, cx)?;
            self.state.scored[active.job] = Some(scored);
        }
        self.figures(cx);
        Ok(())
    }

    /// `assessor-flat, 100 labels, repeat 1`
    fn name(&self, job: usize) -> String {
        let Job { predictor, labels, repeat } = self.jobs[job];
        format!("{predictor}, {} labels, repeat {}", self.settings.labels[labels], repeat + 1)
    }

    fn keep(&mut self, active: &Active, scored: &Scored, cx: &mut StepCx) -> Result<()> {
        let Some(fit) = active.fit.as_ref().filter(|_| self.keeper() == Some(active.job) && scored.failure.is_none())
        else {
            return Ok(());
        };
        let archs: Vec<Arch> =
            self.labelled(&self.jobs[active.job]).iter().map(|&i| self.entries[i].arch.clone()).collect();
        let about = fit.assessor.about(self.jobs[active.job].predictor, &self.spec.space, &archs);
        let tensors = fit.assessor.tensors();
        let copies = tensors.into_iter().map(|(name, t)| Ok((name, t.f_detach_copy()?)));
        let tensors = copies.collect::<Result<Vec<_>, tch::TchError>>().map_err(MethodError::failed)?;
        self.kept = Some(Kept { about, tensors });
        if let Some(tau) = scored.tau {
            cx.best(Best { name: "tau".into(), value: tau, higher_is_better: true });
        }
        Ok(())
    }

    /// Series of the first repeat: x counts numbers of labels, the trainings of one predictor one after the other.
    fn readings(&mut self, cx: &mut StepCx) {
        let earliest = |job: &Job| -> Option<usize> {
            let same = self.active.iter().map(|a| self.jobs[a.job]);
            same.filter(|j| j.predictor == job.predictor && j.repeat == job.repeat).map(|j| j.labels).min()
        };
        let now: Vec<bool> =
            self.active.iter().map(|a| earliest(&self.jobs[a.job]) == Some(self.jobs[a.job].labels)).collect();
        for (active, now) in self.active.iter_mut().zip(now) {
            let (Some(fit), job) = (active.fit.as_mut(), self.jobs[active.job]) else { continue };
            if job.repeat > 0 {
                fit.readings.clear();
            } else if now || fit.done() {
                let steps = f64::from(fit.progress().1.max(1));
                for Reading { step, loss, prediction, reconstruction, graph } in fit.readings.drain(..) {
                    let x = job.labels as f64 + f64::from(step) / steps;
                    let mut tell = |what: &str, y: f64| cx.scalar(&format!("{}/{what}", job.predictor), x, y);
                    tell("loss", loss);
                    if let Some((error, exact)) = reconstruction {
                        tell("loss-prediction", prediction);
                        tell("loss-reconstruction", error);
                        tell("reconstructed", exact);
                    }
                    if let Some([sigma, degree, isolated, mixed]) = graph {
                        tell("sigma", sigma);
                        tell("mean-degree", degree);
                        tell("isolated", isolated);
                        tell("mixed-edges", mixed);
                    }
                }
            }
        }
    }

    /// The pictures of a training that has just ended.
    fn tell(&self, cx: &mut StepCx, active: &Active, predicted: &[f64], scored: &Scored) -> Result<()> {
        let job = self.jobs[active.job];
        if job.repeat > 0 {
            return Ok(());
        }
        let shown = SHOWN.min(predicted.len());
        self.show(cx, active, &predicted[..shown], (scored, predicted.len()))?;
        if self.keeper() == Some(active.job) {
            let archs = self.test_archs(predicted.len());
            let params: Vec<Option<f64>> = self.split.test.iter().map(|&i| self.entries[i].params).collect();
            let tested = predicted.len();
            let all =
                views::Shown { title: String::new(), archs: &archs, truth: &self.truth, predicted, scored, tested };
            cx.view("candidates", views::candidates(&self.space, &all, &params));
        }
        Ok(())
    }

    fn test_archs(&self, count: usize) -> Vec<&Arch> {
        self.split.test.iter().take(count).map(|&i| &self.entries[i].arch).collect()
    }

    /// The pictures of the first training under way that has any, now and then.
    fn live(&mut self, cx: &mut StepCx) -> Result<()> {
        if self.shown_at.is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return Ok(());
        }
        let due = |a: &Active| {
            a.fit.as_ref().is_some_and(|f| !f.done() && f.progress().0 >= a.shown + SHOW_STEPS)
                && self.jobs[a.job].repeat == 0
        };
        let Some(i) = self.active.iter().position(due) else { return Ok(()) };
        let active = &self.active[i];
        let Some(fit) = &active.fit else { return Ok(()) };
        let count = SHOWN.min(self.truth.len());
        let some = self.test.range(0, count as i64).map_err(MethodError::failed)?;
        let predicted = fit.assessor.predict_codes(&some).map_err(MethodError::failed)?;
        let (truth, judged) = (&self.truth[..count], &self.judged[..count]);
        let scored = Scored::of(&predicted, truth, judged, self.settings.clip, self.settings.top as usize);
        self.show(cx, active, &predicted, (&scored, count))?;
        let step = fit.progress().0;
        self.active[i].shown = step;
        self.shown_at = Some(Instant::now());
        Ok(())
    }

    fn show(
        &self,
        cx: &mut StepCx,
        active: &Active,
        predicted: &[f64],
        (scored, tested): (&Scored, usize),
    ) -> Result<()> {
        let count = predicted.len();
        let archs = self.test_archs(count);
        let title = match &active.fit {
            Some(fit) if !fit.done() => {
                format!("{}, step {} of {}", self.name(active.job), fit.progress().0, fit.progress().1)
            }
            _ => self.name(active.job),
        };
        let shown = views::Shown { title, archs: &archs, truth: &self.truth[..count], predicted, scored, tested };
        cx.view("predicted-true", views::scatter(&shown, self.settings.clip));
        let Some(fit) = &active.fit else { return Ok(()) };
        let some = self.test.range(0, count as i64).map_err(MethodError::failed)?;
        let rows = fit.assessor.embed(&some).map_err(MethodError::failed)?;
        let labelled: Vec<usize> = self.labelled(&self.jobs[active.job]).into_iter().take(SHOWN / 3).collect();
        let own = fit.assessor.embed(&select(&self.codes, &labelled)?).map_err(MethodError::failed)?;
        let own_archs: Vec<&Arch> = labelled.iter().map(|&i| &self.entries[i].arch).collect();
        let own_truth: Vec<f64> = labelled.iter().map(|&i| self.entries[i].accuracy.unwrap_or_default()).collect();
        if let Some(view) = views::embedding(&shown, &rows, (&own_archs, &own_truth, &own)) {
            cx.view("embeddings", view);
        }
        Ok(())
    }

    /// The main figure, and how far the run is.
    fn figures(&self, cx: &mut StepCx) {
        let results = self.results();
        cx.view("tau", views::lines(&results, "Kendall tau against labels", "Kendall tau", |s| s.tau));
        let top = format!("regret@{}", self.settings.top);
        cx.view("regret", views::lines(&results, &format!("{top} against labels"), "percentage points", |s| s.regret));
        let finished = self.state.scored.iter().flatten().count();
        let under_way = self.active.iter().filter_map(|a| a.fit.as_ref()).map(Fit::progress);
        let part: f64 = under_way.map(|(step, steps)| f64::from(step) / f64::from(steps.max(1))).sum();
        let waiting = self.state.scored.iter().position(Option::is_none);
        let note = self.active.first().map(|a| a.job).or(waiting).map_or_else(|| "done".into(), |job| self.name(job));
        let done = finished as f64 + part.min(self.jobs.len() as f64 - finished as f64);
        cx.set_x(done);
        cx.progress(Progress { done, total: self.jobs.len() as f64, unit: "trainings".into(), note });
    }

    /// Files for other programs, and the run's assessor.
    fn close(&mut self, cx: &mut StepCx) -> Result<()> {
        cx.write_artifact("results.csv", artifacts::results(&self.results()).as_bytes())?;
        if let Some(Kept { about, tensors }) = &self.kept {
            let [weights, described] = files(about, tensors)?;
            cx.write_artifact(FILE, &weights)?;
            cx.write_artifact(ABOUT, &described)?;
            let (assessor, _) = Assessor::from_parts(about, tensors, cx.device())?;
            let predicted = assessor.predict_codes(&self.codes).map_err(MethodError::failed)?;
            let labelled = match self.keeper() {
                Some(job) => self.labelled(&self.jobs[job]),
                None => Vec::new(),
            };
            let text = artifacts::predictions(&self.entries, &predicted, &self.split, &labelled);
            cx.write_artifact("predictions.csv", text.as_bytes())?;
        }
        self.state.written = true;
        Ok(())
    }
}

/// A predictor that is no network, on its way to another thread.
struct Plain {
    predictor: Predictor,
    x: Array2<f64>,
    accuracies: Vec<f64>,
    queries: Array2<f64>,
    scale: Scale,
    trees: u32,
    seed: u64,
}

impl Plain {
    fn predict(&self) -> Result<Vec<f64>> {
        let Plain { predictor, x, accuracies, queries, scale, trees, seed } = self;
        match predictor {
            Predictor::Forest => classical::forest(x, accuracies, queries, *trees, *seed, *scale),
            _ => classical::linear(x, accuracies, queries, *scale),
        }
    }
}

/// Codes of these entries.
fn select(codes: &Codes, entries: &[usize]) -> Result<Codes> {
    let index: Vec<i64> = entries.iter().map(|&i| i as i64).collect();
    let device = codes.flat.device();
    let index = match index.is_empty() {
        true => Tensor::f_zeros([0], (Kind::Int64, Device::Cpu)),
        false => Tensor::f_from_slice(&index),
    };
    let index = index.and_then(|i| i.f_to_device(device)).map_err(MethodError::failed)?;
    codes.select(&index).map_err(MethodError::failed)
}

/// Clipping is meant for failed trainings; where it would level most of a table, nothing is left to learn.
fn check_clip(entries: &[Entry], split: &Split, settings: &AssessorSettings) -> Result<()> {
    let mut known: Vec<f64> = split.pool.iter().filter_map(|&i| entries[i].accuracy).collect();
    known.sort_by(f64::total_cmp);
    match known.get(known.len() / 2) {
        Some(median) if *median <= settings.clip => Err(MethodError::failed(format!(
            "assessor.clip is {}, but half of the accuracies of `{}` are not above {median:.2}: they would all count the same. Set \
             it below most of them, or to 0",
            settings.clip, settings.label
        ))),
        _ => Ok(()),
    }
}

impl Method for Study {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        if self.state.scored.iter().all(Option::is_some) {
            if self.state.written {
                return Ok(Flow::Done);
            }
            self.close(cx)?;
            self.figures(cx);
            return Ok(Flow::More);
        }
        self.work(cx)?;
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("assessor", &self.state)?;
        let active: Vec<(usize, f64)> = self.active.iter().map(|a| (a.job, a.seconds)).collect();
        checkpoint.value("active", &active)?;
        for Active { job, fit, .. } in &self.active {
            if let Some(fit) = fit {
                fit.save(&format!("job{job}"), checkpoint)?;
            }
        }
        checkpoint.value("kept", &self.kept.as_ref().map(|k| &k.about))?;
        for (name, tensor) in self.kept.iter().flat_map(|k| &k.tensors) {
            checkpoint.tensor(format!("kept.{name}"), tensor)?;
        }
        Ok(())
    }

    fn load(&mut self, checkpoint: &CheckpointReader, cx: &mut StepCx) -> Result<()> {
        self.state = checkpoint.value("assessor")?;
        if self.state.scored.len() != self.jobs.len() {
            return Err(MethodError::failed("the checkpoint is of other settings: it has another number of trainings"));
        }
        let active: Vec<(usize, f64)> = checkpoint.value("active")?;
        self.active.clear();
        for (job, seconds) in active {
            let mut active = self.begin(job)?;
            active.seconds = seconds;
            if let Some(fit) = &mut active.fit {
                fit.load(&format!("job{job}"), checkpoint)?;
                active.shown = fit.progress().0;
            }
            self.active.push(active);
        }
        let about: Option<About> = checkpoint.value("kept")?;
        self.kept = match about {
            None => None,
            Some(about) => Some(Kept { about, tensors: checkpoint.tensors("kept")? }),
        };
        self.figures(cx);
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        report::outcome(&self.results(), self.state.seconds)
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([("*".to_owned(), self.settings.labels.len() as f64)])
    }

    fn units(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("*".to_owned(), "numbers of labels".to_owned())])
    }
}
