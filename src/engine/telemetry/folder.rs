//! The file system of the home: what it is, and how long a small write takes until it is safe. On a thread of its own: a network
//! file system whose server is away keeps its callers waiting, for minutes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kiln_protocol::wire::Folder;

/// How often a write is made while somebody looks on; nobody looking, none is made.
const EVERY: Duration = Duration::from_secs(10);

/// How often it is looked whether somebody does.
const LOOK: Duration = Duration::from_secs(1);

/// A write that takes longer is told of before it is done.
const LATE: Duration = Duration::from_secs(2);

/// File systems that lie on other machines, as Linux calls them.
const NETWORK: [&str; 15] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "fuse.ceph",
    "fuse.juicefs",
    "afs",
];

/// What the thread has found.
#[derive(Default)]
struct State {
    latency: Option<f64>,
    /// When the write under way began.
    began: Option<Instant>,
}

/// The home's file system. The thread ends with the last reader.
pub struct Probe {
    kind: String,
    network: bool,
    state: Arc<Mutex<State>>,
}

impl Probe {
    pub fn start(home: PathBuf, watched: Arc<AtomicBool>) -> io::Result<Probe> {
        // Mount points are written without links: `/home` may be one.
        let real = fs::canonicalize(&home).unwrap_or_else(|_| home.clone());
        let kind =
            fs::read_to_string("/proc/self/mounts").ok().and_then(|all| kind_of(&all, &real)).unwrap_or_default();
        let network = NETWORK.contains(&kind.as_str());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::downgrade(&state);
        thread::Builder::new().name("folder".into()).spawn(move || {
            let mut due = Instant::now();
            while let Some(state) = shared.upgrade() {
                if watched.load(Ordering::Relaxed) && Instant::now() >= due {
                    let began = Instant::now();
                    lock(&state).began = Some(began);
                    let written = write(&home);
                    // A full disk, or one that is read-only, is told of elsewhere.
                    *lock(&state) =
                        State { latency: written.ok().map(|()| began.elapsed().as_secs_f64()), began: None };
                    due = Instant::now() + EVERY;
                }
                drop(state);
                thread::sleep(LOOK);
            }
        })?;
        Ok(Probe { kind, network, state })
    }

    /// What is known now.
    pub fn read(&self) -> Folder {
        let state = lock(&self.state);
        let waiting = state.began.map(|b| b.elapsed()).filter(|waited| *waited > LATE).map(|w| w.as_secs_f64());
        Folder { kind: self.kind.clone(), network: self.network, latency: state.latency, waiting }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a few bytes until they are safe, and takes them away again.
fn write(home: &Path) -> io::Result<()> {
    let path = home.join(format!(".probe-{}", std::process::id()));
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(b"Kiln measures how long a small write takes.\n")?;
        file.sync_data()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// The kind of the file system that holds a path, by a table of mounts as in `/proc/self/mounts`.
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        // Blanks in paths are written as octal numbers.
        let point = words.next()?.replace("\\040", " ");
        let kind = words.next()?.to_owned();
        path.starts_with(&point).then(|| (Path::new(&point).components().count(), kind))
    };
    // Of two mounts on the same place the later one is seen.
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_that_is_seen_counts() {
        let mounts = "overlay / overlay rw 0 0\n\
                      server:/home /home nfs4 rw 0 0\n\
                      /dev/sda1 /home/me/fast\\040disk ext4 rw 0 0\n\
                      tmpfs /home/me/fast\\040disk tmpfs rw 0 0\n";
        let kind = |path: &str| kind_of(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/home/you"), "nfs4");
        assert_eq!(kind("/homely"), "overlay");
        assert_eq!(kind("/home/me/fast disk/kiln"), "tmpfs");
        assert_eq!(kind_of("", Path::new("/")), None);
    }

    #[test]
    fn a_write_is_measured_while_somebody_looks_on_and_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let watched = Arc::new(AtomicBool::new(false));
        let probe = Probe::start(home.path().to_owned(), watched.clone()).unwrap();
        assert_eq!(probe.read().latency, None);
        watched.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(60);
        while probe.read().latency.is_none() {
            assert!(Instant::now() < deadline, "no write within a minute");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(probe.read().latency.is_some_and(|s| s > 0.0));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
