//! The weights of a run's network as a file, by `kiln-worker`, which alone knows libtorch.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_protocol::client::Client;
use kiln_protocol::run::{Origin, RunSummary};
use kiln_protocol::spec::Spec;
use kiln_protocol::wire::RunDetail;
use kiln_protocol::{RunId, RunState, retrain};
use serde_json::Value as Json;

use super::{Format, files};
use crate::engines;
use crate::failure::{Failure, Outcome};
use crate::{doctor, human};

/// A run, and the number of a candidate where one is named.
pub fn asked(runs: &[String]) -> Outcome<(&str, Option<u32>)> {
    match runs {
        [run] => Ok((run, None)),
        [run, number] if number.parse::<u32>().is_ok() => Ok((run, number.parse().ok())),
        _ => Err(Failure::Input(format!(
            "weights are those of one run; expected RUN or RUN CANDIDATE, found `{}`",
            runs.join(" ")
        ))),
    }
}

/// Writes the network of a run, or of one of its candidates, and gives what `kiln-worker export` says of it: `file` (absolute
/// path), `arch`, `space`, `tensors`, `parameters`. Without `out` the file lies in the working folder and is called after run
/// and candidate; one that is there already is only overwritten with `force`. The run folder is read directly, so this works where the engine runs on this machine.
///
/// A candidate has weights if it is the one that its run trained in full, or if a run was launched to train it (`kiln retrain`)
/// and has completed; of several, the newest counts.
pub fn write(
    client: &mut Client,
    run: &str,
    candidate: Option<u32>,
    format: Format,
    out: Option<&Path>,
    force: bool,
) -> Outcome<Json> {
    let id = engines::find(client, run)?;
    let detail = engines::detail(client, &id)?;
    if let [first, .., last] = detail.jobs.as_slice() {
        return Err(Failure::Input(format!(
            "{id} is an experiment; its networks are those of its jobs: kiln export {} (to {})",
            first.id, last.id
        )));
    }
    let spec =
        Spec::from_toml("spec.toml", &detail.spec).map_err(|problems| Failure::Input(problems.of_another_kiln()))?;
    // Whatever the run has, where no candidate is named: a winner need not be marked in its table.
    let wanted = candidate.map(|_| retrain::network(&detail, &spec, candidate)).transpose().map_err(Failure::Input)?;
    let arch = wanted.map(|(_, arch)| arch);
    let mut folders = vec![PathBuf::from(&detail.folder)];
    let (trained, training) = trainings(client, &id, candidate)?;
    folders.extend(trained);
    let out = match out {
        Some(out) => out.to_path_buf(),
        None => PathBuf::from(default_name(&detail, candidate, format)),
    };
    files::free(&out, force)?;
    let out = std::path::absolute(&out).map_err(|e| Failure::Input(format!("{}: {e}", out.display())))?;
    let worker = doctor::worker();
    let mut command = Command::new(&worker);
    command.arg("export").args(["--format", format.name()]).arg("--out").arg(&out);
    if let Some(arch) = &arch {
        command.args(["--arch", arch]);
    }
    command.args(&folders).stdin(Stdio::null());
    let output = command.output().map_err(|e| {
        Failure::Engine(format!("{} cannot be started: {e}; `kiln doctor` says more", worker.display()))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        let number = candidate.map_or_else(String::new, |n| format!(" {n}"));
        let state = detail.summary.state;
        let hint = match training {
            _ if output.status.code() != Some(NO_WEIGHTS) => String::new(),
            Some(run) => format!("; {} trains it and is {}: wait for it", run.id, run.state.as_str()),
            None if candidate.is_none() && !state.is_ended() => format!("; the run is {}: wait for it", state.as_str()),
            None => format!("; train it first: kiln retrain {id}{number}"),
        };
        return Err(Failure::Input(format!("{id} was not exported: {said}{hint}")));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| {
        Failure::Engine(format!("{} did not answer in JSON: {e}; is it of another version?", worker.display()))
    })
}

/// Exit code of `kiln-worker export` where there are no weights.
const NO_WEIGHTS: i32 = 3;

fn default_name(detail: &RunDetail, candidate: Option<u32>, format: Format) -> String {
    let number = candidate.map_or_else(String::new, |n| format!("-c{n}"));
    format!("{}{number}.{}", detail.summary.id, format.extension())
}

/// Folders of the completed runs that were launched to train this candidate, the newest first, and one that is at it.
fn trainings(client: &mut Client, run: &RunId, candidate: Option<u32>) -> Outcome<(Vec<PathBuf>, Option<RunSummary>)> {
    let wanted = Origin { run: run.clone(), candidate };
    let mut runs: Vec<RunSummary> = engines::runs(client)?;
    runs.retain(|r| r.origin.as_ref() == Some(&wanted));
    let completed = runs.iter().filter(|r| r.state == RunState::Completed && candidate.is_some());
    let ids: Vec<RunId> = completed.map(|r| r.id.clone()).collect();
    let folders =
        ids.iter().map(|id| Ok(PathBuf::from(engines::detail(client, id)?.folder))).collect::<Outcome<_>>()?;
    Ok((folders, runs.into_iter().find(|r| !r.state.is_ended())))
}

/// What was written, in a sentence.
pub fn sentence(said: &Json) -> String {
    let text = |key: &str| said[key].as_str().unwrap_or("?").to_owned();
    let number = |key: &str| said[key].as_u64().unwrap_or(0);
    // Packed bits come from no space.
    let space = said["space"].as_str().map_or_else(String::new, |space| format!(" of space {space}"));
    format!(
        "{}: {}{space}, {} tensors, {} parameters",
        text("file"),
        text("arch"),
        number("tensors"),
        human::count(number("parameters") as f64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_behind_the_run_is_a_candidate() {
        let asked = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            asked(&words).map(|(run, n)| (run.to_owned(), n)).map_err(|e| format!("{e:?}"))
        };
        assert_eq!(asked(&["last"]), Ok(("last".into(), None)));
        assert_eq!(asked(&["last", "12"]), Ok(("last".into(), Some(12))));
        for wrong in [&["a", "b"][..], &["a", "1", "2"]] {
            assert!(asked(wrong).unwrap_err().contains("RUN CANDIDATE"), "{wrong:?}");
        }
    }
}
