//! Many candidates trained side by side, in slices between which a run can be saved. A candidate that runs out of memory
//! or diverges ends alone; the others never notice.

use std::time::{Duration, Instant};

use kiln_arch::Plan;
use kiln_data::DataSet;
use kiln_nn::pool::Stop;
use kiln_nn::{Epoch, Pool, Reading, Saved, TrainError, Trainer, TrainerConfig, Until};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::error::{MethodError, Result};

/// Candidates that a slice takes up for each place of the pool. Tiny networks are done in milliseconds, so a slice sees
/// many; but each costs a thread, also if its turn does not come.
const SLICE_JOBS: usize = 64;

/// What a candidate needs besides its place in the queue.
pub struct Task {
    pub plan: Plan,
    pub config: TrainerConfig,
    /// Numbers of the training images to use; all if `None`.
    pub subset: Option<Tensor>,
    /// Epochs after which it ends, at most those that the configuration plans.
    pub epochs: u32,
    /// Halve the batch and start again when memory runs out.
    pub halve: bool,
}

/// One candidate, waiting or in training.
pub struct Job {
    pub task: Task,
    pub note: Note,
    data: DataSet,
    trainer: Option<Trainer>,
    /// A saved state that waits for the trainer to be built, on the candidate's own thread.
    saved: Option<Saved>,
    /// Set once the training is over: why it ended early, if it did.
    ended: Option<Option<Failure>>,
    /// What should be said in the log.
    said: Vec<String>,
}

/// The plain part of a candidate in training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub id: usize,
    /// Seconds of work on this candidate so far.
    pub seconds: f64,
    /// Epochs of its history that were reported.
    pub told: usize,
    /// What [`Recipe::after_epoch`] left, epoch by epoch.
    pub snapshots: Vec<Vec<f64>>,
}

/// Why a candidate ended before its time.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The loss is no number; the trainer stands at its last good state.
    Diverged(String),
    /// It could not be trained.
    Broken(String),
}

impl Failure {
    pub fn sentence(&self) -> &str {
        match self {
            Failure::Diverged(why) | Failure::Broken(why) => why,
        }
    }
}

/// What is done with the trainers of one kind. Everything runs on the candidate's own thread.
pub trait Recipe: Sync {
    /// What a finished candidate leaves.
    type Product: Send;

    /// Whether [`Recipe::after_epoch`] wants to see every epoch; training then pauses between epochs.
    fn watches_epochs(&self) -> bool {
        false
    }

    /// Looks at the network after an epoch.
    fn after_epoch(&self, _job: &Task, _trainer: &Trainer, _note: &mut Note) -> Result<(), TrainError> {
        Ok(())
    }

    /// Makes the product once the training is over. `None` if `stop` asked to leave; it is then called again. A trainer
    /// that failed beyond use is not there.
    fn finish(
        &self,
        job: &Task,
        trainer: Option<&Trainer>,
        note: &Note,
        failure: Option<&Failure>,
        stop: &Stop,
    ) -> Result<Option<Self::Product>, TrainError>;
}

/// A candidate that is done.
pub struct Finished<P> {
    pub note: Note,
    /// Its history that was not reported yet.
    pub news: Vec<Epoch>,
    pub outcome: Result<P, Failure>,
}

/// News of a candidate that trains.
pub struct News {
    pub id: usize,
    pub epochs: Vec<Epoch>,
    pub readings: Vec<Reading>,
}

/// What a slice brought.
pub struct Sliced<P> {
    pub finished: Vec<Finished<P>>,
    pub news: Vec<News>,
}

/// The queue of candidates of one kind.
pub struct Fleet {
    pool: Pool,
    jobs: Vec<Job>,
}

impl Fleet {
    pub fn new(pool: Pool) -> Fleet {
        Fleet { pool, jobs: Vec::new() }
    }

    /// Appends a candidate.
    pub fn add(&mut self, id: usize, task: Task, data: DataSet) {
        let note = Note { id, ..Note::default() };
        self.jobs.push(Job { task, note, data, trainer: None, saved: None, ended: None, said: Vec::new() });
    }

    /// Appends a candidate that goes on from a saved state; `told` epochs of its history were reported.
    pub fn resume(&mut self, id: usize, task: Task, data: DataSet, saved: Saved, told: usize) {
        let note = Note { id, told, ..Note::default() };
        self.jobs.push(Job { task, note, data, trainer: None, saved: Some(saved), ended: None, said: Vec::new() });
    }

    /// Forgets all candidates.
    pub fn clear(&mut self) {
        self.jobs.clear();
    }

    /// Candidates that are not done.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Ids of the candidates whose training has begun.
    pub fn in_training(&self) -> Vec<usize> {
        self.jobs.iter().filter(|job| job.begun()).map(|job| job.note.id).collect()
    }

    /// Whether a candidate has a trainer, so that [`Fleet::epochs_done`] counts its epochs.
    pub fn is_training(&self, id: usize) -> bool {
        self.jobs.iter().any(|job| job.note.id == id && job.trainer.is_some())
    }

    /// Epochs that the candidates in the queue have done, with their fractions.
    pub fn epochs_done(&self) -> f64 {
        self.jobs.iter().filter_map(|job| job.trainer.as_ref()).map(Trainer::position).sum()
    }

    /// What is known of a candidate that is not done.
    pub fn note(&self, id: usize) -> Option<&Note> {
        self.jobs.iter().map(|job| &job.note).find(|note| note.id == id)
    }

    /// The trainers that are there, to turn their knobs.
    pub fn trainers(&mut self) -> impl Iterator<Item = &mut Trainer> {
        self.jobs.iter_mut().filter_map(|job| job.trainer.as_mut())
    }

    /// Changes the planned epochs of all candidates; those already begun are done in any case.
    pub fn set_epochs(&mut self, epochs: u32) {
        for job in &mut self.jobs {
            job.task.epochs = epochs;
            job.task.config.epochs = epochs;
            if let Some(trainer) = job.trainer.as_mut().filter(|trainer| trainer.config().epochs != epochs) {
                trainer.set_epochs(epochs);
            }
        }
    }

    /// Trains the first candidates of the queue for about `limit`, as many at a time as the pool has places; one that is
    /// done makes room for the next. Ends early when the worker waits for a safe point.
    pub fn slice<R: Recipe>(&mut self, recipe: &R, limit: Duration, cx: &mut StepCx) -> Sliced<R::Product> {
        let deadline = Instant::now() + limit;
        let waiting = self.jobs.split_off(self.jobs.len().min(self.pool.parallel() * SLICE_JOBS));
        let ids: Vec<usize> = self.jobs.iter().map(|job| job.note.id).collect();
        let stop_flag = cx.stop_flag();
        let mut tick = || {
            cx.flush_due();
            stop_flag.load(std::sync::atomic::Ordering::Relaxed)
        };
        let worked =
            self.pool.map(std::mem::take(&mut self.jobs), &mut tick, |job, stop| Ok(job.work(recipe, deadline, stop)));
        let mut sliced = Sliced { finished: Vec::new(), news: Vec::new() };
        for (id, result) in ids.into_iter().zip(worked) {
            match result {
                Ok((mut job, product)) => {
                    for sentence in job.said.drain(..) {
                        cx.log(kiln_protocol::Level::Warn, sentence);
                    }
                    let epochs = job.take_epochs();
                    match product {
                        Some(outcome) => sliced.finished.push(Finished { note: job.note, news: epochs, outcome }),
                        None => {
                            let readings = job.trainer.as_mut().map(Trainer::take_readings).unwrap_or_default();
                            sliced.news.push(News { id, epochs, readings });
                            self.jobs.push(job);
                        }
                    }
                }
                // The candidate's thread is gone, and the candidate with it.
                Err(error) => sliced.finished.push(Finished {
                    note: Note { id, ..Note::default() },
                    news: Vec::new(),
                    outcome: Err(Failure::Broken(error.to_string())),
                }),
            }
        }
        self.jobs.extend(waiting);
        sliced
    }

    /// Keeps the candidates in training; those that wait are made anew from the spec.
    pub fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        let begun: Vec<&Job> = self.jobs.iter().filter(|job| job.begun()).collect();
        let notes: Vec<&Note> = begun.iter().map(|job| &job.note).collect();
        checkpoint.value("in-training", &notes)?;
        for job in begun {
            let prefix = format!("candidate-{}", job.note.id);
            match (&job.trainer, &job.saved) {
                (Some(trainer), _) => checkpoint.trainer(&prefix, trainer)?,
                // Loaded, but its turn has not come since.
                (None, Some(saved)) => {
                    checkpoint.value(&format!("{prefix}.trainer"), &saved.state)?;
                    for (name, tensor) in &saved.tensors {
                        checkpoint.tensor(format!("{prefix}.{name}"), tensor)?;
                    }
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Puts candidates of the queue back to where they were saved.
    pub fn load(&mut self, checkpoint: &CheckpointReader) -> Result<()> {
        let notes: Vec<Note> = checkpoint.value("in-training")?;
        for note in notes {
            let job = self.jobs.iter_mut().find(|job| job.note.id == note.id).ok_or_else(|| {
                MethodError::failed(format!("the checkpoint trains candidate {}, which this run does not", note.id))
            })?;
            job.saved = Some(checkpoint.trainer(&format!("candidate-{}", note.id))?);
            job.note = note;
        }
        Ok(())
    }
}

impl Job {
    fn begun(&self) -> bool {
        self.trainer.is_some() || self.saved.is_some()
    }

    fn take_epochs(&mut self) -> Vec<Epoch> {
        let Some(trainer) = &self.trainer else { return Vec::new() };
        let news = trainer.history().get(self.note.told..).unwrap_or_default().to_vec();
        self.note.told += news.len();
        news
    }

    /// A slice of this candidate's work, on its own thread.
    fn work<R: Recipe>(
        mut self,
        recipe: &R,
        deadline: Instant,
        stop: &Stop,
    ) -> (Job, Option<Result<R::Product, Failure>>) {
        let begun = Instant::now();
        if stop.asked() || begun >= deadline {
            return (self, None);
        }
        let product = self.advance(recipe, deadline, stop);
        self.note.seconds += begun.elapsed().as_secs_f64();
        (self, product)
    }

    fn advance<R: Recipe>(
        &mut self,
        recipe: &R,
        deadline: Instant,
        stop: &Stop,
    ) -> Option<Result<R::Product, Failure>> {
        while self.ended.is_none() {
            match self.train(recipe, deadline, stop) {
                Ok(true) => self.ended = Some(None),
                Ok(false) => return None,
                Err(TrainError::OutOfMemory { batch, message }) => self.shrink(batch, &message),
                Err(error @ TrainError::Diverged(_)) => {
                    self.ended = Some(Some(Failure::Diverged(error.to_string())));
                }
                Err(error) => {
                    self.trainer = None;
                    self.ended = Some(Some(Failure::Broken(error.to_string())));
                }
            }
        }
        let failure = self.ended.clone().flatten();
        match recipe.finish(&self.task, self.trainer.as_ref(), &self.note, failure.as_ref(), stop) {
            Ok(Some(product)) => Some(Ok(product)),
            Ok(None) => None,
            Err(error) => Some(Err(Failure::Broken(error.to_string()))),
        }
    }

    /// Trains until done (`true`) or until the slice is over.
    fn train<R: Recipe>(&mut self, recipe: &R, deadline: Instant, stop: &Stop) -> Result<bool, TrainError> {
        let task = &self.task;
        if self.trainer.is_none() {
            let subset = task.subset.as_ref().map(Tensor::shallow_clone);
            let mut trainer = Trainer::new(&task.plan, task.config.clone(), self.data.share(), subset)?;
            if let Some(saved) = self.saved.take() {
                trainer.load(&saved)?;
            }
            self.trainer = Some(trainer);
        }
        let Some(trainer) = self.trainer.as_mut() else { return Ok(false) };
        if !recipe.watches_epochs() && task.epochs == task.config.epochs {
            // The evaluation that ends an epoch may take longer than a slice, so only a stop may break it off.
            trainer.run(Until::Deadline(deadline), &|| stop.asked())?;
            return Ok(trainer.finished());
        }
        loop {
            let done = trainer.history().len() as u64;
            if done >= u64::from(task.epochs) {
                return Ok(true);
            }
            let next = if recipe.watches_epochs() { done + 1 } else { u64::from(task.epochs) };
            trainer.run(Until::Epochs(next), &|| stop.asked() || Instant::now() >= deadline)?;
            if (trainer.history().len() as u64) < next {
                return Ok(false);
            }
            if recipe.watches_epochs() {
                recipe.after_epoch(task, trainer, &mut self.note)?;
            }
        }
    }

    fn shrink(&mut self, batch: i64, message: &str) {
        let id = self.note.id;
        let smaller = u32::try_from(batch / 2).unwrap_or(0);
        let restarted = match self.trainer.as_mut() {
            Some(trainer) if self.task.halve && smaller > 0 => trainer.restart_with_batch(smaller),
            _ => {
                let why = format!("out of memory with batches of {batch} images: {message}");
                self.trainer = None;
                self.ended = Some(Some(Failure::Broken(why)));
                return;
            }
        };
        self.note.told = 0;
        self.note.snapshots.clear();
        match restarted {
            Ok(()) => self.said.push(format!(
                "candidate {id} ran out of memory with batches of {batch} images and starts again with {smaller}"
            )),
            Err(error) => {
                self.trainer = None;
                self.ended = Some(Some(Failure::Broken(error.to_string())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use kiln_protocol::spec::OptimSettings;

    /// Why a candidate ended early, and its final weights.
    type Left = (Option<String>, Vec<Vec<f32>>);

    /// Hands the final weights back.
    struct Weights;

    impl Recipe for Weights {
        type Product = Left;

        fn finish(
            &self,
            _task: &Task,
            trainer: Option<&Trainer>,
            _note: &Note,
            failure: Option<&Failure>,
            _stop: &Stop,
        ) -> Result<Option<Left>, TrainError> {
            let tensors = trainer.map(|t| t.network().named_tensors()).unwrap_or_default();
            let flat = |t: &Tensor| Vec::<f32>::try_from(t.reshape([-1])).unwrap();
            let weights = tensors.iter().map(|(_, t)| flat(t)).collect();
            Ok(Some((failure.map(|f| f.sentence().to_owned()), weights)))
        }
    }

    const PRESET: &str = "method = \"train\"\n[data]\ntrain = 128\nvalid = 64\n[space]\nname = \"digits-mlp\"\n[optim]\nlr = 0.02\nbatch = 32\n";

    fn task(world: &World, cx: &mut StepCx, id: u64, lr: f64) -> (Task, DataSet) {
        let data = cx.data().unwrap();
        let space = crate::train::space(&world.spec).unwrap();
        let (input, classes) = crate::data::shape_and_classes(&data).unwrap();
        let plan = space.plan(&space.reference(), input, classes).unwrap();
        let mut config = TrainerConfig::of(&world.spec, id, 3);
        config.optim = OptimSettings { lr, ..config.optim };
        (Task { plan, config, subset: None, epochs: 3, halve: true }, data)
    }

    fn run(world: &World, candidates: &[(u64, f64)]) -> Vec<(usize, Left)> {
        let mut cx = world.cx();
        let mut fleet = Fleet::new(Pool::new(0, 1, cx.device()));
        for &(id, lr) in candidates {
            let (task, data) = task(world, &mut cx, id, lr);
            fleet.add(id as usize, task, data);
        }
        let mut done = Vec::new();
        while !fleet.is_empty() {
            for finished in fleet.slice(&Weights, Duration::from_millis(50), &mut cx).finished {
                done.push((finished.note.id, finished.outcome.unwrap()));
            }
        }
        done.sort_by_key(|d| d.0);
        done
    }

    #[test]
    fn a_diverged_candidate_ends_alone_at_its_last_good_state() {
        let world = World::new(PRESET);
        let both = run(&world, &[(0, 0.02), (1, 1e38)]);
        let alone = run(&world, &[(0, 0.02)]);
        assert_eq!(both[0], alone[0], "the neighbour did not notice");
        let (failure, weights) = &both[1].1;
        assert!(failure.as_ref().unwrap().contains("not a number"), "{failure:?}");
        assert!(weights.iter().flatten().all(|w| w.is_finite()));
    }

    #[test]
    fn no_memory_halves_the_batch_until_there_is_none_to_halve() {
        let world = World::new(PRESET);
        let mut cx = world.cx();
        let mut fleet = Fleet::new(Pool::new(1, 1, cx.device()));
        let (task, data) = task(&world, &mut cx, 0, 0.02);
        fleet.add(0, task, data);
        fleet.slice(&Weights, Duration::ZERO, &mut cx);
        let job = &mut fleet.jobs[0];
        let subset = job.task.subset.as_ref().map(Tensor::shallow_clone);
        job.trainer = Some(Trainer::new(&job.task.plan, job.task.config.clone(), job.data.share(), subset).unwrap());
        for (batch, smaller) in [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)] {
            job.shrink(batch, "no room");
            assert_eq!(job.trainer.as_ref().unwrap().batch(), smaller);
            assert!(job.ended.is_none());
        }
        job.shrink(1, "no room");
        assert!(matches!(&job.ended, Some(Some(Failure::Broken(why))) if why.contains("no room")));
        assert_eq!(job.said.len(), 5);

        let (mut strict, data) = self::task(&world, &mut cx, 1, 0.02);
        strict.halve = false;
        fleet.add(1, strict, data);
        fleet.jobs[1].shrink(32, "no room");
        assert!(fleet.jobs[1].ended.is_some(), "a preset that does not allow halving fails the candidate");
    }
}
