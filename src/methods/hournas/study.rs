//! Which blocks matter: one network is trained, and one block after the other bypassed (lesion) or made weaker and the network
//! trained anew (weakening). Vital blocks should matter more than all others (HourNAS, arXiv:2005.14446).
//!
//! Lesions are measured on validation images, by statistics of normalisation that are estimated anew for each of them. Without
//! that, the drop is in part that of statistics that no longer fit: bypassing the very first block of a deep network then
//! looks as bad as bypassing a vital one. The weakening, trained from scratch, has no such side.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_arch::{Arch, Chain, Shape, Space};
use kiln_data::DataSet;
use kiln_metrics::Summary;
use kiln_nn::{Pool, TrainerConfig, Validate};
use kiln_protocol::run::{Figure, Outcome, Progress, Table};
use kiln_protocol::spec::{HournasMode, HournasSettings, OnOom, Spec};
use kiln_protocol::view::BlockImportance;
use kiln_protocol::{Level, View};
use serde::{Deserialize, Serialize};

use super::budget::choices_of;
use super::recipes::Lesions;
use super::search::{chain_of, named_arch};
use super::views;
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::data::shape_and_classes;
use crate::error::{MethodError, Result};
use crate::fleet::{Fleet, Task};
use crate::method::{Flow, Method};
use crate::text::{maybe, thousands};
use crate::train::space;

/// Work between two looks at the world.
const SLICE: Duration = Duration::from_millis(400);

/// What one training has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    /// Accuracy of the whole network; none if it could not be trained.
    whole: Option<f64>,
    /// By slot, with its block bypassed; empty for a weakened network.
    without: Vec<f64>,
    seconds: f64,
}

/// The plain part of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// By training: first the studied network's repeats, then the weakened ones.
    seen: Vec<Option<Seen>>,
    written: bool,
}

/// Drops of accuracy of a slot, one a repeat.
#[derive(Clone, Debug, Default)]
struct Drops {
    lesion: Vec<f64>,
    weaken: Vec<f64>,
}

/// The method `hournas` in its modes `lesion` and `weaken`.
pub struct Study {
    spec: Spec,
    settings: HournasSettings,
    space: Space,
    chain: Chain,
    arch: Arch,
    choices: Vec<Option<usize>>,
    input: Shape,
    classes: u32,
    data: DataSet,
    /// Trainings after the repeats: the slot that is weakened, to which choice, in which repeat.
    weakened: Vec<(usize, usize, usize)>,
    fleet: Fleet,
    recipe: Lesions,
    state: State,
}

impl Study {
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<Study> {
        let settings = spec.hournas.clone().unwrap_or_default();
        let space = space(spec)?;
        let data = cx.data()?;
        let (input, classes) = shape_and_classes(&data)?;
        let chain = chain_of(&space, input, classes)?;
        let arch = named_arch(&space, &settings.studied, input, classes)?;
        let choices = choices_of(&chain, &arch);
        let repeats = settings.repeats as usize;
        let mut weakened = Vec::new();
        if settings.mode == HournasMode::Weaken {
            for (slot, chosen) in chain.slots.iter().zip(&choices).enumerate().map(|(i, (_, c))| (i, *c)) {
                let offered = &chain.slots[slot].choices;
                let working = (0..offered.len()).filter(|&o| offered[o].block.is_some());
                let weakest = working.min_by_key(|&o| (offered[o].cost.macs, offered[o].cost.params));
                let empty = chosen.is_none_or(|o| offered[o].block.is_none());
                if let Some(weakest) = weakest.filter(|o| Some(*o) != chosen && !empty) {
                    weakened.extend((0..repeats).map(|repeat| (slot, weakest, repeat)));
                }
            }
        }
        let mut study = Study {
            recipe: Lesions { slots: chain.slots.len(), studied: repeats, recalibrate: settings.recalibrate },
            fleet: Fleet::new(Pool::new(spec.run.parallel, spec.run.threads, cx.device())),
            state: State { seen: vec![None; repeats + weakened.len()], written: false },
            spec: spec.clone(),
            settings,
            space,
            chain,
            arch,
            choices,
            input,
            classes,
            data,
            weakened,
        };
        study.fill_fleet()?;
        Ok(study)
    }

    fn repeats(&self) -> usize {
        self.settings.repeats as usize
    }

    /// Queues the trainings that are not done. A weakened network starts from the seed of its repeat and sees the batches in
    /// the same order, so that a pair differs in the block alone.
    fn fill_fleet(&mut self) -> Result<()> {
        self.fleet.clear();
        for id in (0..self.state.seen.len()).filter(|&id| self.state.seen[id].is_none()) {
            let mut arch = self.arch.clone();
            let repeat = match id.checked_sub(self.repeats()).and_then(|i| self.weakened.get(i)) {
                None => id,
                Some(&(slot, choice, repeat)) => {
                    arch.genes[slot].clone_from(&self.chain.slots[slot].choices[choice].gene);
                    repeat
                }
            };
            let mut config = TrainerConfig::of(&self.spec, repeat as u64, self.settings.retrain_epochs);
            config.order = repeat as u64;
            config.validate = if id < self.repeats() { Validate::EachEpoch } else { Validate::Never };
            let task = Task {
                plan: self.space.plan(&arch, self.input, self.classes).map_err(MethodError::failed)?,
                config,
                subset: None,
                epochs: self.settings.retrain_epochs,
                halve: self.spec.run.on_oom == OnOom::Halve,
            };
            self.fleet.add(id, task, self.data.share());
        }
        Ok(())
    }

    /// By slot, what is known so far. Slots that are empty have no drops.
    fn drops(&self) -> Vec<Drops> {
        let mut drops = vec![Drops::default(); self.chain.slots.len()];
        let whole = |repeat: usize| self.state.seen.get(repeat)?.as_ref()?.whole;
        for seen in self.state.seen.iter().take(self.repeats()).flatten() {
            let Some(whole) = seen.whole else { continue };
            for (slot, without) in seen.without.iter().enumerate() {
                let empty = self.choices[slot].is_none_or(|o| self.chain.slots[slot].choices[o].block.is_none());
                if !empty {
                    drops[slot].lesion.push(whole - without);
                }
            }
        }
        for (&(slot, _, repeat), seen) in self.weakened.iter().zip(self.state.seen.iter().skip(self.repeats())) {
            if let (Some(before), Some(after)) = (whole(repeat), seen.as_ref().and_then(|s| s.whole)) {
                drops[slot].weaken.push(before - after);
            }
        }
        drops
    }

    fn blocks(&self) -> View {
        let mut blocks = views::cells(&self.chain, &self.choices);
        for (cell, drops) in blocks.iter_mut().zip(self.drops()) {
            cell.lesion = Summary::of(drops.lesion).map(|s| s.mean);
            cell.weaken = Summary::of(drops.weaken).map(|s| s.mean);
        }
        let done = self.state.seen.iter().flatten().count();
        View::BlockImportance(BlockImportance {
            title: format!("what the blocks of {} are worth", self.arch),
            ops: views::ops(&self.chain),
            blocks,
            gauges: Vec::new(),
            note: format!("{done} of {} trainings; accuracy lost, on validation images", self.state.seen.len()),
        })
    }

    /// Repeats in which every vital block's drop is above every other one's, and repeats with drops of both kinds.
    fn separated(&self) -> (usize, usize) {
        let drops = self.drops();
        let (mut separated, mut judged) = (0, 0);
        for repeat in 0..drops.iter().map(|d| d.lesion.len()).max().unwrap_or(0) {
            let of = |vital: bool| {
                let slots = self.chain.slots.iter().zip(&drops).filter(move |(slot, _)| slot.vital() == vital);
                slots.filter_map(move |(_, d)| d.lesion.get(repeat).copied())
            };
            if let (Some(least), Some(most)) = (of(true).reduce(f64::min), of(false).reduce(f64::max)) {
                judged += 1;
                separated += usize::from(least > most);
            }
        }
        (separated, judged)
    }

    fn epochs_done(&self) -> f64 {
        let done = self.state.seen.iter().flatten().count() as f64 * f64::from(self.settings.retrain_epochs);
        done + self.fleet.epochs_done()
    }
}

impl Method for Study {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        if self.fleet.is_empty() {
            if self.state.seen.iter().take(self.repeats()).flatten().all(|s| s.whole.is_none()) {
                return Err(MethodError::failed(format!(
                    "the network {} could not be trained in any of {} repeats; try a lower learning rate (optim.lr)",
                    self.arch,
                    self.repeats()
                )));
            }
            if !self.state.written {
                cx.view("blocks", self.blocks());
                let mut text = String::from("block,vital,op,repeat,lesion,weaken\n");
                for ((slot, gene), drops) in self.chain.slots.iter().zip(&self.arch.genes).zip(self.drops()) {
                    for repeat in 0..drops.lesion.len().max(drops.weaken.len()) {
                        let cell = |d: &[f64]| d.get(repeat).map_or(String::new(), |v| format!("{v:.6}"));
                        let row = [cell(&drops.lesion), cell(&drops.weaken)].join(",");
                        text += &format!("{},{},{gene},{repeat},{row}\n", slot.name, slot.vital());
                    }
                }
                cx.write_artifact("blocks.csv", text.as_bytes())?;
                self.state.written = true;
            }
            return Ok(Flow::Done);
        }
        let sliced = self.fleet.slice(&self.recipe, SLICE, cx);
        for (id, epochs) in
            sliced.news.iter().map(|n| (n.id, &n.epochs)).chain(sliced.finished.iter().map(|f| (f.note.id, &f.news)))
        {
            for epoch in epochs.iter().filter(|_| id < self.repeats()) {
                cx.scalar(&format!("repeat-{id}/train/loss"), epoch.epoch as f64, epoch.loss);
                if let Some(eval) = epoch.valid {
                    cx.scalar(&format!("repeat-{id}/valid/accuracy"), epoch.epoch as f64, eval.accuracy);
                }
            }
        }
        for finished in sliced.finished {
            let (id, seconds) = (finished.note.id, finished.note.seconds);
            let mut seen = Seen { seconds, ..Seen::default() };
            let failure = match finished.outcome {
                Ok(product) => {
                    seen.whole = product.whole.filter(|v| v.is_finite());
                    seen.without = product.without;
                    product.failure
                }
                Err(failure) => Some(failure.sentence().to_owned()),
            };
            if let Some(why) = failure {
                cx.log(Level::Warn, format!("training {id} ended early: {why}"));
            }
            self.state.seen[id] = Some(seen);
        }
        cx.view("blocks", self.blocks());
        let total = self.state.seen.len() as f64 * f64::from(self.settings.retrain_epochs);
        let note = format!("{} of {} trainings", self.state.seen.iter().flatten().count(), self.state.seen.len());
        cx.set_x(self.epochs_done());
        cx.progress(Progress { done: self.epochs_done(), total, unit: "epochs".into(), note });
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("hournas-study", &self.state)?;
        self.fleet.save(checkpoint)
    }

    fn load(&mut self, checkpoint: &CheckpointReader, _cx: &mut StepCx) -> Result<()> {
        let state: State = checkpoint.value("hournas-study")?;
        if state.seen.len() != self.state.seen.len() {
            return Err(MethodError::failed("the checkpoint is of another study: it belongs to another run"));
        }
        self.state = state;
        self.fill_fleet()?;
        self.fleet.load(checkpoint)
    }

    fn outcome(&self) -> Outcome {
        let drops = self.drops();
        let means = |vital: bool, of: fn(&Drops) -> &Vec<f64>| -> Vec<f64> {
            let slots = self.chain.slots.iter().zip(&drops).filter(|(slot, _)| slot.vital() == vital);
            slots.filter_map(|(_, d)| Summary::of(of(d).iter().copied()).map(|s| s.mean)).collect()
        };
        let mean = |values: &[f64]| Summary::of(values.iter().copied()).map(|s| s.mean);
        let (vital, rest) = (means(true, |d| &d.lesion), means(false, |d| &d.lesion));
        let (weak_vital, weak_rest) = (means(true, |d| &d.weaken), means(false, |d| &d.weaken));
        let ratio = mean(&vital).zip(mean(&rest)).filter(|(_, rest)| *rest > 0.0).map(|(v, r)| v / r);
        let least = vital.iter().copied().reduce(f64::min);
        let most = rest.iter().copied().reduce(f64::max);
        let (separated, judged) = self.separated();
        let holds = judged > 0 && separated == judged;
        let accuracy = Summary::of(self.state.seen.iter().take(self.repeats()).flatten().filter_map(|s| s.whole));
        let mut verdict = match (least, most) {
            (Some(least), Some(most)) => format!(
                "The claim {}: in {separated} of {judged} repeats every vital block's lesion costs more accuracy than every \
                 other block's. On average, the least of the vital ones costs {least:.3}, the most of the others {most:.3}; \
                 mean against mean: {} times.",
                if holds { "holds" } else { "does not hold" },
                maybe(ratio, 1)
            ),
            _ => "There are not both vital and other blocks to compare.".to_owned(),
        };
        if let (Some(v), Some(r)) = (mean(&weak_vital), mean(&weak_rest)) {
            verdict += &format!(" Weakening a vital block costs {v:.4}, another one {r:.4}.");
        }
        let figures = [
            ("valid_accuracy", accuracy.map(|s| s.mean)),
            ("lesion_vital_least", least),
            ("lesion_vital_mean", mean(&vital)),
            ("lesion_rest_most", most),
            ("lesion_rest_mean", mean(&rest)),
            ("lesion_ratio", ratio),
            ("separated", Some(separated as f64)),
            ("judged", Some(judged as f64)),
            ("claim", Some(f64::from(u8::from(holds)))),
            ("weaken_vital_mean", mean(&weak_vital)),
            ("weaken_rest_mean", mean(&weak_rest)),
            ("seconds", Some(self.state.seen.iter().flatten().map(|s| s.seconds).sum())),
        ];
        let spread = |values: &[f64]| {
            Summary::of(values.iter().copied()).map_or("-".into(), |s| match values.len() {
                1 => format!("{:.3}", s.mean),
                _ => format!("{:.3} +- {:.3}", s.mean, s.std),
            })
        };
        let rows = views::cells(&self.chain, &self.choices).into_iter().zip(&drops).map(|(cell, drops)| {
            vec![
                cell.name,
                if cell.vital { "vital".into() } else { String::new() },
                cell.chosen.unwrap_or_else(|| "skip".into()),
                thousands(cell.params as f64),
                thousands(cell.macs as f64),
                spread(&drops.lesion),
                spread(&drops.weaken),
            ]
        });
        let table = Table {
            title: format!("Accuracy lost, of {}", maybe(accuracy.map(|s| s.mean), 4)),
            columns: ["block", "", "operation", "parameters", "MACs", "bypassed", "weakened"].map(String::from).into(),
            rows: rows.collect(),
        };
        Outcome {
            flaws: Vec::new(),
            headline: vec![Figure::new("lesion_ratio", true), Figure::new("separated", true)],
            verdict,
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            tables: vec![table],
        }
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([("*".to_owned(), f64::from(self.settings.retrain_epochs))])
    }
}
