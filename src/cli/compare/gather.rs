//! Runs, read from the engine and laid side by side. Those that differ in nothing but their seeds are one group.

use std::collections::BTreeMap;

use kiln_metrics::{ENOUGH_PAIRS, PairedT, Summary};
use kiln_protocol::client::Client;
use kiln_protocol::compare::{Comparison, Difference, FigureRow, Group, Spread, plain};
use kiln_protocol::run::{Figure, Outcome as Found};
use kiln_protocol::wire::{RunDetail, SeriesInfo};
use kiln_protocol::{RunId, now, spec::Spec};
use serde_json::Value as Json;

use crate::engines;
use crate::failure::Outcome;

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

/// The figure that every run has: seconds at work.
pub const WORKED: &str = "time at work";

/// A run that has something to compare.
struct Entry {
    id: RunId,
    /// Preset, and arm of a job.
    name: String,
    seed: u64,
    settings: BTreeMap<String, Json>,
    found: Found,
    /// What every run has, whether or not it is over: its best so far, and the time that it took.
    besides: Vec<(Figure, f64)>,
    series: Vec<SeriesInfo>,
}

/// Entries of one group, in the order of seeds.
struct Members {
    name: String,
    settings: BTreeMap<String, Json>,
    runs: Vec<Entry>,
}

/// Reads these runs, and lays them side by side. An experiment stands for its jobs. Runs that have nothing to show yet are
/// left out, and named.
pub fn gather(client: &mut Client, ids: &[RunId]) -> Outcome<Comparison> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut left_out = Vec::new();
    for id in ids {
        let detail = engines::brief(client, id)?;
        let jobs: Vec<RunId> = detail.jobs.iter().map(|job| job.id.clone()).collect();
        let details = if jobs.is_empty() { vec![detail] } else { all(client, &jobs)? };
        for detail in details {
            let id = detail.summary.id.clone();
            if entries.iter().any(|known| known.id == id) {
                continue;
            }
            match entry(detail) {
                Ok(Some(run)) => entries.push(run),
                Ok(None) => left_out.push(format!("{id} has found nothing yet and is left out")),
                Err(said) => left_out.push(format!("{id} is left out: {said}")),
            }
        }
    }
    Ok(Comparison { left_out, ..compare(entries) })
}

fn all(client: &mut Client, jobs: &[RunId]) -> Outcome<Vec<RunDetail>> {
    jobs.iter().map(|job| engines::brief(client, job)).collect()
}

fn entry(detail: RunDetail) -> Result<Option<Entry>, String> {
    let summary = detail.summary;
    if detail.outcome.is_none() && summary.best.is_none() && detail.series.is_empty() {
        return Ok(None);
    }
    let spec = Spec::from_toml("spec.toml", &detail.spec).map_err(|problems| problems.of_another_kiln())?;
    let mut settings = settings(&spec)?;
    // What was changed while the run went on is what it was trained with in the end.
    for (key, value) in detail.knobs {
        let value = value.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map_or(value.into(), Json::Number);
        settings.insert(key, value);
    }
    settings.retain(|key, _| !ASIDE.contains(&key.as_str()));
    let name = match &summary.arm {
        Some(arm) => format!("{} {arm}", summary.preset),
        None => summary.preset.clone(),
    };
    let best = summary.best.as_ref().map(|b| (Figure::new(&format!("best {}", b.name), b.higher_is_better), b.value));
    let time = Figure { name: WORKED.into(), unit: "s".into(), higher_is_better: Some(false) };
    let worked = summary.took(now()).map(|seconds| (time, seconds));
    Ok(Some(Entry {
        id: summary.id,
        name,
        seed: spec.seed,
        settings,
        found: detail.outcome.unwrap_or_default(),
        besides: best.into_iter().chain(worked).collect(),
        series: detail.series,
    }))
}

/// All settings of a preset by dotted key. Of a space that it defines itself there is a fingerprint: what it is made of stands
/// in its file; that it is another one is worth a line.
pub fn settings(spec: &Spec) -> Result<BTreeMap<String, Json>, String> {
    let mut settings = BTreeMap::new();
    flatten(String::new(), &serde_json::to_value(spec).map_err(|e| e.to_string())?, &mut settings);
    if let Some(own) = &spec.space.definition {
        settings.retain(|key, _| !key.starts_with("space.definition."));
        let text = serde_json::to_string(own).map_err(|e| e.to_string())?;
        settings.insert("space.definition".into(), fingerprint(&text).into());
    }
    Ok(settings)
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

fn compare(entries: Vec<Entry>) -> Comparison {
    let mut groups: Vec<Members> = Vec::new();
    for run in entries {
        match groups.iter_mut().find(|g| g.settings == run.settings && g.name == run.name) {
            Some(group) => group.runs.push(run),
            None => {
                groups.push(Members { name: run.name.clone(), settings: run.settings.clone(), runs: vec![run] });
            }
        }
    }
    for group in &mut groups {
        group.runs.sort_by(|a, b| (a.seed, &a.id).cmp(&(b.seed, &b.id)));
    }
    let settings = differences(&groups);
    let names: Vec<String> = (0..groups.len()).map(|i| name(&groups, i, &settings)).collect();
    Comparison {
        figures: figures(&groups),
        settings,
        groups: groups
            .into_iter()
            .zip(names)
            .map(|(group, name)| Group {
                name,
                runs: group.runs.iter().map(|run| run.id.clone()).collect(),
                seeds: group.runs.iter().map(|run| run.seed).collect(),
                series: group.runs.into_iter().map(|run| run.series).collect(),
            })
            .collect(),
        left_out: Vec::new(),
    }
}

/// Settings that tell groups of one name apart, in a name.
const TOLD: usize = 3;

/// The name of a group; where others have the same, with the settings in which it differs from these: `train-digits lr=0.1`.
fn name(groups: &[Members], at: usize, settings: &BTreeMap<String, Vec<Json>>) -> String {
    let own = &groups[at].name;
    let alike: Vec<usize> = (0..groups.len()).filter(|i| groups[*i].name == *own).collect();
    let differs = |values: &Vec<Json>| alike.iter().any(|i| values[*i] != values[alike[0]]);
    let told = settings.iter().filter(|(_, values)| differs(values)).map(|(key, values)| {
        let short = key.rsplit('.').next().unwrap_or(key);
        format!(" {short}={}", plain(&values[at]))
    });
    std::iter::once(own.clone()).chain(told.take(TOLD)).collect()
}

impl Entry {
    fn value(&self, figure: &str) -> Option<f64> {
        let besides = || self.besides.iter().find(|(f, _)| f.name == figure).map(|(_, value)| *value);
        self.found.figures.get(figure).copied().flatten().or_else(besides).filter(|v| v.is_finite())
    }
}

impl Members {
    /// By seed; the first of several runs of one seed.
    fn values(&self, figure: &str) -> BTreeMap<u64, f64> {
        let mut values = BTreeMap::new();
        for run in &self.runs {
            if let Some(value) = run.value(figure) {
                values.entry(run.seed).or_insert(value);
            }
        }
        values
    }
}

fn differences(groups: &[Members]) -> BTreeMap<String, Vec<Json>> {
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

/// What the methods want to be judged by, in the order in which they say so; then all that every run has; then the other
/// figures by name.
fn figures(groups: &[Members]) -> Vec<FigureRow> {
    let runs = || groups.iter().flat_map(|group| &group.runs);
    let mut wanted: Vec<(Figure, bool)> = Vec::new();
    let mut want = |figure: Figure, headline: bool| {
        if !wanted.iter().any(|(known, _)| known.name == figure.name) {
            wanted.push((figure, headline));
        }
    };
    runs().flat_map(|run| &run.found.headline).for_each(|figure| want(figure.clone(), true));
    runs().flat_map(|run| &run.besides).for_each(|(figure, _)| want(figure.clone(), false));
    let names = runs().flat_map(|run| run.found.figures.keys());
    names.for_each(|name| want(Figure { name: name.clone(), ..Figure::default() }, false));
    wanted.into_iter().map(|(figure, headline)| row(groups, figure, headline)).collect()
}

fn row(groups: &[Members], figure: Figure, headline: bool) -> FigureRow {
    let values: Vec<BTreeMap<u64, f64>> = groups.iter().map(|group| group.values(&figure.name)).collect();
    let means: Vec<Option<Summary>> = values.iter().map(|v| Summary::of(v.values().copied())).collect();
    let against = |i: usize| {
        let (first, own) = (means[0].filter(|_| i > 0)?, means[i]?);
        let pairs = values[0].iter().filter_map(|(seed, a)| Some((*a, *values[i].get(seed)?)));
        Some(match PairedT::of(pairs) {
            Some(t) => {
                let p = Some(t.p).filter(|p| p.is_finite() && t.count >= ENOUGH_PAIRS);
                Difference { difference: t.difference, pairs: t.count, p }
            }
            None => Difference { difference: own.mean - first.mean, pairs: 0, p: None },
        })
    };
    FigureRow {
        against_first: (0..groups.len()).map(against).collect(),
        runs: groups.iter().map(|group| group.runs.iter().map(|run| run.value(&figure.name)).collect()).collect(),
        name: figure.name,
        unit: figure.unit,
        higher_is_better: figure.higher_is_better,
        headline,
        groups: means.into_iter().map(|summary| summary.map(spread)).collect(),
    }
}

fn spread(s: Summary) -> Spread {
    Spread { count: s.count, mean: s.mean, std: s.std, min: s.min, max: s.max }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use kiln_protocol::run::Best;

    /// A run of so many epochs with this accuracy.
    fn run(name: &str, seed: u64, epochs: u32, accuracy: Option<f64>) -> Entry {
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
        entry(detail(summary, spec, Some(found))).unwrap().unwrap()
    }

    fn detail(summary: kiln_protocol::RunSummary, spec: String, outcome: Option<Found>) -> RunDetail {
        RunDetail { outcome, ..RunDetail::new(summary, spec) }
    }

    /// Runs of `name`, seed, epochs and accuracy, side by side.
    pub fn side_by_side(runs: &[(&str, u64, u32, Option<f64>)]) -> Comparison {
        compare(runs.iter().map(|(name, seed, epochs, accuracy)| run(name, *seed, *epochs, *accuracy)).collect())
    }

    #[test]
    fn seeds_are_one_group_and_groups_are_compared_seed_by_seed() {
        let c = side_by_side(&[
            ("a", 1, 5, Some(0.50)),
            ("b", 2, 9, Some(0.71)),
            ("a", 2, 5, Some(0.60)),
            ("b", 1, 9, Some(0.60)),
            ("b", 7, 9, Some(0.99)),
        ]);
        let names: Vec<(&str, &[u64])> = c.groups.iter().map(|g| (g.name.as_str(), g.seeds.as_slice())).collect();
        assert_eq!(names, [("a", &[1, 2][..]), ("b", &[1, 2, 7][..])]);
        assert_eq!(c.settings.into_iter().collect::<Vec<_>>(), [("train.epochs".to_owned(), vec![5.into(), 9.into()])]);
        let rows: Vec<&FigureRow> = c.figures.iter().filter(|row| row.headline).collect();
        assert_eq!(rows.len(), 1, "only what the method wants to be judged by");
        let [Some(a), Some(b)] = rows[0].groups[..] else { panic!("no means") };
        assert!((a.mean - 0.55).abs() < 1e-12 && (b.mean - 2.30 / 3.0).abs() < 1e-12 && b.count == 3);
        let against = rows[0].against_first[1].unwrap();
        assert_eq!(against.pairs, 2, "seed 7 has no partner");
        assert!((against.difference - 0.105).abs() < 1e-12 && against.p.is_none(), "two pairs say nothing of chance");
        assert!(rows[0].against_first[0].is_none());
        assert_eq!(c.figures.len(), 2);
        assert_eq!(c.figures[0].runs, [vec![Some(0.5), Some(0.6)], vec![Some(0.6), Some(0.71), Some(0.99)]]);
    }

    #[test]
    fn groups_of_one_name_are_told_apart_by_what_differs() {
        let c = side_by_side(&[("a", 1, 5, Some(0.5)), ("a", 1, 9, Some(0.6)), ("b", 1, 9, Some(0.6))]);
        let names: Vec<&str> = c.groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(names, ["a epochs=5", "a epochs=9", "b"]);
    }

    #[test]
    fn a_run_that_goes_on_has_its_best_and_its_time_and_one_that_waits_has_nothing() {
        let spec = "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n";
        let mut summary = kiln_protocol::RunSummary::queued(RunId("x-1".into()), 0.0);
        assert!(entry(detail(summary.clone(), spec.into(), None)).unwrap().is_none());
        summary.best = Some(Best { name: "valid/accuracy".into(), value: 0.9, higher_is_better: true });
        summary.worked = Some(12.0);
        let live = detail(summary, spec.into(), None);
        let knobs = vec![("optim.lr".to_owned(), "0.5".to_owned())];
        let turned = entry(RunDetail { knobs, ..live.clone() }).unwrap().unwrap();
        assert_eq!(turned.settings["optim.lr"], 0.5, "what was changed on the way counts");
        let c = compare(vec![entry(live).unwrap().unwrap()]);
        let figures: Vec<(&str, Option<f64>)> = c.figures.iter().map(|f| (f.name.as_str(), f.runs[0][0])).collect();
        assert_eq!(figures, [("best valid/accuracy", Some(0.9)), (WORKED, Some(12.0))]);
    }
}
