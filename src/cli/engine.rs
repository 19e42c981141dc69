//! `engine start`, `stop`, `status`, `rebuild`.

use std::fmt::Write;
use std::time::Duration;

use kiln_engine::daemon;
use kiln_protocol::client::ClientError;
use kiln_protocol::now;
use kiln_protocol::wire::{Reply, Request, Status};
use serde_json::json;

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, human, list, terminal};

/// An engine flushes its store before it goes.
const STOP: Duration = Duration::from_secs(20);

const STOPPED: &str = "the engine has ended; runs go on, and the next engine adopts them";

/// Reading all run folders again may take its time.
const REBUILD: Duration = Duration::from_secs(600);

pub fn command(engines: &Engines, command: &args::Engine) -> Outcome {
    match command {
        args::Engine::Start { foreground } => start(engines, *foreground),
        args::Engine::Stop => stop(engines),
        args::Engine::Status(args) => status(engines, args.json),
        args::Engine::Rebuild => rebuild(engines),
    }
}

fn start(engines: &Engines, foreground: bool) -> Outcome {
    if engines.is_remote() {
        return Err(Failure::Input("an engine is started on its own machine: leave --socket away".into()));
    }
    if foreground {
        return serve();
    }
    let home = Engines::home()?;
    let client = engines.open()?;
    say(format!(
        "the engine runs (pid {}) for {}; log: {}",
        client.engine_pid,
        home.root().display(),
        home.log_file().display()
    ))
}

fn stop(engines: &Engines) -> Outcome {
    if engines.is_remote() {
        let mut client = engines.reach()?;
        return match client.request(&Request::Shutdown) {
            // It may be gone before its answer is read.
            Ok(_) | Err(ClientError::Closed) => say(STOPPED),
            Err(e) => Err(e.into()),
        };
    }
    match daemon::stop(&Engines::home()?, STOP) {
        Ok(true) => say(STOPPED),
        Ok(false) => say("no engine was running"),
        Err(e) => Err(Failure::Engine(e.to_string())),
    }
}

/// Serves in this process until told to end; what the engine has to say goes to standard error, which is its log file
/// where it was started in the background.
fn serve() -> Outcome {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KILN_LOG").unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    log.with_target(false).init();
    let options = kiln_engine::Options::new(Engines::home()?).map_err(Failure::Engine)?;
    kiln_engine::serve(options).map_err(|e| Failure::Engine(e.to_string()))
}

fn status(engines: &Engines, as_json: bool) -> Outcome {
    let mut client = match engines.reach() {
        Ok(client) => client,
        Err(ClientError::NotRunning { socket }) => {
            if as_json {
                say_json(&json!({ "running": false, "socket": socket }))?;
            }
            return Err(Failure::Engine(
                "no engine is running; `kiln engine start` starts one, and so does whatever needs one".into(),
            ));
        }
        Err(e) => return Err(e.into()),
    };
    let status = match client.request(&Request::Status)? {
        Reply::Status { status } => status,
        other => return engines::unexpected(&other),
    };
    if !as_json {
        let advice = engines::advice(&mut client, None)?;
        let words = in_words(&status);
        return say(if advice.is_empty() {
            words
        } else {
            format!("{words}\n\n{}", list::advice(&advice, terminal::width().min(100)))
        });
    }
    let mut value = serde_json::to_value(&status)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("running".into(), json!(true));
    }
    say_json(&value)
}

fn in_words(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<8} {value}");
    };
    line("engine", format!("{} (pid {}), up {}", status.version, status.pid, human::duration(now() - status.started)));
    line("home", status.home.clone());
    line("socket", status.socket.clone());
    line("worker", status.worker.clone());
    let jobs = format!(
        "{} running, {} queued, {}",
        status.running,
        status.queued,
        human::counted(status.clients as usize, "client")
    );
    line("jobs", format!("{jobs}, store {}", human::bytes(status.store_bytes)));
    for slot in &status.devices {
        let run = slot.run.as_ref().map_or_else(|| "free".into(), |run| format!("runs {run}"));
        line(&slot.device, format!("{} ({run})", slot.name));
    }
    let s = &status.system;
    let used = human::bytes_of;
    line(
        "machine",
        format!(
            "CPU {:.0}% of {} cores, memory {}, disk {} free",
            100.0 * s.cpu,
            s.cores,
            used(s.ram_used, s.ram_total),
            human::bytes(s.disk_free)
        ),
    );
    if !s.folder.kind.is_empty() {
        let place = if s.folder.network { ", on another machine" } else { "" };
        let write = s.folder.latency.map(|l| format!(", a small write takes {:.1} ms", 1e3 * l)).unwrap_or_default();
        line("files", format!("{}{place}{write}", s.folder.kind));
    }
    for gpu in &s.gpus {
        let limit = if gpu.power_limit > 0.0 { format!(" of {:.0}", gpu.power_limit) } else { String::new() };
        line(
            &format!("gpu {}", gpu.index),
            format!(
                "{}: {:.0}%, {}, {} °C, {:.0}{limit} W, {} MHz, {} processes",
                gpu.name,
                100.0 * gpu.utilisation,
                used(gpu.memory_used, gpu.memory_total),
                gpu.temperature,
                gpu.power,
                gpu.clock,
                gpu.processes.len()
            ),
        );
    }
    for share in &s.shares {
        let gpu = if share.gpu_memory > 0 {
            format!(", {} of GPU memory", human::bytes(share.gpu_memory))
        } else {
            String::new()
        };
        let cores = human::with_unit(&format!("{:.1}", share.cpu), "cores");
        line("share", format!("{}: {cores}, {}{gpu}", share.run, human::bytes(share.ram)));
    }
    out.trim_end().to_owned()
}

fn rebuild(engines: &Engines) -> Outcome {
    let mut client = engines.open()?;
    match client.request_within(&Request::Rebuild, REBUILD)? {
        Reply::Rebuilt { runs } => say(format!("read {runs} run folders again")),
        other => engines::unexpected(&other),
    }
}
