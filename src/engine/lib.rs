//! The background engine.

mod connection;
mod devices;
mod options;
mod outbox;
pub mod scheduler;
mod telemetry;
mod worker;
