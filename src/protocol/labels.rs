//! Tags and notes: what people write about a run. They lie in `labels.json` of the run folder, which the engine alone
//! writes; a run without that file has neither.
//!
//! ```
//! use kiln_protocol::labels::Labels;
//!
//! let mut labels = Labels::default();
//! labels.retag(&["paper".into(), "ablation".into()], &[]).unwrap();
//! labels.retag(&[], &["ablation".into()]).unwrap();
//! assert_eq!(labels.tags, ["paper"]);
//! assert!(labels.retag(&["two words".into()], &[]).unwrap_err().contains("no tag"));
//! ```

use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::spool::{RunFolder, SpoolError, replace};

/// Longest tag, in characters: several fit beside each other in a list.
pub const MAX_TAG: usize = 32;

/// Most tags of one run.
pub const MAX_TAGS: usize = 32;

/// Longest note, in bytes.
pub const MAX_NOTE: usize = 64 << 10;

/// Longest headline of a note, in characters: what rows carry about.
const HEADLINE: usize = 120;

/// What people have written about a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// Sorted, each once.
    pub tags: Vec<String>,
    /// Plain text or Markdown, as it was written.
    pub note: String,
}

/// Whether a text may be a tag; the sentence says what one is.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let good = tag.starts_with(char::is_alphanumeric) && tag.chars().all(inner) && tag.chars().count() <= MAX_TAG;
    if good {
        return Ok(());
    }
    Err(format!(
        "`{tag}` is no tag: up to {MAX_TAG} letters, digits and `-`, `_`, `.`, `/`, beginning with a letter or a digit"
    ))
}

impl Labels {
    fn path(folder: &RunFolder) -> PathBuf {
        folder.path().join("labels.json")
    }

    /// What the run folder holds; nothing where nobody has written anything.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn read(folder: &RunFolder) -> Result<Labels, SpoolError> {
        let path = Labels::path(folder);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| SpoolError::Malformed { path, why: e.to_string() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Labels::default()),
            Err(source) => Err(SpoolError::Io { doing: "read", path, source }),
        }
    }

    /// Writes them whole or not at all. Labels that say nothing are no file.
    pub fn write(&self, folder: &RunFolder) -> Result<(), SpoolError> {
        let path = Labels::path(folder);
        let io = |doing| move |source: io::Error, path: PathBuf| SpoolError::Io { doing, path, source };
        if *self == Labels::default() {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io("remove")(e, path)),
                _ => Ok(()),
            };
        }
        let bytes =
            serde_json::to_vec(self).map_err(|e| SpoolError::Malformed { path: path.clone(), why: e.to_string() })?;
        replace(&path, &bytes).map_err(|e| io("write")(e, path))
    }

    /// Adds and removes tags. What is there already, or not there, is no mistake.
    ///
    /// # Errors
    /// A sentence; nothing has changed then.
    pub fn retag(&mut self, add: &[String], remove: &[String]) -> Result<(), String> {
        add.iter().try_for_each(|tag| check_tag(tag))?;
        let mut tags: Vec<String> = self.tags.iter().filter(|t| !remove.contains(t)).chain(add).cloned().collect();
        tags.sort();
        tags.dedup();
        if tags.len() > MAX_TAGS {
            return Err(format!("{} tags are too many for one run: at most {MAX_TAGS}", tags.len()));
        }
        self.tags = tags;
        Ok(())
    }

    /// Replaces the note. Blanks at its end go.
    ///
    /// # Errors
    /// A sentence, for one that is too long.
    pub fn set_note(&mut self, note: &str) -> Result<(), String> {
        let note = note.trim_end();
        if note.len() > MAX_NOTE {
            return Err(format!(
                "a note of {} bytes is too long: at most {MAX_NOTE}; a file in the run's folder has more room",
                note.len()
            ));
        }
        note.clone_into(&mut self.note);
        Ok(())
    }

    /// The first line of the note that says something, without the signs of a Markdown heading, cut short: what rows show.
    pub fn headline(&self) -> String {
        let line =
            self.note.lines().map(|line| line.trim().trim_start_matches('#').trim()).find(|line| !line.is_empty());
        line.unwrap_or_default().chars().filter(|c| !c.is_control()).take(HEADLINE).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn tags_are_plain_words_each_once_in_order() {
        let mut labels = Labels::default();
        labels.retag(&words(&["paper", "v2.1/final", "größe", "paper"]), &words(&["never there"])).unwrap();
        assert_eq!(labels.tags, ["größe", "paper", "v2.1/final"]);
        labels.retag(&words(&["b"]), &words(&["größe", "v2.1/final"])).unwrap();
        assert_eq!(labels.tags, ["b", "paper"]);
        for bad in ["", "-paper", "two words", "a,b", "a:b", "\"", "*", &"x".repeat(33)] {
            assert!(labels.retag(&words(&["fine", bad]), &[]).unwrap_err().contains("no tag"), "{bad}");
        }
        assert_eq!(labels.tags, ["b", "paper"], "a bad one changes nothing");
        let many: Vec<String> = (0..40).map(|i| format!("t{i}")).collect();
        assert!(labels.retag(&many, &[]).unwrap_err().contains("42 tags are too many"));
    }

    #[test]
    fn labels_survive_their_file_and_none_are_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("x-0001"));
        folder.create("").unwrap();
        assert_eq!(Labels::read(&folder).unwrap(), Labels::default());
        let mut labels = Labels::default();
        labels.retag(&words(&["paper"]), &[]).unwrap();
        labels.set_note("# Why\n\nBecause.\n\n").unwrap();
        labels.write(&folder).unwrap();
        assert_eq!(Labels::read(&folder).unwrap(), labels);
        assert_eq!((labels.note.as_str(), labels.headline().as_str()), ("# Why\n\nBecause.", "Why"));
        Labels::default().write(&folder).unwrap();
        Labels::default().write(&folder).unwrap();
        assert!(!Labels::path(&folder).exists());
        fs::write(Labels::path(&folder), "{").unwrap();
        assert!(Labels::read(&folder).unwrap_err().to_string().contains("labels.json"));
        assert!(labels.set_note(&"x".repeat(MAX_NOTE + 1)).unwrap_err().contains("too long"));
    }
}
