//! How the list of runs is arranged: order, groups, columns of one's own. Names of all of them are those of saved views.

use kiln_protocol::filter::{self, figure};
use kiln_protocol::{RunState, RunSummary};

use crate::text;

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Newest first.
    #[default]
    Created,
    Name,
    State,
    Progress,
    Best,
    Device,
    Eta,
    Age,
}

impl SortBy {
    pub const ALL: [SortBy; 8] = [
        SortBy::Created,
        SortBy::Name,
        SortBy::State,
        SortBy::Progress,
        SortBy::Best,
        SortBy::Device,
        SortBy::Eta,
        SortBy::Age,
    ];

    /// In words, for the line above the list.
    pub fn as_str(self) -> &'static str {
        match self {
            SortBy::Created => "start",
            SortBy::Name => "name",
            SortBy::State => "state",
            SortBy::Progress => "progress",
            SortBy::Best => "best",
            SortBy::Device => "device",
            SortBy::Eta => "time left",
            SortBy::Age => "last event",
        }
    }

    /// Whether the greatest stands first, unless turned round: the newest run, the one furthest on, the best.
    pub(crate) fn descends(self) -> bool {
        matches!(self, SortBy::Created | SortBy::Progress | SortBy::Best)
    }

    /// The sort criterion `by` places further on.
    pub fn next(self, by: isize) -> SortBy {
        let at = SortBy::ALL.iter().position(|s| *s == self).unwrap_or(0) as isize;
        SortBy::ALL[(at + by).rem_euclid(SortBy::ALL.len() as isize) as usize]
    }
}

/// What runs are put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    Method,
    Preset,
    State,
    Tags,
    Host,
    /// How long ago they were created.
    Age,
}

impl GroupBy {
    pub const ALL: [GroupBy; 6] =
        [GroupBy::Method, GroupBy::Preset, GroupBy::State, GroupBy::Tags, GroupBy::Host, GroupBy::Age];

    pub fn as_str(self) -> &'static str {
        match self {
            GroupBy::Method => "method",
            GroupBy::Preset => "preset",
            GroupBy::State => "state",
            GroupBy::Tags => "tags",
            GroupBy::Host => "host",
            GroupBy::Age => "age",
        }
    }

    /// The next way to group; none after the last.
    pub fn next(now: Option<GroupBy>) -> Option<GroupBy> {
        let next = now.map_or(0, |now| GroupBy::ALL.iter().position(|g| *g == now).map_or(0, |at| at + 1));
        GroupBy::ALL.get(next).copied()
    }

    /// The group of a run, in words.
    pub fn of(self, run: &RunSummary, now: f64) -> String {
        let known = |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
        match self {
            GroupBy::Method => known(&run.method, "no method"),
            GroupBy::Preset => known(&run.preset, "no preset"),
            GroupBy::State => run.state.to_string(),
            GroupBy::Tags => known(&tags(run), "no tag"),
            GroupBy::Host => known(run.host.as_deref().unwrap_or_default(), "no host yet"),
            GroupBy::Age => match now - run.created {
                age if age < 3600.0 => "the last hour",
                age if age < 86_400.0 => "the last 24 hours",
                age if age < 604_800.0 => "the last 7 days",
                _ => "older",
            }
            .to_owned(),
        }
    }
}

/// `#paper #v2`; empty without tags.
pub fn tags(run: &RunSummary) -> String {
    run.tags.iter().map(|tag| format!("#{tag}")).collect::<Vec<_>>().join(" ")
}

/// A column that the list has when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Tags,
    Note,
    Method,
    Preset,
    Seed,
    Took,
    Created,
    Host,
    Priority,
    Attempts,
    /// A figure of what the run has found, or the one it is judged by.
    Figure(String),
}

impl Column {
    const PLAIN: [Column; 10] = [
        Column::Tags,
        Column::Note,
        Column::Method,
        Column::Preset,
        Column::Seed,
        Column::Took,
        Column::Created,
        Column::Host,
        Column::Priority,
        Column::Attempts,
    ];

    /// All that these runs can fill: figures last, by name.
    pub fn all<'a>(runs: impl Iterator<Item = &'a RunSummary>) -> Vec<Column> {
        let mut names: Vec<&str> = runs.flat_map(filter::figures).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        Column::PLAIN.into_iter().chain(names.into_iter().map(|name| Column::Figure(name.to_owned()))).collect()
    }

    /// Name in heading and files.
    pub fn name(&self) -> &str {
        match self {
            Column::Tags => "tags",
            Column::Note => "note",
            Column::Method => "method",
            Column::Preset => "preset",
            Column::Seed => "seed",
            Column::Took => "took",
            Column::Created => "created",
            Column::Host => "host",
            Column::Priority => "priority",
            Column::Attempts => "attempts",
            Column::Figure(name) => name,
        }
    }

    /// The column of that name: any other than those known is a figure.
    pub fn named(name: &str) -> Column {
        Column::PLAIN.into_iter().find(|c| c.name() == name).unwrap_or_else(|| Column::Figure(name.to_owned()))
    }

    /// What the column says of a run; `None` where there is nothing to say.
    pub fn cell(&self, run: &RunSummary, now: f64) -> Option<String> {
        let words = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match self {
            Column::Tags => words(&run.tags.join(" ")),
            Column::Note => words(&run.note),
            Column::Method => words(&run.method),
            Column::Preset => words(&run.preset),
            Column::Seed => run.jobs.is_none().then(|| run.seed.to_string()),
            Column::Took => run.took(now).map(text::duration),
            Column::Created => Some(text::age(now - run.created)),
            Column::Host => words(run.host.as_deref().unwrap_or_default()),
            Column::Priority => (run.priority != 0).then(|| format!("{:+}", run.priority)),
            Column::Attempts => (run.attempts > 0).then(|| run.attempts.to_string()),
            Column::Figure(name) => figure(run, name).map(text::number),
        }
    }

    /// Whether its cells are set to the right.
    pub fn is_figure(&self) -> bool {
        !matches!(self, Column::Tags | Column::Note | Column::Method | Column::Preset | Column::Host)
    }

    /// Most cells that it takes.
    pub fn widest(&self) -> usize {
        match self {
            Column::Note => 32,
            Column::Tags => 20,
            _ => 16,
        }
    }
}

/// Runs that need attention or move come first.
pub(crate) fn urgency(state: RunState) -> u8 {
    match state {
        RunState::Running => 0,
        RunState::Stopping => 1,
        RunState::Starting => 2,
        RunState::Paused => 3,
        RunState::Queued => 4,
        RunState::Failed => 5,
        RunState::Stopped => 6,
        RunState::Completed => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_column_is_found_by_its_name_and_figures_by_any_other() {
        let runs = fixture::summaries();
        let all = Column::all(runs.iter());
        assert!(all.contains(&Column::Figure("valid/accuracy".into())), "{all:?}");
        for column in &all {
            assert_eq!(Column::named(column.name()), *column);
        }
        let completed = runs.iter().find(|r| r.state == RunState::Completed).unwrap();
        assert_eq!(Column::Figure("valid/accuracy".into()).cell(completed, 0.0), Some("0.9733".into()));
        assert_eq!(Column::Figure("unheard of".into()).cell(completed, 0.0), None);
        assert_eq!(Column::Tags.cell(completed, 0.0), Some("baseline paper".into()));
    }

    #[test]
    fn grouping_goes_round_and_every_run_has_a_group() {
        let mut by = None;
        for _ in GroupBy::ALL {
            by = GroupBy::next(by);
            assert!(fixture::summaries().iter().all(|r| !by.unwrap().of(r, fixture::NOW).is_empty()));
        }
        assert_eq!(GroupBy::next(by), None);
    }
}
