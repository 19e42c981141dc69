//! Figures of the machine, taken on a thread of their own: NVML may take milliseconds, and a GPU that has fallen off its
//! bus much longer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kiln_protocol::wire::System;
use nix::sys::statvfs::statvfs;

use crate::devices::Gpus;

/// How often figures are taken while somebody looks on.
const WATCHED: Duration = Duration::from_secs(1);

/// How often otherwise: just so that a status asked for is not years old.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Until the first figures: the shortest time over which the use of the processor means something.
const FIRST: Duration = Duration::from_millis(250);

/// The thread that takes figures. It ends when `send` says that nobody listens any more.
pub struct Telemetry {
    watched: Arc<AtomicBool>,
    thread: thread::Thread,
}

impl Telemetry {
    /// `send` gets the figures and returns whether to go on.
    pub fn start(
        home: PathBuf,
        gpus: Gpus,
        mut send: impl FnMut(System) -> bool + Send + 'static,
    ) -> std::io::Result<Telemetry> {
        let watched = Arc::new(AtomicBool::new(false));
        let flag = watched.clone();
        let handle = thread::Builder::new().name("telemetry".into()).spawn(move || {
            let mut meter = Meter::new(home, gpus);
            let mut pause = FIRST;
            loop {
                thread::park_timeout(pause);
                if !send(meter.read()) {
                    break;
                }
                pause = if flag.load(Ordering::Relaxed) { WATCHED } else { UNWATCHED };
            }
        })?;
        Ok(Telemetry { watched, thread: handle.thread().clone() })
    }

    /// Says whether somebody looks on; the first figures for somebody new come at once.
    pub fn watch(&self, watched: bool) {
        if watched && !self.watched.swap(true, Ordering::Relaxed) {
            self.thread.unpark();
        }
        self.watched.store(watched, Ordering::Relaxed);
    }
}

/// What the figures are read from.
struct Meter {
    home: PathBuf,
    gpus: Gpus,
    /// `None` where the operating system does not say; processor and memory then read as zero.
    system: Option<sysinfo::System>,
}

impl Meter {
    fn new(home: PathBuf, gpus: Gpus) -> Meter {
        let mut system = sysinfo::System::new().inspect_err(|e| tracing::warn!("no figures of the machine: {e}")).ok();
        if let Some(system) = &mut system {
            // Usage is a difference: this is the first of the two readings.
            system.refresh_cpu_usage();
        }
        Meter { home, gpus, system }
    }

    fn read(&mut self) -> System {
        let (disk_free, disk_total) = disk(&self.home).unwrap_or((0, 0));
        let mut figures =
            System { cores: cores() as u32, disk_free, disk_total, gpus: self.gpus.figures(), ..System::default() };
        let Some(system) = &mut self.system else { return figures };
        system.refresh_cpu_usage();
        system.refresh_memory();
        figures.cpu = f64::from(system.global_cpu_usage() / 100.0).clamp(0.0, 1.0);
        (figures.ram_total, figures.ram_used) = (system.total_memory(), system.used_memory());
        // Inside a container what counts is its limit, not the machine.
        if let Some(limits) =
            system.cgroup_limits().filter(|l| l.total_memory > 0 && l.total_memory < figures.ram_total)
        {
            figures.ram_total = limits.total_memory;
            figures.ram_used = limits.total_memory.saturating_sub(limits.free_memory);
        }
        figures
    }
}

/// Bytes that this user may still write on the file system of `path`, and its size. `None` if the system does not say.
pub fn disk(path: &std::path::Path) -> Option<(u64, u64)> {
    let stat = statvfs(path).ok()?;
    let unit = stat.fragment_size();
    Some((stat.blocks_available().saturating_mul(unit), stat.blocks().saturating_mul(unit)))
}

/// Cores that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_new_watcher_gets_figures_at_once() {
        let (tx, rx) = mpsc::channel();
        let home = std::env::temp_dir();
        let telemetry = Telemetry::start(home, Gpus::default(), move |s| tx.send(s).is_ok()).unwrap();
        telemetry.watch(true);
        let system = rx.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(system.ram_total > 0 && system.ram_used <= system.ram_total, "{system:?}");
        assert!(system.disk_free > 0 && system.disk_free <= system.disk_total, "{system:?}");
        assert!((0.0..=1.0).contains(&system.cpu) && system.cores >= 1, "{system:?}");
    }
}
