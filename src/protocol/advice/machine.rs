//! Rules about the machine.

use super::{Advice, Found, MachineLook};
use crate::event::Level;
use crate::figures::{bytes, bytes_of, duration, percent, roughly};
use crate::run::RunId;
use crate::wire::Sample;

/// Seconds of history over which a GPU's use is judged, and the fewest that say anything: data are read at the start of a run.
const WHILE: f64 = 300.0;
const AT_LEAST: f64 = 60.0;

/// Mean utilisation below which a GPU that works for a run waits for something.
const IDLE: f64 = 0.3;

/// Share of a file system that should stay free, and bytes below which it is low whatever its size.
const DISK_SHARE: f64 = 0.05;
const DISK_BYTES: u64 = 5_000_000_000;

/// Shares of memory in use from which a new allocation may fail.
const RAM_FULL: f64 = 0.92;
const GPU_FULL: f64 = 0.97;

/// Degrees Celsius from which NVIDIA's cards slow down.
const HOT: u32 = 85;

/// Seconds that a write to the home may take before events and checkpoints hold runs up.
const SLOW_WRITE: f64 = 0.25;

/// Threads that want to run for each core, from which they mostly wait for one another.
const CROWDED: f64 = 2.0;

/// What is worth doing about the machine; advice about a device that works for a run names the run.
pub fn of_machine(look: &MachineLook) -> Vec<Advice> {
    let mut all: Vec<Advice> = Vec::new();
    let whole = [disk, slow_folder, memory, crowded].into_iter().filter_map(|rule| rule(look));
    all.extend(whole.map(|found| found.of(None)));
    for at in 0..look.system.gpus.len() {
        let run = run_on(look, at);
        let found = [idle(look, at, run.as_ref()), gpu_memory(look, at), hot(look, at)];
        all.extend(found.into_iter().flatten().map(|found| found.of(run.clone())));
    }
    all
}

/// The run that works on a GPU.
fn run_on(look: &MachineLook, at: usize) -> Option<RunId> {
    let device = format!("cuda:{}", look.system.gpus.get(at)?.index);
    look.slots.iter().find(|slot| slot.device == device)?.run.clone()
}

/// The samples of the last so many seconds.
fn recent<'a>(look: &'a MachineLook, seconds: f64) -> &'a [Sample] {
    let from = look.system.t - seconds;
    &look.history[look.history.partition_point(|s| s.t < from)..]
}

fn idle(look: &MachineLook, at: usize, run: Option<&RunId>) -> Option<Found> {
    let run = run?;
    let samples = recent(look, WHILE);
    let span = samples.last()?.t - samples.first()?.t;
    let used: Vec<f64> = samples.iter().filter_map(|s| Some(s.gpus.get(at)?[0])).collect();
    let mean = used.iter().sum::<f64>() / used.len() as f64;
    (span >= AT_LEAST && mean < IDLE).then(|| Found {
        rule: "idle-gpu",
        level: Level::Warn,
        what: format!("GPU {} was {} busy over the last {} with {run}.", look.system.gpus[at].index, percent(mean), duration(span)),
        remedy: "Give it more to do at once: a larger `optim.batch`, more candidates side by side (`run.parallel`), or bf16; \
                 a second run may fit beside it."
            .into(),
    })
}

fn gpu_memory(look: &MachineLook, at: usize) -> Option<Found> {
    let gpu = look.system.gpus.get(at)?;
    let full = gpu.memory_total > 0 && gpu.memory_used as f64 >= GPU_FULL * gpu.memory_total as f64;
    let others: Vec<String> = gpu.processes.iter().filter(|p| p.run.is_none()).map(|p| p.pid.to_string()).collect();
    full.then(|| Found {
        rule: "gpu-memory",
        level: Level::Warn,
        what: format!("The memory of GPU {} is nearly full ({}).", gpu.index, bytes_of(gpu.memory_used, gpu.memory_total)),
        remedy: if others.is_empty() {
            "Take a smaller `optim.batch` or train fewer candidates side by side; what does not fit fails, or goes on with half the \
             batch."
                .into()
        } else {
            format!("Processes that are not Kiln's compute there, too (pid {}): ask whose they are.", others.join(", "))
        },
    })
}

fn hot(look: &MachineLook, at: usize) -> Option<Found> {
    let gpu = look.system.gpus.get(at)?;
    (gpu.temperature >= HOT).then(|| Found {
        rule: "hot-gpu",
        level: Level::Warn,
        what: format!("GPU {} has {}°C: it slows down to stay whole.", gpu.index, gpu.temperature),
        remedy: "See to its cooling, or lower its power limit (`nvidia-smi -pl`): the last watts buy little speed."
            .into(),
    })
}

fn disk(look: &MachineLook) -> Option<Found> {
    let s = look.system;
    let low = s.disk_total > 0 && ((s.disk_free as f64) < DISK_SHARE * s.disk_total as f64 || s.disk_free < DISK_BYTES);
    // How long it lasts, if something fills it.
    let samples = recent(look, WHILE);
    let lasts = samples.first().zip(samples.last()).and_then(|(a, b)| {
        let rate = (b.disk - a.disk) / (b.t - a.t) * s.disk_total as f64;
        (b.t - a.t >= AT_LEAST && rate > 0.0).then(|| s.disk_free as f64 / rate)
    });
    // What fills up within hours is worth a word however much is left.
    let soon = lasts.is_some_and(|seconds| seconds < 6.0 * 3600.0);
    let words = lasts.filter(|s| *s < 7.0 * 86_400.0).map(|s| format!("; at the present rate it lasts {}", roughly(s)));
    (low || soon).then(|| Found {
        rule: "disk-low",
        level: Level::Warn,
        what: format!("{} are left on the disk of KILN_HOME{}.", bytes(s.disk_free), words.unwrap_or_default()),
        remedy: "Remove runs that are no longer needed (`kiln rm`, or `D` in the list): their checkpoints take the room. Runs pause \
                 before the disk is full, and nothing is lost."
            .into(),
    })
}

fn slow_folder(look: &MachineLook) -> Option<Found> {
    let folder = &look.system.folder;
    let kind = if folder.kind.is_empty() { String::new() } else { format!(" ({})", folder.kind) };
    let what = match (folder.waiting, folder.latency) {
        (Some(waiting), _) => format!("The file system of KILN_HOME{kind} has not answered for {}.", duration(waiting)),
        (None, Some(latency)) if latency > SLOW_WRITE => {
            format!("A small write to KILN_HOME{kind} takes {:.1} s.", latency)
        }
        _ => return None,
    };
    Some(Found {
        rule: "slow-disk",
        level: Level::Warn,
        what,
        remedy: if folder.network {
            "Move KILN_HOME to a disk of this machine and take results along with `kiln export`; or ask who else uses the server."
        } else {
            "Something else keeps the disk busy (a copy, a backup, swapping); checkpoints wait for it."
        }
        .into(),
    })
}

fn memory(look: &MachineLook) -> Option<Found> {
    let s = look.system;
    (s.ram_total > 0 && s.ram_used as f64 > RAM_FULL * s.ram_total as f64).then(|| {
        let largest = s.shares.iter().max_by_key(|share| share.ram).filter(|share| share.ram * 4 > s.ram_total);
        let whose = largest.map(|l| format!("; {} holds {}", l.run, bytes(l.ram))).unwrap_or_default();
        Found {
            rule: "memory-low",
            level: Level::Warn,
            what: format!("The memory is nearly full ({}){whose}.", bytes_of(s.ram_used, s.ram_total)),
            remedy: "Train fewer candidates side by side (`run.parallel`) or fewer runs at once: the system ends a process when \
                     none is left."
                .into(),
        }
    })
}

fn crowded(look: &MachineLook) -> Option<Found> {
    let s = look.system;
    // Kiln never runs more threads than cores: what is beyond comes from elsewhere, or from two workers on one CPU.
    (s.cores > 0 && s.load > CROWDED * f64::from(s.cores)).then(|| Found {
        rule: "crowded-cpu",
        level: Level::Info,
        what: format!("{:.0} threads want to run on {} cores.", s.load, s.cores),
        remedy: "Runs on the CPU get slower, and measured latencies wrong: see with `top` who else computes here."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Folder, Gpu, GpuProcess, Share, Slot, System};

    fn system() -> System {
        System {
            t: 1000.0,
            cpu: 0.5,
            cores: 8,
            load: 4.0,
            ram_used: 10_000_000_000,
            ram_total: 64_000_000_000,
            disk_free: 500_000_000_000,
            disk_total: 1_000_000_000_000,
            gpus: vec![Gpu { memory_used: 10, memory_total: 100, temperature: 60, ..Gpu::default() }],
            ..System::default()
        }
    }

    fn history(gpu: f64, disk: impl Fn(f64) -> f64) -> Vec<Sample> {
        let sample = |i: u32| {
            let t = 800.0 + f64::from(i);
            Sample { t, gpus: vec![[gpu, 0.1]], disk: disk(t), ..Sample::default() }
        };
        (0..=200).map(sample).collect()
    }

    fn slots(run: Option<&str>) -> Vec<Slot> {
        vec![Slot { device: "cuda:0".into(), name: "H100".into(), run: run.map(|r| RunId(r.into())) }]
    }

    fn rules(system: &System, history: &[Sample], run: Option<&str>) -> Vec<Advice> {
        of_machine(&MachineLook { system, history, slots: &slots(run) })
    }

    fn names(advice: &[Advice]) -> Vec<&str> {
        advice.iter().map(|a| a.rule.as_str()).collect()
    }

    #[test]
    fn a_machine_that_works_needs_no_advice() {
        assert_eq!(names(&rules(&system(), &history(0.9, |_| 0.5), Some("a"))), [""; 0]);
        assert_eq!(names(&rules(&System::default(), &[], None)), [""; 0]);
    }

    #[test]
    fn a_gpu_is_idle_only_if_it_works_for_a_run_and_has_for_a_while() {
        let advice = rules(&system(), &history(0.1, |_| 0.5), Some("a"));
        assert_eq!(names(&advice), ["idle-gpu"]);
        assert_eq!(advice[0].run, Some(RunId("a".into())));
        assert!(advice[0].what.contains("10% busy over the last 3 min 20 s with a"), "{}", advice[0].what);
        assert_eq!(names(&rules(&system(), &history(0.1, |_| 0.5), None)), [""; 0]);
        assert_eq!(names(&rules(&system(), &history(0.1, |_| 0.5)[160..], Some("a"))), [""; 0], "not yet");
    }

    #[test]
    fn a_disk_is_low_by_size_by_share_or_by_how_fast_it_fills() {
        let with = |free: u64, total: u64| System { disk_free: free, disk_total: total, ..system() };
        let flat = history(0.9, |_| 0.9);
        assert_eq!(names(&rules(&with(4_000_000_000, 20_000_000_000), &flat, None)), ["disk-low"]);
        assert_eq!(names(&rules(&with(40_000_000_000, 1_000_000_000_000), &flat, None)), ["disk-low"]);
        // A thousandth every two seconds: half of it is gone in a thousand seconds.
        let filling = history(0.9, |t| 0.5 - (1000.0 - t) / 2000.0);
        let advice = rules(&with(500_000_000_000, 1_000_000_000_000), &filling, None);
        assert_eq!(names(&advice), ["disk-low"]);
        assert!(advice[0].what.contains("lasts about 15 min"), "{}", advice[0].what);
    }

    #[test]
    fn a_folder_that_is_slow_or_does_not_answer_is_told() {
        let with = |latency, waiting| System {
            folder: Folder { kind: "nfs4".into(), network: true, latency, waiting },
            ..system()
        };
        assert_eq!(names(&rules(&with(Some(0.01), None), &[], None)), [""; 0]);
        let slow = rules(&with(Some(0.8), None), &[], None);
        assert_eq!(slow[0].what, "A small write to KILN_HOME (nfs4) takes 0.8 s.");
        assert!(rules(&with(Some(0.01), Some(12.0)), &[], None)[0].what.contains("not answered for 12 s"));
    }

    #[test]
    fn full_memories_and_heat_are_told_with_whom_to_ask() {
        let mut s = system();
        s.ram_used = 63_000_000_000;
        s.shares = vec![Share { run: RunId("big".into()), pid: 1, cpu: 1.0, ram: 40_000_000_000, gpu_memory: 0 }];
        s.load = 40.0;
        s.gpus[0].memory_used = 99;
        s.gpus[0].temperature = 90;
        s.gpus[0].processes = vec![GpuProcess { pid: 77, memory: 50, name: "x".into(), run: None }];
        let advice = rules(&s, &[], None);
        assert_eq!(names(&advice), ["memory-low", "crowded-cpu", "gpu-memory", "hot-gpu"]);
        assert!(advice[0].what.contains("big holds 40 GB"), "{}", advice[0].what);
        assert!(advice[2].remedy.contains("pid 77"));
    }
}
