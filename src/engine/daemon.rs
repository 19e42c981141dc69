//! The engine as seen from outside: start one if none runs, stop one.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kiln_protocol::client::{Client, ClientError};
use kiln_protocol::home::{Home, HomeError};
use kiln_protocol::spool::process_start_time;
use kiln_protocol::wire::Request;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;

/// A log longer than this is put aside when the next engine starts, and the one put aside before is forgotten.
const MAX_LOG: u64 = 8 << 20;

/// Between two looks whether an engine has come up or gone.
const LOOK: Duration = Duration::from_millis(10);

/// How often another engine is started if one ends at once, as it does while its predecessor still owns the home.
const ATTEMPTS: u32 = 4;

/// How an engine is started.
#[derive(Clone, Debug)]
pub struct Start {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// How long it may take until it answers. Opening a store that was not closed properly takes a moment.
    pub wait: Duration,
}

impl Start {
    /// This program as `engine start --foreground`.
    ///
    /// # Errors
    /// The system does not say which program this is.
    pub fn this_program() -> std::io::Result<Start> {
        let arguments = ["engine", "start", "--foreground"].map(OsString::from).to_vec();
        Ok(Start { program: std::env::current_exe()?, arguments, wait: Duration::from_secs(20) })
    }
}

/// Why no engine could be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Home(#[from] HomeError),
    /// There is one, but it cannot be talked to (such as another version).
    #[error(transparent)]
    Client(ClientError),
    #[error("the engine's log {path} cannot be written: {source}")]
    Log { path: PathBuf, source: std::io::Error },
    #[error("cannot start the engine {program}: {source}")]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("the engine ended right after its start: {said} (log: {log})")]
    Ended { said: String, log: PathBuf },
    #[error("the engine has not answered within {} s of its start; see its log {log}", .wait.as_secs())]
    Silent { wait: Duration, log: PathBuf },
    #[error("the engine with pid {pid} has not ended within {} s; `kill {pid}` ends it, runs go on", .wait.as_secs())]
    StillThere { pid: u32, wait: Duration },
    #[error("the engine with pid {pid} cannot be told to end: {source}")]
    Signal { pid: u32, source: nix::Error },
}

/// Connects to the engine of `home`; starts one in the background if there is none, and waits until it answers.
///
/// The engine gets a session of its own (it outlives the terminal), the home's log file, and `KILN_HOME`.
pub fn ensure_running(home: &Home, start: &Start) -> Result<Client, DaemonError> {
    match Client::connect(&home.socket()) {
        Err(ClientError::NotRunning { .. }) => {}
        other => return other.map_err(DaemonError::Client),
    }
    home.create()?;
    let log = home.log_file();
    let deadline = Instant::now() + start.wait;
    let mut attempts = 1;
    let (mut child, mut log_from) = spawn(home, start)?;
    loop {
        match Client::connect(&home.socket()) {
            Err(ClientError::NotRunning { .. }) => {}
            other => return other.map_err(DaemonError::Client),
        }
        if let Ok(Some(_)) = child.try_wait() {
            // Perhaps somebody else's engine came first, or the one before is just going: look again before giving up.
            sleep(Duration::from_millis(150));
            if Client::connect(&home.socket()).is_err() {
                if attempts == ATTEMPTS {
                    return Err(DaemonError::Ended { said: last_line(&log, log_from), log });
                }
                attempts += 1;
                (child, log_from) = spawn(home, start)?;
            }
        }
        if Instant::now() > deadline {
            return Err(DaemonError::Silent { wait: start.wait, log });
        }
        sleep(LOOK);
    }
}

fn spawn(home: &Home, start: &Start) -> Result<(Child, u64), DaemonError> {
    let path = home.log_file();
    let log_error = |source| DaemonError::Log { path: path.clone(), source };
    if std::fs::metadata(&path).is_ok_and(|m| m.len() > MAX_LOG) {
        std::fs::rename(&path, path.with_extension("log.1")).map_err(log_error)?;
    }
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(log_error)?;
    let from = log.metadata().map_or(0, |m| m.len());
    let errors = log.try_clone().map_err(log_error)?;
    let child = Command::new(&start.program)
        .args(&start.arguments)
        .current_dir("/")
        .env("KILN_HOME", home.root())
        .env("KILN_ENGINE_DETACHED", "1")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|source| DaemonError::Spawn { program: start.program.clone(), source })?;
    Ok((child, from))
}

/// The last line that says something, from byte `from` of a log on.
fn last_line(log: &Path, from: u64) -> String {
    let mut text = String::new();
    let read = std::fs::File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.take(64 << 10).read_to_string(&mut text)
    });
    let line = text.lines().rev().map(str::trim).find(|l| !l.is_empty());
    match (read, line) {
        (Ok(_), Some(line)) => line.to_owned(),
        _ => "it said nothing".to_owned(),
    }
}

/// Ends the engine of `home`, also one of another version; runs go on. `false` if there was none.
pub fn stop(home: &Home, wait: Duration) -> Result<bool, DaemonError> {
    let socket = home.socket();
    let owner = listener(&socket);
    let pid = match Client::connect(&socket) {
        Ok(mut client) => match client.request(&Request::Shutdown) {
            // It may be gone before its answer is read.
            Ok(_) | Err(ClientError::Closed) => client.engine_pid,
            Err(e) => return Err(DaemonError::Client(e)),
        },
        Err(ClientError::NotRunning { .. }) => return Ok(false),
        // One that this program cannot talk to understands a signal.
        Err(e) => {
            let Some(pid) = owner else { return Err(DaemonError::Client(e)) };
            kill(Pid::from_raw(pid as i32), Signal::SIGTERM).map_err(|source| DaemonError::Signal { pid, source })?;
            pid
        }
    };
    let process = process_start_time(pid);
    let deadline = Instant::now() + wait;
    // Until the process has gone, and the store's lock with it, so that a new engine can be started at once.
    while process.is_some() && process_start_time(pid) == process {
        if Instant::now() > deadline {
            return Err(DaemonError::StillThere { pid, wait });
        }
        sleep(LOOK);
    }
    Ok(true)
}

/// The process that listens at a socket, as the system knows it.
fn listener(socket: &Path) -> Option<u32> {
    let stream = UnixStream::connect(socket).ok()?;
    let credentials = getsockopt(&stream, PeerCredentials).ok()?;
    u32::try_from(credentials.pid()).ok().filter(|pid| *pid != 0)
}
