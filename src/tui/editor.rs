//! The user's own editor, for texts that are more than a line: it takes the terminal over until it ends.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::signals;

/// The editor that `$VISUAL` or `$EDITOR` names, perhaps with arguments; else `vi`, which is everywhere.
pub fn chosen(var: impl Fn(&str) -> Option<String>) -> String {
    let named = ["VISUAL", "EDITOR"].iter().filter_map(|name| var(name)).find(|value| !value.trim().is_empty());
    named.unwrap_or_else(|| "vi".into())
}

/// Lets the user edit `text` in a file whose name ends in `suffix` (such as `.toml`), and returns what was saved. The terminal
/// must have been given back.
///
/// # Errors
/// A sentence: the editor cannot be started, has failed, or has left no text.
pub fn edit(editor: &str, text: &str, suffix: &str) -> Result<String, String> {
    let failed = |error: io::Error| format!("cannot make a file for the editor in the temporary folder: {error}");
    // Readable for its owner alone, and gone afterwards.
    let mut file = tempfile::Builder::new().prefix("kiln-").suffix(suffix).tempfile().map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(failed)?;
    let ended = run(editor, file.path()).map_err(|error| format!("cannot start the editor `{editor}`: {error}"))?;
    match ended.code() {
        Some(0) => {}
        // What a shell says of a program that is not there, or that is none.
        Some(126 | 127) => return Err(format!("cannot start the editor `{editor}`; $EDITOR names the one to use")),
        Some(code) => {
            return Err(format!("the editor `{editor}` ended with exit status {code}; the text is as it was before"));
        }
        None => return Err(format!("the editor `{editor}` was killed; the text is as it was before")),
    }
    // By name: editors write a new file and put it in the old one's place.
    let mut saved = Vec::new();
    let read = std::fs::File::open(file.path()).and_then(|mut file| file.read_to_end(&mut saved));
    read.map_err(|error| format!("cannot read what the editor has saved: {error}"))?;
    String::from_utf8(saved).map_err(|_| "what the editor has saved is not text in UTF-8; nothing was changed".into())
}

/// Runs the editor in the terminal's foreground, as a shell would, so that it may have arguments and quotation marks.
fn run(editor: &str, file: &Path) -> io::Result<ExitStatus> {
    let mut child = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg(editor).arg(file).spawn()?;
    let _lent = signals::lend(child.id());
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_editor_is_the_one_that_the_environment_names() {
        let names = |visual: &str, editor: &str| {
            let (visual, editor) = (visual.to_owned(), editor.to_owned());
            chosen(move |name| match name {
                "VISUAL" => Some(visual.clone()),
                "EDITOR" => Some(editor.clone()),
                _ => None,
            })
        };
        assert_eq!(names("code --wait", "nano"), "code --wait");
        assert_eq!(names(" ", "nano"), "nano");
        assert_eq!(names("", ""), "vi");
        assert_eq!(chosen(|_| None), "vi");
    }

    #[test]
    fn what_is_saved_comes_back_and_what_fails_is_said() {
        assert_eq!(edit("sed -i s/old/new/", "an old text\n", ".toml").unwrap(), "an new text\n");
        assert_eq!(edit("case \"$1\" in *.md) ;; *) exit 3;; esac; true", "kept", ".md").unwrap(), "kept");
        assert_eq!(
            edit("exit 3;", "x", ".md").unwrap_err(),
            "the editor `exit 3;` ended with exit status 3; the text is as it was before"
        );
        let said = edit("/not/there/ed", "x", ".md").unwrap_err();
        assert_eq!(said, "cannot start the editor `/not/there/ed`; $EDITOR names the one to use");
        assert!(edit("printf '\\377' >", "x", ".md").unwrap_err().contains("not text in UTF-8"));
        assert!(edit("rm", "x", ".md").unwrap_err().starts_with("cannot read what the editor has saved"));
    }
}
