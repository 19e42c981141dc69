//! Presets and method settings: typed, documented, validated; one source for TOML, forms, schema and help.
//!
//! - [`settings`]: the structs; their doc comments are the help text, their schemars ranges the limits
//! - [`preset`]: reading TOML files (`extends`, overrides), with errors that name line, key and remedy
//! - [`schema`]: JSON Schema of one method's presets, and the flat field list that forms are made from
//! - [`seed`]: keys for random streams

#![forbid(unsafe_code)]

pub mod preset;
pub mod schema;
pub mod seed;
pub mod settings;

pub use preset::{Preset, Problem, Problems};
pub use settings::*;
