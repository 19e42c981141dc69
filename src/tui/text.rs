//! Text for terminals: widths in cells, clipping, and numbers as people read them.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Cells that `text` takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `cells` cells; what does not fit ends in `ellipsis`.
pub fn clip<'a>(text: &'a str, cells: usize, ellipsis: &str) -> Cow<'a, str> {
    if width(text) <= cells {
        return Cow::Borrowed(text);
    }
    let room = cells.saturating_sub(width(ellipsis));
    let mut out = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let w = width(grapheme);
        if used + w > room {
            break;
        }
        used += w;
        out.push_str(grapheme);
    }
    if used + width(ellipsis) <= cells {
        out.push_str(ellipsis);
    }
    Cow::Owned(out)
}

/// `text` clipped and filled with blanks to exactly `cells` cells.
pub fn left(text: &str, cells: usize, ellipsis: &str) -> String {
    let mut out = clip(text, cells, ellipsis).into_owned();
    out.extend(std::iter::repeat_n(' ', cells.saturating_sub(width(&out))));
    out
}

/// As [`left`], with the blanks in front.
pub fn right(text: &str, cells: usize, ellipsis: &str) -> String {
    let clipped = clip(text, cells, ellipsis);
    let mut out = " ".repeat(cells.saturating_sub(width(&clipped)));
    out.push_str(&clipped);
    out
}

/// Breaks `text` into lines of at most `cells` cells, at blanks where there are any. Never empty.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_word_bounds() {
            if width(&line) + width(word) <= cells {
                line.push_str(word);
                continue;
            }
            if word.trim().is_empty() {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                continue;
            }
            // Punctuation stays with its word: move the whole last run of non-blanks down, where it fits.
            let keep = line.rfind(' ').map_or(0, |at| at + 1);
            let tail = line.split_off(keep);
            if keep > 0 && width(&tail) + width(word) <= cells {
                lines.push(line.trim_end().to_owned());
                line = tail + word;
                continue;
            }
            line.push_str(&tail);
            for grapheme in word.graphemes(true) {
                if width(&line) + width(grapheme) > cells && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line.push_str(grapheme);
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// Seconds in at most six cells: `8s`, `1m12s`, `3h07m`, `2d04h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// Seconds since something, coarser the longer ago: `now`, `8s`, `3m`, `5h`, `12d`.
pub fn age(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    match s {
        0..2 => "now".into(),
        2..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..86_400 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// Time since the start of a run, for logs: `0:01:12`.
pub fn clock(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// Bytes with a binary unit: `640K`, `3.1G`, `212G`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "K", "M", "G", "T", "P"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit > 0 && value < 9.95 { format!("{value:.1}{}", UNITS[unit]) } else { format!("{value:.0}{}", UNITS[unit]) }
}

/// A figure with four significant digits in at most nine cells: `0.9612`, `12.31`, `1.2e-05`, `nan`.
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
        _ if !(1e-4..1e7).contains(&a) => exponent(v),
        _ if a >= 1000.0 => format!("{v:.0}"),
        _ if a >= 100.0 => format!("{v:.1}"),
        _ if a >= 10.0 => format!("{v:.2}"),
        _ if a >= 1.0 => format!("{v:.3}"),
        _ => format!("{v:.4}"),
    }
}

/// `1.2e-05`: two digits of exponent, so that columns of them line up.
pub fn exponent(v: f64) -> String {
    let text = format!("{v:.1e}");
    match text.split_once('e') {
        Some((mantissa, exp)) => {
            let (sign, digits) = exp.strip_prefix('-').map_or(('+', exp), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// A whole number, or at most two decimals.
pub fn amount(v: f64) -> String {
    if !v.is_finite() {
        return number(v);
    }
    if (v - v.round()).abs() < 1e-9 { grouped(v.round()) } else { format!("{v:.2}") }
}

/// A whole number with its thousands set apart: `1,632`.
pub fn grouped(v: f64) -> String {
    let digits = format!("{:.0}", v.abs());
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    if v < 0.0 { format!("-{out}") } else { out }
}

/// Whether `text` contains `query`, whatever the case.
pub fn matches(text: &str, query: &str) -> bool {
    query.is_empty() || text.to_lowercase().contains(&query.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_counts_cells_not_bytes() {
        assert_eq!(clip("abcdef", 6, "…"), "abcdef");
        assert_eq!(clip("abcdef", 4, "…"), "abc…");
        assert_eq!(clip("日本語", 4, "…"), "日…");
        assert_eq!(clip("日本語", 1, "…"), "…");
        assert_eq!(clip("abc", 0, "…"), "");
        assert_eq!(clip("abc", 1, ".."), "");
        assert_eq!(left("ü", 3, "…"), "ü  ");
        assert_eq!(right("日", 3, "…"), " 日");
    }

    #[test]
    fn wrapping_never_exceeds_the_width_and_loses_nothing() {
        let text = "Trains 40 networks (briefly), clusters them\nand 日本語 averyveryverylongword, done.";
        for cells in 2..60 {
            let lines = wrap(text, cells);
            assert!(lines.iter().all(|l| width(l) <= cells), "{cells}: {lines:?}");
            let squash = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(squash(&lines.concat()), squash(text));
        }
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("one two", 5), ["one", "two"]);
    }

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(duration(8.2), "8s");
        assert_eq!(duration(72.0), "1m12s");
        assert_eq!(duration(11_220.0), "3h07m");
        assert_eq!(duration(187_200.0), "2d04h");
        assert_eq!(duration(f64::NAN), "?");
        assert_eq!(age(0.4), "now");
        assert_eq!(age(7200.0), "2h");
        assert_eq!(clock(3672.0), "1:01:12");
        assert_eq!(bytes(900), "900B");
        assert_eq!(bytes(3_328_599_654), "3.1G");
        assert_eq!(bytes(227_633_266_688), "212G");
    }

    #[test]
    fn numbers_keep_four_digits() {
        assert_eq!(number(0.961_23), "0.9612");
        assert_eq!(number(12.306), "12.31");
        assert_eq!(number(123_456.0), "123456");
        assert_eq!(number(0.000_012), "1.2e-05");
        assert_eq!(number(3.2e11), "3.2e+11");
        assert_eq!(number(f64::NEG_INFINITY), "-inf");
        assert_eq!(number(0.0), "0");
        assert_eq!(amount(1632.0), "1,632");
        assert_eq!(amount(2.5), "2.50");
        assert_eq!(grouped(-1_234_567.0), "-1,234,567");
    }
}
