//! Runs: ids, states, and the summary that every list shows.

use serde::{Deserialize, Serialize};

/// Name of a run and of its folder, such as `dc-nas-digits-k3f7`: the preset's name and four random base-32 digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Waiting for a device.
    Queued,
    /// Worker started, no event yet.
    Starting,
    Running,
    /// Worker alive and idle; `reason` says who asked for it or what is missing (such as disk space).
    Paused,
    /// Asked to stop; the worker is writing its checkpoint.
    Stopping,
    /// Stopped on request; can be resumed.
    Stopped,
    Completed,
    /// Ended by an error or out of retries; `reason` says which. Can be resumed.
    Failed,
}

impl RunState {
    /// Whether a worker process should exist.
    pub fn is_live(self) -> bool {
        matches!(self, RunState::Starting | RunState::Running | RunState::Paused | RunState::Stopping)
    }

    /// Whether nothing more happens unless somebody asks.
    pub fn is_ended(self) -> bool {
        matches!(self, RunState::Stopped | RunState::Completed | RunState::Failed)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Starting => "starting",
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::Stopping => "stopping",
            RunState::Stopped => "stopped",
            RunState::Completed => "completed",
            RunState::Failed => "failed",
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far a run is, in the method's own unit of planned work (such as epoch-images). Never goes back within an attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub done: f64,
    pub total: f64,
    /// What the numbers count, in the plural, such as `epochs`.
    pub unit: String,
    /// What is being done now, such as `short training 12/40`.
    pub note: String,
}

impl Progress {
    /// Share done, 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.total > 0.0 { (self.done / self.total).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The figure by which runs of this kind are judged, at its best so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Series name, such as `valid/accuracy`.
    pub name: String,
    pub value: f64,
    pub higher_is_better: bool,
}

/// One row of the run list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub id: RunId,
    /// Preset name.
    pub preset: String,
    pub title: String,
    pub method: String,
    pub state: RunState,
    /// Why the run is paused, stopped, failed or was resumed.
    #[serde(default)]
    pub reason: Option<String>,
    pub priority: i32,
    pub created: f64,
    #[serde(default)]
    pub started: Option<f64>,
    #[serde(default)]
    pub ended: Option<f64>,
    /// Time of the newest event.
    #[serde(default)]
    pub last_event: Option<f64>,
    /// Sequence number of the newest event.
    #[serde(default)]
    pub last_seq: u64,
    pub progress: Progress,
    /// Seconds left, estimated by the engine from the progress of this attempt.
    #[serde(default)]
    pub eta: Option<f64>,
    #[serde(default)]
    pub best: Option<Best>,
    /// Device in words, such as `cpu (2 cores)` or `cuda:0 NVIDIA H100`.
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub pid: Option<u32>,
    /// Starts of a worker so far; 2 and more mean resumed.
    pub attempts: u32,
    #[serde(default)]
    pub seed: u64,
}

/// A table whose cells are text; numbers are written with the digits that mean something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    #[serde(default)]
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// One sentence that says plainly whether the claim held.
    pub verdict: String,
    /// Named figures for machines and for comparison across runs, such as `tau_global`. Null where a figure is undefined.
    pub figures: std::collections::BTreeMap<String, Option<f64>>,
    /// Tables for people, in order.
    pub tables: Vec<Table>,
}
