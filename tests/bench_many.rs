//! What the workbench costs with 1,000 runs, 20 of them live at 2,000 events a second in all: from a key to its frame, bytes to the
//! terminal, processor time of client and engine, memory of the client.
//!
//! This bench itself plays the 20 workers: it writes their run folders, and the engine adopts them as it would adopt workers that
//! outlived their engine. Needs `kiln` of the same profile beside it (`make bench` builds it). `KILN_BENCH_SECONDS` sets how long
//! each measurement takes (10).

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kiln_protocol::client::Client;
use kiln_protocol::home::Home;
use kiln_protocol::run::{Best, Progress};
use kiln_protocol::spool::{EventWriter, WorkerInfo};
use kiln_protocol::wire::{Reply, Request};
use kiln_protocol::{Body, Outcome, RunId};
use kiln_tests::harness::SPEC;
use kiln_tests::program;
use kiln_tests::terminal::Terminal;

const RUNS: usize = 1000;
const LIVE: usize = 20;
/// Events a second of all live runs together.
const RATE: usize = 2000;
/// Keys measured on each screen.
const KEYS: usize = 250;

fn main() {
    let seconds = std::env::var("KILN_BENCH_SECONDS").ok().and_then(|v| v.parse().ok()).unwrap_or(10.0);
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().join("home")).unwrap();
    home.create().unwrap();
    std::fs::create_dir_all(folder.path().join("config")).unwrap();
    std::fs::write(folder.path().join("config/workbench.toml"), "toured = true\n").unwrap();
    let writers = runs(&home);
    let began = Instant::now();
    assert!(kiln(folder.path()).args(["engine", "start"]).stdin(Stdio::null()).status().unwrap().success());
    let client = wait_for_runs(&home);
    println!("an engine reads {RUNS} runs: {:.1} s", began.elapsed().as_secs_f64());
    let engine = client.engine_pid;
    let feeder = Feeder::start(writers);
    measure(folder.path(), engine, seconds, &feeder);
    feeder.stop();
    drop(client);
    assert!(kiln(folder.path()).args(["engine", "stop"]).stdin(Stdio::null()).status().unwrap().success());
}

fn kiln(folder: &Path) -> Command {
    let mut command = Command::new(program("kiln"));
    command.env("KILN_HOME", folder.join("home")).env("KILN_CONFIG", folder.join("config")).env("KILN_CUDA", "off");
    command
}

/// Writes the folders of all runs; those of the live ones are written on.
fn runs(home: &Home) -> Vec<EventWriter> {
    let mut live = Vec::new();
    for i in 0..RUNS {
        let run = RunId(format!("train-digits-{i:04}"));
        let folder = home.run_folder(&run);
        folder.create(SPEC).unwrap();
        let alive = i >= RUNS - LIVE;
        if alive {
            WorkerInfo::of_this_process("cpu", env!("CARGO_PKG_VERSION"), 1).write(&folder).unwrap();
        }
        let mut writer = EventWriter::open(&folder).unwrap();
        let started = Body::Started {
            attempt: 1,
            resumed_from: None,
            device: "cpu (2 cores)".into(),
            host: "bench".into(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            x_max: BTreeMap::from([("*".to_owned(), 100_000.0)]),
            x_unit: BTreeMap::from([("*".to_owned(), "steps".to_owned())]),
        };
        writer.append(started).unwrap();
        for series in ["train/loss", "valid/accuracy"] {
            let points = (0..50).map(|x| [f64::from(x), value(i, x as usize)]).collect();
            writer.append(Body::Points { series: series.into(), points }).unwrap();
        }
        let best = Best { name: "valid/accuracy".into(), value: 0.9 + i as f64 * 1e-5, higher_is_better: true };
        writer.append(Body::Best(best)).unwrap();
        if alive {
            live.push(writer);
        } else {
            writer
                .append(Body::Completed {
                    outcome: Box::new(Outcome { verdict: "It held.".into(), ..Outcome::default() }),
                })
                .unwrap();
        }
    }
    live
}

fn value(run: usize, x: usize) -> f64 {
    let noise = (x.wrapping_mul(0x9e37_79b9) ^ run.wrapping_mul(0x85eb_ca6b)) % 1000;
    0.2 + 2.0 * (-(x as f64) / 2e4).exp() + noise as f64 * 1e-4
}

fn wait_for_runs(home: &Home) -> Client {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        if let Ok(mut client) = Client::connect(&home.socket())
            && let Ok(Reply::Runs { runs }) = client.request_within(&Request::Runs, Duration::from_secs(60))
            && runs.len() == RUNS
            && runs.iter().filter(|r| r.state.is_live()).count() == LIVE
        {
            return client;
        }
        assert!(Instant::now() < deadline, "the engine does not know the runs");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Writes events at the wanted rate, spread evenly over runs and time.
struct Feeder {
    written: Arc<AtomicU64>,
    /// Whether it writes now.
    on: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Feeder {
    fn start(mut writers: Vec<EventWriter>) -> Feeder {
        let (written, on, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)), Arc::default());
        let (count, writes, end): (_, _, Arc<AtomicBool>) = (Arc::clone(&written), Arc::clone(&on), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let (mut x, mut next) = (50, Instant::now());
            while !end.load(Ordering::Relaxed) {
                next += Duration::from_secs_f64(LIVE as f64 / RATE as f64);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                if !writes.load(Ordering::Relaxed) {
                    continue;
                }
                for (run, writer) in writers.iter_mut().enumerate() {
                    let body = match x % 10 {
                        0 => Body::Progress(Progress {
                            done: x as f64,
                            total: 100_000.0,
                            unit: "steps".into(),
                            note: format!("step {x}"),
                        }),
                        1..4 => {
                            Body::Points { series: "valid/accuracy".into(), points: vec![[x as f64, value(run, x)]] }
                        }
                        _ => Body::Points { series: "train/loss".into(), points: vec![[x as f64, value(run, x)]] },
                    };
                    writer.append(body).unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
                x += 1;
            }
        });
        Feeder { written, on, ends, thread }
    }

    fn stop(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn measure(folder: &Path, engine: u32, seconds: f64, feeder: &Feeder) {
    println!(
        "{RUNS} runs, {LIVE} live (goals: key to frame 16 ms, 30 kB/s, client 1 % and engine 3 % of a core idle, client 60 MB):"
    );
    for (columns, rows) in [(80, 24), (200, 50)] {
        let mut screen = Terminal::open(kiln(folder), columns, rows);
        screen.wait("train-digits-0999");
        report(&format!("{columns}x{rows}, list"), &screen, engine, seconds, feeder);
        // A key moves the selected row.
        let mut times = Vec::new();
        for i in 0..KEYS {
            let before = Terminal::selected(&screen.screen());
            let key = if i % 2 == 0 { "j" } else { "k" };
            times.push(timed(&mut screen, key, |now| Terminal::selected(now) != before));
        }
        say_times(&format!("{columns}x{rows}, list"), times);
        screen.press("enter");
        screen.wait("1 Curves");
        report(&format!("{columns}x{rows}, live chart"), &screen, engine, seconds, feeder);
        let mut times = Vec::new();
        for i in 0..KEYS {
            // Opening and closing help changes half of the screen: the most that a key does.
            let opens = i % 2 == 0;
            times.push(timed(&mut screen, if opens { "?" } else { "q" }, |now| {
                now.contents().contains(" Keys ") == opens
            }));
        }
        say_times(&format!("{columns}x{rows}, live chart"), times);
        feeder.on.store(false, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(3));
        report(&format!("{columns}x{rows}, nothing happens"), &screen, engine, seconds, feeder);
        feeder.on.store(true, Ordering::Relaxed);
        println!("  {columns}x{rows}: memory of the client, at most {:.1} MB", memory(screen.pid()));
        screen.press("q");
        screen.ended();
    }
}

/// Presses a key and waits for its frame: how long that took.
fn timed(screen: &mut Terminal, key: &str, shown: impl Fn(&vt100::Screen) -> bool) -> Duration {
    // Not in step with the client's own frames.
    std::thread::sleep(Duration::from_millis(23));
    let began = Instant::now();
    screen.press(key);
    let said = screen.wait_screen(Duration::from_secs(10), shown);
    said.unwrap_or_else(|text| panic!("no frame after `{key}`:\n{text}"));
    began.elapsed()
}

fn say_times(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!("  {what}: key to frame, median {:.1} ms, 99 % {:.1} ms, most {:.1} ms", at(0.5), at(0.99), at(1.0));
}

/// Measures for a while: bytes, events and processor time a second.
fn report(what: &str, screen: &Terminal, engine: u32, seconds: f64, feeder: &Feeder) {
    std::thread::sleep(Duration::from_secs(2));
    let now =
        || (screen.bytes(), feeder.written.load(Ordering::Relaxed), cpu(screen.pid()), cpu(engine), Instant::now());
    let before = now();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let after = now();
    let span = (after.4 - before.4).as_secs_f64();
    println!(
        "  {what}: {:.0} events/s, {:.1} kB/s to the terminal, client {:.1} %, engine {:.1} % of a core",
        (after.1 - before.1) as f64 / span,
        (after.0 - before.0) as f64 / span / 1e3,
        (after.2 - before.2) / span * 100.0,
        (after.3 - before.3) / span * 100.0,
    );
}

/// Seconds of processor time that a process has used.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |s| s.1).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15 of `proc_pid_stat(5)`, in hundredths of a second on every Linux.
    (ticks(11) + ticks(12)) / 100.0
}

/// Most memory that a process has had resident, in megabytes.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0 / 1e6
}
