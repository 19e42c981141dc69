//! Which run gets which device, and what becomes of it: a pure state machine. Inputs go in, effects come out; it owns no
//! process, file or clock, so every rule below is a plain unit test.
//!
//! The rules:
//! - A run waits as `Queued` until a slot that suits it is free. Higher priority first, then who has waited longest. A run
//!   whose device is busy does not hold up one that can use another.
//! - An attempt ends with an event (`Completed`, `Stopped`, `Failed`); the slot is free when the process is gone too.
//! - A worker that dies without such an event has its run queued again, up to the spec's `retries`; then the run fails.
//!   A request of a person (launch, resume) starts the count anew.
//! - A worker that *says* it failed (event, or exit status 1) is not tried again: it would fail in the same way.
//! - Jobs of an experiment are runs like others. While the experiment is paused, those that wait are withheld.
//! - What the engine decides about a run is said in the run's own event log ([`Effect::Report`]), so that the run folder
//!   alone tells the whole story.

use std::collections::BTreeMap;

use kiln_protocol::{Body, Command, RunId, RunState};

/// How long a worker may live on after its last event before it is killed. Freeing a CUDA context can take seconds.
pub const LINGER: f64 = 30.0;

/// How long a run waits whose folder is still in use by something that the engine does not know.
pub const AGAIN: f64 = 0.4;

/// What a run asks to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A GPU where there is one, else the CPU.
    Auto,
    Cpu,
    /// Any GPU, or that of this index.
    Cuda(Option<u32>),
}

impl Wants {
    /// Reads `auto`, `cpu`, `cuda`, `cuda:N`.
    pub fn parse(device: &str) -> Option<Wants> {
        match device {
            "auto" => Some(Wants::Auto),
            "cpu" => Some(Wants::Cpu),
            "cuda" => Some(Wants::Cuda(None)),
            other => other.strip_prefix("cuda:")?.parse().ok().map(|n| Wants::Cuda(Some(n))),
        }
    }
}

/// The kind of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Cuda(u32),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// A place where one job can run.
#[derive(Clone, Debug)]
struct Slot {
    device: Device,
    run: Option<RunId>,
}

/// A run as the scheduler knows it.
#[derive(Clone, Debug)]
pub struct Job {
    pub state: RunState,
    /// Why the run is queued again, paused, stopping or ended.
    pub reason: Option<String>,
    pub priority: i32,
    /// When a person last asked for it (launch or resume); decides among equals.
    pub since: f64,
    pub wants: Wants,
    /// How often a run that died is taken up again.
    pub retries: u32,
    /// Deaths since a person last asked for it.
    pub deaths: u32,
    /// A person wants it paused. A worker that follows one that died is told so again.
    pub paused: bool,
    /// Its experiment is paused: while it waits, it is not started.
    pub withheld: bool,
    /// Whether a process works on it, or may still be ending.
    worker: bool,
    /// Index of the slot that is taken.
    slot: Option<usize>,
    /// When the attempt's last event came.
    ended_at: Option<f64>,
    /// How often a stop was asked for during this attempt.
    stops: u32,
    /// Until when it is not started, and why.
    busy: Option<(f64, String)>,
}

impl Job {
    /// A run that waits for its first attempt.
    pub fn queued(wants: Wants, priority: i32, retries: u32, since: f64) -> Job {
        Job {
            state: RunState::Queued,
            reason: None,
            priority,
            since,
            wants,
            retries,
            deaths: 0,
            paused: false,
            withheld: false,
            worker: false,
            slot: None,
            ended_at: None,
            stops: 0,
            busy: None,
        }
    }

    /// Whether a process works on it, or may still be ending.
    pub fn has_worker(&self) -> bool {
        self.worker
    }
}

/// How a worker process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Status(i32),
    Signal(i32),
    /// Its parent is gone, so nobody was told (adopted workers).
    Unknown,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Status(code) => write!(f, "ended with status {code} and no last event"),
            // By far the most frequent unasked-for SIGKILL is the kernel's.
            Exit::Signal(9) => write!(f, "was killed by signal 9 (perhaps by the kernel, for want of memory)"),
            Exit::Signal(n) => write!(f, "was ended by signal {n}"),
            Exit::Unknown => write!(f, "vanished"),
        }
    }
}

/// What the scheduler is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A new run, or one found at the engine's start that has no worker.
    Add {
        run: RunId,
        job: Job,
    },
    /// A run found at the engine's start with its worker alive. `device` is where it runs, as its `Started` event said.
    Adopt {
        run: RunId,
        job: Job,
        device: Option<Device>,
    },
    /// A command of a person.
    Control {
        run: RunId,
        command: Command,
    },
    Priority {
        run: RunId,
        priority: i32,
    },
    /// The experiment of this job is paused, or goes on.
    Withhold {
        run: RunId,
        withheld: bool,
    },
    Remove {
        run: RunId,
    },
    /// The process could not be started; the sentence says why.
    SpawnFailed {
        run: RunId,
        reason: String,
    },
    /// The process was not started, because something still works in the folder; the sentence says so.
    Busy {
        run: RunId,
        reason: String,
    },
    /// The worker reported something.
    Event {
        run: RunId,
        body: Body,
    },
    /// The process is gone, and all that it wrote was handed over as [`Input::Event`]s before. `said`: what it left on
    /// its standard error, if anything.
    Exited {
        run: RunId,
        exit: Exit,
        said: Option<String>,
    },
    /// Whether new jobs may start; the sentence says why not (disk nearly full).
    Hold(Option<String>),
    /// Time has passed.
    Tick,
}

/// What the scheduler wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Start a worker for the run on this device.
    Spawn { run: RunId, device: Device },
    /// Append to the run's `control.jsonl`.
    Control { run: RunId, command: Command },
    /// Append to the run's `events.jsonl`, on behalf of a worker that is not there.
    Report { run: RunId, report: Report },
    /// Send a signal to the worker.
    Signal { run: RunId, signal: Signal },
    /// State, reason or priority of the run differ from before.
    Changed { run: RunId },
    /// Delete folder and records.
    Erase { run: RunId },
}

/// What the engine adds to a run's events.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Failed { message: String },
    Stopped { reason: String },
    Warn { message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Checkpoint and exit.
    Term,
    Kill,
}

/// Runs, slots, and the rules.
#[derive(Debug, Default)]
pub struct Scheduler {
    jobs: BTreeMap<RunId, Job>,
    slots: Vec<Slot>,
    hold: Option<String>,
}

impl Scheduler {
    pub fn new(devices: &[Device]) -> Scheduler {
        let slots = devices.iter().map(|&device| Slot { device, run: None }).collect();
        Scheduler { jobs: BTreeMap::new(), slots, hold: None }
    }

    pub fn job(&self, run: &RunId) -> Option<&Job> {
        self.jobs.get(run)
    }

    /// Devices and who has them, in the order given to [`Scheduler::new`].
    pub fn slots(&self) -> impl Iterator<Item = (Device, Option<&RunId>)> {
        self.slots.iter().map(|s| (s.device, s.run.as_ref()))
    }

    /// Runs that wait, and runs that have a worker.
    pub fn counts(&self) -> (u32, u32) {
        let count = |f: fn(&Job) -> bool| self.jobs.values().filter(|j| f(j)).count() as u32;
        (count(|j| j.state == RunState::Queued), count(|j| j.worker))
    }

    /// Whether this machine could ever run such a job; the error is a sentence.
    pub fn suits(&self, wants: Wants) -> Result<(), String> {
        if self.slots.iter().any(|s| self.fits(wants, s.device)) {
            return Ok(());
        }
        let have: Vec<String> = self.slots.iter().map(|s| s.device.to_string()).collect();
        let asked = match wants {
            Wants::Auto => "auto".to_string(),
            Wants::Cpu => "cpu".to_string(),
            Wants::Cuda(None) => "cuda".to_string(),
            Wants::Cuda(Some(n)) => format!("cuda:{n}"),
        };
        Err(format!(
            "this engine has no device `{asked}`; it has {}. Set `run.device` to one of these or to `auto`",
            have.join(", ")
        ))
    }

    fn fits(&self, wants: Wants, device: Device) -> bool {
        match (wants, device) {
            (Wants::Auto, Device::Cuda(_)) | (Wants::Cuda(None), Device::Cuda(_)) | (Wants::Cpu, Device::Cpu) => true,
            (Wants::Auto, Device::Cpu) => !self.slots.iter().any(|s| matches!(s.device, Device::Cuda(_))),
            (Wants::Cuda(Some(n)), Device::Cuda(m)) => n == m,
            (Wants::Cuda(_), Device::Cpu) | (Wants::Cpu, Device::Cuda(_)) => false,
        }
    }

    /// Takes one input. `Err` is a sentence for whoever asked; nothing has changed then.
    pub fn handle(&mut self, now: f64, input: Input) -> Result<Vec<Effect>, String> {
        let mut out = Vec::new();
        let held = self.held();
        match input {
            Input::Add { run, job } => {
                self.jobs.insert(run.clone(), job);
                out.push(Effect::Changed { run });
            }
            Input::Adopt { run, job, device } => self.adopt(now, run, job, device, &mut out),
            Input::Control { run, command } => self.control(now, run, command, &mut out)?,
            Input::Priority { run, priority } => {
                let job = self.find(&run)?;
                if job.state != RunState::Queued {
                    return Err(format!("run {run} is {}; only a queued run has a place to change", job.state));
                }
                job.priority = priority;
                out.push(Effect::Changed { run });
            }
            Input::Withhold { run, withheld } => {
                self.find(&run)?.withheld = withheld;
                out.push(Effect::Changed { run });
            }
            Input::Remove { run } => {
                let job = self.find(&run)?;
                if !job.state.is_ended() {
                    return Err(format!("run {run} is {}; stop it first, then remove it", job.state));
                }
                if job.worker {
                    return Err(format!("the worker of run {run} is still ending; try again in a moment"));
                }
                self.jobs.remove(&run);
                out.push(Effect::Erase { run });
            }
            Input::SpawnFailed { run, reason } => {
                if let Some(job) = self.jobs.get_mut(&run) {
                    job.worker = false;
                    end(job, RunState::Failed, Some(reason.clone()));
                    self.release(&run);
                    out.push(Effect::Report { run: run.clone(), report: Report::Failed { message: reason } });
                    out.push(Effect::Changed { run });
                }
            }
            Input::Busy { run, reason } => {
                self.release(&run);
                if let Some(job) = self.jobs.get_mut(&run) {
                    (job.worker, job.state, job.busy) = (false, RunState::Queued, Some((now + AGAIN, reason)));
                    out.push(Effect::Changed { run });
                }
            }
            Input::Event { run, body } => self.event(now, run, body, &mut out),
            Input::Exited { run, exit, said } => self.exited(run, exit, said, &mut out),
            Input::Hold(reason) => {
                if self.hold != reason {
                    self.hold = reason;
                    self.waiting_changed(&mut out);
                }
            }
            Input::Tick => self.tick(now, &mut out),
        }
        self.dispatch(now, &mut out);
        if self.held() != held {
            self.waiting_changed(&mut out);
        }
        Ok(out)
    }

    /// Why the run is in its state, in words for its row.
    pub fn reason(&self, run: &RunId) -> Option<String> {
        let job = self.jobs.get(run)?;
        if job.state != RunState::Queued {
            return job.reason.clone();
        }
        let busy = job.busy.as_ref().map(|busy| busy.1.clone());
        let withheld = job.withheld.then(|| "its experiment is paused".to_owned());
        let waits_for = withheld
            .or_else(|| self.hold.clone())
            .or(busy)
            .or_else(|| self.suits(job.wants).err())
            .or_else(|| self.behind(job));
        let both: Vec<String> = waits_for.into_iter().chain(job.reason.clone()).collect();
        (!both.is_empty()).then(|| both.join("; "))
    }

    /// Slots that paused runs hold. Unlike one that works, such a run may hold its slot for ever.
    fn held(&self) -> Vec<(Device, RunId)> {
        let paused = |run: &&RunId| self.jobs.get(*run).is_some_and(|j| j.state == RunState::Paused);
        self.slots.iter().filter_map(|s| Some((s.device, s.run.as_ref().filter(paused)?.clone()))).collect()
    }

    /// What a run waits for that waits behind a paused one: nothing else would ever tell.
    fn behind(&self, job: &Job) -> Option<String> {
        let (device, run) = self.held().into_iter().find(|(device, _)| !job.worker && self.fits(job.wants, *device))?;
        Some(format!("waits for {device}, which the paused run {run} holds: resume or stop that one"))
    }

    /// The rows of all that wait say something new.
    fn waiting_changed(&self, out: &mut Vec<Effect>) {
        let waiting = self.jobs.iter().filter(|(_, j)| j.state == RunState::Queued);
        out.extend(waiting.map(|(run, _)| Effect::Changed { run: run.clone() }));
    }

    fn find(&mut self, run: &RunId) -> Result<&mut Job, String> {
        self.jobs.get_mut(run).ok_or_else(|| format!("there is no run `{run}`; `kiln ls` lists them"))
    }

    fn adopt(&mut self, now: f64, run: RunId, mut job: Job, device: Option<Device>, out: &mut Vec<Effect>) {
        job.worker = true;
        // Queued with a worker: one that has ended and not gone yet.
        job.ended_at = (job.state.is_ended() || job.state == RunState::Queued).then_some(now);
        // The slot may be gone (another machine set-up) or taken twice; the worker goes on all the same.
        job.slot = device.and_then(|d| self.slots.iter().position(|s| s.device == d && s.run.is_none()));
        if let Some(slot) = job.slot {
            self.slots[slot].run = Some(run.clone());
        }
        self.jobs.insert(run.clone(), job);
        out.push(Effect::Changed { run });
    }

    fn control(&mut self, now: f64, run: RunId, command: Command, out: &mut Vec<Effect>) -> Result<(), String> {
        let job = self.find(&run)?;
        let state = job.state;
        let refuse = |what: &str| Err(format!("run {run} is {state}; {what}"));
        match (&command, state) {
            (Command::Resume, RunState::Stopped | RunState::Failed) => {
                // Written down first: the folder alone must tell a later engine that the run is wanted again.
                out.push(Effect::Control { run: run.clone(), command });
                (job.state, job.reason) = (RunState::Queued, None);
                (job.deaths, job.since, job.stops, job.paused) = (0, now, 0, false);
                out.push(Effect::Changed { run });
                return Ok(());
            }
            (Command::Stop, RunState::Queued) => {
                let reason = "taken out of the queue".to_string();
                end(job, RunState::Stopped, Some(reason.clone()));
                out.push(Effect::Report { run: run.clone(), report: Report::Stopped { reason } });
                out.push(Effect::Changed { run });
                return Ok(());
            }
            (Command::Stop, RunState::Stopping) => {
                // Whoever asks again finds the worker too slow: the polite signal first, then the other.
                job.stops += 1;
                let signal = if job.stops == 2 { Signal::Term } else { Signal::Kill };
                job.reason = Some(match signal {
                    Signal::Term => "asked to stop twice: sent SIGTERM; a third time kills it".into(),
                    Signal::Kill => "asked to stop again: killed".into(),
                });
                out.push(Effect::Signal { run: run.clone(), signal });
                out.push(Effect::Changed { run });
                return Ok(());
            }
            (_, RunState::Completed) => return refuse("nothing is left to do"),
            (Command::Set { .. }, _) => {
                // Knobs hold for later attempts too, so they are written whatever the state.
                out.push(Effect::Control { run, command });
                return Ok(());
            }
            (Command::Resume, RunState::Queued) => return refuse("it starts as soon as a device is free"),
            (_, RunState::Queued) => return refuse("it has no worker yet; stop takes it out of the queue"),
            (Command::Stop, RunState::Stopped | RunState::Failed) => return refuse("it has ended already"),
            (_, RunState::Stopped | RunState::Failed) => return refuse("resume it first"),
            // A pause may be on its way to the worker: resuming then takes it back.
            (Command::Resume, RunState::Running | RunState::Starting) if !job.paused => {
                return refuse("it is not paused");
            }
            (Command::Pause, RunState::Paused) => return refuse("resume lets it go on"),
            (Command::Pause | Command::Resume, RunState::Stopping) => return refuse("wait until it has stopped"),
            _ => {}
        }
        match command {
            Command::Pause => job.paused = true,
            Command::Resume => job.paused = false,
            _ => {}
        }
        if command == Command::Stop {
            (job.state, job.stops) = (RunState::Stopping, 1);
            job.reason = Some("asked to stop: writing a checkpoint".into());
            out.push(Effect::Changed { run: run.clone() });
        }
        // A worker that is still starting obeys it too: it is told how long the file was when its attempt was queued.
        out.push(Effect::Control { run, command });
        Ok(())
    }

    fn event(&mut self, now: f64, run: RunId, body: Body, out: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get_mut(&run) else { return };
        let before = (job.state, job.reason.clone());
        match body {
            Body::Started { .. } => {
                job.ended_at = None;
                if job.state != RunState::Stopping {
                    job.state = RunState::Running;
                }
            }
            Body::Paused { reason } if job.state.is_live() && job.state != RunState::Stopping => {
                (job.state, job.reason) = (RunState::Paused, Some(reason));
            }
            Body::Resumed { .. } if job.state == RunState::Paused => {
                (job.state, job.reason) = (RunState::Running, None);
            }
            Body::Completed { .. } => end_at(job, now, RunState::Completed, None),
            Body::Stopped { reason, .. } => end_at(job, now, RunState::Stopped, Some(reason)),
            Body::Failed { message } => end_at(job, now, RunState::Failed, Some(message)),
            _ => {}
        }
        if before != (job.state, job.reason.clone()) {
            out.push(Effect::Changed { run });
        }
    }

    fn exited(&mut self, run: RunId, exit: Exit, said: Option<String>, out: &mut Vec<Effect>) {
        self.release(&run);
        let Some(job) = self.jobs.get_mut(&run) else { return };
        job.worker = false;
        if job.ended_at.take().is_some() {
            // Ended as it should; or ended and already asked for again, in which case it is queued and can go now.
            return;
        }
        let said = said.map(|s| format!(": {s}")).unwrap_or_default();
        let report = if job.state == RunState::Stopping {
            let reason = format!("the worker {exit} while stopping; the last complete checkpoint is kept");
            end(job, RunState::Stopped, Some(reason.clone()));
            Report::Stopped { reason }
        } else if exit == Exit::Status(1) {
            let message = format!("the worker reported failure (exit status 1){said}");
            end(job, RunState::Failed, Some(message.clone()));
            Report::Failed { message }
        } else if job.deaths >= job.retries {
            let tries = match job.retries {
                0 => "`run.retries` is 0, so it is not taken up again".to_string(),
                n => format!("it was taken up again {n} times, the most that `run.retries` allows"),
            };
            let message = format!("the worker {exit}{said}; {tries}");
            end(job, RunState::Failed, Some(message.clone()));
            Report::Failed { message }
        } else {
            job.deaths += 1;
            let message =
                format!("the worker {exit}{said}; it is taken up again (retry {} of {})", job.deaths, job.retries);
            (job.state, job.reason) = (RunState::Queued, Some(message.clone()));
            if job.paused {
                out.push(Effect::Control { run: run.clone(), command: Command::Pause });
            }
            Report::Warn { message }
        };
        out.push(Effect::Report { run: run.clone(), report });
        out.push(Effect::Changed { run });
    }

    fn tick(&mut self, now: f64, out: &mut Vec<Effect>) {
        for (run, job) in &mut self.jobs {
            if job.ended_at.is_some_and(|t| now - t > LINGER) {
                // Once a period, not at every tick: the signal may need a moment.
                job.ended_at = Some(now);
                out.push(Effect::Signal { run: run.clone(), signal: Signal::Kill });
            }
        }
    }

    /// Gives free slots to those who wait.
    fn dispatch(&mut self, now: f64, out: &mut Vec<Effect>) {
        if self.hold.is_some() || self.slots.iter().all(|s| s.run.is_some()) {
            return;
        }
        let mut queue: Vec<(i32, f64, RunId)> = self
            .jobs
            .iter()
            .filter(|(_, j)| j.state == RunState::Queued && !j.worker && !j.withheld)
            .filter(|(_, j)| j.busy.as_ref().is_none_or(|busy| busy.0 <= now))
            .map(|(run, j)| (j.priority, j.since, run.clone()))
            .collect();
        queue.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)).then_with(|| a.2.in_order().cmp(&b.2.in_order())));
        for (_, _, run) in queue {
            let Some(wants) = self.jobs.get(&run).map(|j| j.wants) else { continue };
            let Some(slot) = self.slots.iter().position(|s| s.run.is_none() && self.fits(wants, s.device)) else {
                continue;
            };
            let Some(job) = self.jobs.get_mut(&run) else { continue };
            self.slots[slot].run = Some(run.clone());
            (job.state, job.slot, job.worker) = (RunState::Starting, Some(slot), true);
            (job.ended_at, job.stops, job.busy) = (None, 0, None);
            out.push(Effect::Changed { run: run.clone() });
            out.push(Effect::Spawn { run, device: self.slots[slot].device });
        }
    }

    fn release(&mut self, run: &RunId) {
        for slot in &mut self.slots {
            if slot.run.as_ref() == Some(run) {
                slot.run = None;
            }
        }
        if let Some(job) = self.jobs.get_mut(run) {
            job.slot = None;
        }
    }
}

fn end(job: &mut Job, state: RunState, reason: Option<String>) {
    (job.state, job.reason) = (state, reason);
}

/// Ends by an event, while the process may still be there.
fn end_at(job: &mut Job, now: f64, state: RunState, reason: Option<String>) {
    end(job, state, reason);
    // An event that the engine wrote itself, for want of a worker, is followed by no exit.
    job.ended_at = job.worker.then_some(now);
}

#[cfg(test)]
mod tests;
