//! `tag` and `note`: what people write about runs.

use std::collections::BTreeMap;
use std::io::Read;

use kiln_protocol::RunId;
use kiln_protocol::client::Client;
use kiln_protocol::labels::check_tag;
use kiln_protocol::wire::{Reply, Request};
use kiln_tui::editor;
use serde_json::json;

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, human, terminal};

/// Reads a tag of the command line; a `#` before it is taken for what it is.
pub fn parse(tag: &str) -> Result<String, String> {
    let tag = tag.trim_start_matches('#');
    check_tag(tag).map(|()| tag.to_owned())
}

/// Adds tags to a run that was just launched.
pub fn add(client: &mut Client, run: &RunId, tags: &[String]) -> Outcome {
    if tags.is_empty() {
        return Ok(());
    }
    change(client, Request::Tag { run: run.clone(), add: tags.to_vec(), remove: Vec::new() })
}

fn change(client: &mut Client, request: Request) -> Outcome {
    match client.request(&request)? {
        Reply::Done => Ok(()),
        other => engines::unexpected(&other),
    }
}

pub fn tag(engines: &Engines, args: &args::Tag) -> Outcome {
    let mut client = engines.open()?;
    let Some(asked) = &args.run else { return all(&mut client, args.json) };
    let run = engines::find(&mut client, asked)?;
    if !(args.tags.is_empty() && args.remove.is_empty()) {
        change(&mut client, Request::Tag { run: run.clone(), add: args.tags.clone(), remove: args.remove.clone() })?;
    }
    let tags = engines::detail(&mut client, &run)?.summary.tags;
    if args.json {
        return say_json(&json!({ "run": run, "tags": tags }));
    }
    match tags.is_empty() {
        true => say(format!("{run} has no tags")),
        false => say(format!("{run} {}", in_words(&tags))),
    }
}

/// `#paper #v2`
pub fn in_words(tags: &[String]) -> String {
    tags.iter().map(|tag| format!("#{tag}")).collect::<Vec<_>>().join(" ")
}

/// All tags that there are, and how many runs have them.
fn all(client: &mut Client, as_json: bool) -> Outcome {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for run in engines::runs(client)? {
        run.tags.into_iter().for_each(|tag| *counts.entry(tag).or_default() += 1);
    }
    if as_json {
        return say_json(&counts);
    }
    if counts.is_empty() {
        return say("No run has a tag yet. Give one: kiln tag last paper");
    }
    let rows: Vec<Vec<String>> = counts.into_iter().map(|(tag, runs)| vec![tag, runs.to_string()]).collect();
    say(human::columns(&["TAG", "RUNS"], &rows))
}

pub fn note(engines: &Engines, args: &args::Note) -> Outcome {
    let mut client = engines.open()?;
    let run = engines::find(&mut client, &args.run)?;
    let before = engines::detail(&mut client, &run)?.note;
    let given = match args.text.as_slice() {
        [] => None,
        [dash] if dash == "-" => Some(standard_input()?),
        words => Some(words.join(" ")),
    };
    let note = match given {
        _ if args.clear => Some(String::new()),
        None if args.edit => {
            if !terminal::is_terminal() {
                return Err(Failure::input(
                    "an editor needs a terminal; give the note as TEXT, or - to read it from standard input",
                ));
            }
            let editor = editor::chosen(|name| std::env::var(name).ok());
            Some(editor::edit(&editor, &before, ".md").map_err(Failure::Input)?)
        }
        Some(text) if args.append && !before.is_empty() => Some(format!("{before}\n{text}")),
        given => given,
    };
    let Some(note) = note else { return show(&run, &before, args.json) };
    change(&mut client, Request::Note { run: run.clone(), note })?;
    let after = engines::detail(&mut client, &run)?.note;
    show(&run, &after, args.json)
}

fn show(run: &RunId, note: &str, as_json: bool) -> Outcome {
    if as_json {
        return say_json(&json!({ "run": run, "note": note }));
    }
    if note.is_empty() { say(format!("{run} has no note")) } else { say(note) }
}

fn standard_input() -> Outcome<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Failure::input(format!("the note cannot be read from standard input: {e}")))?;
    Ok(text)
}
