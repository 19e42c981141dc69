//! A candidate of a run as a training of its own: the request that every client sends for it.

use serde_json::Value as Json;

use crate::run::{Origin, RunId};
use crate::spec::{MethodName, Spec, TrainSettings};
use crate::view::{Candidate, Candidates, View};
use crate::wire::{Request, RunDetail};

/// Epochs where neither the caller nor the run's own settings say any.
const EPOCHS: u32 = 30;

/// Asks the engine to train candidate `candidate` of a run in full, from scratch, by the run's own data, space and optimiser.
/// Without a number, the run's winner is meant (of several, the best), or the only network that it has. Without `epochs`, as
/// many as the run itself trains its winners.
///
/// # Errors
/// A sentence: no such candidate, or a run whose candidates cannot be trained.
pub fn request(detail: &RunDetail, candidate: Option<u32>, epochs: Option<u32>) -> Result<Request, String> {
    let run = &detail.summary.id;
    let spec = Spec::from_toml("spec.toml", &detail.spec)
        .map_err(|problems| format!("the settings of {run} cannot be read: {problems}"))?;
    let (number, arch) = network(detail, &spec, candidate)?;
    let epochs = epochs.unwrap_or_else(|| planned(&spec));
    let named = number.map_or_else(String::new, |number| format!("-c{number}"));
    let origin = Origin { run: run.clone(), candidate: number };
    Ok(Request::Launch {
        preset: format!("{}{named}", detail.summary.preset),
        spec: training(&spec, &arch, epochs, &origin).and_then(|spec| spec.to_toml())?,
        priority: 0,
        origin: Some(origin),
    })
}

/// The architecture of a candidate, with its number where the run has a table of candidates. See [`request`].
///
/// # Errors
/// A sentence: no such candidate.
pub fn network(detail: &RunDetail, spec: &Spec, candidate: Option<u32>) -> Result<(Option<u32>, String), String> {
    let run = &detail.summary.id;
    match (candidates(detail), candidate) {
        (Some(table), Some(number)) => {
            let row = table.rows.iter().find(|row| row.id == number);
            row.map(|row| (Some(number), row.arch.clone())).ok_or_else(|| no_such(run, table, number))
        }
        (Some(table), None) => {
            let row = winner(table).ok_or_else(|| {
                format!("{run} has no winner yet; say which of its {} candidates is meant", table.rows.len())
            })?;
            Ok((Some(row.id), row.arch.clone()))
        }
        (None, Some(number)) if SINGLE.contains(&spec.method) => {
            Err(format!("{run} has a single network and no candidate {number}; leave the number away"))
        }
        (None, _) => match (spec.method, &spec.train, &spec.disout) {
            (MethodName::Train, Some(own), _) => Ok((None, own.arch.clone())),
            (MethodName::Disout, _, Some(own)) => Ok((None, own.arch.clone())),
            _ => Err(format!("{run} has no candidates yet")),
        },
    }
}

/// Methods that train a single network.
const SINGLE: &[MethodName] = &[MethodName::Train, MethodName::Disout];

/// The run's table of candidates.
fn candidates(detail: &RunDetail) -> Option<&Candidates> {
    detail.views.iter().find_map(|(_, view)| match view {
        View::Candidates(table) if !table.rows.is_empty() => Some(table),
        _ => None,
    })
}

/// Of several winners, the best by the last of the columns that are better the higher.
fn winner(table: &Candidates) -> Option<&Candidate> {
    let judged = table.columns.iter().rposition(|column| column.higher_is_better == Some(true));
    let value = |row: &Candidate| judged.and_then(|i| row.cells.get(i).copied().flatten()).unwrap_or(f64::NEG_INFINITY);
    let winners = table.rows.iter().filter(|row| row.winner);
    winners.reduce(|best, row| if value(row) > value(best) { row } else { best })
}

fn no_such(run: &RunId, table: &Candidates, number: u32) -> String {
    let ids = table.rows.iter().map(|row| row.id);
    match (ids.clone().min(), ids.max()) {
        (Some(least), Some(most)) => {
            format!(
                "{run} has no candidate {number}; its {} candidates are numbered {least} to {most}",
                table.rows.len()
            )
        }
        _ => format!("{run} has no candidate {number}"),
    }
}

/// Epochs that the run trains its best networks.
fn planned(spec: &Spec) -> u32 {
    let own = match spec.method {
        MethodName::Train => spec.train.as_ref().map(|own| own.epochs),
        MethodName::Disout => spec.disout.as_ref().map(|own| own.epochs),
        MethodName::DcNas => spec.dc_nas.as_ref().map(|own| own.full_epochs),
        _ => spec.search.as_ref().map(|own| own.final_epochs),
    };
    own.filter(|epochs| *epochs > 0).unwrap_or(EPOCHS)
}

/// The run's settings with the method `train` in the place of its own.
fn training(spec: &Spec, arch: &str, epochs: u32, origin: &Origin) -> Result<Spec, String> {
    let fail = |e: serde_json::Error| format!("the settings cannot be made those of a training: {e}");
    let mut whole = serde_json::to_value(spec).map_err(fail)?;
    if let Some(tables) = whole.as_object_mut() {
        // Tables of other methods, and what only an experiment has.
        tables.retain(|name, _| {
            let owners = MethodName::owners(name);
            (owners.is_empty() || owners.contains(&MethodName::Train)) && !["arms", "seeds"].contains(&name.as_str())
        });
        tables.insert("method".into(), Json::from(MethodName::Train.as_str()));
    }
    let mut spec: Spec = serde_json::from_value(whole).map_err(fail)?;
    spec.title = format!("Training of {origin}: {arch}");
    spec.description = String::new();
    spec.train = Some(TrainSettings { arch: arch.to_owned(), epochs });
    // Warm-up was meant for the run's own trainings; a shorter one must not consist of nothing else.
    spec.optim.warmup = spec.optim.warmup.min(f64::from(epochs));
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunSummary;
    use crate::view::Column;

    fn detail(spec: &str, rows: &[(u32, bool, f64)]) -> RunDetail {
        let row = |&(id, winner, accuracy): &(u32, bool, f64)| Candidate {
            id,
            arch: format!("fast-2-{id}"),
            glyph: vec![],
            cells: vec![Some(1.0), Some(accuracy)],
            cluster: None,
            winner,
            status: "done".into(),
        };
        let column = |name: &str, higher| Column { name: name.into(), decimals: 0, higher_is_better: Some(higher) };
        let table = Candidates {
            columns: vec![column("params", false), column("accuracy", true)],
            rows: rows.iter().map(row).collect(),
        };
        let mut summary = RunSummary::queued(RunId("dc-nas-digits-k3f7".into()), 0.0);
        summary.preset = "dc-nas-digits".into();
        RunDetail {
            views: vec![("candidates".into(), View::Candidates(table))],
            folder: "/runs/x".into(),
            ..RunDetail::new(summary, spec.into())
        }
    }

    const SEARCH: &str = "method = \"dc-nas\"\nseed = 9\nseeds = [1, 2]\n[data]\nset = \"digits\"\npath = \"/d\"\n[space]\nname = \"digits-mlp\"\n[optim]\nlr = 0.03\nwarmup = 2.0\n[dc-nas]\nfull-epochs = 70\npopulation = 8\nclusters-max = 3\n";

    #[test]
    fn a_candidate_becomes_a_training_with_the_settings_of_its_run() {
        let detail = detail(SEARCH, &[(8, false, 0.9), (16, true, 0.8), (32, true, 0.85)]);
        let asked = request(&detail, Some(8), None).unwrap();
        let Request::Launch { preset, spec, origin, .. } = asked else { panic!("{asked:?}") };
        assert_eq!(preset, "dc-nas-digits-c8");
        assert_eq!(origin, Some(Origin { run: detail.summary.id.clone(), candidate: Some(8) }));
        let spec = Spec::from_toml("x", &spec).unwrap();
        assert_eq!((spec.method, spec.seed, spec.optim.lr, spec.dc_nas), (MethodName::Train, 9, 0.03, None));
        assert!(spec.seeds.is_empty() && spec.title.contains("candidate 8 of dc-nas-digits-k3f7"));
        assert_eq!(spec.train, Some(TrainSettings { arch: "fast-2-8".into(), epochs: 70 }));

        let Ok(Request::Launch { spec, origin, .. }) = request(&detail, None, Some(1)) else { panic!("no request") };
        assert_eq!(origin.and_then(|o| o.candidate), Some(32), "the better of two winners");
        let spec = Spec::from_toml("x", &spec).unwrap();
        assert_eq!((spec.optim.warmup, spec.train.map(|t| t.epochs)), (1.0, Some(1)));
    }

    #[test]
    fn who_cannot_be_trained_is_named() {
        let some = detail(SEARCH, &[(0, false, 0.9), (7, false, 0.8)]);
        let said = |detail: &RunDetail, n| request(detail, n, None).unwrap_err();
        assert!(said(&some, Some(8)).contains("no candidate 8; its 2 candidates are numbered 0 to 7"));
        assert!(said(&some, None).contains("has no winner yet"));
        assert!(said(&detail(SEARCH, &[]), Some(1)).contains("has no candidates yet"));
        let plain = "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n[train]\narch = \"slow-1-8\"\nepochs = 5\n";
        let plain = detail(plain, &[]);
        assert!(said(&plain, Some(1)).contains("single network"));
        let Ok(Request::Launch { spec, origin, .. }) = request(&plain, None, None) else { panic!("no request") };
        assert_eq!(origin.map(|o| o.candidate), Some(None));
        assert_eq!(Spec::from_toml("x", &spec).unwrap().train.unwrap().arch, "slow-1-8");
        assert!(said(&detail("method = 3", &[]), None).contains("cannot be read"));
    }
}
