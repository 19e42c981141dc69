//! The loop with a toy method, a disk that fills, and orders from a script.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use kiln_methods::runtime::Place;
use kiln_methods::{CheckpointReader, CheckpointWriter, Result};
use kiln_protocol::Outcome;
use kiln_protocol::checkpoint::{CheckpointError, RawTensor, Written};
use kiln_protocol::spec::Spec;
use serde_json::Value;

use super::*;
use crate::keeper::Shelf;
use crate::outbox::tests::Tiny;

/// Counts to ten; every step is a point.
#[derive(Default)]
struct Count {
    n: u64,
    /// What happens at which count.
    script: BTreeMap<u64, Box<dyn FnMut() -> Result<()> + Send>>,
}

impl Method for Count {
    fn step(&mut self, cx: &mut StepCx) -> Result<Flow> {
        if let Some(mut act) = self.script.remove(&self.n) {
            act()?;
        }
        if self.n == 10 {
            return Ok(Flow::Done);
        }
        self.n += 1;
        cx.scalar("count", self.n as f64, cx.knob("gain").unwrap_or(1.0) * self.n as f64);
        cx.tick()?;
        Ok(Flow::More)
    }
    fn save(&self, checkpoint: &mut CheckpointWriter) -> Result<()> {
        checkpoint.value("n", &self.n)
    }
    fn load(&mut self, checkpoint: &CheckpointReader, _: &mut StepCx) -> Result<()> {
        self.n = checkpoint.value("n")?;
        Ok(())
    }
    fn outcome(&self) -> Outcome {
        Outcome { verdict: format!("counted to {}", self.n), ..Outcome::default() }
    }
    fn axes(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }
    fn knobs(&self) -> &'static [&'static str] {
        &["gain"]
    }
}

/// A shelf with room for so many checkpoints.
struct TinyShelf(Arc<AtomicI64>, Arc<Mutex<Vec<(u64, Value)>>>);

impl Shelf for TinyShelf {
    fn write(&mut self, step: u64, state: &Value, _: &[RawTensor]) -> std::result::Result<Written, CheckpointError> {
        if self.0.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.0.fetch_add(1, Ordering::SeqCst);
            return Err(CheckpointError::Write { path: "here".into(), source: io::ErrorKind::StorageFull.into() });
        }
        self.1.lock().unwrap().push((step, state.clone()));
        Ok(Written { path: "here".into(), step, bytes: 1, seconds: 0.0 })
    }
    fn mark_best(&mut self, _: u64) -> std::result::Result<(), CheckpointError> {
        Ok(())
    }
}

struct Bench {
    written: Arc<Mutex<Vec<Body>>>,
    room: Arc<AtomicI64>,
    shelf_room: Arc<AtomicI64>,
    shelf: Arc<Mutex<Vec<(u64, Value)>>>,
    orders: Arc<Orders>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            written: Arc::default(),
            room: Arc::new(AtomicI64::new(i64::MAX)),
            shelf_room: Arc::new(AtomicI64::new(i64::MAX)),
            shelf: Arc::default(),
            orders: Arc::default(),
        }
    }

    fn run(&self, method: Count, every: Duration) -> End {
        let tiny = Tiny { room: Arc::clone(&self.room), written: Arc::clone(&self.written) };
        let outbox = Arc::new(Outbox::new(Box::new(tiny)));
        let sink = Arc::clone(&outbox);
        let text = "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n";
        let spec = Spec::from_toml("spec.toml", text).unwrap();
        let emit = Box::new(move |body| sink.send(body));
        let cx = StepCx::new(spec, Path::new("/nowhere"), &Place::cpu(), self.orders.interrupt(), emit);
        let shelf = TinyShelf(Arc::clone(&self.shelf_room), Arc::clone(&self.shelf));
        let keeper = Keeper::new(Box::new(shelf), every, "count");
        Drive::new(Box::new(method), cx, keeper, outbox, Arc::clone(&self.orders)).run()
    }

    fn counts(&self) -> Vec<f64> {
        let events = self.written.lock().unwrap();
        let points = events.iter().filter_map(|b| match b {
            Body::Points { points, .. } => Some(points.iter().map(|p| p[1]).collect::<Vec<_>>()),
            _ => None,
        });
        points.flatten().collect()
    }

    fn position(&self, wanted: impl Fn(&Body) -> bool) -> usize {
        self.written.lock().unwrap().iter().position(wanted).expect("the event is missing")
    }
}

const NEVER: Duration = Duration::from_secs(3600);

fn at(n: u64, act: impl FnMut() -> Result<()> + Send + 'static) -> Count {
    Count { n: 0, script: BTreeMap::from([(n, Box::new(act) as Box<dyn FnMut() -> Result<()> + Send>)]) }
}

#[test]
fn an_undisturbed_run_ends_with_a_checkpoint_and_its_outcome() {
    let bench = Bench::new();
    assert_eq!(bench.run(Count::default(), NEVER), End::Completed);
    assert_eq!(bench.counts(), (1..=10).map(f64::from).collect::<Vec<_>>());
    let written = bench.written.lock().unwrap();
    assert!(matches!(written.last(), Some(Body::Completed { outcome }) if outcome.verdict == "counted to 10"));
    assert_eq!(bench.shelf.lock().unwrap().last().unwrap().1["method"]["n"], 10);
}

#[test]
fn checkpoints_come_when_due_and_hold_what_was_done() {
    let bench = Bench::new();
    bench.run(Count::default(), Duration::ZERO);
    let shelf = bench.shelf.lock().unwrap();
    let steps: Vec<u64> = shelf.iter().map(|s| s.0).collect();
    assert_eq!(steps, (1..=10).collect::<Vec<_>>());
    assert!(shelf.iter().all(|(step, state)| state["method"]["n"] == *step && state["worker"]["steps"] == *step));
}

#[test]
fn a_stop_writes_a_checkpoint_and_the_reason() {
    let bench = Bench::new();
    let orders = Arc::clone(&bench.orders);
    let method = at(4, move || {
        orders.give(Order::Stop("enough".into()));
        Ok(())
    });
    assert_eq!(bench.run(method, NEVER), End::Stopped);
    let written = bench.written.lock().unwrap();
    assert_eq!(written.last(), Some(&Body::Stopped { step: 5, reason: "enough".into() }));
    assert_eq!(bench.shelf.lock().unwrap().last().unwrap().1["method"]["n"], 5, "the step came to its end");
}

#[test]
fn a_paused_run_idles_until_it_is_resumed() {
    let bench = Bench::new();
    let orders = Arc::clone(&bench.orders);
    let resumed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&resumed);
    let mut method = at(3, move || {
        orders.give(Order::Pause);
        let (orders, flag) = (Arc::clone(&orders), Arc::clone(&flag));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            flag.store(true, Ordering::SeqCst);
            orders.give(Order::Resume);
        });
        Ok(())
    });
    method.script.insert(
        4,
        Box::new(move || {
            assert!(resumed.load(Ordering::SeqCst), "it went on while paused");
            Ok(())
        }),
    );
    assert_eq!(bench.run(method, NEVER), End::Completed);
    let paused = bench.position(|b| matches!(b, Body::Paused { reason } if reason.contains("request")));
    assert!(paused < bench.position(|b| matches!(b, Body::Resumed { .. })));
}

#[test]
fn a_full_disk_pauses_the_run_and_loses_nothing() {
    let bench = Bench::new();
    let room = Arc::clone(&bench.room);
    let orders = Arc::clone(&bench.orders);
    // A checkpoint on request flushes the points, and finds no room for them.
    let method = at(5, move || {
        room.store(0, Ordering::SeqCst);
        orders.give(Order::Checkpoint);
        let room = Arc::clone(&room);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            room.store(i64::MAX, Ordering::SeqCst);
        });
        Ok(())
    });
    assert_eq!(bench.run(method, NEVER), End::Completed);
    assert_eq!(bench.counts(), (1..=10).map(f64::from).collect::<Vec<_>>());
    let paused = bench.position(|b| matches!(b, Body::Paused { reason } if reason.contains("disk is full")));
    assert!(paused < bench.position(|b| matches!(b, Body::Resumed { reason } if reason.contains("room"))));
}

#[test]
fn a_checkpoint_that_finds_no_room_pauses_the_run_until_it_is_written() {
    let bench = Bench::new();
    bench.shelf_room.store(2, Ordering::SeqCst);
    let room = Arc::clone(&bench.shelf_room);
    let method = at(2, move || {
        let room = Arc::clone(&room);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            room.store(i64::MAX, Ordering::SeqCst);
        });
        Ok(())
    });
    assert_eq!(bench.run(method, Duration::ZERO), End::Completed);
    let steps: Vec<u64> = bench.shelf.lock().unwrap().iter().map(|s| s.0).collect();
    assert_eq!(steps, (1..=10).collect::<Vec<_>>(), "the third was written later, not left out");
    bench.position(|b| matches!(b, Body::Paused { reason } if reason.contains("disk is full")));
}

#[test]
fn a_step_that_finds_no_room_for_its_files_is_done_again() {
    let bench = Bench::new();
    let method = at(5, || Err(MethodError::NoRoom("cannot write table.csv".into())));
    assert_eq!(bench.run(method, NEVER), End::Completed);
    assert_eq!(bench.counts(), (1..=10).map(f64::from).collect::<Vec<_>>());
    let paused = bench.position(|b| matches!(b, Body::Paused { reason } if reason.contains("table.csv")));
    assert!(paused < bench.position(|b| matches!(b, Body::Resumed { .. })));
}

#[test]
fn knobs_are_set_said_or_refused() {
    let bench = Bench::new();
    let orders = Arc::clone(&bench.orders);
    let method = at(5, move || {
        for (key, value) in [("gain", "2"), ("gain", "much"), ("lr", "0.1")] {
            orders.give(Order::Set { key: key.into(), value: value.into() });
        }
        Ok(())
    });
    bench.run(method, NEVER);
    assert_eq!(bench.counts()[5..7], [6.0, 14.0]);
    bench.position(|b| matches!(b, Body::KnobSet { key, value, .. } if key == "gain" && value == "2"));
    bench.position(|b| matches!(b, Body::Log { message, .. } if message.contains("`much` is not a number")));
    bench.position(|b| matches!(b, Body::Log { message, .. } if message.contains("`lr`") && message.contains("gain")));
}

#[test]
fn a_failure_is_said_with_its_sentence() {
    let bench = Bench::new();
    let method = at(2, || Err(MethodError::failed("the oven is cold")));
    assert_eq!(bench.run(method, NEVER), End::Failed);
    assert_eq!(bench.written.lock().unwrap().last(), Some(&Body::Failed { message: "the oven is cold".into() }));
    assert_eq!(bench.counts(), [1.0, 2.0], "what was counted before is there");
}
