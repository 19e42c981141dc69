//! TOML with the place of every value: reading, merging, overrides.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Place, Problem};
use crate::sweep;

/// A value and where it was written (for the value of a key: where the key was).
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub value: Value,
    pub place: Place,
    /// The text as typed, for values of `--set`: `--set title=12` means the text `12`.
    pub typed: Option<String>,
}

pub(crate) type Table = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

/// One source of TOML: a file, or an argument.
pub(crate) struct Source<'a> {
    pub text: &'a str,
    pub place: Place,
}

impl Source<'_> {
    fn place_at(&self, offset: usize) -> Place {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Place { line: Some(1 + before.iter().filter(|b| **b == b'\n').count()), ..self.place.clone() }
    }

    /// The whole document; syntax errors do not keep the rest from being read, so that all mistakes are reported at once.
    pub fn parse(&self) -> (Table, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut problems: Vec<Problem> = Vec::new();
        for error in errors {
            let place = error.span().map_or_else(|| self.place.clone(), |span| self.place_at(span.start));
            // The parser stumbles on after a mistake: what it says further on about the same line is noise.
            if problems.last().is_none_or(|last| last.line != place.line) {
                let mut said = error.message().lines().collect::<Vec<_>>().join(", ");
                // Who writes the same head twice mostly means a list.
                let line = place.line.and_then(|n| self.text.lines().nth(n - 1)).map_or("", str::trim);
                let head = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')).filter(|l| !l.starts_with('['));
                if let Some(head) = head.filter(|_| said.contains("duplicate key")) {
                    said.push_str(&format!("; where there may be several, each is headed [[{head}]]"));
                }
                problems.push(Problem::at(&place, "", format!("not TOML: {said}")));
            }
        }
        (self.table(table.get_ref()), problems)
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        table
            .iter()
            .map(|(key, value)| {
                let place = self.place_at(key.span().start);
                (key.get_ref().to_string(), Node { place, ..self.node(value) })
            })
            .collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let parsed = match value.get_ref() {
            DeValue::String(s) => Value::Text(s.to_string()),
            // Both fail for figures beyond any setting's range only; as infinity they are refused as such.
            DeValue::Integer(i) => {
                i128::from_str_radix(i.as_str(), i.radix()).map_or(Value::Float(f64::INFINITY), Value::Integer)
            }
            DeValue::Float(x) => Value::Float(x.as_str().parse().unwrap_or(f64::INFINITY)),
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Datetime(d) => Value::Date(d.to_string()),
            DeValue::Array(list) => Value::List(list.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { value: parsed, place: self.place_at(value.span().start), typed: None }
    }
}

/// Lays `over` on top of `base`: tables are merged key by key, anything else is replaced.
pub(crate) fn merge(base: &mut Table, over: Table) {
    for (key, node) in over {
        match (base.get_mut(&key), node) {
            (
                Some(Node { value: Value::Table(old), place, .. }),
                Node { value: Value::Table(new), place: newer, .. },
            ) => {
                *place = newer;
                merge(old, new);
            }
            (_, node) => drop(base.insert(key, node)),
        }
    }
}

/// What is typed without the brackets of a list, such as `1, 2`, with them; `None` if it is no such thing. A text that merely
/// contains commas is none.
pub(crate) fn bracketed(typed: &str) -> Option<String> {
    let number = |part: &str| part.trim().parse::<f64>().is_ok();
    (typed.contains(',') && typed.split(',').all(number)).then(|| format!("[{typed}]"))
}

/// Reads `key=value`. The value is TOML; a bare word is text, and numbers with commas between them are a list.
pub(crate) fn parse_override(argument: &str, folder: &Path) -> Result<Table, Problem> {
    let place = Place { file: sweep::option(argument).into(), line: None, folder: Arc::new(folder.to_path_buf()) };
    let wrong = |message: String| Err(Problem::at(&place, "", message));
    let Some((key, typed)) = argument.split_once('=') else {
        return wrong("expected KEY=VALUE, such as `optim.lr=0.01`".into());
    };
    let (key, typed) = (key.trim(), typed.trim());
    let path = match key_path(key) {
        Some(path) => path,
        None => return wrong(format!("`{key}` is not a key; expected a dotted name, such as `optim.lr`")),
    };
    let list = bracketed(typed);
    let wrapped = format!("v = {}", list.as_deref().unwrap_or(typed));
    let source = Source { text: &wrapped, place: place.clone() };
    let value = match source.parse() {
        (mut table, problems) if problems.is_empty() && table.len() == 1 => match table.remove("v") {
            Some(node) => node.value,
            None => Value::Text(typed.to_owned()),
        },
        (_, problems) if typed.starts_with(['"', '\'', '[', '{']) => {
            let said = problems.first().map_or("unreadable", |p| p.message.as_str());
            return wrong(format!("the value is {said}"));
        }
        _ => Value::Text(typed.to_owned()),
    };
    let mut node = Node { value: without_lines(value), place: place.clone(), typed: Some(typed.to_owned()) };
    let mut names = path.into_iter().rev();
    let Some(last) = names.next() else { return wrong("the key is empty".into()) };
    let mut table = Table::from([(last, node)]);
    for name in names {
        node = Node { value: Value::Table(table), place: place.clone(), typed: None };
        table = Table::from([(name, node)]);
    }
    Ok(table)
}

/// An argument has no lines worth naming.
fn without_lines(value: Value) -> Value {
    let strip = |mut node: Node| {
        node.place.line = None;
        node.value = without_lines(node.value);
        node
    };
    match value {
        Value::List(items) => Value::List(items.into_iter().map(strip).collect()),
        Value::Table(table) => Value::Table(table.into_iter().map(|(k, node)| (k, strip(node))).collect()),
        other => other,
    }
}

/// The parts of a dotted TOML key.
pub(crate) fn key_path(key: &str) -> Option<Vec<String>> {
    let line = format!("{key} = 0");
    let (table, errors) = DeTable::parse_recoverable(&line);
    if !errors.is_empty() || key.contains(['\n', '#']) {
        return None;
    }
    let mut path = Vec::new();
    let mut at = table.into_inner();
    loop {
        let (name, value) = at.into_iter().next()?;
        path.push(name.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => at = inner,
            _ => return Some(path),
        }
    }
}
