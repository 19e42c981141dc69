//! Many candidates side by side.
//!
//! Each piece of work gets a fresh thread, so that gradient mode, autocast and the number of intra-op threads, which
//! belong to threads in libtorch, cannot leak from one candidate into the next. Candidates share nothing that is written:
//! side by side they get the bits that they would get in turn.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tch::Device;

use crate::error::{Result, TrainError};
use crate::trainer::{End, Ran, Trainer, Until};

/// How often the caller's `tick` is asked while candidates train.
const TICK: Duration = Duration::from_millis(20);

/// Candidates that a GPU gets at a time unless told otherwise: their kernels fill each other's gaps.
const GPU_PARALLEL: usize = 4;

/// How many pieces of work run at once, and on how many intra-op threads each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    parallel: usize,
    threads: usize,
}

/// Tells the pieces of work of a pool to stop.
pub struct Stop<'a>(&'a AtomicBool);

impl Stop<'_> {
    /// Should this piece of work stop at its next good place?
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Pool {
    /// A pool for `device` that runs `parallel` candidates at once on `threads` intra-op threads each.
    ///
    /// `parallel` 0 chooses: on the CPU as many as fit the cores, on a GPU four. On the CPU a larger number than fits is
    /// cut, since more runnable threads than cores cost up to half of the throughput.
    pub fn new(parallel: u32, threads: u32, device: Device) -> Pool {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Pool::for_cores(parallel as usize, threads.max(1) as usize, device, cores)
    }

    fn for_cores(parallel: usize, threads: usize, device: Device, cores: usize) -> Pool {
        let fit = (cores / threads).max(1);
        let parallel = match (device, parallel) {
            (Device::Cpu, 0) => fit,
            (Device::Cpu, n) => n.min(fit),
            (_, 0) => GPU_PARALLEL,
            (_, n) => n,
        };
        Pool { parallel, threads }
    }

    /// Pieces of work that run at once.
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// Trains all of `trainers` for at most `slice`, the first unfinished ones first. The same call again goes on.
    ///
    /// `tick` is asked on this thread some fifty times a second; when it answers `true`, everyone stops after the step
    /// at hand. The results are in the order of `trainers`; a trainer whose turn did not come has done no steps.
    /// One candidate's failure is its own: the others go on.
    pub fn run(&self, trainers: &mut [Trainer], slice: Duration, tick: &mut dyn FnMut() -> bool) -> Vec<Result<Ran>> {
        let deadline = Instant::now().checked_add(slice);
        let until = deadline.map_or(Until::Steps(u64::MAX), Until::Deadline);
        // Those with nothing left to do get no thread; they answer at once.
        let ended: Vec<bool> = trainers.iter().map(Trainer::ended).collect();
        let (over, open): (Vec<_>, Vec<_>) = trainers.iter_mut().partition(|t| t.ended());
        let mut over = over.into_iter().map(|trainer| trainer.run(until, &|| true)).collect::<Vec<_>>().into_iter();
        let ran = self.map(open, tick, |trainer: &mut Trainer, stop| {
            if stop.asked() || deadline.is_some_and(|at| Instant::now() >= at) {
                let end = if stop.asked() { End::Stopped } else { End::Reached };
                return Ok(Ran { steps: 0, end });
            }
            trainer.run(until, &|| stop.asked())
        });
        let mut ran = ran.into_iter();
        ended.into_iter().filter_map(|ended| if ended { over.next() } else { ran.next() }).collect()
    }

    /// Does `work` for every item, each on a fresh thread with this pool's number of intra-op threads, and gives the
    /// results in the order of the items. `tick` as in [`Pool::run`]; work should look at its [`Stop`] now and then.
    ///
    /// A panic becomes a [`TrainError::Thread`] of that item.
    pub fn map<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        tick: &mut dyn FnMut() -> bool,
        work: impl Fn(T, &Stop) -> Result<R> + Sync,
    ) -> Vec<Result<R>> {
        let count = items.len();
        let stop = AtomicBool::new(false);
        let mut results: Vec<Option<Result<R>>> = Vec::new();
        results.resize_with(count, || None);
        let mut waiting: VecDeque<(usize, T)> = items.into_iter().enumerate().collect();
        let (done, finished) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut running = 0;
            while running > 0 || !waiting.is_empty() {
                while running < self.parallel {
                    let Some((place, item)) = waiting.pop_front() else { break };
                    let (done, stop, work, threads) = (done.clone(), &stop, &work, self.threads);
                    let body = move || {
                        kiln_torch::set_threads(threads.try_into().unwrap_or(i32::MAX));
                        let result = catch_unwind(AssertUnwindSafe(|| work(item, &Stop(stop))));
                        // The receiver outlives the scope; a failure to send cannot happen and would lose nothing else.
                        drop(
                            done.send((place, result.unwrap_or_else(|panic| Err(TrainError::Thread(words(&*panic)))))),
                        );
                    };
                    match std::thread::Builder::new().name(format!("candidate-{place}")).spawn_scoped(scope, body) {
                        Ok(_) => running += 1,
                        Err(error) => {
                            results[place] =
                                Some(Err(TrainError::Thread(format!("no thread for a candidate: {error}"))));
                        }
                    }
                }
                if running == 0 {
                    continue;
                }
                if let Ok((place, result)) = finished.recv_timeout(TICK) {
                    results[place] = Some(result);
                    running -= 1;
                }
                if !stop.load(Ordering::Relaxed) && tick() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        let lost = || Err(TrainError::Thread("a candidate's thread ended without a result".into()));
        results.into_iter().map(|r| r.unwrap_or_else(lost)).collect()
    }
}

/// The message of a panic.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a candidate's thread panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cnn, config, mlp, never, same_bits, stripes};
    use crate::trainer::TrainerConfig;
    use kiln_arch::spec::{OptimSettings, Precision};
    use std::sync::atomic::AtomicUsize;

    fn four() -> Vec<Trainer> {
        let data = stripes(100);
        (0..4)
            .map(|i| {
                let base = config(OptimSettings { nesterov: true, ..OptimSettings::default() }, i, 3);
                // Neighbours of different arithmetic: what one thread switches on must not reach the next.
                let own = if i % 2 == 0 {
                    base
                } else {
                    TrainerConfig { precision: Precision::Bf16, channels_last: true, ..base }
                };
                Trainer::new(&if i < 2 { cnn() } else { mlp() }, own, data.share(), None).unwrap()
            })
            .collect()
    }

    fn bits_agree(a: &[Trainer], b: &[Trainer]) {
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert_eq!(a.history(), b.history());
            let (a, b) = (a.save().unwrap(), b.save().unwrap());
            assert_eq!(a.state, b.state);
            for ((name, a), (_, b)) in a.tensors.iter().zip(&b.tensors) {
                assert!(same_bits(a, b), "{name} of candidate {i} differs");
            }
        }
    }

    fn in_turn() -> Vec<Trainer> {
        let mut trainers = four();
        for trainer in &mut trainers {
            trainer.run(Until::Steps(u64::MAX), &never).unwrap();
        }
        trainers
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn side_by_side_equals_in_turn() {
        let mut together = four();
        let pool = Pool::for_cores(4, 1, Device::Cpu, 4);
        let results = pool.run(&mut together, LONG, &mut || false);
        assert!(results.iter().all(|r| r.as_ref().is_ok_and(|ran| *ran == Ran { steps: 18, end: End::Finished })));
        bits_agree(&in_turn(), &together);
    }

    #[test]
    fn side_by_side_resumes_to_the_same_bits() {
        let pool = Pool::for_cores(4, 1, Device::Cpu, 4);
        let mut first = four();
        for (i, trainer) in first.iter_mut().enumerate() {
            trainer.run(Until::Steps(3 + 4 * i as u64), &never).unwrap();
        }
        let mut second = four();
        for (new, old) in second.iter_mut().zip(&first) {
            new.load(&old.save().unwrap()).unwrap();
        }
        // Many short slices; each is a fresh thread a candidate.
        let mut slices = 0;
        while !second.iter().all(Trainer::finished) {
            pool.run(&mut second, Duration::from_millis(5), &mut || false);
            slices += 1;
            assert!(slices < 10_000, "no progress");
        }
        bits_agree(&in_turn(), &second);
    }

    #[test]
    fn a_stop_ends_everyone_soon() {
        let mut trainers = four();
        for trainer in &mut trainers {
            trainer.set_epochs(1_000_000);
        }
        let asked = AtomicUsize::new(0);
        let began = Instant::now();
        let results = Pool::for_cores(2, 1, Device::Cpu, 2)
            .run(&mut trainers, LONG, &mut || asked.fetch_add(1, Ordering::Relaxed) > 2);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let ends: Vec<End> = results.into_iter().map(|r| r.unwrap().end).collect();
        assert_eq!(ends[..2], [End::Stopped, End::Stopped]);
        assert_eq!(trainers[3].steps(), 0);
    }

    #[test]
    fn one_failure_leaves_the_others_alone() {
        let mut trainers = four();
        trainers[2].set_lr(1e38);
        let results = Pool::for_cores(0, 1, Device::Cpu, 2).run(&mut trainers, LONG, &mut || false);
        assert!(matches!(results[2], Err(TrainError::Diverged(_))));
        assert!([0, 1, 3].iter().all(|&i| results[i].as_ref().is_ok_and(|r| r.end == End::Finished)));
        let work = |n: u32, _: &Stop| if n == 1 { panic!("number {n}") } else { Ok(n * 10) };
        let results = Pool::for_cores(2, 1, Device::Cpu, 2).map(vec![0, 1, 2], &mut || false, work);
        assert!(matches!(results[..], [Ok(0), Err(TrainError::Thread(_)), Ok(20)]));
        assert!(results[1].as_ref().unwrap_err().to_string().contains("number 1"));
    }

    #[test]
    fn never_more_at_once_than_said() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: usize, _: &Stop| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        Pool::for_cores(3, 1, Device::Cpu, 8).map((0..12).collect(), &mut || false, work);
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn threads_times_candidates_fit_the_cores() {
        let parallel = |parallel, threads, device, cores| Pool::for_cores(parallel, threads, device, cores).parallel();
        assert_eq!(parallel(0, 1, Device::Cpu, 8), 8);
        assert_eq!(parallel(0, 3, Device::Cpu, 8), 2);
        assert_eq!(parallel(5, 2, Device::Cpu, 8), 4);
        assert_eq!(parallel(2, 2, Device::Cpu, 8), 2);
        assert_eq!(parallel(4, 4, Device::Cpu, 2), 1);
        assert_eq!(parallel(0, 1, Device::Cuda(0), 2), GPU_PARALLEL);
        assert_eq!(parallel(7, 1, Device::Cuda(0), 2), 7);
    }
}
