//! The full-screen client, told how to reach the engine and which presets there are.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_protocol::wire::{FromEngine, ToEngine};
use kiln_protocol::{client, home};
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
    let reach = engines.clone();
    let config = home::config_dir().ok();
    let options = Options {
        connect: Arc::new(move || connect(&reach)),
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
/// itself and has asked for no pushes yet.
fn connect(engines: &Engines) -> Result<Connection, String> {
    let client = engines.open().map_err(|failure| match failure {
        Failure::Engine(said) | Failure::Input(said) => said,
        _ => "the engine cannot be reached".to_owned(),
    })?;
    let (version, pid) = (client.engine_version.clone(), client.engine_pid);
    let (sender, receiver, _) = client.split();
    Ok(Connection { version, pid, sender: Box::new(Asks(sender)), receiver: Box::new(Hears(receiver)) })
}

struct Asks(client::Sender);

impl Submit for Asks {
    fn send(&mut self, message: &ToEngine) -> Result<(), String> {
        self.0.forward(message).map_err(|e| e.to_string())
    }
}

struct Hears(client::Receiver);

impl Receive for Hears {
    fn receive(&mut self) -> Result<FromEngine, String> {
        self.0.next().map_err(|e| e.to_string())
    }
}
