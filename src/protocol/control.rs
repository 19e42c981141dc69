//! Control: what a worker is told. One JSON object a line in `control.jsonl`, appended by the engine.

use serde::{Deserialize, Serialize};

/// One line of `control.jsonl`. A worker obeys each once; one that resumes ignores those from before it was queued, except
/// knobs, which it sets again: [`Tail::start`](crate::spool::Tail::start).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Counts from 1 within the file.
    pub seq: u64,
    pub t: f64,
    #[serde(flatten)]
    pub command: Command,
}

/// What a worker can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Idle at the next safe point; keep everything in memory.
    Pause,
    /// Go on.
    Resume,
    /// Write a checkpoint and exit.
    Stop,
    /// Write a checkpoint and go on.
    Checkpoint,
    /// Turn a live knob, such as `optim.lr` to `0.01`.
    Set { key: String, value: String },
}
