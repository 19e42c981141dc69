//! The launcher's form: the settings of a preset, changed before it is started.

use std::collections::BTreeMap;

use kiln_protocol::spec::schema::Kind;

use crate::model::list::List;
use crate::options::Setting;

/// The open form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    pub preset: String,
    /// All settings as the preset itself has them; empty until the launcher has told them.
    pub settings: Vec<Setting>,
    pub list: List,
}

/// What was changed of presets, by name of the preset: keys with their new values, in the order of the changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<String, Vec<(String, String)>>);

impl Changes {
    /// The new value of a setting, as typed.
    pub fn get(&self, preset: &str, key: &str) -> Option<&str> {
        self.of(preset).iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// All that was changed of a preset.
    pub fn of(&self, preset: &str) -> &[(String, String)] {
        self.0.get(preset).map_or(&[], Vec::as_slice)
    }

    /// As the command line takes them: `key=value`.
    pub fn arguments(&self, preset: &str) -> Vec<String> {
        self.of(preset).iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// Changes a setting; `None`, or the value that the preset itself has, takes the change back. Returns whether anything
    /// is different now.
    pub fn set(&mut self, preset: &str, setting: &Setting, value: Option<&str>) -> bool {
        let key = setting.field.key.as_str();
        let value = value.map(str::trim).filter(|value| *value != setting.value);
        if self.get(preset, key) == value {
            return false;
        }
        let all = self.0.entry(preset.to_owned()).or_default();
        all.retain(|(k, _)| k != key);
        all.extend(value.map(|value| (key.to_owned(), value.to_owned())));
        true
    }
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
}
