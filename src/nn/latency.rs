//! What the blocks of a chain take on a device: the median of timed forward passes, without gradients, by running
//! statistics.
//!
//! Each block is warmed up, then timed once in every round over all blocks, so that a machine that slows down or is shared
//! for a while spreads over all of them. A sample is as many passes as fill [`LatencySettings::sample`]; the clock is read
//! when the device has finished.

use std::time::{Duration, Instant};

use kiln_arch::{Chain, Plan, Shape};
use kiln_torch::{Generator, NoGrad};
use tch::{Device, Kind, Tensor};

use crate::error::{Result, TrainError};
use crate::network::{Mode, Network};

/// Passes before the first one that counts: kernels are chosen and memory is taken in them.
const WARM_UP: usize = 3;

/// Most passes in one sample.
const MOST_PASSES: f64 = 10_000.0;

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencySettings {
    /// Images in a pass.
    pub batch: u32,
    /// Intra-op threads on the CPU.
    pub threads: u32,
    /// Samples of each block; the median counts.
    pub rounds: u32,
    /// Least time of one sample.
    pub sample: Duration,
}

impl Default for LatencySettings {
    fn default() -> Self {
        LatencySettings { batch: 1, threads: 1, rounds: 9, sample: Duration::from_millis(2) }
    }
}

/// Milliseconds of one pass of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub stem: f64,
    pub head: f64,
    /// By slot and choice; 0 for the identity.
    pub slots: Vec<Vec<f64>>,
    /// Of one whole network.
    pub whole: f64,
}

/// Something to time.
struct Subject<'a> {
    pass: Box<dyn Fn() -> Result<Tensor> + 'a>,
    passes: u32,
    /// Milliseconds a pass, one a round.
    samples: Vec<f64>,
}

/// Times every choice of `chain`, and `whole`, a network of the same space, in one piece. `tick` is told how many of how
/// many samples are done, and answers whether to stop.
///
/// # Errors
/// Blocks that do not fit together, a device that is out of memory or fails; [`TrainError::Plan`] when `tick` says stop.
pub fn measure(
    chain: &Chain,
    whole: &Plan,
    device: Device,
    settings: &LatencySettings,
    tick: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Measured> {
    kiln_torch::set_threads(i32::try_from(settings.threads).unwrap_or(i32::MAX));
    let _frozen = NoGrad::new();
    let mut blocks = chain.stem.clone();
    blocks.extend(chain.head.iter().cloned());
    let mut at = Vec::with_capacity(chain.slots.len());
    for slot in &chain.slots {
        let mut of_slot = Vec::with_capacity(slot.choices.len());
        for choice in &slot.choices {
            of_slot.push(choice.block.as_ref().map(|_| blocks.len()));
            blocks.extend(choice.block.clone().map(|mut block| {
                block.name = format!("{}/{}", slot.name, choice.gene);
                block
            }));
        }
        at.push(of_slot);
    }
    let inputs: Vec<Shape> = blocks.iter().map(|block| block.input).collect();
    let library = Network::library(whole.input, whole.classes, blocks, 1, device)?;
    let network = Network::build(whole, 1, device)?;

    let images = noise(whole.input, settings.batch, device)?;
    let mut subjects = Vec::with_capacity(inputs.len() + 1);
    for (i, input) in inputs.into_iter().enumerate() {
        let x = noise(input, settings.batch, device)?;
        let library = &library;
        subjects.push(Subject { pass: Box::new(move || library.through(i, &x)), passes: 1, samples: Vec::new() });
    }
    let network = &network;
    subjects.push(Subject {
        pass: Box::new(move || network.forward(&images, Mode::Eval)),
        passes: 1,
        samples: Vec::new(),
    });

    let all = subjects.len() * (settings.rounds as usize + 1);
    let mut done = 0;
    let mut step = |stopped: &mut dyn FnMut(usize, usize) -> bool| {
        done += 1;
        match stopped(done, all) {
            true => Err(TrainError::Plan("the measurement was interrupted".into())),
            false => Ok(()),
        }
    };
    for subject in &mut subjects {
        for _ in 0..WARM_UP {
            finish(&(subject.pass)()?)?;
        }
        let once = subject.time()?;
        let least = settings.sample.as_secs_f64() * 1e3;
        subject.passes = (least / once.max(1e-6)).ceil().clamp(1.0, MOST_PASSES) as u32;
        step(tick)?;
    }
    for _ in 0..settings.rounds.max(1) {
        for subject in &mut subjects {
            let sample = subject.time()?;
            subject.samples.push(sample);
            step(tick)?;
        }
    }
    let times: Vec<f64> = subjects.into_iter().map(|subject| median(subject.samples)).collect();
    let (stems, heads) = (chain.stem.len(), chain.head.len());
    let slots = at.iter().map(|slot| slot.iter().map(|i| i.map_or(0.0, |i| times[i])).collect()).collect();
    Ok(Measured {
        stem: times[..stems].iter().sum(),
        head: times[stems..stems + heads].iter().sum(),
        slots,
        whole: times.last().copied().unwrap_or(0.0),
    })
}

impl Subject<'_> {
    /// Milliseconds a pass, over one sample.
    fn time(&self) -> Result<f64> {
        let start = Instant::now();
        let mut last = (self.pass)()?;
        for _ in 1..self.passes {
            last = (self.pass)()?;
        }
        finish(&last)?;
        Ok(start.elapsed().as_secs_f64() * 1e3 / f64::from(self.passes))
    }
}

/// Waits until the device has computed a tensor: its first number is read.
fn finish(tensor: &Tensor) -> Result<()> {
    tensor.f_double_value(&vec![0; tensor.dim()])?;
    Ok(())
}

fn noise(shape: Shape, batch: u32, device: Device) -> Result<Tensor> {
    let n = i64::from(batch);
    let size = match shape {
        Shape::Flat(length) => vec![n, i64::from(length)],
        Shape::Image(c, h, w) => vec![n, i64::from(c), i64::from(h), i64::from(w)],
    };
    let mut tensor = Tensor::f_zeros(size, (Kind::Float, Device::Cpu))?;
    Generator::new(1, Device::Cpu)?.normal_(&mut tensor, 0.0, 1.0)?;
    Ok(tensor.f_to_device(device)?)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len();
    match n {
        0 => 0.0,
        n if n % 2 == 1 => samples[n / 2],
        n => (samples[n / 2 - 1] + samples[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use kiln_arch::Space;

    use super::*;

    #[test]
    fn every_choice_is_timed_and_work_takes_longer_than_none() {
        let space = Space::named("mobile-xs").unwrap();
        let input = Shape::Image(1, 8, 8);
        let chain = space.chain(input, 10).unwrap().unwrap();
        let whole = space.plan(&space.reference(), input, 10).unwrap();
        let settings =
            LatencySettings { rounds: 3, sample: Duration::from_micros(200), batch: 64, ..LatencySettings::default() };
        let mut seen = Vec::new();
        let measured = measure(&chain, &whole, Device::Cpu, &settings, &mut |done, all| {
            seen.push((done, all));
            false
        })
        .unwrap();
        for (slot, times) in chain.slots.iter().zip(&measured.slots) {
            assert_eq!(slot.choices.len(), times.len());
            for (choice, ms) in slot.choices.iter().zip(times) {
                assert_eq!(*ms == 0.0, choice.block.is_none(), "{} {}: {ms}", slot.name, choice.gene);
                // The whole network holds nine blocks as large as this one.
                assert!(*ms < measured.whole * 3.0, "{} {}: {ms} of {}", slot.name, choice.gene, measured.whole);
            }
        }
        assert!(measured.stem > 0.0 && measured.head > 0.0 && measured.whole > 0.0);
        let last = seen.last().copied().unwrap();
        assert!(last.0 == last.1 && seen.len() == last.1);
        let stopped = measure(&chain, &whole, Device::Cpu, &settings, &mut |_, _| true).unwrap_err();
        assert!(stopped.to_string().contains("interrupted"), "{stopped}");
    }

    #[test]
    fn the_median_does_not_care_about_one_slow_pass() {
        assert_eq!(median(vec![1.0, 90.0, 2.0]), 2.0);
        assert_eq!(median(vec![1.0, 4.0, 2.0, 3.0]), 2.5);
    }
}
