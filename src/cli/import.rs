//! `import`: runs of a bundle among those of this home.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use kiln_protocol::wire::{Reply, Request};
use serde_json::json;

use crate::engines::{self, Engines};
use crate::export::{bundle, files};
use crate::failure::{Failure, Outcome, say, say_json};
use crate::{args, human};

pub fn import(engines: &Engines, args: &args::Import) -> Outcome {
    if engines.is_remote() {
        return Err(Failure::input(
            "a bundle is unpacked where the engine runs: run `kiln import` there, without --socket",
        ));
    }
    let home = Engines::home()?;
    home.create().map_err(|e| Failure::Engine(e.to_string()))?;
    // Before anything is unpacked: without an engine nobody would take the runs up.
    let mut client = engines.open()?;
    let runs = bundle::unpack(open(&args.bundle)?, &home, args.rename.as_deref())
        .map_err(|said| Failure::Input(format!("{} was not imported: {said}", args.bundle.display())))?;
    let mut lines = Vec::new();
    for run in &runs {
        match client.request(&Request::Adopt { run: run.clone() })? {
            Reply::Done => {}
            other => return engines::unexpected(&other),
        }
        let summary = engines::detail(&mut client, run)?.summary;
        let took = summary.took(kiln_protocol::now()).map(|t| format!(" after {}", human::duration(t)));
        lines.push(format!("{run}: {}{}", summary.state, took.unwrap_or_default()));
    }
    if args.json { say_json(&json!({ "runs": runs })) } else { say(lines.join("\n")) }
}

fn open(path: &Path) -> Outcome<Box<dyn Read>> {
    if files::is_stdout(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::with_capacity(1 << 18, file))),
        Err(e) => Err(Failure::Input(format!("{} cannot be read: {e}", path.display()))),
    }
}
