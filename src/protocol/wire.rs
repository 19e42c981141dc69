//! Frames between `kiln` and its engine: a 32-bit big-endian length, then that many bytes of JSON.
//!
//! The client sends [`ToEngine`] frames, the engine answers each with one [`FromEngine::Reply`] of the same `id`; after
//! [`Request::Watch`] it also sends [`FromEngine::Push`] frames whenever it likes. The first request of a connection is
//! [`Request::Hello`]; anything else, or another version, is answered with an error and the end of the connection.

use serde::{Deserialize, Serialize};

use crate::advice::Advice;
use crate::clock::Clock;
use crate::control::Command;
use crate::event::{Body, Event};
use crate::past::PastView;
use crate::record::Record;
use crate::run::{Origin, Outcome, RunId, RunSummary};
use crate::view::View;

/// A frame longer than this is refused.
pub const MAX_FRAME: usize = 64 << 20;

/// A frame to the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToEngine {
    pub id: u64,
    pub request: Request,
}

/// A frame from the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromEngine {
    Reply { id: u64, reply: Result<Reply, String> },
    Push(Push),
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// First request. `wire` must equal [`crate::WIRE_VERSION`].
    Hello { wire: u32, version: String },
    /// All runs, newest first; experiments stand for their jobs.
    Runs,
    /// The jobs of one experiment, or of all, in the order in which they are started. Answered with [`Reply::Runs`].
    Jobs { run: Option<RunId> },
    /// One run: summary, series names, views, outcome.
    Run { run: RunId },
    /// As [`Request::Run`], without views: what runs are compared by. Views may hold thousands of pictures.
    Brief { run: RunId },
    /// Series of one run, decimated for a screen. Those of an experiment are means over its jobs, with a spread: see [`Series`].
    Series {
        run: RunId,
        names: Vec<String>,
        /// Range of x; open where `None`.
        #[serde(default)]
        from: Option<f64>,
        #[serde(default)]
        to: Option<f64>,
        /// Columns to decimate to: at most two points (minimum and maximum) a column. 0 gives every point.
        columns: u32,
    },
    /// Earlier states of a view of a run, at most so many, the oldest first and the newest last.
    Past { run: RunId, view: String, most: u32 },
    /// When these series of a run got where, from its events. Those of an experiment's arm are those of its first job that has
    /// come so far. Series without points are left out.
    Clock { run: RunId, names: Vec<String> },
    /// Log lines and lifecycle events of a run with `seq > after`, at most `limit`, the newest if `tail`.
    Events { run: RunId, after: u64, limit: u32, tail: bool },
    /// Queues a new run. `spec` is a complete, frozen preset in TOML; the client has validated it. One with arms or seeds
    /// becomes an experiment: a run whose jobs `<run>.1`, `<run>.2` and so on are scheduled like runs.
    Launch {
        preset: String,
        spec: String,
        priority: i32,
        /// The candidate that the run trains, where it is one of another run.
        #[serde(default)]
        origin: Option<Origin>,
    },
    /// Passes a command on to a run. `Resume` of an ended run queues it again, from its last checkpoint. An experiment
    /// passes it on to all its jobs that it makes sense for.
    Control { run: RunId, command: Command },
    /// Removes an ended run: its folder and everything in the store. An experiment goes with its jobs; a job alone stays.
    Remove { run: RunId },
    /// Moves a queued run.
    Priority { run: RunId, priority: i32 },
    /// Adds and removes tags of a run; what is there already, or not there, is no mistake.
    Tag {
        run: RunId,
        #[serde(default)]
        add: Vec<String>,
        #[serde(default)]
        remove: Vec<String>,
    },
    /// Replaces a run's note; an empty one takes it away.
    Note { run: RunId, note: String },
    /// From now on push what changes: summaries and system always, events of `run` if given (one at a time; `None` stops
    /// them). With an experiment or a job of it come the summaries of its jobs, [`Push::Jobs`], too.
    Watch { run: Option<RunId> },
    /// The engine's own state and the machine's.
    Status,
    /// What is worth doing about one run, or about all live runs and the machine. Answered with [`Reply::Advice`].
    Advice { run: Option<RunId> },
    /// Forgets the store and reads all run folders again.
    Rebuild,
    /// What a run was made of, by attempt. Answered with [`Reply::Records`]; of an experiment, its jobs have them.
    Record { run: RunId },
    /// Takes a run up whose folder was put into `runs`, with its jobs: an imported one.
    Adopt { run: RunId },
    /// Ends the engine. Workers go on; the next engine adopts them.
    Shutdown,
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    Hello { version: String, pid: u32 },
    Runs { runs: Vec<RunSummary> },
    Run { run: Box<RunDetail> },
    Series { series: Vec<Series> },
    Past { states: Vec<PastView> },
    Clock { clocks: Vec<Clock> },
    Events { events: Vec<Event> },
    Launched { run: RunId },
    Status { status: Box<Status> },
    Advice { advice: Vec<Advice> },
    Rebuilt { runs: u32 },
    Records { records: Vec<Record> },
    Done,
}

/// What is pushed to a client that watches. A slow client gets merged points and the newest summaries, never a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "push", rename_all = "kebab-case")]
pub enum Push {
    /// Summaries that changed; none of jobs.
    Runs { runs: Vec<RunSummary> },
    /// Summaries that changed of jobs of the watched experiment, or of the experiment whose job is watched.
    Jobs { runs: Vec<RunSummary> },
    /// Jobs of the watched experiment have new points in some of its series, by the names that the experiment has for
    /// them: ask for those on the screen again. At most twice a second.
    Grown { run: RunId, series: Vec<String> },
    /// Runs that were removed.
    Removed { runs: Vec<RunId> },
    /// Events of the watched run, in order. `Points` may be merged.
    Events { run: RunId, events: Vec<Event> },
    /// Machine figures, about once a second.
    System { system: System },
    /// The engine is going away.
    Bye { reason: String },
}

/// Everything about one run but its series and log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    pub summary: RunSummary,
    /// The frozen preset, TOML.
    pub spec: String,
    pub series: Vec<SeriesInfo>,
    /// By name, in order of first appearance.
    pub views: Vec<(String, View)>,
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// Absolute path of the run folder on the engine's host.
    pub folder: String,
    /// Live settings that were changed after the start, with their newest values: what `spec` does not say.
    #[serde(default)]
    pub knobs: Vec<(String, String)>,
    /// When they were changed, in order, as the worker has told.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Of an experiment: its jobs in the order in which they are started, with arm, seed and state. Empty for other runs.
    #[serde(default)]
    pub jobs: Vec<RunSummary>,
    /// The run's note, all of it.
    #[serde(default)]
    pub note: String,
}

impl RunDetail {
    /// A run of which nothing else is known yet.
    pub fn new(summary: RunSummary, spec: String) -> RunDetail {
        RunDetail {
            summary,
            spec,
            series: Vec::new(),
            views: Vec::new(),
            outcome: None,
            folder: String::new(),
            knobs: Vec::new(),
            marks: Vec::new(),
            jobs: Vec::new(),
            note: String::new(),
        }
    }
}

/// A live setting was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds since the Unix epoch.
    pub t: f64,
    /// Place on the method's main x axis.
    pub x: f64,
    pub key: String,
    pub value: String,
}

impl Mark {
    /// What an event tells of a live setting, if it tells of one.
    pub fn of(event: &Event) -> Option<Mark> {
        match &event.body {
            Body::KnobSet { key, value, x } => Some(Mark { t: event.t, x: *x, key: key.clone(), value: value.clone() }),
            _ => None,
        }
    }
}

/// What is known of a series without reading it. Of an experiment's series: `points` of the job that has most, `last_y` the
/// mean of those that have come furthest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesInfo {
    pub name: String,
    pub points: u64,
    pub first_x: f64,
    pub last_x: f64,
    /// Null where not finite.
    pub last_y: Option<f64>,
    /// Planned end of the x axis, where known.
    #[serde(default)]
    pub x_max: Option<f64>,
    /// What x counts, in the plural, such as `epochs`; empty where the method does not say.
    #[serde(default)]
    pub x_unit: String,
}

/// A series, decimated or whole.
///
/// An experiment has a series `<arm>: <series>` for each series that jobs of that arm have (`<series>` alone where it has
/// seeds only); those of single candidates (`cand-…`) are left out, since candidate 7 is another network with another
/// seed. `points` are then means over the jobs that have come so far, at the same x or in the same column, and `spread`
/// their standard deviation. Where fewer jobs go on, a point without y breaks the line: what follows is a mean of others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// As asked for.
    pub name: String,
    #[serde(with = "crate::view::floats_pairs")]
    pub points: Vec<[f64; 2]>,
    /// Points there are in the range asked for.
    pub total: u64,
    /// One a point: the sample standard deviation over jobs, in units of y; NaN (null in JSON) where fewer than two jobs
    /// have come so far. Empty for a run without jobs. Draw a band from `y - spread` to `y + spread`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "crate::view::floats")]
    pub spread: Vec<f64>,
    /// Most jobs that a point is the mean of; 0 for a run without jobs.
    #[serde(default)]
    pub jobs: u32,
}

/// What an experiment calls a series of one of its arms ([`Series`]); `None` for series of single candidates.
pub fn arm_series(arm: Option<&str>, series: &str) -> Option<String> {
    match arm {
        _ if series.starts_with(CANDIDATE) => None,
        Some(arm) => Some(format!("{arm}{OF_ARM}{series}")),
        None => Some(series.to_owned()),
    }
}

/// Arm and series that an experiment means by the name of a series.
pub fn parse_arm_series(name: &str) -> (Option<&str>, &str) {
    match name.split_once(OF_ARM) {
        Some((arm, series)) => (Some(arm), series),
        None => (None, name),
    }
}

/// Beginning of the names of single candidates' series.
const CANDIDATE: &str = "cand-";

/// Between the name of an arm and that of a series; neither has a space.
const OF_ARM: &str = ": ";

/// The engine's own state and the machine's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    pub version: String,
    pub home: String,
    pub socket: String,
    pub started: f64,
    pub worker: String,
    pub clients: u32,
    pub queued: u32,
    pub running: u32,
    pub store_bytes: u64,
    pub devices: Vec<Slot>,
    pub system: System,
    /// How the machine has been: the oldest first, one about every second while a client watches, else every ten.
    #[serde(default)]
    pub history: Vec<Sample>,
}

/// A place where one job can run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// `cpu` or `cuda:N`.
    pub device: String,
    pub name: String,
    pub run: Option<RunId>,
}

/// Figures of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// When they were taken, in seconds since the Unix epoch.
    #[serde(default)]
    pub t: f64,
    /// Share of all cores in use, 0 to 1.
    pub cpu: f64,
    pub cores: u32,
    /// Threads that want to run, mean of the last minute.
    #[serde(default)]
    pub load: f64,
    /// Bytes.
    pub ram_used: u64,
    pub ram_total: u64,
    /// Bytes on the file system of `KILN_HOME`.
    pub disk_free: u64,
    pub disk_total: u64,
    /// What that file system is, and how long it takes to answer.
    #[serde(default)]
    pub folder: Folder,
    pub gpus: Vec<Gpu>,
    /// What each run takes of the machine, by its worker's process.
    #[serde(default)]
    pub shares: Vec<Share>,
}

/// The file system of `KILN_HOME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Folder {
    /// As the operating system calls it, such as `ext4` or `nfs4`; empty where it does not say.
    pub kind: String,
    /// It lies on another machine.
    pub network: bool,
    /// Seconds that the last small write took until it was safe; `None` before the first one, and where none could be made.
    pub latency: Option<f64>,
    /// Seconds that a write has been waiting for, if that is longer than anybody should.
    pub waiting: Option<f64>,
}

/// What a run takes of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub run: RunId,
    pub pid: u32,
    /// Cores in use, such as 1.5.
    pub cpu: f64,
    /// Bytes of memory, resident.
    pub ram: u64,
    /// Bytes of memory on all GPUs.
    pub gpu_memory: u64,
}

/// The machine at one time, for its history: shares from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the Unix epoch.
    pub t: f64,
    pub cpu: f64,
    pub ram: f64,
    pub disk: f64,
    /// Utilisation and memory of each GPU.
    pub gpus: Vec<[f64; 2]>,
}

impl System {
    /// What is kept of it.
    pub fn sample(&self) -> Sample {
        let share = |used: u64, total: u64| if total > 0 { used as f64 / total as f64 } else { 0.0 };
        Sample {
            t: self.t,
            cpu: self.cpu,
            ram: share(self.ram_used, self.ram_total),
            disk: share(self.disk_total.saturating_sub(self.disk_free), self.disk_total),
            gpus: self.gpus.iter().map(|g| [g.utilisation, share(g.memory_used, g.memory_total)]).collect(),
        }
    }
}

/// Figures of one GPU, from NVML. What a card does not tell is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    pub index: u32,
    pub name: String,
    /// 0 to 1.
    pub utilisation: f64,
    pub memory_used: u64,
    pub memory_total: u64,
    /// Degrees Celsius.
    pub temperature: u32,
    /// Watts.
    pub power: f64,
    /// Watts that the card may take.
    #[serde(default)]
    pub power_limit: f64,
    /// Megahertz of its processors, now and at most, and of its memory.
    #[serde(default)]
    pub clock: u32,
    #[serde(default)]
    pub clock_max: u32,
    #[serde(default)]
    pub memory_clock: u32,
    /// Who computes on it, also those that have nothing to do with Kiln.
    #[serde(default)]
    pub processes: Vec<GpuProcess>,
}

/// A process that computes on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuProcess {
    pub pid: u32,
    /// Bytes on the card; 0 where the driver does not say.
    pub memory: u64,
    /// Of the program; empty where it cannot be seen, as from within a container.
    pub name: String,
    /// The run whose worker it is.
    pub run: Option<RunId>,
}
