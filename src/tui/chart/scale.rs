//! Ranges, ticks and labels of axes.

/// Smallest step of the form 1, 2 or 5 times a power of ten that divides `span` into at most `parts`.
pub fn nice_step(span: f64, parts: usize) -> f64 {
    let raw = span / parts.max(1) as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(raw.log10().floor());
    // The tolerance keeps 0.2 / 0.1 from asking for the next step by a rounding error.
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|step| *step >= raw * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Multiples of a nice step within `lo..=hi`, at most `at_most + 1` of them, and the step.
pub fn ticks(lo: f64, hi: f64, at_most: usize) -> (Vec<f64>, f64) {
    let span = hi - lo;
    if !span.is_finite() || span <= 0.0 || at_most == 0 {
        return (Vec::new(), 1.0);
    }
    let step = nice_step(span, at_most);
    let slack = step * 1e-6;
    let first = ((lo - slack) / step).ceil();
    let values = (0..=at_most).map(|i| (first + i as f64) * step).take_while(|v| *v <= hi + slack);
    // -0 would be labelled "-0".
    (values.map(|v| if v.abs() < slack { 0.0 } else { v }).collect(), step)
}

/// 1, 2 and 5 times powers of ten within `lo..=hi`, fewer (whole decades, every second decade ...) until at most `at_most`.
pub fn log_ticks(lo: f64, hi: f64, at_most: usize) -> Vec<f64> {
    if lo <= 0.0 || !hi.is_finite() || hi <= lo || at_most == 0 {
        return Vec::new();
    }
    let (first, last) = (lo.log10().floor() as i32, hi.log10().ceil() as i32);
    let within = |v: &f64| *v >= lo * (1.0 - 1e-9) && *v <= hi * (1.0 + 1e-9);
    let fine: Vec<f64> =
        (first..=last).flat_map(|p| [1.0, 2.0, 5.0].map(|m| m * 10_f64.powi(p))).filter(within).collect();
    if fine.len() <= at_most {
        return fine;
    }
    let decades = (last - first) as usize + 1;
    let every = decades.div_ceil(at_most).max(1);
    (first..=last).step_by(every).map(|p| 10_f64.powi(p)).filter(within).collect()
}

/// The label of a tick, with the decimals that its step needs: `0.25`, `40`, `1.5M`.
pub fn label(v: f64, step: f64) -> String {
    if v == 0.0 && !(1e-4..1e3).contains(&step) {
        return "0".into();
    }
    if step < 1e-4 || v.abs() >= 1e15 {
        return crate::text::exponent(v);
    }
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|u| v.abs() >= 10.0 * u.0 || (v.abs() >= u.0 && step >= u.0 / 10.0));
    let (scale, suffix) = unit.unwrap_or((1.0, ""));
    let decimals = (-(step / scale).log10().floor()).clamp(0.0, 4.0) as usize;
    format!("{:.decimals$}{suffix}", v / scale)
}

/// The label of a tick on a logarithmic axis.
pub fn log_label(v: f64) -> String {
    if !(1e-4..1e6).contains(&v) {
        return crate::text::exponent(v);
    }
    let decimals = (-v.log10().floor()).clamp(0.0, 4.0) as usize;
    format!("{v:.decimals$}")
}

/// A logarithmic axis from one end to less than so many times that is as good as linear: its numbers are those of a linear one.
const NARROW: f64 = 3.0;

/// One axis: maps values to 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub lo: f64,
    pub hi: f64,
    pub log: bool,
}

impl Scale {
    /// Place of `v`: 0 at `lo`, 1 at `hi`, beyond for values outside. `None` for what has no place: NaN, infinities, and
    /// values that are not positive on a logarithmic axis.
    pub fn place(&self, v: f64) -> Option<f64> {
        if !v.is_finite() || (self.log && v <= 0.0) {
            return None;
        }
        let (lo, hi, v) = if self.log { (self.lo.ln(), self.hi.ln(), v.ln()) } else { (self.lo, self.hi, v) };
        let t = (v - lo) / (hi - lo);
        t.is_finite().then_some(t)
    }

    /// The value at a place.
    pub fn at(&self, t: f64) -> f64 {
        if self.log {
            (self.lo.ln() + t * (self.hi.ln() - self.lo.ln())).exp()
        } else {
            self.lo + t * (self.hi - self.lo)
        }
    }

    /// Ticks and their labels, at most `at_most + 1`.
    pub fn ticks(&self, at_most: usize) -> Vec<(f64, String)> {
        if self.log && self.hi > NARROW * self.lo {
            return log_ticks(self.lo, self.hi, at_most).into_iter().map(|v| (v, log_label(v))).collect();
        }
        let (values, step) = ticks(self.lo, self.hi, at_most);
        values.into_iter().map(|v| (v, label(v, step))).collect()
    }
}

/// A range that follows its data, but rarely: a change redraws the whole chart.
///
/// It moves only when data leave it or fill less than 30 % of it, and then to nice numbers around the data, with a step to
/// spare on a side where data have left it before. A fresh range is always filled to more than 34 %, so it never moves twice
/// for the same data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    range: Option<(f64, f64)>,
    log: bool,
}

/// Share of the range that data must fill for it to stay.
const FILLED: f64 = 0.3;

impl Fit {
    /// Follows the data's bounds; on a logarithmic axis those of positive data. Returns whether the range has changed.
    pub fn follow(&mut self, bounds: Option<(f64, f64)>, log: bool) -> bool {
        let before = *self;
        let Some((lo, hi)) = bounds.filter(|b| b.0.is_finite() && b.1.is_finite() && b.0 <= b.1) else {
            return false;
        };
        if log && lo <= 0.0 {
            return false;
        }
        let stays = self.log == log
            && self.range.is_some_and(|(a, b)| {
                let (span, filled) = if log { ((b / a).ln(), (hi / lo).ln()) } else { (b - a, hi - lo) };
                // A constant series fills nothing; it stays as long as it is inside.
                lo >= a && hi <= b && (filled >= FILLED * span || lo == hi)
            });
        if !stays {
            let old = self.range.filter(|_| self.log == log);
            self.log = log;
            self.range = Some(if log { around_log(lo, hi) } else { spare(around(lo, hi), old, lo, hi) });
        }
        *self != before
    }

    /// The scale of the range; 0 to 1 (or 0.1 to 1) before there are data.
    pub fn scale(&self) -> Scale {
        let (lo, hi) = self.range.unwrap_or(if self.log { (0.1, 1.0) } else { (0.0, 1.0) });
        Scale { lo, hi, log: self.log }
    }
}

/// Nice numbers around `lo..=hi`.
pub fn around(lo: f64, hi: f64) -> (f64, f64) {
    if hi <= lo {
        let pad = if lo == 0.0 { 1.0 } else { lo.abs() * 0.1 };
        return around(lo - pad, lo + pad);
    }
    let step = nice_step(hi - lo, 4);
    if !step.is_normal() {
        return (lo - 1.0, hi + 1.0);
    }
    // A multiple of the step may miss the value it equals by a rounding error: the data stay inside all the same.
    let nice = (((lo / step + 1e-9).floor() * step).min(lo), ((hi / step - 1e-9).ceil() * step).max(hi));
    // Data far from zero with a tiny spread: steps vanish in rounding.
    if nice.0 < nice.1 && nice.0.is_finite() && nice.1.is_finite() { nice } else { (lo, lo + lo.abs().max(1e-12)) }
}

/// A step more on a side that data have left, but not across zero or one where data are not: rates and losses live between.
fn spare(nice: (f64, f64), old: Option<(f64, f64)>, lo: f64, hi: f64) -> (f64, f64) {
    let step = nice_step(hi - lo, 4);
    let (mut a, mut b) = nice;
    if old.is_some_and(|o| lo < o.0 && hi <= o.1) && (lo < 0.0 || a - step >= 0.0) {
        a -= step;
    }
    if old.is_some_and(|o| hi > o.1 && lo >= o.0) && (hi > 1.0 || b + step <= 1.0) {
        b += step;
    }
    (a, b)
}

/// 1, 2 or 5 times powers of ten around positive `lo..=hi`; of data close together, which would be squeezed between such
/// numbers, what a linear axis has.
fn around_log(lo: f64, hi: f64) -> (f64, f64) {
    let below = |v: f64| {
        let p = 10_f64.powf(v.log10().floor());
        [5.0, 2.0, 1.0].into_iter().map(|m| m * p).find(|n| *n <= v * (1.0 + 1e-9)).unwrap_or(p)
    };
    let above = |v: f64| {
        let p = 10_f64.powf(v.log10().floor());
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * p).find(|n| *n >= v * (1.0 - 1e-9)).unwrap_or(10.0 * p)
    };
    let near = around(lo, hi);
    if hi <= lo * NARROW / 1.5 && near.0 > 0.0 {
        return near;
    }
    let (a, b) = (below(lo).max(f64::MIN_POSITIVE), above(hi));
    if b > a { (a, b) } else { (a / 2.0, b * 2.0) }
}

/// End of an x axis that has no plan: a nice number beyond `last` with room to grow, so that it moves seldom.
pub fn end_beyond(last: f64) -> f64 {
    if !last.is_finite() || last <= 0.0 {
        return 1.0;
    }
    let p = 10_f64.powf(last.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * p).find(|n| *n > last).unwrap_or(20.0 * p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_nice_and_few_enough() {
        for (span, parts, expected) in
            [(1.0, 4, 0.5), (1.0, 5, 0.2), (100.0, 4, 50.0), (0.03, 3, 0.01), (7.0, 10, 1.0), (0.2, 2, 0.1)]
        {
            assert!((nice_step(span, parts) - expected).abs() < 1e-12 * expected.max(1.0), "{span} {parts}");
        }
        for i in 1..2000 {
            let span = 1.013_f64.powi(i) * 1e-6;
            for parts in 1..9 {
                assert!(span / nice_step(span, parts) <= parts as f64 * (1.0 + 1e-6));
            }
        }
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(nice_step(odd, 4), 1.0);
        }
    }

    #[test]
    fn a_logarithmic_axis_of_close_data_is_not_squeezed() {
        let mut fit = Fit::default();
        fit.follow(Some((0.942, 0.988)), true);
        let scale = fit.scale();
        assert!(scale.log && scale.lo >= 0.93 && scale.hi <= 1.0, "{scale:?}");
        let labels: Vec<String> = scale.ticks(6).into_iter().map(|t| t.1).collect();
        assert!(labels.len() >= 3 && labels.contains(&"0.96".to_owned()), "{labels:?}");
        // Over decades it stays what it was.
        fit.follow(Some((1e-4, 3.0)), true);
        assert_eq!((fit.scale().lo, fit.scale().hi), (1e-4, 5.0));
        assert!(fit.scale().ticks(6).iter().any(|t| t.1 == "0.01"));
    }

    #[test]
    fn ticks_lie_inside_and_are_labelled_apart() {
        for i in 0..600 {
            let lo = (f64::from(i) * 0.37).sin() * 10_f64.powi(i % 9 - 4);
            let hi = lo + 1.7_f64.powi(i % 20 - 10);
            let (values, step) = ticks(lo, hi, 5);
            assert!(values.len() <= 6);
            assert!(values.iter().all(|v| *v >= lo - step * 1e-5 && *v <= hi + step * 1e-5));
            if step >= 1e-4 {
                let labels: std::collections::HashSet<_> = values.iter().map(|v| label(*v, step)).collect();
                assert_eq!(labels.len(), values.len(), "{lo} {hi} {labels:?}");
            }
        }
        assert_eq!(ticks(0.0, 1.0, 5).0.len(), 6);
        assert_eq!(label(-0.0, 0.5), "-0.0");
        let labels = |lo, hi| ticks(lo, hi, 4).0.iter().map(|v| label(*v, ticks(lo, hi, 4).1)).collect::<Vec<_>>();
        assert_eq!(labels(0.0, 2e6), ["0", "500k", "1.0M", "1.5M", "2.0M"]);
        assert_eq!(labels(0.0, 4000.0), ["0", "1k", "2k", "3k", "4k"]);
        assert_eq!(labels(0.0, 400.0), ["0", "100", "200", "300", "400"]);
        assert_eq!(labels(20_000.0, 20_004.0), ["20.000k", "20.001k", "20.002k", "20.003k", "20.004k"]);
        assert_eq!(label(ticks(-1.0, 1.0, 4).0[2], 0.5), "0.0");
        assert!(ticks(f64::NAN, 1.0, 5).0.is_empty());
    }

    #[test]
    fn log_ticks_thin_out() {
        assert_eq!(
            log_ticks(0.1, 1.0, 9).iter().map(|v| log_label(*v)).collect::<Vec<_>>(),
            ["0.1", "0.2", "0.5", "1"]
        );
        assert!(log_ticks(1e-12, 1e3, 5).len() <= 5);
        assert!(log_ticks(-1.0, 1.0, 5).is_empty());
        assert_eq!(log_label(1e-7), "1.0e-07");
    }

    #[test]
    fn scales_map_there_and_back() {
        for scale in [Scale { lo: -2.0, hi: 6.0, log: false }, Scale { lo: 0.01, hi: 100.0, log: true }] {
            for i in 0..=10 {
                let t = f64::from(i) / 10.0;
                assert!((scale.place(scale.at(t)).unwrap() - t).abs() < 1e-9);
            }
            assert_eq!(scale.place(f64::NAN), None);
            assert_eq!(scale.place(f64::INFINITY), None);
        }
        assert_eq!(Scale { lo: 0.1, hi: 1.0, log: true }.place(0.0), None);
    }

    #[test]
    fn a_range_stays_while_a_loss_falls() {
        let mut fit = Fit::default();
        let (mut moves, mut lo) = (0, f64::MAX);
        for i in 0..10_000 {
            let loss = 0.05 + 2.3 * (-f64::from(i) / 700.0).exp();
            lo = lo.min(loss);
            moves += usize::from(fit.follow(Some((lo, 2.35)), false));
            let scale = fit.scale();
            assert!(scale.lo <= lo && scale.hi >= 2.35);
        }
        assert!(moves <= 14, "{moves} refits");
    }

    #[test]
    fn a_fresh_range_never_moves_again_for_the_same_data() {
        for i in 0..4000 {
            let lo = (f64::from(i) * 1.7).sin() * 10_f64.powi(i % 13 - 6);
            let hi = lo + (f64::from(i) * 0.9).cos().abs() * 10_f64.powi(i % 7 - 5);
            for log in [false, true] {
                let (lo, hi) = if log { (lo.abs() + 1e-9, lo.abs() + 1e-9 + (hi - lo)) } else { (lo, hi) };
                let mut fit = Fit::default();
                fit.follow(Some((lo, hi)), log);
                assert!(!fit.follow(Some((lo, hi)), log), "{lo} {hi} {log} {:?}", fit.scale());
                let scale = fit.scale();
                assert!(scale.lo <= lo + 1e-9 * lo.abs() && scale.hi >= hi - 1e-9 * hi.abs() && scale.lo < scale.hi);
            }
        }
    }

    #[test]
    fn odd_bounds_change_nothing() {
        let mut fit = Fit::default();
        for odd in [None, Some((f64::NAN, 1.0)), Some((1.0, f64::INFINITY)), Some((2.0, 1.0))] {
            assert!(!fit.follow(odd, false));
        }
        assert!(!fit.follow(Some((-1.0, 1.0)), true));
        assert_eq!(fit.scale(), Scale { lo: 0.0, hi: 1.0, log: false });
    }

    #[test]
    fn an_unplanned_axis_grows_by_nice_numbers() {
        let mut ends: Vec<f64> = (1..2000).map(|i| end_beyond(f64::from(i))).collect();
        ends.dedup();
        assert_eq!(ends, [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert_eq!(end_beyond(f64::NAN), 1.0);
    }
}
