//! The run folder: the truth about a run, on disk, readable without Kiln.
//!
//! # Format, version 1
//!
//! Any program may write a run folder; the engine shows it like its own if it lies in `$KILN_HOME/runs/<run id>/`. A run id has ASCII
//! letters, digits, `-`, `_` and `.`, starts with no dot, does not end in a dot and a number, and has at most 100 bytes.
//!
//! | file | written by | what it holds |
//! | --- | --- | --- |
//! | `spec.toml` | engine | the frozen preset, every default written out; a folder without it is no run |
//! | `worker.json` | worker, at its start | one [`WorkerInfo`]; replaced atomically |
//! | `record.jsonl` | worker, at its start | one [`Record`](crate::record::Record) an attempt: versions, machine, data |
//! | `events.jsonl` | worker | one [`Event`] a line, appended, never changed |
//! | `control.jsonl` | engine | one [`Control`] a line, appended |
//! | `labels.json` | engine | tags and note of people, see [`crate::labels`]; not there if nobody wrote any |
//! | `checkpoints/<step>/` | worker | see [`crate::checkpoint`] |
//! | `artifacts/` | worker | images, exported networks, tables |
//! | `jobs/<n>/` | engine | of an experiment (a preset with arms or seeds): the same folder again for each job, from 1; its run id is `<run id>.<n>` |
//!
//! An experiment has no worker: its `events.jsonl` is written by the engine, and says what its jobs amount to.
//!
//! Times are seconds since the Unix epoch, as floating-point numbers. All text is UTF-8.
//!
//! ## worker.json
//! ```json
//! {"pid":4711,"start_time":8812345,"boot":"3c9f9f4e-…","host":"node7","device":"cuda:0","version":"0.1.0",
//!  "spool_version":1,"attempt":1,"started":1767225600.25}
//! ```
//! `start_time` is field 22 of `/proc/<pid>/stat`, `boot` is `/proc/sys/kernel/random/boot_id`: together with the pid they name one
//! process for ever. A reader refuses a folder whose `spool_version` is greater than its own.
//!
//! ## events.jsonl
//! Each line has `seq` (from 1, without gaps, over all attempts), `t`, and `type` with the fields of that [`Body`]:
//! ```json
//! {"seq":1,"t":1767225600.5,"type":"started","attempt":1,"device":"cpu (2 cores)","host":"node7","pid":4711,"version":"0.1.0","x_max":{"*":10.0},"x_unit":{"*":"epochs"}}
//! {"seq":2,"t":1767225601.0,"type":"points","series":"train/loss","points":[[0.5,2.31],[1.0,null]]}
//! {"seq":3,"t":1767225601.2,"type":"progress","done":1.0,"total":10.0,"unit":"epochs","note":"training"}
//! {"seq":4,"t":1767225603.0,"type":"best","name":"valid/accuracy","value":0.83,"higher_is_better":true}
//! {"seq":5,"t":1767225604.0,"type":"log","level":"info","message":"warming up"}
//! {"seq":6,"t":1767225609.0,"type":"completed","outcome":{"verdict":"…","figures":{"accuracy":0.97},"tables":[]}}
//! ```
//! - Every attempt begins with `started` and, unless it is killed, ends with `completed`, `stopped` or `failed`.
//! - JSON has no NaN and no infinity: a point's numbers are then `null`, `"inf"`, `"-inf"`.
//! - After a resume the points at or beyond a series' first new x replace the old ones.
//! - When nothing else happens, a `beat` every few seconds says that the worker lives.
//! - **Torn tail:** a line counts once its newline is there. A reader leaves an unfinished last line alone and looks again later; a
//!   writer that opens the file, or that could not finish a line (disk full), cuts the unfinished line off first.
//! - A finished line that cannot be read, or whose type is unknown (a newer writer), is reported once and passed over.
//! - A writer holds `flock` on the file, so that two workers never write one run.
//!
//! ## control.jsonl
//! ```json
//! {"seq":1,"t":1767225605.0,"command":"set","key":"optim.lr","value":"0.01"}
//! {"seq":2,"t":1767225606.0,"command":"stop"}
//! ```
//! The engine starts a worker with `KILN_CONTROL_FROM=<bytes>`, the length of this file when the attempt was queued: of what lies
//! before, the worker takes the knobs only; everything from there on it obeys, also what came while it started.
//!
//! # Example
//! ```
//! use kiln_protocol::spool::{EventTail, EventWriter, RunFolder};
//! use kiln_protocol::{Body, Level};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let folder = RunFolder::new(dir.path().join("hello-0001"));
//! folder.create("preset = \"hello\"\n")?;
//! let mut events = EventWriter::open(&folder)?;
//! events.append(Body::Log { level: Level::Info, message: "hello".into() })?;
//!
//! let batch = EventTail::open(&folder, 0).poll()?;
//! assert_eq!(batch.items[0].seq, 1);
//! assert_eq!(EventTail::open(&folder, batch.offset).poll()?.items, []);
//! # Ok(())
//! # }
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::lines::{Batch, MAX_LINE, Problem, Tail, is_disk_full, try_lock};

use crate::control::{Command, Control};
use crate::event::{Body, Event};
use crate::lines::{LineFile, parse_json};
use crate::{SPOOL_VERSION, now};

/// Environment variable by which a worker learns from which byte of `control.jsonl` on to obey.
pub const CONTROL_FROM: &str = "KILN_CONTROL_FROM";

/// What can go wrong with a run folder.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is written by another process: a run has one worker at a time; stop that one first")]
    Locked { path: PathBuf },
    #[error(
        "{path} is of version {found}, this Kiln reads up to version {SPOOL_VERSION}: use the newer Kiln that wrote it"
    )]
    Newer { path: PathBuf, found: u64 },
    #[error(
        "{path} has {len} bytes, but {offset} were already read: the file was replaced; `kiln engine rebuild` reads it anew"
    )]
    Shrunk { path: PathBuf, len: u64, offset: u64 },
    #[error("{path} is not readable: {why}")]
    Malformed { path: PathBuf, why: String },
}

impl SpoolError {
    /// Whether it is for want of room, so that trying again later may help.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, SpoolError::Io { source, .. } if is_disk_full(source))
    }
}

/// A run folder's files by name. Making one touches nothing on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub fn new(path: impl Into<PathBuf>) -> RunFolder {
        RunFolder { path: path.into() }
    }

    /// Creates the folder, which must not exist, and writes `spec.toml`.
    ///
    /// # Errors
    /// `AlreadyExists` inside [`SpoolError::Io`] if there is such a folder: draw another id.
    pub fn create(&self, spec: &str) -> Result<(), SpoolError> {
        let io =
            |doing: &'static str| move |source: io::Error| SpoolError::Io { doing, path: self.path.clone(), source };
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(io("create the folder above"))?;
        }
        fs::create_dir(&self.path).map_err(io("create"))?;
        replace(&self.spec(), spec.as_bytes()).map_err(io("write spec.toml in"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn spec(&self) -> PathBuf {
        self.path.join("spec.toml")
    }

    pub fn worker(&self) -> PathBuf {
        self.path.join("worker.json")
    }

    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    pub fn control(&self) -> PathBuf {
        self.path.join("control.jsonl")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// The folder of a job that the run fanned out.
    pub fn job(&self, n: u32) -> RunFolder {
        RunFolder::new(self.path.join("jobs").join(n.to_string()))
    }

    /// Bytes of `control.jsonl` now; what the engine passes on in [`CONTROL_FROM`].
    pub fn control_len(&self) -> u64 {
        fs::metadata(self.control()).map_or(0, |m| m.len())
    }
}

/// Appends events. One at a time per run.
pub struct EventWriter {
    file: LineFile,
    seq: u64,
}

impl EventWriter {
    /// Opens or creates `events.jsonl`, cuts off a torn last line, and goes on counting where the last attempt ended.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] while another worker writes this run.
    pub fn open(folder: &RunFolder) -> Result<EventWriter, SpoolError> {
        let (file, seq) = LineFile::open(&folder.events())?;
        Ok(EventWriter { file, seq })
    }

    /// Sequence number of the last event written, 0 if none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Appends one event, with the next number and the time. Milestones (starts, ends, checkpoints) are also synced, so
    /// that they survive a power cut and other hosts see them.
    ///
    /// # Errors
    /// Nothing was appended, and the same event can be appended again; [`is_disk_full`] tells whether waiting may help.
    pub fn append(&mut self, body: Body) -> io::Result<Event> {
        let event = Event { seq: self.seq + 1, t: now(), body };
        self.file.append(&event)?;
        self.seq += 1;
        if event.body.ends_attempt() || matches!(event.body, Body::Started { .. } | Body::Checkpoint { .. }) {
            // The line stands and readers may have seen it, so it cannot be taken back: a failure here is left to the
            // next append, which will meet the same disk.
            let _ = self.file.sync();
        }
        Ok(event)
    }

    /// Waits until everything appended is on the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    /// Bytes of `events.jsonl`.
    pub fn offset(&self) -> u64 {
        self.file.len()
    }
}

/// Follows `events.jsonl`.
pub type EventTail = Tail<Event>;

impl Tail<Event> {
    /// Reads on from byte `offset`, as an earlier [`Batch::offset`] gave it.
    pub fn open(folder: &RunFolder, offset: u64) -> EventTail {
        Tail::new(folder.events(), offset, parse_event)
    }
}

/// Says of an event of unknown type that it is one, not just that it cannot be read.
fn parse_event(line: &[u8]) -> Result<Event, String> {
    #[derive(Deserialize)]
    struct Head {
        seq: u64,
        r#type: String,
    }
    serde_json::from_slice(line).map_err(|e| match serde_json::from_slice::<Head>(line) {
        Ok(head) if e.to_string().starts_with("unknown variant") => {
            format!(
                "event {} has the type `{}`, which this Kiln does not know (a newer one wrote it)",
                head.seq, head.r#type
            )
        }
        Ok(head) => format!("event {} of type `{}` is not readable ({e})", head.seq, head.r#type),
        Err(_) => format!("no event: {e}"),
    })
}

/// Appends commands to a run.
pub struct ControlWriter {
    file: LineFile,
    seq: u64,
}

impl ControlWriter {
    pub fn open(folder: &RunFolder) -> Result<ControlWriter, SpoolError> {
        let (file, seq) = LineFile::open(&folder.control())?;
        Ok(ControlWriter { file, seq })
    }

    /// Appends one command, synced, so that a worker on another host sees it.
    ///
    /// # Errors
    /// Nothing was appended; [`is_disk_full`] tells whether waiting may help.
    pub fn append(&mut self, command: Command) -> io::Result<Control> {
        let control = Control { seq: self.seq + 1, t: now(), command };
        self.file.append(&control)?;
        self.seq += 1;
        let _ = self.file.sync();
        Ok(control)
    }
}

/// Follows `control.jsonl`.
pub type ControlTail = Tail<Control>;

impl Tail<Control> {
    pub fn open(folder: &RunFolder, offset: u64) -> ControlTail {
        Tail::new(folder.control(), offset, parse_json)
    }

    /// What a worker does at its start: takes the newest setting of each knob from before byte `from` (of everything,
    /// where `from` is `None`), and follows the file from there on.
    pub fn start(folder: &RunFolder, from: Option<u64>) -> Result<(ControlTail, Vec<(String, String)>), SpoolError> {
        let from = from.unwrap_or_else(|| folder.control_len());
        let mut knobs: Vec<(String, String)> = Vec::new();
        let mut before = ControlTail::open(folder, 0);
        let mut start = 0;
        while start < from {
            let batch = before.poll_until(from)?;
            for control in batch.items {
                if let Command::Set { key, value } = control.command {
                    knobs.retain(|knob| knob.0 != key);
                    knobs.push((key, value));
                }
            }
            start = batch.offset;
            if !batch.more {
                break;
            }
        }
        Ok((ControlTail::open(folder, start), knobs))
    }

    /// [`CONTROL_FROM`] of the environment.
    pub fn from_env() -> Option<u64> {
        std::env::var(CONTROL_FROM).ok()?.parse().ok()
    }
}

/// Who works on a run: `worker.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    pub pid: u32,
    /// Start of the process in clock ticks since the host's boot; with `pid` and `boot` it names one process for ever.
    pub start_time: u64,
    /// Which boot of the host; empty where unknown.
    #[serde(default)]
    pub boot: String,
    pub host: String,
    /// `cpu`, `cuda:N`.
    pub device: String,
    /// Version of Kiln.
    pub version: String,
    pub spool_version: u32,
    /// Which start of a worker for this run this is, from 1.
    #[serde(default = "first")]
    pub attempt: u32,
    /// When the worker started.
    #[serde(default)]
    pub started: f64,
}

fn first() -> u32 {
    1
}

impl WorkerInfo {
    /// This process.
    pub fn of_this_process(device: &str, version: &str, attempt: u32) -> WorkerInfo {
        let pid = std::process::id();
        WorkerInfo {
            pid,
            start_time: process_start_time(pid).unwrap_or(0),
            boot: boot_id(),
            host: host_name(),
            device: device.to_owned(),
            version: version.to_owned(),
            spool_version: SPOOL_VERSION,
            attempt,
            started: now(),
        }
    }

    /// `Ok(None)` if no worker has ever started here.
    ///
    /// # Errors
    /// [`SpoolError::Newer`] for a folder of a newer version.
    pub fn read(folder: &RunFolder) -> Result<Option<WorkerInfo>, SpoolError> {
        let path = folder.worker();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SpoolError::Io { doing: "read", path, source }),
        };
        let malformed = |e: serde_json::Error| SpoolError::Malformed { path: path.clone(), why: e.to_string() };
        // The version first: the other fields may mean something else in a newer one.
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(malformed)?;
        match value.get("spool_version").and_then(serde_json::Value::as_u64) {
            Some(found) if found > u64::from(SPOOL_VERSION) => Err(SpoolError::Newer { path, found }),
            _ => serde_json::from_value(value).map(Some).map_err(malformed),
        }
    }

    pub fn write(&self, folder: &RunFolder) -> Result<(), SpoolError> {
        let path = folder.worker();
        let bytes =
            serde_json::to_vec(self).map_err(|e| SpoolError::Malformed { path: path.clone(), why: e.to_string() })?;
        replace(&path, &bytes).map_err(|source| SpoolError::Io { doing: "write", path, source })
    }

    /// Whether that process runs now. `None` if it is (or was) on another host, where this cannot be seen.
    pub fn is_alive(&self) -> Option<bool> {
        if self.host != host_name() {
            return None;
        }
        let same_boot = self.boot.is_empty() || self.boot == boot_id();
        Some(same_boot && process_start_time(self.pid) == Some(self.start_time))
    }
}

/// Start of a process in clock ticks since boot (field 22 of `/proc/<pid>/stat`). `None` if there is no such process, or it has ended
/// and only waits for its parent.
pub fn process_start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may itself contain spaces and brackets.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// The host's name, or `localhost`.
pub fn host_name() -> String {
    match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => "localhost".to_owned(),
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

/// Replaces a file so that every reader, also after a power cut, finds either the old content or the new: written
/// beside (`<name>.part`), synced, renamed, folder synced.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    if let Err(e) = write() {
        // Half a file beside helps nobody, least of all on a full disk.
        let _ = fs::remove_file(&part);
        return Err(e);
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes names in a folder (creations, renames, removals) durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder and need not.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, RunFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("runs/x-0001"));
        folder.create("preset = \"x\"\n").unwrap();
        (dir, folder)
    }

    fn log(message: &str) -> Body {
        Body::Log { level: crate::Level::Info, message: message.into() }
    }

    #[test]
    fn numbers_go_on_over_attempts() {
        let (_dir, folder) = folder();
        let mut first = EventWriter::open(&folder).unwrap();
        assert_eq!(first.append(log("a")).unwrap().seq, 1);
        assert_eq!(first.append(log("b")).unwrap().seq, 2);
        assert!(matches!(EventWriter::open(&folder), Err(SpoolError::Locked { .. })));
        drop(first);
        let mut events = fs::OpenOptions::new().append(true).open(folder.events()).unwrap();
        events.write_all(b"{\"seq\":3,\"t\":1.0,\"ty").unwrap();
        let mut second = EventWriter::open(&folder).unwrap();
        assert_eq!(second.append(log("c")).unwrap().seq, 3);
        let batch = EventTail::open(&folder, 0).poll().unwrap();
        assert_eq!(batch.items.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(batch.offset, second.offset());
        assert!(batch.problems.is_empty());
    }

    #[test]
    fn numbers_that_json_lacks_and_exact_floats_survive_the_file() {
        let (_dir, folder) = folder();
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1 + 0.2, 1e-310, f64::MAX, -0.0, 1.0 / 3.0];
        let points: Vec<[f64; 2]> = values.iter().enumerate().map(|(i, &y)| [i as f64 / 7.0, y]).collect();
        let mut writer = EventWriter::open(&folder).unwrap();
        writer.append(Body::Points { series: "train/loss".into(), points: points.clone() }).unwrap();
        let batch = EventTail::open(&folder, 0).poll().unwrap();
        let Body::Points { points: read, .. } = &batch.items[0].body else { panic!("{batch:?}") };
        for (wrote, read) in points.iter().zip(read) {
            assert_eq!(wrote.map(f64::to_bits), read.map(f64::to_bits), "{wrote:?} {read:?}");
        }
    }

    #[test]
    fn an_event_of_a_newer_kiln_is_named_and_passed_over() {
        let (_dir, folder) = folder();
        let lines = [
            r#"{"seq":1,"t":1.0,"type":"hologram","depth":3}"#,
            r#"{"seq":2,"t":2.0,"type":"log","level":"info"}"#,
            r#"{"seq":3,"t":3.0,"type":"log","level":"info","message":"kept","colour":"an unknown field"}"#,
        ];
        fs::write(folder.events(), lines.join("\n") + "\n").unwrap();
        let batch = EventTail::open(&folder, 0).poll().unwrap();
        assert_eq!(batch.items, [Event { seq: 3, t: 3.0, body: log("kept") }]);
        assert!(batch.problems[0].message.contains("event 1 has the type `hologram`"), "{:?}", batch.problems);
        assert!(batch.problems[1].message.contains("event 2 of type `log`"), "{:?}", batch.problems);
        assert_eq!(EventWriter::open(&folder).unwrap().seq(), 3);
    }

    #[test]
    fn a_worker_obeys_what_came_while_it_started_and_takes_older_knobs() {
        let (_dir, folder) = folder();
        let (tail, knobs) = ControlTail::start(&folder, None).unwrap();
        assert_eq!((tail.offset(), knobs), (0, vec![]));
        let set = |key: &str, value: &str| Command::Set { key: key.into(), value: value.into() };
        let mut control = ControlWriter::open(&folder).unwrap();
        for command in [set("optim.lr", "0.1"), Command::Stop, set("optim.lr", "0.2"), set("top_k", "3")] {
            control.append(command).unwrap();
        }
        let from = folder.control_len();
        control.append(Command::Pause).unwrap();
        control.append(set("top_k", "4")).unwrap();

        let (mut tail, knobs) = ControlTail::start(&folder, Some(from)).unwrap();
        assert_eq!(knobs, [("optim.lr".into(), "0.2".into()), ("top_k".into(), "3".into())]);
        let commands: Vec<Command> = tail.poll().unwrap().items.into_iter().map(|c| c.command).collect();
        assert_eq!(commands, [Command::Pause, set("top_k", "4")]);

        let (mut tail, knobs) = ControlTail::start(&folder, None).unwrap();
        assert_eq!(knobs[1].1, "4");
        assert!(tail.poll().unwrap().items.is_empty());
        control.append(Command::Resume).unwrap();
        assert_eq!(tail.poll().unwrap().items[0].seq, 7);
    }

    #[test]
    fn a_worker_is_told_from_another_process_of_its_pid() {
        let (_dir, folder) = folder();
        assert_eq!(WorkerInfo::read(&folder).unwrap(), None);
        let me = WorkerInfo::of_this_process("cpu", "0.1.0", 2);
        me.write(&folder).unwrap();
        assert_eq!(WorkerInfo::read(&folder).unwrap(), Some(me.clone()));
        assert_eq!(me.is_alive(), Some(true));
        assert_eq!(WorkerInfo { start_time: me.start_time + 1, ..me.clone() }.is_alive(), Some(false));
        assert_eq!(WorkerInfo { boot: "another".into(), ..me.clone() }.is_alive(), Some(false));
        assert_eq!(WorkerInfo { host: "elsewhere".into(), ..me.clone() }.is_alive(), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let start_time = process_start_time(child.id()).unwrap_or(0);
        child.wait().unwrap();
        assert_eq!(WorkerInfo { pid: child.id(), start_time, ..me }.is_alive(), Some(false));
    }

    #[test]
    fn a_folder_of_a_newer_version_is_refused_and_a_bad_one_named() {
        let (_dir, folder) = folder();
        fs::write(folder.worker(), r#"{"spool_version":2,"pid":"now a text"}"#).unwrap();
        let error = WorkerInfo::read(&folder).unwrap_err().to_string();
        assert!(error.contains("version 2") && error.contains("up to version 1"), "{error}");
        fs::write(folder.worker(), r#"{"spool_version":1"#).unwrap();
        assert!(matches!(WorkerInfo::read(&folder), Err(SpoolError::Malformed { .. })));
    }

    #[test]
    fn replacing_leaves_no_half_and_no_rest() {
        let (_dir, folder) = folder();
        let path = folder.path().join("file.json");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(replace(&folder.path().join("no/such/folder"), b"x").is_err());
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["file.json", "spec.toml"]);
        assert!(
            matches!(folder.create(""), Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists)
        );
    }
}
