//! What an experiment's jobs amount to. A pure function of the jobs as they are now, so that it does not matter who died
//! when: the same jobs give the same state.

use kiln_protocol::run::{Best, JobCounts, Progress, RunSummary};
use kiln_protocol::{RunId, RunState};

/// A job as the engine sees it.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    /// What its events amount to; the state of the scheduler counts.
    pub summary: &'a RunSummary,
    pub state: RunState,
    /// Why it is in its state.
    pub reason: Option<String>,
    /// Whether a process works on it, or is still ending.
    pub worker: bool,
    /// Whether it waits because the experiment is paused.
    pub withheld: bool,
}

/// How an experiment stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub state: RunState,
    pub reason: Option<String>,
    pub counts: JobCounts,
    /// In jobs: those that are over, and the shares of the others.
    pub progress: Progress,
    /// The best of all jobs.
    pub best: Option<Best>,
    /// Whether a job has ever been started, and whether one is at work and has said so.
    pub begun: bool,
    pub at_work: bool,
    /// Sentences about jobs that failed.
    pub failures: Vec<String>,
    /// Devices in use, in words.
    pub device: String,
    /// When the last job that is over ended.
    pub ended: Option<f64>,
}

/// The rules:
/// - While a job is at work, the experiment runs; else it is stopping, or paused, if a job is.
/// - A job whose process has not gone yet is still at work, so that the experiment does not flicker between two jobs.
/// - With jobs that wait, and none at work, it waits too; it is paused if all that wait are withheld.
/// - When all jobs are over: stopped, if one was stopped; failed, if all jobs of an arm failed (there is nothing to compare
///   then); else completed, and the failures are named.
pub fn standing(jobs: &[Look<'_>]) -> Standing {
    let counts = counts(jobs);
    let state = state(jobs);
    let failures: Vec<String> = jobs
        .iter()
        .filter(|j| j.state == RunState::Failed)
        .map(|j| {
            format!(
                "job {} ({}): {}",
                number(&j.summary.id),
                j.summary.part(),
                j.reason.as_deref().unwrap_or("no reason known")
            )
        })
        .collect();
    let mut devices: Vec<&str> = jobs.iter().filter(|j| j.worker).filter_map(|j| j.summary.device.as_deref()).collect();
    devices.sort_unstable();
    devices.dedup();
    Standing {
        state,
        reason: reason(jobs, state, &counts, &failures),
        progress: progress(jobs, &counts),
        best: best(jobs),
        begun: jobs.iter().any(|j| j.state.is_live() || j.summary.attempts > 0),
        at_work: jobs.iter().any(|j| matches!(j.state, RunState::Running | RunState::Paused)),
        device: devices.join(", "),
        ended: jobs.iter().filter(|j| j.state.is_ended()).filter_map(|j| j.summary.ended).max_by(f64::total_cmp),
        counts,
        failures,
    }
}

fn number(id: &RunId) -> u32 {
    id.in_order().1
}

fn counts(jobs: &[Look<'_>]) -> JobCounts {
    let mut c = JobCounts { total: jobs.len() as u32, ..JobCounts::default() };
    for job in jobs {
        *match job.state {
            RunState::Queued => &mut c.queued,
            RunState::Completed => &mut c.completed,
            RunState::Stopped => &mut c.stopped,
            RunState::Failed => &mut c.failed,
            _ => &mut c.live,
        } += 1;
    }
    c
}

fn state(jobs: &[Look<'_>]) -> RunState {
    let any = |wanted: &dyn Fn(&Look<'_>) -> bool| jobs.iter().any(wanted);
    if any(&|j| matches!(j.state, RunState::Running | RunState::Starting)) {
        return RunState::Running;
    }
    if any(&|j| j.state == RunState::Stopping || (j.state == RunState::Stopped && j.worker)) {
        return RunState::Stopping;
    }
    if any(&|j| j.state == RunState::Paused) {
        return RunState::Paused;
    }
    if any(&|j| j.worker) {
        return RunState::Running;
    }
    let waiting = || jobs.iter().filter(|j| j.state == RunState::Queued);
    if waiting().next().is_some() {
        return if waiting().all(|j| j.withheld) { RunState::Paused } else { RunState::Queued };
    }
    if jobs.is_empty() {
        return RunState::Failed;
    }
    if any(&|j| j.state == RunState::Stopped) {
        return RunState::Stopped;
    }
    if lost_arm(jobs).is_some() { RunState::Failed } else { RunState::Completed }
}

/// A job of the first arm whose jobs have all failed.
fn lost_arm<'a, 'b>(jobs: &'b [Look<'a>]) -> Option<&'b Look<'a>> {
    jobs.iter().find(|j| {
        let same = jobs.iter().filter(|other| other.summary.arm == j.summary.arm);
        same.into_iter().all(|other| other.state == RunState::Failed)
    })
}

fn reason(jobs: &[Look<'_>], state: RunState, counts: &JobCounts, failures: &[String]) -> Option<String> {
    let failed = || match failures {
        [] => None,
        [one] => Some(format!("1 of {} jobs failed: {one}", counts.total)),
        [first, ..] => Some(format!("{} of {} jobs failed, first {first}", failures.len(), counts.total)),
    };
    let of = |wanted: RunState| jobs.iter().find(|j| j.state == wanted);
    match state {
        RunState::Failed => match lost_arm(jobs) {
            None => Some("its jobs are missing from its folder".into()),
            Some(job) => {
                let whose = match &job.summary.arm {
                    Some(arm) => format!("all jobs of arm {arm} failed"),
                    None => "all jobs failed".into(),
                };
                Some(format!(
                    "{whose}, first {}",
                    failures.iter().find(|f| f.contains(&format!("({})", job.summary.part())))?
                ))
            }
        },
        RunState::Stopped => {
            let left = counts.stopped + counts.failed;
            Some(format!("{left} of {} jobs are not finished; resume goes on with them", counts.total))
        }
        RunState::Paused => match of(RunState::Paused) {
            Some(job) if !jobs.iter().any(|j| j.withheld) => {
                Some(format!("{}: {}", job.summary.part(), job.reason.as_deref().unwrap_or("asked to pause")))
            }
            _ => Some("asked to pause".into()),
        },
        RunState::Queued => of(RunState::Queued).and_then(|j| j.reason.clone()).or_else(failed),
        RunState::Stopping => Some("asked to stop: its jobs are writing checkpoints".into()),
        _ => failed(),
    }
}

fn progress(jobs: &[Look<'_>], counts: &JobCounts) -> Progress {
    let share = |j: &Look<'_>| match j.state {
        RunState::Completed | RunState::Failed => 1.0,
        _ => j.summary.progress.fraction(),
    };
    let over = counts.completed + counts.failed;
    let mut at_work = jobs.iter().filter(|j| j.state.is_live());
    let who = match (at_work.next(), at_work.count()) {
        (None, _) => String::new(),
        (Some(first), 0) => format!("{}: ", first.summary.part()),
        (Some(first), more) => format!("{} and {more} more: ", first.summary.part()),
    };
    Progress {
        done: jobs.iter().map(share).sum(),
        total: f64::from(counts.total),
        unit: "jobs".into(),
        note: format!("{who}{over} of {} done", counts.total),
    }
}

/// The best of the jobs' best figures: those of the name that the first job with one has.
fn best(jobs: &[Look<'_>]) -> Option<Best> {
    let all = || jobs.iter().filter_map(|j| j.summary.best.as_ref());
    let first = all().next()?;
    let same = all().filter(|b| b.name == first.name && b.higher_is_better == first.higher_is_better);
    let better = |a: &&Best, b: &&Best| {
        let order = a.value.total_cmp(&b.value);
        if first.higher_is_better { order } else { order.reverse() }
    };
    same.filter(|b| b.value.is_finite()).max_by(better).or(Some(first)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [RunState; 8] = [
        RunState::Queued,
        RunState::Starting,
        RunState::Running,
        RunState::Paused,
        RunState::Stopping,
        RunState::Stopped,
        RunState::Completed,
        RunState::Failed,
    ];

    fn jobs(n: u32) -> Vec<RunSummary> {
        let parent = RunId("x-0001".into());
        let job = |i: u32| RunSummary {
            arm: Some(if i.is_multiple_of(2) { "a" } else { "b" }.into()),
            seed: u64::from(1 + i / 2),
            ..RunSummary::queued(parent.job(i + 1), 0.0)
        };
        (0..n).map(job).collect()
    }

    fn looks<'a>(jobs: &'a [RunSummary], states: &[RunState]) -> Vec<Look<'a>> {
        let look = |(summary, &state): (&'a RunSummary, &RunState)| Look {
            summary,
            state,
            reason: (state == RunState::Failed).then(|| "no memory".to_owned()),
            worker: state.is_live(),
            withheld: false,
        };
        jobs.iter().zip(states).map(look).collect()
    }

    fn of(states: &[RunState]) -> RunState {
        standing(&looks(&jobs(states.len() as u32), states)).state
    }

    #[test]
    fn every_combination_of_three_jobs_follows_the_rules() {
        use RunState::{Completed, Failed, Paused, Queued, Running, Starting, Stopped, Stopping};
        for a in STATES {
            for b in STATES {
                for c in STATES {
                    let all = [a, b, c];
                    let any = |states: &[RunState]| all.iter().any(|s| states.contains(s));
                    let got = of(&all);
                    let expected = if any(&[Running, Starting]) {
                        Running
                    } else if any(&[Stopping]) {
                        Stopping
                    } else if any(&[Paused]) {
                        Paused
                    } else if any(&[Queued]) {
                        Queued
                    } else if any(&[Stopped]) {
                        Stopped
                    } else if (a == Failed && c == Failed) || b == Failed {
                        // Arm a has jobs 1 and 3, arm b has job 2.
                        Failed
                    } else {
                        Completed
                    };
                    assert_eq!(got, expected, "{all:?}");
                    assert_eq!(of(&[c, b, a]), got, "jobs 1 and 3 are of one arm: their order does not matter");
                }
            }
        }
        assert_eq!(of(&[]), Failed);
    }

    #[test]
    fn a_process_that_is_still_ending_keeps_the_experiment_from_flickering() {
        let jobs = jobs(2);
        let mut looks = looks(&jobs, &[RunState::Completed, RunState::Queued]);
        assert_eq!(standing(&looks).state, RunState::Queued);
        looks[0].worker = true;
        assert_eq!(standing(&looks).state, RunState::Running);
        looks[0].state = RunState::Stopped;
        assert_eq!(standing(&looks).state, RunState::Stopping);
    }

    #[test]
    fn a_paused_experiment_is_one_whose_waiting_jobs_are_all_withheld() {
        let jobs = jobs(3);
        let mut looks = looks(&jobs, &[RunState::Completed, RunState::Queued, RunState::Queued]);
        looks[1].withheld = true;
        assert_eq!(standing(&looks).state, RunState::Queued);
        looks[2].withheld = true;
        let paused = standing(&looks);
        assert_eq!((paused.state, paused.reason.as_deref()), (RunState::Paused, Some("asked to pause")));
    }

    #[test]
    fn what_failed_is_named_with_arm_and_seed() {
        let jobs = jobs(4);
        let some =
            standing(&looks(&jobs, &[RunState::Completed, RunState::Failed, RunState::Completed, RunState::Completed]));
        assert_eq!(some.state, RunState::Completed);
        assert_eq!(some.reason.as_deref(), Some("1 of 4 jobs failed: job 2 (arm b, seed 1): no memory"));
        let all =
            standing(&looks(&jobs, &[RunState::Completed, RunState::Failed, RunState::Completed, RunState::Failed]));
        assert_eq!(all.reason.as_deref(), Some("all jobs of arm b failed, first job 2 (arm b, seed 1): no memory"));
        assert_eq!((all.counts.completed, all.counts.failed, all.counts.ended()), (2, 2, 4));
    }

    #[test]
    fn progress_counts_jobs_and_the_best_of_all_is_best() {
        let mut jobs = jobs(4);
        jobs[1].progress = Progress { done: 1.0, total: 4.0, ..Progress::default() };
        for (job, value) in jobs.iter_mut().zip([0.5, f64::NAN, 0.9, 0.7]) {
            job.best = Some(Best { name: "valid/loss".into(), value, higher_is_better: false });
        }
        let s = standing(&looks(&jobs, &[RunState::Completed, RunState::Running, RunState::Failed, RunState::Queued]));
        assert_eq!((s.progress.done, s.progress.total, s.progress.unit.as_str()), (2.25, 4.0, "jobs"));
        assert_eq!(s.progress.note, "arm b, seed 1: 2 of 4 done");
        assert_eq!(s.best.map(|b| b.value), Some(0.5));
    }
}
