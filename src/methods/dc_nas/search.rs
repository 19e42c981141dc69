//! The search as a state machine: what it holds, how it is saved, what it says of itself. The stages' work is in
//! [`super::stages`].

use std::collections::BTreeMap;

use kiln_arch::{Shape, Space};
use kiln_data::DataSet;
use kiln_nn::Pool;
use kiln_nn::torch::Generator;
use kiln_protocol::run::{Outcome, Progress};
use kiln_protocol::spec::seed::derive;
use kiln_protocol::spec::{DcNasSettings, FeatureKind, OnOom, Spec};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::clustering::Search;
use super::findings::{Costs, Findings, findings};
use super::geometry::Plane;
use super::kmeans::Partition;
use super::recipes::{Shared, Short, Whole};
use super::record::{Clustering, Sampled, ranking};
use super::report::Report;
use super::scale::standardise;
use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::data::shape_and_classes;
use crate::error::{MethodError, Result};
use crate::fleet::{Fleet, Task};
use crate::method::{Flow, Method};
use crate::train::space;

/// Where the search stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Steps 1 and 2: short training and features.
    #[default]
    Short,
    /// Steps 3 to 7: scaling, clusters, ranking inside them. Quick and drawn from seeds, so a resumed run does it anew.
    Cluster,
    /// Step 8: full training of the winners, of the baseline's picks and, for the truth, of all.
    Full,
    /// Random partitions, comparisons.
    Judge,
    /// Test accuracy and files.
    Close,
    Done,
}

/// The plain part of the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub stage: Stage,
    pub population: Vec<Sampled>,
    pub clustering: Clustering,
    /// By cluster.
    pub winners: Vec<Vec<usize>>,
    /// Networks to train in full, in this order.
    pub queue: Vec<usize>,
    /// Taus of random partitions.
    pub draws: Vec<Option<f64>>,
    pub test_accuracy: Option<f64>,
    /// The winner whose tensors are kept: the best one trained so far.
    pub champion: Option<usize>,
    /// Seconds of the four phases, over all attempts.
    pub seconds: [f64; 4],
}

/// What the clusters are drawn in. Follows from the features, so it is never saved.
pub(super) struct Map {
    pub search: Search,
    pub members: Vec<usize>,
    pub plane: Plane,
    /// Iterations of the winning run that were shown.
    pub shown: usize,
}

/// The method `dc-nas`.
pub struct DcNas {
    pub(super) spec: Spec,
    pub(super) settings: DcNasSettings,
    pub(super) space: Space,
    pub(super) input: Shape,
    pub(super) classes: u32,
    pub(super) data: DataSet,
    /// Images of the proxy training set.
    pub(super) proxy: i64,
    pub(super) fleet: Fleet,
    pub(super) short: Short,
    pub(super) whole: Whole,
    pub(super) map: Option<Map>,
    pub(super) state: State,
    /// Tensors of the champion.
    pub(super) champion: Vec<(String, Tensor)>,
    /// Ids whose row in the table of candidates has changed.
    pub(super) changed: Vec<usize>,
}

impl DcNas {
    pub fn new(spec: &Spec, cx: &mut StepCx) -> Result<DcNas> {
        let settings = spec.dc_nas.clone().unwrap_or_default();
        let space = space(spec)?;
        let data = cx.data()?;
        let (input, classes) = shape_and_classes(&data)?;
        let train = data.train.len();
        let batch = i64::from(spec.optim.batch).min(train);
        let proxy = ((settings.proxy * train as f64).round() as i64).clamp(batch.max(1), train.max(1));
        let pool = Pool::new(spec.run.parallel, spec.run.threads, cx.device());
        let probe = match settings.feature {
            FeatureKind::Param => None,
            FeatureKind::Output | FeatureKind::Both => {
                let index = draw(spec.seed, "probe", train, i64::from(settings.probe).min(train), cx.device())?;
                Some(Shared::new(index))
            }
        };
        let mut method = DcNas {
            short: Short { settings: settings.clone(), slots: space.fixed_slots(), probe },
            whole: Whole { winners: Vec::new() },
            fleet: Fleet::new(pool),
            spec: spec.clone(),
            settings,
            space,
            input,
            classes,
            data,
            proxy,
            map: None,
            state: State::default(),
            champion: Vec::new(),
            changed: Vec::new(),
        };
        method.sample()?;
        method.fill_fleet(cx)?;
        Ok(method)
    }

    /// Step 0: the population, every speed family in equal numbers.
    fn sample(&mut self) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(derive(self.spec.seed, "sample", 0, 0));
        for arch in self.space.population(self.settings.population as usize, &mut rng) {
            let plan = self.space.plan(&arch, self.input, self.classes).map_err(MethodError::failed)?;
            let cost = plan.cost();
            self.state.population.push(Sampled {
                family: self.space.family(&arch),
                arch,
                params: cost.params,
                macs: cost.macs,
                early: None,
                full: None,
            });
        }
        Ok(())
    }

    /// Queues the candidates that the present stage has not trained yet.
    pub(super) fn fill_fleet(&mut self, cx: &StepCx) -> Result<()> {
        let population = &self.state.population;
        let ids: Vec<usize> = match self.state.stage {
            Stage::Short => (0..population.len()).filter(|&id| population[id].early.is_none()).collect(),
            Stage::Full => self.state.queue.iter().copied().filter(|&id| population[id].full.is_none()).collect(),
            _ => Vec::new(),
        };
        let subset = draw(self.spec.seed, "proxy", self.data.train.len(), self.proxy, cx.device())?;
        for id in ids {
            let task = self.task(id, &subset)?;
            self.fleet.add(id, task, self.data.share());
        }
        Ok(())
    }

    /// All networks share the settings, the order of batches, and the schedule of the full training, of which the short
    /// one sees the beginning: they are stopped early, not trained by another recipe.
    fn task(&self, id: usize, subset: &Tensor) -> Result<Task> {
        let full = self.settings.full_epochs;
        let short = self.state.stage == Stage::Short;
        let early = self.settings.early_epochs;
        let arch = &self.state.population[id].arch;
        let plan = self.space.plan(arch, self.input, self.classes).map_err(MethodError::failed)?;
        let mut config = kiln_nn::TrainerConfig::of(&self.spec, id as u64, if short { full.max(early) } else { full });
        let compared = self.compared();
        if short {
            // Features describe the architecture, not the luck of its crops.
            config.augment = None;
            config.validate = kiln_nn::Validate::Never;
        } else if !compared.contains(&id) {
            config.validate = kiln_nn::Validate::AtEnd;
        }
        Ok(Task {
            plan,
            config,
            subset: short.then(|| subset.shallow_clone()),
            epochs: if short { early } else { full },
            halve: self.spec.run.on_oom == OnOom::Halve,
        })
    }

    /// Cluster winners and the baseline's picks: the networks whose curves are shown.
    pub(super) fn compared(&self) -> Vec<usize> {
        let winners: Vec<usize> = self.picks();
        let global = ranking(&self.state.population);
        let baseline = global.iter().take(winners.len()).filter(|id| !winners.contains(id)).copied();
        winners.iter().copied().chain(baseline.collect::<Vec<_>>()).collect()
    }

    /// The winners of all clusters.
    pub(super) fn picks(&self) -> Vec<usize> {
        self.state.winners.concat()
    }

    /// The picture that clusters are found and drawn in, made at its first use.
    pub(super) fn map(&mut self) -> Result<&mut Map> {
        if self.map.is_none() {
            let rows: Vec<Option<Vec<f64>>> = self.state.population.iter().map(|s| s.features().cloned()).collect();
            let (z, members) = standardise(&rows, self.settings.log);
            if members.is_empty() {
                let reasons = self.state.population.iter().filter_map(|s| s.early.as_ref()?.failure.clone());
                let first = reasons.reduce(|first, _| first).unwrap_or_else(|| "no reason is known".into());
                return Err(MethodError::failed(format!(
                    "none of the {} networks could be described after its short training. The first one: {first}",
                    self.state.population.len()
                )));
            }
            let plane = Plane::fit(&z);
            let search = Search::new(z, &self.settings, self.spec.seed);
            self.map = Some(Map { search, members, plane, shown: 0 });
        }
        self.map.as_mut().ok_or_else(|| MethodError::failed("there is no map of clusters"))
    }

    /// The final partition of the map's rows, from the labels that were settled on.
    pub(super) fn partition(&mut self) -> Result<Partition> {
        let labels = self.state.clustering.labels.clone();
        let map = self.map()?;
        let rows: Vec<usize> = map.members.iter().filter_map(|&id| labels.get(id).copied().flatten()).collect();
        Ok(Partition::new(map.search.z(), &rows))
    }

    /// Names of the columns of z.
    pub(super) fn columns(&self) -> Vec<String> {
        let features = super::features::Features { settings: &self.settings, slots: self.short.slots, probe: None };
        let once = features.columns();
        if !self.settings.trajectory {
            return once;
        }
        (1..=self.settings.early_epochs).flat_map(|e| once.iter().map(move |name| format!("{name}@{e}"))).collect()
    }

    pub(super) fn findings(&self) -> Findings {
        let ranked = ranking(&self.state.population);
        let (population, picks) = (&self.state.population, self.picks());
        findings(population, &self.state.clustering, &picks, &ranked, self.settings.truth, &self.state.draws)
    }

    pub(super) fn costs(&self) -> Costs {
        let (early, full) = (f64::from(self.settings.early_epochs), f64::from(self.settings.full_epochs));
        let picks = self.picks().len();
        Costs::new(self.state.population.len(), picks, early, full, self.proxy as f64, self.data.train.len() as f64)
    }

    /// Epoch-images of the short and of the full trainings: done, and planned.
    pub(super) fn spent(&self) -> [(f64, f64); 2] {
        let population = &self.state.population;
        let early = f64::from(self.settings.early_epochs) * self.proxy as f64;
        let full = f64::from(self.settings.full_epochs) * self.data.train.len() as f64;
        let n = population.len();
        let trained = population.iter().filter(|s| s.early.is_some()).count() as f64;
        let finished = population.iter().filter(|s| s.full.is_some()).count() as f64;
        let running = self.fleet.epochs_done();
        let planned = match self.state.stage {
            Stage::Short | Stage::Cluster if !self.settings.truth => {
                let k = if self.settings.clusters > 0 { self.settings.clusters } else { self.settings.clusters_max };
                // Winners, and as many globally best ones for the comparison.
                n.min(2 * k as usize * self.settings.winners as usize)
            }
            Stage::Short | Stage::Cluster => n,
            _ => self.state.queue.len(),
        };
        let (short_running, full_running) = match self.state.stage {
            Stage::Short => (running * self.proxy as f64, 0.0),
            _ => (0.0, running * self.data.train.len() as f64),
        };
        [(trained * early + short_running, n as f64 * early), (finished * full + full_running, planned as f64 * full)]
    }

    pub(super) fn progress(&self, cx: &mut StepCx) {
        let [short, full] = self.spent();
        let n = self.state.population.len();
        let trained = self.state.population.iter().filter(|s| s.early.is_some()).count();
        let finished = self.state.population.iter().filter(|s| s.full.is_some()).count();
        let note = match self.state.stage {
            Stage::Short => format!("short training {trained}/{n}"),
            Stage::Cluster => "clustering".to_owned(),
            Stage::Full => format!("full training {finished}/{}", self.state.queue.len()),
            Stage::Judge => "random partitions".to_owned(),
            Stage::Close | Stage::Done => "done".to_owned(),
        };
        cx.set_x(short.0 + full.0);
        cx.progress(Progress { done: short.0 + full.0, total: short.1 + full.1, unit: "epoch-images".into(), note });
    }
}

/// The first `count` of a random order of `n` training images, keyed by what they are for.
fn draw(seed: u64, purpose: &str, n: i64, count: i64, device: Device) -> Result<Tensor> {
    let drawn = || -> Result<Tensor, kiln_nn::TrainError> {
        let order = Generator::new(derive(seed, purpose, 0, 0), Device::Cpu)?.randperm(n)?;
        Ok(order.f_narrow(0, 0, count)?.f_contiguous()?.f_to_device(device)?)
    };
    drawn().map_err(MethodError::failed)
}

impl Method for DcNas {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        match self.state.stage {
            Stage::Short => self.train_short(cx)?,
            Stage::Cluster => self.cluster(cx)?,
            Stage::Full => self.train_full(cx)?,
            Stage::Judge => self.judge(cx)?,
            Stage::Close => self.close(cx)?,
            Stage::Done => return Ok(Flow::Done),
        }
        self.progress(cx);
        Ok(Flow::More)
    }

    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("dc-nas", &self.state)?;
        for (name, tensor) in &self.champion {
            checkpoint.tensor(format!("champion.{name}"), tensor)?;
        }
        self.fleet.save(checkpoint)
    }

    fn load(&mut self, checkpoint: &CheckpointReader, cx: &mut StepCx) -> Result<()> {
        let state: State = checkpoint.value("dc-nas")?;
        let same = |a: &[Sampled], b: &[Sampled]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.arch == b.arch);
        if !same(&state.population, &self.state.population) {
            return Err(MethodError::failed(
                "the checkpoint's population is not the one that this spec samples: it belongs to another run",
            ));
        }
        self.state = state;
        self.champion = checkpoint.tensors("champion")?;
        self.whole.winners = self.picks();
        self.fleet.clear();
        self.fill_fleet(cx)?;
        self.fleet.load(checkpoint)?;
        self.changed = (0..self.state.population.len()).collect();
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        let [short, full] = self.spent();
        let found = self.findings();
        Report {
            population: &self.state.population,
            clustering: &self.state.clustering,
            winners: &self.state.winners,
            found: &found,
            costs: self.costs(),
            spent: short.0 + full.0,
            test_accuracy: self.state.test_accuracy,
            seconds: self.state.seconds,
            valid_images: self.data.valid.len() as f64,
        }
        .outcome()
    }

    fn axes(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("*".to_owned(), f64::from(self.settings.full_epochs)),
            ("early/best".to_owned(), self.state.population.len() as f64),
            ("silhouette".to_owned(), f64::from(self.settings.clusters.max(self.settings.clusters_max))),
            ("kmeans/objective".to_owned(), f64::from(self.settings.iterations.min(20))),
        ])
    }

    fn units(&self) -> BTreeMap<String, String> {
        let units = [
            ("*", "epochs"),
            ("early/best", "networks"),
            ("silhouette", "clusters"),
            ("kmeans/objective", "iterations"),
        ];
        units.map(|(series, unit)| (series.to_owned(), unit.to_owned())).into()
    }

    fn score(&self) -> Option<f64> {
        self.state.champion.and_then(|id| self.state.population[id].full_accuracy())
    }
}
