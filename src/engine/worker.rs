//! Worker processes: starting them, finding out whether they live, sending them signals.
//!
//! A worker must outlive the engine, so it gets its own process group, no pipe to the engine, and its output goes to
//! `worker.log` in the run folder. Its standard input is the run's lock file, locked: the lock belongs to the open file
//! and so lives exactly as long as the worker. An engine that died between starting a worker and anybody writing down
//! its pid therefore leaves a trace that the next engine cannot overlook, and no run ever gets two workers.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use kiln_protocol::spool::{
    CONTROL_FROM, EventWriter, RunFolder, SpoolError, WorkerInfo, host_name, process_start_time,
};
use nix::sys::signal::{Signal as Unix, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::scheduler::{Device, Exit, Signal};

/// Environment variable that names the device.
pub const DEVICE: &str = "KILN_DEVICE";

/// A process, named so that a later one with the same pid is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub start_time: u64,
}

impl Process {
    fn alive(self) -> bool {
        process_start_time(self.pid) == Some(self.start_time)
    }

    /// Sends the signal, if that very process still lives.
    pub fn signal(self, signal: Signal) -> Result<(), String> {
        if !self.alive() {
            return Ok(());
        }
        let unix = match signal {
            Signal::Term => Unix::SIGTERM,
            Signal::Kill => Unix::SIGKILL,
        };
        kill(Pid::from_raw(self.pid as i32), unix).map_err(|e| format!("cannot send {unix} to pid {}: {e}", self.pid))
    }
}

fn lock_path(folder: &RunFolder) -> PathBuf {
    folder.path().join("worker.lock")
}

fn log_path(folder: &RunFolder) -> PathBuf {
    folder.path().join("worker.log")
}

/// Why no worker was started, in sentences.
#[derive(Clone, Debug, PartialEq)]
pub enum NotStarted {
    /// Something still works in the folder. As a rule it is about to end, such as a child of the worker before.
    Busy(String),
    Failed(String),
}

/// Starts a worker. `control_from`: bytes of `control.jsonl` when the attempt was queued.
pub fn start(program: &Path, folder: &RunFolder, device: Device, control_from: u64) -> Result<Child, NotStarted> {
    let open = |path: PathBuf| {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.map_err(|e| NotStarted::Failed(format!("cannot open {} for a worker: {e}", path.display())))
    };
    let lock = open(lock_path(folder))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let folder = folder.path().display();
            return Err(NotStarted::Busy(format!("a process that this engine does not know still works in {folder}")));
        }
        // Some network file systems have no locks; there, pid and start time must do.
        Err(TryLockError::Error(e)) => tracing::warn!("cannot lock {}: {e}", lock_path(folder).display()),
    }
    let log = open(log_path(folder))?;
    let errors =
        log.try_clone().map_err(|e| NotStarted::Failed(format!("cannot open the log of a worker twice: {e}")))?;
    Command::new(program)
        .arg(folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::from(lock))
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        .process_group(0)
        .env(DEVICE, device.to_string())
        .env(CONTROL_FROM, control_from.to_string())
        // CUDA's own order is by speed; NVML's, by which the engine chose, is by bus.
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        .spawn()
        .map_err(|e| {
            let program = program.display();
            NotStarted::Failed(format!("cannot start the worker {program}: {e}; KILN_WORKER names the program to use"))
        })
}

/// How a child ended.
pub fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

/// The process itself, right after its start.
pub fn process_of(child: &Child) -> Option<Process> {
    let pid = child.id()?;
    Some(Process { pid, start_time: process_start_time(pid)? })
}

/// Whether somebody works in the folder.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    Dead,
    /// Alive; who, where it has said so already.
    Alive(Option<WorkerInfo>),
}

/// Looks whether a worker lives: by its lock, by pid and start time, and for another host's by the lock on its events.
///
/// # Errors
/// `worker.json` is of a newer version.
pub fn look(folder: &RunFolder) -> Result<Life, SpoolError> {
    let locked = is_locked(&lock_path(folder));
    let info = match WorkerInfo::read(folder) {
        Err(e @ SpoolError::Newer { .. }) => return Err(e),
        other => other.ok().flatten(),
    };
    let alive = match &info {
        Some(info) if info.is_alive() == Some(true) => return Ok(Life::Alive(Some(info.clone()))),
        // Elsewhere: whoever writes events there holds their lock. Not asked for workers of this host, since asking
        // takes the lock for an instant, which a worker that is just starting would trip over.
        Some(info) if info.host != host_name() => matches!(EventWriter::open(folder), Err(SpoolError::Locked { .. })),
        _ => false,
    };
    match (locked, alive) {
        (true, _) => Ok(Life::Alive(None)),
        (false, true) => Ok(Life::Alive(info)),
        (false, false) => Ok(Life::Dead),
    }
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// What the worker said last on its standard error: the last line that is not empty, shortened.
pub fn last_words(folder: &RunFolder, from: u64) -> Option<String> {
    const LOOK_BACK: u64 = 4096;
    let mut file = File::open(log_path(folder)).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(from.max(len.saturating_sub(LOOK_BACK)))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOOK_BACK).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // Its log, which nobody would take for the cause of its death, has the level as the second word.
    let chatter = |line: &&str| matches!(line.split_whitespace().nth(1), Some("INFO" | "DEBUG" | "TRACE"));
    let line = text.lines().rev().map(str::trim).find(|l| !l.is_empty() && !chatter(l))?;
    let mut short: String = line.chars().take(300).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    Some(short)
}

/// Bytes of `worker.log` now, from which on the next attempt's words begin.
pub fn log_len(folder: &RunFolder) -> u64 {
    std::fs::metadata(log_path(folder)).map_or(0, |m| m.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, RunFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("run-0001"));
        folder.create("").unwrap();
        (dir, folder)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_worker_is_seen_as_alive_from_its_first_instant_to_its_last() {
        let (_dir, folder) = folder();
        runtime().block_on(async {
            assert_eq!(look(&folder).unwrap(), Life::Dead);
            // `cat <folder>` would end at once; a shell that waits stands for a worker that has not yet said who it is.
            let script = folder.path().join("slow");
            std::fs::write(
                &script,
                "#!/bin/sh\necho oops >&2; echo 2026-11-23T11:33:09Z  INFO started >&2\nexec sleep 60\n",
            )
            .unwrap();
            std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            let mut child = start(&script, &folder, Device::Cpu, 0).unwrap();
            let process = process_of(&child).unwrap();
            assert_eq!(look(&folder).unwrap(), Life::Alive(None), "by its lock alone");
            let second = start(&script, &folder, Device::Cpu, 0).unwrap_err();
            assert!(matches!(&second, NotStarted::Busy(why) if why.contains("still works")), "{second:?}");
            while last_words(&folder, 0).is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            process.signal(Signal::Kill).unwrap();
            assert_eq!(exit_of(child.wait().await.unwrap()), Exit::Signal(9));
            assert_eq!(look(&folder).unwrap(), Life::Dead);
            assert_eq!(last_words(&folder, 0).as_deref(), Some("oops"));
            assert_eq!(last_words(&folder, log_len(&folder)), None, "words of an earlier attempt are not repeated");
            process.signal(Signal::Kill).unwrap();
        });
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let (_dir, folder) = folder();
        let started = runtime().block_on(async { start(Path::new("/no/such/worker"), &folder, Device::Cpu, 0) });
        let Err(NotStarted::Failed(error)) = started else { panic!("{started:?}") };
        assert!(error.contains("/no/such/worker") && error.contains("KILN_WORKER"), "{error}");
        assert_eq!(look(&folder).unwrap(), Life::Dead, "the lock went with the attempt");
    }

    #[test]
    fn this_process_is_seen_by_pid_and_start_time() {
        let (_dir, folder) = folder();
        let mut info = WorkerInfo::of_this_process("cpu", "0", 1);
        info.write(&folder).unwrap();
        assert_eq!(look(&folder).unwrap(), Life::Alive(Some(info.clone())));
        info.start_time += 1;
        info.write(&folder).unwrap();
        assert_eq!(look(&folder).unwrap(), Life::Dead, "a later process with the same pid is another one");
    }
}
