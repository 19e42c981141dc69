//! The search as a state machine: what it holds, how it is saved, what it says of itself. The stages' work is in
//! [`super::stages`].

use std::collections::BTreeMap;
use std::path::Path;

use kiln_arch::{Arch, Chain, Latencies, LatencyTable, Plan, Shape, Space};
use kiln_data::{DataSet, Split};
use kiln_nn::supernet::{Phase, SavedSearch, SearchConfig, SearchTrainer, split};
use kiln_nn::{Pick, Pool, TrainerConfig, Validate};
use kiln_protocol::run::{Outcome, Progress};
use kiln_protocol::spec::{HournasSettings, OnOom, Rest, SearchOrder, Spec};
use tch::Tensor;

use super::budget::{Budget, Room, arch_of, choices_of};
use super::proposal::{Tally, solve};
use super::recipes::Short;
use super::record::{Group, PhaseRecord, Stage, State};
use super::report::Report;
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::data::shape_and_classes;
use crate::error::{MethodError, Result};
use crate::fleet::{Fleet, Task};
use crate::method::{Flow, Method};
use crate::train::space;

/// Candidates of the training from scratch.
pub(super) const FOUND: usize = 0;
pub(super) const YARDSTICK: usize = 1;

/// Key of the random networks' streams, apart from those of the phases.
pub(super) const RANDOM: u64 = 1 << 32;

/// The method `hournas` in its mode `search`.
pub struct Hournas {
    pub(super) spec: Spec,
    pub(super) settings: HournasSettings,
    pub(super) space: Space,
    pub(super) chain: Chain,
    pub(super) input: Shape,
    pub(super) classes: u32,
    pub(super) data: DataSet,
    pub(super) budget: Budget,
    /// Phases of the super-network in their order; none for a random search.
    pub(super) groups: Vec<Group>,
    pub(super) yardstick: Vec<Option<usize>>,
    /// There while a super-network is searched.
    pub(super) trainer: Option<SearchTrainer>,
    /// Short trainings, or trainings from scratch.
    pub(super) fleet: Fleet,
    pub(super) short: Short,
    pub(super) state: State,
    /// Tensors of the found network, once trained.
    pub(super) network: Vec<(String, Tensor)>,
    /// Rows of the table of candidates before this one were shown.
    pub(super) shown: usize,
}

/// The chain of a space, with its vital blocks checked.
///
/// # Errors
/// A space that is no chain; a vital slot that offers to do nothing.
pub(super) fn chain_of(space: &Space, input: Shape, classes: u32) -> Result<Chain> {
    let chain = space.chain(input, classes).map_err(MethodError::failed)?.ok_or_else(|| {
        MethodError::failed(format!(
            "space `{}` is no chain of blocks, and hournas needs one; take a space such as `mobile-xs`, `mobile-m` or \
             `hournas-f`",
            space.name
        ))
    })?;
    for slot in chain.slots.iter().filter(|slot| slot.vital()) {
        if let Some(choice) = slot.choices.iter().find(|choice| choice.block.is_none()) {
            return Err(MethodError::failed(format!(
                "slot `{}` of space `{}` is vital ({} to {}), so it cannot be left out, but offers `{}`; take that \
                 operation away from it",
                slot.name, space.name, slot.input, slot.output, choice.gene
            )));
        }
    }
    if chain.slots.is_empty() {
        return Err(MethodError::failed(format!("space `{}` has no searched blocks", space.name)));
    }
    Ok(chain)
}

/// The architecture that a setting names.
pub(super) fn named_arch(space: &Space, text: &str, input: Shape, classes: u32) -> Result<Arch> {
    match text {
        "reference" => Ok(space.reference()),
        "cheapest" => space.extreme(input, classes, false).map_err(MethodError::failed),
        "dearest" => space.extreme(input, classes, true).map_err(MethodError::failed),
        text => space.parse(text).map_err(MethodError::failed),
    }
}

/// Phases of the super-network in the order that the settings ask for.
fn groups(settings: &HournasSettings, chain: &Chain) -> Vec<Group> {
    let slots = |vital: bool| (0..chain.slots.len()).filter(|&l| chain.slots[l].vital() == vital).collect();
    let vital = Group { name: "vital", slots: slots(true), epochs: settings.vital_epochs };
    let rest = Group { name: "non-vital", slots: slots(false), epochs: settings.rest_epochs };
    let order = match settings.order {
        SearchOrder::VitalFirst => vec![vital, rest],
        SearchOrder::NonVitalFirst => vec![rest, vital],
        SearchOrder::Joint => vec![Group {
            name: "all",
            slots: (0..chain.slots.len()).collect(),
            epochs: settings.vital_epochs.saturating_add(settings.rest_epochs),
        }],
        SearchOrder::Random => Vec::new(),
    };
    order.into_iter().filter(|group| !group.slots.is_empty()).collect()
}

impl Hournas {
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<Hournas> {
        let settings = spec.hournas.clone().unwrap_or_default();
        let space = space(spec)?;
        let data = cx.data()?;
        let (input, classes) = shape_and_classes(&data)?;
        let chain = chain_of(&space, input, classes)?;
        let yardstick = choices_of(&chain, &named_arch(&space, &settings.yardstick, input, classes)?);
        let latencies = latencies(&settings, &space, &chain, input, classes)?;
        let budget = Budget::new(&settings, &space, &chain, &yardstick, latencies.as_ref())?;
        let groups = groups(&settings, &chain);
        let [_, judges] =
            split(spec.seed, data.train.len(), settings.split, cx.device()).map_err(MethodError::failed)?;
        let chosen = |t: &Tensor| t.f_index_select(0, &judges).map_err(MethodError::failed);
        let short = Short::new(Split { images: chosen(&data.train.images)?, labels: chosen(&data.train.labels)? });
        let random = settings.order == SearchOrder::Random;
        let mut method = Hournas {
            fleet: Fleet::new(Pool::new(1, spec.run.threads, cx.device())),
            state: State {
                stage: if random { Stage::Random } else { Stage::Search },
                batch: spec.optim.batch,
                locked: vec![None; chain.slots.len()],
                ..State::default()
            },
            spec: spec.clone(),
            settings,
            space,
            chain,
            input,
            classes,
            data,
            budget,
            groups,
            yardstick,
            trainer: None,
            short,
            network: Vec::new(),
            shown: 0,
        };
        if !random {
            method.start_search()?;
        }
        Ok(method)
    }

    /// A fresh super-network in its first phase.
    pub(super) fn start_search(&mut self) -> Result<()> {
        self.trainer = Some(self.new_trainer()?);
        self.begin_phase()
    }

    fn new_trainer(&self) -> Result<SearchTrainer> {
        let mut optim = self.spec.optim.clone();
        optim.batch = self.state.batch;
        let shared = TrainerConfig::of(&self.spec, 0, self.settings.rest_epochs);
        let config = SearchConfig {
            optim,
            precision: shared.precision,
            channels_last: shared.channels_last,
            threads: shared.threads,
            seed: shared.seed,
            augment: shared.augment,
            split: self.settings.split,
            alpha_lr: self.settings.alpha_lr,
            two_paths: self.settings.paths > 1,
        };
        SearchTrainer::new(&self.chain, config, self.data.share()).map_err(MethodError::failed)
    }

    /// Enters the phase that the state names.
    pub(super) fn begin_phase(&mut self) -> Result<()> {
        let Some(group) = self.groups.get(self.state.phase) else { return Ok(()) };
        self.state.planned = group.epochs;
        self.state.told = 0;
        self.state.tally = Tally::default();
        self.state.records.push(PhaseRecord { name: group.name.into(), ..PhaseRecord::default() });
        let phase = self.phase();
        let trainer = self.trainer.as_mut().ok_or_else(|| MethodError::failed("there is no super-network"))?;
        trainer.begin(phase).map_err(MethodError::failed)?;
        self.solve_beta()
    }

    /// The running phase as the super-network's trainer wants it.
    fn phase(&self) -> Phase {
        let epochs = f64::from(self.state.planned);
        let share = self.settings.warm * epochs;
        // What was learnt without the other blocks needs some time with them before it is judged.
        let warm = if self.state.phase > 0 { share.max((epochs / 3.0).min(2.0)) } else { share };
        let penalty = (self.settings.order == SearchOrder::Joint && self.settings.penalty > 0.0).then(|| {
            let scale = |limit: &super::budget::Limit| self.settings.penalty / limit.most.max(1) as f64;
            let cell = |slot: usize, o: usize| -> f64 {
                self.budget.limits.iter().map(|limit| limit.costs[slot][o] as f64 * scale(limit)).sum()
            };
            (0..self.chain.slots.len())
                .map(|slot| (0..self.chain.slots[slot].choices.len()).map(|o| cell(slot, o)).collect())
                .collect()
        });
        Phase {
            key: self.state.phase as u64,
            epochs: self.state.planned,
            warm,
            tau: [self.settings.tau, self.settings.tau_end],
            penalty,
        }
    }

    /// What the running phase's group may cost; `None` where the space is not limited (joint search).
    pub(super) fn room(&self) -> Option<Room> {
        let group = self.groups.get(self.state.phase)?;
        match self.settings.order {
            SearchOrder::Joint | SearchOrder::Random => None,
            SearchOrder::VitalFirst | SearchOrder::NonVitalFirst if self.state.phase == 0 && self.groups.len() > 1 => {
                let phi = self.settings.phi;
                Some(self.budget.first_room(&group.slots, if group.name == "vital" { phi } else { 1.0 - phi }))
            }
            _ => Some(self.budget.room(&group.slots, &self.state.locked)),
        }
    }

    /// What the slots outside the running group are.
    pub(super) fn base(&self) -> Vec<Pick> {
        let cheap = super::proposal::cheapest(&self.budget, &(0..self.chain.slots.len()).collect::<Vec<_>>());
        let open = |slot: usize| {
            let choices = &self.chain.slots[slot].choices;
            if self.chain.slots[slot].vital() {
                return Pick::Fixed(cheap[slot].unwrap_or(0));
            }
            let working = || {
                let offered = (0..choices.len()).filter(|&o| choices[o].block.is_some());
                offered.min_by_key(|&o| self.budget.limits.first().map_or(0, |limit| limit.costs[slot][o]))
            };
            match self.settings.rest {
                Rest::Identity => Pick::Identity,
                Rest::Cheapest => working().map_or(Pick::Identity, Pick::Fixed),
            }
        };
        let locked = self.state.locked.iter().enumerate();
        locked.map(|(slot, choice)| choice.map_or_else(|| open(slot), Pick::Fixed)).collect()
    }

    /// The tilt of the epoch that begins, from the present logits.
    pub(super) fn solve_beta(&mut self) -> Result<()> {
        let (Some(group), Some(trainer)) = (self.groups.get(self.state.phase), &self.trainer) else { return Ok(()) };
        let alpha = trainer.net().logits().map_err(MethodError::failed)?;
        self.state.beta = match self.room() {
            Some(room) => solve(&self.budget, &group.slots, &alpha, &room),
            None => vec![0.0; self.budget.limits.len()],
        };
        Ok(())
    }

    pub(super) fn arch(&self, choices: &[Option<usize>]) -> Arch {
        arch_of(&self.space, &self.chain, choices)
    }

    pub(super) fn plan(&self, choices: &[Option<usize>]) -> Result<Plan> {
        self.space.plan(&self.arch(choices), self.input, self.classes).map_err(MethodError::failed)
    }

    pub(super) fn task(
        &self,
        choices: &[Option<usize>],
        candidate: usize,
        epochs: u32,
        validate: Validate,
    ) -> Result<Task> {
        let mut config = TrainerConfig::of(&self.spec, candidate as u64, epochs);
        config.validate = validate;
        Ok(Task {
            plan: self.plan(choices)?,
            config,
            subset: None,
            epochs,
            halve: self.spec.run.on_oom == OnOom::Halve,
        })
    }

    /// Queues what the present stage has still to train.
    pub(super) fn fill_fleet(&mut self, cx: &StepCx) -> Result<()> {
        let (threads, device) = (self.spec.run.threads, cx.device());
        match self.state.stage {
            Stage::Random => {
                // One at a time, as the super-network is: equal seconds would mean nothing otherwise.
                self.fleet = Fleet::new(Pool::new(1, threads, device));
                if self.state.proxies.last().is_some_and(Option::is_none) {
                    self.queue_proxy(self.state.proxies.len() - 1, cx)?;
                }
            }
            Stage::Retrain => {
                self.fleet = Fleet::new(Pool::new(self.spec.run.parallel, threads, device));
                let found = self.state.found.clone().unwrap_or_default();
                let mut wanted = vec![(FOUND, found.clone())];
                if self.settings.compare && found != self.yardstick {
                    wanted.push((YARDSTICK, self.yardstick.clone()));
                }
                for (id, choices) in wanted {
                    if self.state.trained[id].is_none() {
                        let task = self.task(&choices, id, self.settings.retrain_epochs, Validate::EachEpoch)?;
                        self.fleet.add(id, task, self.data.share());
                    }
                }
            }
            Stage::Search | Stage::Close | Stage::Done => {}
        }
        Ok(())
    }

    pub(super) fn total_search_epochs(&self) -> u32 {
        self.groups.iter().map(|group| group.epochs).sum()
    }

    pub(super) fn progress(&self, cx: &mut StepCx) {
        let retrain = f64::from(self.settings.retrain_epochs);
        let (search, total) = match self.settings.order {
            SearchOrder::Random => {
                let done = self.state.proxies.iter().filter(|p| p.is_some()).count() as f64;
                let share = match self.settings.seconds > 0.0 {
                    true => self.state.proxy_seconds / self.settings.seconds,
                    false => done / f64::from(self.settings.proxies),
                };
                let epochs = f64::from(self.settings.proxies) * f64::from(self.settings.proxy_epochs);
                (share.min(1.0) * epochs, epochs)
            }
            _ => {
                // Phases may take other epochs than planned when the clock decides; the bar counts shares of them.
                let total = f64::from(self.total_search_epochs());
                let before: u32 = self.groups.iter().take(self.state.phase).map(|group| group.epochs).sum();
                let here = self.trainer.as_ref().map_or(0.0, |t| t.position() / f64::from(self.state.planned.max(1)));
                let here = here * self.groups.get(self.state.phase).map_or(0.0, |group| f64::from(group.epochs));
                (f64::from(before) + here, total)
            }
        };
        let trained = self.state.trained.iter().flatten().count() as f64 * retrain;
        let networks = if self.settings.compare { 2.0 } else { 1.0 };
        let (done, note) = match self.state.stage {
            Stage::Search => {
                let name = self.groups.get(self.state.phase).map_or("", |group| group.name);
                (search, format!("searching {name} blocks"))
            }
            Stage::Random => (search, format!("random networks: {}", self.state.proxies.len())),
            Stage::Retrain => (total + trained + self.fleet.epochs_done(), "training from scratch".into()),
            Stage::Close | Stage::Done => (total + networks * retrain, "done".into()),
        };
        let total = total + networks * retrain;
        cx.progress(Progress { done: done.min(total), total, unit: "epochs".into(), note });
    }
}

/// The measured latencies of the chain's choices, if the settings name a table.
fn latencies(
    settings: &HournasSettings,
    space: &Space,
    chain: &Chain,
    input: Shape,
    classes: u32,
) -> Result<Option<Latencies>> {
    let file = settings.latency_table.trim();
    if settings.latency.trim().is_empty() || file.is_empty() {
        return Ok(None);
    }
    let table = LatencyTable::read(Path::new(file)).map_err(MethodError::failed)?;
    table.of(space, chain, input, classes).map(Some).map_err(|error| MethodError::failed(format!("{file}: {error}")))
}

impl Method for Hournas {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        match self.state.stage {
            Stage::Search => self.search(cx)?,
            Stage::Random => self.random(cx)?,
            Stage::Retrain => self.retrain(cx)?,
            Stage::Close => self.close(cx)?,
            Stage::Done => return Ok(Flow::Done),
        }
        self.progress(cx);
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("hournas", &self.state)?;
        for (name, tensor) in &self.network {
            checkpoint.tensor(format!("network.{name}"), tensor)?;
        }
        if let (Stage::Search, Some(trainer)) = (self.state.stage, &self.trainer) {
            let SavedSearch { state, tensors } = trainer.save().map_err(MethodError::failed)?;
            checkpoint.value("search", &state)?;
            for (name, tensor) in &tensors {
                checkpoint.tensor(format!("search.{name}"), tensor)?;
            }
        }
        self.fleet.save(checkpoint)
    }

    fn load(&mut self, checkpoint: &CheckpointReader, cx: &mut StepCx) -> Result<()> {
        let state: State = checkpoint.value("hournas")?;
        if state.locked.len() != self.chain.slots.len() {
            return Err(MethodError::failed(
                "the checkpoint is of a search in another space: it belongs to another run",
            ));
        }
        let smaller = state.batch != self.state.batch;
        self.state = state;
        self.network = checkpoint.tensors("network")?;
        if self.state.stage == Stage::Search {
            if smaller {
                self.trainer = Some(self.new_trainer()?);
            }
            let phase = self.phase();
            let saved = SavedSearch { state: checkpoint.value("search")?, tensors: checkpoint.tensors("search")? };
            let trainer = self.trainer.as_mut().ok_or_else(|| MethodError::failed("there is no super-network"))?;
            trainer.load(&saved, phase).map_err(MethodError::failed)?;
        } else {
            self.trainer = None;
            self.fill_fleet(cx)?;
            self.fleet.load(checkpoint)?;
        }
        self.shown = 0;
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        Report { method: self }.outcome()
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        let search = f64::from(self.total_search_epochs());
        let mut axes = BTreeMap::from([("*".to_owned(), f64::from(self.settings.retrain_epochs))]);
        for name in ["train/loss", "arch/loss", "accuracy", "acceptance", "entropy", "tau", "cost", "speed"] {
            axes.insert(format!("search/{name}"), search);
        }
        for limit in &self.budget.limits {
            axes.insert(format!("search/beta-{}", limit.resource.key()), search);
        }
        for slot in &self.chain.slots {
            axes.insert(format!("entropy/{}", slot.name), search);
        }
        axes.insert("random/accuracy".into(), f64::from(self.settings.proxies));
        axes
    }

    fn units(&self) -> BTreeMap<String, String> {
        [("*", "epochs"), ("random/accuracy", "networks")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    fn knobs(&self) -> &'static [&'static str] {
        kiln_protocol::spec::MethodName::Hournas.live()
    }

    fn score(&self) -> Option<f64> {
        self.state.trained[FOUND].as_ref().and_then(|t| t.valid).map(|eval| eval.accuracy)
    }
}
