//! What the run was told to do: by `control.jsonl` and by signals. A thread of its own looks ten times a second, so that
//! the method needs no more than a look at a flag, and the worker shows signs of life however long a step takes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_methods::runtime::Place;
use kiln_protocol::spool::{ControlTail, SpoolError};
use kiln_protocol::{Body, Command, Level};
use signal_hook::consts::signal;

use crate::outbox::Outbox;

/// How often control file and signals are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Silence after which a heartbeat is sent.
const BEAT_AFTER: Duration = Duration::from_secs(5);

/// An order to the loop.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    Pause,
    Resume,
    /// With the reason, as a sentence.
    Stop(String),
    Checkpoint,
    Set {
        key: String,
        value: String,
    },
}

/// Orders that wait for the loop, and the flag that brings a method to its next safe point.
#[derive(Default)]
pub struct Orders {
    queue: Mutex<VecDeque<Order>>,
    arrived: Condvar,
    interrupt: Arc<AtomicBool>,
}

impl Orders {
    /// The flag that is up while orders wait.
    pub fn interrupt(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupt)
    }

    pub fn give(&self, order: Order) {
        self.lock().push_back(order);
        self.interrupt.store(true, Ordering::Relaxed);
        self.arrived.notify_all();
    }

    /// The next order, if one waits.
    pub fn take(&self) -> Option<Order> {
        let mut queue = self.lock();
        let order = queue.pop_front();
        if queue.is_empty() {
            self.interrupt.store(false, Ordering::Relaxed);
        }
        order
    }

    /// Waits until an order is there or the time is up.
    pub fn wait(&self, limit: Duration) {
        let queue = self.lock();
        drop(self.arrived.wait_timeout_while(queue, limit, |queue| queue.is_empty()));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signals as flags that the watching thread looks at.
pub struct Signals {
    terminate: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over SIGTERM and SIGINT (checkpoint and exit), SIGHUP (ignored: a run outlives the SSH session that started
    /// it) and SIGXFSZ (ignored: a file size limit then is an error of the write, like a full disk, instead of the end).
    pub fn install() -> std::io::Result<Signals> {
        let signals = Signals { terminate: Arc::default(), interrupt: Arc::default() };
        signal_hook::flag::register(signal::SIGTERM, Arc::clone(&signals.terminate))?;
        signal_hook::flag::register(signal::SIGINT, Arc::clone(&signals.interrupt))?;
        for ignored in [signal::SIGHUP, signal::SIGXFSZ] {
            signal_hook::flag::register(ignored, Arc::default())?;
        }
        Ok(signals)
    }

    /// The signal that came since the last call, as a sentence.
    pub fn taken(&self) -> Option<&'static str> {
        if self.terminate.swap(false, Ordering::Relaxed) {
            Some("the worker was sent SIGTERM")
        } else if self.interrupt.swap(false, Ordering::Relaxed) {
            Some("the worker was sent SIGINT")
        } else {
            None
        }
    }
}

/// Watches control file and signals until the process ends, and sends heartbeats in silence.
pub fn watch(mut control: ControlTail, signals: Signals, orders: &Orders, outbox: &Outbox, place: &Place) {
    // A file that cannot be read is said once, not ten times a second.
    let mut complained = false;
    loop {
        match control.poll() {
            Ok(batch) => {
                complained = false;
                for problem in batch.problems {
                    outbox.send(Body::Log { level: Level::Warn, message: problem.message });
                }
                for line in batch.items {
                    orders.give(order(line.command));
                }
            }
            Err(error) if !complained => {
                complained = true;
                outbox.send(Body::Log { level: Level::Warn, message: deaf(&error) });
            }
            Err(_) => {}
        }
        if let Some(reason) = signals.taken() {
            orders.give(Order::Stop(reason.into()));
        }
        if outbox.quiet() >= BEAT_AFTER && outbox.blocked().is_none() {
            outbox.send(crate::vitals::beat(place));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn deaf(error: &SpoolError) -> String {
    format!("commands cannot be read ({error}); the run goes on, and signals still work")
}

fn order(command: Command) -> Order {
    match command {
        Command::Pause => Order::Pause,
        Command::Resume => Order::Resume,
        Command::Stop => Order::Stop("stopped on request".into()),
        Command::Checkpoint => Order::Checkpoint,
        Command::Set { key, value } => Order::Set { key, value },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_up_exactly_while_orders_wait() {
        let orders = Orders::default();
        let flag = orders.interrupt();
        assert_eq!(orders.take(), None);
        orders.give(Order::Pause);
        orders.give(Order::Resume);
        assert!(flag.load(Ordering::Relaxed));
        assert_eq!(orders.take(), Some(Order::Pause));
        assert!(flag.load(Ordering::Relaxed));
        assert_eq!(orders.take(), Some(Order::Resume));
        assert!(!flag.load(Ordering::Relaxed));
    }
}
