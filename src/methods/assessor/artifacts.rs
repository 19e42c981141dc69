//! What a comparison leaves in `artifacts/`: tables for other programs.

use std::fmt::Write as _;

use super::results::Results;
use super::table::{Entry, Split};

fn cell(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// `results.csv`: one row a training.
pub fn results(results: &Results) -> String {
    let mut out = String::from("predictor,labels,repeat,tau,pearson,mse,regret,seconds\n");
    for (job, scored) in results.jobs.iter().zip(results.scored) {
        let Some(s) = scored else { continue };
        let labels = results.settings.labels.get(job.labels).copied().unwrap_or(0);
        let _ = writeln!(
            out,
            "{},{labels},{},{},{},{},{},{:.3}",
            job.predictor,
            job.repeat + 1,
            cell(s.tau),
            cell(s.pearson),
            cell(s.mse),
            cell(s.regret),
            s.seconds
        );
    }
    out
}

/// `predictions.csv`: one row an architecture of the table, as the run's assessor predicts it, with what it was used for:
/// `test`, `unlabelled`, `labelled`, or `spare` (in the pool, not drawn).
pub fn predictions(entries: &[Entry], predicted: &[f64], split: &Split, labelled: &[usize]) -> String {
    let mut part = vec!["spare"; entries.len()];
    for (name, indices) in [("test", &split.test[..]), ("unlabelled", &split.unlabelled), ("labelled", labelled)] {
        for &i in indices {
            if let Some(part) = part.get_mut(i) {
                *part = name;
            }
        }
    }
    let mut out = String::from("arch,part,accuracy,predicted\n");
    for ((entry, predicted), part) in entries.iter().zip(predicted).zip(part) {
        let _ = writeln!(out, "{},{part},{},{predicted:.4}", entry.arch, cell(entry.accuracy));
    }
    out
}
