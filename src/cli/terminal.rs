//! What standard output is.

use std::io::{IsTerminal, stdout};

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    stdout().is_terminal()
}

/// Whether to colour: a terminal, and nobody objects.
pub fn colours() -> bool {
    is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Columns to fill: the terminal's, else those that every screen and mail has.
pub fn width() -> usize {
    let of_terminal = if is_terminal() { crossterm::terminal::size().ok().map(|(w, _)| usize::from(w)) } else { None };
    of_terminal.filter(|w| *w >= 20).unwrap_or(80)
}
