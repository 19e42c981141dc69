//! The engine's life: take the home, open the socket, serve, leave.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_protocol::RunId;
use kiln_protocol::home::HomeError;
use kiln_protocol::past;
use kiln_protocol::spool::RunFolder;
use kiln_protocol::wire::{Reply, Request, Series};
use kiln_store::{Store, StoreError};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::advice;
use crate::clocks::Shelf;
use crate::connection::{self, Answer, Client};
use crate::devices::{Gpus, cpu_slots};
use crate::engine::{Engine, Msg, TICK};
use crate::ingest::Ingest;
use crate::options::Options;
use crate::telemetry::{Telemetry, cores};

/// Messages that may wait for the engine's task; whoever sends more waits, which only slows the sender down.
const INBOX: usize = 256;

/// Connections at a time. Far more than one person has terminals; a program gone wild stops here.
const MAX_CLIENTS: usize = 200;

/// How long clients have to hear the engine's goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why an engine could not serve.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Among others: another engine owns the home, with its pid.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the engine cannot listen at {path}: {source}")]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("{path} is in the way of the engine's socket and is none; remove it")]
    InTheWay { path: PathBuf },
    #[error("the engine cannot start {what}: {source}")]
    Start { what: &'static str, source: std::io::Error },
}

/// Owns the home and serves until told to end (request, SIGTERM, SIGINT, idleness). Workers go on after that; the next
/// engine adopts them.
///
/// # Errors
/// Before anything was served: the home cannot be used, another engine owns it, the socket cannot be opened.
pub fn serve(options: Options) -> Result<(), EngineError> {
    if options.detach {
        // Fails only where this process leads a group already, that is, was started from a shell by hand.
        let _ = nix::unistd::setsid();
    }
    options.home.create()?;
    // What was found wrong with it, and repaired, is in the log already.
    let (store, _) = Store::open(&options.home.store_dir())?;
    let store = Arc::new(store);
    let socket = options.home.socket();
    let listener = bind(&socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| EngineError::Start { what: "its event loop", source })?;
    let served = runtime.block_on(run(options, store.clone(), listener));
    drop(runtime);
    // The store's lock is still held, so whatever lies there is ours.
    let _ = std::fs::remove_file(&socket);
    drop(store);
    served
}

/// Opens the socket for this user alone. The store's lock is held, so a socket that lies there belongs to nobody.
fn bind(path: &Path) -> Result<StdListener, EngineError> {
    let error = |source| EngineError::Socket { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path).map_err(error)?,
        Ok(_) => return Err(EngineError::InTheWay { path: path.to_owned() }),
        Err(_) => {}
    }
    let listener = StdListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    Ok(listener)
}

async fn run(options: Options, store: Arc<Store>, listener: StdListener) -> Result<(), EngineError> {
    let start = |what| move |source| EngineError::Start { what, source };
    let listener = UnixListener::from_std(listener).map_err(start("listening"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(start("its signal handlers"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(start("its signal handlers"))?;
    // A terminal that goes away is no reason to end.
    let mut hangup = signal(SignalKind::hangup()).map_err(start("its signal handlers"))?;

    let (inbox, mut messages) = mpsc::channel(INBOX);
    let gpus = Gpus::find();
    let devices: Vec<_> = gpus.devices().into_iter().chain(cpu_slots(options.cpu_slots, cores())).collect();
    for named in &devices {
        tracing::info!("device {}: {}", named.device, named.name);
    }
    let figures = inbox.clone();
    let send = move |system| match figures.try_send(Msg::System(system)) {
        // Figures that nobody has time for are not worth waiting for.
        Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
    };
    let telemetry =
        Telemetry::start(options.home.root().to_owned(), gpus, send).map_err(start("its telemetry thread"))?;
    let ingest =
        Ingest::start(options.home.clone(), store.clone(), inbox.clone()).map_err(start("its ingest thread"))?;
    let clocks = Arc::new(Shelf::default());
    let sizes = store.clone();
    let size = Box::new(move || sizes.bytes_on_disk());
    tracing::info!("engine {} serves {}", env!("CARGO_PKG_VERSION"), options.home.root().display());
    let mut engine = Engine::new(options, devices, ingest, telemetry, inbox.clone(), size);

    let mut connections = JoinSet::new();
    let mut next_client = 0;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while engine.ending().is_none() {
        tokio::select! {
            Some(message) = messages.recv() => engine.handle(message),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CLIENTS => {
                    next_client += 1;
                    let door = Door {
                        client: next_client,
                        shared: Arc::default(),
                        inbox: inbox.clone(),
                        store: store.clone(),
                        clocks: clocks.clone(),
                    };
                    connections.spawn(door.serve(stream));
                }
                Ok(_) => tracing::warn!("refused a connection: {MAX_CLIENTS} are open already"),
                Err(e) => {
                    tracing::warn!("cannot accept a connection: {e}");
                    // As a rule too many open files; at once it would fail again.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = tick.tick() => engine.handle(Msg::Tick),
            _ = terminate.recv() => engine.end("SIGTERM"),
            _ = interrupt.recv() => engine.end("SIGINT"),
            _ = hangup.recv() => {}
        }
    }
    tracing::info!("the engine ends: {}; workers go on", engine.ending().unwrap_or_default());
    engine.bye();
    let goodbye = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    drop(messages);
    engine.into_ingest().end();
    Ok(())
}

/// Most states of a view in one answer: more than a screen has lines, and far from the largest frame.
const PAST: usize = 256;

/// What one connection knows of the engine.
struct Door {
    client: u64,
    shared: Arc<Client>,
    inbox: mpsc::Sender<Msg>,
    store: Arc<Store>,
    clocks: Arc<Shelf>,
}

impl Door {
    async fn serve(self, stream: tokio::net::UnixStream) {
        let (inbox, client) = (self.inbox.clone(), self.client);
        let shared = self.shared.clone();
        connection::serve(stream, &shared, self).await;
        let _ = inbox.send(Msg::Disconnected { client }).await;
    }

    /// Everything about a run, with its views or without.
    async fn detail(&self, run: RunId, views: bool) -> Result<Reply, String> {
        let reply = self.ask(Request::Run { run: run.clone() }).await?;
        let Reply::Run { run: mut detail } = reply else { return Ok(reply) };
        let folder = detail.folder.clone();
        let read = move |s: &Store| {
            let read = if views { s.detail(&run, folder.as_ref()) } else { s.brief(&run, folder.as_ref()) };
            known(read)
        };
        let Some(stored) = self.read(read).await? else { return Ok(Reply::Run { run: detail }) };
        (detail.series, detail.views, detail.outcome) = (stored.series, stored.views, stored.outcome);
        detail.marks = stored.marks;
        Ok(Reply::Run { run: detail })
    }

    async fn ask(&self, request: Request) -> Result<Reply, String> {
        let (reply, answer) = oneshot::channel();
        let ending = || "the engine is ending; the next one knows all runs".to_string();
        self.inbox.send(Msg::Request { client: self.client, request, reply }).await.map_err(|_| ending())?;
        answer.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Reads from the store without keeping anybody else waiting.
    async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, String> {
        let store = self.store.clone();
        let result = tokio::task::spawn_blocking(move || read(&store)).await;
        result.map_err(|e| format!("reading the store failed: {e}"))?.map_err(|e| e.to_string())
    }
}

/// What the store says of a run; `None` if it has not heard of it yet, as of one that was launched a moment ago.
fn known<R>(answer: Result<R, StoreError>) -> Result<Option<R>, StoreError> {
    match answer {
        Err(StoreError::NoRun(_)) => Ok(None),
        other => other.map(Some),
    }
}

impl Answer for Door {
    async fn arrive(&self) {
        let _ = self.inbox.send(Msg::Connected { client: self.client, shared: self.shared.clone() }).await;
    }

    async fn answer(&self, request: Request) -> Result<Reply, String> {
        match request {
            Request::Series { run, names, from, to, columns } => {
                let one = move |store: &Store, name: String| match store.series(&run, &name, from, to, columns) {
                    // It may come yet, as may the run that was just launched; a chart that is empty says so.
                    Err(StoreError::NoSeries { .. } | StoreError::NoRun(_)) => Ok(Series { name, ..Series::default() }),
                    other => other,
                };
                let series = self.read(move |s| names.into_iter().map(|name| one(s, name)).collect()).await?;
                Ok(Reply::Series { series })
            }
            Request::Clock { run, names } => {
                let Reply::Run { run } = self.ask(Request::Run { run }).await? else { return Ok(Reply::Done) };
                let shelf = self.clocks.clone();
                let read = tokio::task::spawn_blocking(move || shelf.of(&run, &names)).await;
                let clocks = read.map_err(|e| format!("reading the events failed: {e}"))??;
                Ok(Reply::Clock { clocks })
            }
            Request::Events { run, after, limit, tail } => {
                let of = run.clone();
                let events = self.read(move |s| known(s.events(&of, after, limit, tail))).await?;
                if events.is_none() {
                    self.ask(Request::Run { run }).await?;
                }
                Ok(Reply::Events { events: events.unwrap_or_default() })
            }
            Request::Run { run } => self.detail(run, true).await,
            Request::Brief { run } => self.detail(run, false).await,
            Request::Past { run, view, most } => {
                let reply = self.ask(Request::Run { run }).await?;
                let Reply::Run { run } = reply else { return Ok(reply) };
                let read =
                    move || past::read(&RunFolder::new(Path::new(&run.folder)), &view, (most as usize).min(PAST));
                let read = tokio::task::spawn_blocking(read).await;
                let states = read.map_err(|e| format!("reading the events failed: {e}"))?.map_err(|e| e.to_string())?;
                Ok(Reply::Past { states })
            }
            Request::Advice { run } => {
                let Reply::Status { status } = self.ask(Request::Status).await? else { return Ok(Reply::Done) };
                let asked = match &run {
                    Some(run) => Request::Run { run: run.clone() },
                    None => Request::Runs,
                };
                let runs = match self.ask(asked).await? {
                    Reply::Run { run } => vec![run.summary],
                    Reply::Runs { runs } => runs.into_iter().filter(|r| r.state.is_live()).collect(),
                    other => return Ok(other),
                };
                let advice = self.read(move |s| advice::about(s, &runs, &status, run.as_ref())).await?;
                Ok(Reply::Advice { advice })
            }
            request => self.ask(request).await,
        }
    }
}
