//! What an experiment found: means and deviations of its arms' figures, and each arm against the first on the same seeds.

use std::collections::{BTreeMap, BTreeSet};

use kiln_metrics::{ENOUGH_PAIRS, PairedT, Summary, differences};
use kiln_protocol::Outcome;
use kiln_protocol::run::{DIVERGED, Figure, Table};

/// What is called significant. For each figure by itself: with many figures, some will be so by chance.
const SIGNIFICANCE: f64 = 0.05;

/// Figures shown for single jobs; all are in their own outcomes.
const SHOWN: usize = 5;

/// A job that has completed.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// From 1.
    pub job: u32,
    /// Index of its arm; 0 where there are none.
    pub arm: usize,
    pub seed: u64,
    pub outcome: &'a Outcome,
}

impl Entry<'_> {
    /// Whether its figures are those of a whole training.
    fn is_whole(&self) -> bool {
        self.outcome.flaws.iter().all(|flaw| flaw != DIVERGED)
    }
}

/// The arms of an experiment and what their jobs found.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// Names in the preset's order; empty where there are seeds alone.
    pub arms: &'a [String],
    pub entries: &'a [Entry<'a>],
}

impl Compared<'_> {
    /// The figures that every outcome has: those by which the methods want to be judged, the foremost first; where they
    /// agree on none, all.
    fn figures(&self) -> Vec<Figure> {
        let outcomes = || self.entries.iter().map(|e| e.outcome);
        let defined = |name: &str| outcomes().any(|o| o.figures.get(name).is_some_and(Option::is_some));
        let common = |name: &str| outcomes().all(|o| o.figures.contains_key(name)) && defined(name);
        let mut seen = BTreeSet::new();
        let headlines = outcomes().flat_map(|o| &o.headline);
        let chosen: Vec<Figure> =
            headlines.filter(|f| common(&f.name) && seen.insert(f.name.as_str())).cloned().collect();
        if !chosen.is_empty() {
            return chosen;
        }
        let all = outcomes().next().into_iter().flat_map(|o| o.figures.keys()).filter(|name| common(name));
        all.map(|name| Figure { name: name.clone(), ..Figure::default() }).collect()
    }

    /// Jobs of an arm that can be compared.
    fn whole(&self, arm: usize) -> impl Iterator<Item = &Entry<'_>> {
        self.entries.iter().filter(move |e| e.arm == arm && e.is_whole())
    }

    /// The figure's values by seed.
    fn values(&self, arm: usize, name: &str) -> BTreeMap<u64, f64> {
        self.whole(arm).filter_map(|e| Some((e.seed, e.outcome.figures.get(name).copied()??))).collect()
    }

    fn summary(&self, arm: usize, name: &str) -> Option<Summary> {
        Summary::of(self.values(arm, name).into_values())
    }

    /// The arm against the first, on the seeds that both have: mean difference, number of pairs, and the test if there are
    /// two pairs at least.
    fn against_first(&self, arm: usize, name: &str) -> Option<(Summary, Option<PairedT>)> {
        let (first, other) = (self.values(0, name), self.values(arm, name));
        let pairs: Vec<(f64, f64)> = first.iter().filter_map(|(seed, a)| Some((*a, *other.get(seed)?))).collect();
        Some((differences(pairs.iter().copied())?, PairedT::of(pairs)))
    }

    /// One row a figure, one column an arm. What the experiment shows while it goes on.
    pub fn table(&self) -> Table {
        let figures = self.figures();
        if self.arms.is_empty() {
            let row = |f: &Figure| {
                let s = self.summary(0, &f.name)?;
                let std = if s.count > 1 { number(s.std) } else { "-".into() };
                Some(vec![label(f), number(s.mean), std, number(s.min), number(s.max), s.count.to_string()])
            };
            return Table {
                title: "Over seeds".into(),
                columns: ["figure", "mean", "std", "least", "greatest", "n"].map(String::from).to_vec(),
                rows: figures.iter().filter_map(row).collect(),
            };
        }
        let arms = 0..self.arms.len();
        let columns = arms.clone().map(|arm| format!("{} (n = {})", self.arms[arm], self.whole(arm).count()));
        let row = |f: &Figure| {
            let cells = arms.clone().map(|arm| self.summary(arm, &f.name).map_or_else(|| "-".into(), mean_and_spread));
            std::iter::once(label(f)).chain(cells).collect()
        };
        Table {
            title: "Arms: mean ± standard deviation over seeds".into(),
            columns: std::iter::once("figure".to_owned()).chain(columns).collect(),
            rows: figures.iter().map(row).collect(),
        }
    }

    /// Each arm against the first.
    fn tests(&self) -> Option<Table> {
        let first = self.arms.first().filter(|_| self.arms.len() > 1)?;
        let mut rows = Vec::new();
        for (arm, name) in self.arms.iter().enumerate().skip(1) {
            for figure in self.figures() {
                let Some((difference, test)) = self.against_first(arm, &figure.name) else { continue };
                let p = test.filter(|t| t.count >= ENOUGH_PAIRS).map_or_else(|| "-".into(), |t| chance(t.p));
                let word = significant(test).map_or("n.s.", |t| word(&figure, t.difference));
                let pairs = difference.count.to_string();
                rows.push(vec![name.clone(), label(&figure), signed(difference), pairs, p, word.to_owned()]);
            }
        }
        (!rows.is_empty()).then(|| Table {
            title: format!("Against {first}, on the same seeds (two-sided paired t-test of each figure by itself)"),
            columns: ["arm", "figure", "difference", "pairs", "p", "so it is"].map(String::from).to_vec(),
            rows,
        })
    }

    fn jobs(&self) -> Table {
        let mut figures = self.figures();
        let title = match figures.len() > SHOWN {
            true => format!("Jobs (the first {SHOWN} of {} figures; --json has all)", figures.len()),
            false => "Jobs".to_owned(),
        };
        figures.truncate(SHOWN);
        let with_arms = !self.arms.is_empty();
        let mut columns = vec!["job".to_owned()];
        columns.extend(with_arms.then(|| "arm".to_owned()));
        columns.push("seed".into());
        columns.extend(figures.iter().map(label));
        let flawed = self.entries.iter().any(|e| !e.outcome.flaws.is_empty());
        columns.extend(flawed.then(|| "flaw".to_owned()));
        let row = |e: &Entry<'_>| {
            let mut row = vec![e.job.to_string()];
            row.extend(self.arms.get(e.arm).cloned());
            row.push(e.seed.to_string());
            let value = |f: &Figure| e.outcome.figures.get(&f.name).copied().flatten();
            row.extend(figures.iter().map(|f| value(f).map_or_else(|| "-".into(), number)));
            row.extend(flawed.then(|| e.outcome.flaws.join("; ")));
            row
        };
        Table { title, columns, rows: self.entries.iter().map(row).collect() }
    }

    /// The outcome of the experiment. `notes` are sentences to add to the verdict (failures, arms with other data).
    pub fn outcome(&self, notes: &[String]) -> Outcome {
        let figures = self.figures();
        let mut values = BTreeMap::new();
        let mut headline = Vec::new();
        for arm in 0..self.arms.len().max(1) {
            let key = |figure: &str, what: &str| match self.arms.get(arm) {
                Some(name) => format!("{name}/{figure}/{what}"),
                None => format!("{figure}/{what}"),
            };
            for figure in &figures {
                let Some(s) = self.summary(arm, &figure.name) else { continue };
                headline.push(Figure { name: key(&figure.name, "mean"), ..figure.clone() });
                values.insert(key(&figure.name, "mean"), Some(s.mean));
                values.insert(key(&figure.name, "std"), (s.count > 1).then_some(s.std));
                values.insert(key(&figure.name, "n"), Some(s.count as f64));
                let against = (arm > 0).then(|| self.against_first(arm, &figure.name)).flatten();
                if let Some((difference, test)) = against {
                    values.insert(key(&figure.name, "difference"), Some(difference.mean));
                    values.insert(key(&figure.name, "p"), test.map(|t| t.p));
                }
            }
        }
        let verdicts = self.verdicts(figures.first()).into_iter().chain(self.flaws());
        let sentences: Vec<String> = verdicts.chain(notes.iter().cloned()).collect();
        Outcome {
            verdict: sentences.join(" "),
            figures: values,
            tables: std::iter::once(self.table()).chain(self.tests()).chain([self.jobs()]).collect(),
            headline,
            flaws: Vec::new(),
        }
    }

    /// The jobs that completed with a flaw, arm by arm.
    fn flaws(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for arm in 0..self.arms.len().max(1) {
            let mut seeds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for entry in self.entries.iter().filter(|e| e.arm == arm) {
                for flaw in &entry.outcome.flaws {
                    seeds.entry(flaw).or_default().push(entry.seed.to_string());
                }
            }
            let who = self.arms.get(arm).map_or_else(|| "Training".to_owned(), |name| format!("Arm {name}"));
            for (flaw, seeds) in seeds {
                let which = if seeds.len() == 1 { "seed" } else { "seeds" };
                let out = if flaw == DIVERGED { "; what it found there is left out" } else { "" };
                sentences.push(format!("{who}: {flaw} with {which} {}{out}.", seeds.join(", ")));
            }
        }
        sentences
    }

    /// What the foremost figure says.
    fn verdicts(&self, figure: Option<&Figure>) -> Vec<String> {
        let Some(figure) = figure else { return vec!["The jobs have no figure in common.".into()] };
        let name = &figure.name;
        let say = |arm: usize| self.summary(arm, name).map_or_else(|| "undefined".into(), mean_and_spread);
        let Some(first) = self.arms.first() else {
            let seeds = self.summary(0, name).map_or(0, |s| s.count);
            let several = if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") };
            return vec![format!("{name} is {} over {several}.", say(0))];
        };
        if self.arms.len() == 1 {
            return vec![format!("{name} of arm {first} is {}.", say(0))];
        }
        let against = |arm: usize| {
            let other = &self.arms[arm];
            let Some((difference, test)) = self.against_first(arm, name) else {
                return format!("Arms {other} and {first} have no seed in common whose {name} is known.");
            };
            let seeds = difference.count;
            let both = format!("{} against {}", say(arm), say(0));
            match (significant(test), test) {
                (Some(t), _) => format!(
                    "Arm {other} is {} than {first} in {name}: {both} ({seeds} seeds, paired t-test p {}).",
                    word(figure, t.difference),
                    equals(t.p)
                ),
                (None, Some(t)) if t.count < ENOUGH_PAIRS => format!(
                    "Arm {other} has {name} {both} of {first}; {seeds} seeds say too little about chance (n.s.)."
                ),
                (None, Some(t)) => format!(
                    "Arm {other} does not differ significantly from {first} in {name}: {both} ({seeds} seeds, paired t-test p {}).",
                    equals(t.p)
                ),
                (None, None) => {
                    format!("Arm {other} has {name} {both} of {first}; one seed says nothing about chance (n.s.).")
                }
            }
        };
        (1..self.arms.len()).map(against).collect()
    }
}

fn significant(test: Option<PairedT>) -> Option<PairedT> {
    test.filter(|t| t.count >= ENOUGH_PAIRS && t.p < SIGNIFICANCE)
}

/// `better`, `worse`; `higher`, `lower` where nobody says which is better.
fn word(figure: &Figure, difference: f64) -> &'static str {
    match (figure.higher_is_better, difference > 0.0) {
        (Some(higher), up) if higher == up => "better",
        (Some(_), _) => "worse",
        (None, true) => "higher",
        (None, false) => "lower",
    }
}

fn label(figure: &Figure) -> String {
    if figure.unit.is_empty() { figure.name.clone() } else { format!("{} ({})", figure.name, figure.unit) }
}

/// Four digits that mean something, more or less.
fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if a >= 1e9 => format!("{x:.3e}"),
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.2}"),
        a if a >= 1e-3 => format!("{x:.4}"),
        _ => format!("{x:.2e}"),
    }
}

fn mean_and_spread(s: Summary) -> String {
    if s.count > 1 { format!("{} ± {}", number(s.mean), number(s.std)) } else { number(s.mean) }
}

fn signed(s: Summary) -> String {
    let plus = if s.mean > 0.0 { "+" } else { "" };
    format!("{plus}{}", mean_and_spread(s))
}

fn chance(p: f64) -> String {
    if p < 1e-3 { "< 0.001".into() } else { format!("{p:.3}") }
}

fn equals(p: f64) -> String {
    if p < 1e-3 { chance(p) } else { format!("= {}", chance(p)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(accuracy: f64, extra: Option<f64>) -> Outcome {
        let mut figures: BTreeMap<String, Option<f64>> =
            [("accuracy", Some(accuracy)), ("loss", Some(1.0 - accuracy)), ("size", Some(5.0))]
                .map(|(k, v)| (k.to_string(), v))
                .into();
        figures.extend(extra.map(|x| ("extra".to_string(), Some(x))));
        let headline = vec![Figure::new("extra", true), Figure::new("accuracy", true), Figure::new("loss", false)];
        Outcome { figures, headline, ..Outcome::default() }
    }

    fn entries<'a>(outcomes: &'a [(usize, u64, Outcome)]) -> Vec<Entry<'a>> {
        let entry = |(i, (arm, seed, outcome)): (usize, &'a (usize, u64, Outcome))| Entry {
            job: i as u32 + 1,
            arm: *arm,
            seed: *seed,
            outcome,
        };
        outcomes.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn arms_are_compared_on_common_seeds() {
        let outcomes = [
            (0, 1, outcome(0.80, None)),
            (1, 1, outcome(0.90, Some(1.0))),
            (0, 2, outcome(0.82, None)),
            (1, 2, outcome(0.93, None)),
            (0, 3, outcome(0.84, None)),
            (1, 3, outcome(0.96, None)),
            (1, 9, outcome(0.10, None)),
        ];
        let (arms, entries) = (["a".to_string(), "b".to_string()], entries(&outcomes));
        let found = Compared { arms: &arms, entries: &entries }.outcome(&["A note.".into()]);
        let figure = |name: &str| found.figures[name].unwrap();
        assert!((figure("a/accuracy/mean") - 0.82).abs() < 1e-12 && (figure("a/accuracy/std") - 0.02).abs() < 1e-12);
        assert_eq!((figure("a/accuracy/n"), figure("b/accuracy/n")), (3.0, 4.0));
        assert!((figure("b/accuracy/difference") - 0.11).abs() < 1e-12, "seed 9 has no partner");
        // Differences 0.10, 0.11, 0.12: t = 0.11 / (0.01 / sqrt 3), two degrees of freedom.
        let t = 11.0 * 3f64.sqrt();
        assert!((figure("b/accuracy/p") - (1.0 - t / (2.0 + t * t).sqrt())).abs() < 1e-9);
        assert!(
            found.figures.keys().all(|k| !k.contains("extra") && !k.contains("size")),
            "{:?}",
            found.figures.keys()
        );
        assert!(found.verdict.starts_with("Arm b is better than a in accuracy: 0.7225 ± 0.4157 against 0.8200 ± 0.0200 (3 seeds, paired t-test p = 0.003)."), "{}", found.verdict);
        assert!(found.verdict.ends_with(" A note."));
        let words: Vec<&str> = found.tables[1].rows.iter().map(|r| r[5].as_str()).collect();
        assert_eq!(words, ["better", "better"], "a lower loss is better too: {:?}", found.tables[1]);
        assert_eq!(found.tables[0].columns, ["figure", "a (n = 3)", "b (n = 4)"]);
        assert_eq!((found.tables[2].rows.len(), found.tables[2].columns.len()), (7, 5));
        assert_eq!(found.headline[0], Figure { name: "a/accuracy/mean".into(), ..Figure::new("accuracy", true) });
    }

    #[test]
    fn one_seed_says_nothing_about_chance() {
        let outcomes = [(0, 1, outcome(0.8, None)), (1, 1, outcome(0.9, None))];
        let (arms, entries) = (["a".to_string(), "b".to_string()], entries(&outcomes));
        let found = Compared { arms: &arms, entries: &entries }.outcome(&[]);
        assert!(found.verdict.contains("n.s."), "{}", found.verdict);
        assert_eq!((found.figures["b/accuracy/p"], found.figures["b/accuracy/std"]), (None, None));
        assert!(found.tables[1].rows.iter().all(|r| r[4] == "-" && r[5] == "n.s."));
        // Two pairs that agree would have any p-value.
        let agree = [
            (0, 1, outcome(0.8, None)),
            (1, 1, outcome(0.9, None)),
            (0, 2, outcome(0.7, None)),
            (1, 2, outcome(0.8, None)),
        ];
        let entries = self::entries(&agree);
        let found = Compared { arms: &arms, entries: &entries }.outcome(&[]);
        assert!(found.verdict.contains("2 seeds say too little about chance (n.s.)"), "{}", found.verdict);
        assert!(found.tables[1].rows.iter().all(|r| r[5] == "n.s."));
        let differ = [
            (0, 1, outcome(0.8, None)),
            (1, 1, outcome(0.9, None)),
            (0, 2, outcome(0.9, None)),
            (1, 2, outcome(0.8, None)),
            (0, 3, outcome(0.85, None)),
            (1, 3, outcome(0.85, None)),
        ];
        let entries = self::entries(&differ);
        let found = Compared { arms: &arms, entries: &entries }.outcome(&[]);
        assert!(
            found.verdict.contains("does not differ significantly") && found.verdict.contains("p = 1.000"),
            "{}",
            found.verdict
        );
    }

    #[test]
    fn seeds_alone_and_nothing_at_all() {
        let outcomes = [(0, 1, outcome(0.8, None)), (0, 2, outcome(0.9, None))];
        let entries = entries(&outcomes);
        let found = Compared { arms: &[], entries: &entries }.outcome(&[]);
        assert_eq!(found.verdict, "accuracy is 0.8500 ± 0.0707 over 2 seeds.");
        assert_eq!(found.tables.len(), 2);
        assert_eq!(found.figures["accuracy/n"], Some(2.0));
        let arms = ["a".to_string(), "b".to_string()];
        let none = Compared { arms: &arms, entries: &[] }.outcome(&[]);
        assert_eq!(none.verdict, "The jobs have no figure in common.");
        let half = Compared { arms: &arms, entries: &entries }.outcome(&[]);
        assert!(half.verdict.contains("no seed in common"), "{}", half.verdict);
        assert_eq!(half.tables[0].rows[0][2], "-");
    }

    #[test]
    fn jobs_that_diverged_are_named_and_left_out() {
        let with = |accuracy: f64, flaw: &str| {
            let flaws = (!flaw.is_empty()).then(|| flaw.to_owned()).into_iter().collect();
            Outcome { flaws, ..outcome(accuracy, None) }
        };
        let outcomes = [
            (0, 1, with(0.8, "")),
            (1, 1, with(0.1, DIVERGED)),
            (2, 1, with(0.7, "dead")),
            (0, 2, with(0.9, "")),
            (1, 2, with(0.1, DIVERGED)),
            (2, 2, with(0.1, DIVERGED)),
        ];
        let (arms, entries) = (["plain", "wild", "late"].map(String::from), entries(&outcomes));
        let found = Compared { arms: &arms, entries: &entries }.outcome(&[]);
        let said = &found.verdict;
        assert!(said.contains("Arm wild: diverged with seeds 1, 2; what it found there is left out."), "{said}");
        assert!(
            said.contains("Arm late: diverged with seed 2;") && said.contains("Arm late: dead with seed 1."),
            "{said}"
        );
        assert!(!said.contains("Arm plain:") && !found.figures.contains_key("wild/accuracy/mean"), "{found:?}");
        assert_eq!(found.figures["late/accuracy/n"], Some(1.0), "what is only dead counts");
        assert_eq!(found.tables[0].columns, ["figure", "plain (n = 2)", "wild (n = 0)", "late (n = 1)"]);
        assert!(found.tables[1].rows.iter().all(|row| row[0] == "late"), "{:?}", found.tables[1]);
        let flaws: Vec<&str> = found.tables[2].rows.iter().map(|row| row.last().unwrap().as_str()).collect();
        assert_eq!(flaws, ["", DIVERGED, "dead", "", DIVERGED, DIVERGED]);
    }
}
