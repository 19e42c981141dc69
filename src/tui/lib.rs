//! The full-screen client. It knows the protocol and kinds of view, never a method.
//!
//! What happens comes in as a [`msg::Msg`], [`update`] changes the [`model`], [`view`] draws it; terminal, clock and socket
//! are in [`program`] alone.
//!
//! - [`options`]: what the caller decides: connection, presets, look
//! - [`program`]: the real thing: terminal, threads, signals
//! - [`app`]: the loop, generic over terminal and messages
//! - [`msg`], [`model`], [`mod@update`]: state, and what changes it
//! - [`action`], [`keys`]: everything that can be done with a key, in one table
//! - [`keymap`] with [`facts`]: which key means what, and when; [`kept`]: what is kept between starts; [`config`]: their files, [`mistake`]:
//!   what is wrong in them
//! - [`mod@view`], [`layout`]: drawing, and where things are
//! - [`chart`]: axes, columns, dots
//! - [`saved`]: saved views of the list of runs
//! - [`mosaic`]: pictures out of characters; [`graphics`]: in pixels, where the terminal has any; [`mod@still`]: drawings for the command line
//! - [`look`], [`theme`], [`colour`], [`glyphs`], [`text`]: how it looks
//! - [`term`], [`signals`], [`link`]: terminal, signals, connection; [`editor`]: the user's own, for longer texts

pub mod action;
pub mod app;
pub mod chart;
pub mod colour;
mod config;
pub mod editor;
pub mod facts;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fixture_compare;
#[cfg(test)]
mod fixture_search;
#[cfg(test)]
mod fixture_training;
#[cfg(test)]
mod fuzz;
pub mod glyphs;
pub mod graphics;
pub mod kept;
pub mod keymap;
pub mod keys;
pub mod layout;
mod link;
pub mod look;
pub mod mistake;
pub mod model;
pub mod mosaic;
pub mod msg;
pub mod options;
mod program;
pub mod saved;
mod signals;
mod still;
pub mod term;
pub mod text;
pub mod theme;
pub mod update;
pub mod view;

pub use config::Files;
pub use options::{
    Colour, Connect, Connection, Cost, Launcher, Options, PresetInfo, Receive, Setting, Start, Submit, Take, Wanted,
};
pub use program::run;
pub use still::{OverlaidLine, overlaid, still};

/// Why the full-screen client ended early, as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the full-screen client needs a terminal; `kiln run` and `kiln ls` work without one")]
    NoTerminal,
    /// The terminal cannot be switched to raw mode, or written to.
    #[error("cannot use this terminal: {0}")]
    Terminal(#[source] std::io::Error),
}
