//! `predict`: a run's assessor asked about other architectures, by `kiln-worker`, which alone knows libtorch.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use kiln_protocol::spool::replace;

use crate::engines::{self, Engines};
use crate::export::files;
use crate::failure::{Failure, Outcome, say};
use crate::{args, doctor};

pub fn predict(engines: &Engines, args: &args::Predict) -> Outcome {
    args.out.as_deref().map_or(Ok(()), |out| files::free(out, args.force))?;
    let mut client = engines.open()?;
    let id = engines::find(&mut client, &args.run)?;
    let detail = engines::detail(&mut client, &id)?;
    if !detail.summary.state.is_ended() {
        let state = detail.summary.state.as_str();
        return Err(Failure::Input(format!(
            "{id} is {state}: it leaves its assessor when it has completed; wait for it"
        )));
    }
    if detail.summary.method != "assessor" {
        return Err(Failure::Input(format!(
            "{id} is a run of `{}` and leaves no assessor; ask a completed run of the method `assessor`",
            detail.summary.method
        )));
    }
    if let Some(job) = detail.jobs.first() {
        return Err(Failure::Input(format!("{id} is an experiment; ask one of its jobs, such as {}", job.id)));
    }
    let folder = PathBuf::from(detail.folder);
    let worker = doctor::worker();
    let mut command = Command::new(&worker);
    command.arg("predict").arg(&folder);
    if let Some(table) = &args.table {
        command.arg("--table").arg(table);
    }
    if let Some(count) = args.sample {
        command.args(["--sample", &count.to_string(), "--seed", &args.seed.to_string()]);
    }
    if let Some(top) = args.top {
        command.args(["--top", &top.to_string()]);
    }
    let output = command.stdin(Stdio::null()).output().map_err(|e| {
        Failure::Engine(format!("{} cannot be started: {e}; `kiln doctor` says more", worker.display()))
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure::Input(format!("{id} predicts nothing: {}", said.trim())));
    }
    match &args.out {
        None => say(String::from_utf8_lossy(&output.stdout).trim_end()),
        Some(path) => {
            let fail = |e: std::io::Error| Failure::Input(format!("{} cannot be written: {e}", path.display()));
            replace(&std::path::absolute(path).map_err(fail)?, &output.stdout).map_err(fail)?;
            say(format!("{}: {}", path.display(), said.trim()))
        }
    }
}
