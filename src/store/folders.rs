//! From run folders to the store: what the engine does at its start, and how a lost store is made anew.

use std::time::UNIX_EPOCH;

use kiln_protocol::home::Home;
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::{EventTail, RunFolder, SpoolError};
use kiln_protocol::{RunId, RunSummary, now};

use crate::error::StoreError;
use crate::store::Store;

/// What was read from run folders.
#[derive(Debug, Default, PartialEq)]
pub struct Rebuilt {
    /// Runs in the store now.
    pub runs: u32,
    /// Events that were new to it.
    pub events: u64,
    /// Sentences about what could not be used.
    pub problems: Vec<String>,
}

impl Store {
    /// Brings the store up to date with the run folders: adds runs that it does not know, forgets those whose folder is
    /// gone, reads on in each from where it stopped, and reads a run anew whose events were replaced.
    ///
    /// # Errors
    /// Those of the store, and a folder of runs that cannot be listed. A single run that cannot be read is a problem in
    /// the result.
    pub fn catch_up(&self, home: &Home) -> Result<Rebuilt, StoreError> {
        let ids = home
            .run_ids()
            .map_err(|e| StoreError::Open { path: home.runs_dir(), why: format!("the runs cannot be listed: {e}") })?;
        let mut done = Rebuilt::default();
        for known in self.runs()? {
            if !ids.contains(&known.id) {
                self.remove(&known.id)?;
            }
        }
        for id in ids {
            let one = self.catch_up_with(home, &id)?;
            done.runs += one.runs;
            done.events += one.events;
            done.problems.extend(one.problems);
        }
        Ok(done)
    }

    /// As [`Store::catch_up`], with the folder of one run.
    ///
    /// # Errors
    /// Those of the store. A folder that cannot be read is a problem in the result.
    pub fn catch_up_with(&self, home: &Home, id: &RunId) -> Result<Rebuilt, StoreError> {
        let mut done = Rebuilt::default();
        match self.catch_up_run(home, id, &mut done) {
            Ok(()) => done.runs += 1,
            Err(Trouble::Store(e)) => return Err(e),
            Err(Trouble::Folder(e)) => done.problems.push(format!("run `{id}`: {e}")),
        }
        Ok(done)
    }

    /// Throws the store away and makes it anew from the run folders.
    pub fn rebuild(&self, home: &Home) -> Result<Rebuilt, StoreError> {
        self.clear()?;
        self.catch_up(home)
    }

    fn catch_up_run(&self, home: &Home, id: &RunId, done: &mut Rebuilt) -> Result<(), Trouble> {
        let folder = home.run_folder(id);
        // Refuses a folder of a newer version before anything of it is believed.
        kiln_protocol::spool::WorkerInfo::read(&folder)?;
        let mut offset = match self.offset(id) {
            Err(StoreError::NoRun(_)) => self.add(id, &folder, done)?,
            other => other?,
        };
        loop {
            let batch = match EventTail::open(&folder, offset).poll() {
                Err(SpoolError::Shrunk { .. }) => {
                    done.problems
                        .push(format!("run `{id}`: its events were replaced; they were read from the beginning"));
                    self.remove(id)?;
                    offset = self.add(id, &folder, done)?;
                    continue;
                }
                other => other?,
            };
            done.problems.extend(batch.problems.into_iter().map(|p| p.message));
            if batch.offset != offset {
                offset = batch.offset;
                let ingested = self.ingest(id, &batch.items, offset)?;
                done.events += ingested.applied as u64;
                done.problems.extend(ingested.problems.into_iter().map(|p| format!("run `{id}`: {p}")));
            }
            if !batch.more {
                return Ok(());
            }
        }
    }

    fn add(&self, id: &RunId, folder: &RunFolder, done: &mut Rebuilt) -> Result<u64, Trouble> {
        let path = folder.spec();
        let spec = std::fs::read_to_string(&path).map_err(|source| SpoolError::Io { doing: "read", path, source })?;
        let (summary, problem) = summary_of(id, folder, &spec);
        done.problems.extend(problem);
        self.insert(summary, &spec)?;
        Ok(0)
    }
}

enum Trouble {
    Store(StoreError),
    Folder(SpoolError),
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Trouble {
        Trouble::Store(e)
    }
}

impl From<SpoolError> for Trouble {
    fn from(e: SpoolError) -> Trouble {
        Trouble::Folder(e)
    }
}

/// The summary of a run that is known by its folder alone: queued, created when `spec.toml` was written. A preset that
/// this Kiln cannot read any more still gives a row, and a sentence.
pub fn summary_of(id: &RunId, folder: &RunFolder, spec: &str) -> (RunSummary, Option<String>) {
    let written = std::fs::metadata(folder.spec()).and_then(|m| m.modified()).ok();
    let created = written.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or_else(now, |d| d.as_secs_f64());
    let mut summary = RunSummary::queued(id.clone(), created);
    // The id is the preset's name and four random digits.
    id.0.rsplit_once('-').map_or(id.0.as_str(), |parts| parts.0).clone_into(&mut summary.preset);
    let problem = match Spec::from_toml(&summary.preset, spec) {
        Ok(spec) => {
            summary.method = spec.method.to_string();
            summary.seed = spec.seeds.first().copied().unwrap_or(spec.seed);
            summary.title = spec.title;
            None
        }
        Err(problems) => Some(format!("run `{id}`: its spec.toml is not readable, so it has no title: {problems}")),
    };
    (summary, problem)
}
