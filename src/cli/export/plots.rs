//! Charts of a run's series as files.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_protocol::client::Client;
use kiln_protocol::wire::{RunDetail, Series, parse_arm_series};
use kiln_protocol::{Body, RunId};
use serde_json::json;

use super::{Format, Said, files};
use crate::draw::svg::Colours;
use crate::draw::{Chart, Curve, DARK, LIGHT, Mark, Scene, png, svg};
use crate::failure::{Failure, Outcome};
use crate::{args, engines, human, run};

/// Size of a chart, in CSS pixels.
pub const WIDTH: f32 = 760.0;
pub const HEIGHT: f32 = 300.0;

/// Points asked for across a chart: as many as its pixels show.
const COLUMNS: u32 = WIDTH as u32;

/// Series of single candidates that one chart takes: more are a tangle.
const CANDIDATES: usize = 24;

/// Beginning of their names.
const CANDIDATE: &str = "cand-";

/// A run with what its charts need.
pub struct Subject {
    pub detail: RunDetail,
    /// Decimated to [`COLUMNS`]; of an experiment, means over its jobs.
    pub series: Vec<Series>,
    /// Live knobs that were turned.
    pub marks: Vec<Mark>,
}

impl Subject {
    /// Asks for the series of a run: those that are wanted, or all but those of single candidates.
    pub fn of(client: &mut Client, id: &RunId, wanted: &[String]) -> Outcome<Subject> {
        let detail = engines::detail(client, id)?;
        let means = |name: &str| {
            let ends = |asked: &String| {
                name == asked || name.ends_with(&format!("/{asked}")) || parse_arm_series(name).1 == asked
            };
            if wanted.is_empty() { !name.starts_with(CANDIDATE) } else { wanted.iter().any(ends) }
        };
        let mut names: Vec<String> = detail.series.iter().map(|s| s.name.clone()).filter(|n| means(n)).collect();
        // A search may have nothing else.
        if names.is_empty() && wanted.is_empty() {
            names = detail.series.iter().map(|s| s.name.clone()).collect();
        }
        let mut series = Vec::new();
        for name in names {
            series.extend(run::series(client, id, vec![name], (None, None), COLUMNS)?);
        }
        series.iter_mut().for_each(|s| run::to_the_end(&detail, s));
        let marks = marks(client, id)?;
        Ok(Subject { detail, series, marks })
    }

    fn info(&self, name: &str) -> Option<&kiln_protocol::wire::SeriesInfo> {
        self.detail.series.iter().find(|s| s.name == name)
    }
}

/// The live knobs of a run that were turned.
pub fn marks(client: &mut Client, id: &RunId) -> Outcome<Vec<Mark>> {
    let events = engines::events(client, id, 0, u32::MAX, false)?;
    let mark = |body| match body {
        Body::KnobSet { key, value, x } => Some(Mark { x, label: format!("{key} = {value}") }),
        _ => None,
    };
    Ok(events.into_iter().filter_map(|e| mark(e.body)).collect())
}

/// What a series is a curve of: `train/loss` for that of a run, of an arm, or of a candidate.
fn kind(name: &str) -> &str {
    let name = parse_arm_series(name).1;
    match name.strip_prefix(CANDIDATE).and_then(|rest| rest.split_once('/')) {
        Some((_, kind)) => kind,
        None => name,
    }
}

/// One chart a kind of series, over all runs, arms and candidates that have it.
pub fn charts(subjects: &[&Subject]) -> Vec<Chart> {
    let mut order: Vec<&str> = Vec::new();
    let mut found: BTreeMap<&str, Vec<(&Subject, &Series)>> = BTreeMap::new();
    for &subject in subjects {
        for series in subject.series.iter().filter(|s| !s.points.is_empty()) {
            let kind = kind(&series.name);
            if !found.contains_key(kind) {
                order.push(kind);
            }
            found.entry(kind).or_default().push((subject, series));
        }
    }
    let chart = |kind: &str| {
        let mut members = found.remove(kind).unwrap_or_default();
        let left_out = members.len().saturating_sub(CANDIDATES);
        members.truncate(CANDIDATES);
        let several = subjects.len() > 1;
        let infos = || members.iter().filter_map(|(subject, s)| subject.info(&s.name));
        let unit = infos().map(|i| i.x_unit.as_str()).find(|u| !u.is_empty()).unwrap_or_default();
        let to = infos().filter_map(|i| i.x_max).fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
        let jobs = members.iter().map(|(_, s)| s.jobs).max().unwrap_or(0);
        let title = match (jobs, left_out) {
            (0 | 1, 0) => kind.to_owned(),
            (0 | 1, n) => format!("{kind} ({n} more not drawn)"),
            (jobs, _) => format!("{kind}, mean of {jobs} jobs ± standard deviation"),
        };
        let curves = members.iter().map(|(subject, s)| Curve {
            name: named(kind, &s.name, several.then_some(&subject.detail.summary.id)),
            points: s.points.clone(),
            spread: s.spread.clone(),
        });
        let marks = if several { Vec::new() } else { subjects[0].marks.clone() };
        Chart { title, x_label: unit.to_owned(), curves: curves.collect(), to, marks, ..Chart::default() }
    };
    order.into_iter().map(chart).collect()
}

/// What tells a curve from the others of its chart.
fn named(kind: &str, series: &str, run: Option<&RunId>) -> String {
    let (arm, rest) = parse_arm_series(series);
    let candidate = rest.strip_suffix(kind).map_or("", |c| c.trim_end_matches('/'));
    let parts = [run.map(|r| r.0.as_str()), arm, Some(candidate)];
    let own: Vec<&str> = parts.into_iter().flatten().filter(|p| !p.is_empty()).collect();
    if own.is_empty() { kind.to_owned() } else { own.join(" ") }
}

pub fn export(client: &mut Client, runs: &[RunId], args: &args::Export, out: &Path) -> Outcome<Said> {
    let subjects = runs.iter().map(|id| Subject::of(client, id, &args.series)).collect::<Outcome<Vec<_>>>()?;
    let charts = charts(&subjects.iter().collect::<Vec<_>>());
    if charts.is_empty() {
        return Err(Failure::Input(match args.series[..] {
            [] => "there is no series to draw yet".to_owned(),
            _ => format!("there is no series `{}`; `kiln show` lists them", args.series.join("`, `")),
        }));
    }
    let drawn: Vec<Scene> = charts.iter().map(|chart| chart.draw(WIDTH, HEIGHT)).collect();
    let n = drawn.len();
    let format = if args.format == Format::Png { Picture::Png } else { Picture::Svg };
    write(&Scene::stacked(drawn), format, args.dark, out)?;
    Ok(Said {
        text: format!(
            "{}: {}",
            out.display(),
            human::with_unit(&n.to_string(), if n == 1 { "chart" } else { "charts" })
        ),
        json: json!({ "file": out, "format": args.format.name(), "charts": n, "runs": runs }),
    })
}

/// The two kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    Svg,
    Png,
}

impl Picture {
    /// By the name of the file.
    ///
    /// # Errors
    /// A sentence, for another ending.
    pub fn of_name(path: &Path) -> Result<Picture, String> {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match ending.as_str() {
            "svg" => Ok(Picture::Svg),
            "png" => Ok(Picture::Png),
            _ => Err(format!("{} is to be a picture, whose name ends in .svg or .png", path.display())),
        }
    }
}

/// Writes a drawing.
pub fn write(scene: &Scene, format: Picture, dark: bool, out: &Path) -> Outcome {
    let palette = if dark { DARK } else { LIGHT };
    files::write(out, |file| {
        let bytes = match format {
            Picture::Svg => svg::write(scene, Colours::Fixed(palette)).into_bytes(),
            Picture::Png => png::write(scene, &palette)?,
        };
        file.write_all(&bytes).map_err(|e| e.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::RunSummary;
    use kiln_protocol::wire::SeriesInfo;

    fn subject(id: &str, names: &[&str]) -> Subject {
        let info = |name: &&str| SeriesInfo {
            name: (*name).to_owned(),
            points: 2,
            first_x: 0.0,
            last_x: 1.0,
            last_y: Some(1.0),
            x_max: Some(5.0),
            x_unit: "epochs".into(),
        };
        let series = |name: &&str| Series {
            name: (*name).to_owned(),
            points: vec![[0.0, 1.0], [1.0, 2.0]],
            total: 2,
            spread: vec![],
            jobs: 0,
        };
        let detail = RunDetail {
            summary: RunSummary::queued(RunId(id.into()), 0.0),
            spec: String::new(),
            series: names.iter().map(info).collect(),
            views: vec![],
            outcome: None,
            folder: String::new(),
            knobs: vec![],
            jobs: vec![],
        };
        let marks = vec![Mark { x: 0.5, label: "optim.lr = 0.1".into() }];
        Subject { detail, series: names.iter().map(series).collect(), marks }
    }

    #[test]
    fn curves_of_one_kind_share_a_chart() {
        let one = subject("a-0001", &["train/loss", "cand-7/train/loss", "valid/accuracy", "joint: train/loss"]);
        let charts = charts(&[&one]);
        let names = |c: &Chart| c.curves.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(charts.iter().map(|c| c.title.as_str()).collect::<Vec<_>>(), ["train/loss", "valid/accuracy"]);
        assert_eq!(names(&charts[0]), ["train/loss", "cand-7", "joint"]);
        assert_eq!((charts[0].to, charts[0].x_label.as_str(), charts[0].marks.len()), (Some(5.0), "epochs", 1));

        let two = super::charts(&[&subject("a-0001", &["train/loss"]), &subject("b-0002", &["train/loss"])]);
        assert_eq!(names(&two[0]), ["a-0001", "b-0002"]);
        assert!(two[0].marks.is_empty(), "whose knob would that be?");
    }

    #[test]
    fn a_picture_is_told_by_its_name() {
        assert_eq!(Picture::of_name(Path::new("a/b.SVG")), Ok(Picture::Svg));
        assert_eq!(Picture::of_name(Path::new("b.png")), Ok(Picture::Png));
        assert!(Picture::of_name(Path::new("b.pdf")).unwrap_err().contains(".svg or .png"));
    }
}
