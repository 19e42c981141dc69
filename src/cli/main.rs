//! `kiln`: the command line, and the door to the workbench.
//!
//! - [`args`]: what there is, and its help
//! - [`workbench`]: `kiln` alone: the full-screen client
//! - [`run`], [`follow`]: launching a preset, watching it to its end
//! - [`list`], [`inspect`], [`plot`], [`views`]: `ls`, `presets`, `show`, `plot`, `tail`
//! - [`compare`], [`diff`]: runs side by side; what settings differ
//! - [`jobs`]: experiments: their jobs' rows, bars and logs
//! - [`control`]: `pause`, `resume`, `stop`, `set`, `rm`; [`tag`]: `tag`, `note`
//! - [`check`], [`estimate`], [`images`]: `check` and `schema`; sizes and times before any training
//! - [`quantised`]: what widening and squeezing trains
//! - [`presets`]: finding and checking presets
//! - [`engines`], [`engine`]: reaching the engine; `engine start|stop|status|rebuild`
//! - [`spaces`]: `spaces`, `latency`
//! - [`keys`]: keys of the workbench
//! - [`export`], [`import`], [`draw`], [`report`]: files for other programs, bundles, plots, pages
//! - [`repro`], [`settings`]: what a run was made of, and how to repeat it
//! - [`doctor`]: everything Kiln needs, looked at
//! - [`human`], [`terminal`], [`failure`]: figures, tables, sentences, exit codes
//!
//! Everything here blocks and asks the engine over its socket; no runtime is started, so that `kiln ls` is instant.

#![forbid(unsafe_code)]

mod args;
mod check;
mod compare;
mod control;
mod diff;
mod doctor;
mod draw;
mod engine;
mod engines;
mod estimate;
mod export;
mod failure;
mod follow;
mod human;
mod images;
mod import;
mod inspect;
mod jobs;
mod keys;
mod launcher;
mod list;
mod plot;
mod predict;
mod presets;
mod quantised;
mod report;
mod repro;
mod retrain;
mod run;
mod settings;
mod spaces;
mod tag;
mod terminal;
mod views;
mod workbench;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use color_eyre::config::{HookBuilder, Theme};
use kiln_protocol::spec::problem::nearest;

use crate::args::{Cli, Command};
use crate::engines::Engines;
use crate::failure::{Failure, Outcome, say};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(error),
    };
    reports(&cli);
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What clap says of a command line that it cannot read. Its own measure of likeness passes over short words: `rn`.
fn misread(mut error: clap::Error) -> ExitCode {
    let given = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(given)) if error.get(ContextKind::SuggestedSubcommand).is_none() => given.clone(),
        _ => error.exit(),
    };
    let command = Cli::command();
    if let Some(near) = nearest(&given, command.get_subcommands().map(clap::Command::get_name)) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![near.to_owned()]));
    }
    error.exit()
}

/// Reports of what nobody thought of. In the engine's log a panic's own two lines say more than a picture of it.
fn reports(cli: &Cli) {
    if matches!(cli.command, Some(Command::Engine(args::Engine::Start { foreground: true }))) {
        return;
    }
    let theme = if std::io::stderr().is_terminal() { Theme::dark() } else { Theme::new() };
    // A second installation would be refused; reports are then only plainer.
    let _ = HookBuilder::default().theme(theme).display_env_section(false).install();
}

fn dispatch(cli: &Cli) -> Outcome {
    let engines = Engines::new(cli.socket.clone());
    match &cli.command {
        None => workbench::open(&engines, &cli.look),
        Some(Command::Run(args)) => run::run(&engines, args),
        Some(Command::Ls(args)) => list::ls(&engines, args),
        Some(Command::Presets(args)) => list::presets(args),
        Some(Command::Spaces(args)) => spaces::spaces(args),
        Some(Command::Latency(args)) => spaces::latency(args),
        Some(Command::Show(args)) => list::show(&engines, args),
        Some(Command::Compare(args)) => compare::compare(&engines, args),
        Some(Command::Diff(args)) => diff::diff(&engines, args),
        Some(Command::Retrain(args)) => retrain::retrain(&engines, args),
        Some(Command::Export(args)) => export::export(&engines, args),
        Some(Command::Import(args)) => import::import(&engines, args),
        Some(Command::Report(args)) => report::report(&engines, args),
        Some(Command::Repro(args)) => repro::repro(&engines, args),
        Some(Command::Predict(args)) => predict::predict(&engines, args),
        Some(Command::Plot(args)) => inspect::plot(&engines, args),
        Some(Command::Tail(args)) => inspect::tail(&engines, args),
        Some(Command::Pause(args)) => control::pause(&engines, args),
        Some(Command::Resume(args)) => control::resume(&engines, args),
        Some(Command::Stop(args)) => control::stop(&engines, args),
        Some(Command::Set(args)) => control::set(&engines, args),
        Some(Command::Tag(args)) => tag::tag(&engines, args),
        Some(Command::Note(args)) => tag::note(&engines, args),
        Some(Command::Rm(args)) => control::rm(&engines, args),
        Some(Command::Check(args)) => check::check(args),
        Some(Command::Keys(args)) => keys::keys(args),
        Some(Command::Doctor(args)) => doctor::doctor(&engines, args),
        Some(Command::Engine(command)) => engine::command(&engines, command),
        Some(Command::Schema(args)) => check::schema(args),
        Some(Command::Completions { shell }) => completions(*shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kiln", &mut script);
    let script = String::from_utf8(script).map_err(|e| Failure::Unexpected(e.into()))?;
    say(script.trim_end())
}
