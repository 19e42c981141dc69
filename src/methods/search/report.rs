//! The outcome: figures for machines, tables for people, and the table of candidates for other programs.

use std::fmt::Write as _;

use kiln_protocol::run::{Figure, Outcome, Table};
use kiln_protocol::spec::BudgetUnit;

use super::frame::Search;
use super::propose::Strategy;
use super::record::{Candidate, Ledger};
use super::views;
use crate::pareto;
use crate::text::{maybe, thousands};

/// Rows of the table of the best candidates.
const TOP: usize = 10;

/// What the search is called in a sentence.
fn name(search: &Search) -> &'static str {
    match (&search.strategy, search.settings.screen) {
        (Strategy::Random, false) => "Random search",
        (Strategy::Random, true) => "Random search with screening",
        (Strategy::Evolution(_), false) => "Regularised evolution",
        (Strategy::Evolution(_), true) => "Regularised evolution with screening",
        (Strategy::Asha(_), _) => "Asynchronous successive halving",
    }
}

/// What the search found.
pub fn outcome(search: &Search) -> Outcome {
    let ledger = &search.state.ledger;
    let best = ledger.best().map(|id| (id, &ledger.candidates[id]));
    let last = search.state.last.as_ref();
    let (valid, test) = (last.and_then(|l| l.valid), last.and_then(|l| l.test));
    let judged = ledger.candidates.iter().filter(|c| c.accuracy().is_some()).count();
    let failed = ledger.candidates.iter().filter(|c| c.failure.is_some()).count();
    let points = views::points(search);
    let figures = [
        ("best_accuracy", best.and_then(|(_, c)| c.accuracy())),
        ("final_accuracy", valid.map(|e| e.accuracy)),
        ("final_loss", valid.map(|e| e.loss)),
        ("test_accuracy", test.map(|e| e.accuracy)),
        ("best_candidate", best.map(|(id, _)| id as f64)),
        ("best_params", best.map(|(_, c)| c.cost.params as f64)),
        ("best_macs", best.map(|(_, c)| c.cost.macs as f64)),
        ("candidates", Some(ledger.candidates.len() as f64)),
        ("candidates_judged", Some(judged as f64)),
        ("candidates_failed", Some(failed as f64)),
        ("front", Some(pareto::front(&points).len() as f64)),
        ("epoch_images", Some(ledger.spent as f64)),
        ("final_epoch_images", last.map(|l| f64::from(l.epochs) * search.images())),
        ("tau_predicted", search.tau_predicted()),
        ("seconds", Some(search.state.seconds + last.map_or(0.0, |l| l.seconds))),
    ];
    let mut tables = vec![summary(search), top(search)];
    if search.rungs.len() > 1 {
        tables.push(views::rung_table(search));
    }
    tables.push(pareto::table(views::cost_name(search), "accuracy", &points));
    Outcome {
        flaws: Vec::new(),
        verdict: verdict(search),
        figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        tables,
        headline: vec![
            Figure::new("best_accuracy", true),
            Figure::new("final_accuracy", true),
            Figure::new("test_accuracy", true),
            Figure::new("best_macs", false),
            Figure::new("best_params", false),
            Figure { name: "candidates".into(), ..Figure::default() },
            Figure { name: "epoch_images".into(), ..Figure::default() },
        ],
    }
}

fn verdict(search: &Search) -> String {
    let ledger = &search.state.ledger;
    let Some(best) = ledger.best() else { return format!("{} has judged no candidate yet.", name(search)) };
    let winner = &ledger.candidates[best];
    let percent = |v: Option<f64>| v.map_or_else(|| "no".to_owned(), |v| format!("{:.2} %", v * 100.0));
    let mut text = format!(
        "{} trained {} candidates in {} epoch-images; the best, {} (number {best}), reached {} validation accuracy after {} epochs",
        name(search),
        ledger.candidates.len(),
        thousands(ledger.spent as f64),
        winner.arch,
        percent(winner.accuracy()),
        winner.epochs()
    );
    match &search.state.last {
        Some(last) => {
            let _ = write!(
                text,
                ", and {} after {} epochs from scratch",
                percent(last.valid.map(|v| v.accuracy)),
                last.epochs
            );
            if let Some(test) = last.test {
                let _ = write!(text, ", with {} test accuracy", percent(Some(test.accuracy)));
            }
            text.push('.');
            if let Some(why) = &last.failure {
                let _ = write!(text, " The final training ended early: {why}.");
            }
        }
        None => text.push('.'),
    }
    if let Some(why) = &search.state.short {
        let _ = write!(text, " The budget was not used up: {why}.");
    }
    text
}

fn summary(search: &Search) -> Table {
    let ledger = &search.state.ledger;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let budget = match search.settings.unit {
        BudgetUnit::EpochImages => format!("{} epoch-images", thousands(search.settings.budget)),
        BudgetUnit::Seconds => format!("{} seconds", search.settings.budget),
    };
    let mut rows = vec![
        row("space", search.affordable.space.name.clone()),
        row("regulariser", search.spec.regulariser.in_words()),
        row("budget", budget),
        row("spent", format!("{} epoch-images", thousands(ledger.spent as f64))),
        row("candidates", ledger.candidates.len().to_string()),
    ];
    if let Some(best) = ledger.best().map(|id| &ledger.candidates[id]) {
        rows.extend([
            row("best architecture", best.arch.to_string()),
            row("parameters", thousands(best.cost.params as f64)),
            row("MACs", thousands(best.cost.macs as f64)),
            row("validation accuracy in the search", maybe(best.accuracy(), 4)),
        ]);
    }
    if let Some(last) = &search.state.last {
        rows.push(row("validation accuracy from scratch", maybe(last.valid.map(|e| e.accuracy), 4)));
        rows.push(row("test accuracy", maybe(last.test.map(|e| e.accuracy), 4)));
    }
    rows.push(row("search time", format!("{:.1} s", search.state.seconds)));
    Table { title: name(search).into(), columns: vec!["figure".into(), "value".into()], rows }
}

fn top(search: &Search) -> Table {
    let ledger = &search.state.ledger;
    let row = |id: usize| {
        let candidate = &ledger.candidates[id];
        let mut cells = vec![
            id.to_string(),
            candidate.arch.to_string(),
            thousands(candidate.cost.params as f64),
            thousands(candidate.cost.macs as f64),
            candidate.epochs().to_string(),
            maybe(candidate.accuracy(), 4),
        ];
        if search.settings.screen {
            cells.push(maybe(candidate.predicted, 4));
        }
        cells
    };
    let mut columns = ["candidate", "architecture", "params", "MACs", "epochs", "accuracy"].map(str::to_owned).to_vec();
    if search.settings.screen {
        columns.push("predicted".into());
    }
    Table { title: "Best candidates".into(), columns, rows: ledger.ranking().into_iter().take(TOP).map(row).collect() }
}

/// `candidates.csv`: one row a candidate, with what it is, what it cost, and what it reached.
pub fn candidates_csv(ledger: &Ledger) -> String {
    let mut out = String::from("id,arch,params,macs,epochs,accuracy,predicted,parents,failure\n");
    let number = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
    for (id, candidate) in ledger.candidates.iter().enumerate() {
        let Candidate { arch, cost, parents, predicted, failure, .. } = candidate;
        let parents: Vec<String> = parents.iter().map(usize::to_string).collect();
        let failure = failure.as_deref().unwrap_or_default().replace('"', "\"\"");
        let _ = writeln!(
            out,
            "{id},{arch},{},{},{},{},{},{},\"{failure}\"",
            cost.params,
            cost.macs,
            candidate.epochs(),
            number(candidate.accuracy()),
            number(*predicted),
            parents.join(" ")
        );
    }
    out
}
