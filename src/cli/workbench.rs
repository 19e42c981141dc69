//! The full-screen client, told how to reach the engine and which presets there are.

use std::sync::Arc;

use kiln_protocol::wire::{FromEngine, ToEngine};
use kiln_protocol::{client, home};
use kiln_tui::{Colour, Connection, Options, PresetInfo, Receive, Start, Submit};

use crate::args::{self, Look};
use crate::engines::Engines;
use crate::failure::{Failure, Outcome};
use crate::{estimate, presets, run, terminal};

/// `kiln` without a command: the workbench, or, where there is no screen to draw on, a run of the default preset.
pub fn open(engines: &Engines, look: &Look) -> Outcome {
    if !terminal::is_terminal() {
        let preset = look.preset.clone().unwrap_or_else(|| presets::DEFAULT.into());
        let chosen = args::Chosen { preset, set: Vec::new() };
        return run::run(engines, &args::Run { chosen, detach: false, priority: 0, json: false });
    }
    let (named, start) = match &look.preset {
        // A mistake is better named before the screen changes.
        Some(asked) => (Some(presets::read(asked, &[])?.0.name), Start::Launcher(asked.clone())),
        None => (None, Start::Auto),
    };
    let mut infos: Vec<PresetInfo> = presets::all().into_iter().map(|(name, _)| info(&name)).collect();
    if let Some(asked) = look.preset.as_ref().filter(|asked| !infos.iter().any(|i| i.name == **asked)) {
        infos.insert(0, PresetInfo { name: asked.clone(), ..info(asked) });
    }
    let default = look.preset.clone().or(named).unwrap_or_else(|| presets::DEFAULT.into());
    for info in &mut infos {
        info.default = info.name == default;
    }
    let reach = engines.clone();
    let options = Options {
        connect: Arc::new(move || connect(&reach)),
        presets: infos,
        launcher: Arc::new(|name: &str| frozen(name)),
        start,
        theme: look.theme.clone(),
        theme_dirs: home::themes_dir().into_iter().collect(),
        colour: Colour::Auto,
        ascii: look.ascii.then_some(true),
        mouse: look.mouse,
    };
    kiln_tui::run(options).map_err(|e| Failure::Unexpected(e.into()))
}

fn info(name: &str) -> PresetInfo {
    let blank = PresetInfo { name: name.to_owned(), ..PresetInfo::default() };
    match presets::read(name, &[]) {
        Ok((preset, missing)) => PresetInfo {
            title: preset.spec.title.clone(),
            description: preset.spec.description.clone(),
            method: preset.spec.method.to_string(),
            estimate: estimate::estimate(&preset).map(|e| e.in_words()).unwrap_or_default(),
            problem: missing.map(|p| p.to_string()),
            ..blank
        },
        Err(Failure::Input(said)) => PresetInfo { problem: Some(said), ..blank },
        Err(_) => PresetInfo { problem: Some("cannot be read".into()), ..blank },
    }
}

fn frozen(name: &str) -> Result<String, String> {
    let said = |failure| match failure {
        Failure::Input(said) => said,
        _ => "the preset cannot be read".to_owned(),
    };
    presets::load(name, &[]).map_err(said)?.frozen().map_err(|p| p.to_string())
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
