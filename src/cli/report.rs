//! `report`: one self-contained HTML page about one or several runs.
//!
//! - [`page`]: elements, escaping, style

mod page;

use std::fmt::Write;
use std::path::PathBuf;

use kiln_protocol::client::Client;
use kiln_protocol::compare::plain;
use kiln_protocol::record::Record;
use kiln_protocol::run::{RunSummary, Table};
use kiln_protocol::wire::RunDetail;
use kiln_protocol::{Event, Level, RunId, View, now};
use serde_json::json;

use crate::draw::svg::{self, Colours, escape};
use crate::draw::{Chart, figures};
use crate::engines::{self, Engines};
use crate::export::plots::{self, Subject};
use crate::export::{Said, default_name, files, found};
use crate::failure::{Outcome, note, say, say_json};
use crate::{args, follow, human, jobs, repro, settings, views};

/// Width of drawings on the page, in CSS pixels.
const WIDTH: f32 = 720.0;

/// Rows of a table that are shown; a search has thousands of candidates.
const ROWS: usize = 300;

/// Lines of the log that are shown, the newest.
const LINES: u32 = 200;

/// Arms of an experiment whose views are shown: each has pictures of its own.
const ARMS: usize = 12;

/// Everything that the page says of a run.
struct Told {
    subject: Subject,
    records: Vec<Record>,
    log: Vec<Event>,
    /// Of an experiment: the first job of each arm, whose views stand for those of the others.
    jobs: Vec<RunDetail>,
}

pub fn report(engines: &Engines, args: &args::Report) -> Outcome {
    let mut client = engines.open()?;
    let runs = found(&mut client, &args.runs)?;
    let (out, said) = make(&mut client, &runs, args.title.as_deref(), args.out.clone(), args.force)?;
    match (files::is_stdout(&out), args.json) {
        (true, _) => {
            note(said.text);
            Ok(())
        }
        (false, true) => say_json(&said.json),
        (false, false) => say(said.text),
    }
}

/// Writes the page; where to, and what was written.
pub fn make(
    client: &mut Client,
    runs: &[RunId],
    title: Option<&str>,
    out: Option<PathBuf>,
    force: bool,
) -> Outcome<(PathBuf, Said)> {
    let out = out.unwrap_or_else(|| PathBuf::from(default_name(runs, "html")));
    files::free(&out, force)?;
    let told = runs.iter().map(|id| tell(client, id)).collect::<Outcome<Vec<_>>>()?;
    let html = whole(&told, title, now());
    files::write(&out, |file| file.write_all(html.as_bytes()).map_err(|e| e.to_string()))?;
    let size = human::bytes(html.len() as u64);
    let text = format!("{}: a report on {} ({size}, one file)", out.display(), list(runs));
    let json = json!({ "file": out, "format": "html", "runs": runs, "bytes": html.len() });
    Ok((out, Said { text, json }))
}

fn list(runs: &[RunId]) -> String {
    runs.iter().map(|r| r.0.as_str()).collect::<Vec<_>>().join(", ")
}

fn tell(client: &mut Client, id: &RunId) -> Outcome<Told> {
    let subject = Subject::of(client, id, &[])?;
    let of_jobs = subject.detail.jobs.iter().map(|job| job.id.clone());
    let mut records = Vec::new();
    // Jobs run in one place as a rule: the first that has a record stands for them.
    for run in std::iter::once(id.clone()).chain(of_jobs) {
        records = repro::records(client, &run)?;
        if !records.is_empty() {
            break;
        }
    }
    let log = engines::events(client, id, 0, LINES, true)?;
    let (mut arms, mut jobs) = (Vec::new(), Vec::new());
    for job in &subject.detail.jobs {
        if arms.contains(&&job.arm) || arms.len() == ARMS {
            continue;
        }
        arms.push(&job.arm);
        let detail = engines::detail(client, &job.id)?;
        if !detail.views.is_empty() {
            jobs.push(detail);
        }
    }
    Ok(Told { subject, records, log, jobs })
}

/// The page. `now` is when it is made, in seconds since the Unix epoch.
fn whole(told: &[Told], title: Option<&str>, now: f64) -> String {
    let ids: Vec<RunId> = told.iter().map(|t| t.subject.detail.summary.id.clone()).collect();
    let title = title.map_or_else(|| list(&ids), str::to_owned);
    let mut body = page::heading(1, &title, "");
    let made = format!("Made by Kiln {} on {}", env!("CARGO_PKG_VERSION"), page::utc(now));
    body += &page::paragraph(&made, "dim");
    if told.len() > 1 {
        body += &overview(told, now);
    }
    for run in told {
        body += &of_run(run, now, told.len() > 1);
    }
    page::whole(&title, &body)
}

/// Several runs side by side.
fn overview(told: &[Told], now: f64) -> String {
    let summaries = || told.iter().map(|t| &t.subject.detail.summary);
    let mut out = page::heading(2, "Runs", "");
    let rows = summaries().map(|run| {
        let best = run.best.as_ref().map_or_else(|| "-".into(), |b| format!("{} {}", b.name, human::number(b.value)));
        let took = run.took(now).map_or_else(|| "-".into(), human::duration);
        // The jobs of an experiment have a seed each.
        let seed = if run.jobs.is_some() { "several".into() } else { run.seed.to_string() };
        vec![run.id.0.clone(), run.method.clone(), run.state.to_string(), seed, took, best]
    });
    out += &page::table(&table("", &["run", "method", "state", "seed", "took", "best"], rows.collect()), ROWS);
    let subjects: Vec<&Subject> = told.iter().map(|t| &t.subject).collect();
    out += &charts(&plots::charts(&subjects));
    let ids: Vec<&str> = summaries().map(|run| run.id.0.as_str()).collect();
    let figures = figures_of(told);
    if !figures.is_empty() {
        let columns: Vec<&str> = std::iter::once("figure").chain(ids.iter().copied()).collect();
        out += &page::table(&table("Figures", &columns, figures), ROWS);
    }
    // Runs whose settings this Kiln cannot read are left out of the comparison, not of the page.
    let read: Vec<(&str, _)> =
        told.iter().zip(&ids).filter_map(|(t, id)| Some((*id, settings::of(&t.subject.detail).ok()?))).collect();
    let all: Vec<_> = read.iter().map(|(_, settings)| settings.clone()).collect();
    let rows = settings::differences(&all).into_iter().map(|(key, values)| {
        let cell = |v: Option<serde_json::Value>| v.as_ref().map_or_else(|| "-".into(), plain);
        std::iter::once(key).chain(values.into_iter().map(cell)).collect()
    });
    let columns: Vec<&str> = std::iter::once("setting").chain(read.iter().map(|(id, _)| *id)).collect();
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        out += &page::paragraph("The settings are the same.", "");
    } else {
        out += &page::table(&table("Settings that differ", &columns, rows), ROWS);
    }
    out
}

/// Figures that at least one run has: name, one value a run. Means of an experiment's arms stand with their deviations; from
/// how many jobs they are, and what the test of differences says, is in the experiment's own table.
fn figures_of(told: &[Told]) -> Vec<Vec<String>> {
    let found = |t: &Told| t.subject.detail.outcome.as_ref().map(|o| o.figures.clone()).unwrap_or_default();
    let all: Vec<_> = told.iter().map(found).collect();
    let mean = |name: &str| name.strip_suffix("/mean").map(str::to_owned);
    let beside = |name: &str| {
        let (whole, part) = name.rsplit_once('/')?;
        matches!(part, "std" | "n" | "p").then(|| format!("{whole}/mean"))
    };
    let names: std::collections::BTreeSet<&String> = all.iter().flat_map(|figures| figures.keys()).collect();
    let names = names.iter().filter(|name| beside(name).is_none_or(|mean| !names.contains(&mean)));
    let row = |name: &&String| {
        let value = |figures: &std::collections::BTreeMap<String, Option<f64>>| {
            let Some(value) = figures.get(*name).copied().flatten() else { return "-".to_owned() };
            let std = mean(name).and_then(|arm| figures.get(&format!("{arm}/std")).copied().flatten());
            let std = std.map(|std| format!(" ± {}", human::number(std))).unwrap_or_default();
            format!("{}{std}", human::number(value))
        };
        let values = all.iter().map(value);
        std::iter::once((*name).clone()).chain(values).collect()
    };
    names.map(row).collect()
}

fn of_run(told: &Told, now: f64, several: bool) -> String {
    let detail = &told.subject.detail;
    let run = &detail.summary;
    let mut out = String::from("<section>\n");
    out += &page::heading(2, &run.id.0, &page::state(run.state));
    if !run.title.is_empty() {
        out += &page::paragraph(&run.title, "");
    }
    if let Some(outcome) = &detail.outcome {
        out += &page::paragraph(&outcome.verdict, "verdict");
    }
    if let Some(reason) = run.reason.as_ref().filter(|_| detail.outcome.is_none()) {
        out += &page::paragraph(reason, "dim");
    }
    out += &page::facts(&facts(run, detail, now));
    // Of several runs the curves are above, in the same charts.
    if !several {
        out += &charts(&plots::charts(&[&told.subject]));
    }
    if let Some(outcome) = &detail.outcome {
        for found in &outcome.tables {
            out += &page::table(found, ROWS);
        }
        let rows: Vec<Vec<String>> = figures_of(std::slice::from_ref(told));
        if !rows.is_empty() && detail.jobs.is_empty() && !several {
            out += &page::details("Figures", &page::table(&table("", &["figure", "value"], rows), ROWS), false);
        }
    }
    if !detail.jobs.is_empty() {
        out += &page::details("All jobs", &page::table(&jobs_table(&detail.jobs, now), ROWS), detail.outcome.is_none());
    }
    out += &shown(&detail.views);
    for job in &told.jobs {
        out +=
            &page::details(&format!("Views of {} ({})", job.summary.id, job.summary.part()), &shown(&job.views), false);
    }
    out += &page::details("Settings", &format!("<pre>{}</pre>\n", escape(detail.spec.trim_end())), false);
    if let Some(record) = told.records.last() {
        let rows = repro::rows(record).into_iter().map(|(what, value)| (what.to_owned(), value)).collect::<Vec<_>>();
        out += &page::details("Environment", &page::facts(&rows), true);
    }
    let log = log(&told.log, run.created);
    if !log.is_empty() {
        out += &page::details("Log", &format!("<pre>{}</pre>\n", escape(log.trim_end())), false);
    }
    out + "</section>\n"
}

/// Views as drawings, those that are tables folded away.
fn shown(views: &[(String, View)]) -> String {
    let mut out = String::new();
    for (name, view) in views {
        match (figures::view(name, view, WIDTH), views::table_of(name, view)) {
            (Some(scene), tabled) => {
                let note = tabled.map(|(_, note)| note).unwrap_or_default();
                out += &page::figure(&svg::write(&scene, Colours::Page), &note);
            }
            (None, Some((table, note))) => {
                let inner =
                    page::table(&Table { title: String::new(), ..table }, ROWS) + &page::paragraph(&note, "dim");
                out += &page::details(name, &inner, false);
            }
            (None, None) => {}
        }
    }
    out
}

fn facts(run: &RunSummary, detail: &RunDetail, now: f64) -> Vec<(String, String)> {
    let mut rows = vec![("preset", format!("{} ({})", run.preset, run.method))];
    match detail.jobs.is_empty() {
        true => rows.push(("seed", run.seed.to_string())),
        false => rows.push(("jobs", jobs::in_words(&detail.jobs))),
    }
    rows.extend(run.origin.as_ref().map(|origin| ("origin", origin.to_string())));
    rows.push(("created", page::utc(run.created)));
    rows.extend(run.took(now).map(|took| ("took", human::duration(took))));
    rows.extend(run.best.as_ref().map(|b| ("best", format!("{} {}", b.name, human::number(b.value)))));
    rows.extend(run.device.as_ref().map(|device| ("device", device.clone())));
    rows.extend(run.host.as_ref().map(|host| ("host", host.clone())));
    if run.attempts > 1 {
        rows.push(("attempts", run.attempts.to_string()));
    }
    let knobs: Vec<String> = detail.knobs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    if !knobs.is_empty() {
        rows.push(("changed while it ran", knobs.join(", ")));
    }
    rows.into_iter().map(|(what, value)| (what.to_owned(), value)).collect()
}

fn jobs_table(jobs: &[RunSummary], now: f64) -> Table {
    let rows = jobs.iter().map(|job| {
        let best = job.best.as_ref().map_or_else(|| "-".into(), |b| human::number(b.value));
        let took = job.took(now).map_or_else(|| "-".into(), human::duration);
        let arm = job.arm.clone().unwrap_or_default();
        vec![job.id.0.clone(), arm, job.seed.to_string(), job.state.to_string(), best, took]
    });
    table("", &["job", "arm", "seed", "state", "best", "took"], rows.collect())
}

/// Charts that are shown at once; the others are folded away.
const CHARTS: usize = 8;

fn charts(charts: &[Chart]) -> String {
    let drawn = |charts: &[Chart]| {
        let one = |chart: &Chart| page::figure(&svg::write(&chart.draw(WIDTH * 0.75, 250.0), Colours::Page), "");
        page::grid(&charts.iter().map(one).collect::<String>())
    };
    let (first, more) = charts.split_at(charts.len().min(CHARTS));
    let more = if more.is_empty() {
        String::new()
    } else {
        page::details(&human::counted(more.len(), "more chart"), &drawn(more), false)
    };
    if first.is_empty() { String::new() } else { drawn(first) + &more }
}

fn log(events: &[Event], created: f64) -> String {
    let mut out = String::new();
    for event in events {
        if let Some((level, text)) = follow::sentence(&event.body).filter(|(level, _)| *level > Level::Debug) {
            let _ = writeln!(out, "{:>9.1} s  {}{text}", event.t - created, follow::mark(level));
        }
    }
    out
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { title: title.into(), columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Mark;
    use kiln_protocol::view::{BlockImportance, Images, Matrix, Picture};
    use kiln_protocol::wire::{Series, SeriesInfo};
    use kiln_protocol::{Body, RunState};

    fn told(id: &str, seed: u64) -> Told {
        let mut summary = RunSummary::queued(RunId(id.into()), 1_767_225_600.0);
        (summary.state, summary.seed, summary.title) =
            (RunState::Completed, seed, "A <b>bold</b> & \"quoted\" run".into());
        let spec =
            format!("method = \"train\"\nseed = {seed}\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n");
        let name = "train/loss".to_owned();
        let info = SeriesInfo {
            name: name.clone(),
            points: 2,
            first_x: 0.0,
            last_x: 1.0,
            last_y: None,
            x_max: None,
            x_unit: "epochs".into(),
        };
        let series = Series { name, points: vec![[0.0, 1.0], [1.0, f64::NAN], [2.0, 0.5]], ..Series::default() };
        let pictures = vec![Picture::new("<seven>", 2, 2, 1, &[0, 1, 2, 3])];
        let matrix = Matrix { values: vec![vec![Some(1.0)]], ..Matrix::default() };
        let outcome = kiln_protocol::Outcome {
            verdict: "It holds: 1 < 2.".into(),
            figures: [("accuracy".to_owned(), Some(0.9 + seed as f64 / 100.0))].into(),
            tables: vec![table("Best & worst", &["a", "b"], vec![vec!["1".into(), "<x>".into()]])],
            headline: vec![],
            flaws: vec![],
        };
        let detail = RunDetail {
            series: vec![info],
            views: vec![
                ("samples".into(), View::Images(Images { pictures, ..Images::default() })),
                ("distances".into(), View::Matrix(matrix)),
                ("blocks".into(), View::BlockImportance(BlockImportance::default())),
            ],
            outcome: Some(outcome),
            folder: "/x".into(),
            knobs: vec![("optim.lr".into(), "0.1".into())],
            ..RunDetail::new(summary, spec)
        };
        let marks = vec![Mark { x: 1.0, label: "optim.lr = 0.1".into() }];
        let message = "a <line>".to_owned();
        let log = vec![Event { seq: 1, t: 1_767_225_601.0, body: Body::Log { level: Level::Warn, message } }];
        let record = Record { seed, spec: "00".into(), ..Record::default() };
        Told { subject: Subject { detail, series: vec![series], marks }, records: vec![record], log, jobs: vec![] }
    }

    /// Every element that is opened is closed, in order.
    fn balanced(html: &str) {
        let mut open: Vec<String> = Vec::new();
        for tag in html.split('<').skip(1) {
            let inner = tag.split('>').next().unwrap();
            let name: String = inner.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            if inner.starts_with('!') || inner.ends_with('/') || matches!(name.as_str(), "meta" | "br") {
                continue;
            }
            if inner.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name.as_str()), "at <{tag}");
            } else {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_page_says_everything_of_a_run_and_needs_nothing_else() {
        let html = whole(&[told("a-0001", 7)], None, 1_767_312_000.0);
        balanced(&html);
        for text in [
            "<title>a-0001</title>",
            "It holds: 1 &lt; 2.",
            "A &lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot; run",
            "Best &amp; worst",
            "2026-01-02 00:00 UTC",
            "train/loss",
            "optim.lr = 0.1",
            "data:image/png;base64,",
            "a &lt;line&gt;",
            "name = &quot;digits-mlp&quot;",
            "0.9700",
            "sha256:00",
            "prefers-color-scheme: dark",
        ] {
            assert!(html.contains(text), "no {text} in\n{html}");
        }
        let outside: Vec<&str> = html.split("http").skip(1).map(|rest| &rest[..20.min(rest.len())]).collect();
        assert!(
            outside.iter().all(|o| o.starts_with("://www.w3.org/2000/s") || o.starts_with("-equiv")),
            "{outside:?}"
        );
        assert!(!html.contains("<script") && !html.contains("<link"));
    }

    #[test]
    fn means_of_arms_stand_with_their_deviations() {
        let mut run = told("a-0001", 1);
        let figures =
            [("b/acc/mean", 0.9), ("b/acc/std", 0.01), ("b/acc/n", 3.0), ("b/acc/p", 0.2), ("std", 0.5), ("n", 7.0)];
        let outcome = run.subject.detail.outcome.as_mut().unwrap();
        outcome.figures = figures.iter().map(|(name, value)| ((*name).to_owned(), Some(*value))).collect();
        let rows = figures_of(&[run]);
        let row = |name: &str, value: f64, more: &str| vec![name.to_owned(), human::number(value) + more];
        let mean = row("b/acc/mean", 0.9, &format!(" ± {}", human::number(0.01)));
        assert_eq!(rows, [mean, row("n", 7.0, ""), row("std", 0.5, "")]);
    }

    #[test]
    fn several_runs_are_compared_before_each_is_told() {
        let html = whole(&[told("a-0001", 1), told("b-0002", 2)], Some("Two <runs>"), 0.0);
        balanced(&html);
        assert!(html.contains("<title>Two &lt;runs&gt;</title>") && html.contains("Settings that differ"));
        assert!(html.contains("0.9100") && html.contains("0.9200"));
        let charts = html.matches("train/loss").count();
        assert_eq!(charts, 1, "the curves share one chart");
        let same = whole(&[told("a-0001", 1), told("b-0002", 1)], None, 0.0);
        assert!(same.contains("The settings are the same."));
    }
}
