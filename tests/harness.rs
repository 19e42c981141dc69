//! An engine of a test's own: a fresh home, the engine as a process of its own (so that it can be killed), the fake
//! worker, and questions about what became of a run.
//!
//! Everything here panics when something is not as it should be; it is for tests only.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kiln_protocol::client::Client;
use kiln_protocol::home::Home;
use kiln_protocol::spool::{EventTail, WorkerInfo};
use kiln_protocol::wire::{Reply, Request, RunDetail, Status};
use kiln_protocol::{Body, Command as Control, Event, RunId, RunState, RunSummary};

/// Longest that anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A spec that every version of Kiln can read; the fake worker uses its seed only.
pub const SPEC: &str =
    "method = \"train\"\ntitle = \"A test\"\nseed = 7\n\n[data]\nset = \"digits\"\n\n[space]\nname = \"digits-mlp\"\n";

/// An engine under test. Dropping it ends the engine and every worker that is left.
pub struct Bench {
    dir: tempfile::TempDir,
    pub home: Home,
    vars: BTreeMap<String, String>,
    engine: Option<Child>,
}

impl Bench {
    /// A fresh home; `fake` scripts the workers (see `fake_worker.rs`). No engine yet.
    pub fn new(fake: &str) -> Bench {
        Bench::in_folder(fake, "home")
    }

    /// As [`Bench::new`], with the home at this path below a temporary folder.
    pub fn in_folder(fake: &str, path: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join(path)).unwrap();
        let worker = crate::program("kiln-fake-worker").display().to_string();
        let vars =
            [("KILN_FAKE", fake), ("KILN_WORKER", worker.as_str()), ("KILN_CUDA", "off"), ("KILN_MIN_FREE_MB", "1")];
        let vars = vars.map(|(k, v)| (k.to_string(), v.to_string())).into();
        Bench { dir, home, vars, engine: None }
    }

    /// As [`Bench::new`], with an engine.
    pub fn running(fake: &str) -> Bench {
        let mut bench = Bench::new(fake);
        bench.start();
        bench
    }

    /// The temporary folder that all lies in.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Sets an environment variable for engines started from now on.
    pub fn var(&mut self, name: &str, value: &str) -> &mut Bench {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// The command that starts an engine.
    pub fn engine_command(&self) -> Command {
        let mut command = Command::new(crate::program("kiln-test-engine"));
        command.envs(&self.vars).env("KILN_HOME", self.home.root()).stdin(Stdio::null());
        command
    }

    /// Starts an engine and waits until it answers.
    pub fn start(&mut self) {
        self.start_as(self.engine_command());
    }

    /// As [`Bench::start`], with a command made from [`Bench::engine_command`].
    pub fn start_as(&mut self, mut command: Command) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("engine.out")).unwrap();
        let mut engine = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while Client::connect(&self.home.socket()).is_err() {
            if let Some(status) = engine.try_wait().unwrap() {
                panic!("the engine ended with {status}: {}", self.output());
            }
            assert!(Instant::now() < deadline, "the engine does not answer: {}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.engine = Some(engine);
    }

    /// What the engines of this bench have printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("engine.out")).unwrap_or_default()
    }

    /// kill -9.
    pub fn kill_engine(&mut self) {
        let mut engine = self.engine.take().unwrap();
        engine.kill().unwrap();
        engine.wait().unwrap();
    }

    /// Sends SIGTERM and waits.
    pub fn terminate_engine(&mut self) -> ExitStatus {
        let engine = self.engine.as_ref().unwrap();
        assert!(Command::new("kill").arg(engine.id().to_string()).status().unwrap().success());
        self.wait_engine()
    }

    /// Waits until the engine ends by itself.
    pub fn wait_engine(&mut self) -> ExitStatus {
        let mut engine = self.engine.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = engine.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the engine does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn engine_pid(&self) -> u32 {
        self.engine.as_ref().unwrap().id()
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.home.socket()).unwrap()
    }

    /// Asks on a connection of its own.
    pub fn ask(&self, request: Request) -> Result<Reply, String> {
        self.client().request(&request).map_err(|e| e.to_string())
    }

    pub fn launch(&self, preset: &str) -> RunId {
        self.launch_with(preset, 0, "")
    }

    /// Launches; `more` is TOML that is appended to the spec, such as a `[run]` table.
    pub fn launch_with(&self, preset: &str, priority: i32, more: &str) -> RunId {
        let spec = format!("{SPEC}\n{more}");
        match self.ask(Request::Launch { preset: preset.into(), spec, priority, origin: None }) {
            Ok(Reply::Launched { run }) => run,
            other => panic!("{other:?}"),
        }
    }

    pub fn control(&self, run: &RunId, command: Control) -> Result<(), String> {
        self.ask(Request::Control { run: run.clone(), command }).map(drop)
    }

    pub fn runs(&self) -> Vec<RunSummary> {
        match self.ask(Request::Runs) {
            Ok(Reply::Runs { runs }) => runs,
            other => panic!("{other:?}"),
        }
    }

    pub fn summary(&self, run: &RunId) -> RunSummary {
        self.detail(run).summary
    }

    pub fn detail(&self, run: &RunId) -> RunDetail {
        match self.ask(Request::Run { run: run.clone() }) {
            Ok(Reply::Run { run }) => *run,
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&self) -> Status {
        match self.ask(Request::Status) {
            Ok(Reply::Status { status }) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the run is as wanted.
    pub fn wait(&self, run: &RunId, what: &str, wanted: impl Fn(&RunSummary) -> bool) -> RunSummary {
        let deadline = Instant::now() + PATIENCE;
        let mut client = self.client();
        loop {
            let request = match run.parent() {
                Some((parent, _)) => Request::Jobs { run: Some(parent) },
                None => Request::Runs,
            };
            let reply = client.request(&request).unwrap();
            let Reply::Runs { runs } = reply else { panic!("{reply:?}") };
            let summary = runs.into_iter().find(|s| s.id == *run).unwrap_or_else(|| panic!("{run} is gone"));
            if wanted(&summary) {
                return summary;
            }
            assert!(Instant::now() < deadline, "{run} does not get {what}: {summary:#?}\n{}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait_state(&self, run: &RunId, state: RunState) -> RunSummary {
        self.wait(run, state.as_str(), |s| s.state == state)
    }

    /// Waits until the run has come so far, in the fake worker's steps.
    pub fn wait_step(&self, run: &RunId, step: u64) -> RunSummary {
        self.wait(run, &format!("to step {step}"), |s| s.progress.done >= step as f64)
    }

    /// kill -9 of the run's worker.
    pub fn kill_worker(&self, run: &RunId) {
        let worker = self.worker(run).unwrap();
        assert!(Command::new("kill").args(["-KILL", &worker.pid.to_string()]).status().unwrap().success());
    }

    pub fn worker(&self, run: &RunId) -> Option<WorkerInfo> {
        WorkerInfo::read(&self.home.run_folder(run)).unwrap()
    }

    /// All events of the run folder.
    pub fn spooled(&self, run: &RunId) -> Vec<Event> {
        let mut tail = EventTail::open(&self.home.run_folder(run), 0);
        let mut all = Vec::new();
        loop {
            let batch = tail.poll().unwrap();
            assert_eq!(batch.problems, [], "{run}");
            all.extend(batch.items);
            if !batch.more {
                return all;
            }
        }
    }

    /// Asserts that the engine knows of the run exactly what its folder says: no event missing, none doubled.
    pub fn assert_store_equals_folder(&self, run: &RunId) {
        let events = self.spooled(run);
        let numbers: Vec<u64> = events.iter().map(|e| e.seq).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "the folder's own numbers");
        let last = events.last().unwrap().seq;
        self.wait(run, "read to the end", |s| s.last_seq == last);

        let request = Request::Events { run: run.clone(), after: 0, limit: u32::MAX, tail: false };
        let Ok(Reply::Events { events: known }) = self.ask(request) else { panic!("no events") };
        let lifecycle: Vec<&Event> = events.iter().filter(|e| e.body.is_lifecycle()).collect();
        assert_eq!(known.iter().collect::<Vec<_>>(), lifecycle, "log and lifecycle events");

        let expected = series_of(&events);
        let detail = self.detail(run);
        let names: Vec<String> = detail.series.iter().map(|s| s.name.clone()).collect();
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>(), expected.keys().collect());
        let request = Request::Series { run: run.clone(), names, from: None, to: None, columns: 0 };
        let Ok(Reply::Series { series }) = self.ask(request) else { panic!("no series") };
        for one in series {
            assert_eq!(one.points, expected[&one.name], "{run}: {}", one.name);
            assert_eq!(one.total, one.points.len() as u64);
        }
    }
}

/// Points by series, as a reader of the whole folder must understand them: after a resume, points at or beyond a series'
/// first new x replace the old ones; a start from the beginning voids them all.
fn series_of(events: &[Event]) -> BTreeMap<String, Vec<[f64; 2]>> {
    let mut all: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
    for event in events {
        match &event.body {
            Body::Started { resumed_from: None, .. } => all.clear(),
            Body::Points { series, points } => {
                let known = all.entry(series.clone()).or_default();
                known.retain(|p| p[0] < points[0][0]);
                known.extend(points);
            }
            _ => {}
        }
    }
    all
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            let _ = engine.kill();
            let _ = engine.wait();
        }
        for run in self.home.run_ids().unwrap_or_default() {
            if let Ok(Some(worker)) = WorkerInfo::read(&self.home.run_folder(&run))
                && worker.is_alive() == Some(true)
            {
                let _ = Command::new("kill").args(["-KILL", &worker.pid.to_string()]).status();
            }
        }
    }
}
