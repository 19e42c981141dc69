//! How events change a run's summary: one pure function, shared by the engine, the store and whoever follows a run.
//!
//! ```
//! use kiln_protocol::reduce::{Pace, reduce};
//! use kiln_protocol::run::Progress;
//! use kiln_protocol::{Body, Event, RunId, RunState, RunSummary};
//!
//! let mut summary = RunSummary::queued(RunId("x-0001".into()), 100.0);
//! let mut pace = Pace::default();
//! let body = kiln_protocol::testing::started(1, None);
//! reduce(&mut summary, &mut pace, &Event { seq: 1, t: 101.0, body });
//! let progress = Progress { done: 25.0, total: 100.0, ..Progress::default() };
//! reduce(&mut summary, &mut pace, &Event { seq: 2, t: 111.0, body: Body::Progress(progress) });
//! assert_eq!(summary.state, RunState::Running);
//! assert_eq!(summary.eta, Some(30.0));
//! ```

use serde::{Deserialize, Serialize};

use crate::event::{Body, Event};
use crate::run::{Progress, RunId, RunState, RunSummary};

/// What the estimate of the time left needs to know beside the summary: where this attempt began. Kept beside the summary;
/// one that is lost (`default`) makes the estimate start anew, nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// [`RunSummary::worked`] when the attempt started.
    start: Option<f64>,
    /// [`Progress::done`] when the attempt started; a resumed run starts with what its checkpoint had.
    from: Option<f64>,
}

impl Pace {
    /// Seconds left, once something was done in this attempt. `worked` is that of the summary.
    fn eta(&self, worked: f64, progress: &Progress) -> Option<f64> {
        let done = progress.done - self.from?;
        let left = (progress.total - progress.done).max(0.0);
        let eta = (worked - self.start?) * left / done;
        (done > 0.0 && eta.is_finite()).then_some(eta)
    }
}

impl RunSummary {
    /// A run that waits for its first worker, created at `t`.
    pub fn queued(id: RunId, t: f64) -> RunSummary {
        RunSummary {
            id,
            preset: String::new(),
            title: String::new(),
            method: String::new(),
            state: RunState::Queued,
            reason: None,
            priority: 0,
            created: t,
            started: None,
            ended: None,
            worked: None,
            at_work: None,
            last_event: None,
            last_seq: 0,
            progress: Progress::default(),
            eta: None,
            best: None,
            device: None,
            host: None,
            pid: None,
            attempts: 0,
            seed: 0,
            origin: None,
            arm: None,
            jobs: None,
            tags: Vec::new(),
            note: String::new(),
            figures: Vec::new(),
        }
    }
}

/// Applies one event and returns whether it counted: an event whose number is not above [`RunSummary::last_seq`] was
/// applied before and changes nothing, so a snapshot and the events after it may overlap.
pub fn reduce(summary: &mut RunSummary, pace: &mut Pace, event: &Event) -> bool {
    if event.seq <= summary.last_seq {
        return false;
    }
    summary.last_seq = event.seq;
    summary.last_event = Some(event.t);
    let starts = matches!(event.body, Body::Started { .. });
    if let Some(at) = summary.at_work.filter(|_| !starts) {
        // A worker that died without a word worked up to its last event; what lies before the next start is nobody's.
        *summary.worked.get_or_insert(0.0) += (event.t - at).max(0.0);
        summary.at_work = Some(event.t.max(at));
    }
    match &event.body {
        Body::Started { attempt, resumed_from, device, host, pid, .. } => {
            let worked = *summary.worked.get_or_insert(0.0);
            *pace = Pace { start: Some(worked), from: None };
            summary.at_work = Some(event.t);
            go_on(summary);
            summary.reason = match (resumed_from, attempt) {
                (Some(step), _) => Some(format!("resumed from checkpoint {step}")),
                (None, 0 | 1) => None,
                (None, n) => Some(format!("started again from the beginning, attempt {n}")),
            };
            summary.started.get_or_insert(event.t);
            summary.ended = None;
            summary.eta = None;
            summary.figures.clear();
            summary.attempts = summary.attempts.max(*attempt);
            summary.device = Some(device.clone());
            summary.host = Some(host.clone());
            summary.pid = Some(*pid);
            if resumed_from.is_none() {
                summary.progress = Progress::default();
                summary.best = None;
            }
        }
        Body::Progress(progress) => {
            // The first report of a resumed attempt says what the checkpoint had; that was not done in this attempt.
            let resumed = summary.attempts > 1 && summary.progress.done > 0.0;
            let worked = summary.worked.unwrap_or(0.0);
            let known = pace.start.is_some();
            pace.start.get_or_insert(worked);
            pace.from.get_or_insert(if resumed || !known { progress.done } else { 0.0 });
            summary.eta = pace.eta(worked, progress).filter(|_| summary.at_work.is_some());
            summary.progress = progress.clone();
        }
        Body::Best(best) => summary.best = Some(best.clone()),
        Body::Paused { reason } => {
            summary.state = RunState::Paused;
            summary.reason = Some(reason.clone());
            summary.eta = None;
            summary.at_work = None;
        }
        Body::Resumed { .. } => {
            go_on(summary);
            summary.reason = None;
            summary.at_work = Some(event.t);
        }
        Body::Completed { outcome } => {
            summary.figures = outcome.foremost();
            let flaws = (!outcome.flaws.is_empty()).then(|| outcome.flaws.join("; "));
            end(summary, event.t, RunState::Completed, flaws);
        }
        Body::Stopped { reason, .. } => end(summary, event.t, RunState::Stopped, Some(reason.clone())),
        Body::Failed { message } => end(summary, event.t, RunState::Failed, Some(message.clone())),
        Body::Points { .. }
        | Body::View { .. }
        | Body::Log { .. }
        | Body::Checkpoint { .. }
        | Body::KnobSet { .. }
        | Body::Beat { .. } => {}
    }
    true
}

/// A run that was asked to stop stays [`RunState::Stopping`] until it has: it may have been starting when asked.
fn go_on(summary: &mut RunSummary) {
    if summary.state != RunState::Stopping {
        summary.state = RunState::Running;
    }
}

fn end(summary: &mut RunSummary, t: f64, state: RunState, reason: Option<String>) {
    summary.state = state;
    summary.reason = reason;
    summary.ended = Some(t);
    summary.eta = None;
    summary.pid = None;
    summary.at_work = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Best, Figure, Outcome};
    use crate::testing::started;

    struct Run {
        summary: RunSummary,
        pace: Pace,
    }

    impl Run {
        fn new() -> Run {
            Run { summary: RunSummary::queued(RunId("x-0001".into()), 1.0), pace: Pace::default() }
        }

        fn on(&mut self, t: f64, body: Body) -> &RunSummary {
            let event = Event { seq: self.summary.last_seq + 1, t, body };
            assert!(reduce(&mut self.summary, &mut self.pace, &event));
            let after = (self.summary.clone(), self.pace.clone());
            assert!(!reduce(&mut self.summary, &mut self.pace, &event), "an event counts once");
            assert_eq!((&self.summary, &self.pace), (&after.0, &after.1));
            &self.summary
        }
    }

    fn progress(done: f64) -> Body {
        Body::Progress(Progress { done, total: 100.0, unit: "epochs".into(), note: String::new() })
    }

    #[test]
    fn a_run_from_start_to_end() {
        let mut run = Run::new();
        let s = run.on(10.0, started(1, None));
        assert_eq!(
            (s.state, s.started, s.pid, s.attempts, &s.reason),
            (RunState::Running, Some(10.0), Some(7), 1, &None)
        );
        assert_eq!(run.on(10.0, progress(0.0)).eta, None, "nothing is known yet");
        assert_eq!(run.on(30.0, progress(20.0)).eta, Some(80.0));
        let best = Best { name: "valid/accuracy".into(), value: 0.5, higher_is_better: true };
        assert_eq!(run.on(31.0, Body::Best(best.clone())).best, Some(best));
        let outcome = Outcome {
            figures: [("a".into(), Some(1.0)), ("b".into(), Some(2.0)), ("c".into(), None)].into(),
            headline: vec![Figure::new("c", true), Figure::new("b", true)],
            ..Outcome::default()
        };
        let s = run.on(40.0, Body::Completed { outcome: Box::new(outcome) });
        assert_eq!((s.state, s.ended, s.eta, s.pid), (RunState::Completed, Some(40.0), None, None));
        assert_eq!(s.figures, [("b".to_owned(), 2.0)], "those it wants to be judged by, as far as they are defined");
        let s = run.on(41.0, Body::Beat { rss: 1, device_memory: 0 });
        assert_eq!((s.state, s.last_event, s.last_seq), (RunState::Completed, Some(41.0), 6));
    }

    #[test]
    fn a_run_asked_to_stop_while_it_starts_does_not_look_as_if_it_ran_on() {
        let mut run = Run::new();
        run.summary.state = RunState::Stopping;
        assert_eq!(run.on(1.0, started(1, None)).state, RunState::Stopping);
        assert_eq!(run.on(2.0, Body::Stopped { step: 0, reason: "asked for".into() }).state, RunState::Stopped);
    }

    #[test]
    fn pauses_do_not_spoil_the_estimate() {
        let mut run = Run::new();
        run.on(0.0, started(1, None));
        run.on(10.0, progress(10.0));
        let s = run.on(10.0, Body::Paused { reason: "the disk is full".into() });
        assert_eq!((s.state, s.reason.as_deref(), s.eta), (RunState::Paused, Some("the disk is full"), None));
        run.on(500.0, Body::Beat { rss: 1, device_memory: 0 });
        assert_eq!(run.on(1000.0, Body::Resumed { reason: "room".into() }).state, RunState::Running);
        let s = run.on(1010.0, progress(20.0));
        assert_eq!((s.eta, &s.reason), (Some(80.0), &None));
    }

    #[test]
    fn a_run_takes_the_time_at_work_and_no_other() {
        let mut run = Run::new();
        assert_eq!(run.summary.took(9.0), None, "a queued run has taken none");
        run.on(10.0, started(1, None));
        run.on(20.0, progress(10.0));
        assert_eq!(run.summary.took(25.0), Some(15.0));
        run.on(30.0, Body::Paused { reason: "asked for".into() });
        run.on(60.0, Body::Beat { rss: 1, device_memory: 0 });
        assert_eq!(run.summary.took(99.0), Some(20.0), "pauses do not count");
        run.on(100.0, Body::Resumed { reason: "asked for".into() });
        run.on(105.0, progress(20.0));
        assert_eq!(run.summary.took(106.0), Some(26.0));
        // Killed without a word, and started again much later.
        run.on(1000.0, started(2, Some(3)));
        assert_eq!(run.summary.took(1000.0), Some(25.0), "nor does the time between attempts");
        run.on(1010.0, Body::Paused { reason: "asked for".into() });
        run.on(1100.0, Body::Stopped { step: 4, reason: "asked for".into() });
        assert_eq!(run.summary.took(2000.0), Some(35.0), "stopped while paused");
    }

    #[test]
    fn an_estimate_whose_pace_is_lost_starts_anew() {
        let mut run = Run::new();
        run.on(0.0, started(1, None));
        run.on(100.0, progress(50.0));
        run.pace = Pace::default();
        assert_eq!(run.on(101.0, progress(60.0)).eta, None);
        assert_eq!(run.on(111.0, progress(70.0)).eta, Some(30.0));
    }

    #[test]
    fn a_resumed_attempt_is_judged_by_what_it_does_itself() {
        let mut run = Run::new();
        run.on(0.0, started(1, None));
        run.on(100.0, progress(50.0));
        let s = run.on(110.0, Body::Stopped { step: 5, reason: "asked for".into() });
        assert_eq!((s.state, s.reason.as_deref()), (RunState::Stopped, Some("asked for")));
        let s = run.on(1000.0, started(2, Some(5)));
        assert_eq!((s.ended, s.started, s.attempts, s.progress.done), (None, Some(0.0), 2, 50.0));
        assert_eq!(s.reason.as_deref(), Some("resumed from checkpoint 5"));
        assert_eq!(run.on(1001.0, progress(40.0)).eta, None, "the checkpoint's own progress");
        assert_eq!(run.on(1011.0, progress(51.0)).eta, Some(49.0));
        let s = run.on(1012.0, Body::Failed { message: "no memory".into() });
        assert_eq!((s.state, s.reason.as_deref()), (RunState::Failed, Some("no memory")));
        let s = run.on(1013.0, started(3, None));
        assert_eq!((s.progress.done, s.state), (0.0, RunState::Running));
        assert_eq!(run.on(1023.0, progress(10.0)).eta, Some(90.0), "from the beginning: everything counts");
    }
}
