//! The store: what the engine knows of runs, in sled. Everything in it can be made anew from the run folders.
//!
//! - `store`: [`Store`]: opening, runs, [`Store::ingest`], questions
//! - `ingest`: what events change
//! - `folders`: catching up with the run folders, and rebuilding from them
//! - `series`: one series in blocks and crumbs; cutting back after a resume; charts
//! - `spread`: an experiment's series: means over its jobs
//! - `summary`: minimum and maximum of blocks of 512 points and of groups of 64 blocks; columns of a chart
//! - `codec`: points as bytes, bit for bit
//! - `record`, `keys`: what is stored, and under which keys
//! - `database`: sled itself: lock, version, repair
//!
//! # What holds whatever happens
//! A batch of events and the place in the file it was read up to are written together, so a kill at any instant neither
//! loses nor doubles an event. Whatever a call has returned from, a kill does not undo.
//!
//! # Example
//! ```
//! use kiln_protocol::{Body, Event, RunId, RunSummary};
//! use kiln_store::Store;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let (store, opening) = Store::open(&dir.path().join("store"))?;
//! assert!(opening.notices.is_empty());
//!
//! let run = RunId("hello-0001".into());
//! store.insert(RunSummary::queued(run.clone(), 0.0), "title = \"hello\"")?;
//! let points = (0..10_000).map(|i| [f64::from(i), f64::from(i).sin()]).collect();
//! let event = Event { seq: 1, t: 1.0, body: Body::Points { series: "train/loss".into(), points } };
//! store.ingest(&run, &[event], 123_456)?;
//!
//! let chart = store.series(&run, "train/loss", None, None, 80)?;
//! assert_eq!(chart.total, 10_000);
//! assert!(chart.points.len() <= 160);
//! assert_eq!(store.offset(&run)?, 123_456);
//! # Ok(())
//! # }
//! ```

mod codec;
mod database;
mod error;
mod folders;
mod ingest;
mod keys;
mod record;
mod series;
mod spread;
mod store;
mod summary;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use folders::{Rebuilt, summary_of};
pub use store::{CACHE_BYTES, Ingested, Opening, Store};
