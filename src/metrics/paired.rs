//! Paired comparison: is one way better than another on the same seeds, and could that be chance?

use serde::{Deserialize, Serialize};

use crate::summary::Summary;

/// Pairs from which a difference may be called one: two that happen to agree give any p-value.
pub const ENOUGH_PAIRS: usize = 3;

/// Student's paired t-test of `b` against `a`, two-sided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedT {
    /// Pairs.
    pub count: usize,
    /// Mean of `b - a`.
    pub difference: f64,
    /// Sample standard deviation of the differences.
    pub std: f64,
    /// Infinite where all differences are equal and not 0.
    pub t: f64,
    /// Probability of a `|t|` at least as large if the true mean difference were 0 and differences were normal, 0 to 1.
    pub p: f64,
}

impl PairedT {
    /// Tests `pairs` of `(a, b)`. Pairs with a value that is not finite are left out; `None` with fewer than two others.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<PairedT> {
        let s = differences(pairs).filter(|s| s.count >= 2)?;
        let error = s.std / (s.count as f64).sqrt();
        // Differences that are all the same leave no noise to compare with.
        let t = if s.mean == 0.0 { 0.0 } else { s.mean / error };
        Some(PairedT { count: s.count, difference: s.mean, std: s.std, t, p: two_sided(t, (s.count - 1) as f64) })
    }
}

/// Summary of `b - a` over `pairs` of `(a, b)`; those with a value that is not finite are left out. Where the differences are
/// the same but for rounding, their deviation is 0.
pub fn differences(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Summary> {
    let mut largest = 0.0_f64;
    let finite = pairs.into_iter().filter(|(a, b)| a.is_finite() && b.is_finite());
    let s = Summary::of(finite.map(|(a, b)| {
        largest = largest.max(a.abs()).max(b.abs());
        b - a
    }))?;
    let rounding = 4.0 * f64::EPSILON * largest;
    Some(if s.std <= rounding { Summary { std: 0.0, ..s } } else { s })
}

/// Probability that a value of Student's t with so many degrees of freedom lies at least as far from 0 as `t`.
///
/// `P(|T| >= t) = I_x(df/2, 1/2)` with `x = df / (df + t^2)` (Abramowitz and Stegun 26.5.27 and 26.7.1).
fn two_sided(t: f64, df: f64) -> f64 {
    if t.is_infinite() { 0.0 } else { incomplete_beta(df / (df + t * t), df / 2.0, 0.5) }
}

/// The regularised incomplete beta function `I_x(a, b)`, for `x` in 0..=1 and `a, b > 0`.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges fast on one side of the mean; the other side is its mirror image.
    let value = if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    };
    value.clamp(0.0, 1.0)
}

/// The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8), by Lentz's method.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // Some square roots of a or b steps; degrees of freedom are counts of seeds.
    for m in 1..=10_000 {
        let m = f64::from(m);
        for step in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / away(1.0 + step * d);
            c = away(1.0 + step / c);
            value *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function for `x > 0`, by Lanczos' approximation with g = 7 and nine terms (good to 15
/// digits).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let base = x + 7.5;
    let sum: f64 = TERMS[1..].iter().zip(1..).map(|(term, i)| term / (x + f64::from(i))).sum();
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * base.ln() - base + (TERMS[0] + sum).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs().max(1e-3)
    }

    #[test]
    fn the_gamma_function_at_known_places() {
        for (x, gamma) in [(1.0, 1.0), (2.0, 1.0), (5.0, 24.0), (11.0, 3_628_800.0), (0.5, 1.772_453_850_905_516)] {
            assert!((ln_gamma(x) - f64::ln(gamma)).abs() < 1e-12, "{x}");
        }
    }

    #[test]
    fn tails_that_have_a_closed_form() {
        // One degree of freedom is Cauchy's distribution, two have an algebraic tail.
        for t in [0.0, 0.1, 1.0, 3.0, 12.7, 400.0] {
            let cauchy = 1.0 - 2.0 / std::f64::consts::PI * f64::atan(t);
            assert!((two_sided(t, 1.0) - cauchy).abs() < 1e-13, "{t}: {} {cauchy}", two_sided(t, 1.0));
            let two = 1.0 - t / (2.0 + t * t).sqrt();
            assert!((two_sided(t, 2.0) - two).abs() < 1e-13, "{t}: {} {two}", two_sided(t, 2.0));
            // Three: 1 - 2/pi (u / (1 + u^2) + atan u), u = t / sqrt 3.
            let u = t / 3f64.sqrt();
            let three = 1.0 - 2.0 / std::f64::consts::PI * (u / (1.0 + u * u) + u.atan());
            assert!((two_sided(t, 3.0) - three).abs() < 1e-13, "{t}");
            assert_eq!(two_sided(t, 5.0), two_sided(-t, 5.0));
        }
        assert_eq!(two_sided(f64::INFINITY, 4.0), 0.0);
    }

    #[test]
    fn quantiles_of_the_printed_tables() {
        // Two-sided 5 % and 1 % points.
        for (df, five, one) in [
            (1.0, 12.706, 63.657),
            (2.0, 4.303, 9.925),
            (4.0, 2.776, 4.604),
            (14.0, 2.145, 2.977),
            (120.0, 1.980, 2.617),
        ] {
            assert!((two_sided(five, df) - 0.05).abs() < 5e-5, "{df}: {}", two_sided(five, df));
            assert!((two_sided(one, df) - 0.01).abs() < 2e-5, "{df}: {}", two_sided(one, df));
        }
        assert!(
            (two_sided(1.959_963_985, 1e7) - 0.05).abs() < 1e-6,
            "many degrees of freedom are the normal distribution"
        );
    }

    #[test]
    fn the_beta_function_is_symmetric_and_monotonous() {
        for (a, b) in [(0.5, 0.5), (1.0, 3.0), (7.0, 0.5), (40.0, 60.0)] {
            let mut last = 0.0;
            for i in 0..=100 {
                let x = f64::from(i) / 100.0;
                let value = incomplete_beta(x, a, b);
                assert!(close(value, 1.0 - incomplete_beta(1.0 - x, b, a)), "{x} {a} {b}");
                assert!(value >= last, "{x} {a} {b}");
                last = value;
            }
        }
        assert!(close(incomplete_beta(0.3, 1.0, 4.0), 1.0 - 0.7_f64.powi(4)));
    }

    #[test]
    fn a_test_by_hand() {
        // Differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt 3, and with two degrees of freedom p = 1 - t / sqrt(2 + t^2).
        let test = PairedT::of([(1.0, 2.0), (5.0, 7.0), (0.0, 3.0)]).unwrap();
        let t = 2.0 * 3f64.sqrt();
        assert!(close(test.t, t) && close(test.std, 1.0) && test.difference == 2.0 && test.count == 3, "{test:?}");
        assert!(close(test.p, 1.0 - t / (2.0 + t * t).sqrt()), "{test:?}");
    }

    #[test]
    fn too_few_pairs_and_equal_differences() {
        assert_eq!(PairedT::of([(1.0, 2.0)]), None);
        assert_eq!(PairedT::of([(1.0, 2.0), (f64::NAN, 1.0)]), None);
        let same = PairedT::of([(1.0, 1.0), (2.0, 2.0)]).unwrap();
        assert_eq!((same.t, same.p, same.difference), (0.0, 1.0, 0.0));
        let shifted = PairedT::of([(1.0, 2.0), (2.0, 3.0)]).unwrap();
        assert_eq!((shifted.t, shifted.p), (f64::INFINITY, 0.0));
        // 0.05 and 0.05 in decimal, not in binary.
        let rounded = PairedT::of([(0.95, 1.0), (0.9, 0.95), (0.3, 0.35)]).unwrap();
        assert_eq!((rounded.std, rounded.t, rounded.p), (0.0, f64::INFINITY, 0.0));
        let tiny = PairedT::of([(f64::INFINITY, 1.0), (1.0, 2.0), (1.0, 3.0)]).unwrap();
        assert_eq!(tiny.count, 2);
    }
}
