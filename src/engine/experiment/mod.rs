//! Experiments: runs with arms and seeds, whose jobs are runs of their own. The engine writes an experiment's events, for it
//! has no worker; what it writes is a function of what the jobs are and of what it has written before, so that an engine
//! that follows one that died goes on in the middle of a sentence.
//!
//! - [`standing`]: what the jobs amount to now
//! - [`compare`]: what they found
//!
//! A job that dies is taken up again as its `run.retries` says; one that reports failure is not, for it would fail in the
//! same way. It is then named as failed, and the others go on.

pub mod compare;
pub mod standing;

use std::collections::{BTreeMap, BTreeSet};

use kiln_protocol::reduce::{Pace, reduce};
use kiln_protocol::run::{Best, Progress, RunSummary};
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::host_name;
use kiln_protocol::{Body, Event, Level, Outcome, RunId, RunState, View};

use compare::{Compared, Entry};
use standing::{Look, Standing};

/// Seconds between two reports of progress, as long as nothing else happens.
const REPORT: f64 = 1.0;

/// Name of the view that shows the arms while the experiment goes on.
const VIEW: &str = "arms";

/// An experiment beside what its jobs are.
#[derive(Debug)]
pub struct Experiment {
    /// In the order in which they are started.
    pub jobs: Vec<RunId>,
    /// Arms in the preset's order; empty where there are seeds alone.
    arms: Vec<String>,
    /// By job: index of its arm, and its seed.
    parts: BTreeMap<RunId, (usize, u64)>,
    /// Arms that set data of their own.
    other_data: Vec<String>,
    /// What the completed jobs found.
    outcomes: BTreeMap<RunId, Outcome>,
    /// What its events amount to, those included that the store has yet to take in.
    written: RunSummary,
    pace: Pace,
    /// The state that each job was last said to be in.
    told: BTreeMap<RunId, RunState>,
    /// Jobs that were over when the view was last written.
    shown: u32,
    reported: f64,
    /// Its end is written, but a job began again since: found so, or seen.
    outdated: bool,
    /// Why its events could not be written, said once.
    pub trouble: Option<String>,
    /// Series that have new points, for whoever watches.
    pub grown: BTreeSet<String>,
}

impl Experiment {
    /// `written` is what its events amount to so far.
    pub fn new(run: &RunId, spec: &Spec, written: RunSummary) -> Experiment {
        let arms: Vec<String> = spec.arms.iter().map(|arm| arm.name.clone()).collect();
        let of = |(i, (_, seed)): (usize, (Option<&str>, u64))| (run.job(i as u32 + 1), (i % arms.len().max(1), seed));
        let parts: BTreeMap<RunId, (usize, u64)> = spec.parts().into_iter().enumerate().map(of).collect();
        Experiment {
            jobs: (1..=parts.len() as u32).map(|n| run.job(n)).collect(),
            other_data: spec.arms.iter().filter(|arm| arm.changes_data()).map(|arm| arm.name.clone()).collect(),
            arms,
            parts,
            outcomes: BTreeMap::new(),
            written,
            pace: Pace::default(),
            told: BTreeMap::new(),
            shown: 0,
            reported: 0.0,
            outdated: false,
            trouble: None,
            grown: BTreeSet::new(),
        }
    }

    /// A job has completed with this.
    pub fn found(&mut self, job: &RunId, outcome: &Outcome) {
        // Tables are in the job's own outcome.
        let figures = Outcome { tables: Vec::new(), verdict: String::new(), ..outcome.clone() };
        self.outcomes.insert(job.clone(), figures);
    }

    /// A job begins again: what it found before is void.
    pub fn begins(&mut self, job: &RunId) {
        self.outcomes.remove(job);
    }

    /// Takes the jobs as found at the engine's start for known.
    pub fn adopt(&mut self, jobs: &[Look<'_>], standing: &Standing) {
        self.told = jobs.iter().map(|j| (j.summary.id.clone(), j.state)).collect();
        self.shown = standing.counts.ended();
        self.outdated = standing.ended.zip(self.written.ended).is_some_and(|(job, own)| job > own);
    }

    /// Takes one of its own events in.
    pub fn wrote(&mut self, event: &Event) {
        reduce(&mut self.written, &mut self.pace, event);
    }

    /// Whether its end is written, and read again: `stored` is the number of the newest event in the store.
    pub fn is_over(&self, standing: &Standing, stored: u64) -> bool {
        let written = self.written.state == standing.state && !self.outdated;
        standing.state.is_ended() && written && self.written.last_seq <= stored
    }

    /// What its events have yet to say.
    pub fn due(&mut self, now: f64, jobs: &[Look<'_>], standing: &Standing) -> Vec<Body> {
        let mut out = Vec::new();
        let (state, was) = (standing.state, self.written.state);
        let finished = matches!(state, RunState::Completed | RunState::Failed);
        // A job may be done before it was ever seen at work.
        self.outdated |= was.is_ended() && !state.is_ended();
        let outdated = state.is_ended() && std::mem::take(&mut self.outdated);
        let first = self.written.attempts == 0;
        let at_work = standing.at_work && state != RunState::Stopping;
        let missed = finished && standing.begun && (first || (was.is_ended() && was != state) || outdated);
        let starts = (at_work && (first || was.is_ended())) || missed;
        if starts {
            self.outdated = false;
            out.push(self.started(standing));
        }
        let works = starts || (!first && !was.is_ended());
        if works && state == RunState::Running && was == RunState::Paused && !starts {
            out.push(Body::Resumed { reason: "asked to go on".into() });
        }
        self.tell(jobs, &mut out);
        let better = |best: &&Best| match self.written.best.as_ref().filter(|_| !starts || !first) {
            Some(old) if best.higher_is_better => best.value > old.value,
            Some(old) => best.value < old.value,
            None => true,
        };
        if let Some(best) = standing.best.as_ref().filter(|_| works).filter(better) {
            out.push(Body::Best(best.clone()));
        }
        let over = standing.counts.ended();
        if works && over != self.shown {
            self.shown = over;
            let table = self.compared(jobs, |compared| compared.table());
            out.push(Body::View { name: VIEW.into(), view: Box::new(View::Table(table)) });
        }
        let ends = state.is_ended() && (was != state || starts || outdated);
        if works && self.reports(now, &standing.progress, ends || starts) {
            self.reported = now;
            out.push(Body::Progress(standing.progress.clone()));
        }
        if works && state == RunState::Paused && was != RunState::Paused {
            out.push(Body::Paused { reason: standing.reason.clone().unwrap_or_else(|| "asked to pause".into()) });
        }
        if ends {
            out.push(self.end(jobs, standing));
        }
        out
    }

    fn started(&self, standing: &Standing) -> Body {
        Body::Started {
            attempt: self.written.attempts + 1,
            resumed_from: (self.written.attempts > 0).then(|| u64::from(standing.counts.completed)),
            device: if standing.device.is_empty() { "none".into() } else { standing.device.clone() },
            host: host_name(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            x_max: BTreeMap::new(),
            x_unit: BTreeMap::new(),
        }
    }

    fn reports(&self, now: f64, progress: &Progress, at_once: bool) -> bool {
        let before = &self.written.progress;
        let news = progress.note != before.note || progress.done != before.done || progress.total != before.total;
        news && (at_once || progress.note != before.note || now - self.reported >= REPORT)
    }

    /// Jobs that began or ended since.
    fn tell(&mut self, jobs: &[Look<'_>], out: &mut Vec<Body>) {
        for job in jobs {
            let worth =
                matches!(job.state, RunState::Running | RunState::Completed | RunState::Stopped | RunState::Failed);
            if !worth || self.told.get(&job.summary.id) == Some(&job.state) {
                continue;
            }
            let before = self.told.insert(job.summary.id.clone(), job.state);
            let what = match job.state {
                RunState::Running if before.is_some_and(|b| !b.is_ended()) => continue,
                RunState::Running => "started".to_owned(),
                state => match &job.reason {
                    Some(reason) if state != RunState::Completed => format!("{state}: {reason}"),
                    _ => state.to_string(),
                },
            };
            let level = if job.state == RunState::Failed { Level::Warn } else { Level::Info };
            let message = format!("job {} ({}) {what}", job.summary.id.in_order().1, job.summary.part());
            out.push(Body::Log { level, message });
        }
    }

    fn compared<R>(&self, jobs: &[Look<'_>], with: impl FnOnce(Compared<'_>) -> R) -> R {
        let entry = |look: &Look<'_>| {
            let (arm, seed) = *self.parts.get(&look.summary.id)?;
            let outcome = self.outcomes.get(&look.summary.id).filter(|_| look.state == RunState::Completed)?;
            Some(Entry { job: look.summary.id.in_order().1, arm, seed, outcome })
        };
        let entries: Vec<Entry<'_>> = jobs.iter().filter_map(entry).collect();
        with(Compared { arms: &self.arms, entries: &entries })
    }

    fn end(&self, jobs: &[Look<'_>], standing: &Standing) -> Body {
        let reason = || standing.reason.clone().unwrap_or_default();
        match standing.state {
            RunState::Completed => {
                let mut notes: Vec<String> = Vec::new();
                if !standing.failures.is_empty() {
                    let n = standing.failures.len();
                    notes.push(format!("{n} of {} jobs failed: {}.", jobs.len(), standing.failures.join("; ")));
                }
                if !self.other_data.is_empty() {
                    let arms = self.other_data.join(", ");
                    notes.push(format!("Mind that these arms set data of their own: {arms}."));
                }
                Body::Completed { outcome: Box::new(self.compared(jobs, |compared| compared.outcome(&notes))) }
            }
            RunState::Stopped => Body::Stopped { step: u64::from(standing.counts.completed), reason: reason() },
            _ => Body::Failed { message: reason() },
        }
    }
}
