//! Learning-rate schedules: constant, cosine or in steps, after a linear warm-up.

use kiln_arch::spec::{OptimSettings, Schedule};

/// The learning rate of every step, as a factor of the initial rate.
#[derive(Clone, Debug, PartialEq)]
pub struct LrSchedule {
    /// The curve after the warm-up.
    pub kind: Schedule,
    /// Steps over which the rate rises linearly.
    pub warmup: f64,
    /// Steps of the whole training, warm-up included.
    pub total: f64,
    /// Steps after which [`Schedule::Step`] lowers the rate.
    pub milestones: Vec<f64>,
    /// What it multiplies the rate with.
    pub drop: f64,
}

impl LrSchedule {
    /// The schedule that settings, which count in epochs, ask for.
    pub fn of(optim: &OptimSettings, steps_per_epoch: f64, total: f64) -> LrSchedule {
        LrSchedule {
            kind: optim.schedule,
            warmup: optim.warmup * steps_per_epoch,
            total,
            milestones: optim.milestones.iter().map(|epoch| epoch * steps_per_epoch).collect(),
            drop: optim.drop,
        }
    }

    /// Factor for the step that follows `done` finished steps.
    ///
    /// During the warm-up it is `(done + 1) / warmup`, so that the first step already moves; afterwards 1 or, for the
    /// cosine, `(1 + cos(pi p)) / 2` with `p` the finished share of the steps after the warm-up, or, in steps, `drop` to the
    /// power of the milestones passed. Past the end it stays.
    pub fn factor(&self, done: u64) -> f64 {
        let done = done as f64;
        if done + 1.0 < self.warmup {
            return (done + 1.0) / self.warmup;
        }
        match self.kind {
            Schedule::Constant => 1.0,
            Schedule::Step => {
                let passed = self.milestones.iter().filter(|at| done >= **at).count();
                self.drop.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Schedule::Cosine => {
                let length = (self.total - self.warmup).max(1.0);
                let share = ((done - self.warmup).max(0.0) / length).min(1.0);
                0.5 * (1.0 + (std::f64::consts::PI * share).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: Schedule, warmup: f64, total: f64) -> LrSchedule {
        LrSchedule { kind, warmup, total, milestones: vec![4.0, 6.0], drop: 0.2 }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn constant_stays() {
        let s = schedule(Schedule::Constant, 0.0, 10.0);
        for step in 0..12 {
            close(s.factor(step), 1.0);
        }
    }

    #[test]
    fn cosine_by_hand() {
        let s = schedule(Schedule::Cosine, 0.0, 8.0);
        close(s.factor(0), 1.0);
        close(s.factor(2), 0.5 + 0.5 * std::f64::consts::FRAC_1_SQRT_2);
        close(s.factor(4), 0.5);
        close(s.factor(6), 0.5 - 0.5 * std::f64::consts::FRAC_1_SQRT_2);
        close(s.factor(8), 0.0);
        close(s.factor(9), 0.0);
    }

    #[test]
    fn warm_up_rises_then_the_curve_begins() {
        let s = schedule(Schedule::Cosine, 4.0, 12.0);
        for (step, want) in [(0, 0.25), (1, 0.5), (2, 0.75), (3, 1.0), (4, 1.0), (8, 0.5), (12, 0.0)] {
            close(s.factor(step), want);
        }
    }

    #[test]
    fn steps_lower_the_rate_at_their_milestones() {
        let s = schedule(Schedule::Step, 2.0, 8.0);
        for (step, want) in [(0, 0.5), (1, 1.0), (3, 1.0), (4, 0.2), (5, 0.2), (6, 0.04), (9, 0.04)] {
            close(s.factor(step), want);
        }
        let settings = OptimSettings {
            schedule: Schedule::Step,
            milestones: vec![2.0, 3.0],
            drop: 0.2,
            warmup: 1.0,
            ..OptimSettings::default()
        };
        assert_eq!(LrSchedule::of(&settings, 2.0, 8.0), s);
    }

    #[test]
    fn a_warm_up_longer_than_the_training_only_rises() {
        let s = schedule(Schedule::Cosine, 100.0, 10.0);
        close(s.factor(9), 0.1);
    }
}
