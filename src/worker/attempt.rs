//! One attempt at a run, from the folder's name to the exit code.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use kiln_methods::runtime::{Place, Runtime};
use kiln_methods::{Method, StepCx, create};
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::{ControlTail, EventTail, EventWriter, RunFolder, WorkerInfo, host_name};
use kiln_protocol::{Body, Event, Level};

use crate::drive::{Drive, End, farewell};
use crate::keeper::{Folder, Keeper};
use crate::orders::{self, Orders, Signals};
use crate::outbox::Outbox;
use crate::record;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is ready before the first step.
struct Ready {
    spec: Spec,
    place: Place,
    method: Box<dyn Method>,
    cx: StepCx,
    keeper: Keeper,
    resumed_from: Option<u64>,
    /// Sentences about damaged checkpoints.
    skipped: Vec<String>,
}

/// Works on the run in `folder`.
///
/// # Errors
/// A sentence, if the folder cannot be worked on at all, so that nothing could be written into it. Everything later
/// becomes a `Failed` event and [`End::Failed`].
pub fn run(folder: &Path, runtime: &Runtime, signals: Signals) -> Result<End, String> {
    let path = std::path::absolute(folder).map_err(|error| format!("the folder {}: {error}", folder.display()))?;
    if !path.join("spec.toml").is_file() {
        return Err(format!("{} is no run folder: it has no spec.toml", path.display()));
    }
    let folder = RunFolder::new(path);
    let before = WorkerInfo::read(&folder).map_err(|error| error.to_string())?;
    // The lock on events.jsonl keeps a second worker out; where a file system has no locks, worker.json does.
    let journal = EventWriter::open(&folder).map_err(|error| error.to_string())?;
    if let Some(other) = before.as_ref().filter(|w| w.pid != std::process::id() && w.is_alive() == Some(true)) {
        return Err(format!("{} is being worked on by the process {}", folder.path().display(), other.pid));
    }
    let attempt = before.map_or(1, |worker| worker.attempt + 1);
    let (control, knobs) = ControlTail::start(&folder, ControlTail::from_env()).map_err(|error| error.to_string())?;
    let outbox = Arc::new(Outbox::new(Box::new(journal)));
    let orders = Arc::new(Orders::default());

    let panics = Panics::install();
    let prepared = catch_unwind(AssertUnwindSafe(|| prepare(&folder, runtime, &outbox, &orders)));
    let mut ready = match prepared.unwrap_or_else(|payload| Err(panics.words(payload.as_ref()))) {
        Ok(ready) => ready,
        Err(message) => {
            let device = std::env::var("KILN_DEVICE").unwrap_or_else(|_| "none".into());
            // Who has to find out what failed looks for the process here.
            if let Err(error) = WorkerInfo::of_this_process(&device, VERSION, attempt).write(&folder) {
                tracing::error!("{error}");
            }
            outbox.send(started(attempt, None, device, None));
            tracing::error!("{message}");
            farewell(&outbox, Body::Failed { message });
            return Ok(End::Failed);
        }
    };
    let info = WorkerInfo::of_this_process(&ready.place.name, VERSION, attempt);
    while let Err(error) = info.write(&folder) {
        if !error.is_disk_full() {
            return Err(error.to_string());
        }
        tracing::warn!("{error}; trying again");
        if signals.taken().is_some() {
            return Ok(End::Stopped);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    outbox.send(started(attempt, ready.resumed_from, ready.place.words.clone(), Some(&*ready.method)));
    for message in &ready.skipped {
        outbox.send(Body::Log { level: Level::Warn, message: message.clone() });
    }
    tracing::info!(method = %ready.spec.method, device = %ready.place.words, attempt, from = ready.resumed_from, "started");
    let told = if knobs.is_empty() { BTreeMap::new() } else { told(&folder) };
    for (key, value) in knobs {
        // What an earlier attempt was told stays so and is no change; what was asked for in between is one.
        match value.trim().parse() {
            Ok(number) if told.get(&key) == Some(&value) => ready.cx.set_knob(&key, number),
            _ => orders.give(orders::Order::Set { key, value }),
        }
    }
    let watcher = {
        let (orders, outbox, place) = (Arc::clone(&orders), Arc::clone(&outbox), ready.place.clone());
        move || orders::watch(control, signals, &orders, &outbox, &place)
    };
    std::thread::Builder::new()
        .name("watch".into())
        .spawn(watcher)
        .map_err(|error| format!("no thread to watch the control file: {error}"))?;

    let record = record::keep(&folder, &ready.spec, runtime, &ready.place, attempt, &outbox);
    let mut drive = Drive::new(ready.method, ready.cx, ready.keeper, Arc::clone(&outbox), orders);
    let end = guarded(&panics, &outbox, || drive.run());
    // A run that is over in no time is recorded all the same.
    record.map(JoinHandle::join);
    Ok(end)
}

/// Live settings as the run's own events have them: the last value of each.
fn told(folder: &RunFolder) -> BTreeMap<String, String> {
    let mut tail = EventTail::open(folder, 0);
    let mut told = BTreeMap::new();
    // Events that cannot be read are the business of who opens them for writing.
    while let Ok(batch) = tail.poll() {
        let set = |event: Event| match event.body {
            Body::KnobSet { key, value, .. } => Some((key, value)),
            _ => None,
        };
        told.extend(batch.items.into_iter().filter_map(set));
        if !batch.more {
            break;
        }
    }
    told
}

/// Works; a panic becomes the run's last event.
fn guarded(panics: &Panics, outbox: &Outbox, work: impl FnOnce() -> End) -> End {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let message = panics.words(payload.as_ref());
        farewell(outbox, Body::Failed { message });
        End::Failed
    })
}

fn prepare(folder: &RunFolder, runtime: &Runtime, outbox: &Arc<Outbox>, orders: &Orders) -> Result<Ready, String> {
    let file = folder.spec();
    let text = std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let spec = Spec::from_toml(&file.display().to_string(), &text).map_err(|problems| problems.of_another_kiln())?;
    let assigned = std::env::var("KILN_DEVICE").ok();
    let place = runtime.place(&spec.run.device, assigned.as_deref()).map_err(|error| error.to_string())?;
    runtime.configure(&spec, &place).map_err(|error| error.to_string())?;
    let every = Duration::from_secs_f64(spec.run.checkpoint_every.max(0.1));
    let mut keeper = Keeper::new(Box::new(Folder(folder.checkpoints())), every, spec.method.as_str());
    let (found, skipped) = keeper.find(&folder.checkpoints())?;
    let sink = Arc::clone(outbox);
    let emit = Box::new(move |body| sink.send(body));
    let mut cx = StepCx::new(spec.clone(), folder.path(), &place, orders.interrupt(), emit);
    let mut method = create(&spec, &mut cx).map_err(|error| error.to_string())?;
    let resumed_from = found.as_ref().map(|found| found.step);
    if let Some(found) = found {
        method.load(&found.reader, &mut cx).map_err(|error| error.to_string())?;
    }
    Ok(Ready { spec, place, method, cx, keeper, resumed_from, skipped })
}

/// First event of an attempt; `method` is there unless it could not be made.
fn started(attempt: u32, resumed_from: Option<u64>, device: String, method: Option<&dyn Method>) -> Body {
    Body::Started {
        attempt,
        resumed_from,
        device,
        host: host_name(),
        pid: std::process::id(),
        version: VERSION.to_owned(),
        x_max: method.map(Method::axes).unwrap_or_default(),
        x_unit: method.map(Method::units).unwrap_or_default(),
    }
}

/// Remembers where the main thread panicked. Candidates' threads panic on their own account: the pool tells of them.
struct Panics {
    main: ThreadId,
    place: Arc<Mutex<Option<String>>>,
}

impl Panics {
    fn install() -> Panics {
        let panics = Panics { main: std::thread::current().id(), place: Arc::default() };
        let (main, place) = (panics.main, Arc::clone(&panics.place));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == main {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = info.location().map(ToString::to_string);
            }
            before(info);
        }));
        panics
    }

    fn words(&self, payload: &(dyn std::any::Any + Send)) -> String {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let place = place.unwrap_or_else(|| "an unknown place".into());
        format!("the worker panicked at {place}: {text}. This is a mistake in Kiln; the last checkpoint stands")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::Tiny;
    use std::sync::atomic::AtomicI64;

    #[test]
    fn a_panic_is_told_with_its_message_and_place() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let tiny = Tiny { room: Arc::new(AtomicI64::new(i64::MAX)), written: Arc::clone(&written) };
        let outbox = Outbox::new(Box::new(tiny));
        let panics = Panics::install();
        let end = guarded(&panics, &outbox, || panic!("the shelf fell down"));
        assert_eq!(end, End::Failed);
        let written = written.lock().unwrap();
        let [Body::Failed { message }] = written.as_slice() else { panic!("{written:?}") };
        assert!(message.contains("the shelf fell down") && message.contains("attempt.rs"), "{message}");
    }
}
