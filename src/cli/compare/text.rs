//! A comparison in words.

use std::fmt::Write;

use kiln_protocol::compare::{
    Axis, Comparison, Difference, EXPLAINS, FigureRow, Importance, RunRef, Spread, Weighed, letter, plain,
};
use serde_json::Value as Json;

use crate::human;

/// Groups, figures, and settings that differ.
pub fn table(compared: &Comparison, all: bool, width: usize) -> String {
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
    let chosen = compared.figures.iter().any(|f| f.headline);
    let shown = compared.figures.iter().filter(|figure| all || figure.headline || !chosen);
    // Figures, and their differences from the first group.
    let rows: Vec<[Vec<String>; 2]> = shown
        .map(|figure| {
            let better = match figure.higher_is_better {
                Some(true) => " +",
                Some(false) => " -",
                None => "",
            };
            let name = format!("{}{better}", figure.label());
            let cells = figure.groups.iter().map(|summary| summary.as_ref().map_or_else(|| "-".into(), spread));
            let more = figure.against_first.iter().skip(1).map(|d| d.as_ref().map_or_else(|| "-".into(), difference));
            [std::iter::once(name).chain(cells).collect(), more.collect()]
        })
        .collect();
    let tails: Vec<&str> = against.iter().map(String::as_str).collect();
    let whole =
        human::columns(&[&heads[..], &tails[..]].concat(), &rows.iter().map(|r| r.concat()).collect::<Vec<_>>());
    if whole.lines().all(|line| line.chars().count() <= width) {
        let _ = writeln!(out, "\n{whole}");
    } else {
        // Broken lines say nothing: the differences stand below.
        let own: Vec<Vec<String>> = rows.iter().map(|[own, _]| own.clone()).collect();
        let more: Vec<Vec<String>> = rows.iter().map(|[own, more]| [&own[..1], &more[..]].concat()).collect();
        let _ = writeln!(out, "\n{}", human::columns(&heads, &own));
        let _ = writeln!(out, "\n{}", human::columns(&[&heads[..1], &tails[..]].concat(), &more));
    }
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

fn spread(summary: &Spread) -> String {
    match summary.count {
        1 => human::number(summary.mean),
        _ => format!("{} ± {}", human::number(summary.mean), human::number(summary.std)),
    }
}

fn difference(d: &Difference) -> String {
    let sign = if d.difference > 0.0 { "+" } else { "" };
    let p = d.chance().map_or_else(String::new, |p| format!(" ({p})"));
    format!("{sign}{}{p}", human::number(d.difference))
}

/// Cells of the bar of the weightiest setting.
const BAR: usize = 20;

/// Which settings matter.
pub fn importance(figure: &FigureRow, weighed: &Weighed) -> String {
    let Some(found) = &weighed.importance else {
        return format!("Importance of settings for {}: {}", figure.name, weighed.why_not);
    };
    let most = found.weights.iter().map(|w| w.loss).fold(0.0, f64::max);
    let rows: Vec<Vec<String>> = found
        .weights
        .iter()
        .map(|w| {
            let bar = if most > 0.0 {
                "█".repeat((w.loss / most * BAR as f64).round().max(0.0) as usize)
            } else {
                String::new()
            };
            vec![w.keys.join(" + "), format!("{:.3} ± {:.3}", w.loss, w.std), bar, trend(w.trend)]
        })
        .collect();
    let heads = ["SETTING", "WEIGHT", "", "WHERE IT IS HIGHER"];
    format!("Importance of settings for {}\n{}\n\n{}", figure.name, human::columns(&heads, &rows), explained(found))
}

/// What a rank correlation says, in a word.
fn trend(tau: Option<f64>) -> String {
    match tau {
        None => String::new(),
        Some(t) if t.abs() < 0.1 => "no trend".into(),
        Some(t) => format!("{} (tau {t:+.2})", if t > 0.0 { "higher" } else { "lower" }),
    }
}

/// What the weights are, and whether they mean anything.
pub fn explained(found: &Importance) -> String {
    let share = human::percent(found.explained.clamp(0.0, 1.0));
    let words = format!(
        "Weight: by how much the squared error of a random forest grows on runs it has not seen when the setting is shuffled, in \
         units of the variance. The forest explains {share} of the variance over {} runs.",
        found.runs
    );
    let words = match found.explained {
        e if e < EXPLAINS => format!("{words} That is nothing: the weights above are noise."),
        _ => words,
    };
    human::wrap(&words, 100)
}

/// The runs that no other beats.
pub fn front(compared: &Comparison, figure: &FigureRow, against: &FigureRow, front: &[usize]) -> String {
    if figure.name == against.name {
        return format!("Front: the runs have one figure alone, {}; nothing to hold it against.", figure.name);
    }
    let runs: Vec<RunRef<'_>> = compared.runs().collect();
    let (values, costs) = (figure.flat(), against.flat());
    let number = |v: Option<f64>| v.map_or_else(|| "-".into(), human::number);
    let row = |&i: &usize| vec![runs[i].id.to_string(), letter(runs[i].group), number(values[i]), number(costs[i])];
    let rows: Vec<Vec<String>> = front.iter().map(row).collect();
    let (name, cost) = (figure.label(), against.label());
    let measured = values.iter().zip(&costs).filter(|(v, c)| v.is_some() && c.is_some()).count();
    format!(
        "Front of {} against {}: {} of {measured} runs that no other beats in both\n{}",
        figure.name,
        against.name,
        front.len(),
        human::columns(&["RUN", "", &name, &cost], &rows)
    )
}

/// Cells of an axis.
const AXIS: usize = 9;

/// Parallel coordinates: the runs, the best first, and where the value of each setting lies between the least and the
/// greatest.
pub fn strip(compared: &Comparison, figure: &FigureRow, width: usize) -> String {
    let runs: Vec<RunRef<'_>> = compared.runs().collect();
    let values = figure.flat();
    let axes: Vec<Axis> = compared.settings.keys().filter_map(|key| compared.setting_axis(key)).collect();
    let longest = runs.iter().map(|r| r.id.0.chars().count()).max().unwrap_or(0);
    // As many as fit: a broken line says nothing.
    let room = width.saturating_sub(longest + 2 + 2 + 10 + 2) / (AXIS + 2);
    let shown = axes.len().min(room.max(1));
    let heads: Vec<String> = axes[..shown].iter().map(|axis| clipped(&axis.name)).collect();
    let mut titles = vec!["RUN", "", figure.name.as_str()];
    titles.extend(heads.iter().map(String::as_str));
    let row = |i: usize| {
        let value = values[i].map_or_else(|| "-".into(), human::number);
        let cells = axes[..shown].iter().map(|axis| cell(axis.places[i]));
        [runs[i].id.to_string(), letter(runs[i].group), value].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = compared.best_first(figure).into_iter().map(row).collect();
    let mut out = format!("Runs by {}, the best first\n{}", figure.name, human::columns(&titles, &rows));
    let ranges: Vec<Vec<String>> = axes
        .iter()
        .map(|axis| {
            let log = if axis.log { "by ratio" } else { "" };
            vec![axis.name.clone(), format!("{} to {}", axis.ends[0], axis.ends[1]), log.into()]
        })
        .collect();
    if !ranges.is_empty() {
        let _ = write!(out, "\n\n{}", human::columns(&["SETTING", "FROM LEFT TO RIGHT", ""], &ranges));
    }
    if shown < axes.len() {
        let _ = write!(out, "\n{} of {} settings fit; a wider terminal shows more.", shown, axes.len());
    }
    out
}

/// The end of a dotted key, in the cells of an axis.
fn clipped(key: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    if name.chars().count() <= AXIS { name.to_owned() } else { name.chars().take(AXIS - 1).chain(['…']).collect() }
}

fn cell(place: Option<f64>) -> String {
    let at = place.map(|p| (p.clamp(0.0, 1.0) * (AXIS - 1) as f64).round() as usize);
    (0..AXIS).map(|i| if Some(i) == at { '●' } else { '·' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gather::tests::side_by_side;
    use super::super::weigh;
    use super::*;

    #[test]
    fn a_single_run_has_no_spread_and_a_missing_figure_is_a_dash() {
        let compared = side_by_side(&[("a", 1, 5, Some(0.5)), ("b", 1, 5, None)]);
        assert!(compared.settings.is_empty());
        let said = table(&compared, false, 80);
        let line = said.lines().find(|l| l.starts_with("accuracy")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["accuracy", "+", "0.5000", "-", "-"], "{said}");
        assert!(said.starts_with("A  a: a-1, seed 1\nB  b: b-1, seed 1\n"), "{said}");
        assert!(!said.contains("seconds") && table(&compared, true, 80).contains("seconds"));
        assert_eq!(said.matches("FIGURE").count() + 1, table(&compared, false, 20).matches("FIGURE").count());
    }

    #[test]
    fn the_strip_puts_the_best_first_and_values_in_their_places() {
        let compared = side_by_side(&[("a", 1, 5, Some(0.5)), ("a", 1, 10, Some(0.9)), ("b", 1, 15, None)]);
        let figure = compared.figure("accuracy").unwrap();
        let said = strip(&compared, figure, 80);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "Runs by accuracy, the best first");
        assert!(lines[1].ends_with("epochs"), "{said}");
        assert!(lines[2].starts_with("a-1  B") && lines[2].ends_with("0.9000  ····●····"), "{said}");
        assert!(lines[3].ends_with("0.5000  ●········") && lines[4].ends_with("-  ········●"), "{said}");
        assert!(said.contains("5 to 15"), "{said}");
    }

    #[test]
    fn importance_says_what_it_means_and_when_it_means_nothing() {
        let few = side_by_side(&[("a", 1, 5, Some(0.5)), ("a", 1, 10, Some(0.9))]);
        let figure = few.figure("accuracy").unwrap();
        assert!(importance(figure, &weigh(&few, "accuracy", "seconds")).contains("6 runs"));
        let many: Vec<(&str, u64, u32, Option<f64>)> =
            (0..24).map(|i| ("a", u64::from(i), 1 + i % 6, Some(0.1 * f64::from(i % 6)))).collect();
        let many = side_by_side(&many);
        let said = importance(many.figure("accuracy").unwrap(), &weigh(&many, "accuracy", "seconds"));
        assert!(
            said.contains("train.epochs") && said.contains("higher (tau +1.00)") && !said.contains("noise"),
            "{said}"
        );
        let noise = Importance { explained: -0.2, ..Importance::default() };
        assert!(explained(&noise).contains("noise") && explained(&noise).contains("explains 0%"));
    }

    #[test]
    fn the_front_names_runs_and_both_figures() {
        let compared = side_by_side(&[("a", 1, 5, Some(0.5)), ("a", 2, 5, Some(0.9))]);
        let (figure, against) = (compared.figure("accuracy").unwrap(), compared.figure("seconds").unwrap());
        let said = front(&compared, figure, against, &[1]);
        assert!(said.contains("1 of 2 runs") && said.contains("a-2") && said.contains("0.9000"), "{said}");
        assert!(front(&compared, figure, figure, &[]).contains("one figure alone"));
    }
}
