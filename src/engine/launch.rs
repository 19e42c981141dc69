//! New runs: the folder, and what the engine alone knows of a run, so that a later engine knows it too.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kiln_protocol::home::Home;
use kiln_protocol::run::{Origin, RunSummary};
use kiln_protocol::spec::{Job, Spec};
use kiln_protocol::spool::{RunFolder, replace};
use kiln_protocol::{RunId, now};
use serde::{Deserialize, Serialize};

/// How often another id is drawn when a folder of that name exists. Four base-32 digits make a million names.
const DRAWS: usize = 32;

/// `launch.json` in the run folder: who asked for what, beside the settings. A folder without it (made by hand or by
/// another program) is a run as well; what is missing is guessed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchFile {
    /// Name of the preset.
    pub preset: String,
    pub priority: i32,
    /// Seconds since the Unix epoch.
    pub created: f64,
    /// The candidate that the run trains, where it is one of another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Of a job of an experiment: its arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
}

fn path(folder: &RunFolder) -> PathBuf {
    folder.path().join("launch.json")
}

impl LaunchFile {
    pub fn write(&self, folder: &RunFolder) -> Result<(), String> {
        let path = path(folder);
        let write = || replace(&path, &serde_json::to_vec(self)?);
        write().map_err(|e| format!("cannot write {}: {e}", path.display()))
    }

    /// Reads it, or guesses: the preset from the id, the time from the settings' file.
    pub fn read(folder: &RunFolder, run: &RunId) -> LaunchFile {
        let written = std::fs::read(path(folder)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        written.or_else(|| LaunchFile::of_job(folder, run)).unwrap_or_else(|| LaunchFile {
            preset: run.0.rsplit_once('-').map_or(run.0.as_str(), |(name, _)| name).to_owned(),
            priority: 0,
            created: modified(&folder.spec()).unwrap_or(0.0),
            origin: None,
            arm: None,
        })
    }

    /// What the experiment's folder says of a job.
    fn of_job(folder: &RunFolder, run: &RunId) -> Option<LaunchFile> {
        let (parent, n) = run.parent()?;
        let above = RunFolder::new(folder.path().parent()?.parent()?);
        let spec = read_spec(&above).ok()?;
        let (arm, _) = *spec.parts().get(n as usize - 1)?;
        Some(LaunchFile { arm: arm.map(str::to_owned), ..LaunchFile::read(&above, &parent) })
    }

    /// The summary of a run that nothing has happened to yet.
    pub fn summary(&self, run: &RunId, spec: Option<&Spec>) -> RunSummary {
        let mut summary = RunSummary::queued(run.clone(), self.created);
        (summary.preset, summary.priority) = (self.preset.clone(), self.priority);
        summary.origin.clone_from(&self.origin);
        summary.arm.clone_from(&self.arm);
        if let Some(spec) = spec {
            (summary.title, summary.method, summary.seed) = (spec.title.clone(), spec.method.to_string(), spec.seed);
            if let Some(seed) = spec.seeds.first() {
                summary.seed = *seed;
            }
        }
        summary
    }
}

fn modified(path: &Path) -> Option<f64> {
    let time = std::fs::metadata(path).ok()?.modified().ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64())
}

/// The frozen settings of a run folder.
pub fn read_spec(folder: &RunFolder) -> Result<Spec, String> {
    let path = folder.spec();
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Spec::from_toml(&path.display().to_string(), &text).map_err(|problems| problems.of_another_kiln())
}

/// What the name of a folder begins with that is being made: whole or not at all, a run is seen. No run's name does.
pub const MAKING: &str = ".making-";

/// What a person asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Name of the preset.
    pub preset: &'a str,
    /// The frozen settings, as TOML.
    pub spec: &'a str,
    pub priority: i32,
    pub origin: Option<&'a Origin>,
    /// Of an experiment: its jobs.
    pub jobs: &'a [Job],
}

/// Makes the folder of a new run, and those of its jobs within it.
///
/// # Errors
/// A sentence; nothing is left behind.
pub fn create(home: &Home, wanted: Wanted<'_>) -> Result<(RunId, LaunchFile), String> {
    let preset = wanted.preset;
    for _ in 0..DRAWS {
        let run = RunId::random(preset);
        if home.run_dir(&run).exists() {
            continue;
        }
        let making = RunFolder::new(home.runs_dir().join(format!("{MAKING}{run}")));
        // An empty folder of that name would be replaced, but nobody makes such.
        let made = fill(&making, wanted).and_then(|file| match std::fs::rename(making.path(), home.run_dir(&run)) {
            Ok(()) => Ok(Some(file)),
            Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Ok(None),
            Err(e) => Err(format!("cannot rename {}: {e}", making.path().display())),
        });
        if let Ok(Some(file)) = made {
            return Ok((run, file));
        }
        let _ = std::fs::remove_dir_all(making.path());
        made.map_err(|e| format!("the run was not created: {e}"))?;
    }
    Err(format!("no free name for a run of preset `{preset}` was found; remove some of the old ones with `kiln rm`"))
}

/// Writes all files of a run that is about to be.
fn fill(folder: &RunFolder, wanted: Wanted<'_>) -> Result<LaunchFile, String> {
    let create = |folder: &RunFolder, spec: &str| folder.create(spec).map_err(|e| e.to_string());
    let origin = wanted.origin.cloned();
    let file =
        LaunchFile { preset: wanted.preset.to_owned(), priority: wanted.priority, created: now(), origin, arm: None };
    create(folder, wanted.spec)?;
    for job in wanted.jobs {
        let folder = folder.job(job.n);
        create(&folder, &job.spec.to_toml()?)?;
        LaunchFile { arm: job.arm.clone(), ..file.clone() }.write(&folder)?;
    }
    file.write(folder)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(
        home: &Home,
        preset: &str,
        spec: &str,
        priority: i32,
        origin: Option<Origin>,
    ) -> Result<(RunId, LaunchFile), String> {
        super::create(home, Wanted { preset, spec, priority, origin: origin.as_ref(), jobs: &[] })
    }

    #[test]
    fn a_new_folder_tells_what_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path()).unwrap();
        let origin = Origin { run: RunId("search-x7k2".into()), candidate: Some(3) };
        let (run, file) = create(&home, "digits", "x = 1\n", 7, Some(origin.clone())).unwrap();
        let folder = home.run_folder(&run);
        assert_eq!(std::fs::read_to_string(folder.spec()).unwrap(), "x = 1\n");
        assert_eq!(LaunchFile::read(&folder, &run), file);
        assert_eq!(file.summary(&run, None).priority, 7);
        assert_eq!(file.summary(&run, None).origin, Some(origin));
        std::fs::remove_file(path(&folder)).unwrap();
        let guess = LaunchFile::read(&folder, &run);
        assert_eq!((guess.preset.as_str(), guess.priority), ("digits", 0));
        assert!((guess.created - file.created).abs() < 60.0);
        assert!(read_spec(&folder).unwrap_err().contains("spec.toml"));
    }

    #[test]
    fn a_home_that_cannot_be_written_is_named_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let home = Home::new(&file).unwrap();
        let error = create(&home, "digits", "", 0, None).unwrap_err();
        assert!(error.contains("not created") && error.contains("file"), "{error}");
    }
}
