//! The launcher of the workbench: presets with changes, what they cost, and saving them.

use std::path::{Path, PathBuf};

use kiln_protocol::compare::{Comparison, Weighed};
use kiln_protocol::spec::schema::{self, Field};
use kiln_protocol::spec::{Arm, Preset, Problem, Problems, Spec, edit};
use kiln_protocol::{RunId, home};
use kiln_tui::{Cost, Launcher, PresetInfo, Setting, Take, Wanted};
use serde_json::Value as Json;

use crate::engines::Engines;
use crate::estimate::Estimate;
use crate::failure::Failure;
use crate::{args, compare, estimate, export, human, presets, report, repro};

/// What the workbench cannot do by asking the engine alone: presets by name, estimates, files of weights.
pub struct Presets {
    engines: Engines,
}

impl Presets {
    pub fn new(engines: &Engines) -> Presets {
        Presets { engines: engines.clone() }
    }
}

impl Launcher for Presets {
    fn load(&self, wanted: &Wanted) -> Result<String, String> {
        let (preset, missing) = checked(wanted).map_err(|problems| problems.to_string())?;
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
        let written =
            export::write(&mut client, &run.0, candidate, export::Format::Safetensors, None, true).map_err(said)?;
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
            (Take::Report, _) => report::make(&mut client, runs, None, None, true).map(|(_, said)| said),
            (Take::Repeat, [run, ..]) => repro::make(&mut client, run, Some(&repro::default_name(run)), true),
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

    fn look(&self, wanted: &Wanted) -> (PresetInfo, Vec<Setting>) {
        let plain = Wanted { changes: Vec::new(), ..wanted.clone() };
        let filed = Wanted { text: None, ..plain.clone() };
        let own = |wanted: &Wanted| checked(wanted).map(|(preset, _)| settings(&preset.spec)).ok();
        // The settings stay those of the text: what a form changes stands beside them. A text with a mistake has none.
        let file = own(&filed);
        let mut settings = own(&plain).or_else(|| file.clone()).unwrap_or_default();
        if wanted.text.is_some() {
            for setting in &mut settings {
                let says = file.iter().flatten().find(|s| s.field.key == setting.field.key).map(|s| &s.value);
                setting.filed = says.filter(|value| **value != setting.value).cloned();
            }
        }
        let mut info = info(wanted);
        if *wanted != plain {
            let before = costs_of(&plain);
            for cost in &mut info.costs {
                let was = before.iter().find(|b| b.name == cost.name).map(|b| &b.value);
                cost.was = was.filter(|was| **was != cost.value).cloned();
            }
        }
        (info, settings)
    }

    fn text(&self, wanted: &Wanted) -> Result<String, String> {
        let text = edit::with_changes(&text_of(wanted)?, &wanted.changes)?;
        // With the changes laid in, lines have moved: the mistakes are those of this text.
        let laid = Wanted { text: Some(text.clone()), changes: Vec::new(), ..wanted.clone() };
        let file = file_of(&laid).display().to_string();
        let notes = match checked(&laid) {
            Ok((_, missing)) => missing.into_iter().collect(),
            Err(problems) => problems.0,
        };
        let note = |problem: Problem| match problem.file == file {
            true => (problem.line, in_form(&Problem { file: String::new(), line: None, ..problem }.to_string())),
            false => (None, in_form(&problem.to_string())),
        };
        let notes: Vec<(Option<usize>, String)> =
            notes.into_iter().map(note).map(|(line, said)| (line, said.trim_start_matches(": ").to_owned())).collect();
        Ok(edit::annotated(&text, &notes))
    }

    fn save(&self, wanted: &Wanted, name: &str) -> Result<(String, String), String> {
        let name = name.strip_suffix(".toml").unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 80 || name.starts_with(['.', '-']) || !name.chars().all(plain) {
            return Err(format!(
                "`{name}` is no name for a preset; expected letters, digits, `-`, `_` and `.`, beginning with a letter or a digit"
            ));
        }
        let folder = home::config_dir().map_err(|e| e.to_string())?.join("presets");
        let file = folder.join(format!("{name}.toml"));
        let old = file_of(wanted);
        if presets::ships(name) {
            return Err(format!("`{name}` ships with Kiln; choose another name"));
        }
        if file.exists() && old != file {
            return Err(format!("you have a preset `{name}` already, in {}; choose another name", folder.display()));
        }
        let text = edit::with_changes(&text_of(wanted)?, &wanted.changes)?;
        let text = match old.parent() {
            Some(from) if old != file && !presets::is_built_in(&old) => edit::moved(&text, from)?,
            _ => text,
        };
        let whole = Wanted { preset: name.to_owned(), text: Some(text.clone()), changes: Vec::new() };
        presets::check_text(&file, &text, &[]).map_err(|problems| {
            format!("{name} was not saved, since it could not be started: {}", in_form(&problems.to_string()))
        })?;
        write(&folder, &file, &text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        let said = format!("Saved {name} as {}.", file.display());
        Ok((whole.preset, said))
    }
}

/// Writes a file beside its place first, so that a full disk leaves the old one as it was.
fn write(folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let part = file.with_extension("part");
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// The file of a preset. Settings of a run have none: their name stands for it.
fn file_of(wanted: &Wanted) -> PathBuf {
    presets::find(&wanted.preset).unwrap_or_else(|_| PathBuf::from(&wanted.preset))
}

/// The text that changes are laid upon.
fn text_of(wanted: &Wanted) -> Result<String, String> {
    match &wanted.text {
        Some(text) => Ok(text.clone()),
        None => {
            let file = presets::find(&wanted.preset).map_err(said)?;
            presets::text(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))
        }
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

fn checked(wanted: &Wanted) -> Result<(Preset, Option<Problem>), Problems> {
    let changes: Vec<String> = wanted.changes.iter().map(|change| at_home(change)).collect();
    match &wanted.text {
        Some(text) => presets::check_text(&file_of(wanted), text, &changes),
        None => {
            let missing = |failure| {
                let message = said(failure);
                Problems(vec![Problem { file: wanted.preset.clone(), line: None, key: String::new(), message }])
            };
            presets::check(&presets::find(&wanted.preset).map_err(missing)?, &changes)
        }
    }
}

/// What a shell does for `--set data.path=~/...` nobody does for what is typed into a form.
fn at_home(change: &str) -> String {
    match (change.split_once("=~/"), std::env::var("HOME")) {
        (Some((key, rest)), Ok(home)) if key.ends_with("path") => format!("{key}={home}/{rest}"),
        _ => change.to_owned(),
    }
}

fn info(wanted: &Wanted) -> PresetInfo {
    let blank = PresetInfo { name: wanted.preset.clone(), ..PresetInfo::default() };
    match checked(wanted) {
        Ok((preset, missing)) => {
            let estimate = estimate::estimate(&preset).ok();
            PresetInfo {
                title: preset.spec.title.clone(),
                description: preset.spec.description.clone(),
                method: method_of(&preset.spec),
                estimate: estimate.as_ref().map(Estimate::in_words).unwrap_or_default(),
                costs: estimate.as_ref().map(costs).unwrap_or_default(),
                problem: missing.map(|p| in_form(&p.to_string())),
                ..blank
            }
        }
        Err(problems) => {
            let said = problems.to_string();
            // A mistake keeps the rest from being looked at; what is wrong besides stays wrong.
            let key = |change: &str| {
                let key = change.split('=').next().unwrap_or_default();
                key.trim_start_matches("sweep.over.").trim_matches('"').to_owned()
            };
            let wrong = |change: &&String| said.contains(&format!("{}:", key(change)));
            let (bad, good): (Vec<&String>, Vec<&String>) = wanted.changes.iter().partition(wrong);
            let good = Wanted { changes: good.into_iter().cloned().collect(), ..wanted.clone() };
            let rest = if bad.is_empty() { None } else { info(&good).problem };
            let problem = std::iter::once(in_form(&said)).chain(rest).collect::<Vec<_>>().join("\n");
            PresetInfo { problem: Some(problem), mistaken: true, ..blank }
        }
    }
}

fn costs_of(wanted: &Wanted) -> Vec<Cost> {
    let found = checked(wanted).ok().and_then(|(preset, _)| estimate::estimate(&preset).ok());
    found.as_ref().map(costs).unwrap_or_default()
}

/// What an estimate says, figure by figure, the telling ones first.
fn costs(e: &Estimate) -> Vec<Cost> {
    let mut out = Vec::new();
    let mut say = |name: &'static str, value: String| out.push(Cost { name, value, was: None });
    if e.jobs > 0 {
        say("jobs", e.jobs.to_string());
    }
    let network = e.chosen.as_ref().or(e.reference.as_ref()).or(e.networks.first());
    if e.images > 0 || e.predictors.is_some() {
        say("time", human::roughly(e.seconds));
    }
    if let Some(network) = network {
        say("parameters", human::count(network.params as f64));
        say("MACs", human::count(network.macs as f64));
    }
    say("memory", human::bytes(e.memory));
    if let Some(iterations) = e.iterations {
        say("iterations", human::count(iterations as f64));
    } else if e.predictors.is_none() && e.images > 0 {
        say("epochs", human::count(e.epochs));
    }
    out
}

/// Problems in words for the form, which has a line for each key where the command line has `--set` or `--sweep`.
fn in_form(said: &str) -> String {
    let line = |line: &str| {
        let given = ["--set ", "--sweep "].into_iter().find_map(|option| line.strip_prefix(option));
        let line = match given.and_then(|rest| Some((rest, rest.split_once('=')?.0))) {
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
const FIXED: [&str; 5] = ["method", "title", "description", "arms", "sweep.over"];

/// All settings that can be changed before a start, with what a preset says of them.
fn settings(spec: &Spec) -> Vec<Setting> {
    let mut whole = spec.clone();
    whole.fill_defaults();
    let says = serde_json::to_value(&whole).unwrap_or_default();
    let fields = schema::fields(spec.method).into_iter().filter(|field| !FIXED.contains(&field.key.as_str()));
    fields.map(|field| Setting { value: typed(&says, &field), field, filed: None }).collect()
}

/// The value of a setting as one would type it after `--set key=`.
fn typed(says: &Json, field: &Field) -> String {
    let value = field.key.split('.').try_fold(says, |table, key| table.get(key));
    match value {
        // A sweep has become arms by now; what it says of itself is laid upon the preset anew.
        None | Some(Json::Null) if field.key.starts_with("sweep.") => {
            field.default.as_ref().map(toml).unwrap_or_default()
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(preset: &str, changes: &[&str]) -> Wanted {
        let changes = changes.iter().map(|c| (*c).to_owned()).collect();
        Wanted { preset: preset.into(), text: None, changes }
    }

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
        let problem = |changes: &[&str]| info(&wanted("train-cifar10", changes)).problem.unwrap_or_default();
        let one = problem(&["data.path=/not/there"]);
        assert!(one.contains("data.path:") && !one.contains("--set"), "{one}");
        let both = problem(&["data.path=/not/there", "train.epochs=0"]);
        assert!(both.contains("data.path:") && both.contains("train.epochs:") && !both.contains("--set"), "{both}");
    }

    #[test]
    fn an_experiment_over_several_methods_is_listed_by_its_arms() {
        assert_eq!(info(&wanted("search-digits-claim", &[])).method, "4 arms");
        assert_eq!(info(&wanted("hournas-digits", &[])).method, "hournas");
    }

    #[test]
    fn a_change_is_checked_like_any_other() {
        let presets = Presets::new(&Engines::new(None));
        let (info, settings) = presets.look(&wanted("train-digits", &["train.epochs=0"]));
        assert!(info.problem.is_some_and(|p| p.contains("train.epochs: expected a whole number from 1")));
        assert!(settings.iter().any(|s| s.field.key == "train.epochs" && s.value != "0"));
        assert!(presets.load(&wanted("train-digits", &["train.epochs=0"])).is_err());
        assert!(presets.load(&wanted("train-digits", &["seed=9"])).is_ok_and(|spec| spec.contains("seed = 9")));
        let home = std::env::var("HOME").unwrap_or_default();
        assert_eq!(at_home("data.path=~/d"), format!("data.path={home}/d"));
        assert_eq!(at_home("title=~/d"), "title=~/d");
    }

    #[test]
    fn figures_tell_what_a_change_costs() {
        let presets = Presets::new(&Engines::new(None));
        let (info, _) = presets.look(&wanted("train-digits", &["sweep.over.\"train.epochs\"=40,80"]));
        let cost = |name: &str| info.costs.iter().find(|c| c.name == name).cloned().unwrap_or_default();
        assert_eq!((cost("jobs").value.as_str(), cost("jobs").was), ("2", None));
        assert!(cost("time").was.is_some_and(|was| was != cost("time").value), "{:?}", info.costs);
        assert!(!cost("parameters").value.is_empty() && cost("parameters").was.is_none(), "{:?}", info.costs);
        let (plain, _) = presets.look(&wanted("train-digits", &[]));
        assert!(plain.costs.iter().all(|c| c.was.is_none()) && plain.costs.len() > 3);
        assert!(info.problem.is_none());
        // The form has no `--sweep`: the mistake stands at its line.
        let (info, _) = presets.look(&wanted("train-digits", &["sweep.over.\"train.epochs\"=4,4"]));
        assert_eq!(info.problem.as_deref(), Some("train.epochs: has 4 twice; expected each value once"));
    }

    #[test]
    fn an_edited_text_is_checked_like_a_file_and_its_mistakes_stand_above_their_lines() {
        let presets = Presets::new(&Engines::new(None));
        let text = presets.text(&wanted("train-digits", &["train.epochs=7"])).unwrap();
        assert!(text.contains("epochs = 7") && !text.contains("#! "), "{text}");
        let edited = |text: String| Wanted { text: Some(text), ..wanted("train-digits", &[]) };
        let good = edited(text.replace("epochs = 7", "epochs = 9"));
        let (info, settings) = presets.look(&good);
        assert_eq!(info.problem, None);
        let epochs = settings.iter().find(|s| s.field.key == "train.epochs").unwrap();
        assert!(epochs.value == "9" && epochs.filed.as_ref().is_some_and(|filed| filed != "9"), "{epochs:?}");
        assert!(presets.load(&good).unwrap().contains("epochs = 9"));
        let bad = edited(text.replace("epochs = 7", "epochs = 0"));
        let (info, settings) = presets.look(&bad);
        assert!(info.problem.unwrap().contains("train.epochs: expected a whole number from 1"));
        assert!(!settings.is_empty(), "the form shows the settings of the file");
        let again = presets.text(&bad).unwrap();
        assert!(
            again.contains("#! train.epochs: expected a whole number from 1 to 100000 (epochs), found 0\nepochs = 0"),
            "{again}"
        );
        assert_eq!(edit::plain(&again), bad.text.unwrap());
        let torn = presets.text(&edited("method = [\n".into())).unwrap();
        assert!(torn.starts_with("#! "), "{torn}");
    }

    #[test]
    fn the_settings_of_a_run_are_a_preset_of_their_own() {
        let presets = Presets::new(&Engines::new(None));
        let frozen = presets.load(&wanted("train-digits", &["seed=9", "train.epochs=3"])).unwrap();
        let again = Wanted { preset: "train-digits-k3f7".into(), text: Some(frozen.clone()), changes: Vec::new() };
        assert_eq!(presets.load(&again).unwrap(), frozen);
        let (info, settings) = presets.look(&again);
        assert!(info.problem.is_none() && settings.iter().all(|s| s.filed.is_none()), "{info:?}");
    }
}
