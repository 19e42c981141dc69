//! Figures, times and tables for people.

use kiln_protocol::RunState;
use kiln_protocol::run::Table;

/// `42 s`, `3m 05s`, `2h 07m`, `3d 4h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".into();
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h {:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {}h", s / 86400, s / 3600 % 24),
    }
}

/// `about 40 s`, `about 6 min`, `about 2 hours`: for estimates, which must not look exact.
pub fn roughly(seconds: f64) -> String {
    let two = |x: f64| if x < 10.0 { (x * 2.0).round() / 2.0 } else { (x / 5.0).round() * 5.0 };
    match seconds {
        s if !s.is_finite() => "unknown".into(),
        s if s < 10.0 => format!("about {} s", s.ceil().max(1.0)),
        s if s < 90.0 => format!("about {} s", two(s)),
        s if s < 5400.0 => format!("about {} min", two(s / 60.0)),
        s if s < 172_800.0 => format!("about {} hours", two(s / 3600.0)),
        s => format!("about {} days", two(s / 86_400.0)),
    }
}

/// `512 B`, `1.5 MB`, `2.0 GB`, by thousands.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") }
}

/// `5,343,112`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A figure with the digits that mean something: four, without needless zeros.
pub fn figure(x: f64) -> String {
    if !x.is_finite() {
        return x.to_string();
    }
    if x == 0.0 || (1e-3..1e6).contains(&x.abs()) {
        let decimals = if x.abs() >= 1000.0 { 0 } else { 4 };
        let text = format!("{x:.decimals$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        format!("{x:.3e}")
    }
}

/// `100 epochs`; the number alone where the unit is not known.
pub fn with_unit(number: &str, unit: &str) -> String {
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

/// A state with its colour, where there are colours. The word alone says it all.
pub fn state(state: RunState, colour: bool) -> String {
    if !colour {
        return state.to_string();
    }
    let code = match state {
        RunState::Running | RunState::Starting => "32",
        RunState::Completed => "36",
        RunState::Failed => "31",
        RunState::Paused | RunState::Stopping | RunState::Stopped => "33",
        RunState::Queued => "2",
    };
    format!("\x1b[{code}m{state}\x1b[0m")
}

/// Characters that a text takes on the screen: escape sequences take none.
fn width(text: &str) -> usize {
    let mut n = 0;
    let mut escaped = false;
    for c in text.chars() {
        match (escaped, c) {
            (false, '\x1b') => escaped = true,
            (true, 'm') => escaped = false,
            (false, _) => n += 1,
            _ => {}
        }
    }
    n
}

/// Columns side by side, two spaces apart. Columns of figures are set to the right.
pub fn columns(heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|h| (*h).to_owned()).collect();
    let cells = |i: usize| rows.iter().filter_map(move |row| row.get(i));
    let widths: Vec<usize> =
        (0..heads.len()).map(|i| cells(i).map(|c| width(c)).chain([width(&heads[i])]).max().unwrap_or(0)).collect();
    let figures: Vec<bool> = (0..heads.len())
        .map(|i| {
            let mut any = false;
            cells(i).all(|c| {
                any |= c.starts_with(|ch: char| ch.is_ascii_digit());
                c.is_empty() || c == "-" || c.starts_with(|ch: char| ch.is_ascii_digit() || ch == '-' || ch == '+')
            }) && any
        })
        .collect();
    let line = |row: &Vec<String>| {
        let mut out = String::new();
        for (i, cell) in row.iter().enumerate().take(heads.len()) {
            let pad = " ".repeat(widths[i].saturating_sub(width(cell)));
            out += &if figures[i] { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        out.trim_end().to_owned()
    };
    std::iter::once(&heads).chain(rows).map(line).collect::<Vec<_>>().join("\n")
}

/// A table of an outcome.
pub fn table(table: &Table) -> String {
    let heads: Vec<&str> = table.columns.iter().map(String::as_str).collect();
    let body = columns(&heads, &table.rows);
    if table.title.is_empty() { body } else { format!("{}\n{}", table.title, indent(&body)) }
}

/// Every line two spaces in.
pub fn indent(text: &str) -> String {
    text.lines().map(|l| if l.is_empty() { String::new() } else { format!("  {l}") }).collect::<Vec<_>>().join("\n")
}

/// `text` after `prefix`, wrapped to `width` columns with the further lines below its beginning.
pub fn hang(prefix: &str, text: &str, width: usize) -> String {
    let room = width.saturating_sub(prefix.chars().count()).max(20);
    let gap = " ".repeat(prefix.chars().count());
    let body = wrap(text, room);
    body.lines()
        .enumerate()
        .map(|(i, l)| format!("{}{l}", if i == 0 { prefix } else { &gap }))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Text broken at spaces into lines of at most `width` characters; empty lines stay.
pub fn wrap(text: &str, width: usize) -> String {
    let mut out: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                out.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        out.push(line);
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        assert_eq!(duration(0.4), "0 s");
        assert_eq!(duration(185.0), "3m 05s");
        assert_eq!(duration(7620.0), "2h 07m");
        assert_eq!(duration(f64::NAN), "-");
        assert_eq!(roughly(37.0), "about 35 s");
        assert_eq!(roughly(200.0), "about 3.5 min");
        assert_eq!(roughly(0.2), "about 1 s");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(count(5_343_112), "5,343,112");
        assert_eq!(count(12), "12");
        assert_eq!(figure(0.9500), "0.95");
        assert_eq!(figure(-0.00002), "-2.000e-5");
        assert_eq!(figure(123456.0), "123456");
    }

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let rows = vec![vec!["a".into(), "1.5".into()], vec!["\x1b[32mlonger\x1b[0m".into(), "12".into()]];
        assert_eq!(columns(&["name", "x"], &rows), "name      x\na       1.5\n\x1b[32mlonger\x1b[0m   12");
    }

    #[test]
    fn text_is_wrapped_at_spaces() {
        assert_eq!(hang("  - ", "one two three four five six", 24), "  - one two three four\n    five six");
        assert_eq!(wrap("one two three\n\nfour", 8), "one two\nthree\n\nfour");
    }
}
