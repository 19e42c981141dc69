//! Mistakes in the files of a user's own: what is wrong, and in which line.

use std::fmt;

/// A mistake in a file. It costs the entry that it is in alone: that is then as if it were not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What the file is called.
    pub file: String,
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl Mistake {
    /// A mistake at a byte of a file's text.
    pub fn at(file: &str, text: &str, at: usize, message: impl Into<String>) -> Mistake {
        Mistake { file: file.to_owned(), line: line_of(text, at), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.file, self.line, self.message)
    }
}

/// The line, from 1, that a byte of a text is in.
pub fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}
