//! Opening sled: one process, a known version, and a way out of every state a kill may leave.

use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_protocol::spool::try_lock;
use serde::{Deserialize, Serialize};
use sled::Db;

use crate::error::StoreError;

/// One step of migration: from the version that is its place in [`MIGRATIONS`] plus one to the next.
pub(crate) type Migration = fn(&Db) -> Result<(), StoreError>;

/// Steps from version 1 on. A change of the layout appends its step here, and with that raises the version.
pub(crate) const MIGRATIONS: &[Migration] = &[];

/// Unit in which sled takes and reuses room in its file. Half its default wastes less (6 instead of 9 bytes a point, see
/// the bench). Fixed once a database exists.
const SEGMENT_BYTES: usize = 256 << 10;

/// How long sled may take to let go of a database that this process has just closed.
const RELEASE: Duration = Duration::from_secs(2);

/// Proof that this process owns the store. Released when dropped, also by a kill.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    pid: u32,
    host: String,
}

impl Lock {
    /// Takes `<store>.lock`, before sled is touched: a second engine then learns whose it is.
    pub(crate) fn take(store: &Path) -> Result<Lock, StoreError> {
        let open = |why: std::io::Error| StoreError::Open { path: store.into(), why: why.to_string() };
        if let Some(parent) = store.parent() {
            fs::create_dir_all(parent).map_err(open)?;
        }
        let path = beside(store, "lock");
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(open)?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(fs::TryLockError::Error(e)) => return Err(open(e)),
            Err(fs::TryLockError::WouldBlock) => {
                let owner = fs::read(&path).ok().and_then(|b| serde_json::from_slice::<Owner>(&b).ok());
                let Owner { pid, host } = owner.unwrap_or(Owner { pid: 0, host: "an unknown host".to_owned() });
                return Err(StoreError::InUse { path: store.into(), pid, host });
            }
        }
        let owner = Owner { pid: std::process::id(), host: kiln_protocol::spool::host_name() };
        let bytes = serde_json::to_vec(&owner).map_err(|e| open(e.into()))?;
        // The owner's name is for people; a disk too full for it must not keep the engine from starting.
        let _ = file.set_len(0).and_then(|()| file.write_all(&bytes));
        Ok(Lock { _file: file })
    }
}

/// `<store>.<what>`.
pub(crate) fn beside(store: &Path, what: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}

/// Opens sled; removes its snapshot files once if it cannot be opened with them. sled reads its whole log without them
/// and finds every key again; a kill while a snapshot is written leaves a torn one behind. Returns what was done.
pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<(Db, Option<String>), StoreError> {
    let why = match open_sled(path, cache_bytes) {
        Ok(db) => return Ok((db, None)),
        Err(why) => why,
    };
    let snapshots: Vec<PathBuf> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("snap.")))
        .collect();
    if snapshots.is_empty() || snapshots.iter().any(|p| fs::remove_file(p).is_err()) {
        return Err(StoreError::Open { path: path.into(), why });
    }
    match open_sled(path, cache_bytes) {
        Ok(db) => {
            let notice =
                format!("the store {} had a torn snapshot ({why}); it was opened from its log", path.display());
            Ok((db, Some(notice)))
        }
        Err(why) => Err(StoreError::Open { path: path.into(), why }),
    }
}

fn open_sled(path: &Path, cache_bytes: u64) -> Result<Db, String> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        // Every batch is flushed by who writes it; a second thread that writes would only get in its way.
        .flush_every_ms(None)
        .segment_size(SEGMENT_BYTES)
        .mode(sled::Mode::LowSpace);
    let deadline = Instant::now() + RELEASE;
    loop {
        // Of some damaged files sled does not return an error but panics.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            // We hold our own lock, so this is our own earlier database on its way out.
            Ok(Err(sled::Error::Io(e))) if e.to_string().contains("lock") && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(Err(e)) => return Err(e.to_string()),
            Err(_) => return Err("sled gave up on its files".to_owned()),
        }
    }
}

/// Brings the layout to this Kiln's version, or refuses a newer one.
pub(crate) fn migrate(db: &Db, path: &Path, steps: &[Migration]) -> Result<(), StoreError> {
    let meta = db.open_tree("meta")?;
    let ours = steps.len() as u32 + 1;
    let found = match meta.get("schema")? {
        Some(bytes) => bytes.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)),
        None if db.tree_names().iter().all(|name| db.open_tree(name).is_ok_and(|tree| tree.is_empty())) => {
            meta.insert("schema", &ours.to_be_bytes())?;
            db.flush()?;
            Some(ours)
        }
        None => None,
    };
    let Some(found) = found.filter(|version| *version > 0) else {
        return Err(StoreError::Damaged("it has no version".to_owned()));
    };
    if found > ours {
        return Err(StoreError::Newer { path: path.into(), found, ours });
    }
    for version in found..ours {
        tracing::info!(from = version, to = version + 1, "migrating the store");
        steps[version as usize - 1](db)?;
        meta.insert("schema", &(version + 1).to_be_bytes())?;
        // A kill between two steps must find the version that the data has.
        db.flush()?;
    }
    Ok(())
}

/// Moves a database that cannot be opened out of the way, for whoever wants to look at it.
pub(crate) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let now = kiln_protocol::now() as u64;
    let free = (0..).map(|n| beside(path, &format!("broken-{}", now + n))).find(|p| !p.exists());
    let to = free.unwrap_or_else(|| beside(path, "broken"));
    match fs::rename(path, &to) {
        Ok(()) => Ok(to),
        Err(e) => {
            Err(StoreError::Open { path: path.into(), why: format!("it is damaged and cannot be moved aside: {e}") })
        }
    }
}

/// Bytes of all files below a folder.
pub(crate) fn bytes_on_disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_on_disk(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db() -> (tempfile::TempDir, PathBuf, Db) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let (db, notice) = open(&path, 1 << 20).unwrap();
        assert_eq!(notice, None);
        (dir, path, db)
    }

    #[test]
    fn an_older_version_is_migrated_step_by_step_and_a_newer_one_refused() {
        let (_dir, path, db) = db();
        migrate(&db, &path, &[]).unwrap();
        db.insert("a", "1").unwrap();
        let first: Migration = |db| {
            db.insert("b", db.remove("a")?.unwrap_or_default())?;
            Ok(())
        };
        let second: Migration = |db| {
            db.insert("c", db.remove("b")?.unwrap_or_default())?;
            Ok(())
        };
        migrate(&db, &path, &[first]).unwrap();
        assert_eq!(db.get("b").unwrap().unwrap(), "1");
        migrate(&db, &path, &[first, second]).unwrap();
        assert_eq!(db.get("c").unwrap().unwrap(), "1");
        migrate(&db, &path, &[first, second]).unwrap();
        assert_eq!(db.get("c").unwrap().unwrap(), "1", "each step once");
        let newer = migrate(&db, &path, &[first]).unwrap_err();
        assert!(matches!(newer, StoreError::Newer { found: 3, ours: 2, .. }), "{newer}");
    }

    #[test]
    fn a_database_of_somebody_else_is_not_taken_for_ours() {
        let (_dir, path, db) = db();
        db.insert("a", "1").unwrap();
        assert!(matches!(migrate(&db, &path, &[]), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn a_store_is_opened_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home/store");
        let lock = Lock::take(&path).unwrap();
        let second = Lock::take(&path).unwrap_err();
        assert!(second.to_string().contains(&format!("pid {}", std::process::id())), "{second}");
        drop(lock);
        Lock::take(&path).unwrap();
    }
}
