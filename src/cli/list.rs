//! `ls`, `presets` and `show`.

use std::fmt::Write;

use kiln_protocol::advice::Advice;
use kiln_protocol::run::{Best, RunSummary, Table};
use kiln_protocol::wire::{RunDetail, SeriesInfo};
use kiln_protocol::{Level, RunState, now};
use kiln_tui::model::runs::{Column, Line, Runs};
use kiln_tui::saved;
use serde::Serialize;

use crate::engines::{self, Engines};
use crate::estimate::{self, Estimate};
use crate::failure::{Failure, Outcome, note, say, say_json};
use crate::{args, human, jobs, presets, tag, terminal, views, workbench};

pub fn ls(engines: &Engines, args: &args::Ls) -> Outcome {
    // A mistake in what was typed needs no engine.
    let mut list = arranged(args)?;
    let mut client = engines.open()?;
    list.replace(engines::runs(&mut client)?);
    list.suits().map_err(cannot_be_read)?;
    let wanted = |run: &RunSummary| args.state.is_empty() || args.state.iter().any(|s| s == run.state.as_str());
    let limit = args.limit.unwrap_or(usize::MAX);
    let jobs = if args.jobs { jobs::of(&mut client, None)? } else { Vec::new() };
    let mut runs: Vec<&RunSummary> = Vec::new();
    // Where groups begin: the first of their rows, and their name.
    let mut groups: Vec<(usize, String)> = Vec::new();
    let mut listed = 0;
    for line in list.lines() {
        match line {
            Line::Group { name, .. } => groups.push((runs.len(), name)),
            Line::Run(run) if listed < limit && wanted(run) => {
                listed += 1;
                runs.push(run);
                runs.extend(jobs.iter().filter(|j| j.parent().as_ref() == Some(&run.id)));
            }
            Line::Run(_) => {}
        }
    }
    if args.json {
        return say_json(&runs);
    }
    if runs.is_empty() {
        let none = || "No runs yet. Start one: kiln run dc-nas-digits".to_owned();
        return say(match list.why_none() {
            _ if list.is_empty() => none(),
            Some(why) => why,
            None => "No run is in that state.".into(),
        });
    }
    say(table(&runs, &groups, &list))
}

/// How the list is to look; no runs yet.
fn arranged(args: &args::Ls) -> Outcome<Runs> {
    let mut list = Runs::at(now());
    if let Some(name) = &args.view {
        let (views, mistakes) = saved::load(workbench::views_file().as_deref());
        mistakes.iter().for_each(note);
        let Some(view) = views.iter().find(|v| v.name == *name) else {
            let known = views.iter().map(|v| format!("`{}`", v.name)).collect::<Vec<_>>().join(", ");
            return Err(Failure::input(format!("there is no saved view `{name}`; there are {known}")));
        };
        view.apply(&mut list);
    }
    if let Some(filter) = &args.filter {
        let both = format!("{} {filter}", list.filter());
        list.set_filter(both.trim_start());
    }
    match &list.mistake {
        Some(mistake) => Err(cannot_be_read(mistake)),
        None => Ok(list),
    }
}

fn cannot_be_read(mistake: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("the filter cannot be read: {mistake}"))
}

/// The rows, under the names of their groups; columns asked for come behind the run's name.
fn table(runs: &[&RunSummary], groups: &[(usize, String)], list: &Runs) -> String {
    let colour = terminal::colours();
    // Tags are worth a column where there are any.
    let mut columns = list.columns.clone();
    if !columns.contains(&Column::Tags) && runs.iter().any(|run| !run.tags.is_empty()) {
        columns.push(Column::Tags);
    }
    let (before, behind): (Vec<_>, Vec<_>) = columns.iter().partition(|c| list.columns.contains(c));
    let cells = |columns: &[&Column], run: &RunSummary| -> Vec<String> {
        columns.iter().map(|c| c.cell(run, list.now).unwrap_or_else(|| "-".into())).collect()
    };
    let row = |run: &&RunSummary| {
        let mut row = row(run, list.now, colour);
        row.splice(1..1, cells(&before, run));
        row.extend(cells(&behind, run));
        row
    };
    let names = |columns: &[&Column]| columns.iter().map(|c| c.name().to_uppercase()).collect::<Vec<_>>();
    let mut heads = vec!["RUN".to_owned()];
    heads.extend(names(&before));
    heads.extend(["STATE", "DONE", "BEST", "LEFT", "TOOK", "SEEN", "DEVICE"].map(str::to_owned));
    heads.extend(names(&behind));
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let whole = human::columns(&heads, &runs.iter().map(row).collect::<Vec<_>>());
    if groups.is_empty() {
        return whole;
    }
    let mut out = String::new();
    for (i, line) in whole.lines().enumerate() {
        // The first line has the heads. A group whose rows were all left out has none.
        let starts = groups.iter().enumerate().filter(|(n, group)| {
            i > 0 && group.0 == i - 1 && groups.get(n + 1).map_or(runs.len(), |next| next.0) > group.0
        });
        for (_, (_, name)) in starts {
            let _ = writeln!(out, "\n{name}");
        }
        let _ = writeln!(out, "{line}");
    }
    out.trim_end().to_owned()
}

fn row(run: &RunSummary, now: f64, colour: bool) -> Vec<String> {
    let or_dash = |x: Option<String>| x.unwrap_or_else(|| "-".into());
    let live = run.state.is_live() || run.state == RunState::Queued;
    let took = run.took(now).map(human::duration);
    let seen =
        run.last_event.filter(|_| run.state.is_live()).map(|t| format!("{} ago", human::duration((now - t).max(0.0))));
    vec![
        run.id.to_string(),
        human::state(run.state, colour),
        match run.jobs {
            Some(jobs) => format!("{}/{} job{}", jobs.completed, jobs.total, if jobs.total == 1 { "" } else { "s" }),
            None => human::percent(run.progress.fraction()),
        },
        or_dash(run.best.as_ref().map(|b| human::number(b.value))),
        or_dash(run.eta.filter(|_| live).map(human::duration)),
        or_dash(took),
        or_dash(seen),
        // How many cores there are is the same in every line.
        or_dash(run.device.as_deref().map(|device| device.split(" (").next().unwrap_or(device).to_owned())),
    ]
}

/// A preset in a list.
#[derive(Serialize)]
struct Listed {
    name: String,
    file: String,
    title: String,
    description: String,
    method: String,
    estimate: Option<Estimate>,
    /// Why it cannot be started as it is.
    problem: Option<String>,
}

pub fn presets(args: &args::Presets) -> Outcome {
    let listed: Vec<Listed> =
        presets::all().into_iter().map(|(name, file)| listed(name, file.display().to_string())).collect();
    if args.json {
        return say_json(&listed);
    }
    let width = terminal::width().min(100) - 4;
    let mut out = String::new();
    for preset in &listed {
        let _ = writeln!(out, "{}", preset.name);
        let _ = writeln!(out, "    {}", preset.title);
        if let Some(estimate) = &preset.estimate {
            let _ = writeln!(out, "    {} (an estimate)", estimate.in_words());
        }
        for line in
            preset.problem.iter().flat_map(|p| human::wrap(p, width).lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let _ = writeln!(out, "    {line}");
        }
    }
    say(out.trim_end())
}

fn listed(name: String, file: String) -> Listed {
    let blank = |problem| Listed {
        name: name.clone(),
        file: file.clone(),
        title: String::new(),
        description: String::new(),
        method: String::new(),
        estimate: None,
        problem,
    };
    match presets::read(&name, &[]) {
        Ok((preset, missing)) => Listed {
            title: preset.spec.title.clone(),
            description: preset.spec.description.clone(),
            method: preset.spec.method.to_string(),
            estimate: estimate::estimate(&preset).ok(),
            ..blank(missing.map(|p| p.to_string()))
        },
        Err(Failure::Input(said)) => blank(Some(said)),
        Err(_) => blank(Some("cannot be read".into())),
    }
}

pub fn show(engines: &Engines, args: &args::Show) -> Outcome {
    let mut client = engines.open()?;
    let run = engines::find(&mut client, &args.run)?;
    let detail = engines::detail(&mut client, &run)?;
    if let Some(name) = &args.view {
        let (name, view) = views::find(&detail, name)?;
        return if args.json { say_json(view) } else { say(views::text(&detail, name, view)) };
    }
    if args.spec && !args.json {
        return say(spec(&detail));
    }
    let advice = engines::advice(&mut client, Some(&run))?;
    if args.json {
        let mut value = serde_json::to_value(&detail)?;
        if let Some(map) = value.as_object_mut() {
            map.insert("advice".into(), serde_json::to_value(&advice)?);
        }
        return say_json(&value);
    }
    say(whole(&detail, &advice))
}

/// Advice for people: what is seen, and below it what helps.
pub fn advice(all: &[Advice], width: usize) -> String {
    let one = |a: &Advice| {
        let sign = if a.level == Level::Info { "hint: " } else { "watch out: " };
        format!("{}\n{}", human::hang(sign, &a.what, width), human::hang("  ", &a.remedy, width))
    };
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// The frozen preset; what was changed while the run went on stands above it, as a comment, so that the text is still a
/// preset.
fn spec(detail: &RunDetail) -> String {
    let mut out = String::new();
    if !detail.knobs.is_empty() {
        let _ = writeln!(out, "# As it was started. Changed since then with `kiln set`:");
        for (key, value) in &detail.knobs {
            let _ = writeln!(out, "#   {key} = {value}");
        }
        out.push('\n');
    }
    out + detail.spec.trim_end()
}

fn whole(detail: &RunDetail, advice: &[Advice]) -> String {
    let run = &detail.summary;
    let now = now();
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}", run.id, human::state(run.state, terminal::colours()));
    if !run.title.is_empty() {
        let _ = writeln!(out, "  {}", run.title);
    }
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<9} {value}");
    };
    if !run.tags.is_empty() {
        line("tags", tag::in_words(&run.tags));
    }
    if let Some(reason) = &run.reason {
        line("reason", reason.clone());
    }
    if detail.jobs.is_empty() {
        let arm = run.arm.as_ref().map(|arm| format!(", arm {arm}")).unwrap_or_default();
        line("preset", format!("{} ({}){arm}, seed {}", run.preset, run.method, run.seed));
    } else {
        line("preset", format!("{} ({}), {}", run.preset, run.method, jobs::in_words(&detail.jobs)));
    }
    if let Some(origin) = &run.origin {
        line("origin", origin.to_string());
    }
    if run.progress.total > 0.0 {
        let p = &run.progress;
        // What it was doing last says nothing of a run that is over.
        let note = if p.note.is_empty() || run.state.is_ended() { String::new() } else { format!(", {}", p.note) };
        line(
            "progress",
            format!(
                "{} ({} of {} {}){note}",
                human::percent(p.fraction()),
                human::number(p.done),
                human::number(p.total),
                p.unit
            ),
        );
    }
    if let Some(best) = &run.best {
        line("best", best_in_words(best));
    }
    line("created", format!("{} ago", human::duration(now - run.created)));
    if let Some(took) = run.took(now) {
        let left = run.eta.filter(|_| run.state.is_live()).map(|s| format!(", about {} left", human::duration(s)));
        line("took", human::duration(took) + &left.unwrap_or_default());
    }
    if let Some(device) = &run.device {
        line("device", format!("{device}{}", run.host.as_ref().map(|h| format!(" on {h}")).unwrap_or_default()));
    }
    if run.attempts > 1 {
        let resumed = if run.attempts == 2 { "once".to_owned() } else { format!("{} times", run.attempts - 1) };
        line("attempts", format!("{} (resumed {resumed})", run.attempts));
    }
    if !detail.knobs.is_empty() {
        let changed = detail.knobs.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>();
        line("changed", changed.join(", "));
    }
    line("folder", detail.folder.clone());
    if !detail.views.is_empty() {
        line(
            "views",
            detail.views.iter().map(|(name, view)| format!("{name} ({})", view.kind())).collect::<Vec<_>>().join(", "),
        );
    }
    if !detail.note.is_empty() {
        let _ = writeln!(out, "\n{}", human::wrap(&detail.note, terminal::width().min(100)));
    }
    if !advice.is_empty() {
        let _ = writeln!(out, "\n{}", self::advice(advice, terminal::width().min(100)));
    }
    if !detail.jobs.is_empty() {
        let _ = writeln!(out, "\n{}", jobs::table(&detail.jobs));
    }
    if !detail.series.is_empty() {
        // Curves of single candidates come after those of the run as a whole.
        let mut series: Vec<&SeriesInfo> = detail.series.iter().collect();
        series.sort_by_key(|s| s.name.starts_with("cand-"));
        let row = |s: &&SeriesInfo| {
            let last = s.last_y.map_or_else(|| "-".into(), human::number);
            vec![s.name.clone(), s.points.to_string(), last, human::with_unit(&human::number(s.last_x), &s.x_unit)]
        };
        let rows: Vec<Vec<String>> = series.iter().take(SERIES).map(row).collect();
        let _ = writeln!(out, "\n{}", human::columns(&["SERIES", "POINTS", "LAST", "AT"], &rows));
        if detail.series.len() > SERIES {
            let _ = writeln!(out, "and {} more (kiln show --json)", detail.series.len() - SERIES);
        }
    }
    if let Some(outcome) = &detail.outcome {
        let _ = write!(out, "\n{}", self::outcome(outcome, detail.jobs.is_empty()));
    }
    out.trim_end().to_owned()
}

/// Series listed before the rest is only counted: a search has several for each candidate.
const SERIES: usize = 12;

pub fn best_in_words(best: &Best) -> String {
    format!("{} {}", best.name, human::number(best.value))
}

/// What a run found: the verdict, its tables, and if wanted the figures by the names that `--json` has for them (of an
/// experiment they are many, and its tables say them).
pub fn outcome(outcome: &kiln_protocol::Outcome, with_figures: bool) -> String {
    let verdict = human::wrap(&outcome.verdict, terminal::width().min(100));
    let figures =
        outcome.figures.iter().map(|(name, value)| vec![name.clone(), value.map_or_else(|| "-".into(), human::number)]);
    let figures =
        Table { title: "Figures".into(), columns: vec!["name".into(), "value".into()], rows: figures.collect() };
    let tables = outcome.tables.iter().chain((with_figures && !figures.rows.is_empty()).then_some(&figures));
    std::iter::once(verdict).chain(tables.map(human::table)).collect::<Vec<_>>().join("\n\n")
}
