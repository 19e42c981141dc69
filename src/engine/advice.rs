//! What is worth doing: gathers what the rules look at from the store and the engine's own state.

use kiln_protocol::advice::{Advice, MachineLook, RunLook, of_machine, of_run, series_of_interest, sort};
use kiln_protocol::wire::Status;
use kiln_protocol::{RunId, RunSummary, now};
use kiln_store::{Store, StoreError};

/// Columns that series are thinned to: enough for a trend, read in an instant.
const COLUMNS: u32 = 200;

/// Advice about these runs, and about the machine: all of it, or, where one run is asked for, what concerns that run.
pub fn about(
    store: &Store,
    runs: &[RunSummary],
    status: &Status,
    only: Option<&RunId>,
) -> Result<Vec<Advice>, StoreError> {
    let mut all = Vec::new();
    for run in runs {
        let mut series = Vec::new();
        // A run that was launched a moment ago is not in the store yet, and a series may have come since.
        let infos = match store.series_infos(&run.id) {
            Err(StoreError::NoRun(_)) => Vec::new(),
            other => other?,
        };
        for name in series_of_interest(run, &infos) {
            match store.series(&run.id, &name, None, None, COLUMNS) {
                Ok(found) => series.push((name, found.points)),
                Err(StoreError::NoSeries { .. } | StoreError::NoRun(_)) => {}
                Err(other) => return Err(other),
            }
        }
        all.extend(of_run(&RunLook { run, series: &series, now: now() }));
    }
    let machine = MachineLook { system: &status.system, history: &status.history, slots: &status.devices };
    // A job is asked about by its own name, and a device knows it by that, too.
    all.extend(of_machine(&machine).into_iter().filter(|a| only.is_none() || a.run.as_ref() == only));
    sort(&mut all);
    Ok(all)
}
