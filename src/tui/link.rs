//! The connection to the engine, on threads of its own: connecting, reading, writing, and trying again.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use kiln_protocol::wire::ToEngine;

use crate::msg::Msg;
use crate::options::{Connect, Connection, Submit};

/// Pauses before tries to connect, in seconds; the last one repeats. Short at first: an engine that restarts is back soon.
const PAUSES: [f64; 6] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// Starts the threads. What the engine says goes into `out`; frames sent into the result go to the engine, or nowhere
/// while there is none: the model asks anew once it is told of a connection.
pub fn start(connect: Connect, out: SyncSender<Msg>) -> mpsc::Sender<ToEngine> {
    let (frames, outgoing) = mpsc::channel();
    let writer: Arc<Mutex<Option<Box<dyn Submit>>>> = Arc::default();
    let to_write = Arc::clone(&writer);
    std::thread::spawn(move || write(&outgoing, &to_write));
    std::thread::spawn(move || keep(&connect, &out, &writer));
    frames
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves no half-changed state behind: an option is set or not.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(outgoing: &Receiver<ToEngine>, writer: &Mutex<Option<Box<dyn Submit>>>) {
    for frame in outgoing {
        let mut writer = lock(writer);
        if let Some(sender) = writer.as_mut()
            && let Err(reason) = sender.send(&frame)
        {
            // The reader notices the same and tells of it.
            tracing::warn!(reason, "cannot write to the engine");
            *writer = None;
        }
    }
}

/// Connects, reads until the connection breaks, and starts over; ends when nobody listens any more.
fn keep(connect: &Connect, out: &SyncSender<Msg>, writer: &Mutex<Option<Box<dyn Submit>>>) {
    let mut failures = 0;
    loop {
        let reason = match connect() {
            Ok(Connection { version, pid, sender, mut receiver }) => {
                failures = 0;
                *lock(writer) = Some(sender);
                if out.send(Msg::Connected { version, pid }).is_err() {
                    return;
                }
                let reason = loop {
                    match receiver.receive() {
                        Ok(frame) => {
                            if out.send(Msg::Frame(Box::new(frame))).is_err() {
                                return;
                            }
                        }
                        Err(reason) => break reason,
                    }
                };
                *lock(writer) = None;
                reason
            }
            Err(reason) => reason,
        };
        let retry = PAUSES[failures.min(PAUSES.len() - 1)];
        failures += 1;
        if out.send(Msg::Disconnected { reason, retry }).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_secs_f64(retry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Receive;
    use kiln_protocol::wire::{FromEngine, Push, Reply, Request};
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Wire(Arc<Mutex<Vec<ToEngine>>>);

    impl Submit for Wire {
        fn send(&mut self, frame: &ToEngine) -> Result<(), String> {
            lock(&self.0).push(frame.clone());
            Ok(())
        }
    }

    /// Yields these frames, then breaks.
    struct Script(Vec<FromEngine>);

    impl Receive for Script {
        fn receive(&mut self) -> Result<FromEngine, String> {
            if self.0.is_empty() { Err("the engine closed the connection".into()) } else { Ok(self.0.remove(0)) }
        }
    }

    #[test]
    fn it_reads_until_the_connection_breaks_and_tries_again() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let tries = Arc::new(AtomicUsize::new(0));
        let (wire, count) = (Arc::clone(&sent), Arc::clone(&tries));
        let bye = FromEngine::Push(Push::Bye { reason: "stopped".into() });
        let script = vec![FromEngine::Reply { id: 1, reply: Ok(Reply::Done) }, bye];
        let connect: Connect = Arc::new(move || match count.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => Ok(Connection {
                version: "1".into(),
                pid: 7,
                sender: Box::new(Wire(Arc::clone(&wire))),
                receiver: Box::new(Script(script.clone())),
            }),
            _ => Err("nothing answers".into()),
        });
        let (out, messages) = mpsc::sync_channel(0);
        let frames = start(connect, out);
        let next = || messages.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(next(), Msg::Connected { version: "1".into(), pid: 7 });
        frames.send(ToEngine { id: 1, request: Request::Runs }).unwrap();
        assert!(matches!(next(), Msg::Frame(_)));
        while lock(&sent).is_empty() {
            std::thread::yield_now();
        }
        assert!(matches!(next(), Msg::Frame(_)));
        assert_eq!(next(), Msg::Disconnected { reason: "the engine closed the connection".into(), retry: 0.25 });
        assert_eq!(next(), Msg::Disconnected { reason: "nothing answers".into(), retry: 0.5 });
        assert!(matches!(next(), Msg::Connected { .. }));
        assert_eq!(lock(&sent).len(), 1);
    }
}
