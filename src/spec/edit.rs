//! The text of a preset, changed where a form has changed it: comments, order and all else stay as somebody wrote them.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::schema::{self, Kind};
use crate::settings::MethodName;
use crate::tree;

/// How lines begin that [`annotated`] adds and [`plain`] takes away.
const MARK: &str = "#! ";

/// Settings that are paths, relative to the preset's folder.
const PATHS: &[&str] = &["data.path", "hournas.latency-table"];

/// `text` with each change (`key=value`, as `--set` takes it) laid in, where the key stands or at the end of its table.
///
/// # Errors
/// A sentence: the text is not TOML, a change is none, or a table's name is that of a value.
pub fn with_changes(text: &str, changes: &[String]) -> Result<String, String> {
    if changes.is_empty() {
        return Ok(text.to_owned());
    }
    let mut document = parse(text)?;
    for change in changes {
        let wrong = || format!("`{change}` is no change of a setting; expected KEY=VALUE, such as optim.lr=0.01");
        let (key, typed) = change.split_once('=').ok_or_else(wrong)?;
        let path = tree::key_path(key.trim()).ok_or_else(wrong)?;
        let value = value(&path.join("."), typed.trim());
        set(document.as_table_mut(), &path, value)
            .ok_or_else(|| format!("`{}` cannot be set: part of it is a value, not a table", key.trim()))?;
    }
    Ok(document.to_string())
}

/// `text` as it must read in another folder than `folder`, where it stands now: paths that were relative to it are absolute.
/// What is known by name stays as it is.
///
/// # Errors
/// A sentence: the text is not TOML.
pub fn moved(text: &str, folder: &Path) -> Result<String, String> {
    let mut document = parse(text)?;
    let here = |path: &str| {
        let stays = path.is_empty() || path.starts_with("~/") || Path::new(path).is_absolute();
        (!stays).then(|| folder.join(path))
    };
    let mut absolute = |key: &[&str], only_if_there: bool| {
        let mut item: &mut Item = document.as_item_mut();
        for part in key {
            let Some(inner) = item.as_table_like_mut().and_then(|table| table.get_mut(part)) else { return };
            item = inner;
        }
        let Some(path) = item.as_str().and_then(here).filter(|path| !only_if_there || path.is_file()) else { return };
        let path = std::path::absolute(&path).unwrap_or(path);
        replace(item, Value::from(path.display().to_string()));
    };
    for key in PATHS {
        absolute(&key.split('.').collect::<Vec<_>>(), false);
    }
    // A preset or a space is a file beside this one, if there is such a file, else one that has a name.
    absolute(&["extends"], true);
    absolute(&["space", "name"], true);
    Ok(document.to_string())
}

/// `text` with a line above each line (from 1) of `notes` that says what is wrong there; those of no line come first.
pub fn annotated(text: &str, notes: &[(Option<usize>, String)]) -> String {
    let mut out = String::new();
    let say = |out: &mut String, line: Option<usize>| {
        for (_, said) in notes.iter().filter(|(at, _)| *at == line) {
            said.lines().for_each(|said| out.push_str(&format!("{MARK}{said}\n")));
        }
    };
    say(&mut out, None);
    for (i, line) in text.split_inclusive('\n').enumerate() {
        say(&mut out, Some(i + 1));
        out.push_str(line);
    }
    out
}

/// `text` without the lines that [`annotated`] added.
pub fn plain(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.trim_start().starts_with(MARK)).collect()
}

fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse::<DocumentMut>().map_err(|error| format!("not TOML: {}", error.message().replace('\n', ", ")))
}

/// What is typed into a form as a value of TOML: a bare word is text, and so is everything where text is expected.
fn value(key: &str, typed: &str) -> Value {
    let text = || Value::from(typed.to_owned());
    let list = tree::bracketed(typed);
    let Ok(mut value) = list.as_deref().unwrap_or(typed).parse::<Value>() else { return text() };
    value.decor_mut().clear();
    let kind = MethodName::ALL.iter().flat_map(|m| schema::fields(*m)).find(|f| f.key == key).map(|f| f.kind);
    if kind == Some(Kind::Text) && !value.is_str() { text() } else { value }
}

fn set(table: &mut dyn TableLike, path: &[String], value: Value) -> Option<()> {
    let (name, rest) = path.split_first()?;
    if rest.is_empty() {
        match table.get_mut(name) {
            Some(item) => replace(item, value),
            None => drop(table.insert(name, Item::Value(value))),
        }
        return Some(());
    }
    if table.get(name).is_none_or(Item::is_none) {
        let mut fresh = Table::new();
        // `[sweep.over]` needs no `[sweep]` above it.
        fresh.set_implicit(rest.len() > 1);
        table.insert(name, Item::Table(fresh));
    }
    set(table.get_mut(name)?.as_table_like_mut()?, rest, value)
}

/// Puts a value in another one's place: blanks before it and a comment behind it stay.
fn replace(item: &mut Item, mut value: Value) {
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A preset of mine.\nmethod = \"train\" # the baseline\ntitle = \"Mine\"\n\n[data]\nset = \"digits\"\n\n# How it learns.\n[optim]\nlr = 0.05   # found by hand\nmilestones = [\n  1, # early\n]\n\n[space]\nname = \"digits-mlp\"\n";

    fn changed(changes: &[&str]) -> String {
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        with_changes(TEXT, &changes).unwrap()
    }

    #[test]
    fn only_what_was_changed_differs() {
        assert_eq!(changed(&[]), TEXT);
        assert_eq!(changed(&["optim.lr=0.1"]), TEXT.replace("0.05   #", "0.1   #"));
        assert_eq!(
            changed(&["optim.kind=adamw"]),
            TEXT.replace("  1, # early\n]\n", "  1, # early\n]\nkind = \"adamw\"\n")
        );
        assert!(changed(&["seeds=1, 2", "title=1, 2"]).contains("seeds = [1, 2]\n"));
        let all = changed(&["train.epochs=3", "title=12", "seeds=[1, 2]", "sweep.over.\"optim.lr\"=log:1e-3..0.1/3"]);
        assert!(all.contains("# A preset of mine.") && all.contains("\n[train]\nepochs = 3\n"), "{all}");
        assert!(all.contains("title = \"12\"\n") && all.contains("seeds = [1, 2]\n"), "{all}");
        assert!(all.contains("\n[sweep.over]\n\"optim.lr\" = \"log:1e-3..0.1/3\"\n"), "{all}");
        assert!(!all.contains("[sweep]\n"), "{all}");
        assert!(with_changes(TEXT, &["method.x=1".into()]).unwrap_err().contains("is a value, not a table"));
        assert!(with_changes("x = [", &["seed=1".into()]).unwrap_err().starts_with("not TOML: "));
        assert!(with_changes(TEXT, &["seed".into()]).unwrap_err().contains("expected KEY=VALUE"));
    }

    #[test]
    fn paths_are_the_same_files_in_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("base.toml"), "").unwrap();
        let text = "extends = \"base.toml\" # all else\n[data]\npath = \"../d\"\n[space]\nname = \"fbnet\"\n";
        let said = moved(text, folder.path()).unwrap();
        let at = folder.path().display();
        assert!(said.starts_with(&format!("extends = \"{at}/base.toml\" # all else\n")), "{said}");
        assert!(said.contains(&format!("path = \"{at}/../d\"\n")) && said.contains("name = \"fbnet\"\n"), "{said}");
        let stays = "extends = \"train-digits\"\n[data]\npath = \"/d\"\n";
        assert_eq!(moved(stays, folder.path()).unwrap(), stays);
    }

    #[test]
    fn mistakes_stand_above_their_lines_and_go_again() {
        let notes = vec![(Some(2), "method: is wrong".to_owned()), (None, "data is missing".to_owned())];
        let text = annotated(TEXT, &notes);
        assert!(text.starts_with("#! data is missing\n# A preset of mine.\n#! method: is wrong\nmethod = "), "{text}");
        assert_eq!(plain(&text), TEXT);
    }
}
