//! When series got where, read from the run folders on demand: the store keeps points, not when they came. What was read is
//! kept while it is asked for, so that a chart of a live run reads what is new and no more.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kiln_protocol::RunId;
use kiln_protocol::clock::{Clock, Clocks};
use kiln_protocol::run::RunSummary;
use kiln_protocol::spool::{EventTail, RunFolder, SpoolError};
use kiln_protocol::wire::{RunDetail, parse_arm_series};

/// Runs whose clocks are kept: more than anybody lays over one another.
const KEPT: usize = 64;

/// Of a run: bytes read of its events, and what they said.
#[derive(Default)]
struct Read {
    offset: u64,
    clocks: Clocks,
    /// When it was last asked for, in questions.
    asked: u64,
}

/// The clocks of the runs that were asked for of late.
#[derive(Default)]
pub struct Shelf {
    runs: Mutex<(u64, BTreeMap<RunId, Read>)>,
}

impl Shelf {
    /// The clocks of these series of a run. Blocks: reads the disk.
    ///
    /// # Errors
    /// The events cannot be read, as a sentence.
    pub fn of(&self, run: &RunDetail, names: &[String]) -> Result<Vec<Clock>, String> {
        if run.jobs.is_empty() {
            let clocks = self.read(&run.summary.id, Path::new(&run.folder))?;
            return Ok(names.iter().filter_map(|name| clocks.of(name).cloned()).collect());
        }
        let mut found: BTreeMap<&String, Clock> = BTreeMap::new();
        for job in &run.jobs {
            let missing: Vec<&String> = names
                .iter()
                .filter(|n| !found.contains_key(n) && parse_arm_series(n).0 == job.arm.as_deref())
                .collect();
            if missing.is_empty() {
                continue;
            }
            let clocks = self.read(&job.id, &folder_of(run, job))?;
            for name in missing {
                if let Some(clock) = clocks.of(parse_arm_series(name).1) {
                    found.insert(name, Clock { name: name.clone(), ..clock.clone() });
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn read(&self, run: &RunId, folder: &Path) -> Result<Clocks, String> {
        // Whoever panicked while holding it left whole records: they are only ever replaced.
        let mut guard = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let (questions, runs) = &mut *guard;
        *questions += 1;
        let now = *questions;
        let mut read = runs.remove(run).unwrap_or_default();
        read.asked = now;
        match catch_up(&mut read, folder) {
            Ok(()) => {}
            Err(SpoolError::Shrunk { .. }) => {
                // The folder was replaced: all over again.
                read = Read { asked: now, ..Read::default() };
                catch_up(&mut read, folder).map_err(|e| e.to_string())?;
            }
            Err(other) => return Err(other.to_string()),
        }
        let clocks = read.clocks.clone();
        runs.insert(run.clone(), read);
        if runs.len() > KEPT
            && let Some(oldest) = runs.iter().min_by_key(|(_, r)| r.asked).map(|(id, _)| id.clone())
        {
            runs.remove(&oldest);
        }
        Ok(clocks)
    }
}

fn catch_up(read: &mut Read, folder: &Path) -> Result<(), SpoolError> {
    let mut tail = EventTail::open(&RunFolder::new(folder), read.offset);
    loop {
        let batch = tail.poll()?;
        batch.items.iter().for_each(|event| read.clocks.take(event));
        read.offset = batch.offset;
        if !batch.more {
            return Ok(());
        }
    }
}

/// The folder of a job lies within that of its experiment.
fn folder_of(run: &RunDetail, job: &RunSummary) -> std::path::PathBuf {
    let n = job.id.parent().map_or(0, |(_, n)| n);
    Path::new(&run.folder).join("jobs").join(n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::spool::EventWriter;
    use kiln_protocol::testing::started;
    use kiln_protocol::{Body, RunSummary};

    fn points(series: &str, x: f64) -> Body {
        Body::Points { series: series.into(), points: vec![[x, 1.0]] }
    }

    fn detail(folder: &Path, id: &RunId) -> RunDetail {
        RunDetail {
            folder: folder.display().to_string(),
            ..RunDetail::new(RunSummary::queued(id.clone(), 0.0), String::new())
        }
    }

    #[test]
    fn a_live_run_is_read_on_and_a_replaced_one_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (id, path) = (RunId("x-0001".into()), dir.path().join("x-0001"));
        let folder = RunFolder::new(&path);
        folder.create("method = \"train\"\n").unwrap();
        let mut events = EventWriter::open(&folder).unwrap();
        events.append(started(1, None)).unwrap();
        events.append(points("train/loss", 1.0)).unwrap();
        let shelf = Shelf::default();
        let names = ["train/loss".to_owned(), "valid/loss".to_owned()];
        // How far each got: events as close together as these share one point.
        let got = || {
            let clocks = shelf.of(&detail(&path, &id), &names).unwrap();
            clocks.iter().map(|c| (c.name.clone(), c.points.last().unwrap()[0])).collect::<Vec<_>>()
        };
        assert_eq!(got(), [("train/loss".to_owned(), 1.0)], "a series without points has no clock");
        events.append(points("train/loss", 2.0)).unwrap();
        events.append(points("valid/loss", 2.0)).unwrap();
        assert_eq!(got(), [("train/loss".to_owned(), 2.0), ("valid/loss".to_owned(), 2.0)]);
        drop(events);
        std::fs::write(folder.events(), "").unwrap();
        assert_eq!(got(), []);
    }

    #[test]
    fn series_of_an_arm_have_the_clock_of_a_job_of_that_arm() {
        let dir = tempfile::tempdir().unwrap();
        let (id, path) = (RunId("x-0001".into()), dir.path().join("x-0001"));
        RunFolder::new(&path).create("method = \"train\"\n").unwrap();
        let mut run = detail(&path, &id);
        for (n, arm) in [(1, "slow"), (2, "fast")] {
            let folder = RunFolder::new(path.join("jobs").join(n.to_string()));
            folder.create("method = \"train\"\n").unwrap();
            let mut events = EventWriter::open(&folder).unwrap();
            events.append(started(1, None)).unwrap();
            (0..n).for_each(|x| events.append(points("train/loss", f64::from(x))).map(drop).unwrap());
            run.jobs.push(RunSummary { arm: Some(arm.into()), ..RunSummary::queued(id.job(n), 0.0) });
        }
        let clocks = Shelf::default().of(&run, &["fast: train/loss".into(), "none: train/loss".into()]).unwrap();
        let got: Vec<(&str, f64)> = clocks.iter().map(|c| (c.name.as_str(), c.points.last().unwrap()[0])).collect();
        assert_eq!(got, [("fast: train/loss", 1.0)]);
    }
}
