//! Experiments in the engine: launching one, passing on what is asked of it, and keeping its own events up to what its jobs
//! are.

use kiln_protocol::run::{Origin, RunSummary};
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::{EventWriter, SpoolError};
use kiln_protocol::wire::{Reply, arm_series};
use kiln_protocol::{Body, Command, RunId, RunState, now};

use super::{Engine, ReplyTo, Tracked, unknown};
use crate::experiment::Experiment;
use crate::experiment::standing::{Look, Standing, standing};
use crate::ingest::REMOVED;
use crate::launch::{self, LaunchFile, Wanted};
use crate::recover::Asked;
use crate::scheduler::{Input, Job, Wants};

impl Engine {
    /// The jobs as they are now.
    fn looks(&self, experiment: &Experiment) -> Vec<Look<'_>> {
        let mut waiting = false;
        let look = |id: &RunId| {
            let (tracked, job) = (self.runs.get(id)?, self.scheduler.job(id));
            let state = job.map_or(tracked.summary.state, |job| job.state);
            // What the first one waits for, the others do too, and to find out takes its time.
            let reason = match state {
                RunState::Queued if std::mem::replace(&mut waiting, true) => None,
                RunState::Queued => self.scheduler.reason(id),
                _ => job.and_then(|job| job.reason.clone()),
            };
            let worker = job.is_some_and(Job::has_worker);
            let withheld = job.is_some_and(|job| job.withheld);
            Some(Look { summary: &tracked.summary, state, reason, worker, withheld })
        };
        experiment.jobs.iter().filter_map(look).collect()
    }

    fn standing(&self, run: &RunId) -> Option<Standing> {
        Some(standing(&self.looks(self.experiments.get(run)?)))
    }

    /// The row of an experiment: what its own events say, and what its jobs are now.
    pub(super) fn summary_of_experiment(&self, run: &RunId) -> Option<RunSummary> {
        let mut standing = self.standing(run)?;
        let mut summary = self.runs.get(run)?.summary.clone();
        let settled = self.experiments.get(run)?.is_over(&standing, summary.last_seq);
        if standing.state.is_ended() && !settled {
            // Whoever hears that it is over asks what it found, so that must be known first.
            let stopped = standing.state == RunState::Stopped;
            standing.state = if stopped { RunState::Stopping } else { RunState::Running };
        }
        (summary.state, summary.reason) = (standing.state, standing.reason);
        (summary.jobs, summary.progress) = (Some(standing.counts), standing.progress);
        summary.best = standing.best.or(summary.best);
        summary.pid = None;
        if standing.state != RunState::Running {
            summary.eta = None;
        }
        if !matches!(standing.state, RunState::Running | RunState::Stopping) {
            summary.at_work = None;
        }
        if !settled {
            summary.ended = None;
        }
        Some(summary)
    }

    /// Something about this job is new: its experiment is looked at once all that came with it is done.
    pub(super) fn touch(&mut self, job: &RunId) {
        if let Some((parent, _)) = job.parent() {
            self.dirty.insert(parent);
        }
    }

    /// Looks at the experiments whose jobs have changed.
    pub(super) fn settle(&mut self) {
        // Of an experiment that is just being found, not all jobs may be known.
        if self.finding || !self.asked.is_empty() {
            return;
        }
        for run in std::mem::take(&mut self.dirty) {
            self.write_due(&run);
            self.changed(&run);
        }
    }

    /// Brings the events of an experiment up to what its jobs are.
    fn write_due(&mut self, run: &RunId) {
        let Some(mut experiment) = self.experiments.remove(run) else { return };
        let looks = self.looks(&experiment);
        let bodies = experiment.due(now(), &looks, &standing(&looks));
        let written = if bodies.is_empty() { Ok(()) } else { self.write(run, &mut experiment, bodies) };
        match written {
            Ok(()) => experiment.trouble = None,
            Err(e) => {
                let said = e.to_string();
                if experiment.trouble.as_ref() != Some(&said) {
                    tracing::warn!("run {run}: what its jobs amount to is not in its log: {said}");
                }
                experiment.trouble = Some(said);
            }
        }
        self.experiments.insert(run.clone(), experiment);
    }

    fn write(&self, run: &RunId, experiment: &mut Experiment, bodies: Vec<Body>) -> Result<(), SpoolError> {
        let folder = self.options.home.run_folder(run);
        let mut writer = EventWriter::open(&folder)?;
        for body in bodies {
            let append = writer.append(body);
            let event =
                append.map_err(|source| SpoolError::Io { doing: "append to", path: folder.events(), source })?;
            experiment.wrote(&event);
        }
        self.ingest.read_once(run.clone());
        Ok(())
    }

    /// Once in a while: tries again to write what could not be written, and tells watchers what has grown.
    pub(super) fn tend(&mut self) {
        let late = self.experiments.iter().filter(|(_, e)| e.trouble.is_some());
        self.dirty.extend(late.map(|(run, _)| run.clone()));
        let grown = |(run, e): (&RunId, &mut Experiment)| {
            (!e.grown.is_empty()).then(|| (run.clone(), std::mem::take(&mut e.grown)))
        };
        let grown: Vec<_> = self.experiments.iter_mut().filter_map(grown).collect();
        for (run, series) in grown {
            self.watchers_do(|outbox| outbox.put_grown(&run, &series));
        }
    }

    /// A job's new events, in the store already.
    pub(super) fn heard_of_job(&mut self, job: &RunId, body: &Body) {
        let Some((parent, _)) = job.parent() else { return };
        let arm = self.runs.get(job).and_then(|t| t.summary.arm.clone());
        let Some(experiment) = self.experiments.get_mut(&parent) else { return };
        match body {
            Body::Points { series, .. } => experiment.grown.extend(arm_series(arm.as_deref(), series)),
            Body::Completed { outcome } => experiment.found(job, outcome),
            Body::Started { .. } => experiment.begins(job),
            _ => {}
        }
    }

    /// An experiment was found at the engine's start; its jobs come next.
    pub(super) fn found_experiment(&mut self, spec: &Spec, asked: Asked, summary: RunSummary) {
        let run = summary.id.clone();
        self.experiments.insert(run.clone(), Experiment::new(&run, spec, summary.clone()));
        self.runs.insert(run.clone(), Tracked::new(summary));
        self.asked.insert(run, asked);
    }

    /// All runs were found: what was asked of experiments is carried out where an engine died over it.
    pub(super) fn found_all_experiments(&mut self) {
        for (run, asked) in std::mem::take(&mut self.asked) {
            self.withhold(&run, asked.paused);
            let again = match asked {
                Asked { pause: true, .. } => Some(Command::Pause),
                Asked { stop: true, .. } => Some(Command::Stop),
                Asked { resume: true, .. } => Some(Command::Resume),
                _ => None,
            };
            // What it was asked for and does not need any more is refused, and that is all.
            if let Some(Err(e)) = again.map(|command| self.pass_on(&run, &command)) {
                tracing::debug!("{e}");
            }
            let Some(mut experiment) = self.experiments.remove(&run) else { continue };
            let looks = self.looks(&experiment);
            experiment.adopt(&looks, &standing(&looks));
            self.experiments.insert(run.clone(), experiment);
            self.dirty.insert(run);
        }
    }

    fn jobs_of(&self, run: &RunId) -> Vec<(RunId, RunState)> {
        let jobs = self.experiments.get(run).map(|e| e.jobs.as_slice()).unwrap_or_default();
        jobs.iter().filter_map(|id| Some((id.clone(), self.scheduler.job(id)?.state))).collect()
    }

    fn withhold(&mut self, run: &RunId, withheld: bool) {
        for (job, state) in self.jobs_of(run) {
            if !state.is_ended() || !withheld {
                self.tell(Input::Withhold { run: job, withheld });
            }
        }
    }

    /// A command for an experiment as a whole.
    pub(super) fn steer(&mut self, run: &RunId, command: Command) -> Result<(), String> {
        let state = self.standing(run).ok_or_else(|| unknown(run))?.state;
        let refuse = |what: &str| Err(format!("run {run} is {state}; {what}"));
        match (&command, state) {
            (Command::Pause, RunState::Paused) => return refuse("resume lets it go on"),
            (Command::Pause, RunState::Stopping) => return refuse("wait until it has stopped"),
            (Command::Pause | Command::Checkpoint, state) if state.is_ended() => return refuse("resume it first"),
            (Command::Stop, state) if state.is_ended() => return refuse("it has ended already"),
            _ => {}
        }
        // Written down first: should the engine die over it, the next one knows what was asked.
        if matches!(command, Command::Pause | Command::Resume | Command::Stop) {
            self.control(run, command.clone())?;
        }
        self.pass_on(run, &command)
    }

    /// Passes a command on to the jobs that it makes sense for.
    fn pass_on(&mut self, run: &RunId, command: &Command) -> Result<(), String> {
        let mut jobs = self.jobs_of(run);
        let suits: fn(RunState) -> bool = match command {
            Command::Pause => |s| matches!(s, RunState::Starting | RunState::Running),
            Command::Resume => |s| matches!(s, RunState::Paused | RunState::Stopped | RunState::Failed),
            Command::Stop => |s| !s.is_ended(),
            Command::Checkpoint => |s| matches!(s, RunState::Running | RunState::Paused),
            Command::Set { .. } => |s| s != RunState::Completed,
        };
        let mut done = 0;
        match command {
            // Those that wait first, so that none starts on a device that becomes free.
            Command::Pause => {
                done += jobs.iter().filter(|(_, state)| *state == RunState::Queued).count();
                self.withhold(run, true);
            }
            Command::Stop => {
                self.withhold(run, true);
                jobs.sort_by_key(|(_, state)| *state != RunState::Queued);
            }
            // A pause may be on its way to a job that still works: it is taken back.
            Command::Resume => {
                done += jobs.iter().filter(|(id, _)| self.scheduler.job(id).is_some_and(|j| j.withheld)).count();
                self.withhold(run, false);
                let on_its_way = |id: &RunId| self.scheduler.job(id).is_some_and(|j| j.paused && j.state.is_live());
                let late: Vec<RunId> = jobs.iter().map(|j| j.0.clone()).filter(on_its_way).collect();
                for job in late {
                    done += usize::from(self.try_tell(Input::Control { run: job, command: Command::Resume }).is_ok());
                }
                jobs = self.jobs_of(run);
            }
            _ => {}
        }
        let mut error = None;
        for (job, _) in jobs.into_iter().filter(|(_, state)| suits(*state)) {
            match self.try_tell(Input::Control { run: job, command: command.clone() }) {
                Ok(()) => done += 1,
                Err(e) => drop(error.get_or_insert(e)),
            }
        }
        if *command == Command::Stop {
            self.withhold(run, false);
        }
        self.dirty.insert(run.clone());
        match error {
            _ if done > 0 => Ok(()),
            Some(e) => Err(e),
            None => {
                let what = match command {
                    Command::Resume => "none of its jobs is paused, stopped or failed",
                    Command::Checkpoint => "none of its jobs is at work",
                    _ => "nothing is left to do",
                };
                let state = self.standing(run).map_or(RunState::Failed, |s| s.state);
                Err(format!("run {run} is {state}; {what}"))
            }
        }
    }

    /// Queues a run, or the jobs of an experiment.
    pub(super) fn launch(
        &mut self,
        preset: &str,
        spec: &str,
        priority: i32,
        origin: Option<&Origin>,
    ) -> Result<Reply, String> {
        let parsed = Spec::from_toml("the preset", spec).map_err(|problems| problems.to_string())?;
        let jobs = parsed.jobs()?;
        let wants = |spec: &Spec| {
            let device = &spec.run.device;
            let wants = Wants::parse(device)
                .ok_or_else(|| format!("`run.device` is `{device}`; auto, cpu, cuda or cuda:N are expected"))?;
            self.scheduler.suits(wants).map(|()| wants)
        };
        let own = if jobs.is_empty() { Some(wants(&parsed)?) } else { None };
        let of_jobs = jobs.iter().map(|job| wants(&job.spec)).collect::<Result<Vec<Wants>, String>>()?;
        let (run, file) = launch::create(&self.options.home, Wanted { preset, spec, priority, origin, jobs: &jobs })?;
        // The disk may have filled since the last tick, and the next effect may be a start.
        self.tell(Input::Hold(self.low_disk()));
        let summary = file.summary(&run, Some(&parsed));
        self.ingest.add(summary.clone());
        if !jobs.is_empty() {
            self.experiments.insert(run.clone(), Experiment::new(&run, &parsed, summary.clone()));
            tracing::info!("run {run}: an experiment of {} jobs", jobs.len());
        }
        self.runs.insert(run.clone(), Tracked::new(summary));
        let queue = |engine: &mut Engine, run: RunId, wants, retries| {
            tracing::info!("run {run}: queued");
            engine.tell(Input::Add { run, job: Job::queued(wants, priority, retries, file.created) });
        };
        if let Some(wants) = own {
            queue(self, run.clone(), wants, parsed.run.retries);
        }
        // All are known before the first is started: a row of the experiment never shows a part of them.
        for job in &jobs {
            let file = LaunchFile { arm: job.arm.clone(), ..file.clone() };
            let summary = file.summary(&run.job(job.n), Some(&job.spec));
            self.ingest.add(summary.clone());
            self.runs.insert(summary.id.clone(), Tracked::new(summary));
        }
        for (job, wants) in jobs.iter().zip(of_jobs) {
            queue(self, run.job(job.n), wants, job.spec.run.retries);
        }
        Ok(Reply::Launched { run })
    }

    /// Moves a queued run, or the jobs of an experiment that wait.
    pub(super) fn priority(&mut self, run: &RunId, priority: i32) -> Result<Reply, String> {
        if self.experiments.contains_key(run) {
            let waits = |job: &(RunId, RunState)| job.1 == RunState::Queued;
            let jobs: Vec<RunId> = self.jobs_of(run).into_iter().filter(waits).map(|j| j.0).collect();
            if jobs.is_empty() {
                return Err(format!("none of the jobs of run {run} waits; only those have a place to change"));
            }
            for job in jobs {
                self.priority(&job, priority)?;
            }
            self.dirty.insert(run.clone());
        } else {
            self.try_tell(Input::Priority { run: run.clone(), priority })?;
        }
        let folder = self.options.home.run_folder(run);
        let mut file = LaunchFile::read(&folder, run);
        file.priority = priority;
        if let Some(tracked) = self.runs.get_mut(run) {
            tracked.summary.priority = priority;
        }
        self.ingest.facts(run.clone(), file.clone());
        file.write(&folder).map(|()| Reply::Done)
    }

    /// Takes up a run whose folder somebody put among the runs.
    pub(super) fn adopt(&mut self, run: RunId, reply: ReplyTo) {
        let folder = self.options.home.run_folder(&run);
        let refused = if !RunId::is_valid(&run.0) {
            Some(format!("`{run}` is no name of a run"))
        } else if self.runs.contains_key(&run) {
            Some(format!("there is a run `{run}` already"))
        } else if !folder.spec().is_file() {
            Some(format!("{} is no run folder: it has no spec.toml", folder.path().display()))
        } else {
            None
        };
        match refused {
            Some(said) => drop(reply.send(Err(said))),
            None => self.ingest.adopt(run, reply),
        }
    }

    /// Removes a run, an experiment with all its jobs.
    pub(super) fn remove(&mut self, run: RunId, reply: ReplyTo) {
        if let Err(e) = self.take_away(&run) {
            self.put_back();
            return drop(reply.send(Err(e)));
        }
        // Out of sight in one step; what takes its time follows on another thread.
        let folder = self.options.home.run_dir(&run);
        let trash = self.options.home.runs_dir().join(format!("{REMOVED}{run}"));
        let mut all = vec![run.clone()];
        all.extend(self.experiments.get(&run).map(|e| e.jobs.clone()).unwrap_or_default());
        all.retain(|id| self.runs.contains_key(id));
        if let Err(e) = std::fs::rename(&folder, &trash) {
            self.put_back();
            return drop(reply.send(Err(format!("run {run} was not removed: {}: {e}", folder.display()))));
        }
        self.taken.clear();
        self.experiments.remove(&run);
        all.iter().for_each(|id| drop(self.runs.remove(id)));
        self.ingest.remove(all, trash, reply);
    }

    fn put_back(&mut self) {
        for (run, job) in std::mem::take(&mut self.taken) {
            self.tell(Input::Add { run, job });
        }
    }

    /// Takes a run out of the scheduler, or all jobs of an experiment; what is taken is remembered until the folder is gone.
    fn take_away(&mut self, run: &RunId) -> Result<(), String> {
        if let Some((parent, _)) = run.parent() {
            let hint = format!("`kiln rm {parent}` removes it with all its jobs");
            return Err(format!("run {run} is a job of {parent} and is not removed alone; {hint}"));
        }
        let jobs = match self.experiments.contains_key(run) {
            false => vec![run.clone()],
            true => {
                let standing = self.standing(run).ok_or_else(|| unknown(run))?;
                let ending =
                    self.jobs_of(run).iter().any(|(id, _)| self.scheduler.job(id).is_some_and(Job::has_worker));
                if !standing.state.is_ended() {
                    return Err(format!("run {run} is {}; stop it first, then remove it", standing.state));
                }
                if ending {
                    return Err(format!("a worker of run {run} is still ending; try again in a moment"));
                }
                self.jobs_of(run).into_iter().map(|(id, _)| id).collect()
            }
        };
        for id in jobs {
            let job = self.scheduler.job(&id).cloned();
            self.try_tell(Input::Remove { run: id.clone() })?;
            self.taken.extend(job.map(|job| (id, job)));
        }
        Ok(())
    }
}
