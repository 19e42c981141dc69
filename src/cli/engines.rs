//! Reaching the engine: at the home's socket, started if need be, or at a socket that the user names.

use std::path::PathBuf;

use kiln_engine::daemon::{self, Start};
use kiln_protocol::advice::Advice;
use kiln_protocol::client::{Client, ClientError};
use kiln_protocol::home::Home;
use kiln_protocol::run::{ResolveError, RunSummary, resolve};
use kiln_protocol::wire::{Reply, Request, RunDetail};
use kiln_protocol::{Event, RunId};

use crate::failure::{Failure, Outcome};
use crate::jobs;

/// Which engine is meant.
#[derive(Clone, Debug)]
pub struct Engines {
    /// A socket that the user named, whose engine is never started from here.
    socket: Option<PathBuf>,
}

impl Engines {
    pub fn new(socket: Option<PathBuf>) -> Engines {
        Engines { socket }
    }

    /// The home, for engines of this machine.
    pub fn home() -> Outcome<Home> {
        Home::from_env().map_err(|e| Failure::Engine(e.to_string()))
    }

    pub fn is_remote(&self) -> bool {
        self.socket.is_some()
    }

    pub fn socket(&self) -> Outcome<PathBuf> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(Engines::home()?.socket()),
        }
    }

    /// A connection to the engine that runs; starts none.
    pub fn reach(&self) -> Result<Client, ClientError> {
        let socket = self.socket().map_err(|_| ClientError::NotRunning { socket: "engine.sock".into() })?;
        Client::connect(&socket)
    }

    /// A connection to the engine, started if there is none (and the user has not named a socket).
    pub fn open(&self) -> Outcome<Client> {
        match self.reach() {
            Err(ClientError::NotRunning { socket }) if self.is_remote() => Err(Failure::Engine(format!(
                "no engine answers at {}; is the forwarding still up, and does an engine run on the other side (`kiln engine status` there)?",
                socket.display()
            ))),
            Err(ClientError::NotRunning { .. }) => start(),
            Err(ClientError::Connect { socket, source }) if !self.is_remote() => {
                // A home that cannot be used is the better explanation.
                Engines::home()?.create().map_err(|e| Failure::Engine(e.to_string()))?;
                Err(ClientError::Connect { socket, source }.into())
            }
            other => Ok(other?),
        }
    }
}

fn start() -> Outcome<Client> {
    let home = Engines::home()?;
    let start = Start::this_program().map_err(|e| {
        Failure::Engine(format!("cannot start an engine: the system does not say which program this is: {e}"))
    })?;
    daemon::ensure_running(&home, &start).map_err(|e| Failure::Engine(e.to_string()))
}

/// All runs, newest first.
pub fn runs(client: &mut Client) -> Outcome<Vec<RunSummary>> {
    match client.request(&Request::Runs)? {
        Reply::Runs { runs } => Ok(runs),
        other => unexpected(&other),
    }
}

/// Everything about one run but its series and log.
pub fn detail(client: &mut Client, run: &RunId) -> Outcome<RunDetail> {
    match client.request(&Request::Run { run: run.clone() })? {
        Reply::Run { run } => Ok(*run),
        other => unexpected(&other),
    }
}

/// As [`detail`], without views: what runs are compared by.
pub fn brief(client: &mut Client, run: &RunId) -> Outcome<RunDetail> {
    match client.request(&Request::Brief { run: run.clone() })? {
        Reply::Run { run } => Ok(*run),
        other => unexpected(&other),
    }
}

/// What is worth doing about a run, or about all live runs and the machine.
pub fn advice(client: &mut Client, run: Option<&RunId>) -> Outcome<Vec<Advice>> {
    match client.request(&Request::Advice { run: run.cloned() })? {
        Reply::Advice { advice } => Ok(advice),
        other => unexpected(&other),
    }
}

/// Log lines and lifecycle events after a sequence number, or the newest ones.
pub fn events(client: &mut Client, run: &RunId, after: u64, limit: u32, tail: bool) -> Outcome<Vec<Event>> {
    match client.request(&Request::Events { run: run.clone(), after, limit, tail })? {
        Reply::Events { events } => Ok(events),
        other => unexpected(&other),
    }
}

/// The run that `asked` means: an id, a beginning of it or of its last part that only one run has, or `last`; with a dot and a
/// number behind it, that job of it.
pub fn find(client: &mut Client, asked: &str) -> Outcome<RunId> {
    let runs = runs(client)?;
    let pick = |asked: &str| pick(asked, runs.iter().map(|r| &r.id)).cloned().map_err(Failure::Input);
    match (pick(asked), jobs::asked(asked)) {
        (Err(_), Some((parent, n))) => jobs::find(client, &pick(parent)?, n),
        (found, _) => found,
    }
}

fn pick<'a>(asked: &str, newest_first: impl Iterator<Item = &'a RunId> + Clone) -> Result<&'a RunId, String> {
    if asked == "last" {
        return newest_first
            .clone()
            .next()
            .ok_or_else(|| "there are no runs yet; start one with `kiln run PRESET`".into());
    }
    resolve(asked, newest_first.clone()).map_err(|e| match e {
        ResolveError::None(_) => {
            let near = kiln_protocol::spec::problem::nearest(asked, newest_first.map(|id| id.0.as_str()));
            let hint = near.map_or_else(|| "`kiln ls` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            format!("there is no run `{asked}`; {hint}")
        }
        other => other.to_string(),
    })
}

/// An answer to another question than was asked: a fault of Kiln, not of the user.
pub fn unexpected<T>(reply: &Reply) -> Outcome<T> {
    Err(Failure::Unexpected(color_eyre::eyre::eyre!(
        "the engine gave an answer that does not belong to the question: {reply:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_id_a_beginning_or_last() {
        let ids: Vec<RunId> = ["dc-nas-k3f7", "dc-nas-a2b4", "train-x"].iter().map(|s| RunId((*s).into())).collect();
        let pick = |asked: &str| pick(asked, ids.iter()).map(|id| id.0.clone());
        assert_eq!(pick("last").unwrap(), "dc-nas-k3f7");
        assert_eq!(pick("train-x").unwrap(), "train-x");
        assert_eq!(pick("tr").unwrap(), "train-x");
        assert_eq!(pick("k3").unwrap(), "dc-nas-k3f7");
        assert_eq!(pick("dc").unwrap_err(), "`dc` may mean dc-nas-a2b4, dc-nas-k3f7; write more of it");
        assert_eq!(pick("dc-nas-k3f8").unwrap_err(), "there is no run `dc-nas-k3f8`; did you mean `dc-nas-k3f7`?");
        assert_eq!(pick("banana").unwrap_err(), "there is no run `banana`; `kiln ls` lists them");
        assert_eq!(pick("").unwrap_err(), "a run's name is missing; `kiln ls` lists them");
        assert!(super::pick("last", [].iter()).unwrap_err().contains("no runs yet"));
    }
}
