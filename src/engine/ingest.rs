//! From the run folders into the store: the one thread that writes to sled. It follows the events of live runs and says
//! what is new; how far a folder was read is stored in the same batch as what was read, so nothing is lost or doubled
//! whatever dies when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_protocol::home::Home;
use kiln_protocol::labels::Labels;
use kiln_protocol::run::RunSummary;
use kiln_protocol::spool::{EventTail, SpoolError};
use kiln_protocol::{RunId, RunState};
use kiln_store::{Store, StoreError};
use tokio::sync::mpsc;

use crate::engine::{Msg, ReplyTo};
use crate::launch::{LaunchFile, MAKING};
use crate::recover;
use crate::scheduler::Exit;
use crate::worker;

/// Between two looks at the live runs' events while something happens, and while nothing has for [`CALM`]. A look costs
/// some ten microseconds a run; on network file systems, where inotify is blind, it works too.
const BUSY_LOOK: Duration = Duration::from_millis(50);
const CALM_LOOK: Duration = Duration::from_millis(150);
const CALM: Duration = Duration::from_secs(3);

/// Room between two looks for each live run: what a look finds is written, and many small writes cost many times what few large
/// ones do. From two live runs on, looks become rarer, up to [`SLOWEST`].
const EACH: Duration = Duration::from_millis(30);
const SLOWEST: Duration = Duration::from_millis(600);

/// How long to wait before the next look at this many live runs.
fn pause(runs: usize, calm: bool) -> Duration {
    let room = EACH.saturating_mul(u32::try_from(runs).unwrap_or(u32::MAX)).min(SLOWEST);
    room.max(if calm { CALM_LOOK } else { BUSY_LOOK })
}

/// What the name of a folder begins with whose run is being removed. No run's name does.
pub const REMOVED: &str = ".removed-";

/// What the thread is told.
enum Order {
    /// A new run.
    Add(Box<RunSummary>),
    /// What the engine knows of a run beside its events has changed.
    Facts(RunId, LaunchFile),
    Follow(RunId),
    /// Reads what there is, once.
    Read(RunId),
    /// Reads to the end, then says so and follows no more.
    Finish(RunId, Exit),
    /// A run, or an experiment with its jobs behind it.
    Remove(Vec<RunId>, PathBuf, ReplyTo),
    Rebuild(ReplyTo),
    /// Finds one run, and its jobs, that were not there before.
    Adopt(RunId, ReplyTo),
    End,
}

/// The engine's end of the thread.
pub struct Ingest {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Ingest {
    /// Starts the thread. It first finds all runs that there are.
    pub fn start(home: Home, store: Arc<Store>, news: mpsc::Sender<Msg>) -> std::io::Result<Ingest> {
        let (orders, inbox) = channel();
        let thread = std::thread::Builder::new().name("ingest".into()).spawn(move || {
            let mut work = Work { home, store, news, tails: BTreeMap::new(), active: Instant::now() };
            work.find_all();
            work.run(&inbox);
        })?;
        Ok(Ingest { orders, thread: Some(thread) })
    }

    pub fn add(&self, summary: RunSummary) {
        self.order(Order::Add(Box::new(summary)));
    }

    pub fn facts(&self, run: RunId, facts: LaunchFile) {
        self.order(Order::Facts(run, facts));
    }

    pub fn follow(&self, run: RunId) {
        self.order(Order::Follow(run));
    }

    pub fn read_once(&self, run: RunId) {
        self.order(Order::Read(run));
    }

    pub fn finish(&self, run: RunId, exit: Exit) {
        self.order(Order::Finish(run, exit));
    }

    /// Forgets runs, the first of which stands for all, and deletes what is left of their folder.
    pub fn remove(&self, runs: Vec<RunId>, trash: PathBuf, reply: ReplyTo) {
        self.order(Order::Remove(runs, trash, reply));
    }

    pub fn rebuild(&self, reply: ReplyTo) {
        self.order(Order::Rebuild(reply));
    }

    /// Finds a run whose folder was put among the others, and says so.
    pub fn adopt(&self, run: RunId, reply: ReplyTo) {
        self.order(Order::Adopt(run, reply));
    }

    fn order(&self, order: Order) {
        // A thread that is gone is noticed by `is_alive`.
        let _ = self.orders.send(order);
    }

    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Ends the thread after what it was told before.
    pub fn end(mut self) {
        self.order(Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Tail {
    tail: EventTail,
    /// The last problem that was logged, so that one that stays is said once.
    problem: Option<String>,
}

struct Work {
    home: Home,
    store: Arc<Store>,
    news: mpsc::Sender<Msg>,
    tails: BTreeMap<RunId, Tail>,
    /// When something was last read.
    active: Instant,
}

impl Work {
    fn run(&mut self, inbox: &Receiver<Order>) {
        loop {
            let wait = match self.tails.len() {
                0 => Duration::MAX,
                runs => pause(runs, self.active.elapsed() >= CALM),
            };
            let order = if wait == Duration::MAX {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(wait)
            };
            match order {
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {
                    let runs: Vec<RunId> = self.tails.keys().cloned().collect();
                    runs.iter().for_each(|run| self.read(run));
                }
            }
        }
        if let Err(e) = self.store.flush() {
            tracing::warn!("{e}");
        }
    }

    fn say(&self, msg: Msg) {
        // Fails only when the engine is ending; the next one reads on from the stored offset.
        let _ = self.news.blocking_send(msg);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Add(summary) => {
                if let Err(e) = self.add(&summary) {
                    tracing::warn!("run {}: {e}", summary.id);
                }
            }
            Order::Facts(run, facts) => {
                if let Err(e) = self.set_facts(&run, &facts) {
                    tracing::warn!("run {run}: {e}");
                }
            }
            Order::Follow(run) => {
                self.active = Instant::now();
                self.open(&run);
            }
            Order::Read(run) => {
                let followed = self.tails.contains_key(&run);
                self.open(&run);
                self.read(&run);
                if !followed {
                    self.tails.remove(&run);
                }
            }
            Order::Finish(run, exit) => {
                self.open(&run);
                self.read(&run);
                self.tails.remove(&run);
                self.say(Msg::Drained { run, exit });
            }
            Order::Remove(runs, trash, reply) => {
                let forget = |run: &RunId| {
                    self.tails.remove(run);
                    self.store.remove(run)
                };
                let forgotten = runs.iter().try_for_each(forget);
                let result = forgotten.map_err(|e| e.to_string()).and_then(|()| {
                    std::fs::remove_dir_all(&trash)
                        .map_err(|e| format!("the run is gone, but not all of its folder {}: {e}", trash.display()))
                });
                self.say(Msg::Removed { runs, result, reply });
            }
            Order::Rebuild(reply) => {
                let result = self.rebuild();
                self.say(Msg::Rebuilt { result, reply });
            }
            Order::Adopt(run, reply) => {
                let result = self.find_one(&run);
                self.say(Msg::Adopted { run, result, reply });
            }
            Order::End => {}
        }
    }

    fn open(&mut self, run: &RunId) {
        if !self.tails.contains_key(run) {
            let offset = self.store.offset(run).unwrap_or_else(|e| {
                tracing::warn!("run {run}: {e}");
                0
            });
            let tail = EventTail::open(&self.home.run_folder(run), offset);
            self.tails.insert(run.clone(), Tail { tail, problem: None });
        }
    }

    /// Reads what is new in a run that is followed, into the store, and says so.
    fn read(&mut self, run: &RunId) {
        let Some(tail) = self.tails.get_mut(run) else { return };
        loop {
            let batch = match tail.tail.poll() {
                Ok(batch) => batch,
                Err(e) => return tail.complain(run, e.to_string()),
            };
            for problem in &batch.problems {
                tracing::warn!("{}", problem.message);
            }
            if batch.items.is_empty() && batch.problems.is_empty() {
                return;
            }
            self.active = Instant::now();
            match self.store.ingest(run, &batch.items, batch.offset) {
                Ok(ingested) => {
                    tail.problem = None;
                    for problem in &ingested.problems {
                        tracing::warn!("run {run}: {problem}");
                    }
                    let summary = Box::new(ingested.summary);
                    let news = Msg::Ingested { run: run.clone(), events: batch.items, summary };
                    let _ = self.news.blocking_send(news);
                }
                Err(e) => {
                    // Nothing was stored, so the same is read again next time (a full disk may have room then).
                    let before = self.store.offset(run).unwrap_or(0);
                    tail.tail = EventTail::open(&self.home.run_folder(run), before);
                    return tail.complain(run, e.to_string());
                }
            }
            if !batch.more {
                return;
            }
        }
    }

    fn add(&self, summary: &RunSummary) -> Result<(), StoreError> {
        let spec = std::fs::read_to_string(self.home.run_folder(&summary.id).spec()).unwrap_or_default();
        self.store.insert(summary.clone(), &spec)
    }

    /// Finds all runs that there are, after catching up with their folders.
    fn find_all(&mut self) {
        self.sweep();
        let runs = self.home.run_ids().unwrap_or_default();
        // First whether their workers live, then what they wrote: see `recover::find`.
        let lives: Vec<(RunId, _)> =
            runs.into_iter().map(|run| (run.clone(), worker::look(&self.home.run_folder(&run)))).collect();
        match self.store.catch_up(&self.home) {
            Ok(done) => done.problems.iter().for_each(|problem| tracing::warn!("{problem}")),
            Err(e) => tracing::warn!("the store is behind the run folders: {e}"),
        }
        for (run, life) in lives {
            if let Err(e) = self.find(&run, life) {
                tracing::warn!("run {run}: {e}");
            }
        }
        self.say(Msg::FoundAll);
    }

    /// Finds a run that was not there at the start, with its jobs.
    fn find_one(&self, run: &RunId) -> Result<(), String> {
        let all = self.home.run_ids().map_err(|e| format!("the runs cannot be listed: {e}"))?;
        let own = |id: &RunId| id == run || id.parent().is_some_and(|(parent, _)| parent == *run);
        // The run itself comes first; its jobs are told to it.
        for id in all.into_iter().filter(own) {
            let life = worker::look(&self.home.run_folder(&id));
            let done = self.store.catch_up_with(&self.home, &id).map_err(|e| e.to_string())?;
            done.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
            self.find(&id, life).map_err(|e| format!("run {id} cannot be taken up: {e}"))?;
        }
        Ok(())
    }

    fn find(&self, run: &RunId, life: Result<worker::Life, SpoolError>) -> Result<(), StoreError> {
        let folder = self.home.run_folder(run);
        let summary = self.set_facts(run, &LaunchFile::read(&folder, run))?;
        // Jobs are many; only a run that has some is looked into.
        let jobs = folder.job(1).path().parent().is_some_and(std::path::Path::is_dir);
        if let Ok(spec) = recover::read_experiment(&folder, jobs) {
            let events = self.store.events(run, 0, u32::MAX, false)?;
            let asked = recover::asked(&folder, &events);
            self.say(Msg::FoundExperiment { spec: Box::new(spec), asked, summary: Box::new(summary) });
            return Ok(());
        }
        let mut starts = 0;
        if !summary.state.is_ended() {
            for event in self.store.events(run, 0, u32::MAX, false)? {
                recover::count_starts(&mut starts, &event.body);
            }
        }
        let mut found = Box::new(recover::find(&folder, life, &summary, starts));
        if run.parent().is_some() && summary.state == RunState::Completed {
            found.outcome = self.store.detail(run, folder.path())?.outcome;
        }
        self.say(Msg::Found { found, summary: Box::new(summary) });
        Ok(())
    }

    /// Puts into the store what is written beside the events only.
    fn set_facts(&self, run: &RunId, facts: &LaunchFile) -> Result<RunSummary, StoreError> {
        let labels = Labels::read(&self.home.run_folder(run)).unwrap_or_else(|e| {
            tracing::warn!("run {run}: {e}");
            Labels::default()
        });
        let summary = self.store.summary(run)?;
        let mut facing = summary.clone();
        (facing.preset, facing.priority, facing.created) = (facts.preset.clone(), facts.priority, facts.created);
        facing.origin.clone_from(&facts.origin);
        facing.arm.clone_from(&facts.arm);
        (facing.note, facing.tags) = (labels.headline(), labels.tags);
        if facing == summary {
            return Ok(summary);
        }
        self.store.update(run, |s| *s = facing)
    }

    /// Finishes removals that a dying engine left half done, and takes back beginnings.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(self.home.runs_dir()) else { return };
        for entry in entries.flatten().filter(|e| half_done(&e.file_name().to_string_lossy())) {
            if let Err(e) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!("cannot remove {}: {e}", entry.path().display());
            }
        }
    }

    fn rebuild(&mut self) -> Result<Vec<RunSummary>, String> {
        let done = self.store.rebuild(&self.home).map_err(|e| e.to_string())?;
        done.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
        // The tails stay where they were: what the store took in meanwhile the engine has not heard of yet, and the
        // store passes over what it is given twice.
        let summary = |s: RunSummary| self.set_facts(&s.id, &LaunchFile::read(&self.home.run_folder(&s.id), &s.id));
        self.store.runs().and_then(|runs| runs.into_iter().map(summary).collect()).map_err(|e| e.to_string())
    }
}

fn half_done(name: &str) -> bool {
    name.starts_with(REMOVED) || name.starts_with(MAKING)
}

impl Tail {
    fn complain(&mut self, run: &RunId, problem: String) {
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!("run {run}: {problem}");
            self.problem = Some(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_runs_are_looked_at_often_and_many_seldom() {
        assert_eq!((pause(1, false), pause(3, false)), (BUSY_LOOK, Duration::from_millis(90)));
        assert_eq!(pause(1, true), CALM_LOOK);
        assert_eq!(pause(20, false), SLOWEST);
        assert_eq!(pause(20, true), SLOWEST);
        assert_eq!((pause(10_000, false), pause(usize::MAX, true)), (SLOWEST, SLOWEST));
    }
}
