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
        self.map(trainers.iter_mut().collect(), tick, |trainer: &mut Trainer, stop| {
            let late = || deadline.is_some_and(|at| Instant::now() >= at);
            if late() || stop.asked() {
                let end = if trainer.finished() { End::Finished } else { End::Reached };
                return Ok(Ran { steps: 0, end });
            }
            let until = deadline.map_or(Until::Steps(u64::MAX), Until::Deadline);
            trainer.run(until, &|| stop.asked())
        })
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
                        drop(done.send((place, result.unwrap_or_else(|panic| Err(TrainError::Thread(words(&*panic)))))));
                    };
                    match std::thread::Builder::new().name(format!("candidate-{place}")).spawn_scoped(scope, body) {
                        Ok(_) => running += 1,
                        Err(error) => {
                            results[place] = Some(Err(TrainError::Thread(format!("no thread for a candidate: {error}"))));
                        }
                    }
                }
                if running == 0 {
                    continue;
                }
                match finished.recv_timeout(TICK) {
                    Ok((place, result)) => {
                        results[place] = Some(result);
                        running -= 1;
                    }
                    Err(_) => {}
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
