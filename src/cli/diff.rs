//! `diff`: in which settings two runs differ, or a run and a preset, or two presets; and what runs found.

use std::collections::{BTreeMap, BTreeSet};

use kiln_protocol::spec::Spec;
use serde::Serialize;
use serde_json::Value as Json;

use crate::compare::gather::settings;
use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, human, presets};
use kiln_protocol::compare::plain;

/// Settings that name, and do not say what is done.
const NAMES: &[&str] = &["title", "description"];

/// One side.
#[derive(Debug, Serialize)]
struct Side {
    /// Id of the run, or name of the preset.
    name: String,
    /// `run` or `preset`.
    kind: &'static str,
    #[serde(skip)]
    settings: BTreeMap<String, Json>,
    /// Of an experiment: what each arm sets, by its name.
    #[serde(skip)]
    arms: BTreeMap<String, BTreeMap<String, String>>,
    /// Live settings that were changed after the start: [`Side::settings`] has what it started with.
    changed: Vec<(String, String)>,
    #[serde(skip)]
    figures: BTreeMap<String, f64>,
}

/// The answer of `diff --json`.
#[derive(Debug, Serialize)]
struct Differences<'a> {
    first: &'a Side,
    second: &'a Side,
    /// By key: one value a side, null where it has no such setting.
    settings: BTreeMap<&'a str, [Option<&'a Json>; 2]>,
    /// Figures of runs that differ, likewise.
    figures: BTreeMap<&'a str, [Option<f64>; 2]>,
}

pub fn diff(engines: &Engines, args: &args::Diff) -> Outcome {
    let first = side(engines, &args.first)?;
    let second = side(engines, &args.second)?;
    let found = Differences::of(&first, &second);
    if args.json { say_json(&found) } else { say(in_words(&found)) }
}

/// A run of that name, else a preset. The engine is asked only where no preset can be meant: presets can be held against one
/// another without one.
fn side(engines: &Engines, asked: &str) -> Outcome<Side> {
    let preset = presets::find(asked).ok();
    if preset.is_some() {
        let (preset, _) = presets::read(asked, &[])?;
        return of_spec(preset.name, "preset", &preset.spec);
    }
    let mut client = engines.open()?;
    let id = match engines::find(&mut client, asked) {
        Err(Failure::Input(said)) => return Err(Failure::Input(format!("{said}; nor is there such a preset"))),
        other => other?,
    };
    let detail = engines::detail(&mut client, &id)?;
    let spec = Spec::from_toml("spec.toml", &detail.spec)
        .map_err(|problems| Failure::input(format!("{id}: {}", problems.of_another_kiln())))?;
    let outcome = detail.outcome.unwrap_or_default();
    Ok(Side {
        changed: detail.knobs,
        figures: outcome.figures.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        ..of_spec(id.to_string(), "run", &spec)?
    })
}

fn of_spec(name: String, kind: &'static str, spec: &Spec) -> Outcome<Side> {
    let mut settings = settings(spec).map_err(Failure::Input)?;
    settings.retain(|key, _| !NAMES.contains(&key.as_str()));
    let arms = spec.arms.iter().map(|arm| (arm.name.clone(), arm.settings().into_iter().collect())).collect();
    Ok(Side { name, kind, settings, arms, changed: Vec::new(), figures: BTreeMap::new() })
}

impl<'a> Differences<'a> {
    fn of(first: &'a Side, second: &'a Side) -> Differences<'a> {
        let keys = first.settings.keys().chain(second.settings.keys());
        let settings = keys.map(|key| (key.as_str(), [first.settings.get(key), second.settings.get(key)]));
        let names = first.figures.keys().chain(second.figures.keys());
        let both = [first, second];
        let figures = names.map(|name| (name.as_str(), both.map(|side| side.figures.get(name).copied())));
        // A preset has found nothing: that is no difference.
        let runs = both.iter().all(|side| side.kind == "run");
        Differences {
            first,
            second,
            settings: settings.filter(|(_, [a, b])| a != b).collect(),
            figures: figures.filter(|(_, [a, b])| runs && a != b).collect(),
        }
    }
}

fn in_words(found: &Differences<'_>) -> String {
    let (first, second) = (found.first, found.second);
    let mut parts = Vec::new();
    let value = |v: &Option<&Json>| v.map_or_else(|| "-".to_owned(), plain);
    // Arms are lists of settings themselves.
    let plain = found.settings.iter().filter(|(key, _)| **key != ARMS);
    let mut rows: Vec<Vec<String>> = plain.map(|(key, [a, b])| vec![(*key).to_owned(), value(a), value(b)]).collect();
    rows.extend(arms(first, second));
    parts.push(match rows.is_empty() {
        true => format!("{} and {} have the same settings.", first.name, second.name),
        false => human::columns(&["SETTING", &first.name, &second.name], &rows),
    });
    for side in [first, second].into_iter().filter(|side| !side.changed.is_empty()) {
        let changes: Vec<String> = side.changed.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        parts.push(format!("{} was changed while it went on: {}", side.name, changes.join(", ")));
    }
    if !found.figures.is_empty() {
        let number = |v: &Option<f64>| v.map_or_else(|| "-".to_owned(), human::number);
        let rows: Vec<Vec<String>> = found
            .figures
            .iter()
            .map(|(name, [a, b])| {
                let more = a.zip(*b).map(|(a, b)| b - a);
                let sign = if more.is_some_and(|d| d > 0.0) { "+" } else { "" };
                vec![(*name).to_owned(), number(a), number(b), format!("{sign}{}", number(&more))]
            })
            .collect();
        parts.push(human::columns(&["FIGURE", &first.name, &second.name, "DIFFERENCE"], &rows));
    }
    parts.join("\n\n")
}

/// The setting that holds an experiment's arms.
const ARMS: &str = "arms";

/// What differs between the arms of two experiments: in those that both have, setting by setting.
fn arms(first: &Side, second: &Side) -> Vec<Vec<String>> {
    let names: BTreeSet<&String> = first.arms.keys().chain(second.arms.keys()).collect();
    let mut rows = Vec::new();
    for name in names {
        let (Some(a), Some(b)) = (first.arms.get(name), second.arms.get(name)) else {
            let whole = |side: &Side| side.arms.get(name).map_or_else(|| "-".to_owned(), in_a_line);
            rows.push(vec![format!("arm {name}"), whole(first), whole(second)]);
            continue;
        };
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        let value = |arm: &BTreeMap<String, String>, key| arm.get(key).cloned().unwrap_or_else(|| "-".into());
        let differs = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
        rows.extend(differs.map(|key| vec![format!("arm {name}: {key}"), value(a, key), value(b, key)]));
    }
    rows
}

fn in_a_line(arm: &BTreeMap<String, String>) -> String {
    let set: Vec<String> = arm.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    if set.is_empty() { "as the preset".into() } else { set.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, kind: &'static str, settings: &[(&str, Json)], figures: &[(&str, f64)]) -> Side {
        Side {
            name: name.into(),
            kind,
            settings: settings.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            arms: BTreeMap::new(),
            changed: Vec::new(),
            figures: figures.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
        }
    }

    #[test]
    fn only_what_differs_is_said() {
        let a =
            of("a-1", "run", &[("seed", 1.into()), ("optim.lr", 0.1.into())], &[("accuracy", 0.5), ("params", 7.0)]);
        let mut b = of(
            "b-1",
            "run",
            &[("seed", 2.into()), ("optim.lr", 0.1.into()), ("x", "y".into())],
            &[("accuracy", 0.75), ("params", 7.0)],
        );
        b.changed.push(("optim.lr".into(), "0.01".into()));
        let said = in_words(&Differences::of(&a, &b));
        let lines: Vec<Vec<&str>> = said.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[..3], [vec!["SETTING", "a-1", "b-1"], vec!["seed", "1", "2"], vec!["x", "-", "y"]], "{said}");
        assert!(said.contains("b-1 was changed while it went on: optim.lr = 0.01"), "{said}");
        assert!(said.lines().last().unwrap().ends_with("+0.2500") && !said.contains("params"), "{said}");
    }

    #[test]
    fn arms_are_told_one_by_one() {
        let text = |arms: &str| {
            let base = "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n";
            Spec::from_toml("x", &format!("{base}{arms}")).unwrap()
        };
        let arm = |name: &str, lr: f64| format!("[[arms]]\nname = \"{name}\"\nset = {{ \"optim.lr\" = {lr} }}\n");
        let plain = "[[arms]]\nname = \"plain\"\n";
        let a = of_spec("a".into(), "preset", &text(&(arm("x", 0.1) + &arm("y", 0.2) + plain))).unwrap();
        let b = of_spec("b".into(), "preset", &text(&(arm("x", 0.1) + &arm("y", 0.3)))).unwrap();
        let said = in_words(&Differences::of(&a, &b));
        let lines: Vec<String> = said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["SETTING a b", "arm plain as the preset -", "arm y: optim.lr 0.2 0.3"], "{said}");
    }

    #[test]
    fn equal_settings_are_said_to_be_equal_and_a_preset_has_no_figures() {
        let a = of("a-1", "run", &[("seed", 1.into())], &[("accuracy", 0.5)]);
        let p = of("p", "preset", &[("seed", 1.into())], &[]);
        assert_eq!(in_words(&Differences::of(&a, &p)), "a-1 and p have the same settings.");
    }
}
