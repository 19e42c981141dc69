//! Runs side by side for tests: two arms with three seeds each, and two runs of other presets.

use kiln_protocol::RunId;
use kiln_protocol::clock::Clock;
use kiln_protocol::compare::{Comparison, Difference, FigureRow, Group, Importance, Spread, Weighed, Weight};
use kiln_protocol::wire::{Series, SeriesInfo};
use ratatui::layout::Size;

use crate::fixture::{self, EXPERIMENT, noise};
use crate::model::Model;

/// Name, runs and epochs of each group.
fn groups() -> Vec<(&'static str, Vec<RunId>, f64)> {
    let job = |n: u32| RunId(EXPERIMENT.into()).job(n);
    vec![
        ("dc-nas-fashion clusters", (1..=3).map(job).collect(), 60.0),
        ("dc-nas-fashion random", (4..=6).map(job).collect(), 60.0),
        ("train-fashion", vec![RunId("train-fashion-9q0z".into())], 100.0),
        ("train-größe-日本", vec![RunId("train-größe-日本-m1m1".into())], 30.0),
    ]
}

/// The place of a run among all.
fn place(run: &RunId) -> Option<usize> {
    groups().iter().flat_map(|g| g.1.clone()).position(|id| id == *run)
}

fn infos(end: f64) -> Vec<SeriesInfo> {
    let info = |name: &str| SeriesInfo {
        name: name.into(),
        points: end as u64,
        first_x: 1.0,
        last_x: end,
        last_y: Some(0.5),
        x_max: Some(end),
        x_unit: "epochs".into(),
    };
    ["train/loss", "valid/accuracy", "valid/loss"].map(info).to_vec()
}

fn spread(values: &[Option<f64>]) -> Option<Spread> {
    let known: Vec<f64> = values.iter().copied().flatten().collect();
    let n = known.len() as f64;
    let mean = known.iter().sum::<f64>() / n;
    let squares: f64 = known.iter().map(|v| (v - mean).powi(2)).sum();
    (!known.is_empty()).then(|| Spread {
        count: known.len(),
        mean,
        std: if known.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 },
        min: known.iter().copied().fold(f64::INFINITY, f64::min),
        max: known.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

fn figure(name: &str, unit: &str, better: Option<bool>, headline: bool, runs: Vec<Vec<Option<f64>>>) -> FigureRow {
    let means: Vec<Option<Spread>> = runs.iter().map(|r| spread(r)).collect();
    let more = |i: usize| {
        let (first, own) = (means[0].filter(|_| i > 0)?, means[i]?);
        let pairs = first.count.min(own.count);
        let p = (pairs > 1).then_some(0.031);
        Some(Difference { difference: own.mean - first.mean, pairs: if pairs > 1 { pairs } else { 0 }, p })
    };
    FigureRow {
        name: name.into(),
        unit: unit.into(),
        higher_is_better: better,
        headline,
        against_first: (0..means.len()).map(more).collect(),
        groups: means,
        runs,
    }
}

pub fn comparison() -> Comparison {
    let of = |f: &dyn Fn(usize, usize) -> Option<f64>| -> Vec<Vec<Option<f64>>> {
        groups().iter().enumerate().map(|(g, (_, runs, _))| (0..runs.len()).map(|i| f(g, i)).collect()).collect()
    };
    let jitter = |g: usize, i: usize| noise((g * 10 + i) as u64) - 0.5;
    let accuracy = of(&|g, i| (g < 3).then(|| 0.91 - 0.02 * g as f64 + 0.008 * jitter(g, i)));
    let params = of(&|g, i| Some([52_000.0, 41_000.0, 7_300.0, 12_000.0][g] + 400.0 * jitter(g, i).round()));
    let seconds = of(&|g, i| Some(120.0 + 40.0 * g as f64 + 9.0 * jitter(g, i)));
    Comparison {
        groups: groups()
            .into_iter()
            .map(|(name, runs, end)| Group {
                name: name.into(),
                seeds: (1..=runs.len() as u64).collect(),
                series: vec![infos(end); runs.len()],
                runs,
            })
            .collect(),
        settings: [
            ("method", ["dc-nas", "dc-nas", "train", "train"].map(Into::into).to_vec()),
            ("optim.lr", [0.02.into(), 0.02.into(), 0.1.into(), 0.0005.into()].to_vec()),
            ("optim.momentum", [0.9.into(), 0.9.into(), 0.9.into(), 0.5.into()].to_vec()),
            ("dc-nas.clusters-by-learning-speed", [true.into(), false.into(), ().into(), ().into()].to_vec()),
        ]
        .map(|(key, values): (&str, Vec<_>)| (key.to_owned(), values))
        .into(),
        figures: vec![
            figure("test_accuracy", "", Some(true), true, accuracy),
            figure("seconds", "s", Some(false), true, seconds),
            figure("params", "", None, false, params),
        ],
        left_out: vec!["train-cifar10-b2aa has found nothing yet and is left out".into()],
    }
}

/// What the engine answers about a series of one of these runs.
pub fn series(run: &RunId, name: &str) -> Option<Series> {
    let at = place(run)?;
    let group = groups().iter().position(|g| g.1.contains(run))?;
    let end = groups()[group].2;
    let points = (1..=end as u32).map(|x| {
        let x = f64::from(x);
        let late = x / (1.0 + 0.35 * group as f64);
        [x, fixture::curve(name, late) + 0.04 * (noise(at as u64) - 0.5)]
    });
    Some(Series { name: name.into(), points: points.collect(), total: end as u64, ..Series::default() })
}

pub fn clock(run: &RunId, name: &str) -> Option<Clock> {
    let at = place(run)? as f64;
    let points = (1..=10).map(|i| [f64::from(i) * 10.0, f64::from(i) * (20.0 + 7.0 * at)]);
    Some(Clock { name: name.into(), points: points.collect() })
}

pub fn weighed(figure: &str, against: &str) -> Weighed {
    let weight = |keys: &[&str], loss: f64, std: f64, trend: Option<f64>| Weight {
        keys: keys.iter().map(|k| (*k).to_owned()).collect(),
        loss,
        std,
        trend,
    };
    let importance = Importance {
        figure: figure.to_owned(),
        runs: 7,
        explained: if figure == "params" { 0.01 } else { 0.83 },
        weights: vec![
            weight(&["optim.lr"], 0.71, 0.12, Some(-0.64)),
            weight(&["method", "dc-nas.clusters-by-learning-speed"], 0.33, 0.08, None),
            weight(&["optim.momentum"], 0.02, 0.03, Some(0.05)),
        ],
    };
    // Too few runs have the figure whose name says so.
    let known = figure != "seconds";
    Weighed {
        figure: figure.into(),
        against: against.into(),
        importance: known.then_some(importance),
        why_not: if known { String::new() } else { "All of these runs have the same seconds.".into() },
        front: if against == "params" { vec![6, 4, 1] } else { vec![0, 1] },
    }
}

/// A model with two runs and an experiment side by side.
pub fn compared(size: Size) -> Model {
    let mut m = fixture::model(size);
    for id in [EXPERIMENT, "train-fashion-9q0z", "train-größe-日本-m1m1"] {
        m.runs.mark(&RunId(id.into()));
    }
    fixture::keys(&mut m, "c");
    m
}
