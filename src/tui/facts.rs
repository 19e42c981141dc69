//! What holds now, as plain yes and no: the conditions that a key of one's own may have.

use std::fmt;

use kiln_protocol::spec::problem::nearest;

macro_rules! facts {
    ($($name:ident $id:literal $help:literal;)*) => {
        /// Something that holds or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fact { $($name),* }

        impl Fact {
            pub const ALL: &'static [Fact] = &[$(Fact::$name),*];

            /// Name in `keymap.toml`.
            pub fn id(self) -> &'static str {
                match self { $(Fact::$name => $id),* }
            }

            /// What it means, for the manual.
            pub fn help(self) -> &'static str {
                match self { $(Fact::$name => $help),* }
            }
        }
    };
}

facts! {
    Connected "connected" "an engine answers";
    Empty "empty" "there are no runs";
    Filtered "filtered" "the list of runs is filtered";
    Selected "selected" "there is a run that commands act on: the open one, else the selected one";
    Queued "queued" "that run waits for its turn";
    Running "running" "that run is running";
    Paused "paused" "that run is paused";
    Live "live" "that run has a worker: it starts, runs, pauses or stops";
    Ended "ended" "that run is over: completed, stopped or failed";
    Failed "failed" "that run has failed";
    Experiment "experiment" "that run has jobs";
    Job "job" "that run is a job of an experiment";
    Wide "wide" "the screen has 120 columns or more";
    Tall "tall" "the screen has 40 rows or more";
}

/// Which facts hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts(u32);

impl Facts {
    /// This fact, if it holds, besides the others.
    #[must_use]
    pub fn with(self, fact: Fact, holds: bool) -> Facts {
        let bit = 1 << fact as u32;
        Facts(if holds { self.0 | bit } else { self.0 & !bit })
    }

    pub fn holds(self, fact: Fact) -> bool {
        self.0 & (1 << fact as u32) != 0
    }
}

/// A condition: facts that all must hold, or not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct When(Vec<(Fact, bool)>);

impl When {
    /// Whether it holds whatever happens.
    pub fn always(&self) -> bool {
        self.0.is_empty()
    }

    pub fn met(&self, facts: Facts) -> bool {
        self.0.iter().all(|(fact, wanted)| facts.holds(*fact) == *wanted)
    }
}

impl std::str::FromStr for When {
    type Err = String;

    /// Reads `running !wide`: blanks or commas between facts, `!` before those that must not hold.
    fn from_str(text: &str) -> Result<When, String> {
        let mut all = Vec::new();
        for word in text.split([' ', ',']).filter(|w| !w.is_empty()) {
            let (name, wanted) = word.strip_prefix('!').map_or((word, true), |name| (name, false));
            let Some(fact) = Fact::ALL.iter().find(|f| f.id() == name) else {
                let known = Fact::ALL.iter().map(|f| f.id());
                let hint = nearest(name, known.clone())
                    .map(|near| format!("did you mean `{near}`?"))
                    .unwrap_or_else(|| format!("known are {}", known.collect::<Vec<_>>().join(", ")));
                return Err(format!("`when` knows no `{name}`; {hint}"));
            };
            all.push((*fact, wanted));
        }
        // One order and no repeats, so that equal conditions are recognised as equal.
        all.sort_unstable();
        all.dedup();
        if all.windows(2).any(|w| w[0].0 == w[1].0) {
            return Err(format!("`when = \"{text}\"` can never hold"));
        }
        Ok(When(all))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> =
            self.0.iter().map(|(fact, wanted)| format!("{}{}", if *wanted { "" } else { "!" }, fact.id())).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_when_all_its_facts_do() {
        let when: When = "running, !wide".parse().unwrap();
        let facts = Facts::default().with(Fact::Running, true);
        assert!(when.met(facts) && !when.always());
        assert!(!when.met(facts.with(Fact::Wide, true)));
        assert!(!when.met(facts.with(Fact::Running, false)));
        assert!("".parse::<When>().unwrap().always());
        assert_eq!("!wide running running".parse::<When>().unwrap(), when);
        assert_eq!(when.to_string().parse::<When>().unwrap(), when);
    }

    #[test]
    fn a_condition_that_means_nothing_says_so() {
        let said = |text: &str| text.parse::<When>().unwrap_err();
        assert_eq!(said("runing"), "`when` knows no `runing`; did you mean `running`?");
        assert!(said("moon").contains("known are connected, empty"), "{}", said("moon"));
        assert!(said("wide !wide").contains("never"));
    }

    #[test]
    fn names_are_unique_and_fit_the_set() {
        let ids: std::collections::HashSet<_> = Fact::ALL.iter().map(|f| f.id()).collect();
        assert_eq!(ids.len(), Fact::ALL.len());
        assert!(Fact::ALL.len() <= 32);
    }
}
