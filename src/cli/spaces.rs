//! `spaces` and `latency`: the search spaces that there are, what is in one, and what its blocks take on a device.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_protocol::arch::space::{self, NAMES, Space};
use kiln_protocol::arch::{ArchError, LatencyRequest, LatencyTable};
use kiln_protocol::spec::{SpaceDefinition, SpaceSettings};
use serde::Serialize;

use crate::export::files;
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, doctor, human};

/// A space in `spaces --json`.
#[derive(Serialize)]
struct Listed {
    name: String,
    title: String,
    /// Number of architectures.
    size: f64,
    /// Whether the size counts some networks more than once, or some that are none.
    size_is_bound: bool,
    reference: String,
    decisions: Vec<Choice>,
    /// The space's file.
    toml: String,
}

#[derive(Serialize)]
struct Choice {
    name: String,
    options: Vec<String>,
    /// Populations hold every combination of such decisions in equal numbers.
    stratify: bool,
}

pub fn spaces(args: &args::Spaces) -> Outcome {
    match &args.space {
        None => {
            let all: Vec<Space> =
                NAMES.iter().map(|name| Space::named(name)).collect::<Result<_, _>>().map_err(wrong)?;
            if args.json { say_json(&all.iter().map(listed).collect::<Vec<_>>()) } else { say(table(&all)) }
        }
        Some(asked) => {
            let settings = settings(asked)?;
            let space = Space::of(&settings).map_err(|(_, e)| wrong(e))?;
            match (args.json, space::text(asked)) {
                (true, _) => say_json(&listed(&space)),
                (false, Some(text)) => say(text.trim_end()),
                (false, None) => say(report(&space)),
            }
        }
    }
}

fn wrong(e: ArchError) -> Failure {
    Failure::Input(e.to_string())
}

/// The space that a name or a file means.
fn settings(asked: &str) -> Outcome<SpaceSettings> {
    let plain = |name: &str, definition| SpaceSettings { name: name.to_owned(), only: Default::default(), definition };
    if !asked.ends_with(".toml") && !asked.contains('/') {
        return Ok(plain(asked, None));
    }
    let text = std::fs::read_to_string(asked).map_err(|e| Failure::Input(format!("{asked}: {e}")))?;
    let definition =
        SpaceDefinition::from_toml(asked, &text).map_err(|problems| Failure::Input(problems.to_string()))?;
    Ok(plain(&definition.name.clone(), Some(definition)))
}

fn listed(space: &Space) -> Listed {
    let decisions = space.decisions.iter();
    let choice = |d: &kiln_protocol::arch::Decision| Choice {
        name: d.name.clone(),
        options: d.options.clone(),
        stratify: d.stratify,
    };
    Listed {
        name: space.name.clone(),
        title: space.title.clone(),
        size: space.size(),
        size_is_bound: space.size_is_bound(),
        reference: space.reference().to_string(),
        decisions: decisions.map(choice).collect(),
        toml: space::text(&space.name).unwrap_or_default().to_owned(),
    }
}

fn table(spaces: &[Space]) -> String {
    let row = |space: &Space| vec![space.name.clone(), size(space), space.title.clone()];
    let rows: Vec<Vec<String>> = spaces.iter().map(row).collect();
    let table = human::columns(&["SPACE", "NETWORKS", "WHAT IT IS"], &rows);
    format!("{table}\n\n`kiln spaces NAME` prints the file of a space, to read or to copy.")
}

/// Number of architectures, in words.
pub fn size(space: &Space) -> String {
    let n = space.size();
    let figure = if n < 1e9 { human::count(n) } else { format!("{n:.2e}") };
    if space.size_is_bound() { format!("at most {figure}") } else { figure }
}

/// What a file of a user's own holds.
fn report(space: &Space) -> String {
    let mut out = format!("{}: fine\n", space.name);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<10} {value}");
    };
    if !space.title.is_empty() {
        line("title", &space.title);
    }
    line("networks", &size(space));
    line("reference", &space.reference().to_string());
    let options = |options: &[String]| {
        let shown = options.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(" ");
        if options.len() > 12 { format!("{shown} … ({})", options.len()) } else { shown }
    };
    let rows: Vec<Vec<String>> = space.decisions.iter().map(|d| vec![d.name.clone(), options(&d.options)]).collect();
    let _ = write!(out, "\n{}", human::indent(&human::columns(&["DECISION", "OPTIONS"], &rows)));
    out
}

pub fn latency(args: &args::Latency) -> Outcome {
    args.out.as_deref().map_or(Ok(()), |out| files::free(out, args.force))?;
    let request = LatencyRequest {
        space: settings(&args.space)?,
        input: args.input,
        classes: args.classes,
        batch: args.batch,
        threads: args.threads,
        rounds: args.rounds,
        device: args.device.clone(),
    };
    let (_, chain) = request.chain().map_err(wrong)?;
    let text = ask(&request)?;
    let table = LatencyTable::from_toml("kiln-worker latency", &text).map_err(|e| Failure::Engine(e.to_string()))?;
    if let Some(out) = &args.out {
        std::fs::write(out, &text).map_err(|e| Failure::Input(format!("{}: {e}", out.display())))?;
    }
    match (args.json, &args.out) {
        (true, _) => say_json(&table),
        (false, None) => say(text.trim_end()),
        (false, Some(out)) => {
            let choices: usize = chain.slots.iter().map(|slot| slot.choices.len()).sum();
            say(sentence(&table, choices, out))
        }
    }
}

fn sentence(table: &LatencyTable, choices: usize, out: &Path) -> String {
    let whole = &table.reference;
    format!(
        "{}: {choices} choices of {} blocks on {}, batch {}. The reference network takes {:.3} ms in one piece, {:.3} ms as the sum of its blocks.",
        out.display(),
        table.slots.len(),
        table.machine,
        table.batch,
        whole.whole,
        whole.sum
    )
}

/// Has `kiln-worker`, which alone knows libtorch, measure, and gives the table as it writes it.
fn ask(request: &LatencyRequest) -> Outcome<String> {
    let worker = doctor::worker();
    let name = worker.display();
    let text = serde_json::to_vec(request).map_err(|e| Failure::Unexpected(e.into()))?;
    let mut child = Command::new(&worker)
        .arg("latency")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| Failure::Engine(format!("{name} cannot be started: {e}; `kiln doctor` says more")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A worker that has ended already says why below.
        drop(stdin.write_all(&text));
    }
    let output =
        child.wait_with_output().map_err(|e| Failure::Engine(format!("{name} latency cannot be read: {e}")))?;
    if !output.status.success() {
        return Err(Failure::Engine("kiln: nothing was measured".into()));
    }
    String::from_utf8(output.stdout).map_err(|e| Failure::Engine(format!("{name} latency did not answer in text: {e}")))
}

/// `3x32x32`: channels, height, width.
///
/// # Errors
/// A sentence for the command line.
pub fn input(text: &str) -> Result<[u32; 3], String> {
    let sizes: Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
    match sizes.as_deref() {
        Ok(&[c, h, w]) if c > 0 && h > 0 && w > 0 => Ok([c, h, w]),
        _ => Err("expected channels, height and width, such as 3x32x32".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_three_positive_sizes() {
        assert_eq!(input("3x32x28"), Ok([3, 32, 28]));
        for wrong in ["32x32", "3x32x0", "3x32xa", "", "1x2x3x4"] {
            assert!(input(wrong).unwrap_err().contains("3x32x32"), "{wrong}");
        }
    }

    #[test]
    fn the_list_names_every_space_with_its_size() {
        let all: Vec<Space> = NAMES.iter().map(|name| Space::named(name).unwrap()).collect();
        let text = table(&all);
        assert!(NAMES.iter().all(|name| text.contains(name)), "{text}");
        assert!(text.contains("423,624") && text.contains("15,625") && text.contains("4.86e20"), "{text}");
        let file = listed(&all[0]).toml;
        assert_eq!(SpaceDefinition::from_toml("x.toml", &file).unwrap().name, all[0].name);
    }
}
