//! The frame of all three searches as a state machine: proposals out, trained candidates back, until the budget is spent;
//! then the best one trained from scratch.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kiln_arch::limits::{Affordable, Limits};
use kiln_data::DataSet;
use kiln_nn::{Epoch, Eval, Pool, TrainerConfig, Validate};
use kiln_protocol::Level;
use kiln_protocol::run::{Best, Outcome, Progress};
use kiln_protocol::spec::{BudgetUnit, MethodName, OnOom, SearchSettings, Spec};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::parking::Parking;
use super::propose::{Grounds, Proposal, Strategy};
use super::recipe::ToRung;
use super::record::{Candidate, Finish, Ledger, LegResult};
use super::screening::{self, Chosen, Rules};
use super::{report, views};
use crate::assessor::Screen;
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::data::shape_and_classes;
use crate::error::{MethodError, Result};
use crate::fleet::{Fleet, Task};
use crate::method::{Flow, Method};
use crate::train::{self, space};

/// Work between two looks at the world. Places of the pool that run out of work wait for the end of it, so it is short.
const SLICE: Duration = Duration::from_millis(200);

/// Where the search stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    #[default]
    Search,
    /// The best one, from scratch.
    Final,
    /// Files and last views.
    Close,
    Done,
}

/// The plain part of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub stage: Stage,
    pub ledger: Ledger,
    /// Proposals that the last screening chose and that were not started yet.
    pub chosen: VecDeque<Chosen>,
    /// Nothing more is proposed.
    pub closed: bool,
    /// Why the search ended before its budget, if it did.
    pub short: Option<String>,
    /// Seconds of search, over all attempts.
    pub seconds: f64,
    /// The best accuracy that was announced.
    pub announced: Option<f64>,
    pub last: Option<Last>,
}

/// What the final training gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Last {
    pub candidate: usize,
    pub epochs: u32,
    pub failure: Option<String>,
    pub valid: Option<Eval>,
    /// `None` if the data set has no test images.
    pub test: Option<Eval>,
    pub seconds: f64,
}

/// The methods `random`, `evolution` and `asha`.
pub struct Search {
    pub(super) spec: Spec,
    pub(super) settings: SearchSettings,
    pub(super) strategy: Strategy,
    pub(super) affordable: Affordable,
    /// Epochs of the rungs.
    pub(super) rungs: Vec<u32>,
    /// Epoch-images of each rung alone.
    work: Vec<u64>,
    data: DataSet,
    fleet: Fleet,
    parking: Parking,
    /// The assessor that chooses proposals, where that is wanted.
    screen: Option<Screen>,
    pub(super) state: State,
    /// Tensors of the final training.
    network: Vec<(String, Tensor)>,
    /// Ids whose row in the table of candidates has changed.
    changed: Vec<usize>,
}

impl Search {
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<Search> {
        let settings = spec.search.clone().unwrap_or_default();
        let strategy = match spec.method {
            MethodName::Evolution => Strategy::Evolution(spec.evolution.clone().unwrap_or_default()),
            MethodName::Asha => Strategy::Asha(spec.asha.clone().unwrap_or_default()),
            _ => Strategy::Random,
        };
        let data = cx.data()?;
        let (input, classes) = shape_and_classes(&data)?;
        let limits = Limits { params: settings.max_params, macs: settings.max_macs };
        let affordable = Affordable::new(space(spec)?, input, classes, limits).map_err(MethodError::failed)?;
        let rungs = strategy.rungs(settings.epochs);
        let images = data.train.len().unsigned_abs();
        let work: Vec<u64> = std::iter::once(0)
            .chain(rungs.iter().copied())
            .zip(&rungs)
            .map(|(from, to)| u64::from(to.saturating_sub(from)) * images)
            .collect();
        let screen = settings.screen.then(|| Screen::new(&affordable.space, spec.seed));
        let search = Search {
            spec: spec.clone(),
            settings,
            strategy,
            affordable,
            rungs,
            work,
            fleet: Fleet::new(Pool::new(spec.run.parallel, spec.run.threads, cx.device())),
            parking: Parking::new(cx.folder()),
            screen,
            data,
            state: State::default(),
            network: Vec::new(),
            changed: Vec::new(),
        };
        let first = search.work.first().copied().unwrap_or(0);
        if first > search.left() {
            return Err(MethodError::failed(format!(
                "search.budget is {} epoch-images, less than the {first} of a single candidate ({} epochs of {images} images); raise it",
                search.settings.budget,
                search.rungs.first().copied().unwrap_or(0)
            )));
        }
        Ok(search)
    }

    /// Epoch-images that may still be committed.
    fn left(&self) -> u64 {
        match self.settings.unit {
            BudgetUnit::EpochImages => (self.settings.budget as u64).saturating_sub(self.state.ledger.committed),
            BudgetUnit::Seconds => u64::MAX,
        }
    }

    /// Training images.
    pub(super) fn images(&self) -> f64 {
        self.data.train.len() as f64
    }

    /// Kendall's tau between what the assessor predicted and what the candidates reached, over those it chose.
    pub(super) fn tau_predicted(&self) -> Option<f64> {
        let pairs: Vec<(f64, f64)> =
            self.state.ledger.candidates.iter().filter_map(|c| Some((c.predicted?, c.accuracy()?))).collect();
        kiln_metrics::kendall_tau(&pairs)
    }

    /// Seconds of search that are left.
    fn time_left(&self) -> Option<f64> {
        match self.settings.unit {
            BudgetUnit::EpochImages => None,
            BudgetUnit::Seconds => Some((self.settings.budget - self.state.seconds).max(0.0)),
        }
    }

    /// A candidate's training up to the end of a rung. All candidates share the settings, the order of batches, and the
    /// schedule of the whole training, of which lower rungs see the beginning.
    fn task(&self, id: usize, rung: usize) -> Result<Task> {
        let Affordable { space, input, classes, .. } = &self.affordable;
        let arch = &self.state.ledger.candidates[id].arch;
        let plan = space.plan(arch, *input, *classes).map_err(MethodError::failed)?;
        let whole = self.rungs.last().copied().unwrap_or(self.settings.epochs);
        let mut config = TrainerConfig::of(&self.spec, id as u64, whole);
        config.validate = Validate::Never;
        let epochs = self.rungs.get(rung).copied().unwrap_or(whole);
        Ok(Task { plan, config, subset: None, epochs, halve: self.spec.run.on_oom == OnOom::Halve })
    }

    /// Queues the work of a leg; one of a higher rung goes on from where the lower one ended.
    fn queue(&mut self, id: usize, rung: usize) -> Result<()> {
        let task = self.task(id, rung)?;
        match rung.checked_sub(1) {
            None => self.fleet.add(id, task, self.data.share()),
            Some(before) => {
                // It may not have come to the disk yet.
                self.parking.write()?;
                let saved = self.parking.take(id, before)?;
                let told = self.rungs.get(before).copied().unwrap_or(0) as usize;
                self.fleet.resume(id, task, self.data.share(), saved, told);
            }
        }
        Ok(())
    }

    /// What to train next, with the accuracy that is expected of it where it was screened.
    fn next(&mut self, cx: &mut StepCx) -> Result<(Option<Proposal>, Option<f64>)> {
        let left = self.left();
        let grounds = Grounds { seed: self.spec.seed, affordable: &self.affordable, work: &self.work, left };
        let ledger = &self.state.ledger;
        let fits = self.work.first().is_some_and(|work| *work <= left);
        if let Some(screen) = self.screen.as_mut().filter(|_| fits) {
            if self.state.chosen.is_empty() {
                let rules = Rules {
                    after: self.settings.screen_after as usize,
                    pool: self.settings.screen_pool as usize,
                    top: self.settings.screen_top as usize,
                };
                let chosen = screening::screen(screen, &self.strategy, ledger, &grounds, rules)?;
                if let (Some(best), Some(last)) = (chosen.first(), chosen.last()) {
                    let (n, from) = (chosen.len(), rules.pool);
                    let (most, least) = (best.predicted, last.predicted);
                    let said = format!(
                        "screening: {n} of {from} proposals are trained, expected to reach {least:.4} to {most:.4}"
                    );
                    cx.log(Level::Debug, said);
                }
                self.state.chosen = chosen.into();
            }
            if let Some(Chosen { arch, cost, parents, predicted }) = self.state.chosen.pop_front() {
                return Ok((Some(Proposal::New { arch, cost, parents }), Some(predicted)));
            }
        }
        Ok((self.strategy.propose(ledger, &grounds), None))
    }

    /// Gives every free worker something to do.
    fn propose(&mut self, cx: &mut StepCx) -> Result<()> {
        while !self.state.closed && self.state.ledger.under_way.len() < self.settings.workers as usize {
            let (proposal, predicted) = self.next(cx)?;
            let ledger = &mut self.state.ledger;
            let (id, rung) = match proposal {
                Some(Proposal::New { arch, cost, parents }) => {
                    ledger.candidates.push(Candidate { predicted, ..Candidate::new(arch, cost, parents) });
                    (ledger.candidates.len() - 1, 0)
                }
                Some(Proposal::Promote { candidate, rung }) => (candidate, rung),
                // What is under way may still bring somebody up who can be promoted.
                None if !ledger.under_way.is_empty() && self.rungs.len() > 1 => return Ok(()),
                None => {
                    self.state.closed = true;
                    if self.work.first().is_some_and(|work| *work <= self.left()) {
                        let networks = self.state.ledger.candidates.len();
                        let why = format!("all {networks} affordable networks of the space were trained");
                        cx.log(Level::Info, format!("the search ends before its budget is spent: {why}"));
                        self.state.short = Some(why);
                    }
                    return Ok(());
                }
            };
            let work = self.work.get(rung).copied().unwrap_or(0);
            // Queued first: a disk without room then leaves the ledger as it was.
            match self.queue(id, rung) {
                Ok(()) => self.state.ledger.start(id, rung, work),
                Err(error) => {
                    if rung == 0 {
                        self.state.ledger.candidates.pop();
                    }
                    return Err(error);
                }
            }
            self.changed.push(id);
        }
        Ok(())
    }

    /// Counts what is due, and proposes after each result.
    fn settle(&mut self, cx: &mut StepCx) -> Result<()> {
        loop {
            self.propose(cx)?;
            let Some(finish) = self.state.ledger.deliver(&self.rungs) else { return Ok(()) };
            self.count(finish, cx);
        }
    }

    /// A result has become due.
    fn count(&mut self, finish: Finish, cx: &mut StepCx) {
        let Finish { candidate: id, rung } = finish;
        self.changed.push(id);
        let ledger = &self.state.ledger;
        let candidate = &ledger.candidates[id];
        let epochs = self.rungs.get(rung).copied().unwrap_or(0);
        if let Some(why) = &candidate.failure {
            cx.log(Level::Warn, format!("candidate {id} ({}) is given up: {why}", candidate.arch));
        }
        if let Some(accuracy) = candidate.accuracy() {
            cx.scalar(&format!("cand-{id:03}/valid/accuracy"), f64::from(epochs), accuracy);
        }
        let best = ledger.best().and_then(|id| ledger.candidates[id].accuracy());
        if let Some(best) = best {
            cx.scalar("search/best", ledger.spent as f64, best);
            if self.state.announced.is_none_or(|known| best > known) {
                self.state.announced = Some(best);
                cx.best(Best { name: "search/best".into(), value: best, higher_is_better: true });
            }
        }
    }

    fn search(&mut self, cx: &mut StepCx) -> Result<()> {
        let begun = Instant::now();
        self.parking.write()?;
        self.settle(cx)?;
        if self.state.ledger.under_way.is_empty() {
            return self.choose(cx);
        }
        let left = self.time_left();
        if left.is_some_and(|left| left <= 0.0) {
            self.fleet.clear();
            self.changed.extend(self.state.ledger.under_way.iter().map(|leg| leg.candidate));
            self.state.ledger.abandon();
            self.state.closed = true;
            return self.choose(cx);
        }
        let slice = left.map_or(SLICE, |left| SLICE.min(Duration::from_secs_f64(left)));
        let before = self.fleet.in_training();
        let sliced = self.fleet.slice(&ToRung, slice, cx);
        for news in sliced.news {
            curve(news.id, &news.epochs, cx);
        }
        for finished in sliced.finished {
            let (id, seconds) = (finished.note.id, finished.note.seconds);
            curve(id, &finished.news, cx);
            let result = match finished.outcome {
                Ok(product) => {
                    if let Some(saved) = product.saved {
                        let rung = self.state.ledger.candidates[id].started.saturating_sub(1);
                        self.parking.put(id, rung, saved);
                    }
                    LegResult { accuracy: product.accuracy, failure: product.failure, seconds }
                }
                Err(failure) => LegResult { accuracy: None, failure: Some(failure.sentence().to_owned()), seconds },
            };
            self.state.ledger.result(id, result);
        }
        self.changed.extend(before.into_iter().chain(self.fleet.in_training()));
        self.state.seconds += begun.elapsed().as_secs_f64();
        // Errors here are repeated by the next step, with nothing lost.
        let settled = self.settle(cx);
        self.show(cx);
        settled
    }

    /// The search is over: the best one is trained from scratch, where that is wanted.
    fn choose(&mut self, cx: &mut StepCx) -> Result<()> {
        let ledger = &self.state.ledger;
        let Some(best) = ledger.best() else {
            let first = ledger.candidates.iter().find_map(|c| c.failure.clone());
            let first = first.unwrap_or_else(|| "the budget was spent before any was done".into());
            return Err(MethodError::failed(format!(
                "none of the {} candidates could be trained and judged. The first one: {first}",
                ledger.candidates.len()
            )));
        };
        let winner = &ledger.candidates[best];
        cx.log(
            Level::Info,
            format!(
                "the best of {} candidates is number {best}, {}, with {:.4} on the validation images",
                ledger.candidates.len(),
                winner.arch,
                winner.accuracy().unwrap_or(f64::NAN)
            ),
        );
        self.changed.push(best);
        self.parking.clear();
        self.state.stage = if self.settings.final_epochs > 0 { Stage::Final } else { Stage::Close };
        self.queue_final(best)
    }

    fn queue_final(&mut self, best: usize) -> Result<()> {
        self.fleet.clear();
        if self.state.stage == Stage::Final && self.state.last.is_none() {
            let epochs = self.settings.final_epochs;
            let mut task = self.task(best, 0)?;
            task.config = TrainerConfig::of(&self.spec, best as u64, epochs);
            task.epochs = epochs;
            self.fleet.add(best, task, self.data.share());
        }
        Ok(())
    }

    fn train_final(&mut self, cx: &mut StepCx) -> Result<()> {
        let sliced = self.fleet.slice(&train::Finish, SLICE, cx);
        for news in sliced.news {
            final_curve(&news.epochs, cx);
        }
        for finished in sliced.finished {
            final_curve(&finished.news, cx);
            let (candidate, seconds) = (finished.note.id, finished.note.seconds);
            let product = finished.outcome.unwrap_or_else(|failure| train::Product::failed(failure.sentence()));
            if let Some(why) = &product.failure {
                cx.log(Level::Warn, format!("the final training ended early: {why}"));
            }
            self.state.last = Some(Last {
                candidate,
                epochs: self.settings.final_epochs,
                failure: product.failure,
                valid: product.valid,
                test: product.test,
                seconds,
            });
            self.network = product.tensors;
        }
        if self.fleet.is_empty() {
            self.state.stage = Stage::Close;
        }
        Ok(())
    }

    fn close(&mut self, cx: &mut StepCx) -> Result<()> {
        let table = report::candidates_csv(&self.state.ledger);
        let path = cx.write_artifact("candidates.csv", table.as_bytes())?;
        let mut files = "candidates.csv".to_owned();
        if let Some(last) = self.state.last.as_ref().filter(|_| !self.network.is_empty()) {
            let Affordable { space, input, classes, .. } = &self.affordable;
            let arch = &self.state.ledger.candidates[last.candidate].arch;
            let plan = space.plan(arch, *input, *classes).map_err(MethodError::failed)?;
            let bytes = crate::export::network(arch, &plan, &self.data, &self.network)?;
            cx.write_artifact("network.safetensors", &bytes)?;
            files = "candidates.csv and network.safetensors are".to_owned();
        } else {
            files += " is";
        }
        let folder = path.parent().unwrap_or(&path).display().to_string();
        cx.log(Level::Info, format!("{files} in {folder}"));
        self.state.stage = Stage::Done;
        self.changed = (0..self.state.ledger.candidates.len()).collect();
        self.show(cx);
        Ok(())
    }

    fn show(&mut self, cx: &mut StepCx) {
        let mut ids = std::mem::take(&mut self.changed);
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return;
        }
        let training = self.fleet.in_training();
        cx.view("candidates", views::candidates(self, &training, ids.into_iter()));
        cx.view("pareto", views::pareto(self));
        if self.rungs.len() > 1 {
            cx.view("rungs", views::rungs(self));
        }
    }

    /// Epoch-images, or seconds: of the search, and of the final training.
    fn progress(&self, cx: &mut StepCx) {
        let ledger = &self.state.ledger;
        let images = self.data.train.len() as f64;
        let extra = f64::from(self.settings.final_epochs) * images;
        let searching = self.state.stage == Stage::Search;
        let trained = if self.state.last.is_some() { extra } else { self.fleet.epochs_done() * images };
        let (done, total, unit) = match self.settings.unit {
            BudgetUnit::EpochImages => {
                // What is under way counts as far as it has come; a promoted candidate began where its rung did.
                let begun: f64 = ledger
                    .under_way
                    .iter()
                    .filter(|leg| leg.rung > 0 && self.fleet.is_training(leg.candidate))
                    .map(|leg| f64::from(self.rungs[leg.rung - 1]) * images)
                    .sum();
                let early: u64 = ledger.under_way.iter().filter(|l| l.result.is_some()).map(|l| l.work).sum();
                let under_way = (self.fleet.epochs_done() * images - begun).max(0.0) + early as f64;
                let budget = if self.state.closed { ledger.committed as f64 } else { self.settings.budget };
                let done = if searching { ledger.spent as f64 + under_way } else { ledger.spent as f64 + trained };
                (done, budget + extra, "epoch-images")
            }
            BudgetUnit::Seconds => (self.state.seconds.min(self.settings.budget), self.settings.budget, "seconds"),
        };
        let note = match self.state.stage {
            Stage::Search => format!("{} candidates, {} under way", ledger.candidates.len(), ledger.under_way.len()),
            Stage::Final => "final training".to_owned(),
            Stage::Close | Stage::Done => "done".to_owned(),
        };
        cx.set_x(ledger.spent as f64);
        cx.progress(Progress { done, total, unit: unit.into(), note });
    }
}

/// A candidate's training, epoch by epoch.
fn curve(id: usize, epochs: &[Epoch], cx: &mut StepCx) {
    for epoch in epochs {
        cx.scalar(&format!("cand-{id:03}/train/loss"), epoch.epoch as f64, epoch.loss);
    }
}

fn final_curve(epochs: &[Epoch], cx: &mut StepCx) {
    for epoch in epochs {
        let x = epoch.epoch as f64;
        cx.scalar("final/train/loss", x, epoch.loss);
        if let Some(eval) = epoch.valid {
            cx.scalar("final/valid/accuracy", x, eval.accuracy);
        }
    }
}

impl Method for Search {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        match self.state.stage {
            Stage::Search => self.search(cx)?,
            Stage::Final => self.train_final(cx)?,
            Stage::Close => self.close(cx)?,
            Stage::Done => return Ok(Flow::Done),
        }
        self.progress(cx);
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("search", &self.state)?;
        for (name, tensor) in &self.network {
            checkpoint.tensor(format!("network.{name}"), tensor)?;
        }
        self.parking.save(checkpoint)?;
        self.fleet.save(checkpoint)
    }

    fn load(&mut self, checkpoint: &CheckpointReader, _cx: &mut StepCx) -> Result<()> {
        self.state = checkpoint.value("search")?;
        self.network = checkpoint.tensors("network")?;
        self.parking.load(checkpoint)?;
        for candidate in &self.state.ledger.candidates {
            self.affordable
                .space
                .validate(&candidate.arch)
                .map_err(|error| MethodError::failed(format!("the checkpoint belongs to another run: {error}")))?;
        }
        self.fleet.clear();
        let open = self.state.ledger.under_way.iter().filter(|leg| leg.result.is_none());
        for (id, rung) in open.map(|leg| (leg.candidate, leg.rung)).collect::<Vec<_>>() {
            self.queue(id, rung)?;
        }
        if let (Stage::Final, Some(best)) = (self.state.stage, self.state.ledger.best()) {
            self.queue_final(best)?;
        }
        self.fleet.load(checkpoint)?;
        self.changed = (0..self.state.ledger.candidates.len()).collect();
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        report::outcome(self)
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        let epochs = |name: &str, epochs: u32| (name.to_owned(), f64::from(epochs));
        let mut axes = BTreeMap::from([
            epochs("*", self.settings.epochs),
            epochs("final/train/loss", self.settings.final_epochs),
            epochs("final/valid/accuracy", self.settings.final_epochs),
        ]);
        if self.settings.unit == BudgetUnit::EpochImages {
            axes.insert("search/best".into(), self.settings.budget);
        }
        axes
    }

    fn units(&self) -> BTreeMap<String, String> {
        [("*", "epochs"), ("search/best", "epoch-images")].map(|(s, unit)| (s.to_owned(), unit.to_owned())).into()
    }

    fn score(&self) -> Option<f64> {
        self.state.announced
    }
}
