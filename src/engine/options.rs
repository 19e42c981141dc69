//! What an engine is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use kiln_protocol::home::Home;

/// Settings of an engine. [`Options::new`] takes the defaults, changed by environment variables.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder it owns.
    pub home: Home,
    /// The program that does the jobs: `KILN_WORKER`, else `kiln-worker` beside this program.
    pub worker: PathBuf,
    /// How long it stays with nothing to do and nobody connected; `None` for ever. `KILN_IDLE_EXIT` in seconds, 0 for
    /// ever; 10 minutes by default.
    pub idle_exit: Option<Duration>,
    /// Free bytes on the home's file system below which no job is started. `KILN_MIN_FREE_MB`; 200 MB by default.
    pub min_free: u64,
    /// Jobs on the CPU at a time. `KILN_CPU_SLOTS`; 1 by default, because one job uses all cores.
    pub cpu_slots: usize,
    /// Leave the terminal's session, so that its end does not reach the engine. `KILN_ENGINE_DETACHED=1`, which
    /// [`crate::daemon`] sets.
    pub detach: bool,
}

/// Name of the worker's program.
const WORKER: &str = "kiln-worker";

impl Options {
    /// # Errors
    /// A sentence that names the environment variable that makes no sense.
    pub fn new(home: Home) -> Result<Options, String> {
        Options::from_vars(home, |name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    fn from_vars(home: Home, var: impl Fn(&str) -> Option<String>) -> Result<Options, String> {
        let number = |name: &str, default: u64| match var(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("{name} is `{text}`; a whole number is expected")),
        };
        let idle = number("KILN_IDLE_EXIT", 600)?;
        Ok(Options {
            home,
            worker: var("KILN_WORKER").map(PathBuf::from).unwrap_or_else(beside_this_program),
            idle_exit: (idle > 0).then(|| Duration::from_secs(idle)),
            min_free: number("KILN_MIN_FREE_MB", 200)?.saturating_mul(1_000_000),
            cpu_slots: number("KILN_CPU_SLOTS", 1)?.clamp(1, 1024) as usize,
            detach: var("KILN_ENGINE_DETACHED").as_deref() == Some("1"),
        })
    }
}

fn beside_this_program() -> PathBuf {
    let exe = std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok());
    exe.map_or_else(|| PathBuf::from(WORKER), |exe| exe.with_file_name(WORKER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(vars: &[(&str, &str)]) -> Result<Options, String> {
        let home = Home::new("/k").unwrap();
        Options::from_vars(home, |name| vars.iter().find(|v| v.0 == name).map(|v| v.1.to_string()))
    }

    #[test]
    fn variables_change_the_defaults_and_mistakes_are_named() {
        let plain = options(&[]).unwrap();
        assert_eq!(
            (plain.idle_exit, plain.min_free, plain.cpu_slots),
            (Some(Duration::from_secs(600)), 200_000_000, 1)
        );
        assert!(plain.worker.is_absolute() && plain.worker.ends_with("kiln-worker"));
        let set = options(&[("KILN_IDLE_EXIT", "0"), ("KILN_WORKER", "/w"), ("KILN_CPU_SLOTS", "3")]).unwrap();
        assert_eq!((set.idle_exit, set.worker, set.cpu_slots), (None, PathBuf::from("/w"), 3));
        let error = options(&[("KILN_MIN_FREE_MB", "lots")]).unwrap_err();
        assert!(error.contains("KILN_MIN_FREE_MB") && error.contains("lots"), "{error}");
    }
}
