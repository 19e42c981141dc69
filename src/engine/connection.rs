//! One client: who it is, its requests, and what is pushed to it.
//!
//! A task reads requests and answers them one after another, another writes. Pushes wait in the client's [`Outbox`], so
//! neither the engine nor the other clients ever wait for a socket.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_protocol::client::refusal;
use kiln_protocol::frame::{self, FrameError};
use kiln_protocol::wire::{FromEngine, Push, Reply, Request, ToEngine};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};

use crate::outbox::Outbox;

/// Time that a new connection has to say hello; what sends nothing must not keep an idle engine alive.
const HELLO: Duration = Duration::from_secs(10);

/// How long a client that reads nothing may block its own connection before it is cut off.
const STUCK: Duration = Duration::from_secs(120);

/// What the engine and a connection share.
#[derive(Debug, Default)]
pub struct Client {
    outbox: Mutex<Outbox>,
    wake: Notify,
    bye: Mutex<Option<String>>,
}

impl Client {
    /// Changes the outbox; the writer is woken if there is something to send.
    pub fn put<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R {
        let mut outbox = lock(&self.outbox);
        let result = change(&mut outbox);
        if !outbox.is_empty() || outbox.overrun() {
            self.wake.notify_one();
        }
        result
    }

    /// Ends the connection once everything before was sent.
    pub fn bye(&self, reason: &str) {
        *lock(&self.bye) = Some(reason.into());
        self.wake.notify_one();
    }
}

/// A panic while holding one of these locks leaves plain data behind, good enough to go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever answers requests.
pub trait Answer {
    /// The client has been let in.
    fn arrive(&self) -> impl Future<Output = ()> + Send;

    fn answer(&self, request: Request) -> impl Future<Output = Result<Reply, String>> + Send;
}

/// Serves one connection to its end.
pub async fn serve(stream: UnixStream, client: &Client, answer: impl Answer) {
    if let Err(e) = serve_inner(stream, client, answer).await {
        // A client that went away in mid-sentence is nothing to worry about.
        tracing::debug!("a connection ended: {e}");
    }
}

async fn serve_inner(stream: UnixStream, client: &Client, answer: impl Answer) -> Result<(), FrameError> {
    let mine = nix::unistd::geteuid().as_raw();
    let theirs = stream.peer_cred()?.uid();
    let (mut reader, mut writer) = stream.into_split();
    if theirs != mine {
        tracing::warn!("refused a connection of user {theirs}: this engine belongs to user {mine}");
        let refusal = format!("this engine belongs to another user (uid {mine}, you are {theirs})");
        return write_frame(&mut writer, &FromEngine::Reply { id: 0, reply: Err(refusal) }).await;
    }
    let mut inbox = Vec::new();
    let Ok(first) = tokio::time::timeout(HELLO, read_request(&mut reader, &mut inbox)).await else { return Ok(()) };
    let Some(first) = first? else { return Ok(()) };
    let version = env!("CARGO_PKG_VERSION");
    let reply = match refusal(&first.request, version) {
        None => Ok(Reply::Hello { version: version.into(), pid: std::process::id() }),
        Some(sentence) => Err(sentence),
    };
    let refused = reply.is_err();
    write_frame(&mut writer, &FromEngine::Reply { id: first.id, reply }).await?;
    if refused {
        return Ok(());
    }
    answer.arrive().await;
    let (replies, mut to_write) = mpsc::channel::<FromEngine>(1);
    let read = async move {
        while let Some(ToEngine { id, request }) = read_request(&mut reader, &mut inbox).await? {
            let reply = match request {
                Request::Hello { .. } => Err("hello was said already".into()),
                request => answer.answer(request).await,
            };
            if replies.send(FromEngine::Reply { id, reply }).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let write = async move {
        loop {
            let reply = tokio::select! {
                biased;
                reply = to_write.recv() => match reply {
                    Some(reply) => Some(reply),
                    None => return Ok(()),
                },
                () = client.wake.notified() => None,
            };
            if let Some(reply) = reply {
                write_in_time(&mut writer, &reply).await?;
                continue;
            }
            while let Some(push) = client.put(Outbox::next) {
                write_in_time(&mut writer, &FromEngine::Push(push)).await?;
                // A reply must not wait behind a long backlog.
                if let Ok(reply) = to_write.try_recv() {
                    write_in_time(&mut writer, &reply).await?;
                }
            }
            let slow = "this connection was too slow for the run's log; connect again for a new snapshot";
            let overrun = client.put(|o| o.overrun()).then(|| slow.to_string());
            if let Some(reason) = overrun.or_else(|| lock(&client.bye).take()) {
                if let Ok(reply) = to_write.try_recv() {
                    write_in_time(&mut writer, &reply).await?;
                }
                write_in_time(&mut writer, &FromEngine::Push(Push::Bye { reason })).await?;
                return Ok(());
            }
        }
    };
    tokio::select! {
        end = read => end,
        end = write => end,
    }
}

/// The next request; `None` when the client has gone. `inbox` keeps what has arrived of the one after.
async fn read_request(
    reader: &mut (impl AsyncRead + Unpin),
    inbox: &mut Vec<u8>,
) -> Result<Option<ToEngine>, FrameError> {
    loop {
        if let Some((message, used)) = frame::decode(inbox)? {
            inbox.drain(..used);
            return Ok(Some(message));
        }
        // Grows as bytes arrive: a length alone must not make the engine allocate.
        if reader.read_buf(inbox).await? == 0 {
            return if inbox.is_empty() { Ok(None) } else { Err(FrameError::Torn) };
        }
    }
}

async fn write_in_time(writer: &mut (impl AsyncWrite + Unpin), frame: &FromEngine) -> Result<(), FrameError> {
    match tokio::time::timeout(STUCK, write_frame(writer, frame)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing").into()),
    }
}

async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), frame: &FromEngine) -> Result<(), FrameError> {
    let bytes = match (frame::encode(frame), frame) {
        (Err(e @ FrameError::TooLong { .. }), FromEngine::Reply { id, .. }) => {
            frame::encode(&FromEngine::Reply { id: *id, reply: Err(e.to_string()) })?
        }
        (bytes, _) => bytes?,
    };
    Ok(writer.write_all(&bytes).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::{Body, Event, Level, RunId, WIRE_VERSION};
    use std::sync::Arc;

    struct Echo;

    impl Answer for Echo {
        async fn arrive(&self) {}

        async fn answer(&self, request: Request) -> Result<Reply, String> {
            match request {
                Request::Runs => Ok(Reply::Runs { runs: vec![] }),
                other => Err(format!("{other:?}")),
            }
        }
    }

    fn block_on<R>(future: impl Future<Output = R>) -> R {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    async fn send(stream: &mut UnixStream, id: u64, request: Request) {
        let bytes = serde_json::to_vec(&ToEngine { id, request }).unwrap();
        stream.write_all(&(bytes.len() as u32).to_be_bytes()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }

    async fn receive(stream: &mut UnixStream) -> Option<FromEngine> {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).await.unwrap();
        Some(serde_json::from_slice(&frame).unwrap())
    }

    fn connect(client: &Arc<Client>) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let client = client.clone();
        tokio::spawn(async move { serve(theirs, &client, Echo).await });
        ours
    }

    fn hello(wire: u32) -> Request {
        Request::Hello { wire, version: "9.9.9".into() }
    }

    #[test]
    fn another_version_is_told_what_to_do_and_let_go() {
        block_on(async {
            let mut stream = connect(&Arc::default());
            send(&mut stream, 7, hello(WIRE_VERSION + 1)).await;
            let Some(FromEngine::Reply { id: 7, reply: Err(error) }) = receive(&mut stream).await else { panic!() };
            assert!(error.contains("9.9.9") && error.contains("kiln engine stop"), "{error}");
            assert!(receive(&mut stream).await.is_none(), "the connection has ended");
        });
    }

    #[test]
    fn hello_comes_first() {
        block_on(async {
            let mut stream = connect(&Arc::default());
            send(&mut stream, 1, Request::Runs).await;
            let reply = receive(&mut stream).await;
            assert!(matches!(reply, Some(FromEngine::Reply { id: 1, reply: Err(_) })), "{reply:?}");
            assert!(receive(&mut stream).await.is_none());
        });
    }

    #[test]
    fn answers_and_pushes_share_a_connection_until_the_engine_says_bye() {
        block_on(async {
            let client: Arc<Client> = Arc::default();
            let mut stream = connect(&client);
            send(&mut stream, 1, hello(WIRE_VERSION)).await;
            assert!(matches!(receive(&mut stream).await, Some(FromEngine::Reply { id: 1, reply: Ok(_) })));
            client.put(|o| o.watch(Some(RunId("a".into()))));
            let body = Body::Log { level: Level::Info, message: "hello".into() };
            client.put(|o| o.put_event(&Event { seq: 1, t: 0.0, body }));
            let push = receive(&mut stream).await;
            assert!(
                matches!(&push, Some(FromEngine::Push(Push::Events { events, .. })) if events.len() == 1),
                "{push:?}"
            );
            send(&mut stream, 2, Request::Runs).await;
            assert!(matches!(receive(&mut stream).await, Some(FromEngine::Reply { id: 2, reply: Ok(_) })));
            send(&mut stream, 3, Request::Status).await;
            assert!(matches!(receive(&mut stream).await, Some(FromEngine::Reply { id: 3, reply: Err(_) })));
            client.bye("the engine stops");
            let bye = receive(&mut stream).await;
            assert!(matches!(&bye, Some(FromEngine::Push(Push::Bye { .. }))), "{bye:?}");
            assert!(receive(&mut stream).await.is_none());
        });
    }

    #[test]
    fn nonsense_ends_the_connection_and_nothing_else() {
        block_on(async {
            let mut stream = connect(&Arc::default());
            stream.write_all(&[0xff; 64]).await.unwrap();
            assert!(receive(&mut stream).await.is_none());
        });
    }
}
