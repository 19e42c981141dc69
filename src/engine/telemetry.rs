//! Figures of the machine, taken on a thread of their own: NVML may take milliseconds, and a GPU that has fallen off its
//! bus much longer.

mod folder;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kiln_protocol::RunId;
use kiln_protocol::wire::{Gpu, Share, System};
use nix::sys::statvfs::statvfs;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, UpdateKind};

use crate::devices::Gpus;
use crate::telemetry::folder::Probe;

/// How often figures are taken while somebody looks on.
const WATCHED: Duration = Duration::from_secs(1);

/// How often otherwise: just so that a status asked for is not years old.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Until the first figures: the shortest time over which the use of the processor means something.
const FIRST: Duration = Duration::from_millis(250);

/// Workers of runs, by process id.
type Workers = Vec<(RunId, u32)>;

/// The thread that takes figures. It ends when `send` says that nobody listens any more.
pub struct Telemetry {
    watched: Arc<AtomicBool>,
    workers: Arc<Mutex<Workers>>,
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
        let workers = Arc::new(Mutex::new(Workers::new()));
        let probe = Probe::start(home.clone(), watched.clone())?;
        let (flag, known) = (watched.clone(), workers.clone());
        let handle = thread::Builder::new().name("telemetry".into()).spawn(move || {
            let mut meter = Meter::new(home, gpus, probe);
            let mut pause = FIRST;
            loop {
                thread::park_timeout(pause);
                let workers = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if !send(meter.read(&workers)) {
                    break;
                }
                pause = if flag.load(Ordering::Relaxed) { WATCHED } else { UNWATCHED };
            }
        })?;
        Ok(Telemetry { watched, workers, thread: handle.thread().clone() })
    }

    /// Says whether somebody looks on; the first figures for somebody new come at once.
    pub fn watch(&self, watched: bool) {
        if watched && !self.watched.swap(true, Ordering::Relaxed) {
            self.thread.unpark();
        }
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// Says whose processes are workers: what they take of the machine is told by run.
    pub fn follow(&self, workers: Workers) {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) = workers;
    }
}

/// What the figures are read from.
struct Meter {
    home: PathBuf,
    gpus: Gpus,
    /// `None` where the operating system does not say; processor and memory then read as zero.
    system: Option<sysinfo::System>,
    probe: Probe,
}

impl Meter {
    fn new(home: PathBuf, gpus: Gpus, probe: Probe) -> Meter {
        let mut system = sysinfo::System::new().inspect_err(|e| tracing::warn!("no figures of the machine: {e}")).ok();
        if let Some(system) = &mut system {
            // Usage is a difference: this is the first of the two readings.
            system.refresh_cpu_usage();
        }
        Meter { home, gpus, system, probe }
    }

    fn read(&mut self, workers: &[(RunId, u32)]) -> System {
        let (disk_free, disk_total) = disk(&self.home).unwrap_or((0, 0));
        let mut figures = System {
            t: kiln_protocol::now(),
            cores: cores() as u32,
            disk_free,
            disk_total,
            folder: self.probe.read(),
            gpus: self.gpus.figures(),
            ..System::default()
        };
        let Some(system) = &mut self.system else { return figures };
        system.refresh_cpu_usage();
        system.refresh_memory();
        figures.cpu = f64::from(system.global_cpu_usage() / 100.0).clamp(0.0, 1.0);
        figures.load = sysinfo::System::load_average().map_or(0.0, |load| load.one);
        (figures.ram_total, figures.ram_used) = (system.total_memory(), system.used_memory());
        // Inside a container what counts is its limit, not the machine.
        if let Some(limits) =
            system.cgroup_limits().filter(|l| l.total_memory > 0 && l.total_memory < figures.ram_total)
        {
            figures.ram_total = limits.total_memory;
            figures.ram_used = limits.total_memory.saturating_sub(limits.free_memory);
        }
        figures.shares = shares(system, workers, &mut figures.gpus);
        figures
    }
}

/// What each worker takes of the machine; processes on the GPUs get their names and runs.
fn shares(system: &mut sysinfo::System, workers: &[(RunId, u32)], gpus: &mut [Gpu]) -> Vec<Share> {
    let on_gpus = gpus.iter().flat_map(|g| g.processes.iter().map(|p| p.pid));
    // Each once (a second look at the same one takes it for dead), and with them those of the last time: dead ones are forgotten.
    let pids = workers.iter().map(|(_, pid)| *pid).chain(on_gpus).map(Pid::from_u32);
    let pids: BTreeSet<Pid> = pids.chain(system.processes().keys().copied()).collect();
    let pids: Vec<Pid> = pids.into_iter().collect();
    let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory().with_exe(UpdateKind::OnlyIfNotSet);
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, wanted);
    let run_of = |pid: u32| workers.iter().find(|w| w.1 == pid).map(|w| w.0.clone());
    for process in gpus.iter_mut().flat_map(|g| g.processes.iter_mut()) {
        process.run = run_of(process.pid);
        let known = system.process(Pid::from_u32(process.pid));
        process.name = known.map(|p| p.name().to_string_lossy().into_owned()).unwrap_or_default();
    }
    let share = |(run, pid): &(RunId, u32)| {
        let process = system.process(Pid::from_u32(*pid))?;
        let on_gpus = gpus.iter().flat_map(|g| &g.processes).filter(|p| p.pid == *pid);
        Some(Share {
            run: run.clone(),
            pid: *pid,
            cpu: f64::from(process.cpu_usage()) / 100.0,
            ram: process.memory(),
            gpu_memory: on_gpus.map(|p| p.memory).sum(),
        })
    };
    workers.iter().filter_map(share).collect()
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
        assert!(system.t > 1.7e9 && system.load >= 0.0, "{system:?}");
    }

    #[test]
    fn what_a_worker_takes_is_told_by_run_and_one_that_is_gone_is_not() {
        let mut system = sysinfo::System::new().unwrap();
        let own = std::process::id();
        let workers = [(RunId("a".into()), own), (RunId("gone".into()), u32::MAX - 7)];
        let process = |pid| kiln_protocol::wire::GpuProcess { pid, memory: 3, ..Default::default() };
        let mut gpus = vec![Gpu { processes: vec![process(own), process(u32::MAX - 9)], ..Gpu::default() }; 2];
        let shares = shares(&mut system, &workers, &mut gpus);
        assert_eq!(shares.len(), 1);
        assert_eq!((shares[0].run.0.as_str(), shares[0].pid, shares[0].gpu_memory), ("a", own, 6));
        assert!(shares[0].ram > 1_000_000, "{shares:?}");
        let [mine, other] = &gpus[1].processes[..] else { panic!("{gpus:?}") };
        assert_eq!(mine.run, Some(RunId("a".into())));
        assert!(!mine.name.is_empty() && other.run.is_none() && other.name.is_empty(), "{gpus:?}");
    }
}
