//! How fast a network trains in which arithmetic and order of memory, measured on the device at hand.
//!
//! What is fastest depends on network and device: bfloat16 doubles the rate of dense convolutions on one processor and
//! halves it on another; channels-last order is good for most networks and bad for some.

use std::time::{Duration, Instant};

use kiln_arch::Plan;
use kiln_arch::spec::Precision;
use kiln_data::DataSet;
use tch::Cuda;

use crate::error::{Result, TrainError};
use crate::trainer::{Trainer, TrainerConfig, Until, Validate};

/// Share of a step's time that bfloat16 must save, since it costs precision.
const WORTH_BF16: f64 = 0.1;

/// Share of a step's time that channels-last order must save: so that where both are equal, every run takes the same.
const WORTH_A_CHANGE: f64 = 0.03;

/// Time of one measurement; several of each setting are taken in turn, so that a disturbance hits all of them.
const MEASURE: Duration = Duration::from_millis(60);

/// Measurements of each setting that are wanted, as long as the time allows.
const ROUNDS: usize = 6;

/// Arithmetic and order of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Arithmetic of the passes; not `Auto`.
    pub precision: Precision,
    /// Images and kernels pixel by pixel.
    pub channels_last: bool,
}

/// A setting, and what a step took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    pub setting: Setting,
    /// The fastest measurement, in seconds a step.
    pub step: f64,
}

/// Times training steps of `plan` in each of `settings`, for about `budget` in all and at least two steps each. Settings
/// in which the network does not fit the device, or that it cannot do, are left out; `tick` as in [`Trainer::run`].
///
/// # Errors
/// Why the last setting failed, if none works.
pub fn time(
    plan: &Plan,
    config: &TrainerConfig,
    data: &DataSet,
    settings: &[Setting],
    budget: Duration,
    tick: &dyn Fn() -> bool,
) -> Result<Vec<Timing>> {
    let began = Instant::now();
    let mut failure = None;
    let mut trainers: Vec<(Trainer, Timing)> = Vec::new();
    for &setting in settings {
        let Setting { precision, channels_last } = setting;
        let config =
            TrainerConfig { precision, channels_last, epochs: u32::MAX, validate: Validate::Never, ..config.clone() };
        // The first steps choose kernels and take memory; the second measures roughly.
        let start = || {
            let mut trainer = Trainer::new(plan, config.clone(), data.share(), None)?;
            steps(&mut trainer, 1, tick)?;
            let step = steps(&mut trainer, 1, tick)?;
            Ok::<_, TrainError>((trainer, Timing { setting, step }))
        };
        match start() {
            Ok(started) => trainers.push(started),
            Err(error) => failure = Some(error),
        }
    }
    if let (true, Some(error)) = (trainers.is_empty(), failure) {
        return Err(error);
    }
    for _ in 0..ROUNDS {
        for (trainer, timing) in &mut trainers {
            if began.elapsed() >= budget || tick() {
                break;
            }
            let n = (MEASURE.as_secs_f64() / timing.step.max(1e-6)).ceil().clamp(1.0, 100.0) as u64;
            timing.step = timing.step.min(steps(trainer, n, tick)?);
        }
    }
    Ok(trainers.into_iter().map(|(_, timing)| timing).collect())
}

/// Seconds a step, over `n` of them.
fn steps(trainer: &mut Trainer, n: u64, tick: &dyn Fn() -> bool) -> Result<f64> {
    let began = Instant::now();
    let ran = trainer.run(Until::Steps(n), tick)?;
    if let tch::Device::Cuda(index) = trainer.network().device() {
        Cuda::synchronize(index as i64);
    }
    Ok(began.elapsed().as_secs_f64() / ran.steps.max(1) as f64)
}

/// The setting to take: the fastest in 32 bits (plain order unless channels-last is clearly faster), or the fastest in
/// bfloat16 if that saves a tenth of the time or more. `None` of nothing.
pub fn choose(timings: &[Timing]) -> Option<Setting> {
    let best = |precision| {
        let of = |channels_last| timings.iter().find(|t| t.setting == Setting { precision, channels_last }).copied();
        match (of(false), of(true)) {
            (Some(plain), Some(last)) if last.step < plain.step * (1.0 - WORTH_A_CHANGE) => Some(last),
            (plain, last) => plain.or(last),
        }
    };
    match (best(Precision::F32), best(Precision::Bf16)) {
        (Some(full), Some(half)) if half.step < full.step * (1.0 - WORTH_BF16) => Some(half.setting),
        (full, half) => full.or(half).map(|t| t.setting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cnn, config, never, stripes};
    use kiln_arch::spec::OptimSettings;

    fn timing(precision: Precision, channels_last: bool, step: f64) -> Timing {
        Timing { setting: Setting { precision, channels_last }, step }
    }

    fn chosen(plain: f64, last: f64, half_plain: f64, half_last: f64) -> (Precision, bool) {
        let setting = choose(&[
            timing(Precision::F32, false, plain),
            timing(Precision::F32, true, last),
            timing(Precision::Bf16, false, half_plain),
            timing(Precision::Bf16, true, half_last),
        ])
        .unwrap();
        (setting.precision, setting.channels_last)
    }

    #[test]
    fn the_fastest_is_taken_but_bf16_must_earn_it() {
        assert_eq!(chosen(1.0, 1.2, 1.5, 1.3), (Precision::F32, false));
        assert_eq!(chosen(1.0, 0.98, 1.5, 1.3), (Precision::F32, false), "a tie changes nothing");
        assert_eq!(chosen(1.0, 0.8, 0.9, 0.75), (Precision::F32, true), "6 % are not enough for bf16");
        assert_eq!(chosen(1.0, 0.8, 0.9, 0.7), (Precision::Bf16, true));
        assert_eq!(chosen(1.0, 0.8, 0.5, 0.6), (Precision::Bf16, false));
        assert_eq!(choose(&[timing(Precision::Bf16, true, 1.0)]).unwrap().precision, Precision::Bf16);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn every_setting_is_timed() {
        let settings: Vec<Setting> = [(Precision::F32, false), (Precision::F32, true), (Precision::Bf16, true)]
            .map(|(precision, channels_last)| Setting { precision, channels_last })
            .to_vec();
        let config = config(OptimSettings::default(), 0, 3);
        let timings = time(&cnn(), &config, &stripes(64), &settings, Duration::from_millis(200), &never).unwrap();
        assert_eq!(timings.iter().map(|t| t.setting).collect::<Vec<_>>(), settings);
        assert!(timings.iter().all(|t| t.step > 0.0 && t.step < 5.0), "{timings:?}");
    }

    #[test]
    fn a_network_that_does_not_fit_the_data_is_an_error() {
        let mut plan = cnn();
        plan.classes = 7;
        let settings = [Setting { precision: Precision::F32, channels_last: false }];
        let config = config(OptimSettings::default(), 0, 3);
        assert!(time(&plan, &config, &stripes(64), &settings, MEASURE, &never).is_err());
    }
}
