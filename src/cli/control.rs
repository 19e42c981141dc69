//! `pause`, `resume`, `stop`, `set` and `rm`.

use std::time::Duration;

use kiln_protocol::client::Client;
use kiln_protocol::spec::MethodName;
use kiln_protocol::spec::problem::nearest;
use kiln_protocol::spec::schema::{self, Field, Kind};
use kiln_protocol::wire::{Reply, Request};
use kiln_protocol::{Command, RunId, RunState};
use serde_json::json;

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, follow};

pub fn pause(engines: &Engines, args: &args::Runs) -> Outcome {
    each(engines, args, "pausing", |run| Request::Control { run, command: Command::Pause }).map(drop)
}

pub fn resume(engines: &Engines, args: &args::Runs) -> Outcome {
    each(engines, args, "resuming", |run| Request::Control { run, command: Command::Resume }).map(drop)
}

pub fn stop(engines: &Engines, args: &args::Stop) -> Outcome {
    let runs = each(engines, &args.runs, "stopping", |run| Request::Control { run, command: Command::Stop })?;
    if !args.wait {
        return Ok(());
    }
    let interrupted = follow::on_interrupt()?;
    for run in &runs {
        let ended = follow::follow(engines, run, 0, &interrupted, &mut |_| Ok(()))?;
        if !args.runs.json {
            say(format!("{run} {}", ended.state))?;
        }
    }
    Ok(())
}

pub fn rm(engines: &Engines, args: &args::Runs) -> Outcome {
    each(engines, args, "removed", |run| Request::Remove { run }).map(drop)
}

/// Does the same to each run, and goes on after one that refuses.
fn each(engines: &Engines, args: &args::Runs, done: &str, request: impl Fn(RunId) -> Request) -> Outcome<Vec<RunId>> {
    let mut client = engines.open()?;
    let (mut obeyed, mut refused) = (Vec::new(), Vec::new());
    for asked in &args.runs {
        match one(&mut client, asked, &request) {
            Ok(run) => {
                if !args.json {
                    say(format!("{done} {run}"))?;
                }
                obeyed.push(run);
            }
            Err(Failure::Input(said)) => refused.push(said),
            Err(other) => return Err(other),
        }
    }
    if args.json {
        say_json(&json!({ "done": done, "runs": obeyed, "refused": refused }))?;
    }
    if refused.is_empty() { Ok(obeyed) } else { Err(Failure::Input(refused.join("\n"))) }
}

fn one(client: &mut Client, asked: &str, request: &impl Fn(RunId) -> Request) -> Outcome<RunId> {
    let run = engines::find(client, asked)?;
    // Removing a big folder and writing to a full disk take their time.
    match client.request_within(&request(run.clone()), Duration::from_secs(60))? {
        Reply::Done => Ok(run),
        other => engines::unexpected(&other),
    }
}

pub fn set(engines: &Engines, args: &args::Set) -> Outcome {
    let mut client = engines.open()?;
    let run = engines::find(&mut client, &args.run)?;
    let summary = engines::detail(&mut client, &run)?.summary;
    let method = summary.method;
    let fields = MethodName::ALL.iter().find(|m| m.as_str() == method).map(|m| schema::fields(*m)).unwrap_or_default();
    let mut knobs = Vec::new();
    let mut wrong = Vec::new();
    for value in &args.values {
        match knob(&fields, value) {
            Ok(knob) => knobs.push(knob),
            Err(said) => wrong.push(said),
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Input(wrong.join("\n")));
    }
    for (key, value) in knobs {
        let command = Command::Set { key: key.clone(), value: value.clone() };
        match client.request(&Request::Control { run: run.clone(), command })? {
            Reply::Done => say(format!("setting {key} of {run} to {value}{}", when(summary.state)))?,
            other => return engines::unexpected(&other),
        }
    }
    Ok(())
}

/// What a change waits for, if nobody works at the run now.
fn when(state: RunState) -> &'static str {
    match state {
        RunState::Running | RunState::Stopping => "",
        RunState::Queued | RunState::Starting => ", from its start on",
        RunState::Paused => ", from when it goes on (kiln resume)",
        RunState::Stopped | RunState::Failed => " once it is resumed: it has ended (kiln resume)",
        // Refused by the engine.
        RunState::Completed => "",
    }
}

/// Reads `key=value` of a live setting.
fn knob(fields: &[Field], argument: &str) -> Result<(String, String), String> {
    let Some((key, value)) = argument.split_once('=').map(|(k, v)| (k.trim(), v.trim())) else {
        return Err(format!("`{argument}`: expected KEY=VALUE, such as optim.lr=0.01"));
    };
    let live = || fields.iter().filter(|f| f.live).map(|f| f.key.as_str());
    let Some(field) = fields.iter().find(|f| f.key == key) else {
        let hint = nearest(key, live()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(format!("`{key}` is not a setting{hint}"));
    };
    if !field.live {
        let names = live().collect::<Vec<_>>().join(", ");
        let hint =
            if names.is_empty() { "no setting of this method can".into() } else { format!("these can: {names}") };
        return Err(format!("`{key}` cannot be changed while a run goes on; {hint}"));
    }
    let number: f64 = value.parse().map_err(|_| format!("`{key}`: expected a number, found `{value}`"))?;
    let whole = field.kind != Kind::Integer || number.fract() == 0.0;
    if !whole
        || !number.is_finite()
        || field.min.is_some_and(|min| number < min)
        || field.max.is_some_and(|max| number > max)
    {
        let kind = if field.kind == Kind::Integer { "whole number" } else { "number" };
        let bound = |b: Option<f64>| b.map_or_else(|| "any".into(), |b| b.to_string());
        return Err(format!(
            "`{key}`: expected a {kind} from {} to {}, found {value}",
            bound(field.min),
            bound(field.max)
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_settings_in_their_range_can_be_set() {
        let fields = schema::fields(MethodName::Train);
        assert_eq!(knob(&fields, "optim.lr=0.01").unwrap(), ("optim.lr".into(), "0.01".into()));
        for (argument, said) in [
            ("optim.lr", "`optim.lr`: expected KEY=VALUE, such as optim.lr=0.01"),
            ("optim.rl=1", "`optim.rl` is not a setting; did you mean `optim.lr`?"),
            ("optim.lr=fast", "`optim.lr`: expected a number, found `fast`"),
            ("optim.lr=-1", "`optim.lr`: expected a number from 0.00000001 to 100, found -1"),
            ("optim.lr=inf", "`optim.lr`: expected a number from 0.00000001 to 100, found inf"),
            ("train.epochs=1.5", "`train.epochs`: expected a whole number from 1 to 100000, found 1.5"),
        ] {
            assert_eq!(knob(&fields, argument).unwrap_err(), said);
        }
        let none = knob(&schema::fields(MethodName::DcNas), "optim.lr=0.1").unwrap_err();
        assert!(none.ends_with("while a run goes on; no setting of this method can"), "{none}");
        assert!(
            knob(&fields, "optim.batch=64")
                .unwrap_err()
                .contains("cannot be changed while a run goes on; these can: optim.lr")
        );
    }
}
