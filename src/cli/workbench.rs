//! The full-screen client, told how to reach the engine and which presets there are.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_protocol::client::{self, ClientError};
use kiln_protocol::home;
use kiln_protocol::wire::{FromEngine, Push, ToEngine};
use kiln_tui::graphics;
use kiln_tui::saved;
use kiln_tui::{Colour, Connection, Options, PresetInfo, Receive, Start, Submit};

use crate::args::{self, Look};
use crate::engines::Engines;
use crate::failure::{Failure, Outcome};
use crate::launcher::Presets;
use crate::{presets, run, terminal};

/// `kiln` without a command: the workbench, or, where there is no screen to draw on, a run of the default preset.
pub fn open(engines: &Engines, look: &Look) -> Outcome {
    if !terminal::is_terminal() {
        let preset = look.preset.clone().unwrap_or_else(|| presets::DEFAULT.into());
        let chosen = args::Chosen { preset, ..args::Chosen::default() };
        return run::run(engines, &args::Run { chosen, launch: args::Launch::default() });
    }
    usable(engines)?;
    let (named, start) = match &look.preset {
        // A mistake is better named before the screen changes.
        Some(asked) => (Some(presets::read(asked, &[])?.0.name), Start::Launcher(asked.clone())),
        None => (None, Start::Auto),
    };
    let mut infos: Vec<PresetInfo> =
        presets::all().into_iter().map(|(name, _)| PresetInfo { name, ..PresetInfo::default() }).collect();
    if let Some(asked) = look.preset.as_ref().filter(|asked| !infos.iter().any(|i| i.name == **asked)) {
        infos.insert(0, PresetInfo { name: asked.clone(), ..PresetInfo::default() });
    }
    let default = look.preset.clone().or(named).unwrap_or_else(|| presets::DEFAULT.into());
    for info in &mut infos {
        info.default = info.name == default;
    }
    let (reach, left) = (engines.clone(), Arc::default());
    let config = home::config_dir().ok();
    let options = Options {
        connect: Arc::new(move || connect(&reach, &left)),
        presets: infos,
        launcher: Arc::new(Presets::new(engines)),
        start,
        theme: look.theme.clone(),
        theme_dirs: config.iter().map(|folder| folder.join("themes")).chain(home::themes_dir()).collect(),
        colour: match look.color.as_str() {
            "none" => Colour::None,
            "16" => Colour::Ansi16,
            "256" => Colour::Ansi256,
            "true" => Colour::True,
            _ => Colour::Auto,
        },
        ascii: look.ascii.then_some(true),
        graphics: graphics::Wanted::parse(&look.graphics).unwrap_or_default(),
        mouse: look.mouse,
        config,
    };
    kiln_tui::run(options).map_err(|e| Failure::Unexpected(e.into()))
}

/// The file of saved views, which need not be there.
pub fn views_file() -> Option<PathBuf> {
    home::config_dir().ok().map(|folder| folder.join(saved::FILE))
}

/// Whether an engine can be had at all: in a home that cannot be used none ever starts, however often it is tried, and that is
/// better said before the screen changes.
fn usable(engines: &Engines) -> Outcome {
    if engines.is_remote() || engines.reach().is_ok() {
        return Ok(());
    }
    Engines::home()?.create().map_err(|e| Failure::Engine(e.to_string()))
}

/// Opens a connection, starting an engine if there is none, and hands its halves over: the workbench numbers its requests
/// itself and has asked for no pushes yet. An engine that took its leave was stopped on purpose: none is started in its place,
/// but one that somebody starts is found.
fn connect(engines: &Engines, left: &Arc<AtomicBool>) -> Result<Connection, String> {
    let client = match engines.reach() {
        Ok(client) => client,
        Err(ClientError::NotRunning { .. }) if left.load(Ordering::Relaxed) && !engines.is_remote() => {
            return Err("the engine was stopped; `kiln engine start` starts one, and runs go on meanwhile".into());
        }
        Err(_) => engines.open().map_err(|failure| match failure {
            Failure::Engine(said) | Failure::Input(said) => said,
            _ => "the engine cannot be reached".to_owned(),
        })?,
    };
    left.store(false, Ordering::Relaxed);
    let (version, pid) = (client.engine_version.clone(), client.engine_pid);
    let (sender, receiver, _) = client.split();
    let hears = Hears { receiver, left: Arc::clone(left) };
    Ok(Connection { version, pid, sender: Box::new(Asks(sender)), receiver: Box::new(hears) })
}

struct Asks(client::Sender);

impl Submit for Asks {
    fn send(&mut self, message: &ToEngine) -> Result<(), String> {
        self.0.forward(message).map_err(|e| e.to_string())
    }
}

struct Hears {
    receiver: client::Receiver,
    /// Set when the engine takes its leave.
    left: Arc<AtomicBool>,
}

impl Receive for Hears {
    fn receive(&mut self) -> Result<FromEngine, String> {
        let frame = self.receiver.next().map_err(|e| e.to_string())?;
        if matches!(frame, FromEngine::Push(Push::Bye { .. })) {
            self.left.store(true, Ordering::Relaxed);
        }
        Ok(frame)
    }
}
