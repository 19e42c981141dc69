//! What the client keeps from one start to the next, in `workbench.toml`. A user may change it too: comments and lines that are
//! not Kiln's stay as they are.

use kiln_protocol::spec::problem::nearest;
use toml::de::{DeTable, DeValue};

use crate::mistake::Mistake;

/// What is kept. The defaults are those of a first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The tour has been seen.
    pub toured: bool,
    /// Name of the theme that was chosen last; none: as the environment says.
    pub theme: Option<String>,
    /// The mouse is Kiln's.
    pub mouse: bool,
    /// Ring the bell when a run has ended or failed.
    pub bell: bool,
    /// Send a notification then, as OSC 9: a banner where the terminal has such.
    pub notify: bool,
}

impl Default for Kept {
    fn default() -> Self {
        Kept { toured: false, theme: None, mouse: false, bell: true, notify: true }
    }
}

/// Name of the file in the configuration folder.
pub const FILE: &str = "workbench.toml";

const KEYS: [&str; 5] = ["toured", "theme", "mouse", "bell", "notify"];

/// What stands above the entries of a new file.
const HEAD: &str = "# What Kiln's workbench keeps from one start to the next; yours to change.\n";

impl Kept {
    /// Reads the file. An entry with a mistake is as at a first start.
    pub fn read(text: &str) -> (Kept, Vec<Mistake>) {
        let mistake = |at: usize, message: String| Mistake::at(FILE, text, at, message);
        let mut kept = Kept::default();
        let file = match DeTable::parse(text) {
            Ok(file) => file.into_inner(),
            Err(e) => {
                return (kept, vec![mistake(e.span().map_or(0, |s| s.start), e.message().to_owned())]);
            }
        };
        let mut mistakes = Vec::new();
        for (key, value) in &file {
            let name = key.get_ref().as_ref();
            let flag = match name {
                "theme" => {
                    match value.get_ref().as_str() {
                        Some(theme) => kept.theme = Some(theme.to_owned()),
                        None => mistakes.push(mistake(
                            value.span().start,
                            format!("`theme` is a name, found {}", value.get_ref().type_str()),
                        )),
                    }
                    continue;
                }
                "toured" => &mut kept.toured,
                "mouse" => &mut kept.mouse,
                "bell" => &mut kept.bell,
                "notify" => &mut kept.notify,
                _ => {
                    let hint = nearest(name, KEYS).map(|near| format!("did you mean `{near}`?"));
                    let hint = hint.unwrap_or_else(|| format!("expected {}", KEYS.join(", ")));
                    mistakes.push(mistake(key.span().start, format!("unknown key `{name}`; {hint}")));
                    continue;
                }
            };
            match value.get_ref() {
                DeValue::Boolean(on) => *flag = *on,
                other => mistakes.push(mistake(
                    value.span().start,
                    format!("`{name}` is true or false, found {}", other.type_str()),
                )),
            }
        }
        mistakes.sort_by_key(|m| m.line);
        (kept, mistakes)
    }

    /// The file's new text: what is kept in its lines, everything else as it was. What never was in the file and is as at a
    /// first start stays out of it.
    pub fn write(&self, before: &str) -> String {
        let first = Kept::default();
        let flag = |on: bool, usual: bool| (on.to_string(), on != usual);
        // A basic string of TOML escapes as Rust's debug format does, for what a name may hold.
        let theme = self.theme.as_ref().map(|t| (format!("{t:?}"), true));
        let values = [
            Some(flag(self.toured, first.toured)),
            theme,
            Some(flag(self.mouse, first.mouse)),
            Some(flag(self.bell, first.bell)),
            Some(flag(self.notify, first.notify)),
        ];
        let mut out = if before.trim().is_empty() { HEAD.to_owned() } else { before.to_owned() };
        for (key, value) in KEYS.into_iter().zip(values) {
            let Some((value, unusual)) = value else { continue };
            let is = |line: &&str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
            let line = format!("{key} = {value}");
            // A line that says the same already keeps its comment.
            if out.lines().any(|l| is(&l) && l.split_once('#').map_or(l, |c| c.0).trim_end() == line) {
                continue;
            }
            if out.lines().any(|l| is(&l)) {
                out = out.lines().map(|l| if is(&l) { line.as_str() } else { l }).collect::<Vec<_>>().join("\n") + "\n";
            } else if unusual {
                if !out.ends_with('\n') {
                    out.push('\n');
                }
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let kept = Kept { toured: true, theme: Some("my \"own\"".into()), mouse: true, bell: false, notify: true };
        let text = kept.write("");
        assert!(text.starts_with("# What Kiln"), "{text}");
        assert_eq!(Kept::read(&text), (kept.clone(), vec![]));
        assert_eq!(kept.write(&text), text);
        assert!(!text.contains("notify"), "nobody has changed it");
    }

    #[test]
    fn other_lines_stay() {
        let text = "# mine\nbell = false # no noise\n\ntheme = \"light\"";
        let (mut kept, mistakes) = Kept::read(text);
        assert_eq!(mistakes, []);
        (kept.toured, kept.theme) = (true, Some("dark".into()));
        assert_eq!(kept.write(text), "# mine\nbell = false # no noise\n\ntheme = \"dark\"\ntoured = true\n");
    }

    #[test]
    fn mistakes_name_their_line_and_cost_only_their_entry() {
        let (kept, mistakes) = Kept::read("toured = true\nbel = false\nmouse = 1\ntheme = 7\n");
        let told: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
        assert_eq!(
            told,
            [
                "workbench.toml, line 2: unknown key `bel`; did you mean `bell`?",
                "workbench.toml, line 3: `mouse` is true or false, found integer",
                "workbench.toml, line 4: `theme` is a name, found integer",
            ]
        );
        assert_eq!(kept, Kept { toured: true, ..Kept::default() });
        let (kept, mistakes) = Kept::read("toured = \n");
        assert_eq!((kept, mistakes[0].line), (Kept::default(), 1));
    }
}
