//! `kiln-worker predict`: a finished run's assessor asked about other architectures. CSV on standard output, a sentence
//! about it on standard error.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_methods::assessor::query::{Answer, Query, answer};

use crate::{complain, tell};

const USAGE: &str = "usage: kiln-worker predict RUN-FOLDER (--table FILE.csv | --sample N [--seed N]) [--top N]";

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Asked {
    folder: PathBuf,
    query: Query,
    top: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let Asked { folder, query, top } = match parse(arguments) {
        Ok(asked) => asked,
        Err(said) => {
            complain(format_args!("kiln-worker predict: {said}; {USAGE}"));
            return ExitCode::from(2);
        }
    };
    match answer(&folder, &query, top) {
        Ok(Answer { csv, said }) => {
            tell(format_args!("{}", csv.trim_end()));
            complain(format_args!("{said}"));
            ExitCode::SUCCESS
        }
        Err(said) => {
            complain(format_args!("{said}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Asked, String> {
    let (mut folder, mut table, mut sample, mut seed, mut top) = (None, None, None, 1, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = |name: &str| rest.next().cloned().ok_or_else(|| format!("{name} needs a value"));
        let mut number = |name: &str| {
            let given = value(name)?;
            given.to_str().and_then(|n| n.parse::<u64>().ok()).ok_or_else(|| format!("{name} needs a whole number"))
        };
        match argument.to_str() {
            Some("--table") => table = Some(PathBuf::from(value("--table")?)),
            Some("--sample") => sample = Some(number("--sample")?),
            Some("--seed") => seed = number("--seed")?,
            Some("--top") => top = Some(number("--top")? as usize),
            Some(option) if option.starts_with('-') => return Err(format!("there is no option {option}")),
            _ if folder.is_none() => folder = Some(PathBuf::from(argument)),
            _ => return Err("there is more than one run folder".into()),
        }
    }
    let query = match (table, sample) {
        (Some(table), None) => Query::Table(table),
        (None, Some(count)) => Query::Sample { count: count as usize, seed },
        _ => return Err("expected either --table or --sample".into()),
    };
    Ok(Asked { folder: folder.ok_or("a run folder is missing")?, query, top })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Asked, String> {
        parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_or_refused_by_name() {
        let asked = read(&["run", "--table", "a.csv", "--top", "3"]).unwrap();
        assert_eq!(asked, Asked { folder: "run".into(), query: Query::Table("a.csv".into()), top: Some(3) });
        let asked = read(&["--sample", "9", "run"]).unwrap();
        assert_eq!((asked.query, asked.top), (Query::Sample { count: 9, seed: 1 }, None));
        assert!(read(&["run"]).unwrap_err().contains("either --table or --sample"));
        assert!(read(&["run", "--table", "a", "--sample", "1"]).unwrap_err().contains("either"));
        assert!(read(&["--sample", "1"]).unwrap_err().contains("run folder"));
        assert!(read(&["run", "--sample", "many"]).unwrap_err().contains("whole number"));
        assert!(read(&["run", "--sample"]).unwrap_err().contains("needs a value"));
        assert!(read(&["run", "other", "--sample", "1"]).unwrap_err().contains("more than one"));
    }
}
