//! `kiln-worker --doctor`: what this machine gives, as JSON for `kiln doctor`.

use kiln_methods::runtime::Runtime;

/// The report as one JSON object.
pub fn report(runtime: &Runtime) -> String {
    let report = runtime.report(env!("CARGO_PKG_VERSION"));
    serde_json::to_string_pretty(&report).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}
