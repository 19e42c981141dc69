//! What a run folder says about its run when an engine finds it: the way back after the engine's own death.

use kiln_protocol::run::RunSummary;
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::{ControlTail, RunFolder, SpoolError, WorkerInfo};
use kiln_protocol::{Body, Command, Control, Event, Outcome, RunId, RunState};

use crate::launch::{LaunchFile, read_spec};
use crate::scheduler::{Device, Exit, Input, Job, Wants};
use crate::worker::{Life, Process};

/// A run as found, all its events read.
#[derive(Clone, Debug)]
pub struct Found {
    pub run: RunId,
    /// What the scheduler is to be told, in order.
    pub inputs: Vec<Input>,
    /// The worker that is alive, where it is known which.
    pub process: Option<Process>,
    /// Whether a worker is alive.
    pub alive: bool,
    /// Of a job of an experiment that has completed: what it found.
    pub outcome: Option<Outcome>,
}

/// What a person last asked of an experiment as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Paused: jobs that wait are not to be started.
    pub paused: bool,
    /// Asked for after its last turn, so that perhaps not all jobs have heard of it.
    pub pause: bool,
    pub stop: bool,
    pub resume: bool,
}

/// The settings of an experiment; an error for any other run. `jobs`: whether it has any.
pub fn read_experiment(folder: &RunFolder, jobs: bool) -> Result<Spec, String> {
    if !jobs {
        return Err("it has no jobs".into());
    }
    read_spec(folder)
        .and_then(|spec| if spec.is_experiment() { Ok(spec) } else { Err("it has no arms or seeds".into()) })
}

/// What was last asked of an experiment, given all its events.
pub fn asked(folder: &RunFolder, events: &[Event]) -> Asked {
    let turns = |body: &Body| {
        matches!(body, Body::Started { .. } | Body::Paused { .. } | Body::Resumed { .. }) || body.ends_attempt()
    };
    let turn = events.iter().rev().find(|e| turns(&e.body)).map_or(0.0, |e| e.t);
    let whole = |c: &&Control| matches!(c.command, Command::Pause | Command::Resume | Command::Stop);
    let controls = all_controls(folder);
    let Some(last) = controls.iter().rev().find(whole) else { return Asked::default() };
    let lately = |command| last.command == command && last.t > turn;
    Asked {
        paused: last.command == Command::Pause,
        pause: lately(Command::Pause),
        stop: lately(Command::Stop),
        resume: lately(Command::Resume),
    }
}

/// Makes of a run what its folder says.
///
/// `life` must have been looked at *before* the events were read to their end: then a worker that was dead has written
/// nothing after them. `summary` has all of them applied; `starts` counts the `Started` events since the last event that ended
/// an attempt, so every one of them but a living one was a death.
pub fn find(folder: &RunFolder, life: Result<Life, SpoolError>, summary: &RunSummary, starts: u32) -> Found {
    let run = summary.id.clone();
    let launch = LaunchFile::read(folder, &run);
    let spec = read_spec(folder).and_then(|spec| match spec.is_experiment() {
        false => Ok(spec),
        true => Err(format!(
            "{} has arms or seeds, but there are no jobs beside it; launch the preset again",
            folder.spec().display()
        )),
    });
    let controls = all_controls(folder);
    let mut job = job_of(&spec, launch.priority, summary);
    job.paused = wants_pause(&controls);
    let (mut process, mut alive) = (None, false);
    let inputs = match (life, spec) {
        (Err(e), _) => vec![add(&run, ended(job, RunState::Failed, e.to_string()))],
        (Ok(Life::Alive(info)), spec) => {
            alive = true;
            process = info.as_ref().map(|i| Process { pid: i.pid, start_time: i.start_time });
            let device = device_of(info.as_ref(), &spec);
            // Whether its first event is among those that were read; else all of them are of attempts before.
            let begun = info.as_ref().is_some_and(|i| i.attempt <= summary.attempts);
            let over = summary.state.is_ended() && asked_again(&controls, summary).is_none();
            job.deaths = starts.saturating_sub(u32::from(begun));
            job.state = match &info {
                // Its last event is written and the process not gone yet, or only something that it had started.
                _ if over => summary.state,
                Some(info) if asked_to_stop(&controls, info.started) => RunState::Stopping,
                // Ended, not gone yet, and asked for again already: it waits for that.
                _ if begun && summary.state.is_ended() => RunState::Queued,
                _ if begun => summary.state,
                _ => RunState::Starting,
            };
            vec![Input::Adopt { run: run.clone(), job, device }]
        }
        (Ok(Life::Dead), Err(problem)) if !summary.state.is_ended() => {
            vec![add(&run, ended(job, RunState::Failed, problem))]
        }
        (Ok(Life::Dead), _) if summary.state.is_ended() => match asked_again(&controls, summary) {
            Some(since) => {
                job.since = since;
                (job.state, job.reason) = (RunState::Queued, None);
                vec![add(&run, job)]
            }
            None => vec![add(&run, job)],
        },
        // Never started: it waits still.
        (Ok(Life::Dead), _) if starts == 0 => {
            job.state = RunState::Queued;
            vec![add(&run, job)]
        }
        // It died while no engine was there to see it. The scheduler treats it as it would have then.
        (Ok(Life::Dead), _) => {
            job.deaths = starts - 1;
            let last = WorkerInfo::read(folder).ok().flatten();
            if last.is_some_and(|worker| asked_to_stop(&controls, worker.started)) {
                job.state = RunState::Stopping;
            }
            let device = None;
            vec![
                Input::Adopt { run: run.clone(), job, device },
                Input::Exited { run: run.clone(), exit: Exit::Unknown, said: None },
            ]
        }
    };
    Found { run, inputs, process, alive, outcome: None }
}

fn add(run: &RunId, job: Job) -> Input {
    Input::Add { run: run.clone(), job }
}

fn job_of(spec: &Result<Spec, String>, priority: i32, summary: &RunSummary) -> Job {
    let wants = spec.as_ref().ok().and_then(|s| Wants::parse(&s.run.device)).unwrap_or(Wants::Auto);
    let retries = spec.as_ref().map_or(0, |s| s.run.retries);
    let mut job = Job::queued(wants, priority, retries, summary.created);
    (job.state, job.reason) = (summary.state, summary.reason.clone());
    job
}

fn ended(mut job: Job, state: RunState, reason: String) -> Job {
    (job.state, job.reason) = (state, Some(reason));
    job
}

/// The device that a living worker occupies.
fn device_of(info: Option<&WorkerInfo>, spec: &Result<Spec, String>) -> Option<Device> {
    // One that has not said yet where it runs: only the CPU can be told from the settings.
    let named = match (info, spec) {
        (Some(info), _) => info.device.as_str(),
        (None, Ok(spec)) => spec.run.device.as_str(),
        (None, Err(_)) => return None,
    };
    match Wants::parse(named)? {
        Wants::Cpu => Some(Device::Cpu),
        Wants::Cuda(n) => n.map(Device::Cuda),
        Wants::Auto => None,
    }
}

fn all_controls(folder: &RunFolder) -> Vec<Control> {
    let mut tail = ControlTail::open(folder, 0);
    let mut all = Vec::new();
    loop {
        match tail.poll() {
            Ok(batch) => {
                all.extend(batch.items);
                if !batch.more {
                    return all;
                }
            }
            Err(e) => {
                tracing::warn!("{e}");
                return all;
            }
        }
    }
}

/// When a person asked for an ended run again, after its end.
fn asked_again(controls: &[Control], summary: &RunSummary) -> Option<f64> {
    if summary.state == RunState::Completed {
        return None;
    }
    let ended = summary.ended?;
    let resume = controls.iter().rev().find(|c| c.command == Command::Resume)?;
    (resume.t > ended).then_some(resume.t)
}

fn wants_pause(controls: &[Control]) -> bool {
    let last = controls.iter().rev().find(|c| matches!(c.command, Command::Pause | Command::Resume));
    last.is_some_and(|c| c.command == Command::Pause)
}

fn asked_to_stop(controls: &[Control], started: f64) -> bool {
    controls.iter().any(|c| c.command == Command::Stop && c.t >= started)
}

/// Counts the attempts since the last event that ended one; feed it all events in order.
pub fn count_starts(count: &mut u32, body: &Body) {
    match body {
        Body::Started { .. } => *count += 1,
        body if body.ends_attempt() => *count = 0,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Scheduler;
    use crate::worker::look;
    use kiln_protocol::reduce::{Pace, reduce};
    use kiln_protocol::spool::{ControlWriter, EventWriter};

    /// A run folder under construction.
    struct Bench {
        _dir: tempfile::TempDir,
        folder: RunFolder,
        summary: RunSummary,
        pace: Pace,
        starts: u32,
    }

    const SPEC: &str =
        "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n[run]\nretries = 1\n";

    impl Bench {
        fn new() -> Bench {
            let dir = tempfile::tempdir().unwrap();
            let folder = RunFolder::new(dir.path().join("digits-0001"));
            folder.create(SPEC).unwrap();
            let summary = RunSummary::queued(RunId("digits-0001".into()), 1.0);
            Bench { _dir: dir, folder, summary, pace: Pace::default(), starts: 0 }
        }

        fn event(&mut self, body: Body) {
            let event = EventWriter::open(&self.folder).unwrap().append(body).unwrap();
            count_starts(&mut self.starts, &event.body);
            reduce(&mut self.summary, &mut self.pace, &event);
        }

        fn started(&mut self) {
            self.event(Body::Started {
                attempt: self.starts + 1,
                resumed_from: None,
                device: "cpu (2 cores)".into(),
                host: "here".into(),
                pid: 1,
                version: "0".into(),
                x_max: Default::default(),
                x_unit: Default::default(),
            });
        }

        fn control(&self, command: Command) {
            ControlWriter::open(&self.folder).unwrap().append(command).unwrap();
        }

        /// The state that a new engine gives the run, its reason, and whether a worker would be started.
        fn outcome(&self) -> (RunState, String, bool) {
            let found = find(&self.folder, look(&self.folder), &self.summary, self.starts);
            let mut scheduler = Scheduler::new(&[Device::Cpu]);
            let mut effects = Vec::new();
            for input in found.inputs {
                effects.extend(scheduler.handle(100.0, input).unwrap());
            }
            let run = &self.summary.id;
            let spawns = effects.iter().any(|e| matches!(e, crate::scheduler::Effect::Spawn { .. }));
            (scheduler.job(run).unwrap().state, scheduler.reason(run).unwrap_or_default(), spawns)
        }
    }

    #[test]
    fn a_run_that_never_started_waits_and_one_that_died_goes_on_or_fails() {
        let mut b = Bench::new();
        assert_eq!(b.outcome(), (RunState::Starting, String::new(), true));
        b.started();
        let (state, reason, spawns) = b.outcome();
        assert!(state == RunState::Starting && spawns && reason.contains("retry 1 of 1"), "{reason}");
        b.started();
        let (state, reason, spawns) = b.outcome();
        assert!(state == RunState::Failed && !spawns && reason.contains("1 times"), "{reason}");
    }

    #[test]
    fn an_ended_run_stays_so_until_somebody_asks() {
        let mut b = Bench::new();
        b.started();
        b.event(Body::Stopped { step: 5, reason: "asked to stop".into() });
        assert_eq!(b.outcome(), (RunState::Stopped, "asked to stop".into(), false));
        b.control(Command::Stop);
        b.control(Command::Set { key: "a".into(), value: "1".into() });
        assert!(!b.outcome().2);
        b.control(Command::Resume);
        assert_eq!(b.outcome(), (RunState::Starting, String::new(), true));
        b.started();
        b.event(Body::Completed { outcome: Box::default() });
        b.control(Command::Resume);
        assert_eq!(b.outcome(), (RunState::Completed, String::new(), false));
    }

    #[test]
    fn a_living_worker_is_adopted_with_what_it_was_asked() {
        let mut b = Bench::new();
        WorkerInfo::of_this_process("cpu", "0", 1).write(&b.folder).unwrap();
        b.started();
        assert_eq!(b.outcome(), (RunState::Running, String::new(), false));
        let found = find(&b.folder, look(&b.folder), &b.summary, b.starts);
        assert!(found.alive && found.process.map(|p| p.pid) == Some(std::process::id()));
        assert!(matches!(&found.inputs[..], [Input::Adopt { device: Some(Device::Cpu), .. }]), "{:?}", found.inputs);
        b.event(Body::Paused { reason: "asked to pause".into() });
        assert_eq!(b.outcome(), (RunState::Paused, "asked to pause".into(), false));
        b.control(Command::Stop);
        assert_eq!(b.outcome().0, RunState::Stopping);
    }

    #[test]
    fn a_worker_that_lingers_or_has_not_begun_is_told_apart() {
        let mut b = Bench::new();
        WorkerInfo::of_this_process("cpu", "0", 1).write(&b.folder).unwrap();
        assert_eq!(b.outcome().0, RunState::Starting, "it has said who it is, and nothing else");
        b.started();
        b.event(Body::Stopped { step: 5, reason: "asked to stop".into() });
        let (state, _, spawns) = b.outcome();
        assert!(state == RunState::Stopped && !spawns, "{state}: it is about to go");
        b.control(Command::Resume);
        assert_eq!(b.outcome(), (RunState::Queued, "asked to stop".into(), false), "it must go first");
        WorkerInfo::of_this_process("cpu", "0", 2).write(&b.folder).unwrap();
        assert_eq!(b.outcome().0, RunState::Starting, "the second attempt");
    }

    #[test]
    fn one_that_died_while_stopping_has_stopped() {
        let mut b = Bench::new();
        let mut info = WorkerInfo::of_this_process("cpu", "0", 1);
        info.start_time += 1;
        info.write(&b.folder).unwrap();
        b.started();
        b.control(Command::Stop);
        let (state, reason, spawns) = b.outcome();
        assert!(state == RunState::Stopped && !spawns && reason.contains("while stopping"), "{reason}");
    }

    #[test]
    fn settings_that_cannot_be_read_fail_the_run_with_the_file() {
        let b = Bench::new();
        std::fs::write(b.folder.spec(), "method = \"nonsense\"").unwrap();
        let (state, reason, spawns) = b.outcome();
        assert!(state == RunState::Failed && !spawns && reason.contains("spec.toml"), "{reason}");
    }
}
