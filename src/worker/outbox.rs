//! Events on their way into the run folder. A full disk delays them; it never loses one and never leaves a gap.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kiln_protocol::Body;
use kiln_protocol::spool::{EventWriter, is_disk_full};

/// Where events are appended: the run folder, or in tests a disk that fills.
pub trait Journal: Send {
    /// Appends the whole event or nothing; after an error the same event may be appended again.
    fn append(&mut self, body: Body) -> io::Result<()>;
}

impl Journal for EventWriter {
    fn append(&mut self, body: Body) -> io::Result<()> {
        EventWriter::append(self, body).map(drop)
    }
}

/// Shared by the thread that works and the one that watches.
pub struct Outbox {
    inner: Mutex<Inner>,
}

struct Inner {
    journal: Box<dyn Journal>,
    /// What could not be written yet, oldest first. The run pauses while this is not empty, so it stays short.
    waiting: VecDeque<Body>,
    reason: Option<String>,
    written: Instant,
}

impl Outbox {
    pub fn new(journal: Box<dyn Journal>) -> Outbox {
        let inner = Inner { journal, waiting: VecDeque::new(), reason: None, written: Instant::now() };
        Outbox { inner: Mutex::new(inner) }
    }

    /// Writes the event, or keeps it behind those that wait.
    pub fn send(&self, body: Body) {
        let mut inner = self.lock();
        inner.waiting.push_back(body);
        // While the disk is full only `retry` tries, once in a while.
        if inner.reason.is_none() {
            inner.drain();
        }
    }

    /// Tries again to write what waits; true if nothing is left.
    pub fn retry(&self) -> bool {
        let mut inner = self.lock();
        inner.drain();
        inner.waiting.is_empty()
    }

    /// Why events wait, as a sentence; `None` if none does.
    pub fn blocked(&self) -> Option<String> {
        self.lock().reason.clone()
    }

    /// Time since the last event was written.
    pub fn quiet(&self) -> Duration {
        self.lock().written.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere does not make the queue wrong: every change of it is a single push or pop.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn drain(&mut self) {
        while let Some(body) = self.waiting.front() {
            match self.journal.append(body.clone()) {
                Ok(()) => {
                    self.waiting.pop_front();
                    self.written = Instant::now();
                }
                Err(error) => {
                    self.reason = Some(sentence("events.jsonl", &error));
                    return;
                }
            }
        }
        self.reason = None;
    }
}

/// What a failed write of `what` means for the run.
pub fn sentence(what: &str, error: &io::Error) -> String {
    if is_disk_full(error) {
        format!("the disk is full ({error} while writing {what}); the run goes on when there is room")
    } else {
        format!("cannot write {what}: {error}; trying again every second")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use kiln_protocol::Level;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A disk with room for so many events.
    pub struct Tiny {
        pub room: Arc<AtomicI64>,
        pub written: Arc<Mutex<Vec<Body>>>,
    }

    impl Journal for Tiny {
        fn append(&mut self, body: Body) -> io::Result<()> {
            if self.room.fetch_sub(1, Ordering::SeqCst) <= 0 {
                self.room.fetch_add(1, Ordering::SeqCst);
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().push(body);
            Ok(())
        }
    }

    pub fn log(n: usize) -> Body {
        Body::Log { level: Level::Info, message: n.to_string() }
    }

    #[test]
    fn a_full_disk_delays_events_and_keeps_their_order() {
        let (room, written) = (Arc::new(AtomicI64::new(2)), Arc::new(Mutex::new(vec![])));
        let outbox = Outbox::new(Box::new(Tiny { room: Arc::clone(&room), written: Arc::clone(&written) }));
        for n in 0..5 {
            outbox.send(log(n));
        }
        assert_eq!(written.lock().unwrap().len(), 2);
        assert!(outbox.blocked().unwrap().contains("disk is full"));
        assert!(!outbox.retry());

        room.store(2, Ordering::SeqCst);
        assert!(!outbox.retry(), "room for two of three");
        room.store(100, Ordering::SeqCst);
        assert!(outbox.retry());
        assert_eq!(outbox.blocked(), None);
        outbox.send(log(5));
        assert_eq!(*written.lock().unwrap(), (0..6).map(log).collect::<Vec<_>>());
    }
}
