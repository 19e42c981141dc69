//! Settings of a run that can be changed while it goes on.

use kiln_protocol::spec::schema::{self, Field};
use kiln_protocol::spec::{MethodName, Spec};
use kiln_protocol::wire::RunDetail;
use kiln_protocol::{RunId, RunState};

use crate::model::list::List;

/// The live settings of a run, one of them selected.
#[derive(Clone, Debug, PartialEq)]
pub struct Knobs {
    pub run: RunId,
    pub state: RunState,
    /// Jobs of an experiment, all of which get a change; 0 for other runs.
    pub jobs: usize,
    pub knobs: Vec<Knob>,
    pub list: List,
    /// What is wrong with the value that is being typed.
    pub wrong: Option<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    pub field: Field,
    /// As it is now.
    pub value: String,
    /// As the run was started with.
    pub started: String,
}

impl Knobs {
    /// What can be changed of a run.
    ///
    /// # Errors
    /// A sentence: nothing can.
    pub fn new(run: &RunDetail) -> Result<Knobs, String> {
        let summary = &run.summary;
        let id = &summary.id;
        if summary.state == RunState::Completed {
            return Err(format!("{id} has completed: there is nothing to change any more."));
        }
        let method = MethodName::ALL.iter().copied().find(|m| m.as_str() == summary.method);
        let fields = method.map(schema::fields).unwrap_or_default();
        let spec: toml::Table = run.spec.parse().unwrap_or_default();
        let knob = |field: Field| {
            let started = said(&spec, &field);
            let turned = run.knobs.iter().find(|(key, _)| *key == field.key).map(|(_, value)| value.clone());
            Knob { value: turned.unwrap_or_else(|| started.clone()), started, field }
        };
        // What the run makes no use of is not offered.
        let whole = Spec::from_toml("spec.toml", &run.spec).ok();
        let used = |f: &Field| whole.as_ref().is_none_or(|spec| spec.live().contains(&f.key.as_str()));
        let knobs: Vec<Knob> = fields.into_iter().filter(|f| f.live && used(f)).map(knob).collect();
        if knobs.is_empty() {
            let method = &summary.method;
            return Err(format!("{id} runs `{method}`, which has no settings that can be changed while it goes on."));
        }
        let jobs = run.jobs.len();
        Ok(Knobs { run: id.clone(), state: summary.state, jobs, knobs, list: List::default(), wrong: None })
    }

    pub fn selected(&self) -> Option<&Knob> {
        self.knobs.get(self.list.selected)
    }

    /// A setting has another value now.
    pub fn turned(&mut self, key: &str, value: &str) {
        if let Some(knob) = self.knobs.iter_mut().find(|knob| knob.field.key == key) {
            knob.value = value.to_owned();
        }
    }

    /// What a change waits for, if nobody works at the run now.
    pub fn when(&self) -> &'static str {
        match self.state {
            RunState::Running | RunState::Stopping | RunState::Completed => "",
            RunState::Queued | RunState::Starting => " from its start on",
            RunState::Paused => " from when it goes on",
            RunState::Stopped | RunState::Failed => " once it is resumed",
        }
    }
}

/// What a frozen preset says of a setting; else the default.
fn said(spec: &toml::Table, field: &Field) -> String {
    let (table, name) = field.key.rsplit_once('.').unwrap_or(("", &field.key));
    let table = if table.is_empty() { Some(spec) } else { spec.get(table).and_then(toml::Value::as_table) };
    let value = table.and_then(|table| table.get(name)).map(ToString::to_string);
    value.or_else(|| field.default.as_ref().map(ToString::to_string)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn detail(state: RunState, method: &str) -> RunDetail {
        let mut run = fixture::tuned();
        (run.summary.state, run.summary.method) = (state, method.into());
        run
    }

    #[test]
    fn live_settings_stand_as_they_are_now() {
        let knobs = Knobs::new(&detail(RunState::Running, "train")).unwrap();
        let values: Vec<(&str, &str, &str)> =
            knobs.knobs.iter().map(|k| (k.field.key.as_str(), k.value.as_str(), k.started.as_str())).collect();
        assert!(values.contains(&("optim.lr", "0.02", "0.02")), "{values:?}");
        assert!(values.contains(&("train.epochs", "40", "30")), "{values:?}");
        assert!(values.contains(&("optim.weight-decay", "0.0", "0.0")), "{values:?}");
        assert!(!values.iter().any(|v| v.0 == "optim.batch"));
        assert!(!values.iter().any(|v| v.0 == "regulariser.p"), "it has no regulariser");
        let mut regularised = detail(RunState::Running, "train");
        regularised.spec.push_str("[regulariser]\nkind = \"dropout\"\n");
        let found = Knobs::new(&regularised).unwrap();
        assert!(found.knobs.iter().any(|k| k.field.key == "regulariser.p" && k.value == "0.1"));
        assert_eq!(Knobs::new(&detail(RunState::Paused, "train")).unwrap().when(), " from when it goes on");
    }

    #[test]
    fn what_cannot_be_changed_is_said() {
        let said = Knobs::new(&detail(RunState::Completed, "train")).unwrap_err();
        assert!(said.ends_with("has completed: there is nothing to change any more."), "{said}");
        let said = Knobs::new(&detail(RunState::Running, "dc-nas")).unwrap_err();
        assert!(said.contains("runs `dc-nas`, which has no settings"), "{said}");
    }
}
