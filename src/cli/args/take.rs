//! What takes runs along: exports, bundles, reports, repeats.

use std::path::PathBuf;

use clap::Args;

use crate::export::{Format, Rows};

#[derive(Args, Debug)]
pub struct Export {
    /// The runs; of weights, one run and perhaps the number of a candidate, as the run's table has it.
    #[arg(default_value = "last", value_name = "RUN")]
    pub runs: Vec<String>,
    /// What to write.
    #[arg(long, short, value_enum, default_value = "safetensors")]
    pub format: Format,
    /// Only these series; may be repeated. A name also means all series that end in it.
    #[arg(long, value_name = "NAME")]
    pub series: Vec<String>,
    /// What a row of a table is.
    #[arg(long, value_enum, default_value = "points")]
    pub rows: Rows,
    /// Leave checkpoints out of a bundle: smaller, but the run cannot be resumed where it goes.
    #[arg(long)]
    pub no_checkpoints: bool,
    /// Plots on dark paper.
    #[arg(long)]
    pub dark: bool,
    /// The file (of tensorboard, the folder); `-` for standard output. Called after the run, in this folder, if not given.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite a file that is there already.
    #[arg(long)]
    pub force: bool,
    /// Print what was written as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Export {
    /// Everything of a format, under the usual name, in place of what was written so before.
    pub fn whole(format: Format) -> Export {
        let (runs, series) = (Vec::new(), Vec::new());
        Export {
            runs,
            format,
            series,
            rows: Rows::Points,
            no_checkpoints: false,
            dark: false,
            out: None,
            force: true,
            json: false,
        }
    }
}

#[derive(Args, Debug)]
pub struct Import {
    /// A bundle, as `kiln export --format bundle` writes it; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub bundle: PathBuf,
    /// Another id for the run, where there is one of its id already.
    #[arg(long = "as", value_name = "ID")]
    pub rename: Option<String>,
    /// Print what was imported as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Report {
    /// The runs.
    #[arg(default_value = "last", value_name = "RUN")]
    pub runs: Vec<String>,
    /// The file; `-` for standard output. Called after the run, in this folder, if not given.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite a file that is there already.
    #[arg(long)]
    pub force: bool,
    /// The page's heading.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Print what was written as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Repro {
    /// The run.
    #[arg(default_value = "last", value_name = "RUN")]
    pub run: String,
    /// The preset to write; `-` for standard output. Called after the run, in this folder, if not given.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite a file that is there already.
    #[arg(long)]
    pub force: bool,
    /// Only say what differs here.
    #[arg(long)]
    pub check: bool,
    /// Print what differs here as JSON.
    #[arg(long)]
    pub json: bool,
}
