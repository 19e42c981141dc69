//! The loop of the fake worker: events, control, checkpoints. What it shows is made in [`search`] and [`training`].

mod search;
mod training;

use std::path::Path;
use std::time::{Duration, Instant};

use kiln_protocol::checkpoint;
use kiln_protocol::record::{Program, Record};
use kiln_protocol::run::Progress;
use kiln_protocol::spec::{Spec, seed::derive};
use kiln_protocol::spool::{ControlTail, EventWriter, RunFolder, WorkerInfo, host_name};
use kiln_protocol::{Body, Command, Level};
use serde_json::json;

use search::Search;

type Error = Box<dyn std::error::Error>;

/// Status of a worker that stopped on request.
const STOPPED: u8 = 3;

/// What `KILN_FAKE` says.
pub struct Script {
    pub steps: u64,
    pub ms: u64,
    pub candidates: u64,
    checkpoint: u64,
    start_ms: u64,
    die_at: u64,
    die_times: u64,
    fail_at: u64,
    exit_at: u64,
    /// The only job of an experiment that misbehaves; 0 for all runs.
    only_job: u64,
    enospc: u64,
    enospc_ms: u64,
    burst: u64,
    deaf: u64,
    pictures: u64,
}

const NEVER: u64 = u64::MAX;

impl Script {
    fn parse(text: &str) -> Result<Script, Error> {
        let mut s = Script {
            steps: 600,
            ms: 50,
            candidates: 24,
            checkpoint: 50,
            start_ms: 0,
            die_at: NEVER,
            die_times: 1,
            fail_at: NEVER,
            exit_at: NEVER,
            only_job: 0,
            enospc: NEVER,
            enospc_ms: 1000,
            burst: 0,
            deaf: 0,
            pictures: 0,
        };
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("KILN_FAKE: `{part}` is no key=value"))?;
            let value: u64 = value.trim().parse().map_err(|_| format!("KILN_FAKE: `{value}` is no whole number"))?;
            *match key.trim() {
                "steps" => &mut s.steps,
                "ms" => &mut s.ms,
                "candidates" => &mut s.candidates,
                "checkpoint" => &mut s.checkpoint,
                "start_ms" => &mut s.start_ms,
                "die_at" => &mut s.die_at,
                "die_times" => &mut s.die_times,
                "fail_at" => &mut s.fail_at,
                "exit_at" => &mut s.exit_at,
                "only_job" => &mut s.only_job,
                "enospc" => &mut s.enospc,
                "enospc_ms" => &mut s.enospc_ms,
                "burst" => &mut s.burst,
                "deaf" => &mut s.deaf,
                "pictures" => &mut s.pictures,
                other => return Err(format!("KILN_FAKE: unknown key `{other}`").into()),
            } = value;
        }
        Ok(s)
    }
}

/// What a worker carries from step to step, and what a checkpoint holds.
struct Worker {
    folder: RunFolder,
    script: Script,
    events: EventWriter,
    control: ControlTail,
    attempt: u32,
    seed: u64,
    step: u64,
    /// Stands for the weights: depends on every step and on nothing else.
    digest: u64,
}

/// What the commands so far amount to.
enum Asked {
    Go,
    Stop,
}

/// Plays the whole attempt; returns the exit status.
pub fn run(path: &Path) -> Result<u8, Error> {
    let mut script = Script::parse(&std::env::var("KILN_FAKE").unwrap_or_default())?;
    let job = path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
    if script.only_job > 0 && job != Some(script.only_job) {
        (script.die_at, script.fail_at, script.exit_at) = (NEVER, NEVER, NEVER);
    }
    std::thread::sleep(Duration::from_millis(script.start_ms));
    let folder = RunFolder::new(path);
    let text = std::fs::read_to_string(folder.spec())?;
    let spec = Spec::from_toml("spec.toml", &text).map_err(|e| e.to_string())?;
    let events = EventWriter::open(&folder)?;
    let attempt = WorkerInfo::read(&folder)?.map_or(1, |w| w.attempt + 1);
    let device = std::env::var("KILN_DEVICE").unwrap_or_else(|_| "cpu".into());
    WorkerInfo::of_this_process(&device, env!("CARGO_PKG_VERSION"), attempt).write(&folder)?;
    let kiln = Program { version: env!("CARGO_PKG_VERSION").into(), ..Program::default() };
    let record =
        Record { kiln, device: device.clone(), device_words: device.clone(), ..Record::here(&text, &spec, attempt) };
    record.append(&folder)?;
    let (control, knobs) = ControlTail::start(&folder, ControlTail::from_env())?;
    let mut worker = Worker { folder, script, events, control, attempt, seed: spec.seed, step: 0, digest: spec.seed };
    let mut search = Search::new(spec.seed, &worker.script);

    let latest = checkpoint::latest(&worker.folder.checkpoints())?;
    if let Some(saved) = &latest.checkpoint {
        worker.step = saved.step;
        let digest = saved.state["digest"].as_str().ok_or("the checkpoint has no digest")?;
        worker.digest = u64::from_str_radix(digest, 16)?;
    }
    worker.say(Body::Started {
        attempt,
        resumed_from: latest.checkpoint.map(|c| c.step),
        device,
        host: host_name(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        x_max: search.x_max(),
        x_unit: Default::default(),
    })?;
    for sentence in latest.skipped {
        worker.say(Body::Log { level: Level::Warn, message: sentence })?;
    }
    for (key, value) in knobs {
        worker.say(Body::KnobSet { key, value, x: 0.0 })?;
    }
    for body in search.catch_up(worker.step) {
        worker.say(body)?;
    }
    worker.play(&mut search)
}

impl Worker {
    fn play(&mut self, search: &mut Search) -> Result<u8, Error> {
        let total = self.script.steps;
        let mut due = Instant::now();
        while self.step < total {
            if let Asked::Stop = self.obey()? {
                self.save()?;
                self.say(Body::Stopped { step: self.step, reason: "asked to stop".into() })?;
                return Ok(STOPPED);
            }
            self.misbehave()?;
            if self.step == self.script.fail_at {
                self.say(Body::Failed { message: format!("the script says to fail at step {}", self.step) })?;
                return Ok(1);
            }
            self.step += 1;
            self.digest = derive(self.digest, "step", self.step, 0);
            for body in search.step(self.step) {
                self.say(body)?;
            }
            if self.script.pictures > 0 && self.step.is_multiple_of(self.script.pictures) {
                for body in training::views(self.seed, self.step as f64 / total as f64) {
                    self.say(body)?;
                }
            }
            if self.script.burst > 0 {
                let n = self.script.burst;
                let at = |i: u64| (self.step - 1) as f64 + i as f64 / n as f64;
                let points = (0..n).map(|i| [at(i), (at(i) / 10.0).sin()]).collect();
                self.say(Body::Points { series: "burst".into(), points })?;
            }
            let note = search.note(self.step);
            self.say(Body::Progress(Progress {
                done: self.step as f64,
                total: total as f64,
                unit: "steps".into(),
                note,
            }))?;
            if self.step.is_multiple_of(self.script.checkpoint) {
                self.save()?;
            }
            // Paced by the clock, so that a busy machine does not make the run longer.
            due += Duration::from_millis(self.script.ms);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let outcome = Box::new(search.outcome(self.digest));
        self.say(Body::Completed { outcome })?;
        Ok(0)
    }

    fn say(&mut self, body: Body) -> Result<(), Error> {
        self.events.append(body)?;
        Ok(())
    }

    fn save(&mut self) -> Result<(), Error> {
        let state = json!({ "step": self.step, "digest": format!("{:016x}", self.digest) });
        let written = checkpoint::write(&self.folder.checkpoints(), self.step, &state, &[])?;
        self.say(Body::Checkpoint { step: written.step, bytes: written.bytes, seconds: written.seconds })
    }

    /// What the script wants to go wrong at this step.
    fn misbehave(&mut self) -> Result<(), Error> {
        let s = &self.script;
        if self.step == s.die_at && u64::from(self.attempt) <= s.die_times {
            // The program itself must not use unsafe code, so it asks the shell's `kill`.
            std::process::Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status()?;
            std::thread::sleep(Duration::from_secs(60));
        }
        if self.step == s.exit_at {
            return Err(format!("the script says to give up at step {}", self.step).into());
        }
        if self.step == s.enospc {
            let wait = Duration::from_millis(s.enospc_ms);
            self.script.enospc = NEVER;
            self.say(Body::Paused { reason: "the disk is full: waiting for room".into() })?;
            std::thread::sleep(wait);
            self.say(Body::Resumed { reason: "there is room again".into() })?;
        }
        Ok(())
    }

    /// Carries out the commands that came since, idling while paused.
    fn obey(&mut self) -> Result<Asked, Error> {
        let mut paused = false;
        let mut beat = Instant::now();
        loop {
            let commands = if self.script.deaf == 1 { Vec::new() } else { self.control.poll()?.items };
            for control in commands {
                match control.command {
                    Command::Pause if !paused => {
                        paused = true;
                        self.say(Body::Paused { reason: "asked to pause".into() })?;
                    }
                    Command::Resume if paused => {
                        paused = false;
                        self.say(Body::Resumed { reason: "asked to go on".into() })?;
                    }
                    Command::Pause | Command::Resume => {}
                    Command::Stop => return Ok(Asked::Stop),
                    Command::Checkpoint => self.save()?,
                    Command::Set { key, value } => self.say(Body::KnobSet { key, value, x: self.step as f64 })?,
                }
            }
            if !paused {
                return Ok(Asked::Go);
            }
            if beat.elapsed() > Duration::from_secs(2) {
                beat = Instant::now();
                self.say(Body::Beat { rss: 64 << 20, device_memory: 0 })?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
