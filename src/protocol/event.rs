//! Events: what a worker reports. One JSON object a line in `events.jsonl`, appended, never changed.
//!
//! `seq` counts from 1 without gaps over all attempts of a run: a worker that resumes reads the last whole line first.

use serde::{Deserialize, Serialize};

use crate::run::{Best, Outcome, Progress};
use crate::view::View;

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub seq: u64,
    /// Seconds since the Unix epoch.
    pub t: f64,
    #[serde(flatten)]
    pub body: Body,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Body {
    /// A worker has taken the run up. First event of every attempt.
    Started {
        attempt: u32,
        /// Step of the checkpoint it continues from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumed_from: Option<u64>,
        device: String,
        host: String,
        pid: u32,
        /// Version of Kiln.
        version: String,
        /// What charts may plan for: the x range of series by name; `*` stands for all others.
        #[serde(default)]
        x_max: std::collections::BTreeMap<String, f64>,
        /// What the x axes count, in the plural, such as `epochs`: by name of the series; `*` stands for all others.
        #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
        x_unit: std::collections::BTreeMap<String, String>,
    },
    /// How far the run is.
    Progress(Progress),
    /// New points of one series, `[x, y]`, x rising. NaN and infinities are written as null, `"inf"`, `"-inf"`. After a resume
    /// the series continues at the checkpoint's x: points at or beyond the first new x replace the old ones.
    Points {
        series: String,
        #[serde(with = "crate::view::floats_pairs")]
        points: Vec<[f64; 2]>,
    },
    /// The newest state of a view. Replaces (or for tables of candidates: updates by id) the earlier one of that name.
    View { name: String, view: Box<View> },
    /// The figure by which the run is judged has reached a new best.
    Best(Best),
    /// A line for the log.
    Log { level: Level, message: String },
    /// A checkpoint is complete on disk.
    Checkpoint { step: u64, bytes: u64, seconds: f64 },
    /// A live knob was turned.
    KnobSet { key: String, value: String, x: f64 },
    /// The worker idles. `reason` is a sentence (asked for, disk full).
    Paused { reason: String },
    /// The worker goes on.
    Resumed { reason: String },
    /// Alive; sent every few seconds when nothing else is.
    Beat {
        /// Resident memory, bytes.
        rss: u64,
        /// Device memory in use, bytes; 0 on the CPU.
        #[serde(default)]
        device_memory: u64,
    },
    /// The run is done. Last event of a run.
    Completed { outcome: Box<Outcome> },
    /// The worker stopped on request after a checkpoint at this step. Last event of an attempt.
    Stopped { step: u64, reason: String },
    /// The run cannot go on. Last event of an attempt.
    Failed { message: String },
}

/// What a map of [`Body::Started`] says of a series: under its own name, else under `*`.
pub fn of_series<'a, T>(map: &'a std::collections::BTreeMap<String, T>, series: &str) -> Option<&'a T> {
    map.get(series).or_else(|| map.get("*"))
}

impl Body {
    /// Whether the event may never be dropped or merged on its way to a client.
    pub fn is_lifecycle(&self) -> bool {
        !matches!(self, Body::Points { .. } | Body::Progress(_) | Body::View { .. } | Body::Beat { .. })
    }

    /// Whether this is the last event of an attempt.
    pub fn ends_attempt(&self) -> bool {
        matches!(self, Body::Completed { .. } | Body::Stopped { .. } | Body::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_written_before_axes_had_units_is_still_read() {
        let line = r#"{"seq":1,"t":1.5,"type":"started","attempt":1,"device":"cpu","host":"h","pid":7,"version":"0.1.0","x_max":{"*":10.0,"a":3.0}}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        let Body::Started { x_max, x_unit, .. } = &event.body else { panic!("{event:?}") };
        assert_eq!(
            (of_series(x_max, "a"), of_series(x_max, "b"), of_series(x_unit, "a")),
            (Some(&3.0), Some(&10.0), None)
        );
        assert_eq!(serde_json::to_string(&event).unwrap(), line, "and written as it was");
    }
}
