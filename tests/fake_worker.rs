//! `kiln-fake-worker <run folder>`: writes a believable run folder without training anything, so that engine, TUI and
//! command line can be tested and shown without libtorch.
//!
//! It plays a DC-NAS search: short trainings of some candidates with their curves, a clustering that is watched
//! iterating, full trainings of the winners, an outcome. Everything follows from the spec's seed and the step number; a
//! digest over all steps stands for the weights, so a run that was interrupted can be compared with one that was not.
//!
//! `KILN_FAKE` scripts it, such as `KILN_FAKE="steps=200,ms=5,die_at=120"`:
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `steps` | steps of the whole run | 600 |
//! | `ms` | milliseconds a step | 50 |
//! | `candidates` | candidates in the search | 24 |
//! | `checkpoint` | steps between checkpoints | 50 |
//! | `start_ms` | milliseconds before the first event, as libtorch needs to load | 0 |
//! | `die_at` | step at which it kills itself with SIGKILL | never |
//! | `die_times` | attempts in which it does so | 1 |
//! | `fail_at` | step at which it reports a failure and exits with status 1 | never |
//! | `exit_at` | step at which it exits with status 1 without an event | never |
//! | `only_job` | the only job of an experiment that dies, fails or exits; 0 for all | 0 |
//! | `enospc` | step at which it pauses as on a full disk | never |
//! | `enospc_ms` | milliseconds until there is room again | 1000 |
//! | `burst` | extra points of a series `burst` a step | 0 |
//! | `deaf` | 1: obeys no command | 0 |
//! | `pictures` | steps between histograms, sheets of pictures of 100 kB, layers; 0 for none | 0 |

mod fake;

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: kiln-fake-worker RUN_FOLDER");
        return ExitCode::from(2);
    };
    match fake::run(folder.as_ref()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("kiln-fake-worker: {error}");
            ExitCode::from(1)
        }
    }
}
