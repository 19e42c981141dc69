//! The work of each stage, one bounded step at a time.

use std::time::{Duration, Instant};

use kiln_metrics::Permutations;
use kiln_nn::{Network, evaluate};
use kiln_protocol::Level;
use kiln_protocol::run::Best;
use kiln_protocol::spec::seed::derive;

use super::clustering::{Stepped, objective};
use super::findings::members;
use super::recipes::Trained;
use super::record::{Clustering, Early, Full, best_of, cluster_winners, ranking};
use super::search::{DcNas, Stage};
use super::views::{self, Picture};
use super::{files, kmeans};
use crate::cx::StepCx;
use crate::error::{MethodError, Result};

/// Work between two looks at the world.
const SLICE: Duration = Duration::from_millis(500);

/// How long a Lloyd iteration of the winning run stays on the screen, and the whole run at most: people are to see it
/// move, and nobody wants to wait for it.
const SHOWN: Duration = Duration::from_millis(120);
const SHOWN_AT_MOST: Duration = Duration::from_millis(1500);

impl DcNas {
    /// Steps 1 and 2.
    pub(super) fn train_short(&mut self, cx: &mut StepCx) -> Result<()> {
        let begun = Instant::now();
        let first = self.map.is_none() && self.state.population.iter().all(|s| s.early.is_none());
        if first && self.fleet.in_training().is_empty() {
            self.changed = (0..self.state.population.len()).collect();
            self.show_candidates(cx);
        }
        let before = self.fleet.in_training();
        let sliced = self.fleet.slice(&self.short, SLICE, cx);
        for finished in sliced.finished {
            let (id, seconds) = (finished.note.id, finished.note.seconds);
            let early = finished.outcome.unwrap_or_else(|failure| Early {
                accuracy: None,
                features: None,
                failure: Some(failure.sentence().to_owned()),
                seconds,
            });
            let early = self.plausible(early);
            if let Some(why) = &early.failure {
                let arch = &self.state.population[id].arch;
                cx.log(Level::Warn, format!("network {id} ({arch}) goes into the failed cluster: {why}"));
            }
            let accuracy = early.accuracy;
            self.state.population[id].early = Some(early);
            self.changed.push(id);
            if accuracy.is_some() {
                let early = || self.state.population.iter().filter_map(|s| s.early.as_ref());
                let best = early().filter_map(|e| e.accuracy).fold(0.0, f64::max);
                cx.scalar("early/best", early().count() as f64, best);
            }
        }
        self.changed.extend(before.into_iter().chain(self.fleet.in_training()));
        self.state.seconds[0] += begun.elapsed().as_secs_f64();
        self.show_candidates(cx);
        self.show_budget(cx);
        if self.fleet.is_empty() {
            self.state.stage = Stage::Cluster;
            cx.log(Level::Info, "all networks have had their short training; clustering");
        }
        Ok(())
    }

    /// A row of numbers only, and as long as the others: k-means must never see anything else.
    fn plausible(&self, early: Early) -> Early {
        let width = self.columns().len();
        let sound = |row: &Vec<f64>| row.len() == width && row.iter().all(|v| v.is_finite());
        match &early.features {
            Some(row) if !sound(row) => {
                Early { features: None, failure: Some("its features are not all numbers".into()), ..early }
            }
            _ => early,
        }
    }

    /// Steps 3 to 7.
    pub(super) fn cluster(&mut self, cx: &mut StepCx) -> Result<()> {
        let begun = Instant::now();
        let iterations = self.settings.iterations;
        let until = begun + SLICE;
        self.map()?;
        let mut over = false;
        // One iteration takes microseconds; a step takes as many as fit, and the picture follows as fast as it is sent.
        while !over && Instant::now() < until {
            cx.tick()?;
            let Some(map) = self.map.as_mut() else { break };
            let picture = (map.members.clone(), map.plane.clone());
            let mut drawing = None;
            match map.search.step().map_err(MethodError::failed)? {
                Stepped::Iterated { k, restart, state } => {
                    let note = format!(
                        "K = {k}, restart {}, iteration {} of at most {iterations}: J = {:.4}",
                        restart + 1,
                        state.iteration,
                        state.objective
                    );
                    drawing = Some((state.labels.clone(), state.centroids.clone(), note));
                }
                Stepped::Judged(judged) => {
                    let tried = &judged.tried;
                    if let Some(silhouette) = tried.silhouette {
                        cx.scalar("silhouette", tried.k as f64, silhouette);
                    }
                }
                Stepped::Done => over = true,
            }
            if let Some((labels, centroids, note)) = drawing {
                let view = Picture {
                    population: &self.state.population,
                    members: &picture.0,
                    z: map.search.z(),
                    plane: &picture.1,
                }
                .draw(&labels, &centroids, &[], note);
                cx.view("clusters", view);
            }
        }
        if over {
            self.show_winning_run(cx)?;
        }
        self.state.seconds[1] += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// The winning run once more, an iteration at a time; then the clusters are settled.
    fn show_winning_run(&mut self, cx: &mut StepCx) -> Result<()> {
        let Some(map) = self.map.as_mut() else { return Ok(()) };
        let Some(chosen) = map.search.chosen().cloned() else {
            return Err(MethodError::failed("no number of clusters could be tried"));
        };
        let pause = SHOWN.min(SHOWN_AT_MOST / u32::try_from(chosen.run.len().max(1)).unwrap_or(u32::MAX));
        while let Some(state) = chosen.run.get(map.shown) {
            let note = format!("K = {}, iteration {}: J = {:.4}", chosen.tried.k, state.iteration, state.objective);
            let picture = Picture {
                population: &self.state.population,
                members: &map.members,
                z: map.search.z(),
                plane: &map.plane,
            };
            cx.view("clusters", picture.draw(&state.labels, &state.centroids, &[], note));
            cx.scalar("kmeans/objective", state.iteration as f64, state.objective);
            cx.flush();
            map.shown += 1;
            std::thread::sleep(pause);
            cx.tick()?;
        }
        let scores: Vec<f64> =
            map.members.iter().map(|&id| self.state.population[id].early_accuracy().unwrap_or(0.0)).collect();
        let partition = chosen.partition.sorted_by(map.search.z(), &scores);
        let mut labels = vec![None; self.state.population.len()];
        for (&id, &label) in map.members.iter().zip(&partition.labels) {
            labels[id] = Some(label);
        }
        self.state.clustering = Clustering {
            labels,
            k: partition.k(),
            objective: objective(map.search.z(), &partition),
            silhouette: chosen.tried.silhouette,
            tried: map.search.tried(),
        };
        self.settle(cx)?;
        self.show_map(&partition, cx)
    }

    /// Step 7, and the queue of full trainings: winners first, then the baseline's picks, then the rest.
    fn settle(&mut self, cx: &mut StepCx) -> Result<()> {
        let population = &self.state.population;
        let winners = cluster_winners(population, &self.state.clustering, self.settings.winners as usize);
        self.state.winners = winners;
        let mut queue = self.compared();
        if self.settings.truth {
            let rest: Vec<usize> = ranking(population).into_iter().filter(|id| !queue.contains(id)).collect();
            queue.extend(rest);
        }
        let sizes: Vec<String> = sizes(&self.state.clustering).iter().map(usize::to_string).collect();
        cx.log(
            Level::Info,
            format!(
                "{} clusters of {} networks; {} winners and {} others are trained in full",
                self.state.clustering.k,
                sizes.join(", "),
                self.picks().len(),
                queue.len() - self.picks().len()
            ),
        );
        self.state.queue = queue;
        self.whole.winners = self.picks();
        self.state.stage = Stage::Full;
        self.fill_fleet(cx)?;
        self.changed = (0..self.state.population.len()).collect();
        Ok(())
    }

    /// Step 8.
    pub(super) fn train_full(&mut self, cx: &mut StepCx) -> Result<()> {
        let begun = Instant::now();
        let before = self.fleet.in_training();
        let compared = self.compared();
        let sliced = self.fleet.slice(&self.whole, SLICE, cx);
        for news in sliced.news {
            if compared.contains(&news.id) {
                curves(&self.subject(news.id), &news.epochs, cx);
            }
        }
        for finished in sliced.finished {
            let (id, seconds) = (finished.note.id, finished.note.seconds);
            if compared.contains(&id) {
                curves(&self.subject(id), &finished.news, cx);
            }
            let trained = finished.outcome.unwrap_or_else(|failure| Trained {
                full: Full { accuracy: None, failure: Some(failure.sentence().to_owned()), seconds },
                tensors: Vec::new(),
            });
            if let Some(why) = &trained.full.failure {
                let arch = &self.state.population[id].arch;
                cx.log(Level::Warn, format!("network {id} ({arch}) ended early: {why}"));
            }
            self.state.population[id].full = Some(trained.full);
            self.changed.push(id);
            self.crown(id, trained.tensors, cx);
        }
        self.changed.extend(before.into_iter().chain(self.fleet.in_training()));
        self.state.seconds[2] += begun.elapsed().as_secs_f64();
        self.show_candidates(cx);
        self.show_budget(cx);
        cx.view("early-final", views::early_final(&self.state.population, &self.state.clustering, String::new()));
        cx.view("pareto", views::pareto(&self.state.population));
        if self.fleet.is_empty() {
            self.state.stage = Stage::Judge;
        }
        Ok(())
    }

    /// What a network's curves are called: a winner after its cluster (`cluster0`, with several winners `cluster0.1`), so that
    /// clients show it unasked; another by its number.
    fn subject(&self, id: usize) -> String {
        let labels = &self.state.clustering.labels;
        let picks = self.picks();
        let Some(cluster) = labels.get(id).copied().flatten().filter(|_| picks.contains(&id)) else {
            return format!("cand-{id:03}");
        };
        let mut peers = picks.into_iter().filter(|&pick| labels[pick] == Some(cluster));
        match peers.position(|peer| peer == id) {
            Some(rank) if self.settings.winners > 1 => format!("cluster{cluster}.{rank}"),
            _ => format!("cluster{cluster}"),
        }
    }

    /// Keeps the tensors of the best winner so far: in the end it is the merged one.
    fn crown(&mut self, id: usize, tensors: Vec<(String, tch::Tensor)>, cx: &mut StepCx) {
        let Some(accuracy) = self.state.population[id].full_accuracy().filter(|_| !tensors.is_empty()) else { return };
        let trained: Vec<usize> =
            self.picks().into_iter().filter(|&w| self.state.population[w].full_accuracy().is_some()).collect();
        if best_of(&self.state.population, &trained) != Some(id) {
            return;
        }
        let better = self.state.champion.and_then(|c| self.state.population[c].full_accuracy());
        self.state.champion = Some(id);
        self.champion = tensors;
        if better.is_none_or(|old| accuracy > old) {
            let name = format!("{}/valid/accuracy", self.subject(id));
            cx.best(Best { name, value: accuracy, higher_is_better: true });
        }
    }

    /// The permutation null, as many draws as fit into a step.
    pub(super) fn judge(&mut self, cx: &mut StepCx) -> Result<()> {
        let begun = Instant::now();
        let wanted = if self.settings.truth { self.settings.permutations as usize } else { 0 };
        if self.state.draws.len() < wanted {
            let members = members(&self.state.population, &self.state.clustering);
            let seed = derive(self.spec.seed, "permutation", 0, 0);
            // The draws follow one another, so those that are known are drawn again and passed over.
            let known = self.state.draws.len();
            let mut draws = Permutations::new(&members, seed).skip(known);
            while self.state.draws.len() < wanted && begun.elapsed() < SLICE {
                cx.tick()?;
                let Some(draw) = draws.next() else { break };
                self.state.draws.push(draw);
            }
        } else {
            self.state.stage = Stage::Close;
        }
        self.state.seconds[3] += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Test accuracy of the merged winner, once; files; last views.
    pub(super) fn close(&mut self, cx: &mut StepCx) -> Result<()> {
        let (partition, names, picks) = (self.partition()?, self.columns(), self.picks());
        if let Some(id) = self.state.champion {
            let arch = self.state.population[id].arch.clone();
            let plan = self.space.plan(&arch, self.input, self.classes).map_err(MethodError::failed)?;
            // Looked at once, also if a full disk makes this step be done again.
            if !self.data.test.is_empty() && self.state.test_accuracy.is_none() {
                self.state.test_accuracy = Some(self.test(&plan, cx)?);
            }
            let bytes = crate::export::network(&arch, &plan, &self.data, &self.champion)?;
            cx.write_artifact("winner.safetensors", &bytes)?;
        }
        if let Some(map) = &self.map {
            let rows = (map.search.z(), map.members.as_slice());
            let table = files::features(&self.state.population, &self.state.clustering, &picks, rows, &names);
            cx.write_artifact("features.csv", table.as_bytes())?;
            let path = cx.write_artifact("centroids.csv", files::centroids(&partition, &names).as_bytes())?;
            let folder = path.parent().unwrap_or(&path).display().to_string();
            cx.log(Level::Info, format!("winner.safetensors, features.csv and centroids.csv are in {folder}"));
        }
        let note = views::tau_note(Some(&self.findings()));
        cx.view("early-final", views::early_final(&self.state.population, &self.state.clustering, note));
        cx.view("pareto", views::pareto(&self.state.population));
        self.show_map(&partition, cx)?;
        self.changed = (0..self.state.population.len()).collect();
        self.state.stage = Stage::Done;
        self.show_candidates(cx);
        self.show_budget(cx);
        Ok(())
    }

    fn test(&self, plan: &kiln_arch::Plan, cx: &StepCx) -> Result<f64> {
        let layout =
            if self.spec.run.channels_last.is_on() { kiln_nn::Layout::ChannelsLast } else { kiln_nn::Layout::Plain };
        let evaluated = || -> Result<_, kiln_nn::TrainError> {
            let mut network = Network::build(plan, 0, cx.device())?.configured(layout, self.spec.run.precision)?;
            network.load(&self.champion)?;
            evaluate(&network, &self.data, &self.data.test, &|| false)
        };
        let eval = evaluated().map_err(MethodError::failed)?;
        eval.map(|eval| eval.accuracy).ok_or(MethodError::Interrupted)
    }

    fn show_candidates(&mut self, cx: &mut StepCx) {
        let mut ids = std::mem::take(&mut self.changed);
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return;
        }
        let known = self.state.clustering.k > 0;
        let clustering = known.then_some(&self.state.clustering);
        let (picks, training) = (self.picks(), self.fleet.in_training());
        let population = &self.state.population;
        cx.view(
            "candidates",
            views::candidates(&self.space, population, clustering, &picks, &training, ids.into_iter()),
        );
    }

    fn show_budget(&self, cx: &mut StepCx) {
        let [short, full] = self.spent();
        let picks = self.picks().len() as f64;
        let one = f64::from(self.settings.full_epochs) * self.data.train.len() as f64;
        let merged = self.picks().iter().filter(|&&id| self.state.population[id].full.is_some()).count() as f64;
        let merge = (merged * one, picks * one);
        let rest = ((full.0 - merge.0).max(0.0), (full.1 - merge.1).max(0.0));
        let rows = [("features", short.0, short.1), ("merge", merge.0, merge.1), ("comparison", rest.0, rest.1)];
        cx.view("budget", views::budget(&rows));
    }

    /// Clusters with their winners, and the two matrices.
    fn show_map(&mut self, partition: &kmeans::Partition, cx: &mut StepCx) -> Result<()> {
        let (names, picks) = (self.columns(), self.picks());
        let clustering = &self.state.clustering;
        let silhouette = clustering.silhouette.map_or(String::new(), |s| format!(", silhouette {s:.3}"));
        let note = format!("{} clusters: J = {:.4}{silhouette}", clustering.k, clustering.objective);
        let Some(map) = &self.map else { return Ok(()) };
        let picture =
            Picture { population: &self.state.population, members: &map.members, z: map.search.z(), plane: &map.plane };
        cx.view("clusters", picture.draw(&partition.labels, &partition.centroids, &picks, note));
        cx.view("features", views::feature_map(map.search.z(), partition, &map.members, &names));
        cx.view("similarity", views::similarity_map(map.search.distances(), partition, &map.members));
        Ok(())
    }
}

/// Members of each cluster.
fn sizes(clustering: &Clustering) -> Vec<usize> {
    let labels: Vec<usize> = clustering.labels.iter().copied().flatten().collect();
    kmeans::sizes(&labels, clustering.k)
}

/// A network's full training, epoch by epoch.
fn curves(subject: &str, epochs: &[kiln_nn::Epoch], cx: &mut StepCx) {
    for epoch in epochs {
        let x = epoch.epoch as f64;
        cx.scalar(&format!("{subject}/train/loss"), x, epoch.loss);
        if let Some(eval) = epoch.valid {
            cx.scalar(&format!("{subject}/valid/accuracy"), x, eval.accuracy);
        }
    }
}
