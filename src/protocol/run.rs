//! Runs: ids, states, and the summary that every list shows.

use serde::{Deserialize, Serialize};

/// Name of a run and of its folder, such as `dc-nas-digits-k3f7`: the preset's name and four random base-32 digits. A job
/// of an experiment is called after it: `dc-nas-digits-k3f7.2` is its second job, in `jobs/2` of its folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Digits of the random part: no `i`, `l`, `o`, `u`, which are misread or make words (Crockford's base 32).
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Longest id, in bytes: leaves room for every suffix within a file name.
const MAX_RUN_ID: usize = 100;

impl RunId {
    /// A new id: the preset's name, as far as a folder may be called so, and four random digits. Whoever creates the
    /// folder must still do so with `create_new` semantics and draw again if it exists.
    pub fn random(preset: &str) -> RunId {
        use std::hash::{BuildHasher, Hasher};
        // Randomly keyed by the operating system once a process and different for each value.
        let mut bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let mut digits = String::new();
        for _ in 0..4 {
            digits.push(char::from(BASE32[(bits & 31) as usize]));
            bits >>= 5;
        }
        let mut name = String::new();
        for c in preset.chars().flat_map(char::to_lowercase).take(MAX_RUN_ID - 20) {
            match c {
                'a'..='z' | '0'..='9' | '_' | '.' if !(name.is_empty() && c == '.') => name.push(c),
                _ if name.is_empty() || name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        let name = name.trim_end_matches('-');
        RunId(format!("{}-{digits}", if name.is_empty() { "run" } else { name }))
    }

    /// Whether this may name a folder of `runs`: ASCII letters, digits, `-`, `_`, `.`, not starting with a dot, at most
    /// 100 bytes, and not ending like the id of a job (a dot and a number). Check what comes from outside with this
    /// before it becomes part of a path.
    pub fn is_valid(id: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !id.is_empty() && id.len() <= MAX_RUN_ID && !id.starts_with('.') && id.bytes().all(plain) && split(id).is_none()
    }

    /// The id of the experiment's `n`-th job, from 1.
    pub fn job(&self, n: u32) -> RunId {
        RunId(format!("{self}.{n}"))
    }

    /// Of a job: the experiment that it belongs to, and its number there.
    pub fn parent(&self) -> Option<(RunId, u32)> {
        let (parent, n) = split(&self.0)?;
        RunId::is_valid(parent).then(|| (RunId(parent.to_owned()), n))
    }

    /// Sorts jobs by their number, behind their experiment: `a`, `a.2`, `a.10`, `b`.
    pub fn in_order(&self) -> (&str, u32) {
        split(&self.0).unwrap_or((&self.0, 0))
    }
}

/// `x.12` as `x` and 12, if the number is written as [`RunId::job`] writes it.
fn split(id: &str) -> Option<(&str, u32)> {
    let (parent, digits) = id.rsplit_once('.')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    let n = digits.parse().ok().filter(|_| plain)?;
    Some((parent, n))
}

/// Why a few letters do not say which run is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("no run is called `{0}`; `kiln ls` lists them")]
    None(String),
    #[error("`{given}` may mean {}; write more of it", some(.matches))]
    Many { given: String, matches: Vec<String> },
    #[error("a run's name is missing; `kiln ls` lists them")]
    Empty,
}

/// The first few of these, and how many more there are.
fn some(matches: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = match matches.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    matches[..matches.len().min(SHOWN)].join(", ") + &more
}

/// The one run that `given` means: its whole id, else the beginning of exactly one id, else the beginning of exactly
/// one id's last part (`k3f7` for `dc-nas-digits-k3f7`).
pub fn resolve<'a>(given: &str, ids: impl IntoIterator<Item = &'a RunId>) -> Result<&'a RunId, ResolveError> {
    if given.is_empty() {
        return Err(ResolveError::Empty);
    }
    let ids: Vec<&RunId> = ids.into_iter().collect();
    if let Some(id) = ids.iter().find(|id| id.0 == given) {
        return Ok(id);
    }
    if let Some((parent, n)) = split(given) {
        let whole: Vec<&RunId> = ids.iter().filter(|id| id.parent().is_none()).copied().collect();
        let parent = resolve_one(parent, &whole)?;
        let job = parent.job(n);
        return ids.into_iter().find(|id| **id == job).ok_or(ResolveError::None(job.0));
    }
    // Otherwise jobs are not meant: each of them begins as its experiment does.
    let whole: Vec<&RunId> = ids.into_iter().filter(|id| id.parent().is_none()).collect();
    resolve_one(given, &whole)
}

fn resolve_one<'a>(given: &str, ids: &[&'a RunId]) -> Result<&'a RunId, ResolveError> {
    if let Some(id) = ids.iter().find(|id| id.0 == given) {
        return Ok(id);
    }
    let by_start = |id: &&&RunId| id.0.starts_with(given);
    let by_last_part = |id: &&&RunId| id.0.rsplit('-').next().is_some_and(|last| last.starts_with(given));
    let mut matches: Vec<&RunId> = ids.iter().filter(by_start).copied().collect();
    if matches.is_empty() {
        matches = ids.iter().filter(by_last_part).copied().collect();
    }
    match matches[..] {
        [] => Err(ResolveError::None(given.to_owned())),
        [one] => Ok(one),
        _ => {
            let mut matches: Vec<String> = matches.iter().map(|id| id.0.clone()).collect();
            matches.sort();
            Err(ResolveError::Many { given: given.to_owned(), matches })
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Waiting for a device.
    Queued,
    /// Worker started, no event yet.
    Starting,
    Running,
    /// Worker alive and idle; `reason` says who asked for it or what is missing (such as disk space).
    Paused,
    /// Asked to stop; the worker is writing its checkpoint.
    Stopping,
    /// Stopped on request; can be resumed.
    Stopped,
    Completed,
    /// Ended by an error or out of retries; `reason` says which. Can be resumed.
    Failed,
}

impl RunState {
    /// Whether a worker process should exist.
    pub fn is_live(self) -> bool {
        matches!(self, RunState::Starting | RunState::Running | RunState::Paused | RunState::Stopping)
    }

    /// Whether nothing more happens unless somebody asks.
    pub fn is_ended(self) -> bool {
        matches!(self, RunState::Stopped | RunState::Completed | RunState::Failed)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Starting => "starting",
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::Stopping => "stopping",
            RunState::Stopped => "stopped",
            RunState::Completed => "completed",
            RunState::Failed => "failed",
        }
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far a run is, in the method's own unit of planned work (such as epoch-images). Never goes back within an attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub done: f64,
    pub total: f64,
    /// What the numbers count, in the plural, such as `epochs`.
    pub unit: String,
    /// What is being done now, such as `short training 12/40`.
    pub note: String,
}

impl Progress {
    /// Share done, 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.total > 0.0 { (self.done / self.total).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The figure by which runs of this kind are judged, at its best so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Series name, such as `valid/accuracy`.
    pub name: String,
    pub value: f64,
    pub higher_is_better: bool,
}

/// One row of the run list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub id: RunId,
    /// Preset name.
    pub preset: String,
    pub title: String,
    pub method: String,
    pub state: RunState,
    /// Why the run is paused, stopped, failed or was resumed.
    #[serde(default)]
    pub reason: Option<String>,
    pub priority: i32,
    pub created: f64,
    #[serde(default)]
    pub started: Option<f64>,
    #[serde(default)]
    pub ended: Option<f64>,
    /// Seconds at work up to [`RunSummary::at_work`], over all attempts: pauses and the time between attempts do not count.
    /// `None` before the first start.
    #[serde(default)]
    pub worked: Option<f64>,
    /// Time up to which `worked` counts; `None` while nothing is worked on.
    #[serde(default)]
    pub at_work: Option<f64>,
    /// Time of the newest event.
    #[serde(default)]
    pub last_event: Option<f64>,
    /// Sequence number of the newest event.
    #[serde(default)]
    pub last_seq: u64,
    pub progress: Progress,
    /// Seconds left, estimated by the engine from the progress of this attempt.
    #[serde(default)]
    pub eta: Option<f64>,
    #[serde(default)]
    pub best: Option<Best>,
    /// Device in words, such as `cpu (2 cores)` or `cuda:0 NVIDIA H100`.
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub host: Option<String>,
    #[serde(default)]
    pub pid: Option<u32>,
    /// Starts of a worker so far; 2 and more mean resumed.
    pub attempts: u32,
    #[serde(default)]
    pub seed: u64,
    /// The candidate of another run that this run trains, if it was launched for that.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Of a job ([`RunSummary::parent`]): its arm. `None` also where the experiment has seeds alone.
    #[serde(default)]
    pub arm: Option<String>,
    /// Of an experiment: how its jobs stand. `None` for runs without jobs.
    #[serde(default)]
    pub jobs: Option<JobCounts>,
    /// What people have called it: see [`crate::labels`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The first line of its note; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Of a completed run: the figures by which it wants to be judged, in that order ([`Outcome::foremost`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<(String, f64)>,
}

impl RunSummary {
    /// Seconds that the run has taken until `now`: the time at work, over all attempts. Pauses, the queue and the time
    /// between attempts do not count. `None` before the first start.
    pub fn took(&self, now: f64) -> Option<f64> {
        Some(self.worked? + self.at_work.map_or(0.0, |at| (now - at).max(0.0)))
    }
}

impl RunSummary {
    /// The experiment that this run is a job of.
    pub fn parent(&self) -> Option<RunId> {
        self.id.parent().map(|(parent, _)| parent)
    }

    /// What tells a job from its fellows: `arm joint, seed 2`, or `seed 2` where there are no arms.
    pub fn part(&self) -> String {
        match &self.arm {
            Some(arm) => format!("arm {arm}, seed {}", self.seed),
            None => format!("seed {}", self.seed),
        }
    }
}

/// How many jobs of an experiment are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCounts {
    pub total: u32,
    /// Waiting, also those that wait because the experiment is paused.
    pub queued: u32,
    /// With a worker: starting, running, paused or stopping.
    pub live: u32,
    pub completed: u32,
    pub stopped: u32,
    pub failed: u32,
}

impl JobCounts {
    /// Jobs that nothing more happens to unless somebody asks.
    pub fn ended(self) -> u32 {
        self.completed + self.stopped + self.failed
    }
}

/// Where a run's network comes from: a candidate of an earlier run. It is a note for people and links in clients; the
/// architecture itself stands in the run's own settings, so the earlier run may be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub run: RunId,
    /// Number of the candidate as the run's table of candidates has it; none if the run has a single network.
    #[serde(default)]
    pub candidate: Option<u32>,
}

impl std::fmt::Display for Origin {
    /// `candidate 7 of dc-nas-digits-k3f7`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.candidate {
            Some(number) => write!(f, "candidate {number} of {}", self.run),
            None => write!(f, "the network of {}", self.run),
        }
    }
}

/// A table whose cells are text; numbers are written with the digits that mean something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    #[serde(default)]
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// One sentence that says plainly whether the claim held.
    pub verdict: String,
    /// Named figures for machines and for comparison across runs, such as `tau_global`. Null where a figure is undefined.
    pub figures: std::collections::BTreeMap<String, Option<f64>>,
    /// Tables for people, in order.
    pub tables: Vec<Table>,
    /// The figures by which the method wants to be judged, the foremost first; each is a key of `figures`. Experiments
    /// compare their arms by these; without any, by all figures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headline: Vec<Figure>,
    /// What kept the run from doing what was asked of it although it completed, in a word or two each, such as [`DIVERGED`].
    /// Shown wherever the run is listed; experiments name the jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaws: Vec<String>,
}

/// The flaw of a training that ended early because its loss was no number any more: its figures are those of the last good
/// state, and experiments leave them out.
pub const DIVERGED: &str = "diverged";

/// Most figures that a row carries about: those of an experiment are many.
const FOREMOST: usize = 8;

impl Outcome {
    /// The figures by which the method wants to be judged, else the first ones: at most eight, those that are defined.
    pub fn foremost(&self) -> Vec<(String, f64)> {
        let headline = self.headline.iter().map(|figure| &figure.name);
        let rest = self.figures.keys().filter(|_| self.headline.is_empty());
        let defined = headline.chain(rest).filter_map(|name| {
            let value = self.figures.get(name).copied().flatten()?;
            value.is_finite().then(|| (name.clone(), value))
        });
        defined.take(FOREMOST).collect()
    }
}

/// What a figure of an outcome means to whoever compares runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// As in [`Outcome::figures`].
    pub name: String,
    /// Such as `s`; empty for shares and counts.
    #[serde(default)]
    pub unit: String,
    /// `None` where neither is better.
    #[serde(default)]
    pub higher_is_better: Option<bool>,
}

impl Figure {
    /// A figure without a unit, such as an accuracy.
    pub fn new(name: &str, higher_is_better: bool) -> Figure {
        Figure { name: name.to_owned(), unit: String::new(), higher_is_better: Some(higher_is_better) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<RunId> {
        ["dc-nas-digits-k3f7", "dc-nas-digits-k9aa", "train-digits-k3x0", "train", "train-2"]
            .map(|id| RunId(id.into()))
            .to_vec()
    }

    #[test]
    fn few_letters_mean_one_run_or_say_why_not() {
        let ids = ids();
        let name = |given: &str| resolve(given, &ids).map(|id| id.0.as_str());
        assert_eq!(name("dc-nas-digits-k3f7"), Ok("dc-nas-digits-k3f7"));
        assert_eq!(name("dc-nas-digits-k9"), Ok("dc-nas-digits-k9aa"));
        assert_eq!(name("k3f"), Ok("dc-nas-digits-k3f7"), "the random part will do");
        assert_eq!(name("train"), Ok("train"), "a whole id is never ambiguous");
        assert_eq!(name("x"), Err(ResolveError::None("x".into())));
        assert_eq!(name(""), Err(ResolveError::Empty));
        let many = name("k3").unwrap_err().to_string();
        assert_eq!(many, "`k3` may mean dc-nas-digits-k3f7, train-digits-k3x0; write more of it");
        assert!(matches!(name("train-"), Err(ResolveError::Many { .. })));
    }

    #[test]
    fn a_new_id_is_a_plain_folder_name() {
        for preset in ["dc-nas-digits", "../../etc", "Größe 2", "", "...", "a--b", &"long".repeat(100)] {
            let id = RunId::random(preset);
            assert!(RunId::is_valid(&id.0), "{id}");
            assert_eq!(id.0.rsplit('-').next().unwrap().len(), 4, "{id}");
        }
        assert!(RunId::random("dc-nas-digits").0.starts_with("dc-nas-digits-"));
        let different: std::collections::BTreeSet<_> = (0..50).map(|_| RunId::random("x")).collect();
        assert!(different.len() > 45);
        for bad in ["", ".", "..", "a/b", "a b", ".hidden", "a.1", &"x".repeat(101)] {
            assert!(!RunId::is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn a_job_is_called_after_its_experiment_and_no_run_is_called_like_a_job() {
        let parent = RunId("dc-nas-digits-k3f7".into());
        let job = parent.job(12);
        assert_eq!((job.0.as_str(), job.parent()), ("dc-nas-digits-k3f7.12", Some((parent.clone(), 12))));
        for none in ["dc-nas-digits-k3f7", "a.b", "a.", "a.01", "a.0", "a.1.2", ".1", "a.99999999999", "a.+1"] {
            assert_eq!(RunId(none.into()).parent(), None, "{none}");
        }
        let mut ids = [job.clone(), parent.job(2), parent.clone(), RunId("dc-nas-digits-k3f7a".into())];
        ids.sort_by(|a, b| a.in_order().cmp(&b.in_order()));
        assert_eq!(ids.each_ref().map(|id| id.in_order().1), [0, 2, 12, 0]);

        let all = [vec![parent.clone(), parent.job(1), job.clone()], self::ids()[1..].to_vec()].concat();
        assert_eq!(resolve("dc-nas-digits-k3", &all), Ok(&parent), "its jobs are in nobody's way");
        assert_eq!(resolve("k3f.12", &all), Ok(&job));
        assert_eq!(resolve("k3f7.3", &all), Err(ResolveError::None("dc-nas-digits-k3f7.3".into())));
    }
}
