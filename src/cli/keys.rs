//! `keys`: what every key of the workbench means, with a user's own keymap.

use kiln_protocol::home;
use kiln_protocol::run::Table;
use kiln_tui::Files;
use kiln_tui::action::{Action, Context};
use serde::Serialize;

use crate::failure::{Failure, Outcome, note, say, say_json};
use crate::{args, human};

#[derive(Serialize)]
struct Row {
    id: &'static str,
    keys: Vec<String>,
    #[serde(rename = "in")]
    contexts: Vec<String>,
    /// The condition of all its keys, if they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    help: &'static str,
}

pub fn keys(args: &args::Json) -> Outcome {
    let files = home::config_dir().map(|folder| Files::read(&folder)).unwrap_or_default();
    let row = |action: &Action| Row {
        id: action.id(),
        keys: files.keymap.keys(*action).iter().map(ToString::to_string).collect(),
        contexts: action.contexts().iter().filter(|c| **c != Context::Lists).map(|c| c.id()).collect(),
        when: files.keymap.condition(*action),
        help: action.help(),
    };
    let rows: Vec<Row> = Action::ALL.iter().map(row).collect();
    if args.json {
        say_json(&rows)?;
    } else {
        say(human::table(&table(&rows)))?;
    }
    let mistakes: Vec<&String> = files.said.iter().filter(|said| said.contains("keymap.toml")).collect();
    if mistakes.is_empty() {
        return Ok(());
    }
    mistakes.into_iter().for_each(note);
    Err(Failure::Input("these entries do not count; the others do".into()))
}

fn table(rows: &[Row]) -> Table {
    let cells = |row: &Row| {
        let keys = if row.keys.is_empty() { "-".to_owned() } else { row.keys.join(" ") };
        let keys = row.when.as_ref().map_or(keys.clone(), |when| format!("{keys} (when {when})"));
        vec![row.id.to_owned(), keys, row.contexts.join(" "), row.help.to_owned()]
    };
    Table {
        title: String::new(),
        columns: ["action", "keys", "in", ""].map(String::from).to_vec(),
        rows: rows.iter().map(cells).collect(),
    }
}
