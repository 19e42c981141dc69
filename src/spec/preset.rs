//! Reading presets. See the crate's tests for what each mistake is answered with.

use std::path::{Path, PathBuf};

use crate::settings::Spec;

/// One mistake in a preset, as a sentence with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File (or `--set` argument) that holds the mistake.
    pub file: String,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// Dotted key, such as `dc-nas.population`.
    pub key: String,
    /// What is wrong, what was expected, the nearest valid name.
    pub message: String,
}

/// All mistakes of a preset; `Display` prints one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// A preset as read from disk.
#[derive(Clone, Debug)]
pub struct Preset {
    /// File stem, such as `dc-nas-digits`.
    pub name: String,
    /// The file it came from.
    pub file: PathBuf,
    /// The settings, with defaults filled in and `extends`/overrides applied.
    pub spec: Spec,
}

impl Preset {
    /// Reads `file`, applies `extends` and then `overrides` (`key=value`, dotted keys), and validates the whole.
    pub fn load(file: &Path, overrides: &[String]) -> Result<Preset, Problems> {
        let _ = (file, overrides);
        Err(Problems(vec![]))
    }
}
