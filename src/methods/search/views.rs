//! What a person sees of a search: views from plain numbers.

use kiln_protocol::View;
use kiln_protocol::run::Table;
use kiln_protocol::spec::CostAxis;
use kiln_protocol::view::{Candidate as Row, Candidates, Column, GlyphBar};

use super::asha;
use super::frame::{Search, Stage};
use super::record::Candidate;
use crate::pareto::{self, Point};
use crate::text::maybe;

/// Rows of the table of candidates; `ids` says which ones.
pub fn candidates(search: &Search, training: &[usize], ids: impl Iterator<Item = usize>) -> View {
    let column = |name: &str, decimals: u8, higher: Option<bool>| Column {
        name: name.to_owned(),
        decimals,
        higher_is_better: higher,
    };
    let screened = search.settings.screen;
    let ledger = &search.state.ledger;
    let best = ledger.best().filter(|_| search.state.stage != Stage::Search);
    let row = |id: usize| {
        let candidate = ledger.candidates.get(id)?;
        let mut cells = vec![
            Some(candidate.cost.params as f64),
            Some(candidate.cost.macs as f64),
            Some(f64::from(candidate.epochs())),
            candidate.accuracy(),
        ];
        if screened {
            cells.push(candidate.predicted);
        }
        let glyph = search.affordable.space.glyph(&candidate.arch);
        Some(Row {
            id: u32::try_from(id).unwrap_or(u32::MAX),
            arch: candidate.arch.to_string(),
            glyph: glyph.into_iter().map(|(height, class)| GlyphBar { height, class }).collect(),
            cells,
            cluster: None,
            winner: best == Some(id),
            status: status(search, id, candidate, training.contains(&id)),
        })
    };
    let mut columns = vec![
        column("params", 0, Some(false)),
        column("MACs", 0, Some(false)),
        column("epochs", 0, None),
        column("accuracy", 4, Some(true)),
    ];
    if screened {
        columns.push(column("predicted", 4, Some(true)));
    }
    View::Candidates(Candidates { columns, rows: ids.filter_map(row).collect() })
}

fn status(search: &Search, id: usize, candidate: &Candidate, training: bool) -> String {
    if let Some(why) = &candidate.failure {
        return format!("failed: {why}");
    }
    let leg = search.state.ledger.under_way.iter().find(|leg| leg.candidate == id);
    match leg {
        Some(leg) if leg.result.is_some() => "trained".into(),
        Some(_) if training => "training".into(),
        Some(_) => "waiting".into(),
        None if training => "training".into(),
        None if search.rungs.len() > 1 => format!("rung {} of {}", candidate.scores.len(), search.rungs.len()),
        None => "done".into(),
    }
}

/// Name of the cost axis.
pub fn cost_name(search: &Search) -> &'static str {
    match search.settings.cost {
        CostAxis::Macs => "MACs",
        CostAxis::Params => "params",
    }
}

/// Every candidate that has an accuracy.
pub fn points(search: &Search) -> Vec<Point> {
    let point = |(id, candidate): (usize, &Candidate)| {
        let cost = match search.settings.cost {
            CostAxis::Macs => candidate.cost.macs,
            CostAxis::Params => candidate.cost.params,
        };
        Some(Point {
            id: u32::try_from(id).unwrap_or(u32::MAX),
            arch: candidate.arch.to_string(),
            cost: cost as f64,
            accuracy: candidate.accuracy()?,
        })
    };
    search.state.ledger.candidates.iter().enumerate().filter_map(point).collect()
}

/// Accuracy against cost.
pub fn pareto(search: &Search) -> View {
    pareto::scatter("accuracy against cost", cost_name(search), "accuracy", &points(search))
}

/// One row a rung: who has finished it, who went on.
pub fn rungs(search: &Search) -> View {
    View::Table(rung_table(search))
}

/// See [`rungs`].
pub fn rung_table(search: &Search) -> Table {
    let ledger = &search.state.ledger;
    let row = |(rung, epochs): (usize, &u32)| {
        let members = asha::rung(ledger, rung);
        let score = |id: &usize| ledger.candidates[*id].scores.get(rung).and_then(|s| s.accuracy);
        let promoted: Vec<usize> =
            members.iter().copied().filter(|id| ledger.candidates[*id].started > rung + 1).collect();
        let under_way = ledger.under_way.iter().filter(|leg| leg.rung == rung).count();
        let least = promoted.iter().filter_map(score).reduce(f64::min);
        vec![
            (rung + 1).to_string(),
            epochs.to_string(),
            under_way.to_string(),
            members.len().to_string(),
            promoted.len().to_string(),
            maybe(members.first().and_then(score), 4),
            maybe(least, 4),
        ]
    };
    Table {
        title: "rungs".into(),
        columns: ["rung", "epochs", "under way", "finished", "promoted", "best", "least promoted"]
            .map(str::to_owned)
            .to_vec(),
        rows: search.rungs.iter().enumerate().map(row).collect(),
    }
}
