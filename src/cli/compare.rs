//! `compare`: several runs side by side: figures with means and spread over seeds, settings that differ, curves over one
//! another, the strip of parallel coordinates, importance of settings, the front.
//!
//! - [`gather`]: runs, read from the engine and laid side by side
//! - [`weigh`]: which settings matter, and which runs no other beats
//! - [`text`]: all of it in words
//! - [`curves`]: curves over one another

mod curves;
pub mod gather;
mod text;
mod weigh;

use kiln_protocol::RunId;
use kiln_protocol::client::Client;
use kiln_protocol::compare::{Comparison, FigureRow, Importance, RunRef, Weighed};
use kiln_protocol::spec::problem::nearest;
use serde::Serialize;

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, note, say, say_json};
use crate::{args, terminal};

pub use gather::gather;
pub use weigh::weigh;

/// The answer of `compare --json`: the comparison, and what was asked for besides.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    #[serde(skip_serializing_if = "Option::is_none")]
    strip: Option<Vec<StripRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    importance: Option<Weighing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    front: Option<Front<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    curves: Option<Vec<curves::Curve>>,
}

/// A run of the strip, with its settings in the order of the comparison's.
#[derive(Serialize)]
struct StripRow<'a> {
    run: &'a RunId,
    group: usize,
    figure: &'a str,
    value: Option<f64>,
}

/// Importance, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
enum Weighing {
    Found(Importance),
    None { figure: String, why_not: String },
}

#[derive(Serialize)]
struct Front<'a> {
    figure: &'a str,
    against: &'a str,
    runs: Vec<FrontRow<'a>>,
}

#[derive(Serialize)]
struct FrontRow<'a> {
    run: &'a RunId,
    group: usize,
    value: Option<f64>,
    against: Option<f64>,
}

pub fn compare(engines: &Engines, args: &args::Compare) -> Outcome {
    let mut client = engines.open()?;
    let ids = args.runs.iter().map(|asked| engines::find(&mut client, asked)).collect::<Outcome<Vec<RunId>>>()?;
    if let Some(twice) = ids.iter().enumerate().find_map(|(i, id)| ids[..i].contains(id).then_some(id)) {
        return Err(Failure::Input(format!("{twice} is named twice, and a run does not differ from itself")));
    }
    let comparison = gather(&mut client, &ids)?;
    comparison.left_out.iter().for_each(note);
    if comparison.groups.is_empty() {
        return Err(Failure::Input("none of these runs has found anything yet; nothing can be compared".into()));
    }
    let chosen = Chosen::of(&comparison, args)?;
    let curves = match &args.curves {
        Some(asked) => Some(curves::read(&mut client, &comparison, asked.as_deref(), args)?),
        None => None,
    };
    if args.json { as_json(&comparison, &chosen, curves, args) } else { in_words(&comparison, &chosen, curves, args) }
}

/// The figures that strip, importance and front are about.
struct Chosen<'a> {
    figure: &'a FigureRow,
    against: &'a FigureRow,
}

impl<'a> Chosen<'a> {
    fn of(comparison: &'a Comparison, args: &args::Compare) -> Outcome<Chosen<'a>> {
        let first = comparison.figures.first().ok_or_else(|| Failure::input("these runs have no figures yet"))?;
        let figure = args.figure.as_ref().map_or(Ok(first), |name| named(comparison, name))?;
        let against = match args.front.as_ref().and_then(Option::as_ref) {
            Some(name) => named(comparison, name)?,
            None => comparison.cost(&figure.name).unwrap_or(figure),
        };
        Ok(Chosen { figure, against })
    }
}

fn named<'a>(comparison: &'a Comparison, name: &str) -> Outcome<&'a FigureRow> {
    comparison.figure(name).ok_or_else(|| {
        let known = comparison.figures.iter().map(|f| f.name.as_str());
        let hint = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("they have {}", known.collect::<Vec<_>>().join(", ")),
        };
        Failure::Input(format!("none of these runs has a figure `{name}`; {hint}"))
    })
}

fn as_json(
    comparison: &Comparison,
    chosen: &Chosen<'_>,
    curves: Option<Vec<curves::Curve>>,
    args: &args::Compare,
) -> Outcome {
    let (figure, against) = (chosen.figure, chosen.against);
    let (values, costs) = (figure.flat(), against.flat());
    let runs: Vec<RunRef<'_>> = comparison.runs().collect();
    let asked = args.importance || args.front.is_some();
    let weighed = if asked { weigh(comparison, &figure.name, &against.name) } else { Weighed::default() };
    let mut shown = comparison.clone();
    shown.figures.retain(|row| args.all || row.headline || !comparison.figures.iter().any(|f| f.headline));
    say_json(&Answer {
        strip: args.strip.then(|| {
            let row =
                |i: usize| StripRow { run: runs[i].id, group: runs[i].group, figure: &figure.name, value: values[i] };
            comparison.best_first(figure).into_iter().map(row).collect()
        }),
        front: args.front.is_some().then(|| Front {
            figure: &figure.name,
            against: &against.name,
            runs: weighed
                .front
                .iter()
                .map(|&i| FrontRow { run: runs[i].id, group: runs[i].group, value: values[i], against: costs[i] })
                .collect(),
        }),
        importance: args.importance.then_some(match weighed.importance {
            Some(found) => Weighing::Found(found),
            None => Weighing::None { figure: figure.name.clone(), why_not: weighed.why_not },
        }),
        comparison: &shown,
        curves,
    })
}

fn in_words(
    comparison: &Comparison,
    chosen: &Chosen<'_>,
    curves: Option<Vec<curves::Curve>>,
    args: &args::Compare,
) -> Outcome {
    let width = terminal::width().min(160);
    let (figure, against) = (chosen.figure, chosen.against);
    let mut parts = vec![text::table(comparison, args.all, width)];
    if args.importance || args.front.is_some() {
        let weighed = weigh(comparison, &figure.name, &against.name);
        if args.importance {
            parts.push(text::importance(figure, &weighed));
        }
        if args.front.is_some() {
            parts.push(text::front(comparison, figure, against, &weighed.front));
        }
    }
    if args.strip {
        parts.push(text::strip(comparison, figure, width));
    }
    if let Some(curves) = curves {
        parts.push(curves::draw(&curves, comparison, args, width));
    }
    say(parts.join("\n\n"))
}

/// Runs side by side for the workbench, with the error as a sentence.
pub fn for_workbench(client: &mut Client, ids: &[RunId]) -> Outcome<Comparison> {
    let comparison = gather(client, ids)?;
    if comparison.groups.is_empty() {
        let why = comparison.left_out.join("; ");
        return Err(Failure::Input(format!("None of these runs has found anything yet: {why}.")));
    }
    Ok(comparison)
}
