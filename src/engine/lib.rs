//! The background engine: it owns the store, the queue and the devices, starts workers and follows what they write, and
//! answers clients on a Unix socket. It never trains and never links libtorch.
//!
//! - [`serve`]: the engine's life, from taking the home to leaving it
//! - [`daemon`]: the engine as seen from outside: start one if none runs, stop one
//! - [`scheduler`]: which run goes where and when; a pure state machine
//! - `engine`: the one task that owns the state; everything reaches it as a message
//! - `experiment`: runs with arms and seeds: what their jobs amount to and found
//! - `ingest`: the one thread that writes to the store; follows `events.jsonl` of live runs
//! - `recover`: what a run folder says about its run, after the engine's own death
//! - `worker`: worker processes: starting, finding out whether they live, signals
//! - `launch`: new run folders
//! - `connection`, `outbox`: one client; what it has yet to be sent, merged, in bounded memory
//! - `devices`, `telemetry`: GPUs and CPU slots; figures of the machine; `advice`: what is worth doing about it and about runs
//! - `clocks`: when points of series were measured, from the run folders
//!
//! Threads: one runs all tasks (sockets, children, the engine's state), one ingests, one takes figures; reads of the store
//! run on short-lived threads of their own. Nothing that may take long happens on the first.

mod advice;
mod clocks;
mod connection;
pub mod daemon;
mod devices;
mod engine;
mod experiment;
mod ingest;
mod launch;
mod options;
mod outbox;
mod recover;
pub mod scheduler;
mod serve;
mod telemetry;
mod worker;

pub use options::Options;
pub use serve::{EngineError, serve};
