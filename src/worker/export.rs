//! `kiln-worker export`: a network of a run folder as a file for other programs. Answers with one line of JSON.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_methods::export::{self, Format};

use crate::{complain, tell};

const USAGE: &str = "usage: kiln-worker export --format safetensors|torchscript --out FILE [--arch ARCH] RUN-FOLDER...";

/// Exit code where no folder has weights of the network.
const NO_WEIGHTS: u8 = 3;

/// What was asked for.
struct Asked {
    format: Format,
    out: PathBuf,
    /// The architecture as the space writes it; any if `None`.
    arch: Option<String>,
    /// Run folders, the first one with such a network counts.
    folders: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let asked = match parse(arguments) {
        Ok(asked) => asked,
        Err(said) => {
            complain(format_args!("kiln-worker export: {said}; {USAGE}"));
            return ExitCode::from(2);
        }
    };
    let found = match export::find(&asked.folders, asked.arch.as_deref()) {
        Ok(found) => found,
        Err(said) => {
            complain(format_args!("{said}"));
            return ExitCode::from(NO_WEIGHTS);
        }
    };
    match export::write(&found, asked.format, &asked.out) {
        Ok(written) => {
            tell(format_args!("{written}"));
            ExitCode::SUCCESS
        }
        Err(said) => {
            complain(format_args!("{said}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Asked, String> {
    let (mut format, mut out, mut arch, mut folders) = (None, None, None, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = |name: &str| rest.next().cloned().ok_or_else(|| format!("{name} needs a value"));
        match argument.to_str() {
            Some("--format") => {
                let given = value("--format")?;
                format = Some(match given.to_str() {
                    Some("safetensors") => Format::Safetensors,
                    Some("torchscript") => Format::Torchscript,
                    _ => return Err(format!("there is no format {}", given.display())),
                });
            }
            Some("--out") => out = Some(PathBuf::from(value("--out")?)),
            Some("--arch") => {
                let given = value("--arch")?;
                arch = Some(given.into_string().map_err(|given| format!("{} is not text", given.display()))?);
            }
            Some(option) if option.starts_with('-') => return Err(format!("there is no option {option}")),
            _ => folders.push(PathBuf::from(argument)),
        }
    }
    if folders.is_empty() {
        return Err("a run folder is missing".into());
    }
    let format = format.ok_or("--format is missing")?;
    let out = out.ok_or("--out is missing")?;
    Ok(Asked { format, out, arch, folders })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match parse(&arguments) {
            Ok(asked) => format!("{:?} {} {:?} {}", asked.format, asked.out.display(), asked.arch, asked.folders.len()),
            Err(said) => said,
        }
    }

    #[test]
    fn arguments_are_read_in_any_order_or_refused_by_name() {
        assert_eq!(said(&["a", "--out", "x", "--format", "safetensors"]), "Safetensors x None 1");
        let all = ["--format", "torchscript", "--arch", "fast-1", "--out", "x", "a", "b"];
        assert_eq!(said(&all), "Torchscript x Some(\"fast-1\") 2");
        assert_eq!(said(&["a", "--out", "x"]), "--format is missing");
        assert_eq!(said(&["a", "--format", "onnx"]), "there is no format onnx");
        assert_eq!(said(&["--format", "safetensors", "--out", "x"]), "a run folder is missing");
        assert_eq!(said(&["a", "--out"]), "--out needs a value");
        assert_eq!(said(&["a", "--speed"]), "there is no option --speed");
    }
}
