//! `kiln-worker --doctor`: what this machine gives, as JSON for `kiln doctor` and `kiln repro`.

use kiln_methods::runtime::{Report, Runtime};
use serde::Serialize;

use crate::record::program;

#[derive(Serialize)]
struct Said {
    #[serde(flatten)]
    report: Report,
    commit: String,
    changes: String,
}

/// The report as one JSON object.
pub fn report(runtime: &Runtime) -> String {
    let program = program();
    let said = Said { report: runtime.report(&program.version), commit: program.commit, changes: program.changes };
    serde_json::to_string_pretty(&said).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}
