//! `kiln-worker`: one process for one run. It picks the device, drives the method step by step, writes checkpoints and
//! obeys the run folder's control file.
//!
//! - [`attempt`]: from the folder's name to the exit code
//! - [`drive`]: the loop
//! - [`orders`]: control file and signals
//! - [`outbox`]: events on their way to the run folder
//! - [`keeper`]: when checkpoints are due, and what they hold
//! - [`export`]: networks for other programs; [`predict`]: an assessor asked about architectures
//! - [`record`]: what the run is made of, so that it can be made again
//! - [`latency`]: what the blocks of a space take on a device
//! - [`vitals`], [`doctor`]: signs of life, and what the machine gives
//!
//! Exit codes: 0 completed, 1 failed, 2 wrong usage, 3 stopped on request.

mod attempt;
mod doctor;
mod drive;
mod export;
mod keeper;
mod latency;
mod orders;
mod outbox;
mod predict;
mod record;
mod vitals;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use kiln_methods::runtime::Runtime;

use crate::drive::End;
use crate::orders::Signals;

const USAGE: &str = "usage: kiln-worker RUN-FOLDER | latency | export ... | predict ... | --doctor | --version";

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if let [command, rest @ ..] = arguments.as_slice()
        && command == "export"
    {
        // Opens no CUDA: what is written is computed on the CPU.
        return export::run(rest);
    }
    if let [command, rest @ ..] = arguments.as_slice()
        && command == "predict"
    {
        return predict::run(rest);
    }
    if arguments.as_slice() == ["latency"] {
        return latency::run();
    }
    let [argument] = arguments.as_slice() else {
        complain(format_args!("{USAGE}"));
        return ExitCode::from(2);
    };
    match argument.to_str() {
        Some("--version" | "-V") => {
            tell(format_args!("kiln-worker {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Some("--help" | "-h") => {
            tell(format_args!("{USAGE}"));
            ExitCode::SUCCESS
        }
        Some("--doctor") => {
            tell(format_args!("{}", doctor::report(&Runtime::start())));
            ExitCode::SUCCESS
        }
        Some(option) if option.starts_with('-') => {
            complain(format_args!("kiln-worker has no option {option}; {USAGE}"));
            ExitCode::from(2)
        }
        _ => work(Path::new(argument)),
    }
}

fn work(folder: &Path) -> ExitCode {
    // First of all: opening CUDA may take a second, in which a SIGTERM should not count as a crash.
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => {
            complain(format_args!("kiln-worker: signals cannot be watched: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // Before any thread, and before anything else touches libtorch.
    let runtime = Runtime::start();
    let filter = tracing_subscriber::EnvFilter::try_from_env("KILN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A log that cannot be written (full disk, closed pipe) must not end the run: complaining about it to the same
    // standard error would panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    log.with_writer(std::io::stderr).with_ansi(false).init();
    match attempt::run(folder, &runtime, signals) {
        Ok(End::Completed) => ExitCode::SUCCESS,
        Ok(End::Stopped) => ExitCode::from(3),
        Ok(End::Failed) => ExitCode::FAILURE,
        Err(sentence) => {
            complain(format_args!("kiln-worker: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

/// To standard output; nobody may be listening.
fn tell(text: std::fmt::Arguments) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// To standard error; nobody may be listening.
fn complain(text: std::fmt::Arguments) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
