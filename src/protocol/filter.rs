//! The language in which runs are looked for, in the workbench's `/` and in `kiln ls --filter`.
//!
//! A filter is a row of terms, all of which must hold; a `-` before a term turns it round.
//!
//! | term | runs for which |
//! | --- | --- |
//! | `digits`, `"two words"` | id, preset, title, method, device, a tag or the note contains the text |
//! | `failed`, `live`, `ended` | the state is that one, or one of that kind; in quotes it is a text |
//! | `method:hournas`, `preset:`, `id:`, `title:`, `device:`, `host:`, `note:`, `reason:` | that field contains the text; `=` wants it whole, `*` stands for anything |
//! | `tag:paper`, `tag:v2*`, `tag:*` | one of the tags is that, begins so, is there at all |
//! | `state:running,queued` | the state is one of these; commas mean *or* in every field |
//! | `acc>0.9`, `best<=0.1`, `done<50%` | the figure compares so; a figure may be cut short, as `acc` for `valid/accuracy` |
//! | `seed:1,2`, `priority>0`, `attempts>1`, `jobs>=3` | the number compares so |
//! | `age<2d`, `took>1h30m`, `left<10min`, `seen>5min` | the time since it was created, at work, still to go, since its last event |
//!
//! Case does not matter. A run that lacks a figure fulfils no comparison with it. Figures of an experiment's arms begin with
//! the arm's name, which is not part of what may be cut short; without it one arm that compares so is enough. There are neither `or` nor parentheses.
//!
//! ```
//! use kiln_protocol::filter::Filter;
//! use kiln_protocol::{RunId, RunSummary};
//!
//! let run = RunSummary { method: "hournas".into(), tags: vec!["paper".into()], ..RunSummary::queued(RunId("x".into()), 0.0) };
//! assert!(Filter::parse("method:hournas tag:paper -failed age<2d").unwrap().matches(&run, 3600.0));
//! let error = Filter::parse("stat:failed").unwrap_err();
//! assert_eq!(error.to_string(), "`stat:failed`: there is no field `stat`; did you mean `state`?");
//! ```

mod complete;
mod foreign;

use std::ops::Range;

use kiln_spec::problem::nearest;

use crate::run::{RunState, RunSummary};

pub use complete::{Completion, complete};

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The bytes of the term that is meant.
    pub at: Range<usize>,
    term: String,
    why: String,
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.term, self.why)
    }
}

impl std::error::Error for FilterError {}

/// A filter that has been read. The default one lets everything through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    /// As written, and where.
    text: String,
    at: Range<usize>,
    not: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// A text in any of the usual places, in lower case.
    Anywhere(String),
    State(Vec<&'static States>),
    Text(Text, Vec<Pattern>),
    Tag(Vec<Pattern>),
    Number(Quantity, Op, Vec<f64>),
}

/// Fields that hold a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Id,
    Preset,
    Title,
    Method,
    Device,
    Host,
    Note,
    Reason,
}

/// Fields that hold a number.
#[derive(Clone, Debug, PartialEq)]
enum Quantity {
    Best,
    Done,
    Seed,
    Priority,
    Attempts,
    Jobs,
    Age,
    Seen,
    Took,
    Left,
    /// Any other name: a figure of the run, in lower case.
    Figure(String),
}

/// What a field's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    State,
    Tag,
    Text(Text),
    Number,
    Time,
}

struct Field {
    name: &'static str,
    kind: Kind,
    /// For completion: what it is, in a few words.
    help: &'static str,
}

const fn field(name: &'static str, kind: Kind, help: &'static str) -> Field {
    Field { name, kind, help }
}

const FIELDS: [Field; 20] = [
    field("tag", Kind::Tag, "a tag"),
    field("method", Kind::Text(Text::Method), "the method"),
    field("state", Kind::State, "the state"),
    field("preset", Kind::Text(Text::Preset), "the preset's name"),
    field("best", Kind::Number, "the best figure so far"),
    field("age", Kind::Time, "time since it was created"),
    field("took", Kind::Time, "time at work"),
    field("done", Kind::Number, "the share done, such as 50%"),
    field("seed", Kind::Number, "the seed"),
    field("note", Kind::Text(Text::Note), "the first line of the note"),
    field("title", Kind::Text(Text::Title), "the title"),
    field("id", Kind::Text(Text::Id), "the run's id"),
    field("device", Kind::Text(Text::Device), "the device"),
    field("host", Kind::Text(Text::Host), "the host"),
    field("left", Kind::Time, "time still to go"),
    field("seen", Kind::Time, "time since the last event"),
    field("reason", Kind::Text(Text::Reason), "why it is paused, stopped or failed"),
    field("priority", Kind::Number, "the priority"),
    field("attempts", Kind::Number, "starts of a worker"),
    field("jobs", Kind::Number, "jobs of an experiment"),
];

/// States by name, one or several.
#[derive(Debug)]
struct States {
    name: &'static str,
    holds: fn(RunState) -> bool,
}

impl PartialEq for States {
    fn eq(&self, other: &States) -> bool {
        self.name == other.name
    }
}

const STATES: [States; 10] = [
    States { name: "queued", holds: |s| s == RunState::Queued },
    States { name: "starting", holds: |s| s == RunState::Starting },
    States { name: "running", holds: |s| s == RunState::Running },
    States { name: "paused", holds: |s| s == RunState::Paused },
    States { name: "stopping", holds: |s| s == RunState::Stopping },
    States { name: "stopped", holds: |s| s == RunState::Stopped },
    States { name: "completed", holds: |s| s == RunState::Completed },
    States { name: "failed", holds: |s| s == RunState::Failed },
    States { name: "live", holds: RunState::is_live },
    States { name: "ended", holds: RunState::is_ended },
];

fn states(name: &str) -> Option<&'static States> {
    STATES.iter().find(|s| s.name == name)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// `:`: contains; of numbers, equals.
    Has,
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Longer signs first: `<=` is no `<`.
const OPS: [(&str, Op); 8] = [
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("!=", Op::IsNot),
    ("==", Op::Is),
    (":", Op::Has),
    ("=", Op::Is),
    (">", Op::More),
    ("<", Op::Less),
];

/// A text to be found in another, in lower case.
#[derive(Clone, Debug, PartialEq)]
struct Pattern {
    /// What must come in this order, where `*` stood between; one part if none did.
    parts: Vec<String>,
    /// The other text has nothing before the first part and behind the last.
    whole: bool,
}

impl Pattern {
    /// Without a `*`, `whole` decides whether a part of the other text is enough.
    fn new(text: &str, whole: bool) -> Pattern {
        let parts: Vec<String> = text.to_lowercase().split('*').map(str::to_owned).collect();
        Pattern { whole: whole || parts.len() > 1, parts }
    }

    fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let [first, between @ .., last] = self.parts.as_slice() else {
            return match self.parts.first() {
                Some(only) if self.whole => text == *only,
                Some(only) => text.contains(only.as_str()),
                None => true,
            };
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        between.iter().all(|part| match rest.find(part.as_str()) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

impl Filter {
    /// Reads a filter. A text of blanks alone lets everything through.
    ///
    /// # Errors
    /// What is wrong with the first term that cannot be read.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        match Filter::read(text) {
            (filter, None) => Ok(filter),
            (_, Some(mistake)) => Err(mistake),
        }
    }

    /// As [`Filter::parse`], for a filter that is still being typed: the terms that can be read, and the first mistake.
    pub fn read(text: &str) -> (Filter, Option<FilterError>) {
        let mut scan = Scan { text, at: 0 };
        let mut terms = Vec::new();
        let mut mistake = None;
        while scan.next_word() {
            let start = scan.at;
            let not = scan.eat("-");
            let read = scan.test();
            // The rest of a word that could not be read belongs to it.
            if read.is_err() {
                scan.take(|c| !c.is_whitespace());
            }
            let at = start..scan.at;
            let written = text[at.clone()].to_owned();
            match read {
                Ok(test) => terms.push(Term { text: written, at, not, test }),
                Err(why) => drop(mistake.get_or_insert(FilterError { at, term: written, why })),
            }
        }
        (Filter { terms }, mistake)
    }

    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether the run is one of those looked for; `now` in seconds since the Unix epoch.
    pub fn matches(&self, run: &RunSummary, now: f64) -> bool {
        self.terms.iter().all(|term| term.matches(run, now))
    }

    /// What is wrong with the filter for these runs, whichever of them it finds: it takes a setting for a figure that none of
    /// them has.
    ///
    /// # Errors
    /// The first such term.
    pub fn suits<'a>(&self, runs: impl Iterator<Item = &'a RunSummary> + Clone) -> Result<(), FilterError> {
        for term in &self.terms {
            if let Test::Number(Quantity::Figure(name), ..) = &term.test
                && let Some(why) = foreign::setting(name)
                && !runs.clone().any(|run| figure(run, name).is_some())
            {
                return Err(FilterError { at: term.at.clone(), term: term.text.clone(), why });
            }
        }
        Ok(())
    }

    /// Why none of these runs is one of those looked for, as a sentence; `None` if some are.
    pub fn why_none<'a>(&self, runs: impl Iterator<Item = &'a RunSummary> + Clone, now: f64) -> Option<String> {
        if self.terms.is_empty() || runs.clone().any(|run| self.matches(run, now)) {
            return None;
        }
        if let Err(wrong) = self.suits(runs.clone()) {
            return Some(format!("{wrong}."));
        }
        if runs.clone().next().is_none() {
            return Some("There are no runs yet.".into());
        }
        for term in &self.terms {
            if runs.clone().any(|run| term.matches(run, now)) {
                continue;
            }
            if let Test::Number(Quantity::Figure(name), ..) = &term.test
                && !term.not
                && !runs.clone().any(|run| figure(run, name).is_some())
            {
                let mut known: Vec<&str> = runs.flat_map(figures).map(|(name, _)| name).collect();
                known.sort_unstable();
                known.dedup();
                let near = nearest(name, known.iter().flat_map(|known| [*known, leaf(known)]));
                let hint = match (near, known.is_empty()) {
                    (Some(near), _) => format!("; did you mean `{near}`?"),
                    (None, true) => " yet.".to_owned(),
                    (None, false) => {
                        known.truncate(6);
                        format!("; there are {}.", known.join(", "))
                    }
                };
                return Some(format!("No run has a figure `{name}`{hint}"));
            }
            return Some(format!("No run matches `{}`.", term.text));
        }
        Some("No run matches all of it, though each part matches some.".into())
    }
}

impl Term {
    fn matches(&self, run: &RunSummary, now: f64) -> bool {
        self.not != self.test.holds(run, now)
    }
}

impl Test {
    fn holds(&self, run: &RunSummary, now: f64) -> bool {
        match self {
            Test::Anywhere(text) => {
                let fields = [&run.id.0, &run.preset, &run.title, &run.method, &run.note];
                let more = run.device.iter().chain(&run.tags);
                fields.into_iter().chain(more).any(|field| contains(field, text))
            }
            Test::State(any) => any.iter().any(|states| (states.holds)(run.state)),
            Test::Tag(any) => any.iter().any(|pattern| run.tags.iter().any(|tag| pattern.matches(tag))),
            Test::Text(field, any) => {
                let value = match field {
                    Text::Id => Some(&run.id.0),
                    Text::Preset => Some(&run.preset),
                    Text::Title => Some(&run.title),
                    Text::Method => Some(&run.method),
                    Text::Device => run.device.as_ref(),
                    Text::Host => run.host.as_ref(),
                    Text::Note => Some(&run.note),
                    Text::Reason => run.reason.as_ref(),
                };
                // `note:*` asks for notes, not for empty ones.
                value.is_some_and(|text| !text.is_empty() && any.iter().any(|pattern| pattern.matches(text)))
            }
            Test::Number(quantity, op, values) => {
                let found = match quantity {
                    Quantity::Figure(name) => figure_of_each(run, name),
                    other => other.of(run, now).into_iter().collect(),
                };
                let holds = |found: &f64| {
                    let equal = |v: &f64| (found - v).abs() <= 1e-9 * v.abs().max(1.0);
                    match (op, values.as_slice()) {
                        (Op::Has | Op::Is, values) => values.iter().any(equal),
                        (Op::IsNot, values) => !values.iter().any(equal),
                        (Op::Less, [v, ..]) => found < v && !equal(v),
                        (Op::AtMost, [v, ..]) => found < v || equal(v),
                        (Op::More, [v, ..]) => found > v && !equal(v),
                        (Op::AtLeast, [v, ..]) => found > v || equal(v),
                        (_, []) => false,
                    }
                };
                match op {
                    Op::IsNot => !found.is_empty() && found.iter().all(holds),
                    _ => found.iter().any(holds),
                }
            }
        }
    }
}

/// Whether `text` contains `wanted`, which is in lower case. Most texts are ASCII, and there are many.
fn contains(text: &str, wanted: &str) -> bool {
    if text.is_ascii() {
        let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
        return wanted.is_empty() || text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted));
    }
    text.to_lowercase().contains(wanted)
}

/// Figures of a run by name: what it has found, and the best so far. Those of an experiment are its arms': the best of its jobs
/// says nothing of them.
pub fn figures(run: &RunSummary) -> impl Iterator<Item = (&str, f64)> {
    let best = run.best.iter().filter(|_| run.jobs.is_none()).map(|best| (best.name.as_str(), best.value));
    run.figures.iter().map(|(name, value)| (name.as_str(), *value)).chain(best)
}

/// The figure that a name means: the one of that name, else the first that goes on so at its beginning or behind a `/`, `_`,
/// `-` or blank.
pub fn figure(run: &RunSummary, name: &str) -> Option<f64> {
    let whole = figures(run).find(|(known, _)| known.eq_ignore_ascii_case(name));
    let begun = || figures(run).find(|(known, _)| goes_on(of_arm(run, known), name) || whole_parts(known, name));
    whole.or_else(begun).map(|(_, value)| value)
}

/// What a comparison with a figure looks at: of an experiment that of each arm, of any other run the one.
fn figure_of_each(run: &RunSummary, name: &str) -> Vec<f64> {
    let exact = figures(run).any(|(known, _)| known.eq_ignore_ascii_case(name));
    let named = || figures(run).find(|(known, _)| goes_on(of_arm(run, known), name) || whole_parts(known, name));
    match named() {
        Some((first, _)) if run.jobs.is_some() && !exact && !whole_parts(first, name) => {
            let leaf = of_arm(run, first);
            figures(run).filter(|(known, _)| of_arm(run, known) == leaf).map(|(_, value)| value).collect()
        }
        _ => figure(run, name).into_iter().collect(),
    }
}

/// An experiment's figure without the arm before it: `accuracy/mean` of `lr-0.1/accuracy/mean`, where `lr` is no figure.
fn of_arm<'a>(run: &RunSummary, known: &'a str) -> &'a str {
    match known.split_once('/') {
        // Without arms there are two parts: `accuracy/mean`.
        Some((_, figure)) if run.jobs.is_some() && figure.contains('/') => figure,
        _ => known,
    }
}

/// Whether the name is written with its beginning, as `lr-0.1/acc`.
fn whole_parts(known: &str, name: &str) -> bool {
    name.contains('/') && goes_on(known, name)
}

fn goes_on(known: &str, name: &str) -> bool {
    let begins = |rest: &str| rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let behind = known.match_indices(['/', '_', '-', ' ']).map(|(at, sign)| at + sign.len());
    std::iter::once(0).chain(behind).any(|at| begins(&known[at..]))
}

/// What a figure is called without the part of the data that it was measured on: `accuracy` of `valid/accuracy`.
fn leaf(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl Quantity {
    fn of(&self, run: &RunSummary, now: f64) -> Option<f64> {
        match self {
            Quantity::Best => run.best.as_ref().map(|best| best.value),
            Quantity::Done => Some(run.progress.fraction()),
            Quantity::Seed => Some(run.seed as f64),
            Quantity::Priority => Some(f64::from(run.priority)),
            Quantity::Attempts => Some(f64::from(run.attempts)),
            Quantity::Jobs => Some(run.jobs.map_or(0.0, |jobs| f64::from(jobs.total))),
            Quantity::Age => Some(now - run.created),
            Quantity::Seen => run.last_event.map(|t| now - t),
            Quantity::Took => run.took(now),
            Quantity::Left => run.eta,
            Quantity::Figure(name) => figure(run, name),
        }
    }

    fn named(name: &str) -> Quantity {
        match name {
            "best" => Quantity::Best,
            "done" => Quantity::Done,
            "seed" => Quantity::Seed,
            "priority" => Quantity::Priority,
            "attempts" => Quantity::Attempts,
            "jobs" => Quantity::Jobs,
            "age" => Quantity::Age,
            "seen" => Quantity::Seen,
            "took" => Quantity::Took,
            "left" => Quantity::Left,
            other => Quantity::Figure(other.to_owned()),
        }
    }
}

/// Reads a filter from left to right.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes to the beginning of the next word; false at the end.
    fn next_word(&mut self) -> bool {
        self.take(char::is_whitespace);
        !self.rest().is_empty()
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A text up to a blank or one of `ends`; blanks and signs within quotes belong to it. Whether there were quotes comes
    /// along.
    fn value(&mut self, ends: &[char]) -> Result<(String, bool), String> {
        let (mut out, mut quoted) = (String::new(), false);
        loop {
            out.push_str(self.take(|c| c != '"' && !c.is_whitespace() && !ends.contains(&c)));
            if !self.eat("\"") {
                return Ok((out, quoted));
            }
            quoted = true;
            out.push_str(self.take(|c| c != '"'));
            if !self.eat("\"") {
                return Err("the closing quote is missing".into());
            }
        }
    }

    fn test(&mut self) -> Result<Test, String> {
        let start = self.at;
        if self.rest().starts_with(['(', ')'])
            && let Some(why) = foreign::word(self.rest())
        {
            return Err(why);
        }
        let name = self.take(|c| !c.is_whitespace() && !matches!(c, ':' | '<' | '>' | '=' | '!' | '"'));
        let found = OPS.iter().find(|(sign, _)| self.rest().starts_with(sign));
        let Some((sign, op)) = found else {
            self.at = start;
            return self.word();
        };
        self.at += sign.len();
        let known = name.to_lowercase();
        if known.is_empty() {
            return Err(format!("a field is missing before `{sign}`, as in acc>0.9 or method:train"));
        }
        let mut values = Vec::new();
        loop {
            let (value, quoted) = self.value(&[','])?;
            if value.is_empty() && !quoted {
                return Err(missing(&known, sign));
            }
            values.push(value);
            if !self.eat(",") {
                break;
            }
        }
        test(&known, sign, *op, &values)
    }

    /// A word without a field.
    fn word(&mut self) -> Result<Test, String> {
        let (word, quoted) = self.value(&[])?;
        let word = word.to_lowercase();
        match states(&word) {
            Some(found) if !quoted => Ok(Test::State(vec![found])),
            None if !quoted && let Some(why) = foreign::word(&word) => Err(why),
            _ if word.is_empty() && !quoted => Err("what is to be left out is missing, as in -failed".into()),
            _ => Ok(Test::Anywhere(word)),
        }
    }
}

/// What belongs behind a sign.
fn missing(name: &str, sign: &str) -> String {
    let example = match FIELDS.iter().find(|f| f.name == name).map(|f| f.kind) {
        Some(Kind::State) => "a state, such as running",
        Some(Kind::Tag) => "a tag, such as paper",
        Some(Kind::Text(_)) => "a text",
        Some(Kind::Time) => "a time, such as 30s, 10min, 2h or 3d",
        Some(Kind::Number) => "a number, such as 3 or 90%",
        None if matches!(sign, ":" | "=") => "a value",
        None => "a number, such as 0.9 or 90%",
    };
    format!("expected {example} behind `{sign}`")
}

fn test(name: &str, sign: &str, op: Op, values: &[String]) -> Result<Test, String> {
    let compares = !matches!(op, Op::Has | Op::Is | Op::IsNot);
    let kind = match FIELDS.iter().find(|f| f.name == name) {
        Some(field) => field.kind,
        // Only figures are compared by size, and which there are nobody knows beforehand; all else has a field.
        None if compares => Kind::Number,
        None if values.iter().all(|v| number(v).is_some()) => Kind::Number,
        None if let Some(why) = foreign::setting(name) => return Err(why),
        None => {
            let near = nearest(name, FIELDS.iter().map(|f| f.name));
            let hint = near.map_or_else(
                || format!("fields are {}", FIELDS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(format!("there is no field `{name}`; {hint}"));
        }
    };
    if compares && !matches!(kind, Kind::Number | Kind::Time) {
        return Err(format!("`{name}` is no number and has no size; write {name}:VALUE"));
    }
    if compares && values.len() > 1 {
        return Err(format!("one value is enough behind `{sign}`"));
    }
    if op == Op::IsNot && !matches!(kind, Kind::Number | Kind::Time) {
        return Err(format!("write -{name}:{} for those that are not", values.join(",")));
    }
    Ok(match kind {
        Kind::State => Test::State(values.iter().map(|v| state(v)).collect::<Result<_, String>>()?),
        Kind::Tag => Test::Tag(values.iter().map(|v| Pattern::new(v, true)).collect()),
        Kind::Text(field) => Test::Text(field, values.iter().map(|v| Pattern::new(v, op == Op::Is)).collect()),
        Kind::Number | Kind::Time => {
            let read = |v: &String| {
                let value = if kind == Kind::Time { seconds(v) } else { number(v) };
                value.ok_or_else(|| format!("{}, found `{v}`", missing(name, sign)))
            };
            Test::Number(Quantity::named(name), op, values.iter().map(read).collect::<Result<_, String>>()?)
        }
    })
}

fn state(name: &str) -> Result<&'static States, String> {
    let name = name.to_lowercase();
    states(&name).ok_or_else(|| {
        let hint = nearest(&name, STATES.iter().map(|s| s.name)).map(|near| format!("; did you mean `{near}`?"));
        let all = || format!("; states are {}", STATES.iter().map(|s| s.name).collect::<Vec<_>>().join(", "));
        format!("there is no state `{name}`{}", hint.unwrap_or_else(all))
    })
}

/// A number: `0.9`, `1e-3`, `90%`, `2.5k`, `3M`.
fn number(text: &str) -> Option<f64> {
    let scaled = [("%", 0.01), ("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9)];
    let (digits, by) =
        scaled.iter().find_map(|(unit, by)| Some((text.strip_suffix(unit)?, *by))).unwrap_or((text, 1.0));
    // `inf` and `nan` are words here.
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    digits.parse::<f64>().ok().filter(|v| plain && v.is_finite()).map(|v| v * by)
}

/// A time in seconds: `30s`, `10min`, `2h`, `1h30m`, `3d`, `2w`. A number alone is none: whether days or seconds are meant, nobody
/// knows; but nothing is nothing in any unit.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "" if digits == text.len() && value == 0.0 => 1.0,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        rest = &rest[letters..];
        sum += value * unit;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests;
