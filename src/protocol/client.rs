//! The client's end of the engine's socket: blocking, small, and with sentences for errors.
//!
//! ```no_run
//! use kiln_protocol::client::Client;
//! use kiln_protocol::home::Home;
//! use kiln_protocol::wire::{Reply, Request};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = Client::connect(&Home::from_env()?.socket())?;
//! if let Reply::Runs { runs } = client.request(&Request::Runs)? {
//!     println!("{} runs", runs.len());
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::WIRE_VERSION;
use crate::frame::{self, FrameError, Inbox};
use crate::wire::{FromEngine, Push, Reply, Request, ToEngine};

/// How long a request may take unless said otherwise. The engine answers in milliseconds; more means that it hangs.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Pushes kept while a reply is awaited. Far more than come in that time; beyond it the oldest go.
const MAX_HELD: usize = 10_000;

/// Why the engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no engine is running (nothing answers at {socket}); start one with `kiln engine start`")]
    NotRunning { socket: PathBuf },
    #[error("cannot connect to the engine at {socket}: {source}")]
    Connect { socket: PathBuf, source: io::Error },
    /// The engine did not accept this client; its own sentence, such as that of a version mismatch.
    #[error("{0}")]
    Refused(String),
    #[error("the engine has not answered for {} seconds; see its log, or `kiln engine stop` and `kiln engine start`: runs go on", .0.as_secs())]
    Timeout(Duration),
    #[error("the engine closed the connection; `kiln engine status` says whether it still runs")]
    Closed,
    /// The engine understood and said no; its own sentence.
    #[error("{0}")]
    Engine(String),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// The sentence by which an engine refuses the first request of a connection, or `None` if it may go on. One text for both sides.
pub fn refusal(first: &Request, engine_version: &str) -> Option<String> {
    match first {
        Request::Hello { wire, .. } if *wire == WIRE_VERSION => None,
        Request::Hello { wire, version } => Some(format!(
            "the engine is of Kiln {engine_version} (messages of version {WIRE_VERSION}), this client of Kiln {version} (version {wire}): \
             run `kiln engine stop`, then `kiln engine start`; runs go on meanwhile"
        )),
        _ => Some("the first message of a connection must be hello".to_owned()),
    }
}

/// One connection to an engine.
pub struct Client {
    sender: Sender,
    receiver: Receiver,
    /// Pushes that came while a reply was awaited.
    held: VecDeque<Push>,
    /// Version of Kiln of the engine.
    pub engine_version: String,
    pub engine_pid: u32,
}

impl Client {
    /// Connects and says hello.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if nothing listens there; [`ClientError::Refused`] if the engine is of another version.
    pub fn connect(socket: &Path) -> Result<Client, ClientError> {
        Client::connect_within(socket, TIMEOUT)
    }

    /// As [`Client::connect`], giving the engine that long to answer.
    pub fn connect_within(socket: &Path, timeout: Duration) -> Result<Client, ClientError> {
        use io::ErrorKind as Kind;
        let stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
            Kind::NotFound | Kind::ConnectionRefused => ClientError::NotRunning { socket: socket.into() },
            _ => ClientError::Connect { socket: socket.into(), source },
        })?;
        let writer = stream.try_clone().map_err(|source| ClientError::Connect { socket: socket.into(), source })?;
        let mut client = Client {
            sender: Sender { stream: writer, next_id: 1 },
            receiver: Receiver { stream, inbox: Inbox::default() },
            held: VecDeque::new(),
            engine_version: String::new(),
            engine_pid: 0,
        };
        let hello = Request::Hello { wire: WIRE_VERSION, version: env!("CARGO_PKG_VERSION").to_owned() };
        match client.request_within(&hello, timeout) {
            Ok(Reply::Hello { version, pid }) => {
                (client.engine_version, client.engine_pid) = (version, pid);
                Ok(client)
            }
            Ok(_) => Err(ClientError::Refused("what answers at the socket is no Kiln engine".to_owned())),
            Err(ClientError::Engine(sentence)) => Err(ClientError::Refused(sentence)),
            Err(e) => Err(e),
        }
    }

    /// Asks, and waits for the answer up to [`TIMEOUT`].
    ///
    /// # Errors
    /// [`ClientError::Engine`] with the engine's sentence if it says no.
    pub fn request(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.request_within(request, TIMEOUT)
    }

    /// As [`Client::request`], for what takes longer, such as [`Request::Rebuild`].
    pub fn request_within(&mut self, request: &Request, timeout: Duration) -> Result<Reply, ClientError> {
        let deadline = Instant::now() + timeout;
        let id = self.sender.send(request)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receiver.next_within(left)? {
                None => return Err(ClientError::Timeout(timeout)),
                Some(FromEngine::Push(push)) => {
                    if self.held.len() == MAX_HELD {
                        self.held.pop_front();
                    }
                    self.held.push_back(push);
                }
                Some(FromEngine::Reply { id: of, reply }) if of == id => return reply.map_err(ClientError::Engine),
                // The answer to a request that was given up on.
                Some(FromEngine::Reply { .. }) => {}
            }
        }
    }

    /// The next push of a [`Request::Watch`], or `None` if none comes in that time.
    pub fn next_push(&mut self, timeout: Duration) -> Result<Option<Push>, ClientError> {
        if let Some(push) = self.held.pop_front() {
            return Ok(Some(push));
        }
        let deadline = Instant::now() + timeout;
        loop {
            match self.receiver.next_within(deadline.saturating_duration_since(Instant::now()))? {
                Some(FromEngine::Push(push)) => return Ok(Some(push)),
                Some(FromEngine::Reply { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// Two halves for two threads, and the pushes that came already.
    pub fn split(self) -> (Sender, Receiver, Vec<Push>) {
        (self.sender, self.receiver, self.held.into())
    }
}

/// The half that asks.
pub struct Sender {
    stream: UnixStream,
    next_id: u64,
}

impl Sender {
    /// Sends a request and returns its id; the reply of that id arrives at the [`Receiver`].
    pub fn send(&mut self, request: &Request) -> Result<u64, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        self.forward(&ToEngine { id, request: request.clone() }).map(|()| id)
    }

    /// Sends a frame of somebody who numbers requests without us.
    pub fn forward(&mut self, message: &ToEngine) -> Result<(), ClientError> {
        self.stream.set_write_timeout(Some(TIMEOUT)).map_err(FrameError::Io)?;
        match frame::write(&mut self.stream, message) {
            Err(FrameError::Io(e)) if is_timeout(&e) => Err(ClientError::Timeout(TIMEOUT)),
            Err(FrameError::Io(e)) if is_closed(&e) => Err(ClientError::Closed),
            other => Ok(other?),
        }
    }

    /// Ends the connection; a [`Receiver`] that waits in another thread then gets [`ClientError::Closed`].
    pub fn close(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// The half that listens.
pub struct Receiver {
    stream: UnixStream,
    inbox: Inbox,
}

impl Receiver {
    /// Waits for the next frame, however long it takes.
    #[expect(clippy::should_implement_trait, reason = "after an error there is no next one, so this is no iterator")]
    pub fn next(&mut self) -> Result<FromEngine, ClientError> {
        loop {
            if let Some(frame) = self.read(None)? {
                return Ok(frame);
            }
        }
    }

    /// The next frame, or `None` if none is complete in that time.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<FromEngine>, ClientError> {
        // Zero would mean to wait for ever.
        self.read(Some(timeout.max(Duration::from_millis(1))))
    }

    fn read(&mut self, timeout: Option<Duration>) -> Result<Option<FromEngine>, ClientError> {
        self.stream.set_read_timeout(timeout).map_err(FrameError::Io)?;
        match self.inbox.next(&mut self.stream) {
            Ok(Some(frame)) => Ok(Some(frame)),
            Ok(None) => Err(ClientError::Closed),
            Err(FrameError::Io(e)) if is_timeout(&e) => Ok(None),
            Err(FrameError::Io(e)) if is_closed(&e) => Err(ClientError::Closed),
            Err(e) => Err(e.into()),
        }
    }
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn is_closed(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// An engine of a few lines: `answer` says what goes back for each request; `None` closes.
    fn engine(
        answer: impl Fn(ToEngine) -> Option<Vec<FromEngine>> + Send + 'static,
    ) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<()>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut inbox = Inbox::default();
            while let Ok(Some(request)) = inbox.next::<ToEngine>(&mut stream) {
                let Some(frames) = answer(request) else { return };
                for frame in frames {
                    frame::write(&mut stream, &frame).unwrap();
                }
            }
        });
        (dir, socket, thread)
    }

    fn reply(id: u64, reply: Reply) -> FromEngine {
        FromEngine::Reply { id, reply: Ok(reply) }
    }

    fn hello(id: u64) -> FromEngine {
        reply(id, Reply::Hello { version: "9.9".into(), pid: 42 })
    }

    #[test]
    fn replies_find_their_request_and_pushes_are_kept() {
        let (_dir, socket, thread) = engine(|ToEngine { id, request }| {
            Some(match request {
                Request::Hello { .. } => vec![hello(id)],
                Request::Watch { .. } => {
                    let bye = |reason: &str| FromEngine::Push(Push::Bye { reason: reason.into() });
                    vec![bye("one"), reply(id - 1, Reply::Done), reply(id, Reply::Done), bye("two")]
                }
                _ => vec![FromEngine::Reply { id, reply: Err("no such run".into()) }],
            })
        });
        let mut client = Client::connect(&socket).unwrap();
        assert_eq!((client.engine_version.as_str(), client.engine_pid), ("9.9", 42));
        assert_eq!(client.request(&Request::Watch { run: None }).unwrap(), Reply::Done);
        let push = client.next_push(TIMEOUT).unwrap();
        assert_eq!(push, Some(Push::Bye { reason: "one".into() }));
        let error = client.request(&Request::Runs).unwrap_err();
        assert_eq!(error.to_string(), "no such run");
        assert_eq!(client.next_push(TIMEOUT).unwrap(), Some(Push::Bye { reason: "two".into() }));
        assert_eq!(client.next_push(Duration::from_millis(5)).unwrap(), None);

        let (mut sender, mut receiver, held) = client.split();
        assert!(held.is_empty());
        let id = sender.send(&Request::Runs).unwrap();
        assert!(matches!(receiver.next().unwrap(), FromEngine::Reply { id: of, .. } if of == id));
        sender.close();
        assert!(matches!(receiver.next(), Err(ClientError::Closed)));
        thread.join().unwrap();
    }

    #[test]
    fn no_engine_a_silent_one_and_a_dead_one_each_have_their_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let sentence = |e: Result<Client, ClientError>| e.err().map(|e| e.to_string()).unwrap();
        assert!(sentence(Client::connect(&socket)).contains("kiln engine start"));
        drop(UnixListener::bind(&socket).unwrap());
        assert!(sentence(Client::connect(&socket)).contains("kiln engine start"), "a socket left behind");

        let (_dir, socket, _thread) = engine(|_| Some(vec![]));
        let silent = Client::connect_within(&socket, Duration::from_millis(20));
        assert!(matches!(silent, Err(ClientError::Timeout(_))));
        let (_dir, socket, _thread) = engine(|_| None);
        assert!(matches!(Client::connect(&socket), Err(ClientError::Closed)));
    }

    #[test]
    fn an_engine_of_another_version_says_how_to_restart_it() {
        assert_eq!(refusal(&Request::Hello { wire: WIRE_VERSION, version: "x".into() }, "y"), None);
        assert!(refusal(&Request::Runs, "y").is_some());
        let (_dir, socket, _thread) = engine(|ToEngine { id, .. }| {
            let other = Request::Hello { wire: WIRE_VERSION + 1, version: "0.2.0".into() };
            Some(vec![FromEngine::Reply { id, reply: Err(refusal(&other, "0.1.0").unwrap()) }])
        });
        let Err(ClientError::Refused(sentence)) = Client::connect(&socket) else { panic!("not refused") };
        assert!(sentence.contains("`kiln engine stop`, then `kiln engine start`") && sentence.contains("0.2.0"));
    }
}
