//! Helpers of the integration tests.
//!
//! - [`program`]: a binary of this workspace
//! - [`command`]: the command line, with a home and an engine of its own
//! - [`harness`]: an engine of a test's own, with the fake worker
//! - [`terminal`]: a program in a pseudo-terminal whose screen can be read

pub mod command;
pub mod harness;
pub mod terminal;

use std::path::PathBuf;

/// A program of this workspace, as built beside the running test.
///
/// # Panics
/// If it has not been built; a test cannot build it without waiting for the build that it is part of.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/test-0123: two folders up.
    let path = test.ancestors().nth(2).map(|folder| folder.join(name)).unwrap_or_default();
    assert!(path.is_file(), "{} is missing: `cargo build` makes it", path.display());
    path
}
