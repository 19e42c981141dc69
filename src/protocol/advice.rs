//! What is worth doing about a run or the machine: small rules, each of which says what it sees and what helps.
//!
//! The engine gathers what the rules look at ([`RunLook`], [`MachineLook`]); the rules themselves are plain functions of that.

mod machine;
mod run;

use serde::{Deserialize, Serialize};

use crate::event::Level;
use crate::run::{RunId, RunSummary};
use crate::wire::{Sample, Slot, System};

pub use machine::of_machine;
pub use run::{of_run, series_of_interest};

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The rule that gives it, such as `over-fitting`.
    pub rule: String,
    /// How bad it is: `info` for what could be better, `warn` for what wastes time, `error` for what spoils the run.
    pub level: Level,
    /// The run that it is about; `None`: the machine.
    #[serde(default)]
    pub run: Option<RunId>,
    /// What is seen, a sentence.
    pub what: String,
    /// What helps, a sentence.
    pub remedy: String,
}

/// What the rules see of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunLook<'a> {
    pub run: &'a RunSummary,
    /// Points `[x, y]` by name of the series, x rising, thinned to some hundred; those that [`series_of_interest`] names.
    pub series: &'a [(String, Vec<[f64; 2]>)],
    /// Seconds since the Unix epoch.
    pub now: f64,
}

/// What the rules see of the machine.
#[derive(Clone, Copy, Debug)]
pub struct MachineLook<'a> {
    pub system: &'a System,
    /// The oldest first.
    pub history: &'a [Sample],
    pub slots: &'a [Slot],
}

/// Sorts advice: the worst first, of the same the machine's first, then by run.
pub fn sort(advice: &mut [Advice]) {
    advice.sort_by(|a, b| {
        let key = |x: &Advice| (std::cmp::Reverse(x.level), x.run.clone().map(|r| r.0));
        key(a).cmp(&key(b))
    });
}

/// What a rule has found, before it is said of whom.
struct Found {
    rule: &'static str,
    level: Level,
    what: String,
    remedy: String,
}

impl Found {
    fn of(self, run: Option<RunId>) -> Advice {
        Advice { rule: self.rule.into(), level: self.level, run, what: self.what, remedy: self.remedy }
    }
}
