//! The real worker in its own process: killed, stopped, paused, starved of disk, and asked what it is.

// The helpers below are tests too, though clippy takes only functions marked as such for tests.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kiln_protocol::spool::{ControlWriter, EventTail, RunFolder};
use kiln_protocol::{Body, Command, Event, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A training of some seconds, with checkpoints in quick succession.
const TRAIN: &str = r#"
method = "train"
seed = 11
[data]
set = "digits"
path = "{data}"
train = 600
valid = 300
test = 300
[space]
name = "digits-mlp"
[optim]
lr = 0.02
momentum = 0.9
batch = 32
schedule = "cosine"
[run]
device = "cpu"
checkpoint-every = 0.15
[train]
arch = "slow-4-128"
epochs = 160
"#;

/// A small search with all its stages.
const SEARCH: &str = r#"
method = "dc-nas"
seed = 12
[data]
set = "digits"
path = "{data}"
train = 320
valid = 300
test = 300
[space]
name = "digits-mlp"
[optim]
lr = 0.02
momentum = 0.9
batch = 32
[run]
device = "cpu"
checkpoint-every = 0.15
[dc-nas]
population = 16
early-epochs = 2
full-epochs = 60
feature = "both"
clusters = 2
"#;

/// No test of this file takes longer than this on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

struct Run {
    _dir: TempDir,
    folder: RunFolder,
}

impl Run {
    fn new(spec: &str) -> Run {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits");
        let dir = TempDir::new().unwrap();
        let folder = RunFolder::new(dir.path().join("run"));
        folder.create(&spec.replace("{data}", &data.display().to_string())).unwrap();
        Run { _dir: dir, folder }
    }

    fn start(&self) -> Worker {
        let said = fs::File::options().create(true).append(true).open(self.folder.path().join("said")).unwrap();
        self.start_saying(said)
    }

    fn start_saying(&self, said: fs::File) -> Worker {
        let child = Process::new(kiln_tests::program("kiln-worker"))
            .arg(self.folder.path())
            .env_remove("KILN_DEVICE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        Worker(child)
    }

    fn events(&self) -> Vec<Event> {
        let batch = EventTail::open(&self.folder, 0).poll().unwrap();
        assert!(batch.problems.is_empty(), "{:?}", batch.problems);
        batch.items
    }

    fn wait_for(&self, what: &str, wanted: impl Fn(&Body) -> bool) {
        let until = Instant::now() + LIMIT;
        while !self.events().iter().any(|event| wanted(&event.body)) {
            assert!(Instant::now() < until, "no {what}; the worker said: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }

    fn order(&self, command: Command) {
        ControlWriter::open(&self.folder).unwrap().append(command).unwrap();
    }

    fn artifact(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.artifacts().join(name)).unwrap()
    }

    fn checkpoints(&self) -> usize {
        let entries = fs::read_dir(self.folder.checkpoints()).into_iter().flatten().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().parse::<u64>().is_ok()).count()
    }

    /// What the run found, without what the clock decides.
    fn outcome(&self) -> BTreeMap<String, Option<f64>> {
        let outcomes: Vec<Outcome> = self
            .events()
            .into_iter()
            .filter_map(|e| if let Body::Completed { outcome } = e.body { Some(*outcome) } else { None })
            .collect();
        let [outcome] = outcomes.as_slice() else { panic!("{} outcomes; {}", outcomes.len(), self.said()) };
        let mut figures = outcome.figures.clone();
        figures.remove("seconds");
        figures
    }

    /// Series as a reader sees them in the end: new points replace old ones at and beyond their x. Those whose points
    /// depend on the clock (looks at a running epoch, the order in which candidates end) are left out.
    fn series(&self) -> BTreeMap<String, Vec<[f64; 2]>> {
        let mut all: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
        for event in self.events() {
            if let Body::Points { series, points } = event.body {
                let held = all.entry(series).or_default();
                let first = points[0][0];
                held.retain(|point| point[0] < first);
                held.extend(points);
            }
        }
        all.retain(|name, _| name != "train/lr" && name != "early/best");
        all
    }

    fn without_gaps(&self) {
        let events = self.events();
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq), "numbers without gaps");
    }
}

/// A worker process; killed if the test forgets it.
struct Worker(Child);

impl Worker {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the worker does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts, kills after so many checkpoints and milliseconds, starts again, and so on; then lets it end.
fn killed(spec: &str, instants: &[u64]) -> Run {
    let run = Run::new(spec);
    for (i, &millis) in instants.iter().enumerate() {
        let started = |run: &Run| run.events().iter().filter(|e| matches!(e.body, Body::Started { .. })).count();
        let worker = run.start();
        let until = Instant::now() + LIMIT;
        while started(&run) <= i || run.checkpoints() == 0 {
            assert!(Instant::now() < until, "no start: {}", run.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(millis));
        worker.signal(Signal::SIGKILL);
        worker.end();
    }
    assert!(
        !run.events().iter().any(|e| matches!(e.body, Body::Completed { .. })),
        "every kill has to hit a living worker"
    );
    assert!(run.start().end().success(), "{}", run.said());
    run
}

fn whole(spec: &str) -> Run {
    let run = Run::new(spec);
    assert!(run.start().end().success(), "{}", run.said());
    run
}

/// What an uninterrupted run leaves.
struct Expected {
    files: BTreeMap<&'static str, Vec<u8>>,
    outcome: BTreeMap<String, Option<f64>>,
    series: BTreeMap<String, Vec<[f64; 2]>>,
}

impl Expected {
    fn of(spec: &str, files: &[&'static str]) -> Expected {
        let run = whole(spec);
        let files = files.iter().map(|name| (*name, run.artifact(name))).collect();
        Expected { files, outcome: run.outcome(), series: run.series() }
    }

    /// Of [`TRAIN`]; run once for all tests.
    fn train() -> &'static Expected {
        static ONCE: OnceLock<Expected> = OnceLock::new();
        ONCE.get_or_init(|| Expected::of(TRAIN, &["network.safetensors"]))
    }

    /// Of [`SEARCH`].
    fn search() -> &'static Expected {
        static ONCE: OnceLock<Expected> = OnceLock::new();
        ONCE.get_or_init(|| Expected::of(SEARCH, &["winner.safetensors", "features.csv", "centroids.csv"]))
    }

    /// Bit for bit.
    fn is_met_by(&self, run: &Run) {
        for (name, bytes) in &self.files {
            assert!(run.artifact(name) == *bytes, "{name} differs");
        }
        assert_eq!(run.outcome(), self.outcome);
        assert_eq!(run.series(), self.series);
    }
}

fn resumes(run: &Run) -> usize {
    run.events().iter().filter(|e| matches!(e.body, Body::Started { resumed_from: Some(step), .. } if step > 0)).count()
}

#[test]
fn a_training_killed_at_random_instants_ends_with_the_same_bits() {
    let run = killed(TRAIN, &[37, 230, 5, 411]);
    assert_eq!(resumes(&run), 4);
    run.without_gaps();
    Expected::train().is_met_by(&run);
    assert_eq!(run.series()["train/loss"].len(), 160);
}

#[test]
fn a_search_killed_at_random_instants_ends_with_the_same_bits() {
    let run = killed(SEARCH, &[3, 190, 60]);
    assert!(resumes(&run) >= 3);
    run.without_gaps();
    Expected::search().is_met_by(&run);
}

#[test]
fn sigterm_writes_a_checkpoint_and_the_run_goes_on_later() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let run = Run::new(&SEARCH.replace("checkpoint-every = 0.15", "checkpoint-every = 3600"));
        let worker = run.start();
        run.wait_for("progress", |b| matches!(b, Body::Progress(_)));
        worker.signal(signal);
        assert_eq!(worker.end().code(), Some(3), "{}", run.said());
        let events = run.events();
        let last = &events.last().unwrap().body;
        let told = matches!(last, Body::Stopped { step, reason } if *step > 0 && reason.contains(signal.as_str()));
        assert!(told, "{last:?}");
        assert!(run.start().end().success());
        Expected::search().is_met_by(&run);
    }
}

#[test]
fn a_run_pauses_resumes_turns_knobs_and_stops_by_its_control_file_and_outlives_the_session() {
    let run = Run::new(&TRAIN.replace("epochs = 160", "epochs = 100000"));
    let worker = run.start();
    run.wait_for("points", |b| matches!(b, Body::Points { .. }));
    worker.signal(Signal::SIGHUP);
    run.order(Command::Pause);
    run.wait_for("pause", |b| matches!(b, Body::Paused { .. }));
    let points = |run: &Run| run.events().iter().filter(|e| matches!(e.body, Body::Points { .. })).count();
    let before = points(&run);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(points(&run), before, "a paused run does nothing");
    run.wait_for("sign of life", |b| matches!(b, Body::Beat { rss, .. } if *rss > 1 << 20));

    run.order(Command::Set { key: "optim.lr".into(), value: "0.001".into() });
    run.order(Command::Set { key: "optim.batch".into(), value: "1".into() });
    run.wait_for("knob", |b| matches!(b, Body::KnobSet { key, .. } if key == "optim.lr"));
    run.wait_for("refusal", |b| matches!(b, Body::Log { message, .. } if message.contains("optim.batch")));
    run.order(Command::Resume);
    run.wait_for("resume", |b| matches!(b, Body::Resumed { .. }));
    let until = Instant::now() + LIMIT;
    while points(&run) == before {
        assert!(Instant::now() < until, "it does not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    run.order(Command::Stop);
    assert_eq!(worker.end().code(), Some(3));
    run.without_gaps();

    // What was asked for between two attempts is told by the next one. The knob that was told before holds there without being
    // told again; the old pause and stop do not.
    run.order(Command::Set { key: "optim.weight-decay".into(), value: "0.01".into() });
    let before = run.events().len();
    let worker = run.start();
    let new = |run: &Run| run.events().split_off(before);
    let rate = |event: &Event| match &event.body {
        Body::Points { series, points } if series == "train/lr" => points.last().map(|p| p[1]),
        _ => None,
    };
    let until = Instant::now() + LIMIT;
    let rates = loop {
        let rates: Vec<f64> = new(&run).iter().filter_map(rate).collect();
        if !rates.is_empty() {
            break rates;
        }
        assert!(Instant::now() < until, "it does not go on: {}", run.said());
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(rates.iter().all(|r| *r > 0.0 && *r <= 0.001), "the knob was forgotten: {rates:?}");
    run.order(Command::Stop);
    assert_eq!(worker.end().code(), Some(3));
    let told = |event: Event| match event.body {
        Body::KnobSet { key, .. } => Some(key),
        _ => None,
    };
    assert_eq!(new(&run).into_iter().filter_map(told).collect::<Vec<_>>(), ["optim.weight-decay"]);
}

/// A limit on the size of files stands for the full disk: the write fails half-way in the same manner, with EFBIG instead
/// of ENOSPC.
fn limit_files(worker: &Worker, bytes: &str) {
    let pid = worker.0.id().to_string();
    let done = Process::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().expect("prlimit");
    assert!(done.success());
}

#[test]
fn a_full_disk_pauses_the_run_and_loses_nothing() {
    let run = Run::new(TRAIN);
    let worker = run.start();
    run.wait_for("points", |b| matches!(b, Body::Points { .. }));
    // Room for a little more of the events, and for no checkpoint.
    let used = fs::metadata(run.folder.events()).unwrap().len();
    limit_files(&worker, &(used + 700).to_string());
    std::thread::sleep(Duration::from_secs(3));
    let stuck = run.events().last().unwrap().seq;
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(run.events().last().unwrap().seq, stuck, "it waits");
    limit_files(&worker, "unlimited");
    assert!(worker.end().success(), "{}", run.said());
    run.without_gaps();
    let bodies: Vec<Body> = run.events().into_iter().map(|e| e.body).collect();
    assert!(
        bodies.iter().any(|b| matches!(b, Body::Paused { reason } if reason.contains("disk is full"))),
        "{}",
        run.said()
    );
    assert!(bodies.iter().any(|b| matches!(b, Body::Resumed { reason } if reason.contains("room"))));
    Expected::train().is_met_by(&run);
    let parts: Vec<PathBuf> = fs::read_dir(run.folder.checkpoints())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_string_lossy().ends_with(".part"))
        .collect();
    assert!(parts.is_empty(), "no half checkpoint is left: {parts:?}");
}

#[test]
fn a_second_worker_is_refused_and_the_first_does_not_notice() {
    let run = Run::new(&TRAIN.replace("epochs = 160", "epochs = 100000"));
    let first = run.start();
    run.wait_for("start", |b| matches!(b, Body::Started { .. }));
    let second = run.start();
    assert_eq!(second.end().code(), Some(1));
    assert!(run.said().contains("one worker at a time") || run.said().contains("worked on by"), "{}", run.said());
    first.signal(Signal::SIGTERM);
    assert_eq!(first.end().code(), Some(3));
    let starts = run.events().iter().filter(|e| matches!(e.body, Body::Started { .. })).count();
    assert_eq!(starts, 1);
}

#[test]
fn a_run_that_cannot_start_says_why_in_its_own_folder() {
    for (change, to, word) in [
        ("{data}", "/nowhere/digits", "/nowhere/digits"),
        ("slow-4-128", "slow-4-129", "129"),
        ("device = \"cpu\"", "device = \"cuda:6\"", "cuda:6"),
        ("train = 600", "train = 6000", "6000"),
    ] {
        let run = Run::new(&TRAIN.replace(change, to));
        assert_eq!(run.start().end().code(), Some(1), "{change}");
        let events = run.events();
        assert!(matches!(events[0].body, Body::Started { attempt: 1, .. }));
        let Body::Failed { message } = &events.last().unwrap().body else { panic!("{events:?}") };
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_the_one_before_is_used() {
    let run = Run::new(TRAIN);
    let worker = run.start();
    let until = Instant::now() + LIMIT;
    while run.checkpoints() < 2 {
        assert!(Instant::now() < until, "{}", run.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    worker.signal(Signal::SIGKILL);
    worker.end();
    let mut steps: Vec<u64> = fs::read_dir(run.folder.checkpoints())
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_string_lossy().parse().ok())
        .collect();
    steps.sort_unstable();
    let newest = run.folder.checkpoints().join(steps[steps.len() - 1].to_string()).join("tensors.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&newest, bytes).unwrap();
    assert!(run.start().end().success(), "{}", run.said());
    let before = steps[steps.len() - 2];
    assert!(
        run.events().iter().any(|e| matches!(e.body, Body::Started { resumed_from: Some(step), .. } if step == before))
    );
    assert!(run.events().iter().any(|e| matches!(&e.body, Body::Log { message, .. } if message.contains("damaged"))));
    Expected::train().is_met_by(&run);
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_run() {
    let run = Run::new(SEARCH);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let worker = run.start_saying(full);
    assert!(worker.end().success());
    Expected::search().is_met_by(&run);
}

#[test]
fn a_finished_run_says_the_same_again() {
    let run = whole(SEARCH);
    let first = run.events().last().unwrap().clone();
    assert!(run.start().end().success());
    let last = run.events().last().unwrap().clone();
    assert_eq!(first.body, last.body);
    run.without_gaps();
}

/// An assessor of few labels and few steps.
const ASSESSOR: &str = r#"
method = "assessor"
seed = 3
[data]
set = "cells"
path = "{data}"
[space]
name = "nas-bench-201"
[run]
device = "cpu"
[assessor]
methods = ["assessor-flat"]
labels = [100]
repeats = 1
test = 500
unlabelled = 300
steps = 60
batch-labelled = 64
batch-unlabelled = 64
"#;

#[test]
fn a_finished_assessor_is_asked_about_other_architectures() {
    let cells = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/cells/nas-bench-201.csv.gz");
    let run = Run::new(&ASSESSOR.replace("{data}", &cells.display().to_string()));
    assert!(run.start().end().success(), "{}", run.said());
    let ask = |arguments: &[&str]| {
        let mut process = Process::new(kiln_tests::program("kiln-worker"));
        process.arg("predict").arg(run.folder.path()).args(arguments).env("KILN_CUDA", "off");
        let output = process.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let scores = |csv: &str| -> Vec<(String, f64)> {
        let rows = csv.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        rows.map(|row| (row[0].to_owned(), row[1].parse().unwrap())).collect()
    };

    let (code, csv, said) = ask(&["--sample", "40", "--seed", "2"]);
    assert_eq!(code, Some(0), "{said}");
    let all = scores(&csv);
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|(_, score)| score.is_finite()));
    let (_, again, _) = ask(&["--sample", "40", "--seed", "2"]);
    assert_eq!(again, csv);

    // The best of them, best first, with the same scores.
    let (_, csv, _) = ask(&["--sample", "40", "--seed", "2", "--top", "3"]);
    let mut sorted = all.clone();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert_eq!(scores(&csv), sorted[..3]);

    // The same cells from a file of one's own.
    let table = run.folder.path().join("mine.csv");
    let rows: Vec<&str> = sorted.iter().map(|(arch, _)| arch.as_str()).collect();
    fs::write(&table, format!("arch\n{}\n", rows.join("\n"))).unwrap();
    let (code, csv, said) = ask(&["--table", table.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    let from_table = scores(&csv);
    assert_eq!(from_table.len(), 40);
    // In another order, sums over the relation graph round otherwise.
    assert!(from_table.iter().zip(&sorted).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-3), "{csv}");

    fs::write(&table, "arch\nc9-c3-ap-skip-c3-skip\n").unwrap();
    let (code, _, said) = ask(&["--table", table.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("c9") && said.contains("mine.csv"), "{said}");
}

#[test]
fn the_doctor_reports_and_wrong_usage_is_told() {
    let program = kiln_tests::program("kiln-worker");
    let output = Process::new(&program).arg("--doctor").env("KILN_CUDA", "off").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["libtorch"].as_str().unwrap().starts_with("2."));
    assert_eq!(report["cuda"], "off");
    assert_eq!(report["devices"][0]["name"], "cpu");
    assert!(report["cores"].as_u64().unwrap() >= 1);
    let version = Process::new(&program).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("kiln-worker "));
    assert_eq!(Process::new(&program).output().unwrap().status.code(), Some(2));
    assert_eq!(Process::new(&program).arg("--frobnicate").output().unwrap().status.code(), Some(2));
    let empty = TempDir::new().unwrap();
    let output = Process::new(&program).arg(empty.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("spec.toml"));
}
