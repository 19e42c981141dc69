//! `repro`: a preset that repeats a run, and what differs here from where it ran.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use kiln_protocol::client::Client;
use kiln_protocol::record::{self, DataPrint, Libraries, Machine, Program, Record};
use kiln_protocol::spec::{Spec, Surroundings};
use kiln_protocol::wire::{Reply, Request, RunDetail};
use kiln_protocol::{Body, RunId};
use serde::Serialize;
use serde_json::json;

use crate::engines::{self, Engines};
use crate::export::{Said, files};
use crate::failure::{Failure, Outcome, note, say, say_json};
use crate::presets::Here as Presets;
use crate::{args, doctor, human, terminal};

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Difference {
    what: &'static str,
    then: String,
    here: String,
    /// Whether the repeat may come out differently for it.
    matters: bool,
}

/// This machine, as the run would find it.
#[derive(Clone, Debug, Default)]
struct Here {
    kiln: Program,
    libtorch: Libraries,
    /// In words, such as `cpu (2 cores)`; none where the worker does not answer.
    devices: Vec<String>,
    machine: Machine,
    variables: std::collections::BTreeMap<String, String>,
}

/// The data of the run, here.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    /// At that path; the record does not say whether they are the same.
    Unknown,
    Same(PathBuf),
    /// Other data at the path of then.
    Other(String),
    Missing(String),
    /// The run reads none.
    None,
}

/// A live knob that was turned.
struct Turn {
    key: String,
    value: String,
    x: f64,
}

pub fn repro(engines: &Engines, args: &args::Repro) -> Outcome {
    let mut client = engines.open()?;
    let id = engines::find(&mut client, &args.run)?;
    let out = (!args.check).then(|| args.out.clone().unwrap_or_else(|| default_name(&id)));
    let said = make(&mut client, &id, out.as_deref(), args.force)?;
    match (out.as_deref().is_some_and(files::is_stdout), args.json) {
        (true, _) => {
            note(said.text);
            Ok(())
        }
        (false, true) => say_json(&said.json),
        (false, false) => say(said.text),
    }
}

/// The file of the preset, if nobody names one.
pub fn default_name(run: &RunId) -> PathBuf {
    PathBuf::from(format!("{run}-repro.toml"))
}

/// Writes the preset, if a file is given, and says what differs here.
pub fn make(client: &mut Client, id: &RunId, out: Option<&Path>, force: bool) -> Outcome<Said> {
    out.map_or(Ok(()), |out| files::free(out, force))?;
    let detail = engines::detail(client, id)?;
    let mut spec = Spec::from_toml("spec.toml", &detail.spec)
        .map_err(|problems| Failure::Input(format!("{id}: {}", problems.of_another_kiln())))?;
    let mut records = Vec::new();
    // Of an experiment, the first job that was started stands for all.
    for run in std::iter::once(id).chain(detail.jobs.iter().map(|job| &job.id)) {
        records = self::records(client, run)?;
        if !records.is_empty() {
            break;
        }
    }
    let turns = turns(client, id)?;
    let (here, problem) = here();
    let data = data(records.last(), &spec);
    let mut found = match records.last() {
        Some(record) => differences(record, &here, problem.is_none()),
        None => Vec::new(),
    };
    found.extend(of_data(records.last(), &spec, &data));
    found.extend(of_settings(&records, &detail, &turns));
    if let Data::Same(path) = &data {
        spec.data.path = path.display().to_string();
    }
    if let Some(out) = out {
        let text = preset(id, &detail, &spec, &records, &turns)?;
        files::write(out, |file| file.write_all(text.as_bytes()).map_err(|e| e.to_string()))?;
    }
    let file = out.filter(|out| !files::is_stdout(out));
    let text = in_words(id, records.last(), &found, problem.as_deref(), file);
    let json = json!({ "run": id, "file": file, "records": records, "differences": found, "problem": problem });
    Ok(Said { text, json })
}

/// What a run was made of, by attempt.
pub fn records(client: &mut Client, run: &RunId) -> Outcome<Vec<Record>> {
    match client.request(&Request::Record { run: run.clone() })? {
        Reply::Records { records } => Ok(records),
        other => engines::unexpected(&other),
    }
}

fn turns(client: &mut Client, run: &RunId) -> Outcome<Vec<Turn>> {
    let events = engines::events(client, run, 0, u32::MAX, false)?;
    let turn = |body| match body {
        Body::KnobSet { key, value, x } => Some(Turn { key, value, x }),
        _ => None,
    };
    Ok(events.into_iter().filter_map(|e| turn(e.body)).collect())
}

/// What the worker says of this machine; a sentence where it does not answer.
fn here() -> (Here, Option<String>) {
    let mut here = Here { machine: Machine::here(), variables: record::variables(), ..Here::default() };
    let report = match doctor::ask(&doctor::worker()) {
        Ok(report) => report,
        Err(said) => return (here, Some(said)),
    };
    let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    here.kiln = Program { version: text("version"), commit: text("commit"), changes: text("changes") };
    here.libtorch = Libraries {
        version: text("libtorch"),
        cuda: text("cuda_says"),
        cudnn: text("cudnn"),
        driver: record::nvidia_driver(),
    };
    let devices = report["devices"].as_array().into_iter().flatten();
    here.devices = devices.filter_map(|d| d["words"].as_str()).map(str::to_owned).collect();
    (here, None)
}

/// Compares what can be compared; versions and devices only where the worker said what is here.
fn differences(then: &Record, here: &Here, asked: bool) -> Vec<Difference> {
    let mut found = Vec::new();
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let mut compare = |what, then: &str, here: &str, matters| {
        if then != here {
            found.push(Difference { what, then: or_none(then), here: or_none(here), matters });
        }
    };
    let on_gpu = then.device.starts_with("cuda");
    if asked {
        let same_kiln = then.kiln == here.kiln;
        // Two builds with changes read alike.
        let mark = if !same_kiln && then.kiln.in_words() == here.kiln.in_words() { ", other changes" } else { "" };
        compare("Kiln", &then.kiln.in_words(), &format!("{}{mark}", here.kiln.in_words()), true);
        compare("libtorch", &then.libtorch.version, &here.libtorch.version, true);
        if on_gpu {
            compare("cuDNN", &then.libtorch.cudnn, &here.libtorch.cudnn, true);
        }
        if !here.devices.contains(&then.device_words) && then.device != then.device_words {
            compare("device", &then.device_words, &here.devices.join(", "), true);
        }
    }
    if on_gpu {
        compare("NVIDIA driver", &then.libtorch.driver, &here.libtorch.driver, true);
    }
    // Another processor has other vector instructions, and sums in another order.
    compare("processor", &then.machine.cpu, &here.machine.cpu, !on_gpu);
    compare("cores", &then.machine.cores.to_string(), &here.machine.cores.to_string(), false);
    compare("host", &then.machine.host, &here.machine.host, false);
    compare("system", &then.machine.os, &here.machine.os, false);
    compare("memory", &human::bytes(then.machine.ram), &human::bytes(here.machine.ram), false);
    compare("kernel", &then.machine.kernel, &here.machine.kernel, false);
    let list = |variables: &std::collections::BTreeMap<String, String>| {
        variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    compare("environment", &list(&then.variables), &list(&here.variables), true);
    found
}

/// Looks for the data of then: at their path, and among the sets that ship with Kiln.
fn data(then: Option<&Record>, spec: &Spec) -> Data {
    let path = Path::new(&spec.data.path);
    if spec.data.path.is_empty() {
        return Data::None;
    }
    let Some(print) = then.and_then(|record| record.data.as_ref()) else {
        return if path.exists() { Data::Unknown } else { Data::Missing(format!("there is no {}", path.display())) };
    };
    let same = |path: &Path| DataPrint::of(&print.set, path).map(|here| here.digest == print.digest);
    let at_path = same(path);
    if let Ok(true) = at_path {
        return Data::Same(path.to_owned());
    }
    if let Ok(shipped) = Presets.shipped(spec.data.set)
        && let Ok(true) = same(&shipped)
    {
        return Data::Same(shipped);
    }
    match at_path {
        Ok(_) => Data::Other(format!("{} holds other data", path.display())),
        Err(e) => Data::Missing(format!("{}: {e}", path.display())),
    }
}

fn of_data(then: Option<&Record>, spec: &Spec, data: &Data) -> Option<Difference> {
    let print = then.and_then(|record| record.data.as_ref());
    let was = match print {
        Some(print) => format!("{} ({}, {})", print.path, human::bytes(print.bytes), short(&print.digest)),
        None => spec.data.path.clone(),
    };
    let (here, matters) = match data {
        Data::Same(path) if path != Path::new(&spec.data.path) => (format!("the same at {}", path.display()), false),
        Data::Same(_) | Data::None => return None,
        Data::Unknown => (format!("{}; whether they are the same is not recorded", spec.data.path), true),
        Data::Other(said) | Data::Missing(said) => (said.clone(), true),
    };
    Some(Difference { what: "data", then: was, here, matters })
}

/// The kind of a digest and its first digits.
fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((kind, hex)) => format!("{kind} {}", hex.get(..12).unwrap_or(hex)),
        None => digest.to_owned(),
    }
}

/// What the settings alone do not repeat.
fn of_settings(records: &[Record], detail: &RunDetail, turns: &[Turn]) -> Vec<Difference> {
    let mut found = Vec::new();
    if !turns.is_empty() {
        let said: Vec<String> =
            turns.iter().map(|t| format!("{} = {} at {}", t.key, t.value, human::number(t.x))).collect();
        let here = "as it was started; turn them again with `kiln set`".to_owned();
        found.push(Difference { what: "live knobs", then: said.join(", "), here, matters: true });
    }
    // A job's record is of the job's own settings.
    let own = records.last().filter(|_| detail.jobs.is_empty());
    if own.is_some_and(|record| record.spec != record::sha256(detail.spec.as_bytes())) {
        let (then, here) = ("as recorded".to_owned(), "spec.toml was changed since the run started".to_owned());
        found.push(Difference { what: "settings", then, here, matters: true });
    }
    let machines: std::collections::BTreeSet<&str> = records.iter().map(|r| r.machine.host.as_str()).collect();
    if machines.len() > 1 {
        let then = format!("{} attempts on {}", records.len(), Vec::from_iter(machines).join(", "));
        found.push(Difference { what: "attempts", then, here: "one, on this host".into(), matters: true });
    }
    found
}

/// The preset: what was run, with what is known of it as comments.
fn preset(id: &RunId, detail: &RunDetail, spec: &Spec, records: &[Record], turns: &[Turn]) -> Outcome<String> {
    let mut out = format!("# Repeats {id}: kiln run THIS-FILE\n");
    match records.last() {
        None => out += "# It has no record of what it ran on.\n",
        Some(then) => {
            let mut line = |what: &str, value: &str| {
                // A comment ends with its line.
                let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                if !value.is_empty() {
                    let _ = writeln!(out, "# {what:<9} {value}");
                }
            };
            line("Kiln", &then.kiln.in_words());
            line("commit", &then.kiln.commit);
            line("libtorch", &then.libtorch.version);
            line("CUDA", &then.libtorch.cuda);
            line("driver", &then.libtorch.driver);
            line("device", &then.device_words);
            line("processor", &then.machine.cpu);
            line("host", &format!("{}, {}, Linux {}", then.machine.host, then.machine.os, then.machine.kernel));
            if let Some(data) = &then.data {
                line(
                    "data",
                    &format!(
                        "{}, {} in {}, {}",
                        data.set,
                        human::bytes(data.bytes),
                        human::counted(data.files as usize, "file"),
                        data.digest
                    ),
                );
            }
        }
    }
    for turn in turns {
        let _ = writeln!(out, "# While it ran: {} = {} at {}", turn.key, turn.value, human::number(turn.x));
    }
    if let Some(origin) = &detail.summary.origin {
        let _ = writeln!(out, "# It trains {origin}.");
    }
    out.push('\n');
    Ok(out + &spec.to_toml().map_err(Failure::Input)?)
}

fn in_words(
    id: &RunId,
    then: Option<&Record>,
    found: &[Difference],
    problem: Option<&str>,
    file: Option<&Path>,
) -> String {
    let width = terminal::width().clamp(60, 120);
    let mut lines = Vec::new();
    if let Some(file) = file {
        lines.push(format!("{}: repeats {id}; start it with kiln run {}", file.display(), file.display()));
    }
    let (matters, aside): (Vec<&Difference>, Vec<&Difference>) = found.iter().partition(|d| d.matters);
    match (then, matters.len()) {
        (None, _) => lines.push(format!("{id} has no record of what it ran on, so only its data are compared.")),
        (Some(record), 0) if problem.is_none() => {
            let bits = if record.device.starts_with("cuda") {
                "On a GPU bits are the same only with run.deterministic = true."
            } else {
                "The repeat gives the same bits."
            };
            lines.push(format!("Nothing that matters differs here. {bits}"));
        }
        _ => {}
    }
    if let Some(problem) = problem {
        lines.push(human::wrap(&format!("What computes here is not known: {problem}"), width));
    }
    for (title, list) in
        [("What differs here and may change what comes out:", matters), ("Differs, without effect:", aside)]
    {
        if list.is_empty() {
            continue;
        }
        lines.push(title.to_owned());
        let rows: Vec<Vec<String>> = list.iter().map(|d| vec![d.what.into(), d.then.clone(), d.here.clone()]).collect();
        lines.push(human::indent(&human::columns(&["", "THEN", "HERE"], &rows)));
    }
    lines.join("\n")
}

/// A record for people: what, value.
pub fn rows(record: &Record) -> Vec<(&'static str, String)> {
    let machine = &record.machine;
    let mut rows = vec![
        ("seed", record.seed.to_string()),
        ("Kiln", record.kiln.in_words()),
        ("commit", record.kiln.commit.clone()),
        ("libtorch", record.libtorch.version.clone()),
        ("CUDA", record.libtorch.cuda.clone()),
        ("cuDNN", record.libtorch.cudnn.clone()),
        ("NVIDIA driver", record.libtorch.driver.clone()),
        ("device", record.device_words.clone()),
        ("host", machine.host.clone()),
        ("system", format!("{} {}", machine.os, machine.kernel).trim().to_owned()),
        ("processor", machine.cpu.clone()),
        ("cores", machine.cores.to_string()),
        ("memory", human::bytes(machine.ram)),
    ];
    if let Some(data) = &record.data {
        rows.push(("data", format!("{}: {}", data.set, data.path)));
        rows.push((
            "data size",
            format!("{} in {}", human::bytes(data.bytes), human::counted(data.files as usize, "file")),
        ));
        rows.push(("data digest", data.digest.clone()));
    }
    for (name, value) in &record.variables {
        rows.push(("environment", format!("{name}={value}")));
    }
    rows.push(("settings", format!("sha256:{}", record.spec)));
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::RunSummary;

    fn record() -> Record {
        Record {
            seed: 7,
            device: "cpu".into(),
            device_words: "cpu (2 cores)".into(),
            kiln: Program { version: "0.1.0".into(), commit: "67e6855aaa".into(), changes: String::new() },
            libtorch: Libraries { version: "2.11.0".into(), cuda: "off".into(), ..Libraries::default() },
            machine: Machine { host: "node7".into(), cpu: "Xeon".into(), cores: 2, ..Machine::default() },
            ..Record::default()
        }
    }

    fn here() -> Here {
        let record = record();
        Here {
            kiln: record.kiln,
            libtorch: record.libtorch,
            devices: vec!["cpu (2 cores)".into()],
            machine: record.machine,
            variables: Default::default(),
        }
    }

    fn whats(found: &[Difference]) -> Vec<(&str, bool)> {
        found.iter().map(|d| (d.what, d.matters)).collect()
    }

    #[test]
    fn only_what_differs_is_told_and_what_matters_first() {
        assert_eq!(differences(&record(), &here(), true), []);
        let mut other = here();
        other.kiln.changes = "00ff".into();
        (other.machine.host, other.machine.cpu) = ("laptop".into(), "Ryzen".into());
        other.devices = vec!["cpu (8 cores)".into()];
        (other.machine.kernel, other.machine.ram) = ("6.1.0".into(), 8_000_000_000);
        other.variables.insert("MKL_CBWR".into(), "AVX2".into());
        let found = differences(&record(), &other, true);
        let expected = [
            ("Kiln", true),
            ("device", true),
            ("processor", true),
            ("host", false),
            ("memory", false),
            ("kernel", false),
            ("environment", true),
        ];
        assert_eq!(whats(&found), expected);
        assert_eq!(found[6].then, "none");
        // A worker that does not answer says nothing, rather than that everything differs.
        assert_eq!(whats(&differences(&record(), &Here { machine: record().machine, ..Here::default() }, false)), []);

        let said = in_words(&RunId("a-0001".into()), Some(&record()), &found, None, Some(Path::new("x.toml")));
        assert!(said.starts_with("x.toml: repeats a-0001; start it with kiln run x.toml\n"), "{said}");
        let (matters, aside) = said.split_once("without effect").unwrap();
        assert!(matters.contains("Ryzen") && aside.contains("laptop") && aside.contains("6.1.0"), "{said}");
        let same = in_words(&RunId("a-0001".into()), Some(&record()), &[], None, None);
        assert_eq!(same, "Nothing that matters differs here. The repeat gives the same bits.");
    }

    #[test]
    fn on_a_gpu_the_driver_counts_and_the_processor_does_not() {
        let mut then = record();
        (then.device, then.device_words) = ("cuda:0".into(), "cuda:0 NVIDIA H100".into());
        then.libtorch.driver = "570.86.15".into();
        let mut other = here();
        other.devices.push("cuda:0 NVIDIA H100".into());
        other.machine.cpu = "Ryzen".into();
        assert_eq!(whats(&differences(&then, &other, true)), [("NVIDIA driver", true), ("processor", false)]);
    }

    #[test]
    fn data_are_looked_for_by_what_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("digits.csv");
        std::fs::write(&path, "1,2").unwrap();
        let text = format!(
            "method = \"train\"\n[data]\nset = \"digits\"\npath = \"{}\"\n[space]\nname = \"digits-mlp\"\n",
            path.display()
        );
        let spec = Spec::from_toml("x", &text).unwrap();
        let mut then = record();
        assert_eq!(data(Some(&then), &spec), Data::Unknown);
        then.data = DataPrint::of("digits", &path).ok();
        assert_eq!(data(Some(&then), &spec), Data::Same(path.clone()));
        assert_eq!(of_data(Some(&then), &spec, &Data::Same(path.clone())), None);
        std::fs::write(&path, "1,3").unwrap();
        assert!(matches!(data(Some(&then), &spec), Data::Other(_)));
        std::fs::remove_file(&path).unwrap();
        let missing = data(Some(&then), &spec);
        let told = of_data(Some(&then), &spec, &missing).unwrap();
        assert!(told.matters && told.here.contains("digits.csv") && told.then.contains("sha256 "), "{told:?}");
        // The set that ships with Kiln is found wherever that lies.
        if let Ok(shipped) = Presets.shipped(spec.data.set) {
            then.data = DataPrint::of("digits", &shipped).ok();
            assert_eq!(data(Some(&then), &spec), Data::Same(shipped));
        }
    }

    #[test]
    fn the_preset_says_what_it_repeats_and_is_one() {
        let text = "method = \"train\"\nseed = 7\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n";
        let spec = Spec::from_toml("x", text).unwrap();
        let id = RunId("a-0001".into());
        let detail = RunDetail::new(RunSummary::queued(id.clone(), 0.0), spec.to_toml().unwrap());
        let turns = [Turn { key: "optim.lr".into(), value: "0.01".into(), x: 2.5 }];
        let mut odd = record();
        odd.machine.os = "a\nb".into();
        odd.spec = record::sha256(detail.spec.as_bytes());
        let made = preset(&id, &detail, &spec, &[odd.clone()], &turns).unwrap();
        assert!(
            made.starts_with("# Repeats a-0001") && made.contains("# While it ran: optim.lr = 0.01 at 2.5"),
            "{made}"
        );
        assert!(made.contains("# libtorch  2.11.0\n") && made.contains("node7, a b,"), "{made}");
        assert_eq!(Spec::from_toml("x", &made).unwrap().to_toml(), spec.to_toml());

        assert_eq!(whats(&of_settings(&[odd.clone()], &detail, &turns)), [("live knobs", true)]);
        let changed = RunDetail { spec: "seed = 8".into(), ..detail };
        let there = Record { machine: Machine { host: "node8".into(), ..Machine::default() }, ..odd.clone() };
        assert_eq!(whats(&of_settings(&[there, odd], &changed, &[])), [("settings", true), ("attempts", true)]);
    }

    #[test]
    fn a_record_is_told_without_empty_lines() {
        let rows = rows(&record());
        assert!(rows.iter().any(|r| *r == ("seed", "7".to_owned())));
        assert!(rows.iter().all(|r| !r.1.is_empty() && r.0 != "NVIDIA driver"), "{rows:?}");
    }
}
