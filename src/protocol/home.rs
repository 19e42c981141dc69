//! Where things lie: the home of the runs (`KILN_HOME`), what a user has chosen (`KILN_CONFIG`), and the files that are shared by
//! all (presets, assets, themes).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::run::RunId;
use crate::spool::RunFolder;

/// Longest path that fits a Unix socket address on Linux (`sun_path`, without its final zero).
const MAX_SOCKET_PATH: usize = 107;

/// The folder that an engine owns: runs, store, socket, log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Why a place could not be found.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("no home for the runs: neither KILN_HOME, XDG_DATA_HOME nor HOME is set; set KILN_HOME to a folder")]
    NoHome,
    #[error(
        "no folder for settings: neither KILN_CONFIG, XDG_CONFIG_HOME nor HOME is set; set KILN_CONFIG to a folder"
    )]
    NoConfig,
    #[error("the current folder cannot be read, so the relative path {path} has no meaning: {source}")]
    NoCurrentFolder { path: PathBuf, source: io::Error },
    #[error("the home {path} cannot be used: {source}; set KILN_HOME to a folder you may write to")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("KILN_SHARE is {path}, but that folder has no {wanted}")]
    BadShare { path: PathBuf, wanted: &'static str },
    #[error(
        "the folder with {wanted} was not found (looked at {looked}); set KILN_SHARE to the folder that contains it"
    )]
    NoShare { wanted: &'static str, looked: String },
}

impl Home {
    /// `path` is made absolute; nothing is created.
    pub fn new(path: impl Into<PathBuf>) -> Result<Home, HomeError> {
        let path = path.into();
        match std::path::absolute(&path) {
            Ok(root) => Ok(Home { root }),
            Err(source) => Err(HomeError::NoCurrentFolder { path, source }),
        }
    }

    /// `KILN_HOME`, else `kiln` in the XDG data folder (`XDG_DATA_HOME`, else `~/.local/share`).
    pub fn from_env() -> Result<Home, HomeError> {
        Home::from_vars(|name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from))
    }

    fn from_vars(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Home, HomeError> {
        if let Some(home) = var("KILN_HOME") {
            return Home::new(home);
        }
        // The XDG specification says that relative paths are to be ignored.
        let data = var("XDG_DATA_HOME").filter(|p| p.is_absolute());
        let data = data.or_else(|| var("HOME").map(|home| home.join(".local/share"))).ok_or(HomeError::NoHome)?;
        Home::new(data.join("kiln"))
    }

    /// Creates the home and its folder of runs, both for this user alone, and tries to write there.
    pub fn create(&self) -> Result<(), HomeError> {
        use std::os::unix::fs::DirBuilderExt;
        let attempt = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.runs_dir())?;
            let probe = self.root.join(format!(".probe-{}", std::process::id()));
            fs::write(&probe, b"")?;
            fs::remove_file(&probe)
        };
        attempt().map_err(|source| HomeError::Unusable { path: self.root.clone(), source })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn runs_dir(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The folder of a run; that of a job lies in `jobs` of its experiment's.
    pub fn run_dir(&self, run: &RunId) -> PathBuf {
        match run.parent() {
            Some((parent, n)) => self.runs_dir().join(parent.0).join(JOBS).join(n.to_string()),
            None => self.runs_dir().join(&run.0),
        }
    }

    /// The run's folder with its files by name.
    pub fn run_folder(&self, run: &RunId) -> RunFolder {
        RunFolder::new(self.run_dir(run))
    }

    /// Ids of all folders in `runs` that have a `spec.toml`, sorted, each followed by those of its jobs in their order. No
    /// folder yet means no runs.
    pub fn run_ids(&self) -> io::Result<Vec<RunId>> {
        let entries = match fs::read_dir(self.runs_dir()) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if RunId::is_valid(&name) && entry.path().join("spec.toml").is_file() {
                let run = RunId(name);
                ids.extend(jobs_of(&run, &entry.path()));
                ids.push(run);
            }
        }
        ids.sort_by(|a, b| a.in_order().cmp(&b.in_order()));
        Ok(ids)
    }

    pub fn store_dir(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Held by the engine as long as it lives.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("engine.lock")
    }

    pub fn log_file(&self) -> PathBuf {
        self.root.join("engine.log")
    }

    /// The engine's socket: `engine.sock` in the home. Where that path is too long for a socket (107 bytes), a name made from the home's
    /// path in `XDG_RUNTIME_DIR`, else in the temporary folder; client and engine come to the same one.
    pub fn socket(&self) -> PathBuf {
        let usual = self.root.join("engine.sock");
        if usual.as_os_str().len() <= MAX_SOCKET_PATH {
            return usual;
        }
        let mut hash = DefaultHasher::new();
        self.root.hash(&mut hash);
        let name = format!("kiln-{:016x}.sock", hash.finish());
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|p| p.is_absolute());
        runtime.unwrap_or_else(env::temp_dir).join(name)
    }
}

/// Name of the folder of a run's jobs within its own.
const JOBS: &str = "jobs";

/// The jobs that a run's folder holds.
fn jobs_of(run: &RunId, folder: &Path) -> Vec<RunId> {
    let entries = fs::read_dir(folder.join(JOBS)).into_iter().flatten().flatten();
    let job = |entry: fs::DirEntry| {
        let job = RunId(format!("{run}.{}", entry.file_name().to_str()?));
        (job.parent()?.0 == *run && entry.path().join("spec.toml").is_file()).then_some(job)
    };
    entries.filter_map(job).collect()
}

/// Folder of what a user has chosen (keymap.toml, views.toml, workbench.toml, presets/, themes/): `KILN_CONFIG`, else `kiln` in the
/// XDG folder for settings (`XDG_CONFIG_HOME`, else `~/.config`). It need not exist; whoever writes there creates it.
///
/// # Errors
/// [`HomeError::NoConfig`] where no variable says where.
pub fn config_dir() -> Result<PathBuf, HomeError> {
    config_from(|name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from))
}

fn config_from(var: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, HomeError> {
    if let Some(path) = var("KILN_CONFIG") {
        return std::path::absolute(&path).map_err(|source| HomeError::NoCurrentFolder { path, source });
    }
    // The XDG specification says that relative paths are to be ignored.
    let folder = var("XDG_CONFIG_HOME").filter(|p| p.is_absolute());
    let folder = folder.or_else(|| var("HOME").map(|home| home.join(".config"))).ok_or(HomeError::NoConfig)?;
    Ok(folder.join("kiln"))
}

/// Folder of the presets that come with Kiln.
pub fn presets_dir() -> Result<PathBuf, HomeError> {
    share("presets")
}

/// Folder of the data that comes with Kiln.
pub fn assets_dir() -> Result<PathBuf, HomeError> {
    share("assets")
}

/// Folder of the themes that come with Kiln.
pub fn themes_dir() -> Result<PathBuf, HomeError> {
    share("themes")
}

/// `KILN_SHARE`; else `../share/kiln` beside the binary's folder (an installed Kiln); else the source tree that the binary lies in or
/// was built from.
fn share(wanted: &'static str) -> Result<PathBuf, HomeError> {
    let given = env::var_os("KILN_SHARE").filter(|v| !v.is_empty()).map(PathBuf::from);
    let exe = env::current_exe().ok().map(|exe| exe.canonicalize().unwrap_or(exe));
    find_share(wanted, given, exe.as_deref(), Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")))
}

fn find_share(
    wanted: &'static str,
    given: Option<PathBuf>,
    exe: Option<&Path>,
    built_from: &Path,
) -> Result<PathBuf, HomeError> {
    if let Some(path) = given {
        let folder = path.join(wanted);
        return if folder.is_dir() { Ok(folder) } else { Err(HomeError::BadShare { path, wanted }) };
    }
    let mut looked = Vec::new();
    if let Some(bin) = exe.and_then(Path::parent) {
        looked.extend(bin.parent().map(|prefix| prefix.join("share/kiln")));
        // target/debug/kiln and target/debug/deps/some_test: the tree is two or three folders up.
        looked.extend(bin.ancestors().skip(2).take(2).filter(|p| p.join("Cargo.lock").is_file()).map(Path::to_owned));
    }
    looked.push(built_from.canonicalize().unwrap_or_else(|_| built_from.to_owned()));
    looked.iter().map(|p| p.join(wanted)).find(|p| p.is_dir()).ok_or_else(|| HomeError::NoShare {
        wanted,
        looked: looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(vars: &[(&str, &str)]) -> Result<Home, HomeError> {
        Home::from_vars(|name| vars.iter().find(|v| v.0 == name).map(|v| PathBuf::from(v.1)))
    }

    #[test]
    fn the_first_variable_that_means_something_decides() {
        let all = [("KILN_HOME", "/k"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(home(&all).unwrap().root(), Path::new("/k"));
        assert_eq!(home(&all[1..]).unwrap().root(), Path::new("/x/kiln"));
        assert_eq!(home(&all[2..]).unwrap().root(), Path::new("/h/.local/share/kiln"));
        assert_eq!(home(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]).unwrap().root(), Path::new("/h/.local/share/kiln"));
        assert!(home(&[]).unwrap_err().to_string().contains("KILN_HOME"));
        assert!(home(&[("KILN_HOME", "here")]).unwrap().root().is_absolute());
    }

    #[test]
    fn settings_lie_where_the_first_variable_says() {
        let at = |vars: &[(&str, &str)]| {
            super::config_from(|name| vars.iter().find(|v| v.0 == name).map(|v| PathBuf::from(v.1)))
        };
        let all = [("KILN_CONFIG", "/c"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(at(&all).unwrap(), Path::new("/c"));
        assert_eq!(at(&all[1..]).unwrap(), Path::new("/x/kiln"));
        assert_eq!(at(&all[2..]).unwrap(), Path::new("/h/.config/kiln"));
        assert_eq!(at(&[("XDG_CONFIG_HOME", "x"), ("HOME", "/h")]).unwrap(), Path::new("/h/.config/kiln"));
        assert!(at(&[("KILN_CONFIG", "here")]).unwrap().is_absolute());
        assert!(at(&[]).unwrap_err().to_string().contains("KILN_CONFIG"));
    }

    #[test]
    fn a_socket_path_always_fits() {
        let short = Home::new("/k").unwrap();
        assert_eq!(short.socket(), Path::new("/k/engine.sock"));
        let long = Home::new(format!("/{}", "long/".repeat(40))).unwrap();
        assert!(long.socket().as_os_str().len() <= MAX_SOCKET_PATH);
        assert_eq!(long.socket(), long.clone().socket());
        assert_ne!(long.socket(), Home::new(format!("/{}", "long/".repeat(41))).unwrap().socket());
    }

    #[test]
    fn a_home_lists_its_runs_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("home")).unwrap();
        assert!(home.run_ids().unwrap().is_empty());
        home.create().unwrap();
        for name in ["b-0001", "a-0002", "not a run"] {
            fs::create_dir(home.runs_dir().join(name)).unwrap();
            fs::write(home.runs_dir().join(name).join("spec.toml"), "").unwrap();
        }
        fs::create_dir(home.runs_dir().join("empty-0003")).unwrap();
        assert_eq!(home.run_ids().unwrap(), [RunId("a-0002".into()), RunId("b-0001".into())]);
        let parent = RunId("a-0002".into());
        for n in ["1", "2", "10", "03", "x"] {
            fs::create_dir_all(home.run_dir(&parent).join("jobs").join(n)).unwrap();
            fs::write(home.run_dir(&parent).join("jobs").join(n).join("spec.toml"), "").unwrap();
        }
        let ids: Vec<String> = home.run_ids().unwrap().into_iter().map(|id| id.0).collect();
        assert_eq!(ids, ["a-0002", "a-0002.1", "a-0002.2", "a-0002.10", "b-0001"]);
        assert_eq!(home.run_folder(&parent.job(10)).path(), home.run_folder(&parent).job(10).path());
    }

    #[test]
    fn a_home_that_is_a_file_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Home::new(file.path()).unwrap().create().unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn shared_files_are_found_installed_in_the_tree_or_where_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let nowhere = root.join("nowhere");
        fs::create_dir_all(root.join("usr/share/kiln/presets")).unwrap();
        let found = find_share("presets", None, Some(&root.join("usr/bin/kiln")), &nowhere).unwrap();
        assert_eq!(found, root.join("usr/share/kiln/presets"));

        fs::create_dir_all(root.join("tree/presets")).unwrap();
        fs::write(root.join("tree/Cargo.lock"), "").unwrap();
        for exe in ["tree/target/debug/kiln", "tree/target/debug/deps/test-1"] {
            assert_eq!(
                find_share("presets", None, Some(&root.join(exe)), &nowhere).unwrap(),
                root.join("tree/presets")
            );
        }
        assert_eq!(find_share("presets", None, None, &root.join("tree")).unwrap(), root.join("tree/presets"));

        let given = find_share("presets", Some(nowhere.clone()), None, &root.join("tree")).unwrap_err().to_string();
        assert!(given.contains("KILN_SHARE"), "{given}");
        let lost = find_share("themes", None, Some(&root.join("tree/target/debug/kiln")), &nowhere).unwrap_err();
        assert!(lost.to_string().contains("themes") && lost.to_string().contains("nowhere"), "{lost}");
    }
}
