//! `compare`: several runs side by side. Runs that differ in nothing but their seeds are one column, with mean and spread.

use std::collections::BTreeMap;
use std::fmt::Write;

use kiln_metrics::{PairedT, Summary};
use kiln_protocol::client::Client;
use kiln_protocol::run::{Figure, Outcome as Found};
use kiln_protocol::wire::RunDetail;
use kiln_protocol::{RunId, spec::Spec};
use serde::Serialize;
use serde_json::Value as Json;

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, note, say, say_json};
use crate::{args, human};

/// Settings that name a run or say where and how fast it goes, not what it finds.
const ASIDE: &[&str] = &[
    "title",
    "description",
    "seed",
    "seeds",
    "arms",
    "run.device",
    "run.parallel",
    "run.checkpoint-every",
    "run.retries",
];

/// A run that has an outcome.
struct Ended {
    id: RunId,
    /// Preset, and arm of a job.
    name: String,
    seed: u64,
    settings: BTreeMap<String, Json>,
    found: Found,
}

/// Runs that differ in nothing but their seeds.
struct Group {
    name: String,
    settings: BTreeMap<String, Json>,
    /// In the order of seeds.
    runs: Vec<Ended>,
}

/// The answer of `compare --json`.
#[derive(Serialize)]
struct Compared {
    groups: Vec<GroupRow>,
    /// Settings in which the groups differ, by key: one value a group, null where it has no such setting.
    settings: BTreeMap<String, Vec<Json>>,
    figures: Vec<FigureRow>,
}

#[derive(Serialize)]
struct GroupRow {
    name: String,
    runs: Vec<RunId>,
    seeds: Vec<u64>,
}

#[derive(Serialize)]
struct FigureRow {
    name: String,
    unit: String,
    higher_is_better: Option<bool>,
    /// One a group; null where none of its runs has this figure.
    groups: Vec<Option<Summary>>,
    /// One a group: what it has more than the first. Null for the first, and where either lacks the figure.
    against_first: Vec<Option<Difference>>,
}

/// What a group has more than the first.
#[derive(Clone, Copy, Serialize)]
struct Difference {
    /// Difference of the means; with common seeds, mean of the differences seed by seed.
    difference: f64,
    /// Common seeds, if there are two and more.
    pairs: usize,
    /// Two-sided p-value of the paired t-test over them.
    p: Option<f64>,
}

pub fn compare(engines: &Engines, args: &args::Compare) -> Outcome {
    let mut client = engines.open()?;
    let mut ended: Vec<Ended> = Vec::new();
    for asked in &args.runs {
        let id = engines::find(&mut client, asked)?;
        let detail = engines::detail(&mut client, &id)?;
        let jobs: Vec<RunId> = detail.jobs.iter().map(|job| job.id.clone()).collect();
        let details = if jobs.is_empty() { vec![detail] } else { all(&mut client, &jobs)? };
        for detail in details {
            let id = detail.summary.id.clone();
            match self::ended(detail) {
                Ok(Some(run)) if !ended.iter().any(|known| known.id == id) => ended.push(run),
                Ok(Some(_)) => {}
                Ok(None) => note(format!("{id} has found nothing yet and is left out")),
                Err(said) => note(format!("{id} is left out: {said}")),
            }
        }
    }
    let groups = group(ended);
    if groups.is_empty() {
        return Err(Failure::Input("none of these runs has found anything yet; nothing can be compared".into()));
    }
    let compared = Compared {
        groups: groups.iter().map(GroupRow::of).collect(),
        settings: differences(&groups),
        figures: figures(&groups, args.all),
    };
    if args.json { say_json(&compared) } else { say(in_words(&compared)) }
}

fn all(client: &mut Client, jobs: &[RunId]) -> Outcome<Vec<RunDetail>> {
    jobs.iter().map(|job| engines::detail(client, job)).collect()
}

fn ended(detail: RunDetail) -> Result<Option<Ended>, String> {
    let Some(found) = detail.outcome else { return Ok(None) };
    let spec = Spec::from_toml("spec.toml", &detail.spec).map_err(|problems| problems.to_string())?;
    let mut settings = BTreeMap::new();
    flatten(String::new(), &serde_json::to_value(&spec).map_err(|e| e.to_string())?, &mut settings);
    // What a space is made of stands in its file; that it is another one is worth a line.
    if let Some(own) = &spec.space.definition {
        settings.retain(|key, _| !key.starts_with("space.definition."));
        let text = serde_json::to_string(own).map_err(|e| e.to_string())?;
        settings.insert("space.definition".into(), fingerprint(&text).into());
    }
    settings.retain(|key, _| !ASIDE.contains(&key.as_str()));
    let summary = detail.summary;
    let name = match &summary.arm {
        Some(arm) => format!("{} {arm}", summary.preset),
        None => summary.preset,
    };
    Ok(Some(Ended { id: summary.id, name, seed: spec.seed, settings, found }))
}

/// Short and different for different texts.
fn fingerprint(text: &str) -> String {
    format!("#{:08x}", kiln_protocol::spec::seed::derive(0, text, 0, 0) >> 32)
}

/// Tables to dotted keys.
fn flatten(key: String, value: &Json, out: &mut BTreeMap<String, Json>) {
    match value {
        Json::Object(table) => {
            for (name, value) in table {
                flatten(if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, out);
            }
        }
        Json::Null => {}
        value => drop(out.insert(key, value.clone())),
    }
}

fn group(ended: Vec<Ended>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for run in ended {
        match groups.iter_mut().find(|g| g.settings == run.settings && g.name == run.name) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { name: run.name.clone(), settings: run.settings.clone(), runs: vec![run] }),
        }
    }
    for group in &mut groups {
        group.runs.sort_by(|a, b| (a.seed, &a.id).cmp(&(b.seed, &b.id)));
    }
    groups
}

impl GroupRow {
    fn of(group: &Group) -> GroupRow {
        GroupRow {
            name: group.name.clone(),
            runs: group.runs.iter().map(|run| run.id.clone()).collect(),
            seeds: group.runs.iter().map(|run| run.seed).collect(),
        }
    }
}

impl Group {
    /// By seed; the first of several runs of one seed.
    fn values(&self, figure: &str) -> BTreeMap<u64, f64> {
        let mut values = BTreeMap::new();
        for run in &self.runs {
            if let Some(value) = run.found.figures.get(figure).copied().flatten().filter(|v| v.is_finite()) {
                values.entry(run.seed).or_insert(value);
            }
        }
        values
    }
}

fn differences(groups: &[Group]) -> BTreeMap<String, Vec<Json>> {
    let mut out = BTreeMap::new();
    for key in groups.iter().flat_map(|group| group.settings.keys()) {
        let values: Vec<Json> =
            groups.iter().map(|group| group.settings.get(key).cloned().unwrap_or(Json::Null)).collect();
        if values.iter().any(|value| *value != values[0]) {
            out.insert(key.clone(), values);
        }
    }
    out
}

/// What the methods want to be judged by, in the order in which they say so; all figures where asked for, or where no method
/// says any.
fn figures(groups: &[Group], all: bool) -> Vec<FigureRow> {
    let outcomes = || groups.iter().flat_map(|group| &group.runs).map(|run| &run.found);
    let mut wanted: Vec<Figure> = Vec::new();
    let mut want = |figure: Figure| {
        if !wanted.iter().any(|known| known.name == figure.name) {
            wanted.push(figure);
        }
    };
    outcomes().flat_map(|found| &found.headline).for_each(|figure| want(figure.clone()));
    if all || outcomes().all(|found| found.headline.is_empty()) {
        let names = outcomes().flat_map(|found| found.figures.keys());
        names.for_each(|name| want(Figure { name: name.clone(), ..Figure::default() }));
    }
    wanted.into_iter().map(|figure| row(groups, figure)).collect()
}

fn row(groups: &[Group], figure: Figure) -> FigureRow {
    let values: Vec<BTreeMap<u64, f64>> = groups.iter().map(|group| group.values(&figure.name)).collect();
    let means: Vec<Option<Summary>> = values.iter().map(|v| Summary::of(v.values().copied())).collect();
    let against = |i: usize| {
        let (first, own) = (means[0].filter(|_| i > 0)?, means[i]?);
        let pairs = values[0].iter().filter_map(|(seed, a)| Some((*a, *values[i].get(seed)?)));
        Some(match PairedT::of(pairs) {
            Some(t) => Difference { difference: t.difference, pairs: t.count, p: Some(t.p).filter(|p| p.is_finite()) },
            None => Difference { difference: own.mean - first.mean, pairs: 0, p: None },
        })
    };
    let against_first = (0..groups.len()).map(against).collect();
    FigureRow {
        name: figure.name,
        unit: figure.unit,
        higher_is_better: figure.higher_is_better,
        groups: means,
        against_first,
    }
}

/// Letters for the groups, as names are too long for columns.
fn letter(i: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(i % 26).unwrap_or(0));
    if i < 26 { letter.to_string() } else { format!("{letter}{}", i / 26) }
}

fn in_words(compared: &Compared) -> String {
    let mut out = String::new();
    let letters: Vec<String> = (0..compared.groups.len()).map(letter).collect();
    for (group, letter) in compared.groups.iter().zip(&letters) {
        let seeds: Vec<String> = group.seeds.iter().map(u64::to_string).collect();
        let runs = match group.runs.as_slice() {
            [only] => only.to_string(),
            runs => format!("{} runs", runs.len()),
        };
        let word = if seeds.len() == 1 { "seed" } else { "seeds" };
        let twice = if group.seeds.windows(2).any(|w| w[0] == w[1]) { "; of one seed, the first counts" } else { "" };
        let _ = writeln!(out, "{letter}  {}: {runs}, {word} {}{twice}", group.name, seeds.join(" "));
    }
    let mut heads: Vec<&str> = vec!["FIGURE"];
    heads.extend(letters.iter().map(String::as_str));
    let several = letters.len() > 1;
    let against: Vec<String> = letters.iter().skip(1).map(|letter| format!("{letter} - A")).collect();
    heads.extend(against.iter().map(String::as_str));
    let rows: Vec<Vec<String>> = compared
        .figures
        .iter()
        .map(|figure| {
            let unit = if figure.unit.is_empty() { String::new() } else { format!(" ({})", figure.unit) };
            let better = match figure.higher_is_better {
                Some(true) => " +",
                Some(false) => " -",
                None => "",
            };
            let name = format!("{}{unit}{better}", figure.name);
            let cells = figure.groups.iter().map(|summary| summary.as_ref().map_or_else(|| "-".into(), spread));
            let more = figure.against_first.iter().skip(1).map(|d| d.as_ref().map_or_else(|| "-".into(), difference));
            std::iter::once(name).chain(cells).chain(more).collect()
        })
        .collect();
    let _ = writeln!(out, "\n{}", human::columns(&heads, &rows));
    let _ = write!(out, "\nMeans with standard deviations over seeds; + higher is better, - lower is better.");
    if several {
        let _ = write!(out, " Differences from A, with p of a paired t-test where two and more seeds are common.");
    }
    if !compared.settings.is_empty() {
        let mut heads: Vec<&str> = vec!["SETTING"];
        heads.extend(letters.iter().map(String::as_str));
        let row = |(key, values): (&String, &Vec<Json>)| {
            std::iter::once(key.clone()).chain(values.iter().map(plain)).collect::<Vec<String>>()
        };
        let rows: Vec<Vec<String>> = compared.settings.iter().map(row).collect();
        let _ = write!(out, "\n\n{}", human::columns(&heads, &rows));
    }
    out
}

fn plain(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        Json::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn spread(summary: &Summary) -> String {
    match summary.count {
        1 => human::number(summary.mean),
        _ => format!("{} ± {}", human::number(summary.mean), human::number(summary.std)),
    }
}

fn difference(d: &Difference) -> String {
    let sign = if d.difference > 0.0 { "+" } else { "" };
    let p = d.p.map_or_else(String::new, |p| format!(" (p {p:.3})"));
    format!("{sign}{}{p}", human::number(d.difference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, seed: u64, epochs: u32, accuracy: Option<f64>) -> Ended {
        let spec = format!(
            "method = \"train\"\nseed = {seed}\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n[train]\nepochs = {epochs}\n"
        );
        let mut summary = kiln_protocol::RunSummary::queued(RunId(format!("{name}-{seed}")), 0.0);
        summary.preset = name.into();
        let found = Found {
            figures: BTreeMap::from([("accuracy".to_owned(), accuracy), ("seconds".to_owned(), Some(7.0))]),
            headline: vec![Figure::new("accuracy", true)],
            ..Found::default()
        };
        let detail = RunDetail {
            summary,
            spec,
            series: vec![],
            views: vec![],
            outcome: Some(found),
            folder: String::new(),
            knobs: Vec::new(),
            jobs: vec![],
        };
        ended(detail).unwrap().unwrap()
    }

    #[test]
    fn seeds_are_one_group_and_groups_are_compared_seed_by_seed() {
        let groups = group(vec![
            run("a", 1, 5, Some(0.50)),
            run("b", 2, 9, Some(0.71)),
            run("a", 2, 5, Some(0.60)),
            run("b", 1, 9, Some(0.60)),
            run("b", 7, 9, Some(0.99)),
        ]);
        let names: Vec<(&str, Vec<u64>)> =
            groups.iter().map(|g| (g.name.as_str(), g.runs.iter().map(|r| r.seed).collect())).collect();
        assert_eq!(names, [("a", vec![1, 2]), ("b", vec![1, 2, 7])]);
        let settings = differences(&groups);
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), [("train.epochs".to_owned(), vec![5.into(), 9.into()])]);
        let rows = figures(&groups, false);
        assert_eq!(rows.len(), 1, "only what the method wants to be judged by");
        let [Some(a), Some(b)] = rows[0].groups[..] else { panic!("no means") };
        assert!((a.mean - 0.55).abs() < 1e-12 && (b.mean - 2.30 / 3.0).abs() < 1e-12 && b.count == 3);
        let against = rows[0].against_first[1].unwrap();
        assert_eq!(against.pairs, 2, "seed 7 has no partner");
        assert!((against.difference - 0.105).abs() < 1e-12 && against.p.is_some());
        assert!(rows[0].against_first[0].is_none());
        assert_eq!(figures(&groups, true).len(), 2);
    }

    #[test]
    fn a_single_run_has_no_spread_and_a_missing_figure_is_a_dash() {
        let groups = group(vec![run("a", 1, 5, Some(0.5)), run("b", 1, 5, None)]);
        let compared = Compared {
            groups: groups.iter().map(GroupRow::of).collect(),
            settings: differences(&groups),
            figures: figures(&groups, false),
        };
        assert!(compared.settings.is_empty());
        let said = in_words(&compared);
        let line = said.lines().find(|l| l.starts_with("accuracy")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["accuracy", "+", "0.5000", "-", "-"], "{said}");
        assert!(said.starts_with("A  a: a-1, seed 1\nB  b: b-1, seed 1\n"), "{said}");
    }
}
