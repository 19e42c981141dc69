//! How commands end other than well, and what the shell is told.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use kiln_protocol::client::ClientError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// A mistake of the user's: sentences, one a line. Exit code 2.
    Input(String),
    /// A run that was waited for has failed; it has been said already why. Exit code 1.
    RunFailed,
    /// A run that was waited for was stopped; said already. Exit code 3.
    RunStopped,
    /// No engine, or none that this client can talk to. Exit code 4.
    Engine(String),
    /// Interrupted while waiting; said already. Exit code 130, as shells have it for SIGINT.
    Interrupted,
    /// Whoever read the output has gone away: nothing to say, and nobody to say it to. Exit code 141, as for SIGPIPE.
    Pipe,
    /// What nobody thought of. Exit code 1.
    Unexpected(color_eyre::Report),
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn input(said: impl Display) -> Failure {
        Failure::Input(said.to_string())
    }

    /// Says it on standard error and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (code, said) = match self {
            Failure::Input(said) => (2, Some(said)),
            Failure::RunFailed => (1, None),
            Failure::RunStopped => (3, None),
            Failure::Engine(said) => (4, Some(said)),
            Failure::Interrupted => (130, None),
            Failure::Pipe => (141, None),
            Failure::Unexpected(report) => (1, Some(format!("{report:?}"))),
        };
        if let Some(said) = said {
            note(said);
        }
        ExitCode::from(code)
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Failure {
        match e {
            ClientError::Engine(said) => Failure::Input(said),
            other => Failure::Engine(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Failure {
        Failure::Unexpected(e.into())
    }
}

/// Prints a text and a newline on standard output.
pub fn say(text: impl Display) -> Outcome {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::Pipe,
        _ => Failure::Unexpected(color_eyre::eyre::eyre!("cannot write to standard output: {e}")),
    })
}

/// Prints a value as indented JSON on standard output.
pub fn say_json(value: &impl serde::Serialize) -> Outcome {
    say(serde_json::to_string_pretty(value)?)
}

/// Prints a line on standard error. That nobody reads it is no reason to fail.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
