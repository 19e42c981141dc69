//! What may come next in a filter that is being typed.

use std::collections::BTreeMap;

use super::{FIELDS, Kind, OPS, STATES, Text, figures, leaf};
use crate::run::RunSummary;

/// One way to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The whole filter, its last word completed.
    pub whole: String,
    /// What is offered: the field or the value.
    pub word: String,
    /// What it is, in a few words; empty for values.
    pub help: &'static str,
}

/// Ways to go on with the last word of a filter, given the runs that there are: fields first, then states and figures; behind
/// a field the values that runs have, the commonest first.
pub fn complete<'a>(text: &str, runs: impl Iterator<Item = &'a RunSummary>) -> Vec<Completion> {
    let (before, word) = text.split_at(last_word(text));
    let (minus, word) = word.strip_prefix('-').map_or(("", word), |rest| ("-", rest));
    let at = word.find([':', '<', '>', '=', '!']);
    let Some((at, (sign, _))) =
        at.and_then(|at| Some((at, OPS.iter().find(|(sign, _)| word[at..].starts_with(sign))?)))
    else {
        return names(word, runs).map(|(word, help)| whole(&[before, minus, &word], word.clone(), help)).collect();
    };
    let (name, values) = (&word[..at], &word[at + sign.len()..]);
    let (given, value) =
        values.rsplit_once(',').map_or(("", values), |(given, last)| (&values[..given.len() + 1], last));
    let value = value.trim_start_matches('"').to_lowercase();
    let Some(kind) = FIELDS.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.kind) else {
        return Vec::new();
    };
    let offered = of_kind(kind, runs).into_iter().filter(|v| v.to_lowercase().starts_with(&value));
    let offer = |v: String| {
        let quoted = if v.contains(|c: char| c.is_whitespace() || c == ',') { format!("\"{v}\"") } else { v.clone() };
        whole(&[before, minus, name, sign, given, &quoted], v, "")
    };
    offered.map(offer).collect()
}

fn whole(parts: &[&str], word: String, help: &'static str) -> Completion {
    Completion { whole: parts.concat(), word, help }
}

/// Where the last word begins: behind the last blank that is not within quotes.
fn last_word(text: &str) -> usize {
    let (mut start, mut quoted) = (0, false);
    for (at, c) in text.char_indices() {
        quoted ^= c == '"';
        if c.is_whitespace() && !quoted {
            start = at + c.len_utf8();
        }
    }
    start
}

/// What a word without a field may become.
fn names<'a>(word: &str, runs: impl Iterator<Item = &'a RunSummary>) -> impl Iterator<Item = (String, &'static str)> {
    let word = word.to_lowercase();
    let fields = FIELDS.iter().map(|f| {
        let sign = if matches!(f.kind, Kind::Number | Kind::Time) { ">" } else { ":" };
        (format!("{}{sign}", f.name), f.help)
    });
    // The last part of a figure's name tells most; it is what one would type.
    let mut known: Vec<&str> = runs.flat_map(figures).map(|(name, _)| leaf(name)).collect();
    known.sort_unstable();
    known.dedup();
    let figures: Vec<(String, &'static str)> = known.into_iter().map(|name| (format!("{name}>"), "a figure")).collect();
    let states = STATES.iter().map(|s| (s.name.to_owned(), "a state"));
    // An empty word would offer everything there is; fields are enough to begin with.
    let more = states.chain(figures).filter({
        let empty = word.is_empty();
        move |_| !empty
    });
    fields.chain(more).filter(move |(name, _)| name.to_lowercase().starts_with(&word))
}

/// Values of a field, the commonest first.
fn of_kind<'a>(kind: Kind, runs: impl Iterator<Item = &'a RunSummary>) -> Vec<String> {
    let text = match kind {
        Kind::Number | Kind::Time => return Vec::new(),
        Kind::State => return STATES.iter().map(|s| s.name.to_owned()).collect(),
        Kind::Tag => None,
        Kind::Text(text) => Some(text),
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for run in runs {
        let values: Vec<&str> = match text {
            None => run.tags.iter().map(String::as_str).collect(),
            Some(Text::Id) => vec![&run.id.0],
            Some(Text::Preset) => vec![&run.preset],
            Some(Text::Title) => vec![&run.title],
            Some(Text::Method) => vec![&run.method],
            Some(Text::Device) => run.device.as_deref().into_iter().collect(),
            Some(Text::Host) => run.host.as_deref().into_iter().collect(),
            Some(Text::Note) => vec![&run.note],
            Some(Text::Reason) => run.reason.as_deref().into_iter().collect(),
        };
        values.into_iter().filter(|v| !v.is_empty()).for_each(|v| *counts.entry(v).or_default() += 1);
    }
    let mut all: Vec<(&str, usize)> = counts.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    all.into_iter().map(|(value, _)| value.to_owned()).collect()
}
