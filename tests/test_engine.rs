//! `kiln-test-engine`: the engine and nothing else, as `kiln engine start --foreground` runs it, so that the engine's
//! tests need no other binary. Takes its settings from the environment.

use std::process::ExitCode;

use kiln_engine::Options;
use kiln_protocol::home::Home;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let home = Home::from_env().map_err(|e| e.to_string());
    let served = home.and_then(Options::new).and_then(|o| kiln_engine::serve(o).map_err(|e| e.to_string()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kiln-test-engine: {error}");
            ExitCode::FAILURE
        }
    }
}
