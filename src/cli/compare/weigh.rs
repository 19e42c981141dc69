//! Which settings matter for a figure, and which runs no other beats.

use std::collections::BTreeMap;

use kiln_metrics::{SplitMix64, Summary, kendall_tau, pareto_front};
use kiln_protocol::compare::{Comparison, FigureRow, Importance, Weighed, Weight};
use serde_json::Value as Json;
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

/// Fewer runs than this say nothing of settings.
const LEAST: usize = 6;

/// Trees of the forest: enough that another seed gives the same order of settings.
const TREES: usize = 200;

/// Shuffles of each setting.
const SHUFFLES: u64 = 10;

/// Equal runs give equal weights.
const SEED: u64 = 5;

type Forest = RandomForestRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

/// Importance of the settings for a figure, and the front of that figure and another.
pub fn weigh(runs: &Comparison, figure: &str, against: &str) -> Weighed {
    let (importance, why_not) = match importance(runs, figure) {
        Ok(found) => (Some(found), String::new()),
        Err(said) => (None, said),
    };
    Weighed {
        figure: figure.to_owned(),
        against: against.to_owned(),
        importance,
        why_not,
        front: front(runs.figure(figure), runs.figure(against)),
    }
}

/// Places of the runs that no other beats in both figures. What nobody calls better or worse is better if higher, as a
/// figure, and better if lower, as what it is held against.
fn front(figure: Option<&FigureRow>, against: Option<&FigureRow>) -> Vec<usize> {
    let (Some(figure), Some(against)) = (figure, against) else { return Vec::new() };
    let up = if figure.higher_is_better == Some(false) { -1.0 } else { 1.0 };
    let down = if against.higher_is_better == Some(true) { -1.0 } else { 1.0 };
    let value = |v: Option<f64>, sign: f64| v.map_or(f64::NAN, |v| sign * v);
    let points: Vec<(f64, f64)> =
        against.flat().into_iter().zip(figure.flat()).map(|(x, y)| (value(x, down), value(y, up))).collect();
    pareto_front(&points)
}

/// A setting, or several that were only ever changed together, as columns of numbers.
struct Feature {
    keys: Vec<String>,
    columns: Vec<Vec<f64>>,
    /// Its values, if they have an order.
    ordered: Option<Vec<f64>>,
}

fn importance(runs: &Comparison, name: &str) -> Result<Importance, String> {
    let Some(figure) = runs.figure(name) else { return Err(format!("no run has a figure `{name}`.")) };
    let values = figure.flat();
    let known: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_some()).collect();
    let y: Vec<f64> = values.iter().copied().flatten().collect();
    if y.len() < LEAST {
        let have = match y.len() {
            0 => "none has".to_owned(),
            1 => "one has".to_owned(),
            n => format!("{n} have"),
        };
        return Err(format!("It takes {LEAST} runs with a figure to tell what matters; {have} {name} yet."));
    }
    let Some(spread) = Summary::of(y.iter().copied()).filter(|s| s.std > 0.0) else {
        return Err(format!("All of these runs have the same {name}."));
    };
    let features = features(runs, &known);
    if features.is_empty() {
        return Err("These runs differ in nothing but their seeds.".into());
    }
    let target: Vec<f64> = y.iter().map(|v| (v - spread.mean) / spread.std).collect();
    let columns: Vec<&Vec<f64>> = features.iter().flat_map(|f| &f.columns).collect();
    let rows: Vec<Vec<f64>> = (0..y.len()).map(|row| columns.iter().map(|c| c[row]).collect()).collect();
    let settings = RandomForestRegressorParameters::default()
        .with_n_trees(TREES)
        .with_m(columns.len())
        .with_keep_samples(true)
        .with_seed(SEED);
    let fail = |e: &dyn std::fmt::Display| format!("The random forest cannot be fitted: {e}.");
    let forest = Forest::fit(&matrix(&rows).map_err(|e| fail(&e))?, &target, settings).map_err(|e| fail(&e))?;
    let error = |rows: &[Vec<f64>]| -> Result<f64, String> {
        let predicted: Vec<f64> = forest.predict_oob(&matrix(rows).map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
        // A run that every tree has seen has no prediction.
        let squares = predicted.iter().zip(&target).map(|(a, b)| (a - b) * (a - b));
        Summary::of(squares).map(|s| s.mean).ok_or_else(|| fail(&"it predicts nothing"))
    };
    let whole = error(&rows)?;
    // Of the standardised figure over all runs.
    let variance = (y.len() - 1) as f64 / y.len() as f64;
    let mut weights = Vec::with_capacity(features.len());
    let mut first = 0;
    for (n, feature) in features.into_iter().enumerate() {
        let own = first..first + feature.columns.len();
        first = own.end;
        let mut losses = Vec::with_capacity(SHUFFLES as usize);
        for shuffle in 0..SHUFFLES {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            SplitMix64::new(SEED ^ ((n as u64) << 32) ^ shuffle).shuffle(&mut order);
            let mut mixed = rows.clone();
            for (row, from) in mixed.iter_mut().zip(&order) {
                row[own.clone()].copy_from_slice(&rows[*from][own.clone()]);
            }
            losses.push((error(&mixed)? - whole) / variance);
        }
        let loss = Summary::of(losses).ok_or_else(|| fail(&"it predicts nothing"))?;
        let pairs = |values: Vec<f64>| values.into_iter().zip(y.iter().copied()).collect::<Vec<_>>();
        weights.push(Weight {
            trend: feature.ordered.and_then(|values| kendall_tau(&pairs(values))),
            keys: feature.keys,
            loss: loss.mean,
            std: loss.std,
        });
    }
    weights.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    Ok(Importance { figure: name.to_owned(), runs: y.len(), explained: 1.0 - whole / variance, weights })
}

fn matrix(rows: &[Vec<f64>]) -> Result<DenseMatrix<f64>, smartcore::error::Failed> {
    DenseMatrix::from_2d_vec(&rows.to_vec())
}

/// The settings that differ among the known runs; those that always change together as one.
fn features(runs: &Comparison, known: &[usize]) -> Vec<Feature> {
    let groups: Vec<usize> = runs.runs().map(|run| run.group).collect();
    let mut found: Vec<(Vec<usize>, Feature)> = Vec::new();
    for (key, values) in &runs.settings {
        let of_runs: Vec<&Json> = known.iter().map(|i| values.get(groups[*i]).unwrap_or(&Json::Null)).collect();
        // Numbered in the order in which they appear: equal for settings that change together.
        let mut levels: BTreeMap<String, usize> = BTreeMap::new();
        let pattern: Vec<usize> = of_runs
            .iter()
            .map(|value| {
                let next = levels.len();
                *levels.entry(value.to_string()).or_insert(next)
            })
            .collect();
        if levels.len() < 2 {
            continue;
        }
        match found.iter_mut().find(|(known, _)| *known == pattern) {
            Some((_, feature)) => feature.keys.push(key.clone()),
            None => {
                let (columns, ordered) = columns(&of_runs, &pattern, levels.len());
                found.push((pattern, Feature { keys: vec![key.clone()], columns, ordered }));
            }
        }
    }
    found.into_iter().map(|(_, feature)| feature).collect()
}

/// A number as it is; a setting that some runs lack has a column that says so; all else a column for each of its values.
fn columns(values: &[&Json], pattern: &[usize], levels: usize) -> (Vec<Vec<f64>>, Option<Vec<f64>>) {
    let number = |value: &Json| value.as_f64().or(value.as_bool().map(f64::from));
    if values.iter().all(|v| v.is_null() || number(v).is_some()) {
        let known: Vec<f64> = values.iter().filter_map(|v| number(v)).collect();
        let lowest = known.iter().copied().fold(f64::INFINITY, f64::min);
        let column = values.iter().map(|v| number(v).unwrap_or(lowest)).collect::<Vec<_>>();
        if known.len() == values.len() {
            return (vec![column.clone()], Some(column));
        }
        let missing = values.iter().map(|v| f64::from(v.is_null())).collect();
        return (vec![column, missing], None);
    }
    ((0..levels).map(|level| pattern.iter().map(|p| f64::from(*p == level)).collect()).collect(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::RunId;
    use kiln_protocol::compare::Group;

    /// Runs, one a group, with these settings and this figure.
    fn comparison(settings: &[(&str, Vec<Json>)], accuracy: Vec<Option<f64>>) -> Comparison {
        let groups = (0..accuracy.len()).map(|i| Group {
            name: format!("g{i}"),
            runs: vec![RunId(format!("r{i}"))],
            seeds: vec![1],
            series: Vec::new(),
        });
        let figure = |name: &str, better: Option<bool>, values: Vec<Option<f64>>| FigureRow {
            name: name.into(),
            higher_is_better: better,
            runs: values.into_iter().map(|v| vec![v]).collect(),
            ..FigureRow::default()
        };
        let cost = (0..accuracy.len()).map(|i| Some((i % 7) as f64)).collect();
        Comparison {
            groups: groups.collect(),
            settings: settings.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            figures: vec![figure("accuracy", Some(true), accuracy), figure("params", None, cost)],
            left_out: Vec::new(),
        }
    }

    /// A grid of rates, kinds and numbers that do nothing; the figure depends on the rate most, on the kind a little.
    fn grid(n: usize) -> Comparison {
        let rate = |i: usize| 10_f64.powi((i % 4) as i32 - 4);
        let kind = |i: usize| ["adam", "sgd", "rms"][i / 4 % 3];
        let width = |i: usize| 8 * (1 + (i * 5 + i / 3) % 5);
        let figure = |i: usize| 0.5 + 0.1 * (i % 4) as f64 + if kind(i) == "sgd" { 0.08 } else { 0.0 };
        comparison(
            &[
                ("optim.lr", (0..n).map(|i| rate(i).into()).collect()),
                ("optim.decay", (0..n).map(|i| (rate(i) * 0.1).into()).collect()),
                ("optim.kind", (0..n).map(|i| kind(i).into()).collect()),
                ("space.width", (0..n).map(|i| width(i).into()).collect()),
                ("data.set", (0..n).map(|_| "digits".into()).collect()),
            ],
            (0..n).map(|i| Some(figure(i))).collect(),
        )
    }

    #[test]
    fn what_the_figure_depends_on_weighs_most_and_what_does_nothing_nothing() {
        let found = importance(&grid(48), "accuracy").unwrap();
        assert!(found.explained > 0.8 && found.runs == 48, "{found:?}");
        let keys: Vec<Vec<&str>> = found.weights.iter().map(|w| w.keys.iter().map(String::as_str).collect()).collect();
        // The rate and its decay change together; the data set does not change.
        assert_eq!(keys, [vec!["optim.decay", "optim.lr"], vec!["optim.kind"], vec!["space.width"]], "{found:?}");
        let [rate, kind, width] = &found.weights[..] else { panic!("{found:?}") };
        assert!(rate.loss > 3.0 * kind.loss && kind.loss > 3.0 * width.loss.abs(), "{found:?}");
        assert!(rate.trend.is_some_and(|t| t > 0.7) && kind.trend.is_none(), "{found:?}");
        assert_eq!(importance(&grid(48), "accuracy").unwrap(), found, "equal runs, equal weights");
    }

    #[test]
    fn settings_that_tell_nothing_explain_nothing() {
        let mut noise = SplitMix64::new(9);
        let values = (0..40).map(|_| Some((noise.next_u64() >> 11) as f64 / (1_u64 << 53) as f64)).collect();
        let lr = (0..40).map(|i| Json::from(0.001 * f64::from(1 + i % 8))).collect();
        let found = importance(&comparison(&[("optim.lr", lr)], values), "accuracy").unwrap();
        assert!(found.explained < kiln_protocol::compare::EXPLAINS, "{found:?}");
    }

    #[test]
    fn a_setting_that_some_runs_lack_is_a_setting_too() {
        let lr = (0..12).map(|i| if i % 2 == 0 { Json::Null } else { Json::from(0.1) }).collect();
        let values = (0..12).map(|i| Some(f64::from(i % 2) + 0.001 * f64::from(i))).collect();
        let found = importance(&comparison(&[("optim.lr", lr)], values), "accuracy").unwrap();
        assert!(found.explained > 0.9 && found.weights[0].loss > 0.5 && found.weights[0].trend.is_none(), "{found:?}");
    }

    #[test]
    fn too_few_runs_equal_ones_and_unknown_figures_say_so() {
        let why = |c: &Comparison, figure: &str| importance(c, figure).unwrap_err();
        let three = comparison(&[], vec![Some(0.1), None, Some(0.2), Some(0.3)]);
        assert!(why(&three, "accuracy").contains("6 runs") && why(&three, "accuracy").contains("3 have"));
        assert!(why(&three, "banana").contains("`banana`"));
        assert!(why(&comparison(&[], vec![Some(0.5); 8]), "accuracy").contains("the same accuracy"));
        let seeds = comparison(&[], (0..8).map(|i| Some(f64::from(i))).collect());
        assert!(why(&seeds, "accuracy").contains("nothing but their seeds"));
    }

    #[test]
    fn the_front_goes_up_in_the_figure_and_down_in_the_other() {
        // Costs are 0, 1, 2, 3.
        let c = comparison(&[], vec![Some(0.5), Some(0.4), Some(0.7), None]);
        assert_eq!(weigh(&c, "accuracy", "params").front, [0, 2]);
        let mut lower = c.clone();
        lower.figures[0].higher_is_better = Some(false);
        assert_eq!(weigh(&lower, "accuracy", "params").front, [0, 1]);
        assert!(weigh(&c, "accuracy", "banana").front.is_empty());
    }
}
