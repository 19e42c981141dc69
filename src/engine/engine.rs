//! The engine's one task: it owns the scheduler, tells workers and the ingest thread what to do, and keeps the clients
//! up to date. Everything reaches it as a [`Msg`]; nothing in it waits. `steer` has what is particular to experiments, `label`
//! tags and notes.

mod label;
mod steer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_protocol::labels::Labels;
use kiln_protocol::record::Record;
use kiln_protocol::run::RunSummary;
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::{ControlTail, ControlWriter, EventWriter, SpoolError};
use kiln_protocol::wire::{Reply, Request, RunDetail, Sample, Slot, Status, System};
use kiln_protocol::{Body, Command, Event, Level, RunId, RunState, checkpoint, now};
use tokio::sync::{mpsc, oneshot};

use crate::connection::Client;
use crate::devices::Named;
use crate::experiment::Experiment;
use crate::ingest::Ingest;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::recover::{Asked, Found};
use crate::scheduler::{Device, Effect, Exit, Input, Job, Report, Scheduler, Signal};
use crate::telemetry::{Telemetry, disk};
use crate::worker::{self, Life, NotStarted, Process};

/// How often time is looked at: adopted workers, the disk, idleness.
pub const TICK: Duration = Duration::from_millis(500);

/// How long a request waits for all runs to be found. Less than clients wait for an answer, so that they get a reason.
const FINDING: Duration = Duration::from_secs(6);

/// Samples of the machine that are kept: ten minutes while a client watches.
const HISTORY: usize = 600;

/// Where an answer goes.
pub type ReplyTo = oneshot::Sender<Result<Reply, String>>;

/// Everything that the engine hears.
pub enum Msg {
    Connected {
        client: u64,
        shared: Arc<Client>,
    },
    Disconnected {
        client: u64,
    },
    Request {
        client: u64,
        request: Request,
        reply: ReplyTo,
    },
    /// A run was found at the start, its events read.
    Found {
        found: Box<Found>,
        summary: Box<RunSummary>,
    },
    /// An experiment was found; its jobs follow.
    FoundExperiment {
        spec: Box<Spec>,
        asked: Asked,
        summary: Box<RunSummary>,
    },
    /// All runs were found.
    FoundAll,
    /// New events of a run, in the store already.
    Ingested {
        run: RunId,
        events: Vec<Event>,
        summary: Box<RunSummary>,
    },
    /// A child has ended; what it wrote may not have been read yet.
    Exited {
        run: RunId,
        exit: Exit,
    },
    /// All that a worker wrote before its end was read.
    Drained {
        run: RunId,
        exit: Exit,
    },
    /// The first stands for the others, its jobs.
    Removed {
        runs: Vec<RunId>,
        result: Result<(), String>,
        reply: ReplyTo,
    },
    /// A folder that was put among the runs was read, and what was found in it said before.
    Adopted {
        run: RunId,
        result: Result<(), String>,
        reply: ReplyTo,
    },
    Rebuilt {
        result: Result<Vec<RunSummary>, String>,
        reply: ReplyTo,
    },
    System(System),
    Tick,
}

/// A run as the engine knows it beside the scheduler.
struct Tracked {
    /// What the events amount to; the scheduler knows better what is being done about it.
    summary: RunSummary,
    process: Option<Process>,
    /// No child of this engine: watched by looking.
    adopted: bool,
    /// Bytes of `control.jsonl` when the attempt was queued, and of `worker.log` when it was started.
    control_from: u64,
    log_from: u64,
    /// Events that the engine itself wrote and the scheduler need not be told.
    own: BTreeSet<u64>,
}

impl Tracked {
    fn new(summary: RunSummary) -> Tracked {
        Tracked { summary, process: None, adopted: false, control_from: 0, log_from: 0, own: BTreeSet::new() }
    }
}

/// A request that came before all runs were found.
struct Waiting {
    client: u64,
    request: Request,
    reply: ReplyTo,
    since: Instant,
}

pub struct Engine {
    options: Options,
    devices: Vec<Named>,
    scheduler: Scheduler,
    runs: BTreeMap<RunId, Tracked>,
    experiments: BTreeMap<RunId, Experiment>,
    /// Experiments whose jobs have changed.
    dirty: BTreeSet<RunId>,
    /// What was last asked of each experiment, until all runs are found.
    asked: BTreeMap<RunId, Asked>,
    /// Jobs out of the scheduler whose folder is about to be removed.
    taken: Vec<(RunId, Job)>,
    clients: BTreeMap<u64, Arc<Client>>,
    watchers: BTreeSet<u64>,
    ingest: Ingest,
    telemetry: Telemetry,
    system: System,
    /// How the machine has been, the oldest first.
    history: VecDeque<Sample>,
    /// For tasks that wait for children.
    inbox: mpsc::Sender<Msg>,
    started: f64,
    /// Why the queue stands still until all runs are found; after that the disk decides.
    finding: bool,
    /// Requests that came before all runs were found: half a list would be a wrong one.
    waiting: Vec<Waiting>,
    idle_since: Instant,
    store_bytes: Box<dyn Fn() -> u64>,
    /// Why the engine ends.
    ending: Option<String>,
}

impl Engine {
    pub fn new(
        options: Options,
        devices: Vec<Named>,
        ingest: Ingest,
        telemetry: Telemetry,
        inbox: mpsc::Sender<Msg>,
        store_bytes: Box<dyn Fn() -> u64>,
    ) -> Engine {
        let kinds: Vec<Device> = devices.iter().map(|d| d.device).collect();
        let mut engine = Engine {
            options,
            devices,
            scheduler: Scheduler::new(&kinds),
            runs: BTreeMap::new(),
            experiments: BTreeMap::new(),
            dirty: BTreeSet::new(),
            asked: BTreeMap::new(),
            taken: Vec::new(),
            clients: BTreeMap::new(),
            watchers: BTreeSet::new(),
            ingest,
            telemetry,
            system: System::default(),
            history: VecDeque::new(),
            inbox,
            started: now(),
            finding: true,
            waiting: Vec::new(),
            idle_since: Instant::now(),
            store_bytes,
            ending: None,
        };
        engine.tell(Input::Hold(Some("the engine is starting".into())));
        engine
    }

    /// Why the engine ends, once it does.
    pub fn ending(&self) -> Option<&str> {
        self.ending.as_deref()
    }

    pub fn end(&mut self, reason: &str) {
        self.ending.get_or_insert_with(|| reason.to_owned());
    }

    /// Tells all clients that it ends.
    pub fn bye(&self) {
        let reason = self.ending.as_deref().unwrap_or("the engine ends");
        self.clients.values().for_each(|c| c.bye(reason));
    }

    /// The thread that reads, for its orderly end.
    pub fn into_ingest(self) -> Ingest {
        self.ingest
    }

    pub fn handle(&mut self, msg: Msg) {
        self.hear(msg);
        self.settle();
    }

    fn hear(&mut self, msg: Msg) {
        match msg {
            Msg::Connected { client, shared } => {
                self.clients.insert(client, shared);
            }
            Msg::Disconnected { client } => {
                self.clients.remove(&client);
                self.watchers.remove(&client);
                self.telemetry.watch(!self.watchers.is_empty());
                self.idle_since = Instant::now();
            }
            Msg::Request { client, request, reply } => self.request(client, request, reply),
            Msg::Found { found, summary } => self.found(*found, *summary),
            Msg::FoundExperiment { spec, asked, summary } => self.found_experiment(&spec, asked, *summary),
            Msg::FoundAll => {
                self.found_all_experiments();
                self.finding = false;
                self.tell(Input::Hold(self.low_disk()));
                for Waiting { client, request, reply, .. } in std::mem::take(&mut self.waiting) {
                    self.request(client, request, reply);
                }
            }
            Msg::Ingested { run, events, summary } => self.ingested(run, events, *summary),
            Msg::Exited { run, exit } => self.ingest.finish(run, exit),
            Msg::Drained { run, exit } => self.drained(run, exit),
            Msg::Removed { runs, result, reply } => {
                // Also if part of its folder is left: it is no run any more.
                runs.iter().for_each(|run| self.watchers_do(|o| o.put_removed(run)));
                let _ = reply.send(result.map(|()| Reply::Done));
            }
            Msg::Adopted { run, result, reply } => {
                self.found_all_experiments();
                self.changed(&run);
                let _ = reply.send(result.map(|()| Reply::Done));
            }
            Msg::Rebuilt { result, reply } => {
                let answer = result.map(|summaries| {
                    let runs = summaries.len() as u32;
                    for summary in summaries {
                        let run = summary.id.clone();
                        if let Some(tracked) = self.runs.get_mut(&run) {
                            tracked.summary = summary;
                            self.changed(&run);
                        }
                    }
                    Reply::Rebuilt { runs }
                });
                let _ = reply.send(answer);
            }
            Msg::System(system) => {
                self.watchers_do(|o| o.put_system(&system));
                if self.history.len() >= HISTORY {
                    self.history.pop_front();
                }
                self.history.push_back(system.sample());
                self.system = system;
            }
            Msg::Tick => self.tick(),
        }
    }

    // What happens by itself

    fn tick(&mut self) {
        if !self.finding {
            self.tell(Input::Hold(self.low_disk()));
        }
        let late = |w: &mut Waiting| w.since.elapsed() > FINDING;
        for waiting in self.waiting.extract_if(.., late) {
            let sentence = "the engine has just started and is still reading the run folders; try again in a moment";
            let _ = waiting.reply.send(Err(sentence.into()));
        }
        self.tell(Input::Tick);
        let workers = self.runs.iter().filter_map(|(run, t)| Some((run.clone(), t.process?.pid)));
        self.telemetry.follow(workers.collect());
        self.look_at_adopted();
        self.tend();
        if !self.ingest.is_alive() {
            self.end("the thread that reads the run folders has died; this is a mistake in Kiln");
        }
        let busy = !self.clients.is_empty() || self.finding || self.scheduler.counts() != (0, 0);
        if busy {
            self.idle_since = Instant::now();
        } else if let Some(limit) = self.options.idle_exit.filter(|limit| self.idle_since.elapsed() >= *limit) {
            self.end(&format!("nothing to do and nobody connected for {} s", limit.as_secs()));
        }
    }

    /// Why no job may start, if the disk is nearly full.
    fn low_disk(&self) -> Option<String> {
        let (free, _) = disk(self.options.home.root())?;
        (free < self.options.min_free).then(|| {
            format!(
                "waiting for room: {} MB free in {}, {} MB are needed to start",
                free / 1_000_000,
                self.options.home.root().display(),
                self.options.min_free / 1_000_000
            )
        })
    }

    fn look_at_adopted(&mut self) {
        for (run, tracked) in self.runs.iter_mut().filter(|(_, t)| t.adopted) {
            match worker::look(&self.options.home.run_folder(run)) {
                Ok(Life::Dead) => {
                    tracked.adopted = false;
                    self.ingest.finish(run.clone(), Exit::Unknown);
                }
                Ok(Life::Alive(Some(info))) => {
                    tracked.process = Some(Process { pid: info.pid, start_time: info.start_time });
                }
                Ok(Life::Alive(None)) | Err(_) => {}
            }
        }
    }

    fn found(&mut self, found: Found, summary: RunSummary) {
        let mut tracked = Tracked::new(summary);
        (tracked.process, tracked.adopted) = (found.process, found.alive);
        let folder = self.options.home.run_folder(&found.run);
        (tracked.control_from, tracked.log_from) = (folder.control_len(), worker::log_len(&folder));
        if found.alive {
            let pid = found.process.map_or("not yet known".to_string(), |p| p.pid.to_string());
            tracing::info!("run {}: adopted its worker (pid {pid})", found.run);
            self.ingest.follow(found.run.clone());
        }
        if let Some(((parent, _), outcome)) = found.run.parent().zip(found.outcome)
            && let Some(experiment) = self.experiments.get_mut(&parent)
        {
            experiment.found(&found.run, &outcome);
        }
        self.runs.insert(found.run, tracked);
        for input in found.inputs {
            self.tell(input);
        }
    }

    fn ingested(&mut self, run: RunId, events: Vec<Event>, summary: RunSummary) {
        let Some(tracked) = self.runs.get_mut(&run) else { return };
        // Tags and note come from here; what the store had of them when it read these events may be older.
        let (tags, note) = (std::mem::take(&mut tracked.summary.tags), std::mem::take(&mut tracked.summary.note));
        tracked.summary = RunSummary { tags, note, ..summary };
        for client in self.watchers.iter().filter_map(|c| self.clients.get(c)) {
            client.put(|outbox| {
                if outbox.watched() == Some(&run) {
                    events.iter().for_each(|e| outbox.put_event(e));
                }
            });
        }
        let is_experiment = self.experiments.contains_key(&run);
        for event in events {
            self.heard_of_job(&run, &event.body);
            let own = self.runs.get_mut(&run).is_some_and(|t| t.own.remove(&event.seq));
            // Of all others the scheduler wants to know nothing, and there are many.
            if !own && !is_experiment && event.body.is_lifecycle() {
                self.tell(Input::Event { run: run.clone(), body: event.body });
            }
        }
        self.changed(&run);
    }

    fn drained(&mut self, run: RunId, exit: Exit) {
        let Some(tracked) = self.runs.get_mut(&run) else { return };
        (tracked.process, tracked.adopted) = (None, false);
        let folder = self.options.home.run_folder(&run);
        tracked.control_from = folder.control_len();
        let said = worker::last_words(&folder, tracked.log_from);
        tracing::info!("run {run}: the worker has ended ({exit:?})");
        self.touch(&run);
        self.tell(Input::Exited { run, exit, said });
    }

    // What the scheduler decides

    /// Tells the scheduler something that nobody waits for an answer to.
    fn tell(&mut self, input: Input) {
        if let Err(e) = self.try_tell(input) {
            tracing::warn!("{e}");
        }
    }

    /// Tells the scheduler something and carries out what follows. The error is for whoever asked.
    fn try_tell(&mut self, input: Input) -> Result<(), String> {
        let mut effects = VecDeque::from(self.scheduler.handle(now(), input)?);
        let mut result = Ok(());
        while let Some(effect) = effects.pop_front() {
            let followed = match self.carry_out(effect) {
                Ok(None) => continue,
                Ok(Some(input)) => self.scheduler.handle(now(), input),
                Err(e) => Err(e),
            };
            match followed {
                Ok(more) => effects.extend(more),
                Err(e) => {
                    tracing::warn!("{e}");
                    result = result.and(Err(e));
                }
            }
        }
        result
    }

    /// Carries one effect out. What comes back is news for the scheduler.
    fn carry_out(&mut self, effect: Effect) -> Result<Option<Input>, String> {
        match effect {
            Effect::Changed { run } => self.changed(&run),
            Effect::Control { run, command } => self.control(&run, command)?,
            Effect::Report { run, report } => self.report(&run, report)?,
            Effect::Signal { run, signal } => match self.runs.get(&run).and_then(|t| t.process) {
                Some(process) => process.signal(signal)?,
                None => return Err(format!("the worker of run {run} is not known yet; try again in a moment")),
            },
            Effect::Spawn { run, device } => {
                return Ok(match self.spawn(&run, device) {
                    Ok(()) => None,
                    Err(NotStarted::Busy(reason)) => Some(Input::Busy { run, reason }),
                    Err(NotStarted::Failed(reason)) => Some(Input::SpawnFailed { run, reason }),
                });
            }
            // Done by whoever handles the request, because only it can be undone.
            Effect::Erase { .. } => {}
        }
        Ok(None)
    }

    fn control(&mut self, run: &RunId, command: Command) -> Result<(), String> {
        let folder = self.options.home.run_folder(run);
        let resumes = command == Command::Resume;
        let stops = command == Command::Stop;
        let append = || {
            ControlWriter::open(&folder)?.append(command).map_err(|source| SpoolError::Io {
                doing: "append to",
                path: folder.control(),
                source,
            })
        };
        let written = append().map(drop).map_err(|e| format!("run {run} could not be told: {e}"));
        if let Some(tracked) = self.runs.get_mut(run)
            && resumes
            && tracked.process.is_none()
        {
            tracked.control_from = folder.control_len();
        }
        match (written, self.runs.get(run).and_then(|t| t.process)) {
            // No room for a line must not keep a run from being stopped: a worker stops on this signal, too.
            (Err(e), Some(process)) if stops => {
                tracing::warn!("{e}; sending SIGTERM instead");
                process.signal(Signal::Term)
            }
            (written, _) => written,
        }
    }

    /// Appends to the run's events on behalf of a worker that is not there.
    fn report(&mut self, run: &RunId, report: Report) -> Result<(), String> {
        let folder = self.options.home.run_folder(run);
        let body = match report {
            Report::Warn { message } => {
                tracing::warn!("run {run}: {message}");
                Body::Log { level: Level::Warn, message }
            }
            Report::Failed { message } => {
                tracing::warn!("run {run} failed: {message}");
                Body::Failed { message }
            }
            Report::Stopped { reason } => {
                let steps = checkpoint::steps(&folder.checkpoints()).unwrap_or_default();
                Body::Stopped { step: steps.into_iter().max().unwrap_or(0), reason }
            }
        };
        let append = || {
            EventWriter::open(&folder)?.append(body).map_err(|source| SpoolError::Io {
                doing: "append to",
                path: folder.events(),
                source,
            })
        };
        let event = append().map_err(|e| format!("run {run}: this is not in its log: {e}"))?;
        if let Some(tracked) = self.runs.get_mut(run) {
            tracked.own.insert(event.seq);
        }
        self.ingest.read_once(run.clone());
        Ok(())
    }

    fn spawn(&mut self, run: &RunId, device: Device) -> Result<(), NotStarted> {
        let folder = self.options.home.run_folder(run);
        let tracked = self.runs.get_mut(run).ok_or_else(|| NotStarted::Failed(unknown(run)))?;
        tracked.log_from = worker::log_len(&folder);
        let mut child = worker::start(&self.options.worker, &folder, device, tracked.control_from)?;
        tracked.process = worker::process_of(&child);
        tracing::info!("run {run}: worker started on {device} (pid {})", child.id().unwrap_or(0));
        self.ingest.follow(run.clone());
        let (inbox, run) = (self.inbox.clone(), run.clone());
        tokio::spawn(async move {
            let exit = match child.wait().await {
                Ok(status) => worker::exit_of(status),
                Err(e) => {
                    tracing::warn!("run {run}: cannot wait for its worker: {e}");
                    Exit::Unknown
                }
            };
            let _ = inbox.send(Msg::Exited { run, exit }).await;
        });
        Ok(())
    }

    // What clients see and ask

    /// The run's row: what its events amount to, and what is being done about it.
    fn summary(&self, run: &RunId) -> Option<RunSummary> {
        if self.experiments.contains_key(run) {
            return self.summary_of_experiment(run);
        }
        let mut summary = self.runs.get(run)?.summary.clone();
        let Some(job) = self.scheduler.job(run) else { return Some(summary) };
        let same = summary.state == job.state;
        summary.reason = self.scheduler.reason(run).or_else(|| summary.reason.take().filter(|_| same));
        (summary.state, summary.priority) = (job.state, job.priority);
        if !job.state.is_live() {
            (summary.pid, summary.eta) = (None, None);
        }
        if !matches!(job.state, RunState::Running | RunState::Stopping) {
            summary.at_work = None;
        }
        if !job.state.is_ended() {
            summary.ended = None;
        }
        Some(summary)
    }

    fn changed(&mut self, run: &RunId) {
        self.touch(run);
        if let Some(summary) = self.summary(run) {
            match run.parent() {
                Some((parent, _)) => self.watchers_do(|o| o.put_job(&parent, &summary)),
                None => self.watchers_do(|o| o.put_run(summary.clone())),
            }
        }
    }

    fn watchers_do(&self, mut change: impl FnMut(&mut Outbox)) {
        for client in self.watchers.iter().filter_map(|c| self.clients.get(c)) {
            client.put(&mut change);
        }
    }

    fn request(&mut self, client: u64, request: Request, reply: ReplyTo) {
        if self.finding && !matches!(request, Request::Status | Request::Shutdown) {
            return self.waiting.push(Waiting { client, request, reply, since: Instant::now() });
        }
        let answer = match request {
            Request::Remove { run } => return self.remove(run, reply),
            Request::Rebuild => return self.ingest.rebuild(reply),
            Request::Adopt { run } => return self.adopt(run, reply),
            Request::Record { run } => self.records(&run),
            Request::Runs => Ok(self.all_runs()),
            Request::Run { run } | Request::Brief { run } => self.detail(&run),
            Request::Jobs { run } => Ok(Reply::Runs { runs: self.jobs(run.as_ref()) }),
            Request::Launch { preset, spec, priority, origin } => {
                self.launch(&preset, &spec, priority, origin.as_ref())
            }
            Request::Control { run, command } if self.experiments.contains_key(&run) => {
                self.steer(&run, command).map(|()| Reply::Done)
            }
            Request::Control { run, command } => self.try_tell(Input::Control { run, command }).map(|()| Reply::Done),
            Request::Priority { run, priority } => self.priority(&run, priority),
            Request::Tag { run, add, remove } => self.label(&run, |labels| labels.retag(&add, &remove)),
            Request::Note { run, note } => self.label(&run, |labels| labels.set_note(&note)),
            Request::Watch { run } => self.watch(client, run),
            Request::Status => Ok(Reply::Status { status: Box::new(self.status()) }),
            Request::Shutdown => {
                self.end("asked to stop");
                Ok(Reply::Done)
            }
            Request::Hello { .. }
            | Request::Series { .. }
            | Request::Clock { .. }
            | Request::Events { .. }
            | Request::Advice { .. }
            | Request::Past { .. } => Err("this request is answered elsewhere".into()),
        };
        let _ = reply.send(answer);
    }

    /// Jobs of one experiment, or of all.
    fn jobs(&self, run: Option<&RunId>) -> Vec<RunSummary> {
        let wanted = |id: &&RunId| id.parent().is_some_and(|(parent, _)| run.is_none_or(|run| parent == *run));
        let mut runs: Vec<RunSummary> = self.runs.keys().filter(wanted).filter_map(|id| self.summary(id)).collect();
        runs.sort_by(|a, b| a.id.in_order().cmp(&b.id.in_order()));
        runs
    }

    fn all_runs(&self) -> Reply {
        let whole = |run: &&RunId| run.parent().is_none();
        let mut runs: Vec<RunSummary> = self.runs.keys().filter(whole).filter_map(|run| self.summary(run)).collect();
        runs.sort_by(|a, b| b.created.total_cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Reply::Runs { runs }
    }

    fn records(&self, run: &RunId) -> Result<Reply, String> {
        if !self.runs.contains_key(run) {
            return Err(unknown(run));
        }
        let records = Record::read(&self.options.home.run_folder(run)).map_err(|e| e.to_string())?;
        Ok(Reply::Records { records })
    }

    /// What the engine knows of a run; the connection adds what the store knows.
    fn detail(&self, run: &RunId) -> Result<Reply, String> {
        let summary = self.summary(run).ok_or_else(|| unknown(run))?;
        let folder = self.options.home.run_folder(run);
        let spec = std::fs::read_to_string(folder.spec()).unwrap_or_default();
        let knobs = ControlTail::start(&folder, None).map(|(_, knobs)| knobs).unwrap_or_default();
        let note = Labels::read(&folder).map(|labels| labels.note).unwrap_or_default();
        let folder = folder.path().display().to_string();
        let jobs = match self.experiments.contains_key(run) {
            true => self.jobs(Some(run)),
            false => Vec::new(),
        };
        let (series, views, outcome, marks) = (vec![], vec![], None, vec![]);
        let detail = RunDetail { summary, spec, series, views, outcome, folder, knobs, marks, jobs, note };
        Ok(Reply::Run { run: Box::new(detail) })
    }

    fn watch(&mut self, client: u64, run: Option<RunId>) -> Result<Reply, String> {
        if let Some(run) = run.as_ref().filter(|run| !self.runs.contains_key(run)) {
            return Err(unknown(run));
        }
        let Some(shared) = self.clients.get(&client) else { return Ok(Reply::Done) };
        let is_new = self.watchers.insert(client);
        let whole = self.runs.keys().filter(|r| is_new && r.parent().is_none());
        let all: Vec<RunSummary> = whole.filter_map(|r| self.summary(r)).collect();
        let experiment = run.as_ref().map(|run| run.parent().map_or_else(|| run.clone(), |(parent, _)| parent));
        let jobs = experiment.filter(|run| self.experiments.contains_key(run)).map(|run| self.jobs(Some(&run)));
        shared.put(|outbox| {
            outbox.watch(run);
            all.into_iter().for_each(|summary| outbox.put_run(summary));
            for job in jobs.iter().flatten() {
                job.parent().into_iter().for_each(|parent| outbox.put_job(&parent, job));
            }
            if is_new && self.system != System::default() {
                outbox.put_system(&self.system);
            }
        });
        self.telemetry.watch(true);
        Ok(Reply::Done)
    }

    fn status(&self) -> Status {
        let (queued, running) = self.scheduler.counts();
        let slots = self.scheduler.slots().zip(&self.devices);
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: self.options.home.root().display().to_string(),
            socket: self.options.home.socket().display().to_string(),
            started: self.started,
            worker: self.options.worker.display().to_string(),
            clients: self.clients.len() as u32,
            queued,
            running,
            store_bytes: (self.store_bytes)(),
            devices: slots
                .map(|((device, run), named)| Slot {
                    device: device.to_string(),
                    name: named.name.clone(),
                    run: run.cloned(),
                })
                .collect(),
            system: self.system.clone(),
            history: self.history.iter().cloned().collect(),
        }
    }
}

fn unknown(run: &RunId) -> String {
    format!("there is no run `{run}`; `kiln ls` lists them")
}
