//! Roots of matrices and Fréchet distances from standard input, for comparison with scipy. A case is a line `root N` and `N * N`
//! numbers, row by row, or a line `distance N D` and two sets of `N` vectors of `D` numbers; one line of numbers a case on
//! standard output, with all their digits. See tests/reference.

#![allow(clippy::print_stdout)]

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use kiln_metrics::{Features, frechet_distance, sqrt_psd};

fn answer(case: &str, numbers: &str) -> Option<String> {
    let numbers: Vec<f64> = numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let words: Vec<&str> = case.split_whitespace().collect();
    let whole = |word: &str| word.parse::<usize>().ok();
    match words.as_slice() {
        ["root", n] => {
            let root = sqrt_psd(&numbers, whole(n)?)?;
            Some(root.iter().map(|x| format!("{x:e}")).collect::<Vec<_>>().join(" "))
        }
        ["distance", n, d] => {
            let (n, d) = (whole(n)?, whole(d)?);
            let (a, b) = numbers.split_at_checked(n * d)?;
            frechet_distance(Features::new(a, d)?, Features::new(b, d)?).map(|x| format!("{x:e}"))
        }
        _ => None,
    }
}

fn main() -> ExitCode {
    let lines: Vec<String> = match stdin().lock().lines().collect() {
        Ok(lines) => lines,
        Err(_) => return ExitCode::FAILURE,
    };
    for pair in lines.chunks_exact(2) {
        match answer(&pair[0], &pair[1]) {
            Some(text) => println!("{text}"),
            None => {
                eprintln!("frechet: `{}` with what follows it is no case", pair[0]);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
