//! Kendall's tau of pairs from standard input, for comparison with scipy: `x,y` a line, a blank line between data sets; one
//! number a data set on standard output, with all its digits, or `none`. See tests/reference.

#![allow(clippy::print_stdout)]

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use kiln_metrics::kendall_tau;

fn main() -> ExitCode {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let tell = |points: &mut Vec<(f64, f64)>| {
        if !points.is_empty() {
            println!("{}", kendall_tau(points).map_or_else(|| "none".to_owned(), |tau| format!("{tau:e}")));
            points.clear();
        }
    };
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        if line.trim().is_empty() {
            tell(&mut points);
            continue;
        }
        let pair = line.split_once(',').and_then(|(x, y)| Some((x.trim().parse().ok()?, y.trim().parse().ok()?)));
        let Some(pair) = pair else {
            eprintln!("tau: `{line}` is no pair of numbers such as 1,2");
            return ExitCode::FAILURE;
        };
        points.push(pair);
    }
    tell(&mut points);
    ExitCode::SUCCESS
}
