//! All points of a run's series with their times, from its folder; from the engine, without times, where the folder is on
//! another machine.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_protocol::client::Client;
use kiln_protocol::event::of_series;
use kiln_protocol::run::RunSummary;
use kiln_protocol::spool::{EventTail, RunFolder, SpoolError};
use kiln_protocol::wire::RunDetail;
use kiln_protocol::{Body, RunId};

use crate::engines;
use crate::failure::{Failure, Outcome};
use crate::run;

/// A run, or a job of an experiment, with its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub summary: RunSummary,
    pub series: Vec<Whole>,
}

/// A series, undecimated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    pub name: String,
    /// What x counts, in the plural; may be empty.
    pub x_unit: String,
    pub points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// When the worker wrote it, seconds since the Unix epoch.
    pub t: Option<f64>,
}

/// The runs that are meant, each experiment as its jobs, with those of their series that are wanted: all, where none is
/// named; a name also means all series that end in it (`accuracy` for `valid/accuracy`).
///
/// # Errors
/// A run that is not there, or a name that none of the runs has a series of.
pub fn of(client: &mut Client, asked: &[RunId], wanted: &[String]) -> Outcome<Vec<Run>> {
    let mut runs = Vec::new();
    for id in asked {
        let detail = engines::detail(client, id)?;
        let jobs: Vec<RunId> = detail.jobs.iter().map(|job| job.id.clone()).collect();
        if jobs.is_empty() {
            runs.push(of_run(client, &detail)?);
        }
        for job in &jobs {
            let detail = engines::detail(client, job)?;
            runs.push(of_run(client, &detail)?);
        }
    }
    for name in wanted {
        if !runs.iter().any(|run| run.series.iter().any(|s| means(name, &s.name))) {
            let known = || runs.iter().flat_map(|run| run.series.iter().map(|s| s.name.as_str()));
            let near = kiln_protocol::spec::problem::nearest(name, known());
            let hint = near.map_or_else(|| "`kiln show` lists them".into(), |near| format!("did you mean `{near}`?"));
            return Err(Failure::Input(format!("no series is called `{name}`; {hint}")));
        }
    }
    if !wanted.is_empty() {
        runs.iter_mut().for_each(|run| run.series.retain(|s| wanted.iter().any(|name| means(name, &s.name))));
    }
    Ok(runs)
}

fn means(asked: &str, name: &str) -> bool {
    name == asked || name.strip_suffix(asked).is_some_and(|rest| rest.ends_with('/'))
}

fn of_run(client: &mut Client, detail: &RunDetail) -> Outcome<Run> {
    let folder = RunFolder::new(&detail.folder);
    let series = if is_here(&folder) { read(&folder).map_err(Failure::input)? } else { ask(client, detail)? };
    Ok(Run { summary: detail.summary.clone(), series })
}

/// Whether the folder that an engine names is this machine's: behind a forwarded socket it is not.
pub fn is_here(folder: &RunFolder) -> bool {
    Path::new(&folder.spec()).is_file()
}

fn ask(client: &mut Client, detail: &RunDetail) -> Outcome<Vec<Whole>> {
    let mut all = Vec::new();
    for info in &detail.series {
        for series in run::series(client, &detail.summary.id, vec![info.name.clone()], (None, None), 0)? {
            let points = series.points.iter().map(|p| Point { x: p[0], y: p[1], t: None }).collect();
            all.push(Whole { name: series.name, x_unit: info.x_unit.clone(), points });
        }
    }
    Ok(all)
}

/// The series of a run folder, in the order of their first appearance.
///
/// # Errors
/// The events cannot be read.
pub fn read(folder: &RunFolder) -> Result<Vec<Whole>, SpoolError> {
    let mut reader = Reader::default();
    let mut tail = EventTail::open(folder, 0);
    loop {
        let batch = tail.poll()?;
        for event in batch.items {
            reader.event(event.t, event.body);
        }
        if !batch.more {
            return Ok(reader.series.into_iter().map(|(whole, _)| whole).filter(|w| !w.points.is_empty()).collect());
        }
    }
}

#[derive(Default)]
struct Reader {
    /// With the attempt that wrote last.
    series: Vec<(Whole, u32)>,
    by_name: BTreeMap<String, usize>,
    units: BTreeMap<String, String>,
    attempt: u32,
}

impl Reader {
    fn event(&mut self, t: f64, body: Body) {
        match body {
            Body::Started { resumed_from, x_unit, .. } => {
                self.attempt += 1;
                self.units = x_unit;
                // A run that starts from the beginning again: what it had shown is void.
                if resumed_from.is_none() {
                    self.series.clear();
                    self.by_name.clear();
                }
            }
            Body::Points { series, points } => {
                let at = *self.by_name.entry(series).or_insert_with_key(|name| {
                    let x_unit = of_series(&self.units, name).cloned().unwrap_or_default();
                    self.series.push((Whole { name: name.clone(), x_unit, points: Vec::new() }, self.attempt));
                    self.series.len() - 1
                });
                let (whole, attempt) = &mut self.series[at];
                let mut anew = std::mem::replace(attempt, self.attempt) != self.attempt;
                for [x, y] in points.into_iter().filter(|p| p[0].is_finite()) {
                    // Points at or beyond the first of a resumed attempt were made again.
                    if std::mem::take(&mut anew) {
                        whole.points.retain(|p| p.x < x);
                    }
                    // As the store has it: x does not go back.
                    if whole.points.last().is_none_or(|p| x >= p.x) {
                        whole.points.push(Point { x, y, t: Some(t) });
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::spool::EventWriter;

    fn points(series: &str, xs: &[f64]) -> Body {
        Body::Points { series: series.into(), points: xs.iter().map(|x| [*x, x * 10.0]).collect() }
    }

    fn started(resumed_from: Option<u64>) -> Body {
        let mut started = kiln_protocol::testing::started(1, resumed_from);
        if let Body::Started { x_unit, .. } = &mut started {
            x_unit.insert("*".into(), "epochs".into());
        }
        started
    }

    fn folder(bodies: Vec<Body>) -> Vec<Whole> {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("x-0001"));
        folder.create("").unwrap();
        let mut writer = EventWriter::open(&folder).unwrap();
        bodies.into_iter().for_each(|body| drop(writer.append(body).unwrap()));
        assert!(is_here(&folder));
        read(&folder).unwrap()
    }

    #[test]
    fn a_resumed_run_has_each_point_once() {
        let series = folder(vec![
            started(None),
            points("loss", &[1.0, 2.0, 3.0, 4.0]),
            points("other", &[1.0, f64::NAN, 0.5]),
            started(Some(2)),
            points("loss", &[3.0]),
            points("loss", &[3.5, 2.0]),
        ]);
        let xs = |n: usize| series[n].points.iter().map(|p| p.x).collect::<Vec<_>>();
        assert_eq!((xs(0), xs(1)), (vec![1.0, 2.0, 3.0, 3.5], vec![1.0]));
        assert_eq!((series[0].name.as_str(), series[0].x_unit.as_str()), ("loss", "epochs"));
        assert!(series[0].points.iter().all(|p| p.y == p.x * 10.0 && p.t.is_some_and(|t| t > 1.6e9)));
    }

    #[test]
    fn a_run_that_began_anew_has_nothing_of_before() {
        let series = folder(vec![started(None), points("old", &[1.0]), started(None), points("new", &[1.0])]);
        assert_eq!(series.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn a_name_means_what_ends_in_it() {
        assert!(means("accuracy", "valid/accuracy") && means("valid/accuracy", "cand-7/valid/accuracy"));
        assert!(!means("accuracy", "valid/inaccuracy") && !means("uracy", "valid/accuracy"));
    }
}
