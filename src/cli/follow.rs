//! Watching one run from afar, through losses of the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_protocol::client::{Client, ClientError};
use kiln_protocol::run::RunSummary;
use kiln_protocol::wire::{Push, Reply, Request};
use kiln_protocol::{Body, Event, Level, RunId};

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome};

/// How long pushes are waited for before the interrupt flag is looked at again.
const GLANCE: Duration = Duration::from_millis(200);

/// Silence after which the engine is asked: a push that was lost must not make a run look endless.
const SILENCE: Duration = Duration::from_secs(5);

/// How long an engine that has gone away is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is seen of a run.
pub enum Seen<'a> {
    Event(&'a Event),
    Summary(&'a RunSummary),
    /// Jobs of an experiment, those that have changed.
    Jobs(&'a [RunSummary]),
    /// The engine is gone; another is being started or waited for.
    Lost(&'a str),
}

/// Sets a flag at the first SIGINT or SIGTERM; the second one kills, for those who mean it.
pub fn on_interrupt() -> Outcome<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let done = signal_hook::flag::register_conditional_default(signal, flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()));
        done.map_err(|e| Failure::Unexpected(e.into()))?;
    }
    Ok(flag)
}

/// Follows `run` from the event after `after` until it has ended, handing on what is seen. Returns its last summary.
///
/// # Errors
/// [`Failure::Interrupted`] when the flag is set; what `on` returns; the engine gone for good; the run removed.
pub fn follow(
    engines: &Engines,
    run: &RunId,
    after: u64,
    interrupted: &AtomicBool,
    on: &mut dyn FnMut(Seen<'_>) -> Outcome,
) -> Outcome<RunSummary> {
    let mut follower = Follower { engines, run, after, interrupted, on, answered: Instant::now() };
    loop {
        match follower.connected() {
            Ok(summary) => return Ok(summary),
            Err(Failure::Engine(said)) => {
                if follower.answered.elapsed() > PATIENCE {
                    return Err(Failure::Engine(said));
                }
                (follower.on)(Seen::Lost(&said))?;
                for _ in 0..5 {
                    follower.glance()?;
                    std::thread::sleep(GLANCE);
                }
            }
            Err(other) => return Err(other),
        }
    }
}

struct Follower<'a> {
    engines: &'a Engines,
    run: &'a RunId,
    /// Number of the newest event handed on.
    after: u64,
    interrupted: &'a AtomicBool,
    on: &'a mut dyn FnMut(Seen<'_>) -> Outcome,
    /// When an engine last answered.
    answered: Instant,
}

impl Follower<'_> {
    fn glance(&self) -> Outcome {
        if self.interrupted.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Follows over one connection.
    fn connected(&mut self) -> Outcome<RunSummary> {
        let mut client = self.engines.open()?;
        match client.request(&Request::Watch { run: Some(self.run.clone()) })? {
            Reply::Done => {}
            other => return engines::unexpected(&other),
        }
        let mut heard = Instant::now();
        if let Some(summary) = self.catch_up(&mut client)? {
            return Ok(summary);
        }
        loop {
            self.glance()?;
            self.answered = Instant::now();
            let push = match client.next_push(GLANCE) {
                Ok(push) => push,
                Err(e @ (ClientError::Closed | ClientError::Frame(_))) => return Err(Failure::Engine(e.to_string())),
                Err(e) => return Err(e.into()),
            };
            match push {
                Some(Push::Runs { runs }) => {
                    if let Some(summary) = runs.iter().find(|r| r.id == *self.run) {
                        heard = Instant::now();
                        (self.on)(Seen::Summary(summary))?;
                        if summary.state.is_ended() {
                            // The last lines of the log may still be on their way.
                            if let Some(summary) = self.catch_up(&mut client)? {
                                return Ok(summary);
                            }
                        }
                    }
                }
                Some(Push::Jobs { runs }) => {
                    heard = Instant::now();
                    // Of a job that is followed alone, only its own.
                    match runs.iter().find(|r| r.id == *self.run) {
                        Some(summary) => {
                            (self.on)(Seen::Summary(summary))?;
                            if summary.state.is_ended()
                                && let Some(summary) = self.catch_up(&mut client)?
                            {
                                return Ok(summary);
                            }
                        }
                        None if self.run.parent().is_none() => (self.on)(Seen::Jobs(&runs))?,
                        None => {}
                    }
                }
                Some(Push::Events { run, events }) if run == *self.run => {
                    heard = Instant::now();
                    for event in &events {
                        self.hand_on(event)?;
                    }
                }
                Some(Push::Removed { runs }) if runs.contains(self.run) => {
                    return Err(Failure::Input(format!("{} was removed", self.run)));
                }
                Some(Push::Bye { reason }) => return Err(Failure::Engine(format!("the engine has ended: {reason}"))),
                _ => {}
            }
            if heard.elapsed() > SILENCE {
                heard = Instant::now();
                if let Some(summary) = self.catch_up(&mut client)? {
                    return Ok(summary);
                }
            }
        }
    }

    /// Asks for what has not been seen yet. `Some` if the run has ended.
    fn catch_up(&mut self, client: &mut Client) -> Outcome<Option<RunSummary>> {
        let detail = engines::detail(client, self.run)?;
        let summary = detail.summary;
        for event in &engines::events(client, self.run, self.after, u32::MAX, false)? {
            self.hand_on(event)?;
        }
        if !detail.jobs.is_empty() {
            (self.on)(Seen::Jobs(&detail.jobs))?;
        }
        (self.on)(Seen::Summary(&summary))?;
        Ok(summary.state.is_ended().then_some(summary))
    }

    fn hand_on(&mut self, event: &Event) -> Outcome {
        if event.seq <= self.after {
            return Ok(());
        }
        self.after = event.seq;
        (self.on)(Seen::Event(event))
    }
}

/// An event as a line of a log, if it is for people: severity and sentence.
pub fn sentence(body: &Body) -> Option<(Level, String)> {
    let info = |text: String| Some((Level::Info, text));
    match body {
        Body::Log { level, message } => Some((*level, message.clone())),
        Body::Started { attempt, resumed_from, device, host, pid, .. } => info(match resumed_from {
            Some(step) => {
                format!("resumed from checkpoint {step} on {device} of {host} (pid {pid}, attempt {attempt})")
            }
            None if *attempt > 1 => format!(
                "started again from the beginning, as there was no checkpoint yet, on {device} of {host} (pid {pid}, attempt {attempt})"
            ),
            None => format!("started on {device} of {host} (pid {pid})"),
        }),
        Body::Best(best) => info(format!("best {}", crate::list::best_in_words(best))),
        Body::Checkpoint { step, bytes, seconds } => {
            Some((Level::Debug, format!("checkpoint {step}: {}, {seconds:.2} s", crate::human::bytes(*bytes))))
        }
        Body::KnobSet { key, value, x } => info(format!("{key} set to {value} at {}", crate::human::number(*x))),
        Body::Paused { reason } => Some((Level::Warn, format!("paused: {reason}"))),
        Body::Resumed { reason } => info(format!("goes on: {reason}")),
        Body::Completed { outcome } => info(format!("completed: {}", outcome.verdict)),
        Body::Stopped { step, reason } => Some((Level::Warn, format!("stopped at checkpoint {step}: {reason}"))),
        Body::Failed { message } => Some((Level::Error, format!("failed: {message}"))),
        Body::Progress(_) | Body::Points { .. } | Body::View { .. } | Body::Beat { .. } => None,
    }
}

/// How a level is written in front of a sentence; nothing for what is ordinary.
pub fn mark(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug: ",
        Level::Info => "",
        Level::Warn => "warning: ",
        Level::Error => "error: ",
    }
}
