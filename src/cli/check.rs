//! `check` and `schema`: what a preset says and may say, without an engine.

use std::fmt::Write;

use kiln_protocol::arch::ArchError;
use kiln_protocol::spec::schema::{self, Field, Kind};
use kiln_protocol::spec::{MethodName, Preset};
use serde::Serialize;

use crate::estimate::{Estimate, Extremes, Member, estimate};
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, human, images, presets};

/// The answer of `check --json`.
#[derive(Serialize)]
struct Checked<'a> {
    preset: &'a str,
    file: String,
    method: String,
    title: &'a str,
    data: String,
    /// Of an experiment: arm and seed of each job, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<(Option<&'a str>, u64)>,
    estimate: &'a Estimate,
    /// What keeps it from being started here, though the preset itself is right.
    missing: Option<String>,
}

pub fn check(args: &args::Check) -> Outcome {
    let (preset, missing) = presets::read(&args.chosen.preset, &args.chosen.changes())?;
    if args.spec {
        say(preset.frozen().map_err(Failure::input)?.trim_end())?;
    } else {
        let wrong = |e: ArchError| Failure::Input(preset.problem("space", e.to_string()).to_string());
        let mut estimate = estimate(&preset).map_err(wrong)?;
        estimate.extremes = Extremes::of(&preset.spec).map_err(wrong)?;
        if args.json {
            say_json(&Checked {
                preset: &preset.name,
                file: preset.file.display().to_string(),
                method: preset.spec.method.to_string(),
                title: &preset.spec.title,
                data: preset.spec.data.path.clone(),
                jobs: preset.spec.parts(),
                estimate: &estimate,
                missing: missing.as_ref().map(ToString::to_string),
            })?;
        } else {
            say(report(&preset, &estimate, missing.is_none()))?;
        }
    }
    match missing {
        None => Ok(()),
        Some(problem) => Err(Failure::Input(format!(
            "{problem}\nkiln: all else is right; with its data in place, it can be started"
        ))),
    }
}

fn report(preset: &Preset, e: &Estimate, data_there: bool) -> String {
    let spec = &preset.spec;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {}",
        preset.name,
        if data_there { "can be started" } else { "cannot be started: its data are missing" }
    );
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<8} {value}");
    };
    line("file", preset.file.display().to_string());
    if !spec.title.is_empty() {
        line("title", spec.title.clone());
    }
    line("method", spec.method.to_string());
    let parts = spec.parts();
    if !parts.is_empty() {
        let arms = match spec.arms.len() {
            0 => String::new(),
            1 => "1 arm, ".into(),
            n => format!("{n} arms, "),
        };
        let seeds = if spec.seeds.is_empty() { vec![spec.seed] } else { spec.seeds.clone() };
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        let word = if seeds.len() == 1 { "seed" } else { "seeds" };
        line("jobs", format!("{}: {arms}{word} {}", parts.len(), seeds.join(", ")));
    }
    for arm in &spec.arms {
        let set: Vec<String> = arm.settings().into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let other = if arm.changes_data() { " (other data than the rest)" } else { "" };
        line(
            "arm",
            format!("{}: {}{other}", arm.name, if set.is_empty() { "as the preset".into() } else { set.join(", ") }),
        );
    }
    let known = if e.images_known { "" } else { ", if complete" };
    let path = if spec.data.path.is_empty() { "not there" } else { &spec.data.path };
    let images = format!(", {} training images{known}", human::count(e.images as f64));
    let images = if e.predictors.is_some() { "" } else { &images };
    line("data", format!("{}{images}: {path}", images::name(spec.data.set)));
    if spec.data.test == 0 && images::holds_out_test(spec.data.set) && e.predictors.is_none() && e.iterations.is_none()
    {
        line("test", "no images: this set has no test part of its own; --set data.test=N holds some out".into());
    }
    if spec.regulariser.is_on() {
        line("regulariser", spec.regulariser.in_words());
    }
    if !e.space.is_empty() {
        let bound = if e.space_size_is_bound { "at most " } else { "" };
        line("space", format!("{}: {bound}{} architectures", e.space, size(e.space_size)));
    }
    let mut rows = Vec::new();
    let mut row = |what: &str, m: &Member| {
        rows.push(vec![what.into(), human::count(m.params as f64), human::count(m.macs as f64), m.arch.clone()]);
    };
    if let Some(chosen) = &e.chosen {
        row("this preset", chosen);
    }
    if let Some(reference) = &e.reference {
        row("reference", reference);
    }
    for network in &e.networks {
        row("", network);
    }
    if let Some(extremes) = &e.extremes {
        row("cheapest", &extremes.cheapest);
        row("dearest", &extremes.dearest);
    }
    // Quantised networks are counted in operations: floating-point ones and a 64th of the bit operations.
    let cost = if spec.method == MethodName::WidenSqueeze { "OPS" } else { "MACS" };
    let _ = writeln!(
        out,
        "\n{}\n",
        human::indent(&human::columns(&["NETWORK", "PARAMETERS", cost, "ARCHITECTURE"], &rows))
    );
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<8} {value}");
    };
    line(
        "work",
        match (e.predictors, e.iterations) {
            (Some((trainings, steps)), _) => {
                format!("{} trainings, {} steps", human::count(trainings as f64), human::count(steps as f64))
            }
            (None, Some(iterations)) => format!(
                "{} iterations, {} images shown, {:.3e} operations",
                human::count(iterations as f64),
                human::count(e.epoch_images),
                e.operations
            ),
            (None, None) => format!(
                "{} epochs, {} images shown, {:.3e} operations",
                human::count(e.epochs),
                human::count(e.epoch_images),
                e.operations
            ),
        },
    );
    line(
        "time",
        match e.is_known() {
            true => format!("{} on {}", human::roughly(e.seconds), e.device),
            false => "unknown until its data are there".into(),
        },
    );
    line("memory", format!("about {}", human::bytes(e.memory)));
    let _ =
        write!(out, "\n  Time and memory are estimates from sizes alone; they may be off by a factor of two and more.");
    out
}

fn size(n: f64) -> String {
    if n < 1e9 { human::count(n) } else { format!("{n:.2e}") }
}

pub fn schema(args: &args::Schema) -> Outcome {
    let Some(name) = &args.method else { return say(reference()) };
    if name == "space" {
        return say_json(&schema::space_schema());
    }
    let Some(method) = MethodName::ALL.iter().find(|m| m.as_str() == name).copied() else {
        return Err(Failure::Input(format!("there is no method `{name}`")));
    };
    match (args.fields, args.markdown, args.json) {
        (_, true, _) => say(markdown(&schema::fields(method))),
        (_, _, true) => say_json(&schema::fields(method)),
        (true, ..) => say(listing(&schema::fields(method))),
        _ => say_json(&schema::json_schema(method)),
    }
}

/// The settings of all methods: what all share first, what several share before what each has of its own.
fn reference() -> String {
    let mut out = String::new();
    let mut told: Vec<String> = Vec::new();
    for method in MethodName::ALL {
        // Tables in the order of the settings; each is told with the first method that has it.
        for field in schema::fields(*method) {
            let table = field.key.split_once('.').map_or("", |(table, _)| table);
            let owners = MethodName::owners(table);
            let others: Vec<MethodName> = MethodName::ALL.iter().copied().filter(|m| !owners.contains(m)).collect();
            let list = |names: &[MethodName]| names.iter().map(|m| format!("`{m}`")).collect::<Vec<_>>().join(", ");
            let title = match owners.as_slice() {
                [] => "Every method".to_owned(),
                owners if owners.len() > others.len() => format!("Every method but {}", list(&others)),
                owners => list(owners),
            };
            if told.contains(&title) {
                continue;
            }
            let mut fields = schema::fields(*method);
            fields.retain(|f| MethodName::owners(f.key.split_once('.').map_or("", |(table, _)| table)) == owners);
            let _ = write!(out, "### {title}\n\n{}\n\n", markdown(&fields));
            told.push(title);
        }
    }
    out.trim_end().to_owned()
}

/// Range or options, in words.
fn allowed(field: &Field) -> String {
    let unit = field.unit.as_ref().map(|u| format!(" {u}")).unwrap_or_default();
    let range = match (field.min, field.max) {
        (Some(min), Some(max)) if max < f64::from(u32::MAX) => format!("{} to {}", plain(min), plain(max)),
        (Some(min), _) => format!("{} or more", plain(min)),
        _ => String::new(),
    };
    match field.kind {
        Kind::Choice => field.options.iter().map(|o| o.value.as_str()).collect::<Vec<_>>().join(" | "),
        Kind::Switch => "true | false".into(),
        Kind::Integer | Kind::Number => range + &unit,
        Kind::Text => "text".into(),
        Kind::List => "list".into(),
        Kind::Map => "table".into(),
    }
}

fn plain(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-4 { format!("{x:e}") } else { x.to_string() }
}

fn default(field: &Field) -> String {
    match &field.default {
        _ if field.required => "(required)".into(),
        Some(value) if field.kind == Kind::Choice => value.as_str().unwrap_or_default().to_owned(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn listing(fields: &[Field]) -> String {
    let mut out = String::new();
    for field in fields {
        let live = if field.live { "  [can be changed while a run goes on]" } else { "" };
        let default = default(field);
        let default = if default.is_empty() { String::new() } else { format!(" = {default}") };
        let _ = writeln!(out, "{}{default}   {}{live}", field.key, allowed(field));
        for line in human::wrap(&field.help, 92).lines() {
            let _ = writeln!(out, "    {line}");
        }
        for option in field.options.iter().filter(|o| !o.help.is_empty()) {
            let _ = writeln!(out, "      {}: {}", option.value, option.help);
        }
    }
    out.trim_end().to_owned()
}

fn markdown(fields: &[Field]) -> String {
    let mut out = String::from("| setting | default | may be | what it does |\n| --- | --- | --- | --- |\n");
    let escape = |s: String| s.replace('|', "\\|");
    for field in fields {
        let live = if field.live { " Live." } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {}{live} |",
            field.key,
            escape(default(field)),
            escape(allowed(field)),
            escape(field.help.clone())
        );
    }
    out.trim_end().to_owned()
}
