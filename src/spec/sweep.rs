//! Reading `[sweep]` of a preset: settings to vary become arms, which are then checked like any others.

use std::collections::BTreeSet;
use std::path::Path;

use crate::check;
use crate::experiment::{self, Draft, MAX_NAME};
use crate::problem::{Place, Problem, nearest};
use crate::schema::{self, Field, Kind};
use crate::seed::derive;
use crate::settings::MAX_JOBS;
use crate::tree::{self, Node, Table, Value};

/// Significant digits of values that are drawn at random or stand at equal ratios: what people can read and compare.
const DIGITS: usize = 3;

/// Draws that may be wasted on combinations that were drawn before.
const TRIES: u64 = 64;

/// What a setting is varied over.
#[derive(Clone, Debug)]
enum Values {
    List(Vec<Value>),
    Range { from: f64, to: f64, log: bool, whole: bool },
}

/// One varied setting.
struct Dimension {
    key: String,
    values: Values,
    place: Place,
}

/// The argument for `--set` that varies a setting, as `--sweep key=values` means it.
pub fn argument(key: &str, values: &str) -> String {
    format!("{OVER}{key}\"={values}")
}

/// How [`argument`] begins.
const OVER: &str = "sweep.over.\"";

/// How mistakes name an argument for `--set`: one that varies a setting is written with `--sweep`.
pub(crate) fn option(argument: &str) -> String {
    match argument.strip_prefix(OVER).and_then(|rest| rest.split_once("\"=")) {
        Some((key, values)) => format!("{SWEEP}{key}={values}"),
        None => format!("--set {argument}"),
    }
}

const SWEEP: &str = "--sweep ";

/// The name of what is varied, `over` itself without a key: as files write it, or as `--sweep` does.
fn named(place: &Place, key: &str) -> String {
    match (place.file.starts_with(SWEEP), key) {
        (true, key) => key.to_owned(),
        (false, "") => "sweep.over".into(),
        (false, key) => format!("sweep.over.{key}"),
    }
}

/// Whether a setting can be varied over these values, and over how many: `None` for any number of a range.
///
/// # Errors
/// A sentence: what is wrong with the values.
pub fn count(field: &Field, values: &str) -> Result<Option<usize>, String> {
    let value = match tree::parse_override(&format!("v={values}"), Path::new("")) {
        Ok(mut table) => table.remove("v"),
        Err(problem) => return Err(problem.message),
    };
    let Some(node) = value else { return Err("expected values to vary over".into()) };
    match read(field, &node)? {
        Values::List(values) => Ok(Some(values.len())),
        Values::Range { .. } => Ok(None),
    }
}

/// Takes the sweep out of a preset and returns the arms that it makes of each arm there is.
pub(crate) fn take(table: &mut Table, arms: Vec<Draft>, problems: &mut Vec<Problem>) -> Vec<Draft> {
    let Some(node) = table.remove("sweep") else { return arms };
    let mut wrong = |place: &Place, key: &str, message: String| problems.push(Problem::at(place, key, message));
    let Value::Table(mut sweep) = node.value else {
        wrong(&node.place, "sweep", format!("expected a table, found {}", check::found(&node.value)));
        return arms;
    };
    let over = sweep.remove("over");
    let own = schema::sweep_fields();
    for (key, node) in &sweep {
        match own.iter().find(|field| field.key == format!("sweep.{key}")) {
            Some(field) => check::one(&field.key, node).into_iter().for_each(|problem| problems.push(problem)),
            None => {
                let hint = nearest(key, ["runs", "seed", "over"]).map(|near| format!("did you mean `{near}`?"));
                let hint = hint.unwrap_or_else(|| format!("write what is varied as over = {{ {key} = … }}"));
                problems.push(Problem::at(&node.place, &format!("sweep.{key}"), format!("is not a setting; {hint}")));
            }
        }
    }
    let whole = |key: &str| match sweep.get(key).map(|node| &node.value) {
        Some(Value::Integer(n)) => u64::try_from(*n).unwrap_or(0),
        _ => 0,
    };
    let (runs, seed) = (whole("runs"), whole("seed"));
    let Some(over) = over else {
        if runs > 0 {
            let message = "is missing: nothing would be varied; expected settings with their values, such as \
                           \"optim.lr\" = [0.01, 0.1]";
            problems.push(Problem::at(&node.place, "sweep.over", message));
        }
        return arms;
    };
    let Value::Table(settings) = &over.value else {
        let message = format!("expected a table of settings, found {}", check::found(&over.value));
        problems.push(Problem::at(&over.place, "sweep.over", message));
        return arms;
    };
    let before = problems.len();
    let mut dimensions = Vec::new();
    let fields = experiment::method(table).map(schema::fields);
    settings_in("", settings, fields.as_deref(), &mut dimensions, problems);
    if problems.len() > before {
        return arms;
    }
    if dimensions.is_empty() {
        problems.push(Problem::at(&over.place, "sweep.over", "names no setting: nothing would be varied"));
        return arms;
    }
    match combinations(&dimensions, runs, seed) {
        Ok(all) => spread(arms, &dimensions, &all),
        Err((place, key, message)) => {
            let place = place.unwrap_or(&over.place);
            problems.push(Problem::at(place, &named(place, &key), message));
            arms
        }
    }
}

/// The varied settings of `over`, whose keys may be dotted or tables within one another.
fn settings_in(
    prefix: &str,
    table: &Table,
    fields: Option<&[Field]>,
    out: &mut Vec<Dimension>,
    problems: &mut Vec<Problem>,
) {
    for (name, node) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if let Value::Table(inner) = &node.value {
            settings_in(&key, inner, fields, out, problems);
            continue;
        }
        let at = named(&node.place, &key);
        // Without a method nothing is known of the settings, and that it is missing is said elsewhere.
        let Some(fields) = fields else { continue };
        let Some(field) = fields.iter().find(|field| field.key == key) else {
            let keys = || fields.iter().map(|f| f.key.as_str());
            let hint = nearest(&key, keys()).or_else(|| keys().find(|known| known.rsplit('.').next() == Some(&key)));
            let hint = hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            problems.push(Problem::at(&node.place, &at, format!("is not a setting of this preset's method{hint}")));
            continue;
        };
        match read(field, node) {
            Ok(values) => out.push(Dimension { key, values, place: node.place.clone() }),
            Err(message) => problems.push(Problem::at(&node.place, &at, message)),
        }
    }
}

/// What a setting is varied over, each value as good as if it stood in the preset.
fn read(field: &Field, node: &Node) -> Result<Values, String> {
    match (field.key.as_str(), field.kind) {
        ("seed", _) => return Err("is the same for all runs of a sweep; list `seeds` beside it".into()),
        (_, Kind::List | Kind::Map) => {
            return Err("is a list or a table, which a sweep cannot vary; expected [[arms]] for that".into());
        }
        (key, _) if key == "seeds" || key.starts_with("sweep.") => return Err("cannot be varied".into()),
        _ => {}
    }
    let text = match &node.value {
        Value::List(items) => {
            let values = items.iter().map(|item| item.value.clone()).collect();
            return listed(field, values, &node.place);
        }
        Value::Text(text) => text.trim(),
        other => return listed(field, vec![other.clone()], &node.place),
    };
    if text.is_empty() {
        return Err(format!("has no values: nothing would be varied; {EXPECTED}"));
    }
    let options = match field.kind {
        Kind::Choice => field.options.iter().map(|o| o.value.as_str()).collect(),
        Kind::Switch => vec!["false", "true"],
        _ => Vec::new(),
    };
    if text == "*" {
        let values: Vec<Value> = options.into_iter().map(scalar).collect();
        return match values.is_empty() {
            true => Err("`*` stands for all options of a choice, but this is none; expected its values".into()),
            false => fitting(field, values, &node.place),
        };
    }
    if text.contains("..") && field.kind != Kind::Text {
        return range(field, text, &node.place);
    }
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if parts.contains(&"") {
        return Err(format!("has a comma without a value beside it, `{text}`; {EXPECTED}"));
    }
    listed(field, parts.into_iter().map(scalar).collect(), &node.place)
}

const EXPECTED: &str = "expected values such as 0.1,0.2, or a range such as 0.1..0.5/5";

/// A value as it is typed: TOML, or a bare word.
fn scalar(text: &str) -> Value {
    let node = tree::parse_override(&format!("v={text}"), Path::new("")).ok().and_then(|mut table| table.remove("v"));
    node.map_or_else(|| Value::Text(text.to_owned()), |node| node.value)
}

/// Values that somebody has written, if all of them fit and none is there twice.
fn listed(field: &Field, values: Vec<Value>, place: &Place) -> Result<Values, String> {
    let written: Vec<String> = values.iter().map(shown).collect();
    let fitting = fitting(field, values, place)?;
    match written.iter().enumerate().find(|(i, value)| written[..*i].contains(value)) {
        Some((_, twice)) => Err(format!("has {twice} twice; expected each value once")),
        None => Ok(fitting),
    }
}

/// The values, once each, if all of them fit.
fn fitting(field: &Field, values: Vec<Value>, place: &Place) -> Result<Values, String> {
    if values.is_empty() {
        return Err("is an empty list: nothing would be varied; expected at least one value".into());
    }
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        let node = Node { typed: Some(shown(&value)), value, place: place.clone() };
        if let Some(problem) = check::one(&field.key, &node).into_iter().next() {
            return Err(problem.message);
        }
        if !kept.iter().any(|known| shown(known) == shown(&node.value)) {
            kept.push(node.value);
        }
    }
    Ok(Values::List(kept))
}

/// `0.1..0.5/5`, `log:1e-4..0.1`.
fn range(field: &Field, text: &str, place: &Place) -> Result<Values, String> {
    if !matches!(field.kind, Kind::Integer | Kind::Number) {
        return Err(format!("`{text}` is a range, which only numbers have; expected a list of values"));
    }
    let expected = || format!("expected a range such as 0.1..0.5/5 or log:1e-4..0.1/4, found `{text}`");
    let (log, rest) = match text.split_once(':') {
        Some(("log", rest)) => (true, rest),
        Some(("linear" | "lin", rest)) => (false, rest),
        Some(_) => return Err(expected()),
        None => (false, text),
    };
    let (ends, steps) = match rest.split_once('/') {
        Some((ends, steps)) => (ends, Some(steps.trim().parse::<usize>().map_err(|_| expected())?)),
        None => (rest, None),
    };
    let (from, to) = ends.split_once("..").ok_or_else(expected)?;
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(expected);
    let (from, to) = (number(from)?, number(to)?);
    if from >= to {
        return Err(format!("goes from {} to {}; expected a range that rises", figure(from), figure(to)));
    }
    if log && from <= 0.0 {
        return Err(format!("begins at {}; equal ratios need numbers above 0", figure(from)));
    }
    let whole = field.kind == Kind::Integer;
    // Both ends fit, and so all between them.
    let ends = [from, to].map(|x| number_value(x, whole)).to_vec();
    fitting(field, ends, place)?;
    let Some(steps) = steps else { return Ok(Values::Range { from, to, log, whole }) };
    if !(2..=MAX_JOBS).contains(&steps) {
        return Err(format!("has {steps} steps; expected 2 to {MAX_JOBS}"));
    }
    let value = |i: usize| {
        let t = i as f64 / (steps - 1) as f64;
        number_value(between(from, to, log, t), whole)
    };
    fitting(field, (0..steps).map(value).collect(), place)
}

/// The number at `t` (0 to 1) of a range, in as many digits as are worth reading.
fn between(from: f64, to: f64, log: bool, t: f64) -> f64 {
    match t {
        0.0 => from,
        1.0 => to,
        _ if log => rounded((from.ln() + (to.ln() - from.ln()) * t).exp(), DIGITS).clamp(from, to),
        _ => rounded(from + (to - from) * t, 12).clamp(from, to),
    }
}

/// `x` with so many significant digits.
fn rounded(x: f64, digits: usize) -> f64 {
    format!("{x:.*e}", digits.saturating_sub(1)).parse().unwrap_or(x)
}

fn number_value(x: f64, whole: bool) -> Value {
    if whole { Value::Integer(x.round() as i128) } else { Value::Float(x) }
}

/// Numbers as people write them: `1e-4` rather than `0.0001`.
fn figure(x: f64) -> String {
    if x != 0.0 && (x.abs() < 1e-3 || x.abs() >= 1e6) { format!("{x:e}") } else { x.to_string() }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Float(x) => figure(*x),
        Value::Integer(n) => n.to_string(),
        Value::Bool(on) => on.to_string(),
        other => check::found(other),
    }
}

/// What is wrong with a sweep as a whole, or with one of its settings: place, key, sentence.
type Wrong<'a> = (Option<&'a Place>, String, String);

/// All combinations, or so many of them drawn at random: one value a setting.
fn combinations(dimensions: &[Dimension], runs: u64, seed: u64) -> Result<Vec<Vec<Value>>, Wrong<'_>> {
    let sizes = dimensions.iter().map(|d| match &d.values {
        Values::List(values) => Some(values.len()),
        Values::Range { .. } => None,
    });
    let all = sizes.collect::<Option<Vec<usize>>>().map(|sizes| sizes.iter().fold(1usize, |n, s| n.saturating_mul(*s)));
    match all {
        Some(all) if runs == 0 || all as u64 <= runs => {
            if all > MAX_JOBS {
                let message = format!(
                    "makes {all} combinations; an experiment has at most {MAX_JOBS} runs. Take fewer values, or draw some \
                     at random with sweep.runs (--sweep-runs)"
                );
                return Err((None, String::new(), message));
            }
            Ok((0..all).map(|n| nth(dimensions, n)).collect())
        }
        None if runs == 0 => {
            let endless = dimensions.iter().find(|d| matches!(d.values, Values::Range { .. }));
            let (place, key) = endless.map_or((None, String::new()), |d| (Some(&d.place), d.key.clone()));
            let message = "is a range without steps: write such as 1e-4..0.1/4 for four of its numbers, or draw some at \
                           random with sweep.runs (--sweep-runs)";
            Err((place, key, message.into()))
        }
        _ => Ok(drawn(dimensions, runs, seed)),
    }
}

/// The `n`-th combination; the last setting varies fastest.
fn nth(dimensions: &[Dimension], mut n: usize) -> Vec<Value> {
    let mut out = Vec::with_capacity(dimensions.len());
    for dimension in dimensions.iter().rev() {
        if let Values::List(values) = &dimension.values {
            out.extend(values.get(n % values.len()).cloned());
            n /= values.len();
        }
    }
    out.reverse();
    out
}

/// So many different combinations at random: fewer where there are not more.
fn drawn(dimensions: &[Dimension], runs: u64, seed: u64) -> Vec<Vec<Value>> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for attempt in 0..runs.saturating_mul(TRIES) {
        let point: Vec<Value> = dimensions.iter().map(|d| draw(d, derive(seed, &d.key, attempt, 0))).collect();
        if seen.insert(point.iter().map(shown).collect::<Vec<_>>()) {
            out.push(point);
        }
        if out.len() as u64 == runs {
            break;
        }
    }
    out
}

fn draw(dimension: &Dimension, bits: u64) -> Value {
    // The upper 53 bits: every such fraction of 1 is a number.
    let t = (bits >> 11) as f64 / (1u64 << 53) as f64;
    match &dimension.values {
        Values::List(values) => {
            let at = ((t * values.len() as f64) as usize).min(values.len().saturating_sub(1));
            values.get(at).cloned().unwrap_or(Value::Bool(false))
        }
        // Whole numbers are equally likely, the ends too.
        Values::Range { from, to, log: false, whole: true } => {
            let n = from.ceil() + (t * (to.floor() - from.ceil() + 1.0)).floor();
            Value::Integer(n.min(to.floor()) as i128)
        }
        Values::Range { from, to, log, whole } => {
            number_value(rounded(between(*from, *to, *log, t), DIGITS).clamp(*from, *to), *whole)
        }
    }
}

/// Each arm with each combination; without arms, each combination alone.
fn spread(arms: Vec<Draft>, dimensions: &[Dimension], all: &[Vec<Value>]) -> Vec<Draft> {
    let names = names(dimensions, all, arms.iter().map(|arm| arm.name.len() + 1).max().unwrap_or(0));
    let place = || dimensions.first().map(|d| d.place.clone());
    let set = |point: &[Value], mut base: Table| {
        for (dimension, value) in dimensions.iter().zip(point) {
            let node = Node { value: value.clone(), place: dimension.place.clone(), typed: Some(shown(value)) };
            if let Some(one) = experiment::nested(&dimension.key, &node) {
                tree::merge(&mut base, one);
            }
        }
        base
    };
    if arms.is_empty() {
        let made = |(name, point): (&String, &Vec<Value>)| {
            Some(Draft { name: name.clone(), place: place()?, set: set(point, Table::new()) })
        };
        return names.iter().zip(all).filter_map(made).collect();
    }
    let mut out = Vec::with_capacity(arms.len() * all.len());
    for arm in &arms {
        for (name, point) in names.iter().zip(all) {
            let name = format!("{}_{name}", arm.name);
            out.push(Draft { name, place: arm.place.clone(), set: set(point, arm.set.clone()) });
        }
    }
    out
}

/// What the arms are called: `lr-0.1_batch-64`; by number where that would be too long or ambiguous.
fn names(dimensions: &[Dimension], all: &[Vec<Value>], taken: usize) -> Vec<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let label = |dimension: &Dimension| {
        let short = last(&dimension.key);
        let alone = dimensions.iter().filter(|d| last(&d.key) == short).count() == 1;
        if alone { short } else { dimension.key.replace('.', "-") }
    };
    let plain = |text: String| -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        text.chars().map(|c| if fits(c) { c } else { '-' }).collect()
    };
    let name = |point: &Vec<Value>| {
        let parts = dimensions.iter().zip(point).map(|(d, value)| plain(format!("{}-{}", label(d), shown(value))));
        parts.collect::<Vec<_>>().join("_")
    };
    let names: Vec<String> = all.iter().map(name).collect();
    let distinct = names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let begins = names.iter().all(|n| n.starts_with(|c: char| c.is_ascii_alphanumeric()));
    if distinct && begins && names.iter().all(|n| n.len() + taken <= MAX_NAME) {
        return names;
    }
    let digits = all.len().to_string().len();
    (1..=all.len()).map(|n| format!("s{n:0digits$}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::Text;
    use crate::{MethodName, Preset, Problems, Spec};

    const BASE: &str = "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n";

    fn load(text: &str, overrides: &[&str]) -> Result<Preset, Problems> {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        Preset::load(Path::new("p.toml"), &overrides, &Text(format!("{BASE}{text}")))
    }

    fn arms(text: &str, overrides: &[&str]) -> Vec<(String, String)> {
        let preset = load(text, overrides).unwrap_or_else(|problems| panic!("{problems}"));
        let said = |arm: &crate::Arm| {
            let set: Vec<String> = arm.settings().into_iter().map(|(k, v)| format!("{k}={v}")).collect();
            (arm.name.clone(), set.join(" "))
        };
        preset.spec.arms.iter().map(said).collect()
    }

    #[test]
    fn every_combination_is_an_arm_that_the_frozen_preset_keeps() {
        let text = "[sweep.over]\n\"optim.kind\" = [\"sgd\", \"adamw\"]\noptim.lr = \"log:1e-3..0.1/3\"\n";
        let all = arms(text, &[]);
        let names: Vec<&str> = all.iter().map(|a| a.0.as_str()).collect();
        assert_eq!(
            names,
            [
                "lr-0.001_kind-sgd",
                "lr-0.001_kind-adamw",
                "lr-0.01_kind-sgd",
                "lr-0.01_kind-adamw",
                "lr-0.1_kind-sgd",
                "lr-0.1_kind-adamw"
            ]
        );
        assert_eq!(all[3].1, "optim.kind=\"adamw\" optim.lr=0.01");
        let preset = load(text, &["seeds=[1,2]"]).unwrap();
        let jobs = preset.spec.jobs().unwrap();
        assert_eq!((jobs.len(), jobs[5].spec.optim.lr, jobs[6].spec.seed), (12, 0.1, 2));
        let again = Spec::from_toml("spec.toml", &preset.frozen().unwrap()).unwrap();
        assert_eq!(again.jobs().unwrap(), jobs);
        assert!(again.sweep.is_none(), "it would be spread once more");
    }

    #[test]
    fn arguments_vary_settings_as_a_file_does() {
        let vary = |key: &str, values: &str| argument(key, values);
        let lr = vary("optim.lr", "0.1,0.2");
        let epochs = vary("train.epochs", "1..9/3");
        let set: Vec<String> = arms("", &[&lr, &epochs]).into_iter().map(|a| a.0).collect();
        assert_eq!(set[..2], ["lr-0.1_epochs-1", "lr-0.1_epochs-5"]);
        assert_eq!(set.len(), 6);
        let nesterov = vary("optim.nesterov", "*");
        assert_eq!(arms("", &[&nesterov]).len(), 2);
        assert_eq!(arms("", &[&vary("run.channels-last", "*")]).len(), 3);
        assert_eq!(arms("", &["sweep.seed=4", "sweep.runs=0"]), []);
        // Rounding makes two steps one.
        assert_eq!(arms("", &[&vary("train.epochs", "1..3/9")]).len(), 3);
    }

    #[test]
    fn what_is_drawn_at_random_is_in_range_different_and_the_same_again() {
        let text = "[sweep]\nruns = 40\n[sweep.over]\n\"optim.lr\" = \"log:1e-4..1\"\n\"train.epochs\" = \"3..6\"\n";
        let preset = load(text, &[]).unwrap();
        let drawn: Vec<(f64, u32)> = preset
            .spec
            .jobs()
            .unwrap()
            .iter()
            .map(|j| (j.spec.optim.lr, j.spec.train.as_ref().unwrap().epochs))
            .collect();
        assert_eq!(drawn.len(), 40);
        assert!(drawn.iter().all(|(lr, epochs)| (1e-4..=1.0).contains(lr) && (3..=6).contains(epochs)), "{drawn:?}");
        let low = drawn.iter().filter(|d| d.0 < 0.01).count();
        assert!((10..=30).contains(&low), "half of it below the middle of the ratios: {low}");
        assert!((3..=6).all(|n| drawn.iter().any(|d| d.1 == n)), "{drawn:?}");
        assert_eq!(load(text, &[]).unwrap().spec.arms, preset.spec.arms);
        assert_ne!(load(text, &["sweep.seed=9"]).unwrap().spec.arms, preset.spec.arms);
        // Of four combinations, ten cannot be drawn.
        let few = argument("train.epochs", "1,2,3,4");
        assert_eq!(arms("", &["sweep.runs=10", &few]).len(), 4);
        assert_eq!(arms("", &["sweep.runs=3", &few]).len(), 3);
    }

    #[test]
    fn arms_are_each_swept_and_long_names_are_numbers() {
        let text = "[[arms]]\nname = \"a\"\n[[arms]]\nname = \"b\"\nset = { \"optim.momentum\" = 0.5 }\n\
                    [sweep.over]\n\"optim.lr\" = [0.1, 0.2]\n";
        let all = arms(text, &[]);
        assert_eq!(all[3], ("b_lr-0.2".into(), "optim.lr=0.2 optim.momentum=0.5".into()));
        let names = |values: &str| arms("", &[&argument("train.arch", values)]).into_iter().map(|a| a.0);
        assert_eq!(names("reference,random").collect::<Vec<_>>(), ["arch-reference", "arch-random"]);
        let long = format!("{},random", "x".repeat(60));
        assert_eq!(names(&long).collect::<Vec<_>>(), ["s1", "s2"]);
    }

    #[test]
    fn a_sweep_that_cannot_be_is_named_with_line_and_key() {
        let said = |text: &str| load(text, &[]).map(|_| "fine".to_owned()).unwrap_or_else(|p| p.to_string());
        for (over, expected) in [
            (
                "\"optim.lr\" = []",
                "p.toml:7: sweep.over.optim.lr: is an empty list: nothing would be varied; expected at least one value",
            ),
            (
                "\"optim.lrr\" = [1]",
                "p.toml:7: sweep.over.optim.lrr: is not a setting of this preset's method; did you mean `optim.lr`?",
            ),
            ("\"optim.lr\" = [-1.0]", "p.toml:7: sweep.over.optim.lr: expected a number from 1e-8 to 100, found -1"),
            (
                "\"optim.lr\" = \"0.1..0.2\"",
                "p.toml:7: sweep.over.optim.lr: is a range without steps: write such as 1e-4..0.1/4 for four of its numbers, or draw some at random with sweep.runs (--sweep-runs)",
            ),
            (
                "\"optim.lr\" = \"0.2..0.1/3\"",
                "p.toml:7: sweep.over.optim.lr: goes from 0.2 to 0.1; expected a range that rises",
            ),
            (
                "\"optim.weight-decay\" = \"log:0..0.1/3\"",
                "p.toml:7: sweep.over.optim.weight-decay: begins at 0; equal ratios need numbers above 0",
            ),
            (
                "\"optim.lr\" = \"exp:1..2/3\"",
                "p.toml:7: sweep.over.optim.lr: expected a range such as 0.1..0.5/5 or log:1e-4..0.1/4, found `exp:1..2/3`",
            ),
            (
                "\"optim.kind\" = [\"sgd\", \"adam\"]",
                "p.toml:7: sweep.over.optim.kind: expected `sgd` or `adamw`, found `adam`; did you mean `adamw`?",
            ),
            (
                "\"optim.kind\" = \"1..2\"",
                "p.toml:7: sweep.over.optim.kind: `1..2` is a range, which only numbers have; expected a list of values",
            ),
            ("seed = [1, 2]", "p.toml:7: sweep.over.seed: is the same for all runs of a sweep; list `seeds` beside it"),
            (
                "\"optim.milestones\" = [[1]]",
                "p.toml:7: sweep.over.optim.milestones: is a list or a table, which a sweep cannot vary; expected [[arms]] for that",
            ),
            ("", "p.toml:6: sweep.over: names no setting: nothing would be varied"),
            (
                "\"optim.lr\" = \"0.1..0.9/999\"\n\"optim.batch\" = [1, 2]",
                "p.toml:6: sweep.over: makes 1998 combinations; an experiment has at most 1000 runs. Take fewer values, or draw some at random with sweep.runs (--sweep-runs)",
            ),
        ] {
            assert_eq!(said(&format!("[sweep.over]\n{over}\n")), expected, "{over}");
        }
        assert_eq!(
            said("[sweep]\nruns = 4\n"),
            "p.toml:6: sweep.over: is missing: nothing would be varied; expected settings with their values, such as \"optim.lr\" = [0.01, 0.1]"
        );
        assert_eq!(said("[sweep]\nrun = 4\n"), "p.toml:7: sweep.run: is not a setting; did you mean `runs`?");
        assert_eq!(
            said("[sweep]\nruns = -4\n"),
            "p.toml:7: sweep.runs: expected a whole number from 0 to 1000, found -4"
        );
        assert_eq!(
            said("[[arms]]\nname = \"a\"\nset = { sweep = {} }\n"),
            "p.toml:8: sweep: belongs to the preset, not to one arm (in arm `a`)"
        );
    }

    #[test]
    fn an_argument_is_named_as_it_was_written() {
        let said = |key: &str, values: &str| {
            load("", &[&argument(key, values)]).map(|_| "fine".to_owned()).unwrap_or_else(|p| p.to_string())
        };
        for (key, values, expected) in [
            (
                "optim.lr",
                "",
                "--sweep optim.lr=: optim.lr: has no values: nothing would be varied; expected values such as 0.1,0.2, or a range such as 0.1..0.5/5",
            ),
            (
                "optim.lr",
                "0.1,",
                "--sweep optim.lr=0.1,: optim.lr: has a comma without a value beside it, `0.1,`; expected values such as 0.1,0.2, or a range such as 0.1..0.5/5",
            ),
            (
                "optim.lr",
                "1..2..3",
                "--sweep optim.lr=1..2..3: optim.lr: expected a range such as 0.1..0.5/5 or log:1e-4..0.1/4, found `1..2..3`",
            ),
            ("optim.lr", "0.1,1e-1", "--sweep optim.lr=0.1,1e-1: optim.lr: has 0.1 twice; expected each value once"),
            ("optim.lr", "[1, 1]", "--sweep optim.lr=[1, 1]: optim.lr: has 1 twice; expected each value once"),
            (
                "lr",
                "0.1,0.2",
                "--sweep lr=0.1,0.2: lr: is not a setting of this preset's method; did you mean `optim.lr`?",
            ),
            (
                "optim.batch",
                "1..3000/1001",
                "--sweep optim.batch=1..3000/1001: optim.batch: has 1001 steps; expected 2 to 1000",
            ),
        ] {
            assert_eq!(said(key, values), expected);
        }
        let many = load("", &[&argument("optim.lr", "0.1..0.9/999"), &argument("optim.batch", "1,2")]).unwrap_err();
        let many = many.to_string();
        assert!(many.starts_with("--sweep optim.") && many.contains(": makes 1998 combinations"), "{many}");
    }

    #[test]
    fn a_form_knows_how_many_values_there_are() {
        let fields = schema::fields(MethodName::Train);
        let count = |key: &str, values: &str| super::count(fields.iter().find(|f| f.key == key).unwrap(), values);
        assert_eq!(count("optim.lr", "0.1, 0.2"), Ok(Some(2)));
        assert_eq!(count("optim.lr", "log:1e-4..0.1"), Ok(None));
        assert_eq!(count("optim.kind", "*"), Ok(Some(2)));
        assert_eq!(count("train.arch", "reference"), Ok(Some(1)));
        assert!(count("optim.lr", "").is_err() && count("optim.lr", "*").is_err());
    }
}
