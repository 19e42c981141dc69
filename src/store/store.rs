//! The store itself: runs, what their events say, and questions about them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kiln_protocol::wire::{RunDetail, Series, SeriesInfo, parse_arm_series};
use kiln_protocol::{Event, Outcome, RunId, RunSummary};

use crate::database::{self, Lock};
use crate::error::StoreError;
use crate::ingest::{Batch, Live, LiveSeries};
use crate::keys::{self, Changes, Kind, Trees};
use crate::record::{Head, SeriesRecord, compress, decompress, from_json, to_json};
use crate::series::Place;
use crate::spread;

/// What sled may keep in memory unless said otherwise.
pub const CACHE_BYTES: u64 = 64 << 20;

/// Runs whose series and views are kept in memory.
const MAX_LIVE: usize = 64;

/// What happened while a store was opened.
#[derive(Debug, Default)]
pub struct Opening {
    /// Sentences for the log: what was found wrong and what was done about it.
    pub notices: Vec<String>,
    /// Where a damaged database was moved to. The store is then empty: [`Store::catch_up`] fills it from the run folders.
    pub moved_aside: Option<PathBuf>,
}

/// What a batch of events did.
#[derive(Debug)]
pub struct Ingested {
    pub summary: RunSummary,
    /// The run's state was another before.
    pub state_changed: bool,
    /// Events that were new. Those that had been applied before changed nothing.
    pub applied: usize,
    /// Sentences about what could not be used.
    pub problems: Vec<String>,
}

/// Runs, their series, views and logs, in sled. One process has it open; within it all threads may ask.
pub struct Store {
    path: PathBuf,
    cache_bytes: u64,
    inner: Mutex<Inner>,
    _lock: Lock,
}

/// Everything that is in memory. Without a database after an error: the next call opens it again.
#[derive(Default)]
pub(crate) struct Inner {
    open: Option<Open>,
}

struct Open {
    trees: Trees,
    runs: HashMap<RunId, Run>,
    next_no: u32,
    clock: u64,
}

struct Run {
    no: u32,
    head: Head,
    live: Option<Live>,
    used: u64,
}

impl Store {
    /// Opens or creates the store in this folder.
    ///
    /// A torn snapshot is repaired; a database that cannot be opened at all is moved aside and an empty one made. Both
    /// are told in [`Opening`].
    ///
    /// # Errors
    /// [`StoreError::InUse`] with the pid of the process that has it open; [`StoreError::Newer`] for a store of a newer
    /// Kiln.
    pub fn open(path: &Path) -> Result<(Store, Opening), StoreError> {
        Store::open_with(path, CACHE_BYTES)
    }

    /// As [`Store::open`], with a limit of its own to the memory that sled uses as cache.
    pub fn open_with(path: &Path, cache_bytes: u64) -> Result<(Store, Opening), StoreError> {
        let absolute = std::path::absolute(path);
        let path = absolute.map_err(|e| StoreError::Open { path: path.into(), why: e.to_string() })?;
        let lock = Lock::take(&path)?;
        let mut opening = Opening::default();
        let open = match Open::at(&path, cache_bytes, &mut opening.notices) {
            Ok(open) => open,
            Err(e @ (StoreError::Open { .. } | StoreError::Damaged(_) | StoreError::Database(_))) if path.exists() => {
                let to = database::move_aside(&path)?;
                opening.notices.push(format!("{e}; it was moved to {}, and a new store begun", to.display()));
                opening.moved_aside = Some(to);
                Open::at(&path, cache_bytes, &mut opening.notices)?
            }
            Err(e) => return Err(e),
        };
        for notice in &opening.notices {
            tracing::warn!("{notice}");
        }
        let inner = Mutex::new(Inner { open: Some(open) });
        Ok((Store { path, cache_bytes, inner, _lock: lock }, opening))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the database on disk.
    pub fn bytes_on_disk(&self) -> u64 {
        database::bytes_on_disk(&self.path)
    }

    /// Runs `f` on the open database. After an error of the database itself it is closed, so that the next call opens
    /// it again (with room on the disk, or repaired).
    fn with<T>(&self, f: impl FnOnce(&mut Open) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: were `f` to panic, half-changed memory would go with it.
        let mut open = match inner.open.take() {
            Some(open) => open,
            None => {
                let mut notices = Vec::new();
                let open = Open::at(&self.path, self.cache_bytes, &mut notices);
                notices.iter().for_each(|notice| tracing::warn!("{notice}"));
                open?
            }
        };
        let result = f(&mut open);
        if !matches!(result, Err(StoreError::Database(_) | StoreError::Damaged(_))) {
            inner.open = Some(open);
        }
        result
    }

    /// Closes the database, throws it away, and begins an empty one.
    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        drop(inner.open.take());
        // Renamed first: a kill meanwhile leaves no half of a database under the name of a whole one.
        let old = database::beside(&self.path, "old");
        let discard = || {
            if old.exists() {
                std::fs::remove_dir_all(&old)?;
            }
            if self.path.exists() {
                std::fs::rename(&self.path, &old)?;
                std::fs::remove_dir_all(&old)?;
            }
            Ok(())
        };
        discard().map_err(|e: std::io::Error| StoreError::Open { path: self.path.clone(), why: e.to_string() })?;
        inner.open = Some(Open::at(&self.path, self.cache_bytes, &mut Vec::new())?);
        Ok(())
    }

    /// Adds a run that has no events yet. `spec` is the frozen preset.
    ///
    /// # Errors
    /// [`StoreError::Exists`].
    pub fn insert(&self, summary: RunSummary, spec: &str) -> Result<(), StoreError> {
        self.with(|open| {
            if open.runs.contains_key(&summary.id) {
                return Err(StoreError::Exists(summary.id.0));
            }
            let (no, head) = (open.next_no, Head::new(summary));
            let mut changes = Changes::new(&open.trees);
            changes.put(keys::one(no, Kind::Head), to_json(&head)?);
            changes.put(keys::one(no, Kind::Spec), compress(spec.as_bytes())?);
            changes.apply()?;
            open.next_no += 1;
            open.runs.insert(head.id().clone(), Run { no, head, live: None, used: 0 });
            Ok(())
        })
    }

    /// All runs, newest first.
    pub fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        self.with(|open| {
            let mut runs: Vec<RunSummary> = open.runs.values().map(|r| r.head.summary.clone()).collect();
            runs.sort_by(|a, b| b.created.total_cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
            Ok(runs)
        })
    }

    /// One run's summary.
    pub fn summary(&self, run: &RunId) -> Result<RunSummary, StoreError> {
        self.with(|open| Ok(open.run(run)?.head.summary.clone()))
    }

    /// Bytes of the run's `events.jsonl` that the store has taken in: where to read on.
    pub fn offset(&self, run: &RunId) -> Result<u64, StoreError> {
        self.with(|open| Ok(open.run(run)?.head.offset))
    }

    /// The frozen preset.
    pub fn spec(&self, run: &RunId) -> Result<String, StoreError> {
        self.with(|open| {
            let no = open.run(run)?.no;
            open.spec(no)
        })
    }

    /// Changes what the engine itself knows of a run (queued, starting, stopping, priority).
    pub fn update(&self, run: &RunId, change: impl FnOnce(&mut RunSummary)) -> Result<RunSummary, StoreError> {
        self.with(|open| {
            let (trees, run) = open.run_mut(run)?;
            let mut head = run.head.clone();
            change(&mut head.summary);
            head.summary.id = run.head.id().clone();
            let mut changes = Changes::new(trees);
            changes.put(keys::one(run.no, Kind::Head), to_json(&head)?);
            changes.apply()?;
            let summary = head.summary.clone();
            run.head = head;
            Ok(summary)
        })
    }

    /// Takes in what was read from a run's `events.jsonl`, and that it was read up to `new_offset`: all of it or
    /// nothing, so that whoever reads on from [`Store::offset`] loses and doubles nothing, whenever it was killed. When this
    /// returns, a kill does not undo it any more. One call costs a write to the disk, so give it what there is at once, but
    /// no more than some megabytes of the file: sled is sound with small batches only (see `Changes::apply`). Events
    /// that were taken in before are passed over by their number.
    pub fn ingest(&self, run: &RunId, events: &[Event], new_offset: u64) -> Result<Ingested, StoreError> {
        self.with(|open| {
            open.load(run)?;
            let (trees, run) = open.run_mut(run)?;
            let Run { no, head, live, .. } = run;
            let live = live.get_or_insert_default();
            let before = head.summary.state;
            let mut batch = Batch::new(*no, head, live, trees);
            let applied = events.iter().map(|event| batch.event(event)).sum::<Result<usize, StoreError>>();
            let (applied, found) = (applied?, batch.finish(new_offset)?);
            let state_changed = head.summary.state != before;
            let done = Ingested { summary: head.summary.clone(), state_changed, applied, problems: found.problems };
            Ok(done)
        })
    }

    /// Everything about a run but its series and log. `folder` is passed on to the client. The series of an experiment are
    /// those of its arms.
    pub fn detail(&self, run: &RunId, folder: &Path) -> Result<RunDetail, StoreError> {
        self.told(run, folder, true)
    }

    /// As [`Store::detail`], without views.
    ///
    /// # Errors
    /// As [`Store::detail`].
    pub fn brief(&self, run: &RunId, folder: &Path) -> Result<RunDetail, StoreError> {
        self.told(run, folder, false)
    }

    fn told(&self, run: &RunId, folder: &Path, whole: bool) -> Result<RunDetail, StoreError> {
        self.with(|open| {
            let jobs = open.jobs(run);
            let mut of_jobs = Vec::with_capacity(jobs.len());
            for (job, arm) in &jobs {
                of_jobs.push((arm.as_deref(), open.infos(job)?));
            }
            open.load(run)?;
            let Run { no, head, live, .. } = open.run(run)?;
            let outcome = match open.trees.get(&keys::one(*no, Kind::Outcome))? {
                Some(bytes) => Some(from_json::<Outcome>(&decompress(&bytes)?)?),
                None => None,
            };
            let (series, views) = live.as_ref().map_or((&[][..], &[][..]), |l| (&l.series[..], &l.views[..]));
            let views = if whole { views } else { &[] };
            Ok(RunDetail {
                summary: head.summary.clone(),
                spec: open.spec(*no)?,
                series: series.iter().map(|s| s.record.info(head)).chain(spread::infos(of_jobs)).collect(),
                views: head.views.iter().cloned().zip(views.iter().cloned()).collect(),
                outcome,
                folder: folder.display().to_string(),
                knobs: Vec::new(),
                marks: head.marks.clone(),
                jobs: Vec::new(),
                note: String::new(),
            })
        })
    }

    /// What series a run has, without its views and outcome. The series of an experiment are those of its arms.
    ///
    /// # Errors
    /// [`StoreError::NoRun`].
    pub fn series_infos(&self, run: &RunId) -> Result<Vec<SeriesInfo>, StoreError> {
        self.with(|open| {
            let jobs = open.jobs(run);
            let mut of_jobs = Vec::with_capacity(jobs.len());
            for (job, arm) in &jobs {
                of_jobs.push((arm.as_deref(), open.infos(job)?));
            }
            let own = open.infos(run)?;
            Ok(own.into_iter().chain(spread::infos(of_jobs)).collect())
        })
    }

    /// The points of a series with `from <= x <= to` (open where `None`), and how many there are.
    ///
    /// At most two points a column: the smallest and the largest finite y of each of `columns` equal parts of the range,
    /// in order of x, and one with NaN for a part without a finite y. Every point where there are no more than that
    /// anyway, or `columns` is 0.
    ///
    /// A series of an experiment's arm (see [`Series`]) is the mean over its jobs instead, at most one point a column and the
    /// breaks.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], [`StoreError::NoSeries`].
    pub fn series(
        &self,
        run: &RunId,
        name: &str,
        from: Option<f64>,
        to: Option<f64>,
        columns: u32,
    ) -> Result<Series, StoreError> {
        let missing = || StoreError::NoSeries { run: run.0.clone(), name: name.to_owned() };
        self.with(|open| {
            let jobs = open.jobs(run);
            if !jobs.is_empty() {
                let (arm, series) = parse_arm_series(name);
                let (mut curves, mut total) = (Vec::new(), 0);
                for (job, _) in jobs.iter().filter(|(_, of)| of.as_deref() == arm) {
                    open.load(job)?;
                    let (trees, Run { no, live, .. }) = open.run_mut(job)?;
                    let live = live.get_or_insert_default();
                    let Some(&at) = live.by_name.get(series) else { continue };
                    let place = Place { run: *no, series: at as u32 };
                    let (points, n) = live.series[at].index(trees, place)?.samples(trees, place, from, to, columns)?;
                    curves.push(points);
                    total = total.max(n);
                }
                if curves.is_empty() {
                    return Err(missing());
                }
                let spread::Mean { points, spread, jobs } = spread::mean(&curves, columns);
                return Ok(Series { name: name.to_owned(), points, total, spread, jobs });
            }
            open.load(run)?;
            let (trees, Run { no, live, .. }) = open.run_mut(run)?;
            let live = live.get_or_insert_default();
            let Some(&at) = live.by_name.get(name) else { return Err(missing()) };
            let place = Place { run: *no, series: at as u32 };
            let (points, total) = live.series[at].index(trees, place)?.query(trees, place, from, to, columns)?;
            Ok(Series { name: name.to_owned(), points, total, ..Series::default() })
        })
    }

    /// Log and lifecycle events with `seq > after`, at most `limit`: the oldest of them, or the newest if `tail`. In
    /// order.
    pub fn events(&self, run: &RunId, after: u64, limit: u32, tail: bool) -> Result<Vec<Event>, StoreError> {
        self.with(|open| {
            let no = open.run(run)?.no;
            let limit = limit as usize;
            let mut events: Vec<Event> = Vec::new();
            if tail {
                for item in open.trees.range(keys::log(no, 0), keys::log(no, u64::MAX)).rev() {
                    let (key, value) = item?;
                    let block: Vec<Event> = from_json(&decompress(&value)?)?;
                    events.extend(block.into_iter().rev().filter(|e| e.seq > after));
                    if events.len() >= limit || keys::first_seq(&key).is_none_or(|first| first <= after) {
                        break;
                    }
                }
                events.truncate(limit);
                events.reverse();
            } else {
                // The block that holds the first one wanted begins at it or before it.
                let first = open.trees.range(keys::log(no, 0), keys::log(no, after.saturating_add(1))).next_back();
                let first = first.transpose()?.map_or_else(|| keys::log(no, 0), |item| item.0.to_vec());
                for item in open.trees.range(first, keys::log(no, u64::MAX)) {
                    let block: Vec<Event> = from_json(&decompress(&item?.1)?)?;
                    events.extend(block.into_iter().filter(|e| e.seq > after));
                    if events.len() >= limit {
                        break;
                    }
                }
                events.truncate(limit);
            }
            Ok(events)
        })
    }

    /// Waits until the database is on the disk. Every call that changes something has done so before it returned.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.with(|open| open.trees.flush())
    }

    /// Forgets a run. Its folder is the caller's to remove, before this.
    pub fn remove(&self, run: &RunId) -> Result<(), StoreError> {
        self.with(|open| {
            let no = open.run(run)?.no;
            let mut changes = Changes::new(&open.trees);
            changes.remove_all(&keys::run(no))?;
            changes.apply()?;
            open.runs.remove(run);
            Ok(())
        })
    }
}

impl Open {
    fn at(path: &Path, cache_bytes: u64, notices: &mut Vec<String>) -> Result<Open, StoreError> {
        let (db, repaired) = database::open(path, cache_bytes)?;
        notices.extend(repaired);
        database::migrate(&db, path, database::MIGRATIONS)?;
        let mut open = Open { trees: Trees::open(db)?, runs: HashMap::new(), next_no: 0, clock: 0 };
        let mut unreadable = Vec::new();
        while let Some(key) = open.trees.next_hot(&keys::run(open.next_no))? {
            let no = keys::run_of(&key).ok_or_else(|| StoreError::Damaged("a key is too short".to_owned()))?;
            open.next_no = no + 1;
            match open.trees.get(&keys::one(no, Kind::Head))?.map(|bytes| from_json::<Head>(&bytes)) {
                Some(Ok(head)) => {
                    open.runs.insert(head.id().clone(), Run { no, head, live: None, used: 0 });
                }
                _ => unreadable.push(no),
            }
        }
        for no in unreadable {
            notices.push(format!("the store's record of run number {no} is damaged; it is read from its folder again"));
            let mut changes = Changes::new(&open.trees);
            changes.remove_all(&keys::run(no))?;
            changes.apply()?;
        }
        Ok(open)
    }

    /// The jobs of an experiment with their arms, in order; none of a plain run.
    fn jobs(&self, run: &RunId) -> Vec<(RunId, Option<String>)> {
        let of_run = |id: &RunId| id.in_order().0 == run.0 && id.in_order().1 > 0;
        let mut jobs: Vec<(RunId, Option<String>)> = self
            .runs
            .iter()
            .filter(|(id, _)| of_run(id))
            .map(|(id, job)| (id.clone(), job.head.summary.arm.clone()))
            .collect();
        jobs.sort_by(|a, b| a.0.in_order().cmp(&b.0.in_order()));
        jobs
    }

    /// What series a run itself has.
    fn infos(&mut self, id: &RunId) -> Result<Vec<SeriesInfo>, StoreError> {
        self.load(id)?;
        let Run { head, live, .. } = self.run(id)?;
        Ok(live.iter().flat_map(|l| l.series.iter().map(|s| s.record.info(head))).collect())
    }

    fn run(&self, id: &RunId) -> Result<&Run, StoreError> {
        self.runs.get(id).ok_or_else(|| StoreError::NoRun(id.0.clone()))
    }

    fn run_mut(&mut self, id: &RunId) -> Result<(&Trees, &mut Run), StoreError> {
        let run = self.runs.get_mut(id).ok_or_else(|| StoreError::NoRun(id.0.clone()))?;
        Ok((&self.trees, run))
    }

    fn spec(&self, no: u32) -> Result<String, StoreError> {
        let bytes = self.trees.get(&keys::one(no, Kind::Spec))?.unwrap_or_default();
        let text = if bytes.is_empty() { Vec::new() } else { decompress(&bytes)? };
        String::from_utf8(text).map_err(|e| StoreError::Damaged(format!("a preset is no text: {e}")))
    }

    /// Brings a run's series and views into memory, and puts those of the run longest unused out.
    fn load(&mut self, id: &RunId) -> Result<(), StoreError> {
        self.clock += 1;
        let clock = self.clock;
        let (trees, run) = self.run_mut(id)?;
        run.used = clock;
        if run.live.is_some() {
            return Ok(());
        }
        let mut live = Live::default();
        for item in trees.scan(&keys::one(run.no, Kind::Series)) {
            let record: SeriesRecord = from_json(&item?.1)?;
            live.by_name.insert(record.name.clone(), live.series.len());
            live.series.push(LiveSeries { record, index: None });
        }
        for item in trees.scan(&keys::one(run.no, Kind::View)) {
            live.views.push(from_json(&decompress(&item?.1)?)?);
        }
        if live.series.len() != run.head.series as usize || live.views.len() != run.head.views.len() {
            return Err(StoreError::Damaged(format!("series or views of the run `{id}` are missing")));
        }
        run.live = Some(live);
        let mut others: Vec<&mut Run> = self.runs.values_mut().filter(|r| r.live.is_some()).collect();
        if others.len() > MAX_LIVE
            && let Some(oldest) = others.iter_mut().min_by_key(|r| r.used)
        {
            oldest.live = None;
        }
        Ok(())
    }
}
