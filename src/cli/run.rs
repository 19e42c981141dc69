//! `run`: launches a preset, shows how it goes, and ends with what it found.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_protocol::client::Client;
use kiln_protocol::run::RunSummary;
use kiln_protocol::wire::{Reply, Request, RunDetail, Series, SeriesInfo};
use kiln_protocol::{Event, Level, RunId, RunState};
use serde_json::json;

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, note, say, say_json};
use crate::follow::{self, Seen};
use crate::plot::{self, Frame};
use crate::{args, human, inspect, jobs, list, presets, tag, terminal};

/// Without a terminal, a line at least this often while something moves ...
const LINE_EVERY: Duration = Duration::from_secs(5);
/// ... and whenever that share more is done.
const LINE_STEP: f64 = 0.1;

pub fn run(engines: &Engines, args: &args::Run) -> Outcome {
    let preset = presets::load(&args.chosen.preset, &args.chosen.changes())?;
    let spec = preset.frozen().map_err(Failure::input)?;
    let mut client = engines.open()?;
    let request = Request::Launch { preset: preset.name.clone(), spec, priority: args.launch.priority, origin: None };
    let run = match client.request(&request)? {
        Reply::Launched { run } => run,
        other => return engines::unexpected(&other),
    };
    tag::add(&mut client, &run, &args.launch.tags)?;
    drop(client);
    let title = if preset.spec.title.is_empty() { &preset.name } else { &preset.spec.title };
    follow_launched(engines, &run, title, args.launch.detach, args.launch.json)
}

/// Watches a run that was just launched, or only says what it is called.
pub fn follow_launched(engines: &Engines, run: &RunId, title: &str, detach: bool, as_json: bool) -> Outcome {
    if detach {
        return if as_json { say_json(&json!({ "run": run })) } else { say(run) };
    }
    if !as_json {
        say(format!("{run}: {title}"))?;
    }
    watch(engines, run, as_json)
}

/// Watches a run to its end and says how it ended.
fn watch(engines: &Engines, run: &RunId, as_json: bool) -> Outcome {
    let interrupted = follow::on_interrupt()?;
    let mut display = Display::new(as_json);
    let ended = follow::follow(engines, run, 0, &interrupted, &mut |seen| display.show(seen));
    display.end();
    match ended {
        Ok(summary) => finish(engines, &summary, as_json),
        Err(Failure::Interrupted) => {
            note(format!("{run} goes on in the background; watch it with `kiln`, or with `kiln tail -f {run}`"));
            note(format!("to stop it: kiln stop {run}"));
            Err(Failure::Interrupted)
        }
        Err(Failure::Engine(said)) => {
            Err(Failure::Engine(format!("{said}\n{run} goes on without the engine; `kiln ls` starts another")))
        }
        Err(other) => Err(other),
    }
}

fn finish(engines: &Engines, summary: &RunSummary, as_json: bool) -> Outcome {
    let mut client = engines.open()?;
    let detail = engines::detail(&mut client, &summary.id)?;
    let run = &detail.summary;
    if as_json {
        say_json(&json!({ "run": run.id, "state": run.state, "reason": run.reason, "outcome": detail.outcome }))?;
    } else {
        if let Some(outcome) = &detail.outcome {
            say(format!("\n{}", list::outcome(outcome, detail.jobs.is_empty())))?;
        }
        if let Some(picture) = picture(&mut client, &detail)? {
            say(format!("\n{picture}"))?;
        }
        let took = run.took(kiln_protocol::now()).map(|took| format!(" after {}", human::duration(took)));
        let why = run.reason.as_ref().map(|r| format!(": {r}"));
        say(format!("\n{} {}{}{}", run.id, run.state, took.unwrap_or_default(), why.unwrap_or_default()))?;
    }
    match run.state {
        RunState::Completed => Ok(()),
        RunState::Stopped => Err(Failure::RunStopped),
        _ => Err(Failure::RunFailed),
    }
}

/// The curve that tells most about the run.
fn picture(client: &mut Client, detail: &RunDetail) -> Outcome<Option<String>> {
    let Some(info) = telling(detail) else { return Ok(None) };
    let columns = terminal::width().min(100) as u16;
    if !detail.jobs.is_empty() {
        let all = series(client, &detail.summary.id, jobs::telling(detail), (None, None), u32::from(columns))?;
        let draw = |s: &Series| {
            let info = detail.series.iter().find(|i| i.name == s.name);
            let (x_max, x_unit) = (info.and_then(|i| i.x_max), info.map_or("", |i| i.x_unit.as_str()));
            let frame = Frame { columns, lines: 8, log: false, x_max, x_unit, spread: &s.spread };
            plot::plot(&inspect::title(s), &s.points, frame)
        };
        // More would push the tables out of sight.
        let drawings: Vec<String> = all.iter().take(3).map(draw).collect();
        return Ok((!drawings.is_empty()).then(|| drawings.join("\n\n")));
    }
    let mut series = series(client, &detail.summary.id, vec![info.name.clone()], (None, None), u32::from(columns))?;
    series.iter_mut().for_each(|s| to_the_end(detail, s));
    let frame = Frame { columns, lines: 12, log: false, x_max: info.x_max, x_unit: &info.x_unit, spread: &[] };
    Ok(series.first().map(|s| plot::plot(&s.name, &s.points, frame)))
}

/// The series by which the run is judged. Where that has too few points for a curve, as in a search that learns of a new
/// best now and then, the curve of the candidate that reached it; else what every training has, else the first.
pub fn telling(detail: &RunDetail) -> Option<&SeriesInfo> {
    let series = || detail.series.iter();
    let is_curve = |s: &&SeriesInfo| s.points >= CURVE;
    let judged = detail.summary.best.as_ref().and_then(|best| {
        let of_candidate = format!("/{}", best.name);
        let off = |s: &&SeriesInfo| s.last_y.map_or(f64::INFINITY, |y| (y - best.value).abs());
        let own = series().filter(is_curve).find(|s| s.name == best.name);
        let candidates = series().filter(is_curve).filter(|s| s.name.ends_with(&of_candidate));
        own.or_else(|| candidates.min_by(|a, b| off(a).total_cmp(&off(b))))
    });
    judged
        .or_else(|| series().find(|s| s.name == "valid/accuracy" && s.points > 1))
        .or_else(|| series().find(|s| s.name == "train/loss" && s.points > 1))
        .or_else(|| series().max_by_key(|s| s.points))
}

/// Points from which on a line looks like a curve.
const CURVE: u64 = 8;

/// Series of a run, at most two points a column; all points for 0 columns.
pub fn series(
    client: &mut Client,
    run: &RunId,
    names: Vec<String>,
    (from, to): (Option<f64>, Option<f64>),
    columns: u32,
) -> Outcome<Vec<Series>> {
    match client.request(&Request::Series { run: run.clone(), names, from, to, columns })? {
        Reply::Series { series } => Ok(series),
        other => engines::unexpected(&other),
    }
}

/// Appends a series' very last point, which is rarely the lowest or highest of its column.
pub fn to_the_end(detail: &RunDetail, series: &mut Series) {
    let last = detail
        .series
        .iter()
        .find(|info| info.name == series.name)
        .map(|info| [info.last_x, info.last_y.unwrap_or(f64::NAN)]);
    series.points.extend(last.filter(|last| series.points.last().is_none_or(|p| p[0] < last[0])));
}

/// What is shown while a run goes on.
enum Display {
    /// A bar at the bottom of the terminal, the log above it.
    Bar(ProgressBar),
    /// Of an experiment: also a bar for each job at work.
    Bars(ProgressBar, jobs::Bars),
    Lines(Lines),
    Silent,
}

/// Plain lines for files, pipes and continuous integration.
struct Lines {
    said: Option<Instant>,
    fraction: f64,
    state: Option<RunState>,
}

impl Display {
    fn new(as_json: bool) -> Display {
        if as_json {
            return Display::Silent;
        }
        if !terminal::is_terminal() {
            return Display::Lines(Lines { said: None, fraction: 0.0, state: None });
        }
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stdout_with_hz(10));
        bar.set_style(style());
        Display::Bar(bar)
    }

    fn show(&mut self, seen: Seen<'_>) -> Outcome {
        if let (Display::Bar(bar), Seen::Jobs(_)) = (&*self, &seen) {
            *self = Display::Bars(bar.clone(), jobs::Bars::above(bar, style()));
        }
        match (self, seen) {
            (Display::Bars(_, bars), Seen::Jobs(jobs)) => {
                bars.show(jobs);
                Ok(())
            }
            (Display::Bars(_, bars), Seen::Event(event)) => {
                if let Some(line) = log_line(event) {
                    bars.println(&human::hang("      ", &line, terminal::width()));
                }
                Ok(())
            }
            (_, Seen::Jobs(_)) => Ok(()),
            (Display::Bar(bar) | Display::Bars(bar, _), Seen::Summary(run)) => {
                bar.set_position((1000.0 * run.progress.fraction()) as u64);
                bar.set_message(status(run));
                Ok(())
            }
            (Display::Lines(lines), Seen::Summary(run)) => lines.summary(run),
            (Display::Bar(bar), Seen::Event(event)) => {
                if let Some(line) = log_line(event) {
                    bar.println(human::hang("      ", &line, terminal::width()));
                }
                Ok(())
            }
            (Display::Lines(_), Seen::Event(event)) => {
                log_line(event).map_or(Ok(()), |line| say(format!("      {line}")))
            }
            (Display::Bar(bar) | Display::Bars(bar, _), Seen::Lost(said)) => {
                bar.set_message(format!("{said}; trying again"));
                Ok(())
            }
            (Display::Lines(_), Seen::Lost(said)) => {
                note(format!("{said}; trying again"));
                Ok(())
            }
            (Display::Silent, _) => Ok(()),
        }
    }

    fn end(&mut self) {
        match self {
            Display::Bar(bar) => bar.finish_and_clear(),
            Display::Bars(bar, bars) => {
                bars.end();
                bar.finish_and_clear();
            }
            Display::Lines(_) | Display::Silent => {}
        }
    }
}

/// How bars look.
fn style() -> ProgressStyle {
    let colour = if terminal::colours() { ".cyan/dim" } else { "" };
    // A template that does not parse would only cost the looks.
    let style = ProgressStyle::with_template(&format!("{{bar:24{colour}}} {{percent:>3}}%  {{wide_msg}}"));
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

impl Lines {
    fn summary(&mut self, run: &RunSummary) -> Outcome {
        let fraction = run.progress.fraction();
        let due = match self.said {
            None => true,
            Some(said) => {
                self.state != Some(run.state)
                    || fraction >= self.fraction + LINE_STEP
                    || (fraction > self.fraction && said.elapsed() >= LINE_EVERY)
            }
        };
        // The end has lines of its own, and so has the beginning: the worker's first words.
        let passing = run.state == RunState::Starting || (run.state == RunState::Running && fraction == 0.0);
        if !due || passing || run.state.is_ended() {
            return Ok(());
        }
        (self.said, self.fraction, self.state) = (Some(Instant::now()), fraction, Some(run.state));
        say(format!("{:>4}  {}", human::percent(fraction), status(run)))
    }
}

/// What a run is doing, in one line: `short training 12/40 · valid/accuracy 0.91 · 34 s left`.
fn status(run: &RunSummary) -> String {
    let doing = match run.state {
        RunState::Running if !run.progress.note.is_empty() => run.progress.note.clone(),
        RunState::Paused => format!("paused: {}", run.reason.as_deref().unwrap_or("asked for")),
        RunState::Queued => match &run.reason {
            Some(reason) => format!("queued: {reason}"),
            None => "queued".into(),
        },
        state => state.to_string(),
    };
    let best = run.best.as_ref().map(list::best_in_words);
    let left = run.eta.filter(|_| run.state == RunState::Running).map(|s| format!("{} left", human::duration(s)));
    std::iter::once(doing).chain(best).chain(left).collect::<Vec<_>>().join(" · ")
}

/// Events worth a line while one waits. New bests are in the progress line anyway.
fn log_line(event: &Event) -> Option<String> {
    use kiln_protocol::Body;
    if matches!(event.body, Body::Best(_) | Body::Completed { .. }) {
        return None;
    }
    let (level, text) = follow::sentence(&event.body)?;
    (level >= Level::Info).then(|| format!("{}{text}", follow::mark(level)))
}
