//! Charts of a run's series as files.

use std::collections::BTreeSet;
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

/// Least number of alike series that share a chart.
const GROUP: usize = 3;

/// Of a series that is likely one of many that say the same of the parts of something, `entropy` for `entropy/stage1.1`:
/// what they share, and the part.
fn part(kind: &str) -> Option<(&str, &str)> {
    kind.rsplit_once('/').filter(|(_, part)| part.ends_with(|c: char| c.is_ascii_digit()))
}

/// One chart a kind of series, over all runs, arms and candidates that have it; alike series share one. Those by which runs
/// are judged come first, then accuracies, then losses.
pub fn charts(subjects: &[&Subject]) -> Vec<Chart> {
    let drawn = |subject: &Subject| subject.series.iter().filter(|s| !s.points.is_empty()).cloned().collect::<Vec<_>>();
    let all: Vec<(&Subject, Series)> =
        subjects.iter().flat_map(|subject| drawn(subject).into_iter().map(|series| (*subject, series))).collect();
    let kinds: BTreeSet<&str> = all.iter().map(|(_, s)| kind(&s.name)).collect();
    let grouped = |name: &str| {
        let shared = part(name)?.0;
        let alike = kinds.iter().filter(|other| part(other).is_some_and(|(of, _)| of == shared));
        (alike.count() >= GROUP).then(|| shared.to_owned())
    };
    let mut charts: Vec<(String, Vec<&(&Subject, Series)>)> = Vec::new();
    for member in &all {
        let kind = kind(&member.1.name);
        let title = grouped(kind).unwrap_or_else(|| kind.to_owned());
        match charts.iter_mut().find(|(known, _)| *known == title) {
            Some((_, members)) => members.push(member),
            None => charts.push((title, vec![member])),
        }
    }
    let judged = |title: &str| {
        subjects.iter().any(|s| s.detail.summary.best.as_ref().is_some_and(|best| kind(&best.name) == title))
    };
    charts.sort_by_key(|(title, _)| match title.rsplit('/').next().unwrap_or_default() {
        _ if judged(title) => 0,
        "accuracy" => 1,
        "loss" => 2,
        _ => 3,
    });
    charts.into_iter().map(|(title, members)| chart(&title, members, subjects)).collect()
}

fn chart(title: &str, mut members: Vec<&(&Subject, Series)>, subjects: &[&Subject]) -> Chart {
    let left_out = members.len().saturating_sub(CANDIDATES);
    members.truncate(CANDIDATES);
    let several = subjects.len() > 1;
    let infos = || members.iter().filter_map(|(subject, s)| subject.info(&s.name));
    let unit = infos().map(|i| i.x_unit.as_str()).find(|u| !u.is_empty()).unwrap_or_default();
    let to = infos().filter_map(|i| i.x_max).fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
    let mut words = title.to_owned();
    let jobs = || members.iter().map(|(_, s)| s.jobs).filter(|jobs| *jobs > 1);
    match (jobs().min(), jobs().max()) {
        (Some(least), Some(most)) if least < most => {
            words += &format!(", mean of {least} to {most} jobs ± standard deviation");
        }
        (Some(n), _) => words += &format!(", mean of {n} jobs ± standard deviation"),
        (None, _) => {}
    }
    if left_out > 0 {
        words += &format!(" ({left_out} more not drawn)");
    }
    let curves = members.iter().map(|(subject, s)| Curve {
        name: named(title, &s.name, several.then_some(&subject.detail.summary.id)),
        points: s.points.clone(),
        spread: s.spread.clone(),
    });
    let marks = if several { Vec::new() } else { subjects.iter().flat_map(|s| s.marks.clone()).collect() };
    Chart { title: words, x_label: unit.to_owned(), curves: curves.collect(), to, marks, ..Chart::default() }
}

/// What tells a curve from the others of its chart: run, arm, candidate, part.
fn named(title: &str, series: &str, run: Option<&RunId>) -> String {
    let (arm, rest) = parse_arm_series(series);
    let kind = kind(series);
    let candidate = rest.strip_suffix(kind).map_or("", |c| c.trim_end_matches('/'));
    let part = kind.strip_prefix(title).map_or("", |p| p.trim_start_matches('/'));
    let parts = [run.map(|r| r.0.as_str()), arm, Some(candidate), Some(part)];
    let own: Vec<&str> = parts.into_iter().flatten().filter(|p| !p.is_empty()).collect();
    if own.is_empty() { title.to_owned() } else { own.join(" ") }
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
    write(&Scene::tiled(drawn), format, args.dark, out)?;
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
            series: names.iter().map(info).collect(),
            ..RunDetail::new(RunSummary::queued(RunId(id.into()), 0.0), String::new())
        };
        let marks = vec![Mark { x: 0.5, label: "optim.lr = 0.1".into() }];
        Subject { detail, series: names.iter().map(series).collect(), marks }
    }

    #[test]
    fn curves_of_one_kind_share_a_chart() {
        let one = subject("a-0001", &["train/loss", "cand-7/train/loss", "valid/accuracy", "joint: train/loss"]);
        let charts = charts(&[&one]);
        let names = |c: &Chart| c.curves.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(charts.iter().map(|c| c.title.as_str()).collect::<Vec<_>>(), ["valid/accuracy", "train/loss"]);
        assert_eq!(names(&charts[1]), ["train/loss", "cand-7", "joint"]);
        assert_eq!((charts[1].to, charts[1].x_label.as_str(), charts[1].marks.len()), (Some(5.0), "epochs", 1));

        let two = super::charts(&[&subject("a-0001", &["train/loss"]), &subject("b-0002", &["train/loss"])]);
        assert_eq!(names(&two[0]), ["a-0001", "b-0002"]);
        assert!(two[0].marks.is_empty(), "whose knob would that be?");
    }

    #[test]
    fn alike_series_share_a_chart_and_what_matters_comes_first() {
        let names =
            ["entropy/stage1.1", "entropy/stage1.2", "entropy/stage2.1", "lr/2", "train/loss", "valid/accuracy"];
        let mut one = subject("a-0001", &names);
        let titles = |s: &Subject| charts(&[s]).into_iter().map(|c| c.title).collect::<Vec<_>>();
        assert_eq!(titles(&one), ["valid/accuracy", "train/loss", "entropy", "lr/2"]);
        let best = kiln_protocol::run::Best { name: "entropy".into(), value: 1.0, higher_is_better: true };
        one.detail.summary.best = Some(best);
        assert_eq!(titles(&one)[0], "entropy");
        let curves = &charts(&[&one])[0].curves;
        assert_eq!(curves.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["stage1.1", "stage1.2", "stage2.1"]);
    }

    #[test]
    fn means_say_of_how_many_jobs_they_are() {
        let mut one = subject("a-0001", &["joint: train/loss", "plain: train/loss"]);
        (one.series[0].jobs, one.series[1].jobs) = (3, 5);
        assert_eq!(charts(&[&one])[0].title, "train/loss, mean of 3 to 5 jobs ± standard deviation");
        one.series[0].jobs = 5;
        assert_eq!(charts(&[&one])[0].title, "train/loss, mean of 5 jobs ± standard deviation");
    }

    #[test]
    fn a_picture_is_told_by_its_name() {
        assert_eq!(Picture::of_name(Path::new("a/b.SVG")), Ok(Picture::Svg));
        assert_eq!(Picture::of_name(Path::new("b.png")), Ok(Picture::Png));
        assert!(Picture::of_name(Path::new("b.pdf")).unwrap_err().contains(".svg or .png"));
    }
}
