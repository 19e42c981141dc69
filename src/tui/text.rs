//! Text for terminals: widths in cells, clipping, and numbers as people read them.

use std::borrow::Cow;

pub use kiln_protocol::figures::{age, bytes, bytes_of, clock, count, duration, exponent, number, percent};
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

/// As [`left`], but what does not fit is left out in the middle: of names that begin alike, the ends tell them apart.
pub fn middle(text: &str, cells: usize, ellipsis: &str) -> String {
    let room = cells.saturating_sub(width(ellipsis));
    if width(text) <= cells || room < 4 {
        return left(text, cells, ellipsis);
    }
    let mut end = String::new();
    for grapheme in text.graphemes(true).rev() {
        if width(&end) + width(grapheme) > room / 2 {
            break;
        }
        end.insert_str(0, grapheme);
    }
    let begin = clip(text, room - width(&end), "");
    left(&format!("{begin}{ellipsis}{end}"), cells, ellipsis)
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
            // Names such as `k3e3-k5e6-skip` break between their parts.
            if line.ends_with(['-', '/']) && width(word) <= cells {
                lines.push(std::mem::take(&mut line));
            }
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

/// A message that was told `count` times.
pub fn times(text: &str, count: usize) -> String {
    if count > 1 { format!("{text} ({count} times)") } else { text.to_owned() }
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
        assert_eq!(middle("search-digits-claim-k3f7", 12, "…"), "search…-k3f7");
        assert_eq!((middle("abc", 5, "…"), middle("abcdef", 3, "…")), ("abc  ".into(), "ab…".into()));
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
        assert_eq!(wrap("k3e3-k5e6-skip", 11), ["k3e3-k5e6-", "skip"]);
    }
}
