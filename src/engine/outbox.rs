//! What one client has yet to be sent: the newest of everything, merged, in bounded memory.
//!
//! The engine puts in, the client's writer takes out when the socket has room. While a client is slow, summaries replace
//! older ones of the same run, points of one series become one event, views and progress replace their predecessors.
//! Lifecycle events and log lines are never merged or dropped; a client that lets [`MAX_LIFECYCLE`] of them pile up is
//! cut off (it can connect again and take a snapshot), so that it cannot fill the engine's memory.
//!
//! Order: every merged event stands where its newest part stands, with that part's `seq`; so `seq` rises, and a client
//! that remembers the last `seq` it saw misses nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_protocol::wire::{Push, System};
use kiln_protocol::{Body, Event, RunId, RunSummary};

/// Points of one series that wait for a client; above, pairs of neighbours are thinned to minimum and maximum. More than
/// the widest terminal has columns, by far.
pub const MAX_POINTS: usize = 4096;

/// Lifecycle events that may wait for a client.
pub const MAX_LIFECYCLE: usize = 20_000;

/// Events in one frame; keeps a frame far below [`kiln_protocol::wire::MAX_FRAME`] and the client's screen alive.
const EVENTS_A_FRAME: usize = 500;

/// Events that replace or extend an earlier one still waiting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Points(String),
    View(String),
    Progress,
    Beat,
}

/// Everything that waits for one client.
#[derive(Debug, Default)]
pub struct Outbox {
    watched: Option<RunId>,
    runs: BTreeMap<RunId, RunSummary>,
    /// Of the experiment that the client watches, or whose job it watches.
    jobs: BTreeMap<RunId, RunSummary>,
    grown: BTreeSet<String>,
    removed: Vec<RunId>,
    events: BTreeMap<u64, Event>,
    newest: HashMap<Key, u64>,
    lifecycle: usize,
    system: Option<System>,
    overrun: bool,
}

impl Outbox {
    /// The run whose events the client wants.
    pub fn watched(&self) -> Option<&RunId> {
        self.watched.as_ref()
    }

    /// Changes the run whose events the client wants; those of another that still wait are forgotten.
    pub fn watch(&mut self, run: Option<RunId>) {
        if self.watched != run {
            self.events.clear();
            self.newest.clear();
            self.lifecycle = 0;
            self.jobs.clear();
            self.grown.clear();
            self.watched = run;
        }
    }

    pub fn put_run(&mut self, summary: RunSummary) {
        self.removed.retain(|r| *r != summary.id);
        self.runs.insert(summary.id.clone(), summary);
    }

    /// Takes the summary of a job, if the client watches its experiment or a job of that.
    pub fn put_job(&mut self, parent: &RunId, summary: &RunSummary) {
        let concerned = |watched: &RunId| watched == parent || watched.parent().is_some_and(|(of, _)| of == *parent);
        if self.watched.as_ref().is_some_and(concerned) {
            self.jobs.insert(summary.id.clone(), summary.clone());
        }
    }

    /// Takes the names of an experiment's series that have new points, if the client watches it.
    pub fn put_grown(&mut self, run: &RunId, series: &BTreeSet<String>) {
        if self.watched.as_ref() == Some(run) {
            self.grown.extend(series.iter().cloned());
        }
    }

    /// A run is gone. Clients never heard of jobs that they do not watch.
    pub fn put_removed(&mut self, run: &RunId) {
        self.runs.remove(run);
        self.jobs.remove(run);
        let known = run.parent().is_none() || self.watched.as_ref() == Some(run);
        if known && !self.removed.contains(run) {
            self.removed.push(run.clone());
        }
        if self.watched.as_ref() == Some(run) {
            self.watch(None);
        }
    }

    pub fn put_system(&mut self, system: &System) {
        self.system = Some(system.clone());
    }

    /// Takes an event of the watched run.
    pub fn put_event(&mut self, event: &Event) {
        let key = match &event.body {
            Body::Points { series, .. } => Key::Points(series.clone()),
            Body::View { name, .. } => Key::View(name.clone()),
            Body::Progress(_) => Key::Progress,
            Body::Beat { .. } => Key::Beat,
            _ => {
                self.lifecycle += 1;
                self.overrun |= self.lifecycle > MAX_LIFECYCLE;
                if !self.overrun {
                    self.events.insert(event.seq, event.clone());
                }
                return;
            }
        };
        let earlier = self.newest.insert(key, event.seq).and_then(|seq| self.events.remove(&seq));
        let body = match (earlier.map(|e| e.body), &event.body) {
            (Some(Body::Points { series, points: mut all }), Body::Points { points, .. }) => {
                extend(&mut all, points);
                Body::Points { series, points: all }
            }
            (Some(Body::View { name, view: mut all }), Body::View { view, .. }) => {
                all.merge((**view).clone());
                Body::View { name, view: all }
            }
            (_, body) => body.clone(),
        };
        self.events.insert(event.seq, Event { seq: event.seq, t: event.t, body });
    }

    /// Whether the client was too slow for what may not be dropped.
    pub fn overrun(&self) -> bool {
        self.overrun
    }

    pub fn is_empty(&self) -> bool {
        let jobs = self.jobs.is_empty() && self.grown.is_empty();
        jobs && self.runs.is_empty() && self.removed.is_empty() && self.events.is_empty() && self.system.is_none()
    }

    /// Takes the next frame out. Call until `None`.
    pub fn next(&mut self) -> Option<Push> {
        if !self.removed.is_empty() {
            return Some(Push::Removed { runs: std::mem::take(&mut self.removed) });
        }
        if !self.runs.is_empty() {
            return Some(Push::Runs { runs: std::mem::take(&mut self.runs).into_values().collect() });
        }
        if !self.jobs.is_empty() {
            let mut runs: Vec<RunSummary> = std::mem::take(&mut self.jobs).into_values().collect();
            runs.sort_by(|a, b| a.id.in_order().cmp(&b.id.in_order()));
            return Some(Push::Jobs { runs });
        }
        if let (false, Some(run)) = (self.grown.is_empty(), &self.watched) {
            return Some(Push::Grown {
                run: run.clone(),
                series: std::mem::take(&mut self.grown).into_iter().collect(),
            });
        }
        if let (false, Some(run)) = (self.events.is_empty(), &self.watched) {
            let later = self.events.keys().nth(EVENTS_A_FRAME).copied();
            let rest = later.map(|seq| self.events.split_off(&seq)).unwrap_or_default();
            let taken = std::mem::replace(&mut self.events, rest);
            let first_kept = later.unwrap_or(u64::MAX);
            self.newest.retain(|_, seq| *seq >= first_kept);
            self.lifecycle = self.lifecycle.saturating_sub(taken.values().filter(|e| e.body.is_lifecycle()).count());
            return Some(Push::Events { run: run.clone(), events: taken.into_values().collect() });
        }
        self.system.take().map(|system| Push::System { system })
    }
}

/// Appends newer points of the same series. After a resume the series starts again at the checkpoint's x: what the newer
/// ones replace is taken off first, as a client would.
fn extend(all: &mut Vec<[f64; 2]>, newer: &[[f64; 2]]) {
    let Some(first) = newer.first() else { return };
    let keep = all.partition_point(|p| p[0] < first[0]);
    all.truncate(keep);
    all.extend_from_slice(newer);
    if all.len() > MAX_POINTS {
        thin(all);
    }
}

/// Thins the points: of every six neighbours the lowest, the highest and, where the series has a gap, the first NaN
/// remain, so that neither spike nor gap is lost.
fn thin(points: &mut Vec<[f64; 2]>) {
    let mut out = Vec::with_capacity(points.len() / 2 + 3);
    for few in points.chunks(6) {
        let numbers = || few.iter().enumerate().filter(|(_, p)| !p[1].is_nan());
        let low = numbers().min_by(|a, b| a.1[1].total_cmp(&b.1[1])).map(|(i, _)| i);
        let high = numbers().max_by(|a, b| a.1[1].total_cmp(&b.1[1])).map(|(i, _)| i);
        let gap = few.iter().position(|p| p[1].is_nan());
        let kept = few.iter().enumerate().filter(|(i, _)| [low, high, gap].contains(&Some(*i)));
        out.extend(kept.map(|(_, p)| *p));
    }
    *points = out;
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::event::Level;
    use kiln_protocol::run::Progress;

    fn run() -> RunId {
        RunId("a".into())
    }

    fn outbox() -> Outbox {
        let mut o = Outbox::default();
        o.watch(Some(run()));
        o
    }

    fn points(seq: u64, series: &str, points: &[[f64; 2]]) -> Event {
        Event { seq, t: seq as f64, body: Body::Points { series: series.into(), points: points.to_vec() } }
    }

    fn log(seq: u64) -> Event {
        Event { seq, t: seq as f64, body: Body::Log { level: Level::Info, message: format!("line {seq}") } }
    }

    fn drain(o: &mut Outbox) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(push) = o.next() {
            if let Push::Events { events, .. } = push {
                all.extend(events);
            }
        }
        all
    }

    #[test]
    fn points_merge_and_lifecycle_events_do_not() {
        let mut o = outbox();
        for seq in 0..10 {
            o.put_event(&points(seq * 3 + 1, "loss", &[[seq as f64, 0.5]]));
            o.put_event(&points(seq * 3 + 2, "acc", &[[seq as f64, 0.9]]));
            o.put_event(&log(seq * 3 + 3));
        }
        let events = drain(&mut o);
        assert_eq!(events.len(), 12);
        assert!(events.windows(2).all(|w| w[0].seq < w[1].seq), "seq rises");
        let loss = events.iter().find_map(|e| match &e.body {
            Body::Points { series, points } if series == "loss" => Some((e.seq, points.len())),
            _ => None,
        });
        assert_eq!(loss, Some((28, 10)), "all ten points stand at the newest one's place");
        assert!(o.is_empty() && o.next().is_none());
        o.put_event(&points(31, "loss", &[[11.0, 0.1]]));
        assert_eq!(drain(&mut o), [points(31, "loss", &[[11.0, 0.1]])], "what was sent is not sent again");
    }

    #[test]
    fn a_resume_takes_back_what_the_client_would_take_back() {
        let mut o = outbox();
        o.put_event(&points(1, "loss", &[[1.0, 0.1], [2.0, 0.2], [3.0, 0.3]]));
        o.put_event(&points(2, "loss", &[[2.0, 0.9], [3.0, 0.8]]));
        assert_eq!(drain(&mut o), [points(2, "loss", &[[1.0, 0.1], [2.0, 0.9], [3.0, 0.8]])]);
    }

    #[test]
    fn a_client_that_never_reads_costs_a_bounded_amount_and_loses_no_spike() {
        let mut o = outbox();
        for i in 0..200_000_u64 {
            let y = if i == 123_456 { 99.0 } else { (i % 7) as f64 };
            o.put_event(&points(i + 1, "loss", &[[i as f64, y]]));
        }
        let events = drain(&mut o);
        let Body::Points { points, .. } = &events[0].body else { panic!("points expected") };
        assert!(events.len() == 1 && points.len() <= MAX_POINTS);
        assert!(points.iter().any(|p| p[1] == 99.0), "the spike is still there");
        assert!(points.windows(2).all(|w| w[0][0] < w[1][0]), "x rises");

        for seq in 0..=MAX_LIFECYCLE as u64 {
            assert!(!o.overrun());
            o.put_event(&log(300_000 + seq));
        }
        assert!(o.overrun());
    }

    #[test]
    fn newer_summaries_and_figures_replace_older_ones() {
        let mut o = outbox();
        for seq in 1..5 {
            let progress = Progress { done: seq as f64, ..Progress::default() };
            o.put_event(&Event { seq, t: 0.0, body: Body::Progress(progress) });
            o.put_system(&System { cpu: seq as f64, ..System::default() });
        }
        let pushes: Vec<Push> = std::iter::from_fn(|| o.next()).collect();
        assert_eq!(pushes.len(), 2);
        assert!(matches!(&pushes[1], Push::System { system } if system.cpu == 4.0));
    }

    #[test]
    fn another_watched_run_forgets_the_events_of_the_first() {
        let mut o = outbox();
        o.put_event(&log(1));
        o.watch(Some(RunId("b".into())));
        assert!(o.next().is_none());
        o.put_event(&log(1));
        o.put_removed(&RunId("b".into()));
        assert!(matches!(o.next(), Some(Push::Removed { .. })));
        assert!(o.next().is_none() && o.watched().is_none());
    }

    #[test]
    fn long_lists_come_in_several_frames_without_a_gap() {
        let mut o = outbox();
        for seq in 1..=1234 {
            o.put_event(&log(seq));
        }
        let frames: Vec<usize> = std::iter::from_fn(|| o.next())
            .map(|p| match p {
                Push::Events { events, .. } => events.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(frames, [500, 500, 234]);
    }
}
