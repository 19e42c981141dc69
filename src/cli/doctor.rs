//! `doctor`: everything Kiln needs, looked at.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_protocol::client::ClientError;
use kiln_protocol::home;
use nix::unistd::AccessFlags;
use serde::Serialize;
use serde_json::Value as Json;

use crate::engines::Engines;
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, human, presets, terminal};

/// Opening CUDA takes a second or so, on a cold disk several.
const WORKER_TIME: Duration = Duration::from_secs(60);

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Grade {
    Fine,
    /// Works, but somebody may want to know.
    Notice,
    /// Something will not work.
    Wrong,
}

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    grade: Grade,
    said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Json>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, grade: Grade, said: impl Into<String>) {
        self.0.push(Finding { what, grade, said: said.into(), detail: None });
    }
}

pub fn doctor(engines: &Engines, args: &args::Json) -> Outcome {
    let mut found = Findings::default();
    found.add("kiln", Grade::Fine, format!("{} ({})", env!("CARGO_PKG_VERSION"), exe().display()));
    check_home(&mut found);
    check_engine(engines, &mut found);
    check_worker(&mut found);
    check_share(&mut found);
    check_terminal(&mut found);
    check_config(&mut found);
    let wrong = found.0.iter().filter(|f| f.grade == Grade::Wrong).count();
    if args.json {
        say_json(&found.0)?;
    } else {
        say(in_words(&found.0))?;
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::Engine("kiln: one thing is wrong".into())),
        n => Err(Failure::Engine(format!("kiln: {n} things are wrong"))),
    }
}

fn in_words(found: &[Finding]) -> String {
    let mut out = String::new();
    let width = terminal::width().clamp(60, 120) - 14;
    for finding in found {
        let mark = match finding.grade {
            Grade::Fine => "ok",
            Grade::Notice => "--",
            Grade::Wrong => "!!",
        };
        for (i, line) in human::wrap(&finding.said, width).lines().enumerate() {
            let (mark, what) = if i == 0 { (mark, finding.what) } else { ("", "") };
            let _ = writeln!(out, "{mark:<2} {what:<9}  {line}");
        }
    }
    out.trim_end().to_owned()
}

/// A user's own keymap and settings of the workbench, where there are any.
fn check_config(found: &mut Findings) {
    let folder = match home::config_dir() {
        Ok(folder) => folder,
        Err(e) => return found.add("config", Grade::Notice, e.to_string()),
    };
    let said = kiln_tui::Files::read(&folder).said;
    if said.is_empty() {
        found.add("config", Grade::Fine, format!("{}: nothing wrong in it", folder.display()));
    }
    for said in said {
        found.add("config", Grade::Notice, said);
    }
}

fn exe() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "kiln".into())
}

fn check_home(found: &mut Findings) {
    let home = match home::Home::from_env() {
        Ok(home) => home,
        Err(e) => return found.add("home", Grade::Wrong, e.to_string()),
    };
    // Looking leaves no traces: a home that is not there yet is not made.
    let root = home.root();
    let there = root.ancestors().find(|folder| folder.exists()).unwrap_or(root);
    let writable = nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK);
    match (writable, there == root) {
        (Ok(()), true) if root.is_dir() => found.add("home", Grade::Fine, format!("{} is writable", root.display())),
        (Ok(()), false) if there.is_dir() => {
            found.add("home", Grade::Fine, format!("{} is not there yet; what needs it makes it", root.display()));
        }
        (Ok(()), _) => {
            let said = format!("{} cannot be the home: {} is no folder", root.display(), there.display());
            return found.add("home", Grade::Wrong, said);
        }
        (Err(e), _) => {
            let said = format!("{} cannot be written to ({})", there.display(), e.desc());
            return found.add(
                "home",
                Grade::Wrong,
                format!("{}: {said}; set KILN_HOME to a folder of yours", root.display()),
            );
        }
    }
    match nix::sys::statvfs::statvfs(there) {
        Ok(disk) => {
            let free = disk.blocks_available().saturating_mul(disk.fragment_size());
            let grade = if free < 200_000_000 { Grade::Wrong } else { Grade::Fine };
            let advice = if grade == Grade::Wrong {
                ": runs pause until there is more; remove old runs with `kiln rm`"
            } else {
                ""
            };
            found.add("disk", grade, format!("{} free{advice}", human::bytes(free)));
        }
        Err(e) => found.add("disk", Grade::Notice, format!("its free space cannot be told: {e}")),
    }
}

fn check_engine(engines: &Engines, found: &mut Findings) {
    match engines.reach() {
        Ok(client) => {
            let text = format!("{} runs (pid {})", client.engine_version, client.engine_pid);
            let same = client.engine_version == env!("CARGO_PKG_VERSION");
            let advice = if same {
                ""
            } else {
                "; `kiln engine stop` and `kiln engine start` bring the newer one up, runs go on"
            };
            found.add("engine", if same { Grade::Fine } else { Grade::Notice }, text + advice);
        }
        Err(ClientError::NotRunning { .. }) => {
            found.add("engine", Grade::Notice, "none is running; whatever needs one starts it");
        }
        Err(e) => found.add("engine", Grade::Wrong, e.to_string()),
    }
}

/// The program that trains: `KILN_WORKER`, else beside this program.
pub fn worker() -> PathBuf {
    match std::env::var_os("KILN_WORKER").filter(|v| !v.is_empty()) {
        Some(path) => path.into(),
        None => exe().canonicalize().unwrap_or_else(|_| exe()).with_file_name("kiln-worker"),
    }
}

fn check_worker(found: &mut Findings) {
    let path = worker();
    let report = match ask(&path) {
        Ok(report) => report,
        Err(said) => return found.add("worker", Grade::Wrong, said),
    };
    let text = |key: &str| report.get(key).and_then(Json::as_str).map(str::to_owned);
    let version = text("version").unwrap_or_else(|| "of unknown version".into());
    let same = version == env!("CARGO_PKG_VERSION");
    let advice = if same {
        String::new()
    } else {
        format!("; this program is {}: build both from one source", env!("CARGO_PKG_VERSION"))
    };
    found.0.push(Finding {
        what: "worker",
        grade: if same { Grade::Fine } else { Grade::Notice },
        said: format!("{version} ({}){advice}", path.display()),
        detail: Some(report.clone()),
    });
    if let Some(libtorch) = text("libtorch") {
        let path = text("libtorch_path").map(|p| format!(" ({p})")).unwrap_or_default();
        found.add("libtorch", Grade::Fine, libtorch + &path);
    }
    if let (Some(cuda), Some(said)) = (text("cuda"), text("cuda_says")) {
        let grade = match cuda.as_str() {
            "loaded" => Grade::Fine,
            "failed" => Grade::Wrong,
            _ => Grade::Notice,
        };
        found.add("cuda", grade, said);
    }
    for device in report.get("devices").and_then(Json::as_array).into_iter().flatten() {
        let text = |key: &str| device.get(key).and_then(Json::as_str).unwrap_or_default();
        let memory =
            device.get("memory").and_then(Json::as_u64).map(|m| format!(", {}", human::bytes(m))).unwrap_or_default();
        found.add("device", Grade::Fine, format!("{}: {}{memory}", text("name"), text("words")));
    }
}

/// Runs `kiln-worker --doctor`, which prints one JSON object.
pub fn ask(worker: &Path) -> Result<Json, String> {
    let whose = worker.display();
    let mut child = Command::new(worker)
        .arg("--doctor")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{whose} does not exist: nothing can be trained; `make build` makes it, or set KILN_WORKER")
            }
            _ => format!("{whose} cannot be started: {e}"),
        })?;
    // What it says fits a pipe, so it can end before anyone reads.
    let deadline = Instant::now() + WORKER_TIME;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{whose} --doctor has not answered for {} s", WORKER_TIME.as_secs()));
            }
            Err(e) => return Err(format!("{whose} --doctor cannot be waited for: {e}")),
        }
    }
    let output = child.wait_with_output().map_err(|e| format!("{whose} --doctor cannot be read: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{whose} does not run ({}): {}", output.status, said.trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("{whose} --doctor did not answer in JSON: {e}"))
}

fn check_share(found: &mut Findings) {
    let mut folder = |what: &'static str, got: Result<PathBuf, home::HomeError>, without: &str| match got {
        Ok(path) => found.add(what, Grade::Fine, path.display().to_string()),
        Err(e) => found.add(what, Grade::Notice, format!("{e}; {without}")),
    };
    folder("presets", home::presets_dir(), "the built-in ones are used");
    folder("assets", home::assets_dir(), "presets on shipped data need data.path");
    folder("themes", home::themes_dir(), "the built-in ones are used");
    let broken: Vec<String> = presets::all()
        .into_iter()
        .filter_map(|(name, _)| match presets::read(&name, &[]) {
            Err(Failure::Input(said)) => Some(said),
            _ => None,
        })
        .collect();
    if !broken.is_empty() {
        found.add("presets", Grade::Notice, format!("some cannot be read: {}", broken.join("; ")));
    }
}

fn check_terminal(found: &mut Findings) {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    if !terminal::is_terminal() {
        return found.add(
            "terminal",
            Grade::Notice,
            "standard output is no terminal: `kiln` would run the default preset without a screen",
        );
    }
    let term = var("TERM");
    let depth = match (var("COLORTERM").as_str(), term.as_str()) {
        _ if !terminal::colours() => "no colours",
        ("truecolor" | "24bit", _) => "16 million colours",
        (_, t) if t.contains("256color") => "256 colours",
        _ => "16 colours",
    };
    let size = crossterm::terminal::size().map_or_else(|_| "of unknown size".into(), |(w, h)| format!("{w}x{h}"));
    let grade = if term.is_empty() || term == "dumb" { Grade::Notice } else { Grade::Fine };
    let locale = [var("LC_ALL"), var("LC_CTYPE"), var("LANG")].into_iter().find(|v| !v.is_empty()).unwrap_or_default();
    let utf8 = locale.to_lowercase().replace('-', "").contains("utf8");
    let signs = if utf8 { "UTF-8" } else { "no UTF-8 locale: `kiln --ascii` draws without special characters" };
    found.add(
        "terminal",
        grade,
        format!("{}, {size}, {depth}, {signs}", if term.is_empty() { "TERM is not set" } else { &term }),
    );
}
