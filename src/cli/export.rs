//! `export`: what a run has, as files for other programs.
//!
//! - [`network`]: weights, by `kiln-worker`, which alone knows libtorch
//! - [`points`], [`table`]: series and figures as CSV, JSON lines, Parquet
//! - [`tensorboard`]: event files
//! - [`bundle`]: the run folder itself
//! - [`plots`]: charts as SVG and PNG
//! - [`files`]: files that appear whole or not at all

pub mod bundle;
pub mod files;
pub mod network;
pub mod plots;
pub mod points;
pub mod table;
pub mod tensorboard;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_protocol::RunId;
use kiln_protocol::client::Client;
use kiln_protocol::spool::RunFolder;
use kiln_protocol::wire::RunDetail;
use serde_json::{Map, Value as Json, json};

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, note, say, say_json};
use crate::{args, human, settings};

pub use network::{sentence, write};

/// What `kiln export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Weights: tensors by name, with the genotype in the metadata.
    Safetensors,
    /// Weights: a module for PyTorch and libtorch: normalised images in, logits out.
    Torchscript,
    /// A table, comma-separated.
    Csv,
    /// A table, one JSON object a line.
    Jsonl,
    /// A table in Apache Parquet.
    Parquet,
    /// A folder of event files for TensorBoard.
    Tensorboard,
    /// The run folder, packed (`.tar.zst`), for `kiln import` elsewhere.
    Bundle,
    /// Charts of the series, as one vector drawing.
    Svg,
    /// Charts of the series, as one picture.
    Png,
}

/// What a row of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rows {
    /// A point of a series: run, arm, seed, series, x, y, time.
    Points,
    /// A run: state, times, settings, figures.
    Runs,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Torchscript => "torchscript",
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Parquet => "parquet",
            Format::Tensorboard => "tensorboard",
            Format::Bundle => "bundle",
            Format::Svg => "svg",
            Format::Png => "png",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Format::Torchscript => "pt",
            Format::Bundle => "tar.zst",
            other => other.name(),
        }
    }

    fn is_network(self) -> bool {
        matches!(self, Format::Safetensors | Format::Torchscript)
    }

    fn is_table(self) -> bool {
        matches!(self, Format::Csv | Format::Jsonl | Format::Parquet)
    }
}

pub fn export(engines: &Engines, args: &args::Export) -> Outcome {
    suits(args)?;
    let mut client = engines.open()?;
    if args.format.is_network() {
        let (run, candidate) = network::asked(&args.runs)?;
        let said = network::write(&mut client, run, candidate, args.format, args.out.as_deref(), args.force)?;
        return if args.json { say_json(&said) } else { say(network::sentence(&said)) };
    }
    let runs: Vec<RunId> = found(&mut client, &args.runs)?;
    let (out, said) = make(&mut client, &runs, args)?;
    // What goes to standard output is not to be mixed with words about it.
    match (files::is_stdout(&out), args.json) {
        (true, _) => note(said.text),
        (false, true) => say_json(&said.json)?,
        (false, false) => say(said.text)?,
    }
    Ok(())
}

/// Writes anything but weights; where to, and what was written.
pub fn make(client: &mut Client, runs: &[RunId], args: &args::Export) -> Outcome<(PathBuf, Said)> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from(default_name(runs, args.format.extension())),
    };
    // The folder of event files may hold those of other runs.
    if args.format != Format::Tensorboard {
        files::free(&out, args.force)?;
    }
    let said = match args.format {
        Format::Csv | Format::Jsonl | Format::Parquet => tables(client, runs, args, &out)?,
        Format::Tensorboard => event_files(client, runs, args, &out)?,
        Format::Bundle => bundle::export(client, runs, !args.no_checkpoints, &out)?,
        Format::Svg | Format::Png => plots::export(client, runs, args, &out)?,
        Format::Safetensors | Format::Torchscript => {
            return Err(Failure::input("weights are those of one run and are written by `kiln export RUN`"));
        }
    };
    Ok((out, said))
}

/// What was written, for people and for programs.
pub struct Said {
    pub text: String,
    pub json: Json,
}

/// Options that mean nothing for a format are refused rather than passed over.
fn suits(args: &args::Export) -> Outcome {
    let format = args.format.name();
    let only = |given: bool, option: &str, what: &str| match given {
        true => Err(Failure::Input(format!("{option} is for {what}, not for --format {format}"))),
        false => Ok(()),
    };
    let has_series = args.format.is_table() || matches!(args.format, Format::Tensorboard | Format::Svg | Format::Png);
    only(!args.series.is_empty() && !has_series, "--series", "tables, tensorboard and plots")?;
    only(args.rows == Rows::Runs && !args.format.is_table(), "--rows", "csv, jsonl and parquet")?;
    only(args.no_checkpoints && args.format != Format::Bundle, "--no-checkpoints", "bundle")?;
    only(args.dark && !matches!(args.format, Format::Svg | Format::Png), "--dark", "svg and png")?;
    let stdout = args.out.as_deref().is_some_and(files::is_stdout);
    let whole = args.format.is_network() || args.format == Format::Tensorboard;
    only(stdout && whole, "--out -", "formats of a single file that Kiln writes itself")
}

/// The runs that are meant, each once, in the order given.
pub fn found(client: &mut Client, asked: &[String]) -> Outcome<Vec<RunId>> {
    let mut runs: Vec<RunId> = Vec::new();
    for asked in asked {
        let id = engines::find(client, asked)?;
        if !runs.contains(&id) {
            runs.push(id);
        }
    }
    Ok(runs)
}

/// Called after the run; after the first where there are several.
pub fn default_name(runs: &[RunId], extension: &str) -> String {
    match runs {
        [] => format!("kiln.{extension}"),
        [run] => format!("{run}.{extension}"),
        [first, more @ ..] => format!("{first}-and-{}-more.{extension}", more.len()),
    }
}

fn tables(client: &mut Client, runs: &[RunId], args: &args::Export, out: &Path) -> Outcome<Said> {
    let table = match args.rows {
        Rows::Points => table::of_points(&points::of(client, runs, &args.series)?),
        Rows::Runs if args.series.is_empty() => table::of_objects(&objects(client, runs)?),
        Rows::Runs => return Err(Failure::input("--series is for --rows points")),
    };
    files::write(out, |file| match args.format {
        Format::Csv => table::csv(&table, file),
        Format::Jsonl => table::json_lines(&table, file),
        _ => table::parquet(&table, file),
    })?;
    let (rows, columns) = (table.rows.len(), table.columns.len());
    Ok(Said {
        text: format!("{}: {} of {columns} columns", out.display(), human::counted(rows, "row")),
        json: json!({ "file": out, "format": args.format.name(), "rows": rows, "columns": table.columns, "runs": runs }),
    })
}

/// One object a run or job: what lists show, its settings as `settings.KEY`, its figures as `figures.NAME`.
fn objects(client: &mut Client, runs: &[RunId]) -> Outcome<Vec<Map<String, Json>>> {
    let mut objects = Vec::new();
    for run in runs {
        let detail = engines::detail(client, run)?;
        let jobs: Vec<RunId> = detail.jobs.iter().map(|job| job.id.clone()).collect();
        if jobs.is_empty() {
            objects.push(object(&detail)?);
        }
        for job in &jobs {
            objects.push(object(&engines::detail(client, job)?)?);
        }
    }
    Ok(objects)
}

fn object(detail: &RunDetail) -> Outcome<Map<String, Json>> {
    let run = &detail.summary;
    let mut object = Map::new();
    let took = run.took(kiln_protocol::now());
    for (key, value) in [
        ("run", json!(run.id)),
        ("preset", json!(run.preset)),
        ("method", json!(run.method)),
        ("state", json!(run.state)),
        ("arm", json!(run.arm)),
        ("seed", json!(run.seed)),
        ("created", json!(run.created)),
        ("took", json!(took)),
        ("device", json!(run.device)),
        ("host", json!(run.host)),
        ("best.name", json!(run.best.as_ref().map(|b| &b.name))),
        ("best.value", json!(run.best.as_ref().map(|b| b.value))),
    ] {
        object.insert(key.to_owned(), value);
    }
    for (key, value) in settings::of(detail)? {
        object.insert(format!("settings.{key}"), value);
    }
    for (name, value) in detail.outcome.iter().flat_map(|o| &o.figures) {
        object.insert(format!("figures.{name}"), json!(value));
    }
    Ok(object)
}

fn event_files(client: &mut Client, runs: &[RunId], args: &args::Export, out: &Path) -> Outcome<Said> {
    let runs = points::of(client, runs, &args.series)?;
    let (mut written, mut parted) = (0, false);
    for run in &runs {
        let detail = engines::detail(client, &run.summary.id)?;
        let folder = out.join(&run.summary.id.0);
        fs::create_dir_all(&folder).map_err(|e| Failure::Input(format!("{} cannot be made: {e}", folder.display())))?;
        // As TensorBoard shows Markdown.
        let mut texts = vec![("settings", format!("    {}", detail.spec.trim_end().replace('\n', "\n    ")))];
        texts.extend(detail.outcome.iter().map(|o| ("outcome", o.verdict.clone())));
        let file = folder.join(tensorboard::file_name(&run.summary));
        files::free(&file, args.force)?;
        files::write(&file, |mut file| {
            tensorboard::write(&mut file, &run.summary, &run.series, &texts, &detail.views).map_err(|e| e.to_string())
        })?;
        written += run.series.iter().map(|s| s.points.len()).sum::<usize>();
        parted |= tensorboard::steps_per_unit(&run.series) != 1.0;
    }
    let parts = tensorboard::PARTS;
    let steps =
        if parted { format!("; a step is 1/{parts} of what x counts, since x has fractions") } else { String::new() };
    Ok(Said {
        text: format!(
            "{}: {}, {}{steps}\nLook at them: tensorboard --logdir {}",
            out.display(),
            human::counted(runs.len(), "run"),
            human::counted(written, "point"),
            out.display()
        ),
        json: json!({ "file": out, "format": "tensorboard", "runs": runs.iter().map(|r| &r.summary.id).collect::<Vec<_>>(), "points": written, "steps-per-unit": if parted { parts } else { 1.0 } }),
    })
}

/// The folder of a run on this machine.
///
/// # Errors
/// A sentence: it is on another one.
pub fn folder_here(detail: &RunDetail, what: &str) -> Outcome<RunFolder> {
    let folder = RunFolder::new(&detail.folder);
    if points::is_here(&folder) {
        return Ok(folder);
    }
    Err(Failure::Input(format!(
        "{what} needs the folder of {} itself, and {} is not on this machine; run the command where the engine runs",
        detail.summary.id, detail.folder
    )))
}
