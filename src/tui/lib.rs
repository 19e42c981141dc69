//! The full-screen client.
//!
//! - [`options`]: what the caller decides: connection, presets, look

pub mod options;

pub use options::{Colour, Connect, Connection, Launcher, Options, PresetInfo, Receive, Start, Submit};

/// Why the full-screen client ended early, as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard input or output is no terminal, or it cannot be switched to raw mode.
    #[error("cannot use this terminal: {0}")]
    Terminal(#[source] std::io::Error),
}

/// Takes the terminal over until the user leaves it. Runs go on afterwards.
///
/// # Errors
/// When the terminal cannot be used. A terminal that goes away (hang-up) is no error.
pub fn run(options: Options) -> Result<(), Error> {
    drop(options);
    Err(Error::Terminal(std::io::Error::other("this build cannot draw yet")))
}
