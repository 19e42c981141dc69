//! Presets and method settings: typed, documented, validated; one source for TOML, forms, schema and help.
//!
//! - [`settings`]: the structs; their doc comments are the help text, their schemars ranges the limits
//! - [`preset`]: reading TOML files (`extends`, overrides) and freezing them
//! - [`problem`]: mistakes as sentences that name file, line, key and remedy
//! - [`schema`]: JSON Schema of one method's presets, and the flat field list that forms are made from
//! - [`edit`]: changes laid into the text of a preset, comments kept
//! - [`sweep`]: settings that are varied, each combination an arm
//! - [`seed`]: keys for random streams
//!
//! Inside: `tree` is TOML with the place of every value, `check` walks it along the schema, `cross` compares settings
//! with one another, `experiment` lays arms over the rest, `space` reads files of search spaces.

#![forbid(unsafe_code)]

mod check;
mod cross;
pub mod edit;
mod experiment;
pub mod preset;
pub mod problem;
pub mod schema;
pub mod seed;
pub mod settings;
mod space;
pub mod sweep;
#[cfg(test)]
mod testing;
mod tree;

#[cfg(test)]
mod tests;

pub use preset::{Preset, Surroundings};
pub use problem::{Place, Problem, Problems};
pub use settings::*;
pub use space::keeps;
