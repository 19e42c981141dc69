//! `plot` and `tail`.

use kiln_protocol::wire::{RunDetail, Series, parse_arm_series};
use kiln_protocol::{Event, Level, RunState};

use crate::draw::{Chart, Scene};
use crate::engines::{self, Engines};
use crate::export::files;
use crate::export::plots::{self, Picture, Subject};
use crate::failure::{Failure, Outcome, say, say_json};
use crate::follow::{self, Seen};
use crate::jobs::{self, Logs};
use crate::plot::{Frame, plot as draw};
use crate::{args, human, run, terminal};

pub fn plot(engines: &Engines, args: &args::Plot) -> Outcome {
    let mut client = engines.open()?;
    let id = engines::find(&mut client, &args.run)?;
    let detail = engines::detail(&mut client, &id)?;
    let names = match (args.series.as_slice(), run::telling(&detail)) {
        ([], _) if !jobs::telling(&detail).is_empty() && !detail.jobs.is_empty() => jobs::telling(&detail),
        ([], Some(info)) => vec![info.name.clone()],
        ([], None) => return Err(Failure::Input(format!("{id} has no series yet"))),
        (names, _) => {
            let found = names.iter().map(|name| meant(&detail, name));
            found.collect::<Result<Vec<_>, _>>().map_err(|said| Failure::Input(format!("{id} {said}")))?.concat()
        }
    };
    let picture = args.out.as_deref().map(|out| Picture::of_name(out).map(|format| (format, out)));
    let picture = picture.transpose().map_err(Failure::Input)?;
    if let Some((_, out)) = &picture {
        files::free(out, args.force)?;
    }
    let columns = args.width.unwrap_or_else(|| terminal::width().min(160) as u16);
    let wanted = match (args.json, &picture) {
        (true, _) => 0,
        (false, Some(_)) => plots::WIDTH as u32,
        (false, None) => u32::from(columns),
    };
    let mut series = run::series(&mut client, &id, names, (args.from, args.to), wanted)?;
    if args.to.is_none() {
        series.iter_mut().for_each(|s| run::to_the_end(&detail, s));
    }
    if args.json {
        return say_json(&series);
    }
    if let Some((format, out)) = picture {
        let marks = plots::marks(&mut client, &id)?;
        let subject = Subject { detail, series, marks };
        let charts = plots::charts(&[&subject]).into_iter().map(|chart| {
            let to = args.to.or(chart.to);
            Chart { log_y: args.log, from: args.from, to, ..chart }.draw(plots::WIDTH, plots::HEIGHT)
        });
        plots::write(&Scene::stacked(charts.collect()), format, args.dark, out)?;
        return say(out.display());
    }
    let drawings = series.iter().map(|s| {
        let info = detail.series.iter().find(|i| i.name == s.name);
        let x_max = info.and_then(|i| i.x_max).filter(|_| args.to.is_none());
        let x_unit = info.map_or("", |i| i.x_unit.as_str());
        draw(
            &title(s),
            &s.points,
            Frame { columns, lines: args.height, log: args.log, x_max, x_unit, spread: &s.spread },
        )
    });
    say(drawings.collect::<Vec<_>>().join("\n\n"))
}

/// The name of a series, and what its points are where they are means.
pub fn title(series: &Series) -> String {
    match series.jobs {
        0 => series.name.clone(),
        1 => format!("{} (1 job)", series.name),
        n => format!("{} (mean of {n} jobs; dots: ± standard deviation)", series.name),
    }
}

/// The series of that name; or, as a search has one of each kind for several networks, all whose names end in it.
fn meant(detail: &RunDetail, name: &str) -> Result<Vec<String>, String> {
    let known = || detail.series.iter().map(|s| s.name.as_str());
    if known().any(|n| n == name) {
        return Ok(vec![name.to_owned()]);
    }
    let ending = format!("/{name}");
    let of_arm = |n: &str| parse_arm_series(n).1 == name;
    let several: Vec<String> = known().filter(|n| n.ends_with(&ending) || of_arm(n)).map(str::to_owned).collect();
    if !several.is_empty() {
        return Ok(several);
    }
    if detail.views.iter().any(|v| v.0 == name) {
        return Err(format!("has a view of the name `{name}`, but no series; `kiln show --view` prints views"));
    }
    let near = kiln_protocol::spec::problem::nearest(name, known());
    let hint = near.map_or_else(|| "`kiln show` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
    Err(format!("has no series `{name}`; {hint}"))
}

pub fn tail(engines: &Engines, args: &args::Tail) -> Outcome {
    let mut client = engines.open()?;
    let id = engines::find(&mut client, &args.run)?;
    let detail = engines::detail(&mut client, &id)?;
    let created = detail.summary.created;
    let events = engines::events(&mut client, &id, 0, args.lines, true)?;
    let mut logs = Logs::new(engines);
    let mut lines = logs.newest(&mut client, &detail.jobs, args.lines)?;
    drop(client);
    let after = events.last().map_or(0, |e| e.seq);
    // An experiment's own lines say what its jobs' lines say; those are named.
    lines.extend(events.into_iter().map(|event| (String::new(), event)));
    lines.sort_by(|a, b| a.1.t.total_cmp(&b.1.t));
    for (name, event) in lines.split_off(lines.len().saturating_sub(args.lines as usize)) {
        print(&name, &event, created, args)?;
    }
    if !args.follow {
        return Ok(());
    }
    let interrupted = follow::on_interrupt()?;
    let ended = follow::follow(engines, &id, after, &interrupted, &mut |seen| match seen {
        Seen::Event(event) => print("", event, created, args),
        Seen::Jobs(jobs) => {
            let further = logs.further(jobs)?;
            further.iter().try_for_each(|(name, event)| print(name, event, created, args))
        }
        Seen::Lost(said) => {
            crate::failure::note(format!("{said}; trying again"));
            Ok(())
        }
        Seen::Summary(_) => Ok(()),
    })?;
    match ended.state {
        RunState::Completed => Ok(()),
        RunState::Stopped => Err(Failure::RunStopped),
        _ => Err(Failure::RunFailed),
    }
}

/// Seconds since the run was created, the job where it is one's, and the sentence; or the whole event in JSON.
fn print(job: &str, event: &Event, created: f64, args: &args::Tail) -> Outcome {
    if args.json {
        let mut value = serde_json::to_value(event)?;
        if let (false, Some(fields)) = (job.is_empty(), value.as_object_mut()) {
            fields.insert("job".into(), job.into());
        }
        return say(value);
    }
    let job = if job.is_empty() { String::new() } else { format!("[{job}] ") };
    match follow::sentence(&event.body) {
        Some((level, text)) if level > Level::Debug || args.verbose => {
            let (time, text) =
                (format!("{:>9.1} s  ", event.t - created), format!("{job}{}{text}", follow::mark(level)));
            // Lines that a program reads are left whole.
            say(if terminal::is_terminal() { human::hang(&time, &text, terminal::width()) } else { time + &text })
        }
        _ => Ok(()),
    }
}
