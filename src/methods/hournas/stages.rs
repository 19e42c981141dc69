//! The work of each stage, one bounded step at a time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kiln_nn::supernet::{Sampler, Turn};
use kiln_nn::{Pick, TrainError, Validate};
use kiln_protocol::Level;
use kiln_protocol::run::Best;
use kiln_protocol::spec::OnOom;

use super::proposal::{Proposal, Tally, Tilted, derive_choices, solve};
use super::record::{Proxy, Row, Stage, State, Trained};
use super::search::{FOUND, Hournas, RANDOM, YARDSTICK};
use super::views;
use crate::cx::StepCx;
use crate::error::{MethodError, Result};
use crate::text::thousands;
use crate::train::{Finish, Product};

/// Work between two looks at the world.
const SLICE: Duration = Duration::from_millis(400);

impl Hournas {
    /// A slice of a phase of the super-network.
    pub(super) fn search(&mut self, cx: &mut StepCx) -> Result<()> {
        self.turn_knobs(cx);
        if self.shown == 0 {
            self.show(cx)?;
        }
        let trainer = self.trainer.as_ref().ok_or_else(|| MethodError::failed("there is no super-network"))?;
        if trainer.history().len() as u64 > self.state.told {
            return self.close_epoch(cx);
        }
        let began = Instant::now();
        let before = (trainer.steps(), trainer.arch_steps());
        let turn = self.run_slice(began + SLICE, cx);
        let Some(trainer) = self.trainer.as_mut() else { return Ok(()) };
        let x = self.state.epochs_before as f64;
        for mark in trainer.take_marks() {
            cx.scalar("search/train/loss", x + mark.epochs, mark.train_loss);
            if let Some(loss) = mark.arch_loss {
                cx.scalar("search/arch/loss", x + mark.epochs, loss);
            }
            cx.scalar("search/tau", x + mark.epochs, mark.tau);
        }
        cx.set_x(x + trainer.position());
        if let Some(record) = self.state.records.last_mut() {
            record.seconds += began.elapsed().as_secs_f64();
            record.steps += trainer.steps() - before.0;
            record.arch_steps += trainer.arch_steps() - before.1;
        }
        match turn {
            Ok(Turn::Epoch) => self.close_epoch(cx),
            Ok(Turn::Reached | Turn::Stopped) => Ok(()),
            Ok(Turn::Done) => self.end_phase(cx),
            Err(TrainError::OutOfMemory { batch, message }) => self.shrink(batch, &message, cx),
            Err(error) => Err(MethodError::failed(error)),
        }
    }

    fn run_slice(&mut self, deadline: Instant, cx: &StepCx) -> Result<Turn, TrainError> {
        let room = self.room();
        let base = self.base();
        let flag = cx.stop_flag();
        let (Some(group), Some(trainer)) = (self.groups.get(self.state.phase), self.trainer.as_mut()) else {
            return Ok(Turn::Done);
        };
        let mut proposal = Proposal {
            tilted: Tilted { budget: &self.budget, group: &group.slots, beta: &self.state.beta },
            room: room.as_ref(),
            base: &base,
            eps: self.settings.eps,
            rejections: self.settings.rejections,
            key: (self.spec.seed, self.state.phase as u64),
            tally: &mut self.state.tally,
        };
        trainer.run(Some(deadline), &mut proposal, &|| flag.load(Ordering::Relaxed))
    }

    /// Looks at the network of the largest logits, and prepares the next epoch. Starts over if it was interrupted.
    fn close_epoch(&mut self, cx: &mut StepCx) -> Result<()> {
        let began = Instant::now();
        let derived = self.derived()?;
        let Some(trainer) = &self.trainer else { return Ok(()) };
        let base = self.base();
        let path: Vec<Pick> =
            derived.iter().zip(&base).map(|(choice, base)| choice.map_or(*base, Pick::Fixed)).collect();
        let flag = cx.stop_flag();
        let eval = trainer.evaluate(&path, &self.data.valid, &|| flag.load(Ordering::Relaxed));
        let Some(eval) = eval.map_err(MethodError::failed)? else { return Err(MethodError::Interrupted) };
        let epoch = self.state.told + 1;
        let finite = Some(eval).filter(|e| e.loss.is_finite());
        let phase_name = self.groups.get(self.state.phase).map_or("", |group| group.name);
        self.state.rows.push(Row {
            id: self.state.rows.len() as u32,
            choices: derived.clone(),
            accuracy: finite.map(|e| e.accuracy),
            loss: finite.map(|e| e.loss),
            status: format!("{phase_name} {epoch}"),
        });
        self.state.shared = finite;
        if let Some(record) = self.state.records.last_mut() {
            record.watching += began.elapsed().as_secs_f64();
            record.epochs = epoch;
            record.add(&self.state.tally);
            record.memory = kiln_nn::torch::memory(cx.device()).map(|m| m.peak_reserved);
        }
        self.report_epoch(epoch, &derived, eval.accuracy, cx)?;
        self.state.told = epoch;
        self.state.last_tally = std::mem::take(&mut self.state.tally);
        self.follow_the_clock();
        self.solve_beta()?;
        self.show(cx)?;
        let over = self.trainer.as_ref().is_none_or(|t| t.steps() >= t.total_steps());
        if over { self.end_phase(cx) } else { Ok(()) }
    }

    fn report_epoch(&self, epoch: u64, derived: &[Option<usize>], accuracy: f64, cx: &mut StepCx) -> Result<()> {
        let x = (self.state.epochs_before + epoch) as f64;
        cx.scalar("search/accuracy", x, accuracy);
        let share = self.budget.limits.iter().map(|limit| limit.cost(derived) as f64 / limit.most.max(1) as f64);
        cx.scalar("search/cost", x, share.fold(0.0, f64::max));
        for (limit, beta) in self.budget.limits.iter().zip(&self.state.beta) {
            cx.scalar(&format!("search/beta-{}", limit.resource.key()), x, *beta);
        }
        if let Some(acceptance) = self.state.tally.acceptance() {
            cx.scalar("search/acceptance", x, acceptance);
        }
        let record = self.state.records.last();
        if let Some(speed) = record.and_then(super::record::PhaseRecord::speed) {
            cx.scalar("search/speed", x, speed);
        }
        let weights = self.weights()?;
        let mut sum = (0.0, 0.0);
        for (slot, p) in self.chain.slots.iter().zip(&weights) {
            let entropy = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum::<f64>();
            cx.scalar(&format!("entropy/{}", slot.name), x, entropy);
            sum = (sum.0 + entropy, sum.1 + 1.0);
        }
        cx.scalar("search/entropy", x, sum.0 / sum.1);
        Ok(())
    }

    /// With a budget of seconds: as many epochs as the time that is left allows at the speed seen so far.
    fn follow_the_clock(&mut self) {
        if self.settings.seconds <= 0.0 {
            return;
        }
        let Some(group) = self.groups.get(self.state.phase) else { return };
        let share = f64::from(group.epochs) / f64::from(self.total_search_epochs().max(1));
        let (Some(record), Some(trainer)) = (self.state.records.last(), self.trainer.as_mut()) else { return };
        let left = (self.settings.seconds * share - record.seconds).max(0.0);
        let each = record.seconds / self.state.told.max(1) as f64;
        let more = if each > 0.0 { (left / each).round() } else { 0.0 };
        self.state.planned = (self.state.told as f64 + more).min(f64::from(u32::MAX)) as u32;
        trainer.set_epochs(self.state.planned);
    }

    /// The network of the largest logits, within the phase's room; slots that are still open are empty.
    pub(super) fn derived(&self) -> Result<Vec<Option<usize>>> {
        let (Some(trainer), Some(group)) = (&self.trainer, self.groups.get(self.state.phase)) else {
            return Ok(self.state.found.clone().unwrap_or_else(|| self.state.locked.clone()));
        };
        let alpha = trainer.net().logits().map_err(MethodError::failed)?;
        let own = derive_choices(&self.budget, &group.slots, &alpha, self.room().as_ref());
        Ok(self.state.locked.iter().zip(own).map(|(locked, own)| locked.or(own)).collect())
    }

    /// Probabilities by slot and choice: of the present distribution in the running group, of the logits elsewhere.
    pub(super) fn weights(&self) -> Result<Vec<Vec<f64>>> {
        let Some(trainer) = &self.trainer else { return Ok(self.state.weights.clone()) };
        let alpha = trainer.net().logits().map_err(MethodError::failed)?;
        let none = vec![0.0; self.budget.limits.len()];
        let group = self.groups.get(self.state.phase).map_or(&[][..], |group| &group.slots);
        let weight = |slot: usize| {
            let beta = if group.contains(&slot) { &self.state.beta } else { &none };
            Tilted { budget: &self.budget, group, beta }.probabilities(slot, &alpha[slot])
        };
        Ok((0..alpha.len()).map(weight).collect())
    }

    /// Locks what the phase has found, and begins the next one or the training from scratch.
    fn end_phase(&mut self, cx: &mut StepCx) -> Result<()> {
        let derived = self.derived()?;
        let weights = self.weights()?;
        let Some(group) = self.groups.get(self.state.phase) else { return Ok(()) };
        for &slot in &group.slots {
            self.state.locked[slot] = derived[slot];
        }
        if let Some(record) = self.state.records.last() {
            let ops: Vec<&str> = group
                .slots
                .iter()
                .filter_map(|&slot| Some(self.chain.slots[slot].choices.get(derived[slot]?)?.gene.as_str()))
                .collect();
            cx.log(
                Level::Info,
                format!(
                    "{} blocks settled after {} epochs and {:.1} s: {}",
                    record.name,
                    record.epochs,
                    record.seconds,
                    ops.join(" ")
                ),
            );
        }
        self.state.weights = weights;
        self.state.epochs_before += self.state.told;
        self.state.phase += 1;
        if self.state.phase < self.groups.len() {
            self.begin_phase()?;
        } else {
            self.settle(self.state.locked.clone(), cx)?;
        }
        self.show(cx)
    }

    /// The search is over: the network is found.
    fn settle(&mut self, found: Vec<Option<usize>>, cx: &mut StepCx) -> Result<()> {
        let costs = self.budget.cost(&found);
        let words: Vec<String> = (self.budget.limits.iter().zip(&costs))
            .map(|(limit, &cost)| format!("{} of {}", limit.resource.words(cost), limit.resource.words(limit.most)))
            .collect();
        cx.log(Level::Info, format!("found {}: {}", self.arch(&found), words.join(", ")));
        self.state.found = Some(found);
        self.trainer = None;
        self.state.stage = Stage::Retrain;
        self.fill_fleet(cx)
    }

    /// Memory ran out in the super-network: from the start again, with half the batch.
    fn shrink(&mut self, batch: i64, message: &str, cx: &mut StepCx) -> Result<()> {
        let smaller = u32::try_from(batch / 2).unwrap_or(0);
        if self.spec.run.on_oom != OnOom::Halve || smaller == 0 {
            return Err(MethodError::failed(format!(
                "the super-network ran out of memory with batches of {batch} images: {message}; lower optim.batch"
            )));
        }
        cx.log(
            Level::Warn,
            format!(
                "the super-network ran out of memory with batches of {batch} images and starts again with {smaller}"
            ),
        );
        self.trainer = None;
        kiln_nn::torch::empty_cache().map_err(MethodError::failed)?;
        self.state = State {
            batch: smaller,
            locked: vec![None; self.chain.slots.len()],
            stage: Stage::Search,
            ..State::default()
        };
        self.start_search()
    }

    /// Random affordable networks, each trained for a short time, until networks or seconds are used up.
    pub(super) fn random(&mut self, cx: &mut StepCx) -> Result<()> {
        if self.shown == 0 {
            self.show(cx)?;
        }
        let clocked = self.settings.seconds > 0.0;
        let done = self.state.proxies.iter().flatten().count();
        let over = match clocked {
            true => self.state.proxy_seconds >= self.settings.seconds && done > 0,
            false => done >= self.settings.proxies as usize,
        };
        if over {
            // One that the clock cut off in its training is no candidate.
            self.state.proxies.retain(Option::is_some);
            self.fleet.clear();
            return self.choose_proxy(cx);
        }
        if self.fleet.is_empty() {
            let id = self.state.proxies.len();
            self.state.proxies.push(None);
            self.queue_proxy(id, cx)?;
        }
        let began = Instant::now();
        let sliced = self.fleet.slice(&self.short, SLICE, cx);
        self.state.proxy_seconds += began.elapsed().as_secs_f64();
        for finished in sliced.finished {
            let id = finished.note.id;
            let choices = self.drawn(id)?;
            let eval = finished.outcome.unwrap_or(None);
            if let Some(eval) = eval {
                cx.scalar("random/accuracy", (id + 1) as f64, eval.accuracy);
            }
            self.state.rows.push(Row {
                id: id as u32,
                choices: choices.clone(),
                accuracy: eval.map(|e| e.accuracy),
                loss: eval.map(|e| e.loss),
                status: if eval.is_some() { "done".into() } else { "failed: its loss is no number".into() },
            });
            self.state.proxies[id] = Some(Proxy { choices, eval });
        }
        self.show(cx)
    }

    /// The random network of a number: affordable, drawn without preference.
    fn drawn(&mut self, id: usize) -> Result<Vec<Option<usize>>> {
        let slots = self.chain.slots.len();
        let group: Vec<usize> = (0..slots).collect();
        let alpha: Vec<Vec<f32>> = self.chain.slots.iter().map(|slot| vec![0.0; slot.choices.len()]).collect();
        let room = self.budget.room(&group, &vec![None; slots]);
        let beta = solve(&self.budget, &group, &alpha, &room);
        let base = vec![Pick::Identity; slots];
        let mut proposal = Proposal {
            tilted: Tilted { budget: &self.budget, group: &group, beta: &beta },
            room: Some(&room),
            base: &base,
            eps: self.settings.eps,
            rejections: self.settings.rejections,
            key: (self.spec.seed, RANDOM),
            tally: &mut Tally::default(),
        };
        Ok(proposal.draw(&alpha, id as u64).path.iter().map(|pick| pick.choice()).collect())
    }

    pub(super) fn queue_proxy(&mut self, id: usize, cx: &StepCx) -> Result<()> {
        let choices = self.drawn(id)?;
        let mut task = self.task(&choices, id, self.settings.proxy_epochs, Validate::Never)?;
        let [own, _] =
            kiln_nn::supernet::split(self.spec.seed, self.data.train.len(), self.settings.split, cx.device())
                .map_err(MethodError::failed)?;
        task.subset = Some(own);
        self.fleet.add(id, task, self.data.share());
        Ok(())
    }

    fn choose_proxy(&mut self, cx: &mut StepCx) -> Result<()> {
        // Of equally accurate ones the one of the lower loss; few images make ties common.
        let key = |p: &Proxy| p.eval.map(|e| (e.accuracy, -e.loss));
        let best = self
            .state
            .proxies
            .iter()
            .flatten()
            .filter(|p| p.eval.is_some())
            .reduce(|best, p| if key(p) > key(best) { p } else { best });
        let Some(best) = best else {
            return Err(MethodError::failed(format!(
                "none of {} random networks could be trained; try a lower learning rate (optim.lr)",
                self.state.proxies.len()
            )));
        };
        let choices = best.choices.clone();
        self.settle(choices, cx)?;
        self.show(cx)
    }

    /// Training from scratch: search weights are dropped.
    pub(super) fn retrain(&mut self, cx: &mut StepCx) -> Result<()> {
        self.turn_knobs(cx);
        if self.shown == 0 {
            self.show(cx)?;
        }
        let sliced = self.fleet.slice(&Finish, SLICE, cx);
        for news in &sliced.news {
            report_training(news.id, &news.epochs, cx);
        }
        for finished in sliced.finished {
            let id = finished.note.id;
            report_training(id, &finished.news, cx);
            let product = finished.outcome.unwrap_or_else(|failure| Product::failed(failure.sentence()));
            let Product { valid, test, failure, tensors, .. } = product;
            let trained = Trained { valid, test, failure, seconds: finished.note.seconds };
            if let Some(why) = &trained.failure {
                cx.log(Level::Warn, format!("{} ended early: {why}", name_of(id)));
            }
            if id == FOUND {
                if let Some(eval) = trained.valid {
                    cx.best(Best { name: "valid/accuracy".into(), value: eval.accuracy, higher_is_better: true });
                }
                self.network = tensors;
            }
            self.state.trained[id] = Some(trained);
        }
        if self.fleet.is_empty() {
            self.state.stage = Stage::Close;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, cx: &mut StepCx) -> Result<()> {
        let found = self.state.found.clone().unwrap_or_default();
        cx.write_artifact("blocks.csv", views::blocks_csv(self, &found).as_bytes())?;
        if !self.network.is_empty() {
            let bytes = crate::export::network(&self.arch(&found), &self.plan(&found)?, &self.data, &self.network)?;
            let path = cx.write_artifact("network.safetensors", &bytes)?;
            cx.log(
                Level::Info,
                format!(
                    "the trained network of {} parameters is in {}",
                    thousands(self.plan(&found)?.cost().params as f64),
                    path.display()
                ),
            );
        }
        self.state.stage = Stage::Done;
        self.show(cx)
    }

    fn turn_knobs(&mut self, cx: &StepCx) {
        let knobs = ["optim.lr", "optim.weight-decay", "optim.grad-clip"].map(|key| cx.knob(key));
        if let Some(trainer) = self.trainer.as_mut() {
            let [lr, decay, clip] = knobs;
            lr.into_iter().for_each(|v| trainer.optimizer().set_lr(v));
            decay.into_iter().for_each(|v| trainer.optimizer().set_weight_decay(v));
            clip.into_iter().for_each(|v| trainer.optimizer().set_grad_clip(v));
        }
        for trainer in self.fleet.trainers() {
            let [lr, decay, clip] = knobs;
            lr.into_iter().for_each(|v| trainer.set_lr(v));
            decay.into_iter().for_each(|v| trainer.set_weight_decay(v));
            clip.into_iter().for_each(|v| trainer.set_grad_clip(v));
        }
    }

    /// All views as they stand.
    pub(super) fn show(&mut self, cx: &mut StepCx) -> Result<()> {
        cx.view("blocks", views::blocks(self)?);
        cx.view("candidates", views::candidates(self, self.shown));
        cx.view("stages", views::stages(self));
        self.shown = self.state.rows.len().max(1);
        Ok(())
    }
}

fn name_of(id: usize) -> &'static str {
    if id == YARDSTICK { "the yardstick's training" } else { "the found network's training" }
}

fn report_training(id: usize, epochs: &[kiln_nn::Epoch], cx: &mut StepCx) {
    let prefix = if id == YARDSTICK { "yardstick/" } else { "" };
    for epoch in epochs {
        let x = epoch.epoch as f64;
        cx.set_x(x);
        cx.scalar(&format!("{prefix}train/loss"), x, epoch.loss);
        if let Some(eval) = epoch.valid {
            cx.scalar(&format!("{prefix}valid/loss"), x, eval.loss);
            cx.scalar(&format!("{prefix}valid/accuracy"), x, eval.accuracy);
        }
    }
}
