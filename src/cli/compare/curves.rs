//! Curves of several runs over one another.

use std::collections::BTreeMap;

use kiln_protocol::RunId;
use kiln_protocol::client::Client;
use kiln_protocol::clock::Clock;
use kiln_protocol::compare::{By, Comparison, letter};
use kiln_protocol::spec::problem::nearest;
use kiln_protocol::wire::{Reply, Request, SeriesInfo};
use kiln_tui::look::Look;
use kiln_tui::{Colour, OverlaidLine, overlaid};
use serde::Serialize;

use crate::failure::{Failure, Outcome, note};
use crate::{args, engines, human, run, terminal};

/// A curve of one run.
#[derive(Debug, Serialize)]
pub struct Curve {
    pub run: RunId,
    pub group: usize,
    pub series: String,
    /// What x counts.
    pub unit: String,
    /// Null where y is not finite.
    pub points: Vec<[f64; 2]>,
}

/// Reads a series of all runs that have it: the one that is asked for, else the one that most have.
pub fn read(client: &mut Client, runs: &Comparison, asked: Option<&str>, args: &args::Compare) -> Outcome<Vec<Curve>> {
    let by = By::from(args.by);
    let names = runs.series();
    let name = match asked {
        Some(name) if names.iter().any(|n| n == name) => name,
        Some(name) => {
            let near = nearest(name, names.iter().map(String::as_str));
            let hint =
                near.map_or_else(|| "`kiln show RUN` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(Failure::Input(format!("none of these runs has a series `{name}`; {hint}")));
        }
        None => names.first().ok_or_else(|| Failure::input("these runs have no series yet"))?,
    };
    let columns = if args.json { 0 } else { 2 * terminal::width().min(160) as u32 };
    let mut curves = Vec::new();
    for of in runs.runs() {
        let infos = runs.groups[of.group].series.get(of.member);
        let Some(info) = infos.into_iter().flatten().find(|info| info.name == name) else { continue };
        let series = run::series(client, of.id, vec![name.to_owned()], (None, None), columns)?;
        let mut points = series.into_iter().next().map(|s| s.points).unwrap_or_default();
        // The very last point is rarely the lowest or highest of its column.
        let last = [info.last_x, info.last_y.unwrap_or(f64::NAN)];
        points.extend(points.last().is_none_or(|p| p[0] < last[0]).then_some(last));
        let clock = if by == By::Time { clock(client, of.id, name)? } else { None };
        let Some((points, unit)) = along(points, info, clock.as_ref(), by) else {
            note(format!("{} has no planned end and is left out of the chart", of.id));
            continue;
        };
        curves.push(Curve { run: of.id.clone(), group: of.group, series: name.to_owned(), unit, points });
    }
    Ok(curves)
}

/// Points by what is asked for, and what x counts then.
fn along(points: Vec<[f64; 2]>, info: &SeriesInfo, clock: Option<&Clock>, by: By) -> Option<(Vec<[f64; 2]>, String)> {
    Some(match by {
        By::Count => (points, info.x_unit.clone()),
        By::Share => (by.along(&points, info, clock)?, "% of the plan".into()),
        By::Time => (by.along(&points, info, clock)?, "s".into()),
    })
}

fn clock(client: &mut Client, run: &RunId, name: &str) -> Outcome<Option<Clock>> {
    match client.request(&Request::Clock { run: run.clone(), names: vec![name.to_owned()] })? {
        Reply::Clock { clocks } => Ok(clocks.into_iter().next()),
        other => engines::unexpected(&other),
    }
}

/// Lines of the chart.
const LINES: u16 = 18;

/// All curves in one chart, a colour and a letter a group, with a legend below.
pub fn draw(curves: &[Curve], runs: &Comparison, args: &args::Compare, width: usize) -> String {
    let Some(first) = curves.first() else { return "No run has points of this series yet.".into() };
    let colour = if terminal::colours() { Colour::Auto } else { Colour::None };
    let (look, _) = Look::of(None, &[], colour, None, |name| std::env::var(name).ok());
    let lines: Vec<OverlaidLine<'_>> =
        curves.iter().map(|c| OverlaidLine { group: c.group, letter: letter(c.group), points: &c.points }).collect();
    let units: Vec<&str> = curves.iter().map(|c| c.unit.as_str()).collect();
    let unit = if units.iter().all(|u| *u == units[0]) { first.unit.as_str() } else { "" };
    let drawing = overlaid(&lines, unit, args.log, width as u16, LINES, &look);
    let mut last: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for curve in curves {
        last.entry(curve.group).or_default().extend(curve.points.last().map(|p| p[1]));
    }
    let rows: Vec<Vec<String>> = last
        .into_iter()
        .map(|(group, ends)| {
            let ends: Vec<String> = ends.into_iter().map(human::number).collect();
            vec![letter(group), runs.groups[group].name.clone(), ends.join(" ")]
        })
        .collect();
    let log = if args.log { ", logarithmic" } else { "" };
    format!(
        "{}, {}{log}\n{drawing}\n\n{}",
        first.series,
        By::from(args.by).in_words(),
        human::columns(&["", "GROUP", "LAST"], &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_by_their_own_count_by_share_or_by_time() {
        let info = |x_max| SeriesInfo {
            name: "train/loss".into(),
            points: 2,
            first_x: 1.0,
            last_x: 2.0,
            last_y: Some(0.5),
            x_max,
            x_unit: "epochs".into(),
        };
        let points = vec![[1.0, 0.9], [2.0, 0.5]];
        let clock = Clock { name: "train/loss".into(), points: vec![[1.0, 3.0], [2.0, 7.0]] };
        let by = |by, x_max| along(points.clone(), &info(x_max), Some(&clock), by);
        assert_eq!(by(By::Count, None), Some((points.clone(), "epochs".into())));
        assert_eq!(by(By::Share, Some(8.0)).unwrap().0, [[12.5, 0.9], [25.0, 0.5]]);
        assert_eq!(by(By::Share, None), None);
        assert_eq!(by(By::Time, None), Some((vec![[3.0, 0.9], [7.0, 0.5]], "s".into())));
        assert_eq!(along(points, &info(None), None, By::Time), None);
    }
}
