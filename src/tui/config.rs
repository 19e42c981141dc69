//! The files of a user's own: read once at the start, one of them written when something is to be kept.

use std::io::ErrorKind;
use std::path::Path;

use kiln_protocol::spool;

use crate::kept::{self, Kept};
use crate::keymap::{self, Keymap};

/// What a user's own files say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    pub kept: Kept,
    pub keymap: Keymap,
    /// What is wrong in them, as sentences that name file and line.
    pub said: Vec<String>,
}

impl Files {
    /// Reads those in `folder`; what is missing is as Kiln has it.
    pub fn read(folder: &Path) -> Files {
        let mut files = Files::default();
        if let Some(text) = text(&folder.join(kept::FILE), &mut files.said) {
            let (kept, mistakes) = Kept::read(&text);
            files.kept = kept;
            files.said.extend(mistakes.iter().map(ToString::to_string));
        }
        if let Some(text) = text(&folder.join(keymap::FILE), &mut files.said) {
            let (keymap, mistakes) = Keymap::read(&text);
            files.keymap = keymap;
            files.said.extend(mistakes.iter().map(ToString::to_string));
        }
        files
    }
}

/// A file's text; `None` if there is none, or if it cannot be read, which is said.
fn text(path: &Path, said: &mut Vec<String>) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => {
            said.push(format!("cannot read {}: {e}; Kiln's own settings are used", path.display()));
            None
        }
    }
}

/// Writes down what is kept. A file that cannot be read as it is stays untouched.
///
/// # Errors
/// A sentence.
pub fn keep(folder: &Path, kept: &Kept) -> Result<(), String> {
    let path = folder.join(kept::FILE);
    let failed =
        |e: std::io::Error| format!("cannot write {}: {e}; the next start will not know of it", path.display());
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        Err(e) => return Err(failed(e)),
    };
    let after = kept.write(&before);
    if after == before {
        return Ok(());
    }
    std::fs::create_dir_all(folder).and_then(|()| spool::replace(&path, after.as_bytes())).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;

    #[test]
    fn nothing_there_means_kilns_own() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Files::read(&folder.path().join("none")), Files::default());
    }

    #[test]
    fn files_are_read_and_their_mistakes_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(keymap::FILE), "[keys]\n\"run.stop\" = \"X\"\n\"run.pause\" = 3\n").unwrap();
        std::fs::write(folder.path().join(kept::FILE), "mouse = true\nbell = 1\n").unwrap();
        let files = Files::read(folder.path());
        assert!(files.kept.mouse && files.kept.bell);
        assert_eq!(files.keymap.first_key(Action::Stop), "X");
        assert_eq!(files.said.len(), 2);
        assert!(files.said[0].starts_with("workbench.toml, line 2: "), "{:?}", files.said);
        assert!(files.said[1].starts_with("keymap.toml, line 3: "), "{:?}", files.said);
        std::fs::remove_file(folder.path().join(keymap::FILE)).unwrap();
        std::fs::create_dir(folder.path().join(keymap::FILE)).unwrap();
        assert!(Files::read(folder.path()).said[1].starts_with("cannot read "));
    }

    #[test]
    fn what_is_kept_is_written_into_a_folder_that_need_not_exist() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/kiln");
        let kept = Kept { toured: true, ..Kept::default() };
        keep(&folder, &kept).unwrap();
        assert_eq!(Files::read(&folder), Files { kept: kept.clone(), ..Files::default() });
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(keep(&file, &kept).unwrap_err().starts_with("cannot write "));
    }
}
