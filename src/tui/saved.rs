//! Saved views of the list of runs: filter, order, groups and columns under a name, in `views.toml` of the configuration
//! folder. Written by hand or from the workbench; comments stay.
//!
//! ```toml
//! [[view]]
//! name = "paper"
//! filter = "tag:paper -failed"
//! sort = "best"              # start, name, state, progress, best, device, time left, last event
//! reverse = false
//! group = "method"           # method, preset, state, tags, host, age
//! columns = ["seed", "took", "valid/accuracy"]
//! ```
//!
//! The view `default` is how the list looks when Kiln starts.

use std::path::Path;
use std::{fs, io};

use kiln_protocol::filter::Filter;
use kiln_protocol::spec::problem::nearest;
use kiln_protocol::spool::replace;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use crate::mistake::{Mistake, line_of};
use crate::model::arrange::{Column, GroupBy, SortBy};
use crate::model::runs::Runs;

/// Name of the file in the configuration folder.
pub const FILE: &str = "views.toml";

/// The view that the list begins with.
pub const DEFAULT: &str = "default";

/// Longest name, in characters.
pub const MAX_NAME: usize = 40;

/// A way to look at the list of runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedView {
    pub name: String,
    pub filter: String,
    pub sort: SortBy,
    pub reverse: bool,
    pub group: Option<GroupBy>,
    pub columns: Vec<Column>,
}

impl SavedView {
    /// The list as it is now, under a name.
    pub fn of(name: &str, runs: &Runs) -> SavedView {
        SavedView {
            name: name.to_owned(),
            filter: runs.filter().trim().to_owned(),
            sort: runs.sort,
            reverse: runs.reverse,
            group: runs.group,
            columns: runs.columns.clone(),
        }
    }

    /// Makes the list look so.
    pub fn apply(&self, runs: &mut Runs) {
        runs.set_filter(&self.filter);
        (runs.sort, runs.reverse, runs.group) = (self.sort, self.reverse, self.group);
        runs.columns.clone_from(&self.columns);
        runs.folded.clear();
    }

    /// What it does, in a few words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend((!self.filter.is_empty()).then(|| self.filter.clone()));
        let turned = if self.reverse { ", turned round" } else { "" };
        words.extend(
            (self.sort != SortBy::default() || self.reverse).then(|| format!("by {}{turned}", self.sort.as_str())),
        );
        words.extend(self.group.map(|group| format!("grouped by {}", group.as_str())));
        if !self.columns.is_empty() {
            words.push(format!("with {}", self.columns.iter().map(Column::name).collect::<Vec<_>>().join(", ")));
        }
        if words.is_empty() { "all runs, newest first".into() } else { words.join(" · ") }
    }
}

/// What is to be done to the file of views.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewChange {
    Save(SavedView),
    /// By name.
    Remove(String),
}

/// Shipped views and those of the file, which need not be there; and its mistakes.
pub fn load(path: Option<&Path>) -> (Vec<SavedView>, Vec<String>) {
    match path.map(fs::read_to_string) {
        Some(Ok(text)) => views(&text),
        Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => (shipped(), vec![format!("{FILE} cannot be read: {e}")]),
        _ => (shipped(), Vec::new()),
    }
}

/// Changes the file of views and says what was done, as a sentence.
///
/// # Errors
/// A sentence; the file is as it was.
pub fn change(path: Option<&Path>, change: &ViewChange) -> Result<String, String> {
    let path = path.ok_or("there is no configuration folder to save views in; set KILN_CONFIG to one")?;
    let failed = |e: io::Error| format!("{} was not changed: {e}", path.display());
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(failed)?,
    };
    let (new, said) = match change {
        ViewChange::Save(view) => {
            (with(&text, view)?, format!("Saved the list as `{}` in {}.", view.name, path.display()))
        }
        ViewChange::Remove(name) => match without(&text, name)? {
            Some(new) => (new, format!("Removed the view `{name}`.")),
            None => return Err(format!("{} has no view `{name}`", path.display())),
        },
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    replace(path, new.as_bytes()).map_err(failed)?;
    Ok(said)
}

/// Views that there are without a file.
pub fn shipped() -> Vec<SavedView> {
    let view =
        |name: &str, filter: &str| SavedView { name: name.into(), filter: filter.into(), ..SavedView::default() };
    vec![
        view("all", ""),
        view("live", "live"),
        view("failed of late", "failed age<7d"),
        SavedView { sort: SortBy::Best, group: Some(GroupBy::Method), ..view("best by method", "completed") },
    ]
}

/// The shipped views and those of a file, which win over shipped ones of their name; and its mistakes, as sentences. What a
/// mistake is in is as without it; the rest of the view, and of the file, holds.
pub fn views(text: &str) -> (Vec<SavedView>, Vec<String>) {
    let (own, mistakes) = parse(text);
    let mut all = shipped();
    for view in own {
        match all.iter_mut().find(|old| old.name == view.name) {
            Some(old) => *old = view,
            None => all.push(view),
        }
    }
    (all, mistakes)
}

/// The views of a file alone, and its mistakes.
pub fn parse(text: &str) -> (Vec<SavedView>, Vec<String>) {
    let mut reader = Reader { text, mistakes: Vec::new(), view: String::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.wrong(error.span().map_or(0, |s| s.start), error.message().to_owned());
    }
    let mut views: Vec<SavedView> = Vec::new();
    for (key, entry) in table.get_ref() {
        let DeValue::Array(list) = entry.get_ref() else {
            reader.wrong(key.span().start, format!("`{}` is no list of views; write [[view]]", key.get_ref()));
            continue;
        };
        if key.get_ref() != "view" {
            reader.wrong(key.span().start, format!("unknown key `{}`; write [[view]]", key.get_ref()));
            continue;
        }
        for entry in list.iter() {
            let view = reader.view(entry);
            if let Some(view) = view {
                if views.iter().any(|v| v.name == view.name) {
                    reader
                        .wrong(entry.span().start, "there is another view of that name above; this one counts".into());
                    views.retain(|v| v.name != view.name);
                }
                views.push(view);
            }
            reader.view.clear();
        }
    }
    (views, reader.mistakes)
}

const KEYS: [&str; 6] = ["name", "filter", "sort", "reverse", "group", "columns"];

struct Reader<'a> {
    text: &'a str,
    mistakes: Vec<String>,
    /// The view that is being read.
    view: String,
}

impl Reader<'_> {
    fn wrong(&mut self, at: usize, message: String) {
        let view = if self.view.is_empty() { String::new() } else { format!("view `{}`: ", self.view) };
        self.mistakes.push(Mistake::at(FILE, self.text, at, format!("{view}{message}")).to_string());
    }

    fn view(&mut self, entry: &Spanned<DeValue<'_>>) -> Option<SavedView> {
        let DeValue::Table(table) = entry.get_ref() else {
            self.wrong(entry.span().start, "expected a table, written as [[view]]".into());
            return None;
        };
        let name = table.get("name").map(|name| (name.span().start, name.get_ref()));
        let name = match name {
            Some((_, DeValue::String(name))) if check_name(name).is_ok() => name.to_string(),
            Some((at, DeValue::String(name))) => {
                self.wrong(at, check_name(name).err().unwrap_or_default());
                return None;
            }
            _ => {
                self.wrong(entry.span().start, "a view needs a name, such as name = \"paper\"".into());
                return None;
            }
        };
        self.view.clone_from(&name);
        let mut view = SavedView { name, ..SavedView::default() };
        for (key, value) in table {
            let at = value.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("name", _) => {}
                ("filter", DeValue::String(filter)) => match Filter::parse(filter) {
                    Ok(_) => view.filter = filter.to_string(),
                    Err(e) => self.wrong(at, format!("filter: {e}")),
                },
                ("sort", DeValue::String(name)) => {
                    match one_of(name, "order", SortBy::ALL.iter().map(|s| (s.as_str(), *s))) {
                        Ok(sort) => view.sort = sort,
                        Err(said) => self.wrong(at, said),
                    }
                }
                ("group", DeValue::String(name)) => {
                    match one_of(name, "grouping", GroupBy::ALL.iter().map(|g| (g.as_str(), *g))) {
                        Ok(group) => view.group = Some(group),
                        Err(said) => self.wrong(at, said),
                    }
                }
                ("reverse", DeValue::Boolean(reverse)) => view.reverse = *reverse,
                ("columns", DeValue::Array(columns)) => {
                    for column in columns.iter() {
                        match column.get_ref() {
                            DeValue::String(name) if !name.is_empty() => view.columns.push(Column::named(name)),
                            _ => self.wrong(column.span().start, "columns: expected names, such as \"seed\"".into()),
                        }
                    }
                }
                (key, _) if KEYS.contains(&key) => {
                    let kind = match key {
                        "reverse" => "true or false",
                        "columns" => "a list of names",
                        _ => "a text in quotes",
                    };
                    self.wrong(at, format!("{key}: expected {kind}"));
                }
                (other, _) => {
                    let hint = nearest(other, KEYS).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    self.wrong(key.span().start, format!("unknown key `{other}`{hint}"));
                }
            }
        }
        Some(view)
    }
}

fn one_of<T>(name: &str, what: &str, all: impl Iterator<Item = (&'static str, T)> + Clone) -> Result<T, String> {
    if let Some((_, found)) = all.clone().find(|(known, _)| *known == name) {
        return Ok(found);
    }
    let names: Vec<&str> = all.map(|(known, _)| known).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", names.join(", ")),
    };
    Err(format!("there is no {what} `{name}`; {hint}"))
}

/// Whether a view may be called so.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = !name.trim().is_empty() && !name.contains(char::is_control) && name.chars().count() <= MAX_NAME;
    if good { Ok(()) } else { Err(format!("a view's name is one line of up to {MAX_NAME} characters, found `{name}`")) }
}

/// The file with a view written into it, in place of one of its name.
///
/// # Errors
/// A file that cannot be read is not changed.
pub fn with(text: &str, view: &SavedView) -> Result<String, String> {
    let mut document = document(text)?;
    let list = document.entry("view").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(list) = list.as_array_of_tables_mut() else {
        return Err(format!("`view` in {FILE} is no list of [[view]] tables; mend it first"));
    };
    let at = list.iter().position(|t| is_named(t, &view.name));
    if at.is_none() {
        list.push(Table::new());
    }
    let at = at.unwrap_or(list.len() - 1);
    let Some(table) = list.get_mut(at) else { return Err(format!("{FILE} cannot be written")) };
    table["name"] = value(&view.name);
    let mut set = |key: &str, item: Option<Item>| match item {
        // Assigned in place, so that a comment behind an old value stays.
        Some(item) => table[key] = item,
        None => drop(table.remove(key)),
    };
    set("filter", (!view.filter.is_empty()).then(|| value(&view.filter)));
    set("sort", (view.sort != SortBy::default()).then(|| value(view.sort.as_str())));
    set("reverse", view.reverse.then(|| value(true)));
    set("group", view.group.map(|group| value(group.as_str())));
    let columns: Array = view.columns.iter().map(Column::name).collect();
    set("columns", (!columns.is_empty()).then(|| value(columns)));
    Ok(document.to_string())
}

/// The file without the view of that name; `None` if it has none.
///
/// # Errors
/// As [`with`].
pub fn without(text: &str, name: &str) -> Result<Option<String>, String> {
    let mut document = document(text)?;
    let Some(list) = document.get_mut("view").and_then(Item::as_array_of_tables_mut) else { return Ok(None) };
    let before = list.len();
    list.retain(|table| !is_named(table, name));
    Ok((list.len() < before).then(|| document.to_string()))
}

fn is_named(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

fn document(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|e: toml_edit::TomlError| {
        let line = line_of(text, e.span().map_or(0, |s| s.start));
        format!("{FILE} was not changed: line {line} cannot be read: {}", e.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "# mine\n[[view]]\nname = \"paper\"\nfilter = \"tag:paper\" # of ours\nsort = \"best\"\nreverse = true\ngroup = \"method\"\ncolumns = [\"seed\", \"valid/accuracy\"]\n";

    fn paper() -> SavedView {
        SavedView {
            name: "paper".into(),
            filter: "tag:paper".into(),
            sort: SortBy::Best,
            reverse: true,
            group: Some(GroupBy::Method),
            columns: vec![Column::Seed, Column::Figure("valid/accuracy".into())],
        }
    }

    #[test]
    fn a_view_says_how_the_list_looks() {
        assert_eq!(parse(OWN), (vec![paper()], vec![]));
        let mut runs = Runs::default();
        paper().apply(&mut runs);
        assert_eq!(SavedView::of("paper", &runs), paper());
        assert_eq!(
            paper().words(),
            "tag:paper · by best, turned round · grouped by method · with seed, valid/accuracy"
        );
        assert_eq!(SavedView::default().words(), "all runs, newest first");
        let (all, mistakes) = views(OWN);
        assert!(mistakes.is_empty() && all.len() == shipped().len() + 1);
        assert!(shipped().iter().all(|v| Filter::parse(&v.filter).is_ok() && check_name(&v.name).is_ok()));
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_costs_its_entry_alone() {
        let text = "colour = 1\n[[view]]\nname = \"a\"\nfilter = \"stat:x\"\nsort = \"bset\"\ngroup = 3\nreverse = true\ncolums = []\n\
            [[view]]\nfilter = \"x\"\n[[view]]\nname = \"b\"\ncolumns = [1, \"seed\"]\n[[view]]\nname = \"a\"\nsort = \"name\"\n";
        let (views, mistakes) = parse(text);
        let said = |part: &str| assert!(mistakes.iter().any(|m| m.starts_with(part)), "{part}: {mistakes:#?}");
        said("views.toml, line 1: `colour` is no list of views");
        said("views.toml, line 4: view `a`: filter: `stat:x`: there is no field `stat`");
        said("views.toml, line 5: view `a`: there is no order `bset`; did you mean `best`?");
        said("views.toml, line 6: view `a`: group: expected a text in quotes");
        said("views.toml, line 8: view `a`: unknown key `colums`; did you mean `columns`?");
        said("views.toml, line 9: a view needs a name");
        said("views.toml, line 13: view `b`: columns: expected names");
        said("views.toml, line 14: view `a`: there is another view of that name above");
        assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
        assert_eq!(views.len(), 2);
        assert_eq!((views[0].name.as_str(), views[0].columns.as_slice()), ("b", &[Column::Seed][..]));
        assert_eq!((views[1].name.as_str(), views[1].sort), ("a", SortBy::Name));
    }

    #[test]
    fn a_line_that_is_no_toml_leaves_the_other_views() {
        let (views, mistakes) =
            parse("[[view]]\nname = \"a\"\nsort = = \"best\"\n[[view]]\nname = \"b\"\nsort = \"best\"\n");
        assert!(mistakes[0].starts_with("views.toml, line 3: "), "{mistakes:?}");
        assert!(views.iter().any(|v| v.name == "b" && v.sort == SortBy::Best), "{views:?}");
        for text in ["[[view", "view = 3", "[view]\nname = \"x\"", "\u{0}", "[[view]]\nname = \"\\u0007\""] {
            assert!(!parse(text).1.is_empty(), "{text}");
        }
    }

    #[test]
    fn the_file_is_made_when_something_is_saved_and_only_then() {
        let folder = std::env::temp_dir().join(format!("kiln-views-{}", std::process::id()));
        let path = folder.join("deeper").join(FILE);
        assert_eq!(load(Some(&path)), (shipped(), vec![]));
        assert!(change(Some(&path), &ViewChange::Remove("paper".into())).unwrap_err().contains("no view `paper`"));
        assert!(!path.exists());
        assert!(change(Some(&path), &ViewChange::Save(paper())).unwrap().contains("`paper`"));
        assert!(load(Some(&path)).0.contains(&paper()));
        change(Some(&path), &ViewChange::Remove("paper".into())).unwrap();
        assert_eq!(load(Some(&path)), (shipped(), vec![]));
        assert!(change(None, &ViewChange::Save(paper())).unwrap_err().contains("KILN_CONFIG"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn saving_keeps_comments_and_other_views() {
        let other = SavedView { name: "two".into(), group: Some(GroupBy::Age), ..SavedView::default() };
        let both = with(OWN, &other).unwrap();
        assert!(both.starts_with("# mine\n[[view]]\nname = \"paper\"") && both.contains("# of ours"), "{both}");
        assert_eq!(parse(&both), (vec![paper(), other.clone()], vec![]));
        let again = with(&both, &SavedView { reverse: false, columns: vec![], ..paper() }).unwrap();
        assert!(!again.contains("reverse") && !again.contains("columns"), "{again}");
        assert_eq!(parse(&without(&again, "paper").unwrap().unwrap()), (vec![other.clone()], vec![]));
        assert_eq!(without(&again, "nowhere"), Ok(None));
        assert_eq!(parse(&with("", &other).unwrap()), (vec![other.clone()], vec![]));
        assert!(with("a\nb = = 1", &other).unwrap_err().contains("was not changed: line 1"));
        assert!(with("view = 1", &other).unwrap_err().contains("no list"));
    }
}
