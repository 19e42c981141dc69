//! `kiln-worker latency`: measures the blocks of a space on a device. The request comes as JSON on standard input, the
//! table goes as TOML to standard output; how far it is goes to standard error, if that is a terminal.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use kiln_methods::latency;
use kiln_methods::runtime::Runtime;
use kiln_protocol::arch::LatencyRequest;

use crate::{complain, tell};

/// Runs the command.
pub fn run() -> ExitCode {
    // Before any thread, and before anything else touches libtorch.
    let runtime = Runtime::start();
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    let request = read
        .map_err(|e| e.to_string())
        .and_then(|_| serde_json::from_str::<LatencyRequest>(&text).map_err(|e| e.to_string()));
    let request = match request {
        Ok(request) => request,
        Err(said) => {
            complain(format_args!("kiln-worker latency: the request on standard input cannot be read: {said}"));
            return ExitCode::from(2);
        }
    };
    let mut screen = std::io::stderr();
    let shown = screen.is_terminal();
    let mut percent = usize::MAX;
    let mut tick = |done: usize, all: usize| {
        let now = done * 100 / all.max(1);
        if shown && now != percent {
            percent = now;
            let end = if done == all { "\r\x1b[K" } else { "" };
            drop(write!(screen, "\rmeasuring: {now} %{end}").and_then(|()| screen.flush()));
        }
        false
    };
    let table = latency::table(&request, &runtime, &mut tick);
    match table.map_err(|e| e.to_string()).and_then(|table| table.to_toml().map_err(|e| e.to_string())) {
        Ok(text) => {
            tell(format_args!("{}", text.trim_end()));
            ExitCode::SUCCESS
        }
        Err(said) => {
            complain(format_args!("{said}"));
            ExitCode::FAILURE
        }
    }
}
