//! Mistakes in presets, as sentences with their place.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it, or the argument, such as `--set optim.lr=1`.
    pub file: Arc<str>,
    /// Line, from 1; `None` for arguments and for keys that nobody wrote.
    pub line: Option<usize>,
    /// Folder that relative paths are taken from: the file's own, or the working directory for an argument.
    pub folder: Arc<PathBuf>,
}

/// One mistake in a preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File (or `--set` argument) that holds the mistake.
    pub file: String,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// Dotted key, such as `dc-nas.population`; empty for a mistake of the file as a whole.
    pub key: String,
    /// What is wrong, what was expected, the nearest valid name.
    pub message: String,
}

impl Problem {
    /// A mistake at `place`.
    pub fn at(place: &Place, key: &str, message: impl Into<String>) -> Problem {
        Problem { file: place.file.to_string(), line: place.line, key: key.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All mistakes of a preset; `Display` prints one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// The mistakes of settings that a Kiln wrote itself, in one sentence: another one wrote them, or somebody has changed them
    /// since.
    pub fn of_another_kiln(&self) -> String {
        let first = self.0.first().map_or_else(String::new, Problem::to_string);
        let more = match self.0.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!(
            "the settings are of another Kiln ({first}{more}); `kiln doctor` says which versions of `kiln` and `kiln-worker` are here"
        )
    }
}

/// The nearest of `names` to what was written, if any is near enough to be meant. Case, `_` and `-` do not count.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace('_', "-");
    let written = plain(written);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, &plain(name)), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(written.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::{Problem, Problems, nearest};

    #[test]
    fn many_mistakes_of_one_cause_are_one_sentence() {
        let problem = |key: &str| Problem {
            file: "spec.toml".into(),
            line: Some(3),
            key: key.into(),
            message: "is not a setting".into(),
        };
        let said = Problems(["optim.new", "run.new", "x"].map(problem).to_vec()).of_another_kiln();
        assert!(
            said.starts_with(
                "the settings are of another Kiln (spec.toml:3: optim.new: is not a setting, and 2 more); "
            ),
            "{said}"
        );
        assert!(!said.contains('\n'));
    }

    #[test]
    fn the_nearest_name_is_one_that_could_be_meant() {
        let names = ["population", "early-epochs", "full-epochs", "lr"];
        assert_eq!(nearest("populaton", names), Some("population"));
        assert_eq!(nearest("Early_Epochs", names), Some("early-epochs"));
        assert_eq!(nearest("rl", names), Some("lr"));
        assert_eq!(nearest("banana", names), None);
        assert_eq!(nearest("xy", names), None);
    }
}
