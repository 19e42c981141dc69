//! Numbers, times and sizes as people read them: the one way for the command line, the workbench and what methods write
//! into tables. Machines get plain numbers (`--json`).

/// Four significant digits or a whole number: `0.9612`, `12.31`, `51`, `1,632`, `1.2e-05`, `nan`. At most ten characters.
pub fn number(v: f64) -> String {
    if v.is_nan() {
        return "nan".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "inf" } else { "-inf" }.into();
    }
    let a = v.abs();
    match a {
        0.0 => "0".into(),
        _ if !(1e-3..1e7).contains(&a) => exponent(v),
        _ if a >= 1000.0 || v.fract() == 0.0 => count(v),
        // What rounds up to one digit more before the point gives up one behind it.
        _ if a >= 99.995 => format!("{v:.1}"),
        _ if a >= 9.9995 => format!("{v:.2}"),
        _ if a >= 0.99995 => format!("{v:.3}"),
        _ => format!("{v:.4}"),
    }
}

/// `1.2e-05`: two digits of exponent, so that columns of them line up.
pub fn exponent(v: f64) -> String {
    let text = format!("{v:.1e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// A whole number with its thousands set apart: `5,343,112`; fractions are rounded away.
pub fn count(v: f64) -> String {
    let digits = format!("{:.0}", v.abs());
    if !v.is_finite() {
        return digits;
    }
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if v < 0.0 && digits != "0" {
        out.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share as whole per cent, `7%`: never more than is done, so that 100% means all.
pub fn percent(share: f64) -> String {
    // The tolerance keeps 0.29, which is a little less than that in binary, at 29.
    format!("{:.0}%", (share * 100.0 + 1e-9).floor())
}

/// With so many digits after the point; a dash where there is no number.
pub fn fixed(v: Option<f64>, digits: usize) -> String {
    v.filter(|v| v.is_finite()).map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

/// `100 epochs`; the number alone where the unit is not known.
pub fn with_unit(number: &str, unit: &str) -> String {
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

/// Seconds in at most eleven characters: `42 s`, `3 min 05 s`, `1 h 02 min`, `3 d 4 h`; a dash for what is no time.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".into();
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {:02} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// Seconds since something, coarser the longer ago, in six characters while it is less than years: `now`, `8 s`, `3 min`,
/// `5 h`, `12 d`.
pub fn age(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    match s {
        0..2 => "now".into(),
        2..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    }
}

/// Time since the start of a run, for logs: `0:01:12`.
pub fn clock(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `about 40 s`, `about 6 min`, `about 2 h`: for estimates, which must not look exact.
pub fn roughly(seconds: f64) -> String {
    let two = |x: f64| if x < 10.0 { (x * 2.0).round() / 2.0 } else { (x / 5.0).round() * 5.0 };
    match seconds {
        s if !s.is_finite() => "unknown".into(),
        s if s < 10.0 => format!("about {} s", s.ceil().max(1.0)),
        s if s < 90.0 => format!("about {} s", two(s)),
        s if s < 5400.0 => format!("about {} min", two(s / 60.0)),
        s if s < 172_800.0 => format!("about {} h", two(s / 3600.0)),
        s => format!("about {} days", two(s / 86_400.0)),
    }
}

const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

/// The power of a thousand in which `n` reads best.
fn unit(n: u64) -> usize {
    // What rounds to a thousand belongs to the next unit.
    (0..UNITS.len() - 1).find(|i| (n as f64) < 999.5 * 1000_f64.powi(*i as i32)).unwrap_or(UNITS.len() - 1)
}

fn in_unit(n: u64, unit: usize) -> String {
    let value = n as f64 / 1000_f64.powi(unit as i32);
    if unit > 0 && value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Bytes by thousands, as makers of disks and cards count them: `640 kB`, `3.1 GB`, `212 GB`.
pub fn bytes(n: u64) -> String {
    let unit = unit(n);
    format!("{} {}", in_unit(n, unit), UNITS[unit])
}

/// Bytes used of all there are, in one unit: `3.1/17 GB`.
pub fn bytes_of(used: u64, total: u64) -> String {
    let unit = unit(total);
    format!("{}/{} {}", in_unit(used, unit), in_unit(total, unit), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_never_say_more_than_is_done() {
        for (share, said) in [(0.0, "0%"), (0.0699, "6%"), (0.29, "29%"), (0.999, "99%"), (1.0, "100%")] {
            assert_eq!(percent(share), said);
        }
    }

    #[test]
    fn numbers_keep_four_digits() {
        let cases = [
            (0.961_23, "0.9612"),
            (0.95, "0.9500"),
            (12.306, "12.31"),
            (99.999, "100.0"),
            (0.999_99, "1.000"),
            (51.0, "51"),
            (-7.0, "-7"),
            (1632.4, "1,632"),
            (9_999_999.0, "9,999,999"),
            (0.000_012, "1.2e-05"),
            (3.2e11, "3.2e+11"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (0.0, "0"),
        ];
        for (v, said) in cases {
            assert_eq!(number(v), said);
        }
        for i in 0..4000 {
            let v = 10_f64.powf(f64::from(i - 2000) / 150.0) * if i % 2 == 0 { 1.0 } else { -1.0 };
            let said = number(v);
            assert!(said.len() <= 10, "{said}");
            let read: f64 = said.replace(',', "").parse().unwrap();
            assert!((read - v).abs() <= 0.05 * v.abs(), "{v} is said as {said}");
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        let cases = [(0.0, "0"), (-0.2, "0"), (999.4, "999"), (1000.0, "1,000"), (-1_234_567.0, "-1,234,567")];
        for (v, said) in cases {
            assert_eq!(count(v), said);
        }
        assert_eq!(fixed(Some(0.12345), 3), "0.123");
        assert_eq!(fixed(Some(f64::NAN), 3), "-");
        assert_eq!(with_unit("3", "epochs"), "3 epochs");
        assert_eq!(with_unit("3", ""), "3");
    }

    #[test]
    fn times_read_well() {
        let cases = [
            (0.4, "0 s"),
            (185.0, "3 min 05 s"),
            (3599.6, "1 h 00 min"),
            (7620.0, "2 h 07 min"),
            (187_200.0, "2 d 4 h"),
        ];
        for (s, said) in cases {
            assert_eq!(duration(s), said);
        }
        assert_eq!(duration(f64::NAN), "-");
        assert_eq!((age(0.4).as_str(), age(7200.0).as_str(), age(59.0 * 60.0).as_str()), ("now", "2 h", "59 min"));
        assert_eq!(clock(3672.0), "1:01:12");
        assert_eq!(roughly(37.0), "about 35 s");
        assert_eq!(roughly(200.0), "about 3.5 min");
        assert_eq!(roughly(0.2), "about 1 s");
        assert_eq!(roughly(7000.0), "about 2 h");
    }

    #[test]
    fn sizes_have_one_kind_of_unit() {
        let cases = [
            (900, "900 B"),
            (1_500_000, "1.5 MB"),
            (999_900, "1.0 MB"),
            (3_328_599_654, "3.3 GB"),
            (227_633_266_688, "228 GB"),
            (u64::MAX, "18447 PB"),
        ];
        for (n, said) in cases {
            assert_eq!(bytes(n), said);
        }
        assert_eq!(bytes_of(3_328_599_654, 17_179_869_184), "3.3/17 GB");
        assert_eq!(bytes_of(12, 0), "12/0 B");
    }
}
