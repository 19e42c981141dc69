//! The loop: one step of the method after the other, and between them whatever was asked for or went wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_methods::{Flow, Method, MethodError, StepCx};
use kiln_protocol::{Body, Level};

use crate::keeper::{Keeper, Trouble};
use crate::orders::{Order, Orders};
use crate::outbox::Outbox;

/// How often a full disk is tried again, and an idle worker looks around.
const RETRY: Duration = Duration::from_secs(1);

/// How long a worker that was told to stop, or has failed, tries to get its last words onto a full disk.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Completed,
    Stopped,
    Failed,
}

/// One attempt at a run.
pub struct Drive {
    pub method: Box<dyn Method>,
    pub cx: StepCx,
    pub keeper: Keeper,
    pub outbox: Arc<Outbox>,
    pub orders: Arc<Orders>,
    /// Why the last checkpoint was not written: the disk is full.
    starved: Option<String>,
    /// Why the last step could not write its files: the disk is full.
    hungry: Option<String>,
    /// The run is paused for want of room.
    full: bool,
}

impl Drive {
    pub fn new(method: Box<dyn Method>, cx: StepCx, keeper: Keeper, outbox: Arc<Outbox>, orders: Arc<Orders>) -> Drive {
        Drive { method, cx, keeper, outbox, orders, starved: None, hungry: None, full: false }
    }

    /// Works until the run is done, stopped or has failed.
    pub fn run(&mut self) -> End {
        loop {
            if let Some(end) = self.attend() {
                return end;
            }
            let done = match self.method.step(&mut self.cx) {
                Ok(Flow::More) | Err(MethodError::Interrupted) => false,
                Err(MethodError::NoRoom(reason)) => {
                    self.hungry = Some(format!("the disk is full ({reason}); the run goes on when there is room"));
                    false
                }
                Ok(Flow::Done) => true,
                Err(MethodError::Failed(message)) => return self.fail(message),
            };
            self.cx.flush_due();
            if done {
                return self.complete();
            }
            self.keeper.stepped();
            if self.keeper.due()
                && let Err(message) = self.checkpoint()
            {
                return self.fail(message);
            }
        }
    }

    /// Obeys what was ordered. Comes back when the run may go on: not while it is paused, and not while the disk is full.
    fn attend(&mut self) -> Option<End> {
        let mut asked = false;
        loop {
            while let Some(order) = self.orders.take() {
                match order {
                    Order::Stop(reason) => return Some(self.stop(reason)),
                    Order::Pause if !asked => {
                        asked = true;
                        self.cx.flush();
                        self.outbox.send(Body::Paused { reason: "paused on request".into() });
                    }
                    Order::Resume if asked => {
                        asked = false;
                        self.outbox.send(Body::Resumed { reason: "resumed on request".into() });
                    }
                    Order::Pause | Order::Resume => {}
                    Order::Checkpoint => {
                        if self.keeper.current() {
                            self.say(Level::Info, format!("the checkpoint of step {} is current", self.keeper.saved()));
                        } else if let Err(message) = self.checkpoint() {
                            return Some(self.fail(message));
                        }
                    }
                    Order::Set { key, value } => self.turn(&key, value),
                }
            }
            let stuck = self.outbox.blocked().or_else(|| self.starved.clone());
            match (stuck.clone().or_else(|| self.hungry.clone()), self.full) {
                (Some(reason), false) => {
                    self.full = true;
                    tracing::warn!("paused: {reason}");
                    self.outbox.send(Body::Paused { reason });
                }
                (None, true) => {
                    self.full = false;
                    tracing::info!("there is room again");
                    self.outbox.send(Body::Resumed { reason: "there is room on the disk again".into() });
                }
                _ => {}
            }
            if !asked && !self.full {
                return None;
            }
            self.orders.wait(RETRY);
            if self.full && self.outbox.retry() {
                if self.starved.is_some()
                    && let Err(message) = self.checkpoint()
                {
                    return Some(self.fail(message));
                }
                // Whether there is room for the method's own files only the method can try.
                if !asked && stuck.is_none() && self.hungry.take().is_some() {
                    return None;
                }
            }
        }
    }

    /// Writes a checkpoint. A full disk is remembered, and pauses the run.
    fn checkpoint(&mut self) -> Result<(), String> {
        self.cx.flush();
        match self.keeper.write(self.method.as_ref()) {
            Ok(event) => {
                self.starved = None;
                event.into_iter().for_each(|event| self.outbox.send(event));
                Ok(())
            }
            Err(Trouble::Full(reason)) => {
                self.starved = Some(reason);
                Ok(())
            }
            Err(Trouble::Failed(message)) => Err(message),
        }
    }

    fn turn(&mut self, key: &str, value: String) {
        let number = value.trim().parse::<f64>().ok().filter(|v| v.is_finite());
        match number {
            _ if !self.method.knobs().contains(&key) => {
                let known = self.method.knobs();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                self.say(
                    Level::Warn,
                    format!("`{key}` cannot be changed while this run goes on; its live knobs: {known}"),
                );
            }
            None => self.say(Level::Warn, format!("`{key}` stays as it is: `{value}` is not a number")),
            Some(number) => {
                self.cx.set_knob(key, number);
                self.outbox.send(Body::KnobSet { key: key.to_owned(), value, x: self.cx.x() });
            }
        }
    }

    fn say(&self, level: Level, message: String) {
        self.outbox.send(Body::Log { level, message });
    }

    /// The last checkpoint, then the outcome. A full disk makes it wait: nothing is lost by that.
    fn complete(&mut self) -> End {
        loop {
            if let Err(message) = self.checkpoint() {
                return self.fail(message);
            }
            if self.starved.is_none() {
                break;
            }
            if let Some(end) = self.attend() {
                return end;
            }
        }
        self.outbox.send(Body::Completed { outcome: Box::new(self.method.outcome()) });
        while !self.outbox.retry() {
            self.orders.wait(RETRY);
            if let Some(Order::Stop(_)) = self.orders.take() {
                // The checkpoint stands, so the next worker says the same in a moment.
                return End::Stopped;
            }
        }
        End::Completed
    }

    fn stop(&mut self, reason: String) -> End {
        let until = Instant::now() + LAST_WORDS;
        loop {
            let written = self.checkpoint();
            let trouble = match (written, &self.starved) {
                (Ok(()), None) => break self.part(Body::Stopped { step: self.keeper.saved(), reason }, End::Stopped),
                (Ok(()), Some(why)) if Instant::now() < until => {
                    tracing::warn!("{why}");
                    std::thread::sleep(RETRY);
                    continue;
                }
                (Ok(()), Some(why)) => why.clone(),
                (Err(why), _) => why,
            };
            let step = self.keeper.saved();
            let reason = format!("{reason}; no last checkpoint ({trouble}), so it goes on from step {step}");
            break self.part(Body::Stopped { step, reason }, End::Stopped);
        }
    }

    fn fail(&mut self, message: String) -> End {
        self.cx.flush();
        tracing::error!("{message}");
        self.part(Body::Failed { message }, End::Failed)
    }

    /// Last words, with some patience for a full disk.
    fn part(&self, event: Body, end: End) -> End {
        farewell(&self.outbox, event);
        end
    }
}

/// Sends the last event of an attempt and gives a full disk some seconds to take it.
pub fn farewell(outbox: &Outbox, event: Body) {
    let until = Instant::now() + LAST_WORDS;
    outbox.send(event);
    while !outbox.retry() && Instant::now() < until {
        std::thread::sleep(RETRY);
    }
}

#[cfg(test)]
mod tests;
