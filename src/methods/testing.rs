//! What the crate's tests share: small data, a world that collects, a driver that kills and resumes.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use kiln_protocol::spec::Spec;
use kiln_protocol::{Body, Outcome, checkpoint};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::checkpoint::{CheckpointReader, CheckpointWriter};
use crate::cx::StepCx;
use crate::error::MethodError;
use crate::method::{Flow, create};
use crate::runtime::Place;

/// `n` images of 8x8 in the digits' format: ten blurred patterns with noise, so that a small network learns them in some
/// epochs, but not in one.
pub fn digits(dir: &Path, n: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let patterns: Vec<Vec<f64>> = (0..10).map(|_| (0..64).map(|_| rng.gen_range(0.0..16.0)).collect()).collect();
    let mut text = String::new();
    for i in 0..n {
        for centre in &patterns[i % 10] {
            let value: f64 = centre + rng.gen_range(-9.0..9.0);
            let _ = write!(text, "{},", value.clamp(0.0, 16.0).round() as u8);
        }
        let _ = writeln!(text, "{}", i % 10);
    }
    std::fs::write(dir.join("digits.csv"), text).unwrap();
}

/// A run folder with its data, and everything that a method emits.
pub struct World {
    pub dir: TempDir,
    pub spec: Spec,
    pub events: Arc<Mutex<Vec<Body>>>,
    pub interrupt: Arc<AtomicBool>,
}

impl World {
    /// `settings` is the preset without its data path.
    pub fn new(settings: &str) -> World {
        let dir = TempDir::new().unwrap();
        digits(dir.path(), 400);
        let text =
            settings.replace("[data]", &format!("[data]\nset = \"digits\"\npath = \"{}\"", dir.path().display()));
        let spec = Spec::from_toml("spec.toml", &text).unwrap_or_else(|problems| panic!("{problems:?}"));
        World { dir, spec, events: Arc::default(), interrupt: Arc::default() }
    }

    pub fn cx(&self) -> StepCx {
        let events = Arc::clone(&self.events);
        let emit = Box::new(move |body| events.lock().unwrap().push(body));
        StepCx::new(self.spec.clone(), self.dir.path(), &Place::cpu(), Arc::clone(&self.interrupt), emit)
    }

    /// Runs to the end without interruption.
    pub fn run(&self) -> Outcome {
        let mut cx = self.cx();
        let mut method = create(&self.spec, &mut cx).unwrap();
        while method.step(&mut cx).unwrap() == Flow::More {}
        cx.flush();
        method.outcome()
    }

    /// Runs to the end, but at random moments writes a checkpoint, forgets everything, and goes on from the file.
    pub fn run_with_kills(&self, seed: u64) -> (Outcome, usize) {
        self.run_with_kills_within(seed, 120)
    }

    /// As [`World::run_with_kills`], with this many milliseconds at most before the first alarm: more than what is done whole or
    /// not at all takes.
    pub fn run_with_kills_within(&self, seed: u64, millis: u64) -> (Outcome, usize) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut kills = 0;
        let folder = self.dir.path().join("checkpoints");
        let mut cx = self.cx();
        let mut method = create(&self.spec, &mut cx).unwrap();
        loop {
            // Later alarms ring later: on a slow machine, work that is done whole or not at all must get through at last.
            let alarm = Alarm::set(Arc::clone(&self.interrupt), rng.gen_range(0..millis + 10 * kills as u64));
            let stepped = method.step(&mut cx);
            alarm.cancel();
            match stepped {
                Ok(Flow::Done) => return (method.outcome(), kills),
                Ok(Flow::More) | Err(MethodError::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
            if rng.gen_bool(0.7) {
                kills += 1;
                let mut writer = CheckpointWriter::new();
                method.save(&mut writer).unwrap();
                let (state, tensors) = writer.into_parts();
                checkpoint::write(&folder, kills as u64, &state, &tensors).unwrap();
                drop(method);
                let latest = checkpoint::latest(&folder).unwrap().checkpoint.unwrap();
                cx = self.cx();
                method = create(&self.spec, &mut cx).unwrap();
                method.load(&CheckpointReader::new(latest.state, latest.tensors), &mut cx).unwrap();
            }
        }
    }

    /// Runs these settings whole, and with kills once for each of the seeds 0, 1, ...: outcome and artifacts must end with the same
    /// bits, and each of the killed runs must have been killed. Returns how often they were, all together.
    pub fn killed_ends_the_same(settings: &str, seeds: u64, artifacts: &[&str]) -> usize {
        let whole = World::new(settings);
        let expected = timeless(whole.run());
        let one = |seed: u64| {
            let world = World::new(settings);
            let (outcome, kills) = world.run_with_kills(seed);
            assert!(kills > 0, "nothing was killed with seed {seed}: the test has lost its meaning\n{settings}");
            assert_eq!(timeless(outcome), expected, "{settings}");
            for file in artifacts {
                assert_eq!(world.artifact(file), whole.artifact(file), "{file} of\n{settings}");
            }
            kills
        };
        (0..seeds).map(one).sum()
    }

    pub fn artifact(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join("artifacts").join(name)).unwrap()
    }

    pub fn artifact_exists(&self, name: &str) -> bool {
        self.dir.path().join("artifacts").join(name).exists()
    }

    /// All points of a series in the order in which they were emitted.
    pub fn series(&self, name: &str) -> Vec<[f64; 2]> {
        let events = self.events.lock().unwrap();
        let points = events.iter().filter_map(|body| match body {
            Body::Points { series, points } if series == name => Some(points.clone()),
            _ => None,
        });
        points.flatten().collect()
    }
}

/// Interrupts a step after some milliseconds.
struct Alarm(Arc<AtomicBool>, Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Alarm {
    fn set(interrupt: Arc<AtomicBool>, millis: u64) -> Alarm {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (flag, off) = (Arc::clone(&interrupt), Arc::clone(&cancelled));
        let thread = std::thread::spawn(move || {
            for _ in 0..millis {
                std::thread::sleep(std::time::Duration::from_millis(1));
                if off.load(Ordering::SeqCst) {
                    return;
                }
            }
            flag.store(true, Ordering::SeqCst);
        });
        Alarm(interrupt, cancelled, Some(thread))
    }

    fn cancel(mut self) {
        self.1.store(true, Ordering::SeqCst);
        if let Some(thread) = self.2.take() {
            thread.join().unwrap();
        }
        self.0.store(false, Ordering::SeqCst);
    }
}

/// An outcome without what the clock decides.
pub fn timeless(mut outcome: Outcome) -> Outcome {
    outcome.figures.retain(|name, _| !name.contains("second"));
    outcome.verdict = outcome.verdict.split(" s of search").last().unwrap_or_default().to_owned();
    for table in &mut outcome.tables {
        table.rows.retain(|row| !row.iter().any(|cell| cell == "seconds"));
        for cell in table.rows.iter_mut().flatten().filter(|cell| cell.ends_with(" s") || cell.ends_with(" /s")) {
            cell.clear();
        }
    }
    outcome
}
