//! What the three processes say to one another, and the run folder that outlives them all.
//!
//! - [`run`]: ids, states and the summary that every list shows
//! - [`reduce`]: how events change a run's summary
//! - [`event`]: what a worker reports, one JSON line each, in `events.jsonl`
//! - [`view`]: figures as data; clients know kinds of view, never a method
//! - [`control`]: what a worker is told, one JSON line each, in `control.jsonl`
//! - [`spool`]: the run folder: its files, the torn-tail rule, atomic replacement
//! - [`checkpoint`]: `state.json` and `tensors.safetensors`, written beside and renamed in
//! - [`record`]: what a run was made of, so that it can be made again
//! - [`wire`]: messages between `kiln` and its engine; [`frame`]: their bytes; [`client`]: the client's end
//! - [`advice`]: what is worth doing about a run or the machine, by rules
//! - [`compare`]: several runs side by side; [`clock`]: when the points of a series were measured
//! - [`labels`]: tags and notes; [`filter`]: the language in which runs are looked for
//! - [`figures`]: numbers, times and sizes as people read them
//! - [`retrain`]: a candidate of a run as a training of its own
//! - [`past`]: earlier states of a view
//! - [`images`]: shape and classes of data sets, without reading them
//! - [`testing`]: what tests of several crates tell of runs
//! - [`home`]: where things lie (`KILN_HOME`, socket, presets, assets)
//!
//! The format of the run folder is version [`SPOOL_VERSION`]; a file written by a newer version is refused.

pub mod advice;
pub mod checkpoint;
pub mod client;
pub mod clock;
pub mod compare;
pub mod control;
pub mod event;
pub mod figures;
pub mod filter;
pub mod frame;
#[cfg(test)]
mod full_disk;
pub mod home;
pub mod images;
pub mod labels;
mod lines;
pub mod past;
pub mod record;
pub mod reduce;
pub mod retrain;
pub mod run;
pub mod spool;
pub mod testing;
pub mod view;
pub mod wire;

pub use kiln_arch as arch;
pub use kiln_spec as spec;

pub use control::{Command, Control};
pub use event::{Body, Event, Level};
pub use run::{Outcome, RunId, RunState, RunSummary};
pub use view::View;

/// Version of the run folder's format.
pub const SPOOL_VERSION: u32 = 1;

/// Version of the messages between client and engine. A client and an engine of different versions do not talk.
pub const WIRE_VERSION: u32 = 4;

/// Seconds since the Unix epoch, as all times in Kiln's files are written.
pub fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
