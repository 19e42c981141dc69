//! Tags and notes: into the run folder first, then into the row.

use kiln_protocol::RunId;
use kiln_protocol::labels::Labels;
use kiln_protocol::wire::Reply;

use super::{Engine, unknown};
use crate::launch::LaunchFile;

impl Engine {
    /// Changes what people have written about a run.
    pub(super) fn label(
        &mut self,
        run: &RunId,
        change: impl FnOnce(&mut Labels) -> Result<(), String>,
    ) -> Result<Reply, String> {
        let folder = self.options.home.run_folder(run);
        let Some(tracked) = self.runs.get_mut(run) else { return Err(unknown(run)) };
        // One that cannot be read is not written over: somebody's words are in it.
        let mut labels = Labels::read(&folder).map_err(|e| e.to_string())?;
        let before = labels.clone();
        change(&mut labels)?;
        if labels != before {
            labels.write(&folder).map_err(|e| e.to_string())?;
            (tracked.summary.tags, tracked.summary.note) = (labels.tags.clone(), labels.headline());
            self.ingest.facts(run.clone(), LaunchFile::read(&folder, run));
            self.changed(run);
        }
        Ok(Reply::Done)
    }
}
