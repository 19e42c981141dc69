//! Experiments on the command line: their jobs as a table, as progress lines, and their logs in one.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kiln_protocol::client::Client;
use kiln_protocol::run::RunSummary;
use kiln_protocol::wire::{Reply, Request, RunDetail, parse_arm_series};
use kiln_protocol::{Event, RunId, RunState, now};

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome};
use crate::{human, terminal};

/// The jobs of one experiment, or of all, in their order.
pub fn of(client: &mut Client, run: Option<&RunId>) -> Outcome<Vec<RunSummary>> {
    match client.request(&Request::Jobs { run: run.cloned() })? {
        Reply::Runs { runs } => Ok(runs),
        other => engines::unexpected(&other),
    }
}

/// `x.3`, if that is how a job is asked for: what stands for the experiment, and the number.
pub fn asked(text: &str) -> Option<(&str, u32)> {
    let (parent, n) = text.rsplit_once('.')?;
    Some((parent, n.parse().ok()?)).filter(|_| n.bytes().all(|b| b.is_ascii_digit()))
}

/// The job of that number.
pub fn find(client: &mut Client, parent: &RunId, n: u32) -> Outcome<RunId> {
    let (jobs, job) = (of(client, Some(parent))?, parent.job(n));
    if jobs.iter().any(|j| j.id == job) {
        return Ok(job);
    }
    let has = match jobs.len() {
        0 => "it has no jobs".to_owned(),
        1 => "it has one job, 1".to_owned(),
        all => format!("it has jobs 1 to {all}"),
    };
    Err(Failure::Input(format!("{parent} has no job {n}; {has}")))
}

/// One row a job.
pub fn table(jobs: &[RunSummary]) -> String {
    let (now, colour) = (now(), terminal::colours());
    let or_dash = |x: Option<String>| x.unwrap_or_else(|| "-".into());
    let row = |job: &RunSummary| {
        vec![
            job.id.in_order().1.to_string(),
            or_dash(job.arm.clone()),
            job.seed.to_string(),
            match job.reason.as_ref().filter(|_| job.state == RunState::Completed) {
                Some(flaw) => format!("{}: {flaw}", human::state(job.state, colour)),
                None => human::state(job.state, colour),
            },
            human::percent(job.progress.fraction()),
            or_dash(job.best.as_ref().map(|b| human::number(b.value))),
            or_dash(job.took(now).map(human::duration)),
        ]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    human::columns(&["JOB", "ARM", "SEED", "STATE", "DONE", "BEST", "TOOK"], &rows)
}

/// `6 jobs: arms a, b; seeds 1, 2, 3`.
pub fn in_words(jobs: &[RunSummary]) -> String {
    let list = |of: &mut dyn Iterator<Item = String>| {
        let mut all: Vec<String> = Vec::new();
        for one in of {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all.join(", ")
    };
    let arms = list(&mut jobs.iter().filter_map(|j| j.arm.clone()));
    let seeds = list(&mut jobs.iter().map(|j| j.seed.to_string()));
    let arms = if arms.is_empty() { arms } else { format!("arms {arms}; ") };
    let word = if seeds.contains(',') { "seeds" } else { "seed" };
    let arms = if arms.contains(',') { arms } else { arms.replacen("arms", "arm", 1) };
    format!("{}: {arms}{word} {seeds}", human::counted(jobs.len(), "job"))
}

/// The curves by which an experiment is judged, one an arm: its best figure's, else what every training has.
pub fn telling(detail: &RunDetail) -> Vec<String> {
    let best = detail.summary.best.as_ref().map(|best| best.name.as_str());
    let all = |wanted: &str| -> Vec<String> {
        let named = detail.series.iter().map(|s| &s.name).filter(|name| parse_arm_series(name).1 == wanted);
        named.cloned().collect()
    };
    let wanted = best.into_iter().chain(["valid/accuracy", "train/loss"]);
    wanted.map(all).find(|found| !found.is_empty()).unwrap_or_default()
}

/// A bar for each job that is at work, above that of the whole.
pub struct Bars {
    all: MultiProgress,
    /// That of the whole.
    last: ProgressBar,
    bars: BTreeMap<RunId, ProgressBar>,
    style: ProgressStyle,
}

impl Bars {
    /// Puts further bars above this one.
    pub fn above(bar: &ProgressBar, style: ProgressStyle) -> Bars {
        let all = MultiProgress::new();
        let last = all.add(bar.clone());
        Bars { all, last, bars: BTreeMap::new(), style }
    }

    pub fn show(&mut self, jobs: &[RunSummary]) {
        for job in jobs {
            if !job.state.is_live() {
                if let Some(bar) = self.bars.remove(&job.id) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                continue;
            }
            let bar = self.bars.entry(job.id.clone()).or_insert_with(|| {
                let bar = self.all.insert_before(&self.last, ProgressBar::new(1000));
                bar.set_style(self.style.clone());
                bar
            });
            bar.set_position((1000.0 * job.progress.fraction()) as u64);
            let doing = match job.state {
                RunState::Running if !job.progress.note.is_empty() => job.progress.note.clone(),
                state => state.to_string(),
            };
            bar.set_message(format!("{}: {doing}", job.part()));
        }
    }

    pub fn println(&self, line: &str) {
        // A terminal that cannot be written to is noticed elsewhere.
        let _ = self.all.println(line);
    }

    pub fn end(&mut self) {
        self.bars.values().for_each(ProgressBar::finish_and_clear);
    }
}

/// The logs of an experiment's jobs, read on from where they were read to.
pub struct Logs<'a> {
    engines: &'a Engines,
    /// By job: what tells it from the others, and the number of the newest event handed on.
    read: BTreeMap<RunId, (String, u64)>,
}

impl<'a> Logs<'a> {
    pub fn new(engines: &'a Engines) -> Logs<'a> {
        Logs { engines, read: BTreeMap::new() }
    }

    /// The newest events of all jobs, at most so many of each, with what tells the job from others, by time.
    pub fn newest(&mut self, client: &mut Client, jobs: &[RunSummary], limit: u32) -> Outcome<Vec<(String, Event)>> {
        let mut all = Vec::new();
        for job in jobs {
            let events = engines::events(client, &job.id, 0, limit, true)?;
            self.read.insert(job.id.clone(), (job.part(), events.last().map_or(0, |e| e.seq)));
            all.extend(events.into_iter().map(|event| (job.part(), event)));
        }
        all.sort_by(|a, b| a.1.t.total_cmp(&b.1.t));
        Ok(all)
    }

    /// What the jobs have written since.
    pub fn further(&mut self, jobs: &[RunSummary]) -> Outcome<Vec<(String, Event)>> {
        let after = |job: &RunSummary| self.read.get(&job.id).map_or(0, |read| read.1);
        let behind: Vec<&RunSummary> = jobs.iter().filter(|job| job.last_seq > after(job)).collect();
        if behind.is_empty() {
            return Ok(Vec::new());
        }
        let mut client = self.engines.open()?;
        let mut all = Vec::new();
        for job in behind {
            let events = engines::events(&mut client, &job.id, after(job), u32::MAX, false)?;
            all.push((job, events));
        }
        let mut merged = Vec::new();
        for (job, events) in all {
            // Points and progress are counted too, but not told.
            self.read
                .insert(job.id.clone(), (job.part(), events.last().map_or(job.last_seq, |e| e.seq.max(job.last_seq))));
            merged.extend(events.into_iter().map(|event| (job.part(), event)));
        }
        merged.sort_by(|a, b| a.1.t.total_cmp(&b.1.t));
        Ok(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_asked_for_by_its_number() {
        assert_eq!(asked("k3f7.12"), Some(("k3f7", 12)));
        assert_eq!(asked("last.1"), Some(("last", 1)));
        for other in ["k3f7", "k3f7.", "k3f7.x", "k3f7.+1"] {
            assert_eq!(asked(other), None, "{other}");
        }
    }

    #[test]
    fn jobs_are_said_in_a_line_and_in_a_table() {
        let parent = RunId("x-0001".into());
        let job = |n: u32, arm: Option<&str>| RunSummary {
            arm: arm.map(str::to_owned),
            seed: u64::from(n.div_ceil(2)),
            ..RunSummary::queued(parent.job(n), 0.0)
        };
        let arms = [job(1, Some("a")), job(2, Some("b")), job(3, Some("a")), job(4, Some("b"))];
        assert_eq!(in_words(&arms), "4 jobs: arms a, b; seeds 1, 2");
        assert_eq!(in_words(&[job(1, None), job(3, None)]), "2 jobs: seeds 1, 2");
        assert_eq!(in_words(&[job(1, None)]), "1 job: seed 1");
        assert_eq!(in_words(&[job(1, Some("a")), job(3, Some("a"))]), "2 jobs: arm a; seeds 1, 2");
        let table = table(&arms);
        assert!(table.lines().nth(2).is_some_and(|l| l.contains("  2  b       1  queued")), "{table}");
    }
}
