//! The full-screen client, told how to reach the engine and which presets there are.

use std::sync::Arc;

use kiln_protocol::compare::{Comparison, Weighed};
use kiln_protocol::spec::problem::Problem;
use kiln_protocol::spec::schema::{self, Field};
use kiln_protocol::spec::{Arm, Preset, Spec};
use kiln_protocol::wire::{FromEngine, ToEngine};
use kiln_protocol::{RunId, client, home};
use kiln_tui::{Colour, Connection, Launcher, Options, PresetInfo, Receive, Setting, Start, Submit, Take};
use serde_json::Value as Json;

use crate::args::{self, Look};
use crate::engines::Engines;
use crate::failure::{Failure, Outcome};
use crate::{compare, estimate, export, presets, report, repro, run, terminal};

/// `kiln` without a command: the workbench, or, where there is no screen to draw on, a run of the default preset.
pub fn open(engines: &Engines, look: &Look) -> Outcome {
    if !terminal::is_terminal() {
        let preset = look.preset.clone().unwrap_or_else(|| presets::DEFAULT.into());
        let chosen = args::Chosen { preset, set: Vec::new(), seeds: None };
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
        launcher: Arc::new(Presets { engines: engines.clone() }),
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
        mouse: look.mouse,
        config,
    };
    kiln_tui::run(options).map_err(|e| Failure::Unexpected(e.into()))
}

/// Whether an engine can be had at all: in a home that cannot be used none ever starts, however often it is tried, and that is
/// better said before the screen changes.
fn usable(engines: &Engines) -> Outcome {
    if engines.is_remote() || engines.reach().is_ok() {
        return Ok(());
    }
    Engines::home()?.create().map_err(|e| Failure::Engine(e.to_string()))
}

/// What the workbench cannot do by asking the engine alone: presets by name, estimates, files of weights.
struct Presets {
    engines: Engines,
}

impl Launcher for Presets {
    fn load(&self, name: &str, changes: &[String]) -> Result<String, String> {
        let (preset, missing) = checked(name, changes)?;
        match missing {
            Some(missing) => Err(missing.to_string()),
            None => preset.frozen().map_err(|problem| problem.to_string()),
        }
    }

    fn estimate(&self, spec: &str) -> Result<String, String> {
        let spec = Spec::from_toml("spec.toml", spec).map_err(|problems| problems.to_string())?;
        estimate::of(&spec).map(|found| found.in_words()).map_err(|e| e.to_string())
    }

    fn export(&self, run: &RunId, candidate: Option<u32>) -> Result<String, String> {
        let mut client = self.engines.open().map_err(said)?;
        let written = export::write(&mut client, &run.0, candidate, export::Format::Safetensors, None).map_err(said)?;
        Ok(format!("Wrote {}", export::sentence(&written)))
    }

    fn take(&self, runs: &[RunId], what: Take) -> Result<String, String> {
        let mut client = self.engines.open().map_err(said)?;
        let mut whole = |format| export::make(&mut client, runs, &args::Export::whole(format)).map(|(_, said)| said);
        let written = match (what, runs) {
            (Take::Points, _) => whole(export::Format::Csv),
            (Take::Events, _) => whole(export::Format::Tensorboard),
            (Take::Charts, _) => whole(export::Format::Png),
            (Take::Bundle, _) => whole(export::Format::Bundle),
            (Take::Report, _) => report::make(&mut client, runs, None, None).map(|(_, said)| said),
            (Take::Repeat, [run, ..]) => repro::make(&mut client, run, Some(&repro::default_name(run))),
            (Take::Repeat, []) => return Err("there is no run to repeat".to_owned()),
        };
        // The screen has a line for it.
        written.map(|said| format!("Wrote {}", said.text.lines().next().unwrap_or_default())).map_err(self::said)
    }

    fn compare(&self, runs: &[RunId]) -> Result<Comparison, String> {
        let mut client = self.engines.open().map_err(said)?;
        compare::for_workbench(&mut client, runs).map_err(said)
    }

    fn weigh(&self, runs: &Comparison, figure: &str, against: &str) -> Weighed {
        compare::weigh(runs, figure, against)
    }

    fn look(&self, name: &str, changes: &[String]) -> (PresetInfo, Vec<Setting>) {
        // The settings stay those of the preset itself: what a form changes stands beside them.
        let settings = checked(name, &[]).map(|(preset, _)| settings(&preset.spec)).unwrap_or_default();
        (info(name, changes), settings)
    }
}

/// Why a command failed, as a sentence for the screen.
fn said(failure: Failure) -> String {
    match failure {
        Failure::Engine(said) | Failure::Input(said) => said,
        Failure::Unexpected(report) => report.to_string(),
        _ => "nothing was written".to_owned(),
    }
}

fn checked(name: &str, changes: &[String]) -> Result<(Preset, Option<Problem>), String> {
    let file = presets::find(name).map_err(|failure| match failure {
        Failure::Input(said) => said,
        _ => format!("the preset `{name}` cannot be found"),
    })?;
    let changes: Vec<String> = changes.iter().map(|change| at_home(change)).collect();
    presets::check(&file, &changes).map_err(|problems| problems.to_string())
}

/// What a shell does for `--set data.path=~/...` nobody does for what is typed into a form.
fn at_home(change: &str) -> String {
    match (change.split_once("=~/"), std::env::var("HOME")) {
        (Some((key, rest)), Ok(home)) if key.ends_with("path") => format!("{key}={home}/{rest}"),
        _ => change.to_owned(),
    }
}

fn info(name: &str, changes: &[String]) -> PresetInfo {
    let blank = PresetInfo { name: name.to_owned(), ..PresetInfo::default() };
    match checked(name, changes) {
        Ok((preset, missing)) => PresetInfo {
            title: preset.spec.title.clone(),
            description: preset.spec.description.clone(),
            method: method_of(&preset.spec),
            estimate: estimate::estimate(&preset).map(|e| e.in_words()).unwrap_or_default(),
            problem: missing.map(|p| in_form(&p.to_string())),
            ..blank
        },
        Err(said) => {
            // A mistake keeps the rest from being looked at; what is wrong besides stays wrong.
            let wrong =
                |change: &&String| change.split('=').next().is_some_and(|key| said.contains(&format!("{key}:")));
            let (bad, good): (Vec<&String>, Vec<&String>) = changes.iter().partition(wrong);
            let good: Vec<String> = good.into_iter().cloned().collect();
            let rest = if bad.is_empty() { None } else { info(name, &good).problem };
            let problem = std::iter::once(in_form(&said)).chain(rest).collect::<Vec<_>>().join("\n");
            PresetInfo { problem: Some(problem), ..blank }
        }
    }
}

/// Problems in words for the form, which has a line for each key where the command line has `--set`.
fn in_form(said: &str) -> String {
    let line = |line: &str| {
        let line = match line.strip_prefix("--set ").and_then(|rest| Some((rest, rest.split_once('=')?.0))) {
            Some((rest, key)) => rest.find(&format!(": {key}")).map_or(line, |at| &rest[at + 2..]),
            None => line,
        };
        match line.split_once(" To say where: --set ").and_then(|(what, how)| Some((what, how.split_once('=')?))) {
            Some((what, (key, rest))) => {
                let rest = rest.trim_start_matches(|c: char| !c.is_whitespace());
                format!("{what} Give it as {key}{rest}")
            }
            None => line.to_owned(),
        }
    };
    said.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The method; of an experiment over several, how many arms it compares: the first one's method says little of it.
fn method_of(spec: &Spec) -> String {
    let several = spec.arms.iter().filter_map(Arm::method).any(|method| method != spec.method);
    if several { format!("{} arms", spec.arms.len()) } else { spec.method.to_string() }
}

/// What is not for a form: the method decides which settings there are, arms are tables, and the words are for lists.
const FIXED: [&str; 4] = ["method", "title", "description", "arms"];

/// All settings that can be changed before a start, with what a preset says of them.
fn settings(spec: &Spec) -> Vec<Setting> {
    let mut whole = spec.clone();
    whole.fill_defaults();
    let says = serde_json::to_value(&whole).unwrap_or_default();
    let fields = schema::fields(spec.method).into_iter().filter(|field| !FIXED.contains(&field.key.as_str()));
    fields.map(|field| Setting { value: typed(&says, &field), field }).collect()
}

/// The value of a setting as one would type it after `--set key=`.
fn typed(says: &Json, field: &Field) -> String {
    let value = field.key.split('.').try_fold(says, |table, key| table.get(key));
    match value {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(value) => toml(value),
    }
}

/// A value as TOML writes it in one line.
fn toml(value: &Json) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Json::Array(items) => format!("[{}]", list(items.iter().map(toml).collect())),
        Json::Object(table) if table.is_empty() => "{}".into(),
        Json::Object(table) => {
            format!("{{ {} }}", list(table.iter().map(|(k, v)| format!("{k} = {}", toml(v))).collect()))
        }
        other => other.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_a_form_can_be_set_as_it_stands() {
        for (name, file) in presets::all() {
            let Ok((preset, _)) = presets::check(&file, &[]) else { continue };
            let again: Vec<String> = settings(&preset.spec)
                .iter()
                .filter(|s| !s.value.is_empty())
                .map(|s| format!("{}={}", s.field.key, s.value))
                .collect();
            assert!(again.len() > 20, "{name}: {again:?}");
            let (same, _) = presets::check(&file, &again).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            let mut spec = preset.spec.clone();
            spec.fill_defaults();
            assert_eq!(same.spec.to_toml(), spec.to_toml(), "{name}");
        }
    }

    #[test]
    fn a_form_names_keys_and_forgets_no_problem() {
        let said = "p.toml:3: data.path: is empty. To say where: --set data.path=PATH (in arm `plain`)\n--set seed=x: seed: expected a number";
        assert_eq!(
            in_form(said),
            "p.toml:3: data.path: is empty. Give it as data.path (in arm `plain`)\nseed: expected a number"
        );
        // What is wrong with the first change is still told when the second one is wrong too.
        let problem = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
            info("train-cifar10", &changes).problem.unwrap_or_default()
        };
        let one = problem(&["data.path=/not/there"]);
        assert!(one.contains("data.path:") && !one.contains("--set"), "{one}");
        let both = problem(&["data.path=/not/there", "train.epochs=0"]);
        assert!(both.contains("data.path:") && both.contains("train.epochs:") && !both.contains("--set"), "{both}");
    }

    #[test]
    fn an_experiment_over_several_methods_is_listed_by_its_arms() {
        assert_eq!(info("search-digits-claim", &[]).method, "4 arms");
        assert_eq!(info("hournas-digits", &[]).method, "hournas");
    }

    #[test]
    fn a_change_is_checked_like_any_other() {
        let presets = Presets { engines: Engines::new(None) };
        let (info, settings) = presets.look("train-digits", &["train.epochs=0".into()]);
        assert!(info.problem.is_some_and(|p| p.contains("train.epochs: expected a whole number from 1")));
        assert!(settings.iter().any(|s| s.field.key == "train.epochs" && s.value != "0"));
        assert!(presets.load("train-digits", &["train.epochs=0".into()]).is_err());
        assert!(presets.load("train-digits", &["seed=9".into()]).is_ok_and(|spec| spec.contains("seed = 9")));
        let home = std::env::var("HOME").unwrap_or_default();
        assert_eq!(at_home("data.path=~/d"), format!("data.path={home}/d"));
        assert_eq!(at_home("title=~/d"), "title=~/d");
    }
}
