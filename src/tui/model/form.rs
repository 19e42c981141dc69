//! The launcher's form: the settings of a preset, changed before it is started.

use std::collections::BTreeMap;

use kiln_protocol::spec::schema::Kind;
use kiln_protocol::spec::sweep;

use crate::model::list::List;
use crate::options::{PresetInfo, Setting, Wanted};
use crate::text;

/// The open form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    pub preset: String,
    /// All settings as the preset's text has them; empty until the launcher has told them.
    pub settings: Vec<Setting>,
    /// Among those that are shown.
    pub list: List,
    /// Only settings whose key or help contains this are shown.
    pub filter: String,
    /// Only settings that differ from the preset's file are shown.
    pub differing: bool,
    /// The setting that the cursor goes back to once the settings are there.
    pub back_to: Option<String>,
    /// What comes of the value that is being typed.
    pub trial: Option<Trial>,
}

/// A change that nobody has made yet: what was asked about it, and the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub wanted: Wanted,
    pub info: Option<PresetInfo>,
}

impl Form {
    /// The same form before its settings have come again: filter and cursor are as they were.
    #[must_use]
    pub fn anew(&self, changes: &Changes) -> Form {
        let selected = self.visible(changes).get(self.list.selected).map(|s| s.field.key.clone());
        Form {
            preset: self.preset.clone(),
            filter: self.filter.clone(),
            differing: self.differing,
            back_to: selected.or(self.back_to.clone()),
            ..Form::default()
        }
    }

    /// The settings have come. The cursor goes to what is wrong, which is what somebody opens the form for, however it was
    /// filtered; else to where it was.
    pub fn fill(&mut self, settings: Vec<Setting>, problem: Option<&str>, changes: &Changes) {
        self.settings = settings;
        let wrong = |s: &Setting| problem.is_some_and(|p| problem_of(p, &s.field.key).is_some());
        let at = |form: &Form, is: &dyn Fn(&Setting) -> bool| form.visible(changes).iter().position(|s| is(s));
        if self.settings.iter().any(wrong) && at(self, &wrong).is_none() {
            (self.filter, self.differing) = (String::new(), false);
        }
        let back = self.back_to.take();
        let found = at(self, &wrong).or_else(|| at(self, &|s| back.as_ref() == Some(&s.field.key)));
        self.list.selected = found.unwrap_or(self.list.selected);
    }

    /// The settings that filter and choice leave, in order: those called as asked for before those only described so.
    pub fn visible(&self, changes: &Changes) -> Vec<&Setting> {
        let shown = |s: &&Setting| {
            let differs = || {
                let key = s.field.key.as_str();
                changes.get(&self.preset, key).or(changes.sweep(&self.preset, key)).is_some() || s.filed.is_some()
            };
            !self.differing || differs()
        };
        let (called, others): (Vec<&Setting>, Vec<&Setting>) =
            self.settings.iter().filter(shown).partition(|s| text::matches(&s.field.key, &self.filter));
        called.into_iter().chain(others.into_iter().filter(|s| text::matches(&s.field.help, &self.filter))).collect()
    }
}

/// What was changed of presets, by name of the preset: keys with their new values, in the order of the changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    values: BTreeMap<String, Vec<(String, String)>>,
    /// What settings are varied over.
    sweeps: BTreeMap<String, Vec<(String, String)>>,
}

/// Of one preset.
fn of<'a>(all: &'a BTreeMap<String, Vec<(String, String)>>, preset: &str) -> &'a [(String, String)] {
    all.get(preset).map_or(&[], Vec::as_slice)
}

fn get<'a>(all: &'a BTreeMap<String, Vec<(String, String)>>, preset: &str, key: &str) -> Option<&'a str> {
    of(all, preset).iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
}

fn put(all: &mut BTreeMap<String, Vec<(String, String)>>, preset: &str, key: &str, value: Option<&str>) -> bool {
    if get(all, preset, key) == value {
        return false;
    }
    let entries = all.entry(preset.to_owned()).or_default();
    match (entries.iter_mut().find(|(k, _)| k == key), value) {
        (Some(entry), Some(value)) => entry.1 = value.to_owned(),
        (None, Some(value)) => entries.push((key.to_owned(), value.to_owned())),
        (_, None) => entries.retain(|(k, _)| k != key),
    }
    true
}

impl Changes {
    /// The new value of a setting, as typed.
    pub fn get(&self, preset: &str, key: &str) -> Option<&str> {
        get(&self.values, preset, key)
    }

    /// What a setting is varied over, as typed.
    pub fn sweep(&self, preset: &str, key: &str) -> Option<&str> {
        get(&self.sweeps, preset, key)
    }

    /// Settings changed or varied.
    pub fn count(&self, preset: &str) -> usize {
        of(&self.values, preset).len() + of(&self.sweeps, preset).len()
    }

    /// All that was changed of a preset, in words: `optim.lr = 0.1`, `optim.lr over 0.1, 0.2`.
    pub fn in_words(&self, preset: &str) -> Vec<String> {
        let values = of(&self.values, preset).iter().map(|(key, value)| format!("{key} = {value}"));
        let sweeps = of(&self.sweeps, preset).iter().map(|(key, values)| format!("{key} over {values}"));
        values.chain(sweeps).collect()
    }

    /// As the command line takes them: `key=value`.
    pub fn arguments(&self, preset: &str) -> Vec<String> {
        let values = of(&self.values, preset).iter().map(|(key, value)| format!("{key}={value}"));
        let sweeps = of(&self.sweeps, preset).iter().map(|(key, values)| sweep::argument(key, values));
        values.chain(sweeps).collect()
    }

    /// Changes a setting, which is not varied any more then; `None`, or the value that the preset itself has, takes the change
    /// back. Returns whether anything is different now.
    pub fn set(&mut self, preset: &str, setting: &Setting, value: Option<&str>) -> bool {
        let varied = value.is_some() && put(&mut self.sweeps, preset, &setting.field.key, None);
        let value = value.map(str::trim).filter(|value| *value != setting.value);
        put(&mut self.values, preset, &setting.field.key, value) || varied
    }

    /// Varies a setting, whose own value no run has then, right or wrong; `None`, or no values, leaves it alone again. Returns
    /// whether anything is different now.
    pub fn vary(&mut self, preset: &str, setting: &Setting, values: Option<&str>) -> bool {
        let values = values.map(str::trim).filter(|values| !values.is_empty());
        let changed = values.is_some() && put(&mut self.values, preset, &setting.field.key, None);
        put(&mut self.sweeps, preset, &setting.field.key, values) || changed
    }

    /// Forgets what was changed of a preset.
    pub fn forget(&mut self, preset: &str) {
        self.values.remove(preset);
        self.sweeps.remove(preset);
    }
}

/// What is wrong with a setting, of all that is wrong with its preset.
pub fn problem_of<'a>(problems: &'a str, key: &str) -> Option<&'a str> {
    let of = |line: &'a str, key: &str| {
        let (before, said) = line.split_once(&format!("{key}: "))?;
        (before.is_empty() || before.ends_with(' ')).then_some(said)
    };
    problems.lines().find_map(|line| of(line, key).or_else(|| of(line, &format!("sweep.over.{key}"))))
}

/// What the next option of a choice or switch is, `by` further on; `None` for settings that are typed.
pub fn option(setting: &Setting, value: &str, by: isize) -> Option<String> {
    let options: Vec<&str> = match setting.field.kind {
        Kind::Choice => setting.field.options.iter().map(|o| o.value.as_str()).collect(),
        Kind::Switch => vec!["false", "true"],
        _ => return None,
    };
    let at = options.iter().position(|o| *o == value).map_or(0, |at| at as isize + by);
    options.get(at.rem_euclid(options.len().max(1) as isize) as usize).map(|o| (*o).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_change_that_says_what_the_preset_says_is_none() {
        let settings = fixture::settings();
        let seed = settings.iter().find(|s| s.field.key == "seed").unwrap();
        let mut changes = Changes::default();
        assert!(changes.set("a", seed, Some(" 2 ")));
        assert!(!changes.set("a", seed, Some("2")));
        assert_eq!(changes.arguments("a"), ["seed=2"]);
        assert!(changes.arguments("b").is_empty());
        assert!(changes.set("a", seed, Some(&seed.value)));
        assert_eq!(changes.get("a", "seed"), None);
        assert!(!changes.set("a", seed, None));
    }

    #[test]
    fn options_go_round() {
        let settings = fixture::settings();
        let by_key = |key: &str| settings.iter().find(|s| s.field.key == key).unwrap();
        assert_eq!(option(by_key("optim.kind"), "sgd", 1).as_deref(), Some("adamw"));
        assert_eq!(option(by_key("optim.kind"), "adamw", 1).as_deref(), Some("sgd"));
        assert_eq!(option(by_key("data.flip"), "false", -1).as_deref(), Some("true"));
        assert_eq!(option(by_key("seed"), "1", 1), None);
    }

    #[test]
    fn what_is_varied_goes_the_way_of_the_command_line() {
        let settings = fixture::settings();
        let lr = settings.iter().find(|s| s.field.key == "optim.lr").unwrap();
        let mut changes = Changes::default();
        assert!(changes.set("a", lr, Some("0.3")) && changes.vary("a", lr, Some(" log:1e-3..0.1/3 ")));
        assert!(!changes.vary("a", lr, Some("log:1e-3..0.1/3")));
        assert_eq!(
            changes.arguments("a"),
            ["sweep.over.\"optim.lr\"=log:1e-3..0.1/3"],
            "the value has no meaning any more"
        );
        assert_eq!(changes.in_words("a"), ["optim.lr over log:1e-3..0.1/3"]);
        assert!(changes.vary("a", lr, Some(" ")));
        assert_eq!(changes.count("a"), 0);
        assert!(changes.vary("a", lr, Some("0.1, 0.2")) && changes.set("a", lr, Some(&lr.value)));
        assert_eq!(changes.count("a"), 0, "one value again, the preset's own");
        assert!(changes.set("a", lr, Some("0.3")));
        changes.forget("a");
        assert_eq!(changes.count("a"), 0);
    }

    #[test]
    fn a_problem_is_told_of_its_own_setting_alone() {
        let said = "p.toml:3: optim.lr: expected a number\nsweep.over.seed: is the same\ndata.path: is empty";
        assert_eq!(problem_of(said, "optim.lr"), Some("expected a number"));
        assert_eq!(problem_of(said, "lr"), None);
        assert_eq!(problem_of(said, "seed"), Some("is the same"));
        assert_eq!(problem_of(said, "data.path"), Some("is empty"));
    }

    #[test]
    fn a_form_shows_what_is_asked_for() {
        let form = Form { preset: "a".into(), settings: fixture::settings(), ..Form::default() };
        let mut changes = Changes::default();
        let lr = form.settings.iter().find(|s| s.field.key == "optim.lr").unwrap();
        changes.set("a", lr, Some("0.3"));
        assert_eq!(form.visible(&changes).len(), form.settings.len());
        let keys = |form: &Form| form.visible(&changes).iter().map(|s| s.field.key.clone()).collect::<Vec<_>>();
        assert!(keys(&Form { filter: "momentum".into(), ..form.clone() }).contains(&"optim.nesterov".into()));
        assert_eq!(keys(&Form { differing: true, ..form.clone() }), ["optim.lr"]);
    }
}
